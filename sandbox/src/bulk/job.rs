//! What a job is to do and how far it is.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::clock::{self, Millis};
use crate::ids::Id;

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    Open,
    UploadComplete,
    InProgress,
    JobComplete,
    Failed,
    Aborted,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Open => "Open",
            State::UploadComplete => "UploadComplete",
            State::InProgress => "InProgress",
            State::JobComplete => "JobComplete",
            State::Failed => "Failed",
            State::Aborted => "Aborted",
        }
    }

    /// Whether nothing happens to the job any more.
    pub(crate) fn ended(self) -> bool {
        matches!(self, State::JobComplete | State::Failed | State::Aborted)
    }
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Operation {
    Insert,
    Update,
    Upsert,
    Delete,
    HardDelete,
    Query,
    QueryAll,
}

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Operation::Insert => "insert",
            Operation::Update => "update",
            Operation::Upsert => "upsert",
            Operation::Delete => "delete",
            Operation::HardDelete => "hardDelete",
            Operation::Query => "query",
            Operation::QueryAll => "queryAll",
        }
    }

    /// Whether it is a query job.
    pub(crate) fn reads(self) -> bool {
        matches!(self, Operation::Query | Operation::QueryAll)
    }

    /// Whether it deletes records.
    pub(crate) fn deletes(self) -> bool {
        matches!(self, Operation::Delete | Operation::HardDelete)
    }
}

/// How lines end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::upper_case_acronyms)] // they are the API's names
pub(crate) enum LineEnding {
    #[default]
    LF,
    CRLF,
}

impl LineEnding {
    pub(crate) fn name(self) -> &'static str {
        match self {
            LineEnding::LF => "LF",
            LineEnding::CRLF => "CRLF",
        }
    }
}

/// What stands between two columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Delimiter {
    Backquote,
    Caret,
    #[default]
    Comma,
    Pipe,
    Semicolon,
    Tab,
}

impl Delimiter {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Delimiter::Backquote => "BACKQUOTE",
            Delimiter::Caret => "CARET",
            Delimiter::Comma => "COMMA",
            Delimiter::Pipe => "PIPE",
            Delimiter::Semicolon => "SEMICOLON",
            Delimiter::Tab => "TAB",
        }
    }

    pub(crate) fn byte(self) -> u8 {
        match self {
            Delimiter::Backquote => b'`',
            Delimiter::Caret => b'^',
            Delimiter::Comma => b',',
            Delimiter::Pipe => b'|',
            Delimiter::Semicolon => b';',
            Delimiter::Tab => b'\t',
        }
    }
}

/// The head of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) id: Id,
    pub(crate) operation: Operation,
    /// As the org spells it.
    pub(crate) object: String,
    /// The external id field of an upsert, as the org spells it.
    pub(crate) key: Option<String>,
    pub(crate) query: Option<String>,
    pub(crate) assignment_rule: Option<String>,
    pub(crate) delimiter: Delimiter,
    pub(crate) line_ending: LineEnding,
    pub(crate) version: u32,
    pub(crate) created_by: Id,
    pub(crate) created: Millis,
    pub(crate) stamp: Millis,
    pub(crate) state: State,
    pub(crate) uploaded: bool,
    /// Why the whole job failed.
    pub(crate) error: Option<String>,
    /// Rows with an outcome, the failed ones too; rows read, for a query.
    pub(crate) processed: u64,
    pub(crate) failed: u64,
    /// Batches taken from the daily limit.
    pub(crate) batches: u64,
    pub(crate) total_ms: u64,
    pub(crate) active_ms: u64,
}

impl Job {
    /// What a list, and the answers to creating and closing a job, say of it.
    pub(crate) fn summary(&self) -> Map<String, Value> {
        let kind = if self.operation.reads() {
            "query"
        } else {
            "ingest"
        };
        let mut out = Map::new();
        let mut say = |key: &str, value: Value| out.insert(key.to_owned(), value);
        say("id", self.id.to_string().into());
        say("operation", self.operation.name().into());
        say("object", self.object.clone().into());
        say("createdById", self.created_by.to_string().into());
        say("createdDate", clock::datetime(self.created).into());
        say("systemModstamp", clock::datetime(self.stamp).into());
        say("state", self.state.name().into());
        if let Some(key) = &self.key {
            say("externalIdFieldName", key.clone().into());
        }
        if let Some(rule) = &self.assignment_rule {
            say("assignmentRuleId", rule.clone().into());
        }
        say("concurrencyMode", "Parallel".into());
        say("contentType", "CSV".into());
        say("apiVersion", json!(f64::from(self.version)));
        if !self.operation.reads() && !self.state.ended() {
            let url = format!(
                "services/data/v{}.0/jobs/{kind}/{}/batches",
                self.version, self.id
            );
            say("contentUrl", url.into());
        }
        say("lineEnding", self.line_ending.name().into());
        say("columnDelimiter", self.delimiter.name().into());
        out
    }

    /// What the job's own resource says of it.
    pub(crate) fn info(&self) -> Map<String, Value> {
        let mut out = self.summary();
        let reads = self.operation.reads();
        let mut say = |key: &str, value: Value| out.insert(key.to_owned(), value);
        say("jobType", if reads { "V2Query" } else { "V2Ingest" }.into());
        say("numberRecordsProcessed", self.processed.into());
        if !reads {
            say("numberRecordsFailed", self.failed.into());
        }
        say("retries", 0.into());
        say("totalProcessingTime", self.total_ms.into());
        if !reads {
            say("apiActiveProcessingTime", self.active_ms.into());
            say("apexProcessingTime", 0.into());
        }
        if let Some(error) = &self.error {
            say("errorMessage", error.clone().into());
        }
        out
    }
}
