//! Children of one parent, changed in every window by an application, all the way: a real Postgres,
//! `syncline run` with ten requests at once, and a sandbox whose row locks are held while it works.
//! What the same changes meet without lanes is shown where lanes can be left out, in `tests/locks.rs`.

use std::time::Duration;

use serde_json::Value;

use crate::support::crm::{Crm, EXTERNAL_ID};
use crate::support::postgres::{Options, Postgres};
use crate::support::sidecar::{Sidecar, lsn};

const PATIENCE: Duration = Duration::from_secs(120);
const PARENTS: usize = 67;
const CHILDREN: usize = 30;
const WINDOWS: usize = 6;

#[test]
fn thirty_children_of_a_parent_in_every_window_meet_no_lock() {
    let postgres = Postgres::start(Options::default());
    postgres.psql(&format!(
        "CREATE TABLE parent (id int PRIMARY KEY, name text NOT NULL);
         CREATE TABLE child (id int PRIMARY KEY, size text, parent_id int NOT NULL REFERENCES parent);
         INSERT INTO parent SELECT n, 'P' || n FROM generate_series(1, {PARENTS}) n;
         -- Not one parent after the other.
         INSERT INTO child SELECT n, '0', 1 + n % {PARENTS}
           FROM generate_series(0, {PARENTS} * {CHILDREN} - 1) n;"
    ));
    let crm = Crm::start(None);
    crm.put("fields/Account/Ext_Id__c", EXTERNAL_ID);
    crm.put(
        "objects/Part__c",
        r#"{"fields": {
            "Ext_Id__c": {"type": "Text", "label": "Ext Id", "length": 80, "externalId": true,
              "unique": true, "caseSensitive": true},
            "Master__c": {"type": "MasterDetail", "label": "Master", "referenceTo": "Account",
              "relationshipName": "Parts", "relationshipLabel": "Parts", "relationshipOrder": 0,
              "reparentableMasterDetail": true},
            "Size__c": {"type": "Text", "label": "Size", "length": 40}}}"#,
    );
    // A lock that is taken is refused at once, as in a transaction that waited in vain.
    crm.put("locks", r#"{"work_ms": 1, "wait_ms": 0}"#);
    let mut sidecar = Sidecar::new(&format!(
        r#"
[source]
url = "{}"
[destination]
kind = "salesforce"
url = "{}"
client_id = "sandbox"
client_secret = "sandbox"
requests_per_second = 1000
concurrency = 10
[tables."public.parent"]
object = "Account"
key = {{ column = "id", field = "Ext_Id__c" }}
on_delete = "delete"
columns.name = "Name"
[tables."public.child"]
object = "Part__c"
key = {{ column = "id", field = "Ext_Id__c" }}
on_delete = "delete"
columns.size = "Size__c"
columns.parent_id = {{ field = "Master__c", references = "public.parent" }}
"#,
        postgres.url("postgres"),
        crm.url(),
    ));
    sidecar.start();
    sidecar.wait_until("everything is read", PATIENCE, |status| {
        let backfills = status["backfills"].as_array().unwrap();
        backfills.len() == 2 && backfills.iter().all(|b| b["state"] == "loaded")
    });
    for window in 1..=WINDOWS {
        // Every other time the children also go from parent to parent: two locks each.
        let moved = if window % 2 == 0 {
            format!(", parent_id = 1 + (parent_id + 6) % {PARENTS}")
        } else {
            String::new()
        };
        postgres.psql(&format!("UPDATE child SET size = '{window}'{moved}"));
        let end = lsn(&postgres.psql("SELECT pg_current_wal_lsn()"));
        sidecar.wait_until("the window is settled", PATIENCE, |status| {
            let durable = status["source"]["durable_lsn"].as_str();
            durable.is_some_and(|d| lsn(d) >= end)
        });
    }
    let status = sidecar.status().unwrap();
    let locked: u64 = status["crm"]["pace"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["locked"].as_u64().unwrap())
        .sum();
    let counters = crm.get("locks");
    println!("{counters:#}\n{:#}", status["crm"]);
    assert_eq!(locked, 0, "{:#}", status["crm"]["pace"]);
    assert_eq!(counters["refused"], 0, "{counters:#}");
    assert_eq!(status["crm"]["retries"], 0, "{:#}", status["crm"]);

    let truth = postgres.psql("SELECT count(*) FROM child WHERE size = '6'");
    assert_eq!(truth.trim(), (PARENTS * CHILDREN).to_string());
    let shown = crm.records("Part__c", "Size__c");
    assert_eq!(shown.len(), PARENTS * CHILDREN);
    let last = Value::from(WINDOWS.to_string());
    assert!(shown.iter().all(|r| r["Size__c"] == last));
    sidecar.stop();
}
