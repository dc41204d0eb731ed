//! The gate before the CRM: what may be sent now, and how much at once.
//!
//! Two things close it: the budget of requests, and the WAL that the database keeps while the CRM is
//! slow or down. Whoever waits to send while it is closed gives up, and the records go to the shelf.
//!
//! While it is open, each object and kind of request has a door: as many requests as its [`Pace`]
//! allows are under way. A place is taken before the permit that all share, so that a slow object does
//! not keep the others from theirs.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, watch};

use super::budget::{Budget, Degree};
use super::pace::{Came, Made, Pace};
use crate::planning::{BatchAction, Leave};

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

/// What may be sent, and how much of it at once.
#[derive(Debug)]
pub struct Gate {
    budget: Budget,
    /// No more than this, whatever the budget says: nothing while the slot keeps too much WAL.
    most: watch::Sender<Leave>,
    records: usize,
    requests: usize,
    doors: Mutex<BTreeMap<Name, Arc<Door>>>,
}

/// An object, and what its requests do.
type Name = (Box<str>, &'static str);

impl Gate {
    /// With so many records a request and requests at once as the most of each door.
    pub(super) fn new(budget: Budget, records: usize, requests: usize) -> Self {
        Gate {
            budget,
            most: watch::Sender::new(Leave::All),
            records,
            requests: requests.clamp(1, Semaphore::MAX_PERMITS),
            doors: Mutex::default(),
        }
    }

    /// The same, within another budget.
    pub(super) fn within(self, budget: Budget) -> Self {
        Gate { budget, ..self }
    }

    /// The budget of requests.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// What may be sent now.
    pub fn leave(&self) -> Leave {
        match *self.most.borrow() {
            Leave::Nothing => Leave::Nothing,
            most => most.min(self.budget.leave()),
        }
    }

    /// No more than this may be sent from now on.
    pub fn hold(&self, most: Leave) {
        self.most.send_replace(most);
    }

    /// What was said last.
    pub fn held(&self) -> Leave {
        *self.most.borrow()
    }

    /// Waits until nothing may be sent.
    pub(super) async fn closed(&self) {
        let mut most = self.most.subscribe();
        let mut budget = self.budget.watch();
        tokio::select! {
            biased;
            // The senders are ours: they do not go away.
            _ = most.wait_for(|most| *most == Leave::Nothing) => {}
            _ = budget.wait_for(|degree| *degree == Degree::Stop) => {}
        }
    }

    /// Does something that can be dropped, unless nothing may be sent (any more).
    pub async fn unless_closed<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        // Asked for first: as time goes by it closes without a word.
        if self.leave() == Leave::Nothing {
            return None;
        }
        tokio::select! {
            biased;
            () = self.closed() => None,
            done = work => Some(done),
        }
    }

    /// Waits until the budget allows requests at all.
    pub(super) async fn affordable(&self) {
        loop {
            if self.budget.degree() != Degree::Stop {
                return;
            }
            // It opens as time goes by, too.
            let mut budget = self.budget.watch();
            tokio::select! {
                biased;
                _ = budget.wait_for(|degree| *degree != Degree::Stop) => {}
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    /// The door of an object's requests of this kind.
    pub(super) fn door(&self, object: &str, action: BatchAction) -> Arc<Door> {
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (object.into(), action.word());
        let door = doors.entry(name);
        Arc::clone(door.or_insert_with(|| Arc::new(Door::new(self.records, self.requests))))
    }

    /// Records that a request may have now, and requests that may be under way at once; `None` if there
    /// was none yet.
    pub(super) fn now(&self, object: &str, action: BatchAction) -> Option<(usize, usize)> {
        let doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        let door = doors.get(&(object.into(), action.word()))?.lock();
        Some((door.pace.records(), door.pace.requests()))
    }

    /// How the requests of each door go.
    pub(super) fn paces(&self) -> Vec<PaceReport> {
        let doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        let reports = doors.iter().map(|((object, kind), door)| {
            let inner = door.lock();
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

/// The door of one object and kind of request.
#[derive(Debug)]
pub(super) struct Door {
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

/// A place at a door. Dropped, it is free again.
#[derive(Debug)]
pub(super) struct Place<'a> {
    door: &'a Door,
    permit: Option<SemaphorePermit<'a>>,
    cut: u64,
    crowded: bool,
}

impl Door {
    fn new(records: usize, requests: usize) -> Self {
        Door {
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
            door: self,
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
        let mut inner = self.door.lock();
        inner.pace.came(made, came);
        self.door.fit(&mut inner);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut inner = self.door.lock();
        inner.taken = inner.taken.saturating_sub(1);
        if inner.places > inner.pace.requests()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
            inner.places -= 1;
        }
    }
}
