//! Row locks, held by a request while it works on its records and their parents.
//!
//! A request may lock a row again that it already holds. Another request waits a while and
//! is then told `UNABLE_TO_LOCK_ROW`. Locks of a record are taken all or none; those of a
//! call one record after the other, so that two calls can stand in each other's way until
//! one gives up, as in a real org.
//!
//! Waits and work pass in real time, whatever the org's clock does.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::ids::Id;

/// Who holds which row, and how many times.
#[derive(Debug)]
pub(crate) struct RowLocks {
    held: Mutex<HashMap<Id, (u64, usize)>>,
    /// How long a request works on one record, in microseconds.
    work: AtomicU64,
    /// How long a request waits for a row, in milliseconds.
    wait: AtomicU64,
    waits: AtomicU64,
    waited: AtomicU64,
    refused: AtomicU64,
}

/// Held locks, given back when dropped.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    locks: &'a RowLocks,
    rows: Vec<Id>,
}

impl RowLocks {
    pub(crate) fn new(wait: Duration) -> RowLocks {
        RowLocks {
            held: Mutex::default(),
            work: AtomicU64::new(0),
            wait: AtomicU64::new(wait.as_millis() as u64),
            waits: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Id, (u64, usize)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the work on so many records takes.
    pub(crate) fn work(&self, records: usize) -> Duration {
        Duration::from_micros(self.work.load(Ordering::Relaxed)) * records as u32
    }

    /// Until when a request that starts now waits for rows.
    pub(crate) fn until(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.wait.load(Ordering::Relaxed))
    }

    /// Whether anybody holds a lock.
    pub(crate) fn busy(&self) -> bool {
        !self.table().is_empty()
    }

    /// Sets the work on a record, in milliseconds.
    pub(crate) fn set_work(&self, millis: f64) {
        let micros = (millis.clamp(0.0, 60_000.0) * 1_000.0) as u64;
        self.work.store(micros, Ordering::Relaxed);
    }

    /// Sets how long a row is waited for, in milliseconds.
    pub(crate) fn set_wait(&self, millis: u64) {
        self.wait.store(millis.min(600_000), Ordering::Relaxed);
    }

    /// Settings and counters.
    pub(crate) fn show(&self) -> Value {
        json!({
            "work_ms": self.work.load(Ordering::Relaxed) as f64 / 1_000.0,
            "wait_ms": self.wait.load(Ordering::Relaxed), "held": self.table().len(),
            "waits": self.waits.load(Ordering::Relaxed),
            "waited_ms": self.waited.load(Ordering::Relaxed) / 1_000,
            "refused": self.refused.load(Ordering::Relaxed),
        })
    }

    /// Forgets what was counted.
    pub(crate) fn reset(&self) {
        for counter in [&self.waits, &self.waited, &self.refused] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    fn try_all(&self, rows: &[Id], owner: u64) -> Result<(), Id> {
        let mut table = self.table();
        for row in rows {
            if table.get(row).is_some_and(|(holder, _)| *holder != owner) {
                return Err(*row);
            }
        }
        for row in rows {
            table.entry(*row).or_insert((owner, 0)).1 += 1;
        }
        Ok(())
    }

    /// Locks these rows for a request, or names the row that stayed locked until then.
    pub(crate) async fn acquire(
        &self,
        rows: &[Id],
        owner: u64,
        until: Instant,
    ) -> Result<Held<'_>, Id> {
        let mut started = None;
        let outcome = loop {
            match self.try_all(rows, owner) {
                Ok(()) => {
                    break Ok(Held {
                        locks: self,
                        rows: rows.to_vec(),
                    });
                }
                Err(row) if Instant::now() >= until => break Err(row),
                Err(_) => {
                    started.get_or_insert_with(Instant::now);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        };
        if let Some(started) = started {
            let waited = started.elapsed().as_micros() as u64;
            self.waits.fetch_add(1, Ordering::Relaxed);
            self.waited.fetch_add(waited, Ordering::Relaxed);
        }
        if outcome.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut table = self.locks.table();
        for row in &self.rows {
            if let Some((_, count)) = table.get_mut(row) {
                *count -= 1;
                if *count == 0 {
                    table.remove(row);
                }
            }
        }
    }
}
