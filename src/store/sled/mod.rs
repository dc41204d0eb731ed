//! The store on disk: sled, held on a short leash.
//!
//! ```text
//!  callers ──bounded channel──► owner thread: write ─► flush ─► fdatasync ─► mark ─► answer
//! ```
//!
//! sled 0.34.7 is not maintained in the usual sense. It is pinned, hidden behind the store's traits,
//! and used only in ways that were tested against crashes and power cuts: one thread owns it, every
//! flush is followed by a sync of our own, no value is longer than 4096 bytes, the leftovers of
//! broken snapshots are removed before it opens, and the first error ends it.

mod directory;
mod disk;
mod open;
mod owner;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

pub use directory::is_running;
use disk::SledRows;
pub use open::Opening;
use owner::{Ending, Gauges, QUEUE, Request};

use super::{
    BulkJob, BulkJobs, Checkpoints, Ledger, LedgerEntry, Load, Loads, Pending, Progress,
    RecordState, Recovered, SchemaVersion, Schemas, Settlement, Shelf, ShelfCounts, ShelfQuery,
    Store, Verdicts, apply, bulk, keys, ledger, load, shelf,
};
use crate::change::Identity;
use crate::fault::{Error, ErrorKind, Result};
use crate::mapping::{Key, ObjectId, RecordId};
use crate::sinks::BoxFuture;
use crate::sinks::budget::Account;

/// A request that is served for longer means a disk that hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// What may be chosen about a store.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of pages that sled keeps in memory, beyond its floor of about 65 bytes a row.
    pub cache: u64,
    /// Bytes of the file that is given up when a full disk would keep the store from opening.
    pub ballast: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            cache: 16 << 20,
            ballast: 64 << 20,
        }
    }
}

/// A store in a state directory.
///
/// Requests are served in order. [`Store::settle`] dropped before its first poll has done nothing;
/// dropped later, it goes on to its end: all of it or nothing, as ever. Dropping the store without
/// [`Store::close`] lets it finish what it was sent and gives the directory up a moment later.
#[derive(Debug)]
pub struct SledStore {
    requests: mpsc::Sender<Request>,
    ended: watch::Receiver<Option<Arc<Ending>>>,
    gauges: Arc<Gauges>,
    db: PathBuf,
    blobs: PathBuf,
    opening: Opening,
}

/// What metrics show of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Bytes of the database file. It grows to four or five times what it holds, and never shrinks.
    pub file_bytes: u64,
    /// Files sled made for long values: anything but 0 is a fault.
    pub blob_files: u64,
    /// Commits since opening.
    pub commits: u64,
    /// Rows put and removed since opening.
    pub operations: u64,
    /// Duration of the last commit's write.
    pub last_write: Duration,
    /// Duration of its flush.
    pub last_flush: Duration,
    /// Duration of its sync.
    pub last_sync: Duration,
}

/// Opens the state directory at `path`, on a thread of its own; it may take seconds for a large
/// store after a crash.
///
/// # Errors
/// [`ErrorKind::Busy`] when another process has it, [`ErrorKind::Usage`] when it is not a state
/// directory, [`ErrorKind::Store`] when it is damaged, has gone back, or is of a newer version.
pub async fn open(path: &Path) -> Result<SledStore> {
    open_with(path, Options::default()).await
}

/// As [`open()`], with other sizes.
///
/// # Errors
/// As [`open()`].
pub async fn open_with(path: &Path, options: Options) -> Result<SledStore> {
    let (requests, mut queue) = mpsc::channel(QUEUE);
    let (ended_sender, ended) = watch::channel(None);
    let (opened, opening) = oneshot::channel();
    let gauges = Arc::new(Gauges::new());
    let path = path.to_owned();
    let shared = Arc::clone(&gauges);
    std::thread::Builder::new()
        .name("store".into())
        .spawn(move || {
            let mut disk = match open::open(&path, options) {
                Ok((disk, opening)) => {
                    let db = disk.directory().db();
                    // Nobody waits any more: nothing was asked of the store yet.
                    let _ = opened.send(Ok((db, opening)));
                    disk
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                    return;
                }
            };
            let reply = owner::serve(&mut disk, &mut queue, &ended_sender, &shared);
            disk.sync_mark();
            // Whoever is told that the store is closed may open it again.
            drop(disk);
            if let Some(reply) = reply {
                let _ = reply.send(Ok(()));
            }
        })
        .map_err(|e| Error::new(ErrorKind::Machine, "cannot start the store's thread").source(e))?;
    let opened = opening.await;
    let (db, opening) = opened.map_err(|_| thread_ended())??;
    Ok(SledStore {
        requests,
        ended,
        gauges,
        blobs: db.with_file_name("blobs"),
        db,
        opening,
    })
}

impl SledStore {
    /// What opening found.
    pub fn opening(&self) -> Opening {
        self.opening
    }

    /// Sizes and durations, without asking the owner.
    pub fn stats(&self) -> Stats {
        let micros = |gauge: &std::sync::atomic::AtomicU64| {
            Duration::from_micros(gauge.load(Ordering::Relaxed))
        };
        Stats {
            file_bytes: std::fs::metadata(&self.db).map_or(0, |m| m.len()),
            blob_files: std::fs::read_dir(&self.blobs).map_or(0, |files| files.count() as u64),
            commits: self.gauges.commits.load(Ordering::Relaxed),
            operations: self.gauges.operations.load(Ordering::Relaxed),
            last_write: micros(&self.gauges.write_micros),
            last_flush: micros(&self.gauges.flush_micros),
            last_sync: micros(&self.gauges.sync_micros),
        }
    }

    /// Records in the ledger.
    ///
    /// # Errors
    /// When the store has ended.
    pub async fn ledger_records(&self) -> Result<u64> {
        self.ask(|rows| shelf::count(rows, keys::LEDGER_COUNT))
            .await
    }

    /// Sends a request and waits for its answer.
    async fn call<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T>>) -> Request,
    ) -> Result<T> {
        let (reply, mut answer) = oneshot::channel();
        if self.requests.send(request(reply)).await.is_err() {
            return Err(self.why_ended().await);
        }
        loop {
            match tokio::time::timeout(PATIENCE, &mut answer).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(_dropped)) => return Err(self.why_ended().await),
                Err(_elapsed) if self.gauges.busy_for() < PATIENCE => {}
                Err(_elapsed) => {
                    return Err(Error::new(
                        ErrorKind::Store,
                        format!(
                            "the store has been at one request for {} s",
                            self.gauges.busy_for().as_secs()
                        ),
                    )
                    .remedy(
                        "look at the disk of the state directory, which seems to hang, then \
                         restart: nothing that was acknowledged is lost",
                    ));
                }
            }
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&SledRows) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.call(|reply| {
            Request::Ask(Box::new(move |rows| {
                let _ = reply.send(question(rows));
            }))
        })
        .await
    }

    /// Why the owner is gone. It says so before it goes, or else it has panicked.
    async fn why_ended(&self) -> Error {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(why) => why.as_ref().map_or_else(thread_ended, |why| why.error()),
            Err(_gone) => thread_ended(),
        }
    }
}

fn thread_ended() -> Error {
    Ending::new("the store's thread has ended").error()
}

impl Checkpoints for SledStore {
    fn recover(&self) -> BoxFuture<'_, Result<Recovered>> {
        Box::pin(self.ask(apply::recover))
    }

    fn bind(&self, identity: Identity, progress: Progress) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.call(move |reply| Request::Bind(Box::new(identity), progress, reply)))
    }

    fn spent(&self) -> BoxFuture<'_, Result<Option<Account>>> {
        Box::pin(self.ask(apply::spent))
    }

    fn verdicts(&self) -> BoxFuture<'_, Result<Verdicts>> {
        Box::pin(self.ask(apply::verdicts))
    }
}

impl Ledger for SledStore {
    fn records<'a>(&'a self, records: &'a [RecordId]) -> BoxFuture<'a, Result<Vec<RecordState>>> {
        let records = records.to_vec();
        Box::pin(self.ask(move |rows| apply::records(rows, &records)))
    }

    fn ledger_page<'a>(
        &'a self,
        object: ObjectId,
        after: Option<Key>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(RecordId, LedgerEntry)>>> {
        Box::pin(self.ask(move |rows| ledger::list(rows, object, after.as_ref(), limit)))
    }
}

impl Shelf for SledStore {
    fn shelf(&self, query: ShelfQuery) -> BoxFuture<'_, Result<Vec<Pending>>> {
        Box::pin(self.ask(move |rows| shelf::list(rows, &query)))
    }

    fn waiting_for<'a>(
        &'a self,
        parent: &'a RecordId,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RecordId>>> {
        let parent = parent.clone();
        Box::pin(self.ask(move |rows| shelf::waiting_for(rows, &parent, limit)))
    }

    fn kept_fields(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.ask(shelf::kept_fields))
    }

    fn shelf_counts(&self) -> BoxFuture<'_, Result<ShelfCounts>> {
        Box::pin(self.ask(shelf::counts))
    }
}

impl Schemas for SledStore {
    fn schemas(&self) -> BoxFuture<'_, Result<Vec<SchemaVersion>>> {
        Box::pin(self.ask(apply::schemas))
    }

    fn schema_history(&self) -> BoxFuture<'_, Result<Vec<SchemaVersion>>> {
        Box::pin(self.ask(apply::schema_history))
    }
}

impl Loads for SledStore {
    fn loads(&self) -> BoxFuture<'_, Result<Vec<Load>>> {
        Box::pin(self.ask(load::loads))
    }

    fn fields(&self) -> BoxFuture<'_, Result<Vec<(String, String)>>> {
        Box::pin(self.ask(load::fields))
    }
}

impl BulkJobs for SledStore {
    fn bulk_jobs(&self) -> BoxFuture<'_, Result<Vec<BulkJob>>> {
        Box::pin(self.ask(bulk::jobs))
    }
}

impl Store for SledStore {
    fn settle(&self, settlement: Settlement) -> BoxFuture<'_, Result<()>> {
        let settlement = Box::new(settlement);
        Box::pin(self.call(move |reply| Request::Settle(settlement, reply)))
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.call(Request::Close))
    }
}
