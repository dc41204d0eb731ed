//! The time, as a value that a simulation can move.

use std::time::SystemTime;

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
}

impl Clock {
    /// A clock that reads `base` now and then follows tokio's time.
    pub fn simulated(base: Timestamp) -> Self {
        Clock::Simulated {
            base,
            start: Instant::now(),
        }
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
        }
    }
}
