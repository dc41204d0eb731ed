//! Requests in one request: composite, graphs, batches.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{BASE, Org, code, count, encode, schema, statuses, sub};

async fn composite(org: &Org, all_or_none: bool, subs: Value) -> (u16, Value) {
    let body =
        json!({"allOrNone": all_or_none, "collateSubrequests": true, "compositeRequest": subs});
    org.send(Method::POST, "composite", body).await
}

#[tokio::test]
async fn later_requests_refer_to_earlier_answers() {
    let org = Org::new().await;
    let query = format!("query?q={}", encode("SELECT Id, Name FROM Account")).replace("%5F", "_");
    let subs = json!([
        sub(
            "acc",
            "PATCH",
            "sobjects/Account/Ext_Id__c/a-9",
            json!({"Name": "A"})
        ),
        sub(
            "con",
            "POST",
            "sobjects/Contact",
            json!({"LastName": "Lee", "AccountId": "@{acc.id}"})
        ),
        sub("find", "GET", &query, Value::Null),
        sub(
            "more",
            "POST",
            "composite/sobjects",
            json!({"records": [{"attributes": {"type": "Contact"}, "LastName": "of @{find.records[0].Name}", "AccountId": "@{find.records[0].Id}"}]})
        ),
        sub(
            "get",
            "GET",
            "sobjects/Account/@{find.records[0].Id}?fields=Name",
            Value::Null
        ),
        sub(
            "gone",
            "DELETE",
            "sobjects/Contact/@{more[0].id}",
            Value::Null
        )
    ]);
    let (status, answer) = composite(&org, true, subs).await;
    assert_eq!(
        (status, statuses(&answer)),
        (200, vec![201, 201, 200, 200, 200, 204]),
        "{answer}"
    );
    let list = &answer["compositeResponse"];
    assert_eq!(
        (&list[0]["body"]["created"], &list[0]["referenceId"]),
        (&json!(true), &json!("acc"))
    );
    let id = list[0]["body"]["id"].as_str().unwrap();
    assert_eq!(
        list[0]["httpHeaders"]["Location"],
        format!("{BASE}/sobjects/Account/{id}")
    );
    assert_eq!(
        (&list[4]["body"]["Name"], &list[5]["body"]),
        (&json!("A"), &Value::Null)
    );
    let (_, rows) = org.query("SELECT LastName, AccountId FROM Contact").await;
    assert_eq!(
        (&rows["totalSize"], &rows["records"][0]["AccountId"]),
        (&json!(1), &json!(id))
    );
    let (_, deleted) = org
        .get(&format!(
            "queryAll?q={}",
            encode("SELECT LastName FROM Contact WHERE IsDeleted = true")
        ))
        .await;
    assert_eq!(deleted["records"][0]["LastName"], "of A");
    // One call for all of it.
    let counted = org.control(Method::GET, "counters", Value::Null).await;
    assert_eq!(
        (
            &counted["by_kind"]["composite"]["calls"],
            &counted["charged"]
        ),
        (&json!(1), &json!(3))
    );
}

#[tokio::test]
async fn all_or_none_takes_back_rows_history_and_log() {
    let org = Org::new().await;
    schema(
        &org,
        json!({"object": "Account", "field": "Name", "trackHistory": true}),
    )
    .await;
    org.upsert("Account", json!([{"Ext_Id__c": "old", "Name": "Old"}]))
        .await;
    let subs = |last: Value| {
        json!([
            sub(
                "one",
                "PATCH",
                "sobjects/Account/Ext_Id__c/old",
                json!({"Name": "New"})
            ),
            sub(
                "two",
                "PATCH",
                "composite/sobjects/Account/Ext_Id__c",
                json!({"records": [{"attributes": {"type": "Account"}, "Ext_Id__c": "n", "Name": "N"}]})
            ),
            sub("three", "POST", "sobjects/Contact", last),
            sub(
                "four",
                "POST",
                "sobjects/Contact",
                json!({"LastName": "never"})
            )
        ])
    };
    let (status, answer) = composite(&org, true, subs(json!({"FirstName": "no last name"}))).await;
    assert_eq!((status, statuses(&answer)), (200, vec![400; 4]));
    let halted = json!([{"errorCode": "PROCESSING_HALTED", "message": "The transaction was rolled back since another operation in the same transaction failed."}]);
    let list = &answer["compositeResponse"];
    for at in [0, 1, 3] {
        assert_eq!(list[at]["body"], halted);
    }
    assert_eq!(list[2]["body"][0]["errorCode"], "REQUIRED_FIELD_MISSING");
    let (_, row) = org.query("SELECT Name FROM Account").await;
    assert_eq!(
        (&row["totalSize"], &row["records"][0]["Name"]),
        (&json!(1), &json!("Old"))
    );
    assert_eq!(count(&org, "AccountHistory").await, 1);
    let log = org
        .control(Method::GET, "writes?after=1", Value::Null)
        .await;
    let told: Vec<&str> = log["writes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| w["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(
        told,
        [
            "PROCESSING_HALTED",
            "PROCESSING_HALTED",
            "REQUIRED_FIELD_MISSING"
        ]
    );
    // Without it the others stand.
    let (_, answer) = composite(&org, false, subs(json!({"FirstName": "no last name"}))).await;
    assert_eq!(statuses(&answer), [200, 200, 400, 201]);
    assert_eq!(
        (count(&org, "Account").await, count(&org, "Contact").await),
        (json!(2), json!(1))
    );
    // A record that fails in a collection fails the whole, and its sibling's success is not true.
    let two = json!([sub(
        "c",
        "POST",
        "composite/sobjects",
        json!({"records": [{"attributes": {"type": "Contact"}, "LastName": "x"}, {"attributes": {"type": "Contact"}}]})
    )]);
    let (_, answer) = composite(&org, true, two).await;
    let only = &answer["compositeResponse"][0];
    assert_eq!(
        (&only["httpStatusCode"], &only["body"][0]["success"]),
        (&json!(400), &json!(true))
    );
    assert_eq!(count(&org, "Contact").await, 1);
}

#[tokio::test]
async fn a_failed_answer_halts_those_that_need_it() {
    let org = Org::new().await;
    let subs = json!([
        sub("acc", "POST", "sobjects/Account", json!({})),
        sub(
            "con",
            "POST",
            "sobjects/Contact",
            json!({"LastName": "Lee", "AccountId": "@{acc.id}"})
        ),
        sub(
            "free",
            "POST",
            "sobjects/Contact",
            json!({"LastName": "Free"})
        )
    ]);
    let (_, answer) = composite(&org, false, subs).await;
    assert_eq!(statuses(&answer), [400, 400, 201]);
    let halted = &answer["compositeResponse"][1]["body"][0];
    assert_eq!(halted["errorCode"], "PROCESSING_HALTED");
    assert_eq!(
        halted["message"],
        "Invalid reference specified. No value for acc.id found in acc"
    );
}

#[tokio::test]
async fn conditions_of_a_subrequest_are_its_own() {
    let org = Org::new().await;
    org.control(Method::PUT, "clock", json!({"rate": 0})).await;
    let made = org
        .upsert("Contact", json!([{"Ext_Id__c": "c", "LastName": "L"}]))
        .await;
    let path = format!("sobjects/Contact/{}", made[0]["id"].as_str().unwrap());
    let reply = org.request(Method::GET, &path).send().await.unwrap();
    let read_at = reply.headers()["last-modified"]
        .to_str()
        .unwrap()
        .to_owned();
    let guarded = |name: &str| {
        let mut sub = sub(name, "PATCH", &path, json!({"Title": name}));
        sub["httpHeaders"] = json!({"If-Unmodified-Since": read_at});
        sub
    };
    let mut read = sub("read", "GET", &path, Value::Null);
    read["httpHeaders"] = json!({"If-Modified-Since": read_at});
    let (_, answer) = composite(&org, false, json!([guarded("first"), read])).await;
    assert_eq!(statuses(&answer), [204, 304], "{answer}");
    org.control(Method::PUT, "clock", json!({"advance_ms": 1000}))
        .await;
    org.control(
        Method::POST,
        "edit",
        json!({"object": "Contact", "external_id": "c", "fields": {"Title": "theirs"}}),
    )
    .await;
    let (_, answer) = composite(&org, false, json!([guarded("late")])).await;
    assert_eq!(statuses(&answer), [412]);
}

#[tokio::test]
async fn the_request_itself_must_be_sound() {
    let org = Org::new().await;
    let get = |name: &str| sub(name, "GET", "sobjects/Account/describe", Value::Null);
    let query = |name: &str| sub(name, "GET", "query?q=SELECT+Id+FROM+Account", Value::Null);
    let mut headers = get("a");
    headers["httpHeaders"] = json!({"Authorization": "Bearer x"});
    let many = |n: usize, make: &dyn Fn(&str) -> Value| {
        Value::Array((0..n).map(|i| make(&format!("r{i}"))).collect())
    };
    for (subs, code) in [
        (json!([]), "INVALID_INPUT"),
        (json!([get("a"), get("a")]), "INVALID_INPUT"),
        (json!([get("a-b")]), "INVALID_INPUT"),
        (json!([headers]), "INVALID_INPUT"),
        (
            json!([sub("t", "GET", "tooling/query?q=x", Value::Null)]),
            "INVALID_INPUT",
        ),
        (
            json!([sub("t", "POST", "composite", Value::Null)]),
            "INVALID_INPUT",
        ),
        (many(26, &get), "LIMIT_EXCEEDED"),
        (many(6, &query), "LIMIT_EXCEEDED"),
    ] {
        let (status, error) = composite(&org, false, subs).await;
        assert_eq!(
            (status, error[0]["errorCode"].as_str().unwrap()),
            (400, code),
            "{error}"
        );
    }
    let (status, answer) = composite(&org, false, many(25, &get)).await;
    assert_eq!((status, statuses(&answer)), (200, vec![200; 25]));
    assert_eq!(composite(&org, false, many(5, &query)).await.0, 200);
    assert_eq!(org.send(Method::PUT, "composite", json!({})).await.0, 405);
}

#[tokio::test]
async fn a_transaction_waits_for_locks_and_holds_its_own() {
    let org = Org::new().await;
    org.upsert("Account", json!([{"Ext_Id__c": "p", "Name": "P"}]))
        .await;
    let child =
        |key: &str| json!([{"Ext_Id__c": key, "LastName": key, "Account": {"Ext_Id__c": "p"}}]);
    let whole = || {
        composite(
            &org,
            true,
            json!([
                sub(
                    "c",
                    "PATCH",
                    "sobjects/Contact/Ext_Id__c/c",
                    json!({"LastName": "L", "Account": {"Ext_Id__c": "p"}})
                ),
                sub(
                    "up",
                    "PATCH",
                    "sobjects/Account/Ext_Id__c/p",
                    json!({"Phone": "1"})
                )
            ]),
        )
    };
    org.control(
        Method::PUT,
        "locks",
        json!({"work_ms": 200, "wait_ms": 10_000}),
    )
    .await;
    let later = async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        whole().await
    };
    let (_, (_, answer)) = tokio::join!(org.upsert("Contact", child("1")), later);
    assert_eq!(statuses(&answer), [201, 200], "{answer}");
    let seen = org.control(Method::GET, "locks", Value::Null).await;
    assert_eq!(
        (&seen["refused"], &seen["held"]),
        (&json!(0), &json!(0)),
        "{seen}"
    );
    assert!(seen["waits"].as_u64().unwrap() >= 1);
    // The rehearsal leaves no trace: one entry a record, numbers without gaps.
    let log = org.control(Method::GET, "writes", Value::Null).await;
    let told: Vec<u64> = log["writes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| w["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(told, [1, 2, 3, 4]);
    // It is refused as a whole when it waited too long.
    org.control(Method::PUT, "locks", json!({"wait_ms": 20}))
        .await;
    let later = async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        whole().await
    };
    let (_, (_, answer)) = tokio::join!(org.upsert("Contact", child("2")), later);
    assert_eq!(statuses(&answer), [400, 400]);
    assert_eq!(
        answer["compositeResponse"][0]["body"][0]["errorCode"], "UNABLE_TO_LOCK_ROW",
        "{answer}"
    );
    // And others wait for it.
    let later = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        org.upsert("Contact", child("3")).await
    };
    let ((_, answer), refused) = tokio::join!(whole(), later);
    assert_eq!(
        (statuses(&answer), code(&refused[0])),
        (vec![200, 200], "UNABLE_TO_LOCK_ROW")
    );
}
