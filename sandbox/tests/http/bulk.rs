//! Bulk API 2.0: jobs that write.

use reqwest::Method;
use serde_json::{Value, json};
use syncline_sandbox::Config;

use crate::common::{Org, read};

#[tokio::test]
async fn an_upsert_job_goes_from_open_to_complete() {
    let org = Org::new().await;
    org.upsert("Account", json!([{"Ext_Id__c": "a-9", "Name": "Parent"}]))
        .await;
    let body = json!({"object": "contact", "operation": "upsert", "externalIdFieldName": "ext_id__c",
        "contentType": "CSV", "lineEnding": "LF", "columnDelimiter": "COMMA"});
    let (status, job) = org.send(Method::POST, "jobs/ingest", body).await;
    assert_eq!(status, 200);
    let id = job["id"].as_str().unwrap();
    assert!(id.len() == 18 && id.starts_with("750"), "{id}");
    assert_eq!(
        (&job["state"], &job["object"], &job["externalIdFieldName"]),
        (&json!("Open"), &json!("Contact"), &json!("Ext_Id__c"))
    );
    assert_eq!(job["apiVersion"], json!(66.0));
    let url = format!("services/data/v66.0/jobs/ingest/{id}/batches");
    assert_eq!(job["contentUrl"], json!(url));
    let csv = "Ext_Id__c,LastName,Account.Ext_Id__c,Birthdate\nc-1,Lee,a-9,1990-02-03\nc-2,\"O\"\"Hara\",#N/A,\n";
    let put = org.put_csv(id, csv).await;
    assert_eq!(
        (put.status().as_u16(), put.content_length()),
        (201, Some(0))
    );
    let (status, closed) = org.set_state(id, "UploadComplete").await;
    assert_eq!((status, &closed["state"]), (200, &json!("UploadComplete")));
    let done = org.ended(id).await;
    assert_eq!(done["state"], "JobComplete");
    assert_eq!(done["jobType"], "V2Ingest");
    assert_eq!(
        (
            &done["numberRecordsProcessed"],
            &done["numberRecordsFailed"]
        ),
        (&json!(2), &json!(0))
    );
    let text = org.result_text(&done, "successfulResults").await;
    let header = "\"sf__Id\",\"sf__Created\",\"Ext_Id__c\",\"LastName\",\"Account.Ext_Id__c\",\"Birthdate\"\n";
    assert!(text.starts_with(header), "{text}");
    let rows = org.results(&done, "successfulResults").await;
    assert!(rows.iter().all(|r| r["sf__Created"] == "true"));
    let hara = rows.iter().find(|r| r["Ext_Id__c"] == "c-2").unwrap();
    assert_eq!(
        (&*hara["LastName"], &*hara["Account.Ext_Id__c"]),
        ("O\"Hara", "#N/A")
    );
    assert_eq!(org.results(&done, "failedResults").await.len(), 0);
    for spelling in ["unprocessedrecords", "unprocessedRecords"] {
        assert_eq!(org.results(&done, spelling).await.len(), 0);
    }
    let (_, found) = org
        .query("SELECT Id, LastName, Account.Name, Birthdate FROM Contact ORDER BY Ext_Id__c")
        .await;
    let lee = &found["records"][0];
    assert_eq!(lee["Account"]["Name"], "Parent");
    assert_eq!(lee["Birthdate"], "1990-02-03");
    let told = rows.iter().find(|r| r["Ext_Id__c"] == "c-1").unwrap();
    assert_eq!(lee["Id"], told["sf__Id"]);

    let again = org
        .upsert_job("Contact", "Ext_Id__c,Title\nc-1,CEO\n")
        .await;
    let rows = org.results(&again, "successfulResults").await;
    assert_eq!(
        (&rows[0]["sf__Created"], &rows[0]["sf__Id"]),
        (&"false".to_owned(), &told["sf__Id"])
    );
}

#[tokio::test]
async fn rows_are_in_the_write_log_with_their_job_and_user() {
    let org = Org::new().await;
    let job = org
        .upsert_job("Account", "Ext_Id__c,Name\na-1,One\na-2,\n")
        .await;
    let log = org.control(Method::GET, "writes", Value::Null).await;
    let entry = &log["writes"][0];
    assert_eq!(
        (
            &entry["via"],
            &entry["job"],
            &entry["user"],
            &entry["external_id"]
        ),
        (
            &json!("bulk"),
            &job["id"],
            &json!("integration@sandbox.test"),
            &json!("a-1")
        )
    );
    assert_eq!(log["writes"][1]["outcome"], "REQUIRED_FIELD_MISSING");
}

#[tokio::test]
async fn insert_update_and_delete_go_by_id() {
    let org = Org::new().await;
    let insert = json!({"object": "Account", "operation": "insert"});
    let job = org
        .ingest(
            insert.clone(),
            "Name,Id\nOne,\nTwo,\nThree,001Ws0000000001AAA\n",
        )
        .await;
    let made = org.results(&job, "successfulResults").await;
    assert_eq!(made.len(), 2);
    let errors = org.errors(&job, "Name").await;
    assert!(errors["Three"].starts_with("INVALID_FIELD_FOR_INSERT_UPDATE:cannot specify Id"));
    let ids: Vec<&str> = made.iter().map(|r| &*r["sf__Id"]).collect();
    let update = json!({"object": "Account", "operation": "update"});
    let csv = format!("Id,Phone\n{},42\n,43\nnonsense,44\n", ids[0]);
    let job = org.ingest(update, &csv).await;
    let errors = org.errors(&job, "Phone").await;
    assert_eq!(
        errors["43"],
        "MISSING_ARGUMENT:Id not specified in an update call:--"
    );
    assert_eq!(errors["44"], "MALFORMED_ID:malformed id nonsense:--");
    let delete = json!({"object": "Account", "operation": "delete"});
    let csv = format!("Id\n{}\n{}\n", ids[0], ids[1]);
    let job = org.ingest(delete.clone(), &csv).await;
    assert_eq!(job["numberRecordsFailed"], 0);
    let (_, bin) = org
        .get("queryAll?q=SELECT%20Id%20FROM%20Account%20WHERE%20IsDeleted=true")
        .await;
    assert_eq!(bin["totalSize"], 2);
    let job = org.ingest(delete.clone(), &csv).await;
    let errors = org.errors(&job, "Id").await;
    assert_eq!(errors[ids[0]], "ENTITY_IS_DELETED:entity is deleted:--");
    let failed = org.results(&job, "failedResults").await;
    assert!(failed.iter().all(|r| r["sf__Id"] == r["Id"]));
    let job = org.ingest(delete, "Id,Name\nx,y\n").await;
    assert_eq!(job["state"], "Failed");
}

#[tokio::test]
async fn hard_delete_needs_its_right_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        data: Some(dir.path().to_owned()),
        ..Config::default()
    };
    let org = Org::with(config.clone()).await;
    org.upsert("Account", json!([{"Ext_Id__c": "a-1", "Name": "One"}]))
        .await;
    let made = org
        .upsert(
            "Contact",
            json!([{"Ext_Id__c": "c-1", "LastName": "Lee", "Account": {"Ext_Id__c": "a-1"}}]),
        )
        .await;
    let body = json!({"object": "Account", "operation": "hardDelete"});
    let (status, error) = org.send(Method::POST, "jobs/ingest", body.clone()).await;
    assert_eq!(
        (status, &error[0]["errorCode"]),
        (400, &json!("FEATURENOTENABLED"))
    );
    org.control(Method::PUT, "rights", json!({"bulk_hard_delete": true}))
        .await;
    let (_, rows) = org.query("SELECT Id FROM Account").await;
    let id = rows["records"][0]["Id"].as_str().unwrap();
    let job = org.ingest(body, &format!("Id\n{id}\n")).await;
    assert_eq!(job["numberRecordsFailed"], 0, "{job}");
    let gone = async |org: &Org| {
        for object in ["Account", "Contact"] {
            let path = format!("queryAll?q=SELECT%20Id%20FROM%20{object}");
            assert_eq!(org.get(&path).await.1["totalSize"], 0, "{object}");
        }
    };
    gone(&org).await;
    let log = org
        .control(Method::GET, "writes?outcome=accepted", Value::Null)
        .await;
    let last: Vec<(&Value, &Value)> = log["writes"].as_array().unwrap()[2..]
        .iter()
        .map(|w| (&w["via"], &w["external_id"]))
        .collect();
    assert_eq!(
        last,
        [
            (&json!("cascade"), &json!("c-1")),
            (&json!("bulk"), &json!("a-1"))
        ]
    );
    let contact = made[0]["id"].as_str().unwrap().to_owned();
    org.sandbox.stop().await;
    let org = Org::with(config).await;
    gone(&org).await;
    assert_eq!(org.get(&format!("sobjects/Contact/{contact}")).await.0, 404);
}

#[tokio::test]
async fn a_job_takes_one_upload_and_only_the_right_states() {
    let org = Org::new().await;
    let body = json!({"object": "Account", "operation": "insert"});
    let id = org.job(body.clone()).await;
    let path = format!("jobs/ingest/{id}");
    let refused = |(status, error): (u16, Value), code: &str| {
        assert_eq!(
            (status, &error[0]["errorCode"]),
            (400, &json!(code)),
            "{error}"
        );
    };
    refused(
        org.send(Method::DELETE, &path, Value::Null).await,
        "INVALIDJOBSTATE",
    );
    refused(
        org.get(&format!("{path}/successfulResults")).await,
        "INVALIDJOBSTATE",
    );
    assert_eq!(org.put_csv(&id, "Name\nOne\n").await.status(), 201);
    let second = read(org.put_csv(&id, "Name\nTwo\n").await).await;
    refused(second, "CLIENTINPUTERROR");
    refused(org.set_state(&id, "JobComplete").await, "INVALIDJOBSTATE");
    org.set_state(&id, "UploadComplete").await;
    org.ended(&id).await;
    refused(
        org.set_state(&id, "UploadComplete").await,
        "INVALIDJOBSTATE",
    );
    refused(org.set_state(&id, "Aborted").await, "INVALIDJOBSTATE");
    let late = read(org.put_csv(&id, "Name\nTwo\n").await).await;
    refused(late, "INVALIDJOBSTATE");
    assert_eq!(
        org.query("SELECT COUNT() FROM Account").await.1["totalSize"],
        1
    );
    let reply = org.request(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(
        (reply.status().as_u16(), reply.text().await.unwrap()),
        (204, String::new())
    );
    assert_eq!(org.get(&path).await.0, 404);
    assert_eq!(org.get("jobs/ingest/750Ws0000000000AAA").await.0, 404);

    let wrong = org.request(
        Method::PUT,
        &format!("jobs/ingest/{}/batches", org.job(body).await),
    );
    assert_eq!(wrong.json(&json!({})).send().await.unwrap().status(), 415);
}

#[tokio::test]
async fn jobs_that_make_no_sense_are_refused_at_once() {
    let org = Org::new().await;
    for (body, code, message) in [
        (
            json!({"object": "Account", "operation": "upsert", "externalIdFieldName": "website"}),
            "INVALIDJOB",
            "InvalidJob : Field name provided, website does not match an External ID, Salesforce Id, or indexed field for Account",
        ),
        (
            json!({"object": "Account", "operation": "upsert"}),
            "INVALIDJOB",
            "",
        ),
        (
            json!({"object": "Nope__c", "operation": "insert"}),
            "INVALIDENTITY",
            "",
        ),
        (json!({"operation": "insert"}), "INVALIDJOB", ""),
        (
            json!({"object": "Account", "operation": "merge"}),
            "JSON_PARSER_ERROR",
            "",
        ),
        (
            json!({"object": "Account", "operation": "insert", "columnDelimiter": "X"}),
            "JSON_PARSER_ERROR",
            "",
        ),
        (
            json!({"object": "Account", "operation": "insert", "color": "X"}),
            "JSON_PARSER_ERROR",
            "",
        ),
        (
            json!({"object": "Account", "operation": "insert", "contentType": "JSON"}),
            "INVALIDJOB",
            "",
        ),
        (
            json!({"object": "Account", "operation": "insert", "assignmentRuleId": "x"}),
            "INVALIDJOB",
            "",
        ),
    ] {
        let (status, error) = org.send(Method::POST, "jobs/ingest", body).await;
        assert_eq!(
            (status, &error[0]["errorCode"]),
            (400, &json!(code)),
            "{error}"
        );
        assert!(
            error[0]["message"].as_str().unwrap().contains(message),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_multipart_job_brings_its_rows_along() {
    let org = Org::new().await;
    let form = |csv: &str| {
        format!(
            "--B\r\nContent-Type: application/json\r\nContent-Disposition: form-data; name=\"job\"\r\n\r\n\
             {{\"object\":\"Account\",\"operation\":\"insert\"}}\r\n--B\r\nContent-Type: text/csv\r\n\
             Content-Disposition: form-data; name=\"content\"; filename=\"content\"\r\n\r\n{csv}\r\n--B--\r\n"
        )
    };
    let kind = "multipart/form-data; boundary=B";
    let (status, job) = org
        .upload_raw("jobs/ingest", kind, form("Name\nOne\nTwo\n"))
        .await;
    assert_eq!(
        (status, &job["state"]),
        (200, &json!("UploadComplete")),
        "{job}"
    );
    let done = org.ended(job["id"].as_str().unwrap()).await;
    assert_eq!(done["numberRecordsProcessed"], 2);
    let long = format!("Name\n{}\n", "x".repeat(100_001));
    let (status, error) = org.upload_raw("jobs/ingest", kind, form(&long)).await;
    assert_eq!(
        (status, &error[0]["errorCode"]),
        (400, &json!("CLIENTINPUTERROR"))
    );
}

#[tokio::test]
async fn jobs_are_listed_the_latest_first() {
    let org = Org::new().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(
            org.job(json!({"object": "Account", "operation": "insert"}))
                .await,
        );
    }
    ids.reverse();
    let (_, list) = org
        .get("jobs/ingest?isPkChunkingEnabled=false&jobType=V2Ingest")
        .await;
    let listed: Vec<&str> = list["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|j| j["id"].as_str().unwrap())
        .collect();
    assert_eq!(listed, ids);
    assert_eq!(
        (&list["done"], &list["nextRecordsUrl"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(
        org.get("jobs/ingest?jobType=Classic").await.1["records"],
        json!([])
    );
}
