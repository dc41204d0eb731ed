//! Windows, stages, batches, decisions: pure, no I/O.
//!
//! ```text
//! operations ─► Window (merge) ─► plan (ledger, shelf) ─► stages ─► batches
//! ```
//!
//! A [`Window`] takes operations in commit order until it is full, and holds at most one a record.
//! [`plan()`] compares each with what the ledger and the shelf say of its record, and decides: send,
//! leave, shelve; [`defer()`] takes out what may not be sent now. What is sent is ordered into stages and cut into batches.
//!
//! What holds, and is checked against a plain sequential model in `tests/planning.rs`:
//!
//! - Windows delivered one after the other leave every record as the changes in commit order would.
//! - *Absent* never erases; *clear* is a value.
//! - No record is written while a record that it refers to is missing, as far as the window can know;
//!   none is deleted before those of the window that refer to it.
//! - No set of records waits for itself, but for rows that exchanged their keys (`waits.rs`).
//! - A re-key shares its window with no other operation on either of its two external ids.
//! - The same changes cut at the same place make the same plan: a window that may have been sent can
//!   be sent again.

mod batch;
mod defer;
#[cfg(test)]
mod defer_tests;
#[cfg(test)]
mod drift_tests;
mod entry;
mod merge;
mod objects;
mod plan;
mod re_key;
mod record;
mod stages;
mod waits;
#[cfg(test)]
mod waits_tests;
mod window;

pub use batch::{Batch, BatchAction, CrmId, Write, cut};
pub use defer::{Deferral, Leave, defer, doubtful, is_high_on_shelf};
pub use entry::{Course, Entry, Plan, States, is_drift, parents};
pub use merge::merge;
pub use objects::{High, Objects};
pub use plan::{needed, plan};
pub use re_key::rekey_from;
pub use record::{Existence, LedgerEntry, Pending, PendingOperation, Reason, RecordState};
#[cfg(test)]
use window::still_rejected;
pub use window::{Bounds, Item, Pushed, Row, Window, WindowPage};
