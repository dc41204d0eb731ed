//! What a deleted row writes on its record: `on_delete = { set = … }`.
//!
//! A text of the configuration is a template: `{commit_time}`, `{lsn}`, `{position}` and
//! `{old.<column>}` stand for what the delete says, `{{` and `}}` for a brace. Where a placeholder
//! stands alone its value keeps its type, and fits the field as a column of that type would;
//! otherwise the whole is text.
//!
//! The old row's values are there only as far as the table's replica identity sends them. One that
//! was not sent, or does not fit its field, is gone for good with the row: the delete becomes a dead
//! letter that says so ([`DELETE_INCOMPLETE`]); retried, it sets the other fields.

use std::fmt::Write as _;
use std::sync::Arc;

use super::bind::null_by_default;
use super::coerce::{Refusal, coerce, render};
use super::table::NullAction;
use super::{Assigned, Assignment, FieldDescription, FieldKind, FieldValue};
use crate::change::{Datum, Position, Timestamp};
use crate::decode;
use crate::value::{TimestampValue, Value, ValueType};

/// The code of the fault of a delete that cannot set all that its template says. No change of the row
/// can mend it, as there is no row: retried, it sets the rest.
pub const DELETE_INCOMPLETE: &str = "delete_incomplete";

/// What may stand between braces, for people.
pub(super) const PLACEHOLDERS: &str =
    "{commit_time}, {lsn}, {position} and {old.<column>}; {{ and }} write a brace";

/// A field that a deleted row sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamp {
    /// Place in [`super::Target::fields`].
    pub slot: u16,
    /// What it gets.
    pub source: StampSource,
}

/// What a deleted row writes to a field.
#[derive(Clone, Debug, PartialEq)]
pub enum StampSource {
    /// Always the same.
    Constant(Assignment),
    /// Made from the delete.
    Made {
        /// The field.
        field: Arc<FieldDescription>,
        /// What it is made of, in order.
        parts: Vec<Part>,
    },
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// As it is.
    Text(Box<str>),
    /// When the delete committed.
    CommitTime,
    /// Its commit LSN.
    Lsn,
    /// LSN and number in its transaction.
    Position,
    /// The deleted row's value, by the column's name today.
    Old(Box<str>),
}

/// What the old row says of a column.
pub(super) enum OldValue<'a> {
    /// It was not sent.
    Missing,
    /// What was sent.
    Sent(Datum<'a>, &'a ValueType),
}

/// Why a field gets nothing.
#[derive(Debug)]
pub(super) enum Unmade {
    /// This column was not sent.
    Missing(Box<str>),
    /// The field cannot hold it.
    Refused(Refusal),
}

/// The parts of a template; what is wrong with it, for people.
pub(super) fn parse(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        plain.push_str(before);
        let after = from.get(1..).unwrap_or_default();
        let brace = if from.starts_with('{') { '{' } else { '}' };
        if after.starts_with(brace) {
            plain.push(brace);
            rest = after.get(1..).unwrap_or_default();
            continue;
        }
        let (true, Some((name, behind))) = (brace == '{', after.split_once('}')) else {
            return Err(format!("a single {brace} means nothing"));
        };
        let part = match name {
            "commit_time" => Part::CommitTime,
            "lsn" => Part::Lsn,
            "position" => Part::Position,
            _ => match name.strip_prefix("old.").filter(|c| !c.is_empty()) {
                Some(column) => Part::Old(column.into()),
                None => return Err(format!("{{{name}}} stands for nothing")),
            },
        };
        if !plain.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut plain).into()));
        }
        parts.push(part);
        rest = behind;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(Part::Text(plain.into()));
    }
    Ok(parts)
}

/// The text itself, where nothing in it stands for something else.
pub(super) fn plain(parts: &[Part]) -> Option<&str> {
    match parts {
        [] => Some(""),
        [Part::Text(text)] => Some(text),
        _ => None,
    }
}

impl Stamp {
    /// The columns of the old row that it needs.
    pub fn olds(&self) -> impl Iterator<Item = &str> {
        let parts = match &self.source {
            StampSource::Constant(_) => &[][..],
            StampSource::Made { parts, .. } => parts,
        };
        parts.iter().filter_map(|part| match part {
            Part::Old(column) => Some(&**column),
            _ => None,
        })
    }

    /// What the field gets.
    pub(super) fn make<'a>(
        &self,
        position: Position,
        commit_time: Timestamp,
        old: &impl Fn(&str) -> OldValue<'a>,
    ) -> Result<Assignment, Unmade> {
        match &self.source {
            StampSource::Constant(assignment) => Ok(assignment.clone()),
            StampSource::Made { field, parts } => made(field, parts, position, commit_time, old),
        }
    }
}

/// What can be set where no old row is known (a truncate, a record that has to make room): the
/// fields that need none.
pub fn without_row(stamps: &[Stamp], position: Position, commit_time: Timestamp) -> Vec<Assigned> {
    let made = |stamp: &Stamp| {
        let assignment = stamp.make(position, commit_time, &|_| OldValue::Missing);
        Some(Assigned {
            slot: stamp.slot,
            assignment: assignment.ok()?,
        })
    };
    stamps.iter().filter_map(made).collect()
}

fn made<'a>(
    field: &FieldDescription,
    parts: &[Part],
    position: Position,
    commit_time: Timestamp,
    old: &impl Fn(&str) -> OldValue<'a>,
) -> Result<Assignment, Unmade> {
    let instant = Value::TimestampTz(TimestampValue::Micros(commit_time.0));
    let numeric = matches!(field.kind, FieldKind::Int | FieldKind::Decimal);
    match parts {
        [Part::CommitTime] => fill(field, &ValueType::TimestampTz, &instant),
        [Part::Lsn] if numeric => {
            let lsn = Value::Unsigned(position.commit.0);
            fill(field, &ValueType::Unsigned, &lsn)
        }
        [Part::Old(column)] => match old(column) {
            OldValue::Missing | OldValue::Sent(Datum::Unchanged, _) => {
                Err(Unmade::Missing(column.clone()))
            }
            OldValue::Sent(Datum::Null, _) => null(field),
            OldValue::Sent(Datum::Text(bytes), value_type) => {
                let value = decode::value(value_type, bytes).map_err(|_| unreadable())?;
                fill(field, value_type, &value)
            }
        },
        _ => {
            let mut text = String::new();
            for part in parts {
                match part {
                    Part::Text(plain) => text.push_str(plain),
                    Part::CommitTime => {
                        let shown = render(&ValueType::TimestampTz, &instant);
                        text.push_str(&shown.map_err(Unmade::Refused)?);
                    }
                    // Writing to a String cannot fail.
                    Part::Lsn => drop(write!(text, "{}", position.commit)),
                    Part::Position => drop(write!(text, "{position}")),
                    Part::Old(column) => match old(column) {
                        OldValue::Missing | OldValue::Sent(Datum::Unchanged, _) => {
                            return Err(Unmade::Missing(column.clone()));
                        }
                        OldValue::Sent(Datum::Null, _) => {}
                        OldValue::Sent(Datum::Text(bytes), value_type) => {
                            let value =
                                decode::value(value_type, bytes).map_err(|_| unreadable())?;
                            let shown = render(value_type, &value);
                            text.push_str(&shown.map_err(Unmade::Refused)?);
                        }
                    },
                }
            }
            fill(field, &ValueType::Text, &Value::Text(&text))
        }
    }
}

fn unreadable() -> Unmade {
    Unmade::Refused(Refusal::Unreadable)
}

fn fill(
    field: &FieldDescription,
    value_type: &ValueType,
    value: &Value<'_>,
) -> Result<Assignment, Unmade> {
    match coerce(field, value_type, value).map_err(Unmade::Refused)? {
        Some(value) => Ok(Assignment::Set(value)),
        None => null(field),
    }
}

/// As a NULL of a column does where nothing is said of it.
fn null(field: &FieldDescription) -> Result<Assignment, Unmade> {
    match null_by_default(field) {
        NullAction::Write(value) => Ok(Assignment::Set(value)),
        NullAction::Clear | NullAction::Skip => Ok(Assignment::Clear),
        NullAction::Refuse => Err(Unmade::Refused(Refusal::Null)),
    }
}

/// What takes a constant mark away again: a yes becomes a no, and everything else is emptied.
pub(super) fn opposite(field: &FieldDescription, source: &StampSource) -> Option<Assignment> {
    match (field.kind == FieldKind::Boolean, source) {
        (true, StampSource::Constant(Assignment::Set(FieldValue::Bool(set)))) => {
            Some(Assignment::Set(FieldValue::Bool(!set)))
        }
        (true, _) => None,
        (false, _) => field.nillable.then_some(Assignment::Clear),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn templates_are_cut_at_braces() {
        let text = |t: &str| Part::Text(t.into());
        for (template, parts) in [
            ("", vec![]),
            ("left", vec![text("left")]),
            ("{commit_time}", vec![Part::CommitTime]),
            (
                "{lsn} of {old.a b}",
                vec![Part::Lsn, text(" of "), Part::Old("a b".into())],
            ),
            (
                "{{x}} {position}}}",
                vec![text("{x} "), Part::Position, text("}")],
            ),
            ("ü{{ß", vec![text("ü{ß")]),
        ] {
            assert_eq!(parse(template).unwrap(), parts, "{template}");
        }
        assert_eq!(plain(&parse("{{x}}").unwrap()), Some("{x}"));
        assert_eq!(plain(&parse("{lsn}").unwrap()), None);
        for bad in [
            "{",
            "}",
            "a{b",
            "{commit time}",
            "{}",
            "{old.}",
            "{old}",
            "{lsn}}",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
