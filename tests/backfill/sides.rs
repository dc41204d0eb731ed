//! A table and its object, how they are connected, and how both are compared.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::support::crm::{Crm, EXTERNAL_ID};
use crate::support::postgres::Postgres;
use crate::support::sidecar::{Sidecar, lsn};

/// However slow the machine is.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// So many rows would go by bulk jobs, which `bulk_kill` kills: here pages are to be small.
pub const SMALL_PAGES: &str = "[bulk]\nmode = \"never\"";

const TABLE: &str = "
CREATE SEQUENCE versions;
CREATE FUNCTION next_version() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN NEW.version := nextval('versions'); RETURN NEW; END $$;
CREATE TABLE item (
  id int PRIMARY KEY,
  name text NOT NULL,
  notes text,
  version bigint NOT NULL);
-- Large values are stored apart and not sent again with every update of their row.
ALTER TABLE item ALTER notes SET STORAGE EXTERNAL;
CREATE TRIGGER version BEFORE INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION next_version();
CREATE PUBLICATION syncline FOR TABLE item;
";

const OBJECT: &str = r#"{"label": "Item", "fields": {
  "Title__c": {"type": "Text", "label": "Title", "length": 80},
  "Description__c": {"type": "LongTextArea", "label": "Description", "length": 32000, "visibleLines": 3},
  "Version__c": {"type": "Number", "label": "Version", "precision": 18, "scale": 0}}}"#;

/// The columns of `item`, and their fields.
pub const COLUMNS: &[(&str, &str)] = &[
    ("name", "Title__c"),
    ("notes", "Description__c"),
    ("version", "Version__c"),
];

/// A server with so many items; of every eighth the notes are stored apart.
pub fn postgres(items: u64) -> Postgres {
    let postgres = Postgres::start(Default::default());
    postgres.psql(TABLE);
    postgres.psql(&format!(
        "INSERT INTO item SELECT g, 'item ' || g,
             CASE g % 8 WHEN 0 THEN repeat(g || ' ', 800) || 'x' WHEN 1 THEN NULL ELSE 'n' || g END
         FROM generate_series(1, {items}) g"
    ));
    postgres
}

/// A sandbox that knows of items.
pub fn crm(faults: Option<&str>) -> Crm {
    let crm = Crm::start(faults);
    crm.put("objects/Item__c", OBJECT);
    crm.put("fields/Item__c/Ext_Id__c", EXTERNAL_ID);
    crm
}

/// From one to the other, not started. `backfill` are lines of that section.
pub fn sidecar(url: &str, crm: &Crm, backfill: &str) -> Sidecar {
    let tables = r#"
[tables."public.item"]
object = "Item__c"
key = { column = "id", field = "Ext_Id__c" }
on_delete = "delete"
columns.name = "Title__c"
columns.notes = "Description__c"
columns.version = "Version__c"
"#;
    configured(url, crm, backfill, tables)
}

pub fn configured(url: &str, crm: &Crm, backfill: &str, tables: &str) -> Sidecar {
    Sidecar::new(&format!(
        r#"
[source]
url = "{url}"
[destination]
kind = "salesforce"
url = "{}"
client_id = "sandbox"
client_secret = "sandbox"
requests_per_second = 1000
record_tries = 20
[delivery]
linger = "10ms"
[brake]
deletes = 0
writes_per_record = 0
[backfill]
{backfill}
[routing]
unmapped = "halt"
{tables}"#,
        crm.url(),
    ))
}

/// What the status says of the only table, or of one of several.
pub fn load(status: &Value) -> &Value {
    &status["backfills"][0]
}

pub fn is_loaded(status: &Value) -> bool {
    let all = status["backfills"].as_array().unwrap();
    let all_loaded = !all.is_empty() && all.iter().all(|b| b["state"] == "loaded");
    status["state"] == "running" && all_loaded
}

pub fn read(status: &Value) -> u64 {
    load(status)["rows"]["read"].as_u64().unwrap_or_default()
}

/// Waits until every change has its verdict and nothing is pending.
pub fn settle(sidecar: &mut Sidecar, postgres: &Postgres) {
    let end = lsn(&postgres.psql("SELECT pg_current_wal_lsn()"));
    sidecar.wait_until("everything has its verdict", PATIENCE, |status| {
        let shelf = status["shelf"].as_object().unwrap();
        let durable = status["source"]["durable_lsn"].as_str();
        durable.is_some_and(|durable| lsn(durable) >= end)
            && shelf.values().all(|n| n.as_u64() == Some(0))
    });
}

/// Panics at the first differences; returns how many rows there are. `key` is the external id, in SQL.
pub fn compare(
    postgres: &Postgres,
    crm: &Crm,
    table: &str,
    key: &str,
    object: &str,
    columns: &[(&str, &str)],
) -> usize {
    let values: Vec<String> = columns.iter().map(|(c, _)| format!("{c}::text")).collect();
    let rows = postgres.psql(&format!(
        "SELECT coalesce(json_object_agg({key}, json_build_array({})), '{{}}') FROM {table}",
        values.join(", ")
    ));
    let rows: BTreeMap<String, Vec<Option<String>>> = serde_json::from_str(&rows).unwrap();
    let fields: Vec<&str> = columns.iter().map(|(_, field)| *field).collect();
    let mut records = BTreeMap::new();
    for record in crm.records(object, &format!("Ext_Id__c,{}", fields.join(","))) {
        let values: Vec<Option<String>> = fields.iter().map(|f| text(&record[f])).collect();
        let key = text(&record["Ext_Id__c"]).unwrap();
        let twice = records.insert(key.clone(), values);
        assert!(twice.is_none(), "P3: two live records of {key}");
    }
    let short = |values: Option<&Vec<Option<String>>>| {
        let short = |v: &Option<String>| v.as_ref().map(|v| v.chars().take(20).collect::<String>());
        values.map(|v| v.iter().map(short).collect::<Vec<_>>())
    };
    let keys: std::collections::BTreeSet<&String> = rows.keys().chain(records.keys()).collect();
    let differ: Vec<String> = keys
        .into_iter()
        .filter(|key| rows.get(*key) != records.get(*key))
        .map(|key| {
            let (here, there) = (short(rows.get(key)), short(records.get(key)));
            format!("{table} {key}: {here:?} in the database, {there:?} in the CRM")
        })
        .collect();
    let shown = &differ[..differ.len().min(20)];
    assert!(
        differ.is_empty(),
        "{} differences, e.g.\n{}",
        differ.len(),
        shown.join("\n")
    );
    rows.len()
}

pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        // The CRM has one kind of number.
        Value::Number(n) => Some(n.as_f64().unwrap().to_string()),
        other => Some(other.to_string()),
    }
}

/// A number of the environment.
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}
