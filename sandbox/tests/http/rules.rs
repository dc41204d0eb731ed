//! Duplicate rules, validation rules, and conditions on single records.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{Org, code, read, write};

async fn rules(org: &Org, kind: &str, list: Value) {
    let set = org.control(Method::PUT, kind, list.clone()).await;
    assert_eq!(
        set.as_array().unwrap().len(),
        list.as_array().unwrap().len(),
        "{set}"
    );
}

async fn same_person(org: &Org, action: &str) {
    rules(org, "duplicate_rules", json!([{"name": "Same_Person", "object": "Contact", "fields": ["LastName", "Email"], "action": action}])).await;
}

fn contact(key: &str, email: &str) -> Value {
    json!([{"Ext_Id__c": key, "LastName": "Lee", "Email": email}])
}

async fn with_header(org: &Org, header: &str, records: Value) -> Value {
    let mut records = records;
    for record in records.as_array_mut().unwrap() {
        record["attributes"] = json!({"type": "Contact"});
    }
    let request = org
        .request(Method::PATCH, "composite/sobjects/Contact/Ext_Id__c")
        .header("Sforce-Duplicate-Rule-Header", header)
        .json(&json!({"records": records}));
    read(request.send().await.unwrap()).await.1
}

#[tokio::test]
async fn a_double_is_refused_on_insert_and_on_update_of_what_is_matched() {
    let org = Org::new().await;
    let made = org.upsert("Contact", contact("1", "A@b.co")).await;
    same_person(&org, "alert").await;
    let refused = org.upsert("Contact", contact("2", "a@B.co")).await;
    assert_eq!(refused[0]["success"], false);
    assert_eq!(
        refused[0]["errors"],
        json!([{"statusCode": "DUPLICATES_DETECTED", "message": "Use one of these records?", "fields": []}])
    );
    assert_eq!(
        org.upsert("Contact", contact("2", "other@b.co")).await[0]["success"],
        true
    );
    // No e-mail, nothing to compare.
    assert_eq!(
        org.upsert("Contact", json!([{"Ext_Id__c": "3", "LastName": "Lee"}]))
            .await[0]["success"],
        true
    );
    assert_eq!(
        code(&org.upsert("Contact", contact("3", "a@b.co")).await[0]),
        "DUPLICATES_DETECTED"
    );
    // A change of other fields is no matter of the rule, nor is the record itself.
    assert_eq!(
        org.upsert(
            "Contact",
            json!([{"Ext_Id__c": "1", "Title": "x", "Email": "a@b.co"}])
        )
        .await[0]["success"],
        true
    );
    let body = json!({"LastName": "lee", "Email": "a@b.co"});
    let (status, error) = org.send(Method::POST, "sobjects/Contact", body).await;
    assert_eq!(status, 400);
    let id = made[0]["id"].as_str().unwrap();
    assert_eq!(
        error,
        json!([{
            "duplicateResut": {
                "allowSave": true, "duplicateRule": "Same_Person", "duplicateRuleEntityType": "Contact",
                "errorMessage": "Use one of these records?",
                "matchResults": [{
                    "entityType": "Contact", "errors": [], "matchEngine": "ExactMatchEngine",
                    "matchRecords": [{"additionalInformation": [], "fieldDiffs": [], "matchConfidence": 100.0,
                        "record": {"attributes": {"type": "Contact", "url": format!("/services/data/v66.0/sobjects/Contact/{id}")}, "Id": id}}],
                    "rule": "Same_Person_Match", "size": 1, "success": true}]},
            "errorCode": "DUPLICATES_DETECTED", "message": "Use one of these records?"}])
    );
}

#[tokio::test]
async fn a_warning_can_be_passed_and_a_block_cannot() {
    let org = Org::new().await;
    org.upsert("Contact", contact("1", "a@b.co")).await;
    same_person(&org, "alert").await;
    let told = with_header(
        &org,
        "allowSave=false; includeRecordDetails=true",
        contact("2", "a@b.co"),
    )
    .await;
    let found =
        &told[0]["errors"][0]["duplicateResut"]["matchResults"][0]["matchRecords"][0]["record"];
    assert_eq!(
        (&found["Email"], &found["Ext_Id__c"]),
        (&json!("a@b.co"), &json!("1")),
        "{told}"
    );
    assert_eq!(
        with_header(&org, "allowSave=true", contact("2", "a@b.co")).await[0]["success"],
        true
    );
    same_person(&org, "block").await;
    let told = with_header(
        &org,
        "allowSave=true; includeRecordDetails=true",
        contact("3", "a@b.co"),
    )
    .await;
    let found = &told[0]["errors"][0]["duplicateResut"];
    assert_eq!(
        (
            code(&told[0]),
            &found["allowSave"],
            &found["matchResults"][0]["size"]
        ),
        ("DUPLICATES_DETECTED", &json!(false), &json!(2))
    );
    let edit = json!({"object": "Contact", "external_id": "1", "fields": {"Title": "CEO"}});
    assert_eq!(
        org.control(Method::POST, "edit", edit).await["success"],
        true
    );
    let log = org
        .control(
            Method::GET,
            "writes?outcome=DUPLICATES_DETECTED",
            Value::Null,
        )
        .await;
    assert_eq!(log["writes"].as_array().unwrap().len(), 2);
    rules(&org, "duplicate_rules", json!([])).await;
    assert_eq!(
        org.upsert("Contact", contact("3", "a@b.co")).await[0]["success"],
        true
    );
    for wrong in [
        json!([{"name": "x", "object": "Contact", "fields": ["Name"], "action": "block"}]),
        json!([{"name": "x", "object": "Contact", "fields": [], "action": "block"}]),
        json!([{"name": "x", "object": "Contact", "fields": ["Email"], "action": "warn"}]),
        json!([{"name": "x", "object": "Contact", "fields": ["Nope"], "action": "block"}]),
    ] {
        let refused = org.control(Method::PUT, "duplicate_rules", wrong).await;
        assert_eq!(refused[0]["errorCode"], "INVALID_ARGUMENT", "{refused}");
    }
}

#[tokio::test]
async fn validation_rules_refuse_what_they_describe() {
    let org = Org::new().await;
    let list = json!([
        {"name": "No_Test", "object": "Account", "field": "Name", "op": "matches", "value": "%test%", "message": "No tests here", "error_field": "Name"},
        {"name": "Big", "object": "Account", "field": "NumberOfEmployees", "op": "gt", "value": 10, "and": [{"field": "Industry", "op": "blank"}], "message": "Big ones need an industry"},
        {"name": "Fixed", "object": "Account", "field": "Site", "op": "changed", "message": "Site is fixed"},
        {"name": "Off", "object": "Account", "field": "Name", "op": "not_blank", "message": "never", "active": false}]);
    rules(&org, "validation_rules", list).await;
    let write = |fields: Value| {
        let org = &org;
        async move { write(org, fields).await }
    };
    let refused = write(json!({"Name": "A Test"})).await;
    assert_eq!(
        refused["errors"],
        json!([{"statusCode": "FIELD_CUSTOM_VALIDATION_EXCEPTION", "message": "No tests here", "fields": ["Name"]}])
    );
    let refused = write(json!({"NumberOfEmployees": 11})).await;
    assert_eq!(refused["errors"][0]["message"], "Big ones need an industry");
    assert_eq!(refused["errors"][0]["fields"], json!([]));
    assert_eq!(
        write(json!({"NumberOfEmployees": 10, "Site": "x"})).await["success"],
        true
    );
    assert_eq!(
        write(json!({"NumberOfEmployees": 11, "Industry": "Energy"})).await["success"],
        true
    );
    // What the record holds counts, not only what is written.
    assert_eq!(
        code(&write(json!({"Industry": null})).await),
        "FIELD_CUSTOM_VALIDATION_EXCEPTION"
    );
    assert_eq!(
        code(&write(json!({"Site": "y"})).await),
        "FIELD_CUSTOM_VALIDATION_EXCEPTION"
    );
    let edit = json!({"object": "Account", "external_id": "a-1", "fields": {"Name": "test"}});
    assert_eq!(
        org.control(Method::POST, "edit", edit).await[0]["errorCode"],
        "FIELD_CUSTOM_VALIDATION_EXCEPTION"
    );
    for wrong in [
        json!([{"name": "x", "object": "Account", "field": "Nope", "op": "eq", "message": "m"}]),
        json!([{"name": "x", "object": "Account", "field": "Name", "op": "near", "message": "m"}]),
    ] {
        let refused = org.control(Method::PUT, "validation_rules", wrong).await;
        assert_eq!(refused[0]["errorCode"], "INVALID_ARGUMENT", "{refused}");
    }
}

async fn conditional(
    org: &Org,
    method: Method,
    path: &str,
    header: (&str, &str),
    body: Option<Value>,
) -> (u16, Value) {
    let request = org.request(method, path).header(header.0, header.1);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    read(request.send().await.unwrap()).await
}

#[tokio::test]
async fn accounts_have_tags_that_guard_a_change() {
    let org = Org::new().await;
    let made = org
        .upsert(
            "Account",
            json!([{"Ext_Id__c": "a", "Name": "A", "Description": "d".repeat(2000)}]),
        )
        .await;
    let path = format!("sobjects/Account/{}", made[0]["id"].as_str().unwrap());
    let tag = |reply: &reqwest::Response| reply.headers()["etag"].to_str().unwrap().to_owned();
    let plain = tag(&org.request(Method::GET, &path).send().await.unwrap());
    let packed = org
        .request(Method::GET, &path)
        .header("accept-encoding", "gzip")
        .send()
        .await
        .unwrap();
    let packed = tag(&packed);
    assert!(packed.ends_with("--gzip\""), "{packed}");
    for known in [&plain, &packed] {
        assert_eq!(
            conditional(&org, Method::GET, &path, ("If-None-Match", known), None)
                .await
                .0,
            304
        );
        assert_eq!(
            conditional(&org, Method::GET, &path, ("If-Match", known), None)
                .await
                .0,
            200
        );
    }
    let phone = |n: u32| Some(json!({"Phone": n.to_string()}));
    assert_eq!(
        conditional(&org, Method::PATCH, &path, ("If-Match", &packed), phone(1))
            .await
            .0,
        204
    );
    let (status, error) =
        conditional(&org, Method::PATCH, &path, ("If-Match", &packed), phone(2)).await;
    assert_eq!(
        (status, &error[0]["errorCode"]),
        (412, &json!("MATCH_PRECONDITION_FAILED"))
    );
    assert_eq!(
        conditional(
            &org,
            Method::PATCH,
            &path,
            ("If-None-Match", &plain),
            phone(3)
        )
        .await
        .0,
        204
    );
    assert_eq!(
        conditional(&org, Method::GET, &path, ("If-None-Match", &plain), None)
            .await
            .0,
        200
    );
    let (_, row) = org.get(&path).await;
    assert_eq!(row["Phone"], "3");
    let made = org
        .upsert("Contact", json!([{"Ext_Id__c": "c", "LastName": "L"}]))
        .await;
    let path = format!("sobjects/Contact/{}", made[0]["id"].as_str().unwrap());
    let reply = org.request(Method::GET, &path).send().await.unwrap();
    assert!(reply.headers().get("etag").is_none());
    // Other objects have no tags: the header is passed over.
    assert_eq!(
        conditional(
            &org,
            Method::PATCH,
            &path,
            ("If-Match", "\"x\""),
            Some(json!({"Title": "x"}))
        )
        .await
        .0,
        204
    );
}

#[tokio::test]
async fn a_date_guards_a_change_of_any_object_also_while_it_waits() {
    let org = Org::new().await;
    org.control(Method::PUT, "clock", json!({"rate": 0})).await;
    let made = org
        .upsert("Contact", json!([{"Ext_Id__c": "c", "LastName": "L"}]))
        .await;
    let path = format!("sobjects/Contact/{}", made[0]["id"].as_str().unwrap());
    let reply = org.request(Method::GET, &path).send().await.unwrap();
    let read_at = reply.headers()["last-modified"]
        .to_str()
        .unwrap()
        .to_owned();
    let title = |t: &str| Some(json!({"Title": t}));
    let header = ("If-Unmodified-Since", read_at.as_str());
    assert_eq!(
        conditional(
            &org,
            Method::GET,
            &path,
            ("If-Modified-Since", &read_at),
            None
        )
        .await
        .0,
        304
    );
    assert_eq!(
        conditional(&org, Method::PATCH, &path, header, title("1"))
            .await
            .0,
        204
    );
    assert_eq!(
        conditional(
            &org,
            Method::PATCH,
            &path,
            ("If-Unmodified-Since", "yesterday"),
            title("1")
        )
        .await
        .0,
        400
    );
    // The other change comes while this one waits.
    org.control(
        Method::PUT,
        "locks",
        json!({"work_ms": 300, "wait_ms": 1000}),
    )
    .await;
    org.control(Method::PUT, "clock", json!({"advance_ms": 2000}))
        .await;
    let edit = json!({"object": "Contact", "external_id": "c", "fields": {"Title": "theirs"}});
    let late = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        conditional(&org, Method::PATCH, &path, header, title("ours")).await
    };
    let (edited, late) = tokio::join!(org.control(Method::POST, "edit", edit), late);
    assert_eq!(edited["success"], true, "{edited}");
    assert_eq!(
        (late.0, &late.1[0]["errorCode"]),
        (412, &json!("ENTITY_FAILED_IFLASTMODIFIED_ON_UPDATE"))
    );
    assert_eq!(org.get(&path).await.1["Title"], "theirs");
}
