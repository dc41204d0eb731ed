//! Tooling queries, on a store of their own that is made from the schema for the query.
//!
//! EntityDefinition and EntityLimit are not kept in tables by Salesforce either: they take
//! no `COUNT()`, `OR` or `NOT`, and ignore `LIMIT` (Tooling API guide, "SOQL Operation
//! Limitations").

use serde_json::{Value, json};

use super::table;
use crate::app::App;
use crate::clock::Millis;
use crate::http::auth::Caller;
use crate::http::query;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::ids::Id;
use crate::schema::field::{Field, Kind, lookup, string, textarea};
use crate::schema::{Object, custom};
use crate::soql::{self, Shape};
use crate::store::Store;
use crate::store::row::Row;

/// `…/tooling/query?q=`
pub(super) fn select(
    app: &App,
    request: &Request,
    caller: Caller,
    version: u32,
) -> Result<Reply, Reply> {
    let Some(text) = request.query("q").filter(|q| !q.trim().is_empty()) else {
        return Err(Reply::error(
            400,
            "MALFORMED_QUERY",
            "A query string has to be specified",
        ));
    };
    let now = app.clock.now();
    let mirror = mirror(&app.store(), caller.user, now);
    let refused = |error: soql::QueryError| Reply::error(400, error.code, &error.message);
    let mut shape = soql::shape(text).map_err(refused)?;
    if ["entitydefinition", "entitylimit"].contains(&shape.from.as_str()) {
        computed(&mut shape)?;
    }
    let cursor = soql::run_limited(&mirror, caller.viewer(), text, false, now, shape.limited)
        .map_err(refused)?;
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

/// What objects that are worked out for the query do not take.
fn computed(shape: &mut Shape) -> Result<(), Reply> {
    let refuse = |message: &str| {
        Err(Reply::error(
            400,
            "EXTERNAL_OBJECT_UNSUPPORTED_EXCEPTION",
            message,
        ))
    };
    if shape.count {
        return refuse(
            "The \"DurableId\" field is of type number, but the value from the external data source \
             is \"Account.SearchResult\". Contact your administrator for help.",
        );
    }
    if shape.or {
        return refuse("Disjunctions not supported");
    }
    if shape.not {
        return refuse("Only equals comparisons permitted");
    }
    shape.limited = false;
    Ok(())
}

/// Points to the definition of an object: `EntityDefinition.QualifiedApiName` goes through
/// it. The id beside it, `EntityDefinitionId`, is a name for standard objects, so no lookup
/// can follow it.
fn entity() -> [Field; 2] {
    let to = &["EntityDefinition"];
    [
        string("EntityDefinitionId", "Entity Definition ID", 40),
        lookup(
            "EntityDefinition",
            "Entity Definition",
            to,
            "EntityDefinition",
            "",
        ),
    ]
}

/// The definitions of the schema as records.
fn mirror(store: &Store, user: Id, at: Millis) -> Store {
    let mut out = Store::new(store.clock.clone());
    let mut fields = vec![
        string("DeveloperName", "Name", 40).name_field(),
        string("TableEnumOrId", "Table", 40),
        string("FullName", "Full Name", 255),
        string("NamespacePrefix", "Namespace", 15),
        string("ManageableState", "State", 20),
        textarea("Metadata", "Metadata", 131_072),
    ];
    fields.extend(entity());
    let fields = out.put_object(Object::new("CustomField", "Custom Fields", "00N", fields));
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
    let entities = out.put_object(Object::new(
        "EntityDefinition",
        "Entity Definitions",
        "4ie",
        vec![
            string("DeveloperName", "Name", 40).name_field(),
            string("DurableId", "Durable ID", 40),
            string("QualifiedApiName", "API Name", 80),
            string("Label", "Label", 80),
            string("MasterLabel", "Label", 80),
            string("PluralLabel", "Plural Label", 80),
            string("KeyPrefix", "Key Prefix", 3),
            string("NamespacePrefix", "Namespace", 15),
            Field::new("IsCustomizable", "Customizable", Kind::Boolean),
        ],
    ));
    let mut limit = vec![
        string("DurableId", "Durable ID", 80),
        string("Label", "Label", 80).name_field(),
        Field::new("Max", "Max", Kind::Int).digits(9, 0),
        Field::new("Remaining", "Remaining", Kind::Int).digits(9, 0),
        string("Type", "Type", 40),
    ];
    limit.extend(entity());
    let limits = out.put_object(Object::new("EntityLimit", "Entity Limits", "4il", limit));
    for (number, object) in store.schema.iter() {
        let mut add = |id: Id, object: usize, values: Value| {
            let mut row = Row::new(id, object, at, user);
            for (name, value) in values.as_object().into_iter().flatten() {
                if let Some(position) = out.schema.object(object).field(name) {
                    row.set(position, value.clone());
                }
            }
            out.put(row);
        };
        let stem = custom::developer_name(&object.name).unwrap_or(&object.name);
        if let Some(id) = object.id.as_deref().and_then(Id::parse) {
            add(
                id,
                objects,
                json!({
                    "DeveloperName": stem, "QualifiedApiName": object.name, "IsCustom": true,
                }),
            );
        }
        let entity = Id::new("4ie", number as u64 + 1);
        // A custom object's durable id is its short one.
        let durable = table(object)
            .get(..15)
            .filter(|_| object.custom)
            .unwrap_or(&object.name);
        add(
            entity,
            entities,
            json!({
                "DeveloperName": stem, "DurableId": durable, "QualifiedApiName": object.name,
                "Label": object.label, "MasterLabel": object.label, "PluralLabel": object.plural,
                "KeyPrefix": object.prefix, "IsCustomizable": customizable(object),
            }),
        );
        let max = store.settings.custom_fields;
        if customizable(object) {
            add(
                Id::new("4il", number as u64 + 1),
                limits,
                json!({
                    "DurableId": format!("{durable}.CustomFields"), "Label": "Custom Fields",
                    "Max": max, "Remaining": max.saturating_sub(object.custom_fields()),
                    "Type": "CustomFields", "EntityDefinitionId": durable,
                    "EntityDefinition": entity.to_string(),
                }),
            );
        }
        for field in &object.fields {
            let Some(id) = field.id.as_deref().and_then(Id::parse) else {
                continue;
            };
            add(
                id,
                fields,
                json!({
                    "DeveloperName": custom::developer_name(&field.name).unwrap_or(&field.name),
                    "TableEnumOrId": table(object), "EntityDefinitionId": durable,
                    "EntityDefinition": entity.to_string(), "ManageableState": "unmanaged",
                    "FullName": format!("{}.{}", object.name, field.name), "Metadata": field.metadata,
                }),
            );
        }
    }
    out
}

/// Whether fields can be added to the object.
fn customizable(object: &Object) -> bool {
    !object.setup || object.name == "User"
}
