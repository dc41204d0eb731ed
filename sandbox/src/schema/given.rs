//! What a request says of a field, member by member, and how it is refused.

use serde_json::Value;

/// Why a definition was refused: an error code and its message.
pub(crate) type Refusal = (&'static str, String);

pub(super) fn refuse<T>(code: &'static str, message: impl Into<String>) -> Result<T, Refusal> {
    Err((code, message.into()))
}

pub(super) fn text<'a>(meta: &'a Value, key: &str) -> Option<&'a str> {
    meta.get(key)
        .and_then(Value::as_str)
        .filter(|t| !t.is_empty())
}

pub(super) fn flag(meta: &Value, key: &str) -> bool {
    match meta.get(key) {
        Some(Value::Bool(b)) => *b,
        Some(Value::String(s)) => s.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

pub(super) fn number(meta: &Value, key: &str) -> Option<usize> {
    match meta.get(key)? {
        Value::String(s) => s.parse().ok(),
        other => usize::try_from(other.as_u64()?).ok(),
    }
}

pub(super) fn need(meta: &Value, key: &str, low: usize, high: usize) -> Result<usize, Refusal> {
    match number(meta, key) {
        None => refuse(
            "FIELD_INTEGRITY_EXCEPTION",
            format!(
                "Must specify '{key}' for a CustomField of type {}",
                text(meta, "type").unwrap_or("")
            ),
        ),
        Some(n) if n < low || n > high => refuse(
            "FIELD_INTEGRITY_EXCEPTION",
            format!("The value of {key} must be between {low} and {high}"),
        ),
        Some(n) => Ok(n),
    }
}
