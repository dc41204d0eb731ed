//! A database with customers, a CRM with their contacts, and the connector between them.

use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::support::crm::{Crm, EXTERNAL_ID};
use crate::support::postgres::{Options, Postgres};
use crate::support::sidecar::{Sidecar, lsn};

/// How long anything may take, on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// `title` is the source's, `phone` and `city` are the newest's (the phone's history is tracked),
/// `fax` belongs to the CRM, `tier` is asked about.
pub const COLUMNS: &str = r#"
columns.last_name = "LastName"
columns.title = "Title"
columns.phone = { field = "Phone", owner = "newest" }
columns.city = { field = "City__c", owner = "newest" }
columns.fax = { field = "Fax", owner = "crm" }
columns.tier = { field = "Tier__c", owner = "ask" }
"#;

pub struct World {
    pub postgres: Postgres,
    pub crm: Crm,
    pub sidecar: Sidecar,
}

impl World {
    /// Running, with one customer, 1, in both.
    pub fn start() -> World {
        let mut world = World::prepare("", COLUMNS);
        world.run();
        world.insert(1);
        world
    }

    /// Starts it, and waits until it has looked at both sides and read what was there.
    pub fn run(&mut self) {
        self.sidecar.start();
        self.sidecar.wait_until("it runs", PATIENCE, |s| {
            let loaded = |b: &Value| b["state"] == "loaded";
            let backfills = s["backfills"].as_array();
            s["state"] == "running"
                && backfills.is_some_and(|b| b.iter().all(loaded) && !b.is_empty())
        });
    }

    /// Not started yet. `table`: further keys of the table.
    pub fn prepare(table: &str, columns: &str) -> World {
        let postgres = Postgres::start(Options::default());
        postgres.psql(
            "CREATE TABLE customer (id int PRIMARY KEY, last_name text NOT NULL, title text, \
             phone text, city text, fax text, tier text)",
        );
        let crm = Crm::start(None);
        let text = r#"{"type":"Text","label":"T","length":80}"#;
        for field in ["City__c", "Tier__c", "Version__c"] {
            crm.put(&format!("fields/Contact/{field}"), text);
        }
        crm.put("fields/Contact/Ext_Id__c", EXTERNAL_ID);
        track(&crm, "Phone");
        let sidecar = Sidecar::new(&format!(
            r#"
[source]
url = "{}"
[destination]
kind = "salesforce"
url = "{}"
client_id = "sandbox"
client_secret = "sandbox"
requests_per_second = 1000
[tables."public.customer"]
object = "Contact"
key = {{ column = "id", field = "Ext_Id__c" }}
on_delete = "delete"
{table}
{columns}
"#,
            postgres.url("postgres"),
            crm.url(),
        ));
        World {
            postgres,
            crm,
            sidecar,
        }
    }

    pub fn insert(&mut self, id: u32) {
        self.change(&format!(
            "INSERT INTO customer VALUES ({id}, 'Lee', 'CEO', 'p0', 'c0', 'f0', 't0')"
        ));
    }

    /// Changes data, and waits until each change has its verdict.
    pub fn change(&mut self, sql: &str) {
        self.postgres.psql(sql);
        self.through();
    }

    /// Waits until the connector is past all that is committed.
    pub fn through(&mut self) {
        let end = lsn(&self.postgres.psql("SELECT pg_current_wal_lsn()"));
        self.sidecar
            .wait_until("it is through", PATIENCE, |status| {
                let durable = status["source"]["durable_lsn"].as_str();
                durable.is_some_and(|d| lsn(d) >= end)
            });
    }

    /// A rep edits a record, now.
    pub fn edit(&self, id: u32, fields: Value) {
        self.edit_as(id, fields, "rep@sandbox.test", None);
    }

    pub fn edit_as(&self, id: u32, fields: Value, user: &str, at: Option<&str>) {
        let mut body = json!({"object": "Contact", "external_id_field": "Ext_Id__c",
            "external_id": id.to_string(), "fields": fields, "user": user});
        if let Some(at) = at {
            body["at"] = at.into();
        }
        self.crm.post("edit", &body.to_string());
    }

    /// One value of a record.
    pub fn shows(&self, id: u32, field: &str) -> Value {
        let records = self.crm.records("Contact", &format!("Ext_Id__c,{field}"));
        let id = id.to_string();
        let of = |r: &&Value| r["Ext_Id__c"] == id;
        records
            .iter()
            .find(of)
            .map_or(Value::Null, |r| r[field].clone())
    }

    /// Changes with this verdict.
    pub fn verdicts(&self, verdict: &str) -> i64 {
        let status = self.sidecar.status().unwrap();
        status["verdicts"]["public.customer"][verdict]
            .as_i64()
            .unwrap_or(0)
    }

    /// Requests that the connector has made so far, of this kind.
    pub fn calls(&self, kind: &str) -> u64 {
        self.sidecar.status().unwrap()["crm"]["calls"][kind]
            .as_u64()
            .unwrap()
    }

    pub fn end(mut self) {
        self.sidecar.stop();
        let log = self.sidecar.log();
        assert!(!log.contains("panicked"), "{log}");
        // Values never reach the log.
        for value in ["theirs", "ours"] {
            assert!(!log.contains(value), "{log}");
        }
    }
}

pub fn track(crm: &Crm, field: &str) {
    let body = json!({"object": "Contact", "field": field, "trackHistory": true});
    crm.put("schema", &body.to_string());
}

/// Waits for the beginning of a second of the clock, so that a few statements stay within it; and until
/// every second before is over.
pub fn next_second() {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let left = 1_000_000_000 - now.subsec_nanos();
    sleep(Duration::from_nanos(u64::from(left)) + Duration::from_millis(5));
}

/// Waits until `done`.
pub fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(50));
    }
}
