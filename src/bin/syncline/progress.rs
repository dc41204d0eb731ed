//! The heartbeat of `syncline run`: one line while there is work, none while there is none.

use std::sync::Arc;
use std::time::Duration;

use syncline::change::Verdict;
use syncline::web::Seen;
use syncline::web::report::{Report, State};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often.
const EVERY: Duration = Duration::from_secs(10);

/// Logs how it goes, until dropped.
pub(crate) async fn heartbeat(seen: Arc<Seen>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut last = (Instant::now(), settled(&seen.report()));
    loop {
        ticks.tick().await;
        let report = seen.report();
        let now = (Instant::now(), settled(&report));
        let changes = now.1 - last.1;
        let seconds = (now.0 - last.0).as_secs_f64();
        last = now;
        let lag = report.lag_seconds.unwrap_or(0.0);
        // A window that comes and goes between two looks is no work worth a line; one that stays is.
        if report.state == State::Starting || (changes == 0 && lag < EVERY.as_secs_f64()) {
            continue;
        }
        let shelf: u64 = report.shelf.values().sum();
        let crm = report.crm.as_ref();
        tracing::info!(
            changes_per_second = (changes as f64 / seconds).round(),
            lag_seconds = (lag * 10.0).round() / 10.0,
            shelf,
            durable = report.source.durable_lsn.as_deref().unwrap_or("-"),
            crm = crm.map_or("-", |c| match c.breaker.as_str() {
                "closed" if c.failing_seconds.is_none() => "ok",
                "closed" => "failing",
                other => other,
            }),
            "progress"
        );
    }
}

/// Changes that have a verdict.
fn settled(report: &Report) -> i64 {
    Verdict::ALL.iter().map(|v| report.total(*v)).sum()
}
