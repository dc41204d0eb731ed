//! `deleted` and `updated`: what changed in a stretch of time (salesforce.md §12).

use serde_json::{Value, json};

use super::auth::Caller;
use super::reply::Reply;
use super::request::Request;
use super::rows;
use crate::app::App;
use crate::clock::{self, Millis};

const DAY: Millis = 86_400_000;
const MINUTE: Millis = 60_000;

fn refuse(message: &str) -> Reply {
    Reply::error(400, "INVALID_REPLICATION_DATE", message)
}

fn window(request: &Request, days: i64, now: Millis) -> Result<(Millis, Millis), Reply> {
    let read = |name: &str| {
        let text = request.query(name).unwrap_or("");
        // Clients send a + unencoded now and then; it arrives as a space.
        clock::parse_datetime(&text.trim().replace(' ', "+"))
            .map(|at| at.div_euclid(MINUTE) * MINUTE)
    };
    let (Some(start), Some(end)) = (read("start"), read("end")) else {
        return Err(refuse("start and end must be given as dates with a time"));
    };
    if end - start < MINUTE {
        return Err(refuse(
            "startDate must be at least one minute before endDate",
        ));
    }
    if start < now - days * DAY {
        return Err(refuse(&format!(
            "startDate before org's last purge date: it is more than {days} days ago"
        )));
    }
    Ok((start, end))
}

/// `…/sobjects/{object}/deleted/?start=&end=` and the like for `updated`.
pub(super) fn route(app: &App, request: &Request, caller: Caller, name: &str, word: &str) -> Reply {
    if request.method != "GET" && request.method != "HEAD" {
        return Reply::wrong_method(&request.method, "GET,HEAD");
    }
    let deleted = word.eq_ignore_ascii_case("deleted");
    let store = app.store();
    let Ok(at) = rows::object(&store, caller.viewer(), name) else {
        return Reply::not_found();
    };
    let now = app.clock.now();
    let (start, end) = match window(request, if deleted { 15 } else { 30 }, now) {
        Ok(window) => window,
        Err(reply) => return reply,
    };
    let covered = clock::datetime(end.min(now.div_euclid(MINUTE) * MINUTE));
    let within = |at: Millis| start <= at && at < end;
    if deleted {
        let list: Vec<Value> = store
            .rows(at)
            .filter_map(|row| Some((row.id, row.deleted?)))
            .filter(|(_, when)| within(*when))
            .map(|(id, when)| json!({"id": id.to_string(), "deletedDate": clock::datetime(when)}))
            .collect();
        return Reply::json(
            200,
            json!({
                "deletedRecords": list,
                "earliestDateAvailable": clock::datetime(now - 15 * DAY),
                "latestDateCovered": covered,
            }),
        );
    }
    let ids: Vec<Value> = store
        .rows(at)
        .filter(|row| row.deleted.is_none() && within(row.stamp))
        .map(|row| json!(row.id.to_string()))
        .collect();
    Reply::json(200, json!({"ids": ids, "latestDateCovered": covered}))
}
