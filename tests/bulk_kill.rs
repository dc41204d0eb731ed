//! `kill -9` at every step of a bulk job: a real Postgres, a sandbox whose jobs take their time, and the
//! connector as a process of its own.
//!
//! ```text
//!  open ─► store its id ─► upload ─► start ─► queued ─► running ─► complete ─► results
//!   ✗                        ✗         ✗        ✗          ✗          ✗        half ✗ read
//! ```
//!
//! The sandbox's job goes on while nobody runs: its write log shows whether an older value ever lands on
//! a newer one (P2), and whether anything is written twice without need. `SYNCLINE_KILLS=50` for more
//! random kills, `SYNCLINE_SEED=…` for the same again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    dead_code
)]

mod support;

#[path = "kill/audit.rs"]
mod audit;
#[path = "backfill/sides.rs"]
mod sides;
#[path = "backfill/writer.rs"]
mod writer;

use std::thread::sleep;
use std::time::{Duration, Instant};

use audit::Audit;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sides::{COLUMNS, PATIENCE, compare, is_loaded, number, settle};
use support::crm::Crm;
use support::postgres::Postgres;
use support::sidecar::Sidecar;
use writer::Writer;

const ITEMS: u64 = 6_000;
const BULK: &str = "page_rows = 500\n[bulk]\nmode = \"always\"\nmin_rows = 400";

/// Where the process is killed.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Step {
    Open,
    Upload,
    Start,
    Queued,
    Running,
    /// It is done, and we have not heard of it.
    Complete,
    Results,
    /// The rows that were written are read, those that failed are not.
    HalfRead,
}

/// Rows of a job that are locked where it is to have some that failed.
const LOCKED: u64 = 5;

impl Step {
    const ALL: [Step; 8] = [
        Step::Open,
        Step::Upload,
        Step::Start,
        Step::Queued,
        Step::Running,
        Step::Complete,
        Step::Results,
        Step::HalfRead,
    ];

    /// Makes the step wide.
    fn widen(self, crm: &Crm) {
        let slow = |method: &str, path: &str, more: &str| {
            crm.put(
                "faults",
                &format!(
                    r#"{{"rules": [{{"kind": "slow", "method": "{method}", "path": "{path}",
                         "delay_ms": 2500, "times": 1}}{more}]}}"#
                ),
            );
        };
        let bulk = |settings: &str| crm.put("limits", &format!(r#"{{"bulk": {settings}}}"#));
        match self {
            Step::Open => slow("POST", "/jobs/ingest", ""),
            Step::Upload => slow("PUT", "/batches", ""),
            Step::Start => slow("PATCH", "/jobs/ingest/", ""),
            Step::Queued => bulk(r#"{"start_ms": 6000}"#),
            Step::Running => bulk(r#"{"chunk_ms": 150}"#),
            Step::Complete => slow("GET", "/jobs/ingest/", ""),
            Step::Results => slow("GET", "successfulResults", ""),
            Step::HalfRead => {
                let lock =
                    format!(r#", {{"kind": "lock", "object": "Item__c", "times": {LOCKED}}}"#);
                slow("GET", "failedResults", &lock);
            }
        }
    }

    /// It is there.
    fn reached(self, sidecar: &Sidecar, crm: &Crm, before: u64) -> bool {
        match self {
            Step::Queued => {
                let status = sidecar.status();
                status.is_some_and(|s| s["bulk_jobs"][0]["state"] == "queued")
            }
            Step::Running => writes(crm) > before + 400,
            _ => crm.get("faults")["rules"][0]["hits"] == 1,
        }
    }
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not in {PATIENCE:?}");
        sleep(Duration::from_millis(20));
    }
}

/// Writes so far, the refused ones among them.
fn writes(crm: &Crm) -> u64 {
    crm.get("writes?limit=1")["total"].as_u64().unwrap()
}

/// What goes by jobs.
#[derive(Clone, Copy, PartialEq, Debug)]
enum What {
    /// Rows that are there before the start.
    Load,
    /// A transaction that changes them all.
    Stream,
}

/// Killed at this step; `changed`: rows change before the next start.
fn killed_at(what: What, step: Step, changed: bool) {
    let postgres = sides::postgres(ITEMS);
    let crm = sides::crm(None);
    let mut sidecar = sides::sidecar(&postgres.url("postgres"), &crm, BULK);
    if what == What::Stream {
        sidecar.start();
        sidecar.wait_until("everything is read", PATIENCE, is_loaded);
        settle(&mut sidecar, &postgres);
    }
    let before = writes(&crm);
    step.widen(&crm);
    match what {
        What::Load => sidecar.start(),
        What::Stream => drop(postgres.psql("UPDATE item SET name = name || '?'")),
    }
    wait("the step", || {
        sidecar.assert_alive();
        step.reached(&sidecar, &crm, before)
    });
    sleep(Duration::from_millis(300));
    sidecar.kill();
    let left = sidecar.stored().bulk_jobs;
    let case = format!("{what:?}, {step:?}, changed: {changed}");
    match step {
        Step::Open => assert_eq!(left, 0, "{case}: its id was never learnt"),
        _ => assert_eq!(left, 1, "{case}"),
    }
    if changed {
        // The job of the last life may be writing the older values now, and for a while.
        postgres.psql("UPDATE item SET name = name || '!' WHERE id % 7 = 0");
        postgres.psql("DELETE FROM item WHERE id % 11 = 0");
    }
    sidecar.start();
    sidecar.wait_until("everything is read", PATIENCE, is_loaded);
    settle(&mut sidecar, &postgres);
    let calls = sidecar.status().unwrap()["crm"]["calls"].clone();
    sidecar.stop();
    let mut audit = Audit::default();
    audit.read(&crm);
    audit.finish();
    let rows = compare(&postgres, &crm, "item", "id", "Item__c", COLUMNS);
    let written = writes(&crm) - before;
    eprintln!("{case}: {rows} rows, {written} writes, {calls}");
    assert_eq!(sidecar.stored().bulk_jobs, 0, "{case}");
    if !changed {
        let refused = if step == Step::HalfRead { LOCKED } else { 0 };
        assert_eq!(
            written,
            ITEMS + refused,
            "{case}: nothing was written twice"
        );
        if what == What::Load {
            let jobs = match step {
                // It never began: another one does it.
                Step::Open | Step::Upload | Step::Start => 1,
                // The results were enough.
                _ => 0,
            };
            assert_eq!(calls["bulk_open"], jobs, "{case}");
        }
    }
}

/// Most of a case is waiting: a few at a time.
fn all_killed_at(what: What, steps: &[Step], changed: bool) {
    for some in steps.chunks(3) {
        std::thread::scope(|threads| {
            for step in some {
                threads.spawn(|| killed_at(what, *step, changed));
            }
        });
    }
}

#[test]
fn killed_at_every_step_nothing_is_written_twice() {
    all_killed_at(What::Load, &Step::ALL, false);
}

#[test]
fn killed_at_every_step_no_older_value_lands_on_a_newer_one() {
    all_killed_at(What::Load, &Step::ALL, true);
}

#[test]
fn killed_at_every_step_of_a_job_of_live_changes() {
    all_killed_at(What::Stream, &Step::ALL, true);
    let some = [Step::Start, Step::Running, Step::HalfRead];
    all_killed_at(What::Stream, &some, false);
}

/// Kills at random moments, while rows change and everything fails now and then.
#[test]
fn random_kills_lose_double_and_turn_back_nothing() {
    let kills = number("SYNCLINE_KILLS").unwrap_or(8);
    let seed = number("SYNCLINE_SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    eprintln!("SYNCLINE_SEED={seed} SYNCLINE_KILLS={kills}");
    let mut random = StdRng::seed_from_u64(seed);
    let items = 8_000;
    let postgres: Postgres = sides::postgres(items);
    let crm = sides::crm(Some(&format!(
        "throttle=1%,unavailable=1%,lost=2%,cut=1%,unauthorized=0.3%,lock=0.2%,seed={seed}"
    )));
    crm.put("limits", r#"{"bulk": {"start_ms": 300, "chunk_ms": 40}}"#);
    let bulk = "page_rows = 300\n[bulk]\nmode = \"always\"\nmin_rows = 50";
    let mut sidecar = sides::sidecar(&postgres.url("postgres"), &crm, bulk);
    sidecar.start();
    sidecar.wait_until("it runs", PATIENCE, |s| s["state"] == "running");
    let writer = Writer::start(&postgres.url("postgres"), seed, items);
    let mut audit = Audit::default();
    let mut jobs = 0;
    for kill in 1..=kills {
        sleep(Duration::from_millis(random.random_range(0..4_000)));
        sidecar.kill();
        jobs += sidecar.stored().bulk_jobs;
        audit.read(&crm);
        if kill % 3 == 0 {
            // A long time without anybody: jobs go on.
            sleep(Duration::from_millis(random.random_range(0..2_000)));
        }
        sidecar.start();
    }
    let committed = writer.stop();
    sidecar.wait_until("everything is read", PATIENCE, is_loaded);
    settle(&mut sidecar, &postgres);
    sidecar.stop();
    audit.read(&crm);
    audit.finish();
    let rows = compare(&postgres, &crm, "item", "id", "Item__c", COLUMNS);
    eprintln!(
        "{kills} kills, {jobs} of them with a job under way, {committed} transactions, {rows} rows; {}",
        audit.figures()
    );
    assert_eq!(sidecar.stored().bulk_jobs, 0);
}

/// Asked to end while a job is at work, it ends at once and leaves the job.
#[test]
fn an_orderly_end_leaves_a_job_at_work() {
    let postgres = sides::postgres(2_000);
    let crm = sides::crm(None);
    crm.put("limits", r#"{"bulk": {"start_ms": 5000}}"#);
    let mut sidecar = sides::sidecar(&postgres.url("postgres"), &crm, BULK);
    sidecar.start();
    wait("the job", || Step::Queued.reached(&sidecar, &crm, 0));
    let asked = Instant::now();
    sidecar.stop();
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    let said = sidecar.cli(&["status"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("was left at work"), "{said}");
    sidecar.start();
    sidecar.wait_until("everything is read", PATIENCE, is_loaded);
    settle(&mut sidecar, &postgres);
    sidecar.stop();
    assert_eq!(crm.get("writes?limit=1")["total"], 2_000);
}
