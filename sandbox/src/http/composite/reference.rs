//! `@{ref.id}`: values of earlier answers in later requests (salesforce.md §7).

use std::collections::HashMap;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

/// Bodies of earlier answers by reference id.
pub(super) type Answers = HashMap<String, Value>;

/// The reference ids that a text or a body names.
pub(super) fn named(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.extend(in_text(text)),
        Value::Array(list) => list.iter().for_each(|value| named(value, out)),
        Value::Object(map) => map.values().for_each(|value| named(value, out)),
        _ => {}
    }
}

/// The reference ids that a text names.
pub(super) fn in_text(text: &str) -> Vec<String> {
    let parts = text.split("@{").skip(1);
    parts
        .filter_map(|part| part.split_once('}'))
        .map(|(path, _)| path.split(['.', '[']).next().unwrap_or("").to_owned())
        .collect()
}

/// Puts values into a URL, percent-encoded.
pub(super) fn url(text: &str, answers: &Answers) -> Result<String, String> {
    filled(text, answers, |value| {
        utf8_percent_encode(&plain(value), NON_ALPHANUMERIC).to_string()
    })
}

/// Puts values into all texts of a body. A text that is nothing but a reference takes over
/// the type of the value.
pub(super) fn body(value: &Value, answers: &Answers) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => {
            let whole = text
                .strip_prefix("@{")
                .and_then(|rest| rest.strip_suffix('}'))
                .filter(|path| !path.contains('}'));
            match whole {
                Some(path) => look(path, answers)?.clone(),
                None => Value::String(filled(text, answers, plain)?),
            }
        }
        Value::Array(list) => {
            let list = list.iter().map(|value| body(value, answers));
            Value::Array(list.collect::<Result<_, _>>()?)
        }
        Value::Object(map) => {
            let pairs = map
                .iter()
                .map(|(key, value)| Ok((key.clone(), body(value, answers)?)));
            Value::Object(pairs.collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn filled(
    text: &str,
    answers: &Answers,
    show: impl Fn(&Value) -> String,
) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("@{") {
        let Some((path, behind)) = after.split_once('}') else {
            break;
        };
        out += before;
        out += &show(look(path, answers)?);
        rest = behind;
    }
    out += rest;
    Ok(out)
}

/// The value at `ref.records[0].Id`.
fn look<'a>(path: &str, answers: &'a Answers) -> Result<&'a Value, String> {
    let end = path.find(['.', '[']).unwrap_or(path.len());
    let (reference, steps) = path.split_at(end);
    let missing =
        || format!("Invalid reference specified. No value for {path} found in {reference}");
    let mut value = answers.get(reference).ok_or_else(missing)?;
    for step in steps.split(['.', '[']).filter(|step| !step.is_empty()) {
        value = match step.strip_suffix(']') {
            Some(index) => index.parse().ok().and_then(|at: usize| value.get(at)),
            None => value.get(step),
        }
        .ok_or_else(missing)?;
    }
    match value {
        Value::Null => Err(missing()),
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    #[test]
    fn references_reach_into_answers() {
        let answers: Answers = [(
            "q".to_owned(),
            json!({"records": [{"Id": "001", "N": 7, "Name": "a b"}], "id": null}),
        )]
        .into();
        let given = json!({"a": "@{q.records[0].Id}", "b": ["@{q.records[0].N}"], "c": "x-@{q.records[0].N}-y", "d": "@ {q}"});
        let want = json!({"a": "001", "b": [7], "c": "x-7-y", "d": "@ {q}"});
        assert_eq!(body(&given, &answers).unwrap(), want);
        assert_eq!(
            url("/x/@{q.records[0].Name}?q", &answers).unwrap(),
            "/x/a%20b?q"
        );
        for bad in [
            "@{q.records[1].Id}",
            "@{Q.id}",
            "@{q.id}",
            "@{r.id}",
            "@{q.Records}",
        ] {
            assert!(body(&json!(bad), &answers).is_err(), "{bad}");
        }
        let mut names = Vec::new();
        named(&json!({"a": ["@{one.id} @{two[0].x}", 3]}), &mut names);
        assert_eq!(names, ["one", "two"]);
        assert!(url("@{", &answers).unwrap() == "@{" && in_text("@{x").is_empty());
    }
}
