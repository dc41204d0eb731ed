//! What the configuration means for this database and this CRM, or everything that is wrong with it.
//!
//! First every table is prepared on its own: its place in the catalog, its object, its key. Then its
//! columns are routed, for which the keys of the tables they refer to have to be known. What is
//! wrong is collected; one finding hides another only where the second could not be seen.
//!
//! What is wrong with a table that has run before and fitted then is *drift*: it never keeps the
//! others from running. Its changes are held ([`TableMapping::halted`]), or those that touch the one
//! field that is broken ([`super::TargetField::broken`]); see `drift.rs`.

mod adopt;
mod automatic;
mod columns;
mod create;
mod delete;
mod drift;
pub(super) mod fields;
mod history;
mod keys;
mod normal;
mod outbox;
mod owners;
mod references;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::key::KeyRule;
use super::outbox::{Outbox, is_section};
use super::table::{Mapping, TableMapping};
use super::{FieldSpec, ObjectDescription, ObjectId};
use crate::capture::CatalogTable;
use crate::config::{self, Config, OnTruncate, Owner, Routing};
use crate::fault::{Fault, Finding, Severity};
use crate::value::ValueType;
use create::Wish;
use history::{History, qualified};

/// What came of it.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The rules; none when something is wrong that no table could run with. Problems of single
    /// tables that ran before are findings, too, but leave the others their rules.
    pub mapping: Option<Mapping>,
    /// Everything there is to say, in the order of the configuration; then, of fields to be made.
    pub findings: Vec<Finding>,
    /// Fields to be made, each once. Their columns are left out of the mapping until it is compiled
    /// anew with a description that has them.
    pub missing: Vec<MissingField>,
}

/// What is known of earlier runs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Remembered {
    /// All stored versions of tables, oldest first.
    pub versions: Vec<CatalogTable>,
    /// Fields that a mapping of ours has used before ([`Mapping::fields_used`]): object and field, in
    /// lower case.
    pub fields: BTreeSet<(Box<str>, Box<str>)>,
    /// Where columns without a line of their own went last ([`Mapping::columns_used`]): the table's oid
    /// and the attribute number, and the field in lower case. Of a table of which it says nothing the
    /// fields above are taken for those that its columns' first names suggest.
    pub columns: BTreeMap<(u32, i16), Box<str>>,
    /// Fields on which a person has decided who has the last word, whatever the configuration says:
    /// object and field, in lower case.
    pub owners: BTreeMap<(Box<str>, Box<str>), Owner>,
    /// The tables as they will be when the stream has come as far as the database: columns of theirs
    /// that are not there yet are no mistake.
    pub coming: Vec<CatalogTable>,
}

impl Remembered {
    /// Adds what a mapping writes, and where its automatic columns go. Whether any of it is new.
    pub fn learn(&mut self, mapping: &Mapping) -> bool {
        let fields = self.fields.len();
        self.fields.extend(mapping.fields_used());
        let mut new = self.fields.len() > fields;
        for (column, field) in mapping.columns_used() {
            let before = self.columns.insert(column, field.clone());
            new |= before != Some(field);
        }
        new
    }

    /// Fields, columns and decisions, to be stored: object and field; for a column, its table's oid and
    /// its number as `#16401/7`, which is no object's name, and the field; for a decision the field as
    /// `=contact/phone`, and its owner.
    pub fn to_pairs(&self) -> Vec<(String, String)> {
        let fields = self.fields.iter();
        let fields = fields.map(|(object, field)| (object.to_string(), field.to_string()));
        let columns = self.columns.iter();
        let columns = columns.map(|((oid, number), f)| (format!("#{oid}/{number}"), f.to_string()));
        let owners = self.owners.iter();
        let owners =
            owners.map(|((object, field), o)| (format!("={object}/{field}"), o.word().to_owned()));
        fields.chain(columns).chain(owners).collect()
    }

    /// What [`Remembered::to_pairs`] gave; versions are not among it.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut remembered = Remembered::default();
        for (name, field) in pairs {
            if let Some((object, of)) = name.strip_prefix('=').and_then(|n| n.split_once('/')) {
                if let Some(owner) = Owner::ALL.into_iter().find(|o| o.word() == field) {
                    remembered.owners.insert((object.into(), of.into()), owner);
                }
                continue;
            }
            let column = name.strip_prefix('#').and_then(|c| c.split_once('/'));
            let column = column.map(|(oid, number)| (oid.parse(), number.parse()));
            match column {
                Some((Ok(oid), Ok(number))) => {
                    remembered.columns.insert((oid, number), field.into());
                }
                _ => {
                    remembered.fields.insert((name.into(), field.into()));
                }
            }
        }
        remembered
    }
}

/// A field to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MissingField {
    /// The table, in the configuration's words.
    pub table: Box<str>,
    /// The column that is to fill it, by the name that it has now.
    pub column: Box<str>,
    /// The object, by its API name.
    pub object: Box<str>,
    /// The field.
    pub spec: FieldSpec,
    /// Old rows are to be filled, too, if the column arrived later.
    pub backfill: bool,
}

/// Works out what the configuration means.
///
/// `catalog` holds the tables as the database has them now, `remembered` what earlier runs left,
/// `types` reads a type oid and modifier, `crm` describes the objects by their API names. `None` for a
/// destination that has no description (`discard`): then fields are what their columns are, under the
/// names that the configuration or the naming rule gives them, and nothing is checked against the CRM.
///
/// Give the catalog as it is where the stream stands: columns that it lacks and `remembered` has are
/// taken for dropped.
pub fn compile(
    config: &Config,
    catalog: &[CatalogTable],
    remembered: &Remembered,
    types: &dyn Fn(u32, i32) -> ValueType,
    crm: Option<&BTreeMap<String, ObjectDescription>>,
) -> Compiled {
    // Filled once the keys of the tables are known.
    let sections = OnceCell::new();
    let mut compiler = Compiler {
        config,
        catalog,
        remembered,
        types,
        crm,
        routing: Arc::new(config.routing.clone()),
        findings: Vec::new(),
        fatal: false,
        halts: BTreeMap::new(),
        wishes: Vec::new(),
    };
    if config.tables.is_empty() && config.outbox.is_empty() {
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
    let sections: &Vec<outbox::Section> =
        sections.get_or_init(|| compiler.sections(config, &prepared));
    let messages: Vec<(Prepared<'_>, &outbox::Section)> = sections
        .iter()
        .filter_map(|section| Some((compiler.prepare_section(section)?, section)))
        .collect();
    compiler.distinct(prepared.iter().chain(messages.iter().map(|(p, _)| p)));
    let outbox: BTreeMap<Box<str>, Arc<Outbox>> = messages
        .iter()
        .map(|(table, section)| {
            let outbox = compiler.outbox(table, section, &prepared);
            (Box::from(section.prefix.as_str()), Arc::new(outbox))
        })
        .collect();
    let mut tables = BTreeMap::new();
    for table in &prepared {
        let draft = compiler.table(table, &prepared);
        tables.insert(table.name, (table, draft));
    }
    let missing = compiler.grant(&mut tables);
    let tables: BTreeMap<Box<str>, Arc<TableMapping>> = tables
        .into_iter()
        .map(|(name, (table, draft))| {
            let halted = compiler.halts.remove(name);
            let mapping = draft.finish(table, halted, compiler.routing.clone());
            (Box::from(name), Arc::new(mapping))
        })
        .collect();
    let mapping = (!compiler.fatal).then(|| Mapping {
        hash: hash(&tables, &outbox),
        tables,
        outbox,
        contracts: Arc::default(),
    });
    Compiled {
        mapping,
        findings: compiler.findings,
        missing,
    }
}

struct Compiler<'a> {
    config: &'a Config,
    catalog: &'a [CatalogTable],
    remembered: &'a Remembered,
    types: &'a dyn Fn(u32, i32) -> ValueType,
    crm: Option<&'a BTreeMap<String, ObjectDescription>>,
    routing: Arc<Routing>,
    findings: Vec<Finding>,
    /// Nothing may run.
    fatal: bool,
    /// Tables that may not, by their names in the configuration.
    halts: BTreeMap<&'a str, Fault>,
    /// Fields that columns would like to have made.
    wishes: Vec<Wish<'a>>,
}

/// A table (or messages as a table) whose place in the database and in the CRM is known.
struct Prepared<'a> {
    /// Its name in the configuration.
    name: &'a str,
    table: &'a config::Table,
    source: &'a CatalogTable,
    history: History<'a>,
    /// None: the destination has no description, or (of a halted table) no longer the object.
    object: Option<&'a ObjectDescription>,
    /// The CRM had the object and has it no more.
    lost: bool,
    /// Its rows are messages.
    outbox: bool,
    object_name: &'a str,
    id: ObjectId,
    key: Arc<KeyRule>,
    /// Attribute numbers of the key columns.
    key_numbers: Vec<i16>,
    /// Types of the key columns.
    key_types: Vec<ValueType>,
}

impl Prepared<'_> {
    fn place(&self, what: &str) -> String {
        place(self.name, what)
    }
}

fn place(table: &str, what: &str) -> String {
    if is_section(table) {
        return match what.strip_prefix("columns.") {
            Some(member) => format!("{table}.members.{member}"),
            None => format!("{table}.{what}"),
        };
    }
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

    /// Nothing can run like this.
    fn problem(&mut self, place: String, what: impl Into<String>, remedy: impl Into<String>) {
        self.fatal = true;
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
        let history = source.map_or_else(History::default, |source| {
            History::new(self.remembered, source, name)
        });
        let object = self.object(name, table, &history);
        if let (Some(source), None) = (source, &object) {
            // Without its object nothing can be routed, but wrong names of columns can be told.
            for column in table.columns.keys() {
                if matches!(history.find(source, column), history::Found::Never) {
                    self.no_column(name, source, column, &format!("columns.{column}"));
                }
            }
        }
        let (source, object) = (source?, object?);
        self.prepared(name, table, source, history, object, false)
    }

    /// Finds the key of what has its object.
    fn prepared(
        &mut self,
        name: &'a str,
        table: &'a config::Table,
        source: &'a CatalogTable,
        history: History<'a>,
        object: Option<&'a ObjectDescription>,
        outbox: bool,
    ) -> Option<Prepared<'a>> {
        let lost = self.crm.is_some() && object.is_none();
        let object_name = object.map_or(table.object.as_str(), |o| &o.name);
        let key = self.key(name, table, source, &history, object)?;
        Some(Prepared {
            name,
            table,
            source,
            history,
            object,
            lost,
            outbox,
            object_name,
            id: ObjectId::new(object_name, &key.rule.field),
            key: Arc::new(key.rule),
            key_numbers: key.numbers,
            key_types: key.types,
        })
    }

    /// The table: by its name, else the one that bore the name before.
    fn source(&mut self, name: &'a str) -> Option<&'a CatalogTable> {
        let found = self.catalog.iter().find(|t| qualified(t) == name);
        if found.is_some() {
            return found;
        }
        let at = place(name, "").trim_end_matches('.').to_owned();
        let mut bearers = self.remembered.versions.iter().rev();
        if let Some(was) = bearers.find(|t| qualified(t) == name) {
            let Some(now) = self.catalog.iter().find(|t| t.oid == was.oid) else {
                self.drift(
                    at,
                    format!("the database no longer has the table {name}: nothing arrives from it"),
                    "bring the table back, or take its section away; its records stay as they are",
                );
                return Some(was);
            };
            let today = qualified(now);
            if self.config.tables.contains_key(&today) {
                // That section has its rows.
                self.warning(
                    at,
                    format!("{name} is called {today} now, which has a section of its own: this one does nothing"),
                    format!("take [tables.{name:?}] away"),
                );
                return None;
            }
            self.renamed(
                name,
                at,
                format!("the table {name} is called {today} now"),
                format!("name the section [tables.{today:?}]"),
            );
            return Some(now);
        }
        let names: Vec<String> = self.catalog.iter().map(qualified).collect();
        let near = near(name, names.iter().map(String::as_str));
        self.problem(
            at,
            format!("the database has no table {name}{near}"),
            "name the table with its schema, as in [tables.\"public.customer\"]; our role has to see it",
        );
        None
    }

    /// `Some(None)`: there is no description, and none is needed (or none any more).
    fn object(
        &mut self,
        name: &'a str,
        table: &config::Table,
        history: &History<'a>,
    ) -> Option<Option<&'a ObjectDescription>> {
        let Some(crm) = self.crm else {
            return Some(None);
        };
        let found = crm.get(&table.object).or_else(|| {
            crm.values()
                .find(|o| o.name.eq_ignore_ascii_case(&table.object))
        });
        let ran = history.ran() && self.used_object(&table.object);
        let Some(object) = found else {
            if ran {
                self.halt(
                    name,
                    place(name, "object"),
                    format!(
                        "the CRM no longer has the object {}, or our user can no longer see it",
                        table.object
                    ),
                    "bring the object back, or give our user access to it",
                    &[],
                );
                return Some(None);
            }
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
                self.wrong(
                    ran,
                    name,
                    place(name, "object"),
                    format!(
                        "our user may not {what} records of {}, as {why} need",
                        object.name
                    ),
                    format!(
                        "give the user the right to {what} {} in a permission set",
                        object.name
                    ),
                    &[],
                );
            }
        }
        Some(Some(object))
    }

    /// Two tables may not write the same records, and two names may not have one number.
    fn distinct<'p>(&mut self, prepared: impl Iterator<Item = &'p Prepared<'a>>)
    where
        'a: 'p,
    {
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
                    "give each table, and each prefix of the outbox, an external-id field of its own",
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
    fn table(&mut self, table: &Prepared<'a>, all: &[Prepared<'a>]) -> fields::Draft {
        let mut draft = fields::Draft::new(table);
        self.constants(table, &mut draft);
        self.columns(table, all, &mut draft);
        draft.removal = self.on_delete(table, &mut draft);
        draft.creation = self.creation(table, &draft);
        self.version_field(table, &mut draft);
        self.on_truncate(table);
        self.required(table, &draft);
        draft.reserve(table, self.config.routing.unmapped);
        self.numbers(table, &draft);
        draft
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
fn hash(
    tables: &BTreeMap<Box<str>, Arc<TableMapping>>,
    outbox: &BTreeMap<Box<str>, Arc<Outbox>>,
) -> u64 {
    let mut text = String::new();
    let messages = outbox
        .values()
        .map(|o| (&o.table().target.table, o.table()));
    for (name, table) in tables.iter().chain(messages) {
        let target = &table.target;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{name} {} {:?} {:?} {:?} {:?} {:?} {:?}",
            target.object,
            target.creation,
            table.key,
            table.target.removal,
            table.on_truncate,
            table.constants,
            table.routing
        );
        let columns: BTreeMap<_, _> = table.columns.iter().collect();
        let _ = writeln!(
            text,
            "{columns:?}\n{:?}\n{:?}",
            table.dropped, target.fields
        );
    }
    for outbox in outbox.values() {
        let _ = writeln!(text, "{}", outbox.words());
    }
    xxh3_64(text.as_bytes())
}
