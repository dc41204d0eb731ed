//! What can be said of a column, or of a member of a message.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Priority;

/// A column: a field's name, or a table with more to say.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Column {
    /// `columns.name = "Name"`
    Field(String),
    /// `columns.phone = { field = "Phone", … }`
    Rule(ColumnRule),
}

/// Everything that can be said of a column.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColumnRule {
    /// The CRM field (for a reference: the lookup, by its relationship or field name).
    pub field: Option<String>,
    /// The table it refers to: the parent's external id is written.
    pub references: Option<String>,
    /// Left out on purpose.
    pub ignore: bool,
    /// Whether changes of it go on while others are deferred.
    pub priority: Priority,
    /// Who has the last word on the field.
    pub owner: Owner,
    /// What a NULL does.
    pub null: NullRule,
    /// Which white space of a text goes.
    pub trim: Trim,
    /// What an empty text is.
    pub empty: Empty,
    /// What characters that the CRM refuses become.
    pub controls: Controls,
    /// The Unicode form of text.
    pub unicode: Unicode,
    /// What stands for what: a value of the column, as text, and what the field gets.
    pub values: BTreeMap<String, toml::Value>,
    /// What a value becomes that `values` does not name.
    pub otherwise: Otherwise,
    /// The zone of readings without one, by its IANA name.
    pub time_zone: Option<String>,
    /// What becomes of a value that the field cannot hold.
    pub on_invalid: OnInvalid,
}

/// What becomes of a value that the CRM says its field cannot hold (too long, out of range, not in its
/// list, no e-mail address, no date).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnInvalid {
    /// The row becomes a dead letter before an API call is spent.
    #[default]
    Reject,
    /// A text that is too long is cut to the length of the field; what else is wrong is rejected.
    Truncate,
    /// The field is emptied.
    Clear,
}

/// Who has the last word on a field.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// The database.
    #[default]
    Source,
    /// People, once the record is there: it is written when the record is created.
    Crm,
    /// Whoever changed it last.
    Newest,
    /// A person decides, each time that both sides have changed it.
    Ask,
}

impl Owner {
    /// All of them.
    pub const ALL: [Owner; 4] = [Owner::Source, Owner::Crm, Owner::Newest, Owner::Ask];

    /// The word for it, in the configuration and everywhere else.
    pub fn word(self) -> &'static str {
        match self {
            Owner::Source => "source",
            Owner::Crm => "crm",
            Owner::Newest => "newest",
            Owner::Ask => "ask",
        }
    }

    /// What the CRM holds has a say in what is written.
    pub fn is_contested(self) -> bool {
        matches!(self, Owner::Newest | Owner::Ask)
    }
}

/// Which white space of a text goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trim {
    /// None by us. (The CRM drops what stands at the ends.)
    None,
    /// What stands at the ends.
    #[default]
    Ends,
    /// What stands at the ends; each run inside becomes one blank.
    Collapse,
}

/// What an empty text is, once it is trimmed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Empty {
    /// The same as NULL: the null rule says what it does.
    #[default]
    Null,
    /// A value: it empties the field, whatever the null rule says. (The CRM stores no empty text.)
    Keep,
}

/// What control characters become (all but tab, line feed and carriage return).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Controls {
    /// They stay, and the CRM judges them.
    #[default]
    Keep,
    /// They go.
    Drop,
}

/// The Unicode form of text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unicode {
    /// As it is.
    #[default]
    Keep,
    /// Normalization Form C: an `e` and an accent become an `é`.
    Nfc,
}

/// What a value becomes that a value map does not name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Otherwise {
    /// It stays what it is.
    #[default]
    Keep,
    /// Its row becomes a dead letter.
    Reject,
    /// It counts as NULL.
    Null,
    /// This is written.
    Value(toml::Value),
}

/// What a NULL does to its field.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NullRule {
    /// It clears the field.
    #[default]
    Clear,
    /// The field is left as it is.
    Skip,
    /// This value is written instead.
    Default(toml::Value),
}
