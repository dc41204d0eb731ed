//! The CRM as its users see it: the sandbox's public API, and its control interface.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use syncline::fault::{Error, ErrorKind, Result};
use tokio::sync::Mutex;

use super::machine::failed;
use super::names::SEGMENTS;

/// The sandbox.
pub(super) struct Crm {
    pub(super) url: String,
    http: Client,
    /// How often each kind of fault struck before the rules were last replaced.
    struck: Mutex<BTreeMap<String, i64>>,
}

impl Crm {
    pub(super) fn new(port: u16) -> Result<Crm> {
        // Nothing here is encrypted: it never leaves the machine.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| failed("cannot set up TLS").source(e))?
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let http = Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .timeout(Duration::from_secs(20))
            .build()
            .map_err(unreachable)?;
        Ok(Crm {
            url: format!("http://127.0.0.1:{port}"),
            http,
            struck: Mutex::default(),
        })
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Result<Value> {
        let mut request = self
            .http
            .request(method.clone(), format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(unreachable)?;
        if !status.is_success() {
            return Err(failed(format!(
                "the sandbox answered {status} to {method} {path}: {}",
                String::from_utf8_lossy(&body)
            )));
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|e| {
            failed(format!(
                "the sandbox's answer to {method} {path} is not JSON"
            ))
            .source(e)
        })
    }

    /// The control interface.
    pub(super) async fn control(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value> {
        self.call(method, &format!("/sandbox/{path}"), None, body)
            .await
    }

    pub(super) async fn is_up(&self) -> bool {
        self.control(Method::GET, "health", None).await.is_ok()
    }

    /// The custom fields that the mapping fills, as an administrator would make them in Setup.
    pub(super) async fn make_fields(&self) -> Result<usize> {
        let fields = fields();
        for (object, name, definition) in &fields {
            let path = format!("fields/{object}/{name}");
            self.control(Method::PUT, &path, Some(definition.clone()))
                .await?;
        }
        Ok(fields.len())
    }

    /// Replaces what goes wrong.
    pub(super) async fn faults(&self, plan: Value) -> Result<()> {
        self.struck().await?;
        self.control(Method::PUT, "faults", Some(plan)).await?;
        Ok(())
    }

    /// How often each kind of fault struck since the start. Ends the rules that were in force.
    pub(super) async fn struck(&self) -> Result<BTreeMap<String, i64>> {
        let plan = self.control(Method::GET, "faults", None).await?;
        self.control(Method::DELETE, "faults", None).await?;
        let mut struck = self.struck.lock().await;
        for rule in plan["rules"].as_array().into_iter().flatten() {
            let kind = rule["kind"].as_str().unwrap_or("?").to_owned();
            *struck.entry(kind).or_default() += rule["hits"].as_i64().unwrap_or(0);
        }
        Ok(struck.clone())
    }

    /// A custom field in words (`Text(20)`, labelled “Tier”), once the connector's user may read and edit it.
    pub(super) async fn usable(&self, object: &str, field: &str) -> Result<Option<String>> {
        let path = format!("schema?object={object}");
        let schema = self.control(Method::GET, &path, None).await?;
        let objects = schema["objects"].as_array().into_iter().flatten();
        let mut fields = objects.flat_map(|o| o["fields"].as_array().into_iter().flatten());
        let found = fields.find(|f| {
            f["field"] == field
                && f["visible"] == true
                && f["editable"] == true
                && f["appears_in_ms"].is_null()
        });
        Ok(found.map(|f| {
            let kind = f["metadata"]["type"].as_str().unwrap_or("?");
            let label = f["label"].as_str().unwrap_or("?");
            format!("{kind}({}), labelled “{label}”", f["length"])
        }))
    }

    /// How long a field that was made is not seen, as in a real org.
    pub(super) async fn describe_lag(&self, lag: Duration) -> Result<()> {
        let lag = u64::try_from(lag.as_millis()).unwrap_or(u64::MAX);
        self.control(Method::PUT, "limits", Some(json!({"describe_lag_ms": lag})))
            .await?;
        Ok(())
    }

    /// API calls so far.
    pub(super) async fn calls(&self) -> Result<i64> {
        let counters = self.control(Method::GET, "requests", None).await?;
        Ok(counters["api_calls"].as_i64().unwrap_or(0))
    }

    /// Living records of the three objects.
    pub(super) async fn records(&self) -> Result<u64> {
        let objects = self.control(Method::GET, "objects", None).await?;
        let ours = ["Account", "Contact", "Opportunity"];
        let counts = objects.as_array().into_iter().flatten().filter_map(|o| {
            ours.contains(&o["name"].as_str()?)
                .then(|| o["records"].as_u64())?
        });
        Ok(counts.sum())
    }

    /// The whole write log, in the order in which writes took effect.
    pub(super) async fn writes(&self) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut after = 0;
        loop {
            let path = format!("writes?after={after}&limit=5000");
            let mut page = self.control(Method::GET, &path, None).await?;
            if let Some(writes) = page["writes"].as_array_mut() {
                all.append(writes);
            }
            if page["more"] != true {
                return Ok(all);
            }
            after = page["next"].as_u64().unwrap_or(u64::MAX);
        }
    }

    /// A query, page after page.
    pub(super) async fn query(&self, soql: &str) -> Result<Vec<Value>> {
        let form = "grant_type=client_credentials&client_id=sandbox&client_secret=sandbox";
        let login = self
            .http
            .post(format!("{}/services/oauth2/token", self.url))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .map_err(unreachable)?;
        let login = login.bytes().await.map_err(unreachable)?;
        let login: Value = serde_json::from_slice(&login).unwrap_or_default();
        let token = login["access_token"]
            .as_str()
            .ok_or_else(|| failed("the sandbox does not let the demo log in"))?;
        let mut path = format!("/services/data/v66.0/query?q={}", encoded(soql));
        let mut all = Vec::new();
        loop {
            let mut page = self.call(Method::GET, &path, Some(token), None).await?;
            if let Some(records) = page["records"].as_array_mut() {
                all.append(records);
            }
            match page["nextRecordsUrl"].as_str() {
                Some(next) => path = next.to_owned(),
                None => return Ok(all),
            }
        }
    }
}

fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn unreachable(e: reqwest::Error) -> Error {
    Error::new(
        ErrorKind::DestinationUnreachable,
        "the sandbox does not answer",
    )
    .source(e)
}

fn fields() -> Vec<(&'static str, &'static str, Value)> {
    let key = |label: &str| {
        json!({"type": "Text", "label": label, "length": 80, "externalId": true, "unique": true,
               "caseSensitive": true})
    };
    let number = |label: &str, precision: u8, scale: u8| json!({"type": "Number", "label": label, "precision": precision, "scale": scale});
    let plain = |kind: &str, label: &str| json!({"type": kind, "label": label});
    let checkbox = |label: &str| json!({"type": "Checkbox", "label": label, "defaultValue": false});
    let long = |label: &str| json!({"type": "LongTextArea", "label": label, "length": 32_768, "visibleLines": 4});
    let values: Vec<Value> = SEGMENTS
        .iter()
        .map(|v| json!({"fullName": v, "default": false}))
        .collect();
    let segments = json!({"type": "MultiselectPicklist", "label": "Segments", "visibleLines": 4,
        "valueSet": {"restricted": true, "valueSetDefinition": {"sorted": false, "value": values}}});
    let buyer = json!({"type": "Lookup", "label": "Buyer", "referenceTo": "Contact",
        "relationshipName": "Deals"});
    vec![
        ("Account", "Company_Id__c", key("Company id")),
        ("Account", "Active__c", checkbox("Active")),
        ("Account", "Health__c", number("Health", 4, 2)),
        ("Account", "Is_Partner__c", checkbox("Partner")),
        ("Account", "Founded_On__c", plain("Date", "Founded on")),
        ("Account", "Segments__c", segments),
        (
            "Account",
            "Created_In_App__c",
            plain("DateTime", "Created in the app"),
        ),
        (
            "Account",
            "App_Version__c",
            number("Version in the app", 9, 0),
        ),
        ("Contact", "Customer_Id__c", key("Customer id")),
        (
            "Contact",
            "Language__c",
            json!({"type": "Text", "label": "Language", "length": 2}),
        ),
        (
            "Contact",
            "Lifetime_Value__c",
            json!({"type": "Currency", "label": "Lifetime value", "precision": 12, "scale": 2}),
        ),
        ("Contact", "Last_Login__c", plain("DateTime", "Last login")),
        ("Contact", "Preferences__c", long("Preferences")),
        (
            "Contact",
            "App_Version__c",
            number("Version in the app", 9, 0),
        ),
        ("Opportunity", "Deal_Id__c", key("Deal id")),
        ("Opportunity", "Buyer__c", buyer),
        ("Opportunity", "Discount__c", number("Discount (%)", 5, 2)),
        ("Opportunity", "Won_At__c", plain("DateTime", "Won at")),
        ("Opportunity", "Auto_Renew__c", checkbox("Renews by itself")),
        ("Opportunity", "Products__c", long("Products")),
        (
            "Opportunity",
            "App_Version__c",
            number("Version in the app", 9, 0),
        ),
    ]
}
