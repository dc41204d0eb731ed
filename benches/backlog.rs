//! The whole path against a real server: `cargo bench --bench backlog`.
//!
//! Drains one backlog of small inserts, written in transactions of 100 rows, from a slot of its own
//! each time: by `pg_recvlogical` into `/dev/null`, and by the connector into `discard` with its
//! state in sled and in memory. Every reader runs in a process of its own, so that its CPU time and
//! its peak of resident memory are its own; readers take turns, and ratios are formed within a round.
//!
//! `SYNCLINE_BENCH_ROWS` (1,000,000), `SYNCLINE_BENCH_ROUNDS` (3), `SYNCLINE_BENCH_READERS`
//! (`pg_recvlogical,sled,memory`), `SYNCLINE_BENCH_CONFIG`: more configuration, such as
//! `delivery.max_rows = 5000`, and `SYNCLINE_BENCH_WRAP`: a command under which the connector runs,
//! such as `perf record -g -o /tmp/perf.data --`. See docs/benchmarks.md.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::postgres::{Options, Postgres, SUPERUSER};
use syncline::change::{Lsn, Verdict};
use syncline::config::Config;
use syncline::store::{self, Memory, Store};
use syncline::supervisor::start;
use tokio::sync::watch;

const TRANSACTION: u64 = 100;
/// Slot at the beginning of the backlog; every reader gets a copy of it.
const ORIGIN: &str = "origin";
const PLAIN: &str = "pg_recvlogical";
/// Tells a process that it is a reader: the end of the backlog.
const UNTIL: &str = "SYNCLINE_BENCH_UNTIL";

fn main() {
    match std::env::var(UNTIL) {
        Ok(until) => connector(until.parse().unwrap()),
        Err(_) => compare(),
    }
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| {
        let parsed = text.parse().ok();
        parsed.unwrap_or_else(|| panic!("{name} cannot be {text:?}"))
    })
}

/// What one reader took.
#[derive(Clone, Copy, Debug)]
struct Run {
    seconds: f64,
    cpu: f64,
    server_cpu: f64,
    peak_kib: u64,
}

fn compare() {
    let rows: u64 = setting("SYNCLINE_BENCH_ROWS", 1_000_000);
    let rounds: usize = setting("SYNCLINE_BENCH_ROUNDS", 3);
    let readers = setting("SYNCLINE_BENCH_READERS", format!("{PLAIN},sled,memory"));
    let readers: Vec<&str> = readers.split(',').collect();
    let server = Postgres::start(
        Options::default()
            .with("shared_buffers", "256MB")
            .with("max_wal_size", "16GB")
            .with("autovacuum", "off"),
    );
    let begun = Instant::now();
    let backlog = Backlog::write(&server, rows);
    println!(
        "{rows} rows in transactions of {TRANSACTION}: {} MB of WAL, written in {:.1} s",
        backlog.wal_bytes >> 20,
        begun.elapsed().as_secs_f64()
    );
    // Whoever comes first must not be the one who reads the WAL from the disk.
    let warm = backlog.drain(&server, PLAIN);
    println!("(to warm up: {PLAIN} in {:.2} s)", warm.seconds);

    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); readers.len()];
    for round in 0..rounds {
        for turn in 0..readers.len() {
            let who = (round + turn) % readers.len();
            let run = backlog.drain(&server, readers[who]);
            println!(
                "round {} {:<14} {:>6.2} s",
                round + 1,
                readers[who],
                run.seconds
            );
            runs[who].push(run);
        }
    }
    println!();
    println!("reader          rows/s   ratio  CPU s  server CPU s  peak memory");
    let plain = readers.iter().position(|r| *r == PLAIN);
    for (who, reader) in readers.iter().enumerate() {
        let of = |what: fn(&Run) -> f64| median(runs[who].iter().map(what).collect());
        let ratios = plain.map(|plain| {
            let pairs = runs[plain].iter().zip(&runs[who]);
            median(pairs.map(|(p, r)| p.seconds / r.seconds).collect())
        });
        println!(
            "{reader:<14} {:>7.0}  {:>6} {:>6.2} {:>13.2} {:>8.1} MiB",
            rows as f64 / of(|r| r.seconds),
            ratios.map_or("-".into(), |r| format!("{r:.2}")),
            of(|r| r.cpu),
            of(|r| r.server_cpu),
            of(|r| r.peak_kib as f64) / 1024.0,
        );
    }
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    let middle = of.len() / 2;
    match of.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => of[middle],
        _ => (of[middle - 1] + of[middle]) / 2.0,
    }
}

struct Backlog {
    rows: u64,
    /// Inside of the last transaction: reached when that is.
    until: Lsn,
    wal_bytes: u64,
}

impl Backlog {
    fn write(server: &Postgres, rows: u64) -> Self {
        server.psql(
            "CREATE TABLE customer (
                 id bigint PRIMARY KEY, company integer, score smallint, name text NOT NULL,
                 email varchar(120), city text, balance numeric(12,2), active boolean, token uuid,
                 born date, created_at timestamptz, visits integer)",
        );
        server.psql("CREATE PUBLICATION backlog FOR TABLE customer");
        server.psql(&format!(
            "SELECT pg_create_logical_replication_slot('{ORIGIN}', 'pgoutput')"
        ));
        let insert = "INSERT INTO customer SELECT
                 n, n % 5000, n % 100, 'Customer number ' || n, 'customer' || n || '@example.com',
                 CASE n % 4 WHEN 0 THEN 'Berlin' WHEN 1 THEN 'Ouagadougou' WHEN 2 THEN NULL ELSE 'Rio' END,
                 (n % 1000000) / 7.0, n % 3 = 0, gen_random_uuid(), date '1950-01-01' + (n % 20000)::int,
                 timestamptz '2020-01-01' + n * interval '17 seconds', n % 1000";
        server.psql(&format!(
            "CREATE PROCEDURE fill(total bigint) LANGUAGE plpgsql AS $$
             BEGIN
                 FOR start IN 1..total BY {TRANSACTION} LOOP
                     {insert} FROM generate_series(start, least(start + {TRANSACTION} - 1, total)) n;
                     COMMIT;
                 END LOOP;
             END $$"
        ));
        let before = lsn(&server.psql("SELECT pg_current_wal_insert_lsn()"));
        let first = rows.saturating_sub(TRANSACTION);
        server.psql(&format!("CALL fill({first})"));
        // The last transaction tells a position in itself, which its commit record lies behind.
        let until = lsn(&server.psql(&format!(
            "{insert} FROM generate_series({}, {rows}) n; SELECT pg_current_wal_insert_lsn()",
            first + 1
        )));
        server.psql("CHECKPOINT");
        Backlog {
            rows,
            until,
            wal_bytes: until.0 - before.0,
        }
    }

    fn drain(&self, server: &Postgres, reader: &str) -> Run {
        let slot = format!("for_{reader}");
        server.psql(&format!(
            "SELECT pg_copy_logical_replication_slot('{ORIGIN}', '{slot}')"
        ));
        let state = tempfile::tempdir().unwrap();
        let mut command = match reader {
            PLAIN => self.plain(server, &slot),
            store => self.connector(server, &slot, store, state.path()),
        };
        let server_before = ended_children_cpu(&postmaster(server));
        let before = ended_children_cpu("self");
        let begun = Instant::now();
        let child = command.stdin(Stdio::piped()).spawn().unwrap();
        let (seconds, peak_kib) = match reader {
            PLAIN => watch_plain(child, begun),
            _ => watch_connector(child, begun, self.rows),
        };
        let cpu = ended_children_cpu("self") - before;
        // Its backend ends a moment after the client.
        let active = format!(
            "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{slot}' AND active"
        );
        while server.psql(&active) != "0" {
            sleep(Duration::from_millis(10));
        }
        let server_cpu = ended_children_cpu(&postmaster(server)) - server_before;
        server.psql(&format!("SELECT pg_drop_replication_slot('{slot}')"));
        Run {
            seconds,
            cpu,
            server_cpu,
            peak_kib,
        }
    }

    fn plain(&self, server: &Postgres, slot: &str) -> Command {
        let mut command = Command::new(PLAIN);
        command
            .args([
                "--dbname",
                &server.url(SUPERUSER),
                "--slot",
                slot,
                "--start",
            ])
            .args(["--option", "proto_version=1"])
            .args(["--option", "publication_names=backlog"])
            .args(["--file", "/dev/null", "--endpos", &self.until.to_string()]);
        command
    }

    fn connector(
        &self,
        server: &Postgres,
        slot: &str,
        store: &str,
        state: &std::path::Path,
    ) -> Command {
        let wrap = setting("SYNCLINE_BENCH_WRAP", String::new());
        let mut words = wrap.split_whitespace().map(std::ffi::OsString::from);
        let own = std::env::current_exe().unwrap().into_os_string();
        let mut command = match words.next() {
            None => Command::new(own),
            Some(wrapper) => {
                let mut command = Command::new(wrapper);
                command.args(words).arg(own);
                command
            }
        };
        command
            .env(UNTIL, self.until.to_string())
            .env("SYNCLINE_BENCH_STORE", store)
            .env("SYNCLINE_BENCH_URL", server.url(SUPERUSER))
            .env("SYNCLINE_BENCH_SLOT", slot)
            .env("SYNCLINE_BENCH_STATE", state)
            .stdout(Stdio::piped());
        command
    }
}

fn lsn(text: &str) -> Lsn {
    text.lines().last().unwrap().parse().unwrap()
}

/// Seconds until it has ended, and the peak of its memory in KiB.
fn watch_plain(mut child: Child, begun: Instant) -> (f64, u64) {
    let mut peak = 0;
    loop {
        peak = peak_kib(child.id()).unwrap_or(peak);
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{PLAIN} failed");
            return (begun.elapsed().as_secs_f64(), peak);
        }
        sleep(Duration::from_millis(2));
    }
}

/// Seconds until everything is durable (not until it has ended, which may take a last flush).
fn watch_connector(mut child: Child, begun: Instant, rows: u64) -> (f64, u64) {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let applied: u64 = lines.next().unwrap().unwrap().parse().unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(applied, rows, "not every row has been applied");
    let pid: u32 = lines.next().unwrap().unwrap().parse().unwrap();
    let peak = peak_kib(pid).unwrap_or_default();
    writeln!(child.stdin.take().unwrap(), "end").unwrap();
    assert!(child.wait().unwrap().success(), "the connector failed");
    (seconds, peak)
}

fn peak_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn postmaster(server: &Postgres) -> String {
    let file = server.socket_dir().join("data/postmaster.pid");
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().next().unwrap().trim().to_owned()
}

/// Seconds of CPU that a process's children took, of those that have ended.
fn ended_children_cpu(pid: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Fields are counted behind the name, which may hold anything.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(13).take(2);
    let ticks: u64 = ticks.map(|t| t.parse::<u64>().unwrap()).sum();
    ticks as f64 / 100.0
}

/// The connector, in a process of its own.
fn connector(until: Lsn) {
    let env = |name: &str| std::env::var(name).unwrap();
    let config: Config = toml::from_str(&format!(
        r#"
        source.url = "{}"
        source.slot = "{}"
        source.publication = "backlog"
        destination.kind = "discard"
        {}
        [tables."public.customer"]
        object = "Contact"
        key = {{ column = "id", field = "Customer_Id__c" }}
        on_delete = "delete"
        "#,
        env("SYNCLINE_BENCH_URL"),
        env("SYNCLINE_BENCH_SLOT"),
        setting("SYNCLINE_BENCH_CONFIG", String::new()),
    ))
    .unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store: Arc<dyn Store> = match env("SYNCLINE_BENCH_STORE").as_str() {
            "memory" => Arc::new(Memory::new()),
            "sled" => Arc::new(
                store::open(env("SYNCLINE_BENCH_STATE").as_ref())
                    .await
                    .unwrap(),
            ),
            other => panic!("no reader is called {other}"),
        };
        let (stop, stopping) = watch::channel(false);
        let started = move |handle: start::Handle| {
            tokio::spawn(async move {
                let mut capture = handle.capture.clone();
                let reached = capture.wait_for(|c| c.lsns.durable >= until).await;
                drop(reached.unwrap());
                println!("{}", handle.status.snapshot().total(Verdict::Applied));
                println!("{}", std::process::id());
                // Its memory is looked at before it goes.
                let waited = tokio::task::spawn_blocking(|| {
                    std::io::stdin().read_line(&mut String::new()).unwrap()
                });
                waited.await.unwrap();
                stop.send(true).unwrap();
            });
        };
        start::run(&config, store, started, stopping).await.unwrap();
    });
}
