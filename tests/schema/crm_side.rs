//! The CRM's schema changes while we run: what is affected waits with its reason, the rest is written,
//! and what waited goes when the field is mended.

use serde_json::{Value, json};

use crate::driver::{Mode, World};

fn world() -> World {
    let mut world = World::start(Mode::Live, "");
    world.change(
        "INSERT INTO company VALUES (1, 'Acme', 'Bonn', 1), (2, 'Brit', 'Ulm', 2), (3, 'Cat', 'Hof', 3)",
    );
    world
}

/// Changes that touch the city, and changes that do not.
const CHANGES: [&str; 3] = [
    "UPDATE company SET city = 'Köln' WHERE id = 1",
    "UPDATE company SET size = 20 WHERE id = 2",
    "INSERT INTO customer VALUES (1, 'Lee', 'x', 3)",
];

/// A field of ours is lost, and comes back.
fn lost(change: &Value, mend: &Value, words: &str) {
    let mut world = world();
    world.crm_schema(change);
    world.finding("problem", &["public.company", "Account.City__c", words]);
    for sql in CHANGES {
        world.change(sql);
    }
    world.shelved("held", 1);
    let pending = world.sidecar.get("/pending").unwrap();
    let held = &pending["pending"][0];
    assert_eq!(held["external_id"], "1", "{pending:#}");
    assert_eq!(held["code"], "field_broken", "{pending:#}");
    let sizes = json!([["1", 1.0], ["2", 20.0], ["3", 3.0]]);
    world.shows("Account", "Size__c", &sizes);
    world.shows("Contact", "LastName", &json!([["1", "Lee"]]));
    // A later change of the held record that does not touch the field.
    world.change("UPDATE company SET size = 10 WHERE id = 1");

    world.crm_schema(mend);
    let whole = json!([["1", "Köln", 10.0], ["2", "Ulm", 20.0], ["3", "Hof", 3.0]]);
    world.shows("Account", "City__c,Size__c", &whole);
    world.shelf_empty();
    world.no_problems();
    world.end();
}

#[test]
fn a_field_that_vanishes() {
    let field = |vanish: bool| json!({"object": "Account", "field": "City__c", "vanish": vanish});
    lost(&field(true), &field(false), "gone");
}

#[test]
fn a_field_that_is_hidden() {
    let field = |hide: bool| json!({"object": "Account", "field": "City__c", "hide": hide});
    lost(&field(true), &field(false), "gone");
}

#[test]
fn a_field_that_becomes_read_only() {
    let field =
        |locked: bool| json!({"object": "Account", "field": "City__c", "read_only": locked});
    lost(&field(true), &field(false), "no longer be written");
}

#[test]
fn a_field_that_becomes_shorter() {
    let mut world = world();
    world.crm_schema(&json!({"object": "Account", "field": "City__c", "length": 6}));
    world.finding("warning", &["public.company", "City__c", "6"]);
    for sql in CHANGES {
        world.change(sql);
    }
    world.change("UPDATE company SET city = 'Wolfenbüttel' WHERE id = 3");
    world.shelved("dead_letter", 1);
    let pending = world.sidecar.get("/pending").unwrap();
    assert_eq!(pending["pending"][0]["external_id"], "3", "{pending:#}");
    assert!(pending.to_string().contains("City__c"), "{pending:#}");
    assert!(!pending.to_string().contains("Wolfenb"), "{pending:#}");
    let others = json!([["1", "Köln", 1.0], ["2", "Ulm", 20.0], ["3", "Hof", 3.0]]);
    world.shows("Account", "City__c,Size__c", &others);
    world.crm_schema(&json!({"object": "Account", "field": "City__c", "length": 80}));
    world.no_finding("such rows become dead letters");
    // The value was refused, not kept: it is read again.
    let wish = json!({"table": "public.company"}).to_string();
    let answer = world.sidecar.post("/backfill", &wish).unwrap();
    assert_eq!(answer["started"], true, "{answer}");
    let whole = json!([["1", "Köln"], ["2", "Ulm"], ["3", "Wolfenbüttel"]]);
    world.shows("Account", "City__c", &whole);
    world.shelf_empty();
    world.end();
}

#[test]
fn a_field_that_becomes_required() {
    let mut world = world();
    world.crm_schema(&json!({"object": "Account", "field": "City__c", "required": true}));
    world.finding("warning", &["public.company", "City__c takes no null"]);
    for sql in CHANGES {
        world.change(sql);
    }
    world.change("UPDATE company SET city = NULL WHERE id = 3");
    world.shelved("dead_letter", 1);
    let others = json!([["1", "Köln", 1.0], ["2", "Ulm", 20.0], ["3", "Hof", 3.0]]);
    world.shows("Account", "City__c,Size__c", &others);
    world.crm_schema(&json!({"object": "Account", "field": "City__c", "required": false}));
    world.no_finding("such rows become dead letters");
    world.change("UPDATE company SET city = NULL, size = 30 WHERE id = 3");
    let whole = json!([["1", "Köln", 1.0], ["2", "Ulm", 20.0], ["3", null, 30.0]]);
    world.shows("Account", "City__c,Size__c", &whole);
    world.shelf_empty();
    world.end();
}

#[test]
fn a_picklist_that_becomes_restricted() {
    let mut world = World::prepare(Mode::Live, "");
    world
        .postgres
        .psql("ALTER TABLE company ADD COLUMN tier text");
    let tier = json!({"type": "Picklist", "label": "Tier", "valueSet": {"restricted": false,
        "valueSetDefinition": {"sorted": false, "value": [{"fullName": "gold"}, {"fullName": "tin"}]}}});
    world.crm.put("fields/Account/Tier__c", &tier.to_string());
    world.sidecar.start();
    world.running();
    world.change(
        "INSERT INTO company VALUES (1, 'Acme', NULL, 1, 'gold'), (2, 'Brit', NULL, 2, 'lead')",
    );
    let first = json!([["1", "gold"], ["2", "lead"]]);
    world.shows("Account", "Tier__c", &first);
    world.crm_schema(&json!({"object": "Account", "field": "Tier__c", "restricted": true}));
    world.finding(
        "note",
        &[
            "columns.tier",
            "Tier__c takes the 2 values of its list only",
        ],
    );
    world.change("UPDATE company SET tier = 'zinc' WHERE id = 1; UPDATE company SET tier = 'tin' WHERE id = 2");
    world.shelved("dead_letter", 1);
    let then = json!([["1", "gold"], ["2", "tin"]]);
    world.shows("Account", "Tier__c", &then);
    world.crm_schema(&json!({"object": "Account", "field": "Tier__c", "restricted": false}));
    world.no_finding("values of its list only");
    world.change("UPDATE company SET tier = 'iron' WHERE id = 1");
    let whole = json!([["1", "iron"], ["2", "tin"]]);
    world.shows("Account", "Tier__c", &whole);
    world.shelf_empty();
    world.end();
}
