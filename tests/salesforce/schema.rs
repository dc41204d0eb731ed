//! What happens when the org's schema is not what the mapping took it for.

use std::time::Duration;

use serde_json::json;
use syncline::backoff::Backoff;
use syncline::fault::Class;
use syncline::mapping::ObjectDescription;
use syncline::sinks::{Delivery, Settings, Sink, hints_at_schema};

use super::server::{Reply, Server};
use super::*;

fn text(slot: u16) -> Assigned {
    Assigned {
        slot,
        assignment: Assignment::Set(FieldValue::Text("x".into())),
    }
}

/// A write of the fields in these slots.
fn of(key: &str, slots: &[u16]) -> Write {
    let value = |slot: &u16| match slot {
        2 => Assigned {
            slot: 2,
            assignment: Assignment::Set(FieldValue::Reference("a-1".into())),
        },
        slot => text(*slot),
    };
    Write {
        fields: slots.iter().map(value).collect::<Vec<_>>().into(),
        ..write(key)
    }
}

fn delivery(server: &Server) -> Delivery {
    let settings = Settings {
        requests_per_second: 0,
        record_tries: 3,
        backoff: Backoff {
            base: Duration::from_millis(1),
            cap: Duration::from_millis(5),
        },
        ..Settings::default()
    };
    Delivery::new(Arc::new(connect(server)), settings, 1)
}

/// Keys of the records of each request that wrote.
fn sent(server: &Server) -> Vec<Vec<String>> {
    let mut writes = server.api();
    writes.retain(|r| r.method == "PATCH");
    let keys = |record: &serde_json::Value| record["Ext_Id__c"].as_str().unwrap().to_owned();
    writes
        .iter()
        .map(|r| {
            r.json()["records"]
                .as_array()
                .unwrap()
                .iter()
                .map(keys)
                .collect()
        })
        .collect()
}

#[tokio::test]
async fn a_vanished_field_refuses_the_records_that_hold_it_and_no_other() {
    for (reply, field) in [
        (
            Reply::error(
                400,
                "INVALID_FIELD",
                "No such column 'Email' on sobject of type Contact",
            ),
            "Email",
        ),
        (
            Reply::error(
                400,
                "INVALID_FIELD_FOR_INSERT_UPDATE",
                "Unable to create/update fields: Email. Please check the security settings of this field.",
            ),
            "Email",
        ),
        (
            Reply::error(
                400,
                "INVALID_FIELD",
                "No such column 'Company_Id__c' on sobject of type Account",
            ),
            "AccountId",
        ),
    ] {
        let slot = if field == "Email" { 1 } else { 2 };
        let server = Server::start(vec![reply, results(&[Ok("003A"), Ok("003C")])]).await;
        let writes = vec![
            of("a", &[0]),
            of("b", &[0, slot]),
            of("c", &[0]),
            of("d", &[slot]),
        ];
        let delivery = delivery(&server);
        let outcomes = delivery
            .deliver(batch(BatchAction::Upsert, writes))
            .await
            .unwrap();
        assert_eq!(sent(&server), [vec!["a", "b", "c", "d"], vec!["a", "c"]]);
        assert_eq!(outcomes[0], written("003A"));
        assert_eq!(outcomes[2], written("003C"));
        for place in [1, 3] {
            let fault = fault(&outcomes[place]);
            assert_eq!(fault.class, Class::Record);
            assert_eq!(fault.fields, [field]);
            assert!(hints_at_schema(fault));
        }
    }
}

#[tokio::test]
async fn two_vanished_fields_cost_a_request_each() {
    let gone = |name: &str| {
        let message = format!("No such column '{name}' on sobject of type Contact");
        Reply::error(400, "INVALID_FIELD", &message)
    };
    let server = Server::start(vec![gone("Email"), gone("Account"), results(&[Ok("003A")])]).await;
    let writes = vec![
        of("a", &[0]),
        of("b", &[1]),
        of("c", &[2]),
        of("d", &[1, 2]),
    ];
    let outcomes = delivery(&server)
        .deliver(batch(BatchAction::Upsert, writes))
        .await
        .unwrap();
    assert_eq!(
        sent(&server),
        [vec!["a", "b", "c", "d"], vec!["a", "c"], vec!["a"]]
    );
    assert_eq!(outcomes[0], written("003A"));
    assert_eq!(fault(&outcomes[1]).fields, ["Email"]);
    assert_eq!(fault(&outcomes[2]).fields, ["AccountId"]);
    assert_eq!(fault(&outcomes[3]).fields, ["Email"]);
}

#[tokio::test]
async fn a_refusal_that_names_no_field_of_ours_is_traced_to_its_record() {
    let odd = || Reply::error(400, "INVALID_FIELD", "La colonne n'existe pas");
    let server = Server::start(vec![
        odd(),                  // a, b
        odd(),                  // a
        results(&[Ok("003B")]), // b
    ])
    .await;
    let outcomes = delivery(&server)
        .deliver(upsert(&["a", "b"]))
        .await
        .unwrap();
    assert_eq!(class(&outcomes[0]), (Class::Record, "INVALID_FIELD"));
    assert_eq!(outcomes[1], written("003B"));
}

#[tokio::test]
async fn a_record_refused_alone_for_its_field_stops_nobody() {
    let server = Server::start(vec![results(&[
        Ok("003A"),
        Err((
            "INVALID_FIELD",
            "No such column 'Email' on sobject of type Contact",
        )),
        Err((
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            "Unable to create/update fields: Email, Level__c. Please check the security settings",
        )),
    ])])
    .await;
    let outcomes = delivery(&server)
        .deliver(upsert(&["a", "b", "c"]))
        .await
        .unwrap();
    assert_eq!(outcomes[0], written("003A"));
    assert_eq!(fault(&outcomes[1]).fields, ["Email"]);
    assert_eq!(fault(&outcomes[2]).fields, ["Email", "Level__c"]);
    assert!(
        outcomes[1..]
            .iter()
            .all(|o| fault(o).class == Class::Record)
    );
}

#[tokio::test]
async fn a_missing_object_or_key_field_concerns_that_object_alone() {
    let gone = "No such column 'Ext_Id__c' on sobject of type Contact";
    let query = "\nSELECT Id,Ext_Id__c FROM Contact WHERE Ext_Id__c IN ('LastName','b')\n ^\nERROR at \
                 Row:1:Column:11\nNo such column 'Ext_Id__c' on entity 'Contact'.";
    for (action, status, code, message) in [
        (
            BatchAction::Upsert,
            400,
            "INVALID_TYPE",
            "sObject type 'Contact' is not supported.",
        ),
        (
            BatchAction::Upsert,
            404,
            "NOT_FOUND",
            "The requested resource does not exist",
        ),
        (
            BatchAction::Upsert,
            400,
            "INVALID_EXTERNAL_ID_FIELD_NAME",
            "Ext_Id__c",
        ),
        (BatchAction::Upsert, 400, "INVALID_FIELD", gone),
        (BatchAction::Update, 400, "INVALID_FIELD", query),
        (
            BatchAction::Delete { hard: false },
            400,
            "INVALID_FIELD",
            query,
        ),
        (
            BatchAction::Delete { hard: false },
            400,
            "INVALID_TYPE",
            "sObject type 'Contact' is not supported.",
        ),
    ] {
        let server = Server::start(vec![
            Reply::error(status, code, message),
            results(&[Ok("003A")]),
        ])
        .await;
        let delivery = delivery(&server);
        let writes = vec![write("LastName"), write("b"), write("c")];
        let outcomes = delivery.deliver(batch(action, writes)).await.unwrap();
        assert_eq!(server.api().len(), 1);
        for outcome in &outcomes {
            assert_eq!(class(outcome), (Class::Record, code));
            assert!(hints_at_schema(fault(outcome)));
        }
        // Others go on.
        let outcomes = delivery.deliver(upsert(&["d"])).await.unwrap();
        assert_eq!(outcomes, [written("003A")]);
    }
}

#[tokio::test]
async fn a_parents_key_field_of_the_same_name_is_told_apart() {
    let mut target = Arc::into_inner(target()).unwrap();
    if let Some(parent) = &mut target.fields[2].reference {
        parent.key_field = "Ext_Id__c".into();
    }
    let message = "No such column 'Ext_Id__c' on sobject of type Account";
    let server = Server::start(vec![
        Reply::error(400, "INVALID_FIELD", message),
        results(&[Ok("003A")]),
    ])
    .await;
    let batch = Batch {
        target: Arc::new(target),
        action: BatchAction::Upsert,
        writes: vec![of("a", &[0]), of("b", &[0, 2])],
    };
    let outcomes = delivery(&server).deliver(batch).await.unwrap();
    assert_eq!(outcomes[0], written("003A"));
    assert_eq!(fault(&outcomes[1]).fields, ["AccountId"]);
}

fn description(fields: &[&str]) -> Reply {
    let field = |name: &&str| {
        json!({"name": name, "label": name, "type": "string", "length": 80,
        "createable": true, "updateable": !name.starts_with("Old"), "nillable": true})
    };
    let fields: Vec<_> = fields.iter().map(field).collect();
    let body = json!({"name": "Contact", "createable": true, "updateable": true, "fields": fields});
    Reply::json(200, &body.to_string()).with("last-modified", "Wed, 04 Nov 2026 12:10:35 GMT")
}

async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_description_that_has_not_changed_is_not_sent_again() {
    let server = Server::start(Vec::new()).await;
    let salesforce = connect(&server);
    let objects = ["Contact".to_owned()];
    let describe = async || -> Option<ObjectDescription> {
        salesforce.describe(&objects).await.unwrap().remove(0)
    };
    let since = || {
        server
            .api()
            .last()
            .unwrap()
            .header("if-modified-since")
            .to_owned()
    };
    let unchanged = || Reply::Full(304, Vec::new(), Vec::new());

    server.then(description(&["A__c"]));
    let first = describe().await;
    assert_eq!(since(), "");
    // Not while a change may still be on its way.
    server.then(description(&["A__c"]));
    describe().await;
    assert_eq!(since(), "");
    pass(61).await;
    server.then(unchanged());
    assert_eq!(describe().await, first);
    assert_eq!(since(), "Wed, 04 Nov 2026 12:10:35 GMT");
    server.then(description(&["A__c", "B__c"]));
    assert!(describe().await.unwrap().field("B__c").is_some());
    assert_ne!(since(), "");

    // Whole again after a refusal that hints at a change, and after a while.
    pass(61).await;
    server.then(results(&[Err(("STRING_TOO_LONG", "too long"))]));
    salesforce.write(&upsert(&["a"])).await.unwrap();
    server.then(description(&["A__c"]));
    describe().await;
    assert_eq!(since(), "");
    pass(601).await;
    server.then(description(&["A__c"]));
    describe().await;
    assert_eq!(since(), "");
    // An object that is gone is gone, whatever was known of it.
    pass(61).await;
    server.then(Reply::error(404, "NOT_FOUND", "x"));
    assert_eq!(describe().await, None);
    server.then(description(&["A__c"]));
    describe().await;
    assert_eq!(since(), "");
}

#[tokio::test]
async fn new_fields_are_waited_for_until_they_can_be_written() {
    let server = Server::start(vec![
        description(&["A__c"]),
        description(&["A__c", "Old__c"]),
        Reply::error(503, "SERVER_UNAVAILABLE", "x"),
        description(&["A__c", "Old__c", "New__c"]),
    ])
    .await;
    let delivery = delivery(&server);
    let patience = Duration::from_secs(20);
    let seen = delivery
        .wait_for_fields("Contact", &["a__c", "New__c"], patience)
        .await
        .unwrap();
    assert!(seen.unwrap().field("New__c").is_some());
    assert_eq!(server.api().len(), 4);
    assert!(
        server
            .api()
            .iter()
            .all(|r| r.header("if-modified-since").is_empty())
    );

    // One that cannot be written, and one that never comes.
    for name in ["Old__c", "Never__c"] {
        for _ in 0..3 {
            server.then(description(&["A__c", "Old__c"]));
        }
        let patience = Duration::from_millis(700);
        let seen = delivery.wait_for_fields("Contact", &[name], patience).await;
        assert_eq!(seen, Ok(None));
    }
}
