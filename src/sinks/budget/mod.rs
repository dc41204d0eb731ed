//! The CRM's daily limit: our share of it, the floor left for others, and what follows as it runs low.
//!
//! ```text
//!  every answer: used, max ─► account ─► outlook ─► degree ─► what may be sent (Leave)
//!  every request of ours ─────▲ (by quarters        │         how long windows linger
//!                               of an hour)         └───────► forecast, for people
//!
//!   Normal ──► Save ──────────► Scarce ───────────► Defer ──────────────► Stop
//!   as it is   longer windows,  and the bulk API    only what has a       nothing: the floor
//!              more merging     for large windows   high priority goes    is others'
//! ```
//!
//! *Room* is what is left of our share and above the floor; what we send for the rest must also leave
//! room for what has a high priority in the next 24 hours, given what others are expected to use. When
//! the CRM refuses because the limit is used up (`exhausted`), nothing is sent until it answers again.
//!
//! Invariants:
//! - Pure but for the clock it is given: tables of numbers test it.
//! - Others' use is never thought smaller than an answer says. Between answers it only falls as what
//!   was noticed falls out of the 24 hours; what was used before we came falls out of the forecast as
//!   if it had been made evenly, and out of the account when an answer says so, or after a day.
//! - It gets worse at once and better with a margin, so that it does not flap.
//! - No request is made once a small margin is left above the floor, as far as can be known: others may use
//!   it up between two answers. Starting takes a few requests in any case.

mod account;
mod forecast;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use account::{Account, Heard, Quarter};
use account::{DAY, QUARTER};
use forecast::{Caps, Outlook};

use crate::change::Timestamp;
use crate::clock::Clock;
use crate::config;
use crate::planning::Leave;

/// Requests above the floor that are not made: as many may be under way when we learn of others' use.
const MARGIN: f64 = 8.0;
/// How long windows linger while requests are saved.
const SAVE: Duration = Duration::from_secs(10);
/// How long while they are scarce.
const SCARCE: Duration = Duration::from_secs(30);
/// The first wait after the CRM refused because the limit is used up, and the longest.
const PROBE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(300));
/// How long a degree lasts before a better one.
const DWELL: Duration = Duration::from_secs(600);
const HOUR: Duration = Duration::from_secs(3_600);

/// How scarce requests are.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Degree {
    /// They last for a day at least.
    #[default]
    Normal,
    /// They would run out within a day: windows are longer.
    Save,
    /// They would run out within hours: large windows go through the bulk API.
    Scarce,
    /// What is left is kept for what has a high priority.
    Defer,
    /// What is left is others'.
    Stop,
}

impl Degree {
    /// All of them, the best first.
    pub const ALL: [Degree; 5] = [
        Degree::Normal,
        Degree::Save,
        Degree::Scarce,
        Degree::Defer,
        Degree::Stop,
    ];

    /// The word for it, in JSON and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Degree::Normal => "normal",
            Degree::Save => "save",
            Degree::Scarce => "scarce",
            Degree::Defer => "defer",
            Degree::Stop => "stop",
        }
    }

    /// What it means, for people.
    pub fn words(self) -> &'static str {
        match self {
            Degree::Normal => "there is room for a day at least",
            Degree::Save => "windows wait longer, so that more changes merge",
            Degree::Scarce => "windows wait longer, and large ones go through the bulk API",
            Degree::Defer => "only what has a high priority is sent; the rest is deferred",
            Degree::Stop => "nothing is sent: what is left of the limit is left for others",
        }
    }
}

/// How it stands, for people.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BudgetReport {
    /// How scarce requests are.
    pub degree: Degree,
    /// The limit of requests in 24 hours, of all clients.
    pub limit: u64,
    /// Our share of it.
    pub share: u64,
    /// What is left for others.
    pub floor: u64,
    /// Requests of ours in the last 24 hours.
    pub ours: u64,
    /// Others'.
    pub others: u64,
    /// Requests that we may make now; what is kept for what has a high priority is among them.
    pub room: u64,
    /// What of them is kept for that, for the next 24 hours.
    pub kept_for_high: u64,
    /// Requests of all clients in the 24 hours before the moment that is 12 hours ahead.
    pub used_in_12_hours: u64,
    /// When our room runs out if all goes on as it does (RFC 3339); null: not within 24 hours.
    pub runs_out: Option<String>,
    /// The CRM refuses everything because the limit is used up.
    pub exhausted: bool,
}

/// The rules.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Rules {
    config: config::Budget,
    /// Objects with something of a high priority.
    high_objects: u64,
}

#[derive(Debug)]
struct Inner {
    account: Account,
    rules: Rules,
    /// Requests of ours that the sink told of.
    counted: u64,
    outlook: Outlook,
    /// When that was made.
    looked: Timestamp,
    degree: Degree,
    /// Since when.
    since: Timestamp,
    exhausted: Option<Exhausted>,
    /// When something of a high priority was last sent while the rest was deferred.
    high_sent: Timestamp,
    /// Something is to be kept that has not been yet.
    unsaved: bool,
    /// When it was last kept.
    saved: Timestamp,
}

/// The limit is used up, says the CRM.
#[derive(Clone, Copy, Debug)]
struct Exhausted {
    /// When to ask again.
    probe: Timestamp,
    /// How long to wait after that.
    wait: Duration,
}

/// The budget. Shared by all who send.
#[derive(Debug)]
pub struct Budget {
    clock: Clock,
    inner: Mutex<Inner>,
    degree: watch::Sender<Degree>,
}

impl Budget {
    /// With nothing known of the limit but what was kept (see [`Budget::unsaved`]).
    pub fn new(config: config::Budget, clock: Clock, kept: Option<Account>) -> Self {
        let now = clock.now();
        let account = kept.unwrap_or_default();
        let inner = Inner {
            outlook: Outlook::new(&account, now),
            account,
            rules: Rules {
                config,
                high_objects: 0,
            },
            counted: 0,
            looked: now,
            degree: Degree::Normal,
            since: now,
            exhausted: None,
            high_sent: Timestamp(0),
            unsaved: false,
            saved: now,
        };
        let budget = Budget {
            clock,
            inner: Mutex::new(inner),
            degree: watch::Sender::new(Degree::Normal),
        };
        budget.look(&mut budget.lock());
        budget
    }

    /// One that knows of no limit until an answer tells of one, with the usual rules.
    pub fn usual() -> Self {
        Budget::new(config::Budget::default(), Clock::System, None)
    }

    /// So many objects have something of a high priority.
    pub fn high_objects(&self, count: usize) {
        let mut inner = self.lock();
        inner.rules.high_objects = count as u64;
        self.look(&mut inner);
    }

    /// What the sink has sent so far, and what the last answer said.
    pub(super) fn observe(&self, sent: u64, heard: Option<Heard>) {
        let mut inner = self.lock();
        let now = self.clock.now();
        let new = sent.saturating_sub(inner.counted);
        inner.counted = inner.counted.max(sent);
        if new > 0 {
            inner.account.sent(now, new);
            inner.unsaved = true;
        }
        if let Some(heard) = heard {
            // Those that were sent since that answer are in the account, and not in its number.
            let heard = Heard {
                sent: heard.sent.max(sent),
                ..heard
            };
            inner.account.heard(now, heard);
            inner.unsaved = true;
        }
        if new > 0 || heard.is_some() {
            self.look(&mut inner);
        }
    }

    /// Records with a high priority were sent.
    pub fn sent_high(&self, records: usize) {
        if records == 0 {
            return;
        }
        let mut inner = self.lock();
        let now = self.clock.now();
        inner.account.sent_high(now, records as u64);
        inner.high_sent = now;
    }

    /// The CRM says that the limit is used up. Returns how long to leave it alone.
    pub(super) fn exhausted(&self) -> Duration {
        let mut inner = self.lock();
        let now = self.clock.now();
        let wait = match inner.exhausted {
            None => {
                tracing::warn!(
                    "the CRM's daily limit is used up, by all its clients together: everything is deferred until it answers again"
                );
                PROBE.0
            }
            // Several requests were under way.
            Some(known) if now < known.probe => return known.probe.since(now),
            Some(known) => (known.wait * 2).min(PROBE.1),
        };
        inner.exhausted = Some(Exhausted {
            probe: now.after(wait),
            wait,
        });
        self.look(&mut inner);
        wait
    }

    /// The CRM took a request.
    pub(super) fn accepted(&self) {
        let mut inner = self.lock();
        if inner.exhausted.take().is_some() {
            tracing::info!("the CRM takes requests again");
            self.look(&mut inner);
        }
    }

    /// When to ask whether the limit has turned over; `None`: it is not used up.
    pub fn probe_at(&self) -> Option<Timestamp> {
        self.lock().exhausted.map(|e| e.probe)
    }

    /// How scarce requests are now.
    pub fn degree(&self) -> Degree {
        let mut inner = self.lock();
        let now = self.clock.now();
        // As time goes by, what was used falls out of the 24 hours.
        if now.0 < inner.looked.0 || now.since(inner.looked) >= Duration::from_secs(20) {
            self.look(&mut inner);
        }
        inner.degree
    }

    /// What may be sent now.
    pub fn leave(&self) -> Leave {
        match self.degree() {
            Degree::Normal | Degree::Save | Degree::Scarce => Leave::All,
            Degree::Defer => Leave::High,
            Degree::Stop => Leave::Nothing,
        }
    }

    /// Changes when the degree does, as far as something happened; as time goes by it has to be asked
    /// for.
    pub(super) fn watch(&self) -> watch::Receiver<Degree> {
        self.degree.subscribe()
    }

    /// How long a window lingers that would linger so long.
    pub fn linger(&self, usual: Duration) -> Duration {
        let longer = match self.degree() {
            Degree::Save => SAVE,
            Degree::Scarce => SCARCE,
            _ => return usual,
        };
        let inner = self.lock();
        let bound = match inner.rules.high_objects {
            0 => longer,
            _ => longer.min(inner.rules.config.deadline.0 / 4),
        };
        usual.max(bound)
    }

    /// How many times as many operations a window may hold.
    pub fn stretch(&self) -> usize {
        match self.degree() {
            Degree::Save => 2,
            Degree::Scarce => 5,
            _ => 1,
        }
    }

    /// Large windows are to go through the bulk API.
    pub fn prefers_bulk(&self) -> bool {
        self.degree() == Degree::Scarce
    }

    /// While the rest is deferred: when what has a high priority is to be sent next. Often while the
    /// room allows it, and at half its deadline at the latest.
    pub fn high_at(&self) -> Timestamp {
        let inner = self.lock();
        let every = inner.high_interval();
        inner.high_sent.after(every)
    }

    /// What is to be kept over a restart, if anything changed since it was last asked for; not more
    /// often than every few seconds.
    pub fn unsaved(&self) -> Option<Account> {
        let mut inner = self.lock();
        let now = self.clock.now();
        if !inner.unsaved || now.since(inner.saved) < Duration::from_secs(5) {
            return None;
        }
        inner.unsaved = false;
        inner.saved = now;
        Some(inner.account.clone())
    }

    /// How it stands; `None` where nothing is known of a limit.
    pub fn report(&self) -> Option<BudgetReport> {
        let mut inner = self.lock();
        self.look(&mut inner);
        inner.account.first?;
        let now = inner.looked;
        let caps = inner.caps();
        let whole = |n: f64| n.max(0.0).round() as u64;
        let out = inner
            .outlook
            .runs_out(caps, inner.outlook.ours, |_| 0.0)
            .map(|after| now.after(after).to_string());
        Some(BudgetReport {
            degree: inner.degree,
            limit: inner.account.max,
            share: whole(caps.ours),
            floor: inner.rules.config.floor.of(inner.account.max),
            ours: whole(inner.account.ours(now)),
            others: whole(inner.account.others(now)),
            room: match inner.exhausted {
                Some(_) => 0,
                None => whole(inner.room_now()),
            },
            kept_for_high: whole(inner.kept(DAY * QUARTER)),
            used_in_12_hours: whole(inner.outlook.used(caps, DAY * QUARTER / 2)),
            runs_out: out,
            exhausted: inner.exhausted.is_some(),
        })
    }

    /// Works out the degree anew.
    fn look(&self, inner: &mut Inner) {
        let now = self.clock.now();
        inner.looked = now;
        if inner.account.first.is_some() {
            inner.outlook = Outlook::new(&inner.account, now);
        }
        let before = inner.degree;
        let degree = inner.judge(now);
        if degree == before {
            return;
        }
        (inner.degree, inner.since) = (degree, now);
        let left = inner.room_now().max(0.0).round() as u64;
        match degree > before {
            true => tracing::warn!(
                was = before.word(),
                room = left,
                limit = inner.account.max,
                "budget {}: {}",
                degree.word(),
                degree.words()
            ),
            false => tracing::info!(
                was = before.word(),
                room = left,
                limit = inner.account.max,
                "budget {}: {}",
                degree.word(),
                degree.words()
            ),
        }
        self.degree.send_replace(degree);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves counts, not broken state.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn caps(&self) -> Caps {
        let max = self.account.max;
        Caps {
            all: max.saturating_sub(self.rules.config.floor.of(max)) as f64,
            ours: self.rules.config.share.of(max) as f64,
        }
    }

    /// What is left above the floor.
    fn above_floor(&self) -> f64 {
        let now = self.looked;
        let known = self.account.others(now) + self.account.unconfirmed(now);
        // What they may have used since the last answer.
        let silence = (now.0 - self.account.heard.0).max(0);
        let unseen = 2.0 * self.outlook.others.over(silence).max(0.0);
        self.caps().all - self.account.ours(now) - known - unseen
    }

    /// What is left for us.
    fn room_now(&self) -> f64 {
        self.above_floor()
            .min(self.caps().ours - self.account.ours(self.looked))
    }

    /// What is kept for what has a high priority in the next `span` microseconds: a request for each
    /// object, once to create and once to change, as often as its deadline wants; and as many as its
    /// records need.
    fn kept(&self, span: i64) -> f64 {
        if self.rules.high_objects == 0 {
            return 0.0;
        }
        let turns = span as f64 / self.latest_turn().as_micros().max(1) as f64;
        let turns = turns * 2.0 * self.rules.high_objects as f64;
        let records = self.outlook.high.over(span) / 200.0;
        // A short deadline does not take everything.
        (turns + records).min(self.caps().all / 4.0)
    }

    /// What has a high priority is sent at least this often.
    fn latest_turn(&self) -> Duration {
        self.rules.config.deadline.0 / 2
    }

    fn high_interval(&self) -> Duration {
        let latest = self.latest_turn();
        let caps = Caps {
            ours: f64::INFINITY,
            ..self.caps()
        };
        let room = self.outlook.room(caps, |_| 0.0);
        if self.account.first.is_none() || self.rules.high_objects == 0 {
            return Duration::ZERO;
        }
        // Half of the room is for bursts.
        let turns = (room / 2.0).max(1.0) / (2.0 * self.rules.high_objects as f64);
        let every = Duration::from_secs(86_400).div_f64(turns.max(1.0));
        every.clamp(Duration::from_secs(1).min(latest), latest)
    }

    /// What the rest may spend now.
    fn spendable(&self) -> f64 {
        let now = self.room_now();
        match self.rules.high_objects {
            0 => now,
            _ => now.min(self.outlook.room(self.caps(), |span| self.kept(span))),
        }
    }

    /// In which time it is spent at a rate so many times today's.
    fn lasts(&self, factor: f64) -> Option<Duration> {
        let kept = |span| match self.rules.high_objects {
            0 => 0.0,
            _ => self.kept(span),
        };
        let rate = self.outlook.ours.times(factor);
        self.outlook.runs_out(self.caps(), rate, kept)
    }

    /// The degree, given the one there is.
    fn judge(&self, now: Timestamp) -> Degree {
        if self.exhausted.is_some() {
            return Degree::Stop;
        }
        if self.account.first.is_none() {
            return Degree::Normal;
        }
        let was = self.degree;
        let caps = self.caps();
        // A margin for the way back.
        let back = |degree: Degree, amount: f64| match was >= degree {
            true => amount,
            false => 0.0,
        };
        let margin = MARGIN.min(caps.all / 100.0);
        if self.above_floor() <= margin + back(Degree::Stop, (caps.all / 500.0).max(margin)) {
            return Degree::Stop;
        }
        let quantum = (caps.ours / 100.0).max(margin);
        if self.spendable() <= margin + back(Degree::Defer, quantum) {
            return Degree::Defer;
        }
        // Between the degrees that send everything there is no hurry to get better.
        let dwells = now.since(self.since) < DWELL && now.0 >= self.since.0;
        let scarce = was >= Degree::Scarce;
        let at_most = match scarce {
            true => 6 * HOUR,
            false => 4 * HOUR,
        };
        let degree = if self.lasts(1.0).is_some_and(|lasts| lasts < at_most) {
            Degree::Scarce
        } else if self
            .lasts(if was >= Degree::Save { 1.25 } else { 1.0 })
            .is_some()
        {
            Degree::Save
        } else {
            Degree::Normal
        };
        match degree < was && dwells && was <= Degree::Scarce {
            true => was,
            false => degree,
        }
    }
}
