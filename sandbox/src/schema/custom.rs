//! Custom fields and objects from their metadata, with the checks Salesforce makes.
//!
//! The metadata `type` decides which properties are needed (salesforce.md §11.1). A name
//! is at most 40 characters before `__c`, starts with a letter, holds letters, digits
//! and single underscores, and does not end in one.

use serde_json::{Value, json};

use super::field::{Field, lookup};
use super::given::{Refusal, flag, refuse, text};
use super::{Object, Schema, types};

/// Checks an API name that ends in `__c` and gives what stands before that.
pub(crate) fn developer_name(name: &str) -> Result<&str, Refusal> {
    let stem = match name
        .len()
        .checked_sub(3)
        .and_then(|at| name.split_at_checked(at))
    {
        Some((stem, tail)) if tail.eq_ignore_ascii_case("__c") => stem,
        _ => {
            return refuse(
                "INVALID_FULL_NAME",
                format!("The name {name} must end in __c"),
            );
        }
    };
    let letters = stem.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let starts = stem.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    if !letters || !starts || stem.contains("__") || stem.ends_with('_') || stem.len() > 40 {
        return refuse(
            "FIELD_INTEGRITY_EXCEPTION",
            "The Name field can contain only underscores and alphanumeric characters. It must be \
             unique, begin with a letter, not include spaces, not end with an underscore, not \
             contain two consecutive underscores, and be at most 40 characters long.",
        );
    }
    Ok(stem)
}

/// Makes a field from its metadata. `name` is the API name including `__c`.
pub(crate) fn field(
    schema: &Schema,
    object: &Object,
    name: &str,
    meta: &Value,
) -> Result<Field, Refusal> {
    let stem = developer_name(name)?;
    let Some(label) = text(meta, "label") else {
        return refuse(
            "REQUIRED_FIELD_MISSING",
            "Required fields are missing: [MasterLabel]",
        );
    };
    if label.chars().count() > 40 {
        return refuse(
            "STRING_TOO_LONG",
            "Field Label: data value too large (max length=40)",
        );
    }
    let Some(kind) = text(meta, "type") else {
        return refuse(
            "REQUIRED_FIELD_MISSING",
            "Required fields are missing: [Type]",
        );
    };
    for key in ["length", "precision", "scale"] {
        let wrong = match key {
            "length" => !matches!(kind, "Text" | "TextArea" | "LongTextArea" | "Html"),
            "precision" => !matches!(kind, "Number" | "Currency" | "Percent"),
            _ => !matches!(kind, "Number" | "Currency" | "Percent" | "Location"),
        };
        if wrong && meta.get(key).is_some_and(|v| !v.is_null()) {
            return refuse(
                "FIELD_INTEGRITY_EXCEPTION",
                format!("Can not specify '{key}' for a CustomField of type {kind}"),
            );
        }
    }
    let mut field = types::of_type(schema, object, (name, label), kind, meta)?;
    if let Some(relationship) = field.relationship.take() {
        developer_name(&format!("{relationship}__c"))?;
        field.relationship = Some(format!("{stem}__r"));
        field.child_relationship = Some(format!("{relationship}__r"));
    }
    types::keys(&mut field, kind, meta)?;
    if flag(meta, "required") {
        if matches!(
            kind,
            "Checkbox" | "LongTextArea" | "Html" | "AutoNumber" | "Location"
        ) {
            return refuse(
                "FIELD_INTEGRITY_EXCEPTION",
                format!("Can not specify 'required' for a CustomField of type {kind}"),
            );
        }
        field.nillable = false;
    }
    field.custom = true;
    field.track_history = flag(meta, "trackHistory");
    field.metadata = Some(meta.clone());
    Ok(field)
}

/// Makes a custom object with a name field and an owner. `prefix_number` numbers the
/// custom objects of the org.
pub(crate) fn object(name: &str, meta: &Value, prefix_number: usize) -> Result<Object, Refusal> {
    let stem = developer_name(name)?;
    let label = text(meta, "label").unwrap_or(stem).to_owned();
    let plural = text(meta, "pluralLabel").map_or_else(|| format!("{label}s"), str::to_owned);
    let empty = json!({});
    let named = meta.get("nameField").unwrap_or(&empty);
    let mut name_field =
        super::field::string("Name", text(named, "label").unwrap_or("Name"), 80).name_field();
    match text(named, "displayFormat") {
        Some(format) => {
            name_field.auto_number = Some(format.to_owned());
            name_field = name_field.read_only();
        }
        // The name of a custom object may be left out: it is then the record's id.
        None => name_field.default = Some("$id".into()),
    }
    let mut owner = lookup("OwnerId", "Owner ID", &["User"], "Owner", "");
    owner.default = Some("$user".into());
    owner.nillable = false;
    let prefix = format!("a{:02}", prefix_number % 100);
    let mut object = Object::new(name, &plural, &prefix, vec![owner, name_field]);
    object.label = label;
    object.custom = true;
    Ok(object)
}
