//! Windows, stages, batches: pure, no I/O.

mod batch;
mod record;

pub use batch::{Batch, BatchAction, CrmId, Write};
pub use record::{Existence, LedgerEntry, Pending, PendingOperation, Reason, RecordState};
