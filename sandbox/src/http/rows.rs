//! Single records: create, get, patch, delete, upsert by external id (salesforce.md §5, §6).

use serde_json::{Map, Value, json};

use super::auth::Caller;
use super::reply::Reply;
use super::request::Request;
use crate::app::App;
use crate::clock;
use crate::ids::Id;
use crate::schema::field::Kind;
use crate::store::Store;
use crate::store::grants::Viewer;
use crate::store::row::Row;
use crate::write::error::RecordError;
use crate::write::values::NO_PLACE;
use crate::write::{self, Action, Change, Context, OnlyIf, Options, Outcome};

/// The object of a path.
pub(super) fn object(store: &Store, viewer: Viewer, name: &str) -> Result<usize, Reply> {
    store.find_for(viewer, name).ok_or_else(Reply::not_found)
}

/// The field of a path that an upsert or lookup is keyed by.
pub(super) fn key_field(
    store: &Store,
    viewer: Viewer,
    object: usize,
    name: &str,
) -> Result<usize, Reply> {
    let definition = store.schema.object(object);
    let found = definition.field(name).filter(|at| {
        let field = &definition.fields[*at];
        field.usable_as_key() && store.sees(viewer, object, *at, field)
    });
    found.ok_or_else(|| {
        let message =
            format!("Provided external ID field does not exist or is not accessible: {name}");
        Reply::error(404, "NOT_FOUND", &message)
    })
}

/// The writer of a request.
pub(super) fn context(
    app: &App,
    request: &Request,
    caller: Caller,
    via: &'static str,
    all_or_none: bool,
) -> Context {
    Context {
        user: caller.user,
        viewer: caller.viewer(),
        at: app.clock.now(),
        request: request.number,
        via,
        all_or_none,
        options: duplicate_options(request),
        job: None,
    }
}

/// `Sforce-Duplicate-Rule-Header: allowSave=true; includeRecordDetails=true`
fn duplicate_options(request: &Request) -> Options {
    let header = request
        .header("sforce-duplicate-rule-header")
        .unwrap_or("")
        .to_lowercase();
    let set = |wanted: &str| {
        let mut parts = header.split([';', ',']);
        parts.any(|part| {
            part.split_once('=')
                .is_some_and(|(name, value)| name.trim() == wanted && value.trim() == "true")
        })
    };
    Options {
        save_alerts: set("allowsave"),
        record_details: set("includerecorddetails"),
        ..Options::default()
    }
}

/// Field positions by name. An unknown one refuses the whole call.
pub(super) fn columns<'a>(
    store: &Store,
    viewer: Viewer,
    object: usize,
    names: impl Iterator<Item = &'a str>,
) -> Result<Vec<usize>, Reply> {
    let definition = store.schema.object(object);
    names
        .map(|name| {
            let found = definition
                .field(name)
                .filter(|at| store.sees(viewer, object, *at, &definition.fields[*at]));
            found
                .ok_or_else(|| Reply::refused(&RecordError::no_such_column(name, &definition.name)))
        })
        .collect()
}

/// A record with `attributes` first.
pub(super) fn show(store: &Store, row: &Row, fields: &[usize], version: u32) -> Value {
    let object = store.schema.object(row.object);
    let mut out = Map::new();
    let url = format!(
        "/services/data/v{version}.0/sobjects/{}/{}",
        object.name, row.id
    );
    out.insert(
        "attributes".to_owned(),
        json!({"type": object.name, "url": url}),
    );
    for at in fields {
        let field = &object.fields[*at];
        out.insert(field.name.clone(), row.value(object, field, *at));
    }
    Value::Object(out)
}

/// `…/sobjects/{object}[/…]`
pub(super) async fn route(
    app: &App,
    request: &Request,
    caller: Caller,
    version: u32,
    name: &str,
    rest: &[&str],
) -> Reply {
    let at = match object(&app.store(), caller.viewer(), name) {
        Ok(at) => at,
        Err(reply) => return reply,
    };
    let done = match (request.method.as_str(), rest) {
        ("POST", []) => create(app, request, caller, version, at).await,
        ("GET" | "HEAD", []) => Ok(super::meta::object(app, caller, version, at)),
        ("POST", [word]) if word.eq_ignore_ascii_case("id") => {
            create(app, request, caller, version, at).await
        }
        ("GET" | "HEAD", [id]) => get_by_id(app, request, caller, version, at, id),
        // The name of a key field with nothing behind it: an empty key.
        (method @ ("PATCH" | "DELETE"), [key]) if is_field(app, at, key) => {
            Err(Reply::wrong_method(method, "GET,HEAD"))
        }
        ("PATCH", [id]) => by_id(app, request, caller, at, Action::Update((*id).to_owned())).await,
        ("DELETE", [id]) => by_id(app, request, caller, at, Action::Delete((*id).to_owned())).await,
        // jsforce sends a key with slashes unencoded: they arrive as more segments.
        (method, [key, value @ ..]) if !value.is_empty() => {
            by_key(
                app,
                request,
                caller,
                version,
                at,
                key,
                &value.join("/"),
                method,
            )
            .await
        }
        (method, _) => Err(Reply::wrong_method(method, "GET,POST,PATCH,DELETE,HEAD")),
    };
    done.unwrap_or_else(|reply| reply)
}

fn is_field(app: &App, object: usize, name: &str) -> bool {
    app.store().schema.object(object).field(name).is_some()
}

fn body(request: &Request) -> Result<Map<String, Value>, Reply> {
    match request.json()? {
        Value::Object(mut fields) => {
            fields.remove("attributes");
            Ok(fields)
        }
        _ => Err(Reply::error(
            400,
            "JSON_PARSER_ERROR",
            "The HTTP entity body must be a JSON object at [line:1, column:1]",
        )),
    }
}

/// Writes one record and gives its result, or the refusal in error shape 1.
async fn single(
    app: &App,
    request: &Request,
    caller: Caller,
    change: Change,
    only_if: OnlyIf,
) -> Result<crate::write::Done, RecordError> {
    let mut ctx = context(app, request, caller, "row", false);
    ctx.options.only_if = only_if;
    let outcome: Option<Outcome> = write::write(app, &ctx, vec![Ok(change)], request.delay)
        .await
        .pop();
    let outcome =
        outcome.unwrap_or_else(|| Err(RecordError::new("UNKNOWN_EXCEPTION", "no result")));
    outcome.map_err(|mut error| {
        // Single-record endpoints know the place of a bad value in the body.
        if error.message.contains(NO_PLACE) {
            let place = format!("[line:1, column:{}]", request.body.len().max(2) - 1);
            error.message = error.message.replace(NO_PLACE, &place);
        }
        error
    })
}

async fn create(
    app: &App,
    request: &Request,
    caller: Caller,
    version: u32,
    at: usize,
) -> Result<Reply, Reply> {
    let mut fields = body(request)?;
    if let Some(key) = fields
        .keys()
        .find(|k| k.eq_ignore_ascii_case("id"))
        .cloned()
    {
        if fields.get(&key).is_some_and(|v| !v.is_null()) {
            let message = "The Id field should not be specified in the sobject data.";
            return Err(Reply::refused(
                &RecordError::new("INVALID_FIELD", message).on("Id"),
            ));
        }
        fields.shift_remove(&key);
    }
    let change = Change {
        object: at,
        action: Action::Create,
        fields,
    };
    let done = single(app, request, caller, change, OnlyIf::default())
        .await
        .map_err(|e| Reply::refused(&e))?;
    let name = app.store().schema.object(at).name.clone();
    let location = format!("/services/data/v{version}.0/sobjects/{name}/{}", done.id);
    let reply = Reply::json(
        201,
        json!({"id": done.id.to_string(), "success": true, "errors": []}),
    );
    Ok(reply.header("Location", &location))
}

fn absent(id: &str) -> Reply {
    let message = format!("Provided external ID field does not exist or is not accessible: {id}");
    Reply::error(404, "NOT_FOUND", &message)
}

fn get_by_id(
    app: &App,
    request: &Request,
    caller: Caller,
    version: u32,
    at: usize,
    id: &str,
) -> Result<Reply, Reply> {
    let store = app.store();
    let parsed = Id::parse(id).ok_or_else(|| absent(id))?;
    let row = match store.get(parsed) {
        Some(row) if row.object == at && row.deleted.is_some() => {
            return Err(Reply::error(404, "ENTITY_IS_DELETED", "entity is deleted"));
        }
        Some(row) if row.object == at => row,
        _ => {
            return Err(Reply::error(
                404,
                "NOT_FOUND",
                "The requested resource does not exist",
            ));
        }
    };
    shown(&store, request, caller, version, row)
}

fn shown(
    store: &Store,
    request: &Request,
    caller: Caller,
    version: u32,
    row: &Row,
) -> Result<Reply, Reply> {
    let object = store.schema.object(row.object);
    let fields = match request.query("fields") {
        Some(names) => {
            let names = names.split(',').map(str::trim).filter(|n| !n.is_empty());
            let mut fields = columns(store, caller.viewer(), row.object, names)?;
            // The id is always among the fields of a single record.
            if !fields.contains(&0) {
                fields.push(0);
            }
            fields
        }
        None => {
            let all = object.fields.iter().enumerate();
            all.filter(|(at, f)| store.sees(caller.viewer(), row.object, *at, f))
                .map(|(at, _)| at)
                .collect()
        }
    };
    let tag = row.tag(object);
    let mut only_if = only_if(request)?;
    let none_of = only_if.not_tags.take();
    let known = |tags: Vec<String>| tags.iter().any(|t| t == "*" || Some(t) == tag.as_ref());
    let since = request
        .header("if-modified-since")
        .and_then(clock::parse_http_date);
    if since.is_some_and(|since| row.stamp.div_euclid(1_000) * 1_000 <= since)
        || (tag.is_some() && none_of.is_some_and(known))
    {
        return Ok(Reply::empty(304));
    }
    only_if.check(object, row).map_err(|e| Reply::refused(&e))?;
    let mut reply = Reply::json(200, show(store, row, &fields, version));
    if let Some(tag) = tag {
        reply = reply.header("ETag", &tag);
    }
    Ok(reply.header("Last-Modified", &clock::http_date(row.stamp)))
}

/// The conditions of a request. Entity tags are read as sent, or as of a compressed answer.
fn only_if(request: &Request) -> Result<OnlyIf, Reply> {
    let date = match request.header("if-unmodified-since") {
        None => None,
        Some(text) => Some(clock::parse_http_date(text).ok_or_else(|| {
            let message = format!("Invalid value for header If-Unmodified-Since: {text}");
            Reply::error(400, "INVALID_ARGUMENT_TYPE", &message)
        })?),
    };
    let tags = |name: &str| {
        let list = request.header(name)?.split(',');
        let list = list.map(|tag| {
            tag.trim()
                .trim_start_matches("W/")
                .replace("--gzip\"", "\"")
        });
        Some(list.collect())
    };
    Ok(OnlyIf {
        unmodified_since: date,
        tags: tags("if-match"),
        not_tags: tags("if-none-match"),
    })
}

async fn by_id(
    app: &App,
    request: &Request,
    caller: Caller,
    at: usize,
    action: Action,
) -> Result<Reply, Reply> {
    let (Action::Update(id) | Action::Delete(id)) = &action else {
        return Err(Reply::not_found());
    };
    let parsed = Id::parse(id);
    if let Some(id) = parsed {
        let store = app.store();
        match store.get(id) {
            Some(row) if row.object == at => {}
            _ => {
                return Err(Reply::error(
                    404,
                    "NOT_FOUND",
                    "The requested resource does not exist",
                ));
            }
        }
    } else {
        return Err(absent(id));
    }
    let mut conditions = OnlyIf::default();
    let fields = match action {
        Action::Update(_) => {
            conditions = only_if(request)?;
            let fields = body(request)?;
            if fields.keys().any(|k| k.eq_ignore_ascii_case("id")) {
                let message = "The Id field should not be specified in the sobject data.";
                return Err(Reply::refused(
                    &RecordError::new("INVALID_FIELD", message).on("Id"),
                ));
            }
            fields
        }
        _ => Map::new(),
    };
    let change = Change {
        object: at,
        action,
        fields,
    };
    single(app, request, caller, change, conditions)
        .await
        .map_err(|e| Reply::refused(&e))?;
    Ok(Reply::empty(204))
}

#[allow(clippy::too_many_arguments)]
async fn by_key(
    app: &App,
    request: &Request,
    caller: Caller,
    version: u32,
    at: usize,
    key: &str,
    value: &str,
    method: &str,
) -> Result<Reply, Reply> {
    let (position, parsed) = {
        let store = app.store();
        let position = key_field(&store, caller.viewer(), at, key)?;
        (position, key_value(&store, at, position, value))
    };
    match method {
        "PATCH" => return upsert(app, request, caller, version, at, position, parsed).await,
        "GET" | "HEAD" | "DELETE" => {}
        _ => return Err(Reply::wrong_method(method, "GET,PATCH,DELETE,HEAD")),
    }
    let found = {
        let store = app.store();
        let found = match store.schema.object(at).fields[position].kind {
            Kind::Id => Id::parse(value)
                .filter(|id| store.live(*id).is_some())
                .into_iter()
                .collect(),
            _ => store.matching(at, position, &parsed),
        };
        match found[..] {
            [] => return Err(Reply::not_found()),
            [id] if method != "DELETE" => {
                let row = store.live(id).ok_or_else(Reply::not_found)?;
                return shown(&store, request, caller, version, row);
            }
            [id] => id,
            _ => return Ok(choices(&store, at, &found, version)),
        }
    };
    by_id(app, request, caller, at, Action::Delete(found.to_string())).await
}

/// The text of a path as a value of the key field.
fn key_value(store: &Store, object: usize, position: usize, text: &str) -> Value {
    match store.schema.object(object).fields[position].kind {
        Kind::Double | Kind::Int => text
            .parse::<f64>()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map_or_else(|| Value::String(text.to_owned()), Value::Number),
        _ => Value::String(text.to_owned()),
    }
}

/// 300: several records match, and nothing was done.
fn choices(store: &Store, at: usize, found: &[Id], version: u32) -> Reply {
    let name = &store.schema.object(at).name;
    let urls = found
        .iter()
        .map(|id| Value::String(format!("/services/data/v{version}.0/sobjects/{name}/{id}")));
    Reply::json(300, Value::Array(urls.collect()))
}

async fn upsert(
    app: &App,
    request: &Request,
    caller: Caller,
    version: u32,
    at: usize,
    key: usize,
    value: Value,
) -> Result<Reply, Reply> {
    let mut fields = body(request)?;
    let update_only = request
        .query("updateOnly")
        .is_some_and(|v| v.eq_ignore_ascii_case("true"));
    let (name, key_name) = {
        let store = app.store();
        let object = store.schema.object(at);
        (object.name.clone(), object.fields[key].name.clone())
    };
    for name in [key_name.as_str(), "Id"] {
        if fields.keys().any(|k| k.eq_ignore_ascii_case(name)) {
            let message = format!("The {name} field should not be specified in the sobject data.");
            return Err(Reply::refused(
                &RecordError::new("INVALID_FIELD", message).on(name),
            ));
        }
    }
    fields.insert(key_name, value);
    let change = Change {
        object: at,
        action: Action::Upsert { key, update_only },
        fields,
    };
    let done = match single(app, request, caller, change, OnlyIf::default()).await {
        Ok(done) => done,
        Err(error) if !error.several.is_empty() => {
            return Ok(choices(&app.store(), at, &error.several, version));
        }
        Err(error) => return Err(Reply::refused(&error)),
    };
    if !done.created && version < 46 {
        return Ok(Reply::empty(204));
    }
    let answer =
        json!({"id": done.id.to_string(), "success": true, "errors": [], "created": done.created});
    if done.created {
        let location = format!("/services/data/v{version}.0/sobjects/{name}/{}", done.id);
        return Ok(Reply::json(201, answer).header("Location", &location));
    }
    Ok(Reply::json(200, answer))
}
