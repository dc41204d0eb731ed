//! What the CRM's write log says: whether a value went back, a record was doubled, a child came
//! before its parent; and how long changes took.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::app::Version;

/// What the log says.
#[derive(Default)]
pub(super) struct Order {
    /// Accepted writes of records.
    pub(super) accepted: i64,
    /// Refused ones, by code.
    pub(super) refused: BTreeMap<String, i64>,
    /// Promises broken. None, hopefully.
    pub(super) broken: Vec<String>,
}

#[derive(Default)]
struct Record {
    version: Option<f64>,
    /// By field, the record that it refers to.
    parents: HashMap<String, String>,
}

/// Reads the log from its beginning.
pub(super) fn check(writes: &[Value]) -> Order {
    let mut order = Order::default();
    let mut living: HashMap<String, Record> = HashMap::new();
    let mut children: HashMap<String, HashSet<String>> = HashMap::new();
    let mut keys: HashMap<(String, String), String> = HashMap::new();
    for write in writes {
        let text = |name: &str| write[name].as_str().unwrap_or_default().to_owned();
        let (object, id, outcome) = (text("object"), text("id"), text("outcome"));
        if outcome != "accepted" {
            *order.refused.entry(outcome).or_default() += 1;
            continue;
        }
        order.accepted += 1;
        let key = text("external_id");
        let name = format!("{object} {key} (write {})", write["seq"]);
        match text("operation").as_str() {
            "delete" => {
                let left = children.remove(&id).unwrap_or_default();
                if left.iter().any(|child| living.contains_key(child)) {
                    order.broken.push(format!(
                        "{name} was deleted before records that refer to it"
                    ));
                }
                living.remove(&id);
                keys.retain(|_, bearer| *bearer != id);
                continue;
            }
            "create" => {
                living.insert(id.clone(), Record::default());
            }
            _ if !living.contains_key(&id) => {
                order
                    .broken
                    .push(format!("{name} was written although it is not there"));
                continue;
            }
            _ => {}
        }
        if key.is_empty() {
            order.broken.push(format!("{name} has no key"));
        } else {
            keys.retain(|(o, k), bearer| *bearer != id || (*o == object && *k == key));
            if let Some(other) = keys.insert((object, key), id.clone())
                && other != id
            {
                order
                    .broken
                    .push(format!("{name} is a second record of its row"));
            }
        }
        for (field, parent) in write["references"].as_object().into_iter().flatten() {
            let parent_id = parent["id"].as_str().unwrap_or_default().to_owned();
            // Owners are users, which nobody here writes.
            if parent["object"] == "User" {
                continue;
            }
            if !living.contains_key(&parent_id) {
                order
                    .broken
                    .push(format!("{name} was written before its parent in {field}"));
            }
            children
                .entry(parent_id.clone())
                .or_default()
                .insert(id.clone());
            if let Some(record) = living.get_mut(&id) {
                record.parents.insert(field.clone(), parent_id);
            }
        }
        // A reference that is written anew, or emptied, no longer holds the old parent.
        if let Some(record) = living.get_mut(&id) {
            let fields = write["fields"].as_object();
            for (field, value) in fields.into_iter().flatten() {
                if value.is_null() {
                    record.parents.remove(field);
                }
            }
            for (parent, held) in &mut children {
                if held.contains(&id) && !record.parents.values().any(|p| p == parent) {
                    held.remove(&id);
                }
            }
            if let Some(version) = write["fields"]["App_Version__c"].as_f64() {
                if record.version.is_some_and(|before| version < before) {
                    order
                        .broken
                        .push(format!("{name} went back to an older version"));
                }
                record.version = Some(version);
            }
        }
    }
    order
}

/// How long changes took from their commit to the CRM.
pub(super) struct Lag {
    pub(super) median: Duration,
    pub(super) p95: Duration,
    pub(super) longest: Duration,
    /// Versions of rows that were found in the log; the others were merged into a later one, or their
    /// row got another key meanwhile.
    pub(super) measured: i64,
}

/// Looks up each version in the log: its own write, or the first of a newer version.
pub(super) fn lag(writes: &[Value], versions: &[Version]) -> Option<Lag> {
    let mut written: HashMap<(&str, &str), Vec<(i64, SystemTime)>> = HashMap::new();
    for write in writes.iter().filter(|w| w["outcome"] == "accepted") {
        let version = write["fields"]["App_Version__c"].as_f64();
        let at = write["at"]
            .as_str()
            .and_then(|at| at.parse::<jiff::Timestamp>().ok());
        if let (Some(version), Some(at), Some(object), Some(key)) = (
            version,
            at,
            write["object"].as_str(),
            write["external_id"].as_str(),
        ) {
            // Versions are small whole numbers.
            let entry = (version as i64, SystemTime::from(at));
            written.entry((object, key)).or_default().push(entry);
        }
    }
    let mut times: Vec<Duration> = versions
        .iter()
        .filter_map(|v| {
            let log = written.get(&(v.table.object(), v.key.as_str()))?;
            // The log's clock has milliseconds: a write may seem to be just before its commit. A row
            // that came back begins with version 1 again, so older writes are passed over.
            let commit = v.committed - Duration::from_millis(50);
            let (_, at) = log
                .iter()
                .find(|(version, at)| *version >= v.version && *at >= commit)?;
            Some(at.duration_since(v.committed).unwrap_or_default())
        })
        .collect();
    times.sort();
    let at = |share: usize| {
        times
            .get((times.len().saturating_sub(1)) * share / 100)
            .copied()
    };
    Some(Lag {
        median: at(50)?,
        p95: at(95)?,
        longest: at(100)?,
        measured: i64::try_from(times.len()).unwrap_or(i64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn write(
        seq: u64,
        operation: &str,
        object: &str,
        id: &str,
        version: i64,
        parent: Option<&str>,
    ) -> Value {
        let references = match parent {
            Some(parent) => json!({"AccountId": {"object": "Account", "id": parent}}),
            None => json!({}),
        };
        json!({"seq": seq, "operation": operation, "object": object, "id": id, "outcome": "accepted",
               "external_id": format!("key of {id}"), "references": references,
               "fields": {"App_Version__c": version}})
    }

    #[test]
    fn a_good_log_is_good() {
        let log = [
            write(1, "create", "Account", "a", 1, None),
            write(2, "create", "Contact", "c", 1, Some("a")),
            write(3, "update", "Contact", "c", 1, None),
            write(4, "update", "Contact", "c", 2, None),
            write(5, "delete", "Contact", "c", 2, None),
            write(6, "delete", "Account", "a", 1, None),
        ];
        let order = check(&log);
        assert_eq!(order.broken, Vec::<String>::new());
        assert_eq!(order.accepted, 6);
    }

    #[test]
    fn each_broken_promise_is_seen() {
        let back = [
            write(1, "create", "Account", "a", 2, None),
            write(2, "update", "Account", "a", 1, None),
        ];
        assert_eq!(check(&back).broken.len(), 1);
        let child_first = [write(1, "create", "Contact", "c", 1, Some("a"))];
        assert_eq!(check(&child_first).broken.len(), 1);
        let parent_deleted = [
            write(1, "create", "Account", "a", 1, None),
            write(2, "create", "Contact", "c", 1, Some("a")),
            write(3, "delete", "Account", "a", 1, None),
        ];
        assert_eq!(check(&parent_deleted).broken.len(), 1);
        let mut double = write(2, "create", "Account", "b", 1, None);
        double["external_id"] = json!("key of a");
        let doubled = [write(1, "create", "Account", "a", 1, None), double];
        assert_eq!(check(&doubled).broken.len(), 1);
    }
}
