//! Field history and edits by people.

use reqwest::Method;
use serde_json::{Value, json};
use syncline_sandbox::Config;

use crate::common::{EXTERNAL_ID, Org, code, create, described, schema};

async fn track(org: &Org, object: &str, field: &str) {
    let change = json!({"object": object, "field": field, "trackHistory": true});
    assert_eq!(schema(org, change).await["trackHistory"], true);
}

async fn edit(org: &Org, key: &str, user: &str, at: &str, fields: Value) -> Value {
    let edit =
        json!({"object": "Account", "external_id": key, "user": user, "at": at, "fields": fields});
    let done = org.control(Method::POST, "edit", edit).await;
    assert_eq!(done["success"], true, "{done}");
    done
}

async fn history(org: &Org, soql: &str) -> Vec<Value> {
    let (status, rows) = org.query(soql).await;
    assert_eq!(status, 200, "{rows}");
    rows["records"].as_array().unwrap().clone()
}

#[tokio::test]
async fn tracked_fields_leave_who_when_and_both_values() {
    let org = Org::new().await;
    track(&org, "Account", "Phone").await;
    track(&org, "Account", "NumberOfEmployees").await;
    let two =
        json!([{"Ext_Id__c": "a", "Name": "A", "Phone": "1"}, {"Ext_Id__c": "b", "Name": "B"}]);
    let made = org.upsert("Account", two).await;
    let (a, b) = (
        made[0]["id"].as_str().unwrap(),
        made[1]["id"].as_str().unwrap(),
    );
    edit(
        &org,
        "a",
        "ann@sandbox.test",
        "2026-11-04T12:00:00Z",
        json!({"Phone": "2", "Fax": "9"}),
    )
    .await;
    edit(
        &org,
        "a",
        "ben@sandbox.test",
        "2026-11-04T11:00:00Z",
        json!({"NumberOfEmployees": 12}),
    )
    .await;
    edit(
        &org,
        "b",
        "cho@sandbox.test",
        "2026-11-04T12:00:01Z",
        json!({"Phone": "x".repeat(30)}),
    )
    .await;
    // Equal values are no change.
    org.upsert("Account", json!([{"Ext_Id__c": "a", "Phone": "2"}]))
        .await;
    let soql = format!(
        "SELECT AccountId, Field, OldValue, NewValue, CreatedDate, CreatedById, CreatedBy.Username, DataType FROM AccountHistory \
         WHERE AccountId IN ('{a}','{b}') AND CreatedDate < 2026-11-05T00:00:00Z ORDER BY CreatedDate"
    );
    let rows = history(&org, &soql).await;
    let told: Vec<Value> = rows
        .iter()
        .map(|r| {
            json!([
                r["AccountId"],
                r["Field"],
                r["OldValue"],
                r["NewValue"],
                r["CreatedDate"],
                r["CreatedBy"]["Username"]
            ])
        })
        .collect();
    assert_eq!(
        told,
        [
            json!([
                a,
                "NumberOfEmployees",
                null,
                12,
                "2026-11-04T11:00:00.000+0000",
                "ben@sandbox.test"
            ]),
            json!([
                a,
                "Phone",
                "1",
                "2",
                "2026-11-04T12:00:00.000+0000",
                "ann@sandbox.test"
            ]),
            json!([
                b,
                "Phone",
                null,
                "x".repeat(30),
                "2026-11-04T12:00:01.000+0000",
                "cho@sandbox.test"
            ]),
        ]
    );
    assert_eq!(rows[0]["attributes"]["type"], "AccountHistory");
    assert_ne!(rows[0]["CreatedById"], rows[1]["CreatedById"]);
    assert_eq!(
        (&rows[0]["DataType"], &rows[1]["DataType"]),
        (&json!("Integer"), &json!("Phone"))
    );
    let (_, row) = org
        .get(&format!(
            "sobjects/Account/{a}?fields=LastModifiedById,LastModifiedDate"
        ))
        .await;
    let me = "SELECT Id FROM User WHERE Username = 'integration@sandbox.test'";
    assert_eq!(row["LastModifiedById"], history(&org, me).await[0]["Id"]);
    let created = format!(
        "SELECT Field, OldValue FROM AccountHistory WHERE AccountId = '{b}' AND Field = 'created'"
    );
    assert_eq!(history(&org, &created).await.len(), 1);
}

#[tokio::test]
async fn lookups_leave_names_and_ids_and_long_text_no_values() {
    let org = Org::new().await;
    for field in ["AccountId", "Description", "LastName"] {
        track(&org, "Contact", field).await;
    }
    let two = json!([{"Ext_Id__c": "a", "Name": "Alpha"}, {"Ext_Id__c": "b", "Name": "Beta"}]);
    let made = org.upsert("Account", two).await;
    let child = |parent: &str, text: &str| json!([{"Ext_Id__c": "c", "LastName": "Lee", "Description": text, "Account": {"Ext_Id__c": parent}}]);
    org.upsert("Contact", child("a", "one")).await;
    org.upsert("Contact", child("b", "two")).await;
    let rows = history(
        &org,
        "SELECT Field, DataType, OldValue, NewValue FROM ContactHistory WHERE Field != 'created'",
    )
    .await;
    let told: Vec<Value> = rows
        .iter()
        .map(|r| json!([r["Field"], r["DataType"], r["OldValue"], r["NewValue"]]))
        .collect();
    assert_eq!(told.len(), 3);
    assert!(told.contains(&json!(["AccountId", "Text", "Alpha", "Beta"])));
    assert!(told.contains(&json!([
        "AccountId",
        "EntityId",
        made[0]["id"],
        made[1]["id"]
    ])));
    assert!(told.contains(&json!(["Description", "TextArea", null, null])));
}

#[tokio::test]
async fn values_can_be_neither_filtered_nor_sorted_and_rows_not_written() {
    let org = Org::new().await;
    track(&org, "Account", "Phone").await;
    let made = org
        .upsert("Account", json!([{"Ext_Id__c": "a", "Name": "A"}]))
        .await;
    for (soql, code) in [
        (
            "SELECT Id FROM AccountHistory WHERE NewValue = '1'",
            "INVALID_FIELD",
        ),
        (
            "SELECT Id FROM AccountHistory ORDER BY OldValue",
            "MALFORMED_QUERY",
        ),
        (
            "SELECT LastModifiedDate FROM AccountHistory",
            "INVALID_FIELD",
        ),
        ("SELECT Id FROM Task__History", "INVALID_TYPE"),
        ("SELECT Id FROM Product2History", "INVALID_TYPE"),
    ] {
        let (status, error) = org.query(soql).await;
        assert_eq!(
            (status, error[0]["errorCode"].as_str().unwrap()),
            (400, code),
            "{soql}"
        );
    }
    let (_, shown) = org.get("sobjects/AccountHistory/describe").await;
    assert_eq!(
        (
            &shown["createable"],
            &shown["queryable"],
            &shown["deletable"]
        ),
        (&json!(false), &json!(true), &json!(false))
    );
    assert_eq!(shown["associateParentEntity"], "Account");
    let value = described(&org, "AccountHistory", "NewValue").await;
    assert_eq!(
        (&value["type"], &value["filterable"]),
        (&json!("anyType"), &json!(false))
    );
    let (_, account) = org.get("sobjects/Account/describe").await;
    let children = account["childRelationships"].as_array().unwrap();
    assert!(
        children
            .iter()
            .any(|c| c["childSObject"] == "AccountHistory" && c["relationshipName"] == "Histories")
    );
    let row = json!({"records": [{"attributes": {"type": "AccountHistory"}}]});
    let (_, refused) = org.send(Method::POST, "composite/sobjects", row).await;
    assert_eq!(refused[0]["success"], false, "{refused}");
    // Nothing is logged for history: it is part of the write.
    let log = org.control(Method::GET, "writes", Value::Null).await;
    assert_eq!(
        log["writes"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|w| w["outcome"] == "accepted")
            .count(),
        1
    );
    let path = format!("composite/sobjects?ids={}", made[0]["id"].as_str().unwrap());
    org.send(Method::DELETE, &path, Value::Null).await;
    assert_eq!(
        history(&org, "SELECT Id FROM AccountHistory").await.len(),
        0
    );
    let log = org
        .control(Method::GET, "writes?outcome=accepted", Value::Null)
        .await;
    assert_eq!(log["total"], 3, "{log}");
}

#[tokio::test]
async fn custom_objects_and_fields_have_a_history_once_tracked() {
    let org = Org::new().await;
    let fields = json!({"Total__c": {"type": "Currency", "label": "Total", "precision": 12, "scale": 2},
        "Key__c": serde_json::from_str::<Value>(EXTERNAL_ID).unwrap()});
    org.control(Method::PUT, "objects/Invoice__c", json!({"fields": fields}))
        .await;
    assert_eq!(org.query("SELECT Id FROM Invoice__History").await.0, 400);
    track(&org, "Invoice__c", "Total__c").await;
    let write = |total: f64| json!({"records": [{"attributes": {"type": "Invoice__c"}, "Key__c": "i", "Total__c": total}]});
    for total in [1.5, 2.5] {
        let (_, done) = org
            .send(
                Method::PATCH,
                "composite/sobjects/Invoice__c/Key__c",
                write(total),
            )
            .await;
        assert_eq!(code(&done[0]), "none", "{done}");
    }
    let rows = history(
        &org,
        "SELECT ParentId, Field, OldValue, NewValue FROM Invoice__History WHERE Field = 'Total__c'",
    )
    .await;
    assert_eq!(
        (&rows[0]["OldValue"], &rows[0]["NewValue"]),
        (&json!(1.5), &json!(2.5))
    );
    let meta = json!({"type": "Text", "label": "Tier", "length": 9, "trackHistory": true});
    let (status, made) = create(&org, "Account.Tier__c", meta).await;
    assert_eq!(status, 201, "{made}");
    let shown = org
        .control(Method::GET, "schema?object=Account", Value::Null)
        .await;
    let tier = shown["objects"][0]["fields"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["field"] == "Tier__c")
        .unwrap()
        .clone();
    assert_eq!(tier["trackHistory"], true);
}

#[tokio::test]
async fn only_so_many_fields_and_no_computed_ones_can_be_tracked() {
    let org = Org::new().await;
    org.control(Method::PUT, "limits", json!({"history_fields": 2}))
        .await;
    track(&org, "Account", "Phone").await;
    track(&org, "Account", "Fax").await;
    track(&org, "Account", "Fax").await;
    for field in ["Website", "BillingAddress", "CreatedDate"] {
        let change = json!({"object": "Account", "field": field, "trackHistory": true});
        let refused = org.control(Method::PUT, "schema", change).await;
        assert_eq!(
            refused[0]["errorCode"], "FIELD_INTEGRITY_EXCEPTION",
            "{field} {refused}"
        );
    }
    let change = json!({"object": "Account", "field": "Fax", "trackHistory": false});
    schema(&org, change).await;
    track(&org, "Account", "Website").await;
}

#[tokio::test]
async fn history_and_tracking_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = || Config {
        data: Some(dir.path().to_owned()),
        ..Config::default()
    };
    let org = Org::with(config()).await;
    track(&org, "Account", "Phone").await;
    let write = |phone: &str| json!([{"Ext_Id__c": "a", "Name": "A", "Phone": phone}]);
    org.upsert("Account", write("1")).await;
    org.upsert("Account", write("2")).await;
    org.sandbox.stop().await;
    let org = Org::with(config()).await;
    org.upsert("Account", write("3")).await;
    let rows = history(
        &org,
        "SELECT NewValue FROM AccountHistory WHERE Field = 'Phone'",
    )
    .await;
    let told: Vec<&Value> = rows.iter().map(|r| &r["NewValue"]).collect();
    assert_eq!(told, [&json!("2"), &json!("3")]);
    org.control(Method::DELETE, "data", Value::Null).await;
    assert_eq!(
        history(&org, "SELECT Id FROM AccountHistory").await.len(),
        0
    );
}
