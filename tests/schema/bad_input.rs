//! What cannot be mapped: the message that a person reads, and that nothing is half-made.

use serde_json::{Value, json};

use crate::driver::{self, Mode, PATIENCE, World};

const CREATE: &str = "[routing]\nmissing_field = \"create\"";

/// What stands in the CRM beside records: custom fields, and rows that grant rights.
fn made(world: &World) -> (Value, usize, usize) {
    let names = |object: &str| {
        let schema = world.crm.get(&format!("schema?object={object}"));
        let fields = schema["objects"][0]["fields"].as_array().cloned();
        let fields = fields.unwrap_or_default().into_iter();
        fields.map(|f| f["field"].clone()).collect::<Vec<_>>()
    };
    let rows = |object: &str| {
        world
            .crm
            .get(&format!("records/{object}"))
            .as_array()
            .unwrap()
            .len()
    };
    (
        json!([names("Account"), names("Contact")]),
        rows("FieldPermissions"),
        rows("PermissionSet"),
    )
}

/// `run` refuses, says this, and leaves nothing anywhere.
fn refused(mut world: World, code: i32, words: &[&str]) {
    let before = made(&world);
    world.sidecar.under = vec!["timeout".into(), "60".into()];
    let ended = world.sidecar.cli(&["run"]);
    let said = String::from_utf8(ended.stderr).unwrap();
    println!("{said}");
    assert_eq!(ended.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "not said: {word}\n{said}");
    }
    assert!(said.contains('→') && !said.contains("panicked"), "{said}");
    assert_eq!(made(&world), before, "half-made");
    let left =
        "SELECT (SELECT count(*) FROM pg_replication_slots), (SELECT count(*) FROM pg_publication)";
    assert_eq!(world.postgres.psql(left), "0|0");
}

/// It runs, warns of this, makes only what it can, and the rest of the rows arrives.
fn left_out(columns: &str, words: &[&[&str]], fields: &[&str]) {
    let mut world = World::prepare(Mode::Live, CREATE);
    world
        .postgres
        .psql(&format!("ALTER TABLE company {columns}"));
    world
        .postgres
        .psql("INSERT INTO company (id, name, city) VALUES (1, 'Acme', 'Bonn')");
    let (before, permissions, _) = made(&world);
    world.sidecar.start();
    world.running();
    for words in words {
        world.finding("warning", words);
    }
    world.shows("Account", "Name,City__c", &json!([["1", "Acme", "Bonn"]]));
    let (after, granted, _) = made(&world);
    let new: Vec<&Value> = after[0]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| !before[0].as_array().unwrap().contains(f))
        .collect();
    assert_eq!(new, fields.iter().collect::<Vec<_>>());
    assert_eq!(granted, permissions + fields.len());
    world.shelf_empty();
    world.end();
}

#[test]
fn a_type_without_an_equivalent() {
    left_out(
        "ADD COLUMN photo bytea, ADD COLUMN fee money, ADD COLUMN spot point, ADD COLUMN tier varchar(9)",
        &[
            &["columns.photo", "bytea has no equivalent in the CRM"],
            &[
                "columns.fee",
                "money has no equivalent in the CRM",
                "numeric(18,2)",
            ],
            &["columns.spot", "point has no equivalent in the CRM"],
        ],
        &["Tier__c"],
    );
}

#[test]
fn a_type_without_an_equivalent_that_is_named() {
    let world = World::prepare(
        Mode::Live,
        &format!("{CREATE}\n[tables.\"public.company\".columns.photo]\nfield = \"Photo__c\""),
    );
    let columns = "ALTER TABLE company ADD COLUMN photo bytea, ADD COLUMN tier varchar(9)";
    world.postgres.psql(columns);
    refused(
        world,
        2,
        &["Account has no field Photo__c", "bytea has no equivalent"],
    );
}

#[test]
fn names_that_collide() {
    left_out(
        "ADD COLUMN shoe_size int, ADD COLUMN shoe__size int, ADD COLUMN tier varchar(9)",
        &[
            &[
                "columns.shoe_size",
                "shoe__size",
                "Shoe_Size__c: none is made",
            ],
            &[
                "columns.shoe__size",
                "shoe_size",
                "Shoe_Size__c: none is made",
            ],
        ],
        &["Tier__c"],
    );
}

#[test]
fn a_name_that_is_reserved() {
    left_out(
        "ADD COLUMN created_date date, ADD COLUMN createddate date, ADD COLUMN \"größe\" int, ADD COLUMN \"1st\" int",
        &[
            &["columns.createddate", "is reserved"],
            &["columns.größe", "neither a letter from a to z"],
            &["columns.1st", "a name starts with a letter"],
        ],
        &["Created_Date__c"],
    );
}

#[test]
fn a_reserved_name_that_is_named() {
    let world = World::prepare(
        Mode::Live,
        &format!("{CREATE}\n[tables.\"public.company\".columns.size]\nfield = \"OwnerId__c\""),
    );
    refused(world, 2, &["OwnerId__c", "reserved"]);
}

#[test]
fn a_table_without_a_key() {
    let world = World::prepare(Mode::Live, CREATE);
    world.postgres.psql(
        "ALTER TABLE customer DROP CONSTRAINT customer_pkey; ALTER TABLE company ADD COLUMN tier varchar(9)",
    );
    refused(
        world,
        2,
        &[
            "public.customer has no primary key",
            "ALTER TABLE public.customer ADD PRIMARY KEY (id);",
        ],
    );
}

/// 300 columns, and room for 200: none is made. When there is room, all are, and old rows have them.
#[test]
fn three_hundred_columns_and_no_room() {
    let mut world = World::prepare(Mode::Live, CREATE);
    world.crm.put("limits", r#"{"custom_fields": 200}"#);
    let columns: Vec<String> = (1..=300)
        .map(|n| format!("ADD COLUMN x{n} varchar(9) DEFAULT 'v{n}'"))
        .collect();
    world
        .postgres
        .psql(&format!("ALTER TABLE company {}", columns.join(", ")));
    world
        .postgres
        .psql("INSERT INTO company (id, name, city) VALUES (1, 'Acme', 'Bonn')");
    let before = made(&world);
    world.sidecar.start();
    world.running();
    world.through();
    world.finding(
        "warning",
        &[
            "x1__c",
            "300 new fields are wanted on Account, 197 of its 200 custom fields fit: none was made",
        ],
    );
    world.shows("Account", "Name,City__c", &json!([["1", "Acme", "Bonn"]]));
    assert_eq!(made(&world), before, "half-made");

    world.crm.put("limits", r#"{"custom_fields": 400}"#);
    world.no_finding("cannot be made");
    // Each column is filled by a backfill of its own.
    let patience = 5 * PATIENCE;
    world
        .sidecar
        .wait_until("they are filled", patience, driver::read);
    let whole = json!([["1", "v1", "v150", "v300"]]);
    world.shows("Account", "X1__c,X150__c,X300__c", &whole);
    world.no_problems();
    world.shelf_empty();
    world.end();
}
