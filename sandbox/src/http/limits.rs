//! `/sandbox/limits`, `/sandbox/usage`, `/sandbox/apps` and `/sandbox/clock`: how much the
//! org allows, who has used it, and what time it is there.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::control::{Answer, refuse};
use super::reply::Reply;
use super::request::Request;
use crate::app::App;
use crate::clock::{self, Millis, Pace};
use crate::usage::Daily;

fn invalid(message: &str) -> Reply {
    refuse("INVALID_ARGUMENT", message)
}

fn fields(request: &Request, known: &[&str]) -> Result<Map<String, Value>, Reply> {
    let Value::Object(body) = request.json()? else {
        return Err(invalid("the body must be an object"));
    };
    match body.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(invalid(&format!(
            "there is no setting {key}; known: {}",
            known.join(", ")
        ))),
        None => Ok(body),
    }
}

fn number(body: &Map<String, Value>, key: &str) -> Result<Option<u64>, Reply> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_u64()
            .map(Some)
            .ok_or_else(|| invalid(&format!("{key} must be a whole number"))),
    }
}

fn text<'a>(body: &'a Map<String, Value>, key: &str) -> Result<&'a str, Reply> {
    body.get(key)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
        .ok_or_else(|| invalid(&format!("{key} must be a text")))
}

/// `GET /sandbox/limits`
pub(super) fn show(app: &App) -> Reply {
    let now = app.clock.now();
    let (used, max) = app.usage.calls(now);
    let (most, long) = app.running.limit();
    let store = app.store();
    Reply::json(
        200,
        json!({
            "max": max, "used": used,
            "custom_fields": store.settings.custom_fields,
            "describe_lag_ms": store.settings.describe_lag,
            "history_fields": store.settings.history_fields,
            "concurrent_long": most, "long_request_ms": long,
            "bulk": app.bulk.show(),
            "bulk_batches": app.usage.daily(Daily::BulkBatches, now).0,
            "bulk_query_jobs": app.usage.daily(Daily::BulkQueryJobs, now).0,
        }),
    )
}

/// `PUT /sandbox/limits`
pub(super) fn set(app: &App, request: &Request) -> Answer {
    let known = [
        "max",
        "used",
        "custom_fields",
        "describe_lag_ms",
        "history_fields",
        "bulk",
        "bulk_batches",
        "bulk_query_jobs",
        "concurrent_long",
        "long_request_ms",
    ];
    let body = fields(request, &known)?;
    if let Some(changes) = body.get("bulk") {
        app.bulk.set(changes).map_err(|why| invalid(&why))?;
    }
    if let Some(max) = number(&body, "max")? {
        app.usage.set_max(max);
    }
    if let Some(used) = number(&body, "used")? {
        app.usage.set_used(app.clock.now(), used);
    }
    for (key, daily) in [
        ("bulk_batches", Daily::BulkBatches),
        ("bulk_query_jobs", Daily::BulkQueryJobs),
    ] {
        if let Some(max) = number(&body, key)? {
            app.usage.set_daily(daily, max);
            app.usage.clear_daily(daily);
        }
    }
    let small = |key| -> Result<Option<usize>, Reply> {
        Ok(number(&body, key)?.and_then(|n| usize::try_from(n).ok()))
    };
    let long = number(&body, "long_request_ms")?.map(Duration::from_millis);
    app.running.set(small("concurrent_long")?, long);
    {
        let mut store = app.store();
        if let Some(most) = small("custom_fields")? {
            store.settings.custom_fields = most;
        }
        if let Some(most) = small("history_fields")? {
            store.settings.history_fields = most.min(60);
        }
        if let Some(lag) = number(&body, "describe_lag_ms")? {
            store.settings.describe_lag = Millis::try_from(lag).unwrap_or(Millis::MAX);
            store.settings.describe_lag = store.settings.describe_lag.min(86_400_000);
        }
    }
    Ok(show(app))
}

/// `GET /sandbox/usage`: calls of the last day by app.
pub(super) fn usage(app: &App) -> Reply {
    Reply::json(200, app.usage.show(app.clock.now()))
}

/// `POST /sandbox/usage`: another app made these calls, now.
pub(super) fn add_usage(app: &App, request: &Request) -> Answer {
    let body = fields(request, &["app", "calls"])?;
    let who = app.usage.app(text(&body, "app")?);
    let calls = number(&body, "calls")?.ok_or_else(|| invalid("calls is missing"))?;
    app.usage.add(who, app.clock.now(), calls);
    Ok(usage(app))
}

/// `PUT /sandbox/apps`: an app that may log in, and its own share of the calls of a day.
pub(super) fn connect(app: &App, request: &Request) -> Answer {
    let body = fields(request, &["client_id", "client_secret", "max"])?;
    let name = text(&body, "client_id")?;
    let secret = match body.get("client_secret") {
        None => None,
        Some(_) => Some(text(&body, "client_secret")?.to_owned()),
    };
    let max = match body.contains_key("max") {
        true => Some(number(&body, "max")?),
        false => None,
    };
    app.usage.connect(name, secret, max);
    Ok(usage(app))
}

/// `GET /sandbox/clock`
pub(super) fn clock(app: &App) -> Reply {
    let now = app.clock.now();
    Reply::json(
        200,
        json!({
            "now": clock::precise(now), "now_ms": now, "rate": app.clock.pace().rate,
            "ahead_ms": now - clock::machine(),
        }),
    )
}

/// `PUT /sandbox/clock`: the org's time from now on. It may be set back only while nobody
/// has used the org.
pub(super) fn set_clock(app: &App, request: &Request) -> Answer {
    let body = fields(request, &["now", "advance_ms", "rate"])?;
    let mut store = app.store();
    let present = app.clock.now();
    let rate = match body.get("rate") {
        None => app.clock.pace().rate,
        Some(rate) => rate
            .as_f64()
            .filter(|rate| (0.0..=1_000_000.0).contains(rate))
            .ok_or_else(|| invalid("rate must be a number from 0 to 1000000"))?,
    };
    let named = match body.get("now") {
        None => present,
        Some(now) => now
            .as_str()
            .and_then(clock::parse_datetime)
            .or_else(|| now.as_i64())
            .ok_or_else(|| invalid("now must be an RFC 3339 time or milliseconds since 1970"))?,
    };
    let advance = match body.get("advance_ms") {
        None => 0,
        Some(millis) => millis
            .as_i64()
            .ok_or_else(|| invalid("advance_ms must be a whole number"))?,
    };
    let pace = Pace::from(named.saturating_add(advance), rate);
    let back = named.saturating_add(advance) < present;
    if back && (store.log.len() > 0 || app.usage.calls(present).0 > 0) {
        return Err(invalid(
            "the clock never runs backwards once the org has been used",
        ));
    }
    store
        .set_pace(pace)
        .map_err(|e| Reply::error(500, "UNKNOWN_EXCEPTION", &e.to_string()))?;
    if back {
        app.clock.reset(pace);
    }
    drop(store);
    Ok(clock(app))
}

/// `PUT /sandbox/locks`: how long a request works on a record, and how long it waits for
/// one that is locked. In real time.
pub(super) fn set_locks(app: &App, request: &Request) -> Answer {
    let body = fields(request, &["work_ms", "wait_ms"])?;
    if let Some(work) = body.get("work_ms") {
        let work = work.as_f64().filter(|work| *work >= 0.0);
        let work = work.ok_or_else(|| invalid("work_ms must be a number"))?;
        app.locks.set_work(work);
    }
    if let Some(wait) = number(&body, "wait_ms")? {
        app.locks.set_wait(wait);
    }
    Ok(Reply::json(200, app.locks.show()))
}
