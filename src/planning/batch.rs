//! What travels in one request.

use std::sync::Arc;

use hashbrown::HashMap;

use super::entry::{Course, Entry};
use super::locks::{Locks, Lookups};
use super::pack::{Piece, line_up, pack};
use super::record::CrmId;
use crate::change::Timestamp;
use crate::mapping::{Action, Assignment, FieldValue, Fields, Key, Target};

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

impl BatchAction {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            BatchAction::Upsert => "upsert",
            BatchAction::Update => "update",
            BatchAction::Delete { hard: false } => "delete",
            BatchAction::Delete { hard: true } => "hard delete",
        }
    }
}

/// One record of a batch.
#[derive(Clone, Debug)]
pub struct Write {
    /// Its external id (for a re-key: the new one, which is written).
    pub key: Key,
    /// Its external id is written, too: for a re-key the one that it has so far, for a record that has
    /// none the one that it gets.
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
            Action::Upsert if self.aside.crm_id.is_some() => BatchAction::Update,
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
            _ if self.aside.adopted => Some(self.operation.key.clone()),
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

/// What one request has room for, and what it locks.
pub struct Room<'a> {
    /// Records.
    pub records: usize,
    /// Records that are each written only if nobody has changed them: they travel by themselves.
    pub guarded: usize,
    /// Bytes of its body.
    pub bytes: usize,
    /// Whether records of an object are locked while records that refer to them are written.
    pub locks: &'a dyn Fn(&str) -> bool,
}

/// A batch of a stage.
#[derive(Debug)]
pub struct Cut {
    /// What is sent.
    pub batch: Batch,
    /// The places of its records in the plan.
    pub places: Vec<usize>,
    /// What the CRM locks for it; see [`super::Lanes`].
    pub locks: Locks,
}

/// Cuts the entries of one stage into batches. Records that lock a record in common travel together
/// as far as they fit, but never at the price of another request.
pub fn cut(entries: &[Entry], stage: &[usize], room: &Room<'_>) -> Vec<Cut> {
    let bytes = room.bytes.saturating_sub(ENVELOPE);
    let guarded = room.guarded.min(room.records);
    let parted = |pieces: &[Piece], is_guarded: bool| match is_guarded {
        true => pack(pieces, guarded, bytes),
        false => pack(pieces, room.records, bytes),
    };
    cut_by(entries, stage, room, Write::size, parted)
}

/// Cuts the entries of one stage into what goes by jobs. `room.records`: those that the CRM writes
/// together; it works off such parts of a job at once, so records that lock one in common stand side by
/// side, whatever the order of their changes. A job takes no conditions: what is written only if nobody
/// has changed its record is not of this.
pub fn cut_for_jobs(entries: &[Entry], stage: &[usize], room: &Room<'_>) -> Vec<Cut> {
    let parted = |pieces: &[Piece], _: bool| line_up(pieces, room.records, room.bytes);
    cut_by(entries, stage, room, |write, _| write.values(), parted)
}

fn cut_by(
    entries: &[Entry],
    stage: &[usize],
    room: &Room<'_>,
    size: impl Fn(&Write, &Target) -> usize,
    parted: impl Fn(&[Piece], bool) -> Vec<Vec<usize>>,
) -> Vec<Cut> {
    struct Kind {
        guarded: bool,
        target: Arc<Target>,
        action: BatchAction,
        lookups: Lookups,
        places: Vec<usize>,
        pieces: Vec<Piece>,
        writes: Vec<Option<Write>>,
    }
    let mut kinds: Vec<Kind> = Vec::new();
    let mut by_name: HashMap<(usize, BatchAction, bool), usize> = HashMap::new();
    for &index in stage {
        let Some(entry) = entries.get(index) else {
            continue;
        };
        let Course::Send(fields) = &entry.course else {
            continue;
        };
        let action = entry.batch_action();
        let target = &entry.operation.target;
        // Targets are shared: their address tells them apart.
        let write = entry.write(fields);
        let guarded = write.guard.is_some();
        let name = (Arc::as_ptr(target) as usize, action, guarded);
        let number = *by_name.entry(name).or_insert_with(|| {
            kinds.push(Kind {
                guarded,
                target: Arc::clone(target),
                action,
                lookups: Lookups::of(target, room.locks),
                places: Vec::new(),
                pieces: Vec::new(),
                writes: Vec::new(),
            });
            kinds.len() - 1
        });
        let Some(kind) = kinds.get_mut(number) else {
            continue;
        };
        kind.pieces.push(Piece {
            bytes: size(&write, target),
            locks: kind.lookups.of_entry(entry),
        });
        kind.places.push(index);
        kind.writes.push(Some(write));
    }
    let mut cuts = Vec::new();
    for mut kind in kinds {
        for members in parted(&kind.pieces, kind.guarded) {
            let locks = members.iter().filter_map(|m| kind.pieces.get(*m));
            let locks = locks
                .flat_map(|piece| piece.locks.iter().copied())
                .collect();
            let mut writes = Vec::with_capacity(members.len());
            let mut places = Vec::with_capacity(members.len());
            for member in members {
                let write = kind.writes.get_mut(member).and_then(Option::take);
                if let (Some(write), Some(place)) = (write, kind.places.get(member)) {
                    writes.push(write);
                    places.push(*place);
                }
            }
            let batch = Batch {
                target: Arc::clone(&kind.target),
                action: kind.action,
                writes,
            };
            cuts.push(Cut {
                batch,
                places,
                locks,
            });
        }
    }
    cuts
}

/// Bytes around the records of a request.
const ENVELOPE: usize = 64;

impl Write {
    /// Bytes that it takes as JSON, names included: never fewer than it really takes, as long as a
    /// record is written as an object with its type, its ids and its fields.
    pub fn size(&self, target: &Target) -> usize {
        let own = 96 + text(&target.object) + text(&target.key_field);
        let ids = text(&self.key) + self.crm_id.as_deref().map_or(0, text);
        let fields = self.fields.iter().map(|f| {
            let Some(field) = target.fields.get(usize::from(f.slot)) else {
                return 0;
            };
            let value = match &f.assignment {
                Assignment::Clear => 4,
                Assignment::Set(FieldValue::Bool(_)) => 5,
                Assignment::Set(
                    FieldValue::Number(s) | FieldValue::Text(s) | FieldValue::Reference(s),
                ) => text(s),
            };
            let nested = field.reference.as_ref().map_or(0, |parent| {
                48 + text(&parent.relationship)
                    + text(&parent.object_name)
                    + text(&parent.key_field)
            });
            2 + text(&field.name) + nested + value
        });
        own + ids + fields.sum::<usize>()
    }

    /// Bytes of its ids and values, and of what parts them.
    fn values(&self) -> usize {
        let fields = self.fields.iter().map(|f| match &f.assignment {
            Assignment::Set(value) => 1 + value.size(),
            Assignment::Clear => 5,
        });
        let id = self.crm_id.as_ref().map_or(0, |id| id.len());
        self.key.len() + id + fields.sum::<usize>()
    }
}

/// Bytes of a JSON string.
fn text(text: &str) -> usize {
    let bytes = text.as_bytes().iter();
    let escapes: usize = bytes
        .map(|b| usize::from(matches!(b, b'"' | b'\\')) + 5 * usize::from(*b < 0x20))
        .sum();
    2 + text.len() + escapes
}
