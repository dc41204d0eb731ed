//! The types of custom fields: what each needs, its bounds, and what it brings along.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{Org, code, create, described, grant, schema, text, write};

#[tokio::test]
async fn a_location_is_three_fields_with_one_grant() {
    let org = Org::new().await;
    let meta =
        json!({"type": "Location", "label": "Place", "scale": 4, "displayLocationInDecimal": true});
    org.control(Method::PUT, "limits", json!({"custom_fields": 3}))
        .await;
    let (_, refused) = create(&org, "Account.Place__c", meta.clone()).await;
    assert_eq!(refused[0]["errorCode"], "CUSTOM_ENTITY_OR_FIELD_LIMIT");
    org.control(Method::PUT, "limits", json!({"custom_fields": 4}))
        .await;
    let (status, made) = create(&org, "Account.Place__c", meta).await;
    assert_eq!(status, 201, "{made}");
    let place = || json!({"Place__Latitude__s": 52.52, "Place__Longitude__s": 13.40501});
    assert_eq!(code(&write(&org, place()).await), "INVALID_FIELD");
    grant(&org, "Account.Place__c").await;
    assert_eq!(
        described(&org, "Account", "Place__c").await["type"],
        "location"
    );
    let part = described(&org, "Account", "Place__Latitude__s").await;
    assert_eq!(
        (&part["scale"], &part["compoundFieldName"]),
        (&json!(4), &json!("Place__c"))
    );
    assert_eq!(code(&write(&org, place()).await), "none");
    assert_eq!(
        code(&write(&org, json!({"Place__Latitude__s": 91})).await),
        "NUMBER_OUTSIDE_VALID_RANGE"
    );
    assert_eq!(
        code(&write(&org, json!({"Place__c": null})).await),
        "INVALID_FIELD_FOR_INSERT_UPDATE"
    );
    let (_, rows) = org.query("SELECT Place__c FROM Account").await;
    assert_eq!(
        rows["records"][0]["Place__c"],
        json!({"latitude": 52.52, "longitude": 13.405})
    );
    let path = format!(
        "tooling/sobjects/CustomField/{}",
        made["id"].as_str().unwrap()
    );
    assert_eq!(org.send(Method::DELETE, &path, Value::Null).await.0, 204);
    assert_eq!(code(&write(&org, place()).await), "INVALID_FIELD");
    schema(
        &org,
        json!({"object": "Account", "field": "Place__c", "vanish": false}),
    )
    .await;
    assert_eq!(code(&write(&org, place()).await), "none");
}

#[tokio::test]
async fn each_type_has_its_bounds_and_takes_nothing_else() {
    let org = Org::new().await;
    org.upsert("Account", json!([{"Ext_Id__c": "a-1", "Name": "One"}]))
        .await;
    let long = |n: usize| json!({"type": "LongTextArea", "length": n, "visibleLines": 3});
    let number = |p: usize, s: usize| json!({"type": "Number", "precision": p, "scale": s});
    let child = |more: Value| {
        let mut meta = json!({"type": "Lookup", "referenceTo": "Contact", "relationshipName": "Ones", "relationshipLabel": "Ones"});
        meta.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        meta
    };
    let list = |values: Value| json!({"type": "Picklist", "valueSet": {"restricted": true, "valueSetDefinition": {"sorted": false, "value": values}}});
    for (meta, made) in [
        (json!({"type": "Text", "length": 1}), true),
        (json!({"type": "Text", "length": 0}), false),
        (long(255), false),
        (long(256), true),
        (long(131_072), true),
        (long(131_073), false),
        (json!({"type": "LongTextArea", "length": 300}), false),
        (
            json!({"type": "Html", "length": 300, "visibleLines": 9}),
            false,
        ),
        (number(18, 18), false),
        (number(18, 17), true),
        (number(3, 4), false),
        (number(19, 0), false),
        (json!({"type": "Number", "precision": 3}), false),
        (json!({"type": "Checkbox"}), false),
        (json!({"type": "Checkbox", "defaultValue": "true"}), true),
        (
            json!({"type": "Checkbox", "defaultValue": true, "required": true}),
            false,
        ),
        (json!({"type": "Email", "length": 80}), false),
        (json!({"type": "Date", "unique": true}), false),
        (json!({"type": "Picklist"}), false),
        (list(json!([{"fullName": "A"}, {"fullName": "a"}])), false),
        (list(json!([{"fullName": "x".repeat(256)}])), false),
        (list(json!([{"fullName": "A"}])), true),
        (child(json!({})), true),
        (
            child(json!({"relationshipLabel": null, "relationshipName": null})),
            false,
        ),
        (child(json!({"deleteConstraint": "Never"})), false),
        (child(json!({"type": "MasterDetail"})), false),
        (
            child(json!({"type": "MasterDetail", "relationshipOrder": 0, "required": true})),
            false,
        ),
        // There are records already, which would have no master.
        (
            child(json!({"type": "MasterDetail", "relationshipOrder": 0})),
            false,
        ),
        (json!({"type": "AutoNumber"}), false),
        (json!({"type": "Location", "scale": 5}), false),
        (json!({"type": "Summary"}), false),
        (json!({}), false),
    ] {
        let mut meta = meta;
        meta["label"] = json!("x");
        let (status, answer) = create(&org, "Account.X__c", meta.clone()).await;
        assert_eq!(status == 201, made, "{meta} {answer}");
        if made {
            let path = format!(
                "tooling/sobjects/CustomField/{}",
                answer["id"].as_str().unwrap()
            );
            org.send(Method::DELETE, &path, Value::Null).await;
        }
    }
    let name = |n: usize| format!("Account.{}__c", "x".repeat(n));
    assert_eq!(create(&org, &name(41), text(5)).await.0, 400);
    assert_eq!(create(&org, &name(40), text(5)).await.0, 201);
}
