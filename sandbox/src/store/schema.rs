//! Changes of fields while records exist: what happens to values, indexes and grants.
//!
//! A deleted field takes its FieldPermissions rows along; restored, it brings back those
//! that went with it, and its values.

use serde_json::Value;

use super::Store;
use super::index;
use super::row::Row;
use crate::clock::Millis;
use crate::ids::Id;
use crate::schema::custom;
use crate::schema::field::{Field, Kind};
use crate::schema::given::Refusal;
use crate::schema::types;

impl Store {
    /// Makes a custom field that nobody sees yet, and gives its position.
    pub(crate) fn create_field(
        &mut self,
        object: usize,
        name: &str,
        meta: &Value,
    ) -> Result<usize, Refusal> {
        let definition = self.schema.object(object);
        if definition.field(name).is_some() {
            let stem = custom::developer_name(name).unwrap_or(name);
            let message = format!(
                "There is already a field named {stem} on {}.",
                definition.label
            );
            return Err(("DUPLICATE_DEVELOPER_NAME", message));
        }
        let mut field = custom::field(&self.schema, definition, name, meta)?;
        if field.kind == Kind::Reference && meta.get("relationshipLabel").is_none_or(Value::is_null)
        {
            return Err((
                "FIELD_INTEGRITY_EXCEPTION",
                "Must specify 'relationshipLabel' for a CustomField of this type".into(),
            ));
        }
        let places = 1 + types::parts(&field).len();
        if definition.custom_fields() + places > self.settings.custom_fields {
            let message = format!(
                "This {} already has the maximum number of custom fields: {}",
                definition.label, self.settings.custom_fields
            );
            return Err(("CUSTOM_ENTITY_OR_FIELD_LIMIT", message));
        }
        let master = field.kind == Kind::Reference && !field.nillable;
        if master && self.count(object) > 0 {
            return Err((
                "FIELD_INTEGRITY_EXCEPTION",
                "A master-detail field cannot be added to an object that has records".into(),
            ));
        }
        if field.track_history {
            self.may_track(object, &field)?;
        }
        field.id = Some(self.next_id_of("00N").to_string());
        field.visible = false;
        let name = field.name.clone();
        self.put_field(object, field);
        Ok(self.schema.object(object).field(&name).unwrap_or_default())
    }

    /// Whether two live records hold the same value in this field.
    pub(crate) fn has_duplicates(&self, object: usize, position: usize) -> bool {
        let mut seen = std::collections::HashSet::new();
        self.rows(object)
            .filter(|row| row.deleted.is_none())
            .filter_map(|row| index::key_of(row.stored(position)?))
            .any(|key| !seen.insert(key))
    }

    /// Adds or replaces a field. Values that are too long for it are cut off.
    pub(crate) fn put_field(&mut self, object: usize, field: Field) {
        let name = field.name.clone();
        for part in types::parts(&field) {
            self.schema.put_field(object, part);
        }
        self.schema.put_field(object, field);
        if let Some(position) = self.schema.object(object).field(&name) {
            self.cut(object, position);
        }
        self.changed(object);
        self.ensure_history(object);
    }

    /// Keeps indexes of these fields, and of no others, for duplicate rules.
    pub(crate) fn match_by(&mut self, fields: &[(usize, usize)]) {
        for at in 0..self.schema.len() {
            let wanted = |position| fields.contains(&(at, position));
            if self.schema.match_by(at, wanted) {
                self.reindex(at);
            }
        }
    }

    fn changed(&mut self, object: usize) {
        self.reindex(object);
        self.objects_changed.push(object);
    }

    fn cut(&mut self, object: usize, position: usize) {
        let Some(field) = self.schema.object(object).fields.get(position) else {
            return;
        };
        let length = field.length;
        if length == 0 || !field.kind.is_text() {
            return;
        }
        let long: Vec<Row> = self
            .rows(object)
            .filter(|row| {
                row.text(position)
                    .is_some_and(|t| t.chars().count() > length)
            })
            .cloned()
            .collect();
        for mut row in long {
            let kept: String = row.text(position).map_or_else(String::new, |t| {
                t.chars().take(length).collect::<String>().trim_end().into()
            });
            row.set(position, Value::String(kept));
            self.put(row);
        }
    }

    /// Deletes a field. Its values stay until it is restored.
    pub(crate) fn delete_field(&mut self, object: usize, position: usize) {
        let at = self.clock.now();
        for id in self.permissions_on(object, position, None) {
            self.touch(id, at, |row| row.deleted = Some(at));
        }
        for part in self.parts_of(object, position) {
            self.schema.delete_field(object, part, at);
        }
        self.schema.delete_field(object, position, at);
        self.appear_now(object, position);
        self.changed(object);
    }

    /// The positions of the parts of a compound field.
    fn parts_of(&self, object: usize, position: usize) -> Vec<usize> {
        let definition = self.schema.object(object);
        let parts = definition.fields.get(position).map(types::parts);
        let parts = parts.unwrap_or_default();
        parts
            .iter()
            .filter_map(|part| definition.field(&part.name))
            .collect()
    }

    /// Takes the field of this name that was deleted last out of the bin. The caller made
    /// sure that the name is free.
    pub(crate) fn restore_field(&mut self, object: usize, name: &str) -> Option<usize> {
        let deleted = self.schema.restore_field(object, name)?;
        for part in types::parts(&deleted.field) {
            self.schema.restore_field(object, &part.name);
        }
        for id in self.permissions_on(object, deleted.position, Some(deleted.at)) {
            let now = self.clock.now();
            self.touch(id, now, |row| row.deleted = None);
        }
        self.changed(object);
        Some(deleted.position)
    }

    /// The FieldPermissions rows of a field: the live ones, or those deleted at a moment.
    pub(crate) fn permissions_on(
        &self,
        object: usize,
        position: usize,
        deleted: Option<Millis>,
    ) -> Vec<Id> {
        let definition = self.schema.object(object);
        let Some(field) = definition.fields.get(position) else {
            return Vec::new();
        };
        let full = format!("{}.{}", definition.name, field.name);
        let Some(permissions) = self.schema.find("FieldPermissions") else {
            return Vec::new();
        };
        let Some(named) = self.schema.object(permissions).field("Field") else {
            return Vec::new();
        };
        self.rows(permissions)
            .filter(|row| row.deleted == deleted)
            .filter(|row| {
                row.text(named)
                    .is_some_and(|t| t.eq_ignore_ascii_case(&full))
            })
            .map(|row| row.id)
            .collect()
    }
}
