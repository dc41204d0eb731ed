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

/// How far another clock is ahead of ours, in microseconds: somewhere between two bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lead {
    /// At least so much.
    pub least: i64,
    /// At most so much.
    pub most: i64,
}

impl Lead {
    /// What is to be reckoned with: nothing where the clocks may agree, else the bound that is nearer.
    pub fn certain(&self) -> i64 {
        match (self.least, self.most) {
            (least, _) if least > 0 => least,
            (_, most) if most < 0 => most,
            _ => 0,
        }
    }

    /// Another clock seen from this one's, where both are seen from ours.
    pub fn over(&self, other: &Lead) -> Lead {
        Lead {
            least: self.least.saturating_sub(other.most),
            most: self.most.saturating_sub(other.least),
        }
    }
}

/// Learns how far another clock is ahead, from readings of it.
///
/// Every reading gives bounds; they are narrowed by the readings that follow. Where they contradict
/// each other one of the clocks was set, and learning begins anew. So it does now and then: clocks run
/// apart.
#[derive(Clone, Copy, Debug, Default)]
pub struct Comparison {
    lead: Option<Lead>,
    readings: u32,
}

/// After so many readings learning begins anew.
const READINGS: u32 = 1_000;

impl Comparison {
    /// Takes a reading: the other clock showed a time from `from` to `to` at a moment that was, by ours,
    /// not before `sent` and not after `received`.
    pub fn read(&mut self, from: Timestamp, to: Timestamp, sent: Timestamp, received: Timestamp) {
        let now = Lead {
            least: from.0.saturating_sub(received.0),
            most: to.0.saturating_sub(sent.0),
        };
        if now.least > now.most {
            // Our own clock was set in between.
            return;
        }
        let narrowed = self
            .lead
            .filter(|_| self.readings < READINGS)
            .map(|before| Lead {
                least: before.least.max(now.least),
                most: before.most.min(now.most),
            });
        match narrowed.filter(|lead| lead.least <= lead.most) {
            Some(lead) => {
                self.lead = Some(lead);
                self.readings += 1;
            }
            None => {
                self.lead = Some(now);
                self.readings = 1;
            }
        }
    }

    /// What is known.
    pub fn lead(&self) -> Option<Lead> {
        self.lead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;

    /// A clock that is `ahead`, which shows whole seconds; `trip` there and back.
    fn readings(ahead: i64, trip: i64, count: i64) -> Comparison {
        let mut comparison = Comparison::default();
        for n in 0..count {
            let sent = n * 1_370_000;
            let shown = (sent + trip / 2 + ahead).div_euclid(S) * S;
            let (from, to) = (Timestamp(shown), Timestamp(shown + S));
            comparison.read(from, to, Timestamp(sent), Timestamp(sent + trip));
        }
        comparison
    }

    #[test]
    fn whole_seconds_are_narrowed_down() {
        for ahead in [0, 300_000, -700_000, 600 * S, -600 * S] {
            let lead = readings(ahead, 40_000, 50).lead().unwrap_or_default();
            assert!(
                lead.least <= ahead && ahead <= lead.most,
                "{ahead} {lead:?}"
            );
            assert!(lead.most - lead.least < 200_000, "{ahead} {lead:?}");
        }
    }

    #[test]
    fn clocks_that_may_agree_agree() {
        assert_eq!(readings(0, 40_000, 50).lead().map(|l| l.certain()), Some(0));
        assert_eq!(readings(0, 40_000, 1).lead().map(|l| l.certain()), Some(0));
        let far = readings(600 * S, 40_000, 50)
            .lead()
            .unwrap_or_default()
            .certain();
        assert!((far - 600 * S).abs() < S, "{far}");
        let behind = readings(-600 * S, 40_000, 1).lead().unwrap_or_default();
        assert!(
            (behind.certain() + 600 * S).abs() <= S + 40_000,
            "{behind:?}"
        );
    }

    #[test]
    fn a_clock_that_is_set_is_learnt_anew() {
        let mut comparison = readings(0, 40_000, 50);
        let at = |n: i64| Timestamp(n * S);
        comparison.read(at(700), at(701), at(100), at(100));
        assert_eq!(comparison.lead().map(|l| l.certain()), Some(600 * S));
    }

    #[test]
    fn two_clocks_are_compared_through_ours() {
        let crm = Lead {
            least: 599 * S,
            most: 601 * S,
        };
        let database = Lead { least: -S, most: 0 };
        assert_eq!(
            crm.over(&database),
            Lead {
                least: 599 * S,
                most: 602 * S
            }
        );
    }
}
