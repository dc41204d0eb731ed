//! `/sandbox/…`: the control interface of tests and the demo. It needs no token and does
//! not count as API use. Its shapes are documented in the crate's `README.md`.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::reply::Reply;
use super::request::Request;
use super::{definitions, instance, limits, org_rules, schema};
use crate::app::App;
use crate::clock;
use crate::ids::Id;
use crate::schema::field::Kind;
use crate::store::Store;
use crate::store::grants::Viewer;
use crate::write::{self, Action, Change, Context, Options};
use crate::writelog::{Filter, WriteEntry};

pub(super) type Answer = Result<Reply, Reply>;

/// `/sandbox/{word}[/…]`
pub(super) async fn route(app: &App, request: &Request) -> Reply {
    let word = request.path(1).unwrap_or("");
    let done = match (request.method.as_str(), word) {
        ("GET" | "HEAD", "health") => Ok(Reply::json(200, json!({"ok": true}))),
        ("GET", "writes") => writes(app, request),
        ("GET", "requests") => Ok(requests(app)),
        ("GET", "faults") => Ok(Reply::json(200, json!(app.faults.show()))),
        ("PUT", "faults") => set_faults(app, request),
        ("DELETE", "faults") => {
            app.faults.set(crate::faults::Plan::default());
            Ok(Reply::empty(204))
        }
        ("GET", "limits") => Ok(limits::show(app)),
        ("PUT", "limits") => limits::set(app, request),
        ("GET", "usage") => Ok(limits::usage(app)),
        ("POST", "usage") => limits::add_usage(app, request),
        ("PUT", "apps") => limits::connect(app, request),
        ("GET", "clock") => Ok(limits::clock(app)),
        ("PUT", "clock") => limits::set_clock(app, request),
        ("GET", "counters") => Ok(Reply::json(200, app.tally.show())),
        ("DELETE", "counters") => {
            app.tally.reset(app.clock.now());
            Ok(Reply::empty(204))
        }
        ("DELETE", "sessions") => Ok(Reply::json(200, json!({"ended": app.sessions.close_all()}))),
        ("POST", "edit" | "delete" | "undelete") => match request.json() {
            Ok(body) => edit(app, request, word, &body).await,
            Err(reply) => Err(reply),
        },
        ("POST", "edits") => edits(app, request).await,
        ("GET" | "PUT", "duplicate_rules") => org_rules::duplicates(app, request),
        ("GET" | "PUT", "validation_rules") => org_rules::validations(app, request),
        ("GET" | "PUT" | "DELETE", "instance") => instance::route(app, request),
        ("GET", "locks") => Ok(Reply::json(200, app.locks.show())),
        ("PUT", "locks") => limits::set_locks(app, request),
        ("DELETE", "locks") => {
            app.locks.reset();
            Ok(Reply::empty(204))
        }
        ("DELETE", "data") => wipe(app),
        ("GET", "records") => records(app, request),
        ("GET", "schema") => schema::get(app, request),
        ("PUT", "schema") => schema::put(app, request),
        ("GET" | "PUT", "rights") => schema::rights(app, request),
        ("PUT", "objects") => definitions::put_object(app, request),
        ("PUT", "fields") => definitions::put_field(app, request),
        ("GET", "objects") => definitions::objects(app, request),
        _ => Err(Reply::not_found()),
    };
    done.unwrap_or_else(|reply| reply)
}

pub(super) fn refuse(code: &str, message: &str) -> Reply {
    Reply::error(400, code, message)
}

pub(super) fn find(store: &Store, name: &str) -> Result<usize, Reply> {
    store
        .schema
        .find(name)
        .ok_or_else(|| Reply::error(404, "NOT_FOUND", &format!("there is no object {name}")))
}

fn writes(app: &App, request: &Request) -> Answer {
    let text = |name: &str| {
        request
            .query(name)
            .filter(|v| !v.is_empty())
            .map(str::to_owned)
    };
    let number = |name: &str, default: usize| match request.query(name) {
        None | Some("") => Ok(default),
        Some(text) => text.parse().map_err(|_| {
            refuse(
                "INVALID_ARGUMENT",
                &format!("{name} is not a number: {text}"),
            )
        }),
    };
    let filter = Filter {
        object: text("object"),
        external_id: text("external_id"),
        id: text("id")
            .and_then(|id| Id::parse(&id))
            .map(|id| id.to_string())
            .or_else(|| text("id")),
        outcome: text("outcome"),
        after: number("after", 0)? as u64,
        limit: number("limit", 1_000)?.clamp(1, 100_000),
    };
    let store = app.store();
    let (page, more) = store.log.read(&filter);
    let next = page.last().map_or(filter.after, |entry| entry.seq);
    let answer = Writes {
        writes: page,
        next,
        more,
        total: store.log.len(),
    };
    // Straight to text: a page may have a hundred thousand entries.
    let text = serde_json::to_string(&answer)
        .map_err(|e| Reply::error(500, "UNKNOWN_EXCEPTION", &e.to_string()))?;
    Ok(Reply::text(200, "application/json", text))
}

/// A page of the write log.
#[derive(Serialize)]
struct Writes<'a> {
    writes: Vec<&'a WriteEntry>,
    next: u64,
    more: bool,
    total: usize,
}

fn requests(app: &App) -> Reply {
    let (used, _) = app.usage.calls(app.clock.now());
    let (running, long, refused) = app.running.counts();
    Reply::json(
        200,
        json!({
            "running": running, "long": long, "refused_for_long": refused,
            "by_kind": app.counters(), "api_calls": used, "journal_failures": app.failures(),
        }),
    )
}

fn set_faults(app: &App, request: &Request) -> Answer {
    let value = match request.header("content-type") {
        Some(kind) if kind.starts_with("text/plain") => {
            json!({"spec": String::from_utf8_lossy(&request.body)})
        }
        _ => request.json()?,
    };
    app.faults
        .set_json(value)
        .map_err(|message| refuse("INVALID_FAULTS", &message))?;
    Ok(Reply::json(200, json!(app.faults.show())))
}

/// Many edits, one after the other: by how many were accepted. What was refused is in the write log.
async fn edits(app: &App, request: &Request) -> Answer {
    let body = request.json()?;
    let Some(list) = body.as_array() else {
        return Err(refuse("INVALID_ARGUMENT", "the body is a list of edits"));
    };
    let mut accepted = 0;
    for body in list {
        accepted += usize::from(edit(app, request, "edit", body).await.is_ok());
    }
    Ok(Reply::json(200, json!({"accepted": accepted})))
}

/// What a person does to one record: `POST /sandbox/edit`, `delete` and `undelete`.
async fn edit(app: &App, request: &Request, word: &str, body: &Value) -> Answer {
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let fields = match (word, body.get("fields").and_then(Value::as_object)) {
        ("edit", None) => return Err(refuse("INVALID_ARGUMENT", "fields must be an object")),
        ("edit", Some(fields)) => fields.clone(),
        _ => Map::new(),
    };
    let at = match text("at") {
        None => app.clock.now(),
        Some(at) => clock::parse_datetime(at).ok_or_else(|| {
            refuse(
                "INVALID_ARGUMENT",
                &format!("at is not an RFC 3339 time: {at}"),
            )
        })?,
    };
    let user = match text("user") {
        None => app.people.rep,
        Some(name) => Id::parse(name)
            .or_else(|| app.user_named(name))
            .ok_or_else(|| refuse("INVALID_ARGUMENT", &format!("there is no user {name}")))?,
    };
    let change = {
        let store = app.store();
        let object = find(&store, text("object").unwrap_or(""))?;
        let action = match word {
            "undelete" => Action::Undelete(binned_of(&store, object, body)?.to_string()),
            "delete" => Action::Delete(record_of(&store, object, body)?.to_string()),
            _ => Action::Update(record_of(&store, object, body)?.to_string()),
        };
        Change {
            object,
            action,
            fields,
        }
    };
    person(app, request, user, at, "edit", change).await
}

/// Writes as a person does on the page or through the control interface.
pub(super) async fn person(
    app: &App,
    request: &Request,
    user: Id,
    at: i64,
    via: &'static str,
    change: Change,
) -> Answer {
    let ctx = Context {
        user,
        viewer: Viewer::Sandbox,
        at,
        request: request.number,
        via,
        all_or_none: false,
        // A person who is warned saves all the same.
        options: Options {
            save_alerts: true,
            ..Options::default()
        },
        job: None,
    };
    let outcome = write::write(app, &ctx, vec![Ok(change)], request.delay)
        .await
        .pop();
    match outcome {
        Some(Ok(done)) => Ok(Reply::json(
            200,
            json!({
                "id": done.id.to_string(), "success": true, "user": user.to_string(), "at": clock::datetime(at),
            }),
        )),
        Some(Err(error)) => Err(Reply::refused(&error)),
        None => Err(Reply::not_found()),
    }
}

/// The record in the recycle bin that a body names: by `id`, or the one with this
/// `external_id` that went last.
fn binned_of(store: &Store, object: usize, body: &Value) -> Result<Id, Reply> {
    let id = body.get("id").and_then(Value::as_str);
    if let Some(id) = id.and_then(Id::parse) {
        return Ok(id);
    }
    let wanted = body.get("external_id").cloned().unwrap_or(Value::Null);
    let definition = store.schema.object(object);
    let found = store.rows(object).filter(|row| {
        row.deleted.is_some()
            && row
                .external_id(definition)
                .is_some_and(|(_, key)| *key == wanted)
    });
    found
        .max_by_key(|row| row.deleted)
        .map(|row| row.id)
        .ok_or_else(|| {
            let message = format!(
                "no deleted {} has the external id {wanted}",
                definition.name
            );
            Reply::error(404, "NOT_FOUND", &message)
        })
}

/// The record that `id`, or `external_id` (with `external_id_field` if several fields are
/// external ids), names.
fn record_of(store: &Store, object: usize, body: &Value) -> Result<Id, Reply> {
    let definition = store.schema.object(object);
    if let Some(id) = body.get("id").and_then(Value::as_str) {
        let id = Id::parse(id).filter(|id| store.live(*id).is_some());
        return id.ok_or_else(|| Reply::error(404, "NOT_FOUND", "there is no such record"));
    }
    let value = body.get("external_id").cloned().unwrap_or(Value::Null);
    let named = body.get("external_id_field").and_then(Value::as_str);
    let keys = definition
        .fields
        .iter()
        .enumerate()
        .filter(|(_, f)| match named {
            Some(name) => f.name.eq_ignore_ascii_case(name),
            None => f.external_id,
        });
    for (at, field) in keys {
        let value = match (field.kind, &value) {
            (Kind::String | Kind::Email, Value::Number(n)) => Value::String(n.to_string()),
            _ => value.clone(),
        };
        if let Some(id) = store.matching(object, at, &value).first() {
            return Ok(*id);
        }
    }
    Err(Reply::error(
        404,
        "NOT_FOUND",
        &format!("no {} has the external id {value}", definition.name),
    ))
}

fn wipe(app: &App) -> Answer {
    let mut store = app.store();
    let jobs: Vec<Id> = store.jobs.iter().map(|job| job.id).collect();
    let gone = store
        .wipe()
        .map_err(|e| Reply::error(500, "UNKNOWN_EXCEPTION", &e.to_string()))?;
    drop(store);
    for job in jobs {
        app.bulk.files.remove(job);
    }
    Ok(Reply::json(200, json!({"deleted": gone})))
}

/// All records with all fields, hidden ones too, or with the `fields` asked for.
/// `?deleted=true` adds the recycle bin; `?format=jsonl` gives a line each.
fn records(app: &App, request: &Request) -> Answer {
    let store = app.store();
    let at = find(&store, request.path(2).unwrap_or(""))?;
    let object = store.schema.object(at);
    let fields: Vec<usize> = match request.query("fields") {
        None | Some("") => (0..object.fields.len())
            .filter(|at| !object.fields[*at].gone)
            .collect(),
        Some(names) => names
            .split(',')
            .map(|name| {
                let found = object.field(name.trim());
                found.ok_or_else(|| refuse("INVALID_FIELD", &format!("there is no field {name}")))
            })
            .collect::<Result<_, _>>()?,
    };
    let bin = request.query("deleted") == Some("true");
    let lines = request.query("format") == Some("jsonl");
    // Written row by row: there may be hundreds of thousands.
    let mut out = String::from(if lines { "" } else { "[" });
    let mut between = "";
    for row in store.rows(at).filter(|row| bin || row.deleted.is_none()) {
        let shown = fields.iter().map(|f| {
            let field = &object.fields[*f];
            (field.name.clone(), row.value(object, field, *f))
        });
        out.push_str(between);
        out.push_str(&Value::Object(shown.collect()).to_string());
        between = if lines { "\n" } else { ",\n" };
    }
    if lines {
        out.push_str(between);
        return Ok(Reply::text(200, "application/x-ndjson", out));
    }
    out.push(']');
    Ok(Reply::text(200, "application/json", out))
}
