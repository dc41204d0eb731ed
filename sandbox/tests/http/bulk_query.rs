//! Bulk API 2.0: jobs that read.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use syncline_sandbox::Config;

use crate::common::Org;
use crate::common::bulk::rows_of;

async fn filled() -> Org {
    let org = Org::new().await;
    let mut csv = String::from("Ext_Id__c,Name\n");
    for row in 0..450 {
        csv.push_str(&format!("a-{row},\"Name, \"\"{row}\"\"\n\"\n"));
    }
    let job = org.upsert_job("Account", &csv).await;
    assert_eq!(job["numberRecordsFailed"], 0);
    org
}

async fn read_all(org: &Org, body: Value) -> Value {
    let (status, job) = org.send(Method::POST, "jobs/query", body).await;
    assert_eq!(status, 200, "{job}");
    assert_eq!(job["state"], "UploadComplete");
    let path = format!("jobs/query/{}", job["id"].as_str().unwrap());
    org.until(&path, |job| job["state"] == "JobComplete").await
}

/// A page: its rows, its locator, and the number that its header states.
async fn page(org: &Org, job: &Value, tail: &str) -> (String, String, usize) {
    let path = format!("jobs/query/{}/results{tail}", job["id"].as_str().unwrap());
    let reply = org.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(reply.status(), 200);
    let head = |name: &str| reply.headers()[name].to_str().unwrap().to_owned();
    assert!(head("content-type").starts_with("text/csv"));
    let (locator, count) = (head("sforce-locator"), head("sforce-numberofrecords"));
    let count = count.parse().unwrap();
    (reply.text().await.unwrap(), locator, count)
}

#[tokio::test]
async fn results_come_page_by_page_until_the_locator_is_null() {
    let org = filled().await;
    let body = json!({"operation": "query", "query": "SELECT Id, Name, Ext_Id__c FROM Account"});
    let job = read_all(&org, body).await;
    assert_eq!(
        (
            &job["jobType"],
            &job["object"],
            &job["numberRecordsProcessed"]
        ),
        (&json!("V2Query"), &json!("Account"), &json!(450))
    );
    let (text, locator, count) = page(&org, &job, "").await;
    assert_eq!((locator.as_str(), count), ("null", 450));
    assert!(
        text.starts_with("\"Id\",\"Name\",\"Ext_Id__c\"\n"),
        "{text}"
    );
    let mut seen = BTreeSet::new();
    let mut tail = "?maxRecords=200".to_owned();
    let mut sizes = Vec::new();
    loop {
        let (text, locator, count) = page(&org, &job, &tail).await;
        let rows = rows_of(&text);
        assert_eq!(rows.len(), count);
        sizes.push(count);
        for row in rows {
            let number = row["Ext_Id__c"].strip_prefix("a-").unwrap();
            assert_eq!(row["Name"], format!("Name, \"{number}\"\n"));
            assert!(seen.insert(row["Id"].clone()));
        }
        if locator == "null" {
            break;
        }
        tail = format!("?maxRecords=200&locator={locator}");
    }
    assert_eq!((sizes, seen.len()), (vec![200, 200, 50], 450));
    let path = format!("jobs/query/{}/results", job["id"].as_str().unwrap());
    let (status, error) = org.get(&format!("{path}?locator=nonsense")).await;
    assert_eq!(
        (status, &error[0]["errorCode"]),
        (400, &json!("INVALID_QUERY_LOCATOR"))
    );
    let set = json!({"bulk": {"query_page": 100}});
    org.control(Method::PUT, "limits", set).await;
    assert_eq!(page(&org, &job, "").await.2, 100);
}

#[tokio::test]
async fn values_parents_and_deleted_rows_are_shown() {
    let org = Org::new().await;
    org.upsert("Account", json!([{"Ext_Id__c": "p", "Name": "Parent"}]))
        .await;
    let made = org
        .upsert("Contact", json!([
            {"Ext_Id__c": "c-1", "LastName": "Lee", "DoNotCall": true, "Account": {"Ext_Id__c": "p"}},
            {"Ext_Id__c": "c-2", "LastName": "Roe"},
        ]))
        .await;
    let gone = made[1]["id"].as_str().unwrap();
    org.send(
        Method::DELETE,
        &format!("sobjects/Contact/{gone}"),
        Value::Null,
    )
    .await;
    let query =
        "SELECT LastName, Account.Name, DoNotCall, Birthdate, CreatedDate, IsDeleted FROM Contact";
    let body = json!({"operation": "queryAll", "query": query, "columnDelimiter": "PIPE", "lineEnding": "CRLF"});
    let job = read_all(&org, body).await;
    let (text, ..) = page(&org, &job, "").await;
    let lines: Vec<&str> = text.trim_end().split("\r\n").collect();
    assert_eq!(
        lines[0],
        "\"LastName\"|\"Account.Name\"|\"DoNotCall\"|\"Birthdate\"|\"CreatedDate\"|\"IsDeleted\""
    );
    assert!(
        lines[1].starts_with("\"Lee\"|\"Parent\"|\"true\"|\"\"|\"20"),
        "{}",
        lines[1]
    );
    assert!(lines[1].ends_with(".000Z\"|\"false\""), "{}", lines[1]);
    assert!(lines[2].ends_with("|\"true\""));
    let body = json!({"operation": "query", "query": query});
    assert_eq!(read_all(&org, body).await["numberRecordsProcessed"], 1);
    let none = json!({"operation": "query", "query": "SELECT Id FROM Lead"});
    let job = read_all(&org, none).await;
    assert_eq!(
        page(&org, &job, "").await,
        ("\"Id\"\n".to_owned(), "null".to_owned(), 0)
    );
}

#[tokio::test]
async fn statements_the_bulk_api_does_not_take_are_refused() {
    let org = Org::new().await;
    for (query, code) in [
        ("SELECT COUNT() FROM Account", "API_ERROR"),
        (
            "SELECT Name, COUNT(Id) FROM Account GROUP BY Name",
            "API_ERROR",
        ),
        ("SELECT Id FROM Account LIMIT 1 OFFSET 1", "API_ERROR"),
        (
            "SELECT TYPEOF What WHEN Account THEN Id END FROM Task",
            "API_ERROR",
        ),
        (
            "SELECT Id, (SELECT Id FROM Contacts) FROM Account",
            "API_ERROR",
        ),
        (
            "SELECT BillingAddress FROM Account",
            "FUNCTIONALITY_NOT_ENABLED",
        ),
        ("SELECT Nope__c FROM Account", "INVALID_FIELD"),
        ("SELECT Id FROM Nope", "INVALID_TYPE"),
        ("SELECT", "MALFORMED_QUERY"),
        ("", "INVALIDJOB"),
    ] {
        let body = json!({"operation": "query", "query": query});
        let (status, error) = org.send(Method::POST, "jobs/query", body).await;
        assert_eq!(
            (status, &error[0]["errorCode"]),
            (400, &json!(code)),
            "{query} {error}"
        );
    }
    let body = json!({"operation": "insert", "query": "SELECT Id FROM Account"});
    assert_eq!(org.send(Method::POST, "jobs/query", body).await.0, 400);
}

#[tokio::test]
async fn a_query_job_has_states_and_one_version() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        data: Some(dir.path().to_owned()),
        ..Config::default()
    };
    let org = Org::with(config.clone()).await;
    org.upsert("Account", json!([{"Ext_Id__c": "p", "Name": "Parent"}]))
        .await;
    org.control(Method::PUT, "limits", json!({"bulk": {"start_ms": 60_000}}))
        .await;
    let body = json!({"operation": "query", "query": "SELECT Name FROM Account"});
    let (_, slow) = org.send(Method::POST, "jobs/query", body.clone()).await;
    let path = format!("jobs/query/{}", slow["id"].as_str().unwrap());
    assert_eq!(org.get(&format!("{path}/results")).await.0, 400);
    let (_, aborted) = org
        .send(Method::PATCH, &path, json!({"state": "Aborted"}))
        .await;
    assert_eq!(aborted["state"], "Aborted");
    let (_, waiting) = org.send(Method::POST, "jobs/query", body).await;
    let waiting = format!("jobs/query/{}", waiting["id"].as_str().unwrap());
    assert_eq!(
        org.get(&format!("jobs/ingest/{}", &waiting[11..])).await.0,
        404
    );
    org.sandbox.stop().await;

    let org = Org::with(config).await;
    let job = org
        .until(&waiting, |job| job["state"] == "JobComplete")
        .await;
    assert_eq!(page(&org, &job, "").await.0, "\"Name\"\n\"Parent\"\n");
    let old = org
        .http
        .get(format!("{}/services/data/v60.0/{waiting}", org.url))
        .bearer_auth(&org.token);
    assert_eq!(old.send().await.unwrap().status(), 409);
    let (_, list) = org.get("jobs/query").await;
    let ids: Vec<&Value> = list["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|j| &j["id"])
        .collect();
    assert_eq!(ids, [&job["id"], &slow["id"]]);
    for path in [&waiting, &path] {
        let reply = org.request(Method::DELETE, path).send().await.unwrap();
        assert_eq!(reply.status(), 204);
        assert_eq!(org.get(path).await.0, 404);
    }
}
