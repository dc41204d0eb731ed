//! What each column means by its line in the configuration.

use std::borrow::Cow;
use std::sync::Arc;

use super::automatic::Wanted;
use super::fields::{Draft, required};
use super::history::Found;
use super::keys::longest;
use super::normal::zoned;
use super::{Compiler, Prepared};
use crate::capture::{CatalogColumn, CatalogTable};
use crate::config::{Column, ColumnRule, MissingField, NullRule, OnDrop, OnInvalid, Priority};
use crate::fault::Severity;
use crate::mapping::bind::null_by_default;
use crate::mapping::coerce::{Fit, fit};
use crate::mapping::derive::digits;
use crate::mapping::table::{Adjusted, ColumnMapping, DroppedColumn, FieldRule, NullAction};
use crate::mapping::{Assignment, FieldDescription, FieldKind, FieldValue};
use crate::value::ValueType;

impl<'a> Compiler<'a> {
    /// The column is there, but the stream has not come as far.
    fn is_coming(&self, source: &CatalogTable, name: &str) -> bool {
        let tables = self.remembered.coming.iter();
        let mut columns = tables
            .filter(|t| t.oid == source.oid)
            .flat_map(|t| &t.columns);
        columns.any(|c| *c.name == *name)
    }

    pub(super) fn columns(
        &mut self,
        table: &Prepared<'a>,
        all: &[Prepared<'a>],
        draft: &mut Draft,
    ) {
        let mut gone = Vec::new();
        for (name, column) in &table.table.columns {
            let line = format!("columns.{name}");
            let found = match table.history.find(table.source, name) {
                Found::Here(found) => found,
                Found::Renamed(found) => {
                    let words = format!("the column {name} is called {} now", found.name);
                    if table.table.columns.contains_key(&*found.name)
                        || draft.explicit.contains(&found.attnum)
                    {
                        self.warning(
                            table.place(&line),
                            format!("{words}, which has a line of its own: this one does nothing"),
                            format!("take {line} away"),
                        );
                        continue;
                    }
                    let rename = format!("call the line columns.{}", found.name);
                    self.renamed(table.name, table.place(&line), words, rename);
                    found
                }
                Found::Dropped {
                    was,
                    attnum,
                    hidden,
                } => {
                    gone.push((name, column, was, attnum, hidden));
                    continue;
                }
                Found::Never if self.is_coming(table.source, name) => continue,
                Found::Never => {
                    self.no_column(table.name, table.source, name, &line);
                    continue;
                }
            };
            draft.explicit.insert(found.attnum);
            let rule = whole(column);
            if rule.ignore {
                if rule.field.is_some() || rule.references.is_some() {
                    self.problem(
                        table.place(&line),
                        "it is left out (ignore = true) and mapped at once",
                        "take one of the two away",
                    );
                }
                draft
                    .columns
                    .insert(found.name.clone(), ColumnMapping::Ignored);
                continue;
            }
            if let Some(rule) = self.explicit(table, all, draft, name, found, &rule) {
                let mapped = ColumnMapping::Field(Arc::new(rule));
                draft.columns.insert(found.name.clone(), mapped);
            }
        }
        for (name, column, was, attnum, hidden) in gone {
            let rule = whole(column);
            if let Some(rule) = self.explicit_dropped(table, all, draft, name, was, &rule) {
                let clear = self.dropped(table, name, hidden, &rule, Severity::Warning);
                draft.dropped.push(DroppedColumn {
                    attnum,
                    name: was.name.clone(),
                    rule: Arc::new(rule),
                    clear,
                });
            }
        }
        let automatic = |column: &&CatalogColumn| {
            !draft.explicit.contains(&column.attnum) && !table.key_numbers.contains(&column.attnum)
        };
        let rest: Vec<&CatalogColumn> = table.source.columns.iter().filter(automatic).collect();
        // Those that have a field keep it, whatever the others are called by now.
        let (kept, rest): (Vec<_>, Vec<_>) = rest
            .into_iter()
            .partition(|column| self.kept(table, draft, column.attnum, column).is_some());
        for column in kept.into_iter().chain(rest) {
            self.route(table, draft, column);
        }
        self.dropped_automatic(table, draft);
    }

    /// The line `columns.<name>`, for a column that may have another name by now.
    fn explicit(
        &mut self,
        table: &Prepared<'a>,
        all: &[Prepared<'a>],
        draft: &mut Draft,
        name: &str,
        column: &'a CatalogColumn,
        rule: &ColumnRule,
    ) -> Option<FieldRule> {
        let line = format!("columns.{name}");
        let at = table.place(&line);
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
        let (field, fault, reference, parent) = match &rule.references {
            Some(references) => {
                let lookup = self.reference(table, all, name, column, wanted, references)?;
                let (reference, parent) = (lookup.reference, lookup.parent);
                (lookup.field, lookup.fault, Some(reference), Some(parent))
            }
            None => {
                let custom = wanted.to_ascii_lowercase().ends_with("__c");
                // What a message holds says too little of the field that it needs.
                let create = self.config.routing.missing_field == MissingField::Create;
                let make = create && custom && !table.outbox;
                if make
                    && table.object.is_some_and(|o| o.field(wanted).is_none())
                    && !self.ours(table, wanted)
                {
                    let wish = Wanted {
                        column,
                        value_type,
                        rule: None,
                    };
                    self.wish(table, draft, &wish, wanted, &line);
                    return None;
                }
                let kind = kind_for(&value_type);
                let (field, fault) = self.field(table, &line, wanted, kind)?;
                (field, fault, None, None)
            }
        };
        let fault = fault.or_else(|| self.writable(table, &line, &field));
        let normal = self.normal(table, &at, rule, &field, &value_type);
        let zoned = zoned(normal.as_deref(), &value_type);
        let fits = parent.is_some()
            || normal.as_ref().is_some_and(|n| n.covers())
            || self.fits(table, name, column, &field, &zoned);
        let null = self.null(table, &at, column, &field, &rule.null, parent.is_some());
        let on_invalid = self.on_invalid(&at, &field, rule.on_invalid, parent.is_some());
        if let Some(other) = draft.claim(&field.name, line) {
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
        draft.break_field(slot, fault);
        draft.own(
            slot,
            self.owner(table, &format!("columns.{name}"), &field.name, rule.owner),
        );
        fits.then_some(FieldRule {
            slot,
            field,
            null,
            normal,
            parent,
            value_type,
            automatic: false,
            backfill: false,
            high: rule.priority == Priority::High,
            on_invalid,
            adjusted: Adjusted::default(),
        })
    }

    /// What becomes of a value that the field cannot hold, where that can be done.
    fn on_invalid(
        &mut self,
        at: &str,
        field: &FieldDescription,
        wanted: OnInvalid,
        reference: bool,
    ) -> OnInvalid {
        let text = matches!(
            field.kind,
            FieldKind::Text | FieldKind::LongText | FieldKind::Phone | FieldKind::Url
        );
        let (what, remedy) = match wanted {
            OnInvalid::Truncate if !text || reference => (
                format!("{} holds no text that could be cut", field.name),
                "on_invalid = \"clear\" or \"reject\"",
            ),
            OnInvalid::Clear if null_by_default(field) != NullAction::Clear || reference => (
                format!("{} cannot be emptied", field.name),
                "on_invalid = \"reject\"",
            ),
            _ => return wanted,
        };
        self.problem(at.to_owned(), what, remedy);
        OnInvalid::Reject
    }

    /// The line of a column that is gone: nothing about it can be wrong any more.
    fn explicit_dropped(
        &mut self,
        table: &Prepared<'a>,
        all: &[Prepared<'a>],
        draft: &mut Draft,
        name: &str,
        was: &'a CatalogColumn,
        rule: &ColumnRule,
    ) -> Option<FieldRule> {
        if rule.ignore {
            return None;
        }
        let field = rule.field.as_deref().unwrap_or_default();
        if let Some(writer) = draft.writer(field) {
            let line = format!("columns.{name}");
            let what =
                format!("the column is gone, and {writer} fills {field}: this line does nothing");
            self.warning(table.place(&line), what, format!("take {line} away"));
            return None;
        }
        let findings = self.findings.len();
        let wishes = self.wishes.len();
        let (fatal, halts) = (self.fatal, self.halts.clone());
        let mapped = self.explicit(table, all, draft, name, was, rule);
        self.findings.truncate(findings);
        self.wishes.truncate(wishes);
        (self.fatal, self.halts) = (fatal, halts);
        if mapped.is_none() {
            let line = format!("columns.{name}");
            let what = "the column is gone, and so is what it filled";
            self.warning(table.place(&line), what, format!("take {line} away"));
        }
        mapped
    }

    /// Tells of a column that is gone, and what rows without it do to its field.
    pub(super) fn dropped(
        &mut self,
        table: &Prepared<'a>,
        name: &str,
        hidden: bool,
        rule: &FieldRule,
        severity: Severity,
    ) -> Option<Assignment> {
        let field = &rule.field.name;
        let at = table.place(&format!("columns.{name}"));
        let gone = if hidden {
            "the publication no longer sends this column"
        } else {
            "the table no longer has this column"
        };
        let remedy = "take the line away, or bring the column back (ALTER TABLE, or the column list of the publication)";
        if hidden || self.config.routing.on_drop == OnDrop::Keep {
            let mut what = format!("{gone}; {field} is left as it is");
            let mut severity = severity;
            if required(&rule.field) {
                what.push_str(", and as the CRM requires it, new records become dead letters");
                severity = Severity::Warning;
            }
            self.find(severity, at, what, remedy);
            return None;
        }
        let action = match &rule.null {
            NullAction::Skip => null_by_default(&rule.field),
            other => other.clone(),
        };
        let clear = match action {
            NullAction::Write(value) => Assignment::Set(value),
            NullAction::Clear => Assignment::Clear,
            NullAction::Skip | NullAction::Refuse => {
                let what = format!(
                    "{gone}, and routing.on_drop = \"clear\", but {field} takes no null: it is left as it is"
                );
                self.warning(at, what, "null = { default = … }, or take the line away");
                return None;
            }
        };
        let what = format!("{gone}; {field} is cleared when a row changes");
        self.find(severity, at, what, remedy);
        Some(clear)
    }

    /// Whether the field takes the column's type; says what it costs.
    pub(super) fn fits(
        &mut self,
        table: &Prepared<'a>,
        name: &str,
        column: &CatalogColumn,
        field: &FieldDescription,
        value_type: &ValueType,
    ) -> bool {
        let at = || table.place(&format!("columns.{name}"));
        let (from, to) = (&column.type_name, &field.name);
        match fit(field, value_type) {
            Fit::Never(why) => {
                let fitted = |then: &CatalogColumn| {
                    let then = (self.types)(then.type_oid, then.typmod);
                    !matches!(fit(field, &then), Fit::Never(_))
                };
                let mut earlier = table.history.earlier(column).peekable();
                let drift = earlier.peek().is_some() && self.ours(table, to) || earlier.any(fitted);
                self.wrong(
                    drift,
                    table.name,
                    at(),
                    format!("{to} cannot take {from}: {why}"),
                    "map the column to a field of a fitting type, or leave it out: { ignore = true }",
                    &[to],
                );
                return false;
            }
            // JSON has no more types than texts can tell.
            Fit::Partly(_) if table.outbox => {}
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
        {
            return;
        }
        let Some((precision, scale)) = digits(column.typmod) else {
            return;
        };
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
    pub(super) fn null(
        &mut self,
        table: &Prepared<'a>,
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
            NullRule::Default(value) => match self.assignment(table, &at(), field, value) {
                Some(Assignment::Set(value)) => NullAction::Write(value),
                Some(Assignment::Clear) => {
                    self.problem(at(), "the default is empty", "null = \"clear\"");
                    NullAction::Clear
                }
                // Told already.
                None => NullAction::Refuse,
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

fn whole(column: &Column) -> Cow<'_, ColumnRule> {
    match column {
        Column::Rule(rule) => Cow::Borrowed(rule),
        Column::Field(field) => Cow::Owned(ColumnRule {
            field: Some(field.clone()),
            ..ColumnRule::default()
        }),
    }
}

/// The kind of an undescribed field: what its column is.
pub(super) fn kind_for(value_type: &ValueType) -> FieldKind {
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
