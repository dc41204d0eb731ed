//! Kept fields of records that people delete in the CRM.

use serde_json::json;

use crate::world::{COLUMNS, PATIENCE, World, next_second, until};

/// Customer 1 has a phone that a rep wrote after the database did.
fn kept(policy: &str) -> World {
    let mut world = World::prepare(&format!("on_crm_delete = {policy:?}"), COLUMNS);
    world.run();
    world.insert(1);
    next_second();
    world.sidecar.stop();
    world.postgres.psql("UPDATE customer SET phone = 'ours 1'");
    next_second();
    world.edit(1, json!({"Phone": "theirs 1"}));
    world.sidecar.start();
    world.through();
    assert_eq!(world.shows(1, "Phone"), "theirs 1");
    assert_eq!(world.sidecar.status().unwrap()["kept_fields"]["count"], 1);
    world.crm.delete("Contact", "Ext_Id__c", "1");
    world.change("UPDATE customer SET title = 'COO'");
    world
}

fn ends(mut world: World, count: u64) {
    world.sidecar.wait_until("they are counted", PATIENCE, |s| {
        s["kept_fields"]["count"] == count
    });
    let listed = world.sidecar.get("/kept/fields").unwrap();
    let fields = listed["kept_fields"].as_array().unwrap();
    assert_eq!(fields.len() as u64, count, "{listed}");
    world.end();
}

#[test]
fn p5_what_was_kept_goes_with_a_record_that_is_made_again() {
    let world = kept("recreate");
    until("it is made again", || world.shows(1, "Title") == "COO");
    until("with the database's values", || {
        world.shows(1, "Phone") == "ours 1"
    });
    ends(world, 0);
}

#[test]
fn p5_what_was_kept_comes_back_with_its_record() {
    let mut world = kept("undelete");
    until("it is back", || world.shows(1, "Title") == "COO");
    assert_eq!(world.shows(1, "Phone"), "theirs 1");
    // The database has changed since.
    next_second();
    world.change("UPDATE customer SET phone = 'ours 2'");
    assert_eq!(world.shows(1, "Phone"), "ours 2");
    ends(world, 0);
}

#[test]
fn p5_a_record_that_stays_deleted_keeps_no_fields() {
    let world = kept("keep_deleted");
    assert_eq!(world.shows(1, "Title"), serde_json::Value::Null);
    let output = world.sidecar.cli(&["pending", "kept"]).stdout;
    let listed = String::from_utf8(output).unwrap();
    assert!(listed.contains("Contact"), "{listed}");
    ends(world, 0);
}
