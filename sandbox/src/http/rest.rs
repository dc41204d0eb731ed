//! `/services/…`: versions, the session, the daily limit, and which handler answers.

use std::pin::Pin;
use std::sync::Arc;

use serde_json::{Value, json};

use super::auth::{self, Caller};
use super::reply::Reply;
use super::request::Request;
use super::{bulk, collections, composite, meta, oauth, query, replication, rows, soap, tooling};
use crate::app::App;

/// Versions in the list. The CLI takes two-digit ones only.
const LISTED: std::ops::RangeInclusive<u32> = 60..=66;
/// Versions that are served; older ones are retired.
const SERVED: std::ops::RangeInclusive<u32> = 31..=66;

const SEASONS: [&str; 7] = [
    "Spring '24",
    "Summer '24",
    "Winter '25",
    "Spring '25",
    "Summer '25",
    "Winter '26",
    "Spring '26",
];

/// Adds the header that tells how much of the daily limit is used.
pub(super) fn with_limits(app: &App, request: &Request, reply: Reply) -> Reply {
    let who = auth::app(app, request);
    reply.header("Sforce-Limit-Info", &app.usage.header(who, app.clock.now()))
}

/// Answers a request below `/services` or `/id`.
pub(super) async fn route(app: &Arc<App>, request: &Request) -> Reply {
    match (request.path(0), request.path(1)) {
        (Some("id"), _) => oauth::identity(app, request),
        (_, Some("oauth2")) => oauth::route(app, request),
        (_, Some(word)) if word.eq_ignore_ascii_case("soap") => {
            with_limits(app, request, soap::route(app, request).await)
        }
        (_, Some("data")) if request.segments.len() == 2 => versions(),
        (_, Some("data")) => with_limits(app, request, versioned(app, request).await),
        _ => Reply::not_found(),
    }
}

fn versions() -> Reply {
    let list: Vec<Value> = LISTED
        .zip(SEASONS)
        .map(|(v, label)| json!({"label": label, "url": format!("/services/data/v{v}.0"), "version": format!("{v}.0")}))
        .collect();
    Reply::json(200, Value::Array(list))
}

fn version(text: &str) -> Result<u32, Reply> {
    let digits = text.strip_prefix('v').and_then(|t| t.strip_suffix(".0"));
    let number = digits.filter(|d| d.len() <= 3).and_then(|d| d.parse().ok());
    match number {
        Some(v) if SERVED.contains(&v) => Ok(v),
        Some(v) if v < *SERVED.start() => Err(Reply::error(
            410,
            "UNSUPPORTED_API_VERSION",
            "This API version is retired.",
        )),
        _ => Err(Reply::not_found()),
    }
}

async fn versioned(app: &Arc<App>, request: &Request) -> Reply {
    let version = match version(request.path(2).unwrap_or("")) {
        Ok(version) => version,
        Err(reply) => return reply,
    };
    let caller = match auth::caller(app, request) {
        Ok(caller) => caller,
        Err(reply) => return reply,
    };
    if let Some(kind) = request
        .header("content-type")
        .filter(|_| !request.body.is_empty())
        && !kind.to_lowercase().contains("json")
        && request.path(3) != Some("jobs")
    {
        let message =
            format!("Content-Type header specified in HTTP request is not supported: {kind}");
        return Reply::error(415, "UNSUPPORTED_MEDIA_TYPE", &message);
    }
    if let Some(refusal) = charge(app, caller) {
        return refusal;
    }
    dispatch(app, request, caller, version).await
}

/// Takes one call from the daily limit, or refuses it.
pub(super) fn charge(app: &App, caller: Caller) -> Option<Reply> {
    if app.usage.take(caller.app, app.clock.now()) {
        app.tally.charged(1);
        return None;
    }
    app.count("refused by the daily limit");
    Some(Reply::error(
        403,
        "REQUEST_LIMIT_EXCEEDED",
        "TotalRequests Limit exceeded.",
    ))
}

/// Answers a request that is part of another, which was let in and paid for.
pub(super) fn within<'a>(
    app: &'a Arc<App>,
    request: &'a Request,
    caller: Caller,
) -> Pin<Box<dyn Future<Output = Reply> + Send + 'a>> {
    Box::pin(async move {
        match version(request.path(2).unwrap_or("")) {
            Ok(version) => dispatch(app, request, caller, version).await,
            Err(reply) => reply,
        }
    })
}

async fn dispatch(app: &Arc<App>, request: &Request, caller: Caller, version: u32) -> Reply {
    let tail: Vec<&str> = request
        .segments
        .iter()
        .skip(3)
        .map(String::as_str)
        .collect();
    let head = tail.first().map(|s| s.to_lowercase());
    match (head.as_deref(), tail.get(1..).unwrap_or(&[])) {
        (None, _) => {
            app.count("root");
            meta::root(app, request, caller, version)
        }
        (Some("limits"), rest) => {
            app.count("limits");
            meta::limits(app, request, rest)
        }
        (Some("query"), []) => query::run(app, request, caller, version, false),
        (Some("queryall"), []) => query::run(app, request, caller, version, true),
        (Some("query" | "queryall"), [locator]) => {
            query::more(app, request, caller, version, locator)
        }
        (Some("tooling"), rest) => {
            app.count("tooling");
            tooling::route(app, request, caller, version, rest)
        }
        (Some("jobs"), rest) => {
            app.count("bulk");
            bulk::route(app, request, caller, version, rest).await
        }
        (Some("composite"), [word, rest @ ..]) if word.eq_ignore_ascii_case("sobjects") => {
            app.count("collections");
            collections::route(app, request, caller, version, rest).await
        }
        (Some("composite"), rest) => {
            app.count("composite");
            composite::route(app, request, caller, version, rest).await
        }
        (Some("sobjects"), []) => {
            app.count("describe");
            meta::global(app, request, caller, version)
        }
        (Some("sobjects"), [object, word]) if word.eq_ignore_ascii_case("describe") => {
            app.count("describe");
            meta::describe(app, request, caller, version, object)
        }
        (Some("sobjects"), [object, word]) if is_replication(word) => {
            app.count("replication");
            replication::route(app, request, caller, object, word)
        }
        (Some("sobjects"), [object, rest @ ..]) => {
            app.count("rows");
            rows::route(app, request, caller, version, object, rest).await
        }
        _ => {
            app.count("unknown");
            Reply::not_found()
        }
    }
}

fn is_replication(word: &str) -> bool {
    word.eq_ignore_ascii_case("deleted") || word.eq_ignore_ascii_case("updated")
}
