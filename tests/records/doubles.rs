//! Records that are in the CRM before their rows come: taken over, told apart, or refused by the org's
//! duplicate rules. Against the binary, a real Postgres and the sandbox.

use std::time::Duration;

use serde_json::{Value, json};

use crate::driver::{Rules, World};

const ADOPT: &str =
    "on_delete = \"delete\"\nadopt = { match = \"Email\" }\ncolumns.email = \"Email\"";

fn prepare(customer: &str, more: &str) -> World {
    let world = World::prepare(&Rules {
        customer,
        more,
        ..Rules::default()
    });
    world.postgres.psql("ALTER TABLE customer ADD email text");
    world
}

fn start(customer: &str, more: &str) -> World {
    let mut world = prepare(customer, more);
    world.sidecar.start();
    world.running();
    world
}

fn person(world: &World, name: &str, email: &str) -> String {
    let contact = json!({"LastName": name, "Email": email, "Note__c": "by hand"});
    world.crm.create("Contact", &contact)
}

/// The contact with this external id: its id, name and e-mail address in lower case.
fn contact(world: &World, key: &str) -> (String, String, String) {
    let records = world.crm.records("Contact", "Id,Ext_Id__c,LastName,Email");
    let found = records.iter().find(|r| r["Ext_Id__c"] == key);
    let record = found.unwrap_or_else(|| panic!("no contact {key}: {records:?}"));
    let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
    (text("Id"), text("LastName"), text("Email").to_lowercase())
}

/// What the only dead letter says.
fn letter(world: &World) -> Value {
    let letters = world.cli(&["dead-letters", "export"]);
    assert_eq!(letters.lines().count(), 1, "{letters}");
    serde_json::from_str(&letters).unwrap()
}

#[test]
fn p3_a_record_without_an_external_id_is_taken_over() {
    let mut world = start(ADOPT, "");
    let lee = person(&world, "Lee by hand", "Lee@Example.test");
    let quoted = person(&world, "O'Neil by hand", "o'neil+1@example.test");
    person(&world, "Somebody", "else@example.test");
    world.change(
        "INSERT INTO customer (id, last_name, email) VALUES
           (1, 'Lee', 'lee@example.TEST'), (2, 'O''Neil', 'o''neil+1@example.test'),
           (3, 'New', 'new@example.test'), (4, 'None', NULL)",
    );
    assert_eq!(
        contact(&world, "1"),
        (lee.clone(), "Lee".into(), "lee@example.test".into())
    );
    assert_eq!(contact(&world, "2").0, quoted);
    assert_eq!(world.count("Contact"), 5);
    // It is one of ours from here on.
    world.change("UPDATE customer SET last_name = 'Leigh', email = NULL WHERE id = 1");
    assert_eq!(contact(&world, "1"), (lee, "Leigh".into(), String::new()));
    // Of two rows with one value the first takes it over, the second is another customer.
    let twin = person(&world, "Twin", "twin@example.test");
    world.change(
        "INSERT INTO customer (id, last_name, email) VALUES
           (5, 'First', 'twin@example.test'), (6, 'Second', 'TWIN@example.test')",
    );
    world.change(
        "INSERT INTO customer (id, last_name, email) VALUES (7, 'Third', 'twin@example.test')",
    );
    assert_eq!(contact(&world, "5").0, twin);
    assert_ne!(contact(&world, "6").0, contact(&world, "7").0);
    assert_eq!(world.count("Contact"), 8);
    world.accounts_for("public.customer", 8);
    world.end();
}

#[test]
fn p6_nobody_guesses_which_of_several_is_meant() {
    let mut world = start(ADOPT, "");
    let one = person(&world, "One", "b@example.test");
    let other = person(&world, "Other", "B@example.test");
    world.change("INSERT INTO customer (id, last_name, email) VALUES (1, 'Lee', 'b@example.test')");
    world.shelved("dead_letter", 1);
    let told = letter(&world);
    assert_eq!(told["code"], "adopt_ambiguous");
    let message = told["message"].as_str().unwrap();
    assert!(
        message.starts_with("2 records without an external id have this Email"),
        "{message}"
    );
    assert!(
        message.contains(&one) && message.contains(&other),
        "{message}"
    );
    assert!(!message.contains("b@example"), "{message}");
    // Tried again as it is, it is the same; a change of the row is no answer either.
    world.cli(&["dead-letters", "retry", "--all"]);
    world.change("UPDATE customer SET note = 'n' WHERE id = 1");
    world.shelved("dead_letter", 1);
    assert_eq!(world.count("Contact"), 2);
    world.crm.delete("Contact", "Id", &other);
    world.cli(&["dead-letters", "retry", "--all"]);
    world.shelf_empty();
    assert_eq!(contact(&world, "1").0, one);
    world.shows("Contact", "LastName,Note__c", &json!([["1", "Lee", "n"]]));
    world.accounts_for("public.customer", 2);
    world.end();
}

/// What belongs to people stays theirs, and the external id is written even where all of it does.
#[test]
fn p5_what_is_taken_over_keeps_what_belongs_to_people() {
    let owned = ADOPT.replace(
        "columns.email = \"Email\"",
        "columns.email = { field = \"Email\", owner = \"crm\" }",
    );
    let mut world = prepare(&owned, "");
    world.sidecar.edit(|config| {
        config
            .replace("\"LastName\"", "{ field = \"LastName\", owner = \"crm\" }")
            .replace(
                "columns.note = \"Note__c\"",
                "columns.note = { field = \"Note__c\", owner = \"crm\" }",
            )
    });
    world.sidecar.start();
    world.running();
    let lee = person(&world, "Lee by hand", "lee@example.test");
    world.change(
        "INSERT INTO customer (id, last_name, email) VALUES (1, 'Lee', 'lee@example.test')",
    );
    assert_eq!(
        contact(&world, "1"),
        (lee, "Lee by hand".into(), "lee@example.test".into())
    );
    world.change("INSERT INTO company VALUES (1, 'One'); UPDATE customer SET company_id = 1");
    let account = world.id("Account", "1");
    world.shows(
        "Contact",
        "AccountId,Note__c",
        &json!([["1", account, "by hand"]]),
    );
    world.end();
}

/// Rows that were there before the first start find the records that were there, too.
#[test]
fn p3_the_first_load_makes_no_doubles() {
    for bulk in ["never", "always"] {
        let mut world = prepare(
            ADOPT,
            &format!("[bulk]\nmode = \"{bulk}\"\nmin_rows = 10\n"),
        );
        world.postgres.psql(
            "INSERT INTO customer (id, last_name, email)
               SELECT n, 'L' || n, 'c' || n || '@example.test' FROM generate_series(1, 400) n",
        );
        let mut ids = Vec::new();
        for n in (1..=400).step_by(40) {
            let id = person(&world, "by hand", &format!("C{n}@example.test"));
            ids.push((n.to_string(), id));
        }
        world.sidecar.start();
        world.running();
        world.through();
        world.shelf_empty();
        assert_eq!(world.count("Contact"), 400, "{bulk}");
        for (key, id) in ids {
            assert_eq!(contact(&world, &key).0, id, "{bulk}");
        }
        world.end();
    }
}

#[test]
fn p3_kills_make_no_doubles_of_records_that_are_taken_over() {
    let mut world = prepare(ADOPT, "[delivery]\nlinger = \"10ms\"\nmax_rows = 40\n");
    let faults = "throttle=1%,unavailable=1%,lost=3%,cut=2%,lock=0.3%,seed=11";
    let mut ids = Vec::new();
    for n in (1..=600).step_by(20) {
        let id = person(&world, "by hand", &format!("c{n}@example.test"));
        ids.push((n.to_string(), id));
    }
    world
        .crm
        .put("faults", &json!({"spec": faults}).to_string());
    world.sidecar.start();
    world.running();
    for part in 0..6 {
        world.postgres.psql(&format!(
            "INSERT INTO customer (id, last_name, email)
               SELECT n, 'L' || n, 'c' || n || '@example.test'
               FROM generate_series({}, {}) n",
            part * 100 + 1,
            part * 100 + 100
        ));
        std::thread::sleep(Duration::from_millis(150 + part * 60));
        world.sidecar.kill();
        world.sidecar.start();
    }
    world.running();
    world.through();
    world.shelf_empty();
    assert_eq!(world.count("Contact"), 600);
    for (key, id) in ids {
        assert_eq!(contact(&world, &key).0, id);
    }
    world.end();
}

fn rule(world: &World, action: &str) {
    let rule = json!([{"name": "Same_Address", "object": "Contact", "fields": ["Email"],
        "action": action, "message": "Use one of these records?"}]);
    world.crm.put("duplicate_rules", &rule.to_string());
}

#[test]
fn p6_a_double_is_refused_by_name_or_let_pass() {
    let plain = "on_delete = \"delete\"\ncolumns.email = \"Email\"";
    let row = "INSERT INTO customer (id, last_name, email) VALUES (1, 'Lee', 'lee@example.test')";
    let allow = format!("{plain}\nduplicates = \"allow\"");
    for (rules, action, words) in [
        (plain, "alert", Some("duplicates = \"allow\" saves it")),
        (&*allow, "alert", None),
        (&*allow, "block", Some("the rule blocks it")),
    ] {
        let mut world = start(rules, "");
        let lee = person(&world, "Lee by hand", "lee@example.test");
        rule(&world, action);
        world.change(row);
        let Some(words) = words else {
            world.shelf_empty();
            assert_eq!(world.count("Contact"), 2);
            // A change of a record that is there asks the rules, too.
            world.change("INSERT INTO customer (id, last_name) VALUES (2, 'Kim')");
            world.change("UPDATE customer SET email = 'LEE@example.test' WHERE id = 2");
            world.shelf_empty();
            assert_eq!(contact(&world, "2").2, "lee@example.test");
            world.end();
            continue;
        };
        world.shelved("dead_letter", 1);
        assert_eq!(world.count("Contact"), 1);
        let told = letter(&world);
        assert_eq!(told["code"], "DUPLICATES_DETECTED");
        let message = told["message"].as_str().unwrap();
        let sentence = format!(
            "Use one of these records? The duplicate rule Same_Address takes it for a double of {lee}; "
        );
        assert!(
            message.starts_with(&sentence) && message.contains(words),
            "{message}"
        );
        assert!(!message.contains("Lee by hand"), "{message}");
        assert!(told["advice"].as_str().unwrap().contains("adopt"), "{told}");
        world.end();
    }
}

#[test]
fn check_tells_a_field_that_cannot_be_compared() {
    for (field, words) in [
        ("Phone", "no column fills Phone"),
        (
            "AccountId",
            "is no field by whose text records can be found",
        ),
    ] {
        let world = prepare(
            &ADOPT.replace("match = \"Email\"", &format!("match = \"{field}\"")),
            "",
        );
        let out = world.sidecar.cli(&["check"]);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert_eq!(out.status.code(), Some(2), "{text}");
        assert!(
            text.contains("tables.\"public.customer\".adopt.match"),
            "{text}"
        );
        assert!(text.contains(words), "{text}");
    }
}
