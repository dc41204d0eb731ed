//! What changed from one version of a table to the next, in words.

use std::fmt;

use serde::Serialize;

use super::lineage::carried;
use crate::capture::{CatalogColumn, CatalogTable};
use crate::change::ReplicaIdentity;

/// What changed from one version of a table to the next.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum SchemaChange {
    /// It is new. Not told by [`compare`]: then there is no version before.
    TableAdded,
    /// It has another name or stands in another schema.
    TableRenamed {
        /// `schema.table` before.
        from: Box<str>,
    },
    /// It was dropped and made anew: another table of the same name. Its columns are compared by name.
    TableRecreated,
    /// A column came, or is published now.
    ColumnAdded {
        /// Its name.
        column: Box<str>,
        /// Its type as SQL prints it.
        type_name: Box<str>,
    },
    /// A column went, or is not published any more.
    ColumnDropped {
        /// Its name.
        column: Box<str>,
    },
    /// A column has another name.
    ColumnRenamed {
        /// Before.
        from: Box<str>,
        /// Now.
        to: Box<str>,
    },
    /// A column has another type or type modifier.
    TypeChanged {
        /// Its name now.
        column: Box<str>,
        /// Type before, as SQL prints it.
        from: Box<str>,
        /// Type now.
        to: Box<str>,
    },
    /// NOT NULL came or went.
    NullabilityChanged {
        /// The column's name now.
        column: Box<str>,
        /// Whether it refuses null now.
        not_null: bool,
    },
    /// The primary key has other columns, or another order of them; or so has the index that is the
    /// replica identity. A rename of its columns is no change of the key.
    KeyChanged {
        /// Columns before.
        from: Vec<Box<str>>,
        /// Columns now.
        to: Vec<Box<str>>,
    },
    /// Old rows carry something else.
    IdentityChanged {
        /// Before.
        from: ReplicaIdentity,
        /// Now.
        to: ReplicaIdentity,
    },
}

/// What changed from version `before` to version `after` of a table. Empty when nothing that matters
/// did (whether it is published is not looked at).
pub fn compare(before: &CatalogTable, after: &CatalogTable) -> Vec<SchemaChange> {
    let mut changes = Vec::new();
    if (&before.schema, &before.name) != (&after.schema, &after.name) {
        let from = format!("{}.{}", before.schema, before.name).into();
        changes.push(SchemaChange::TableRenamed { from });
    }
    // A table made anew numbers its columns anew.
    let recreated = before.oid != after.oid;
    if recreated {
        changes.push(SchemaChange::TableRecreated);
    }
    let same = |old: &CatalogColumn, new: &CatalogColumn| match recreated {
        true => old.name == new.name,
        false => old.attnum == new.attnum,
    };
    for old in &before.columns {
        if !after.columns.iter().any(|new| same(old, new)) {
            let column = old.name.clone();
            changes.push(SchemaChange::ColumnDropped { column });
        }
    }
    for new in &after.columns {
        match before.columns.iter().find(|old| same(old, new)) {
            Some(old) => compare_columns(old, new, &mut changes),
            None => changes.push(SchemaChange::ColumnAdded {
                column: new.name.clone(),
                type_name: new.type_name.clone(),
            }),
        }
    }
    if before.identity != after.identity {
        changes.push(SchemaChange::IdentityChanged {
            from: before.identity,
            to: after.identity,
        });
    }
    let mut keys = vec![(&before.primary_key, &after.primary_key)];
    if [before.identity, after.identity] == [ReplicaIdentity::Index; 2] {
        keys.push((&before.identity_columns, &after.identity_columns));
    }
    let moved = |(from, to): &(&Vec<Box<str>>, &Vec<Box<str>>)| match recreated {
        true => from != to,
        false => carried(from, &before.columns, &after.columns).as_ref() != Some(*to),
    };
    if let Some((from, to)) = keys.into_iter().find(moved) {
        let (from, to) = (from.clone(), to.clone());
        changes.push(SchemaChange::KeyChanged { from, to });
    }
    changes
}

fn compare_columns(old: &CatalogColumn, new: &CatalogColumn, changes: &mut Vec<SchemaChange>) {
    if old.name != new.name {
        changes.push(SchemaChange::ColumnRenamed {
            from: old.name.clone(),
            to: new.name.clone(),
        });
    }
    let column = || new.name.clone();
    if (old.type_oid, old.typmod) != (new.type_oid, new.typmod) {
        changes.push(SchemaChange::TypeChanged {
            column: column(),
            from: old.type_name.clone(),
            to: new.type_name.clone(),
        });
    }
    if old.not_null != new.not_null {
        changes.push(SchemaChange::NullabilityChanged {
            column: column(),
            not_null: new.not_null,
        });
    }
}

impl SchemaChange {
    /// The word for it in logs, metrics and JSON.
    pub fn word(&self) -> &'static str {
        match self {
            SchemaChange::TableAdded => "table_added",
            SchemaChange::TableRenamed { .. } => "table_renamed",
            SchemaChange::TableRecreated => "table_recreated",
            SchemaChange::ColumnAdded { .. } => "column_added",
            SchemaChange::ColumnDropped { .. } => "column_dropped",
            SchemaChange::ColumnRenamed { .. } => "column_renamed",
            SchemaChange::TypeChanged { .. } => "type_changed",
            SchemaChange::NullabilityChanged { .. } => "nullability_changed",
            SchemaChange::KeyChanged { .. } => "key_changed",
            SchemaChange::IdentityChanged { .. } => "identity_changed",
        }
    }
}

impl fmt::Display for SchemaChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SchemaChange::TableAdded => write!(f, "the table is new"),
            SchemaChange::TableRenamed { from } => write!(f, "the table was renamed from {from}"),
            SchemaChange::TableRecreated => write!(f, "the table was dropped and made anew"),
            SchemaChange::ColumnAdded { column, type_name } => {
                write!(f, "column {column} was added ({type_name})")
            }
            SchemaChange::ColumnDropped { column } => write!(f, "column {column} was dropped"),
            SchemaChange::ColumnRenamed { from, to } => {
                write!(f, "column {from} was renamed to {to}")
            }
            SchemaChange::TypeChanged { column, from, to } => {
                write!(f, "the type of column {column} changed from {from} to {to}")
            }
            SchemaChange::NullabilityChanged { column, not_null } => {
                let now = if *not_null { "refuses" } else { "allows" };
                write!(f, "column {column} {now} null now")
            }
            SchemaChange::KeyChanged { from, to } => {
                write!(
                    f,
                    "the key changed from ({}) to ({})",
                    from.join(", "),
                    to.join(", ")
                )
            }
            SchemaChange::IdentityChanged { from, to } => {
                let (from, to) = (from.word(), to.word());
                write!(f, "the replica identity changed from {from} to {to}")
            }
        }
    }
}
