//! Making fields in an org, and what happens when its schema changes under us: against the sandbox.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

mod salesforce_org;

use std::sync::Arc;
use std::time::{Duration, Instant};

use salesforce_org::Org;
use serde_json::{Value, json};
use syncline::fault::{Class, Fault, Severity};
use syncline::mapping::{
    Assigned, Assignment, FieldId, FieldKind, FieldSpec, FieldValue, NewField, ObjectDescription,
    ObjectId, Removal, Target, TargetField, crm_changes,
};
use syncline::planning::{Batch, BatchAction, Write};
use syncline::sinks::{Delivery, Named, Outcome, hints_at_schema};

const PATIENCE: Duration = Duration::from_secs(20);

fn spec(name: &str, kind: NewField) -> FieldSpec {
    FieldSpec {
        name: name.into(),
        label: name.trim_end_matches("__c").replace('_', " ").into(),
        kind,
        help: format!("From public.customer.{}", name.to_lowercase()).into(),
    }
}

/// One of each kind, what describe says of it, and a value.
fn all_kinds() -> Vec<(FieldSpec, FieldKind, FieldValue)> {
    let text = |s: &str| FieldValue::Text(s.into());
    vec![
        (
            spec("Vat_Number__c", NewField::Text { length: 80 }),
            FieldKind::Text,
            text("DE 1"),
        ),
        (
            spec("Story__c", NewField::LongText { length: 4_000 }),
            FieldKind::LongText,
            text("a\nb"),
        ),
        (
            spec(
                "Amount__c",
                NewField::Number {
                    precision: 12,
                    scale: 2,
                },
            ),
            FieldKind::Decimal,
            FieldValue::Number("12.5".into()),
        ),
        (
            spec("Vip__c", NewField::Checkbox),
            FieldKind::Boolean,
            FieldValue::Bool(true),
        ),
        (
            spec("Since__c", NewField::Date),
            FieldKind::Date,
            text("2026-11-04"),
        ),
        (
            spec("Seen__c", NewField::DateTime),
            FieldKind::DateTime,
            text("2026-11-04T12:10:35.000Z"),
        ),
        (
            spec("Wakes__c", NewField::Time),
            FieldKind::Time,
            text("12:10:35.000Z"),
        ),
    ]
}

fn target(object: &str, fields: &[&str]) -> Arc<Target> {
    let plain = |name: &&str| TargetField {
        id: FieldId::new(name),
        name: (*name).into(),
        reference: None,
        unique: false,
        broken: None,
        owner: Default::default(),
        kind: Default::default(),
        scale: 0,
    };
    Arc::new(Target {
        id: ObjectId::new(object, "Ext_Id__c"),
        table: "public.customer".into(),
        object: object.into(),
        key_field: "Ext_Id__c".into(),
        removal: Removal::Ignore,
        on_crm_delete: syncline::config::OnCrmDelete::default(),
        creation: syncline::mapping::Creation::default(),
        halted: None,
        version: None,
        fields: fields.iter().map(plain).collect(),
    })
}

fn upsert(target: &Arc<Target>, records: Vec<(String, Vec<(u16, FieldValue)>)>) -> Batch {
    let write = |(key, values): (String, Vec<(u16, FieldValue)>)| {
        let assigned = values.into_iter().map(|(slot, value)| Assigned {
            slot,
            assignment: Assignment::Set(value),
        });
        Write {
            guard: None,
            key: key.into(),
            from: None,
            crm_id: None,
            fields: assigned.collect::<Vec<_>>().into(),
        }
    };
    Batch {
        target: target.clone(),
        action: BatchAction::Upsert,
        writes: records.into_iter().map(write).collect(),
    }
}

fn text(value: &str) -> FieldValue {
    FieldValue::Text(value.into())
}

async fn create(
    delivery: &Delivery,
    object: &str,
    specs: &[FieldSpec],
) -> Vec<Result<(), (String, String)>> {
    let answers = delivery.create_fields(object, specs).await.unwrap();
    let told = |fault: Fault| {
        assert_eq!(fault.class, Class::Configuration);
        (fault.code.to_string(), fault.message)
    };
    answers.into_iter().map(|a| a.map_err(told)).collect()
}

async fn describe(delivery: &Delivery, object: &str) -> ObjectDescription {
    let mut described = delivery.describe(&[object.to_owned()]).await.unwrap();
    described.remove(0).unwrap()
}

fn calls(delivery: &Delivery, word: &str) -> u64 {
    let usage = delivery.health().usage;
    usage.calls.iter().find(|(w, _)| *w == word).unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_every_kind_are_made_and_can_be_written() {
    let org = Org::start().await;
    let key = r#"{"label":"Invoice","pluralLabel":"Invoices","fields":{"Ext_Id__c":
        {"type":"Text","label":"Ext Id","length":80,"externalId":true,"unique":true}}}"#;
    org.put("objects/Invoice__c", key).await;
    for object in ["Contact", "Invoice__c"] {
        let kinds = all_kinds();
        let specs: Vec<FieldSpec> = kinds.iter().map(|(spec, ..)| spec.clone()).collect();
        let names: Vec<&str> = specs.iter().map(|s| &*s.name).collect();
        let delivery = org.delivery();
        let before = describe(&delivery, object).await;
        assert_eq!(
            create(&delivery, object, &specs).await,
            vec![Ok(()); specs.len()]
        );
        let after = delivery.wait_for_fields(object, &names, PATIENCE).await;
        let after = after.unwrap().unwrap();
        for (spec, kind, ..) in &kinds {
            let field = after.field(&spec.name).unwrap();
            assert_eq!(field.kind, *kind, "{}", spec.name);
            assert_eq!(field.label, spec.label);
            assert!(field.nillable || *kind == FieldKind::Boolean);
            match spec.kind {
                NewField::Text { length } | NewField::LongText { length } => {
                    assert_eq!(field.length, length);
                }
                NewField::Number { precision, scale } => {
                    assert_eq!((field.precision, field.scale), (precision, scale));
                }
                _ => {}
            }
        }
        let news = crm_changes(&before, &after, &|_| false);
        assert_eq!(news.len(), specs.len());
        assert!(news.iter().all(|f| f.severity == Severity::Note));

        let mut fields = names.clone();
        fields.push("LastName");
        let target = target(object, &fields);
        let slots = 0_u16..;
        let mut values: Vec<(u16, FieldValue)> =
            slots.zip(kinds.iter().map(|k| k.2.clone())).collect();
        if object == "Contact" {
            values.push((kinds.len() as u16, text("Lee")));
        }
        let batch = upsert(&target, vec![("k".into(), values)]);
        let outcomes = delivery.deliver(batch).await.unwrap();
        assert!(
            matches!(outcomes[0], Outcome::Written { created: true, .. }),
            "{outcomes:?}"
        );
        let slots: Vec<u16> = (0..kinds.len() as u16).collect();
        // What comes back is what was sent: nothing looks changed that nobody touched.
        let mut whole = Arc::unwrap_or_clone(target);
        for (field, (spec, kind, _)) in whole.fields.iter_mut().zip(&kinds) {
            field.kind = kind.clone();
            field.scale = after.field(&spec.name).unwrap().scale;
        }
        let keys = ["k".into()];
        let read = delivery.read(&whole, Named::Keys(&keys), &slots).await;
        let read = read.unwrap().remove(0).unwrap();
        let sent: Vec<Assignment> = kinds.into_iter().map(|k| Assignment::Set(k.2)).collect();
        assert_eq!(read.values, sent);
        assert!(read.untouched && read.modified.is_some());

        // Once more, as after a crash: nothing is made, nothing is granted.
        let again = org.delivery();
        assert_eq!(
            create(&again, object, &specs).await,
            vec![Ok(()); specs.len()]
        );
        assert_eq!((calls(&again, "field"), calls(&again, "grant")), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_hidden_from_us_is_completed_or_refused() {
    let org = Org::start().await;
    let delivery = org.delivery();
    // Made by the API and granted to nobody, as a crash leaves it.
    let made = [
        spec("Half__c", NewField::Text { length: 80 }),
        spec("Short__c", NewField::Text { length: 20 }),
    ];
    let set = r#"{"type":"Picklist","label":"Mood","valueSet":{"restricted":true,
        "valueSetDefinition":{"sorted":false,"value":[{"fullName":"Good","label":"Good","default":false}]}}}"#;
    org.put("fields/Contact/Mood__c", set).await;
    assert_eq!(create(&delivery, "Contact", &made).await, [Ok(()), Ok(())]);
    let wanted = [
        spec("half__C", NewField::Text { length: 80 }),
        spec("Short__c", NewField::Text { length: 80 }),
        spec("Mood__c", NewField::Text { length: 80 }),
        spec("Fine__c", NewField::Checkbox),
    ];
    let answers = create(&org.delivery(), "Contact", &wanted).await;
    assert_eq!((&answers[0], &answers[3]), (&Ok(()), &Ok(())));
    for (answer, words) in [
        (&answers[1], "holds 20 characters only"),
        (&answers[2], "is of type Picklist"),
    ] {
        let (code, message) = answer.as_ref().unwrap_err();
        assert_eq!(code, "field_is_another");
        assert!(message.contains(words), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_columns_on_an_object_without_room_leave_nothing_behind() {
    let org = Org::start().await;
    let delivery = org.delivery();
    let specs: Vec<FieldSpec> = (0..300)
        .map(|i| spec(&format!("Column_{i}__c"), NewField::Text { length: 80 }))
        .collect();
    let before = org.get("schema?object=Contact").await;
    org.put("limits", r#"{"custom_fields": 100}"#).await;
    let there = before["objects"][0]["custom_fields"].as_u64().unwrap();
    let fit = 100 - there;
    for answer in create(&delivery, "Contact", &specs).await {
        let (code, message) = answer.unwrap_err();
        assert_eq!(code, "CUSTOM_ENTITY_OR_FIELD_LIMIT");
        assert_eq!(
            message,
            format!(
                "300 new fields are wanted on Contact, {fit} of its 100 custom fields fit: none was made"
            )
        );
    }
    let after = org.get("schema?object=Contact").await;
    assert_eq!(before["objects"], after["objects"]);
    assert_eq!(
        (calls(&delivery, "field"), calls(&delivery, "grant")),
        (0, 0)
    );
    // As many as fit are made.
    let fit = usize::try_from(fit).unwrap();
    let answers = create(&delivery, "Contact", &specs[..fit]).await;
    assert!(answers.iter().all(Result::is_ok));
    let names: Vec<&str> = specs[..fit].iter().map(|s| &*s.name).collect();
    let seen = delivery.wait_for_fields("Contact", &names, PATIENCE).await;
    assert!(seen.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lacks_a_right_makes_nothing_and_is_told_which() {
    let org = Org::start().await;
    let specs = [spec("New__c", NewField::Checkbox)];
    for (customize, manage, right) in [
        (true, false, "\"Manage Permission Sets\""),
        (false, true, "\"Customize Application\""),
    ] {
        let rights = json!({"customize_application": customize, "manage_permission_sets": manage});
        org.put("rights", &rights.to_string()).await;
        let before = org.get("schema?object=Contact").await;
        let answers = create(&org.delivery(), "Contact", &specs).await;
        let (code, message) = answers[0].as_ref().unwrap_err();
        assert_eq!(code, "cannot_make_fields");
        assert!(message.contains(right), "{message}");
        assert!(
            message.contains("New__c (Checkbox) in Setup by hand"),
            "{message}"
        );
        assert_eq!(before, org.get("schema?object=Contact").await);
    }
    let rights = json!({"customize_application": true, "manage_permission_sets": true});
    org.put("rights", &rights.to_string()).await;
    assert_eq!(create(&org.delivery(), "Contact", &specs).await, [Ok(())]);

    // The right to grant is taken away once the permission set stands: one field is made and stays
    // hidden, however often it is tried; when the right is back, all are completed.
    org.put("rights", r#"{"manage_permission_sets": false}"#)
        .await;
    let specs: Vec<FieldSpec> = (0..5)
        .map(|i| spec(&format!("Later_{i}__c"), NewField::Date))
        .collect();
    for _ in 0..3 {
        let answers = create(&org.delivery(), "Contact", &specs).await;
        let codes: Vec<&str> = answers
            .iter()
            .map(|a| a.as_ref().unwrap_err().0.as_str())
            .collect();
        assert_eq!(codes[0], "field_not_granted");
        assert!(codes[1..].iter().all(|code| *code == "cannot_make_fields"));
        let schema = org.get("schema?object=Contact").await;
        assert_eq!(schema["objects"][0]["custom_fields"], 4);
    }
    org.put("rights", r#"{"manage_permission_sets": true}"#)
        .await;
    let answers = create(&org.delivery(), "Contact", &specs).await;
    assert!(answers.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_shows_late_is_waited_for() {
    let org = Org::start().await;
    org.put("limits", r#"{"describe_lag_ms": 2500}"#).await;
    let delivery = org.delivery();
    describe(&delivery, "Contact").await;
    let specs = [spec("Late__c", NewField::Text { length: 80 })];
    assert_eq!(create(&delivery, "Contact", &specs).await, [Ok(())]);
    let soon = delivery
        .wait_for_fields("Contact", &["Late__c"], Duration::from_millis(800))
        .await;
    assert_eq!(soon, Ok(None));
    let start = Instant::now();
    let seen = delivery
        .wait_for_fields("Contact", &["Late__c"], PATIENCE)
        .await;
    assert!(seen.unwrap().is_some());
    assert!(start.elapsed() > Duration::from_millis(1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_vanishes_or_is_locked_stops_no_other_record() {
    let org = Org::start().await;
    let delivery = org.delivery();
    let specs = [spec("Level__c", NewField::Text { length: 80 })];
    create(&delivery, "Contact", &specs).await;
    let target = target("Contact", &["LastName", "Level__c"]);
    let records = |prefix: &str| -> Vec<(String, Vec<(u16, FieldValue)>)> {
        (0..200)
            .map(|i| {
                let mut values = vec![(0, text("Lee"))];
                if i % 2 == 0 {
                    values.push((1, text("high")));
                }
                (format!("{prefix}{i}"), values)
            })
            .collect()
    };
    let before = delivery
        .wait_for_fields("Contact", &["Level__c"], PATIENCE)
        .await
        .unwrap()
        .unwrap();
    for (change, code, what) in [
        (json!({"vanish": true}), "INVALID_FIELD", "is gone"),
        (json!({"hide": true}), "INVALID_FIELD", "is gone"),
        (
            json!({"read_only": true}),
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            "read-only",
        ),
    ] {
        let edit = |change: &Value| {
            let mut body = json!({"object": "Contact", "field": "Level__c"});
            let map = body.as_object_mut().unwrap();
            map.extend(change.as_object().unwrap().clone());
            body.to_string()
        };
        org.put("schema", &edit(&change)).await;
        let outcomes = delivery
            .deliver(upsert(&target, records(what)))
            .await
            .unwrap();
        for (i, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Outcome::Written { .. } => assert_eq!(i % 2, 1),
                Outcome::Overtaken => panic!("it has no guard"),
                Outcome::Refused(fault) => {
                    assert_eq!(i % 2, 0);
                    assert_eq!((fault.class, &*fault.code), (Class::Record, code));
                    assert_eq!(fault.fields, ["Level__c"]);
                    assert!(hints_at_schema(fault));
                }
                Outcome::Absent | Outcome::Deferred { .. } => panic!("{outcome:?}"),
            }
        }
        let after = describe(&delivery, "Contact").await;
        let findings = crm_changes(&before, &after, &|name| name == "Level__c");
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].severity, Severity::Problem);
        assert!(findings[0].what.contains(what), "{findings:?}");

        // It is put back, and everything goes through.
        let (name, _) = change.as_object().unwrap().iter().next().unwrap();
        org.put("schema", &edit(&json!({name: false}))).await;
        let seen = delivery
            .wait_for_fields("Contact", &["Level__c"], PATIENCE)
            .await;
        if seen.unwrap().is_none() {
            // A field that vanished comes back without its grants.
            assert_eq!(create(&delivery, "Contact", &specs).await, [Ok(())]);
        }
        let outcomes = delivery
            .deliver(upsert(&target, records(what)))
            .await
            .unwrap();
        assert!(
            outcomes
                .iter()
                .all(|o| matches!(o, Outcome::Written { .. }))
        );
    }
}
