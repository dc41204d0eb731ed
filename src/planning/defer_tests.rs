//! What a plan keeps and what it defers, as tables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use hashbrown::HashMap;

use super::objects::High;
use super::*;
use crate::change::{Position, Timestamp};
use crate::config::OnCrmDelete;
use crate::mapping::{
    Action, Assigned, Assignment, FieldId, FieldValue, ObjectId, Operation, RecordId, Reference,
    Removal, Target, TargetField,
};

const ACCOUNT: ObjectId = ObjectId(1);
const CONTACT: ObjectId = ObjectId(2);

fn target(id: ObjectId) -> Arc<Target> {
    let plain = |name: &str| TargetField {
        id: FieldId::new(name),
        name: name.into(),
        reference: None,
        unique: false,
        broken: None,
        owner: Default::default(),
        kind: Default::default(),
        scale: 0,
    };
    let parent = TargetField {
        reference: Some(Reference {
            object: ACCOUNT,
            object_name: "Account".into(),
            key_field: "K".into(),
            relationship: "Account".into(),
            polymorphic: false,
        }),
        ..plain("AccountId")
    };
    Arc::new(Target {
        id,
        table: "t".into(),
        object: if id == ACCOUNT { "Account" } else { "Contact" }.into(),
        key_field: "K".into(),
        removal: Removal::Delete { hard: false },
        halted: None,
        on_crm_delete: OnCrmDelete::Undelete,
        version: None,
        creation: crate::mapping::Creation::default(),
        fields: vec![plain("Name"), plain("Stage"), parent],
    })
}

fn objects(high: &[(ObjectId, High)]) -> Objects {
    Objects {
        targets: [ACCOUNT, CONTACT].map(|id| (id, target(id))).into(),
        depth: [(ACCOUNT, 0), (CONTACT, 1)].into(),
        high: high.iter().cloned().collect(),
        ..Objects::default()
    }
}

fn record(object: ObjectId, key: &str) -> RecordId {
    RecordId {
        object,
        key: key.into(),
    }
}

fn operation(object: ObjectId, key: &str, action: Action, fields: &[(u16, &str)]) -> Operation {
    Operation {
        target: target(object),
        key: key.into(),
        action,
        fields: Arc::new(
            fields
                .iter()
                .map(|(slot, value)| Assigned {
                    slot: *slot,
                    assignment: Assignment::Set(match slot {
                        2 => FieldValue::Reference((*value).into()),
                        _ => FieldValue::Text((*value).into()),
                    }),
                })
                .collect(),
        ),
        position: Position {
            commit: crate::change::Lsn(9),
            ordinal: 0,
        },
        commit_time: Timestamp(0),
        xid: 1,
        changed: Vec::new(),
    }
}

fn live(fields: &[(&str, &str)]) -> RecordState {
    let text = |v: &str| Assignment::Set(FieldValue::Text(v.into())).fingerprint();
    let mut fingerprints: Vec<_> = fields
        .iter()
        .map(|(name, value)| (FieldId::new(name), text(value)))
        .collect();
    fingerprints.sort_unstable_by_key(|(id, _)| *id);
    RecordState {
        ledger: Some(LedgerEntry {
            position: Position::default(),
            existence: Existence::Live,
            crm_id: Some("001".into()),
            fingerprints,
            parents: Vec::new(),
            kept_fields: Vec::new(),
        }),
        pending: None,
    }
}

fn planned(operations: Vec<Operation>, states: &States, objects: &Objects, how: &Deferral) -> Plan {
    planned_again(operations, states, objects, how, false)
}

fn planned_again(
    operations: Vec<Operation>,
    states: &States,
    objects: &Objects,
    how: &Deferral,
    again: bool,
) -> Plan {
    let mut window = Window::default();
    window.again = again;
    for operation in operations {
        assert!(matches!(
            window.push(Item::new(operation, None), None),
            Pushed::Taken
        ));
    }
    let mut plan = plan(window, states, objects);
    defer(&mut plan, states, objects, how);
    plan
}

fn courses(plan: &Plan) -> Vec<(String, &'static str)> {
    let word = |entry: &Entry| match &entry.course {
        Course::Send(_) => "sent",
        Course::Shelve {
            reason: Reason::Deferred,
            ..
        } => "deferred",
        Course::Shelve {
            reason: Reason::Waiting,
            ..
        } => "waits",
        Course::Drop => "dropped",
        _ => "other",
    };
    let entries = plan.entries.iter();
    entries
        .map(|e| (e.operation.key.to_string(), word(e)))
        .collect()
}

fn check(plan: &Plan, expected: &[(&str, &'static str)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(key, word)| ((*key).to_owned(), *word))
        .collect();
    assert_eq!(courses(plan), expected);
    let staged: Vec<usize> = plan.stages.iter().flatten().copied().collect();
    for (index, entry) in plan.entries.iter().enumerate() {
        assert_eq!(entry.is_sent(), staged.contains(&index), "{index}");
    }
}

fn only(leave: Leave) -> Deferral {
    Deferral {
        leave,
        ..Deferral::default()
    }
}

#[test]
fn a_new_parent_that_is_deferred_is_waited_for() {
    let window = || {
        vec![
            operation(ACCOUNT, "a", Action::Upsert, &[(0, "A")]),
            operation(CONTACT, "c", Action::Upsert, &[(0, "C"), (2, "a")]),
            operation(CONTACT, "d", Action::Upsert, &[(0, "D")]),
        ]
    };
    let states = States::new();
    let none = objects(&[]);
    let all = planned(window(), &states, &none, &only(Leave::All));
    check(&all, &[("a", "sent"), ("c", "sent"), ("d", "sent")]);
    let nothing = planned(window(), &states, &none, &only(Leave::Nothing));
    check(
        &nothing,
        &[("a", "deferred"), ("c", "deferred"), ("d", "deferred")],
    );
    assert!(nothing.urgent.is_empty() && nothing.doubts.is_empty());
    // Contacts go first: their new parents go with them.
    let contacts = objects(&[(CONTACT, High::All)]);
    let high = planned(window(), &states, &contacts, &only(Leave::High));
    check(&high, &[("a", "sent"), ("c", "sent"), ("d", "sent")]);
    assert_eq!(high.stages.len(), 2);
    // Accounts go first.
    let accounts = objects(&[(ACCOUNT, High::All)]);
    let high = planned(window(), &states, &accounts, &only(Leave::High));
    check(
        &high,
        &[("a", "sent"), ("c", "deferred"), ("d", "deferred")],
    );
    let nothing = planned(window(), &states, &accounts, &only(Leave::Nothing));
    assert_eq!(nothing.urgent, [record(ACCOUNT, "a")]);
}

#[test]
fn a_field_makes_an_operation_urgent_only_when_it_changes() {
    let stage = objects(&[(CONTACT, High::Fields([1].into_iter().collect()))]);
    let states: States = [
        (record(CONTACT, "same"), live(&[("Stage", "open")])),
        (record(CONTACT, "other"), live(&[("Stage", "open")])),
    ]
    .into_iter()
    .collect();
    let window = vec![
        operation(CONTACT, "same", Action::Upsert, &[(0, "x"), (1, "open")]),
        operation(CONTACT, "other", Action::Upsert, &[(0, "x"), (1, "won")]),
        operation(CONTACT, "new", Action::Upsert, &[(0, "x")]),
    ];
    let plan = planned(window, &states, &stage, &only(Leave::High));
    check(
        &plan,
        &[("same", "deferred"), ("other", "sent"), ("new", "deferred")],
    );
}

#[test]
fn a_parent_on_the_shelf_is_asked_for() {
    let contacts = objects(&[(CONTACT, High::All)]);
    let parent = operation(ACCOUNT, "a", Action::Upsert, &[(0, "A")]);
    let states: States = [(
        record(ACCOUNT, "a"),
        RecordState {
            ledger: None,
            pending: Some(Box::new(Pending {
                record: record(ACCOUNT, "a"),
                table: "t".into(),
                object: "Account".into(),
                key_field: "K".into(),
                reason: Reason::Deferred,
                operation: Some(PendingOperation::new(&parent)),
                waits_for: None,
                fault: None,
                attempts: 0,
                since: Timestamp(0),
                tried: None,
                counted: true,
                conflicts: Vec::new(),
            })),
        },
    )]
    .into_iter()
    .collect();
    let child = || vec![operation(CONTACT, "c", Action::Upsert, &[(2, "a")])];
    let plan = planned(child(), &states, &contacts, &only(Leave::High));
    check(&plan, &[("c", "waits")]);
    assert_eq!(plan.asked, [record(ACCOUNT, "a")]);
    assert_eq!(plan.urgent, [record(CONTACT, "c")]);
    // Asked for, it goes.
    let mut window = Window::default();
    window.shelf = vec![record(ACCOUNT, "a")];
    let mut plan = super::plan(window, &states, &contacts);
    let how = Deferral {
        asked: [record(ACCOUNT, "a")].into_iter().collect(),
        ..only(Leave::High)
    };
    defer(&mut plan, &states, &contacts, &how);
    check(&plan, &[("a", "sent")]);
}

#[test]
fn a_record_makes_room_only_together_with_the_re_key() {
    let none = objects(&[]);
    let states: States = [
        (record(CONTACT, "old"), live(&[("Name", "x")])),
        (record(CONTACT, "new"), live(&[("Name", "y")])),
    ]
    .into_iter()
    .collect();
    let re_key = || {
        let action = Action::ReKey { from: "old".into() };
        vec![operation(CONTACT, "new", action, &[(0, "x")])]
    };
    let all = planned(re_key(), &states, &none, &only(Leave::All));
    check(&all, &[("new", "sent"), ("new", "waits")]);
    let nothing = planned(re_key(), &states, &none, &only(Leave::Nothing));
    check(&nothing, &[("new", "dropped"), ("new", "deferred")]);
}

#[test]
fn what_may_have_been_sent_is_deferred_with_a_doubt() {
    let none = objects(&[]);
    let states: States = ["changed", "gone", "moved"]
        .map(|key| (record(CONTACT, key), live(&[("Name", "x"), ("Stage", "s")])))
        .into_iter()
        .collect();
    let moved = Action::ReKey {
        from: "moved".into(),
    };
    let window = || {
        vec![
            operation(CONTACT, "changed", Action::Upsert, &[(0, "y")]),
            operation(CONTACT, "made", Action::Upsert, &[(0, "y")]),
            operation(CONTACT, "gone", Action::Delete { hard: false }, &[]),
            operation(CONTACT, "here", moved.clone(), &[(0, "x")]),
        ]
    };
    let how = only(Leave::Nothing);
    let plan = planned_again(window(), &states, &none, &how, true);
    check(
        &plan,
        &[
            ("changed", "deferred"),
            ("made", "deferred"),
            ("gone", "deferred"),
            ("here", "sent"),
        ],
    );
    let doubts: HashMap<String, LedgerEntry> = plan
        .doubts
        .into_iter()
        .map(|(record, ledger)| (record.key.to_string(), ledger))
        .collect();
    assert_eq!(doubts.len(), 3);
    let changed = &doubts["changed"];
    assert!(changed.exists() && changed.fingerprint(FieldId::new("Stage")).is_some());
    assert_eq!(changed.fingerprint(FieldId::new("Name")), None);
    assert_eq!(doubts["made"].existence, Existence::Uncertain);
    assert_eq!(doubts["gone"].existence, Existence::Uncertain);
    assert!(doubts["gone"].fingerprints.is_empty());
}

#[test]
fn a_doubt_forgets_nothing_of_what_people_wrote() {
    let objects = objects(&[]);
    let kept = vec![(FieldId::new("Stage"), Timestamp(7))];
    let actions = [
        Action::Upsert,
        Action::Delete { hard: false },
        Action::Delete { hard: true },
    ];
    for existence in [Existence::Live, Existence::Uncertain] {
        for action in actions.clone() {
            let mut state = live(&[("Name", "a")]);
            let ledger = state.ledger.as_mut().unwrap();
            (ledger.existence, ledger.kept_fields) = (existence, kept.clone());
            let states: States = [(record(CONTACT, "1"), state)].into_iter().collect();
            let operation = operation(CONTACT, "1", action.clone(), &[(0, "b")]);
            let plan = planned(vec![operation], &states, &objects, &Deferral::default());
            let (_, doubt) = doubtful(&plan.entries[0]).unwrap();
            assert_eq!(doubt.kept_fields, kept, "{existence:?} {action:?}");
        }
    }
}
