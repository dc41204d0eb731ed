//! What a deleted row does, and what a row that comes back takes away again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::drift::Loss;
use super::fields::Draft;
use super::history::Found;
use super::{Compiler, Prepared};
use crate::change::ReplicaIdentity;
use crate::config::{Deletion, Marks, OnDelete, OnTruncate};
use crate::fault::Fault;
use crate::mapping::coerce::{Fit, fit};
use crate::mapping::stamp::{PLACEHOLDERS, opposite, parse, plain};
use crate::mapping::{Assigned, FieldDescription, FieldKind, Part, Removal, Stamp, StampSource};
use crate::value::ValueType;

type Stamped = (Arc<FieldDescription>, Option<Fault>, StampSource);

impl<'a> Compiler<'a> {
    pub(super) fn on_delete(&mut self, table: &Prepared<'a>, draft: &mut Draft) -> Removal {
        let at = || table.place("on_delete");
        match &table.table.on_delete {
            OnDelete::Plain(Deletion::Ignore) => {
                self.note(at(), "a deleted row is counted, and its record stays");
                Removal::Ignore
            }
            OnDelete::Plain(word) => {
                if table.object.is_some_and(|o| !o.deletable) {
                    self.wrong(
                        table.history.ran() && self.used_object(table.object_name),
                        table.name,
                        at(),
                        format!("our user may not delete records of {}", table.object_name),
                        "give the user the right to delete, or use on_delete = { set = … } or \"ignore\"",
                        &[],
                    );
                }
                Removal::Delete {
                    hard: *word == Deletion::HardDelete,
                }
            }
            OnDelete::Marked(marks) => self.archive(table, draft, marks),
        }
    }

    fn archive(&mut self, table: &Prepared<'a>, draft: &mut Draft, marks: &'a Marks) -> Removal {
        if marks.set.is_empty() {
            self.problem(
                table.place("on_delete"),
                "{ set = … } names no field",
                "name what marks a record whose row is gone, or say \"ignore\"",
            );
        }
        let mut set: Vec<Stamp> = Vec::new();
        let mut restore: Vec<Assigned> = Vec::new();
        for (name, value) in &marks.set {
            let what = format!("on_delete.set.{name}");
            let Some((field, mut fault, source)) = self.stamp(table, &what, name, value) else {
                continue;
            };
            if !field.updateable {
                if self.ours(table, &field.name) {
                    fault = Some(self.broken(table, &what, &field.name, Loss::ReadOnly));
                } else {
                    self.not_writable(&table.place(&what), table, &field, "change");
                }
            }
            let slot = draft.slot(&field, None);
            draft.break_field(slot, fault);
            if set.iter().any(|s| s.slot == slot) {
                let what = format!("{} is named twice", field.name);
                self.problem(table.place(&what), what, "name it once");
                continue;
            }
            if !draft.written(&field.name) {
                restore.extend(self.back(table, &field, slot, &source, &marks.restore));
            }
            set.push(Stamp { slot, source });
        }
        self.needless(table, draft, marks);
        set.sort_by_key(|s| s.slot);
        restore.sort_by_key(|f| f.slot);
        Removal::Archive { set, restore }
    }

    /// What a row that comes back does to a field that none of its columns fills.
    fn back(
        &mut self,
        table: &Prepared<'a>,
        field: &Arc<FieldDescription>,
        slot: u16,
        source: &StampSource,
        restore: &'a BTreeMap<String, toml::Value>,
    ) -> Option<Assigned> {
        let given = restore
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(&field.name));
        let assignment = match given {
            Some((name, value)) => {
                let at = table.place(&format!("on_delete.restore.{name}"));
                self.assignment(table, &at, field, value)?
            }
            None => match opposite(field, source) {
                Some(assignment) => assignment,
                None => {
                    self.warning(
                        table.place(&format!("on_delete.set.{}", field.name)),
                        format!(
                            "nothing sets {} back: a row that is inserted again leaves its record marked as deleted",
                            field.name
                        ),
                        format!(
                            "on_delete = {{ set = …, restore = {{ {} = … }} }}, or map a column to it",
                            field.name
                        ),
                    );
                    return None;
                }
            },
        };
        Some(Assigned { slot, assignment })
    }

    /// `restore` is for fields of `set` that nothing else fills.
    fn needless(&mut self, table: &Prepared<'a>, draft: &Draft, marks: &Marks) {
        for name in marks.restore.keys() {
            let at = table.place(&format!("on_delete.restore.{name}"));
            let marked = marks.set.keys().any(|n| n.eq_ignore_ascii_case(name));
            if !marked {
                self.problem(
                    at,
                    format!("{name} is not set by a deleted row: there is nothing to restore"),
                    format!("take this line away, or add set.{name}"),
                );
            } else if let Some(writer) = draft.writer(name) {
                let what = format!("{writer} fills {name} when the row comes back");
                self.problem(at, what, "take this line away");
            }
        }
    }

    /// The field of that name, how it is broken, and what a deleted row writes to it.
    fn stamp(
        &mut self,
        table: &Prepared<'a>,
        what: &str,
        name: &str,
        value: &toml::Value,
    ) -> Option<Stamped> {
        let constant = |found: (Arc<FieldDescription>, Option<Fault>, _)| {
            (found.0, found.1, StampSource::Constant(found.2))
        };
        let toml::Value::String(text) = value else {
            return self.constant(table, what, name, value).map(constant);
        };
        let parts = match parse(text) {
            Ok(parts) => parts,
            Err(wrong) => {
                self.problem(
                    table.place(what),
                    format!("{wrong} in a template"),
                    format!("allowed are {PLACEHOLDERS}"),
                );
                return None;
            }
        };
        if let Some(plain) = plain(&parts) {
            let plain = toml::Value::String(plain.to_owned());
            return self.constant(table, what, name, &plain).map(constant);
        }
        if table.key.field.eq_ignore_ascii_case(name) {
            self.problem(
                table.place(what),
                "the external id is made from the key columns",
                "take this line away",
            );
            return None;
        }
        let (field, fault) = self.field(table, what, name, FieldKind::LongText)?;
        let mut resolved = Vec::with_capacity(parts.len());
        for part in &parts {
            resolved.push(match part {
                Part::Old(column) => Part::Old(self.old(table, what, column)?),
                other => other.clone(),
            });
        }
        self.can_hold(table, what, &field, &resolved);
        let parts = resolved;
        let source = StampSource::Made {
            field: Arc::clone(&field),
            parts,
        };
        Some((field, fault, source))
    }

    /// The name that a column of the old row has today. Whether old rows bring it is told.
    fn old(&mut self, table: &Prepared<'a>, what: &str, column: &str) -> Option<Box<str>> {
        let at = table.place(what);
        let source = table.source;
        let found = match table.history.find(source, column) {
            Found::Here(found) => found,
            Found::Renamed(found) => {
                self.renamed(
                    table.name,
                    at.clone(),
                    format!("the column {column} is called {} now", found.name),
                    format!("write {{old.{}}}", found.name),
                );
                found
            }
            Found::Dropped { .. } => {
                self.drift(
                    at,
                    format!(
                        "{} no longer has the column {column}: deletes become dead letters",
                        table.name
                    ),
                    "name another column, or take the placeholder away",
                );
                return Some(column.into());
            }
            Found::Never => {
                self.no_column(table.name, source, column, what);
                return None;
            }
        };
        let sent = match source.identity {
            ReplicaIdentity::Full => true,
            ReplicaIdentity::Nothing => false,
            _ => source.identity_columns.contains(&found.name),
        };
        if !sent {
            let told = format!(
                "a delete does not come with the old row's {} (replica identity {}): it would become a dead letter",
                found.name,
                source.identity.word()
            );
            let remedy = format!("ALTER TABLE {} REPLICA IDENTITY FULL;", table.name);
            if table.history.ran() {
                self.drift(at.clone(), told, remedy);
            } else {
                self.problem(at.clone(), told, remedy);
            }
        }
        if table.table.on_truncate == OnTruncate::DeleteAll {
            self.note(
                at,
                format!("a TRUNCATE brings no old row: it leaves out what is made from {column}"),
            );
        }
        Some(found.name.clone())
    }

    /// Whether the field can hold what the template makes.
    fn can_hold(
        &mut self,
        table: &Prepared<'a>,
        what: &str,
        field: &FieldDescription,
        parts: &[Part],
    ) {
        let numeric = matches!(field.kind, FieldKind::Int | FieldKind::Decimal);
        let value_type = match parts {
            [Part::CommitTime] => ValueType::TimestampTz,
            [Part::Lsn] if numeric => ValueType::Unsigned,
            [Part::Old(column)] => {
                let columns = &mut table.source.columns.iter();
                match columns.find(|c| c.name == *column) {
                    Some(column) => (self.types)(column.type_oid, column.typmod),
                    None => return,
                }
            }
            _ => ValueType::Text,
        };
        let at = table.place(what);
        match fit(field, &value_type) {
            Fit::Whole => {}
            // That the text of a template may not be what the field wants shows at the first delete.
            Fit::Partly(why) => {
                let what = format!("for {}: {why}", field.name);
                self.warning(at, what, "a delete that does not fit becomes a dead letter");
            }
            Fit::Never(why) => {
                let what = format!("{} cannot take it: {why}", field.name);
                self.wrong(
                    self.ours(table, &field.name),
                    table.name,
                    at,
                    what,
                    "name a field of the right type",
                    &[&field.name],
                );
            }
        }
    }
}
