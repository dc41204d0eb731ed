//! Everything that can be wrong with a configuration by itself, without asking anybody.

use toml::{Table, Value};

use super::layers::{Layers, dotted};
use super::schema::{
    DUPLICATES, KEY_KEYS, KEYS, ON_CRM_DELETE, ON_TRUNCATE, SECTIONS, Shape, TABLE_KEYS, choice,
    names,
};
use super::units;

mod column;
mod outbox;
mod rules;
pub(super) mod value;

use column::column;
use value::{kind, priority, scalar, scalars, text, unknown};

const ON_DELETE: &str = "say what a deleted row does to its record: \
    \"delete\" (it goes to the recycle bin), \
    \"hard_delete\" (it goes for good), \
    { set = { Active__c = false } } (these fields mark it), \
    or \"ignore\" (nothing, counted)";

/// Bytes of a bulk job, before they are packed.
const MAX_BULK: u64 = 100 << 20;

pub(super) fn check(layers: &mut Layers) {
    let tree = layers.tree.clone();
    for (section, value) in &tree {
        if !SECTIONS.contains(&section.as_str()) {
            unknown(layers, "", section, SECTIONS);
            continue;
        }
        match value.as_table() {
            None => layers.mistake(section, format!("{section} is a section: [{section}]")),
            Some(table) if section == "tables" => tables(layers, table),
            Some(table) if section == "outbox" => outbox::outbox(layers, table),
            Some(table) => self::section(layers, section, table),
        }
    }
    for info in KEYS.iter().filter(|k| k.required) {
        let given = tree.get(info.section).and_then(|s| s.get(info.name));
        if given.is_none() {
            layers.mistake(
                info.section,
                format!(
                    "{}.{} is missing: {}",
                    info.section,
                    info.name,
                    info.shape.words()
                ),
            );
        }
    }
    together(layers, &tree);
}

fn section(layers: &mut Layers, section: &str, table: &Table) {
    for (name, value) in table {
        match super::schema::find(section, name) {
            None => unknown(layers, section, name, names(section)),
            Some(info) if info.shape == Shape::Rules => {
                rules::rules(layers, &dotted(section, name), value);
            }
            Some(info) => scalar(layers, &dotted(section, name), info.shape, value),
        }
    }
}

fn tables(layers: &mut Layers, tables: &Table) {
    for (name, value) in tables {
        let at = dotted("tables", name);
        let Some(table) = value.as_table() else {
            // [tables.public.customer] without quotes is a table within a table.
            layers.mistake(&at, format!("{at} is a section: [{at}]"));
            continue;
        };
        if !name.contains('.') && !table.is_empty() && table.values().all(Value::is_table) {
            let inner = table.keys().next().map_or("", String::as_str);
            layers.mistake(
                &at,
                format!("the name of a table is quoted as a whole: [tables.\"{name}.{inner}\"]"),
            );
            continue;
        }
        one_table(layers, &at, table);
    }
}

fn one_table(layers: &mut Layers, at: &str, table: &Table) {
    for name in table.keys().filter(|k| !TABLE_KEYS.contains(&k.as_str())) {
        unknown(layers, at, name, TABLE_KEYS);
    }
    match table.get("object") {
        None => layers.mistake(
            at,
            format!("{at}.object is missing: the API name of a CRM object"),
        ),
        Some(value) => text(layers, &dotted(at, "object"), value),
    }
    match table.get("key") {
        None => layers.mistake(
            at,
            format!("{at}.key is missing: {{ column = \"id\", field = \"External_Id__c\" }}"),
        ),
        Some(value) => key(layers, &dotted(at, "key"), value),
    }
    match table.get("on_delete") {
        None => layers.mistake(at, format!("{at}.on_delete is missing: {ON_DELETE}")),
        Some(value) => on_delete(layers, &dotted(at, "on_delete"), value),
    }
    for (name, words) in [
        ("on_truncate", &ON_TRUNCATE[..]),
        ("on_crm_delete", &ON_CRM_DELETE[..]),
        ("duplicates", &DUPLICATES[..]),
    ] {
        let given = table.get(name);
        if given.is_some_and(|v| !v.as_str().is_some_and(|s| words.contains(&s))) {
            let at = dotted(at, name);
            layers.mistake(&at, format!("{at} is {}", choice(words)));
        }
    }
    if let Some(value) = table.get("adopt") {
        adopt(layers, &dotted(at, "adopt"), value);
    }
    if let Some(value) = table.get("priority") {
        priority(layers, &dotted(at, "priority"), value);
    }
    if let Some(value) = table.get("version_field") {
        text(layers, &dotted(at, "version_field"), value);
    }
    match table.get("columns") {
        None => {}
        Some(Value::Table(columns)) => {
            for (name, value) in columns {
                column(layers, &dotted(&dotted(at, "columns"), name), value);
            }
        }
        Some(_) => layers.mistake(
            &dotted(at, "columns"),
            format!("{at}.columns is a section: columns.<column> = \"Field\""),
        ),
    }
    match table.get("constants") {
        None => {}
        Some(Value::Table(constants)) => scalars(layers, &dotted(at, "constants"), constants),
        Some(_) => layers.mistake(
            &dotted(at, "constants"),
            format!("{at}.constants is a section: constants.<Field> = …"),
        ),
    }
}

fn key(layers: &mut Layers, at: &str, value: &Value) {
    let Some(table) = value.as_table() else {
        layers.mistake(
            at,
            format!(
                "{at} is {{ column = \"id\", field = \"External_Id__c\" }}; this is {}",
                kind(value)
            ),
        );
        return;
    };
    for name in table.keys().filter(|k| !KEY_KEYS.contains(&k.as_str())) {
        unknown(layers, at, name, KEY_KEYS);
    }
    match (table.get("column"), table.get("columns")) {
        (None, None) => layers.mistake(
            at,
            format!("{at}.column is missing: \"id\", or several as in [\"tenant\", \"id\"]"),
        ),
        (Some(_), Some(_)) => {
            layers.mistake(at, format!("{at} has column and columns: one of them"))
        }
        (Some(columns), None) | (None, Some(columns)) => {
            let good = match columns {
                Value::String(s) => !s.is_empty(),
                Value::Array(list) => !list.is_empty() && list.iter().all(Value::is_str),
                _ => false,
            };
            if !good {
                layers.mistake(
                    &dotted(at, "column"),
                    format!(
                        "{at}.column is a column, or a list of columns as in [\"tenant\", \"id\"]"
                    ),
                );
            }
        }
    }
    match table.get("field") {
        None => layers.mistake(
            at,
            format!("{at}.field is missing: the API name of the external-id field"),
        ),
        Some(value) => text(layers, &dotted(at, "field"), value),
    }
    if let Some(value) = table.get("separator") {
        text(layers, &dotted(at, "separator"), value);
    }
}

fn adopt(layers: &mut Layers, at: &str, value: &Value) {
    let field = value.as_table().filter(|t| t.len() == 1);
    match field.and_then(|t| t.get("match")) {
        Some(field) => text(layers, &dotted(at, "match"), field),
        None => layers.mistake(
            at,
            format!(
                "{at} is {{ match = \"Email\" }}: the field by which records without an external id are found"
            ),
        ),
    }
}

fn on_delete(layers: &mut Layers, at: &str, value: &Value) {
    match value {
        Value::String(s) if matches!(s.as_str(), "delete" | "hard_delete" | "ignore") => {}
        Value::Table(table) if table.get("set").is_some_and(Value::is_table) => {
            for (name, value) in table {
                let at_name = dotted(at, name);
                match (name.as_str(), value) {
                    ("set" | "restore", Value::Table(fields)) => scalars(layers, &at_name, fields),
                    ("restore", other) => layers.mistake(
                        &at_name,
                        format!(
                            "{at_name} is {{ Active__c = true }}: what a row that comes back writes; this is {}",
                            kind(other)
                        ),
                    ),
                    _ => unknown(layers, at, name, ["set", "restore"]),
                }
            }
        }
        _ => layers.mistake(at, format!("{at} is not understood; {ON_DELETE}")),
    }
}

/// What several keys have to say together.
fn together(layers: &mut Layers, tree: &Table) {
    let get = |section: &str, name: &str| tree.get(section).and_then(|s| s.get(name));
    let given = |section: &str, name: &str| match get(section, name) {
        Some(Value::String(s)) => !s.is_empty(),
        other => other.is_some(),
    };
    for (section, one, other) in [
        ("source", "password", "password_file"),
        ("destination", "client_secret", "client_secret_file"),
    ] {
        if given(section, one) && given(section, other) {
            let key = dotted(section, other);
            layers.mistake(
                &key,
                format!("{section}.{one} and {key} are both given: one of them"),
            );
        }
    }
    let bytes = match get("bulk", "max_bytes") {
        Some(Value::Integer(n)) => u64::try_from(*n).ok(),
        Some(Value::String(s)) => units::size(s),
        _ => None,
    };
    if bytes.is_some_and(|bytes| bytes > MAX_BULK) {
        layers.mistake(
            "bulk.max_bytes",
            "bulk.max_bytes is at most \"100MiB\": Salesforce takes no larger job",
        );
    }
    if let Some(Value::String(slot)) = get("source", "slot") {
        let good = (1..=63).contains(&slot.len())
            && slot
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !good {
            layers.mistake(
                "source.slot",
                "source.slot is 1 to 63 small letters, digits and underscores: Postgres takes no other",
            );
        }
    }
    if let Some(Value::String(name)) = get("source", "publication")
        && !(1..=63).contains(&name.len())
    {
        layers.mistake(
            "source.publication",
            "source.publication is 1 to 63 characters long",
        );
    }
    if let Some(Value::String(listen)) = get("admin", "listen")
        && !listen.is_empty()
        && listen.parse::<std::net::SocketAddr>().is_err()
    {
        layers.mistake(
            "admin.listen",
            "admin.listen is an address and a port such as \"127.0.0.1:7878\", or \"\" for none",
        );
    }
    if get("destination", "kind").and_then(Value::as_str) == Some("salesforce") {
        salesforce(layers, tree);
    }
}

fn salesforce(layers: &mut Layers, tree: &Table) {
    let given = |name: &str| {
        let value = tree.get("destination").and_then(|s| s.get(name));
        value.and_then(Value::as_str).filter(|s| !s.is_empty())
    };
    match given("url") {
        Some(url) if url.starts_with("https://") || url.starts_with("http://") => {}
        _ => layers.mistake(
            "destination.url",
            "destination.url is the address of the org such as \"https://acme.my.salesforce.com\", or of the sandbox",
        ),
    }
    if given("client_id").is_none() {
        layers.mistake(
            "destination.client_id",
            "destination.client_id is missing: the consumer key of the connected app",
        );
    }
    let secret = given("client_secret").is_some() || given("client_secret_file").is_some();
    match (given("private_key_file"), given("username")) {
        (Some(_), None) => layers.mistake(
            "destination.private_key_file",
            "destination.username is missing: with a private key (JWT bearer) it says whom to act as",
        ),
        (None, Some(_)) => layers.mistake(
            "destination.username",
            "destination.username is for JWT bearer, which needs destination.private_key_file",
        ),
        (None, None) if !secret => layers.mistake(
            "destination",
            "no credentials: give destination.client_secret_file (or SYNCLINE_DESTINATION__CLIENT_SECRET), or destination.private_key_file with destination.username",
        ),
        _ => {}
    }
    if let Some(version) = given("api_version") {
        let (major, minor) = version.split_once('.').unwrap_or((version, ""));
        if major.parse::<u16>().is_err() || minor != "0" {
            layers.mistake(
                "destination.api_version",
                "destination.api_version is a version such as \"66.0\"",
            );
        }
    }
}
