//! Who has to have won, by the true times of both sides.

use std::collections::HashMap;

use serde_json::Value;

use crate::support::crm::Crm;
use crate::support::postgres::Postgres;
use crate::traffic::{FIELDS, Made};

/// Fields that belong to whoever changed them last; the history of the first is tracked.
const NEWEST: usize = 2;
const SECOND: i64 = 1_000_000;

/// What the CRM holds of a field, and who wrote it when (in microseconds).
#[derive(Clone, Default)]
struct Held {
    value: Option<String>,
    at: i64,
    person: bool,
    /// Ours, and nobody could tell when the state was lost: there is no history, and others have
    /// changed the record.
    untold: bool,
}

/// What is known of a record, by the log of the CRM and the database's commits.
#[derive(Clone, Default)]
struct Record {
    held: [Held; 4],
    /// The newest value that the database has, and when it committed.
    ours: [Option<(String, i64)>; 4],
    /// When anything was last written to it.
    modified: i64,
}

pub struct Oracle {
    records: Vec<Record>,
    /// Commit times, by value.
    committed: HashMap<String, i64>,
    /// How far the log has been read.
    after: u64,
    /// Changes committed before this were read as existing rows: nobody could tell when.
    forgotten: i64,
    violations: Vec<String>,
    pub edits: u64,
    pub changes: u64,
    /// Our writes over what a person had written.
    overwritten: u64,
}

impl Oracle {
    pub fn new(records: u64) -> Self {
        Oracle {
            records: vec![Record::default(); usize::try_from(records).unwrap() + 1],
            committed: HashMap::new(),
            after: 0,
            forgotten: 0,
            violations: Vec::new(),
            edits: 0,
            changes: 0,
            overwritten: 0,
        }
    }

    pub fn forget_times(&mut self, at: i64) {
        self.forgotten = at;
    }

    /// What the database was given, with the times of its commits from the database itself.
    pub fn learn(&mut self, postgres: &Postgres, made: Vec<Made>) {
        let mut xids: Vec<u64> = made.iter().map(|m| m.xid).collect();
        xids.dedup();
        let mut times: HashMap<u64, i64> = HashMap::new();
        for part in xids.chunks(500) {
            let list: Vec<String> = part.iter().map(u64::to_string).collect();
            let rows = postgres.psql(&format!(
                "SELECT x, (extract(epoch FROM pg_xact_commit_timestamp(x::text::xid)) * 1000000)::int8 \
                 FROM unnest(ARRAY[{}]::int8[]) x",
                list.join(",")
            ));
            for row in rows.lines() {
                let (xid, time) = row.split_once('|').unwrap();
                times.insert(xid.parse().unwrap(), time.parse().unwrap());
            }
        }
        for made in made {
            let at = times[&made.xid];
            self.changes += 1;
            self.committed.insert(made.value.clone(), at);
            let ours = &mut self.records[usize::try_from(made.record).unwrap()].ours[made.field];
            if ours.as_ref().is_none_or(|(_, before)| *before <= at) {
                *ours = Some((made.value, at));
            }
        }
    }

    /// Reads on in the log of the CRM: no write of ours may go over an edit that was not earlier.
    pub fn read(&mut self, crm: &Crm) {
        let mut entries = Vec::new();
        self.after = crm.writes(self.after, |entry| {
            if entry["outcome"] == "accepted" {
                entries.push(entry.clone());
            }
        });
        for entry in entries {
            self.written(&entry);
        }
    }

    fn written(&mut self, entry: &Value) {
        let Some(number) = entry["external_id"]
            .as_str()
            .and_then(|id| id.parse::<usize>().ok())
        else {
            return;
        };
        let at: jiff::Timestamp = entry["at"].as_str().unwrap().parse().unwrap();
        let at = at.as_microsecond();
        let person = entry["user"] != "integration@sandbox.test";
        let record = &mut self.records[number];
        record.modified = record.modified.max(at);
        self.edits += u64::from(person);
        for (field, (_, name)) in FIELDS.iter().enumerate() {
            let Some(value) = entry["fields"].get(*name).and_then(Value::as_str) else {
                continue;
            };
            let held = &mut record.held[field];
            if !person && held.person {
                self.overwritten += 1;
                let committed = self.committed.get(value).copied();
                if committed.is_none_or(|s| !later(s, held.at)) {
                    self.violations.push(format!(
                        "edit lost: {name} of {number}: {:?}, edited {}, was written over by {value:?}, committed {committed:?}",
                        held.value, held.at
                    ));
                }
            }
            *held = Held {
                value: Some(value.to_owned()),
                at,
                person,
                untold: false,
            };
        }
    }

    /// Everything has arrived: what each field has to hold. Panics if anything is wrong.
    pub fn judge(&mut self, crm: &Crm, when: &str) -> String {
        let mut kept = 0;
        for shown in crm.records("Contact", "Ext_Id__c,Phone,City__c,Title,Note__c") {
            let number: usize = shown["Ext_Id__c"].as_str().unwrap().parse().unwrap();
            let record = &mut self.records[number];
            for (field, (_, name)) in FIELDS.iter().enumerate() {
                let shows = shown[*name].as_str().map(str::to_owned);
                let held = &mut record.held[field];
                assert_eq!(shows, held.value, "the log tells what is there");
                let Some((ours, s)) = &record.ours[field] else {
                    continue;
                };
                if held.value.as_ref() == Some(ours) {
                    continue;
                }
                held.untold |= field == 1 && *s <= self.forgotten;
                let theirs = field < NEWEST && (held.person || held.untold);
                let wrong = match (theirs, field) {
                    (false, _) => Some("change lost"),
                    // The database came later; nobody could know if its time was forgotten.
                    (true, 0) => {
                        (later(*s, held.at) && *s > self.forgotten).then_some("change lost")
                    }
                    // Without history any change of the record since may have been the edit.
                    (true, _) => {
                        let seen = later(*s, held.at) && later(*s, record.modified);
                        (seen && *s > self.forgotten).then_some("change lost")
                    }
                };
                match wrong {
                    Some(what) => self.violations.push(format!(
                        "{what}: {name} of {number} shows {:?} of {} ({}), not {ours:?} of {s}; last changed {}",
                        held.value,
                        held.at,
                        if held.person { "a person's" } else { "ours" },
                        record.modified
                    )),
                    None => kept += 1,
                }
            }
        }
        let told = format!(
            "{} edits, {} changes, {} edits overtaken by later changes, {kept} fields kept",
            self.edits, self.changes, self.overwritten
        );
        let first: Vec<&String> = self.violations.iter().take(20).collect();
        let of = |kind: &str| {
            self.violations
                .iter()
                .filter(|v| v.starts_with(kind))
                .count()
        };
        assert!(
            self.violations.is_empty(),
            "{when}: {told}: violations: {} edits lost, {} changes lost: {first:#?}",
            of("edit lost"),
            of("change lost")
        );
        told
    }
}

/// A change at `s` came after the whole second of an edit at `e`.
fn later(s: i64, e: i64) -> bool {
    s >= e.div_euclid(SECOND) * SECOND + SECOND
}
