//! Requests a second, as a token bucket.
//!
//! Kept as one instant (the "theoretical arrival time" of the generic cell rate algorithm): each
//! token moves it on by the interval, and a token is free while it is not more than the burst ahead
//! of now. Who takes a token that is not free yet has it reserved and sleeps, so that waiting is
//! first come, first served; a caller that gives up while it sleeps wastes its token.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

#[derive(Debug)]
pub(super) struct Limiter {
    /// Zero: no limit.
    interval: Duration,
    burst: Duration,
    next: Mutex<Option<Instant>>,
}

impl Limiter {
    /// `per_second` tokens a second, as many at once after a pause; 0 for no limit.
    pub(super) fn new(per_second: u32) -> Self {
        let second = Duration::from_secs(1);
        let interval = second.checked_div(per_second).unwrap_or_default();
        Limiter {
            interval,
            burst: second.saturating_sub(interval),
            next: Mutex::new(None),
        }
    }

    /// Waits for a token.
    pub(super) async fn take(&self) {
        if let Some(at) = self.reserve() {
            sleep_until(at).await;
        }
    }

    fn reserve(&self) -> Option<Instant> {
        if self.interval.is_zero() {
            return None;
        }
        let now = Instant::now();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let arrival = next.map_or(now, |next| next.max(now));
        *next = Some(arrival + self.interval);
        let ahead = arrival.saturating_duration_since(now);
        let wait = ahead.saturating_sub(self.burst);
        (!wait.is_zero()).then(|| now + wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_then_the_rate() {
        let limiter = Limiter::new(10);
        let start = Instant::now();
        for _ in 0..10 {
            limiter.take().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..30 {
            limiter.take().await;
        }
        // Tokio's timer counts milliseconds.
        let elapsed = start.elapsed();
        assert!(elapsed >= Duration::from_secs(3) && elapsed < Duration::from_millis(3050));
        // A pause fills the bucket, but not beyond its size.
        tokio::time::advance(Duration::from_secs(60)).await;
        let start = Instant::now();
        for _ in 0..20 {
            limiter.take().await;
        }
        assert!(start.elapsed() >= Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn zero_is_no_limit() {
        let limiter = Limiter::new(0);
        let start = Instant::now();
        for _ in 0..1000 {
            limiter.take().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
