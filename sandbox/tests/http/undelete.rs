//! SOAP `undelete`: the way back out of the recycle bin.

use reqwest::Method;
use serde_json::{Value, json};
use syncline_sandbox::Config;

use crate::common::Org;

async fn soap(org: &Org, session: &str, ids: &[&str]) -> (u16, String) {
    let ids: String = ids
        .iter()
        .map(|id| format!("<ns1:ids>{id}</ns1:ids>"))
        .collect();
    let body = format!(
        "<soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\">\
         <soapenv:Header><SessionHeader xmlns=\"urn:partner.soap.sforce.com\"><sessionId>{session}\
         </sessionId></SessionHeader></soapenv:Header><soapenv:Body>\
         <undelete xmlns=\"urn:partner.soap.sforce.com\">{ids}</undelete></soapenv:Body></soapenv:Envelope>"
    );
    let request = org.http.post(format!("{}/services/Soap/u/60.0", org.url));
    let request = request.header("content-type", "text/xml").body(body);
    let reply = request.send().await.unwrap();
    (reply.status().as_u16(), reply.text().await.unwrap())
}

async fn count(org: &Org, object: &str) -> Value {
    let query = format!("SELECT COUNT() FROM {object}");
    org.query(&query).await.1["totalSize"].clone()
}

#[tokio::test]
async fn a_record_comes_back_with_the_ones_that_went_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        data: Some(dir.path().to_owned()),
        ..Config::default()
    };
    let org = Org::with(config.clone()).await;
    let made = org
        .upsert("Account", json!([{"Ext_Id__c": "a-1", "Name": "One"}]))
        .await;
    let id = made[0]["id"].as_str().unwrap();
    let contacts = json!([
        {"Ext_Id__c": "c-1", "LastName": "Lee", "Account": {"Ext_Id__c": "a-1"}},
        {"Ext_Id__c": "c-2", "LastName": "Roe", "Account": {"Ext_Id__c": "a-1"}},
    ]);
    let made = org.upsert("Contact", contacts).await;
    // One contact went earlier: it stays where it is.
    let early = format!("sobjects/Contact/{}", made[1]["id"].as_str().unwrap());
    org.send(Method::DELETE, &early, Value::Null).await;
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    org.send(
        Method::DELETE,
        &format!("sobjects/Account/{id}"),
        Value::Null,
    )
    .await;
    assert_eq!(count(&org, "Contact").await, 0);
    let (status, text) = soap(&org, &org.token, &[id]).await;
    let good = format!("<result><id>{id}</id><success>true</success></result>");
    assert!(status == 200 && text.contains(&good), "{text}");
    assert_eq!(
        (count(&org, "Account").await, count(&org, "Contact").await),
        (json!(1), json!(1))
    );
    let log = org
        .control(Method::GET, "writes?after=6", Value::Null)
        .await;
    let last: Vec<[&Value; 3]> = log["writes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| [&w["operation"], &w["via"], &w["external_id"]])
        .collect();
    assert_eq!(
        last,
        [
            [&json!("undelete"), &json!("cascade"), &json!("c-1")],
            [&json!("undelete"), &json!("soap"), &json!("a-1")]
        ]
    );
    // Its key is its own again, also after a restart.
    org.sandbox.stop().await;
    let org = Org::with(config).await;
    let again = org
        .upsert("Account", json!([{"Ext_Id__c": "a-1", "Name": "Again"}]))
        .await;
    assert_eq!(
        (&again[0]["created"], again[0]["id"].as_str()),
        (&json!(false), Some(id))
    );
}

#[tokio::test]
async fn what_cannot_come_back_stays() {
    let org = Org::new().await;
    let made = org
        .upsert("Account", json!([{"Ext_Id__c": "a-1", "Name": "One"}]))
        .await;
    let id = made[0]["id"].as_str().unwrap();
    let (_, text) = soap(&org, &org.token, &[id, "x"]).await;
    assert!(
        text.contains("<statusCode>UNDELETE_FAILED</statusCode>"),
        "{text}"
    );
    assert!(
        text.contains("<statusCode>MALFORMED_ID</statusCode>"),
        "{text}"
    );
    org.send(
        Method::DELETE,
        &format!("sobjects/Account/{id}"),
        Value::Null,
    )
    .await;
    org.upsert("Account", json!([{"Ext_Id__c": "a-1", "Name": "Two"}]))
        .await;
    let (_, text) = soap(&org, &org.token, &[id]).await;
    assert!(
        text.contains("<statusCode>DUPLICATE_VALUE</statusCode>"),
        "{text}"
    );
    assert_eq!(count(&org, "Account").await, 1);
    let (status, text) = soap(&org, "00D!nobody", &[id]).await;
    assert!(
        status == 500 && text.contains("<faultcode>sf:INVALID_SESSION_ID</faultcode>"),
        "{text}"
    );
}
