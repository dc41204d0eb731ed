//! Bulk jobs over real HTTP: the same windows by jobs and by requests come to the same records, and
//! nothing that goes wrong with a job loses, doubles or turns back anything.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

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
use syncline::supervisor::brakes::Guard;
use syncline::supervisor::bulk::OldJobs;
use syncline::supervisor::flight::Crew;
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
            high: Default::default(),
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

/// Values of every awkward kind, all of them good.
fn awkward(random: &mut StdRng, key: usize) -> String {
    match random.random_range(0..16) {
        0 => "#N/A".into(),
        1 => format!(" blanks {key} "),
        2 => format!("a, \"quoted\" {key}"),
        3 => format!("two\nlines {key}"),
        4 => format!("two\r\nlines {key}"),
        5 => format!("ключ {key} 漢字"),
        _ => format!("Name {key}"),
    }
}

/// Operations with at most one fault each: which of several is told first is the CRM's business.
fn operations(schema: &Schema, random: &mut StdRng, round: usize) -> Vec<Operation> {
    let mut all = Vec::new();
    for key in 0..60 {
        let mut fields = BTreeMap::from([(0, text(0, awkward(random, key)))]);
        match random.random_range(0..4) {
            0 => drop(fields.insert(1, clear(1))),
            1 => drop(fields.insert(1, text(1, format!("+1 555 {round:04}")))),
            _ => {}
        }
        if random.random_bool(0.5) {
            let number = random.random_range(0..1_000).to_string();
            fields.insert(2, set(2, FieldValue::Number(number.into())));
        }
        match random.random_range(0..30) {
            0 => drop(fields.insert(0, text(0, "x".repeat(300)))),
            1 => drop(fields.insert(0, text(0, "bell \u{7}"))),
            2 => drop(fields.insert(2, set(2, FieldValue::Number("1e1".into())))),
            3 => drop(fields.insert(2, set(2, FieldValue::Text("many".into())))),
            _ => {}
        }
        let fields = fields.into_values().collect();
        all.push(upsert(&schema.accounts, format!("a{key}"), fields));
    }
    for key in 0..80 {
        let mut fields = BTreeMap::from([(0, text(0, awkward(random, key)))]);
        let parent = |key: &str| set(2, FieldValue::Reference(key.into()));
        match random.random_range(0..6) {
            0 => drop(fields.insert(1, text(1, format!("c{key}@example.com")))),
            1 => drop(fields.insert(1, clear(1))),
            _ => {}
        }
        match random.random_range(0..8) {
            0 => drop(fields.insert(2, clear(2))),
            n => drop(fields.insert(2, parent(&format!("a{n}")))),
        }
        if random.random_bool(0.2) {
            fields.insert(3, text(3, "1990-02-03"));
        }
        match random.random_range(0..20) {
            0 => drop(fields.insert(1, text(1, "no address"))),
            1 => drop(fields.insert(2, parent("nowhere"))),
            2 => drop(fields.insert(3, text(3, "1990-02-30"))),
            _ => {}
        }
        let fields = fields.into_values().collect();
        let key = format!("c{key}");
        match random.random_range(0..12) {
            0 if round > 0 => all.push(Operation {
                action: Action::Delete { hard: false },
                ..upsert(&schema.contacts, key, Vec::new())
            }),
            _ => all.push(upsert(&schema.contacts, key, fields)),
        }
    }
    all
}

/// Panics at what differs, with nothing else.
fn same<V: PartialEq + std::fmt::Debug>(a: &BTreeMap<String, V>, b: &BTreeMap<String, V>) {
    let keys = a.keys().chain(b.keys());
    let differs = |k: &&String| a.get(*k) != b.get(*k);
    let different: Vec<_> = keys
        .filter(differs)
        .map(|k| (k, a.get(k), b.get(k)))
        .collect();
    assert!(different.is_empty(), "{different:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_come_to_what_requests_come_to() {
    let seed = rand::rng().random_range(0..1_000_000);
    eprintln!("seed {seed}");
    let schema = Schema::new();
    let (one, other) = (Org::start().await, Org::start().await);
    let mut jobs = Side::new(&one, &schema, BulkMode::Always).await;
    let mut requests = Side::new(&other, &schema, BulkMode::Never).await;
    // Parents that are never refused.
    let first: Vec<_> = (0..10)
        .map(|n| upsert(&schema.accounts, format!("a{n}"), vec![text(0, "First")]))
        .collect();
    jobs.fly(&first).await;
    requests.fly(&first).await;
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..6 {
        let operations = operations(&schema, &mut random, round);
        let by_jobs = jobs.fly(&operations).await;
        let by_requests = requests.fly(&operations).await;
        let (mut a, mut b) = (classes(&by_jobs), classes(&by_requests));
        if round > 0 {
            // What was refused before is merged in: then a record can have several faults.
            for outcome in a.values_mut().chain(b.values_mut()) {
                let refused = outcome.starts_with("Record") || outcome.starts_with("Missing");
                if refused {
                    *outcome = "refused".into();
                }
            }
        }
        same(&a, &b);
        same(&contents(&one).await, &contents(&other).await);
    }
    assert!(jobs.calls("bulk_open") >= 10, "{}", jobs.calls("bulk_open"));
    assert_eq!(requests.calls("bulk_open"), 0);
    assert_eq!(jobs.store.bulk_jobs().await.unwrap(), []);
}

/// So many accounts, by a job.
fn many(schema: &Schema, count: usize, name: &str) -> Vec<Operation> {
    let account = |n| {
        upsert(
            &schema.accounts,
            format!("a{n}"),
            vec![text(0, format!("{name} {n}"))],
        )
    };
    (0..count).map(account).collect()
}

async fn all_named(org: &Org, count: usize, name: &str) {
    let records = contents(org).await;
    assert_eq!(records.len(), count);
    for n in 0..count {
        assert_eq!(
            records[&format!("Account/a{n}")]["Name"],
            json!(format!("{name} {n}"))
        );
    }
}

fn all_written(outcomes: &BTreeMap<String, Outcome>, count: usize) {
    let written = |o: &&Outcome| {
        matches!(
            o,
            Outcome::Written {
                crm_id: Some(_),
                ..
            }
        )
    };
    assert_eq!(outcomes.values().filter(written).count(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_window_costs_a_handful_of_calls() {
    let org = Org::start().await;
    let schema = Schema::new();
    let mut side = Side::new(&org, &schema, BulkMode::Always).await;
    all_written(&side.fly(&many(&schema, 12_000, "New")).await, 12_000);
    all_named(&org, 12_000, "New").await;
    // Now they are there: by their ids.
    all_written(&side.fly(&many(&schema, 12_000, "Newer")).await, 12_000);
    all_named(&org, 12_000, "Newer").await;
    assert_eq!(side.calls("bulk_open"), 2);
    assert_eq!((side.calls("upsert"), side.calls("update")), (0, 0));
    // Twice: made, uploaded, started, looked at, the successful results.
    let calls: u64 = side
        .crew
        .delivery
        .health()
        .usage
        .calls
        .iter()
        .map(|(_, n)| n)
        .sum();
    assert!(calls < 50, "{:?}", side.crew.delivery.health().usage);
    let (jobs, rows) = side.crew.delivery.jobs().finished();
    assert_eq!((jobs, rows), (2, 24_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_as_a_whole_is_sent_again_by_requests() {
    let org = Org::start().await;
    let schema = Schema::with(&["Nope__c"]);
    let mut side = Side::new(&org, &schema, BulkMode::Always).await;
    let mut operations = many(&schema, 300, "New");
    operations[7] = upsert(
        &schema.accounts,
        "a7",
        vec![text(0, "New 7"), text(3, "a field that is not there")],
    );
    let outcomes = side.fly(&operations).await;
    for (name, outcome) in &outcomes {
        match (name.as_str(), outcome) {
            ("Account/a7", Outcome::Refused(fault)) => assert_eq!(fault.fields, ["Nope__c"]),
            (_, Outcome::Written { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(side.calls("bulk_open"), 1);
    // The next ones go by requests for a while.
    all_written(&side.fly(&many(&schema, 300, "Newer")[..5]).await, 5);
    side.fly(&many(&schema, 600, "New")[300..]).await;
    assert_eq!(side.calls("bulk_open"), 1);
    // What is done to those that are there is another matter.
    side.fly(&many(&schema, 300, "Newest")).await;
    assert_eq!(side.calls("bulk_open"), 2);
    assert_eq!(side.store.bulk_jobs().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_left_is_sent_again() {
    let org = Org::start().await;
    let schema = Schema::new();
    let mut side = Side::new(&org, &schema, BulkMode::Always).await;
    // After 600 rows, twice.
    let rule = json!({"kind": "fail_job", "object": "Account", "after": 3, "times": 2});
    org.faults(json!([rule])).await;
    all_written(&side.fly(&many(&schema, 3_000, "New")).await, 3_000);
    all_named(&org, 3_000, "New").await;
    assert!(side.calls("bulk_open") > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_locked_are_sent_again() {
    let org = Org::start().await;
    let schema = Schema::new();
    let mut side = Side::new(&org, &schema, BulkMode::Always).await;
    let rule = json!({"kind": "lock", "every": 50, "times": 20});
    org.faults(json!([rule])).await;
    all_written(&side.fly(&many(&schema, 2_000, "New")).await, 2_000);
    all_named(&org, 2_000, "New").await;
    assert_eq!(side.calls("bulk_open"), 1);
    assert!(side.calls("upsert") >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_do_not_come_lose_nothing() {
    for (kind, path, method) in [
        ("lost", "/jobs/ingest", "POST"),
        ("lost", "/batches", "PUT"),
        ("timeout_before", "/batches", "PUT"),
        ("lost", "/jobs/ingest/", "PATCH"),
        ("lost", "/jobs/ingest/", "GET"),
        ("cut", "successfulResults", "GET"),
        ("cut", "failedResults", "GET"),
        ("unavailable", "/jobs/ingest", "POST"),
        ("bad_gateway", "/batches", "PUT"),
        ("bad_gateway", "successfulResults", "GET"),
        ("unauthorized", "/batches", "PUT"),
        ("unauthorized", "successfulResults", "GET"),
        ("throttle", "/jobs/ingest/", "PATCH"),
    ] {
        let org = Org::start().await;
        let schema = Schema::new();
        let mut side = Side::new(&org, &schema, BulkMode::Always).await;
        let rule =
            json!({"kind": kind, "path": path, "method": method, "times": 2, "delay_ms": 200});
        org.faults(json!([rule])).await;
        let mut operations = many(&schema, 1_000, "New");
        operations[5] = upsert(&schema.accounts, "a5", vec![text(0, "x".repeat(300))]);
        let outcomes = side.fly(&operations).await;
        let written = outcomes
            .values()
            .filter(|o| matches!(o, Outcome::Written { .. }));
        assert_eq!(written.count(), 999, "{kind} {path}");
        let refused = &outcomes["Account/a5"];
        assert!(
            matches!(refused, Outcome::Refused(f) if f.class == Class::Record && f.code == "STRING_TOO_LONG"),
            "{refused:?}"
        );
        let records = contents(&org).await;
        assert_eq!(records.len(), 999, "{kind} {path}");
        let writes = org.writes("Account").await;
        assert_eq!(
            writes.len(),
            999,
            "{kind} {path}: nothing was written twice"
        );
        assert_eq!(side.store.bulk_jobs().await.unwrap(), []);
    }
}

/// How far the first life gets.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Ends {
    Queued,
    Running,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_life_waits_for_a_job_and_reads_its_results() {
    for ends in [Ends::Queued, Ends::Running] {
        let org = Org::start().await;
        let schema = Schema::new();
        let mut side = Side::new(&org, &schema, BulkMode::Always).await;
        let slow = match ends {
            Ends::Queued => r#"{"bulk": {"start_ms": 2000}}"#,
            Ends::Running => r#"{"bulk": {"chunk_ms": 150}}"#,
        };
        org.put("limits", slow).await;
        let operations = many(&schema, 3_000, "New");
        let window = side.window(&operations);
        let flight = side
            .crew
            .fly(window, side.progress, false, Deferral::default());
        let ended = tokio::time::timeout(Duration::from_millis(1_200), flight).await;
        assert!(ended.is_err(), "{ends:?}: it was to be under way");
        let left = side.store.bulk_jobs().await.unwrap();
        assert_eq!(left.len(), 1, "{ends:?}");
        assert_eq!((left[0].records, &*left[0].object), (3_000, "Account"));

        side.restart(&org, &schema, BulkMode::Always);
        side.crew.end_old_jobs().await.unwrap();
        assert_eq!(
            org.writes("Account").await.len(),
            3_000,
            "{ends:?}: it has ended"
        );
        all_written(&side.fly(&operations).await, 3_000);
        assert_eq!(
            side.calls("bulk_open"),
            0,
            "{ends:?}: its results were enough"
        );
        assert_eq!(org.writes("Account").await.len(), 3_000);
        assert_eq!(side.store.bulk_jobs().await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_old_job_said_counts_for_nothing_once_something_else_was_written() {
    let org = Org::start().await;
    let schema = Schema::new();
    let mut side = Side::new(&org, &schema, BulkMode::Always).await;
    org.put("limits", r#"{"bulk": {"start_ms": 800}}"#).await;
    let old = many(&schema, 50, "Old");
    let window = side.window(&old);
    let flight = side
        .crew
        .fly(window, side.progress, false, Deferral::default());
    assert!(
        tokio::time::timeout(Duration::from_millis(500), flight)
            .await
            .is_err()
    );
    side.restart(&org, &schema, BulkMode::Always);
    side.crew.end_old_jobs().await.unwrap();
    // A few by requests, then the very same window.
    all_written(&side.fly(&many(&schema, 3, "Between")).await, 3);
    let calls = side.calls("bulk_open");
    all_written(&side.fly(&old).await, 50);
    all_named(&org, 50, "Old").await;
    assert!(side.calls("bulk_open") > calls, "it was sent again");
    assert_eq!(side.store.bulk_jobs().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_never_started_is_given_up() {
    let org = Org::start().await;
    let schema = Schema::new();
    let mut side = Side::new(&org, &schema, BulkMode::Always).await;
    let rule = json!({"kind": "slow", "path": "/batches", "delay_ms": 3000});
    org.faults(json!([rule])).await;
    let operations = many(&schema, 100, "New");
    let window = side.window(&operations);
    let flight = side
        .crew
        .fly(window, side.progress, false, Deferral::default());
    assert!(
        tokio::time::timeout(Duration::from_millis(600), flight)
            .await
            .is_err()
    );
    let left = side.store.bulk_jobs().await.unwrap();
    assert_eq!(left.len(), 1);
    org.faults(json!([])).await;
    side.restart(&org, &schema, BulkMode::Always);
    side.crew.end_old_jobs().await.unwrap();
    assert_eq!(org.writes("Account").await.len(), 0);
    let look = side.crew.delivery.look_at_job(&left[0].id).await.unwrap();
    assert_eq!(look.unwrap().state, bulk::JobState::Aborted);
    all_written(&side.fly(&operations).await, 100);
    assert_eq!(org.writes("Account").await.len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_gone_counts_as_ended() {
    let org = Org::start().await;
    let schema = Schema::new();
    let mut side = Side::new(&org, &schema, BulkMode::Always).await;
    let gone = syncline::store::BulkJob {
        id: "750Ws00000Jb1QrIAJ".into(),
        object: "Account".into(),
        ..Default::default()
    };
    let settlement = Settlement {
        jobs: vec![gone],
        ..Settlement::default()
    };
    side.store.settle(settlement).await.unwrap();
    side.crew.end_old_jobs().await.unwrap();
    all_written(&side.fly(&many(&schema, 100, "New")).await, 100);
    assert_eq!(side.store.bulk_jobs().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_stands_still_is_given_up() {
    let org = Org::start().await;
    let schema = Schema::new();
    let mut side = Side::new(&org, &schema, BulkMode::Always).await;
    org.put("limits", r#"{"bulk": {"start_ms": 600000}}"#).await;
    let mut settings = Settings {
        requests_per_second: 0,
        ..Settings::default()
    };
    settings.bulk = bulk::Settings {
        mode: BulkMode::Always,
        min_rows: 10,
        max_bytes: 1 << 20,
        patience: Patience {
            standstill: Duration::from_millis(500),
            ..patience()
        },
    };
    side.crew.delivery = Arc::new(Delivery::new(Arc::new(org.salesforce()), settings, 1));
    all_written(&side.fly(&many(&schema, 400, "New")).await, 400);
    assert_eq!(org.writes("Account").await.len(), 400);
    assert!(side.calls("bulk_abort") >= 1 && side.calls("upsert") == 2);
}

/// What is being written when a person gives a job up is written to its end: it is waited for, and what
/// the job left is sent again.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_a_person_aborts_is_waited_for() {
    let org = Org::start().await;
    let schema = Schema::new();
    let mut side = Side::new(&org, &schema, BulkMode::Always).await;
    org.put("limits", r#"{"bulk": {"chunk_ms": 150}}"#).await;
    let person = org.salesforce();
    let store = side.store.clone();
    let abort = async {
        while org.writes("Account").await.len() < 400 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let jobs = store.bulk_jobs().await.unwrap();
        let jobs: Vec<_> = jobs.iter().map(|job| job.id.as_str()).collect();
        person.bulk().unwrap().abort(jobs[0]).await.unwrap();
    };
    let operations = many(&schema, 3_000, "New");
    let (outcomes, ()) = tokio::join!(side.fly(&operations), abort);
    all_written(&outcomes, 3_000);
    all_named(&org, 3_000, "New").await;
    let writes = org.writes("Account").await;
    assert_eq!(writes.len(), 3_000, "nothing was written twice");
    assert_eq!(side.calls("bulk_open"), 2);
}

/// Contacts of 80 accounts, 31 of each, in turn; the batches in which an org works off a job of them,
/// four at once, each 200 rows at a time.
#[tokio::test(flavor = "multi_thread")]
async fn the_batches_of_a_job_do_not_contend_for_parents() {
    let org = Org::start().await;
    let schema = Schema::new();
    let mut side = Side::new(&org, &schema, BulkMode::Never).await;
    all_written(&side.fly(&many(&schema, 80, "New")).await, 80);
    let contacts: Vec<Operation> = (0..80 * 31)
        .map(|n| {
            let parent = FieldValue::Reference(format!("a{}", n % 80).into());
            let fields = vec![text(0, "Lee"), set(2, parent)];
            upsert(&schema.contacts, format!("c{n}"), fields)
        })
        .collect();
    let plan = planning::plan(side.window(&contacts), &States::new(), &schema.objects());
    let room = Room {
        records: 200,
        guarded: 0,
        bytes: 16 << 20,
        locks: &|_| true,
    };
    let stage = plan.stages.iter().flatten().copied().collect::<Vec<_>>();
    let job = planning::cut_for_jobs(&plan.entries, &stage, &room)
        .pop()
        .unwrap();
    assert_eq!(job.places.len(), contacts.len());
    let mut in_turn: Vec<_> = job.places.iter().zip(&job.batch.writes).collect();
    in_turn.sort_by_key(|(place, _)| **place);
    let in_turn: Vec<Write> = in_turn.into_iter().map(|(_, w)| w.clone()).collect();
    // A row takes 0.2 ms, and nobody waits longer than 30 ms for one.
    org.put("locks", r#"{"work_ms": 0.2, "wait_ms": 30}"#).await;
    let mut refused = Vec::new();
    for writes in [&job.batch.writes, &in_turn] {
        let batches = writes.chunks(writes.len() / 4 + 1).map(|writes| async {
            let sink = org.salesforce();
            let mut locked = 0;
            for chunk in writes.chunks(200) {
                let batch = Batch {
                    writes: chunk.to_vec(),
                    ..job.batch.clone()
                };
                let outcomes = sink.write(&batch).await.unwrap();
                let is_locked =
                    |o: &&Outcome| matches!(o, Outcome::Refused(f) if f.class == Class::Locked);
                locked += outcomes.iter().filter(is_locked).count();
            }
            locked
        });
        let locked = futures_util::future::join_all(batches).await;
        refused.push(locked.into_iter().sum::<usize>());
    }
    println!(
        "locked: {} side by side, {} in turn",
        refused[0], refused[1]
    );
    assert_eq!(refused[0], 0);
    assert!(refused[1] > 100, "{refused:?}");
}

/// With the right that it takes, a job deletes for good; without it, requests do.
#[tokio::test(flavor = "multi_thread")]
async fn records_are_deleted_for_good_either_way() {
    let org = Org::start().await;
    let mut schema = Schema::new();
    let accounts = Arc::get_mut(&mut schema.accounts).unwrap();
    accounts.removal = Removal::Delete { hard: true };
    for (right, jobs) in [(false, 0), (true, 1)] {
        let mut side = Side::new(&org, &schema, BulkMode::Never).await;
        all_written(&side.fly(&many(&schema, 30, "New")).await, 30);
        let removals: Vec<Operation> = (0..32)
            .map(|n| Operation {
                action: Action::Delete { hard: true },
                ..upsert(&schema.accounts, format!("a{n}"), Vec::new())
            })
            .collect();
        org.put("rights", &format!(r#"{{"bulk_hard_delete": {right}}}"#))
            .await;
        side.restart(&org, &schema, BulkMode::Always);
        let outcomes = side.fly(&removals).await;
        let absent = outcomes.values().filter(|o| **o == Outcome::Absent).count();
        assert_eq!((outcomes.len(), absent), (32, 2), "{outcomes:?}");
        assert_eq!(side.calls("bulk_open"), 1);
        assert_eq!(side.calls("bulk_start"), jobs, "with the right: {right}");
        assert_eq!(contents(&org).await.len(), 0);
        let bin = org.get("records/Account?deleted=true").await;
        assert_eq!(bin.as_array().unwrap().len(), 0, "they are not in the bin");
    }
}
