//! What the columns of an upload stand for, and turning its rows into writes.
//!
//! An empty value leaves the field alone, `#N/A` clears it. Only what concerns the whole
//! file is judged when columns are bound; the rest is the write path's business, row by
//! row.

use std::collections::HashSet;

use csv::ByteRecord;
use serde_json::{Map, Value, json};

use super::job::{Job, Operation};
use crate::clock;
use crate::schema::field::{Field, Kind};
use crate::store::Store;
use crate::store::grants::Viewer;
use crate::write::error::RecordError;
use crate::write::{Action, Asked, Change};

/// What clears a field.
const NULL: &str = "#N/A";

enum Column {
    Id,
    Field {
        name: String,
        kind: Kind,
    },
    /// A parent named by one of its keys.
    Parent {
        /// The lookup's own field, to clear it.
        lookup: String,
        relationship: String,
        /// Stated for a lookup that takes several objects.
        object: Option<String>,
        key: String,
    },
}

/// The columns of one file.
pub(super) struct Columns {
    object: usize,
    operation: Operation,
    key: Option<usize>,
    columns: Vec<Column>,
}

fn not_found(name: &str) -> String {
    format!("InvalidBatch : Field name not found : {name}")
}

impl Columns {
    /// Finds what each column stands for, or why the whole job fails.
    pub(super) fn bind(
        store: &Store,
        viewer: Viewer,
        job: &Job,
        header: &[String],
    ) -> Result<Columns, String> {
        let gone = || format!("InvalidEntity : Entity '{}' is not supported", job.object);
        let object = store.schema.find(&job.object).ok_or_else(gone)?;
        let definition = store.schema.object(object);
        let key = match &job.key {
            None => None,
            Some(name) => {
                let at = definition.field(name).filter(|at| {
                    let field = &definition.fields[*at];
                    field.usable_as_key() && store.sees(viewer, object, *at, field)
                });
                Some(at.ok_or_else(|| not_found(name))?)
            }
        };
        let mut seen = HashSet::new();
        let mut columns = Vec::with_capacity(header.len());
        for name in header {
            if !seen.insert(name.to_lowercase()) {
                return Err(format!("InvalidBatch : Duplicate field name : {name}"));
            }
            columns.push(column(store, viewer, object, name)?);
        }
        let ids = columns.iter().filter(|c| matches!(c, Column::Id)).count();
        if job.operation.deletes() && (ids != 1 || columns.len() != 1) {
            return Err(format!(
                "InvalidBatch : The only column of a {} job is Id",
                job.operation.name()
            ));
        }
        Ok(Columns {
            object,
            operation: job.operation,
            key,
            columns,
        })
    }

    /// The write that a row asks for.
    pub(super) fn change(&self, store: &Store, row: &ByteRecord) -> Asked {
        let mut id = None;
        let mut fields = Map::new();
        let mut wrong = None;
        for (at, (column, value)) in self.columns.iter().zip(row.iter()).enumerate() {
            let Ok(text) = std::str::from_utf8(value) else {
                let error = RecordError::new(
                    "TEXT_DATA_OUTSIDE_SUPPORTED_CHARSET",
                    "The row is not valid UTF-8",
                );
                wrong.get_or_insert(error);
                continue;
            };
            if text.is_empty() {
                continue;
            }
            match column {
                Column::Id => id = Some(text.to_owned()),
                Column::Parent { lookup, .. } if text == NULL => {
                    fields.insert(lookup.clone(), Value::Null);
                }
                Column::Parent {
                    relationship,
                    object,
                    key,
                    ..
                } => {
                    let mut inner = Map::new();
                    if let Some(object) = object {
                        inner.insert("attributes".to_owned(), json!({"type": object}));
                    }
                    inner.insert(key.clone(), text.into());
                    fields.insert(relationship.clone(), Value::Object(inner));
                }
                Column::Field { name, .. } if text == NULL => {
                    fields.insert(name.clone(), Value::Null);
                }
                Column::Field { name, kind } => match typed(*kind, text) {
                    Some(value) => {
                        fields.insert(name.clone(), value);
                    }
                    None => {
                        wrong.get_or_insert(undeserialized(at + 1, text, name, *kind));
                        fields.insert(name.clone(), text.into());
                    }
                },
            }
        }
        let (action, refused) = self.action(store, id);
        let change = Change {
            object: self.object,
            action,
            fields,
        };
        match wrong.or(refused) {
            None => Ok(change),
            Some(error) => Err(Box::new((error, Some(change)))),
        }
    }

    fn action(&self, store: &Store, id: Option<String>) -> (Action, Option<RecordError>) {
        let id = id.filter(|id| id != NULL);
        let missing = || RecordError::new("MISSING_ARGUMENT", "Id not specified in an update call");
        match (self.operation, self.key, id) {
            (Operation::Update, _, Some(id)) => (Action::Update(id), None),
            (Operation::Update, _, None) => (Action::Update(String::new()), Some(missing())),
            (Operation::Delete | Operation::HardDelete, _, Some(id)) => (Action::Delete(id), None),
            (Operation::Delete | Operation::HardDelete, _, None) => {
                (Action::Delete(String::new()), Some(missing()))
            }
            (Operation::Upsert, Some(key), id) => {
                let field = &store.schema.object(self.object).fields[key];
                match (field.kind, id) {
                    (Kind::Id, Some(id)) => (Action::Update(id), None),
                    (Kind::Id, None) => (Action::Create, None),
                    (_, None) => (keyed(key), None),
                    (_, Some(_)) => {
                        let message = format!(
                            "Id must not be given with the key {} of an upsert",
                            field.name
                        );
                        let error = RecordError::new("INVALID_FIELD", message).on("Id");
                        (keyed(key), Some(error))
                    }
                }
            }
            (_, _, None) => (Action::Create, None),
            (_, _, Some(_)) => {
                let error = RecordError::new(
                    "INVALID_FIELD_FOR_INSERT_UPDATE",
                    "cannot specify Id in an insert call",
                );
                (Action::Create, Some(error.on("Id")))
            }
        }
    }
}

fn keyed(key: usize) -> Action {
    Action::Upsert {
        key,
        update_only: false,
    }
}

/// `Name`, `Account.Ext_Id__c` or, where several objects are possible, `User:Owner.Ext_Id__c`.
fn column(store: &Store, viewer: Viewer, object: usize, name: &str) -> Result<Column, String> {
    let definition = store.schema.object(object);
    let Some((path, key)) = name.split_once('.') else {
        let found = definition
            .field(name)
            .map(|at| (at, &definition.fields[at]))
            .filter(|(at, field)| store.sees(viewer, object, *at, field));
        return match found {
            Some((_, field)) if field.kind == Kind::Id => Ok(Column::Id),
            Some((_, field)) => Ok(Column::Field {
                name: field.name.clone(),
                kind: field.kind,
            }),
            None => Err(not_found(name)),
        };
    };
    let (stated, relationship) = match path.split_once(':') {
        Some((stated, relationship)) => (Some(stated), relationship),
        None => (None, path),
    };
    let lookup = definition
        .relationship(relationship)
        .map(|at| (at, &definition.fields[at]))
        .filter(|(at, field)| store.sees(viewer, object, *at, field));
    let Some((_, lookup)) = lookup else {
        return Err(not_found(name));
    };
    let target = match (stated, lookup.polymorphic()) {
        (Some(_), false) => {
            return Err(format!(
                "InvalidBatch : Field name not found : {name} : type is not needed for non \
                 polymorphic foreign key references"
            ));
        }
        (None, true) => {
            return Err(format!(
                "InvalidBatch : Field name not found : {name} : type is needed for polymorphic \
                 foreign key references"
            ));
        }
        (None, false) => lookup.reference_to.first(),
        (Some(stated), true) => lookup
            .reference_to
            .iter()
            .find(|to| to.eq_ignore_ascii_case(stated)),
    };
    let parent = target.and_then(|name| store.schema.find(name));
    let usable = |parent: &usize| {
        let definition = store.schema.object(*parent);
        definition.field(key).is_some_and(|at| {
            let field: &Field = &definition.fields[at];
            field.usable_as_key() && store.sees(viewer, *parent, at, field)
        })
    };
    if parent.filter(usable).is_none() {
        return Err(not_found(name));
    }
    Ok(Column::Parent {
        lookup: lookup.name.clone(),
        relationship: lookup.relationship.clone().unwrap_or_default(),
        object: stated.and(target.cloned()),
        key: key.to_owned(),
    })
}

/// A value in the form the write path takes, unless its text does not fit the type.
fn typed(kind: Kind, text: &str) -> Option<Value> {
    let fits = match kind {
        Kind::Boolean => {
            let flag = match text.to_ascii_lowercase().as_str() {
                "true" | "1" => true,
                "false" | "0" => false,
                _ => return None,
            };
            return Some(Value::Bool(flag));
        }
        Kind::Int => text.parse::<i64>().is_ok(),
        Kind::Double | Kind::Currency | Kind::Percent => {
            let digits = |b: u8| b.is_ascii_digit() || b"+-.eE".contains(&b);
            text.bytes().all(digits) && text.parse::<f64>().is_ok_and(f64::is_finite)
        }
        Kind::Date => clock::parse_date(text).is_some(),
        Kind::DateTime => {
            clock::parse_datetime(text).is_some() || clock::parse_date(text).is_some()
        }
        Kind::Time => clock::parse_time(text).is_some(),
        _ => true,
    };
    fits.then(|| text.into())
}

fn undeserialized(column: usize, text: &str, name: &str, kind: Kind) -> RecordError {
    let message = format!(
        "Failed to deserialize field at col {column}. Due to, '{text}' is not a valid value for \
         the type {}",
        kind.soap()
    );
    RecordError::new("INVALID_FIELD", message).on(name)
}
