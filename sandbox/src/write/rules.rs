//! Rules that an org's administrators make: validation rules and duplicate rules.
//!
//! A validation rule states what is wrong with a record. A duplicate rule finds records of
//! the same object that are equal, but for case, in all of its fields; one that warns lets
//! callers pass who say so (`Sforce-Duplicate-Rule-Header: allowSave=true`), one that
//! blocks nobody (salesforce.md §5, §16). Records of one call that came before are found too.
//!
//! Validation rules look at every write, duplicate rules at new records and at changes of
//! their fields. Both are kept in memory, as other settings are.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Context;
use super::error::RecordError;
use crate::ids::Id;
use crate::schema::Object;
use crate::store::Store;
use crate::store::index::key_of;
use crate::store::row::Row;

/// More matches than this are not told.
const MOST: usize = 100;

fn yes() -> bool {
    true
}

fn use_one() -> String {
    "Use one of these records?".to_owned()
}

/// What a duplicate rule does to a record that has a double.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reaction {
    Alert,
    Block,
}

/// A duplicate rule.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DuplicateRule {
    pub(crate) name: String,
    pub(crate) object: String,
    /// A double is equal in all of these; a record that lacks one of them has none.
    pub(crate) fields: Vec<String>,
    pub(crate) action: Reaction,
    #[serde(default = "use_one")]
    pub(crate) message: String,
    #[serde(default = "yes")]
    pub(crate) active: bool,
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Blank,
    NotBlank,
    /// As `LIKE` does: `%` and `_`, without case.
    Matches,
    NotMatches,
    /// An existing record gets another value.
    Changed,
}

/// A comparison of one field.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Condition {
    pub(crate) field: String,
    pub(crate) op: Op,
    #[serde(default)]
    pub(crate) value: Value,
}

/// A validation rule: a record for which all of this holds is refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValidationRule {
    pub(crate) name: String,
    pub(crate) object: String,
    pub(crate) field: String,
    pub(crate) op: Op,
    #[serde(default)]
    pub(crate) value: Value,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) and: Vec<Condition>,
    pub(crate) message: String,
    /// Where the message is shown: a field, or the top of the page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error_field: Option<String>,
    #[serde(default = "yes")]
    pub(crate) active: bool,
}

/// The rules of an org.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) duplicates: Vec<DuplicateRule>,
    pub(crate) validations: Vec<ValidationRule>,
}

/// Checks a record as it would be stored. `before` is what it was.
pub(super) fn check(
    store: &Store,
    ctx: &Context,
    row: &Row,
    before: Option<&Row>,
) -> Result<(), RecordError> {
    let object = store.schema.object(row.object);
    let of = |name: &str| name.eq_ignore_ascii_case(&object.name);
    let rules = &store.settings.rules;
    for rule in rules
        .validations
        .iter()
        .filter(|r| r.active && of(&r.object))
    {
        let first = holds(object, row, before, &rule.field, rule.op, &rule.value);
        let all = rule
            .and
            .iter()
            .all(|c| holds(object, row, before, &c.field, c.op, &c.value));
        if first && all {
            let mut error =
                RecordError::new("FIELD_CUSTOM_VALIDATION_EXCEPTION", rule.message.clone());
            error.fields.extend(rule.error_field.clone());
            return Err(error);
        }
    }
    for rule in rules
        .duplicates
        .iter()
        .filter(|r| r.active && of(&r.object))
    {
        let passes = rule.action == Reaction::Alert && ctx.options.save_alerts;
        if passes || !concerned(object, rule, row, before) {
            continue;
        }
        let doubles = doubles(store, object, rule, row);
        if !doubles.is_empty() {
            return Err(detected(store, ctx, object, rule, &doubles));
        }
    }
    Ok(())
}

fn holds(
    object: &Object,
    row: &Row,
    before: Option<&Row>,
    name: &str,
    op: Op,
    value: &Value,
) -> bool {
    let Some(at) = object.field(name) else {
        return false;
    };
    let field = &object.fields[at];
    let held = row.value(object, field, at);
    let order = match (&held, value) {
        (Value::String(a), Value::String(b)) => Some(a.to_lowercase().cmp(&b.to_lowercase())),
        (a, b) => a
            .as_f64()
            .zip(b.as_f64())
            .and_then(|(a, b)| a.partial_cmp(&b)),
    };
    let same = held == *value || order.is_some_and(|o| o.is_eq());
    let like = || match (&held, value) {
        (Value::String(text), Value::String(pattern)) => {
            crate::soql::like(&text.to_lowercase(), &pattern.to_lowercase())
        }
        _ => false,
    };
    match op {
        Op::Eq => same,
        Op::Ne => !same,
        Op::Lt => order.is_some_and(|o| o.is_lt()),
        Op::Le => order.is_some_and(|o| o.is_le()),
        Op::Gt => order.is_some_and(|o| o.is_gt()),
        Op::Ge => order.is_some_and(|o| o.is_ge()),
        Op::Blank => held.is_null(),
        Op::NotBlank => !held.is_null(),
        Op::Matches => like(),
        Op::NotMatches => !held.is_null() && !like(),
        Op::Changed => before.is_some_and(|row| row.value(object, field, at) != held),
    }
}

/// Whether the rule looks at this write at all.
fn concerned(object: &Object, rule: &DuplicateRule, row: &Row, before: Option<&Row>) -> bool {
    let Some(before) = before else { return true };
    let mut positions = rule.fields.iter().filter_map(|name| object.field(name));
    positions.any(|at| row.stored(at) != before.stored(at))
}

/// The other records that are equal in all fields of the rule.
fn doubles(store: &Store, object: &Object, rule: &DuplicateRule, row: &Row) -> Vec<Id> {
    let keys: Option<Vec<(usize, String)>> = rule
        .fields
        .iter()
        .map(|name| {
            let at = object.field(name)?;
            Some((at, key_of(row.stored(at)?)?))
        })
        .collect();
    let Some(keys) = keys.filter(|keys| !keys.is_empty()) else {
        return Vec::new();
    };
    let equal = |other: &Row| {
        other.id != row.id
            && other.deleted.is_none()
            && keys
                .iter()
                .all(|(at, key)| other.stored(*at).and_then(key_of).as_ref() == Some(key))
    };
    let indexed = keys.iter().filter(|(at, _)| object.fields[*at].indexed());
    let fewest = indexed
        .map(|(at, key)| store.lookup(row.object, *at, key))
        .min_by_key(|ids| ids.len());
    match fewest {
        Some(ids) => ids
            .iter()
            .filter(|id| store.live(**id).is_some_and(equal))
            .take(MOST)
            .copied()
            .collect(),
        None => store
            .rows(row.object)
            .filter(|other| equal(other))
            .take(MOST)
            .map(|other| other.id)
            .collect(),
    }
}

/// `DUPLICATES_DETECTED` with what was found.
fn detected(
    store: &Store,
    ctx: &Context,
    object: &Object,
    rule: &DuplicateRule,
    doubles: &[Id],
) -> RecordError {
    let records: Vec<Value> = doubles
        .iter()
        .filter_map(|id| store.get(*id))
        .map(|row| {
            json!({
                "additionalInformation": [], "fieldDiffs": [], "matchConfidence": 100.0,
                "record": shown(store, ctx, object, row),
            })
        })
        .collect();
    let mut error = RecordError::new("DUPLICATES_DETECTED", rule.message.clone());
    error.duplicate = Some(Box::new(json!({
        "allowSave": rule.action == Reaction::Alert, "duplicateRule": rule.name,
        "duplicateRuleEntityType": object.name, "errorMessage": rule.message,
        "matchResults": [{
            "entityType": object.name, "errors": [], "matchEngine": "ExactMatchEngine",
            "matchRecords": records, "rule": format!("{}_Match", rule.name),
            "size": records.len(), "success": true,
        }],
    })));
    error.details = ctx.options.record_details;
    error
}

/// A double: its id, or all fields of it that the writer sees.
fn shown(store: &Store, ctx: &Context, object: &Object, row: &Row) -> Value {
    let mut out = Map::new();
    let url = format!("/services/data/v66.0/sobjects/{}/{}", object.name, row.id);
    let attributes = json!({"type": object.name, "url": url});
    out.insert("attributes".to_owned(), attributes);
    let fields = object.fields.iter().enumerate();
    let fields = fields.filter(|(at, field)| {
        *at == 0 || (ctx.options.record_details && store.sees(ctx.viewer, row.object, *at, field))
    });
    for (at, field) in fields {
        out.insert(field.name.clone(), row.value(object, field, at));
    }
    Value::Object(out)
}
