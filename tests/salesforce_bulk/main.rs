//! Bulk jobs over real HTTP: the same windows by jobs and by requests come to the same records, and
//! nothing that goes wrong with a job loses, doubles or turns back anything.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod equal;
mod jobs;
#[path = "../salesforce_org/mod.rs"]
mod salesforce_org;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use salesforce_org::Org;
use serde_json::{Value, json};
use syncline::backoff::Backoff;
use syncline::change::{Identity, Lsn, Position, Timestamp};
use syncline::clock::Clock;
use syncline::config::{Brake, BulkMode, DeleteLimit, OnCrmDelete};
use syncline::fault::{Class, Fault};
use syncline::mapping::{
    Action, Assigned, Assignment, FieldId, FieldValue, ObjectId, Operation, Reference, Removal,
    Target, TargetField,
};
use syncline::planning::{
    self, Batch, Deferral, Item, Objects, Pushed, Room, States, Window, Write,
};
use syncline::sinks::bulk::{self, Patience};
use syncline::sinks::{Delivery, Outcome, Settings, Sink};
use syncline::store::{BulkJobs, Checkpoints, Memory, Progress, Settlement, Store};
use syncline::supervisor::crew::Crew;
use syncline::supervisor::guard::Guard;
use syncline::supervisor::old_jobs::OldJobs;
use syncline::supervisor::settle::{Delivered, Fate, settle};

fn plain(name: &str) -> TargetField {
    TargetField {
        id: FieldId::new(name),
        name: name.into(),
        reference: None,
        unique: false,
        broken: None,
        owner: Default::default(),
        kind: Default::default(),
        scale: 0,
    }
}

fn target(object: &str, removal: Removal, fields: Vec<TargetField>) -> Arc<Target> {
    Arc::new(Target {
        id: ObjectId::new(object, "Ext_Id__c"),
        table: format!("public.{object}").into(),
        object: object.into(),
        key_field: "Ext_Id__c".into(),
        removal,
        on_crm_delete: OnCrmDelete::default(),
        creation: syncline::mapping::Creation::default(),
        halted: None,
        version: None,
        fields,
    })
}

/// Accounts and their contacts.
struct Schema {
    accounts: Arc<Target>,
    contacts: Arc<Target>,
}

impl Schema {
    fn new() -> Self {
        Schema::with(&[])
    }

    fn with(more: &[&str]) -> Self {
        let parent = Reference {
            object: ObjectId::new("Account", "Ext_Id__c"),
            object_name: "Account".into(),
            key_field: "Ext_Id__c".into(),
            relationship: "Account".into(),
            polymorphic: false,
        };
        let delete = Removal::Delete { hard: false };
        let mut names = vec![plain("Name"), plain("Phone"), plain("NumberOfEmployees")];
        names.extend(more.iter().map(|name| plain(name)));
        Schema {
            accounts: target("Account", delete.clone(), names),
            contacts: target(
                "Contact",
                delete,
                vec![
                    plain("LastName"),
                    plain("Email"),
                    TargetField {
                        reference: Some(parent),
                        ..plain("AccountId")
                    },
                    plain("Birthdate"),
                ],
            ),
        }
    }

    fn objects(&self) -> Objects {
        let targets = [(&self.accounts, 0), (&self.contacts, 1)];
        Objects {
            children: [(self.accounts.id, vec![self.contacts.id])]
                .into_iter()
                .collect(),
            targets: targets
                .map(|(t, _)| (t.id, Arc::clone(t)))
                .into_iter()
                .collect(),
            depth: targets
                .map(|(t, depth)| (t.id, depth))
                .into_iter()
                .collect(),
            ..Objects::default()
        }
    }
}

fn set(slot: u16, value: FieldValue) -> Assigned {
    Assigned {
        slot,
        assignment: Assignment::Set(value),
    }
}

fn text(slot: u16, text: impl AsRef<str>) -> Assigned {
    set(slot, FieldValue::Text(text.as_ref().into()))
}

fn clear(slot: u16) -> Assigned {
    Assigned {
        slot,
        assignment: Assignment::Clear,
    }
}

fn upsert(target: &Arc<Target>, key: impl AsRef<str>, fields: Vec<Assigned>) -> Operation {
    Operation {
        target: Arc::clone(target),
        key: key.as_ref().into(),
        action: Action::Upsert,
        fields: fields.into(),
        position: Position::default(),
        commit_time: Timestamp(0),
        xid: 1,
        changed: Vec::new(),
    }
}

/// A crew with a store of its own.
struct Side {
    crew: Crew,
    store: Memory,
    progress: Progress,
    ordinal: u64,
}

fn patience() -> Patience {
    Patience {
        looks: (Duration::from_millis(10), Duration::from_millis(200)),
        standstill: Duration::from_secs(20),
        quiet: Duration::from_millis(200),
    }
}

fn delivery(org: &Org, mode: BulkMode) -> Delivery {
    let settings = Settings {
        requests_per_second: 0,
        record_tries: 8,
        backoff: Backoff {
            base: Duration::from_millis(20),
            cap: Duration::from_millis(200),
        },
        bulk: bulk::Settings {
            mode,
            min_rows: 10,
            max_bytes: 16 << 20,
            patience: patience(),
        },
        ..Settings::default()
    };
    Delivery::new(Arc::new(org.salesforce()), settings, 3)
}

/// Here more is deleted than a brake lets pass.
fn no_brakes() -> Brake {
    Brake {
        deletes: DeleteLimit::Count(0),
        writes_per_record: 0,
        ..Brake::default()
    }
}

impl Side {
    async fn new(org: &Org, schema: &Schema, mode: BulkMode) -> Self {
        let store = Memory::new();
        let identity = Identity {
            system: "1".into(),
            timeline: 1,
            database: "d".into(),
            slot: "s".into(),
            publication: "p".into(),
            consistent_point: Lsn(1),
        };
        store.bind(identity, Progress::default()).await.unwrap();
        let guard = Guard::new(&no_brakes(), Clock::System, &store).await;
        let guard = Arc::new(guard.unwrap());
        Side {
            crew: Side::crew(org, schema, mode, &store, &guard),
            store,
            progress: Progress::default(),
            ordinal: 0,
        }
    }

    fn crew(
        org: &Org,
        schema: &Schema,
        mode: BulkMode,
        store: &Memory,
        guard: &Arc<Guard>,
    ) -> Crew {
        Crew {
            store: Arc::new(store.clone()),
            delivery: Arc::new(delivery(org, mode)),
            objects: Arc::new(schema.objects()),
            guard: Arc::clone(guard),
            old_jobs: OldJobs::default(),
            clocks: Arc::default(),
            origin: Default::default(),
        }
    }

    /// The next life, from what is stored.
    fn restart(&mut self, org: &Org, schema: &Schema, mode: BulkMode) {
        let guard = Arc::clone(&self.crew.guard);
        self.crew = Side::crew(org, schema, mode, &self.store, &guard);
    }

    /// A window of these operations, each a change of its own. The same again gives the same window.
    fn window(&self, operations: &[Operation]) -> Window {
        let mut window = Window::default();
        for (number, operation) in operations.iter().enumerate() {
            let mut operation = operation.clone();
            operation.position = Position {
                commit: Lsn(100 + self.ordinal * 10),
                ordinal: number as u64,
            };
            let pushed = window.push(Item::new(operation, None), None);
            assert!(matches!(pushed, Pushed::Taken));
        }
        // Their transaction is known whole.
        window.commit(Lsn(101 + self.ordinal * 10));
        window
    }

    async fn fly(&mut self, operations: &[Operation]) -> BTreeMap<String, Outcome> {
        let window = self.window(operations);
        let delivered = self
            .crew
            .fly(window, self.progress, false, Deferral::default())
            .await
            .unwrap();
        self.settle(delivered).await
    }

    async fn settle(&mut self, delivered: Delivered) -> BTreeMap<String, Outcome> {
        let mut outcomes = BTreeMap::new();
        for (entry, fate) in delivered.plan.entries.iter().zip(&delivered.fates) {
            if !entry.is_sent() {
                continue;
            }
            let outcome = match fate {
                Fate::Answered(outcome) => outcome.clone(),
                Fate::Waits(parent) => Outcome::Refused(Fault::new(
                    Class::MissingParent,
                    "waits",
                    parent.key.as_str(),
                )),
                other => panic!("{}: {other:?}", entry.operation.key),
            };
            let name = format!("{}/{}", entry.operation.target.object, entry.operation.key);
            outcomes.insert(name, outcome);
        }
        let objects = Arc::clone(&self.crew.objects);
        let settled = settle(delivered, self.progress, &objects, Timestamp(0));
        self.progress = settled.settlement.progress;
        self.store.settle(settled.settlement).await.unwrap();
        self.ordinal += 1;
        outcomes
    }

    fn calls(&self, kind: &str) -> u64 {
        let usage = self.crew.delivery.health().usage;
        let found = usage.calls.iter().find(|(word, _)| *word == kind);
        found.map_or(0, |(_, n)| *n)
    }
}

/// The outcome without what differs from org to org.
fn class(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Written { created, .. } => format!("written {created}"),
        Outcome::Absent => "absent".into(),
        Outcome::Deferred { doubt } => format!("deferred {doubt}"),
        Outcome::Overtaken => "overtaken".into(),
        Outcome::Refused(fault) => {
            format!(
                "{:?} {} {:?} {}",
                fault.class, fault.code, fault.fields, fault.message
            )
        }
    }
}

fn classes(outcomes: &BTreeMap<String, Outcome>) -> BTreeMap<String, String> {
    outcomes
        .iter()
        .map(|(k, o)| (k.clone(), class(o)))
        .collect()
}

/// All records of both objects, parents by their external id.
async fn contents(org: &Org) -> BTreeMap<String, BTreeMap<String, Value>> {
    let mut all = BTreeMap::new();
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    for (object, fields) in [
        ("Account", "Id,Ext_Id__c,Name,Phone,NumberOfEmployees"),
        ("Contact", "Id,Ext_Id__c,LastName,Email,AccountId,Birthdate"),
    ] {
        let records = org.get(&format!("records/{object}?fields={fields}")).await;
        for record in records.as_array().unwrap() {
            let mut record: BTreeMap<String, Value> =
                serde_json::from_value(record.clone()).unwrap();
            record.remove("attributes");
            let id = record.remove("Id").unwrap().as_str().unwrap().to_owned();
            let key = format!("{object}/{}", record["Ext_Id__c"].as_str().unwrap());
            if let Some(parent) = record.get_mut("AccountId")
                && let Some(id) = parent.as_str()
            {
                *parent = ids[id].clone().into();
            }
            ids.insert(id, key.clone());
            assert!(all.insert(key.clone(), record).is_none(), "twice: {key}");
        }
    }
    all
}
