//! How large requests are, and how many are under way at once, for one object and kind of request.
//!
//! Pure. It starts with the most of both, for full requests are cheap, and follows what comes back:
//!
//! | what came | what follows |
//! |---|---|
//! | no answer, too much load, a storm of locks | half the records, half the requests |
//! | slow answers (two in a row over 1.2 × target) | fewer records, so that it would be as long as the target; where that did not help, they are given back and half the requests are tried; where that did not help either, they are given back, too: it is slow whatever we do |
//! | answers near the target | nothing |
//! | answers under 0.8 × target | some more records, and a request more each round, where the last ones were used |
//!
//! Only requests that began after the last cut count for the next one: what was on its way when it was
//! made says nothing of it.

use std::collections::VecDeque;
use std::time::Duration;

/// How long a request should take. Salesforce counts those of 20 s and more against a limit of 25 at
/// once; a window has to wait for its slowest.
const TARGET: Duration = Duration::from_secs(5);
/// Answers that the median is taken of.
const REMEMBERED: usize = 32;
/// Slow answers in a row that are believed.
const SLOW: u32 = 2;
/// How much worse it has to get before what did not help is tried again.
const WORSE: f64 = 1.5;
/// Times that this is put off while it gets no worse.
const PATIENCE: u32 = 200;

/// A request that was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    /// Number of the last cut when it began.
    pub(super) cut: u64,
    /// As many requests were under way as may be.
    pub(super) crowded: bool,
    /// Records in it.
    pub(super) records: usize,
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Came {
    /// An answer, after this long.
    Answer(Duration),
    /// No answer, or one that tells of too much load.
    Load,
    /// Nothing that tells of the pace.
    Nothing,
}

/// The pace of one object and kind of request.
#[derive(Debug)]
pub(super) struct Pace {
    records: Knob,
    requests: Knob,
    cut: u64,
    slow: u32,
    /// How long the answers to requests since the last cut took together, and how many they are.
    since: (f64, u32),
    took: VecDeque<Duration>,
}

impl Pace {
    /// With these as the most, at least one of each.
    pub(super) fn new(records: usize, requests: usize) -> Self {
        Pace {
            records: Knob::new(records),
            requests: Knob::new(requests),
            cut: 0,
            slow: 0,
            since: (0.0, 0),
            took: VecDeque::new(),
        }
    }

    /// Records a request may have.
    pub(super) fn records(&self) -> usize {
        self.records.whole()
    }

    /// Requests that may be under way at once.
    pub(super) fn requests(&self) -> usize {
        self.requests.whole()
    }

    /// Number of the last cut.
    pub(super) fn cut(&self) -> u64 {
        self.cut
    }

    /// The median of the last answers.
    pub(super) fn median(&self) -> Option<Duration> {
        let mut took: Vec<Duration> = self.took.iter().copied().collect();
        took.sort_unstable();
        took.get(took.len() / 2).copied()
    }

    /// What came of a request.
    pub(super) fn came(&mut self, made: Made, came: Came) {
        if let Came::Answer(took) = came {
            if self.took.len() == REMEMBERED {
                self.took.pop_front();
            }
            self.took.push_back(took);
        }
        if made.cut != self.cut {
            return;
        }
        match came {
            Came::Nothing => {}
            Came::Load => {
                self.records.halve();
                self.requests.halve();
                self.turned();
            }
            Came::Answer(took) => {
                self.since.0 += took.as_secs_f64();
                self.since.1 += 1;
                let share = took.as_secs_f64() / TARGET.as_secs_f64();
                if share <= 0.8 {
                    self.fast(made);
                } else if share > 1.2 {
                    self.slowly();
                } else {
                    self.slow = 0;
                }
            }
        }
    }

    fn fast(&mut self, made: Made) {
        self.slow = 0;
        // A small request says nothing of larger ones.
        if made.records * 4 >= self.records() * 3 {
            let most = self.records.most / 20.0;
            let step = (self.records.now / 4.0).min(most).max(1.0);
            self.records.grow(step);
        }
        if made.crowded {
            let round = 1.0 / self.requests.now.max(1.0);
            self.requests.grow(round);
        }
    }

    fn slowly(&mut self) {
        self.slow += 1;
        if self.slow < SLOW {
            return;
        }
        self.slow = 0;
        let took = self.since.0 / f64::from(self.since.1.max(1));
        let given_back = self.records.judge(took) | self.requests.judge(took);
        // Enough to tell its effect from chance.
        let factor = (TARGET.as_secs_f64() / took).clamp(0.5, 0.7);
        let eased = self.records.ease(factor, took) || self.requests.ease(0.5, took);
        if given_back || eased {
            self.turned();
        }
    }

    /// What was under way until now no longer counts.
    fn turned(&mut self) {
        self.cut += 1;
        self.slow = 0;
        self.since = (0.0, 0);
    }
}

/// A number that is turned down when it may help, and up again bit by bit.
#[derive(Debug)]
struct Knob {
    now: f64,
    most: f64,
    /// What it was before it was turned down for slowness, and how long requests took then.
    before: Option<(f64, f64)>,
    /// Turning it down did not help while requests took this long; for so many times it is let be.
    vain: Option<(f64, u32)>,
}

impl Knob {
    fn new(most: usize) -> Self {
        let most = most.max(1) as f64;
        Knob {
            now: most,
            most,
            before: None,
            vain: None,
        }
    }

    fn whole(&self) -> usize {
        self.now as usize
    }

    fn halve(&mut self) {
        self.now = (self.now / 2.0).floor().max(1.0);
        self.before = None;
        self.vain = None;
    }

    fn grow(&mut self, step: f64) {
        self.now = (self.now + step).min(self.most);
        self.before = None;
        self.vain = None;
    }

    /// Turns it down, if that may help.
    fn ease(&mut self, factor: f64, took: f64) -> bool {
        if self.now <= 1.0 {
            return false;
        }
        if let Some((then, left)) = &mut self.vain
            && *left > 0
            && took < *then * WORSE
        {
            *left -= 1;
            return false;
        }
        self.vain = None;
        self.before = Some((self.now, took));
        self.now = (self.now * factor).floor().max(1.0);
        true
    }

    /// Requests are slow still: was it of use? It was, if they are as much faster as half of what was
    /// turned down. If not, it is given back.
    fn judge(&mut self, took: f64) -> bool {
        let Some((before, then)) = self.before.take() else {
            return false;
        };
        let hoped = (then + then * self.now / before) / 2.0;
        if took <= hoped {
            return false;
        }
        self.now = before;
        self.vain = Some((took, PATIENCE));
        true
    }
}

#[cfg(test)]
mod tests;
