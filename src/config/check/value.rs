//! What can be wrong with one value.

use toml::{Table, Value};

use super::super::layers::{Layers, dotted};
use super::super::nearest::nearest;
use super::super::schema::{LATER, LATER_KEYS, PRIORITY, Shape, choice};
use super::super::units;

/// A key that nobody knows, or not yet.
pub(in crate::config) fn unknown<'n>(
    layers: &mut Layers,
    around: &str,
    name: &str,
    known: impl IntoIterator<Item = &'n str>,
) {
    let key = dotted(around, name);
    if let Some((_, meanwhile)) = LATER_KEYS.iter().find(|(later, _)| *later == name) {
        layers.mistake(&key, format!("{key} comes in a later release; {meanwhile}"));
        return;
    }
    let near = nearest(name, known)
        .map(|n| format!("; did you mean {n:?}?"))
        .unwrap_or_default();
    layers.mistake(&key, format!("unknown key {key}{near}"));
}

pub(in crate::config) fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a point",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

pub(in crate::config) fn scalar(layers: &mut Layers, key: &str, shape: Shape, value: &Value) {
    let good = match (shape, value) {
        (Shape::Text | Shape::Secret | Shape::Connection, Value::String(_)) => true,
        (Shape::Count(least, most), Value::Integer(n)) => (least..=most).contains(n),
        (Shape::Size, Value::Integer(n)) => *n > 0,
        (Shape::Size, Value::String(s)) => units::size(s).is_some_and(|bytes| bytes > 0),
        (Shape::Span, Value::String(s)) => units::span(s).is_some(),
        (Shape::Portion, value) => units::portion(value).is_some(),
        (Shape::CountOrShare, Value::Integer(n)) => *n >= 0,
        (Shape::CountOrShare, Value::String(s)) => units::percent(s).is_some(),
        (Shape::Switch, Value::Boolean(_)) => true,
        (Shape::Choice(words), Value::String(s)) => words.contains(&s.as_str()),
        _ => false,
    };
    if good {
        return;
    }
    let expected = shape.words();
    if let (Shape::Choice(words), Value::String(found)) = (shape, value) {
        let last = key.rsplit('.').next().unwrap_or(key);
        let later = LATER
            .iter()
            .find(|(k, word, _)| *k == last && word == found);
        let text = match later {
            Some((_, _, now)) => format!("{key} = {found:?} comes in a later release; now: {now}"),
            None => {
                let near = nearest(found, words.iter().copied())
                    .map(|n| format!("; did you mean {n:?}?"))
                    .unwrap_or_default();
                format!("{key} is {expected}, not {found:?}{near}")
            }
        };
        layers.mistake(key, text);
    } else {
        // The value may be a secret: only its kind is told.
        layers.mistake(
            key,
            format!("{key} takes {expected}; this is {}", kind(value)),
        );
    }
}

pub(in crate::config) fn scalars(layers: &mut Layers, at: &str, table: &Table) {
    for (name, value) in table {
        if matches!(value, Value::Array(_) | Value::Table(_)) {
            let key = dotted(at, name);
            layers.mistake(
                &key,
                format!("{key} takes one value; this is {}", kind(value)),
            );
        }
    }
}

pub(in crate::config) fn text(layers: &mut Layers, at: &str, value: &Value) {
    match value {
        Value::String(s) if !s.is_empty() => {}
        other => layers.mistake(
            at,
            format!(
                "{at} takes a text in quotes; this is {}",
                match other {
                    Value::String(_) => "empty",
                    other => kind(other),
                }
            ),
        ),
    }
}

pub(in crate::config) fn priority(layers: &mut Layers, at: &str, value: &Value) {
    if !value.as_str().is_some_and(|s| PRIORITY.contains(&s)) {
        layers.mistake(at, format!("{at} is {}", choice(&PRIORITY)));
    }
}
