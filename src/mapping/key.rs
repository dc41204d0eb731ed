//! The external id of a record, made from the key columns of its row.
//!
//! One column: its text. Several: their texts joined by the separator, in which a backslash stands
//! before every backslash and every character of the separator, so that two different keys never
//! give one external id. Values that are equal in Postgres give equal text: numerics lose the zeros
//! that end them, blank-padded text its padding.
//!
//! The CRM trims text and takes the empty text for null. A key that would not survive that, or that
//! does not fit its field, is refused: it would hit another record, or none.

use compact_str::{CompactString, ToCompactString};
use xxhash_rust::xxh3::xxh3_128;

use super::Key;
use super::coerce::{render, trim, units};
use crate::change::Datum;
use crate::decode;
use crate::value::{Value, ValueType};

/// How the key of a table's rows is made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRule {
    /// The columns, in the order in which they are joined.
    pub columns: Vec<Box<str>>,
    /// What joins them.
    pub separator: Box<str>,
    /// The external-id field.
    pub field: Box<str>,
    /// Its length in UTF-16 units; 0 for no bound.
    pub length: u32,
}

/// Why a row has no usable external id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyRefusal {
    /// A key column is NULL.
    Null,
    /// It is the empty text.
    Empty,
    /// White space at an end, which the CRM would drop.
    WhiteSpace,
    /// Longer than the external-id field.
    TooLong,
    /// The row came without it: a TOASTed key column that did not change, and no old row.
    NotSent,
    /// It cannot be read as the column's type.
    Unreadable,
}

impl KeyRefusal {
    /// The code of the fault.
    pub fn code(self) -> &'static str {
        match self {
            KeyRefusal::Null => "key_null",
            KeyRefusal::Empty => "key_empty",
            KeyRefusal::WhiteSpace => "key_white_space",
            KeyRefusal::TooLong => "key_too_long",
            KeyRefusal::NotSent => "key_not_sent",
            KeyRefusal::Unreadable => "key_unreadable",
        }
    }

    /// What is wrong, in words that follow the name of the field.
    pub fn words(self) -> &'static str {
        match self {
            KeyRefusal::Null => "a key column is NULL: a record needs an external id",
            KeyRefusal::Empty => "the key is empty, which the CRM takes for none",
            KeyRefusal::WhiteSpace => {
                "the key begins or ends with white space, which the CRM drops: it would be another key"
            }
            KeyRefusal::TooLong => "the key is longer than the external-id field",
            KeyRefusal::NotSent => {
                "Postgres did not send the key (a large value that did not change): set REPLICA IDENTITY FULL"
            }
            KeyRefusal::Unreadable => "a key column cannot be read as its type",
        }
    }
}

/// A key that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadKey {
    /// Why.
    pub refusal: KeyRefusal,
    /// A name for the record, where there is one: the key as it is, or cut and completed by a hash
    /// of the whole where it is very long. Never to be sent.
    pub name: Option<Key>,
}

/// Keys longer than this are named by their beginning and a hash.
const LONGEST_NAME: usize = 512;

impl KeyRule {
    /// The external id for the values of the key columns, given in the rule's order.
    ///
    /// # Errors
    /// When there is none that the CRM would keep as it is.
    pub fn build<'a>(
        &self,
        parts: impl Iterator<Item = (Datum<'a>, &'a ValueType)>,
    ) -> Result<Key, BadKey> {
        let nameless = |refusal| BadKey {
            refusal,
            name: None,
        };
        let mut key = CompactString::default();
        let several = self.columns.len() > 1;
        for (index, (datum, value_type)) in parts.enumerate() {
            let bytes = match datum {
                Datum::Text(bytes) => bytes,
                Datum::Null => return Err(nameless(KeyRefusal::Null)),
                Datum::Unchanged => return Err(nameless(KeyRefusal::NotSent)),
            };
            let value =
                decode::value(value_type, bytes).map_err(|_| nameless(KeyRefusal::Unreadable))?;
            if index > 0 {
                key.push_str(&self.separator);
            }
            match part(value_type, &value).map_err(nameless)? {
                Part::Plain(text) if !several => key.push_str(text),
                Part::Plain(text) => self.escape(&mut key, text),
                Part::Number(text) if !several => key = text,
                Part::Number(text) => self.escape(&mut key, &text),
                Part::Text(text) => self.escape(&mut key, &text),
            }
        }
        match self.refusal(&key) {
            None => Ok(key),
            Some(refusal) => Err(BadKey {
                refusal,
                name: Some(name(key)),
            }),
        }
    }

    /// The values of the key columns of an external id that [`KeyRule::build`] made.
    pub fn split(&self, key: &str) -> Vec<String> {
        if self.columns.len() < 2 {
            return vec![key.to_owned()];
        }
        let mut parts = vec![String::new()];
        let mut rest = key;
        while let Some(first) = rest.chars().next() {
            if let Some(behind) = rest.strip_prefix(&*self.separator) {
                parts.push(String::new());
                rest = behind;
                continue;
            }
            let plain = rest.strip_prefix('\\').unwrap_or(rest);
            let next = plain.chars().next().unwrap_or(first);
            if let Some(part) = parts.last_mut() {
                part.push(next);
            }
            rest = plain.get(next.len_utf8()..).unwrap_or_default();
        }
        parts
    }

    /// Why `key` cannot be used, if so.
    fn refusal(&self, key: &str) -> Option<KeyRefusal> {
        if key.is_empty() {
            return Some(KeyRefusal::Empty);
        }
        if trim(key).len() != key.len() {
            return Some(KeyRefusal::WhiteSpace);
        }
        let limit = usize::try_from(self.length).unwrap_or(usize::MAX);
        if limit > 0 && key.len() > limit && units(key) > limit {
            return Some(KeyRefusal::TooLong);
        }
        None
    }

    /// Appends `text`; of several columns, with what would be mistaken for a separator escaped.
    fn escape(&self, key: &mut CompactString, text: &str) {
        if self.columns.len() == 1 {
            key.push_str(text);
            return;
        }
        for c in text.chars() {
            if c == '\\' || self.separator.contains(c) {
                key.push('\\');
            }
            key.push(c);
        }
    }
}

/// A stand-in for the key of a row that has no usable one.
fn name(key: CompactString) -> Key {
    if key.len() <= LONGEST_NAME {
        return key;
    }
    let cut = (0..=64)
        .rev()
        .find(|at| key.is_char_boundary(*at))
        .unwrap_or(0);
    let beginning = key.get(..cut).unwrap_or_default();
    compact_str::format_compact!("{beginning}…{:032x}", xxh3_128(key.as_bytes()))
}

enum Part<'v> {
    Plain(&'v str),
    Number(CompactString),
    Text(String),
}

fn part<'v>(value_type: &ValueType, value: &'v Value<'_>) -> Result<Part<'v>, KeyRefusal> {
    Ok(match value {
        Value::Int(n) => Part::Number(n.to_compact_string()),
        Value::Text(text) | Value::Other(text) | Value::Inet(text) => Part::Plain(text),
        Value::Numeric(text) => Part::Plain(match text.split_once('.') {
            Some((_, fraction)) if fraction.ends_with('0') => {
                text.trim_end_matches('0').trim_end_matches('.')
            }
            _ => text,
        }),
        other => Part::Text(
            render(value_type, other)
                .map_err(|_| KeyRefusal::Unreadable)?
                .into_owned(),
        ),
    })
}

/// Whether values of this type can be keys: equal values have one text, and it is short.
pub(crate) fn can_be_key(value_type: &ValueType) -> bool {
    use ValueType as T;
    !matches!(
        value_type,
        T::Float | T::Bytea | T::Json | T::Money | T::Interval | T::TimeTz | T::Array(..)
    )
}

/// Whether two values of this type can differ by case alone.
pub(crate) fn has_case(value_type: &ValueType) -> bool {
    use ValueType as T;
    matches!(value_type, T::Text | T::PaddedText | T::Enum | T::Other(_))
}
