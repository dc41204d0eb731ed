//! What an org does to its clients: long requests, rights taken away, maintenance, moves.

use std::time::Duration;

use reqwest::{Client, Method, redirect};
use serde_json::{Value, json};

use crate::common::{Org, code, read};

fn account(key: &str) -> Value {
    json!([{"Ext_Id__c": key, "Name": key}])
}

async fn fault(org: &Org, rule: Value) {
    let set = org
        .control(Method::PUT, "faults", json!({"rules": [rule]}))
        .await;
    assert_eq!(set["seed"], 0, "{set}");
}

#[tokio::test]
async fn while_too_many_long_requests_run_others_are_refused() {
    let org = Org::new().await;
    org.control(
        Method::PUT,
        "limits",
        json!({"concurrent_long": 2, "long_request_ms": 100}),
    )
    .await;
    fault(
        &org,
        json!({"kind": "slow", "delay_ms": 700, "external_ids": ["slow1", "slow2"]}),
    )
    .await;
    let others = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        // Two are running, but none is long yet.
        let early = org.get("limits").await.0;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let before = org.control(Method::GET, "requests", Value::Null).await;
        let late = org.get("limits").await;
        let login = org.login().await;
        (early, before, late, login)
    };
    let (one, two, (early, before, late, login)) = tokio::join!(
        org.upsert("Account", account("slow1")),
        org.upsert("Account", account("slow2")),
        others
    );
    assert_eq!(
        (one[0]["success"].clone(), two[0]["success"].clone(), early),
        (json!(true), json!(true), 200)
    );
    assert_eq!(
        (&before["running"], &before["long"]),
        (&json!(2), &json!(2)),
        "{before}"
    );
    assert_eq!(
        late,
        (
            403,
            json!([{"message": "ConcurrentRequests (Concurrent API Requests) Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"}])
        )
    );
    assert!(login.starts_with("00D"));
    assert_eq!(org.get("limits").await.0, 200);
    let after = org.control(Method::GET, "requests", Value::Null).await;
    assert_eq!(
        (
            &after["running"],
            &after["long"],
            &after["refused_for_long"]
        ),
        (&json!(0), &json!(0), &json!(1))
    );
    // The refused one cost nothing.
    assert_eq!(after["api_calls"], 4);
    let set = org.control(Method::GET, "limits", Value::Null).await;
    assert_eq!(
        (&set["concurrent_long"], &set["long_request_ms"]),
        (&json!(2), &json!(100))
    );
}

#[tokio::test]
async fn rights_on_an_object_can_be_taken_away_while_clients_run() {
    let org = Org::new().await;
    org.upsert("Account", account("a")).await;
    let rights = |rights: Value| {
        let mut body = json!({"object": "Account"});
        body.as_object_mut()
            .unwrap()
            .extend(rights.as_object().unwrap().clone());
        org.control(Method::PUT, "rights", body)
    };
    assert_eq!(
        rights(json!({"edit": false})).await,
        json!({"object": "Account", "read": true, "create": true, "edit": false, "delete": true})
    );
    let both = json!([{"Ext_Id__c": "a", "Phone": "1"}, {"Ext_Id__c": "b", "Name": "b"}]);
    let results = org.upsert("Account", both).await;
    assert_eq!(
        (code(&results[0]), code(&results[1])),
        ("INSUFFICIENT_ACCESS_OR_READONLY", "none")
    );
    assert_eq!(
        results[0]["errors"][0]["message"],
        "insufficient access rights on object id"
    );
    let (_, shown) = org.get("sobjects/Account/describe").await;
    assert_eq!(
        (&shown["updateable"], &shown["createable"]),
        (&json!(false), &json!(true))
    );
    rights(json!({"edit": true, "create": false, "delete": false})).await;
    assert_eq!(
        code(&org.upsert("Account", account("c")).await[0]),
        "INSUFFICIENT_ACCESS_OR_READONLY"
    );
    let id = results[1]["id"].as_str().unwrap();
    let (_, gone) = org
        .send(
            Method::DELETE,
            &format!("composite/sobjects?ids={id}"),
            Value::Null,
        )
        .await;
    assert_eq!(code(&gone[0]), "INSUFFICIENT_ACCESS_OR_READONLY");
    // Others may go on.
    let edit = json!({"object": "Account", "external_id": "a", "fields": {"Phone": "2"}});
    assert_eq!(
        org.control(Method::POST, "edit", edit).await["success"],
        true
    );
    rights(json!({"read": false})).await;
    let (status, error) = org.query("SELECT Id FROM Account").await;
    assert_eq!(
        (status, &error[0]["errorCode"]),
        (400, &json!("INVALID_TYPE"))
    );
    assert_eq!(org.get("sobjects/Account/describe").await.0, 404);
    assert_eq!(org.try_upsert("Account", account("a"), false).await.0, 404);
    let (_, global) = org.get("sobjects").await;
    assert!(
        !global["sobjects"]
            .as_array()
            .unwrap()
            .iter()
            .any(|o| o["name"] == "Account")
    );
    let create = json!({"records": [{"attributes": {"type": "Account"}, "Name": "x"}]});
    let (status, error) = org.send(Method::POST, "composite/sobjects", create).await;
    assert_eq!(
        (status, &error[0]["errorCode"]),
        (400, &json!("INVALID_TYPE"))
    );
    rights(json!({"read": true, "create": true, "delete": true})).await;
    assert_eq!(
        org.upsert("Account", account("c")).await[0]["success"],
        true
    );
    let shown = org
        .control(Method::GET, "rights?object=Account", Value::Null)
        .await;
    assert_eq!(shown["edit"], true, "{shown}");
}

#[tokio::test]
async fn maintenance_closes_everything_and_200_may_be_a_lie() {
    let org = Org::new().await;
    fault(&org, json!({"kind": "maintenance"})).await;
    let (status, page) = org.get("limits").await;
    assert!(
        status == 503 && page.as_str().unwrap().contains("down for maintenance"),
        "{page}"
    );
    let login = org
        .http
        .post(format!("{}/services/oauth2/token", org.url))
        .body("grant_type=client_credentials");
    assert_eq!(login.send().await.unwrap().status(), 503);
    fault(
        &org,
        json!({"kind": "false_ok", "code": "SERVER_UNAVAILABLE", "message": "not now"}),
    )
    .await;
    let answer = org.try_upsert("Account", account("a"), false).await;
    assert_eq!(
        answer,
        (
            200,
            json!([{"message": "not now", "errorCode": "SERVER_UNAVAILABLE"}])
        )
    );
    fault(&org, json!({"kind": "html_ok"})).await;
    let (status, page) = org.try_upsert("Account", account("a"), false).await;
    assert!(status == 200 && page.as_str().unwrap().starts_with("<html>"));
    org.control(Method::DELETE, "faults", Value::Null).await;
    assert_eq!(
        org.query("SELECT COUNT() FROM Account").await.1["totalSize"],
        0
    );
    let spec = json!({"spec": "maintenance=1%,false_ok=1%,html_ok=1%,redirect=1%"});
    let set = org.control(Method::PUT, "faults", spec).await;
    assert_eq!(set["rules"].as_array().unwrap().len(), 4, "{set}");
}

fn stubborn() -> Client {
    Client::builder()
        .redirect(redirect::Policy::none())
        .build()
        .unwrap()
}

#[tokio::test]
async fn the_org_moves_and_logins_tell_where_to() {
    let org = Org::new().await;
    let new = org.url.replace("127.0.0.1", "localhost");
    let moved = org
        .control(
            Method::PUT,
            "instance",
            json!({"url": new, "redirect": 307}),
        )
        .await;
    assert_eq!(moved, json!({"url": new, "redirect": 307}));
    let client = stubborn();
    let ask = |base: &str| {
        client
            .get(format!(
                "{base}/services/data/v66.0/query?q=SELECT+Id+FROM+Account"
            ))
            .bearer_auth(&org.token)
            .send()
    };
    let reply = ask(&org.url).await.unwrap();
    assert_eq!(reply.status(), 307);
    assert_eq!(
        reply.headers()["location"],
        format!("{new}/services/data/v66.0/query?q=SELECT+Id+FROM+Account")
    );
    assert_eq!(ask(&new).await.unwrap().status(), 200);
    let form = "grant_type=client_credentials&client_id=sandbox&client_secret=sandbox";
    let login = client
        .post(format!("{}/services/oauth2/token", org.url))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    assert_eq!(
        read(login.send().await.unwrap()).await.1["instance_url"],
        new
    );
    org.control(
        Method::PUT,
        "instance",
        json!({"url": new, "redirect": null}),
    )
    .await;
    let (status, error) = read(ask(&org.url).await.unwrap()).await;
    assert_eq!(
        (status, &error[0]["errorCode"]),
        (401, &json!("INVALID_SESSION_ID"))
    );
    assert_eq!(
        org.control(Method::DELETE, "instance", Value::Null).await,
        Value::Null
    );
    assert_eq!(ask(&org.url).await.unwrap().status(), 200);
    fault(&org, json!({"kind": "redirect", "location": "http://elsewhere.test:1", "status": 302, "times": 1})).await;
    let reply = ask(&org.url).await.unwrap();
    assert_eq!(
        (
            reply.status().as_u16(),
            reply.headers()["location"].to_str().unwrap()
        ),
        (
            302,
            "http://elsewhere.test:1/services/data/v66.0/query?q=SELECT+Id+FROM+Account"
        )
    );
    assert_eq!(ask(&org.url).await.unwrap().status(), 200);
}
