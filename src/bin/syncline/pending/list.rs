//! Pages of the shelf, and all of it with values.

use std::process::ExitCode;

use serde::Deserialize;
use syncline::config::Config;
use syncline::fault::{Error, ErrorKind, Result};
use syncline::mapping::RecordId;
use syncline::store::{SledStore, Store};
use syncline::web::fields;
use syncline::web::kept_fields::{self, KeptFields};
use syncline::web::shelf::{self, Filter, KeptListing, Listed, Listing, PAGE, Shown};

use super::ReasonArg;
use crate::reach::{Reach, reach};
use crate::{exit, out, status};

pub(super) struct Wanted {
    pub(super) filter: Filter,
    pub(super) reason: ReasonArg,
    pub(super) limit: usize,
    pub(super) after: Option<String>,
    pub(super) json: bool,
    pub(super) check: bool,
}

/// A page with values.
#[derive(Deserialize)]
struct Full {
    pending: Vec<Shown>,
    next: Option<String>,
}

fn mark(after: Option<&str>) -> Result<Option<RecordId>> {
    let unreadable = || {
        Error::new(ErrorKind::Usage, "--after is not a mark")
            .remedy("give it as the last line of the list before says it")
    };
    after
        .map(|mark| shelf::unmark(mark).ok_or_else(unreadable))
        .transpose()
}

pub(super) async fn list(config: &Config, wanted: Wanted) -> Result<ExitCode> {
    let reason = wanted.reason;
    let after = wanted.after.as_deref();
    let limit = wanted.limit.clamp(1, PAGE);
    let begin = mark(after)?;
    let filter = &wanted.filter;
    let listing = match reach(config).await? {
        Reach::Running(client) => {
            let limit = limit.to_string();
            let mut asked = vec![("reason", reason.word()), ("limit", limit.as_str())];
            asked.extend(filter.table.as_deref().map(|t| ("table", t)));
            asked.extend(filter.code.as_deref().map(|c| ("code", c)));
            asked.extend(after.map(|a| ("after", a)));
            client.get("pending", &asked).await?
        }
        Reach::Stored(store) => {
            let found = shelf::page(&*store, filter, begin, limit).await;
            store.close().await?;
            let (found, next) = found?;
            let pending = found.iter().map(shelf::listed).collect();
            Listing { pending, next }
        }
        Reach::Nothing => Listing {
            pending: Vec::new(),
            next: None,
        },
    };
    if wanted.json {
        out::json(&listing)?;
    } else {
        out::text(&text(&listing))?;
    }
    Ok(match wanted.check && !listing.pending.is_empty() {
        true => ExitCode::from(exit::ATTENTION),
        false => ExitCode::SUCCESS,
    })
}

fn text(listing: &Listing) -> String {
    if listing.pending.is_empty() {
        return "Nothing is pending.\n".into();
    }
    let mut table = out::table();
    table.set_header(["object", "external id", "reason", "code", "since", "tries"]);
    for entry in &listing.pending {
        table.add_row([
            entry.object.clone(),
            printable(&entry.external_id),
            entry.reason.replace('_', " "),
            code(entry),
            status::short(&entry.since),
            entry.attempts.to_string(),
        ]);
    }
    let mut text = out::lines(table);
    text.push('\n');
    text.push_str(&more(listing.next.as_deref()));
    text
}

fn code(entry: &Listed) -> String {
    let fields = entry.code_fields.join(", ");
    match (&entry.code, &entry.waits_for) {
        (_, Some(parent)) => format!("for {}", printable(&parent.external_id)),
        (Some(code), None) if !fields.is_empty() => format!("{code} ({fields})"),
        (Some(code), None) => code.clone(),
        (None, None) => "-".into(),
    }
}

/// How to see the next page.
fn more(next: Option<&str>) -> String {
    next.map_or_else(String::new, |next| {
        format!("\nmore: --after '{}'\n", next.replace('\'', "'\\''"))
    })
}

/// A key comes from the database and goes to a terminal: no control characters.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c.is_control() {
            true => c.escape_default().collect::<Vec<char>>(),
            false => vec![c],
        })
        .collect()
}

/// Records that people deleted in the CRM, and that stay so.
pub(super) async fn kept(
    config: &Config,
    limit: usize,
    after: Option<String>,
    json: bool,
) -> Result<ExitCode> {
    let begin = mark(after.as_deref())?;
    let listing = match reach(config).await? {
        Reach::Running(client) => {
            let limit = limit.to_string();
            let mut asked = vec![("limit", limit.as_str())];
            asked.extend(after.as_deref().map(|a| ("after", a)));
            client.get("kept", &asked).await?
        }
        Reach::Stored(store) => {
            let found = shelf::kept(&*store, &shelf::objects(config), begin, limit).await;
            store.close().await?;
            found?
        }
        Reach::Nothing => KeptListing::default(),
    };
    if json {
        out::json(&listing)?;
        return Ok(ExitCode::SUCCESS);
    }
    if listing.kept.is_empty() {
        out::text("No record is kept deleted.\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = out::table();
    table.set_header(["object", "external id", "last change kept"]);
    for kept in &listing.kept {
        let id = printable(&kept.external_id);
        table.add_row([kept.object.clone(), id, kept.position.clone()]);
    }
    let mut text = out::lines(table);
    text.push('\n');
    text.push_str(&more(listing.next.as_deref()));
    out::text(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Fields that hold what people wrote.
pub(super) async fn kept_fields(
    config: &Config,
    limit: usize,
    after: Option<String>,
    json: bool,
) -> Result<ExitCode> {
    let begin = mark(after.as_deref())?;
    let listing: KeptFields = match reach(config).await? {
        Reach::Running(client) => {
            let limit = limit.to_string();
            let mut asked = vec![("limit", limit.as_str())];
            asked.extend(after.as_deref().map(|a| ("after", a)));
            client.get("kept/fields", &asked).await?
        }
        Reach::Stored(store) => {
            let fields = fields::configured(config);
            let objects = shelf::objects(config);
            let found = kept_fields::page(&*store, &objects, &fields, begin, limit).await;
            store.close().await?;
            found?
        }
        Reach::Nothing => KeptFields::default(),
    };
    if json {
        out::json(&listing)?;
        return Ok(ExitCode::SUCCESS);
    }
    if listing.kept_fields.is_empty() && listing.next.is_none() {
        out::text("No field is kept as people have it.\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = out::table();
    table.set_header(["object", "external id", "field", "edited, at the latest"]);
    for kept in &listing.kept_fields {
        let id = printable(&kept.external_id);
        let edited = status::short(&kept.edited);
        table.add_row([kept.object.clone(), id, kept.field.clone(), edited]);
    }
    let mut text = out::lines(table);
    text.push('\n');
    text.push_str(&more(listing.next.as_deref()));
    out::text(&text)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn export(config: &Config, reason: ReasonArg) -> Result<ExitCode> {
    match reach(config).await? {
        Reach::Running(client) => {
            let limit = PAGE.to_string();
            let mut after: Option<String> = None;
            loop {
                let mut asked = vec![("reason", reason.word()), ("limit", limit.as_str())];
                asked.extend(after.as_deref().map(|a| ("after", a)));
                let page: Full = client.get("pending/full", &asked).await?;
                for entry in &page.pending {
                    out::json_line(entry)?;
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Reach::Stored(store) => {
            let written = export_stored(&store, reason).await;
            store.close().await?;
            written?;
        }
        Reach::Nothing => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn export_stored(store: &SledStore, reason: ReasonArg) -> Result<()> {
    let mut after: Option<String> = None;
    loop {
        let filter = Filter {
            reason: reason.get(),
            ..Filter::default()
        };
        let begin = mark(after.as_deref())?;
        let (found, next) = shelf::page(store, &filter, begin, PAGE).await?;
        for pending in &found {
            out::json_line(&shelf::shown(pending))?;
        }
        after = next;
        if after.is_none() {
            return Ok(());
        }
    }
}
