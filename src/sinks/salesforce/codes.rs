//! What Salesforce's error codes mean: the one table.
//!
//! A code can stand for one record of an answer or for a whole request, and what follows may differ:
//! a bad value in one record is that record's fault, while a request refused for it has to be split
//! until the record is alone. Codes whose message decides have several rows; the first that fits is
//! taken, so the rows with a pattern stand before the one without.
//!
//! Sources: the REST API guide's "Status codes and error responses" and the SOAP API guide's
//! `StatusCode` list (v66.0); where the guides are silent, what the code is reported for.

use crate::fault::Class;
use crate::mapping::OBJECT_CLOSED;
use Class::{
    Authentication as A, Configuration as C, Locked as L, MissingParent as P, Record as R,
    RecordTransient as T, Service as S, Split,
};

/// A row of the table.
#[derive(Debug)]
pub(super) struct Rule {
    /// `errorCode` or `statusCode`.
    pub(super) code: &'static str,
    /// The row holds if the message has one of these; always, if there are none.
    pub(super) patterns: &'static [&'static str],
    /// What follows when it is said of one record.
    pub(super) record: Class,
    /// What follows when it is said of the whole request.
    pub(super) request: Class,
    /// A right that may be missing for one record or for all of them: after a run of records
    /// refused for it, with none accepted between, it is a matter of configuration.
    pub(super) right: bool,
    /// It may mean that the org's objects, fields or rights have changed since they were described.
    pub(super) schema: bool,
    /// The org, or its automations, have too much to do at once: fewer and smaller requests help.
    pub(super) load: bool,
    /// What it means and what to do, for a person.
    pub(super) advice: &'static str,
}

const fn rule(code: &'static str, record: Class, request: Class, advice: &'static str) -> Rule {
    Rule {
        code,
        patterns: &[],
        record,
        request,
        right: false,
        schema: false,
        load: false,
        advice,
    }
}

impl Rule {
    const fn when(mut self, patterns: &'static [&'static str]) -> Rule {
        self.patterns = patterns;
        self
    }

    const fn right(mut self) -> Rule {
        self.right = true;
        self.schema = true;
        self
    }

    const fn load(mut self) -> Rule {
        self.load = true;
        self
    }

    const fn schema(mut self) -> Rule {
        self.schema = true;
        self
    }
}

/// The first row that fits.
pub(super) fn find(code: &str, message: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| {
        rule.code == code
            && (rule.patterns.is_empty() || rule.patterns.iter().any(|p| message.contains(p)))
    })
}

/// Code of ours: our user may not make fields, or not grant them.
pub(super) const CANNOT_MAKE_FIELDS: &str = "cannot_make_fields";
/// Code of ours: the field that we were to make is there, and is another.
pub(super) const FIELD_IS_ANOTHER: &str = "field_is_another";
/// Code of ours: the field is there, but our user could not be given the rights to it.
pub(super) const FIELD_NOT_GRANTED: &str = "field_not_granted";
/// Code of Salesforce: there is no room for another field.
pub(super) const FIELD_LIMIT: &str = "CUSTOM_ENTITY_OR_FIELD_LIMIT";
/// Code of Salesforce: a field of that name is there.
pub(super) const FIELD_EXISTS: &str = "DUPLICATE_DEVELOPER_NAME";
/// Code of ours: the external id is empty.
pub(super) const EMPTY_KEY: &str = "empty_external_id";
/// Code of ours: the external id has white space around it.
pub(super) const PADDED_KEY: &str = "padded_external_id";
/// Code of ours: whom we reached is not trusted.
pub(super) const CERTIFICATE_REFUSED: &str = "certificate_refused";
/// Code of ours: the record is there but Salesforce lets us neither change nor delete it.
pub(super) const OUT_OF_REACH: &str = "record_out_of_reach";

const LOCK: &[&str] = &["UNABLE_TO_LOCK_ROW"];
const GOVERNOR: &[&str] = &[
    "LimitException",
    "Apex CPU time limit",
    "Apex heap size",
    "Too many SOQL queries",
    "Too many query rows",
    "Too many DML",
];
const LOCKED: &str = "Somebody else was writing this record or its parent, each time that it was tried. Syncline never \
     writes children of one parent at once: look for an import, another integration or a long automation \
     that writes the same parents, and retry when it is done.";
const AUTOMATION_LOCKED: &str = "An automation of the org met a locked record, each time that it was tried. Look for what writes the \
     records that the automation touches at the same time, and retry when it is done.";
const AUTOMATION_LIMIT: &str = "An automation of the org used up its limits. It is tried again in smaller requests; if it \
     still fails, the trigger or flow named in the message has to be made cheaper.";
const AUTOMATION_REFUSED: &str = "A trigger or flow of the org refused the record. Its message says why: change the row, or \
     the automation, and retry.";

pub(super) static RULES: &[Rule] = &[
    // What passes by itself.
    rule("UNABLE_TO_LOCK_ROW", L, L, LOCKED),
    rule("SERVER_UNAVAILABLE", S, S, "Salesforce is not available. Delivery goes on by itself; see status.salesforce.com."),
    rule("UNKNOWN_EXCEPTION", T, T, "Salesforce failed inside. If it repeats for this record, give the ErrorId of the message to Salesforce's support."),
    rule("INTERNAL_ERROR", T, T, "Salesforce failed inside. It is tried again."),
    rule("INTERNAL_SERVER_ERROR", T, T, "Salesforce failed inside. It is tried again."),
    rule("API_CURRENTLY_DISABLED", S, S, "Salesforce has switched its API off for now. Delivery goes on by itself."),
    rule("INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE", S, S, "The org is read-only during maintenance. Delivery goes on by itself."),
    rule("REQUEST_LIMIT_EXCEEDED", S, S, "The org's daily API requests are used up. Delivery goes on as requests become free; lower the use of other clients, or buy more.").when(&["TotalRequests"]),
    rule("REQUEST_LIMIT_EXCEEDED", S, S, "Too many long requests run at once in the org. Delivery goes on by itself; in fewer and smaller requests.").load(),
    rule("TOO_MANY_APEX_REQUESTS", S, S, "The org's automations are overloaded. Delivery goes on by itself, in fewer and smaller requests.").load(),
    rule("EXCEEDED_QUOTA", S, S, "A quota of the org is used up for now. Delivery goes on by itself."),
    rule("TXN_SECURITY_METERING_ERROR", S, S, "The org's transaction security is overloaded. Delivery goes on by itself."),
    rule("TEMPORARY_QUERY_MORE_FAILURE", T, T, "A page of a query was not available. It is asked for again."),
    rule("INVALID_QUERY_LOCATOR", T, T, "The cursor of a query is gone. The query is started again."),
    rule("QUERY_LOCATOR_EXPIRED", T, T, "The cursor of a query is gone. The query is started again."),
    rule("QUERY_LOCATOR_NOT_FOUND", T, T, "The cursor of a query is gone. The query is started again."),
    rule("ALL_OR_NONE_OPERATION_ROLLED_BACK", T, T, "It was rolled back because of another record. It is tried again."),
    rule("PROCESSING_HALTED", T, T, "It was rolled back because of another record. It is tried again."),
    rule("BATCH_PROCESSING_HALTED", T, T, "It was rolled back because of another record. It is tried again."),
    rule("ENTITY_IS_LOCKED", T, T, "The record is locked by an approval process. Retry when the approval has ended, or let the integration user edit locked records."),
    // What passes in smaller requests.
    rule("QUERY_TIMEOUT", Split, Split, "A query ran too long. It is tried again with fewer records."),
    rule("QUERY_TOO_COMPLICATED", Split, Split, "A query was too large. It is tried again with fewer records."),
    rule("REQUEST_RUNNING_TOO_LONG", Split, Split, "The request ran for ten minutes. It is tried again with fewer records; the org's automations on this object are slow.").load(),
    rule("OPERATION_TOO_LARGE", Split, Split, "The request was too large. It is tried again with fewer records."),
    rule("EXCEEDED_ID_LIMIT", Split, Split, "The request had too many records. It is tried again with fewer."),
    rule("EXCEEDED_MAX_SIZE_REQUEST", Split, Split, "The request was too large. It is tried again with fewer records."),
    rule("PARAMETER_TOO_LARGE", Split, Split, "The request was too large. It is tried again with fewer records."),
    rule("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", L, L, AUTOMATION_LOCKED).when(LOCK),
    rule("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", Split, Split, AUTOMATION_LIMIT).when(GOVERNOR).load(),
    rule("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", R, Split, AUTOMATION_REFUSED),
    rule("CANNOT_EXECUTE_FLOW_TRIGGER", L, L, AUTOMATION_LOCKED).when(LOCK),
    rule("CANNOT_EXECUTE_FLOW_TRIGGER", Split, Split, AUTOMATION_LIMIT).when(GOVERNOR).load(),
    rule("CANNOT_EXECUTE_FLOW_TRIGGER", R, Split, AUTOMATION_REFUSED),
    rule("FLOW_EXCEPTION", L, L, AUTOMATION_LOCKED).when(LOCK),
    rule("FLOW_EXCEPTION", Split, Split, AUTOMATION_LIMIT).when(GOVERNOR).load(),
    rule("FLOW_EXCEPTION", R, Split, AUTOMATION_REFUSED),
    rule("APEX_ERROR", L, L, AUTOMATION_LOCKED).when(LOCK),
    rule("APEX_ERROR", Split, Split, AUTOMATION_LIMIT).when(GOVERNOR).load(),
    rule("APEX_ERROR", R, Split, AUTOMATION_REFUSED),
    // References.
    rule("INVALID_FIELD", P, Split, "The record it refers to is not in Salesforce yet. It waits and is written when the parent is.").when(&["Foreign key external ID"]),
    rule("INVALID_CROSS_REFERENCE_KEY", R, Split, "It refers to a record that is gone, or that the integration user may not see."),
    // Values.
    rule("JSON_PARSER_ERROR", R, Split, "A value has not the form its field wants (a date, a number). Check the mapping of the column.").schema(),
    rule("REQUIRED_FIELD_MISSING", R, Split, "A field that Salesforce requires is empty. Map it, give it a constant, or fill the column.").schema(),
    rule("FIELD_CUSTOM_VALIDATION_EXCEPTION", R, Split, "A validation rule of the org refused the record. Change the row or the rule, and retry."),
    rule("FIELD_INTEGRITY_EXCEPTION", R, Split, "A value does not fit the org's rules for the field. The message names it."),
    rule("FIELD_FILTER_VALIDATION_EXCEPTION", R, Split, "The lookup filter of the field does not allow this parent."),
    rule("STRING_TOO_LONG", R, Split, "A text is longer than its field. Lengthen the field, or shorten the value in the mapping.").schema(),
    rule("INVALID_EMAIL_ADDRESS", R, Split, "A value is not an e-mail address to Salesforce. Correct it in the row."),
    rule("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", R, Split, "A value is not in the field's list. Add it to the picklist, or map it to one that is.").schema(),
    rule("TOO_MANY_ENUM_VALUE", R, Split, "A multi-select field got too many values."),
    rule("NUMBER_OUTSIDE_VALID_RANGE", R, Split, "A number has more digits than its field. Widen the field.").schema(),
    rule("INVALID_TYPE_ON_FIELD_IN_RECORD", R, Split, "A value has not the type of its field. Check the mapping of the column.").schema(),
    rule("MALFORMED_ID", R, Split, "A value is not the id of a record of the right object."),
    rule("INVALID_ID_FIELD", R, Split, "A value is not the id of a record of the right object."),
    rule("DUPLICATES_DETECTED", R, Split, "A duplicate rule of the org takes the record for a double of one that is there. Merge the two, or change one of them; let rules that only warn pass (duplicates = \"allow\"), take over records that nobody has (adopt = { match = … }), or exempt the integration user from the rule."),
    rule("DUPLICATE_EXTERNAL_ID", R, Split, "Several records bear this external id. Merge them, and make the field unique.").schema(),
    rule("DUPLICATE_VALUE", R, Split, "Two rows have external ids that Salesforce takes for the same one. Make the field case-sensitive.").when(&["Duplicate external id specified"]),
    rule("DUPLICATE_VALUE", T, Split, "Two rows lead to one Salesforce record. They are sent apart.").when(&["Duplicate id specified"]),
    rule("DUPLICATE_VALUE", R, Split, "Another record already has this value in a field that must be unique."),
    rule("INACTIVE_OWNER_OR_USER", R, Split, "The owner is not an active user. Choose another, or activate the user."),
    rule("TEXT_DATA_OUTSIDE_SUPPORTED_CHARSET", R, Split, "A text holds characters that Salesforce does not take. Remove control characters from the value."),
    rule("DELETE_FAILED", R, Split, "Other records depend on this one. Delete or re-assign them, and retry."),
    rule("DELETE_REQUIRED_ON_CASCADE", R, Split, "The user may not delete records that would go with this one."),
    rule("CANNOT_UPDATE_CONVERTED_LEAD", R, Split, "The lead is converted and can no longer be changed. Discard, or map to the contact."),
    rule("CIRCULAR_DEPENDENCY", R, Split, "The record would refer to itself through others."),
    rule("SELF_REFERENCE_FROM_TRIGGER", R, Split, "A trigger of the org changes the record that fired it."),
    rule("MISSING_ARGUMENT", R, Split, "The request lacked the record's key. This is an error of Syncline: please report it."),
    rule("INVALID_BATCH_REQUEST", R, Split, "The request was not understood. This is an error of Syncline: please report it."),
    rule("MALFORMED_QUERY", R, Split, "A query was not understood. This is an error of Syncline: please report it."),
    rule("INVALID_QUERY_FILTER_OPERATOR", R, Split, "The external-id field cannot be searched by this value."),
    rule("ENTITY_IS_DELETED", R, Split, "The record is in Salesforce's recycle bin."),
    rule("ENTITY_FAILED_IFLASTMODIFIED_ON_UPDATE", R, Split, "The record was changed in Salesforce meanwhile."),
    rule("MATCH_PRECONDITION_FAILED", R, Split, "The record was changed in Salesforce meanwhile."),
    rule("INSUFFICIENT_ACCESS", R, C, "The integration user may not do this with the record. Check its permission set and the org's sharing.").right(),
    rule("INSUFFICIENT_ACCESS_OR_READONLY", R, C, "The integration user may not write this record. Check its permission set and the org's sharing.").right(),
    rule("INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", R, C, "The integration user may not use the parent record or the record type. Check its permission set and the org's sharing.").right(),
    // Configuration.
    rule("INVALID_FIELD", R, C, "The field does not exist, or the integration user cannot see it. Create it and grant it in a permission set (field-level security), or take it out of the mapping.").when(&["No such column"]).schema(),
    rule("INVALID_FIELD", R, Split, "A field of the record was refused. The message names it.").schema(),
    rule("INVALID_FIELD_FOR_INSERT_UPDATE", R, C, "The field cannot be written by the integration user. Grant edit rights on it, or take it out of the mapping.").schema(),
    rule("INVALID_TYPE", R, C, "The object does not exist, or the integration user cannot see it.").schema(),
    rule("INVALID_TYPE_FOR_OPERATION", R, C, "Records of this object cannot be written in this way.").schema(),
    rule("INVALID_ENTITY_FOR_UPSERT", R, C, "Records of this object cannot be upserted.").schema(),
    rule("INVALID_EXTERNAL_ID_FIELD_NAME", R, C, "The key field is not an external id of the object. Mark it as External ID and Unique.").schema(),
    rule("INVALIDJOB", C, C, "A bulk job was refused. The message says why."),
    rule("INVALIDJOBSTATE", C, C, "A bulk job was not in the state for this. It goes by requests meanwhile."),
    rule("INVALIDENTITY", C, C, "The bulk API does not take this object. Its records go by requests."),
    rule("EXCEEDEDQUOTA", C, C, "The org's bulk batches of the day are used up. Records go by requests meanwhile."),
    rule("CLIENTINPUTERROR", C, C, "A bulk job was not understood. Its records go by requests."),
    rule("NOT_FOUND", R, C, "The object or its external-id field does not exist, or the integration user cannot see it.").schema(),
    rule("METHOD_NOT_ALLOWED", C, C, "The address does not take this request. Check destination.url."),
    rule("UNSUPPORTED_API_VERSION", C, C, "The org does not speak this API version. Remove destination.api_version, or choose another."),
    rule("INVALID_VERSION", C, C, "The org does not speak this API version. Remove destination.api_version, or choose another."),
    rule("API_DISABLED_FOR_ORG", C, C, "The org's edition, or the user's profile, has no API access. Grant \"API Enabled\"."),
    rule("FUNCTIONALITY_NOT_ENABLED", C, C, "The org has not switched this function on."),
    rule("FEATURENOTENABLED", C, C, "The org has not switched this function on, or the user lacks the permission for it."),
    rule("STORAGE_LIMIT_EXCEEDED", C, C, "The org's data storage is full. Free space or buy more, then resume."),
    rule("TXN_SECURITY_NO_ACCESS", C, C, "A transaction security policy of the org blocks the integration user."),
    rule("TXN_SECURITY_RUNTIME_ERROR", C, C, "A transaction security policy of the org fails."),
    rule("TXN_SECURITY_APEX_ERROR", C, C, "A transaction security policy of the org fails."),
    rule("LICENSE_LIMIT_EXCEEDED", C, C, "A licence limit of the org is reached."),
    rule("TRIAL_EXPIRED", C, C, "The org's trial has expired."),
    rule("ORG_LOCKED", C, C, "The org is locked."),
    rule("MIXED_DML_OPERATION", C, C, "Setup objects and data objects cannot be written together."),
    rule(FIELD_LIMIT, C, C, "The object has as many custom fields as the org's edition allows. Delete fields that nobody uses (and erase them in Setup, Deleted Fields), or ignore columns."),
    rule(FIELD_EXISTS, C, C, "A field of this name exists already."),
    rule("INVALID_REPLICATION_DATE", C, C, "The range of time asked for is not valid."),
    // Authentication.
    rule("INVALID_SESSION_ID", A, A, "The session was not accepted, even after a new login. Check the connected app's policies."),
    rule("INVALID_AUTH_HEADER", A, A, "The session was not accepted, even after a new login. Check the connected app's policies."),
    rule("INVALID_LOGIN", A, A, "The login was refused. Check the credentials; Syncline does not try again by itself."),
    rule("LOGIN_MUST_USE_SECURITY_TOKEN", A, A, "The login was refused from this address. Relax the IP policy of the connected app."),
    rule("PASSWORD_LOCKOUT", A, A, "The user is locked out. Unlock it in Setup."),
    rule("INVALID_OPERATION_WITH_EXPIRED_PASSWORD", A, A, "The user's password has expired."),
    rule("LOGIN_DURING_RESTRICTED_DOMAIN", A, A, "The user may not log in from this address."),
    rule("LOGIN_DURING_RESTRICTED_TIME", A, A, "The user may not log in at this time."),
    rule("INVALID_CLIENT", A, A, "The connected app is not accepted. Check destination.client_id and its secret."),
    // The token endpoint.
    rule("invalid_client_id", C, C, "The consumer key is not known to the org. Check destination.client_id and destination.url."),
    rule("invalid_client", C, C, "The consumer key or secret is wrong. Check destination.client_id and the client secret."),
    rule("unsupported_grant_type", C, C, "The app does not allow this flow. Enable the client-credentials flow (or JWT bearer) in it, and use the org's My Domain as destination.url."),
    rule("invalid_scope", C, C, "The app lacks the scope \"api\"."),
    rule("invalid_app_access", C, C, "The user may not use the app. Assign its permission set."),
    rule("invalid_grant", A, A, "The login was refused. For client credentials give the app a run-as user; for JWT pre-authorise the user and check the certificate, destination.username and destination.audience."),
    rule("inactive_user", A, A, "The integration user is not active."),
    rule("inactive_org", A, A, "The org is not active."),
    rule("rate_limit_exceeded", S, S, "Too many logins. Delivery goes on by itself."),
    rule("unknown_error", S, S, "The login failed inside Salesforce. It is tried again."),
    // Ours.
    rule(EMPTY_KEY, R, Split, "The row's key is empty in Salesforce's eyes, so that the record cannot be found again. Correct the key column."),
    rule(
        PADDED_KEY,
        R,
        Split,
        "The row's key begins or ends with white space, which Salesforce removes: the record could not be found again, or would be another's. Correct the key column.",
    ),
    rule(CANNOT_MAKE_FIELDS, C, C, "The integration user needs \"Customize Application\", \"Manage Permission Sets\" (or \"Assign Permission Sets\") and \"View Setup and Configuration\" to make fields. Grant them, or make the field by hand."),
    rule(FIELD_IS_ANOTHER, C, C, "A field of this name exists, and cannot hold the column. Map the column to another field, or change the field in Setup."),
    rule(FIELD_NOT_GRANTED, C, C, "The field exists, but the integration user got no rights to it. Give it edit access to the field in a permission set.").schema(),
    rule(CERTIFICATE_REFUSED, S, S, "The server's certificate comes from an authority that this machine does not trust, or is for another name or time. For a proxy, or the sandbox with --tls, give the authority's PEM file as destination.ca_file; else check destination.url and the clock."),
    rule(OBJECT_CLOSED, R, Split, "The integration user is refused every record of the object. Grant it the rights to create and edit them in a permission set, or look at the org's sharing. What is held goes by itself when the object's description shows the rights; otherwise: `syncline pending retry`.").schema(),
    rule(OUT_OF_REACH, R, Split, "The record exists, but Salesforce refuses to change it. Check the integration user's rights on it."),
];
