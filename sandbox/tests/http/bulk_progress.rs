//! Bulk jobs while they go on: aborts, faults, limits, locks, restarts.

use reqwest::Method;
use serde_json::{Value, json};
use syncline_sandbox::Config;

use crate::common::{Org, code};

fn rows(count: usize) -> String {
    let mut csv = String::from("Ext_Id__c,Name\n");
    for row in 0..count {
        csv.push_str(&format!("a-{row},Name {row}\n"));
    }
    csv
}

async fn begin(org: &Org, csv: String) -> String {
    let body =
        json!({"object": "Account", "operation": "upsert", "externalIdFieldName": "Ext_Id__c"});
    let id = org.job(body).await;
    assert_eq!(org.put_csv(&id, csv).await.status(), 201);
    org.set_state(&id, "UploadComplete").await;
    id
}

async fn set(org: &Org, bulk: Value) {
    let set = org
        .control(Method::PUT, "limits", json!({"bulk": bulk}))
        .await;
    assert!(set["bulk"].is_object(), "{set}");
}

async fn count(org: &Org) -> u64 {
    org.query("SELECT COUNT() FROM Account").await.1["totalSize"]
        .as_u64()
        .unwrap()
}

#[tokio::test]
async fn an_aborted_job_keeps_what_it_wrote_and_gives_back_the_rest() {
    let org = Org::new().await;
    set(&org, json!({"chunk_ms": 30})).await;
    let id = begin(&org, rows(2_000)).await;
    let path = format!("jobs/ingest/{id}");
    let some = |job: &Value| job["numberRecordsProcessed"].as_u64() >= Some(400);
    let going = org.until(&path, some).await;
    assert_eq!(going["state"], "InProgress");
    let (status, error) = org.send(Method::DELETE, &path, Value::Null).await;
    assert_eq!(
        (status, &error[0]["errorCode"]),
        (400, &json!("INVALIDJOBSTATE"))
    );
    assert_eq!(org.set_state(&id, "Aborted").await.1["state"], "Aborted");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let job = org.info(&id).await;
    let done = job["numberRecordsProcessed"].as_u64().unwrap();
    assert!(
        (400..2_000).contains(&done) && done.is_multiple_of(200),
        "{job}"
    );
    assert_eq!(count(&org).await, done);
    assert_eq!(
        org.results(&job, "successfulResults").await.len() as u64,
        done
    );
    let left = org.results(&job, "unprocessedrecords").await;
    assert_eq!(left.len() as u64, 2_000 - done);
    assert!(
        left.iter()
            .all(|row| row["Ext_Id__c"][2..].parse::<u64>().unwrap() >= done)
    );
}

#[tokio::test]
async fn a_job_can_be_made_to_fail_in_the_middle() {
    let org = Org::new().await;
    let rule =
        json!({"rules": [{"kind": "fail_job", "object": "Account", "after": 3, "times": 1}]});
    org.control(Method::PUT, "faults", rule).await;
    let id = begin(&org, rows(1_000)).await;
    let job = org.ended(&id).await;
    assert_eq!(job["state"], "Failed");
    assert_eq!(
        job["errorMessage"],
        "InternalServerError : Retried more than 20 times"
    );
    assert_eq!(job["numberRecordsProcessed"], 600);
    assert_eq!(org.results(&job, "unprocessedRecords").await.len(), 400);
    assert_eq!(org.results(&job, "successfulResults").await.len(), 600);
    let id = begin(&org, rows(1_000)).await;
    let job = org.ended(&id).await;
    assert_eq!(job["state"], "JobComplete", "{job}");
    let again = org.results(&job, "successfulResults").await;
    assert_eq!(
        again.iter().filter(|r| r["sf__Created"] == "true").count(),
        400
    );
}

#[tokio::test]
async fn batches_are_counted_against_the_day() {
    let org = Org::new().await;
    org.control(Method::PUT, "limits", json!({"bulk_batches": 3}))
        .await;
    let id = begin(&org, rows(10_001)).await;
    assert_eq!(org.ended(&id).await["state"], "JobComplete");
    let (_, limits) = org.get("limits").await;
    assert_eq!(
        limits["DailyBulkApiBatches"],
        json!({"Max": 3, "Remaining": 1})
    );
    let id = begin(&org, rows(10_001)).await;
    let job = org.ended(&id).await;
    assert_eq!(
        (&job["state"], &job["numberRecordsProcessed"]),
        (&json!("Failed"), &json!(10_000))
    );
    assert_eq!(
        job["errorMessage"],
        "ExceededQuota : ApiBatchItems Limit exceeded."
    );
    assert_eq!(org.results(&job, "unprocessedrecords").await.len(), 1);
    let body = json!({"object": "Account", "operation": "insert"});
    let (status, error) = org.send(Method::POST, "jobs/ingest", body).await;
    assert_eq!(
        (status, &error[0]["errorCode"]),
        (400, &json!("EXCEEDEDQUOTA"))
    );
    org.control(Method::PUT, "limits", json!({"bulk_batches": 15_000}))
        .await;
    let id = begin(&org, rows(1)).await;
    assert_eq!(org.ended(&id).await["state"], "JobComplete");
}

#[tokio::test]
async fn settings_that_cannot_be_read_are_refused() {
    let org = Org::new().await;
    for wrong in [json!({"speed": 1}), json!({"batch_ms": "1"}), json!(1)] {
        let error = org
            .control(Method::PUT, "limits", json!({"bulk": wrong}))
            .await;
        assert_eq!(error[0]["errorCode"], "INVALID_ARGUMENT", "{error}");
    }
}

#[tokio::test]
async fn a_job_holds_the_locks_of_its_rows_and_their_parents() {
    let org = Org::new().await;
    org.upsert("Account", json!([{"Ext_Id__c": "p", "Name": "Parent"}]))
        .await;
    set(&org, json!({"chunk_ms": 1_500})).await;
    let body =
        json!({"object": "Contact", "operation": "upsert", "externalIdFieldName": "Ext_Id__c"});
    let id = org.job(body).await;
    org.put_csv(&id, "Ext_Id__c,LastName,Account.Ext_Id__c\nc-1,Lee,p\n")
        .await;
    org.set_state(&id, "UploadComplete").await;
    org.until(&format!("jobs/ingest/{id}"), |job| {
        job["state"] == "InProgress"
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    org.control(Method::PUT, "faults", json!({"latency_ms": 1}))
        .await;
    let results = org
        .upsert(
            "Contact",
            json!([{"Ext_Id__c": "c-2", "LastName": "Roe", "Account": {"Ext_Id__c": "p"}}]),
        )
        .await;
    assert_eq!(code(&results[0]), "UNABLE_TO_LOCK_ROW");
    assert_eq!(org.ended(&id).await["numberRecordsFailed"], 0);
}

#[tokio::test]
async fn a_job_goes_on_after_a_restart_and_writes_no_row_twice() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        data: Some(dir.path().to_owned()),
        ..Config::default()
    };
    let org = Org::with(config.clone()).await;
    set(&org, json!({"chunk_ms": 20})).await;
    let open = org
        .job(json!({"object": "Account", "operation": "insert"}))
        .await;
    assert_eq!(org.put_csv(&open, "Name\nLater\n").await.status(), 201);
    let id = begin(&org, rows(3_000)).await;
    let path = format!("jobs/ingest/{id}");
    org.until(&path, |job| {
        job["numberRecordsProcessed"].as_u64() >= Some(600)
    })
    .await;
    org.sandbox.stop().await;

    let org = Org::with(config.clone()).await;
    let job = org.ended(&id).await;
    assert_eq!(
        (
            &job["state"],
            &job["numberRecordsProcessed"],
            &job["numberRecordsFailed"]
        ),
        (&json!("JobComplete"), &json!(3_000), &json!(0))
    );
    let rows = org.results(&job, "successfulResults").await;
    assert!(rows.len() == 3_000 && rows.iter().all(|row| row["sf__Created"] == "true"));
    let log = org
        .control(Method::GET, "writes?limit=10000", Value::Null)
        .await;
    assert_eq!(log["total"], 3_000);
    // What was uploaded before is still there, and results survive a second restart.
    assert_eq!(org.put_csv(&open, "Name\nTwice\n").await.status(), 400);
    org.set_state(&open, "UploadComplete").await;
    assert_eq!(org.ended(&open).await["numberRecordsProcessed"], 1);
    let text = org.result_text(&job, "successfulResults").await;
    org.sandbox.stop().await;
    let org = Org::with(config).await;
    assert_eq!(org.result_text(&job, "successfulResults").await, text);
    let reply = org.request(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(reply.status(), 204);
    assert!(!dir.path().join(format!("bulk/{id}.csv")).exists());
}

#[tokio::test]
async fn an_upload_may_come_in_pieces_or_compressed_but_not_too_long() {
    use std::io::Write;
    let org = Org::new().await;
    let body = json!({"object": "Account", "operation": "insert"});
    let id = org.job(body.clone()).await;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"Name\nOne\n").unwrap();
    let put = org
        .request(Method::PUT, &format!("jobs/ingest/{id}/batches"))
        .header("content-type", "text/csv")
        .header("content-encoding", "gzip")
        .body(packed.finish().unwrap());
    assert_eq!(put.send().await.unwrap().status(), 201);
    org.set_state(&id, "UploadComplete").await;
    assert_eq!(org.ended(&id).await["numberRecordsProcessed"], 1);
    // Too long even before it is unpacked is told by the first bytes too many.
    let id = org.job(body).await;
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let zeros = vec![b'x'; 1 << 20];
    for _ in 0..=150 {
        bomb.write_all(&zeros).unwrap();
    }
    let put = org
        .request(Method::PUT, &format!("jobs/ingest/{id}/batches"))
        .header("content-type", "text/csv")
        .header("content-encoding", "gzip")
        .body(bomb.finish().unwrap());
    assert_eq!(put.send().await.unwrap().status(), 413);
    assert_eq!(org.put_csv(&id, "Name\nOne\n").await.status(), 201);
}
