//! What can be wrong with `[[routing.rules]]`.

use toml::{Table, Value};

use super::super::glob::covers;
use super::super::layers::{Layers, dotted};
use super::super::schema::{MISSING_FIELD, RULE_KEYS, choice};
use super::value::{kind, unknown};

/// What a rule matches by.
const PATTERNS: [&str; 4] = ["schema", "table", "column", "type"];
/// What the name of a field may be made from.
const PLACEHOLDERS: [&str; 4] = ["{Column}", "{column}", "{Table}", "{table}"];
/// Longest label of a field.
const LABEL: usize = 40;

pub(super) fn rules(layers: &mut Layers, at: &str, value: &Value) {
    let Some(list) = value.as_array() else {
        layers.mistake(
            at,
            format!(
                "{at} are sections, each headed [[{at}]], in the file; this is {}",
                kind(value)
            ),
        );
        return;
    };
    let mut earlier: Vec<(usize, &Table)> = Vec::new();
    for (number, value) in (1..).zip(list) {
        let at = format!("{at}[{number}]");
        let Some(rule) = value.as_table() else {
            layers.mistake(&at, format!("{at} is a section; this is {}", kind(value)));
            continue;
        };
        one(layers, &at, rule);
        let shadow = earlier.iter().find(|(_, before)| shadows(before, rule));
        if let Some((by, _)) = shadow {
            layers.mistake(
                &at,
                format!(
                    "{at} can never match: rule {by} before it takes every column that it would; put it before that one, or take it away"
                ),
            );
        }
        earlier.push((number, rule));
    }
}

/// Whether `before` matches every column that `rule` matches.
fn shadows(before: &Table, rule: &Table) -> bool {
    PATTERNS.iter().all(|name| {
        let pattern = |rule: &'_ Table| rule.get(*name).and_then(Value::as_str).map(str::to_owned);
        match (pattern(before), pattern(rule)) {
            (None, _) => true,
            (Some(wide), narrow) => covers(&wide, narrow.as_deref().unwrap_or("*")),
        }
    })
}

fn one(layers: &mut Layers, at: &str, rule: &Table) {
    for (name, value) in rule {
        let key = dotted(at, name);
        match (name.as_str(), value) {
            (name, Value::String(glob)) if PATTERNS.contains(&name) => {
                if let Some(why) = bad_glob(name, glob) {
                    layers.mistake(&key, format!("{key}: {why}"));
                }
            }
            ("field", Value::String(field)) => {
                if let Some(why) = bad_field(field) {
                    layers.mistake(&key, format!("{key}: {why}"));
                }
            }
            ("label", Value::String(label)) => {
                if label.trim().is_empty() || label.chars().count() > LABEL {
                    layers.mistake(&key, format!("{key} is 1 to {LABEL} characters long"));
                }
            }
            ("ignore" | "halt" | "backfill", Value::Boolean(_)) => {}
            ("missing_field", Value::String(word)) if MISSING_FIELD.contains(&word.as_str()) => {}
            ("missing_field", _) => {
                layers.mistake(&key, format!("{key} is {}", choice(&MISSING_FIELD)));
            }
            (name, _) if !RULE_KEYS.contains(&name) => unknown(layers, at, name, RULE_KEYS),
            ("ignore" | "halt" | "backfill", _) => layers.mistake(
                &key,
                format!("{key} takes true or false; this is {}", kind(value)),
            ),
            _ => layers.mistake(
                &key,
                format!("{key} takes a text in quotes; this is {}", kind(value)),
            ),
        }
    }
    together(layers, at, rule);
}

/// A rule does one thing.
fn together(layers: &mut Layers, at: &str, rule: &Table) {
    let on = |name: &str| rule.get(name).and_then(Value::as_bool) == Some(true);
    let (ignore, halt) = (on("ignore"), on("halt"));
    let text = |name: &&str| rule.contains_key(*name);
    if ignore && halt {
        layers.mistake(
            at,
            format!("{at} says ignore and halt at once: one of them"),
        );
    }
    if (ignore || halt)
        && let Some(other) = ["field", "missing_field", "label", "backfill"]
            .iter()
            .find(|n| text(n))
    {
        let word = if ignore { "ignore" } else { "halt" };
        layers.mistake(
            at,
            format!("{at} says {word} = true, so that {other} means nothing: take one away"),
        );
    }
    let acts = ["field", "missing_field", "label", "backfill"]
        .iter()
        .any(text);
    if !ignore && !halt && !acts {
        layers.mistake(
            at,
            format!("{at} does nothing: field = \"{{Column}}__c\", ignore = true or halt = true"),
        );
    }
}

fn bad_glob(name: &str, glob: &str) -> Option<String> {
    if glob.is_empty() {
        return Some("it is empty and matches nothing; leave it out, or say \"*\"".into());
    }
    if glob.starts_with('^') || glob.ends_with('$') || glob.contains(".*") {
        return Some(
            "this looks like a regular expression; here * stands for any text and ? for one character"
                .into(),
        );
    }
    if name == "table"
        && let Some((schema, table)) = glob.split_once('.')
    {
        return Some(format!(
            "the schema has a key of its own: schema = {schema:?}, table = {table:?}"
        ));
    }
    None
}

fn bad_field(field: &str) -> Option<String> {
    let mut plain = field.to_owned();
    for placeholder in PLACEHOLDERS {
        // A letter stands for what will be there.
        plain = plain.replace(placeholder, "x");
    }
    if plain.contains(['{', '}']) {
        return Some(format!(
            "in a field's name there may be {}",
            PLACEHOLDERS.join(", ")
        ));
    }
    let good = plain.starts_with(|c: char| c.is_ascii_alphabetic())
        && plain.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (!good).then(|| {
        "a field's name starts with a letter and has letters, digits and underscores only".into()
    })
}
