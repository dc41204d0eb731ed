//! Text, and the text form of everything else.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use compact_str::{CompactString, ToCompactString};

use super::{Refusal, list, time};
use crate::mapping::{FieldDescription, FieldKind, FieldValue};
use crate::value::{DateValue, TimestampValue, Value, ValueType};

/// Without the white space at its ends that the CRM drops. Which characters it takes for white space
/// is not documented; this drops all that Java's `trim` (up to U+0020) and Unicode call so, and
/// what is left is stored as it is under either reading. Characters inside are kept, control
/// characters too: the CRM judges them.
pub(crate) fn trim(text: &str) -> &str {
    let blank = |b: Option<&u8>| b.is_some_and(|b| *b <= b' ' || *b >= 0x80);
    // Most text begins and ends with a visible ASCII character.
    if blank(text.as_bytes().first()) || blank(text.as_bytes().last()) {
        return text.trim_matches(|c: char| c <= ' ' || c.is_whitespace());
    }
    text
}

/// UTF-16 units, in which the CRM counts the length of text (it runs on Java strings).
pub(crate) fn units(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.encode_utf16().count()
    }
}

/// Refuses what is longer than the field. A length of 0 sets no bound.
pub(super) fn bounded(field: &FieldDescription, text: &str) -> Result<(), Refusal> {
    let limit = usize::try_from(field.length).unwrap_or(usize::MAX);
    // UTF-8 never takes fewer bytes than UTF-16 takes units.
    if limit == 0 || text.len() <= limit || units(text) <= limit {
        Ok(())
    } else {
        Err(Refusal::TooLong {
            limit: field.length,
        })
    }
}

/// As much of a text as `limit` UTF-16 units hold, without a blank at its end; characters stay whole.
pub(crate) fn cut(text: &str, limit: u32) -> &str {
    let mut left = usize::try_from(limit).unwrap_or(usize::MAX);
    let fits = |(_, c): &(usize, char)| match left.checked_sub(c.len_utf16()) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    let end = text.char_indices().take_while(fits).last();
    let end = end.map_or(0, |(at, c)| at + c.len_utf8());
    trim(text.get(..end).unwrap_or(text))
}

/// Refuses what a restricted list does not have. Values are compared as they are listed.
pub(super) fn listed(field: &FieldDescription, text: &str) -> Result<(), Refusal> {
    if !field.restricted || field.picklist.iter().any(|value| **value == *text) {
        Ok(())
    } else {
        Err(Refusal::NotInPicklist)
    }
}

/// One text: all text kinds but the list of several values.
pub(super) fn line(
    field: &FieldDescription,
    value_type: &ValueType,
    value: &Value<'_>,
) -> Result<Option<FieldValue>, Refusal> {
    let rendered = render(value_type, value)?;
    let text = trim(&rendered);
    if text.is_empty() {
        return Ok(None);
    }
    bounded(field, text)?;
    match field.kind {
        FieldKind::Email if !is_email(text) => return Err(Refusal::NotAnEmail),
        FieldKind::Picklist => listed(field, text)?,
        _ => {}
    }
    Ok(Some(FieldValue::Text(CompactString::new(text))))
}

/// Only what no CRM takes is refused here: its own check is stricter, and has the last word.
fn is_email(text: &str) -> bool {
    match text.rsplit_once('@') {
        Some((local, domain)) => {
            !local.is_empty()
                && !domain.is_empty()
                && !text.contains(|c: char| c.is_whitespace() || c.is_control())
        }
        None => false,
    }
}

/// An id of the CRM for a lookup that is not resolved by `references`.
pub(super) fn crm_id(value: &Value<'_>) -> Result<Option<FieldValue>, Refusal> {
    let (Value::Text(text) | Value::Other(text)) = value else {
        return Err(Refusal::WrongType);
    };
    match trim(text) {
        "" => Ok(None),
        id if matches!(id.len(), 15 | 18) && id.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            Ok(Some(FieldValue::Text(CompactString::new(id))))
        }
        _ => Err(Refusal::NotAnId),
    }
}

/// The text form of a value: as Postgres prints it where people know that form, ISO 8601 for dates,
/// times and intervals, `true` and `false`, base64 for bytes, JSON for arrays.
pub(crate) fn render<'v>(
    value_type: &ValueType,
    value: &'v Value<'_>,
) -> Result<Cow<'v, str>, Refusal> {
    let owned: String = match value {
        Value::Text(s)
        | Value::Numeric(s)
        | Value::Json(s)
        | Value::Inet(s)
        | Value::Money(s)
        | Value::Other(s) => return Ok(Cow::Borrowed(s)),
        Value::Bool(true) => return Ok(Cow::Borrowed("true")),
        Value::Bool(false) => return Ok(Cow::Borrowed("false")),
        Value::NumericNan => return Ok(Cow::Borrowed("NaN")),
        Value::NumericInfinity { negative } | Value::IntervalInfinity { negative } => {
            return Ok(Cow::Borrowed(infinity(*negative)));
        }
        Value::Date(DateValue::NegativeInfinity)
        | Value::Timestamp(TimestampValue::NegativeInfinity)
        | Value::TimestampTz(TimestampValue::NegativeInfinity) => {
            return Ok(Cow::Borrowed(infinity(true)));
        }
        Value::Date(DateValue::Infinity)
        | Value::Timestamp(TimestampValue::Infinity)
        | Value::TimestampTz(TimestampValue::Infinity) => {
            return Ok(Cow::Borrowed(infinity(false)));
        }
        Value::Float(f) if f.is_infinite() => return Ok(Cow::Borrowed(infinity(*f < 0.0))),
        Value::Int(n) => n.to_compact_string().into_string(),
        Value::Unsigned(n) => n.to_compact_string().into_string(),
        Value::Float(f) => float(*f),
        Value::Uuid(bytes) => uuid(bytes),
        Value::Bytea(bytes) => BASE64.encode(bytes),
        Value::Date(DateValue::Days(days)) => {
            let mut text = String::with_capacity(16);
            put_date(&mut text, i64::from(*days));
            text
        }
        Value::Timestamp(TimestampValue::Micros(micros)) => stamp(*micros),
        Value::TimestampTz(TimestampValue::Micros(micros)) => {
            let mut text = stamp(*micros);
            text.push('Z');
            text
        }
        Value::Time(micros) => {
            let mut text = String::with_capacity(16);
            put_clock(&mut text, *micros);
            text
        }
        Value::TimeTz { micros, offset } => time_tz(*micros, *offset),
        Value::Interval {
            months,
            days,
            micros,
        } => interval(*months, *days, *micros),
        Value::Array(elements) => {
            let ValueType::Array(element, _) = value_type else {
                return Err(Refusal::WrongType);
            };
            list::json(element, elements)?
        }
    };
    Ok(Cow::Owned(owned))
}

fn infinity(negative: bool) -> &'static str {
    if negative { "-infinity" } else { "infinity" }
}

/// The shortest digits, with an exponent where Postgres prints one (`1e+20`, `1e-07`).
fn float(f: f64) -> String {
    let size = f.abs();
    if size == 0.0 || f.is_nan() || (1e-4..1e15).contains(&size) {
        return f.to_string();
    }
    let text = format!("{f:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let sign = if exponent.starts_with('-') { '-' } else { '+' };
            format!("{digits}e{sign}{:0>2}", exponent.trim_start_matches('-'))
        }
        None => text,
    }
}

fn uuid(bytes: &[u8; 16]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for nibble in [byte >> 4, byte & 0xF] {
            text.push(HEX.get(usize::from(nibble)).map_or('0', |b| char::from(*b)));
        }
    }
    text
}

// Writing to a String cannot fail; the results below are dropped for that reason.

/// Years before 1 are written as Postgres does: `0044-03-15 BC`.
fn put_date(text: &mut String, days: i64) {
    let (year, month, day) = time::civil(days);
    if year > 0 {
        let _ = write!(text, "{year:04}-{month:02}-{day:02}");
    } else {
        let _ = write!(text, "{:04}-{month:02}-{day:02} BC", 1 - year);
    }
}

fn put_clock(text: &mut String, micros: i64) {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    let _ = write!(text, "{hours:02}:{minutes:02}:{:02}", seconds % 60);
    put_fraction(text, fraction);
}

fn put_fraction(text: &mut String, micros: i64) {
    if micros != 0 {
        let digits = format!("{micros:06}");
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
}

fn stamp(micros: i64) -> String {
    let days = micros.div_euclid(86_400_000_000);
    let mut date = String::with_capacity(32);
    put_date(&mut date, days);
    let mut clock = String::with_capacity(16);
    put_clock(&mut clock, micros.rem_euclid(86_400_000_000));
    match date.strip_suffix(" BC") {
        Some(bare) => format!("{bare}T{clock} BC"),
        None => {
            date.push('T');
            date.push_str(&clock);
            date
        }
    }
}

fn time_tz(micros: i64, offset: i32) -> String {
    let mut text = String::with_capacity(24);
    put_clock(&mut text, micros);
    let sign = if offset < 0 { '-' } else { '+' };
    let size = offset.unsigned_abs();
    let _ = write!(text, "{sign}{:02}:{:02}", size / 3_600, size / 60 % 60);
    if !size.is_multiple_of(60) {
        let _ = write!(text, ":{:02}", size % 60);
    }
    text
}

/// ISO 8601 with a sign a part, as Postgres prints with `intervalstyle = iso_8601`.
fn interval(months: i64, days: i64, micros: i64) -> String {
    if months == 0 && days == 0 && micros == 0 {
        return "PT0S".into();
    }
    let mut text = String::from("P");
    for (number, unit) in [(months / 12, 'Y'), (months % 12, 'M'), (days, 'D')] {
        if number != 0 {
            let _ = write!(text, "{number}{unit}");
        }
    }
    if micros != 0 {
        text.push('T');
        let seconds = micros / 1_000_000;
        for (number, unit) in [(seconds / 3_600, 'H'), (seconds / 60 % 60, 'M')] {
            if number != 0 {
                let _ = write!(text, "{number}{unit}");
            }
        }
        if micros % 60_000_000 != 0 {
            if micros < 0 {
                text.push('-');
            }
            let _ = write!(text, "{}", (seconds % 60).abs());
            put_fraction(&mut text, (micros % 1_000_000).abs());
            text.push('S');
        }
    }
    text
}
