//! What a column's rule makes of its values before they are coerced, so that a source that writes
//! one thing in several ways gives the CRM one.
//!
//! ```text
//! controls ─► unicode ─► trim ─► values (or otherwise) ─► time zone ─► coerce
//!  └────────── text only ──────┘
//! ```
//!
//! Invariants
//! - A value that nothing changes is not copied. A column without such a rule never gets here.
//! - Fingerprints are of what comes out: a row whose raw value changed, but not what it is made
//!   into, is unchanged.
//! - The external id and references are made from the values as they are.
//! - What a value map writes was coerced once, when it was compiled.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use compact_str::ToCompactString;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::coerce::{Refusal, coerce, trim};
use super::{FieldDescription, FieldKind, FieldValue};
use crate::config::Trim;
use crate::decode;
use crate::value::{DateValue, TimestampValue, Value, ValueType};

const DAY_MICROS: i64 = 86_400_000_000;

/// How a column's values are made uniform.
#[derive(Clone, PartialEq, Debug)]
pub struct Normal {
    /// White space that goes.
    pub trim: Trim,
    /// Control characters go, but for tab, line feed and carriage return.
    pub drop_controls: bool,
    /// Text is brought into Normalization Form C.
    pub nfc: bool,
    /// An empty text empties the field, whatever the null rule says.
    pub keep_empty: bool,
    /// What stands for what.
    pub values: Option<ValueMap>,
    /// The zone of readings without one.
    pub zone: Option<Zone>,
}

impl Default for Normal {
    /// What holds for a column of which nothing is said: all that is left to the CRM's own trimming.
    fn default() -> Self {
        Normal {
            trim: Trim::Ends,
            drop_controls: false,
            nfc: false,
            keep_empty: false,
            values: None,
            zone: None,
        }
    }
}

/// What stands for what.
#[derive(Clone, PartialEq, Debug)]
pub struct ValueMap {
    /// By the text of the column's value.
    pub known: BTreeMap<Box<str>, Written>,
    /// For every other value; none: it stays what it is.
    pub otherwise: Option<Written>,
}

/// What a value map makes of a value.
#[derive(Clone, PartialEq, Debug)]
pub enum Written {
    /// This.
    Value(FieldValue),
    /// An empty text.
    Empty,
    /// It counts as NULL.
    Null,
    /// Its row cannot be written.
    Reject,
}

/// A time zone with its name.
#[derive(Clone, PartialEq)]
pub struct Zone {
    /// As the IANA database calls it.
    pub name: Box<str>,
    rules: TimeZone,
}

impl Zone {
    /// The zone of that name: by the machine's database, else by the one that is built in.
    pub fn find(name: &str) -> Option<Zone> {
        let rules = TimeZone::get(name).ok()?;
        let name = rules.iana_name().unwrap_or(name).into();
        Some(Zone { name, rules })
    }

    /// The instant of a reading of clock and calendar, in microseconds since 1970-01-01.
    ///
    /// A reading that a change of the clocks skips is moved on by as much as they are; of two
    /// instants with the same reading it is the earlier (RFC 5545 §3.3.5).
    fn instant(&self, reading: i64) -> Option<i64> {
        let days = i32::try_from(reading.div_euclid(DAY_MICROS)).ok()?;
        let date = self::date(days)?;
        let clock = reading.rem_euclid(DAY_MICROS);
        let (seconds, micros) = (clock / 1_000_000, clock % 1_000_000);
        let part = |n: i64| i8::try_from(n).ok();
        let time = DateTime::new(
            date.year(),
            date.month(),
            date.day(),
            part(seconds / 3_600)?,
            part(seconds / 60 % 60)?,
            part(seconds % 60)?,
            i32::try_from(micros * 1_000).ok()?,
        );
        let ambiguous = self.rules.to_ambiguous_timestamp(time.ok()?);
        Some(ambiguous.compatible().ok()?.as_microsecond())
    }

    /// The day that an instant has here, in days since 1970-01-01.
    fn day(&self, instant: i64) -> Option<i32> {
        let instant = jiff::Timestamp::from_microsecond(instant).ok()?;
        let offset = self.rules.to_offset(instant).seconds();
        let local = instant.as_microsecond() + i64::from(offset) * 1_000_000;
        i32::try_from(local.div_euclid(DAY_MICROS)).ok()
    }

    /// The value with this zone told.
    fn apply<'v>(&self, kind: &FieldKind, value: Value<'v>) -> Result<Value<'v>, Refusal> {
        let instant = |reading: i64| match self.instant(reading) {
            Some(micros) => Ok(Value::TimestampTz(TimestampValue::Micros(micros))),
            None => Err(Refusal::OutOfRange),
        };
        match (&value, kind) {
            (Value::Timestamp(TimestampValue::Micros(_)), FieldKind::Date) => Ok(value),
            (Value::Timestamp(TimestampValue::Micros(reading)), _) => instant(*reading),
            (Value::Date(DateValue::Days(days)), FieldKind::DateTime) => {
                instant(i64::from(*days).saturating_mul(DAY_MICROS))
            }
            (Value::TimestampTz(TimestampValue::Micros(micros)), FieldKind::Date) => {
                let days = self.day(*micros).ok_or(Refusal::OutOfRange)?;
                Ok(Value::Date(DateValue::Days(days)))
            }
            _ => Ok(value),
        }
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn date(days: i32) -> Option<Date> {
    let epoch = Date::constant(1970, 1, 1);
    epoch
        .checked_add(jiff::Span::new().try_days(days).ok()?)
        .ok()
}

/// What became of a value.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Outcome {
    Set(FieldValue),
    /// The CRM would hold it as null: an empty text, an empty list.
    Empty,
    /// It counts as NULL.
    Null,
}

impl Normal {
    /// What `field` gets for `value`.
    pub(super) fn assign(
        &self,
        field: &FieldDescription,
        value_type: &ValueType,
        value: Value<'_>,
    ) -> Result<Outcome, Refusal> {
        let text;
        let value = match value {
            Value::Text(raw) => {
                text = self.text(raw);
                Value::Text(&text)
            }
            // A timestamp beyond its own type comes as text too; that is not for us.
            Value::Other(raw) if is_textual(value_type) => {
                text = self.text(raw);
                Value::Other(&text)
            }
            other => other,
        };
        if let Some(written) = self.values.as_ref().and_then(|v| v.look(&value)) {
            return written.outcome();
        }
        let value = match &self.zone {
            Some(zone) => zone.apply(&field.kind, value)?,
            None => value,
        };
        Ok(match coerce(field, value_type, &value)? {
            Some(value) => Outcome::Set(value),
            None => Outcome::Empty,
        })
    }

    /// What the value map makes of the key of a parent; none where it says nothing of it.
    pub(super) fn reference(
        &self,
        value_type: &ValueType,
        bytes: &[u8],
    ) -> Option<Result<Outcome, Refusal>> {
        let values = self.values.as_ref()?;
        match decode::value(value_type, bytes) {
            Ok(value) => values.look(&value).map(Written::outcome),
            Err(_) => Some(Err(Refusal::Unreadable)),
        }
    }

    /// Every value gets its place from the value map: the column's own type does not matter.
    pub(super) fn covers(&self) -> bool {
        self.values.as_ref().is_some_and(|v| v.otherwise.is_some())
    }

    /// The text as the value map and the field see it.
    pub(super) fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let text = match self.drop_controls && text.contains(refused) {
            true => Cow::Owned(text.replace(refused, "")),
            false => Cow::Borrowed(text),
        };
        let text =
            match self.nfc && !text.is_ascii() && is_nfc_quick(text.chars()) != IsNormalized::Yes {
                true => Cow::Owned(text.nfc().collect()),
                false => text,
            };
        match (self.trim, text) {
            (Trim::None, text) => text,
            (Trim::Ends, Cow::Borrowed(text)) => Cow::Borrowed(trim(text)),
            (Trim::Ends, Cow::Owned(text)) => Cow::Owned(trim(&text).to_owned()),
            (Trim::Collapse, Cow::Borrowed(text)) => collapse(trim(text)),
            (Trim::Collapse, Cow::Owned(text)) => Cow::Owned(collapse(trim(&text)).into_owned()),
        }
    }
}

impl Written {
    fn outcome(&self) -> Result<Outcome, Refusal> {
        match self {
            Written::Value(value) => Ok(Outcome::Set(value.clone())),
            Written::Empty => Ok(Outcome::Empty),
            Written::Null => Ok(Outcome::Null),
            Written::Reject => Err(Refusal::NotInValueMap),
        }
    }
}

impl ValueMap {
    /// What `value` becomes; none where it stays what it is.
    fn look(&self, value: &Value<'_>) -> Option<&Written> {
        let number;
        let text = match value {
            Value::Text(text) | Value::Other(text) => text,
            Value::Bool(true) => "true",
            Value::Bool(false) => "false",
            Value::Int(n) => {
                number = n.to_compact_string();
                number.as_str()
            }
            Value::Unsigned(n) => {
                number = n.to_compact_string();
                number.as_str()
            }
            // A type that had no place in a value map when it was compiled: it changed since.
            _ => return self.otherwise.as_ref(),
        };
        match self.known.get(text) {
            Some(written) => Some(written),
            // Like NULL, it is no value that somebody forgot to name.
            None if trim(text).is_empty() => Some(&Written::Empty),
            None => self.otherwise.as_ref(),
        }
    }
}

/// What Salesforce takes for text outside of its character set.
fn refused(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n' | '\r')
}

/// Each run of white space becomes one blank.
fn collapse(text: &str) -> Cow<'_, str> {
    let mut blank = false;
    let uniform = text.chars().all(|c| {
        let again = c.is_whitespace() && (blank || c != ' ');
        blank = c == ' ';
        !again
    });
    if uniform {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    Cow::Owned(out)
}

/// Types whose values are text that people wrote, or words.
pub(super) fn is_textual(value_type: &ValueType) -> bool {
    matches!(
        value_type,
        ValueType::Text | ValueType::PaddedText | ValueType::Enum | ValueType::Other(_)
    )
}

#[cfg(test)]
mod tests;
