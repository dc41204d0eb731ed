//! The in-memory twin: the same map and the same rules, without a disk.
//!
//! For tests and simulations. A settlement is visible at once but *durable* only when its flush has
//! taken its time (tokio's, which a test may pause). [`Memory::crash`] is what a power cut leaves:
//! everything durable, and of the settlements written but not flushed a prefix, by chance.

use std::collections::{BTreeMap, VecDeque, btree_map};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::{Rng, RngExt};
use tokio::time::Instant;

use super::keys::RowKey;
use super::rows::{Changes, Rows};
use super::{
    BulkJob, BulkJobs, Checkpoints, Ledger, LedgerEntry, Load, Loads, Pending, Progress,
    RecordState, Recovered, SchemaVersion, Schemas, Settlement, Shelf, ShelfCounts, ShelfQuery,
    Store, Verdicts, apply, bulk, ledger, load, shelf,
};
use crate::change::Identity;
use crate::fault::{Error, ErrorKind, Result};
use crate::mapping::{Key, ObjectId, RecordId};
use crate::sinks::BoxFuture;
use crate::sinks::budget::Account;

type Map = BTreeMap<RowKey, Box<[u8]>>;

/// A store in memory. Clones share it.
///
/// A settlement takes effect at the first poll of [`Store::settle`]'s future. Dropping the future
/// after that changes nothing: the settlement is visible and becomes durable in its time. Flushes
/// follow each other: a settlement made while another is in flight is durable one flush after it.
#[derive(Clone, Debug)]
pub struct Memory {
    shared: Arc<Mutex<State>>,
    flush: Duration,
}

#[derive(Debug, Default)]
struct State {
    rows: Map,
    /// Written and not yet durable, oldest first.
    unflushed: VecDeque<Unflushed>,
    /// Why nothing is taken any more.
    ended: Option<&'static str>,
    fail_next: bool,
}

/// How to take one settlement back, and when it becomes durable.
#[derive(Debug)]
struct Unflushed {
    durable: Instant,
    undo: Vec<(RowKey, Option<Box<[u8]>>)>,
}

impl Default for Memory {
    fn default() -> Self {
        Memory::new()
    }
}

impl Memory {
    /// An empty store that is durable at once.
    pub fn new() -> Self {
        Memory::with_flush(Duration::ZERO)
    }

    /// An empty store in which every flush takes so long.
    pub fn with_flush(delay: Duration) -> Self {
        Memory {
            shared: Arc::default(),
            flush: delay,
        }
    }

    /// Cuts the power: this store takes and answers nothing more, and the new one holds what was
    /// durable, and the first few of the settlements that were not, as the dice fall.
    #[must_use]
    pub fn crash(&self, random: &mut impl Rng) -> Memory {
        let mut state = self.lock();
        state.forget_flushed();
        let lost = random.random_range(0..=state.unflushed.len());
        for _ in 0..lost {
            state.take_back_last();
        }
        state.unflushed.clear();
        state.ended = Some("the store has crashed");
        Memory {
            shared: Arc::new(Mutex::new(State {
                rows: std::mem::take(&mut state.rows),
                ..State::default()
            })),
            flush: self.flush,
        }
    }

    /// The next settlement fails: it is not written, and nothing is taken after it.
    pub fn fail_next_settle(&self) {
        self.lock().fail_next = true;
    }

    /// Settlements that are visible but not durable yet.
    pub fn unflushed(&self) -> usize {
        let mut state = self.lock();
        state.forget_flushed();
        state.unflushed.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a question about the map.
    fn read<T>(&self, question: impl FnOnce(&Map) -> Result<T>) -> Result<T> {
        let state = self.lock();
        state.check()?;
        question(&state.rows)
    }

    /// Writes, and waits until it is durable.
    async fn write(&self, plan: impl FnOnce(&Map) -> Result<Changes>) -> Result<()> {
        let durable = {
            let mut state = self.lock();
            state.check()?;
            let changes = plan(&state.rows)?;
            state.write(changes, self.flush)
        };
        if let Some(durable) = durable {
            tokio::time::sleep_until(durable).await;
            self.lock().check()?;
        }
        Ok(())
    }
}

impl State {
    fn check(&self) -> Result<()> {
        match self.ended {
            None => Ok(()),
            Some(why) => Err(Error::new(ErrorKind::Store, why)),
        }
    }

    fn write(&mut self, changes: Changes, flush: Duration) -> Option<Instant> {
        if flush.is_zero() {
            for (key, value) in changes.rows {
                match value {
                    Some(value) => self.rows.insert(key, value.into()),
                    None => self.rows.remove(&key),
                };
            }
            return None;
        }
        self.forget_flushed();
        let before = self.unflushed.back().map(|last| last.durable);
        let durable = before.unwrap_or_else(Instant::now).max(Instant::now()) + flush;
        let mut undo = Vec::with_capacity(changes.rows.len());
        for (key, value) in changes.rows {
            let old = match value {
                Some(value) => self.rows.insert(key.clone(), value.into()),
                None => self.rows.remove(&key),
            };
            undo.push((key, old));
        }
        self.unflushed.push_back(Unflushed { durable, undo });
        Some(durable)
    }

    fn forget_flushed(&mut self) {
        while self
            .unflushed
            .front()
            .is_some_and(|u| u.durable <= Instant::now())
        {
            self.unflushed.pop_front();
        }
    }

    fn take_back_last(&mut self) {
        let Some(last) = self.unflushed.pop_back() else {
            return;
        };
        for (key, old) in last.undo.into_iter().rev() {
            match old {
                Some(old) => self.rows.insert(key, old),
                None => self.rows.remove(&key),
            };
        }
    }
}

impl Rows for Map {
    type Bytes<'a> = &'a [u8];
    type Scan<'a> = MapScan<'a>;

    fn get(&self, key: &[u8]) -> Result<Option<&[u8]>> {
        Ok(BTreeMap::get(self, key).map(AsRef::as_ref))
    }

    fn scan(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> MapScan<'_> {
        MapScan(self.range::<[u8], _>((from, to)))
    }
}

/// Rows of the map in order.
pub(super) struct MapScan<'a>(btree_map::Range<'a, RowKey, Box<[u8]>>);

impl<'a> Iterator for MapScan<'a> {
    type Item = Result<(&'a [u8], &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(key, value)| Ok((&**key, &**value)))
    }
}

impl DoubleEndedIterator for MapScan<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let (key, value) = self.0.next_back()?;
        Some(Ok((&**key, &**value)))
    }
}

impl Checkpoints for Memory {
    fn recover(&self) -> BoxFuture<'_, Result<Recovered>> {
        Box::pin(async { self.read(apply::recover) })
    }

    fn bind(&self, identity: Identity, progress: Progress) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.write(|rows| apply::bind(rows, &identity, progress))
                .await
        })
    }

    fn spent(&self) -> BoxFuture<'_, Result<Option<Account>>> {
        Box::pin(async { self.read(apply::spent) })
    }

    fn verdicts(&self) -> BoxFuture<'_, Result<Verdicts>> {
        Box::pin(async { self.read(apply::verdicts) })
    }
}

impl Ledger for Memory {
    fn records<'a>(&'a self, records: &'a [RecordId]) -> BoxFuture<'a, Result<Vec<RecordState>>> {
        Box::pin(async move { self.read(|rows| apply::records(rows, records)) })
    }

    fn ledger_page<'a>(
        &'a self,
        object: ObjectId,
        after: Option<Key>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(RecordId, LedgerEntry)>>> {
        Box::pin(async move { self.read(|rows| ledger::list(rows, object, after.as_ref(), limit)) })
    }
}

impl Shelf for Memory {
    fn shelf(&self, query: ShelfQuery) -> BoxFuture<'_, Result<Vec<Pending>>> {
        Box::pin(async move { self.read(|rows| shelf::list(rows, &query)) })
    }

    fn waiting_for<'a>(
        &'a self,
        parent: &'a RecordId,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RecordId>>> {
        Box::pin(async move { self.read(|rows| shelf::waiting_for(rows, parent, limit)) })
    }

    fn kept_fields(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async { self.read(shelf::kept_fields) })
    }

    fn shelf_counts(&self) -> BoxFuture<'_, Result<ShelfCounts>> {
        Box::pin(async { self.read(shelf::counts) })
    }
}

impl Schemas for Memory {
    fn schemas(&self) -> BoxFuture<'_, Result<Vec<SchemaVersion>>> {
        Box::pin(async { self.read(apply::schemas) })
    }

    fn schema_history(&self) -> BoxFuture<'_, Result<Vec<SchemaVersion>>> {
        Box::pin(async { self.read(apply::schema_history) })
    }
}

impl Loads for Memory {
    fn loads(&self) -> BoxFuture<'_, Result<Vec<Load>>> {
        Box::pin(async { self.read(load::loads) })
    }

    fn fields(&self) -> BoxFuture<'_, Result<Vec<(String, String)>>> {
        Box::pin(async { self.read(load::fields) })
    }
}

impl BulkJobs for Memory {
    fn bulk_jobs(&self) -> BoxFuture<'_, Result<Vec<BulkJob>>> {
        Box::pin(async { self.read(bulk::jobs) })
    }
}

impl Store for Memory {
    fn settle(&self, settlement: Settlement) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let failing = std::mem::take(&mut self.lock().fail_next);
            let result = match failing {
                true => Err(Error::new(ErrorKind::Store, "the store was told to fail")),
                false => self.write(|rows| apply::settle(rows, &settlement)).await,
            };
            if result.is_err() {
                let mut state = self.lock();
                state.ended.get_or_insert("the store has failed before");
            }
            result
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            let durable = {
                let state = self.lock();
                state.check()?;
                state.unflushed.back().map(|last| last.durable)
            };
            if let Some(durable) = durable {
                tokio::time::sleep_until(durable).await;
            }
            self.lock().ended.get_or_insert("the store is closed");
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::change::{Lsn, Position};
    use rand::{SeedableRng, rngs::SmallRng};
    use tokio::time::{advance, timeout};

    const FLUSH: Duration = Duration::from_millis(10);

    fn step(number: u64) -> Settlement {
        let mut settlement = Settlement {
            progress: Progress {
                checkpoint: Lsn(number),
                settled: Position::default(),
            },
            ..Settlement::default()
        };
        settlement
            .verdicts
            .insert((format!("t{number}"), crate::change::Verdict::Applied), 1);
        settlement
    }

    async fn bound() -> Memory {
        let store = Memory::with_flush(FLUSH);
        let identity = Identity {
            system: "1".into(),
            timeline: 1,
            database: "app".into(),
            slot: "s".into(),
            publication: "p".into(),
            consistent_point: Lsn(0),
        };
        store.bind(identity, Progress::default()).await.unwrap();
        store
    }

    async fn checkpoint(store: &Memory) -> u64 {
        store.recover().await.unwrap().progress.checkpoint.0
    }

    #[tokio::test(start_paused = true)]
    async fn a_settlement_takes_a_flush_and_is_seen_at_once() {
        let store = bound().await;
        let before = Instant::now();
        let settling = {
            let store = store.clone();
            tokio::spawn(async move { store.settle(step(1)).await })
        };
        tokio::task::yield_now().await;
        assert_eq!(checkpoint(&store).await, 1);
        assert_eq!(store.unflushed(), 1);
        settling.await.unwrap().unwrap();
        assert!(before.elapsed() >= FLUSH);
        assert_eq!(store.unflushed(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn flushes_follow_each_other() {
        let store = bound().await;
        let before = Instant::now();
        let settle = |n| {
            let store = store.clone();
            async move { store.settle(step(n)).await }
        };
        let (a, b, c) = tokio::join!(settle(1), settle(2), settle(3));
        a.and(b).and(c).unwrap();
        assert!(before.elapsed() >= FLUSH * 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_settle_goes_on() {
        let store = bound().await;
        let dropped = timeout(FLUSH / 2, store.settle(step(1))).await;
        assert!(dropped.is_err());
        assert_eq!(checkpoint(&store).await, 1);
        advance(FLUSH).await;
        assert_eq!(store.unflushed(), 0);
        // Never polled: never made.
        drop(store.settle(step(2)));
        assert_eq!(checkpoint(&store).await, 1);
    }

    /// What was acknowledged is there after a crash; what was not may be, in order and whole.
    #[tokio::test(start_paused = true)]
    async fn a_crash_keeps_what_is_durable_and_a_prefix() {
        let mut seen = [0; 4];
        for seed in 0..64 {
            let store = bound().await;
            store.settle(step(1)).await.unwrap();
            for number in 2..=4 {
                let _ = timeout(Duration::from_micros(1), store.settle(step(number))).await;
            }
            let after = store.crash(&mut SmallRng::seed_from_u64(seed));
            let survived = checkpoint(&after).await;
            assert!((1..=4).contains(&survived));
            let tables: Vec<String> = after
                .verdicts()
                .await
                .unwrap()
                .into_keys()
                .map(|(table, _)| table)
                .collect();
            let expected: Vec<String> = (1..=survived).map(|n| format!("t{n}")).collect();
            assert_eq!(tables, expected);
            seen[survived as usize - 1] += 1;
            // The process that crashed says nothing more, the one that comes after goes on.
            assert!(store.settle(step(9)).await.is_err());
            after.settle(step(9)).await.unwrap();
        }
        assert!(seen.iter().all(|times| *times > 0), "{seen:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_crash_in_mid_flight_never_acknowledges() {
        let store = bound().await;
        let settling = {
            let store = store.clone();
            tokio::spawn(async move { store.settle(step(1)).await })
        };
        tokio::task::yield_now().await;
        let _after = store.crash(&mut SmallRng::seed_from_u64(1));
        assert!(settling.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_failure_is_final() {
        let store = bound().await;
        store.fail_next_settle();
        assert!(store.settle(step(1)).await.is_err());
        assert!(store.settle(step(1)).await.is_err());
        assert!(store.recover().await.is_err());
    }
}
