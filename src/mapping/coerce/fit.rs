//! Which types of column a kind of field can take: asked once a column, never once a row.

use crate::mapping::{FieldDescription, FieldKind};
use crate::value::ValueType;

/// Whether a field can take a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fit {
    /// Every value, unless it is too long or too large.
    Whole,
    /// With a reservation, which is told.
    Partly(&'static str),
    /// No value; why.
    Never(&'static str),
}

/// Whether `field` can take a column of type `value_type` that is not a reference.
pub fn fit(field: &FieldDescription, value_type: &ValueType) -> Fit {
    use Fit::{Never, Partly, Whole};
    use ValueType as T;
    let textual = matches!(value_type, T::Text | T::PaddedText | T::Enum | T::Other(_));
    // The labels of an enumeration are words, whatever they look like.
    let free_text = textual && *value_type != T::Enum;
    match &field.kind {
        FieldKind::Text | FieldKind::LongText => Whole,
        FieldKind::Email | FieldKind::Url if textual => Whole,
        FieldKind::Email => Never("an e-mail field takes text only"),
        FieldKind::Url => Never("a web address field takes text only"),
        FieldKind::Phone if textual => Whole,
        FieldKind::Phone => match value_type {
            T::Int | T::Unsigned | T::Numeric => Partly(
                "a number has lost the zeros and the plus that a telephone number begins with",
            ),
            _ => Never("a telephone field takes text only"),
        },
        FieldKind::Picklist => match value_type {
            T::Int | T::Unsigned | T::Numeric | T::Bool => Whole,
            _ if textual => Whole,
            _ => Never("a list takes text, enumerations, numbers and booleans"),
        },
        FieldKind::MultiPicklist => match value_type {
            T::Array(element, _) => match **element {
                T::Text | T::PaddedText | T::Enum | T::Other(_) | T::Int | T::Bool => Whole,
                _ => Never("a list takes arrays of text, enumerations, whole numbers and booleans"),
            },
            _ if textual => Whole,
            _ => Never("a list of several values takes arrays and text"),
        },
        FieldKind::Boolean => match value_type {
            T::Bool => Whole,
            _ if free_text => Partly("only the texts true and false are taken"),
            _ => Never("a boolean field takes bool"),
        },
        FieldKind::Int => match value_type {
            T::Int | T::Unsigned => Whole,
            T::Numeric | T::Float => Partly("digits right of the point are rounded away"),
            _ if free_text => Partly("only text that is a number is taken"),
            _ => Never("a number field takes numbers"),
        },
        FieldKind::Decimal => match value_type {
            T::Int | T::Unsigned | T::Numeric | T::Float => Whole,
            T::Money => Never("money is text in the server's currency format: cast it to numeric"),
            _ if free_text => Partly("only text that is a number is taken"),
            _ => Never("a number field takes numbers"),
        },
        FieldKind::Date => match value_type {
            T::Date => Whole,
            T::Timestamp | T::TimestampTz => {
                Partly("the time is dropped; the day is the one in UTC")
            }
            _ if free_text => Partly("only text such as 2026-11-04 is taken"),
            _ => Never("a date field takes dates"),
        },
        FieldKind::DateTime => match value_type {
            T::TimestampTz => Whole,
            T::Timestamp => Partly("it has no zone and is taken as UTC"),
            T::Date => Partly("it becomes midnight in UTC, another day for people west of it"),
            _ if free_text => Partly("only text such as 2026-11-04T12:10:35Z is taken"),
            _ => Never("a date-time field takes timestamps"),
        },
        FieldKind::Time => match value_type {
            T::Time => Whole,
            T::TimeTz => Partly("it is moved to UTC"),
            _ if free_text => Partly("only text such as 12:10:35 is taken"),
            _ => Never("a time field takes times of day"),
        },
        FieldKind::Reference if free_text => Partly(
            "without `references` the column has to hold ids of the CRM (15 or 18 characters)",
        ),
        FieldKind::Reference => Never(
            "a lookup takes the key of its parent (say `references`) or text with an id of the CRM",
        ),
        FieldKind::Id => Never("the CRM's own id cannot be written"),
        FieldKind::Other(_) => Never("fields of this kind cannot be written by a row sync"),
    }
}
