//! Bulk API 2.0: how rows are read, and what is wrong with them.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::Org;

#[tokio::test]
async fn empty_leaves_alone_and_not_applicable_clears() {
    let org = Org::new().await;
    org.upsert(
        "Account",
        json!([
            {"Ext_Id__c": "a-1", "Name": "One", "Phone": "1", "Site": "s", "NumberOfEmployees": 5}
        ]),
    )
    .await;
    let job = org
        .upsert_job(
            "Account",
            "Ext_Id__c,Phone,Site,NumberOfEmployees,Name\na-1,,#N/A,#N/A, One \n",
        )
        .await;
    assert_eq!(job["numberRecordsFailed"], 0);
    let (_, rows) = org
        .query("SELECT Name, Phone, Site, NumberOfEmployees FROM Account")
        .await;
    let row = &rows["records"][0];
    assert_eq!((&row["Phone"], &row["Site"]), (&json!("1"), &Value::Null));
    assert_eq!(row["NumberOfEmployees"], Value::Null);
    assert_eq!(row["Name"], " One ", "bulk does not trim");
    // What may not be null stays as it was, and says so.
    let job = org
        .upsert_job("Account", "Ext_Id__c,Name\na-1,#N/A\n")
        .await;
    assert_eq!(
        org.errors(&job, "Ext_Id__c").await["a-1"],
        "REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --"
    );
}

#[tokio::test]
async fn a_bad_row_fails_alone_and_says_why() {
    let org = Org::new().await;
    let header = "Ext_Id__c,LastName,Birthdate,DoNotCall,Account.Ext_Id__c,Email\n";
    let rows = [
        "c-1,Lee,1990-02-03,1,,",
        "c-2,,1990-02-03,,,",
        "c-3,Roe,x,,,",
        "c-4,Roe,,maybe,,",
        "c-5,Roe,,,a-404,",
        "c-6,Roe,,,,123",
        "c-7,Roe,,,",
        "c-8,\"Roe\" ,,,,",
        "c-9,FALSE,,False,,",
        ",Roe,,,,",
    ];
    let job = org
        .upsert_job("Contact", &format!("{header}{}\n", rows.join("\n")))
        .await;
    assert_eq!(job["state"], "JobComplete");
    assert_eq!(
        (&job["numberRecordsProcessed"], &job["numberRecordsFailed"]),
        (&json!(10), &json!(8))
    );
    let errors = org.errors(&job, "Ext_Id__c").await;
    let expected = [
        (
            "c-2",
            "REQUIRED_FIELD_MISSING:Required fields are missing: [LastName]:LastName --",
        ),
        (
            "c-3",
            "INVALID_FIELD:Failed to deserialize field at col 3. Due to, 'x' is not a valid value for the type xsd:date:Birthdate --",
        ),
        (
            "c-4",
            "INVALID_FIELD:Failed to deserialize field at col 4. Due to, 'maybe' is not a valid value for the type xsd:boolean:DoNotCall --",
        ),
        (
            "c-5",
            "INVALID_FIELD:Foreign key external ID: a-404 not found for field Ext_Id__c in entity Account:--",
        ),
        (
            "c-6",
            "INVALID_EMAIL_ADDRESS:Email: invalid email address: 123:Email --",
        ),
        ("", "MISSING_ARGUMENT:Ext_Id__c not specified:--"),
    ];
    for (key, error) in expected {
        assert_eq!(errors[key], error);
    }
    assert!(
        errors["c-7"].starts_with("CLIENT_INPUT_ERROR:"),
        "{errors:?}"
    );
    assert!(
        errors["c-8"].starts_with("CLIENT_INPUT_ERROR:"),
        "{errors:?}"
    );
    let (_, rows) = org
        .query("SELECT DoNotCall FROM Contact ORDER BY Ext_Id__c")
        .await;
    assert_eq!(rows["records"][0]["DoNotCall"], true);
    assert_eq!(rows["records"][1]["DoNotCall"], false);
}

#[tokio::test]
async fn what_is_wrong_with_the_header_fails_the_whole_job() {
    let org = Org::new().await;
    let hidden = json!({"type": "Text", "label": "H", "length": 9, "visible": false});
    org.control(Method::PUT, "fields/Account/Hidden__c", hidden)
        .await;
    let wide = format!("Ext_Id__c,Name,{}\na-1,One,\n", "x".repeat(32_000));
    for (object, csv, why) in [
        (
            "Account",
            "Ext_Id__c,Nope__c\na-1,x\n",
            "InvalidBatch : Field name not found : Nope__c",
        ),
        (
            "Account",
            "Ext_Id__c,Hidden__c\na-1,x\n",
            "InvalidBatch : Field name not found : Hidden__c",
        ),
        (
            "Account",
            "\u{feff}Ext_Id__c,Name\na-1,x\n",
            "InvalidBatch : Field name not found : \u{feff}Ext_Id__c",
        ),
        (
            "Contact",
            "Ext_Id__c,Account:Account.Ext_Id__c\nc,x\n",
            "type is not needed for non polymorphic foreign key references",
        ),
        (
            "Contact",
            "Ext_Id__c,Account.Owner.Username\nc,x\n",
            "Field name not found : Account.Owner.Username",
        ),
        (
            "Contact",
            "Ext_Id__c,Account.Phone\nc,x\n",
            "Field name not found : Account.Phone",
        ),
        (
            "Account",
            "Ext_Id__c,Name,name\na-1,x,y\n",
            "Duplicate field name",
        ),
        (
            "Account",
            "Ext_Id__c,Name\r\na-1,x\r\n",
            "LineEnding is invalid on user data. Current LineEnding setting is LF",
        ),
        (
            "Account",
            &wide,
            "The header is longer than 32000 characters",
        ),
        ("Account", "", "The file is empty"),
    ] {
        let job = org.upsert_job(object, csv).await;
        assert_eq!(job["state"], "Failed", "{job}");
        let told = job["errorMessage"].as_str().unwrap();
        assert!(told.contains(why), "{told}");
        assert_eq!(job["numberRecordsProcessed"], 0);
    }
    let job = org
        .upsert_job("Account", "Ext_Id__c,Nope__c\na-1,x\na-2,y\n")
        .await;
    let left = org.results(&job, "unprocessedrecords").await;
    assert_eq!(left.len(), 2);
    assert!(left.iter().all(|row| row.len() == 2));
    assert_eq!(
        org.query("SELECT COUNT() FROM Account").await.1["totalSize"],
        0
    );
}

#[tokio::test]
async fn a_polymorphic_parent_needs_its_type() {
    let org = Org::new().await;
    let made = org
        .upsert("Contact", json!([{"Ext_Id__c": "c-1", "LastName": "Lee"}]))
        .await;
    let job = json!({"object": "Task", "operation": "insert"});
    let done = org
        .ingest(job.clone(), "Subject,Contact:Who.Ext_Id__c\nCall,c-1\n")
        .await;
    assert_eq!(done["numberRecordsFailed"], 0, "{done}");
    let (_, tasks) = org.query("SELECT WhoId FROM Task").await;
    assert_eq!(tasks["records"][0]["WhoId"], made[0]["id"]);
    let done = org.ingest(job, "Subject,Who.Ext_Id__c\nCall,c-1\n").await;
    assert_eq!(done["state"], "Failed");
}

#[tokio::test]
async fn every_delimiter_and_both_line_endings_are_understood() {
    let org = Org::new().await;
    let kinds = [
        ("BACKQUOTE", "`"),
        ("CARET", "^"),
        ("COMMA", ","),
        ("PIPE", "|"),
        ("SEMICOLON", ";"),
        ("TAB", "\t"),
    ];
    for (name, mark) in kinds {
        for (ending, end) in [("LF", "\n"), ("CRLF", "\r\n")] {
            let key = format!("{name}-{ending}");
            let csv = format!(
                "Ext_Id__c{mark}Name{mark}Description{end}{key}{mark}\"a{mark}b\"{mark}\"x{end}y\"{end}"
            );
            let job = json!({"object": "Account", "operation": "upsert", "externalIdFieldName": "Ext_Id__c",
                "columnDelimiter": name, "lineEnding": ending});
            let done = org.ingest(job, &csv).await;
            assert_eq!(
                (&done["columnDelimiter"], &done["lineEnding"]),
                (&json!(name), &json!(ending))
            );
            assert_eq!(done["numberRecordsFailed"], 0, "{done}");
            let text = org.result_text(&done, "successfulResults").await;
            let (head, row) = text.split_once(end).unwrap();
            assert_eq!(
                head,
                format!(
                    "\"sf__Id\"{mark}\"sf__Created\"{mark}\"Ext_Id__c\"{mark}\"Name\"{mark}\"Description\""
                )
            );
            assert!(
                row.ends_with(&format!("{mark}\"a{mark}b\"{mark}\"x{end}y\"{end}")),
                "{row:?}"
            );
            let (_, rows) = org
                .query(&format!(
                    "SELECT Name, Description FROM Account WHERE Ext_Id__c = '{key}'"
                ))
                .await;
            assert_eq!(rows["records"][0]["Name"], format!("a{mark}b"));
            assert_eq!(rows["records"][0]["Description"], format!("x{end}y"));
        }
    }
}

#[tokio::test]
async fn one_key_twice_fails_only_within_two_hundred_rows() {
    let org = Org::new().await;
    let mut csv = String::from("Ext_Id__c,Name\n");
    for row in 0..400 {
        let key = match row {
            0 | 5 => "twice".to_owned(),
            10 | 399 => "apart".to_owned(),
            n => format!("a-{n}"),
        };
        csv.push_str(&format!("{key},Name {row}\n"));
    }
    let job = org.upsert_job("Account", &csv).await;
    assert_eq!(
        (&job["numberRecordsProcessed"], &job["numberRecordsFailed"]),
        (&json!(400), &json!(2))
    );
    let errors = org.errors(&job, "Ext_Id__c").await;
    assert_eq!(
        errors["twice"],
        "DUPLICATE_VALUE:Duplicate external id specified: twice:Ext_Id__c --"
    );
    let rows = org.results(&job, "successfulResults").await;
    assert_eq!(rows.len(), 398);
    let keys: Vec<&str> = rows.iter().map(|r| &*r["Name"]).collect();
    let mut sorted = keys.clone();
    sorted.sort_by_key(|k| k[5..].parse::<u32>().unwrap());
    assert_ne!(
        keys, sorted,
        "the order of results is not that of the upload"
    );
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 398);
    let again = org.result_text(&job, "successfulResults").await;
    assert_eq!(again, org.result_text(&job, "successfulResults").await);
}
