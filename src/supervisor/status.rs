//! How it goes, for those who ask: written by the loop, read by commands and the admin interface.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::change::{Lsn, Position, Timestamp, Verdict};
use crate::planning::{Reason, Window};
use crate::store::{Progress, Settlement, ShelfCounts, Verdicts};

/// What is known of the running process.
#[derive(Debug, Default)]
pub struct Status(Mutex<Snapshot>);

/// One look at it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Snapshot {
    /// The durable LSN.
    pub checkpoint: Lsn,
    /// The last change with a verdict.
    pub settled: Position,
    /// Windows sent since the start.
    pub windows: u64,
    /// Operations sent in them.
    pub operations: u64,
    /// Commit time of the oldest change in the window under way; none while nothing is.
    pub oldest_under_way: Option<Timestamp>,
    /// Verdicts by table, since the store was made.
    #[serde(serialize_with = "by_table")]
    pub verdicts: Verdicts,
    /// What is on the shelf, by reason.
    pub shelf: ShelfCounts,
    /// Something may be on the shelf.
    #[serde(skip)]
    shelf_in_use: bool,
}

fn by_table<S: serde::Serializer>(verdicts: &Verdicts, serializer: S) -> Result<S::Ok, S::Error> {
    let mut tables: BTreeMap<&str, BTreeMap<&str, i64>> = BTreeMap::new();
    for ((table, verdict), count) in verdicts {
        tables
            .entry(table)
            .or_default()
            .insert(verdict.word(), *count);
    }
    tables.serialize(serializer)
}

impl Snapshot {
    /// All changes with this verdict.
    pub fn total(&self, verdict: Verdict) -> i64 {
        self.verdicts
            .iter()
            .filter(|((_, v), _)| *v == verdict)
            .map(|(_, n)| n)
            .sum()
    }
}

impl Status {
    /// From what the store holds.
    pub fn new(progress: Progress, verdicts: Verdicts, shelf: ShelfCounts, in_use: bool) -> Self {
        Status(Mutex::new(Snapshot {
            checkpoint: progress.checkpoint,
            settled: progress.settled,
            verdicts,
            shelf,
            shelf_in_use: in_use,
            ..Snapshot::default()
        }))
    }

    /// How it goes now.
    pub fn snapshot(&self) -> Snapshot {
        self.lock().clone()
    }

    pub(super) fn shelf_in_use(&self) -> bool {
        self.lock().shelf_in_use
    }

    /// A window is about to be sent.
    pub(super) fn window(&self, window: &Window, oldest: Option<Timestamp>) {
        let mut inner = self.lock();
        if !window.is_quiet() {
            inner.windows += 1;
            inner.operations += window.items.len() as u64;
        }
        inner.oldest_under_way = oldest;
    }

    /// A settlement is about to be made durable.
    pub(super) fn settled(&self, settlement: &Settlement) {
        let mut inner = self.lock();
        inner.checkpoint = settlement.progress.checkpoint;
        inner.settled = settlement.progress.settled;
        if settlement.intent.is_none() {
            // No window follows it: nothing is under way.
            inner.oldest_under_way = None;
        }
        inner.shelf_in_use |= !settlement.shelved.is_empty();
        for (key, count) in &settlement.verdicts {
            *inner.verdicts.entry(key.clone()).or_default() += count;
        }
    }

    /// What the shelf holds now.
    pub(super) fn shelf(&self, counts: ShelfCounts, in_use: bool) {
        let mut inner = self.lock();
        inner.shelf = counts;
        inner.shelf_in_use = in_use;
    }

    /// Operations on the shelf for this reason.
    pub fn on_shelf(&self, reason: Reason) -> u64 {
        self.lock().shelf.get(&reason).copied().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        // A panic elsewhere leaves counters, not broken state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
