//! What the process may use up, of this machine (P7) and of the database's disk (P8).
//!
//! `SYNCLINE_ROWS=1000000` for the large transaction, best with `SYNCLINE_TEST_BINARY` on a release
//! build.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod support;

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::postgres::{Options, Postgres};
use support::sidecar::{Sidecar, lsn};

/// As much as the process may have of private memory.
const MEMORY: u64 = 256 << 20;

fn config(postgres: &Postgres) -> String {
    format!(
        r#"
[source]
url = "{}"
[destination]
kind = "discard"
[tables."public.item"]
object = "Item__c"
key = {{ column = "id", field = "Id__c" }}
on_delete = "delete"
"#,
        postgres.url("postgres"),
    )
}

fn running(status: &Value) -> bool {
    status["state"] == "running"
}

fn durable(status: &Value) -> u64 {
    status["source"]["durable_lsn"].as_str().map_or(0, lsn)
}

fn write_position(postgres: &Postgres) -> u64 {
    lsn(&postgres.psql("SELECT pg_current_wal_lsn()"))
}

/// The most memory that a process had resident, in bytes.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes << 10
}

#[test]
fn one_large_transaction_passes_in_little_memory() {
    let rows: i64 = std::env::var("SYNCLINE_ROWS")
        .map_or(200_000, |n| n.parse().expect("SYNCLINE_ROWS is no number"));
    let postgres = Postgres::start(Options::default());
    postgres.psql(
        "CREATE TABLE item (id bigint PRIMARY KEY, a text, b text, c int, d numeric, e timestamptz, \
         f boolean, g date, h uuid, i text, j float8, k text)",
    );
    let mut sidecar = Sidecar::new(&config(&postgres));
    // The kernel refuses more private memory than this, and the process would end.
    sidecar.under = vec!["prlimit".into(), format!("--data={MEMORY}")];
    sidecar.start();
    sidecar.wait_until("it runs", Duration::from_secs(20), running);
    let pid = sidecar.pid();
    let before = peak(pid);

    let started = Instant::now();
    postgres.psql(&format!(
        "INSERT INTO item SELECT n, 'name ' || n, md5(n::text), n % 1000, n / 7.0, now(), n % 2 = 0, \
         current_date, gen_random_uuid(), repeat('x', 40), n / 3.0, NULL FROM generate_series(1, {rows}) n"
    ));
    let (written, end) = (started.elapsed(), write_position(&postgres));
    sidecar.wait_until("it is through", Duration::from_secs(300), |s| {
        durable(s) >= end
    });
    let (took, after) = (started.elapsed(), peak(pid));
    eprintln!(
        "{rows} rows in one transaction: committed after {written:.1?}, durable after {took:.1?}; \
         at most {} MiB resident, {} MiB before",
        after >> 20,
        before >> 20
    );
    assert!(after < MEMORY, "{} MiB resident", after >> 20);
    sidecar.stop();
    assert_eq!(sidecar.stored().changes(), rows);
}

#[test]
fn the_slot_moves_while_only_other_tables_are_written() {
    let postgres = Postgres::start(Options::default());
    postgres.psql(
        "CREATE TABLE item (id bigint PRIMARY KEY, name text); CREATE TABLE noise (text text)",
    );
    let mut sidecar = Sidecar::new(&config(&postgres));
    sidecar.start();
    sidecar.wait_until("it runs", Duration::from_secs(20), running);
    postgres.psql("INSERT INTO item VALUES (1, 'the only one')");

    let slot = || {
        let row = postgres.psql(
            "SELECT restart_lsn, confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'syncline'",
        );
        let (restart, confirmed) = row.split_once('|').unwrap();
        (lsn(restart), lsn(confirmed))
    };
    let first = slot();
    let start = write_position(&postgres);
    // 40 MiB and more than two WAL segments, none of it for us.
    for _ in 0..8 {
        postgres.psql(
            "INSERT INTO noise SELECT repeat(md5(n::text), 20) FROM generate_series(1, 7000) n",
        );
        sleep(Duration::from_millis(100));
    }
    let end = write_position(&postgres);
    assert!(end - start > 32 << 20, "too little was written to tell");
    // A checkpoint says which transactions run: only there can a slot give WAL back.
    postgres.psql("CHECKPOINT");
    sidecar.wait_until(
        "the idle position is durable",
        Duration::from_secs(10),
        |s| {
            durable(s) >= end
                && s["source"]["in_work_bytes"]
                    .as_u64()
                    .is_some_and(|n| n < 1 << 20)
        },
    );
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (restart, confirmed) = slot();
        if confirmed >= end && restart >= end {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "the slot keeps {} KiB and is confirmed {} KiB behind {end:X}; it began at {first:X?}\n{}",
            write_position(&postgres).saturating_sub(restart) >> 10,
            end.saturating_sub(confirmed) >> 10,
            sidecar.tail()
        );
        sleep(Duration::from_millis(100));
    }
    sidecar.stop();
    let stored = sidecar.stored();
    assert_eq!(stored.changes(), 1);
    assert!(stored.progress.checkpoint.0 >= end);
}

/// Reporting an idle position must not run ahead of a transaction that has begun and not committed.
#[test]
fn an_open_transaction_is_not_passed_by() {
    let postgres = Postgres::start(Options::default());
    postgres.psql(
        "CREATE TABLE item (id bigint PRIMARY KEY, name text); CREATE TABLE noise (text text)",
    );
    let mut sidecar = Sidecar::new(&config(&postgres));
    sidecar.start();
    sidecar.wait_until("it runs", Duration::from_secs(20), running);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let client = runtime.block_on(async {
        let url = postgres.url("postgres");
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        client
    });
    let run = |sql: &str| runtime.block_on(client.batch_execute(sql)).unwrap();
    run("BEGIN; INSERT INTO item SELECT n, 'early' FROM generate_series(1, 1000) n");
    postgres
        .psql("INSERT INTO noise SELECT repeat(md5(n::text), 20) FROM generate_series(1, 7000) n");
    let end = write_position(&postgres);
    sidecar.wait_until("others' WAL passes by", Duration::from_secs(10), |s| {
        durable(s) >= end
    });
    sidecar.kill();
    sidecar.start();
    sidecar.wait_until("it runs", Duration::from_secs(20), running);
    run("COMMIT");
    let end = write_position(&postgres);
    sidecar.wait_until("the commit is durable", Duration::from_secs(10), |s| {
        durable(s) >= end
    });
    sidecar.stop();
    assert_eq!(sidecar.stored().changes(), 1_000);
}
