//! Injected faults, row locks and the daily limit.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use syncline_sandbox::{Config, Sandbox};

use crate::common::{Org, code, read};

async fn fault(org: &Org, rule: Value) {
    let set = org
        .control(Method::PUT, "faults", json!({"seed": 1, "rules": [rule]}))
        .await;
    assert_eq!(set["seed"], 1, "{set}");
}

fn account(key: &str) -> Value {
    json!([{"Ext_Id__c": key, "Name": key}])
}

async fn count(org: &Org) -> u64 {
    org.control(Method::DELETE, "faults", Value::Null).await;
    org.query("SELECT COUNT() FROM Account").await.1["totalSize"]
        .as_u64()
        .unwrap()
}

#[tokio::test]
async fn throttling_comes_in_both_forms() {
    let org = Org::new().await;
    fault(&org, json!({"kind": "throttle", "times": 1})).await;
    let (status, error) = org.try_upsert("Account", account("a"), false).await;
    assert_eq!(
        (status, error[0]["errorCode"].as_str().unwrap()),
        (403, "REQUEST_LIMIT_EXCEEDED")
    );
    assert!(
        error[0]["message"]
            .as_str()
            .unwrap()
            .starts_with("ConcurrentRequests")
    );
    assert_eq!(org.try_upsert("Account", account("a"), false).await.0, 200);
    fault(&org, json!({"kind": "throttle_429", "delay_ms": 3000})).await;
    let reply = org.request(Method::GET, "limits").send().await.unwrap();
    assert_eq!(
        (
            reply.status().as_u16(),
            reply.headers()["retry-after"].to_str().unwrap()
        ),
        (429, "3")
    );
}

#[tokio::test]
async fn a_lost_answer_was_written_and_a_time_out_before_was_not() {
    let org = Org::new().await;
    fault(&org, json!({"kind": "lost", "external_ids": ["lost"]})).await;
    let body = |key: &str| json!({"records": [{"attributes": {"type": "Account"}, "Ext_Id__c": key, "Name": "x"}]});
    let send = |key: &str| {
        org.request(Method::PATCH, "composite/sobjects/Account/Ext_Id__c")
            .json(&body(key))
            .send()
    };
    assert!(send("kept").await.is_ok());
    assert!(send("lost").await.is_err());
    assert_eq!(count(&org).await, 2);
    fault(&org, json!({"kind": "timeout_before", "delay_ms": 50})).await;
    assert!(send("never").await.is_err());
    assert_eq!(count(&org).await, 2);
}

#[tokio::test]
async fn a_cut_answer_breaks_off_in_the_middle() {
    let org = Org::new().await;
    fault(&org, json!({"kind": "cut", "path": "/sobjects"})).await;
    let reply = org
        .request(Method::GET, "sobjects/Account/describe")
        .send()
        .await
        .unwrap();
    assert_eq!(reply.status(), 200);
    assert!(reply.text().await.is_err());
}

#[tokio::test]
async fn outages_have_two_faces() {
    let org = Org::new().await;
    fault(&org, json!({"kind": "unavailable"})).await;
    let (status, error) = org.get("limits").await;
    assert_eq!(
        (status, error[0]["errorCode"].as_str().unwrap()),
        (503, "SERVER_UNAVAILABLE")
    );
    fault(&org, json!({"kind": "bad_gateway"})).await;
    let (status, html) = org.get("limits").await;
    assert!(status == 502 && html.as_str().unwrap().starts_with("<html>"));
}

#[tokio::test]
async fn the_nth_request_loses_its_session() {
    let org = Org::new().await;
    fault(&org, json!({"kind": "unauthorized", "every": 2})).await;
    assert_eq!(org.get("limits").await.0, 200);
    let (status, error) = org.get("limits").await;
    assert_eq!(
        (status, error),
        (
            401,
            json!([{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}])
        )
    );
    assert_eq!(org.get("limits").await.0, 401);
}

#[tokio::test]
async fn chosen_records_are_locked_or_rejected() {
    let org = Org::new().await;
    let rules = json!({"rules": [
        {"kind": "lock", "external_ids": ["b"], "times": 1},
        {"kind": "reject", "external_ids": ["c"], "object": "Account", "code": "FIELD_CUSTOM_VALIDATION_EXCEPTION", "message": "no"},
    ]});
    org.control(Method::PUT, "faults", rules).await;
    let three = json!([{"Ext_Id__c": "a", "Name": "a"}, {"Ext_Id__c": "b", "Name": "b"}, {"Ext_Id__c": "c", "Name": "c"}]);
    let results = org.upsert("Account", three.clone()).await;
    let codes: Vec<&str> = results.iter().map(code).collect();
    assert_eq!(
        codes,
        [
            "none",
            "UNABLE_TO_LOCK_ROW",
            "FIELD_CUSTOM_VALIDATION_EXCEPTION"
        ]
    );
    let again = org.upsert("Account", three).await;
    assert_eq!(
        again.iter().map(code).collect::<Vec<_>>(),
        ["none", "none", "FIELD_CUSTOM_VALIDATION_EXCEPTION"]
    );
}

#[tokio::test]
async fn a_slow_write_holds_its_parent() {
    let org = Org::new().await;
    org.upsert(
        "Account",
        json!([{"Ext_Id__c": "p", "Name": "p"}, {"Ext_Id__c": "q", "Name": "q"}]),
    )
    .await;
    fault(
        &org,
        json!({"kind": "slow", "delay_ms": 800, "external_ids": ["slow"]}),
    )
    .await;
    org.control(Method::PUT, "faults", json!({"latency_ms": 1, "rules": [{"kind": "slow", "delay_ms": 800, "external_ids": ["slow"]}]})).await;
    let child = |key: &str, parent: &str| json!([{"Ext_Id__c": key, "LastName": key, "Account": {"Ext_Id__c": parent}}]);
    let slow = org.upsert("Contact", child("slow", "p"));
    let others = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        (
            org.upsert("Contact", child("same", "p")).await,
            org.upsert("Contact", child("other", "q")).await,
        )
    };
    let (slow, (same, other)) = tokio::join!(slow, others);
    assert_eq!(slow[0]["success"], true);
    assert_eq!(code(&same[0]), "UNABLE_TO_LOCK_ROW");
    assert_eq!(other[0]["success"], true);
    assert_eq!(
        org.upsert("Contact", child("same", "p")).await[0]["success"],
        true
    );
}

#[tokio::test]
async fn two_callers_with_the_same_new_key_make_one_record() {
    let org = Org::new().await;
    org.control(Method::PUT, "faults", json!({"latency_ms": 100}))
        .await;
    let (one, two) = tokio::join!(
        org.upsert("Account", account("k")),
        org.upsert("Account", account("k"))
    );
    let mut codes = [code(&one[0]), code(&two[0])];
    codes.sort_unstable();
    assert_eq!(codes, ["DUPLICATE_VALUE", "none"]);
    assert_eq!(
        org.upsert("Account", account("k")).await[0]["created"],
        false
    );
    assert_eq!(count(&org).await, 1);
}

#[tokio::test]
async fn the_daily_limit_counts_and_ends() {
    let org = Org::new().await;
    org.control(Method::PUT, "limits", json!({"max": 10, "used": 8}))
        .await;
    let reply = org.request(Method::GET, "limits").send().await.unwrap();
    assert_eq!(reply.headers()["sforce-limit-info"], "api-usage=9/10");
    let (_, limits) = org.get("limits").await;
    assert_eq!(
        limits["DailyApiRequests"],
        json!({"Max": 10, "Remaining": 0})
    );
    let (status, error) = org.get("limits").await;
    assert_eq!(
        (status, error),
        (
            403,
            json!([{"message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"}])
        )
    );
    let limits = org.control(Method::GET, "limits", Value::Null).await;
    for (key, value) in [
        ("max", 10),
        ("used", 10),
        ("custom_fields", 500),
        ("describe_lag_ms", 0),
    ] {
        assert_eq!(limits[key], value, "{limits}");
    }
    org.control(Method::PUT, "limits", json!({"max": 1000, "used": 0}))
        .await;
    fault(&org, json!({"kind": "drain", "amount": 500, "times": 1})).await;
    let reply = org.request(Method::GET, "limits").send().await.unwrap();
    assert_eq!(reply.headers()["sforce-limit-info"], "api-usage=501/1000");
}

#[tokio::test]
async fn equal_seeds_make_equal_luck() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let org = Org::new().await;
        org.control(
            Method::PUT,
            "faults",
            json!({"spec": "throttle=30%,seed=7"}),
        )
        .await;
        let mut run = Vec::new();
        for _ in 0..40 {
            run.push(org.get("limits").await.0);
        }
        assert!(run.contains(&403) && run.contains(&200));
        runs.push(run);
    }
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn faults_that_cannot_be_read_are_refused() {
    let config = Config {
        faults: Some("thrott=1%".to_owned()),
        ..Config::default()
    };
    let error = Sandbox::start(config).await.unwrap_err();
    assert!(error.to_string().contains("thrott"), "{error}");
    let org = Org::new().await;
    let put = org
        .http
        .put(format!("{}/sandbox/faults", org.url))
        .json(&json!({"rules": [{"kind": "nope"}]}));
    assert_eq!(read(put.send().await.unwrap()).await.0, 400);
}

#[tokio::test]
async fn a_stopped_sandbox_closes_its_connections() {
    let org = Org::new().await;
    fault(&org, json!({"kind": "timeout_before", "delay_ms": 60_000})).await;
    let waiting = org.request(Method::GET, "limits").send();
    let sandbox = org.sandbox;
    let started = Instant::now();
    let (answer, ()) = tokio::join!(waiting, async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        sandbox.stop().await;
    });
    assert!(answer.is_err() && started.elapsed() < Duration::from_secs(5));
}
