//! `…/jobs/ingest` and `…/jobs/query`: the calls of Bulk API 2.0 (salesforce.md §8).
//!
//! Its codes have no underscores, and its messages start with the code once more. What an
//! `Accept` header asks for is ignored: heads of jobs are JSON, rows are CSV.

mod ingest;
mod multipart;
mod query;

use serde_json::{Map, Value, json};

use super::auth::Caller;
use super::reply::Reply;
use super::request::Request;
use crate::app::App;
use crate::bulk::{self, Delimiter, Job, LineEnding, State};
use crate::ids::Id;

/// Jobs on a page of a list.
const LISTED: usize = 1_000;

/// `…/jobs/{ingest|query}[/…]`
pub(super) async fn route(
    app: &App,
    request: &Request,
    caller: Caller,
    version: u32,
    rest: &[&str],
) -> Reply {
    forget_old(app);
    let done = match rest {
        [kind, rest @ ..] if kind.eq_ignore_ascii_case("ingest") => {
            ingest::route(app, request, caller, version, rest).await
        }
        [kind, rest @ ..] if kind.eq_ignore_ascii_case("query") => {
            query::route(app, request, caller, version, rest).await
        }
        _ => Err(Reply::not_found()),
    };
    done.unwrap_or_else(|reply| reply)
}

fn forget_old(app: &App) {
    let mut store = app.store();
    let gone = store.jobs.expire(app.clock.now());
    if let Err(error) = store.commit() {
        app.report(&error);
    }
    drop(store);
    for id in gone {
        app.bulk.files.remove(id);
    }
}

/// A refusal in this API's words: `InvalidJob : …` with the code `INVALIDJOB`.
fn refuse(code: &str, message: &str) -> Reply {
    let text = format!("{code} : {message}");
    Reply::error(400, &code.to_uppercase(), &text)
}

fn job(app: &App, text: &str, reads: bool) -> Result<Job, Reply> {
    let store = app.store();
    let found = Id::parse(text).and_then(|id| store.jobs.get(id));
    found
        .filter(|job| job.operation.reads() == reads)
        .cloned()
        .ok_or_else(Reply::not_found)
}

fn body(request: &Request) -> Result<Map<String, Value>, Reply> {
    match request.json()? {
        Value::Object(body) => Ok(body),
        _ => Err(unreadable("The HTTP entity body must be a JSON object")),
    }
}

fn unreadable(message: &str) -> Reply {
    let message = format!("{message} at [line:1, column:1]");
    Reply::error(400, "JSON_PARSER_ERROR", &message)
}

/// Only these properties may be given.
fn only(body: &Map<String, Value>, known: &[&str]) -> Result<(), Reply> {
    match body.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(unreadable(&format!("Unrecognized field \"{key}\""))),
        None => Ok(()),
    }
}

/// A property that has one of a few values.
fn choice<T: serde::de::DeserializeOwned>(
    body: &Map<String, Value>,
    key: &str,
) -> Result<Option<T>, Reply> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match serde_json::from_value(value.clone()) {
            Ok(choice) => Ok(Some(choice)),
            Err(_) => Err(unreadable(&format!("{value} is not a value of {key}"))),
        },
    }
}

fn text(body: &Map<String, Value>, key: &str) -> Result<Option<String>, Reply> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(unreadable(&format!("{key} must be a text"))),
    }
}

/// How the rows of a job look.
fn format(body: &Map<String, Value>) -> Result<(Delimiter, LineEnding), Reply> {
    match text(body, "contentType")?.as_deref() {
        None | Some("CSV") => {}
        Some(_) => return Err(refuse("InvalidJob", "The only content type is CSV")),
    }
    let delimiter = choice(body, "columnDelimiter")?.unwrap_or_default();
    Ok((delimiter, choice(body, "lineEnding")?.unwrap_or_default()))
}

/// Adds a job and keeps it.
fn add(app: &App, job: Job) {
    let mut store = app.store();
    store.jobs.add(job);
    if let Err(error) = store.commit() {
        app.report(&error);
    }
}

fn head(shown: Map<String, Value>) -> Reply {
    Reply::json(200, Value::Object(shown))
}

/// `PATCH …/{id}` with `{"state": …}`.
fn patch(app: &App, request: &Request, job: &Job) -> Result<Reply, Reply> {
    let body = body(request)?;
    only(&body, &["state"])?;
    let wanted: Option<State> = choice(&body, "state")?;
    let verb = match wanted {
        Some(State::Aborted) => "Aborting",
        Some(State::UploadComplete) if !job.operation.reads() => "Closing",
        _ => return Err(refuse("InvalidJobState", "The state cannot be set to this")),
    };
    let mut refused = None;
    let job = bulk::change(app, job.id, |job| {
        let state = match (job.state, wanted) {
            (State::Open, Some(State::UploadComplete)) => State::UploadComplete,
            (state, Some(State::Aborted)) if !state.ended() => State::Aborted,
            (state, _) => {
                refused = Some(format!("{verb} already {} Job not allowed", state.name()));
                return;
            }
        };
        job.state = state;
        job.stamp = app.clock.now();
    });
    let job = job.ok_or_else(Reply::not_found)?;
    if let Some(message) = refused {
        return Err(refuse("InvalidJobState", &message));
    }
    if job.state == State::UploadComplete {
        app.bulk.wake(job.id);
    }
    let mut shown = job.summary();
    for key in ["contentUrl", "lineEnding", "columnDelimiter"] {
        shown.shift_remove(key);
    }
    Ok(head(shown))
}

/// `DELETE …/{id}`
fn delete(app: &App, job: &Job) -> Result<Reply, Reply> {
    if matches!(job.state, State::Open | State::InProgress) {
        let message = format!("A job that is {} cannot be deleted", job.state.name());
        return Err(refuse("InvalidJobState", &message));
    }
    let mut store = app.store();
    store.jobs.remove(job.id);
    if let Err(error) = store.commit() {
        app.report(&error);
    }
    drop(store);
    app.bulk.files.remove(job.id);
    Ok(Reply::empty(204))
}

/// All jobs of a kind, the latest first, page by page.
fn list(app: &App, request: &Request, version: u32, reads: bool) -> Result<Reply, Reply> {
    let kind = if reads { "query" } else { "ingest" };
    let native = if reads { "V2Query" } else { "V2Ingest" };
    let fits = |wanted: Option<&str>, have: &str| {
        wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(have))
    };
    let none = !fits(request.query("jobType"), native)
        || !fits(request.query("concurrencyMode"), "Parallel")
        || request.query("isPkChunkingEnabled") == Some("true");
    let start: usize = match request.query("queryLocator") {
        None => 0,
        Some(text) => text
            .parse()
            .map_err(|_| Reply::error(400, "INVALID_QUERY_LOCATOR", "invalid query locator"))?,
    };
    let store = app.store();
    let mut jobs = store
        .jobs
        .iter()
        .filter(|job| !none && job.operation.reads() == reads)
        .skip(start);
    let records: Vec<Value> = jobs
        .by_ref()
        .take(LISTED)
        .map(|job| {
            let mut shown = job.summary();
            shown.insert("jobType".to_owned(), native.into());
            Value::Object(shown)
        })
        .collect();
    let next = jobs.next().map(|_| {
        let next = start + LISTED;
        format!("/services/data/v{version}.0/jobs/{kind}?queryLocator={next}")
    });
    Ok(Reply::json(
        200,
        json!({"done": next.is_none(), "records": records, "nextRecordsUrl": next}),
    ))
}
