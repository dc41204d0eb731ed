//! The CRM is down, and the tables go on changing: the WAL that the database keeps stays under the
//! budget, and nothing is lost (P8, P1, P2).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::support::crm::{Crm, EXTERNAL_ID};
use crate::support::postgres::{Options, Postgres};
use crate::support::sidecar::Sidecar;

const MIB: u64 = 1 << 20;
/// What the slot may keep.
const BUDGET: u64 = 64 * MIB;
/// What the tables write in a second, at most: six seconds fill the budget.
const RATE: u64 = 10 * MIB;
const ROWS: u64 = 300;

fn kept(postgres: &Postgres) -> u64 {
    let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint \
               FROM pg_replication_slots WHERE slot_name = 'syncline'";
    postgres.psql(sql).parse().unwrap()
}

fn written(postgres: &Postgres) -> u64 {
    let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint";
    postgres.psql(sql).parse().unwrap()
}

#[test]
fn the_slot_moves_on_while_the_crm_is_down() {
    let postgres = Postgres::start(Options::default().with("max_wal_size", "64MB"));
    // The ballast makes WAL and goes nowhere.
    postgres.psql(&format!(
        "CREATE TABLE company (id int PRIMARY KEY, name text NOT NULL, size int NOT NULL, ballast text); \
         ALTER TABLE company ALTER ballast SET STORAGE EXTERNAL; \
         INSERT INTO company SELECT n, 'company ' || n, 0, '' FROM generate_series(1, {ROWS}) n"
    ));
    let crm = Crm::start(None);
    crm.put("fields/Account/Ext_Id__c", EXTERNAL_ID);
    let number = r#"{"type":"Number","label":"N","precision":10,"scale":0}"#;
    crm.put("fields/Account/Size__c", number);
    let mut sidecar = Sidecar::new(&format!(
        r#"
[source]
url = "{}"
wal_budget = {BUDGET}
[destination]
kind = "salesforce"
url = "{}"
client_id = "sandbox"
client_secret = "sandbox"
timeout = "1s"
[tables."public.company"]
object = "Account"
key = {{ column = "id", field = "Ext_Id__c" }}
on_delete = "delete"
columns.name = "Name"
columns.size = "Size__c"
columns.ballast = {{ ignore = true }}
"#,
        postgres.url("postgres"),
        crm.url()
    ));
    sidecar.start();
    let patience = Duration::from_secs(60);
    sidecar.wait_until("it is loaded", patience, |s| {
        s["verdicts"].is_object() && s["backfills"][0]["state"] == "loaded"
    });

    // Some requests are carried out and get no answer; the others are refused.
    crm.put("faults", r#"{"spec": "lost=40%,unavailable=100%"}"#);
    let begin = written(&postgres);
    let (mut most, mut round) = (0, 0_u64);
    let churn = Instant::now();
    let mut churned = 0;
    while churned < 5 * BUDGET {
        round += 1;
        postgres.psql(&format!(
            "UPDATE company SET size = {round}, name = 'company ' || id || ' ' || {round}, \
             ballast = repeat(md5('{round}'), 200)"
        ));
        most = most.max(kept(&postgres));
        // A slot lets go of WAL when Postgres writes down what runs: here, or every 15 seconds.
        if round.is_multiple_of(4) {
            postgres.psql("CHECKPOINT");
        }
        churned = written(&postgres) - begin;
        let due = Duration::from_secs_f64(churned as f64 / RATE as f64);
        std::thread::sleep(due.saturating_sub(churn.elapsed()));
    }
    let took = churn.elapsed();
    // What it comes to in the end: the last value is the first one again for some.
    postgres.psql("UPDATE company SET size = 0, name = 'company ' || id WHERE id % 2 = 0");
    let status = sidecar.status().unwrap();
    let deferred = status["shelf"]["deferred"].as_u64().unwrap();
    eprintln!(
        "{} MiB of WAL in {took:.0?} and {round} rounds over {ROWS} rows; the slot kept at most {} MiB of {}; {deferred} deferred",
        churned / MIB,
        most / MIB,
        BUDGET / MIB
    );
    assert!(most <= BUDGET, "{most} bytes kept\n{}", sidecar.tail());
    assert!(deferred > 0, "{}", sidecar.tail());
    assert!(deferred <= ROWS, "the shelf is bounded by the records");

    crm.put("faults", r#"{"spec": ""}"#);
    sidecar.wait_until("the shelf is empty", Duration::from_secs(120), |s| {
        s["shelf"]["deferred"] == 0 && s["source"]["in_work_bytes"] == 0 && s["lag_seconds"] == 0.0
    });
    let wanted: BTreeMap<u64, u64> = (1..=ROWS)
        .map(|id| (id, if id % 2 == 0 { 0 } else { round }))
        .collect();
    let deadline = Instant::now() + patience;
    loop {
        let records = crm.records("Account", "Ext_Id__c,Size__c");
        let found: BTreeMap<u64, u64> = records
            .iter()
            .filter_map(|r| {
                let id = r["Ext_Id__c"].as_str()?.parse().ok()?;
                Some((id, r["Size__c"].as_f64()? as u64))
            })
            .collect();
        if found == wanted {
            break;
        }
        if Instant::now() > deadline {
            let wrong = wanted.iter().filter(|(id, n)| found.get(id) != Some(n));
            panic!(
                "{:?}\n{}",
                wrong.take(10).collect::<Vec<_>>(),
                sidecar.tail()
            );
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    // Watched from the CRM, nothing ran backwards, but for the end, which is set back on purpose.
    let mut sizes: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    crm.writes(0, |entry| {
        let size = entry["fields"]["Size__c"].as_f64();
        if let (Some(size), "accepted") = (size, entry["outcome"].as_str().unwrap_or("")) {
            let key = entry["external_id"].to_string();
            sizes.entry(key).or_default().push(size);
        }
    });
    for (key, mut sizes) in sizes {
        if sizes.last() == Some(&0.0) {
            sizes.pop();
        }
        assert!(sizes.is_sorted(), "{key}: {sizes:?}");
    }
    sidecar.stop();
    let stored = sidecar.stored();
    assert_eq!(stored.changes(), (round * ROWS + ROWS / 2) as i64);
    assert!(stored.shelf.is_empty(), "{:?}", stored.shelf);
}
