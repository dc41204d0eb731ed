//! Parents that the CRM locks: children of one parent changed in every window, with ten requests at
//! once, against a sandbox whose locks are held while it works. With families in one lane no record
//! meets a lock; without, see what is printed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod salesforce_org;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use salesforce_org::Org;
use serde_json::{Value, json};
use syncline::change::{Lsn, Position, Timestamp};
use syncline::clock::Clock;
use syncline::config::{Brake, OnCrmDelete};
use syncline::fault::Fault;
use syncline::mapping::{
    Action, Assigned, Assignment, FieldId, FieldSpec, FieldValue, ObjectDescription, ObjectId,
    Operation, Reference, Removal, Target, TargetField,
};
use syncline::planning::{
    Batch, Course, Entry, Existence, Lanes, LedgerEntry, Objects, Origin, Plan, Room, cut,
};
use syncline::sinks::salesforce::Salesforce;
use syncline::sinks::{
    BoxFuture, CrmRecord, Delivery, Limits, Named, Outcome, Settings, Sink, Usage,
};
use syncline::store::{Memory, Store};
use syncline::supervisor::bulk::Journal;
use syncline::supervisor::crew::Crew;
use syncline::supervisor::guard::Guard;
use syncline::supervisor::old_jobs::OldJobs;
use syncline::supervisor::settle::{Delivered, Extent, Fate};

const PARENTS: usize = 67;
const CHILDREN: usize = 30;
const KEY: &str = "Ext_Id__c";

/// Salesforce, taken for a CRM that locks no parents: what it would be without lanes.
struct Ungrouped(Salesforce);

impl Sink for Ungrouped {
    fn limits(&self) -> Limits {
        self.0.limits()
    }

    fn describe<'a>(
        &'a self,
        objects: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Option<ObjectDescription>>, Fault>> {
        self.0.describe(objects)
    }

    fn read<'a>(
        &'a self,
        target: &'a Target,
        named: Named<'a>,
        fields: &'a [u16],
    ) -> BoxFuture<'a, Result<Vec<Option<CrmRecord>>, Fault>> {
        self.0.read(target, named, fields)
    }

    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Vec<Outcome>, Fault>> {
        self.0.write(batch)
    }

    fn create_fields<'a>(
        &'a self,
        object: &'a str,
        specs: &'a [FieldSpec],
    ) -> BoxFuture<'a, Result<Vec<Result<(), Fault>>, Fault>> {
        self.0.create_fields(object, specs)
    }

    fn locks_parents(&self, _object: &str) -> bool {
        false
    }

    fn usage(&self) -> Usage {
        self.0.usage()
    }
}

fn field(name: &str, parent: Option<&str>) -> TargetField {
    TargetField {
        id: FieldId::new(name),
        name: name.into(),
        reference: parent.map(|object| Reference {
            object: ObjectId::new(object, KEY),
            object_name: object.into(),
            key_field: KEY.into(),
            relationship: "Master__r".into(),
            polymorphic: false,
        }),
        unique: false,
        broken: None,
        owner: Default::default(),
        kind: Default::default(),
        scale: 0,
    }
}

fn target(object: &str, fields: Vec<TargetField>) -> Arc<Target> {
    Arc::new(Target {
        id: ObjectId::new(object, KEY),
        table: "public.t".into(),
        object: object.into(),
        key_field: KEY.into(),
        removal: Removal::Delete { hard: false },
        halted: None,
        version: None,
        on_crm_delete: OnCrmDelete::default(),
        creation: syncline::mapping::Creation::default(),
        fields,
    })
}

fn accounts() -> Arc<Target> {
    target("Account", vec![field("Name", None)])
}

fn parts() -> Arc<Target> {
    let fields = vec![field("Size__c", None), field("Master__c", Some("Account"))];
    target("Part__c", fields)
}

fn set(slot: u16, value: FieldValue) -> Assigned {
    Assigned {
        slot,
        assignment: Assignment::Set(value),
    }
}

/// One record of a plan. What is `known` of it is as it was; only `sent` of its fields differ.
fn entry(
    target: &Arc<Target>,
    key: &str,
    fields: Vec<Assigned>,
    sent: usize,
    known: bool,
) -> Entry {
    let ledger = known.then(|| LedgerEntry {
        position: Position::default(),
        existence: Existence::Live,
        crm_id: None,
        fingerprints: Vec::new(),
        parents: Vec::new(),
        kept_fields: Vec::new(),
    });
    let changed: Vec<Assigned> = fields.iter().take(sent).cloned().collect();
    Entry {
        operation: Operation {
            target: Arc::clone(target),
            key: key.into(),
            action: Action::Upsert,
            fields: Arc::new(fields),
            position: Position {
                commit: Lsn(1),
                ordinal: 0,
            },
            commit_time: Timestamp(0),
            xid: 1,
            changed: Vec::new(),
        },
        ledger,
        pending: None,
        absorbed: Vec::new(),
        markers: Vec::new(),
        marker: None,
        change: true,
        row: false,
        course: Course::Send(Arc::new(changed)),
        completes: Vec::new(),
        aside: Default::default(),
    }
}

/// Children of every parent, as an application changes them: not one parent after the other.
fn children(parents: usize, each: usize, text: &str, known: bool) -> Vec<Entry> {
    let target = parts();
    let numbers = (0..each).flat_map(|child| (0..parents).map(move |parent| (parent, child)));
    let one = |(parent, child): (usize, usize)| {
        let fields = vec![
            set(0, FieldValue::Text(text.into())),
            set(1, FieldValue::Reference(format!("p{parent}").into())),
        ];
        let sent = if known { 1 } else { 2 };
        entry(&target, &format!("{parent}-{child}"), fields, sent, known)
    };
    numbers.map(one).collect()
}

fn plan(entries: Vec<Entry>) -> Plan {
    Plan {
        stages: vec![(0..entries.len()).collect()],
        entries,
        places: HashMap::new().into_iter().collect(),
        ..Plan::default()
    }
}

fn refused(delivered: &Delivered) -> usize {
    let written = |fate: &&Fate| matches!(fate, Fate::Answered(Outcome::Written { .. }));
    delivered.fates.len() - delivered.fates.iter().filter(written).count()
}

/// What a run came to.
#[derive(Debug)]
struct Seen {
    locked: u64,
    refused: usize,
    attempts: u64,
    took: Duration,
    wrong: usize,
}

impl Seen {
    fn tell(&self, what: &str) {
        println!(
            "{what}: {} lock errors, {} records refused in the end, {} requests, {:.1} s",
            self.locked,
            self.refused,
            self.attempts,
            self.took.as_secs_f64()
        );
    }
}

async fn run(grouped: bool, wait_ms: u64, windows: usize) -> Seen {
    let org = Org::start().await;
    let fields = json!({"fields": {
        KEY: {"type": "Text", "label": "Ext Id", "length": 80, "externalId": true, "unique": true,
              "caseSensitive": true},
        "Master__c": {"type": "MasterDetail", "label": "Master", "referenceTo": "Account",
              "relationshipName": "Parts", "relationshipLabel": "Parts", "relationshipOrder": 0},
        "Size__c": {"type": "Text", "label": "Size", "length": 40}}});
    org.put("objects/Part__c", &fields.to_string()).await;
    let sink: Arc<dyn Sink> = match grouped {
        true => Arc::new(org.patient(Duration::from_secs(120))),
        false => Arc::new(Ungrouped(org.patient(Duration::from_secs(120)))),
    };
    let settings = Settings {
        concurrency: 10,
        requests_per_second: 0,
        ..Settings::default()
    };
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let guard = Guard::new(&Brake::default(), Clock::System, &*store).await;
    let crew = Crew {
        store,
        guard: Arc::new(guard.unwrap()),
        delivery: Arc::new(Delivery::new(sink, settings, 5)),
        objects: Arc::new(Objects::default()),
        clocks: Arc::default(),
        origin: Origin::default(),
        old_jobs: OldJobs::default(),
    };
    let send = async |entries: Vec<Entry>| {
        crew.send(plan(entries), Extent::default(), Journal::default())
            .await
    };
    let accounts = accounts();
    let parents = (0..PARENTS).map(|parent| {
        let name = vec![set(0, FieldValue::Text("P".into()))];
        entry(&accounts, &format!("p{parent}"), name, 1, false)
    });
    assert_eq!(refused(&send(parents.collect()).await.unwrap()), 0);
    let first = send(children(PARENTS, CHILDREN, "0", false)).await.unwrap();
    assert_eq!(refused(&first), 0);

    let locks = json!({"work_ms": 1, "wait_ms": wait_ms});
    org.put("locks", &locks.to_string()).await;
    let before = crew.delivery.health();
    let start = Instant::now();
    let mut lost = 0;
    for window in 1..=windows {
        let text = window.to_string();
        lost += refused(
            &send(children(PARENTS, CHILDREN, &text, true))
                .await
                .unwrap(),
        );
    }
    let took = start.elapsed();
    let after = crew.delivery.health();
    let locked =
        |paces: &[syncline::sinks::PaceReport]| paces.iter().map(|p| p.locked).sum::<u64>();
    let newest = windows.to_string();
    let shown = org.get("records/Part__c?fields=Size__c").await;
    let shown = shown.as_array().unwrap();
    assert_eq!(shown.len(), PARENTS * CHILDREN);
    let wrong = |r: &&Value| r["Size__c"] != newest.as_str();
    Seen {
        locked: locked(&after.pace) - locked(&before.pace),
        refused: lost,
        attempts: after.attempts - before.attempts,
        took,
        wrong: shown.iter().filter(wrong).count(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn children_of_one_parent_never_meet_its_lock() {
    let windows = 5;
    let fewest = (PARENTS * CHILDREN).div_ceil(200) * windows;
    for wait_ms in [0, 200] {
        let grouped = run(true, wait_ms, windows).await;
        grouped.tell(&format!("in lanes, locks waited for {wait_ms} ms"));
        assert_eq!((grouped.locked, grouped.refused, grouped.wrong), (0, 0, 0));
        // And no request more than without.
        assert_eq!(grouped.attempts, fewest as u64);
    }
    let ungrouped = run(false, 200, windows).await;
    ungrouped.tell("without lanes, locks waited for 200 ms");
    assert!(ungrouped.locked > 100, "{ungrouped:?}");
    // Even then nothing is lost: what is not written is told.
    assert!(ungrouped.wrong <= ungrouped.refused, "{ungrouped:?}");
}

/// What packing and lanes cost a record.
#[test]
#[ignore = "a measurement: `cargo test --release --test locks -- --ignored --nocapture`"]
fn what_lanes_cost() {
    for (what, parents, each) in [("strangers", 50_000, 1), ("families of 30", 1_667, 30)] {
        let entries = children(parents, each, "x", true);
        let stage: Vec<usize> = (0..entries.len()).collect();
        let room = |locks: &'static dyn Fn(&str) -> bool| Room {
            records: 200,
            guarded: 25,
            bytes: 4 << 20,
            locks,
        };
        let timed = |locks: &'static dyn Fn(&str) -> bool| {
            let best = (0..5).map(|_| {
                let start = Instant::now();
                let cuts = cut(&entries, &stage, &room(locks));
                let cutting = start.elapsed();
                let start = Instant::now();
                let locks = cuts.iter().map(|c| c.locks.clone()).collect();
                let mut lanes = Lanes::new(locks);
                let mut sent = 0;
                while let Some(batch) = lanes.start() {
                    lanes.end(batch);
                    sent += 1;
                }
                assert_eq!(sent, cuts.len());
                (cutting, start.elapsed())
            });
            best.min().unwrap()
        };
        let each = |d: Duration| d.as_secs_f64() * 1e6 / entries.len() as f64;
        let (cutting, lanes) = timed(&|_| true);
        let (without, _) = timed(&|_| false);
        println!(
            "{what}: cut {:.2} µs a record ({:.2} without parents), lanes {:.2} µs",
            each(cutting),
            each(without),
            each(lanes)
        );
    }
}
