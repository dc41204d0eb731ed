//! The schema changed under running clients: by an administrator (the control interface)
//! and by clients themselves (the Tooling API).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Org, code, encode};
use reqwest::Method;
use serde_json::{Value, json};
use syncline_sandbox::Config;

async fn schema(org: &Org, change: Value) -> Value {
    let done = org.control(Method::PUT, "schema", change.clone()).await;
    assert!(done.is_object(), "{change} {done}");
    done
}

async fn described(org: &Org, object: &str, name: &str) -> Value {
    let (_, shown) = org.get(&format!("sobjects/{object}/describe")).await;
    let fields = shown["fields"].as_array().unwrap();
    let found = fields.iter().find(|f| f["name"] == name);
    found.cloned().unwrap_or(Value::Null)
}

async fn write(org: &Org, fields: Value) -> Value {
    let mut record = json!({"Ext_Id__c": "a-1", "Name": "One"});
    record
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    org.upsert("Account", json!([record])).await[0].clone()
}

async fn create(org: &Org, name: &str, meta: Value) -> (u16, Value) {
    let body = json!({"FullName": name, "Metadata": meta});
    org.send(Method::POST, "tooling/sobjects/CustomField", body)
        .await
}

async fn tooling(org: &Org, soql: &str) -> (u16, Value) {
    org.get(&format!("tooling/query?q={}", encode(soql))).await
}

fn text(length: u32) -> Value {
    json!({"type": "Text", "label": "Tier", "length": length})
}

/// Makes a permission set, grants the field in it, and assigns it to the client's user.
async fn grant(org: &Org, field: &str) {
    let set = json!({"Name": "Sync", "Label": "Sync"});
    let (status, set) = org.send(Method::POST, "sobjects/PermissionSet", set).await;
    assert_eq!(status, 201, "{set}");
    let (object, _) = field.split_once('.').unwrap();
    let row = json!({
        "ParentId": set["id"], "SobjectType": object, "Field": field,
        "PermissionsRead": true, "PermissionsEdit": true,
    });
    let (status, made) = org
        .send(Method::POST, "sobjects/FieldPermissions", row)
        .await;
    assert_eq!(status, 201, "{made}");
    let me = "SELECT Id FROM User WHERE Username = 'integration@sandbox.test'";
    let (_, me) = org.query(me).await;
    let row = json!({"AssigneeId": me["records"][0]["Id"], "PermissionSetId": set["id"]});
    let (status, made) = org
        .send(Method::POST, "sobjects/PermissionSetAssignment", row)
        .await;
    assert_eq!(status, 201, "{made}");
}

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
async fn a_created_field_is_changed_found_and_deleted() {
    let org = Org::new().await;
    let (_, made) = create(&org, "Account.Tier__c", text(20)).await;
    let path = format!(
        "tooling/sobjects/CustomField/{}",
        made["id"].as_str().unwrap()
    );
    // Nobody sees it, but it can be found.
    let soql = "SELECT Id, Metadata FROM CustomField WHERE DeveloperName = 'Tier' AND EntityDefinition.QualifiedApiName = 'Account'";
    let (_, found) = tooling(&org, soql).await;
    assert_eq!(
        (
            &found["records"][0]["Id"],
            &found["records"][0]["Metadata"]["length"]
        ),
        (&made["id"], &json!(20))
    );
    grant(&org, "Account.Tier__c").await;
    write(&org, json!({"Tier__c": "gold plated"})).await;
    let patch = |meta: Value| org.send(Method::PATCH, &path, json!({"Metadata": meta}));
    let (status, _) = patch(json!({"type": "Text", "label": "Rank", "length": 4})).await;
    assert_eq!(status, 204);
    let field = described(&org, "Account", "Tier__c").await;
    assert_eq!(
        (&field["label"], &field["length"]),
        (&json!("Rank"), &json!(4))
    );
    let (_, rows) = org.query("SELECT Tier__c FROM Account").await;
    assert_eq!(rows["records"][0]["Tier__c"], "gold");
    for (meta, why) in [
        (
            json!({"type": "Number", "label": "Rank", "precision": 3, "scale": 0}),
            "FIELD_INTEGRITY_EXCEPTION",
        ),
        (
            json!({"type": "Text", "label": "Rank", "length": 256}),
            "FIELD_INTEGRITY_EXCEPTION",
        ),
        (
            json!({"type": "Text", "length": 4}),
            "REQUIRED_FIELD_MISSING",
        ),
        (
            json!({"type": "Text", "length": 4, "label": "x".repeat(41)}),
            "STRING_TOO_LONG",
        ),
    ] {
        let (status, refused) = patch(meta.clone()).await;
        assert_eq!(
            (status, refused[0]["errorCode"].as_str()),
            (400, Some(why)),
            "{meta}"
        );
    }
    org.upsert(
        "Account",
        json!([{"Ext_Id__c": "a-2", "Name": "Two", "Tier__c": "GOLD"}]),
    )
    .await;
    let unique = json!({"type": "Text", "label": "Rank", "length": 4, "unique": true});
    assert_eq!(patch(unique).await.0, 400);
    let (status, _) =
        patch(json!({"type": "LongTextArea", "label": "Rank", "length": 300, "visibleLines": 3}))
            .await;
    assert_eq!(
        (status, &described(&org, "Account", "Tier__c").await["type"]),
        (204, &json!("textarea"))
    );
    let gone = org.send(Method::DELETE, &path, Value::Null).await;
    assert_eq!(gone, (204, json!("")));
    assert_eq!(org.get(&path).await.0, 404);
    assert_eq!(tooling(&org, soql).await.1["totalSize"], 0);
    assert_eq!(
        code(&write(&org, json!({"Tier__c": "tin"})).await),
        "INVALID_FIELD"
    );
    // Made anew, it is another field: empty, and granted to nobody.
    let (status, again) = create(&org, "Account.Tier__c", text(20)).await;
    assert_eq!(status, 201, "{again}");
    assert_ne!(again["id"], made["id"]);
    assert_eq!(described(&org, "Account", "Tier__c").await, Value::Null);
    schema(
        &org,
        json!({"object": "Account", "field": "Tier__c", "grant": true}),
    )
    .await;
    let (_, rows) = org.query("SELECT Tier__c FROM Account").await;
    assert_eq!(rows["records"][0]["Tier__c"], Value::Null);
}

#[tokio::test]
async fn the_limit_of_custom_fields_can_be_read_and_holds() {
    let org = Org::new().await;
    let limit = |filter: &str| {
        let soql = format!(
            "SELECT Label, Max, Remaining, Type, EntityDefinitionId FROM EntityLimit WHERE Type = 'CustomFields' AND {filter}"
        );
        let org = &org;
        async move { tooling(org, &soql).await.1["records"][0].clone() }
    };
    let row = limit("EntityDefinition.QualifiedApiName = 'Account'").await;
    assert_eq!(
        (
            &row["Label"],
            &row["Max"],
            &row["Remaining"],
            &row["Type"],
            &row["EntityDefinitionId"]
        ),
        (
            &json!("Custom Fields"),
            &json!(500),
            &json!(499),
            &json!("CustomFields"),
            &json!("Account")
        )
    );
    org.control(Method::PUT, "limits", json!({"custom_fields": 2}))
        .await;
    assert_eq!(
        limit("EntityDefinitionId = 'Account'").await["Remaining"],
        1
    );
    assert_eq!(create(&org, "Account.A__c", text(1)).await.0, 201);
    assert_eq!(
        limit("DurableId = 'Account.CustomFields'").await["Remaining"],
        0
    );
    let (status, refused) = create(&org, "Account.B__c", text(1)).await;
    assert_eq!(
        (status, refused[0]["errorCode"].as_str()),
        (400, Some("CUSTOM_ENTITY_OR_FIELD_LIMIT"))
    );
    let (_, again) = create(&org, "Account.A__c", text(1)).await;
    assert_eq!(again[0]["errorCode"], "DUPLICATE_DEVELOPER_NAME");
    assert_eq!(create(&org, "Contact.B__c", text(1)).await.0, 201);
    for soql in [
        "SELECT COUNT() FROM EntityLimit",
        "SELECT Max FROM EntityLimit WHERE Type = 'CustomFields' OR Type = 'VLookup'",
        "SELECT Max FROM EntityLimit WHERE Type != 'CustomFields'",
    ] {
        assert_eq!(tooling(&org, soql).await.0, 400, "{soql}");
    }
    // LIMIT is ignored there.
    let (_, all) = tooling(
        &org,
        "SELECT QualifiedApiName FROM EntityDefinition LIMIT 1",
    )
    .await;
    assert!(all["totalSize"].as_u64().unwrap() > 5);
}

#[tokio::test]
async fn permissions_are_refused_and_found_as_salesforce_does() {
    let org = Org::new().await;
    create(&org, "Account.Tier__c", text(20)).await;
    let required = json!({"type": "Text", "label": "Must", "length": 5, "required": true});
    create(&org, "Account.Must__c", required).await;
    create(
        &org,
        "Account.No__c",
        json!({"type": "AutoNumber", "label": "No", "displayFormat": "{0}"}),
    )
    .await;
    // Required fields are seen by everybody without a grant.
    assert_eq!(
        described(&org, "Account", "Must__c").await["nillable"],
        false
    );
    grant(&org, "Account.Tier__c").await;
    let (_, set) = org
        .query("SELECT Id FROM PermissionSet WHERE Name = 'Sync'")
        .await;
    let set = set["records"][0]["Id"].clone();
    for (field, edit, read, why) in [
        ("Account.Tier__c", true, true, "DUPLICATE_VALUE"),
        (
            "Account.Must__c",
            true,
            true,
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
        ),
        (
            "Account.Nope__c",
            true,
            true,
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
        ),
        (
            "Account.Name",
            true,
            true,
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
        ),
        (
            "Account.BillingCity",
            true,
            true,
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
        ),
        ("Account.Phone", true, false, "FIELD_INTEGRITY_EXCEPTION"),
        ("Account.No__c", true, true, "FIELD_INTEGRITY_EXCEPTION"),
    ] {
        let row = json!({"ParentId": set, "SobjectType": "Account", "Field": field, "PermissionsRead": read, "PermissionsEdit": edit});
        let (status, refused) = org
            .send(Method::POST, "sobjects/FieldPermissions", row)
            .await;
        assert_eq!(
            (status, refused[0]["errorCode"].as_str()),
            (400, Some(why)),
            "{field}"
        );
    }
    let (_, rows) = org.query("SELECT Id, PermissionsEdit FROM FieldPermissions WHERE Parent.Name = 'Sync' AND SobjectType = 'Account' AND Field = 'Account.Tier__c'").await;
    assert_eq!(rows["records"][0]["PermissionsEdit"], true);
    let path = format!(
        "sobjects/FieldPermissions/{}",
        rows["records"][0]["Id"].as_str().unwrap()
    );
    let (status, refused) = org
        .send(Method::PATCH, &path, json!({"PermissionsRead": false}))
        .await;
    assert_eq!(
        (status, refused[0]["errorCode"].as_str()),
        (400, Some("FIELD_INTEGRITY_EXCEPTION"))
    );
    let (_, rows) = org.query("SELECT Assignee.Username FROM PermissionSetAssignment WHERE PermissionSet.Name = 'Sync'").await;
    assert_eq!(
        rows["records"][0]["Assignee"]["Username"],
        "integration@sandbox.test"
    );
    for (name, why) in [
        ("Sync", "DUPLICATE_VALUE"),
        ("No way", "FIELD_INTEGRITY_EXCEPTION"),
    ] {
        let (_, refused) = org
            .send(
                Method::POST,
                "sobjects/PermissionSet",
                json!({"Name": name, "Label": "x"}),
            )
            .await;
        assert_eq!(refused[0]["errorCode"], why, "{name}");
    }
}

#[tokio::test]
async fn rights_can_be_taken_from_a_user() {
    let org = Org::new().await;
    let (_, made) = create(&org, "Account.Tier__c", text(20)).await;
    let path = format!(
        "tooling/sobjects/CustomField/{}",
        made["id"].as_str().unwrap()
    );
    let none = json!({"customize_application": false, "manage_permission_sets": false});
    let now = org.control(Method::PUT, "rights", none).await;
    assert_eq!(now["user"], "integration@sandbox.test");
    for (method, path, body) in [
        (
            Method::POST,
            "tooling/sobjects/CustomField",
            json!({"FullName": "Account.B__c", "Metadata": text(5)}),
        ),
        (Method::PATCH, &path, json!({"Metadata": text(5)})),
        (Method::DELETE, &path, Value::Null),
    ] {
        let (status, refused) = org.send(method, path, body).await;
        assert_eq!(
            (status, refused[0]["errorCode"].as_str()),
            (403, Some("INSUFFICIENT_ACCESS"))
        );
    }
    let (status, refused) = org
        .send(
            Method::POST,
            "sobjects/PermissionSet",
            json!({"Name": "A", "Label": "A"}),
        )
        .await;
    assert_eq!(
        (status, refused[0]["errorCode"].as_str()),
        (400, Some("INSUFFICIENT_ACCESS_OR_READONLY"))
    );
    // Reading stays possible, and so do other users.
    assert_eq!(org.get(&path).await.0, 200);
    let rep = org
        .control(Method::GET, "rights?user=rep@sandbox.test", Value::Null)
        .await;
    assert_eq!(rep["customize_application"], false);
    let admin = org
        .control(Method::GET, "rights?user=admin@sandbox.test", Value::Null)
        .await;
    assert_eq!(admin["customize_application"], true);
    org.control(
        Method::PUT,
        "rights",
        json!({"customize_application": true}),
    )
    .await;
    assert_eq!(create(&org, "Account.B__c", text(5)).await.0, 201);
}

#[tokio::test]
async fn a_granted_field_appears_after_the_lag() {
    let org = Org::new().await;
    org.control(Method::PUT, "limits", json!({"describe_lag_ms": 600}))
        .await;
    create(&org, "Account.Tier__c", text(20)).await;
    grant(&org, "Account.Tier__c").await;
    assert_eq!(described(&org, "Account", "Tier__c").await, Value::Null);
    assert_eq!(
        code(&write(&org, json!({"Tier__c": "gold"})).await),
        "INVALID_FIELD"
    );
    let shown = org
        .control(Method::GET, "schema?object=Account", Value::Null)
        .await;
    assert!(
        shown["objects"][0]["fields"][1]["appears_in_ms"]
            .as_u64()
            .unwrap()
            > 0,
        "{shown}"
    );
    assert_eq!(shown["objects"][0]["fields"][1]["granted"][0]["edit"], true);
    tokio::time::sleep(std::time::Duration::from_millis(650)).await;
    assert_eq!(described(&org, "Account", "Tier__c").await["length"], 20);
    assert_eq!(code(&write(&org, json!({"Tier__c": "gold"})).await), "none");
    // An administrator's change does not lag.
    schema(
        &org,
        json!({"object": "Account", "field": "Phone", "hide": true}),
    )
    .await;
    schema(
        &org,
        json!({"object": "Account", "field": "Phone", "grant": true}),
    )
    .await;
    assert_eq!(described(&org, "Account", "Phone").await["type"], "phone");
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
