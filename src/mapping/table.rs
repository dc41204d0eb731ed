//! The compiled rules: what the configuration means for this database and this CRM.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::contract::Contracts;
use super::key::KeyRule;
use super::normalize::Normal;
use super::{Assigned, FieldDescription, FieldValue, ObjectId, Target};
use crate::config::{OnTruncate, Routing};
use crate::value::ValueType;

/// What the whole configuration means. Immutable; a new configuration makes a new one.
#[derive(Clone, Debug)]
pub struct Mapping {
    pub(super) tables: BTreeMap<Box<str>, Arc<TableMapping>>,
    pub(super) hash: u64,
    /// What rows are checked against; empty: nothing.
    pub(super) contracts: Arc<Contracts>,
}

impl Mapping {
    /// The rules of a table, by its name in the database.
    pub fn table(&self, schema: &str, name: &str) -> Option<&Arc<TableMapping>> {
        self.by_name(&format!("{schema}.{name}"))
    }

    /// The rules of a table, by its name in the configuration (`schema.table`).
    pub fn by_name(&self, name: &str) -> Option<&Arc<TableMapping>> {
        self.tables.get(name)
    }

    /// All tables, in the order of their names.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<TableMapping>> {
        self.tables.values()
    }

    /// Where the records of `object` are written.
    pub fn target(&self, object: ObjectId) -> Option<&Arc<Target>> {
        self.tables().map(|t| &t.target).find(|t| t.id == object)
    }

    /// Which objects refer to which: child, parent. Each pair once, sorted; an object that refers to
    /// itself is in it.
    pub fn references(&self) -> Vec<(ObjectId, ObjectId)> {
        let mut pairs: Vec<(ObjectId, ObjectId)> = self
            .tables()
            .flat_map(|t| t.parents().map(move |parent| (t.target.id, parent)))
            .collect();
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    }

    /// The same rules, with every row checked against the contract of its table. A table or a column
    /// that has none is not checked.
    #[must_use]
    pub fn under(self, contracts: Arc<Contracts>) -> Mapping {
        Mapping { contracts, ..self }
    }

    /// A number that changes when what is written where changes. It stands on every verdict.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

/// The rules of one table.
#[derive(Debug)]
pub struct TableMapping {
    /// Where its rows go.
    ///
    /// The slots are stable for the life of the mapping. The fields of compiled rules come first;
    /// with `unmapped = "auto"` the other fields that a new column could reach follow, so that a
    /// column added while we run gets a slot without a new target.
    pub target: Arc<Target>,
    /// How the external id is made.
    pub key: KeyRule,
    /// What each column means, explicit or by the naming rule.
    pub columns: HashMap<Box<str>, ColumnMapping>,
    /// Fields that always have the same value, sorted by slot.
    pub constants: Vec<Assigned>,
    /// What a truncate does.
    pub on_truncate: OnTruncate,
    /// What a column without an explicit rule means.
    pub routing: Routing,
    /// Columns of the catalog that go nowhere, and why: counted, never silent.
    pub unmapped: Vec<Unmapped>,
    /// Fields that the naming rule may still give to a column, by name in lower case.
    pub(super) reserve: HashMap<Box<str>, (u16, Arc<FieldDescription>)>,
}

impl TableMapping {
    /// The objects that its references point to; may repeat.
    pub fn parents(&self) -> impl Iterator<Item = ObjectId> {
        self.target
            .fields
            .iter()
            .filter_map(|f| f.reference.as_ref().map(|r| r.object))
    }
}

/// What a column means.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnMapping {
    /// Left out on purpose.
    Ignored,
    /// It fills a field.
    Field(Arc<FieldRule>),
}

/// How a column fills a field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldRule {
    /// Place in [`Target::fields`].
    pub slot: u16,
    /// The field.
    pub field: Arc<FieldDescription>,
    /// What a NULL does.
    pub null: NullAction,
    /// How its values are made uniform; none where nothing is said of it.
    pub normal: Option<Arc<Normal>>,
    /// For a reference: how the parent's external id is made from this one column.
    pub parent: Option<Arc<KeyRule>>,
    /// The type that the rule was checked against.
    pub value_type: ValueType,
    /// Bound by the naming rule, not by name in the configuration.
    pub automatic: bool,
}

/// What a NULL (or what the CRM holds as null) does to its field.
#[derive(Clone, Debug, PartialEq)]
pub enum NullAction {
    /// It empties the field.
    Clear,
    /// The field is left as it is.
    Skip,
    /// This is written instead: the configured default, or `false` for a boolean, which the CRM
    /// never holds as null.
    Write(FieldValue),
    /// The CRM takes no null there: the row is a dead letter.
    Refuse,
}

/// A column that goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmapped {
    /// The column.
    pub column: Box<str>,
    /// Why, in words.
    pub why: Box<str>,
}
