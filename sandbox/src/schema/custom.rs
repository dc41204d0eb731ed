//! Custom fields and objects from their metadata, with the checks Salesforce makes.
//!
//! The metadata `type` decides which properties are needed (salesforce.md §11.1). A name
//! is at most 40 characters before `__c`, starts with a letter, holds letters, digits
//! and single underscores, and does not end in one.

use serde_json::{Value, json};

use super::field::{Field, Kind, OnDelete, lookup};
use super::{Object, Schema};

/// Why a definition was refused: an error code and its message.
pub(crate) type Refusal = (&'static str, String);

fn refuse<T>(code: &'static str, message: impl Into<String>) -> Result<T, Refusal> {
    Err((code, message.into()))
}

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

fn text<'a>(meta: &'a Value, key: &str) -> Option<&'a str> {
    meta.get(key)
        .and_then(Value::as_str)
        .filter(|t| !t.is_empty())
}

fn flag(meta: &Value, key: &str) -> bool {
    match meta.get(key) {
        Some(Value::Bool(b)) => *b,
        Some(Value::String(s)) => s.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

fn number(meta: &Value, key: &str) -> Option<usize> {
    match meta.get(key)? {
        Value::String(s) => s.parse().ok(),
        other => usize::try_from(other.as_u64()?).ok(),
    }
}

fn need(meta: &Value, key: &str, low: usize, high: usize) -> Result<usize, Refusal> {
    match number(meta, key) {
        None => refuse(
            "FIELD_INTEGRITY_EXCEPTION",
            format!(
                "Must specify '{key}' for a CustomField of type {}",
                text(meta, "type").unwrap_or("")
            ),
        ),
        Some(n) if n < low || n > high => refuse(
            "FIELD_INTEGRITY_EXCEPTION",
            format!("The value of {key} must be between {low} and {high}"),
        ),
        Some(n) => Ok(n),
    }
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
    let mut field = of_type(schema, object, name, label, kind, meta)?;
    if let Some(relationship) = field.relationship.take() {
        developer_name(&format!("{relationship}__c"))?;
        field.relationship = Some(format!("{stem}__r"));
        field.child_relationship = Some(format!("{relationship}__r"));
    }
    keys(&mut field, kind, meta)?;
    if flag(meta, "required") {
        if field.kind == Kind::Boolean || field.is_long_text() {
            return refuse(
                "FIELD_INTEGRITY_EXCEPTION",
                "This field type cannot be required",
            );
        }
        field.nillable = false;
    }
    field.custom = true;
    field.metadata = Some(meta.clone());
    Ok(field)
}

fn of_type(
    schema: &Schema,
    object: &Object,
    name: &str,
    label: &str,
    kind: &str,
    meta: &Value,
) -> Result<Field, Refusal> {
    let plain = |kind| Field::new(name, label, kind);
    Ok(match kind {
        "Text" => plain(Kind::String).len(need(meta, "length", 1, 255)?),
        "TextArea" => plain(Kind::TextArea).len(255),
        "LongTextArea" | "Html" => {
            need(meta, "visibleLines", 2, 50)?;
            let mut field = plain(Kind::TextArea).len(need(meta, "length", 256, 131_072)?);
            field.html = kind == "Html";
            field
        }
        "Number" | "Currency" | "Percent" => {
            let precision = need(meta, "precision", 1, 18)?;
            let scale = need(meta, "scale", 0, 17)?;
            if scale > precision {
                return refuse(
                    "FIELD_INTEGRITY_EXCEPTION",
                    "The scale cannot exceed the precision",
                );
            }
            let kind = match kind {
                "Number" => Kind::Double,
                "Currency" => Kind::Currency,
                _ => Kind::Percent,
            };
            plain(kind).digits(precision, scale)
        }
        "Checkbox" => {
            if meta.get("defaultValue").is_none_or(Value::is_null) {
                return refuse(
                    "FIELD_INTEGRITY_EXCEPTION",
                    "Must specify 'defaultValue' for a CustomField of type Checkbox",
                );
            }
            plain(Kind::Boolean).default(flag(meta, "defaultValue"))
        }
        "Date" => plain(Kind::Date),
        "DateTime" => plain(Kind::DateTime),
        "Time" => plain(Kind::Time),
        "Phone" => plain(Kind::Phone).len(40),
        "Url" => plain(Kind::Url).len(255),
        "Email" => plain(Kind::Email).len(80),
        "Picklist" => options(plain(Kind::Picklist).len(255), meta)?,
        "MultiselectPicklist" => {
            need(meta, "visibleLines", 3, 10)?;
            options(plain(Kind::MultiPicklist).len(4_099), meta)?
        }
        "Lookup" | "MasterDetail" => reference(schema, name, label, kind, meta)?,
        "AutoNumber" => {
            let Some(format) = text(meta, "displayFormat") else {
                return refuse(
                    "FIELD_INTEGRITY_EXCEPTION",
                    "Must specify 'displayFormat' for this field type",
                );
            };
            let mut field = plain(Kind::String).len(30).read_only();
            field.auto_number = Some(format.to_owned());
            field
        }
        other => {
            return refuse(
                "INVALID_TYPE",
                format!(
                    "Cannot create a field of type {other} on {} in this sandbox",
                    object.name
                ),
            );
        }
    })
}

fn options(mut field: Field, meta: &Value) -> Result<Field, Refusal> {
    let set = meta.get("valueSet").filter(|v| v.is_object());
    let values = set
        .and_then(|s| s.pointer("/valueSetDefinition/value"))
        .and_then(Value::as_array);
    let Some(values) = values else {
        return refuse(
            "FIELD_INTEGRITY_EXCEPTION",
            "Must specify 'valueSet' for this field type",
        );
    };
    for value in values {
        let Some(name) = text(value, "fullName").or_else(|| text(value, "valueName")) else {
            return refuse(
                "REQUIRED_FIELD_MISSING",
                "Required fields are missing: [fullName]",
            );
        };
        if flag(value, "default") {
            field.default = Some(name.into());
        }
        field.picklist.push(name.to_owned());
    }
    field.restricted = set.is_some_and(|s| flag(s, "restricted"));
    Ok(field)
}

fn reference(
    schema: &Schema,
    name: &str,
    label: &str,
    kind: &str,
    meta: &Value,
) -> Result<Field, Refusal> {
    let Some(target) = text(meta, "referenceTo") else {
        return refuse(
            "FIELD_INTEGRITY_EXCEPTION",
            "Must specify 'referenceTo' for a CustomField of this type",
        );
    };
    let Some(target) = schema.find(target).map(|at| schema.object(at).name.clone()) else {
        return refuse(
            "FIELD_INTEGRITY_EXCEPTION",
            format!("referenceTo value of '{target}' does not resolve to a valid sObject type"),
        );
    };
    let Some(relationship) = text(meta, "relationshipName") else {
        return refuse(
            "FIELD_INTEGRITY_EXCEPTION",
            "Must specify 'relationshipName' for a CustomField of this type",
        );
    };
    let mut field = lookup(name, label, &[&target], relationship, "");
    field.on_delete = match (kind, text(meta, "deleteConstraint")) {
        ("MasterDetail", _) | (_, Some("Cascade")) => OnDelete::Cascade,
        (_, Some("Restrict")) => OnDelete::Restrict,
        _ => OnDelete::SetNull,
    };
    if kind == "MasterDetail" {
        field.nillable = false;
        field.updateable = flag(meta, "reparentableMasterDetail");
    }
    Ok(field)
}

/// External id and uniqueness, allowed on a few types only.
fn keys(field: &mut Field, kind: &str, meta: &Value) -> Result<(), Refusal> {
    field.external_id = flag(meta, "externalId");
    field.unique = flag(meta, "unique");
    field.case_sensitive = flag(meta, "caseSensitive");
    if field.external_id && !matches!(kind, "AutoNumber" | "Email" | "Number" | "Text") {
        return refuse(
            "FIELD_INTEGRITY_EXCEPTION",
            format!("Can not specify 'externalId' for a CustomField of type {kind}"),
        );
    }
    if field.unique && !matches!(kind, "AutoNumber" | "Email" | "Number" | "Text") {
        return refuse(
            "FIELD_INTEGRITY_EXCEPTION",
            format!("Can not specify 'unique' for a CustomField of type {kind}"),
        );
    }
    if field.case_sensitive && kind != "Text" {
        return refuse(
            "FIELD_INTEGRITY_EXCEPTION",
            format!("Can not specify 'caseSensitive' for a CustomField of type {kind}"),
        );
    }
    // An external id can be looked up, so describe calls it an id lookup as well.
    field.id_lookup = field.external_id;
    Ok(())
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
