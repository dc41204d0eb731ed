//! Dates, times and instants, in the range that the CRM can hold: 1700-01-01 to 4000-12-31.

use compact_str::CompactString;

use super::{Refusal, trim};
use crate::mapping::FieldValue;
use crate::value::{DateValue, TimestampValue, Value};

/// 1700-01-01 in days since 1970-01-01.
const FIRST_DAY: i64 = -98_615;
/// 4000-12-31 in days since 1970-01-01.
const LAST_DAY: i64 = 741_807;
const DAY_MICROS: i64 = 86_400_000_000;

/// Year, month and day of a day since 1970-01-01, in the proleptic Gregorian calendar.
///
/// Counted in eras of 400 years that begin on a first of March, so that the leap day comes last.
pub(super) fn civil(days: i64) -> (i64, u8, u8) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    // Both are small by construction.
    (year, (month & 0xF) as u8, (day & 0x1F) as u8)
}

/// Writes `value` as `width` digits.
fn put(buffer: &mut [u8], at: usize, width: usize, mut value: i64) {
    for place in (at..at + width).rev() {
        if let Some(byte) = buffer.get_mut(place) {
            *byte = b'0' + (value % 10) as u8;
        }
        value /= 10;
    }
}

fn text(buffer: &[u8]) -> FieldValue {
    // ASCII digits by construction.
    FieldValue::Text(CompactString::from_utf8(buffer).unwrap_or_default())
}

fn day(days: i64) -> Result<Option<FieldValue>, Refusal> {
    if !(FIRST_DAY..=LAST_DAY).contains(&days) {
        return Err(Refusal::OutOfRange);
    }
    let (year, month, day) = civil(days);
    let mut buffer = *b"0000-00-00";
    put(&mut buffer, 0, 4, year);
    put(&mut buffer, 5, 2, i64::from(month));
    put(&mut buffer, 8, 2, i64::from(day));
    Ok(Some(text(&buffer)))
}

fn instant(micros: i64) -> Result<Option<FieldValue>, Refusal> {
    let days = micros.div_euclid(DAY_MICROS);
    if !(FIRST_DAY..=LAST_DAY).contains(&days) {
        return Err(Refusal::OutOfRange);
    }
    let seconds = micros.rem_euclid(DAY_MICROS) / 1_000_000;
    let (year, month, day) = civil(days);
    let mut buffer = *b"0000-00-00T00:00:00.000Z";
    put(&mut buffer, 0, 4, year);
    put(&mut buffer, 5, 2, i64::from(month));
    put(&mut buffer, 8, 2, i64::from(day));
    put(&mut buffer, 11, 2, seconds / 3_600);
    put(&mut buffer, 14, 2, seconds / 60 % 60);
    put(&mut buffer, 17, 2, seconds % 60);
    Ok(Some(text(&buffer)))
}

fn clock(micros: i64) -> Result<Option<FieldValue>, Refusal> {
    if !(0..DAY_MICROS).contains(&micros) {
        return Err(Refusal::OutOfRange);
    }
    let seconds = micros / 1_000_000;
    let mut buffer = *b"00:00:00.000Z";
    put(&mut buffer, 0, 2, seconds / 3_600);
    put(&mut buffer, 3, 2, seconds / 60 % 60);
    put(&mut buffer, 6, 2, seconds % 60);
    put(&mut buffer, 9, 3, micros / 1_000 % 1_000);
    Ok(Some(text(&buffer)))
}

pub(super) fn date(value: &Value<'_>) -> Result<Option<FieldValue>, Refusal> {
    match value {
        Value::Date(DateValue::Days(days)) => day(i64::from(*days)),
        Value::Timestamp(TimestampValue::Micros(micros))
        | Value::TimestampTz(TimestampValue::Micros(micros)) => day(micros.div_euclid(DAY_MICROS)),
        Value::Date(_) | Value::Timestamp(_) | Value::TimestampTz(_) => Err(Refusal::OutOfRange),
        Value::Text(s) | Value::Other(s) => match trim(s) {
            "" => Ok(None),
            s => day(parse_date(s).ok_or(Refusal::NotADate)?),
        },
        _ => Err(Refusal::WrongType),
    }
}

/// `2026-11-04` and nothing else: every other form means different days to different people.
fn parse_date(s: &str) -> Option<i64> {
    let bytes = s.as_bytes();
    if bytes.len() != 10 || bytes.get(4) != Some(&b'-') || bytes.get(7) != Some(&b'-') {
        return None;
    }
    let date: jiff::civil::Date = s.parse().ok()?;
    let epoch = jiff::civil::Date::constant(1970, 1, 1);
    Some(i64::from((date - epoch).get_days()))
}

pub(super) fn date_time(value: &Value<'_>) -> Result<Option<FieldValue>, Refusal> {
    match value {
        Value::Timestamp(TimestampValue::Micros(micros))
        | Value::TimestampTz(TimestampValue::Micros(micros)) => instant(*micros),
        Value::Date(DateValue::Days(days)) => instant(i64::from(*days).saturating_mul(DAY_MICROS)),
        Value::Date(_) | Value::Timestamp(_) | Value::TimestampTz(_) => Err(Refusal::OutOfRange),
        Value::Text(s) | Value::Other(s) => match trim(s) {
            "" => Ok(None),
            s => instant(parse_instant(s).ok_or(Refusal::NotADateTime)?),
        },
        _ => Err(Refusal::WrongType),
    }
}

/// ISO 8601; without an offset it is UTC, as for a zoneless column.
fn parse_instant(s: &str) -> Option<i64> {
    if let Ok(instant) = s.parse::<jiff::Timestamp>() {
        return Some(instant.as_microsecond());
    }
    // A date alone is a `date`, not an instant: where the time is missing it is not made up.
    if !s.contains(['T', 't', ' ']) || s.contains(['+', '[', 'Z', 'z']) {
        return None;
    }
    let civil: jiff::civil::DateTime = s.parse().ok()?;
    let zoned = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_microsecond())
}

pub(super) fn time_of_day(value: &Value<'_>) -> Result<Option<FieldValue>, Refusal> {
    match value {
        Value::Time(micros) => clock(*micros),
        Value::TimeTz { micros, offset } => {
            let utc = micros - i64::from(*offset) * 1_000_000;
            clock(utc.rem_euclid(DAY_MICROS))
        }
        Value::Text(s) | Value::Other(s) => match trim(s) {
            "" => Ok(None),
            s => {
                let bare = s.strip_suffix(['Z', 'z']).unwrap_or(s);
                let time: jiff::civil::Time = bare.parse().map_err(|_| Refusal::NotATime)?;
                let seconds = i64::from(time.hour()) * 3_600
                    + i64::from(time.minute()) * 60
                    + i64::from(time.second());
                clock(seconds * 1_000_000 + i64::from(time.subsec_nanosecond()) / 1_000)
            }
        },
        _ => Err(Refusal::WrongType),
    }
}
