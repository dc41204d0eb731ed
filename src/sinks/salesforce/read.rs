//! Reading records, by external id or by Salesforce's.

use std::collections::HashMap;

use bytes::Bytes;
use reqwest::Method;
use serde_json::json;

use super::Salesforce;
use super::http::{Call, unreadable};
use super::keys::{KeyKind, quoted};
use super::soql::{self, Page, Row};
use crate::change::Timestamp;
use crate::fault::{Class, Fault};
use crate::mapping::{Assignment, Key, Target, TargetField, held};
use crate::planning::CrmId;
use crate::sinks::{CrmRecord, Named};

/// The CRM ids found for each key, smallest first: none, one, or several where the key field is not
/// unique.
pub(super) type Found = HashMap<String, Vec<CrmId>>;

/// Most records that one request retrieves by their ids.
///
/// <https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections_retrieve.htm>
const MAX_RETRIEVED: usize = 2_000;

/// What is always read: who changed the record last, and when.
const AUDIT: [&str; 5] = [
    "LastModifiedDate",
    "LastModifiedById",
    "SystemModstamp",
    "CreatedDate",
    "CreatedById",
];

/// A field to be read.
struct Column<'a> {
    field: &'a TargetField,
    /// What a query selects.
    select: String,
    /// Where its value is in a row.
    path: String,
}

impl Salesforce {
    /// See [`crate::sinks::Sink::read`]. Where several records bear a key, the one with the smallest
    /// id is read.
    pub(super) async fn read_records(
        &self,
        target: &Target,
        records: Named<'_>,
        fields: &[u16],
    ) -> Result<Vec<Option<CrmRecord>>, Fault> {
        let columns = columns(target, fields)?;
        // Without fields it is only asked whether the CRM answers.
        let us = match fields.is_empty() {
            true => None,
            false => Some(self.own_user().await?),
        };
        let selected = columns.iter().map(|c| c.select.as_str());
        let audit = AUDIT.iter().copied().filter(|_| us.is_some());
        let selected: Vec<&str> = selected.chain(audit).collect();
        let us = us.unwrap_or_default();
        match records {
            Named::Keys(keys) => {
                let kind = self.key_kind(&target.object, &target.key_field);
                let rows = self.rows_by_key(target, keys, &selected).await?;
                let name =
                    |row: &Row| Some(kind.normal(&row.text(&target.key_field)?).into_owned());
                let found = by_name(&rows, name, &columns, &us);
                let of = |key: &Key| found.get(kind.normal(key).as_ref()).cloned();
                Ok(keys.iter().map(of).collect())
            }
            Named::Ids(ids) => {
                let rows = match columns.iter().any(|c| c.field.reference.is_some()) {
                    true => self.query_ids(target, ids, &selected).await?,
                    false => self.retrieve(target, ids, &selected).await?,
                };
                let name = |row: &Row| Some(short(&row.text("Id")?).to_owned());
                let found = by_name(&rows, name, &columns, &us);
                Ok(ids.iter().map(|id| found.get(short(id)).cloned()).collect())
            }
        }
    }

    /// The CRM ids of the records with these external ids, by the key's normal form.
    pub(super) async fn find(&self, target: &Target, keys: &[Key]) -> Result<Found, Fault> {
        let kind = self.key_kind(&target.object, &target.key_field);
        let mut found = Found::new();
        for row in self.rows_by_key(target, keys, &[]).await? {
            if let (Some(id), Some(key)) = (row.text("Id"), row.text(&target.key_field)) {
                let ids = found.entry(kind.normal(&key).into_owned()).or_default();
                ids.push(CrmId::from(id));
                ids.sort();
                ids.dedup();
            }
        }
        Ok(found)
    }

    /// See [`crate::sinks::Sink::unkeyed`].
    pub(super) async fn unkeyed_records(
        &self,
        target: &Target,
        slot: u16,
        texts: &[String],
    ) -> Result<Vec<(String, CrmId)>, Fault> {
        let columns = columns(target, &[slot])?;
        let field = columns.first().map_or("Id", |c| c.select.as_str());
        let select = select(target, &[field], &["Id"]);
        let literals: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
        let free = format!(" AND {} = null", target.key_field);
        let mut found = Vec::new();
        for query in soql::by_key(&select, field, &literals, &free) {
            for row in self.rows(&format!("/query?q={query}")).await? {
                if let (Some(id), Some(text)) = (row.text("Id"), row.text(field)) {
                    found.push((text, CrmId::from(id)));
                }
            }
        }
        Ok(found)
    }

    async fn rows_by_key(
        &self,
        target: &Target,
        keys: &[Key],
        columns: &[&str],
    ) -> Result<Vec<Row>, Fault> {
        let kind: KeyKind = self.key_kind(&target.object, &target.key_field);
        let select = select(target, columns, &["Id", &target.key_field]);
        let literals: Vec<String> = keys.iter().map(|key| kind.literal(key)).collect();
        self.rows_of(&select, &target.key_field, &literals).await
    }

    async fn query_ids(
        &self,
        target: &Target,
        ids: &[CrmId],
        columns: &[&str],
    ) -> Result<Vec<Row>, Fault> {
        let literals: Vec<String> = ids.iter().map(|id| quoted(id)).collect();
        self.rows_of(&select(target, columns, &["Id"]), "Id", &literals)
            .await
    }

    async fn rows_of(
        &self,
        select: &str,
        field: &str,
        literals: &[String],
    ) -> Result<Vec<Row>, Fault> {
        let mut rows = Vec::with_capacity(literals.len());
        for query in soql::by_key(select, field, literals, "") {
            rows.append(&mut self.rows(&format!("/query?q={query}")).await?);
        }
        Ok(rows)
    }

    /// Records by their ids: many more a request than a query's address has room for.
    async fn retrieve(
        &self,
        target: &Target,
        ids: &[CrmId],
        columns: &[&str],
    ) -> Result<Vec<Row>, Fault> {
        let path = format!("/composite/sobjects/{}", soql::encode(&target.object));
        let fields: Vec<&str> = std::iter::once("Id")
            .chain(columns.iter().copied())
            .collect();
        let mut rows = Vec::with_capacity(ids.len());
        for ids in ids.chunks(MAX_RETRIEVED) {
            let body = json!({ "ids": ids, "fields": fields }).to_string();
            let answer = self
                .call(Call::Query, Method::POST, &path, Some(Bytes::from(body)))
                .await?;
            let found: Vec<Option<Row>> = serde_json::from_slice(&answer.accepted()?)
                .map_err(|_| unreadable(Call::Query, "the records cannot be read"))?;
            rows.extend(found.into_iter().flatten());
        }
        Ok(rows)
    }

    /// All rows of a query, page by page. `path` stands after the version's root.
    pub(super) async fn rows(&self, path: &str) -> Result<Vec<Row>, Fault> {
        let mut rows = Vec::new();
        let mut page = Page::parse(&self.get(Call::Query, path).await?)?;
        loop {
            rows.append(&mut page.records);
            match page.next_records_url {
                Some(next) if !page.done => {
                    page = Page::parse(&self.get_path(Call::Query, &next).await?)?;
                }
                _ => return Ok(rows),
            }
        }
    }
}

fn columns<'a>(target: &'a Target, fields: &[u16]) -> Result<Vec<Column<'a>>, Fault> {
    let column = |slot: &u16| {
        let Some(field) = target.fields.get(usize::from(*slot)) else {
            return Err(Fault::new(
                Class::Configuration,
                "unknown_field_slot",
                format!("{} has no field {slot}", target.object),
            ));
        };
        let (select, path) = match &field.reference {
            None => (field.name.to_string(), field.name.to_string()),
            Some(parent) => {
                // A lookup to several objects shows only what all of them have; TYPEOF asks for more.
                let path = format!("{}.{}", parent.relationship, parent.key_field);
                let select = match parent.polymorphic {
                    true => format!(
                        "TYPEOF {} WHEN {} THEN {} END",
                        parent.relationship, parent.object_name, parent.key_field
                    ),
                    false => path.clone(),
                };
                (select, path)
            }
        };
        Ok(Column {
            field,
            select,
            path,
        })
    };
    fields.iter().map(column).collect()
}

/// `SELECT … FROM …`. A field named twice would be an error.
fn select(target: &Target, columns: &[&str], always: &[&str]) -> String {
    let mut select = format!("SELECT {}", always.join(","));
    for column in columns {
        if !always.iter().any(|name| name.eq_ignore_ascii_case(column)) {
            select.push(',');
            select.push_str(column);
        }
    }
    select.push_str(" FROM ");
    select.push_str(&target.object);
    select
}

fn by_name(
    rows: &[Row],
    name: impl Fn(&Row) -> Option<String>,
    columns: &[Column<'_>],
    us: &str,
) -> HashMap<String, CrmRecord> {
    let mut found: HashMap<String, CrmRecord> = HashMap::with_capacity(rows.len());
    for row in rows {
        let (Some(id), Some(name)) = (row.text("Id"), name(row)) else {
            continue;
        };
        let value = |column: &Column<'_>| match row.raw(&column.path) {
            Some(raw) => held(column.field, raw.get()),
            None => Assignment::Clear,
        };
        let modified = row.text("LastModifiedDate").and_then(|t| time_of(&t));
        let by_us = |column| row.text(column).is_some_and(|by| same_id(&by, us));
        let record = CrmRecord {
            crm_id: CrmId::from(id),
            values: columns.iter().map(value).collect(),
            stamp: row.text("SystemModstamp").and_then(|t| time_of(&t)),
            modified,
            // Not since it was made, that is: who came in between is not told.
            untouched: by_us("LastModifiedById")
                && by_us("CreatedById")
                && modified.is_some()
                && row.text("CreatedDate").and_then(|t| time_of(&t)) == modified,
        };
        match found.get(&name) {
            Some(other) if other.crm_id <= record.crm_id => {}
            _ => drop(found.insert(name, record)),
        }
    }
    found
}

/// A time as Salesforce writes it, `2026-11-04T12:10:35.000+0000`.
pub(super) fn time_of(text: &str) -> Option<Timestamp> {
    let time = jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%.f%z", text).ok();
    let time = time.and_then(|t| t.to_timestamp().ok());
    let time = time.or_else(|| text.parse().ok())?;
    Some(Timestamp(time.as_microsecond()))
}

/// An id without its check.
fn short(id: &str) -> &str {
    id.get(..15).unwrap_or(id)
}

/// Ids have 15 characters, or 18 with a check at the end.
pub(super) fn same_id(one: &str, other: &str) -> bool {
    !one.is_empty() && short(one) == short(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_salesforce_writes_them() {
        let expected = Some(Timestamp(1_793_794_235_000_000));
        assert_eq!(time_of("2026-11-04T12:10:35.000+0000"), expected);
        assert_eq!(time_of("2026-11-04T12:10:35.000Z"), expected);
        assert_eq!(time_of("2026-11-04T13:10:35.000+0100"), expected);
        assert_eq!(time_of("2026-11-04T12:10:35Z"), expected);
        assert_eq!(time_of("yesterday"), None);
    }

    #[test]
    fn an_id_is_the_same_with_and_without_its_check() {
        assert!(same_id("005Ws000001XyZ1IAK", "005Ws000001XyZ1"));
        assert!(!same_id("005Ws000001XyZ1IAK", "005Ws000001XyZ2"));
        assert!(!same_id("", ""));
    }
}
