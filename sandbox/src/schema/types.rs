//! What each metadata type makes of a custom field: the properties it needs, their bounds,
//! and those it does not take (salesforce.md §11.1).

use serde_json::Value;

use super::field::{Field, Kind, OnDelete, Source, lookup};
use super::given::{Refusal, flag, need, number, refuse, text};
use super::{Object, Schema};

fn must(key: &str, kind: &str) -> Refusal {
    let message = format!("Must specify '{key}' for a CustomField of type {kind}");
    ("FIELD_INTEGRITY_EXCEPTION", message)
}

/// The field that a metadata type makes, with the properties that belong to the type.
pub(super) fn of_type(
    schema: &Schema,
    object: &Object,
    (name, label): (&str, &str),
    kind: &str,
    meta: &Value,
) -> Result<Field, Refusal> {
    let plain = |kind| Field::new(name, label, kind);
    Ok(match kind {
        "Text" => plain(Kind::String).len(need(meta, "length", 1, 255)?),
        "TextArea" => plain(Kind::TextArea).len(255),
        "LongTextArea" | "Html" => {
            let lines = if kind == "Html" { 10 } else { 2 };
            need(meta, "visibleLines", lines, 50)?;
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
                    "Must specify 'displayFormat' for a CustomField of type AutoNumber",
                );
            };
            let mut field = plain(Kind::String).len(30).read_only();
            field.auto_number = Some(format.to_owned());
            field
        }
        "Location" => location(name, label, meta)?,
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
            "Must specify 'valueSet' for a CustomField of this type",
        );
    };
    if values.len() > 1_000 {
        return refuse(
            "FIELD_INTEGRITY_EXCEPTION",
            "A picklist can have at most 1000 values",
        );
    }
    for value in values {
        let Some(name) = text(value, "fullName").or_else(|| text(value, "valueName")) else {
            return refuse(
                "REQUIRED_FIELD_MISSING",
                "Required fields are missing: [fullName]",
            );
        };
        if name.chars().count() > 255 || field.picklist.iter().any(|v| v.eq_ignore_ascii_case(name))
        {
            return refuse(
                "FIELD_INTEGRITY_EXCEPTION",
                format!("Picklist value is a duplicate or longer than 255 characters: {name}"),
            );
        }
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
    if kind == "MasterDetail" {
        number(meta, "relationshipOrder").ok_or_else(|| must("relationshipOrder", kind))?;
        if meta.get("required").is_some_and(|v| !v.is_null()) {
            return refuse(
                "FIELD_INTEGRITY_EXCEPTION",
                "Master-Detail Relationship Fields Cannot be Optional or Required",
            );
        }
        if meta.get("deleteConstraint").is_some_and(|v| !v.is_null()) {
            return refuse(
                "FIELD_INTEGRITY_EXCEPTION",
                "Can not specify 'deleteConstraint' for a CustomField of type MasterDetail",
            );
        }
    }
    let mut field = lookup(name, label, &[&target], relationship, "");
    field.on_delete = match (kind, text(meta, "deleteConstraint")) {
        ("MasterDetail", _) | (_, Some("Cascade")) => OnDelete::Cascade,
        (_, Some("Restrict")) => OnDelete::Restrict,
        (_, None | Some("SetNull")) => OnDelete::SetNull,
        (_, Some(other)) => {
            return refuse(
                "FIELD_INTEGRITY_EXCEPTION",
                format!("'{other}' is not a valid value for the enum 'DeleteConstraint'"),
            );
        }
    };
    // A lookup that must have a value cannot be cleared when its record goes.
    if flag(meta, "required") && kind == "Lookup" && field.on_delete == OnDelete::SetNull {
        field.on_delete = OnDelete::Restrict;
    }
    if kind == "MasterDetail" {
        field.nillable = false;
        field.updateable = flag(meta, "reparentableMasterDetail");
    }
    Ok(field)
}

/// External id and uniqueness, allowed on a few types only.
pub(super) fn keys(field: &mut Field, kind: &str, meta: &Value) -> Result<(), Refusal> {
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

/// A place on earth: a compound that is read, and two numbers that are written.
fn location(name: &str, label: &str, meta: &Value) -> Result<Field, Refusal> {
    let scale = need(meta, "scale", 0, 15)?;
    if meta
        .get("displayLocationInDecimal")
        .is_none_or(Value::is_null)
    {
        return Err(must("displayLocationInDecimal", "Location"));
    }
    let mut field = Field::new(name, label, Kind::Location);
    field.scale = scale;
    Ok(field.from(Source::Location))
}

/// The fields that a compound field brings along.
pub(crate) fn parts(compound: &Field) -> Vec<Field> {
    if compound.source != Source::Location {
        return Vec::new();
    }
    let stem = compound.name.get(..compound.name.len().saturating_sub(3));
    let part = |name: &str, whole: usize| {
        let mut field = Field::new(
            &format!("{}__{name}__s", stem.unwrap_or_default()),
            &format!("{} ({name})", compound.label),
            Kind::Double,
        )
        .digits(whole + compound.scale, compound.scale);
        field.custom = true;
        field.part_of = Some(compound.name.clone());
        field
    };
    vec![part("Latitude", 2), part("Longitude", 3)]
}
