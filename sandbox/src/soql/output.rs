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

/// The column names of a bulk query.
pub(super) fn names(store: &Store, bound: &Bound) -> Vec<String> {
    let columns = bound.columns.iter().map(|path| {
        let mut at = bound.object;
        let mut name = String::new();
        for hop in &path.hops {
            let lookup = &store.schema.object(at).fields[*hop];
            name.push_str(lookup.relationship.as_deref().unwrap_or_default());
            name.push('.');
            let next = lookup.reference_to.first();
            at = next.and_then(|n| store.schema.find(n)).unwrap_or(at);
        }
        let field = store.schema.object(path.object).fields.get(path.field);
        match (&path.by_name, field) {
            (Some(by_name), _) => name.push_str(by_name),
            (None, Some(field)) => name.push_str(&field.name),
            (None, None) => {}
        }
        name
    });
    columns.collect()
}

/// One row of a bulk query. Points in time end in `Z` there.
pub(super) fn texts(store: &Store, bound: &Bound, row: &Row) -> Vec<String> {
    let columns = bound.columns.iter().map(|path| {
        let field = store.schema.object(path.object).fields.get(path.field);
        match eval::value(store, path, row) {
            Value::Null => String::new(),
            Value::String(text) if field.is_some_and(|f| f.kind == Kind::DateTime) => {
                match text.strip_suffix("+0000") {
                    Some(clock) => format!("{clock}Z"),
                    None => text,
                }
            }
            Value::String(text) => text,
            other => other.to_string(),
        }
    });
    columns.collect()
}

/// Whether an address or a location is selected.
pub(super) fn has_compound(store: &Store, bound: &Bound) -> bool {
    bound.columns.iter().any(|path| {
        let field = store.schema.object(path.object).fields.get(path.field);
        path.by_name.is_none() && field.is_some_and(|field| field.kind.is_compound())
    })
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
