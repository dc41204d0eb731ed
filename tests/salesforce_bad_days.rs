//! Bad days of an org, end to end: the binary, a real Postgres, and a sandbox over HTTP. Of each: what a
//! person is told, what goes on meanwhile, and that all that changed is written after the cure.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    unused_imports,
    unused_macros,
    dead_code
)]

#[path = "schema/driver.rs"]
mod driver;
mod support;

use std::path::Path;
use std::time::Duration;

use driver::{Mode, PATIENCE, World};
use serde_json::{Value, json};

const FIRST: &str = "INSERT INTO company VALUES (1, 'Acme', 'Bonn', 1), (2, 'Brit', 'Ulm', 2);
    INSERT INTO customer VALUES (1, 'Lee', 'x', 1), (2, 'Kim', 'y', 2)";
const SECOND: &str = "UPDATE company SET name = name || '!';
    UPDATE customer SET last_name = last_name || '!';
    INSERT INTO customer VALUES (3, 'Roe', 'z', 1)";

fn world() -> World {
    let mut world = World::start(Mode::Live, "");
    world.change(FIRST);
    world
}

/// Everything is there, and nothing is left over.
fn whole(mut world: World) {
    world.shows("Account", "Name", &json!([["1", "Acme!"], ["2", "Brit!"]]));
    let people = json!([["1", "Lee!"], ["2", "Kim!"], ["3", "Roe"]]);
    world.shows("Contact", "LastName", &people);
    world.through();
    world.shelf_empty();
    world.running();
    world.end();
}

fn faults(world: &World, rules: &Value) {
    let plan = json!({"seed": 1, "rules": rules});
    world.crm.put("faults", &plan.to_string());
}

/// It says these words in its log.
fn logged(world: &mut World, words: &[&str]) {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let log = world.sidecar.log();
        let line = log.lines().find(|l| words.iter().all(|w| l.contains(w)));
        if let Some(line) = line {
            println!("log: {line}");
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{words:?}\n{log}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The CRM takes nothing, and status says why.
fn down(world: &mut World, code: &str) {
    world.until(code, |s| {
        let crm = &s["crm"];
        let told = s["state"] == "crm_down" && crm["last_fault"] == code;
        if told {
            println!("status: {} {}", s["state"], crm["last_fault"]);
        }
        told
    });
}

#[test]
fn an_org_in_maintenance_is_waited_for() {
    let mut world = world();
    faults(&world, &json!([{"kind": "maintenance"}]));
    world.postgres.psql(SECOND);
    down(&mut world, "http_503");
    world.crm.remove("faults");
    whole(world);
}

#[test]
fn an_answer_cut_in_half_is_asked_for_again() {
    let mut world = world();
    faults(
        &world,
        &json!([{"kind": "cut", "times": 3, "path": "composite"}]),
    );
    world.postgres.psql(SECOND);
    logged(&mut world, &["a request to the CRM failed", "Unknown"]);
    whole(world);
}

#[test]
fn an_error_under_a_good_status_is_no_answer() {
    for kind in ["false_ok", "html_ok"] {
        let mut world = world();
        faults(&world, &json!([{"kind": kind, "path": "composite"}]));
        world.postgres.psql(SECOND);
        down(&mut world, "unreadable_answer");
        world.crm.remove("faults");
        whole(world);
    }
}

/// The port is the same, the name is another: for the client another instance.
fn move_away(world: &World, redirect: &Value) -> String {
    let elsewhere = world.crm.url().replace("127.0.0.1", "localhost");
    let instance = json!({"url": elsewhere, "redirect": redirect});
    world.crm.put("instance", &instance.to_string());
    elsewhere
}

#[test]
fn an_org_that_has_moved_is_found_by_a_new_login() {
    for redirect in [json!(302), json!(308), Value::Null] {
        let mut world = world();
        let elsewhere = move_away(&world, &redirect);
        world.postgres.psql(SECOND);
        logged(&mut world, &["logged in to Salesforce", &elsewhere]);
        whole(world);
    }
}

#[test]
fn a_redirect_to_a_stranger_is_not_followed() {
    let mut world = world();
    let rule = json!([{"kind": "redirect", "location": "http://127.0.0.1:9", "path": "composite"}]);
    faults(&world, &rule);
    world.postgres.psql(SECOND);
    let status = world.sidecar.ends(PATIENCE);
    assert_eq!(status.code(), Some(1));
    logged(&mut world, &["redirected"]);
    world.crm.remove("faults");
    world.sidecar.start();
    whole(world);
}

#[test]
fn a_secret_that_has_expired_stops_with_what_to_do() {
    let mut world = World::prepare(Mode::Live, "");
    let app = |secret: &str| json!({"client_id": "cdc", "client_secret": secret}).to_string();
    world.crm.put("apps", &app("one"));
    world.sidecar.sets = vec![
        "destination.client_id=cdc".into(),
        "destination.client_secret=one".into(),
    ];
    world.sidecar.start();
    world.running();
    world.change(FIRST);
    world.crm.put("apps", &app("two"));
    world.crm.remove("sessions");
    world.postgres.psql(SECOND);
    let status = world.sidecar.ends(PATIENCE);
    assert_eq!(status.code(), Some(1));
    logged(&mut world, &["invalid_client", "refuses"]);
    logged(&mut world, &["consumer key or secret is wrong"]);
    // Started again without a cure it says so, and nothing is lost by that.
    world.sidecar.start();
    assert_eq!(world.sidecar.ends(PATIENCE).code(), Some(1));
    world.sidecar.sets[1] = "destination.client_secret=two".into();
    world.sidecar.start();
    whole(world);
}

#[test]
fn a_field_that_is_closed_holds_the_changes_of_that_field() {
    let mut world = world();
    let city = |locked: bool| json!({"object": "Account", "field": "City__c", "read_only": locked});
    world.crm_schema(&city(true));
    // What comes before it is noticed is refused, and a dead letter until the field is open again.
    world.finding("problem", &["Account.City__c"]);
    world.change(
        "UPDATE company SET city = 'Hof' WHERE id = 1; UPDATE company SET size = 7 WHERE id = 2",
    );
    world.shelved("held", 1);
    world.change(SECOND);
    let sizes = json!([["1", "Acme", 1.0], ["2", "Brit!", 7.0]]);
    world.shows("Account", "Name,Size__c", &sizes);
    world.crm_schema(&city(false));
    world.shows("Account", "City__c", &json!([["1", "Hof"], ["2", "Ulm"]]));
    whole(world);
}

#[test]
fn an_object_that_is_closed_holds_its_own_records_only() {
    let mut world = world();
    let rights = |may: bool| {
        json!({"object": "Contact", "user": "integration@sandbox.test", "create": may, "edit": may})
            .to_string()
    };
    world.crm.put("rights", &rights(false));
    world.change(
        "INSERT INTO customer SELECT n, 'Row', 'r', 1 FROM generate_series(100, 399) n;
         UPDATE company SET name = name || '!'",
    );
    world.shows("Account", "Name", &json!([["1", "Acme!"], ["2", "Brit!"]]));
    world.finding("problem", &["public.customer", "Contact"]);
    world.change("UPDATE customer SET last_name = last_name || '!' WHERE id < 100");
    world.change("INSERT INTO customer VALUES (3, 'Roe', 'z', 1)");
    world.running();
    assert_eq!(
        world
            .records("Contact", "LastName")
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let status = world.sidecar.status().unwrap();
    println!("shelf: {}", status["shelf"]);
    world.crm.put("rights", &rights(true));
    world.shelf_empty();
    assert_eq!(
        world
            .records("Contact", "LastName")
            .as_array()
            .unwrap()
            .len(),
        303
    );
    world.change("DELETE FROM customer WHERE id >= 100");
    whole(world);
}

#[test]
fn a_clock_that_is_wrong_is_seen_and_reckoned_with() {
    let mut world = World::prepare(Mode::Live, "");
    let key = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/salesforce/pem/signing-key.pem");
    world.sidecar.sets = vec![
        format!("destination.private_key_file={}", key.display()),
        "destination.username=integration@sandbox.test".into(),
    ];
    world.sidecar.start();
    world.running();
    world.change(FIRST);
    // The org's clock is now ten minutes ahead of ours, and our session is gone.
    world.crm.put("clock", r#"{"advance_ms": 600000}"#);
    world.crm.remove("sessions");
    world.postgres.psql(SECOND);
    logged(&mut world, &["clock is ahead", "NTP"]);
    whole(world);
}
