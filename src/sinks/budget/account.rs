//! Who used how much of the CRM's daily limit, and when.
//!
//! The limit counts the requests of the last 24 hours, of all clients together; each answer says how
//! many there were. Ours are counted where they are sent. The difference is others' use: it is kept by
//! quarters of an hour, so that it can be said when it falls out of the 24 hours again.

use std::collections::VecDeque;

use crate::change::Timestamp;

/// Microseconds of a quarter of an hour.
pub(super) const QUARTER: i64 = 900_000_000;
/// Quarters in the 24 hours that the limit counts.
pub(super) const DAY: i64 = 96;
/// How long others' use has to look smaller before it is believed: the CRM's own count may lag.
const BELIEF: i64 = 300_000_000;
/// Answers overtake each other: so many requests less than expected say nothing.
const SLACK: f64 = 8.0;

/// What was used in a quarter of an hour.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Quarter {
    /// Which: quarters since 1970.
    pub number: i64,
    /// Requests of ours.
    pub ours: u64,
    /// Requests of others, as far as they were noticed.
    pub others: f64,
    /// Of these, those of which it is only guessed that they belong here: made before we came, or in a
    /// long silence.
    pub guessed: f64,
    /// Records with a high priority that we sent.
    pub high: u64,
}

/// What is known of the use of the limit; kept over restarts.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Account {
    /// The limit, as last heard.
    pub max: u64,
    /// When it was first heard of; `None`: never.
    pub first: Option<Timestamp>,
    /// When it was last heard of.
    pub heard: Timestamp,
    /// The last 24 hours and a bit, in their order.
    pub quarters: VecDeque<Quarter>,
    /// Others' use has looked smaller since then; and the most that it looked.
    below: Option<(Timestamp, f64)>,
}

/// What an answer said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Heard {
    /// Requests of the last 24 hours, of all clients.
    pub used: u64,
    /// The limit.
    pub max: u64,
    /// Requests of ours that had been answered then, this one among them, since the start.
    pub answered: u64,
    /// Those that had been sent then.
    pub sent: u64,
}

pub(super) fn quarter(at: Timestamp) -> i64 {
    at.0.div_euclid(QUARTER)
}

impl Account {
    /// What was kept, going on.
    pub fn restored(
        max: u64,
        first: Option<Timestamp>,
        heard: Timestamp,
        quarters: Vec<Quarter>,
    ) -> Account {
        Account {
            max,
            first,
            heard,
            quarters: quarters.into(),
            below: None,
        }
    }

    /// Requests of ours.
    pub(super) fn sent(&mut self, now: Timestamp, calls: u64) {
        self.at(quarter(now)).ours += calls;
    }

    /// Records with a high priority.
    pub(super) fn sent_high(&mut self, now: Timestamp, records: u64) {
        self.at(quarter(now)).high += records;
    }

    /// An answer came. `since`: requests of ours sent since it was on its way, which it may or may
    /// not count; they are in the account already.
    pub(super) fn heard(&mut self, now: Timestamp, heard: Heard) {
        self.max = heard.max;
        let first = self.first.is_none();
        self.first.get_or_insert(now);
        let ours = self.ours(now);
        // The CRM had counted all that were answered, and perhaps those on their way.
        let on_the_way = heard.sent.saturating_sub(heard.answered) as f64;
        let used = heard.used as f64;
        let (least, most) = (used - ours, used - (ours - on_the_way).max(0.0));
        let known = self.others(now);
        if first && self.quarters.iter().all(|q| q.others == 0.0) {
            self.spread(quarter(now) - DAY + 1, quarter(now), most.max(0.0), true);
        } else if known < least {
            self.below = None;
            // A long silence tells nothing of when it was; after a short one it counts as now, so that
            // it does not seem to fall out before it does.
            let long = now.0 - self.heard.0 > 4 * QUARTER;
            let from = match long {
                true => quarter(self.heard).max(quarter(now) - DAY + 1),
                false => quarter(now),
            };
            self.spread(from, quarter(now), least - known, long);
        } else if known > most.max(0.0) + SLACK {
            let (since, highest) = self.below.unwrap_or((now, most));
            let highest = highest.max(most).max(0.0);
            self.below = Some((since, highest));
            if now.0 - since.0 >= BELIEF {
                self.take_oldest(known - highest, now);
                self.below = None;
            }
        } else {
            self.below = None;
        }
        self.heard = now;
    }

    /// Requests of ours in the last 24 hours.
    pub(super) fn ours(&self, now: Timestamp) -> f64 {
        self.sum(now, |q| q.ours as f64)
    }

    /// Others'.
    pub(super) fn others(&self, now: Timestamp) -> f64 {
        self.sum(now, |q| q.others)
    }

    /// Of others' requests, those that have fallen out since the last answer by a guess alone.
    pub(super) fn unconfirmed(&self, now: Timestamp) -> f64 {
        let (before, oldest) = (quarter(self.heard) - DAY, quarter(now) - DAY);
        if quarter(now) - quarter(self.heard) >= DAY {
            return 0.0;
        }
        let fallen = self.quarters.iter();
        let fallen = fallen.filter(|q| q.number > before && q.number <= oldest);
        fallen.map(|q| q.guessed).sum()
    }

    /// Of what was counted up to `now`: how much is in the 24 hours before `now`. Quarters fall out
    /// whole.
    fn sum(&self, now: Timestamp, of: impl Fn(&Quarter) -> f64) -> f64 {
        let oldest = quarter(now) - DAY;
        let quarters = self.quarters.iter().filter(|q| q.number > oldest);
        quarters.map(of).sum()
    }

    /// What was used in the `span` microseconds before `now`.
    pub(super) fn within(&self, now: Timestamp, span: i64, of: impl Fn(&Quarter) -> f64) -> f64 {
        let from = now.0 - span;
        let quarters = self.quarters.iter();
        quarters
            .map(|q| {
                let (begin, end) = (q.number * QUARTER, ((q.number + 1) * QUARTER).min(now.0));
                let length = (end - begin).max(1);
                let inside = (end - from.max(begin)).clamp(0, length);
                of(q) * inside as f64 / length as f64
            })
            .sum()
    }

    /// The quarter, made if it is new; what lies behind the 24 hours goes.
    fn at(&mut self, number: i64) -> &mut Quarter {
        while self
            .quarters
            .front()
            .is_some_and(|q| q.number < number - 2 * DAY)
        {
            self.quarters.pop_front();
        }
        // Nearly always the last one.
        let place = self.quarters.partition_point(|q| q.number < number);
        if self.quarters.get(place).is_none_or(|q| q.number != number) {
            let new = Quarter {
                number,
                ..Quarter::default()
            };
            self.quarters.insert(place, new);
        }
        // It is there: the deque is not empty, and the place within it.
        let last = self.quarters.len().saturating_sub(1);
        &mut self.quarters[place.min(last)]
    }

    /// Others used so much, evenly over these quarters.
    fn spread(&mut self, from: i64, to: i64, calls: f64, guessed: bool) {
        let each = calls / (to - from + 1).max(1) as f64;
        for number in from..=to {
            let quarter = self.at(number);
            quarter.others += each;
            if guessed {
                quarter.guessed += each;
            }
        }
    }

    /// So much of others' use has fallen out earlier than was thought.
    fn take_oldest(&mut self, mut calls: f64, now: Timestamp) {
        let oldest = quarter(now) - DAY;
        for quarter in self.quarters.iter_mut().filter(|q| q.number > oldest) {
            let taken = quarter.others.min(calls);
            quarter.others -= taken;
            quarter.guessed = quarter.guessed.min(quarter.others);
            calls -= taken;
        }
    }
}
