//! The configuration: defaults, then `config.toml`, then `SYNCLINE_*` variables, then flags.
//!
//! This file is what the configuration *says* (the shape of the file, with its defaults);
//! what it *means* for a given database and CRM is worked out by `mapping::compile`.
//!
//! ```text
//! file ─► tree ─► variables ─► flags ─► check ─► Config + origins ─► show
//!         (values and the line of each)   │
//!                                         └─► all mistakes at once, each with its place
//! ```
//!
//! Invariants
//! - What is not known is refused, with the nearest name that is; a key that comes in a later
//!   release is told apart from a slip of the pen.
//! - Every value has an origin. `schema` lists every key outside of the tables; tests hold it equal
//!   to the types below and to the commented `config.toml` at the root.
//! - No value of a secret, and no password of a connection string, is in an error or in what is
//!   shown.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The whole of `config.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The Postgres side.
    pub source: Source,
    /// Where progress is kept.
    #[serde(default)]
    pub state: State,
    /// The CRM side.
    pub destination: Destination,
    /// How changes are grouped and sent.
    #[serde(default)]
    pub delivery: Delivery,
    /// What may be used of the CRM's daily limit.
    #[serde(default)]
    pub budget: Budget,
    /// How existing rows are read.
    #[serde(default)]
    pub backfill: Backfill,
    /// When the CRM's bulk jobs are used.
    #[serde(default)]
    pub bulk: Bulk,
    /// How often the schemas of both sides are looked at.
    #[serde(default)]
    pub watch: Watch,
    /// What is too much, and is held for a person.
    #[serde(default)]
    pub brake: Brake,
    /// The admin interface.
    #[serde(default)]
    pub admin: Admin,
    /// What happens to columns without an explicit mapping.
    #[serde(default)]
    pub routing: Routing,
    /// What the tables were agreed to be.
    #[serde(default)]
    pub contract: Contract,
    /// The tables, by `schema.table`.
    #[serde(default)]
    pub tables: BTreeMap<String, Table>,
    /// Logical messages that become records, by their prefix.
    #[serde(default)]
    pub outbox: BTreeMap<String, Outbox>,
}

/// The Postgres side.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Connection string as libpq writes it: a URL or `key=value` pairs.
    pub url: String,
    /// Password, if it is not in the URL, in a file, in `PGPASSWORD` or in `.pgpass`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file whose first line is the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// The replication slot. Created when missing.
    #[serde(default = "syncline")]
    pub slot: String,
    /// The publication. Created when missing and permitted.
    #[serde(default = "syncline")]
    pub publication: String,
    /// WAL that the slot may keep. Before that, while the CRM is slow or down, changes go to the shelf
    /// and the slot moves on; past it an alarm is raised.
    #[serde(default = "one_gib")]
    pub wal_budget: ByteSize,
    /// Longest frame that is accepted from Postgres. A row can have 1 GB; most have not.
    #[serde(default = "max_frame")]
    pub max_frame: ByteSize,
    /// Frames that may wait between the socket and the decoder.
    #[serde(default = "queue_bytes")]
    pub queue: ByteSize,
}

/// Where progress is kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct State {
    /// A directory of its own, on a local disk.
    pub path: PathBuf,
}

impl Default for State {
    fn default() -> Self {
        State {
            path: PathBuf::from("state"),
        }
    }
}

/// Which CRM.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DestinationKind {
    /// Salesforce.
    Salesforce,
    /// Nowhere: for measuring the way up to the CRM.
    Discard,
}

/// The CRM side.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    /// Which CRM.
    pub kind: DestinationKind,
    /// Its address: the org's My Domain, or the sandbox.
    #[serde(default)]
    pub url: String,
    /// Consumer key of the connected app.
    #[serde(default)]
    pub client_id: String,
    /// Consumer secret (client credentials).
    #[serde(default)]
    pub client_secret: Option<Secret>,
    /// A file with the consumer secret.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// User to act as (JWT bearer).
    #[serde(default)]
    pub username: Option<String>,
    /// PEM file with the RSA key that signs (JWT bearer). Given: JWT; absent: client credentials.
    #[serde(default)]
    pub private_key_file: Option<PathBuf>,
    /// `aud` of the JWT; by default the `url`.
    #[serde(default)]
    pub audience: Option<String>,
    /// API version such as `66.0`; by default the newest that both sides speak.
    #[serde(default)]
    pub api_version: Option<String>,
    /// PEM file with certificate authorities to trust beside the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How long a request may take.
    #[serde(default = "request_timeout")]
    pub timeout: Span,
    /// Most requests that may be under way at once. Fewer are where the CRM is slow, or refuses.
    #[serde(default = "concurrency")]
    pub concurrency: usize,
    /// Requests a second, retries included.
    #[serde(default = "requests_per_second")]
    pub requests_per_second: u32,
    /// Tries for a record whose failure may pass, before it becomes a dead letter.
    #[serde(default = "record_tries")]
    pub record_tries: u32,
    /// Tries for a record that somebody else holds locked, before it becomes a dead letter.
    #[serde(default = "lock_tries")]
    pub lock_tries: u32,
}

/// How changes are grouped and sent.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delivery {
    /// How long a window waits for more changes while the CRM is free.
    pub linger: Span,
    /// Most operations in a window.
    pub max_rows: usize,
    /// Most bytes in a window.
    pub max_bytes: ByteSize,
}

impl Default for Delivery {
    fn default() -> Self {
        Delivery {
            linger: Span(Duration::from_millis(50)),
            max_rows: 2_000,
            max_bytes: ByteSize(8 << 20),
        }
    }
}

/// How existing rows are read.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backfill {
    /// Rows that were there before the first start are read.
    pub first_load: bool,
    /// Rows a second; 0 for no limit.
    pub rows_per_second: u64,
    /// Most rows in a page. Pages are smaller where the CRM is slow.
    pub page_rows: usize,
}

impl Default for Backfill {
    fn default() -> Self {
        Backfill {
            first_load: true,
            rows_per_second: 0,
            page_rows: 5_000,
        }
    }
}

/// How often the schemas of both sides are looked at, beside what the stream and the CRM's refusals
/// tell by themselves.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Watch {
    /// The source's catalog.
    pub catalog: Span,
    /// The CRM's descriptions.
    pub crm: Span,
}

impl Default for Watch {
    fn default() -> Self {
        Watch {
            catalog: Span(Duration::from_secs(30)),
            crm: Span(Duration::from_secs(300)),
        }
    }
}

/// What is too much, and is held for a person.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Brake {
    /// Deletes of one table (archived records with them) within `within`.
    pub deletes: DeleteLimit,
    /// How long a delete counts.
    pub within: Span,
    /// Writes of one record within an hour; 0 for no limit.
    pub writes_per_record: u32,
}

impl Default for Brake {
    fn default() -> Self {
        Brake {
            deletes: DeleteLimit::Share(Percent(1_000)),
            within: Span(Duration::from_secs(600)),
            writes_per_record: 1_000,
        }
    }
}

/// How many deletes are too many.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum DeleteLimit {
    /// More than so many; 0 for no limit.
    Count(u64),
    /// More than this share of the table's records, and more than 100.
    Share(Percent),
}

/// The admin interface.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Address to listen on; empty for none.
    pub listen: String,
    /// Token for everything but health and metrics. By default one is made in the state directory.
    pub token: Option<Secret>,
}

impl Default for Admin {
    fn default() -> Self {
        Admin {
            listen: "127.0.0.1:7878".into(),
            token: None,
        }
    }
}

/// What happens to a column without an explicit mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unmapped {
    /// It goes to the CRM field that the naming rule gives, if there is one.
    #[default]
    Auto,
    /// It is left out, and counted.
    Ignore,
    /// Its table is not started.
    Halt,
}

/// What happens when the CRM lacks the field.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingField {
    /// It is made, with the type, length and label that the column suggests.
    Create,
    /// The column is left out, counted and shown.
    #[default]
    Ignore,
    /// The table is not started.
    Halt,
}

/// What happens to the field of a column that was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDrop {
    /// It is left as it is.
    #[default]
    Keep,
    /// It is cleared in the records of rows that change from then on.
    Clear,
}

/// What happens when a mapped column (or a table) gets another name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRename {
    /// Its field stays with it.
    #[default]
    Follow,
    /// Its table is halted.
    Halt,
}

/// Columns without an explicit mapping, and what becomes of columns that change.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Routing {
    /// What a column without a rule means.
    pub unmapped: Unmapped,
    /// What happens when the CRM has no field of that name.
    pub missing_field: MissingField,
    /// What happens to the field of a dropped column.
    pub on_drop: OnDrop,
    /// What happens when a mapped column or a table gets another name.
    pub on_rename: OnRename,
    /// Rules by pattern: the first that matches a column holds.
    pub rules: Vec<RoutingRule>,
}

/// A rule for columns without an explicit mapping.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoutingRule {
    /// Schemas it is for, as a glob (`*` and `?`). None: all.
    pub schema: Option<String>,
    /// Tables it is for.
    pub table: Option<String>,
    /// Columns it is for.
    pub column: Option<String>,
    /// Types it is for, as Postgres prints them (`character varying(80)`) or by their short names
    /// (`varchar(80)`).
    #[serde(rename = "type")]
    pub column_type: Option<String>,
    /// The field: a name with `{Column}` (`Some_Name`), `{column}` (`some_name`), `{Table}` or
    /// `{table}` in it. None: the one that the naming rule gives.
    pub field: Option<String>,
    /// The column is left out, and counted.
    pub ignore: bool,
    /// Its table is halted.
    pub halt: bool,
    /// What happens when the CRM has no such field. None: as `routing.missing_field` says.
    pub missing_field: Option<MissingField>,
    /// Name for people of a field that is made.
    pub label: Option<String>,
    /// A column that arrives later is filled for the rows that are there already, too.
    pub backfill: bool,
}

/// What the tables were agreed to be.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Contract {
    /// The directory of the contract files. Given: rows are checked against them.
    pub path: Option<PathBuf>,
}

fn syncline() -> String {
    "syncline".into()
}
fn one_gib() -> ByteSize {
    ByteSize(1 << 30)
}
fn max_frame() -> ByteSize {
    ByteSize(256 << 20)
}
fn queue_bytes() -> ByteSize {
    ByteSize(4 << 20)
}
fn request_timeout() -> Span {
    Span(Duration::from_secs(120))
}
fn concurrency() -> usize {
    4
}
fn requests_per_second() -> u32 {
    20
}
fn record_tries() -> u32 {
    5
}
fn lock_tries() -> u32 {
    12
}

mod adopt;
mod budget;
mod bulk;
mod check;
mod column;
mod glob;
mod layers;
mod load;
mod nearest;
mod normal;
mod outbox;
mod schema;
mod secret;
mod show;
mod table;
#[cfg(test)]
mod tests;
mod units;

pub use adopt::{Adopt, Duplicates};
pub use budget::{Budget, Priority};
pub use bulk::{Bulk, BulkMode};
pub use column::{
    Column, ColumnRule, Controls, Empty, NullRule, OnInvalid, Otherwise, Owner, Trim, Unicode,
};
pub use glob::matches;
pub use layers::{Loaded, Origin};
pub use nearest::nearest;
pub use outbox::{OnRepeat, Outbox, OutboxKey, UnknownMembers};
pub use secret::Secret;
pub use table::{Deletion, Key, Marks, OnCrmDelete, OnDelete, OnTruncate, OneOrMany, Table};
pub use units::{ByteSize, Percent, Portion, Span};
