//! A small company, its database and its CRM, for the tests of this stage.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::BytesMut;

use super::{
    Compiled, FieldDescription, FieldKind, Mapping, ObjectDescription, Remembered, compile,
};
use crate::capture::{CatalogColumn, CatalogTable};
use crate::change::{
    Change, Column, Kind, Lsn, Position, Relation, ReplicaIdentity, Span, Timestamp, Tuple,
};
use crate::config::Config;
use crate::value::ValueType;

pub(super) const CONFIG: &str = r#"
[source]
url = "postgres://h/app"
[destination]
kind = "salesforce"
[tables."public.company"]
object = "Account"
key = { column = "id", field = "Company_Id__c" }
on_delete = { set = { Active__c = false } }
constants = { Active__c = true }
columns.name = "Name"
columns.employees = "NumberOfEmployees"
[tables."public.customer"]
object = "Contact"
key = { column = "id", field = "Customer_Id__c" }
on_delete = "delete"
columns.last_name = "LastName"
columns.email = "Email"
columns.company_id = { field = "Account", references = "public.company" }
columns.secret = { ignore = true }
[tables."public.deal"]
object = "Opportunity"
key = { column = ["company_id", "code"], field = "Deal_Id__c" }
on_delete = "ignore"
columns.title = "Name"
columns.amount = "Amount"
"#;

pub(super) fn types(oid: u32, _: i32) -> ValueType {
    match oid {
        16 => ValueType::Bool,
        17 => ValueType::Bytea,
        20 | 21 | 23 => ValueType::Int,
        25 | 1043 => ValueType::Text,
        114 => ValueType::Json,
        700 | 701 => ValueType::Float,
        790 => ValueType::Money,
        1009 => ValueType::Array(Box::new(ValueType::Text), b','),
        1082 => ValueType::Date,
        1083 => ValueType::Time,
        1114 => ValueType::Timestamp,
        1184 => ValueType::TimestampTz,
        1700 => ValueType::Numeric,
        2950 => ValueType::Uuid,
        1042 => ValueType::PaddedText,
        1266 => ValueType::TimeTz,
        600 => ValueType::Other("point".into()),
        90_001 => ValueType::Enum,
        _ => ValueType::Other("unknown".into()),
    }
}

fn oid(name: &str) -> (u32, i32) {
    let bare = name.split('(').next().unwrap();
    let oid = match bare {
        "bool" => 16,
        "bytea" => 17,
        "int8" => 20,
        "int2" => 21,
        "int4" => 23,
        "text" => 25,
        "json" => 114,
        "float8" => 701,
        "money" => 790,
        "text[]" => 1009,
        "varchar" => 1043,
        "date" => 1082,
        "time" => 1083,
        "timestamp" => 1114,
        "timestamptz" => 1184,
        "numeric" => 1700,
        "uuid" => 2950,
        "char" => 1042,
        "timetz" => 1266,
        "point" => 600,
        "mood" => 90_001,
        other => panic!("no type {other}"),
    };
    let typmod = match name.trim_end_matches(')').split_once('(') {
        Some(("varchar" | "char", n)) => n.parse::<i32>().unwrap() + 4,
        Some(("numeric", ps)) => {
            let (p, s) = ps.split_once(',').unwrap();
            (p.parse::<i32>().unwrap() << 16 | s.parse::<i32>().unwrap()) + 4
        }
        _ => -1,
    };
    (oid, typmod)
}

/// `name type` pairs; a `!` after the type means NOT NULL.
pub(super) fn table(name: &str, key: &[&str], columns: &[(&str, &str)]) -> CatalogTable {
    let key: Vec<Box<str>> = key.iter().map(|k| (*k).into()).collect();
    CatalogTable {
        dropped: Vec::new(),
        oid: name.len() as u32,
        schema: "public".into(),
        name: name.into(),
        identity: ReplicaIdentity::Default,
        identity_columns: key.clone(),
        primary_key: key.clone(),
        published: true,
        columns: columns
            .iter()
            .enumerate()
            .map(|(index, (name, kind))| {
                let (type_oid, typmod) = oid(kind.trim_end_matches('!'));
                CatalogColumn {
                    attnum: index as i16 + 1,
                    name: (*name).into(),
                    type_oid,
                    type_name: kind.trim_end_matches('!').into(),
                    typmod,
                    not_null: kind.ends_with('!') || key.iter().any(|k| **k == **name),
                }
            })
            .collect(),
    }
}

pub(super) fn catalog() -> Vec<CatalogTable> {
    vec![
        table(
            "company",
            &["id"],
            &[("id", "int8"), ("name", "text!"), ("employees", "int4")],
        ),
        table(
            "customer",
            &["id"],
            &[
                ("id", "int8"),
                ("last_name", "text!"),
                ("email", "text"),
                ("company_id", "int8"),
                ("secret", "text"),
            ],
        ),
        table(
            "deal",
            &["company_id", "code"],
            &[
                ("company_id", "int8"),
                ("code", "text"),
                ("title", "text!"),
                ("amount", "numeric(12,2)"),
            ],
        ),
    ]
}

pub(super) fn field(name: &str, kind: FieldKind) -> FieldDescription {
    FieldDescription {
        name: name.into(),
        label: name.into(),
        kind,
        length: 255,
        precision: 18,
        scale: 2,
        nillable: true,
        defaulted_on_create: false,
        createable: true,
        updateable: true,
        external_id: false,
        unique: false,
        case_sensitive: false,
        restricted: false,
        picklist: Vec::new(),
        reference_to: Vec::new(),
        relationship: None,
    }
}

pub(super) fn key_field(name: &str) -> FieldDescription {
    FieldDescription {
        external_id: true,
        unique: true,
        case_sensitive: true,
        ..field(name, FieldKind::Text)
    }
}

fn required(name: &str) -> FieldDescription {
    FieldDescription {
        nillable: false,
        ..field(name, FieldKind::Text)
    }
}

fn lookup(name: &str, relationship: &str, to: &[&str]) -> FieldDescription {
    FieldDescription {
        reference_to: to.iter().map(|o| (*o).into()).collect(),
        relationship: Some(relationship.into()),
        ..field(name, FieldKind::Reference)
    }
}

fn object(name: &str, fields: Vec<FieldDescription>) -> (String, ObjectDescription) {
    let id = FieldDescription {
        createable: false,
        updateable: false,
        nillable: false,
        defaulted_on_create: true,
        ..field("Id", FieldKind::Id)
    };
    let description = ObjectDescription {
        name: name.into(),
        createable: true,
        updateable: true,
        deletable: true,
        fields: std::iter::once(id).chain(fields).collect(),
    };
    (name.to_owned(), description)
}

pub(super) fn crm() -> BTreeMap<String, ObjectDescription> {
    BTreeMap::from([
        object(
            "Account",
            vec![
                key_field("Company_Id__c"),
                required("Name"),
                FieldDescription {
                    precision: 8,
                    ..field("NumberOfEmployees", FieldKind::Int)
                },
                FieldDescription {
                    nillable: false,
                    defaulted_on_create: true,
                    ..field("Active__c", FieldKind::Boolean)
                },
                field("Phone", FieldKind::Phone),
                field("Vat_Number__c", FieldKind::Text),
                lookup("ParentId", "Parent", &["Account"]),
            ],
        ),
        object(
            "Contact",
            vec![
                key_field("Customer_Id__c"),
                FieldDescription {
                    length: 80,
                    ..required("LastName")
                },
                field("FirstName", FieldKind::Text),
                field("Email", FieldKind::Email),
                field("Birthdate", FieldKind::Date),
                field("Mood__c", FieldKind::Picklist),
                lookup("AccountId", "Account", &["Account"]),
                lookup("OwnerId", "Owner", &["Group", "User"]),
            ],
        ),
        object(
            "Opportunity",
            vec![
                key_field("Deal_Id__c"),
                required("Name"),
                field("Amount", FieldKind::Decimal),
            ],
        ),
    ])
}

pub(super) fn config(text: &str) -> Config {
    toml::from_str(text).unwrap()
}

/// A whole case, to be changed by a test.
pub(super) struct Case {
    pub(super) config: String,
    pub(super) catalog: Vec<CatalogTable>,
    pub(super) crm: BTreeMap<String, ObjectDescription>,
    pub(super) remembered: Remembered,
}

impl Default for Case {
    fn default() -> Self {
        Case {
            config: CONFIG.into(),
            catalog: catalog(),
            crm: crm(),
            remembered: Remembered::default(),
        }
    }
}

impl Case {
    pub(super) fn replace(&mut self, from: &str, to: &str) {
        assert!(
            self.config.contains(from),
            "{from} is not in the configuration"
        );
        self.config = self.config.replace(from, to);
    }

    /// Adds a line to the section of a table.
    pub(super) fn line(&mut self, table: &str, line: &str) {
        let header = format!("[tables.\"public.{table}\"]\n");
        self.replace(&header.clone(), &format!("{header}{line}\n"));
    }

    pub(super) fn field(&mut self, object: &str, name: &str) -> &mut FieldDescription {
        let object = self.crm.get_mut(object).unwrap();
        object.fields.iter_mut().find(|f| *f.name == *name).unwrap()
    }

    pub(super) fn table(&mut self, name: &str) -> &mut CatalogTable {
        self.catalog.iter_mut().find(|t| *t.name == *name).unwrap()
    }

    pub(super) fn column(&mut self, table: &str, name: &str, kind: &str) {
        let mut made = self::table("x", &[], &[(name, kind)]).columns.remove(0);
        let table = self.table(table);
        let numbers = table.columns.iter().map(|c| c.attnum);
        let last = numbers.chain(table.dropped.clone()).max().unwrap_or(0);
        let columns = &mut table.columns;
        match columns.iter_mut().find(|c| *c.name == *name) {
            Some(column) => {
                made.attnum = column.attnum;
                *column = made;
            }
            None => {
                made.attnum = last + 1;
                columns.push(made);
            }
        }
    }

    /// Gives a column another name.
    pub(super) fn rename(&mut self, table: &str, from: &str, to: &str) {
        let table = self.table(table);
        let column = table.columns.iter_mut().find(|c| *c.name == *from);
        column.unwrap().name = to.into();
        for names in [&mut table.identity_columns, &mut table.primary_key] {
            for name in names.iter_mut().filter(|n| ***n == *from) {
                *name = to.into();
            }
        }
    }

    /// Drops a column.
    pub(super) fn drop(&mut self, table: &str, name: &str) {
        let table = self.table(table);
        let at = table.columns.iter().position(|c| *c.name == *name).unwrap();
        let column = table.columns.remove(at);
        table.dropped.push(column.attnum);
        table.identity_columns.retain(|c| **c != *name);
        table.primary_key.retain(|c| **c != *name);
    }

    /// It has run as it is now, and remembers that.
    pub(super) fn run(&mut self) {
        let mapping = self.mapping();
        self.remembered.learn(&mapping);
        for table in &self.catalog {
            if self.remembered.versions.last() != Some(table) {
                self.remembered.versions.push(table.clone());
            }
        }
    }

    pub(super) fn compile(&self) -> Compiled {
        compile(
            &config(&self.config),
            &self.catalog,
            &self.remembered,
            &types,
            Some(&self.crm),
        )
    }

    pub(super) fn mapping(&self) -> Mapping {
        let compiled = self.compile();
        compiled
            .mapping
            .unwrap_or_else(|| panic!("{:#?}", compiled.findings))
    }

    /// The relation as the supervisor completes it: with attribute numbers.
    pub(super) fn numbered(&self, name: &str) -> Arc<Relation> {
        let table = self.catalog.iter().find(|t| *t.name == *name).unwrap();
        let mut relation = (*self.relation(name)).clone();
        for (column, known) in relation.columns.iter_mut().zip(&table.columns) {
            column.attnum = known.attnum;
        }
        Arc::new(relation)
    }

    /// The relation that Postgres would send for a table of the catalog.
    pub(super) fn relation(&self, name: &str) -> Arc<Relation> {
        let table = self.catalog.iter().find(|t| *t.name == *name).unwrap();
        Arc::new(Relation {
            oid: table.oid,
            schema: table.schema.clone(),
            name: table.name.clone(),
            identity: table.identity,
            columns: table
                .columns
                .iter()
                .map(|c| Column {
                    attnum: 0,
                    name: c.name.clone(),
                    type_oid: c.type_oid,
                    typmod: c.typmod,
                    key: table.identity_columns.contains(&c.name),
                    value_type: types(c.type_oid, c.typmod),
                })
                .collect(),
        })
    }
}

/// A column of a row.
#[derive(Clone, Copy)]
pub(super) enum Cell<'a> {
    Null,
    Same,
    Is(&'a str),
}

pub(super) fn row(cells: &[Cell<'_>]) -> Tuple {
    let mut frame = BytesMut::from(&b"I...."[..]);
    let spans = cells
        .iter()
        .map(|cell| match cell {
            Cell::Null => Span::Null,
            Cell::Same => Span::Unchanged,
            Cell::Is(text) => {
                let offset = frame.len() as u32;
                frame.extend_from_slice(text.as_bytes());
                Span::Text {
                    offset,
                    len: text.len() as u32,
                }
            }
        })
        .collect();
    Tuple {
        frame: frame.freeze(),
        spans,
    }
}

pub(super) fn change(relation: &Arc<Relation>, kind: Kind) -> Change {
    Change {
        position: Position {
            commit: Lsn(7),
            ordinal: 3,
        },
        commit_time: Timestamp(5),
        xid: 9,
        relation: Some(relation.clone()),
        kind,
    }
}
