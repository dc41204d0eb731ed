//! Fields on which a person decides.

use serde_json::{Value, json};

use crate::world::{PATIENCE, World, next_second, until};

/// Both sides have changed the tier of customer 1.
fn conflict() -> World {
    let mut world = World::start();
    world.edit(1, json!({"Tier__c": "theirs"}));
    next_second();
    world.change("UPDATE customer SET tier = 'ours', title = 'CFO'");
    world
        .sidecar
        .wait_until("it is held", PATIENCE, |s| s["shelf"]["held"] == 1);
    assert_eq!(world.shows(1, "Title"), "CFO");
    assert_eq!(world.shows(1, "Tier__c"), "theirs");
    assert_eq!(world.verdicts("pending"), 1);
    world
}

fn cli(world: &World, arguments: &[&str]) -> String {
    let output = world.sidecar.cli(arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[test]
fn p5_both_values_wait_for_a_person() {
    let world = conflict();
    let shown = cli(&world, &["pending", "show", "Contact", "1"]);
    assert!(shown.contains("Tier__c = ours"), "{shown}");
    assert!(shown.contains("Tier__c = theirs   (since"), "{shown}");
    assert!(shown.contains("pending release"), "{shown}");
    let json: Value =
        serde_json::from_str(&cli(&world, &["pending", "show", "Contact", "1", "--json"])).unwrap();
    assert_eq!(json["code"], "conflict");
    assert_eq!(json["fields"], json!({"Tier__c": "ours"}));
    assert_eq!(json["conflicts"][0]["crm"], "theirs");
    // A release takes a side.
    for which in [&["--all"][..], &["Contact", "1"]] {
        let output = world
            .sidecar
            .cli(&[&["pending", "release"], which].concat());
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(3), "{told}");
        assert!(told.contains("1 record stays held"), "{told}");
    }
    assert_eq!(world.shows(1, "Tier__c"), "theirs");
    world.end();
}

#[test]
fn p5_the_database_is_taken() {
    let mut world = conflict();
    let told = cli(
        &world,
        &["pending", "release", "Contact", "1", "--take", "source"],
    );
    assert!(told.contains("1 conflict is decided"), "{told}");
    until("it is written", || world.shows(1, "Tier__c") == "ours");
    world
        .sidecar
        .wait_until("the shelf is empty", PATIENCE, |s| s["shelf"]["held"] == 0);
    assert_eq!(
        (world.verdicts("pending"), world.verdicts("applied")),
        (0, 2)
    );
    // Nobody has touched it since.
    world.change("UPDATE customer SET tier = 'ours 2'");
    assert_eq!(world.shows(1, "Tier__c"), "ours 2");
    world.end();
}

#[test]
fn p5_the_crm_is_taken() {
    let mut world = conflict();
    cli(
        &world,
        &["pending", "release", "Contact", "1", "--take", "crm"],
    );
    world
        .sidecar
        .wait_until("the shelf is empty", PATIENCE, |s| s["shelf"]["held"] == 0);
    assert_eq!((world.verdicts("pending"), world.verdicts("kept")), (0, 1));
    world.change("UPDATE customer SET title = 'COO'");
    assert_eq!(world.shows(1, "Tier__c"), "theirs");
    assert_eq!(world.sidecar.status().unwrap()["kept_fields"]["count"], 1);
    // A newer value is asked about again.
    world.change("UPDATE customer SET tier = 'ours 2'");
    world
        .sidecar
        .wait_until("it is held", PATIENCE, |s| s["shelf"]["held"] == 1);
    world.end();
}

#[test]
fn p5_newer_changes_merge_into_what_is_held() {
    let mut world = conflict();
    world.change("UPDATE customer SET title = 'COO'");
    assert_eq!(world.shows(1, "Title"), "COO");
    world.change("UPDATE customer SET tier = 'ours 2', phone = 'p2'");
    assert_eq!(world.shows(1, "Phone"), "p2");
    assert_eq!(world.shows(1, "Tier__c"), "theirs");
    let status = world.sidecar.status().unwrap();
    assert_eq!(
        (&status["shelf"]["held"], world.verdicts("pending")),
        (&json!(1), 1)
    );
    // It resolves by itself when both sides come to say the same.
    world.change("UPDATE customer SET tier = 'theirs'");
    let status = world.sidecar.status().unwrap();
    assert_eq!(
        (&status["shelf"]["held"], world.verdicts("pending")),
        (&json!(0), 0)
    );
    world.end();
}

#[test]
fn p5_a_decision_can_be_made_a_rule() {
    let mut world = conflict();
    let told = cli(
        &world,
        &[
            "pending", "release", "Contact", "1", "--take", "source", "--always",
        ],
    );
    assert!(
        told.contains("columns.tier = { field = \"Tier__c\", owner = \"source\" }"),
        "{told}"
    );
    until("it is written", || world.shows(1, "Tier__c") == "ours");
    let decided = |s: &Value| s["findings"].to_string().contains("a person has decided");
    world.sidecar.wait_until("it is a rule", PATIENCE, decided);
    world.edit(1, json!({"Tier__c": "theirs 2"}));
    world.change("UPDATE customer SET tier = 'ours 2'");
    assert_eq!(world.shows(1, "Tier__c"), "ours 2");
    // It holds after a restart, too.
    world.sidecar.stop();
    world.sidecar.start();
    world
        .sidecar
        .wait_until("it is still a rule", PATIENCE, decided);
    world.edit(1, json!({"Tier__c": "theirs 3"}));
    world.change("UPDATE customer SET tier = 'ours 3'");
    assert_eq!(world.shows(1, "Tier__c"), "ours 3");
    world.end();
}
