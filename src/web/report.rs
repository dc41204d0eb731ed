//! How it goes, in one piece: what `/status` answers and `syncline status` prints. Written once for
//! a running process and once for a store that nobody runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::kept_fields::KeptFieldReport;
use crate::change::{Timestamp, Verdict};
use crate::clock::Clock;
use crate::fault::{Finding, Result};
use crate::planning::{Alarm, Leave, Reason};
use crate::sinks::BreakerState;
use crate::sinks::budget::BudgetReport;
use crate::store::{
    BulkJobs as _, Checkpoints as _, Loads as _, Progress, Shelf as _, ShelfCounts, SledStore,
    Stats, Verdicts,
};
use crate::supervisor::settle::KeptField;
use crate::supervisor::start::Handle;
use crate::supervisor::{guard, status};

pub use super::jobs::BulkReport;
pub use super::progression::{BackfillReport, JobReport, severity};

/// What a process is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for one of the sides, or looks at them.
    Starting,
    /// It reads changes and writes records.
    Running,
    /// It runs, and the connection to the database is broken at the moment.
    SourceDown,
    /// It runs, and the CRM takes nothing at the moment.
    CrmDown,
    /// Nobody runs it.
    Stopped,
}

impl State {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            State::Starting => "starting: both sides are being looked at",
            State::Running => "running",
            State::SourceDown => "running, but the connection to the database is broken",
            State::CrmDown => "running, but the CRM takes nothing at the moment",
            State::Stopped => "not running",
        }
    }
}

/// How it goes. LSNs are texts as Postgres writes them; times are RFC 3339 in UTC.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The program's version.
    pub version: String,
    /// What it is doing.
    pub state: State,
    /// The process, if one runs.
    pub pid: Option<u32>,
    /// Since when it runs.
    pub since: Option<String>,
    /// Age in seconds of the oldest change without a verdict; 0 when there is none, null when it is
    /// not known.
    pub lag_seconds: Option<f64>,
    /// The database.
    pub source: SourceReport,
    /// Changes by table and verdict, since the store was made.
    pub verdicts: BTreeMap<String, BTreeMap<String, i64>>,
    /// Operations on the shelf, by reason. All four are always there.
    pub shelf: BTreeMap<String, u64>,
    /// Fields that hold what people wrote instead of what the database has.
    #[serde(default)]
    pub kept_fields: KeptFieldsSummary,
    /// Seconds by which the CRM's clock is ahead of the database's, as far as that is certain; null when
    /// it is not known.
    #[serde(default)]
    pub clock_difference_seconds: Option<f64>,
    /// Existing rows, by table, in the order in which they are read.
    pub backfills: Vec<BackfillReport>,
    /// What is to be said of the rules in force.
    pub findings: Vec<Finding>,
    /// Brakes that are on.
    pub brakes: Vec<BrakeReport>,
    /// Schema changes since the start, by kind.
    pub schema_changes: BTreeMap<String, u64>,
    /// Values that were cut or cleared to fit (`on_invalid`) since the rules are in force, by table and
    /// field.
    pub made_to_fit: BTreeMap<String, BTreeMap<String, u64>>,
    /// Members of messages that no rule names, since the rules are in force, by section of the outbox.
    pub unknown_members: BTreeMap<String, BTreeMap<String, u64>>,
    /// The CRM; null when nobody talks to it.
    pub crm: Option<CrmReport>,
    /// Bulk jobs that are at work, or were when the process ended.
    #[serde(default)]
    pub bulk_jobs: Vec<BulkReport>,
    /// The store; null when there is none yet.
    pub store: Option<StoreReport>,
}

/// Fields that hold what people wrote.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct KeptFieldsSummary {
    /// How many there are.
    pub count: u64,
    /// Times that one was left so since the start.
    pub since_start: u64,
    /// The newest of these, the last one first.
    pub newest: Vec<KeptFieldReport>,
}

/// A brake that is on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BrakeReport {
    /// The table, in the configuration's words.
    pub table: String,
    /// The code of what it holds: `brake_deletes` or `brake_writes`.
    pub code: String,
    /// For people.
    pub what: String,
}

impl BrakeReport {
    fn new(alarm: &Alarm) -> Self {
        BrakeReport {
            table: alarm.table.to_string(),
            code: alarm.kind.code().into(),
            what: alarm.what.clone(),
        }
    }
}

/// The database's side.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct SourceReport {
    /// The slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
    /// The replication connection stands.
    pub connected: bool,
    /// Times it was made anew.
    pub restarts: u64,
    /// What has arrived.
    pub received_lsn: Option<String>,
    /// Up to where every change has its verdict on disk.
    pub durable_lsn: Option<String>,
    /// What Postgres has been told.
    pub reported_lsn: Option<String>,
    /// Bytes of WAL that have arrived and are not durable yet.
    pub in_work_bytes: Option<u64>,
    /// The last change with a verdict: LSN and number in its transaction.
    pub settled: Option<String>,
}

/// The CRM's side.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CrmReport {
    /// `closed` (requests flow), `open` or `probing`.
    pub breaker: String,
    /// Seconds since it began to fail; null while it works.
    pub failing_seconds: Option<f64>,
    /// Code of the last failure of a request as a whole, if none succeeded since.
    pub last_fault: Option<String>,
    /// Attempts since the start.
    pub attempts: u64,
    /// Those of them that repeated an earlier one.
    pub retries: u64,
    /// Requests since the start, by kind.
    pub calls: BTreeMap<String, u64>,
    /// Windows sent since the start.
    pub windows: u64,
    /// Operations in them.
    pub operations: u64,
    /// Requests of the day by all clients of the org, and their limit.
    pub daily: Option<Daily>,
    /// What of them we may use, and for how long that lasts; null while no limit is known.
    pub budget: Option<BudgetReport>,
    /// Everything goes to the shelf, because the database would keep too much WAL otherwise.
    pub deferring_for_wal: bool,
    /// Bulk jobs that ended since the start.
    #[serde(default)]
    pub bulk_jobs: u64,
    /// Records in them.
    #[serde(default)]
    pub bulk_records: u64,
    /// How large requests are and how many go at once, by object and kind.
    pub pace: Vec<Pace>,
}

/// The pace of an object's requests.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Pace {
    /// The object.
    pub object: String,
    /// `upsert`, `update`, `delete` or `hard delete`.
    pub kind: String,
    /// Records a request may have now.
    pub records: u64,
    /// Requests that may be under way at once now.
    pub requests: u64,
    /// Median of the times of the last answers; null before the first.
    pub median_seconds: Option<f64>,
    /// Times that records were locked by somebody else, since the start.
    pub locked: u64,
}

/// Requests of a day.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Daily {
    /// Used.
    pub used: u64,
    /// The limit.
    pub limit: u64,
}

/// The store.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StoreReport {
    /// Its directory.
    pub path: String,
    /// Bytes of its database file.
    pub file_bytes: u64,
    /// Commits since it was opened.
    pub commits: u64,
    /// Seconds that the last commit took.
    pub last_commit_seconds: f64,
}

/// What is known before anything is started.
#[derive(Clone, Debug)]
pub struct Basics {
    /// The slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
    /// The state directory.
    pub state: String,
    /// When the process started.
    pub since: Timestamp,
}

impl Basics {
    fn report(&self, state: State) -> Report {
        Report {
            version: env!("CARGO_PKG_VERSION").into(),
            state,
            pid: None,
            since: None,
            lag_seconds: None,
            source: SourceReport {
                slot: self.slot.clone(),
                publication: self.publication.clone(),
                ..SourceReport::default()
            },
            verdicts: BTreeMap::new(),
            shelf: shelf(&ShelfCounts::new()),
            kept_fields: KeptFieldsSummary::default(),
            clock_difference_seconds: None,
            backfills: Vec::new(),
            findings: Vec::new(),
            made_to_fit: BTreeMap::new(),
            unknown_members: BTreeMap::new(),
            brakes: Vec::new(),
            schema_changes: BTreeMap::new(),
            crm: None,
            bulk_jobs: Vec::new(),
            store: None,
        }
    }

    fn store(&self, stats: Stats) -> StoreReport {
        let last = stats.last_write + stats.last_flush + stats.last_sync;
        StoreReport {
            path: self.state.clone(),
            file_bytes: stats.file_bytes,
            commits: stats.commits,
            last_commit_seconds: last.as_secs_f64(),
        }
    }

    /// Of this process, which runs. `handle` once everything is in place.
    pub fn running(&self, store: &SledStore, handle: Option<&Handle>) -> Report {
        let mut report = self.report(State::Starting);
        report.pid = Some(std::process::id());
        report.since = Some(self.since.to_string());
        report.store = Some(self.store(store.stats()));
        let Some(handle) = handle else {
            return report;
        };
        let snapshot = handle.status.snapshot();
        let capture = *handle.capture.borrow();
        let lsns = capture.lsns;
        report.source = SourceReport {
            connected: capture.connected,
            restarts: capture.restarts,
            received_lsn: Some(lsns.received.to_string()),
            durable_lsn: Some(lsns.durable.to_string()),
            reported_lsn: Some(lsns.reported.to_string()),
            in_work_bytes: Some(lsns.received.0.saturating_sub(lsns.durable.0)),
            settled: Some(snapshot.settled.to_string()),
            ..report.source
        };
        let age = |oldest| Clock::System.now().since(oldest).as_secs_f64();
        report.lag_seconds = Some(snapshot.oldest_under_way.map_or(0.0, age));
        report.verdicts = by_table(&snapshot.verdicts);
        report.shelf = shelf(&snapshot.shelf);
        report.kept_fields = KeptFieldsSummary {
            count: snapshot.kept_fields,
            since_start: snapshot.kept_fields_since,
            newest: snapshot.newest_kept_fields.iter().map(kept_field).collect(),
        };
        let crm = handle.delivery.lead();
        let difference = handle.clocks.difference(crm) as f64 / 1_000_000.0;
        report.clock_difference_seconds = crm.map(|_| difference);
        report.backfills = snapshot.backfills.iter().map(BackfillReport::new).collect();
        report.findings = snapshot.brakes.iter().map(guard::finding).collect();
        report.findings.extend(snapshot.findings);
        report.brakes = snapshot.brakes.iter().map(BrakeReport::new).collect();
        let kinds = snapshot.schema_changes.iter();
        report.schema_changes = kinds.map(|(kind, n)| ((*kind).to_owned(), *n)).collect();
        for (table, field, count) in snapshot.mapping.iter().flat_map(|m| m.adjusted()) {
            let fields = report.made_to_fit.entry(table.to_owned()).or_default();
            fields.insert(field.to_owned(), count);
        }
        for outbox in snapshot.mapping.iter().flat_map(|m| m.outbox()) {
            let (table, members) = (&outbox.table().target.table, outbox.unknown_members());
            if !members.is_empty() {
                report.unknown_members.insert(table.to_string(), members);
            }
        }
        let health = handle.delivery.health();
        let failing = health.failing_for.is_some();
        let jobs = handle.delivery.jobs();
        report.bulk_jobs = jobs.under_way().map(BulkReport::from).into_iter().collect();
        let (bulk_jobs, bulk_records) = jobs.finished();
        report.crm = Some(CrmReport {
            bulk_jobs,
            bulk_records,
            breaker: breaker(health.breaker).into(),
            failing_seconds: health.failing_for.map(|d| d.as_secs_f64()),
            last_fault: health.last_fault.map(|(code, _)| code),
            attempts: health.attempts,
            retries: health.retries,
            calls: health
                .usage
                .calls
                .iter()
                .map(|(kind, n)| ((*kind).to_owned(), *n))
                .collect(),
            windows: snapshot.windows,
            operations: snapshot.operations,
            daily: health.usage.daily.map(|d| Daily {
                used: d.used,
                limit: d.max,
            }),
            budget: handle.delivery.budget().report(),
            deferring_for_wal: handle.delivery.gate().held() == Leave::Nothing,
            pace: health
                .pace
                .into_iter()
                .map(|pace| Pace {
                    object: pace.object,
                    kind: pace.kind.to_owned(),
                    records: pace.records as u64,
                    requests: pace.requests as u64,
                    median_seconds: pace.median.map(|d| d.as_secs_f64()),
                    locked: pace.locked,
                })
                .collect(),
        });
        report.state = match (capture.connected, failing) {
            (false, _) => State::SourceDown,
            (true, true) => State::CrmDown,
            (true, false) => State::Running,
        };
        report
    }

    /// Of a store that nobody runs; `None` for one that was never made.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn stopped(&self, store: Option<&SledStore>) -> Result<Report> {
        let mut report = self.report(State::Stopped);
        let Some(store) = store else {
            return Ok(report);
        };
        let recovered = store.recover().await?;
        if recovered.identity.is_some() {
            let Progress {
                checkpoint,
                settled,
            } = recovered.progress;
            report.source.durable_lsn = Some(checkpoint.to_string());
            report.source.settled = Some(settled.to_string());
        }
        report.verdicts = by_table(&store.verdicts().await?);
        report.shelf = shelf(&store.shelf_counts().await?);
        report.kept_fields.count = store.kept_fields().await?;
        let loads = store.loads().await?;
        let far = loads
            .iter()
            .map(|load| BackfillReport::new(&status::stored(load)));
        report.backfills = far.collect();
        let left = store.bulk_jobs().await?;
        report.bulk_jobs = left.into_iter().map(BulkReport::from).collect();
        report.store = Some(self.store(store.stats()));
        Ok(report)
    }
}

impl Report {
    /// Operations on the shelf that only a person can free.
    pub fn needs_attention(&self) -> u64 {
        [Reason::DeadLetter, Reason::Held]
            .iter()
            .filter_map(|r| self.shelf.get(word(*r)))
            .sum()
    }

    /// Changes by verdict, of all tables.
    pub fn total(&self, verdict: Verdict) -> i64 {
        let tables = self.verdicts.values();
        tables.filter_map(|t| t.get(verdict.word())).sum()
    }
}

/// The word of a reason in JSON, metrics and on the command line.
pub fn word(reason: Reason) -> &'static str {
    match reason {
        Reason::DeadLetter => "dead_letter",
        Reason::Waiting => "waiting",
        Reason::Held => "held",
        Reason::Deferred => "deferred",
    }
}

/// All reasons, in the order in which they are shown.
pub const REASONS: [Reason; 4] = [
    Reason::DeadLetter,
    Reason::Waiting,
    Reason::Held,
    Reason::Deferred,
];

/// The word of a state of the circuit breaker.
pub fn breaker(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "closed",
        BreakerState::Open => "open",
        BreakerState::Probing => "probing",
    }
}

fn kept_field(field: &KeptField) -> KeptFieldReport {
    KeptFieldReport {
        object: field.object.clone(),
        external_id: field.external_id.clone(),
        field: field.field.clone(),
        edited: field.edited.to_string(),
    }
}

fn shelf(counts: &ShelfCounts) -> BTreeMap<String, u64> {
    let count = |reason| counts.get(&reason).copied().unwrap_or(0);
    REASONS.map(|r| (word(r).to_owned(), count(r))).into()
}

fn by_table(verdicts: &Verdicts) -> BTreeMap<String, BTreeMap<String, i64>> {
    let mut tables: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
    for ((table, verdict), count) in verdicts {
        tables
            .entry(table.clone())
            .or_default()
            .insert(verdict.word().to_owned(), *count);
    }
    tables
}
