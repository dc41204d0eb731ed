//! A day of an org whose limit of API requests is mostly used by others, on a moved clock.
//!
//! The connector as a library, with a scripted source, against the real sandbox over HTTP. Both clocks
//! stand still and are moved together, a few seconds at a time; between two moves everything comes to
//! rest. Another app uses 70 % of the limit at random times of the day; ordinary and high-priority
//! tables change all day. Then:
//!
//! - no request of ours leaves less than the floor to others;
//! - no change of high priority is later than its deadline;
//! - in the end nothing is lost;
//! - the forecast at noon is within 10 % of what happened.
//!
//! Several days; `SYNCLINE_SEED` for another one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub
)]

mod org;
mod source;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use syncline::change::{Identity, Lsn, Position, Timestamp, Verdict};
use syncline::clock::Clock;
use syncline::config::Config;
use syncline::decode::{Decoder, Types};
use syncline::mapping::Remembered;
use syncline::planning::{Bounds, Origin};
use syncline::sinks::budget::{Budget, BudgetReport, Degree};
use syncline::sinks::{Delivery, Settings};
use syncline::store::{Checkpoints, Memory, Progress, Shelf};
use syncline::supervisor::adapt::{Adapter, World};
use syncline::supervisor::apply::{Apply, Aside, Pace};
use syncline::supervisor::backfill::{self, Backfill};
use syncline::supervisor::crew::Crew;
use syncline::supervisor::guard::Guard;
use syncline::supervisor::intake::Intake;
use syncline::supervisor::old_jobs::OldJobs;
use syncline::supervisor::pressure::watch_crm;
use syncline::supervisor::status::Status;
use tokio::sync::{mpsc, watch};

use org::{Org, Watched};
use source::{Commits, Database, Table};

/// The org's limit.
const LIMIT: u64 = 20_000;
/// What others use of it.
const OTHERS: u64 = LIMIT * 7 / 10;
/// Others come so many times.
const BURSTS: usize = 500;
/// How far the clocks are moved at a time.
const STEP: Duration = Duration::from_secs(20);
const DAY: u64 = 86_400 / STEP.as_secs();
/// Midnight at the beginning of a day.
const MIDNIGHT: Timestamp = Timestamp(1_793_750_400_000_000);
const ROWS: i64 = 6_000;

fn config(url: &str) -> Config {
    let text = format!(
        r#"
[source]
url = "postgres://nobody@127.0.0.1/nowhere"
[destination]
kind = "salesforce"
url = "{url}"
client_id = "sandbox"
client_secret = "sandbox"
requests_per_second = 1000
[budget]
share = 0.5
floor = "20%"
deadline = "15m"
[tables."public.company"]
object = "Account"
key = {{ column = "id", field = "Ext__c" }}
on_delete = "delete"
columns = {{ name = "Name", version = "Version__c" }}
[tables."public.contact"]
object = "Contact"
key = {{ column = "id", field = "Ext__c" }}
on_delete = "delete"
priority = "high"
columns = {{ name = "LastName", version = "Version__c" }}
"#
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let loaded = Config::load(file.path(), std::iter::empty(), &[]);
    loaded.unwrap().config
}

#[test]
fn days_of_a_busy_org() {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .try_init();
    let seeds = match std::env::var("SYNCLINE_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => vec![1, 2, 3],
    };
    std::thread::scope(|threads| {
        for seed in seeds {
            threads.spawn(move || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build();
                runtime.unwrap().block_on(Box::pin(day(seed)));
            });
        }
    });
}

async fn day(seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let (hand, clock) = Clock::moved(MIDNIGHT);
    let org = Org::start(LIMIT, MIDNIGHT).await;
    let config = Arc::new(config(&org.url()));

    let budget = Budget::new(config.budget, clock.clone(), None);
    let commits: Arc<Commits> = Arc::default();
    let sink = Watched::new(&config, clock.clone(), org.clone(), Arc::clone(&commits));
    let seen = sink.seen();
    let delivery = Delivery::new(Arc::new(sink), Settings::from(&config.destination), seed);
    let delivery = Arc::new(delivery.within(budget));

    let store = Memory::new();
    let identity = Identity {
        system: "1".into(),
        timeline: 1,
        database: "day".into(),
        slot: "syncline".into(),
        publication: "syncline".into(),
        consistent_point: Lsn(0x10),
    };
    let start = Progress {
        checkpoint: Lsn(0x10),
        ..Progress::default()
    };
    store.bind(identity, start).await.unwrap();
    let recovered = store.recover().await.unwrap();

    let objects = ["Account".to_owned(), "Contact".to_owned()];
    let described = delivery.describe(&objects).await.unwrap();
    let described = objects.iter().cloned().zip(described);
    let described: BTreeMap<_, _> = described.map(|(name, d)| (name, d.unwrap())).collect();
    let world = World {
        tables: source::catalog(),
        types: Types::new(Vec::new()),
        crm: Some(described),
        remembered: Remembered::default(),
        contracts: Arc::default(),
        brought: BTreeMap::new(),
        unmade: BTreeMap::new(),
    };
    let reader = Arc::new(source::NoReader);
    let adapter = Adapter::new(
        Arc::clone(&config),
        reader.clone(),
        Arc::clone(&delivery),
        world,
    );
    let adapter = Arc::new(adapter.await.unwrap().expect("the configuration fits"));
    let from = Position {
        commit: Lsn(0x10),
        ordinal: 0,
    };
    let known = source::catalog().into_iter().map(|t| (from, t)).collect();
    let bounds = Bounds {
        rows: 2_000,
        bytes: 8 << 20,
    };
    let intake = Intake::new(
        Decoder::new(Types::new(Vec::new()), known),
        Arc::clone(adapter.mapping()),
        bounds,
        Position::default(),
        None,
    );
    let status = Arc::new(Status::new(
        recovered.progress,
        BTreeMap::new(),
        BTreeMap::new(),
        false,
    ));
    let guard = Guard::new(&config.brake, clock.clone(), &store)
        .await
        .unwrap();
    let crew = Crew {
        store: Arc::new(store.clone()),
        delivery: Arc::clone(&delivery),
        objects: Arc::clone(adapter.objects()),
        guard: Arc::new(guard),
        clocks: Arc::default(),
        origin: Origin::default(),
        old_jobs: OldJobs::default(),
    };
    let reading = backfill::Settings {
        first_load: false,
        ..backfill::Settings::new(&config)
    };
    let apply = Apply::new(
        intake,
        crew,
        clock.clone(),
        Pace {
            linger: Duration::from_millis(50),
            shelf_rows: bounds.rows,
            roomy: None,
            beside: true,
        },
        Arc::clone(&status),
        Aside {
            backfill: Backfill::new(reader, reading, seed, Vec::new()),
            adapter,
        },
        &recovered,
    );
    let (mut database, mut script) = Database::new(commits);
    let (_commands, mut commands) = mpsc::channel(4);
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(async move {
        apply
            .run(&mut script, &mut commands, stopped)
            .await
            .unwrap();
    });
    let prober = tokio::spawn(watch_crm(Arc::clone(&delivery), clock.clone()));

    // When others come, and with how much.
    let mut bursts: Vec<(u64, f64)> = (0..BURSTS)
        .map(|_| (random.random_range(0..DAY), random.random_range(0.2..1.0)))
        .collect();
    bursts.sort_by_key(|(step, _)| *step);
    let weight: f64 = bursts.iter().map(|(_, w)| w).sum();
    let mut forecast: Option<BudgetReport> = None;
    let mut degrees: BTreeMap<Degree, u64> = BTreeMap::new();
    let mut happened = 0;
    let mut ends = VecDeque::new();
    let mut step = 0;
    let mut next_burst = 0;
    loop {
        let now = MIDNIGHT.after(STEP * u32::try_from(step).unwrap());
        org.set_clock(now).await;
        hand.send_replace(now);
        while let Some((at, share)) = bursts.get(next_burst).filter(|(at, _)| *at <= step) {
            org.others((OTHERS as f64 * share / weight).round() as u64)
                .await;
            next_burst += 1;
            let _ = at;
        }
        if step < DAY {
            // A few changes a step, and now and then a large transaction.
            let large = random.random_range(0..900) == 0;
            let ordinary = if large {
                2_500
            } else {
                random.random_range(0..10)
            };
            for _ in 0..ordinary {
                database.change(Table::Company, random.random_range(1..=ROWS), now);
            }
            if random.random_bool(0.4) {
                for _ in 0..random.random_range(1..4) {
                    database.change(Table::Contact, random.random_range(1..=500), now);
                }
            }
            database.commit(now);
        }
        // What came two moves ago has lingered long enough.
        ends.push_back(database.end());
        let until = if ends.len() > 2 {
            ends.pop_front()
        } else {
            None
        };
        org.rest(&seen, &database, until.unwrap_or(0)).await;
        *degrees.entry(delivery.budget().degree()).or_default() += 1;
        if step == DAY / 2 {
            forecast = delivery.budget().report();
        }
        if step == DAY - 1 {
            happened = org.used().await;
        }
        step += 1;
        if step % (DAY / 24) == 0 {
            let report = delivery.budget().report().unwrap();
            eprintln!(
                "seed {seed} {:>2}:00 {:<7} ours {:>5} others {:>5} (the org counts {:>5}) room {:>5} for high {:>4}; deferred {:>5}; used in 12 h {:>5}",
                step / (DAY / 24),
                report.degree.word(),
                report.ours,
                report.others,
                org.used().await,
                report.room,
                report.kept_for_high,
                status.snapshot().shelf.values().sum::<u64>(),
                report.used_in_12_hours,
            );
        }
        let open = store.shelf_counts().await.unwrap();
        if step > DAY && open.is_empty() && database.confirmed() {
            break;
        }
        assert!(step < 3 * DAY, "not done two days later: {open:?}");
    }
    stop.send_replace(true);
    running.await.unwrap();
    prober.abort();

    // Nothing is lost.
    let wanted = database.rows();
    let found = org.rows().await;
    for ((table, id), version) in &wanted {
        let shown = found.get(&(table.object().to_owned(), id.to_string()));
        assert_eq!(shown, Some(version), "{table:?} {id}");
    }
    assert_eq!(found.len(), wanted.len());
    let verdicts = store.verdicts().await.unwrap();
    let counted: i64 = verdicts.values().sum();
    assert_eq!(counted, database.changes(), "{verdicts:?}");
    assert!(
        verdicts
            .keys()
            .all(|(_, verdict)| *verdict != Verdict::Pending)
    );

    let seen = seen.lock().unwrap();
    let late = seen.latest.as_secs_f64() / 60.0;
    let forecast = forecast.unwrap();
    let error = (forecast.used_in_12_hours as f64 - happened as f64) / happened as f64;
    eprintln!(
        "seed {seed}: {} changes, {} requests of ours; most used {} of {LIMIT}; high priority at most {late:.1} min late; \
         forecast at noon {} for {happened}: {:+.1} %; steps by degree {degrees:?}; done {:.1} h after midnight",
        database.changes(),
        seen.requests,
        seen.most_used,
        forecast.used_in_12_hours,
        error * 100.0,
        step as f64 / (DAY as f64 / 24.0) - 24.0,
    );
    assert_eq!(seen.into_floor, 0, "requests of ours within the floor");
    assert!(
        seen.latest <= Duration::from_secs(15 * 60),
        "{late:.1} minutes late"
    );
    assert!(
        error.abs() <= 0.1,
        "forecast at noon off by {:.1} %",
        error * 100.0
    );
    assert!(
        degrees.keys().any(|d| *d == Degree::Defer),
        "a day in which nothing was scarce shows nothing: {degrees:?}"
    );
}
