//! What no longer fits on a table that has run before: it is told, its changes are held, and nothing
//! else stops.
//!
//! | what | what follows |
//! |---|---|
//! | a field vanished or became read-only | it is *broken*: only what changes it is held |
//! | a type no longer fits its field, a key column is gone or cannot be a key, the object or its external id is gone or closed to us, a rule says halt | the table is *halted*: all of its changes are held |
//! | a field became shorter, required or restricted | rows are checked by the new rule, one by one |

use super::{Compiler, Prepared, place};
use crate::config::OnRename;
use crate::fault::{Class, Fault, Severity};
use crate::mapping::table::{FIELD_BROKEN, TABLE_HALTED};

/// What a remembered field is no longer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// The CRM does not show it.
    Vanished,
    /// We may not write it.
    ReadOnly,
}

impl<'a> Compiler<'a> {
    /// A mapping of ours has written the object before.
    pub(super) fn used_object(&self, object: &str) -> bool {
        let object = object.to_ascii_lowercase();
        self.remembered.fields.iter().any(|(o, _)| **o == *object)
    }

    /// A mapping of ours has written the field before.
    pub(super) fn used(&self, object: &str, field: &str) -> bool {
        let key = (
            object.to_ascii_lowercase().into(),
            field.to_ascii_lowercase().into(),
        );
        self.remembered.fields.contains(&key)
    }

    /// Wrong, and not for us to mend; but nothing has to stop for it.
    pub(super) fn drift(
        &mut self,
        place: String,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.find(Severity::Problem, place, what, remedy);
    }

    /// The changes of this table have to be held. `fields` are those that cannot be filled.
    pub(super) fn halt(
        &mut self,
        table: &'a str,
        place: String,
        what: impl Into<String>,
        remedy: impl Into<String>,
        fields: &[&str],
    ) {
        let what = what.into();
        let fault = self.halts.entry(table).or_insert_with(|| {
            Fault::new(
                Class::Record,
                TABLE_HALTED,
                format!("{table} is halted: {place}: {what}"),
            )
        });
        for field in fields {
            if !fault.fields.iter().any(|f| f.eq_ignore_ascii_case(field)) {
                fault.fields.push((*field).to_owned());
            }
        }
        self.drift(place, what, remedy);
    }

    /// A drift that halts the table, or a mistake that nothing can start with.
    pub(super) fn wrong(
        &mut self,
        drift: bool,
        table: &'a str,
        place: String,
        what: impl Into<String>,
        remedy: impl Into<String>,
        fields: &[&str],
    ) {
        if drift {
            self.halt(table, place, what, remedy, fields);
        } else {
            self.problem(place, what, remedy);
        }
    }

    /// Something that rules depend on has another name now.
    pub(super) fn renamed(
        &mut self,
        table: &'a str,
        place: String,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        match self.config.routing.on_rename {
            OnRename::Follow => self.warning(place, format!("{}: followed", what.into()), remedy),
            OnRename::Halt => self.halt(
                table,
                place,
                format!("{}, and routing.on_rename = \"halt\"", what.into()),
                remedy,
                &[],
            ),
        }
    }

    /// Why a field of ours cannot be written any more, also told as a finding.
    pub(super) fn broken(
        &mut self,
        table: &Prepared<'_>,
        what: &str,
        field: &str,
        loss: Loss,
    ) -> Fault {
        let object = table.object_name;
        let (words, remedy) = match loss {
            Loss::Vanished => (
                format!("{object}.{field} is gone from the CRM, or our user can no longer see it"),
                "bring the field back and give our user edit access to it, or map the column to another",
            ),
            Loss::ReadOnly => (
                format!("{object}.{field} can no longer be written by our user"),
                "give our user edit access to the field, or leave the column out: { ignore = true }",
            ),
        };
        self.drift(
            place(table.name, what),
            format!("{words}; changes of it are held"),
            remedy,
        );
        let mut fault = Fault::new(Class::Record, FIELD_BROKEN, words);
        fault.fields.push(field.to_owned());
        fault
    }
}
