//! What a field is in Salesforce's words, and whether one that is there can stand for one that is
//! wanted.

use serde_json::{Map, Value, json};

use crate::mapping::{FieldSpec, NewField};

/// Longest help text.
const HELP_CHARS: usize = 510;
/// Longest label.
const LABEL_CHARS: usize = 40;
/// Lines that a long text shows on a page.
const VISIBLE_LINES: u32 = 3;

/// The `Metadata` of a field to be made.
pub(super) fn of(spec: &FieldSpec) -> Value {
    let mut metadata = Map::new();
    let mut set = |key: &str, value: Value| {
        metadata.insert(key.to_owned(), value);
    };
    set("label", json!(clip(&spec.label, LABEL_CHARS)));
    set("type", json!(type_name(spec.kind)));
    match spec.kind {
        NewField::Text { length } => set("length", json!(length)),
        NewField::LongText { length } => {
            set("length", json!(length));
            set("visibleLines", json!(VISIBLE_LINES));
        }
        NewField::Number { precision, scale } => {
            set("precision", json!(precision));
            set("scale", json!(scale));
        }
        NewField::Checkbox => set("defaultValue", json!(false)),
        NewField::Date | NewField::DateTime | NewField::Time => {}
    }
    if !spec.help.is_empty() {
        set("inlineHelpText", json!(clip(&spec.help, HELP_CHARS)));
    }
    Value::Object(metadata)
}

fn type_name(kind: NewField) -> &'static str {
    match kind {
        NewField::Text { .. } => "Text",
        NewField::LongText { .. } => "LongTextArea",
        NewField::Number { .. } => "Number",
        NewField::Checkbox => "Checkbox",
        NewField::Date => "Date",
        NewField::DateTime => "DateTime",
        NewField::Time => "Time",
    }
}

/// The kind as Setup calls it.
pub(super) fn words(kind: NewField) -> String {
    match kind {
        NewField::Text { length } => format!("Text, {length} characters"),
        NewField::LongText { length } => format!("Long Text Area, {length} characters"),
        NewField::Number { precision, scale } => format!(
            "Number, {} digits left of the point and {scale} right of it",
            precision.saturating_sub(scale)
        ),
        NewField::Checkbox => "Checkbox".into(),
        NewField::Date => "Date".into(),
        NewField::DateTime => "Date/Time".into(),
        NewField::Time => "Time".into(),
    }
}

/// Why the field with this `Metadata` cannot hold what is wanted; `None` if it can.
pub(super) fn difference(wanted: NewField, metadata: &Value) -> Option<String> {
    let kind = metadata.get("type").and_then(Value::as_str).unwrap_or("");
    if kind != type_name(wanted) {
        return Some(if kind.is_empty() {
            "its type cannot be read".into()
        } else {
            format!("is of type {kind}")
        });
    }
    if metadata.get("formula").is_some_and(|f| !f.is_null()) {
        return Some("is a formula".into());
    }
    let number = |key: &str| match metadata.get(key) {
        Some(Value::String(text)) => text.parse().ok(),
        other => other.and_then(Value::as_u64),
    };
    match wanted {
        NewField::Text { length } | NewField::LongText { length } => {
            let has = number("length")?;
            (has < u64::from(length)).then(|| format!("holds {has} characters only"))
        }
        NewField::Number { precision, scale } => {
            let (all, right) = (number("precision")?, number("scale")?);
            let left = all.saturating_sub(right);
            let fits =
                right >= u64::from(scale) && left >= u64::from(precision.saturating_sub(scale));
            (!fits).then(|| {
                format!("has {left} digits left of the point and {right} right of it only")
            })
        }
        NewField::Checkbox | NewField::Date | NewField::DateTime | NewField::Time => None,
    }
}

/// An API name without its suffix and its namespace.
pub(super) fn developer_name(name: &str) -> &str {
    let mut parts = name.split("__");
    match (parts.next(), parts.next(), parts.next()) {
        (Some(_), Some(stem), Some(_)) => stem,
        (Some(stem), Some(_), None) => stem,
        _ => name,
    }
}

fn clip(text: &str, chars: usize) -> &str {
    match text.char_indices().nth(chars) {
        Some((end, _)) => text.get(..end).unwrap_or(text),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_told_in_salesforces_words() {
        for (kind, rest) in [
            (
                NewField::Text { length: 80 },
                json!({"type": "Text", "length": 80}),
            ),
            (
                NewField::LongText { length: 4000 },
                json!({"type": "LongTextArea", "length": 4000, "visibleLines": 3}),
            ),
            (
                NewField::Number {
                    precision: 18,
                    scale: 2,
                },
                json!({"type": "Number", "precision": 18, "scale": 2}),
            ),
            (
                NewField::Checkbox,
                json!({"type": "Checkbox", "defaultValue": false}),
            ),
            (NewField::Date, json!({"type": "Date"})),
            (NewField::DateTime, json!({"type": "DateTime"})),
            (NewField::Time, json!({"type": "Time"})),
        ] {
            let spec = FieldSpec {
                name: "A__c".into(),
                label: "ä".repeat(50).into(),
                kind,
                help: "h".repeat(600).into(),
            };
            let mut metadata = of(&spec);
            assert_eq!(difference(kind, &metadata), None);
            let map = metadata.as_object_mut();
            let help = map.and_then(|m| m.remove("inlineHelpText"));
            assert_eq!(help, Some(json!("h".repeat(510))));
            let label = metadata.as_object_mut().and_then(|m| m.remove("label"));
            assert_eq!(label, Some(json!("ä".repeat(40))));
            assert_eq!(metadata, rest);
        }
    }

    #[test]
    fn a_field_that_is_there_may_be_larger_but_not_another() {
        let text = NewField::Text { length: 80 };
        let number = NewField::Number {
            precision: 12,
            scale: 2,
        };
        for (wanted, metadata, difference_) in [
            (text, json!({"type": "Text", "length": 80}), None),
            (text, json!({"type": "Text", "length": "255"}), None),
            (
                text,
                json!({"type": "Text", "length": 79}),
                Some("holds 79 characters only"),
            ),
            (
                text,
                json!({"type": "LongTextArea", "length": 800}),
                Some("is of type LongTextArea"),
            ),
            (
                text,
                json!({"type": "Text", "length": 80, "formula": "Name"}),
                Some("is a formula"),
            ),
            (text, json!({}), Some("its type cannot be read")),
            (text, Value::Null, Some("its type cannot be read")),
            (
                number,
                json!({"type": "Number", "precision": 18, "scale": 4}),
                None,
            ),
            (
                number,
                json!({"type": "Number", "precision": 12, "scale": 4}),
                Some("has 8 digits left of the point and 4 right of it only"),
            ),
            (
                number,
                json!({"type": "Number", "precision": 18, "scale": 0}),
                Some("has 18 digits left of the point and 0 right of it only"),
            ),
            (
                NewField::Date,
                json!({"type": "DateTime"}),
                Some("is of type DateTime"),
            ),
        ] {
            let found = difference(wanted, &metadata);
            assert_eq!(found.as_deref(), difference_, "{metadata}");
        }
    }

    #[test]
    fn names_lose_their_suffix_and_their_namespace() {
        for (name, stem) in [
            ("Order_Item__c", "Order_Item"),
            ("ns__Order__c", "Order"),
            ("Contact", "Contact"),
            ("", ""),
        ] {
            assert_eq!(developer_name(name), stem);
        }
    }
}
