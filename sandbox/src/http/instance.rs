//! `/sandbox/instance`: the org moves to another instance, which is another name of this
//! server (salesforce.md §2.1).
//!
//! Logins then name the new instance. Calls that come by another name are redirected, or
//! their sessions are no good any more.

use serde_json::{Value, json};

use super::control::{Answer, refuse};
use super::reply::Reply;
use super::request::Request;
use super::{auth, control};
use crate::app::App;

/// Where the org lives now.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    /// Without a slash at the end.
    pub(crate) url: String,
    /// The status of a redirection; none refuses the session.
    pub(crate) redirect: Option<u16>,
}

/// `GET`, `PUT`, `DELETE /sandbox/instance`
pub(super) fn route(app: &App, request: &Request) -> Answer {
    match request.method.as_str() {
        "PUT" => {
            let body = request.json()?;
            let url = body.get("url").and_then(Value::as_str).unwrap_or("");
            if !url.starts_with("http") {
                return Err(refuse("INVALID_ARGUMENT", "url must be a base URL"));
            }
            let redirect = match body.get("redirect") {
                None => Some(302),
                Some(Value::Null) => None,
                Some(status) => match status.as_u64() {
                    Some(status @ (301 | 302 | 307 | 308)) => Some(status as u16),
                    _ => {
                        let message = "redirect must be 301, 302, 307, 308 or null";
                        return Err(refuse("INVALID_ARGUMENT", message));
                    }
                },
            };
            app.move_to(Some(Instance {
                url: url.trim_end_matches('/').to_owned(),
                redirect,
            }));
        }
        "DELETE" => app.move_to(None),
        _ => {}
    }
    let shown = app.instance();
    let shown = shown.map(|i| json!({"url": i.url, "redirect": i.redirect}));
    Ok(Reply::json(200, shown.unwrap_or(Value::Null)))
}

/// What a call by an old name is told.
pub(super) fn elsewhere(app: &App, request: &Request) -> Option<Reply> {
    let instance = app.instance().filter(|i| i.url != request.base)?;
    Some(match instance.redirect {
        Some(status) => redirected(status, &instance.url, request),
        None => auth::expired(),
    })
}

/// A redirection to the same path at another place.
pub(super) fn redirected(status: u16, to: &str, request: &Request) -> Reply {
    let location = format!("{to}{}", request.target());
    Reply::empty(status).header("Location", &location)
}

/// The base URL that logins name.
pub(super) fn base(app: &App, request: &Request) -> String {
    app.instance()
        .map_or_else(|| request.base.clone(), |instance| instance.url)
}

/// `GET`, `PUT /sandbox/rights` of one object: what a user may do with its records.
pub(super) fn object_rights(app: &App, user: crate::ids::Id, body: &Value) -> Answer {
    let name = body.get("object").and_then(Value::as_str).unwrap_or("");
    let mut store = app.store();
    let at = control::find(&store, name)?;
    let mut rights = store.object_rights(crate::store::grants::Viewer::User(user), at);
    for (key, flag) in [
        ("read", &mut rights.read),
        ("create", &mut rights.create),
        ("edit", &mut rights.edit),
        ("delete", &mut rights.delete),
    ] {
        match body.get(key) {
            None => {}
            Some(Value::Bool(value)) => *flag = *value,
            Some(_) => {
                let message = format!("{key} must be true or false");
                return Err(refuse("INVALID_ARGUMENT", &message));
            }
        }
    }
    store.set_object_rights(user, at, rights);
    Ok(Reply::json(
        200,
        json!({
            "object": store.schema.object(at).name, "read": rights.read,
            "create": rights.create, "edit": rights.edit, "delete": rights.delete,
        }),
    ))
}
