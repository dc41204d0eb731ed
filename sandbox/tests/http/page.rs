//! The page: what it shows, and edits made on it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{Org, encode};

async fn text(org: &Org, path: &str) -> String {
    let reply = org
        .http
        .get(format!("{}{path}", org.url))
        .send()
        .await
        .unwrap();
    assert_eq!(reply.status(), 200, "{path}");
    reply.text().await.unwrap()
}

#[tokio::test]
async fn a_person_finds_and_edits_a_record() {
    let org = Org::new().await;
    assert!(text(&org, "/ui/Lead").await.contains("No leads yet"));
    let made = org.upsert("Account", json!([{"Ext_Id__c": "a-1", "Name": "<i>Acme</i>", "Phone": "1", "AnnualRevenue": 1234567}, {"Ext_Id__c": "a-2", "Name": "Bolt"}])).await;
    let id = made[0]["id"].as_str().unwrap();
    let home = text(&org, "/").await;
    assert!(home.contains("&lt;i&gt;Acme&lt;/i&gt;") && !home.contains("<i>Acme"));
    let found = text(&org, "/ui/account?q=acme").await;
    assert!(found.contains(id) && !found.contains("Bolt</a>"));
    let shown = text(&org, &format!("/ui/Account/{id}")).await;
    assert!(shown.contains("1\u{2009}234\u{2009}567") && shown.contains("Syncline Integration"));
    assert!(
        text(&org, &format!("/ui/Account/{id}?edit=1"))
            .await
            .contains("name=\"was.Phone\" value=\"1\"")
    );

    let post = |form: &str| {
        org.http
            .post(format!("{}/ui/Account/{id}", org.url))
            .body(form.to_owned())
    };
    let saved = post(
        "Phone=42&was.Phone=1&Name=Old&was.Name=Old&AnnualRevenue=&was.AnnualRevenue=1234567.0",
    )
    .send()
    .await
    .unwrap();
    assert_eq!(saved.status(), 200, "redirected to the record");
    let (_, rows) = org.query("SELECT Name, Phone, AnnualRevenue, LastModifiedBy.Name FROM Account WHERE Ext_Id__c = 'a-1'").await;
    let row = &rows["records"][0];
    assert_eq!(
        (&row["Name"], &row["Phone"], &row["AnnualRevenue"]),
        (&json!("<i>Acme</i>"), &json!("42"), &Value::Null)
    );
    assert_eq!(row["LastModifiedBy"]["Name"], "Robin Rep");
    let log = org
        .control(Method::GET, "writes?external_id=a-1&after=2", Value::Null)
        .await;
    assert_eq!(
        (&log["writes"][0]["via"], &log["writes"][0]["fields"]),
        (
            &json!("page"),
            &json!({"Phone": "42", "AnnualRevenue": null})
        )
    );

    let refused = post("Name=&was.Name=x")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        refused.contains("Required fields are missing: [Name]")
            && refused.contains("<form method=\"post\"")
    );
    let foreign = post("Phone=666&was.Phone=42")
        .header("origin", "https://evil.test")
        .send()
        .await
        .unwrap();
    assert_eq!(foreign.status(), 403);
    assert!(
        text(&org, "/ui/writes?refused=1")
            .await
            .contains("REQUIRED_FIELD_MISSING")
    );
    let evil = format!("/ui/Account?q={}", encode("\"><script>"));
    assert!(!text(&org, &evil).await.contains("\"><script>"));
}
