//! Times of contested fields through merging and the shelf, and what is left of an operation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::change::{Lsn, Position, Timestamp};
use crate::mapping::{
    Action, Assigned, Assignment, Changed, FieldId, FieldValue, Key, ObjectId, Operation, Owner,
    Removal, Target, TargetField,
};

const PHONE: u16 = 0;
const TITLE: u16 = 1;
const FAX: u16 = 2;
const TIER: u16 = 3;

fn target() -> Arc<Target> {
    let field = |name: &str, owner| TargetField {
        id: FieldId::new(name),
        name: name.into(),
        reference: None,
        unique: false,
        broken: None,
        owner,
        kind: Default::default(),
        scale: 0,
    };
    Arc::new(Target {
        id: ObjectId::new("Contact", "Id__c"),
        table: "public.customer".into(),
        object: "Contact".into(),
        key_field: "Id__c".into(),
        removal: Removal::Delete { hard: false },
        on_crm_delete: Default::default(),
        creation: crate::mapping::Creation::default(),
        fields: vec![
            field("Phone", Owner::Newest),
            field("Title", Owner::Source),
            field("Fax", Owner::Crm),
            field("Tier", Owner::Ask),
        ],
        version: None,
        halted: None,
    })
}

fn text(value: &str) -> Assignment {
    Assignment::Set(FieldValue::Text(value.into()))
}

fn operation(at: i64, fields: &[(u16, &str)]) -> Operation {
    let fields = fields.iter().map(|(slot, value)| Assigned {
        slot: *slot,
        assignment: text(value),
    });
    Operation {
        target: target(),
        key: Key::from("5"),
        action: Action::Upsert,
        fields: Arc::new(fields.collect()),
        position: Position {
            commit: Lsn(at.unsigned_abs()),
            ordinal: 0,
        },
        commit_time: Timestamp(at),
        xid: 1,
        changed: Vec::new(),
    }
}

/// When a field changed, and whether that is sure.
fn when(operation: &Operation, slot: u16) -> (Option<i64>, bool) {
    let changed = operation.changed(slot);
    (changed.at.map(|at| at.0), changed.sure)
}

#[test]
fn p5_an_update_of_another_column_makes_no_value_look_new() {
    let merged = merge(
        operation(1, &[(PHONE, "a"), (TITLE, "x")]),
        operation(2, &[(PHONE, "a"), (TITLE, "y")]),
    );
    assert_eq!(when(&merged, PHONE), (Some(1), false));
    assert_eq!(merged.commit_time, Timestamp(2));
    let merged = merge(merged, operation(3, &[(PHONE, "a"), (TITLE, "y")]));
    assert_eq!(when(&merged, PHONE), (Some(1), false));
    // Another value is new, for sure; so is the old one when it comes back.
    let merged = merge(merged, operation(4, &[(PHONE, "b"), (TITLE, "y")]));
    assert_eq!(when(&merged, PHONE), (Some(4), true));
    let merged = merge(merged, operation(5, &[(PHONE, "a"), (TITLE, "y")]));
    assert_eq!(when(&merged, PHONE), (Some(5), true));
    // Unchanged large values are not even named.
    let merged = merge(merged, operation(6, &[(TITLE, "z")]));
    assert_eq!(when(&merged, PHONE), (Some(5), true));
    // Nothing is kept of fields that nobody contests.
    assert!(merged.changed.iter().all(|c| c.slot == PHONE));
}

#[test]
fn p5_a_row_without_a_time_stays_without() {
    let mut row = operation(1, &[(PHONE, "a")]);
    row.changed = vec![Changed {
        slot: PHONE,
        at: None,
        sure: false,
        decided: false,
    }];
    let merged = merge(row.clone(), operation(2, &[(PHONE, "a")]));
    assert_eq!(when(&merged, PHONE), (None, false));
    let merged = merge(row, operation(2, &[(PHONE, "b")]));
    assert_eq!(when(&merged, PHONE), (Some(2), true));
}

#[test]
fn p5_a_row_that_came_back_begins_anew() {
    let gone = Operation {
        action: Action::Delete { hard: false },
        ..operation(2, &[])
    };
    let merged = merge(operation(1, &[(PHONE, "a")]), gone);
    let merged = merge(merged, operation(3, &[(PHONE, "a")]));
    assert_eq!(when(&merged, PHONE), (Some(3), false));
}

proptest! {
    /// However changes are merged, a field has the time of the change that gave it its value.
    #[test]
    fn p5_times_do_not_depend_on_how_windows_are_cut(
        values in proptest::collection::vec(0_u8..3, 1..12),
        cut in any::<prop::sample::Index>(),
        shelf: bool,
    ) {
        let all: Vec<Operation> = (1..)
            .zip(&values)
            .map(|(at, v)| operation(at, &[(PHONE, &v.to_string())]))
            .collect();
        let whole = all.iter().cloned().reduce(merge).unwrap();
        let at = cut.index(all.len());
        let (front, back) = all.split_at(at);
        let front = front.iter().cloned().reduce(merge);
        let front = front.map(|f| match shelf {
            true => through_the_shelf(&f),
            false => f,
        });
        let back = back.iter().cloned().reduce(merge);
        let both = [front, back].into_iter().flatten().reduce(merge).unwrap();
        prop_assert_eq!(when(&both, PHONE), when(&whole, PHONE));
        let last = values.last();
        let since = values.iter().rposition(|v| Some(v) != last).map_or(1, |i| i as i64 + 2);
        prop_assert_eq!(when(&whole, PHONE).0, Some(since));
    }
}

fn through_the_shelf(operation: &Operation) -> Operation {
    let pending = Pending {
        record: operation.record(),
        table: "public.customer".into(),
        object: "Contact".into(),
        key_field: "Id__c".into(),
        reason: Reason::DeadLetter,
        operation: Some(PendingOperation::new(operation)),
        waits_for: None,
        fault: None,
        attempts: 0,
        since: Timestamp(0),
        tried: None,
        counted: true,
        conflicts: Vec::new(),
    };
    pending.to_operation(&operation.target).unwrap()
}

fn entry(fields: &[(u16, &str)]) -> Entry {
    let operation = operation(9, fields);
    Entry {
        course: Course::Send(Arc::clone(&operation.fields)),
        operation,
        ledger: None,
        pending: None,
        absorbed: Vec::new(),
        markers: Vec::new(),
        marker: None,
        change: true,
        row: false,
        completes: Vec::new(),
        aside: Aside::default(),
    }
}

fn judged(answer: Answer) -> Found {
    Found::Judged(answer, text("theirs"))
}

fn slots(course: &Course) -> Vec<u16> {
    match course {
        Course::Send(fields) => fields.iter().map(|f| f.slot).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn p5_the_other_fields_are_written() {
    let edited = Timestamp(7);
    let mut some = entry(&[(PHONE, "a"), (TITLE, "b"), (FAX, "c"), (TIER, "d")]);
    let found = vec![
        (PHONE, judged(Answer::Keep { edited })),
        (FAX, Found::Crm),
        (TIER, judged(Answer::Ask { edited })),
    ];
    aside(&mut some, found, None);
    assert_eq!(slots(&some.course), [TITLE]);
    let kept: Vec<_> = some
        .aside
        .kept
        .iter()
        .map(|k| (k.field.slot, k.edited))
        .collect();
    assert_eq!(kept, [(PHONE, Some(edited)), (FAX, None)]);
    assert_eq!(some.aside.asked[0].theirs, text("theirs"));
}

#[test]
fn p5_where_nothing_is_left_the_verdict_says_why() {
    let edited = Timestamp(7);
    let left = |fields: &[(u16, &str)], found: Vec<(u16, Found)>| {
        let mut entry = entry(fields);
        aside(&mut entry, found, None);
        entry.course
    };
    let keep = || judged(Answer::Keep { edited });
    assert_eq!(
        left(&[(PHONE, "a")], vec![(PHONE, keep())]),
        Course::KeepFields
    );
    assert_eq!(left(&[(FAX, "a")], vec![(FAX, Found::Crm)]), Course::Ignore);
    let both = [(PHONE, "a"), (FAX, "b")];
    let found = vec![(PHONE, keep()), (FAX, Found::Crm)];
    assert_eq!(left(&both, found), Course::KeepFields);
    let there = || judged(Answer::AlreadyThere);
    assert_eq!(
        left(&[(PHONE, "a")], vec![(PHONE, there())]),
        Course::Unchanged
    );
    let ask = judged(Answer::Ask { edited });
    let found = vec![(TIER, ask), (PHONE, keep())];
    assert_eq!(left(&[(PHONE, "a"), (TIER, "b")], found), Course::Ask);
    let written = left(&[(PHONE, "a")], vec![(PHONE, judged(Answer::Write))]);
    assert_eq!(slots(&written), [PHONE]);
}
