//! `syncline status`

use std::process::ExitCode;
use std::time::Duration;

use comfy_table::CellAlignment;
use serde::Serialize;
use serde_json::Value;
use syncline::capture::{Conninfo, Sql};
use syncline::change::Verdict;
use syncline::config::Config;
use syncline::fault::{Error, ErrorKind, Finding, Result, Severity};
use syncline::sinks::budget::{BudgetReport, Degree};
use syncline::store::Store as _;
use syncline::supervisor::cost::{span, thousands};
use syncline::supervisor::status::Reading;
use syncline::web;
use syncline::web::report::{BackfillReport, Report};
use tracing_subscriber::filter::LevelFilter;

use crate::options::ConfigArgs;
use crate::reach::{Reach, reach};
use crate::{exit, logging, out};

/// How long the database may take to tell of the slot.
const PATIENCE: Duration = Duration::from_secs(3);

/// How it goes: progress, lag, verdicts, what is pending, the CRM
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  syncline status
  syncline status --json | jq .lag_seconds
  syncline status --check || echo 'somebody should look'

It asks the running process over its admin interface, and reads the store itself when none runs.
With --check it ends with 3 when something needs attention: nobody runs it, a side is down, dead
letters, held records, a stopped backfill, a problem with a table, or a lost slot. The JSON is described in docs/cli.md.")]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// End with 3 when something needs attention
    #[arg(long)]
    check: bool,
}

/// What Postgres says of the slot.
#[derive(Serialize)]
struct Slot {
    /// It is there.
    exists: bool,
    /// Bytes of WAL that the server keeps for it.
    wal_kept_bytes: Option<u64>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    wal_status: Option<String>,
    /// Somebody reads it.
    active: bool,
    /// Up to where it was confirmed.
    confirmed_lsn: Option<String>,
    /// Why it cannot be read any more.
    lost: Option<String>,
    /// Why nothing is known.
    error: Option<String>,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    logging::start(logging::Form::Human, LevelFilter::ERROR);
    let config = args.config.load()?.config;
    let report: Report = match reach(&config).await? {
        Reach::Running(client) => client.get("status", &[]).await?,
        Reach::Stored(store) => {
            let report = web::basics(&config).stopped(Some(&store)).await;
            store.close().await?;
            report?
        }
        Reach::Nothing => web::basics(&config).stopped(None).await?,
    };
    let slot = slot(&config).await;
    let attention = attention(&report, &slot);
    if args.json {
        let mut value = serde_json::to_value(&report).map_err(unwritable)?;
        if let Value::Object(entries) = &mut value {
            let slot = serde_json::to_value(&slot).map_err(unwritable)?;
            entries.insert("slot".into(), slot);
            entries.insert("attention".into(), attention.clone().into());
        }
        out::json(&value)?;
    } else {
        out::text(&text(&report, &slot, &attention))?;
    }
    Ok(match args.check && !attention.is_empty() {
        true => ExitCode::from(exit::ATTENTION),
        false => ExitCode::SUCCESS,
    })
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Machine, "the result cannot be written as JSON").source(error)
}

/// The slot, from Postgres itself: what it keeps on its disk is only known there.
async fn slot(config: &Config) -> Slot {
    let looked = async {
        let info = Conninfo::from_config(&config.source)?;
        Sql::connect(&info).await?.slot(&config.source.slot).await
    };
    let none = Slot {
        exists: false,
        wal_kept_bytes: None,
        wal_status: None,
        active: false,
        confirmed_lsn: None,
        lost: None,
        error: None,
    };
    match tokio::time::timeout(PATIENCE, looked).await {
        Ok(Ok(Some(slot))) => Slot {
            exists: true,
            wal_kept_bytes: slot.retained,
            active: slot.active_pid.is_some(),
            confirmed_lsn: slot.confirmed_flush_lsn.map(|lsn| lsn.to_string()),
            lost: slot.lost().map(str::to_owned),
            wal_status: slot.wal_status,
            error: None,
        },
        Ok(Ok(None)) => none,
        Ok(Err(error)) => Slot {
            error: Some(error.to_string()),
            ..none
        },
        Err(_elapsed) => Slot {
            error: Some("the database did not answer in time".into()),
            ..none
        },
    }
}

/// What a person should look at.
fn attention(report: &Report, slot: &Slot) -> Vec<String> {
    use web::report::State;
    let mut all = Vec::new();
    match report.state {
        State::Running => {}
        state => all.push(state.words().to_owned()),
    }
    let count = |reason: &str| report.shelf.get(reason).copied().unwrap_or(0);
    match count("dead_letter") {
        0 => {}
        1 => all.push("1 dead letter: `syncline dead-letters list`".into()),
        n => all.push(format!("{n} dead letters: `syncline dead-letters list`")),
    }
    match count("held") {
        0 => {}
        n => all.push(format!("{n} held: `syncline pending list --reason held`")),
    }
    let budget = report.crm.as_ref().and_then(|crm| crm.budget.as_ref());
    if let Some(budget) = budget.filter(|b| b.degree >= Degree::Defer) {
        all.push(format!(
            "the budget of API requests: {}",
            budget.degree.words()
        ));
    }
    for backfill in report
        .backfills
        .iter()
        .filter(|b| b.state == Reading::Stopped)
    {
        let why = backfill.why.as_deref().unwrap_or_default();
        all.push(format!(
            "the backfill of {} has stopped: {why}",
            backfill.table
        ));
    }
    for finding in report
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Problem)
    {
        all.push(format!("{}: {}", finding.place, finding.what));
    }
    if let Some(why) = &slot.lost {
        all.push(format!("the slot is lost: {why}"));
    }
    if let (false, None, Some(_)) = (slot.exists, &slot.error, &report.source.durable_lsn) {
        all.push("the slot is gone: `syncline check` tells more".into());
    }
    all
}

fn text(report: &Report, slot: &Slot, attention: &[String]) -> String {
    let source = &report.source;
    let mut rows: Vec<(&str, String)> = Vec::new();
    let process = match (report.pid, &report.since) {
        (Some(pid), Some(since)) => format!(" (process {pid}, since {})", short(since)),
        _ => String::new(),
    };
    rows.push(("state", format!("{}{process}", report.state.words())));
    if let Some(lag) = report.lag_seconds {
        rows.push((
            "lag",
            format!("{lag:.1} s (age of the oldest change without a verdict)"),
        ));
    }
    let lsns = [
        ("received", &source.received_lsn),
        ("durable", &source.durable_lsn),
        ("reported", &source.reported_lsn),
    ];
    let known: Vec<String> = lsns
        .iter()
        .filter_map(|(name, lsn)| Some(format!("{name} {}", lsn.as_ref()?)))
        .collect();
    if !known.is_empty() {
        rows.push(("LSN", known.join(" · ")));
    }
    if let Some(bytes) = source.in_work_bytes.filter(|b| *b > 0) {
        rows.push(("in work", format!("{} of WAL", size(bytes))));
    }
    rows.push(("slot", slot_text(&source.slot, slot)));
    if let Some(crm) = &report.crm {
        let mut text = match (&crm.failing_seconds, &crm.last_fault) {
            (None, _) => "ok".to_owned(),
            (Some(s), None) => format!("failing for {s:.0} s"),
            (Some(s), Some(code)) => format!("failing for {s:.0} s ({code})"),
        };
        if crm.breaker != "closed" {
            text.push_str(&format!(", circuit breaker {}", crm.breaker));
        }
        text.push_str(&format!(
            "; since the start {} requests ({} repeated), {} operations",
            crm.attempts, crm.retries, crm.operations
        ));
        if crm.bulk_jobs > 0 {
            text.push_str(&format!(
                ", of them {} in {} bulk jobs",
                crm.bulk_records, crm.bulk_jobs
            ));
        }
        rows.push(("CRM", text));
        if let Some(daily) = crm.daily {
            rows.push((
                "CRM limit",
                format!("{} of {} requests of the day used", daily.used, daily.limit),
            ));
        }
        if let Some(budget) = &crm.budget {
            rows.push(("budget", budget_text(budget)));
        }
        if crm.deferring_for_wal {
            let why = "changes go to the shelf: the database would keep too much WAL for them";
            rows.push(("WAL", why.to_owned()));
        }
    }
    for job in &report.bulk_jobs {
        rows.push(("bulk", job.to_string()));
    }
    if let Some(store) = &report.store {
        rows.push((
            "store",
            format!("{} ({})", store.path, size(store.file_bytes)),
        ));
    }
    let shelf: Vec<String> = ["dead_letter", "waiting", "held", "deferred"]
        .iter()
        .filter_map(|reason| {
            let n = report.shelf.get(*reason).copied().filter(|n| *n > 0)?;
            Some(format!("{n} {}", reason.replace('_', " ")))
        })
        .collect();
    let shelf = match shelf.is_empty() {
        true => "nothing".to_owned(),
        false => shelf.join(" · "),
    };
    rows.push(("pending", shelf));
    if report.kept_fields.count > 0 || report.kept_fields.since_start > 0 {
        let fields = thousands(report.kept_fields.count);
        rows.push((
            "kept",
            format!("{fields} fields hold what people wrote in the CRM: `syncline pending kept --fields`"),
        ));
    }
    let apart = report.clock_difference_seconds.unwrap_or(0.0);
    if apart.abs() > 5.0 {
        let (word, by) = match apart > 0.0 {
            true => ("ahead of", apart),
            false => ("behind", -apart),
        };
        let apart = format!("the CRM's is {} {word} the database's", span(by));
        rows.push(("clocks", apart));
    }
    let mut out = String::new();
    for (name, value) in rows {
        out.push_str(&format!("{name:<10} {value}\n"));
    }
    if !report.verdicts.is_empty() {
        out.push_str(&format!("\n{}\n", verdicts(report)));
    }
    for kept in report.kept_fields.newest.iter().take(5) {
        out.push_str(&format!(
            "  kept: {} {} {}, edited {} at the latest\n",
            kept.object,
            kept.external_id.escape_debug(),
            kept.field,
            short(&kept.edited)
        ));
    }
    out.push_str(&rows_text(report));
    out.push_str(&pace_text(report));
    out.push_str(&schema_text(report));
    if !attention.is_empty() {
        out.push_str("\nneeds attention\n");
        for what in attention {
            out.push_str(&format!("  {what}\n"));
        }
    }
    out
}

fn budget_text(budget: &BudgetReport) -> String {
    let mut text = match budget.exhausted {
        true => "used up, says the CRM: everything waits until it answers again".to_owned(),
        false => format!("{}: {}", budget.degree.word(), budget.degree.words()),
    };
    let kept = match budget.kept_for_high {
        0 => String::new(),
        n => format!(
            ", {} of them kept for what has a high priority",
            thousands(n)
        ),
    };
    text.push_str(&format!(
        "\n{:<10} in 24 h {} requests of ours and {} of others; room for {} more{kept} (our share is {}, {} are left for others)",
        "",
        thousands(budget.ours),
        thousands(budget.others),
        thousands(budget.room),
        thousands(budget.share),
        thousands(budget.floor),
    ));
    let out = match &budget.runs_out {
        None => "does not run out within a day".to_owned(),
        Some(at) => format!("runs out about {}", short(at)),
    };
    text.push_str(&format!(
        "\n{:<10} forecast: {} used in 12 h; our room {out}",
        "",
        thousands(budget.used_in_12_hours),
    ));
    text
}

fn slot_text(name: &str, slot: &Slot) -> String {
    if let Some(error) = &slot.error {
        return format!("{name}: cannot be looked at: {error}");
    }
    if !slot.exists {
        return format!("{name}: not there");
    }
    if let Some(why) = &slot.lost {
        return format!("{name}: LOST: {why}");
    }
    let kept = slot.wal_kept_bytes.map_or("unknown".into(), size);
    let status = slot.wal_status.as_deref().unwrap_or("unknown");
    format!("{name}: {kept} of WAL kept ({status})")
}

fn verdicts(report: &Report) -> String {
    let used: Vec<Verdict> = Verdict::ALL
        .into_iter()
        .filter(|v| *v == Verdict::Applied || report.total(*v) != 0)
        .collect();
    let mut table = out::table();
    let words = used.iter().map(|v| v.word().to_owned());
    table.set_header(std::iter::once("changes of".to_owned()).chain(words));
    for (name, counts) in &report.verdicts {
        let counts = used
            .iter()
            .map(|v| counts.get(v.word()).copied().unwrap_or(0).to_string());
        table.add_row(std::iter::once(name.clone()).chain(counts));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if index > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    out::lines(table)
}

/// Existing rows: a line a table of which any were read or are to be.
fn rows_text(report: &Report) -> String {
    let known = |b: &&BackfillReport| b.state != Reading::None || !b.ended.is_empty();
    let known: Vec<&BackfillReport> = report.backfills.iter().filter(known).collect();
    if known.is_empty() {
        return String::new();
    }
    let mut table = out::table();
    table.set_header(["existing rows", "", "rows", "of", "%", "rows/s", "left"]);
    for backfill in &known {
        let state = match backfill.state {
            Reading::None => "not loaded".to_owned(),
            Reading::Loaded => "loaded".to_owned(),
            Reading::Queued => format!("waits for its turn ({})", backfill.job.words()),
            Reading::Running => format!("being read ({})", backfill.job.words()),
            Reading::Stopped => format!("stopped ({})", backfill.job.words()),
        };
        table.add_row([
            backfill.table.clone(),
            state,
            thousands(backfill.job.rows.read),
            thousands(backfill.expected),
            format!("{:.0}", backfill.percent),
            match backfill.state {
                Reading::Running => thousands(backfill.rows_per_second as u64),
                _ => String::new(),
            },
            backfill
                .seconds_left
                .map(|s| span(s as f64))
                .unwrap_or_default(),
        ]);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if index > 1 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = format!("\n{}\n", out::lines(table));
    for backfill in known {
        if let Some(why) = &backfill.why {
            text.push_str(&format!("  {}: {why}\n", backfill.table));
        }
    }
    text
}

/// How requests go: a line an object and kind.
fn pace_text(report: &Report) -> String {
    let paces = report.crm.as_ref().map(|crm| crm.pace.as_slice());
    let paces = paces.unwrap_or_default();
    if paces.is_empty() {
        return String::new();
    }
    let mut table = out::table();
    table.set_header(["requests", "", "records", "at once", "median", "locked"]);
    for pace in paces {
        table.add_row([
            pace.object.clone(),
            pace.kind.clone(),
            thousands(pace.records),
            thousands(pace.requests),
            pace.median_seconds
                .map(|s| format!("{s:.2} s"))
                .unwrap_or_default(),
            thousands(pace.locked),
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("\n{}\n", out::lines(table))
}

/// What is to be said of the rules in force, and what changed since the start. Notes are in the JSON.
fn schema_text(report: &Report) -> String {
    let told = |f: &&Finding| f.severity > Severity::Note;
    let findings: Vec<&Finding> = report.findings.iter().filter(told).collect();
    let (fitted, unknown) = (&report.made_to_fit, &report.unknown_members);
    let silent = fitted.is_empty() && unknown.is_empty();
    if findings.is_empty() && report.schema_changes.is_empty() && silent {
        return String::new();
    }
    let mut text = "\nschema\n".to_owned();
    for finding in findings {
        let word = web::report::severity(finding.severity);
        text.push_str(&format!("  {word}: {}: {}\n", finding.place, finding.what));
        if !finding.remedy.is_empty() {
            text.push_str(&format!("    → {}\n", finding.remedy));
        }
    }
    if !report.schema_changes.is_empty() {
        let kinds = report.schema_changes.iter();
        let kinds: Vec<String> = kinds
            .map(|(kind, n)| format!("{n} {}", kind.replace('_', " ")))
            .collect();
        text.push_str(&format!(
            "  changes since the start: {}\n",
            kinds.join(" · ")
        ));
    }
    for (table, fields) in fitted {
        for (field, count) in fields {
            text.push_str(&format!(
                "  {table}: {count} values were cut or cleared to fit {field} (on_invalid)\n"
            ));
        }
    }
    for (section, members) in unknown {
        for (member, count) in members {
            text.push_str(&format!(
                "  {section}: {count} messages had a member {member}, which no rule names\n"
            ));
        }
    }
    text
}

/// A time without its fraction of a second.
pub(crate) fn short(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => time.to_owned(),
    }
}

fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}
