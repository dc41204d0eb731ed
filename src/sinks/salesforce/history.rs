//! Who changed a field, and when: field history, where the org tracks it.
//!
//! Every object with tracked fields has a history object beside it. Which fields are tracked it does
//! not say; a field that is not has no rows. The rows of a record that we write often are many, so ours
//! are asked for only from a time on.
//!
//! <https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_associated_objects_history.htm>

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use super::Salesforce;
use super::keys::quoted;
use super::read::{same_id, time_of};
use super::soql;
use crate::change::Timestamp;
use crate::fault::Fault;
use crate::mapping::Target;
use crate::planning::CrmId;
use crate::sinks::{HistoryQuery, HistoryRow};

/// How long an object without history is taken to have none.
const UNKEPT: Duration = Duration::from_secs(600);

/// The object that holds an object's history, and the field in it that names the record.
fn history_of(object: &str) -> (String, String) {
    let lower = object.to_ascii_lowercase();
    match object.get(..object.len().saturating_sub(3)) {
        Some(stem) if lower.ends_with("__c") => (format!("{stem}__History"), "ParentId".to_owned()),
        _ if lower == "opportunity" => (
            "OpportunityFieldHistory".to_owned(),
            "OpportunityId".to_owned(),
        ),
        _ => (format!("{object}History"), format!("{object}Id")),
    }
}

/// A literal of SOQL: the second in which a time lies.
fn second(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_second(at.0.div_euclid(1_000_000)).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Salesforce {
    /// See [`crate::sinks::Sink::history`].
    pub(super) async fn read_history(
        &self,
        target: &Target,
        query: &HistoryQuery,
    ) -> Result<Vec<HistoryRow>, Fault> {
        if query.ids.is_empty() || self.is_unkept(&target.object) {
            return Ok(Vec::new());
        }
        match self.ask_history(target, query).await {
            Err(fault) if keeps_none(&fault) => {
                let mut known = self.unkept.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(target.object.to_ascii_lowercase(), Instant::now());
                tracing::info!(
                    object = %target.object, code = %fault.code,
                    "the CRM keeps no history of this object's fields: of an edit only the time of \
                     the record's last change is known"
                );
                Ok(Vec::new())
            }
            other => other,
        }
    }

    fn is_unkept(&self, object: &str) -> bool {
        let known = self.unkept.lock().unwrap_or_else(PoisonError::into_inner);
        let said = known.get(&object.to_ascii_lowercase());
        said.is_some_and(|at| at.elapsed() < UNKEPT)
    }

    async fn ask_history(
        &self,
        target: &Target,
        query: &HistoryQuery,
    ) -> Result<Vec<HistoryRow>, Fault> {
        let (object, parent) = history_of(&target.object);
        let us = self.own_user().await?;
        let mut slots: HashMap<String, u16> = HashMap::new();
        for slot in &query.fields {
            if let Some(field) = target.fields.get(usize::from(*slot)) {
                slots.insert(field.name.to_ascii_lowercase(), *slot);
            }
        }
        let mut names: Vec<String> = slots.keys().map(|name| quoted(name)).collect();
        names.sort_unstable();
        let select =
            format!("SELECT {parent},Field,NewValue,CreatedDate,CreatedById FROM {object}");
        let behind = format!(
            " AND Field IN ({}) AND (CreatedById != {} OR CreatedDate >= {}) ORDER BY CreatedDate DESC",
            names.join(","),
            quoted(&us),
            second(query.since)
        );
        let ids: Vec<String> = query.ids.iter().map(|id| quoted(id)).collect();
        let mut found = Vec::new();
        for query in soql::by_key(&select, &parent, &ids, &behind) {
            for row in self.rows(&format!("/query?q={query}")).await? {
                let slot = row.text("Field");
                let slot = slot.and_then(|f| slots.get(&f.to_ascii_lowercase()).copied());
                let at = row.text("CreatedDate").and_then(|t| time_of(&t));
                let (Some(id), Some(slot), Some(at)) = (row.text(&parent), slot, at) else {
                    continue;
                };
                let value = row.raw("NewValue");
                found.push(HistoryRow {
                    crm_id: CrmId::from(id),
                    slot,
                    at,
                    by_us: row.text("CreatedById").is_some_and(|by| same_id(&by, &us)),
                    value: value.map_or("null".into(), |v| v.get().into()),
                });
            }
        }
        found.sort_by_key(|row| std::cmp::Reverse(row.at));
        Ok(found)
    }
}

/// The object has no history, or our user may not see it.
fn keeps_none(fault: &Fault) -> bool {
    matches!(
        fault.code.as_ref(),
        "INVALID_TYPE" | "INVALID_FIELD" | "NOT_FOUND" | "INVALID_TYPE_FOR_OPERATION"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_has_its_history() {
        let of = |object| history_of(object);
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(of("Contact"), pair("ContactHistory", "ContactId"));
        assert_eq!(
            of("Opportunity"),
            pair("OpportunityFieldHistory", "OpportunityId")
        );
        assert_eq!(of("Invoice__c"), pair("Invoice__History", "ParentId"));
        assert_eq!(
            of("ns__Invoice__c"),
            pair("ns__Invoice__History", "ParentId")
        );
        assert_eq!(of("ü"), pair("üHistory", "üId"));
    }

    #[test]
    fn times_are_literals() {
        assert_eq!(
            second(Timestamp(1_793_794_235_999_999)),
            "2026-11-04T12:10:35Z"
        );
        assert_eq!(second(Timestamp(-1)), "1969-12-31T23:59:59Z");
    }
}
