//! What the use of the limit will be, from what it was.
//!
//! Two things are known of a later moment: what of today's use has fallen out of the 24 hours by then,
//! and, about, what will have been added. The rate at which it is added begins as that of the last
//! hour and comes to that of the last half day: a burst fades.

use std::time::Duration;

use super::account::{Account, DAY, QUARTER, Quarter};
use crate::change::Timestamp;

/// Microseconds of an hour.
const HOUR: i64 = 4 * QUARTER;
/// How long the mean is over that bursts fade to.
const LONG: i64 = 12 * HOUR;
/// In which time a burst fades to a third.
const FADE: f64 = 2.0 * HOUR as f64;

/// Something a second, now and in the long run.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Rate {
    /// A microsecond, in the last hour.
    short: f64,
    /// A microsecond, in the long run.
    long: f64,
}

impl Rate {
    pub(super) fn new(account: &Account, now: Timestamp, of: impl Fn(&Quarter) -> f64) -> Rate {
        let first = account.first.unwrap_or(now);
        let known = account.quarters.iter().find(|q| of(q) > 0.0);
        // What was used before we came is known, if only as a sum.
        let since = known.map_or(first.0, |q| (q.number * QUARTER).min(first.0));
        let long = (now.0 - since).clamp(HOUR, LONG);
        Rate {
            short: account.within(now, HOUR, &of) / HOUR as f64,
            long: account.within(now, long, &of) / long as f64,
        }
    }

    /// So much is added in the next `span` microseconds.
    pub(super) fn over(self, span: i64) -> f64 {
        let span = span as f64;
        self.long * span + (self.short - self.long) * FADE * (1.0 - (-span / FADE).exp())
    }

    /// The same, but for a burst at most: a quiet hour promises nothing.
    fn at_least_long(self) -> Rate {
        Rate {
            short: self.short.max(self.long),
            ..self
        }
    }

    /// The same with everything more by this factor.
    pub(super) fn times(self, factor: f64) -> Rate {
        Rate {
            short: self.short * factor,
            long: self.long * factor,
        }
    }
}

/// The next 24 hours, by quarters.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Outlook {
    /// Requests of ours and of others so far that still count then, and those that others will add.
    steps: Vec<Step>,
    pub(super) ours: Rate,
    pub(super) high: Rate,
    /// Others'.
    pub(super) others: Rate,
}

/// One of the moments looked at.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Step {
    /// Microseconds from now.
    ahead: i64,
    /// Of what we have used: what still counts.
    ours: f64,
    /// What others have used and will have used.
    others: f64,
    /// The same, on the safe side.
    most: f64,
}

/// Others' requests to come are taken to be so many times those that are expected, where room is kept.
const SAFE: f64 = 1.15;

/// What must hold at each moment.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Caps {
    /// All clients together: the limit less the floor.
    pub(super) all: f64,
    /// Ours.
    pub(super) ours: f64,
}

impl Outlook {
    pub(super) fn new(account: &Account, now: Timestamp) -> Outlook {
        let rate = Rate::new(account, now, |q| q.others);
        let safe = rate.at_least_long().times(SAFE);
        let steps = (0..=DAY).map(|number| {
            let ahead = number * QUARTER;
            let then = Timestamp(now.0 + ahead);
            let others = account.others(then);
            Step {
                ahead,
                ours: account.ours(then),
                others: others + rate.over(ahead),
                most: others + safe.over(ahead),
            }
        });
        Outlook {
            steps: steps.collect(),
            ours: Rate::new(account, now, |q| q.ours as f64),
            high: Rate::new(account, now, |q| q.high as f64),
            others: rate,
        }
    }

    /// Requests that may be made at once, so that at each moment of the next 24 hours `kept` of that
    /// moment is left under the caps. May be negative.
    pub(super) fn room(&self, caps: Caps, kept: impl Fn(i64) -> f64) -> f64 {
        // After 24 hours what is spent now no longer counts.
        let steps = self.steps.iter().filter(|s| s.ahead < DAY * QUARTER);
        let left = steps.map(|s| {
            let all = caps.all - s.most - s.ours;
            all.min(caps.ours - s.ours) - kept(s.ahead)
        });
        left.fold(f64::INFINITY, f64::min)
    }

    /// In which time the caps are reached if we go on at `rate`; `None`: not within 24 hours.
    pub(super) fn runs_out(
        &self,
        caps: Caps,
        rate: Rate,
        kept: impl Fn(i64) -> f64,
    ) -> Option<Duration> {
        let out = self.steps.iter().find(|s| {
            let added = rate.over(s.ahead);
            let all = caps.all - s.others - s.ours - added;
            all.min(caps.ours - s.ours - added) - kept(s.ahead) <= 0.0
        });
        out.map(|s| Duration::from_micros(s.ahead.unsigned_abs()))
    }

    /// What all clients together will have used by then, if we go on as we do as long as the caps
    /// allow it.
    pub(super) fn used(&self, caps: Caps, ahead: i64) -> f64 {
        let mut added = 0.0_f64;
        let mut used = 0.0;
        let mut before = 0;
        for step in self.steps.iter().take_while(|s| s.ahead <= ahead) {
            let wanted = self.ours.over(step.ahead) - self.ours.over(before);
            let all = caps.all - step.others - step.ours - added;
            let room = all.min(caps.ours - step.ours - added).max(0.0);
            added += wanted.clamp(0.0, room);
            used = step.others + step.ours + added;
            before = step.ahead;
        }
        used
    }
}
