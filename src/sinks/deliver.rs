//! Getting a batch to the CRM, whatever it takes.
//!
//! The one engine for every sink: writes, reads and descriptions go through [`Delivery::attempt`],
//! which waits for the circuit breaker, takes a token of the limiter, then a permit, and makes one
//! attempt. A write first takes a place at its object's door, and has as many records as the pace
//! allows then; what is over follows. Between attempts nothing is held, and what waits is given up when
//! the gate closes. What an attempt's result means for the records stands in `retry`.
//!
//! Invariants: one outcome a record, in the batch's order; `Err` only for what stops delivery.
//! Dropping a future at any point leaves permits, breaker and counters sound (the records may have
//! been written: they are sent again). Time is tokio's and chance is seeded: a run under paused time
//! repeats itself.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

use super::breaker::{Breaker, BreakerState, Pass};
use super::budget::Budget;
use super::bulk::{self, Jobs};
use super::gate::{Door, Gate, PaceReport, Place};
use super::limiter::Limiter;
use super::pace::Came;
use super::retry::{Next, Part, Tries};
use super::{Limits, Named, Outcome, Sink, Usage, is_load, is_used_up};
use crate::backoff::Backoff;
use crate::config::Destination;
use crate::fault::{Class, Fault};
use crate::mapping::Key;
use crate::planning::Batch;

/// Leave to make one attempt.
struct Entered<'a> {
    pass: Pass<'a>,
    permit: SemaphorePermit<'a>,
}

/// How to deliver.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most requests that may be under way at once; at least one.
    pub concurrency: usize,
    /// Requests a second, retries included; 0 for no limit.
    pub requests_per_second: u32,
    /// Tries for a record whose failure may pass, before it becomes a dead letter.
    pub record_tries: u32,
    /// Tries for a record that is locked, before it becomes a dead letter.
    pub lock_tries: u32,
    /// Times in a row that a request may go unanswered before it is split, to find out whether one
    /// of its records is the cause. A record alone that still goes unanswered becomes a dead letter
    /// only if the CRM works otherwise.
    pub unknown_tries: u32,
    /// Delays between attempts.
    pub backoff: Backoff,
    /// Delays before a locked record is tried again; none is shorter than the base.
    pub lock_backoff: Backoff,
    /// Failures of the CRM in a row that open the circuit breaker.
    pub breaker_threshold: u32,
    /// When to use jobs.
    pub bulk: bulk::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            concurrency: 4,
            requests_per_second: 20,
            record_tries: 5,
            lock_tries: 12,
            unknown_tries: 10,
            backoff: Backoff {
                base: Duration::from_millis(500),
                cap: Duration::from_secs(30),
            },
            lock_backoff: Backoff {
                base: Duration::from_millis(100),
                cap: Duration::from_secs(5),
            },
            breaker_threshold: 5,
            bulk: bulk::Settings::default(),
        }
    }
}

impl From<&Destination> for Settings {
    fn from(config: &Destination) -> Self {
        Settings {
            concurrency: config.concurrency,
            requests_per_second: config.requests_per_second,
            record_tries: config.record_tries,
            lock_tries: config.lock_tries,
            ..Settings::default()
        }
    }
}

/// How delivery is doing.
#[derive(Clone, Debug)]
pub struct Health {
    /// The circuit breaker.
    pub breaker: BreakerState,
    /// Time since the CRM first failed to take a request, if none was taken since.
    pub failing_for: Option<Duration>,
    /// Code and class of the last fault of a request as a whole, if none was taken since.
    pub last_fault: Option<(String, Class)>,
    /// Attempts since the start.
    pub attempts: u64,
    /// Those of them that repeated an earlier one, wholly or in part.
    pub retries: u64,
    /// The pace of each object and kind of request.
    pub pace: Vec<PaceReport>,
    /// What the sink has cost.
    pub usage: Usage,
}

/// Delivers to one CRM. Shared by all who write to it.
pub struct Delivery {
    pub(super) sink: Arc<dyn Sink>,
    /// Requests that may be under way at once.
    pub(super) lanes: usize,
    /// Requests a second; 0 for no limit.
    pub(super) per_second: u32,
    pub(super) jobs: Jobs,
    tries: Tries,
    backoff: Backoff,
    lock_backoff: Backoff,
    pub(super) gate: Gate,
    permits: Semaphore,
    limiter: Limiter,
    breaker: Breaker,
    pub(super) random: Mutex<SmallRng>,
    attempts: AtomicU64,
    retries: AtomicU64,
    /// Writes that the CRM answered record by record.
    accepted: AtomicU64,
    last_fault: Mutex<Option<(String, Class)>>,
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("breaker", &self.breaker.state())
            .finish_non_exhaustive()
    }
}

impl Delivery {
    /// Delivery to `sink`. `seed`: of the delays' jitter.
    pub fn new(sink: Arc<dyn Sink>, settings: Settings, seed: u64) -> Self {
        Delivery {
            gate: Gate::new(Budget::usual(), sink.limits().records, settings.concurrency),
            sink,
            lanes: settings.concurrency.max(1),
            per_second: settings.requests_per_second,
            jobs: Jobs::new(settings.bulk),
            tries: Tries {
                record: settings.record_tries.max(1),
                lock: settings.lock_tries.max(1),
                unknown: settings.unknown_tries.max(1),
            },
            backoff: settings.backoff,
            lock_backoff: settings.lock_backoff,
            permits: Semaphore::new(settings.concurrency.clamp(1, Semaphore::MAX_PERMITS)),
            limiter: Limiter::new(settings.requests_per_second),
            breaker: Breaker::new(settings.breaker_threshold),
            random: Mutex::new(SmallRng::seed_from_u64(seed)),
            attempts: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            last_fault: Mutex::new(None),
        }
    }

    /// The same, within this budget.
    #[must_use]
    pub fn within(mut self, budget: Budget) -> Self {
        self.gate = self.gate.within(budget);
        self
    }

    /// What may be sent now.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The budget of requests.
    pub fn budget(&self) -> &Budget {
        self.gate.budget()
    }

    /// Asks the CRM, in the cheapest way and once, whether it takes requests, and what is left of the
    /// limit.
    ///
    /// # Errors
    /// What it says instead.
    pub async fn look(&self) -> Result<(), Fault> {
        self.attempt(|| self.sink.look()).await.0
    }

    /// What one request of this CRM can carry.
    pub fn limits(&self) -> Limits {
        self.sink.limits()
    }

    /// See [`Sink::locks_parents`].
    pub fn locks_parents(&self, object: &str) -> bool {
        self.sink.locks_parents(object)
    }

    /// How it is doing.
    pub fn health(&self) -> Health {
        let last_fault = self.last_fault.lock();
        Health {
            breaker: self.breaker.state(),
            failing_for: self.breaker.failing_for(),
            last_fault: last_fault.unwrap_or_else(PoisonError::into_inner).clone(),
            attempts: self.attempts.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
            pace: self.gate.paces(),
            usage: self.sink.usage(),
        }
    }

    /// Writes a batch: one outcome a record, in the batch's order. Takes as long as it takes, or until
    /// nothing may be sent any more: what waits to be sent then is [`Outcome::Deferred`]. A request
    /// under way is waited for. Re-keys whose answer was lost are not given up, and wait until they may
    /// be sent.
    ///
    /// # Errors
    /// What stops delivery until a person acts: [`Class::Configuration`] and
    /// [`Class::Authentication`]. Some records may have been written.
    pub async fn deliver(&self, batch: Batch) -> Result<Vec<Outcome>, Fault> {
        self.carry(batch, false, false).await
    }

    /// The same for a batch that an earlier process may have sent. `clings`: it is not given up.
    ///
    /// # Errors
    /// As [`Delivery::deliver`].
    pub async fn deliver_again(&self, batch: Batch, clings: bool) -> Result<Vec<Outcome>, Fault> {
        self.carry(batch, true, clings).await
    }

    async fn carry(&self, batch: Batch, again: bool, clings: bool) -> Result<Vec<Outcome>, Fault> {
        let count = batch.writes.len();
        let door = self.gate.door(&batch.target.object, batch.action);
        let mut outcomes: Vec<Option<Outcome>> = vec![None; count];
        // Parts, and until when they wait.
        let mut parts: VecDeque<(Option<Instant>, Part)> = VecDeque::new();
        if count > 0 {
            parts.push_back((None, Part::whole(batch, again, clings)));
        }
        let mut first = true;
        while let Some((until, mut part)) = parts.pop_front() {
            let Some((place, entered)) = self.turn(until, &part, &door).await else {
                let doubt = part.doubt;
                for place in part.places {
                    put(&mut outcomes, place, Outcome::Deferred { doubt });
                }
                continue;
            };
            let entered = entered?;
            if !std::mem::take(&mut first) {
                self.retries.fetch_add(1, Ordering::Relaxed);
            }
            if let Some(rest) = part.keep_first(door.records()) {
                parts.push_front((None, rest));
            }
            let (answer, took) = self.attempted(entered, self.sink.write(&part.batch)).await;
            place.came(part.places.len(), judge(&door, &answer, took));
            drop(place);
            // How long full requests take decides whether jobs are worth it.
            if answer.is_ok() && part.places.len() * 2 > self.limits().records {
                self.jobs.measured.request(took);
            }
            let next = match answer {
                Ok(results) if results.len() == part.places.len() => {
                    self.accepted.fetch_add(1, Ordering::Relaxed);
                    part.answered(results, self.tries)
                }
                Ok(_) => part.failed(miscounted(), self.tries, self.accepted()),
                Err(fault) => part.failed(fault, self.tries, self.accepted()),
            };
            match next {
                Next::Stop(fault) => return Err(fault),
                Next::Suspect { part, fault, long } => {
                    if self.works_otherwise(&part, long).await? {
                        for place in &part.places {
                            put(&mut outcomes, *place, Outcome::Refused(fault.clone()));
                        }
                    } else {
                        parts.push_back((self.until(&part), part));
                    }
                }
                Next::Go { done, again } => {
                    for (place, outcome) in done {
                        put(&mut outcomes, place, outcome);
                    }
                    // What need not wait goes first.
                    let (later, now): (Vec<_>, Vec<_>) =
                        again.into_iter().partition(|part| part.pause.is_some());
                    for part in now.into_iter().rev() {
                        parts.push_front((None, part));
                    }
                    parts.extend(later.into_iter().map(|part| (self.until(&part), part)));
                }
            }
        }
        // Every record was in some part until it had its outcome; the last is for the type's sake.
        Ok(outcomes
            .into_iter()
            .map(|o| o.unwrap_or_else(|| Outcome::Refused(miscounted())))
            .collect())
    }

    /// Waits for a part's turn at its door; `None`: it is given up, because nothing may be sent.
    async fn turn<'a>(
        &'a self,
        until: Option<Instant>,
        part: &Part,
        door: &'a Door,
    ) -> Option<(Place<'a>, Result<Entered<'a>, Fault>)> {
        let turn = async {
            if let Some(until) = until {
                sleep_until(until).await;
            }
            (door.enter().await, self.enter().await)
        };
        match part.clings() {
            true => {
                self.gate.affordable().await;
                Some(turn.await)
            }
            false => self.gate.unless_closed(turn).await,
        }
    }

    /// One attempt, when the breaker, the limiter and the number of requests under way allow it, and
    /// how long it took.
    pub(super) async fn attempt<T, F>(
        &self,
        call: impl FnOnce() -> F,
    ) -> (Result<T, Fault>, Duration)
    where
        F: Future<Output = Result<T, Fault>>,
    {
        match self.enter().await {
            Ok(entered) => self.attempted(entered, call()).await,
            Err(fault) => (Err(fault), Duration::ZERO),
        }
    }

    /// Waits until an attempt may be made.
    async fn enter(&self) -> Result<Entered<'_>, Fault> {
        loop {
            self.breaker.ready().await;
            self.limiter.take().await;
            let Ok(permit) = self.permits.acquire().await else {
                // Only closed semaphores refuse, and nobody closes this one.
                return Err(Fault::new(Class::Service, "closed", "delivery has ended"));
            };
            // It may have opened while we waited.
            match self.breaker.enter() {
                Some(pass) => return Ok(Entered { pass, permit }),
                None => drop(permit),
            }
        }
    }

    /// Makes it.
    async fn attempted<T>(
        &self,
        entered: Entered<'_>,
        call: impl Future<Output = Result<T, Fault>>,
    ) -> (Result<T, Fault>, Duration) {
        let Entered { pass, permit } = entered;
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let start = Instant::now();
        let mut result = call.await;
        let took = start.elapsed();
        drop(permit);
        let usage = self.sink.usage();
        self.budget().observe(usage.counted, usage.heard);
        match &mut result {
            Err(fault) if is_used_up(fault) => {
                // The CRM is well; it only counts.
                fault.retry_after = Some(self.budget().exhausted());
            }
            Err(_) => {}
            Ok(_) => self.budget().accepted(),
        }
        let fault = result.as_ref().err();
        match fault {
            // The CRM works, even if it does not like the request.
            None => pass.success(),
            Some(fault) if is_used_up(fault) => pass.success(),
            Some(fault) if is_outage(fault.class) => {
                let at_least = fault.retry_after.unwrap_or_default();
                pass.failure(!at_least.is_zero(), |failures| {
                    self.delay(failures).max(at_least)
                });
            }
            Some(_) => pass.success(),
        }
        *self
            .last_fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = fault.map(|f| (f.code.to_string(), f.class));
        if let Some(fault) = fault {
            tracing::warn!(%fault, class = ?fault.class, "a request to the CRM failed");
        }
        (result, took)
    }

    /// When the part may be sent.
    fn until(&self, part: &Part) -> Option<Instant> {
        let pause = part.pause?;
        let delay = match pause.lock {
            true => self.lock_delay(pause.failures),
            false => self.delay(pause.failures),
        };
        Some(Instant::now() + delay.max(pause.at_least))
    }

    fn lock_delay(&self, failures: u32) -> Duration {
        let Backoff { base, cap } = self.lock_backoff;
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        (base + self.lock_backoff.delay(failures, &mut *random)).min(cap)
    }

    /// The pause after so many failures in a row, from 1.
    pub fn delay(&self, failures: u32) -> Duration {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        self.backoff.delay(failures, &mut *random)
    }

    fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Whether the CRM works, but for this record. It does if it accepted another write since the
    /// record failed. If there was none, because everything waits for this one, it has to have failed
    /// for long while the CRM answers when it is merely asked for the record.
    async fn works_otherwise(&self, part: &Part, long: bool) -> Result<bool, Fault> {
        if part.accepted_before.is_some_and(|n| self.accepted() > n) {
            return Ok(true);
        }
        if !long {
            return Ok(false);
        }
        let keys: Vec<Key> = part.batch.writes.iter().map(|w| w.key.clone()).collect();
        let asked = self.attempt(|| self.sink.read(&part.batch.target, Named::Keys(&keys), &[]));
        match asked.await.0 {
            Ok(_) => Ok(true),
            Err(fault) if stops(fault.class) => Err(fault),
            Err(_) => Ok(false),
        }
    }
}

/// What an answer says of the pace. A few records that are locked, or that an automation has no time
/// for, are their own matter; where they are a tenth of what a request may have, it is one of all.
fn judge(door: &Door, answer: &Result<Vec<Outcome>, Fault>, took: Duration) -> Came {
    let outcomes = match answer {
        Ok(outcomes) => outcomes,
        Err(fault) if fault.class == Class::Unknown || is_pressure(fault) => return Came::Load,
        Err(_) => return Came::Nothing,
    };
    let refused = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Refused(fault) if is_pressure(fault) => Some(fault.class),
        _ => None,
    });
    let (mut all, mut locked) = (0, 0);
    for class in refused {
        all += 1;
        locked += usize::from(class == Class::Locked);
    }
    if locked > 0 {
        door.locked(locked);
    }
    match all > 0 && all * 10 >= door.records() {
        true => Came::Load,
        false => Came::Answer(took),
    }
}

fn is_pressure(fault: &Fault) -> bool {
    fault.class == Class::Locked || is_load(fault)
}

fn stops(class: Class) -> bool {
    matches!(class, Class::Configuration | Class::Authentication)
}

/// A fault that says that the CRM cannot take requests now, whatever is in them.
fn is_outage(class: Class) -> bool {
    matches!(
        class,
        Class::Service | Class::Unknown | Class::RecordTransient
    )
}

fn put(outcomes: &mut [Option<Outcome>], place: usize, outcome: Outcome) {
    if let Some(slot) = outcomes.get_mut(place) {
        *slot = Some(outcome);
    }
}

fn miscounted() -> Fault {
    Fault::new(
        Class::Unknown,
        "miscounted_answer",
        "the number of results is not the number of records",
    )
}

mod ask;
#[cfg(test)]
mod gate_tests;
#[cfg(test)]
mod tests;
