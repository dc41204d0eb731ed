//! Records that a person deleted in the CRM, by the table's `on_crm_delete`.
//!
//! A write by CRM id that finds nothing tells of a record of ours that is gone; a reference that the
//! CRM cannot resolve tells of a parent that is. A person who deletes an account takes its contacts
//! along, so parents come first here, too.
//!
//! ```text
//! absent ─┬ keep_deleted ─► kept: a tombstone of its own kind
//!         ├ undelete ─► out of the recycle bin ─► the whole row, by CRM id
//!         │                └ not there any more ─┐
//!         └ recreate ────────────────────────────┴► the whole row, by external id
//! ```
//!
//! What a change leaves out (a long text that it did not touch) and the row of a parent that did not
//! change itself are read from the database again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::crew::{Crew, set, stopped};
use super::settle::ledger::edits;
use super::settle::{Fate, Lost};
use crate::config::OnCrmDelete;
use crate::fault::{Class, Result};
use crate::mapping::{Action, Assigned, Fields, Key, KeyRule, Mapping, ObjectId, RecordId};
use crate::planning::{self, Aside, Course, CrmId, Entry, Existence, LedgerEntry, Plan};
use crate::sinks::{Named, Outcome};

/// It was not written, and nothing may be sent for now.
pub(super) const LATER: Outcome = Outcome::Deferred { doubt: false };

/// Rows of one filter.
const MOST_IN_FILTER: usize = 500;

/// The SQL conditions under which these rows are read again, each beside its table.
pub(super) fn filters(mapping: &Mapping, rows: Vec<(Box<str>, Key)>) -> Vec<(Box<str>, String)> {
    let mut by_table: BTreeMap<Box<str>, Vec<Key>> = BTreeMap::new();
    for (table, key) in rows {
        by_table.entry(table).or_default().push(key);
    }
    let mut filters = Vec::new();
    for (table, mut keys) in by_table {
        let Some(rules) = mapping.by_name(&table) else {
            continue;
        };
        keys.sort_unstable();
        keys.dedup();
        for part in keys.chunks(MOST_IN_FILTER) {
            filters.push((table.clone(), filter(&rules.key, part)));
        }
    }
    filters
}

/// `"id" IN ('1', '2')`: literals without a type take the column's, and its index serves.
fn filter(key: &KeyRule, keys: &[Key]) -> String {
    let name = |column: &str| format!("\"{}\"", column.replace('"', "\"\""));
    let literal = |text: &str| {
        let quoted = text.replace('\'', "''");
        match quoted.contains('\\') {
            true => format!("E'{}'", quoted.replace('\\', "\\\\")),
            false => format!("'{quoted}'"),
        }
    };
    let columns: Vec<String> = key.columns.iter().map(|c| name(c)).collect();
    let rows = keys.iter().filter_map(|k| {
        let parts = key.split(k);
        let literals: Vec<String> = parts.iter().map(|p| literal(p)).collect();
        (parts.len() == columns.len()).then(|| format!("({})", literals.join(", ")))
    });
    let rows: Vec<String> = rows.collect();
    format!("({}) IN ({})", columns.join(", "), rows.join(", "))
}

/// What an attempt to take records out of the bin came to.
enum Back {
    /// It is there again.
    Live,
    /// It is not in the bin.
    Gone,
    /// The CRM does not let us.
    Refused(crate::fault::Fault),
    /// Nothing may be sent for now.
    Later,
}

impl Crew {
    /// Writes the records of a stage that the CRM said it does not have.
    pub(super) async fn restore(
        &self,
        plan: &mut Plan,
        absent: &[usize],
        fates: &mut [Fate],
        lost: &mut Vec<Lost>,
        renewed: &mut Vec<usize>,
    ) -> Result<()> {
        let mut levels: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &index in absent {
            let Some(entry) = plan.entries.get(index) else {
                continue;
            };
            let target = &entry.operation.target;
            if entry.exists() && target.on_crm_delete == OnCrmDelete::KeepDeleted {
                tracing::warn!(
                    object = %target.object,
                    external_id = %entry.operation.key,
                    "a person deleted this record in the CRM: it is left so (on_crm_delete)"
                );
                set(fates, index, Fate::Kept);
                continue;
            }
            let depth = self.objects.depth.get(&target.id).copied().unwrap_or(0);
            levels.entry(depth).or_default().push(index);
        }
        for members in levels.into_values() {
            let anew = self.take_back(plan, members, fates).await?;
            for &index in &anew {
                if let Some(entry) = plan.entries.get_mut(index) {
                    lost.extend(renew(entry));
                }
            }
            self.write_anew(plan, &anew, fates).await?;
            renewed.extend(anew);
        }
        Ok(())
    }

    /// Those of `members` that have to be made anew; the others are there again and written.
    async fn take_back(
        &self,
        plan: &mut Plan,
        members: Vec<usize>,
        fates: &mut [Fate],
    ) -> Result<Vec<usize>> {
        let binned = |index: &usize| -> Option<CrmId> {
            let entry = plan.entries.get(*index).filter(|e| e.exists())?;
            let undelete = entry.operation.target.on_crm_delete == OnCrmDelete::Undelete;
            entry.ledger.as_ref()?.crm_id.clone().filter(|_| undelete)
        };
        let (some, mut anew): (Vec<usize>, Vec<usize>) =
            members.into_iter().partition(|i| binned(i).is_some());
        let ids: Vec<CrmId> = some.iter().filter_map(binned).collect();
        let mut again = Vec::new();
        for (index, back) in some.into_iter().zip(self.undelete(&ids).await?) {
            let Some(entry) = plan.entries.get_mut(index) else {
                continue;
            };
            match back {
                Back::Refused(fault) => {
                    set(fates, index, Fate::Answered(Outcome::Refused(fault)));
                    continue;
                }
                Back::Later => {
                    set(fates, index, Fate::Answered(LATER));
                    continue;
                }
                Back::Live | Back::Gone => {}
            }
            if matches!(back, Back::Live) {
                tracing::warn!(
                    object = %entry.operation.target.object,
                    external_id = %entry.operation.key,
                    "a person deleted this record in the CRM: it is taken out of the recycle bin"
                );
            }
            // One that is not in the bin may have come back with its parent, or by an attempt whose
            // answer was lost: its CRM id tells.
            entry.course = Course::Send(whole(entry));
            // With all that people wrote on it: it is looked at as it is now.
            entry.aside = Aside::default();
            planning::leave_to_crm(entry);
            again.push(index);
        }
        if !self.look_while_open(plan, again.clone()).await? {
            for &index in &again {
                set(fates, index, Fate::Answered(LATER));
            }
            again.clear();
        }
        for (index, outcome) in self.write(plan, &again).await? {
            match outcome {
                // It has left the bin.
                Outcome::Absent => anew.push(index),
                outcome => set(fates, index, Fate::Answered(outcome)),
            }
        }
        Ok(anew)
    }

    async fn undelete(&self, ids: &[CrmId]) -> Result<Vec<Back>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let undelete = self.delivery.undelete(ids);
        let Some(answers) = self.delivery.gate().unless_closed(undelete).await else {
            return Ok(ids.iter().map(|_| Back::Later).collect());
        };
        let backs = answers.map_err(stopped)?.into_iter();
        let backs = backs.map(|answer| match answer {
            Outcome::Written { .. } => Back::Live,
            Outcome::Absent => Back::Gone,
            Outcome::Refused(fault) => Back::Refused(fault),
            Outcome::Deferred { .. } => Back::Later,
            // An undelete has no guard.
            Outcome::Overtaken => Back::Gone,
        });
        Ok(backs.collect())
    }

    /// The rows arrive as new ones, by their external ids: whatever bears one is found.
    async fn write_anew(&self, plan: &Plan, anew: &[usize], fates: &mut [Fate]) -> Result<()> {
        if anew.is_empty() {
            return Ok(());
        }
        let mut entries = plan.entries.clone();
        for &index in anew {
            if let Some(entry) = entries.get_mut(index) {
                entry.operation.action = Action::Upsert;
            }
        }
        let cuts = self.cut(&entries, anew);
        self.send_batches(cuts, plan.sent(), |index, outcome| {
            set(fates, index, Fate::Answered(outcome));
        })
        .await
    }

    /// Tells a parent that is yet to come from one that a person deleted in the CRM. `left`: nothing may
    /// be written any more. Returns whether children of parents that are there were sent again: a person
    /// may have deleted one meanwhile.
    pub(super) async fn missing_parents(
        &self,
        plan: &mut Plan,
        fates: &mut [Fate],
        lost: &mut Vec<Lost>,
        renewed: &mut Vec<usize>,
        left: bool,
    ) -> Result<bool> {
        let mut children: BTreeMap<RecordId, Vec<usize>> = BTreeMap::new();
        for (index, entry) in plan.entries.iter().enumerate() {
            if let Some(Fate::Answered(Outcome::Refused(fault))) = fates.get(index)
                && fault.class == Class::MissingParent
                && let Some(parent) = named_parent(entry, &fault.message)
            {
                children.entry(parent).or_default().push(index);
            }
        }
        if children.is_empty() {
            return Ok(false);
        }
        if left {
            for parent in children.keys() {
                later(&children, parent, fates);
            }
            return Ok(false);
        }
        let parents: Vec<RecordId> = children.keys().cloned().collect();
        let states = self.store.records(&parents).await?;
        let mut ours: BTreeMap<ObjectId, Vec<(Key, LedgerEntry)>> = BTreeMap::new();
        for (parent, state) in parents.into_iter().zip(states) {
            match state.ledger.filter(LedgerEntry::exists) {
                Some(ledger) => {
                    let of_object = ours.entry(parent.object).or_default();
                    of_object.push((parent.key, ledger));
                }
                None => wait(&children, &parent, fates),
            }
        }
        let mut again = Vec::new();
        for (object, known) in ours {
            let Some(target) = self.objects.targets.get(&object) else {
                continue;
            };
            let keys: Vec<Key> = known.iter().map(|(key, _)| key.clone()).collect();
            let read = self.delivery.read(target, Named::Keys(&keys), &[]);
            let Some(found) = self.delivery.gate().unless_closed(read).await else {
                for key in keys {
                    later(&children, &RecordId { object, key }, fates);
                }
                continue;
            };
            let found = found.map_err(stopped)?;
            for ((key, ledger), found) in known.into_iter().zip(found) {
                let parent = RecordId { object, key };
                let back = match (&found, target.on_crm_delete, &ledger.crm_id) {
                    (Some(_), ..) => true,
                    (None, OnCrmDelete::Undelete, Some(id)) => {
                        let backs = self.undelete(std::slice::from_ref(id)).await?;
                        if matches!(backs.first(), Some(Back::Later)) {
                            later(&children, &parent, fates);
                            continue;
                        }
                        matches!(backs.first(), Some(Back::Live))
                    }
                    _ => false,
                };
                if back {
                    again.extend(children.get(&parent).into_iter().flatten().copied());
                    continue;
                }
                tracing::warn!(
                    object = %target.object,
                    external_id = %parent.key,
                    "a person deleted this record in the CRM, and others refer to it"
                );
                wait(&children, &parent, fates);
                lost.push(gone(parent, &ledger, target.on_crm_delete));
            }
        }
        let sent = !again.is_empty();
        again.sort_unstable();
        let (mut anew, again): (Vec<usize>, Vec<usize>) =
            again.into_iter().partition(|index| renewed.contains(index));
        let mut absent = Vec::new();
        for (index, outcome) in self.write(plan, &again).await? {
            match outcome {
                Outcome::Absent => absent.push(index),
                outcome => set(fates, index, Fate::Answered(outcome)),
            }
        }
        for &index in &absent {
            if let Some(entry) = plan.entries.get_mut(index) {
                lost.extend(renew(entry));
            }
        }
        renewed.extend(&absent);
        anew.extend(absent);
        self.write_anew(plan, &anew, fates).await?;
        Ok(sent)
    }
}

fn wait(children: &BTreeMap<RecordId, Vec<usize>>, parent: &RecordId, fates: &mut [Fate]) {
    for index in children.get(parent).into_iter().flatten() {
        set(fates, *index, Fate::Waits(parent.clone()));
    }
}

/// They were refused, and nothing may be sent that would tell why.
fn later(children: &BTreeMap<RecordId, Vec<usize>>, parent: &RecordId, fates: &mut [Fate]) {
    for index in children.get(parent).into_iter().flatten() {
        set(fates, *index, Fate::Answered(LATER));
    }
}

/// What the ledger says of a parent that is gone.
fn gone(record: RecordId, known: &LedgerEntry, rule: OnCrmDelete) -> Lost {
    let kept = rule == OnCrmDelete::KeepDeleted;
    Lost {
        record,
        ledger: Some(LedgerEntry {
            position: known.position,
            existence: if kept {
                Existence::Kept
            } else {
                Existence::Uncertain
            },
            crm_id: None,
            fingerprints: Vec::new(),
            parents: Vec::new(),
            kept_fields: Vec::new(),
        }),
        kept_fields: edits(&known.kept_fields),
        reread: !kept,
    }
}

/// The parent that the CRM did not find.
fn named_parent(entry: &Entry, message: &str) -> Option<RecordId> {
    let parents: Vec<RecordId> = entry
        .operation
        .references()
        .map(|(_, object, key)| RecordId {
            object,
            key: key.clone(),
        })
        .collect();
    let named = parents.iter().find(|p| message.contains(p.key.as_str()));
    named.or(parents.first()).cloned()
}

/// All of an operation's fields, and what takes the mark of a deleted row away. Fields in which people
/// have a say come back as they were: of these only what has changed.
fn whole(entry: &Entry) -> Fields {
    let operation = &entry.operation;
    let left_out = |slot| entry.completes.iter().any(|c| c.slot == slot);
    let says = |slot| operation.fields.iter().any(|f| f.slot == slot);
    let same = |f: &Assigned| {
        let field = operation.field(f.slot).filter(|f| f.owner.is_contested());
        let known = entry.ledger.as_ref();
        let written = field.and_then(|field| known?.fingerprint(field.id));
        let ours = field.map(|field| field.fingerprint(&f.assignment));
        written.is_some() && written == ours && !operation.changed(f.slot).sure
    };
    let mut fields = (*operation.fields).clone();
    fields.retain(|f| !left_out(f.slot) && !same(f));
    let marked = entry.ledger.as_ref().map(|l| l.existence) == Some(Existence::Archived);
    if marked && entry.operation.action == Action::Upsert {
        let restore = entry.operation.target.removal.restore().iter();
        fields.extend(restore.filter(|f| !says(f.slot)).cloned());
        fields.sort_by_key(|f| f.slot);
    }
    Arc::new(fields)
}

/// The record is made anew: what the old one held counts for nothing.
fn renew(entry: &mut Entry) -> Option<Lost> {
    // It cannot refer to itself before it is there.
    let own = entry.operation.record();
    let operation = &entry.operation;
    for field in operation.fields.iter() {
        let to_itself =
            planning::parents(operation, std::slice::from_ref(field)).any(|parent| parent == own);
        if to_itself && !entry.completes.contains(field) {
            entry.completes.push(field.clone());
        }
    }
    let left_out = |slot| entry.completes.iter().any(|c| c.slot == slot);
    let fields = entry.operation.fields.iter().filter(|f| !left_out(f.slot));
    entry.course = Course::Send(Arc::new(fields.cloned().collect()));
    // What people wrote has gone with it.
    entry.aside = Aside {
        forgotten: entry.ledger.as_ref().map_or(0, |l| edits(&l.kept_fields)),
        ..Aside::default()
    };
    let known = entry.ledger.take().filter(LedgerEntry::exists)?;
    tracing::warn!(
        object = %entry.operation.target.object,
        external_id = %entry.operation.key,
        "the CRM no longer has this record: it is made again"
    );
    // What this change says nothing of was in the old one.
    let target = &entry.operation.target;
    let says = |id| {
        let mut slots = entry.operation.fields.iter().map(|f| usize::from(f.slot));
        slots.any(|slot| target.fields.get(slot).is_some_and(|f| f.id == id))
    };
    let partial = known.fingerprints.iter().any(|(id, _)| !says(*id));
    partial.then_some(Lost {
        record: own,
        ledger: None,
        kept_fields: 0,
        reread: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(columns: &[&str]) -> KeyRule {
        KeyRule {
            columns: columns.iter().map(|c| (*c).into()).collect(),
            separator: "::".into(),
            field: "Ext_Id__c".into(),
            length: 0,
        }
    }

    #[test]
    fn rows_are_asked_for_by_their_keys() {
        let one = filter(
            &rule(&["id"]),
            &["7".into(), "O'Hara".into(), r"a\b".into()],
        );
        assert_eq!(one, r#"("id") IN (('7'), ('O''Hara'), (E'a\\b'))"#);
        // Backslashes of the external id are the key's own.
        let two = filter(&rule(&[r#"a"b"#, "c"]), &[r"x\:y\\::z".into()]);
        assert_eq!(two, r#"("a""b", "c") IN ((E'x:y\\', 'z'))"#);
    }
}
