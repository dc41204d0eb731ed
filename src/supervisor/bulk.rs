//! The part of a stage that goes by bulk jobs, and what becomes of jobs when we end and start again.
//!
//! ```text
//!  stage ─► by object and action ─► way? ─► requests (the rest of the stage)
//!                                    └────► pack ─► open ─► STORE ID ─► upload ─► start ─► wait ─► results
//!                                                                                                  │
//!  requests ◄── whatever the results do not answer for ◄───────────────────────────────────────────┘
//! ```
//!
//! What holds, so that the process may end at any await:
//!
//! - A job begins to run only after its id is on disk, beside the intent of its window. A job that was
//!   made and not stored is open for ever, and writes nothing.
//! - Before anything else is written, every stored job has ended ([`Crew::end_old_jobs`]): an older value
//!   can never land on a newer one (P2).
//! - A window's records are in one job or in requests, one after the other, never in both at once.
//! - What a job has done counts only as its results say it, row by row (P1): until then its records are
//!   accepted, and have no verdict.
//! - A job that has begun when nothing may be sent any more (the gate closes) is left at work: its records
//!   are deferred with a doubt, and it is waited for before anything else is written, as if we had ended
//!   and started again.
//! - The results of a job of an earlier life answer for a job with the same content, as long as nothing
//!   else has been written to its object since. Otherwise what it said is said again.

use tokio::time::sleep;

use super::crew::{Crew, set, stopped};
use super::old_jobs::Old;
use super::settle::Fate;
use crate::clock::Clock;
use crate::config::Duplicates;
use crate::fault::{Class, Fault, Result};
use crate::planning::{self, Batch, BatchAction, Cut, Entry, Plan, Room};
use crate::sinks::Outcome;
use crate::sinks::bulk::{JobResults, JobState, Look, Packed, Way};
use crate::store::{BulkJob, BulkPage, Intent, Progress, Settlement};

/// Jobs for one batch, before its rest goes by requests.
const MOST_JOBS: usize = 3;

/// What a window under way has on disk, and what it leaves behind.
#[derive(Debug, Default)]
pub struct Journal {
    /// Progress before it.
    pub progress: Progress,
    /// Its intent.
    pub intent: Option<Intent>,
    /// The page in it.
    pub page: Option<BulkPage>,
    /// The stage under way.
    pub stage: u64,
    /// Jobs that have ended and are forgotten with its settlement.
    pub ended: Vec<String>,
    /// The job that is on disk, and of which not all is known yet.
    pub begun: Option<String>,
    /// Nothing more is sent of the window: a job was left at work.
    pub left: bool,
}

impl Crew {
    /// Waits until every job of an earlier life, or that was left at work, has ended. Before it returns,
    /// nothing may be written.
    /// Returns the pages of existing rows that were on their way by jobs.
    pub async fn end_old_jobs(&self) -> Result<Vec<BulkPage>> {
        let jobs = self.store.bulk_jobs().await?;
        let mut pages = Vec::new();
        let mut old = Old::default();
        for job in jobs {
            if !self.delivery.takes_jobs() {
                tracing::warn!(
                    job = job.id,
                    object = job.object,
                    "a bulk job of another destination is not looked at any more"
                );
                continue;
            }
            let look = self.end_old_job(&job).await.map_err(stopped)?;
            pages.extend(job.page.clone());
            match look {
                Some(look) => {
                    tracing::info!(
                        job = job.id,
                        object = job.object,
                        state = look.state.word(),
                        records = job.records,
                        processed = look.processed,
                        "a bulk job that was left at work has ended"
                    );
                    match look.processed {
                        // It has nothing to say, and another one may do it.
                        0 => old.gone.push(job.id),
                        _ => old.jobs.push((job, look)),
                    }
                }
                None => {
                    tracing::warn!(
                        job = job.id,
                        object = job.object,
                        "the CRM does not know a bulk job that was left at work any more: it counts as \
                         ended, and what it was to write is sent again"
                    );
                    old.gone.push(job.id);
                }
            }
        }
        *self.old_jobs.lock() = old;
        Ok(pages)
    }

    async fn end_old_job(&self, job: &BulkJob) -> Result<Option<Look>, Fault> {
        let delivery = &self.delivery;
        let Some(look) = delivery.look_at_job(&job.id).await? else {
            return Ok(None);
        };
        match look.state {
            // Its content may be half of it, and nobody would ever let it run.
            JobState::Open => delivery.give_up_job(&job.id).await,
            // We, or a person, gave it up: what is being written may still be.
            JobState::Aborted => delivery.wait_for_quiet(&job.id, look).await,
            JobState::Complete | JobState::Failed => Ok(Some(look)),
            JobState::Queued | JobState::Running => {
                tracing::info!(
                    job = job.id,
                    object = job.object,
                    records = job.records,
                    "a bulk job that was left is still at work: nothing is written before it has ended"
                );
                let rows = usize::try_from(job.records).unwrap_or(usize::MAX);
                delivery.await_job(&job.id, &job.object, rows).await
            }
        }
    }

    /// Sends what of a stage goes by jobs. Returns what has to go by requests, in the stage's order.
    pub(super) async fn by_jobs(
        &self,
        plan: &Plan,
        stage: &[usize],
        fates: &mut [Fate],
        journal: &mut Journal,
    ) -> Result<Vec<usize>> {
        let jobs = self.delivery.jobs();
        if !self.delivery.uses_jobs() || stage.len() < jobs.min_rows() {
            self.wrote(plan, stage, journal);
            return Ok(stage.to_vec());
        }
        // What must not overtake a person goes by requests: a job takes no conditions. Nor does it give a
        // record its external id.
        let guarded = |index: &usize| {
            let entry = plan.entries.get(*index);
            entry.is_some_and(|e| e.aside.guard.is_some() || e.aside.adopted)
        };
        let (mut rest, free): (Vec<usize>, Vec<usize>) = stage.iter().copied().partition(guarded);
        for Cut { batch, places, .. } in self.cut_for_jobs(&plan.entries, &free) {
            if journal.left || self.way(&batch, places.len()) == Way::Requests {
                rest.extend(places);
                continue;
            }
            let work = self.by_job(&batch, journal);
            let Some(outcomes) = self.delivery.gate().unless_closed(work).await else {
                let doubt = self.leave_job(journal);
                for index in places {
                    let later = Outcome::Deferred {
                        doubt: doubt || plan.again,
                    };
                    set(fates, index, Fate::Answered(later));
                }
                continue;
            };
            let outcomes = outcomes?;
            for (index, outcome) in places.into_iter().zip(outcomes) {
                match (outcome, fates.get_mut(index)) {
                    (Some(outcome), Some(fate)) => *fate = Fate::Answered(outcome),
                    _ => rest.push(index),
                }
            }
        }
        // What needs no grouping keeps the order of the changes.
        rest.sort_unstable();
        self.wrote(plan, &rest, journal);
        Ok(rest)
    }

    /// Nothing may be sent any more. Says whether a job may be at work all the same.
    fn leave_job(&self, journal: &mut Journal) -> bool {
        let Some(job) = journal.begun.take() else {
            return false;
        };
        tracing::warn!(
            job,
            "a bulk job is left to itself, because nothing may be sent now: when that is over it is \
             waited for first"
        );
        journal.left = true;
        self.old_jobs.lock().left = true;
        true
    }

    /// These are going to be written by requests.
    fn wrote(&self, plan: &Plan, indexes: &[usize], journal: &mut Journal) {
        if self.old_jobs.is_empty() {
            return;
        }
        for index in indexes {
            if let Some(entry) = plan.entries.get(*index) {
                let gone = self.old_jobs.forget(&entry.operation.target.object);
                journal.ended.extend(gone);
            }
        }
    }

    /// Writes a batch by jobs. What has no outcome goes by requests.
    async fn by_job(&self, batch: &Batch, journal: &mut Journal) -> Result<JobResults> {
        let object = &batch.target.object;
        let mut outcomes: JobResults = vec![None; batch.writes.len()];
        for _ in 0..MOST_JOBS {
            let open = open(&outcomes);
            let Ok(packed) = self.delivery.pack_job(batch, &open) else {
                break;
            };
            if self.way(batch, packed.places.len()) == Way::Requests {
                break;
            }
            let Some((job, look)) = self.run_job(batch, &packed, journal).await? else {
                break;
            };
            let results = self.delivery.job_results(&job, batch, &packed, &look);
            let results = results.await.map_err(stopped)?;
            journal.ended.extend(journal.begun.take());
            let mut said = 0_usize;
            for (place, result) in packed.places.iter().zip(results) {
                said += usize::from(result.is_some());
                if let Some(slot) = outcomes.get_mut(*place) {
                    *slot = result;
                }
            }
            let written = outcomes.iter().flatten();
            let written = written.filter(|o| matches!(o, Outcome::Written { .. }));
            tracing::info!(
                job,
                %object,
                state = look.state.word(),
                records = packed.places.len(),
                written = written.count(),
                unsaid = packed.places.len() - said,
                "a bulk job has ended"
            );
            if look.state == JobState::Complete {
                break;
            }
            tracing::warn!(
                job,
                %object,
                state = look.state.word(),
                processed = look.processed,
                remedy = "see the job in Setup, Bulk Data Load Jobs",
                "a bulk job did not get to its end: what it left is sent again"
            );
            if look.processed == 0 {
                // The next one would come as far.
                self.delivery.jobs().avoid(object, batch.action);
                break;
            }
        }
        Ok(outcomes)
    }

    fn cut_for_jobs(&self, entries: &[Entry], stage: &[usize]) -> Vec<Cut> {
        let room = Room {
            records: self.delivery.limits().records,
            guarded: 0,
            bytes: self.delivery.jobs().max_bytes(),
            locks: &|object| self.delivery.locks_parents(object),
        };
        self.stamp(planning::cut_for_jobs(entries, stage, &room), entries)
    }

    fn way(&self, batch: &Batch, records: usize) -> Way {
        // A job cannot say that duplicate rules are to be passed.
        let allow = batch.target.creation.duplicates == Duplicates::Allow;
        if allow && !matches!(batch.action, BatchAction::Delete { .. }) {
            return Way::Requests;
        }
        let object = &batch.target.object;
        self.delivery.way(object, batch.action, records)
    }

    /// Runs one job to its end. `None`: there is none, and the batch goes by requests.
    async fn run_job(
        &self,
        batch: &Batch,
        packed: &Packed,
        journal: &mut Journal,
    ) -> Result<Option<(String, Look)>> {
        let object = &*batch.target.object;
        let rows = packed.places.len();
        if let Some((job, look)) = self.old_jobs.take(packed.hash) {
            tracing::info!(
                job = job.id,
                object,
                "it was done by a bulk job that was left at work: its results are read"
            );
            journal.begun = Some(job.id.clone());
            return Ok(Some((job.id, look)));
        }
        journal.ended.extend(self.old_jobs.forget(object));
        let mut failures = 0;
        loop {
            let job = match self.delivery.open_job(batch).await {
                Ok(job) => job,
                Err(fault) => return self.refused(batch, fault),
            };
            self.store_job(&job, batch, packed, journal).await?;
            let uploaded = self.delivery.upload_job(&job, packed).await;
            let fault = match uploaded {
                Ok(()) => match self.delivery.start_job(&job).await {
                    Ok(()) => {
                        tracing::info!(job, object, records = rows, "a bulk job is at work");
                        let look = self.delivery.await_job(&job, object, rows).await;
                        return match look.map_err(stopped)? {
                            Some(look) => Ok(Some((job, look))),
                            None => {
                                tracing::warn!(job, object, "the CRM has lost a bulk job");
                                journal.ended.extend(journal.begun.take());
                                self.delivery.jobs().avoid(object, batch.action);
                                Ok(None)
                            }
                        };
                    }
                    Err(fault) => fault,
                },
                Err(fault) => fault,
            };
            // It did not start, and must not: what it has is not known, or refused.
            let given_up = self.delivery.give_up_job(&job).await.map_err(stopped)?;
            if let Some(look) = given_up.filter(|look| look.processed > 0) {
                // It ran all the same.
                return Ok(Some((job, look)));
            }
            journal.ended.extend(journal.begun.take());
            match fault.class {
                // Nothing has arrived, or nobody knows: with another job.
                Class::Service | Class::Unknown | Class::RecordTransient => {
                    failures += 1;
                    let at_least = fault.retry_after.unwrap_or_default();
                    let delay = self.delivery.delay(failures).max(at_least);
                    if fault.code != "not_compressed" {
                        sleep(delay).await;
                    }
                }
                _ => return self.refused(batch, fault),
            }
        }
    }

    /// A job was refused: whether requests are, too, they will tell.
    fn refused<T>(&self, batch: &Batch, fault: Fault) -> Result<Option<T>> {
        let object = &*batch.target.object;
        if fault.class == Class::Authentication {
            return Err(stopped(fault));
        }
        tracing::warn!(
            object,
            %fault,
            "the CRM refuses a bulk job: its records go by requests, and for ten minutes what follows"
        );
        self.delivery.jobs().avoid(object, batch.action);
        Ok(None)
    }

    /// From here on the job can be found again.
    async fn store_job(
        &self,
        id: &str,
        batch: &Batch,
        packed: &Packed,
        journal: &mut Journal,
    ) -> Result<()> {
        let job = BulkJob {
            id: id.to_owned(),
            object: batch.target.object.to_string(),
            action: batch.action.word().to_owned(),
            until: journal.intent.as_ref().map(|i| i.until).unwrap_or_default(),
            page: journal.page.clone(),
            stage: journal.stage,
            records: packed.places.len() as u64,
            hash: packed.hash,
            since: Clock::System.now(),
        };
        // When it has ended it is forgotten with the settlement of the window, which has what it wrote.
        journal.begun = Some(job.id.clone());
        let settlement = Settlement {
            progress: journal.progress,
            intent: journal.intent.clone(),
            jobs: vec![job],
            ..Settlement::default()
        };
        self.store.settle(settlement).await
    }
}

/// Places that have no outcome yet.
fn open(outcomes: &JobResults) -> Vec<usize> {
    let places = outcomes.iter().enumerate();
    places
        .filter(|(_, o)| o.is_none())
        .map(|(place, _)| place)
        .collect()
}
