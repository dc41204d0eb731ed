//! The fields of a target: their slots, constants, and what must not be left out.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Compiler, Prepared, near};
use crate::config::{Routing, Unmapped as Route};
use crate::mapping::Removal;
use crate::mapping::coerce::{coerce, trim};
use crate::mapping::naming;
use crate::mapping::table::{ColumnMapping, TableMapping, Unmapped};
use crate::mapping::{
    Assigned, Assignment, FieldDescription, FieldId, FieldKind, ObjectDescription, Reference,
    Target, TargetField,
};
use crate::value::{Value, ValueType};

/// A table's rules while they are made.
pub(super) struct Draft {
    fields: Vec<TargetField>,
    /// Slots by the field's name in lower case.
    slots: HashMap<String, u16>,
    /// Who fills a field when a row is written, by the field's name in lower case.
    writers: HashMap<String, String>,
    pub(super) columns: HashMap<Box<str>, ColumnMapping>,
    pub(super) constants: Vec<Assigned>,
    pub(super) unmapped: Vec<Unmapped>,
    reserve: HashMap<Box<str>, (u16, Arc<FieldDescription>)>,
    key_field: Box<str>,
}

impl Draft {
    pub(super) fn new(table: &Prepared<'_>) -> Self {
        Draft {
            fields: Vec::new(),
            slots: HashMap::new(),
            writers: HashMap::new(),
            columns: HashMap::new(),
            constants: Vec::new(),
            unmapped: Vec::new(),
            reserve: HashMap::new(),
            key_field: table.key.field.clone(),
        }
    }

    /// The slot of a field, made when it has none.
    pub(super) fn slot(&mut self, field: &FieldDescription, reference: Option<Reference>) -> u16 {
        let name = field.name.to_ascii_lowercase();
        if let Some(slot) = self.slots.get(&name) {
            return *slot;
        }
        // No object has 65,536 fields: Salesforce allows 800.
        let slot = u16::try_from(self.fields.len()).unwrap_or(u16::MAX);
        self.fields.push(TargetField {
            id: FieldId::new(&field.name),
            name: field.name.clone(),
            reference,
            unique: field.unique,
        });
        self.slots.insert(name, slot);
        slot
    }

    /// Notes who fills a field; tells who did so before.
    pub(super) fn claim(&mut self, field: &str, writer: String) -> Option<String> {
        self.writers.insert(field.to_ascii_lowercase(), writer)
    }

    /// Whether something fills the field when a row is written.
    pub(super) fn written(&self, field: &str) -> bool {
        self.writers.contains_key(&field.to_ascii_lowercase())
    }

    pub(super) fn is_key_field(&self, field: &str) -> bool {
        self.key_field.eq_ignore_ascii_case(field)
    }

    /// Gives slots to the fields that a column added later could reach by the naming rule.
    pub(super) fn reserve(&mut self, table: &Prepared<'_>, route: Route) {
        let (Route::Auto, Some(object)) = (route, table.object) else {
            return;
        };
        for field in object.fields.iter().filter(|f| naming::eligible(f)) {
            if !self.is_key_field(&field.name) {
                let slot = self.slot(field, None);
                let name = field.name.to_ascii_lowercase().into_boxed_str();
                self.reserve.insert(name, (slot, Arc::new(field.clone())));
            }
        }
    }

    pub(super) fn finish(
        mut self,
        table: &Prepared<'_>,
        removal: Removal,
        routing: Routing,
    ) -> TableMapping {
        self.constants.sort_by_key(|c| c.slot);
        TableMapping {
            target: Arc::new(Target {
                id: table.id,
                table: table.name.into(),
                object: table.object_name.into(),
                key_field: table.key.field.clone(),
                removal,
                fields: self.fields,
            }),
            key: (*table.key).clone(),
            columns: self.columns,
            constants: self.constants,
            on_truncate: table.table.on_truncate,
            routing,
            unmapped: self.unmapped,
            reserve: self.reserve,
        }
    }
}

/// A field of which the destination says nothing: it takes everything that its kind can.
pub(super) fn undescribed(name: &str, kind: FieldKind) -> FieldDescription {
    FieldDescription {
        name: name.into(),
        label: name.into(),
        kind,
        length: 0,
        precision: 0,
        scale: u32::MAX,
        nillable: true,
        defaulted_on_create: false,
        createable: true,
        updateable: true,
        external_id: false,
        unique: false,
        case_sensitive: true,
        restricted: false,
        picklist: Vec::new(),
        reference_to: Vec::new(),
        relationship: None,
    }
}

impl<'a> Compiler<'a> {
    pub(super) fn no_field(&mut self, object: &ObjectDescription, at: &str, wanted: &str) {
        let relationships = object
            .fields
            .iter()
            .filter_map(|f| f.relationship.as_deref());
        let names = object.fields.iter().map(|f| &*f.name).chain(relationships);
        let near = near(wanted, names);
        self.problem(
            at.to_owned(),
            format!(
                "{} has no field {wanted}, or our user cannot see it{near}",
                object.name
            ),
            "check the API name (custom fields end in __c) and the field's visibility for our user",
        );
    }

    pub(super) fn not_writable(
        &mut self,
        at: &str,
        table: &Prepared<'_>,
        field: &FieldDescription,
        what: &str,
    ) {
        self.problem(
            at.to_owned(),
            format!(
                "{}.{} cannot be written when our user wants to {what} a record",
                table.object_name, field.name
            ),
            "give our user edit access to the field; formulas, roll-ups and the like cannot be written at all: leave the column out, { ignore = true }",
        );
    }

    /// The field of that name and the assignment that a value of the configuration makes.
    pub(super) fn constant(
        &mut self,
        table: &Prepared<'a>,
        at: &str,
        name: &str,
        value: &toml::Value,
    ) -> Option<(Arc<FieldDescription>, Assignment)> {
        if table.key.field.eq_ignore_ascii_case(name) {
            self.problem(
                at.to_owned(),
                "the external id is made from the key columns",
                "take this line away",
            );
            return None;
        }
        let field = match table.object {
            Some(object) => match object.field(name) {
                Some(field) => Arc::new(field.clone()),
                None => {
                    self.no_field(object, at, name);
                    return None;
                }
            },
            None => Arc::new(undescribed(name, kind_of(value))),
        };
        let assignment = self.assignment(at, &field, value)?;
        Some((field, assignment))
    }

    /// What a value of the configuration makes of a field. Empty text clears it: TOML has no null.
    pub(super) fn assignment(
        &mut self,
        at: &str,
        field: &FieldDescription,
        value: &toml::Value,
    ) -> Option<Assignment> {
        let text;
        let (value_type, value) = match value {
            toml::Value::String(s) => (ValueType::Text, Value::Text(s)),
            toml::Value::Integer(n) => (ValueType::Int, Value::Int(*n)),
            toml::Value::Float(f) => (ValueType::Float, Value::Float(*f)),
            toml::Value::Boolean(b) => (ValueType::Bool, Value::Bool(*b)),
            toml::Value::Datetime(at) => {
                text = at.to_string();
                (ValueType::Text, Value::Text(text.as_str()))
            }
            toml::Value::Array(_) | toml::Value::Table(_) => {
                self.problem(
                    at.to_owned(),
                    format!("{} takes one value, not a list or a table", field.name),
                    "write several values of a list as \"A;B\"",
                );
                return None;
            }
        };
        let empty = matches!(&value, Value::Text(s) if trim(s).is_empty());
        match coerce(field, &value_type, &value) {
            Ok(Some(value)) => Some(Assignment::Set(value)),
            Ok(None) if empty && field.nillable && field.kind != FieldKind::Boolean => {
                Some(Assignment::Clear)
            }
            Ok(None) => {
                self.problem(
                    at.to_owned(),
                    format!("{} cannot be empty", field.name),
                    "give a value",
                );
                None
            }
            Err(refusal) => {
                self.problem(
                    at.to_owned(),
                    format!("the value for {} {}", field.name, refusal.words()),
                    "give a value that the field takes",
                );
                None
            }
        }
    }

    pub(super) fn constants(&mut self, table: &Prepared<'a>, draft: &mut Draft) {
        for (name, value) in &table.table.constants {
            let at = table.place(&format!("constants.{name}"));
            let Some((field, assignment)) = self.constant(table, &at, name, value) else {
                continue;
            };
            self.writable(table, &at, &field);
            if draft
                .claim(&field.name, format!("constants.{name}"))
                .is_some()
            {
                self.problem(at, format!("{} is named twice", field.name), "name it once");
                continue;
            }
            let slot = draft.slot(&field, None);
            draft.constants.push(Assigned { slot, assignment });
        }
    }

    /// A field that rows fill is written at creation and later.
    pub(super) fn writable(&mut self, table: &Prepared<'_>, at: &str, field: &FieldDescription) {
        if !field.createable && !field.updateable {
            self.not_writable(at, table, field, "create or change");
        } else if !field.createable {
            self.not_writable(at, table, field, "create");
        } else if !field.updateable {
            self.not_writable(at, table, field, "change");
        }
    }

    /// Fields without which the CRM creates no record.
    pub(super) fn required(&mut self, table: &Prepared<'_>, draft: &Draft) {
        let Some(object) = table.object else {
            return;
        };
        for field in &object.fields {
            let required = field.createable
                && !field.nillable
                && !field.defaulted_on_create
                && field.kind != FieldKind::Boolean;
            if required && !draft.is_key_field(&field.name) && !draft.written(&field.name) {
                self.problem(
                    table.place("columns"),
                    format!(
                        "{} creates no record without {} ({}), and nothing fills it",
                        object.name, field.name, field.label
                    ),
                    format!(
                        "map a column to {0}, or give it a value: constants.{0} = …",
                        field.name
                    ),
                );
            }
        }
    }

    /// Fields are known by numbers; no two may share one.
    pub(super) fn numbers(&mut self, table: &Prepared<'_>, draft: &Draft) {
        let mut seen: HashMap<FieldId, &str> = HashMap::new();
        for field in &draft.fields {
            if let Some(other) = seen.insert(field.id, &field.name) {
                self.problem(
                    table.place("columns"),
                    format!(
                        "the fields {other} and {} happen to have the same number",
                        field.name
                    ),
                    "rename one of the two fields in the CRM, or hide one from our user",
                );
            }
        }
    }
}

fn kind_of(value: &toml::Value) -> FieldKind {
    match value {
        toml::Value::Boolean(_) => FieldKind::Boolean,
        toml::Value::Integer(_) | toml::Value::Float(_) => FieldKind::Decimal,
        _ => FieldKind::LongText,
    }
}
