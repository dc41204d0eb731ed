//! The Tooling API, as far as custom fields need it (salesforce.md §11.1).
//!
//! A field created here is hidden from everybody until a permission set grants it. To
//! create, change or delete one takes the right to customize the application.

mod query;

use serde_json::{Value, json};

use super::auth::Caller;
use super::reply::Reply;
use super::request::Request;
use crate::app::App;
use crate::ids::Id;
use crate::schema::field::Kind;
use crate::schema::{Object, change, custom, given};
use crate::store::Store;

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
        ("GET" | "HEAD", ["query"]) => query::select(app, request, caller, version),
        ("POST", ["sobjects", "customfield"]) => create(app, request, caller),
        ("GET" | "HEAD", ["sobjects", "customfield", _]) => get(app, version, rest[2]),
        ("PATCH", ["sobjects", "customfield", _]) => change(app, request, caller, rest[2]),
        ("DELETE", ["sobjects", "customfield", _]) => delete(app, caller, rest[2]),
        (method, ["sobjects", "customfield"]) => Err(Reply::wrong_method(method, "GET,POST,HEAD")),
        (method, ["sobjects", "customfield", _]) => {
            Err(Reply::wrong_method(method, "GET,PATCH,DELETE,HEAD"))
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

fn refused((code, message): given::Refusal) -> Reply {
    refuse(code, &message)
}

fn failed(error: &crate::Error) -> Reply {
    Reply::error(500, "UNKNOWN_EXCEPTION", &error.to_string())
}

fn check_right(store: &Store, caller: Caller) -> Result<(), Reply> {
    if store.rights(caller.viewer()).customize_application {
        return Ok(());
    }
    Err(Reply::error(
        403,
        "INSUFFICIENT_ACCESS",
        "You do not have the level of access necessary to perform the operation you requested. \
         Please contact the owner of the record or your administrator if access is necessary.",
    ))
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

fn create(app: &App, request: &Request, caller: Caller) -> Result<Reply, Reply> {
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
    check_right(&store, caller)?;
    let Some(at) = store.schema.find(object) else {
        return Err(refuse(
            "INVALID_FIELD",
            &format!("Cannot find an object named {object}"),
        ));
    };
    let position = store.create_field(at, name, meta).map_err(refused)?;
    let field = &store.schema.object(at).fields[position];
    let id = field.id.clone();
    if field.required_always() {
        store.appear_later(at, position);
    }
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
            "EntityDefinitionId": table(object), "TableEnumOrId": table(object),
            "NamespacePrefix": null, "ManageableState": "unmanaged",
            "FullName": format!("{}.{}", object.name, field.name), "Metadata": field.metadata,
        }),
    ))
}

fn change(app: &App, request: &Request, caller: Caller, id: &str) -> Result<Reply, Reply> {
    let body = request.json()?;
    let meta = metadata(&body)?;
    let mut store = app.store();
    check_right(&store, caller)?;
    let (at, position) = find(&store, id)?;
    let object = store.schema.object(at);
    let before = &object.fields[position];
    let full = format!("{}.{}", object.name, before.name);
    let named = body.get("FullName").and_then(Value::as_str);
    if named.is_some_and(|name| !name.eq_ignore_ascii_case(&full)) {
        return Err(refuse(
            "FIELD_INTEGRITY_EXCEPTION",
            "The name of a field cannot be changed in this sandbox",
        ));
    }
    let field = change::changed(&store.schema, object, before, meta).map_err(refused)?;
    if field.unique && !before.unique && store.has_duplicates(at, position) {
        return Err(refuse(
            "FIELD_INTEGRITY_EXCEPTION",
            &format!(
                "The field {} cannot be made unique: it contains duplicate values",
                field.name
            ),
        ));
    }
    store.put_field(at, field);
    store.commit().map_err(|e| failed(&e))?;
    Ok(Reply::empty(204))
}

fn delete(app: &App, caller: Caller, id: &str) -> Result<Reply, Reply> {
    let mut store = app.store();
    check_right(&store, caller)?;
    let (at, position) = find(&store, id)?;
    let master = store.schema.object(at).fields[position].kind == Kind::Reference;
    if master && !store.schema.object(at).fields[position].nillable && store.count(at) > 0 {
        return Err(refuse(
            "DELETE_FAILED",
            "A master-detail field cannot be deleted while there are records",
        ));
    }
    store.delete_field(at, position);
    store.commit().map_err(|e| failed(&e))?;
    Ok(Reply::empty(204))
}

/// Standard objects are named, custom ones are told by the id of their definition.
fn table(object: &Object) -> &str {
    object.id.as_deref().unwrap_or(&object.name)
}
