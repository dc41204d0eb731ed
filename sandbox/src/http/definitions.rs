//! `/sandbox/fields` and `/sandbox/objects`: how tests and the demo lay out an org before they
//! use it. What changes later, while clients run, is in [`super::schema`].

use serde_json::{Value, json};

use super::control::{Answer, find, refuse};
use super::reply::Reply;
use super::request::Request;
use crate::app::App;
use crate::schema::custom;
use crate::store::Store;
use crate::store::grants::Viewer;

fn commit(store: &mut Store) -> Result<(), Reply> {
    store
        .commit()
        .map_err(|e| Reply::error(500, "UNKNOWN_EXCEPTION", &e.to_string()))
}

/// The metadata of a field in its body, with `visible` (default true) beside it.
fn add_field(store: &mut Store, object: usize, name: &str, body: &Value) -> Result<(), Reply> {
    let visible = body.get("visible").and_then(Value::as_bool).unwrap_or(true);
    let meta = body.get("Metadata").unwrap_or(body);
    let mut field = custom::field(&store.schema, store.schema.object(object), name, meta)
        .map_err(|(code, message)| refuse(code, &format!("{name}: {message}")))?;
    let before = store
        .schema
        .object(object)
        .field(name)
        .map(|at| store.schema.object(object).fields[at].clone());
    field.visible = visible;
    field.id = match before.and_then(|f| f.id) {
        Some(id) => Some(id),
        None => Some(store.next_id_of("00N").to_string()),
    };
    store.put_field(object, field);
    Ok(())
}

/// `PUT /sandbox/fields/{Object}/{Field__c}`
pub(super) fn put_field(app: &App, request: &Request) -> Answer {
    let body = request.json()?;
    let mut store = app.store();
    let object = find(&store, request.path(2).unwrap_or(""))?;
    let name = request.path(3).unwrap_or("").to_owned();
    add_field(&mut store, object, &name, &body)?;
    commit(&mut store)?;
    Ok(Reply::json(
        200,
        json!({"object": store.schema.object(object).name, "field": name}),
    ))
}

/// `PUT /sandbox/objects/{Name__c}`
pub(super) fn put_object(app: &App, request: &Request) -> Answer {
    let body = if request.body.is_empty() {
        json!({})
    } else {
        request.json()?
    };
    let name = request.path(2).unwrap_or("").to_owned();
    let mut store = app.store();
    let object = match store.schema.find(&name) {
        Some(at) => at,
        None => {
            let number = store.schema.iter().filter(|(_, o)| o.custom).count();
            let mut object = custom::object(&name, &body, number)
                .map_err(|(code, message)| refuse(code, &format!("{name}: {message}")))?;
            object.id = Some(store.next_id_of("01I").to_string());
            store.put_object(object)
        }
    };
    let fields = body
        .get("fields")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    for (field, meta) in &fields {
        add_field(&mut store, object, field, meta)?;
    }
    commit(&mut store)?;
    Ok(Reply::json(
        200,
        json!({"object": store.schema.object(object).name, "fields": fields.len()}),
    ))
}

/// `GET /sandbox/objects[/{Object}]`
pub(super) fn objects(app: &App, request: &Request) -> Answer {
    let store = app.store();
    if let Some(name) = request.path(2) {
        let at = find(&store, name)?;
        let all = store.object_rights(Viewer::Sandbox, at);
        let shown = crate::schema::describe::object(&store.schema, at, "v66.0", all, |_, f| {
            (!f.gone).then_some(true)
        });
        return Ok(Reply::json(200, shown));
    }
    let list: Vec<Value> = store
        .schema
        .iter()
        .map(|(at, o)| json!({"name": o.name, "label": o.label, "custom": o.custom, "records": store.count(at)}))
        .collect();
    Ok(Reply::json(200, Value::Array(list)))
}
