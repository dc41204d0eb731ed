//! What is to be done with each record of a window.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::merge::{merge, overlay};
use super::record::{LedgerEntry, Pending, PendingOperation, Reason, RecordState};
use super::stages;
use super::window::{Item, Window, still_rejected};
use crate::fault::{Class, Fault};
use crate::mapping::{
    Action, Assigned, Fields, Key, Mapping, ObjectId, Operation, RecordId, Removal, Target,
};

/// What the store knows of the records that a plan is about.
pub type States = HashMap<RecordId, RecordState>;

/// The objects of the mapping, and which of them refer to which.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// By number.
    pub targets: HashMap<ObjectId, Arc<Target>>,
    /// How deep an object stands below those it refers to: parents have less than their children.
    /// Objects that refer to each other (or themselves) share a depth.
    pub depth: HashMap<ObjectId, usize>,
}

impl Objects {
    /// The objects of a mapping.
    pub fn new(mapping: &Mapping) -> Self {
        let targets: HashMap<ObjectId, Arc<Target>> = mapping
            .tables()
            .map(|t| (t.target.id, Arc::clone(&t.target)))
            .collect();
        let mut depth: HashMap<ObjectId, usize> = targets.keys().map(|id| (*id, 0)).collect();
        let references = mapping.references();
        // As deep as the longest way down. Objects on a circle would go on for ever: after as many
        // rounds as there are objects, whoever still moves is on a circle or below one.
        let circular = circles(&references);
        for _ in 0..targets.len() {
            for (child, parent) in &references {
                if circular(*child, *parent) {
                    let deepest = depth
                        .get(child)
                        .max(depth.get(parent))
                        .copied()
                        .unwrap_or(0);
                    depth.insert(*child, deepest);
                    depth.insert(*parent, deepest);
                } else {
                    let below = depth.get(parent).copied().unwrap_or(0) + 1;
                    let deep = depth.entry(*child).or_insert(0);
                    *deep = (*deep).max(below);
                }
            }
        }
        Objects { targets, depth }
    }
}

/// Whether two objects, of which the first refers to the second, refer to each other by some way.
fn circles(references: &[(ObjectId, ObjectId)]) -> impl Fn(ObjectId, ObjectId) -> bool {
    let mut above: HashMap<ObjectId, HashSet<ObjectId>> = HashMap::new();
    loop {
        let mut grown = false;
        for (child, parent) in references {
            let further = above.get(parent).cloned().unwrap_or_default();
            let known = above.entry(*child).or_default();
            let before = known.len();
            known.insert(*parent);
            known.extend(further);
            grown |= known.len() > before;
        }
        if !grown {
            return move |child, parent| above.get(&parent).is_some_and(|a| a.contains(&child));
        }
    }
}

/// What happens to a record's operation.
#[derive(Clone, PartialEq, Debug)]
pub enum Course {
    /// These fields are sent.
    Send(Fields),
    /// It is not newer than what the record has.
    Stale,
    /// The CRM has it all already.
    Unchanged,
    /// It stays on the shelf, or goes there, untried.
    Shelve {
        /// Why.
        reason: Reason,
        /// The record it waits for.
        waits_for: Option<RecordId>,
        /// What is wrong with it.
        fault: Option<Fault>,
    },
    /// A marker whose time is over: it leaves the shelf.
    Drop,
}

/// One record of a plan.
#[derive(Clone, Debug)]
pub struct Entry {
    /// All that is to be done, with what was on the shelf merged in.
    pub operation: Operation,
    /// What the CRM holds of it (for a re-key: under the old external id).
    pub ledger: Option<LedgerEntry>,
    /// What was on the shelf for it.
    pub pending: Option<Box<Pending>>,
    /// Other records whose place on the shelf this operation takes over.
    pub absorbed: Vec<Pending>,
    /// Markers that stand whatever becomes of this operation.
    pub markers: Vec<Pending>,
    /// For a re-key: what is on the shelf under the old external id, to be kept as its marker.
    pub marker: Option<Box<Pending>>,
    /// A change of this window is in it, whose verdict it decides.
    pub change: bool,
    /// What happens.
    pub course: Course,
    /// References left out to break a cycle: the next operation of this record.
    pub completes: Vec<Assigned>,
}

impl Entry {
    /// The CRM has the record, as far as we know.
    pub fn exists(&self) -> bool {
        self.ledger.as_ref().is_some_and(LedgerEntry::exists)
    }

    /// It will be sent.
    pub fn is_sent(&self) -> bool {
        matches!(self.course, Course::Send(_))
    }
}

/// A window, decided.
#[derive(Debug, Default)]
pub struct Plan {
    /// One a record (two for a re-key onto a record that exists).
    pub entries: Vec<Entry>,
    /// Entries to send, stage after stage.
    pub stages: Vec<Vec<usize>>,
    /// Where a record's entry is, by the external id that it has afterwards.
    pub places: HashMap<RecordId, usize>,
}

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

/// Decides a window.
pub fn plan(window: Window, states: &States, objects: &Objects) -> Plan {
    let mut plan = Plan::default();
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
    join_circles(&mut plan, states, objects);
    block_orphans(&mut plan, states);
    plan.stages = stages::order(&mut plan.entries, &plan.places, objects);
    plan
}

impl Plan {
    fn add(&mut self, entry: Entry) {
        self.places
            .insert(entry.operation.record(), self.entries.len());
        self.entries.push(entry);
    }
}

/// A change of a record, with what is on the shelf for it.
fn enter(plan: &mut Plan, item: Item, states: &States) {
    let record = item.operation.record();
    let RecordState { ledger, pending } = states.get(&record).cloned().unwrap_or_default();
    let Some(before) = pending else {
        let course = match item.rejected {
            Some(fault) => dead_letter(fault),
            None => decide(
                &item.operation,
                ledger.as_ref(),
                Origin::Change {
                    rereferred: item.rereferred,
                },
            ),
        };
        return plan.add(Entry {
            operation: item.operation,
            ledger,
            pending: None,
            absorbed: Vec::new(),
            markers: Vec::new(),
            marker: None,
            change: true,
            course,
            completes: Vec::new(),
        });
    };
    let older = before.to_operation(&item.operation.target);
    let faulty = before.fault.clone().filter(|_| is_own(&before));
    let rejected = still_rejected(faulty, &item);
    let held = before.reason == Reason::Held;
    // A marker, or what waits behind one: the external id is not free yet.
    let taken = rekey_from(&before, states);
    let operation = match older {
        Some(older) => merge(older, item.operation),
        None => item.operation,
    };
    let mut operation = operation;
    let goes = rejected.is_none() && !held && taken.is_none();
    let (ledger, blocked) = re_key_base(plan, &mut operation, ledger, goes, states);
    let marker = old_marker(&operation, states);
    let course = if let Some(fault) = rejected {
        dead_letter(fault)
    } else if held {
        Course::Shelve {
            reason: Reason::Held,
            waits_for: None,
            fault: before.fault.clone(),
        }
    } else if let Some(holder) = taken {
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
        pending: Some(before),
        absorbed: Vec::new(),
        markers: Vec::new(),
        marker,
        change: true,
        course,
        completes: Vec::new(),
    });
}

/// A shelf entry that is tried without a new change.
fn enter_from_shelf(plan: &mut Plan, record: RecordId, states: &States, objects: &Objects) {
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
    let goes = taken.is_none() && !is_own(&pending);
    let (ledger, blocked) = re_key_base(plan, &mut operation, ledger, goes, states);
    let marker = old_marker(&operation, states);
    let course = match (taken, &pending.fault) {
        (Some(holder), _) => waiting(holder),
        // What the mapping refused is not whole: only a new change of the row can make it so.
        (None, Some(fault)) if is_own(&pending) => dead_letter(fault.clone()),
        (None, _) => blocked.unwrap_or_else(|| decide(&operation, ledger.as_ref(), Origin::Shelf)),
    };
    plan.add(Entry {
        operation,
        ledger,
        pending: Some(pending),
        absorbed: Vec::new(),
        markers: Vec::new(),
        marker,
        change: false,
        course,
        completes: Vec::new(),
    });
}

/// A marker whose re-key is off the shelf. Where that was carried out, no record bears the external
/// id any more; where the row was deleted instead, its record is still there and goes with it.
fn freed(pending: Box<Pending>, target: &Arc<Target>, ledger: Option<LedgerEntry>) -> Entry {
    let nothing = Operation {
        target: Arc::clone(target),
        key: pending.record.key.clone(),
        action: Action::Upsert,
        fields: Fields::default(),
        position: ledger.as_ref().map(|l| l.position).unwrap_or_default(),
        commit_time: pending.since,
        xid: 0,
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
            course: Course::Drop,
            completes: Vec::new(),
        })
    }
}

/// A row changed its key: the CRM record does, too, unless one already bears the new key.
fn enter_re_key(plan: &mut Plan, mut operation: Operation, states: &States) {
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
    let mut held = false;
    if let Some(pending) = old.pending {
        let holder = rekey_from(&pending, states);
        if let Some(older) = pending.to_operation(&operation.target) {
            operation.fields = overlay(older.fields, std::mem::take(&mut operation.fields));
            held = pending.reason == Reason::Held;
            if let Some(holder) = holder {
                // The CRM's record under the old id is another row's. This one's bears the id before
                // that, if it was ever written.
                operation.action = match older.action {
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
            } else if let Action::ReKey { from } = older.action {
                // Renamed again before the first renaming reached the CRM.
                operation.action = Action::ReKey { from };
            } else if !old_ledger.as_ref().is_some_and(LedgerEntry::exists) {
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
    let goes = !held && waits.is_none();
    let (ledger, blocked) = re_key_base(plan, &mut operation, new.ledger, goes, states);
    let marker = old_marker(&operation, states);
    let course = if held {
        Course::Shelve {
            reason: Reason::Held,
            waits_for: None,
            fault: None,
        }
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
        course,
        completes: Vec::new(),
    });
}

/// What is on the shelf under the external id that a re-key gives up.
fn old_marker(operation: &Operation, states: &States) -> Option<Box<Pending>> {
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
fn re_key_base(
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
    if !goes || !own.as_ref().is_some_and(LedgerEntry::exists) {
        return (ledger, None);
    }
    if matches!(operation.target.removal, Removal::Delete { .. }) {
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

/// What becomes of the record under the old key when a re-key is not possible.
fn removal(by: &Operation, old: RecordId, ledger: Option<LedgerEntry>) -> Option<Entry> {
    let known = ledger.as_ref().filter(|l| l.exists())?;
    let (action, fields) = match &by.target.removal {
        Removal::Delete { hard } => (Action::Delete { hard: *hard }, Vec::new()),
        Removal::Archive(fields) => (Action::Archive { create: false }, fields.clone()),
        Removal::Ignore => return None,
    };
    // Where the record stands: whatever is done under this external id later is newer.
    let operation = Operation {
        key: old.key,
        action,
        fields: Arc::new(fields),
        position: known.position,
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
        completes: Vec::new(),
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

/// The mapping, not the CRM, refused it: our own codes are in lower case.
fn is_own(pending: &Pending) -> bool {
    let code = pending.fault.as_ref().map_or("", |f| &f.code);
    !code.is_empty()
        && pending
            .fault
            .as_ref()
            .is_some_and(|f| f.class == Class::Record)
        && code.bytes().all(|b| !b.is_ascii_uppercase())
}

fn dead_letter(fault: Fault) -> Course {
    Course::Shelve {
        reason: Reason::DeadLetter,
        waits_for: None,
        fault: Some(fault),
    }
}

fn waiting(holder: RecordId) -> Course {
    Course::Shelve {
        reason: Reason::Waiting,
        waits_for: Some(holder),
        fault: None,
    }
}

/// Where an operation comes from.
#[derive(Clone, Copy)]
enum Origin {
    /// A change, not newer than itself: seen again, it is stale.
    Change {
        /// See [`Item::rereferred`].
        rereferred: bool,
    },
    /// The shelf (or a rule): the rest of what has been done at this position.
    Shelf,
}

/// Sends what differs from what we wrote last.
///
/// A reference is compared by the parent's external id, which another record may bear by now. Where
/// the reference was on the way elsewhere in between (`rereferred`), it is sent whatever was written
/// last.
fn decide(operation: &Operation, ledger: Option<&LedgerEntry>, origin: Origin) -> Course {
    let Some(ledger) = ledger else {
        return Course::Send(Arc::clone(&operation.fields));
    };
    let stale = match origin {
        Origin::Shelf => operation.position < ledger.position,
        Origin::Change { .. } => operation.position <= ledger.position,
    };
    if stale {
        return Course::Stale;
    }
    let rereferred = !matches!(origin, Origin::Change { rereferred: false });
    match operation.action {
        Action::Delete { .. } if ledger.exists() => Course::Send(Fields::default()),
        Action::Delete { .. } => Course::Unchanged,
        Action::Archive { create: false } if !ledger.exists() => Course::Unchanged,
        _ if !ledger.exists() => Course::Send(Arc::clone(&operation.fields)),
        _ => {
            let changed: Vec<Assigned> = operation
                .fields
                .iter()
                .filter(|f| {
                    let field = operation.target.fields.get(usize::from(f.slot));
                    if rereferred && field.is_some_and(|field| field.reference.is_some()) {
                        return true;
                    }
                    let last = field.and_then(|field| ledger.fingerprint(field.id));
                    last != Some(f.assignment.fingerprint())
                })
                .cloned()
                .collect();
            if changed.is_empty() && !matches!(operation.action, Action::ReKey { .. }) {
                Course::Unchanged
            } else {
                Course::Send(Arc::new(changed))
            }
        }
    }
}

/// Records on the shelf that wait for each other in a circle are only freed together: whoever is tried
/// brings in the others, and the circle is cut like any other.
fn join_circles(plan: &mut Plan, states: &States, objects: &Objects) {
    let mut joining = Vec::new();
    for entry in &plan.entries {
        let Course::Send(fields) = &entry.course else {
            continue;
        };
        for parent in parents(&entry.operation, fields) {
            let mut way = Vec::new();
            let mut next = Some(parent);
            while let Some(record) = next {
                if plan.places.contains_key(&record) {
                    joining.append(&mut way);
                    break;
                }
                let pending = states.get(&record).and_then(|s| s.pending.as_ref());
                next = pending
                    .and_then(|p| p.waits_for.clone())
                    .filter(|w| !way.contains(w));
                way.push(record);
            }
        }
    }
    for record in joining {
        // A re-key may have taken it over already.
        let absorbed = plan.entries.iter().flat_map(|e| &e.absorbed);
        if !absorbed.into_iter().any(|p| p.record == record) {
            enter_from_shelf(plan, record, states, objects);
        }
    }
}

/// A record whose parent is not in the CRM and will not be sent waits for it.
fn block_orphans(plan: &mut Plan, states: &States) {
    // The external id is still borne by another record: a reference would find the wrong one.
    let taken = |pending: &Pending| {
        let re_key = |p: &PendingOperation| matches!(p.action, Action::ReKey { .. });
        pending.operation.as_ref().is_some_and(re_key) || rekey_from(pending, states).is_some()
    };
    loop {
        let mut blocked: Vec<(usize, RecordId)> = Vec::new();
        for (index, entry) in plan.entries.iter().enumerate() {
            let Course::Send(fields) = &entry.course else {
                continue;
            };
            let missing = references(&entry.operation, fields).find_map(|(_, object, key)| {
                let parent = RecordId {
                    object,
                    key: key.clone(),
                };
                match plan.places.get(&parent).and_then(|p| plan.entries.get(*p)) {
                    Some(other) => {
                        let shelved = matches!(other.course, Course::Shelve { .. });
                        let there = other.exists()
                            && !matches!(other.operation.action, Action::ReKey { .. })
                            && !other.pending.as_deref().is_some_and(taken);
                        (shelved && !there).then_some(parent)
                    }
                    None => {
                        let state = states.get(&parent)?;
                        let there = state.ledger.as_ref().is_some_and(LedgerEntry::exists);
                        let pending = state.pending.as_ref()?;
                        let coming = pending.operation.is_some() && !there;
                        (coming || taken(pending)).then_some(parent)
                    }
                }
            });
            blocked.extend(missing.map(|parent| (index, parent)));
        }
        if blocked.is_empty() {
            return;
        }
        for (index, parent) in blocked {
            if let Some(entry) = plan.entries.get_mut(index) {
                entry.course = waiting(parent);
            }
        }
    }
}

/// The parents that these fields of an operation name.
pub fn parents<'a>(
    operation: &'a Operation,
    fields: &'a [Assigned],
) -> impl Iterator<Item = RecordId> + 'a {
    references(operation, fields).map(|(_, object, key)| RecordId {
        object,
        key: key.clone(),
    })
}

/// The parents that these fields of an operation name.
pub(super) fn references<'a>(
    operation: &'a Operation,
    fields: &'a [Assigned],
) -> impl Iterator<Item = (u16, ObjectId, &'a Key)> {
    use crate::mapping::{Assignment, FieldValue};
    fields.iter().filter_map(|f| match &f.assignment {
        Assignment::Set(FieldValue::Reference(key)) => {
            let reference = operation
                .target
                .fields
                .get(usize::from(f.slot))?
                .reference
                .as_ref()?;
            Some((f.slot, reference.object, key))
        }
        _ => None,
    })
}
