//! Columns that refer to another table.

use std::sync::Arc;

use super::{Compiler, Prepared, near};
use crate::capture::CatalogColumn;
use crate::mapping::key::{KeyRule, can_be_key};
use crate::mapping::{FieldDescription, FieldKind, Reference};
use crate::value::ValueType;

/// A lookup, and how its parent's external id is made.
pub(super) struct Lookup {
    pub(super) field: Arc<FieldDescription>,
    pub(super) reference: Reference,
    pub(super) parent: Arc<KeyRule>,
}

impl<'a> Compiler<'a> {
    /// `columns.<column> = { field = "<field>", references = "<wanted>" }`.
    pub(super) fn reference(
        &mut self,
        table: &Prepared<'a>,
        all: &[Prepared<'a>],
        column: &CatalogColumn,
        field: &str,
        wanted: &str,
    ) -> Option<Lookup> {
        let at = table.place(&format!("columns.{}", column.name));
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
            self.problem(
                at,
                format!("{} cannot name a row of {wanted}", column.type_name),
                "give the column the type of the key that it refers to",
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
        let (field, relationship) = self.lookup(table, parent, &at, field)?;
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
        at: &str,
        wanted: &str,
    ) -> Option<(Arc<FieldDescription>, Box<str>)> {
        let Some(object) = table.object else {
            return Some((
                Arc::new(super::fields::undescribed(wanted, FieldKind::Reference)),
                wanted.into(),
            ));
        };
        let by_relationship = |f: &&FieldDescription| {
            f.relationship
                .as_ref()
                .is_some_and(|r| r.eq_ignore_ascii_case(wanted))
        };
        let found = object
            .field(wanted)
            .or_else(|| object.fields.iter().find(by_relationship));
        let Some(field) = found else {
            self.no_field(object, at, wanted);
            return None;
        };
        let Some(relationship) = field
            .relationship
            .clone()
            .filter(|_| field.kind == FieldKind::Reference)
        else {
            self.problem(
                at.to_owned(),
                format!("{}.{} is not a lookup", object.name, field.name),
                "name a lookup field, or take `references` away",
            );
            return None;
        };
        if !field
            .reference_to
            .iter()
            .any(|o| o.eq_ignore_ascii_case(parent.object_name))
        {
            self.problem(
                at.to_owned(),
                format!(
                    "{}.{} points to {}, but rows of {} become records of {}",
                    object.name,
                    field.name,
                    field.reference_to.join(", "),
                    parent.name,
                    parent.object_name
                ),
                "name the lookup that points to that object, or refer to the table that fills the other",
            );
            return None;
        }
        Some((Arc::new(field.clone()), relationship))
    }
}

/// Whether equal values of the two types have equal text.
fn alike(a: &ValueType, b: &ValueType) -> bool {
    use ValueType as T;
    let number = |t: &T| matches!(t, T::Int | T::Unsigned);
    let text = |t: &T| matches!(t, T::Text | T::PaddedText | T::Enum);
    number(a) && number(b) || text(a) && text(b)
}
