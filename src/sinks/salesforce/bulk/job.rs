//! The calls of a job.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::csv::{self, ID, same_id};
use super::results::{Row, Table, error};
use crate::fault::{Class, Fault};
use crate::planning::{Batch, BatchAction};
use crate::sinks::Outcome;
use crate::sinks::bulk::{JobResults, JobState, Look, Packed};
use crate::sinks::salesforce::errors;
use crate::sinks::salesforce::http::{Call, unreadable};
use crate::sinks::salesforce::keys::KeyKind;
use crate::sinks::salesforce::soql::encode;
use crate::sinks::salesforce::{Body, Place, Salesforce};

/// What Salesforce says of a job.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    id: String,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    number_records_processed: Option<u64>,
    #[serde(default)]
    number_records_failed: Option<u64>,
    #[serde(default)]
    error_message: Option<String>,
}

/// Rows of results that a job has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Successful,
    Failed,
}

impl Salesforce {
    pub(super) fn pack_job(&self, batch: &Batch, places: &[usize]) -> Result<Packed, Fault> {
        let compress = !self.plain.load(Ordering::Relaxed);
        csv::encode(batch, places, self.kind_of(batch), compress).ok_or_else(|| {
            let what = "none of these records can be said in a bulk job";
            Fault::new(Class::Record, "not_for_bulk", what)
        })
    }

    fn kind_of(&self, batch: &Batch) -> KeyKind {
        self.key_kind(&batch.target.object, &batch.target.key_field)
    }

    pub(super) async fn open_job(&self, batch: &Batch) -> Result<String, Fault> {
        let operation = match batch.action {
            BatchAction::Upsert => "upsert",
            BatchAction::Update => "update",
            BatchAction::Delete { hard: false } => "delete",
            BatchAction::Delete { hard: true } => "hardDelete",
        };
        let mut job = json!({
            "object": &*batch.target.object,
            "operation": operation,
            "contentType": "CSV",
            "lineEnding": "LF",
            "columnDelimiter": "COMMA",
        });
        if batch.action == BatchAction::Upsert
            && let Some(job) = job.as_object_mut()
        {
            job.insert(
                "externalIdFieldName".into(),
                (&*batch.target.key_field).into(),
            );
        }
        let body = Bytes::from(job.to_string());
        let answer = self
            .call(Call::BulkOpen, Method::POST, "/jobs/ingest", Some(body))
            .await?
            .accepted()?;
        let info: Info = serde_json::from_slice(&answer)
            .map_err(|_| unreadable(Call::BulkOpen, "a bulk job was made without an answer"))?;
        match info.id.is_empty() {
            true => Err(unreadable(Call::BulkOpen, "a bulk job has no id")),
            false => Ok(info.id),
        }
    }

    pub(super) async fn upload_job(&self, job: &str, packed: &Packed) -> Result<(), Fault> {
        let path = format!("/jobs/ingest/{}/batches", encode(job));
        let body = Body::csv(packed.body.clone(), packed.compressed);
        let answer = self
            .with_session(
                Call::BulkUpload,
                Method::PUT,
                Place::Api(&path),
                Some(body),
                None,
            )
            .await?;
        if packed.compressed && matches!(answer.status, 400 | 415) {
            // The next one is sent as it is.
            self.plain.store(true, Ordering::Relaxed);
            let what = "the org takes no compressed upload";
            return Err(Fault::new(Class::Unknown, "not_compressed", what));
        }
        answer.accepted().map(|_| ())
    }

    pub(super) async fn start_job(&self, job: &str) -> Result<(), Fault> {
        self.set_job(Call::BulkStart, job, "UploadComplete").await
    }

    pub(super) async fn abort_job(&self, job: &str) -> Result<(), Fault> {
        self.set_job(Call::BulkAbort, job, "Aborted").await
    }

    async fn set_job(&self, call: Call, job: &str, state: &str) -> Result<(), Fault> {
        let path = format!("/jobs/ingest/{}", encode(job));
        let body = Bytes::from(json!({ "state": state }).to_string());
        let answer = self.call(call, Method::PATCH, &path, Some(body)).await?;
        answer.accepted().map(|_| ())
    }

    pub(super) async fn look_at_job(&self, job: &str) -> Result<Option<Look>, Fault> {
        let path = format!("/jobs/ingest/{}", encode(job));
        let answer = self.call(Call::BulkLook, Method::GET, &path, None).await?;
        if answer.status == 404 && !answer.html {
            return Ok(None);
        }
        let info: Info = serde_json::from_slice(&answer.accepted()?)
            .map_err(|_| unreadable(Call::BulkLook, "the state of a bulk job cannot be read"))?;
        Ok(Some(info.look()))
    }

    pub(super) async fn job_results(
        &self,
        job: &str,
        batch: &Batch,
        packed: &Packed,
        look: &Look,
    ) -> Result<JobResults, Fault> {
        let mut desk = Desk::new(batch, packed);
        // One that was given up may have done more than it says.
        let counts = look.state == JobState::Complete;
        if !counts || look.processed > look.failed {
            self.read_results(job, Kind::Successful, &mut desk).await?;
        }
        if !counts || look.failed > 0 {
            self.read_results(job, Kind::Failed, &mut desk).await?;
        }
        if desk.strangers > 0 || (counts && desk.rows != look.processed) {
            // They are sent again; it is worth knowing all the same.
            tracing::warn!(
                job,
                object = %batch.target.object,
                said = look.processed,
                rows = desk.rows,
                unknown = desk.strangers,
                "the results of a bulk job do not add up"
            );
        }
        Ok(desk.results)
    }

    async fn read_results(&self, job: &str, kind: Kind, desk: &mut Desk<'_>) -> Result<(), Fault> {
        let word = match kind {
            Kind::Successful => "successfulResults",
            Kind::Failed => "failedResults",
        };
        let path = format!("/jobs/ingest/{}/{word}/", encode(job));
        let mut table = Table::default();
        let mut rows = Vec::new();
        let mut each = |row: Row<'_>| rows.extend(desk.read(kind, &row));
        let mut pieces = |piece: &[u8]| table.feed(piece, &mut each);
        let answer = self
            .with_session(
                Call::BulkResults,
                Method::GET,
                Place::Api(&path),
                None,
                Some(&mut pieces),
            )
            .await?;
        let html = answer.html;
        if !answer.is_success() {
            return Err(answer.fault());
        }
        let begun = table.is_begun();
        if html || !table.finish(&mut each) || (!begun && !rows.is_empty()) {
            let what = "the results of a bulk job cannot be read";
            return Err(unreadable(Call::BulkResults, what));
        }
        desk.take(rows);
        Ok(())
    }
}

impl Info {
    fn look(self) -> Look {
        let state = match self.state.as_deref() {
            Some("Open") => JobState::Open,
            Some("JobComplete") => JobState::Complete,
            Some("Failed") => JobState::Failed,
            Some("Aborted") => JobState::Aborted,
            Some("InProgress") => JobState::Running,
            // Of a state that nobody knows, nothing may be thought but that it runs.
            _ => match self.number_records_processed {
                Some(1..) => JobState::Running,
                _ => JobState::Queued,
            },
        };
        Look {
            state,
            processed: self.number_records_processed.unwrap_or(0),
            failed: self.number_records_failed.unwrap_or(0),
            message: self.error_message,
        }
    }
}

/// What a row of the results says: the place among the records of the job (if it is one of them), and
/// what became of it.
type Said = (Option<usize>, Option<Outcome>);

/// Matches rows with the records of a job.
struct Desk<'a> {
    action: BatchAction,
    key_field: &'a str,
    places: HashMap<&'a str, usize>,
    results: JobResults,
    /// Rows of the results so far.
    rows: u64,
    /// Those of them that are none of ours, or that we know already.
    strangers: u64,
}

impl<'a> Desk<'a> {
    fn new(batch: &'a Batch, packed: &Packed) -> Self {
        let mut places = HashMap::with_capacity(packed.places.len());
        for (place, in_batch) in packed.places.iter().enumerate() {
            let write = batch.writes.get(*in_batch);
            let identity = write.and_then(|w| csv::identity(batch.action, w));
            if let Some(identity) = identity {
                places.insert(known_by(batch.action, identity), place);
            }
        }
        Desk {
            action: batch.action,
            key_field: &batch.target.key_field,
            places,
            results: vec![None; packed.places.len()],
            rows: 0,
            strangers: 0,
        }
    }

    fn read(&self, kind: Kind, row: &Row<'_>) -> Option<Said> {
        let id = row.get("sf__Id").filter(|id| !id.is_empty());
        let identity = match self.action {
            BatchAction::Upsert => row.get(self.key_field),
            _ => row.get(ID).or(id),
        };
        let known = identity.map(|identity| known_by(self.action, identity));
        let place = known.and_then(|known| self.places.get(known)).copied();
        let outcome = match kind {
            Kind::Successful => {
                let created = row.get("sf__Created");
                Some(Outcome::Written {
                    crm_id: id.or(identity.filter(|_| self.is_by_id())).map(Into::into),
                    created: created.is_some_and(|c| c.eq_ignore_ascii_case("true"))
                        && self.action == BatchAction::Upsert,
                })
            }
            Kind::Failed => self.refusal(row.get("sf__Error").unwrap_or_default()),
        };
        Some((place, outcome))
    }

    fn is_by_id(&self) -> bool {
        self.action != BatchAction::Upsert
    }

    /// The outcome of a row that failed; `None` where a request has to say it.
    fn refusal(&self, text: &str) -> Option<Outcome> {
        let own_key = (!self.is_by_id()).then_some(self.key_field);
        let error = error(text);
        let unread = error
            .message
            .as_deref()
            .is_some_and(|m| m.contains("deserialize field"));
        let stale = matches!(
            error.code.as_str(),
            "ENTITY_IS_DELETED" | "INVALID_CROSS_REFERENCE_KEY" | "NOT_FOUND"
        );
        let fault = errors::record_fault(vec![error], own_key);
        let is_final = match fault.class {
            Class::MissingParent => true,
            Class::Record => {
                let elsewhere = stale && self.is_by_id();
                let request_judges = errors::is_right(&fault) || errors::hints_at_schema(&fault);
                !(unread || elsewhere || request_judges)
            }
            _ => false,
        };
        is_final.then_some(Outcome::Refused(fault))
    }

    fn take(&mut self, rows: Vec<Said>) {
        for (place, outcome) in rows {
            self.rows += 1;
            match place.and_then(|place| self.results.get_mut(place)) {
                Some(slot) if slot.is_none() => *slot = outcome,
                _ => self.strangers += 1,
            }
        }
    }
}

/// The form in which the results bring it back.
fn known_by(action: BatchAction, identity: &str) -> &str {
    match action {
        BatchAction::Upsert => identity,
        _ => same_id(identity),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn states_are_read() {
        for (text, state) in [
            (r#"{"id":"1","state":"Open"}"#, JobState::Open),
            (r#"{"id":"1","state":"UploadComplete"}"#, JobState::Queued),
            (r#"{"id":"1","state":"InProgress"}"#, JobState::Running),
            (r#"{"id":"1","state":"JobComplete"}"#, JobState::Complete),
            (r#"{"id":"1","state":"Failed"}"#, JobState::Failed),
            (r#"{"id":"1","state":"Aborted"}"#, JobState::Aborted),
            (r#"{"id":"1","state":"Paused"}"#, JobState::Queued),
            (r#"{"id":"1"}"#, JobState::Queued),
        ] {
            let info: Info = serde_json::from_str(text).unwrap();
            assert_eq!(info.look().state, state, "{text}");
        }
    }
}
