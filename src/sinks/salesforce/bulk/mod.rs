//! Bulk API 2.0: many records in one job.
//!
//! ```text
//!  pack      csv        what the batch says, as a file; what a file cannot say is left to requests
//!  open      job        POST  /jobs/ingest                       id
//!  upload    job        PUT   /jobs/ingest/{id}/batches          gzip, unless the org refuses that
//!  start     job        PATCH /jobs/ingest/{id}                  UploadComplete
//!  look      job        GET   /jobs/ingest/{id}                  state, rows tried
//!  results   results    GET   …/successfulResults, …/failedResults   row by row, as they come
//! ```
//!
//! Upserts go by external id, updates and deletes by the CRM id of the ledger. A row's answer counts
//! where it is final: written, refused for a reason of its own, or waiting for a parent. Everything
//! else (a lock, a stale id, a missing right, a value that the file's reader did not understand) is
//! said again by a request, whose answer is taken: so a record is refused in the same words whichever
//! way it went, and a missing right stops delivery instead of filling the shelf.
//!
//! What was not tried (`unprocessedrecords`) is what no row speaks of; it is not asked for.
//!
//! <https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/bulk_api_2_0.htm>

mod csv;
mod job;
mod results;

use std::time::Duration;

use super::Salesforce;
use crate::fault::Fault;
use crate::planning::Batch;
use crate::sinks::BoxFuture;
use crate::sinks::bulk::{Bulk, JobResults, Look, Packed};

/// Longest time for an upload, or for reading results.
pub(super) const TRANSFER: Duration = Duration::from_secs(600);

impl Bulk for Salesforce {
    fn pack(&self, batch: &Batch, places: &[usize]) -> Result<Packed, Fault> {
        self.pack_job(batch, places)
    }

    fn open<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<String, Fault>> {
        Box::pin(self.open_job(batch))
    }

    fn upload<'a>(&'a self, job: &'a str, packed: &'a Packed) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.upload_job(job, packed))
    }

    fn start<'a>(&'a self, job: &'a str) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.start_job(job))
    }

    fn abort<'a>(&'a self, job: &'a str) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.abort_job(job))
    }

    fn look<'a>(&'a self, job: &'a str) -> BoxFuture<'a, Result<Option<Look>, Fault>> {
        Box::pin(self.look_at_job(job))
    }

    fn results<'a>(
        &'a self,
        job: &'a str,
        batch: &'a Batch,
        packed: &'a Packed,
        look: &'a Look,
    ) -> BoxFuture<'a, Result<JobResults, Fault>> {
        Box::pin(self.job_results(job, batch, packed, look))
    }
}
