//! A CRM in memory that behaves as Salesforce does where it matters here, goes wrong as told, and
//! watches every write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use syncline::fault::{Class, Fault};
use syncline::mapping::{Assignment, FieldSpec, FieldValue, ObjectDescription, Target};
use syncline::planning::{Batch, BatchAction, CrmId, Write};
use syncline::sinks::bulk::Bulk;
use syncline::sinks::{BoxFuture, CrmRecord, Limits, Named, Outcome, Sink};
use tokio::time::Instant;

use crate::jobs::Jobs;

/// One record.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Record {
    pub object: String,
    pub key: String,
    pub fields: BTreeMap<String, String>,
    /// Lookups hold the parent's id, so that they survive its re-key.
    pub parents: BTreeMap<String, u64>,
}

/// How often something goes wrong, in a thousand requests (or records).
#[derive(Clone, Copy, Debug, Default)]
pub struct Troubles {
    pub down: u32,
    pub lost_before: u32,
    pub lost_after: u32,
    pub locked: u32,
    /// Now and then the day's limit is used up for some minutes.
    pub limited: bool,
    /// Of a hundred versions, so many are refused for good.
    pub refused: u32,
    /// A person deletes a record beside a request.
    pub persons: u32,
}

#[derive(Default)]
pub struct Inner {
    records: BTreeMap<u64, Record>,
    index: BTreeMap<(String, String), u64>,
    next: u64,
    /// The newest version that each external id has been given.
    newest: BTreeMap<(String, String), i64>,
    violations: Vec<String>,
    missing_parents: u64,
    requests: u64,
    /// What people deleted, by its id.
    bin: BTreeMap<u64, Record>,
    /// What people deleted at some time, and what referred to it.
    touched: BTreeSet<(String, String)>,
    /// Contacts that an account which we deleted took along.
    cascaded: u64,
    under_way: BTreeSet<(String, String)>,
    /// Until when the day's limit is used up.
    used_up: Option<Instant>,
    pub jobs: Jobs,
    jobs_seen: u64,
}

/// The CRM. Clones are the same one.
#[derive(Clone)]
pub struct Crm {
    inner: Arc<Mutex<Inner>>,
    random: Arc<Mutex<SmallRng>>,
    troubles: Arc<Mutex<Troubles>>,
}

/// Takes an external id out of "under way" when its request ends, however it ends.
struct Busy {
    crm: Crm,
    keys: BTreeSet<(String, String)>,
}

/// The parents that a write names.
pub fn parents<'a>(
    batch: &'a Batch,
    write: &'a Write,
) -> impl Iterator<Item = (String, String)> + 'a {
    write.fields.iter().filter_map(|field| {
        let parent = batch.target.fields[usize::from(field.slot)]
            .reference
            .as_ref()?;
        match &field.assignment {
            Assignment::Set(FieldValue::Reference(key)) => {
                Some((parent.object_name.to_string(), key.to_string()))
            }
            _ => None,
        }
    })
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut inner = self.crm.inner.lock().expect("no panic while held");
        for key in &self.keys {
            inner.under_way.remove(key);
        }
    }
}

impl Crm {
    pub fn new(seed: u64, troubles: Troubles) -> Self {
        Crm {
            inner: Arc::default(),
            random: Arc::new(Mutex::new(SmallRng::seed_from_u64(seed))),
            troubles: Arc::new(Mutex::new(troubles)),
        }
    }

    pub fn heal(&self) {
        *self.troubles.lock().expect("unpoisoned") = Troubles::default();
    }

    /// What was seen that must never be.
    pub fn violations(&self) -> Vec<String> {
        self.inner.lock().expect("unpoisoned").violations.clone()
    }

    /// Jobs that ran.
    pub fn jobs(&self) -> u64 {
        self.inner.lock().expect("unpoisoned").jobs_seen
    }

    /// The CRM as it is by now.
    pub fn now(&self) -> MutexGuard<'_, Inner> {
        let troubles = self.troubles();
        let mut inner = self.inner.lock().expect("unpoisoned");
        inner.advance(troubles.refused, &mut || self.chance(troubles.locked));
        inner
    }

    pub fn troubles(&self) -> Troubles {
        *self.troubles.lock().expect("unpoisoned")
    }

    pub fn requests(&self) -> u64 {
        self.inner.lock().expect("unpoisoned").requests
    }

    /// Whether a person deleted the record at some time, or one that it referred to.
    pub fn is_touched(&self, key: &(String, String)) -> bool {
        let inner = self.inner.lock().expect("unpoisoned");
        inner.touched.contains(key)
    }

    pub fn cascaded(&self) -> u64 {
        self.inner.lock().expect("unpoisoned").cascaded
    }

    /// Somebody deletes a record, now and then.
    fn meddle(&self) {
        let persons = self.troubles.lock().expect("unpoisoned").persons;
        if !self.chance(persons) {
            return;
        }
        let mut inner = self.inner.lock().expect("unpoisoned");
        let ids: Vec<u64> = inner.records.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let any = self
            .random
            .lock()
            .expect("unpoisoned")
            .random_range(0..ids.len());
        inner.remove(ids[any], true);
        if self.random.lock().expect("unpoisoned").random_bool(0.2) {
            inner.bin.clear();
        }
    }

    pub fn missing_parents(&self) -> u64 {
        self.inner.lock().expect("unpoisoned").missing_parents
    }

    /// Every record by object and external id: its fields, and its parents by external id.
    pub fn contents(&self) -> BTreeMap<(String, String), BTreeMap<String, String>> {
        let inner = self.now();
        let shown = inner.records.values().map(|record| {
            let mut fields = record.fields.clone();
            for (name, parent) in &record.parents {
                let key = inner
                    .records
                    .get(parent)
                    .map_or("(gone)".into(), |p| p.key.clone());
                fields.insert(name.clone(), key);
            }
            ((record.object.clone(), record.key.clone()), fields)
        });
        shown.collect()
    }

    /// The day's limit may be used up at times.
    pub fn is_limited(&self) -> bool {
        self.troubles.lock().expect("unpoisoned").limited
    }

    /// The refusal of a request beyond the day's limit.
    fn over_limit(&self) -> Option<Fault> {
        if !self.is_limited() {
            return None;
        }
        let now = Instant::now();
        if self.chance(30) {
            let until = now + Duration::from_secs(if self.chance(100) { 2_000 } else { 90 });
            self.inner.lock().expect("unpoisoned").used_up = Some(until);
        }
        let used_up = self.inner.lock().expect("unpoisoned").used_up;
        used_up.filter(|until| now < *until)?;
        let message = "TotalRequests Limit exceeded.";
        Some(Fault::new(
            Class::Service,
            "REQUEST_LIMIT_EXCEEDED",
            message,
        ))
    }

    pub fn chance(&self, of: u32) -> bool {
        self.below(1000) < of
    }

    pub fn below(&self, most: u32) -> u32 {
        self.random
            .lock()
            .expect("unpoisoned")
            .random_range(0..most)
    }

    pub fn latency(&self) -> Duration {
        let slow = self.chance(20);
        let most = if slow { 5_000 } else { 60 };
        Duration::from_millis(
            self.random
                .lock()
                .expect("unpoisoned")
                .random_range(1..most),
        )
    }

    fn apply(&self, batch: &Batch) -> Vec<Outcome> {
        let troubles = *self.troubles.lock().expect("unpoisoned");
        let outcomes = batch.writes.iter().map(|write| {
            if self.chance(troubles.locked) {
                let fault = Fault::new(Class::Locked, "UNABLE_TO_LOCK_ROW", "locked");
                return Outcome::Refused(fault);
            }
            self.now().write(batch, write, troubles.refused)
        });
        outcomes.collect()
    }
}

impl Inner {
    /// These are being written.
    pub fn enter(&mut self, keys: &BTreeSet<(String, String)>) {
        self.jobs_seen += 1;
        for key in keys {
            if !self.under_way.insert(key.clone()) {
                let what = format!("{key:?} is in a job and elsewhere at once");
                self.violations.push(what);
            }
        }
    }

    /// They are no longer.
    pub fn leave(&mut self, keys: &BTreeSet<(String, String)>) {
        for key in keys {
            self.under_way.remove(key);
        }
    }

    pub fn write(&mut self, batch: &Batch, write: &Write, refused: u32) -> Outcome {
        let outcome = self.carry_out(batch, write, refused);
        tracing::debug!(object = &*batch.target.object, action = ?batch.action, ?write, ?outcome);
        outcome
    }

    fn carry_out(&mut self, batch: &Batch, write: &Write, refused: u32) -> Outcome {
        let object = batch.target.object.to_string();
        let key = (object.clone(), write.key.to_string());
        let found = match (&write.crm_id, &write.from) {
            (Some(id), _) if batch.action != BatchAction::Upsert => {
                id.parse().ok().filter(|id| self.records.contains_key(id))
            }
            (_, Some(from)) => {
                let old = self.index.get(&(object.clone(), from.to_string()));
                old.or_else(|| self.index.get(&key)).copied()
            }
            _ => self.index.get(&key).copied(),
        };
        match batch.action {
            BatchAction::Delete { .. } => match found {
                None => Outcome::Absent,
                Some(id) => self.delete(id),
            },
            BatchAction::Update if found.is_none() => Outcome::Absent,
            BatchAction::Upsert | BatchAction::Update => {
                self.put(batch, write, key, found, refused)
            }
        }
    }

    /// An account takes its contacts along; other lookups are emptied.
    fn remove(&mut self, id: u64, person: bool) {
        let Some(record) = self.records.remove(&id) else {
            return;
        };
        let key = (record.object.clone(), record.key.clone());
        self.index.remove(&key);
        if person {
            self.touched.insert(key);
            self.bin.insert(id, record);
        }
        let children: Vec<u64> = self
            .records
            .iter()
            .filter(|(_, r)| r.parents.values().any(|p| *p == id))
            .map(|(id, _)| *id)
            .collect();
        for child in children {
            let Some(record) = self.records.get_mut(&child) else {
                continue;
            };
            if record.parents.get("AccountId") == Some(&id) {
                self.cascaded += u64::from(!person);
                self.remove(child, person);
                continue;
            }
            record.parents.retain(|_, parent| *parent != id);
            if person {
                let key = (record.object.clone(), record.key.clone());
                self.touched.insert(key);
            }
        }
    }

    /// A record comes back from the bin, without those that went with it.
    fn undelete(&mut self, id: u64) -> Outcome {
        let Some(record) = self.bin.get(&id) else {
            return Outcome::Absent;
        };
        let key = (record.object.clone(), record.key.clone());
        if let Some(_other) = self.index.get(&key) {
            return Outcome::Absent;
        }
        let Some(mut record) = self.bin.remove(&id) else {
            return Outcome::Absent;
        };
        let live = &self.records;
        record.parents.retain(|_, parent| live.contains_key(parent));
        self.index.insert(key, id);
        self.records.insert(id, record);
        Outcome::Written {
            crm_id: Some(id.to_string().into()),
            created: false,
        }
    }

    fn delete(&mut self, id: u64) -> Outcome {
        self.remove(id, false);
        Outcome::Written {
            crm_id: None,
            created: false,
        }
    }

    fn put(
        &mut self,
        batch: &Batch,
        write: &Write,
        key: (String, String),
        found: Option<u64>,
        refused: u32,
    ) -> Outcome {
        let mut record = found
            .and_then(|id| self.records.get(&id).cloned())
            .unwrap_or_default();
        if self
            .index
            .get(&key)
            .is_some_and(|holder| Some(*holder) != found)
        {
            let what = format!("{key:?} would be there twice");
            self.violations.push(what.clone());
            return Outcome::Refused(Fault::new(Class::Record, "DUPLICATE_VALUE", what));
        }
        for field in write.fields.iter() {
            let described = &batch.target.fields[usize::from(field.slot)];
            let name = described.name.to_string();
            match (&field.assignment, &described.reference) {
                (Assignment::Clear, _) => {
                    record.fields.remove(&name);
                    record.parents.remove(&name);
                }
                (Assignment::Set(FieldValue::Reference(parent)), Some(reference)) => {
                    let parent_key = (reference.object_name.to_string(), parent.to_string());
                    let Some(id) = self.index.get(&parent_key) else {
                        self.missing_parents += 1;
                        let message =
                            format!("Foreign key external ID: {parent} not found for field Ext__c");
                        let fault = Fault::new(Class::MissingParent, "INVALID_FIELD", message);
                        return Outcome::Refused(fault);
                    };
                    record.parents.insert(name, *id);
                }
                (Assignment::Set(value), _) => {
                    let text = match value {
                        FieldValue::Bool(b) => b.to_string(),
                        FieldValue::Number(s) | FieldValue::Text(s) | FieldValue::Reference(s) => {
                            s.to_string()
                        }
                    };
                    record.fields.insert(name, text);
                }
            }
        }
        if let Some(version) = record
            .fields
            .get("Version__c")
            .and_then(|v| v.parse::<i64>().ok())
        {
            // Spread over the versions, and the same at every attempt.
            if version.wrapping_mul(2_654_435_761).rem_euclid(100) < i64::from(refused) {
                let fault = Fault::new(Class::Record, "FIELD_CUSTOM_VALIDATION_EXCEPTION", "no");
                return Outcome::Refused(fault);
            }
            let newest = self.newest.entry(key.clone()).or_insert(version);
            if version < *newest {
                let what = format!("{key:?} went back from version {newest} to {version}");
                self.violations.push(what);
            }
            *newest = version.max(*newest);
        }
        let id = found.unwrap_or_else(|| {
            self.next += 1;
            self.next
        });
        self.index.remove(&(record.object, record.key));
        (record.object, record.key) = key.clone();
        self.index.insert(key, id);
        self.records.insert(id, record);
        let crm_id = Some(id.to_string().into());
        Outcome::Written {
            crm_id,
            created: found.is_none(),
        }
    }
}

impl Sink for Crm {
    fn limits(&self) -> Limits {
        Limits {
            records: 5,
            guarded: 5,
            bytes: 2_000,
        }
    }

    fn describe<'a>(
        &'a self,
        objects: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Option<ObjectDescription>>, Fault>> {
        Box::pin(async move { Ok(vec![None; objects.len()]) })
    }

    fn read<'a>(
        &'a self,
        target: &'a Target,
        records: Named<'a>,
        _fields: &'a [u16],
    ) -> BoxFuture<'a, Result<Vec<Option<CrmRecord>>, Fault>> {
        Box::pin(async move {
            tokio::time::sleep(self.latency()).await;
            let inner = self.inner.lock().expect("unpoisoned");
            let Named::Keys(keys) = records else {
                return Ok(vec![None; records.len()]);
            };
            let found = keys.iter().map(|key| {
                let key = (target.object.to_string(), key.to_string());
                inner.index.get(&key).map(|id| CrmRecord {
                    crm_id: id.to_string().into(),
                    values: Vec::new(),
                    stamp: None,
                    modified: None,
                    untouched: false,
                })
            });
            Ok(found.collect())
        })
    }

    fn undelete<'a>(&'a self, ids: &'a [CrmId]) -> BoxFuture<'a, Result<Vec<Outcome>, Fault>> {
        Box::pin(async move {
            tokio::time::sleep(self.latency()).await;
            let outcomes = {
                let mut inner = self.inner.lock().expect("unpoisoned");
                ids.iter()
                    .map(|id| inner.undelete(id.parse().expect("our own id")))
                    .collect()
            };
            let lost_after = self.troubles.lock().expect("unpoisoned").lost_after;
            tokio::time::sleep(self.latency()).await;
            if self.chance(lost_after) {
                return Err(Fault::new(Class::Unknown, "no_answer", "connection lost"));
            }
            Ok(outcomes)
        })
    }

    fn create_fields<'a>(
        &'a self,
        _: &'a str,
        specs: &'a [FieldSpec],
    ) -> BoxFuture<'a, Result<Vec<Result<(), Fault>>, Fault>> {
        Box::pin(async move { Ok(vec![Ok(()); specs.len()]) })
    }

    fn look(&self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move { self.over_limit().map_or(Ok(()), Err) })
    }

    fn bulk(&self) -> Option<&dyn Bulk> {
        Some(self)
    }

    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Vec<Outcome>, Fault>> {
        Box::pin(async move {
            let object = batch.target.object.to_string();
            let own = batch
                .writes
                .iter()
                .map(|w| (object.clone(), w.key.to_string()));
            // What it writes, and the parents that a CRM locks for that.
            let keys: BTreeSet<_> = own
                .chain(batch.writes.iter().flat_map(|w| parents(batch, w)))
                .collect();
            {
                let mut inner = self.now();
                inner.requests += 1;
                for key in &keys {
                    if !inner.under_way.insert(key.clone()) {
                        inner
                            .violations
                            .push(format!("{key:?} is locked by two requests at once"));
                    }
                }
            }
            let _busy = Busy {
                crm: self.clone(),
                keys,
            };
            let troubles = *self.troubles.lock().expect("unpoisoned");
            tokio::time::sleep(self.latency()).await;
            if let Some(fault) = self.over_limit() {
                return Err(fault);
            }
            if self.chance(troubles.down) {
                return Err(Fault::new(
                    Class::Service,
                    "SERVER_UNAVAILABLE",
                    "try later",
                ));
            }
            if self.chance(troubles.lost_before) {
                return Err(Fault::new(Class::Unknown, "no_answer", "connection lost"));
            }
            self.meddle();
            let outcomes = self.apply(batch);
            // A crash from here on loses the answer, not the write.
            tokio::time::sleep(self.latency()).await;
            if self.chance(troubles.lost_after) {
                return Err(Fault::new(Class::Unknown, "no_answer", "connection lost"));
            }
            Ok(outcomes)
        })
    }
}
