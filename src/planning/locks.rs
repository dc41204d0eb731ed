//! What a write locks in the CRM: the record itself and the parents it refers to.
//!
//! All parents count, whether the write changes the reference or not: a roll-up or a master-detail
//! relation makes the CRM lock them at every write of a child. The old parent counts too, as far as
//! the ledger knows it. A lock is a hash; two that share one by chance only wait for each other.

use std::sync::Arc;

use smallvec::SmallVec;

use super::entry::Entry;
use crate::mapping::{Action, Assignment, FieldId, FieldValue, Fingerprint, Key, ObjectId, Target};

/// What one write locks.
pub(super) type Held = SmallVec<[u64; 6]>;

/// What the writes of a batch lock together: sorted, each lock once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Locks(Box<[u64]>);

impl Locks {
    /// The locks.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().copied()
    }
}

impl FromIterator<u64> for Locks {
    fn from_iter<I: IntoIterator<Item = u64>>(locks: I) -> Self {
        let mut locks: Vec<u64> = locks.into_iter().collect();
        locks.sort_unstable();
        locks.dedup();
        Locks(locks.into_boxed_slice())
    }
}

/// The fields of a target that refer to records which its writes lock.
pub(super) struct Lookups {
    /// By slot: the parent's object, and the field's number.
    by_slot: Vec<Option<(ObjectId, FieldId)>>,
}

impl Lookups {
    /// `locks` says of an object whether its records are locked by those that refer to them.
    pub(super) fn of(target: &Arc<Target>, locks: &dyn Fn(&str) -> bool) -> Self {
        let by_slot = target.fields.iter().map(|field| {
            let parent = field.reference.as_ref()?;
            locks(&parent.object_name).then_some((parent.object, field.id))
        });
        Lookups {
            by_slot: by_slot.collect(),
        }
    }

    /// What the entry's operation locks.
    pub(super) fn of_entry(&self, entry: &Entry) -> Held {
        let operation = &entry.operation;
        let own = operation.target.id;
        let mut held = Held::new();
        held.push(by_key(own, &operation.key));
        if let Action::ReKey { from } = &operation.action {
            held.push(by_key(own, from));
        }
        for field in operation.fields.iter() {
            let parent = self.by_slot.get(usize::from(field.slot));
            if let (Some(Some((object, _))), Assignment::Set(FieldValue::Reference(_))) =
                (parent, &field.assignment)
            {
                held.push(by_fingerprint(*object, field.assignment.fingerprint()));
            }
        }
        let known = entry.ledger.as_ref().filter(|ledger| ledger.may_exist());
        if let Some(ledger) = known {
            let none = Assignment::Clear.fingerprint();
            for (object, field) in self.by_slot.iter().flatten() {
                if let Some(parent) = ledger.fingerprint(*field).filter(|f| *f != none) {
                    held.push(by_fingerprint(*object, parent));
                }
                let named = ledger.parents.iter().filter(|(id, _)| id == field);
                held.extend(named.map(|(_, key)| by_key(*object, key)));
            }
        }
        held.sort_unstable();
        held.dedup();
        held
    }
}

fn by_key(object: ObjectId, key: &Key) -> u64 {
    let reference = Assignment::Set(FieldValue::Reference(key.clone()));
    by_fingerprint(object, reference.fingerprint())
}

/// The ledger keeps no more of a parent than the fingerprint of the reference to it.
fn by_fingerprint(object: ObjectId, reference: Fingerprint) -> u64 {
    let salt = u64::from(object.0).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    reference.0 ^ salt
}
