//! Requests in one request: composite, composite graph and batch (salesforce.md §7).
//!
//! Subrequests go through the same dispatch as requests of their own. Those of a composite
//! with `allOrNone`, and those of each graph, stand or fall together
//! ([`crate::write::together`]); others are requests one after the other. `collateSubrequests`
//! is accepted and changes nothing that can be seen here.

mod batch;
mod graph;
mod reference;

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use serde_json::{Map, Value, json};

use super::auth::Caller;
use super::reply::Reply;
use super::request::Request;
use super::rest;
use crate::app::App;
use crate::write::together::together;
use reference::Answers;

const MOST: usize = 25;
/// Of these, collections and queries.
const MOST_LARGE: usize = 5;

/// A refusal of the whole request.
type Refused = (&'static str, String);

/// One request in another.
#[derive(Debug)]
struct Sub {
    method: String,
    url: String,
    reference: String,
    headers: Vec<(String, String)>,
    body: Value,
}

/// What came of one.
struct Answered {
    status: u16,
    headers: Value,
    body: Value,
    /// It did what it should.
    done: bool,
}

impl Answered {
    fn halted(message: &str) -> Answered {
        let body = json!([{"errorCode": "PROCESSING_HALTED", "message": message}]);
        Answered {
            status: 400,
            headers: json!({}),
            body,
            done: false,
        }
    }

    fn rolled_back() -> Answered {
        Answered::halted(
            "The transaction was rolled back since another operation in the same transaction failed.",
        )
    }

    fn of(sub: &Sub, reply: Reply) -> Answered {
        let status = reply.status();
        let headers = reply.shown_headers();
        let body = reply.into_body();
        let records = body.as_array().into_iter().flatten();
        let partly = sub.is_collection()
            && records
                .filter_map(|record| record.get("success"))
                .any(|success| *success == false);
        Answered {
            // 300 is a refusal too: several records match, and nothing was written.
            done: (status < 300 || status == 304) && !partly,
            status,
            headers,
            body,
        }
    }

    fn shown(self, sub: &Sub) -> Value {
        json!({
            "body": self.body, "httpHeaders": self.headers, "httpStatusCode": self.status,
            "referenceId": sub.reference,
        })
    }
}

impl Sub {
    fn tail(&self) -> Vec<String> {
        let path = self.url.split('?').next().unwrap_or("");
        let parts = path.split('/').filter(|part| !part.is_empty());
        parts.skip(3).map(str::to_lowercase).collect()
    }

    fn is_collection(&self) -> bool {
        self.tail()
            .starts_with(&["composite".to_owned(), "sobjects".to_owned()])
    }

    fn is_large(&self) -> bool {
        let tail = self.tail();
        self.is_collection() || tail.first().is_some_and(|word| word.starts_with("query"))
    }

    fn is_served(&self) -> bool {
        let tail = self.tail();
        self.url.starts_with("/services/data/v")
            && (self.is_large() || tail.first().is_some_and(|word| word == "sobjects"))
    }

    /// The reference ids it needs.
    fn needs(&self) -> Vec<String> {
        let mut names = reference::in_text(&self.url);
        reference::named(&self.body, &mut names);
        names
    }
}

fn whole(refused: Refused) -> Reply {
    Reply::error(400, refused.0, &refused.1)
}

/// Reads the list of subrequests.
fn subs(list: Option<&Value>) -> Result<Vec<Sub>, Refused> {
    let wrong = |what: &str| ("INVALID_INPUT", what.to_owned());
    let list = list
        .and_then(Value::as_array)
        .filter(|list| !list.is_empty())
        .ok_or_else(|| wrong("compositeRequest must be a list of subrequests"))?;
    let mut out: Vec<Sub> = Vec::with_capacity(list.len());
    for entry in list {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or("");
        let reference = text("referenceId");
        let letters = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if reference.is_empty() || !reference.bytes().all(letters) {
            return Err(wrong(
                "referenceId must be given and hold letters, digits and underscores only",
            ));
        }
        if out.iter().any(|sub| sub.reference == reference) {
            return Err(wrong(&format!("Duplicate referenceId: {reference}")));
        }
        let given = entry.get("httpHeaders").and_then(Value::as_object);
        let mut headers = Vec::new();
        for (name, value) in given.into_iter().flatten() {
            let name = name.to_lowercase();
            if ["accept", "authorization", "content-type"].contains(&name.as_str()) {
                return Err(wrong(&format!("httpHeaders must not set {name}")));
            }
            headers.push((name, value.as_str().unwrap_or("").to_owned()));
        }
        out.push(Sub {
            method: text("method").to_uppercase(),
            url: text("url").to_owned(),
            reference: reference.to_owned(),
            headers,
            body: entry.get("body").cloned().unwrap_or(Value::Null),
        });
    }
    Ok(out)
}

/// The request that a subrequest is, with the values it refers to; or which is missing.
fn filled(parent: &Request, sub: &Sub, answers: &Answers) -> Result<Request, String> {
    let url = reference::url(&sub.url, answers)?;
    let body = reference::body(&sub.body, answers)?;
    Ok(parent.inner(&sub.method, &url, &sub.headers, &body))
}

/// Answers a subrequest without waiting.
fn at_once(
    app: &Arc<App>,
    parent: &Request,
    caller: Caller,
    sub: &Sub,
    answers: &Answers,
) -> Answered {
    let request = match filled(parent, sub, answers) {
        Ok(request) => request,
        Err(missing) => return Answered::halted(&missing),
    };
    let mut work = pin!(rest::within(app, &request, caller));
    match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(reply) => Answered::of(sub, reply),
        Poll::Pending => Answered::halted("The subrequest cannot be part of a transaction."),
    }
}

/// All of them or none, in this order; answers are in the order of `subs`.
async fn all_or_none(
    app: &Arc<App>,
    request: &Request,
    caller: Caller,
    subs: &[Sub],
    order: &[usize],
) -> (Vec<Answered>, bool) {
    together(app, request.number, request.delay, || {
        let mut answers = Answers::new();
        let mut out: Vec<Option<Answered>> = subs.iter().map(|_| None).collect();
        let mut failed = None;
        for at in order {
            let Some(sub) = subs.get(*at) else { continue };
            let answered = at_once(app, request, caller, sub, &answers);
            let done = answered.done;
            answers.insert(sub.reference.clone(), answered.body.clone());
            out[*at] = Some(answered);
            if !done {
                failed = Some(*at);
                break;
            }
        }
        let out = out.into_iter().enumerate().map(|(at, answered)| {
            match (answered, failed) {
                (Some(answered), None) => answered,
                // A collection tells what became of each record, as if it had been alone.
                (Some(mut answered), Some(bad)) if at == bad => {
                    answered.status = answered.status.max(400);
                    answered
                }
                _ => Answered::rolled_back(),
            }
        });
        let done = failed.is_none();
        ((out.collect(), done), done)
    })
    .await
}

/// `…/composite`
async fn composite(app: &Arc<App>, request: &Request, caller: Caller) -> Result<Reply, Reply> {
    let body = request.json()?;
    let subs = subs(body.get("compositeRequest")).map_err(whole)?;
    let limit = |what: &str| whole(("LIMIT_EXCEEDED", what.to_owned()));
    if subs.len() > MOST {
        return Err(limit("A composite request can have at most 25 subrequests"));
    }
    if subs.iter().filter(|sub| sub.is_large()).count() > MOST_LARGE {
        return Err(limit(
            "At most 5 subrequests of a composite request can be collections or queries",
        ));
    }
    if let Some(sub) = subs.iter().find(|sub| !sub.is_served()) {
        let message = format!(
            "The resource of subrequest {} is not supported",
            sub.reference
        );
        return Err(whole(("INVALID_INPUT", message)));
    }
    let answered = if body.get("allOrNone") == Some(&Value::Bool(true)) {
        let order: Vec<usize> = (0..subs.len()).collect();
        all_or_none(app, request, caller, &subs, &order).await.0
    } else {
        let mut answers = Answers::new();
        let mut out = Vec::new();
        let mut delay = request.delay;
        for sub in &subs {
            let answered = match filled(request, sub, &answers) {
                Ok(mut inner) => {
                    // The first one that writes takes the time of the whole request.
                    if inner.method != "GET" {
                        inner.delay = std::mem::take(&mut delay);
                    }
                    Answered::of(sub, rest::within(app, &inner, caller).await)
                }
                Err(missing) => Answered::halted(&missing),
            };
            answers.insert(sub.reference.clone(), answered.body.clone());
            out.push(answered);
        }
        out
    };
    Ok(Reply::json(
        200,
        json!({"compositeResponse": list(&subs, answered)}),
    ))
}

fn list(subs: &[Sub], answered: Vec<Answered>) -> Vec<Value> {
    let pairs = subs.iter().zip(answered);
    pairs.map(|(sub, answered)| answered.shown(sub)).collect()
}

/// `…/composite[/graph|/batch]`
pub(super) async fn route(
    app: &Arc<App>,
    request: &Request,
    caller: Caller,
    version: u32,
    rest: &[&str],
) -> Reply {
    let word = rest.first().map(|word| word.to_lowercase());
    if rest.len() > 1 {
        return Reply::not_found();
    }
    match (request.method.as_str(), word.as_deref()) {
        ("GET" | "HEAD", None) => Reply::json(200, resources(version)),
        ("POST", None) => composite(app, request, caller).await.unwrap_or_else(|r| r),
        ("POST", Some("graph")) => graph::run(app, request, caller).await.unwrap_or_else(|r| r),
        ("POST", Some("batch")) => batch::run(app, request, caller).await.unwrap_or_else(|r| r),
        (method, None | Some("graph" | "batch")) => Reply::wrong_method(method, "POST"),
        _ => Reply::not_found(),
    }
}

fn resources(version: u32) -> Value {
    let names = ["batch", "graph", "sobjects"];
    let list = names.map(|name| {
        let url = format!("/services/data/v{version}.0/composite/{name}");
        (name.to_owned(), json!(url))
    });
    Value::Object(Map::from_iter(list))
}
