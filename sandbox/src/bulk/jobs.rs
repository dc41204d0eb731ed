//! All jobs with what became of their rows: part of the store, kept in its journal.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::DAY;
use super::job::{Job, State};
use crate::clock::Millis;
use crate::ids::Id;

/// What became of a row: its record, whether that is new, and the error if it failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RowOutcome(
    pub(super) Option<Id>,
    pub(super) bool,
    pub(super) Option<Box<str>>,
);

impl RowOutcome {
    pub(super) fn failed(&self) -> bool {
        self.2.is_some()
    }
}

/// What changed in a job, as the journal keeps it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct JobLine {
    id: Id,
    /// Without one the job was deleted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    job: Option<Job>,
    /// The row that the first outcome belongs to.
    #[serde(default)]
    from: usize,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    rows: Vec<RowOutcome>,
}

#[derive(Debug)]
struct Kept {
    job: Job,
    rows: Vec<RowOutcome>,
    /// How many of the rows are in the journal.
    written: usize,
}

/// The jobs of the org.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    all: BTreeMap<Id, Kept>,
    changed: BTreeSet<Id>,
}

impl Jobs {
    pub(crate) fn add(&mut self, job: Job) {
        self.changed.insert(job.id);
        let kept = Kept {
            rows: Vec::new(),
            written: 0,
            job,
        };
        self.all.insert(kept.job.id, kept);
    }

    pub(crate) fn get(&self, id: Id) -> Option<&Job> {
        self.all.get(&id).map(|kept| &kept.job)
    }

    /// A job that is about to be changed.
    pub(crate) fn edit(&mut self, id: Id) -> Option<&mut Job> {
        let kept = self.all.get_mut(&id)?;
        self.changed.insert(id);
        Some(&mut kept.job)
    }

    /// All jobs, the latest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.all.values().rev().map(|kept| &kept.job)
    }

    pub(crate) fn remove(&mut self, id: Id) {
        if self.all.remove(&id).is_some() {
            self.changed.insert(id);
        }
    }

    /// Forgets all jobs, those under way too.
    pub(crate) fn clear(&mut self) {
        self.all.clear();
        self.changed.clear();
    }

    /// Ends jobs that stayed open for a day, and removes those that ended a week ago.
    pub(crate) fn expire(&mut self, now: Millis) -> Vec<Id> {
        let mut gone = Vec::new();
        for (id, kept) in &mut self.all {
            let job = &mut kept.job;
            if job.state == State::Open && job.created < now - DAY {
                job.state = State::Aborted;
                job.stamp = now;
                self.changed.insert(*id);
            } else if job.state.ended() && job.stamp < now - 7 * DAY {
                gone.push(*id);
            }
        }
        for id in &gone {
            self.remove(*id);
        }
        gone
    }

    /// Jobs that were to be worked off when the sandbox ended.
    pub(super) fn unfinished(&self) -> Vec<Id> {
        let going = |job: &&Job| matches!(job.state, State::UploadComplete | State::InProgress);
        let jobs = self.all.values().map(|kept| &kept.job);
        jobs.filter(going).map(|job| job.id).collect()
    }

    /// What became of the rows so far, in the order of the file.
    pub(super) fn rows(&self, id: Id) -> &[RowOutcome] {
        self.all.get(&id).map_or(&[], |kept| &kept.rows)
    }

    /// Adds what became of the next rows.
    pub(super) fn push(&mut self, id: Id, rows: impl Iterator<Item = RowOutcome>) {
        let Some(kept) = self.all.get_mut(&id) else {
            return;
        };
        for row in rows {
            kept.job.processed += 1;
            kept.job.failed += u64::from(row.failed());
            kept.rows.push(row);
        }
        self.changed.insert(id);
    }

    /// What is to be written to the journal now.
    pub(crate) fn take_changes(&mut self) -> Vec<JobLine> {
        let changed = std::mem::take(&mut self.changed);
        let lines = changed.into_iter().map(|id| match self.all.get_mut(&id) {
            None => JobLine {
                id,
                job: None,
                from: 0,
                rows: Vec::new(),
            },
            Some(kept) => {
                let from = std::mem::replace(&mut kept.written, kept.rows.len());
                JobLine {
                    id,
                    job: Some(kept.job.clone()),
                    from,
                    rows: kept.rows[from..].to_vec(),
                }
            }
        });
        lines.collect()
    }

    /// All jobs as lines of a new journal.
    pub(crate) fn lines(&self) -> impl Iterator<Item = JobLine> + '_ {
        self.all.iter().flat_map(|(id, kept)| {
            let parts = kept.rows.len().div_ceil(1_000).max(1);
            (0..parts).map(move |part| {
                let from = part * 1_000;
                let to = kept.rows.len().min(from + 1_000);
                JobLine {
                    id: *id,
                    job: Some(kept.job.clone()),
                    from,
                    rows: kept.rows[from..to].to_vec(),
                }
            })
        })
    }

    /// Takes over a line of the journal.
    pub(crate) fn replay(&mut self, line: JobLine) {
        let Some(job) = line.job else {
            self.all.remove(&line.id);
            return;
        };
        let mut rows = match self.all.remove(&line.id) {
            Some(kept) => kept.rows,
            None => Vec::new(),
        };
        rows.truncate(line.from);
        rows.extend(line.rows);
        let written = rows.len();
        self.all.insert(line.id, Kept { job, rows, written });
    }
}
