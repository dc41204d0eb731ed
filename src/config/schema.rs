//! Every key of the configuration outside of the tables: what it takes, and where it may come from.
//!
//! A test compares this list with the types in `mod.rs`, and another with `config.toml`, so that
//! none of the three says less than the others.

/// What a key takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    /// Any text.
    Text,
    /// A text that is never shown.
    Secret,
    /// A connection string, in which a password may stand.
    Connection,
    /// A whole number within bounds.
    Count(i64, i64),
    /// A number of bytes.
    Size,
    /// A length of time.
    Span,
    /// A part of a whole, or a number.
    Portion,
    /// A whole number, or a share.
    CountOrShare,
    /// True or false.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Sections of their own: `[[routing.rules]]`.
    Rules,
}

impl Shape {
    /// What is expected, in words.
    pub(super) fn words(self) -> String {
        match self {
            Shape::Text | Shape::Secret | Shape::Connection => "a text in quotes".into(),
            Shape::Count(least, most) => format!("a whole number from {least} to {most}"),
            Shape::Size => "a size such as \"64MiB\", or a number of bytes".into(),
            Shape::Span => "a length of time such as \"250ms\", \"5s\", \"2m\" or \"1h\"".into(),
            Shape::Portion => "a part such as 0.5 or \"50%\", or a whole number of requests".into(),
            Shape::CountOrShare => {
                "a whole number (0 for no limit), or a share such as \"5%\"".into()
            }
            Shape::Switch => "true or false".into(),
            Shape::Choice(words) => choice(words),
            Shape::Rules => "sections, each headed [[routing.rules]], in the file".into(),
        }
    }
}

/// `one of "a", "b", "c"`.
pub(super) fn choice(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|w| format!("{w:?}")).collect();
    format!("one of {}", quoted.join(", "))
}

/// A key.
pub(super) struct KeyInfo {
    /// Its section.
    pub(super) section: &'static str,
    /// Its name in the section.
    pub(super) name: &'static str,
    /// What it takes.
    pub(super) shape: Shape,
    /// There is no default.
    pub(super) required: bool,
}

const fn key(section: &'static str, name: &'static str, shape: Shape) -> KeyInfo {
    KeyInfo {
        section,
        name,
        shape,
        required: false,
    }
}

const fn required(section: &'static str, name: &'static str, shape: Shape) -> KeyInfo {
    KeyInfo {
        section,
        name,
        shape,
        required: true,
    }
}

pub(super) const KEYS: &[KeyInfo] = &[
    required("source", "url", Shape::Connection),
    key("source", "password", Shape::Secret),
    key("source", "password_file", Shape::Text),
    key("source", "slot", Shape::Text),
    key("source", "publication", Shape::Text),
    key("source", "wal_budget", Shape::Size),
    key("source", "max_frame", Shape::Size),
    key("source", "queue", Shape::Size),
    key("state", "path", Shape::Text),
    required(
        "destination",
        "kind",
        Shape::Choice(&["salesforce", "discard"]),
    ),
    key("destination", "url", Shape::Text),
    key("destination", "client_id", Shape::Text),
    key("destination", "client_secret", Shape::Secret),
    key("destination", "client_secret_file", Shape::Text),
    key("destination", "username", Shape::Text),
    key("destination", "private_key_file", Shape::Text),
    key("destination", "audience", Shape::Text),
    key("destination", "api_version", Shape::Text),
    key("destination", "ca_file", Shape::Text),
    key("destination", "timeout", Shape::Span),
    key("destination", "concurrency", Shape::Count(1, 64)),
    key("destination", "requests_per_second", Shape::Count(1, 1_000)),
    key("destination", "record_tries", Shape::Count(1, 100)),
    key("destination", "lock_tries", Shape::Count(1, 100)),
    key("delivery", "linger", Shape::Span),
    key("delivery", "max_rows", Shape::Count(1, 1_000_000)),
    key("delivery", "max_bytes", Shape::Size),
    key("budget", "share", Shape::Portion),
    key("budget", "floor", Shape::Portion),
    key("budget", "deadline", Shape::Span),
    key("backfill", "first_load", Shape::Switch),
    key(
        "backfill",
        "rows_per_second",
        Shape::Count(0, 1_000_000_000),
    ),
    key("backfill", "page_rows", Shape::Count(1, 100_000)),
    key("bulk", "mode", Shape::Choice(&["auto", "never", "always"])),
    key("bulk", "min_rows", Shape::Count(1, 1_000_000)),
    key("bulk", "max_bytes", Shape::Size),
    key("watch", "catalog", Shape::Span),
    key("watch", "crm", Shape::Span),
    key("brake", "deletes", Shape::CountOrShare),
    key("brake", "within", Shape::Span),
    key("brake", "writes_per_record", Shape::Count(0, 60_000)),
    key("admin", "listen", Shape::Text),
    key("admin", "token", Shape::Secret),
    key(
        "routing",
        "unmapped",
        Shape::Choice(&["auto", "ignore", "halt"]),
    ),
    key("routing", "missing_field", Shape::Choice(&MISSING_FIELD)),
    key("routing", "on_drop", Shape::Choice(&["keep", "clear"])),
    key("routing", "on_rename", Shape::Choice(&["follow", "halt"])),
    key("routing", "rules", Shape::Rules),
    key("contract", "path", Shape::Text),
];

pub(super) const MISSING_FIELD: [&str; 3] = ["create", "ignore", "halt"];
pub(super) const RULE_KEYS: [&str; 10] = [
    "schema",
    "table",
    "column",
    "type",
    "field",
    "ignore",
    "halt",
    "missing_field",
    "label",
    "backfill",
];

/// The sections, in the order in which they are shown.
pub(super) const SECTIONS: [&str; 14] = [
    "source",
    "state",
    "destination",
    "delivery",
    "budget",
    "backfill",
    "bulk",
    "watch",
    "brake",
    "admin",
    "routing",
    "contract",
    "tables",
    "outbox",
];

pub(super) const TABLE_KEYS: [&str; 11] = [
    "object",
    "key",
    "on_delete",
    "on_truncate",
    "priority",
    "version_field",
    "on_crm_delete",
    "duplicates",
    "adopt",
    "columns",
    "constants",
];
pub(super) const OUTBOX_KEYS: [&str; 8] = [
    "object",
    "key",
    "on_repeat",
    "on_crm_delete",
    "priority",
    "unknown",
    "members",
    "constants",
];
pub(super) const OUTBOX_KEY_KEYS: [&str; 2] = ["member", "field"];
pub(super) const ON_REPEAT: [&str; 2] = ["update", "ignore"];
pub(super) const UNKNOWN_MEMBERS: [&str; 2] = ["ignore", "reject"];
pub(super) const KEY_KEYS: [&str; 4] = ["column", "columns", "field", "separator"];
pub(super) const COLUMN_KEYS: [&str; 14] = [
    "field",
    "references",
    "ignore",
    "priority",
    "owner",
    "null",
    "trim",
    "empty",
    "controls",
    "unicode",
    "values",
    "otherwise",
    "time_zone",
    "on_invalid",
];
pub(super) const PRIORITY: [&str; 2] = ["normal", "high"];
pub(super) const OWNER: [&str; 4] = ["source", "crm", "newest", "ask"];
pub(super) const DUPLICATES: [&str; 2] = ["reject", "allow"];
pub(super) const ON_TRUNCATE: [&str; 3] = ["halt", "delete_all", "ignore"];
pub(super) const ON_CRM_DELETE: [&str; 3] = ["undelete", "recreate", "keep_deleted"];

/// Words that are known and not to be had yet: where, which, and what to do meanwhile.
pub(super) const LATER: &[(&str, &str, &str)] = &[
    ("kind", "hubspot", "\"salesforce\" is what there is"),
    ("kind", "http", "\"salesforce\" is what there is"),
];

/// Keys that are known and not to be had yet, and what holds meanwhile.
pub(super) const LATER_KEYS: &[(&str, &str)] =
    &[("on_gap", "until then a gap stops the start, with a message")];

/// The key of that section and name.
pub(super) fn find(section: &str, name: &str) -> Option<&'static KeyInfo> {
    KEYS.iter().find(|k| k.section == section && k.name == name)
}

/// The names of a section.
pub(super) fn names(section: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter()
        .filter(move |k| k.section == section)
        .map(|k| k.name)
}
