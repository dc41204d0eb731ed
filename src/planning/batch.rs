//! What travels in one request.

use std::borrow::Cow;
use std::sync::Arc;

use compact_str::CompactString;
use hashbrown::HashMap;

use super::entry::{Course, Entry, parents};
use crate::change::Timestamp;
use crate::mapping::{Action, Assignment, Fields, Key, RecordId, Target};

/// The CRM's own id of a record.
pub type CrmId = CompactString;

/// What a batch does to its records.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BatchAction {
    /// Creates or changes, by external id.
    Upsert,
    /// Changes what is there and never creates: archives, re-keys, and changes of a record whose CRM
    /// id is known. The sink finds the record by its CRM id where the write has one, else by its
    /// external id (for a re-key: the old one).
    Update,
    /// Removes.
    Delete {
        /// For good.
        hard: bool,
    },
}

/// One record of a batch.
#[derive(Clone, Debug)]
pub struct Write {
    /// Its external id (for a re-key: the new one, which is written).
    pub key: Key,
    /// For a re-key: the external id it has so far.
    pub from: Option<Key>,
    /// Its id in the CRM, where the ledger knows it.
    pub crm_id: Option<CrmId>,
    /// The fields to write, sorted by slot.
    pub fields: Fields,
    /// It is written only if nobody has changed the record after this second, as the CRM tells time.
    pub guard: Option<Timestamp>,
}

/// What travels in one request: records of one object, each at most once.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Where it goes.
    pub target: Arc<Target>,
    /// What it does.
    pub action: BatchAction,
    /// To which records.
    pub writes: Vec<Write>,
}

impl Entry {
    /// How its operation is carried out.
    fn batch_action(&self) -> BatchAction {
        let known = self.ledger.as_ref().filter(|l| l.exists());
        match self.operation.action {
            // It was found, by whomever it was made.
            Action::Upsert if self.aside.guard.is_some() => BatchAction::Update,
            // Only what changed is sent: were the record gone, an upsert would make a new one of it.
            Action::Upsert if known.is_some_and(|l| l.crm_id.is_some()) => BatchAction::Update,
            Action::Upsert => BatchAction::Upsert,
            Action::Archive { create } if create && !self.exists() => BatchAction::Upsert,
            Action::Archive { .. } | Action::ReKey { .. } => BatchAction::Update,
            Action::Delete { hard } => BatchAction::Delete { hard },
        }
    }

    fn write(&self, fields: &Fields) -> Write {
        let from = match &self.operation.action {
            Action::ReKey { from } => Some(from.clone()),
            _ => None,
        };
        Write {
            key: self.operation.key.clone(),
            from,
            crm_id: self
                .ledger
                .as_ref()
                .and_then(|l| l.crm_id.clone())
                .or_else(|| self.aside.crm_id.clone()),
            fields: Arc::clone(fields),
            guard: self.aside.guard,
        }
    }
}

/// Cuts the entries of one stage into batches of at most `records` records and about `bytes` bytes,
/// each beside the places of its records in the plan. Children of one parent travel together as far as
/// they fit: the CRM locks the parents of what it writes, and batches of a stage are under way at once.
/// Guarded writes travel by themselves, at most `guarded` together.
pub fn cut(
    entries: &[Entry],
    stage: &[usize],
    records: usize,
    guarded: usize,
    bytes: usize,
) -> Vec<(Batch, Vec<usize>)> {
    let mut batches: Vec<(Batch, Vec<usize>)> = Vec::new();
    // The batch that still has room, and the bytes in it, by what it is for.
    let mut open: HashMap<(usize, BatchAction, bool), (usize, usize)> = HashMap::new();
    let mut stage = Cow::Borrowed(stage);
    if stage.len() > records {
        // Within a family, and without one, the order of the changes stays.
        stage
            .to_mut()
            .sort_by_cached_key(|index| entries.get(*index).and_then(family));
    }
    for &index in stage.iter() {
        let Some(entry) = entries.get(index) else {
            continue;
        };
        let Course::Send(fields) = &entry.course else {
            continue;
        };
        let action = entry.batch_action();
        let write = entry.write(fields);
        let size = write.size();
        let target = &entry.operation.target;
        // Targets are shared: their address tells them apart.
        let kind = (Arc::as_ptr(target) as usize, action, write.guard.is_some());
        let records = match write.guard {
            Some(_) => guarded.min(records),
            None => records,
        };
        let room = open.get(&kind).copied().filter(|(place, used)| {
            let full = batches
                .get(*place)
                .is_none_or(|(b, _)| b.writes.len() >= records);
            !full && used + size <= bytes
        });
        let (place, used) = room.unwrap_or_else(|| {
            let batch = Batch {
                target: Arc::clone(target),
                action,
                writes: Vec::new(),
            };
            batches.push((batch, Vec::new()));
            (batches.len() - 1, 0)
        });
        open.insert(kind, (place, used + size));
        if let Some((batch, indexes)) = batches.get_mut(place) {
            batch.writes.push(write);
            indexes.push(index);
        }
    }
    batches
}

/// The parent by which a record is grouped.
fn family(entry: &Entry) -> Option<RecordId> {
    let Course::Send(fields) = &entry.course else {
        return None;
    };
    parents(&entry.operation, fields).next()
}

impl Write {
    /// Bytes of its values and names, roughly.
    fn size(&self) -> usize {
        let values = self.fields.iter().map(|f| match &f.assignment {
            Assignment::Set(value) => value.size() + 32,
            Assignment::Clear => 32,
        });
        64 + self.key.len() + values.sum::<usize>()
    }
}
