//! `syncline backfill`

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar};
use serde_json::json;
use syncline::config::Config;
use syncline::fault::{Error, ErrorKind, Result};
use syncline::store::{JobKind, Rowcount, Store as _};
use syncline::supervisor::cost::{counted, thousands};
use syncline::supervisor::status::Reading;
use syncline::web::backfill::{BackfillAnswer, BackfillWish, CancelWish, Cancelled};
use syncline::web::report::{BackfillReport, JobReport, Report};
use tokio::time::Instant;
use tracing_subscriber::filter::LevelFilter;

use crate::client::Client;
use crate::options::ConfigArgs;
use crate::reach::{Reach, reach};
use crate::{bars, exit, logging, out};

/// How often progress is told where there is no terminal.
const TELL: Duration = Duration::from_secs(10);

/// Read the existing rows of a table: what the CRM lacks is written
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  syncline backfill public.customer --estimate
  syncline backfill public.customer --where \"created_at >= '2026-01-01'\"
  syncline backfill public.customer --column phone --no-follow
  syncline backfill public.customer --cancel

It asks the running process, which reads the rows beside the stream of changes: those go first, and
a later change always wins. Rows that the CRM has already cost nothing. It says what it will cost
before it starts, then shows how it goes until it ends. Ctrl-C ends the showing, not the backfill.

Exit code 0 when it is done (or only started), 1 when it was refused or stopped, 2 for a wrong
column or condition, 3 when rows ended on the shelf.

JSON: {\"table\", \"column\", \"where\", \"rows\", \"calls\", \"share_of_day\", \"seconds\", \"started\"}, and
when it is followed \"ended\": \"done|cancelled\" and
\"result\": {\"read\", \"written\", \"unchanged\", \"overtaken\", \"pending\"}.")]
pub(crate) struct Args {
    /// The table, as the configuration names it
    table: String,
    /// Only this column's field, where the CRM has the record
    #[arg(long, value_name = "COLUMN", conflicts_with = "cancel")]
    column: Option<String>,
    /// Only rows for which this SQL condition is true
    #[arg(long = "where", value_name = "SQL", conflicts_with = "cancel")]
    filter: Option<String>,
    /// Say what it would cost, and do nothing
    #[arg(long, conflicts_with = "cancel")]
    estimate: bool,
    /// Give up the table's backfills; what is written stays
    #[arg(long)]
    cancel: bool,
    /// Do not wait until it ends
    #[arg(long, conflicts_with_all = ["cancel", "estimate"])]
    no_follow: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    logging::start(logging::Form::Human, LevelFilter::ERROR);
    let config = args.config.load()?.config;
    let client = running(&config).await?;
    if args.cancel {
        return cancel(&client, &args).await;
    }
    let wish = |estimate| BackfillWish {
        table: args.table.clone(),
        column: args.column.clone(),
        filter: args.filter.clone(),
        estimate,
    };
    let cost: BackfillAnswer = client.post("backfill", &wish(true)).await?;
    if args.estimate {
        match args.json {
            true => out::json(&cost)?,
            false => tell_cost(&cost)?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !args.json {
        tell_cost(&cost)?;
    }
    // What ended last before ours is not ours.
    let before = look(&client, &args.table).await?;
    let ours = |job: &JobReport| is_ours(&args, job);
    let before = before.and_then(|b| b.ended.into_iter().find(ours)?.since);
    let started: BackfillAnswer = client.post("backfill", &wish(false)).await?;
    if args.no_follow {
        match args.json {
            true => out::json(&started)?,
            false => out::line("It has started: `syncline status` shows how it goes.")?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let follow = Follow {
        client: &client,
        args: &args,
        before,
    };
    let ended = tokio::select! {
        ended = follow.until_it_ends() => ended?,
        _ = tokio::signal::ctrl_c() => {
            eprintln!(
                "The backfill goes on: `syncline status` shows it, `syncline backfill {} --cancel` \
                 gives it up.",
                args.table
            );
            if args.json {
                out::json(&started)?;
            }
            return Ok(ExitCode::SUCCESS);
        }
    };
    tell_end(&args, &started, ended.as_ref())
}

/// The process to ask.
async fn running(config: &Config) -> Result<Client> {
    match reach(config).await? {
        Reach::Running(client) => return Ok(client),
        Reach::Stored(store) => store.close().await?,
        Reach::Nothing => {}
    }
    Err(Error::new(
        ErrorKind::Machine,
        "nobody runs with this state directory, and only a running syncline reads existing rows",
    )
    .remedy("start `syncline run`: it goes on with what it had begun; then ask again"))
}

async fn cancel(client: &Client, args: &Args) -> Result<ExitCode> {
    let wish = CancelWish {
        table: args.table.clone(),
    };
    let done: Cancelled = client.post("backfill/cancel", &wish).await?;
    match (args.json, done.cancelled) {
        (true, _) => out::json(&done)?,
        (false, true) => out::line(&format!(
            "The backfills of {} were given up; what is written stays.",
            done.table
        ))?,
        (false, false) => out::line(&format!("Nothing is being read of {}.", done.table))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn tell_cost(answer: &BackfillAnswer) -> Result<()> {
    out::line(&format!("{}: {}", answer.table, answer.cost))?;
    if answer.cost.exceeds_the_day() {
        out::line(
            "  → more than is left of the day's limit: it goes on when the limit turns over; other \
             clients of the org will be short of calls (backfill.rows_per_second slows it)",
        )?;
    }
    Ok(())
}

/// How the table's rows go; none for one that is not configured.
async fn look(client: &Client, table: &str) -> Result<Option<BackfillReport>> {
    let report: Report = client.get("status", &[]).await?;
    Ok(report.backfills.into_iter().find(|b| b.table == table))
}

/// The following of one backfill.
struct Follow<'a> {
    client: &'a Client,
    args: &'a Args,
    /// Since when the one ran that ended before it.
    before: Option<String>,
}

impl Follow<'_> {
    /// What became of its rows; `None` when somebody gave it up.
    async fn until_it_ends(&self) -> Result<Option<JobReport>> {
        let mut shown = Shown::new(&self.args.table);
        loop {
            let seen = look(self.client, &self.args.table).await;
            let seen = match seen {
                Ok(Some(seen)) => seen,
                Ok(None) => return Ok(None),
                Err(error) => {
                    shown.clear();
                    return Err(error.remedy(
                        "if the process has ended, start it again: the backfill goes on where it stands",
                    ));
                }
            };
            if !seen.jobs().any(|job| is_ours(self.args, job)) {
                shown.clear();
                let ended = |job: &JobReport| is_ours(self.args, job) && job.since != self.before;
                return Ok(seen.ended.into_iter().find(ended));
            }
            if seen.state == Reading::Stopped {
                shown.clear();
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!(
                        "the backfill of {} has stopped: {}",
                        self.args.table,
                        seen.why.unwrap_or_default()
                    ),
                )
                .remedy("mend that and ask again: it goes on where it stands"));
            }
            shown.show(&seen);
            tokio::time::sleep(bars::EVERY).await;
        }
    }
}

/// A person asked for these rows and this column.
fn is_ours(args: &Args, job: &JobReport) -> bool {
    job.kind == Some(JobKind::Asked) && job.is_for(args.column.as_deref(), args.filter.as_deref())
}

/// A bar on a terminal, a line now and then elsewhere.
struct Shown {
    bar: Option<ProgressBar>,
    told: Instant,
}

impl Shown {
    fn new(table: &str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Shown {
            bar: terminal.then(|| MultiProgress::new().add(bars::bar(table))),
            told: Instant::now(),
        }
    }

    fn show(&mut self, report: &BackfillReport) {
        if let Some(bar) = &self.bar {
            bars::show(bar, report);
        } else if self.told.elapsed() >= TELL {
            self.told = Instant::now();
            eprintln!("{}", bars::line(report));
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn tell_end(args: &Args, started: &BackfillAnswer, ended: Option<&JobReport>) -> Result<ExitCode> {
    if args.json {
        let mut value = serde_json::to_value(started).map_err(|e| {
            Error::new(ErrorKind::Machine, "the result cannot be written as JSON").source(e)
        })?;
        if let serde_json::Value::Object(entries) = &mut value {
            let word = match ended {
                Some(_) => "done",
                None => "cancelled",
            };
            entries.insert("ended".into(), json!(word));
            entries.insert("result".into(), json!(ended.map(|job| job.rows)));
        }
        out::json(&value)?;
    } else {
        match ended {
            Some(job) => out::line(&format!("{}: {}", args.table, outcome(job.rows)))?,
            None => out::line(&format!(
                "{}: somebody gave it up; what is written stays",
                args.table
            ))?,
        }
    }
    Ok(match ended {
        None => ExitCode::from(exit::FAILED),
        Some(job) if job.rows.pending > 0 => {
            eprintln!("  → `syncline pending list` names the rows that are on the shelf, and why");
            ExitCode::from(exit::ATTENTION)
        }
        Some(_) => ExitCode::SUCCESS,
    })
}

/// What became of the rows, in one line.
fn outcome(rows: Rowcount) -> String {
    let mut text = format!(
        "{} read: {} written, {} unchanged",
        counted(rows.read, "row"),
        thousands(rows.written),
        thousands(rows.unchanged)
    );
    for (count, word) in [
        (rows.overtaken, "overtaken by later changes"),
        (rows.pending, "on the shelf"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {} {word}", thousands(count)));
        }
    }
    text
}
