//! Queries over HTTP.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{Org, encode};

async fn filled() -> Org {
    let org = Org::new().await;
    org.upsert(
        "Account",
        json!([
            {"Ext_Id__c": "a-1", "Name": "Acme", "AnnualRevenue": 100, "Industry": "Banking"},
            {"Ext_Id__c": "a-2", "Name": "Bolt", "AnnualRevenue": 5.5, "BillingCity": "Berlin"},
            {"Ext_Id__c": "A-1", "Name": "100% O'Hara_\\", "Description": "long"},
        ]),
    )
    .await;
    org.upsert("Contact", json!([
        {"Ext_Id__c": "c-1", "FirstName": "Ann", "LastName": "Lee", "Email": "Ann@x.test", "Birthdate": "1990-02-03", "Account": {"Ext_Id__c": "a-1"}},
        {"Ext_Id__c": "c-2", "LastName": "poe", "DoNotCall": true, "Account": {"Ext_Id__c": "a-2"}},
        {"Ext_Id__c": "c-3", "LastName": "Roe"},
    ])).await;
    org
}

async fn keys(org: &Org, soql: &str) -> Vec<String> {
    let (status, answer) = org.query(soql).await;
    assert_eq!(status, 200, "{soql}: {answer}");
    let rows = answer["records"].as_array().unwrap();
    rows.iter()
        .map(|r| r["Ext_Id__c"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn filters_select_what_they_say() {
    let org = filled().await;
    let cases: &[(&str, &[&str])] = &[
        ("Contact WHERE LastName = 'LEE'", &["c-1"]),
        ("Contact WHERE LastName != 'lee'", &["c-2", "c-3"]),
        ("Contact WHERE FirstName = null", &["c-2", "c-3"]),
        ("Contact WHERE FirstName <> ''", &["c-1"]),
        ("Contact WHERE Email = 'ann@X.test'", &["c-1"]),
        ("Contact WHERE DoNotCall = TRUE", &["c-2"]),
        (
            "Contact WHERE Birthdate >= 1990-02-03 AND Birthdate < 1990-02-04",
            &["c-1"],
        ),
        (
            "Contact WHERE CreatedDate = TODAY AND LastName LIKE '_oe'",
            &["c-2", "c-3"],
        ),
        (
            "Contact WHERE CreatedDate > 2020-01-01T00:00:00+01:00",
            &["c-1", "c-2", "c-3"],
        ),
        ("Contact WHERE Account.Name = 'acme'", &["c-1"]),
        (
            "Contact WHERE Account.AnnualRevenue > 1 ORDER BY Account.AnnualRevenue",
            &["c-2", "c-1"],
        ),
        ("Contact WHERE AccountId = null", &["c-3"]),
        (
            "Contact WHERE NOT (LastName = 'Lee' OR LastName = 'Roe')",
            &["c-2"],
        ),
        (
            "Contact WHERE (LastName = 'Lee' OR LastName = 'Roe') AND NOT Email = null",
            &["c-1"],
        ),
        (
            "Contact WHERE Ext_Id__c IN ('c-3', 'c-1', 'nope')",
            &["c-1", "c-3"],
        ),
        ("Contact WHERE Ext_Id__c NOT IN ('c-3','c-1')", &["c-2"]),
        ("Account WHERE Ext_Id__c = 'a-1'", &["a-1"]),
        ("Account WHERE Ext_Id__c IN ('A-1')", &["A-1"]),
        ("Account WHERE Name LIKE '100\\%%'", &["A-1"]),
        ("Account WHERE Name LIKE '%o\\'hara\\_%'", &["A-1"]),
        ("Account WHERE Name = '100% O\\'Hara_\\\\'", &["A-1"]),
        ("Account WHERE AnnualRevenue <= 6", &["a-2"]),
        (
            "Account ORDER BY AnnualRevenue DESC NULLS LAST",
            &["a-1", "a-2", "A-1"],
        ),
        ("Account ORDER BY AnnualRevenue", &["A-1", "a-2", "a-1"]),
        ("Account ORDER BY Name LIMIT 1 OFFSET 1", &["a-1"]),
        ("Account a WHERE a.Name = 'Bolt'", &["a-2"]),
    ];
    for (rest, expected) in cases {
        assert_eq!(
            keys(&org, &format!("SELECT Ext_Id__c FROM {rest}")).await,
            *expected,
            "{rest}"
        );
    }
}

#[tokio::test]
async fn rows_show_the_fields_in_order_with_parents_inside() {
    let org = filled().await;
    let (_, answer) = org.query("SELECT lastname, Account.name, Account.Owner.Username, Id, Account.Ext_Id__c, Name FROM contact WHERE Ext_Id__c = 'c-1'").await;
    let row = &answer["records"][0];
    let names: Vec<&String> = row.as_object().unwrap().keys().collect();
    assert_eq!(names, ["attributes", "LastName", "Account", "Id", "Name"]);
    assert_eq!(row["Name"], "Ann Lee");
    assert_eq!(row["Account"]["attributes"]["type"], "Account");
    assert_eq!(
        (&row["Account"]["Name"], &row["Account"]["Ext_Id__c"]),
        (&json!("Acme"), &json!("a-1"))
    );
    assert_eq!(
        row["Account"]["Owner"]["Username"],
        "integration@sandbox.test"
    );
    let (_, all) = org
        .query("SELECT FIELDS(ALL) FROM Account WHERE Ext_Id__c = 'a-2' LIMIT 200")
        .await;
    assert_eq!(all["records"][0]["BillingAddress"]["city"], "Berlin");
    let (_, count) = org
        .query("SELECT COUNT() FROM Contact WHERE AccountId != null")
        .await;
    assert_eq!(count, json!({"totalSize": 2, "done": true, "records": []}));
    let (_, columns) = org
        .get(&format!(
            "query?q={}&columns=true",
            encode("SELECT Id, Account.Name FROM Contact")
        ))
        .await;
    assert_eq!(
        (
            &columns["entityName"],
            &columns["idSelected"],
            &columns["keyPrefix"]
        ),
        (&json!("Contact"), &json!(true), &json!("003"))
    );
    assert_eq!(
        columns["columnMetadata"][1]["joinColumns"][0]["columnName"],
        "Name"
    );
    let (_, organization) = org.query("SELECT Name, InstanceName, IsSandbox, TrialExpirationDate, NamespacePrefix, OrganizationType FROM Organization").await;
    assert_eq!(organization["totalSize"], 1);
}

#[tokio::test]
async fn a_task_shows_whom_it_is_about() {
    let org = filled().await;
    let (_, rows) = org
        .query("SELECT Id FROM Contact WHERE Ext_Id__c = 'c-1'")
        .await;
    let task = json!({"Subject": "Call", "WhoId": rows["records"][0]["Id"]});
    assert_eq!(org.send(Method::POST, "sobjects/Task", task).await.0, 201);
    let (_, rows) = org
        .query("SELECT Who.Name, Who.Type, What.Name FROM Task WHERE Who.Name = 'ann lee'")
        .await;
    assert_eq!(
        (
            &rows["records"][0]["Who"]["Name"],
            &rows["records"][0]["Who"]["Type"]
        ),
        (&json!("Ann Lee"), &json!("Contact"))
    );
    assert_eq!(rows["records"][0]["What"], Value::Null);
}

#[tokio::test]
async fn large_answers_come_in_pages() {
    let org = Org::new().await;
    for from in (0..450).step_by(150) {
        let records: Vec<Value> = (from..from + 150)
            .map(|i| json!({"Ext_Id__c": format!("a-{i:04}"), "Name": "n"}))
            .collect();
        org.upsert("Account", json!(records)).await;
    }
    let path = format!(
        "query/?q={}",
        encode("SELECT Ext_Id__c FROM Account ORDER BY Ext_Id__c DESC")
    );
    let first = org
        .request(Method::GET, &path)
        .header("Sforce-Query-Options", "batchSize=200")
        .send()
        .await
        .unwrap();
    let first: Value = first.json().await.unwrap();
    assert_eq!(
        (
            &first["totalSize"],
            &first["done"],
            first["records"].as_array().unwrap().len()
        ),
        (&json!(450), &json!(false), 200)
    );
    let next = first["nextRecordsUrl"].as_str().unwrap();
    assert!(next.starts_with("/services/data/v66.0/query/01g") && next.ends_with("-200"));
    let more = org
        .http
        .get(format!("{}{next}", org.url))
        .bearer_auth(&org.token)
        .send()
        .await
        .unwrap();
    let more: Value = more.json().await.unwrap();
    assert_eq!(
        (&more["done"], more["records"].as_array().unwrap().len()),
        (&json!(true), 250)
    );
    assert_eq!(more["records"][249]["Ext_Id__c"], "a-0000");
    let (status, error) = org.get("query/01gnonsense-200").await;
    assert_eq!(
        (status, error[0]["errorCode"].as_str().unwrap()),
        (400, "INVALID_QUERY_LOCATOR")
    );
}

#[tokio::test]
async fn wrong_queries_say_what_is_wrong() {
    let org = filled().await;
    let cases = [
        ("SELECT Nope FROM Contact", "INVALID_FIELD"),
        ("SELECT Id FROM Nope", "INVALID_TYPE"),
        ("SELECT Id FRM Contact", "MALFORMED_QUERY"),
        (
            "SELECT Id FROM Contact WHERE LastName = 'x",
            "MALFORMED_QUERY",
        ),
        ("SELECT Id FROM Contact WHERE LastName = 5", "INVALID_FIELD"),
        (
            "SELECT Id FROM Contact WHERE CreatedDate > 2026-01-01",
            "INVALID_FIELD",
        ),
        (
            "SELECT Id FROM Contact WHERE CreatedDate > '2026-01-01T00:00:00Z'",
            "INVALID_FIELD",
        ),
        (
            "SELECT Id FROM Contact WHERE Description = 'x'",
            "INVALID_FIELD",
        ),
        (
            "SELECT Id FROM Contact WHERE DoNotCall LIKE 'x'",
            "INVALID_QUERY_FILTER_OPERATOR",
        ),
        (
            "SELECT Id FROM Contact WHERE LastName = 'a' AND LastName = 'b' OR LastName = 'c'",
            "MALFORMED_QUERY",
        ),
        ("SELECT FIELDS(ALL) FROM Contact", "MALFORMED_QUERY"),
        (
            "SELECT Id FROM Contact OFFSET 2001",
            "NUMBER_OUTSIDE_VALID_RANGE",
        ),
        ("SELECT Id, id FROM Contact", "MALFORMED_QUERY"),
        ("SELECT Wrong.Name FROM Contact", "INVALID_FIELD"),
        ("", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE Id = 'x'", "INVALID_FIELD"),
        ("SELECT COUNT(Id) FROM Contact", "MALFORMED_QUERY"),
    ];
    for (soql, expected) in cases {
        let (status, error) = org.query(soql).await;
        assert_eq!(
            (status, error[0]["errorCode"].as_str().unwrap()),
            (400, expected),
            "{soql}: {error}"
        );
    }
    let (_, error) = org.query("SELECT Nope FROM Contact").await;
    let message = error[0]["message"].as_str().unwrap();
    assert!(message.contains("\nSELECT Nope FROM Contact\n       ^\nERROR at Row:1:Column:8\nNo such column 'Nope' on entity 'Contact'."), "{message}");
}
