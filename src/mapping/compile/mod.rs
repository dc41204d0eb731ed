//! What the configuration means for this database and this CRM, or everything that is wrong with it.
//!
//! First every table is prepared on its own: its place in the catalog, its object, its key. Then its
//! columns are routed, for which the keys of the tables they refer to have to be known. What is
//! wrong is collected; one finding hides another only where the second could not be seen.

mod columns;
mod delete;
mod fields;
mod keys;
mod normal;
mod references;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::key::KeyRule;
use super::table::{Mapping, TableMapping};
use super::{ObjectDescription, ObjectId};
use crate::capture::CatalogTable;
use crate::config::{self, Config, OnTruncate};
use crate::fault::{Finding, Severity};
use crate::value::ValueType;

/// What came of it.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The rules; none when a finding is a [`Severity::Problem`].
    pub mapping: Option<Mapping>,
    /// Everything there is to say, in the order of the configuration.
    pub findings: Vec<Finding>,
}

/// Works out what the configuration means.
///
/// `catalog` holds the tables as the database has them now, `types` reads a type oid and modifier,
/// `crm` describes the objects by their API names. `None` for a destination that has no description
/// (`discard`): then fields are what their columns are, under the names that the configuration or the
/// naming rule gives them, and nothing is checked against the CRM.
pub fn compile(
    config: &Config,
    catalog: &[CatalogTable],
    types: &dyn Fn(u32, i32) -> ValueType,
    crm: Option<&BTreeMap<String, ObjectDescription>>,
) -> Compiled {
    let mut compiler = Compiler {
        config,
        catalog,
        types,
        crm,
        findings: Vec::new(),
    };
    if config.tables.is_empty() {
        compiler.problem(
            "tables".into(),
            "no table is configured",
            "add a section such as [tables.\"public.customer\"]",
        );
    }
    let prepared: Vec<Prepared<'_>> = config
        .tables
        .iter()
        .filter_map(|(name, table)| compiler.prepare(name, table))
        .collect();
    compiler.distinct(&prepared);
    let mut tables = BTreeMap::new();
    for table in &prepared {
        let mapping = compiler.table(table, &prepared);
        tables.insert(Box::from(table.name), Arc::new(mapping));
    }
    let failed = compiler
        .findings
        .iter()
        .any(|f| f.severity == Severity::Problem);
    let mapping = (!failed).then(|| Mapping {
        hash: hash(&tables),
        tables,
        contracts: Arc::default(),
    });
    Compiled {
        mapping,
        findings: compiler.findings,
    }
}

struct Compiler<'a> {
    config: &'a Config,
    catalog: &'a [CatalogTable],
    types: &'a dyn Fn(u32, i32) -> ValueType,
    crm: Option<&'a BTreeMap<String, ObjectDescription>>,
    findings: Vec<Finding>,
}

/// A table whose place in the database and in the CRM is known.
struct Prepared<'a> {
    /// Its name in the configuration.
    name: &'a str,
    table: &'a config::Table,
    source: &'a CatalogTable,
    /// None: the destination has no description.
    object: Option<&'a ObjectDescription>,
    object_name: &'a str,
    id: ObjectId,
    key: Arc<KeyRule>,
    /// Types of the key columns.
    key_types: Vec<ValueType>,
}

impl Prepared<'_> {
    fn place(&self, what: &str) -> String {
        place(self.name, what)
    }
}

fn place(table: &str, what: &str) -> String {
    format!("tables.\"{table}\".{what}")
}

/// `; did you mean "…"?`, or nothing where no name is near.
fn near<'n>(wanted: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    config::nearest(wanted, names)
        .map(|name| format!("; did you mean {name:?}?"))
        .unwrap_or_default()
}

impl<'a> Compiler<'a> {
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

    fn problem(&mut self, place: String, what: impl Into<String>, remedy: impl Into<String>) {
        self.find(Severity::Problem, place, what, remedy);
    }

    fn warning(&mut self, place: String, what: impl Into<String>, remedy: impl Into<String>) {
        self.find(Severity::Warning, place, what, remedy);
    }

    fn note(&mut self, place: String, what: impl Into<String>) {
        self.find(Severity::Note, place, what, "");
    }

    /// Finds the table, its object and its key.
    fn prepare(&mut self, name: &'a str, table: &'a config::Table) -> Option<Prepared<'a>> {
        let source = self.source(name);
        let object = self.object(name, table);
        if let (Some(source), None) = (source, &object) {
            // Without its object nothing can be routed, but wrong names of columns can be told.
            for column in table.columns.keys() {
                self.column(name, source, column, &format!("columns.{column}"));
            }
        }
        let (source, object) = (source?, object?);
        let object_name = object.map_or(table.object.as_str(), |o| &o.name);
        let (key, key_types) = self.key(name, table, source, object)?;
        Some(Prepared {
            name,
            table,
            source,
            object,
            object_name,
            id: ObjectId::new(object_name, &key.field),
            key: Arc::new(key),
            key_types,
        })
    }

    fn source(&mut self, name: &str) -> Option<&'a CatalogTable> {
        let qualified = |t: &CatalogTable| format!("{}.{}", t.schema, t.name);
        let found = self.catalog.iter().find(|t| qualified(t) == name);
        if found.is_none() {
            let names: Vec<String> = self.catalog.iter().map(qualified).collect();
            let near = near(name, names.iter().map(String::as_str));
            self.problem(
                place(name, "").trim_end_matches('.').to_owned(),
                format!("the database has no table {name}{near}"),
                "name the table with its schema, as in [tables.\"public.customer\"]; our role has to see it",
            );
        }
        found
    }

    /// `Some(None)`: there is no description, and none is needed.
    fn object(
        &mut self,
        name: &str,
        table: &config::Table,
    ) -> Option<Option<&'a ObjectDescription>> {
        let Some(crm) = self.crm else {
            return Some(None);
        };
        let found = crm.get(&table.object).or_else(|| {
            crm.values()
                .find(|o| o.name.eq_ignore_ascii_case(&table.object))
        });
        let Some(object) = found else {
            let near = near(&table.object, crm.values().map(|o| &*o.name));
            self.problem(
                place(name, "object"),
                format!(
                    "the CRM has no object {}, or our user cannot see it{near}",
                    table.object
                ),
                "check the API name (custom objects end in __c) and the rights of the user",
            );
            return None;
        };
        for (can, what, why) in [
            (object.createable, "create", "new rows"),
            (object.updateable, "change", "changed rows"),
        ] {
            if !can {
                self.problem(
                    place(name, "object"),
                    format!(
                        "our user may not {what} records of {}, as {why} need",
                        object.name
                    ),
                    format!(
                        "give the user the right to {what} {} in a permission set",
                        object.name
                    ),
                );
            }
        }
        Some(Some(object))
    }

    /// Two tables may not write the same records, and two names may not have one number.
    fn distinct(&mut self, prepared: &[Prepared<'_>]) {
        let mut seen: HashMap<ObjectId, &Prepared<'_>> = HashMap::new();
        for table in prepared {
            let Some(other) = seen.insert(table.id, table) else {
                continue;
            };
            let same = other.object_name.eq_ignore_ascii_case(table.object_name)
                && other.key.field.eq_ignore_ascii_case(&table.key.field);
            if same {
                self.problem(
                    table.place("key.field"),
                    format!(
                        "{} and {} both write {} by {}: they would overwrite each other's records",
                        other.name, table.name, table.object_name, table.key.field
                    ),
                    "give each table an external-id field of its own, or join the tables in a view's place in the database",
                );
            } else {
                self.problem(
                    table.place("object"),
                    format!(
                        "{}/{} and {}/{} happen to have the same number",
                        other.object_name, other.key.field, table.object_name, table.key.field
                    ),
                    "rename one of the two external-id fields",
                );
            }
        }
    }

    /// The rules of one table.
    fn table(&mut self, table: &Prepared<'a>, all: &[Prepared<'a>]) -> TableMapping {
        let mut draft = fields::Draft::new(table);
        self.constants(table, &mut draft);
        self.columns(table, all, &mut draft);
        let on_delete = self.on_delete(table, &mut draft);
        self.on_truncate(table);
        self.required(table, &draft);
        draft.reserve(table, self.config.routing.unmapped);
        self.numbers(table, &draft);
        draft.finish(table, on_delete, self.config.routing)
    }

    fn on_truncate(&mut self, table: &Prepared<'_>) {
        let place = table.place("on_truncate");
        match table.table.on_truncate {
            OnTruncate::Halt => self.note(
                place,
                "a TRUNCATE stops delivery until a person has decided",
            ),
            OnTruncate::Ignore => self.note(
                place,
                "a TRUNCATE is counted and changes nothing in the CRM: its records stay",
            ),
            OnTruncate::DeleteAll => self.warning(
                place,
                "one TRUNCATE does to every record that we know of what on_delete says",
                "on_truncate = \"halt\", unless that is meant",
            ),
        }
    }
}

/// Everything that decides what is written where, as text, hashed.
fn hash(tables: &BTreeMap<Box<str>, Arc<TableMapping>>) -> u64 {
    let mut text = String::new();
    for (name, table) in tables {
        let target = &table.target;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{name} {} {:?} {:?} {:?} {:?} {:?}",
            target.object,
            table.key,
            table.target.removal,
            table.on_truncate,
            table.constants,
            table.routing
        );
        let columns: BTreeMap<_, _> = table.columns.iter().collect();
        let _ = writeln!(text, "{columns:?}\n{:?}", target.fields);
    }
    xxh3_64(text.as_bytes())
}
