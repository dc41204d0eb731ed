//! Windows, stages, batches, decisions: pure, no I/O.
//!
//! ```text
//! operations ─► Window (merge) ─► plan (ledger, shelf) ─► brakes ─► stages ─► defer ─► judge (the CRM)
//!                                                                 ─► batches ─► lanes
//! ```
//!
//! A [`Window`] takes operations in commit order until it is full, and holds at most one a record.
//! [`plan()`] compares each with what the ledger and the shelf say of its record, and decides: send,
//! leave, shelve; [`defer()`] takes out what may not be sent now. What is sent is ordered into stages and
//! cut into batches.
//!
//! What holds, and is checked against a plain sequential model in `tests/planning.rs`:
//!
//! - Windows delivered one after the other leave every record as the changes in commit order would.
//! - *Absent* never erases; *clear* is a value.
//! - No record is written while a record that it refers to is missing, as far as the window can know;
//!   none is deleted before those of the window that refer to it.
//! - No set of records waits for itself, but for rows that exchanged their keys (`waits.rs`).
//! - None is deleted before its transaction is known whole, where the CRM could take along records that
//!   the rest of the transaction keeps.
//! - Of the batches of a stage, no two that lock a record in common are under way at once.
//! - A re-key shares its window with no other operation on either of its two external ids.
//! - The same changes cut at the same place make the same plan: a window that may have been sent can
//!   be sent again.

mod aside;
mod batch;
mod brake;
#[cfg(test)]
mod brake_tests;
mod codes;
mod conflict;
#[cfg(test)]
mod conflict_tests;
mod defer;
#[cfg(test)]
mod defer_tests;
#[cfg(test)]
mod drift_tests;
mod entry;
mod lanes;
mod locks;
mod merge;
mod objects;
mod pack;
mod plan;
mod re_key;
mod record;
mod sketch;
mod stages;
mod version;
mod waits;
#[cfg(test)]
mod waits_tests;
mod window;

pub use aside::{Aside, Asked, Found, Kept};
pub use batch::{Batch, BatchAction, Cut, Room, Write, cut, cut_for_jobs};
pub use brake::{Alarm, BrakeKind, Brakes, LEAST_SHARE};
pub use codes::{
    ADOPT_AMBIGUOUS, BRAKE_DELETES, BRAKE_WRITES, CONFLICT, TRANSACTION_OPEN, is_braked, is_drift,
    passes,
};
pub use conflict::{Answer, Base, Edit, Question, judge};
pub use defer::{Deferral, Leave, defer, doubtful, is_high_on_shelf, unsure};
pub use entry::{Course, Entry, Plan, Sent, States, aside, leave_to_crm, parents};
pub use lanes::Lanes;
pub use locks::Locks;
pub use merge::merge;
pub use objects::{High, Objects};
pub use plan::{decided, needed, ordered, plan, wait_for_commit};
pub use re_key::rekey_from;
pub use record::{
    Conflict, CrmId, Existence, LedgerEntry, Pending, PendingOperation, PendingTime, Reason,
    RecordState,
};
pub use version::{Origin, VERSION_LENGTH};
#[cfg(test)]
use window::still_rejected;
pub use window::{Bounds, Item, Pushed, Row, Window, WindowPage};
