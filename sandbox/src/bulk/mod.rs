//! Bulk API 2.0: jobs that write or read many records in the background (salesforce.md §8).
//!
//! ```text
//!  create ─► Open ── one upload ── UploadComplete ─► InProgress ─► JobComplete
//!             │                          │               │   └───► Failed
//!             └──────────────────────────┴───────────────┴───────► Aborted
//! ```
//!
//! A job's head and what became of each of its rows live in the store ([`Jobs`]), its file
//! beside it ([`files::Files`]). One task for each job works it off: batches of 10,000 rows, each
//! in chunks of 200 that take the one path of every write.
//!
//! Invariants:
//! - What became of a chunk's rows is in the same line of the journal as the rows. A job
//!   that was under way when the sandbox ended goes on after its last whole chunk.
//! - A row has at most one outcome. Rows without one are the unprocessed ones.
//! - A file is stored before the job says that it was uploaded.

mod columns;
mod files;
mod ingest;
mod job;
mod jobs;
mod query;
mod results;
mod table;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::app::App;
use crate::clock::Millis;
use crate::ids::Id;

pub(crate) use job::{Delimiter, Job, LineEnding, Operation, State};
pub(crate) use jobs::{JobLine, Jobs};
pub(crate) use query::refused as query_refused;
pub(crate) use results::{Kind as Results, page, render};

/// Rows in one of the server's batches.
const BATCH: usize = 10_000;
/// Rows that are written together.
const CHUNK: usize = 200;
/// The longest file.
pub(crate) const MAX_FILE: usize = 150 << 20;
const DAY: Millis = 86_400_000;

/// What tests may set (`PUT /sandbox/limits`, under `bulk`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// How long a job waits before it is in progress.
    start_ms: u64,
    /// How long each batch of 10,000 rows takes more.
    batch_ms: u64,
    /// How long each chunk of 200 rows takes more, with its rows locked.
    chunk_ms: u64,
    /// Rows on a page of a query's results unless asked otherwise.
    pub(crate) query_page: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            start_ms: 0,
            batch_ms: 0,
            chunk_ms: 0,
            query_page: 50_000,
        }
    }
}

/// What jobs share beside the store.
#[derive(Debug)]
pub(crate) struct Bulk {
    pub(crate) files: files::Files,
    settings: Mutex<Settings>,
    queue: mpsc::UnboundedSender<Id>,
    waiting: Mutex<Option<mpsc::UnboundedReceiver<Id>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bulk {
    pub(crate) fn new(data: Option<&Path>) -> Bulk {
        let (queue, waiting) = mpsc::unbounded_channel();
        Bulk {
            files: files::Files::new(data),
            settings: Mutex::default(),
            queue,
            waiting: Mutex::new(Some(waiting)),
        }
    }

    pub(crate) fn settings(&self) -> Settings {
        lock(&self.settings).clone()
    }

    /// What `GET /sandbox/limits` shows.
    pub(crate) fn show(&self) -> Value {
        serde_json::to_value(self.settings()).unwrap_or_default()
    }

    /// Changes the settings that are named.
    pub(crate) fn set(&self, changes: &Value) -> Result<(), String> {
        let Some(changes) = changes.as_object() else {
            return Err("bulk must be an object".to_owned());
        };
        let mut settings = lock(&self.settings);
        let mut next = serde_json::to_value(&*settings).map_err(|e| e.to_string())?;
        for (key, value) in changes {
            if value.as_u64().is_none() {
                return Err(format!("bulk.{key} must be a whole number"));
            }
            next[key] = value.clone();
        }
        *settings = serde_json::from_value(next).map_err(|e| format!("bulk: {e}"))?;
        Ok(())
    }

    /// Lets a job begin whose state is `UploadComplete`.
    pub(crate) fn wake(&self, job: Id) {
        // Refused only when the sandbox is ending: the job goes on when it starts again.
        let _ = self.queue.send(job);
    }
}

/// Works off jobs until the sandbox ends, those of an earlier run first. Ending cuts a job
/// off between two chunks.
pub(crate) async fn run(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let Some(mut waiting) = lock(&app.bulk.waiting).take() else {
        return;
    };
    for id in app.store().jobs.unfinished() {
        app.bulk.wake(id);
    }
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            Some(id) = waiting.recv() => {
                tasks.spawn(work(app.clone(), id));
            }
            Some(_) = tasks.join_next() => {}
            _ = stopped.changed() => break,
        }
    }
    tasks.shutdown().await;
}

/// One job from its beginning (or where it was left) to its end.
async fn work(app: Arc<App>, id: Id) {
    let settings = app.bulk.settings();
    if !pause(&app, id, settings.start_ms).await {
        return;
    }
    let begun = change(&app, id, |job| {
        if job.state == State::UploadComplete {
            job.state = State::InProgress;
            job.stamp = app.clock.now();
        }
    });
    let Some(job) = begun else { return };
    let started = std::time::Instant::now();
    let ended = match job.operation.reads() {
        true => query::work(&app, &job).await,
        false => ingest::work(&app, &job).await,
    };
    let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    change(&app, id, |job| {
        job.active_ms += took;
        job.total_ms += took;
        if job.state != State::InProgress {
            return;
        }
        match ended {
            Ok(()) => job.state = State::JobComplete,
            Err(why) => {
                job.state = State::Failed;
                job.error = Some(why);
            }
        }
        job.stamp = app.clock.now();
    });
}

/// Changes a job that still exists, keeps it in the journal, and gives it as it is now.
pub(crate) fn change(app: &App, id: Id, edit: impl FnOnce(&mut Job)) -> Option<Job> {
    let mut store = app.store();
    let job = store.jobs.edit(id)?;
    edit(job);
    let job = job.clone();
    if let Err(error) = store.commit() {
        app.report(&error);
    }
    Some(job)
}

fn going_on(app: &App, id: Id) -> bool {
    let store = app.store();
    let job = store.jobs.get(id);
    job.is_some_and(|job| matches!(job.state, State::UploadComplete | State::InProgress))
}

/// Waits; false if the job was aborted or deleted meanwhile.
async fn pause(app: &App, id: Id, ms: u64) -> bool {
    let until = tokio::time::Instant::now() + Duration::from_millis(ms);
    while going_on(app, id) {
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        if left.is_zero() {
            return true;
        }
        tokio::time::sleep(left.min(Duration::from_millis(20))).await;
    }
    false
}
