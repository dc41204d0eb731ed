//! The sandbox on a clock that is moved, and a sink that watches what we do to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use syncline::change::Timestamp;
use syncline::clock::Clock;
use syncline::config::Config;
use syncline::fault::Fault;
use syncline::mapping::{Assignment, FieldSpec, FieldValue, ObjectDescription, Target};
use syncline::planning::Batch;
use syncline::sinks::salesforce::Salesforce;
use syncline::sinks::{BoxFuture, CrmRecord, Limits, Named, Outcome, Sink, Usage};
use syncline_sandbox::Sandbox;

use crate::source::{Commits, Database};

#[derive(Clone)]
pub struct Org {
    http: reqwest::Client,
    url: String,
    floor: u64,
    max: u64,
    _sandbox: Arc<Sandbox>,
}

impl Org {
    pub async fn start(max: u64, now: Timestamp) -> Org {
        let config = syncline_sandbox::Config {
            api_limit: max,
            // Sessions follow the org's clock; logging in is not what is measured.
            session: Duration::from_secs(10 * 86_400),
            ..syncline_sandbox::Config::default()
        };
        let sandbox = Sandbox::start(config).await.unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let org = Org {
            http: reqwest::Client::builder()
                .tls_backend_preconfigured(tls)
                .no_proxy()
                .build()
                .unwrap(),
            url: sandbox.url(),
            floor: max / 5,
            max,
            _sandbox: Arc::new(sandbox),
        };
        let millis = now.0 / 1_000;
        org.tell(Method::PUT, "clock", json!({"now": millis, "rate": 0}))
            .await;
        let text = json!({"type": "Text", "label": "Ext", "length": 40, "externalId": true,
            "unique": true, "caseSensitive": true});
        let number = json!({"type": "Number", "label": "V", "precision": 12, "scale": 0});
        for object in ["Account", "Contact"] {
            org.tell(
                Method::PUT,
                &format!("fields/{object}/Ext__c"),
                text.clone(),
            )
            .await;
            let path = format!("fields/{object}/Version__c");
            org.tell(Method::PUT, &path, number.clone()).await;
        }
        org
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    async fn tell(&self, method: Method, path: &str, body: Value) {
        let url = format!("{}/sandbox/{path}", self.url);
        let request = self.http.request(method, url).body(body.to_string());
        let reply = request
            .header("content-type", "application/json")
            .send()
            .await
            .unwrap();
        let status = reply.status();
        let text = reply.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
    }

    async fn ask(&self, path: &str) -> Value {
        let url = format!("{}/sandbox/{path}", self.url);
        let reply = self.http.get(url).send().await.unwrap();
        serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap()
    }

    pub async fn set_clock(&self, now: Timestamp) {
        let body = json!({"now": now.0 / 1_000, "rate": 0});
        self.tell(Method::PUT, "clock", body).await;
    }

    /// Another app makes so many requests.
    pub async fn others(&self, calls: u64) {
        let body = json!({"app": "another", "calls": calls});
        self.tell(Method::POST, "usage", body).await;
    }

    pub async fn used(&self) -> u64 {
        self.ask("limits").await["used"].as_u64().unwrap()
    }

    /// All versions, by object and external id.
    pub async fn rows(&self) -> BTreeMap<(String, String), i64> {
        let mut rows = BTreeMap::new();
        for object in ["Account", "Contact"] {
            let path = format!("records/{object}?fields=Ext__c,Version__c");
            for record in self.ask(&path).await.as_array().unwrap() {
                let Some(key) = record["Ext__c"].as_str() else {
                    continue;
                };
                let version = record["Version__c"].as_f64().unwrap() as i64;
                rows.insert((object.to_owned(), key.to_owned()), version);
            }
        }
        rows
    }

    /// Waits until nothing is under way, and every change up to here has its place, in the CRM or on the
    /// shelf. (Later ones may linger until the clock is moved.)
    pub async fn rest(&self, seen: &Mutex<Seen>, database: &Database, until: u64) {
        let mut calm = 0;
        let mut last = 0;
        while calm < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let (under_way, requests) = {
                let seen = seen.lock().unwrap();
                (seen.under_way, seen.requests)
            };
            let placed = database.is_read() && database.is_confirmed(until);
            let quiet = under_way == 0 && requests == last && placed;
            last = requests;
            calm = if quiet { calm + 1 } else { 0 };
        }
    }
}

/// What was seen of our requests.
#[derive(Debug, Default)]
pub struct Seen {
    pub under_way: u64,
    pub requests: u64,
    /// The most that was used of the limit after one of them.
    pub most_used: u64,
    /// Those of them that were made although no more than the floor was left.
    pub into_floor: u64,
    /// The longest that something of high priority took from its commit to the CRM.
    pub latest: Duration,
}

/// Salesforce, watched.
pub struct Watched {
    inner: Salesforce,
    clock: Clock,
    org: Org,
    seen: Arc<Mutex<Seen>>,
    commits: Arc<Commits>,
}

impl Watched {
    pub fn new(config: &Config, clock: Clock, org: Org, commits: Arc<Commits>) -> Self {
        Watched {
            inner: Salesforce::connect(&config.destination).unwrap(),
            clock,
            org,
            seen: Arc::default(),
            commits,
        }
    }

    pub fn seen(&self) -> Arc<Mutex<Seen>> {
        Arc::clone(&self.seen)
    }

    async fn watch<T>(&self, call: BoxFuture<'_, Result<T, Fault>>) -> Result<T, Fault> {
        {
            let mut seen = self.seen.lock().unwrap();
            seen.under_way += 1;
            seen.requests += 1;
        }
        let result = call.await;
        let used = self.org.used().await;
        let mut seen = self.seen.lock().unwrap();
        seen.under_way -= 1;
        seen.most_used = seen.most_used.max(used);
        seen.into_floor += u64::from(used > self.org.max - self.org.floor);
        result
    }
}

impl Sink for Watched {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn describe<'a>(
        &'a self,
        objects: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Option<ObjectDescription>>, Fault>> {
        Box::pin(self.watch(self.inner.describe(objects)))
    }

    fn read<'a>(
        &'a self,
        target: &'a Target,
        named: Named<'a>,
        fields: &'a [u16],
    ) -> BoxFuture<'a, Result<Vec<Option<CrmRecord>>, Fault>> {
        Box::pin(self.watch(self.inner.read(target, named, fields)))
    }

    fn create_fields<'a>(
        &'a self,
        object: &'a str,
        specs: &'a [FieldSpec],
    ) -> BoxFuture<'a, Result<Vec<Result<(), Fault>>, Fault>> {
        Box::pin(self.watch(self.inner.create_fields(object, specs)))
    }

    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Vec<Outcome>, Fault>> {
        Box::pin(async move {
            let result = self.watch(self.inner.write(batch)).await;
            if let (Ok(outcomes), "Contact") = (&result, &*batch.target.object) {
                let now = self.clock.now();
                for (write, outcome) in batch.writes.iter().zip(outcomes) {
                    assert!(matches!(outcome, Outcome::Written { .. }), "{outcome:?}");
                    let slot = |name: &str| {
                        let fields = &batch.target.fields;
                        fields.iter().position(|f| &*f.name == name).unwrap()
                    };
                    let version = write.fields.iter().find_map(|f| match &f.assignment {
                        Assignment::Set(FieldValue::Number(n))
                            if usize::from(f.slot) == slot("Version__c") =>
                        {
                            n.parse().ok()
                        }
                        _ => None,
                    });
                    let since = self.commits.arrived(&write.key, version.unwrap());
                    let mut seen = self.seen.lock().unwrap();
                    seen.latest = seen.latest.max(now.since(since));
                }
            }
            result
        })
    }

    fn look(&self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(self.watch(self.inner.look()))
    }

    fn usage(&self) -> Usage {
        self.inner.usage()
    }
}
