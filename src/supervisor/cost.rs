//! What reading existing rows will cost, said before it begins: rows, requests, time.
//!
//! A bound from both sides: no more requests than if every row were written (rows that the CRM has
//! already cost none), and no less time than the limits in force allow.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::backfill::large;
use crate::capture::Reader;
use crate::config::{Config, DestinationKind};
use crate::mapping::Mapping;
use crate::planning::BatchAction;
use crate::sinks::Delivery;
use crate::sinks::bulk::Way;
use crate::store::{JobKind, Load};

/// How long rows are counted before a first load: live changes wait for it.
const COUNTING: Duration = Duration::from_secs(10);

/// What it will cost.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Rows to read, about.
    pub rows: u64,
    /// Requests to the CRM, if every row has to be written.
    pub calls: u64,
    /// Their share of what is left of the day's limit: 1 is all of it. Null where there is no limit,
    /// or it is not known yet.
    pub share_of_day: Option<f64>,
    /// Seconds that it takes at least, at the limits in force.
    pub seconds: f64,
}

/// What bounds it.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Bounds {
    /// Records in a request; at least one.
    pub records: usize,
    /// Requests a second; 0 for no limit.
    pub requests_per_second: u32,
    /// Rows a second; 0 for no limit.
    pub rows_per_second: u64,
    /// Requests that are left of the day's limit.
    pub calls_left: Option<u64>,
    /// Bulk jobs, where they are used.
    pub jobs: Option<JobBounds>,
}

/// What bounds a load that goes by bulk jobs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct JobBounds {
    /// Least rows of a table that go by them.
    pub from: u64,
    /// Most rows in one.
    pub rows: u64,
    /// Calls that one costs, about.
    pub calls: u64,
}

/// Calls that a bulk job costs: made, uploaded, started, looked at a few times, its results.
const JOB_CALLS: u64 = 10;

impl Bounds {
    /// Those in force.
    pub fn now(config: &Config, delivery: &Delivery) -> Self {
        let daily = delivery.health().usage.daily;
        Bounds {
            records: delivery.limits().records,
            requests_per_second: match config.destination.kind {
                DestinationKind::Salesforce => config.destination.requests_per_second,
                DestinationKind::Discard => 0,
            },
            rows_per_second: config.backfill.rows_per_second,
            jobs: JobBounds::now(config, delivery),
            calls_left: daily.map(|daily| daily.max.saturating_sub(daily.used)),
        }
    }

    /// The cost of one table's rows.
    pub fn cost(&self, rows: u64) -> Cost {
        self.total([rows])
    }

    /// The cost of several tables: a request carries records of one object.
    pub fn total(&self, tables: impl IntoIterator<Item = u64>) -> Cost {
        let records = u64::try_from(self.records.max(1)).unwrap_or(u64::MAX);
        let (mut rows, mut calls) = (0_u64, 0_u64);
        for table in tables {
            rows = rows.saturating_add(table);
            calls = calls.saturating_add(match self.jobs {
                Some(jobs) if table >= jobs.from => {
                    let jobs_of = table.div_ceil(jobs.rows.max(1));
                    jobs_of.saturating_mul(jobs.calls)
                }
                _ => table.div_ceil(records),
            });
        }
        let at = |amount: u64, rate: u64| match rate {
            0 => 0.0,
            rate => amount as f64 / rate as f64,
        };
        let requests = at(calls, u64::from(self.requests_per_second));
        Cost {
            rows,
            calls,
            share_of_day: self.calls_left.map(|left| match (calls, left) {
                (0, _) => 0.0,
                (calls, left) => calls as f64 / left.max(1) as f64,
            }),
            seconds: requests.max(at(rows, self.rows_per_second)),
        }
    }
}

impl JobBounds {
    fn now(config: &Config, delivery: &Delivery) -> Option<Self> {
        let large = large(config)?;
        // What a job is worth depends on the number of rows alone, as far as anybody knows yet.
        let mut from = delivery.jobs().min_rows().max(1);
        while delivery.way("", BatchAction::Upsert, from) == Way::Requests {
            from = from.saturating_mul(2);
            if from > large.rows {
                return None;
            }
        }
        Some(JobBounds {
            from: from as u64,
            rows: large.rows as u64,
            calls: JOB_CALLS,
        })
    }
}

impl Cost {
    /// More than the day has left: it will have to wait for the limit to turn over.
    pub fn exceeds_the_day(&self) -> bool {
        self.share_of_day.is_some_and(|share| share > 1.0)
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "about {}", counted(self.rows, "row"))?;
        if self.rows == 0 {
            return Ok(());
        }
        write!(f, ", {}", counted(self.calls, "API call"))?;
        if let Some(share) = self.share_of_day {
            let percent = share * 100.0;
            match percent {
                p if p < 0.1 => write!(f, " (less than 0.1 % of what is left today)")?,
                p if p < 10.0 => write!(f, " ({p:.1} % of what is left today)")?,
                p => write!(
                    f,
                    " ({} % of what is left today)",
                    thousands(p.round() as u64)
                )?,
            }
        }
        if self.seconds >= 1.0 {
            write!(f, ", at least {}", span(self.seconds))?;
        }
        Ok(())
    }
}

/// What the first load still has to read.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct FirstLoad {
    /// Tables.
    pub tables: usize,
    /// Those of them whose rows are not in the cost: counting them failed, or took too long.
    pub uncounted: usize,
    /// What it will cost.
    #[serde(flatten)]
    pub cost: Cost,
}

impl FirstLoad {
    /// Of the tables that have not been loaded. `loads`: what is stored of them.
    pub async fn estimate(
        mapping: &Mapping,
        loads: &[Load],
        reader: &dyn Reader,
        bounds: Bounds,
    ) -> Self {
        let deadline = Instant::now() + COUNTING;
        let (mut rows, mut uncounted) = (Vec::new(), 0);
        for table in mapping.tables().filter(|t| t.halted.is_none()) {
            let stored = loads.iter().find(|l| *l.table == *table.target.table);
            let stored = stored.filter(|l| l.oid == table.oid);
            if stored.is_some_and(|l| l.loaded) {
                continue;
            }
            let begun = stored
                .and_then(Load::job)
                .filter(|j| j.kind == JobKind::FirstLoad && j.expected > 0);
            let counted = match begun {
                Some(job) => Some(job.expected.saturating_sub(job.rows.read)),
                // Why it fails is told by the backfill itself.
                None => match timeout_at(deadline, reader.rows(table.oid, None)).await {
                    Ok(counted) => counted.ok(),
                    Err(_elapsed) => None,
                },
            };
            match counted {
                Some(counted) => rows.push(counted),
                None => uncounted += 1,
            }
        }
        FirstLoad {
            tables: rows.len() + uncounted,
            uncounted,
            cost: bounds.total(rows),
        }
    }

    /// Tells the log, if there is anything to read.
    pub(super) fn tell(&self) {
        if self.cost.rows == 0 && self.uncounted == 0 {
            return;
        }
        tracing::info!("the first load begins: {self}");
        if self.cost.exceeds_the_day() {
            tracing::warn!(
                calls = self.cost.calls,
                remedy = "let it wait for the limit to turn over, or set backfill.rows_per_second; \
                          `syncline backfill <table> --cancel` gives a table up",
                "the first load needs more API calls than are left today"
            );
        }
    }
}

impl fmt::Display for FirstLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables = counted(self.tables as u64, "table");
        write!(f, "{tables}, {}", self.cost)?;
        match self.uncounted {
            0 => Ok(()),
            n => write!(f, ", and {} not counted", counted(n as u64, "table")),
        }
    }
}

/// `1,234 rows`, `1 row`.
pub fn counted(number: u64, word: &str) -> String {
    match number {
        1 => format!("1 {word}"),
        n => format!("{} {word}s", thousands(n)),
    }
}

/// `1,234,567`
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A length of time by its two largest units: `13 s`, `4 min 20 s`, `2 h 5 min`, `3 d 1 h`.
pub fn span(seconds: f64) -> String {
    // A cast of a float saturates.
    let total = seconds.max(0.0).round() as u64;
    let (minutes, hours, days) = (total / 60, total / 3_600, total / 86_400);
    let two = |large: u64, unit: &str, small: u64, name: &str| match small {
        0 => format!("{large} {unit}"),
        small => format!("{large} {unit} {small} {name}"),
    };
    match total {
        0..60 => format!("{total} s"),
        60..3_600 => two(minutes, "min", total % 60, "s"),
        3_600..86_400 => two(hours, "h", minutes % 60, "min"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        records: 200,
        requests_per_second: 20,
        rows_per_second: 0,
        calls_left: Some(100_000),
        jobs: None,
    };

    #[test]
    fn it_is_said_in_one_line() {
        assert_eq!(
            BOUNDS.cost(52_000).to_string(),
            "about 52,000 rows, 260 API calls (0.3 % of what is left today), at least 13 s"
        );
        assert_eq!(BOUNDS.cost(0).to_string(), "about 0 rows");
        assert_eq!(
            BOUNDS.cost(1).to_string(),
            "about 1 row, 1 API call (less than 0.1 % of what is left today)"
        );
        let unknown = Bounds {
            calls_left: None,
            rows_per_second: 1_000,
            ..BOUNDS
        };
        assert_eq!(
            unknown.cost(5_000_000).to_string(),
            "about 5,000,000 rows, 25,000 API calls, at least 1 h 23 min"
        );
    }

    #[test]
    fn the_slower_limit_counts() {
        let slow_rows = Bounds {
            rows_per_second: 100,
            ..BOUNDS
        };
        assert!((slow_rows.cost(1_000).seconds - 10.0).abs() < 1e-9);
        let slow_calls = Bounds {
            requests_per_second: 1,
            rows_per_second: 1_000_000,
            ..BOUNDS
        };
        assert!((slow_calls.cost(1_001).seconds - 6.0).abs() < 1e-9);
        let free = Bounds::default().cost(1_000);
        assert_eq!((free.calls, free.seconds), (1_000, 0.0));
    }

    #[test]
    fn a_request_carries_one_object() {
        let cost = BOUNDS.total([1, 201, 0]);
        assert_eq!((cost.rows, cost.calls), (202, 3));
    }

    #[test]
    fn a_large_table_goes_by_jobs() {
        let jobs = Bounds {
            jobs: Some(JobBounds {
                from: 10_000,
                rows: 50_000,
                calls: 10,
            }),
            ..BOUNDS
        };
        let cost = jobs.total([1_000_000, 10_000, 9_999]);
        assert_eq!(cost.calls, 200 + 10 + 50);
    }

    #[test]
    fn a_day_that_is_used_up_is_exceeded() {
        let spent = Bounds {
            calls_left: Some(0),
            ..BOUNDS
        };
        assert!(spent.cost(400).exceeds_the_day());
        assert!(!spent.cost(0).exceeds_the_day());
        assert!(!BOUNDS.cost(400).exceeds_the_day());
        assert!(!Bounds::default().cost(400).exceeds_the_day());
        let huge = BOUNDS.cost(u64::MAX);
        assert_eq!(huge.calls, u64::MAX.div_ceil(200));
    }

    #[test]
    fn numbers_and_times_are_for_people() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ];
        for (number, text) in cases {
            assert_eq!(thousands(number), text);
        }
        let cases = [
            (0.4, "0 s"),
            (59.0, "59 s"),
            (60.0, "1 min"),
            (260.0, "4 min 20 s"),
            (7_500.0, "2 h 5 min"),
            (90_000.0, "1 d 1 h"),
            (f64::NAN, "0 s"),
        ];
        for (seconds, text) in cases {
            assert_eq!(span(seconds), text);
        }
    }
}
