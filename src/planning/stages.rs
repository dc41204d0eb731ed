//! The order in which a window's operations are sent.
//!
//! First everything that writes, parents before children; then everything that removes, children
//! before parents. An operation whose parent the CRM already has needs no place behind it. What is
//! left in a circle is cut open: one record is written without its reference, which follows in an
//! operation of its own.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::entry::{Course, Entry, references};
use super::objects::Objects;
use crate::mapping::{Action, RecordId};

/// Who has to go before whom, among the entries of a plan.
struct Graph {
    /// For each entry, those that have to come after it.
    after: Vec<Vec<usize>>,
    /// For each entry, how many have to come before it.
    before: Vec<usize>,
}

impl Graph {
    fn new(len: usize) -> Self {
        Graph {
            after: vec![Vec::new(); len],
            before: vec![0; len],
        }
    }

    fn edge(&mut self, first: usize, then: usize) {
        if let (Some(after), Some(before)) = (self.after.get_mut(first), self.before.get_mut(then))
            && first != then
        {
            after.push(then);
            *before += 1;
        }
    }

    /// Entries level by level. When only circles are left, `cut` names an entry that goes next all
    /// the same.
    fn levels(
        mut self,
        mut members: Vec<usize>,
        mut cut: impl FnMut(&[usize]) -> usize,
    ) -> Vec<Vec<usize>> {
        let mut levels: Vec<Vec<usize>> = Vec::new();
        let mut depth: HashMap<usize, usize> = HashMap::with_capacity(members.len());
        let mut ready: VecDeque<usize> = VecDeque::new();
        let is_ready = |before: &[usize], i: usize| before.get(i).is_some_and(|n| *n == 0);
        members.retain(|&i| {
            let free = is_ready(&self.before, i);
            if free {
                ready.push_back(i);
                depth.insert(i, 0);
            }
            !free
        });
        loop {
            while let Some(i) = ready.pop_front() {
                let level = depth.get(&i).copied().unwrap_or(0);
                if levels.len() <= level {
                    levels.resize(level + 1, Vec::new());
                }
                if let Some(members) = levels.get_mut(level) {
                    members.push(i);
                }
                let followers = self
                    .after
                    .get_mut(i)
                    .map(std::mem::take)
                    .unwrap_or_default();
                for next in followers {
                    let Some(before) = self.before.get_mut(next) else {
                        continue;
                    };
                    if *before == 0 {
                        continue; // Cut loose earlier.
                    }
                    *before -= 1;
                    let deeper = depth.entry(next).or_insert(0);
                    *deeper = (*deeper).max(level + 1);
                    if *before == 0 {
                        ready.push_back(next);
                    }
                }
            }
            members.retain(|&i| !is_ready(&self.before, i));
            if members.is_empty() {
                return levels;
            }
            let freed = cut(&members);
            if let Some(before) = self.before.get_mut(freed) {
                *before = 0;
            }
            ready.push_back(freed);
            depth.entry(freed).or_insert(0);
        }
    }
}

/// Orders what is to be sent into stages.
pub(super) fn order(
    entries: &mut [Entry],
    places: &HashMap<RecordId, usize>,
    objects: &Objects,
) -> Vec<Vec<usize>> {
    let mut writes = Vec::new();
    let mut removals = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        if entry.is_sent() {
            match entry.operation.action {
                Action::Delete { .. } => removals.push(index),
                _ => writes.push(index),
            }
        }
    }
    let mut stages = order_writes(entries, places, writes);
    stages.extend(order_removals(entries, places, removals, objects));
    stages
}

fn order_writes(
    entries: &mut [Entry],
    places: &HashMap<RecordId, usize>,
    members: Vec<usize>,
) -> Vec<Vec<usize>> {
    let with_references = |e: &Entry| {
        e.operation
            .target
            .fields
            .iter()
            .any(|f| f.reference.is_some())
    };
    if !members
        .iter()
        .any(|i| entries.get(*i).is_some_and(with_references))
    {
        return if members.is_empty() {
            Vec::new()
        } else {
            vec![members]
        };
    }
    // Old external ids that the window's re-keys give up.
    let given_up: HashMap<RecordId, usize> = members
        .iter()
        .filter_map(|&i| {
            let operation = &entries.get(i)?.operation;
            match &operation.action {
                Action::ReKey { from } => Some((
                    RecordId {
                        object: operation.target.id,
                        key: from.clone(),
                    },
                    i,
                )),
                _ => None,
            }
        })
        .collect();
    let mut graph = Graph::new(entries.len());
    let mut selfish = Vec::new();
    for &i in &members {
        let Some(entry) = entries.get(i) else {
            continue;
        };
        let Course::Send(fields) = &entry.course else {
            continue;
        };
        for (_, object, key) in references(&entry.operation, fields) {
            let parent = RecordId {
                object,
                key: key.clone(),
            };
            if let Some(&re_key) = given_up.get(&parent) {
                graph.edge(i, re_key);
            }
            let Some(&place) = places.get(&parent) else {
                continue;
            };
            let Some(other) = entries.get(place).filter(|e| e.is_sent()) else {
                continue;
            };
            let appears = match other.operation.action {
                Action::ReKey { .. } => true,
                Action::Delete { .. } => false,
                _ => !other.exists(),
            };
            if !appears {
                continue;
            }
            if place == i {
                selfish.push(i);
            } else {
                graph.edge(place, i);
            }
        }
    }
    for i in selfish {
        leave_out(entries, places, i, |parent, own| parent == own);
    }
    graph.levels(members, |circle| {
        // Any of the circle will do; the one that comes first in commit order that has a reference
        // into it can be written without.
        let chosen = circle
            .iter()
            .copied()
            .find(|&i| leave_out(entries, places, i, |parent, _| circle.contains(&parent)));
        chosen.or_else(|| circle.first().copied()).unwrap_or(0)
    })
}

/// Moves the references of entry `index` to those parents of the window for which `which` holds out
/// of what is sent now. False when there are none.
fn leave_out(
    entries: &mut [Entry],
    places: &HashMap<RecordId, usize>,
    index: usize,
    which: impl Fn(usize, usize) -> bool,
) -> bool {
    let Some(entry) = entries.get_mut(index) else {
        return false;
    };
    let Course::Send(fields) = &entry.course else {
        return false;
    };
    let slots: Vec<u16> = references(&entry.operation, fields)
        .filter(|(_, object, key)| {
            let parent = RecordId {
                object: *object,
                key: (*key).clone(),
            };
            places
                .get(&parent)
                .is_some_and(|&place| which(place, index))
        })
        .map(|(slot, _, _)| slot)
        .collect();
    if slots.is_empty() {
        return false;
    }
    let Course::Send(fields) = &mut entry.course else {
        return false;
    };
    let (later, now): (Vec<_>, Vec<_>) = Arc::unwrap_or_clone(std::mem::take(fields))
        .into_iter()
        .partition(|f| slots.contains(&f.slot));
    *fields = Arc::new(now);
    entry.completes.extend(later);
    true
}

fn order_removals(
    entries: &[Entry],
    places: &HashMap<RecordId, usize>,
    members: Vec<usize>,
    objects: &Objects,
) -> Vec<Vec<usize>> {
    let mut by_depth: std::collections::BTreeMap<std::cmp::Reverse<usize>, Vec<usize>> =
        Default::default();
    for index in members {
        let Some(entry) = entries.get(index) else {
            continue;
        };
        let depth = objects
            .depth
            .get(&entry.operation.target.id)
            .copied()
            .unwrap_or(0);
        by_depth
            .entry(std::cmp::Reverse(depth))
            .or_default()
            .push(index);
    }
    let mut stages = Vec::new();
    for members in by_depth.into_values() {
        let mut graph = Graph::new(entries.len());
        let here: HashSet<usize> = members.iter().copied().collect();
        for &i in &members {
            let Some(entry) = entries.get(i) else {
                continue;
            };
            let Some(ledger) = &entry.ledger else {
                continue;
            };
            for (field, key) in &ledger.parents {
                let target = &entry.operation.target;
                let reference = target.fields.iter().find(|f| f.id == *field);
                let Some(reference) = reference.and_then(|f| f.reference.as_ref()) else {
                    continue;
                };
                let parent = RecordId {
                    object: reference.object,
                    key: key.clone(),
                };
                if let Some(&place) = places.get(&parent)
                    && here.contains(&place)
                {
                    graph.edge(i, place);
                }
            }
        }
        stages.extend(graph.levels(members, |circle| circle.first().copied().unwrap_or(0)));
    }
    stages
}
