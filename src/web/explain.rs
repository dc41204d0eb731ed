//! What is known of one record: which change it stands at, what of it we wrote and what people did, and
//! what is still to come. No values.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::fields::{self, NamedField};
use super::shelf::{self, Listed, Name};
use super::{Refusal, Seen};
use crate::fault::Result as OurResult;
use crate::mapping::{FieldId, ObjectId, RecordId};
use crate::planning::{Existence, LedgerEntry};
use crate::store::Store;
use crate::supervisor::settle::NEVER;

/// What is known of one record.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Explained {
    /// The CRM object.
    pub object: String,
    /// The record.
    pub external_id: String,
    /// `live`, `archived` (its row is deleted and marked), `deleted`, `uncertain` (it was being sent when
    /// the process ended), `kept_deleted` (a person deleted it, and it stays so); `unknown`: nothing of it
    /// was ever written.
    pub state: String,
    /// The CRM's id, where it is known.
    pub crm_id: Option<String>,
    /// The newest change applied: LSN of its commit, and number in its transaction.
    pub position: Option<String>,
    /// Its fields, in the order of their names.
    pub fields: Vec<ExplainedField>,
    /// What is to be done yet; null when nothing is.
    pub pending: Option<Listed>,
    /// What to do about that.
    pub advice: Option<String>,
}

/// What is known of one field.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExplainedField {
    /// The field.
    pub field: String,
    /// The column or member that fills it; null for a constant, or one that no rule names any more.
    pub from: Option<String>,
    /// `written`: it held our value when we last wrote; `kept`: it holds what a person wrote instead of
    /// what the database has; `left_to_the_crm`: it belongs to the CRM; `not_written`: never, by us.
    pub state: String,
    /// Of a field that is kept: since when it holds that, at the latest.
    pub edited: Option<String>,
}

/// `GET /explain`
pub(super) async fn explain(
    State(seen): State<Arc<Seen>>,
    Query(name): Query<Name>,
) -> Result<Json<Explained>, Refusal> {
    let fields = fields::known(&seen);
    let found = find(&*seen.store, &seen.objects, &fields, &name).await?;
    let unknown = || {
        let what = format!("nothing is written to an object named {}", name.object);
        Refusal::new(StatusCode::NOT_FOUND, what)
            .remedy("name an object of the configuration, such as Contact")
    };
    Ok(Json(found.ok_or_else(unknown)?))
}

/// What is known of a record; `None` when the configuration does not name its object.
///
/// # Errors
/// When the store fails.
pub async fn find(
    store: &dyn Store,
    objects: &[(String, String)],
    fields: &[NamedField],
    name: &Name,
) -> OurResult<Option<Explained>> {
    let ours = objects
        .iter()
        .filter(|(object, _)| object.eq_ignore_ascii_case(&name.object));
    let mut answer = None;
    for (object, key_field) in ours {
        let record = RecordId {
            object: ObjectId::new(object, key_field),
            key: name.external_id.as_str().into(),
        };
        let states = store.records(std::slice::from_ref(&record)).await?;
        let state = states.into_iter().next().unwrap_or_default();
        let known = state.ledger.is_some() || state.pending.is_some();
        let pending = state.pending.as_ref().map(|p| shelf::shown(p));
        let ledger = state.ledger.as_ref();
        let told = Explained {
            object: object.clone(),
            external_id: name.external_id.clone(),
            state: existence(ledger).to_owned(),
            crm_id: ledger.and_then(|l| l.crm_id.as_ref().map(ToString::to_string)),
            position: ledger.map(|l| l.position.to_string()),
            fields: explained(ledger, record.object, fields),
            advice: pending.as_ref().map(|p| p.advice.clone()),
            pending: pending.map(|p| p.listed),
        };
        if known {
            return Ok(Some(told));
        }
        answer = answer.or(Some(told));
    }
    Ok(answer)
}

fn existence(ledger: Option<&LedgerEntry>) -> &'static str {
    match ledger.map(|l| l.existence) {
        None => "unknown",
        Some(Existence::Live) => "live",
        Some(Existence::Archived) => "archived",
        Some(Existence::Deleted) => "deleted",
        Some(Existence::Uncertain) => "uncertain",
        Some(Existence::Kept) => "kept_deleted",
    }
}

fn explained(
    ledger: Option<&LedgerEntry>,
    object: ObjectId,
    fields: &[NamedField],
) -> Vec<ExplainedField> {
    let here = fields.iter().filter(|f| f.object == object);
    let mut named: Vec<(FieldId, String, Option<String>)> = here
        .map(|f| (f.id(), f.name.clone(), f.from.clone()))
        .collect();
    // Those of earlier rules.
    let written = ledger.iter().flat_map(|l| &l.fingerprints);
    let kept = ledger.iter().flat_map(|l| &l.kept_fields);
    for id in written.map(|(id, _)| *id).chain(kept.map(|(id, _)| *id)) {
        if !named.iter().any(|(known, ..)| *known == id) {
            named.push((id, fields::unnamed(id), None));
        }
    }
    named.sort_by(|a, b| a.1.cmp(&b.1));
    let told = named.into_iter().map(|(id, field, from)| {
        let (state, edited) = match ledger.and_then(|l| l.kept_since(id)) {
            Some(NEVER) => ("left_to_the_crm", None),
            Some(edited) => ("kept", Some(edited.to_string())),
            None if ledger.is_some_and(|l| l.fingerprint(id).is_some()) => ("written", None),
            None => ("not_written", None),
        };
        ExplainedField {
            field,
            from,
            state: state.to_owned(),
            edited,
        }
    });
    told.collect()
}
