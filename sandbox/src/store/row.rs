//! One record.

use serde_json::{Map, Value, json};

use crate::clock::{self, Millis};
use crate::ids::Id;
use crate::schema::Object;
use crate::schema::field::{Field, Source, System};

/// A record: its stored values by field position, and what every record has.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: Id,
    pub(crate) object: usize,
    /// When it went to the recycle bin.
    pub(crate) deleted: Option<Millis>,
    pub(crate) created: (Millis, Id),
    pub(crate) modified: (Millis, Id),
    pub(crate) stamp: Millis,
    /// Sorted by position; a field without a value has no entry.
    values: Vec<(u16, Value)>,
}

impl Row {
    /// An empty record made now by this user.
    pub(crate) fn new(id: Id, object: usize, at: Millis, user: Id) -> Row {
        Row {
            id,
            object,
            deleted: None,
            created: (at, user),
            modified: (at, user),
            stamp: at,
            values: Vec::new(),
        }
    }

    /// The stored value at a field position.
    pub(crate) fn stored(&self, field: usize) -> Option<&Value> {
        let at = self
            .values
            .binary_search_by_key(&field, |(f, _)| usize::from(*f))
            .ok()?;
        Some(&self.values[at].1)
    }

    /// The stored text at a field position.
    pub(crate) fn text(&self, field: usize) -> Option<&str> {
        self.stored(field)?.as_str()
    }

    /// The record a lookup points to.
    pub(crate) fn reference(&self, field: usize) -> Option<Id> {
        Id::parse(self.text(field)?)
    }

    /// Sets or, with null, clears a stored value.
    pub(crate) fn set(&mut self, field: usize, value: Value) {
        let found = self
            .values
            .binary_search_by_key(&field, |(f, _)| usize::from(*f));
        match (found, value) {
            (Ok(at), Value::Null) => {
                self.values.remove(at);
            }
            (Err(_), Value::Null) => {}
            (Ok(at), value) => self.values[at].1 = value,
            (Err(at), value) => self.values.insert(at, (field as u16, value)),
        }
    }

    /// The value a field shows, whatever its source.
    pub(crate) fn value(&self, object: &Object, field: &Field, position: usize) -> Value {
        match &field.source {
            _ if field.gone => Value::Null,
            Source::Stored => match self.stored(position) {
                Some(value) => value.clone(),
                // A checkbox is never null, also on records older than the field.
                None if field.kind == crate::schema::field::Kind::Boolean => {
                    field.default.clone().unwrap_or(Value::Bool(false))
                }
                None => Value::Null,
            },
            Source::System(system) => self.system(*system),
            Source::FullName => {
                let part = |name| object.field(name).and_then(|f| self.text(f)).unwrap_or("");
                let name = format!("{} {}", part("FirstName"), part("LastName"));
                Value::String(name.trim().to_owned())
            }
            Source::Address(prefix) => self.address(object, prefix),
            Source::Location => self.location(object, &field.name),
            Source::OneOf(name, values) => {
                let held = object.field(name).and_then(|f| self.text(f));
                Value::Bool(held.is_some_and(|held| values.iter().any(|v| v == held)))
            }
        }
    }

    fn system(&self, system: System) -> Value {
        match system {
            System::Id => self.id.to_string().into(),
            System::IsDeleted => self.deleted.is_some().into(),
            System::CreatedDate => clock::datetime(self.created.0).into(),
            System::CreatedById => self.created.1.to_string().into(),
            System::LastModifiedDate => clock::datetime(self.modified.0).into(),
            System::LastModifiedById => self.modified.1.to_string().into(),
            System::SystemModstamp => clock::datetime(self.stamp).into(),
        }
    }

    fn address(&self, object: &Object, prefix: &str) -> Value {
        let part = |name: &str| {
            let stored = object
                .field(&format!("{prefix}{name}"))
                .and_then(|f| self.stored(f));
            stored.cloned().unwrap_or(Value::Null)
        };
        let parts = [
            "City",
            "Country",
            "Latitude",
            "Longitude",
            "PostalCode",
            "State",
            "Street",
        ];
        if parts.iter().all(|p| part(p).is_null()) {
            return Value::Null;
        }
        json!({
            "city": part("City"), "country": part("Country"), "geocodeAccuracy": null,
            "latitude": part("Latitude"), "longitude": part("Longitude"),
            "postalCode": part("PostalCode"), "state": part("State"), "street": part("Street"),
        })
    }

    fn location(&self, object: &Object, name: &str) -> Value {
        let mut parts = object
            .fields
            .iter()
            .enumerate()
            .filter(|(_, f)| f.part_of.as_deref() == Some(name))
            .map(|(at, _)| self.stored(at).cloned().unwrap_or(Value::Null));
        match (parts.next(), parts.next()) {
            (Some(Value::Null), Some(Value::Null)) => Value::Null,
            (Some(latitude), Some(longitude)) => {
                json!({"latitude": latitude, "longitude": longitude})
            }
            _ => Value::Null,
        }
    }

    /// The first external id of the record: the field's name and its value.
    pub(crate) fn external_id<'a>(&'a self, object: &'a Object) -> Option<(&'a str, &'a Value)> {
        self.values.iter().find_map(|(f, value)| {
            let field = object.fields.get(usize::from(*f))?;
            field.external_id.then_some((field.name.as_str(), value))
        })
    }

    /// The record as one line of the journal.
    pub(crate) fn to_line(&self, object: &Object) -> Value {
        let values: Map<String, Value> = self
            .values
            .iter()
            .filter_map(|(f, v)| {
                let field = object.fields.get(usize::from(*f))?;
                // The values of deleted fields are kept by position: names may come again.
                let key = match field.gone {
                    true => format!("@{f}"),
                    false => field.name.clone(),
                };
                Some((key, v.clone()))
            })
            .collect();
        json!({
            "o": object.name, "id": self.id.to_string(), "d": self.deleted,
            "c": [self.created.0, self.created.1.to_string()],
            "m": [self.modified.0, self.modified.1.to_string()],
            "s": self.stamp, "v": values,
        })
    }

    /// The entity tag, another one after every write. Only accounts have one.
    pub(crate) fn tag(&self, object: &Object) -> Option<String> {
        use std::hash::{DefaultHasher, Hash, Hasher};
        if object.name != "Account" {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        self.to_line(object).to_string().hash(&mut hasher);
        Some(format!("\"{:016x}\"", hasher.finish()))
    }

    /// Reads what [`Row::to_line`] wrote.
    pub(crate) fn from_line(line: &Value, object: &Object, position: usize) -> Option<Row> {
        let pair = |key: &str| {
            let pair = line.get(key)?.as_array()?;
            Some((pair.first()?.as_i64()?, Id::parse(pair.get(1)?.as_str()?)?))
        };
        let mut row = Row {
            id: Id::parse(line.get("id")?.as_str()?)?,
            object: position,
            deleted: line.get("d").and_then(Value::as_i64),
            created: pair("c")?,
            modified: pair("m")?,
            stamp: line.get("s")?.as_i64()?,
            values: Vec::new(),
        };
        for (name, value) in line.get("v")?.as_object()? {
            let position = match name.strip_prefix('@') {
                Some(position) => position.parse().ok(),
                None => object.field(name),
            };
            if let Some(field) = position {
                row.set(field, value.clone());
            }
        }
        Some(row)
    }
}
