//! A first load by bulk jobs and by requests: `cargo bench --bench bulk`.
//!
//! A table of 1,000,000 rows is there before the first start. The connector, in a process of its own and
//! with the configuration that everybody has, loads it into a sandbox (in this process, on the same
//! machine), once as it chooses (`bulk.mode = "auto"`) and once by requests alone (`"never"`). Calls are
//! those that the sandbox has counted; at the end every record is compared with its row.
//!
//! `SYNCLINE_BENCH_ROWS` (1,000,000), `SYNCLINE_BENCH_MODES` ("auto,never"), `SYNCLINE_BENCH_CONFIG`:
//! more configuration. See docs/benchmarks.md.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    dead_code
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use support::crm::{Crm, EXTERNAL_ID};
use support::postgres::{Options, Postgres, SUPERUSER};
use support::sidecar::Sidecar;

const OBJECT: &str = r#"{"label": "Customer", "fields": {
  "Title__c": {"type": "Text", "label": "Title", "length": 80},
  "Email__c": {"type": "Email", "label": "Email"},
  "City__c": {"type": "Text", "label": "City", "length": 80},
  "Balance__c": {"type": "Currency", "label": "Balance", "precision": 18, "scale": 2},
  "Active__c": {"type": "Checkbox", "label": "Active", "defaultValue": false},
  "Born__c": {"type": "Date", "label": "Born"}}}"#;

const FIELDS: &str = "Ext_Id__c,Title__c,Email__c,City__c,Balance__c,Active__c,Born__c";

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| {
        let parsed = text.parse().ok();
        parsed.unwrap_or_else(|| panic!("{name} cannot be {text:?}"))
    })
}

fn main() {
    let rows: u64 = setting("SYNCLINE_BENCH_ROWS", 1_000_000);
    let modes = setting("SYNCLINE_BENCH_MODES", "auto,never".to_owned());
    let server = Postgres::start(
        Options::default()
            .with("shared_buffers", "256MB")
            .with("max_wal_size", "16GB")
            .with("autovacuum", "off"),
    );
    fill(&server, rows);
    println!("{rows} rows of 7 columns\n");
    for mode in modes.split(',') {
        load(&server, rows, mode);
    }
}

fn fill(server: &Postgres, rows: u64) {
    server.psql(
        "CREATE TABLE customer (
             id bigint PRIMARY KEY, name text NOT NULL, email varchar(120), city text,
             balance numeric(12,2), active boolean NOT NULL, born date)",
    );
    server.psql(&format!(
        "INSERT INTO customer SELECT
             n, 'Customer number ' || n, 'customer' || n || '@example.com',
             CASE n % 4 WHEN 0 THEN 'Berlin' WHEN 1 THEN 'Ouagadougou' WHEN 2 THEN NULL ELSE 'Rio' END,
             (n % 1000000) / 4.0, n % 3 = 0, date '1950-01-01' + (n % 20000)::int
         FROM generate_series(1, {rows}) n"
    ));
    server.psql("VACUUM ANALYZE customer");
    server.psql("CHECKPOINT");
}

fn load(server: &Postgres, rows: u64, mode: &str) {
    let crm = Crm::start(None);
    crm.put("objects/Customer__c", OBJECT);
    crm.put("fields/Customer__c/Ext_Id__c", EXTERNAL_ID);
    server.psql(&format!("CREATE PUBLICATION {mode} FOR TABLE customer"));
    let more = setting("SYNCLINE_BENCH_CONFIG", String::new());
    let mut sidecar = Sidecar::new(&format!(
        r#"
[source]
url = "{}"
slot = "{mode}"
publication = "{mode}"
[destination]
kind = "salesforce"
url = "{}"
client_id = "sandbox"
client_secret = "sandbox"
[bulk]
mode = "{mode}"
{more}
[routing]
unmapped = "halt"
[tables."public.customer"]
object = "Customer__c"
key = {{ column = "id", field = "Ext_Id__c" }}
on_delete = "delete"
columns.name = "Title__c"
columns.email = "Email__c"
columns.city = "City__c"
columns.balance = "Balance__c"
columns.active = "Active__c"
columns.born = "Born__c"
"#,
        server.url(SUPERUSER),
        crm.url(),
    ));
    let begun = Instant::now();
    sidecar.start();
    sidecar.wait_until("it is loaded", Duration::from_secs(7_200), |status| {
        status["backfills"][0]["state"] == "loaded"
    });
    let took = begun.elapsed().as_secs_f64();
    let status = sidecar.status().unwrap();
    let peak = peak_kib(sidecar.pid());
    sidecar.stop();
    let counted = crm.get("requests");
    let calls = &status["crm"]["calls"];
    println!(
        "mode = {mode:?}: {took:.1} s, {:.0} rows/s",
        rows as f64 / took
    );
    println!("  the sandbox counted: {counted}");
    println!("  we counted: {calls}");
    println!(
        "  pages: {}; bulk jobs: {}, records in them: {}; peak memory of the connector {:.0} MiB",
        status["backfills"][0]["pages"],
        status["crm"]["bulk_jobs"],
        status["crm"]["bulk_records"],
        f64::from(u32::try_from(peak).unwrap()) / 1024.0
    );
    compare(server, &crm, rows);
    server.psql(&format!("SELECT pg_drop_replication_slot('{mode}')"));
}

fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let number = line.unwrap().split_whitespace().next().unwrap();
    number.parse().unwrap()
}

/// Every record has what its row has, and there are no others.
fn compare(server: &Postgres, crm: &Crm, rows: u64) {
    let records = crm.records("Customer__c", FIELDS);
    assert_eq!(records.len() as u64, rows);
    let sum: f64 = records
        .iter()
        .map(|r| r["Balance__c"].as_f64().unwrap())
        .sum();
    let text = |name: &str| -> usize {
        let texts = records.iter().filter_map(|r| r[name].as_str());
        texts.map(str::len).sum()
    };
    let active = records.iter().filter(|r| r["Active__c"] == true).count();
    let mut keys: Vec<u64> = records
        .iter()
        .map(|r| r["Ext_Id__c"].as_str().unwrap().parse().unwrap())
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let there = format!(
        "{}|{sum:.0}|{}|{}|{}|{}|{active}",
        keys.len(),
        text("Title__c"),
        text("Email__c"),
        text("City__c"),
        text("Born__c"),
    );
    let here = server.psql(
        "SELECT count(*), round(sum(balance)), sum(length(name)), sum(length(email)),
                sum(length(city)), sum(length(born::text)), count(*) FILTER (WHERE active)
         FROM customer",
    );
    assert_eq!(there, here);
    println!("  compared with the rows: the same\n");
}
