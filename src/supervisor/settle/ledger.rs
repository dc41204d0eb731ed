//! What the ledger says of a record after a window.

use super::{Desk, KeptField, Lost, NEVER};
use crate::change::Timestamp;
use crate::mapping::{Action, Assigned, Assignment, FieldId, FieldValue, RecordId, TargetField};
use crate::planning::{CrmId, Entry, Existence, LedgerEntry};

impl Desk<'_> {
    pub(super) fn write_ledger(&mut self, entry: &Entry, sent: &[Assigned], crm_id: Option<CrmId>) {
        let operation = &entry.operation;
        let target = &operation.target;
        let known = entry.ledger.as_ref().filter(|l| l.exists());
        let mut fingerprints = known.map(|l| l.fingerprints.clone()).unwrap_or_default();
        let mut parents = known.map(|l| l.parents.clone()).unwrap_or_default();
        let mut kept = known.map(|l| l.kept_fields.clone()).unwrap_or_default();
        let aside = &entry.aside;
        let fresh = fingerprints.is_empty();
        let declined = aside.kept.iter().map(|k| &k.field);
        for assigned in sent.iter().chain(&aside.already).chain(declined) {
            let Some(field) = target.fields.get(usize::from(assigned.slot)) else {
                continue;
            };
            if target.version == Some(assigned.slot) {
                continue;
            }
            kept.retain(|(id, _)| *id != field.id);
            let fingerprint = field.fingerprint(&assigned.assignment);
            if fresh {
                fingerprints.push((field.id, fingerprint));
            } else {
                match fingerprints.binary_search_by_key(&field.id, |(id, _)| *id) {
                    Ok(place) => {
                        if let Some(known) = fingerprints.get_mut(place) {
                            known.1 = fingerprint;
                        }
                    }
                    Err(place) => fingerprints.insert(place, (field.id, fingerprint)),
                }
            }
            if let Some(reference) = &field.reference
                && self.objects.depth.get(&reference.object) == self.objects.depth.get(&target.id)
            {
                parents.retain(|(id, _)| *id != field.id);
                if let Assignment::Set(FieldValue::Reference(key)) = &assigned.assignment {
                    parents.push((field.id, key.clone()));
                }
            }
        }
        if fresh {
            fingerprints.sort_unstable_by_key(|(id, _)| *id);
        }
        for left in &aside.kept {
            if let Some(field) = operation.field(left.field.slot) {
                kept.push((field.id, left.edited.unwrap_or(NEVER)));
                self.keep(entry, field, left.edited);
            }
        }
        kept.sort_unstable_by_key(|(id, _)| *id);
        let existence = match operation.action {
            Action::Delete { .. } => Existence::Deleted,
            Action::Archive { .. } if known.is_some() || !sent.is_empty() => Existence::Archived,
            Action::Archive { .. } => Existence::Deleted,
            _ => Existence::Live,
        };
        if existence == Existence::Deleted {
            return self.tombstone(entry);
        }
        if let Action::ReKey { from } = &operation.action {
            let old = RecordId {
                object: target.id,
                key: from.clone(),
            };
            self.settled.settlement.ledger_removed.push(old);
        }
        let crm_id = crm_id
            .or_else(|| known.and_then(|l| l.crm_id.clone()))
            .or_else(|| aside.crm_id.clone());
        self.settled.settlement.kept_fields += edits(&kept) - held(entry);
        let written = LedgerEntry {
            kept_fields: kept,
            position: operation.position,
            existence,
            crm_id,
            fingerprints,
            parents,
        };
        self.settled
            .settlement
            .ledger
            .push((operation.record(), written));
    }

    fn keep(&mut self, entry: &Entry, field: &TargetField, edited: Option<Timestamp>) {
        let Some(edited) = edited else { return };
        self.settled.kept_fields.push(KeptField {
            object: entry.operation.target.object.to_string(),
            external_id: entry.operation.key.to_string(),
            field: field.name.to_string(),
            edited,
        });
    }

    /// A person deleted the record in the CRM: the ledger says so, and goes on with its changes.
    pub(super) fn leave_deleted(&mut self, entry: &Entry) {
        let operation = &entry.operation;
        if let Action::ReKey { from } = &operation.action {
            let old = RecordId {
                object: operation.target.id,
                key: from.clone(),
            };
            self.settled.settlement.ledger_removed.push(old);
        }
        self.settled.settlement.kept_fields -= held(entry);
        let kept = LedgerEntry {
            position: operation.position,
            existence: Existence::Kept,
            crm_id: None,
            fingerprints: Vec::new(),
            parents: Vec::new(),
            kept_fields: Vec::new(),
        };
        let ledger = &mut self.settled.settlement.ledger;
        ledger.push((operation.record(), kept));
    }

    /// A record that turned out to be gone.
    pub(super) fn lost(&mut self, lost: Lost) {
        if let Some(mut entry) = lost.ledger {
            let settlement = &mut self.settled.settlement;
            let ledger = &mut settlement.ledger;
            settlement.kept_fields -= match ledger.iter().position(|(r, _)| *r == lost.record) {
                Some(place) => {
                    let (_, own) = ledger.swap_remove(place);
                    entry.position = entry.position.max(own.position);
                    edits(&own.kept_fields)
                }
                None => lost.kept_fields,
            };
            ledger.push((lost.record.clone(), entry));
        }
        let target = self.objects.targets.get(&lost.record.object);
        if let (true, Some(target)) = (lost.reread, target) {
            let row = (target.table.clone(), lost.record.key);
            self.settled.reread.push(row);
        }
    }

    pub(super) fn tombstone(&mut self, entry: &Entry) {
        self.settled.settlement.kept_fields -= held(entry);
        let gone = LedgerEntry {
            kept_fields: Vec::new(),
            position: entry.operation.position,
            existence: Existence::Deleted,
            crm_id: None,
            fingerprints: Vec::new(),
            parents: Vec::new(),
        };
        self.settled
            .settlement
            .ledger
            .push((entry.operation.record(), gone));
    }
}

/// So many fields of its record held what people wrote so far.
fn held(entry: &Entry) -> i64 {
    let known = entry.ledger.as_ref();
    known.map_or(entry.aside.forgotten, |l| edits(&l.kept_fields))
}

/// So many fields hold what people wrote. Those that belong to the CRM are not counted.
pub(in crate::supervisor) fn edits(kept: &[(FieldId, Timestamp)]) -> i64 {
    kept.iter().map(|(_, at)| i64::from(*at != NEVER)).sum()
}
