//! The visibility race: a transaction is streamed while no snapshot sees it yet. On purpose with a
//! synchronous standby that does not answer (see [`Postgres::pause_commits`]).

use std::collections::HashMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::audit::Audit;
use crate::sides::{self, COLUMNS, PATIENCE, compare, is_loaded, load, read, settle};
use crate::support::crm::Crm;

const ITEMS: u64 = 1_200;

fn records(crm: &Crm) -> HashMap<String, Value> {
    let all = crm.records("Item__c", "Ext_Id__c,Title__c,Description__c,Version__c");
    all.into_iter()
        .map(|r| (r["Ext_Id__c"].as_str().unwrap().to_owned(), r))
        .collect()
}

/// Waits until the CRM has this item under this title.
fn arrives(crm: &Crm, id: &str, title: &str) -> HashMap<String, Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let records = records(crm);
        if records.get(id).is_some_and(|r| r["Title__c"] == title) {
            return records;
        }
        assert!(Instant::now() < deadline, "{id} does not become {title:?}");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_was_streamed_before_it_is_visible_is_not_undone_by_a_page() {
    let postgres = sides::postgres(ITEMS);
    let crm = sides::crm(None);
    let slowly = "page_rows = 100\nrows_per_second = 100";
    let mut sidecar = sides::sidecar(&postgres.url("postgres"), &crm, slowly);
    sidecar.start();
    sidecar.wait_until("it reads", PATIENCE, |s| read(s) > 0);

    postgres.pause_commits();
    // In the last page, but for the first statement: an unchanged large value, a row that goes, one
    // that comes, one that moves, one whose large value is replaced.
    let paused = postgres.start_psql(
        "UPDATE item SET name = 'unseen' WHERE id BETWEEN 1 AND 8;
         UPDATE item SET name = 'unseen' WHERE id = 1192;
         DELETE FROM item WHERE id = 1193;
         INSERT INTO item VALUES (1300, 'unseen');
         UPDATE item SET id = 1400 WHERE id = 1194;
         UPDATE item SET notes = 'unseen' WHERE id = 1200;",
    );
    let early = arrives(&crm, "1192", "unseen");
    let status = sidecar.status().unwrap();
    assert!(
        read(&status) <= 1_100 && !is_loaded(&status),
        "the last page was read too early for this test: {status:#}"
    );
    assert_eq!(postgres.paused_commits(), 1);
    assert_eq!(
        postgres.psql("SELECT name FROM item WHERE id = 1192"),
        "item 1192"
    );
    assert!(
        early["1192"]["Description__c"].is_null(),
        "only a page knows"
    );
    // Others go on, seen by everybody.
    postgres.psql(
        "SET synchronous_commit = local; UPDATE item SET name = 'seen' WHERE id IN (9, 1195)",
    );

    sidecar.wait_until("everything is read", PATIENCE, is_loaded);
    assert_eq!(
        postgres.paused_commits(),
        1,
        "it was invisible all the time"
    );
    let after = records(&crm);
    assert_eq!(after["1192"]["Title__c"], "unseen");
    let notes = postgres.psql("SELECT notes FROM item WHERE id = 1192");
    assert!(notes.len() > 2_000);
    assert_eq!(after["1192"]["Description__c"], notes.as_str());
    assert!(!after.contains_key("1193"), "a deleted row came back");
    assert_eq!(after["1300"]["Title__c"], "unseen");
    assert_eq!(after["1400"]["Title__c"], "item 1194");
    assert!(
        !after.contains_key("1194"),
        "a row is there under both keys"
    );
    assert_eq!(after["1200"]["Description__c"], "unseen");
    assert_eq!(after["1195"]["Title__c"], "seen");
    let status = sidecar.status().unwrap();
    let rows = &load(&status)["rows"];
    assert_eq!(rows["read"], ITEMS, "{rows:#}");
    // 1193, 1194, and 1200 without its notes; of 1192 something was left to say.
    assert!(rows["overtaken"].as_u64() >= Some(2), "{rows:#}");

    postgres.resume_commits();
    paused.wait();
    settle(&mut sidecar, &postgres);
    sidecar.stop();
    compare(&postgres, &crm, "item", "id", "Item__c", COLUMNS);
    let mut audit = Audit::default();
    audit.read(&crm);
}

#[test]
fn a_backfill_waits_for_what_was_streamed_before_it_began() {
    let postgres = sides::postgres(400);
    let crm = sides::crm(None);
    let mut sidecar = sides::sidecar(&postgres.url("postgres"), &crm, "page_rows = 100");
    sidecar.sets = vec!["backfill.first_load=false".into()];
    sidecar.start();
    sidecar.wait_until("it runs", PATIENCE, |s| s["state"] == "running");
    postgres.pause_commits();
    let paused = postgres.start_psql("UPDATE item SET name = 'unseen' WHERE id IN (1, 400)");
    arrives(&crm, "400", "unseen");
    // Nothing of it was noted for the backfill of the next life.
    sidecar.stop();
    sidecar.sets.clear();
    sidecar.start();
    sidecar.wait_until("it says what it waits for", PATIENCE, |s| {
        let why = load(s)["why"].as_str();
        why.is_some_and(|why| why.contains("waits for transactions"))
    });
    assert_eq!(read(&sidecar.status().unwrap()), 0);
    assert_eq!(records(&crm).len(), 2);
    postgres.resume_commits();
    paused.wait();
    sidecar.wait_until("everything is read", PATIENCE, is_loaded);
    settle(&mut sidecar, &postgres);
    sidecar.stop();
    compare(&postgres, &crm, "item", "id", "Item__c", COLUMNS);
    let mut audit = Audit::default();
    audit.read(&crm);
}
