//! P2 without a state directory to rely on: the position is in the CRM.

use serde_json::Value;

use crate::support::sidecar::Sidecar;
use crate::world::{PATIENCE, World, until};

const VERSIONED: &str = "version_field = \"Version__c\"";
const PLAIN: &str = "columns.last_name = \"LastName\"\ncolumns.title = \"Title\"";

#[test]
fn p2_the_position_is_written_with_every_write() {
    let mut world = World::prepare(VERSIONED, PLAIN);
    world.run();
    world.insert(1);
    let version = |world: &World| world.shows(1, "Version__c").as_str().unwrap().to_owned();
    let first = version(&world);
    assert_eq!(first.len(), 40);
    world.change("UPDATE customer SET title = 'CFO'");
    assert!(version(&world) > first);
    // What does not change is not written, nor its position.
    let second = version(&world);
    world.change("UPDATE customer SET title = 'CFO'");
    assert_eq!((version(&world), world.verdicts("unchanged")), (second, 1));
    world.end();
}

/// The state directory is put back to an older one, as after a careless restore.
#[test]
fn p2_what_is_older_is_never_written_over_what_is_newer() {
    let mut world = World::prepare(VERSIONED, PLAIN);
    world.run();
    world.insert(1);
    // Another process with a slot and a state of its own reads the same changes.
    let config = std::fs::read_to_string(world.sidecar.state().with_file_name("config.toml"));
    let config = config.unwrap();
    let config = config.replace("[source]", "[source]\nslot = \"other\"");
    let (config, _) = config.split_once("[state]").unwrap();
    let mut other = Sidecar::new(config);
    other.start();
    other.wait_until("the other runs", PATIENCE, |s| s["state"] == "running");
    // It falls asleep behind the first change that it has to write, and ours goes on.
    other.stop();
    for title in ["a", "b", "c"] {
        world.change(&format!("UPDATE customer SET title = '{title}'"));
    }
    world.sidecar.stop();
    let versions = |world: &World| world.shows(1, "Version__c");
    let newest = versions(&world);
    other.start();
    other.wait_until("it is through", PATIENCE, |s| {
        let all = s["verdicts"]["public.customer"].as_object();
        let sum = all.map_or(0, |v| v.values().filter_map(Value::as_i64).sum::<i64>());
        sum >= 3
    });
    let status = other.status().unwrap();
    let verdict = |v: &str| {
        status["verdicts"]["public.customer"][v]
            .as_i64()
            .unwrap_or(0)
    };
    assert_eq!(versions(&world), newest);
    assert_eq!(world.shows(1, "Title"), "c");
    assert_eq!(
        verdict("applied") + verdict("merged") + verdict("unchanged") + verdict("stale"),
        3
    );
    // No write of an older title came through, ever.
    let mut titles = Vec::new();
    world.crm.writes(0, |w| {
        if let Some(title) = w["fields"]["Title"].as_str() {
            titles.push(title.to_owned());
        }
    });
    titles.dedup();
    assert_eq!(titles, ["CEO", "a", "b", "c"]);
    other.stop();
    world.sidecar.start();
    world.through();
    world.end();
}

/// Both run at once: whatever they do, the record ends as the newest change has it.
#[test]
fn p2_two_processes_do_not_run_a_record_backwards() {
    let mut world = World::prepare(VERSIONED, PLAIN);
    world.run();
    world.insert(1);
    let config = std::fs::read_to_string(world.sidecar.state().with_file_name("config.toml"));
    let config = config
        .unwrap()
        .replace("[source]", "[source]\nslot = \"other\"");
    let (config, _) = config.split_once("[state]").unwrap();
    let mut other = Sidecar::new(config);
    other.start();
    other.wait_until("the other runs", PATIENCE, |s| s["state"] == "running");
    for n in 0..30 {
        world
            .postgres
            .psql(&format!("UPDATE customer SET title = 't{n:02}'"));
    }
    world.through();
    until("both are through", || {
        let status = other.status().unwrap_or_default();
        let all = status["verdicts"]["public.customer"].as_object().cloned();
        all.is_some_and(|v| v.values().filter_map(Value::as_i64).sum::<i64>() >= 30)
    });
    assert_eq!(world.shows(1, "Title"), "t29");
    other.stop();
    world.end();
}

#[test]
fn p2_a_field_that_cannot_hold_a_position_is_refused() {
    for (field, what) in [
        ("Short__c", "cannot hold a position"),
        ("Birthdate", "cannot hold a position"),
        ("Nope__c", "no field Nope__c"),
        ("Ext_Id__c", "is the external id"),
        ("Title", "is filled by columns.title already"),
    ] {
        let world = World::prepare(&format!("version_field = {field:?}"), PLAIN);
        let text = r#"{"type":"Text","label":"T","length":39}"#;
        world.crm.put("fields/Contact/Short__c", text);
        let output = world.sidecar.cli(&["check"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(what), "{field}: {text}");
    }
}
