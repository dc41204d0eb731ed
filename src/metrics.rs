//! The names of the metrics, and the text in which Prometheus reads them.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::Write as _;

/// A metric: its name and what it says. Counters end in `_total`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it says, for people.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($ident:ident = $name:literal, $help:literal;)*) => {
        $(#[doc = $help] pub const $ident: Metric = Metric { name: $name, help: $help };)*
        /// All of them.
        pub const ALL: &[Metric] = &[$($ident),*];
    };
}

metrics! {
    BUILD = "syncline_build_info", "Always 1; the version is a label.";
    UP = "syncline_running", "1 once both sides have been looked at and changes are read.";
    CONNECTED = "syncline_source_connected", "1 while the replication connection stands.";
    RESTARTS = "syncline_source_restarts_total", "Times the replication connection was made anew.";
    LSN = "syncline_lsn", "Positions in the WAL, in bytes: received, durable, reported.";
    LAG = "syncline_lag_seconds", "Age of the oldest change without a verdict; 0 when there is none.";
    CHANGES = "syncline_changes_total", "Changes by table and final verdict, since the store was made.";
    PENDING = "syncline_changes_pending", "Changes by table whose operation is on the shelf.";
    WINDOWS = "syncline_windows_total", "Windows sent.";
    OPERATIONS = "syncline_operations_total", "Operations in those windows.";
    SHELF = "syncline_shelf", "Operations on the shelf, by reason.";
    BRAKE = "syncline_brake_on", "1 for each table of which a brake holds operations, by the code of what it holds.";
    CALLS = "syncline_crm_calls_total", "Requests to the CRM, by kind.";
    ATTEMPTS = "syncline_crm_attempts_total", "Attempts to reach the CRM.";
    RETRIES = "syncline_crm_retries_total", "Those of them that repeated an earlier one.";
    BREAKER = "syncline_crm_breaker", "1 for the state that the circuit breaker is in.";
    FAILING = "syncline_crm_failing_seconds", "Time since the CRM began to fail; 0 while it works.";
    PACE_RECORDS = "syncline_crm_request_records", "Records that a request may have now, by object and kind.";
    PACE_REQUESTS = "syncline_crm_requests_at_once", "Requests that may be under way at once now, by object and kind.";
    PACE_MEDIAN = "syncline_crm_answer_seconds", "Median of the times of the last answers, by object and kind.";
    LOCKED = "syncline_crm_locked_total", "Times that records were locked by somebody else, by object and kind.";
    DAILY_USED = "syncline_crm_daily_requests_used", "Requests of the day, by all clients of the org.";
    DAILY_MAX = "syncline_crm_daily_requests_limit", "The org's limit of requests a day.";
    BUDGET_DEGREE = "syncline_budget_degree", "1 for how scarce requests to the CRM are: normal, save, scarce, defer or stop.";
    BUDGET_OURS = "syncline_budget_ours", "Requests of ours in the last 24 hours.";
    BUDGET_OTHERS = "syncline_budget_others", "Requests of others in the last 24 hours, as far as they were noticed.";
    BUDGET_ROOM = "syncline_budget_room", "Requests that we may make now.";
    BUDGET_FORECAST = "syncline_budget_forecast", "Requests of all clients in the 24 hours before the moment that is 12 hours ahead.";
    WAL_DEFERRING = "syncline_deferring_for_wal", "1 while changes go to the shelf so that the database keeps less WAL.";
    BACKFILL_ROWS = "syncline_backfill_rows_total", "Existing rows read by the backfill that runs or ended last, by table and outcome.";
    BACKFILL_EXPECTED = "syncline_backfill_expected_rows", "Rows that backfill is about to come to, by table.";
    BACKFILL_RUNNING = "syncline_backfill_running", "1 while existing rows of the table are read.";
    SCHEMA_CHANGES = "syncline_schema_changes_total", "Schema changes of the source since the start, by kind.";
    FINDINGS = "syncline_findings", "What is to be said of the rules in force, by severity.";
    COMMITS = "syncline_store_commits_total", "Durable commits of the store.";
    COMMIT_SECONDS = "syncline_store_commit_seconds", "Duration of the last commit, by step.";
    FILE_BYTES = "syncline_store_file_bytes", "Size of the store's database file.";
    BLOB_FILES = "syncline_store_blob_files", "Files that must not be there: anything but 0 is a fault.";
}

/// A page of metrics as text.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// A metric with one value.
    pub fn one(&mut self, metric: Metric, value: f64) {
        self.all(metric, [(String::new(), value)]);
    }

    /// A metric with a value for each of some labels (see [`label`]).
    pub fn all(&mut self, metric: Metric, values: impl IntoIterator<Item = (String, f64)>) {
        let kind = match metric.name.ends_with("_total") {
            true => "counter",
            false => "gauge",
        };
        let Metric { name, help } = metric;
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in values {
            let _ = match labels.as_str() {
                "" => writeln!(self.0, "{name} {value}"),
                labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
            };
        }
    }

    /// The text.
    pub fn text(self) -> String {
        self.0
    }
}

/// A label and its value; several are joined by a comma.
pub fn label(name: &str, value: &str) -> String {
    let value = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_well_formed() {
        let mut names: Vec<&str> = ALL.iter().map(|m| m.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            let good = |b: u8| b.is_ascii_lowercase() || b == b'_';
            assert!(metric.name.bytes().all(good), "{}", metric.name);
            assert!(metric.name.starts_with("syncline_"));
            assert!(!metric.help.contains(['\n', '\\']));
        }
    }

    #[test]
    fn a_page_is_what_prometheus_reads() {
        let mut page = Page::default();
        page.one(LAG, 1.5);
        page.all(SHELF, [(label("reason", "a\"b\\c\nd"), 3.0)]);
        let text = page.text();
        assert!(text.contains("# TYPE syncline_lag_seconds gauge\nsyncline_lag_seconds 1.5\n"));
        assert!(text.contains("syncline_shelf{reason=\"a\\\"b\\\\c\\nd\"} 3\n"));
    }
}
