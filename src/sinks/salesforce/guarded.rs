//! Writes that must not overtake a person: each is carried out only if nobody has changed its record
//! since we looked.
//!
//! Collections take no conditions. A composite request does, one a subrequest: 25 records travel
//! together and count as one call. An org that does not heed the condition there writes as it would
//! without.
//!
//! <https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_composite_post.htm>
//! <https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/intro_rest_conditional_requests.htm>

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::fmt::rfc2822::DateTimePrinter;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Salesforce;
use super::collections::{is_stale, open, put};
use super::duplicates;
use super::errors::{self, Refusal};
use super::http::{Call, unreadable};
use super::soql::encode;
use super::write::{self, Identified};
use crate::change::Timestamp;
use crate::fault::{Class, Fault};
use crate::planning::{Batch, Write};
use crate::sinks::Outcome;

/// Subrequests that a composite request takes.
pub(super) const MAX_GUARDED: usize = 25;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Composite {
    all_or_none: bool,
    collate_subrequests: bool,
    composite_request: Vec<Subrequest>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Subrequest {
    method: &'static str,
    url: String,
    reference_id: String,
    http_headers: BTreeMap<&'static str, String>,
    body: BTreeMap<String, Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answers {
    composite_response: Vec<Subanswer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subanswer {
    #[serde(default)]
    body: Option<Box<RawValue>>,
    http_status_code: u16,
}

/// The body of a collections request, taken apart.
#[derive(Deserialize)]
struct Records {
    records: Vec<BTreeMap<String, Box<RawValue>>>,
}

impl Salesforce {
    /// Writes that have a guard and a CRM id.
    pub(super) async fn guarded(
        &self,
        batch: &Batch,
        outcomes: &mut [Option<Outcome>],
    ) -> Result<(), Fault> {
        let session = self.auth.session(&self.http).await?;
        let version = self.version(&session).await?;
        let object = encode(&batch.target.object);
        let kinds = |object: &str, field: &str| self.key_kind(object, field);
        let (name, value) = duplicates::header(&batch.target);
        let mut places = Vec::new();
        let mut requests = Vec::new();
        for place in open(outcomes) {
            let Some(write) = batch.writes.get(place) else {
                continue;
            };
            let (Some(id), Some(guard)) = (&write.crm_id, write.guard) else {
                // Who it is was to be found out before: it is looked at again.
                put(outcomes, place, Outcome::Overtaken);
                continue;
            };
            let whole = std::iter::once((write, Identified::ById(id)));
            let encoded = write::encode(&batch.target, kinds, whole)?;
            requests.push(Subrequest {
                method: "PATCH",
                url: format!("/services/data/v{version}/sobjects/{object}/{}", encode(id)),
                reference_id: format!("r{place}"),
                http_headers: [
                    ("If-Unmodified-Since", http_date(guard)),
                    (name, value.to_owned()),
                ]
                .into(),
                body: fields(&encoded)?,
            });
            places.push(place);
        }
        for (requests, places) in requests_of(requests)
            .into_iter()
            .zip(places.chunks(MAX_GUARDED))
        {
            self.send_guarded(batch, requests, places, outcomes).await?;
        }
        Ok(())
    }

    async fn send_guarded(
        &self,
        batch: &Batch,
        requests: Vec<Subrequest>,
        places: &[usize],
        outcomes: &mut [Option<Outcome>],
    ) -> Result<(), Fault> {
        let body = Composite {
            all_or_none: false,
            collate_subrequests: false,
            composite_request: requests,
        };
        let body = serde_json::to_vec(&body)
            .map_err(|e| Fault::new(Class::Configuration, "bad_request", e.to_string()))?;
        let answer = self
            .call(
                Call::Update,
                Method::POST,
                "/composite",
                Some(Bytes::from(body)),
            )
            .await?
            .accepted()?;
        let answers: Answers = serde_json::from_slice(&answer)
            .map_err(|_| unreadable(Call::Update, "the results of a write cannot be read"))?;
        let answers = answers.composite_response;
        if answers.len() != places.len() {
            let what = format!("{} were sent, {} results came", places.len(), answers.len());
            return Err(Fault::new(Class::Unknown, "miscounted_answer", what));
        }
        for (place, answer) in places.iter().zip(answers) {
            let write = batch.writes.get(*place);
            put(outcomes, *place, outcome(write, &answer));
        }
        Ok(())
    }
}

/// In portions of what one request takes.
fn requests_of(requests: Vec<Subrequest>) -> Vec<Vec<Subrequest>> {
    let mut portions: Vec<Vec<Subrequest>> = Vec::new();
    for request in requests {
        match portions.last_mut().filter(|p| p.len() < MAX_GUARDED) {
            Some(portion) => portion.push(request),
            None => portions.push(vec![request]),
        }
    }
    portions
}

fn outcome(write: Option<&Write>, answer: &Subanswer) -> Outcome {
    let status = answer.http_status_code;
    if (200..300).contains(&status) {
        return Outcome::Written {
            crm_id: write.and_then(|w| w.crm_id.clone()),
            created: false,
        };
    }
    let body = answer.body.as_ref().map_or("", |body| body.get());
    let errors = errors::parse(body.as_bytes());
    let changed = errors.iter().any(|e| {
        e.code.starts_with("ENTITY_FAILED_IFLASTMODIFIED") || e.code == "MATCH_PRECONDITION_FAILED"
    });
    if status == 412 || changed {
        return Outcome::Overtaken;
    }
    let fault = match errors.is_empty() || status >= 500 || status == 429 {
        true => errors::request_fault(
            Refusal {
                status,
                write: true,
                retry_after: None,
            },
            false,
            body.as_bytes(),
        ),
        false => errors::record_fault(errors, None),
    };
    match is_stale(&fault) {
        // The record is looked for again, and then made again if it is gone.
        true => Outcome::Overtaken,
        false => Outcome::Refused(fault),
    }
}

/// The fields of the one record in a collections body, without what names it.
fn fields(encoded: &[u8]) -> Result<BTreeMap<String, Box<RawValue>>, Fault> {
    let bad = || {
        Fault::new(
            Class::Configuration,
            "bad_request",
            "a record cannot be encoded",
        )
    };
    let records: Records = serde_json::from_slice(encoded).map_err(|_| bad())?;
    let mut fields = records.records.into_iter().next().ok_or_else(bad)?;
    fields.remove("attributes");
    fields.remove("id");
    Ok(fields)
}

/// `Wed, 04 Nov 2026 12:10:35 GMT`.
fn http_date(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_second(at.0.div_euclid(1_000_000)).unwrap_or_default();
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&at);
    text.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn answer(status: u16, body: &str) -> Outcome {
        let body = RawValue::from_string(body.to_owned()).unwrap();
        let answer = Subanswer {
            body: Some(body),
            http_status_code: status,
        };
        outcome(None, &answer)
    }

    #[test]
    fn dates_are_as_http_has_them() {
        let at = Timestamp(1_793_794_235_900_000);
        assert_eq!(http_date(at), "Wed, 04 Nov 2026 12:10:35 GMT");
    }

    #[test]
    fn every_answer_has_a_meaning() {
        assert!(matches!(answer(204, "null"), Outcome::Written { .. }));
        assert_eq!(answer(412, "null"), Outcome::Overtaken);
        let changed = r#"[{"errorCode":"ENTITY_FAILED_IFLASTMODIFIED_ON_UPDATE","message":"x"}]"#;
        assert_eq!(answer(400, changed), Outcome::Overtaken);
        let gone = r#"[{"errorCode":"ENTITY_IS_DELETED","message":"entity is deleted"}]"#;
        assert_eq!(answer(404, gone), Outcome::Overtaken);
        let class = |outcome| match outcome {
            Outcome::Refused(fault) => Some(fault.class),
            _ => None,
        };
        let long = r#"[{"errorCode":"STRING_TOO_LONG","message":"x","fields":["Name"]}]"#;
        assert_eq!(class(answer(400, long)), Some(Class::Record));
        let locked = r#"[{"errorCode":"UNABLE_TO_LOCK_ROW","message":"x"}]"#;
        assert_eq!(class(answer(400, locked)), Some(Class::Locked));
        assert_eq!(class(answer(503, "null")), Some(Class::Service));
    }

    #[test]
    fn fields_keep_their_digits() {
        let encoded = br#"{"allOrNone":false,"records":[{"attributes":{"type":"A"},"id":"1","N__c":123456789012345678.5}]}"#;
        let fields = fields(encoded).unwrap();
        let shown: Vec<_> = fields.iter().map(|(k, v)| (k.as_str(), v.get())).collect();
        assert_eq!(shown, [("N__c", "123456789012345678.5")]);
    }
}
