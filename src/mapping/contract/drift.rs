//! What has changed since a contract was exported, and whether anything needed is hit.
//!
//! A [`Severity::Problem`] is drift: something that the mapping needs is not as it was agreed. A
//! [`Severity::Note`] is a change that nothing needs, or that asks for less than was agreed.

use super::build::field_terms;
use super::{Contract, Property};
use crate::fault::{Finding, Severity};
use crate::mapping::{ColumnMapping, FieldDescription, ObjectDescription, TableMapping, Written};

/// What to do when the change is meant.
const EXPORT: &str = "undo it, or agree on it: `syncline contract export`";

struct Findings<'a> {
    table: &'a str,
    list: Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, severity: Severity, at: &str, what: String, remedy: &str) {
        let dot = if at.is_empty() { "" } else { "." };
        self.list.push(Finding {
            severity,
            place: format!("tables.\"{}\"{dot}{at}", self.table),
            what,
            remedy: remedy.to_owned(),
        });
    }

    fn drift(&mut self, at: &str, what: String, remedy: &str) {
        self.add(Severity::Problem, at, what, remedy);
    }

    /// Drift where the mapping needs it, else a note.
    fn told(&mut self, needed: bool, at: &str, what: String) {
        match needed {
            true => self.drift(at, what, EXPORT),
            false => self.add(Severity::Note, at, what, ""),
        }
    }
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "none".into(),
        names => format!("({})", names.join(", ")),
    }
}

/// The table against its contract. `now`: the contract as the source alone would give it.
pub fn against_database(contract: &Contract, now: &Contract) -> Vec<Finding> {
    let mut findings = Findings {
        table: &contract.title,
        list: Vec::new(),
    };
    let (then, terms) = (&contract.terms, &now.terms);
    if then.primary_key != terms.primary_key {
        findings.drift(
            "key",
            format!(
                "the primary key was {} and is {} now",
                listed(&then.primary_key),
                listed(&terms.primary_key)
            ),
            EXPORT,
        );
    }
    let identity = |t: &super::TableTerms| match t.identity_columns.as_slice() {
        [] => t.replica_identity.clone(),
        columns => format!("{} {}", t.replica_identity, listed(columns)),
    };
    // The default identity is the primary key: that was told.
    let by_key = then.replica_identity == "default" && terms.replica_identity == "default";
    if identity(then) != identity(terms) && !(by_key && then.primary_key != terms.primary_key) {
        findings.drift(
            "key",
            format!(
                "the replica identity was {} and is {} now: old rows may come without the key",
                identity(then),
                identity(terms)
            ),
            EXPORT,
        );
    }
    for (name, then) in &contract.properties {
        column(&mut findings, contract, now, name, then);
    }
    for (name, property) in &now.properties {
        let renamed = contract
            .properties
            .iter()
            .any(|(n, p)| p.terms.attnum == property.terms.attnum && now.column(n).is_none());
        if contract.column(name).is_none() && !renamed {
            let what = format!("a new column, {}", property.terms.sql);
            findings.told(false, &format!("columns.{name}"), what);
        }
    }
    findings.list
}

fn column(
    findings: &mut Findings<'_>,
    contract: &Contract,
    now: &Contract,
    name: &str,
    then: &Property,
) {
    let at = format!("columns.{name}");
    let needed = then.terms.needed;
    let fills = match (&then.terms.field, needed) {
        (Some(field), true) => format!(": {}.{field} is filled from it", contract.terms.object),
        _ => String::new(),
    };
    let Some(is) = now.column(name) else {
        let heir = now.properties.iter().find(|(other, p)| {
            p.terms.attnum == then.terms.attnum && contract.column(other).is_none()
        });
        let what = match heir {
            Some((heir, _)) => format!("the column is called {heir} now{fills}"),
            None => {
                format!("the column is gone, or the publication does not send it any more{fills}")
            }
        };
        findings.told(needed, &at, what);
        return;
    };
    retyped(findings, contract, &at, then, is);
    let (was_null, is_null) = (nullable(contract, name), nullable(now, name));
    match (was_null, is_null) {
        (false, true) => findings.told(
            needed,
            &at,
            "the column may be NULL now, which the contract rules out: such rows break it".into(),
        ),
        (true, false) => findings.told(false, &at, "the column is NOT NULL now".into()),
        _ => {}
    }
    labels(findings, contract, &at, then, is);
}

fn nullable(contract: &Contract, name: &str) -> bool {
    !contract.required.iter().any(|r| r == name)
}

fn retyped(
    findings: &mut Findings<'_>,
    contract: &Contract,
    at: &str,
    then: &Property,
    is: &Property,
) {
    if then.terms.sql == is.terms.sql {
        return;
    }
    let change = format!(
        "the type was {} and is {} now",
        then.terms.sql, is.terms.sql
    );
    if within(then, is) {
        findings.told(false, at, format!("{change}, which is narrower"));
        return;
    }
    let limit = then.terms.crm.as_ref().map_or(0, |f| f.length);
    let longest = is.max_length.unwrap_or(usize::MAX);
    let room = usize::try_from(limit).unwrap_or(usize::MAX);
    let text = then.types.first().is_some_and(|t| t == "string");
    let field = then.terms.field.as_deref().unwrap_or_default();
    let object = &contract.terms.object;
    let what = match text && limit > 0 && then.terms.needed {
        true if longest > room => {
            format!(
                "{change}: {object}.{field} takes {limit} characters, and longer rows become dead letters"
            )
        }
        true => format!(
            "{change}: rows beyond the old type break the contract, though {object}.{field} takes {limit} characters"
        ),
        false => format!("{change}: rows beyond the old type break the contract"),
    };
    findings.told(then.terms.needed, at, what);
}

/// Whether every value of the one type is a value of the other, and read in the same way.
fn within(then: &Property, is: &Property) -> bool {
    let bare = |p: &Property| -> Vec<String> {
        let named = p.types.iter().filter(|t| *t != "null");
        named.cloned().collect()
    };
    let same = bare(then) == bare(is)
        && !is.types.is_empty()
        && (&then.format, &then.pattern) == (&is.format, &is.pattern)
        && then.labels.is_some() == is.labels.is_some();
    let number = |n: &Option<serde_json::Number>| n.as_ref().and_then(serde_json::Number::as_i128);
    let longest = |p: &Property| p.max_length.unwrap_or(usize::MAX);
    let digits = |p: &Property| match (p.terms.precision, p.terms.scale) {
        (Some(precision), Some(scale)) => (precision - scale, scale),
        _ => (i32::MAX, i32::MAX),
    };
    let whole = bare(then) == ["integer"];
    same && longest(is) <= longest(then)
        && (!whole
            || number(&is.minimum) >= number(&then.minimum)
                && number(&is.maximum) <= number(&then.maximum))
        && digits(is).0 <= digits(then).0
        && digits(is).1 <= digits(then).1
        // Same shape, other name: a domain, another kind of text. Its labels are compared apart.
        && (then.max_length.is_some() || whole || then.terms.precision.is_some() || then.labels.is_some())
}

fn labels(
    findings: &mut Findings<'_>,
    contract: &Contract,
    at: &str,
    then: &Property,
    is: &Property,
) {
    let (Some(was), Some(now)) = (&then.labels, &is.labels) else {
        return;
    };
    for label in now.iter().flatten() {
        if !was.iter().flatten().any(|l| l == label) {
            let known = format!(
                "the enumeration has a new value, {label:?}, which the contract does not list"
            );
            let what = match &then.terms.field {
                Some(field) if then.terms.needed => format!(
                    "{known}: see that {}.{field} takes it",
                    contract.terms.object
                ),
                _ => known,
            };
            findings.told(then.terms.needed, at, what);
        }
    }
    for label in was.iter().flatten() {
        if !now.iter().flatten().any(|l| l == label) {
            let what = format!("the enumeration no longer has the value {label:?}");
            findings.told(false, at, what);
        }
    }
}

/// The mapping against the contract: what the one needs, the other has to guard. `now`: the contract
/// as it would be exported.
pub fn against_mapping(
    contract: &Contract,
    now: &Contract,
    mapping: &TableMapping,
) -> Vec<Finding> {
    let mut findings = Findings {
        table: &contract.title,
        list: Vec::new(),
    };
    let (then, is) = (&contract.terms, &now.terms);
    let anew = "`syncline contract export`, and have it reviewed";
    if (&then.object, &then.key) != (&is.object, &is.key) {
        findings.drift(
            "key",
            format!(
                "the contract is about {} by {} from {}; the mapping writes {} by {} from {}",
                then.object,
                then.key.field,
                listed(&then.key.columns),
                is.object,
                is.key.field,
                listed(&is.key.columns)
            ),
            anew,
        );
    }
    for (name, property) in &now.properties {
        let at = format!("columns.{name}");
        let automatic = match mapping.columns.get(name.as_str()) {
            Some(ColumnMapping::Field(rule)) => rule.automatic,
            _ => false,
        };
        match contract.column(name) {
            Some(was) if was.terms.needed => {
                if property.terms.needed && property.terms.field != was.terms.field {
                    let field = |p: &Property| p.terms.field.clone().unwrap_or_default();
                    findings.drift(
                        &at,
                        format!(
                            "the contract says that it fills {}, the mapping that it fills {}",
                            field(was),
                            field(property)
                        ),
                        anew,
                    );
                } else if !property.terms.needed {
                    findings.told(false, &at, "the mapping does not need it any more".into());
                }
            }
            // What the naming rule picked up by itself nobody relies on yet.
            _ if property.terms.needed && automatic => findings.told(
                false,
                &at,
                format!(
                    "it fills {} by the naming rule, and the contract does not guard it",
                    property.terms.field.as_deref().unwrap_or_default()
                ),
            ),
            _ if property.terms.needed => findings.drift(
                &at,
                "the mapping needs the column, and the contract does not guard it".into(),
                anew,
            ),
            _ => {}
        }
        if let Some(ColumnMapping::Field(rule)) = mapping.columns.get(name.as_str()) {
            unlisted(&mut findings, &at, property, rule);
        }
    }
    findings.list
}

/// Labels for which a restricted list has no value.
fn unlisted(
    findings: &mut Findings<'_>,
    at: &str,
    property: &Property,
    rule: &crate::mapping::FieldRule,
) {
    let (Some(labels), true) = (&property.labels, rule.field.restricted) else {
        return;
    };
    let values = rule.normal.as_ref().and_then(|n| n.values.as_ref());
    let missing: Vec<String> = labels
        .iter()
        .flatten()
        .filter(|label| {
            let written = values.and_then(|v| v.known.get(label.as_str()));
            let written = written.or_else(|| values.and_then(|v| v.otherwise.as_ref()));
            match written {
                // What the map writes was checked against the list.
                Some(written) => *written == Written::Reject,
                None => !rule.field.picklist.iter().any(|v| **v == ***label),
            }
        })
        .map(|label| format!("{label:?}"))
        .collect();
    if !missing.is_empty() {
        findings.drift(
            at,
            format!(
                "rows with {} become dead letters: the list of {} has no such value",
                missing.join(", "),
                rule.field.name
            ),
            "add it to the list in the CRM, or say what stands for it: values = { … }",
        );
    }
}

/// The CRM against the contract. `object`: as it is described now; none: it is gone.
pub fn against_crm(contract: &Contract, object: Option<&ObjectDescription>) -> Vec<Finding> {
    let mut findings = Findings {
        table: &contract.title,
        list: Vec::new(),
    };
    let name = &contract.terms.object;
    let Some(object) = object else {
        findings.drift(
            "object",
            format!("the CRM has no object {name} any more, or our user cannot see it"),
            "bring it back, or give our user the right to read and edit it",
        );
        return findings.list;
    };
    for (column, property) in &contract.properties {
        let Some(field) = &property.terms.field else {
            continue;
        };
        if property.terms.key {
            continue;
        }
        let at = format!("columns.{column}");
        match object.field(field) {
            None => findings.drift(
                &at,
                format!("{name}.{field} is gone, or our user cannot see it any more"),
                "bring the field back, or give our user the right to read and edit it",
            ),
            Some(found) => self::field(&mut findings, &at, contract, column, property, found),
        }
    }
    if object.field(&contract.terms.key.field).is_none() {
        let field = &contract.terms.key.field;
        findings.drift(
            "key.field",
            format!("{name}.{field}, the external id, is gone, or our user cannot see it any more"),
            "bring the field back, or give our user the right to read and edit it",
        );
    }
    findings.list
}

fn field(
    findings: &mut Findings<'_>,
    at: &str,
    contract: &Contract,
    column: &str,
    property: &Property,
    found: &FieldDescription,
) {
    let label = format!("{}.{}", contract.terms.object, found.name);
    if !found.createable || !found.updateable {
        findings.drift(
            at,
            format!("{label} cannot be written by our user any more"),
            "give our user edit access to the field",
        );
    }
    let Some(then) = &property.terms.crm else {
        return;
    };
    let now = field_terms(found);
    if then.kind != now.kind {
        findings.drift(
            at,
            format!(
                "{label} was a field of the kind {} and is {} now",
                then.kind, now.kind
            ),
            EXPORT,
        );
        return;
    }
    let longest = property.max_length.unwrap_or(usize::MAX);
    let room = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    if now.length < then.length {
        // Shorter than it was, and than the column can be.
        findings.told(
            now.length > 0 && longest > room(now.length),
            at,
            format!(
                "{label} took {} characters and takes {} now",
                then.length, now.length
            ),
        );
    }
    if now.precision < then.precision || now.scale < then.scale {
        findings.drift(
            at,
            format!(
                "{label} had {} digits, {} of them right of the point, and has {} and {} now",
                then.precision, then.scale, now.precision, now.scale
            ),
            EXPORT,
        );
    }
    if now.required && !then.required {
        findings.told(
            nullable(contract, column),
            at,
            format!("{label} takes no null any more, and the column may be NULL"),
        );
    }
    if now.restricted && !then.restricted && property.labels.is_none() {
        findings.drift(
            at,
            format!("{label} takes the values of its list only, which it did not"),
            EXPORT,
        );
    }
}
