//! How long to wait before the next attempt: exponential with full jitter.
//!
//! Full jitter (a uniform draw between zero and the current ceiling) spreads clients that failed
//! together furthest apart for the same amount of work.

use std::time::Duration;

use rand::{Rng, RngExt};

/// A growing, capped delay.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Ceiling of the first delay.
    pub base: Duration,
    /// Ceiling of all delays.
    pub cap: Duration,
}

impl Backoff {
    /// The delay before attempt `attempt + 1`, where `attempt` counts failures from 1.
    pub fn delay(&self, attempt: u32, random: &mut impl Rng) -> Duration {
        let factor = 2_u32.saturating_pow(attempt.saturating_sub(1).min(20));
        let ceiling = self.base.saturating_mul(factor).min(self.cap);
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(random.random_range(0..=nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::SmallRng};

    #[test]
    fn delays_stay_under_a_doubling_capped_ceiling() {
        let backoff = Backoff {
            base: Duration::from_millis(100),
            cap: Duration::from_secs(5),
        };
        let mut random = SmallRng::seed_from_u64(7);
        for attempt in 1..200_u32 {
            let ceiling = Duration::from_millis(100)
                .saturating_mul(2_u32.saturating_pow((attempt - 1).min(20)))
                .min(Duration::from_secs(5));
            assert!(backoff.delay(attempt, &mut random) <= ceiling);
        }
    }
}
