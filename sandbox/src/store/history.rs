//! Field history: who changed which tracked field from what to what (salesforce.md §13).
//!
//! The history of an object is an object of its own, `AccountHistory` or `X__History`. Its
//! records are written along with the change, by whoever makes it and at the same moment,
//! and go to the recycle bin and back with the record they tell of.
//!
//! A change of a lookup leaves two records, one with names and one with ids. Long text and
//! multi-select picklists leave a record without values; other values are cut to 255
//! characters.

use serde_json::Value;

use super::Store;
use super::row::Row;
use crate::clock::Millis;
use crate::ids::Id;
use crate::schema::Object;
use crate::schema::field::{Field, Kind};
use crate::schema::given::Refusal;
use crate::schema::history;

const LONGEST: usize = 255;

/// One record of a history, before it is stored.
struct Entry {
    field: String,
    data_type: &'static str,
    old: Value,
    new: Value,
}

impl Store {
    /// Writes what a new or changed record says of its tracked fields.
    pub(crate) fn keep_history(&mut self, before: Option<&Row>, id: Id, at: Millis, by: Id) {
        let Some(after) = self.get(id) else { return };
        let object = self.schema.object(after.object);
        if object.tracked().is_empty() {
            return;
        }
        let Some(history) = self.schema.history(after.object) else {
            return;
        };
        let entries = match before {
            None => vec![Entry {
                field: "created".to_owned(),
                data_type: "Text",
                old: Value::Null,
                new: Value::Null,
            }],
            Some(before) => object
                .tracked()
                .iter()
                .flat_map(|position| self.changes(object, *position, before, after))
                .collect(),
        };
        for entry in entries {
            let mut row = Row::new(self.next_id(history), history, at, by);
            row.set(history::PARENT, id.to_string().into());
            row.set(history::FIELD, entry.field.into());
            row.set(history::DATA_TYPE, entry.data_type.into());
            row.set(history::OLD_VALUE, entry.old);
            row.set(history::NEW_VALUE, entry.new);
            self.put(row);
        }
    }

    fn changes(&self, object: &Object, position: usize, before: &Row, after: &Row) -> Vec<Entry> {
        let Some(field) = object.fields.get(position) else {
            return Vec::new();
        };
        let old = before.value(object, field, position);
        let new = after.value(object, field, position);
        if old == new {
            return Vec::new();
        }
        let entry = |data_type, old, new| Entry {
            field: field.name.clone(),
            data_type,
            old,
            new,
        };
        if field.kind == Kind::Reference {
            let name = |value: &Value| {
                let row = value
                    .as_str()
                    .and_then(Id::parse)
                    .and_then(|id| self.get(id));
                row.map_or(Value::Null, |row| cut(self.name_of(row).into()))
            };
            return vec![
                entry("Text", name(&old), name(&new)),
                entry("EntityId", old, new),
            ];
        }
        if field.is_long_text() || field.kind == Kind::MultiPicklist {
            return vec![entry(data_type(field), Value::Null, Value::Null)];
        }
        vec![entry(data_type(field), cut(old), cut(new))]
    }

    /// Makes the history of an object if fields of it are tracked and it has none.
    pub(super) fn ensure_history(&mut self, object: usize) {
        let definition = self.schema.object(object);
        if !definition.tracked().is_empty() && self.schema.history(object).is_none() {
            let history = history::of(definition);
            self.put_object(history);
        }
    }

    /// Whether one more field of an object may be tracked.
    pub(crate) fn may_track(&self, object: usize, field: &Field) -> Result<(), Refusal> {
        let definition = self.schema.object(object);
        let refuse = |message: String| Err(("FIELD_INTEGRITY_EXCEPTION", message));
        if definition.setup || definition.history_of.is_some() || !field.trackable() {
            return refuse(format!("The history of {} cannot be tracked", field.name));
        }
        let others = definition.tracked().iter();
        let others = others.filter(|at| definition.fields[**at].name != field.name);
        if others.count() >= self.settings.history_fields {
            return refuse(format!(
                "The history of at most {} fields of {} can be tracked",
                self.settings.history_fields, definition.name
            ));
        }
        Ok(())
    }
}

fn cut(value: Value) -> Value {
    match value {
        Value::String(text) if text.len() > LONGEST => {
            Value::String(text.chars().take(LONGEST).collect())
        }
        other => other,
    }
}

fn data_type(field: &Field) -> &'static str {
    match field.kind {
        Kind::Boolean => "Boolean",
        Kind::Int => "Integer",
        Kind::Double => "Double",
        Kind::Currency => "Currency",
        Kind::Percent => "Percent",
        Kind::Date => "DateOnly",
        Kind::DateTime => "DateTime",
        Kind::Time => "TimeOnly",
        Kind::Email => "Email",
        Kind::Phone => "Phone",
        Kind::Url => "Url",
        Kind::Picklist => "DynamicEnum",
        Kind::MultiPicklist => "MultiEnum",
        Kind::TextArea => "TextArea",
        _ => "Text",
    }
}
