//! Numbers, digit for digit: nothing passes through binary floating point on its way.

use compact_str::{CompactString, ToCompactString, format_compact};
use smallvec::SmallVec;

use super::{Refusal, trim};
use crate::mapping::{FieldDescription, FieldKind, FieldValue};
use crate::value::Value;

/// A plain decimal, taken apart.
struct Decimal<'a> {
    negative: bool,
    /// Left of the point, without leading zeros: empty for zero.
    whole: &'a str,
    /// Right of the point, without trailing zeros.
    fraction: &'a str,
}

/// Sign, digits, point, digits; no exponent, no white space, at least one digit.
fn parse(text: &str) -> Option<Decimal<'_>> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let numeric = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !numeric(whole) || !numeric(fraction) {
        return None;
    }
    Some(Decimal {
        negative,
        whole: whole.trim_start_matches('0'),
        fraction: fraction.trim_end_matches('0'),
    })
}

pub(super) fn number(
    field: &FieldDescription,
    value: &Value<'_>,
) -> Result<Option<FieldValue>, Refusal> {
    match value {
        Value::Int(n) => {
            let digits = n.to_compact_string();
            let whole = if *n == 0 {
                0
            } else {
                digits.len() - usize::from(*n < 0)
            };
            bounded(field, whole, digits).map(Some)
        }
        Value::Unsigned(n) => {
            let digits = n.to_compact_string();
            let whole = if *n == 0 { 0 } else { digits.len() };
            bounded(field, whole, digits).map(Some)
        }
        Value::Float(f) if f.is_nan() => Err(Refusal::NotANumber),
        Value::Float(f) if f.is_infinite() => Err(Refusal::OutOfRange),
        // The shortest digits that read back as the same number, never with an exponent.
        Value::Float(f) => decimal(field, &format_compact!("{f}")).map(Some),
        Value::Numeric(s) => decimal(field, s).map(Some),
        Value::NumericNan => Err(Refusal::NotANumber),
        Value::NumericInfinity { .. } => Err(Refusal::OutOfRange),
        Value::Text(s) | Value::Other(s) => match trim(s) {
            "" => Ok(None),
            s => decimal(field, s).map(Some),
        },
        _ => Err(Refusal::WrongType),
    }
}

/// Digits right of the point; more are rounded away.
fn scale(field: &FieldDescription) -> usize {
    match field.kind {
        FieldKind::Int => 0,
        _ => usize::try_from(field.scale).unwrap_or(usize::MAX),
    }
}

/// Refuses more digits left of the point than the field takes. A precision of 0 sets no bound.
fn bounded(
    field: &FieldDescription,
    whole: usize,
    text: CompactString,
) -> Result<FieldValue, Refusal> {
    let precision = usize::try_from(field.precision).unwrap_or(usize::MAX);
    if precision > 0 && whole > precision.saturating_sub(scale(field)) {
        return Err(Refusal::OutOfRange);
    }
    // A whole-number field is a 32-bit number, however many digits it shows.
    if field.kind == FieldKind::Int && whole >= 10 && text.parse::<i32>().is_err() {
        return Err(Refusal::OutOfRange);
    }
    Ok(FieldValue::Number(text))
}

fn decimal(field: &FieldDescription, text: &str) -> Result<FieldValue, Refusal> {
    let Decimal {
        negative,
        whole,
        fraction,
    } = parse(text).ok_or(Refusal::NotANumber)?;
    let scale = scale(field);
    if fraction.len() <= scale {
        return assemble(field, negative, whole, fraction);
    }
    let (kept, lost) = fraction.split_at(scale);
    // A zero in front takes the carry.
    let mut digits: SmallVec<[u8; 64]> = SmallVec::new();
    digits.push(b'0');
    digits.extend_from_slice(whole.as_bytes());
    digits.extend_from_slice(kept.as_bytes());
    if lost.as_bytes().first() >= Some(&b'5') {
        for digit in digits.iter_mut().rev() {
            if *digit == b'9' {
                *digit = b'0';
            } else {
                *digit += 1;
                break;
            }
        }
    }
    let rounded = std::str::from_utf8(&digits).map_err(|_| Refusal::NotANumber)?;
    let (whole, fraction) = rounded.split_at(1 + whole.len());
    assemble(
        field,
        negative,
        whole.trim_start_matches('0'),
        fraction.trim_end_matches('0'),
    )
}

/// One way to write a number, so that equal numbers have equal fingerprints: no zeros at the ends,
/// none negative, a zero before a bare point.
fn assemble(
    field: &FieldDescription,
    negative: bool,
    whole: &str,
    fraction: &str,
) -> Result<FieldValue, Refusal> {
    let mut text = CompactString::default();
    if negative && whole.len() + fraction.len() > 0 {
        text.push('-');
    }
    text.push_str(if whole.is_empty() { "0" } else { whole });
    if !fraction.is_empty() {
        text.push('.');
        text.push_str(fraction);
    }
    bounded(field, whole.len(), text)
}
