//! Bars for rows that are read: on a terminal, under whatever is logged meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use syncline::store::JobKind;
use syncline::supervisor::cost::{span, thousands};
use syncline::supervisor::status::Reading;
use syncline::web::Seen;
use syncline::web::report::BackfillReport;
use tokio::time::{MissedTickBehavior, interval};

/// How often a bar is drawn anew.
pub(crate) const EVERY: Duration = Duration::from_millis(200);
/// Bars on the screen at once: what is read goes before what stopped.
const MOST: usize = 6;

/// A bar for the rows of one table.
pub(crate) fn bar(table: &str) -> ProgressBar {
    let bar = ProgressBar::hidden();
    let style = ProgressStyle::with_template(
        "{prefix} {bar:28} {percent:>3} %  {human_pos} of {human_len} rows{msg}",
    );
    // The template is ours: without it the bar is only plainer.
    bar.set_style(
        style
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("━╸─"),
    );
    bar.set_prefix(table.to_owned());
    bar
}

/// Shows where the reading stands.
pub(crate) fn show(bar: &ProgressBar, report: &BackfillReport) {
    bar.set_length(report.expected.max(1));
    bar.set_position(report.job.rows.read.min(report.expected));
    bar.set_message(remarks(report));
}

/// Rate, time left, what it waits for: `, 4,000 rows/s, 12 s left`.
pub(crate) fn remarks(report: &BackfillReport) -> String {
    let mut text = String::new();
    if let Some(why) = &report.why {
        return format!(": {why}");
    }
    if report.state == Reading::Queued {
        return ": waits for its turn".into();
    }
    if report.rows_per_second >= 1.0 {
        text = format!(", {} rows/s", thousands(report.rows_per_second as u64));
    }
    if let Some(left) = report.seconds_left {
        text.push_str(&format!(", {} left", span(left as f64)));
    }
    text
}

/// The same as a line, where there is no terminal.
pub(crate) fn line(report: &BackfillReport) -> String {
    format!(
        "{}: {} of {} rows ({:.0} %){}",
        report.table,
        thousands(report.job.rows.read),
        thousands(report.expected),
        report.percent,
        remarks(report)
    )
}

/// Keeps a bar for every table that is read, until dropped.
pub(crate) async fn follow(seen: Arc<Seen>, bars: MultiProgress) {
    let mut shown = Shown::default();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if seen.handle.get().is_some() {
            shown.draw(&bars, &seen.report().backfills);
        }
    }
}

/// The bars of the tables that are read.
#[derive(Default)]
pub(crate) struct Shown {
    tables: BTreeMap<String, ProgressBar>,
    all: Option<ProgressBar>,
}

impl Shown {
    /// Shows how it goes now: a table that has been read loses its bar.
    pub(crate) fn draw(&mut self, bars: &MultiProgress, backfills: &[BackfillReport]) {
        let is = |state| move |b: &&BackfillReport| b.state == state;
        let runs = backfills.iter().filter(is(Reading::Running));
        let stopped = backfills.iter().filter(is(Reading::Stopped));
        let wanted: Vec<&BackfillReport> = runs.chain(stopped).take(MOST).collect();
        self.tables.retain(|table, bar| {
            let stays = wanted.iter().any(|b| b.table == *table);
            if !stays {
                bar.finish_and_clear();
                bars.remove(bar);
            }
            stays
        });
        self.count(bars, backfills);
        for report in wanted {
            let bar = self
                .tables
                .entry(report.table.clone())
                .or_insert_with(|| bars.add(bar(&report.table)));
            show(bar, report);
        }
    }

    /// The line for all tables, while there are several and some are not loaded yet.
    fn count(&mut self, bars: &MultiProgress, backfills: &[BackfillReport]) {
        let first = |b: &&BackfillReport| b.jobs().any(|j| j.kind == Some(JobKind::FirstLoad));
        let open = backfills.iter().filter(first).count();
        if open == 0 || backfills.len() < 2 {
            if let Some(all) = self.all.take() {
                all.finish_and_clear();
                bars.remove(&all);
            }
            return;
        }
        let all = self.all.get_or_insert_with(|| {
            let bar = bars.insert(0, ProgressBar::hidden());
            let style = ProgressStyle::with_template("existing rows: {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        let done = backfills.len() - open;
        all.set_message(format!("{done} of {} tables are loaded", backfills.len()));
        // Without a length nothing else would draw it.
        all.tick();
    }
}
