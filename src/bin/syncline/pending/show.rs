//! One record with its values.

use std::process::ExitCode;

use serde_json::Value;
use syncline::config::Config;
use syncline::fault::Result;
use syncline::store::Store as _;
use syncline::web::shelf::{self, Name, Shown};

use super::list::printable;
use super::{ReasonArg, nothing};
use crate::reach::{Reach, reach};
use crate::{out, status};

pub(super) async fn show(
    config: &Config,
    reason: ReasonArg,
    name: Name,
    json: bool,
) -> Result<ExitCode> {
    let shown: Shown = match reach(config).await? {
        Reach::Running(client) => {
            let asked = [
                ("object", name.object.as_str()),
                ("external_id", name.external_id.as_str()),
            ];
            client.get("pending/record", &asked).await?
        }
        Reach::Stored(store) => {
            let found = shelf::find(&*store, &shelf::objects(config), &name).await;
            store.close().await?;
            shelf::shown(&found?.ok_or_else(|| nothing(&name, reason))?)
        }
        Reach::Nothing => return Err(nothing(&name, reason)),
    };
    if reason.get().is_some() && shown.listed.reason != reason.word() {
        return Err(nothing(&name, reason));
    }
    if json {
        out::json(&shown)?;
    } else {
        out::text(&text(&shown))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(shown: &Shown) -> String {
    let listed = &shown.listed;
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        text.push_str(&format!("{name:<12} {value}\n"));
    };
    let record = format!("{} {}", listed.object, printable(&listed.external_id));
    row("record", &record);
    row("external id", &listed.key_field);
    row("table", &listed.table);
    row("reason", &listed.reason.replace('_', " "));
    match &listed.action {
        Some(action) => row("to do", &action.replace('_', "-")),
        None => row(
            "to do",
            "nothing yet: another record still bears this external id",
        ),
    }
    if let Some(code) = &listed.code {
        let fields = match listed.code_fields.is_empty() {
            true => String::new(),
            false => format!(" ({})", listed.code_fields.join(", ")),
        };
        row("code", &format!("{code}{fields}"));
    }
    if let Some(message) = &shown.message {
        row("message", &printable(message));
    }
    if let Some(parent) = &listed.waits_for {
        row("waits for", &printable(&parent.external_id));
    }
    row("since", &status::short(&listed.since));
    let tries = match &listed.tried {
        Some(tried) => format!("{}, last {}", listed.attempts, status::short(tried)),
        None => listed.attempts.to_string(),
    };
    row("tries", &tries);
    if let (Some(position), Some(time), Some(xid)) =
        (&listed.position, &listed.commit_time, listed.xid)
    {
        let change = format!(
            "{position}, committed {}, transaction {xid}",
            status::short(time)
        );
        row("change", &change);
    }
    row("what to do", &shown.advice);
    if !shown.fields.is_empty() {
        text.push_str("fields\n");
    }
    for (name, value) in &shown.fields {
        text.push_str(&format!("  {name} = {}\n", words(value)));
    }
    if !shown.conflicts.is_empty() {
        text.push_str("in the CRM\n");
    }
    for other in &shown.conflicts {
        let since = status::short(&other.edited);
        let (name, value) = (&other.field, words(&other.crm));
        text.push_str(&format!(
            "  {name} = {value}   (since {since} at the latest)\n"
        ));
    }
    text
}

fn words(value: &Value) -> String {
    match value {
        Value::Null => "(empty)".to_owned(),
        Value::String(s) => printable(s),
        Value::Object(reference) => {
            let key = reference.get("external_id").and_then(Value::as_str);
            format!("→ {}", printable(key.unwrap_or_default()))
        }
        other => other.to_string(),
    }
}
