//! From an answer of Salesforce to a [`Fault`].
//!
//! Five shapes arrive: an array of `{errorCode, message}` (most refusals), `{statusCode, message}`
//! inside a record's result, `{error, error_description}` from the token endpoint, and a page of HTML
//! or nothing from whatever stands in between; the fifth, `CODE:message` in the cells of bulk results, is
//! taken apart in [`super::bulk`]. What a code means stands in [`super::codes`]; what an answer without
//! a known code means, by its HTTP status, stands here.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;

use super::{codes, duplicates};
use crate::fault::{Class, Fault};

/// How long to leave an org alone whose daily requests are used up. The limit is a rolling one:
/// requests become free all the time.
const DAILY_LIMIT_PAUSE: Duration = Duration::from_secs(300);
/// How long to wait after the token endpoint said that there were too many logins.
const LOGIN_LIMIT_PAUSE: Duration = Duration::from_secs(60);
/// Longest message that is kept.
const MESSAGE_CHARS: usize = 1000;

/// One error as Salesforce words it, whatever the shape.
#[derive(Debug, Default, PartialEq, Deserialize)]
pub(super) struct ApiError {
    #[serde(default, alias = "errorCode", alias = "statusCode", alias = "error")]
    pub(super) code: String,
    #[serde(default, alias = "error_description", alias = "errorMessage")]
    pub(super) message: Option<String>,
    #[serde(default)]
    pub(super) fields: Option<Vec<String>>,
    /// What a duplicate rule found. (The key is misspelt on the wire.)
    #[serde(default, rename = "duplicateResut", alias = "duplicateResult")]
    pub(super) duplicates: serde_json::Value,
}

/// What was refused as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    /// HTTP status.
    pub(super) status: u16,
    /// The request would have written: after a failure inside the server it may have.
    pub(super) write: bool,
    /// How long the answer asks us to wait.
    pub(super) retry_after: Option<Duration>,
}

/// What to tell a person about a fault: what it means and what to do.
pub fn advice(fault: &Fault) -> Option<&'static str> {
    codes::find(&fault.code, &fault.message).map(|rule| rule.advice)
}

/// Whether the code stands for a right that may be missing for every record.
pub(super) fn is_right(fault: &Fault) -> bool {
    codes::find(&fault.code, &fault.message).is_some_and(|rule| rule.right)
}

/// Whether the fault may mean that what we know of the org's schema is out of date.
pub(crate) fn hints_at_schema(fault: &Fault) -> bool {
    codes::find(&fault.code, &fault.message).is_some_and(|rule| rule.schema)
}

/// Whether the fault says that the day's requests are used up.
pub(crate) fn is_used_up(fault: &Fault) -> bool {
    fault.code == "REQUEST_LIMIT_EXCEEDED" && fault.message.contains("TotalRequests")
}

/// Whether another record is in the way, which may be gone once others have been written.
pub(crate) fn is_in_the_way(fault: &Fault) -> bool {
    matches!(
        fault.code.as_ref(),
        "DUPLICATE_VALUE" | "DELETE_FAILED" | "DELETE_REQUIRED_ON_CASCADE"
    )
}

/// Whether the org has more to do than it can.
pub(crate) fn is_load(fault: &Fault) -> bool {
    fault.code == "http_429"
        || codes::find(&fault.code, &fault.message).is_some_and(|rule| rule.load)
}

/// Whether the refusal is about fields that are not there, or not writable, for our user.
pub(super) fn is_field(fault: &Fault) -> bool {
    match fault.code.as_ref() {
        "INVALID_FIELD" => hints_at_schema(fault),
        code => code == "INVALID_FIELD_FOR_INSERT_UPDATE",
    }
}

/// The names that such a refusal tells: those in quotes (`No such column 'Nope__c' on …`), or those
/// of a list (`Unable to create/update fields: A, B. Please …`).
pub(super) fn named_fields(message: &str) -> Vec<String> {
    let is_name = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
    };
    // A refused query stands before these words, and the object in quotes behind them.
    let (text, most) = match message.rsplit_once("No such column") {
        Some((_, text)) => (text, 1),
        None => (message, usize::MAX),
    };
    let quoted = text.split(['\'', '"']).skip(1).step_by(2);
    let mut names: Vec<&str> = quoted.filter(is_name).take(most).collect();
    if names.is_empty()
        && let Some((_, list)) = message.split_once(':')
    {
        let list = list.split_once(". ").map_or(list, |(list, _)| list);
        names = list.split(',').map(str::trim).filter(is_name).collect();
    }
    names.into_iter().map(str::to_owned).collect()
}

/// The errors in a body of any shape; none in a page of HTML, in an empty body, in other JSON.
pub(super) fn parse(body: &[u8]) -> Vec<ApiError> {
    #[derive(Deserialize)]
    struct Nested {
        errors: Vec<ApiError>,
    }
    let list = serde_json::from_slice::<Vec<ApiError>>(body)
        .or_else(|_| serde_json::from_slice::<Nested>(body).map(|n| n.errors))
        .or_else(|_| serde_json::from_slice::<ApiError>(body).map(|e| vec![e]));
    let mut list = list.unwrap_or_default();
    list.retain(|e| !e.code.is_empty());
    list
}

/// The fault of one record. `own_key` is the field by which it was upserted.
pub(super) fn record_fault(errors: Vec<ApiError>, own_key: Option<&str>) -> Fault {
    let class = |e: &ApiError| {
        let message = e.message.as_deref().unwrap_or("");
        if e.code == "DUPLICATE_VALUE" && own_key.is_some_and(|key| collides(message, key)) {
            // Somebody created the record between Salesforce's look and its insert: tried again,
            // the upsert finds it.
            return Class::RecordTransient;
        }
        codes::find(&e.code, message).map_or(Class::Record, |rule| rule.record)
    };
    let named = |mut fault: Fault| {
        if fault.fields.is_empty() && is_field(&fault) {
            fault.fields = named_fields(&fault.message);
        }
        fault
    };
    fault(errors, class).map(named).unwrap_or_else(|| {
        Fault::new(
            Class::RecordTransient,
            "no_reason_given",
            "Salesforce refused the record without a reason",
        )
    })
}

/// The fault of a request that was refused as a whole.
pub(super) fn request_fault(refusal: Refusal, html: bool, body: &[u8]) -> Fault {
    let by_status = class_of_status(refusal);
    let class = |e: &ApiError| {
        let message = e.message.as_deref().unwrap_or("");
        codes::find(&e.code, message).map_or(by_status, |rule| rule.request)
    };
    let mut fault = fault(parse(body), class).unwrap_or_else(|| {
        let what = match (html, body.is_empty()) {
            (true, _) => "a page of HTML instead of an answer",
            (false, true) => "an empty answer",
            (false, false) => "an answer that is not Salesforce's",
        };
        Fault::new(by_status, format!("http_{}", refusal.status), what)
    });
    fault.retry_after = refusal.retry_after.or(match fault.code.as_ref() {
        "REQUEST_LIMIT_EXCEEDED" if fault.message.contains("TotalRequests") => {
            Some(DAILY_LIMIT_PAUSE)
        }
        "rate_limit_exceeded" => Some(LOGIN_LIMIT_PAUSE),
        _ => None,
    });
    fault
}

/// What follows from an answer with a code that the table does not know, or without one.
fn class_of_status(refusal: Refusal) -> Class {
    match refusal.status {
        401 => Class::Authentication,
        // 420: the edge has no route to the org for now. 425 and 429 come from proxies.
        408 | 420 | 425 | 429 | 503 => Class::Service,
        412 => Class::Record,
        413 | 414 | 431 => Class::Split,
        500.. if refusal.write => Class::Unknown,
        500.. => Class::Service,
        _ => Class::Configuration,
    }
}

/// "duplicate value found: Ext_Id__c duplicates value on record with id: 003…", in whatever language:
/// the name of the field that collides is all that is looked for.
fn collides(message: &str, field: &str) -> bool {
    message
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|word| word.eq_ignore_ascii_case(field))
}

/// One fault out of several errors: the one that is worst to overlook decides.
fn fault(errors: Vec<ApiError>, class: impl Fn(&ApiError) -> Class) -> Option<Fault> {
    let worst = errors.iter().min_by_key(|e| rank(class(e)))?;
    let class = class(worst);
    let known = codes::find(&worst.code, "").or_else(|| {
        codes::RULES
            .iter()
            .find(|rule| rule.code == worst.code.as_str())
    });
    let code = known.map_or_else(
        || Cow::Owned(clip(&worst.code, 80)),
        |rule| Cow::Borrowed(rule.code),
    );
    let mut message = String::new();
    let mut fields = Vec::new();
    // The deciding error's words come first.
    let rest = errors.iter().filter(|e| !std::ptr::eq(*e, worst));
    for error in std::iter::once(worst).chain(rest) {
        if let Some(text) = &error.message {
            if !message.is_empty() {
                message.push_str("; ");
            }
            message.push_str(text);
        }
        if let Some(text) = duplicates::sentence(&error.duplicates) {
            let parted = message.is_empty() || message.ends_with(['.', '?', '!']);
            message.push_str(match (message.is_empty(), parted) {
                (true, _) => "",
                (_, true) => " ",
                (_, false) => "; ",
            });
            message.push_str(&text);
        }
        fields.extend(error.fields.iter().flatten().cloned());
    }
    let mut fault = Fault::new(class, code, clip(&message, MESSAGE_CHARS));
    fault.fields = fields;
    Some(fault)
}

/// Lower decides over higher: what stops delivery, then what cannot be healed by trying again.
fn rank(class: Class) -> u8 {
    match class {
        Class::Authentication => 0,
        Class::Configuration => 1,
        Class::Record => 2,
        Class::Split => 3,
        Class::MissingParent => 4,
        Class::RecordTransient => 5,
        Class::Locked => 6,
        Class::Service => 7,
        Class::Unknown => 8,
    }
}

fn clip(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn on_record(code: &str, message: &str) -> Class {
        let body = format!(
            r#"{{"success":false,"errors":[{{"statusCode":"{code}","message":"{message}","fields":[]}}]}}"#
        );
        record_fault(parse(body.as_bytes()), Some("Ext_Id__c")).class
    }

    fn on_request(status: u16, code: &str, message: &str) -> Fault {
        let body = format!(r#"[{{"errorCode":"{code}","message":"{message}"}}]"#);
        let refusal = Refusal {
            status,
            write: true,
            retry_after: None,
        };
        request_fault(refusal, false, body.as_bytes())
    }

    #[test]
    fn a_record_is_classed_by_code_and_message() {
        use Class::*;
        for (code, message, class) in [
            (
                "UNABLE_TO_LOCK_ROW",
                "unable to obtain exclusive access to this record or 1 records: 001",
                Locked,
            ),
            (
                "UNKNOWN_EXCEPTION",
                "An unexpected error occurred",
                RecordTransient,
            ),
            (
                "DUPLICATE_VALUE",
                "duplicate value found: Ext_Id__c duplicates value on record with id: 003",
                RecordTransient,
            ),
            (
                "DUPLICATE_VALUE",
                "duplicate value found: Badge__c duplicates value on record with id: 003",
                Record,
            ),
            (
                "DUPLICATE_VALUE",
                "Duplicate external id specified: c-1",
                Record,
            ),
            (
                "DUPLICATE_EXTERNAL_ID",
                "Ext_Id__c: more than one record found",
                Record,
            ),
            (
                "INVALID_FIELD",
                "Foreign key external ID: p-7 not found for field Ext_Id__c in entity Account",
                MissingParent,
            ),
            (
                "INVALID_FIELD",
                "No such column 'Nope__c' on sobject of type Contact",
                Record,
            ),
            (
                "INVALID_FIELD_FOR_INSERT_UPDATE",
                "Unable to create/update fields: Level__c. Please check",
                Record,
            ),
            (
                "INVALID_TYPE",
                "sObject type 'Gone__c' is not supported.",
                Record,
            ),
            (
                "INVALID_FIELD",
                "More than 1 field provided in an external foreign key reference",
                Record,
            ),
            (
                "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
                "T: System.LimitException: Too many SOQL queries: 101",
                Split,
            ),
            (
                "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
                "T: UNABLE_TO_LOCK_ROW, unable to obtain",
                Locked,
            ),
            ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "T: no way", Record),
            ("JSON_PARSER_ERROR", "Cannot deserialize", Record),
            (
                "REQUIRED_FIELD_MISSING",
                "Required fields are missing: [LastName]",
                Record,
            ),
            (
                "STORAGE_LIMIT_EXCEEDED",
                "storage limit exceeded",
                Configuration,
            ),
            (
                "INSUFFICIENT_ACCESS_OR_READONLY",
                "insufficient access rights",
                Record,
            ),
            ("SERVER_UNAVAILABLE", "", Service),
            ("SOMETHING_NEW", "never heard of", Record),
        ] {
            assert_eq!(on_record(code, message), class, "{code}: {message}");
        }
    }

    #[test]
    fn a_request_is_classed_by_code_then_by_status() {
        use Class::*;
        for (status, code, message, class) in [
            (400, "JSON_PARSER_ERROR", "[line:1, column:129]", Split),
            (
                400,
                "INVALID_FIELD",
                "No such column 'X' on entity 'Contact'",
                Configuration,
            ),
            (400, "REQUIRED_FIELD_MISSING", "x", Split),
            (400, "SOMETHING_NEW", "x", Configuration),
            (
                401,
                "INVALID_SESSION_ID",
                "Session expired or invalid",
                Authentication,
            ),
            (
                403,
                "REQUEST_LIMIT_EXCEEDED",
                "TotalRequests Limit exceeded.",
                Service,
            ),
            (
                403,
                "REQUEST_LIMIT_EXCEEDED",
                "ConcurrentPerOrgLongTxn Limit exceeded.",
                Service,
            ),
            (403, "API_DISABLED_FOR_ORG", "x", Configuration),
            (
                404,
                "NOT_FOUND",
                "The requested resource does not exist",
                Configuration,
            ),
            (410, "UNSUPPORTED_API_VERSION", "x", Configuration),
            (500, "UNKNOWN_EXCEPTION", "x", RecordTransient),
            (500, "SOMETHING_NEW", "x", Unknown),
            (503, "SERVER_UNAVAILABLE", "x", Service),
        ] {
            assert_eq!(
                on_request(status, code, message).class,
                class,
                "{status} {code}"
            );
        }
        let total = on_request(
            403,
            "REQUEST_LIMIT_EXCEEDED",
            "TotalRequests Limit exceeded.",
        );
        assert_eq!(total.retry_after, Some(DAILY_LIMIT_PAUSE));
        let concurrent = on_request(
            403,
            "REQUEST_LIMIT_EXCEEDED",
            "ConcurrentRequests Limit exceeded.",
        );
        assert_eq!(concurrent.retry_after, None);
    }

    #[test]
    fn an_answer_that_is_not_salesforces_is_classed_by_status() {
        let fault = |status, write, body: &[u8]| {
            let retry_after = (status == 429).then_some(Duration::from_secs(7));
            let refusal = Refusal {
                status,
                write,
                retry_after,
            };
            request_fault(refusal, body.starts_with(b"<"), body)
        };
        for (status, write, class) in [
            (502, true, Class::Unknown),
            (502, false, Class::Service),
            (504, true, Class::Unknown),
            (503, true, Class::Service),
            (420, true, Class::Service),
            (413, true, Class::Split),
            (414, true, Class::Split),
            (431, true, Class::Split),
            (400, true, Class::Configuration),
            (302, true, Class::Configuration),
            (412, true, Class::Record),
        ] {
            for body in [
                &b"<html>down</html>"[..],
                b"",
                b"{}",
                b"[]",
                b"null",
                b"\xff",
            ] {
                assert_eq!(fault(status, write, body).class, class, "{status}");
            }
        }
        assert_eq!(fault(502, true, b"<html>").code, "http_502");
        assert_eq!(
            fault(429, true, b"").retry_after,
            Some(Duration::from_secs(7))
        );
    }

    #[test]
    fn the_token_endpoints_shape_is_read() {
        let body = br#"{"error":"invalid_grant","error_description":"user hasn't approved this consumer"}"#;
        let refusal = Refusal {
            status: 400,
            write: false,
            retry_after: None,
        };
        let fault = request_fault(refusal, false, body);
        assert_eq!(
            (fault.class, fault.code.as_ref()),
            (Class::Authentication, "invalid_grant")
        );
        assert!(advice(&fault).unwrap().contains("run-as user"));
    }

    #[test]
    fn of_several_errors_the_worst_decides() {
        let errors = parse(
            br#"[{"statusCode":"UNABLE_TO_LOCK_ROW","message":"locked"},
                 {"statusCode":"STRING_TOO_LONG","message":"too long","fields":["LastName"]}]"#,
        );
        let fault = record_fault(errors, None);
        assert_eq!(
            (fault.class, fault.code.as_ref()),
            (Class::Record, "STRING_TOO_LONG")
        );
        assert_eq!(fault.message, "too long; locked");
        assert_eq!(fault.fields, ["LastName"]);
        assert_eq!(record_fault(vec![], None).class, Class::RecordTransient);
    }

    #[test]
    fn the_fields_of_a_refusal_are_told() {
        let body = br#"[{"statusCode":"INVALID_FIELD","message":"No such column 'Nope__c' on sobject of type Contact","fields":[]}]"#;
        assert_eq!(record_fault(parse(body), None).fields, ["Nope__c"]);
        for (message, names) in [
            (
                "Unable to create/update fields: A__c, MasterRecordId. Please check the security \
                 settings of this field and verify that it is read/write for your profile.",
                &["A__c", "MasterRecordId"][..],
            ),
            ("Colonne inexistante \"X__c\" sur Contact", &["X__c"]),
            (
                "SELECT Id,Ext__c FROM Contact WHERE Ext__c IN ('a\\'b','abc') ERROR at Row:1:Column:8\n\
                 No such column 'Ext__c' on entity 'Contact'. Be sure to append the '__c'",
                &["Ext__c"],
            ),
            ("No such column ''", &[]),
            ("No such column 'a b' on x", &[]),
            ("'", &[]),
            ("", &[]),
        ] {
            assert_eq!(named_fields(message), names, "{message}");
        }
    }

    #[test]
    fn some_refusals_hint_at_a_changed_schema() {
        for (code, message, hint) in [
            ("INVALID_FIELD", "No such column 'X__c' on Contact", true),
            (
                "INVALID_FIELD",
                "Foreign key external ID: p-7 not found",
                false,
            ),
            ("INVALID_FIELD", "something else", true),
            ("INVALID_FIELD_FOR_INSERT_UPDATE", "", true),
            ("STRING_TOO_LONG", "", true),
            ("REQUIRED_FIELD_MISSING", "", true),
            ("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "", true),
            ("INSUFFICIENT_ACCESS", "", true),
            ("INSUFFICIENT_ACCESS_OR_READONLY", "", true),
            ("INVALID_TYPE", "", true),
            ("NUMBER_OUTSIDE_VALID_RANGE", "", true),
            ("NOT_FOUND", "", true),
            ("INVALID_EXTERNAL_ID_FIELD_NAME", "", true),
            ("UNABLE_TO_LOCK_ROW", "", false),
            ("DUPLICATE_VALUE", "", false),
            ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "", false),
            ("table_halted", "", false),
            ("timeout", "", false),
        ] {
            let fault = Fault::new(Class::Record, code, message);
            assert_eq!(hints_at_schema(&fault), hint, "{code}: {message}");
        }
    }

    #[test]
    fn every_row_can_be_reached_and_speaks_to_a_person() {
        for (i, rule) in codes::RULES.iter().enumerate() {
            let message = rule.patterns.first().copied().unwrap_or("");
            let found = codes::find(rule.code, message).unwrap();
            assert!(
                std::ptr::eq(found, rule),
                "row {i}: {} is hidden",
                rule.code
            );
            assert!(rule.advice.ends_with('.'), "{}", rule.code);
        }
    }
}
