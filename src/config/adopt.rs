//! What can be said of making a record where one like it is there.

use serde::{Deserialize, Serialize};

/// What becomes of a record that a duplicate rule of the CRM takes for a double.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// It becomes a dead letter, which names the record that it doubles.
    #[default]
    Reject,
    /// It is saved, where the rule lets that be.
    Allow,
}

/// How records that are there without an external id are found.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Adopt {
    /// The CRM field that has the value that we would write.
    #[serde(rename = "match")]
    pub field: String,
}
