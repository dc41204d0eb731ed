//! What changes cost in API calls, on the CRM's own counter.
//!
//! `cargo test --release --test calls -- --nocapture --ignored` measures and prints a table;
//! `SYNCLINE_CALLS=a,b` only some. Each measurement runs the process against a real database and the
//! sandbox, with `delivery.linger = "5s"`, in real time: nothing is accelerated, only the number of
//! records is small.
//!
//! The lower bound is what a client needs that packs every request full and writes each record once in
//! each stretch of the linger: the distinct records changed in it, divided by 200. Where all changes
//! come at once (a, d) that is the distinct records of the whole measurement.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub
)]

mod support;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use support::crm::{Crm, EXTERNAL_ID};
use support::postgres::{Options, Postgres};
use support::sidecar::{Sidecar, lsn};

const PATIENCE: Duration = Duration::from_secs(300);
/// Records in a request.
const FULL: f64 = 200.0;
const LINGER: Duration = Duration::from_secs(5);

struct World {
    postgres: Postgres,
    crm: Crm,
    sidecar: Sidecar,
}

/// What a measurement came to.
struct Cost {
    what: &'static str,
    changes: u64,
    calls: u64,
    bound: f64,
    kinds: String,
}

impl Cost {
    fn ratio(&self) -> f64 {
        self.calls as f64 / self.bound.max(1.0)
    }

    fn print(&self) {
        let per_thousand = self.calls as f64 * 1_000.0 / self.changes as f64;
        println!(
            "{:<52} {:>8} changes {:>6} calls ({per_thousand:>6.2} per 1,000; one a change: {}; bound {:.1}, {:.2} x)  {}",
            self.what,
            self.changes,
            self.calls,
            self.changes,
            self.bound,
            self.ratio(),
            self.kinds
        );
    }
}

impl World {
    /// With so many rows, loaded.
    fn new(rows: u64, name_rule: &str, bulk: &str) -> World {
        let postgres = Postgres::start(Options::default());
        postgres.psql(&format!(
            "CREATE TABLE company (id int PRIMARY KEY, name text NOT NULL, size int NOT NULL, note text); \
             INSERT INTO company SELECT n, 'company ' || n, 0, '' FROM generate_series(1, {rows}) n"
        ));
        let crm = Crm::start(None);
        crm.put("fields/Account/Ext_Id__c", EXTERNAL_ID);
        let number = r#"{"type":"Number","label":"N","precision":10,"scale":0}"#;
        crm.put("fields/Account/Size__c", number);
        let mut sidecar = Sidecar::new(&format!(
            r#"
[source]
url = "{}"
[destination]
kind = "salesforce"
url = "{}"
client_id = "sandbox"
client_secret = "sandbox"
requests_per_second = 1000
[delivery]
linger = "{}s"
[bulk]
mode = "{bulk}"
[watch]
catalog = "1h"
crm = "1h"
[tables."public.company"]
object = "Account"
key = {{ column = "id", field = "Ext_Id__c" }}
on_delete = "delete"
columns.name = {name_rule}
columns.size = "Size__c"
columns.note = {{ ignore = true }}
"#,
            postgres.url("postgres"),
            crm.url(),
            LINGER.as_secs()
        ));
        sidecar.start();
        sidecar.wait_until("it is loaded", PATIENCE, |s| {
            s["backfills"][0]["state"] == "loaded" && s["lag_seconds"] == 0.0
        });
        let mut world = World {
            postgres,
            crm,
            sidecar,
        };
        world.through();
        world
    }

    fn through(&mut self) {
        let end = lsn(&self.postgres.psql("SELECT pg_current_wal_lsn()"));
        self.sidecar.wait_until("it is through", PATIENCE, |s| {
            s["source"]["durable_lsn"].as_str().map_or(0, lsn) >= end && s["lag_seconds"] == 0.0
        });
    }

    /// What the work costs.
    fn measure(&mut self, what: &'static str, work: impl FnOnce(&Postgres) -> (u64, f64)) -> Cost {
        self.crm.tell(reqwest::Method::DELETE, "counters", "");
        let (changes, bound) = work(&self.postgres);
        self.through();
        let counters = self.crm.get("counters");
        let kinds = counters["by_kind"].as_object().unwrap();
        let kinds: Vec<String> = kinds
            .iter()
            .map(|(kind, n)| format!("{kind} {}", n["calls"]))
            .collect();
        let cost = Cost {
            what,
            changes,
            calls: counters["charged"].as_u64().unwrap(),
            bound,
            kinds: kinds.join(", "),
        };
        cost.print();
        cost
    }

    fn end(mut self) {
        self.sidecar.stop();
    }
}

fn wanted(name: &str) -> bool {
    std::env::var("SYNCLINE_CALLS").map_or(true, |names| names.split(',').any(|n| n == name))
}

/// (a) 40,000 cold rows, each changed once, in transactions of 10,000.
fn cold(what: &'static str, bulk: &str) {
    let mut world = World::new(40_000, r#""Name""#, bulk);
    let cost = world.measure(what, |db| {
        for part in 0..4 {
            let from = part * 10_000;
            db.psql(&format!(
                "UPDATE company SET size = size + 1 WHERE id > {from} AND id <= {}",
                from + 10_000
            ));
        }
        (40_000, 40_000.0 / FULL)
    });
    assert!(cost.ratio() <= 1.3, "{:.2}", cost.ratio());
    world.end();
}

/// (b) 1,000 hot rows, each changed ten times a minute, for so many seconds.
fn hot(seconds: u32) {
    let ticks = seconds * 10;
    let mut world = World::new(1_000, r#""Name""#, "auto");
    let cost = world.measure("(b) hot rows, 10 changes a record a minute", |db| {
        // The server keeps the pace itself.
        let begin = Instant::now();
        db.psql(&format!(
            "DO $$ DECLARE began timestamptz := clock_timestamp(); BEGIN \
             FOR tick IN 0..{} LOOP \
               PERFORM pg_sleep(GREATEST(0, extract(epoch FROM \
                 began + tick * interval '100 ms' - clock_timestamp()))); \
               UPDATE company SET size = size + 1 WHERE id % 60 = tick % 60; \
               COMMIT; \
             END LOOP; END $$",
            ticks - 1
        ));
        let all = Duration::from_secs(u64::from(seconds));
        let late = begin.elapsed().saturating_sub(all);
        assert!(
            late < Duration::from_secs(6),
            "the machine is too slow: {late:?}"
        );
        let (mut changes, mut bound) = (0, 0.0);
        let mut stretch: HashSet<u64> = HashSet::new();
        let mut stretch_ends = LINGER;
        // A row's turn comes every 60th tick of a tenth of a second.
        for tick in 0..ticks {
            let due = Duration::from_millis(100) * tick;
            if due >= stretch_ends {
                bound += stretch.len() as f64 / FULL;
                stretch.clear();
                stretch_ends += LINGER;
            }
            let turn = tick % 60;
            let rows = (1..=1_000_u64).filter(|id| id % 60 == u64::from(turn));
            for id in rows {
                changes += 1;
                stretch.insert(id);
            }
        }
        bound += stretch.len() as f64 / FULL;
        (changes, bound)
    });
    assert!(cost.ratio() <= 1.3, "{:.2}", cost.ratio());
    world.end();
}

/// (c) 20,000 updates that touch nothing that is mapped.
fn unmapped() {
    let mut world = World::new(2_000, r#""Name""#, "auto");
    let cost = world.measure("(c) updates of unmapped columns only", |db| {
        for round in 0..10 {
            db.psql(&format!("UPDATE company SET note = 'note {round}'"));
        }
        (20_000, 0.0)
    });
    assert_eq!(cost.calls, 0);
    world.end();
}

/// (d) 60 % updates, 35 % inserts, 5 % deletes over 100,000 keys, in transactions of 100.
fn mixed(what: &'static str, name_rule: &str) {
    let keys = 100_000_u64;
    let mut world = World::new(keys * 6 / 10, name_rule, "auto");
    world.measure(what, |db| {
        let mut random = SmallRng::seed_from_u64(7);
        let mut here: Vec<u64> = (1..=keys * 6 / 10).collect();
        let mut gone: Vec<u64> = (keys * 6 / 10 + 1..=keys).collect();
        let mut touched = HashSet::new();
        let mut changes = 0;
        while changes < 40_000 {
            let mut sql = String::from("BEGIN;");
            for _ in 0..100 {
                let dice = random.random_range(0..100);
                let (from, to, verb) = match dice {
                    0..60 => (&mut here, None, "update"),
                    60..95 => (&mut gone, Some(&mut here), "insert"),
                    _ => (&mut here, Some(&mut gone), "delete"),
                };
                if from.is_empty() {
                    continue;
                }
                let place = random.random_range(0..from.len());
                let id = match to {
                    None => from[place],
                    Some(to) => {
                        let id = from.swap_remove(place);
                        to.push(id);
                        id
                    }
                };
                let n = random.random_range(1..1_000_000);
                sql.push_str(&match verb {
                    "update" => format!(
                        "UPDATE company SET size = {n}, name = 'company {n}' WHERE id = {id};"
                    ),
                    "insert" => {
                        format!("INSERT INTO company VALUES ({id}, 'company {n}', {n}, '');")
                    }
                    _ => format!("DELETE FROM company WHERE id = {id};"),
                });
                touched.insert(id);
                changes += 1;
            }
            db.psql(&(sql + "COMMIT"));
        }
        (changes, touched.len() as f64 / FULL)
    });
    world.end();
}

#[test]
fn large_transactions_fill_their_requests() {
    if wanted("a") {
        cold("(a) cold rows, once each, large transactions", "auto");
        cold("(a) the same, without bulk jobs", "never");
    }
}

#[test]
fn what_nobody_maps_costs_nothing() {
    if wanted("c") {
        unmapped();
    }
}

#[test]
fn changes_of_hot_rows_merge() {
    if wanted("b") {
        hot(20);
    }
}

#[test]
#[ignore = "takes minutes: a measurement"]
fn hot_rows_and_mixtures() {
    if wanted("b") {
        hot(60);
    }
    if wanted("d") {
        mixed("(d) 60 % updates, 35 % inserts, 5 % deletes", r#""Name""#);
    }
    let newest = r#"{ field = "Name", owner = "newest" }"#;
    if wanted("e") {
        mixed("(e) as (d), conflicts looked for", newest);
    }
}
