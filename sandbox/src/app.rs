//! The running org: everything a request may reach.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::{Clock, Millis, Pace};
use crate::counters::Counters;
use crate::faults::Faults;
use crate::ids::Id;
use crate::locks::RowLocks;
use crate::sessions::Sessions;
use crate::soql::Cursor;
use crate::store::{People, Store};
use crate::usage::Usage;
use crate::{Config, Error};

/// What a user was last told of an object (or of all objects): a hash of it, and from when
/// on it counts as changed.
#[derive(Clone, Copy, Debug)]
struct Described {
    hash: u64,
    changed: i64,
}

/// State shared by all requests.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) clock: Arc<Clock>,
    pub(crate) people: People,
    pub(crate) usage: Usage,
    pub(crate) tally: Counters,
    pub(crate) sessions: Sessions,
    pub(crate) faults: Faults,
    pub(crate) locks: RowLocks,
    store: Mutex<Store>,
    counters: Mutex<BTreeMap<&'static str, u64>>,
    cursors: Mutex<HashMap<String, (Millis, Cursor)>>,
    described: Mutex<HashMap<(Id, Option<usize>), Described>>,
    requests: AtomicU64,
    failures: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl App {
    /// Opens the org of a configuration.
    pub(crate) fn new(config: Config) -> Result<App, Error> {
        let clock = Arc::new(Clock::new(Pace::ahead(config.clock_offset_ms)));
        let mut store = match &config.data {
            Some(dir) => Store::open(dir, clock.clone())?,
            None => Store::new(clock.clone()),
        };
        let people = store.fill(&config, clock.now());
        store.commit()?;
        let faults = Faults::default();
        if let Some(spec) = &config.faults {
            faults.set_spec(spec).map_err(Error::Faults)?;
        }
        let usage = Usage::new(config.api_limit);
        let secret = config.client_secret.clone();
        usage.connect(&config.client_id, Some(secret), None);
        let tally = Counters::default();
        tally.reset(clock.now());
        Ok(App {
            clock,
            usage,
            tally,
            people,
            sessions: Sessions::default(),
            faults,
            locks: RowLocks::new(config.lock_wait),
            store: Mutex::new(store),
            counters: Mutex::default(),
            cursors: Mutex::default(),
            described: Mutex::default(),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            config,
        })
    }

    /// The store. Never held over an await.
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        let mut store = lock(&self.store);
        if let Err(error) = store.empty_old_bin() {
            self.report(&error);
        }
        store
    }

    /// A number for the next request.
    pub(crate) fn number(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts a request by its kind.
    pub(crate) fn count(&self, kind: &'static str) {
        *lock(&self.counters).entry(kind).or_default() += 1;
    }

    /// The counters by kind.
    pub(crate) fn counters(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.counters).clone()
    }

    /// When a description changed, in whole seconds. Dates on the wire have no finer
    /// resolution, so a change is dated to the end of its second: a client that asked
    /// earlier in the same second learns of it.
    pub(crate) fn described(&self, of: (Id, Option<usize>), shown: &serde_json::Value) -> i64 {
        let mut hasher = DefaultHasher::new();
        shown.to_string().hash(&mut hasher);
        let hash = hasher.finish();
        let second = self.clock.now().div_euclid(1_000) * 1_000;
        let mut known = lock(&self.described);
        let changed = match known.get(&of) {
            Some(before) if before.hash == hash => before.changed,
            Some(before) => (second + 1_000).max(before.changed + 1_000),
            None => second,
        };
        known.insert(of, Described { hash, changed });
        changed
    }

    /// Keeps a query whose rows do not fit one page. Two days old ones go.
    pub(crate) fn keep_cursor(&self, locator: String, cursor: Cursor) {
        let mut cursors = lock(&self.cursors);
        let now = self.clock.now();
        cursors.retain(|_, (born, _)| now - *born < 2 * 86_400_000);
        cursors.insert(locator, (now, cursor));
    }

    /// The query kept under a locator.
    pub(crate) fn cursor(&self, locator: &str) -> Option<Cursor> {
        lock(&self.cursors)
            .get(locator)
            .map(|(_, cursor)| cursor.clone())
    }

    /// Remembers that the journal could not be written; shown by `GET /sandbox/requests`.
    pub(crate) fn report(&self, _error: &Error) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// How many journal writes failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// The user with this name.
    pub(crate) fn user_named(&self, username: &str) -> Option<Id> {
        let store = self.store();
        let object = store.schema.find("User")?;
        let field = store.schema.object(object).field("Username")?;
        store
            .lookup(object, field, &username.to_lowercase())
            .first()
            .copied()
    }
}
