//! Columns that refer to another table.

use std::sync::Arc;

use super::drift::Loss;
use super::fields::undescribed;
use super::{Compiler, Prepared, near};
use crate::capture::CatalogColumn;
use crate::fault::Fault;
use crate::mapping::key::{KeyRule, can_be_key};
use crate::mapping::{FieldDescription, FieldKind, ObjectDescription, Reference};
use crate::value::ValueType;

/// A lookup, and how its parent's external id is made.
pub(super) struct Lookup {
    pub(super) field: Arc<FieldDescription>,
    /// It was ours and has vanished.
    pub(super) fault: Option<Fault>,
    pub(super) reference: Reference,
    pub(super) parent: Arc<KeyRule>,
}

impl<'a> Compiler<'a> {
    /// `columns.<name> = { field = "<field>", references = "<wanted>" }`.
    pub(super) fn reference(
        &mut self,
        table: &Prepared<'a>,
        all: &[Prepared<'a>],
        name: &str,
        column: &CatalogColumn,
        field: &str,
        wanted: &str,
    ) -> Option<Lookup> {
        let line = format!("columns.{name}");
        let at = table.place(&line);
        let Some(parent) = all.iter().find(|t| t.name == wanted) else {
            // A table that is configured but wrong has findings of its own.
            if !self.config.tables.contains_key(wanted) {
                let near = near(wanted, self.config.tables.keys().map(String::as_str));
                self.problem(
                    at,
                    format!("it refers to {wanted}, which is not configured{near}"),
                    format!(
                        "add [tables.\"{wanted}\"], or leave the column out: {{ ignore = true }}"
                    ),
                );
            } else if !self.fatal {
                // Its section does nothing, as the table has another name and section by now.
                self.wrong(
                    table.history.ran(),
                    table.name,
                    at,
                    format!("it refers to {wanted}, whose section does nothing"),
                    "refer to the section that has its rows",
                    &[field],
                );
            }
            return None;
        };
        let [parent_type] = parent.key_types.as_slice() else {
            self.problem(
                at,
                format!("{wanted} has a key of several columns, and one column cannot name its rows"),
                "give the parent an external id made of one column, or leave the column out: { ignore = true }",
            );
            return None;
        };
        let value_type = (self.types)(column.type_oid, column.typmod);
        if !can_be_key(&value_type) {
            let could =
                |then: &CatalogColumn| can_be_key(&(self.types)(then.type_oid, then.typmod));
            let drift = table.history.earlier(column).any(could);
            let lookup = table.object.and_then(|o| lookup_field(o, field));
            let lookup = lookup.map_or(field, |f| &*f.name);
            self.wrong(
                drift,
                table.name,
                at,
                format!("{} cannot name a row of {wanted}", column.type_name),
                "give the column the type of the key that it refers to",
                &[lookup],
            );
            return None;
        }
        if value_type != *parent_type && !alike(&value_type, parent_type) {
            self.warning(
                at.clone(),
                format!(
                    "its type ({}) is not the type of the key of {wanted}: the parent is found by its key's text, which has to be the same to the letter",
                    column.type_name
                ),
                "give the column the type of the key that it refers to",
            );
        }
        let (field, relationship, fault) = self.lookup(table, parent, &line, field)?;
        let polymorphic = field.reference_to.len() > 1;
        if polymorphic {
            self.note(
                at,
                format!(
                    "{} may point to several objects ({}); it is written as one of {}",
                    field.name,
                    field.reference_to.join(", "),
                    parent.object_name
                ),
            );
        }
        Some(Lookup {
            field,
            fault,
            reference: Reference {
                object: parent.id,
                object_name: parent.object_name.into(),
                key_field: parent.key.field.clone(),
                relationship,
                polymorphic,
            },
            parent: parent.key.clone(),
        })
    }

    /// The lookup field by its own name or its relationship's, and the latter.
    fn lookup(
        &mut self,
        table: &Prepared<'a>,
        parent: &Prepared<'a>,
        line: &str,
        wanted: &str,
    ) -> Option<(Arc<FieldDescription>, Box<str>, Option<Fault>)> {
        let at = table.place(line);
        let of_name = |name: &str| {
            let field = undescribed(name, FieldKind::Reference);
            (Arc::new(field), Box::from(wanted))
        };
        // The name under which we have written it: AccountId for Account, Parent__c for Parent__r.
        let custom = wanted.strip_suffix("__r").map(|base| format!("{base}__c"));
        let ours = [wanted.to_owned(), custom.unwrap_or(format!("{wanted}Id"))]
            .into_iter()
            .find(|name| self.ours(table, name));
        let Some(object) = table.object else {
            let name = ours.as_deref().filter(|_| table.lost).unwrap_or(wanted);
            let (field, relationship) = of_name(name);
            return Some((field, relationship, None));
        };
        let Some(field) = lookup_field(object, wanted) else {
            let Some(name) = ours else {
                self.no_field(object, &at, wanted);
                return None;
            };
            let fault = self.broken(table, line, &name, Loss::Vanished);
            let (field, relationship) = of_name(&name);
            return Some((field, relationship, Some(fault)));
        };
        let drift = self.ours(table, &field.name);
        let Some(relationship) = field
            .relationship
            .clone()
            .filter(|_| field.kind == FieldKind::Reference)
        else {
            self.wrong(
                drift,
                table.name,
                at,
                format!("{}.{} is not a lookup", object.name, field.name),
                "name a lookup field, or take `references` away",
                &[&field.name],
            );
            return None;
        };
        if !field
            .reference_to
            .iter()
            .any(|o| o.eq_ignore_ascii_case(parent.object_name))
        {
            self.wrong(
                drift,
                table.name,
                at,
                format!(
                    "{}.{} points to {}, but rows of {} become records of {}",
                    object.name,
                    field.name,
                    field.reference_to.join(", "),
                    parent.name,
                    parent.object_name
                ),
                "name the lookup that points to that object, or refer to the table that fills the other",
                &[&field.name],
            );
            return None;
        }
        Some((Arc::new(field.clone()), relationship, None))
    }
}

/// The lookup by its own name or its relationship's.
fn lookup_field<'o>(object: &'o ObjectDescription, wanted: &str) -> Option<&'o FieldDescription> {
    let by_relationship = |f: &&FieldDescription| {
        f.relationship
            .as_ref()
            .is_some_and(|r| r.eq_ignore_ascii_case(wanted))
    };
    object
        .field(wanted)
        .or_else(|| object.fields.iter().find(by_relationship))
}

/// Whether equal values of the two types have equal text.
fn alike(a: &ValueType, b: &ValueType) -> bool {
    use ValueType as T;
    let number = |t: &T| matches!(t, T::Int | T::Unsigned);
    let text = |t: &T| matches!(t, T::Text | T::PaddedText | T::Enum);
    number(a) && number(b) || text(a) && text(b)
}
