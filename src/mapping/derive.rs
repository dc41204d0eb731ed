//! The field that a column suggests, where the CRM has none.
//!
//! | column | field |
//! |---|---|
//! | `varchar(n)`, `char(n)` | text up to 255, else long text; over 131,072 none |
//! | `text` and the like | long text, 32,768 |
//! | `bool` | checkbox |
//! | `int2`, `int4` | number, 5 or 10 digits |
//! | `int8`, `xid8` | number, 18 digits: a row with 19 or more is a dead letter, nothing is rounded |
//! | `numeric(p, s)` | number, up to 18 digits, else none |
//! | `numeric`, floats | number, 18 digits, 6 of them right of the point |
//! | `date`, `time`, timestamps | date, time, date-time |
//! | `uuid`, `inet`, enumerations, `interval` | text |
//! | `json`, arrays | long text, 32,768 |
//! | `bytea`, `money`, all others | none: a person has to say what is meant |
//!
//! Names: at most 40 characters before `__c`, of letters, digits and single underscores, the first a
//! letter, the last no underscore. Labels: at most 40 characters.
//! <https://developer.salesforce.com/docs/atlas.en-us.api_tooling.meta/api_tooling/tooling_api_objects_customfield.htm>

use super::{FieldSpec, NewField, naming};
use crate::capture::CatalogColumn;
use crate::value::ValueType;

/// Longest name of a custom field, without its suffix.
const LONGEST_NAME: usize = 40;
/// Longest label.
const LONGEST_LABEL: usize = 40;
/// Longest help text.
const LONGEST_HELP: usize = 510;
/// Characters of a long text of which nothing is known.
const LONG_TEXT: u32 = 32_768;
/// Most characters of a long text.
const LONGEST_TEXT: u32 = 131_072;
/// Digits right of the point where the column does not say.
const SCALE: u32 = 6;
/// Most digits of a number.
const DIGITS: u32 = 18;

/// Fields that every object has: a custom field of that name would be taken for one of them.
const RESERVED: [&str; 14] = [
    "id",
    "name",
    "ownerid",
    "owner",
    "isdeleted",
    "recordtypeid",
    "createdbyid",
    "createddate",
    "lastmodifiedbyid",
    "lastmodifieddate",
    "systemmodstamp",
    "lastactivitydate",
    "lastvieweddate",
    "lastreferenceddate",
];

/// Why no field is made, and what a person can do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refused {
    /// Why, in words.
    pub(super) why: String,
    /// What to do.
    pub(super) remedy: &'static str,
}

/// What is to be said of a field that does not take every value of its column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reservation {
    /// In words.
    pub(super) words: &'static str,
    /// Something is written that is not quite the value.
    pub(super) lossy: bool,
}

/// A value that does not fit is refused.
const fn refuses(words: &'static str) -> Option<Reservation> {
    Some(Reservation {
        words,
        lossy: false,
    })
}

/// A value is changed.
const fn changes(words: &'static str) -> Option<Reservation> {
    Some(Reservation { words, lossy: true })
}

pub(super) const MAP_IT: &str =
    "map it explicitly (columns.<column> = \"Field__c\"), or leave it out: { ignore = true }";

impl Refused {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Refused {
            why: why.into(),
            remedy: MAP_IT,
        }
    }
}

fn refused<T>(why: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::new(why))
}

/// The field for a column, by its API name; with what is to be said of the values that will not fit.
pub(super) fn spec(
    table: &str,
    column: &CatalogColumn,
    value_type: &ValueType,
    name: &str,
    label: &str,
) -> Result<(FieldSpec, Option<Reservation>), Refused> {
    check_name(name)?;
    let (kind, reservation) = kind(column, value_type)?;
    let help = format!(
        "From {table}.{} ({}); written by Syncline",
        column.name, column.type_name
    );
    let spec = FieldSpec {
        name: name.into(),
        label: cut(label, LONGEST_LABEL).into(),
        kind,
        help: cut(&help, LONGEST_HELP).into(),
    };
    Ok((spec, reservation))
}

/// Whether a custom field may be called so.
fn check_name(name: &str) -> Result<(), Refused> {
    let base = name
        .len()
        .checked_sub(3)
        .filter(|at| {
            name.get(*at..)
                .is_some_and(|s| s.eq_ignore_ascii_case("__c"))
        })
        .and_then(|at| name.get(..at));
    let Some(base) = base else {
        return refused(format!(
            "{name} is no custom field (those end in __c), and no other can be made"
        ));
    };
    let odd = base
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && *c != '_');
    if base.is_empty() {
        return refused("no field's name can be made from its name");
    }
    if let Some(odd) = odd {
        return refused(format!(
            "a field cannot be called {name}: {odd:?} is neither a letter from a to z, nor a digit, nor an underscore"
        ));
    }
    if !base.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return refused(format!(
            "a field cannot be called {name}: a name starts with a letter"
        ));
    }
    if base.contains("__") || base.ends_with('_') {
        return refused(format!(
            "a field cannot be called {name}: two underscores follow each other"
        ));
    }
    if base.len() > LONGEST_NAME {
        return refused(format!(
            "a field cannot be called {name}: that is {} characters before __c, and {LONGEST_NAME} is the most",
            base.len()
        ));
    }
    if RESERVED.contains(&base.to_ascii_lowercase().as_str()) {
        return refused(format!(
            "no field {name} is made: {base} is reserved, every object has a field of its own of that name"
        ));
    }
    Ok(())
}

/// What the field holds, and what is to be said of values that will not fit.
fn kind(
    column: &CatalogColumn,
    value_type: &ValueType,
) -> Result<(NewField, Option<Reservation>), Refused> {
    use ValueType as T;
    let long = NewField::LongText { length: LONG_TEXT };
    let number = |precision, scale| NewField::Number { precision, scale };
    let text = |length| NewField::Text { length };
    Ok(match value_type {
        T::Bool => (
            NewField::Checkbox,
            changes("NULL is written as false").filter(|_| !column.not_null),
        ),
        // `int2` and `int4`; of a domain only the base's kind is known, so it gets the widest.
        T::Int => match column.type_oid {
            21 => (number(5, 0), None),
            23 | 26 => (number(10, 0), None),
            _ => (
                number(DIGITS, 0),
                refuses("numbers of 19 digits do not fit: such rows become dead letters"),
            ),
        },
        T::Unsigned => (
            number(DIGITS, 0),
            refuses("numbers of more than 18 digits do not fit: such rows become dead letters"),
        ),
        T::Float => (
            number(DIGITS, SCALE),
            changes("digits after the sixth right of the point are rounded away"),
        ),
        T::Numeric => return numeric(column),
        T::Text | T::PaddedText => return characters(column),
        T::Date => (NewField::Date, None),
        T::Time => (NewField::Time, None),
        T::TimeTz => (NewField::Time, changes("times of day are moved to UTC")),
        T::TimestampTz => (NewField::DateTime, None),
        T::Timestamp => (
            NewField::DateTime,
            changes("a timestamp without time zone is taken as UTC"),
        ),
        T::Uuid => (text(36), None),
        T::Inet => (text(50), None),
        T::Enum | T::Interval => (text(255), None),
        T::Json | T::Array(..) => (
            long,
            refuses("values of more than 32768 characters become dead letters"),
        ),
        T::Bytea => {
            return refused(format!(
                "{} has no equivalent in the CRM: no field holds bytes",
                column.type_name
            ));
        }
        T::Money => {
            return Err(Refused {
                why:
                    "money has no equivalent in the CRM: it is text in the server's currency format"
                        .into(),
                remedy: "ALTER TABLE … ALTER COLUMN … TYPE numeric(18,2); or leave the column out: { ignore = true }",
            });
        }
        T::Other(_) => {
            return refused(format!(
                "{} has no equivalent in the CRM; its text could go to a text field that you name",
                column.type_name
            ));
        }
    })
}

fn characters(column: &CatalogColumn) -> Result<(NewField, Option<Reservation>), Refused> {
    // `varchar(n)` and `char(n)`: n + 4.
    let Ok(length @ 1..) = u32::try_from(column.typmod.saturating_sub(4)) else {
        return Ok((
            NewField::LongText { length: LONG_TEXT },
            refuses("values of more than 32768 characters become dead letters"),
        ));
    };
    match length {
        1..=255 => Ok((NewField::Text { length }, None)),
        256..=LONGEST_TEXT => Ok((NewField::LongText { length }, None)),
        _ => refused(format!(
            "{} is longer than any field: {LONGEST_TEXT} characters is the most",
            column.type_name
        )),
    }
}

fn numeric(column: &CatalogColumn) -> Result<(NewField, Option<Reservation>), Refused> {
    let Some((precision, scale)) = digits(column.typmod) else {
        return Ok((
            NewField::Number {
                precision: DIGITS,
                scale: SCALE,
            },
            changes(
                "the column does not say how many digits it has: those after the sixth right of the point are rounded away, and numbers of more than 12 left of it become dead letters",
            ),
        ));
    };
    // numeric(2, -3) has 5 digits, numeric(2, 5) has 5, all right of the point.
    let whole = (precision - scale).max(0);
    let scale = scale.max(0);
    match u32::try_from(whole + scale) {
        Ok(all @ 1..=DIGITS) => Ok((
            NewField::Number {
                precision: all,
                scale: u32::try_from(scale).unwrap_or_default(),
            },
            None,
        )),
        _ => refused(format!(
            "{} has {} digits, and a number field holds {DIGITS}",
            column.type_name,
            whole + scale
        )),
    }
}

/// Precision and scale of a `numeric(p, s)`: the precision in the upper half, an 11-bit signed scale
/// in the lower (src/backend/utils/adt/numeric.c).
pub(super) fn digits(typmod: i32) -> Option<(i64, i64)> {
    let packed = typmod.checked_sub(4).filter(|packed| *packed >= 0)?;
    let precision = i64::from(packed >> 16 & 0xFFFF);
    let scale = i64::from(((packed & 0x7FF) ^ 1024) - 1024);
    Some((precision, scale))
}

/// The words of a column's or a field's name, as people write them.
pub(super) fn words(name: &str) -> String {
    let [custom, _] = naming::candidates(name.strip_suffix("__c").unwrap_or(name));
    custom.trim_end_matches("__c").replace('_', " ")
}

/// At most so many characters; between words, where that does not cost half of it.
fn cut(text: &str, most: usize) -> String {
    let text = text.trim();
    if text.chars().count() <= most {
        return text.to_owned();
    }
    // One more than fits: it may be the blank after the last word that does.
    let longer: String = text.chars().take(most + 1).collect();
    match longer.rfind(' ') {
        Some(at) if at * 2 >= longer.len() => longer.get(..at).unwrap_or_default().to_owned(),
        _ => longer.chars().take(most).collect(),
    }
}

/// One field that holds what both would: two tables may share it.
pub(super) fn wider(one: NewField, other: NewField) -> Option<NewField> {
    use NewField as N;
    match (one, other) {
        (a, b) if a == b => Some(a),
        (N::Text { length: a }, N::Text { length: b }) => Some(N::Text { length: a.max(b) }),
        (N::LongText { length: a }, N::LongText { length: b } | N::Text { length: b })
        | (N::Text { length: b }, N::LongText { length: a }) => {
            Some(N::LongText { length: a.max(b) })
        }
        (
            N::Number {
                precision: p,
                scale: s,
            },
            N::Number {
                precision: q,
                scale: t,
            },
        ) => {
            let scale = s.max(t);
            let precision = scale + p.saturating_sub(s).max(q.saturating_sub(t));
            (precision <= DIGITS).then_some(N::Number { precision, scale })
        }
        _ => None,
    }
}
