//! Which column is which, case by case, and what changed, in words.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::schema_change::{SchemaChange, compare};
use super::{Types, is_stand_in, resolve};
use crate::capture::{CatalogColumn, CatalogTable};
use crate::change::{Column, Relation, ReplicaIdentity};

pub(super) const INT: u32 = 23;
pub(super) const TEXT: u32 = 25;

pub(super) fn type_name(oid: u32) -> &'static str {
    match oid {
        INT => "integer",
        TEXT => "text",
        _ => "bigint",
    }
}

/// `number name`, `number name:type`, with the type `int` by default.
fn table(columns: &str, dropped: &[i16]) -> CatalogTable {
    let columns = columns.split_whitespace().collect::<Vec<_>>();
    let columns: Vec<_> = columns
        .chunks(2)
        .map(|column| {
            let (name, type_oid) = match column[1].split_once(':') {
                Some((name, "text")) => (name, TEXT),
                Some((_, other)) => panic!("{other}"),
                None => (column[1], INT),
            };
            CatalogColumn {
                attnum: column[0].parse().unwrap(),
                name: name.into(),
                type_oid,
                type_name: type_name(type_oid).into(),
                typmod: -1,
                not_null: name == "id",
            }
        })
        .collect();
    let key: Vec<Box<str>> = (columns.iter())
        .filter(|c| &*c.name == "id")
        .map(|c| c.name.clone())
        .collect();
    CatalogTable {
        oid: 7,
        schema: "public".into(),
        name: "t".into(),
        identity: ReplicaIdentity::Default,
        identity_columns: key.clone(),
        primary_key: key,
        published: true,
        columns,
        dropped: dropped.to_vec(),
    }
}

/// What the stream says of a table.
pub(super) fn relation(table: &CatalogTable) -> Relation {
    Relation {
        oid: table.oid,
        schema: table.schema.clone(),
        name: table.name.clone(),
        identity: table.identity,
        columns: table
            .columns
            .iter()
            .map(|column| Column {
                attnum: 0,
                name: column.name.clone(),
                type_oid: column.type_oid,
                typmod: column.typmod,
                key: table.identity_columns.contains(&column.name),
                value_type: Types::default().value_type(column.type_oid),
            })
            .collect(),
    }
}

pub(super) fn numbers(table: &CatalogTable) -> Vec<i16> {
    table.columns.iter().map(|column| column.attnum).collect()
}

/// The numbers given to the columns of `at`, a version whose own numbers are what is expected.
fn check(before: Option<&str>, at: &str, now: Option<(&str, &[i16])>) {
    let at = table(at, &[]);
    let before = before.map(|columns| table(columns, &[]));
    let now = now.map(|(columns, dropped)| table(columns, dropped));
    let found = resolve(&relation(&at), before.as_ref(), now.as_ref());
    // A stand-in is told by 0.
    let told = |attnum: i16| if is_stand_in(attnum) { 0 } else { attnum };
    let found: Vec<_> = numbers(&found).into_iter().map(told).collect();
    assert_eq!(found, numbers(&at), "{at:?}");
}

#[test]
fn the_catalog_tells_a_rename_from_a_drop_and_an_add() {
    let before = Some("1 id 2 x 3 y");
    check(before, "1 id 2 z 3 y", Some(("1 id 2 z 3 y", &[])));
    check(before, "1 id 3 y 4 z", Some(("1 id 3 y 4 z", &[2])));
    check(before, "1 id 3 y 4 x", Some(("1 id 3 y 4 x", &[2])));
    // Names swapped, and swapped with types.
    check(before, "1 id 2 y 3 x", Some(("1 id 2 y 3 x", &[])));
    check(
        Some("1 id 2 x 3 y:text"),
        "1 id 2 y:text 3 x",
        Some(("1 id 2 y:text 3 x", &[])),
    );
}

#[test]
fn a_catalog_that_is_ahead_is_aligned() {
    let before = Some("1 id 2 x 3 y");
    // Renamed since; dropped since; renamed, then dropped; added since.
    check(before, "1 id 2 x 3 y 4 z", Some(("1 id 2 a 3 b 4 c", &[])));
    check(before, "1 id 2 x 3 y 4 z", Some(("1 id 4 z", &[2, 3])));
    check(before, "1 id 2 x 3 w", Some(("1 id 2 x", &[3])));
    check(before, "1 id 3 y", Some(("1 id 3 y 4 x 5 z", &[2])));
    // Dropped and added again under its name: that 3 is there proves that 2 is gone already.
    check(
        Some("1 id 2 x"),
        "1 id 3 x 4 y",
        Some(("1 id 3 x 4 y 5 z", &[2])),
    );
    // Renamed since, or dropped and another added: nothing tells, so the values stay apart.
    check(None, "1 id 0 x", Some(("1 id 3 y", &[2])));
    check(Some("1 id"), "1 id 0 x", Some(("1 id 3 y", &[2])));
    check(before, "1 id 2 x 3 y 0 z", Some(("1 id 2 x 3 y 5 w", &[4])));
    check(before, "1 id 3 y 4 z", Some(("1 id 3 y", &[2, 4])));
    check(before, "1 id 0 z", Some(("1 id 4 w", &[2, 3])));
    // Of the same name, but retyped since.
    check(Some("1 id"), "1 id 3 x:text", Some(("1 id 3 x", &[2])));
    // No other number is possible.
    check(Some("1 id"), "1 id 2 x", Some(("1 id 2 y", &[])));
    check(Some("1 id"), "1 id 2 x", Some(("1 id 2 y 3 z", &[])));
    check(before, "1 id 2 x 3 z", Some(("1 id 2 x", &[3])));
    check(before, "1 id 2 a 3 b", Some(("1 id 2 c 3 d 4 e", &[])));
    // Dropped altogether since.
    check(
        before,
        "1 id 2 x 3 y 0 z",
        Some(("5 k:text", &[1, 2, 3, 4])),
    );
}

#[test]
fn a_catalog_that_is_behind_takes_nothing_away() {
    let before = "1 id 2 x 3 y";
    for at in [
        "1 id 2 x 3 y 4 z",
        "1 id 3 y",
        "1 id 2 w 3 y",
        "1 id 2 y 3 x",
    ] {
        check(Some(before), at, Some((before, &[])));
    }
}

#[test]
fn without_a_catalog_one_difference_is_a_change_and_two_are_another_column() {
    let before = Some("1 id 2 x");
    check(None, "1 id 2 x", None);
    check(before, "1 id 2 y", None);
    check(before, "1 id 2 x:text", None);
    check(before, "1 id 3 y:text", None);
    check(before, "1 id 2 x 3 y", None);
    check(before, "1 id", None);
    check(Some("1 id 2 x 3 y"), "1 id 3 y 4 x", None);
    check(Some("1 id 4 x"), "1 id 4 x 5 z 6 w", None);
}

#[test]
fn where_nothing_tells_the_newest_column_is_chosen() {
    check(Some("1 id 2 x"), "1 id 3 x", Some(("1 id 3 x", &[2])));
    let ahead = Some(("1 id 3 x 4 y", [2].as_slice()));
    check(Some("1 id 2 x"), "1 id 3 x", ahead);
}

#[test]
fn a_column_that_is_not_published_is_stepped_over() {
    // 2 is generated: the catalog's columns are those that are sent.
    check(
        Some("1 id 3 x"),
        "1 id 3 x 4 y",
        Some(("1 id 3 x 4 y 5 z", &[])),
    );
    // 2 has been taken into the list since.
    check(
        Some("1 id 3 x"),
        "1 id 3 x 4 y",
        Some(("1 id 2 s 3 x 4 y 5 z", &[])),
    );
    check(
        Some("1 id 3 x"),
        "1 id 2 s 3 x",
        Some(("1 id 2 s 3 x 4 y", &[])),
    );
}

#[test]
fn what_a_relation_does_not_say_stays_until_the_catalog_is_its_own() {
    let mut before = table("1 id 2 x 3 y", &[]);
    before.identity = ReplicaIdentity::Full;
    before.identity_columns = ["id", "x", "y"].map(Into::into).into();
    before.primary_key = ["y", "id"].map(Into::into).into();
    before.columns[1].not_null = true;
    let mut at = before.clone();
    at.columns[2].name = "key".into();
    at.identity_columns[2] = "key".into();
    at.primary_key[0] = "key".into();
    let mut now = at.clone();
    now.columns[1].not_null = false;
    now.primary_key = vec!["id".into()];
    now.published = false;
    // It is the catalog's own.
    assert_eq!(resolve(&relation(&at), Some(&before), Some(&now)), now);
    // The catalog is ahead.
    now.name = "u".into();
    at.published = false;
    assert_eq!(resolve(&relation(&at), Some(&before), Some(&now)), at);
    // A key column that is gone takes the key along.
    at.columns.remove(2);
    let gone = resolve(&relation(&at), Some(&before), None);
    assert_eq!((gone.primary_key, gone.dropped), (vec![], vec![3]));
    // A default identity is the primary key; its order is not in the relation.
    before.identity = ReplicaIdentity::Default;
    before.identity_columns = before.primary_key.clone();
    before.columns[2].not_null = true;
    let mut at = before.clone();
    at.name = "u".into();
    assert_eq!(resolve(&relation(&at), Some(&before), None), at);
    at.identity_columns = vec!["x".into()];
    at.columns[1].not_null = false;
    let keyed = resolve(&relation(&at), Some(&before), None);
    assert_eq!(keyed.primary_key, ["x".into()]);
    assert!(keyed.columns[1].not_null, "a key column is never null");
}

#[test]
fn types_are_named_as_well_as_can_be() {
    let mut at = relation(&table("1 id 2 a 3 b 4 c 5 d", &[]));
    at.columns[1].type_oid = 1043;
    at.columns[1].typmod = 84;
    for column in &mut at.columns[2..] {
        column.type_oid = 70_000;
    }
    at.columns[3].type_oid = 70_001;
    at.columns[4].type_oid = 70_002;
    for column in &mut at.columns {
        column.value_type = Types::default().value_type(column.type_oid);
    }
    at.columns[4].value_type = crate::value::ValueType::Enum;
    at.columns[3].value_type = crate::value::ValueType::Other("hstore".into());
    let mut before = table("1 mood", &[]);
    before.oid = 8;
    before.columns[0].type_oid = 70_000;
    before.columns[0].type_name = "app.mood".into();
    let found = resolve(&at, Some(&before), None);
    let names: Vec<_> = found.columns.iter().map(|c| &*c.type_name).collect();
    assert_eq!(
        names,
        [
            "integer",
            "character varying(80)",
            "app.mood",
            "hstore",
            "oid 70002"
        ]
    );
}

#[test]
fn another_table_numbers_its_columns_anew() {
    let mut old = table("3 id 5 x", &[1, 2, 4]);
    old.oid = 6;
    let new = table("1 id 2 x 3 y:text", &[]);
    assert_eq!(resolve(&relation(&new), Some(&old), None), new);
    assert_eq!(resolve(&relation(&new), Some(&old), Some(&old)), new);
    let mut changes = compare(&old, &new).into_iter();
    assert_eq!(changes.next(), Some(SchemaChange::TableRecreated));
    let (column, type_name) = ("y".into(), "text".into());
    let added = SchemaChange::ColumnAdded { column, type_name };
    assert_eq!(changes.next(), Some(added));
    assert_eq!(changes.next(), None);
}

#[test]
fn every_change_is_told_in_words_and_in_json() {
    let before = table("1 id 2 x 3 y 4 z", &[]);
    let mut after = table("1 id 2 w:text 4 z 5 y", &[3]);
    after.schema = "other".into();
    after.identity = ReplicaIdentity::Full;
    after.columns[2].not_null = true;
    after.primary_key.clear();
    let changes = compare(&before, &after);
    let words: Vec<_> = changes.iter().map(SchemaChange::to_string).collect();
    assert_eq!(
        words,
        [
            "the table was renamed from public.t",
            "column y was dropped",
            "column x was renamed to w",
            "the type of column w changed from integer to text",
            "column z refuses null now",
            "column y was added (integer)",
            "the replica identity changed from default to full",
            "the key changed from (id) to ()",
        ]
    );
    for change in changes.iter().chain([&SchemaChange::TableAdded]) {
        let json = serde_json::to_value(change).unwrap();
        assert_eq!(json["change"], change.word());
    }
    assert_eq!(compare(&before, &before), []);
    // A renamed key column is the same key; another index is not.
    let (mut before, mut after) = (table("1 id 2 x", &[]), table("1 key 2 x", &[]));
    after.primary_key = vec!["key".into()];
    assert_eq!(
        compare(&before, &after).len(),
        2,
        "a rename, and null allowed"
    );
    for table in [&mut before, &mut after] {
        table.identity = ReplicaIdentity::Index;
    }
    before.identity_columns = vec!["id".into()];
    after.identity_columns = vec!["x".into()];
    let (from, to) = (vec!["id".into()], vec!["x".into()]);
    let changed = SchemaChange::KeyChanged { from, to };
    assert_eq!(compare(&before, &after).last(), Some(&changed));
}
