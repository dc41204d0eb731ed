//! An org for the tests of the Salesforce sink: the sandbox, served in this process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    missing_docs,
    unreachable_pub
)]

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use syncline::backoff::Backoff;
use syncline::config::{Destination, Secret, Span};
use syncline::sinks::salesforce::Salesforce;
use syncline::sinks::{Delivery, Settings};
use syncline_sandbox::{Config, Sandbox};

const TEXT_KEY: &str = r#"{"type":"Text","label":"Ext Id","length":80,"externalId":true,"unique":true,"caseSensitive":true}"#;
const NUMBER_KEY: &str = r#"{"type":"Number","label":"Number","precision":18,"scale":0,"externalId":true,"unique":true}"#;

/// A sandbox in this process, with external ids on two objects.
pub struct Org {
    sandbox: Sandbox,
    http: reqwest::Client,
}

impl Org {
    pub async fn start() -> Org {
        let sandbox = Sandbox::start(Config::default()).await.unwrap();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(no_tls())
            .no_proxy()
            .build()
            .unwrap();
        let org = Org { sandbox, http };
        for object in ["Account", "Contact"] {
            org.put(&format!("fields/{object}/Ext_Id__c"), TEXT_KEY)
                .await;
            org.put(&format!("fields/{object}/Num_Id__c"), NUMBER_KEY)
                .await;
        }
        org
    }

    /// What an administrator does, over the control interface.
    pub async fn put(&self, path: &str, body: &str) -> Value {
        let url = format!("{}/sandbox/{path}", self.sandbox.url());
        let request = self
            .http
            .put(url)
            .header("content-type", "application/json");
        let reply = request.body(body.to_owned()).send().await.unwrap();
        assert!(reply.status().is_success(), "{path}: {}", reply.status());
        serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap()
    }

    /// What the control interface shows.
    pub async fn get(&self, path: &str) -> Value {
        let url = format!("{}/sandbox/{path}", self.sandbox.url());
        let reply = self.http.get(url).send().await.unwrap();
        assert!(reply.status().is_success(), "{path}: {}", reply.status());
        serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap()
    }

    pub async fn faults(&self, rules: Value) {
        let plan = json!({"seed": 11, "rules": rules});
        self.put("faults", &plan.to_string()).await;
    }

    /// Accepted writes of an object, in order: operation and external id.
    pub async fn writes(&self, object: &str) -> Vec<(String, String)> {
        let url = format!(
            "{}/sandbox/writes?object={object}&outcome=accepted&limit=100000",
            self.sandbox.url()
        );
        let reply = self.http.get(url).send().await.unwrap();
        let body: Value = serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap();
        let text = |entry: &Value, name: &str| match &entry[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let entries = body["writes"].as_array().unwrap().iter();
        entries
            .map(|e| (text(e, "operation"), text(e, "external_id")))
            .collect()
    }

    pub fn salesforce(&self) -> Salesforce {
        self.patient(Duration::from_secs(2))
    }

    /// One that waits longer for answers.
    pub fn patient(&self, timeout: Duration) -> Salesforce {
        let url = self.sandbox.url();
        let text = format!("kind = \"salesforce\"\nurl = \"{url}\"\nclient_id = \"sandbox\"");
        let mut config: Destination = toml::from_str(&text).unwrap();
        config.client_secret = Some(Secret("sandbox".into()));
        config.timeout = Span(timeout);
        Salesforce::connect(&config).unwrap()
    }

    pub fn delivery(&self) -> Delivery {
        let settings = Settings {
            requests_per_second: 0,
            record_tries: 8,
            backoff: Backoff {
                base: Duration::from_millis(20),
                cap: Duration::from_millis(200),
            },
            ..Settings::default()
        };
        Delivery::new(Arc::new(self.salesforce()), settings, 3)
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
