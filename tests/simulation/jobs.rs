//! Bulk jobs of the CRM in memory: accepted now, worked off later, whether anybody waits for them or
//! not. What a job does at which time is fixed when it starts, and takes effect whenever the CRM is next
//! looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use syncline::fault::{Class, Fault};
use syncline::planning::{Batch, BatchAction, Write};
use syncline::sinks::bulk::{Bulk, JobResults, JobState, Look, Packed};
use syncline::sinks::{BoxFuture, Outcome};
use tokio::time::{Instant, sleep};

use crate::crm::{Crm, Inner, parents};

/// Records that are written together.
const CHUNK: usize = 3;

/// All jobs.
#[derive(Default)]
pub struct Jobs {
    jobs: BTreeMap<u64, Job>,
    /// What was packed, by its hash: the body of an upload names it.
    contents: HashMap<u128, Batch>,
    next: u64,
}

struct Job {
    state: JobState,
    content: Option<Batch>,
    /// When each chunk is written; the last one ends the job.
    due: Vec<Instant>,
    /// It fails before this chunk.
    fails: Option<usize>,
    outcomes: Vec<Outcome>,
}

impl Job {
    fn len(&self) -> usize {
        self.content.as_ref().map_or(0, |c| c.writes.len())
    }

    /// What it writes, and the parents that a CRM locks for that.
    fn keys(&self) -> BTreeSet<(String, String)> {
        let Some(batch) = &self.content else {
            return BTreeSet::new();
        };
        let own = |w: &Write| (batch.target.object.to_string(), w.key.to_string());
        let writes = batch.writes.iter();
        writes
            .flat_map(|w| parents(batch, w).chain([own(w)]))
            .collect()
    }
}

impl Inner {
    /// Does what jobs were to do until now, in the order in which it was due.
    pub fn advance(&mut self, refused: u32, locked: &mut dyn FnMut() -> bool) {
        let now = Instant::now();
        loop {
            let due = |(id, job): (&u64, &Job)| Some((*job.due.first()?, *id));
            let next = self.jobs.jobs.iter().filter_map(due).min();
            let Some((_, id)) = next.filter(|(at, _)| *at <= now) else {
                return;
            };
            let mut job = self.jobs.jobs.remove(&id).expect("it was there");
            job.due.remove(0);
            if job.state == JobState::Queued {
                job.state = JobState::Running;
            }
            let chunk = job.outcomes.len() / CHUNK;
            let batch = job.content.clone().expect("it was uploaded");
            if job.fails == Some(chunk) {
                job.state = JobState::Failed;
                job.due.clear();
            } else {
                for write in batch.writes.iter().skip(job.outcomes.len()).take(CHUNK) {
                    let outcome = match locked() {
                        true => Outcome::Refused(Fault::new(
                            Class::Locked,
                            "UNABLE_TO_LOCK_ROW",
                            "locked",
                        )),
                        false => self.write(&batch, write, refused),
                    };
                    job.outcomes.push(outcome);
                }
            }
            if job.due.is_empty() {
                if job.state == JobState::Running {
                    job.state = JobState::Complete;
                }
                self.leave(&job.keys());
            }
            self.jobs.jobs.insert(id, job);
        }
    }
}

/// Those that a job takes.
fn takes(batch: &Batch, write: &Write) -> bool {
    match batch.action {
        // Now and then a value that a job cannot say.
        BatchAction::Upsert => !write.key.ends_with('7'),
        _ => write.crm_id.is_some() && write.from.is_none(),
    }
}

fn refuse(code: &'static str) -> Fault {
    Fault::new(Class::Configuration, code, "not now")
}

impl Crm {
    /// One call: late, and perhaps without an answer.
    async fn called<T>(
        &self,
        work: impl FnOnce(&mut Inner) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let troubles = self.troubles();
        sleep(self.latency()).await;
        if self.chance(troubles.down) {
            return Err(Fault::new(Class::Service, "SERVER_UNAVAILABLE", "later"));
        }
        if self.chance(troubles.lost_before) {
            return Err(Fault::new(Class::Unknown, "no_answer", "connection lost"));
        }
        let done = work(&mut self.now());
        sleep(self.latency()).await;
        if self.chance(troubles.lost_after) {
            return Err(Fault::new(Class::Unknown, "no_answer", "connection lost"));
        }
        done
    }
}

fn number(job: &str) -> u64 {
    job.parse().expect("an id of ours")
}

impl Bulk for Crm {
    fn pack(&self, batch: &Batch, places: &[usize]) -> Result<Packed, Fault> {
        let places: Vec<usize> = places
            .iter()
            .copied()
            .filter(|i| takes(batch, &batch.writes[*i]))
            .collect();
        if places.is_empty() {
            return Err(refuse("not_for_bulk"));
        }
        let content = Batch {
            writes: places.iter().map(|i| batch.writes[*i].clone()).collect(),
            ..batch.clone()
        };
        let said: Vec<_> = content
            .writes
            .iter()
            .map(|w| (&w.key, &w.crm_id, &w.fields))
            .collect();
        let said = format!("{}{:?}{said:?}", batch.target.object, batch.action);
        let mut hash = 0_u128;
        for byte in said.bytes() {
            hash =
                (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013B);
        }
        self.now().jobs.contents.insert(hash, content);
        Ok(Packed {
            hash,
            places,
            ..Packed::default()
        })
    }

    fn open<'a>(&'a self, _batch: &'a Batch) -> BoxFuture<'a, Result<String, Fault>> {
        Box::pin(self.called(|inner| {
            inner.jobs.next += 1;
            let id = inner.jobs.next;
            let job = Job {
                state: JobState::Open,
                content: None,
                due: Vec::new(),
                fails: None,
                outcomes: Vec::new(),
            };
            inner.jobs.jobs.insert(id, job);
            Ok(id.to_string())
        }))
    }

    fn upload<'a>(&'a self, job: &'a str, packed: &'a Packed) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.called(move |inner| {
            let content = inner.jobs.contents.get(&packed.hash).cloned();
            let job = inner.jobs.jobs.get_mut(&number(job)).expect("opened");
            if job.state != JobState::Open || job.content.is_some() {
                return Err(refuse("CLIENTINPUTERROR"));
            }
            job.content = content;
            Ok(())
        }))
    }

    fn start<'a>(&'a self, job: &'a str) -> BoxFuture<'a, Result<(), Fault>> {
        // How long each chunk takes.
        let step = || {
            let most = if self.chance(100) { 20_000 } else { 400 };
            Duration::from_millis(u64::from(self.below(most)) + 1)
        };
        let steps: Vec<Duration> = (0..200).map(|_| step()).collect();
        let fails = self.chance(60).then(|| self.below(8) as usize);
        let troubled = self.troubles().locked > 0;
        Box::pin(self.called(move |inner| {
            let job = inner.jobs.jobs.get_mut(&number(job)).expect("opened");
            if job.state != JobState::Open {
                return Err(refuse("INVALIDJOBSTATE"));
            }
            job.state = JobState::Queued;
            let mut at = Instant::now();
            let chunks = job.len().div_ceil(CHUNK).max(1);
            for step in steps.into_iter().cycle().take(chunks) {
                at += step;
                job.due.push(at);
            }
            job.fails = fails.filter(|_| troubled);
            let keys = job.keys();
            inner.enter(&keys);
            Ok(())
        }))
    }

    fn abort<'a>(&'a self, job: &'a str) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.called(move |inner| {
            let job = inner.jobs.jobs.get_mut(&number(job)).expect("opened");
            match job.state {
                JobState::Open => job.state = JobState::Aborted,
                JobState::Queued | JobState::Running => {
                    // What is being written is written to its end.
                    let running = usize::from(job.state == JobState::Running);
                    job.state = JobState::Aborted;
                    job.due.truncate(running);
                    let keys = job.keys();
                    if job.due.is_empty() {
                        inner.leave(&keys);
                    }
                }
                _ => return Err(refuse("INVALIDJOBSTATE")),
            }
            Ok(())
        }))
    }

    fn look<'a>(&'a self, job: &'a str) -> BoxFuture<'a, Result<Option<Look>, Fault>> {
        let vanishes = self.troubles().locked > 0 && self.chance(5);
        Box::pin(self.called(move |inner| {
            let id = number(job);
            let ended = |job: &Job| job.state.has_ended() && job.due.is_empty();
            if vanishes && inner.jobs.jobs.get(&id).is_some_and(ended) {
                inner.jobs.jobs.remove(&id);
            }
            let refused = |o: &&Outcome| matches!(o, Outcome::Refused(_));
            Ok(inner.jobs.jobs.get(&id).map(|job| Look {
                state: job.state,
                processed: job.outcomes.len() as u64,
                failed: job.outcomes.iter().filter(refused).count() as u64,
                message: None,
            }))
        }))
    }

    fn results<'a>(
        &'a self,
        job: &'a str,
        _batch: &'a Batch,
        packed: &'a Packed,
        _look: &'a Look,
    ) -> BoxFuture<'a, Result<JobResults, Fault>> {
        // Now and then a row that no result speaks of.
        let unsaid: Vec<bool> = packed.places.iter().map(|_| self.chance(20)).collect();
        Box::pin(self.called(move |inner| {
            let Some(job) = inner.jobs.jobs.get(&number(job)) else {
                return Ok(vec![None; packed.places.len()]);
            };
            let said = job.outcomes.iter().zip(unsaid).map(|(outcome, unsaid)| {
                let again = match outcome {
                    Outcome::Refused(f) => f.class == Class::Locked,
                    // An id that is not good any more: a request looks for the record.
                    Outcome::Absent => true,
                    Outcome::Written { .. } | Outcome::Overtaken | Outcome::Deferred { .. } => {
                        false
                    }
                };
                (!again && !unsaid).then(|| outcome.clone())
            });
            Ok(said.collect())
        }))
    }
}
