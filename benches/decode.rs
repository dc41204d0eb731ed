//! How long a row of 12 columns takes from its frame to its values.
//!
//! `cargo bench --bench decode` decodes a million rows in rounds of 20 000, and prints the best and
//! the median round in nanoseconds a row: on a busy machine only the best says something about the
//! code. A plain loop: the question is "how far below the budget", not "half a percent faster".
#![allow(clippy::unwrap_used, clippy::panic)]

use std::hint::black_box;
use std::time::Instant;

use syncline::capture::Frame;
use syncline::change::{Change, Column, Datum, Kind, Lsn, Relation, ReplicaIdentity, Timestamp};
use syncline::decode::encode::{self, Cell};
use syncline::decode::{Decoded, Decoder, Types, value};

/// Frames of one batch, as the socket task hands them over.
const BATCH: u32 = 1_000;
/// Batches of one round.
const BATCHES: u32 = 20;
const ROUNDS: u32 = 50;
const OID: u32 = 16_384;

/// Name and type oid of each column.
const COLUMNS: [(&str, u32); 12] = [
    ("id", 20),
    ("first_name", 25),
    ("last_name", 1043),
    ("email", 25),
    ("active", 16),
    ("age", 23),
    ("balance", 1700),
    ("score", 701),
    ("token", 2950),
    ("born", 1082),
    ("updated_at", 1184),
    ("notes", 25),
];

fn main() {
    let types = Types::default();
    let relation = Relation {
        oid: OID,
        schema: "public".into(),
        name: "customer".into(),
        identity: ReplicaIdentity::Default,
        columns: COLUMNS
            .iter()
            .map(|(name, type_oid)| Column {
                attnum: 0,
                name: (*name).into(),
                type_oid: *type_oid,
                typmod: -1,
                key: *name == "id",
                value_type: types.value_type(*type_oid),
            })
            .collect(),
    };
    let mut decoder = Decoder::new(types, Vec::new());
    send(&mut decoder, encode::begin(Lsn(0x100), Timestamp(0), 1));
    send(&mut decoder, encode::relation(&relation));

    let batch: Vec<Frame> = (0..BATCH).map(insert).collect();
    let bytes: usize = batch.iter().map(|frame| frame.payload.len()).sum();
    let (rows, bytes) = (ROUNDS * BATCHES * BATCH, bytes / BATCH as usize);
    println!("{rows} inserts of 12 columns, {bytes} bytes each; ns a row: best, median");
    let mut measure = |name: &str, read: fn(Change)| {
        let mut rounds: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let start = Instant::now();
                for _ in 0..BATCHES {
                    for frame in &batch {
                        match decoder.decode(frame) {
                            Ok(Some(Decoded::Change(change))) => read(change),
                            other => panic!("{other:?}"),
                        }
                    }
                }
                start.elapsed().as_nanos() as f64 / f64::from(BATCHES * BATCH)
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        let (best, median) = (rounds[0], rounds[rounds.len() / 2]);
        println!("{name:<22} {best:>6.0} {median:>6.0}");
    };
    measure("decode", |change| drop(black_box(change)));
    measure("decode and 12 values", |change| values(&change));
}

fn values(change: &Change) {
    let (Some(relation), Kind::Insert { new }) = (&change.relation, &change.kind) else {
        panic!("not an insert")
    };
    for (at, column) in relation.columns.iter().enumerate() {
        match new.get(at) {
            Datum::Text(text) => {
                black_box(value(&column.value_type, text).unwrap());
            }
            other => panic!("{other:?}"),
        }
    }
}

fn insert(row: u32) -> Frame {
    let id = (1_000_000_000 + row).to_string();
    let email = format!("person.{row}@example.com");
    let cells = [
        &*id,
        "Marguerite",
        "Oberholzer-Ørsted",
        &*email,
        "t",
        "42",
        "12345.67",
        "0.8231547",
        "6f2c1a9e-4b7d-4e0f-9a35-0c8d1e2f3a4b",
        "1984-02-29",
        "2024-01-01 12:34:56.789012+00",
        "Prefers to be called in the afternoon; second invoice still open.",
    ];
    let payload = encode::insert(OID, &cells.map(Cell::Text));
    Frame {
        lsn: Lsn(0x200),
        payload,
    }
}

fn send(decoder: &mut Decoder, payload: bytes::Bytes) {
    let lsn = Lsn(0x100);
    decoder.decode(&Frame { lsn, payload }).unwrap();
}
