//! Writing, deleting, describing and reading records.

use syncline::fault::Class;
use syncline::mapping::{FieldKind, Key};
use syncline::sinks::{Named, Outcome, Sink, hints_at_schema};

use super::server::{Reply, Server};
use super::*;

#[tokio::test]
async fn an_upsert_goes_by_external_id_and_answers_for_each_record() {
    let body = r#"[{"id":"003A","success":true,"errors":[],"created":true},
        {"id":"003B","success":true,"errors":[],"created":false},
        {"success":false,"errors":[{"statusCode":"INVALID_FIELD","message":"Foreign key external ID: a-9 not found for field Company_Id__c in entity Account","fields":[]}]},
        {"id":null,"success":false,"errors":[{"statusCode":"STRING_TOO_LONG","message":"Last Name: data value too large","fields":["LastName"]}]},
        {"success":false,"errors":[{"statusCode":"DUPLICATE_VALUE","message":"duplicate value found: Ext_Id__c duplicates value on record with id: 003X","fields":[]}]}]"#;
    let server = Server::start(vec![Reply::json(200, body)]).await;
    let mut batch = upsert(&["c-1", "c-2", "c-3", "c-4", "c-5"]);
    Arc::make_mut(&mut batch.writes[0].fields).push(Assigned {
        slot: 1,
        assignment: Assignment::Clear,
    });
    Arc::make_mut(&mut batch.writes[2].fields).push(Assigned {
        slot: 2,
        assignment: Assignment::Set(FieldValue::Reference("a-9".into())),
    });
    let outcomes = connect(&server).write(&batch).await.unwrap();
    let created = Outcome::Written {
        crm_id: Some("003A".into()),
        created: true,
    };
    assert_eq!(outcomes[0], created);
    assert_eq!(outcomes[1], written("003B"));
    assert_eq!(fault(&outcomes[2]).class, Class::MissingParent);
    assert_eq!(fault(&outcomes[3]).class, Class::Record);
    assert_eq!(fault(&outcomes[3]).fields, ["LastName"]);
    assert_eq!(
        class(&outcomes[4]),
        (Class::RecordTransient, "DUPLICATE_VALUE")
    );

    let api = server.api();
    assert_eq!(api.len(), 1);
    assert_eq!(api[0].method, "PATCH");
    assert_eq!(
        api[0].target,
        "/services/data/v66.0/composite/sobjects/Contact/Ext_Id__c"
    );
    assert!(
        api[0]
            .header("content-type")
            .starts_with("application/json")
    );
    assert!(
        api[0]
            .header("sforce-call-options")
            .starts_with("client=Syncline/")
    );
    assert_eq!(api[0].header("sforce-auto-assign"), "FALSE");
    let sent = api[0].json();
    assert_eq!(sent["allOrNone"], false);
    assert_eq!(
        sent["records"][0],
        serde_json::json!({"attributes": {"type": "Contact"}, "Ext_Id__c": "c-1", "LastName": "Lee", "Email": null})
    );
    assert_eq!(
        sent["records"][2]["Account"],
        serde_json::json!({"Company_Id__c": "a-9"})
    );
}

#[tokio::test]
async fn an_empty_key_never_travels() {
    let server = Server::start(vec![results(&[Ok("003A")])]).await;
    let salesforce = connect(&server);
    let outcomes = salesforce
        .write(&upsert(&["", "c-1", " ", " c-1"]))
        .await
        .unwrap();
    assert_eq!(class(&outcomes[0]), (Class::Record, "empty_external_id"));
    assert_eq!(outcomes[1], written("003A"));
    assert_eq!(class(&outcomes[2]), (Class::Record, "empty_external_id"));
    assert_eq!(class(&outcomes[3]), (Class::Record, "padded_external_id"));
    assert_eq!(
        server.api()[0].json()["records"].as_array().unwrap().len(),
        1
    );
    assert_eq!(salesforce.write(&upsert(&[""])).await.unwrap().len(), 1);
    assert_eq!(salesforce.write(&upsert(&[])).await.unwrap(), []);
    assert_eq!(server.api().len(), 1);
    let many = vec!["k"; 201];
    let fault = salesforce.write(&upsert(&many)).await.unwrap_err();
    assert_eq!(fault.class, Class::Split);
}

#[tokio::test]
async fn an_update_finds_ids_it_does_not_know_and_never_creates() {
    let server = Server::start(vec![
        rows(&[("003B", "c-2"), ("003Z", "C-3")]),
        results(&[Ok("003A"), Ok("003B")]),
    ])
    .await;
    let mut known = write("c-1");
    known.crm_id = Some("003A".into());
    let writes = vec![known, write("c-2"), write("c-3"), write("c-4")];
    let outcomes = connect(&server)
        .write(&batch(BatchAction::Update, writes))
        .await
        .unwrap();
    // c-3 is another record than C-3.
    assert_eq!(
        outcomes,
        [
            written("003A"),
            written("003B"),
            Outcome::Absent,
            Outcome::Absent
        ]
    );
    let api = server.api();
    assert_eq!(
        api[0].soql(),
        "SELECT Id,Ext_Id__c FROM Contact WHERE Ext_Id__c IN ('c-2','c-3','c-4')"
    );
    assert_eq!(api[1].method, "PATCH");
    assert_eq!(api[1].target, "/services/data/v66.0/composite/sobjects");
    assert_eq!(
        api[1].json()["records"],
        serde_json::json!([
            {"attributes": {"type": "Contact"}, "id": "003A", "LastName": "Lee"},
            {"attributes": {"type": "Contact"}, "id": "003B", "LastName": "Lee"}])
    );
}

#[tokio::test]
async fn a_re_key_writes_the_new_key_wherever_it_got_to() {
    let server = Server::start(vec![
        rows(&[("003A", "old-1"), ("003B", "new-2")]),
        results(&[Ok("003A"), Ok("003B")]),
    ])
    .await;
    let re_key = |i: u8| Write {
        guard: None,
        from: Some(format!("old-{i}").into()),
        ..write(&format!("new-{i}"))
    };
    let writes = vec![re_key(1), re_key(2), re_key(3)];
    let outcomes = connect(&server)
        .write(&batch(BatchAction::Update, writes))
        .await
        .unwrap();
    // The second was re-keyed before; the third is nowhere.
    assert_eq!(
        outcomes,
        [written("003A"), written("003B"), Outcome::Absent]
    );
    let sent = server.api()[1].json();
    assert_eq!(sent["records"][0]["Ext_Id__c"], "new-1");
    assert_eq!(sent["records"][1]["Ext_Id__c"], "new-2");
}

#[tokio::test]
async fn a_stale_id_is_looked_up_once() {
    for code in [
        "ENTITY_IS_DELETED",
        "INVALID_CROSS_REFERENCE_KEY",
        "NOT_FOUND",
    ] {
        let gone = || Err((code, "gone"));
        let server = Server::start(vec![
            results(&[gone(), Ok("003B"), gone(), gone()]),
            rows(&[("003N", "c-1"), ("003D", "c-4")]),
            results(&[Ok("003N")]),
        ])
        .await;
        let known = |key: &str, id: &str| Write {
            crm_id: Some(id.into()),
            ..write(key)
        };
        let writes = vec![
            known("c-1", "003A"),
            known("c-2", "003B"),
            known("c-3", "003C"),
            known("c-4", "003D"),
        ];
        let outcomes = connect(&server)
            .write(&batch(BatchAction::Update, writes))
            .await
            .unwrap();
        // Made again under another id; there; gone; there but out of reach.
        assert_eq!(
            outcomes[..3],
            [written("003N"), written("003B"), Outcome::Absent]
        );
        assert_eq!(class(&outcomes[3]), (Class::Record, code));
        assert_eq!(server.api().len(), 3);
    }
}

#[tokio::test]
async fn a_delete_of_what_is_gone_is_absent() {
    let server = Server::start(vec![
        rows(&[("003B", "c-2")]),
        results(&[Err(("ENTITY_IS_DELETED", "entity is deleted")), Ok("003B")]),
        rows(&[]),
    ])
    .await;
    let mut known = write("c-1");
    known.crm_id = Some("003A".into());
    let writes = vec![known, write("c-2"), write("c-3")];
    let delete = batch(BatchAction::Delete { hard: false }, writes);
    let outcomes = connect(&server).write(&delete).await.unwrap();
    assert_eq!(
        outcomes,
        [Outcome::Absent, written("003B"), Outcome::Absent]
    );
    let api = server.api();
    assert_eq!(api[1].method, "DELETE");
    assert_eq!(
        api[1].target,
        "/services/data/v66.0/composite/sobjects?ids=003A,003B&allOrNone=false"
    );
    assert!(api[1].body.is_empty());
}

#[tokio::test]
async fn a_delete_that_is_not_allowed_is_not_taken_for_done() {
    let refused = ("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id");
    let depends = ("DELETE_FAILED", "dependent records");
    let server = Server::start(vec![
        rows(&[
            ("003A00000000001AAA", "c-1"),
            ("003B", "c-2"),
            ("003C", "c-3"),
            ("003D", "c-3"),
        ]),
        results(&[Err(refused), Err(depends)]),
        rows(&[("003A00000000001", "c-1")]),
    ])
    .await;
    let writes = vec![write("c-1"), write("c-2"), write("c-3")];
    let delete = batch(BatchAction::Delete { hard: false }, writes);
    let salesforce = connect(&server);
    let outcomes = salesforce.write(&delete).await.unwrap();
    assert_eq!(class(&outcomes[0]), (Class::Record, "record_out_of_reach"));
    assert_eq!(class(&outcomes[1]), (Class::Record, "DELETE_FAILED"));
    assert_eq!(
        class(&outcomes[2]),
        (Class::Record, "DUPLICATE_EXTERNAL_ID")
    );
    assert_eq!(server.api().len(), 3);
}

#[tokio::test]
async fn two_rows_that_lead_to_one_record_do_not_travel_together() {
    let server = Server::start(vec![results(&[Ok("003A00000000001AAA")])]).await;
    let known = |key: &str, id: &str| Write {
        crm_id: Some(id.into()),
        ..write(key)
    };
    let writes = vec![
        known("c-1", "003A00000000001AAA"),
        known("c-2", "003A00000000001"),
    ];
    let outcomes = connect(&server)
        .write(&batch(BatchAction::Update, writes))
        .await
        .unwrap();
    assert_eq!(outcomes[0], written("003A00000000001AAA"));
    assert_eq!(
        class(&outcomes[1]),
        (Class::RecordTransient, "DUPLICATE_VALUE")
    );
}

#[tokio::test]
async fn a_right_that_is_missing_for_all_closes_the_object() {
    let denied = (
        "INSUFFICIENT_ACCESS_OR_READONLY",
        "insufficient access rights",
    );
    let keys: Vec<String> = (0..30).map(|i| i.to_string()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let server = Server::start(vec![
        results(&[Err(denied); 30]),
        results(&[Err(denied)]),
        results(&[Ok("003A")]),
        results(&[Err(denied)]),
        Reply::error(403, "INSUFFICIENT_ACCESS", "insufficient access rights"),
    ])
    .await;
    let salesforce = connect(&server);
    let outcomes = salesforce.write(&upsert(&keys)).await.unwrap();
    for (i, outcome) in outcomes.iter().enumerate() {
        // A few records are a matter of their sharing; a run of them is one of the object.
        let code = match i {
            0..19 => "INSUFFICIENT_ACCESS_OR_READONLY",
            _ => "object_closed",
        };
        assert_eq!(class(outcome), (Class::Record, code), "{i}");
        assert!(hints_at_schema(fault(outcome)));
    }
    let outcomes = salesforce.write(&upsert(&["c-1"])).await.unwrap();
    assert_eq!(class(&outcomes[0]), (Class::Record, "object_closed"));
    // One that is taken ends the run.
    let outcomes = salesforce.write(&upsert(&["c-1"])).await.unwrap();
    assert_eq!(outcomes[0], written("003A"));
    let outcomes = salesforce.write(&upsert(&["c-1"])).await.unwrap();
    assert_eq!(class(&outcomes[0]), (Class::Record, denied.0));
    // Of a request as a whole it is said of the object at once.
    let outcomes = salesforce.write(&upsert(&["c-1", "c-2"])).await.unwrap();
    assert!(
        outcomes
            .iter()
            .all(|o| class(o) == (Class::Record, "object_closed"))
    );
    assert!(fault(&outcomes[0]).message.contains("INSUFFICIENT_ACCESS"));
}

#[tokio::test]
async fn a_hidden_object_is_not_there() {
    let contact = r#"{"name":"Contact","createable":true,"updateable":true,"deletable":true,"fields":[
        {"name":"Ext_Id__c","label":"Ext","type":"double","externalId":true,"unique":true,"precision":18,"scale":0}]}"#;
    let server = Server::start(vec![
        Reply::json(200, contact),
        Reply::error(404, "NOT_FOUND", "The requested resource does not exist"),
        rows(&[]),
        results(&[Ok("003A")]),
    ])
    .await;
    let salesforce = connect(&server);
    let objects = ["Contact".to_owned(), "Nope__c".to_owned()];
    let described = salesforce.describe(&objects).await.unwrap();
    let contact = described[0].as_ref().unwrap();
    assert_eq!(contact.field("ext_id__C").unwrap().kind, FieldKind::Decimal);
    assert_eq!(described[1], None);
    assert_eq!(
        server.api()[1].target,
        "/services/data/v66.0/sobjects/Nope__c/describe"
    );
    // From now on the key is known to be a number.
    salesforce
        .read(&target(), Named::Keys(&[Key::from("12")]), &[])
        .await
        .unwrap();
    assert!(server.api()[2].soql().ends_with("IN (12)"));
    salesforce.write(&upsert(&["12"])).await.unwrap();
    assert_eq!(server.api()[3].json()["records"][0]["Ext_Id__c"], 12);
}

#[tokio::test]
async fn records_are_read_in_the_order_asked_page_by_page() {
    let page = r#"{"totalSize":3,"done":false,"nextRecordsUrl":"/services/data/v66.0/query/01g-2000","records":[
        {"attributes":{"type":"Contact"},"Id":"003B","Ext_Id__c":"O'Hara","LastName":"B","Account":{"attributes":{"type":"Account"},"Company_Id__c":"a-9"}}]}"#;
    let last = r#"{"totalSize":3,"done":true,"records":[
        {"attributes":{"type":"Contact"},"Id":"003A","Ext_Id__c":"c-1","LastName":null,"Account":null},
        {"attributes":{"type":"Contact"},"Id":"0039","Ext_Id__c":"c-1","LastName":"first","Account":null}]}"#;
    let server = Server::start_as_user(vec![Reply::json(200, page), Reply::json(200, last)]).await;
    let keys = [Key::from("c-1"), Key::from("nowhere"), Key::from("O'Hara")];
    let records = connect(&server)
        .read(&target(), Named::Keys(&keys), &[2, 0])
        .await
        .unwrap();
    let api = server.api();
    assert_eq!(
        api[1].soql(),
        r"SELECT Id,Ext_Id__c,Account.Company_Id__c,LastName,LastModifiedDate,LastModifiedById,SystemModstamp,CreatedDate,CreatedById FROM Contact WHERE Ext_Id__c IN ('c-1','nowhere','O\'Hara')"
    );
    assert_eq!(api[2].target, "/services/data/v66.0/query/01g-2000");
    assert_eq!(records[1], None);
    let first = records[0].as_ref().unwrap();
    assert_eq!(
        (first.crm_id.as_str(), &first.values[1]),
        ("0039", &text("first"))
    );
    let hara = records[2].as_ref().unwrap();
    assert_eq!(hara.values, [parent("a-9"), text("B")]);
}

#[tokio::test]
async fn long_lists_of_keys_are_cut_to_what_a_url_may_have() {
    let server =
        Server::start_as_user(vec![rows(&[]), rows(&[]), rows(&[]), rows(&[]), rows(&[])]).await;
    let keys: Vec<Key> = (0..600)
        .map(|i| Key::from(format!("schlüssel-{i:040}")))
        .collect();
    let records = connect(&server)
        .read(&target(), Named::Keys(&keys), &[0])
        .await
        .unwrap();
    assert_eq!(records.len(), 600);
    let mut api = server.api();
    api.remove(0);
    assert!(api.len() > 2 && api.iter().all(|r| r.target.len() < 12_200));
    let asked: usize = api
        .iter()
        .map(|r| r.soql().matches("schlüssel-").count())
        .sum();
    assert_eq!(asked, 600);
}

#[tokio::test]
async fn a_parent_of_one_of_several_objects_is_read_by_its_type() {
    let row = r#"{"done":true,"records":[{"Id":"003A","Ext_Id__c":"c-1","Owner":{"attributes":{"type":"User"},"Badge__c":"u-1"}}]}"#;
    let server = Server::start_as_user(vec![Reply::json(200, row)]).await;
    let mut target = Arc::into_inner(target()).unwrap();
    let owner = Reference {
        object: ObjectId::new("User", "Badge__c"),
        object_name: "User".into(),
        key_field: "Badge__c".into(),
        relationship: "Owner".into(),
        polymorphic: true,
    };
    target.fields[2].reference = Some(owner);
    let keys = [Key::from("c-1")];
    let records = connect(&server)
        .read(&target, Named::Keys(&keys), &[2])
        .await
        .unwrap();
    assert_eq!(records[0].as_ref().unwrap().values, [parent("u-1")]);
    let query = server.api()[1].soql();
    assert!(
        query.contains("TYPEOF Owner WHEN User THEN Badge__c END"),
        "{query}"
    );
}

fn text(text: &str) -> Assignment {
    Assignment::Set(FieldValue::Text(text.into()))
}

fn parent(key: &str) -> Assignment {
    Assignment::Set(FieldValue::Reference(key.into()))
}
