//! Which rows of a page the stream already knows better.
//!
//! A page is read in one snapshot and takes its place in the stream at its watermark, which is
//! written after the read. Everything that the snapshot saw has been streamed before the watermark,
//! since what a snapshot sees has committed. So at the watermark a row of the page is as it was read,
//! unless a transaction that the snapshot did *not* see has been streamed before it. There are two
//! ways for that:
//!
//! - it committed between the read and the watermark;
//! - its commit record was written before the read, but it became visible after it: with synchronous
//!   replication a commit is streamed while it still waits for its standby, for as long as that takes.
//!
//! The snapshot names what it did not see, so both are told from everything else, whatever the order
//! in which things became visible. To know which rows such transactions touched, every change of the
//! table is noted while its rows are read, by transaction, and forgotten once a snapshot has seen it.

use std::collections::VecDeque;

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::capture::Snapshot;
use crate::mapping::{Action, Key, ObjectId, Operation};

/// Most touches that are kept; a page is read again when there were more.
const MOST: usize = 200_000;

/// What streamed transactions did to one object's records, as far as a page may not have seen it.
#[derive(Debug)]
pub struct Tracking {
    object: ObjectId,
    transactions: VecDeque<Transaction>,
    kept: usize,
    /// Something was not kept: the next page is of no use.
    lost: bool,
}

#[derive(Debug)]
struct Transaction {
    xid: u32,
    touches: Vec<(Key, Touch)>,
    /// It gave a record another key and left fields absent: those would have to be looked for under
    /// the old key.
    moved: bool,
}

/// What a change says of a record.
#[derive(Clone, Debug)]
enum Touch {
    /// All there is to say.
    Whole,
    /// Something of these fields (by slot), and nothing of the others: unchanged TOAST.
    Fields(SmallVec<[u16; 8]>),
}

/// What a page must not say.
#[derive(Debug, Default)]
pub struct Overlay(HashMap<Key, Touch>);

/// Why a page cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unusable {
    /// It has to be read again.
    Again,
    /// Not everything was noted: the backfill has to open anew, then read it again.
    Lost,
}

impl Tracking {
    /// Nothing noted yet.
    pub fn new(object: ObjectId) -> Self {
        Tracking {
            object,
            transactions: VecDeque::new(),
            kept: 0,
            lost: false,
        }
    }

    /// Notes a change. `partial`: it left out fields that the row has.
    pub fn note(&mut self, operation: &Operation, partial: bool) {
        if operation.target.id != self.object || self.lost {
            return;
        }
        if self.kept >= MOST {
            self.transactions.clear();
            (self.kept, self.lost) = (0, true);
            return;
        }
        let xid = operation.xid;
        if self.transactions.back().is_none_or(|t| t.xid != xid) {
            self.transactions.push_back(Transaction {
                xid,
                touches: Vec::new(),
                moved: false,
            });
        }
        let Some(transaction) = self.transactions.back_mut() else {
            return;
        };
        let touch = match operation.action {
            Action::Upsert if partial => {
                Touch::Fields(operation.fields.iter().map(|f| f.slot).collect())
            }
            _ => Touch::Whole,
        };
        if let Action::ReKey { from } = &operation.action {
            transaction.moved |= partial;
            transaction.touches.push((from.clone(), Touch::Whole));
            self.kept += 1;
        }
        transaction.touches.push((operation.key.clone(), touch));
        self.kept += 1;
    }

    /// What a page with this snapshot must not say. What the snapshot has seen is forgotten.
    pub fn overlay(&mut self, snapshot: &Snapshot) -> Result<Overlay, Unusable> {
        self.transactions.retain(|t| !snapshot.sees(t.xid));
        self.kept = self.transactions.iter().map(|t| t.touches.len()).sum();
        if self.lost {
            return Err(Unusable::Lost);
        }
        if self.transactions.iter().any(|t| t.moved) {
            return Err(Unusable::Again);
        }
        let mut overlay: HashMap<Key, Touch> = HashMap::new();
        for (key, touch) in self.transactions.iter().flat_map(|t| &t.touches) {
            let known = overlay.entry(key.clone()).or_insert_with(|| touch.clone());
            match (&mut *known, touch) {
                (Touch::Fields(known), Touch::Fields(more)) => known.extend_from_slice(more),
                (known, Touch::Whole) => *known = Touch::Whole,
                (Touch::Whole, _) => {}
            }
        }
        Ok(Overlay(overlay))
    }
}

impl Overlay {
    /// What is left of a row's operation; `None` when the stream has said it all.
    pub fn apply(&self, mut operation: Operation) -> Option<Operation> {
        match self.0.get(&operation.key) {
            None => Some(operation),
            Some(Touch::Whole) => None,
            Some(Touch::Fields(slots)) => {
                let fields = std::sync::Arc::make_mut(&mut operation.fields);
                fields.retain(|f| !slots.contains(&f.slot));
                (!fields.is_empty()).then_some(operation)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;
    use crate::change::{Position, Timestamp};
    use crate::mapping::{Assigned, Assignment, Removal, Target};

    fn operation(xid: u32, key: &str, action: Action, slots: &[u16]) -> Operation {
        let target = Target {
            id: ObjectId(1),
            table: "t".into(),
            object: "T".into(),
            key_field: "K".into(),
            removal: Removal::Ignore,
            on_crm_delete: crate::config::OnCrmDelete::default(),
            creation: crate::mapping::Creation::default(),
            halted: None,
            fields: Vec::new(),
            version: None,
        };
        Operation {
            target: Arc::new(target),
            key: key.into(),
            action,
            fields: Arc::new(
                slots
                    .iter()
                    .map(|slot| Assigned {
                        slot: *slot,
                        assignment: Assignment::Clear,
                    })
                    .collect(),
            ),
            position: Position::default(),
            commit_time: Timestamp(0),
            xid,
            changed: Vec::new(),
        }
    }

    fn snapshot(xmax: u64, running: &[u64]) -> Snapshot {
        Snapshot {
            xmin: running.first().copied().unwrap_or(xmax),
            xmax,
            running: running.to_vec(),
        }
    }

    fn left(overlay: &Overlay, key: &str) -> Option<Vec<u16>> {
        let row = operation(0, key, Action::Upsert, &[0, 1, 2]);
        let left = overlay.apply(row)?;
        Some(left.fields.iter().map(|f| f.slot).collect())
    }

    #[test]
    fn only_what_the_snapshot_did_not_see_overtakes_the_page() {
        let mut tracking = Tracking::new(ObjectId(1));
        for (xid, key) in [
            (10, "seen"),
            (11, "not yet visible"),
            (14, "after the read"),
        ] {
            tracking.note(&operation(xid, key, Action::Upsert, &[0, 1, 2]), false);
        }
        let overlay = tracking.overlay(&snapshot(13, &[11])).unwrap();
        assert_eq!(left(&overlay, "seen"), Some(vec![0, 1, 2]));
        assert_eq!(left(&overlay, "not yet visible"), None);
        assert_eq!(left(&overlay, "after the read"), None);
        let overlay = tracking.overlay(&snapshot(13, &[11])).unwrap();
        assert_eq!(left(&overlay, "not yet visible"), None, "still not");
        let overlay = tracking.overlay(&snapshot(20, &[])).unwrap();
        assert_eq!(left(&overlay, "not yet visible"), Some(vec![0, 1, 2]));
        assert!(tracking.transactions.is_empty());
    }

    #[test]
    fn a_page_fills_what_the_stream_left_out() {
        let mut tracking = Tracking::new(ObjectId(1));
        tracking.note(&operation(10, "a", Action::Upsert, &[0]), true);
        tracking.note(&operation(11, "a", Action::Upsert, &[0, 2]), true);
        tracking.note(&operation(12, "b", Action::Upsert, &[0]), true);
        tracking.note(
            &operation(13, "b", Action::Delete { hard: false }, &[]),
            false,
        );
        let overlay = tracking.overlay(&snapshot(9, &[])).unwrap();
        assert_eq!(left(&overlay, "a"), Some(vec![1]));
        assert_eq!(left(&overlay, "b"), None);
    }

    #[test]
    fn a_moved_row_with_fields_left_out_spoils_the_page() {
        let mut tracking = Tracking::new(ObjectId(1));
        let moved = Action::ReKey { from: "a".into() };
        tracking.note(&operation(10, "b", moved.clone(), &[0, 1, 2]), false);
        let overlay = tracking.overlay(&snapshot(9, &[])).unwrap();
        assert_eq!((left(&overlay, "a"), left(&overlay, "b")), (None, None));
        tracking.note(&operation(11, "c", moved, &[0]), true);
        let unusable = tracking.overlay(&snapshot(9, &[])).unwrap_err();
        assert_eq!(unusable, Unusable::Again);
        assert!(tracking.overlay(&snapshot(12, &[])).is_ok());
    }

    #[test]
    fn too_many_changes_spoil_the_page_and_no_memory() {
        let mut tracking = Tracking::new(ObjectId(1));
        for number in 0..=MOST {
            tracking.note(
                &operation(10, &number.to_string(), Action::Upsert, &[]),
                false,
            );
        }
        assert_eq!(tracking.kept, 0);
        let unusable = tracking.overlay(&snapshot(9, &[])).unwrap_err();
        assert_eq!(unusable, Unusable::Lost);
    }
}
