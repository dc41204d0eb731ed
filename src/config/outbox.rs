//! What can be said of logical messages that become records.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Column, OnCrmDelete, Priority};

/// The messages of one prefix.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Outbox {
    /// The CRM object.
    pub object: String,
    /// What identifies a record on both sides.
    pub key: OutboxKey,
    /// What a second message with the key of a record that is there does.
    #[serde(default)]
    pub on_repeat: OnRepeat,
    /// What becomes of a record that a person deleted in the CRM.
    #[serde(default)]
    pub on_crm_delete: OnCrmDelete,
    /// Whether its messages go on while others are deferred.
    #[serde(default)]
    pub priority: Priority,
    /// What becomes of a message with members that nothing here names.
    #[serde(default)]
    pub unknown: UnknownMembers,
    /// The members of the content, by name or JSON Pointer (`/customer/id`).
    #[serde(default)]
    pub members: BTreeMap<String, Column>,
    /// CRM fields that always have the same value.
    #[serde(default)]
    pub constants: BTreeMap<String, toml::Value>,
}

/// What identifies the record of a message.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OutboxKey {
    /// The member that holds the external id. None: the message's place in the stream is it, so that
    /// each message is a record of its own.
    #[serde(default)]
    pub member: Option<String>,
    /// The CRM's external-id field.
    pub field: String,
}

/// What a second message with the key of a record that is there does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRepeat {
    /// It changes the record.
    #[default]
    Update,
    /// Nothing, and that is counted: records are only made.
    Ignore,
}

/// What becomes of a message with members that its rules do not name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownMembers {
    /// They are left out, and counted.
    #[default]
    Ignore,
    /// The message becomes a dead letter.
    Reject,
}
