//! The control interface, the write log, persistence.

use std::io::Write;

use reqwest::Method;
use serde_json::{Value, json};
use syncline_sandbox::Config;

use crate::common::{Org, code, encode};

#[tokio::test]
async fn the_write_log_tells_order_parents_and_refusals() {
    let org = Org::new().await;
    org.upsert("Account", json!([{"Ext_Id__c": "a-1", "Name": "One"}]))
        .await;
    org.upsert(
        "Contact",
        json!([{"Ext_Id__c": "c-1", "LastName": "Lee", "Account": {"Ext_Id__c": "a-1"}}]),
    )
    .await;
    org.upsert(
        "Contact",
        json!([{"Ext_Id__c": "c-1", "LastName": "x".repeat(99)}]),
    )
    .await;
    org.upsert("Contact", json!([{"Ext_Id__c": "c-1", "LastName": "Poe"}]))
        .await;
    let log = org
        .control(
            Method::GET,
            "writes?object=contact&external_id=c-1",
            Value::Null,
        )
        .await;
    let writes = log["writes"].as_array().unwrap();
    let outcomes: Vec<(&str, &str)> = writes
        .iter()
        .map(|w| {
            (
                w["operation"].as_str().unwrap(),
                w["outcome"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            ("create", "accepted"),
            ("upsert", "STRING_TOO_LONG"),
            ("update", "accepted")
        ]
    );
    assert_eq!(writes[0]["seq"], 2);
    assert_eq!(writes[0]["references"]["AccountId"]["external_id"], "a-1");
    assert_eq!(writes[0]["references"]["AccountId"]["object"], "Account");
    assert_eq!(writes[0]["user"], "integration@sandbox.test");
    assert_eq!(
        writes[2]["fields"],
        json!({"Ext_Id__c": "c-1", "LastName": "Poe"})
    );
    assert_eq!(writes[0]["id"], writes[2]["id"]);
    assert!(writes[0]["at"].as_str().unwrap().len() == 24);
    let page = org
        .control(Method::GET, "writes?after=2&limit=1", Value::Null)
        .await;
    assert_eq!(
        (&page["writes"][0]["seq"], &page["more"], &page["next"]),
        (&json!(3), &json!(true), &json!(3))
    );
}

#[tokio::test]
async fn an_edit_by_a_person_is_theirs_and_at_the_stated_time() {
    let org = Org::new().await;
    org.upsert("Account", json!([{"Ext_Id__c": "a-1", "Name": "One"}]))
        .await;
    let edit = json!({"object": "Account", "external_id": "a-1", "fields": {"Phone": "42"}, "at": "2030-01-02T03:04:05Z"});
    let done = org.control(Method::POST, "edit", edit).await;
    assert_eq!(done["success"], true, "{done}");
    let (_, rows) = org.query("SELECT Phone, LastModifiedDate, SystemModstamp, LastModifiedBy.Username, CreatedBy.Username FROM Account").await;
    let row = &rows["records"][0];
    assert_eq!(row["LastModifiedDate"], "2030-01-02T03:04:05.000+0000");
    assert_eq!(row["SystemModstamp"], "2030-01-02T03:04:05.000+0000");
    assert_eq!(row["LastModifiedBy"]["Username"], "rep@sandbox.test");
    assert_eq!(row["CreatedBy"]["Username"], "integration@sandbox.test");
    let bad = org
        .control(
            Method::POST,
            "edit",
            json!({"object": "Account", "external_id": "a-1", "fields": {"Name": null}}),
        )
        .await;
    assert_eq!(bad[0]["errorCode"], "REQUIRED_FIELD_MISSING");
    let log = org
        .control(Method::GET, "writes?external_id=a-1", Value::Null)
        .await;
    assert_eq!(log["writes"][1]["via"], "edit");
    assert_eq!(log["writes"][1]["user"], "rep@sandbox.test");
    assert_eq!(log["writes"][2]["outcome"], "REQUIRED_FIELD_MISSING");
    let used = org.control(Method::GET, "limits", Value::Null).await;
    assert_eq!(used["used"], 2);
}

#[tokio::test]
async fn deleting_a_parent_takes_its_children_along() {
    let org = Org::new().await;
    let made = org
        .upsert(
            "Account",
            json!([{"Ext_Id__c": "a-1", "Name": "One"}, {"Ext_Id__c": "a-2", "Name": "Two"}]),
        )
        .await;
    let id = made[0]["id"].as_str().unwrap();
    let child = org
        .upsert(
            "Contact",
            json!([{"Ext_Id__c": "c-1", "LastName": "Lee", "Account": {"Ext_Id__c": "a-1"}}]),
        )
        .await;
    let other = json!({"attributes": {"type": "Account"}, "id": made[1]["id"], "ParentId": id});
    org.send(
        Method::PATCH,
        "composite/sobjects",
        json!({"records": [other]}),
    )
    .await;
    org.send(
        Method::DELETE,
        &format!("composite/sobjects?ids={id}"),
        Value::Null,
    )
    .await;
    let (_, result) = org
        .send(
            Method::DELETE,
            &format!(
                "composite/sobjects?ids={}",
                child[0]["id"].as_str().unwrap()
            ),
            Value::Null,
        )
        .await;
    assert_eq!(code(&result[0]), "ENTITY_IS_DELETED");
    let (_, rows) = org.query("SELECT Ext_Id__c, ParentId FROM Account").await;
    assert_eq!(
        (rows["totalSize"].as_u64(), &rows["records"][0]["ParentId"]),
        (Some(1), &Value::Null)
    );
    let log = org
        .control(Method::GET, "writes?after=4", Value::Null)
        .await;
    let seen: Vec<(&str, &str, &str)> = log["writes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| {
            (
                w["object"].as_str().unwrap(),
                w["via"].as_str().unwrap(),
                w["operation"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        seen[..2],
        [
            ("Contact", "cascade", "delete"),
            ("Account", "collections", "delete")
        ]
    );
    let (_, bin) = org
        .get(&format!(
            "queryAll?q={}",
            encode("SELECT Id FROM Contact WHERE IsDeleted = true")
        ))
        .await;
    assert_eq!(bin["totalSize"], 1);
}

#[tokio::test]
async fn custom_objects_and_records_come_and_go() {
    let org = Org::new().await;
    let made = org.control(Method::PUT, "objects/Invoice__c", json!({
        "label": "Invoice",
        "fields": {
            "Ext_Id__c": {"type": "Text", "label": "Ext Id", "length": 40, "externalId": true, "unique": true, "caseSensitive": true},
            "Account__c": {"type": "Lookup", "label": "Account", "referenceTo": "Account", "relationshipName": "Invoices"},
            "Total__c": {"type": "Currency", "label": "Total", "precision": 10, "scale": 2},
        },
    })).await;
    assert_eq!(made, json!({"object": "Invoice__c", "fields": 3}));
    org.upsert("Account", json!([{"Ext_Id__c": "a-1", "Name": "One"}]))
        .await;
    let result = org
        .upsert(
            "Invoice__c",
            json!([{"Ext_Id__c": "i-1", "Total__c": 12.345, "Account__r": {"Ext_Id__c": "a-1"}}]),
        )
        .await;
    assert_eq!(result[0]["success"], true, "{result:?}");
    assert!(result[0]["id"].as_str().unwrap().starts_with('a'));
    let (_, rows) = org
        .query("SELECT Total__c, Account__r.Name FROM Invoice__c")
        .await;
    assert_eq!(
        (
            &rows["records"][0]["Total__c"],
            &rows["records"][0]["Account__r"]["Name"]
        ),
        (&json!(12.35), &json!("One"))
    );
    let dump = org
        .control(Method::GET, "records/Invoice__c", Value::Null)
        .await;
    assert_eq!(dump[0]["Ext_Id__c"], "i-1");
    assert_eq!(
        org.control(Method::DELETE, "data", Value::Null).await,
        json!({"deleted": 2})
    );
    assert_eq!(
        org.control(Method::GET, "records/Invoice__c?format=jsonl", Value::Null)
            .await,
        ""
    );
    let log = org.control(Method::GET, "writes", Value::Null).await;
    assert_eq!(log["writes"], json!([]));
    assert_eq!(
        org.upsert("Account", json!([{"Ext_Id__c": "a-1", "Name": "One"}]))
            .await[0]["created"],
        true
    );
}

#[tokio::test]
async fn a_killed_sandbox_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let config = || Config {
        data: Some(dir.path().to_owned()),
        ..Config::default()
    };
    let org = Org::with(config()).await;
    let made = org
        .upsert(
            "Account",
            json!([{"Ext_Id__c": "a-1", "Name": "One"}, {"Ext_Id__c": "a-2", "Name": "Two"}]),
        )
        .await;
    org.upsert("Account", json!([{"Ext_Id__c": "a-1", "Phone": "42"}]))
        .await;
    org.send(
        Method::DELETE,
        &format!("composite/sobjects?ids={}", made[1]["id"].as_str().unwrap()),
        Value::Null,
    )
    .await;
    let writes = org.control(Method::GET, "writes", Value::Null).await;
    drop(org.sandbox);
    // The line being written when the process was killed.
    let journal = dir.path().join("journal.jsonl");
    std::fs::OpenOptions::new()
        .append(true)
        .open(&journal)
        .unwrap()
        .write_all(b"{\"rows\":[{\"o\":\"Acc")
        .unwrap();
    for _ in 0..2 {
        let org = Org::with(config()).await;
        assert_eq!(
            org.control(Method::GET, "writes", Value::Null).await,
            writes
        );
        let (_, rows) = org.query("SELECT Id, Name, Phone FROM Account").await;
        assert_eq!(rows["totalSize"], 1);
        assert_eq!(
            (&rows["records"][0]["Id"], &rows["records"][0]["Phone"]),
            (&made[0]["id"], &json!("42"))
        );
        drop(org.sandbox);
    }
    let org = Org::with(config()).await;
    let again = org
        .upsert(
            "Account",
            json!([{"Ext_Id__c": "a-1", "Name": "Uno"}, {"Ext_Id__c": "a-2", "Name": "Due"}]),
        )
        .await;
    assert_eq!(
        (&again[0]["id"], &again[0]["created"]),
        (&made[0]["id"], &json!(false))
    );
    assert!(again[1]["created"] == true && again[1]["id"] != made[1]["id"]);
    drop(org.sandbox);
    // Damage in the middle is not passed over.
    let text = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, text.replacen("\"rows\"", "\"ro", 1)).unwrap();
    assert!(syncline_sandbox::Sandbox::start(config()).await.is_err());
}

#[tokio::test]
async fn a_grant_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = || Config {
        data: Some(dir.path().to_owned()),
        ..Config::default()
    };
    let org = Org::with(config()).await;
    let meta = json!({"type": "Text", "label": "Tier", "length": 5});
    let field = json!({"FullName": "Contact.Tier__c", "Metadata": meta});
    org.send(Method::POST, "tooling/sobjects/CustomField", field)
        .await;
    let set = json!({"Name": "Sync", "Label": "Sync"});
    let (_, set) = org.send(Method::POST, "sobjects/PermissionSet", set).await;
    let (_, me) = org
        .query("SELECT Id FROM User WHERE Username = 'integration@sandbox.test'")
        .await;
    let assignment = json!({"AssigneeId": me["records"][0]["Id"], "PermissionSetId": set["id"]});
    org.send(Method::POST, "sobjects/PermissionSetAssignment", assignment)
        .await;
    let grant = json!({
        "ParentId": set["id"], "SobjectType": "Contact", "Field": "Contact.Tier__c",
        "PermissionsRead": true, "PermissionsEdit": true,
    });
    assert_eq!(
        org.send(Method::POST, "sobjects/FieldPermissions", grant)
            .await
            .0,
        201
    );
    drop(org.sandbox);
    let org = Org::with(config()).await;
    let (status, _) = org.query("SELECT Tier__c FROM Contact").await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_refused_write_without_a_key_belongs_to_no_key() {
    let org = Org::new().await;
    org.upsert("Account", json!([{"Ext_Id__c": null, "Name": "x"}]))
        .await;
    let log = org
        .control(Method::GET, "writes?external_id=a-1", Value::Null)
        .await;
    assert_eq!(log["writes"], json!([]));
    let log = org.control(Method::GET, "writes", Value::Null).await;
    assert_eq!(log["writes"][0]["outcome"], "MISSING_ARGUMENT");
}
