//! What every part of a flight works with.

use std::sync::Arc;

use super::clocks::Clocks;
use super::guard::Guard;
use super::old_jobs::OldJobs;
use super::settle::Fate;
use crate::fault::{Error, ErrorKind, Fault};
use crate::planning::{Objects, Origin};
use crate::sinks::Delivery;
use crate::sinks::salesforce::advice;
use crate::store::Store;

/// What a flight works with.
#[derive(Clone)]
pub struct Crew {
    /// Where progress is kept.
    pub store: Arc<dyn Store>,
    /// The way to the CRM.
    pub delivery: Arc<Delivery>,
    /// The objects of the mapping.
    pub objects: Arc<Objects>,
    /// The clocks of both sides.
    pub clocks: Arc<Clocks>,
    /// The database that positions are of.
    pub origin: Origin,
    /// Holds what is too much.
    pub guard: Arc<Guard>,
    /// Bulk jobs of an earlier life.
    pub old_jobs: OldJobs,
}

pub(super) fn set(fates: &mut [Fate], index: usize, fate: Fate) {
    if let Some(place) = fates.get_mut(index) {
        *place = fate;
    }
}

/// Delivery stops: every write would fail until a person acts.
pub(super) fn stopped(fault: Fault) -> Error {
    let what = format!("the CRM refuses every write: {fault}");
    let advice = advice(&fault).unwrap_or("Run `syncline check`, and mend what it names.");
    Error::new(ErrorKind::DestinationRefused, what)
        .remedy(format!("{advice} Then start again: nothing is lost"))
}
