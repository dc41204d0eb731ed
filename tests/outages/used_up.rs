//! The org's daily limit is used up by another app, and turns over: a pause, and no dead letter.
//!
//! The steps on the way there, and the pause itself, show in `status` and in the log.

use std::time::Duration;

use crate::support::crm::{Crm, EXTERNAL_ID};
use crate::support::postgres::{Options, Postgres};
use crate::support::sidecar::Sidecar;

const PATIENCE: Duration = Duration::from_secs(60);
const ROWS: u64 = 50;

/// Requests so far, also those that were refused.
fn requests(crm: &Crm) -> u64 {
    let counters = crm.get("counters");
    let kinds = counters["by_kind"].as_object().unwrap();
    kinds
        .values()
        .map(|kind| kind["calls"].as_u64().unwrap())
        .sum()
}

#[test]
fn a_limit_that_is_used_up_is_a_pause() {
    let postgres = Postgres::start(Options::default());
    postgres.psql(&format!(
        "CREATE TABLE company (id int PRIMARY KEY, name text NOT NULL); \
         INSERT INTO company SELECT n, 'company ' || n FROM generate_series(1, {ROWS}) n"
    ));
    let crm = Crm::start(None);
    crm.put("fields/Account/Ext_Id__c", EXTERNAL_ID);
    crm.put("limits", r#"{"max": 10000}"#);
    let mut sidecar = Sidecar::new(&format!(
        r#"
[source]
url = "{}"
[destination]
kind = "salesforce"
url = "{}"
client_id = "sandbox"
client_secret = "sandbox"
[budget]
share = 1.0
floor = 0
[watch]
crm = "1h"
[tables."public.company"]
object = "Account"
key = {{ column = "id", field = "Ext_Id__c" }}
on_delete = "delete"
columns.name = "Name"
"#,
        postgres.url("postgres"),
        crm.url()
    ));
    sidecar.start();
    sidecar.wait_until("it is loaded", PATIENCE, |s| {
        s["backfills"][0]["state"] == "loaded" && s["lag_seconds"] == 0.0
    });
    let status = sidecar.status().unwrap();
    assert_eq!(status["crm"]["budget"]["degree"], "normal", "{status:#}");

    // All of it at once: nothing told of it before.
    crm.post("usage", r#"{"app": "another", "calls": 20000}"#);
    postgres.psql("UPDATE company SET name = name || '!'");
    sidecar.wait_until("all of it is deferred", PATIENCE, |s| {
        s["shelf"]["deferred"] == ROWS && s["lag_seconds"] == 0.0
    });
    let status = sidecar.status().unwrap();
    let budget = &status["crm"]["budget"];
    assert_eq!(budget["degree"], "stop", "{status:#}");
    assert_eq!(budget["exhausted"], true, "{status:#}");
    assert_eq!(budget["room"], 0, "{status:#}");
    assert_eq!(status["state"], "running", "the CRM is well: {status:#}");
    assert_eq!(status["crm"]["breaker"], "closed", "{status:#}");
    let log = sidecar.log();
    assert!(log.contains("daily limit is used up"), "{log}");
    assert!(log.contains("budget stop"), "{log}");
    let shown = sidecar.cli(&["status"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("nothing is sent"), "{shown}");

    // While it lasts the slot moves on, later changes merge, and the org is hardly asked.
    let before = requests(&crm);
    for round in 0..5 {
        postgres.psql(&format!(
            "UPDATE company SET name = 'round {round} of ' || id"
        ));
        std::thread::sleep(Duration::from_secs(2));
    }
    sidecar.wait_until("they are merged", PATIENCE, |s| {
        s["shelf"]["deferred"] == ROWS && s["source"]["in_work_bytes"] == 0
    });
    let asked = requests(&crm) - before;
    assert!(asked <= 2, "{asked} requests that are refused anyway");

    // It turns over.
    crm.put("limits", r#"{"max": 100000}"#);
    sidecar.wait_until("the shelf is empty", Duration::from_secs(400), |s| {
        s["shelf"]["deferred"] == 0 && s["lag_seconds"] == 0.0
    });
    let records = crm.records("Account", "Ext_Id__c,Name");
    assert_eq!(records.len() as u64, ROWS);
    for record in &records {
        let id = record["Ext_Id__c"].as_str().unwrap();
        assert_eq!(record["Name"], format!("round 4 of {id}"));
    }
    assert!(sidecar.log().contains("the CRM takes requests again"));
    sidecar.stop();
    let stored = sidecar.stored();
    assert!(stored.shelf.is_empty(), "{:?}", stored.shelf);
    assert_eq!(stored.changes(), (ROWS * 6) as i64);
}
