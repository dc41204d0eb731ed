//! Contracts: what each side relies on of a table, as a JSON Schema that people and CI read.
//!
//! ```text
//! catalog + comments ─┐                      ┌─► file ─► rows: checked before an API call
//! mapping + CRM ──────┴─► build ─► Contract ─┤
//!                                            └─► drift: contract against what is there now
//! ```
//!
//! A contract describes a row as `to_json(row)` prints it. Under `x-syncline` stands what a schema has
//! no word for: the type as SQL prints it, the attribute number, which field a column fills and what
//! that field was like, and whether the mapping needs the column at all.
//!
//! Invariants
//! - Pure: what is read from files and databases comes in, text and findings go out.
//! - The same table and mapping give the same text, byte for byte: columns in their order in the
//!   table, keywords in one order. The version rises with the content and not otherwise.
//! - A row is checked against what the contract says and nothing else: keywords that no check knows
//!   are refused when a contract is read.
//! - No value of a row is in a contract, nor in what is said of a row that breaks one.

mod build;
mod dictionary;
mod drift;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fault::{Error, ErrorKind, Result};

pub use build::{Source, build};
pub use dictionary::dictionary;
pub use drift::{against_crm, against_database, against_mapping};
pub(super) use rows::{Breach, Check};

/// The dialect of the schemas.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Contracts by table (`schema.table`).
pub type Contracts = BTreeMap<Box<str>, Contract>;

/// The contract of one table.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    #[serde(rename = "$schema")]
    dialect: String,
    #[serde(rename = "$id")]
    id: String,
    /// The table.
    pub title: String,
    /// The table's comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    /// The columns, in their order.
    #[serde(serialize_with = "ordered", deserialize_with = "in_order")]
    pub properties: Vec<(String, Property)>,
    /// Columns that are never NULL.
    pub required: Vec<String>,
    /// What a schema has no word for.
    #[serde(rename = "x-syncline")]
    pub terms: TableTerms,
}

/// What holds of the table as a whole.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableTerms {
    /// Rises by one whenever something else in the file changes.
    pub version: u32,
    /// Hash of everything but the version.
    pub content: String,
    /// The CRM object.
    pub object: String,
    /// What the external id is made of.
    pub key: KeyTerms,
    /// Columns of the primary key.
    pub primary_key: Vec<String>,
    /// What old rows carry: `default`, `full`, `nothing` or `index`.
    pub replica_identity: String,
    /// The columns that these are.
    pub identity_columns: Vec<String>,
}

/// What identifies a record.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyTerms {
    /// Its columns.
    pub columns: Vec<String>,
    /// The external-id field.
    pub field: String,
}

/// One column: what its values are, and what becomes of them.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Property {
    /// The column's comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON types; none: any.
    #[serde(rename = "type", default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// `date`, `date-time` or `uuid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// One of the patterns of `build`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Most characters.
    #[serde(rename = "maxLength", default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// Least number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<serde_json::Number>,
    /// Greatest number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<serde_json::Number>,
    /// Step between numbers; only above one, as no fraction of ten is exact in most readers.
    #[serde(
        rename = "multipleOf",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub multiple_of: Option<serde_json::Number>,
    /// Labels of an enumeration; null among them where NULL may be.
    #[serde(rename = "enum", default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<Option<String>>>,
    /// What a schema has no word for.
    #[serde(rename = "x-syncline")]
    pub terms: ColumnTerms,
}

/// What holds of a column.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnTerms {
    /// The type as SQL prints it.
    #[serde(rename = "type")]
    pub sql: String,
    /// Attribute number.
    pub attnum: i16,
    /// All digits of a `numeric(p, s)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<i32>,
    /// Its digits right of the point; below zero: zeros left of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<i32>,
    /// The mapping needs it.
    pub needed: bool,
    /// Part of the external id.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub key: bool,
    /// The field that it fills.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// For a lookup: the object whose records it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub references: Option<String>,
    /// Why it fills none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmapped: Option<String>,
    /// What the field was like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crm: Option<FieldTerms>,
}

/// What a CRM field was like when the contract was exported.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldTerms {
    /// Its kind.
    pub kind: String,
    /// Longest text; 0 where that does not apply.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub length: u32,
    /// All digits of a number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub precision: u32,
    /// Digits right of the point.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub scale: u32,
    /// It takes no null.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// It takes the values of its list only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restricted: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Contract {
    /// The contract that a file holds.
    ///
    /// # Errors
    /// When it is none, or says more than rows are checked for.
    pub fn read(text: &str) -> Result<Contract> {
        let contract: Contract = serde_json::from_str(text).map_err(|e| {
            Error::new(ErrorKind::Usage, format!("no contract that we can check: {e}"))
                .remedy("`syncline contract export` writes it anew; a schema with other keywords belongs elsewhere")
        })?;
        for (name, property) in &contract.properties {
            Check::new(property).map_err(|what| {
                Error::new(ErrorKind::Usage, format!("properties.{name}: {what}"))
                    .remedy("`syncline contract export` writes it anew")
            })?;
        }
        Ok(contract)
    }

    /// The text of its file.
    pub fn text(&self) -> String {
        // A contract always has a JSON form: its maps have text for keys.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// With the version that follows from what was there before. None: nothing changed.
    #[must_use]
    pub fn after(mut self, before: Option<&Contract>) -> Option<Contract> {
        self.terms.version = 0;
        self.terms.content = String::new();
        let hash = blake3::hash(self.text().as_bytes());
        self.terms.content = hash.to_hex().get(..16).unwrap_or_default().to_owned();
        self.terms.version = match before {
            None => 1,
            Some(before) => {
                self.terms.version = before.terms.version;
                if self == *before {
                    return None;
                }
                before.terms.version.saturating_add(1)
            }
        };
        Some(self)
    }

    /// What the contract says of a column.
    pub fn column(&self, name: &str) -> Option<&Property> {
        let found = self.properties.iter().find(|(n, _)| n == name);
        found.map(|(_, property)| property)
    }

    /// The name of its file.
    pub fn file_name(table: &str) -> String {
        let mut name = String::with_capacity(table.len() + 5);
        for c in table.chars() {
            // Letters of every script are fine; what a path or a shell reads is not.
            match c {
                c if c.is_alphanumeric() || matches!(c, '.' | '_' | '-') => name.push(c),
                c => name.push_str(&format!("%{:X}", u32::from(c))),
            }
        }
        name + ".json"
    }
}

fn ordered<S: Serializer>(
    properties: &[(String, Property)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(properties.len()))?;
    for (name, property) in properties {
        map.serialize_entry(name, property)?;
    }
    map.end()
}

fn in_order<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<(String, Property)>, D::Error> {
    struct InOrder;
    impl<'de> Visitor<'de> for InOrder {
        type Value = Vec<(String, Property)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("columns by name")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut properties = Vec::new();
            while let Some(entry) = map.next_entry()? {
                properties.push(entry);
            }
            Ok(properties)
        }
    }
    deserializer.deserialize_map(InOrder)
}
