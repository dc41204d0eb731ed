//! Puts the stages together for a real database, a real CRM and a store.
//!
//! The order is what keeps a failed start harmless: everything is looked at (store, catalog, CRM,
//! mapping) before anything is made, the publication and the slot come last, and a slot whose
//! identity cannot be stored is dropped again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::{mpsc, watch};

use super::adapt::{Adapter, World};
use super::apply::{Apply, Aside, Pace};
use super::backfill::{self, Backfill};
use super::clocks::Clocks;
use super::command::Command;
use super::contracts;
use super::cost::{Bounds as CostBounds, FirstLoad};
use super::crew::Crew;
use super::guard::Guard;
use super::intake::Intake;
use super::old_jobs::OldJobs;
use super::pressure::{watch_crm, watch_wal};
use super::settle::only_progress;
use super::status::Status;
use super::terms::{describe, tell_all, unfit};
use crate::backoff::Backoff;
use crate::capture::{
    self, Catalog, CatalogTable, Conninfo, Reader, Replication, Sql, SqlReader, preflight, prepare,
};
use crate::change::Position;
use crate::clock::Clock;
use crate::config::{Config, DestinationKind};
use crate::decode::{Decoder, Types, compare};
use crate::fault::{ErrorKind, Result, Severity};
use crate::mapping::contract::Contracts;
use crate::mapping::{Compiled, ObjectDescription, Remembered, compile};
use crate::planning::{Bounds, Origin};
use crate::sinks::budget::Budget;
use crate::sinks::salesforce::Salesforce;
use crate::sinks::{Delivery, Discard, Settings, Sink, bulk};
use crate::store::{Progress, SchemaVersion, ShelfQuery, Store};

/// Commands that may wait for the loop.
const COMMANDS: usize = 64;

/// Schemas are not looked at more often than this.
const LEAST_WATCH: Duration = Duration::from_millis(200);

/// What others see of a running process.
#[derive(Clone)]
pub struct Handle {
    /// How it goes.
    pub status: Arc<Status>,
    /// What it is asked.
    pub commands: mpsc::Sender<Command>,
    /// The way to the CRM.
    pub delivery: Arc<Delivery>,
    /// The replication connection.
    pub capture: watch::Receiver<capture::Status>,
    /// Where progress is kept.
    pub store: Arc<dyn Store>,
    /// The way to what is read beside the stream.
    pub reader: Arc<dyn Reader>,
    /// The rules at the start.
    pub adapter: Arc<Adapter>,
    /// The clocks of both sides.
    pub clocks: Arc<Clocks>,
}

/// Both sides, looked at.
pub struct Survey {
    /// An ordinary connection to the source.
    pub sql: Sql,
    /// The configured tables, in the order of their names; `None` for one that does not exist.
    pub tables: Vec<Option<CatalogTable>>,
    /// The source's types.
    pub types: Types,
    /// What the CRM says of the configured objects; `None` for a destination without a schema.
    pub crm: Option<BTreeMap<String, ObjectDescription>>,
}

/// Runs until `stop` turns true or something final happens. `started` is called once everything is in
/// place, before the first change.
///
/// # Errors
/// What a person has to mend, or a store that failed. Nothing is lost by any of them.
pub async fn run(
    config: &Config,
    store: Arc<dyn Store>,
    started: impl FnOnce(Handle),
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let recovered = store.recover().await?;
    let contracts = contracts::configured(config)?;
    let budget = Budget::new(config.budget, Clock::System, store.spent().await?);
    let delivery = Arc::new(connect(config)?.within(budget));
    let survey = tokio::select! {
        survey = survey_patiently(config, &delivery) => survey?,
        _ = stop.wait_for(|stop| *stop) => return store.close().await,
    };
    let config = Arc::new(config.clone());
    let info = Conninfo::from_config(&config.source)?;
    let reader = reader(&config)?;
    let (world, seen_now) = world(&config, contracts, &*store, &survey, &*reader).await?;
    let making = Adapter::new(
        Arc::clone(&config),
        Arc::clone(&reader),
        Arc::clone(&delivery),
        world,
    );
    let adapter = tokio::select! {
        adapter = making => match adapter? {
            Ok(adapter) => Arc::new(adapter),
            Err(findings) => {
                let what = "the configuration does not fit";
                return Err(unfit(ErrorKind::Usage, what, &findings));
            }
        },
        _ = stop.wait_for(|stop| *stop) => return store.close().await,
    };
    for finding in adapter.findings() {
        tell_all(finding);
    }

    // By the names that they have today.
    let tables = seen_now
        .as_ref()
        .map_or(adapter.tables(), |now| &now.tables);
    let names: Vec<String> = tables
        .iter()
        .map(|t| format!("{}.{}", t.schema, t.name))
        .collect();
    if recovered.identity.is_none() {
        // Before the publication is made, not when the slot turns out to be impossible.
        let findings = preflight(&survey.sql, &config.source, &names).await?;
        if findings.iter().any(|f| f.severity == Severity::Problem) {
            let what = "the database is not ready";
            return Err(unfit(ErrorKind::SourceRefused, what, &findings));
        }
    }
    let stored = recovered
        .identity
        .as_ref()
        .map(|i| (i, recovered.progress.checkpoint));
    let prepared = tokio::select! {
        prepared = prepare(&survey.sql, &config.source, &names, stored) => prepared?,
        // Making a slot can wait for minutes. The server drops one whose maker has gone.
        _ = stop.wait_for(|stop| *stop) => return store.close().await,
    };
    let progress = match &recovered.identity {
        Some(_) => recovered.progress,
        None => {
            let progress = Progress {
                checkpoint: prepared.start,
                ..Progress::default()
            };
            let bound = store.bind(prepared.identity.clone(), progress).await;
            if let (Err(_), true) = (&bound, prepared.slot_created) {
                // Nobody would ever read it, and it would keep WAL.
                survey.sql.drop_slot(&config.source.slot).await?;
            }
            bound?;
            progress
        }
    };
    let recovered = crate::store::Recovered {
        progress,
        ..recovered
    };
    let known = known_tables(&*store, &adapter, progress).await?;

    let start = progress.checkpoint;
    let mut source = Replication::start(info, &config.source, &prepared.identity, start).await?;
    let bounds = Bounds {
        rows: config.delivery.max_rows.max(1),
        bytes: usize::try_from(config.delivery.max_bytes.0).unwrap_or(usize::MAX),
    };
    let intake = Intake::new(
        Decoder::new(survey.types.clone(), known),
        Arc::clone(adapter.mapping()),
        bounds,
        progress.settled,
        recovered.intent.as_ref(),
    );
    let clocks = Arc::new(Clocks::default());
    clocks.read(&survey.sql).await?;
    let shelf = store.shelf_counts().await?;
    let any = ShelfQuery {
        limit: 1,
        ..ShelfQuery::default()
    };
    let in_use = !store.shelf(any).await?.is_empty();
    let status = Arc::new(Status::new(
        progress,
        store.verdicts().await?,
        shelf,
        in_use,
    ));
    status.kept_fields_before(store.kept_fields().await?);
    let crew = Crew {
        store: Arc::clone(&store),
        delivery: Arc::clone(&delivery),
        objects: Arc::clone(adapter.objects()),
        clocks: Arc::clone(&clocks),
        origin: Origin::new(&prepared.identity.system, &prepared.identity.database),
        guard: Arc::new(Guard::new(&config.brake, Clock::System, &*store).await?),
        old_jobs: OldJobs::default(),
    };
    status.alarms(crew.guard.alarms());
    let pace = Pace {
        linger: config.delivery.linger.0,
        shelf_rows: bounds.rows,
        roomy: backfill::large(&config).map(|large| Bounds {
            rows: large.rows.max(bounds.rows),
            bytes: large.bytes.max(bounds.bytes),
        }),
        beside: true,
    };
    let loads = store.loads().await?;
    let backfill = Backfill::new(
        Arc::clone(&reader),
        backfill::Settings::new(&config),
        rand::rng().random(),
        loads.clone(),
    );
    let apply = Apply::new(
        intake,
        crew,
        Clock::System,
        pace,
        Arc::clone(&status),
        Aside {
            backfill,
            adapter: Arc::clone(&adapter),
        },
        &recovered,
    );
    let (commands, mut receiver) = mpsc::channel(COMMANDS);
    if let Some(catalog) = seen_now {
        // What was changed while we were not running takes its place when the stream has come so far.
        let _ = commands.send(Command::Catalog(catalog)).await;
    }
    status.rules(&adapter);
    started(Handle {
        status,
        commands: commands.clone(),
        delivery: Arc::clone(&delivery),
        capture: source.watch(),
        store: Arc::clone(&store),
        reader: Arc::clone(&reader),
        adapter: Arc::clone(&adapter),
        clocks: Arc::clone(&clocks),
    });
    if config.backfill.first_load {
        let bounds = CostBounds::now(&config, &delivery);
        let mapping = Arc::clone(adapter.mapping());
        tokio::select! {
            load = FirstLoad::estimate(&mapping, &loads, &*reader, bounds) => load.tell(),
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
    // Alarms are told by the log; the loop does not wait for them.
    let source_config = config.source.clone();
    let watched = Arc::clone(&delivery);
    let wal = tokio::spawn(watch_wal(survey.sql, source_config, watched, clocks));
    let crm = tokio::spawn(watch_crm(Arc::clone(&delivery), Clock::System));
    let schemas = tokio::spawn(watch_schemas(config, reader, adapter, commands));
    let ended = Box::pin(apply.run(&mut source, &mut receiver, stop)).await;
    wal.abort();
    crm.abort();
    schemas.abort();
    source.stop().await;
    // After an error of the store there is nothing left to close.
    match ended {
        Ok(()) => store.close().await,
        Err(error) if error.kind == ErrorKind::Store => Err(error),
        Err(error) => store.close().await.and(Err(error)),
    }
}

/// What the rules are compiled from at the start: the tables as they are where the stream stands. If
/// they have changed since, the catalog of today comes with it.
async fn world(
    config: &Config,
    contracts: Arc<Contracts>,
    store: &dyn Store,
    survey: &Survey,
    reader: &dyn Reader,
) -> Result<(World, Option<Catalog>)> {
    let history = store.schema_history().await?;
    let names: Vec<String> = config.tables.keys().cloned().collect();
    // A table may have been renamed.
    let mut oids: Vec<u32> = history.iter().map(|v| v.table.oid).collect();
    oids.sort_unstable();
    oids.dedup();
    let catalog = backfill::patiently("reading the catalog", || reader.catalog(&names, &oids));
    let catalog = catalog.await?;
    let now = catalog.tables.clone();
    let mut tables = Vec::new();
    let mut changed = false;
    for table in &now {
        let latest = |same: &dyn Fn(&CatalogTable) -> bool| {
            let mut versions = history.iter().map(|v| &v.table);
            versions.rfind(|t| same(t))
        };
        let known = latest(&|t| t.oid == table.oid)
            .or_else(|| latest(&|t| t.schema == table.schema && t.name == table.name));
        if let Some(known) = known.filter(|known| *known != table) {
            for change in compare(known, table) {
                tracing::info!(
                    table = %known.name,
                    "changed while we were not running: {change}; it counts from its place in the stream"
                );
            }
            changed = true;
        }
        tables.push(known.unwrap_or(table).clone());
    }
    let fields = store.fields().await?;
    let world = World {
        tables,
        types: survey.types.clone(),
        crm: survey.crm.clone(),
        remembered: Remembered {
            versions: history.into_iter().map(|v| v.table).collect(),
            coming: now,
            ..Remembered::from_pairs(fields)
        },
        contracts,
        brought: BTreeMap::new(),
        unmade: BTreeMap::new(),
    };
    Ok((world, changed.then_some(catalog)))
}

/// The versions of the tables that the stream is read with. Those seen for the first time are stored.
async fn known_tables(
    store: &dyn Store,
    adapter: &Adapter,
    progress: Progress,
) -> Result<Vec<(Position, CatalogTable)>> {
    let mut known: Vec<(Position, CatalogTable)> = store
        .schemas()
        .await?
        .into_iter()
        .map(|v| (v.from, v.table))
        .collect();
    let from = Position {
        commit: progress.checkpoint,
        ordinal: 0,
    };
    let mut settlement = only_progress(progress);
    for table in adapter.tables() {
        if !known.iter().any(|(_, t)| t.oid == table.oid) {
            known.push((from, table.clone()));
            settlement.schemas.push(SchemaVersion {
                from,
                at: Clock::System.now(),
                table: table.clone(),
            });
        }
    }
    settlement.fields = adapter.new_fields();
    if !settlement.schemas.is_empty() || settlement.fields.is_some() {
        // The window that may have been sent is still to be sent again.
        settlement.intent = store.recover().await?.intent;
        store.settle(settlement).await?;
    }
    Ok(known)
}

/// Looks at both sides' schemas now and then.
async fn watch_schemas(
    config: Arc<Config>,
    reader: Arc<dyn Reader>,
    adapter: Arc<Adapter>,
    commands: mpsc::Sender<Command>,
) {
    let names: Vec<String> = config.tables.keys().cloned().collect();
    let oids: Vec<u32> = adapter.tables().iter().map(|t| t.oid).collect();
    let mut catalog = tokio::time::interval(config.watch.catalog.0.max(LEAST_WATCH));
    let mut crm = tokio::time::interval(config.watch.crm.0.max(LEAST_WATCH));
    crm.reset();
    loop {
        let command = tokio::select! {
            _ = catalog.tick() => match reader.catalog(&names, &oids).await {
                Ok(catalog) => Command::Catalog(catalog),
                // The replication connection tells what is wrong with the source.
                Err(_) => continue,
            },
            _ = crm.tick() => Command::LookAtCrm,
        };
        if commands.send(command).await.is_err() {
            return;
        }
    }
}

/// The way to the configured CRM. Talks to nobody yet.
///
/// # Errors
/// When the configuration of the destination is wrong.
pub fn connect(config: &Config) -> Result<Delivery> {
    let sink: Arc<dyn Sink> = match config.destination.kind {
        DestinationKind::Salesforce => Arc::new(Salesforce::connect(&config.destination)?),
        DestinationKind::Discard => Arc::new(Discard),
    };
    let mut settings = Settings {
        bulk: bulk::Settings::from(&config.bulk),
        ..Settings::from(&config.destination)
    };
    if config.destination.kind == DestinationKind::Discard {
        settings.requests_per_second = 0;
    }
    Ok(Delivery::new(sink, settings, rand::rng().random()))
}

/// Looks at both sides.
///
/// # Errors
/// When one of them cannot be reached or refuses.
pub async fn survey(config: &Config, delivery: &Delivery) -> Result<Survey> {
    let info = Conninfo::from_config(&config.source)?;
    let sql = Sql::connect(&info).await?;
    let names: Vec<String> = config.tables.keys().cloned().collect();
    let tables = sql.tables(&names, &config.source.publication).await?;
    let types = Types::new(sql.types().await?);
    let crm = match config.destination.kind {
        DestinationKind::Discard => None,
        DestinationKind::Salesforce => Some(describe(config, delivery).await?),
    };
    Ok(Survey {
        sql,
        tables,
        types,
        crm,
    })
}

/// What the configuration means for both sides, as they are now. `store`: what earlier runs left, if
/// it can be looked at.
///
/// # Errors
/// When the store or the catalog cannot be read.
pub async fn compile_survey(
    config: &Config,
    survey: &Survey,
    store: Option<&dyn Store>,
    reader: &dyn Reader,
) -> Result<Compiled> {
    let mut catalog: Vec<CatalogTable> = survey.tables.iter().flatten().cloned().collect();
    let mut remembered = Remembered::default();
    if let Some(store) = store {
        remembered = Remembered::from_pairs(store.fields().await?);
        let history = store.schema_history().await?;
        remembered.versions = history.into_iter().map(|v| v.table).collect();
        // A table may have been renamed.
        let names: Vec<String> = config.tables.keys().cloned().collect();
        let mut oids: Vec<u32> = remembered.versions.iter().map(|t| t.oid).collect();
        oids.sort_unstable();
        oids.dedup();
        catalog = reader.catalog(&names, &oids).await?.tables;
    }
    let types = |oid, _| survey.types.value_type(oid);
    let crm = survey.crm.as_ref();
    Ok(compile(config, &catalog, &remembered, &types, crm))
}

/// The way to what is read beside the stream. Talks to nobody yet.
///
/// # Errors
/// When the configuration of the source is wrong.
pub fn reader(config: &Config) -> Result<Arc<dyn Reader>> {
    let info = Conninfo::from_config(&config.source)?;
    let publication = config.source.publication.clone();
    Ok(Arc::new(SqlReader::new(info, publication)))
}

/// A database that is down at the start is waited for: it and we may have been started together.
async fn survey_patiently(config: &Config, delivery: &Delivery) -> Result<Survey> {
    let backoff = Backoff {
        base: Duration::from_millis(500),
        cap: Duration::from_secs(15),
    };
    let mut attempt = 0;
    loop {
        match survey(config, delivery).await {
            Err(error) if error.is_transient() => {
                attempt += 1;
                let delay = backoff.delay(attempt, &mut rand::rng());
                tracing::warn!(%error, attempt, "cannot start yet, trying again");
                tokio::time::sleep(delay).await;
            }
            other => return other,
        }
    }
}
