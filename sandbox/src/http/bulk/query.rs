//! Jobs that read.
//!
//! A locator is the number of the row that its page starts with, so made that nobody does
//! sums with it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::{Map, Value};

use super::{add, body, choice, delete, format, head, job, list, only, patch, refuse};
use crate::app::App;
use crate::bulk::{self, Job, Operation, State};
use crate::http::auth::Caller;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::soql;
use crate::usage::Daily;

/// `…/jobs/query[/…]`
pub(super) async fn route(
    app: &App,
    request: &Request,
    caller: Caller,
    version: u32,
    rest: &[&str],
) -> Result<Reply, Reply> {
    match (request.method.as_str(), rest) {
        ("POST", []) => create(app, &body(request)?, caller, version),
        ("GET" | "HEAD", []) => list(app, request, version, true),
        (method, [id, rest @ ..]) => {
            let job = job(app, id, true)?;
            if job.version != version {
                let message = format!("The job was made with version {}.0", job.version);
                return Err(Reply::error(409, "VERSIONMISMATCH", &message));
            }
            match (method, rest) {
                ("GET" | "HEAD", []) => Ok(head(job.info())),
                ("PATCH", []) => patch(app, request, &job),
                ("DELETE", []) => delete(app, &job),
                ("GET" | "HEAD", [word]) if word.eq_ignore_ascii_case("results") => {
                    results(app, request, &job).await
                }
                _ => Err(Reply::not_found()),
            }
        }
        (method, []) => Err(Reply::wrong_method(method, "GET,POST,HEAD")),
    }
}

fn create(
    app: &App,
    body: &Map<String, Value>,
    caller: Caller,
    version: u32,
) -> Result<Reply, Reply> {
    let known = [
        "operation",
        "query",
        "contentType",
        "lineEnding",
        "columnDelimiter",
    ];
    only(body, &known)?;
    let operation: Option<Operation> = choice(body, "operation")?;
    let operation = operation
        .filter(|operation| operation.reads())
        .ok_or_else(|| refuse("InvalidJob", "operation must be query or queryAll"))?;
    let (delimiter, line_ending) = format(body)?;
    let statement = super::text(body, "query")?
        .filter(|statement| !statement.trim().is_empty())
        .ok_or_else(|| refuse("InvalidJob", "The query of the job is missing"))?;
    if let Some((code, message)) = bulk::query_refused(&statement) {
        return Err(Reply::error(400, code, &message));
    }
    if !app
        .usage
        .take_daily(Daily::BulkQueryJobs, app.clock.now(), 1)
    {
        return Err(refuse("ExceededQuota", "ApiQueryJobs Limit exceeded."));
    }
    let mut store = app.store();
    let all = operation == Operation::QueryAll;
    let cursor = soql::run(&store, caller.viewer(), &statement, all, app.clock.now())
        .map_err(|error| Reply::error(400, error.code, &error.message))?;
    if cursor.has_compound(&store) {
        let message = "Selecting compound data not supported in Bulk Query";
        return Err(Reply::error(400, "FUNCTIONALITY_NOT_ENABLED", message));
    }
    let now = app.clock.now();
    let job = Job {
        id: store.next_id_of("750"),
        operation,
        object: cursor.object_name(&store).to_owned(),
        key: None,
        query: Some(statement),
        assignment_rule: None,
        delimiter,
        line_ending,
        version,
        created_by: caller.user,
        created: now,
        stamp: now,
        state: State::UploadComplete,
        uploaded: true,
        error: None,
        processed: 0,
        failed: 0,
        batches: 0,
        total_ms: 0,
        active_ms: 0,
    };
    drop(store);
    let (id, shown) = (job.id, job.summary());
    add(app, job);
    app.bulk.wake(id);
    Ok(head(shown))
}

async fn results(app: &App, request: &Request, job: &Job) -> Result<Reply, Reply> {
    if job.state != State::JobComplete {
        let message = format!("A job that is {} has no results", job.state.name());
        return Err(refuse("InvalidJobState", &message));
    }
    let most = match request.query("maxRecords") {
        None | Some("") => app.bulk.settings().query_page,
        Some(text) => text
            .parse()
            .ok()
            .filter(|most| *most > 0)
            .ok_or_else(|| refuse("InvalidJob", "maxRecords must be a number above 0"))?,
    };
    let total = usize::try_from(job.processed).unwrap_or(usize::MAX);
    let start = match request.query("locator") {
        None | Some("") => 0,
        Some(text) => unlocate(text)
            .filter(|start| *start < total)
            .ok_or_else(|| Reply::error(400, "INVALID_QUERY_LOCATOR", "invalid query locator"))?,
    };
    tokio::task::yield_now().await;
    let unreadable = |e: std::io::Error| Reply::error(500, "UNKNOWN_EXCEPTION", &e.to_string());
    let file = app.bulk.files.get(job.id).map_err(unreadable)?;
    let (page, count) = bulk::page(&file, start, most);
    let next = start + count;
    let locator = match next < total && count > 0 {
        true => STANDARD_NO_PAD.encode(next.to_string()),
        false => "null".to_owned(),
    };
    Ok(Reply::csv(page.into())
        .header("Sforce-Locator", &locator)
        .header("Sforce-NumberOfRecords", &count.to_string()))
}

fn unlocate(text: &str) -> Option<usize> {
    let bytes = STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
    std::str::from_utf8(&bytes).ok()?.parse().ok()
}
