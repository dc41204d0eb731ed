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

use crate::change::Timestamp;
use crate::clock::Lead;
use crate::fault::Fault;
use crate::mapping::{Assignment, FieldSpec, Key, ObjectDescription, Target};
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
    /// Somebody has changed the record since it was looked at: it is not written.
    Overtaken,
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
    /// Records that are each written only if nobody has changed them.
    pub guarded: usize,
    /// Bytes of its body.
    pub bytes: usize,
}

/// One record as the CRM has it: the asked fields, in the asked order.
#[derive(Clone, PartialEq, Debug)]
pub struct CrmRecord {
    /// The CRM's id.
    pub crm_id: CrmId,
    /// What each field asked for holds, in the form in which we write it.
    pub values: Vec<Assignment>,
    /// When anything last happened to it, on the CRM's clock; see [`crate::planning::Write::guard`].
    pub stamp: Option<Timestamp>,
    /// When it was last changed, on the CRM's clock, as exactly as that tells; none where the CRM does
    /// not say.
    pub modified: Option<Timestamp>,
    /// Nobody but us has ever changed it.
    pub untouched: bool,
}

/// Which records are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Named<'a> {
    /// By external id.
    Keys(&'a [Key]),
    /// By the CRM's id.
    Ids(&'a [CrmId]),
}

impl<'a> Named<'a> {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Named::Keys(keys) => keys.len(),
            Named::Ids(ids) => ids.len(),
        }
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first `at`, and the others.
    pub fn split_at(&self, at: usize) -> (Self, Self) {
        match self {
            Named::Keys(keys) => {
                let (front, back) = keys.split_at(at.min(keys.len()));
                (Named::Keys(front), Named::Keys(back))
            }
            Named::Ids(ids) => {
                let (front, back) = ids.split_at(at.min(ids.len()));
                (Named::Ids(front), Named::Ids(back))
            }
        }
    }
}

/// What is asked of the history of fields.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryQuery {
    /// The records.
    pub ids: Vec<CrmId>,
    /// The fields, by their slots.
    pub fields: Vec<u16>,
    /// Changes of ours before this are of no interest.
    pub since: Timestamp,
}

/// A change of a field, as the CRM's history has it.
#[derive(Clone, PartialEq, Debug)]
pub struct HistoryRow {
    /// The record.
    pub crm_id: CrmId,
    /// The field's slot.
    pub slot: u16,
    /// When, on the CRM's clock.
    pub at: Timestamp,
    /// It was ours.
    pub by_us: bool,
    /// What it got, as JSON; cut, or null, where the history does not keep it.
    pub value: Box<str>,
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

    /// These records, one answer each, in their order. Fields of lookups are read as the parent's
    /// external id.
    fn read<'a>(
        &'a self,
        target: &'a Target,
        records: Named<'a>,
        fields: &'a [u16],
    ) -> BoxFuture<'a, Result<Vec<Option<CrmRecord>>, Fault>>;

    /// The records that have no external id and one of these texts in a field, whatever their case: what
    /// the field holds, and the record's id.
    fn unkeyed<'a>(
        &'a self,
        target: &'a Target,
        slot: u16,
        texts: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<(String, CrmId)>, Fault>> {
        let _ = (target, slot, texts);
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Who changed these fields, and when: the newest change of a field first, at least down to the
    /// newest one by somebody else and to the time asked for. Empty where the CRM keeps no history.
    fn history<'a>(
        &'a self,
        target: &'a Target,
        query: &'a HistoryQuery,
    ) -> BoxFuture<'a, Result<Vec<HistoryRow>, Fault>> {
        let _ = (target, query);
        Box::pin(async { Ok(Vec::new()) })
    }

    /// How far the CRM's clock is ahead of ours.
    fn lead(&self) -> Option<Lead> {
        None
    }

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
