//! How it goes, for those who ask: written by the loop, read by commands and the admin interface.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::adapt::Adapter;
use super::backfill::Backfill;
use super::settle::KeptField;

use crate::change::{Lsn, Position, Timestamp, Verdict};
use crate::decode::SchemaChange;
use crate::fault::Finding;
use crate::mapping::Mapping;
use crate::planning::{Alarm, Reason, Window};
use crate::store::{Job, Load, Progress, Rowcount, Settlement, ShelfCounts, Verdicts};

/// Kept fields that are told of one by one.
const NEWEST: usize = 20;

/// What is known of the running process.
#[derive(Debug, Default)]
pub struct Status(Mutex<Snapshot>);

/// One look at it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The durable LSN.
    pub checkpoint: Lsn,
    /// The last change with a verdict.
    pub settled: Position,
    /// Windows sent since the start.
    pub windows: u64,
    /// Operations sent in them.
    pub operations: u64,
    /// Commit time of the oldest change in the window under way; none while nothing is.
    pub oldest_under_way: Option<Timestamp>,
    /// Verdicts by table, since the store was made.
    pub verdicts: Verdicts,
    /// What is on the shelf, by reason.
    pub shelf: ShelfCounts,
    /// Fields left as people have them since the start.
    pub kept_fields_since: u64,
    /// Fields that hold what people wrote instead of what the database has.
    pub kept_fields: u64,
    /// The newest of them, the last one first.
    pub newest_kept_fields: VecDeque<KeptField>,
    /// Existing rows, by table.
    pub backfills: Vec<Progression>,
    /// What is to be said of the rules in force.
    pub findings: Vec<Finding>,
    /// Brakes that are on.
    pub brakes: Vec<Alarm>,
    /// Schema changes since the start, by kind.
    pub schema_changes: BTreeMap<&'static str, u64>,
    /// The rules in force, once there are some.
    pub mapping: Option<Arc<Mapping>>,
    /// When and from where each backfill went on in this life.
    meters: BTreeMap<String, (Instant, u64)>,
    /// Something may be on the shelf.
    shelf_in_use: bool,
}

/// How far the existing rows of a table have been read.
#[derive(Clone, Debug)]
pub struct Progression {
    /// The table, in the configuration's words.
    pub table: String,
    /// Where it stands.
    pub state: Reading,
    /// The backfill that runs, or whose turn comes; none when none does.
    pub job: Option<Job>,
    /// Those that follow it.
    pub queued: Vec<Job>,
    /// Those that ended: the last of each kind, the latest first.
    pub ended: Vec<Job>,
    /// Rows read a second, in this life of the process.
    pub rows_per_second: f64,
    /// Seconds to go, about.
    pub seconds_left: Option<u64>,
    /// What it waits for, or why it does not go on.
    pub why: Option<String>,
}

/// Where the reading of a table's existing rows stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// Nothing was asked for, and nothing has been read.
    None,
    /// Its turn comes.
    Queued,
    /// It is being read.
    Running,
    /// It cannot go on by itself.
    Stopped,
    /// All of it has been read.
    Loaded,
}

impl Progression {
    /// The backfill to tell of: the one that runs, else the one that ended last.
    pub fn told(&self) -> Option<&Job> {
        self.job.as_ref().or(self.ended.first())
    }

    /// Rows read, and what became of them.
    pub fn rows(&self) -> Rowcount {
        self.told().map(|job| job.rows).unwrap_or_default()
    }

    /// Rows there are, about.
    pub fn expected(&self) -> u64 {
        match (&self.job, self.ended.first()) {
            (Some(job), _) => job.expected.max(job.rows.read),
            (None, Some(last)) => last.rows.read,
            (None, None) => 0,
        }
    }

    /// It cannot go faster than so many rows a second, whatever the first pages looked like.
    fn throttle(&mut self, rows_per_second: Option<u64>) {
        let most = rows_per_second.map_or(f64::INFINITY, |rate| rate as f64);
        self.rows_per_second = self.rows_per_second.min(most);
        let rate = self.rows_per_second;
        let read = self.job.as_ref().map_or(0, |job| job.rows.read);
        let left = self.expected().saturating_sub(read);
        self.seconds_left = (rate > 0.0).then(|| (left as f64 / rate).ceil() as u64);
    }

    /// How much of it is read, from 0 to 1.
    pub fn share(&self) -> f64 {
        match &self.job {
            Some(job) => (job.rows.read as f64 / self.expected().max(1) as f64).min(1.0),
            None if self.state == Reading::Loaded => 1.0,
            None => 0.0,
        }
    }
}

impl Snapshot {
    /// All changes with this verdict.
    pub fn total(&self, verdict: Verdict) -> i64 {
        self.verdicts
            .iter()
            .filter(|((_, v), _)| *v == verdict)
            .map(|(_, n)| n)
            .sum()
    }
}

impl Status {
    /// From what the store holds.
    pub fn new(progress: Progress, verdicts: Verdicts, shelf: ShelfCounts, in_use: bool) -> Self {
        Status(Mutex::new(Snapshot {
            checkpoint: progress.checkpoint,
            settled: progress.settled,
            verdicts,
            shelf,
            shelf_in_use: in_use,
            ..Snapshot::default()
        }))
    }

    /// How it goes now.
    pub fn snapshot(&self) -> Snapshot {
        self.lock().clone()
    }

    pub(super) fn shelf_in_use(&self) -> bool {
        self.lock().shelf_in_use
    }

    /// A window is about to be sent.
    pub(super) fn window(&self, window: &Window, oldest: Option<Timestamp>) {
        let mut inner = self.lock();
        if !window.is_quiet() {
            inner.windows += 1;
            inner.operations += window.items.len() as u64;
        }
        inner.oldest_under_way = oldest;
    }

    /// A settlement is about to be made durable.
    pub(super) fn settled(&self, settlement: &Settlement) {
        let mut inner = self.lock();
        inner.checkpoint = settlement.progress.checkpoint;
        inner.settled = settlement.progress.settled;
        if settlement.intent.is_none() {
            // No window follows it: nothing is under way.
            inner.oldest_under_way = None;
        }
        inner.shelf_in_use |= !settlement.shelved.is_empty();
        inner.kept_fields = inner
            .kept_fields
            .saturating_add_signed(settlement.kept_fields);
        for (key, count) in &settlement.verdicts {
            *inner.verdicts.entry(key.clone()).or_default() += count;
        }
    }

    /// Fields are left as people have them.
    pub(super) fn kept_fields(&self, fields: Vec<KeptField>) {
        if fields.is_empty() {
            return;
        }
        let mut inner = self.lock();
        inner.kept_fields_since += fields.len() as u64;
        for field in fields {
            inner.newest_kept_fields.push_front(field);
        }
        inner.newest_kept_fields.truncate(NEWEST);
    }

    /// So many fields held what people wrote when the process began.
    pub fn kept_fields_before(&self, count: u64) {
        self.lock().kept_fields = count;
    }

    /// Commit time of the oldest change under way.
    pub(super) fn under_way(&self) -> Option<Timestamp> {
        self.lock().oldest_under_way
    }

    /// These rules hold now.
    pub(super) fn rules(&self, adapter: &Adapter) {
        let mut inner = self.lock();
        inner.findings = adapter.findings().to_vec();
        inner.mapping = Some(Arc::clone(adapter.mapping()));
    }

    /// These brakes are on.
    pub(super) fn alarms(&self, brakes: Vec<Alarm>) {
        self.lock().brakes = brakes;
    }

    /// Schemas changed.
    pub(super) fn changed(&self, changes: &[(String, SchemaChange)]) {
        let mut inner = self.lock();
        for (_, change) in changes {
            *inner.schema_changes.entry(change.word()).or_default() += 1;
        }
    }

    /// How the backfills go.
    pub(super) fn backfills(&self, backfill: &Backfill) {
        let mut inner = self.lock();
        let loads = backfill.loads();
        inner.backfills = loads
            .map(|(load, turn, why)| {
                let mut far = progression(&mut inner.meters, load, turn, why);
                far.throttle(backfill.throttle());
                far
            })
            .collect();
    }

    /// Tells the log how the backfills go.
    pub(super) fn tell_backfills(&self) {
        let inner = self.lock();
        let running = |p: &&Progression| p.state == Reading::Running;
        for backfill in inner.backfills.iter().filter(running) {
            tracing::info!(
                table = backfill.table,
                rows = backfill.rows().read,
                of = backfill.expected(),
                percent = (backfill.share() * 100.0) as u64,
                rows_per_second = backfill.rows_per_second as u64,
                seconds_left = backfill.seconds_left,
                "backfill goes on"
            );
        }
    }

    /// What the shelf holds now.
    pub(super) fn shelf(&self, counts: ShelfCounts, in_use: bool) {
        let mut inner = self.lock();
        inner.shelf = counts;
        inner.shelf_in_use = in_use;
    }

    /// Operations on the shelf for this reason.
    pub fn on_shelf(&self, reason: Reason) -> u64 {
        self.lock().shelf.get(&reason).copied().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        // A panic elsewhere leaves counters, not broken state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far the existing rows of a table have been read, for a store that nobody runs.
pub fn stored(load: &Load) -> Progression {
    progression(&mut BTreeMap::new(), load, false, None)
}

fn progression(
    meters: &mut BTreeMap<String, (Instant, u64)>,
    load: &Load,
    turn: bool,
    why: Option<String>,
) -> Progression {
    let job = load.job();
    let read = job.map_or(0, |j| j.rows.read);
    let state = match (job, turn) {
        (None, _) if load.loaded => Reading::Loaded,
        (None, _) => Reading::None,
        (Some(_), true) => Reading::Running,
        (Some(_), false) if why.is_some() => Reading::Stopped,
        (Some(_), false) => Reading::Queued,
    };
    let rate = match state {
        Reading::Running => {
            let meter = meters
                .entry(load.table.clone())
                .or_insert_with(|| (Instant::now(), read));
            if read < meter.1 {
                // The next one.
                *meter = (Instant::now(), read);
            }
            (read - meter.1) as f64 / meter.0.elapsed().as_secs_f64().max(0.1)
        }
        _ => {
            meters.remove(&load.table);
            0.0
        }
    };
    Progression {
        table: load.table.clone(),
        state,
        job: job.cloned(),
        queued: load.jobs.iter().skip(1).cloned().collect(),
        ended: load.ended.clone(),
        rows_per_second: rate,
        seconds_left: None,
        why,
    }
}
