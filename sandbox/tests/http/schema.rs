//! The schema changed by an administrator under running clients: the control interface.

use reqwest::Method;
use serde_json::{Value, json};
use syncline_sandbox::Config;

use crate::common::{Org, code, create, described, grant, schema, text, write};

#[tokio::test]
async fn a_field_vanishes_and_comes_back_with_its_values() {
    let org = Org::new().await;
    assert_eq!(code(&write(&org, json!({"Phone": "42"})).await), "none");
    let gone = schema(
        &org,
        json!({"object": "Account", "field": "phone", "vanish": true}),
    )
    .await;
    assert_eq!(gone["deleted"], true);
    assert_eq!(described(&org, "Account", "Phone").await, Value::Null);
    let refused = write(&org, json!({"Phone": "43"})).await;
    assert_eq!(
        refused["errors"][0],
        json!({"statusCode": "INVALID_FIELD", "fields": [],
            "message": "No such column 'Phone' on sobject of type Account"})
    );
    let (status, single) = org
        .send(
            Method::PATCH,
            "sobjects/Account/Ext_Id__c/a-1",
            json!({"Phone": "1"}),
        )
        .await;
    assert_eq!(
        (status, single[0]["errorCode"].as_str()),
        (400, Some("INVALID_FIELD"))
    );
    assert_eq!(code(&write(&org, json!({"Fax": "1"})).await), "none");
    let dump = org
        .control(Method::GET, "records/Account", Value::Null)
        .await;
    assert_eq!((dump[0].get("Phone"), dump[0].get("")), (None, None));
    schema(
        &org,
        json!({"object": "Account", "field": "Phone", "vanish": false}),
    )
    .await;
    let (_, rows) = org.query("SELECT Phone, Fax FROM Account").await;
    let row = &rows["records"][0];
    assert_eq!((&row["Phone"], &row["Fax"]), (&json!("42"), &json!("1")));
    for (field, why) in [("Id", "system"), ("Name", "name"), ("Nope__c", "unknown")] {
        let change = json!({"object": "Account", "field": field, "vanish": true});
        let refused = org.control(Method::PUT, "schema", change).await;
        assert!(refused[0]["errorCode"].is_string(), "{why} {refused}");
    }
}

#[tokio::test]
async fn a_vanished_key_refuses_the_whole_call() {
    let org = Org::new().await;
    schema(
        &org,
        json!({"object": "Account", "field": "Ext_Id__c", "vanish": true}),
    )
    .await;
    let (status, refused) = org
        .try_upsert("Account", json!([{"Ext_Id__c": "a-1", "Name": "x"}]), false)
        .await;
    assert_eq!(
        (status, refused[0]["errorCode"].as_str()),
        (404, Some("NOT_FOUND"))
    );
}

#[tokio::test]
async fn hidden_and_read_only_fields_refuse_writes() {
    let org = Org::new().await;
    for change in [
        json!({"hide": true}),
        json!({"unhide": true}),
        json!({"read_only": true}),
        json!({"grant": true}),
    ] {
        let mut body = json!({"object": "Account", "field": "Phone"});
        let (key, _) = change.as_object().unwrap().iter().next().unwrap();
        body[key] = json!(true);
        let now = schema(&org, body).await;
        let field = described(&org, "Account", "Phone").await;
        let refused = write(&org, json!({"Phone": "42"})).await;
        match key.as_str() {
            "hide" => {
                assert_eq!((&now["visible"], &field), (&json!(false), &Value::Null));
                assert_eq!(
                    refused["errors"][0]["message"],
                    "No such column 'Phone' on sobject of type Account"
                );
            }
            "read_only" => {
                assert_eq!(
                    (&field["createable"], &field["updateable"], &now["editable"]),
                    (&json!(false), &json!(false), &json!(false))
                );
                assert_eq!(code(&refused), "INVALID_FIELD_FOR_INSERT_UPDATE");
                assert_eq!(refused["errors"][0]["fields"], json!(["Phone"]));
            }
            _ => {
                assert_eq!(field["updateable"], true);
                assert_eq!(code(&refused), "none");
            }
        }
    }
    // What a client was granted is taken away as well.
    create(&org, "Account.Tier__c", text(20)).await;
    grant(&org, "Account.Tier__c").await;
    assert_eq!(code(&write(&org, json!({"Tier__c": "gold"})).await), "none");
    schema(
        &org,
        json!({"object": "Account", "field": "Tier__c", "read_only": true}),
    )
    .await;
    let refused = write(&org, json!({"Tier__c": "tin"})).await;
    assert_eq!(code(&refused), "INVALID_FIELD_FOR_INSERT_UPDATE");
    schema(
        &org,
        json!({"object": "Account", "field": "Tier__c", "hide": true}),
    )
    .await;
    assert_eq!(
        code(&write(&org, json!({"Tier__c": "tin"})).await),
        "INVALID_FIELD"
    );
    let (_, rows) = org.query("SELECT Id FROM FieldPermissions").await;
    assert_eq!(rows["totalSize"], 0);
    // A read-only key may find a record but not make one.
    schema(
        &org,
        json!({"object": "Account", "field": "Ext_Id__c", "read_only": true}),
    )
    .await;
    assert_eq!(code(&write(&org, json!({"Fax": "7"})).await), "none");
    let new = org
        .upsert("Account", json!([{"Ext_Id__c": "a-2", "Name": "Two"}]))
        .await;
    assert_eq!(code(&new[0]), "INVALID_FIELD_FOR_INSERT_UPDATE");
}

#[tokio::test]
async fn shorter_required_and_restricted_fields_hold_at_once() {
    let org = Org::new().await;
    write(&org, json!({"Phone": "123456", "Industry": "Krypton"})).await;
    schema(
        &org,
        json!({"object": "Account", "field": "Phone", "length": 4}),
    )
    .await;
    assert_eq!(described(&org, "Account", "Phone").await["length"], 4);
    let (_, rows) = org.query("SELECT Phone FROM Account").await;
    assert_eq!(rows["records"][0]["Phone"], "1234");
    let refused = write(&org, json!({"Phone": "12345"})).await;
    assert_eq!(
        (code(&refused), &refused["errors"][0]["fields"]),
        ("STRING_TOO_LONG", &json!(["Phone"]))
    );
    schema(
        &org,
        json!({"object": "Account", "field": "Site", "required": true}),
    )
    .await;
    assert_eq!(described(&org, "Account", "Site").await["nillable"], false);
    // Records without it must be given it with the next write.
    for fields in [json!({}), json!({"Site": null})] {
        let refused = write(&org, fields).await;
        assert_eq!(
            refused["errors"][0],
            json!({"statusCode": "REQUIRED_FIELD_MISSING", "fields": ["Site"],
                "message": "Required fields are missing: [Site]"})
        );
    }
    assert_eq!(code(&write(&org, json!({"Site": "North"})).await), "none");
    assert_eq!(code(&write(&org, json!({"Phone": "1"})).await), "none");
    schema(
        &org,
        json!({"object": "Account", "field": "Site", "required": false}),
    )
    .await;
    assert_eq!(code(&write(&org, json!({"Site": null})).await), "none");
    schema(&org, json!({"object": "Account", "field": "Industry", "restricted": true, "values": ["Energy", "Retail"]})).await;
    let field = described(&org, "Account", "Industry").await;
    assert_eq!(
        (
            &field["restrictedPicklist"],
            field["picklistValues"].as_array().unwrap().len()
        ),
        (&json!(true), 2)
    );
    let refused = write(&org, json!({"Industry": "Banking"})).await;
    assert_eq!(code(&refused), "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST");
    assert_eq!(
        code(&write(&org, json!({"Industry": "retail"})).await),
        "none"
    );
    for wrong in [
        json!({"object": "Account", "field": "Phone", "lenght": 4}),
        json!({"object": "Account", "field": "Phone"}),
        json!({"object": "Account", "field": "Phone", "restricted": true}),
        json!({"object": "Nothing", "field": "Phone", "length": 4}),
    ] {
        let refused = org.control(Method::PUT, "schema", wrong.clone()).await;
        assert!(refused[0]["errorCode"].is_string(), "{wrong} {refused}");
    }
}

#[tokio::test]
async fn a_field_added_by_an_administrator_is_there_at_once() {
    let org = Org::new().await;
    let added = schema(
        &org,
        json!({"object": "Account", "field": "Tier__c", "create": text(20), "granted": true}),
    )
    .await;
    assert_eq!(
        (&added["field"], &added["visible"], &added["editable"]),
        (&json!("Tier__c"), &json!(true), &json!(true))
    );
    assert_eq!(
        code(&write(&org, json!({"Tier__c": "gold plated"})).await),
        "none"
    );
    schema(
        &org,
        json!({"object": "Account", "field": "Tier__c", "length": 4}),
    )
    .await;
    let id = added["id"].as_str().unwrap();
    let (_, read) = org.get(&format!("tooling/sobjects/CustomField/{id}")).await;
    assert_eq!(
        (&read["Metadata"]["length"], &read["FullName"]),
        (&json!(4), &json!("Account.Tier__c"))
    );
    let (_, rows) = org.query("SELECT Tier__c FROM Account").await;
    assert_eq!(rows["records"][0]["Tier__c"], "gold");
    let list = org
        .http
        .get(format!("{}/ui/Account", org.url))
        .send()
        .await
        .unwrap();
    let page = list.text().await.unwrap();
    assert!(
        page.contains("<th>Tier</th>") && page.contains("gold"),
        "{page}"
    );
    let hidden = schema(&org, json!({"object": "Account", "create": {"fullName": "Late__c", "type": "Date", "label": "Late"}})).await;
    assert_eq!(hidden["visible"], false);
    let shown = org
        .control(Method::GET, "schema?object=account", Value::Null)
        .await;
    let account = &shown["objects"][0];
    assert_eq!(
        (&account["custom_fields"], &shown["custom_fields_max"]),
        (&json!(3), &json!(500))
    );
    assert_eq!(account["fields"][1]["metadata"]["length"], 4);
}

#[tokio::test]
async fn describe_is_sent_again_only_when_it_changed() {
    let org = Org::new().await;
    for path in ["sobjects/Account/describe", "sobjects"] {
        let get = |since: Option<String>| {
            let request = org.request(Method::GET, path);
            let request = match since {
                Some(since) => request.header("If-Modified-Since", since),
                None => request,
            };
            async move {
                let reply = request.send().await.unwrap();
                let date = reply.headers().get("last-modified").cloned();
                let date = date.map(|d| d.to_str().unwrap().to_owned());
                (reply.status().as_u16(), date)
            }
        };
        let (status, first) = get(None).await;
        assert_eq!(status, 200);
        assert_eq!(get(first.clone()).await, (304, None));
        schema(&org, json!({"object": "Account", "field": "Phone", "length": if path == "sobjects" { 9 } else { 8 }})).await;
        if path == "sobjects" {
            org.control(Method::PUT, "objects/New__c", json!({})).await;
        }
        // Although all this happens within one second.
        let (status, second) = get(first.clone()).await;
        assert_eq!(status, 200);
        assert_ne!(second, first);
        assert_eq!(get(second).await.0, 304);
        let old = "Wed, 04 Nov 2020 12:10:35 GMT".to_owned();
        assert_eq!(get(Some(old.clone())).await.0, 200);
        let request = org
            .request(Method::GET, path)
            .header("If-Unmodified-Since", old);
        assert_eq!(request.send().await.unwrap().status(), 412);
    }
}

#[tokio::test]
async fn schema_changes_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = || Config {
        data: Some(dir.path().to_owned()),
        ..Config::default()
    };
    let org = Org::with(config()).await;
    create(&org, "Account.Tier__c", text(20)).await;
    grant(&org, "Account.Tier__c").await;
    write(&org, json!({"Tier__c": "gold", "Phone": "42", "Fax": "1"})).await;
    for change in [
        json!({"object": "Account", "field": "Tier__c", "vanish": true}),
        json!({"object": "Account", "field": "Phone", "hide": true}),
    ] {
        schema(&org, change).await;
    }
    write(&org, json!({"Fax": "2"})).await;
    drop(org.sandbox);
    let org = Org::with(config()).await;
    assert_eq!(described(&org, "Account", "Tier__c").await, Value::Null);
    assert_eq!(described(&org, "Account", "Phone").await, Value::Null);
    schema(
        &org,
        json!({"object": "Account", "field": "Tier__c", "vanish": false}),
    )
    .await;
    schema(
        &org,
        json!({"object": "Account", "field": "Phone", "hide": false}),
    )
    .await;
    let (status, rows) = org.query("SELECT Tier__c, Phone, Fax FROM Account").await;
    assert_eq!(status, 200, "{rows}");
    let row = &rows["records"][0];
    assert_eq!(
        (&row["Tier__c"], &row["Phone"], &row["Fax"]),
        (&json!("gold"), &json!("42"), &json!("2"))
    );
}
