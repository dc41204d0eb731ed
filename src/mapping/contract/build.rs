//! The contract of a table as both sides are now.

use super::{ColumnTerms, Contract, DIALECT, FieldTerms, KeyTerms, Property, TableTerms};
use crate::capture::{CatalogColumn, CatalogTable, TableNotes};
use crate::change::ReplicaIdentity;
use crate::mapping::{ColumnMapping, FieldDescription, FieldKind, TableMapping};
use crate::value::ValueType;

/// How Postgres prints as JSON what JSON has no number for. (A pattern concerns texts only.)
pub(super) const NOT_FINITE: &str = "^(NaN|-?Infinity)$";
pub(super) const TIMESTAMP: &str =
    "^(\\d{4,}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d{1,6})?( BC)?|-?infinity)$";
pub(super) const TIME: &str = "^\\d\\d:\\d\\d:\\d\\d(\\.\\d{1,6})?$";
pub(super) const TIME_TZ: &str = "^\\d\\d:\\d\\d:\\d\\d(\\.\\d{1,6})?[+-]\\d\\d(:\\d\\d){0,2}$";
pub(super) const BYTES: &str = "^\\\\x([0-9a-f]{2})*$";

/// Bounds below this many digits are exact in every reader of JSON.
const EXACT_DIGITS: i32 = 15;

/// What is known of the source.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The table.
    pub table: &'a CatalogTable,
    /// What the catalog says of it for people.
    pub notes: Option<&'a TableNotes>,
    /// How a type is read: its oid, its modifier.
    pub types: &'a dyn Fn(u32, i32) -> ValueType,
    /// What a domain is over: oid and modifier of a type that is none.
    pub underlying: &'a dyn Fn(u32, i32) -> (u32, i32),
}

/// The contract as it is now. Without a mapping only the source's side is filled in, and nothing is
/// needed. `crm`: the fields' descriptions are the CRM's own.
pub fn build(source: Source<'_>, mapping: Option<&TableMapping>, crm: bool) -> Contract {
    let table = source.table;
    let name = format!("{}.{}", table.schema, table.name);
    let names = |columns: &[Box<str>]| columns.iter().map(ToString::to_string).collect();
    Contract {
        dialect: DIALECT.into(),
        id: format!("urn:syncline:contract:{}", urn(&name)),
        title: name,
        description: source
            .notes
            .and_then(|n| n.comment.as_deref())
            .map(Into::into),
        kind: "object".into(),
        properties: table
            .columns
            .iter()
            .map(|c| (c.name.to_string(), property(source, c, mapping, crm)))
            .collect(),
        required: table
            .columns
            .iter()
            .filter(|c| c.not_null)
            .map(|c| c.name.to_string())
            .collect(),
        terms: TableTerms {
            version: 0,
            content: String::new(),
            object: mapping.map_or_else(String::new, |m| m.target.object.to_string()),
            key: KeyTerms {
                columns: mapping.map_or_else(Vec::new, |m| names(&m.key.columns)),
                field: mapping.map_or_else(String::new, |m| m.key.field.to_string()),
            },
            primary_key: names(&table.primary_key),
            replica_identity: match table.identity {
                ReplicaIdentity::Default => "default",
                ReplicaIdentity::Nothing => "nothing",
                ReplicaIdentity::Full => "full",
                ReplicaIdentity::Index => "index",
            }
            .into(),
            // All columns, those of tomorrow too: nothing is said by naming them.
            identity_columns: match table.identity {
                ReplicaIdentity::Full => Vec::new(),
                _ => names(&table.identity_columns),
            },
        },
    }
}

/// A name as a part of a URN (RFC 8141): bytes that have no place there are written in hex.
fn urn(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-') => {
                out.push(char::from(b));
            }
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

fn property(
    source: Source<'_>,
    column: &CatalogColumn,
    mapping: Option<&TableMapping>,
    crm: bool,
) -> Property {
    let value_type = (source.types)(column.type_oid, column.typmod);
    let (oid, typmod) = (source.underlying)(column.type_oid, column.typmod);
    let notes = source.notes.and_then(|n| n.columns.get(&column.attnum));
    let mut property = Property {
        description: notes.and_then(|n| n.comment.as_deref()).map(Into::into),
        terms: ColumnTerms {
            sql: column.type_name.to_string(),
            attnum: column.attnum,
            ..ColumnTerms::default()
        },
        ..Property::default()
    };
    keywords(&mut property, &value_type, oid, typmod);
    if value_type == ValueType::Enum
        && let Some(notes) = notes.filter(|n| !n.labels.is_empty())
    {
        let labels = notes.labels.iter().map(|l| Some(l.to_string()));
        let null = (!column.not_null).then_some(None);
        property.labels = Some(labels.chain(null).collect());
    }
    if !column.not_null && !property.types.is_empty() {
        property.types.push("null".into());
    }
    if let Some(mapping) = mapping {
        mapped(&mut property.terms, column, mapping, crm);
    }
    property
}

fn keywords(property: &mut Property, value_type: &ValueType, oid: u32, typmod: i32) {
    use ValueType as T;
    let kind = match value_type {
        T::Bool => "boolean",
        T::Int | T::Unsigned => "integer",
        T::Float | T::Numeric => "number",
        T::Array(..) => "array",
        // Documents, and types whose JSON form is their own affair (composites, ranges, extensions').
        T::Json | T::Other(_) => return,
        _ => "string",
    };
    property.types = vec![kind.into()];
    let pattern = match value_type {
        T::Float | T::Numeric => NOT_FINITE,
        T::Timestamp => TIMESTAMP,
        T::Time => TIME,
        T::TimeTz => TIME_TZ,
        T::Bytea => BYTES,
        _ => "",
    };
    property.pattern = (!pattern.is_empty()).then(|| pattern.to_owned());
    property.format = match value_type {
        T::Date => Some("date".into()),
        T::TimestampTz => Some("date-time".into()),
        T::Uuid => Some("uuid".into()),
        _ => None,
    };
    match value_type {
        T::Float => property.types.push("string".into()),
        T::Int => {
            // int2, int4, int8; oid, xid and cid are unsigned.
            let (least, most) = match oid {
                21 => (i64::from(i16::MIN), i64::from(i16::MAX)),
                23 => (i64::from(i32::MIN), i64::from(i32::MAX)),
                26 | 28 | 29 => (0, i64::from(u32::MAX)),
                _ => (i64::MIN, i64::MAX),
            };
            property.minimum = Some(least.into());
            property.maximum = Some(most.into());
        }
        T::Unsigned => property.minimum = Some(0.into()),
        T::Text | T::PaddedText if typmod > 4 => {
            property.max_length = usize::try_from(typmod - 4).ok();
        }
        T::Numeric => {
            property.types.push("string".into());
            if typmod >= 4 {
                digits(property, typmod - 4);
            }
        }
        _ => {}
    }
}

/// The bounds of a `numeric(p, s)`. Precision stands in the upper half, an 11-bit signed scale in the
/// lower: src/backend/utils/adt/numeric.c.
fn digits(property: &mut Property, packed: i32) {
    let precision = packed >> 16 & 0xFFFF;
    let scale = ((packed & 0x7FF) ^ 1024) - 1024;
    property.terms.precision = Some(precision);
    property.terms.scale = Some(scale);
    if precision <= EXACT_DIGITS && (0..=EXACT_DIGITS).contains(&scale) {
        // As text, so that it is the very number that the text of a row would be read as.
        let nines = "9".repeat(usize::try_from(precision).unwrap_or(0));
        let scale = usize::try_from(scale).unwrap_or(0);
        let padded = format!("{nines:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        let most = match fraction {
            "" => whole.to_owned(),
            fraction => format!("{whole}.{fraction}"),
        };
        property.maximum = most.parse().ok();
        property.minimum = format!("-{most}").parse().ok();
    }
    if (-EXACT_DIGITS..0).contains(&scale) {
        property.multiple_of = 10_i64.checked_pow(scale.unsigned_abs()).map(Into::into);
    }
}

fn mapped(terms: &mut ColumnTerms, column: &CatalogColumn, mapping: &TableMapping, crm: bool) {
    terms.key = mapping.key.columns.contains(&column.name);
    terms.needed = terms.key;
    match mapping.columns.get(&column.name) {
        Some(ColumnMapping::Field(rule)) => {
            terms.needed = true;
            terms.field = Some(rule.field.name.to_string());
            let target = mapping.target.fields.get(usize::from(rule.slot));
            terms.references = target
                .and_then(|f| f.reference.as_ref())
                .map(|r| r.object_name.to_string());
            terms.crm = crm.then(|| field_terms(&rule.field));
        }
        Some(ColumnMapping::Ignored) => terms.unmapped = Some("left out by the mapping".into()),
        None if terms.key => terms.field = Some(mapping.key.field.to_string()),
        None => {
            let why = mapping.unmapped.iter().find(|u| u.column == column.name);
            terms.unmapped = Some(why.map_or("no rule".into(), |u| u.why.to_string()));
        }
    }
}

/// What of a field a contract relies on.
pub(super) fn field_terms(field: &FieldDescription) -> FieldTerms {
    FieldTerms {
        kind: kind(&field.kind).into(),
        length: field.length,
        precision: field.precision,
        scale: field.scale,
        required: !field.nillable && field.kind != FieldKind::Boolean,
        restricted: field.restricted,
    }
}

/// A kind of field in words.
pub(super) fn kind(kind: &FieldKind) -> &str {
    match kind {
        FieldKind::Id => "id",
        FieldKind::Reference => "lookup",
        FieldKind::Text => "text",
        FieldKind::LongText => "long text",
        FieldKind::Email => "e-mail",
        FieldKind::Phone => "phone",
        FieldKind::Url => "web address",
        FieldKind::Picklist => "list",
        FieldKind::MultiPicklist => "list of several",
        FieldKind::Boolean => "checkbox",
        FieldKind::Int => "whole number",
        FieldKind::Decimal => "number",
        FieldKind::Date => "date",
        FieldKind::DateTime => "date-time",
        FieldKind::Time => "time",
        FieldKind::Other(name) => name,
    }
}
