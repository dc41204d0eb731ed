//! Fields that hold what people wrote instead of what the database has.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::fields::{self, NamedField};
use super::shelf::{mark, unmark};
use super::{Refusal, Seen};
use crate::fault::Result as OurResult;
use crate::mapping::{FieldId, ObjectId, RecordId};
use crate::store::Store;
use crate::supervisor::settle::NEVER;

/// Records of the ledger looked at in one go.
const PAGE: usize = 1_000;
/// Most records looked at for one answer: few of very many may have such a field.
const MOST: usize = 200_000;

/// Where to go on, and how far.
#[derive(Deserialize)]
pub(super) struct Asked {
    after: Option<String>,
    limit: Option<usize>,
}

/// A field that is kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeptFieldReport {
    /// The CRM object.
    pub object: String,
    /// The record.
    pub external_id: String,
    /// The field.
    pub field: String,
    /// Since when it holds what a person wrote, at the latest.
    pub edited: String,
}

/// A page of them, in the order of their records.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct KeptFields {
    /// All there are.
    pub total: u64,
    /// Those of this page.
    pub kept_fields: Vec<KeptFieldReport>,
    /// Where the next page begins; null when there is none.
    pub next: Option<String>,
}

/// `GET /kept/fields`
pub(super) async fn list(
    State(seen): State<Arc<Seen>>,
    Query(asked): Query<Asked>,
) -> Result<Json<KeptFields>, Refusal> {
    let limit = asked.limit.unwrap_or(100).clamp(1, 10_000);
    let after = asked.after.filter(|a| !a.is_empty());
    let after = after.map(|a| {
        let bad = "after is the `next` of the page before";
        unmark(&a).ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, bad))
    });
    let after = after.transpose()?;
    let found = page(
        &*seen.store,
        &seen.objects,
        &fields::known(&seen),
        after,
        limit,
    )
    .await?;
    Ok(Json(found))
}

/// Kept fields, found by looking through the ledger.
///
/// # Errors
/// When the store fails.
pub async fn page(
    store: &dyn Store,
    objects: &[(String, String)],
    fields: &[NamedField],
    mut after: Option<RecordId>,
    limit: usize,
) -> OurResult<KeptFields> {
    let mut objects: Vec<(ObjectId, &str)> = objects
        .iter()
        .map(|(object, field)| (ObjectId::new(object, field), object.as_str()))
        .collect();
    objects.sort_unstable();
    let names: HashMap<FieldId, &str> = fields.iter().map(|f| (f.id(), f.name.as_str())).collect();
    let total = store.kept_fields().await?;
    let mut listing = KeptFields {
        total,
        kept_fields: Vec::new(),
        next: None,
    };
    let mut looked = 0;
    if total == 0 {
        return Ok(listing);
    }
    for (object, name) in objects {
        if after.as_ref().is_some_and(|a| a.object > object) {
            continue;
        }
        let mut key = after.take_if(|a| a.object == object).map(|a| a.key);
        loop {
            let page = store.ledger_page(object, key.take(), PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            key = Some(last.key.clone());
            looked += page.len();
            for (record, entry) in page {
                let edits = entry.kept_fields.iter().filter(|(_, at)| *at != NEVER);
                listing.kept_fields.extend(edits.map(|(field, at)| {
                    KeptFieldReport {
                        object: name.to_owned(),
                        external_id: record.key.to_string(),
                        field: names
                            .get(field)
                            .map_or_else(|| fields::unnamed(*field), ToString::to_string),
                        edited: at.to_string(),
                    }
                }));
                if listing.kept_fields.len() >= limit {
                    listing.next = Some(mark(&record));
                    return Ok(listing);
                }
                if looked >= MOST && key.as_ref() == Some(&record.key) {
                    listing.next = Some(mark(&record));
                    return Ok(listing);
                }
            }
        }
    }
    Ok(listing)
}
