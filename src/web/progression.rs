//! How far existing rows have been read: their part of a [`super::report::Report`].

use serde::{Deserialize, Serialize};

use crate::fault::Severity;
use crate::store::{Job, JobKind, Rowcount};
use crate::supervisor::status::{Progression, Reading};

/// How far the existing rows of a table have been read. `kind`, `column`, `where`, `since` and `rows`
/// tell of the backfill that runs or waits, else of the one that ended last.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BackfillReport {
    /// The table.
    pub table: String,
    /// Where it stands.
    pub state: Reading,
    /// The backfill told of; null when there was none.
    #[serde(flatten)]
    pub job: JobReport,
    /// Rows there are, about.
    pub expected: u64,
    /// How much of it is read, from 0 to 100.
    pub percent: f64,
    /// Rows read a second, in this life of the process.
    pub rows_per_second: f64,
    /// Seconds to go, about; null when it is not known.
    pub seconds_left: Option<u64>,
    /// What it waits for, or why it does not go on.
    pub why: Option<String>,
    /// The backfills of the table that follow.
    pub queued: Vec<JobReport>,
    /// Those that ended: the last of each kind, the latest first.
    pub ended: Vec<JobReport>,
}

/// One backfill.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct JobReport {
    /// Why rows are read; null when none are and none were.
    pub kind: Option<JobKind>,
    /// For this column alone.
    pub column: Option<String>,
    /// Only rows for which this SQL condition is true.
    #[serde(rename = "where")]
    pub filter: Option<String>,
    /// Since when.
    pub since: Option<String>,
    /// Rows read, and what became of them.
    pub rows: Rowcount,
    /// Pages settled.
    pub pages: u64,
}

impl BackfillReport {
    pub(super) fn new(progression: &Progression) -> Self {
        let round = |number: f64| (number * 10.0).round() / 10.0;
        BackfillReport {
            table: progression.table.clone(),
            state: progression.state,
            job: progression.told().map(JobReport::new).unwrap_or_default(),
            expected: progression.expected(),
            percent: round(progression.share() * 100.0),
            rows_per_second: round(progression.rows_per_second),
            seconds_left: progression.seconds_left,
            why: progression.why.clone(),
            queued: progression.queued.iter().map(JobReport::new).collect(),
            ended: progression.ended.iter().map(JobReport::new).collect(),
        }
    }

    /// All backfills of the table that have not ended, the one told of first.
    pub fn jobs(&self) -> impl Iterator<Item = &JobReport> {
        let runs = !matches!(self.state, Reading::Loaded | Reading::None);
        runs.then_some(&self.job).into_iter().chain(&self.queued)
    }
}

impl JobReport {
    pub(super) fn new(job: &Job) -> Self {
        JobReport {
            kind: Some(job.kind),
            column: job.column.clone(),
            filter: job.filter.clone(),
            since: Some(job.since.to_string()),
            rows: job.rows,
            pages: job.pages,
        }
    }

    /// The words for why rows are read.
    pub fn words(&self) -> String {
        let mut words = self.kind.map_or("none", JobKind::word).to_owned();
        if let Some(column) = &self.column {
            words.push_str(&format!(", column {column}"));
        }
        if self.filter.is_some() {
            words.push_str(", some rows");
        }
        words
    }

    /// It reads the same rows for the same fields.
    pub fn is_for(&self, column: Option<&str>, filter: Option<&str>) -> bool {
        self.column.as_deref() == column && self.filter.as_deref() == filter
    }
}

/// The word of a severity in JSON and metrics.
pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Problem => "problem",
    }
}
