//! What can be said of a table.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Adopt, Column, Duplicates, Priority};

/// A table.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The CRM object.
    pub object: String,
    /// What identifies a record on both sides.
    pub key: Key,
    /// What a delete does. There is no default.
    pub on_delete: OnDelete,
    /// What a truncate does.
    #[serde(default)]
    pub on_truncate: OnTruncate,
    /// Whether its changes go on while others are deferred.
    #[serde(default)]
    pub priority: Priority,
    /// A text field of the object that holds which change was written last: what is older is never
    /// written over it, whoever sends it.
    #[serde(default)]
    pub version_field: Option<String>,
    /// What becomes of a record that a person deleted in the CRM.
    #[serde(default)]
    pub on_crm_delete: OnCrmDelete,
    /// What becomes of a record that a duplicate rule of the CRM takes for a double.
    #[serde(default)]
    pub duplicates: Duplicates,
    /// Records that are there without an external id are taken over.
    #[serde(default)]
    pub adopt: Option<Adopt>,
    /// The columns, by name.
    #[serde(default)]
    pub columns: BTreeMap<String, Column>,
    /// CRM fields that always have the same value.
    #[serde(default)]
    pub constants: BTreeMap<String, toml::Value>,
}

/// What identifies a record on both sides.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// One column, or several whose values are joined.
    #[serde(alias = "columns")]
    pub column: OneOrMany,
    /// The CRM's external-id field.
    pub field: String,
    /// What joins several values. A value that contains it is escaped with a backslash.
    #[serde(default = "key_separator")]
    pub separator: String,
}

/// One name or several.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// `"id"`
    One(String),
    /// `["tenant", "id"]`
    Many(Vec<String>),
}

impl OneOrMany {
    /// All of them.
    pub fn names(&self) -> &[String] {
        match self {
            OneOrMany::One(name) => std::slice::from_ref(name),
            OneOrMany::Many(names) => names,
        }
    }
}

/// What a deleted row does to its record.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum OnDelete {
    /// A word says it.
    Plain(Deletion),
    /// It stays, marked.
    Marked(Marks),
}

/// What a deleted row does, in a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Deletion {
    /// The record goes to the recycle bin.
    Delete,
    /// The record goes for good.
    HardDelete,
    /// Nothing, and that is counted.
    Ignore,
}

/// How the record of a deleted row is marked.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Marks {
    /// These fields are set. Texts are templates: see `mapping::stamp`.
    pub set: BTreeMap<String, toml::Value>,
    /// What a row that comes back writes to those of them that nothing else fills.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub restore: BTreeMap<String, toml::Value>,
}

/// What a truncate does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnTruncate {
    /// Delivery stops until a person has decided.
    #[default]
    Halt,
    /// Every record that we know of is treated as deleted.
    DeleteAll,
    /// Nothing, and that is counted.
    Ignore,
}

/// What becomes of a record that a person deleted in the CRM when its row changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnCrmDelete {
    /// A new record is made.
    Recreate,
    /// It is taken back out of the recycle bin; a new one is made where it is not there any more.
    #[default]
    Undelete,
    /// It stays deleted; changes of its row are counted as kept.
    KeepDeleted,
}

fn key_separator() -> String {
    ":".into()
}
