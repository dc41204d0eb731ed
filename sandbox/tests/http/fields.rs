//! Custom fields made, changed, granted and deleted by clients: the Tooling API and the
//! permission objects.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{Org, code, create, described, grant, schema, text, tooling, write};

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
