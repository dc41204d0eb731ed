//! What can be wrong with `[outbox."…"]`.

use toml::{Table, Value};

use super::super::layers::{Layers, dotted};
use super::super::schema::{
    ON_CRM_DELETE, ON_REPEAT, OUTBOX_KEY_KEYS, OUTBOX_KEYS, PRIORITY, UNKNOWN_MEMBERS, choice,
};
use super::column::column;
use super::value::{kind, scalars, text, unknown};

/// Prefixes that begin so are our own: watermarks and heartbeats.
const OURS: &str = "syncline_";

pub(super) fn outbox(layers: &mut Layers, sections: &Table) {
    for (prefix, value) in sections {
        let at = dotted("outbox", prefix);
        let Some(section) = value.as_table() else {
            layers.mistake(&at, format!("{at} is a section: [{at}]"));
            continue;
        };
        // [outbox.crm.task] without quotes is a section within a section.
        let mut inner = section.iter().filter(|(name, _)| !known(name));
        if let (Some((name, Value::Table(_))), None) = (inner.next(), section.get("object")) {
            let whole = format!("{prefix}.{name}");
            layers.mistake(
                &at,
                format!("a prefix is quoted as a whole: [outbox.{whole:?}]"),
            );
            continue;
        }
        if prefix.is_empty() || prefix.starts_with(OURS) {
            layers.mistake(
                &at,
                format!("{at}: a prefix is not empty and does not begin with {OURS}, as ours do"),
            );
        }
        one(layers, &at, section);
    }
}

fn known(name: &str) -> bool {
    OUTBOX_KEYS.contains(&name)
}

fn one(layers: &mut Layers, at: &str, section: &Table) {
    for name in section.keys().filter(|name| !known(name)) {
        unknown(layers, at, name, OUTBOX_KEYS);
    }
    match section.get("object") {
        None => layers.mistake(
            at,
            format!("{at}.object is missing: the API name of a CRM object"),
        ),
        Some(value) => text(layers, &dotted(at, "object"), value),
    }
    match section.get("key") {
        None => layers.mistake(
            at,
            format!("{at}.key is missing: {{ field = \"External_Id__c\" }}"),
        ),
        Some(value) => key(layers, &dotted(at, "key"), value),
    }
    for (name, words) in [
        ("on_repeat", &ON_REPEAT[..]),
        ("on_crm_delete", &ON_CRM_DELETE[..]),
        ("priority", &PRIORITY[..]),
        ("unknown", &UNKNOWN_MEMBERS[..]),
    ] {
        let given = section.get(name);
        if given.is_some_and(|v| !v.as_str().is_some_and(|s| words.contains(&s))) {
            let at = dotted(at, name);
            layers.mistake(&at, format!("{at} is {}", choice(words)));
        }
    }
    match section.get("members") {
        None => {}
        Some(Value::Table(members)) => {
            for (name, value) in members {
                let at = dotted(&dotted(at, "members"), name);
                pointer(layers, &at, name);
                column(layers, &at, value);
            }
        }
        Some(_) => layers.mistake(
            &dotted(at, "members"),
            format!("{at}.members is a section: members.<member> = \"Field\""),
        ),
    }
    match section.get("constants") {
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
                "{at} is {{ field = \"External_Id__c\" }}, or {{ member = \"id\", field = \"External_Id__c\" }}; this is {}",
                kind(value)
            ),
        );
        return;
    };
    for name in table
        .keys()
        .filter(|k| !OUTBOX_KEY_KEYS.contains(&k.as_str()))
    {
        unknown(layers, at, name, OUTBOX_KEY_KEYS);
    }
    match table.get("field") {
        None => layers.mistake(
            at,
            format!("{at}.field is missing: the API name of the external-id field"),
        ),
        Some(value) => text(layers, &dotted(at, "field"), value),
    }
    if let Some(value) = table.get("member") {
        let at = dotted(at, "member");
        text(layers, &at, value);
        pointer(layers, &at, value.as_str().unwrap_or_default());
    }
}

/// A name that begins with a slash is a JSON Pointer (RFC 6901).
fn pointer(layers: &mut Layers, at: &str, name: &str) {
    let mut escapes = name.split('~').skip(1);
    if name.starts_with('/') && escapes.any(|rest| !rest.starts_with(['0', '1'])) {
        layers.mistake(
            at,
            format!("{at} begins with a slash and is a JSON Pointer: ~0 stands for ~ and ~1 for /"),
        );
    }
}
