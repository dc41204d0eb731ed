//! What a refusal on the way to a new field means, for the person who reads it.

use super::metadata;
use crate::fault::{Class, Fault};
use crate::mapping::FieldSpec;
use crate::sinks::salesforce::codes::{CANNOT_MAKE_FIELDS, FIELD_LIMIT, FIELD_NOT_GRANTED};

/// Where it happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Looking at the fields that are there.
    Look,
    /// Making the field.
    Make,
    /// Our permission set; nothing is made before it stands.
    Grant,
    /// The rights to a field that is there.
    Rights,
}

/// `Ok` for a refusal of what was asked. `Err` for a fault that says nothing of it: the attempt is
/// made again, or delivery stops for want of a session.
pub(super) fn passes(fault: Fault) -> Result<Fault, Fault> {
    match fault.class {
        Class::Service
        | Class::Unknown
        | Class::RecordTransient
        | Class::Locked
        | Class::Authentication => Err(fault),
        _ => Ok(fault),
    }
}

/// There is no room for another field.
pub(super) fn is_limit(fault: &Fault) -> bool {
    fault.code == FIELD_LIMIT
}

/// Our user may not do this at all, whichever field it is. To a user without the right an object of
/// the set-up is not there.
pub(super) fn is_right(fault: &Fault) -> bool {
    in_production(fault)
        || matches!(
            fault.code.as_ref(),
            "INSUFFICIENT_ACCESS"
                | "INSUFFICIENT_ACCESS_OR_READONLY"
                | "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY"
                | "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"
                | "FUNCTIONALITY_NOT_ENABLED"
                | "API_DISABLED_FOR_ORG"
                | "INVALID_TYPE"
                | "NOT_FOUND"
                | "METHOD_NOT_ALLOWED"
                | "FORBIDDEN"
                | "http_403"
        )
}

/// The guide says that production orgs refuse fields made by the Tooling API.
fn in_production(fault: &Fault) -> bool {
    fault.message.contains("active organization")
}

/// The refusal in words: which permission is missing, and what to make by hand instead.
pub(super) fn told(step: Step, object: &str, spec: &FieldSpec, fault: &Fault) -> Fault {
    let name = &spec.name;
    let by_hand = format!(
        "make {object}.{name} ({}) in Setup by hand and give the integration user edit access to it",
        metadata::words(spec.kind)
    );
    let words = if fault.message.is_empty() {
        fault.code.to_string()
    } else {
        format!("{}: {}", fault.code, fault.message)
    };
    let (code, message) = match step {
        Step::Look | Step::Make if in_production(fault) => (
            CANNOT_MAKE_FIELDS.into(),
            format!("this org does not let the API make fields ({words}): {by_hand}"),
        ),
        Step::Look | Step::Make if is_right(fault) => (
            CANNOT_MAKE_FIELDS.into(),
            format!(
                "the integration user may not make fields; it needs the permissions \"Customize \
                 Application\" and \"View Setup and Configuration\" ({words}). Grant them, or {by_hand}"
            ),
        ),
        Step::Look | Step::Make => (
            fault.code.clone(),
            format!("{object}.{name} could not be made: {}", fault.message),
        ),
        Step::Grant => (
            CANNOT_MAKE_FIELDS.into(),
            format!(
                "the integration user may not manage the permission set that would show it the \
                 field, so nothing was made; it needs \"Manage Permission Sets\", \"Assign \
                 Permission Sets\" and \"View Setup and Configuration\" ({words}). Grant them, or \
                 {by_hand}"
            ),
        ),
        Step::Rights => (
            FIELD_NOT_GRANTED.into(),
            format!(
                "{object}.{name} exists, but the integration user could not be given the rights to \
                 it ({words}). Give it edit access to the field in a permission set, or grant it \
                 \"Manage Permission Sets\" and \"View Setup and Configuration\""
            ),
        ),
    };
    Fault {
        fields: vec![name.to_string()],
        ..Fault::new(Class::Configuration, code, message)
    }
}
