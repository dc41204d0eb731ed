//! Brakes on runaway success: a storm of deletes, and records that flip to and fro.
//!
//! ```text
//! plan ─► deletes of a table within `within`  ─► more than `deletes`           ─► held, all of them
//!      └► writes of one record within an hour ─► more than `writes_per_record` ─► held, that record
//! ```
//!
//! Pure; runs before a plan is ordered, and turns what it holds from *send* to *held*. A person
//! releases it or gives it up.
//!
//! Invariants
//! - A delete (or an archive: `on_delete = { set = … }`) counts once, when its change is planned. What
//!   comes from the shelf without a new change never counts and is never held.
//! - Once a table's brake is on, every delete of it is held until a person has decided: else a storm
//!   would leak through, so many in each stretch of time. Deletes of records that its records refer to
//!   are held too, as the CRM would take their children along.
//! - Inserts and updates are braked a record, never a table. A row of a backfill is no change.
//! - A window that may have been sent before is sent again whole, but for deletes.
//! - Memory does not grow with records: some counters a table, and 1 MiB for all records.
//! - After a restart counters begin at zero; a brake that holds something is on again
//!   ([`Brakes::remember`]).

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashMap;
use xxhash_rust::xxh3::Xxh3;

use super::codes::{BRAKE_DELETES, BRAKE_WRITES, TRANSACTION_OPEN};
use super::entry::{Course, Entry, Plan};
use super::objects::Objects;
use super::record::{Pending, Reason};
use super::sketch::Sketch;
use crate::change::Timestamp;
use crate::config::{Brake, DeleteLimit};
use crate::fault::{Class, Fault};
use crate::mapping::{Action, ObjectId, RecordId};

/// Stretches in which deletes are counted: the oldest is forgotten as a whole.
const STRETCHES: u32 = 60;
/// A share never means fewer deletes than this: small tables are not for shares.
pub const LEAST_SHARE: u64 = 100;
/// Released records whose earlier writes are known not to count.
const MOST_RELEASED: usize = 10_000;

/// Which brake.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum BrakeKind {
    /// Deletes of a table.
    Deletes,
    /// Writes of a record.
    Writes,
}

impl BrakeKind {
    /// The code of what it holds.
    pub fn code(self) -> &'static str {
        match self {
            BrakeKind::Deletes => BRAKE_DELETES,
            BrakeKind::Writes => BRAKE_WRITES,
        }
    }

    /// Of a code.
    pub fn of(code: &str) -> Option<Self> {
        [BrakeKind::Deletes, BrakeKind::Writes]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// A brake that is on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alarm {
    /// The table, in the configuration's words.
    pub table: Box<str>,
    /// Which brake.
    pub kind: BrakeKind,
    /// For people.
    pub what: String,
}

#[derive(Debug, Default)]
struct Table {
    name: Box<str>,
    /// Deletes by stretch of time, the oldest first.
    stretches: VecDeque<(Timestamp, u64)>,
    /// Records of the table, and when they were counted.
    size: Option<(u64, Timestamp)>,
    /// Why all deletes are held.
    on: Option<String>,
    /// Why some records are.
    writes: Option<String>,
    /// A person has let a storm go: nothing is counted until then.
    free_until: Option<Timestamp>,
}

/// The brakes of all tables.
#[derive(Debug)]
pub struct Brakes {
    config: Brake,
    tables: HashMap<ObjectId, Table>,
    sketch: Sketch,
    /// Times that a record was seen before a person let it go, by its hash.
    released: HashMap<u64, u32>,
    order: VecDeque<u64>,
}

fn hash(record: &RecordId) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&record.object.0.to_le_bytes());
    hasher.update(record.key.as_bytes());
    hasher.digest()
}

/// It takes a record away, or marks it as gone.
fn removes(entry: &Entry) -> bool {
    match entry.operation.action {
        Action::Delete { .. } => true,
        Action::Archive { .. } => entry.exists(),
        Action::Upsert | Action::ReKey { .. } => false,
    }
}

impl Brakes {
    /// None of them is on.
    pub fn new(config: Brake) -> Self {
        Brakes {
            config,
            tables: HashMap::new(),
            sketch: Sketch::new(),
            released: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// What is on the shelf since before the start: its brake is on again.
    pub fn remember(&mut self, pending: &Pending) {
        let kind = pending.fault.as_ref().and_then(|f| BrakeKind::of(&f.code));
        let (Reason::Held, Some(kind), Some(fault)) = (pending.reason, kind, &pending.fault) else {
            return;
        };
        let table = self.tables.entry(pending.record.object).or_default();
        table.name = pending.table.as_str().into();
        let why = match kind {
            BrakeKind::Deletes => &mut table.on,
            BrakeKind::Writes => &mut table.writes,
        };
        why.get_or_insert_with(|| fault.message.clone());
    }

    /// The objects whose records have to be counted before this plan can be judged.
    pub fn unknown_sizes(&self, plan: &Plan, now: Timestamp) -> Vec<ObjectId> {
        let DeleteLimit::Share(_) = self.config.deletes else {
            return Vec::new();
        };
        let mut counts: HashMap<ObjectId, u64> = HashMap::new();
        for entry in plan.entries.iter().filter(|e| counts_as_delete(e)) {
            *counts.entry(entry.operation.target.id).or_default() += 1;
        }
        counts.retain(|object, more| {
            let Some(table) = self.tables.get(object) else {
                return *more > LEAST_SHARE;
            };
            let known = |at: Timestamp| now.since(at) < self.within();
            let seen: u64 = table.stretches.iter().map(|(_, n)| n).sum();
            table.on.is_none()
                && seen + *more > LEAST_SHARE
                && !table.size.is_some_and(|(_, at)| known(at))
        });
        counts.into_keys().collect()
    }

    /// So many records of the object are in the CRM.
    pub fn size(&mut self, object: ObjectId, records: u64, now: Timestamp) {
        let table = self.tables.entry(object).or_default();
        // What went a moment ago was there when the storm began.
        let gone: u64 = table.stretches.iter().map(|(_, n)| n).sum();
        table.size = Some((records + gone, now));
    }

    /// Holds what is too much. What trips a brake is told, once. A write that may have been sent before
    /// is not held: what the CRM may have of it already has to come into the ledger. (A delete is: that
    /// its record is gone already shows when it is tried.)
    pub fn hold(&mut self, plan: &mut Plan, objects: &Objects, now: Timestamp) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        let mut deletes: Vec<usize> = Vec::new();
        let mut writes: Vec<usize> = Vec::new();
        for (index, entry) in plan.entries.iter().enumerate() {
            if counts_as_delete(entry) {
                deletes.push(index);
            }
            if entry.is_sent() && entry.change && !plan.again {
                writes.push(index);
            }
        }
        // Children first: what they trip holds their parents, too.
        let depth = |entry: &Entry| objects.depth.get(&entry.operation.target.id).copied();
        deletes.sort_by_key(|i| std::cmp::Reverse(plan.entries.get(*i).and_then(depth)));
        for index in deletes {
            if let Some(entry) = plan.entries.get_mut(index)
                && let Some((why, alarm)) = self.delete(entry, objects, now)
            {
                alarms.extend(alarm);
                shelve(entry, BRAKE_DELETES, why);
            }
        }
        for index in writes {
            if let Some(entry) = plan.entries.get_mut(index).filter(|e| e.is_sent())
                && let Some((why, alarm)) = self.write(entry, now)
            {
                alarms.extend(alarm);
                shelve(entry, BRAKE_WRITES, why);
            }
        }
        alarms
    }

    fn delete(
        &mut self,
        entry: &Entry,
        objects: &Objects,
        now: Timestamp,
    ) -> Option<(String, Option<Alarm>)> {
        let object = entry.operation.target.id;
        let name = &entry.operation.target.table;
        let takes_along = matches!(entry.operation.action, Action::Delete { .. });
        let within = self.within();
        let limits = self.config.deletes;
        let below = match takes_along {
            true => objects.below(object),
            false => Vec::new(),
        };
        let of_child = below.iter().find_map(|child| {
            let table = self.tables.get(child).filter(|t| t.on.is_some())?;
            Some(format!(
                "its deletes are held because those of {} are: the CRM would delete what refers to it",
                table.name
            ))
        });
        let table = self.tables.entry(object).or_default();
        table.name.clone_from(name);
        if table.free_until.is_some_and(|until| now < until) {
            return None;
        }
        if let Some(why) = &table.on {
            return Some((why.clone(), None));
        }
        if let Some(why) = of_child {
            return Some((why, None));
        }
        let limit = match limits {
            DeleteLimit::Count(0) => return None,
            DeleteLimit::Count(count) => count,
            DeleteLimit::Share(percent) => {
                let records = table.size.map_or(0, |(records, _)| records);
                let share = u128::from(records) * u128::from(percent.0) / 10_000;
                u64::try_from(share).unwrap_or(u64::MAX).max(LEAST_SHARE)
            }
        };
        let count = table.count(within, now);
        if count < limit {
            table.add(within, now);
            return None;
        }
        let why = format!(
            "more than {limit} deletes of {name} within {}: they are held until a person has decided",
            words(within)
        );
        table.on = Some(why.clone());
        let alarm = Alarm {
            table: name.clone(),
            kind: BrakeKind::Deletes,
            what: why.clone(),
        };
        Some((why, Some(alarm)))
    }

    fn write(&mut self, entry: &Entry, now: Timestamp) -> Option<(String, Option<Alarm>)> {
        let limit = self.config.writes_per_record;
        if limit == 0 {
            return None;
        }
        let hash = hash(&entry.operation.record());
        let seen = self.sketch.add(hash, now);
        let before = self.released.get(&hash).copied().unwrap_or(0);
        if seen < before {
            // It is from an hour ago by now.
            self.released.remove(&hash);
        }
        if seen.saturating_sub(before) <= limit {
            return None;
        }
        let name = &entry.operation.target.table;
        let why = format!(
            "written more than {limit} times within an hour: it is held until a person has decided; \
             look who changes its row to and fro"
        );
        let table = self.tables.entry(entry.operation.target.id).or_default();
        table.name.clone_from(name);
        let first = table.writes.is_none();
        table.writes.get_or_insert_with(|| why.clone());
        let alarm = first.then(|| Alarm {
            table: name.clone(),
            kind: BrakeKind::Writes,
            what: format!("a record of {name} was {why}"),
        });
        Some((why, alarm))
    }

    /// A person lets a record go: its writes so far count no more.
    pub fn release(&mut self, record: &RecordId) {
        let hash = hash(record);
        let seen = self.sketch.count(hash);
        if seen == 0 {
            return;
        }
        if self.released.insert(hash, seen).is_none() {
            self.order.push_back(hash);
        }
        while self.order.len() > MOST_RELEASED {
            if let Some(oldest) = self.order.pop_front() {
                self.released.remove(&oldest);
            }
        }
    }

    /// A person lets all that is held of a table go: its storm may go on for as long as deletes are
    /// counted.
    pub fn open(&mut self, object: ObjectId, kind: BrakeKind, now: Timestamp) {
        let micros = i64::try_from(self.within().as_micros()).unwrap_or(i64::MAX);
        let Some(table) = self.tables.get_mut(&object) else {
            return;
        };
        match kind {
            BrakeKind::Deletes => {
                table.on = None;
                table.stretches.clear();
                table.size = None;
                table.free_until = Some(Timestamp(now.0.saturating_add(micros)));
            }
            BrakeKind::Writes => table.writes = None,
        }
    }

    /// Nothing of a table is held any more: its brake is off, and counts from zero.
    pub fn off(&mut self, object: ObjectId, kind: BrakeKind) {
        if let Some(table) = self.tables.get_mut(&object) {
            match kind {
                BrakeKind::Deletes => {
                    table.on = None;
                    table.stretches.clear();
                }
                BrakeKind::Writes => table.writes = None,
            }
        }
    }

    /// The brakes that are on, by table.
    pub fn alarms(&self) -> Vec<Alarm> {
        let mut alarms: Vec<Alarm> = Vec::new();
        for table in self.tables.values() {
            let whys = [
                (BrakeKind::Deletes, &table.on),
                (BrakeKind::Writes, &table.writes),
            ];
            alarms.extend(whys.into_iter().filter_map(|(kind, why)| {
                Some(Alarm {
                    table: table.name.clone(),
                    kind,
                    what: why.clone()?,
                })
            }));
        }
        alarms.sort_by(|a, b| (&a.table, a.kind).cmp(&(&b.table, b.kind)));
        alarms
    }

    /// The objects of which a brake is on.
    pub fn on(&self) -> Vec<(ObjectId, BrakeKind)> {
        let mut on = Vec::new();
        for (object, table) in &self.tables {
            on.extend(table.on.as_ref().map(|_| (*object, BrakeKind::Deletes)));
            on.extend(table.writes.as_ref().map(|_| (*object, BrakeKind::Writes)));
        }
        on
    }

    fn within(&self) -> Duration {
        self.config.within.0.max(Duration::from_secs(1))
    }
}

impl Table {
    /// Deletes within the last stretch of time.
    fn count(&mut self, within: Duration, now: Timestamp) -> u64 {
        while let Some((since, _)) = self.stretches.front() {
            if now.since(*since) < within {
                break;
            }
            self.stretches.pop_front();
        }
        self.stretches.iter().map(|(_, n)| n).sum()
    }

    fn add(&mut self, within: Duration, now: Timestamp) {
        match self.stretches.back_mut() {
            Some((since, n)) if now.since(*since) < within / STRETCHES => *n += 1,
            _ => self.stretches.push_back((now, 1)),
        }
    }
}

/// It was not judged before: a change of this window, or one that had to wait for its Commit.
fn counts_as_delete(entry: &Entry) -> bool {
    let fault = entry.pending.as_ref().and_then(|p| p.fault.as_ref());
    let new = entry.change || fault.is_some_and(|f| f.code == TRANSACTION_OPEN);
    entry.is_sent() && new && removes(entry)
}

fn shelve(entry: &mut Entry, code: &'static str, why: String) {
    entry.course = Course::Shelve {
        reason: Reason::Held,
        waits_for: None,
        fault: Some(Fault::new(Class::Record, code, why)),
    };
}

fn words(span: Duration) -> String {
    match span.as_secs() {
        s if s % 3_600 == 0 => format!("{}h", s / 3_600),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}
