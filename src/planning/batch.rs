//! What travels in one request.

use std::sync::Arc;

use compact_str::CompactString;

use crate::mapping::{Assigned, Key, Target};

/// The CRM's own id of a record.
pub type CrmId = CompactString;

/// What a batch does to its records.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BatchAction {
    /// Creates or changes, by external id.
    Upsert,
    /// Changes what is there and never creates: archives and re-keys. The sink finds the record by
    /// its CRM id where the write has one, else by its external id (for a re-key: the old one).
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
    pub fields: Vec<Assigned>,
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
