//! Leaves a CRM alone that does not answer.
//!
//! ```text
//!            N failures in a row, or the CRM asks us to wait
//!   closed ───────────────────────────────────────────────► open ◄──┐
//!     ▲                                                      │ time │ failure
//!     └───────────────── success ─────────────── probing ◄───┘──────┘
//! ```
//!
//! While it is open, nobody sends. When its time is over, one attempt goes ahead as a probe; the
//! others wait for its result. An attempt that is dropped half-way says nothing: a dropped probe
//! leaves its place to the next.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// The state of a circuit breaker, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Requests flow.
    Closed,
    /// Nothing is sent for now.
    Open,
    /// One request tries whether the CRM is back.
    Probing,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed,
    Open { until: Instant },
    Probing,
}

#[derive(Debug)]
struct Inner {
    state: State,
    /// Failures since the last success.
    failures: u32,
    /// When the first of them came.
    failing_since: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Breaker {
    threshold: u32,
    inner: Mutex<Inner>,
    changed: Notify,
}

/// Leave to make one attempt. Dropped without a word, it gives the leave back.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    probe: bool,
    spent: bool,
}

impl Breaker {
    /// Opens after `threshold` failures in a row (at least one).
    pub(super) fn new(threshold: u32) -> Self {
        Breaker {
            threshold: threshold.max(1),
            inner: Mutex::new(Inner {
                state: State::Closed,
                failures: 0,
                failing_since: None,
            }),
            changed: Notify::new(),
        }
    }

    /// Waits until an attempt may be made. It may be too late for that once other waits are over:
    /// then [`Breaker::enter`] says so.
    pub(super) async fn ready(&self) {
        loop {
            // Registered before looking, so that no change between the two is missed.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let state = self.lock().state;
            match state {
                State::Closed => return,
                State::Open { until } => {
                    if until <= Instant::now() {
                        return;
                    }
                    tokio::select! {
                        () = sleep_until(until) => {}
                        () = changed => {}
                    }
                }
                State::Probing => changed.await,
            }
        }
    }

    /// Leave for one attempt, unless the breaker is open or somebody else is probing.
    pub(super) fn enter(&self) -> Option<Pass<'_>> {
        let mut inner = self.lock();
        let probe = match inner.state {
            State::Closed => false,
            State::Open { until } if until <= Instant::now() => {
                inner.state = State::Probing;
                true
            }
            State::Open { .. } | State::Probing => return None,
        };
        Some(Pass {
            breaker: self,
            probe,
            spent: false,
        })
    }

    /// What it does now.
    pub(super) fn state(&self) -> BreakerState {
        match self.lock().state {
            State::Closed => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::Probing => BreakerState::Probing,
        }
    }

    /// Time since the first failure after the last success.
    pub(super) fn failing_for(&self) -> Option<Duration> {
        self.lock().failing_since.map(|since| since.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// The CRM answered.
    pub(super) fn success(mut self) {
        self.spent = true;
        let mut inner = self.breaker.lock();
        if !self.probe && !matches!(inner.state, State::Closed) {
            // A late answer to an attempt made before it opened: the failures since weigh more.
            return;
        }
        inner.failures = 0;
        inner.failing_since = None;
        inner.state = State::Closed;
        drop(inner);
        if self.probe {
            self.breaker.changed.notify_waiters();
        }
    }

    /// The CRM did not take the request. `pause`: how long to leave it alone, given the number of
    /// failures in a row. `asked`: it asked for that itself, so that one failure is enough.
    pub(super) fn failure(mut self, asked: bool, pause: impl FnOnce(u32) -> Duration) {
        self.spent = true;
        let mut inner = self.breaker.lock();
        inner.failures = inner.failures.saturating_add(1);
        inner.failing_since.get_or_insert_with(Instant::now);
        let enough = asked || self.probe || inner.failures >= self.breaker.threshold;
        if !enough {
            return;
        }
        let until = Instant::now() + pause(inner.failures);
        inner.state = match inner.state {
            // Somebody else is probing: its result decides.
            State::Probing if !self.probe => State::Probing,
            State::Open { until: other } => State::Open {
                until: other.max(until),
            },
            State::Closed | State::Probing => State::Open { until },
        };
        drop(inner);
        self.breaker.changed.notify_waiters();
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.probe && !self.spent {
            let mut inner = self.breaker.lock();
            inner.state = State::Open {
                until: Instant::now(),
            };
            drop(inner);
            self.breaker.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    fn fail(breaker: &Breaker) {
        breaker.enter().unwrap().failure(false, |_| PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_probes_once_and_closes() {
        let breaker = Breaker::new(3);
        fail(&breaker);
        fail(&breaker);
        assert_eq!(breaker.state(), BreakerState::Closed);
        fail(&breaker);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(breaker.enter().is_none());
        tokio::time::advance(PAUSE).await;
        breaker.ready().await;
        let probe = breaker.enter().unwrap();
        assert_eq!(breaker.state(), BreakerState::Probing);
        assert!(breaker.enter().is_none(), "one probe at a time");
        probe.failure(false, |failures| PAUSE * failures);
        assert_eq!(breaker.failing_for(), Some(PAUSE));
        tokio::time::advance(PAUSE).await;
        assert!(breaker.enter().is_none(), "the pause has grown");
        tokio::time::advance(PAUSE * 3).await;
        breaker.enter().unwrap().success();
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!(breaker.failing_for(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wish_to_wait_opens_it_at_once() {
        let breaker = Breaker::new(100);
        breaker.enter().unwrap().failure(true, |_| PAUSE);
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_probe_leaves_its_place() {
        let breaker = Breaker::new(1);
        fail(&breaker);
        tokio::time::advance(PAUSE).await;
        drop(breaker.enter().unwrap());
        breaker.ready().await;
        breaker.enter().unwrap().success();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_go_when_the_probe_succeeds() {
        let breaker = Breaker::new(1);
        fail(&breaker);
        tokio::time::advance(PAUSE).await;
        let probe = breaker.enter().unwrap();
        let waiting = async {
            breaker.ready().await;
            breaker.enter().is_some()
        };
        let succeeding = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            probe.success();
        };
        let (went, ()) = tokio::join!(waiting, succeeding);
        assert!(went);
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_success_does_not_close_it() {
        let breaker = Breaker::new(1);
        let slow = breaker.enter().unwrap();
        fail(&breaker);
        slow.success();
        assert_eq!(breaker.state(), BreakerState::Open);
    }
}
