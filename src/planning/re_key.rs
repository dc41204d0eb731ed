//! Rows that changed their keys: whose external id is whose.
//!
//! A record keeps its CRM record when its row's key changes: the external id is written anew. While a
//! re-key is on the shelf the record bears the old external id, so a *marker* stands on the shelf under
//! that id, and whatever is to be written there waits behind it (see `docs/decisions/re-keys.md`).

use std::sync::Arc;

use super::aside::Aside;
use super::entry::{Course, Entry, Origin, Plan, States, decide, still_held, waiting};
use super::merge::lay_over;
use super::record::{LedgerEntry, Pending, Reason};
use super::window::Item;
use crate::mapping::{Action, Fields, Operation, RecordId, Removal, Target};

/// A marker whose re-key is off the shelf. Where that was carried out, no record bears the external
/// id any more; where the row was deleted instead, its record is still there and goes with it.
pub(super) fn freed(
    pending: Box<Pending>,
    target: &Arc<Target>,
    ledger: Option<LedgerEntry>,
) -> Entry {
    let nothing = Operation {
        target: Arc::clone(target),
        key: pending.record.key.clone(),
        action: Action::Upsert,
        fields: Fields::default(),
        position: ledger.as_ref().map(|l| l.position).unwrap_or_default(),
        commit_time: pending.since,
        xid: 0,
        changed: Vec::new(),
    };
    let entry = removal(&nothing, pending.record.clone(), ledger.clone());
    Entry {
        pending: Some(pending),
        ..entry.unwrap_or(Entry {
            operation: nothing,
            ledger,
            pending: None,
            absorbed: Vec::new(),
            markers: Vec::new(),
            marker: None,
            change: false,
            row: false,
            course: Course::Drop,
            completes: Vec::new(),
            aside: Aside::default(),
        })
    }
}

/// A row changed its key: the CRM record does, too, unless one already bears the new key.
pub(super) fn enter_re_key(plan: &mut Plan, mut operation: Operation, states: &States) {
    let Action::ReKey { from } = operation.action.clone() else {
        return;
    };
    let object = operation.target.id;
    let old_id = RecordId { object, key: from };
    let old = states.get(&old_id).cloned().unwrap_or_default();
    let new = states.get(&operation.record()).cloned().unwrap_or_default();
    let old_ledger = old.ledger;
    let mut absorbed = Vec::new();
    let mut markers = Vec::new();
    let mut held = None;
    if let Some(pending) = old.pending {
        let holder = rekey_from(&pending, states);
        if let Some(older) = pending.to_operation(&operation.target) {
            held = still_held(&pending, &Item::new(operation.clone(), None));
            let before = older.action.clone();
            lay_over(&mut operation, older);
            if let Some(holder) = holder {
                // The CRM's record under the old id is another row's. This one's bears the id before
                // that, if it was ever written.
                operation.action = match before {
                    Action::ReKey { from } => Action::ReKey { from },
                    _ => Action::Upsert,
                };
                markers.push(Pending {
                    reason: Reason::Waiting,
                    operation: None,
                    waits_for: Some(holder),
                    fault: None,
                    counted: false,
                    ..(*pending).clone()
                });
            } else if let Action::ReKey { from } = before {
                // Renamed again before the first renaming reached the CRM. A record that bears the id in
                // between is that of a row which is gone: its delete gave its place on the shelf to the
                // first renaming.
                operation.action = Action::ReKey { from };
                if let Some(entry) = removal(&operation, old_id.clone(), old_ledger) {
                    plan.add(entry);
                }
            } else if !old_ledger.as_ref().is_some_and(LedgerEntry::may_exist) {
                operation.action = Action::Upsert;
            }
            absorbed.push(*pending);
        }
    }
    if matches!(&operation.action, Action::ReKey { from } if *from == operation.key) {
        // Back to the external id that the CRM still has: nothing is left to rename.
        operation.action = Action::Upsert;
    }
    let taken = new.pending.as_ref().and_then(|p| rekey_from(p, states));
    let own = absorbed.iter().any(|p| taken.as_ref() == Some(&p.record));
    let waits = taken.filter(|_| !own);
    let goes = held.is_none() && waits.is_none();
    let (ledger, blocked) = re_key_base(plan, &mut operation, new.ledger, goes, states);
    let marker = old_marker(&operation, states);
    let course = if let Some(held) = held {
        held
    } else if let Some(holder) = waits {
        waiting(holder)
    } else {
        blocked.unwrap_or_else(|| {
            decide(
                &operation,
                ledger.as_ref(),
                Origin::Change { rereferred: true },
            )
        })
    };
    plan.add(Entry {
        operation,
        ledger,
        pending: new.pending,
        absorbed,
        markers,
        marker,
        change: true,
        row: false,
        course,
        completes: Vec::new(),
        aside: Aside::default(),
    });
}

/// What is on the shelf under the external id that a re-key gives up.
pub(super) fn old_marker(operation: &Operation, states: &States) -> Option<Box<Pending>> {
    let Action::ReKey { from } = &operation.action else {
        return None;
    };
    let old = RecordId {
        object: operation.target.id,
        key: from.clone(),
    };
    states.get(&old)?.pending.clone()
}

/// The ledger entry that an operation writes over: for a re-key, the old external id's.
///
/// Where a record already bears the new external id, its own row is gone. Where deleted rows take
/// their records with them, it is removed first and the re-key waits for that. Where they leave them
/// behind, that record takes the row's values, and the one under the old external id goes the way of
/// a deleted row, unless another row waits for it.
pub(super) fn re_key_base(
    plan: &mut Plan,
    operation: &mut Operation,
    own: Option<LedgerEntry>,
    goes: bool,
    states: &States,
) -> (Option<LedgerEntry>, Option<Course>) {
    let Action::ReKey { from } = &operation.action else {
        return (own, None);
    };
    let old = RecordId {
        object: operation.target.id,
        key: from.clone(),
    };
    let state = states.get(&old);
    let ledger = state.and_then(|s| s.ledger.clone());
    let removes = matches!(operation.target.removal, Removal::Delete { .. });
    let in_the_way = own.as_ref().is_some_and(|own| {
        own.exists() || removes && own.may_exist() && is_another(own, ledger.as_ref())
    });
    if !goes || !in_the_way {
        return (ledger, None);
    }
    if removes {
        // Its row is gone, or it would not share the key: it goes first, and the re-key is next.
        let own_id = operation.record();
        if let Some(entry) = removal(operation, own_id.clone(), own) {
            plan.add(entry);
        }
        return (ledger, Some(waiting(own_id)));
    }
    let wanted = state
        .and_then(|s| s.pending.as_ref())
        .is_some_and(|p| p.operation.is_some() && rekey_from(p, states).is_some());
    operation.action = Action::Upsert;
    if !wanted && let Some(entry) = removal(operation, old, ledger) {
        plan.add(entry);
    }
    (own, None)
}

/// A record under the new external id that may be there is another one, and not the one under the old
/// external id that this re-key, sent before, has arrived at: that would stand where the old one does.
fn is_another(own: &LedgerEntry, old: Option<&LedgerEntry>) -> bool {
    old.is_some_and(|old| old.position != own.position)
}

/// What becomes of the record under the old key when a re-key is not possible.
fn removal(by: &Operation, old: RecordId, ledger: Option<LedgerEntry>) -> Option<Entry> {
    let known = ledger.as_ref().filter(|l| l.may_exist())?;
    let (action, fields) = by.target.removal.without_row(by.position, by.commit_time)?;
    // Where the record stands: whatever is done under this external id later is newer.
    let operation = Operation {
        key: old.key,
        action,
        fields: Arc::new(fields),
        position: known.position,
        changed: Vec::new(),
        ..by.clone()
    };
    Some(Entry {
        course: decide(&operation, ledger.as_ref(), Origin::Shelf),
        operation,
        ledger,
        pending: None,
        absorbed: Vec::new(),
        markers: Vec::new(),
        marker: None,
        change: false,
        row: false,
        completes: Vec::new(),
        aside: Aside::default(),
    })
}

/// The record that still bears this external id in the CRM, because its re-key is on the shelf.
pub fn rekey_from(pending: &Pending, states: &States) -> Option<RecordId> {
    let holder = pending.waits_for.as_ref()?;
    if holder.object != pending.record.object {
        return None;
    }
    let operation = states.get(holder)?.pending.as_ref()?.operation.as_ref()?;
    match &operation.action {
        Action::ReKey { from } if *from == pending.record.key => Some(holder.clone()),
        _ => None,
    }
}

/// A record that was to make room for a re-key and has to wait stays where it is, and the re-key waits in
/// its stead: planned again, it goes again.
pub(super) fn let_go_of_removals(plan: &mut Plan) {
    for index in 0..plan.entries.len() {
        let Some(entry) = plan.entries.get(index).filter(|e| e.is_deferred()) else {
            continue;
        };
        let record = entry.operation.record();
        let Some(&place) = plan.places.get(&record).filter(|place| **place != index) else {
            continue;
        };
        let course = match plan.entries.get_mut(index) {
            Some(removal) => std::mem::replace(&mut removal.course, Course::Drop),
            None => continue,
        };
        if let Some(re_key) = plan.entries.get_mut(place) {
            re_key.course = course;
        }
    }
}
