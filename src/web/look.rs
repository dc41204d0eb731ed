//! The routes that only look.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::report::{self, CrmReport, Pace, Report};
use super::shelf::{self, Filter, KeptListing, Listing, Name, Shown};
use super::{Refusal, Seen};
use crate::change::Verdict;
use crate::fault::Severity;
use crate::mapping::RecordId;
use crate::metrics::{self as names, Page, label};
use crate::sinks::budget::Degree;
use crate::supervisor::status::Reading;

/// Age in seconds of the oldest change without a verdict from which there is no progress, unless the
/// request says otherwise.
const MAX_AGE: f64 = 300.0;

pub(super) async fn status(State(seen): State<Arc<Seen>>) -> Json<Report> {
    Json(seen.report())
}

#[derive(Deserialize)]
pub(super) struct Readiness {
    max_age: Option<f64>,
}

/// Ready is who makes progress, not who exists.
pub(super) async fn ready(
    State(seen): State<Arc<Seen>>,
    Query(asked): Query<Readiness>,
) -> Response {
    let report = seen.report();
    let max_age = asked.max_age.unwrap_or(MAX_AGE);
    let mut reasons = Vec::new();
    match report.state {
        report::State::Starting => reasons.push("it is still starting".to_owned()),
        report::State::SourceDown => {
            reasons.push("the connection to the database is broken".to_owned());
        }
        // The CRM may be away for a while: what counts is how old the oldest change gets.
        report::State::Running | report::State::CrmDown | report::State::Stopped => {}
    }
    let lag = report.lag_seconds.unwrap_or(0.0);
    if lag > max_age {
        reasons.push(format!(
            "the oldest change without a verdict is {lag:.0} s old (more than {max_age} s)"
        ));
    }
    let status = match reasons.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = json!({ "ready": reasons.is_empty(), "reasons": reasons, "lag_seconds": lag });
    (status, Json(body)).into_response()
}

#[derive(Deserialize)]
pub(super) struct PageQuery {
    reason: Option<String>,
    table: Option<String>,
    code: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// What a page is asked for by: which entries, after which, how many.
type Asked = (Filter, Option<RecordId>, usize);

impl PageQuery {
    fn read(self) -> Result<Asked, Refusal> {
        let bad = |what| Refusal::new(StatusCode::BAD_REQUEST, what);
        let reason = self.reason.filter(|r| !r.is_empty());
        let reason = reason.map(|r| {
            shelf::reason(&r).ok_or_else(|| bad("reason is dead_letter, waiting, held or deferred"))
        });
        let after = self.after.map(|a| {
            shelf::unmark(&a).ok_or_else(|| bad("after is the `next` of the page before"))
        });
        let filter = Filter {
            reason: reason.transpose()?,
            table: self.table.filter(|t| !t.is_empty()),
            code: self.code.filter(|c| !c.is_empty()),
        };
        Ok((filter, after.transpose()?, self.limit.unwrap_or(100)))
    }
}

pub(super) async fn pending(
    State(seen): State<Arc<Seen>>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Listing>, Refusal> {
    let (filter, after, limit) = query.read()?;
    let (found, next) = shelf::page(&*seen.store, &filter, after, limit).await?;
    let pending = found.iter().map(shelf::listed).collect();
    Ok(Json(Listing { pending, next }))
}

pub(super) async fn pending_full(
    State(seen): State<Arc<Seen>>,
    Query(query): Query<PageQuery>,
) -> Result<Json<serde_json::Value>, Refusal> {
    let (filter, after, limit) = query.read()?;
    let (found, next) = shelf::page(&*seen.store, &filter, after, limit).await?;
    let pending: Vec<Shown> = found.iter().map(shelf::shown).collect();
    Ok(Json(json!({ "pending": pending, "next": next })))
}

pub(super) async fn kept(
    State(seen): State<Arc<Seen>>,
    Query(query): Query<PageQuery>,
) -> Result<Json<KeptListing>, Refusal> {
    let (_, after, limit) = query.read()?;
    let kept = shelf::kept(&*seen.store, &seen.objects, after, limit).await?;
    Ok(Json(kept))
}

pub(super) async fn record(
    State(seen): State<Arc<Seen>>,
    Query(name): Query<Name>,
) -> Result<Json<Shown>, Refusal> {
    let found = shelf::find(&*seen.store, &seen.objects, &name).await?;
    let found = found.ok_or_else(|| {
        Refusal::new(
            StatusCode::NOT_FOUND,
            format!("nothing is pending for {name}"),
        )
        .remedy("`syncline pending list` names the records")
    })?;
    Ok(Json(shelf::shown(&found)))
}

pub(super) async fn metrics(State(seen): State<Arc<Seen>>) -> Response {
    let text = page(&seen).text();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

fn page(seen: &Seen) -> Page {
    let report = seen.report();
    let mut page = Page::default();
    page.all(names::BUILD, [(label("version", &report.version), 1.0)]);
    let up = !matches!(report.state, report::State::Starting);
    page.one(names::UP, f64::from(u8::from(up)));
    let connected = f64::from(u8::from(report.source.connected));
    page.one(names::CONNECTED, connected);
    page.one(names::RESTARTS, report.source.restarts as f64);
    if let Some(handle) = seen.handle.get() {
        let lsns = handle.capture.borrow().lsns;
        let lsn = |kind, lsn: crate::change::Lsn| (label("position", kind), lsn.0 as f64);
        page.all(
            names::LSN,
            [
                lsn("received", lsns.received),
                lsn("durable", lsns.durable),
                lsn("reported", lsns.reported),
            ],
        );
    }
    page.one(names::LAG, report.lag_seconds.unwrap_or(0.0));
    changes(&report, &mut page);
    let shelf = report.shelf.iter();
    page.all(
        names::SHELF,
        shelf.map(|(reason, n)| (label("reason", reason), *n as f64)),
    );
    let brakes = report.brakes.iter();
    let labels = |b: &report::BrakeReport| {
        format!("{},{}", label("table", &b.table), label("code", &b.code))
    };
    page.all(names::BRAKE, brakes.map(|b| (labels(b), 1.0)));
    backfills(&report, &mut page);
    let kinds = report.schema_changes.iter();
    page.all(
        names::SCHEMA_CHANGES,
        kinds.map(|(kind, n)| (label("kind", kind), *n as f64)),
    );
    let severities = [Severity::Note, Severity::Warning, Severity::Problem];
    page.all(
        names::FINDINGS,
        severities.map(|s| {
            let found = report.findings.iter().filter(|f| f.severity == s).count();
            (label("severity", report::severity(s)), found as f64)
        }),
    );
    if let Some(crm) = &report.crm {
        calls(crm, &mut page);
    }
    let stats = seen.store.stats();
    page.one(names::COMMITS, stats.commits as f64);
    let step = |name, d: std::time::Duration| (label("step", name), d.as_secs_f64());
    page.all(
        names::COMMIT_SECONDS,
        [
            step("write", stats.last_write),
            step("flush", stats.last_flush),
            step("sync", stats.last_sync),
        ],
    );
    page.one(names::FILE_BYTES, stats.file_bytes as f64);
    page.one(names::BLOB_FILES, stats.blob_files as f64);
    page
}

/// `pending` falls again, so it is no counter and has a name of its own.
fn changes(report: &Report, page: &mut Page) {
    let mut settled = Vec::new();
    let mut pending = Vec::new();
    for (table, verdicts) in &report.verdicts {
        let name = label("table", table);
        for (verdict, count) in verdicts {
            if verdict == Verdict::Pending.word() {
                pending.push((name.clone(), *count as f64));
            } else {
                let labels = format!("{name},{}", label("verdict", verdict));
                settled.push((labels, *count as f64));
            }
        }
    }
    page.all(names::CHANGES, settled);
    page.all(names::PENDING, pending);
}

fn backfills(report: &Report, page: &mut Page) {
    let (mut outcomes, mut expected, mut running) = (Vec::new(), Vec::new(), Vec::new());
    for backfill in &report.backfills {
        let name = label("table", &backfill.table);
        let rows = backfill.job.rows;
        for (outcome, count) in [
            ("written", rows.written),
            ("unchanged", rows.unchanged),
            ("overtaken", rows.overtaken),
            ("pending", rows.pending),
        ] {
            outcomes.push((
                format!("{name},{}", label("outcome", outcome)),
                count as f64,
            ));
        }
        expected.push((name.clone(), backfill.expected as f64));
        let runs = backfill.state == Reading::Running;
        running.push((name, f64::from(u8::from(runs))));
    }
    page.all(names::BACKFILL_ROWS, outcomes);
    page.all(names::BACKFILL_EXPECTED, expected);
    page.all(names::BACKFILL_RUNNING, running);
}

fn calls(crm: &CrmReport, page: &mut Page) {
    page.one(names::WINDOWS, crm.windows as f64);
    page.one(names::OPERATIONS, crm.operations as f64);
    let kinds = crm.calls.iter();
    page.all(
        names::CALLS,
        kinds.map(|(kind, n)| (label("kind", kind), *n as f64)),
    );
    page.one(names::ATTEMPTS, crm.attempts as f64);
    page.one(names::RETRIES, crm.retries as f64);
    let states = ["closed", "open", "probing"];
    page.all(
        names::BREAKER,
        states.map(|s| {
            let here = f64::from(u8::from(s == crm.breaker));
            (label("state", s), here)
        }),
    );
    page.one(names::FAILING, crm.failing_seconds.unwrap_or(0.0));
    let paces = |value: fn(&Pace) -> Option<f64>| {
        let labelled =
            |p: &Pace| format!("{},{}", label("object", &p.object), label("kind", &p.kind));
        let values = crm.pace.iter();
        let values = values.filter_map(move |p| Some((labelled(p), value(p)?)));
        values.collect::<Vec<_>>()
    };
    page.all(names::PACE_RECORDS, paces(|p| Some(p.records as f64)));
    page.all(names::PACE_REQUESTS, paces(|p| Some(p.requests as f64)));
    page.all(names::PACE_MEDIAN, paces(|p| p.median_seconds));
    page.all(names::LOCKED, paces(|p| Some(p.locked as f64)));
    if let Some(daily) = crm.daily {
        page.one(names::DAILY_USED, daily.used as f64);
        page.one(names::DAILY_MAX, daily.limit as f64);
    }
    if let Some(budget) = &crm.budget {
        let degrees = Degree::ALL.map(|degree| {
            let here = f64::from(u8::from(degree == budget.degree));
            (label("degree", degree.word()), here)
        });
        page.all(names::BUDGET_DEGREE, degrees);
        page.one(names::BUDGET_OURS, budget.ours as f64);
        page.one(names::BUDGET_OTHERS, budget.others as f64);
        page.one(names::BUDGET_ROOM, budget.room as f64);
        page.one(names::BUDGET_FORECAST, budget.used_in_12_hours as f64);
    }
    let deferring = f64::from(u8::from(crm.deferring_for_wal));
    page.one(names::WAL_DEFERRING, deferring);
}
