//! Row locks: requests that really overlap stand in each other's way at common parents.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{EXTERNAL_ID, Org, code};

async fn parents(org: &Org) {
    let two = json!([{"Ext_Id__c": "p", "Name": "P"}, {"Ext_Id__c": "q", "Name": "Q"}]);
    org.upsert("Account", two).await;
}

async fn set(org: &Org, work: u64, wait: u64) {
    let set = org
        .control(
            Method::PUT,
            "locks",
            json!({"work_ms": work, "wait_ms": wait}),
        )
        .await;
    assert_eq!(set["work_ms"], work as f64, "{set}");
}

fn child(key: &str, parent: &str) -> Value {
    json!([{"Ext_Id__c": key, "LastName": key, "Account": {"Ext_Id__c": parent}}])
}

#[tokio::test]
async fn children_of_one_parent_wait_for_each_other_and_of_others_not() {
    let org = Org::new().await;
    parents(&org).await;
    set(&org, 150, 10_000).await;
    let started = Instant::now();
    let (one, two, three) = tokio::join!(
        org.upsert("Contact", child("1", "p")),
        org.upsert("Contact", child("2", "p")),
        org.upsert("Contact", child("3", "p")),
    );
    let together = started.elapsed();
    for done in [one, two, three] {
        assert_eq!(done[0]["success"], true);
    }
    assert!(together >= Duration::from_millis(450), "{together:?}");
    let seen = org.control(Method::GET, "locks", Value::Null).await;
    assert_eq!(
        (&seen["waits"], &seen["refused"], &seen["held"]),
        (&json!(2), &json!(0), &json!(0))
    );
    assert!(seen["waited_ms"].as_u64().unwrap() >= 400, "{seen}");
    org.control(Method::DELETE, "locks", Value::Null).await;
    let started = Instant::now();
    tokio::join!(
        org.upsert("Contact", child("4", "p")),
        org.upsert("Contact", child("5", "q"))
    );
    assert!(
        started.elapsed() < Duration::from_millis(290),
        "{:?}",
        started.elapsed()
    );
    let seen = org.control(Method::GET, "locks", Value::Null).await;
    assert_eq!((&seen["waits"], &seen["waited_ms"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn who_waits_too_long_is_refused_record_by_record() {
    let org = Org::new().await;
    parents(&org).await;
    set(&org, 300, 50).await;
    let slow = org.upsert("Contact", child("1", "p"));
    let quick = async {
        tokio::time::sleep(Duration::from_millis(80)).await;
        let both = json!([
            {"Ext_Id__c": "2", "LastName": "2", "Account": {"Ext_Id__c": "p"}}, {"Ext_Id__c": "3", "LastName": "3", "Account": {"Ext_Id__c": "q"}}]);
        org.upsert("Contact", both).await
    };
    let (slow, quick) = tokio::join!(slow, quick);
    assert_eq!(slow[0]["success"], true);
    assert_eq!(
        (code(&quick[0]), code(&quick[1])),
        ("UNABLE_TO_LOCK_ROW", "none")
    );
    let message = quick[0]["errors"][0]["message"].as_str().unwrap();
    assert!(
        message.starts_with("unable to obtain exclusive access to this record or 1 records: 001"),
        "{message}"
    );
    let seen = org.control(Method::GET, "locks", Value::Null).await;
    assert_eq!((&seen["waits"], &seen["refused"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn an_update_locks_only_the_parents_it_writes_and_always_its_masters() {
    let org = Org::new().await;
    parents(&org).await;
    org.upsert("Contact", child("1", "p")).await;
    org.upsert("Contact", child("2", "p")).await;
    let fields = json!({
        "Key__c": serde_json::from_str::<Value>(EXTERNAL_ID).unwrap(),
        "Master__c": {"type": "MasterDetail", "label": "Master", "referenceTo": "Account", "relationshipName": "Parts", "relationshipLabel": "Parts", "relationshipOrder": 0},
        "Size__c": {"type": "Text", "label": "Size", "length": 9}});
    let made = org
        .control(Method::PUT, "objects/Part__c", json!({"fields": fields}))
        .await;
    assert_eq!(made["object"], "Part__c", "{made}");
    let part = |key: &str, size: &str| json!({"records": [{"attributes": {"type": "Part__c"}, "Key__c": key, "Size__c": size}]});
    let upsert = |body: Value| org.send(Method::PATCH, "composite/sobjects/Part__c/Key__c", body);
    for key in ["1", "2"] {
        let mut body = part(key, "s");
        body["records"][0]["Master__r"] = json!({"Ext_Id__c": "p"});
        let (_, done) = upsert(body).await;
        assert_eq!(code(&done[0]), "none", "{done}");
    }
    set(&org, 100, 0).await;
    let title = |key: &str| json!([{"Ext_Id__c": key, "Title": "x"}]);
    let (one, two) = tokio::join!(
        org.upsert("Contact", title("1")),
        org.upsert("Contact", title("2"))
    );
    assert_eq!((code(&one[0]), code(&two[0])), ("none", "none"));
    let moved = |key: &str, to: &str| json!([{"Ext_Id__c": key, "Account": {"Ext_Id__c": to}}]);
    let (one, two) = tokio::join!(
        org.upsert("Contact", moved("1", "q")),
        org.upsert("Contact", moved("2", "p"))
    );
    let mut codes = [code(&one[0]), code(&two[0])];
    codes.sort_unstable();
    // The one that moves away locks the parent it leaves.
    assert_eq!(codes, ["UNABLE_TO_LOCK_ROW", "none"]);
    let ((_, one), (_, two)) = tokio::join!(upsert(part("1", "m")), upsert(part("2", "m")));
    let mut codes = [code(&one[0]), code(&two[0])];
    codes.sort_unstable();
    assert_eq!(codes, ["UNABLE_TO_LOCK_ROW", "none"]);
}

#[tokio::test]
async fn a_write_that_takes_no_time_still_waits_for_one_that_does() {
    let org = Org::new().await;
    parents(&org).await;
    let slow = json!({"rules": [{"kind": "slow", "delay_ms": 300, "external_ids": ["slow"]}]});
    org.control(Method::PUT, "faults", slow).await;
    set(&org, 0, 20).await;
    let edit = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let edit = json!({"object": "Account", "external_id": "p", "fields": {"Phone": "1"}});
        org.control(Method::POST, "edit", edit).await
    };
    let (slow, edit) = tokio::join!(org.upsert("Contact", child("slow", "p")), edit);
    assert_eq!(slow[0]["success"], true);
    assert_eq!(edit[0]["errorCode"], "UNABLE_TO_LOCK_ROW", "{edit}");
}
