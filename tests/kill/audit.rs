//! Reads the sandbox's write log as it grows, and checks P2, P3 and P4 in every entry.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::support::crm::Crm;

#[derive(Default)]
pub struct Audit {
    after: u64,
    /// By CRM id.
    records: HashMap<String, Record>,
    /// By object and external id.
    keys: HashMap<(String, String), Key>,
    counts: BTreeMap<String, u64>,
    broken: Vec<String>,
}

struct Record {
    key: (String, String),
    version: f64,
    live: bool,
}

#[derive(Default)]
struct Key {
    /// The live record that bears it.
    bearer: Option<String>,
    /// The highest version written under it.
    version: f64,
    /// A record that bore it was deleted at this version.
    deleted: Option<f64>,
}

impl Audit {
    /// Goes on reading, and panics at what is broken.
    pub fn read(&mut self, crm: &Crm) {
        let after = self.after;
        self.after = crm.writes(after, |entry| self.entry(entry));
        self.finish();
    }

    pub fn finish(&self) {
        assert!(self.broken.is_empty(), "{}", self.broken.join("\n"));
    }

    pub fn figures(&self) -> String {
        let counts = self.counts.iter().map(|(what, n)| format!("{n} {what}"));
        counts.collect::<Vec<_>>().join(", ")
    }

    fn broken(&mut self, promise: &str, what: &str, entry: &Value) {
        let mut entry = entry.clone();
        if let Some(fields) = entry["fields"].as_object_mut() {
            fields.remove("Description");
            fields.remove("Description__c");
        }
        self.broken.push(format!("{promise}: {what}: {entry}"));
    }

    fn entry(&mut self, entry: &Value) {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let (object, operation, outcome) = (text("object"), text("operation"), text("outcome"));
        if outcome != "accepted" {
            *self
                .counts
                .entry(format!("refused with {outcome}"))
                .or_default() += 1;
            return;
        }
        let via = text("via");
        let what = match via.as_str() {
            "cascade" => format!("{object} {operation} by cascade"),
            _ => format!("{object} {operation}"),
        };
        *self.counts.entry(what).or_default() += 1;
        let id = text("id");
        match operation.as_str() {
            "delete" => self.delete(&id, entry),
            "create" | "update" => self.write(&object, &id, operation == "create", entry),
            other => panic!("an accepted {other}"),
        }
        for (field, parent) in entry["references"].as_object().unwrap() {
            let parent = parent["id"].as_str().unwrap_or_default();
            let object = object.as_str();
            if matches!(field.as_str(), "Account__c" | "ParentId")
                && !self.records.get(parent).is_some_and(|r| r.live)
            {
                self.broken("P4", &format!("{object} before its parent"), entry);
            }
        }
    }

    fn write(&mut self, object: &str, id: &str, create: bool, entry: &Value) {
        let fields = &entry["fields"];
        let version = fields["Version__c"].as_f64();
        let named = fields["Ext_Id__c"]
            .as_str()
            .map(|k| (object.to_owned(), k.to_owned()));
        if create {
            let Some(key) = named.clone() else {
                return self.broken("P3", "a create without an external id", entry);
            };
            let before = self.keys.entry(key.clone()).or_default();
            let doubled = before.bearer.is_some();
            before.bearer = Some(id.to_owned());
            let record = Record {
                key,
                version: 0.0,
                live: true,
            };
            self.records.insert(id.to_owned(), record);
            if doubled {
                self.broken("P3", "a second live record of this external id", entry);
            }
            if version.is_none() {
                self.broken("P2", "a record made of half a row", entry);
            }
        }
        let Some(record) = self.records.get_mut(id) else {
            return self.broken("P3", "an update of an unknown record", entry);
        };
        if !record.live {
            return self.broken("P2", "an update of a deleted record", entry);
        }
        if let Some(key) = named
            && key != record.key
        {
            let old = std::mem::replace(&mut record.key, key.clone());
            let old = self.keys.entry(old).or_default();
            // In a swap another record may bear it by now.
            if old.bearer.as_deref() == Some(id) {
                old.bearer = None;
            }
            let new = self.keys.entry(key).or_default();
            let doubled = new.bearer.is_some();
            new.bearer = Some(id.to_owned());
            if doubled {
                self.broken("P3", "a re-key onto a live record", entry);
            }
        }
        let Some(version) = version else { return };
        let Some(record) = self.records.get_mut(id) else {
            return;
        };
        let key = self.keys.entry(record.key.clone()).or_default();
        let backwards = version < record.version || version < key.version;
        let revived = create && key.deleted.is_some_and(|deleted| version <= deleted);
        record.version = record.version.max(version);
        key.version = key.version.max(version);
        if backwards {
            self.broken("P2", "an older version over a newer one", entry);
        }
        if revived {
            self.broken("P2", "a deleted record came back", entry);
        }
    }

    fn delete(&mut self, id: &str, entry: &Value) {
        let Some(record) = self.records.get_mut(id) else {
            return self.broken("P3", "a delete of an unknown record", entry);
        };
        record.live = false;
        let key = self.keys.entry(record.key.clone()).or_default();
        if key.bearer.as_deref() == Some(id) {
            key.bearer = None;
        }
        key.deleted = Some(record.version);
    }
}
