//! What each column means: by an explicit rule, else by the naming rule.

use std::sync::Arc;

use super::fields::{Draft, undescribed};
use super::keys::longest;
use super::normal::zoned;
use super::{Compiler, Prepared};
use crate::capture::CatalogColumn;
use crate::config::{Column, ColumnRule, NullRule, Unmapped as Route};
use crate::fault::Severity;
use crate::mapping::bind::{null_by_default, unmapped};
use crate::mapping::coerce::{Fit, fit};
use crate::mapping::naming;
use crate::mapping::table::{ColumnMapping, FieldRule, NullAction, Unmapped};
use crate::mapping::{Assignment, FieldDescription, FieldKind, FieldValue};
use crate::value::ValueType;

impl<'a> Compiler<'a> {
    pub(super) fn columns(
        &mut self,
        table: &Prepared<'a>,
        all: &[Prepared<'a>],
        draft: &mut Draft,
    ) {
        for (name, column) in &table.table.columns {
            let at = table.place(&format!("columns.{name}"));
            let found = self.column(table.name, table.source, name, &format!("columns.{name}"));
            let Some(found) = found else {
                continue;
            };
            let plain;
            let rule = match column {
                Column::Rule(rule) => rule,
                Column::Field(field) => {
                    plain = ColumnRule {
                        field: Some(field.clone()),
                        ..ColumnRule::default()
                    };
                    &plain
                }
            };
            if rule.ignore {
                if rule.field.is_some() || rule.references.is_some() {
                    self.problem(
                        at,
                        "it is left out (ignore = true) and mapped at once",
                        "take one of the two away",
                    );
                }
                draft
                    .columns
                    .insert(name.as_str().into(), ColumnMapping::Ignored);
                continue;
            }
            if let Some(mapped) = self.explicit(table, all, draft, found, rule) {
                draft.columns.insert(name.as_str().into(), mapped);
            }
        }
        for column in &table.source.columns {
            let explicit = table.table.columns.contains_key(&*column.name);
            if !explicit && !table.key.columns.contains(&column.name) {
                self.route(table, draft, column);
            }
        }
    }

    fn explicit(
        &mut self,
        table: &Prepared<'a>,
        all: &[Prepared<'a>],
        draft: &mut Draft,
        column: &CatalogColumn,
        rule: &ColumnRule,
    ) -> Option<ColumnMapping> {
        let at = table.place(&format!("columns.{}", column.name));
        let Some(wanted) = rule.field.as_deref() else {
            self.problem(
                at,
                "the rule names no field",
                "field = \"…\", or leave the column out: { ignore = true }",
            );
            return None;
        };
        if draft.is_key_field(wanted) {
            self.problem(
                at,
                format!("{wanted} is the external id, which is made from the key columns"),
                "map the column to another field, or take this line away",
            );
            return None;
        }
        let value_type = (self.types)(column.type_oid, column.typmod);
        let (field, reference, parent) = match &rule.references {
            Some(references) => {
                let lookup = self.reference(table, all, column, wanted, references)?;
                (lookup.field, Some(lookup.reference), Some(lookup.parent))
            }
            None => match table.object {
                None => (
                    Arc::new(undescribed(wanted, kind_for(&value_type))),
                    None,
                    None,
                ),
                Some(object) => match object.field(wanted) {
                    Some(field) => (Arc::new(field.clone()), None, None),
                    None => {
                        self.no_field(object, &at, wanted);
                        return None;
                    }
                },
            },
        };
        self.writable(table, &at, &field);
        let normal = self.normal(&at, rule, &field, &value_type);
        let fits = parent.is_some()
            || normal.as_ref().is_some_and(|n| n.covers())
            || self.fits(
                table,
                column,
                &field,
                &zoned(normal.as_deref(), &value_type),
            );
        let null = self.null(&at, column, &field, &rule.null, parent.is_some());
        let writer = format!("columns.{}", column.name);
        if let Some(other) = draft.claim(&field.name, writer) {
            self.problem(
                at,
                format!(
                    "{} is filled by {other} already: one field, one source",
                    field.name
                ),
                "map one of the two to another field, or leave it out: { ignore = true }",
            );
            return None;
        }
        let slot = draft.slot(&field, reference);
        fits.then(|| {
            ColumnMapping::Field(Arc::new(FieldRule {
                slot,
                field,
                null,
                normal,
                parent,
                value_type,
                automatic: false,
            }))
        })
    }

    /// A column without an explicit rule.
    fn route(&mut self, table: &Prepared<'a>, draft: &mut Draft, column: &CatalogColumn) {
        let at = table.place(&format!("columns.{}", column.name));
        let routing = self.config.routing;
        let value_type = (self.types)(column.type_oid, column.typmod);
        if routing.unmapped == Route::Auto
            && let Some(field) = self.named(table, draft, column, &value_type)
        {
            draft.claim(
                &field.name,
                format!("columns.{} (by its name)", column.name),
            );
            self.note(
                at.clone(),
                format!("it goes to {} by the naming rule", field.name),
            );
            self.fits(table, column, &field, &value_type);
            let null = self.null(&at, column, &field, &NullRule::Clear, false);
            let slot = draft.slot(&field, None);
            let rule = FieldRule {
                slot,
                field,
                null,
                normal: None,
                parent: None,
                value_type,
                automatic: true,
            };
            draft
                .columns
                .insert(column.name.clone(), ColumnMapping::Field(Arc::new(rule)));
            return;
        }
        let (why, halt) = unmapped(routing.unmapped, routing.missing_field, &column.name);
        let severity = if halt {
            Severity::Problem
        } else {
            Severity::Note
        };
        let remedy = "map it, or say that it is left out: { ignore = true }";
        self.find(severity, at, why.clone(), remedy);
        draft.unmapped.push(Unmapped {
            column: column.name.clone(),
            why: why.into(),
        });
    }

    /// The field that the naming rule gives.
    fn named(
        &self,
        table: &Prepared<'a>,
        draft: &Draft,
        column: &CatalogColumn,
        value_type: &ValueType,
    ) -> Option<Arc<FieldDescription>> {
        let names = naming::candidates(&column.name);
        let Some(object) = table.object else {
            let [custom, _] = names;
            let free = !draft.is_key_field(&custom) && !draft.written(&custom);
            return free.then(|| Arc::new(undescribed(&custom, kind_for(value_type))));
        };
        let field = names.iter().find_map(|name| {
            let field = object.field(name)?;
            let free = !draft.is_key_field(&field.name) && !draft.written(&field.name);
            (free && naming::suits(field, value_type)).then_some(field)
        });
        field.map(|f| Arc::new(f.clone()))
    }

    /// Whether the field takes the column's type; says what it costs.
    fn fits(
        &mut self,
        table: &Prepared<'_>,
        column: &CatalogColumn,
        field: &FieldDescription,
        value_type: &ValueType,
    ) -> bool {
        let at = || table.place(&format!("columns.{}", column.name));
        let (from, to) = (&column.type_name, &field.name);
        match fit(field, value_type) {
            Fit::Never(why) => {
                self.problem(
                    at(),
                    format!("{to} cannot take {from}: {why}"),
                    "map the column to a field of a fitting type, or leave it out: { ignore = true }",
                );
                return false;
            }
            Fit::Partly(why) => self.warning(
                at(),
                format!("{from} to {to}: {why}"),
                "map the column to a field of its own type, if that is not meant",
            ),
            Fit::Whole => {}
        }
        if field.restricted && matches!(field.kind, FieldKind::Picklist | FieldKind::MultiPicklist)
        {
            self.note(
                at(),
                format!(
                    "{to} takes the {} values of its list only; rows with another become dead letters",
                    field.picklist.len()
                ),
            );
        }
        let textual = matches!(
            field.kind,
            FieldKind::Text
                | FieldKind::LongText
                | FieldKind::Email
                | FieldKind::Phone
                | FieldKind::Url
                | FieldKind::Picklist
        );
        if textual
            && let Some(longest) = longest(value_type, column.typmod)
            && field.length > 0
            && longest > field.length as usize
        {
            self.warning(
                at(),
                format!(
                    "{from} can be longer than the {} characters of {to}; such rows become dead letters, nothing is cut",
                    field.length
                ),
                "lengthen the field, or shorten the column",
            );
        }
        self.digits(&at(), column, field, value_type);
        true
    }

    /// Whether `numeric(p, s)` fits the field's digits.
    fn digits(
        &mut self,
        at: &str,
        column: &CatalogColumn,
        field: &FieldDescription,
        value_type: &ValueType,
    ) {
        if *value_type != ValueType::Numeric
            || field.kind != FieldKind::Decimal
            || field.precision == 0
            || column.typmod < 4
        {
            return;
        }
        // Precision in the upper half, an 11-bit signed scale in the lower:
        // src/backend/utils/adt/numeric.c.
        let packed = column.typmod - 4;
        let precision = i64::from(packed >> 16 & 0xFFFF);
        let scale = i64::from(((packed & 0x7FF) ^ 1024) - 1024);
        let (field_precision, field_scale) = (i64::from(field.precision), i64::from(field.scale));
        if scale > field_scale {
            self.warning(
                at.to_owned(),
                format!(
                    "{} has {scale} digits right of the point, {} keeps {field_scale}: the rest is rounded away",
                    column.type_name, field.name
                ),
                "give the field more decimal places, if they matter",
            );
        }
        if precision - scale > field_precision - field_scale {
            self.warning(
                at.to_owned(),
                format!(
                    "{} has more digits left of the point than {}; rows with larger numbers become dead letters",
                    column.type_name, field.name
                ),
                "lengthen the field, or narrow the column",
            );
        }
    }

    /// What a NULL does.
    fn null(
        &mut self,
        at: &str,
        column: &CatalogColumn,
        field: &FieldDescription,
        rule: &NullRule,
        reference: bool,
    ) -> NullAction {
        let at = || at.to_owned();
        let nullable = !column.not_null;
        match rule {
            NullRule::Skip => {
                if nullable && !field.nillable && !field.defaulted_on_create {
                    self.warning(
                        at(),
                        format!(
                            "a new row with NULL here leaves out {}, which the CRM requires",
                            field.name
                        ),
                        "null = { default = … }",
                    );
                }
                NullAction::Skip
            }
            NullRule::Default(value) if reference => {
                let key = match value {
                    toml::Value::String(s) if !s.is_empty() => Some(s.as_str().into()),
                    toml::Value::Integer(n) => {
                        Some(compact_str::ToCompactString::to_compact_string(n))
                    }
                    _ => None,
                };
                match key {
                    Some(key) => NullAction::Write(FieldValue::Reference(key)),
                    None => {
                        self.problem(
                            at(),
                            "the default of a reference is the key of a row of the table it refers to",
                            "give a text or a whole number, or take the default away",
                        );
                        NullAction::Clear
                    }
                }
            }
            NullRule::Default(value) => match self.assignment(&at(), field, value) {
                Some(Assignment::Set(value)) => NullAction::Write(value),
                Some(Assignment::Clear) => {
                    self.problem(at(), "the default is empty", "null = \"clear\"");
                    NullAction::Clear
                }
                None => NullAction::Clear,
            },
            NullRule::Clear => {
                let action = null_by_default(field);
                if nullable && action == NullAction::Refuse {
                    self.warning(
                        at(),
                        format!(
                            "the column may be NULL, but {} takes no null; such rows become dead letters",
                            field.name
                        ),
                        "null = { default = … } or null = \"skip\"",
                    );
                } else if nullable && field.kind == FieldKind::Boolean {
                    self.warning(
                        at(),
                        format!(
                            "{} is never null in the CRM: NULL is written as false",
                            field.name
                        ),
                        "null = { default = … } or null = \"skip\", if false is not meant",
                    );
                }
                action
            }
        }
    }
}

/// The kind of an undescribed field: what its column is.
fn kind_for(value_type: &ValueType) -> FieldKind {
    match value_type {
        ValueType::Bool => FieldKind::Boolean,
        ValueType::Int | ValueType::Unsigned | ValueType::Float | ValueType::Numeric => {
            FieldKind::Decimal
        }
        ValueType::Date => FieldKind::Date,
        ValueType::Time | ValueType::TimeTz => FieldKind::Time,
        ValueType::Timestamp | ValueType::TimestampTz => FieldKind::DateTime,
        _ => FieldKind::LongText,
    }
}
