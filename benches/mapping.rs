//! How long a row of 12 columns takes from its tuple to its operation.
//!
//! `cargo bench --bench mapping` prints nanoseconds a row, the best of several rounds: first the
//! whole (values decoded, coerced, assembled, dropped), then the values alone, so that the
//! difference is what this stage costs.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use syncline::capture::{CatalogColumn, CatalogTable};
use syncline::change::{
    Change, Column, Datum, Kind, Lsn, Position, Relation, ReplicaIdentity, Span, Timestamp, Tuple,
};
use syncline::config::Config;
use syncline::decode::{Types, value};
use syncline::mapping::{
    FieldDescription, FieldKind, Mapped, ObjectDescription, Remembered, compile,
};

const ROWS: u32 = 1_000_000;
const BATCH: u32 = 1_000;
const ROUNDS: u32 = 7;

/// Column, type oid, field, its kind.
const COLUMNS: [(&str, u32, &str, FieldKind); 12] = [
    ("id", 20, "Customer_Id__c", FieldKind::Text),
    ("company_id", 20, "AccountId", FieldKind::Reference),
    ("first_name", 25, "FirstName", FieldKind::Text),
    ("last_name", 1043, "LastName", FieldKind::Text),
    ("email", 25, "Email", FieldKind::Email),
    ("active", 16, "Active__c", FieldKind::Boolean),
    ("age", 23, "Age__c", FieldKind::Decimal),
    ("balance", 1700, "Balance__c", FieldKind::Decimal),
    ("mood", 25, "Mood__c", FieldKind::Picklist),
    ("born", 1082, "Birthdate", FieldKind::Date),
    ("updated_at", 1184, "Updated__c", FieldKind::DateTime),
    ("notes", 25, "Notes__c", FieldKind::LongText),
];

fn main() {
    let types = Types::default();
    let relation = Arc::new(Relation {
        oid: 16_384,
        schema: "public".into(),
        name: "customer".into(),
        identity: ReplicaIdentity::Default,
        columns: COLUMNS
            .iter()
            .map(|(name, type_oid, ..)| Column {
                attnum: 0,
                name: (*name).into(),
                type_oid: *type_oid,
                typmod: -1,
                key: *name == "id",
                value_type: types.value_type(*type_oid),
            })
            .collect(),
    });
    let crm = BTreeMap::from([
        (
            "Account".to_owned(),
            object("Account", vec![key("Company_Id__c")]),
        ),
        (
            "Contact".to_owned(),
            object("Contact", COLUMNS.iter().map(field).collect()),
        ),
    ]);
    let catalog = [table(&relation), {
        let mut company = table(&relation);
        company.name = "company".into();
        company.columns.truncate(1);
        company
    }];
    let compiled = compile(
        &config(),
        &catalog,
        &Remembered::default(),
        &|oid, _| types.value_type(oid),
        Some(&crm),
    );
    let Some(mapping) = compiled.mapping else {
        panic!("{:#?}", compiled.findings);
    };
    let binding = mapping.bind(&relation);
    let changes: Vec<Change> = (0..BATCH).map(|n| insert(&relation, n)).collect();

    best("tuple to operation", || {
        for change in &changes {
            match binding.map(black_box(change)) {
                Mapped::Operation(operation) => drop(black_box(operation)),
                other => panic!("{other:?}"),
            }
        }
    });
    best("values alone", || {
        for change in &changes {
            let Kind::Insert { new } = &change.kind else {
                continue;
            };
            for (index, column) in relation.columns.iter().enumerate() {
                if let Datum::Text(text) = new.get(index) {
                    let _ = black_box(value(&column.value_type, black_box(text)));
                }
            }
        }
    });
}

fn best(name: &str, mut batch: impl FnMut()) {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..ROWS / BATCH {
            batch();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(ROWS));
    }
    println!("{name:<22} {best:>6.0} ns a row");
}

fn config() -> Config {
    let mut text = String::from(
        "[source]\nurl = \"postgres://h/app\"\n[destination]\nkind = \"salesforce\"\n\
         [tables.\"public.company\"]\nobject = \"Account\"\n\
         key = { column = \"id\", field = \"Company_Id__c\" }\non_delete = \"ignore\"\n\
         [tables.\"public.customer\"]\nobject = \"Contact\"\n\
         key = { column = \"id\", field = \"Customer_Id__c\" }\non_delete = \"delete\"\n\
         columns.company_id = { field = \"AccountId\", references = \"public.company\" }\n",
    );
    for (column, _, field, _) in COLUMNS.iter().skip(2) {
        text.push_str(&format!("columns.{column} = \"{field}\"\n"));
    }
    toml::from_str(&text).unwrap()
}

fn table(relation: &Relation) -> CatalogTable {
    CatalogTable {
        dropped: Vec::new(),
        oid: relation.oid,
        schema: relation.schema.clone(),
        name: relation.name.clone(),
        identity: relation.identity,
        identity_columns: vec!["id".into()],
        primary_key: vec!["id".into()],
        published: true,
        columns: relation
            .columns
            .iter()
            .zip(1..)
            .map(|(column, attnum)| CatalogColumn {
                attnum,
                name: column.name.clone(),
                type_oid: column.type_oid,
                type_name: "".into(),
                typmod: -1,
                not_null: true,
            })
            .collect(),
    }
}

fn object(name: &str, fields: Vec<FieldDescription>) -> ObjectDescription {
    ObjectDescription {
        name: name.into(),
        createable: true,
        updateable: true,
        deletable: true,
        fields,
    }
}

fn field((_, _, name, kind): &(&str, u32, &str, FieldKind)) -> FieldDescription {
    FieldDescription {
        kind: kind.clone(),
        external_id: *name == "Customer_Id__c",
        unique: *name == "Customer_Id__c",
        length: if *kind == FieldKind::LongText {
            32_768
        } else {
            255
        },
        ..key(name)
    }
}

fn key(name: &str) -> FieldDescription {
    FieldDescription {
        name: name.into(),
        label: name.into(),
        kind: FieldKind::Text,
        length: 255,
        precision: 18,
        scale: 2,
        nillable: true,
        defaulted_on_create: false,
        createable: true,
        updateable: true,
        external_id: true,
        unique: true,
        case_sensitive: true,
        restricted: true,
        picklist: ["Cold", "Warm", "Hot", "Won", "Lost"]
            .map(Into::into)
            .into(),
        reference_to: vec!["Account".into()],
        relationship: Some("Account".into()),
    }
}

fn insert(relation: &Arc<Relation>, n: u32) -> Change {
    let id = (10_000_000 + n).to_string();
    let company = (n % 97).to_string();
    let email = format!("ann.{n}@customers.example.com");
    let age = (20 + n % 60).to_string();
    let balance = format!("{}.50", n * 13);
    let notes =
        format!("Called on the {n}th, likes the product, wants an offer for the team by March");
    let values = [
        &*id,
        &company,
        "Ann-Sophie",
        "Lindqvist",
        &email,
        "t",
        &age,
        &balance,
        "Warm",
        "1987-03-14",
        "2026-11-04 12:10:35.123456+00",
        &notes,
    ];
    let mut frame = BytesMut::new();
    let spans = values
        .iter()
        .map(|text| {
            let offset = u32::try_from(frame.len()).unwrap();
            frame.extend_from_slice(text.as_bytes());
            Span::Text {
                offset,
                len: u32::try_from(text.len()).unwrap(),
            }
        })
        .collect();
    Change {
        position: Position {
            commit: Lsn(1),
            ordinal: u64::from(n),
        },
        commit_time: Timestamp(0),
        xid: 1,
        relation: Some(relation.clone()),
        kind: Kind::Insert {
            new: Tuple {
                frame: frame.freeze(),
                spans,
            },
        },
    }
}
