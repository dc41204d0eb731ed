//! What the CRM's write log says: whether a value went back, a record was doubled, a child came
//! before its parent; and how long changes took.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::app::{Table, Version};

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

/// A living record.
#[derive(Default)]
struct Record {
    version: Option<f64>,
    key: String,
    /// By field, the record that it refers to.
    parents: HashMap<String, String>,
}

/// The CRM as the log makes it.
#[derive(Default)]
struct World {
    living: HashMap<String, Record>,
    /// By object and key, the record's id.
    bearers: HashMap<(String, String), String>,
    /// By a record's id, those that refer to it, and by which field.
    children: HashMap<String, HashSet<(String, String)>>,
}

impl World {
    fn delete(&mut self, object: &str, id: &str) -> bool {
        if let Some(gone) = self.living.remove(id) {
            for (field, parent) in gone.parents {
                self.release(&parent, id, &field);
            }
            self.bearers.remove(&(object.to_owned(), gone.key));
        }
        self.children.remove(id).is_none_or(|left| left.is_empty())
    }

    fn release(&mut self, parent: &str, id: &str, field: &str) {
        if let Some(children) = self.children.get_mut(parent) {
            children.remove(&(id.to_owned(), field.to_owned()));
        }
    }

    /// The record bears this key from now on. False when another one does.
    fn name(&mut self, object: &str, id: &str, key: &str) -> bool {
        let Some(record) = self.living.get_mut(id) else {
            return true;
        };
        if record.key == key {
            return true;
        }
        let old = std::mem::replace(&mut record.key, key.to_owned());
        self.bearers.remove(&(object.to_owned(), old));
        let bearer = self
            .bearers
            .insert((object.to_owned(), key.to_owned()), id.to_owned());
        bearer.is_none()
    }

    /// The record refers to this parent, or to none. False when that is not there.
    fn refer(&mut self, id: &str, field: &str, parent: Option<&str>) -> bool {
        let before = match (self.living.get_mut(id), parent) {
            (None, _) => None,
            (Some(record), None) => record.parents.remove(field),
            (Some(record), Some(parent)) => {
                record.parents.insert(field.to_owned(), parent.to_owned())
            }
        };
        if let Some(before) = before {
            self.release(&before, id, field);
        }
        let Some(parent) = parent else { return true };
        let children = self.children.entry(parent.to_owned()).or_default();
        children.insert((id.to_owned(), field.to_owned()));
        self.living.contains_key(parent)
    }

    /// False when the record had a newer version before.
    fn version(&mut self, id: &str, version: f64) -> bool {
        let Some(record) = self.living.get_mut(id) else {
            return true;
        };
        let before = record.version.replace(version);
        before.is_none_or(|before| before <= version)
    }
}

/// Reads the log from its beginning.
pub(super) fn check(writes: &[Value]) -> Order {
    let mut order = Order::default();
    let mut world = World::default();
    for write in writes {
        let text = |name: &str| write[name].as_str().unwrap_or_default();
        let (object, id, key) = (text("object"), text("id"), text("external_id"));
        // The permission to fill a field that was made is no record of a row.
        if Table::ALL.iter().all(|table| table.object() != object) {
            continue;
        }
        if text("outcome") != "accepted" {
            *order.refused.entry(text("outcome").to_owned()).or_default() += 1;
            continue;
        }
        order.accepted += 1;
        let name = format!("{object} {key} (write {})", write["seq"]);
        let mut demand = |kept: bool, broken: &str| {
            if !kept {
                order.broken.push(format!("{name} {broken}"));
            }
        };
        if text("operation") == "delete" {
            demand(
                world.delete(object, id),
                "was deleted before records that refer to it",
            );
            continue;
        }
        if text("operation") == "create" {
            world.living.insert(id.to_owned(), Record::default());
        }
        demand(
            world.living.contains_key(id),
            "was written although it is not there",
        );
        demand(!key.is_empty(), "has no key");
        demand(world.name(object, id, key), "is a second record of its row");
        let references = write["references"].as_object();
        for (field, value) in write["fields"].as_object().into_iter().flatten() {
            let parent = references.and_then(|r| r.get(field));
            // Owners are users, whom nobody here writes.
            if parent.is_some_and(|p| p["object"] == "User") {
                continue;
            }
            let parent = parent.and_then(|p| p["id"].as_str());
            if parent.is_some() || value.is_null() {
                demand(
                    world.refer(id, field, parent),
                    &format!("was written before its parent in {field}"),
                );
            }
        }
        if let Some(version) = write["fields"]["App_Version__c"].as_f64() {
            demand(world.version(id, version), "went back to an older version");
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
            // The log's clock has milliseconds: a write may seem to be just before its commit.
            let commit = v.committed - Duration::from_millis(50);
            // A row that was saved without a change is not written again.
            let known = |(version, at): &(i64, SystemTime)| *version == v.version && *at < commit;
            if log.iter().any(known) {
                return None;
            }
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
               "fields": {"App_Version__c": version, "AccountId": parent}})
    }

    #[test]
    fn a_good_log_is_good() {
        let log = [
            write(1, "create", "Account", "a", 1, None),
            write(2, "create", "Contact", "c", 1, Some("a")),
            write(3, "update", "Contact", "c", 1, Some("a")),
            write(4, "update", "Contact", "c", 2, Some("a")),
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
