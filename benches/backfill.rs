//! Existing rows beside live changes: `cargo bench --bench backfill`.
//!
//! A table of 1,000,000 rows is read by the connector into `discard` (its state in sled) while 500
//! changes a second of the same table stream. The lag of the live changes is measured before, during
//! and after, in one run of one process, and at the end it is checked that nothing was lost:
//! everything is counted, and a second backfill of the quiet table finds nothing to send.
//!
//! A change's lag runs from before its statement is sent to Postgres until the connector has made its
//! verdict durable. Each change tells its place in the WAL in itself, and the connector's process
//! notes when its durable position moves past what; both read the same clock.
//!
//! `SYNCLINE_BENCH_ROWS` (1,000,000), `SYNCLINE_BENCH_RATE` (500 changes a second),
//! `SYNCLINE_BENCH_SECONDS` (20, before and after), `SYNCLINE_BENCH_CONFIG`: more configuration. See
//! docs/benchmarks.md.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command as Process, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use support::postgres::{Options, Postgres, SUPERUSER};
use syncline::change::{Lsn, Verdict};
use syncline::config::Config;
use syncline::store::{self, Job, Store};
use syncline::supervisor::command::Command;
use syncline::supervisor::start;
use tokio::sync::{oneshot, watch};

/// Tells a process that it is the connector: the server's URL.
const URL: &str = "SYNCLINE_BENCH_URL";
const TABLE: &str = "public.customer";

fn main() {
    match std::env::var(URL) {
        Ok(url) => connector(&url),
        Err(_) => measure(),
    }
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| {
        let parsed = text.parse().ok();
        parsed.unwrap_or_else(|| panic!("{name} cannot be {text:?}"))
    })
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap().as_micros()).unwrap()
}

fn measure() {
    let rows: u64 = setting("SYNCLINE_BENCH_ROWS", 1_000_000);
    let rate: u64 = setting("SYNCLINE_BENCH_RATE", 500);
    let beside = Duration::from_secs(setting("SYNCLINE_BENCH_SECONDS", 20));
    let server = Postgres::start(
        Options::default()
            .with("shared_buffers", "256MB")
            .with("max_wal_size", "16GB")
            .with("autovacuum", "off"),
    );
    fill(&server, rows);
    let state = tempfile::tempdir().unwrap();
    let mut connector = Connector::start(&server, state.path());
    let load = Load::start(&server.url(SUPERUSER), rows, rate);
    // Connections are made, caches filled.
    sleep(Duration::from_secs(3));
    let mut phases = vec![("without, before", now())];
    sleep(beside);
    let idle_peak = connector.peak_kib();
    phases.push(("with", now()));
    let begun = Instant::now();
    let first = connector.backfill();
    let seconds = begun.elapsed().as_secs_f64();
    let peak = connector.peak_kib();
    phases.push(("without, after", now()));
    sleep(beside);
    phases.push(("", now()));
    let changes = load.stop();
    let end: Lsn = server
        .psql("SELECT pg_current_wal_insert_lsn()")
        .parse()
        .unwrap();
    server.psql("SELECT pg_logical_emit_message(true, 'end', '')");
    connector.reached(end);
    // Nobody writes any more: what has been sent of each row is compared with the row.
    let second = connector.backfill();
    let (applied, merged, durable) = connector.end();

    println!("{rows} rows of 12 columns, {rate} changes a second beside them\n");
    println!("                  changes  per second   median      p99      max (ms)");
    for pair in phases.windows(2) {
        let (name, from, until) = (pair[0].0, pair[0].1, pair[1].1);
        let mut lags: Vec<f64> = changes
            .iter()
            .filter(|c| (from..until).contains(&c.sent))
            .map(|c| lag(&durable, c))
            .collect();
        lags.sort_by(f64::total_cmp);
        println!(
            "{name:<16} {:>8} {:>11.0} {:>8.1} {:>8.1} {:>8.1}",
            lags.len(),
            lags.len() as f64 / ((until - from) as f64 / 1e6),
            quantile(&lags, 0.5),
            quantile(&lags, 0.99),
            quantile(&lags, 1.0),
        );
    }
    println!();
    println!(
        "backfill: {seconds:.1} s, {:.0} rows/s, {} pages; peak memory {:.1} MiB (before it {:.1} MiB)",
        rows as f64 / seconds,
        first.pages,
        peak as f64 / 1024.0,
        idle_peak as f64 / 1024.0,
    );
    println!("first:  {:?}", first.rows);
    println!("second: {:?}", second.rows);
    println!(
        "{} changes committed; {applied} applied, {merged} merged into a later one of the same window",
        changes.len()
    );
    for (job, what) in [(&first, "the first"), (&second, "the second")] {
        assert_eq!(
            job.rows.read, rows,
            "{what} backfill did not read every row"
        );
    }
    let counts = first.rows;
    assert_eq!(counts.written + counts.unchanged + counts.overtaken, rows);
    assert_eq!(applied + merged, changes.len() as i64, "P1");
    assert_eq!(
        second.rows.unchanged, rows,
        "something sent differs from its row"
    );
}

fn fill(server: &Postgres, rows: u64) {
    server.psql(
        "CREATE TABLE customer (
             id bigint PRIMARY KEY, company integer, score smallint, name text NOT NULL,
             email varchar(120), city text, balance numeric(12,2), active boolean, token uuid,
             born date, created_at timestamptz, visits integer)",
    );
    server.psql(&format!(
        "INSERT INTO customer SELECT
             n, n % 5000, n % 100, 'Customer number ' || n, 'customer' || n || '@example.com',
             CASE n % 4 WHEN 0 THEN 'Berlin' WHEN 1 THEN 'Ouagadougou' WHEN 2 THEN NULL ELSE 'Rio' END,
             (n % 1000000) / 7.0, n % 3 = 0, gen_random_uuid(), date '1950-01-01' + (n % 20000)::int,
             timestamptz '2020-01-01' + n * interval '17 seconds', n % 1000
         FROM generate_series(1, {rows}) n"
    ));
    server.psql("CREATE PUBLICATION backlog FOR TABLE customer");
    server.psql("VACUUM ANALYZE customer");
    server.psql("CHECKPOINT");
}

/// Milliseconds until the change was durable.
fn lag(durable: &[(Lsn, u64)], change: &Change) -> f64 {
    let first = durable.partition_point(|(lsn, _)| *lsn <= change.place);
    let (_, at) = durable[first];
    at.saturating_sub(change.sent) as f64 / 1e3
}

/// Of sorted figures.
fn quantile(of: &[f64], q: f64) -> f64 {
    let place = (of.len().saturating_sub(1)) as f64 * q;
    of.get(place.round() as usize).copied().unwrap_or(f64::NAN)
}

struct Change {
    /// When its statement was sent, in microseconds.
    sent: u64,
    /// A place inside of it: its commit record lies behind.
    place: Lsn,
}

/// Changes of random rows, each a transaction, at a steady rate: when one takes longer, the next ones
/// follow at once.
struct Load {
    ends: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<Change>>,
}

impl Load {
    fn start(url: &str, rows: u64, rate: u64) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (until, url) = (Arc::clone(&ends), url.to_owned());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(write(&url, rows, rate, &until))
        });
        Load { ends, thread }
    }

    fn stop(self) -> Vec<Change> {
        self.ends.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

async fn write(url: &str, rows: u64, rate: u64, ends: &AtomicBool) -> Vec<Change> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let update = client
        .prepare(
            "WITH changed AS (UPDATE customer SET visits = visits + 1, score = $2 WHERE id = $1 RETURNING 1)
             SELECT pg_current_wal_insert_lsn()::text FROM changed",
        )
        .await
        .unwrap();
    let mut changes = Vec::new();
    let mut next = tokio::time::Instant::now();
    while !ends.load(Ordering::SeqCst) {
        next += Duration::from_nanos(1_000_000_000 / rate);
        tokio::time::sleep_until(next).await;
        let id = (rand::random::<u64>() % rows) as i64 + 1;
        let score = rand::random::<i16>();
        let sent = now();
        let row = client.query_one(&update, &[&id, &score]).await.unwrap();
        let place = row.get::<_, &str>(0).parse().unwrap();
        changes.push(Change { sent, place });
    }
    changes
}

/// The connector, seen from outside. Its process is told a word a line and answers with lines.
struct Connector {
    child: Child,
    tell: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Connector {
    fn start(server: &Postgres, state: &std::path::Path) -> Self {
        let mut child = Process::new(std::env::current_exe().unwrap())
            .env(URL, server.url(SUPERUSER))
            .env("SYNCLINE_BENCH_STATE", state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let tell = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut connector = Connector {
            child,
            tell,
            answers,
        };
        assert_eq!(connector.answer(), "started");
        connector
    }

    fn answer(&mut self) -> String {
        self.answers
            .next()
            .expect("the connector has ended")
            .unwrap()
    }

    fn backfill(&mut self) -> Ended {
        writeln!(self.tell, "backfill").unwrap();
        let pages = self.answer().parse().unwrap();
        let rows = serde_json::from_str(&self.answer()).unwrap();
        Ended { pages, rows }
    }

    fn reached(&mut self, lsn: Lsn) {
        writeln!(self.tell, "reach {lsn}").unwrap();
        assert_eq!(self.answer(), "reached");
    }

    fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let number = line.unwrap().split_whitespace().next().unwrap();
        number.parse().unwrap()
    }

    /// Ends it: changes applied and merged, and when its durable position was where.
    fn end(mut self) -> (i64, i64, Vec<(Lsn, u64)>) {
        writeln!(self.tell, "end").unwrap();
        let applied = self.answer().parse().unwrap();
        let merged = self.answer().parse().unwrap();
        let mut durable = Vec::new();
        while let Some(Ok(line)) = self.answers.next() {
            let (lsn, at) = line.split_once(' ').unwrap();
            durable.push((lsn.parse().unwrap(), at.parse().unwrap()));
        }
        assert!(self.child.wait().unwrap().success(), "the connector failed");
        (applied, merged, durable)
    }
}

/// A backfill that has ended.
struct Ended {
    pages: u64,
    rows: store::Rowcount,
}

/// The connector, in a process of its own.
fn connector(url: &str) {
    let config: Config = toml::from_str(&format!(
        r#"
        source.url = "{url}"
        source.slot = "backlog"
        source.publication = "backlog"
        destination.kind = "discard"
        backfill.first_load = false
        {}
        [tables."{TABLE}"]
        object = "Contact"
        key = {{ column = "id", field = "Customer_Id__c" }}
        on_delete = "delete"
        "#,
        setting("SYNCLINE_BENCH_CONFIG", String::new()),
    ))
    .unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let durable = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&durable);
    runtime.block_on(async {
        let state = std::env::var("SYNCLINE_BENCH_STATE").unwrap();
        let store: Arc<dyn Store> = Arc::new(store::open(state.as_ref()).await.unwrap());
        let (stop, stopping) = watch::channel(false);
        let started = move |handle: start::Handle| {
            let mut capture = handle.capture.clone();
            tokio::spawn(async move {
                let mut last = Lsn(0);
                while capture.changed().await.is_ok() {
                    let lsn = capture.borrow_and_update().lsns.durable;
                    if lsn > last {
                        last = lsn;
                        noted.lock().unwrap().push((lsn, now()));
                    }
                }
            });
            let runtime = tokio::runtime::Handle::current();
            std::thread::spawn(move || {
                println!("started");
                for line in std::io::stdin().lines() {
                    let line = line.unwrap();
                    match line.split_once(' ') {
                        None if line == "backfill" => runtime.block_on(backfill(&handle)),
                        Some(("reach", lsn)) => {
                            let lsn: Lsn = lsn.parse().unwrap();
                            let mut capture = handle.capture.clone();
                            let reached = capture.wait_for(|c| c.lsns.durable >= lsn);
                            drop(runtime.block_on(reached).unwrap());
                            println!("reached");
                        }
                        _ => break,
                    }
                }
                let status = handle.status.snapshot();
                println!("{}", status.total(Verdict::Applied));
                println!("{}", status.total(Verdict::Merged));
                stop.send(true).unwrap();
            });
        };
        start::run(&config, store, started, stopping).await.unwrap();
    });
    for (lsn, at) in durable.lock().unwrap().iter() {
        println!("{lsn} {at}");
    }
}

async fn backfill(handle: &start::Handle) {
    let (reply, answer) = oneshot::channel();
    let wish = Command::Backfill {
        table: TABLE.into(),
        column: None,
        filter: None,
        reply,
    };
    handle.commands.send(wish).await.unwrap();
    answer.await.unwrap().unwrap();
    let ended: Job = loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let snapshot = handle.status.snapshot();
        let of = snapshot.backfills.into_iter().find(|p| p.table == TABLE);
        match of {
            Some(of) if of.job.is_none() && of.queued.is_empty() => {
                match of.ended.into_iter().next() {
                    Some(last) => break last,
                    None => continue,
                }
            }
            _ => continue,
        }
    };
    println!("{}", ended.pages);
    println!("{}", serde_json::to_string(&ended.rows).unwrap());
}
