//! What a plan is made of: one entry a record, and how it is decided.

use std::sync::Arc;

use hashbrown::HashMap;

use super::aside::{Aside, Asked, Found, Kept};
use super::codes::{BRAKE_DELETES, CONFLICT, is_drift, is_own};
use super::conflict::Answer;
use super::record::{CrmId, Existence, LedgerEntry, Pending, Reason, RecordState};
use super::window::{Item, still_rejected};
use crate::fault::Fault;
use crate::mapping::{
    Action, Assigned, DELETE_INCOMPLETE, FIELD_BROKEN, Fields, Key, OBJECT_CLOSED, ObjectId,
    Operation, Owner, RecordId, TABLE_HALTED, Target,
};

/// What the store knows of the records that a plan is about.
pub type States = HashMap<RecordId, RecordState>;

/// What happens to a record's operation.
#[derive(Clone, PartialEq, Debug)]
pub enum Course {
    /// These fields are sent.
    Send(Fields),
    /// It is not newer than what the record has.
    Stale,
    /// The CRM has it all already.
    Unchanged,
    /// People have changed all of its fields since, and keep them.
    KeepFields,
    /// All of it belongs to the CRM: by its owners, or as records are only made ([`crate::mapping::Creation::once`]).
    Ignore,
    /// A person has to decide on all of it.
    Ask,
    /// A person deleted the record in the CRM, and it stays so.
    Kept,
    /// It stays on the shelf, or goes there, untried.
    Shelve {
        /// Why.
        reason: Reason,
        /// The record it waits for.
        waits_for: Option<RecordId>,
        /// What is wrong with it.
        fault: Option<Fault>,
    },
    /// A marker whose time is over: it leaves the shelf.
    Drop,
}

/// One record of a plan.
#[derive(Clone, Debug)]
pub struct Entry {
    /// All that is to be done, with what was on the shelf merged in.
    pub operation: Operation,
    /// What the CRM holds of it (for a re-key: under the old external id).
    pub ledger: Option<LedgerEntry>,
    /// What was on the shelf for it.
    pub pending: Option<Box<Pending>>,
    /// Other records whose place on the shelf this operation takes over.
    pub absorbed: Vec<Pending>,
    /// Markers that stand whatever becomes of this operation.
    pub markers: Vec<Pending>,
    /// For a re-key: what is on the shelf under the old external id, to be kept as its marker.
    pub marker: Option<Box<Pending>>,
    /// A change of this window is in it, whose verdict it decides.
    pub change: bool,
    /// A row of a backfill is in it.
    pub row: bool,
    /// What happens.
    pub course: Course,
    /// References left out to break a cycle: the next operation of this record.
    pub completes: Vec<Assigned>,
    /// Fields that are not written, and why.
    pub aside: Aside,
}

impl Entry {
    /// The CRM has the record, as far as we know.
    pub fn exists(&self) -> bool {
        self.ledger.as_ref().is_some_and(LedgerEntry::exists)
    }

    /// The same, with these fields to be sent.
    #[must_use]
    pub fn sending(mut self, fields: Fields) -> Self {
        self.course = Course::Send(fields);
        self
    }

    /// It makes room for a re-key, and stands for no change.
    pub fn is_removal(&self) -> bool {
        !self.change && !self.row && self.pending.is_none()
    }

    /// It waits until delivery goes on.
    pub(super) fn is_deferred(&self) -> bool {
        matches!(
            self.course,
            Course::Shelve {
                reason: Reason::Deferred,
                ..
            }
        )
    }

    /// It will be sent.
    pub fn is_sent(&self) -> bool {
        matches!(self.course, Course::Send(_))
    }
}

/// A window, decided.
#[derive(Debug, Default)]
pub struct Plan {
    /// One a record (two for a re-key onto a record that exists).
    pub entries: Vec<Entry>,
    /// Entries to send, stage after stage.
    pub stages: Vec<Vec<usize>>,
    /// Where a record's entry is, by the external id that it has afterwards.
    pub places: HashMap<RecordId, usize>,
    /// An earlier process may have sent it, wholly or in part.
    pub again: bool,
    /// What remains certain of records whose operation is deferred and may have been sent.
    pub doubts: Vec<(RecordId, LedgerEntry)>,
    /// Records with a high priority that were not sent.
    pub urgent: Vec<RecordId>,
    /// Records on the shelf that such wait for.
    pub asked: Vec<RecordId>,
}

/// Whether something may have been sent before, by a process that has ended since.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// It has not been.
    Not,
    /// It may have been.
    Maybe {
        /// It is not given up, whatever happens.
        clings: bool,
    },
}

impl Plan {
    /// Whether what it sends may have been sent before. A re-key of which that is so is not given up, nor
    /// is what it may have to wait for.
    pub fn sent(&self) -> Sent {
        let re_keys = |e: &Entry| e.is_sent() && matches!(e.operation.action, Action::ReKey { .. });
        match self.again {
            true => Sent::Maybe {
                clings: self.entries.iter().any(re_keys),
            },
            false => Sent::Not,
        }
    }

    pub(super) fn add(&mut self, mut entry: Entry) {
        leave_to_crm(&mut entry);
        self.places
            .insert(entry.operation.record(), self.entries.len());
        self.entries.push(entry);
    }
}

/// It goes to the shelf untried: as a dead letter, or held where not the record is at fault but what
/// it is written to.
pub(super) fn refused(fault: Fault) -> Course {
    let reason = if is_drift(&fault) {
        Reason::Held
    } else {
        Reason::DeadLetter
    };
    Course::Shelve {
        reason,
        waits_for: None,
        fault: Some(fault),
    }
}

/// A change that the mapping could not build whole. Where it would not have been sent anyway (a mark
/// for a record that the CRM does not have) nothing is missing.
pub(super) fn rejected(
    fault: Fault,
    operation: &Operation,
    ledger: Option<&LedgerEntry>,
    origin: Origin,
) -> Course {
    if fault.code == DELETE_INCOMPLETE {
        let course = decide(operation, ledger, origin);
        if !matches!(course, Course::Send(_)) {
            return course;
        }
    }
    refused(fault)
}

/// Why a held operation is held still, now that `newer` has come; `None` when it is not (any more).
/// What drift holds is freed with it: a new change of a table that is not halted any more tells, if
/// it brings the fields that could not be filled.
pub(super) fn still_held(pending: &Pending, newer: &Item) -> Option<Course> {
    if pending.reason != Reason::Held {
        return None;
    }
    let fault = match pending.fault.clone() {
        // Only the fields in conflict are held, and they are looked at again.
        Some(fault) if fault.code == CONFLICT => return None,
        Some(fault) if fault.code == FIELD_BROKEN || fault.code == OBJECT_CLOSED => return None,
        // The row is back: nothing is deleted any more.
        Some(fault)
            if fault.code == BRAKE_DELETES
                && matches!(
                    newer.operation.action,
                    Action::Upsert | Action::ReKey { .. }
                ) =>
        {
            return None;
        }
        Some(fault) if fault.code == TABLE_HALTED => Some(still_rejected(Some(fault), newer)?),
        other => other,
    };
    Some(Course::Shelve {
        reason: Reason::Held,
        waits_for: None,
        fault,
    })
}

/// Why an operation on the shelf may not be tried without a new change: it is not whole, or its table
/// is halted.
pub(super) fn stuck(pending: &Pending, target: &Target) -> Option<Fault> {
    let fault = pending.fault.as_ref()?;
    if fault.code == TABLE_HALTED {
        let action = pending.operation.as_ref().map(|o| &o.action);
        let whole = fault.fields.is_empty()
            || matches!(
                action,
                Some(Action::Delete { .. } | Action::Archive { create: false })
            );
        return (target.halted.is_some() || !whole).then(|| fault.clone());
    }
    is_own(fault).then(|| fault.clone())
}

pub(super) fn waiting(holder: RecordId) -> Course {
    Course::Shelve {
        reason: Reason::Waiting,
        waits_for: Some(holder),
        fault: None,
    }
}

/// Where an operation comes from.
#[derive(Clone, Copy)]
pub(super) enum Origin {
    /// A change, not newer than itself: seen again, it is stale.
    Change {
        /// See [`super::Item::rereferred`].
        rereferred: bool,
    },
    /// The shelf (or a rule): the rest of what has been done at this position.
    Shelf,
}

/// Sends what differs from what we wrote last, where that can be written.
///
/// A reference is compared by the parent's external id, which another record may bear by now. Where
/// the reference was on the way elsewhere in between (`rereferred`), it is sent whatever was written
/// last.
pub(super) fn decide(
    operation: &Operation,
    ledger: Option<&LedgerEntry>,
    origin: Origin,
) -> Course {
    let course = differing(operation, ledger, origin);
    let Course::Send(fields) = &course else {
        return course;
    };
    let target = &operation.target;
    if let Some(fault) = &target.halted {
        // The operation is whole, as it was made before: nothing has to come for it to go.
        return refused(Fault {
            fields: Vec::new(),
            ..fault.clone()
        });
    }
    let field = |f: &Assigned| target.fields.get(usize::from(f.slot));
    let broken = fields.iter().find_map(|f| field(f)?.broken.clone());
    broken.map_or(course, refused)
}

fn differing(operation: &Operation, ledger: Option<&LedgerEntry>, origin: Origin) -> Course {
    let Some(ledger) = ledger else {
        return Course::Send(Arc::clone(&operation.fields));
    };
    let stale = match origin {
        Origin::Shelf => operation.position < ledger.position,
        Origin::Change { .. } => operation.position <= ledger.position,
    };
    if stale {
        return Course::Stale;
    }
    if operation.target.creation.once && matches!(origin, Origin::Change { .. }) {
        return Course::Ignore;
    }
    if ledger.existence == Existence::Kept {
        return match operation.action {
            Action::Upsert | Action::ReKey { .. } | Action::Archive { create: true } => {
                Course::Kept
            }
            Action::Delete { .. } | Action::Archive { create: false } => Course::Unchanged,
        };
    }
    let rereferred = !matches!(origin, Origin::Change { rereferred: false });
    match operation.action {
        Action::Delete { .. } if ledger.may_exist() => Course::Send(Fields::default()),
        Action::Delete { .. } => Course::Unchanged,
        Action::Archive { create: false } if !ledger.may_exist() => Course::Unchanged,
        _ if !ledger.exists() => Course::Send(Arc::clone(&operation.fields)),
        _ => {
            let differs = |f: &&Assigned| {
                let field = operation.target.fields.get(usize::from(f.slot));
                if rereferred && field.is_some_and(|field| field.reference.is_some()) {
                    return true;
                }
                let Some(field) = field else { return true };
                // It may have changed to and fro since, and somebody else in between.
                if field.owner.is_contested() && operation.changed(f.slot).sure {
                    return true;
                }
                // The database owns it by now, and the CRM was not given what it has.
                if field.owner == Owner::Source && ledger.kept_since(field.id).is_some() {
                    return true;
                }
                ledger.fingerprint(field.id) != Some(field.fingerprint(&f.assignment))
            };
            let mut changed: Vec<Assigned> =
                operation.fields.iter().filter(differs).cloned().collect();
            let returns = matches!(operation.action, Action::Upsert | Action::ReKey { .. });
            if ledger.existence == Existence::Archived && returns {
                // The row came back: what marked its record as deleted goes.
                let says = |slot| operation.fields.iter().any(|f| f.slot == slot);
                let restore = operation.target.removal.restore().iter();
                changed.extend(restore.filter(|f| !says(f.slot)).filter(differs).cloned());
                changed.sort_by_key(|f| f.slot);
            }
            if changed.is_empty() && !matches!(operation.action, Action::ReKey { .. }) {
                Course::Unchanged
            } else {
                Course::Send(Arc::new(changed))
            }
        }
    }
}

/// The parents that these fields of an operation name.
pub fn parents<'a>(
    operation: &'a Operation,
    fields: &'a [Assigned],
) -> impl Iterator<Item = RecordId> + 'a {
    references(operation, fields).map(|(_, object, key)| RecordId {
        object,
        key: key.clone(),
    })
}

/// The parents that these fields of an operation name.
pub(super) fn references<'a>(
    operation: &'a Operation,
    fields: &'a [Assigned],
) -> impl Iterator<Item = (u16, ObjectId, &'a Key)> {
    use crate::mapping::{Assignment, FieldValue};
    fields.iter().filter_map(|f| match &f.assignment {
        Assignment::Set(FieldValue::Reference(key)) => {
            let reference = operation
                .target
                .fields
                .get(usize::from(f.slot))?
                .reference
                .as_ref()?;
            Some((f.slot, reference.object, key))
        }
        _ => None,
    })
}

/// Leaves fields that belong to the CRM to it, where the record is there.
pub fn leave_to_crm(entry: &mut Entry) {
    let Course::Send(fields) = &entry.course else {
        return;
    };
    let crm = |f: &Assigned| entry.operation.field(f.slot).map(|f| f.owner) == Some(Owner::Crm);
    if !entry.exists() || !fields.iter().any(crm) {
        return;
    }
    let answers = fields.iter().filter(|f| crm(f));
    let answers = answers.map(|f| (f.slot, Found::Crm)).collect();
    aside(entry, answers, None);
}

/// Takes out of what is sent what is not to be written, and says what becomes of the rest. Fields that
/// are not named are written.
pub fn aside(entry: &mut Entry, found: Vec<(u16, Found)>, crm_id: Option<CrmId>) {
    let Course::Send(fields) = &mut entry.course else {
        return;
    };
    let left = &mut entry.aside;
    left.crm_id = crm_id.or(left.crm_id.take());
    let mut out: Vec<u16> = Vec::new();
    for (slot, found) in found {
        let Some(field) = fields.iter().find(|f| f.slot == slot).cloned() else {
            continue;
        };
        match found {
            Found::Judged(Answer::Write, _) => continue,
            Found::Judged(Answer::AlreadyThere, _) => left.already.push(field),
            Found::Crm => left.kept.push(Kept {
                field,
                edited: None,
            }),
            Found::Judged(Answer::Keep { edited }, _) => left.kept.push(Kept {
                field,
                edited: Some(edited),
            }),
            Found::Judged(Answer::Ask { edited }, theirs) => left.asked.push(Asked {
                field,
                theirs,
                edited,
            }),
        }
        out.push(slot);
    }
    if out.is_empty() {
        return;
    }
    let rest: Vec<Assigned> = fields
        .iter()
        .filter(|f| !out.contains(&f.slot))
        .cloned()
        .collect();
    let renames = matches!(entry.operation.action, Action::ReKey { .. }) || left.adopted;
    entry.course = if !rest.is_empty() || renames || !entry.completes.is_empty() {
        Course::Send(Arc::new(rest))
    } else if !left.asked.is_empty() {
        Course::Ask
    } else if left.kept.iter().any(|k| k.edited.is_some()) {
        Course::KeepFields
    } else if !left.kept.is_empty() {
        Course::Ignore
    } else {
        Course::Unchanged
    };
}
