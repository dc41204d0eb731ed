//! The Salesforce sink over real HTTP, against a server that answers from a script.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

mod answers;
mod field_rights;
mod fields;
mod login;
mod records;
mod schema;
mod server;

use std::sync::Arc;
use std::time::Duration;

use server::{Reply, Server};
use syncline::config::{Destination, Secret, Span};
use syncline::fault::{Class, Fault};
use syncline::mapping::{
    Assigned, Assignment, FieldId, FieldValue, ObjectId, Reference, Target, TargetField,
};
use syncline::planning::{Batch, BatchAction, Write};
use syncline::sinks::Outcome;
use syncline::sinks::salesforce::Salesforce;

fn destination(url: &str) -> Destination {
    let text = format!("kind = \"salesforce\"\nurl = \"{url}\"\nclient_id = \"app\"");
    let mut destination: Destination = toml::from_str(&text).unwrap();
    destination.client_secret = Some(Secret("s3cret".into()));
    destination.timeout = Span(Duration::from_secs(5));
    destination
}

fn connect(server: &Server) -> Salesforce {
    Salesforce::connect(&destination(&server.url)).unwrap()
}

fn target() -> Arc<Target> {
    let plain = |name: &str| TargetField {
        id: FieldId::new(name),
        name: name.into(),
        reference: None,
        unique: false,
        broken: None,
        owner: Default::default(),
        kind: Default::default(),
        scale: 0,
    };
    let parent = Reference {
        object: ObjectId::new("Account", "Company_Id__c"),
        object_name: "Account".into(),
        key_field: "Company_Id__c".into(),
        relationship: "Account".into(),
        polymorphic: false,
    };
    Arc::new(Target {
        id: ObjectId::new("Contact", "Ext_Id__c"),
        table: "public.customer".into(),
        object: "Contact".into(),
        key_field: "Ext_Id__c".into(),
        removal: syncline::mapping::Removal::Delete { hard: false },
        on_crm_delete: syncline::config::OnCrmDelete::default(),
        creation: syncline::mapping::Creation::default(),
        halted: None,
        version: None,
        fields: vec![
            plain("LastName"),
            plain("Email"),
            TargetField {
                reference: Some(parent),
                ..plain("AccountId")
            },
        ],
    })
}

fn write(key: &str) -> Write {
    Write {
        guard: None,
        key: key.into(),
        from: None,
        crm_id: None,
        fields: vec![Assigned {
            slot: 0,
            assignment: Assignment::Set(FieldValue::Text("Lee".into())),
        }]
        .into(),
    }
}

fn batch(action: BatchAction, writes: Vec<Write>) -> Batch {
    Batch {
        target: target(),
        action,
        writes,
    }
}

fn upsert(keys: &[&str]) -> Batch {
    let writes = keys.iter().map(|key| write(key)).collect();
    batch(BatchAction::Upsert, writes)
}

/// Results of a collections request: `Ok(id)` or `Err(code, message)`.
fn results(records: &[Result<&str, (&str, &str)>]) -> Reply {
    let result = |record: &Result<&str, (&str, &str)>| match record {
        Ok(id) => serde_json::json!({"id": id, "success": true, "errors": []}),
        Err((code, message)) => serde_json::json!({"success": false, "errors": [
            {"statusCode": code, "message": message, "fields": []}]}),
    };
    let body: Vec<_> = records.iter().map(result).collect();
    Reply::json(200, &serde_json::to_string(&body).unwrap())
}

/// The answer to a query: rows of id and external id.
fn rows(rows: &[(&str, &str)]) -> Reply {
    let row = |(id, key): &(&str, &str)| serde_json::json!({"attributes": {"type": "Contact"}, "Id": id, "Ext_Id__c": key});
    let rows: Vec<_> = rows.iter().map(row).collect();
    let body = serde_json::json!({"totalSize": rows.len(), "done": true, "records": rows});
    Reply::json(200, &body.to_string())
}

fn written(id: &str) -> Outcome {
    Outcome::Written {
        crm_id: Some(id.into()),
        created: false,
    }
}

fn fault(outcome: &Outcome) -> &Fault {
    match outcome {
        Outcome::Refused(fault) => fault,
        other => panic!("not refused: {other:?}"),
    }
}

fn class(outcome: &Outcome) -> (Class, &str) {
    let fault = fault(outcome);
    (fault.class, fault.code.as_ref())
}
