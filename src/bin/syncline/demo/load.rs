//! The first load: rows that were there before the connector, as it tells of them itself.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressDrawTarget};
use syncline::fault::Result;
use syncline::store::JobKind;
use syncline::supervisor::status::Reading;
use syncline::web::report::{BackfillReport, Report};

use super::app::{App, Table};
use super::crm::Crm;
use super::data::{self, COMPANY, CUSTOMER, DEAL};
use super::machine::failed;
use super::play::{Event, Play};
use super::screen::{Screen, count, span};
use super::sidecar::{PATIENCE, Sidecar};
use crate::bars;

/// How often it is told how far it is, where there is no terminal for bars.
const TELL: Duration = Duration::from_millis(700);
/// All of them.
const ROWS: i64 = (data::COMPANIES + data::CUSTOMERS + data::DEALS) as i64;

/// What came of it. All counts are rows.
#[derive(Default)]
pub(super) struct Loaded {
    /// There before the first start.
    pub(super) rows: i64,
    /// Read by the backfill, by its own account.
    pub(super) read: i64,
    /// Those of them of which a later change was quicker.
    overtaken: i64,
    /// From the first start until the last table was loaded, with a restart in between.
    took: Duration,
}

impl Loaded {
    pub(super) fn words(&self) -> String {
        format!(
            "{} of {} by backfill in {}, parents first ({} of them overtaken by live changes)",
            count(self.read),
            count(self.rows),
            span(self.took),
            count(self.overtaken)
        )
    }
}

/// Years of work: all rows are there before anybody reads along.
pub(super) async fn fill(screen: &Screen, app: &mut App) -> Result<()> {
    let began = Instant::now();
    let data = data::data();
    for (table, into, rows) in [
        (Table::Company, COMPANY, &data.companies),
        (Table::Customer, CUSTOMER, &data.customers),
        (Table::Deal, DEAL, &data.deals),
    ] {
        app.begin().await?;
        app.insert(table, into, rows).await?;
        app.commit().await?;
    }
    let rows = app.history();
    if rows != ROWS {
        return Err(failed(format!("the demo wrote {rows} rows, not {ROWS}")));
    }
    let slots = app
        .number("SELECT count(*) FROM pg_replication_slots")
        .await?;
    screen.done(format!(
        "a company's data: {} companies, {} customers, {} deals; {slots} replication slots, so nobody reads along ({})",
        count(data::COMPANIES as i64),
        count(data::CUSTOMERS as i64),
        count(data::DEALS as i64),
        span(began.elapsed())
    ));
    Ok(())
}

/// The connector starts for the first time, and is killed while it reads.
pub(super) async fn act(
    screen: &Screen,
    app: &mut App,
    crm: &Crm,
    play: &mut Play,
    sidecar: &mut Sidecar,
) -> Result<Loaded> {
    screen.act("First load: the rows of before arrive by backfill");
    let began = Instant::now();
    let pid = sidecar.start()?;
    screen.note(format!("syncline run is process {pid}"));
    let mut progress = Progress::new(screen);
    let kill_at = u64::try_from(ROWS / 3).unwrap_or(u64::MAX);
    progress
        .follow(sidecar, async |_| Ok(crm.records().await? >= kill_at))
        .await?;
    let pid = sidecar.kill()?;
    let there = i64::try_from(crm.records().await?).unwrap_or(0);
    progress.suspend(|| {
        screen.blow(format!(
            "kill -9 {pid} in mid-flight: {} of {} records are in the CRM",
            count(there),
            count(ROWS)
        ));
    });
    for _ in 0..4 {
        play.happen(app, Event::Logins).await?;
    }
    let meanwhile = app.total();
    let pid = sidecar.start()?;
    progress.suspend(|| {
        screen.done(format!(
            "started again as process {pid}; {} rows were changed meanwhile",
            count(meanwhile)
        ));
    });
    let loaded = |report: &Report| {
        let tables = &report.backfills;
        tables.len() == 3 && tables.iter().all(|b| b.state == Reading::Loaded)
    };
    let report = progress
        .follow(sidecar, async |report| Ok(loaded(report)))
        .await?;
    let took = began.elapsed();
    sidecar.caught_up(app).await?;
    let ended = report.backfills.iter().flat_map(|b| &b.ended);
    let mut result = Loaded {
        rows: ROWS,
        took,
        ..Loaded::default()
    };
    for job in ended.filter(|job| job.kind == Some(JobKind::FirstLoad)) {
        result.read += i64::try_from(job.rows.read).unwrap_or(i64::MAX);
        result.overtaken += i64::try_from(job.rows.overtaken).unwrap_or(i64::MAX);
    }
    let there = i64::try_from(crm.records().await?).unwrap_or(0);
    screen.done(format!(
        "{} records are in the CRM ({})",
        count(there),
        span(took)
    ));
    Ok(result)
}

/// What is shown of it: bars on a terminal, a line now and then elsewhere; a line for what is done.
struct Progress<'a> {
    screen: &'a Screen,
    terminal: bool,
    bars: MultiProgress,
    shown: bars::Shown,
    told: Option<Instant>,
    loaded: Vec<String>,
}

impl Progress<'_> {
    fn new(screen: &Screen) -> Progress<'_> {
        Progress {
            screen,
            terminal: std::io::stderr().is_terminal(),
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            shown: bars::Shown::default(),
            told: None,
            loaded: Vec::new(),
        }
    }

    /// Says something above the bars.
    fn suspend(&self, say: impl FnOnce()) {
        self.bars.suspend(say);
    }

    /// Asks the process how far it is, shows that, until it is `done`; the last answer.
    async fn follow(
        &mut self,
        sidecar: &mut Sidecar,
        done: impl AsyncFn(&Report) -> Result<bool>,
    ) -> Result<Report> {
        let began = Instant::now();
        loop {
            if let Some(report) = sidecar.report().await? {
                self.show(&report.backfills);
                if done(&report).await? {
                    return Ok(report);
                }
            }
            if began.elapsed() > PATIENCE {
                let waited = PATIENCE.as_secs();
                return Err(failed(format!("waited {waited} s for the first load")));
            }
            tokio::time::sleep(bars::EVERY / 4).await;
        }
    }

    fn show(&mut self, tables: &[BackfillReport]) {
        self.shown.draw(&self.bars, tables);
        for table in tables.iter().filter(|b| b.state == Reading::Loaded) {
            if !self.loaded.contains(&table.table) {
                self.loaded.push(table.table.clone());
                let rows = table.job.rows;
                let number = |n: u64| count(i64::try_from(n).unwrap_or(i64::MAX));
                self.suspend(|| {
                    self.screen.done(format!(
                        "{}: loaded, {} rows read, {} written",
                        table.table,
                        number(rows.read),
                        number(rows.written)
                    ));
                });
            }
        }
        if self.terminal || self.told.is_some_and(|told| told.elapsed() < TELL) {
            return;
        }
        let reads = |b: &&BackfillReport| b.state == Reading::Running && b.job.rows.read > 0;
        if let Some(table) = tables.iter().find(reads) {
            self.told = Some(Instant::now());
            self.screen.note(bars::line(table));
        }
    }
}
