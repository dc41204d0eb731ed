//! Edits before, after and between changes of the database.

use serde_json::json;

use crate::world::{COLUMNS, PATIENCE, World, next_second, until};

/// Stops the connector while both sides change, so that it finds both.
fn meanwhile(world: &mut World, change: impl FnOnce(&World)) {
    world.sidecar.stop();
    change(world);
    world.sidecar.start();
    world.through();
}

#[test]
fn p5_the_later_side_wins_field_by_field() {
    for (field, column) in [("Phone", "phone"), ("City__c", "city")] {
        let mut world = World::start();
        // The database last.
        next_second();
        world.edit(1, json!({ field: "theirs 1" }));
        next_second();
        world.change(&format!(
            "UPDATE customer SET {column} = 'ours 1', title = 't1'"
        ));
        assert_eq!(world.shows(1, field), "ours 1");
        // The rep last, though the connector comes later still.
        next_second();
        meanwhile(&mut world, |world| {
            world.postgres.psql(&format!(
                "UPDATE customer SET {column} = 'ours 2', title = 'CFO'"
            ));
            next_second();
            world.edit(1, json!({ field: "theirs 2" }));
        });
        assert_eq!(world.shows(1, field), "theirs 2");
        // The other fields of the same record are written.
        assert_eq!(world.shows(1, "Title"), "CFO");
        assert_eq!((world.verdicts("kept"), world.verdicts("applied")), (0, 3));
        // An update of another column does not make the old value look new.
        world.change("UPDATE customer SET title = 'COO'");
        assert_eq!(world.shows(1, field), "theirs 2");
        assert_eq!(world.shows(1, "Title"), "COO");
        // A newer value is compared again.
        next_second();
        world.change(&format!("UPDATE customer SET {column} = 'ours 3'"));
        assert_eq!(world.shows(1, field), "ours 3");
        let status = world.sidecar.status().unwrap();
        assert_eq!(
            (
                &status["kept_fields"]["count"],
                &status["kept_fields"]["since_start"]
            ),
            (&json!(0), &json!(1))
        );
        world.end();
    }
}

#[test]
fn p5_a_change_of_which_nothing_is_written_is_kept_and_listed() {
    let mut world = World::start();
    next_second();
    meanwhile(&mut world, |world| {
        world.postgres.psql("UPDATE customer SET phone = 'ours 1'");
        next_second();
        world.edit(1, json!({"Phone": "theirs 1"}));
    });
    assert_eq!((world.verdicts("kept"), world.verdicts("applied")), (1, 1));
    let listed = world.sidecar.get("/kept/fields").unwrap();
    assert_eq!(listed["total"], 1);
    assert_eq!(listed["kept_fields"][0]["object"], "Contact");
    assert_eq!(listed["kept_fields"][0]["external_id"], "1");
    assert_eq!(listed["kept_fields"][0]["field"], "Phone");
    assert!(!listed.to_string().contains("theirs"), "{listed}");
    let shown = String::from_utf8(world.sidecar.cli(&["status"]).stdout).unwrap();
    assert!(shown.contains("kept: Contact 1 Phone, edited"), "{shown}");
    let fields = ["pending", "kept", "--fields", "--json"];
    let output = world.sidecar.cli(&fields).stdout;
    let told: serde_json::Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(told, listed);
    // And the record explains itself, from the process and from the command line.
    let explain = |more: &[&str]| {
        let words = [&["explain", "contact", "1"], more].concat();
        String::from_utf8(world.sidecar.cli(&words).stdout).unwrap()
    };
    let told: serde_json::Value = serde_json::from_str(&explain(&["phone", "--json"])).unwrap();
    assert_eq!(told["state"], "live");
    assert_eq!(told["fields"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told["fields"][0]["field"], "Phone");
    assert_eq!(told["fields"][0]["from"], "phone");
    assert_eq!(told["fields"][0]["state"], "kept");
    assert_eq!(
        told["fields"][0]["edited"],
        listed["kept_fields"][0]["edited"]
    );
    let shown = explain(&[]);
    assert!(shown.contains("kept as a person has it"), "{shown}");
    assert!(shown.contains("as the database had it"), "{shown}");
    assert!(
        !shown.contains("ours") && !shown.contains("theirs"),
        "{shown}"
    );
    // Nothing is known of a record: its fields have rules all the same.
    let none = world.sidecar.cli(&["explain", "Contact", "999", "Phone"]);
    let told = String::from_utf8(none.stdout).unwrap();
    assert_eq!(none.status.code(), Some(0), "{told}");
    assert!(told.contains("nothing was ever written to it"), "{told}");
    assert!(told.contains("not written   (from phone)"), "{told}");
    let none = world.sidecar.cli(&["explain", "Contact", "1", "Nonsense"]);
    assert_eq!(none.status.code(), Some(2), "{none:?}");
    let none = world.sidecar.cli(&["explain", "Nothing__c", "1"]);
    assert_eq!(none.status.code(), Some(1), "{none:?}");
    // The same again is unchanged, and costs nothing.
    let calls = world.calls("query");
    world.change("UPDATE customer SET phone = 'ours 1'");
    assert_eq!(
        (world.verdicts("unchanged"), world.calls("query")),
        (1, calls)
    );
    assert_eq!(world.shows(1, "Phone"), "theirs 1");
    // The store alone tells, too.
    world.sidecar.stop();
    let none = world.sidecar.cli(&["explain", "Nothing__c", "1"]);
    assert_eq!(none.status.code(), Some(1), "{none:?}");
    let output = world.sidecar.cli(&fields).stdout;
    let told: serde_json::Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(told, listed);
    world.sidecar.start();
    world
        .sidecar
        .wait_until("it runs", PATIENCE, |s| s["state"] == "running");
    world.end();
}

#[test]
fn p5_a_tie_goes_to_the_person() {
    let mut world = World::start();
    for (field, column) in [("Phone", "phone"), ("City__c", "city")] {
        next_second();
        meanwhile(&mut world, |world| {
            next_second();
            // Both within one second, whoever came first.
            world.edit(1, json!({ field: "theirs" }));
            world
                .postgres
                .psql(&format!("UPDATE customer SET {column} = 'ours'"));
        });
        assert_eq!(world.shows(1, field), "theirs");
    }
    assert_eq!(world.verdicts("kept"), 2);
    world.end();
}

#[test]
fn p5_history_tells_an_edit_of_the_field_from_one_of_the_record() {
    let mut world = World::start();
    next_second();
    meanwhile(&mut world, |world| {
        world.edit(1, json!({"Phone": "theirs", "City__c": "theirs"}));
        next_second();
        world
            .postgres
            .psql("UPDATE customer SET phone = 'ours', city = 'ours'");
        next_second();
        // Somebody else edits something else.
        world.edit_as(1, json!({"Department": "Sales"}), "ann@sandbox.test", None);
    });
    // The phone's history says when; of the city only that it was before the last change.
    assert_eq!(world.shows(1, "Phone"), "ours");
    assert_eq!(world.shows(1, "City__c"), "theirs");
    world.end();
}

#[test]
fn p5_nobody_touched_it_whatever_happened_to_the_record() {
    let mut world = World::start();
    next_second();
    meanwhile(&mut world, |world| {
        world
            .postgres
            .psql("UPDATE customer SET phone = 'ours', city = 'ours'");
        next_second();
        world.edit(1, json!({"Department": "Sales"}));
    });
    assert_eq!(world.shows(1, "Phone"), "ours");
    assert_eq!(world.shows(1, "City__c"), "ours");
    assert_eq!((world.verdicts("kept"), world.verdicts("applied")), (0, 2));
    world.end();
}

#[test]
fn p5_what_belongs_to_the_crm_is_written_once() {
    let mut world = World::start();
    assert_eq!(world.shows(1, "Fax"), "f0");
    let calls = world.calls("update") + world.calls("upsert");
    world.change("UPDATE customer SET fax = 'ours'");
    assert_eq!(world.shows(1, "Fax"), "f0");
    assert_eq!(
        (world.verdicts("ignored"), world.verdicts("applied")),
        (1, 1)
    );
    world.change("UPDATE customer SET fax = 'ours 2', title = 'CFO'");
    assert_eq!(world.shows(1, "Fax"), "f0");
    assert_eq!(world.shows(1, "Title"), "CFO");
    world.change("UPDATE customer SET fax = 'ours 2'");
    assert_eq!(world.verdicts("unchanged"), 1);
    assert_eq!(world.calls("update") + world.calls("upsert"), calls + 1);
    world.end();
}

/// A record that was there before us.
#[test]
fn p5_what_was_there_before_us_is_looked_at_first() {
    let mut world = World::prepare("", COLUMNS);
    world
        .postgres
        .psql("INSERT INTO customer VALUES (1, 'Lee', 'CEO', 'ours', 'ours', 'ours', NULL)");
    world.run();
    until("the first load", || world.shows(1, "Title") == "CEO");
    world.sidecar.stop();
    // The state directory is lost, the records stay; a rep has worked on them.
    world.edit(1, json!({"Phone": "theirs", "Fax": "theirs"}));
    std::fs::remove_dir_all(world.sidecar.state()).unwrap();
    world
        .postgres
        .psql("SELECT pg_drop_replication_slot('syncline')");
    world.sidecar.start();
    world
        .sidecar
        .wait_until("it runs", crate::world::PATIENCE, |s| {
            s["state"] == "running"
        });
    world.change("UPDATE customer SET title = 'CFO'");
    until("the first load, again", || world.shows(1, "Title") == "CFO");
    assert_eq!(world.shows(1, "Phone"), "theirs");
    assert_eq!(world.shows(1, "Fax"), "theirs");
    assert_eq!(world.crm.records("Contact", "Id").len(), 1);
    // A change that is one for sure, and later.
    next_second();
    world.change("UPDATE customer SET phone = 'ours 2'");
    assert_eq!(world.shows(1, "Phone"), "ours 2");
    world.end();
}

#[test]
fn p5_many_records_cost_few_requests() {
    let mut world = World::start();
    world.change(
        "INSERT INTO customer SELECT i, 'Lee', 'CEO', 'p', 'c', 'f', NULL \
         FROM generate_series(2, 1001) i",
    );
    let calls = world.calls("query");
    world.change("UPDATE customer SET title = 'CFO'");
    // Nothing contested changes: nothing is read.
    assert_eq!(world.calls("query"), calls);
    next_second();
    world.change("UPDATE customer SET phone = 'ours'");
    let read = world.calls("query") - calls;
    assert!((1..=3).contains(&read), "{read} requests for 1001 records");
    world.end();
}

#[test]
fn p5_merged_changes_keep_the_time_of_each_field() {
    let mut world = World::start();
    for (field, column) in [("Phone", "phone"), ("City__c", "city")] {
        next_second();
        meanwhile(&mut world, |world| {
            world
                .postgres
                .psql(&format!("UPDATE customer SET {column} = 'ours'"));
            next_second();
            world.edit(1, json!({ field: "theirs" }));
            next_second();
            // All in one window: these name the field, and leave it as it was.
            world.postgres.psql("UPDATE customer SET title = 'VP'");
            world
                .postgres
                .psql(&format!("UPDATE customer SET title = '{column}'"));
        });
        assert_eq!(world.shows(1, field), "theirs");
        assert_eq!(world.shows(1, "Title"), column);
    }
    // To and fro in one window is a change all the same.
    next_second();
    meanwhile(&mut world, |world| {
        world.edit(1, json!({"Phone": "theirs 2"}));
        next_second();
        world.postgres.psql("UPDATE customer SET phone = 'other'");
        world.postgres.psql("UPDATE customer SET phone = 'ours'");
    });
    assert_eq!(world.shows(1, "Phone"), "ours");
    world.end();
}

#[test]
fn p5_a_dead_letter_keeps_the_time_of_each_field() {
    let mut world = World::start();
    next_second();
    world.change("UPDATE customer SET phone = 'ours', last_name = repeat('x', 81)");
    world
        .sidecar
        .wait_until("a dead letter", crate::world::PATIENCE, |s| {
            s["shelf"]["dead_letter"] == 1
        });
    next_second();
    world.edit(1, json!({"Phone": "theirs"}));
    next_second();
    world.change("UPDATE customer SET last_name = 'Roe'");
    assert_eq!(world.shows(1, "LastName"), "Roe");
    assert_eq!(world.shows(1, "Phone"), "theirs");
    assert_eq!(world.sidecar.status().unwrap()["shelf"]["dead_letter"], 0);
    world.end();
}

/// Killed behind the write and before its verdict: the same window comes again.
#[test]
fn p5_our_own_write_is_no_edit() {
    let mut world = World::start();
    next_second();
    // The request is carried out, and its answer never comes.
    world.crm.put(
        "faults",
        r#"{"rules": [{"kind": "lost", "path": "/composite", "method": "POST", "after": 1, "times": 1, "delay_ms": 60000}]}"#,
    );
    world
        .postgres
        .psql("UPDATE customer SET phone = 'ours 1', city = 'ours 1'");
    until("it is written", || world.shows(1, "Phone") == "ours 1");
    world.sidecar.kill();
    world.crm.put("faults", r#"{"rules": []}"#);
    world
        .postgres
        .psql("UPDATE customer SET phone = 'ours 2', city = 'ours 2'");
    world.sidecar.start();
    world.through();
    assert_eq!(world.shows(1, "Phone"), "ours 2");
    assert_eq!(world.shows(1, "City__c"), "ours 2");
    assert_eq!(world.verdicts("kept"), 0);
    world.end();
}

/// An edit between the look and the write.
#[test]
fn p5_an_edit_right_before_the_write_is_not_overtaken() {
    let mut world = World::start();
    next_second();
    // The write waits in front of the CRM for a while.
    world.crm.put(
        "faults",
        r#"{"rules": [{"kind": "timeout_before", "path": "/composite", "method": "POST", "after": 1, "times": 1, "delay_ms": 3000}]}"#,
    );
    world
        .postgres
        .psql("UPDATE customer SET phone = 'ours', city = 'ours', title = 'CFO'");
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    world.edit(1, json!({"Phone": "theirs", "City__c": "theirs"}));
    world.through();
    assert_eq!(world.shows(1, "Phone"), "theirs");
    assert_eq!(world.shows(1, "City__c"), "theirs");
    assert_eq!(world.shows(1, "Title"), "CFO");
    world.end();
}

#[test]
fn p5_clocks_that_are_minutes_apart_are_compared() {
    for minutes in [10_i64, -10] {
        let mut world = World::prepare("", COLUMNS);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let there = i64::try_from(now.as_millis()).unwrap() + minutes * 60_000;
        let there = jiff::Timestamp::from_millisecond(there).unwrap();
        world
            .crm
            .put("clock", &json!({"now": there.to_string()}).to_string());
        world.run();
        world.insert(1);
        std::thread::sleep(std::time::Duration::from_secs(3));
        meanwhile(&mut world, |world| {
            world.edit(1, json!({"Phone": "theirs"}));
            std::thread::sleep(std::time::Duration::from_secs(4));
            world
                .postgres
                .psql("UPDATE customer SET phone = 'ours', city = 'ours'");
            std::thread::sleep(std::time::Duration::from_secs(4));
            world.edit(1, json!({"City__c": "theirs"}));
        });
        assert_eq!(world.shows(1, "Phone"), "ours", "{minutes}");
        assert_eq!(world.shows(1, "City__c"), "theirs", "{minutes}");
        let log = world.sidecar.log();
        assert!(log.contains("clock and the database's differ"), "{log}");
        let status = world.sidecar.status().unwrap();
        let apart = status["clock_difference_seconds"].as_f64().unwrap();
        assert!((apart - minutes as f64 * 60.0).abs() < 3.0, "{apart}");
        let shown = String::from_utf8(world.sidecar.cli(&["status"]).stdout).unwrap();
        assert!(shown.contains("clocks"), "{shown}");
        world.end();
    }
}
