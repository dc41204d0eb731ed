//! Who waits for whom, and why nobody waits for himself.
//!
//! ```text
//!   child ──refers to──► parent            not in the CRM, or still under another external id
//!   new row ──named as──► re-key           on the shelf: the old external id is borne still
//! ```
//!
//! A record on the shelf waits for at most one other. After every plan the way from one to the next
//! ends: in a record that is sent now, in one that has a fault of its own, or in one that nobody has
//! heard of yet. So whatever waits is freed when the end of its way is.
//!
//! A way that leads back to where it began is cut where one record refers to another: that one goes
//! without the reference, which is its next operation. An external id cannot be left out; a circle of
//! nothing but names (rows that exchanged their keys) is left as it is.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::entry::{Course, Plan, States, parents, waiting};
use super::objects::Objects;
use super::plan::enter_from_shelf;
use super::re_key::rekey_from;
use super::record::{Existence, LedgerEntry, Pending, PendingOperation};
use crate::mapping::{Action, Fields, RecordId};

/// Lets wait what refers to a record that is neither there nor on its way, and nothing for itself.
pub(super) fn decide(plan: &mut Plan, states: &States, objects: &Objects) {
    loop {
        let blocked = block_orphans(plan, states);
        let Some(cut) = Ways::new(plan, &blocked, states, objects).find_cut() else {
            return;
        };
        // Whoever waits for the one that goes now may go, too.
        for (index, fields) in blocked {
            if let Some(entry) = plan.entries.get_mut(index) {
                entry.course = Course::Send(fields);
            }
        }
        match cut {
            Cut::Here(index, parent) => leave_out(plan, index, &parent),
            Cut::Shelf(record) => enter_from_shelf(plan, record, states, objects),
        }
    }
}

/// The external id is still borne by another record: a reference would find the wrong one.
fn is_taken(pending: &Pending, states: &States) -> bool {
    let re_key = |p: &PendingOperation| matches!(p.action, Action::ReKey { .. });
    pending.operation.as_ref().is_some_and(re_key) || rekey_from(pending, states).is_some()
}

/// What is on the shelf, or stays there, so that nothing can refer to it yet.
fn is_awaited(record: &RecordId, plan: &Plan, states: &States) -> bool {
    match plan.places.get(record).and_then(|p| plan.entries.get(*p)) {
        Some(entry) => {
            let shelved = matches!(entry.course, Course::Shelve { .. });
            let pending = entry.pending.as_deref();
            let there = entry.exists()
                && !matches!(entry.operation.action, Action::ReKey { .. })
                && !pending.is_some_and(|p| is_taken(p, states));
            shelved && !there
        }
        None => {
            let Some(state) = states.get(record) else {
                return false;
            };
            let ledger = state.ledger.as_ref();
            let there = ledger.is_some_and(LedgerEntry::exists);
            // We deleted it, or gave its external id up: the CRM would refuse the reference, until a row
            // has that key again.
            let gone = ledger.is_some_and(|l| l.existence == Existence::Deleted);
            state.pending.as_deref().map_or(gone, |pending| {
                let coming = pending.operation.is_some() && !there;
                coming || is_taken(pending, states)
            })
        }
    }
}

/// A record whose parent is not in the CRM and will not be sent waits for it. Returns what each of
/// them would have sent.
pub(super) fn block_orphans(plan: &mut Plan, states: &States) -> HashMap<usize, Fields> {
    let mut all = HashMap::new();
    loop {
        let mut blocked: Vec<(usize, RecordId)> = Vec::new();
        for (index, entry) in plan.entries.iter().enumerate() {
            let Course::Send(fields) = &entry.course else {
                continue;
            };
            let missing =
                parents(&entry.operation, fields).find(|parent| is_awaited(parent, plan, states));
            blocked.extend(missing.map(|parent| (index, parent)));
        }
        if blocked.is_empty() {
            return all;
        }
        for (index, parent) in blocked {
            if let Some(entry) = plan.entries.get_mut(index)
                && let Course::Send(fields) = std::mem::replace(&mut entry.course, waiting(parent))
            {
                all.insert(index, fields);
            }
        }
    }
}

/// Where a circle is cut.
enum Cut {
    /// This entry goes without its references to this record.
    Here(usize, RecordId),
    /// This record on the shelf is tried with the window, to be cut there.
    Shelf(RecordId),
}

/// Who waits for whom after a plan.
struct Ways<'a> {
    plan: &'a Plan,
    states: &'a States,
    objects: &'a Objects,
    /// Entries that wait for a record they refer to.
    blocked: &'a HashMap<usize, Fields>,
    /// External ids that other entries of the plan decide about: markers, and what they wait for, and
    /// what leaves the shelf because a re-key took it over.
    names: HashMap<RecordId, Option<RecordId>>,
}

impl<'a> Ways<'a> {
    fn new(
        plan: &'a Plan,
        blocked: &'a HashMap<usize, Fields>,
        states: &'a States,
        objects: &'a Objects,
    ) -> Self {
        let mut names = HashMap::new();
        for entry in &plan.entries {
            for absorbed in &entry.absorbed {
                names.entry(absorbed.record.clone()).or_insert(None);
            }
            for marker in &entry.markers {
                names.insert(marker.record.clone(), marker.waits_for.clone());
            }
        }
        for entry in &plan.entries {
            if let Action::ReKey { from } = &entry.operation.action
                && matches!(entry.course, Course::Shelve { .. })
            {
                let record = entry.operation.record();
                let old = RecordId {
                    object: record.object,
                    key: from.clone(),
                };
                names.insert(old, Some(record));
            }
        }
        Ways {
            plan,
            states,
            objects,
            blocked,
            names,
        }
    }

    /// Follows the way of every entry. New circles go through one of them: what else is on the shelf
    /// waits for what it waited for before.
    fn find_cut(&self) -> Option<Cut> {
        let mut known: HashSet<RecordId> = HashSet::new();
        for entry in &self.plan.entries {
            let mut way: Vec<RecordId> = Vec::new();
            let mut seen: HashMap<RecordId, usize> = HashMap::new();
            let mut next = Some(entry.operation.record());
            while let Some(record) = next.take().filter(|r| !known.contains(r)) {
                if let Some(start) = seen.get(&record) {
                    let cut = self.cut_of(way.get(*start..).unwrap_or_default());
                    if cut.is_some() {
                        return cut;
                    }
                    break; // Nothing but names.
                }
                next = self.next(&record);
                seen.insert(record.clone(), way.len());
                way.push(record);
            }
            known.extend(way);
        }
        None
    }

    /// What a record waits for, if that is still to come. (A re-key that waits until the record in its
    /// place is removed does not wait for itself: the removal is on its way.)
    fn next(&self, record: &RecordId) -> Option<RecordId> {
        let place = self.plan.places.get(record);
        let entry = place.and_then(|p| self.plan.entries.get(*p));
        let next = match (self.names.get(record), entry) {
            (Some(holder), _) => holder.clone(),
            (None, Some(entry)) => match &entry.course {
                Course::Shelve { waits_for, .. } => waits_for.clone(),
                _ => None,
            },
            (None, None) => self.pending(record)?.waits_for.clone(),
        };
        next.filter(|next| next != record && is_awaited(next, self.plan, self.states))
    }

    fn pending(&self, record: &RecordId) -> Option<&Pending> {
        self.states.get(record)?.pending.as_deref()
    }

    /// A record of a circle that waits for one that it refers to, rather one of this window.
    fn cut_of(&self, circle: &[RecordId]) -> Option<Cut> {
        let mut by_reference = circle.iter().filter(|r| !self.names.contains_key(*r));
        let here = by_reference.clone().find_map(|record| {
            let index = *self.plan.places.get(record)?;
            self.blocked.get(&index)?;
            match &self.plan.entries.get(index)?.course {
                Course::Shelve { waits_for, .. } => Some(Cut::Here(index, waits_for.clone()?)),
                _ => None,
            }
        });
        here.or_else(|| {
            let cuttable = |record: &&RecordId| {
                let mapped = self.objects.targets.contains_key(&record.object);
                let pending = self.pending(record);
                mapped
                    && !self.plan.places.contains_key(*record)
                    && pending.is_some_and(|p| {
                        p.operation.is_some() && rekey_from(p, self.states).is_none()
                    })
            };
            by_reference.find(cuttable).cloned().map(Cut::Shelf)
        })
    }
}

/// Moves an entry's references to a record out of what is sent now.
fn leave_out(plan: &mut Plan, index: usize, parent: &RecordId) {
    let Some(entry) = plan.entries.get_mut(index) else {
        return;
    };
    let Course::Send(fields) = &mut entry.course else {
        return;
    };
    let (later, now): (Vec<_>, Vec<_>) = Arc::unwrap_or_clone(std::mem::take(fields))
        .into_iter()
        .partition(|f| parents(&entry.operation, std::slice::from_ref(f)).any(|p| p == *parent));
    *fields = Arc::new(now);
    entry.completes.extend(later);
}
