//! sObject Collections: up to 200 records in one call (salesforce.md §4).

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::auth::Caller;
use super::reply::Reply;
use super::request::Request;
use super::rows;
use crate::app::App;
use crate::ids::Id;
use crate::store::Store;
use crate::store::grants::Viewer;
use crate::write::error::RecordError;
use crate::write::{self, Action, Asked, Change, Context, Outcome};

const MAX_RECORDS: usize = 200;
const MAX_READ: usize = 2_000;
const MAX_CHUNKS: usize = 10;

/// `…/composite/sobjects[/…]`
pub(super) async fn route(
    app: &App,
    request: &Request,
    caller: Caller,
    version: u32,
    rest: &[&str],
) -> Reply {
    let done = match (request.method.as_str(), rest) {
        ("POST", []) => change(app, request, caller, false).await,
        ("PATCH", []) => change(app, request, caller, true).await,
        ("DELETE", []) => delete(app, request, caller).await,
        ("PATCH", [object, key]) => upsert(app, request, caller, object, key).await,
        ("PATCH", [_]) => return Reply::wrong_method("PATCH", "GET,POST,HEAD"),
        ("POST" | "GET" | "HEAD", [object]) => retrieve(app, request, caller, version, object),
        (method, _) => return Reply::wrong_method(method, "GET,POST,PATCH,DELETE,HEAD"),
    };
    done.unwrap_or_else(|reply| reply)
}

/// What is common to the bodies of create, update and upsert.
fn records(request: &Request) -> Result<(bool, Vec<Map<String, Value>>), Reply> {
    let body = request.json()?;
    let Value::Object(mut body) = body else {
        return Err(Reply::error(
            400,
            "JSON_PARSER_ERROR",
            "The HTTP entity body must be a JSON object at [line:1, column:1]",
        ));
    };
    let all_or_none = match body.get("allOrNone") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(flag)) => *flag,
        Some(_) => {
            return Err(Reply::error(
                400,
                "JSON_PARSER_ERROR",
                "Cannot deserialize instance of boolean for allOrNone at [line:1, column:1]",
            ));
        }
    };
    if let Some(unknown) = body.keys().find(|k| *k != "allOrNone" && *k != "records") {
        let message = format!("Unrecognized field \"{unknown}\" at [line:1, column:1]");
        return Err(Reply::error(400, "JSON_PARSER_ERROR", &message));
    }
    let records = match body.remove("records") {
        Some(Value::Array(records)) => records,
        None | Some(Value::Null) => Vec::new(),
        Some(_) => {
            return Err(Reply::error(
                400,
                "JSON_PARSER_ERROR",
                "Cannot deserialize records: an array is expected at [line:1, column:1]",
            ));
        }
    };
    if records.is_empty() {
        return Err(Reply::error(
            400,
            "REQUIRED_FIELD_MISSING",
            "At least 1 record is required",
        ));
    }
    too_many(records.len())?;
    let records = records.into_iter().map(|record| match record {
        Value::Object(record) => Ok(record),
        _ => Err(Reply::error(
            400,
            "JSON_PARSER_ERROR",
            "Cannot deserialize a record: an object is expected at [line:1, column:1]",
        )),
    });
    Ok((all_or_none, records.collect::<Result<_, _>>()?))
}

fn too_many(count: usize) -> Result<(), Reply> {
    if count > MAX_RECORDS {
        let message = "record limit reached. cannot submit more than 200 records into this call";
        return Err(Reply::error(400, "EXCEEDED_ID_LIMIT", message));
    }
    Ok(())
}

/// Takes `attributes` out of a record and gives its type.
fn type_of(store: &Store, viewer: Viewer, record: &mut Map<String, Value>) -> Result<usize, Reply> {
    let attributes = record.remove("attributes");
    let stated = attributes
        .as_ref()
        .and_then(|a| a.get("type"))
        .and_then(Value::as_str);
    let Some(name) = stated else {
        return Err(Reply::error(
            400,
            "INVALID_FIELD",
            "Include an entity type in the attributes of each record: attributes.type is missing",
        ));
    };
    store.find_for(viewer, name).ok_or_else(|| {
        let message = format!("sObject type '{name}' is not supported.");
        Reply::error(400, "INVALID_TYPE", &message)
    })
}

fn context(app: &App, request: &Request, caller: Caller, all_or_none: bool) -> Context {
    rows::context(app, request, caller, "collections", all_or_none)
}

async fn change(
    app: &App,
    request: &Request,
    caller: Caller,
    update: bool,
) -> Result<Reply, Reply> {
    let (all_or_none, records) = records(request)?;
    let mut asked: Vec<Asked> = Vec::with_capacity(records.len());
    let mut chunks = 0;
    {
        let store = app.store();
        let mut before = None;
        for mut fields in records {
            let object = type_of(&store, caller.viewer(), &mut fields)?;
            chunks += usize::from(before != Some(object));
            before = Some(object);
            asked.push(one(object, fields, update));
        }
    }
    if chunks > MAX_CHUNKS {
        let message = "Cannot have more than 10 chunks in a single operation. Please rearrange the data to reduce chunking.";
        return Err(Reply::error(400, "LIMIT_EXCEEDED", message));
    }
    let outcomes = write::write(
        app,
        &context(app, request, caller, all_or_none),
        asked,
        request.delay,
    )
    .await;
    Ok(results(&outcomes, false))
}

fn one(object: usize, mut fields: Map<String, Value>, update: bool) -> Asked {
    let id_key = fields
        .keys()
        .find(|k| k.eq_ignore_ascii_case("id"))
        .cloned();
    let id = id_key.and_then(|key| fields.shift_remove(&key));
    match (update, id) {
        (true, Some(Value::String(id))) => Ok(Change {
            object,
            action: Action::Update(id),
            fields,
        }),
        (true, _) => {
            let error = RecordError::new("MISSING_ARGUMENT", "Id not specified in an update call");
            Err(Box::new((
                error,
                Some(Change {
                    object,
                    action: Action::Update(String::new()),
                    fields,
                }),
            )))
        }
        (false, None | Some(Value::Null)) => Ok(Change {
            object,
            action: Action::Create,
            fields,
        }),
        (false, Some(_)) => {
            let error = RecordError::new(
                "INVALID_FIELD_FOR_INSERT_UPDATE",
                "cannot specify Id in an insert call",
            )
            .on("Id");
            Err(Box::new((
                error,
                Some(Change {
                    object,
                    action: Action::Create,
                    fields,
                }),
            )))
        }
    }
}

async fn upsert(
    app: &App,
    request: &Request,
    caller: Caller,
    object: &str,
    key: &str,
) -> Result<Reply, Reply> {
    let (all_or_none, records) = records(request)?;
    let update_only = request
        .query("updateOnly")
        .is_some_and(|v| v.eq_ignore_ascii_case("true"));
    let mut asked: Vec<Asked> = Vec::with_capacity(records.len());
    {
        let store = app.store();
        let at = rows::object(&store, caller.viewer(), object)?;
        let key = rows::key_field(&store, caller.viewer(), at, key)?;
        for mut fields in records {
            let stated = type_of(&store, caller.viewer(), &mut fields)?;
            if stated != at {
                let message = format!(
                    "The type of each record must be {}, as in the path",
                    store.schema.object(at).name
                );
                return Err(Reply::error(400, "INVALID_TYPE", &message));
            }
            asked.push(Ok(Change {
                object: at,
                action: Action::Upsert { key, update_only },
                fields,
            }));
        }
    }
    let outcomes = write::write(
        app,
        &context(app, request, caller, all_or_none),
        asked,
        request.delay,
    )
    .await;
    Ok(results(&outcomes, true))
}

async fn delete(app: &App, request: &Request, caller: Caller) -> Result<Reply, Reply> {
    let ids: Vec<&str> = request
        .query("ids")
        .unwrap_or("")
        .split(',')
        .map(str::trim)
        .filter(|id| !id.is_empty())
        .collect();
    if ids.is_empty() {
        return Err(Reply::error(
            400,
            "REQUIRED_FIELD_MISSING",
            "The ids parameter is required",
        ));
    }
    too_many(ids.len())?;
    let all_or_none = request
        .query("allOrNone")
        .is_some_and(|v| v.eq_ignore_ascii_case("true"));
    let asked: Vec<Asked> = {
        let store = app.store();
        ids.into_iter()
            .map(|text| {
                let object = Id::parse(text).and_then(|id| store.schema.by_prefix(id.prefix()));
                match object {
                    Some(object) => Ok(Change {
                        object,
                        action: Action::Delete(text.to_owned()),
                        fields: Map::new(),
                    }),
                    None => Err(Box::new((RecordError::malformed_id(text), None))),
                }
            })
            .collect()
    };
    let outcomes = write::write(
        app,
        &context(app, request, caller, all_or_none),
        asked,
        request.delay,
    )
    .await;
    Ok(results(&outcomes, false))
}

/// One result per record, in the order of the request.
fn results(outcomes: &[Outcome], upsert: bool) -> Reply {
    let list = outcomes.iter().map(|outcome| match outcome {
        Ok(done) if upsert => json!({"id": done.id.to_string(), "success": true, "errors": [], "created": done.created}),
        Ok(done) => json!({"id": done.id.to_string(), "success": true, "errors": []}),
        Err(error) => json!({"success": false, "errors": [error.in_result()]}),
    });
    Reply::json(200, Value::Array(list.collect()))
}

fn retrieve(
    app: &App,
    request: &Request,
    caller: Caller,
    version: u32,
    object: &str,
) -> Result<Reply, Reply> {
    let (ids, fields): (Vec<String>, Vec<String>) = if request.method == "POST" {
        let body = request.json()?;
        let list = |key: &str| -> Vec<String> {
            let list = body
                .get(key)
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            list.filter_map(|v| v.as_str().map(str::to_owned)).collect()
        };
        (list("ids"), list("fields"))
    } else {
        let list = |key: &str| -> Vec<String> {
            let list = request.query(key).unwrap_or("").split(',').map(str::trim);
            list.filter(|v| !v.is_empty()).map(str::to_owned).collect()
        };
        (list("ids"), list("fields"))
    };
    if ids.is_empty() || fields.is_empty() {
        let missing = if ids.is_empty() { "ids" } else { "fields" };
        return Err(Reply::error(
            400,
            "REQUIRED_FIELD_MISSING",
            &format!("The {missing} parameter is required"),
        ));
    }
    if ids.len() > MAX_READ {
        let message = "record limit reached. cannot submit more than 2000 records into this call";
        return Err(Reply::error(400, "EXCEEDED_ID_LIMIT", message));
    }
    let store = app.store();
    let at = rows::object(&store, caller.viewer(), object)?;
    let fields = rows::columns(
        &store,
        caller.viewer(),
        at,
        fields.iter().map(String::as_str),
    )?;
    let mut seen: HashMap<&str, Value> = HashMap::new();
    let list = ids.iter().map(|text| {
        let row = Id::parse(text)
            .and_then(|id| store.live(id))
            .filter(|row| row.object == at);
        let shown = row.map_or(Value::Null, |row| rows::show(&store, row, &fields, version));
        seen.entry(text).or_insert(shown).clone()
    });
    Ok(Reply::json(200, Value::Array(list.collect())))
}
