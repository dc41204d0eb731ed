//! P9: runaway success is braked.

use serde_json::json;

use crate::driver::{Rules, World};

const CUSTOMERS: &str =
    "INSERT INTO customer SELECT g, 'n' || g, NULL, NULL FROM generate_series(1, 200) g";

fn braked(more: &str) -> Rules<'_> {
    Rules {
        more,
        ..Rules::default()
    }
}

/// `DELETE` without `WHERE`: so many go, the others are held, through a kill, until a person says.
#[test]
fn p9_a_delete_storm_is_held_until_it_is_released() {
    let rules = braked("[brake]\ndeletes = 50\nwithin = \"10m\"\n[delivery]\nmax_rows = 60\n");
    let mut world = World::start(&rules);
    world.change(CUSTOMERS);
    assert_eq!(world.count("Contact"), 200);
    world.change("DELETE FROM customer");
    world.shelved("held", 150);
    assert_eq!(world.count("Contact"), 150);
    let status = world.sidecar.status().unwrap();
    assert_eq!(status["brakes"][0]["table"], "public.customer");
    assert_eq!(status["brakes"][0]["code"], "brake_deletes");
    let told = status["findings"].to_string();
    assert!(told.contains("more than 50 deletes of public.customer within 10m"));
    assert!(world.sidecar.log().contains("more than 50 deletes"));
    // Other tables, and other changes of this one, go on.
    world
        .change("INSERT INTO company VALUES (1, 'Acme'); INSERT INTO customer VALUES (300, 'new')");
    assert_eq!((world.count("Account"), world.count("Contact")), (1, 151));
    // A row that comes back is not deleted any more.
    world.change("INSERT INTO customer SELECT 200, 'back'");
    world.shelved("held", 149);
    // The brake is on again after a crash, for new deletes, too.
    world.sidecar.kill();
    world.sidecar.start();
    world.running();
    world.change("DELETE FROM customer WHERE id = 300");
    world.shelved("held", 150);
    world.accounts_for("public.customer", 200 + 200 + 1 + 1 + 1);
    let listed = world.cli(&[
        "pending",
        "list",
        "--table",
        "public.customer",
        "--code",
        "brake_deletes",
        "--limit",
        "200",
    ]);
    assert_eq!(listed.matches("brake_deletes").count(), 150);
    // One alone, then all of them; none trips it again.
    world.cli(&["pending", "release", "Contact", "300"]);
    world.shelved("held", 149);
    world.cli(&["pending", "release", "--table", "public.customer"]);
    world.shelf_empty();
    world.shows("Contact", "LastName", &json!([["200", "back"]]));
    let status = world.sidecar.status().unwrap();
    assert_eq!(status["brakes"], json!([]));
    world.accounts_for("public.customer", 200 + 200 + 1 + 1 + 1);
    assert_eq!(world.verdict("public.customer", "pending"), 0);
    // For a while the table is free.
    world.change("DELETE FROM customer");
    world.shows("Contact", "LastName", &json!([]));
    world.end();
}

/// What is given up takes the brake off, and it counts from zero.
#[test]
fn p9_a_storm_that_is_discarded_leaves_the_records() {
    let rules = braked("[brake]\ndeletes = 50\n");
    let mut world = World::start(&rules);
    world.change(CUSTOMERS);
    world.change("DELETE FROM customer WHERE id <= 100");
    world.shelved("held", 50);
    world.cli(&["pending", "discard", "--table", "public.customer", "--yes"]);
    world.shelf_empty();
    assert_eq!(world.count("Contact"), 150);
    assert_eq!(world.sidecar.status().unwrap()["brakes"], json!([]));
    world.change("DELETE FROM customer WHERE id > 190");
    assert_eq!(world.count("Contact"), 140);
    world.accounts_for("public.customer", 200 + 100 + 10);
    world.end();
}

/// Marks of deleted rows count as deletes.
#[test]
fn p9_archives_count_as_deletes() {
    let rules = Rules {
        customer: "on_delete = { set = { Active__c = false } }",
        more: "[brake]\ndeletes = 20\n",
        ..Rules::default()
    };
    let mut world = World::start(&rules);
    world.change(CUSTOMERS);
    world.change("DELETE FROM customer");
    world.shelved("held", 180);
    let records = world.crm.records("Contact", "Active__c");
    let left = records.iter().filter(|r| r["Active__c"] == false).count();
    assert_eq!(left, 20);
    world.cli(&["pending", "release", "--all"]);
    world.shelf_empty();
    let records = world.crm.records("Contact", "Active__c");
    assert!(records.iter().all(|r| r["Active__c"] == false));
    world.end();
}

/// The CRM would delete the children with their parents, behind the brake's back.
#[test]
fn p9_parents_are_held_with_their_children() {
    let rules = Rules {
        reference: "ON DELETE CASCADE",
        more: "[brake]\ndeletes = 50\n[delivery]\nmax_rows = 40\n",
        ..Rules::default()
    };
    let mut world = World::start(&rules);
    world.change(
        "INSERT INTO company VALUES (1, 'Acme');
         INSERT INTO customer SELECT g, 'n' || g, NULL, 1 FROM generate_series(1, 200) g",
    );
    world.change("DELETE FROM company");
    world.shelved("held", 151);
    assert_eq!((world.count("Account"), world.count("Contact")), (1, 150));
    world.cli(&["pending", "release", "--all", "--code", "brake_deletes"]);
    world.shelf_empty();
    assert_eq!((world.count("Account"), world.count("Contact")), (0, 0));
    world.end();
}

/// Two tools that undo each other's work.
#[test]
fn p9_a_record_that_flips_to_and_fro_is_held() {
    let rules = braked("[brake]\nwrites_per_record = 20\n[delivery]\nlinger = \"1ms\"\n");
    let mut world = World::start(&rules);
    world.change("INSERT INTO customer VALUES (1, 'a'), (2, 'quiet')");
    let mut round = 0;
    while world.sidecar.status().unwrap()["shelf"]["held"] == 0 {
        round += 1;
        assert!(round < 200, "nothing is held");
        let name = if round % 2 == 0 { "a" } else { "b" };
        world.change(&format!(
            "UPDATE customer SET last_name = '{name}' WHERE id = 1"
        ));
    }
    assert!((20..=21).contains(&round), "held after {round} writes");
    world.change("UPDATE customer SET last_name = 'settled' WHERE id = 1");
    world.change("UPDATE customer SET last_name = 'still here' WHERE id = 2");
    world.shelved("held", 1);
    let held = world.cli(&["pending", "show", "Contact", "1"]);
    assert!(held.contains("brake_writes"), "{held}");
    assert!(held.contains("settled"), "later changes merge in: {held}");
    world.cli(&["pending", "release", "Contact", "1"]);
    world.shelf_empty();
    let expected = json!([["1", "settled"], ["2", "still here"]]);
    world.shows("Contact", "LastName", &expected);
    // It is not held again at once.
    world.change("UPDATE customer SET last_name = 'goes on' WHERE id = 1");
    let expected = json!([["1", "goes on"], ["2", "still here"]]);
    world.shows("Contact", "LastName", &expected);
    world.accounts_for("public.customer", 2 + round + 3);
    world.end();
}
