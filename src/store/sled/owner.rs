//! The one thread that owns the database. Everybody else sends requests and waits for answers.
//!
//! Requests are served in the order in which they came, one at a time: a question sees every
//! settlement sent before it, and never half of one. A commit is `write`, `flush`, `sync`, answer;
//! the first that fails is the last: sled's errors stay, so there is nothing to try again.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::disk::{Disk, SledRows};
use crate::change::Identity;
use crate::fault::{Error, ErrorKind, Result};
use crate::store::rows::Changes;
use crate::store::{Progress, Settlement, apply, keys};

/// Requests that may wait.
pub(super) const QUEUE: usize = 64;

type Reply = oneshot::Sender<Result<()>>;

/// What the owner can be asked.
pub(super) enum Request {
    /// Commit a settlement.
    Settle(Box<Settlement>, Reply),
    /// Bind an empty store.
    Bind(Box<Identity>, Progress, Reply),
    /// Answer a question.
    Ask(Box<dyn FnOnce(&SledRows) + Send>),
    /// End cleanly; answered when the directory is free again.
    Close(Reply),
}

/// How long the last commit took, and what it was. Written by the owner, read by metrics.
#[derive(Debug)]
pub(super) struct Gauges {
    epoch: Instant,
    /// Milliseconds after `epoch` at which the request being served began, plus one; 0: idle.
    busy_since: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) operations: AtomicU64,
    pub(super) write_micros: AtomicU64,
    pub(super) flush_micros: AtomicU64,
    pub(super) sync_micros: AtomicU64,
}

impl Gauges {
    pub(super) fn new() -> Self {
        Gauges {
            epoch: Instant::now(),
            busy_since: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            operations: AtomicU64::new(0),
            write_micros: AtomicU64::new(0),
            flush_micros: AtomicU64::new(0),
            sync_micros: AtomicU64::new(0),
        }
    }

    /// How long the owner has been serving one request.
    pub(super) fn busy_for(&self) -> Duration {
        match self.busy_since.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => self
                .epoch
                .elapsed()
                .saturating_sub(Duration::from_millis(since - 1)),
        }
    }

    fn begin(&self) {
        let now = self.epoch.elapsed().as_millis() as u64;
        self.busy_since.store(now + 1, Ordering::Release);
    }

    fn end(&self) {
        self.busy_since.store(0, Ordering::Release);
    }
}

/// Why the store takes nothing more, once it does not.
pub(super) type Ended = watch::Sender<Option<Arc<Ending>>>;

/// What everybody is told who comes after the end.
#[derive(Debug)]
pub(super) struct Ending {
    what: String,
    remedy: Cow<'static, str>,
}

impl Ending {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Ending {
            what: what.into(),
            remedy: "restart syncline".into(),
        }
    }

    pub(super) fn error(&self) -> Error {
        Error::new(ErrorKind::Store, self.what.clone()).remedy(self.remedy.clone())
    }
}

/// Serves requests until nobody can send any more, or until it is closed. Answers who waits for the
/// close; the caller drops the disk first.
pub(super) fn serve<D: Disk>(
    disk: &mut D,
    requests: &mut mpsc::Receiver<Request>,
    ended: &Ended,
    gauges: &Gauges,
) -> Option<Reply> {
    while let Some(request) = requests.blocking_recv() {
        gauges.begin();
        let last = serve_one(disk, request, ended, gauges);
        gauges.end();
        if last.is_some() {
            return last;
        }
    }
    // Nobody is left to ask for it: mark the clean end all the same.
    if ended.borrow().is_none() {
        let _ = guarded(ended, || commit(disk, clean_end(), gauges));
    }
    None
}

fn serve_one<D: Disk>(
    disk: &mut D,
    request: Request,
    ended: &Ended,
    gauges: &Gauges,
) -> Option<Reply> {
    if let Some(why) = ended.borrow().clone() {
        match request {
            Request::Settle(_, reply) | Request::Bind(_, _, reply) | Request::Close(reply) => {
                let _ = reply.send(Err(why.error()));
            }
            // Dropping the question drops its reply: the asker learns why from `ended`.
            Request::Ask(_) => {}
        }
        return None;
    }
    match request {
        Request::Settle(settlement, reply) => {
            let result = guarded(ended, || {
                let changes = apply::settle(disk.rows(), &settlement)?;
                commit(disk, changes, gauges)
            });
            if let Err(error) = &result {
                end(ended, error);
            }
            let _ = reply.send(result);
        }
        Request::Bind(identity, progress, reply) => {
            let planned = guarded(ended, || apply::bind(disk.rows(), &identity, progress));
            // A refused binding is an answer, a failed commit an end.
            let result = planned.and_then(|changes| {
                let result = guarded(ended, || commit(disk, changes, gauges));
                if let Err(error) = &result {
                    end(ended, error);
                }
                result
            });
            let _ = reply.send(result);
        }
        Request::Ask(question) => {
            let _ = guarded(ended, || {
                question(disk.rows());
                Ok(())
            });
        }
        Request::Close(reply) => {
            let result = guarded(ended, || commit(disk, clean_end(), gauges));
            ended.send_if_modified(|why| {
                why.get_or_insert_with(|| Arc::new(Ending::new("the store is closed")));
                true
            });
            return match result {
                Ok(()) => Some(reply),
                Err(error) => {
                    let _ = reply.send(Err(error));
                    None
                }
            };
        }
    }
    None
}

fn clean_end() -> Changes {
    let mut changes = Changes::default();
    changes.put_short(keys::CLEAN, vec![1]);
    changes
}

/// One durable commit.
fn commit<D: Disk>(disk: &mut D, changes: Changes, gauges: &Gauges) -> Result<()> {
    let operations = changes.rows.len() as u64;
    let timed = |into: &AtomicU64, step: &mut dyn FnMut() -> Result<()>| {
        let begin = Instant::now();
        let result = step();
        into.store(begin.elapsed().as_micros() as u64, Ordering::Relaxed);
        result
    };
    let mut changes = Some(changes);
    timed(&gauges.write_micros, &mut || {
        disk.write(changes.take().unwrap_or_default())
    })?;
    timed(&gauges.flush_micros, &mut || disk.flush())?;
    timed(&gauges.sync_micros, &mut || disk.sync())?;
    gauges.commits.fetch_add(1, Ordering::Relaxed);
    gauges.operations.fetch_add(operations, Ordering::Relaxed);
    Ok(())
}

/// Runs something that calls sled: a panic in there is damage, and the end.
fn guarded<T>(ended: &Ended, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_panic| {
        let error = Error::new(
            ErrorKind::Store,
            "the database is damaged: sled gave up while reading it",
        )
        .remedy(crate::store::DAMAGED);
        end(ended, &error);
        Err(error)
    })
}

/// Nothing is taken after this.
fn end(ended: &Ended, error: &Error) {
    ended.send_if_modified(|why| {
        let first = why.is_none();
        if first {
            let mut ending = Ending::new(format!("the store has failed before: {error}"));
            if let Some(remedy) = &error.remedy {
                ending.remedy = remedy.clone();
            }
            *why = Some(Arc::new(ending));
        }
        first
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::path::Path;
    use std::sync::Mutex;

    use super::super::Options;
    use super::super::disk::SledDisk;
    use super::super::open::open;
    use super::*;
    use crate::change::{Lsn, Position};

    /// A disk that records its steps, and fails or panics at one of them.
    struct Recorded {
        disk: SledDisk,
        log: Arc<Mutex<Vec<String>>>,
        trouble: Option<(&'static str, Trouble)>,
    }

    #[derive(Clone, Copy)]
    enum Trouble {
        Error,
        Panic,
    }

    impl Recorded {
        fn step(
            &mut self,
            name: &'static str,
            step: impl FnOnce(&mut SledDisk) -> Result<()>,
        ) -> Result<()> {
            self.log.lock().unwrap().push(name.to_owned());
            match self.trouble {
                Some((at, Trouble::Error)) if at == name => {
                    Err(Error::new(ErrorKind::Store, format!("no {name}")))
                }
                Some((at, Trouble::Panic)) if at == name => panic!("no {name}"),
                _ => step(&mut self.disk),
            }
        }
    }

    impl Disk for Recorded {
        fn rows(&self) -> &SledRows {
            self.disk.rows()
        }
        fn write(&mut self, changes: Changes) -> Result<()> {
            self.step("write", |disk| disk.write(changes))
        }
        fn flush(&mut self) -> Result<()> {
            self.step("flush", SledDisk::flush)
        }
        fn sync(&mut self) -> Result<()> {
            self.step("sync", SledDisk::sync)
        }
    }

    fn recorded(path: &Path) -> Recorded {
        let options = Options {
            cache: 1 << 20,
            ballast: 0,
        };
        let (disk, _opening) = open(path, options).unwrap();
        let mut recorded = Recorded {
            disk,
            log: Arc::default(),
            trouble: None,
        };
        let bound = crate::store::apply::bind(
            recorded.rows(),
            &Identity {
                system: "1".into(),
                timeline: 1,
                database: "app".into(),
                slot: "s".into(),
                publication: "p".into(),
                consistent_point: Lsn(0),
            },
            Progress::default(),
        );
        commit(&mut recorded, bound.unwrap(), &Gauges::new()).unwrap();
        recorded.log.lock().unwrap().clear();
        recorded
    }

    fn step(number: u64) -> Box<Settlement> {
        Box::new(Settlement {
            progress: Progress {
                checkpoint: Lsn(number),
                settled: Position::default(),
            },
            ..Settlement::default()
        })
    }

    /// Serves settlements until they fail; logs each acknowledgement among the disk's steps.
    fn settle(disk: &mut Recorded, ended: &Ended, numbers: std::ops::RangeInclusive<u64>) {
        for number in numbers {
            let (reply, mut answer) = oneshot::channel();
            serve_one(
                disk,
                Request::Settle(step(number), reply),
                ended,
                &Gauges::new(),
            );
            let word = match answer.try_recv().unwrap() {
                Ok(()) => "acknowledge",
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::Store);
                    assert!(error.remedy.is_some() || error.what.starts_with("no "));
                    "refuse"
                }
            };
            disk.log.lock().unwrap().push(word.to_owned());
        }
    }

    /// What a power cut can take is what was not synced: so no answer before the sync.
    #[test]
    fn every_acknowledgement_comes_after_a_sync() {
        let directory = tempfile::tempdir().unwrap();
        let mut disk = recorded(directory.path());
        let (ended, _) = watch::channel(None);
        settle(&mut disk, &ended, 1..=50);
        let log = disk.log.lock().unwrap();
        let steps: Vec<&str> = log.iter().map(String::as_str).collect();
        assert_eq!(steps.len(), 200);
        for commit in steps.chunks(4) {
            assert_eq!(commit, ["write", "flush", "sync", "acknowledge"]);
        }
    }

    #[test]
    fn a_failed_step_is_the_last() {
        for at in ["write", "flush", "sync"] {
            for trouble in [Trouble::Error, Trouble::Panic] {
                let directory = tempfile::tempdir().unwrap();
                let mut disk = recorded(directory.path());
                let (ended, _) = watch::channel(None);
                settle(&mut disk, &ended, 1..=2);
                disk.log.lock().unwrap().clear();
                disk.trouble = Some((at, trouble));
                settle(&mut disk, &ended, 3..=3);
                // It would work again, and is not tried.
                disk.trouble = None;
                settle(&mut disk, &ended, 4..=5);
                let log = disk.log.lock().unwrap();
                let all = ["write", "flush", "sync"];
                let until = all.iter().position(|step| *step == at).unwrap();
                let mut expected: Vec<&str> = all[..=until].to_vec();
                expected.extend(["refuse"; 3]);
                assert_eq!(*log, expected);
            }
        }
    }

    #[test]
    fn a_row_too_long_is_refused_in_every_build() {
        let directory = tempfile::tempdir().unwrap();
        let mut disk = recorded(directory.path());
        for (key, len, fits) in [(10, 4096, true), (10, 4097, false), (257, 10, false)] {
            let mut changes = Changes::default();
            changes.put_short(vec![b'x'; key], vec![1; len]);
            let result = commit(&mut disk, changes, &Gauges::new());
            assert_eq!(result.is_ok(), fits, "{key} {len}");
        }
    }

    #[test]
    fn a_question_that_panics_ends_the_store() {
        let directory = tempfile::tempdir().unwrap();
        let mut disk = recorded(directory.path());
        let (ended, _) = watch::channel(None);
        let question = Request::Ask(Box::new(|_| panic!("damaged page")));
        serve_one(&mut disk, question, &ended, &Gauges::new());
        settle(&mut disk, &ended, 1..=1);
        assert_eq!(*disk.log.lock().unwrap(), ["refuse"]);
    }
}
