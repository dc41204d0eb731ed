//! Reading existing rows beside the stream: which table, from where, how fast.
//!
//! ```text
//!            ┌── open: watermark, wait for writers ──┐
//!  Load ─► choose ─► read a page ─► expect ─► mark ─► (the stream reaches the mark) ─► window
//!   ▲                                                                                   │
//!   └───────────────────────────── settled with the window ◄───────────────────────────┘
//! ```
//!
//! One page is read, marked and waits for its mark at a time; the next is read while the window that
//! holds it is on its way. Live changes go first: while they are late, no page is read, but for one
//! now and then, so that a backfill ends however busy the database is.
//!
//! Invariants
//! - A page is marked only after it stands where the stream will look for it.
//! - What is stored of a backfill never runs ahead of what is settled: it moves in the settlement of
//!   the window that held the page.
//! - Before the first page every transaction that was writing when the backfill was opened has ended:
//!   one of them may have been streamed before its changes were noted (see [`super::overlay`]).
//! - Nothing waits for a page: every step is one future, polled beside the loop.

mod jobs;
mod steps;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub use jobs::job;
pub use steps::Answer;
pub(super) use steps::patiently;
use steps::{LARGE_TIME, LEAST_ROWS, PAGE_TIME, mark, next_size, open, read};

use super::intake::Intake;
use super::overlay::Unusable;
use super::rows::Arrived;
use crate::capture::{PageKey, PageRequest, Reader};
use crate::config;
use crate::fault::Result;
use crate::mapping::Mapping;
use crate::planning::{BatchAction, Bounds, WindowPage};
use crate::sinks::bulk::Way;
use crate::sinks::{BoxFuture, Delivery};
use crate::store::{BulkPage, JobKind, Load, Rowcount};

/// The first page that goes by a bulk job, and the largest one.
const FIRST_LARGE: usize = 20_000;
const LARGE_ROWS: usize = 50_000;
/// However late live changes are, a page is read this often.
const AT_LEAST: Duration = Duration::from_secs(5);
/// How often it is looked whether a writer has ended.
const WRITERS: Duration = Duration::from_millis(250);
/// How often a wait for writers is explained.
const EXPLAIN: Duration = Duration::from_secs(10);

/// How pages are read.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Tables that have not been loaded are, at the start.
    pub first_load: bool,
    /// Rows a second; 0 for no limit.
    pub rows_per_second: u64,
    /// Most rows in a page.
    pub page_rows: usize,
    /// Most bytes in a page, roughly.
    pub page_bytes: usize,
    /// Most in a page that goes by a bulk job, where these are used.
    pub large: Option<Bounds>,
    /// Live changes older than this go first.
    pub patience: Duration,
}

impl Settings {
    /// As configured.
    pub fn new(config: &config::Config) -> Self {
        Settings {
            first_load: config.backfill.first_load,
            rows_per_second: config.backfill.rows_per_second,
            page_rows: config.backfill.page_rows.max(1),
            page_bytes: usize::try_from(config.delivery.max_bytes.0).unwrap_or(usize::MAX),
            large: large(config),
            patience: config.delivery.linger.0 + Duration::from_millis(500),
        }
    }
}

/// Most that a page or a window may hold which may become a bulk job; `None` where there are none.
pub fn large(config: &config::Config) -> Option<Bounds> {
    let used = config.destination.kind == config::DestinationKind::Salesforce
        && config.bulk.mode != config::BulkMode::Never;
    used.then(|| Bounds {
        rows: LARGE_ROWS,
        bytes: usize::try_from(config.bulk.max_bytes.0).unwrap_or(usize::MAX),
    })
}

/// Where the backfill of a table stands.
#[derive(Debug)]
enum Phase {
    /// Nothing is asked.
    Idle,
    /// The opening watermark is being written.
    Opening,
    /// A page is being read, or the watermark of the last one written.
    Reading,
    /// A page waits for its watermark in the stream.
    Placed,
}

/// The table whose rows are read.
#[derive(Debug)]
struct Current {
    table: Box<str>,
    /// Behind the last row that is in a window.
    cursor: Option<PageKey>,
    /// Every row is in a window.
    ended: bool,
    /// Since the opening watermark.
    horizon: Option<u64>,
    /// When a page was last read.
    read_at: Option<Instant>,
    /// The rows read last count against the throttle until then.
    not_before: Instant,
    rows: usize,
    /// The same for pages that go by a bulk job.
    large_rows: usize,
    explained: Option<Instant>,
}

/// All backfills.
pub struct Backfill {
    reader: Arc<dyn Reader>,
    settings: Settings,
    /// Marks our watermarks: those of an earlier life are not ours.
    run: u64,
    number: u64,
    loads: BTreeMap<Box<str>, Load>,
    /// Parents first.
    order: Vec<Box<str>>,
    /// Halted tables wait.
    halted: Vec<Box<str>>,
    refused: BTreeMap<Box<str>, String>,
    current: Option<Current>,
    phase: Phase,
    /// To be stored with the next settlement.
    unsaved: Vec<Box<str>>,
    /// When the window with a page went.
    launched: Option<Instant>,
    waits_for: Vec<String>,
    /// Rows of the pages that were on their way by bulk jobs when the last run ended.
    resumed: BTreeMap<Box<str>, usize>,
}

impl Backfill {
    /// From what is stored. `run` differs from life to life.
    pub fn new(reader: Arc<dyn Reader>, settings: Settings, run: u64, stored: Vec<Load>) -> Self {
        let loads = stored.into_iter().map(|l| (l.table.as_str().into(), l));
        Backfill {
            reader,
            settings,
            run,
            number: 0,
            loads: loads.collect(),
            order: Vec::new(),
            halted: Vec::new(),
            refused: BTreeMap::new(),
            current: None,
            phase: Phase::Idle,
            unsaved: Vec::new(),
            launched: None,
            waits_for: Vec::new(),
            resumed: BTreeMap::new(),
        }
    }

    /// A page was on its way by a bulk job when the last run ended: it is read again in its size, and
    /// comes to the same job, which need not be sent again.
    pub fn resume(&mut self, page: &BulkPage) {
        let rows = usize::try_from(page.rows).unwrap_or(LARGE_ROWS);
        self.resumed.insert(page.table.as_str().into(), rows);
    }

    /// Rows and bytes of the next page.
    fn next_page(&mut self, mapping: &Mapping, delivery: &Delivery) -> Option<(usize, usize)> {
        let current = self.current.as_ref()?;
        let small = (current.rows, self.settings.page_bytes);
        let Some(large) = self.settings.large else {
            return Some(small);
        };
        if let Some(rows) = self.resumed.remove(&current.table) {
            return Some((rows.clamp(1, LARGE_ROWS), large.bytes));
        }
        let job = self.loads.get(&current.table).and_then(Load::job)?;
        let left = match job.expected.checked_sub(job.rows.read) {
            Some(left @ 1..) => left,
            // There are more than were thought: perhaps as many again.
            _ => job.rows.read,
        };
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let mut rows = current.large_rows.min(large.rows);
        if let Some(rate) = self.throttle() {
            // Not all of a long while at once.
            let most = rate.saturating_mul(LARGE_TIME.as_secs());
            rows = rows.min(usize::try_from(most).unwrap_or(usize::MAX));
        }
        let object = &mapping.by_name(&current.table)?.target.object;
        Some(
            match delivery.way(object, BatchAction::Upsert, rows.min(left)) {
                Way::Job => (rows, large.bytes),
                Way::Requests => small,
            },
        )
    }

    /// The next step, if there is one to take now. `calm`: live changes are not late.
    pub fn next(
        &mut self,
        intake: &mut Intake,
        mapping: &Mapping,
        calm: bool,
        delivery: &Delivery,
    ) -> Option<BoxFuture<'static, Result<Answer>>> {
        self.take_unusable(intake);
        if !matches!(self.phase, Phase::Idle) {
            return None;
        }
        if self.current.as_ref().is_none_or(|c| c.ended) && self.launched.is_none() {
            self.choose(intake);
        }
        let run = self.run;
        let current = self.current.as_mut().filter(|c| !c.ended)?;
        let reader = Arc::clone(&self.reader);
        let Some(horizon) = current.horizon else {
            let object = mapping.by_name(&current.table)?.target.id;
            self.number += 1;
            let watermark = format!("{run:016x}/{}", self.number);
            intake.track(watermark.clone(), object);
            self.phase = Phase::Opening;
            let load = self.loads.get(&current.table)?;
            let filter = load.job()?.filter.clone();
            let oid = load.oid;
            return Some(Box::pin(async move {
                let opened = open(&*reader, &watermark, oid, filter.as_deref()).await;
                Ok(opened.unwrap_or_else(Answer::Refused))
            }));
        };
        let now = Instant::now();
        let overdue = current.read_at.is_none_or(|at| now >= at + AT_LEAST);
        if now < current.not_before || !(calm || overdue) {
            return None;
        }
        let (rows, bytes) = self.next_page(mapping, delivery)?;
        let current = self.current.as_ref()?;
        let load = self.loads.get(&current.table)?;
        let job = load.job()?;
        let request = PageRequest {
            table: load.oid,
            after: current.cursor.clone(),
            filter: job.filter.clone(),
            rows,
            bytes,
        };
        self.phase = Phase::Reading;
        Some(Box::pin(async move {
            Ok(match read(&*reader, &request, horizon).await {
                Ok(Ok(page)) => Answer::Page(page),
                Ok(Err(writers)) => Answer::Writers(writers),
                Err(error) => Answer::Refused(error),
            })
        }))
    }

    /// When to look for a next step although nothing came in.
    pub fn wake(&self) -> Option<Instant> {
        let current = self.current.as_ref().filter(|c| !c.ended)?;
        if !matches!(self.phase, Phase::Idle) {
            return None;
        }
        let overdue = current.read_at.map(|at| at + AT_LEAST);
        let soon = Instant::now() + Duration::from_millis(50);
        Some(
            current
                .not_before
                .max(soon)
                .min(overdue.unwrap_or(soon).max(soon)),
        )
    }

    /// A step was taken; perhaps the next one follows at once.
    pub fn answer(
        &mut self,
        answer: Answer,
        intake: &mut Intake,
    ) -> Option<BoxFuture<'static, Result<Answer>>> {
        let Some(current) = self.current.as_mut() else {
            self.phase = Phase::Idle;
            return None;
        };
        match answer {
            Answer::Opened { horizon, expected } => {
                current.horizon = Some(horizon);
                let load = self.loads.get_mut(&current.table);
                if let Some(job) = load.and_then(|l| l.jobs.first_mut())
                    && job.expected == 0
                {
                    job.expected = expected;
                    tracing::info!(
                        table = %current.table, rows = expected, "backfill begins ({})",
                        job.kind.word()
                    );
                }
                self.phase = Phase::Idle;
                None
            }
            Answer::Writers(writers) => {
                let told = current.explained.is_some_and(|at| at.elapsed() < EXPLAIN);
                if !told && current.explained.is_some() {
                    tracing::info!(
                        table = %current.table, writers = writers.join("; "),
                        "the backfill begins when the transactions that were writing have ended"
                    );
                }
                if !told {
                    current.explained = Some(Instant::now());
                }
                current.not_before = Instant::now() + WRITERS;
                self.waits_for = writers;
                self.phase = Phase::Idle;
                None
            }
            Answer::Page(page) => {
                self.waits_for.clear();
                let load = self.loads.get(&current.table)?;
                let job = load.job()?;
                self.number += 1;
                let watermark = format!("{:016x}/{}", self.run, self.number);
                current.read_at = Some(Instant::now());
                let pause = match self.settings.rows_per_second {
                    0 => Duration::ZERO,
                    rate => Duration::from_secs_f64(page.rows.len() as f64 / rate as f64),
                };
                current.not_before = Instant::now() + pause;
                intake.expect(Arrived {
                    watermark: watermark.clone(),
                    table: current.table.clone(),
                    column: job.column.clone(),
                    page,
                });
                self.phase = Phase::Placed;
                let reader = Arc::clone(&self.reader);
                Some(Box::pin(async move {
                    Ok(match mark(&*reader, &watermark).await {
                        Ok(_) => Answer::Marked,
                        Err(error) => Answer::Refused(error),
                    })
                }))
            }
            Answer::Marked => None,
            Answer::Refused(error) => {
                let remedy = error.remedy.as_deref().unwrap_or_default();
                tracing::error!(
                    table = %current.table, %error, remedy,
                    "the backfill stops; it goes on at the next start, or when it is asked for again"
                );
                let why = match remedy {
                    "" => error.to_string(),
                    remedy => format!("{error} → {remedy}"),
                };
                self.refused.insert(current.table.clone(), why);
                self.leave();
                intake.untrack();
                None
            }
        }
    }

    /// A window with a page goes.
    pub fn launched(&mut self, page: &WindowPage) {
        self.launched = Some(Instant::now());
        self.phase = Phase::Idle;
        let Some(current) = self.current.as_mut() else {
            return;
        };
        if let Some(through) = &page.through {
            current.cursor = Some(through.clone());
        }
        current.ended |= page.end;
    }

    /// A window with a page is about to be settled: what is to be stored of it.
    pub fn settled(&mut self, page: &WindowPage, rows: Rowcount) -> Option<Load> {
        let took = self.launched.take().map(|at| at.elapsed());
        let load = self.loads.get_mut(&page.table)?;
        let job = load.jobs.first_mut()?;
        job.rows += rows;
        job.pages += 1;
        if let Some(through) = &page.through {
            job.after = Some(through.clone());
        }
        if let (Some(took), Some(current)) = (took, self.current.as_mut()) {
            let most = self.settings.page_rows;
            match (self.settings.large, page.rows > most as u64) {
                (Some(large), true) => {
                    let rows = next_size(current.large_rows, took, LARGE_TIME, large.rows);
                    current.large_rows = rows.max(most);
                }
                _ => current.rows = next_size(current.rows, took, PAGE_TIME, most),
            }
        }
        if page.end {
            tracing::info!(
                table = load.table,
                rows = job.rows.read,
                written = job.rows.written,
                unchanged = job.rows.unchanged,
                overtaken = job.rows.overtaken,
                pending = job.rows.pending,
                pages = job.pages,
                "backfill ended ({})",
                job.kind.word()
            );
            load.loaded |= job.kind == JobKind::FirstLoad;
            load.end_job();
        }
        Some(load.clone())
    }

    /// Most rows a second, if that is limited.
    pub fn throttle(&self) -> Option<u64> {
        Some(self.settings.rows_per_second).filter(|rate| *rate > 0)
    }

    /// Live changes older than this go first.
    pub fn patience(&self) -> Duration {
        self.settings.patience
    }

    fn take_unusable(&mut self, intake: &mut Intake) {
        let Some(unusable) = intake.unusable.take() else {
            return;
        };
        self.phase = Phase::Idle;
        if let (Unusable::Lost, Some(current)) = (unusable, self.current.as_mut()) {
            current.horizon = None;
        }
    }

    fn choose(&mut self, intake: &mut Intake) {
        let free = |name: &str| {
            let load = self.loads.get(name);
            load.is_some_and(|l| !l.jobs.is_empty())
                && !self.halted.iter().any(|halted| **halted == *name)
                && !self.refused.contains_key(name)
        };
        let next = self.order.iter().find(|name| free(name)).cloned();
        if self.current.is_some() || next.is_some() {
            intake.untrack();
        }
        // The throttle is one for all tables.
        let before = self.current.take().map(|before| before.not_before);
        let not_before = before.unwrap_or_else(Instant::now);
        self.current = next.map(|table| Current {
            cursor: self
                .loads
                .get(&table)
                .and_then(|l| l.job())
                .and_then(|j| j.after.clone()),
            table,
            ended: false,
            horizon: None,
            read_at: None,
            not_before,
            rows: self.settings.page_rows.min(LEAST_ROWS * 5),
            large_rows: FIRST_LARGE,
            explained: None,
        });
    }

    /// What is under way counts for nothing: the table is chosen anew, or another.
    fn leave(&mut self) {
        self.current = None;
        self.phase = Phase::Idle;
        self.waits_for.clear();
    }
}
