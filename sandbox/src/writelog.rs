//! Every accepted and refused write, in order: what tests read to check value order per
//! record, that no record was doubled, and that parents came first.
//!
//! The log only grows; sequence numbers start at 1 and have no gaps.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// A parent that a write referred to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reference {
    pub(crate) object: String,
    pub(crate) id: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) external_id_field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) external_id: Option<Value>,
}

/// One write of one record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WriteEntry {
    pub(crate) seq: u64,
    /// RFC 3339 with milliseconds.
    pub(crate) at: String,
    /// The number of the request it came with.
    pub(crate) request: u64,
    /// `collections`, `row`, `bulk`, `soap`, `edit`, `page` or `cascade`.
    pub(crate) via: String,
    /// The bulk job it was a row of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) job: Option<String>,
    pub(crate) user: String,
    pub(crate) user_id: String,
    pub(crate) object: String,
    /// `create`, `update`, `upsert` (when refused before it was clear which) , `delete` or
    /// `undelete`.
    pub(crate) operation: String,
    pub(crate) id: Option<String>,
    pub(crate) external_id_field: Option<String>,
    pub(crate) external_id: Option<Value>,
    /// What was written, after coercion; what was asked for, if it was refused.
    ///
    /// Kept as text: a log has hundreds of thousands of these.
    pub(crate) fields: Box<RawValue>,
    /// By field, the parents the written references point to.
    pub(crate) references: Box<RawValue>,
    /// `accepted` or the error code.
    pub(crate) outcome: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) message: Option<String>,
}

/// Fields or references in the form the log keeps.
pub(crate) fn packed(fields: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(fields).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// The log.
#[derive(Debug, Default)]
pub(crate) struct WriteLog {
    entries: Vec<WriteEntry>,
    next: u64,
}

/// What a reader of the log wants.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    pub(crate) object: Option<String>,
    pub(crate) external_id: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) outcome: Option<String>,
    pub(crate) after: u64,
    pub(crate) limit: usize,
}

impl Filter {
    fn takes(&self, entry: &WriteEntry) -> bool {
        let same = |want: &Option<String>, have: &str| {
            want.as_ref()
                .is_none_or(|want| want.eq_ignore_ascii_case(have))
        };
        let key = match (&self.external_id, &entry.external_id) {
            (None, _) => true,
            (Some(want), Some(Value::String(have))) => want == have,
            (Some(want), Some(have)) => have.as_f64().is_some_and(|n| want.parse() == Ok(n)),
            (Some(_), None) => false,
        };
        key && same(&self.object, &entry.object)
            && same(&self.outcome, &entry.outcome)
            && same(&self.id, entry.id.as_deref().unwrap_or(""))
    }
}

impl WriteLog {
    /// Adds an entry and numbers it, unless it has a number from an earlier run.
    pub(crate) fn push(&mut self, mut entry: WriteEntry) {
        if entry.seq == 0 {
            entry.seq = self.next + 1;
        }
        self.next = entry.seq;
        self.entries.push(entry);
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All entries in order.
    pub(crate) fn all(&self) -> &[WriteEntry] {
        &self.entries
    }

    /// Forgets what came after the first entries, numbers too.
    pub(crate) fn truncate(&mut self, len: usize) {
        if let Some(first) = self.entries.get(len) {
            self.next = first.seq - 1;
            self.entries.truncate(len);
        }
    }

    /// What came after the first entries was taken back.
    pub(crate) fn halt(&mut self, len: usize) {
        let since = self.entries.iter_mut().skip(len);
        for entry in since.filter(|entry| entry.outcome == "accepted") {
            entry.outcome = "PROCESSING_HALTED".to_owned();
            entry.message = Some("rolled back with its transaction".to_owned());
        }
    }

    /// Forgets the entries. Numbers go on, so that a reader's `after` stays right.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// The entries after `filter.after` that match, and whether there are more.
    pub(crate) fn read(&self, filter: &Filter) -> (Vec<&WriteEntry>, bool) {
        let start = self.entries.partition_point(|e| e.seq <= filter.after);
        let mut found = self.entries[start..].iter().filter(|e| filter.takes(e));
        let page: Vec<&WriteEntry> = found.by_ref().take(filter.limit).collect();
        let more = found.next().is_some();
        (page, more)
    }
}
