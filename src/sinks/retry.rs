//! What follows from an attempt: which records are done, which are sent again, how, and when.
//!
//! Pure. A batch is cut into parts as its records part ways; each record is in exactly one part
//! until it has its outcome, so none is lost and none is doubled.
//!
//! | class | of one record | of the request |
//! |---|---|---|
//! | record, missing parent | its outcome | halved; alone: its outcome |
//! | locked | again after a short pause, `lock_tries` times, in requests of half the size each time; then a dead letter | the same |
//! | transient for the record | again after a pause, `record_tries` times, from the second failure on in smaller requests; then a dead letter | the same; then halved; alone: suspected |
//! | service | again, as long as it takes | the same |
//! | unknown | again, as long as it takes | the same; after `unknown_tries` halved; alone: suspected |
//! | split | again with half as many; alone: a dead letter | the same |
//! | configuration, authentication | delivery stops | delivery stops |
//!
//! A record alone that the CRM fails at again and again may be the cause (a trigger that never ends),
//! or the CRM may be down: that is *suspected*, and `deliver` looks which of the two it is.

use crate::fault::{Class, Fault};
use crate::planning::{Batch, Write};

use super::Outcome;

/// How often to try.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tries {
    pub(super) record: u32,
    pub(super) lock: u32,
    pub(super) unknown: u32,
}

/// Records that travel together, and what became of them so far.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) batch: Batch,
    /// Where each write stands in the batch that was to be delivered.
    pub(super) places: Vec<usize>,
    /// Failures that count against its records.
    pub(super) tries: u32,
    /// Times that its records were locked.
    pub(super) locks: u32,
    /// Answers in a row that did not come.
    pub(super) unknowns: u32,
    /// Failures of the CRM in a row.
    pub(super) services: u32,
    /// Whether the part is to wait before it is sent, and for at least how long.
    pub(super) pause: Option<Pause>,
    /// Writes that the CRM had accepted when this part first failed, or was cut from a larger one.
    pub(super) accepted_before: Option<u64>,
    /// Its records may have been written: an answer did not come.
    pub(super) doubt: bool,
    /// It is not given up, whatever happens.
    pub(super) clings: bool,
}

/// A wait before the next attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pause {
    /// Failures from 1, for the backoff.
    pub(super) failures: u32,
    /// What the CRM asked for.
    pub(super) at_least: std::time::Duration,
    /// Records were locked: that passes sooner than other troubles.
    pub(super) lock: bool,
}

/// What follows from an attempt.
#[derive(Debug)]
pub(super) enum Next {
    /// These are done; those are sent again.
    Go {
        /// Outcomes, by their place.
        done: Vec<(usize, Outcome)>,
        /// Parts to send, in this order.
        again: Vec<Part>,
    },
    /// It is one record, and it seems to be what the CRM fails at. If the CRM works otherwise, this
    /// is its outcome; if not, it is sent again. `long`: it failed thrice as often as it should take
    /// to suspect it.
    Suspect {
        /// The record.
        part: Part,
        /// Its outcome.
        fault: Fault,
        /// See above.
        long: bool,
    },
    /// Delivery stops.
    Stop(Fault),
}

impl Part {
    pub(super) fn whole(batch: Batch, doubt: bool, clings: bool) -> Self {
        Part {
            places: (0..batch.writes.len()).collect(),
            batch,
            tries: 0,
            locks: 0,
            unknowns: 0,
            services: 0,
            pause: None,
            accepted_before: None,
            doubt,
            clings,
        }
    }

    /// It must not be given up: its records could bear either of two external ids.
    pub(super) fn clings(&self) -> bool {
        self.clings || self.doubt && self.batch.writes.iter().any(|w| w.from.is_some())
    }

    /// A part of other records that shares this one's history.
    fn with(&self, records: Vec<(usize, Write)>) -> Part {
        let (places, writes) = records.into_iter().unzip();
        Part {
            batch: Batch {
                target: self.batch.target.clone(),
                action: self.batch.action,
                writes,
            },
            places,
            tries: self.tries,
            locks: self.locks,
            unknowns: self.unknowns,
            services: 0,
            pause: None,
            accepted_before: self.accepted_before,
            doubt: self.doubt,
            clings: self.clings,
        }
    }

    fn records(&mut self) -> Vec<(usize, Write)> {
        let places = std::mem::take(&mut self.places);
        let writes = std::mem::take(&mut self.batch.writes);
        places.into_iter().zip(writes).collect()
    }

    /// Two parts of half the records (of a single record, one).
    fn halves(mut self) -> Vec<Part> {
        let records = self.records();
        let half = records.len().div_ceil(2);
        self.pieces(records, half)
    }

    /// Parts of so many of these records.
    fn pieces(&self, mut records: Vec<(usize, Write)>, size: usize) -> Vec<Part> {
        let mut parts = Vec::new();
        while !records.is_empty() {
            let rest = records.split_off(size.clamp(1, records.len()));
            parts.push(self.with(std::mem::replace(&mut records, rest)));
        }
        parts
    }

    /// Leaves only its first records in this part; the others make up another.
    pub(super) fn keep_first(&mut self, size: usize) -> Option<Part> {
        if self.places.len() <= size {
            return None;
        }
        let mut records = self.records();
        let rest = records.split_off(size.clamp(1, records.len()));
        (self.places, self.batch.writes) = records.into_iter().unzip();
        let mut rest = self.with(rest);
        rest.services = self.services;
        Some(rest)
    }

    fn pause(&mut self, failures: u32, fault: &Fault) {
        self.pause = Some(Pause {
            failures,
            at_least: fault.retry_after.unwrap_or_default(),
            lock: fault.class == Class::Locked,
        });
    }

    fn refuse(&self, fault: &Fault) -> Next {
        let refused = |place| (place, Outcome::Refused(fault.clone()));
        Next::Go {
            done: self.places.iter().copied().map(refused).collect(),
            again: Vec::new(),
        }
    }

    fn go(again: Vec<Part>) -> Next {
        let done = Vec::new();
        Next::Go { done, again }
    }

    /// After a request that was answered record by record.
    pub(super) fn answered(mut self, outcomes: Vec<Outcome>, tries: Tries) -> Next {
        let all = self.places.len();
        self.unknowns = 0;
        let mut done = Vec::with_capacity(all);
        let (mut transient, mut service, mut split) = (Vec::new(), Vec::new(), Vec::new());
        let (mut longest, mut transient_wait) = (None::<Fault>, None::<Fault>);
        let (mut locked, mut lock_wait) = (Vec::new(), None::<Fault>);
        for ((place, write), outcome) in self.records().into_iter().zip(outcomes) {
            let mut fault = match outcome {
                Outcome::Refused(fault) => fault,
                Outcome::Written { .. }
                | Outcome::Absent
                | Outcome::Overtaken
                | Outcome::Deferred { .. } => {
                    done.push((place, outcome));
                    continue;
                }
            };
            match fault.class {
                Class::Record | Class::MissingParent => done.push((place, Outcome::Refused(fault))),
                Class::RecordTransient if self.tries + 1 < tries.record => {
                    transient.push((place, write));
                    keep_longest(&mut transient_wait, fault);
                }
                Class::Locked if self.locks + 1 < tries.lock => {
                    locked.push((place, write));
                    keep_longest(&mut lock_wait, fault);
                }
                Class::Split if all > 1 => split.push((place, write)),
                Class::RecordTransient | Class::Locked | Class::Split => {
                    fault.class = Class::Record;
                    done.push((place, Outcome::Refused(fault)));
                }
                Class::Service | Class::Unknown => {
                    self.doubt |= fault.class == Class::Unknown;
                    service.push((place, write));
                    keep_longest(&mut longest, fault);
                }
                Class::Configuration | Class::Authentication => return Next::Stop(fault),
            }
        }
        let mut again = Vec::new();
        if !split.is_empty() {
            let whole = split.len() == all;
            let part = self.with(split);
            again.extend(if whole { part.halves() } else { vec![part] });
        }
        if let Some(fault) = longest {
            let mut part = self.with(service);
            part.services = self.services.saturating_add(1);
            part.pause(part.services, &fault);
            again.push(part);
        }
        if let Some(fault) = lock_wait {
            // Smaller requests hold fewer locks, and for a shorter time.
            let parts = self.pieces(locked, all.div_ceil(2));
            again.extend(parts.into_iter().map(|mut part| {
                part.locks += 1;
                part.pause(part.locks, &fault);
                part
            }));
        }
        if let Some(fault) = transient_wait {
            let mut part = self.with(transient);
            part.tries += 1;
            let tries = part.tries;
            // The first pause often is enough; after it, smaller requests hold fewer locks.
            let parts = if tries >= 2 {
                part.halves()
            } else {
                vec![part]
            };
            again.extend(parts.into_iter().map(|mut part| {
                part.pause(tries, &fault);
                part
            }));
        }
        Next::Go { done, again }
    }

    /// After a request that was refused, or not answered, as a whole. `accepted`: writes that the CRM
    /// has accepted so far.
    pub(super) fn failed(mut self, mut fault: Fault, tries: Tries, accepted: u64) -> Next {
        let alone = self.places.len() <= 1;
        self.accepted_before.get_or_insert(accepted);
        self.doubt |= fault.class == Class::Unknown;
        match fault.class {
            Class::Configuration | Class::Authentication => Next::Stop(fault),
            Class::Service => {
                self.services = self.services.saturating_add(1);
                self.pause(self.services, &fault);
                Part::go(vec![self])
            }
            Class::Split | Class::Record | Class::MissingParent if !alone => {
                Part::go(self.halves())
            }
            Class::Split | Class::Record | Class::MissingParent => {
                if fault.class == Class::Split {
                    fault.class = Class::Record;
                }
                self.refuse(&fault)
            }
            Class::Locked if self.locks + 1 < tries.lock => {
                let parts = self.halves();
                let later = parts.into_iter().map(|mut part| {
                    part.locks += 1;
                    part.pause(part.locks, &fault);
                    part
                });
                Part::go(later.collect())
            }
            Class::Locked => {
                fault.class = Class::Record;
                self.refuse(&fault)
            }
            Class::RecordTransient | Class::Unknown => {
                let spent = if fault.class == Class::Unknown {
                    self.unknowns = self.unknowns.saturating_add(1);
                    (self.unknowns, tries.unknown)
                } else {
                    self.tries = self.tries.saturating_add(1);
                    (self.tries, tries.record)
                };
                self.pause(spent.0, &fault);
                if spent.0 < spent.1 {
                    return Part::go(vec![self]);
                }
                if alone {
                    fault.class = Class::Record;
                    return Next::Suspect {
                        part: self,
                        fault,
                        long: spent.0 >= spent.1.saturating_mul(3),
                    };
                }
                // Each half is tried at once: one of them is likely to be good.
                self.accepted_before = Some(accepted);
                Part::go(self.halves())
            }
        }
    }
}

fn keep_longest(kept: &mut Option<Fault>, fault: Fault) {
    if kept
        .as_ref()
        .is_none_or(|k| k.retry_after < fault.retry_after)
    {
        *kept = Some(fault);
    }
}
