//! The org's clock, the rolling day of the limits, and the counters.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use syncline_sandbox::Config;

use crate::common::{Org, code, read};

async fn advance(org: &Org, millis: i64) -> Value {
    let set = json!({"advance_ms": millis});
    let set = org.control(Method::PUT, "clock", set).await;
    assert!(set["now_ms"].is_i64(), "{set}");
    set
}

const HOUR: i64 = 3_600_000;

async fn login(org: &Org, id: &str, secret: &str) -> (u16, Value) {
    let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
    let reply = org
        .http
        .post(format!("{}/services/oauth2/token", org.url))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    read(reply.send().await.unwrap()).await
}

async fn info(org: &Org, token: &str) -> (u16, String) {
    let reply = org
        .http
        .get(format!("{}/services/data/v66.0/sobjects", org.url))
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    let header = reply.headers()["sforce-limit-info"].to_str().unwrap();
    (reply.status().as_u16(), header.to_owned())
}

#[tokio::test]
async fn everything_follows_the_clock_and_it_never_runs_back() {
    let org = Org::new().await;
    let start = json!({"now": "2031-05-06T07:08:09Z", "rate": 0});
    let set = org.control(Method::PUT, "clock", start).await;
    assert_eq!(set["now"], "2031-05-06T07:08:09.000Z");
    // The session of before is hours old by now.
    let (status, error) = org.get("limits").await;
    assert_eq!(
        (status, &error[0]["errorCode"]),
        (401, &json!("INVALID_SESSION_ID"))
    );
    let mut org = org;
    org.token = org.login().await;
    org.upsert("Account", json!([{"Ext_Id__c": "a", "Name": "One"}]))
        .await;
    advance(&org, 61_000).await;
    org.upsert("Account", json!([{"Ext_Id__c": "a", "Name": "Two"}]))
        .await;
    let (_, rows) = org
        .query("SELECT CreatedDate, LastModifiedDate, SystemModstamp FROM Account")
        .await;
    let row = &rows["records"][0];
    assert_eq!(row["CreatedDate"], "2031-05-06T07:08:09.000+0000");
    assert_eq!(row["LastModifiedDate"], "2031-05-06T07:09:10.000+0000");
    assert_eq!(row["SystemModstamp"], "2031-05-06T07:09:10.000+0000");
    let log = org.control(Method::GET, "writes", Value::Null).await;
    assert_eq!(log["writes"][0]["at"], "2031-05-06T07:08:09.000Z");
    let reply = org.request(Method::GET, "limits").send().await.unwrap();
    assert_eq!(reply.headers().get_all("date").iter().count(), 1);
    assert_eq!(reply.headers()["date"], "Tue, 06 May 2031 07:09:10 GMT");
    for back in [
        json!({"now": "2031-05-06T07:09:09Z"}),
        json!({"advance_ms": -1}),
    ] {
        let refused = org.control(Method::PUT, "clock", back).await;
        assert_eq!(refused[0]["errorCode"], "INVALID_ARGUMENT", "{refused}");
    }
    let wrong = org.control(Method::PUT, "clock", json!({"speed": 2})).await;
    assert_eq!(wrong[0]["errorCode"], "INVALID_ARGUMENT", "{wrong}");
    let now = org.control(Method::GET, "clock", Value::Null).await;
    assert_eq!(now["now"], "2031-05-06T07:09:10.000Z");
}

#[tokio::test]
async fn a_clock_hurries_at_its_rate() {
    let org = Org::new().await;
    let before = org
        .control(Method::PUT, "clock", json!({"rate": 1440}))
        .await;
    tokio::time::sleep(Duration::from_millis(250)).await;
    let after = org.control(Method::GET, "clock", Value::Null).await;
    let passed = after["now_ms"].as_i64().unwrap() - before["now_ms"].as_i64().unwrap();
    assert!((360_000..1_440_000).contains(&passed), "{passed}");
    assert_eq!(after["rate"], 1440.0);
}

#[tokio::test]
async fn a_server_may_be_ten_minutes_behind_and_stay_so_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = |offset| Config {
        data: Some(dir.path().to_owned()),
        clock_offset_ms: offset,
        ..Config::default()
    };
    let org = Org::with(config(-600_000)).await;
    let behind = |clock: &Value| clock["ahead_ms"].as_i64().unwrap();
    let clock = org.control(Method::GET, "clock", Value::Null).await;
    assert!((-601_000..-599_000).contains(&behind(&clock)), "{clock}");
    // Nobody has used it yet: it may still be set back.
    let clock = advance(&org, -HOUR).await;
    assert!(
        (-4_201_000..-4_199_000).contains(&behind(&clock)),
        "{clock}"
    );
    org.sandbox.stop().await;
    let org = Org::with(config(0)).await;
    let clock = org.control(Method::GET, "clock", Value::Null).await;
    assert!(
        (-4_201_000..-4_199_000).contains(&behind(&clock)),
        "{clock}"
    );
}

#[tokio::test]
async fn a_day_of_use_rolls_and_is_told_by_app() {
    let mut org = Org::new().await;
    org.control(Method::PUT, "clock", json!({"rate": 0})).await;
    org.control(Method::PUT, "limits", json!({"max": 100}))
        .await;
    let other = json!({"app": "other", "calls": 70});
    org.control(Method::POST, "usage", other).await;
    advance(&org, 12 * HOUR).await;
    org.token = org.login().await;
    let (_, limits) = org.get("limits").await;
    assert_eq!(
        limits["DailyApiRequests"],
        json!({"Max": 100, "Remaining": 29})
    );
    let other = json!({"app": "crm-backup", "calls": 28});
    org.control(Method::POST, "usage", other).await;
    assert_eq!(
        info(&org, &org.token).await,
        (200, "api-usage=100/100".to_owned())
    );
    let refused = org
        .try_upsert("Account", json!([{"Ext_Id__c": "a", "Name": "A"}]), false)
        .await;
    let limit = json!([{"message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"}]);
    assert_eq!(refused, (403, limit));
    assert_eq!(
        org.control(Method::GET, "usage", Value::Null).await,
        json!({"used": 100, "max": 100, "apps": {
            "sandbox": {"calls": 2, "max": null}, "other": {"calls": 70, "max": null},
            "crm-backup": {"calls": 28, "max": null}}})
    );
    // What the other app used 24 hours ago falls out, a quarter of an hour at most late.
    advance(&org, 11 * HOUR + HOUR / 2).await;
    org.token = org.login().await;
    assert_eq!(info(&org, &org.token).await.0, 403);
    advance(&org, HOUR / 2).await;
    assert_eq!(
        info(&org, &org.token).await,
        (200, "api-usage=31/100".to_owned())
    );
    advance(&org, 13 * HOUR).await;
    org.token = org.login().await;
    assert_eq!(
        info(&org, &org.token).await,
        (200, "api-usage=2/100".to_owned())
    );
}

#[tokio::test]
async fn an_app_may_have_a_share_of_its_own() {
    let org = Org::new().await;
    assert_eq!(login(&org, "cdc", "s3").await.0, 400);
    let app = json!({"client_id": "cdc", "client_secret": "s3", "max": 2});
    org.control(Method::PUT, "apps", app).await;
    assert_eq!(login(&org, "cdc", "wrong").await.0, 400);
    let (_, granted) = login(&org, "cdc", "s3").await;
    let token = granted["access_token"].as_str().unwrap();
    let first = info(&org, token).await;
    assert_eq!(
        first,
        (
            200,
            "api-usage=1/100000; per-app-api-usage=1/2(appName=cdc)".to_owned()
        )
    );
    assert_eq!(info(&org, token).await.0, 200);
    let third = info(&org, token).await;
    assert_eq!(
        third,
        (
            403,
            "api-usage=2/100000; per-app-api-usage=2/2(appName=cdc)".to_owned()
        )
    );
    assert_eq!(
        info(&org, &org.token).await,
        (200, "api-usage=3/100000".to_owned())
    );
}

#[tokio::test]
async fn other_limits_of_a_day_can_be_set() {
    let org = Org::new().await;
    let set = json!({"bulk_batches": 7, "bulk_query_jobs": 3});
    org.control(Method::PUT, "limits", set).await;
    let (_, limits) = org.get("limits").await;
    assert_eq!(
        limits["DailyBulkApiBatches"],
        json!({"Max": 7, "Remaining": 7})
    );
    assert_eq!(
        limits["DailyBulkV2QueryJobs"],
        json!({"Max": 3, "Remaining": 3})
    );
    let wrong = org
        .control(Method::PUT, "limits", json!({"maximum": 1}))
        .await;
    assert_eq!(wrong[0]["errorCode"], "INVALID_ARGUMENT", "{wrong}");
}

#[tokio::test]
async fn calls_are_counted_by_kind_and_app() {
    let org = Org::new().await;
    org.get("limits").await;
    org.control(Method::DELETE, "counters", Value::Null).await;
    let three = json!([{"Ext_Id__c": "a", "Name": "A"}, {"Ext_Id__c": "b", "Name": "B"}, {"Ext_Id__c": "c"}]);
    let made = org.upsert("Account", three).await;
    assert_eq!(code(&made[2]), "REQUIRED_FIELD_MISSING");
    let ids = json!({"ids": [made[0]["id"], made[1]["id"]], "fields": ["Id"]});
    org.send(Method::POST, "composite/sobjects/Account", ids)
        .await;
    org.query("SELECT Id FROM Account").await;
    org.get("sobjects/Account/describe").await;
    org.get("sobjects").await;
    let path = format!("sobjects/Account/{}", made[0]["id"].as_str().unwrap());
    org.send(Method::PATCH, &path, json!({"Phone": "1"})).await;
    org.send(Method::DELETE, &path, Value::Null).await;
    org.get("limits").await;
    org.get("jobs/nothing").await;
    org.login().await;
    let plain = org
        .http
        .get(format!("{}/services/data/v66.0/limits", org.url));
    assert_eq!(plain.send().await.unwrap().status(), 401);
    let kind = |calls: u64, records: u64| json!({"calls": calls, "records": records});
    let mut shown = org.control(Method::GET, "counters", Value::Null).await;
    assert!(shown["since"].as_str().unwrap().ends_with('Z'));
    shown.as_object_mut().unwrap().remove("since");
    let mine = json!({
        "collections retrieve": kind(1, 2), "collections upsert": kind(1, 3), "describe": kind(1, 0),
        "describe global": kind(1, 0), "limits": kind(1, 0), "other": kind(1, 0), "query": kind(1, 0),
        "row write": kind(2, 2),
    });
    let mut all = mine.clone();
    all["limits"] = kind(2, 0);
    assert_eq!(
        shown,
        json!({
            "calls": 10, "charged": 9, "records": 7, "logins": 1, "by_kind": all,
            "by_app": {"sandbox": {"calls": 9, "by_kind": mine}, "": {"calls": 1, "by_kind": {"limits": kind(1, 0)}}},
            "by_status": {"200": 6, "204": 2, "401": 1, "404": 1},
        })
    );
    org.control(Method::DELETE, "counters", Value::Null).await;
    let empty = org.control(Method::GET, "counters", Value::Null).await;
    assert_eq!(
        (&empty["calls"], &empty["by_kind"]),
        (&json!(0), &json!({}))
    );
}
