//! What objects there are and what fields they have.
//!
//! Invariants:
//! - The position of an object in the schema and of a field in its object never changes:
//!   rows refer to fields by position, and both lists only grow. A deleted field leaves an
//!   empty place ([`Field::empty_place`]) and waits in the object's bin, as do its values.
//! - Names are looked up without case and given back in their canonical form, as
//!   Salesforce does.
//! - The first seven fields of every object are the system fields, in the order of
//!   [`SYSTEM`].

pub(crate) mod change;
pub(crate) mod custom;
pub(crate) mod describe;
pub(crate) mod field;
pub(crate) mod given;
pub(crate) mod history;
mod standard;
pub(crate) mod types;

use std::collections::HashMap;

use field::{Field, Kind, Source, System};
use serde::{Deserialize, Serialize};

/// Name and label of the fields every object has.
const SYSTEM: [(&str, &str, Kind, System); 7] = [
    ("Id", "Record ID", Kind::Id, System::Id),
    ("IsDeleted", "Deleted", Kind::Boolean, System::IsDeleted),
    (
        "CreatedDate",
        "Created Date",
        Kind::DateTime,
        System::CreatedDate,
    ),
    (
        "CreatedById",
        "Created By ID",
        Kind::Reference,
        System::CreatedById,
    ),
    (
        "LastModifiedDate",
        "Last Modified Date",
        Kind::DateTime,
        System::LastModifiedDate,
    ),
    (
        "LastModifiedById",
        "Last Modified By ID",
        Kind::Reference,
        System::LastModifiedById,
    ),
    (
        "SystemModstamp",
        "System Modstamp",
        Kind::DateTime,
        System::SystemModstamp,
    ),
];

/// A deleted field: where it was, what it was, and when it went.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Deleted {
    pub(crate) position: usize,
    pub(crate) field: Field,
    pub(crate) at: crate::clock::Millis,
}

/// One object with its fields.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Object {
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) plural: String,
    pub(crate) prefix: String,
    pub(crate) custom: bool,
    /// Set-up objects, which the page and the data wipe leave alone.
    pub(crate) setup: bool,
    /// The object whose field history this one holds.
    #[serde(default)]
    pub(crate) history_of: Option<String>,
    /// The id of a custom object's definition.
    pub(crate) id: Option<String>,
    pub(crate) fields: Vec<Field>,
    /// Deleted fields.
    #[serde(default)]
    pub(crate) bin: Vec<Deleted>,
    #[serde(skip)]
    by_name: HashMap<String, usize>,
    /// Positions of the fields whose changes are kept.
    #[serde(skip)]
    tracked: Vec<usize>,
    #[serde(skip)]
    by_relationship: HashMap<String, usize>,
}

impl Object {
    /// An object with the system fields and these.
    pub(crate) fn new(name: &str, plural: &str, prefix: &str, fields: Vec<Field>) -> Object {
        let system = SYSTEM.iter().map(|(name, label, kind, system)| {
            let mut field = Field::new(name, label, *kind).from(Source::System(*system));
            field.nillable = false;
            field.default = None;
            if matches!(kind, Kind::Reference) {
                field.reference_to = vec!["User".to_owned()];
                field.relationship = Some(name.trim_end_matches("Id").to_owned());
            }
            if matches!(kind, Kind::Reference | Kind::Id) {
                field.length = 18;
            }
            field.id_lookup = *kind == Kind::Id;
            field
        });
        let mut object = Object {
            name: name.to_owned(),
            label: name.to_owned(),
            plural: plural.to_owned(),
            prefix: prefix.to_owned(),
            custom: false,
            setup: false,
            history_of: None,
            id: None,
            fields: system.chain(fields).collect(),
            bin: Vec::new(),
            by_name: HashMap::new(),
            tracked: Vec::new(),
            by_relationship: HashMap::new(),
        };
        object.reindex();
        object
    }

    fn reindex(&mut self) {
        self.by_name = self
            .fields
            .iter()
            .enumerate()
            .filter(|(_, f)| !f.gone)
            .map(|(i, f)| (f.name.to_lowercase(), i))
            .collect();
        self.tracked = (0..self.fields.len())
            .filter(|at| self.fields[*at].track_history && !self.fields[*at].gone)
            .collect();
        self.by_relationship = self
            .fields
            .iter()
            .enumerate()
            .filter_map(|(i, f)| Some((f.relationship.as_ref()?.to_lowercase(), i)))
            .collect();
    }

    /// The position of a field.
    pub(crate) fn field(&self, name: &str) -> Option<usize> {
        match self.by_name.get(name) {
            Some(position) => Some(*position),
            None => self.by_name.get(&name.to_lowercase()).copied(),
        }
    }

    /// The positions of the fields whose changes are kept.
    pub(crate) fn tracked(&self) -> &[usize] {
        &self.tracked
    }

    /// Whether people work with the object's records: not set-up, not history.
    pub(crate) fn is_work(&self) -> bool {
        !self.setup && self.history_of.is_none()
    }

    /// The position of the lookup with this relationship name.
    pub(crate) fn relationship(&self, name: &str) -> Option<usize> {
        self.by_relationship.get(&name.to_lowercase()).copied()
    }

    /// The field that holds a record's name.
    pub(crate) fn name_field(&self) -> Option<usize> {
        self.fields.iter().position(|f| f.name_field)
    }

    /// How many of the custom fields an object may have are used.
    pub(crate) fn custom_fields(&self) -> usize {
        self.fields.iter().filter(|f| f.custom).count()
    }

    /// Moves a field to the bin.
    fn delete_field(&mut self, position: usize, at: crate::clock::Millis) {
        if let Some(place) = self.fields.get_mut(position) {
            let field = std::mem::replace(place, Field::empty_place());
            self.bin.push(Deleted {
                position,
                field,
                at,
            });
            self.reindex();
        }
    }

    /// Takes the field of this name that was deleted last out of the bin.
    fn restore_field(&mut self, name: &str) -> Option<Deleted> {
        let found = self
            .bin
            .iter()
            .rposition(|d| d.field.name.eq_ignore_ascii_case(name))?;
        let deleted = self.bin.remove(found);
        if let Some(place) = self.fields.get_mut(deleted.position) {
            *place = deleted.field.clone();
        }
        self.reindex();
        Some(deleted)
    }

    /// Adds a field, or replaces the one of the same name.
    pub(crate) fn put_field(&mut self, field: Field) {
        match self.field(&field.name) {
            Some(at) => self.fields[at] = field,
            None => self.fields.push(field),
        }
        self.reindex();
    }
}

/// A field of an object that refers to another object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChildLink {
    pub(crate) object: usize,
    pub(crate) field: usize,
}

/// All objects.
#[derive(Debug)]
pub(crate) struct Schema {
    objects: Vec<Object>,
    by_name: HashMap<String, usize>,
    by_prefix: HashMap<String, usize>,
    children: HashMap<usize, Vec<ChildLink>>,
    histories: HashMap<usize, usize>,
}

impl Schema {
    /// The standard objects.
    pub(crate) fn standard() -> Schema {
        let mut schema = Schema {
            objects: Vec::new(),
            by_name: HashMap::new(),
            by_prefix: HashMap::new(),
            children: HashMap::new(),
            histories: HashMap::new(),
        };
        for object in standard::objects() {
            schema.put(object);
        }
        schema
    }

    /// Adds an object, or replaces the one of the same name.
    pub(crate) fn put(&mut self, mut object: Object) -> usize {
        object.reindex();
        let at = match self.find(&object.name) {
            Some(at) => {
                self.objects[at] = object;
                at
            }
            None => {
                self.by_name
                    .insert(object.name.to_lowercase(), self.objects.len());
                self.by_prefix
                    .insert(object.prefix.clone(), self.objects.len());
                self.objects.push(object);
                self.objects.len() - 1
            }
        };
        self.relink();
        at
    }

    /// Adds a field to an object, or replaces it.
    pub(crate) fn put_field(&mut self, object: usize, field: Field) {
        if let Some(object) = self.objects.get_mut(object) {
            object.put_field(field);
        }
        self.relink();
    }

    /// Marks the fields that duplicate rules compare, and says whether that changed any.
    pub(crate) fn match_by(&mut self, object: usize, wanted: impl Fn(usize) -> bool) -> bool {
        let Some(object) = self.objects.get_mut(object) else {
            return false;
        };
        let mut changed = false;
        for (position, field) in object.fields.iter_mut().enumerate() {
            changed |= field.matched != wanted(position);
            field.matched = wanted(position);
        }
        changed
    }

    /// Moves a field to the bin of its object.
    pub(crate) fn delete_field(
        &mut self,
        object: usize,
        position: usize,
        at: crate::clock::Millis,
    ) {
        if let Some(object) = self.objects.get_mut(object) {
            object.delete_field(position, at);
        }
        self.relink();
    }

    /// Takes a field out of the bin. The caller made sure that its name is free.
    pub(crate) fn restore_field(&mut self, object: usize, name: &str) -> Option<Deleted> {
        let restored = self.objects.get_mut(object)?.restore_field(name);
        self.relink();
        restored
    }

    fn relink(&mut self) {
        let mut children: HashMap<usize, Vec<ChildLink>> = HashMap::new();
        for (object, definition) in self.objects.iter().enumerate() {
            for (field, f) in definition.fields.iter().enumerate() {
                if f.source != Source::Stored {
                    continue;
                }
                for parent in f.reference_to.iter().filter_map(|name| self.find(name)) {
                    children
                        .entry(parent)
                        .or_default()
                        .push(ChildLink { object, field });
                }
            }
        }
        self.children = children;
        self.histories = self
            .iter()
            .filter_map(|(at, object)| Some((self.find(object.history_of.as_ref()?)?, at)))
            .collect();
    }

    /// The position of an object.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        match self.by_name.get(name) {
            Some(at) => Some(*at),
            None => self.by_name.get(&name.to_lowercase()).copied(),
        }
    }

    /// The object whose ids start with this prefix.
    pub(crate) fn by_prefix(&self, prefix: &str) -> Option<usize> {
        self.by_prefix.get(prefix).copied()
    }

    /// The object at a position handed out by [`Schema::find`].
    pub(crate) fn object(&self, at: usize) -> &Object {
        &self.objects[at]
    }

    /// All objects with their positions.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Object)> {
        self.objects.iter().enumerate()
    }

    /// The lookups of other objects (and of itself) that refer to this one.
    pub(crate) fn children(&self, object: usize) -> &[ChildLink] {
        self.children.get(&object).map_or(&[], Vec::as_slice)
    }

    /// The object that holds the field history of this one.
    pub(crate) fn history(&self, object: usize) -> Option<usize> {
        self.histories.get(&object).copied()
    }

    /// How many objects there are.
    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }
}
