//! From a value of the source to a value of a CRM field, exactly.
//!
//! What the CRM would change on its way in is changed here first, so that the fingerprint of what
//! we send is the fingerprint of what it holds: text is trimmed, numbers are rounded to the field's
//! scale, instants are cut to whole seconds. What the CRM would refuse is refused here, before an
//! API call is spent. Nothing is shortened to make it fit.
//!
//! | to | from | rule |
//! |---|---|---|
//! | text kinds | anything with a text form | trimmed; empty is null; length in UTF-16 units |
//! | picklists | text, enums, numbers, `bool`, arrays | a restricted list takes its values only |
//! | boolean | `bool`, text `true`/`false` | never null |
//! | int, decimal | numbers, text that is a number | rounded half away from zero to the scale |
//! | date | `date`, timestamps, text | the day in UTC, 1700-01-01 to 4000-12-31 |
//! | date-time | timestamps, `date`, text | UTC; no zone means UTC; cut to whole seconds |
//! | time | `time`, `timetz` (moved to UTC), text | cut to milliseconds; 24:00 is refused |
//! | lookup without `references` | text | an id of the CRM, 15 or 18 characters |
//!
//! <https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/primitive_data_types.htm>

mod fit;
mod list;
mod number;
mod text;
mod time;

use std::borrow::Cow;

use crate::mapping::{FieldDescription, FieldKind, FieldValue};
use crate::value::{Value, ValueType};

pub use fit::{Fit, fit};
pub(crate) use text::{cut, render, trim, units};

/// Why a value cannot be written to its field. It never quotes the value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// More UTF-16 units than the field takes.
    TooLong {
        /// What it takes.
        limit: u32,
    },
    /// Not a number, or `NaN`.
    NotANumber,
    /// Neither `true` nor `false`.
    NotABoolean,
    /// Not a date in the form `2026-11-04`.
    NotADate,
    /// Not an instant in ISO 8601 form.
    NotADateTime,
    /// Not a time of day.
    NotATime,
    /// Outside of what the field can hold: too many digits, or too far in time.
    OutOfRange,
    /// Not among the values of a restricted list.
    NotInPicklist,
    /// Not among the values that the column's value map names.
    NotInValueMap,
    /// An element of a list holds the character that separates elements, or is a list itself.
    BadList,
    /// Not an e-mail address.
    NotAnEmail,
    /// Not an id of the CRM.
    NotAnId,
    /// Null, and the field takes none.
    Null,
    /// The text form cannot be read as the column's type.
    Unreadable,
    /// A type that the field cannot take. Found at compile time, unless the type changed since.
    WrongType,
}

impl Refusal {
    /// The code of the fault.
    pub fn code(self) -> &'static str {
        match self {
            Refusal::TooLong { .. } => "value_too_long",
            Refusal::NotANumber => "not_a_number",
            Refusal::NotABoolean => "not_a_boolean",
            Refusal::NotADate => "not_a_date",
            Refusal::NotADateTime => "not_a_date_time",
            Refusal::NotATime => "not_a_time",
            Refusal::OutOfRange => "out_of_range",
            Refusal::NotInPicklist => "not_in_picklist",
            Refusal::NotInValueMap => "not_in_value_map",
            Refusal::BadList => "bad_list",
            Refusal::NotAnEmail => "not_an_email",
            Refusal::NotAnId => "not_an_id",
            Refusal::Null => "null_in_required_field",
            Refusal::Unreadable => "unreadable_value",
            Refusal::WrongType => "wrong_type",
        }
    }

    /// What is wrong, in words.
    pub fn words(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Refusal::TooLong { limit } => {
                return Cow::Owned(format!("is longer than the field's {limit} characters"));
            }
            Refusal::NotANumber => "is not a number",
            Refusal::NotABoolean => "is neither true nor false",
            Refusal::NotADate => "is not a date such as 2026-11-04",
            Refusal::NotADateTime => "is not a date and time such as 2026-11-04T12:10:35Z",
            Refusal::NotATime => "is not a time of day such as 12:10:35",
            Refusal::OutOfRange => "is outside of the range that the field can hold",
            Refusal::NotInPicklist => "is not among the values of the restricted list",
            Refusal::NotInValueMap => {
                "gets a value that the column's value map does not name (otherwise = \"reject\")"
            }
            Refusal::BadList => "has an element that holds a semicolon or is a list itself",
            Refusal::NotAnEmail => "is not an e-mail address",
            Refusal::NotAnId => "is not an id of the CRM (15 or 18 letters and digits)",
            Refusal::Null => "is null, and the field takes no null",
            Refusal::Unreadable => "cannot be read as the column's type",
            Refusal::WrongType => "has a type that the field cannot take",
        })
    }
}

/// The field's value for a value of a column of type `value_type`; `None` where the CRM holds it as
/// null (text that is empty once trimmed, an empty list).
///
/// # Errors
/// When the field cannot hold the value.
pub fn coerce(
    field: &FieldDescription,
    value_type: &ValueType,
    value: &Value<'_>,
) -> Result<Option<FieldValue>, Refusal> {
    match field.kind {
        // A timestamp too far away for its own type comes as its text.
        FieldKind::Date | FieldKind::DateTime
            if matches!(value, Value::Other(_))
                && matches!(value_type, ValueType::Timestamp | ValueType::TimestampTz) =>
        {
            Err(Refusal::OutOfRange)
        }
        FieldKind::Text
        | FieldKind::LongText
        | FieldKind::Email
        | FieldKind::Phone
        | FieldKind::Url
        | FieldKind::Picklist => text::line(field, value_type, value),
        FieldKind::MultiPicklist => list::multi(field, value_type, value),
        FieldKind::Boolean => boolean(value),
        FieldKind::Int | FieldKind::Decimal => number::number(field, value),
        FieldKind::Date => time::date(value),
        FieldKind::DateTime => time::date_time(value),
        FieldKind::Time => time::time_of_day(value),
        FieldKind::Reference => text::crm_id(value),
        FieldKind::Id | FieldKind::Other(_) => Err(Refusal::WrongType),
    }
}

fn boolean(value: &Value<'_>) -> Result<Option<FieldValue>, Refusal> {
    match value {
        Value::Bool(b) => Ok(Some(FieldValue::Bool(*b))),
        Value::Text(s) | Value::Other(s) => match trim(s) {
            "" => Ok(None),
            s if s.eq_ignore_ascii_case("true") => Ok(Some(FieldValue::Bool(true))),
            s if s.eq_ignore_ascii_case("false") => Ok(Some(FieldValue::Bool(false))),
            _ => Err(Refusal::NotABoolean),
        },
        _ => Err(Refusal::WrongType),
    }
}

#[cfg(test)]
mod tests;
