//! One column's text to a value, by its type.
//!
//! The one place where Postgres's text forms are read: <https://www.postgresql.org/docs/current/datatype.html>,
//! as a session prints them that was started with `DateStyle=ISO`, `IntervalStyle=postgres`,
//! `bytea_output=hex`, `extra_float_digits=3` and `client_encoding=UTF8`. Both connections of
//! Syncline set these.
//!
//! Every reader is total (any bytes give a value or an error), exact (what a type cannot hold is an
//! error, never a rounded neighbour) and strict (it takes what Postgres prints, not all that Postgres
//! would accept), so that a wrong session setting is noticed at the first row.

mod array;
mod bytes;
mod calendar;
mod interval;
mod network;
mod number;

use std::fmt;

use crate::value::{Value, ValueType};

/// A text that is not of its column's type. It names the type and the reason, never the value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ValueError {
    /// The type it should have been of, as SQL names it.
    pub expected: &'static str,
    /// What is wrong.
    pub reason: &'static str,
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not of type {}: {}", self.expected, self.reason)
    }
}

impl std::error::Error for ValueError {}

/// Reads `text`, the text form of a value of `value_type`.
///
/// - `char(n)` comes without its padding.
/// - A `float4` is the decimal that Postgres prints for it, not its nearest `float8`.
/// - An array's elements are unquoted but not yet read: give each to this function with the array's
///   element type. Lower bounds other than 1 are dropped.
/// - A timestamp after 294247-01-10 04:00:54.775807 (Postgres goes to the end of 294276) does not fit
///   [`TimestampValue::Micros`](crate::value::TimestampValue::Micros) and comes as
///   [`Value::Other`]: its text.
/// - JSON is not checked beyond being UTF-8: the server did that.
///
/// # Errors
///
/// The text is not what Postgres prints for a value of this type.
pub fn value<'a>(value_type: &ValueType, text: &'a [u8]) -> Result<Value<'a>, ValueError> {
    let failed = |expected| move |reason| ValueError { expected, reason };
    Ok(match value_type {
        ValueType::Int => Value::Int(number::int(text).map_err(failed("integer"))?),
        ValueType::Text => Value::Text(utf8(text).map_err(failed("text"))?),
        ValueType::PaddedText => {
            Value::Text(utf8(text).map_err(failed("char"))?.trim_end_matches(' '))
        }
        ValueType::Enum => Value::Text(utf8(text).map_err(failed("enum"))?),
        ValueType::Bool => match text {
            b"t" => Value::Bool(true),
            b"f" => Value::Bool(false),
            _ => return Err(failed("boolean")("neither t nor f")),
        },
        ValueType::Unsigned => Value::Unsigned(number::unsigned(text).map_err(failed("xid8"))?),
        ValueType::Float => Value::Float(number::float(text).map_err(failed("double precision"))?),
        ValueType::Numeric => number::numeric(text).map_err(failed("numeric"))?,
        ValueType::Bytea => Value::Bytea(bytes::bytea(text).map_err(failed("bytea"))?),
        ValueType::Date => Value::Date(calendar::date(text).map_err(failed("date"))?),
        ValueType::Time => Value::Time(calendar::time(text).map_err(failed("time"))?),
        ValueType::TimeTz => {
            let (micros, offset) = calendar::time_tz(text).map_err(failed("timetz"))?;
            Value::TimeTz { micros, offset }
        }
        ValueType::Timestamp => match calendar::timestamp(text).map_err(failed("timestamp"))? {
            Some(at) => Value::Timestamp(at),
            None => Value::Other(utf8(text).map_err(failed("timestamp"))?),
        },
        ValueType::TimestampTz => {
            match calendar::timestamp_tz(text).map_err(failed("timestamptz"))? {
                Some(at) => Value::TimestampTz(at),
                None => Value::Other(utf8(text).map_err(failed("timestamptz"))?),
            }
        }
        ValueType::Interval => interval::interval(text).map_err(failed("interval"))?,
        ValueType::Uuid => Value::Uuid(bytes::uuid(text).map_err(failed("uuid"))?),
        ValueType::Json => Value::Json(utf8(text).map_err(failed("json"))?),
        ValueType::Inet => Value::Inet(network::inet(text).map_err(failed("inet"))?),
        ValueType::Money => Value::Money(utf8(text).map_err(failed("money"))?),
        ValueType::Array(_, delimiter) => {
            Value::Array(array::array(text, *delimiter).map_err(failed("array"))?)
        }
        ValueType::Other(_) => Value::Other(utf8(text).map_err(failed("text"))?),
    })
}

/// What a reader found, or what is wrong.
type Read<T> = Result<T, &'static str>;

fn utf8(text: &[u8]) -> Read<&str> {
    std::str::from_utf8(text).map_err(|_| "it is not UTF-8")
}

/// Reads a text from left to right.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes `expected` when it comes next.
    fn eat(&mut self, expected: u8) -> bool {
        match self.0.split_first() {
            Some((first, rest)) if *first == expected => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    /// Takes the leading digits, perhaps none.
    fn digits(&mut self) -> &'a [u8] {
        let len = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(len);
        self.0 = rest;
        digits
    }

    /// Takes exactly two digits.
    fn two_digits(&mut self) -> Option<i64> {
        match self.0 {
            [a @ b'0'..=b'9', b @ b'0'..=b'9', rest @ ..] => {
                self.0 = rest;
                Some(i64::from(a - b'0') * 10 + i64::from(b - b'0'))
            }
            _ => None,
        }
    }

    /// Takes `.` and up to six digits as microseconds; 0 when there is no point.
    fn fraction(&mut self) -> Read<i64> {
        if !self.eat(b'.') {
            return Ok(0);
        }
        let digits = self.digits();
        if digits.is_empty() || digits.len() > 6 {
            return Err("its seconds do not have one to six decimals");
        }
        let micros = digits
            .iter()
            .fold(0, |micros, digit| micros * 10 + i64::from(digit - b'0'));
        Ok(micros * 10_i64.pow(6 - digits.len() as u32))
    }
}

/// The value of decimal digits, when there is at least one and it fits.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| {
        value
            .checked_mul(10)?
            .checked_add(u64::from(digit.wrapping_sub(b'0')))
    })
}

#[cfg(test)]
mod tests;
