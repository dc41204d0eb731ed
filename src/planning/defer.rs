//! What of a plan waits because not all of it may be sent now.
//!
//! While the CRM's limit is nearly used up, or the WAL would outgrow its budget, operations go to the
//! shelf as *deferred* instead of to the CRM, and the slot moves on. Later changes of their records
//! merge into them there: at most one operation a record, however long it lasts.
//!
//! ```text
//! plan ─► defer ─┬─► sent: what has a high priority, and the new parents it refers to
//!                └─► the shelf: the rest; what refers to a record that is not there yet waits for it
//! ```
//!
//! What may have been sent already (a window that is sent again after a crash) goes to the shelf with
//! a doubt: the ledger no longer claims to know what the fields hold, so that a later change back to
//! the old value is not taken for nothing to do. A re-key is never deferred in doubt, because two
//! external ids could be the record's: it is sent.

use hashbrown::HashSet;

use super::entry::{Course, Entry, Origin, Plan, States, decide, parents};
use super::objects::Objects;
use super::re_key::let_go_of_removals;
use super::record::{Existence, LedgerEntry, Pending, Reason};
use super::stages;
use super::waits::block_orphans;
use crate::mapping::{Action, RecordId};

/// What may be sent to the CRM now.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Leave {
    /// Nothing.
    Nothing,
    /// What has a high priority.
    High,
    /// Everything.
    #[default]
    All,
}

/// How a plan is to be thinned out.
#[derive(Clone, Debug, Default)]
pub struct Deferral {
    /// What may be sent.
    pub leave: Leave,
    /// Records that go with what has a high priority, because it waits for them.
    pub asked: HashSet<RecordId>,
}

/// Takes out of a plan what may not be sent.
pub fn defer(plan: &mut Plan, states: &States, objects: &Objects, how: &Deferral) {
    let high = |entry: &Entry| match &entry.course {
        Course::Send(fields) => objects.is_high(entry.operation.target.id, fields),
        _ => false,
    };
    if how.leave == Leave::All {
        return;
    }
    let mut goes: Vec<bool> = plan
        .entries
        .iter()
        .map(|entry| {
            let asked = || how.asked.contains(&entry.operation.record());
            let first = how.leave == Leave::High && (high(entry) || asked());
            let re_key = matches!(entry.operation.action, Action::ReKey { .. });
            entry.is_sent() && (first || plan.again && re_key)
        })
        .collect();
    go_together(plan, objects, &mut goes);
    let mut first = Vec::new();
    for (index, entry) in plan.entries.iter_mut().enumerate() {
        let here = high(entry);
        if here || waits_high(entry, objects) {
            first.push(index);
        }
        if goes.get(index).copied().unwrap_or(false) || !entry.is_sent() {
            continue;
        }
        if plan.again {
            plan.doubts.extend(doubtful(entry));
        }
        if here {
            plan.urgent.push(entry.operation.record());
        }
        entry.course = Course::Shelve {
            reason: Reason::Deferred,
            waits_for: None,
            fault: None,
        };
    }
    let_go_of_removals(plan);
    block_orphans(plan, states);
    // What goes first, and turned out to wait for a parent on the shelf: that has to go first.
    for index in first {
        let Some(entry) = plan.entries.get(index) else {
            continue;
        };
        if let Course::Shelve {
            reason: Reason::Waiting,
            waits_for: Some(parent),
            ..
        } = &entry.course
        {
            // One that is there for a reason of its own does not come by being asked for.
            let there = plan.places.get(parent).and_then(|p| plan.entries.get(*p));
            let deferred = match there {
                Some(other) => other.is_deferred(),
                None => {
                    let pending = states.get(parent).and_then(|s| s.pending.as_ref());
                    pending.is_some_and(|p| p.reason == Reason::Deferred)
                }
            };
            if deferred {
                plan.asked.push(parent.clone());
                plan.urgent.push(entry.operation.record());
            }
        }
    }
    plan.stages = stages::order(&mut plan.entries, &plan.places, objects);
}

/// It has a high priority, and waits for its parent.
fn waits_high(entry: &Entry, objects: &Objects) -> bool {
    let waits = matches!(
        entry.course,
        Course::Shelve {
            reason: Reason::Waiting,
            ..
        }
    );
    let operation = &entry.operation;
    if !waits || !objects.high.contains_key(&operation.target.id) {
        return false;
    }
    match decide(operation, entry.ledger.as_ref(), Origin::Shelf) {
        Course::Send(fields) => objects.is_high(operation.target.id, &fields),
        _ => false,
    }
}

/// What is sent brings along what has to go before it: new parents, renamed parents, the record whose
/// place a re-key takes, the children that a removed record would take with it.
fn go_together(plan: &Plan, objects: &Objects, goes: &mut [bool]) {
    let depth = |entry: &Entry| {
        let id = entry.operation.target.id;
        objects.depth.get(&id).copied().unwrap_or(0)
    };
    let mut look: Vec<usize> = (0..goes.len())
        .filter(|i| goes.get(*i) == Some(&true))
        .collect();
    let mut removed_above: Option<usize> = None;
    while let Some(index) = look.pop() {
        let Some(entry) = plan.entries.get(index) else {
            continue;
        };
        let mut take = |other: usize| {
            let sent = plan.entries.get(other).is_some_and(Entry::is_sent);
            if let Some(goes) = goes.get_mut(other).filter(|goes| sent && !**goes) {
                *goes = true;
                look.push(other);
            }
        };
        if let Course::Send(fields) = &entry.course {
            for parent in parents(&entry.operation, fields) {
                let Some(place) = plan.places.get(&parent) else {
                    continue;
                };
                let appears = plan.entries.get(*place).is_some_and(|other| {
                    !other.exists() || matches!(other.operation.action, Action::ReKey { .. })
                });
                if appears {
                    take(*place);
                }
            }
        }
        if matches!(entry.operation.action, Action::Delete { .. }) {
            let above = depth(entry);
            if removed_above.is_none_or(|known| above < known) {
                removed_above = Some(above);
                for (place, other) in plan.entries.iter().enumerate() {
                    let removal = matches!(other.operation.action, Action::Delete { .. });
                    if removal && depth(other) > above {
                        take(place);
                    }
                }
            }
        }
    }
}

/// What is certain of a record that is to be sent, while it is not known whether it has been.
pub fn doubtful(entry: &Entry) -> Option<(RecordId, LedgerEntry)> {
    if !entry.is_sent() {
        return None;
    }
    let known = entry.ledger.clone();
    let ledger = match (&entry.operation.action, known) {
        (Action::ReKey { .. }, _) => return None,
        // It makes room for a re-key, which is to find it in the way again.
        (Action::Delete { .. }, Some(known)) if entry.is_removal() && known.exists() => {
            LedgerEntry {
                fingerprints: Vec::new(),
                ..known
            }
        }
        (Action::Delete { .. }, Some(known)) if known.exists() => LedgerEntry {
            existence: Existence::Uncertain,
            fingerprints: Vec::new(),
            ..known
        },
        (_, Some(known)) if known.exists() => unsure(entry, &known),
        (_, known) => {
            let (position, kept_fields) = known
                .map(|l| (l.position, l.kept_fields))
                .unwrap_or_default();
            LedgerEntry {
                position,
                existence: Existence::Uncertain,
                crm_id: None,
                fingerprints: Vec::new(),
                parents: Vec::new(),
                // They are counted still.
                kept_fields,
            }
        }
    };
    Some((entry.operation.record(), ledger))
}

/// A record that is there, without what is known of the fields that are sent.
pub fn unsure(entry: &Entry, known: &LedgerEntry) -> LedgerEntry {
    let mut known = known.clone();
    if let Course::Send(fields) = &entry.course {
        let target = &entry.operation.target;
        let sent = |id| {
            let mut slots = fields.iter().map(|f| usize::from(f.slot));
            slots.any(|slot| target.fields.get(slot).is_some_and(|f| f.id == id))
        };
        known.fingerprints.retain(|(id, _)| !sent(*id));
    }
    known
}

/// Whether an operation on the shelf has a high priority, as it would be sent now.
pub fn is_high_on_shelf(
    pending: &Pending,
    ledger: Option<&LedgerEntry>,
    objects: &Objects,
) -> bool {
    let Some(target) = objects.targets.get(&pending.record.object) else {
        return false;
    };
    let Some(operation) = pending.to_operation(target) else {
        return false;
    };
    match decide(&operation, ledger, Origin::Shelf) {
        Course::Send(fields) => objects.is_high(target.id, &fields),
        _ => false,
    }
}
