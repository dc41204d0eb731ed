//! The paces of all objects and kinds of requests, and who may go.
//!
//! Each has a gate: as many requests as its [`Pace`] allows are under way. A place is taken before
//! the permit that all share, so that a slow object does not keep the others from theirs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::pace::{Came, Made, Pace};
use crate::planning::BatchAction;

/// How an object's requests go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PaceReport {
    /// The object.
    pub object: String,
    /// What its requests do.
    pub kind: &'static str,
    /// Records a request may have now.
    pub records: usize,
    /// Requests that may be under way at once now.
    pub requests: usize,
    /// Median of the last answers' times.
    pub median: Option<Duration>,
    /// Records that were locked, each time that they were.
    pub locked: u64,
}

/// All gates.
#[derive(Debug)]
pub(super) struct Gates {
    records: usize,
    requests: usize,
    all: Mutex<BTreeMap<Name, Arc<Gate>>>,
}

/// An object, and what its requests do.
type Name = (Box<str>, &'static str);

impl Gates {
    /// With these as the most of each.
    pub(super) fn new(records: usize, requests: usize) -> Self {
        Gates {
            records,
            requests: requests.clamp(1, Semaphore::MAX_PERMITS),
            all: Mutex::default(),
        }
    }

    pub(super) fn of(&self, object: &str, action: BatchAction) -> Arc<Gate> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (object.into(), word(action));
        let gate = all.entry(name);
        Arc::clone(gate.or_insert_with(|| Arc::new(Gate::new(self.records, self.requests))))
    }

    /// Records that a request may have now, and requests that may be under way at once; `None` if there
    /// was none yet.
    pub(super) fn now(&self, object: &str, action: BatchAction) -> Option<(usize, usize)> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = all.get(&(object.into(), word(action)))?.lock();
        Some((gate.pace.records(), gate.pace.requests()))
    }

    pub(super) fn report(&self) -> Vec<PaceReport> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let reports = all.iter().map(|((object, kind), gate)| {
            let inner = gate.lock();
            PaceReport {
                object: object.to_string(),
                kind,
                records: inner.pace.records(),
                requests: inner.pace.requests(),
                median: inner.pace.median(),
                locked: inner.locked,
            }
        });
        reports.collect()
    }
}

fn word(action: BatchAction) -> &'static str {
    match action {
        BatchAction::Upsert => "upsert",
        BatchAction::Update => "update",
        BatchAction::Delete { hard: false } => "delete",
        BatchAction::Delete { hard: true } => "hard delete",
    }
}

/// The gate of one object and kind of request.
#[derive(Debug)]
pub(super) struct Gate {
    places: Semaphore,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    pace: Pace,
    /// Places there are, taken ones with them.
    places: usize,
    taken: usize,
    locked: u64,
}

/// A place in the gate. Dropped, it is free again.
#[derive(Debug)]
pub(super) struct Place<'a> {
    gate: &'a Gate,
    permit: Option<SemaphorePermit<'a>>,
    cut: u64,
    crowded: bool,
}

impl Gate {
    fn new(records: usize, requests: usize) -> Self {
        Gate {
            places: Semaphore::new(requests),
            inner: Mutex::new(Inner {
                pace: Pace::new(records, requests),
                places: requests,
                taken: 0,
                locked: 0,
            }),
        }
    }

    /// Records that a request may have.
    pub(super) fn records(&self) -> usize {
        self.lock().pace.records()
    }

    /// These were locked.
    pub(super) fn locked(&self, records: usize) {
        self.lock().locked += records as u64;
    }

    /// Waits for a place, first come, first served.
    pub(super) async fn enter(&self) -> Place<'_> {
        // Only closed semaphores refuse, and nobody closes this one.
        let permit = self.places.acquire().await.ok();
        let mut inner = self.lock();
        inner.taken += 1;
        Place {
            gate: self,
            permit,
            cut: inner.pace.cut(),
            crowded: inner.taken >= inner.pace.requests(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As many places as the pace allows. Those taken that are too many go when they are free.
    fn fit(&self, inner: &mut Inner) {
        let wanted = inner.pace.requests();
        if inner.places < wanted {
            self.places.add_permits(wanted - inner.places);
            inner.places = wanted;
        } else if inner.places > wanted {
            inner.places -= self.places.forget_permits(inner.places - wanted);
        }
    }
}

impl Place<'_> {
    /// What came of the request of so many records.
    pub(super) fn came(&self, records: usize, came: Came) {
        let made = Made {
            cut: self.cut,
            crowded: self.crowded,
            records,
        };
        let mut inner = self.gate.lock();
        inner.pace.came(made, came);
        self.gate.fit(&mut inner);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut inner = self.gate.lock();
        inner.taken = inner.taken.saturating_sub(1);
        if inner.places > inner.pace.requests()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
            inner.places -= 1;
        }
    }
}
