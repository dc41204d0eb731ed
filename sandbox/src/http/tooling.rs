//! The Tooling API, as far as custom fields need it (salesforce.md §11.1).
//!
//! A field created here is hidden from everybody until a permission set grants it. Tooling
//! queries run on a store of their own, made from the schema for the query.

use serde_json::{Value, json};

use super::auth::Caller;
use super::query;
use super::reply::Reply;
use super::request::Request;
use crate::app::App;
use crate::clock;
use crate::ids::Id;
use crate::schema::Object;
use crate::schema::custom;
use crate::schema::field::{Field, Kind, lookup, string, textarea};
use crate::store::Store;
use crate::store::row::Row;

/// `…/tooling/…`
pub(super) fn route(
    app: &App,
    request: &Request,
    caller: Caller,
    version: u32,
    rest: &[&str],
) -> Reply {
    let words: Vec<String> = rest.iter().map(|w| w.to_lowercase()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match (request.method.as_str(), words.as_slice()) {
        ("GET" | "HEAD", ["query"]) => select(app, request, caller, version),
        ("POST", ["sobjects", "customfield"]) => create(app, request),
        ("GET" | "HEAD", ["sobjects", "customfield", _]) => get(app, version, rest[2]),
        ("PATCH", ["sobjects", "customfield", _]) => change(app, request, rest[2]),
        (method, ["sobjects", "customfield"]) => Err(Reply::wrong_method(method, "GET,POST,HEAD")),
        (method, ["sobjects", "customfield", _]) => {
            Err(Reply::wrong_method(method, "GET,PATCH,HEAD"))
        }
        _ => Err(Reply::not_found()),
    };
    done.unwrap_or_else(|reply| reply)
}

fn refuse(code: &str, message: &str) -> Reply {
    Reply::json(
        400,
        json!([{"message": message, "errorCode": code, "fields": []}]),
    )
}

fn failed(error: &crate::Error) -> Reply {
    Reply::error(500, "UNKNOWN_EXCEPTION", &error.to_string())
}

fn metadata(body: &Value) -> Result<&Value, Reply> {
    let meta = body.get("Metadata").filter(|m| m.is_object());
    meta.ok_or_else(|| {
        refuse(
            "REQUIRED_FIELD_MISSING",
            "Required fields are missing: [Metadata]",
        )
    })
}

fn create(app: &App, request: &Request) -> Result<Reply, Reply> {
    let body = request.json()?;
    let full = body.get("FullName").and_then(Value::as_str).unwrap_or("");
    let Some((object, name)) = full.split_once('.') else {
        return Err(refuse(
            "REQUIRED_FIELD_MISSING",
            "Required fields are missing: [FullName]",
        ));
    };
    let meta = metadata(&body)?;
    let mut store = app.store();
    let Some(at) = store.schema.find(object) else {
        return Err(refuse(
            "INVALID_FIELD",
            &format!("Cannot find an object named {object}"),
        ));
    };
    let definition = store.schema.object(at);
    if definition.field(name).is_some() {
        let stem = custom::developer_name(name).unwrap_or(name);
        let message = format!(
            "There is already a field named {stem} on {}.",
            definition.label
        );
        return Err(refuse("DUPLICATE_DEVELOPER_NAME", &message));
    }
    if definition.fields.iter().filter(|f| f.custom).count() >= 500 {
        return Err(refuse(
            "CUSTOM_ENTITY_OR_FIELD_LIMIT",
            "reached maximum number of custom fields",
        ));
    }
    let mut field = custom::field(&store.schema, definition, name, meta)
        .map_err(|(code, message)| refuse(code, &message))?;
    let id = store.next_id_of("00N").to_string();
    field.id = Some(id.clone());
    // Nobody sees it until a permission set grants it.
    field.visible = false;
    store.put_field(at, field);
    store.commit().map_err(|e| failed(&e))?;
    Ok(Reply::json(
        201,
        json!({"id": id, "success": true, "errors": [], "warnings": [], "infos": []}),
    ))
}

/// The object and position of the custom field with this id.
fn find(store: &Store, id: &str) -> Result<(usize, usize), Reply> {
    let id = Id::parse(id).map(|id| id.to_string());
    let places = store.schema.iter().flat_map(|(at, o)| {
        o.fields
            .iter()
            .enumerate()
            .map(move |(f, field)| (at, f, field))
    });
    let found = places
        .filter(|(_, _, field)| field.id.is_some())
        .find(|(_, _, field)| field.id == id);
    found.map(|(at, f, _)| (at, f)).ok_or_else(Reply::not_found)
}

fn get(app: &App, version: u32, id: &str) -> Result<Reply, Reply> {
    let store = app.store();
    let (at, position) = find(&store, id)?;
    let object = store.schema.object(at);
    let field = &object.fields[position];
    let url = format!("/services/data/v{version}.0/tooling/sobjects/CustomField/{id}");
    Ok(Reply::json(
        200,
        json!({
            "attributes": {"type": "CustomField", "url": url},
            "Id": field.id, "DeveloperName": custom::developer_name(&field.name).unwrap_or(&field.name),
            "TableEnumOrId": table(object), "NamespacePrefix": null,
            "FullName": format!("{}.{}", object.name, field.name), "Metadata": field.metadata,
        }),
    ))
}

fn change(app: &App, request: &Request, id: &str) -> Result<Reply, Reply> {
    let body = request.json()?;
    let meta = metadata(&body)?;
    let mut store = app.store();
    let (at, position) = find(&store, id)?;
    let object = store.schema.object(at);
    let before = &object.fields[position];
    let mut field = custom::field(&store.schema, object, &before.name, meta)
        .map_err(|(code, message)| refuse(code, &message))?;
    if field.kind != before.kind {
        return Err(refuse(
            "FIELD_INTEGRITY_EXCEPTION",
            "The type of a field cannot be changed in this sandbox",
        ));
    }
    field.id.clone_from(&before.id);
    field.visible = before.visible;
    store.put_field(at, field);
    store.commit().map_err(|e| failed(&e))?;
    Ok(Reply::empty(204))
}

/// Standard objects are named, custom ones are told by the id of their definition.
fn table(object: &Object) -> &str {
    object.id.as_deref().unwrap_or(&object.name)
}

fn select(app: &App, request: &Request, caller: Caller, version: u32) -> Result<Reply, Reply> {
    let Some(text) = request.query("q").filter(|q| !q.trim().is_empty()) else {
        return Err(Reply::error(
            400,
            "MALFORMED_QUERY",
            "A query string has to be specified",
        ));
    };
    let mirror = mirror(&app.store(), caller.user);
    let cursor = crate::soql::run(&mirror, caller.viewer(), text, false, clock::now())
        .map_err(|error| Reply::error(400, error.code, &error.message))?;
    if request.query("columns") == Some("true") {
        return Ok(Reply::json(200, cursor.columns(&mirror)));
    }
    let whole = text.to_lowercase();
    let heavy = whole
        .split_once("from")
        .is_some_and(|(s, _)| s.contains("metadata") || s.contains("fullname"));
    if heavy && cursor.total() > 1 {
        let message = format!(
            "When retrieving results with Metadata or FullName fields, the query qualifications must \
             specify no more than one row for retrieval. Result size: {}",
            cursor.total()
        );
        return Err(Reply::error(400, "MALFORMED_QUERY", &message));
    }
    let mut page = cursor.page(
        &mirror,
        &format!("v{version}.0/tooling"),
        0,
        query::PAGE,
        |_| String::new(),
    );
    page["size"] = page["totalSize"].clone();
    page["entityTypeName"] = Value::String(cursor.object_name(&mirror).to_owned());
    Ok(Reply::json(200, page))
}

/// The definitions of the schema as records.
fn mirror(store: &Store, user: Id) -> Store {
    let mut metadata = textarea("Metadata", "Metadata", 131_072);
    metadata.nillable = true;
    let parent = lookup(
        "EntityDefinitionId",
        "Entity Definition ID",
        &["CustomObject"],
        "EntityDefinition",
        "",
    );
    let mut out = Store::new();
    let fields = out.put_object(Object::new(
        "CustomField",
        "Custom Fields",
        "00N",
        vec![
            string("DeveloperName", "Name", 40).name_field(),
            string("TableEnumOrId", "Table", 40),
            string("FullName", "Full Name", 255),
            string("NamespacePrefix", "Namespace", 15),
            string("ManageableState", "State", 20),
            parent,
            metadata,
        ],
    ));
    let objects = out.put_object(Object::new(
        "CustomObject",
        "Custom Objects",
        "01I",
        vec![
            string("DeveloperName", "Name", 40).name_field(),
            string("NamespacePrefix", "Namespace", 15),
            string("QualifiedApiName", "API Name", 80),
            Field::new("IsCustom", "Custom", Kind::Boolean),
        ],
    ));
    let now = clock::now();
    for (_, object) in store.schema.iter() {
        if let Some(id) = object.id.as_deref().and_then(Id::parse) {
            let stem = custom::developer_name(&object.name).unwrap_or(&object.name);
            add(
                &mut out,
                id,
                objects,
                user,
                now,
                &[
                    ("DeveloperName", stem.into()),
                    ("QualifiedApiName", object.name.as_str().into()),
                    ("IsCustom", true.into()),
                ],
            );
        }
        for field in &object.fields {
            let Some(id) = field.id.as_deref().and_then(Id::parse) else {
                continue;
            };
            let stem = custom::developer_name(&field.name).unwrap_or(&field.name);
            add(
                &mut out,
                id,
                fields,
                user,
                now,
                &[
                    ("DeveloperName", stem.into()),
                    ("TableEnumOrId", table(object).into()),
                    ("FullName", format!("{}.{}", object.name, field.name).into()),
                    ("ManageableState", "unmanaged".into()),
                    ("Metadata", field.metadata.clone().unwrap_or(Value::Null)),
                ],
            );
        }
    }
    out
}

fn add(out: &mut Store, id: Id, object: usize, user: Id, at: i64, values: &[(&str, Value)]) {
    let mut row = Row::new(id, object, at, user);
    for (name, value) in values {
        if let Some(position) = out.schema.object(object).field(name) {
            row.set(position, value.clone());
        }
    }
    out.put(row);
}
