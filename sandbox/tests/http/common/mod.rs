//! A client of a fresh sandbox, and the fields that the tests use.

#![allow(unreachable_pub)]

pub mod bulk;

use reqwest::{Certificate, Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use syncline_sandbox::{Config, Sandbox};

pub struct Org {
    pub sandbox: Sandbox,
    pub http: Client,
    pub token: String,
    pub url: String,
}

pub const EXTERNAL_ID: &str = r#"{"type":"Text","label":"Ext Id","length":80,"externalId":true,"unique":true,"caseSensitive":true}"#;

/// The connector's own client unpacks compressed answers; the tests want to see them as they
/// are. It trusts the sandbox's authority and nobody else.
pub fn client(authority: Option<&str>) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let trusted = authority.map(|pem| Certificate::from_pem(pem.as_bytes()).unwrap());
    Client::builder()
        .no_gzip()
        .tls_certs_only(trusted)
        .build()
        .unwrap()
}

impl Org {
    /// A sandbox where Account, Contact and Opportunity have the key `Ext_Id__c`.
    pub async fn new() -> Org {
        Org::with(Config::default()).await
    }

    pub async fn with(config: Config) -> Org {
        let sandbox = Sandbox::start(config).await.unwrap();
        let url = sandbox.url();
        let mut org = Org {
            http: client(sandbox.authority()),
            sandbox,
            token: String::new(),
            url,
        };
        org.token = org.login().await;
        for object in ["Account", "Contact", "Opportunity"] {
            let made = org
                .control(
                    Method::PUT,
                    &format!("fields/{object}/Ext_Id__c"),
                    serde_json::from_str(EXTERNAL_ID).unwrap(),
                )
                .await;
            assert_eq!(made["field"], "Ext_Id__c", "{made}");
        }
        org
    }

    pub async fn login(&self) -> String {
        let form = "grant_type=client_credentials&client_id=sandbox&client_secret=sandbox";
        let reply = self
            .http
            .post(format!("{}/services/oauth2/token", self.url))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .unwrap();
        assert_eq!(reply.status(), 200);
        reply.json::<Value>().await.unwrap()["access_token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}/services/data/v66.0/{path}", self.url))
            .bearer_auth(&self.token)
    }

    pub async fn send(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let request = self.request(method, path);
        let request = if body.is_null() {
            request
        } else {
            request.json(&body)
        };
        read(request.send().await.unwrap()).await
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.send(Method::GET, path, Value::Null).await
    }

    pub async fn control(&self, method: Method, path: &str, body: Value) -> Value {
        let request = self
            .http
            .request(method, format!("{}/sandbox/{path}", self.url));
        let request = if body.is_null() {
            request
        } else {
            request.json(&body)
        };
        read(request.send().await.unwrap()).await.1
    }

    /// Upserts by `Ext_Id__c` and gives the result list.
    pub async fn upsert(&self, object: &str, records: Value) -> Vec<Value> {
        let (status, value) = self.try_upsert(object, records, false).await;
        assert_eq!(status, 200, "{value}");
        value.as_array().unwrap().clone()
    }

    pub async fn try_upsert(
        &self,
        object: &str,
        records: Value,
        all_or_none: bool,
    ) -> (u16, Value) {
        let mut records = records;
        for record in records.as_array_mut().unwrap() {
            if record.get("attributes").is_none() {
                record["attributes"] = json!({"type": object});
            }
        }
        let path = format!("composite/sobjects/{object}/Ext_Id__c");
        self.send(
            Method::PATCH,
            &path,
            json!({"allOrNone": all_or_none, "records": records}),
        )
        .await
    }

    pub async fn query(&self, soql: &str) -> (u16, Value) {
        let request = self.request(Method::GET, &format!("query?q={}", encode(soql)));
        read(request.send().await.unwrap()).await
    }
}

pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() {
                (b as char).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

pub async fn read(reply: Response) -> (u16, Value) {
    let status = reply.status().as_u16();
    let text = reply.text().await.unwrap();
    let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (status, value)
}

/// The code of the only error of a per-record result.
pub fn code(result: &Value) -> &str {
    result["errors"][0]["statusCode"].as_str().unwrap_or("none")
}

pub async fn schema(org: &Org, change: Value) -> Value {
    let done = org.control(Method::PUT, "schema", change.clone()).await;
    assert!(done.is_object(), "{change} {done}");
    done
}

pub async fn described(org: &Org, object: &str, name: &str) -> Value {
    let (_, shown) = org.get(&format!("sobjects/{object}/describe")).await;
    let fields = shown["fields"].as_array().unwrap();
    let found = fields.iter().find(|f| f["name"] == name);
    found.cloned().unwrap_or(Value::Null)
}

pub async fn write(org: &Org, fields: Value) -> Value {
    let mut record = json!({"Ext_Id__c": "a-1", "Name": "One"});
    record
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    org.upsert("Account", json!([record])).await[0].clone()
}

pub async fn create(org: &Org, name: &str, meta: Value) -> (u16, Value) {
    let body = json!({"FullName": name, "Metadata": meta});
    org.send(Method::POST, "tooling/sobjects/CustomField", body)
        .await
}

pub async fn tooling(org: &Org, soql: &str) -> (u16, Value) {
    org.get(&format!("tooling/query?q={}", encode(soql))).await
}

pub fn text(length: u32) -> Value {
    json!({"type": "Text", "label": "Tier", "length": length})
}

/// Makes a permission set, grants the field in it, and assigns it to the client's user.
pub async fn grant(org: &Org, field: &str) {
    let set = json!({"Name": "Sync", "Label": "Sync"});
    let (status, set) = org.send(Method::POST, "sobjects/PermissionSet", set).await;
    assert_eq!(status, 201, "{set}");
    let (object, _) = field.split_once('.').unwrap();
    let row = json!({
        "ParentId": set["id"], "SobjectType": object, "Field": field,
        "PermissionsRead": true, "PermissionsEdit": true,
    });
    let (status, made) = org
        .send(Method::POST, "sobjects/FieldPermissions", row)
        .await;
    assert_eq!(status, 201, "{made}");
    let me = "SELECT Id FROM User WHERE Username = 'integration@sandbox.test'";
    let (_, me) = org.query(me).await;
    let row = json!({"AssigneeId": me["records"][0]["Id"], "PermissionSetId": set["id"]});
    let (status, made) = org
        .send(Method::POST, "sobjects/PermissionSetAssignment", row)
        .await;
    assert_eq!(status, 201, "{made}");
}

pub const BASE: &str = "/services/data/v66.0";

/// A subrequest of a composite request.
pub fn sub(reference: &str, method: &str, path: &str, body: Value) -> Value {
    let mut sub =
        json!({"referenceId": reference, "method": method, "url": format!("{BASE}/{path}")});
    if !body.is_null() {
        sub["body"] = body;
    }
    sub
}

/// The statuses of a composite answer.
pub fn statuses(answer: &Value) -> Vec<u64> {
    let list = answer["compositeResponse"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"));
    list.iter()
        .map(|s| s["httpStatusCode"].as_u64().unwrap())
        .collect()
}

pub async fn count(org: &Org, object: &str) -> Value {
    org.query(&format!("SELECT COUNT() FROM {object}")).await.1["totalSize"].clone()
}
