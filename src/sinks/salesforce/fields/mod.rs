//! Making fields that the org lacks, visible and writable for our user.
//!
//! ```text
//! which are there? ─► do they hold what is wanted? ─► room for the rest? ─► our permission set,
//!   (Tooling query)     (their metadata)                (EntityLimit)        assigned to our user
//!                                                                                │
//!        rights to read and edit  ◄──  the fields that are missing  ◄────────────┘
//! ```
//!
//! Invariants:
//! - Nothing is made unless there is room for all that is missing. Where Salesforce does not tell the
//!   room, a field refused for want of it takes those of this call with it.
//! - A field is made only once our user has the permission set that will grant it, and the next one
//!   only once this one is granted: who may make fields but not grant them leaves at most one behind
//!   that nobody can see, and making does not go on before that one is granted. (Deleting it would not
//!   help: a deleted field takes up room until it is erased in Setup.)
//! - Every step looks first and takes what it finds: ended at any point and called again, it
//!   completes. A field of that name that somebody else made is ours to use if it can hold what is
//!   wanted, and is never changed.
//!
//! A field made by the API is visible to nobody, not even to its maker, until a permission set grants
//! it. What a refusal here concerns is the field; the caller goes on without it.
//!
//! <https://developer.salesforce.com/docs/atlas.en-us.api_tooling.meta/api_tooling/tooling_api_objects_customfield.htm>
//! <https://developer.salesforce.com/docs/atlas.en-us.api_tooling.meta/api_tooling/tooling_api_objects_entitylimit.htm>
//! <https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_fieldpermissions.htm>

mod grant;
mod metadata;
mod refusal;

use std::collections::HashMap;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use self::grant::OwnSet;
use self::metadata::developer_name;
use self::refusal::{Step, is_limit, passes, told};
use super::Salesforce;
use super::codes::{FIELD_EXISTS, FIELD_IS_ANOTHER, FIELD_LIMIT};
use super::errors::{self, ApiError};
use super::http::{Call, unreadable};
use super::keys::quoted;
use super::soql::{Row, encode};
use crate::fault::{Class, Fault};
use crate::mapping::FieldSpec;

/// One answer a spec.
type Answers = Vec<Result<(), Fault>>;

/// The answer to a creation, of whatever object.
#[derive(Deserialize)]
struct Created {
    #[serde(default)]
    id: Option<String>,
    success: bool,
    #[serde(default)]
    errors: Vec<ApiError>,
}

impl Salesforce {
    /// See [`crate::sinks::Sink::create_fields`].
    pub(super) async fn make_fields(
        &self,
        object: &str,
        specs: &[FieldSpec],
    ) -> Result<Answers, Fault> {
        if specs.is_empty() {
            return Ok(Vec::new());
        }
        let mut answers: Answers = vec![Ok(()); specs.len()];
        let there = match self.custom_fields(object).await {
            Ok(there) => there,
            Err(fault) => {
                let fault = passes(fault)?;
                refuse_all(object, specs, Step::Look, &fault, &mut answers);
                return Ok(answers);
            }
        };
        let mut missing = Vec::new();
        for (place, spec) in specs.iter().enumerate() {
            match there.get(&spec.name.to_ascii_lowercase()) {
                Some(id) => put(&mut answers, place, self.compare(object, spec, id).await?),
                None => missing.push((place, spec)),
            }
        }
        if let Some(room) = self.room(object, missing.len()).await? {
            for (place, spec) in missing.drain(..) {
                put(&mut answers, place, Err(room.of(object, spec)));
            }
        }
        if answers.iter().all(Result::is_err) {
            return Ok(answers);
        }
        let set = match self.own_permission_set(object).await {
            Ok(set) => set,
            Err(fault) => {
                let fault = passes(fault)?;
                refuse_all(object, specs, Step::Grant, &fault, &mut answers);
                return Ok(answers);
            }
        };
        // Whatever is changed from here on, the description that we know is not the one that comes.
        self.forget_description(object);
        for (place, spec) in specs.iter().enumerate() {
            let there = !missing.iter().any(|(of, _)| *of == place);
            if there
                && answers.get(place).is_some_and(Result::is_ok)
                && let Err(fault) = self.grant(&set, object, spec).await
            {
                let fault = passes(fault)?;
                put(
                    &mut answers,
                    place,
                    Err(told(Step::Rights, object, spec, &fault)),
                );
                if refusal::is_right(&fault) {
                    refuse_all(object, specs, Step::Grant, &fault, &mut answers);
                    return Ok(answers);
                }
            }
        }
        self.make_missing(&set, object, &missing, &mut answers)
            .await?;
        Ok(answers)
    }

    /// The custom fields of the object, seen or hidden: their ids, by API name in lower case.
    async fn custom_fields(&self, object: &str) -> Result<HashMap<String, String>, Fault> {
        let Some(tables) = self.tables(object).await? else {
            return Ok(HashMap::new());
        };
        let query = format!(
            "SELECT Id,DeveloperName,NamespacePrefix FROM CustomField WHERE TableEnumOrId IN ({tables})"
        );
        let rows = self.tooling(&query).await?;
        let named = |row: Row| {
            let name = row.text("DeveloperName")?;
            let name = match row.text("NamespacePrefix") {
                Some(prefix) => format!("{prefix}__{name}__c"),
                None => format!("{name}__c"),
            };
            Some((name.to_ascii_lowercase(), row.text("Id")?))
        };
        Ok(rows.into_iter().filter_map(named).collect())
    }

    /// What a field's `TableEnumOrId` can be, as a list of literals: the name of a standard object,
    /// the id of a custom one.
    async fn tables(&self, object: &str) -> Result<Option<String>, Fault> {
        if !object.contains("__") {
            return Ok(Some(quoted(table(object))));
        }
        let query = format!(
            "SELECT Id FROM CustomObject WHERE DeveloperName = {}",
            quoted(developer_name(object))
        );
        let rows = self.tooling(&query).await?;
        let ids: Vec<String> = rows.iter().filter_map(|row| row.text("Id")).collect();
        let ids: Vec<String> = ids.iter().map(|id| quoted(id)).collect();
        Ok((!ids.is_empty()).then(|| ids.join(",")))
    }

    /// Whether the field that is there can hold what the spec says.
    async fn compare(
        &self,
        object: &str,
        spec: &FieldSpec,
        id: &str,
    ) -> Result<Result<(), Fault>, Fault> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Field {
            metadata: Value,
        }
        let path = format!("/tooling/sobjects/CustomField/{}", encode(id));
        let body = match self.get(Call::Query, &path).await {
            Ok(body) => body,
            Err(fault) => return Ok(Err(told(Step::Look, object, spec, &passes(fault)?))),
        };
        let field: Field = serde_json::from_slice(&body)
            .map_err(|_| unreadable(Call::Query, "the metadata of a field cannot be read"))?;
        Ok(match metadata::difference(spec.kind, &field.metadata) {
            None => Ok(()),
            Some(difference) => {
                let message = format!(
                    "{object}.{} exists already, and {difference}: a field of type {} is wanted",
                    spec.name,
                    metadata::words(spec.kind)
                );
                Err(Fault {
                    fields: vec![spec.name.to_string()],
                    ..Fault::new(Class::Configuration, FIELD_IS_ANOTHER, message)
                })
            }
        })
    }

    /// Where there is no room for so many fields: how much there is. `None` also where Salesforce
    /// does not tell.
    async fn room(&self, object: &str, wanted: usize) -> Result<Option<Room>, Fault> {
        if wanted == 0 {
            return Ok(None);
        }
        let query = format!(
            "SELECT Max,Remaining FROM EntityLimit WHERE EntityDefinition.QualifiedApiName = {} \
             AND Type = 'CustomFields'",
            quoted(table(object))
        );
        let rows = match self.tooling(&query).await {
            Ok(rows) => rows,
            Err(fault) => {
                let fault = passes(fault)?;
                tracing::info!(%fault, object, "Salesforce does not tell how many fields fit");
                return Ok(None);
            }
        };
        let number = |name: &str| rows.first()?.text(name)?.parse::<f64>().ok();
        let Some(remaining) = number("Remaining") else {
            return Ok(None);
        };
        // Counts of fields: small, whole, and never below none.
        let fit = remaining.max(0.0) as usize;
        Ok((fit < wanted).then(|| Room {
            wanted,
            fit,
            max: number("Max").map(|max| max.max(0.0) as usize),
        }))
    }

    /// Makes them one after the other, each with its rights. If one is refused for want of room, those
    /// made before it are taken away again.
    async fn make_missing(
        &self,
        set: &OwnSet,
        object: &str,
        missing: &[(usize, &FieldSpec)],
        answers: &mut Answers,
    ) -> Result<(), Fault> {
        let mut made: Vec<(&FieldSpec, String)> = Vec::new();
        for (done, (place, spec)) in missing.iter().enumerate() {
            let refused = match self.make(object, spec).await {
                Ok(id) => {
                    match id {
                        Some(id) => {
                            tracing::info!(object, field = %spec.name, "made a field");
                            made.push((spec, id));
                        }
                        // Somebody was quicker, or an answer of ours was lost.
                        None => {
                            if let Err(fault) = self.compare_made(object, spec).await? {
                                put(answers, *place, Err(fault));
                                continue;
                            }
                        }
                    }
                    let Err(fault) = self.grant(set, object, spec).await else {
                        continue;
                    };
                    let fault = passes(fault)?;
                    put(
                        answers,
                        *place,
                        Err(told(Step::Rights, object, spec, &fault)),
                    );
                    if refusal::is_right(&fault) {
                        for (place, spec) in missing.iter().skip(done + 1) {
                            put(
                                answers,
                                *place,
                                Err(told(Step::Grant, object, spec, &fault)),
                            );
                        }
                        return Ok(());
                    }
                    continue;
                }
                Err(fault) => passes(fault)?,
            };
            if is_limit(&refused) {
                let left = self.take_away(object, &made).await;
                let room = Room {
                    wanted: missing.len(),
                    fit: made.len(),
                    max: None,
                };
                for (place, spec) in missing {
                    let mut fault = room.of(object, spec);
                    if left.contains(&&*spec.name) {
                        fault.message.push_str(
                            "; this one was made before that showed, and could not be deleted again",
                        );
                    }
                    put(answers, *place, Err(fault));
                }
                return Ok(());
            }
            if refusal::is_right(&refused) {
                // It would be said of each of them.
                for (place, spec) in missing.iter().skip(done) {
                    put(
                        answers,
                        *place,
                        Err(told(Step::Make, object, spec, &refused)),
                    );
                }
                return Ok(());
            }
            put(
                answers,
                *place,
                Err(told(Step::Make, object, spec, &refused)),
            );
        }
        Ok(())
    }

    /// Makes one; `None` if its name is taken.
    async fn make(&self, object: &str, spec: &FieldSpec) -> Result<Option<String>, Fault> {
        let body = json!({
            "FullName": format!("{}.{}", table(object), spec.name),
            "Metadata": metadata::of(spec),
        });
        let path = "/tooling/sobjects/CustomField";
        match self.create(Call::Field, path, &body).await {
            Ok(id) => Ok(Some(id)),
            Err(fault) if fault.code == FIELD_EXISTS => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    async fn compare_made(
        &self,
        object: &str,
        spec: &FieldSpec,
    ) -> Result<Result<(), Fault>, Fault> {
        let there = match self.custom_fields(object).await {
            Ok(there) => there,
            Err(fault) => return Ok(Err(told(Step::Look, object, spec, &passes(fault)?))),
        };
        match there.get(&spec.name.to_ascii_lowercase()) {
            Some(id) => self.compare(object, spec, id).await,
            None => {
                let fault = Fault::new(Class::Configuration, FIELD_EXISTS, "its name is taken");
                Ok(Err(told(Step::Make, object, spec, &fault)))
            }
        }
    }

    /// Deletes fields that this call has made; gives the names of those that stay.
    async fn take_away<'a>(&self, object: &str, made: &[(&'a FieldSpec, String)]) -> Vec<&'a str> {
        let mut left = Vec::new();
        for (spec, id) in made {
            let path = format!("/tooling/sobjects/CustomField/{}", encode(id));
            let answer = self.call(Call::Field, Method::DELETE, &path, None).await;
            match answer.and_then(super::http::Answer::accepted) {
                Ok(_) => tracing::info!(object, field = %spec.name, "took a field away again"),
                Err(fault) => {
                    tracing::warn!(%fault, object, field = %spec.name, "a field could not be taken away again");
                    left.push(&*spec.name);
                }
            }
        }
        left
    }

    /// Creates a record of a set-up object; its id.
    async fn create(&self, call: Call, path: &str, body: &Value) -> Result<String, Fault> {
        let body = Some(body.to_string().into());
        let answer = self
            .call(call, Method::POST, path, body)
            .await?
            .accepted()?;
        let created: Created = serde_json::from_slice(&answer)
            .map_err(|_| unreadable(call, "the answer to a creation cannot be read"))?;
        match created {
            Created {
                success: true,
                id: Some(id),
                ..
            } => Ok(id),
            Created {
                success: false,
                errors,
                ..
            } => Err(errors::record_fault(errors, None)),
            Created { .. } => Err(unreadable(call, "the answer to a creation has no id")),
        }
    }

    async fn tooling(&self, query: &str) -> Result<Vec<Row>, Fault> {
        self.rows(&format!("/tooling/query?q={}", encode(query)))
            .await
    }
}

/// Tasks and events share the fields of Activity.
fn table(object: &str) -> &str {
    match object {
        "Task" | "Event" => "Activity",
        other => other,
    }
}

/// Why the fields that are missing cannot be made.
#[derive(Clone, Copy)]
struct Room {
    wanted: usize,
    fit: usize,
    max: Option<usize>,
}

impl Room {
    fn of(self, object: &str, spec: &FieldSpec) -> Fault {
        let all = match self.max {
            Some(max) => format!(" of its {max} custom fields"),
            None => String::new(),
        };
        let message = format!(
            "{} new fields are wanted on {object}, {}{all} {}: none was made",
            self.wanted,
            self.fit,
            if self.fit == 1 { "fits" } else { "fit" }
        );
        Fault {
            fields: vec![spec.name.to_string()],
            ..Fault::new(Class::Configuration, FIELD_LIMIT, message)
        }
    }
}

fn put(answers: &mut Answers, place: usize, answer: Result<(), Fault>) {
    if let Some(slot) = answers.get_mut(place) {
        *slot = answer;
    }
}

fn refuse_all(object: &str, specs: &[FieldSpec], step: Step, fault: &Fault, answers: &mut Answers) {
    for (answer, spec) in answers.iter_mut().zip(specs) {
        if answer.is_ok() {
            *answer = Err(told(step, object, spec, fault));
        }
    }
}
