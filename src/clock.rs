//! The time, as a value that a simulation can move.

use std::time::SystemTime;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::change::Timestamp;

/// Tells the time.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// A clock that follows tokio's (which a test can pause and move).
    Simulated {
        /// Time at `start`.
        base: Timestamp,
        /// Tokio's time at `base`.
        start: Instant,
    },
    /// A clock that stands still until a test moves it: for days that pass in seconds beside servers
    /// that answer in their own time.
    Moved(watch::Receiver<Timestamp>),
}

impl Clock {
    /// A clock that reads `base` now and then follows tokio's time.
    pub fn simulated(base: Timestamp) -> Self {
        Clock::Simulated {
            base,
            start: Instant::now(),
        }
    }

    /// A clock that reads what it was last told.
    pub fn moved(base: Timestamp) -> (watch::Sender<Timestamp>, Self) {
        let (hand, clock) = watch::channel(base);
        (hand, Clock::Moved(clock))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match self {
            Clock::System => {
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                Timestamp(since.map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX)))
            }
            Clock::Simulated { base, start } => {
                let passed = i64::try_from(start.elapsed().as_micros()).unwrap_or(i64::MAX);
                Timestamp(base.0.saturating_add(passed))
            }
            Clock::Moved(clock) => *clock.borrow(),
        }
    }

    /// Waits until it is `at`. (A clock that is set while one waits may make it come early or late.)
    pub async fn sleep_until(&self, at: Timestamp) {
        match self {
            Clock::System | Clock::Simulated { .. } => {
                tokio::time::sleep(at.since(self.now())).await;
            }
            Clock::Moved(clock) => {
                if clock.clone().wait_for(|now| *now >= at).await.is_err() {
                    // Nobody moves it any more.
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}
