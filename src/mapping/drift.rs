//! What has changed in the CRM between two descriptions of an object, as far as it concerns us.
//!
//! A [`Severity::Problem`] is what no row of ours gets past any more; a [`Severity::Warning`] what
//! some rows can fail at, or lose something by; a [`Severity::Note`] what is merely new or has become
//! wider. It tells; what follows for rows is decided by compiling the mapping anew.

use super::{FieldDescription, FieldKind, ObjectDescription};
use crate::fault::{Finding, Severity};

const BACK: &str = "undo the change in the CRM, or map the column to another field; rows wait on the \
                    shelf meanwhile, with their values";
const ROWS: &str =
    "undo the change in the CRM, or correct the rows that become dead letters, and retry them";

/// Findings of what changed from `before` to `after`, in the order of the object's fields. `used`
/// tells by the API name whether a mapping of ours writes the field, or finds records by it; of other
/// fields only those are told that are new, or that a new record now needs.
pub fn crm_changes(
    before: &ObjectDescription,
    after: &ObjectDescription,
    used: &dyn Fn(&str) -> bool,
) -> Vec<Finding> {
    let mut changes = Changes {
        object: &after.name,
        field: None,
        findings: Vec::new(),
    };
    changes.rights(before, after);
    for old in &before.fields {
        changes.field = Some(&old.name);
        match (after.field(&old.name), used(&old.name)) {
            (Some(new), true) => changes.used(old, new),
            (Some(new), false) if is_required(new) && !is_required(old) => changes.needed(),
            (None, true) => changes.problem(
                "is gone, or our user can no longer see it",
                "make the field again, or give our user the rights to it (field-level security); or \
                 map the column to another field; rows wait on the shelf meanwhile, with their values",
            ),
            (Some(_) | None, false) => {}
        }
    }
    for new in &after.fields {
        if before.field(&new.name).is_some() {
            continue;
        }
        changes.field = Some(&new.name);
        if is_required(new) && !used(&new.name) {
            changes.needed();
        } else {
            changes.note(format!("is new ({})", new.label));
        }
    }
    changes.findings
}

struct Changes<'a> {
    object: &'a str,
    field: Option<&'a str>,
    findings: Vec<Finding>,
}

impl<'a> Changes<'a> {
    fn find(&mut self, severity: Severity, what: &str, remedy: &str) {
        let place = match self.field {
            Some(field) => format!("{}.{field}", self.object),
            None => self.object.to_owned(),
        };
        self.findings.push(Finding {
            severity,
            what: format!("{place} {what}"),
            place,
            remedy: remedy.to_owned(),
        });
    }

    fn problem(&mut self, what: impl AsRef<str>, remedy: &str) {
        self.find(Severity::Problem, what.as_ref(), remedy);
    }

    fn warning(&mut self, what: impl AsRef<str>, remedy: &str) {
        self.find(Severity::Warning, what.as_ref(), remedy);
    }

    fn note(&mut self, what: impl AsRef<str>) {
        self.find(Severity::Note, what.as_ref(), "");
    }

    /// What our user may do with the object's records.
    fn rights(&mut self, before: &ObjectDescription, after: &ObjectDescription) {
        for (had, has, what, lost) in [
            (
                before.createable,
                after.createable,
                "create",
                Severity::Problem,
            ),
            (
                before.updateable,
                after.updateable,
                "change",
                Severity::Problem,
            ),
            (
                before.deletable,
                after.deletable,
                "delete",
                Severity::Warning,
            ),
        ] {
            match (had, has) {
                (true, false) => self.find(
                    lost,
                    &format!("has records that our user may no longer {what}"),
                    &format!(
                        "give the user the right to {what} {} in a permission set",
                        self.object
                    ),
                ),
                (false, true) => {
                    self.note(format!("has records that our user may {what} from now on"));
                }
                _ => {}
            }
        }
    }

    /// A field that nothing of ours fills, and without which there is no new record.
    fn needed(&mut self) {
        let field = self.field.unwrap_or_default().to_owned();
        self.problem(
            "has become required, and nothing fills it: no new record can be created",
            &format!(
                "map a column to {field}, or give it a value: constants.{field} = …; or make it \
                 optional again"
            ),
        );
    }

    fn used(&mut self, old: &'a FieldDescription, new: &'a FieldDescription) {
        self.writable(old, new);
        if old.kind == new.kind {
            self.size(old, new);
        } else {
            self.kind(old, new);
        }
        self.references(old, new);
        self.key(old, new);
        if is_required(new) && !is_required(old) {
            self.warning(
                "has become required: rows without a value for it become dead letters",
                ROWS,
            );
        }
        self.list(old, new);
    }

    fn writable(&mut self, old: &FieldDescription, new: &FieldDescription) {
        let lost = |had: bool, has: bool| had && !has;
        let remedy = "give our user edit access to the field (field-level security), unless it has \
                      become a formula; rows wait on the shelf meanwhile, with their values";
        match (
            lost(old.createable, new.createable),
            lost(old.updateable, new.updateable),
        ) {
            (true, true) => self.problem("has become read-only for our user", remedy),
            (true, false) => self.problem("can no longer be written in a new record", remedy),
            (false, true) => self.problem("can no longer be changed in a record", remedy),
            (false, false) => {
                if lost(new.createable, old.createable) || lost(new.updateable, old.updateable) {
                    self.note("can be written by our user from now on");
                }
            }
        }
    }

    /// Of fields that are of one kind still.
    fn size(&mut self, old: &FieldDescription, new: &FieldDescription) {
        match (old.length, new.length) {
            // Zero: it does not apply.
            (0, _) | (_, 0) => {}
            (was, is) if is < was => self.warning(
                format!(
                    "has become shorter, {is} characters instead of {was}: rows with longer values \
                     become dead letters, nothing is cut"
                ),
                ROWS,
            ),
            (was, is) if is > was => {
                self.note(format!(
                    "has become longer, {is} characters instead of {was}"
                ));
            }
            _ => {}
        }
        if !matches!(old.kind, FieldKind::Int | FieldKind::Decimal) || new.precision == 0 {
            return;
        }
        let (was, is) = (left(old), left(new));
        if is < was {
            self.warning(
                format!(
                    "has become smaller, {is} digits left of the point instead of {was}: rows with \
                     larger values become dead letters"
                ),
                ROWS,
            );
        }
        if new.scale < old.scale {
            self.warning(
                format!(
                    "keeps {} digits right of the point instead of {}: the rest is rounded away",
                    new.scale, old.scale
                ),
                "give the field its decimal places back, if they matter",
            );
        }
        if (is > was && new.scale >= old.scale) || (is >= was && new.scale > old.scale) {
            self.note("has become larger");
        }
    }

    fn kind(&mut self, old: &FieldDescription, new: &FieldDescription) {
        let change = format!("was {} and is now {}", words(&old.kind), words(&new.kind));
        let length = |f: &FieldDescription| if f.length == 0 { u32::MAX } else { f.length };
        match (&old.kind, &new.kind) {
            (FieldKind::Text, FieldKind::LongText)
            | (
                FieldKind::Email | FieldKind::Phone | FieldKind::Url | FieldKind::Picklist,
                FieldKind::Text | FieldKind::LongText,
            ) if length(new) >= length(old) => self.note(change),
            (FieldKind::Int, FieldKind::Decimal) if left(new) >= left(old) => self.note(change),
            (a, b) if (is_text(a) && is_text(b)) || (is_number(a) && is_number(b)) => self.warning(
                format!("{change}: rows whose values it cannot take become dead letters"),
                ROWS,
            ),
            _ => self.problem(
                format!("{change}: the mapped column may no longer fit"),
                BACK,
            ),
        }
    }

    fn references(&mut self, old: &FieldDescription, new: &FieldDescription) {
        if new.kind != FieldKind::Reference || old.kind != FieldKind::Reference {
            return;
        }
        let still = |object: &Box<str>| {
            let mut objects = new.reference_to.iter();
            objects.any(|o| o.eq_ignore_ascii_case(object))
        };
        if let Some(gone) = old.reference_to.iter().find(|object| !still(object)) {
            self.problem(format!("no longer refers to {gone}"), BACK);
        } else if old.relationship != new.relationship {
            self.warning(
                "names its parent otherwise than before: a configuration that names the lookup so no \
                 longer finds it",
                "name the lookup in the configuration by its field, not by its relationship",
            );
        }
    }

    /// What keys are made of. Only a field that was an external id can have been one.
    fn key(&mut self, old: &FieldDescription, new: &FieldDescription) {
        if old.external_id && !new.external_id {
            self.problem(
                "is no longer an external id: records cannot be upserted by it",
                "mark the field as External ID again",
            );
        }
        if old.external_id && old.unique && !new.unique {
            self.warning(
                "is no longer unique: two records could bear one key, and writes would fail or hit \
                 either",
                "mark the field as Unique again",
            );
        }
        if old.external_id && old.case_sensitive && !new.case_sensitive && new.unique {
            self.warning(
                "no longer tells ABC from abc: rows whose keys differ by case alone are refused",
                "make the field case-sensitive again",
            );
        }
        if new.unique && !old.unique {
            self.warning(
                "has become unique: rows that share a value become dead letters",
                ROWS,
            );
        }
    }

    fn list(&mut self, old: &FieldDescription, new: &FieldDescription) {
        let listed =
            |f: &FieldDescription| matches!(f.kind, FieldKind::Picklist | FieldKind::MultiPicklist);
        if !listed(new) || !new.restricted {
            return;
        }
        if !(old.restricted && listed(old)) {
            self.warning(
                format!(
                    "has become restricted to the {} values of its list: rows with another become \
                     dead letters",
                    new.picklist.len()
                ),
                "add the missing values to its list, or lift the restriction",
            );
            return;
        }
        let gone = old
            .picklist
            .iter()
            .filter(|v| !new.picklist.contains(v))
            .count();
        if gone > 0 {
            self.warning(
                format!(
                    "has lost {gone} of the {} values of its list: rows with them become dead letters",
                    old.picklist.len()
                ),
                "activate the values again, or map them to others",
            );
        }
        if new.picklist.iter().any(|v| !old.picklist.contains(v)) {
            self.note("has new values in its list");
        }
    }
}

/// A record cannot be created without a value for it.
fn is_required(field: &FieldDescription) -> bool {
    field.createable
        && !field.nillable
        && !field.defaulted_on_create
        && field.kind != FieldKind::Boolean
}

/// Digits left of the point.
fn left(field: &FieldDescription) -> u32 {
    match field.kind {
        FieldKind::Int => field.precision,
        _ => field.precision.saturating_sub(field.scale),
    }
}

fn is_text(kind: &FieldKind) -> bool {
    matches!(
        kind,
        FieldKind::Text
            | FieldKind::LongText
            | FieldKind::Email
            | FieldKind::Phone
            | FieldKind::Url
            | FieldKind::Picklist
    )
}

fn is_number(kind: &FieldKind) -> bool {
    matches!(kind, FieldKind::Int | FieldKind::Decimal)
}

fn words(kind: &FieldKind) -> &str {
    match kind {
        FieldKind::Id => "an id",
        FieldKind::Reference => "a lookup",
        FieldKind::Text => "a text",
        FieldKind::LongText => "a long text",
        FieldKind::Email => "an e-mail address",
        FieldKind::Phone => "a telephone number",
        FieldKind::Url => "a web address",
        FieldKind::Picklist => "a list",
        FieldKind::MultiPicklist => "a list of several values",
        FieldKind::Boolean => "a checkbox",
        FieldKind::Int => "a whole number",
        FieldKind::Decimal => "a number",
        FieldKind::Date => "a date",
        FieldKind::DateTime => "a date and time",
        FieldKind::Time => "a time of day",
        FieldKind::Other(name) => name,
    }
}

#[cfg(test)]
mod tests;
