//! P5 at scale: reps edit records at random while their rows change at random, with slow, lost, refused
//! and throttled requests, kills, and once a lost state directory.
//!
//! ```text
//! changes ─► Postgres ─► connector (killed, started, …) ─► sandbox ◄─ edits
//!    │                                                         │
//!    └── values, commit times ─────────► oracle ◄── write log ─┘
//! ```
//!
//! The oracle knows nothing of the connector: it has the commit time of every value that the database
//! ever had, and the CRM's log of who wrote what and when. No edit is ever written over by a change that
//! was not later; no change is ever missing that was.
//!
//! `SYNCLINE_EDITS=200000` for the long run (as many edits, and as many changes), `SYNCLINE_SEED=…` for
//! the same choices again. `tests/reps/mutants.sh` shows that it fails when the connector forgets what it
//! wrote, compares no times, or takes its own writes for edits.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

#[path = "reps/oracle.rs"]
mod oracle;
mod support;
#[path = "reps/traffic.rs"]
mod traffic;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use oracle::Oracle;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use support::crm::{Crm, EXTERNAL_ID};
use support::postgres::{Options, Postgres};
use support::sidecar::{Sidecar, lsn};
use traffic::{Plan, changes, edits, now};

const PATIENCE: Duration = Duration::from_secs(300);
const PHASES: u64 = 5;
/// Behind this phase the state directory is lost.
const LOSS: u64 = 3;

const FAULTS: &str = "throttle=1%,unavailable=1%,lost=2%,lock=1%:Contact,\
                      timeout_before=0.5%:800ms,reject=0.3%:Contact";

struct World {
    postgres: Postgres,
    crm: Crm,
    sidecar: Sidecar,
}

#[test]
fn p5_no_edit_and_no_change_is_lost() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let edits_wanted = number("SYNCLINE_EDITS", 2_000);
    let seed = number("SYNCLINE_SEED", 4711);
    let plan = Plan::new(edits_wanted);
    eprintln!("{plan:?}, seed {seed}");
    let mut world = World::start(&plan);
    let mut oracle = Oracle::new(plan.records);
    let mut random = SmallRng::seed_from_u64(seed);
    let begun = Instant::now();
    for phase in 0..PHASES {
        let kills = work(&mut world, &plan, &mut oracle, &mut random);
        world.drain();
        oracle.read(&world.crm);
        let told = oracle.judge(&world.crm, &format!("phase {phase}"));
        world.count_kept_fields();
        eprintln!(
            "{:>4} s: phase {phase}: {kills} kills; {told}",
            begun.elapsed().as_secs()
        );
        if phase + 1 == LOSS {
            world.lose_state(&plan, &mut oracle, &mut random);
            oracle.read(&world.crm);
            let told = oracle.judge(&world.crm, "the state was lost");
            eprintln!(
                "{:>4} s: the state was lost; {told}",
                begun.elapsed().as_secs()
            );
        }
    }
    assert!(
        oracle.edits >= edits_wanted * 9 / 10,
        "{} edits",
        oracle.edits
    );
    assert!(
        oracle.changes >= edits_wanted * 9 / 10,
        "{} changes",
        oracle.changes
    );
    world.sidecar.stop();
    assert!(!world.sidecar.log().contains("panicked"));
}

/// Both sides work, and the connector is killed again and again. Tells how often.
fn work(world: &mut World, plan: &Plan, oracle: &mut Oracle, random: &mut SmallRng) -> u32 {
    // One request in four takes longer, by one of eight times.
    let slow = (0..8).map(|_| format!(",slow=3%:{}ms", random.random_range(5..500)));
    let faults = format!("{FAULTS}{}", slow.collect::<String>());
    world.faults(&faults, random.random());
    let done = AtomicBool::new(false);
    let World {
        postgres,
        crm,
        sidecar,
    } = world;
    let (one, other) = (random.random(), random.random());
    let mut kills = 0;
    let made = scope(|scope| {
        let changing = scope.spawn(|| changes(postgres, plan, one, plan.per_phase(PHASES)));
        let editing = scope.spawn(|| edits(crm, plan, other, plan.per_phase(PHASES)));
        let watching = scope.spawn(|| {
            let made = changing.join().unwrap();
            editing.join().unwrap();
            done.store(true, Ordering::SeqCst);
            made
        });
        while !done.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(random.random_range(1_500..6_000)));
            sidecar.kill();
            kills += 1;
            sleep(Duration::from_millis(random.random_range(0..400)));
            sidecar.start();
        }
        watching.join().unwrap()
    });
    oracle.learn(postgres, made);
    kills
}

impl World {
    fn start(plan: &Plan) -> World {
        let postgres = Postgres::start(
            Options::default()
                .with("track_commit_timestamp", "on")
                .with("synchronous_commit", "off"),
        );
        postgres.psql(
            "CREATE TABLE customer (id int PRIMARY KEY, last_name text NOT NULL, \
             phone text, city text, title text, note text)",
        );
        let crm = Crm::start(None);
        let text = r#"{"type":"Text","label":"T","length":80}"#;
        for field in ["City__c", "Note__c"] {
            crm.put(&format!("fields/Contact/{field}"), text);
        }
        crm.put("fields/Contact/Ext_Id__c", EXTERNAL_ID);
        crm.put(
            "schema",
            r#"{"object": "Contact", "field": "Phone", "trackHistory": true}"#,
        );
        let sidecar = Sidecar::new(&format!(
            r#"
[source]
url = "{}"
[destination]
kind = "salesforce"
url = "{}"
client_id = "sandbox"
client_secret = "sandbox"
requests_per_second = 1000
record_tries = 3
[tables."public.customer"]
object = "Contact"
key = {{ column = "id", field = "Ext_Id__c" }}
on_delete = "delete"
columns.last_name = "LastName"
columns.phone = {{ field = "Phone", owner = "newest" }}
columns.city = {{ field = "City__c", owner = "newest" }}
columns.title = "Title"
columns.note = "Note__c"
"#,
            postgres.url("postgres"),
            crm.url(),
        ));
        let mut world = World {
            postgres,
            crm,
            sidecar,
        };
        world.run();
        world.postgres.psql(&format!(
            "INSERT INTO customer SELECT i, 'Lee' FROM generate_series(1, {}) i",
            plan.records
        ));
        world.through();
        world
    }

    fn run(&mut self) {
        self.sidecar.start();
        self.sidecar.wait_until("it runs", PATIENCE, |s| {
            let loaded = |b: &Value| b["state"] == "loaded";
            let backfills = s["backfills"].as_array();
            s["state"] == "running"
                && backfills.is_some_and(|b| b.iter().all(loaded) && !b.is_empty())
        });
    }

    fn faults(&self, spec: &str, seed: u32) {
        let spec = format!("{spec},seed={seed}");
        self.crm
            .put("faults", &serde_json::json!({ "spec": spec }).to_string());
    }

    /// Waits until the connector is past all that is committed: a commit of our own is the last.
    fn through(&mut self) {
        self.postgres.psql(
            "SET LOCAL synchronous_commit = on; UPDATE customer SET last_name = last_name WHERE id = 1",
        );
        let end = lsn(&self.postgres.psql("SELECT pg_current_wal_flush_lsn()"));
        self.sidecar
            .wait_until("it is through", PATIENCE, |status| {
                let durable = status["source"]["durable_lsn"].as_str();
                durable.is_some_and(|d| lsn(d) >= end)
            });
    }

    /// Waits until everything has arrived, dead letters included.
    fn drain(&mut self) {
        self.crm.put("faults", r#"{"rules": []}"#);
        self.through();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.sidecar.status().unwrap_or_default();
            let shelf = status["shelf"].as_object();
            if shelf.is_some_and(|s| s.values().all(|n| n == 0)) {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "{status:#}\n{}",
                self.sidecar.tail()
            );
            self.sidecar.post("/pending/retry", r#"{"all": true}"#);
            sleep(Duration::from_millis(300));
        }
        self.through();
    }

    /// The count that is carried along is that of the ledger.
    fn count_kept_fields(&self) {
        let (mut count, mut next) = (0, String::new());
        let total = loop {
            let page = format!("/kept/fields?limit=10000&after={next}");
            let page = self.sidecar.get(&page).unwrap();
            count += page["kept_fields"].as_array().unwrap().len();
            match page["next"].as_str() {
                Some(mark) => next = mark.to_owned(),
                None => break page["total"].as_u64().unwrap(),
            }
        };
        assert_eq!(count as u64, total);
    }

    /// Both sides go on while nobody runs the connector; then it starts with nothing.
    fn lose_state(&mut self, plan: &Plan, oracle: &mut Oracle, random: &mut SmallRng) {
        self.sidecar.stop();
        let few = plan.per_phase(PHASES) / 10;
        let made = changes(&self.postgres, plan, random.random(), few);
        oracle.learn(&self.postgres, made);
        edits(&self.crm, plan, random.random(), few);
        std::fs::remove_dir_all(self.sidecar.state()).unwrap();
        self.postgres
            .psql("SELECT pg_drop_replication_slot('syncline')");
        self.run();
        oracle.forget_times(now());
        self.drain();
    }
}
