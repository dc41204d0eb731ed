//! The steps of a job, through the one engine of delivery.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::RngExt;
use tokio::time::{Instant, sleep};

use super::choose::{Case, Pace, Way, choose};
use super::measure::Measured;
use super::{Bulk, JobResults, JobState, Look, Packed, Settings};
use crate::config::BulkMode;
use crate::fault::{Class, Fault};
use crate::planning::{Batch, BatchAction};
use crate::sinks::Delivery;

/// An object whose job failed as a whole goes by requests for so long.
const AVOID: Duration = Duration::from_secs(600);
/// Say so when nothing was done for so long.
const STILL: Duration = Duration::from_secs(600);

/// The job under way.
#[derive(Clone, PartialEq, Debug)]
pub struct JobProgress {
    /// The CRM's id of it.
    pub job: String,
    /// The object.
    pub object: String,
    /// Where it stands.
    pub state: JobState,
    /// Records in it.
    pub rows: u64,
    /// Those that have been tried.
    pub processed: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Since when.
    pub since: Instant,
    /// Since when nothing has been done.
    pub still_since: Instant,
}

/// What delivery knows of jobs.
#[derive(Debug)]
pub struct Jobs {
    pub(in crate::sinks) settings: Settings,
    pub(in crate::sinks) measured: Measured,
    avoid: Mutex<HashMap<(Box<str>, BatchAction), Instant>>,
    under_way: Mutex<Option<JobProgress>>,
    finished: AtomicU64,
    rows: AtomicU64,
}

impl Jobs {
    pub(in crate::sinks) fn new(settings: Settings) -> Self {
        Jobs {
            settings,
            measured: Measured::default(),
            avoid: Mutex::default(),
            under_way: Mutex::default(),
            finished: AtomicU64::new(0),
            rows: AtomicU64::new(0),
        }
    }

    /// Most bytes of values in a job.
    pub fn max_bytes(&self) -> usize {
        self.settings.max_bytes
    }

    /// Least records of one object and one action for which there may be a job.
    pub fn min_rows(&self) -> usize {
        self.settings.min_rows
    }

    /// Jobs that ended since the start, and the rows in them.
    pub fn finished(&self) -> (u64, u64) {
        let (jobs, rows) = (&self.finished, &self.rows);
        (jobs.load(Ordering::Relaxed), rows.load(Ordering::Relaxed))
    }

    /// The job under way.
    pub fn under_way(&self) -> Option<JobProgress> {
        let under_way = self.under_way.lock();
        under_way.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is done to this object's records goes by requests for a while.
    pub fn avoid(&self, object: &str, action: BatchAction) {
        let mut avoid = self.avoid.lock().unwrap_or_else(PoisonError::into_inner);
        avoid.insert((object.into(), action), Instant::now() + AVOID);
    }

    fn avoids(&self, object: &str, action: BatchAction) -> bool {
        let avoid = self.avoid.lock().unwrap_or_else(PoisonError::into_inner);
        avoid
            .get(&(object.into(), action))
            .is_some_and(|until| Instant::now() < *until)
    }

    /// What is shown of the job under way.
    fn show(&self, edit: impl FnOnce(&mut Option<JobProgress>)) {
        let shown = self.under_way.lock();
        edit(&mut shown.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Takes what is shown of a job away, however its wait ends.
struct Shown<'a>(&'a Jobs);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.0.show(|shown| *shown = None);
    }
}

impl Delivery {
    /// What it knows of jobs.
    pub fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// The CRM takes jobs, and the configuration allows them.
    pub fn uses_jobs(&self) -> bool {
        self.sink.bulk().is_some() && self.jobs.settings.mode != BulkMode::Never
    }

    /// The CRM takes jobs.
    pub fn takes_jobs(&self) -> bool {
        self.sink.bulk().is_some()
    }

    /// Which way so many records of an object go.
    pub fn way(&self, object: &str, action: BatchAction, rows: usize) -> Way {
        if self.sink.bulk().is_none() || self.jobs.avoids(object, action) {
            return Way::Requests;
        }
        let settings = self.jobs.settings;
        let case = Case {
            rows,
            mode: settings.mode,
            min_rows: settings.min_rows,
            scarce: self.budget().prefers_bulk(),
        };
        let mut pace = self.pace();
        if let Some(now) = self.gate.now(object, action) {
            (pace.records, pace.lanes) = now;
        }
        choose(case, pace)
    }

    /// How fast each way is.
    fn pace(&self) -> Pace {
        let (request, row) = self.jobs.measured.now();
        Pace {
            records: self.limits().records,
            request,
            lanes: self.lanes,
            per_second: self.per_second,
            job: super::measure::JOB,
            row,
        }
    }

    /// The content of a job; see [`Bulk::pack`].
    ///
    /// # Errors
    /// As there.
    pub fn pack_job(&self, batch: &Batch, places: &[usize]) -> Result<Packed, Fault> {
        self.bulk()?.pack(batch, places)
    }

    /// Makes a job; see [`Bulk::open`]. Repeated as long as the CRM is down: one that was made and not
    /// answered for stays open, and never runs.
    ///
    /// # Errors
    /// Any fault that repeating does not heal.
    pub async fn open_job(&self, batch: &Batch) -> Result<String, Fault> {
        let bulk = self.bulk()?;
        self.persist(|| bulk.open(batch)).await
    }

    /// One attempt to upload its content: the CRM takes it once only, so whoever does not know whether
    /// it arrived makes another job.
    ///
    /// # Errors
    /// Any fault.
    pub async fn upload_job(&self, job: &str, packed: &Packed) -> Result<(), Fault> {
        let bulk = self.bulk()?;
        self.attempt(|| bulk.upload(job, packed)).await.0
    }

    /// Lets it run. On return it does: it was looked at where the answer left a doubt.
    ///
    /// # Errors
    /// Any fault that repeating does not heal; it does not run then.
    pub async fn start_job(&self, job: &str) -> Result<(), Fault> {
        let bulk = self.bulk()?;
        let fault = match self.persist(|| bulk.start(job)).await {
            Ok(()) => return Ok(()),
            Err(fault) if fault.class == Class::Authentication => return Err(fault),
            Err(fault) => fault,
        };
        // Said twice, because the first answer was lost, it is refused.
        match self.look_at_job(job).await? {
            Some(look) if look.state != JobState::Open => Ok(()),
            _ => Err(fault),
        }
    }

    /// Where it stands; see [`Bulk::look`].
    ///
    /// # Errors
    /// Any fault that repeating does not heal.
    pub async fn look_at_job(&self, job: &str) -> Result<Option<Look>, Fault> {
        let bulk = self.bulk()?;
        self.persist(|| bulk.look(job)).await
    }

    /// Waits until it has ended. One of which nothing is done for long is given up.
    ///
    /// # Errors
    /// Any fault that repeating does not heal.
    pub async fn await_job(
        &self,
        job: &str,
        object: &str,
        rows: usize,
    ) -> Result<Option<Look>, Fault> {
        let patience = self.jobs.settings.patience;
        let (least, most) = patience.looks;
        let begun = Instant::now();
        let mut progress = JobProgress {
            job: job.to_owned(),
            object: object.to_owned(),
            state: JobState::Queued,
            rows: rows as u64,
            processed: 0,
            failed: 0,
            since: begun,
            still_since: begun,
        };
        let _shown = Shown(&self.jobs);
        let mut told = false;
        let expected = Duration::try_from_secs_f64(self.pace().expected(rows) * 0.5);
        let mut pause = expected.unwrap_or(least).clamp(least, most);
        loop {
            self.jobs.show(|shown| *shown = Some(progress.clone()));
            sleep(self.jittered(pause)).await;
            let Some(look) = self.look_at_job(job).await? else {
                return Ok(None);
            };
            let now = Instant::now();
            if (look.state, look.processed) != (progress.state, progress.processed) {
                progress.still_since = now;
                told = false;
            }
            progress.state = look.state;
            (progress.processed, progress.failed) = (look.processed, look.failed);
            if look.state.has_ended() {
                self.jobs.finished.fetch_add(1, Ordering::Relaxed);
                self.jobs.rows.fetch_add(look.processed, Ordering::Relaxed);
                return match look.state {
                    // A person gave it up: what is being written may still be.
                    JobState::Aborted => self.wait_for_quiet(job, look).await,
                    JobState::Complete => {
                        self.jobs.measured.job(rows, begun.elapsed());
                        Ok(Some(look))
                    }
                    _ => Ok(Some(look)),
                };
            }
            let still = now.duration_since(progress.still_since);
            if still >= patience.standstill {
                tracing::error!(
                    job,
                    object,
                    seconds = still.as_secs(),
                    "nothing is done of a bulk job any more: it is given up"
                );
                return self.give_up_job(job).await;
            }
            if still >= STILL && !told {
                told = true;
                tracing::warn!(
                    job,
                    object,
                    "nothing was done of a bulk job for ten minutes"
                );
            }
            pause = match look.processed {
                0 => (pause * 3 / 2).min(most),
                // What is left, at the speed so far.
                done => {
                    let left = (rows as u64).saturating_sub(done) as f64 / done as f64;
                    let left = begun.elapsed().as_secs_f64() * left;
                    let left = Duration::try_from_secs_f64(left).unwrap_or(most);
                    left.clamp(least, most)
                }
            };
        }
    }

    /// Ends a job that is not wanted any more, and waits until it has ended for certain.
    ///
    /// # Errors
    /// Any fault that repeating does not heal.
    pub async fn give_up_job(&self, job: &str) -> Result<Option<Look>, Fault> {
        let bulk = self.bulk()?;
        let mut ran = false;
        loop {
            let Some(look) = self.look_at_job(job).await? else {
                return Ok(None);
            };
            match look.state {
                JobState::Complete | JobState::Failed => return Ok(Some(look)),
                JobState::Aborted if ran => return self.wait_for_quiet(job, look).await,
                JobState::Aborted => return Ok(Some(look)),
                state => {
                    ran |= state != JobState::Open;
                    // Refused, it has ended by itself, or the next look tells.
                    match self.persist(|| bulk.abort(job)).await {
                        Err(fault) if fault.class == Class::Authentication => return Err(fault),
                        Err(_) => sleep(self.jittered(Duration::from_secs(1))).await,
                        Ok(()) => {}
                    }
                }
            }
        }
    }

    /// Of a job that was aborted, what is being worked off is worked off to its end: waits until
    /// nothing more is done of it.
    ///
    /// # Errors
    /// Any fault that repeating does not heal.
    pub async fn wait_for_quiet(&self, job: &str, mut look: Look) -> Result<Option<Look>, Fault> {
        let quiet = self.jobs.settings.patience.quiet;
        let mut since = Instant::now();
        while since.elapsed() < quiet {
            sleep(self.jittered(quiet / 4)).await;
            let Some(next) = self.look_at_job(job).await? else {
                return Ok(None);
            };
            if next.processed != look.processed {
                since = Instant::now();
            }
            look = next;
        }
        Ok(Some(look))
    }

    /// What became of its records; see [`Bulk::results`].
    ///
    /// # Errors
    /// Any fault that repeating does not heal.
    pub async fn job_results(
        &self,
        job: &str,
        batch: &Batch,
        packed: &Packed,
        look: &Look,
    ) -> Result<JobResults, Fault> {
        let bulk = self.bulk()?;
        let mut results = self
            .persist(|| bulk.results(job, batch, packed, look))
            .await?;
        results.resize(packed.places.len(), None);
        Ok(results)
    }

    fn bulk(&self) -> Result<&dyn Bulk, Fault> {
        self.sink.bulk().ok_or_else(|| {
            Fault::new(
                Class::Configuration,
                "no_jobs",
                "this destination takes no bulk jobs",
            )
        })
    }

    /// Clients that began together do not stay together.
    fn jittered(&self, pause: Duration) -> Duration {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        pause.mul_f64(random.random_range(0.8..1.2))
    }
}
