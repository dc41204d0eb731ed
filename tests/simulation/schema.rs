//! The two tables of the simulation, as the catalog has them and as they are mapped.

use std::collections::BTreeMap;

use syncline::capture::{CatalogColumn, CatalogTable};
use syncline::change::{Column, Relation, ReplicaIdentity};
use syncline::config::{self, ColumnRule, Config, Priority};
use syncline::decode::Types;
use syncline::mapping::{FieldDescription, FieldKind, ObjectDescription};

/// Companies refer to companies, contacts to companies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Table {
    Company,
    Contact,
}

impl Table {
    pub fn oid(self) -> u32 {
        match self {
            Table::Company => 16_401,
            Table::Contact => 16_402,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Table::Company => "company",
            Table::Contact => "contact",
        }
    }

    pub fn object(self) -> &'static str {
        match self {
            Table::Company => "Account",
            Table::Contact => "Contact",
        }
    }
}

const COLUMNS: [(&str, u32, &str); 5] = [
    ("id", 20, "bigint"),
    ("name", 25, "text"),
    ("version", 20, "bigint"),
    ("note", 25, "text"),
    ("parent", 20, "bigint"),
];

const CONFIG: &str = r#"
[source]
url = "postgres://nobody@127.0.0.1/nowhere"
[destination]
kind = "salesforce"
url = "http://127.0.0.1:1"
[tables."public.company"]
object = "Account"
key = { column = "id", field = "Ext__c" }
on_delete = "delete"
columns = { name = "Name", version = "Version__c", note = "Note__c", parent = { field = "ParentId", references = "public.company" } }
[tables."public.contact"]
object = "Contact"
key = { column = "id", field = "Ext__c" }
on_delete = "delete"
columns = { name = "LastName", version = "Version__c", note = "Note__c", parent = { field = "AccountId", references = "public.company" } }
"#;

/// As Postgres describes them on the stream.
pub fn relations() -> Vec<Relation> {
    let types = Types::new(Vec::new());
    [Table::Company, Table::Contact]
        .map(|table| Relation {
            oid: table.oid(),
            schema: "public".into(),
            name: table.name().into(),
            identity: ReplicaIdentity::Default,
            columns: COLUMNS
                .iter()
                .map(|(name, oid, _)| Column {
                    attnum: 0,
                    name: (*name).into(),
                    type_oid: *oid,
                    typmod: -1,
                    key: *name == "id",
                    value_type: types.value_type(*oid),
                })
                .collect(),
        })
        .into()
}

/// As the catalog has them.
pub fn catalog() -> Vec<CatalogTable> {
    [Table::Company, Table::Contact]
        .map(|table| CatalogTable {
            dropped: Vec::new(),
            oid: table.oid(),
            schema: "public".into(),
            name: table.name().into(),
            identity: ReplicaIdentity::Default,
            identity_columns: vec!["id".into()],
            primary_key: vec!["id".into()],
            published: true,
            columns: (1..)
                .zip(COLUMNS)
                .map(|(attnum, (name, type_oid, type_name))| CatalogColumn {
                    attnum,
                    name: name.into(),
                    type_oid,
                    type_name: type_name.into(),
                    typmod: -1,
                    not_null: name == "id",
                })
                .collect(),
        })
        .into()
}

fn field(name: &str, kind: FieldKind) -> FieldDescription {
    FieldDescription {
        name: name.into(),
        label: name.into(),
        kind,
        length: 255,
        precision: 18,
        scale: 0,
        nillable: true,
        defaulted_on_create: false,
        createable: true,
        updateable: true,
        external_id: false,
        unique: false,
        case_sensitive: true,
        restricted: false,
        picklist: Vec::new(),
        reference_to: Vec::new(),
        relationship: None,
    }
}

fn object(table: Table) -> ObjectDescription {
    let (name, lookup, relationship) = match table {
        Table::Company => ("Name", "ParentId", "Parent"),
        Table::Contact => ("LastName", "AccountId", "Account"),
    };
    ObjectDescription {
        name: table.object().into(),
        createable: true,
        updateable: true,
        deletable: true,
        fields: vec![
            FieldDescription {
                external_id: true,
                unique: true,
                ..field("Ext__c", FieldKind::Text)
            },
            field(name, FieldKind::Text),
            field("Version__c", FieldKind::Decimal),
            field("Note__c", FieldKind::Text),
            FieldDescription {
                reference_to: vec!["Account".into()],
                relationship: Some(relationship.into()),
                ..field(lookup, FieldKind::Reference)
            },
        ],
    }
}

/// What goes on while the rest is deferred.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum High {
    Nothing,
    /// A table.
    Company,
    Contact,
    /// Contacts whose note changes.
    Note,
}

/// The configuration.
pub fn config(high: High) -> Config {
    let mut config: Config = toml::from_str(CONFIG).expect("the configuration is valid");
    let table = match high {
        High::Nothing => return config,
        High::Company => Table::Company,
        High::Contact | High::Note => Table::Contact,
    };
    let mut tables = config.tables.values_mut();
    let table = tables.find(|t| t.object == table.object());
    let table = table.expect("it is configured");
    match high {
        High::Note => {
            let rule = ColumnRule {
                field: Some("Note__c".into()),
                priority: Priority::High,
                ..ColumnRule::default()
            };
            let rule = config::Column::Rule(rule);
            table.columns.insert("note".into(), rule);
        }
        _ => table.priority = Priority::High,
    }
    config
}

/// What the CRM says of itself.
pub fn crm() -> BTreeMap<String, ObjectDescription> {
    let tables = [Table::Company, Table::Contact];
    tables.map(|t| (t.object().to_string(), object(t))).into()
}
