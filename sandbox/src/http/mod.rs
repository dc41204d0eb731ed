//! The wire: requests in, answers out.
//!
//! Paths are cut at slashes before they are percent-decoded, so a key may hold an encoded
//! slash; empty segments (double and trailing slashes) are dropped.

mod auth;
mod bulk;
mod collections;
mod composite;
mod control;
mod definitions;
mod instance;
mod kind;
mod limits;
mod meta;
mod oauth;
mod org_rules;
mod pages;
mod query;
mod replication;
mod reply;
mod request;
mod rest;
mod rows;
mod schema;
mod soap;
mod tooling;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use hyper::http::request::Parts;

use crate::app::App;
use crate::clock;
use crate::counters::Counted;
use crate::faults::{Kind, Rule, Seen};
pub(crate) use instance::Instance;
use reply::Reply;
use request::Request;
pub(crate) use request::max_body;

/// How a connection goes on after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The whole answer is sent.
    Whole,
    /// Half of it, then the connection is closed.
    Cut,
    /// Nothing is sent and the connection is closed.
    Drop,
}

/// Answers one request.
pub(crate) async fn handle(
    app: &Arc<App>,
    address: SocketAddr,
    head: Parts,
    body: Bytes,
) -> (Response<Bytes>, Ending) {
    let mut request = match Request::read(app.number(), address, &head, body) {
        Ok(request) => request,
        Err(reply) => return (reply.finish(false, false), Ending::Whole),
    };
    if app.config.tls.is_some() {
        request.base = request.base.replacen("http:", "https:", 1);
    }
    let (reply, ending) = if is_control(&request) {
        app.count("control");
        (route_control(app, &request).await, Ending::Whole)
    } else {
        let (reply, ending) = entered(app, &mut request).await;
        counted(app, &request, &reply);
        (reply, ending)
    };
    let date = clock::http_date(app.clock.now());
    let reply = reply.header("Date", &date);
    (reply.finish(request.pretty(), request.takes_gzip()), ending)
}

/// Enters a request of the API into the counters.
fn counted(app: &App, request: &Request, reply: &Reply) {
    let word = request.path(1).unwrap_or("").to_lowercase();
    let kind = match word.as_str() {
        "soap" => soap::operation(request).map(|call| match call {
            "undelete" => "soap undelete",
            _ => "soap emptyRecycleBin",
        }),
        "data" if request.segments.len() > 2 => Some(kind::of(request)),
        _ => None,
    };
    let Some(kind) = kind else {
        if (word == "soap" || request.path(2) == Some("token")) && reply.status() == 200 {
            app.tally.login();
        }
        return;
    };
    app.tally.count(Counted {
        kind,
        app: auth::app(app, request)
            .map(|who| app.usage.name(who))
            .unwrap_or_default(),
        records: kind::records(request, kind),
        status: reply.status(),
    });
}

/// The answer to a body that is too long for its path.
pub(crate) fn too_large() -> Response<Bytes> {
    request::too_large().finish(false, false)
}

fn is_control(request: &Request) -> bool {
    !matches!(request.path(0), Some(first) if first.eq_ignore_ascii_case("services") || first == "id")
}

async fn route_control(app: &Arc<App>, request: &Request) -> Reply {
    match request.path(0) {
        Some("sandbox") => control::route(app, request).await,
        None | Some("ui") => pages::route(app, request).await,
        _ => Reply::error(404, "NOT_FOUND", "The requested resource does not exist"),
    }
}

/// A request of the API, if the org lets it in.
async fn entered(app: &Arc<App>, request: &mut Request) -> (Reply, Ending) {
    if request.path(1) != Some("data") || request.segments.len() == 2 {
        return struck(app, request).await;
    }
    if let Some(reply) = instance::elsewhere(app, request) {
        return (reply, Ending::Whole);
    }
    let Some(_progress) = app.running.enter(request.number) else {
        let reply = too_many_long();
        return (rest::with_limits(app, request, reply), Ending::Whole);
    };
    struck(app, request).await
}

fn too_many_long() -> Reply {
    let message = "ConcurrentRequests (Concurrent API Requests) Limit exceeded.";
    Reply::error(403, "REQUEST_LIMIT_EXCEEDED", message)
}

/// A request of the API, with the faults that hit it.
async fn struck(app: &Arc<App>, request: &mut Request) -> (Reply, Ending) {
    let struck = app.faults.request(&Seen {
        method: &request.method,
        path: &request.raw_path,
        segments: &request.segments,
        body: &request.body,
    });
    if struck.drained > 0 {
        let other = app.usage.app("other");
        app.usage.add(other, app.clock.now(), struck.drained);
    }
    if let Some((rule, delay)) = struck.instead {
        app.count("struck by a fault");
        return instead(app, request, &rule, delay).await;
    }
    let writes = request.method != "GET"
        && request.method != "HEAD"
        && (request.raw_path.contains("/sobjects") || request.raw_path.contains("/composite"));
    if writes {
        request.delay = struck.delay + app.faults.latency();
    } else if !struck.delay.is_zero() {
        tokio::time::sleep(struck.delay).await;
    }
    let reply = rest::route(app, request).await;
    match struck.after {
        Some(Kind::Lost) => (reply, Ending::Drop),
        Some(_) => (reply, Ending::Cut),
        None => (reply, Ending::Whole),
    }
}

async fn instead(
    app: &Arc<App>,
    request: &Request,
    rule: &Rule,
    delay: Duration,
) -> (Reply, Ending) {
    let reply = match rule.kind {
        Kind::Throttle => too_many_long(),
        Kind::Maintenance => Reply::text(
            503,
            "text/html; charset=UTF-8",
            "<html><head><title>Down for Maintenance</title></head><body><h1>We are down for \
             maintenance.</h1><p>Sorry for the inconvenience. We'll be back shortly.</p></body></html>",
        ),
        Kind::FalseOk => {
            let code = rule.code.as_deref().unwrap_or("UNKNOWN_EXCEPTION");
            let message = rule.message.as_deref();
            Reply::error(
                200,
                code,
                message.unwrap_or("An unexpected error occurred."),
            )
        }
        Kind::HtmlOk => Reply::html(
            "<html><head><title>Login</title></head><body><h1>Please log in</h1></body></html>",
        ),
        Kind::Redirect => {
            let to = rule.location.as_deref().unwrap_or(&request.base);
            let status = rule.status.unwrap_or(302);
            return (instance::redirected(status, to, request), Ending::Whole);
        }
        Kind::Throttle429 => {
            let reply = Reply::error(
                429,
                "REQUEST_LIMIT_EXCEEDED",
                "Too many requests. Try again later.",
            );
            reply.header("Retry-After", &delay.as_secs().max(1).to_string())
        }
        Kind::BadGateway => Reply::text(
            502,
            "text/html; charset=UTF-8",
            "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>",
        ),
        Kind::TimeoutBefore => {
            tokio::time::sleep(delay).await;
            return (Reply::empty(200), Ending::Drop);
        }
        Kind::Unauthorized => {
            if let Some(token) = auth::token(request) {
                app.sessions.close(&token);
            }
            auth::expired()
        }
        _ => Reply::error(
            503,
            "SERVER_UNAVAILABLE",
            "Server is temporarily unavailable. Please try again later.",
        ),
    };
    (rest::with_limits(app, request, reply), Ending::Whole)
}
