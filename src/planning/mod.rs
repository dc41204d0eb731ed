//! Windows, stages, batches: pure, no I/O.

mod batch;

pub use batch::{Batch, BatchAction, CrmId, Write};
