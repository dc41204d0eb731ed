//! Planning against a plain model: random transactions, cut into windows at random places, planned,
//! and carried out stage after stage, come to the same as every change by itself, in order. After
//! every window both sides are compared; on the way no write refers to a record that is missing, and
//! no record goes back.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub
)]

#[path = "simulation/database.rs"]
mod database;
#[path = "simulation/schema.rs"]
mod schema;
#[path = "simulation/world.rs"]
mod world;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use syncline::capture::Frame;
use syncline::change::{Lsn, Timestamp};
use syncline::decode::{Decoded, Decoder, Types};
use syncline::mapping::{Action, Assigned, Assignment, Binding, FieldValue, Mapped, Operation};
use syncline::mapping::{RecordId, Target};
use syncline::planning::{
    self, Batch, BatchAction, Bounds, Cut, Item, LedgerEntry, Objects, Pending, Pushed,
    RecordState, Room, States, Window, Write,
};
use syncline::sinks::Outcome;
use syncline::store::{Progress, Settlement};
use syncline::supervisor::settle::{Delivered, Extent, Fate, settle};

type Name = (String, String);

/// Records by object and external id; references by the parent's external id, as text `→key`.
#[derive(Clone, Default, PartialEq, Debug)]
struct Records(BTreeMap<Name, BTreeMap<String, String>>);

impl Records {
    fn assign(&mut self, target: &Target, key: &str, fields: &[Assigned]) {
        let record = self
            .0
            .entry((target.object.to_string(), key.to_string()))
            .or_default();
        for field in fields {
            let name = target.fields[usize::from(field.slot)].name.to_string();
            match &field.assignment {
                Assignment::Clear => record.remove(&name),
                Assignment::Set(FieldValue::Reference(parent)) => {
                    record.insert(name, format!("→{parent}"))
                }
                Assignment::Set(FieldValue::Bool(value)) => record.insert(name, value.to_string()),
                Assignment::Set(FieldValue::Number(text) | FieldValue::Text(text)) => {
                    record.insert(name, text.to_string())
                }
            };
        }
    }

    /// A record bears another external id: whoever refers to it goes on doing so.
    fn rename(&mut self, object: &str, from: &str, to: &str) {
        let Some(record) = self.0.remove(&(object.to_string(), from.to_string())) else {
            return;
        };
        let name = (object.to_string(), to.to_string());
        assert!(
            self.0.insert(name, record).is_none(),
            "{object} {to} would be there twice"
        );
        if object == "Account" {
            let (old, new) = (format!("→{from}"), format!("→{to}"));
            for value in self.0.values_mut().flat_map(BTreeMap::values_mut) {
                if *value == old {
                    new.clone_into(value);
                }
            }
        }
    }

    fn remove(&mut self, object: &str, key: &str) {
        self.0.remove(&(object.to_string(), key.to_string()));
        if object == "Account" {
            let gone = format!("→{key}");
            for record in self.0.values_mut() {
                record.retain(|_, value| *value != gone);
            }
        }
    }

    /// One change by itself.
    fn apply(&mut self, operation: &Operation) {
        let object = &operation.target.object;
        match &operation.action {
            Action::Delete { .. } => self.remove(object, &operation.key),
            Action::ReKey { from } => {
                self.rename(object, from, &operation.key);
                self.assign(&operation.target, &operation.key, &operation.fields);
            }
            Action::Upsert | Action::Archive { .. } => {
                self.assign(&operation.target, &operation.key, &operation.fields);
            }
        }
    }

    /// One record of a batch, as a strict CRM takes it.
    fn write(&mut self, batch: &Batch, write: &Write) -> Outcome {
        let object = batch.target.object.to_string();
        let name = (object.clone(), write.key.to_string());
        let before = self
            .0
            .get(&name)
            .and_then(|r| r.get("Version__c")?.parse::<i64>().ok());
        for field in write.fields.iter() {
            if let Assignment::Set(FieldValue::Reference(parent)) = &field.assignment {
                let known = self
                    .0
                    .contains_key(&("Account".to_string(), parent.to_string()));
                assert!(known, "{name:?} refers to {parent}, which is not there");
            }
        }
        match batch.action {
            BatchAction::Delete { .. } => {
                let known = self.0.contains_key(&name);
                self.remove(&object, &write.key);
                if !known {
                    return Outcome::Absent;
                }
            }
            BatchAction::Update => {
                let from = write.from.as_ref().expect("only re-keys update here");
                if !self.0.contains_key(&(object.clone(), from.to_string())) {
                    return Outcome::Absent;
                }
                self.rename(&object, from, &write.key);
                self.assign(&batch.target, &write.key, &write.fields);
            }
            BatchAction::Upsert => self.assign(&batch.target, &write.key, &write.fields),
        }
        let after = self
            .0
            .get(&name)
            .and_then(|r| r.get("Version__c")?.parse::<i64>().ok());
        assert!(
            before.is_none() || after.is_none() || after >= before,
            "{name:?} went back"
        );
        Outcome::Written {
            crm_id: None,
            created: before.is_none(),
        }
    }
}

#[derive(Default)]
struct Sidecar {
    crm: Records,
    ledger: HashMap<RecordId, LedgerEntry>,
    shelf: HashMap<RecordId, Pending>,
    progress: Progress,
    stages: usize,
}

impl Sidecar {
    fn deliver(&mut self, window: Window, objects: &Objects) {
        let mut states = States::new();
        loop {
            let wanted = planning::needed(&window, &states, objects, true);
            if wanted.is_empty() {
                break;
            }
            for record in wanted {
                let ledger = self.ledger.get(&record).cloned();
                let pending = self.shelf.get(&record).cloned().map(Box::new);
                states.insert(record, RecordState { ledger, pending });
            }
        }
        let extent = Extent {
            until: window.until,
            ..Extent::default()
        };
        let plan = planning::plan(window, &states, objects);
        let mut fates: Vec<Fate> = Vec::new();
        fates.resize_with(plan.entries.len(), Fate::default);
        self.stages = self.stages.max(plan.stages.len());
        for stage in &plan.stages {
            let room = Room {
                records: 5,
                guarded: 5,
                bytes: 10_000,
                locks: &|_| true,
            };
            for Cut { batch, places, .. } in planning::cut(&plan.entries, stage, &room) {
                assert!(batch.writes.len() <= 5);
                for (write, place) in batch.writes.iter().zip(places) {
                    fates[place] = Fate::Answered(self.crm.write(&batch, write));
                }
            }
        }
        let delivered = Delivered {
            extent,
            plan,
            fates,
            ..Delivered::default()
        };
        let settled = settle(delivered, self.progress, objects, Timestamp(0));
        self.keep(settled.settlement);
    }

    fn keep(&mut self, settlement: Settlement) {
        self.progress = settlement.progress;
        for record in settlement.ledger_removed {
            self.ledger.remove(&record);
        }
        self.ledger.extend(settlement.ledger);
        for record in settlement.unshelved {
            self.shelf.remove(&record);
        }
        for pending in settlement.shelved {
            self.shelf.insert(pending.record.clone(), pending);
        }
    }

    /// What was left out of the last window to cut a circle follows in the next.
    fn clear_shelf(&mut self, objects: &Objects) {
        for _ in 0..3 {
            if self.shelf.is_empty() {
                return;
            }
            let mut window = Window::default();
            window.shelf = self.shelf.keys().cloned().collect();
            window.shelf.sort();
            self.deliver(window, objects);
        }
        assert!(self.shelf.is_empty(), "{:#?}", self.shelf);
    }
}

/// The compiled rules.
fn mapping() -> syncline::mapping::Mapping {
    let types = Types::new(Vec::new());
    let compiled = syncline::mapping::compile(
        &schema::config(schema::High::Nothing),
        &schema::catalog(),
        &syncline::mapping::Remembered::default(),
        &|oid, _| types.value_type(oid),
        Some(&schema::crm()),
    );
    compiled
        .mapping
        .unwrap_or_else(|| panic!("{:#?}", compiled.findings))
}

/// The whole history as one stream.
fn frames_of(history: &world::History) -> Vec<bytes::Bytes> {
    let random = rand::SeedableRng::seed_from_u64(0);
    let whole = world::History {
        before: 0,
        ..history.clone()
    };
    let database = database::Database::new(Arc::new(whole), random);
    database.go_on(usize::MAX);
    let (transactions, _) = database.since(Lsn(0), 0);
    let numbered = transactions.iter().enumerate();
    numbered
        .flat_map(|(number, t)| world::frames(t, number == 0))
        .collect()
}

fn operations(seed: u64, transactions: usize, ids: i64) -> Vec<Operation> {
    let mut random = SmallRng::seed_from_u64(seed);
    let history = world::write(&mut random, transactions, ids);
    let mapping = mapping();
    let mut decoder = Decoder::new(Types::new(Vec::new()), Vec::new());
    let mut bindings: HashMap<u32, Binding> = HashMap::new();
    let mut operations = Vec::new();
    for payload in frames_of(&history) {
        let frame = Frame {
            lsn: Lsn(0),
            payload,
        };
        match decoder.decode(&frame).expect("valid frames") {
            Some(Decoded::Schema { relation, .. }) => {
                bindings.insert(relation.oid, mapping.bind(&relation));
            }
            Some(Decoded::Change(change)) => {
                let Some(relation) = &change.relation else {
                    continue;
                };
                match bindings[&relation.oid].map(&change) {
                    Mapped::Operation(operation) => operations.push(operation),
                    other => panic!("{other:?}"),
                }
            }
            _ => {}
        }
    }
    operations
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000,
        failure_persistence: None,
        ..ProptestConfig::default() })]

    #[test]
    fn windows_come_to_the_same_as_single_changes(
        seed: u64,
        transactions in 1_usize..40,
        ids in 2_i64..14,
        rows in 1_usize..60,
        cuts in proptest::collection::vec(1_usize..50, 1..20),
    ) {
        let mapping = mapping();
        let objects = Objects::new(&mapping);
        let bounds = Some(Bounds { rows, bytes: 20_000 });
        let mut model = Records::default();
        let mut sidecar = Sidecar::default();
        let mut cuts = cuts.into_iter().cycle();
        let mut left = cuts.next().expect("endless");
        let mut window = Window::default();
        let mut inside: Vec<Operation> = Vec::new();
        let mut queue: std::collections::VecDeque<Operation> =
            operations(seed, transactions, ids).into();
        loop {
            let next = queue.pop_front();
            let ends = next.is_none() || left == 0;
            let mut over = None;
            if let Some(operation) = next {
                if ends {
                    over = Some(operation);
                } else {
                    inside.push(operation.clone());
                    if let Pushed::Full(item) = window.push(Item::new(operation, None), bounds) {
                        inside.pop();
                        over = Some(item.operation);
                    }
                    left -= 1;
                }
            }
            if !ends && over.is_none() {
                continue;
            }
            for operation in inside.drain(..) {
                model.apply(&operation);
            }
            sidecar.deliver(std::mem::take(&mut window), &objects);
            sidecar.clear_shelf(&objects);
            let names = sidecar.crm.0.keys().chain(model.0.keys());
            for name in names {
                prop_assert_eq!(sidecar.crm.0.get(name), model.0.get(name), "{:?}", name);
            }
            left = cuts.next().expect("endless");
            match over {
                Some(operation) => queue.push_front(operation),
                None => break,
            }
        }
    }
}

/// A chain of records that refer to each other goes out link by link, deletes from its other end.
#[test]
fn a_chain_is_written_from_its_root_and_deleted_from_its_leaf() {
    let mapping = mapping();
    let objects = Objects::new(&mapping);
    let target = mapping
        .by_name("public.company")
        .expect("mapped")
        .target
        .clone();
    let lookup = target
        .fields
        .iter()
        .position(|f| f.reference.is_some())
        .expect("a lookup");
    let operation = |ordinal: u64, key: u64, parent: Option<u64>, action| Operation {
        target: Arc::clone(&target),
        key: key.to_string().into(),
        action,
        fields: parent
            .map(|p| Assigned {
                slot: lookup as u16,
                assignment: Assignment::Set(FieldValue::Reference(p.to_string().into())),
            })
            .into_iter()
            .collect::<Vec<_>>()
            .into(),
        position: syncline::change::Position {
            commit: Lsn(ordinal + 1),
            ordinal: 0,
        },
        commit_time: Timestamp(0),
        xid: 1,
        changed: Vec::new(),
    };
    let mut sidecar = Sidecar::default();
    let mut window = Window::default();
    for key in 0..10 {
        // The children come first in the stream.
        let item = operation(key, key, (key < 9).then_some(key + 1), Action::Upsert);
        assert!(matches!(
            window.push(Item::new(item, None), None),
            Pushed::Taken
        ));
    }
    sidecar.deliver(window, &objects);
    assert_eq!((sidecar.crm.0.len(), sidecar.stages), (10, 10));
    let mut window = Window::default();
    for key in (0..10).rev() {
        let item = operation(100 - key, key, None, Action::Delete { hard: false });
        assert!(matches!(
            window.push(Item::new(item, None), None),
            Pushed::Taken
        ));
    }
    sidecar.stages = 0;
    sidecar.deliver(window, &objects);
    assert_eq!((sidecar.crm.0.len(), sidecar.stages), (0, 10));
}
