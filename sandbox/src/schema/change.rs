//! What Salesforce permits to change in a custom field that exists.
//!
//! Everything in the metadata may change but the type. Types that keep text as it is may
//! become each other (Help, "Considerations for Converting the Field Type of a Custom
//! Field"); conversions that change or lose values are not done here.

use serde_json::Value;

use super::custom;
use super::field::{Field, Kind};
use super::given::Refusal;
use super::{Object, Schema};

/// Types among which a field may change: its values stay as they are, or are cut off.
const PLAIN_TEXT: [&str; 6] = ["Text", "TextArea", "LongTextArea", "Email", "Phone", "Url"];

fn kind_of(meta: Option<&Value>) -> &str {
    meta.and_then(|m| m.get("type"))
        .and_then(Value::as_str)
        .unwrap_or("")
}

/// The field as it will be with this metadata.
pub(crate) fn changed(
    schema: &Schema,
    object: &Object,
    before: &Field,
    meta: &Value,
) -> Result<Field, Refusal> {
    let refuse = |message: String| Err(("FIELD_INTEGRITY_EXCEPTION", message));
    let mut field = custom::field(schema, object, &before.name, meta)?;
    let (old, new) = (kind_of(before.metadata.as_ref()), kind_of(Some(meta)));
    let text = PLAIN_TEXT.contains(&old) && PLAIN_TEXT.contains(&new);
    if old != new && !text {
        return refuse(format!(
            "Cannot change the type of the field {} from {old} to {new}",
            before.name
        ));
    }
    if field.kind == Kind::Reference && field.reference_to != before.reference_to {
        return refuse(format!(
            "Cannot change 'referenceTo' of the field {}",
            before.name
        ));
    }
    field.id.clone_from(&before.id);
    field.visible = before.visible;
    field.read_only = before.read_only;
    Ok(field)
}
