//! Tables that are halted and fields that are broken: what is held, and when it is freed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use super::*;
use crate::change::{Lsn, Position, Timestamp};
use crate::fault::{Class, Fault};
use crate::mapping::{
    Action, Assigned, Assignment, FIELD_BROKEN, FieldId, FieldValue, Fingerprint, Key, ObjectId,
    Operation, RecordId, Removal, TABLE_HALTED, Target, TargetField,
};

const NAME: u16 = 0;
const CITY: u16 = 1;

fn fault(code: &'static str, fields: &[&str]) -> Fault {
    let mut fault = Fault::new(Class::Record, code, "it does not fit");
    fault.fields = fields.iter().map(|f| (*f).to_owned()).collect();
    fault
}

fn target(halted: Option<Fault>, broken: Option<Fault>) -> Arc<Target> {
    let field = |name: &str, broken| TargetField {
        id: FieldId::new(name),
        name: name.into(),
        reference: None,
        unique: false,
        broken,
        owner: Default::default(),
        kind: Default::default(),
        scale: 0,
    };
    Arc::new(Target {
        id: ObjectId::new("Account", "Id__c"),
        table: "public.company".into(),
        object: "Account".into(),
        key_field: "Id__c".into(),
        removal: Removal::Delete { hard: false },
        on_crm_delete: crate::config::OnCrmDelete::default(),
        creation: crate::mapping::Creation::default(),
        fields: vec![field("Name", None), field("City", broken)],
        version: None,
        halted,
    })
}

fn whole() -> Arc<Target> {
    target(None, None)
}

fn text(value: &str) -> Assignment {
    Assignment::Set(FieldValue::Text(value.into()))
}

fn operation(target: &Arc<Target>, at: u64, fields: &[(u16, &str)]) -> Operation {
    let fields = fields.iter().map(|(slot, value)| Assigned {
        slot: *slot,
        assignment: text(value),
    });
    Operation {
        target: target.clone(),
        key: Key::from("5"),
        action: Action::Upsert,
        fields: Arc::new(fields.collect()),
        position: Position {
            commit: Lsn(at),
            ordinal: 0,
        },
        commit_time: Timestamp(0),
        xid: 1,
        changed: Vec::new(),
    }
}

fn shelved(operation: &Operation, reason: Reason, fault: Option<Fault>) -> Pending {
    Pending {
        record: operation.record(),
        table: "public.company".into(),
        object: "Account".into(),
        key_field: "Id__c".into(),
        reason,
        operation: Some(PendingOperation::new(operation)),
        waits_for: None,
        fault,
        attempts: 0,
        since: Timestamp(0),
        tried: None,
        counted: true,
        conflicts: Vec::new(),
    }
}

/// What is decided for one change (or, without one, for the shelf entry by itself).
fn course(
    item: Option<Item>,
    pending: Option<Pending>,
    written: &[(&str, &str)],
    target: &Arc<Target>,
) -> Course {
    let record = operation(target, 0, &[]).record();
    let mut fingerprints: Vec<(FieldId, Fingerprint)> = written
        .iter()
        .map(|(name, value)| (FieldId::new(name), text(value).fingerprint()))
        .collect();
    fingerprints.sort_unstable_by_key(|(id, _)| *id);
    let ledger = (!written.is_empty()).then(|| LedgerEntry {
        position: Position::default(),
        existence: Existence::Live,
        crm_id: None,
        fingerprints,
        parents: Vec::new(),
        kept_fields: Vec::new(),
    });
    let mut states = States::default();
    let pending = pending.map(Box::new);
    states.insert(record.clone(), RecordState { ledger, pending });
    let mut window = Window::default();
    match item {
        Some(item) => drop(window.push(item, None)),
        None => window.shelf.push(record),
    }
    let mut objects = Objects::default();
    objects.targets.insert(target.id, target.clone());
    let mut plan = plan(window, &states, &objects);
    assert_eq!(plan.entries.len(), 1);
    plan.entries.remove(0).course
}

fn change(operation: Operation) -> Option<Item> {
    Some(Item::new(operation, None))
}

#[track_caller]
fn assert_held(course: &Course, code: &str, fields: &[&str]) {
    let Course::Shelve {
        reason: Reason::Held,
        waits_for: None,
        fault: Some(fault),
    } = course
    else {
        panic!("not held: {course:?}");
    };
    assert_eq!(
        (&*fault.code, &*fault.fields),
        (
            code,
            &*fields.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>()
        )
    );
}

#[track_caller]
fn assert_sent(course: &Course, fields: usize) {
    assert!(
        matches!(course, Course::Send(sent) if sent.len() == fields),
        "{course:?}"
    );
}

#[test]
fn only_what_changes_a_broken_field_is_held() {
    let broken = target(None, Some(fault(FIELD_BROKEN, &["City"])));
    let both = operation(&broken, 5, &[(NAME, "a"), (CITY, "b")]);
    // A new record cannot be whole.
    assert_held(
        &course(change(both.clone()), None, &[], &broken),
        FIELD_BROKEN,
        &["City"],
    );
    let same = course(
        change(both.clone()),
        None,
        &[("Name", "x"), ("City", "b")],
        &broken,
    );
    assert_sent(&same, 1);
    let other = course(
        change(both.clone()),
        None,
        &[("Name", "a"), ("City", "x")],
        &broken,
    );
    assert_held(&other, FIELD_BROKEN, &["City"]);
    let mut delete = both;
    delete.action = Action::Delete { hard: false };
    assert_sent(&course(change(delete), None, &[("Name", "a")], &broken), 0);
}

#[test]
fn what_a_broken_field_held_goes_when_it_is_back() {
    let broken = target(None, Some(fault(FIELD_BROKEN, &["City"])));
    let held = operation(&broken, 5, &[(CITY, "b")]);
    let held = || {
        Some(shelved(
            &held,
            Reason::Held,
            Some(fault(FIELD_BROKEN, &["City"])),
        ))
    };
    let written = [("Name", "a"), ("City", "x")];
    let later = |target| change(operation(target, 6, &[(NAME, "c")]));
    assert_held(
        &course(None, held(), &written, &broken),
        FIELD_BROKEN,
        &["City"],
    );
    assert_held(
        &course(later(&broken), held(), &written, &broken),
        FIELD_BROKEN,
        &["City"],
    );
    let whole = whole();
    assert_sent(&course(None, held(), &written, &whole), 1);
    assert_sent(&course(later(&whole), held(), &written, &whole), 2);
}

#[test]
fn a_field_may_come_back_spelled_anew() {
    let held = operation(&whole(), 5, &[(CITY, "b")]);
    let mut held = shelved(&held, Reason::Held, Some(fault(FIELD_BROKEN, &["city"])));
    held.operation.as_mut().unwrap().fields[0].0 = "city".into();
    assert_sent(&course(None, Some(held), &[("City", "x")], &whole()), 1);
}

#[test]
fn changes_of_a_halted_table_are_held_until_they_are_whole() {
    let why = || fault(TABLE_HALTED, &["City"]);
    let halted = target(Some(why()), None);
    let item = |target, at, fields: &[_], rejected| {
        Some(Item::new(operation(target, at, fields), rejected))
    };
    // It arrives.
    let first = item(&halted, 5, &[(NAME, "a")], Some(why()));
    assert_held(&course(first, None, &[], &halted), TABLE_HALTED, &["City"]);
    // More of it, while the table is halted.
    let held = operation(&halted, 5, &[(NAME, "a")]);
    let held = || Some(shelved(&held, Reason::Held, Some(why())));
    let more = item(&halted, 6, &[(NAME, "b")], Some(why()));
    assert_held(&course(more, held(), &[], &halted), TABLE_HALTED, &["City"]);
    assert_held(&course(None, held(), &[], &halted), TABLE_HALTED, &["City"]);
    // The table is mended: it is still not whole.
    let mended = whole();
    assert_held(&course(None, held(), &[], &mended), TABLE_HALTED, &["City"]);
    let half = item(&mended, 6, &[(NAME, "b")], None);
    assert_held(&course(half, held(), &[], &mended), TABLE_HALTED, &["City"]);
    let all = item(&mended, 6, &[(CITY, "c")], None);
    assert_sent(&course(all, held(), &[], &mended), 2);
    let mut gone = operation(&mended, 6, &[]);
    gone.action = Action::Delete { hard: false };
    assert_sent(&course(change(gone), held(), &[("Name", "x")], &mended), 0);
}

#[test]
fn what_was_whole_goes_when_its_table_does() {
    let mended = whole();
    let held = operation(&mended, 5, &[(NAME, "a"), (CITY, "b")]);
    let held = Some(shelved(&held, Reason::Held, Some(fault(TABLE_HALTED, &[]))));
    assert_sent(&course(None, held, &[], &mended), 2);
    let mut delete = operation(&mended, 5, &[]);
    delete.action = Action::Delete { hard: false };
    let held = Some(shelved(
        &delete,
        Reason::Held,
        Some(fault(TABLE_HALTED, &["City"])),
    ));
    assert_sent(&course(None, held, &[("Name", "a")], &mended), 0);
    // The key was the trouble: a row that comes with one is whole.
    let held = operation(&mended, 5, &[(NAME, "a")]);
    let held = Some(shelved(
        &held,
        Reason::Held,
        Some(fault(TABLE_HALTED, &["Id__c"])),
    ));
    let later = change(operation(&mended, 6, &[(CITY, "b")]));
    assert_sent(&course(later, held, &[], &mended), 2);
}

#[test]
fn nothing_is_sent_to_a_halted_table_whatever_it_waited_for() {
    let halted = target(Some(fault(TABLE_HALTED, &["City"])), None);
    let whole = operation(&halted, 5, &[(NAME, "a"), (CITY, "b")]);
    for reason in [Reason::Deferred, Reason::Waiting, Reason::DeadLetter] {
        let pending = Some(shelved(&whole, reason, None));
        assert_held(&course(None, pending, &[], &halted), TABLE_HALTED, &[]);
    }
    let same = [("Name", "a"), ("City", "b")];
    assert_eq!(
        course(change(whole), None, &same, &halted),
        Course::Unchanged
    );
}

#[test]
fn what_a_person_holds_stays_held() {
    let target = whole();
    let held = operation(&target, 5, &[(CITY, "b")]);
    let held = Some(shelved(&held, Reason::Held, None));
    let later = change(operation(&target, 6, &[(CITY, "c")]));
    let course = course(later, held, &[("City", "x")], &target);
    assert!(matches!(
        course,
        Course::Shelve {
            reason: Reason::Held,
            fault: None,
            ..
        }
    ));
}

#[test]
fn a_rejection_keeps_what_was_missing_before() {
    let target = whole();
    let older = Some(fault("value_too_long", &["City"]));
    let newer = Item::new(
        operation(&target, 6, &[]),
        Some(fault("value_too_long", &["Name"])),
    );
    let both = still_rejected(older, &newer).unwrap();
    assert_eq!(both.fields, ["Name", "City"]);
}

#[test]
fn a_changed_key_takes_along_what_is_held() {
    let mended = whole();
    let held = operation(&mended, 5, &[(NAME, "a")]);
    let old = held.record();
    for (fields, freed) in [(&[(NAME, "b")][..], false), (&[(CITY, "b")][..], true)] {
        let mut re_key = operation(&mended, 6, fields);
        re_key.action = Action::ReKey { from: "5".into() };
        re_key.key = "6".into();
        let new = RecordId {
            object: old.object,
            key: "6".into(),
        };
        let pending = shelved(&held, Reason::Held, Some(fault(TABLE_HALTED, &["City"])));
        let mut states = States::default();
        states.insert(
            old.clone(),
            RecordState {
                ledger: None,
                pending: Some(Box::new(pending)),
            },
        );
        states.insert(new, RecordState::default());
        let mut window = Window::default();
        drop(window.push(Item::new(re_key, None), None));
        let mut objects = Objects::default();
        objects.targets.insert(mended.id, mended.clone());
        let plan = plan(window, &states, &objects);
        let course = &plan.entries[0].course;
        if freed {
            assert_sent(course, 2);
        } else {
            assert_held(course, TABLE_HALTED, &["City"]);
        }
    }
}
