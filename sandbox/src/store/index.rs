//! Lookup by value for external ids, unique fields and references.
//!
//! Keys are folded to lower case, because SOQL compares without case. Who needs an exact
//! match (an upsert by a case-sensitive key) compares the found rows' values itself.

use std::collections::HashMap;

use serde_json::Value;

use super::row::Row;
use crate::ids::Id;
use crate::schema::Object;

/// The index of one object: by field position, then by folded value.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// The ids of one value are in order, so that one among many is found fast.
    fields: HashMap<usize, HashMap<String, Vec<Id>>>,
}

/// The form of a value under which it is indexed.
pub(crate) fn key_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.to_lowercase()),
        Value::Number(number) => Some(number.as_f64()?.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

impl Index {
    /// The rows whose field has this value, but for case.
    pub(crate) fn find(&self, field: usize, key: &str) -> &[Id] {
        let found = self.fields.get(&field).and_then(|values| values.get(key));
        found.map_or(&[], Vec::as_slice)
    }

    /// Enters a row. Deleted rows are not entered: they match no key any more.
    pub(crate) fn add(&mut self, object: &Object, row: &Row) {
        if row.deleted.is_some() {
            return;
        }
        for (position, key) in entries(object, row) {
            let ids = self
                .fields
                .entry(position)
                .or_default()
                .entry(key)
                .or_default();
            if let Err(at) = ids.binary_search(&row.id) {
                ids.insert(at, row.id);
            }
        }
    }

    /// Takes a row out again.
    pub(crate) fn remove(&mut self, object: &Object, row: &Row) {
        if row.deleted.is_some() {
            return;
        }
        for (position, key) in entries(object, row) {
            let Some(values) = self.fields.get_mut(&position) else {
                continue;
            };
            if let Some(ids) = values.get_mut(&key) {
                if let Ok(at) = ids.binary_search(&row.id) {
                    ids.remove(at);
                }
                if ids.is_empty() {
                    values.remove(&key);
                }
            }
        }
    }
}

fn entries<'a>(object: &'a Object, row: &'a Row) -> impl Iterator<Item = (usize, String)> + 'a {
    let indexed = object
        .fields
        .iter()
        .enumerate()
        .filter(|(_, f)| f.indexed());
    indexed.filter_map(|(position, _)| Some((position, key_of(row.stored(position)?)?)))
}
