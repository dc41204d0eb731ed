//! Writing: up to 200 records a request, one outcome a record.
//!
//! Upsert goes by external id. Update and delete exist by CRM id only: where the ledger knows none,
//! one query finds them. An id of the ledger can have become stale (the record was merged, or deleted
//! and made again): Salesforce says so for that record, which is then looked up once by its external
//! id. Only when that finds nothing is it *absent*; a record that is there but out of reach is
//! refused, never taken for gone.
//!
//! ```text
//! Update, Delete:   ids of the ledger ──────────────┐
//!                   no id ─► query by external id ──┴─► request ─► stale? ─► query ─► request
//! ```

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use reqwest::Method;
use serde::Deserialize;

use super::Salesforce;
use super::bin::Binned;
use super::codes::{EMPTY_KEY, OUT_OF_REACH, PADDED_KEY};
use super::errors::{self, ApiError};
use super::http::{Answer, Call, unreadable};
use super::refusal;
use super::soql::encode;
use super::write::{self, Identified};
use crate::fault::{Class, Fault};
use crate::mapping::{Key, Target};
use crate::planning::{Batch, BatchAction, CrmId, Write};
use crate::sinks::Outcome;

/// Records a collections request takes.
pub(super) const MAX_RECORDS: usize = 200;

/// One element of the answer.
#[derive(Debug, Deserialize)]
struct Saved {
    #[serde(default)]
    id: Option<CrmId>,
    success: bool,
    #[serde(default)]
    created: Option<bool>,
    #[serde(default)]
    errors: Vec<ApiError>,
}

/// A record of an update or a delete on its way: its place in the batch, and its CRM id.
type Addressed = (usize, CrmId);

impl Salesforce {
    /// See [`crate::sinks::Sink::write`].
    pub(super) async fn write_batch(&self, batch: &Batch) -> Result<Vec<Outcome>, Fault> {
        if batch.writes.len() > MAX_RECORDS {
            return Err(Fault::new(
                Class::Split,
                "EXCEEDED_ID_LIMIT",
                "more than 200 records in one request",
            ));
        }
        let mut outcomes: Vec<Option<Outcome>> = batch.writes.iter().map(unwritable).collect();
        let sent = match batch.action {
            BatchAction::Upsert => self.upsert(batch, &mut outcomes).await,
            BatchAction::Update if batch.writes.iter().any(|w| w.guard.is_some()) => {
                self.guarded(batch, &mut outcomes).await
            }
            BatchAction::Update | BatchAction::Delete { .. } => {
                self.by_id(batch, &mut outcomes).await
            }
        };
        let sent = match (sent, batch.action) {
            (Ok(()), BatchAction::Delete { hard: true }) => {
                self.empty_bin(batch, &mut outcomes).await
            }
            (sent, _) => sent,
        };
        if let Err(fault) = sent {
            refusal::settle(batch, fault, &mut outcomes)?;
        }
        let mut outcomes: Vec<Outcome> = outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or(Outcome::Absent))
            .collect();
        self.rights.judge(batch, &mut outcomes);
        let outdated = |o: &Outcome| matches!(o, Outcome::Refused(f) if errors::hints_at_schema(f));
        if outcomes.iter().any(outdated) {
            self.forget_description(&batch.target.object);
        }
        Ok(outcomes)
    }

    async fn upsert(&self, batch: &Batch, outcomes: &mut [Option<Outcome>]) -> Result<(), Fault> {
        let target = &batch.target;
        let places: Vec<usize> = open(outcomes);
        if places.is_empty() {
            return Ok(());
        }
        let records = places.iter().filter_map(|i| batch.writes.get(*i));
        let kinds = |object: &str, field: &str| self.key_kind(object, field);
        let body = write::encode(target, kinds, records.map(|w| (w, Identified::ByKey)))?;
        let path = format!(
            "/composite/sobjects/{}/{}",
            encode(&target.object),
            encode(&target.key_field)
        );
        let saved = self
            .save(Call::Upsert, &path, body, target, places.len())
            .await?;
        for (place, saved) in places.into_iter().zip(saved) {
            put(outcomes, place, outcome(saved, Some(&target.key_field)));
        }
        Ok(())
    }

    async fn by_id(&self, batch: &Batch, outcomes: &mut [Option<Outcome>]) -> Result<(), Fault> {
        let mut addressed: Vec<Addressed> = Vec::new();
        let mut unknown = Vec::new();
        for place in open(outcomes) {
            match batch.writes.get(place).and_then(|w| w.crm_id.clone()) {
                Some(id) => addressed.push((place, id)),
                None => unknown.push(place),
            }
        }
        addressed.extend(self.locate(batch, &unknown, outcomes).await?);
        addressed.sort_unstable();
        let stale = self.send(batch, addressed, outcomes).await?;
        if stale.is_empty() {
            return Ok(());
        }
        let places: Vec<usize> = stale.iter().map(|(place, ..)| *place).collect();
        let mut again = self.locate(batch, &places, outcomes).await?;
        for (place, id, fault) in stale {
            let here = |(p, found): &Addressed| *p == place && same_record(found, &id);
            if again.iter().any(here) {
                // It is there under that very id: then it is not gone, it is out of our reach.
                again.retain(|found| !here(found));
                put(
                    outcomes,
                    place,
                    Outcome::Refused(out_of_reach(batch, fault)),
                );
            }
        }
        for (place, _, fault) in self.send(batch, again, outcomes).await? {
            let fault = Fault {
                class: Class::RecordTransient,
                ..fault
            };
            put(outcomes, place, Outcome::Refused(fault));
        }
        Ok(())
    }

    /// Deleted records go for good. One that was not there any more may have been deleted by an attempt
    /// whose answer was lost: it goes, too.
    async fn empty_bin(
        &self,
        batch: &Batch,
        outcomes: &mut [Option<Outcome>],
    ) -> Result<(), Fault> {
        let known = |(place, outcome): (usize, &Option<Outcome>)| match outcome {
            Some(Outcome::Written { crm_id, .. }) => Some((place, crm_id.clone()?)),
            None | Some(Outcome::Absent) => Some((place, batch.writes.get(place)?.crm_id.clone()?)),
            Some(Outcome::Refused(_) | Outcome::Overtaken | Outcome::Deferred { .. }) => None,
        };
        let (places, ids): (Vec<usize>, Vec<CrmId>) =
            outcomes.iter().enumerate().filter_map(known).unzip();
        if ids.is_empty() {
            return Ok(());
        }
        let emptied = self.binned(Binned::Empty, &ids).await?;
        for (place, outcome) in places.into_iter().zip(emptied) {
            // What is not in the bin is gone.
            if let refused @ Outcome::Refused(_) = outcome {
                put(outcomes, place, refused);
            }
        }
        Ok(())
    }

    /// Finds the CRM ids of the records at `places`. What is not there stays open (absent).
    async fn locate(
        &self,
        batch: &Batch,
        places: &[usize],
        outcomes: &mut [Option<Outcome>],
    ) -> Result<Vec<Addressed>, Fault> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let writes = || {
            places
                .iter()
                .filter_map(|place| Some((*place, batch.writes.get(*place)?)))
        };
        let keys: HashSet<&Key> = writes()
            .flat_map(|(_, w)| w.from.iter().chain([&w.key]))
            .collect();
        let mut keys: Vec<Key> = keys.into_iter().cloned().collect();
        keys.sort_unstable();
        let found = self.find(&batch.target, &keys).await?;
        let kind = self.key_kind(&batch.target.object, &batch.target.key_field);
        let ids = |key: &Key| found.get(kind.normal(key).as_ref());
        let mut addressed = Vec::new();
        for (place, write) in writes() {
            // A re-key whose old id is gone may have been done already: then it bears the new one.
            let here = write
                .from
                .as_ref()
                .and_then(ids)
                .or_else(|| ids(&write.key));
            match here.map(Vec::as_slice) {
                None | Some([]) => {}
                Some([id]) => addressed.push((place, id.clone())),
                Some(several) => {
                    let fault = Fault::new(
                        Class::Record,
                        "DUPLICATE_EXTERNAL_ID",
                        format!("{} records bear this external id", several.len()),
                    );
                    put(outcomes, place, Outcome::Refused(fault));
                }
            }
        }
        Ok(addressed)
    }

    /// Sends an update or a delete; yields the records whose id is not (or no longer) good.
    async fn send(
        &self,
        batch: &Batch,
        mut addressed: Vec<Addressed>,
        outcomes: &mut [Option<Outcome>],
    ) -> Result<Vec<(usize, CrmId, Fault)>, Fault> {
        let mut seen = HashSet::new();
        addressed.retain(|(place, id)| {
            let first = seen.insert(id.get(..15).unwrap_or(id).to_owned());
            if !first {
                let fault = Fault::new(
                    Class::RecordTransient,
                    "DUPLICATE_VALUE",
                    "Duplicate id specified: two rows of one request lead to this record",
                );
                put(outcomes, *place, Outcome::Refused(fault));
            }
            first
        });
        if addressed.is_empty() {
            return Ok(Vec::new());
        }
        let count = addressed.len();
        let saved = if batch.action == BatchAction::Update {
            let records = addressed
                .iter()
                .filter_map(|(place, id)| Some((batch.writes.get(*place)?, Identified::ById(id))));
            let kinds = |object: &str, field: &str| self.key_kind(object, field);
            let body = write::encode(&batch.target, kinds, records)?;
            let path = "/composite/sobjects";
            self.save(Call::Update, path, body, &batch.target, count)
                .await?
        } else {
            let ids: Vec<String> = addressed.iter().map(|(_, id)| encode(id)).collect();
            let path = format!("/composite/sobjects?ids={}&allOrNone=false", ids.join(","));
            let answer = self.call(Call::Delete, Method::DELETE, &path, None).await?;
            saved(Call::Delete, answer, count)?
        };
        let mut stale = Vec::new();
        for ((place, id), saved) in addressed.into_iter().zip(saved) {
            match outcome(saved, None) {
                Outcome::Refused(fault) if is_stale(&fault) => {
                    // Open again, until it is known whether the record is elsewhere.
                    if let Some(slot) = outcomes.get_mut(place) {
                        *slot = None;
                    }
                    stale.push((place, id, fault));
                }
                Outcome::Written { crm_id: None, .. } => {
                    let written = Outcome::Written {
                        crm_id: Some(id),
                        created: false,
                    };
                    put(outcomes, place, written);
                }
                other => put(outcomes, place, other),
            }
        }
        Ok(stale)
    }

    /// One collections request that makes or changes records; exactly `count` results.
    async fn save(
        &self,
        call: Call,
        path: &str,
        body: Vec<u8>,
        target: &Target,
        count: usize,
    ) -> Result<Vec<Saved>, Fault> {
        let body = Bytes::from(body);
        let answer = self.call_to_save(call, Method::PATCH, path, body, target);
        saved(call, answer.await?, count)
    }
}

fn saved(call: Call, answer: Answer, count: usize) -> Result<Vec<Saved>, Fault> {
    let saved: Vec<Saved> = serde_json::from_slice(&answer.accepted()?)
        .map_err(|_| unreadable(call, "the results of a write cannot be read"))?;
    if saved.len() != count {
        return Err(Fault::new(
            Class::Unknown,
            "miscounted_answer",
            format!("{count} records were sent, {} results came", saved.len()),
        ));
    }
    Ok(saved)
}

/// Places that have no outcome yet.
pub(super) fn open(outcomes: &[Option<Outcome>]) -> Vec<usize> {
    let places = outcomes.iter().enumerate();
    places
        .filter(|(_, o)| o.is_none())
        .map(|(i, _)| i)
        .collect()
}

pub(super) fn put(outcomes: &mut [Option<Outcome>], place: usize, outcome: Outcome) {
    if let Some(slot) = outcomes.get_mut(place) {
        *slot = Some(outcome);
    }
}

/// Salesforce trims texts and takes an empty one for none: such a key would make a new record with
/// every write, or meet another row's record.
fn unwritable(write: &Write) -> Option<Outcome> {
    let trimmed = write.key.trim();
    let (code, what) = if trimmed.is_empty() {
        (EMPTY_KEY, "the external id is empty, or white space only")
    } else if trimmed.len() < write.key.len() {
        (PADDED_KEY, "the external id has white space around it")
    } else {
        return None;
    };
    Some(Outcome::Refused(Fault::new(Class::Record, code, what)))
}

fn outcome(saved: Saved, own_key: Option<&str>) -> Outcome {
    if saved.success {
        Outcome::Written {
            crm_id: saved.id,
            created: saved.created.unwrap_or(false),
        }
    } else {
        Outcome::Refused(errors::record_fault(saved.errors, own_key))
    }
}

/// The id is not that of a record we can reach.
pub(super) fn is_stale(fault: &Fault) -> bool {
    matches!(
        fault.code.as_ref(),
        "ENTITY_IS_DELETED" | "INVALID_CROSS_REFERENCE_KEY" | "NOT_FOUND"
    )
}

/// For an update, Salesforce's own words fit too (a bad id in one of its fields); for a delete they
/// would only confuse.
fn out_of_reach(batch: &Batch, fault: Fault) -> Fault {
    if batch.action == BatchAction::Update {
        return fault;
    }
    let message = format!("it can be seen but not deleted: {}", fault.message);
    Fault::new(Class::Record, OUT_OF_REACH, message)
}

/// Ids have 15 characters, and 3 more that only check them.
fn same_record(a: &CrmId, b: &CrmId) -> bool {
    a.get(..15).unwrap_or(a) == b.get(..15).unwrap_or(b)
}

/// Tells a record that our user may not write from an object that it may not write.
///
/// Salesforce says the same of both. A run of refusals with no success between, across requests, is
/// taken for a missing right: from then on records of the object are held, not dead letters, until one
/// is taken. Other objects go on.
#[derive(Debug, Default)]
pub(super) struct Rights {
    runs: Mutex<HashMap<(Box<str>, BatchAction), u32>>,
}

/// Length of such a run.
const RIGHTS_RUN: u32 = 20;

impl Rights {
    fn judge(&self, batch: &Batch, outcomes: &mut [Outcome]) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let run = runs
            .entry((batch.target.object.clone(), batch.action))
            .or_default();
        for outcome in outcomes {
            match outcome {
                Outcome::Written { .. } => *run = 0,
                Outcome::Refused(fault) if errors::is_right(fault) => {
                    *run = run.saturating_add(1);
                    if *run >= RIGHTS_RUN {
                        *fault = refusal::closed(&batch.target.object, fault);
                    }
                }
                Outcome::Refused(_)
                | Outcome::Absent
                | Outcome::Overtaken
                | Outcome::Deferred { .. } => {}
            }
        }
    }
}
