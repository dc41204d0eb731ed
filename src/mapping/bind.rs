//! The rules of a table tied to one version of its schema: done once a Relation message, so that a
//! row needs no name.

use std::sync::Arc;

use smallvec::SmallVec;

use super::coerce::{Fit, fit};
use super::contract::Check;
use super::key::can_be_key;
use super::naming;
use super::stamp::Stamp;
use super::table::{
    Adjusted, ColumnMapping, FieldRule, Mapping, NullAction, TABLE_HALTED, TableMapping, Unmapped,
};
use super::{Assignment, FieldDescription, FieldKind, FieldValue, Removal};
use crate::change::{Column, Relation, ReplicaIdentity};
use crate::config::{MissingField, OnInvalid, RoutingRule, Unmapped as Routing, matches};
use crate::fault::{Class, Fault, Finding, Severity};
use crate::value::ValueType;

/// What the rows of one relation become.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The relation it was made for: only its rows may be given to it.
    pub relation: Arc<Relation>,
    /// What is to be said of this version of the schema. None is a [`Severity::Problem`]: what does
    /// not fit halts the table.
    pub findings: Vec<Finding>,
    /// Columns that go nowhere, and why.
    pub unmapped: Vec<Unmapped>,
    /// None: the table is not configured, and its changes are ignored.
    pub(super) bound: Option<Bound>,
}

#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub(super) table: Arc<TableMapping>,
    /// Sorted by slot.
    pub(super) steps: Vec<Step>,
    pub(super) key: SmallVec<[KeyColumn; 2]>,
    /// A key column is gone: no row can be named.
    pub(super) keyless: bool,
    /// Nothing may be sent: every change is rejected with this.
    pub(super) halted: Option<Fault>,
    /// Columns whose old values a deleted row leaves on its record.
    pub(super) olds: Vec<OldColumn>,
    /// What the contract says, beside each step; empty without one.
    pub(super) checks: Vec<Option<Check>>,
    /// Contested fields, by slot, and the columns that fill them.
    pub(super) contested: SmallVec<[(u16, usize); 4]>,
}

#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) slot: u16,
    pub(super) source: StepSource,
}

#[derive(Clone, Debug)]
pub(super) enum StepSource {
    Constant(Assignment),
    Column {
        index: usize,
        value_type: ValueType,
        rule: Arc<FieldRule>,
    },
}

/// A column of the old row, by the name that templates know it by.
#[derive(Clone, Debug)]
pub(super) struct OldColumn {
    pub(super) name: Box<str>,
    pub(super) index: usize,
    /// Part of the replica identity.
    pub(super) key: bool,
    pub(super) value_type: ValueType,
}

#[derive(Clone, Debug)]
pub(super) struct KeyColumn {
    pub(super) index: usize,
    pub(super) value_type: ValueType,
}

impl Binding {
    /// The rules it follows; none for a table that is not configured.
    pub fn table(&self) -> Option<&Arc<TableMapping>> {
        self.bound.as_ref().map(|b| &b.table)
    }

    /// Ties the rules of messages to the columns that their members are.
    pub(super) fn of_messages(table: &Arc<TableMapping>, relation: Relation) -> Binding {
        let mut binder = Binder::default();
        let bound = binder.bind(table, &relation);
        Binding {
            relation: Arc::new(relation),
            findings: binder.findings,
            unmapped: binder.unmapped,
            bound: Some(bound),
        }
    }

    /// Why all changes of the table are held, if they are: by the rules, or by this version of the
    /// schema.
    pub fn halted(&self) -> Option<&Fault> {
        self.bound.as_ref()?.halted.as_ref()
    }
}

impl Mapping {
    /// Ties the rules to a version of a table's schema: the table by its oid, its columns by their
    /// attribute numbers, both by their names where those are not known. A column that no rule knows
    /// yet is given to a field by the naming rule, as it would have been at the start.
    ///
    /// Nothing here stops the other tables: what does not fit halts this one ([`Binding::halted`]).
    pub fn bind(&self, relation: &Arc<Relation>) -> Binding {
        let mut binder = Binder::default();
        let bound = self.of(relation).map(|table| {
            binder
                .bind(table, relation)
                .under(&self.contracts, relation)
        });
        Binding {
            relation: relation.clone(),
            findings: binder.findings,
            unmapped: binder.unmapped,
            bound,
        }
    }
}

#[derive(Default)]
struct Binder {
    findings: Vec<Finding>,
    unmapped: Vec<Unmapped>,
    halted: Option<Fault>,
}

/// The name by which the rules know a column of the relation; `None` for one that they do not know.
fn known<'n>(table: &'n TableMapping, relation: &Relation, column: &'n Column) -> Option<&'n str> {
    // The numbers of a table that was made anew mean nothing.
    if column.attnum == 0 || relation.oid != table.oid {
        return Some(&column.name);
    }
    if let Some(name) = table.numbers.get(&column.attnum) {
        return Some(name);
    }
    // It is new. Its name may be that of a column that has another name here.
    let taken = relation.columns.iter().any(|other| {
        let name = table.numbers.get(&other.attnum);
        name.is_some_and(|name| *name == column.name)
    });
    let gone = table.dropped.iter().any(|d| d.attnum == column.attnum);
    (!taken && !gone).then_some(&*column.name)
}

impl Binder {
    fn find(
        &mut self,
        severity: Severity,
        place: String,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.findings.push(Finding {
            severity,
            place,
            what: what.into(),
            remedy: remedy.into(),
        });
    }

    /// The table cannot go on with this version of its schema.
    fn halt(
        &mut self,
        table: &TableMapping,
        place: String,
        what: impl Into<String>,
        remedy: impl Into<String>,
        field: Option<&str>,
    ) {
        let what = what.into();
        let name = &table.target.table;
        let fault = self.halted.get_or_insert_with(|| {
            let message = format!("{name} is halted: {place}: {what}");
            Fault::new(Class::Record, TABLE_HALTED, message)
        });
        fault.fields.extend(field.map(str::to_owned));
        self.find(Severity::Warning, place, what, remedy);
    }

    fn bind(&mut self, table: &Arc<TableMapping>, relation: &Relation) -> Bound {
        let place = |column: &str| format!("tables.\"{}\".columns.{column}", table.target.table);
        let names: Vec<Option<&str>> = relation
            .columns
            .iter()
            .map(|column| known(table, relation, column))
            .collect();
        let here = |name: &str| names.contains(&Some(name));
        let (key, keyless) = self.key(table, relation, &names);

        // Fields that are spoken for: by name in the configuration, or by a column that is here.
        let mut taken: Vec<u16> = table.constants.iter().map(|c| c.slot).collect();
        taken.extend(table.dropped.iter().map(|d| d.rule.slot));
        taken.extend(table.target.version);
        for (name, mapping) in &table.columns {
            if let ColumnMapping::Field(rule) = mapping {
                if !rule.automatic || here(name) {
                    taken.push(rule.slot);
                }
                if !here(name) {
                    self.find(
                        Severity::Warning,
                        place(name),
                        format!(
                            "Postgres no longer sends this column; {} is left as it is",
                            rule.field.name
                        ),
                        "remove the rule, or bring the column back (ALTER TABLE, or the column list of the publication)",
                    );
                }
            }
        }

        let constant = |slot: u16, assignment: &Assignment| Step {
            slot,
            source: StepSource::Constant(assignment.clone()),
        };
        let mut steps: Vec<Step> = table
            .constants
            .iter()
            .map(|c| constant(c.slot, &c.assignment))
            .collect();
        for ((index, column), name) in relation.columns.iter().enumerate().zip(&names) {
            let rule = match name.map(|name| (name, table.columns.get(name))) {
                Some((_, Some(ColumnMapping::Ignored))) => continue,
                Some((_, Some(ColumnMapping::Field(rule)))) => rule.clone(),
                Some((name, None)) if table.key.columns.iter().any(|k| **k == *name) => continue,
                _ => match self.dropped(table, relation, column) {
                    Some(rule) => rule,
                    None => match self.route(table, column, *name, &mut taken) {
                        Some(rule) => rule,
                        None => continue,
                    },
                },
            };
            if column.value_type != rule.value_type {
                self.changed_type(table, &place(&column.name), &rule, column);
            }
            steps.push(Step {
                slot: rule.slot,
                source: StepSource::Column {
                    index,
                    value_type: column.value_type.clone(),
                    rule,
                },
            });
        }
        for gone in &table.dropped {
            let filled = steps.iter().any(|s| s.slot == gone.rule.slot);
            if let (Some(clear), false) = (&gone.clear, filled) {
                steps.push(constant(gone.rule.slot, clear));
            }
        }
        steps.sort_by_key(|s| s.slot);
        let contested = steps.iter().filter_map(|step| {
            let field = table.target.fields.get(usize::from(step.slot))?;
            match &step.source {
                StepSource::Column { index, .. } if field.owner.is_contested() => {
                    Some((step.slot, *index))
                }
                _ => None,
            }
        });
        let contested = contested.collect();
        Bound {
            contested,
            table: table.clone(),
            steps,
            key,
            keyless,
            halted: table.halted.clone().or(self.halted.take()),
            olds: self.olds(table, relation, &names),
            checks: Vec::new(),
        }
    }

    /// The columns that templates of the table's deletes name.
    fn olds(
        &mut self,
        table: &TableMapping,
        relation: &Relation,
        names: &[Option<&str>],
    ) -> Vec<OldColumn> {
        let Removal::Archive { set, .. } = &table.target.removal else {
            return Vec::new();
        };
        let mut olds: Vec<OldColumn> = Vec::new();
        for name in set.iter().flat_map(Stamp::olds) {
            if olds.iter().any(|o| *o.name == *name) {
                continue;
            }
            let found = names.iter().position(|n| *n == Some(name));
            let column = found.and_then(|index| Some((index, relation.columns.get(index)?)));
            let sent = column.filter(|(_, c)| c.key || relation.identity == ReplicaIdentity::Full);
            if sent.is_none() {
                self.find(
                    Severity::Warning,
                    format!("tables.\"{}\".on_delete", table.target.table),
                    format!("deletes come without the old row's {name}: they become dead letters"),
                    format!(
                        "ALTER TABLE {} REPLICA IDENTITY FULL;",
                        relation.qualified()
                    ),
                );
            }
            olds.extend(column.map(|(index, column)| OldColumn {
                name: name.into(),
                index,
                key: column.key,
                value_type: column.value_type.clone(),
            }));
        }
        olds
    }

    /// A row of before: the rule of a column that is gone by now.
    fn dropped(
        &self,
        table: &TableMapping,
        relation: &Relation,
        column: &Column,
    ) -> Option<Arc<FieldRule>> {
        let numbered = column.attnum != 0 && relation.oid == table.oid;
        let same = table.dropped.iter().find(|gone| {
            if numbered {
                gone.attnum == column.attnum
            } else {
                gone.name == column.name
            }
        });
        same.map(|gone| gone.rule.clone())
    }

    fn key(
        &mut self,
        table: &TableMapping,
        relation: &Relation,
        names: &[Option<&str>],
    ) -> (SmallVec<[KeyColumn; 2]>, bool) {
        let place = format!("tables.\"{}\".key.column", table.target.table);
        let field = Some(&*table.target.key_field);
        let mut key = SmallVec::new();
        for name in &table.key.columns {
            let found = names.iter().position(|n| *n == Some(&**name));
            let column = found.and_then(|index| Some((index, relation.columns.get(index)?)));
            match column {
                None => self.halt(
                    table,
                    place.clone(),
                    format!("the table no longer has the key column {name}: its rows cannot be told apart"),
                    "name the column that identifies a row now; records keep their external ids only if its values are the same",
                    field,
                ),
                Some((index, column)) => {
                    if !can_be_key(&column.value_type) {
                        self.halt(
                            table,
                            place.clone(),
                            format!("the type of {name} changed to one that cannot be a key"),
                            "use a column of a whole number, uuid or text type",
                            field,
                        );
                    }
                    key.push(KeyColumn {
                        index,
                        value_type: column.value_type.clone(),
                    });
                }
            }
        }
        let keyless = key.len() != table.key.columns.len();
        (key, keyless)
    }

    /// What a column without a rule means.
    fn route(
        &mut self,
        table: &TableMapping,
        column: &Column,
        name: Option<&str>,
        taken: &mut Vec<u16>,
    ) -> Option<Arc<FieldRule>> {
        // What the start has already told is not told again.
        let told = table.unmapped.iter().find(|u| Some(&*u.column) == name);
        if let Some(told) = told {
            self.unmapped.push(told.clone());
            return None;
        }
        let place = format!("tables.\"{}\".columns.{}", table.target.table, column.name);
        let routing = &table.routing;
        let mut rules = (1..).zip(&routing.rules);
        if let Some((number, _)) = rules.find(|(_, r)| may_match(r, table, column)) {
            // Only the catalog knows all that the rule asks for.
            let why = format!(
                "new column: routing.rules[{number}] may be for it: left out and counted until the catalog has been read"
            );
            self.find(Severity::Note, place, why.clone(), "");
            self.unmapped.push(Unmapped {
                column: column.name.clone(),
                why: why.into(),
            });
            return None;
        }
        if routing.unmapped == Routing::Auto {
            let names = naming::candidates(&column.name);
            let free = names.iter().find_map(|name| {
                let (slot, field) = table.reserve.get(name.to_ascii_lowercase().as_str())?;
                (!taken.contains(slot) && naming::suits(field, &column.value_type))
                    .then_some((*slot, field))
            });
            if let Some((slot, field)) = free {
                taken.push(slot);
                return Some(Arc::new(FieldRule {
                    slot,
                    field: field.clone(),
                    null: null_by_default(field),
                    normal: None,
                    parent: None,
                    value_type: column.value_type.clone(),
                    automatic: true,
                    backfill: false,
                    high: false,
                    on_invalid: OnInvalid::default(),
                    adjusted: Adjusted::default(),
                }));
            }
        }
        let (why, halt) = unmapped(routing.unmapped, routing.missing_field, &column.name);
        let what = format!("new column: {why}");
        let remedy = "map it, or say that it is left out: { ignore = true }";
        if halt {
            self.halt(table, place, what, remedy, None);
        } else {
            self.find(Severity::Note, place, what, remedy);
        }
        self.unmapped.push(Unmapped {
            column: column.name.clone(),
            why: why.into(),
        });
        None
    }

    fn changed_type(
        &mut self,
        table: &TableMapping,
        place: &str,
        rule: &FieldRule,
        column: &Column,
    ) {
        let name = &rule.field.name;
        if rule.parent.is_some() {
            if !can_be_key(&column.value_type) {
                self.halt(
                    table,
                    place.to_owned(),
                    "the column's type changed to one that cannot name a parent",
                    "give the column the type of the key that it refers to",
                    Some(name),
                );
            }
            return;
        }
        // A value map that has a place for every value does not mind where they come from.
        let fit = match &rule.normal {
            Some(normal) if normal.covers() => Fit::Whole,
            _ => fit(&rule.field, &column.value_type),
        };
        match fit {
            Fit::Whole => self.find(
                Severity::Note,
                place.to_owned(),
                format!("the column's type changed; {name} takes it"),
                "",
            ),
            Fit::Partly(why) => self.find(
                Severity::Warning,
                place.to_owned(),
                format!("the column's type changed; for {name}: {why}"),
                "map the column to a field of the new type, if that is not meant",
            ),
            Fit::Never(why) => self.halt(
                table,
                place.to_owned(),
                format!("the column's type changed, and {name} cannot take it: {why}"),
                "map the column to another field, or leave it out: { ignore = true }",
                Some(name),
            ),
        }
    }
}

/// Whether a rule may be for a column, as far as a relation tells.
fn may_match(rule: &RoutingRule, table: &TableMapping, column: &Column) -> bool {
    let hit =
        |pattern: &Option<String>, text: &str| pattern.as_ref().is_none_or(|p| matches(p, text));
    let (schema, name) = table.target.table.split_once('.').unwrap_or_default();
    hit(&rule.schema, schema) && hit(&rule.table, name) && hit(&rule.column, &column.name)
}

/// What a NULL does where nothing is said of it.
pub(super) fn null_by_default(field: &FieldDescription) -> NullAction {
    match field.kind {
        FieldKind::Boolean => NullAction::Write(FieldValue::Bool(false)),
        _ if field.nillable => NullAction::Clear,
        _ => NullAction::Refuse,
    }
}

/// Why a column without a rule and without a field goes nowhere, and whether its table may start.
pub(super) fn unmapped(routing: Routing, missing: MissingField, column: &str) -> (String, bool) {
    let [custom, standard] = naming::candidates(column);
    match (routing, missing) {
        (Routing::Ignore, _) => (
            "it has no rule, and routing.unmapped = \"ignore\": left out and counted".into(),
            false,
        ),
        (Routing::Halt, _) => (
            "it has no rule, and routing.unmapped = \"halt\"".into(),
            true,
        ),
        (Routing::Auto, missing) => {
            let none = format!(
                "the object has no free field {custom} or {standard} that we may write and that takes its type"
            );
            match missing {
                MissingField::Ignore | MissingField::Create => {
                    (format!("{none}: left out and counted"), false)
                }
                MissingField::Halt => (
                    format!("{none}, and routing.missing_field = \"halt\""),
                    true,
                ),
            }
        }
    }
}
