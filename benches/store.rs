//! What the store costs a row: `cargo bench --bench store [memory|sled] [rows]`.
//!
//! Each store runs in a process of its own, so that the peak of resident memory is its own. Windows
//! of 2,000 records of 12 fingerprints: first a million new records in the order of their ids, then
//! as many updates of random ones, each window read (as delivery does) before it is settled.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use syncline::change::{Identity, Lsn, Position, Verdict};
use syncline::mapping::{FieldId, Fingerprint, ObjectId, RecordId};
use syncline::store::{self, Existence, LedgerEntry, Memory, Progress, Settlement, Store};

const WINDOW: u64 = 2_000;
const FIELDS: u32 = 12;
const OBJECT: ObjectId = ObjectId(0x5EED_0001);

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let which = arguments.next();
    let rows = arguments.next().map_or(1_000_000, |n| n.parse().unwrap());
    let Some(which) = which else {
        println!("store    load                  rows/s  reading  settling   file  peak memory");
        for which in ["memory", "sled"] {
            std::process::Command::new(std::env::current_exe().unwrap())
                .args([which, &rows.to_string()])
                .status()
                .unwrap();
        }
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        match which.as_str() {
            "memory" => run("memory", &Memory::new(), rows, || 0).await,
            "sled" => {
                let directory = tempfile::tempdir_in(".").unwrap();
                let store = store::open(directory.path()).await.unwrap();
                run("sled", &store, rows, || store.stats().file_bytes).await;
                store.close().await.unwrap();
                drop(store);
                let begin = Instant::now();
                let store = store::open(directory.path()).await.unwrap();
                println!("sled     reopened in {:.2?}", begin.elapsed());
                drop(store);
            }
            other => println!("no store is called {other}"),
        }
    });
}

async fn run(name: &str, store: &impl Store, rows: u64, file: impl Fn() -> u64) {
    let identity = Identity {
        system: "1".into(),
        timeline: 1,
        database: "bench".into(),
        slot: "bench".into(),
        publication: "bench".into(),
        consistent_point: Lsn(0),
    };
    store.bind(identity, Progress::default()).await.unwrap();
    let mut random = SmallRng::seed_from_u64(1);
    for (load, first) in [("sequential inserts", 0), ("random updates", rows)] {
        let mut reading = Duration::ZERO;
        let mut settling = Duration::ZERO;
        let begin = Instant::now();
        for window in (first..first + rows).step_by(WINDOW as usize) {
            let numbers = (window..window + WINDOW).map(|change| {
                let record = match first {
                    0 => change,
                    _ => random.random_range(0..rows),
                };
                (change, record)
            });
            let settlement = settlement(numbers);
            let records: Vec<RecordId> = settlement.ledger.iter().map(|(r, _)| r.clone()).collect();
            let start = Instant::now();
            store.records(&records).await.unwrap();
            reading += start.elapsed();
            let start = Instant::now();
            store.settle(settlement).await.unwrap();
            settling += start.elapsed();
        }
        let rate = |time: Duration| rows as f64 / time.as_secs_f64() / 1000.0;
        println!(
            "{name:8} {load:20} {:6.0}k  {:6.0}k   {:6.0}k {:4} MB  {}",
            rate(begin.elapsed()),
            rate(reading),
            rate(settling),
            file() >> 20,
            peak(),
        );
    }
}

fn settlement(changes: impl Iterator<Item = (u64, u64)>) -> Settlement {
    let mut settlement = Settlement::default();
    for (change, record) in changes {
        let commit = Lsn(0x16_0000_0000 + change * 300);
        let position = Position { commit, ordinal: 0 };
        settlement.progress = Progress {
            checkpoint: commit,
            settled: position,
        };
        let entry = LedgerEntry {
            position,
            existence: Existence::Live,
            crm_id: Some(format!("003{record:012}AAA").into()),
            fingerprints: (0..FIELDS)
                .map(|field| {
                    let value =
                        (change << 8 | u64::from(field)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                    (FieldId(field.wrapping_mul(0x85EB_CA6B)), Fingerprint(value))
                })
                .collect(),
            parents: Vec::new(),
            kept_fields: Vec::new(),
        };
        let record = RecordId {
            object: OBJECT,
            key: record.to_string().into(),
        };
        settlement.ledger.push((record, entry));
    }
    settlement
        .verdicts
        .insert(("public.customer".into(), Verdict::Applied), WINDOW as i64);
    settlement
}

/// Peak resident memory, as Linux tells it.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.unwrap_or("?").trim().to_owned()
}
