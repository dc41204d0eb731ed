//! Showing rows: `attributes` first, then the fields in the order of the SELECT.

use serde_json::{Map, Value, json};

use super::bind::{Bound, FieldPath};
use super::eval;
use crate::schema::field::Kind;
use crate::store::Store;
use crate::store::row::Row;

/// The `attributes` of a record.
pub(crate) fn attributes(store: &Store, row: &Row, version: &str) -> Value {
    let object = &store.schema.object(row.object).name;
    json!({"type": object, "url": format!("/services/data/{version}/sobjects/{object}/{}", row.id)})
}

/// One record of an answer.
pub(super) fn record(store: &Store, bound: &Bound, row: &Row, version: &str) -> Value {
    let mut out = Map::new();
    out.insert("attributes".to_owned(), attributes(store, row, version));
    for column in &bound.columns {
        place(store, &mut out, column, 0, row, row, version);
    }
    Value::Object(out)
}

#[allow(clippy::too_many_arguments)]
fn place(
    store: &Store,
    out: &mut Map<String, Value>,
    column: &FieldPath,
    level: usize,
    row: &Row,
    here: &Row,
    version: &str,
) {
    let object = store.schema.object(here.object);
    let Some(hop) = column.hops.get(level) else {
        let name = match &column.by_name {
            Some(name) => name.clone(),
            None => match object.fields.get(column.field) {
                Some(field) if !field.gone => field.name.clone(),
                _ => return,
            },
        };
        out.insert(name, eval::value(store, column, row));
        return;
    };
    let Some(name) = object.fields.get(*hop).and_then(|f| f.relationship.clone()) else {
        return;
    };
    let parent = eval::follow(store, &column.hops[level..=level], here);
    let slot = out.entry(name).or_insert(Value::Null);
    let Some(parent) = parent else { return };
    if slot.is_null() {
        *slot = json!({"attributes": attributes(store, parent, version)});
    }
    if let Value::Object(inner) = slot {
        place(store, inner, column, level + 1, row, parent, version);
    }
}

/// What the CLI asks for to lay out its table.
pub(super) fn columns(store: &Store, bound: &Bound) -> Value {
    let object = store.schema.object(bound.object);
    let metadata: Vec<Value> = bound
        .columns
        .iter()
        .map(|c| column(store, bound.object, c))
        .collect();
    let has_id = bound.columns.iter().any(|c| super::bind::is_id(object, c));
    json!({
        "columnMetadata": metadata, "entityName": object.name, "groupBy": false,
        "idSelected": has_id, "keyPrefix": object.prefix,
    })
}

fn column(store: &Store, start: usize, path: &FieldPath) -> Value {
    let target = store.schema.object(path.object);
    let Some(field) = target.fields.get(path.field) else {
        return Value::Null;
    };
    let kind = match field.kind {
        Kind::Id | Kind::Reference => "Id",
        Kind::Boolean => "Boolean",
        Kind::Int => "Integer",
        Kind::Double | Kind::Currency | Kind::Percent => "Double",
        Kind::Date => "Date",
        Kind::DateTime => "Datetime",
        Kind::Time => "Time",
        Kind::Address => "Address",
        Kind::Location => "Location",
        _ => "String",
    };
    let entry = |name: &str, joins: Value| {
        json!({
            "aggregate": false, "apexType": kind, "booleanType": kind == "Boolean", "columnName": name,
            "custom": field.custom, "displayName": name, "foreignKeyName": field.relationship,
            "insertable": field.createable, "joinColumns": joins,
            "numberType": matches!(kind, "Integer" | "Double"),
            "textType": kind == "String", "updatable": field.updateable,
        })
    };
    let name = path.by_name.as_deref().unwrap_or(&field.name);
    let mut names = Vec::new();
    let mut object = start;
    for hop in &path.hops {
        let lookup = &store.schema.object(object).fields[*hop];
        names.push(lookup.relationship.clone().unwrap_or_default());
        if let Some(next) = lookup
            .reference_to
            .first()
            .and_then(|n| store.schema.find(n))
        {
            object = next;
        }
    }
    // Parents nest: the innermost column is the field itself.
    names
        .iter()
        .rev()
        .fold(entry(name, json!([])), |inner, name| {
            let mut outer = entry(name, json!([inner]));
            outer["apexType"] = json!("Object");
            outer["foreignKeyName"] = json!(name);
            outer
        })
}
