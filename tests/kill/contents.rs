//! Both sides, field by field.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::crm::Crm;
use crate::support::postgres::Postgres;

type Side = BTreeMap<String, BTreeMap<&'static str, Option<String>>>;

/// Panics at the first differences.
pub fn compare(postgres: &Postgres, crm: &Crm) {
    let accounts = crm.records(
        "Account",
        "Id,Ext_Id__c,Name,Phone,ParentId,Description,Version__c",
    );
    let contacts = crm.records(
        "Person__c",
        "Id,Ext_Id__c,LastName__c,Email__c,Account__c,Description__c,Version__c",
    );
    let keys: BTreeMap<String, String> = accounts
        .iter()
        .map(|a| {
            (
                a["Id"].as_str().unwrap().to_owned(),
                a["Ext_Id__c"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    let companies = rows(
        postgres,
        "company",
        &["id", "name", "phone", "parent_id", "notes", "version"],
    );
    let people = rows(
        postgres,
        "contact",
        &["id", "last_name", "email", "company_id", "notes", "version"],
    );
    let mut differences = Vec::new();
    let names = [
        "Ext_Id__c",
        "Name",
        "Phone",
        "ParentId",
        "Description",
        "Version__c",
    ];
    let columns = ["id", "name", "phone", "parent_id", "notes", "version"];
    differ(
        "company",
        &companies,
        &records(&accounts, &names, &columns, &keys),
        &mut differences,
    );
    let names = [
        "Ext_Id__c",
        "LastName__c",
        "Email__c",
        "Account__c",
        "Description__c",
        "Version__c",
    ];
    let columns = ["id", "last_name", "email", "company_id", "notes", "version"];
    differ(
        "contact",
        &people,
        &records(&contacts, &names, &columns, &keys),
        &mut differences,
    );
    let count = differences.len();
    differences.truncate(20);
    assert!(
        count == 0,
        "{count} differences between both sides, e.g.\n{}",
        differences.join("\n")
    );
    assert_eq!(
        (accounts.len(), contacts.len()),
        (companies.len(), people.len())
    );
}

fn differ(table: &str, rows: &Side, records: &Side, out: &mut Vec<String>) {
    let keys: std::collections::BTreeSet<&String> = rows.keys().chain(records.keys()).collect();
    for key in keys {
        match (rows.get(key), records.get(key)) {
            (Some(_), None) => out.push(format!("{table} {key}: not in the CRM")),
            (None, Some(_)) => out.push(format!("{table} {key}: only in the CRM")),
            (Some(row), Some(record)) => {
                for (column, value) in row {
                    let there = &record[column];
                    if there != value {
                        let short = |v: &Option<String>| {
                            v.as_ref().map(|v| v.chars().take(30).collect::<String>())
                        };
                        let (a, b) = (short(value), short(there));
                        out.push(format!(
                            "{table} {key}.{column}: {a:?} in the database, {b:?} in the CRM"
                        ));
                    }
                }
            }
            (None, None) => {}
        }
    }
}

fn rows(postgres: &Postgres, table: &str, columns: &[&'static str]) -> Side {
    let text = postgres.psql(&format!(
        "SELECT coalesce(json_agg(t), '[]') FROM {table} t"
    ));
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    let mut side = Side::new();
    for row in &rows {
        let values = columns.iter().map(|c| (*c, text_of(&row[c]))).collect();
        side.insert(text_of(&row["id"]).unwrap(), values);
    }
    side
}

fn records(
    records: &[Value],
    names: &[&str],
    columns: &[&'static str],
    accounts: &BTreeMap<String, String>,
) -> Side {
    let mut side = Side::new();
    for record in records {
        let values = names.iter().zip(columns).map(|(name, column)| {
            let value = text_of(&record[name]);
            let is_lookup = matches!(*name, "ParentId" | "Account__c");
            let value = match value {
                Some(id) if is_lookup => Some(accounts.get(&id).cloned().unwrap_or(id)),
                other => other,
            };
            (*column, value)
        });
        let key = text_of(&record["Ext_Id__c"]).unwrap_or_default();
        let twice = side.insert(key.clone(), values.collect());
        assert!(twice.is_none(), "P3: two live records of {key}");
    }
    side
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        // The CRM has one kind of number.
        Value::Number(n) => Some(n.as_f64().unwrap().to_string()),
        other => Some(other.to_string()),
    }
}
