//! Bulk jobs, as `/status` shows them.

use serde::{Deserialize, Serialize};

use crate::sinks::bulk::JobProgress;
use crate::store::BulkJob;

/// A bulk job that is at work, or was when the process ended. What it writes is accepted by the CRM and
/// has no verdict yet: that follows from its results.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BulkReport {
    /// The CRM's id of it.
    pub job: String,
    /// The object.
    pub object: String,
    /// `queued`, `running`, …; null while nobody runs to look.
    pub state: Option<String>,
    /// Records in it.
    pub records: u64,
    /// Those that have been tried, the failed ones included.
    pub processed: u64,
    /// Those that failed.
    pub failed: u64,
    /// Seconds since it was made; null while nobody runs.
    pub seconds: Option<f64>,
    /// Seconds since anything was done of it; null while nobody runs.
    pub still_seconds: Option<f64>,
}

impl From<JobProgress> for BulkReport {
    fn from(job: JobProgress) -> Self {
        BulkReport {
            state: Some(job.state.word().to_owned()),
            records: job.rows,
            processed: job.processed,
            failed: job.failed,
            seconds: Some(job.since.elapsed().as_secs_f64()),
            still_seconds: Some(job.still_since.elapsed().as_secs_f64()),
            object: job.object,
            job: job.job,
        }
    }
}

impl From<BulkJob> for BulkReport {
    fn from(job: BulkJob) -> Self {
        BulkReport {
            job: job.id,
            object: job.object,
            state: None,
            records: job.records,
            processed: 0,
            failed: 0,
            seconds: None,
            still_seconds: None,
        }
    }
}

impl std::fmt::Display for BulkReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(state) = &self.state else {
            return write!(
                f,
                "job {} of {} {} records was left at work; the next start waits for it first",
                self.job, self.records, self.object
            );
        };
        write!(
            f,
            "job {} {state}: {} of {} {} records",
            self.job, self.processed, self.records, self.object
        )?;
        if self.failed > 0 {
            write!(f, ", {} failed", self.failed)?;
        }
        write!(f, ", for {:.0} s", self.seconds.unwrap_or(0.0))?;
        match self.still_seconds {
            Some(still) if still >= 120.0 => write!(f, "; nothing was done for {still:.0} s"),
            _ => Ok(()),
        }
    }
}
