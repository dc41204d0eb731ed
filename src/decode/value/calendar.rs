//! Dates, times of day and timestamps.
//!
//! Postgres's calendar is the proleptic Gregorian one, from 4713 BC to 5874897 (dates) or 294276
//! (timestamps), which no date library covers: the day arithmetic is ours. There is no year 0: 1 BC
//! comes before 1.

use super::{Cursor, Read, decimal};
use crate::value::{DateValue, TimestampValue};

const MICROS_A_SECOND: i64 = 1_000_000;
const MICROS_A_DAY: i64 = 86_400 * MICROS_A_SECOND;

pub(super) fn date(text: &[u8]) -> Read<DateValue> {
    match text {
        b"infinity" => return Ok(DateValue::Infinity),
        b"-infinity" => return Ok(DateValue::NegativeInfinity),
        _ => {}
    }
    let mut rest = Cursor(text);
    let date = Calendar::read(&mut rest)?;
    let days = date.days(era(&mut rest)?)?;
    i32::try_from(days)
        .map(DateValue::Days)
        .map_err(|_| "its year is out of range")
}

pub(super) fn time(text: &[u8]) -> Read<i64> {
    let mut rest = Cursor(text);
    let micros = clock(&mut rest)?;
    end(&rest)?;
    Ok(micros)
}

/// Microseconds since midnight and seconds east of UTC.
pub(super) fn time_tz(text: &[u8]) -> Read<(i64, i32)> {
    let mut rest = Cursor(text);
    let micros = clock(&mut rest)?;
    let offset = zone(&mut rest)?;
    end(&rest)?;
    Ok((micros, offset))
}

/// `None`: a timestamp that Postgres can hold and [`TimestampValue`] cannot.
pub(super) fn timestamp(text: &[u8]) -> Read<Option<TimestampValue>> {
    moment(text, |_| Ok(0))
}

/// As [`timestamp`].
pub(super) fn timestamp_tz(text: &[u8]) -> Read<Option<TimestampValue>> {
    moment(text, zone)
}

fn moment(
    text: &[u8],
    zone: impl FnOnce(&mut Cursor<'_>) -> Read<i32>,
) -> Read<Option<TimestampValue>> {
    match text {
        b"infinity" => return Ok(Some(TimestampValue::Infinity)),
        b"-infinity" => return Ok(Some(TimestampValue::NegativeInfinity)),
        _ => {}
    }
    let mut rest = Cursor(text);
    let date = Calendar::read(&mut rest)?;
    if !rest.eat(b' ') {
        return Err("it has no time of day");
    }
    let micros = clock(&mut rest)?;
    let offset = zone(&mut rest)?;
    let days = date.days(era(&mut rest)?)?;
    if date.year > MAX_TIMESTAMP_YEAR {
        return Err("its year is out of range");
    }
    // Before 1970 the day and its time have opposite signs: only their sum has to fit.
    let micros = i128::from(days) * i128::from(MICROS_A_DAY)
        + i128::from(micros)
        + i128::from(-offset) * i128::from(MICROS_A_SECOND);
    Ok(i64::try_from(micros).ok().map(TimestampValue::Micros))
}

/// The last year a timestamp can lie in; a zone can print it in the next.
const MAX_TIMESTAMP_YEAR: i64 = 294_277;

/// A day as it is printed, before it is known whether it is BC.
struct Calendar {
    year: i64,
    month: i64,
    day: i64,
}

impl Calendar {
    /// `2024-02-29`: four digits a year or more, two a month and day.
    fn read(rest: &mut Cursor<'_>) -> Read<Self> {
        let year = rest.digits();
        if !(4..=7).contains(&year.len()) {
            return Err("its year does not have four to seven digits");
        }
        let year = decimal(year).and_then(|year| i64::try_from(year).ok());
        let mut part = || match rest.eat(b'-') {
            true => rest.two_digits(),
            false => None,
        };
        match (year, part(), part()) {
            (Some(year), Some(month), Some(day)) => Ok(Calendar { year, month, day }),
            _ => Err("it is not of the form YYYY-MM-DD (the session needs DateStyle = ISO)"),
        }
    }

    /// Days since 1970-01-01.
    fn days(&self, before_christ: bool) -> Read<i64> {
        if self.year == 0 {
            return Err("there is no year 0");
        }
        // Astronomers' years: 1 BC is 0, 2 BC is -1.
        let year = if before_christ {
            1 - self.year
        } else {
            self.year
        };
        if self.day < 1 || self.day > days_in_month(year, self.month)? {
            return Err("it has no such day");
        }
        Ok(days_since_epoch(year, self.month, self.day))
    }
}

fn days_in_month(year: i64, month: i64) -> Read<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Ok(31),
        4 | 6 | 9 | 11 => Ok(30),
        2 if leap => Ok(29),
        2 => Ok(28),
        _ => Err("it has no such month"),
    }
}

/// Days from 1970-01-01 to a day of the proleptic Gregorian calendar.
///
/// Years are counted from March, so that the leap day is the last of its year, in cycles of 400
/// years, which have 146 097 days each.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, months_since_march) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let cycle = year.div_euclid(400);
    let year_of_cycle = year.rem_euclid(400);
    // 153 days every five months from March on.
    let day_of_year = (153 * months_since_march + 2) / 5 + day - 1;
    let day_of_cycle = 365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100 + day_of_year;
    // 719 468 days lie between 0000-03-01 and 1970-01-01.
    cycle * 146_097 + day_of_cycle - 719_468
}

/// Takes the end of the text: ` BC` or nothing. True for BC.
fn era(rest: &mut Cursor<'_>) -> Read<bool> {
    let before_christ = rest.0 == b" BC";
    if before_christ {
        rest.0 = &[];
    }
    end(rest)?;
    Ok(before_christ)
}

fn end(rest: &Cursor<'_>) -> Read<()> {
    match rest.is_empty() {
        true => Ok(()),
        false => Err("something follows behind it"),
    }
}

/// `23:59:59.999999`, at most `24:00:00`, in microseconds.
fn clock(rest: &mut Cursor<'_>) -> Read<i64> {
    const SHAPE: &str = "its time of day is not of the form HH:MM:SS";
    let hours = rest.two_digits().ok_or(SHAPE)?;
    let (minutes, seconds) = minutes_and_seconds(rest).ok_or(SHAPE)?;
    let micros = rest.fraction()?;
    let micros = ((hours * 60 + minutes) * 60 + seconds) * MICROS_A_SECOND + micros;
    if micros > MICROS_A_DAY {
        return Err("its time of day is after 24:00:00");
    }
    Ok(micros)
}

/// `:MM:SS`, each below 60.
pub(super) fn minutes_and_seconds(rest: &mut Cursor<'_>) -> Option<(i64, i64)> {
    let mut part = || match rest.eat(b':') {
        true => rest.two_digits().filter(|part| *part < 60),
        false => None,
    };
    Some((part()?, part()?))
}

/// `+05`, `-08:30`, `+05:53:28`: seconds east of UTC, less than a day.
fn zone(rest: &mut Cursor<'_>) -> Read<i32> {
    let sign = if rest.eat(b'+') {
        1
    } else if rest.eat(b'-') {
        -1
    } else {
        return Err("it has no offset from UTC");
    };
    let mut seconds = 0;
    for (at, unit) in [3600, 60, 1].into_iter().enumerate() {
        if at > 0 && !rest.eat(b':') {
            break;
        }
        match rest.two_digits() {
            Some(part) if part < if at == 0 { 24 } else { 60 } => seconds += part as i32 * unit,
            _ => return Err("its offset from UTC is not of the form +HH:MM:SS"),
        }
    }
    Ok(sign * seconds)
}
