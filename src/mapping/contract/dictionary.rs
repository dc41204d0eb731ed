//! The data dictionary: what every field of the CRM means, as Markdown.

use std::fmt::Write as _;

use super::Contract;
use super::build::kind;
use crate::capture::{CatalogTable, TableNotes};
use crate::config::{OnTruncate, Trim};
use crate::mapping::{
    Assigned, Assignment, ColumnMapping, FieldRule, FieldValue, Mapping, Normal, NullAction, Part,
    Removal, Stamp, StampSource, TableMapping, Target, Written,
};

/// Text for every configured table, in the order of their names. `sources`: each table as the catalog
/// has it, what is said of it, and its contract as it is now.
pub fn dictionary(
    mapping: &Mapping,
    sources: &[(&CatalogTable, &TableNotes, &Contract)],
) -> String {
    let mut out = String::from(
        "# Data dictionary\n\nWhere every field that Syncline writes comes from. Written by \
         `syncline contract export --dictionary`; do not edit.\n",
    );
    for (table, notes, contract) in sources {
        if let Some(rules) = mapping.by_name(&contract.title) {
            one(&mut out, rules, table, notes, contract);
        }
    }
    out
}

/// Text for a cell of a table: on one line, and not ending it.
fn cell(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('|', "\\|")
        .replace(['\n', '\r'], " ")
}

// Writing to a String cannot fail; the results below are dropped for that reason.

fn one(
    out: &mut String,
    rules: &TableMapping,
    table: &CatalogTable,
    notes: &TableNotes,
    contract: &Contract,
) {
    let target = &rules.target;
    let _ = writeln!(out, "\n## {} from `{}`\n", target.object, contract.title);
    if let Some(comment) = &notes.comment {
        let _ = writeln!(out, "{}\n", comment.trim());
    }
    let _ = writeln!(
        out,
        "- **Key:** `{}` is made from {}{}.",
        target.key_field,
        ticked(rules.key.columns.iter().map(|c| &**c)),
        match rules.key.columns.len() {
            1 => String::new(),
            _ => format!(", joined by `{}`", rules.key.separator),
        }
    );
    let _ = writeln!(out, "- **A deleted row:** {}.", removal(target));
    let _ = writeln!(
        out,
        "- **A truncate:** {}.",
        match rules.on_truncate {
            OnTruncate::Halt => "stops delivery until a person has decided",
            OnTruncate::DeleteAll => "does to every record what a deleted row does to its own",
            OnTruncate::Ignore => "is counted and changes nothing",
        }
    );
    out.push_str(
        "\n| Field | Field type | Source column | Column type | Constraints | Owner | NULL | Values | What it is |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for column in &table.columns {
        let key = rules.key.columns.contains(&column.name);
        let rule = match rules.columns.get(&column.name) {
            Some(ColumnMapping::Field(rule)) => Some(rule),
            _ => None,
        };
        if rule.is_none() && !key {
            continue;
        }
        let said = notes.columns.get(&column.attnum);
        let mut constraints: Vec<String> = Vec::new();
        if column.not_null {
            constraints.push("NOT NULL".into());
        }
        let about = notes
            .constraints
            .iter()
            .filter(|c| c.columns.contains(&column.attnum));
        constraints.extend(about.map(|c| c.definition.to_string()));
        let comment = said.and_then(|s| s.comment.as_deref()).unwrap_or_default();
        let mut row = |field: &str, kind: &str, null: &str, values: &str| {
            let cells = [
                &format!("`{field}`"),
                kind,
                &format!("`{}`", column.name),
                &column.type_name,
                &constraints.join("; "),
                "source",
                null,
                values,
                comment,
            ];
            let _ = writeln!(out, "| {} |", cells.map(cell).join(" | "));
        };
        if key {
            let null = "the row becomes a dead letter";
            row(&target.key_field, "external id", null, "as they are");
        }
        if let Some(rule) = rule {
            let labels = said.map(|s| s.labels.as_slice()).unwrap_or_default();
            let kind = field_kind(target, rule);
            row(&rule.field.name, &kind, &null(rule), &values(rule, labels));
        }
    }
    for constant in &rules.constants {
        let (field, value) = assigned(target, constant);
        let _ = writeln!(
            out,
            "| `{field}` | | constant | | | source | | always {} | |",
            cell(&value)
        );
    }
    left_out(out, rules, table);
}

fn left_out(out: &mut String, rules: &TableMapping, table: &CatalogTable) {
    let mut lines: Vec<String> = Vec::new();
    for column in &table.columns {
        if rules.columns.get(&column.name) == Some(&ColumnMapping::Ignored) {
            lines.push(format!("- `{}`: left out on purpose", column.name));
        }
    }
    let unmapped = rules.unmapped.iter();
    lines.extend(unmapped.map(|u| format!("- `{}`: {}", u.column, u.why)));
    if !lines.is_empty() {
        let _ = writeln!(out, "\nColumns that go nowhere:\n\n{}", lines.join("\n"));
    }
}

fn ticked<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names
        .map(|n| format!("`{n}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn removal(target: &Target) -> String {
    match &target.removal {
        Removal::Ignore => "is counted, and its record stays".into(),
        Removal::Delete { hard: false } => "moves its record to the recycle bin".into(),
        Removal::Delete { hard: true } => "deletes its record for good".into(),
        Removal::Archive { set, restore } => {
            let set: Vec<String> = set.iter().map(|s| stamped(target, s)).collect();
            let mut text = format!("keeps its record and sets {}", set.join(", "));
            let back: Vec<String> = restore
                .iter()
                .map(|f| {
                    let (field, value) = assigned(target, f);
                    format!("`{field}` to {value}")
                })
                .collect();
            if !back.is_empty() {
                let _ = write!(text, "; a row that comes back sets {}", back.join(", "));
            }
            text
        }
    }
}

fn stamped(target: &Target, stamp: &Stamp) -> String {
    let constant = |assignment: &Assignment| {
        let one = Assigned {
            slot: stamp.slot,
            assignment: assignment.clone(),
        };
        let (field, value) = assigned(target, &one);
        format!("`{field}` to {value}")
    };
    match &stamp.source {
        StampSource::Constant(assignment) => constant(assignment),
        StampSource::Made { field, parts } => {
            let parts: Vec<String> = parts
                .iter()
                .map(|part| match part {
                    Part::Text(text) => format!("`{text}`"),
                    Part::CommitTime => "the commit time".into(),
                    Part::Lsn => "the commit's LSN".into(),
                    Part::Position => "the delete's position".into(),
                    Part::Old(column) => format!("the old row's `{column}`"),
                })
                .collect();
            format!("`{}` to {}", field.name, parts.join(" + "))
        }
    }
}

fn assigned<'t>(target: &'t Target, assigned: &Assigned) -> (&'t str, String) {
    let field = target.fields.get(usize::from(assigned.slot));
    let value = match &assigned.assignment {
        Assignment::Clear => "nothing".into(),
        Assignment::Set(value) => shown(value),
    };
    (field.map_or("", |f| &f.name), value)
}

fn shown(value: &FieldValue) -> String {
    match value {
        FieldValue::Bool(b) => format!("`{b}`"),
        FieldValue::Number(s) | FieldValue::Text(s) | FieldValue::Reference(s) => format!("`{s}`"),
    }
}

fn field_kind(target: &Target, rule: &FieldRule) -> String {
    let field = &rule.field;
    let reference = target
        .fields
        .get(usize::from(rule.slot))
        .and_then(|f| f.reference.as_ref());
    let mut text = match reference {
        Some(to) => format!(
            "{} to {} by {}",
            kind(&field.kind),
            to.object_name,
            to.key_field
        ),
        None => kind(&field.kind).to_owned(),
    };
    match (field.length, field.precision) {
        (0, 0) => {}
        (0, precision) => {
            let _ = write!(text, " ({precision}, {})", field.scale);
        }
        _ if reference.is_some() => {}
        (length, _) => {
            let _ = write!(text, " ({length})");
        }
    }
    if rule.automatic {
        text.push_str(", by the naming rule");
    }
    text
}

fn null(rule: &FieldRule) -> String {
    match &rule.null {
        NullAction::Clear => "empties the field".into(),
        NullAction::Skip => "leaves the field as it is".into(),
        NullAction::Write(value) => format!("writes {}", shown(value)),
        NullAction::Refuse => "the row becomes a dead letter".into(),
    }
}

/// What the values are, and what is done to them.
fn values(rule: &FieldRule, labels: &[Box<str>]) -> String {
    let mut parts: Vec<String> = Vec::new();
    if let Some(normal) = &rule.normal {
        uniform(normal, &mut parts);
    }
    let mapped = rule.normal.as_ref().is_some_and(|n| n.values.is_some());
    if !mapped && !labels.is_empty() {
        parts.push(format!("one of {}", ticked(labels.iter().map(|l| &**l))));
    }
    if parts.is_empty() && rule.parent.is_some() {
        parts.push("as they are".into());
    }
    parts.join("; ")
}

fn uniform(normal: &Normal, parts: &mut Vec<String>) {
    let written = |written: &Written| match written {
        Written::Value(value) => shown(value),
        Written::Empty => "nothing".into(),
        Written::Null => "NULL".into(),
        Written::Reject => "a dead letter".into(),
    };
    for (said, words) in [
        (normal.drop_controls, "without control characters"),
        (normal.nfc, "Unicode NFC"),
        (normal.trim == Trim::None, "not trimmed by us"),
        (
            normal.trim == Trim::Collapse,
            "runs of white space are one blank",
        ),
        (normal.keep_empty, "an empty text empties the field"),
    ] {
        if said {
            parts.push(words.into());
        }
    }
    if let Some(values) = &normal.values {
        let known = values.known.iter();
        parts.extend(known.map(|(from, to)| format!("`{from}` is {}", written(to))));
        parts.push(match &values.otherwise {
            None => "others stay".into(),
            Some(otherwise) => format!("others are {}", written(otherwise)),
        });
    }
    if let Some(zone) = &normal.zone {
        parts.push(format!("times are those of {}", zone.name));
    }
}
