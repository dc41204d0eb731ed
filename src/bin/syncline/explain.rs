//! `syncline explain`

use std::process::ExitCode;

use syncline::config::Config;
use syncline::fault::{Error, ErrorKind, Result};
use syncline::store::Store as _;
use syncline::web::explain::{self, Explained, ExplainedField};
use syncline::web::fields;
use syncline::web::shelf::{self, Name};
use tracing_subscriber::filter::LevelFilter;

use crate::options::ConfigArgs;
use crate::pending::printable;
use crate::reach::{Reach, reach};
use crate::{logging, out, status};

/// What is known of a record: the change it stands at, its fields, what is still to come
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  syncline explain Contact 4711
  syncline explain Contact 4711 Phone --json

A record is named by its CRM object and external id. No values are shown: neither of the database nor
of the CRM. The JSON is described in docs/cli.md.")]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The CRM object
    object: String,
    /// The record's external id
    external_id: String,
    /// Only this field
    field: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    logging::start(logging::Form::Human, LevelFilter::ERROR);
    let config = args.config.load()?.config;
    let name = Name {
        object: args.object,
        external_id: args.external_id,
    };
    let mut told = ask(&config, &name).await?;
    if let Some(field) = &args.field {
        told.fields.retain(|f| f.field.eq_ignore_ascii_case(field));
        if told.fields.is_empty() {
            let what = format!("no rule fills {}.{field}", told.object);
            return Err(Error::new(ErrorKind::Usage, what)
                .remedy("leave the field out: then all of the record's are listed"));
        }
    }
    match args.json {
        true => out::json(&told)?,
        false => out::text(&text(&told))?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(config: &Config, name: &Name) -> Result<Explained> {
    let found = match reach(config).await? {
        Reach::Running(client) => {
            let asked = [
                ("object", name.object.as_str()),
                ("external_id", name.external_id.as_str()),
            ];
            return client.get("explain", &asked).await;
        }
        Reach::Stored(store) => {
            let (objects, fields) = (shelf::objects(config), fields::configured(config));
            let found = explain::find(&*store, &objects, &fields, name).await;
            store.close().await?;
            found?
        }
        Reach::Nothing => {
            let what = "nothing has run with this state directory yet, so nothing is known";
            return Err(Error::new(ErrorKind::Usage, what).remedy("start `syncline run`"));
        }
    };
    found.ok_or_else(|| {
        let what = format!("nothing is written to an object named {}", name.object);
        Error::new(ErrorKind::Machine, what)
            .remedy("name an object of the configuration, such as Contact")
    })
}

fn text(told: &Explained) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        text.push_str(&format!("{name:<12} {value}\n"));
    };
    let id = printable(&told.external_id);
    row("record", &format!("{} {id}", told.object));
    let state = match told.state.as_str() {
        "unknown" => "nothing was ever written to it",
        "live" => "in the CRM",
        "archived" => "in the CRM, marked: its row is deleted",
        "deleted" => "deleted, or known by another external id now",
        "uncertain" => {
            "may be in the CRM: it was being sent when the process ended, and will be again"
        }
        "kept_deleted" => "a person deleted it in the CRM, and it stays so (on_crm_delete)",
        other => other,
    };
    row("state", state);
    if let Some(crm_id) = &told.crm_id {
        row("CRM id", crm_id);
    }
    if let Some(position) = &told.position {
        row("stands at", &format!("the change {position}"));
    }
    if let Some(pending) = &told.pending {
        let code = pending.code.as_deref();
        let code = code.map_or_else(String::new, |code| format!(", {code}"));
        let since = status::short(&pending.since);
        let reason = pending.reason.replace('_', " ");
        row("pending", &format!("{reason}{code}, since {since}"));
    }
    if let Some(advice) = &told.advice {
        row("what to do", advice);
    }
    if !told.fields.is_empty() {
        text.push_str("fields\n");
    }
    let width = told.fields.iter().map(|f| f.field.len()).max().unwrap_or(0);
    for field in &told.fields {
        let from = field.from.as_deref();
        let from = from.map_or_else(String::new, |from| format!("   (from {from})"));
        let words = words(field);
        text.push_str(&format!("  {:<width$}  {words}{from}\n", field.field));
    }
    text
}

fn words(field: &ExplainedField) -> String {
    match (field.state.as_str(), &field.edited) {
        ("kept", Some(edited)) => format!(
            "kept as a person has it, edited {} at the latest",
            status::short(edited)
        ),
        ("left_to_the_crm", _) => {
            "left to the CRM: it was filled when the record was made".to_owned()
        }
        ("written", _) => "as the database had it at that change".to_owned(),
        ("not_written", _) => "not written".to_owned(),
        (other, _) => other.to_owned(),
    }
}
