//! The objects of the mapping, and how deep each stands below its parents.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use crate::mapping::{Assigned, Mapping, ObjectId, Owner, Target, TargetField};

/// The objects of the mapping, and which of them refer to which.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// By number.
    pub targets: HashMap<ObjectId, Arc<Target>>,
    /// How deep an object stands below those it refers to: parents have less than their children.
    /// Objects that refer to each other (or themselves) share a depth.
    pub depth: HashMap<ObjectId, usize>,
    /// What goes on while the rest is deferred, by object; objects without such are not here.
    pub high: HashMap<ObjectId, High>,
    /// Objects of which what the CRM holds has a say in what is written.
    pub looked_at: HashSet<ObjectId>,
    /// The objects that refer to an object, by it.
    pub children: HashMap<ObjectId, Vec<ObjectId>>,
}

/// What of an object has a high priority.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum High {
    /// All of it.
    All,
    /// Operations that change one of these fields, by slot.
    Fields(HashSet<u16>),
}

impl Objects {
    /// The objects of a mapping.
    pub fn new(mapping: &Mapping) -> Self {
        let targets: HashMap<ObjectId, Arc<Target>> = mapping
            .all()
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
        let mut high = HashMap::new();
        for table in mapping.all() {
            let fields: HashSet<u16> = table.rules().filter(|r| r.high).map(|r| r.slot).collect();
            let here = match (table.high, fields.is_empty()) {
                (true, _) => High::All,
                (false, false) => High::Fields(fields),
                (false, true) => continue,
            };
            high.insert(table.target.id, here);
        }
        let mut children: HashMap<ObjectId, Vec<ObjectId>> = HashMap::new();
        for &(child, parent) in &references {
            children.entry(parent).or_default().push(child);
        }
        let looked_at = targets.values().filter(|t| has_a_say(t)).map(|t| t.id);
        Objects {
            looked_at: looked_at.collect(),
            targets,
            depth,
            high,
            children,
        }
    }

    /// Whether what changes these fields of an object goes first.
    pub fn is_high(&self, object: ObjectId, fields: &[Assigned]) -> bool {
        match self.high.get(&object) {
            None => false,
            Some(High::All) => true,
            Some(High::Fields(slots)) => fields.iter().any(|f| slots.contains(&f.slot)),
        }
    }

    /// The objects that refer to this one by some way, itself not among them.
    pub fn below(&self, object: ObjectId) -> Vec<ObjectId> {
        let mut below: Vec<ObjectId> = Vec::new();
        let mut next = vec![object];
        while let Some(parent) = next.pop() {
            for child in self.children.get(&parent).into_iter().flatten() {
                if *child != object && !below.contains(child) {
                    below.push(*child);
                    next.push(*child);
                }
            }
        }
        below
    }
}

/// What the CRM holds of this object's records has a say in what is written.
fn has_a_say(target: &Target) -> bool {
    let shared = |field: &TargetField| field.owner != Owner::Source;
    target.version.is_some() || target.creation.adopt.is_some() || target.fields.iter().any(shared)
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
