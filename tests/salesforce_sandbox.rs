//! The Salesforce sink and the delivery engine against the sandbox: a server as strict as Salesforce
//! that remembers every write.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod salesforce_org;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use salesforce_org::Org;
use serde_json::{Value, json};
use syncline::fault::{Class, Severity};
use syncline::mapping::{
    Assigned, Assignment, FieldId, FieldKind, FieldValue, Key, ObjectId, Reference, Target,
    TargetField,
};
use syncline::planning::{Batch, BatchAction, CrmId, Write};
use syncline::sinks::{Delivery, Named, Outcome, Sink, hints_at_schema};

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

fn accounts(key_field: &str) -> Arc<Target> {
    Arc::new(Target {
        id: ObjectId::new("Account", key_field),
        table: "public.company".into(),
        object: "Account".into(),
        key_field: key_field.into(),
        removal: syncline::mapping::Removal::Delete { hard: false },
        on_crm_delete: syncline::config::OnCrmDelete::default(),
        creation: syncline::mapping::Creation::default(),
        halted: None,
        version: None,
        fields: vec![plain("Name"), plain("Phone")],
    })
}

fn contacts(key_field: &str) -> Arc<Target> {
    let parent = Reference {
        object: ObjectId::new("Account", key_field),
        object_name: "Account".into(),
        key_field: key_field.into(),
        relationship: "Account".into(),
        polymorphic: false,
    };
    Arc::new(Target {
        id: ObjectId::new("Contact", key_field),
        table: "public.customer".into(),
        object: "Contact".into(),
        key_field: key_field.into(),
        removal: syncline::mapping::Removal::Delete { hard: false },
        on_crm_delete: syncline::config::OnCrmDelete::default(),
        creation: syncline::mapping::Creation::default(),
        halted: None,
        version: None,
        fields: vec![
            plain("LastName"),
            plain("Email"),
            TargetField {
                reference: Some(parent),
                ..plain("AccountId")
            },
        ],
    })
}

fn text(slot: u16, value: impl AsRef<str>) -> Assigned {
    let value = FieldValue::Text(value.as_ref().into());
    Assigned {
        slot,
        assignment: Assignment::Set(value),
    }
}

fn parent(key: impl AsRef<str>) -> Assigned {
    let value = FieldValue::Reference(key.as_ref().into());
    Assigned {
        slot: 2,
        assignment: Assignment::Set(value),
    }
}

fn clear(slot: u16) -> Assigned {
    Assigned {
        slot,
        assignment: Assignment::Clear,
    }
}

fn write(key: impl AsRef<str>, fields: Vec<Assigned>) -> Write {
    Write {
        guard: None,
        key: key.as_ref().into(),
        from: None,
        crm_id: None,
        fields: fields.into(),
    }
}

fn batches(target: &Arc<Target>, action: BatchAction, writes: Vec<Write>) -> Vec<Batch> {
    let batch = |writes: &[Write]| Batch {
        target: target.clone(),
        action,
        writes: writes.to_vec(),
    };
    writes.chunks(200).map(batch).collect()
}

async fn deliver(
    delivery: &Delivery,
    target: &Arc<Target>,
    action: BatchAction,
    writes: Vec<Write>,
) -> Vec<Outcome> {
    let batches = batches(target, action, writes).into_iter();
    let outcomes = join_all(batches.map(|batch| delivery.deliver(batch))).await;
    outcomes.into_iter().flat_map(|o| o.unwrap()).collect()
}

fn id(outcome: &Outcome) -> CrmId {
    match outcome {
        Outcome::Written { crm_id, .. } => crm_id.clone().unwrap(),
        other => panic!("not written: {other:?}"),
    }
}

fn all_written(outcomes: &[Outcome]) {
    outcomes.iter().for_each(|o| drop(id(o)));
}

/// 30 companies and 450 customers of theirs.
async fn fill(delivery: &Delivery, key_field: &str, prefix: &str) {
    let companies = (0..30).map(|i| write(format!("{prefix}{i}"), vec![text(0, format!("A{i}"))]));
    let companies = companies.collect();
    all_written(
        &deliver(
            delivery,
            &accounts(key_field),
            BatchAction::Upsert,
            companies,
        )
        .await,
    );
    let customers = (0..450).map(|i| {
        let fields = vec![
            text(0, format!("L{i}")),
            text(1, format!("c{i}@example.com")),
            parent(format!("{prefix}{}", i % 30)),
        ];
        write(format!("{prefix}{i}"), fields)
    });
    let customers = customers.collect();
    all_written(
        &deliver(
            delivery,
            &contacts(key_field),
            BatchAction::Upsert,
            customers,
        )
        .await,
    );
}

async fn read(
    delivery: &Delivery,
    target: &Target,
    keys: &[String],
) -> BTreeMap<String, Vec<Value>> {
    let wanted: Vec<Key> = keys.iter().map(Key::from).collect();
    let slots: Vec<u16> = (0..target.fields.len()).map(|i| i as u16).collect();
    let records = delivery
        .read(target, Named::Keys(&wanted), &slots)
        .await
        .unwrap();
    let found = keys.iter().cloned().zip(records);
    found
        .filter_map(|(key, r)| Some((key, r?.values.iter().map(json_of).collect())))
        .collect()
}

fn json_of(assignment: &Assignment) -> Value {
    match assignment {
        Assignment::Clear => Value::Null,
        Assignment::Set(FieldValue::Bool(yes)) => json!(yes),
        Assignment::Set(FieldValue::Number(digits)) => serde_json::from_str(digits).unwrap(),
        Assignment::Set(FieldValue::Text(text) | FieldValue::Reference(text)) => json!(text),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_can_be_read_back() {
    let org = Org::start().await;
    for (key_field, prefix) in [("Ext_Id__c", "it's #"), ("Num_Id__c", "")] {
        let delivery = org.delivery();
        let objects = [
            "Account".to_owned(),
            "Contact".to_owned(),
            "Nope__c".to_owned(),
        ];
        let described = delivery.describe(&objects).await.unwrap();
        assert_eq!(described[2], None);
        let contact = described[1].as_ref().unwrap();
        assert_eq!(contact.field("Email").unwrap().kind, FieldKind::Email);
        let key = contact.field(key_field).unwrap();
        assert!(key.external_id && key.unique);

        fill(&delivery, key_field, prefix).await;
        let keys: Vec<String> = (0..460).map(|i| format!("{prefix}{i}")).collect();
        let records = read(&delivery, &contacts(key_field), &keys).await;
        assert_eq!(records.len(), 450);
        for i in 0..450 {
            let values = &records[&format!("{prefix}{i}")];
            assert_eq!(values[0], json!(format!("L{i}")));
            assert_eq!(values[1], json!(format!("c{i}@example.com")));
            let company = format!("{prefix}{}", i % 30);
            match &values[2] {
                Value::Number(number) => assert_eq!(number.as_f64(), company.parse().ok()),
                other => assert_eq!(*other, json!(company)),
            }
        }
        assert_eq!(delivery.health().retries, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clear_empties_and_absent_leaves_alone() {
    let org = Org::start().await;
    let delivery = org.delivery();
    fill(&delivery, "Ext_Id__c", "k").await;
    let target = contacts("Ext_Id__c");
    let changes = vec![
        write("k1", vec![clear(1), clear(2)]),
        write("k2", vec![text(0, "New")]),
        write("k3", vec![parent("k7")]),
    ];
    let outcomes = deliver(&delivery, &target, BatchAction::Upsert, changes).await;
    let not_created = |o: &Outcome| matches!(o, Outcome::Written { created: false, .. });
    assert!(outcomes.iter().all(not_created));
    let records = read(&delivery, &target, &["k1".into(), "k2".into(), "k3".into()]).await;
    assert_eq!(records["k1"], [json!("L1"), Value::Null, Value::Null]);
    assert_eq!(
        records["k2"],
        [json!("New"), json!("c2@example.com"), json!("k2")]
    );
    assert_eq!(
        records["k3"],
        [json!("L3"), json!("c3@example.com"), json!("k7")]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_is_answered_for() {
    let org = Org::start().await;
    let delivery = org.delivery();
    fill(&delivery, "Ext_Id__c", "k").await;
    let long = "x".repeat(81);
    let writes = vec![
        write("n1", vec![text(0, "Fine")]),
        write("n2", vec![text(0, &long)]),
        write("n3", vec![text(1, "no.name@example.com")]),
        write("n4", vec![text(0, "Child"), parent("nowhere")]),
        write("n5", vec![text(0, "Mail"), text(1, "not an address")]),
    ];
    let outcomes = deliver(
        &delivery,
        &contacts("Ext_Id__c"),
        BatchAction::Upsert,
        writes,
    )
    .await;
    id(&outcomes[0]);
    let refusal = |o: &Outcome| match o {
        Outcome::Refused(fault) => (fault.class, fault.code.to_string()),
        other => panic!("not refused: {other:?}"),
    };
    assert_eq!(
        refusal(&outcomes[1]),
        (Class::Record, "STRING_TOO_LONG".into())
    );
    assert_eq!(
        refusal(&outcomes[2]),
        (Class::Record, "REQUIRED_FIELD_MISSING".into())
    );
    assert_eq!(
        refusal(&outcomes[3]),
        (Class::MissingParent, "INVALID_FIELD".into())
    );
    assert_eq!(
        refusal(&outcomes[4]),
        (Class::Record, "INVALID_EMAIL_ADDRESS".into())
    );

    // A field that is not there concerns the records that hold it.
    let mut target = Arc::into_inner(contacts("Ext_Id__c")).unwrap();
    target.fields.push(plain("Nope__c"));
    let batch = Batch {
        target: Arc::new(target),
        action: BatchAction::Upsert,
        writes: vec![
            write("n6", vec![text(0, "x"), text(3, "y")]),
            write("n7", vec![text(0, "x")]),
        ],
    };
    let outcomes = delivery.deliver(batch).await.unwrap();
    let fault = match &outcomes[0] {
        Outcome::Refused(fault) => fault,
        other => panic!("not refused: {other:?}"),
    };
    assert_eq!(
        (fault.class, &*fault.code),
        (Class::Record, "INVALID_FIELD")
    );
    assert_eq!(fault.fields, ["Nope__c"]);
    assert!(hints_at_schema(fault));
    id(&outcomes[1]);

    // So do a missing external-id field and a missing object, by all records of the object.
    for (object, key_field) in [("Contact", "Nope_Id__c"), ("Nope__c", "Ext_Id__c")] {
        let mut target = Arc::into_inner(contacts(key_field)).unwrap();
        target.object = object.into();
        target.fields.truncate(2);
        let target = Arc::new(target);
        for action in [
            BatchAction::Upsert,
            BatchAction::Update,
            BatchAction::Delete { hard: false },
        ] {
            let writes = vec![write("n8", vec![text(0, "x")]), write("n9", vec![])];
            for outcome in deliver(&delivery, &target, action, writes).await {
                match outcome {
                    Outcome::Refused(fault) => {
                        assert_eq!(fault.class, Class::Record, "{fault:?}");
                        assert!(hints_at_schema(&fault), "{fault:?}");
                    }
                    other => panic!("{object} {key_field} {action:?}: {other:?}"),
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_re_keys_and_deletes_may_be_repeated() {
    let org = Org::start().await;
    for (key_field, prefix) in [("Ext_Id__c", "k"), ("Num_Id__c", "")] {
        let delivery = org.delivery();
        delivery
            .describe(&["Account".into(), "Contact".into()])
            .await
            .unwrap();
        fill(&delivery, key_field, prefix).await;
        let target = contacts(key_field);
        let key = |i: usize| format!("{prefix}{i}");

        // Archive: found by external id, never created.
        let archive: Vec<Write> = (0..460)
            .map(|i| write(key(i), vec![text(0, "Gone")]))
            .collect();
        for _ in 0..2 {
            let outcomes = deliver(&delivery, &target, BatchAction::Update, archive.clone()).await;
            all_written(&outcomes[..450]);
            assert!(outcomes[450..].iter().all(|o| *o == Outcome::Absent));
        }

        // Re-key, with and without known ids, twice: the record stays the same.
        let before = delivery
            .read(&target, Named::Keys(&[key(0).into(), key(1).into()]), &[])
            .await
            .unwrap();
        let ids: Vec<CrmId> = before.into_iter().map(|r| r.unwrap().crm_id).collect();
        let re_key = |i: usize, crm_id: Option<CrmId>| Write {
            from: Some(key(i).into()),
            crm_id,
            ..write(key(1000 + i), vec![text(0, "Moved")])
        };
        let writes = vec![
            re_key(0, Some(ids[0].clone())),
            re_key(1, None),
            re_key(455, None),
        ];
        for _ in 0..2 {
            let outcomes = deliver(&delivery, &target, BatchAction::Update, writes.clone()).await;
            assert_eq!(
                (id(&outcomes[0]), id(&outcomes[1])),
                (ids[0].clone(), ids[1].clone())
            );
            assert_eq!(outcomes[2], Outcome::Absent);
        }
        let moved = read(&delivery, &target, &[key(1000), key(1001), key(0), key(1)]).await;
        assert_eq!(moved.len(), 2);
        assert_eq!(moved[&key(1000)][0], json!("Moved"));

        // Onto a key that another record bears: that record is not touched.
        let collision = vec![Write {
            from: Some(key(2).into()),
            ..write(key(3), vec![])
        }];
        let outcomes = deliver(&delivery, &target, BatchAction::Update, collision).await;
        let refused = matches!(&outcomes[0], Outcome::Refused(f) if f.code == "DUPLICATE_VALUE");
        assert!(refused, "{outcomes:?}");

        // Delete: a second time there is nothing left; a stale id is looked up.
        let mut deletes: Vec<Write> = (2..450).map(|i| write(key(i), vec![])).collect();
        deletes[0].crm_id = Some("003000000000000AAA".into());
        let delete = BatchAction::Delete { hard: false };
        all_written(&deliver(&delivery, &target, delete, deletes.clone()).await);
        deletes[1].crm_id = Some(ids[1].clone());
        let again = deliver(&delivery, &target, delete, deletes).await;
        assert!(
            matches!(again[1], Outcome::Written { .. }),
            "deleted by its id"
        );
        let rest = again.iter().enumerate().filter(|(i, _)| *i != 1);
        assert!(rest.map(|(_, o)| o).all(|o| *o == Outcome::Absent));
        assert!(
            read(&delivery, &target, &[key(2), key(449)])
                .await
                .is_empty()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_every_kind_lose_nothing_and_double_nothing() {
    let org = Org::start().await;
    org.faults(json!([
        {"kind": "throttle", "probability": 0.1},
        {"kind": "throttle_429", "probability": 0.05, "delay_ms": 1000, "times": 2},
        {"kind": "unavailable", "probability": 0.1},
        {"kind": "bad_gateway", "probability": 0.1},
        {"kind": "lost", "probability": 0.15},
        {"kind": "cut", "probability": 0.1},
        {"kind": "unauthorized", "every": 9},
        {"kind": "timeout_before", "probability": 0.05, "delay_ms": 50},
        {"kind": "lock", "probability": 0.1},
    ]))
    .await;
    let delivery = org.delivery();
    fill(&delivery, "Ext_Id__c", "k").await;
    let target = contacts("Ext_Id__c");
    let archive = (0..200)
        .map(|i| write(format!("k{i}"), vec![text(0, "Gone")]))
        .collect();
    all_written(&deliver(&delivery, &target, BatchAction::Update, archive).await);
    let deletes = (100..200).map(|i| write(format!("k{i}"), vec![])).collect();
    let delete = BatchAction::Delete { hard: false };
    for outcome in deliver(&delivery, &target, delete, deletes).await {
        // A delete whose answer was lost finds nothing the second time.
        assert!(
            matches!(outcome, Outcome::Written { .. } | Outcome::Absent),
            "{outcome:?}"
        );
    }
    assert!(delivery.health().retries > 10, "{:?}", delivery.health());
    org.faults(json!([])).await;

    let keys: Vec<String> = (0..450).map(|i| format!("k{i}")).collect();
    let records = read(&delivery, &target, &keys).await;
    assert_eq!(records.len(), 350);
    for (key, values) in &records {
        let i: usize = key.trim_start_matches('k').parse().unwrap();
        let name = if i < 100 {
            "Gone".to_owned()
        } else {
            format!("L{i}")
        };
        assert_eq!(values[0], json!(name));
        assert_eq!(values[2], json!(format!("k{}", i % 30)));
    }
    let writes = org.writes("Contact").await;
    let created = writes.iter().filter(|(operation, _)| operation == "create");
    assert_eq!(created.count(), 450, "each record was created once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_record_stops_nobody_and_becomes_a_dead_letter() {
    let org = Org::start().await;
    org.faults(json!([{"kind": "lock", "external_ids": ["k5"]}]))
        .await;
    let delivery = org.delivery();
    let writes: Vec<Write> = (0..10)
        .map(|i| write(format!("k{i}"), vec![text(0, "A")]))
        .collect();
    let outcomes = deliver(
        &delivery,
        &accounts("Ext_Id__c"),
        BatchAction::Upsert,
        writes,
    )
    .await;
    for (i, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Outcome::Refused(fault) => {
                assert_eq!(i, 5);
                assert_eq!(
                    (fault.class, fault.code.as_ref()),
                    (Class::Record, "UNABLE_TO_LOCK_ROW")
                );
            }
            other => drop(id(other)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daily_limit_is_told_and_waited_for() {
    let org = Org::start().await;
    let salesforce = org.salesforce();
    let findings = salesforce.check().await;
    assert!(
        findings.iter().all(|f| f.severity == Severity::Note),
        "{findings:?}"
    );
    assert!(
        findings
            .iter()
            .any(|f| f.what.contains("integration@sandbox.test")),
        "{findings:?}"
    );
    assert!(salesforce.usage().daily.is_some());
    org.put("limits", r#"{"max": 10, "used": 10}"#).await;
    let writes = vec![write("k", vec![text(0, "A")])];
    let batch = batches(&accounts("Ext_Id__c"), BatchAction::Upsert, writes).remove(0);
    let fault = salesforce.write(&batch).await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_ref()),
        (Class::Service, "REQUEST_LIMIT_EXCEEDED")
    );
    assert!(fault.retry_after.unwrap() >= Duration::from_secs(60));
}
