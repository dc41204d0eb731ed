//! The backfills that there are, and the order of their tables.

use super::{Backfill, Current};
use crate::change::Timestamp;
use crate::mapping::Mapping;
use crate::planning::Objects;
use crate::store::{Job, JobKind, Load, Rowcount};

impl Backfill {
    /// Follows the rules: which tables there are, which come first, which are halted. Tables that
    /// have never been loaded get their first load.
    /// True: what was being read is of no use any more.
    pub fn follow(&mut self, mapping: &Mapping, objects: &Objects, now: Timestamp) -> bool {
        let mut anew = Vec::new();
        let depth = |table: &str| {
            let target = mapping.by_name(table).map(|t| t.target.id);
            target.and_then(|id| objects.depth.get(&id)).copied()
        };
        let mut order: Vec<Box<str>> = mapping.tables().map(|t| t.target.table.clone()).collect();
        order.sort_by_key(|table| depth(table));
        self.order = order;
        self.halted.clear();
        for table in mapping.tables() {
            let name = &table.target.table;
            if table.halted.is_some() {
                self.halted.push(name.clone());
            }
            let load = self.loads.entry(name.clone()).or_insert_with(|| Load {
                table: name.to_string(),
                ..Load::default()
            });
            if load.oid != table.oid {
                // Made anew: its rows are others.
                load.oid = table.oid;
                load.loaded = false;
                for job in &mut load.jobs {
                    job.after = None;
                }
                anew.push(name.clone());
            }
            let first = |job: &Job| job.kind == JobKind::FirstLoad;
            if self.settings.first_load && !load.loaded && !load.jobs.iter().any(first) {
                load.jobs.insert(0, job(JobKind::FirstLoad, now));
                self.unsaved.push(name.clone());
                anew.push(name.clone());
            }
        }
        let over = |c: &Current| self.halted.contains(&c.table) || anew.contains(&c.table);
        let left = self.current.as_ref().is_some_and(over);
        if left {
            self.leave();
        }
        left
    }

    /// One more backfill.
    pub fn add(&mut self, table: &str, job: Job) {
        let Some(load) = self.loads.get_mut(table) else {
            return;
        };
        let same = |j: &&mut Job| {
            (j.kind, &j.column, &j.filter, &j.after) == (job.kind, &job.column, &job.filter, &None)
        };
        if load.jobs.iter_mut().find(same).is_none() {
            load.jobs.push(job);
        }
        self.refused.remove(table);
        self.unsaved.push(table.into());
    }

    /// A row changed its key, and the stream left out fields that it has. It may have moved from the rows
    /// that are still to be read to those that have been: then no page brings it. So the table is read
    /// once more.
    pub fn moved(&mut self, table: &str, now: Timestamp) {
        let reading = self.current.as_ref().is_some_and(|c| *c.table == *table);
        let job_here = self.loads.get(table).and_then(Load::job);
        if job_here.is_some_and(|job| reading || job.after.is_some()) {
            self.add(table, job(JobKind::Mend, now));
        }
    }

    /// A person asks for one. If it stopped, it goes on where it stands.
    pub fn ask(&mut self, table: &str, job: Job) {
        let stopped = self.refused.remove(table).is_some();
        let same = |j: &Job| (&j.column, &j.filter) == (&job.column, &job.filter);
        let goes_on = self
            .loads
            .get(table)
            .is_some_and(|load| stopped && load.jobs.iter().any(same));
        if !goes_on {
            self.add(table, job);
        }
    }

    /// Gives up the backfills of a table. False: there are none.
    pub fn cancel(&mut self, table: &str) -> bool {
        let Some(load) = self.loads.get_mut(table).filter(|l| !l.jobs.is_empty()) else {
            return false;
        };
        // What was not loaded would be begun again at the next start, and is said to be done.
        load.loaded |= load.jobs.iter().any(|j| j.kind == JobKind::FirstLoad);
        load.jobs.clear();
        self.unsaved.push(table.into());
        if self.current.as_ref().is_some_and(|c| *c.table == *table) {
            self.leave();
        }
        true
    }

    /// What has to be stored beside that.
    pub fn unsaved(&mut self) -> Vec<Load> {
        let mut names = std::mem::take(&mut self.unsaved);
        names.sort();
        names.dedup();
        names
            .iter()
            .filter_map(|n| self.loads.get(n).cloned())
            .collect()
    }

    /// Something has to be stored that no window brings along.
    pub fn has_unsaved(&self) -> bool {
        !self.unsaved.is_empty()
    }

    /// All tables, in the order in which they are read; whether it is this one's turn, and why it
    /// does not go on.
    pub fn loads(&self) -> impl Iterator<Item = (&Load, bool, Option<String>)> {
        self.order.iter().filter_map(|name| {
            let load = self.loads.get(name)?;
            let current = self.current.as_ref().is_some_and(|c| c.table == *name);
            let why = match self.refused.get(name) {
                Some(error) => Some(error.clone()),
                None if self.halted.contains(name) => Some("the table is halted".to_owned()),
                None if current && !self.waits_for.is_empty() => Some(format!(
                    "it waits for transactions that were writing when it began: {}",
                    self.waits_for.join("; ")
                )),
                None => None,
            };
            Some((load, current, why))
        })
    }
}

/// A backfill of a whole table.
pub fn job(kind: JobKind, since: Timestamp) -> Job {
    Job {
        kind,
        column: None,
        filter: None,
        after: None,
        expected: 0,
        rows: Rowcount::default(),
        pages: 0,
        since,
    }
}
