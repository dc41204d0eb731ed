//! Rows that go and come back: one record, with the row's own values.

use serde_json::json;

use crate::driver::{Rules, World};

const MARKS: &str = r#"on_delete = { set = { Active__c = false, Left_On__c = "{commit_time}", Left_Day__c = "{commit_time}", Why__c = "{{{old.last_name}}} left at {lsn}" } }"#;

fn archiving() -> World {
    let mut world = World::prepare(&Rules {
        customer: MARKS,
        ..Rules::default()
    });
    world
        .postgres
        .psql("ALTER TABLE customer REPLICA IDENTITY FULL");
    world.sidecar.start();
    world.running();
    world
}

#[test]
fn p9_a_deleted_row_leaves_its_marks_and_takes_them_back() {
    let mut world = archiving();
    world.change("INSERT INTO customer VALUES (1, 'Lee', 'n1')");
    let id = world.id("Contact", "1");
    world.change("DELETE FROM customer");
    let gone = world
        .crm
        .records(
            "Contact",
            "Active__c,Left_On__c,Left_Day__c,Why__c,LastName",
        )
        .remove(0);
    assert_eq!(
        (&gone["Active__c"], &gone["LastName"]),
        (&json!(false), &json!("Lee"))
    );
    let why = gone["Why__c"].as_str().unwrap();
    assert!(why.starts_with("{Lee} left at 0/"), "{why}");
    let (at, day) = (
        gone["Left_On__c"].as_str().unwrap(),
        gone["Left_Day__c"].as_str().unwrap(),
    );
    assert!(at.starts_with(day), "{at} {day}");
    world.change("INSERT INTO customer VALUES (1, 'Back', 'n2')");
    let fields = "Active__c,Left_On__c,Left_Day__c,Why__c,LastName,Note__c";
    world.shows(
        "Contact",
        fields,
        &json!([["1", true, null, null, null, "Back", "n2"]]),
    );
    assert_eq!(world.id("Contact", "1"), id);
    // All in one transaction, several times over.
    world.change(
        "BEGIN; DELETE FROM customer; INSERT INTO customer VALUES (1, 'Once', NULL);
         DELETE FROM customer; INSERT INTO customer VALUES (1, 'Twice', NULL), (2, 'Fleeting', NULL);
         DELETE FROM customer WHERE id = 2; COMMIT",
    );
    world.shows(
        "Contact",
        "Active__c,LastName,Note__c",
        &json!([["1", true, "Twice", null], ["2", false, "Fleeting", null]]),
    );
    assert_eq!(world.id("Contact", "1"), id);
    world.accounts_for("public.customer", 3 + 6);
    world.end();
}

/// The identity changed while it ran: the old value is gone for good, and a person hears of it.
#[test]
fn p9_an_old_value_that_was_not_sent_is_a_dead_letter() {
    let mut world = archiving();
    world.change("INSERT INTO customer VALUES (1, 'Lee'), (2, 'Kim')");
    world
        .postgres
        .psql("ALTER TABLE customer REPLICA IDENTITY DEFAULT");
    world.change("DELETE FROM customer");
    world.shelved("dead_letter", 2);
    let shown = world.cli(&["pending", "show", "Contact", "1"]);
    assert!(shown.contains("delete_incomplete"), "{shown}");
    assert!(
        shown.contains("ALTER TABLE public.customer REPLICA IDENTITY FULL;"),
        "{shown}"
    );
    world.cli(&["pending", "retry", "Contact", "1"]);
    world.shelved("dead_letter", 1);
    world.change("INSERT INTO customer VALUES (2, 'Back')");
    world.shelf_empty();
    world.shows(
        "Contact",
        "Active__c,Why__c,LastName",
        &json!([["1", false, null, "Lee"], ["2", true, null, "Back"]]),
    );
    world.accounts_for("public.customer", 5);
    world.end();
}

#[test]
fn a_start_without_the_old_values_is_refused_with_the_statement() {
    let mut world = World::prepare(&Rules {
        customer: MARKS,
        ..Rules::default()
    });
    let out = world.sidecar.cli(&["check"]);
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    assert!(!out.status.success());
    assert!(
        text.contains("ALTER TABLE public.customer REPLICA IDENTITY FULL;"),
        "{text}"
    );
    world
        .postgres
        .psql("ALTER TABLE customer REPLICA IDENTITY FULL");
    world.sidecar.start();
    world.running();
    world.end();
}

fn comes_and_goes(on_delete: &str, same_record: bool) {
    let rule = format!("on_delete = {on_delete}");
    let mut world = World::start(&Rules {
        customer: &rule,
        more: "[delivery]\nmax_rows = 7\nlinger = \"1ms\"\n",
        ..Rules::default()
    });
    world.change("INSERT INTO customer SELECT g, 'a' || g FROM generate_series(1, 40) g");
    let first = world.id("Contact", "1");
    // One window or several, with a kill in between.
    for round in 0..4 {
        world.postgres.psql("DELETE FROM customer");
        if round == 1 {
            world.sidecar.kill();
            world.sidecar.start();
        }
        if round == 2 {
            world.running();
            world.through();
        }
        world.postgres.psql(&format!(
            "INSERT INTO customer SELECT g, 'r{round}-' || g FROM generate_series(1, 40) g"
        ));
        if round == 3 {
            world.sidecar.kill();
            world.sidecar.start();
        }
    }
    world.running();
    world.through();
    world.shelf_empty();
    let rows: Vec<_> = (1..=40)
        .map(|g| json!([g.to_string(), format!("r3-{g}")]))
        .collect();
    world.shows("Contact", "LastName", &json!(rows));
    assert_eq!(world.count("Contact"), 40, "P3: none is there twice");
    if same_record {
        assert_eq!(world.id("Contact", "1"), first);
        let active = world.crm.records("Contact", "Active__c");
        assert!(active.iter().all(|r| r["Active__c"] == true));
    }
    world.accounts_for("public.customer", 40 * 9);
    world.end();
}

#[test]
fn p3_deleted_and_inserted_again() {
    comes_and_goes("\"delete\"", false);
}

#[test]
fn p3_archived_and_inserted_again() {
    comes_and_goes("{ set = { Active__c = false } }", true);
}

#[test]
fn p3_deleted_for_good_and_inserted_again() {
    comes_and_goes("\"hard_delete\"", false);
}

#[test]
fn a_hard_delete_leaves_nothing_in_the_bin() {
    let mut world = World::start(&Rules {
        customer: "on_delete = \"hard_delete\"",
        ..Rules::default()
    });
    world.change("INSERT INTO customer VALUES (1, 'Lee'), (2, 'Kim')");
    world.change("DELETE FROM customer WHERE id = 1");
    world.shelf_empty();
    let all = world
        .crm
        .get("records/Contact?deleted=true&fields=Ext_Id__c");
    assert_eq!(all.as_array().unwrap().len(), 1, "{all}");
    world.end();
}
