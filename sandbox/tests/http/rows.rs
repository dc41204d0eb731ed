//! Single records, describe, replication.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{Org, code, encode, read};

async fn make(org: &Org, name: &str) -> String {
    let (status, made) = org
        .send(Method::POST, "sobjects/Account", json!({"Name": name}))
        .await;
    assert_eq!(
        (status, &made["success"], &made["errors"]),
        (201, &json!(true), &json!([]))
    );
    made["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_record_lives_and_dies() {
    let org = Org::new().await;
    let reply = org
        .request(Method::POST, "sobjects/account")
        .json(&json!({"name": "One", "annualrevenue": 5}))
        .send()
        .await
        .unwrap();
    let location = reply.headers()["location"].to_str().unwrap().to_owned();
    let id = reply.json::<Value>().await.unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        location,
        format!("/services/data/v66.0/sobjects/Account/{id}")
    );
    let path = format!("sobjects/Account/{id}");
    let (status, row) = org
        .get(&format!("{path}?fields=name,AnnualRevenue,IsDeleted"))
        .await;
    assert_eq!(status, 200);
    let shown = row.to_string();
    assert!(
        shown.starts_with(r#"{"attributes":{"type":"Account","url":"#)
            && shown.contains(r#""Name":"One","AnnualRevenue":5.0,"IsDeleted":false,"Id":"#),
        "{shown}"
    );
    let reply = org
        .request(Method::PATCH, &path)
        .json(&json!({"Phone": "1"}))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            reply.status().as_u16(),
            reply.text().await.unwrap().as_str()
        ),
        (204, "")
    );
    assert_eq!(
        org.get(&format!("sobjects/Account/{}", &id[..15])).await.1["Phone"],
        "1"
    );
    let gone = org.send(Method::DELETE, &path, Value::Null).await;
    assert_eq!(gone, (204, json!("")));
    for method in [Method::DELETE, Method::GET] {
        let (status, error) = org.send(method, &path, Value::Null).await;
        assert_eq!(
            (status, error[0]["errorCode"].as_str().unwrap()),
            (404, "ENTITY_IS_DELETED")
        );
    }
    assert_eq!(org.get("sobjects/Account/001Ws0zzzzzzzzz").await.0, 404);
    assert_eq!(org.get("sobjects/Nothing/001Ws0zzzzzzzzz").await.0, 404);
}

#[tokio::test]
async fn refusals_of_single_records_are_arrays() {
    let org = Org::new().await;
    let refused = |body: Value| {
        let org = &org;
        async move {
            let (status, error) = org.send(Method::POST, "sobjects/Contact", body).await;
            assert_eq!(status, 400, "{error}");
            error[0].clone()
        }
    };
    let missing = refused(json!({"FirstName": "x"})).await;
    assert_eq!(
        missing,
        json!({"message": "Required fields are missing: [LastName]", "errorCode": "REQUIRED_FIELD_MISSING", "fields": ["LastName"]})
    );
    assert_eq!(
        refused(json!({"Id": "003Ws0000000001AAA", "LastName": "x"})).await["message"],
        "The Id field should not be specified in the sobject data."
    );
    let bad = refused(json!({"LastName": "x", "Birthdate": "2026-13-01"})).await;
    assert_eq!(bad["errorCode"], "JSON_PARSER_ERROR");
    assert!(
        bad["message"]
            .as_str()
            .unwrap()
            .starts_with("Cannot deserialize instance of date from VALUE_STRING value 2026-13-01")
    );
    assert!(
        bad["message"]
            .as_str()
            .unwrap()
            .contains("[line:1, column:")
    );
    assert_eq!(
        refused(json!({"LastName": "x", "Name": "y"})).await["errorCode"],
        "INVALID_FIELD_FOR_INSERT_UPDATE"
    );
    assert_eq!(
        refused(json!({"LastName": "x", "AccountId": "001Ws0zzzzzzzzz"})).await["errorCode"],
        "INVALID_CROSS_REFERENCE_KEY".to_owned()
    );
    let account = make(&org, "A").await;
    let wrong = refused(json!({"LastName": "x", "ReportsToId": account})).await;
    assert_eq!(wrong["errorCode"], "FIELD_INTEGRITY_EXCEPTION");
    assert_eq!(
        wrong["message"],
        format!("Reports To ID: id value of incorrect type: {account}")
    );
}

#[tokio::test]
async fn upserts_by_key_answer_by_what_happened() {
    let org = Org::new().await;
    let path = format!("sobjects/Account/Ext_Id__c/{}", encode("a/b? #%+ä"));
    let (status, made) = org.send(Method::PATCH, &path, json!({"Name": "One"})).await;
    assert_eq!((status, &made["created"]), (201, &json!(true)), "{made}");
    let (status, again) = org.send(Method::PATCH, &path, json!({"Phone": "1"})).await;
    assert_eq!(
        (status, &again["created"], &again["id"]),
        (200, &json!(false), &made["id"])
    );
    assert_eq!(org.get(&path).await.1["Ext_Id__c"], "a/b? #%+ä");
    let old = org
        .http
        .patch(format!("{}/services/data/v45.0/{path}", org.url))
        .bearer_auth(&org.token)
        .json(&json!({"Phone": "2"}));
    assert_eq!(read(old.send().await.unwrap()).await, (204, json!("")));
    let plain = org
        .send(
            Method::PATCH,
            "sobjects/Account/Ext_Id__c/x/y",
            json!({"Name": "Unencoded slash"}),
        )
        .await;
    assert_eq!(plain.0, 201);
    let (status, refused) = org
        .send(Method::PATCH, &path, json!({"Ext_Id__c": "x", "Name": "y"}))
        .await;
    assert_eq!(
        (status, refused[0]["errorCode"].as_str().unwrap()),
        (400, "INVALID_FIELD")
    );
    let (status, none) = org
        .send(
            Method::PATCH,
            "sobjects/Account/Ext_Id__c/none?updateOnly=true",
            json!({"Name": "y"}),
        )
        .await;
    assert_eq!(
        (status, none[0]["message"].as_str().unwrap()),
        (404, "The requested resource does not exist")
    );
    assert_eq!(
        org.send(
            Method::PATCH,
            "sobjects/Account/Phone/1",
            json!({"Name": "y"})
        )
        .await
        .0,
        404
    );
    assert_eq!(
        org.send(
            Method::PATCH,
            "sobjects/Account/Ext_Id__c/",
            json!({"Name": "y"})
        )
        .await
        .0,
        405
    );
    assert_eq!(org.send(Method::DELETE, &path, Value::Null).await.0, 204);
    assert_eq!(org.get(&path).await.0, 404);
}

#[tokio::test]
async fn a_key_that_several_records_hold_is_a_choice() {
    let org = Org::new().await;
    let loose = json!({"type": "Text", "label": "Loose", "length": 10, "externalId": true});
    org.control(Method::PUT, "fields/Account/Loose__c", loose)
        .await;
    for name in ["One", "Two"] {
        org.send(
            Method::POST,
            "sobjects/Account",
            json!({"Name": name, "Loose__c": "k"}),
        )
        .await;
    }
    for method in [Method::GET, Method::PATCH] {
        let body = if method == Method::GET {
            Value::Null
        } else {
            json!({"Phone": "1"})
        };
        let (status, urls) = org.send(method, "sobjects/Account/Loose__c/k", body).await;
        assert_eq!((status, urls.as_array().unwrap().len()), (300, 2));
        assert!(
            urls[0]
                .as_str()
                .unwrap()
                .starts_with("/services/data/v66.0/sobjects/Account/001")
        );
    }
    let body =
        json!({"records": [{"attributes": {"type": "Account"}, "Loose__c": "k", "Phone": "1"}]});
    let (_, results) = org
        .send(Method::PATCH, "composite/sobjects/Account/Loose__c", body)
        .await;
    assert_eq!(code(&results[0]), "DUPLICATE_EXTERNAL_ID");
}

#[tokio::test]
async fn a_record_changed_since_is_not_overwritten() {
    let org = Org::new().await;
    let id = make(&org, "One").await;
    let path = format!("sobjects/Account/{id}");
    let reply = org.request(Method::GET, &path).send().await.unwrap();
    let modified = reply.headers()["last-modified"]
        .to_str()
        .unwrap()
        .to_owned();
    let patch = |since: &str| {
        org.request(Method::PATCH, &path)
            .header("If-Unmodified-Since", since)
            .json(&json!({"Phone": "1"}))
            .send()
    };
    assert_eq!(patch(&modified).await.unwrap().status(), 204);
    assert_eq!(
        patch("Wed, 04 Nov 2020 12:10:35 GMT")
            .await
            .unwrap()
            .status(),
        412
    );
    assert_eq!(patch("yesterday").await.unwrap().status(), 400);
    let since = org
        .request(Method::GET, &path)
        .header("If-Modified-Since", "Wed, 04 Nov 2099 12:10:35 GMT")
        .send()
        .await
        .unwrap();
    assert_eq!(since.status(), 304);
}

#[tokio::test]
async fn describe_states_the_rules() {
    let org = Org::new().await;
    let (_, global) = org.get("sobjects").await;
    let names: Vec<&str> = global["sobjects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o["name"].as_str().unwrap())
        .collect();
    for name in [
        "Account",
        "Contact",
        "Lead",
        "Opportunity",
        "Case",
        "Task",
        "Product2",
        "User",
    ] {
        assert!(names.contains(&name), "{name}");
    }
    for (object, required) in [
        ("Account", vec!["Name"]),
        ("Contact", vec!["LastName"]),
        ("Lead", vec!["LastName", "Company"]),
        ("Opportunity", vec!["Name", "StageName", "CloseDate"]),
        ("Case", vec![]),
        ("Task", vec![]),
        ("Product2", vec!["Name"]),
    ] {
        let (status, shown) = org
            .get(&format!("sobjects/{}/describe", object.to_lowercase()))
            .await;
        assert_eq!((status, &shown["name"]), (200, &json!(object)));
        let fields = shown["fields"].as_array().unwrap();
        let needed: Vec<&str> = fields
            .iter()
            .filter(|f| {
                f["createable"] == true && f["nillable"] == false && f["defaultedOnCreate"] == false
            })
            .map(|f| f["name"].as_str().unwrap())
            .collect();
        assert_eq!(needed, required, "{object}");
        assert_eq!(
            fields[0].as_object().unwrap().len(),
            57,
            "as many keys as recorded from an org"
        );
    }
    let (_, account) = org.get("sobjects/Account/describe").await;
    let contacts = account["childRelationships"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["childSObject"] == "Contact")
        .unwrap();
    assert_eq!(
        (&contacts["field"], &contacts["cascadeDelete"]),
        (&json!("AccountId"), &json!(true))
    );
    let (_, small) = org.get("sobjects/Account").await;
    assert_eq!(
        (&small["objectDescribe"]["keyPrefix"], &small["recentItems"]),
        (&json!("001"), &json!([]))
    );
}

#[tokio::test]
async fn standard_objects_need_only_what_salesforce_needs() {
    let org = Org::new().await;
    for (object, body) in [
        ("Lead", json!({"LastName": "x", "Company": "y"})),
        ("Case", json!({})),
        ("Task", json!({})),
        (
            "Opportunity",
            json!({"Name": "x", "StageName": "Prospecting", "CloseDate": "2026-12-01"}),
        ),
        ("Product2", json!({"Name": "x"})),
    ] {
        let (status, made) = org
            .send(Method::POST, &format!("sobjects/{object}"), body)
            .await;
        assert_eq!(status, 201, "{object} {made}");
        let (_, row) = org
            .get(&format!(
                "sobjects/{object}/{}",
                made["id"].as_str().unwrap()
            ))
            .await;
        match object {
            "Lead" => assert_eq!(
                (&row["Status"], &row["Name"]),
                (&json!("Open - Not Contacted"), &json!("x"))
            ),
            "Case" => assert_eq!(
                (&row["Status"], row["CaseNumber"].as_str().unwrap().len()),
                (&json!("New"), 8)
            ),
            "Opportunity" => assert_eq!(
                (&row["IsClosed"], &row["IsWon"]),
                (&json!(false), &json!(false))
            ),
            _ => assert!(row["CreatedDate"].as_str().unwrap().ends_with(".000+0000")),
        }
    }
}

#[tokio::test]
async fn deleted_and_updated_records_are_listed() {
    let org = Org::new().await;
    let (kept, gone) = (make(&org, "Kept").await, make(&org, "Gone").await);
    org.send(
        Method::DELETE,
        &format!("sobjects/Account/{gone}"),
        Value::Null,
    )
    .await;
    let at = |minutes: i64| {
        encode(
            &(jiff::Timestamp::now() + jiff::SignedDuration::from_mins(minutes))
                .strftime("%Y-%m-%dT%H:%M:%S+00:00")
                .to_string(),
        )
    };
    let window = format!("?start={}&end={}", at(-10), at(2));
    let (status, deleted) = org.get(&format!("sobjects/Account/deleted/{window}")).await;
    assert_eq!(
        (status, &deleted["deletedRecords"][0]["id"]),
        (200, &json!(gone))
    );
    let (_, updated) = org.get(&format!("sobjects/Account/updated/{window}")).await;
    assert_eq!(updated["ids"], json!([kept]));
    let (status, error) = org
        .get(&format!(
            "sobjects/Account/deleted/?start={}&end={}",
            at(-1),
            at(-1)
        ))
        .await;
    assert_eq!(
        (status, error[0]["errorCode"].as_str().unwrap()),
        (400, "INVALID_REPLICATION_DATE")
    );
}
