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

use super::apply::{Apply, Pace};
use super::command::Command;
use super::contracts;
use super::flight::Crew;
use super::intake::Intake;
use super::status::Status;
use crate::backoff::Backoff;
use crate::capture::{self, CatalogTable, Conninfo, Replication, Sql, preflight, prepare};
use crate::clock::Clock;
use crate::config::{self, Config, DestinationKind};
use crate::decode::{Decoder, Types};
use crate::fault::{Class, Error, ErrorKind, Fault, Finding, Result, Severity};
use crate::mapping::{Compiled, Mapping, ObjectDescription, compile};
use crate::planning::{Bounds, Objects};
use crate::sinks::salesforce::Salesforce;
use crate::sinks::{Delivery, Discard, Settings, Sink};
use crate::store::{Progress, ShelfQuery, Store};

/// Commands that may wait for the loop.
const COMMANDS: usize = 64;

/// How often a wait for the CRM is explained at the start.
const EXPLAIN: Duration = Duration::from_secs(3);

/// How often the WAL kept by the slot is looked at.
const WAL_WATCH: Duration = Duration::from_secs(30);

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
    /// The rules.
    pub mapping: Arc<Mapping>,
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
    let delivery = Arc::new(connect(config)?);
    let survey = tokio::select! {
        survey = survey_patiently(config, &delivery) => survey?,
        _ = stop.wait_for(|stop| *stop) => return store.close().await,
    };
    let compiled = compile_survey(config, &survey);
    for finding in &compiled.findings {
        tell(finding);
    }
    let Some(mapping) = compiled.mapping else {
        return Err(unfit(
            ErrorKind::Usage,
            "the configuration does not fit",
            &compiled.findings,
        ));
    };
    let mapping = Arc::new(mapping.under(contracts));

    let names: Vec<String> = config.tables.keys().cloned().collect();
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

    let info = Conninfo::from_config(&config.source)?;
    let start = progress.checkpoint;
    let mut source = Replication::start(info, &config.source, &prepared.identity, start).await?;
    let stored = store
        .schemas()
        .await?
        .into_iter()
        .map(|v| (v.from, v.relation))
        .collect();
    let bounds = Bounds {
        rows: config.delivery.max_rows.max(1),
        bytes: usize::try_from(config.delivery.max_bytes.0).unwrap_or(usize::MAX),
    };
    let intake = Intake::new(
        Decoder::new(survey.types, stored),
        Arc::clone(&mapping),
        bounds,
        progress.settled,
        recovered.intent.as_ref(),
    );
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
    let crew = Crew {
        store: Arc::clone(&store),
        delivery: Arc::clone(&delivery),
        objects: Arc::new(Objects::new(&mapping)),
    };
    let pace = Pace {
        linger: config.delivery.linger.0,
        shelf_rows: bounds.rows,
        beside: true,
    };
    let apply = Apply::new(
        intake,
        crew,
        Clock::System,
        pace,
        Arc::clone(&status),
        &recovered,
    );
    let (commands, mut receiver) = mpsc::channel(COMMANDS);
    started(Handle {
        status,
        commands,
        delivery,
        capture: source.watch(),
        store: Arc::clone(&store),
        mapping,
    });
    // Alarms are told by the log; the loop does not wait for them.
    let watch = tokio::spawn(watch_wal(survey.sql, config.source.clone()));
    let ended = apply.run(&mut source, &mut receiver, stop).await;
    watch.abort();
    source.stop().await;
    // After an error of the store there is nothing left to close.
    match ended {
        Ok(()) => store.close().await,
        Err(error) if error.kind == ErrorKind::Store => Err(error),
        Err(error) => store.close().await.and(Err(error)),
    }
}

/// Says so while the slot keeps more WAL than it may.
async fn watch_wal(mut sql: Sql, source: config::Source) {
    loop {
        tokio::time::sleep(WAL_WATCH).await;
        if sql.is_closed() {
            match Sql::connect(sql.conninfo()).await {
                Ok(again) => sql = again,
                // The replication connection tells what is wrong with the source.
                Err(_) => continue,
            }
        }
        let Ok(Some(slot)) = sql.slot(&source.slot).await else {
            continue;
        };
        if let Some(kept) = slot.retained.filter(|kept| *kept > source.wal_budget.0) {
            tracing::error!(
                slot = %slot.name, kept_mib = kept >> 20, budget_mib = source.wal_budget.0 >> 20,
                "the slot keeps more WAL than source.wal_budget: see why delivery is behind \
                 (`syncline status`) before the database's disk is full"
            );
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
    let mut settings = Settings::from(&config.destination);
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

/// What the configuration means for both sides.
pub fn compile_survey(config: &Config, survey: &Survey) -> Compiled {
    let catalog: Vec<CatalogTable> = survey.tables.iter().flatten().cloned().collect();
    let types = |oid, _| survey.types.value_type(oid);
    compile(config, &catalog, &types, survey.crm.as_ref())
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

async fn describe(
    config: &Config,
    delivery: &Delivery,
) -> Result<BTreeMap<String, ObjectDescription>> {
    let mut objects: Vec<String> = config.tables.values().map(|t| t.object.clone()).collect();
    objects.sort();
    objects.dedup();
    let described = {
        let described = delivery.describe(&objects);
        tokio::pin!(described);
        loop {
            tokio::select! {
                described = &mut described => break described.map_err(refused)?,
                () = tokio::time::sleep(EXPLAIN) => explain_wait(config, delivery),
            }
        }
    };
    Ok(objects
        .into_iter()
        .zip(described)
        .filter_map(|(name, d)| Some((name, d?)))
        .collect())
}

/// A CRM that is down at the start is waited for as well.
fn explain_wait(config: &Config, delivery: &Delivery) {
    let fault = delivery.health().last_fault;
    tracing::warn!(
        url = config.destination.url,
        fault = fault.map_or_else(|| "no answer yet".to_owned(), |(code, _)| code),
        remedy = "start it, or check destination.url and the way there: `syncline check`",
        "waiting for the CRM; nothing has been made or written yet"
    );
}

/// The CRM does not let us in.
fn refused(fault: Fault) -> Error {
    let kind = match fault.class {
        Class::Service | Class::Unknown => ErrorKind::DestinationUnreachable,
        _ => ErrorKind::DestinationRefused,
    };
    Error::new(
        kind,
        format!("the CRM refuses us: {}: {}", fault.code, fault.message),
    )
    .remedy("check destination.url, client_id, the secret, and that the app may act as its user")
}

/// Every problem at once: a person mends them in one go.
fn unfit(kind: ErrorKind, what: &str, findings: &[Finding]) -> Error {
    let problems: Vec<&Finding> = findings
        .iter()
        .filter(|f| f.severity == Severity::Problem)
        .collect();
    let mut what = match problems.len() {
        1 => format!("{what}:"),
        n => format!("{what}, for {n} reasons:"),
    };
    for finding in problems {
        what.push_str(&format!(
            "\n  {}: {}\n    → {}",
            finding.place, finding.what, finding.remedy
        ));
    }
    Error::new(kind, what).remedy("nothing was started or made; `syncline check` tells more")
}

fn tell(finding: &Finding) {
    match finding.severity {
        // Told by the error that follows.
        Severity::Problem => {}
        Severity::Warning => {
            tracing::warn!(place = %finding.place, remedy = %finding.remedy, "{}", finding.what);
        }
        Severity::Note => tracing::info!(place = %finding.place, "{}", finding.what),
    }
}
