//! The one path that every write takes: single rows, collections, bulk jobs, edits by a
//! person.
//!
//! Invariants:
//! - All records of a call are prepared before the first is applied; results are in the
//!   order of the request, one for each record.
//! - The store's mutex is held from the first check to the journal entry, so a call is
//!   seen whole or not at all. Injected latency passes *before* that, while row locks are
//!   held, as a slow trigger would hold them.
//! - Every record leaves exactly one entry in the write log, accepted or refused; a record
//!   deleted along with its parent leaves one of its own, before the parent's.

mod apply;
mod bin;
pub(crate) mod error;
mod log;
pub(crate) mod prepare;
pub(crate) mod rules;
mod setup;
pub(crate) mod together;
pub(crate) mod values;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::app::App;
use crate::clock::Millis;
use crate::ids::Id;
use crate::schema::Object;
use crate::schema::field::Kind;
use crate::store::Store;
use crate::store::grants::Viewer;
use crate::store::row::Row;
use error::RecordError;
use prepare::{Prepared, Target};

/// What a caller wants done to one record.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Create,
    /// By id, as text: a malformed one is refused per record.
    Update(String),
    Delete(String),
    /// Out of the recycle bin, back or for good.
    Undelete(String),
    Purge(String),
    /// By the field at this position.
    Upsert {
        key: usize,
        update_only: bool,
    },
}

/// One record of a call.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) object: usize,
    pub(crate) action: Action,
    pub(crate) fields: Map<String, Value>,
}

/// Who writes, when, and on which way.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) user: Id,
    pub(crate) viewer: Viewer,
    pub(crate) at: Millis,
    pub(crate) request: u64,
    pub(crate) via: &'static str,
    pub(crate) all_or_none: bool,
    pub(crate) options: Options,
    pub(crate) job: Option<InJob>,
}

/// The bulk job that writes are rows of. Their text is not trimmed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InJob {
    pub(crate) id: Id,
    /// Deleted records do not go to the recycle bin.
    pub(crate) hard: bool,
}

/// What a caller asks for in headers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Duplicate rules that only warn are passed.
    pub(crate) save_alerts: bool,
    /// Doubles are told with their fields.
    pub(crate) record_details: bool,
    /// What must hold of a record that is changed.
    pub(crate) only_if: OnlyIf,
}

/// Conditions on the record that a single-record call changes (salesforce.md §6).
#[derive(Clone, Debug, Default)]
pub(crate) struct OnlyIf {
    /// Not changed after this second.
    pub(crate) unmodified_since: Option<Millis>,
    /// Its tag is one of these, or is not.
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) not_tags: Option<Vec<String>>,
}

impl OnlyIf {
    pub(crate) fn check(&self, object: &Object, row: &Row) -> Result<(), RecordError> {
        let stamp = row.stamp.div_euclid(1_000) * 1_000;
        if self.unmodified_since.is_some_and(|since| stamp > since) {
            let message = "The record was modified after the given date";
            let code = "ENTITY_FAILED_IFLASTMODIFIED_ON_UPDATE";
            return Err(RecordError::new(code, message));
        }
        if self.tags.is_none() && self.not_tags.is_none() {
            return Ok(());
        }
        let Some(tag) = row.tag(object) else {
            return Ok(());
        };
        let named = |tags: &Vec<String>| tags.iter().any(|t| t == "*" || *t == tag);
        let wrong = self.tags.as_ref().is_some_and(|tags| !named(tags))
            || self.not_tags.as_ref().is_some_and(named);
        match wrong {
            true => Err(RecordError::new(
                "MATCH_PRECONDITION_FAILED",
                "The entity tag of the record does not meet the condition",
            )),
            false => Ok(()),
        }
    }
}

/// An accepted write.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) id: Id,
    pub(crate) created: bool,
    /// Records deleted along with this one, dependants first.
    pub(crate) cascaded: Vec<Id>,
}

/// A result per record.
pub(crate) type Outcome = Result<Done, RecordError>;

/// A record of a call: a change, or the reason it could not even be read.
pub(crate) type Asked = Result<Change, Box<(RecordError, Option<Change>)>>;

/// Writes the records of one call.
pub(crate) async fn write(
    app: &App,
    ctx: &Context,
    asked: Vec<Asked>,
    delay: Duration,
) -> Vec<Outcome> {
    write_then(app, ctx, asked, delay, |_, _| {}).await
}

/// The same, with something more that is to be in the same line of the journal.
pub(crate) async fn write_then(
    app: &App,
    ctx: &Context,
    asked: Vec<Asked>,
    delay: Duration,
    then: impl FnOnce(&mut Store, &[Outcome]),
) -> Vec<Outcome> {
    if app.is_within() {
        return within(app, ctx, asked);
    }
    let mut refused: HashMap<usize, RecordError> = HashMap::new();
    let mut expected_new: HashSet<usize> = HashSet::new();
    let mut held = Vec::new();
    let delay = delay + app.locks.work(asked.len());
    if !delay.is_zero() || app.locks.busy() {
        let wanted = {
            let store = app.store();
            plan_locks(&store, ctx, &asked, &mut expected_new)
        };
        // One wait for the whole call, however many of its rows are locked.
        let until = app.locks.until();
        for (record, rows) in wanted {
            match app.locks.acquire(&rows, ctx.request, until).await {
                Ok(guard) => held.push(guard),
                Err(row) => {
                    refused.insert(record, RecordError::locked(Some(row)));
                }
            }
        }
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }
    let mut store = app.store();
    let outcomes = run(app, &mut store, ctx, asked, &refused, &expected_new);
    then(&mut store, &outcomes);
    if let Err(error) = store.commit() {
        app.report(&error);
    }
    drop(store);
    drop(held);
    outcomes
}

/// The same as part of a transaction, which has locked what it could and commits later.
fn within(app: &App, ctx: &Context, asked: Vec<Asked>) -> Vec<Outcome> {
    let mut store = app.store();
    let wanted = plan_locks(&store, ctx, &asked, &mut HashSet::new());
    let mut refused = HashMap::new();
    if let Some(transaction) = &mut store.transaction {
        for (at, rows) in wanted {
            if let Some(row) = rows.iter().find(|row| transaction.locked.contains(*row)) {
                refused.insert(at, RecordError::locked(Some(*row)));
            }
            transaction.wanted.push(rows);
        }
    }
    run(app, &mut store, ctx, asked, &refused, &HashSet::new())
}

/// The rows each record locks: itself, and parents, users excepted. A new or deleted record
/// locks all its parents; a changed one those of the lookups that are written, old and
/// new, and always its masters.
fn plan_locks(
    store: &Store,
    ctx: &Context,
    asked: &[Asked],
    expected_new: &mut HashSet<usize>,
) -> Vec<(usize, Vec<Id>)> {
    let mut wanted = Vec::new();
    for (at, change) in asked.iter().enumerate() {
        let Ok(change) = change else { continue };
        let Ok(prepared) = prepare::prepare(store, ctx, change) else {
            continue;
        };
        let object = store.schema.object(prepared.object);
        let mut rows: Vec<Id> = prepared
            .values
            .iter()
            .filter(|(f, _)| object.fields[*f].kind == Kind::Reference)
            .filter_map(|(_, v)| Id::parse(v.as_str()?))
            .collect();
        let held = match prepared.target {
            Target::Create => {
                expected_new.insert(at);
                None
            }
            Target::Update(id) | Target::Delete(id) | Target::Undelete(id) | Target::Purge(id) => {
                rows.push(id);
                store.get(id)
            }
        };
        let all = !matches!(prepared.target, Target::Update(_));
        let written = |field| prepared.values.iter().any(|(at, _)| *at == field);
        if let Some(row) = held {
            let links = object.fields.iter().enumerate();
            let links = links.filter(|(at, f)| {
                f.kind == Kind::Reference && (all || f.required_always() || written(*at))
            });
            rows.extend(links.filter_map(|(at, _)| row.reference(at)));
        }
        rows.retain(|id| id.prefix() != "005");
        rows.sort_unstable();
        rows.dedup();
        wanted.push((at, rows));
    }
    wanted
}

fn run(
    app: &App,
    store: &mut Store,
    ctx: &Context,
    asked: Vec<Asked>,
    refused: &HashMap<usize, RecordError>,
    expected_new: &HashSet<usize>,
) -> Vec<Outcome> {
    let mut plans: Vec<Result<Prepared, RecordError>> = asked
        .iter()
        .enumerate()
        .map(|(at, change)| match change {
            Err(unread) => Err(unread.0.clone()),
            Ok(change) => match (refused.get(&at), fault(app, store, change)) {
                (Some(error), _) => Err(error.clone()),
                (None, Some(error)) => Err(error),
                (None, None) => prepare::prepare(store, ctx, change),
            },
        })
        .collect();
    refuse_duplicates(store, &mut plans);
    let start = store.mark();
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(plans.len());
    let mut before_images = Vec::with_capacity(plans.len());
    for (at, plan) in plans.iter().enumerate() {
        before_images.push(log::known(store, plan.as_ref().ok()));
        let outcome = match plan {
            Err(error) => Err(error.clone()),
            Ok(prepared) => {
                let mark = store.mark();
                let lost_race = expected_new
                    .contains(&at)
                    .then(|| raced(store, prepared))
                    .flatten();
                let outcome = match lost_race {
                    Some(error) => Err(error),
                    None => apply::apply(store, ctx, prepared),
                };
                if outcome.is_err() {
                    store.undo_to(mark);
                }
                outcome
            }
        };
        outcomes.push(outcome);
    }
    if ctx.all_or_none && outcomes.iter().any(Result::is_err) {
        store.undo_to(start);
        for outcome in &mut outcomes {
            if outcome.is_ok() {
                *outcome = Err(RecordError::rolled_back());
            }
        }
    }
    for (((change, plan), outcome), known) in
        asked.iter().zip(&plans).zip(&outcomes).zip(before_images)
    {
        log::record(store, ctx, change, plan.as_ref().ok(), outcome, known);
        // Only now: the log shows the keys of the records that went.
        if let (Ok(plan), Ok(done)) = (plan, outcome)
            && matches!(plan.target, Target::Purge(_))
        {
            store.erase(done.id);
        }
        if let (Some(InJob { hard: true, .. }), Ok(done)) = (ctx.job, outcome) {
            for id in done.cascaded.iter().chain([&done.id]) {
                store.erase(*id);
            }
        }
    }
    outcomes
}

/// The fault that strikes a record, but not in a rehearsal.
fn fault(app: &App, store: &Store, change: &Change) -> Option<RecordError> {
    match app.is_rehearsal() {
        true => None,
        false => app.faults.record(store, change),
    }
}

/// Two callers upserted the same new key at once: the one that comes second fails on the
/// unique index, although an upsert tried a moment later would have updated.
fn raced(store: &Store, prepared: &Prepared) -> Option<RecordError> {
    let (Target::Update(id), Some((key, _))) = (&prepared.target, &prepared.key) else {
        return None;
    };
    let field = &store.schema.object(prepared.object).fields[*key];
    field.unique.then(|| apply::taken(field, *id))
}

/// The same key or id twice in one call: every copy fails.
fn refuse_duplicates(store: &Store, plans: &mut [Result<Prepared, RecordError>]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let name = |plan: &Prepared| match (&plan.key, &plan.target) {
        (Some((_, key)), _) => Some(format!("key {key}")),
        (None, Target::Create) => None,
        (
            None,
            Target::Update(id) | Target::Delete(id) | Target::Undelete(id) | Target::Purge(id),
        ) => Some(format!("id {id}")),
    };
    for name in plans.iter().flatten().filter_map(name) {
        *seen.entry(name).or_default() += 1;
    }
    for plan in plans.iter_mut() {
        let Ok(prepared) = plan else { continue };
        let twice = name(prepared).is_some_and(|name| seen.get(&name).is_some_and(|n| *n > 1));
        if !twice {
            continue;
        }
        *plan = Err(match (&prepared.key, &prepared.target) {
            (Some((key, _)), _) => {
                let field = &store.schema.object(prepared.object).fields[*key];
                let value = prepared
                    .values
                    .iter()
                    .find(|(at, _)| at == key)
                    .map(|(_, v)| v);
                let shown = value.map_or_else(String::new, |v| {
                    v.as_str().map_or_else(|| v.to_string(), str::to_owned)
                });
                RecordError::new(
                    "DUPLICATE_VALUE",
                    format!("Duplicate external id specified: {shown}"),
                )
                .on(&field.name)
            }
            (None, Target::Create) => continue,
            (
                None,
                Target::Update(id) | Target::Delete(id) | Target::Undelete(id) | Target::Purge(id),
            ) => RecordError::new("DUPLICATE_VALUE", format!("Duplicate id specified: {id}"))
                .on("Id"),
        });
    }
}
