//! Making the write log's entry of each record.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::prepare::{Prepared, Target};
use super::{Action, Asked, Change, Context, Outcome};
use crate::clock;
use crate::ids::Id;
use crate::schema::field::Kind;
use crate::store::Store;
use crate::writelog::{Reference, WriteEntry, packed};

type Key = Option<(String, Value)>;

fn key_of(store: &Store, id: Id) -> Key {
    let row = store.get(id)?;
    let (field, value) = row.external_id(store.schema.object(row.object))?;
    Some((field.to_owned(), value.clone()))
}

/// The external id of the record before the write.
pub(super) fn known(store: &Store, plan: Option<&Prepared>) -> Key {
    match plan?.target {
        Target::Update(id) | Target::Delete(id) | Target::Undelete(id) | Target::Purge(id) => {
            key_of(store, id)
        }
        Target::Create => None,
    }
}

/// Adds the entry of one record, after those of the records that went with it.
pub(super) fn record(
    store: &mut Store,
    ctx: &Context,
    asked: &Asked,
    plan: Option<&Prepared>,
    outcome: &Outcome,
    known: Key,
) {
    let change = match asked {
        Ok(change) => change,
        Err(unread) => match &unread.1 {
            Some(change) => change,
            None => return,
        },
    };
    for id in outcome.iter().flat_map(|done| &done.cascaded) {
        let mut entry = blank(store, ctx, change);
        entry.via = "cascade".to_owned();
        entry.operation = match change.action {
            Action::Undelete(_) => "undelete".to_owned(),
            _ => "delete".to_owned(),
        };
        entry.id = Some(id.to_string());
        if let Some(object) = store.schema.by_prefix(id.prefix()) {
            entry.object = store.schema.object(object).name.clone();
        }
        set_key(&mut entry, key_of(store, *id));
        store.log.push(entry);
    }
    let mut entry = blank(store, ctx, change);
    entry.operation = operation(change, plan).to_owned();
    entry.id = match (outcome, plan.map(|p| &p.target)) {
        (Ok(done), _) => Some(done.id.to_string()),
        (
            Err(_),
            Some(
                Target::Update(id) | Target::Delete(id) | Target::Undelete(id) | Target::Purge(id),
            ),
        ) => Some(id.to_string()),
        (Err(_), _) => match &change.action {
            Action::Update(id) | Action::Delete(id) | Action::Undelete(id) | Action::Purge(id) => {
                Some(id.clone())
            }
            _ => None,
        },
    };
    match (outcome, plan) {
        (Ok(_), Some(plan)) => {
            entry.fields = packed(&written(store, plan));
            entry.references = packed(&references(store, plan));
        }
        _ => entry.fields = packed(&change.fields),
    }
    if let Err(error) = outcome {
        entry.outcome = error.code.clone().into_owned();
        entry.message = Some(error.message.clone());
    }
    let key = asked_key(store, change, plan)
        .or_else(|| {
            outcome
                .as_ref()
                .ok()
                .and_then(|done| key_of(store, done.id))
        })
        .or(known);
    set_key(&mut entry, key);
    store.log.push(entry);
}

fn blank(store: &Store, ctx: &Context, change: &Change) -> WriteEntry {
    let user = store.get(ctx.user).and_then(|row| {
        let object = store.schema.object(row.object);
        object
            .field("Username")
            .and_then(|f| row.text(f))
            .map(str::to_owned)
    });
    WriteEntry {
        seq: 0,
        at: clock::precise(store.clock.now()),
        request: ctx.request,
        via: ctx.via.to_owned(),
        job: ctx.job.map(|job| job.id.to_string()),
        user: user.unwrap_or_default(),
        user_id: ctx.user.to_string(),
        object: store.schema.object(change.object).name.clone(),
        operation: String::new(),
        id: None,
        external_id_field: None,
        external_id: None,
        fields: packed(&Map::new()),
        references: packed(&Map::new()),
        outcome: "accepted".to_owned(),
        message: None,
    }
}

fn set_key(entry: &mut WriteEntry, key: Key) {
    if let Some((field, value)) = key {
        entry.external_id_field = Some(field);
        entry.external_id = Some(value);
    }
}

fn operation(change: &Change, plan: Option<&Prepared>) -> &'static str {
    match (plan.map(|p| &p.target), &change.action) {
        (Some(Target::Create), _) | (None, Action::Create) => "create",
        (Some(Target::Update(_)), _) | (None, Action::Update(_)) => "update",
        (Some(Target::Delete(_)), _) | (None, Action::Delete(_)) => "delete",
        (Some(Target::Undelete(_)), _) | (None, Action::Undelete(_)) => "undelete",
        (Some(Target::Purge(_)), _) | (None, Action::Purge(_)) => "hard_delete",
        (None, Action::Upsert { .. }) => "upsert",
    }
}

/// The key an upsert was asked with, as given when it could not be read.
fn asked_key(store: &Store, change: &Change, plan: Option<&Prepared>) -> Key {
    let Action::Upsert { key, .. } = change.action else {
        return None;
    };
    let field = &store.schema.object(change.object).fields[key];
    if field.kind == Kind::Id {
        return None;
    }
    let read = plan
        .and_then(|p| p.values.iter().find(|(at, _)| *at == key))
        .map(|(_, v)| v.clone());
    let raw = || {
        let given = change
            .fields
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(&field.name));
        given.map(|(_, v)| v.clone())
    };
    Some((field.name.clone(), read.or_else(raw)?))
}

fn written(store: &Store, plan: &Prepared) -> Map<String, Value> {
    let object = store.schema.object(plan.object);
    plan.values
        .iter()
        .map(|(at, value)| (object.fields[*at].name.clone(), value.clone()))
        .collect()
}

fn references(store: &Store, plan: &Prepared) -> BTreeMap<String, Reference> {
    let object = store.schema.object(plan.object);
    let links = plan
        .values
        .iter()
        .filter(|(at, _)| object.fields[*at].kind == Kind::Reference);
    links
        .filter_map(|(at, value)| {
            let id = Id::parse(value.as_str()?)?;
            let parent = store.schema.object(store.schema.by_prefix(id.prefix())?);
            let (field, key) = key_of(store, id).unzip();
            let reference = Reference {
                object: parent.name.clone(),
                id: id.to_string(),
                external_id_field: field,
                external_id: key,
            };
            Some((object.fields[*at].name.clone(), reference))
        })
        .collect()
}
