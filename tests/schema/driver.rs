//! A database, a CRM and the connector between them, and changes of schemas made in two ways.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::crm::{Crm, EXTERNAL_ID};
use crate::support::postgres::{Options, Postgres};
use crate::support::sidecar::{Sidecar, lsn};

/// How long anything may take, on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// When a schema is changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// While the connector runs.
    Live,
    /// While it is stopped.
    Stopped,
}

/// Two tests of one function: made live, and made while stopped.
macro_rules! both_ways {
    ($($(#[$doc:meta])* $name:ident)*) => {
        $($(#[$doc])* mod $name {
            use crate::driver::Mode;

            #[test]
            fn live() {
                super::cases::$name(Mode::Live);
            }

            #[test]
            fn stopped() {
                super::cases::$name(Mode::Stopped);
            }
        })*
    };
}
pub(crate) use both_ways;

const TABLES: &str = "
CREATE TABLE company (id int PRIMARY KEY, name text NOT NULL, city varchar(40), size int);
CREATE TABLE customer (id int PRIMARY KEY, last_name text NOT NULL, note varchar(20),
  company_id int REFERENCES company ON DELETE SET NULL);
";

/// Everything of one test. It ends with it.
pub struct World {
    pub postgres: Postgres,
    pub crm: Crm,
    pub sidecar: Sidecar,
    mode: Mode,
}

impl World {
    /// Not started yet; `more` is further configuration.
    pub fn prepare(mode: Mode, more: &str) -> World {
        World::with(mode, TABLES, more)
    }

    /// The same, running.
    pub fn start(mode: Mode, more: &str) -> World {
        let mut world = World::prepare(mode, more);
        world.sidecar.start();
        world.running();
        world
    }

    pub fn with(mode: Mode, tables: &str, more: &str) -> World {
        let postgres = Postgres::start(Options::default());
        postgres.psql(tables);
        let crm = Crm::start(None);
        for object in ["Account", "Contact"] {
            crm.put(&format!("fields/{object}/Ext_Id__c"), EXTERNAL_ID);
        }
        let text = r#"{"type":"Text","label":"T","length":80}"#;
        crm.put("fields/Account/City__c", text);
        crm.put("fields/Contact/Note__c", text);
        let number = r#"{"type":"Number","label":"N","precision":10,"scale":0}"#;
        crm.put("fields/Account/Size__c", number);
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
[watch]
catalog = "300ms"
crm = "300ms"
[brake]
deletes = 0
[tables."public.company"]
object = "Account"
key = {{ column = "id", field = "Ext_Id__c" }}
on_delete = "delete"
columns.name = "Name"
[tables."public.customer"]
object = "Contact"
key = {{ column = "id", field = "Ext_Id__c" }}
on_delete = "delete"
columns.last_name = "LastName"
columns.company_id = {{ field = "Account", references = "public.company" }}
{more}
"#,
            postgres.url("postgres"),
            crm.url(),
        ));
        World {
            postgres,
            crm,
            sidecar,
            mode,
        }
    }

    pub fn running(&mut self) {
        self.until("it runs", |s| s["state"] == "running");
    }

    pub fn until(&mut self, what: &str, done: impl Fn(&Value) -> bool) {
        self.sidecar.wait_until(what, PATIENCE, done);
    }

    /// Changes the schema: live, or stopped. Each statement is a transaction.
    pub fn alter(&mut self, statements: &[&str]) {
        if self.mode == Mode::Stopped {
            self.sidecar.stop();
        }
        for statement in statements {
            self.postgres.psql(statement);
        }
        if self.mode == Mode::Stopped {
            self.sidecar.start();
            self.running();
        }
        self.through();
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
            durable.is_some_and(|d| lsn(d) >= end) && read(status)
        });
    }

    /// Waits until schema changes of this kind have been counted, in this life of the process.
    pub fn counted(&mut self, kind: &str, times: u64) {
        self.until(&format!("{times} {kind}"), |s| {
            s["schema_changes"][kind] == times
        });
    }

    /// Waits until a finding of this severity says all of these.
    pub fn finding(&mut self, severity: &str, words: &[&str]) {
        self.until(&format!("{severity}: {words:?}"), |s| {
            has_finding(s, severity, words)
        });
    }

    /// Waits until no finding says this.
    pub fn no_finding(&mut self, words: &str) {
        self.until(&format!("no finding of {words}"), |s| {
            !s["findings"].to_string().contains(words)
        });
    }

    /// Waits until no finding is a problem.
    pub fn no_problems(&mut self) {
        self.until("no problems", |s| !has_finding(s, "problem", &[]));
    }

    /// Waits until nothing is held, waiting or dead.
    pub fn shelf_empty(&mut self) {
        self.until("the shelf is empty", |s| {
            s["shelf"].as_object().unwrap().values().all(|n| n == 0)
        });
    }

    /// Waits until this many are on the shelf for this reason.
    pub fn shelved(&mut self, reason: &str, count: u64) {
        self.until(&format!("{count} {reason}"), |s| {
            s["shelf"][reason] == count
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
            .chain(fields.split(','))
            .collect();
        let records = self.crm.records(object, &names.join(","));
        let mut rows: Vec<Vec<Value>> = records
            .iter()
            .map(|r| names.iter().map(|n| r[*n].clone()).collect())
            .collect();
        rows.sort_by_key(|r| r[0].as_str().unwrap().parse::<i64>().unwrap());
        json!(rows)
    }

    /// A change of the CRM's schema, as an administrator makes it.
    pub fn crm_schema(&self, change: &Value) {
        self.crm.put("schema", &change.to_string());
    }

    /// How the sandbox describes a custom field; null when there is none.
    pub fn field(&self, object: &str, field: &str) -> Value {
        let schema = self.crm.get(&format!("schema?object={object}"));
        let fields = schema["objects"][0]["fields"].as_array().cloned();
        let mut fields = fields.unwrap_or_default().into_iter();
        fields.find(|f| f["field"] == field).unwrap_or_default()
    }

    /// Its orderly end: it has not ended by itself.
    pub fn end(mut self) {
        self.sidecar.stop();
        let log = self.sidecar.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// Nothing is being read, nor is about to be.
pub fn read(status: &Value) -> bool {
    let backfills = status["backfills"].as_array();
    backfills.is_none_or(|all| {
        all.iter()
            .all(|b| b["state"] == "loaded" || b["state"] == "none")
    })
}

fn has_finding(status: &Value, severity: &str, words: &[&str]) -> bool {
    let findings = status["findings"].as_array().unwrap();
    findings.iter().any(|f| {
        let text = f.to_string();
        f["severity"] == severity && words.iter().all(|w| text.contains(w))
    })
}
