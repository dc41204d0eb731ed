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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::change::{Lsn, Position, Timestamp};
    use crate::mapping::{Assigned, Operation, Reference, Removal, TargetField};
    use crate::planning::{Course, Existence, LedgerEntry};

    fn target() -> Arc<Target> {
        let field = |name: &str, parent: Option<&str>| TargetField {
            id: FieldId::new(name),
            name: name.into(),
            reference: parent.map(|object| Reference {
                object: ObjectId::new(object, "Ext__c"),
                object_name: object.into(),
                key_field: "Ext__c".into(),
                relationship: "R".into(),
                polymorphic: false,
            }),
            unique: false,
            broken: None,
            owner: Default::default(),
            kind: Default::default(),
            scale: 0,
        };
        Arc::new(Target {
            id: ObjectId::new("Contact", "Ext__c"),
            table: "public.customer".into(),
            object: "Contact".into(),
            key_field: "Ext__c".into(),
            removal: Removal::Delete { hard: false },
            halted: None,
            version: None,
            on_crm_delete: crate::config::OnCrmDelete::default(),
            creation: crate::mapping::Creation::default(),
            fields: vec![
                field("LastName", None),
                field("AccountId", Some("Account")),
                field("ReportsToId", Some("Contact")),
                field("OwnerId", Some("User")),
            ],
        })
    }

    fn reference(slot: u16, key: &str) -> Assigned {
        let assignment = Assignment::Set(FieldValue::Reference(key.into()));
        Assigned { slot, assignment }
    }

    fn entry(action: Action, fields: Vec<Assigned>, ledger: Option<LedgerEntry>) -> Entry {
        Entry {
            operation: Operation {
                target: target(),
                key: "c1".into(),
                action,
                fields: Arc::new(fields),
                position: Position {
                    commit: Lsn(1),
                    ordinal: 0,
                },
                commit_time: Timestamp(0),
                xid: 1,
                changed: Vec::new(),
            },
            ledger,
            pending: None,
            absorbed: Vec::new(),
            markers: Vec::new(),
            marker: None,
            change: true,
            row: false,
            // Nothing of it is sent: what it names is locked all the same.
            course: Course::Send(Default::default()),
            completes: Vec::new(),
            aside: Default::default(),
        }
    }

    fn known(existence: Existence, parents: &[Assigned]) -> LedgerEntry {
        let mut fingerprints: Vec<_> = parents
            .iter()
            .map(|f| {
                (
                    target().fields[usize::from(f.slot)].id,
                    f.assignment.fingerprint(),
                )
            })
            .collect();
        fingerprints.sort_by_key(|(id, _)| *id);
        LedgerEntry {
            position: Position::default(),
            existence,
            crm_id: None,
            fingerprints,
            parents: Vec::new(),
            kept_fields: Vec::new(),
        }
    }

    #[test]
    fn a_write_locks_itself_and_all_its_parents_old_and_new() {
        let none = Assigned {
            slot: 1,
            assignment: Assignment::Clear,
        };
        let delete = Action::Delete { hard: false };
        let re_key = Action::ReKey { from: "c0".into() };
        let old = |existence| Some(known(existence, &[reference(1, "a0")]));
        let mut named = known(Existence::Live, &[]);
        named.parents = vec![(FieldId::new("ReportsToId"), "c7".into())];
        for (what, entry, locks) in [
            (
                "alone",
                entry(Action::Upsert, vec![], None),
                &["Contact/c1"][..],
            ),
            (
                "parents, but for owners",
                entry(
                    Action::Upsert,
                    vec![reference(1, "a1"), reference(2, "c2"), reference(3, "u1")],
                    None,
                ),
                &["Contact/c1", "Account/a1", "Contact/c2"],
            ),
            (
                "itself",
                entry(Action::Upsert, vec![reference(2, "c1")], None),
                &["Contact/c1"],
            ),
            (
                "no parent",
                entry(Action::Upsert, vec![none.clone()], None),
                &["Contact/c1"],
            ),
            (
                "had no parent",
                entry(
                    Action::Upsert,
                    vec![],
                    Some(known(Existence::Live, &[none])),
                ),
                &["Contact/c1"],
            ),
            (
                "the parent it leaves",
                entry(
                    Action::Upsert,
                    vec![reference(1, "a1")],
                    old(Existence::Live),
                ),
                &["Contact/c1", "Account/a0", "Account/a1"],
            ),
            (
                "the parent it goes from",
                entry(delete.clone(), vec![], old(Existence::Uncertain)),
                &["Contact/c1", "Account/a0"],
            ),
            (
                "gone before",
                entry(delete, vec![], old(Existence::Deleted)),
                &["Contact/c1"],
            ),
            (
                "by name",
                entry(Action::Upsert, vec![], Some(named)),
                &["Contact/c1", "Contact/c7"],
            ),
            (
                "both external ids",
                entry(re_key, vec![], None),
                &["Contact/c0", "Contact/c1"],
            ),
        ] {
            let lookups = Lookups::of(&entry.operation.target, &|object| object != "User");
            let mut expected: Vec<u64> = locks
                .iter()
                .map(|name| name.split_once('/').unwrap())
                .map(|(object, key)| by_key(ObjectId::new(object, "Ext__c"), &key.into()))
                .collect();
            expected.sort_unstable();
            assert_eq!(lookups.of_entry(&entry).to_vec(), expected, "{what}");
        }
    }
}
