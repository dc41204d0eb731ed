//! `syncline check`

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use syncline::capture::{Conninfo, Sql, preflight};
use syncline::config::{Config, DestinationKind};
use syncline::fault::{Error, Finding, Result, Severity};
use syncline::sinks::salesforce::Salesforce;
use syncline::store;
use syncline::supervisor::start::{compile_survey, connect, survey};
use tracing_subscriber::filter::LevelFilter;

use crate::options::ConfigArgs;
use crate::{exit, logging, out};

/// How long the CRM may take to describe its objects: `check` waits for nobody.
const PATIENCE: Duration = Duration::from_secs(30);

/// Look at both sides: rights, slot, settings, mapping; each finding with what to do
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  syncline check --config config.toml
  syncline check --json | jq '.findings[] | select(.severity == \"problem\")'

It changes nothing: no slot, no publication, no record. Exit code 0 when it can run (perhaps with
warnings), 2 when there are problems.

JSON: {\"ok\": bool, \"problems\": n, \"warnings\": n,
       \"findings\": [{\"severity\": \"problem|warning|note\", \"place\", \"what\", \"remedy\"}]}")]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    logging::start(logging::Form::Human, LevelFilter::ERROR);
    let config = args.config.load()?.config;
    let mut findings = vec![state(&config)?];
    let progress = crate::out::Step::new(!args.json);
    progress.at("looking at the database");
    let source = source(&config, &mut findings).await;
    progress.at("looking at the CRM");
    let destination = destination(&config, &mut findings).await;
    if source && destination {
        progress.at("comparing both sides");
        mapping(&config, &mut findings).await;
    } else {
        findings.push(Finding {
            severity: Severity::Note,
            place: "tables".into(),
            what: "the mapping was not checked: that needs both sides".into(),
            remedy: String::new(),
        });
    }
    progress.end();
    findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
    let count = |s| findings.iter().filter(|f| f.severity == s).count();
    let (problems, warnings) = (count(Severity::Problem), count(Severity::Warning));
    if args.json {
        out::json(&json!({
            "ok": problems == 0,
            "problems": problems,
            "warnings": warnings,
            "findings": findings,
        }))?;
    } else {
        print(&findings, problems, warnings)?;
    }
    Ok(match problems {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(exit::USAGE),
    })
}

/// Whether a process runs with this state.
fn state(config: &Config) -> Result<Finding> {
    let path = config.state.path.display();
    let what = match store::is_running(&config.state.path)? {
        Some(pid) => format!("syncline is running with {path} (process {pid})"),
        None if config.state.path.join("sled").exists() => {
            format!("{path} holds progress; nobody runs with it")
        }
        None => format!("{path} does not exist yet: the first run starts anew"),
    };
    Ok(Finding {
        severity: Severity::Note,
        place: "state".into(),
        what,
        remedy: String::new(),
    })
}

fn problem(place: &str, error: &Error) -> Finding {
    Finding {
        severity: Severity::Problem,
        place: place.into(),
        what: error.to_string(),
        remedy: error.remedy.as_deref().unwrap_or_default().into(),
    }
}

async fn source(config: &Config, findings: &mut Vec<Finding>) -> bool {
    let tables: Vec<String> = config.tables.keys().cloned().collect();
    let looked = async {
        let info = Conninfo::from_config(&config.source)?;
        let sql = Sql::connect(&info).await?;
        preflight(&sql, &config.source, &tables).await
    };
    match looked.await {
        Ok(found) => findings.extend(found),
        Err(error) => {
            findings.push(problem("source", &error));
            return false;
        }
    }
    true
}

async fn destination(config: &Config, findings: &mut Vec<Finding>) -> bool {
    if config.destination.kind == DestinationKind::Discard {
        return true;
    }
    match Salesforce::connect(&config.destination) {
        Ok(salesforce) => {
            let found = salesforce.check().await;
            let good = found.iter().all(|f| f.severity != Severity::Problem);
            findings.extend(found);
            good
        }
        Err(error) => {
            findings.push(problem("destination", &error));
            false
        }
    }
}

async fn mapping(config: &Config, findings: &mut Vec<Finding>) {
    let looked = async {
        let delivery = connect(config)?;
        survey(config, &delivery).await
    };
    let unanswered = |_| {
        Error::new(
            syncline::fault::ErrorKind::DestinationUnreachable,
            format!(
                "the CRM did not describe its objects in {} s",
                PATIENCE.as_secs()
            ),
        )
        .remedy("try again when it answers")
    };
    match tokio::time::timeout(PATIENCE, looked).await {
        Ok(Ok(survey)) => {
            for finding in compile_survey(config, &survey).findings {
                // A missing table or key was found in the database already.
                let known = findings
                    .iter()
                    .any(|f| f.place == finding.place && f.what == finding.what);
                if !known {
                    findings.push(finding);
                }
            }
        }
        Ok(Err(error)) => findings.push(problem("tables", &error)),
        Err(elapsed) => findings.push(problem("tables", &unanswered(elapsed))),
    }
}

fn print(findings: &[Finding], problems: usize, warnings: usize) -> Result<()> {
    let mut text = String::new();
    for (severity, title) in [
        (Severity::Problem, "Problems"),
        (Severity::Warning, "Warnings"),
        (Severity::Note, "Notes"),
    ] {
        let of_this: Vec<&Finding> = findings.iter().filter(|f| f.severity == severity).collect();
        if of_this.is_empty() {
            continue;
        }
        text.push_str(&format!("{title}\n"));
        for finding in of_this {
            text.push_str(&format!("  {}: {}\n", finding.place, finding.what));
            if !finding.remedy.is_empty() {
                text.push_str(&format!("    → {}\n", finding.remedy));
            }
        }
        text.push('\n');
    }
    let plural = |n: usize, word: &str| match n {
        1 => format!("1 {word}"),
        n => format!("{n} {word}s"),
    };
    text.push_str(&match (problems, warnings) {
        (0, 0) => "Ready to run.\n".to_owned(),
        (0, n) => format!("Ready to run, with {}.\n", plural(n, "warning")),
        (p, w) => format!(
            "Not ready: {}, {}.\n",
            plural(p, "problem"),
            plural(w, "warning")
        ),
    });
    out::text(&text)
}
