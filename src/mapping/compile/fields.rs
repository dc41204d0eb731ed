//! The fields of a target: their slots, constants, and what must not be left out.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::drift::Loss;
use super::{Compiler, Prepared, near};
use crate::config::{Priority, Routing, Unmapped as Route};
use crate::fault::Fault;
use crate::mapping::Removal;
use crate::mapping::coerce::{coerce, trim};
use crate::mapping::naming;
use crate::mapping::table::{ColumnMapping, DroppedColumn, TableMapping, Unmapped};
use crate::mapping::{
    Assigned, Assignment, Creation, FieldDescription, FieldId, FieldKind, ObjectDescription, Owner,
    Reference, Target, TargetField,
};
use crate::value::{Value, ValueType};

/// A table's rules while they are made.
pub(super) struct Draft {
    fields: Vec<TargetField>,
    /// The slot of the version field.
    pub(super) version: Option<u16>,
    /// Slots by the field's name in lower case.
    slots: HashMap<String, u16>,
    /// Who fills a field when a row is written, by the field's name in lower case.
    writers: HashMap<String, String>,
    pub(super) columns: HashMap<Box<str>, ColumnMapping>,
    pub(super) constants: Vec<Assigned>,
    pub(super) unmapped: Vec<Unmapped>,
    pub(super) dropped: Vec<DroppedColumn>,
    pub(super) removal: Removal,
    pub(super) creation: Creation,
    /// Attribute numbers of the columns that the configuration names.
    pub(super) explicit: BTreeSet<i16>,
    reserve: HashMap<Box<str>, (u16, Arc<FieldDescription>)>,
    key_field: Box<str>,
}

impl Draft {
    pub(super) fn new(table: &Prepared<'_>) -> Self {
        Draft {
            fields: Vec::new(),
            version: None,
            slots: HashMap::new(),
            writers: HashMap::new(),
            columns: HashMap::new(),
            constants: Vec::new(),
            unmapped: Vec::new(),
            dropped: Vec::new(),
            removal: Removal::Ignore,
            creation: Creation::default(),
            explicit: BTreeSet::new(),
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
            broken: None,
            owner: Owner::Source,
            kind: field.kind.clone(),
            scale: field.scale,
        });
        self.slots.insert(name, slot);
        slot
    }

    /// The field of that slot cannot be written any more.
    pub(super) fn break_field(&mut self, slot: u16, fault: Option<Fault>) {
        if let (Some(fault), Some(field)) = (fault, self.fields.get_mut(usize::from(slot))) {
            field.broken = Some(fault);
        }
    }

    /// Who has the last word on the field of that slot.
    pub(super) fn own(&mut self, slot: u16, owner: Owner) {
        if let Some(field) = self.fields.get_mut(usize::from(slot)) {
            field.owner = owner;
        }
    }

    /// Who fills the field when a row is written.
    pub(super) fn writer(&self, field: &str) -> Option<&str> {
        let writer = self.writers.get(&field.to_ascii_lowercase());
        writer.map(String::as_str)
    }

    /// Notes who fills a field; tells who did so before.
    pub(super) fn claim(&mut self, field: &str, writer: String) -> Option<String> {
        self.writers.insert(field.to_ascii_lowercase(), writer)
    }

    /// Whether something fills the field when a row is written.
    pub(super) fn written(&self, field: &str) -> bool {
        self.writer(field).is_some()
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
        halted: Option<Fault>,
        routing: Arc<Routing>,
    ) -> TableMapping {
        self.constants.sort_by_key(|c| c.slot);
        TableMapping {
            target: Arc::new(Target {
                id: table.id,
                table: table.name.into(),
                object: table.object_name.into(),
                key_field: table.key.field.clone(),
                removal: self.removal,
                on_crm_delete: table.table.on_crm_delete,
                creation: self.creation,
                fields: self.fields,
                version: self.version,
                halted: halted.clone(),
            }),
            oid: table.source.oid,
            halted,
            key: (*table.key).clone(),
            columns: self.columns,
            dropped: self.dropped,
            constants: self.constants,
            on_truncate: table.table.on_truncate,
            high: table.table.priority == Priority::High,
            routing,
            unmapped: self.unmapped,
            reserve: self.reserve,
            numbers: table
                .source
                .columns
                .iter()
                .map(|c| (c.attnum, c.name.clone()))
                .collect(),
        }
    }
}

/// A field of which the destination says nothing: it takes everything that its kind can.
pub(in crate::mapping) fn undescribed(name: &str, kind: FieldKind) -> FieldDescription {
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
        let fixed = field.createable && !field.updateable;
        let remedy = match field.relationship {
            Some(_) if fixed => {
                "a master-detail field keeps its first parent unless its definition allows reparenting: allow it; else leave the column out, { ignore = true }"
            }
            _ => {
                "give our user edit access to the field; formulas, roll-ups and the like cannot be written at all: leave the column out, { ignore = true }"
            }
        };
        self.problem(
            at.to_owned(),
            format!(
                "{}.{} cannot be written when our user wants to {what} a record",
                table.object_name, field.name
            ),
            remedy,
        );
    }

    /// It is one of our fields from earlier runs.
    pub(super) fn ours(&self, table: &Prepared<'_>, field: &str) -> bool {
        table.history.ran() && self.used(table.object_name, field)
    }

    /// The field of that name; how it is broken, if it was ours and has vanished.
    pub(super) fn field(
        &mut self,
        table: &Prepared<'_>,
        what: &str,
        wanted: &str,
        kind: FieldKind,
    ) -> Option<(Arc<FieldDescription>, Option<Fault>)> {
        let found = match table.object {
            None => return Some((Arc::new(undescribed(wanted, kind)), None)),
            Some(object) => object.field(wanted).ok_or(object),
        };
        match found {
            Ok(field) => Some((Arc::new(field.clone()), None)),
            Err(_) if self.ours(table, wanted) => {
                let fault = self.broken(table, what, wanted, Loss::Vanished);
                Some((Arc::new(undescribed(wanted, kind)), Some(fault)))
            }
            Err(object) => {
                self.no_field(object, &table.place(what), wanted);
                None
            }
        }
    }

    /// The field of that name, how it is broken, and the assignment that a value of the configuration
    /// makes.
    pub(super) fn constant(
        &mut self,
        table: &Prepared<'a>,
        what: &str,
        name: &str,
        value: &toml::Value,
    ) -> Option<(Arc<FieldDescription>, Option<Fault>, Assignment)> {
        let at = table.place(what);
        if table.key.field.eq_ignore_ascii_case(name) {
            self.problem(
                at,
                "the external id is made from the key columns",
                "take this line away",
            );
            return None;
        }
        let (field, fault) = self.field(table, what, name, kind_of(value))?;
        let assignment = self.assignment(table, &at, &field, value)?;
        Some((field, fault, assignment))
    }

    /// What a value of the configuration makes of a field. Empty text clears it: TOML has no null.
    pub(super) fn assignment(
        &mut self,
        table: &Prepared<'a>,
        at: &str,
        field: &FieldDescription,
        value: &toml::Value,
    ) -> Option<Assignment> {
        let ours = self.ours(table, &field.name);
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
                self.wrong(
                    ours,
                    table.name,
                    at.to_owned(),
                    format!("{} cannot be empty", field.name),
                    "give a value",
                    &[&field.name],
                );
                None
            }
            Err(refusal) => {
                self.wrong(
                    ours,
                    table.name,
                    at.to_owned(),
                    format!("the value for {} {}", field.name, refusal.words()),
                    "give a value that the field takes",
                    &[&field.name],
                );
                None
            }
        }
    }

    pub(super) fn constants(&mut self, table: &Prepared<'a>, draft: &mut Draft) {
        for (name, value) in &table.table.constants {
            let what = format!("constants.{name}");
            let at = table.place(&what);
            let Some((field, fault, assignment)) = self.constant(table, &what, name, value) else {
                continue;
            };
            let fault = fault.or_else(|| self.writable(table, &what, &field));
            if draft
                .claim(&field.name, format!("constants.{name}"))
                .is_some()
            {
                self.problem(at, format!("{} is named twice", field.name), "name it once");
                continue;
            }
            let slot = draft.slot(&field, None);
            draft.break_field(slot, fault);
            draft.constants.push(Assigned { slot, assignment });
        }
    }

    /// A field that rows fill is written at creation and later. How it is broken, if it was ours.
    pub(super) fn writable(
        &mut self,
        table: &Prepared<'_>,
        what: &str,
        field: &FieldDescription,
    ) -> Option<Fault> {
        let cannot = match (field.createable, field.updateable) {
            (true, true) => return None,
            (false, false) => "create or change",
            (false, true) => "create",
            (true, false) => "change",
        };
        if self.ours(table, &field.name) {
            return Some(self.broken(table, what, &field.name, Loss::ReadOnly));
        }
        self.not_writable(&table.place(what), table, field, cannot);
        None
    }

    /// Fields without which the CRM creates no record.
    pub(super) fn required(&mut self, table: &Prepared<'_>, draft: &Draft) {
        let Some(object) = table.object else {
            return;
        };
        for field in &object.fields {
            if required(field) && !draft.is_key_field(&field.name) && !draft.written(&field.name) {
                let what = format!(
                    "{} creates no record without {} ({}), and nothing fills it",
                    object.name, field.name, field.label
                );
                let remedy = format!(
                    "map a column to {0}, or give it a value: constants.{0} = …",
                    field.name
                );
                // It was not required when the table ran last, or we would have filled it.
                let since = table.history.ran()
                    && self.used_object(&object.name)
                    && !self.used(&object.name, &field.name);
                if since {
                    let what = format!("{what}: new records become dead letters");
                    self.drift(table.place("columns"), what, remedy);
                } else {
                    self.problem(table.place("columns"), what, remedy);
                }
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

/// The CRM creates no record without it.
pub(super) fn required(field: &FieldDescription) -> bool {
    field.createable
        && !field.nillable
        && !field.defaulted_on_create
        && field.kind != FieldKind::Boolean
}

fn kind_of(value: &toml::Value) -> FieldKind {
    match value {
        toml::Value::Boolean(_) => FieldKind::Boolean,
        toml::Value::Integer(_) | toml::Value::Float(_) => FieldKind::Decimal,
        _ => FieldKind::LongText,
    }
}
