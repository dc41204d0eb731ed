//! Bulk jobs of an earlier life.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sinks::bulk::Look;
use crate::store::BulkJob;

/// Jobs of an earlier life that have ended. Shared by the crew's clones.
#[derive(Clone, Debug, Default)]
pub struct OldJobs(Arc<Mutex<Old>>);

#[derive(Debug, Default)]
pub(super) struct Old {
    /// What their results say is good still.
    pub(super) jobs: Vec<(BulkJob, Look)>,
    /// To be forgotten by the store.
    pub(super) gone: Vec<String>,
    /// Others were left at work since.
    pub(super) left: bool,
}

impl OldJobs {
    /// Takes the one that did just this.
    pub(super) fn take(&self, hash: u128) -> Option<(BulkJob, Look)> {
        let mut old = self.lock();
        let place = old.jobs.iter().position(|(job, _)| job.hash == hash)?;
        Some(old.jobs.swap_remove(place))
    }

    /// Something else is written to the object: what they said of it is of no use any more. Returns
    /// what the store is to forget.
    pub(super) fn forget(&self, object: &str) -> Vec<String> {
        let mut old = self.lock();
        let Old { jobs, gone, .. } = &mut *old;
        jobs.retain(|(job, _)| {
            let stays = job.object != object;
            if !stays {
                gone.push(job.id.clone());
            }
            stays
        });
        std::mem::take(gone)
    }

    /// Jobs were left at work, and have to end before anything is written.
    pub(super) fn are_left(&self) -> bool {
        self.lock().left
    }

    pub(super) fn is_empty(&self) -> bool {
        let old = self.lock();
        old.jobs.is_empty() && old.gone.is_empty()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Old> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
