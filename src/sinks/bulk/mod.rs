//! Jobs: large writes that the CRM carries out by itself, while we look now and then how far it is.
//!
//! ```text
//!   open ─► Open ── upload ── start ─► Queued ─► Running ─► Complete ─► results, row by row
//!            │                           │          └─► Failed      └─► what has none is sent again
//!            └── abort ── Aborted ◄──────┘
//! ```
//!
//! A [`Bulk`] knows how a CRM spells each step and makes *one attempt*, as a sink does; the steps go
//! through the engine of [`super::Delivery`] like every other request (breaker, limiter, retry). What
//! stands where: which way a batch goes is decided by [`choose`], from what was measured; the
//! sequence of the steps, and what has to be durable between them, is the supervisor's.
//!
//! Invariants
//! - Nothing is written before [`Bulk::start`]: a job whose id is on disk before that can be found
//!   again whenever we end.
//! - What a job cannot say exactly as a request would have said it is not in it
//!   ([`Packed::places`]), and goes by requests.
//! - A record is answered for only by a row of the results. A job that ended, however it ended, has
//!   written some of its records and not others: whatever has no row is *not known*.

pub mod choose;
mod measure;
mod steps;

use bytes::Bytes;

use super::{BoxFuture, Outcome};
use crate::config;
use crate::fault::Fault;
use crate::planning::Batch;

pub use choose::Way;
pub use steps::{JobProgress, Jobs};

/// When to use jobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Whether, at all.
    pub mode: config::BulkMode,
    /// Records of one object and one action that are worth one.
    pub min_rows: usize,
    /// Most bytes in one, before they are packed.
    pub max_bytes: usize,
    /// How one waits for a job.
    pub patience: Patience,
}

/// How one waits for a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// The first pause between two looks, and the longest.
    pub looks: (std::time::Duration, std::time::Duration),
    /// A job of which nothing is done for so long is given up.
    pub standstill: std::time::Duration,
    /// A job that was given up while it ran has ended when nothing is done for so long.
    pub quiet: std::time::Duration,
}

impl Default for Patience {
    fn default() -> Self {
        use std::time::Duration;
        Patience {
            looks: (Duration::from_secs(1), Duration::from_secs(30)),
            standstill: Duration::from_secs(30 * 60),
            quiet: Duration::from_secs(60),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings::from(&config::Bulk::default())
    }
}

impl From<&config::Bulk> for Settings {
    fn from(config: &config::Bulk) -> Self {
        Settings {
            mode: config.mode,
            min_rows: config.min_rows.max(1),
            max_bytes: usize::try_from(config.max_bytes.0).unwrap_or(usize::MAX),
            patience: Patience::default(),
        }
    }
}

/// The content of a job.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    /// What is uploaded.
    pub body: Bytes,
    /// It is compressed.
    pub compressed: bool,
    /// Of what it says and does, whatever the compression: two jobs with the same hash are the same.
    pub hash: u128,
    /// The records in it: their places in the batch, in the order of its rows.
    pub places: Vec<usize>,
}

/// Where a job stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobState {
    /// It waits for its content.
    Open,
    /// It waits for its turn.
    Queued,
    /// Records are being written.
    Running,
    /// Every row has been tried.
    Complete,
    /// The CRM gave it up.
    Failed,
    /// We, or a person, gave it up.
    Aborted,
}

impl JobState {
    /// Nothing is written any more. (Of one that was aborted while it ran, not at once.)
    pub fn has_ended(self) -> bool {
        matches!(
            self,
            JobState::Complete | JobState::Failed | JobState::Aborted
        )
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            JobState::Open => "open",
            JobState::Queued => "queued",
            JobState::Running => "running",
            JobState::Complete => "complete",
            JobState::Failed => "failed",
            JobState::Aborted => "aborted",
        }
    }
}

/// What a look at a job showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Look {
    /// Where it stands.
    pub state: JobState,
    /// Rows tried, the failed ones included.
    pub processed: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Why it failed as a whole, in the CRM's words.
    pub message: Option<String>,
}

/// What the rows of a job came to, one element for each of [`Packed::places`]. `None`: the results do
/// not say, or say that a request should be tried.
pub type JobResults = Vec<Option<Outcome>>;

/// A CRM that takes jobs. Every call is one attempt.
pub trait Bulk: Send + Sync {
    /// The content of a job that does what `batch` says to the records at `places`, as far as a job
    /// can say it exactly.
    ///
    /// # Errors
    /// When nothing of it can be said: the batch goes by requests.
    fn pack(&self, batch: &Batch, places: &[usize]) -> Result<Packed, Fault>;

    /// Makes a job for such a batch, and gives its id. Nothing is written yet.
    fn open<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<String, Fault>>;

    /// Brings its content. At most once a job.
    fn upload<'a>(&'a self, job: &'a str, packed: &'a Packed) -> BoxFuture<'a, Result<(), Fault>>;

    /// Lets it run: from here on records are written.
    fn start<'a>(&'a self, job: &'a str) -> BoxFuture<'a, Result<(), Fault>>;

    /// Gives it up. What is being written may still be.
    fn abort<'a>(&'a self, job: &'a str) -> BoxFuture<'a, Result<(), Fault>>;

    /// Where it stands; `None` if the CRM knows of no such job (any more).
    fn look<'a>(&'a self, job: &'a str) -> BoxFuture<'a, Result<Option<Look>, Fault>>;

    /// What became of the records of a job that has ended, as `look` says.
    fn results<'a>(
        &'a self,
        job: &'a str,
        batch: &'a Batch,
        packed: &'a Packed,
        look: &'a Look,
    ) -> BoxFuture<'a, Result<JobResults, Fault>>;
}
