//! `syncline check`

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use syncline::capture::{Conninfo, Sql, preflight};
use syncline::config::{Config, DestinationKind};
use syncline::fault::{Error, Finding, Result, Severity};
use syncline::mapping::{Compiled, MissingField, NewField};
use syncline::sinks::salesforce::Salesforce;
use syncline::store::{self, Loads as _, Store};
use syncline::supervisor::cost::{Bounds, FirstLoad};
use syncline::supervisor::start::{compile_survey, connect, reader, survey};
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

It changes nothing: no slot, no publication, no field, no record. It says which fields would be made
(missing_field = \"create\") and what the first load will cost. Exit code 0 when it can run (perhaps
with warnings), 2 when there are problems.

JSON: {\"ok\": bool, \"problems\": n, \"warnings\": n,
       \"findings\": [{\"severity\": \"problem|warning|note\", \"place\", \"what\", \"remedy\"}],
       \"fields_to_make\": [{\"table\", \"column\", \"object\", \"field\", \"type\", \"label\"}],
       \"first_load\": {\"tables\", \"uncounted\", \"rows\", \"calls\", \"share_of_day\", \"seconds\"} or null}")]
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
    let mut plan = Plan::default();
    if source && destination {
        progress.at("comparing both sides");
        plan = mapping(&config, &mut findings).await;
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
            "fields_to_make": plan.fields.iter().map(field_json).collect::<Vec<_>>(),
            "first_load": plan.first_load,
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

/// What the first run will do beside reading changes.
#[derive(Default)]
struct Plan {
    /// Fields that it makes.
    fields: Vec<MissingField>,
    /// Existing rows that it reads; none where none are left to read, or nobody can tell now.
    first_load: Option<FirstLoad>,
}

async fn mapping(config: &Config, findings: &mut Vec<Finding>) -> Plan {
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
    let looked = tokio::time::timeout(PATIENCE, compared(config)).await;
    let (compiled, first_load) = match looked.map_err(unanswered) {
        Ok(Ok(compared)) => compared,
        Ok(Err(error)) | Err(error) => {
            findings.push(problem("tables", &error));
            return Plan::default();
        }
    };
    for finding in compiled.findings {
        // A missing table or key was found in the database already.
        let known = findings
            .iter()
            .any(|f| f.place == finding.place && f.what == finding.what);
        if !known {
            findings.push(finding);
        }
    }
    if let Some(load) = &first_load {
        findings.push(Finding {
            severity: match load.cost.exceeds_the_day() {
                true => Severity::Warning,
                false => Severity::Note,
            },
            place: "backfill".into(),
            what: format!("the first load reads {load}"),
            remedy: match load.cost.exceeds_the_day() {
                true => "that is more than is left of the day's limit: it goes on when the limit turns \
                         over; backfill.rows_per_second slows it, backfill.first_load = false leaves it out"
                    .into(),
                false => String::new(),
            },
        });
    }
    Plan {
        fields: compiled.missing,
        first_load,
    }
}

/// Both sides against the configuration, with what earlier runs left. A process that runs has the
/// store: then only what is there now is known.
async fn compared(config: &Config) -> Result<(Compiled, Option<FirstLoad>)> {
    let delivery = connect(config)?;
    let survey = survey(config, &delivery).await?;
    let reader = reader(config)?;
    let path = &config.state.path;
    let runs = store::is_running(path)?.is_some();
    let stored = match !runs && path.join("sled").exists() {
        true => Some(store::open(path).await?),
        false => None,
    };
    let looked = async {
        let dynamic = stored.as_ref().map(|s| s as &dyn Store);
        let compiled = compile_survey(config, &survey, dynamic, &*reader).await?;
        let loads = match &stored {
            Some(stored) => stored.loads().await?,
            None => Vec::new(),
        };
        let Some(mapping) = compiled
            .mapping
            .as_ref()
            .filter(|_| !runs && config.backfill.first_load)
        else {
            return Ok((compiled, None));
        };
        let bounds = Bounds::now(config, &delivery);
        let load = FirstLoad::estimate(mapping, &loads, &*reader, bounds).await;
        Ok((compiled, Some(load).filter(|l| l.tables > 0)))
    }
    .await;
    if let Some(stored) = stored {
        stored.close().await?;
    }
    looked
}

fn field_json(missing: &MissingField) -> serde_json::Value {
    json!({
        "table": missing.table,
        "column": missing.column,
        "object": missing.object,
        "field": missing.spec.name,
        "type": type_words(missing.spec.kind),
        "label": missing.spec.label,
    })
}

/// A field's type as the CRM's setup page calls it.
fn type_words(kind: NewField) -> String {
    match kind {
        NewField::Text { length } => format!("Text({length})"),
        NewField::LongText { length } => format!("Long Text Area({length})"),
        NewField::Number { precision, scale } => {
            // Setup counts the digits left of the point.
            format!("Number({}, {scale})", precision.saturating_sub(scale))
        }
        NewField::Checkbox => "Checkbox".into(),
        NewField::Date => "Date".into(),
        NewField::DateTime => "Date/Time".into(),
        NewField::Time => "Time".into(),
    }
}

fn print(findings: &[Finding], problems: usize, warnings: usize) -> Result<()> {
    let titles = [
        (Severity::Problem, "Problems"),
        (Severity::Warning, "Warnings"),
        (Severity::Note, "Notes"),
    ];
    let mut text = out::findings(findings, &titles);
    text.push_str(&match (problems, warnings) {
        (0, 0) => "Ready to run.\n".to_owned(),
        (0, n) => format!("Ready to run, with {}.\n", out::count(n, "warning")),
        (p, w) => format!(
            "Not ready: {}, {}.\n",
            out::count(p, "problem"),
            out::count(w, "warning")
        ),
    });
    out::text(&text)
}
