//! Numbers: integers, floating point, numeric.

use super::{Cursor, Read, decimal, utf8};
use crate::value::Value;

pub(super) fn int(text: &[u8]) -> Read<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let magnitude = unsigned(digits)?;
    let value = if negative {
        0_i64.checked_sub_unsigned(magnitude)
    } else {
        0_i64.checked_add_unsigned(magnitude)
    };
    value.ok_or("it does not fit 64 bits")
}

pub(super) fn unsigned(text: &[u8]) -> Read<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err("it is not made of digits");
    }
    decimal(text).ok_or("it does not fit 64 bits")
}

pub(super) fn float(text: &[u8]) -> Read<f64> {
    match text {
        b"NaN" => return Ok(f64::NAN),
        b"Infinity" => return Ok(f64::INFINITY),
        b"-Infinity" => return Ok(f64::NEG_INFINITY),
        _ => {}
    }
    // Rust takes more words and signs than Postgres prints.
    let starts_as_number = match text {
        [b'-', first, ..] | [first, ..] => first.is_ascii_digit(),
        [] => false,
    };
    if !starts_as_number {
        return Err("it is not a number");
    }
    let value: f64 = utf8(text)?.parse().map_err(|_| "it is not a number")?;
    if value.is_infinite() {
        return Err("it is beyond the range of the type");
    }
    Ok(value)
}

pub(super) fn numeric(text: &[u8]) -> Read<Value<'_>> {
    match text {
        b"NaN" => return Ok(Value::NumericNan),
        b"Infinity" => return Ok(Value::NumericInfinity { negative: false }),
        b"-Infinity" => return Ok(Value::NumericInfinity { negative: true }),
        _ => {}
    }
    let mut rest = Cursor(text);
    rest.eat(b'-');
    if rest.digits().is_empty() {
        return Err("it has no digits before the point");
    }
    if rest.eat(b'.') && rest.digits().is_empty() {
        return Err("it has no digits behind the point");
    }
    if !rest.is_empty() {
        return Err("it holds more than digits and a point");
    }
    Ok(Value::Numeric(utf8(text)?))
}
