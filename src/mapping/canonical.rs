//! What the CRM gives back, in the form in which we send it.
//!
//! The CRM writes a number as `1.0E7`, an instant with `+0000`, a list of values in an order of its own.
//! A field that nobody touched must not look changed for that: what is read goes through the same
//! coercion as what is written, so that equal values have equal fingerprints.

use serde_json::Value as Json;

use super::coerce::{coerce, trim};
use super::{Assignment, FieldDescription, FieldKind, FieldValue, Fingerprint, TargetField};
use crate::value::{Value, ValueType};

/// Characters of a value that the CRM's field history keeps.
const HISTORY: usize = 255;

/// What a field holds, by the JSON text of its value; for a reference, of the parent's external id.
/// What cannot be read as the field's kind is text: it equals nothing that we write.
pub fn held(field: &TargetField, json: &str) -> Assignment {
    let text = match serde_json::from_str::<Json>(json) {
        Ok(Json::Null) => return Assignment::Clear,
        Ok(Json::Bool(yes)) => return Assignment::Set(FieldValue::Bool(yes)),
        Ok(Json::String(text)) => text,
        // Digit for digit, as it stands there.
        _ => plain(json).unwrap_or_else(|| json.to_owned()),
    };
    if field.reference.is_some() {
        return match trim(&text) {
            "" => Assignment::Clear,
            key => Assignment::Set(FieldValue::Reference(whole(key).into())),
        };
    }
    let described = FieldDescription {
        scale: field.scale,
        ..super::undescribed(&field.name, field.kind.clone())
    };
    match coerce(&described, &ValueType::Text, &Value::Text(&text)) {
        Ok(Some(value)) => Assignment::Set(value),
        Ok(None) => Assignment::Clear,
        Err(_) => Assignment::Set(FieldValue::Text(text.into())),
    }
}

/// A whole number without the zeros that the CRM puts behind it: an external id in a number field.
fn whole(key: &str) -> &str {
    match key.split_once('.') {
        Some((digits, zeros))
            if !digits.is_empty()
                && digits.bytes().all(|b| b.is_ascii_digit())
                && zeros.bytes().all(|b| b == b'0') =>
        {
            digits
        }
        _ => key,
    }
}

/// A JSON number without exponent.
fn plain(number: &str) -> Option<String> {
    let number = number.trim();
    let Some((mantissa, exponent)) = number.split_once(['e', 'E']) else {
        return Some(number.to_owned());
    };
    let exponent: i64 = exponent.parse().ok().filter(|e: &i64| e.abs() <= 400)?;
    let (sign, digits) = match mantissa.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", mantissa),
    };
    let (left, right) = digits.split_once('.').unwrap_or((digits, ""));
    let point = i64::try_from(left.len()).ok()? + exponent;
    let mut all = format!("{left}{right}");
    let point = match usize::try_from(point) {
        Ok(point) => point,
        Err(_) => {
            all.insert_str(0, &"0".repeat(usize::try_from(-point).ok()?));
            0
        }
    };
    while all.len() < point {
        all.push('0');
    }
    let (left, right) = all.split_at_checked(point)?;
    let left = if left.is_empty() { "0" } else { left };
    Some(match right {
        "" => format!("{sign}{left}"),
        right => format!("{sign}{left}.{right}"),
    })
}

impl TargetField {
    /// The fingerprint of what is written to it, or held by it.
    ///
    /// Of a contested field it is the same for values that the CRM takes for the same: the order in a
    /// list of several values means nothing, nor does how lines end, nor the check at the end of an id.
    pub fn fingerprint(&self, assignment: &Assignment) -> Fingerprint {
        let Assignment::Set(FieldValue::Text(text)) = assignment else {
            return assignment.fingerprint();
        };
        if !self.owner.is_contested() {
            return assignment.fingerprint();
        }
        let same = match self.kind {
            FieldKind::MultiPicklist => {
                let mut values: Vec<&str> = text.split(';').collect();
                values.sort_unstable();
                values.dedup();
                values.join(";")
            }
            // The CRM may end lines as Windows does.
            FieldKind::LongText => text.replace('\r', ""),
            FieldKind::Reference if text.len() == 18 => {
                text.get(..15).unwrap_or_default().to_owned()
            }
            _ => return assignment.fingerprint(),
        };
        Assignment::Set(FieldValue::Text(same.into())).fingerprint()
    }
}

/// Whether a row of a field's history, by the JSON text of its new value, can be the one that gave the
/// field what it holds. History keeps no values of long text, and cuts others.
pub fn history_tells(field: &TargetField, new_value: &str, now: &Assignment) -> bool {
    let comparable = match field.kind {
        FieldKind::Text
        | FieldKind::Email
        | FieldKind::Phone
        | FieldKind::Url
        | FieldKind::Picklist
        | FieldKind::Boolean
        | FieldKind::Int
        | FieldKind::Decimal => field.reference.is_none(),
        _ => false,
    };
    if !comparable {
        return true;
    }
    let then = held(field, new_value);
    if then == *now {
        return true;
    }
    match (&then, now) {
        (Assignment::Set(FieldValue::Text(cut)), Assignment::Set(FieldValue::Text(now))) => {
            cut.encode_utf16().count() >= HISTORY && now.starts_with(cut.as_str())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::mapping::{FieldId, Owner, Reference};

    fn field(kind: FieldKind, scale: u32) -> TargetField {
        TargetField {
            id: FieldId::new("F__c"),
            name: "F__c".into(),
            reference: None,
            unique: false,
            broken: None,
            owner: Owner::Newest,
            kind,
            scale,
        }
    }

    fn number(text: &str) -> Assignment {
        Assignment::Set(FieldValue::Number(text.into()))
    }

    fn text(text: &str) -> Assignment {
        Assignment::Set(FieldValue::Text(text.into()))
    }

    #[test]
    fn what_the_crm_gives_back_is_what_we_sent() {
        let decimal = field(FieldKind::Decimal, 2);
        for (json, sent) in [
            ("1.0", "1"),
            ("1", "1"),
            ("-0.0", "0"),
            ("12.50", "12.5"),
            ("1.0E7", "10000000"),
            ("1.25e1", "12.5"),
            ("-2.5E-1", "-0.25"),
            ("123456789012345.67", "123456789012345.67"),
            ("\"7.10\"", "7.1"),
        ] {
            assert_eq!(held(&decimal, json), number(sent), "{json}");
        }
        assert_eq!(held(&field(FieldKind::Int, 0), "42.0"), number("42"));
        let instant = field(FieldKind::DateTime, 0);
        let sent = text("2026-11-04T12:10:35.000Z");
        assert_eq!(held(&instant, "\"2026-11-04T12:10:35.000+0000\""), sent);
        assert_eq!(held(&instant, "\"2026-11-04T12:10:35.000Z\""), sent);
        let date = field(FieldKind::Date, 0);
        assert_eq!(held(&date, "\"2026-11-04\""), text("2026-11-04"));
        let time = field(FieldKind::Time, 0);
        assert_eq!(held(&time, "\"12:10:35.000Z\""), text("12:10:35.000Z"));
        let flag = field(FieldKind::Boolean, 0);
        assert_eq!(held(&flag, "true"), Assignment::Set(FieldValue::Bool(true)));
        for kind in [FieldKind::Text, FieldKind::Decimal, FieldKind::Date] {
            assert_eq!(held(&field(kind.clone(), 0), "null"), Assignment::Clear);
            assert_eq!(held(&field(kind, 0), "\"\""), Assignment::Clear);
        }
        // Not readable as its kind: it equals nothing.
        assert_eq!(held(&decimal, "\"abc\""), text("abc"));
    }

    #[test]
    fn references_are_external_ids() {
        let lookup = TargetField {
            reference: Some(Reference {
                object: super::super::ObjectId(1),
                object_name: "Account".into(),
                key_field: "Ext__c".into(),
                relationship: "Account".into(),
                polymorphic: false,
            }),
            ..field(FieldKind::Reference, 0)
        };
        let parent = |key: &str| Assignment::Set(FieldValue::Reference(key.into()));
        assert_eq!(held(&lookup, "\"a-1\""), parent("a-1"));
        assert_eq!(held(&lookup, "12.0"), parent("12"));
        assert_eq!(held(&lookup, "\"1.5\""), parent("1.5"));
        assert_eq!(held(&lookup, "null"), Assignment::Clear);
    }

    #[test]
    fn what_means_the_same_has_the_same_fingerprint() {
        let list = field(FieldKind::MultiPicklist, 0);
        let print = |f: &TargetField, t: &str| f.fingerprint(&text(t));
        assert_eq!(print(&list, "a;b"), print(&list, "b;a"));
        assert_ne!(print(&list, "a;b"), print(&list, "a"));
        let id = field(FieldKind::Reference, 0);
        assert_eq!(
            print(&id, "001Ws00000C1d2eIAB"),
            print(&id, "001Ws00000C1d2e")
        );
        let long = field(FieldKind::LongText, 0);
        assert_eq!(print(&long, "a\r\nb"), print(&long, "a\nb"));
        // Of a field that nobody contests it is the value's own.
        let plain = TargetField {
            owner: Owner::Source,
            ..list
        };
        assert_ne!(print(&plain, "a;b"), print(&plain, "b;a"));
    }

    #[test]
    fn a_row_of_history_is_checked_by_its_value() {
        let line = field(FieldKind::Text, 0);
        let long = "x".repeat(300);
        let cut = format!("\"{}\"", "x".repeat(255));
        assert!(history_tells(&line, "\"CFO\"", &text("CFO")));
        assert!(!history_tells(&line, "\"CFO\"", &text("CEO")));
        assert!(!history_tells(&line, "\"CF\"", &text("CFO")));
        assert!(history_tells(&line, &cut, &text(&long)));
        assert!(history_tells(&line, "null", &Assignment::Clear));
        let several = field(FieldKind::LongText, 0);
        assert!(history_tells(&several, "null", &text("anything")));
    }
}
