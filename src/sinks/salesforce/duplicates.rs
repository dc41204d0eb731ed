//! Duplicate rules: what we say of them, and what they say.
//!
//! <https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/headers_duplicaterules.htm>

use serde_json::Value;

use crate::config::Duplicates;
use crate::mapping::Target;

/// The header of a request that saves records, by its name in a composite request, too.
pub(super) const HEADER: &str = "Sforce-Duplicate-Rule-Header";
/// Most records that a message names.
const NAMED: usize = 5;

/// Name and value of the header. Without the details no error in a collection names its doubles.
pub(super) fn header(target: &Target) -> (&'static str, &'static str) {
    let value = match target.creation.duplicates {
        Duplicates::Reject => "includeRecordDetails=true",
        Duplicates::Allow => "allowSave=true; includeRecordDetails=true",
    };
    (HEADER, value)
}

/// What an error says of duplicates, as a sentence without a value: the rule, the ids of the doubles,
/// and whether the rule lets the record pass.
pub(super) fn sentence(found: &Value) -> Option<String> {
    let results = found.get("matchResults")?.as_array()?;
    let matches = results
        .iter()
        .filter_map(|r| r.get("matchRecords")?.as_array())
        .flatten();
    let ids: Vec<&str> = matches
        .filter_map(|m| m.get("record")?.get("Id")?.as_str())
        .collect();
    let rule = found.get("duplicateRule").and_then(Value::as_str);
    let mut text = match rule {
        Some(rule) => format!("The duplicate rule {rule} takes it for a double"),
        None => "A duplicate rule takes it for a double".to_owned(),
    };
    if !ids.is_empty() {
        let named: Vec<&str> = ids.iter().take(NAMED).copied().collect();
        text.push_str(&format!(" of {}", named.join(", ")));
        if let Some(more) = ids.len().checked_sub(NAMED).filter(|n| *n > 0) {
            text.push_str(&format!(" and {more} more"));
        }
    }
    text.push_str(match found.get("allowSave").and_then(Value::as_bool) {
        Some(true) => "; the rule only warns: duplicates = \"allow\" saves it all the same",
        Some(false) => "; the rule blocks it, whatever `duplicates` says",
        None => "",
    });
    Some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_sentence_names_the_doubles_and_no_value() {
        let double = |id: &str| serde_json::json!({"record": {"Id": id, "Email": "secret@x"}});
        let found = |count: usize, passes: bool| {
            let records: Vec<Value> = (0..count).map(|n| double(&format!("003{n}"))).collect();
            serde_json::json!({"duplicateRule": "Same", "allowSave": passes,
                "matchResults": [{"matchRecords": records}]})
        };
        let one = sentence(&found(1, true)).unwrap();
        assert!(one.starts_with(
            "The duplicate rule Same takes it for a double of 0030; the rule only warns"
        ));
        let many = sentence(&found(8, false)).unwrap();
        assert!(many.contains("0034 and 3 more; the rule blocks"), "{many}");
        assert!(!many.contains("secret"));
        assert!(sentence(&serde_json::json!({"matchResults": 5})).is_none());
        assert!(sentence(&Value::Null).is_none());
    }
}
