//! Collections, record by record as Salesforce answers them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{Org, code, read};

#[tokio::test]
async fn an_upsert_creates_then_updates_and_answers_in_order() {
    let org = Org::new().await;
    let first = org
        .upsert(
            "Account",
            json!([{"Ext_Id__c": "a-1", "Name": "One"}, {"Ext_Id__c": "a-2", "Name": "Two"}]),
        )
        .await;
    assert_eq!(first[0]["created"], true);
    assert_eq!(first[0]["errors"], json!([]));
    let id = first[1]["id"].as_str().unwrap();
    assert!(id.len() == 18 && id.starts_with("001"));
    let again = org
        .upsert(
            "Account",
            json!([{"Ext_Id__c": "a-2", "Phone": "1"}, {"Ext_Id__c": "a-3", "Name": "Three"}]),
        )
        .await;
    assert_eq!(
        (&again[0]["id"], &again[0]["created"]),
        (&first[1]["id"], &json!(false))
    );
    assert_eq!(again[1]["created"], true);
    let (_, rows) = org
        .query("SELECT Name, Phone FROM Account ORDER BY Ext_Id__c")
        .await;
    assert_eq!(rows["totalSize"], 3);
    assert_eq!(rows["records"][1]["Name"], "Two");
    assert_eq!(rows["records"][1]["Phone"], "1");
}

#[tokio::test]
async fn a_bad_record_leaves_its_siblings_alone() {
    let org = Org::new().await;
    let results = org
        .upsert(
            "Contact",
            json!([
                {"Ext_Id__c": "c-1", "LastName": "Lee"},
                {"Ext_Id__c": "c-2", "LastName": null},
                {"Ext_Id__c": "c-3", "LastName": "Roe", "Nope__c": 1},
                {"Ext_Id__c": "c-4", "LastName": "x".repeat(81)},
                {"Ext_Id__c": "c-5", "LastName": "Poe", "Email": "123"},
                {"Ext_Id__c": "c-6", "LastName": "Poe", "Birthdate": ""},
                {"Ext_Id__c": "c-7", "LastName": "Poe", "CreatedDate": "2026-01-01T00:00:00Z"},
                {"LastName": "Poe"},
                {"Ext_Id__c": "c-9", "LastName": "Poe", "Account": {"Ext_Id__c": "a-9"}},
                {"Ext_Id__c": "c-10", "LastName": "Poe", "AccountId": "nonsense"},
            ]),
        )
        .await;
    let codes: Vec<&str> = results.iter().map(code).collect();
    assert_eq!(
        codes,
        [
            "none",
            "REQUIRED_FIELD_MISSING",
            "INVALID_FIELD",
            "STRING_TOO_LONG",
            "INVALID_EMAIL_ADDRESS",
            "JSON_PARSER_ERROR",
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            "MISSING_ARGUMENT",
            "INVALID_FIELD",
            "MALFORMED_ID",
        ]
    );
    let error = |at: usize| &results[at]["errors"][0];
    assert_eq!(
        error(1)["message"],
        "Required fields are missing: [LastName]"
    );
    assert_eq!(error(1)["fields"], json!(["LastName"]));
    assert_eq!(
        error(2)["message"],
        "No such column 'Nope__c' on sobject of type Contact"
    );
    assert_eq!(error(2)["fields"], json!([]));
    assert_eq!(error(4)["message"], "Email: invalid email address: 123");
    assert_eq!(error(7)["message"], "Ext_Id__c not specified");
    assert_eq!(
        error(8)["message"],
        "Foreign key external ID: a-9 not found for field Ext_Id__c in entity Account"
    );
    assert!(
        error(5)["message"]
            .as_str()
            .unwrap()
            .ends_with("[Source: N/A; line: -1, column: -1][line:-1, column:-1]")
    );
    assert!(results[1].get("id").is_none());
}

#[tokio::test]
async fn the_same_key_twice_fails_every_copy() {
    let org = Org::new().await;
    let results = org
        .upsert("Account", json!([
            {"Ext_Id__c": "a-1", "Name": "One"}, {"Ext_Id__c": "A-1", "Name": "Other case, other key"},
            {"Ext_Id__c": "a-1", "Name": "Two"},
        ]))
        .await;
    assert_eq!(code(&results[0]), "DUPLICATE_VALUE");
    assert_eq!(
        results[0]["errors"][0]["message"],
        "Duplicate external id specified: a-1"
    );
    assert_eq!(results[1]["success"], true);
    assert_eq!(code(&results[2]), "DUPLICATE_VALUE");
}

#[tokio::test]
async fn parents_must_exist_before_the_call() {
    let org = Org::new().await;
    let body = json!({"records": [
        {"attributes": {"type": "Account"}, "Name": "Parent", "Ext_Id__c": "p"},
        {"attributes": {"type": "Contact"}, "LastName": "Child", "Account": {"Ext_Id__c": "p"}},
    ]});
    let (_, first) = org.send(Method::POST, "composite/sobjects", body).await;
    assert_eq!(first[0]["success"], true);
    assert!(first[0].get("created").is_none());
    assert_eq!(code(&first[1]), "INVALID_FIELD");
    let second = org
        .upsert(
            "Contact",
            json!([{"Ext_Id__c": "c", "LastName": "Child", "Account": {"Ext_Id__c": "p"}}]),
        )
        .await;
    assert_eq!(second[0]["success"], true);
    let two = org
        .upsert(
            "Contact",
            json!([{"Ext_Id__c": "c", "Account": {"Ext_Id__c": "p", "Name": "x"}}]),
        )
        .await;
    assert!(
        two[0]["errors"][0]["message"]
            .as_str()
            .unwrap()
            .starts_with("More than 1 field provided")
    );
    let cleared = org
        .upsert("Contact", json!([{"Ext_Id__c": "c", "AccountId": null}]))
        .await;
    assert_eq!(cleared[0]["success"], true);
    let (_, rows) = org
        .query("SELECT AccountId, Account.Name FROM Contact")
        .await;
    assert_eq!(rows["records"][0]["AccountId"], Value::Null);
    assert_eq!(rows["records"][0]["Account"], Value::Null);
}

#[tokio::test]
async fn all_or_none_takes_everything_back() {
    let org = Org::new().await;
    let (status, results) = org
        .try_upsert(
            "Account",
            json!([{"Ext_Id__c": "a-1", "Name": "One"}, {"Ext_Id__c": "a-2"}]),
            true,
        )
        .await;
    assert_eq!(status, 200);
    assert_eq!(code(&results[0]), "ALL_OR_NONE_OPERATION_ROLLED_BACK");
    assert_eq!(code(&results[1]), "REQUIRED_FIELD_MISSING");
    assert_eq!(
        org.query("SELECT COUNT() FROM Account").await.1["totalSize"],
        0
    );
}

#[tokio::test]
async fn malformed_calls_are_refused_whole() {
    let org = Org::new().await;
    let many: Vec<Value> = (0..201)
        .map(|i| json!({"Ext_Id__c": i.to_string(), "Name": "n"}))
        .collect();
    let (status, error) = org.try_upsert("Account", json!(many), false).await;
    assert_eq!(
        (status, error[0]["errorCode"].as_str().unwrap()),
        (400, "EXCEEDED_ID_LIMIT")
    );
    let (status, error) = org.try_upsert("Account", json!([]), false).await;
    assert_eq!(
        (status, error[0]["message"].as_str().unwrap()),
        (400, "At least 1 record is required")
    );
    let typed = json!([{"attributes": {"type": "Contact"}, "Ext_Id__c": "1"}]);
    assert_eq!(org.try_upsert("Account", typed, false).await.0, 400);
    let (status, error) = org
        .send(
            Method::PATCH,
            "composite/sobjects/Account/Phone",
            json!({"records": [{"attributes": {"type": "Account"}}]}),
        )
        .await;
    assert_eq!(
        (status, error[0]["errorCode"].as_str().unwrap()),
        (404, "NOT_FOUND")
    );
    let request = org
        .request(Method::PATCH, "composite/sobjects/Account/Ext_Id__c")
        .body("{nonsense");
    let (status, error) = read(request.send().await.unwrap()).await;
    assert_eq!(
        (status, error[0]["errorCode"].as_str().unwrap()),
        (400, "JSON_PARSER_ERROR")
    );
}

#[tokio::test]
async fn updates_and_deletes_go_by_id() {
    let org = Org::new().await;
    let made = org
        .upsert("Account", json!([{"Ext_Id__c": "a-1", "Name": "One"}]))
        .await;
    let id = made[0]["id"].as_str().unwrap();
    let body = json!({"records": [
        {"attributes": {"type": "account"}, "id": id[..15], "phone": "42"},
        {"attributes": {"type": "Account"}, "Phone": "43"},
        {"attributes": {"type": "Account"}, "id": "001Ws0zzzzzzzzz", "Phone": "43"},
        {"attributes": {"type": "Account"}, "id": "x", "Phone": "43"},
    ]});
    let (_, results) = org.send(Method::PATCH, "composite/sobjects", body).await;
    let codes: Vec<&str> = results.as_array().unwrap().iter().map(code).collect();
    assert_eq!(
        codes,
        [
            "none",
            "MISSING_ARGUMENT",
            "INVALID_CROSS_REFERENCE_KEY",
            "MALFORMED_ID"
        ]
    );
    assert_eq!(
        results[1]["errors"][0]["message"],
        "Id not specified in an update call"
    );
    let path = format!("composite/sobjects?ids={id},x");
    let (_, results) = org.send(Method::DELETE, &path, Value::Null).await;
    assert_eq!(results[0], json!({"id": id, "success": true, "errors": []}));
    assert_eq!(results[1]["errors"][0]["message"], "malformed id x");
    let (_, results) = org.send(Method::DELETE, &path, Value::Null).await;
    assert_eq!(
        results[0]["errors"][0],
        json!({"statusCode": "ENTITY_IS_DELETED", "message": "entity is deleted", "fields": []})
    );
    // The key of a deleted record is free: an upsert makes a new one.
    let anew = org
        .upsert("Account", json!([{"Ext_Id__c": "a-1", "Name": "Anew"}]))
        .await;
    assert_eq!(anew[0]["created"], true);
    assert_ne!(anew[0]["id"], made[0]["id"]);
}

#[tokio::test]
async fn retrieve_keeps_the_places_of_missing_records() {
    let org = Org::new().await;
    let made = org
        .upsert("Account", json!([{"Ext_Id__c": "a-1", "Name": "One"}]))
        .await;
    let id = made[0]["id"].as_str().unwrap();
    let body = json!({"ids": [id, "001Ws0zzzzzzzzz"], "fields": ["Id", "name"]});
    let (status, rows) = org
        .send(Method::POST, "composite/sobjects/Account", body)
        .await;
    assert_eq!(status, 200);
    assert_eq!(rows.to_string(), json!([{
        "attributes": {"type": "Account", "url": format!("/services/data/v66.0/sobjects/Account/{id}")},
        "Id": id, "Name": "One"
    }, null]).to_string());
    let (_, same) = org
        .get(&format!(
            "composite/sobjects/Account?ids={id}&fields=Id,Name"
        ))
        .await;
    assert_eq!(same[0], rows[0]);
    let (status, error) = org
        .get(&format!("composite/sobjects/Account?ids={id}&fields=Nope"))
        .await;
    assert_eq!(
        (status, error[0]["errorCode"].as_str().unwrap()),
        (400, "INVALID_FIELD")
    );
}

#[tokio::test]
async fn update_only_never_creates() {
    let org = Org::new().await;
    let path = "composite/sobjects/Account/Ext_Id__c?updateOnly=true";
    let body =
        json!({"records": [{"attributes": {"type": "Account"}, "Ext_Id__c": "none", "Name": "x"}]});
    let (_, results) = org.send(Method::PATCH, path, body).await;
    assert_eq!(code(&results[0]), "NOT_FOUND");
}

#[tokio::test]
async fn text_is_trimmed_and_empty_text_is_null() {
    let org = Org::new().await;
    org.upsert(
        "Account",
        json!([{"Ext_Id__c": " a-1 ", "Name": " One ", "Phone": ""}]),
    )
    .await;
    let (_, rows) = org
        .query("SELECT Ext_Id__c, Name, Phone, AnnualRevenue FROM Account")
        .await;
    let row = &rows["records"][0];
    assert_eq!(
        (&row["Ext_Id__c"], &row["Name"], &row["Phone"]),
        (&json!("a-1"), &json!("One"), &Value::Null)
    );
}

#[tokio::test]
async fn a_unique_value_belongs_to_one_record() {
    let org = Org::new().await;
    let code_field = json!({"type": "Text", "label": "Code", "length": 20, "unique": true});
    org.control(Method::PUT, "fields/Account/Code__c", code_field)
        .await;
    let made = org
        .upsert(
            "Account",
            json!([{"Ext_Id__c": "a-1", "Name": "One", "Code__c": "X"}]),
        )
        .await;
    let results = org
        .upsert(
            "Account",
            json!([{"Ext_Id__c": "a-2", "Name": "Two", "Code__c": "x"}]),
        )
        .await;
    assert_eq!(code(&results[0]), "DUPLICATE_VALUE");
    let id = &made[0]["id"].as_str().unwrap()[..15];
    assert_eq!(
        results[0]["errors"][0]["message"],
        format!("duplicate value found: Code__c duplicates value on record with id: {id}")
    );
}
