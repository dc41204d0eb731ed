//! Routing rules: a column that arrives goes where the team wrote that it should, with nobody editing
//! a file.

use serde_json::json;

use crate::driver::{Mode, World, both_ways};

both_ways! {
    a_rule_fills_old_rows
}

mod cases {
    use super::*;

    pub fn a_rule_fills_old_rows(mode: Mode) {
        let mut world = World::start(
            mode,
            r#"
[[routing.rules]]
column = "secret_*"
ignore = true
[[routing.rules]]
table = "comp*"
type = "timestamptz"
missing_field = "create"
backfill = true
field = "{Table}_{Column}__c"
label = "When"
[[routing.rules]]
table = "comp*"
column = "*_code"
missing_field = "create"
backfill = true
"#,
        );
        world.change(
            "INSERT INTO company SELECT n, 'c' || n, NULL, n FROM generate_series(1, 40) n",
        );
        world.alter(&[
            "ALTER TABLE company ADD COLUMN vat_code varchar(9) DEFAULT 'none',
               ADD COLUMN secret_code varchar(9) DEFAULT 's3cret', ADD COLUMN shade varchar(9) DEFAULT 'grey',
               ADD COLUMN signed_at timestamptz DEFAULT '2026-01-02 03:04:05+00'",
            "UPDATE company SET vat_code = 'DE7' WHERE id = 7",
            "INSERT INTO company (id, name, vat_code) VALUES (41, 'c41', 'DE41')",
            "DELETE FROM company WHERE id > 9 AND id < 41",
        ]);
        let at = "2026-01-02T03:04:05.000+0000";
        let row = |id: u32| {
            let code = match id {
                7 => "DE7",
                41 => "DE41",
                _ => "none",
            };
            json!([id.to_string(), format!("c{id}"), code, at])
        };
        let expected: Vec<_> = (1..=9).chain([41]).map(row).collect();
        world.shows(
            "Account",
            "Name,Vat_Code__c,Company_Signed_At__c",
            &json!(expected),
        );
        world.counted("column_added", 4);
        assert_eq!(
            world.field("Account", "Company_Signed_At__c")["label"],
            "When"
        );
        // Neither the one that a rule leaves out, nor the one without a rule.
        assert_eq!(world.field("Account", "Secret_Code__c"), json!(null));
        assert_eq!(world.field("Account", "Shade__c"), json!(null));
        world.finding("note", &["secret_code", "routing.rules[1]"]);
        world.shelf_empty();
        world.end();
    }
}

/// A rule that says halt holds its table, and no other.
#[test]
fn a_rule_that_halts() {
    let mut world = World::start(
        Mode::Live,
        "[[routing.rules]]\ncolumn = \"pii_*\"\nhalt = true",
    );
    world.change("INSERT INTO company VALUES (1, 'Acme', 'Bonn', 7)");
    world.alter(&[
        "ALTER TABLE company ADD COLUMN pii_name text",
        "UPDATE company SET city = 'Ulm', pii_name = 'x'",
        "INSERT INTO customer VALUES (1, 'Lee', 'x', 1)",
    ]);
    world.finding("problem", &["public.company", "pii_name", "halt"]);
    world.shelved("held", 1);
    world.shows("Contact", "LastName", &json!([["1", "Lee"]]));
    world.shows("Account", "City__c", &json!([["1", "Bonn"]]));
    world.alter(&["ALTER TABLE company DROP COLUMN pii_name"]);
    world.shows("Account", "City__c", &json!([["1", "Ulm"]]));
    world.shelf_empty();
    world.no_problems();
    world.end();
}

/// While the field of a new column is being made, nothing is taken by the old rules: they know nothing
/// of the column, and its values would be gone without a word.
#[test]
fn what_comes_while_rules_are_made_waits_for_them() {
    let mut world = World::start(
        Mode::Live,
        "[[routing.rules]]\ncolumn = \"tier\"\nmissing_field = \"create\"\n",
    );
    world.change("INSERT INTO company SELECT n, 'c' || n FROM generate_series(1, 5) n");
    world.crm.put("limits", r#"{"describe_lag_ms": 1500}"#);
    world
        .postgres
        .psql("ALTER TABLE company ADD COLUMN tier varchar(9)");
    // The first change tells of the column; the others arrive while its field is made. Each is a
    // transaction, and so is each of the other table.
    let mut expected = Vec::new();
    for id in 1..=60_u32 {
        if id <= 5 {
            world.postgres.psql(&format!(
                "UPDATE company SET tier = 't{id}' WHERE id = {id}"
            ));
        } else {
            world.postgres.psql(&format!(
                "INSERT INTO company (id, name, tier) VALUES ({id}, 'c{id}', 't{id}');
                 INSERT INTO customer (id, last_name, company_id) VALUES ({id}, 'p{id}', {id})"
            ));
        }
        expected.push(json!([id.to_string(), format!("c{id}"), format!("t{id}")]));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    world.through();
    world.shows("Account", "Name,Tier__c", &json!(expected));
    world.counted("column_added", 1);
    world.shelf_empty();
    world.end();
}

/// While stopped a column came, got values and went, and another took its place: nothing in the stream
/// says which of the two a row means. No value reaches a field that is not its own.
#[test]
fn columns_that_came_and_went_meanwhile_stay_apart() {
    let mut world = World::start(
        Mode::Live,
        "[[routing.rules]]\ncolumn = \"c_*\"\nmissing_field = \"create\"\n",
    );
    world.change("INSERT INTO company SELECT n, 'c' || n FROM generate_series(1, 4) n");
    world.sidecar.stop();
    for sql in [
        "ALTER TABLE company ADD COLUMN c_old varchar(20)",
        "UPDATE company SET c_old = 'old' WHERE id = 1",
        "ALTER TABLE company DROP COLUMN c_old, ADD COLUMN c_mid varchar(20)",
        "UPDATE company SET c_mid = 'mid' WHERE id IN (2, 3)",
        "ALTER TABLE company RENAME COLUMN c_mid TO c_new",
        "UPDATE company SET c_new = 'new' WHERE id = 3",
        "UPDATE company SET name = 'Acme' WHERE id = 4",
    ] {
        world.postgres.psql(sql);
    }
    world.sidecar.start();
    world.running();
    world.through();
    let expected = json!([
        ["1", "c1", null],
        ["2", "c2", "mid"],
        ["3", "c3", "new"],
        ["4", "Acme", null]
    ]);
    world.shows("Account", "Name,C_New__c", &expected);
    // It was read anew, as what could not be told apart was told at last.
    world.until("it is read anew", |s| {
        let backfills = s["backfills"].as_array().unwrap();
        backfills.iter().any(|b| b["ended"][0]["kind"] == "mend")
    });
    let log = world.sidecar.log();
    assert!(
        log.contains("which column this became cannot be told"),
        "{log}"
    );
    world.shelf_empty();
    world.end();
}
