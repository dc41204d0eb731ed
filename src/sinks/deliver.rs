//! Getting a batch to the CRM, whatever it takes.
//!
//! The one engine for every sink: writes, reads and descriptions go through [`Delivery::attempt`],
//! which waits for the circuit breaker, takes a token of the limiter, then a permit, and makes one
//! attempt. A write first takes a place in its object's gate, and has as many records as the pace
//! allows then; what is over follows. Between attempts nothing is held. What an attempt's result means for the records stands
//! in `retry`.
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
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::breaker::{Breaker, BreakerState};
use super::bulk::{self, Jobs};
use super::gate::{Gate, Gates, PaceReport};
use super::limiter::Limiter;
use super::pace::Came;
use super::retry::{Next, Part, Tries};
use super::{CrmRecord, HistoryQuery, HistoryRow, Limits, Named, Outcome, Sink, Usage, is_load};
use crate::backoff::Backoff;
use crate::clock::Lead;
use crate::config::Destination;
use crate::fault::{Class, Fault};
use crate::mapping::{FieldSpec, Key, ObjectDescription, Target};
use crate::planning::{Batch, CrmId};

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
    pub(super) gates: Gates,
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
            gates: Gates::new(sink.limits().records, settings.concurrency),
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
            pace: self.gates.report(),
            usage: self.sink.usage(),
        }
    }

    /// Writes a batch: one outcome a record, in the batch's order. Takes as long as it takes; drop
    /// the future to give up.
    ///
    /// # Errors
    /// What stops delivery until a person acts: [`Class::Configuration`] and
    /// [`Class::Authentication`]. Some records may have been written.
    pub async fn deliver(&self, batch: Batch) -> Result<Vec<Outcome>, Fault> {
        let count = batch.writes.len();
        let gate = self.gates.of(&batch.target.object, batch.action);
        let mut outcomes: Vec<Option<Outcome>> = vec![None; count];
        // Parts, and until when they wait.
        let mut parts: VecDeque<(Option<Instant>, Part)> = VecDeque::new();
        if count > 0 {
            parts.push_back((None, Part::whole(batch)));
        }
        let mut first = true;
        while let Some((until, mut part)) = parts.pop_front() {
            if let Some(until) = until {
                sleep_until(until).await;
            }
            if !std::mem::take(&mut first) {
                self.retries.fetch_add(1, Ordering::Relaxed);
            }
            let place = gate.enter().await;
            if let Some(rest) = part.keep_first(gate.records()) {
                parts.push_front((None, rest));
            }
            let (answer, took) = self.attempt(|| self.sink.write(&part.batch)).await;
            place.came(part.places.len(), judge(&gate, &answer, took));
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

    /// The named objects as our user sees them; see [`Sink::describe`].
    ///
    /// # Errors
    /// Any fault that repeating does not heal.
    pub async fn describe(
        &self,
        objects: &[String],
    ) -> Result<Vec<Option<ObjectDescription>>, Fault> {
        self.persist(|| self.sink.describe(objects)).await
    }

    /// Makes fields that the CRM lacks; see [`Sink::create_fields`]. The faults inside are of class
    /// [`Class::Configuration`] and concern their fields alone.
    ///
    /// # Errors
    /// [`Class::Authentication`], and faults of the sink that repeating does not heal.
    pub async fn create_fields(
        &self,
        object: &str,
        specs: &[FieldSpec],
    ) -> Result<Vec<Result<(), Fault>>, Fault> {
        if specs.is_empty() {
            return Ok(Vec::new());
        }
        match self
            .persist(|| self.sink.create_fields(object, specs))
            .await
        {
            Ok(answers) if answers.len() == specs.len() => Ok(answers),
            Ok(_) => Err(miscounted()),
            // It was tried often enough: no reason to stop anything but the fields.
            Err(mut fault) if matches!(fault.class, Class::RecordTransient | Class::Locked) => {
                fault.class = Class::Configuration;
                Ok(vec![Err(fault); specs.len()])
            }
            Err(fault) => Err(fault),
        }
    }

    /// Describes `object` until our user sees all of these fields and may write them: at once, then
    /// after half a second, one, two, four, and every eight. `None` if they do not show within
    /// `patience`.
    ///
    /// # Errors
    /// As [`Delivery::describe`].
    pub async fn wait_for_fields(
        &self,
        object: &str,
        names: &[&str],
        patience: Duration,
    ) -> Result<Option<ObjectDescription>, Fault> {
        let objects = [object.to_owned()];
        let poll = async {
            let mut pause = Duration::from_millis(500);
            loop {
                let described = self.describe(&objects).await?.pop().flatten();
                let writable = |object: &ObjectDescription| {
                    names.iter().all(|name| {
                        let field = object.field(name);
                        field.is_some_and(|f| f.createable && f.updateable)
                    })
                };
                if let Some(object) = described.filter(writable) {
                    return Ok(object);
                }
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(8));
            }
        };
        match timeout(patience, poll).await {
            Ok(seen) => seen.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// These records; see [`Sink::read`]. Asks for fewer at a time where the
    /// CRM wants that.
    ///
    /// # Errors
    /// Any fault that repeating does not heal.
    pub async fn read(
        &self,
        target: &Target,
        named: Named<'_>,
        fields: &[u16],
    ) -> Result<Vec<Option<CrmRecord>>, Fault> {
        let mut records = Vec::with_capacity(named.len());
        let mut parts = vec![named];
        while let Some(part) = parts.pop() {
            match self.persist(|| self.sink.read(target, part, fields)).await {
                Ok(found) if found.len() == part.len() => records.extend(found),
                Ok(_) => return Err(miscounted()),
                Err(fault) if fault.class == Class::Split && part.len() > 1 => {
                    let (front, back) = part.split_at(part.len() / 2);
                    parts.push(back);
                    parts.push(front);
                }
                Err(mut fault) => {
                    if fault.class == Class::Split {
                        fault.class = Class::Record;
                    }
                    return Err(fault);
                }
            }
        }
        Ok(records)
    }

    /// Records that have no external id; see [`Sink::unkeyed`].
    ///
    /// # Errors
    /// Any fault that repeating does not heal.
    pub async fn unkeyed(
        &self,
        target: &Target,
        slot: u16,
        texts: &[String],
    ) -> Result<Vec<(String, CrmId)>, Fault> {
        self.persist(|| self.sink.unkeyed(target, slot, texts))
            .await
    }

    /// Who changed fields, and when; see [`Sink::history`].
    ///
    /// # Errors
    /// Any fault that repeating does not heal.
    pub async fn history(
        &self,
        target: &Target,
        query: &HistoryQuery,
    ) -> Result<Vec<HistoryRow>, Fault> {
        self.persist(|| self.sink.history(target, query)).await
    }

    /// How far the CRM's clock is ahead of ours.
    pub fn lead(&self) -> Option<Lead> {
        self.sink.lead()
    }

    /// Takes records out of the recycle bin; see [`Sink::undelete`].
    ///
    /// # Errors
    /// Any fault that repeating does not heal.
    pub async fn undelete(&self, ids: &[CrmId]) -> Result<Vec<Outcome>, Fault> {
        let mut outcomes = Vec::with_capacity(ids.len());
        for part in ids.chunks(self.limits().records.max(1)) {
            let mut tries = 0_u32;
            loop {
                let answers = self.persist(|| self.sink.undelete(part)).await?;
                if answers.len() != part.len() {
                    return Err(miscounted());
                }
                tries += 1;
                let passing = |o: &Outcome| matches!(o, Outcome::Refused(f) if f.class == Class::RecordTransient);
                // Those that are back already are not in the bin any more: the caller finds them.
                if tries >= self.tries.record || !answers.iter().any(passing) {
                    outcomes.extend(answers);
                    break;
                }
                sleep(self.delay(tries)).await;
            }
        }
        Ok(outcomes)
    }

    /// Attempts until there is an answer, or a fault that repeating does not heal.
    pub(super) async fn persist<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let mut failures = 0_u32;
        let mut transient = 0_u32;
        loop {
            let fault = match self.attempt(&mut call).await.0 {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            match fault.class {
                Class::Service | Class::Unknown => {}
                Class::RecordTransient | Class::Locked if transient + 1 < self.tries.record => {
                    transient += 1
                }
                _ => return Err(fault),
            }
            failures = failures.saturating_add(1);
            self.retries.fetch_add(1, Ordering::Relaxed);
            let at_least = fault.retry_after.unwrap_or_default();
            sleep(self.delay(failures).max(at_least)).await;
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
        let (pass, permit) = loop {
            self.breaker.ready().await;
            self.limiter.take().await;
            let Ok(permit) = self.permits.acquire().await else {
                // Only closed semaphores refuse, and nobody closes this one.
                let fault = Fault::new(Class::Service, "closed", "delivery has ended");
                return (Err(fault), Duration::ZERO);
            };
            // It may have opened while we waited.
            match self.breaker.enter() {
                Some(pass) => break (pass, permit),
                None => drop(permit),
            }
        };
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let start = Instant::now();
        let result = call().await;
        let took = start.elapsed();
        drop(permit);
        let fault = result.as_ref().err();
        match fault {
            // The CRM works, even if it does not like the request.
            None => pass.success(),
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
fn judge(gate: &Gate, answer: &Result<Vec<Outcome>, Fault>, took: Duration) -> Came {
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
        gate.locked(locked);
    }
    match all > 0 && all * 10 >= gate.records() {
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

#[cfg(test)]
mod tests;
