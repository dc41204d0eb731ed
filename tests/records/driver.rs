//! A database, a CRM and the connector between them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::crm::{Crm, EXTERNAL_ID};
use crate::support::postgres::{Options, Postgres};
use crate::support::sidecar::{Sidecar, lsn};

/// How long anything may take, on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What is said of the two tables, and of everything.
pub struct Rules<'a> {
    /// Constraint of the customers' reference: what a deleted company does to them in the database.
    pub reference: &'a str,
    /// Lines of `public.company`; its `on_delete` is among them.
    pub company: &'a str,
    /// Lines of `public.customer`.
    pub customer: &'a str,
    /// Sections.
    pub more: &'a str,
}

impl Default for Rules<'_> {
    fn default() -> Self {
        Rules {
            reference: "ON DELETE SET NULL",
            company: "on_delete = \"delete\"",
            customer: "on_delete = \"delete\"",
            more: "",
        }
    }
}

/// Everything of one test. It ends with it.
pub struct World {
    pub postgres: Postgres,
    pub crm: Crm,
    pub sidecar: Sidecar,
}

impl World {
    pub fn start(rules: &Rules<'_>) -> World {
        let mut world = World::prepare(rules);
        world.sidecar.start();
        world.running();
        world
    }

    pub fn prepare(rules: &Rules<'_>) -> World {
        let postgres = Postgres::start(Options::default());
        postgres.psql(&format!(
            "CREATE TABLE company (id int PRIMARY KEY, name text NOT NULL, city text);
             CREATE TABLE customer (id int PRIMARY KEY, last_name text NOT NULL, note text,
               company_id int REFERENCES company {});",
            rules.reference
        ));
        let crm = Crm::start(None);
        let text = r#"{"type":"Text","label":"T","length":80}"#;
        for object in ["Account", "Contact"] {
            crm.put(&format!("fields/{object}/Ext_Id__c"), EXTERNAL_ID);
            crm.put(&format!("fields/{object}/Note__c"), text);
            crm.put(&format!("fields/{object}/Why__c"), text);
            let date = r#"{"type":"DateTime","label":"D"}"#;
            crm.put(&format!("fields/{object}/Left_On__c"), date);
            let day = r#"{"type":"Date","label":"D"}"#;
            crm.put(&format!("fields/{object}/Left_Day__c"), day);
            let yes = r#"{"type":"Checkbox","label":"A","defaultValue":"true"}"#;
            crm.put(&format!("fields/{object}/Active__c"), yes);
        }
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
[tables."public.company"]
object = "Account"
key = {{ column = "id", field = "Ext_Id__c" }}
columns.name = "Name"
columns.city = {{ ignore = true }}
{}
[tables."public.customer"]
object = "Contact"
key = {{ column = "id", field = "Ext_Id__c" }}
columns.last_name = "LastName"
columns.note = "Note__c"
columns.company_id = {{ field = "Account", references = "public.company" }}
{}
{}
"#,
            postgres.url("postgres"),
            crm.url(),
            rules.company,
            rules.customer,
            rules.more,
        ));
        World {
            postgres,
            crm,
            sidecar,
        }
    }

    pub fn running(&mut self) {
        self.until("it runs", |s| s["state"] == "running");
    }

    pub fn until(&mut self, what: &str, done: impl Fn(&Value) -> bool) {
        self.sidecar.wait_until(what, PATIENCE, done);
    }

    /// Changes data, and waits until each change has its verdict.
    pub fn change(&mut self, sql: &str) {
        self.postgres.psql(sql);
        self.through();
    }

    /// Waits until the connector is past all that is committed, and has read what it wanted to read.
    pub fn through(&mut self) {
        let end = lsn(&self.postgres.psql("SELECT pg_current_wal_lsn()"));
        self.until("it is through", |status| {
            let durable = status["source"]["durable_lsn"].as_str();
            let backfills = status["backfills"].as_array().unwrap();
            let read = |b: &Value| b["state"] == "loaded" || b["state"] == "none";
            durable.is_some_and(|d| lsn(d) >= end) && backfills.iter().all(read)
        });
    }

    /// Waits until this many are on the shelf for this reason.
    pub fn shelved(&mut self, reason: &str, count: u64) {
        self.until(&format!("{count} {reason}"), |s| {
            s["shelf"][reason] == count
        });
    }

    /// Waits until nothing is pending.
    pub fn shelf_empty(&mut self) {
        self.until("the shelf is empty", |s| {
            s["shelf"].as_object().unwrap().values().all(|n| n == 0)
        });
    }

    /// Waits until the CRM shows these records: lists of values, the external id first.
    pub fn shows(&mut self, object: &str, fields: &str, expected: &Value) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = self.records(object, fields);
            if shown == *expected {
                return;
            }
            self.sidecar.assert_alive();
            if Instant::now() > deadline {
                let pending = self.sidecar.get("/pending");
                panic!(
                    "{object}: {fields}\n shown:    {shown}\n expected: {expected}\n{:#}\n{}",
                    pending.unwrap_or_default(),
                    self.sidecar.tail()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the CRM shows, in order of the external id.
    pub fn records(&self, object: &str, fields: &str) -> Value {
        let names: Vec<&str> = std::iter::once("Ext_Id__c")
            .chain(fields.split(',').filter(|f| !f.is_empty()))
            .collect();
        let records = self.crm.records(object, &names.join(","));
        let mut rows: Vec<Vec<Value>> = records
            .iter()
            .map(|r| names.iter().map(|n| r[*n].clone()).collect())
            .collect();
        rows.sort_by_key(|r| r[0].as_str().unwrap().parse::<i64>().unwrap());
        json!(rows)
    }

    pub fn count(&self, object: &str) -> usize {
        self.crm.records(object, "Id").len()
    }

    /// The CRM's id of a record; none when it is not there.
    pub fn id(&self, object: &str, key: &str) -> Option<String> {
        let records = self.crm.records(object, "Id,Ext_Id__c");
        let found = records.iter().find(|r| r["Ext_Id__c"] == key)?;
        Some(found["Id"].as_str().unwrap().to_owned())
    }

    /// A person deletes a record in the CRM.
    pub fn person_deletes(&self, object: &str, key: &str) {
        self.crm.delete(object, "Ext_Id__c", key);
    }

    /// Runs a command of the binary; it has to end well.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let out = self.sidecar.cli(arguments);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let err = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{arguments:?}: {text}{err}");
        text
    }

    /// Changes of a table with this verdict.
    pub fn verdict(&self, table: &str, verdict: &str) -> i64 {
        let status = self.sidecar.status().unwrap();
        status["verdicts"][table][verdict].as_i64().unwrap_or(0)
    }

    /// P1: as many changes have a verdict as there were.
    pub fn accounts_for(&mut self, table: &str, changes: i64) {
        let status = self.sidecar.status().unwrap();
        let verdicts = status["verdicts"][table].as_object().unwrap();
        let sum: i64 = verdicts.values().map(|n| n.as_i64().unwrap()).sum();
        assert_eq!(sum, changes, "{verdicts:?}");
    }

    /// Its orderly end: it has not ended by itself.
    pub fn end(mut self) {
        self.sidecar.stop();
        let log = self.sidecar.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}
