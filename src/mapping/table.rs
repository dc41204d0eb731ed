//! The compiled rules: what the configuration means for this database and this CRM.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::contract::Contracts;
use super::key::KeyRule;
use super::normalize::Normal;
use super::outbox::Outbox;
use super::{Assigned, Assignment, FieldDescription, FieldValue, ObjectId, Removal, Target};
use crate::change::Relation;
use crate::config::{OnInvalid, OnTruncate, Routing};
use crate::fault::Fault;
use crate::value::ValueType;

/// The code of the fault of a table whose changes are held: what it writes to, or what it is made
/// of, has changed so that a person has to act.
pub const TABLE_HALTED: &str = "table_halted";

/// The code of the fault of a field that vanished or cannot be written any more.
pub const FIELD_BROKEN: &str = "field_broken";
/// Code of the fault where the CRM lets our user write no record of an object, as far as can be seen.
pub const OBJECT_CLOSED: &str = "object_closed";

/// What the whole configuration means. Immutable; a new configuration makes a new one.
#[derive(Clone, Debug)]
pub struct Mapping {
    pub(super) tables: BTreeMap<Box<str>, Arc<TableMapping>>,
    /// What messages become, by their prefix.
    pub(super) outbox: BTreeMap<Box<str>, Arc<Outbox>>,
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

    /// The rules of the table that a relation describes: by its oid, else by its name.
    pub fn of(&self, relation: &Relation) -> Option<&Arc<TableMapping>> {
        let same = |t: &&Arc<TableMapping>| t.oid != 0 && t.oid == relation.oid;
        let named = self.table(&relation.schema, &relation.name);
        named
            .filter(same)
            .or_else(|| self.tables().find(same))
            .or(named)
    }

    /// The fields that rules write, object and field in lower case, external ids included: to be
    /// remembered ([`super::Remembered::fields`]). Fields that are only kept in reserve for columns to
    /// come are not among them.
    pub fn fields_used(&self) -> impl Iterator<Item = (Box<str>, Box<str>)> {
        self.all().flat_map(|table| {
            let target = &table.target;
            let object = target.object.to_ascii_lowercase();
            let slots = table
                .rules()
                .map(|r| r.slot)
                .chain(table.constants.iter().map(|c| c.slot))
                .chain(match &target.removal {
                    Removal::Archive { set, .. } => set.iter().map(|f| f.slot).collect(),
                    _ => Vec::new(),
                });
            let fields: Vec<&str> = slots
                .filter_map(|slot| Some(&*target.fields.get(usize::from(slot))?.name))
                .chain(std::iter::once(&*target.key_field))
                .collect();
            fields.into_iter().map(move |field| {
                let field = field.to_ascii_lowercase();
                (object.as_str().into(), field.into())
            })
        })
    }

    /// Where columns without a line of their own go: to be remembered
    /// ([`super::Remembered::columns`]), over what was known before.
    pub fn columns_used(&self) -> impl Iterator<Item = ((u32, i16), Box<str>)> {
        self.tables().flat_map(|table| {
            table.numbers.iter().filter_map(|(number, name)| {
                let ColumnMapping::Field(rule) = table.columns.get(name)? else {
                    return None;
                };
                let field = rule.field.name.to_ascii_lowercase().into_boxed_str();
                rule.automatic.then_some(((table.oid, *number), field))
            })
        })
    }

    /// All tables, in the order of their names.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<TableMapping>> {
        self.tables.values()
    }

    /// What messages become, in the order of their prefixes.
    pub fn outbox(&self) -> impl Iterator<Item = &Arc<Outbox>> {
        self.outbox.values()
    }

    /// What messages of this prefix become; `None` where nothing is said of it.
    pub fn of_prefix(&self, prefix: &str) -> Option<&Arc<Outbox>> {
        self.outbox.get(prefix)
    }

    /// All that writes records: the tables, and the messages as tables of their own.
    pub fn all(&self) -> impl Iterator<Item = &Arc<TableMapping>> {
        self.tables()
            .chain(self.outbox().map(|outbox| outbox.table()))
    }

    /// Values that were made to fit (`on_invalid`) since these rules are in force: table, field, how
    /// many. Fields without any are left out.
    pub fn adjusted(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.all().flat_map(|table| {
            table.rules().filter_map(|rule| {
                let count = rule.adjusted.get();
                (count > 0).then_some((&*table.target.table, &*rule.field.name, count))
            })
        })
    }

    /// Where the records of `object` are written.
    pub fn target(&self, object: ObjectId) -> Option<&Arc<Target>> {
        self.all().map(|t| &t.target).find(|t| t.id == object)
    }

    /// Which objects refer to which: child, parent. Each pair once, sorted; an object that refers to
    /// itself is in it.
    pub fn references(&self) -> Vec<(ObjectId, ObjectId)> {
        let mut pairs: Vec<(ObjectId, ObjectId)> = self
            .all()
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
    /// The table's oid in the database, by which it is known through renames.
    pub oid: u32,
    /// Set where nothing may be sent until a person has acted, code [`TABLE_HALTED`]: every change is
    /// mapped as far as possible and rejected with this fault. `fields` names those that cannot be
    /// filled.
    pub halted: Option<Fault>,
    /// How the external id is made. Its columns bear the names that they have now.
    pub key: KeyRule,
    /// What each column means, explicit, by a routing rule or by the naming rule; by the name that it
    /// has now.
    pub columns: HashMap<Box<str>, ColumnMapping>,
    /// Columns that had a rule and are gone.
    pub dropped: Vec<DroppedColumn>,
    /// Fields that always have the same value, sorted by slot.
    pub constants: Vec<Assigned>,
    /// What a truncate does.
    pub on_truncate: OnTruncate,
    /// Its changes go on while others are deferred.
    pub high: bool,
    /// What a column without an explicit rule means.
    pub routing: Arc<Routing>,
    /// Columns of the catalog that go nowhere, and why: counted, never silent.
    pub unmapped: Vec<Unmapped>,
    /// Fields that the naming rule may still give to a column, by name in lower case.
    pub(super) reserve: HashMap<Box<str>, (u16, Arc<FieldDescription>)>,
    /// The columns that the rules were made from: names by attribute number.
    pub(super) numbers: HashMap<i16, Box<str>>,
}

/// A column that had a rule and is gone: rows that were written before still bring it.
#[derive(Clone, Debug, PartialEq)]
pub struct DroppedColumn {
    /// Its attribute number; 0 when it was a column of a table that was made anew since.
    pub attnum: i16,
    /// The name it had last.
    pub name: Box<str>,
    /// What it filled.
    pub rule: Arc<FieldRule>,
    /// What rows without it do to the field (`on_drop = "clear"`); `None`: nothing.
    pub clear: Option<Assignment>,
}

impl TableMapping {
    /// The columns that fill a field: attribute number and rule, in no order.
    pub fn mapped(&self) -> impl Iterator<Item = (i16, &Arc<FieldRule>)> {
        self.numbers
            .iter()
            .filter_map(|(number, name)| match self.columns.get(name)? {
                ColumnMapping::Field(rule) => Some((*number, rule)),
                ColumnMapping::Ignored => None,
            })
    }

    /// The rules of its columns, dropped ones included, in no order.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<FieldRule>> {
        let columns = self.columns.values().filter_map(|column| match column {
            ColumnMapping::Field(rule) => Some(rule),
            ColumnMapping::Ignored => None,
        });
        columns.chain(self.dropped.iter().map(|d| &d.rule))
    }

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
    /// Bound by a routing rule or the naming rule, not by name in the configuration.
    pub automatic: bool,
    /// Its routing rule says that a column that arrives later is filled for old rows, too.
    pub backfill: bool,
    /// Changes of it go on while others are deferred.
    pub high: bool,
    /// What becomes of a value that the field cannot hold.
    pub on_invalid: OnInvalid,
    /// How often that was.
    pub adjusted: Adjusted,
}

/// Values that a rule made fit, since the rules are in force. Shared by its copies; equal to any other.
#[derive(Clone, Debug, Default)]
pub struct Adjusted(Arc<AtomicU64>);

impl Adjusted {
    /// One more.
    pub(super) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// So many.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl PartialEq for Adjusted {
    fn eq(&self, _: &Self) -> bool {
        true
    }
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
