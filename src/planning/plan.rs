//! What is to be done with each record of a window.

use std::sync::Arc;

use super::aside::Aside;
use super::codes::{TRANSACTION_OPEN, is_own};
use super::entry::{
    Course, Entry, Origin, Plan, States, decide, parents, refused, rejected, still_held, stuck,
    waiting,
};
use super::merge::merge;
use super::objects::Objects;
use super::re_key::{enter_re_key, freed, let_go_of_removals, old_marker, re_key_base, rekey_from};
use super::record::{LedgerEntry, Reason, RecordState};
use super::window::{Item, Window, still_rejected};
use super::{stages, waits};
use crate::change::Lsn;
use crate::fault::{Class, Fault};
use crate::mapping::{Action, RecordId};

/// The records whose state a plan of this window needs: first those named by the window, then, once
/// these are known, those that their shelf entries name. Returns what is not in `states` yet.
pub fn needed(
    window: &Window,
    states: &States,
    objects: &Objects,
    with_parents: bool,
) -> Vec<RecordId> {
    let mut wanted = Vec::with_capacity(window.items.len() + window.shelf.len());
    for item in &window.items {
        let operation = &item.operation;
        wanted.push(operation.record());
        if let Action::ReKey { from } = &operation.action {
            wanted.push(RecordId {
                object: operation.target.id,
                key: from.clone(),
            });
        }
        if with_parents {
            let parents = operation.references();
            wanted.extend(parents.map(|(_, object, key)| RecordId {
                object,
                key: key.clone(),
            }));
        }
    }
    wanted.extend(window.shelf.iter().cloned());
    for pending in states.values().filter_map(|s| s.pending.as_ref()) {
        wanted.extend(pending.waits_for.clone());
        let target = objects.targets.get(&pending.record.object);
        let Some(operation) = target.and_then(|target| pending.to_operation(target)) else {
            continue;
        };
        if let Action::ReKey { from } = &operation.action {
            wanted.push(RecordId {
                object: pending.record.object,
                key: from.clone(),
            });
        }
        wanted.extend(parents(&operation, &operation.fields));
    }
    wanted.retain(|record| !states.contains_key(record));
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// Decides a window and orders what is sent.
pub fn plan(window: Window, states: &States, objects: &Objects) -> Plan {
    let mut plan = decided(window, states, objects);
    ordered(&mut plan, states, objects);
    plan
}

/// Decides a window, record by record.
pub fn decided(window: Window, states: &States, objects: &Objects) -> Plan {
    let mut plan = Plan {
        again: window.again,
        ..Plan::default()
    };
    let shelf: Vec<RecordId> = window
        .shelf
        .iter()
        .filter(|r| window.find(r).is_none())
        .cloned()
        .collect();
    plan.entries.reserve(window.items.len() + shelf.len());
    for item in window.items {
        if matches!(item.operation.action, Action::ReKey { .. }) && item.rejected.is_none() {
            enter_re_key(&mut plan, item.operation, states);
        } else {
            enter(&mut plan, item, states);
        }
    }
    for record in shelf {
        enter_from_shelf(&mut plan, record, states, objects);
    }
    plan
}

/// Orders what a decided plan sends. Only [`super::defer()`] may decide otherwise afterwards.
pub fn ordered(plan: &mut Plan, states: &States, objects: &Objects) {
    waits::decide(plan, states, objects);
    plan.stages = stages::order(&mut plan.entries, &plan.places, objects);
}

/// Puts off the deletes of transactions that are not known whole: of which no Commit before `through`
/// has been seen. Postgres sends a parent's delete before what it does to the children (`ON DELETE SET
/// NULL`, or statements of the application), and the CRM may delete the children with their parent.
///
/// Within a window deletes come last anyway.
pub fn wait_for_commit(plan: &mut Plan, objects: &Objects, through: Lsn) {
    for entry in &mut plan.entries {
        let operation = &entry.operation;
        let parent = objects.children.contains_key(&operation.target.id);
        let removes = matches!(operation.action, Action::Delete { .. });
        if parent && removes && operation.position.commit >= through && entry.is_sent() {
            let what = "its transaction may yet say what becomes of the records that refer to it";
            entry.course = Course::Shelve {
                reason: Reason::Deferred,
                waits_for: None,
                fault: Some(Fault::new(Class::Record, TRANSACTION_OPEN, what)),
            };
        }
    }
    let_go_of_removals(plan);
}

/// A change of a record, with what is on the shelf for it.
fn enter(plan: &mut Plan, item: Item, states: &States) {
    let record = item.operation.record();
    let RecordState { ledger, pending } = states.get(&record).cloned().unwrap_or_default();
    let Some(before) = pending else {
        let mut item = item;
        if let Some(only) = item.row.and_then(|row| row.only)
            && ledger.as_ref().is_some_and(LedgerEntry::exists)
        {
            Arc::make_mut(&mut item.operation.fields).retain(|f| f.slot == only);
        }
        let origin = Origin::Change {
            rereferred: item.rereferred,
        };
        let course = match item.rejected {
            Some(fault) => rejected(fault, &item.operation, ledger.as_ref(), origin),
            None => decide(&item.operation, ledger.as_ref(), origin),
        };
        return plan.add(Entry {
            operation: item.operation,
            ledger,
            pending: None,
            absorbed: Vec::new(),
            markers: Vec::new(),
            marker: None,
            change: item.change,
            row: item.row.is_some(),
            course,
            completes: Vec::new(),
            aside: Aside::default(),
        });
    };
    let older = before.to_operation(&item.operation.target);
    let fault = still_rejected(before.fault.clone().filter(is_own), &item);
    let held = still_held(&before, &item);
    let (change, row) = (item.change, item.row.is_some());
    // A marker, or what waits behind one: the external id is not free yet.
    let taken = rekey_from(&before, states);
    let operation = match older {
        Some(older) => merge(older, item.operation),
        None => item.operation,
    };
    let mut operation = operation;
    let goes = fault.is_none() && held.is_none() && taken.is_none();
    let (ledger, blocked) = re_key_base(plan, &mut operation, ledger, goes, states);
    let marker = old_marker(&operation, states);
    let origin = Origin::Change { rereferred: true };
    let course = if let Some(fault) = fault {
        rejected(fault, &operation, ledger.as_ref(), origin)
    } else if let Some(held) = held {
        held
    } else if let Some(holder) = taken {
        waiting(holder)
    } else {
        blocked.unwrap_or_else(|| decide(&operation, ledger.as_ref(), origin))
    };
    plan.add(Entry {
        operation,
        ledger,
        pending: Some(before),
        absorbed: Vec::new(),
        markers: Vec::new(),
        marker,
        change,
        row,
        course,
        completes: Vec::new(),
        aside: Aside::default(),
    });
}

/// A shelf entry that is tried without a new change.
pub(super) fn enter_from_shelf(
    plan: &mut Plan,
    record: RecordId,
    states: &States,
    objects: &Objects,
) {
    if plan.places.contains_key(&record) {
        return;
    }
    let Some(RecordState {
        ledger,
        pending: Some(pending),
    }) = states.get(&record).cloned()
    else {
        return; // Left the shelf since it was asked for.
    };
    let Some(target) = objects.targets.get(&record.object) else {
        return; // No longer mapped: it stays where it is, in plain sight.
    };
    let taken = rekey_from(&pending, states);
    let Some(operation) = pending.to_operation(target) else {
        if taken.is_none() {
            plan.add(freed(pending, target, ledger));
        }
        return;
    };
    let mut operation = operation;
    let stuck = stuck(&pending, target);
    let goes = taken.is_none() && stuck.is_none();
    let (ledger, blocked) = re_key_base(plan, &mut operation, ledger, goes, states);
    let marker = old_marker(&operation, states);
    let course = match (taken, stuck) {
        (Some(holder), _) => waiting(holder),
        // What the mapping refused is not whole: only a new change of the row can make it so.
        (None, Some(fault)) => refused(fault),
        (None, None) => {
            blocked.unwrap_or_else(|| decide(&operation, ledger.as_ref(), Origin::Shelf))
        }
    };
    plan.add(Entry {
        operation,
        ledger,
        pending: Some(pending),
        absorbed: Vec::new(),
        markers: Vec::new(),
        marker,
        change: false,
        row: false,
        course,
        completes: Vec::new(),
        aside: Aside::default(),
    });
}
