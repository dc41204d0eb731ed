//! A sandbox on a free port, with a control connection that blocks: what a test asks it is not what
//! the connector asks it.

use std::sync::Arc;

use serde_json::Value;
use syncline_sandbox::{Config, Sandbox};
use tokio::runtime::Runtime;

/// Metadata of the text field that an external id lives in.
pub const EXTERNAL_ID: &str = r#"{"type":"Text","label":"Ext Id","length":80,"externalId":true,"unique":true,"caseSensitive":true}"#;

/// A running sandbox. Dropping it ends it.
pub struct Crm {
    http: reqwest::Client,
    url: String,
    _sandbox: Sandbox,
    runtime: Runtime,
}

impl Crm {
    /// Starts one in memory, with these faults.
    pub fn start(faults: Option<&str>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let config = Config {
            faults: faults.map(str::to_owned),
            api_limit: 100_000_000,
            ..Config::default()
        };
        let sandbox = runtime.block_on(Sandbox::start(config)).unwrap();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(no_tls())
            .no_proxy()
            .build()
            .unwrap();
        Crm {
            url: sandbox.url(),
            _sandbox: sandbox,
            http,
            runtime,
        }
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `PUT /sandbox/{path}`.
    pub fn put(&self, path: &str, body: &str) {
        self.tell(reqwest::Method::PUT, path, body);
    }

    /// `POST` or `DELETE`, too.
    pub fn tell(&self, method: reqwest::Method, path: &str, body: &str) {
        let url = format!("{}/sandbox/{path}", self.url);
        self.runtime.block_on(async {
            let request = self
                .http
                .request(method, url)
                .header("content-type", "application/json");
            let reply = request.body(body.to_owned()).send().await.unwrap();
            let status = reply.status();
            let text = reply.text().await.unwrap();
            assert!(status.is_success(), "{path}: {status} {text}");
        });
    }

    /// `POST /sandbox/{path}`; what it answers.
    pub fn post(&self, path: &str, body: &str) -> Value {
        let url = format!("{}/sandbox/{path}", self.url);
        self.runtime.block_on(async {
            let request = self
                .http
                .post(url)
                .header("content-type", "application/json");
            let reply = request.body(body.to_owned()).send().await.unwrap();
            let status = reply.status();
            let bytes = reply.bytes().await.unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(status.is_success(), "{path}: {status} {text}");
            serde_json::from_slice(&bytes).unwrap_or_default()
        })
    }

    /// `DELETE /sandbox/{path}`.
    pub fn remove(&self, path: &str) {
        let url = format!("{}/sandbox/{path}", self.url);
        self.runtime.block_on(async {
            let reply = self.http.delete(url).send().await.unwrap();
            assert!(reply.status().is_success(), "{path}: {}", reply.status());
        });
    }

    /// `GET /sandbox/{path}`.
    pub fn get(&self, path: &str) -> Value {
        let url = format!("{}/sandbox/{path}", self.url);
        self.runtime.block_on(async {
            let reply = self.http.get(url).send().await.unwrap();
            assert!(reply.status().is_success(), "{path}: {}", reply.status());
            serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap()
        })
    }

    /// Deletes a record, as somebody other than the connector would.
    pub fn delete(&self, object: &str, field: &str, key: &str) {
        let login = format!("{}/services/oauth2/token", self.url);
        let record = format!(
            "{}/services/data/v66.0/sobjects/{object}/{field}/{key}",
            self.url
        );
        let form = [
            ("grant_type", "password"),
            ("client_id", "sandbox"),
            ("client_secret", "sandbox"),
            ("username", "admin@sandbox.test"),
            ("password", "sandbox"),
        ];
        self.runtime.block_on(async {
            let reply = self.http.post(login).form(&form).send().await.unwrap();
            let token: Value = serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap();
            let token = token["access_token"].as_str().unwrap();
            let reply = self
                .http
                .delete(record)
                .bearer_auth(token)
                .send()
                .await
                .unwrap();
            assert!(reply.status().is_success(), "{}", reply.status());
        });
    }

    /// Makes a record, as somebody other than the connector would. Returns its id.
    pub fn create(&self, object: &str, fields: &Value) -> String {
        let login = format!("{}/services/oauth2/token", self.url);
        let url = format!("{}/services/data/v66.0/sobjects/{object}", self.url);
        let form = [
            ("grant_type", "password"),
            ("client_id", "sandbox"),
            ("client_secret", "sandbox"),
            ("username", "admin@sandbox.test"),
            ("password", "sandbox"),
        ];
        self.runtime.block_on(async {
            let reply = self.http.post(login).form(&form).send().await.unwrap();
            let token: Value = serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap();
            let token = token["access_token"].as_str().unwrap();
            let request = self.http.post(url).bearer_auth(token);
            let request = request.header("content-type", "application/json");
            let reply = request.body(fields.to_string()).send().await.unwrap();
            let made: Value = serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap();
            made["id"]
                .as_str()
                .unwrap_or_else(|| panic!("{made}"))
                .to_owned()
        })
    }

    /// The recycle bin leaves all that is in it for good, as after 15 days.
    pub fn empty_bin(&self) {
        let mut ids = String::new();
        for object in ["Account", "Contact"] {
            let all = self.get(&format!(
                "records/{object}?deleted=true&fields=Id,IsDeleted"
            ));
            for record in all.as_array().unwrap() {
                if record["IsDeleted"] == true {
                    let id = record["Id"].as_str().unwrap();
                    ids.push_str(&format!("<ids>{id}</ids>"));
                }
            }
        }
        let login = format!("{}/services/oauth2/token", self.url);
        let form = [
            ("grant_type", "password"),
            ("client_id", "sandbox"),
            ("client_secret", "sandbox"),
            ("username", "admin@sandbox.test"),
            ("password", "sandbox"),
        ];
        let soap = format!("{}/services/Soap/u/60.0", self.url);
        self.runtime.block_on(async {
            let reply = self.http.post(login).form(&form).send().await.unwrap();
            let token: Value = serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap();
            let token = token["access_token"].as_str().unwrap();
            let body = format!(
                "<Envelope><Header><sessionId>{token}</sessionId></Header><Body>\
                 <emptyRecycleBin>{ids}</emptyRecycleBin></Body></Envelope>"
            );
            let request = self.http.post(soap).header("content-type", "text/xml");
            let reply = request.body(body).send().await.unwrap();
            let text = reply.text().await.unwrap();
            assert!(text.contains("<success>true</success>"), "{text}");
        });
    }

    /// The live records of an object, with these fields.
    pub fn records(&self, object: &str, fields: &str) -> Vec<Value> {
        match self.get(&format!("records/{object}?fields={fields}")) {
            Value::Array(records) => records,
            other => panic!("no list of records: {other}"),
        }
    }

    /// Calls `each` with every entry of the write log after `after`; returns where it ended.
    pub fn writes(&self, mut after: u64, mut each: impl FnMut(&Value)) -> u64 {
        loop {
            let page = self.get(&format!("writes?after={after}&limit=20000"));
            for entry in page["writes"].as_array().unwrap() {
                each(entry);
            }
            after = page["next"].as_u64().unwrap();
            if page["more"] != true {
                return after;
            }
        }
    }
}

fn no_tls() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}
