//! What the CRM should hold, field by field, and what it holds.
//!
//! Nothing of the connector is used here: what a column becomes is written down once more, the rows
//! are read with plain SQL and the records with the CRM's own queries.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use syncline::fault::Result;

use super::app::{App, Table};
use super::crm::Crm;
use super::data::Cell;

/// The field that the connector makes, on the object of customers.
pub(super) const MADE: &str = "Tier__c";

/// How two values are the same.
#[derive(Clone, Copy)]
enum Kind {
    /// To the letter; an empty text is no text.
    Text,
    Number,
    Flag,
    /// To the second, in UTC.
    Instant,
    /// Chosen values, in any order.
    Set,
}
use Kind::{Flag, Instant, Number, Set, Text};

/// A table and its object.
struct Pair {
    table: Table,
    key: &'static str,
    sql: &'static str,
    /// For each column of the query, but the first (the key): the field, by its path.
    fields: &'static [(&'static str, Kind)],
}

const PAIRS: [Pair; 3] = [
    Pair {
        table: Table::Company,
        key: "Company_Id__c",
        sql: include_str!("../../../../sql/demo/company.sql"),
        fields: &[
            ("Name", Text),
            ("Parent.Company_Id__c", Text),
            ("Industry", Text),
            ("Website", Text),
            ("Phone", Text),
            ("BillingStreet", Text),
            ("BillingCity", Text),
            ("BillingPostalCode", Text),
            ("BillingCountry", Text),
            ("NumberOfEmployees", Number),
            ("AnnualRevenue", Number),
            ("Health__c", Number),
            ("Is_Partner__c", Flag),
            ("Founded_On__c", Text),
            ("Segments__c", Set),
            ("Description", Text),
            ("Created_In_App__c", Instant),
            ("App_Version__c", Number),
            ("Active__c", Flag),
        ],
    },
    Pair {
        table: Table::Customer,
        key: "Customer_Id__c",
        sql: include_str!("../../../../sql/demo/customer.sql"),
        fields: &[
            ("Account.Company_Id__c", Text),
            ("FirstName", Text),
            ("LastName", Text),
            ("Email", Text),
            ("Phone", Text),
            ("Title", Text),
            ("Language__c", Text),
            ("Birthdate", Text),
            ("HasOptedOutOfEmail", Flag),
            ("Lifetime_Value__c", Number),
            ("Last_Login__c", Instant),
            ("Preferences__c", Text),
            ("Description", Text),
            ("App_Version__c", Number),
            (MADE, Text),
        ],
    },
    Pair {
        table: Table::Deal,
        key: "Deal_Id__c",
        sql: include_str!("../../../../sql/demo/deal.sql"),
        fields: &[
            ("Account.Company_Id__c", Text),
            ("Buyer__r.Customer_Id__c", Text),
            ("Name", Text),
            ("StageName", Text),
            ("Amount", Number),
            ("Discount__c", Number),
            ("CloseDate", Text),
            ("Won_At__c", Instant),
            ("Auto_Renew__c", Flag),
            ("Products__c", Text),
            ("Description", Text),
            ("App_Version__c", Number),
        ],
    },
];

/// A company as it is now: what is left in the CRM when its row is deleted next.
pub(super) async fn company(app: &App, id: &str) -> Result<Vec<Cell>> {
    let [pair, ..] = &PAIRS;
    let rows = app.texts(pair.sql, &[Some(id.to_owned())]).await?;
    Ok(rows.into_iter().next().unwrap_or_default())
}

/// Where the two sides are not the same.
pub(super) struct Difference {
    pub(super) object: &'static str,
    pub(super) key: String,
    pub(super) field: &'static str,
    pub(super) postgres: String,
    pub(super) crm: String,
}

/// What was compared.
#[derive(Default)]
pub(super) struct Comparison {
    /// Rows and fields of each object.
    pub(super) compared: Vec<(&'static str, i64, i64)>,
    pub(super) differences: Vec<Difference>,
}

/// Reads both sides whole. `archived`: companies that have no row any more, with their last values;
/// their records stay, marked inactive.
pub(super) async fn compare(
    app: &App,
    crm: &Crm,
    archived: &BTreeMap<String, Vec<Cell>>,
) -> Result<Comparison> {
    let mut result = Comparison::default();
    for pair in &PAIRS {
        let object = pair.table.object();
        let mut rows = match pair.table {
            Table::Company => app.texts(pair.sql, &[None]).await?,
            _ => app.texts(pair.sql, &[]).await?,
        };
        if pair.table == Table::Company {
            rows.extend(archived.values().cloned());
        }
        let paths: Vec<&str> = pair.fields.iter().map(|(path, _)| *path).collect();
        let soql = format!(
            "SELECT Id, {}, {} FROM {object}",
            pair.key,
            paths.join(", ")
        );
        let mut records: HashMap<String, Value> = HashMap::new();
        for record in crm.query(&soql).await? {
            let key = record[pair.key].as_str().unwrap_or_default().to_owned();
            let id = record["Id"].as_str().unwrap_or_default().to_owned();
            if key.is_empty() || records.contains_key(&key) {
                let what = if key.is_empty() {
                    "a record without a key"
                } else {
                    "a second record"
                };
                result.differences.push(Difference {
                    object,
                    key: format!("{key} ({id})"),
                    field: "—",
                    postgres: "—".to_owned(),
                    crm: what.to_owned(),
                });
                continue;
            }
            records.insert(key, record);
        }
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        result.compared.push((
            object,
            count(rows.len()),
            count(rows.len() * pair.fields.len()),
        ));
        for row in rows {
            let mut cells = row.into_iter();
            let key = cells.next().flatten().unwrap_or_default();
            let Some(record) = records.remove(&key) else {
                result.differences.push(Difference {
                    object,
                    key,
                    field: "—",
                    postgres: "a row".to_owned(),
                    crm: "no record".to_owned(),
                });
                continue;
            };
            for ((path, kind), cell) in pair.fields.iter().zip(cells) {
                let value = path.split('.').fold(&record, |value, name| &value[name]);
                if !same(*kind, cell.as_deref(), value) {
                    result.differences.push(Difference {
                        object,
                        key: key.clone(),
                        field: path,
                        postgres: cell.unwrap_or_else(|| "NULL".to_owned()),
                        crm: value.to_string(),
                    });
                }
            }
        }
        for (key, _) in records {
            result.differences.push(Difference {
                object,
                key,
                field: "—",
                postgres: "no row".to_owned(),
                crm: "a record".to_owned(),
            });
        }
    }
    Ok(result)
}

fn same(kind: Kind, cell: Option<&str>, value: &Value) -> bool {
    let Some(cell) = cell.filter(|c| !c.is_empty()) else {
        return value.is_null();
    };
    match kind {
        Text => value.as_str() == Some(cell),
        // Fewer digits than a double holds, on both sides: equal numbers are equal doubles.
        Number => cell.parse().ok() == value.as_f64() && value.is_number(),
        Flag => value.as_bool().map(|b| b.to_string()).as_deref() == Some(cell),
        Instant => value.as_str() == Some(&format!("{cell}.000+0000")),
        Set => {
            let sorted = |text: &str| {
                let mut parts: Vec<String> = text.split(';').map(str::to_owned).collect();
                parts.sort();
                parts
            };
            value.as_str().map(sorted) == Some(sorted(cell))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn what_differs_is_seen() {
        assert!(same(Text, Some("Zoë"), &json!("Zoë")));
        assert!(!same(Text, Some("Zoë"), &json!("Zoe")));
        assert!(!same(Text, None, &json!("")));
        assert!(!same(Text, Some("x"), &json!(null)));
        assert!(same(Number, Some("12.50"), &json!(12.5)));
        assert!(!same(Number, Some("12.50"), &json!(12.51)));
        assert!(!same(Number, Some("12"), &json!("12")));
        assert!(same(Flag, Some("false"), &json!(false)));
        assert!(!same(Flag, Some("false"), &json!(true)));
        assert!(same(
            Instant,
            Some("2025-01-02T03:04:05"),
            &json!("2025-01-02T03:04:05.000+0000")
        ));
        assert!(!same(
            Instant,
            Some("2025-01-02T03:04:05"),
            &json!("2025-01-02T03:04:06.000+0000")
        ));
        assert!(same(Set, Some("b;a"), &json!("a;b")));
        assert!(!same(Set, Some("b"), &json!("a;b")));
    }
}
