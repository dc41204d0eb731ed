//! What the org says of itself: the version's resources, describe, limits.

use serde_json::{Map, Value, json};

use super::auth::Caller;
use super::reply::Reply;
use super::request::Request;
use super::{oauth, rows};
use crate::app::App;
use crate::clock;
use crate::schema::describe;
use crate::usage::Daily;

/// `/services/data/vNN.0`
pub(super) fn root(app: &App, request: &Request, caller: Caller, version: u32) -> Reply {
    let base = format!("/services/data/v{version}.0");
    let names = [
        "composite",
        "jobs",
        "limits",
        "query",
        "queryAll",
        "sobjects",
        "tooling",
    ];
    let mut map: Map<String, Value> = names
        .iter()
        .map(|name| ((*name).to_owned(), json!(format!("{base}/{name}"))))
        .collect();
    map.insert(
        "identity".to_owned(),
        json!(oauth::identity_url(app, request, caller.user)),
    );
    Reply::json(200, Value::Object(map))
}

/// A description, or 304 or 412 when the client's date says so (salesforce.md §6).
fn unless_known(
    app: &App,
    request: &Request,
    of: (crate::ids::Id, Option<usize>),
    shown: Value,
) -> Reply {
    let date = |name| request.header(name).and_then(clock::parse_http_date);
    let changed = app.described(of, &shown);
    if date("if-modified-since").is_some_and(|since| changed <= since) {
        return Reply::empty(304);
    }
    if date("if-unmodified-since").is_some_and(|since| changed > since) {
        let message = "The description was modified after the given date";
        return Reply::error(412, "MATCH_PRECONDITION_FAILED", message);
    }
    Reply::json(200, shown).header("Last-Modified", &clock::http_date(changed))
}

/// `…/sobjects`
pub(super) fn global(app: &App, request: &Request, caller: Caller, version: u32) -> Reply {
    let version = format!("v{version}.0");
    let viewer = caller.viewer();
    let store = app.store();
    let mut list: Vec<Value> = store
        .schema
        .iter()
        .filter(|(at, _)| store.object_rights(viewer, *at).read)
        .map(|(at, o)| describe::summary(o, &version, store.object_rights(viewer, at)))
        .collect();
    drop(store);
    list.sort_by_key(|o| o["name"].as_str().map(str::to_owned));
    let shown = json!({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": list});
    unless_known(app, request, (caller.user, None), shown)
}

/// `…/sobjects/{object}`
pub(super) fn object(app: &App, caller: Caller, version: u32, at: usize) -> Reply {
    let store = app.store();
    let rights = store.object_rights(caller.viewer(), at);
    let version_name = format!("v{version}.0");
    let summary = describe::summary(store.schema.object(at), &version_name, rights);
    let recent: Vec<Value> = store
        .rows(at)
        .rev()
        .filter(|row| row.deleted.is_none() && row.modified.1 == caller.user)
        .take(5)
        .map(|row| rows::show(&store, row, &[0], version))
        .collect();
    Reply::json(
        200,
        json!({"objectDescribe": summary, "recentItems": recent}),
    )
}

/// `…/sobjects/{object}/describe`
pub(super) fn describe(
    app: &App,
    request: &Request,
    caller: Caller,
    version: u32,
    name: &str,
) -> Reply {
    if request.method != "GET" && request.method != "HEAD" {
        return Reply::wrong_method(&request.method, "GET,HEAD");
    }
    let store = app.store();
    let Ok(at) = rows::object(&store, caller.viewer(), name) else {
        return Reply::not_found();
    };
    let version = format!("v{version}.0");
    let viewer = caller.viewer();
    let rights = store.object_rights(viewer, at);
    let shown = describe::object(&store.schema, at, &version, rights, |position, field| {
        store
            .sees(viewer, at, position, field)
            .then(|| store.may_edit(viewer, at, position, field))
    });
    drop(store);
    unless_known(app, request, (caller.user, Some(at)), shown)
}

/// `…/limits[/recordCount]`
pub(super) fn limits(app: &App, request: &Request, rest: &[&str]) -> Reply {
    match rest {
        [] => {}
        [word] if word.eq_ignore_ascii_case("recordcount") => return record_count(app, request),
        _ => return Reply::not_found(),
    }
    let now = app.clock.now();
    let (used, max) = app.usage.calls(now);
    let daily = |daily| {
        let (max, left) = app.usage.daily(daily, now);
        json!({"Max": max, "Remaining": left})
    };
    let pair = |max: u64, left: u64| json!({"Max": max, "Remaining": left});
    Reply::json(
        200,
        json!({
            "DailyApiRequests": pair(max, max - used),
            "DailyAsyncApexExecutions": pair(250_000, 250_000),
            "DailyBulkApiBatches": daily(Daily::BulkBatches),
            "DailyBulkV2QueryFileStorageMB": pair(976_562, 976_562),
            "DailyBulkV2QueryJobs": daily(Daily::BulkQueryJobs),
            "DataStorageMB": pair(1_024, 1_024),
            "FileStorageMB": pair(1_024, 1_024),
            "PermissionSets": {"Max": 1_500, "Remaining": 1_498, "CreateCustom": pair(1_000, 998)},
        }),
    )
}

fn record_count(app: &App, request: &Request) -> Reply {
    let store = app.store();
    let asked = request.query("sObjects").map(|list| {
        list.split(',')
            .map(str::trim)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    let wanted = store.schema.iter().filter(|(_, o)| {
        asked
            .as_ref()
            .is_none_or(|list| list.iter().any(|name| name.eq_ignore_ascii_case(&o.name)))
    });
    let counts: Vec<Value> = wanted
        .map(|(at, o)| json!({"count": store.count(at), "name": o.name}))
        .collect();
    Reply::json(200, json!({"sObjects": counts}))
}
