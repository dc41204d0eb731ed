//! What a column's rule says of its values: each key by itself, and all of them together.

use toml::{Table, Value};

use super::check::value::{scalar, scalars, text};
use super::layers::{Layers, dotted};
use super::schema::Shape;

const TRIM: Shape = Shape::Choice(&["none", "ends", "collapse"]);
const EMPTY: Shape = Shape::Choice(&["null", "keep"]);
const CONTROLS: Shape = Shape::Choice(&["keep", "drop"]);
const ON_INVALID: Shape = Shape::Choice(&["reject", "truncate", "clear"]);
const UNICODE: Shape = Shape::Choice(&["keep", "nfc"]);

/// Whether `name` is one of these keys. What is wrong with its value is noted.
pub(super) fn check(layers: &mut Layers, key: &str, name: &str, value: &Value) -> bool {
    match name {
        "trim" => scalar(layers, key, TRIM, value),
        "empty" => scalar(layers, key, EMPTY, value),
        "controls" => scalar(layers, key, CONTROLS, value),
        "unicode" => scalar(layers, key, UNICODE, value),
        "on_invalid" => scalar(layers, key, ON_INVALID, value),
        "time_zone" => text(layers, key, value),
        "values" => match value {
            Value::Table(values) if !values.is_empty() => scalars(layers, key, values),
            _ => layers.mistake(
                key,
                format!(
                    "{key} says what stands for what: {{ new = \"New\", won = \"Closed Won\" }}"
                ),
            ),
        },
        "otherwise" => otherwise(layers, key, value),
        _ => return false,
    }
    true
}

fn otherwise(layers: &mut Layers, key: &str, value: &Value) {
    let good = match value {
        Value::String(word) => matches!(word.as_str(), "keep" | "reject" | "null"),
        Value::Table(table) => {
            let one = table.get("value").filter(|_| table.len() == 1);
            one.is_some_and(|v| !matches!(v, Value::Array(_) | Value::Table(_)))
        }
        _ => false,
    };
    if !good {
        layers.mistake(
            key,
            format!(
                "{key} says what a value becomes that `values` does not name: \"keep\" (it stays what it is), \"reject\" (its row becomes a dead letter), \"null\" (it counts as NULL) or {{ value = … }}"
            ),
        );
    }
}

/// What the keys of one rule have to say together.
pub(super) fn together(layers: &mut Layers, at: &str, rule: &Table) {
    let said = rule.get("otherwise");
    if said.is_some_and(|o| o.as_str() != Some("keep")) && !rule.contains_key("values") {
        let key = dotted(at, "otherwise");
        layers.mistake(
            &key,
            format!("{key} is for values that {at}.values does not name, and there is none"),
        );
    }
}
