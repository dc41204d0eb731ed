//! Why one record was refused, with the messages Salesforce gives.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::ids::Id;

/// The refusal of one record. `code` is `statusCode` in collections and `errorCode` on
/// single-record endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordError {
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: String,
    pub(crate) fields: Vec<String>,
    /// Several rows hold the key of an upsert.
    pub(crate) several: Vec<Id>,
    /// What a duplicate rule found, and whether collections are to show it.
    pub(crate) duplicate: Option<Box<Value>>,
    pub(crate) details: bool,
}

impl RecordError {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> RecordError {
        RecordError {
            code: Cow::Borrowed(code),
            message: message.into(),
            fields: Vec::new(),
            several: Vec::new(),
            duplicate: None,
            details: false,
        }
    }

    pub(crate) fn on(mut self, field: &str) -> RecordError {
        self.fields.push(field.to_owned());
        self
    }

    pub(crate) fn no_such_column(name: &str, object: &str) -> RecordError {
        RecordError::new(
            "INVALID_FIELD",
            format!("No such column '{name}' on sobject of type {object}"),
        )
    }

    pub(crate) fn not_writable(name: &str) -> RecordError {
        let message = format!(
            "Unable to create/update fields: {name}. Please check the security settings of this \
             field and verify that it is read/write for your profile or permission set."
        );
        RecordError::new("INVALID_FIELD_FOR_INSERT_UPDATE", message).on(name)
    }

    pub(crate) fn required(names: &[&str]) -> RecordError {
        let message = format!("Required fields are missing: [{}]", names.join(", "));
        names.iter().fold(
            RecordError::new("REQUIRED_FIELD_MISSING", message),
            |e, n| e.on(n),
        )
    }

    pub(crate) fn malformed_id(text: &str) -> RecordError {
        RecordError::new("MALFORMED_ID", format!("malformed id {text}"))
    }

    pub(crate) fn deleted() -> RecordError {
        RecordError::new("ENTITY_IS_DELETED", "entity is deleted")
    }

    pub(crate) fn not_in_bin() -> RecordError {
        RecordError::new("UNDELETE_FAILED", "Entity is not in the recycle bin")
    }

    pub(crate) fn cross_reference() -> RecordError {
        RecordError::new("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
    }

    pub(crate) fn locked(id: Option<Id>) -> RecordError {
        let rows = id.map_or_else(String::new, |id| format!(": {}", id.short()));
        let message =
            format!("unable to obtain exclusive access to this record or 1 records{rows}");
        RecordError::new("UNABLE_TO_LOCK_ROW", message)
    }

    pub(crate) fn rolled_back() -> RecordError {
        RecordError::new(
            "ALL_OR_NONE_OPERATION_ROLLED_BACK",
            "Record rolled back because not all records were valid and the request was using \
             AllOrNone header",
        )
    }

    /// Error shape 2: inside a per-record result.
    pub(crate) fn in_result(&self) -> Value {
        let mut shown =
            json!({"statusCode": self.code, "message": self.message, "fields": self.fields});
        if let Some(found) = self.duplicate.as_ref().filter(|_| self.details) {
            shown["duplicateResut"] = (**found).clone();
        }
        shown
    }

    /// Error shape 1: the whole answer is an array of these.
    pub(crate) fn in_array(&self) -> Value {
        if let Some(found) = &self.duplicate {
            // The key is misspelt on the wire.
            return json!([{
                "duplicateResut": found, "errorCode": self.code, "message": self.message,
            }]);
        }
        json!([{"message": self.message, "errorCode": self.code, "fields": self.fields}])
    }

    /// The HTTP status this refusal has on a single-record endpoint.
    pub(crate) fn status(&self) -> u16 {
        match &*self.code {
            "NOT_FOUND" | "ENTITY_IS_DELETED" => 404,
            "ENTITY_FAILED_IFLASTMODIFIED_ON_UPDATE" | "MATCH_PRECONDITION_FAILED" => 412,
            _ => 400,
        }
    }
}
