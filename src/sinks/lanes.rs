//! How many requests may be under way at once: as many as configured, and fewer for a while after the
//! CRM said that there were too many.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

/// Most that may ever be under way.
const MOST: usize = 1_024;
/// Requests that go well before there may be more at once again.
pub(super) const CALM: u32 = 100;

#[derive(Debug)]
pub(super) struct Lanes {
    permits: Semaphore,
    all: u32,
    /// Permits that a request takes: more than one while there are to be fewer.
    weight: AtomicU32,
    /// Requests answered since the weight last changed.
    calm: AtomicU32,
}

impl Lanes {
    pub(super) fn new(concurrency: usize) -> Self {
        let all = concurrency.clamp(1, MOST);
        Lanes {
            permits: Semaphore::new(all),
            all: u32::try_from(all).unwrap_or(1),
            weight: AtomicU32::new(1),
            calm: AtomicU32::new(0),
        }
    }

    /// Waits for a lane.
    pub(super) async fn enter(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        let weight = self.weight.load(Ordering::Relaxed);
        self.permits.acquire_many(weight).await
    }

    /// A request was answered. `crowded`: there were too many at once.
    pub(super) fn answered(&self, crowded: bool) {
        let weight = self.weight.load(Ordering::Relaxed);
        if crowded {
            let fewer = (weight * 2).min(self.all);
            self.weight.store(fewer, Ordering::Relaxed);
            self.calm.store(0, Ordering::Relaxed);
        } else if weight > 1 && self.calm.fetch_add(1, Ordering::Relaxed) + 1 >= CALM {
            self.weight.store(weight / 2, Ordering::Relaxed);
            self.calm.store(0, Ordering::Relaxed);
        }
    }
}
