//! Progress, durable.
//!
//! The traits are narrow; sled stands behind them, and an in-memory twin that passes the same
//! tests. All that one window changes is one [`Settlement`]: one atomic write, one flush. When
//! [`Store::settle`] returns, it is on the disk, not in a cache.
//!
//! ```text
//!             Settlement                          questions
//!                 │                                   │
//!   apply ────────┴── ledger (pages) ── shelf ────────┤      what it means, written once
//!                 │                                   │
//!              Changes                              Rows     rows of one sorted map
//!                 │                                   │
//!   sled:   owner thread ─► write ─► flush ─► fdatasync ─► mark ─► answer
//!   memory: a map, and the time a flush would take
//! ```
//!
//! Invariants:
//! - A settlement is in the map wholly or not at all, and is acknowledged only when it is on the
//!   disk. Progress never moves backwards.
//! - Counts (verdicts, the shelf by reason, ledger entries) and indexes change in the same atomic
//!   write as what they count; nothing is ever scanned to count it.
//! - No row is longer than 4096 bytes and no key longer than 256; longer values are cut.
//! - The first byte of a value is its format. A newer format is refused, never guessed at, and no
//!   bytes make decoding panic.
//! - The first error of a write is the last thing the store does.
//! - Progress means something only with the identity it is bound to; settling needs the binding.
//!
//! What no store can see for itself: that the whole directory was put back to an older state. The
//! caller compares [`Progress::checkpoint`] with the slot's `confirmed_flush_lsn`: as the slot is
//! told only what is durable, a checkpoint *behind* the slot proves that the store went back (or
//! that somebody else moved the slot).

mod apply;
mod bulk;
mod encoding;
#[cfg(test)]
mod format_tests;
mod keys;
mod ledger;
mod load;
mod memory;
mod page;
mod rows;
mod shelf;
mod sled;
mod spent;
mod values;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::capture::CatalogTable;
use crate::change::{Identity, Lsn, Position, Timestamp, Verdict};
use crate::fault::Result;
use crate::mapping::{Key, RecordId};
use crate::sinks::BoxFuture;
use crate::sinks::budget::Account;

pub use self::sled::{Opening, Options, SledStore, Stats, is_running, open, open_with};
pub use crate::planning::{
    Conflict, Existence, LedgerEntry, Pending, PendingOperation, PendingTime, Reason, RecordState,
};
pub use bulk::{BulkJob, BulkPage};
pub use load::{Job, JobKind, Load, Rowcount};
pub use memory::Memory;

/// What to do about a damaged state directory.
const DAMAGED: &str = "put back a copy of the state directory, or move it aside and start anew: \
                       Syncline then goes on from the slot; see docs/state.md";

/// How far everything has its verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// The durable LSN: the end of the last commit before which every change has its verdict, or an
    /// idle position after it.
    pub checkpoint: Lsn,
    /// The last change that has its verdict; may lie inside a transaction after the checkpoint.
    pub settled: Position,
}

/// The extent of a window about to be sent.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Intent {
    /// Its last change. It begins after [`Progress::settled`].
    pub until: Position,
    /// The records it took from the shelf (and not from the stream).
    pub shelf: Vec<RecordId>,
}

/// Verdicts by table. Deltas in a settlement, totals when read. [`Verdict::Pending`] falls when an
/// operation leaves the shelf; the others only grow.
pub type Verdicts = BTreeMap<(String, Verdict), i64>;

/// A version of a table's schema, by the position from which it held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SchemaVersion {
    /// From here on.
    pub from: Position,
    /// When the transaction committed with which it was noticed.
    pub at: Timestamp,
    /// The table.
    pub table: CatalogTable,
}

/// All that one step changes.
#[derive(Clone, Debug, Default)]
pub struct Settlement {
    /// New progress; never behind the old.
    pub progress: Progress,
    /// Ledger entries to put.
    pub ledger: Vec<(RecordId, LedgerEntry)>,
    /// Ledger entries to drop (the old external id of a re-keyed record).
    pub ledger_removed: Vec<RecordId>,
    /// Shelf entries to put.
    pub shelved: Vec<Pending>,
    /// Shelf entries to drop.
    pub unshelved: Vec<RecordId>,
    /// Verdicts, as deltas.
    pub verdicts: Verdicts,
    /// New schema versions.
    pub schemas: Vec<SchemaVersion>,
    /// How far the existing rows of these tables have been read.
    pub loads: Vec<Load>,
    /// The fields that mappings have used so far, where that has changed: object and field.
    pub fields: Option<Vec<(String, String)>>,
    /// What was used of the CRM's limit, where that has changed.
    pub spent: Option<Account>,
    /// By how many the fields grow that hold what people wrote instead of what the database has.
    pub kept_fields: i64,
    /// The intent that stands from now on. `None`: no window is about to be sent.
    pub intent: Option<Intent>,
    /// Bulk jobs that may be running from now on.
    pub jobs: Vec<BulkJob>,
    /// Bulk jobs that have ended, and that nobody wants to hear of any more, by their ids.
    pub jobs_ended: Vec<String>,
}

/// What is there when the process starts.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// None in a new store.
    pub identity: Option<Identity>,
    /// Progress.
    pub progress: Progress,
    /// A window that may have been sent, wholly or in part.
    pub intent: Option<Intent>,
}

/// Operations on the shelf by reason.
pub type ShelfCounts = BTreeMap<Reason, u64>;

/// Where to go on listing the shelf.
#[derive(Clone, Debug, Default)]
pub struct ShelfQuery {
    /// Only these.
    pub reason: Option<Reason>,
    /// Only after this record (records are listed in their order).
    pub after: Option<RecordId>,
    /// At most so many.
    pub limit: usize,
}

/// Progress and its binding.
pub trait Checkpoints {
    /// What is there.
    fn recover(&self) -> BoxFuture<'_, Result<Recovered>>;
    /// Binds an empty store to a source, with the progress it starts from. Refused when bound.
    fn bind(&self, identity: Identity, progress: Progress) -> BoxFuture<'_, Result<()>>;
    /// What was used of the CRM's limit, as last kept.
    fn spent(&self) -> BoxFuture<'_, Result<Option<Account>>>;
    /// All verdicts so far.
    fn verdicts(&self) -> BoxFuture<'_, Result<Verdicts>>;
}

/// What the CRM holds.
pub trait Ledger {
    /// The state of each record, in order.
    fn records<'a>(&'a self, records: &'a [RecordId]) -> BoxFuture<'a, Result<Vec<RecordState>>>;
    /// Ledger entries of one object after a key, in key order, at most `limit`.
    fn ledger_page<'a>(
        &'a self,
        object: crate::mapping::ObjectId,
        after: Option<Key>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(RecordId, LedgerEntry)>>>;
}

/// What the CRM still has to get.
pub trait Shelf {
    /// A page of the shelf.
    fn shelf(&self, query: ShelfQuery) -> BoxFuture<'_, Result<Vec<Pending>>>;
    /// Records that wait for `parent`, at most `limit`.
    fn waiting_for<'a>(
        &'a self,
        parent: &'a RecordId,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RecordId>>>;
    /// So many fields hold what people wrote instead of what the database has.
    fn kept_fields(&self) -> BoxFuture<'_, Result<u64>>;
    /// How many wait, by reason (entries without an operation are not counted).
    fn shelf_counts(&self) -> BoxFuture<'_, Result<ShelfCounts>>;
}

/// The schema history.
pub trait Schemas {
    /// The latest version of every table, by oid.
    fn schemas(&self) -> BoxFuture<'_, Result<Vec<SchemaVersion>>>;
    /// All versions of all tables, the oldest first.
    fn schema_history(&self) -> BoxFuture<'_, Result<Vec<SchemaVersion>>>;
}

/// Existing rows, and what the mapping has touched.
pub trait Loads {
    /// All tables of which something is known.
    fn loads(&self) -> BoxFuture<'_, Result<Vec<Load>>>;
    /// The fields that mappings have used so far: object and field.
    fn fields(&self) -> BoxFuture<'_, Result<Vec<(String, String)>>>;
}

/// Bulk jobs that may be running in the CRM.
pub trait BulkJobs {
    /// All of them, in the order of their ids.
    fn bulk_jobs(&self) -> BoxFuture<'_, Result<Vec<BulkJob>>>;
}

/// The whole store.
pub trait Store:
    Checkpoints + Ledger + Shelf + Schemas + Loads + BulkJobs + Send + Sync + 'static
{
    /// Makes a settlement durable: all of it or nothing. After an error the store takes nothing
    /// more, and the process has to end.
    fn settle(&self, settlement: Settlement) -> BoxFuture<'_, Result<()>>;
    /// Marks a clean end.
    fn close(&self) -> BoxFuture<'_, Result<()>>;
}
