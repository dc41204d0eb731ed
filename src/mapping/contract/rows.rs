//! A row against its contract: one small check a bound column, made when the relation is bound.
//!
//! Postgres keeps its own types, so a row breaks a contract only where the table has changed since
//! the contract was agreed: a longer text, a new label, a NULL, another type.

use std::borrow::Cow;

use super::build::{BYTES, NOT_FINITE, TIME, TIME_TZ, TIMESTAMP};
use super::{Contracts, Property};
use crate::change::{Datum, Relation};
use crate::decode;
use crate::mapping::bind::{Bound, Step, StepSource};
use crate::value::{Value, ValueType};

/// What one column's values have to be.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::mapping) struct Check {
    null: bool,
    holds: Holds,
}

#[derive(Clone, PartialEq, Debug)]
enum Holds {
    Anything,
    Bool,
    Whole {
        least: i64,
        most: i128,
    },
    Number {
        digits: Option<(i32, i32)>,
    },
    Text {
        most: usize,
    },
    /// Sorted.
    Label(Box<[Box<str>]>),
    Date,
    Instant,
    Timestamp,
    Time,
    TimeTz,
    Uuid,
    Bytes,
    Array,
}

/// How a value breaks its contract. It never quotes the value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::mapping) enum Breach {
    Null,
    Type,
    TooLong(usize),
    OutOfRange,
    NoLabel,
}

impl Breach {
    /// In words that follow the column's name.
    pub(in crate::mapping) fn words(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Breach::Null => "is NULL, which the contract rules out",
            Breach::Type => "is not of the type that the contract states",
            Breach::TooLong(most) => {
                return Cow::Owned(format!(
                    "is longer than the {most} characters that the contract states"
                ));
            }
            Breach::OutOfRange => "is a number outside of what the contract states",
            Breach::NoLabel => "is none of the values that the contract lists",
        })
    }
}

impl Bound {
    /// With the checks of the table's contract beside its steps.
    pub(in crate::mapping) fn under(mut self, contracts: &Contracts, relation: &Relation) -> Self {
        let Some(contract) = contracts.get(&self.table.target.table) else {
            return self;
        };
        let check = |step: &Step| match &step.source {
            StepSource::Constant(_) => None,
            StepSource::Column { index, .. } => {
                let column = relation.columns.get(*index)?;
                Check::new(contract.column(&column.name)?).ok()
            }
        };
        self.checks = self.steps.iter().map(check).collect();
        self
    }
}

impl Check {
    /// The check for a column; why there is none, if it says something that we cannot check.
    pub(super) fn new(property: &Property) -> Result<Check, String> {
        let mut types: Vec<&str> = property.types.iter().map(String::as_str).collect();
        let null = types.is_empty() || types.contains(&"null");
        types.retain(|t| *t != "null");
        let (format, pattern) = (property.format.as_deref(), property.pattern.as_deref());
        let holds = match types.as_slice() {
            [] => Holds::Anything,
            ["boolean"] => Holds::Bool,
            ["array"] => Holds::Array,
            ["integer"] => Holds::Whole {
                least: match &property.minimum {
                    None => i64::MIN,
                    Some(n) => n.as_i64().ok_or("minimum is no whole number")?,
                },
                most: match &property.maximum {
                    None => i128::MAX,
                    Some(n) => n.as_i128().ok_or("maximum is no whole number")?,
                },
            },
            ["number", "string"] if pattern == Some(NOT_FINITE) => Holds::Number {
                digits: property.terms.precision.zip(property.terms.scale),
            },
            ["string"] => match (&property.labels, format, pattern) {
                (Some(labels), None, None) => {
                    let mut labels: Vec<Box<str>> =
                        labels.iter().flatten().map(|l| l.as_str().into()).collect();
                    labels.sort();
                    Holds::Label(labels.into())
                }
                (None, Some("date"), None) => Holds::Date,
                (None, Some("date-time"), None) => Holds::Instant,
                (None, Some("uuid"), None) => Holds::Uuid,
                (None, None, Some(TIMESTAMP)) => Holds::Timestamp,
                (None, None, Some(TIME)) => Holds::Time,
                (None, None, Some(TIME_TZ)) => Holds::TimeTz,
                (None, None, Some(BYTES)) => Holds::Bytes,
                (None, None, None) => Holds::Text {
                    most: property.max_length.unwrap_or(usize::MAX),
                },
                _ => return Err("a format or a pattern that rows are not checked for".into()),
            },
            other => return Err(format!("the types {}", other.join(", "))),
        };
        Ok(Check { null, holds })
    }

    /// The same for a column whose value has not been read yet.
    pub(in crate::mapping) fn datum(
        &self,
        value_type: &ValueType,
        datum: Datum<'_>,
    ) -> Option<Breach> {
        match datum {
            Datum::Unchanged => None,
            Datum::Null => (!self.null).then_some(Breach::Null),
            Datum::Text(bytes) => match decode::value(value_type, bytes) {
                Ok(value) => self.value(&value),
                Err(_) => Some(Breach::Type),
            },
        }
    }

    /// How the value breaks the contract, if it does.
    pub(in crate::mapping) fn value(&self, value: &Value<'_>) -> Option<Breach> {
        let typed = |good: bool| (!good).then_some(Breach::Type);
        let within = |good: bool| (!good).then_some(Breach::OutOfRange);
        match (&self.holds, value) {
            (Holds::Anything, _) => None,
            (Holds::Text { most }, Value::Text(text) | Value::Other(text)) => {
                // No text has more characters than bytes.
                let long = text.len() > *most && text.chars().count() > *most;
                long.then_some(Breach::TooLong(*most))
            }
            (Holds::Text { .. }, Value::Interval { .. } | Value::IntervalInfinity { .. }) => None,
            (Holds::Text { .. }, Value::Inet(_) | Value::Money(_)) => None,
            (Holds::Label(labels), Value::Text(text) | Value::Other(text)) => labels
                .binary_search_by(|l| (**l).cmp(text))
                .is_err()
                .then_some(Breach::NoLabel),
            (Holds::Whole { least, most }, Value::Int(n)) => {
                within(n >= least && i128::from(*n) <= *most)
            }
            (Holds::Whole { least, most }, Value::Unsigned(n)) => {
                within(i128::from(*n) >= i128::from(*least) && i128::from(*n) <= *most)
            }
            (Holds::Whole { least, most }, Value::Numeric(text)) => match text.parse::<i128>() {
                Ok(n) => within(n >= i128::from(*least) && n <= *most),
                Err(_) => Some(Breach::Type),
            },
            (
                Holds::Number {
                    digits: Some(digits),
                },
                Value::Numeric(text),
            ) => within(fits(text, *digits)),
            (
                Holds::Number {
                    digits: Some(digits),
                },
                Value::Int(n),
            ) => {
                let text = compact_str::ToCompactString::to_compact_string(n);
                within(fits(&text, *digits))
            }
            (
                Holds::Number { .. },
                Value::Int(_)
                | Value::Unsigned(_)
                | Value::Float(_)
                | Value::Numeric(_)
                | Value::NumericNan
                | Value::NumericInfinity { .. },
            ) => None,
            // A moment too far away for its type comes as its text.
            (Holds::Date, v) => typed(matches!(v, Value::Date(_) | Value::Other(_))),
            (Holds::Instant, v) => typed(matches!(v, Value::TimestampTz(_) | Value::Other(_))),
            (Holds::Timestamp, v) => typed(matches!(v, Value::Timestamp(_) | Value::Other(_))),
            (Holds::Time, v) => typed(matches!(v, Value::Time(_))),
            (Holds::TimeTz, v) => typed(matches!(v, Value::TimeTz { .. })),
            (Holds::Uuid, v) => typed(matches!(v, Value::Uuid(_))),
            (Holds::Bytes, v) => typed(matches!(v, Value::Bytea(_))),
            (Holds::Bool, v) => typed(matches!(v, Value::Bool(_))),
            (Holds::Array, v) => typed(matches!(v, Value::Array(_))),
            _ => Some(Breach::Type),
        }
    }
}

/// Whether a number as Postgres prints it has no more digits than `numeric(precision, scale)`.
fn fits(text: &str, (precision, scale): (i32, i32)) -> bool {
    let bare = text.trim_start_matches(['-', '+']);
    let (whole, fraction) = bare.split_once('.').unwrap_or((bare, ""));
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    if whole.is_empty() && fraction.is_empty() {
        return true;
    }
    let count = |s: &str| i32::try_from(s.len()).unwrap_or(i32::MAX);
    let zeros = count(whole) - count(whole.trim_end_matches('0'));
    // A fraction's leading zeros count for nothing where the scale is beyond the precision.
    let left = match whole {
        "" => count(fraction.trim_start_matches('0')) - count(fraction),
        whole => count(whole),
    };
    left <= precision - scale
        && count(fraction) <= scale.max(0)
        && (scale >= 0 || whole.is_empty() || zeros >= -scale)
}
