//! Whether the key names each row, and whether the CRM keeps it as it is.

use super::history::{Found, History};
use super::outbox::POSITION;
use super::{Compiler, near, place};
use crate::capture::{CatalogColumn, CatalogTable};
use crate::change::ReplicaIdentity;
use crate::config;
use crate::mapping::key::{KeyRule, can_be_key, has_case};
use crate::mapping::{FieldDescription, FieldKind, ObjectDescription};
use crate::value::ValueType;

/// How a table's rows are named.
pub(super) struct Keys {
    pub(super) rule: KeyRule,
    /// Types of its columns.
    pub(super) types: Vec<ValueType>,
    /// Attribute numbers of its columns; 0 for one that is gone.
    pub(super) numbers: Vec<i16>,
}

impl<'a> Compiler<'a> {
    /// There never was a column of that name.
    pub(super) fn no_column(&mut self, table: &str, source: &CatalogTable, column: &str, at: &str) {
        let near = near(column, source.columns.iter().map(|c| &*c.name));
        self.problem(
            place(table, at),
            format!("{table} has no column {column}, or the publication does not send it{near}"),
            "correct the name, or add the column to the publication's column list",
        );
    }

    /// The rule, and the types of its columns.
    pub(super) fn key(
        &mut self,
        name: &'a str,
        table: &'a config::Table,
        source: &'a CatalogTable,
        history: &History<'a>,
        object: Option<&'a ObjectDescription>,
    ) -> Option<Keys> {
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
        let field = table.key.field.as_str();
        let mut columns: Vec<&'a CatalogColumn> = Vec::new();
        let mut types = Vec::new();
        let mut numbers = Vec::new();
        for (index, column) in names.iter().enumerate() {
            if names.iter().take(index).any(|earlier| earlier == column) {
                self.problem(
                    at(),
                    format!("the key names {column} twice"),
                    "name it once",
                );
            }
            let (found, number) = match history.find(source, column) {
                Found::Here(found) => (found, found.attnum),
                Found::Renamed(found) => {
                    self.renamed(
                        name,
                        at(),
                        format!("the key column {column} is called {} now", found.name),
                        format!("name it {:?} in the key", found.name),
                    );
                    (found, found.attnum)
                }
                Found::Dropped { was, .. } => {
                    self.halt(
                        name,
                        at(),
                        format!(
                            "the table no longer has the key column {column}: its rows cannot be told apart"
                        ),
                        "name the column that identifies a row now; records keep their external ids only if its values are the same",
                        &[field],
                    );
                    (was, 0)
                }
                Found::Never => {
                    self.no_column(name, source, column, "key.column");
                    continue;
                }
            };
            let value_type = (self.types)(found.type_oid, found.typmod);
            if !can_be_key(&value_type) {
                let fitted = history
                    .earlier(found)
                    .any(|then| can_be_key(&(self.types)(then.type_oid, then.typmod)));
                self.wrong(
                    fitted,
                    name,
                    at(),
                    format!(
                        "{column} is {}: its values have no text that is short and the same for equal values",
                        found.type_name
                    ),
                    "use a column of a whole number, uuid or text type",
                    &[field],
                );
            }
            columns.push(found);
            numbers.push(number);
            types.push(value_type);
        }
        if types.len() == names.len() && !numbers.contains(&0) {
            let ran = history.identified(&columns);
            self.identity(name, source, &columns, field, ran);
        }
        self.separator(name, &table.key);
        let field = match object {
            None => None,
            Some(object) => {
                let ran = history.ran() && self.used(&object.name, field);
                match self.key_field(name, table, &columns, object, &types, ran) {
                    None if !ran => return None,
                    field => field,
                }
            }
        };
        let rule = KeyRule {
            columns: columns.iter().map(|c| c.name.clone()).collect(),
            separator: table.key.separator.as_str().into(),
            field: field.map_or(table.key.field.as_str().into(), |f| f.name.clone()),
            length: field.map_or(0, |f| f.length),
        };
        (types.len() == names.len()).then_some(Keys {
            rule,
            types,
            numbers,
        })
    }

    /// Old rows have to carry the key, and no two rows may share one.
    fn identity(
        &mut self,
        name: &'a str,
        source: &CatalogTable,
        key: &[&CatalogColumn],
        field: &str,
        ran: bool,
    ) {
        let at = || place(name, "key.column");
        let key: Vec<&str> = key.iter().map(|c| &*c.name).collect();
        let holds = |columns: &[Box<str>]| key.iter().all(|k| columns.iter().any(|c| **c == **k));
        let full = format!("ALTER TABLE {name} REPLICA IDENTITY FULL;");
        match source.identity {
            ReplicaIdentity::Nothing => {
                self.refused_by_postgres(
                    ran,
                    at(),
                    format!("{name} has REPLICA IDENTITY NOTHING: Postgres refuses its updates and deletes"),
                    format!("ALTER TABLE {name} REPLICA IDENTITY DEFAULT;"),
                );
                return;
            }
            ReplicaIdentity::Default if source.primary_key.is_empty() => {
                self.refused_by_postgres(
                    ran,
                    at(),
                    format!("{name} has no primary key: Postgres refuses its updates and deletes"),
                    format!("ALTER TABLE {name} ADD PRIMARY KEY ({});", key.join(", ")),
                );
                return;
            }
            ReplicaIdentity::Default | ReplicaIdentity::Index
                if !holds(&source.identity_columns) =>
            {
                self.wrong(
                    ran,
                    name,
                    at(),
                    format!(
                        "deletes and changed keys come with {} only, not with {}: records could not be found",
                        source.identity_columns.join(", "),
                        key.join(", ")
                    ),
                    format!("{full} -- or make the key the replica identity"),
                    &[field],
                );
                return;
            }
            _ => {}
        }
        // Unique: the key holds all of a primary key or of an identity index.
        let covers = |columns: &[Box<str>]| {
            !columns.is_empty() && columns.iter().all(|c| key.contains(&&**c))
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
        let nullable = |column: &&CatalogColumn| !column.not_null && key.contains(&&*column.name);
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

    /// Postgres itself refuses the changes that we could not work with: none of them comes.
    fn refused_by_postgres(&mut self, ran: bool, at: String, what: String, remedy: String) {
        if ran {
            self.drift(at, what, remedy);
        } else {
            self.problem(at, what, remedy);
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
        name: &'a str,
        table: &config::Table,
        columns: &[&CatalogColumn],
        object: &'a ObjectDescription,
        types: &[ValueType],
        ran: bool,
    ) -> Option<&'a FieldDescription> {
        let at = || place(name, "key.field");
        let Some(field) = object.field(&table.key.field) else {
            let near = near(&table.key.field, object.fields.iter().map(|f| &*f.name));
            self.wrong(
                ran,
                name,
                at(),
                format!(
                    "{} has no field {}, or our user cannot see it{near}",
                    object.name, table.key.field
                ),
                "create a custom field: Text(255), External ID, Unique, case sensitive; and give our user read and edit access to it",
                &[],
            );
            return None;
        };
        let label = format!("{}.{}", object.name, field.name);
        if !field.external_id {
            self.wrong(
                ran,
                name,
                at(),
                format!("{label} is not an external id: records cannot be upserted by it"),
                "tick External ID (and Unique) in the field's definition",
                &[],
            );
        } else if !field.unique {
            self.wrong(
                ran,
                name,
                at(),
                format!("{label} is not unique: two records could bear one key, and writes would fail or hit either"),
                "tick Unique, case sensitive, in the field's definition",
                &[],
            );
        } else if field.kind != FieldKind::Text {
            self.wrong(
                ran,
                name,
                at(),
                format!(
                    "{label} is not a text field: keys are texts and are compared byte for byte"
                ),
                "use a Text field as the external id",
                &[],
            );
        } else if !field.case_sensitive
            && types.iter().any(has_case)
            && !columns.iter().any(|c| *c.type_name == *POSITION)
        {
            self.warning(
                at(),
                format!("{label} takes ABC and abc for the same key, and the key column can hold both: they would be one record"),
                "choose \"Treat ABC and abc as different values\" in the field's definition",
            );
        }
        if !field.createable || !field.updateable {
            self.wrong(
                ran,
                name,
                at(),
                format!("our user may not write {label}"),
                "give our user edit access to the field in a permission set",
                &[],
            );
        }
        // A uuid or a number can outgrow a short field; of text only what the column allows is known.
        let longest: Option<usize> = types
            .iter()
            .zip(columns)
            .map(|(value_type, column)| longest(value_type, column.typmod))
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
