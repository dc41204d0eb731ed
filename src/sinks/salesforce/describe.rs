//! What Salesforce says of an object, in our words.
//!
//! A field that the user cannot see by field-level security is simply not in the answer.
//!
//! A description that Salesforce says has not changed (`If-Modified-Since`, answered with 304) is not
//! sent again. The guide promises that for changes of the object; of changes to our user's rights it
//! says nothing. So a description is asked for whole when a refusal hints at a change, after we made a
//! field, and now and then in any case ([`Descriptions`]).
//!
//! <https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/sobject_describe_with_ifmodified_header.htm>

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::http::{Call, unreadable};
use crate::fault::Fault;
use crate::mapping::{FieldDescription, FieldKind, ObjectDescription};

/// Age from which a description may be asked about by its time. Who asks more often waits for a change
/// that may still be on its way through the org, and the times have seconds only.
const SETTLED: Duration = Duration::from_secs(60);
/// Age from which a description is asked for whole, for what its time does not tell.
const WHOLE_AGAIN: Duration = Duration::from_secs(600);

/// The last whole descriptions, by the object's name in lower case.
#[derive(Debug, Default)]
pub(super) struct Descriptions(Mutex<HashMap<String, Kept>>);

#[derive(Debug)]
struct Kept {
    known: Known,
    at: Instant,
}

/// A description, and when the object last changed, in Salesforce's words.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) description: ObjectDescription,
    pub(super) last_modified: String,
}

impl Descriptions {
    /// The description that may be asked about by its time at `now`.
    pub(super) fn known(&self, object: &str, now: Instant) -> Option<Known> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get(&object.to_ascii_lowercase())?;
        let age = now.saturating_duration_since(kept.at);
        (SETTLED..WHOLE_AGAIN)
            .contains(&age)
            .then(|| kept.known.clone())
    }

    pub(super) fn keep(
        &self,
        object: &str,
        description: &ObjectDescription,
        last_modified: String,
        at: Instant,
    ) {
        let known = Known {
            description: description.clone(),
            last_modified,
        };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(object.to_ascii_lowercase(), Kept { known, at });
    }

    pub(super) fn forget(&self, object: &str) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.remove(&object.to_ascii_lowercase());
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    name: Box<str>,
    #[serde(default)]
    createable: bool,
    #[serde(default)]
    updateable: bool,
    #[serde(default)]
    deletable: bool,
    fields: Vec<Field>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Field {
    name: Box<str>,
    #[serde(default)]
    label: Option<Box<str>>,
    #[serde(rename = "type")]
    kind: Box<str>,
    #[serde(default)]
    length: u32,
    #[serde(default)]
    precision: u32,
    #[serde(default)]
    digits: u32,
    #[serde(default)]
    scale: u32,
    #[serde(default)]
    nillable: bool,
    #[serde(default)]
    defaulted_on_create: bool,
    #[serde(default)]
    createable: bool,
    #[serde(default)]
    updateable: bool,
    #[serde(default)]
    external_id: bool,
    #[serde(default)]
    unique: bool,
    #[serde(default)]
    case_sensitive: bool,
    #[serde(default)]
    restricted_picklist: bool,
    #[serde(default)]
    picklist_values: Option<Vec<Entry>>,
    #[serde(default)]
    reference_to: Option<Vec<Box<str>>>,
    #[serde(default)]
    relationship_name: Option<Box<str>>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    active: bool,
    value: Box<str>,
}

/// Reads the answer of `GET …/sobjects/{Type}/describe`.
pub(super) fn parse(body: &[u8]) -> Result<ObjectDescription, Fault> {
    let object: Object = serde_json::from_slice(body).map_err(|_| {
        unreadable(
            Call::Describe,
            "the description of an object cannot be read",
        )
    })?;
    Ok(ObjectDescription {
        name: object.name,
        createable: object.createable,
        updateable: object.updateable,
        deletable: object.deletable,
        fields: object.fields.into_iter().map(field).collect(),
    })
}

fn field(f: Field) -> FieldDescription {
    let kind = kind(&f.kind);
    FieldDescription {
        label: f.label.unwrap_or_else(|| f.name.clone()),
        name: f.name,
        length: f.length,
        precision: if kind == FieldKind::Int {
            f.digits
        } else {
            f.precision
        },
        kind,
        scale: f.scale,
        nillable: f.nillable,
        defaulted_on_create: f.defaulted_on_create,
        createable: f.createable,
        updateable: f.updateable,
        external_id: f.external_id,
        unique: f.unique,
        case_sensitive: f.case_sensitive,
        restricted: f.restricted_picklist,
        picklist: f
            .picklist_values
            .into_iter()
            .flatten()
            .filter(|entry| entry.active)
            .map(|entry| entry.value)
            .collect(),
        reference_to: f.reference_to.unwrap_or_default(),
        relationship: f.relationship_name,
    }
}

fn kind(name: &str) -> FieldKind {
    match name {
        "id" => FieldKind::Id,
        "reference" => FieldKind::Reference,
        "string" | "encryptedstring" => FieldKind::Text,
        "textarea" => FieldKind::LongText,
        "email" => FieldKind::Email,
        "phone" => FieldKind::Phone,
        "url" => FieldKind::Url,
        // A combobox takes any text beside its list, as an unrestricted picklist does.
        "picklist" | "combobox" => FieldKind::Picklist,
        "multipicklist" => FieldKind::MultiPicklist,
        "boolean" => FieldKind::Boolean,
        "int" | "long" => FieldKind::Int,
        "double" | "currency" | "percent" => FieldKind::Decimal,
        "date" => FieldKind::Date,
        "datetime" => FieldKind::DateTime,
        "time" => FieldKind::Time,
        other => FieldKind::Other(other.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_description_is_read() {
        let body = br#"{"name":"Contact","createable":true,"updateable":true,"deletable":false,"label":"x","fields":[
            {"name":"Id","type":"id","length":18,"createable":false,"label":"ID"},
            {"name":"Email","label":"Email","type":"email","length":80,"createable":true,"updateable":true,
             "nillable":true,"picklistValues":[],"referenceTo":[],"relationshipName":null,"unknownKey":[1]},
            {"name":"Level__c","type":"picklist","restrictedPicklist":true,"picklistValues":[
              {"active":true,"defaultValue":false,"label":"High","validFor":null,"value":"H"},
              {"active":false,"label":"Old","value":"O"}]},
            {"name":"AccountId","type":"reference","referenceTo":["Account"],"relationshipName":"Account"},
            {"name":"Amount","type":"currency","precision":18,"scale":2},
            {"name":"Count","type":"int","digits":8,"precision":0},
            {"name":"Ext__c","type":"string","externalId":true,"unique":true,"caseSensitive":true},
            {"name":"MailingAddress","type":"address"}]}"#;
        let object = parse(body).unwrap();
        assert!(object.createable && object.updateable && !object.deletable);
        let field = |name: &str| object.field(name).unwrap();
        assert_eq!(field("email").kind, FieldKind::Email);
        assert_eq!(field("Id").label.as_ref(), "ID");
        assert_eq!(field("Level__c").label.as_ref(), "Level__c");
        assert!(field("Level__c").restricted);
        assert_eq!(field("Level__c").picklist, [Box::from("H")]);
        assert_eq!(field("AccountId").relationship.as_deref(), Some("Account"));
        assert_eq!((field("Amount").precision, field("Amount").scale), (18, 2));
        assert_eq!(field("Count").precision, 8);
        assert!(field("Ext__c").external_id && field("Ext__c").case_sensitive);
        assert_eq!(
            field("MailingAddress").kind,
            FieldKind::Other("address".into())
        );
        for bad in [&b"<html>"[..], b"", b"{}", b"[]", br#"{"name":"x"}"#] {
            assert!(parse(bad).is_err());
        }
    }
}
