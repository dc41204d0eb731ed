//! `/sandbox/duplicate_rules` and `/sandbox/validation_rules`.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::control::{Answer, find, refuse};
use super::reply::Reply;
use super::request::Request;
use crate::app::App;
use crate::schema::Object;
use crate::schema::field::Source;

fn invalid(message: &str) -> Reply {
    refuse("INVALID_ARGUMENT", message)
}

/// A list of rules: an array, or one in `rules`.
fn list<T: DeserializeOwned>(request: &Request) -> Result<Vec<T>, Reply> {
    let mut body = request.json()?;
    if let Some(rules) = body.get_mut("rules") {
        body = rules.take();
    }
    serde_json::from_value(body).map_err(|error| invalid(&error.to_string()))
}

fn field(object: &Object, name: &str) -> Result<usize, Reply> {
    object
        .field(name)
        .ok_or_else(|| invalid(&format!("there is no field {name} on {}", object.name)))
}

/// `PUT`, `GET /sandbox/duplicate_rules`
pub(super) fn duplicates(app: &App, request: &Request) -> Answer {
    let mut store = app.store();
    if request.method == "PUT" {
        let rules: Vec<crate::write::rules::DuplicateRule> = list(request)?;
        let mut matched = Vec::new();
        for rule in &rules {
            let at = find(&store, &rule.object)?;
            let object = store.schema.object(at);
            if rule.fields.is_empty() {
                return Err(invalid(&format!("{} compares no fields", rule.name)));
            }
            for name in &rule.fields {
                let position = field(object, name)?;
                if object.fields[position].source != Source::Stored {
                    return Err(invalid(&format!("{name} cannot be matched")));
                }
                matched.push((at, position));
            }
        }
        store.match_by(&matched);
        store.settings.rules.duplicates = rules;
    }
    Ok(Reply::json(200, json!(store.settings.rules.duplicates)))
}

/// `PUT`, `GET /sandbox/validation_rules`
pub(super) fn validations(app: &App, request: &Request) -> Answer {
    let mut store = app.store();
    if request.method == "PUT" {
        let rules: Vec<crate::write::rules::ValidationRule> = list(request)?;
        for rule in &rules {
            let object = store.schema.object(find(&store, &rule.object)?);
            let conditions = rule.and.iter().map(|c| &c.field);
            for name in conditions.chain([&rule.field]).chain(&rule.error_field) {
                field(object, name)?;
            }
        }
        store.settings.rules.validations = rules;
    }
    let shown: Value = json!(store.settings.rules.validations);
    Ok(Reply::json(200, shown))
}
