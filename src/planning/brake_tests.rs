//! The brakes, as tables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::change::{Lsn, Position, Timestamp};
use crate::config::{Brake, DeleteLimit, OnCrmDelete, Percent, Span};
use crate::mapping::{Action, Fields, ObjectId, Operation, RecordId, Removal, Target};

fn target(object: &str) -> Arc<Target> {
    Arc::new(Target {
        id: ObjectId::new(object, "Id__c"),
        table: format!("public.{object}").into(),
        object: object.into(),
        key_field: "Id__c".into(),
        removal: Removal::Delete { hard: false },
        on_crm_delete: OnCrmDelete::default(),
        creation: crate::mapping::Creation::default(),
        fields: Vec::new(),
        halted: None,
        version: None,
    })
}

fn live() -> LedgerEntry {
    LedgerEntry {
        position: Position::default(),
        existence: Existence::Live,
        crm_id: None,
        fingerprints: Vec::new(),
        parents: Vec::new(),
        kept_fields: Vec::new(),
    }
}

/// Operations of the keys from 0 on.
fn plan(target: &Arc<Target>, action: &Action, keys: std::ops::Range<u64>) -> Plan {
    let mut plan = Plan::default();
    for key in keys {
        plan.add(Entry {
            operation: Operation {
                target: Arc::clone(target),
                key: key.to_string().into(),
                action: action.clone(),
                fields: Fields::default(),
                position: Position {
                    commit: Lsn(key),
                    ordinal: 0,
                },
                commit_time: Timestamp(0),
                xid: 1,
                changed: Vec::new(),
            },
            ledger: Some(live()),
            pending: None,
            absorbed: Vec::new(),
            markers: Vec::new(),
            marker: None,
            change: true,
            row: false,
            course: Course::Send(Fields::default()),
            completes: Vec::new(),
            aside: Aside::default(),
        });
    }
    plan
}

fn brakes(deletes: DeleteLimit, writes_per_record: u32) -> Brakes {
    Brakes::new(Brake {
        deletes,
        within: Span(Duration::from_secs(600)),
        writes_per_record,
    })
}

const DELETE: Action = Action::Delete { hard: false };

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1_000_000)
}

/// How many of the plan are held.
fn held(brakes: &mut Brakes, plan: &mut Plan, objects: &Objects, now: Timestamp) -> usize {
    brakes.hold(plan, objects, now);
    let held = plan.entries.iter().filter(|e| match &e.course {
        Course::Shelve { reason, fault, .. } => {
            assert_eq!(*reason, Reason::Held);
            is_braked(fault.as_ref().unwrap())
        }
        _ => false,
    });
    held.count()
}

#[test]
fn p9_deletes_count_within_their_stretch_of_time() {
    let target = target("customer");
    let objects = Objects::default();
    let mut brakes = brakes(DeleteLimit::Count(10), 0);
    // A trickle never trips it.
    for minute in 0..100 {
        let mut plan = plan(&target, &DELETE, 0..1);
        assert_eq!(held(&mut brakes, &mut plan, &objects, at(minute * 61)), 0);
    }
    // Nine of them count still, at the most.
    let mut storm = plan(&target, &DELETE, 0..50);
    assert_eq!(held(&mut brakes, &mut storm, &objects, at(6_100)), 49);
    assert_eq!(brakes.alarms().len(), 1);
    // Once on, it stays on.
    let mut late = plan(&target, &DELETE, 0..1);
    assert_eq!(held(&mut brakes, &mut late, &objects, at(100_000)), 1);
    // Writes go on.
    let mut writes = plan(&target, &Action::Upsert, 0..50);
    assert_eq!(held(&mut brakes, &mut writes, &objects, at(100_000)), 0);
    // What comes from the shelf alone is not judged.
    let mut shelf = plan(&target, &DELETE, 0..50);
    shelf.entries.iter_mut().for_each(|e| e.change = false);
    assert_eq!(held(&mut brakes, &mut shelf, &objects, at(100_000)), 0);
    // Released, the rest of the storm passes; later it counts anew.
    brakes.open(target.id, BrakeKind::Deletes, at(100_000));
    let mut rest = plan(&target, &DELETE, 0..5_000);
    assert_eq!(held(&mut brakes, &mut rest, &objects, at(100_500)), 0);
    let mut next = plan(&target, &DELETE, 0..50);
    assert_eq!(held(&mut brakes, &mut next, &objects, at(100_601)), 40);
    // Given up: it counts from zero at once.
    brakes.off(target.id, BrakeKind::Deletes);
    assert!(brakes.alarms().is_empty());
    let mut next = plan(&target, &DELETE, 0..10);
    assert_eq!(held(&mut brakes, &mut next, &objects, at(100_602)), 0);
}

#[test]
fn p9_a_share_is_of_the_records_there_were() {
    let target = target("customer");
    let objects = Objects::default();
    let mut brakes = brakes(DeleteLimit::Share(Percent(500)), 0);
    let small = plan(&target, &DELETE, 0..100);
    assert!(brakes.unknown_sizes(&small, at(0)).is_empty());
    let mut storm = plan(&target, &DELETE, 0..400);
    assert_eq!(brakes.unknown_sizes(&storm, at(0)), [target.id]);
    brakes.size(target.id, 4_000, at(0));
    assert!(brakes.unknown_sizes(&storm, at(1)).is_empty());
    assert_eq!(held(&mut brakes, &mut storm, &objects, at(1)), 200);
    // Of a small table at least a hundred go.
    let mut brakes = self::brakes(DeleteLimit::Share(Percent(500)), 0);
    brakes.size(target.id, 150, at(0));
    let mut storm = plan(&target, &DELETE, 0..150);
    assert_eq!(held(&mut brakes, &mut storm, &objects, at(1)), 50);
}

#[test]
fn p9_parents_are_held_while_their_children_are() {
    let (parent, child) = (target("company"), target("customer"));
    let mut objects = Objects::default();
    objects.depth.insert(parent.id, 0);
    objects.depth.insert(child.id, 1);
    objects.children.insert(parent.id, vec![child.id]);
    let mut brakes = brakes(DeleteLimit::Count(10), 0);
    // The parent stands first; its children are judged before it.
    let mut both = plan(&parent, &DELETE, 0..1);
    for entry in plan(&child, &DELETE, 0..20).entries {
        both.add(entry);
    }
    assert_eq!(held(&mut brakes, &mut both, &objects, at(0)), 11);
    let mut marked = plan(&parent, &Action::Archive { create: false }, 0..1);
    assert_eq!(held(&mut brakes, &mut marked, &objects, at(1)), 0);
}

#[test]
fn p9_a_record_that_is_written_too_often_is_held_alone() {
    let target = target("customer");
    let objects = Objects::default();
    let mut brakes = brakes(DeleteLimit::Count(0), 60);
    for round in 0..60 {
        let mut plan = plan(&target, &Action::Upsert, 0..3);
        assert_eq!(held(&mut brakes, &mut plan, &objects, at(round)), 0);
    }
    let mut one = plan(&target, &DELETE, 0..1);
    assert_eq!(held(&mut brakes, &mut one, &objects, at(61)), 1);
    let mut others = plan(&target, &Action::Upsert, 3..100);
    assert_eq!(held(&mut brakes, &mut others, &objects, at(62)), 0);
    // A person lets it go: so many more writes pass.
    brakes.release(&RecordId {
        object: target.id,
        key: "0".into(),
    });
    for round in 0..60 {
        let mut plan = plan(&target, &Action::Upsert, 0..1);
        assert_eq!(held(&mut brakes, &mut plan, &objects, at(70 + round)), 0);
    }
    let mut again = plan(&target, &Action::Upsert, 0..1);
    assert_eq!(held(&mut brakes, &mut again, &objects, at(200)), 1);
    // An hour later all is forgotten.
    let mut later = plan(&target, &Action::Upsert, 0..3);
    assert_eq!(held(&mut brakes, &mut later, &objects, at(4_000)), 0);
}

#[test]
fn p9_what_is_held_turns_the_brake_on_again_after_a_restart() {
    let target = target("customer");
    let objects = Objects::default();
    let mut before = brakes(DeleteLimit::Count(1), 0);
    let mut storm = plan(&target, &DELETE, 0..2);
    assert_eq!(held(&mut before, &mut storm, &objects, at(0)), 1);
    let entry = storm.entries.pop().unwrap();
    let Course::Shelve { reason, fault, .. } = entry.course else {
        panic!("not held");
    };
    let pending = Pending {
        record: entry.operation.record(),
        table: "public.customer".into(),
        object: "customer".into(),
        key_field: "Id__c".into(),
        reason,
        operation: Some(PendingOperation::new(&entry.operation)),
        waits_for: None,
        fault,
        attempts: 0,
        since: at(0),
        tried: None,
        counted: true,
        conflicts: Vec::new(),
    };
    let mut after = brakes(DeleteLimit::Count(1), 0);
    after.remember(&pending);
    assert_eq!(after.alarms(), before.alarms());
    let mut one = plan(&target, &DELETE, 5..6);
    assert_eq!(held(&mut after, &mut one, &objects, at(9)), 1);
}
