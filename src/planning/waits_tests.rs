//! Circles of waiting, as small as they come.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use super::*;
use crate::change::{Lsn, Position, Timestamp};
use crate::mapping::{
    Action, Assigned, Assignment, FieldId, FieldValue, ObjectId, Operation, RecordId, Reference,
    Removal, Target, TargetField,
};

/// Accounts, some of which the CRM has, and what is on the shelf for others.
struct Shelf {
    target: Arc<Target>,
    states: States,
}

impl Shelf {
    fn new(known: &[&str]) -> Self {
        let id = ObjectId::new("Account", "Id__c");
        let target = Target {
            id,
            table: "public.company".into(),
            object: "Account".into(),
            key_field: "Id__c".into(),
            removal: Removal::Delete { hard: false },
            fields: vec![TargetField {
                id: FieldId::new("ParentId"),
                name: "ParentId".into(),
                reference: Some(Reference {
                    object: id,
                    object_name: "Account".into(),
                    key_field: "Id__c".into(),
                    relationship: "Parent".into(),
                    polymorphic: false,
                }),
                unique: false,
                broken: None,
                owner: Default::default(),
                kind: Default::default(),
                scale: 0,
            }],
            halted: None,
            version: None,
            on_crm_delete: crate::config::OnCrmDelete::default(),
            creation: crate::mapping::Creation::default(),
        };
        let mut shelf = Shelf {
            target: Arc::new(target),
            states: States::default(),
        };
        for key in known {
            let ledger = LedgerEntry {
                position: Position::default(),
                existence: Existence::Live,
                crm_id: None,
                fingerprints: Vec::new(),
                parents: Vec::new(),
                kept_fields: Vec::new(),
            };
            shelf.states.entry(shelf.record(key)).or_default().ledger = Some(ledger);
        }
        shelf
    }

    fn record(&self, key: &str) -> RecordId {
        RecordId {
            object: self.target.id,
            key: key.into(),
        }
    }

    fn operation(&self, at: u64, key: &str, from: Option<&str>, parent: Option<&str>) -> Operation {
        let to = |key: &str| Assigned {
            slot: 0,
            assignment: Assignment::Set(FieldValue::Reference(key.into())),
        };
        Operation {
            target: Arc::clone(&self.target),
            key: key.into(),
            action: from.map_or(Action::Upsert, |from| Action::ReKey { from: from.into() }),
            fields: Arc::new(parent.map(to).into_iter().collect()),
            position: Position {
                commit: Lsn(at),
                ordinal: 0,
            },
            commit_time: Timestamp(0),
            xid: 1,
            changed: Vec::new(),
        }
    }

    fn put(mut self, key: &str, operation: Option<Operation>, waits_for: &str) -> Self {
        let pending = Pending {
            record: self.record(key),
            table: "public.company".into(),
            object: "Account".into(),
            key_field: "Id__c".into(),
            reason: Reason::Waiting,
            operation: operation.as_ref().map(PendingOperation::new),
            waits_for: Some(self.record(waits_for)),
            fault: None,
            attempts: 0,
            since: Timestamp(0),
            tried: None,
            counted: operation.is_some(),
            conflicts: Vec::new(),
        };
        let state = self.states.entry(self.record(key)).or_default();
        state.pending = Some(Box::new(pending));
        self
    }

    /// A row on the shelf that refers to `parent` and waits for it.
    fn child(self, key: &str, parent: &str) -> Self {
        let operation = self.operation(1, key, None, Some(parent));
        self.put(key, Some(operation), parent)
    }

    /// A re-key on the shelf that waits for its `parent`, and the marker that it leaves.
    fn re_key(self, from: &str, key: &str, parent: &str) -> Self {
        let operation = self.operation(1, key, Some(from), Some(parent));
        self.put(key, Some(operation), parent).put(from, None, key)
    }

    /// Plans a change, and what is on the shelf under these keys.
    fn plan(&self, change: Option<Operation>, shelf: &[&str]) -> Plan {
        let mut window = Window::default();
        if let Some(change) = change {
            drop(window.push(Item::new(change, None), None));
        }
        window.shelf = shelf.iter().map(|key| self.record(key)).collect();
        let mut objects = Objects::default();
        objects.targets.insert(self.target.id, self.target.clone());
        let mut states = self.states.clone();
        for record in needed(&window, &states, &objects, true) {
            states.insert(record, RecordState::default());
        }
        plan(window, &states, &objects)
    }

    #[track_caller]
    fn entry<'a>(&self, plan: &'a Plan, key: &str) -> &'a Entry {
        &plan.entries[plan.places[&self.record(key)]]
    }

    #[track_caller]
    fn assert_goes_without_parent(&self, plan: &Plan, key: &str) {
        let entry = self.entry(plan, key);
        let Course::Send(fields) = &entry.course else {
            panic!("{key}: {:?}", entry.course);
        };
        assert!(fields.is_empty(), "{fields:?}");
        assert_eq!(entry.completes.len(), 1, "its reference follows");
        let place = plan.places[&self.record(key)];
        assert!(plan.stages.iter().flatten().any(|index| *index == place));
    }

    #[track_caller]
    fn assert_waits(&self, plan: &Plan, key: &str, holder: &str) {
        let course = &self.entry(plan, key).course;
        let Course::Shelve { waits_for, .. } = course else {
            panic!("{key}: {course:?}");
        };
        assert_eq!(waits_for.as_ref(), Some(&self.record(holder)));
    }
}

#[test]
fn two_rows_that_refer_to_each_other() {
    let shelf = Shelf::new(&[]).child("2", "1");
    let change = shelf.operation(2, "1", None, Some("2"));
    let plan = shelf.plan(Some(change), &[]);
    shelf.assert_goes_without_parent(&plan, "1");
}

/// Row 3 becomes 7, and waits for its parent 5; a new row takes the key 3; then 5 comes, whose parent
/// is the new 3.
#[test]
fn a_circle_through_a_marker_is_cut_where_one_record_refers_to_another() {
    let shelf = Shelf::new(&["3"]).re_key("3", "7", "5");
    let new = shelf.operation(2, "3", None, None);
    let shelf = shelf.put("3", Some(new), "7");
    let change = shelf.operation(3, "5", None, Some("3"));
    let plan = shelf.plan(Some(change), &[]);
    assert_eq!(plan.entries.len(), 1);
    shelf.assert_goes_without_parent(&plan, "5");
}

/// The new row under the old key is itself the re-key's parent.
#[test]
fn a_re_key_that_refers_to_the_row_under_its_old_key() {
    let shelf = Shelf::new(&["1"]).re_key("1", "8", "1");
    let new = shelf.operation(2, "1", None, None);
    let shelf = shelf.put("1", Some(new), "8");
    let plan = shelf.plan(None, &["8", "1"]);
    shelf.assert_goes_without_parent(&plan, "8");
    shelf.assert_waits(&plan, "1", "8");
}

/// What was cut goes, and in the same window whoever waited for it.
#[test]
fn those_behind_the_cut_go_with_it() {
    let shelf = Shelf::new(&["3"]).re_key("3", "7", "5");
    let change = shelf.operation(3, "5", None, Some("3"));
    let plan = shelf.plan(Some(change), &["7"]);
    shelf.assert_goes_without_parent(&plan, "5");
    let seven = &shelf.entry(&plan, "7");
    assert!(seven.is_sent() && seven.completes.is_empty());
}

/// 1 became 2 and becomes 3 now, an external id that 5 has not given up yet. So 1 waits for 3, and 3
/// for 5: the circle is closed by names, and what can be cut is on the shelf.
#[test]
fn a_circle_that_a_name_closes_is_cut_on_the_shelf() {
    let shelf = Shelf::new(&["1", "3"])
        .re_key("1", "2", "9")
        .re_key("3", "5", "7")
        .child("7", "1");
    let change = shelf.operation(2, "3", Some("2"), None);
    let plan = shelf.plan(Some(change), &[]);
    shelf.assert_waits(&plan, "3", "5");
    shelf.assert_goes_without_parent(&plan, "5");
}

#[test]
fn a_way_that_ends_is_not_cut() {
    let shelf = Shelf::new(&["3"]).re_key("3", "7", "5");
    let change = shelf.operation(3, "4", None, Some("3"));
    let plan = shelf.plan(Some(change), &[]);
    shelf.assert_waits(&plan, "4", "3");
    assert!(plan.stages.is_empty());
}

/// Nothing can be left out of an external id.
#[test]
fn rows_that_exchanged_their_keys_wait() {
    let shelf = Shelf::new(&["1", "2"]);
    let (one, two) = (
        shelf.operation(1, "2", Some("1"), None),
        shelf.operation(2, "1", Some("2"), None),
    );
    let shelf = shelf.put("2", Some(one), "1").put("1", Some(two), "2");
    let plan = shelf.plan(None, &["1", "2"]);
    shelf.assert_waits(&plan, "1", "2");
    shelf.assert_waits(&plan, "2", "1");
}
