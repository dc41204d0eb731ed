//! The rules of a table tied to one version of its schema: done once a Relation message, so that a
//! row needs no name.

use std::sync::Arc;

use smallvec::SmallVec;

use super::coerce::{Fit, fit};
use super::contract::Check;
use super::key::can_be_key;
use super::naming;
use super::table::{ColumnMapping, FieldRule, Mapping, NullAction, TableMapping, Unmapped};
use super::{Assignment, FieldDescription, FieldKind, FieldValue};
use crate::change::{Column, Relation};
use crate::config::{MissingField, Unmapped as Routing};
use crate::fault::{Finding, Severity};
use crate::value::ValueType;

/// What the rows of one relation become.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The relation it was made for: only its rows may be given to it.
    pub relation: Arc<Relation>,
    /// What is to be said of this version of the schema. A [`Severity::Problem`] means that its
    /// rows must not be delivered until a person has acted.
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
    /// What the contract says, beside each step; empty without one.
    pub(super) checks: Vec<Option<Check>>,
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
}

impl Mapping {
    /// Ties the rules to a version of a table's schema. A column that no rule knows yet is given to
    /// a field by the naming rule, as it would have been at the start.
    pub fn bind(&self, relation: &Arc<Relation>) -> Binding {
        let mut binder = Binder {
            findings: Vec::new(),
            unmapped: Vec::new(),
        };
        let bound = self.table(&relation.schema, &relation.name).map(|table| {
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

struct Binder {
    findings: Vec<Finding>,
    unmapped: Vec<Unmapped>,
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

    fn bind(&mut self, table: &Arc<TableMapping>, relation: &Relation) -> Bound {
        let place = |column: &str| format!("tables.\"{}\".columns.{column}", table.target.table);
        let (key, keyless) = self.key(table, relation);

        // Fields that are spoken for: by name in the configuration, or by a column that is here.
        let here = |name: &str| relation.columns.iter().any(|c| *c.name == *name);
        let mut taken: Vec<u16> = table.constants.iter().map(|c| c.slot).collect();
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

        let mut steps: Vec<Step> = table
            .constants
            .iter()
            .map(|c| Step {
                slot: c.slot,
                source: StepSource::Constant(c.assignment.clone()),
            })
            .collect();
        for (index, column) in relation.columns.iter().enumerate() {
            let rule = match table.columns.get(&column.name) {
                Some(ColumnMapping::Ignored) => continue,
                Some(ColumnMapping::Field(rule)) => rule.clone(),
                None if table.key.columns.contains(&column.name) => continue,
                None => match self.route(table, column, &mut taken) {
                    Some(rule) => rule,
                    None => continue,
                },
            };
            if column.value_type != rule.value_type {
                self.changed_type(&place(&column.name), &rule, column);
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
        steps.sort_by_key(|s| s.slot);
        Bound {
            table: table.clone(),
            steps,
            key,
            keyless,
            checks: Vec::new(),
        }
    }

    fn key(
        &mut self,
        table: &TableMapping,
        relation: &Relation,
    ) -> (SmallVec<[KeyColumn; 2]>, bool) {
        let place = format!("tables.\"{}\".key.column", table.target.table);
        let mut key = SmallVec::new();
        for name in &table.key.columns {
            let found = relation.columns.iter().position(|c| c.name == *name);
            let column = found.and_then(|index| Some((index, relation.columns.get(index)?)));
            match column {
                None => self.find(
                    Severity::Problem,
                    place.clone(),
                    format!("the table no longer has the key column {name}: its rows cannot be told apart"),
                    "name the column that identifies a row now; records keep their external ids only if its values are the same",
                ),
                Some((index, column)) => {
                    if !can_be_key(&column.value_type) {
                        self.find(
                            Severity::Problem,
                            place.clone(),
                            format!("the type of {name} changed to one that cannot be a key"),
                            "use a column of a whole number, uuid or text type",
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
        taken: &mut Vec<u16>,
    ) -> Option<Arc<FieldRule>> {
        let place = format!("tables.\"{}\".columns.{}", table.target.table, column.name);
        if table.routing.unmapped == Routing::Auto {
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
                }));
            }
        }
        // What the start has already told is not told again.
        if let Some(known) = table.unmapped.iter().find(|u| u.column == column.name) {
            self.unmapped.push(known.clone());
            return None;
        }
        let (why, halt) = unmapped(
            table.routing.unmapped,
            table.routing.missing_field,
            &column.name,
        );
        let severity = if halt {
            Severity::Problem
        } else {
            Severity::Note
        };
        self.find(
            severity,
            place,
            format!("new column: {why}"),
            "map it, or say that it is left out: { ignore = true }",
        );
        self.unmapped.push(Unmapped {
            column: column.name.clone(),
            why: why.into(),
        });
        None
    }

    fn changed_type(&mut self, place: &str, rule: &FieldRule, column: &Column) {
        let name = &rule.field.name;
        if rule.parent.is_some() {
            if !can_be_key(&column.value_type) {
                self.find(
                    Severity::Problem,
                    place.to_owned(),
                    "the column's type changed to one that cannot name a parent",
                    "give the column the type of the key that it refers to",
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
            Fit::Never(why) => self.find(
                Severity::Problem,
                place.to_owned(),
                format!("the column's type changed, and {name} cannot take it: {why}"),
                "map the column to another field, or leave it out: { ignore = true }",
            ),
        }
    }
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
                MissingField::Ignore => (format!("{none}: left out and counted"), false),
                MissingField::Halt => (
                    format!("{none}, and routing.missing_field = \"halt\""),
                    true,
                ),
            }
        }
    }
}
