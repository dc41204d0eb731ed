//! Batches: up to 25 requests, each of which counts as a call of its own.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{MOST, whole};
use crate::app::App;
use crate::http::auth::Caller;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::rest;

/// `…/composite/batch`
pub(super) async fn run(app: &Arc<App>, request: &Request, caller: Caller) -> Result<Reply, Reply> {
    let body = request.json()?;
    let list = body
        .get("batchRequests")
        .and_then(Value::as_array)
        .filter(|list| !list.is_empty());
    let wrong = |what: &str| whole(("INVALID_BATCH_REQUEST", what.to_owned()));
    let list = list.ok_or_else(|| wrong("batchRequests must be a list of subrequests"))?;
    if list.len() > MOST {
        return Err(wrong("A batch request can have at most 25 subrequests"));
    }
    let halt = body.get("haltOnError") == Some(&Value::Bool(true));
    let mut results = Vec::with_capacity(list.len());
    let mut errors = false;
    let mut delay = request.delay;
    for (at, entry) in list.iter().enumerate() {
        if errors && halt {
            let message = "Batch processing halted per request";
            let body = json!([{"errorCode": "BATCH_PROCESSING_HALTED", "message": message}]);
            results.push(json!({"statusCode": 412, "result": body}));
            continue;
        }
        // The first one is paid by the request itself.
        let reply = match (at > 0).then(|| rest::charge(app, caller)).flatten() {
            Some(refusal) => refusal,
            None => {
                let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or("");
                let input = entry.get("richInput").unwrap_or(&Value::Null);
                let method = text("method").to_uppercase();
                let url = absolute(text("url"));
                let mut inner = request.inner(&method, &url, &[], input);
                if inner.method != "GET" {
                    inner.delay = std::mem::take(&mut delay);
                }
                match inner.path(3).map(str::to_lowercase).as_deref() {
                    Some("sobjects" | "query" | "queryall" | "limits") => {
                        rest::within(app, &inner, caller).await
                    }
                    _ => Reply::not_found(),
                }
            }
        };
        let status = reply.status();
        errors |= status >= 400;
        results.push(json!({"statusCode": status, "result": reply.into_body()}));
    }
    Ok(Reply::json(
        200,
        json!({"hasErrors": errors, "results": results}),
    ))
}

/// URLs of a batch start at the version.
fn absolute(url: &str) -> String {
    match url.starts_with("/services/data/") {
        true => url.to_owned(),
        false => format!("/services/data/{}", url.trim_start_matches('/')),
    }
}
