//! `/sandbox/schema` and `/sandbox/rights`: what an administrator does to fields and users
//! while clients run. Every change takes effect at once, on describe and on writes.

use serde_json::{Map, Value, json};

use super::control::{Answer, find, refuse};
use super::reply::Reply;
use super::request::Request;
use crate::app::App;
use crate::ids::Id;
use crate::schema::field::{Field, Kind, Source};
use crate::schema::{Object, change};
use crate::store::Store;
use crate::store::grants::Viewer;
use crate::store::settings::Rights;

/// What may be asked of a field, besides `object` and `field`.
const KNOWN: [&str; 15] = [
    "create",
    "granted",
    "vanish",
    "hide",
    "unhide",
    "grant",
    "read_only",
    "label",
    "length",
    "precision",
    "scale",
    "required",
    "restricted",
    "values",
    "trackHistory",
];

fn invalid(message: &str) -> Reply {
    refuse("INVALID_ARGUMENT", message)
}

/// `PUT /sandbox/schema`
pub(super) fn put(app: &App, request: &Request) -> Answer {
    let body = request.json()?;
    let Some(body) = body.as_object() else {
        return Err(invalid("the body must be an object"));
    };
    let known = |key: &&String| !["object", "field"].contains(&key.as_str());
    if let Some(key) = body
        .keys()
        .filter(known)
        .find(|k| !KNOWN.contains(&k.as_str()))
    {
        return Err(invalid(&format!(
            "there is no change named {key}; known: {}",
            KNOWN.join(", ")
        )));
    }
    if !body.keys().any(|k| known(&k)) {
        return Err(invalid(&format!("say what to do: {}", KNOWN.join(", "))));
    }
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let mut store = app.store();
    let at = find(&store, text("object").unwrap_or(""))?;
    let full = body.get("create").and_then(|c| c.get("fullName"));
    let name = text("field")
        .or_else(|| full.and_then(Value::as_str))
        .ok_or_else(|| invalid("field is missing"))?
        .to_owned();
    let done = edit(&mut store, at, &name, body);
    // Also after a refusal: what was done before it stands, and the journal must know.
    store
        .commit()
        .map_err(|e| Reply::error(500, "UNKNOWN_EXCEPTION", &e.to_string()))?;
    done?;
    let object = store.schema.object(at);
    let shown = match object.field(&name) {
        Some(position) => {
            store.appear_now(at, position);
            let user = app.people.integration;
            show(&store, user, at, position)
        }
        None => json!({"field": name, "deleted": true}),
    };
    let mut answer = json!({"object": store.schema.object(at).name});
    if let (Some(answer), Value::Object(shown)) = (answer.as_object_mut(), shown) {
        answer.extend(shown);
    }
    Ok(Reply::json(200, answer))
}

fn bool_of(body: &Map<String, Value>, key: &str) -> Result<Option<bool>, Reply> {
    match body.get(key) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(invalid(&format!("{key} must be true or false"))),
    }
}

/// Does everything a body asks for, in the order in which it could be asked one by one.
fn edit(store: &mut Store, at: usize, name: &str, body: &Map<String, Value>) -> Result<(), Reply> {
    let refused = |(code, message): (&'static str, String)| refuse(code, &message);
    if let Some(meta) = body.get("create") {
        let position = store.create_field(at, name, meta).map_err(refused)?;
        if bool_of(body, "granted")? == Some(true) {
            let mut field = store.schema.object(at).fields[position].clone();
            field.visible = true;
            store.put_field(at, field);
        }
    }
    if bool_of(body, "vanish")? == Some(false) && store.schema.object(at).field(name).is_none() {
        store
            .restore_field(at, name)
            .ok_or_else(|| no_field(store.schema.object(at), name))?;
    }
    let object = store.schema.object(at);
    let position = object.field(name).ok_or_else(|| no_field(object, name))?;
    let before = object.fields[position].clone();
    if bool_of(body, "vanish")? == Some(true) {
        let fixed = !matches!(before.source, Source::Stored | Source::Location)
            || before.part_of.is_some()
            || before.name_field
            || (!before.custom && before.required_always());
        if fixed {
            return Err(refuse(
                "FIELD_INTEGRITY_EXCEPTION",
                "system, name and required standard fields cannot go",
            ));
        }
        store.delete_field(at, position);
        return Ok(());
    }
    let mut field = defined(store, object, &before, body)?;
    access(store, at, position, &mut field, body)?;
    if let Some(track) = bool_of(body, "trackHistory")? {
        if track {
            store.may_track(at, &field).map_err(refused)?;
        }
        field.track_history = track;
        if let Some(meta) = field.metadata.as_mut() {
            meta["trackHistory"] = track.into();
        }
    }
    store.put_field(at, field);
    Ok(())
}

fn no_field(object: &Object, name: &str) -> Reply {
    let message = format!("there is no field {name} on {}", object.name);
    Reply::error(404, "NOT_FOUND", &message)
}

/// The field with another label, length, number of digits, list of values, or required.
/// A custom field goes through the rules that hold for a change of its metadata.
fn defined(
    store: &Store,
    object: &Object,
    before: &Field,
    body: &Map<String, Value>,
) -> Result<Field, Reply> {
    let values = match body.get("values") {
        None => None,
        Some(list) => {
            let list = list.as_array().into_iter().flatten();
            Some(list.filter_map(Value::as_str).collect::<Vec<_>>())
        }
    };
    let restricted = bool_of(body, "restricted")?;
    let picklist = matches!(before.kind, Kind::Picklist | Kind::MultiPicklist);
    if (values.is_some() || restricted.is_some()) && !picklist {
        return Err(invalid(&format!("{} is not a picklist", before.name)));
    }
    let plain = ["label", "length", "precision", "scale", "required"];
    let asked: Vec<&str> = plain
        .into_iter()
        .filter(|key| body.contains_key(*key))
        .collect();
    if let (true, Some(meta)) = (before.custom, &before.metadata) {
        if asked.is_empty() && values.is_none() && restricted.is_none() {
            return Ok(before.clone());
        }
        let mut meta = meta.clone();
        for key in asked {
            meta[key] = body[key].clone();
        }
        if let Some(values) = values {
            let values: Vec<Value> = values
                .iter()
                .map(|v| json!({"fullName": v, "default": false, "label": v}))
                .collect();
            meta["valueSet"]["valueSetDefinition"] = json!({"sorted": false, "value": values});
        }
        if let Some(restricted) = restricted {
            meta["valueSet"]["restricted"] = restricted.into();
        }
        return change::changed(&store.schema, object, before, &meta)
            .map_err(|(code, message)| refuse(code, &message));
    }
    let number = |key: &str| match body.get(key) {
        None => Ok(None),
        Some(n) => match n.as_u64().and_then(|n| usize::try_from(n).ok()) {
            Some(n) if n <= 131_072 => Ok(Some(n)),
            _ => Err(invalid(&format!("{key} must be a number"))),
        },
    };
    let mut field = before.clone();
    if let Some(label) = body.get("label").and_then(Value::as_str) {
        field.label = label.to_owned();
    }
    if let Some(length) = number("length")? {
        if length == 0 || !field.kind.is_text() {
            return Err(invalid(&format!("{} cannot have that length", field.name)));
        }
        field.length = length;
    }
    field.precision = number("precision")?.unwrap_or(field.precision);
    field.scale = number("scale")?.unwrap_or(field.scale);
    if let Some(required) = bool_of(body, "required")? {
        if field.kind == Kind::Boolean || field.source != Source::Stored {
            return Err(invalid(&format!("{} cannot be required", field.name)));
        }
        field.nillable = !required;
    }
    if let Some(values) = values {
        field.picklist = values.into_iter().map(str::to_owned).collect();
    }
    field.restricted = restricted.unwrap_or(field.restricted);
    Ok(field)
}

/// Field-level security: for all profiles, and for every permission set that names the
/// field.
fn access(
    store: &mut Store,
    at: usize,
    position: usize,
    field: &mut Field,
    body: &Map<String, Value>,
) -> Result<(), Reply> {
    let (hide, unhide) = (bool_of(body, "hide")?, bool_of(body, "unhide")?);
    let show = bool_of(body, "grant")?.or(unhide).or(hide.map(|h| !h));
    let read_only = bool_of(body, "read_only")?;
    if (show.is_some() || read_only.is_some()) && !field.permissionable() {
        return Err(refuse(
            "FIELD_INTEGRITY_EXCEPTION",
            "field-level security does not apply to required, system and computed fields",
        ));
    }
    let now = store.clock.now();
    if let Some(show) = show {
        field.visible = show;
        field.read_only = false;
        if !show {
            for id in store.permissions_on(at, position, None) {
                store.touch(id, now, |row| row.deleted = Some(now));
            }
        }
    }
    if let Some(read_only) = read_only {
        field.read_only = read_only;
        let edit = store
            .schema
            .find("FieldPermissions")
            .and_then(|o| store.schema.object(o).field("PermissionsEdit"));
        for id in store.permissions_on(at, position, None) {
            store.touch(id, now, |row| {
                if let Some(edit) = edit {
                    row.set(edit, Value::Bool(!read_only));
                }
            });
        }
    }
    Ok(())
}

/// One field as `GET /sandbox/schema` shows it.
fn show(store: &Store, user: Id, at: usize, position: usize) -> Value {
    let field = &store.schema.object(at).fields[position];
    let viewer = Viewer::User(user);
    let sees = store.sees(viewer, at, position, field);
    let writes = sees
        && store.may_edit(viewer, at, position, field)
        && (field.createable || field.updateable);
    let granted: Vec<Value> = store
        .granted(at, position)
        .into_iter()
        .map(|(user, edit)| json!({"user": username(store, user), "read": true, "edit": edit}))
        .collect();
    json!({
        "field": field.name, "id": field.id, "type": field.kind.name(), "label": field.label,
        "length": field.length, "required": field.required_always(), "custom": field.custom,
        "trackHistory": field.track_history, "profiles": {"read": field.visible, "edit": field.visible && !field.read_only},
        "granted": granted, "visible": sees, "editable": writes,
        "appears_in_ms": store.lag_left(user, at, position), "metadata": field.metadata,
    })
}

fn username(store: &Store, user: Id) -> String {
    let named = store.live(user).and_then(|row| {
        let object = store.schema.object(row.object);
        row.text(object.field("Username")?).map(str::to_owned)
    });
    named.unwrap_or_else(|| user.to_string())
}

/// `GET /sandbox/schema[?object=]`: custom fields, and standard ones that not everybody may
/// read and edit. `visible` and `editable` are what the client-credentials user may do.
pub(super) fn get(app: &App, request: &Request) -> Answer {
    let store = app.store();
    let wanted = request.query("object");
    let user = app.people.integration;
    let objects: Vec<Value> = store
        .schema
        .iter()
        .filter(|(_, o)| wanted.map_or(o.is_work(), |name| o.name.eq_ignore_ascii_case(name)))
        .map(|(at, object)| {
            let fields: Vec<Value> = object
                .fields
                .iter()
                .enumerate()
                .filter(|(_, f)| {
                    !f.gone && (f.custom || !f.visible || f.read_only || f.track_history)
                })
                .map(|(position, _)| show(&store, user, at, position))
                .collect();
            let deleted: Vec<&str> = object.bin.iter().map(|d| d.field.name.as_str()).collect();
            json!({
                "object": object.name, "custom_fields": object.custom_fields(),
                "fields": fields, "deleted": deleted,
            })
        })
        .collect();
    Ok(Reply::json(
        200,
        json!({
            "user": username(&store, user), "custom_fields_max": store.settings.custom_fields,
            "describe_lag_ms": store.settings.describe_lag, "objects": objects,
        }),
    ))
}

/// `PUT` and `GET /sandbox/rights[?user=]`: whether a user may make fields and permission
/// sets.
pub(super) fn rights(app: &App, request: &Request) -> Answer {
    let body = match request.method.as_str() {
        "PUT" => request.json()?,
        _ => json!({}),
    };
    let named = body
        .get("user")
        .and_then(Value::as_str)
        .or_else(|| request.query("user"));
    let user = match named {
        None => app.people.integration,
        Some(name) => Id::parse(name)
            .or_else(|| app.user_named(name))
            .ok_or_else(|| invalid(&format!("there is no user {name}")))?,
    };
    let object = request.query("object").map(|name| json!({"object": name}));
    if let Some(asked) = body.get("object").map(|_| &body).or(object.as_ref()) {
        return super::instance::object_rights(app, user, asked);
    }
    let mut store = app.store();
    let before = store.rights(Viewer::User(user));
    let flag = |key: &str, before: bool| match body.get(key) {
        None => Ok(before),
        Some(value) => value
            .as_bool()
            .ok_or_else(|| invalid(&format!("{key} must be true or false"))),
    };
    let rights = Rights {
        customize_application: flag("customize_application", before.customize_application)?,
        manage_permission_sets: flag("manage_permission_sets", before.manage_permission_sets)?,
        bulk_hard_delete: flag("bulk_hard_delete", before.bulk_hard_delete)?,
    };
    if rights != before {
        store.set_rights(user, rights);
    }
    Ok(Reply::json(
        200,
        json!({
            "user": username(&store, user),
            "customize_application": rights.customize_application,
            "manage_permission_sets": rights.manage_permission_sets,
            "bulk_hard_delete": rights.bulk_hard_delete,
        }),
    ))
}
