//! `kill -9` at random moments under load, with a real Postgres, a sandbox that fails in a few percent
//! of requests, and the connector as a process of its own.
//!
//! ```text
//! load ─► Postgres ─► connector (killed, started, killed, …) ─► sandbox
//!   │        │              │                                      │
//!   │     slot's LSN ≤ checkpoint (P1)                          write log ─► audit (P2, P3, P4)
//!   └── changes, counted from the WAL by a second slot = verdicts (P1)
//! ```
//!
//! `SYNCLINE_KILLS=100` for the long run, `SYNCLINE_SEED=…` for the same load again,
//! `SYNCLINE_KEEP_LOG=file` to keep the connector's log when it fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod support;

#[path = "kill/audit.rs"]
mod audit;
#[path = "kill/contents.rs"]
mod contents;
#[path = "kill/load.rs"]
mod load;

use std::thread::sleep;
use std::time::{Duration, Instant};

use audit::Audit;
use load::{Load, Random};
use support::crm::{Crm, EXTERNAL_ID};
use support::postgres::{Options, Postgres};
use support::sidecar::{Sidecar, lsn};

const TABLES: &str = "
CREATE SEQUENCE versions;
CREATE FUNCTION next_version() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN NEW.version := nextval('versions'); RETURN NEW; END $$;
CREATE TABLE company (
  id int PRIMARY KEY,
  name text NOT NULL,
  phone text,
  parent_id int REFERENCES company ON UPDATE CASCADE ON DELETE SET NULL,
  notes text,
  version bigint NOT NULL);
CREATE TABLE contact (
  id int PRIMARY KEY,
  last_name text NOT NULL,
  email text,
  company_id int REFERENCES company ON UPDATE CASCADE ON DELETE SET NULL,
  notes text,
  version bigint NOT NULL);
-- Large values are stored apart and not sent again with every update of their row.
ALTER TABLE company ALTER notes SET STORAGE EXTERNAL;
ALTER TABLE contact ALTER notes SET STORAGE EXTERNAL;
CREATE TRIGGER version BEFORE INSERT OR UPDATE ON company FOR EACH ROW EXECUTE FUNCTION next_version();
CREATE TRIGGER version BEFORE INSERT OR UPDATE ON contact FOR EACH ROW EXECUTE FUNCTION next_version();
CREATE PUBLICATION syncline FOR TABLE company, contact;
";

/// A lookup that is emptied when its parent goes: a contact would go with its account.
const PERSON: &str = r#"{"label": "Person", "fields": {
  "LastName__c": {"type": "Text", "label": "Last Name", "length": 80, "required": true},
  "Email__c": {"type": "Email", "label": "Email"},
  "Description__c": {"type": "LongTextArea", "label": "Description", "length": 32000, "visibleLines": 3},
  "Account__c": {"type": "Lookup", "label": "Account", "referenceTo": "Account",
                 "relationshipName": "People", "relationshipLabel": "People", "deleteConstraint": "SetNull"}}}"#;

/// One request in twenty meets one of these; beside them, records that are locked.
const FAULTS: &str = "throttle=1%,throttle_429=0.5%:10ms,unavailable=1%,bad_gateway=0.5%,lost=1%,\
                      cut=0.7%,unauthorized=0.3%,lock=0.3%,seed=";

fn config(postgres: &Postgres, crm: &Crm) -> String {
    format!(
        r#"
[source]
url = "{}"
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
[routing]
unmapped = "halt"

[tables."public.company"]
object = "Account"
key = {{ column = "id", field = "Ext_Id__c" }}
on_delete = "delete"
columns.name = "Name"
columns.phone = "Phone"
columns.parent_id = {{ field = "Parent", references = "public.company" }}
columns.notes = "Description"
columns.version = "Version__c"

[tables."public.contact"]
object = "Person__c"
key = {{ column = "id", field = "Ext_Id__c" }}
on_delete = "delete"
columns.last_name = "LastName__c"
columns.email = "Email__c"
columns.company_id = {{ field = "Account__r", references = "public.company" }}
columns.notes = "Description__c"
columns.version = "Version__c"
"#,
        postgres.url("postgres"),
        crm.url(),
    )
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

#[test]
fn nothing_is_lost_doubled_or_run_backwards_by_kills() {
    let kills = number("SYNCLINE_KILLS").unwrap_or(12);
    let seed = number("SYNCLINE_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap().as_nanos() as u64 % 1_000_000
    });
    eprintln!("SYNCLINE_SEED={seed} SYNCLINE_KILLS={kills}");
    let mut random = Random(seed);

    let postgres = Postgres::start(Options::default());
    postgres.psql(TABLES);
    let crm = Crm::start(Some(&format!("{FAULTS}{seed}")));
    crm.put("objects/Person__c", PERSON);
    for object in ["Account", "Person__c"] {
        crm.put(&format!("fields/{object}/Ext_Id__c"), EXTERNAL_ID);
        let version = r#"{"type":"Number","label":"Version","precision":18,"scale":0}"#;
        crm.put(&format!("fields/{object}/Version__c"), version);
    }
    let mut sidecar = Sidecar::new(&config(&postgres, &crm));
    sidecar.start();
    sidecar.wait_until("it runs", Duration::from_secs(20), |s| {
        s["state"] == "running"
    });
    postgres.psql("SELECT pg_create_logical_replication_slot('count', 'pgoutput')");

    let load = Load::start(&postgres.url("postgres"), seed);
    let mut audit = Audit::default();
    let started = Instant::now();
    let mut interrupted = 0;
    for kill in 1..=kills {
        sleep(Duration::from_millis(random.below(3_000)));
        sidecar.kill();
        interrupted += u64::from(check_progress(&sidecar, &postgres, &mut random));
        audit.read(&crm);
        if kill % 25 == 0 && kill < kills {
            load.pause(true);
            sidecar.sets.clear();
            sidecar.start();
            settle(&mut sidecar, &postgres);
            audit.read(&crm);
            contents::compare(&postgres, &crm);
            load.pause(false);
        } else {
            let rows = [20, 100, 700, 2_000][random.below(4) as usize];
            sidecar.sets = vec![format!("delivery.max_rows={rows}")];
            sidecar.start();
        }
    }
    let committed = load.stop();
    let under_load = started.elapsed();
    settle(&mut sidecar, &postgres);
    sidecar.stop();
    audit.read(&crm);

    let changes = count_changes(&postgres);
    let stored = sidecar.stored();
    eprintln!(
        "{kills} kills in {under_load:.1?}, {interrupted} of those looked at with a window under way; \
         {committed} transactions, {changes} changes, {}\n{:#?}\n{}",
        audit.figures(),
        stored.verdicts,
        crm.get("faults")["rules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| format!("{} {}", r["kind"], r["hits"]))
            .collect::<Vec<_>>()
            .join(", "),
    );
    contents::compare(&postgres, &crm);
    assert_eq!(
        stored.changes(),
        changes,
        "P1: verdicts and changes in the WAL"
    );
    let pending: u64 = stored.shelf.values().sum();
    assert_eq!(pending, 0, "{:?}", stored.shelf);
    audit.finish();
}

/// P1: Postgres has not been told more than what is durable. Looks into the store every other time
/// only, since opening it mends what the kill left, which is the connector's own business.
fn check_progress(sidecar: &Sidecar, postgres: &Postgres, random: &mut Random) -> bool {
    if random.below(2) == 0 {
        return false;
    }
    let stored = sidecar.stored();
    let flushed = confirmed(postgres);
    let checkpoint = stored.progress.checkpoint.0;
    assert!(
        flushed <= checkpoint,
        "P1: the slot is at {flushed:X}, the checkpoint at {checkpoint:X}"
    );
    stored.intent
}

/// What Postgres takes for flushed, once nobody reads the slot.
fn confirmed(postgres: &Postgres) -> u64 {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let row = postgres.psql(
            "SELECT active, confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'syncline'",
        );
        let (active, flushed) = row.split_once('|').unwrap();
        if active == "f" {
            return lsn(flushed);
        }
        assert!(Instant::now() < deadline, "a walsender does not end");
        sleep(Duration::from_millis(5));
    }
}

/// Waits until every change has its verdict and nothing is pending.
fn settle(sidecar: &mut Sidecar, postgres: &Postgres) {
    let end = lsn(&postgres.psql("SELECT pg_current_wal_lsn()"));
    sidecar.wait_until(
        "everything has its verdict",
        Duration::from_secs(120),
        |status| {
            let shelf = status["shelf"].as_object().unwrap();
            let durable = status["source"]["durable_lsn"].as_str();
            durable.is_some_and(|durable| lsn(durable) >= end)
                && shelf.values().all(|n| n.as_u64() == Some(0))
        },
    );
}

/// Row changes in the WAL since the second slot was made.
fn count_changes(postgres: &Postgres) -> i64 {
    let count = postgres.psql(
        "SELECT count(*) FROM pg_logical_slot_get_binary_changes('count', NULL, NULL, \
         'proto_version', '1', 'publication_names', 'syncline') \
         WHERE substr(data, 1, 1) IN ('I', 'U', 'D')",
    );
    count.parse().unwrap()
}
