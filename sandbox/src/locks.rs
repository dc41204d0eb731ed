//! Row locks, held by a request while it works on its records and their parents.
//!
//! A request may lock a row again that it already holds. Another request waits a short
//! while and is then told `UNABLE_TO_LOCK_ROW`. Locks of a record are taken all or none.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::ids::Id;

/// Who holds which row, and how many times.
#[derive(Debug, Default)]
pub(crate) struct RowLocks {
    held: Mutex<HashMap<Id, (u64, usize)>>,
}

/// Held locks, given back when dropped.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    locks: &'a RowLocks,
    rows: Vec<Id>,
}

impl RowLocks {
    fn table(&self) -> MutexGuard<'_, HashMap<Id, (u64, usize)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
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
        loop {
            match self.try_all(rows, owner) {
                Ok(()) => {
                    return Ok(Held {
                        locks: self,
                        rows: rows.to_vec(),
                    });
                }
                Err(row) if Instant::now() >= until => return Err(row),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
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
