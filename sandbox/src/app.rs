//! The running org: everything a request may reach.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use crate::bulk::Bulk;
use crate::clock::{Clock, Millis, Pace};
use crate::counters::Counters;
use crate::faults::Faults;
use crate::http::Instance;
use crate::ids::Id;
use crate::locks::RowLocks;
use crate::running::Running;
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
    pub(crate) running: Running,
    /// Where the org lives, if it has moved.
    instance: Mutex<Option<Instance>>,
    pub(crate) bulk: Bulk,
    store: Mutex<Store>,
    /// Shut while a transaction is at work.
    gate: RwLock<()>,
    counters: Mutex<BTreeMap<&'static str, u64>>,
    cursors: Mutex<HashMap<String, (Millis, Cursor)>>,
    described: Mutex<HashMap<(Id, Option<usize>), Described>>,
    requests: AtomicU64,
    failures: AtomicU64,
}

/// What a thread is at work on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Nothing,
    Transaction,
    Rehearsal,
}

thread_local! {
    static WITHIN: Cell<Within> = const { Cell::new(Within::Nothing) };
}

/// The store, held.
pub(crate) struct StoreGuard<'a> {
    store: MutexGuard<'a, Store>,
    _gate: Option<RwLockReadGuard<'a, ()>>,
}

impl Deref for StoreGuard<'_> {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl DerefMut for StoreGuard<'_> {
    fn deref_mut(&mut self) -> &mut Store {
        &mut self.store
    }
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
            running: Running::default(),
            instance: Mutex::default(),
            bulk: Bulk::new(config.data.as_deref()),
            store: Mutex::new(store),
            gate: RwLock::default(),
            counters: Mutex::default(),
            cursors: Mutex::default(),
            described: Mutex::default(),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            config,
        })
    }

    /// The store. Never held over an await.
    pub(crate) fn store(&self) -> StoreGuard<'_> {
        let gate =
            (!self.is_within()).then(|| self.gate.read().unwrap_or_else(PoisonError::into_inner));
        let mut store = lock(&self.store);
        if let Err(error) = store.empty_old_bin() {
            self.report(&error);
        }
        StoreGuard { store, _gate: gate }
    }

    /// Does some work while no other thread reaches the store. The work must not wait.
    pub(crate) fn exclusively<T>(&self, rehearsal: bool, work: impl FnOnce() -> T) -> T {
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                WITHIN.set(Within::Nothing);
            }
        }
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let _leave = Leave;
        WITHIN.set(match rehearsal {
            true => Within::Rehearsal,
            false => Within::Transaction,
        });
        work()
    }

    /// Whether this thread is at work within [`App::exclusively`].
    pub(crate) fn is_within(&self) -> bool {
        WITHIN.get() != Within::Nothing
    }

    /// Whether what this thread does is taken back in any case.
    pub(crate) fn is_rehearsal(&self) -> bool {
        WITHIN.get() == Within::Rehearsal
    }

    /// A number for the next request.
    pub(crate) fn number(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts a request by its kind.
    pub(crate) fn count(&self, kind: &'static str) {
        if !self.is_rehearsal() {
            *lock(&self.counters).entry(kind).or_default() += 1;
        }
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

    /// Where the org lives, if it has moved.
    pub(crate) fn instance(&self) -> Option<Instance> {
        lock(&self.instance).clone()
    }

    /// Moves the org, or brings it back to where it is called.
    pub(crate) fn move_to(&self, instance: Option<Instance>) {
        *lock(&self.instance) = instance;
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
