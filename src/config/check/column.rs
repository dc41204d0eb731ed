//! What can be wrong with the rule of a column, or of a member of a message.

use toml::Value;

use super::super::layers::{Layers, dotted};
use super::super::schema::{COLUMN_KEYS, OWNER, Shape};
use super::value::{kind, priority, scalar, text, unknown};

pub(super) fn column(layers: &mut Layers, at: &str, value: &Value) {
    let table = match value {
        Value::String(_) => return text(layers, at, value),
        Value::Table(table) => table,
        other => {
            layers.mistake(
                at,
                format!(
                    "{at} is a field's name or {{ field = \"…\", … }}; this is {}",
                    kind(other)
                ),
            );
            return;
        }
    };
    for (name, value) in table {
        let key = dotted(at, name);
        match name.as_str() {
            "field" | "references" => text(layers, &key, value),
            "ignore" if !value.is_bool() => {
                layers.mistake(
                    &key,
                    format!("{key} takes true or false; this is {}", kind(value)),
                );
            }
            "ignore" => {}
            "owner" => scalar(layers, &key, Shape::Choice(&OWNER), value),
            "null" => null(layers, &key, value),
            "priority" => priority(layers, &key, value),
            _ if super::super::normal::check(layers, &key, name, value) => {}
            _ => unknown(layers, at, name, COLUMN_KEYS),
        }
    }
    super::super::normal::together(layers, at, table);
}

fn null(layers: &mut Layers, at: &str, value: &Value) {
    let good = match value {
        Value::String(s) => matches!(s.as_str(), "clear" | "skip"),
        Value::Table(table) => {
            let one = table.get("default").filter(|_| table.len() == 1);
            one.is_some_and(|v| !matches!(v, Value::Array(_) | Value::Table(_)))
        }
        _ => false,
    };
    if !good {
        layers.mistake(
            at,
            format!(
                "{at} says what a NULL does: \"clear\" (it empties the field), \"skip\" (the field is left as it is) or {{ default = … }}"
            ),
        );
    }
}
