//! The Tooling API, as far as custom fields need it (salesforce.md §11.1).

use serde_json::{Value, json};

use super::auth::Caller;
use super::reply::Reply;
use super::request::Request;
use crate::app::App;
use crate::schema::custom;

/// `…/tooling/…`
pub(super) fn route(
    app: &App,
    request: &Request,
    _caller: Caller,
    _version: u32,
    rest: &[&str],
) -> Reply {
    match (request.method.as_str(), rest) {
        ("POST", ["sobjects", "CustomField"]) => create(app, request).unwrap_or_else(|reply| reply),
        _ => Reply::not_found(),
    }
}

fn refuse(code: &str, message: &str) -> Reply {
    Reply::json(
        400,
        json!([{"message": message, "errorCode": code, "fields": []}]),
    )
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
    let Some(meta) = body.get("Metadata").filter(|m| m.is_object()) else {
        return Err(refuse(
            "REQUIRED_FIELD_MISSING",
            "Required fields are missing: [Metadata]",
        ));
    };
    let mut store = app.store();
    let Some(at) = store.schema.find(object) else {
        return Err(refuse(
            "INVALID_FIELD",
            &format!("Cannot find an object named {object}"),
        ));
    };
    let definition = store.schema.object(at);
    if definition.field(name).is_some() {
        let stem = name.trim_end_matches("__c");
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
    store
        .commit()
        .map_err(|e| Reply::error(500, "UNKNOWN_EXCEPTION", &e.to_string()))?;
    Ok(Reply::json(
        201,
        json!({"id": id, "success": true, "errors": [], "warnings": [], "infos": []}),
    ))
}
