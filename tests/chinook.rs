//! A real, public database, loaded while the connector streams, and before it first starts: the
//! Chinook sample database (`../shared/data/chinook.sql` beside the repository, or the file that
//! `SYNCLINE_CHINOOK` names).
//!
//! What the CRM should hold is worked out here from what Postgres shows as text, by code that shares
//! nothing with the connector.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use support::crm::{Crm, EXTERNAL_ID};
use support::postgres::{Options, Postgres};
use support::sidecar::{Sidecar, lsn};

/// How a column shows in the CRM.
#[derive(Clone, Copy, Debug)]
enum As {
    Text,
    Number,
    /// A timestamp without time zone in a field for dates.
    Day,
    /// The same in a field for times, which the CRM shows in UTC.
    Time,
    /// The external id of the record that the field refers to.
    Parent,
}
use As::*;

type Columns = &'static [(&'static str, &'static str, As)];

/// Tables, objects, and where each column goes, beside the key.
const TABLES: [(&str, &str, &str, Columns); 6] = [
    (
        "employee",
        "employee_id",
        "Employee__c",
        &[
            ("last_name", "Last_Name__c", Text),
            ("first_name", "First_Name__c", Text),
            ("title", "Title__c", Text),
            ("reports_to", "Reports_To__c", Parent),
            ("birth_date", "Birth_Date__c", Day),
            ("hire_date", "Hire_Date__c", Time),
            ("address", "Address__c", Text),
            ("city", "City__c", Text),
            ("state", "State__c", Text),
            ("country", "Country__c", Text),
            ("postal_code", "Postal_Code__c", Text),
            ("phone", "Phone__c", Text),
            ("fax", "Fax__c", Text),
            ("email", "Email__c", Text),
        ],
    ),
    (
        "customer",
        "customer_id",
        "Contact",
        &[
            ("first_name", "FirstName", Text),
            ("last_name", "LastName", Text),
            ("company", "Company__c", Text),
            ("address", "MailingStreet", Text),
            ("city", "MailingCity", Text),
            ("state", "MailingState", Text),
            ("country", "MailingCountry", Text),
            ("postal_code", "MailingPostalCode", Text),
            ("phone", "Phone", Text),
            ("fax", "Fax", Text),
            ("email", "Email", Text),
            ("support_rep_id", "Support_Rep__c", Parent),
        ],
    ),
    (
        "invoice",
        "invoice_id",
        "Opportunity",
        &[
            ("customer_id", "Customer__c", Parent),
            ("invoice_date", "CloseDate", Day),
            ("billing_address", "Billing_Address__c", Text),
            ("billing_city", "Billing_City__c", Text),
            ("billing_state", "Billing_State__c", Text),
            ("billing_country", "Billing_Country__c", Text),
            ("billing_postal_code", "Billing_Postal_Code__c", Text),
            ("total", "Amount", Number),
        ],
    ),
    (
        "artist",
        "artist_id",
        "Artist__c",
        &[("name", "Title__c", Text)],
    ),
    (
        "album",
        "album_id",
        "Album__c",
        &[
            ("title", "Title__c", Text),
            ("artist_id", "Artist__c", Parent),
        ],
    ),
    (
        "track",
        "track_id",
        "Track__c",
        &[
            ("name", "Title__c", Text),
            ("album_id", "Album__c", Parent),
            ("composer", "Composer__c", Text),
            ("milliseconds", "Milliseconds__c", Number),
            ("bytes", "Bytes__c", Number),
            ("unit_price", "Unit_Price__c", Number),
        ],
    ),
];

fn script() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = std::env::var_os("SYNCLINE_CHINOOK").map(PathBuf::from);
    let beside = [
        "../shared/data/chinook.sql",
        "../../shared/data/chinook.sql",
    ];
    let places = match named {
        Some(named) => vec![named],
        None => beside.iter().map(|p| root.join(p)).collect(),
    };
    places.iter().find_map(|p| std::fs::read_to_string(p).ok())
}

/// A database, a CRM with its objects, and a connector that has not been started.
struct Place {
    postgres: Postgres,
    crm: Crm,
    sidecar: Sidecar,
}

impl Place {
    fn new(tables: &str) -> Self {
        let postgres = Postgres::start(Options::default());
        postgres.psql("CREATE DATABASE chinook");
        feed(&postgres, tables);
        let crm = Crm::start(None);
        let objects: BTreeMap<String, Value> =
            serde_json::from_str(include_str!("chinook/objects.json")).unwrap();
        for name in [
            "Employee__c",
            "Artist__c",
            "Album__c",
            "Track__c",
            "Contact",
            "Opportunity",
        ] {
            let definition = &objects[name];
            if name.ends_with("__c") {
                crm.put(&format!("objects/{name}"), &definition.to_string());
            } else {
                for (field, metadata) in definition["fields"].as_object().unwrap() {
                    crm.put(&format!("fields/{name}/{field}"), &metadata.to_string());
                }
            }
            crm.put(&format!("fields/{name}/Chinook_Id__c"), EXTERNAL_ID);
        }
        crm.put(
            "fields/Employee__c/Reports_To__c",
            r#"{"type": "Lookup", "label": "Reports To", "referenceTo": "Employee__c", "relationshipName": "Reports"}"#,
        );
        let mut sidecar = Sidecar::new(include_str!("chinook/config.toml"));
        let url = format!("postgres://postgres@127.0.0.1:{}/chinook", postgres.port());
        sidecar.sets = vec![
            format!("source.url={url}"),
            format!("destination.url={}", crm.url()),
        ];
        Place {
            postgres,
            crm,
            sidecar,
        }
    }

    /// Starts the connector, and waits until it has read what was there.
    fn start(&mut self) {
        self.sidecar.start();
        let loaded = |s: &Value| {
            let all = s["backfills"].as_array().unwrap();
            s["state"] == "running"
                && all.len() == TABLES.len()
                && all.iter().all(|b| b["state"] == "loaded")
        };
        self.sidecar
            .wait_until("all tables are loaded", Duration::from_secs(120), loaded);
    }

    /// The one row that the CRM refuses is corrected, and everything that hung on it arrives by itself.
    fn correct_the_address(&mut self) {
        one_address_is_refused(&self.sidecar, &self.postgres);
        let correct = "UPDATE customer SET email = 'stanislaw.wojcik@wp.pl' WHERE customer_id = 49";
        self.postgres.psql_in("chinook", correct);
        arrived(&mut self.sidecar, &self.postgres);
        let empty = |s: &Value| s["shelf"].as_object().unwrap().values().all(|n| n == 0);
        self.sidecar
            .wait_until("the shelf is empty", Duration::from_secs(30), empty);
    }

    /// Every field of every row, on both sides; returns how many rows there are.
    fn compare(&self) -> usize {
        let mut keys: HashMap<String, String> = HashMap::new();
        for (_, _, object, _) in TABLES {
            for record in self.crm.records(object, "Id,Chinook_Id__c") {
                keys.insert(
                    text(&record["Id"]).unwrap(),
                    text(&record["Chinook_Id__c"]).unwrap(),
                );
            }
        }
        let mut total = 0;
        for (table, key, object, columns) in TABLES {
            total += compare(
                &self.postgres,
                &self.crm,
                &keys,
                table,
                key,
                object,
                columns,
            );
        }
        let named = self.crm.records("Opportunity", "Name,StageName");
        assert!(
            named
                .iter()
                .all(|r| r["Name"] == "Invoice" && r["StageName"] == "Closed Won")
        );
        eprintln!(
            "{total} rows of {} tables are in the CRM, field by field",
            TABLES.len()
        );
        total
    }
}

/// Statements that make the tables, and those that fill them.
fn parts(script: &str) -> (&str, &str) {
    // The script makes the database itself; here the connector may look at its tables before the rows.
    let start = script.find("CREATE TABLE").unwrap();
    let rows = script.find("INSERT INTO").unwrap();
    (&script[start..rows], &script[rows..])
}

#[test]
fn every_row_of_chinook_arrives_while_it_is_loaded() {
    let Some(script) = script() else {
        return untested();
    };
    let (tables, rows) = parts(&script);
    let mut place = Place::new(tables);
    place.start();
    feed(&place.postgres, rows);
    arrived(&mut place.sidecar, &place.postgres);
    place.correct_the_address();
    place.sidecar.stop();
    let stored = place.sidecar.stored();
    parents_came_first(&place.crm);
    let total = place.compare();
    assert_eq!(
        stored.changes(),
        total as i64 + 1,
        "P1: verdicts and rows: {:?}",
        stored.verdicts
    );
}

#[test]
fn chinook_that_was_there_before_arrives_by_backfill_alone() {
    let Some(script) = script() else {
        return untested();
    };
    let (tables, rows) = parts(&script);
    let mut place = Place::new(tables);
    feed(&place.postgres, rows);
    place.start();
    place.correct_the_address();
    let status = place.sidecar.status().unwrap();
    place.sidecar.stop();
    parents_came_first(&place.crm);
    let total = place.compare();
    assert_eq!(
        place.sidecar.stored().changes(),
        1,
        "the correction is the only change"
    );
    let count = |table: &str, what: &str| {
        let all = status["backfills"].as_array().unwrap();
        let of = all.iter().find(|b| b["table"] == format!("public.{table}"));
        of.unwrap()["rows"][what].as_u64().unwrap()
    };
    let sum = |what: &str| TABLES.iter().map(|t| count(t.0, what)).sum::<u64>();
    assert_eq!(sum("read"), total as u64);
    // The refused customer and the invoices that waited for it.
    let waited = place.postgres.psql_in(
        "chinook",
        "SELECT 1 + count(*) FROM invoice WHERE customer_id = 49",
    );
    assert_eq!(sum("pending").to_string(), waited);
    assert_eq!(sum("written") + sum("pending"), total as u64);

    // A second start finds nothing to send, whatever it reads.
    let before = writes(&place.crm);
    place.start();
    place.postgres.psql_in(
        "chinook",
        "SELECT pg_logical_emit_message(true, 'test', '')",
    );
    arrived(&mut place.sidecar, &place.postgres);
    place.sidecar.stop();
    assert_eq!(
        writes(&place.crm),
        before,
        "the second start wrote something"
    );
}

fn untested() {
    eprintln!("no chinook.sql here: set SYNCLINE_CHINOOK to its path; nothing was tested");
}

/// Writes that the CRM has seen, refused ones included.
fn writes(crm: &Crm) -> u64 {
    crm.get("writes?limit=1")["total"].as_u64().unwrap()
}

fn arrived(sidecar: &mut Sidecar, postgres: &Postgres) {
    let end = lsn(&postgres.psql("SELECT pg_current_wal_lsn()"));
    let durable = |status: &Value| {
        let durable = status["source"]["durable_lsn"].as_str();
        durable.is_some_and(|durable| lsn(durable) >= end)
    };
    sidecar.wait_until(
        "everything has its verdict",
        Duration::from_secs(60),
        durable,
    );
}

/// P6: Salesforce takes no letters beyond ASCII before the @, and one customer has some. That one
/// is a dead letter, its invoices wait for it, and nobody else does.
fn one_address_is_refused(sidecar: &Sidecar, postgres: &Postgres) {
    let shelf = sidecar.get("/pending").unwrap();
    let on_shelf = shelf["pending"].as_array().unwrap();
    let (dead, waiting): (Vec<&Value>, Vec<&Value>) =
        on_shelf.iter().partition(|p| p["reason"] == "dead_letter");
    assert_eq!(dead.len(), 1, "{shelf:#}");
    assert_eq!(dead[0]["object"], "Contact");
    assert_eq!(dead[0]["external_id"], "49");
    assert_eq!(dead[0]["code"], "INVALID_EMAIL_ADDRESS");
    let mut ids: Vec<&str> = waiting
        .iter()
        .map(|p| p["external_id"].as_str().unwrap())
        .collect();
    ids.sort_by_key(|id| id.parse::<u32>().unwrap());
    let invoices = "SELECT invoice_id FROM invoice WHERE customer_id = 49 ORDER BY 1";
    assert_eq!(ids.join("\n"), postgres.psql_in("chinook", invoices));
    assert!(
        waiting
            .iter()
            .all(|p| p["object"] == "Opportunity" && p["reason"] == "waiting")
    );
}

fn feed(postgres: &Postgres, text: &str) {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut psql = Command::new("psql")
        .args([
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-d",
            "chinook",
        ])
        .args(["-p", &postgres.port().to_string(), "-h"])
        .arg(postgres.socket_dir())
        .env("PGCLIENTENCODING", "UTF8")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    psql.stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    assert!(psql.wait().unwrap().success());
}

/// P4, from the write log: whatever a write refers to was created before it.
fn parents_came_first(crm: &Crm) {
    let mut there = std::collections::HashSet::new();
    let mut references = 0;
    crm.writes(0, |entry| {
        if entry["outcome"] == "INVALID_EMAIL_ADDRESS" && entry["external_id"] == "49" {
            return;
        }
        assert_eq!(entry["outcome"], "accepted", "{entry}");
        for (field, parent) in entry["references"].as_object().unwrap() {
            if field != "OwnerId" {
                references += 1;
                let parent = parent["id"].as_str().unwrap();
                assert!(there.contains(parent), "{field} before its parent: {entry}");
            }
        }
        there.insert(entry["id"].as_str().unwrap().to_owned());
    });
    assert!(
        references > 4_000,
        "only {references} references were written"
    );
}

/// Every field of every row; returns how many rows there are.
fn compare(
    postgres: &Postgres,
    crm: &Crm,
    keys: &HashMap<String, String>,
    table: &str,
    key: &str,
    object: &str,
    columns: Columns,
) -> usize {
    let names: Vec<&str> = columns.iter().map(|(_, field, _)| *field).collect();
    let records = crm.records(object, &format!("Chinook_Id__c,{}", names.join(",")));
    let records: BTreeMap<String, Value> = records
        .into_iter()
        .map(|r| (text(&r["Chinook_Id__c"]).unwrap(), r))
        .collect();
    // Every column as Postgres writes it.
    let rows = postgres.psql_in(
        "chinook",
        &format!(
            "SELECT json_agg((SELECT json_object_agg(key, value) FROM json_each_text(row_to_json(t)))) FROM {table} t"
        ),
    );
    let rows: Vec<BTreeMap<String, Option<String>>> = serde_json::from_str(&rows).unwrap();
    assert_eq!(rows.len(), records.len(), "{table}");
    for row in &rows {
        let id = row[key].clone().unwrap();
        let record = records
            .get(&id)
            .unwrap_or_else(|| panic!("{table} {id} is not in the CRM"));
        for (column, field, how) in columns {
            let there = text(&record[*field]);
            let here = row[*column].clone();
            let (here, there) = match how {
                Text => (here, there),
                Number => (here.map(number), there.map(number)),
                Day => (here.map(|t| t[..10].to_owned()), there),
                Time => (here.map(|t| format!("{t}.000+0000")), there),
                Parent => (here, there.map(|id| keys[&id].clone())),
            };
            assert_eq!(here, there, "{table} {id}: {column} and {field}");
        }
    }
    rows.len()
}

fn number(text: String) -> String {
    text.parse::<f64>().unwrap().to_string()
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
