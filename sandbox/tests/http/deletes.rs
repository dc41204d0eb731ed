//! The recycle bin: records that people or callers delete, that come back, or that go for good.

use reqwest::Method;
use serde_json::{Value, json};
use syncline_sandbox::Config;

use crate::common::{Org, code, encode, read, schema};

async fn soap(org: &Org, token: &str, call: &str, ids: &[&str]) -> (u16, String) {
    let ids: String = ids.iter().map(|id| format!("<ids>{id}</ids>")).collect();
    let body = format!(
        "<se:Envelope xmlns:se=\"http://schemas.xmlsoap.org/soap/envelope/\"><se:Header>\
         <SessionHeader xmlns=\"urn:partner.soap.sforce.com\"><sessionId>{token}</sessionId></SessionHeader>\
         </se:Header><se:Body><{call} xmlns=\"urn:partner.soap.sforce.com\">{ids}</{call}></se:Body></se:Envelope>"
    );
    let reply = org
        .http
        .post(format!("{}/services/Soap/u/60.0", org.url))
        .header("content-type", "text/xml")
        .header("soapaction", "\"\"")
        .body(body);
    let reply = reply.send().await.unwrap();
    (reply.status().as_u16(), reply.text().await.unwrap())
}

async fn undelete(org: &Org, ids: &[&str]) -> String {
    let (status, xml) = soap(org, &org.token, "undelete", ids).await;
    assert_eq!(status, 200, "{xml}");
    xml
}

async fn delete(org: &Org, id: &str) {
    let (status, _) = org
        .send(
            Method::DELETE,
            &format!("sobjects/Account/{id}"),
            Value::Null,
        )
        .await;
    assert_eq!(status, 204);
}

async fn count(org: &Org, soql: &str) -> u64 {
    let path = format!("queryAll?q={}", encode(soql));
    org.get(&path).await.1["totalSize"].as_u64().unwrap()
}

fn account(key: &str, name: &str) -> Value {
    json!([{"Ext_Id__c": key, "Name": name}])
}

#[tokio::test]
async fn a_deleted_record_refuses_writes_by_id_and_its_key_makes_a_new_one() {
    let org = Org::new().await;
    let made = org.upsert("Account", account("a", "One")).await;
    let first = made[0]["id"].as_str().unwrap();
    let gone = json!({"object": "Account", "external_id": "a", "user": "ann@sandbox.test"});
    assert_eq!(
        org.control(Method::POST, "delete", gone.clone()).await["success"],
        true
    );
    let update =
        json!({"records": [{"attributes": {"type": "Account"}, "id": first, "Phone": "1"}]});
    let (_, results) = org.send(Method::PATCH, "composite/sobjects", update).await;
    assert_eq!(code(&results[0]), "ENTITY_IS_DELETED");
    let by_id =
        json!({"records": [{"attributes": {"type": "Account"}, "Id": first, "Phone": "1"}]});
    let (_, results) = org
        .send(Method::PATCH, "composite/sobjects/Account/Id", by_id)
        .await;
    assert_eq!(code(&results[0]), "ENTITY_IS_DELETED");
    let (_, results) = org
        .send(
            Method::DELETE,
            &format!("composite/sobjects?ids={first}"),
            Value::Null,
        )
        .await;
    assert_eq!(code(&results[0]), "ENTITY_IS_DELETED");
    for (method, body) in [
        (Method::PATCH, json!({"Phone": "1"})),
        (Method::DELETE, Value::Null),
    ] {
        let (status, error) = org
            .send(method, &format!("sobjects/Account/{first}"), body)
            .await;
        assert_eq!(
            (status, &error[0]["errorCode"]),
            (404, &json!("ENTITY_IS_DELETED"))
        );
    }
    let child = json!([{"Ext_Id__c": "c", "LastName": "L", "AccountId": first}]);
    assert_eq!(
        code(&org.upsert("Contact", child).await[0]),
        "ENTITY_IS_DELETED"
    );
    let again = org.upsert("Account", account("a", "Two")).await;
    assert_eq!(again[0]["created"], true);
    assert_ne!(again[0]["id"], made[0]["id"]);
    // Its key is taken now.
    let xml = undelete(&org, &[first]).await;
    assert!(
        xml.contains("<statusCode>DUPLICATE_VALUE</statusCode>")
            && xml.contains("<success>false</success>"),
        "{xml}"
    );
    let log = org
        .control(Method::GET, "writes?outcome=accepted", Value::Null)
        .await;
    let told: Vec<(&str, &str)> = log["writes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| {
            (
                w["operation"].as_str().unwrap(),
                w["user"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("create", "integration@sandbox.test"),
            ("delete", "ann@sandbox.test"),
            ("create", "integration@sandbox.test")
        ]
    );
    let twice = org
        .control(
            Method::POST,
            "delete",
            json!({"object": "Account", "id": first}),
        )
        .await;
    assert_eq!(twice[0]["errorCode"], "NOT_FOUND", "{twice}");
}

#[tokio::test]
async fn a_record_comes_back_with_what_went_along() {
    let org = Org::new().await;
    schema(
        &org,
        json!({"object": "Account", "field": "Phone", "trackHistory": true}),
    )
    .await;
    let made = org.upsert("Account", account("a", "One")).await;
    let parent = made[0]["id"].as_str().unwrap();
    let contacts = json!([
        {"Ext_Id__c": "early", "LastName": "E", "AccountId": parent}, {"Ext_Id__c": "along", "LastName": "A", "AccountId": parent}]);
    let contacts = org.upsert("Contact", contacts).await;
    let early = json!({"object": "Contact", "external_id": "early"});
    org.control(Method::POST, "delete", early).await;
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    delete(&org, parent).await;
    assert_eq!(
        count(&org, "SELECT Id FROM Contact WHERE IsDeleted = true").await,
        2
    );
    let xml = undelete(&org, &[parent, "001000000000001AAA", "nonsense"]).await;
    assert!(
        xml.contains(&format!(
            "<result><id>{parent}</id><success>true</success></result>"
        )),
        "{xml}"
    );
    assert!(
        xml.contains("INVALID_CROSS_REFERENCE_KEY") && xml.contains("MALFORMED_ID"),
        "{xml}"
    );
    let (_, rows) = org.query("SELECT Ext_Id__c, AccountId FROM Contact").await;
    assert_eq!(rows["totalSize"], 1, "{rows}");
    assert_eq!(
        (
            &rows["records"][0]["Ext_Id__c"],
            &rows["records"][0]["AccountId"]
        ),
        (&json!("along"), &json!(parent))
    );
    let (_, history) = org.query("SELECT COUNT() FROM AccountHistory").await;
    assert_eq!(history["totalSize"], 1);
    assert!(undelete(&org, &[parent]).await.contains("UNDELETE_FAILED"));
    let early = contacts[0]["id"].as_str().unwrap();
    let back = json!({"object": "Contact", "external_id": "early", "user": "ben@sandbox.test"});
    assert_eq!(
        org.control(Method::POST, "undelete", back).await["id"],
        early
    );
    let (_, row) = org
        .get(&format!(
            "sobjects/Contact/{early}?fields=LastModifiedById,IsDeleted"
        ))
        .await;
    assert_eq!(row["IsDeleted"], false);
    let updated = org
        .upsert("Contact", json!([{"Ext_Id__c": "early", "Title": "CEO"}]))
        .await;
    assert_eq!(
        (&updated[0]["created"], &updated[0]["id"]),
        (&json!(false), &json!(early))
    );
    let log = org
        .control(
            Method::GET,
            "writes?outcome=accepted&object=Contact",
            Value::Null,
        )
        .await;
    let told: Vec<(&str, &str)> = log["writes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| (w["operation"].as_str().unwrap(), w["via"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("create", "collections"),
            ("create", "collections"),
            ("delete", "edit"),
            ("delete", "cascade"),
            ("undelete", "cascade"),
            ("undelete", "edit"),
            ("update", "collections")
        ]
    );
}

#[tokio::test]
async fn soap_calls_are_api_calls_with_a_session_and_a_limit() {
    let org = Org::new().await;
    let (status, xml) = soap(&org, "00Dnonsense!x", "undelete", &["001000000000001AAA"]).await;
    assert!(
        status == 500 && xml.contains("<faultcode>sf:INVALID_SESSION_ID</faultcode>"),
        "{xml}"
    );
    let ids = ["001000000000001AAA"; 201];
    let (status, xml) = soap(&org, &org.token, "undelete", &ids).await;
    assert!(status == 500 && xml.contains("EXCEEDED_ID_LIMIT"), "{xml}");
    undelete(&org, &ids[..200]).await;
    let counted = org.control(Method::GET, "counters", Value::Null).await;
    assert_eq!(
        (
            &counted["by_app"]["sandbox"]["by_kind"]["soap undelete"]["calls"],
            &counted["charged"]
        ),
        (&json!(2), &json!(2))
    );
    org.control(Method::PUT, "limits", json!({"max": 2})).await;
    let (status, xml) = soap(&org, &org.token, "emptyRecycleBin", &[]).await;
    assert!(
        status == 500 && xml.contains("sf:REQUEST_LIMIT_EXCEEDED"),
        "{xml}"
    );
}

#[tokio::test]
async fn what_leaves_the_bin_is_gone_at_once_or_after_15_days_and_stays_gone() {
    let dir = tempfile::tempdir().unwrap();
    let config = || Config {
        data: Some(dir.path().to_owned()),
        session: std::time::Duration::from_secs(90 * 86_400),
        ..Config::default()
    };
    let org = Org::with(config()).await;
    schema(
        &org,
        json!({"object": "Account", "field": "Phone", "trackHistory": true}),
    )
    .await;
    let two = json!([{"Ext_Id__c": "a", "Name": "A"}, {"Ext_Id__c": "b", "Name": "B"}]);
    let made = org.upsert("Account", two).await;
    let (a, b) = (
        made[0]["id"].as_str().unwrap(),
        made[1]["id"].as_str().unwrap(),
    );
    let (_, live) = soap(&org, &org.token, "emptyRecycleBin", &[a]).await;
    assert!(live.contains("<success>false</success>"), "{live}");
    delete(&org, a).await;
    delete(&org, b).await;
    let (_, xml) = soap(&org, &org.token, "emptyRecycleBin", &[a]).await;
    assert!(
        xml.contains("<emptyRecycleBinResponse>") && xml.contains("<success>true</success>"),
        "{xml}"
    );
    assert_eq!(count(&org, "SELECT Id FROM Account").await, 1);
    assert!(
        undelete(&org, &[a])
            .await
            .contains("INVALID_CROSS_REFERENCE_KEY")
    );
    let (_, results) = org
        .send(
            Method::DELETE,
            &format!("composite/sobjects?ids={a}"),
            Value::Null,
        )
        .await;
    assert_eq!(code(&results[0]), "INVALID_CROSS_REFERENCE_KEY");
    let log = org
        .control(Method::GET, "writes?external_id=a", Value::Null)
        .await;
    let last = log["writes"]
        .as_array()
        .unwrap()
        .iter()
        .rfind(|w| w["outcome"] == "accepted")
        .unwrap()
        .clone();
    assert_eq!(last["operation"], "hard_delete", "{log}");
    org.sandbox.stop().await;
    let org = Org::with(config()).await;
    assert_eq!(count(&org, "SELECT Id FROM Account").await, 1);
    assert_eq!(count(&org, "SELECT Id FROM AccountHistory").await, 1);
    org.control(
        Method::PUT,
        "clock",
        json!({"advance_ms": 14 * 86_400_000i64}),
    )
    .await;
    assert_eq!(count(&org, "SELECT Id FROM Account").await, 1);
    org.control(Method::PUT, "clock", json!({"advance_ms": 86_400_000i64}))
        .await;
    assert_eq!(count(&org, "SELECT Id FROM Account").await, 0);
    assert!(
        undelete(&org, &[b])
            .await
            .contains("INVALID_CROSS_REFERENCE_KEY")
    );
    let left = org.http.get(format!(
        "{}/sandbox/records/AccountHistory?deleted=true",
        org.url
    ));
    assert_eq!(read(left.send().await.unwrap()).await.1, json!([]));
}
