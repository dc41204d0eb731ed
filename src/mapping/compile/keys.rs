//! Whether the key names each row, and whether the CRM keeps it as it is.

use super::{Compiler, near, place};
use crate::capture::{CatalogColumn, CatalogTable};
use crate::change::ReplicaIdentity;
use crate::config;
use crate::mapping::key::{KeyRule, can_be_key, has_case};
use crate::mapping::{FieldDescription, FieldKind, ObjectDescription};
use crate::value::ValueType;

impl<'a> Compiler<'a> {
    /// The column of that name, or a finding.
    pub(super) fn column(
        &mut self,
        table: &str,
        source: &'a CatalogTable,
        column: &str,
        at: &str,
    ) -> Option<&'a CatalogColumn> {
        let found = source.columns.iter().find(|c| *c.name == *column);
        if found.is_none() {
            let near = near(column, source.columns.iter().map(|c| &*c.name));
            self.problem(
                place(table, at),
                format!(
                    "{table} has no column {column}, or the publication does not send it{near}"
                ),
                "correct the name, or add the column to the publication's column list",
            );
        }
        found
    }

    /// The rule, and the types of its columns.
    pub(super) fn key(
        &mut self,
        name: &str,
        table: &config::Table,
        source: &'a CatalogTable,
        object: Option<&'a ObjectDescription>,
    ) -> Option<(KeyRule, Vec<ValueType>)> {
        let at = || place(name, "key.column");
        let names = table.key.column.names();
        if names.is_empty() {
            self.problem(
                at(),
                "the key names no column",
                "key = { column = \"id\", … }",
            );
            return None;
        }
        let mut types = Vec::new();
        for (index, column) in names.iter().enumerate() {
            if names.iter().take(index).any(|earlier| earlier == column) {
                self.problem(
                    at(),
                    format!("the key names {column} twice"),
                    "name it once",
                );
            }
            let Some(found) = self.column(name, source, column, "key.column") else {
                continue;
            };
            let value_type = (self.types)(found.type_oid, found.typmod);
            if !can_be_key(&value_type) {
                self.problem(
                    at(),
                    format!(
                        "{column} is {}: its values have no text that is short and the same for equal values",
                        found.type_name
                    ),
                    "use a column of a whole number, uuid or text type",
                );
            }
            types.push(value_type);
        }
        if types.len() == names.len() {
            self.identity(name, source, names);
        }
        self.separator(name, &table.key);
        let field = match object {
            None => None,
            Some(object) => Some(self.key_field(name, table, source, object, &types)?),
        };
        let rule = KeyRule {
            columns: names.iter().map(|n| n.as_str().into()).collect(),
            separator: table.key.separator.as_str().into(),
            field: field.map_or(table.key.field.as_str().into(), |f| f.name.clone()),
            length: field.map_or(0, |f| f.length),
        };
        (types.len() == names.len()).then_some((rule, types))
    }

    /// Old rows have to carry the key, and no two rows may share one.
    fn identity(&mut self, name: &str, source: &CatalogTable, key: &[String]) {
        let at = || place(name, "key.column");
        let holds = |columns: &[Box<str>]| key.iter().all(|k| columns.iter().any(|c| **c == **k));
        let full = format!("ALTER TABLE {name} REPLICA IDENTITY FULL;");
        match source.identity {
            ReplicaIdentity::Nothing => {
                self.problem(
                    at(),
                    format!("{name} has REPLICA IDENTITY NOTHING: Postgres refuses its updates and deletes"),
                    format!("ALTER TABLE {name} REPLICA IDENTITY DEFAULT;"),
                );
                return;
            }
            ReplicaIdentity::Default if source.primary_key.is_empty() => {
                self.problem(
                    at(),
                    format!("{name} has no primary key: Postgres refuses its updates and deletes"),
                    format!("ALTER TABLE {name} ADD PRIMARY KEY ({});", key.join(", ")),
                );
                return;
            }
            ReplicaIdentity::Default | ReplicaIdentity::Index
                if !holds(&source.identity_columns) =>
            {
                self.problem(
                    at(),
                    format!(
                        "deletes and changed keys come with {} only, not with {}: records could not be found",
                        source.identity_columns.join(", "),
                        key.join(", ")
                    ),
                    format!("{full} -- or make the key the replica identity"),
                );
                return;
            }
            _ => {}
        }
        // Unique: the key holds all of a primary key or of an identity index.
        let covers = |columns: &[Box<str>]| {
            !columns.is_empty() && columns.iter().all(|c| key.iter().any(|k| **k == **c))
        };
        let by_index =
            source.identity == ReplicaIdentity::Index && covers(&source.identity_columns);
        if !covers(&source.primary_key) && !by_index {
            self.warning(
                at(),
                format!(
                    "nothing we can see keeps two rows of {name} from having the same {}: they would be one record",
                    key.join(", ")
                ),
                "use the primary key, or make sure that a unique index covers the key",
            );
        }
        let nullable =
            |column: &&CatalogColumn| !column.not_null && key.iter().any(|k| **k == *column.name);
        if let Some(column) = source.columns.iter().find(nullable) {
            self.warning(
                at(),
                format!("{} may be NULL; such rows become dead letters", column.name),
                format!(
                    "ALTER TABLE {name} ALTER COLUMN {} SET NOT NULL;",
                    column.name
                ),
            );
        }
    }

    fn separator(&mut self, name: &str, key: &config::Key) {
        let plain = |s: &str| {
            (1..=8).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
        };
        if key.column.names().len() > 1 && !plain(&key.separator) {
            self.problem(
                place(name, "key.separator"),
                "a separator is one to eight visible ASCII characters, none of them a backslash",
                "separator = \":\"",
            );
        }
    }

    /// The external-id field has to be one by which the CRM finds exactly one record.
    fn key_field(
        &mut self,
        name: &str,
        table: &config::Table,
        source: &CatalogTable,
        object: &'a ObjectDescription,
        types: &[ValueType],
    ) -> Option<&'a FieldDescription> {
        let at = || place(name, "key.field");
        let Some(field) = object.field(&table.key.field) else {
            let near = near(&table.key.field, object.fields.iter().map(|f| &*f.name));
            self.problem(
                at(),
                format!(
                    "{} has no field {}, or our user cannot see it{near}",
                    object.name, table.key.field
                ),
                "create a custom field: Text(255), External ID, Unique, case sensitive; and give our user read and edit access to it",
            );
            return None;
        };
        let label = format!("{}.{}", object.name, field.name);
        if !field.external_id {
            self.problem(
                at(),
                format!("{label} is not an external id: records cannot be upserted by it"),
                "tick External ID (and Unique) in the field's definition",
            );
        } else if !field.unique {
            self.problem(
                at(),
                format!("{label} is not unique: two records could bear one key, and writes would fail or hit either"),
                "tick Unique, case sensitive, in the field's definition",
            );
        } else if field.kind != FieldKind::Text {
            self.problem(
                at(),
                format!(
                    "{label} is not a text field: keys are texts and are compared byte for byte"
                ),
                "use a Text field as the external id",
            );
        } else if !field.case_sensitive && types.iter().any(has_case) {
            self.warning(
                at(),
                format!("{label} takes ABC and abc for the same key, and the key column can hold both: they would be one record"),
                "choose \"Treat ABC and abc as different values\" in the field's definition",
            );
        }
        if !field.createable || !field.updateable {
            self.problem(
                at(),
                format!("our user may not write {label}"),
                "give our user edit access to the field in a permission set",
            );
        }
        // A uuid or a number can outgrow a short field; of text only what the column allows is known.
        let longest: Option<usize> = types
            .iter()
            .zip(table.key.column.names())
            .map(|(value_type, column)| {
                let column = source.columns.iter().find(|c| *c.name == **column)?;
                longest(value_type, column.typmod)
            })
            .sum();
        if let Some(longest) = longest
            && field.length > 0
            && longest > field.length as usize
        {
            self.warning(
                at(),
                format!(
                    "keys can be {longest} characters long, {label} takes {}: rows with longer keys become dead letters",
                    field.length
                ),
                "lengthen the field (up to 255)",
            );
        }
        Some(field)
    }
}

/// The most characters that a value of this type has as text, where that is known.
pub(super) fn longest(value_type: &ValueType, typmod: i32) -> Option<usize> {
    match value_type {
        ValueType::Bool => Some(5),
        ValueType::Int | ValueType::Unsigned => Some(20),
        ValueType::Uuid => Some(36),
        ValueType::Date => Some(13),
        ValueType::Text | ValueType::PaddedText if typmod > 4 => usize::try_from(typmod - 4).ok(),
        _ => None,
    }
}
