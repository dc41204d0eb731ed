//! The shelf, for people: how entries are named, listed, shown, and found again by their names. The
//! same for the admin interface and for a store that nobody runs.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::report::word;
use crate::config::Config;
use crate::fault::Result;
use crate::mapping::{
    Action, Assignment, DELETE_INCOMPLETE, FieldValue, ObjectId, RecordId, is_section,
};
use crate::planning::{ADOPT_AMBIGUOUS, CONFLICT, Existence, Pending, Reason, is_braked};
use crate::store::{ShelfQuery, Store};

/// Most entries of a page.
pub const PAGE: usize = 1_000;
/// Most records of one wish; more are asked for again.
pub const MOST: usize = 10_000;

/// A record as people name it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Name {
    /// The CRM object; or, for what an older configuration left behind, the `object_id` as listed.
    pub object: String,
    /// The external id.
    pub external_id: String,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.object, self.external_id)
    }
}

/// An entry of the shelf without any value.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Listed {
    /// The CRM object.
    pub object: String,
    /// The external id.
    pub external_id: String,
    /// The number of object and external-id field, in hexadecimal.
    pub object_id: String,
    /// The external-id field.
    pub key_field: String,
    /// The table that its rows come from.
    pub table: String,
    /// `dead_letter`, `waiting`, `held` or `deferred`.
    pub reason: String,
    /// What is to be done: `upsert`, `archive`, `delete`, `re_key`; null for an external id that is
    /// still borne by another record.
    pub action: Option<String>,
    /// The CRM's code (ours in lower case), if something failed.
    pub code: Option<String>,
    /// Fields that the CRM named.
    pub code_fields: Vec<String>,
    /// The record that it waits for.
    pub waits_for: Option<Waited>,
    /// Since when it is here.
    pub since: String,
    /// When it was last tried.
    pub tried: Option<String>,
    /// Times it was tried.
    pub attempts: u32,
    /// The newest change in it: LSN and number in its transaction.
    pub position: Option<String>,
    /// When that change committed.
    pub commit_time: Option<String>,
    /// That change's transaction.
    pub xid: Option<u32>,
}

/// A record that is waited for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Waited {
    /// The number of its object and external-id field, in hexadecimal.
    pub object_id: String,
    /// Its external id.
    pub external_id: String,
}

/// An entry with its values, and what to do about it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Shown {
    /// All that is listed.
    #[serde(flatten)]
    pub listed: Listed,
    /// The CRM's words. They may quote a value.
    pub message: Option<String>,
    /// What a person can do.
    pub advice: String,
    /// Of fields that both sides have changed: what the CRM held when it was looked at, and since when
    /// at the latest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<Opposite>,
    /// The fields it writes: their value, null for one that is emptied, `{"external_id": …}` for a
    /// reference.
    pub fields: serde_json::Map<String, Value>,
}

/// The CRM's side of a conflict.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Opposite {
    /// The field.
    pub field: String,
    /// What the CRM holds, as in `fields`.
    pub crm: Value,
    /// Since when, at the latest.
    pub edited: String,
}

/// A page of the shelf.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Listing {
    /// The entries.
    pub pending: Vec<Listed>,
    /// Where the next page begins; null when there is none.
    pub next: Option<String>,
}

fn hex(object: ObjectId) -> String {
    format!("{:08x}", object.0)
}

/// An entry without its values.
pub fn listed(pending: &Pending) -> Listed {
    let operation = pending.operation.as_ref();
    Listed {
        object: pending.object.clone(),
        external_id: pending.record.key.to_string(),
        object_id: hex(pending.record.object),
        key_field: pending.key_field.clone(),
        table: pending.table.clone(),
        reason: word(pending.reason).into(),
        action: operation.map(|o| action(&o.action).into()),
        code: pending.fault.as_ref().map(|f| f.code.to_string()),
        code_fields: pending
            .fault
            .as_ref()
            .map_or_else(Vec::new, |f| f.fields.clone()),
        waits_for: pending.waits_for.as_ref().map(|r| Waited {
            object_id: hex(r.object),
            external_id: r.key.to_string(),
        }),
        since: pending.since.to_string(),
        tried: pending.tried.map(|t| t.to_string()),
        attempts: pending.attempts,
        position: operation.map(|o| o.position.to_string()),
        commit_time: operation.map(|o| o.commit_time.to_string()),
        xid: operation.map(|o| o.xid),
    }
}

/// An entry with its values.
pub fn shown(pending: &Pending) -> Shown {
    let fields = pending.operation.iter().flat_map(|o| &o.fields);
    Shown {
        listed: listed(pending),
        message: pending.fault.as_ref().map(|f| f.message.clone()),
        advice: advice(pending),
        conflicts: pending
            .conflicts
            .iter()
            .map(|c| Opposite {
                field: c.field.clone(),
                crm: value(&c.theirs),
                edited: c.edited.to_string(),
            })
            .collect(),
        fields: fields.map(|(name, a)| (name.clone(), value(a))).collect(),
    }
}

fn action(action: &Action) -> &'static str {
    match action {
        Action::Upsert => "upsert",
        Action::Archive { .. } => "archive",
        Action::Delete { .. } => "delete",
        Action::ReKey { .. } => "re_key",
    }
}

fn value(assignment: &Assignment) -> Value {
    match assignment {
        Assignment::Clear => Value::Null,
        Assignment::Set(FieldValue::Bool(b)) => Value::Bool(*b),
        Assignment::Set(FieldValue::Text(text)) => Value::String(text.to_string()),
        Assignment::Set(FieldValue::Reference(key)) => json!({ "external_id": key.as_str() }),
        // Digit for digit where JSON's reader keeps them; a number it would change stays a text.
        Assignment::Set(FieldValue::Number(digits)) => {
            let number = serde_json::from_str::<Value>(digits);
            match number.map(|n| (n.to_string(), n)) {
                Ok((text, number)) if text == *digits => number,
                _ => Value::String(digits.to_string()),
            }
        }
    }
}

/// What a person can do about an entry.
fn advice(pending: &Pending) -> String {
    let fault = pending.fault.as_ref();
    match pending.reason {
        Reason::DeadLetter if fault.is_some_and(|f| f.code == DELETE_INCOMPLETE) => {
            "the row is gone, and what it did not bring with it: `syncline pending retry` sets the other \
             fields, `syncline pending discard` leaves the record as it is"
                .into()
        }
        Reason::Held if fault.is_some_and(is_braked) => {
            "it is held until a person decides: `syncline pending release` sends it, `syncline pending \
             discard` gives it up"
                .into()
        }
        Reason::DeadLetter
            if fault.is_some_and(|f| is_ours(&f.code)) && is_section(&pending.table) =>
        {
            "emit a correct message in its place: one with the same key replaces this one, and where \
             the key is the message's place in the stream, `syncline pending discard` gives this one up"
                .into()
        }
        Reason::DeadLetter if fault.is_some_and(|f| f.code == ADOPT_AMBIGUOUS) => {
            "nobody can tell which of them is meant: merge the records in the CRM, or give the right one \
             the external id, then `syncline pending retry`"
                .into()
        }
        Reason::DeadLetter if fault.is_some_and(|f| is_ours(&f.code)) => {
            "mend the row in the database: any change of it replaces this one. (To try this one \
             again would not help: the mapping refused it before the CRM saw it.) `syncline pending \
             discard` gives the change up"
                .into()
        }
        Reason::DeadLetter => {
            let known = fault.and_then(crate::sinks::salesforce::advice);
            let known = known.map_or_else(String::new, |a| format!("{}. ", a.trim_end_matches('.')));
            format!(
                "{known}When it is mended in the CRM, `syncline pending retry`; a change of the row \
                 is tried by itself. `syncline pending discard` gives the change up"
            )
        }
        Reason::Waiting => match &pending.waits_for {
            Some(parent) => format!(
                "it leaves by itself when the record {} is in the CRM: look whether that one is \
                 pending too, and whether its row exists",
                parent.key
            ),
            None => "it leaves by itself in one of the next windows".into(),
        },
        Reason::Held if fault.is_some_and(|f| f.code == CONFLICT) => {
            "decide whose value stays: `syncline pending release … --take source` writes the \
             database's, `--take crm` keeps the CRM's; --always makes it a rule for the field"
                .into()
        }
        Reason::Held => "it is held until a person decides: `syncline pending retry` sends it, \
                         `syncline pending discard` gives it up"
            .into(),
        Reason::Deferred => "it leaves by itself when delivery resumes".into(),
    }
}

/// Whether the mapping refused it, not the CRM: our own codes are in lower case.
fn is_ours(code: &str) -> bool {
    code != "overtaken" && !code.bytes().any(|b| b.is_ascii_uppercase())
}

/// Where a page ends, as a text for the next one.
pub fn mark(record: &RecordId) -> String {
    format!("{}/{}", hex(record.object), record.key)
}

/// The record of such a text.
pub fn unmark(text: &str) -> Option<RecordId> {
    let (object, key) = text.split_once('/')?;
    Some(RecordId {
        object: object_id(object)?,
        key: key.into(),
    })
}

fn object_id(text: &str) -> Option<ObjectId> {
    let digits = text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let number = digits.then(|| u32::from_str_radix(text, 16).ok())?;
    number.map(ObjectId)
}

/// Which entries of the shelf are meant.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// There for this reason.
    pub reason: Option<Reason>,
    /// Of this table, in the configuration's words.
    pub table: Option<String>,
    /// With this code.
    pub code: Option<String>,
}

impl Filter {
    fn takes(&self, pending: &Pending) -> bool {
        let code = pending.fault.as_ref().map(|f| &*f.code);
        self.table.as_ref().is_none_or(|t| pending.table == *t)
            && self.code.as_ref().is_none_or(|c| code == Some(c))
    }
}

/// A page of the shelf, as it is stored.
///
/// # Errors
/// When the store fails.
pub async fn page(
    store: &dyn Store,
    filter: &Filter,
    after: Option<RecordId>,
    limit: usize,
) -> Result<(Vec<Pending>, Option<String>)> {
    let limit = limit.clamp(1, PAGE);
    let mut found = Vec::new();
    let mut after = after;
    loop {
        let query = ShelfQuery {
            reason: filter.reason,
            after,
            limit: PAGE,
        };
        let page = store.shelf(query).await?;
        let Some(last) = page.last() else {
            return Ok((found, None));
        };
        after = Some(last.record.clone());
        found.extend(page.into_iter().filter(|p| filter.takes(p)));
        if found.len() >= limit {
            found.truncate(limit);
            let next = found.last().map(|last| mark(&last.record));
            return Ok((found, next));
        }
    }
}

/// A record that a person deleted in the CRM, and that is kept so.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// The CRM object.
    pub object: String,
    /// The external id.
    pub external_id: String,
    /// The newest change that was kept from it: LSN and number in its transaction.
    pub position: String,
}

/// A page of such records.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct KeptListing {
    /// They.
    pub kept: Vec<Kept>,
    /// Where the next page begins; null when there is none.
    pub next: Option<String>,
}

/// Records that are kept deleted, found by looking through the ledger.
///
/// # Errors
/// When the store fails.
pub async fn kept(
    store: &dyn Store,
    objects: &[(String, String)],
    after: Option<RecordId>,
    limit: usize,
) -> Result<KeptListing> {
    let limit = limit.clamp(1, PAGE);
    let mut ids: Vec<(ObjectId, &str)> = objects
        .iter()
        .map(|(object, field)| (ObjectId::new(object, field), object.as_str()))
        .collect();
    ids.sort_unstable();
    let mut listing = KeptListing::default();
    for (object, name) in ids {
        let begun = after.as_ref().filter(|a| a.object == object);
        if after.as_ref().is_some_and(|a| object < a.object) {
            continue;
        }
        let mut key = begun.map(|a| a.key.clone());
        loop {
            let page = store.ledger_page(object, key, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            key = Some(last.key.clone());
            for (record, entry) in page {
                if entry.existence != Existence::Kept {
                    continue;
                }
                listing.kept.push(Kept {
                    object: name.to_owned(),
                    external_id: record.key.to_string(),
                    position: entry.position.to_string(),
                });
                if listing.kept.len() == limit {
                    listing.next = Some(mark(&record));
                    return Ok(listing);
                }
            }
        }
    }
    Ok(listing)
}

/// The records of these names, whether or not anything is known of them.
pub fn named(objects: &[(String, String)], names: &[Name]) -> Vec<RecordId> {
    let of = |name: &Name| {
        let same = |o: &&(String, String)| o.0.eq_ignore_ascii_case(&name.object);
        let ids = objects.iter().filter(same);
        let ids: Vec<ObjectId> = ids.map(|(o, field)| ObjectId::new(o, field)).collect();
        let key = name.external_id.clone();
        ids.into_iter().map(move |object| RecordId {
            object,
            key: key.as_str().into(),
        })
    };
    names.iter().flat_map(of).collect()
}

/// The objects of a configuration, each with its external-id field.
pub fn objects(config: &Config) -> Vec<(String, String)> {
    let tables = config.tables.values();
    let tables = tables.map(|t| (t.object.clone(), t.key.field.clone()));
    let messages = config.outbox.values();
    let messages = messages.map(|o| (o.object.clone(), o.key.field.clone()));
    let pairs: BTreeSet<_> = tables.chain(messages).collect();
    pairs.into_iter().collect()
}

/// The entry of a record by its name.
///
/// # Errors
/// When the store fails.
pub async fn find(
    store: &dyn Store,
    objects: &[(String, String)],
    name: &Name,
) -> Result<Option<Pending>> {
    let mut ids: Vec<ObjectId> = objects
        .iter()
        .filter(|(object, _)| object.eq_ignore_ascii_case(&name.object))
        .map(|(object, field)| ObjectId::new(object, field))
        .collect();
    ids.extend(object_id(&name.object));
    let records: Vec<RecordId> = ids
        .into_iter()
        .map(|object| RecordId {
            object,
            key: name.external_id.as_str().into(),
        })
        .collect();
    let states = store.records(&records).await?;
    Ok(states.into_iter().find_map(|s| s.pending).map(|p| *p))
}

/// The records of these names that are on the shelf (for this reason, if one is given), and the
/// names of which none is.
///
/// # Errors
/// When the store fails.
pub async fn resolve(
    store: &dyn Store,
    objects: &[(String, String)],
    names: &[Name],
    reason: Option<Reason>,
) -> Result<(Vec<RecordId>, Vec<Name>)> {
    let mut records = Vec::with_capacity(names.len());
    let mut missing = Vec::new();
    for name in names {
        match find(store, objects, name).await? {
            Some(found) if reason.is_none_or(|r| r == found.reason) => records.push(found.record),
            _ => missing.push(name.clone()),
        }
    }
    Ok((records, missing))
}

/// The records on the shelf that are meant, at most [`MOST`], and whether there may be more.
///
/// # Errors
/// When the store fails.
pub async fn all(store: &dyn Store, filter: &Filter) -> Result<(Vec<RecordId>, bool)> {
    let mut records: Vec<RecordId> = Vec::new();
    loop {
        let after = records.last().cloned();
        let (found, next) = page(store, filter, after, PAGE).await?;
        records.extend(found.into_iter().map(|p| p.record));
        if next.is_none() || records.len() >= MOST {
            return Ok((records, next.is_some()));
        }
    }
}

/// The reason of a word.
pub fn reason(text: &str) -> Option<Reason> {
    super::report::REASONS
        .into_iter()
        .find(|r| word(*r) == text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn marks_read_what_they_write() {
        for key in ["1", "a/b", "", "ü \\/", "?0/1#2"] {
            let record = RecordId {
                object: ObjectId(0x00AB_CDEF),
                key: key.into(),
            };
            assert_eq!(unmark(&mark(&record)).unwrap(), record);
        }
        for bad in ["", "x/1", "123/1", "123456789/1", "+1234567/1"] {
            assert!(unmark(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn values_are_shown_as_they_are() {
        let number = |digits: &str| value(&Assignment::Set(FieldValue::Number(digits.into())));
        assert_eq!(number("12"), json!(12));
        assert_eq!(number("1.10"), json!("1.10"));
        assert_eq!(
            number("99999999999999999999.5"),
            json!("99999999999999999999.5")
        );
        assert_eq!(value(&Assignment::Clear), Value::Null);
    }
}
