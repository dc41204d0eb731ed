//! How a column's values are made uniform: what the rule says, checked against column and field.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use compact_str::ToCompactString as _;

use super::{Compiler, Prepared, near};
use crate::config::{ColumnRule, Controls, Empty, Otherwise, Trim, Unicode};
use crate::mapping::normalize::{Normal, ValueMap, Written, Zone, is_textual};
use crate::mapping::{Assignment, FieldDescription, FieldKind, FieldValue};
use crate::value::ValueType;

impl<'a> Compiler<'a> {
    /// None where the rule says nothing of the values.
    pub(super) fn normal(
        &mut self,
        table: &Prepared<'a>,
        at: &str,
        rule: &ColumnRule,
        field: &FieldDescription,
        value_type: &ValueType,
    ) -> Option<Arc<Normal>> {
        let plain = Normal {
            trim: rule.trim,
            drop_controls: rule.controls == Controls::Drop,
            nfc: rule.unicode == Unicode::Nfc,
            keep_empty: rule.empty == Empty::Keep,
            values: None,
            zone: None,
        };
        for (name, said) in [
            ("trim", rule.trim != Trim::default()),
            ("controls", plain.drop_controls),
            ("unicode", plain.nfc),
            ("empty", plain.keep_empty),
        ] {
            let what = match (said, rule.references.is_some()) {
                (true, true) => {
                    "a reference is the key of its parent to the letter: nothing is done to it"
                }
                (true, false) if !is_textual(value_type) => "it is for text, and the column is not",
                _ => continue,
            };
            self.problem(format!("{at}.{name}"), what, "take it away");
        }
        let zone = rule
            .time_zone
            .as_deref()
            .and_then(|name| self.zone(&format!("{at}.time_zone"), name, field, value_type));
        let values = self.values(table, at, rule, field, value_type, &plain);
        let normal = Normal {
            values,
            zone,
            ..plain
        };
        (normal != Normal::default()).then(|| Arc::new(normal))
    }

    fn zone(
        &mut self,
        at: &str,
        name: &str,
        field: &FieldDescription,
        value_type: &ValueType,
    ) -> Option<Zone> {
        let wrong = match (value_type, &field.kind) {
            (_, FieldKind::Reference) => Some("a reference has no time zone"),
            (ValueType::Timestamp, FieldKind::Date) => {
                Some("the day of a timestamp without zone is the one that it states, in every zone")
            }
            (ValueType::Timestamp, _) => None,
            (ValueType::Date, FieldKind::DateTime) | (ValueType::TimestampTz, FieldKind::Date) => {
                None
            }
            (ValueType::TimestampTz, _) => Some(
                "a timestamp with time zone is an instant already; only a date field asks for its day",
            ),
            (ValueType::Date, _) => {
                Some("a date has no time; only a date-time field asks for its zone")
            }
            _ => Some("it is for timestamps, and the column is none"),
        };
        if let Some(wrong) = wrong {
            self.problem(at.to_owned(), wrong, "take it away");
            return None;
        }
        let zone = Zone::find(name);
        if zone.is_none() {
            let known: Vec<String> = jiff::tz::db()
                .available()
                .map(|n| n.as_str().to_owned())
                .collect();
            let near = near(name, known.iter().map(String::as_str));
            self.problem(
                at.to_owned(),
                format!("there is no time zone {name:?}{near}"),
                "name it as the IANA time zone database does, such as \"Europe/Berlin\"",
            );
        }
        zone
    }

    fn values(
        &mut self,
        table: &Prepared<'a>,
        at: &str,
        rule: &ColumnRule,
        field: &FieldDescription,
        value_type: &ValueType,
        plain: &Normal,
    ) -> Option<ValueMap> {
        if rule.values.is_empty() {
            return None;
        }
        let whole = matches!(value_type, ValueType::Int | ValueType::Unsigned);
        if !(whole || *value_type == ValueType::Bool || is_textual(value_type)) {
            self.problem(
                format!("{at}.values"),
                "a value map is for text, enumerations, whole numbers and booleans",
                "take it away, or map the values in the database",
            );
            return None;
        }
        let reference = rule.references.is_some();
        let mut known = BTreeMap::new();
        for (name, value) in &rule.values {
            let at = format!("{at}.values.{name:?}");
            let never = match value_type {
                ValueType::Bool if !matches!(name.as_str(), "true" | "false") => {
                    Some("a boolean is true or false: this never occurs")
                }
                _ if whole && name.parse::<i128>().map(|n| n.to_string()).as_ref() != Ok(name) => {
                    Some("the column holds whole numbers: this never occurs")
                }
                _ if !reference && is_textual(value_type) && plain.text(name) != *name => {
                    Some("values are made uniform before they are looked up: this never occurs")
                }
                _ => None,
            };
            if let Some(never) = never {
                self.problem(at.clone(), never, "correct it, or take it away");
            }
            if let Some(written) = self.written(table, &at, field, value, reference) {
                known.insert(name.as_str().into(), written);
            }
        }
        let otherwise = match &rule.otherwise {
            Otherwise::Keep => None,
            Otherwise::Reject => Some(Written::Reject),
            Otherwise::Null => Some(Written::Null),
            Otherwise::Value(value) => {
                self.written(table, &format!("{at}.otherwise"), field, value, reference)
            }
        };
        Some(ValueMap { known, otherwise })
    }

    fn written(
        &mut self,
        table: &Prepared<'a>,
        at: &str,
        field: &FieldDescription,
        value: &toml::Value,
        reference: bool,
    ) -> Option<Written> {
        if reference {
            let key = match value {
                toml::Value::String(s) if s.is_empty() => return Some(Written::Empty),
                toml::Value::String(s) => s.as_str().into(),
                toml::Value::Integer(n) => n.to_compact_string(),
                _ => {
                    self.problem(
                        at.to_owned(),
                        "a reference is the key of a row of the table it refers to",
                        "give a text or a whole number",
                    );
                    return None;
                }
            };
            return Some(Written::Value(FieldValue::Reference(key)));
        }
        Some(match self.assignment(table, at, field, value)? {
            Assignment::Set(value) => Written::Value(value),
            Assignment::Clear => Written::Empty,
        })
    }
}

/// The type that a field sees once the zone is told.
pub(super) fn zoned<'t>(normal: Option<&Normal>, value_type: &'t ValueType) -> Cow<'t, ValueType> {
    let zoned = normal.is_some_and(|n| n.zone.is_some());
    match value_type {
        ValueType::Timestamp | ValueType::Date if zoned => Cow::Owned(ValueType::TimestampTz),
        ValueType::TimestampTz if zoned => Cow::Owned(ValueType::Date),
        other => Cow::Borrowed(other),
    }
}
