//! One seed from the first transaction to the last comparison.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use syncline::backoff::Backoff;
use syncline::capture::Reader;
use syncline::change::{Identity, Lsn, Position, Timestamp, Verdict};
use syncline::clock::Clock;
use syncline::config::{self, Brake, BulkMode, DeleteLimit};
use syncline::decode::{Decoder, Types};
use syncline::fault::Result;
use syncline::mapping::Remembered;
use syncline::planning::{Bounds, Leave, Origin};
use syncline::sinks::budget::Budget;
use syncline::sinks::bulk::{self, Patience};
use syncline::sinks::{Delivery, Settings};
use syncline::store::{Checkpoints, Loads, Memory, Progress, Shelf, ShelfQuery};
use syncline::supervisor::adapt::{Adapter, World};
use syncline::supervisor::apply::{Apply, Aside, Pace};
use syncline::supervisor::backfill::{self, Backfill};
use syncline::supervisor::command::{Command, Held};
use syncline::supervisor::crew::Crew;
use syncline::supervisor::guard::Guard;
use syncline::supervisor::intake::Intake;
use syncline::supervisor::old_jobs::OldJobs;
use syncline::supervisor::pressure::watch_crm;
use syncline::supervisor::status::Status;
use tokio::sync::{mpsc, oneshot, watch};

use crate::crm::{Crm, Troubles};
use crate::database::Database;
use crate::schema::{self, High, Table};
use crate::script::{Script, Slot};
use crate::world::{self, History};

/// What a run (or many) came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub changes: u64,
    pub crashes: u64,
    pub requests: u64,
    pub shelved: u64,
    pub pages: u64,
    pub rows: u64,
    pub missing_parents: u64,
    pub jobs: u64,
    /// Contacts that an account which we deleted took along, in runs without other trouble.
    pub cascaded: u64,
    pub verdicts: BTreeMap<&'static str, i64>,
}

impl Outcome {
    pub fn add(&mut self, other: &Outcome) {
        self.changes += other.changes;
        self.crashes += other.crashes;
        self.requests += other.requests;
        self.shelved += other.shelved;
        self.pages += other.pages;
        self.rows += other.rows;
        self.missing_parents += other.missing_parents;
        self.jobs += other.jobs;
        self.cascaded += other.cascaded;
        for (word, count) in &other.verdicts {
            *self.verdicts.entry(word).or_default() += count;
        }
    }
}

struct Simulation {
    random: SmallRng,
    history: Arc<History>,
    database: Database,
    slot: Arc<Slot>,
    crm: Crm,
    losses: u32,
    high: High,
    /// The gate to the CRM opens and closes.
    gated: bool,
    brake: Brake,
}

/// Runs one seed. Panics when a promise is broken.
pub fn simulate(seed: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut random = SmallRng::seed_from_u64(seed);
        let transactions = random.random_range(5..60);
        let ids = random.random_range(2..14);
        let history = Arc::new(world::write(&mut random, transactions, ids));
        // A third of the runs meets no trouble in the CRM, a third no refusal.
        let kind = random.random_range(0..3);
        let troubles = Troubles {
            down: if kind > 0 { 30 } else { 0 },
            lost_before: if kind > 0 { 20 } else { 0 },
            lost_after: if kind > 0 { 40 } else { 0 },
            limited: kind > 0 && random.random_bool(0.2),
            locked: if kind > 0 { 30 } else { 0 },
            refused: if kind > 1 {
                random.random_range(1..15)
            } else {
                0
            },
            // In a fifth, people delete records.
            persons: if random.random_range(0..5) == 0 {
                60
            } else {
                0
            },
        };
        // In another fifth, the brakes bite.
        let tight = random.random_range(0..5) == 0;
        let brake = Brake {
            deletes: DeleteLimit::Count(if tight { random.random_range(1..6) } else { 0 }),
            writes_per_record: if tight { random.random_range(1..6) } else { 0 },
            ..Brake::default()
        };
        let crm = Crm::new(random.random(), troubles);
        let highs = [High::Nothing, High::Company, High::Contact, High::Note];
        let simulation = Simulation {
            high: *highs.choose(&mut random).expect("one of them"),
            gated: random.random_bool(0.6),
            losses: random.random_range(0..40),
            database: Database::new(
                Arc::clone(&history),
                SmallRng::seed_from_u64(random.random()),
            ),
            random,
            history,
            slot: Arc::default(),
            crm,
            brake,
        };
        Box::pin(simulation.run(troubles, tight)).await
    })
}

impl Simulation {
    async fn run(mut self, troubles: Troubles, tight: bool) -> Outcome {
        let no_refusals = troubles.refused == 0;
        let undisturbed = no_refusals && troubles.persons == 0 && !tight;
        let mut outcome = Outcome::default();
        let flush = Duration::from_millis(self.random.random_range(0..20));
        let mut store = Memory::with_flush(flush);
        let identity = Identity {
            system: "1".into(),
            timeline: 1,
            database: "simulation".into(),
            slot: "syncline".into(),
            publication: "syncline".into(),
            consistent_point: Lsn(0x10),
        };
        let start = Progress {
            checkpoint: Lsn(0x10),
            ..Progress::default()
        };
        store.bind(identity, start).await.expect("an empty store");
        let crashes = self.random.random_range(0..8);
        for _ in 0..crashes {
            let polls = self.random.random_range(1..400);
            let life = Box::pin(self.life(&store, None));
            let ended = after_polls(life, polls).await;
            if let Some(ended) = ended {
                ended.expect("nothing final happens");
            }
            outcome.crashes += 1;
            // What ran in tasks of its own dies with the process, not a moment later.
            tokio::task::yield_now().await;
            store = store.crash(&mut self.random);
            let recovered = store.recover().await.expect("readable");
            assert!(
                recovered.progress.checkpoint >= self.slot.confirmed(),
                "Postgres was told {} and only {} is durable",
                self.slot.confirmed(),
                recovered.progress.checkpoint
            );
            self.check_watchers();
        }
        // A last life, long enough for everything; refusals end, and the dead letters are retried.
        Box::pin(self.life(&store, Some(false)))
            .await
            .expect("nothing final happens");
        outcome.shelved = store.shelf_counts().await.expect("readable").values().sum();
        if no_refusals {
            self.expect_shelf_empty(&store).await;
        }
        let deferring = self.gated || self.crm.is_limited();
        if undisturbed && self.history.before == 0 && !deferring {
            // (A row that was there before may be referred to before its table is loaded. What was
            // deferred may refer to a record that has come and gone in the meantime, until the change
            // that says otherwise is merged in: the CRM refuses it, and it waits.)
            assert_eq!(
                self.crm.missing_parents(),
                0,
                "a child came before its parent"
            );
            outcome.cascaded = self.crm.cascaded();
        }
        self.crm.heal();
        Box::pin(self.life(&store, Some(true)))
            .await
            .expect("nothing final happens");
        self.expect_shelf_empty(&store).await;
        self.check_watchers();
        self.check_contents();
        self.check_verdicts(&store, &mut outcome).await;
        outcome.changes = self.database.changes();
        (outcome.pages, outcome.rows) = self.database.read();
        outcome.requests = self.crm.requests();
        outcome.missing_parents = self.crm.missing_parents();
        outcome.jobs = self.crm.jobs();
        outcome
    }

    /// One life of the process: until it is stopped (`None`: it is not), or until all is settled and,
    /// if so wished, the shelf has been retried.
    async fn life(&mut self, store: &Memory, until_done: Option<bool>) -> Result<()> {
        let recovered = store.recover().await?;
        let random = SmallRng::seed_from_u64(self.random.random());
        let mut source = Script::new(
            self.database.clone(),
            Arc::clone(&self.slot),
            random,
            recovered.progress.checkpoint,
            self.losses,
        );
        let mode = [BulkMode::Always, BulkMode::Auto, BulkMode::Never];
        let settings = Settings {
            bulk: bulk::Settings {
                mode: mode[self.random.random_range(0..3)],
                min_rows: self.random.random_range(1..6),
                max_bytes: self.random.random_range(500..20_000),
                patience: Patience {
                    looks: (Duration::from_millis(20), Duration::from_secs(5)),
                    standstill: Duration::from_secs(self.random.random_range(2..60)),
                    // A chunk takes less.
                    quiet: Duration::from_secs(25),
                },
            },
            concurrency: self.random.random_range(1..5),
            requests_per_second: 0,
            record_tries: 20,
            unknown_tries: 1_000,
            backoff: Backoff {
                base: Duration::from_millis(50),
                cap: Duration::from_secs(5),
            },
            ..Settings::default()
        };
        let delivery = Delivery::new(Arc::new(self.crm.clone()), settings, self.random.random());
        let clock = Clock::simulated(Timestamp(1_700_000_000_000_000));
        let spent = store.spent().await?;
        let budget = Budget::new(config::Budget::default(), clock.clone(), spent);
        let delivery = Arc::new(delivery.within(budget));
        let reader: Arc<dyn Reader> = Arc::new(self.database.clone());
        let world = World {
            tables: schema::catalog(),
            types: Types::new(Vec::new()),
            crm: Some(schema::crm()),
            remembered: Remembered::default(),
            contracts: Arc::default(),
            brought: BTreeMap::new(),
            unmade: BTreeMap::new(),
        };
        let adapter = Adapter::new(
            Arc::new(schema::config(self.high)),
            Arc::clone(&reader),
            Arc::clone(&delivery),
            world,
        );
        let adapter = Arc::new(adapter.await?.expect("the configuration fits"));
        let from = Position {
            commit: Lsn(0x10),
            ordinal: 0,
        };
        let stored = schema::catalog().into_iter().map(|t| (from, t)).collect();
        let reading = backfill::Settings {
            first_load: true,
            rows_per_second: 0,
            page_rows: self.random.random_range(1..12),
            page_bytes: 10_000,
            large: self.random.random_bool(0.5).then_some(Bounds {
                rows: 30,
                bytes: 20_000,
            }),
            patience: Duration::from_millis(self.random.random_range(0..1_000)),
        };
        let backfill = Backfill::new(
            Arc::clone(&reader),
            reading,
            self.random.random(),
            store.loads().await?,
        );
        let bounds = Bounds {
            rows: self.random.random_range(1..40),
            bytes: self.random.random_range(200..20_000),
        };
        let intake = Intake::new(
            Decoder::new(Types::new(Vec::new()), stored),
            Arc::clone(adapter.mapping()),
            bounds,
            recovered.progress.settled,
            recovered.intent.as_ref(),
        );
        let shelf = store.shelf_counts().await?;
        let any = !store
            .shelf(ShelfQuery {
                limit: 1,
                ..ShelfQuery::default()
            })
            .await?
            .is_empty();
        let verdicts = store.verdicts().await?;
        let status = Arc::new(Status::new(recovered.progress, verdicts, shelf, any));
        // The gate: left as it is for a while, then something else; open in the end.
        let keeper = Arc::clone(&delivery);
        let mut dice = SmallRng::seed_from_u64(self.random.random());
        let (gated, ends) = (self.gated, until_done.is_some());
        let gatekeeper = async move {
            let mut left = dice.random_range(1..40);
            while gated && left > 0 {
                let most = match dice.random_range(0..5) {
                    0 | 1 => Leave::Nothing,
                    2 => Leave::High,
                    _ => Leave::All,
                };
                keeper.gate().hold(most);
                let most = if dice.random_bool(0.1) { 30_000 } else { 800 };
                let pause = dice.random_range(0..most);
                tokio::time::sleep(Duration::from_millis(pause)).await;
                if ends {
                    left -= 1;
                }
            }
            keeper.gate().hold(Leave::All);
        };
        let prober = watch_crm(Arc::clone(&delivery), clock.clone());
        let limited = self.crm.is_limited();
        let prober = async move {
            match limited {
                true => prober.await,
                false => std::future::pending().await,
            }
        };
        let guard = Guard::new(&self.brake, clock.clone(), store).await?;
        let crew = Crew {
            store: Arc::new(store.clone()),
            delivery,
            objects: Arc::clone(adapter.objects()),
            clocks: Arc::default(),
            origin: Origin::default(),
            guard: Arc::new(guard),
            old_jobs: OldJobs::default(),
        };
        let pace = Pace {
            linger: Duration::from_millis(self.random.random_range(0..100)),
            shelf_rows: self.random.random_range(1..30),
            roomy: self.random.random_bool(0.5).then_some(Bounds {
                rows: 100,
                bytes: 50_000,
            }),
            beside: self.random.random_bool(0.2),
        };
        let aside = Aside { backfill, adapter };
        let apply = Apply::new(intake, crew, clock, pace, status, aside, &recovered);
        let (commands, mut receiver) = mpsc::channel(4);
        let (stop, stopped) = watch::channel(false);
        let kept = store.clone();
        let store = store.clone();
        let database = self.database.clone();
        let watcher = async move {
            let Some(retry) = until_done else {
                return std::future::pending().await;
            };
            loop {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let recovered = store.recover().await?;
                let loads = store.loads().await?;
                let loaded =
                    loads.len() == 2 && loads.iter().all(|l| l.loaded && l.jobs.is_empty());
                if !database.is_over()
                    || !loaded
                    || recovered.progress.checkpoint < database.end()
                    || recovered.intent.is_some()
                {
                    continue;
                }
                let page = store
                    .shelf(ShelfQuery {
                        reason: None,
                        after: None,
                        limit: 5_000,
                    })
                    .await?;
                if page
                    .iter()
                    .any(|p| p.reason == syncline::store::Reason::Held)
                {
                    let which = Held::All {
                        table: None,
                        code: None,
                    };
                    let (reply, _answer) = oneshot::channel();
                    commands.send(Command::Release { which, reply }).await.ok();
                }
                let waits = page
                    .iter()
                    .any(|p| p.reason != syncline::store::Reason::DeadLetter);
                if page.is_empty() || (!retry && !waits) || (!retry && self_blocked(&page)) {
                    break;
                }
                if retry {
                    let records = page.into_iter().map(|p| p.record).collect();
                    let (reply, _answer) = oneshot::channel();
                    commands.send(Command::Retry { records, reply }).await.ok();
                }
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            stop.send(true).ok();
            Ok::<(), syncline::fault::Error>(())
        };
        let life = async {
            let run = apply.run(&mut source, &mut receiver, stopped);
            let beside = async {
                tokio::join!(gatekeeper, prober);
            };
            let lives = async { tokio::join!(watcher, run) };
            tokio::pin!(beside, lives);
            let (watched, ran) = tokio::select! {
                biased;
                ended = &mut lives => ended,
                () = &mut beside => lives.await,
            };
            watched?;
            ran
        };
        // Far more time than any run needs: what takes longer is stuck.
        match Box::pin(tokio::time::timeout(Duration::from_secs(40_000), life)).await {
            Ok(result) => result,
            Err(_) => {
                let recovered = kept.recover().await?;
                let query = ShelfQuery {
                    reason: None,
                    after: None,
                    limit: 100,
                };
                for p in kept.shelf(query).await? {
                    let action = p.operation.as_ref().map(|o| &o.action);
                    let code = p.fault.as_ref().map(|f| &f.code);
                    let waits = p.waits_for.as_ref().map(|w| w.to_string());
                    eprintln!("{} {:?} {action:?} {waits:?} {code:?}", p.record, p.reason);
                }
                panic!(
                    "stuck before {} at {:?}, {:?}, {:?}",
                    self.database.end(),
                    recovered.progress,
                    recovered.intent,
                    kept.loads().await?
                );
            }
        }
    }

    async fn expect_shelf_empty(&self, store: &Memory) {
        let left = store
            .shelf(ShelfQuery {
                reason: None,
                after: None,
                limit: 100,
            })
            .await;
        let left = left.expect("readable");
        assert!(left.is_empty(), "left on the shelf: {left:#?}");
    }

    fn check_watchers(&self) {
        let violations = self.crm.violations();
        assert!(violations.is_empty(), "{violations:#?}");
    }

    fn check_contents(&self) {
        let mut wanted = BTreeMap::new();
        for ((table, id), row) in self.history.rows() {
            let mut fields = BTreeMap::new();
            let (name, parent) = match table {
                Table::Company => ("Name", "ParentId"),
                Table::Contact => ("LastName", "AccountId"),
            };
            fields.insert(name.to_string(), row.name.clone());
            fields.insert("Version__c".to_string(), row.version.to_string());
            if let Some(note) = &row.note {
                fields.insert("Note__c".to_string(), note.clone());
            }
            if let Some(id) = row.parent {
                fields.insert(parent.to_string(), id.to_string());
            }
            wanted.insert((table.object().to_string(), id.to_string()), fields);
        }
        let found = self.crm.contents();
        for (key, fields) in &wanted {
            let found = found.get(key);
            if !self.crm.is_touched(key) {
                assert_eq!(found, Some(fields), "{key:?}");
                continue;
            }
            // A record that a person deleted comes back when its row changes; a lookup that was emptied
            // with its parent is filled when it changes.
            let Some(found) = found else { continue };
            for (name, value) in fields {
                let parent = name == "AccountId" || name == "ParentId";
                let there = found.get(name);
                assert!(
                    there == Some(value) || parent && there.is_none(),
                    "{key:?}: {name} is {there:?}, not {value}"
                );
            }
            for name in found.keys() {
                assert!(fields.contains_key(name), "{key:?}: {name}");
            }
        }
        for key in found.keys() {
            assert!(wanted.contains_key(key), "{key:?} has no row");
        }
    }

    async fn check_verdicts(&self, store: &Memory, outcome: &mut Outcome) {
        let verdicts = store.verdicts().await.expect("readable");
        let sum: i64 = verdicts.values().sum();
        assert_eq!(sum, self.database.changes() as i64, "{verdicts:#?}");
        let pending: i64 = verdicts
            .iter()
            .filter(|((_, v), _)| *v == Verdict::Pending)
            .map(|(_, n)| n)
            .sum();
        assert_eq!(pending, 0, "{verdicts:#?}");
        for ((_, verdict), count) in verdicts {
            *outcome.verdicts.entry(verdict.word()).or_default() += count;
        }
    }
}

/// Everything left waits for something that is itself a dead letter.
fn self_blocked(page: &[syncline::store::Pending]) -> bool {
    page.iter()
        .any(|p| p.reason == syncline::store::Reason::DeadLetter)
}

/// Polls a future so many times, then drops it: a crash at whatever await it stands.
async fn after_polls<F: Future>(future: F, mut polls: u32) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        if polls == 0 {
            return Poll::Ready(None);
        }
        polls -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}
