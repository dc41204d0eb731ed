//! Custom fields by the Tooling API, and who sees them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{Org, code, encode};

async fn create(org: &Org, name: &str, meta: Value) -> (u16, Value) {
    org.send(
        Method::POST,
        "tooling/sobjects/CustomField",
        json!({"FullName": name, "Metadata": meta}),
    )
    .await
}

fn text(label: &str) -> Value {
    json!({"type": "Text", "label": label, "length": 20})
}

async fn described(org: &Org, name: &str) -> Value {
    let (_, shown) = org.get("sobjects/Contact/describe").await;
    shown["fields"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["name"] == name)
        .cloned()
        .unwrap_or(Value::Null)
}

#[tokio::test]
async fn a_new_field_is_hidden_until_it_is_granted() {
    let org = Org::new().await;
    let (status, made) = create(&org, "Contact.Tier__c", text("Tier")).await;
    assert_eq!(status, 201, "{made}");
    assert!(made["id"].as_str().unwrap().starts_with("00N"));
    assert_eq!(
        (&made["success"], &made["infos"]),
        (&json!(true), &json!([]))
    );
    assert_eq!(described(&org, "Tier__c").await, Value::Null);
    let write = || {
        org.upsert(
            "Contact",
            json!([{"Ext_Id__c": "c", "LastName": "Lee", "Tier__c": "gold"}]),
        )
    };
    let refused = write().await;
    assert_eq!(
        refused[0]["errors"][0]["message"],
        "No such column 'Tier__c' on sobject of type Contact"
    );
    assert_eq!(
        org.query("SELECT Tier__c FROM Contact").await.1[0]["errorCode"],
        "INVALID_FIELD"
    );

    let (status, set) = org
        .send(
            Method::POST,
            "sobjects/PermissionSet",
            json!({"Name": "Sync", "Label": "Sync"}),
        )
        .await;
    assert_eq!(status, 201, "{set}");
    let grant = json!({"ParentId": set["id"], "SobjectType": "Contact", "Field": "Contact.Tier__c", "PermissionsRead": true, "PermissionsEdit": false});
    let (status, granted) = org
        .send(Method::POST, "sobjects/FieldPermissions", grant)
        .await;
    assert_eq!(status, 201, "{granted}");
    assert_eq!(described(&org, "Tier__c").await, Value::Null);
    let (_, me) = org
        .query("SELECT Id FROM User WHERE Username = 'integration@sandbox.test'")
        .await;
    let assignment = json!({"AssigneeId": me["records"][0]["Id"], "PermissionSetId": set["id"]});
    assert_eq!(
        org.send(
            Method::POST,
            "sobjects/PermissionSetAssignment",
            assignment.clone()
        )
        .await
        .0,
        201
    );
    let (status, twice) = org
        .send(Method::POST, "sobjects/PermissionSetAssignment", assignment)
        .await;
    assert_eq!(
        (status, twice[0]["errorCode"].as_str().unwrap()),
        (400, "DUPLICATE_VALUE")
    );

    assert_eq!(described(&org, "Tier__c").await["length"], 20);
    assert_eq!(code(&write().await[0]), "INVALID_FIELD_FOR_INSERT_UPDATE");
    let path = format!(
        "sobjects/FieldPermissions/{}",
        granted["id"].as_str().unwrap()
    );
    assert_eq!(
        org.send(Method::PATCH, &path, json!({"PermissionsEdit": true}))
            .await
            .0,
        204
    );
    assert_eq!(code(&write().await[0]), "none");
    assert_eq!(
        org.send(
            Method::PATCH,
            &path,
            json!({"PermissionsRead": false, "PermissionsEdit": false})
        )
        .await
        .0,
        204
    );
    assert_eq!(described(&org, "Tier__c").await, Value::Null);
}

#[tokio::test]
async fn definitions_are_checked() {
    let org = Org::new().await;
    let refused = |name: &'static str, meta: Value| {
        let org = &org;
        async move {
            let (status, error) = create(org, name, meta).await;
            assert_eq!(status, 400, "{name} {error}");
            error[0]["errorCode"].as_str().unwrap().to_owned()
        }
    };
    assert_eq!(create(&org, "Contact.A__c", text("A")).await.0, 201);
    assert_eq!(
        refused("Contact.a__C", text("A")).await,
        "DUPLICATE_DEVELOPER_NAME"
    );
    for name in [
        "Contact.1st__c",
        "Contact.A__B__c",
        "Contact.A___c",
        "Contact.Ab-c__c",
    ] {
        assert_eq!(
            refused(name, text("A")).await,
            "FIELD_INTEGRITY_EXCEPTION",
            "{name}"
        );
    }
    assert_eq!(
        refused("Contact.Plain", text("A")).await,
        "INVALID_FULL_NAME"
    );
    assert_eq!(
        refused("Contact.B__c", json!({"type": "Text", "label": "B"})).await,
        "FIELD_INTEGRITY_EXCEPTION"
    );
    assert_eq!(
        refused(
            "Contact.B__c",
            json!({"type": "Text", "label": "B", "length": 256})
        )
        .await,
        "FIELD_INTEGRITY_EXCEPTION"
    );
    assert_eq!(
        refused("Contact.B__c", json!({"type": "Text", "length": 5})).await,
        "REQUIRED_FIELD_MISSING"
    );
    assert_eq!(
        refused(
            "Contact.B__c",
            json!({"type": "Date", "label": "B", "externalId": true})
        )
        .await,
        "FIELD_INTEGRITY_EXCEPTION"
    );
    assert_eq!(
        refused("Contact.B__c", json!({"type": "Checkbox", "label": "B"})).await,
        "FIELD_INTEGRITY_EXCEPTION"
    );
    assert_eq!(
        refused(
            "Contact.B__c",
            json!({"type": "Number", "label": "B", "precision": 19, "scale": 0})
        )
        .await,
        "FIELD_INTEGRITY_EXCEPTION"
    );
    assert_eq!(refused("Contact.B__c", json!({"type": "Lookup", "label": "B", "referenceTo": "Nothing", "relationshipName": "Bs"})).await, "FIELD_INTEGRITY_EXCEPTION");
}

#[tokio::test]
async fn every_type_can_be_made_and_describes_itself() {
    let org = Org::new().await;
    let values = json!({"restricted": true, "valueSetDefinition": {"sorted": false, "value": [{"fullName": "A", "default": false, "label": "A"}, {"fullName": "B", "default": false, "label": "B"}]}});
    let types = [
        ("Text", "string", json!({"length": 10})),
        ("TextArea", "textarea", json!({})),
        (
            "LongTextArea",
            "textarea",
            json!({"length": 1000, "visibleLines": 3}),
        ),
        (
            "Html",
            "textarea",
            json!({"length": 1000, "visibleLines": 10}),
        ),
        ("Number", "double", json!({"precision": 18, "scale": 2})),
        ("Currency", "currency", json!({"precision": 18, "scale": 2})),
        ("Percent", "percent", json!({"precision": 5, "scale": 2})),
        ("Checkbox", "boolean", json!({"defaultValue": false})),
        ("Date", "date", json!({})),
        ("DateTime", "datetime", json!({})),
        ("Time", "time", json!({})),
        ("Phone", "phone", json!({})),
        ("Url", "url", json!({})),
        ("Email", "email", json!({})),
        ("Picklist", "picklist", json!({"valueSet": values})),
        (
            "MultiselectPicklist",
            "multipicklist",
            json!({"valueSet": values, "visibleLines": 4}),
        ),
        (
            "Lookup",
            "reference",
            json!({"referenceTo": "Account", "relationshipName": "Others", "relationshipLabel": "Others"}),
        ),
        ("AutoNumber", "string", json!({"displayFormat": "N-{0000}"})),
    ];
    for (kind, shown, more) in types {
        let mut meta = json!({"type": kind, "label": kind});
        meta.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let name = format!("My{kind}__c");
        let made = create(&org, &format!("Contact.{name}"), meta.clone()).await;
        assert_eq!(made.0, 201, "{kind} {}", made.1);
        meta["visible"] = json!(true);
        org.control(Method::PUT, &format!("fields/Contact/{name}"), meta)
            .await;
        let field = described(&org, &name).await;
        assert_eq!(
            (&field["type"], &field["custom"]),
            (&json!(shown), &json!(true)),
            "{kind}"
        );
    }
    let results = org.upsert("Contact", json!([
        {"Ext_Id__c": "1", "LastName": "x", "MyMultiselectPicklist__c": "B;A;B", "MyTime__c": "12:10:35", "MyNumber__c": 1},
        {"Ext_Id__c": "2", "LastName": "x", "MyMultiselectPicklist__c": "A;C"},
        {"Ext_Id__c": "3", "LastName": "x", "MyPicklist__c": "C"},
        {"Ext_Id__c": "4", "LastName": "x", "MyMultiselectPicklist__c": ["A"]},
    ])).await;
    let codes: Vec<&str> = results.iter().map(code).collect();
    assert_eq!(
        codes,
        [
            "none",
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "JSON_PARSER_ERROR"
        ]
    );
    let (_, rows) = org.query("SELECT MyMultiselectPicklist__c, MyTime__c, MyNumber__c, MyAutoNumber__c, MyCheckbox__c FROM Contact WHERE MyMultiselectPicklist__c INCLUDES ('A')").await;
    let row = &rows["records"][0];
    assert_eq!(
        (&row["MyMultiselectPicklist__c"], &row["MyTime__c"]),
        (&json!("B;A"), &json!("12:10:35.000Z"))
    );
    assert_eq!(row["MyNumber__c"].to_string(), "1.0");
    assert!(row["MyAutoNumber__c"].as_str().unwrap().starts_with("N-"));
    assert_eq!(row["MyCheckbox__c"], false);
}

#[tokio::test]
async fn the_tooling_query_finds_definitions() {
    let org = Org::new().await;
    org.control(
        Method::PUT,
        "objects/Invoice__c",
        json!({"fields": {"Total__c": text("Total")}}),
    )
    .await;
    let query = |soql: &str| {
        let path = format!("tooling/query?q={}", encode(soql));
        let org = &org;
        async move { org.get(&path).await }
    };
    let (status, found) = query("SELECT Id, DeveloperName, Metadata FROM CustomField WHERE DeveloperName = 'Ext_Id' AND TableEnumOrId = 'Contact'").await;
    assert_eq!(
        (status, found["totalSize"].as_u64()),
        (200, Some(1)),
        "{found}"
    );
    assert_eq!(found["records"][0]["Metadata"]["label"], "Ext Id");
    let (_, object) = query("SELECT Id FROM CustomObject WHERE DeveloperName = 'Invoice'").await;
    let id = object["records"][0]["Id"].as_str().unwrap();
    let (_, field) = query(&format!(
        "SELECT Id FROM CustomField WHERE TableEnumOrId = '{id}'"
    ))
    .await;
    assert_eq!(field["totalSize"], 1);
    let (_, read) = org
        .get(&format!(
            "tooling/sobjects/CustomField/{}",
            field["records"][0]["Id"].as_str().unwrap()
        ))
        .await;
    assert_eq!(read["FullName"], "Invoice__c.Total__c");
    let (status, many) = query("SELECT Id, Metadata FROM CustomField").await;
    assert_eq!(
        (status, many[0]["errorCode"].as_str().unwrap()),
        (400, "MALFORMED_QUERY")
    );
}
