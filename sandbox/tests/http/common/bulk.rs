//! A bulk client in a few lines.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::{Org, read};

/// A row of a results file by column name.
pub type Row = BTreeMap<String, String>;

pub fn rows_of(text: &str) -> Vec<Row> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header: Vec<String> = reader
        .headers()
        .unwrap()
        .iter()
        .map(str::to_owned)
        .collect();
    let rows = reader.records().map(|row| {
        let row = row.unwrap();
        let values = row.iter().map(str::to_owned);
        header.iter().cloned().zip(values).collect()
    });
    rows.collect()
}

impl Org {
    pub async fn job(&self, body: Value) -> String {
        let (status, job) = self.send(Method::POST, "jobs/ingest", body).await;
        assert_eq!(status, 200, "{job}");
        job["id"].as_str().unwrap().to_owned()
    }

    pub async fn put_csv(&self, id: &str, csv: impl Into<reqwest::Body>) -> Response {
        self.request(Method::PUT, &format!("jobs/ingest/{id}/batches"))
            .header("content-type", "text/csv")
            .body(csv)
            .send()
            .await
            .unwrap()
    }

    pub async fn set_state(&self, id: &str, state: &str) -> (u16, Value) {
        let path = format!("jobs/ingest/{id}");
        self.send(Method::PATCH, &path, json!({"state": state}))
            .await
    }

    pub async fn info(&self, id: &str) -> Value {
        self.get(&format!("jobs/ingest/{id}")).await.1
    }

    /// Waits until a job stands like this.
    pub async fn until(&self, path: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let (_, job) = self.get(path).await;
            if fits(&job) {
                return job;
            }
            assert!(Instant::now() < end, "still {job}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn ended(&self, id: &str) -> Value {
        let over = |job: &Value| {
            ["JobComplete", "Failed", "Aborted"].contains(&job["state"].as_str().unwrap_or(""))
        };
        self.until(&format!("jobs/ingest/{id}"), over).await
    }

    /// Creates, uploads, closes and waits.
    pub async fn ingest(&self, job: Value, csv: &str) -> Value {
        let id = self.job(job).await;
        let put = self.put_csv(&id, csv.to_owned()).await;
        assert_eq!(put.status(), 201);
        assert_eq!(put.text().await.unwrap(), "");
        let (status, closed) = self.set_state(&id, "UploadComplete").await;
        assert_eq!(status, 200, "{closed}");
        self.ended(&id).await
    }

    pub async fn upsert_job(&self, object: &str, csv: &str) -> Value {
        let job =
            json!({"object": object, "operation": "upsert", "externalIdFieldName": "Ext_Id__c"});
        self.ingest(job, csv).await
    }

    pub async fn result_text(&self, job: &Value, which: &str) -> String {
        let id = job["id"].as_str().unwrap();
        let reply = self
            .request(Method::GET, &format!("jobs/ingest/{id}/{which}"))
            .send()
            .await
            .unwrap();
        assert_eq!(reply.status(), 200);
        let kind = reply.headers()["content-type"].to_str().unwrap();
        assert!(kind.starts_with("text/csv"), "{kind}");
        reply.text().await.unwrap()
    }

    pub async fn results(&self, job: &Value, which: &str) -> Vec<Row> {
        rows_of(&self.result_text(job, which).await)
    }

    /// The errors of a job by the value of one column.
    pub async fn errors(&self, job: &Value, column: &str) -> BTreeMap<String, String> {
        let rows = self.results(job, "failedResults").await;
        rows.into_iter()
            .map(|mut row| {
                let key = row.remove(column).unwrap();
                (key, row.remove("sf__Error").unwrap())
            })
            .collect()
    }

    pub async fn upload_raw(&self, path: &str, kind: &str, body: String) -> (u16, Value) {
        let request = self
            .request(Method::POST, path)
            .header("content-type", kind);
        read(request.body(body).send().await.unwrap()).await
    }
}
