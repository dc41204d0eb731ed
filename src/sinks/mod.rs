//! Writing to the CRM: one outcome a record, always.
//!
//! A [`Sink`] makes *one attempt*: it knows the CRM's wire format and classes its errors. Retry,
//! limiter, concurrency and circuit breaker are the same for every CRM and stand around it in
//! `deliver`. A sink never drops a record: what it was given, it answers for, in order.
//!
//! ```text
//! supervisor ─► deliver ─► gate ─► breaker ─► limiter ─► permit ─► Sink::write ─► CRM
//!                 ▲     (waits, holding nothing, between attempts)         │
//!                 ├── retry: what to send again, how, and when ◄───────────┤
//!                 ├── pace: how much at once, for each object ◄────────────┤
//!                 └── budget: the CRM's daily limit ◄──────────────────────┘
//! ```
//!
//! While the gate is closed nothing is sent: what waits to be sent is given up, and the supervisor
//! defers it.

mod breaker;
pub mod budget;
pub mod bulk;
mod deliver;
mod discard;
mod gate;
mod limiter;
mod pace;
mod retry;
pub mod salesforce;

use std::future::Future;
use std::pin::Pin;

use crate::fault::Fault;
use crate::mapping::{FieldSpec, Key, ObjectDescription, Target};
use crate::planning::{Batch, CrmId};

pub use breaker::BreakerState;
pub use deliver::{Delivery, Health, Settings};
pub use discard::Discard;
pub use gate::{Gate, PaceReport};

/// A future on the heap: sinks and stores are used as trait objects, once a batch.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What became of one record of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is written.
    Written {
        /// The CRM's id of the record.
        crm_id: Option<CrmId>,
        /// It did not exist before.
        created: bool,
    },
    /// There was nothing to delete or to change.
    Absent,
    /// It is not written.
    Refused(Fault),
    /// It was given up for now: nothing may be sent (see [`Gate`]). A sink never says so.
    Deferred {
        /// It may have been written all the same.
        doubt: bool,
    },
}

/// What one request of this CRM can carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Records.
    pub records: usize,
    /// Bytes of its body.
    pub bytes: usize,
}

/// One record as the CRM has it: the asked fields, as JSON, in the asked order.
#[derive(Clone, PartialEq, Debug)]
pub struct CrmRecord {
    /// The CRM's id.
    pub crm_id: CrmId,
    /// One value a field asked for.
    pub values: Vec<serde_json::Value>,
}

/// Requests of a day, of all clients together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DailyUse {
    /// Used in the last 24 hours.
    pub used: u64,
    /// The limit.
    pub max: u64,
}

/// What a sink has cost so far.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Requests sent since the start, by kind.
    pub calls: Vec<(&'static str, u64)>,
    /// Requests sent since the start that count against the limit.
    pub counted: u64,
    /// What the CRM last said of its daily limit, if it has one.
    pub daily: Option<DailyUse>,
    /// The same, with what of ours it counts.
    pub heard: Option<budget::Heard>,
}

/// A CRM.
pub trait Sink: Send + Sync + 'static {
    /// What one request can carry.
    fn limits(&self) -> Limits;

    /// The named objects as our user sees them, `None` for one that does not exist or is hidden.
    fn describe<'a>(
        &'a self,
        objects: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Option<ObjectDescription>>, Fault>>;

    /// The records with these external ids, one answer a key, in their order. Fields of lookups are
    /// read as the parent's external id.
    fn read<'a>(
        &'a self,
        target: &'a Target,
        keys: &'a [Key],
        fields: &'a [u16],
    ) -> BoxFuture<'a, Result<Vec<Option<CrmRecord>>, Fault>>;

    /// One attempt to write a batch. `Ok` holds one outcome a record, in the batch's order; `Err` is
    /// about the request as a whole, of which nothing (or, for [`crate::fault::Class::Unknown`], an
    /// unknown part) was written.
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Vec<Outcome>, Fault>>;

    /// Takes records back out of the CRM's recycle bin, with what went there with them: one outcome an
    /// id, in their order. *Absent*: it is not in the bin (any more), or the CRM has none.
    fn undelete<'a>(&'a self, ids: &'a [CrmId]) -> BoxFuture<'a, Result<Vec<Outcome>, Fault>> {
        Box::pin(async move { Ok(vec![Outcome::Absent; ids.len()]) })
    }

    /// Makes the fields that `object` lacks, visible and writable for our user: one answer a spec, in
    /// their order. Looks first whether there is room, and makes either all or none. A field that is
    /// there already and can hold what the spec says counts as made: called again after a crash it
    /// completes what it finds.
    ///
    /// The faults inside concern their field, and stop nothing else; `Err` is about the attempt.
    fn create_fields<'a>(
        &'a self,
        object: &'a str,
        specs: &'a [FieldSpec],
    ) -> BoxFuture<'a, Result<Vec<Result<(), Fault>>, Fault>>;

    /// The cheapest request: whether the CRM answers, and what it says of its limit.
    fn look(&self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async { Ok(()) })
    }

    /// Its jobs, if it takes any.
    fn bulk(&self) -> Option<&dyn bulk::Bulk> {
        None
    }

    /// Whether the CRM locks records of this object while records that refer to them are written, so
    /// that two requests with children of one parent stand in each other's way.
    fn locks_parents(&self, _object: &str) -> bool {
        true
    }

    /// What it has cost so far.
    fn usage(&self) -> Usage {
        Usage::default()
    }
}

/// Whether a refusal tells that the CRM has more to do than it can: fewer and smaller requests help.
fn is_load(fault: &Fault) -> bool {
    salesforce::is_load(fault)
}

/// Whether a refusal may mean that the CRM's objects, fields or our rights have changed since they
/// were described: a reason to describe them anew.
pub fn hints_at_schema(fault: &Fault) -> bool {
    salesforce::hints_at_schema(fault)
}

/// Whether the fault says that the CRM's daily limit is used up.
pub(crate) fn is_used_up(fault: &Fault) -> bool {
    salesforce::is_used_up(fault)
}

/// Whether the fault says that another record is in the way, which may be gone once others have been
/// written: a unique value, a child.
pub fn is_in_the_way(fault: &Fault) -> bool {
    salesforce::is_in_the_way(fault)
}
