//! Records that a person deletes in the CRM: three policies.

use serde_json::json;

use crate::driver::{Rules, World};

fn start(policy: &str) -> World {
    let line = format!("on_delete = \"delete\"\non_crm_delete = \"{policy}\"");
    let mut world = World::start(&Rules {
        company: &line,
        customer: &line,
        ..Rules::default()
    });
    world.change(
        "INSERT INTO company VALUES (1, 'Acme'), (2, 'Other');
         INSERT INTO customer VALUES (1, 'Lee', 'n1', 1), (2, 'Kim', 'n2', 1), (3, 'Roe', NULL, 2)",
    );
    world
}

#[test]
fn undelete_brings_the_same_record_back() {
    let mut world = start("undelete");
    let id = world.id("Contact", "1").unwrap();
    world.person_deletes("Contact", "1");
    world.change("UPDATE customer SET last_name = 'Li' WHERE id = 1");
    world.shelf_empty();
    assert_eq!(world.id("Contact", "1").unwrap(), id);
    let expected = json!([["1", "Li", "n1"], ["2", "Kim", "n2"], ["3", "Roe", null]]);
    world.shows("Contact", "LastName,Note__c", &expected);
    // A row that goes, too, leaves nothing to do.
    world.person_deletes("Contact", "1");
    world.change("DELETE FROM customer WHERE id = 1");
    world.shelf_empty();
    assert_eq!(world.id("Contact", "1"), None);
    world.change("INSERT INTO customer VALUES (1, 'Again', 'n9', 1)");
    let expected = json!([["1", "Again"], ["2", "Kim"], ["3", "Roe"]]);
    world.shows("Contact", "LastName", &expected);
    assert!(world.sidecar.log().contains("taken out of the recycle bin"));
    world.accounts_for("public.customer", 6);
    world.end();
}

/// Who deletes an account takes its contacts along. A contact changes; its account does not.
#[test]
fn undelete_brings_the_parent_back_first() {
    let mut world = start("undelete");
    let (account, contact) = (world.id("Account", "1"), world.id("Contact", "1"));
    world.person_deletes("Account", "1");
    assert_eq!(world.count("Contact"), 1);
    world.change("UPDATE customer SET last_name = 'Li' WHERE id = 1");
    world.shelf_empty();
    assert_eq!(world.id("Account", "1"), account);
    assert_eq!(world.id("Contact", "1"), contact);
    let parents = world.crm.records("Contact", "Ext_Id__c,AccountId");
    let of_first = parents.iter().find(|r| r["Ext_Id__c"] == "1").unwrap();
    assert_eq!(of_first["AccountId"].as_str(), account.as_deref());
    // Both change.
    world.person_deletes("Account", "1");
    world.change(
        "UPDATE customer SET last_name = 'Lo'; UPDATE company SET name = 'Acme Ltd' WHERE id = 1",
    );
    world.shelf_empty();
    let expected = json!([["1", "Lo"], ["2", "Lo"], ["3", "Lo"]]);
    world.shows("Contact", "LastName", &expected);
    assert_eq!(world.id("Account", "1"), account);
    world.end();
}

#[test]
fn undelete_makes_anew_what_has_left_the_bin() {
    let mut world = start("undelete");
    let id = world.id("Contact", "1").unwrap();
    world.person_deletes("Contact", "1");
    world.crm.empty_bin();
    world.change("UPDATE customer SET last_name = 'Li' WHERE id = 1");
    world.shelf_empty();
    assert_ne!(world.id("Contact", "1").unwrap(), id);
    let expected = json!([["1", "Li", "n1"], ["2", "Kim", "n2"], ["3", "Roe", null]]);
    world.shows("Contact", "LastName,Note__c", &expected);
    world.end();
}

#[test]
fn recreate_makes_a_new_record_and_its_parent() {
    let mut world = start("recreate");
    let id = world.id("Contact", "1").unwrap();
    world.person_deletes("Contact", "1");
    world.change("UPDATE customer SET last_name = 'Li' WHERE id = 1");
    world.shelf_empty();
    assert_ne!(world.id("Contact", "1").unwrap(), id);
    // The parent's row has not changed: it is read again.
    let account = world.id("Account", "1");
    world.person_deletes("Account", "1");
    world.change("UPDATE customer SET last_name = 'Lo' WHERE id = 1");
    world.shelf_empty();
    world.through();
    assert!(world.id("Account", "1").is_some());
    assert_ne!(world.id("Account", "1"), account);
    world.shows("Account", "Name", &json!([["1", "Acme"], ["2", "Other"]]));
    world.shows(
        "Contact",
        "LastName,Note__c",
        &json!([["1", "Lo", "n1"], ["3", "Roe", null]]),
    );
    // The row went while its record was gone.
    world.person_deletes("Contact", "3");
    world.change("DELETE FROM customer WHERE id = 3");
    world.change("INSERT INTO customer VALUES (3, 'Back', NULL, 2)");
    world.shows("Contact", "LastName", &json!([["1", "Lo"], ["3", "Back"]]));
    world.shelf_empty();
    world.end();
}

#[test]
fn keep_deleted_counts_what_it_keeps() {
    let mut world = start("keep_deleted");
    world.person_deletes("Contact", "1");
    world.change("UPDATE customer SET last_name = 'Li' WHERE id = 1");
    world.change("UPDATE customer SET last_name = 'Lo' WHERE id = 1");
    world.change("UPDATE customer SET last_name = 'Kam' WHERE id = 2");
    world.shelf_empty();
    assert_eq!(world.id("Contact", "1"), None);
    assert_eq!(world.verdict("public.customer", "kept"), 2);
    let listed = world.cli(&["pending", "kept"]);
    assert!(
        listed.contains("Contact") && listed.contains(" 1 "),
        "{listed}"
    );
    // Through a restart.
    world.sidecar.kill();
    world.sidecar.start();
    world.running();
    world.change("UPDATE customer SET last_name = 'Lu' WHERE id = 1");
    assert_eq!(world.verdict("public.customer", "kept"), 3);
    // The row goes: that is nothing to do. It comes back: that is a new record.
    world.change("DELETE FROM customer WHERE id = 1");
    assert_eq!(world.verdict("public.customer", "unchanged"), 1);
    world.change("INSERT INTO customer VALUES (1, 'Anew', NULL, 1)");
    let expected = json!([["1", "Anew"], ["2", "Kam"], ["3", "Roe"]]);
    world.shows("Contact", "LastName", &expected);
    // A person changes their mind.
    world.person_deletes("Contact", "2");
    world.change("UPDATE customer SET last_name = 'Kem' WHERE id = 2");
    world.shelf_empty();
    assert_eq!(world.id("Contact", "2"), None);
    world.cli(&["pending", "recreate", "Contact", "2"]);
    let expected = json!([["1", "Anew", null], ["2", "Kem", "n2"], ["3", "Roe", null]]);
    world.shows("Contact", "LastName,Note__c", &expected);
    world.accounts_for("public.customer", 3 + 4 + 2 + 1);
    world.end();
}

/// A parent that is kept deleted: what exists goes on, what is new waits for it in plain sight.
#[test]
fn keep_deleted_goes_for_children_too() {
    let mut world = start("keep_deleted");
    world.person_deletes("Account", "1");
    world.change("UPDATE customer SET last_name = 'Li' WHERE id = 1");
    assert_eq!(world.verdict("public.customer", "kept"), 1);
    world.change("INSERT INTO customer VALUES (9, 'New', NULL, 1)");
    world.shelved("waiting", 1);
    world.change("UPDATE company SET name = 'Acme Ltd' WHERE id = 1");
    assert_eq!(world.verdict("public.company", "kept"), 1);
    world.cli(&["pending", "recreate", "Account", "1"]);
    world.shelf_empty();
    world.shows("Contact", "LastName", &json!([["3", "Roe"], ["9", "New"]]));
    world.shows(
        "Account",
        "Name",
        &json!([["1", "Acme Ltd"], ["2", "Other"]]),
    );
    world.end();
}
