//! Composite graphs and batches.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{Org, count, statuses, sub};

async fn graphs(org: &Org, graphs: Value) -> (u16, Value) {
    org.send(Method::POST, "composite/graph", json!({"graphs": graphs}))
        .await
}

#[tokio::test]
async fn each_graph_stands_or_falls_alone() {
    let org = Org::new().await;
    let graph = |id: &str, name: Value| {
        // Nodes come in any order: references decide.
        json!({"graphId": id, "compositeRequest": [
            sub("con", "POST", "sobjects/Contact", json!({"LastName": "Lee", "AccountId": "@{acc.id}"})),
            sub("acc", "POST", "sobjects/Account", json!({"Name": name}))]})
    };
    let (status, answer) = graphs(
        &org,
        json!([
            graph("1", json!("One")),
            graph("2", Value::Null),
            graph("3", json!("Three"))
        ]),
    )
    .await;
    assert_eq!(status, 200, "{answer}");
    let list = answer["graphs"].as_array().unwrap();
    let told: Vec<(&str, bool, Vec<u64>)> = list
        .iter()
        .map(|g| {
            (
                g["graphId"].as_str().unwrap(),
                g["isSuccessful"].as_bool().unwrap(),
                statuses(&g["graphResponse"]),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("1", true, vec![201, 201]),
            ("2", false, vec![400, 400]),
            ("3", true, vec![201, 201])
        ]
    );
    assert_eq!(
        list[1]["graphResponse"]["compositeResponse"][0]["body"][0]["errorCode"],
        "PROCESSING_HALTED"
    );
    assert_eq!(
        (count(&org, "Account").await, count(&org, "Contact").await),
        (json!(2), json!(2))
    );
    let many: Vec<Value> = (0..20)
        .map(|i| {
            graph(
                &i.to_string(),
                if i < 14 { Value::Null } else { json!("x") },
            )
        })
        .collect();
    let (_, answer) = graphs(&org, json!(many)).await;
    assert!(
        answer["graphs"]
            .as_array()
            .unwrap()
            .iter()
            .all(|g| g["isSuccessful"] == false)
    );
    assert_eq!(count(&org, "Account").await, 2);
}

#[tokio::test]
async fn graphs_have_limits() {
    let org = Org::new().await;
    let node = |name: &str, body: Value| sub(name, "POST", "sobjects/Account", body);
    let plain = |n: usize| -> Vec<Value> {
        (0..n)
            .map(|i| node(&format!("n{i}"), json!({"Name": "x"})))
            .collect()
    };
    let chain = |n: usize| -> Vec<Value> {
        (0..n)
            .map(|i| {
                if i == 0 {
                    node("n0", json!({"Name": "x"}))
                } else {
                    node(
                        &format!("n{i}"),
                        json!({"Name": "x", "ParentId": format!("@{{n{}.id}}", i - 1)}),
                    )
                }
            })
            .collect()
    };
    let graph = |id: &str, subs: Vec<Value>| json!({"graphId": id, "compositeRequest": subs});
    let kinds: Vec<Value> = ["Account", "Contact", "Lead", "Case", "Task", "Product2"]
        .iter()
        .flat_map(|o| {
            ["POST", "PATCH", "GET"].map(|m| {
                sub(
                    &format!("{o}{m}"),
                    m,
                    &format!("sobjects/{o}/x"),
                    Value::Null,
                )
            })
        })
        .collect();
    for (list, code) in [
        (
            (0..76)
                .map(|i| graph(&i.to_string(), plain(1)))
                .collect::<Vec<_>>(),
            "LIMIT_EXCEEDED",
        ),
        (
            vec![graph("a", plain(251)), graph("b", plain(250))],
            "LIMIT_EXCEEDED",
        ),
        (vec![graph("a", chain(16))], "LIMIT_EXCEEDED"),
        (vec![graph("a", kinds)], "LIMIT_EXCEEDED"),
        (
            vec![graph(
                "a",
                vec![
                    node("x", json!({"Name": "@{y.id}"})),
                    node("y", json!({"Name": "@{x.id}"})),
                ],
            )],
            "INVALID_INPUT",
        ),
        (
            vec![graph("a", plain(1)), graph("a", plain(1))],
            "INVALID_INPUT",
        ),
        (
            vec![graph(
                "a",
                vec![sub(
                    "q",
                    "GET",
                    "query?q=SELECT+Id+FROM+Account",
                    Value::Null,
                )],
            )],
            "INVALID_INPUT",
        ),
    ] {
        let (status, error) = graphs(&org, json!(list)).await;
        assert_eq!(
            (status, error[0]["errorCode"].as_str().unwrap_or("none")),
            (400, code),
            "{error}"
        );
    }
    let (_, answer) = graphs(&org, json!([graph("a", chain(15)), graph("b", plain(485))])).await;
    assert!(
        answer["graphs"]
            .as_array()
            .unwrap()
            .iter()
            .all(|g| g["isSuccessful"] == true),
        "{answer}"
    );
    assert_eq!(count(&org, "Account").await, 500);
}

#[tokio::test]
async fn every_request_of_a_batch_is_a_call() {
    let org = Org::new().await;
    let made = org
        .upsert("Account", json!([{"Ext_Id__c": "a", "Name": "A"}]))
        .await;
    let row = format!("sobjects/Account/{}", made[0]["id"].as_str().unwrap());
    let batch = |halt: bool| {
        json!({"haltOnError": halt, "batchRequests": [
        {"method": "PATCH", "url": format!("v66.0/{row}"), "richInput": {"Phone": "1"}},
        {"method": "GET", "url": "v66.0/sobjects/Account/001000000000001AAA"},
        {"method": "GET", "url": format!("v66.0/{row}?fields=Phone")}]})
    };
    let before = org.control(Method::GET, "limits", Value::Null).await["used"]
        .as_u64()
        .unwrap();
    let (status, answer) = org
        .send(Method::POST, "composite/batch", batch(false))
        .await;
    assert_eq!(
        (status, &answer["hasErrors"]),
        (200, &json!(true)),
        "{answer}"
    );
    let told: Vec<&Value> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["statusCode"])
        .collect();
    assert_eq!(told, [&json!(204), &json!(404), &json!(200)]);
    assert_eq!(
        (
            &answer["results"][0]["result"],
            &answer["results"][2]["result"]["Phone"]
        ),
        (&Value::Null, &json!("1"))
    );
    assert_eq!(
        org.control(Method::GET, "limits", Value::Null).await["used"],
        before + 3
    );
    let (_, answer) = org.send(Method::POST, "composite/batch", batch(true)).await;
    assert_eq!(
        answer["results"][2],
        json!({"statusCode": 412, "result": [{"errorCode": "BATCH_PROCESSING_HALTED", "message": "Batch processing halted per request"}]})
    );
    org.control(Method::PUT, "limits", json!({"max": before + 6}))
        .await;
    let (_, answer) = org
        .send(Method::POST, "composite/batch", batch(false))
        .await;
    let told: Vec<&Value> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["statusCode"])
        .collect();
    assert_eq!(told, [&json!(204), &json!(403), &json!(403)]);
    let many: Vec<Value> = (0..26)
        .map(|_| json!({"method": "GET", "url": "v66.0/limits"}))
        .collect();
    org.control(Method::PUT, "limits", json!({"max": 100_000}))
        .await;
    let (status, error) = org
        .send(
            Method::POST,
            "composite/batch",
            json!({"batchRequests": many}),
        )
        .await;
    assert_eq!(
        (status, &error[0]["errorCode"]),
        (400, &json!("INVALID_BATCH_REQUEST"))
    );
}
