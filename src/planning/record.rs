//! What is known of one record: what the CRM holds of it, and what it still has to get.

use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::change::{Position, Timestamp};
use crate::fault::Fault;
use crate::mapping::{
    Action, Assigned, Assignment, Changed, FieldId, Fingerprint, Key, Operation, RecordId, Target,
    TargetField,
};

/// The CRM's own id of a record.
pub type CrmId = CompactString;

/// Whether the CRM has the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Existence {
    /// It does.
    Live,
    /// It does, and its row is deleted (`on_delete = { set = … }`).
    Archived,
    /// It does not: a tombstone.
    Deleted,
    /// It may: a row of a backfill was about to be sent, and what became of that is not known.
    Uncertain,
    /// It does not: a person deleted it, and `on_crm_delete = "keep_deleted"`.
    Kept,
}

/// What the CRM holds of one record, as far as we wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LedgerEntry {
    /// The newest change applied.
    pub position: Position,
    /// Whether the record is there.
    pub existence: Existence,
    /// The CRM's id.
    pub crm_id: Option<CrmId>,
    /// Fingerprint of each field last written, sorted by field.
    pub fingerprints: Vec<(FieldId, Fingerprint)>,
    /// The parents it refers to, where the order of deletes depends on it (references in a cycle).
    pub parents: Vec<(FieldId, Key)>,
    /// Fields that hold what people wrote, and when they did, sorted by field: their fingerprints are
    /// of what the database has and the CRM was not given. The oldest time of all: the field belongs
    /// to the CRM.
    pub kept_fields: Vec<(FieldId, Timestamp)>,
}

/// Why an operation is on the shelf.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Failed for a reason of its own.
    DeadLetter,
    /// Waits for its parent.
    Waiting,
    /// Held for a person.
    Held,
    /// Delivery is paused, the CRM is down, or the budget is spent.
    Deferred,
}

/// An operation on the shelf, by names: it outlives configurations, and a person can read it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PendingOperation {
    /// What to do.
    pub action: Action,
    /// Field by field, by API name.
    pub fields: Vec<(String, Assignment)>,
    /// The newest change in it.
    pub position: Position,
    /// When that change committed.
    pub commit_time: Timestamp,
    /// That change's transaction.
    pub xid: u32,
    /// What is known of the times of contested fields, by API name; see [`Changed`].
    pub changed: Vec<PendingTime>,
}

/// When a contested field of an operation on the shelf changed; see [`Changed`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PendingTime {
    /// The field.
    pub field: String,
    /// When it changed, if anybody knows.
    pub at: Option<Timestamp>,
    /// It did change then.
    pub sure: bool,
    /// A person has decided for this value.
    pub decided: bool,
}

/// A field that both sides have changed, on the shelf until a person decides.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Conflict {
    /// The field.
    pub field: String,
    /// What the CRM held when it was looked at.
    pub theirs: Assignment,
    /// When that came to be there, at the latest.
    pub edited: Timestamp,
}

/// What the CRM still has to get, one a record.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Pending {
    /// Which record.
    pub record: RecordId,
    /// The table, in the configuration's words.
    pub table: String,
    /// The CRM object.
    pub object: String,
    /// The object's external-id field.
    pub key_field: String,
    /// Why it waits.
    pub reason: Reason,
    /// What is to be done. None: the external id is still borne by a record whose re-key is on the
    /// shelf, so that nothing may be written under it yet.
    pub operation: Option<PendingOperation>,
    /// The record it waits for.
    pub waits_for: Option<RecordId>,
    /// What the CRM (or the mapping) said last.
    pub fault: Option<Fault>,
    /// Times it was tried.
    pub attempts: u32,
    /// Since when it is here.
    pub since: Timestamp,
    /// When it was last tried.
    pub tried: Option<Timestamp>,
    /// It stands for a change whose verdict is `pending`. (A marker, or the delete half of a re-key
    /// onto an existing record, does not.)
    pub counted: bool,
    /// The other side of fields on which a person has to decide.
    pub conflicts: Vec<Conflict>,
}

impl LedgerEntry {
    /// The CRM has the record.
    pub fn exists(&self) -> bool {
        matches!(self.existence, Existence::Live | Existence::Archived)
    }

    /// The CRM has the record, or may have it.
    pub fn may_exist(&self) -> bool {
        self.exists() || self.existence == Existence::Uncertain
    }

    /// Since when a field holds what a person wrote, at the latest, instead of what the database has.
    pub fn kept_since(&self, field: FieldId) -> Option<Timestamp> {
        let found = self
            .kept_fields
            .binary_search_by_key(&field, |(id, _)| *id)
            .ok()?;
        self.kept_fields.get(found).map(|(_, edited)| *edited)
    }

    /// What we last wrote to a field, or would have written had nobody changed it.
    pub fn fingerprint(&self, field: FieldId) -> Option<Fingerprint> {
        let found = self
            .fingerprints
            .binary_search_by_key(&field, |(id, _)| *id)
            .ok()?;
        self.fingerprints
            .get(found)
            .map(|(_, fingerprint)| *fingerprint)
    }
}

impl Pending {
    /// Its operation in the terms of today's mapping; `None` for a marker. A field that the mapping
    /// no longer writes is left out.
    pub fn to_operation(&self, target: &Arc<Target>) -> Option<Operation> {
        let operation = self.operation.as_ref()?;
        // The CRM's names do not differ by case, and a field that vanished may come back spelled anew.
        let same = |name: &str, field: &TargetField| field.name.eq_ignore_ascii_case(name);
        let slot = |name: &str| target.fields.iter().position(|f| same(name, f));
        let mut fields: Vec<Assigned> = operation
            .fields
            .iter()
            .filter_map(|(name, assignment)| {
                let slot = u16::try_from(slot(name)?).ok()?;
                Some(Assigned {
                    slot,
                    assignment: assignment.clone(),
                })
            })
            .collect();
        fields.sort_by_key(|f| f.slot);
        let changed = operation.changed.iter().filter_map(|time| {
            Some(Changed {
                slot: u16::try_from(slot(&time.field)?).ok()?,
                at: time.at,
                sure: time.sure,
                decided: time.decided,
            })
        });
        Some(Operation {
            changed: changed.collect(),
            target: Arc::clone(target),
            key: self.record.key.clone(),
            action: operation.action.clone(),
            fields: Arc::new(fields),
            position: operation.position,
            commit_time: operation.commit_time,
            xid: operation.xid,
        })
    }
}

impl PendingOperation {
    /// An operation by names.
    pub fn new(operation: &Operation) -> Self {
        let fields = operation.fields.iter().filter_map(|f| {
            let field = operation.target.fields.get(usize::from(f.slot))?;
            Some((field.name.to_string(), f.assignment.clone()))
        });
        let here = |c: &&Changed| operation.fields.iter().any(|f| f.slot == c.slot);
        let times = operation.changed.iter().filter(here).filter_map(|c| {
            Some(PendingTime {
                field: operation.field(c.slot)?.name.to_string(),
                at: c.at,
                sure: c.sure,
                decided: c.decided,
            })
        });
        PendingOperation {
            changed: times.collect(),
            action: operation.action.clone(),
            fields: fields.collect(),
            position: operation.position,
            commit_time: operation.commit_time,
            xid: operation.xid,
        }
    }
}

/// What the store knows of one record.
#[derive(Clone, Debug, Default)]
pub struct RecordState {
    /// Its ledger entry.
    pub ledger: Option<LedgerEntry>,
    /// Its place on the shelf. Boxed: it is large, and nearly always missing.
    pub pending: Option<Box<Pending>>,
}
