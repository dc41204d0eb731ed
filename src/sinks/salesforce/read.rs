//! Reading records by external id.

use std::collections::HashMap;

use super::Salesforce;
use super::http::Call;
use super::soql::{self, Page, Row};
use crate::fault::{Class, Fault};
use crate::mapping::{Key, Target};
use crate::planning::CrmId;
use crate::sinks::CrmRecord;

/// The CRM ids found for each key, smallest first: none, one, or several where the key field is not
/// unique.
pub(super) type Found = HashMap<String, Vec<CrmId>>;

impl Salesforce {
    /// See [`crate::sinks::Sink::read`]. Where several records bear a key, the one with the smallest
    /// id is read.
    pub(super) async fn read_records(
        &self,
        target: &Target,
        keys: &[Key],
        fields: &[u16],
    ) -> Result<Vec<Option<CrmRecord>>, Fault> {
        let mut columns = Vec::with_capacity(fields.len());
        let mut paths = Vec::with_capacity(fields.len());
        for slot in fields {
            let Some(field) = target.fields.get(usize::from(*slot)) else {
                return Err(Fault::new(
                    Class::Configuration,
                    "unknown_field_slot",
                    format!("{} has no field {slot}", target.object),
                ));
            };
            match &field.reference {
                None => {
                    columns.push(field.name.to_string());
                    paths.push(field.name.to_string());
                }
                Some(parent) => {
                    // A lookup to several objects shows only what all of them have; TYPEOF asks for
                    // more.
                    let path = format!("{}.{}", parent.relationship, parent.key_field);
                    columns.push(if parent.polymorphic {
                        format!(
                            "TYPEOF {} WHEN {} THEN {} END",
                            parent.relationship, parent.object_name, parent.key_field
                        )
                    } else {
                        path.clone()
                    });
                    paths.push(path);
                }
            }
        }
        let rows = self.rows_by_key(target, keys, &columns).await?;
        let kind = self.key_kind(&target.object, &target.key_field);
        let mut found: HashMap<String, CrmRecord> = HashMap::with_capacity(rows.len());
        for row in rows {
            let (Some(id), Some(key)) = (row.text("Id"), row.text(&target.key_field)) else {
                continue;
            };
            let value = |path: &String| {
                row.raw(path)
                    .and_then(|raw| serde_json::from_str(raw.get()).ok())
                    .unwrap_or(serde_json::Value::Null)
            };
            let record = CrmRecord {
                crm_id: CrmId::from(id),
                values: paths.iter().map(value).collect(),
            };
            let key = kind.normal(&key).into_owned();
            match found.get(&key) {
                Some(other) if other.crm_id <= record.crm_id => {}
                _ => drop(found.insert(key, record)),
            }
        }
        Ok(keys
            .iter()
            .map(|key| found.get(kind.normal(key).as_ref()).cloned())
            .collect())
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

    async fn rows_by_key(
        &self,
        target: &Target,
        keys: &[Key],
        columns: &[String],
    ) -> Result<Vec<Row>, Fault> {
        let kind = self.key_kind(&target.object, &target.key_field);
        let mut select = format!("SELECT Id,{}", target.key_field);
        for column in columns {
            let named = |name: &str| name.eq_ignore_ascii_case(column);
            // A field named twice is an error.
            if !named("Id") && !named(&target.key_field) {
                select.push(',');
                select.push_str(column);
            }
        }
        select.push_str(" FROM ");
        select.push_str(&target.object);
        let literals: Vec<String> = keys.iter().map(|key| kind.literal(key)).collect();
        let mut rows = Vec::with_capacity(keys.len());
        for query in soql::by_key(&select, &target.key_field, &literals) {
            rows.append(&mut self.rows(&format!("/query?q={query}")).await?);
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
