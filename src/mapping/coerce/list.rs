//! Arrays: as several values of a list, and as JSON text.

use compact_str::CompactString;

use super::Refusal;
use super::text::{bounded, listed, render, trim};
use crate::decode;
use crate::mapping::{FieldDescription, FieldValue};
use crate::value::{Element, Value, ValueType};

/// How deep a nested array is followed. Postgres allows six dimensions.
const DEPTH: u8 = 8;

/// Several values of a list, joined by semicolons; each once, in their order, nulls left out.
pub(super) fn multi(
    field: &FieldDescription,
    value_type: &ValueType,
    value: &Value<'_>,
) -> Result<Option<FieldValue>, Refusal> {
    let mut joined = CompactString::default();
    let mut seen: Vec<CompactString> = Vec::new();
    let mut add = |text: &str| -> Result<(), Refusal> {
        let text = trim(text);
        if text.is_empty() || seen.iter().any(|s| s == text) {
            return Ok(());
        }
        listed(field, text)?;
        if !joined.is_empty() {
            joined.push(';');
        }
        joined.push_str(text);
        seen.push(CompactString::new(text));
        Ok(())
    };
    match (value, value_type) {
        (Value::Array(elements), ValueType::Array(element_type, _)) => {
            for element in elements {
                match element {
                    Element::Null => {}
                    Element::Nested(_) => return Err(Refusal::BadList),
                    Element::Text(raw) => {
                        let value = decode::value(element_type, raw.as_bytes())
                            .map_err(|_| Refusal::Unreadable)?;
                        let text = render(element_type, &value)?;
                        if text.contains(';') {
                            return Err(Refusal::BadList);
                        }
                        add(&text)?;
                    }
                }
            }
        }
        (Value::Array(_), _) => return Err(Refusal::WrongType),
        // Text is a list already: the CRM reads the semicolons in it.
        _ => {
            let rendered = render(value_type, value)?;
            for part in rendered.split(';') {
                add(part)?;
            }
        }
    }
    if joined.is_empty() {
        return Ok(None);
    }
    bounded(field, &joined)?;
    Ok(Some(FieldValue::Text(joined)))
}

/// An array as JSON text, without spaces. Finite numbers and booleans stay what they are, JSON
/// documents are nested, everything else is a string.
pub(super) fn json(element_type: &ValueType, elements: &[Element]) -> Result<String, Refusal> {
    let mut out = String::new();
    put(&mut out, element_type, elements, DEPTH)?;
    Ok(out)
}

fn put(
    out: &mut String,
    element_type: &ValueType,
    elements: &[Element],
    depth: u8,
) -> Result<(), Refusal> {
    let deeper = depth.checked_sub(1).ok_or(Refusal::BadList)?;
    out.push('[');
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        match element {
            Element::Null => out.push_str("null"),
            Element::Nested(inner) => put(out, element_type, inner, deeper)?,
            Element::Text(raw) => {
                let value =
                    decode::value(element_type, raw.as_bytes()).map_err(|_| Refusal::Unreadable)?;
                let text = render(element_type, &value)?;
                let bare = match &value {
                    Value::Bool(_) | Value::Int(_) | Value::Unsigned(_) => true,
                    Value::Numeric(_) | Value::Json(_) => true,
                    Value::Float(f) => f.is_finite(),
                    _ => false,
                };
                if bare {
                    out.push_str(&text);
                } else {
                    quote(out, &text);
                }
            }
        }
    }
    out.push(']');
    Ok(())
}

fn quote(out: &mut String, text: &str) {
    // A string always has a JSON form.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}
