//! Which way a batch goes: by requests, or by a job.
//!
//! Both cost calls of the day's limit and both take time. A call is given a price in seconds, a high
//! one while calls are scarce, and the cheaper way is taken. Pure.

use crate::config::BulkMode;

/// A way for a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// So many records a request.
    Requests,
    /// All of it in a job.
    Job,
}

/// How fast each way is, as measured, or as supposed until it has been.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pace {
    /// Records in a request.
    pub records: usize,
    /// Seconds that a request takes.
    pub request: f64,
    /// Requests that are under way at once.
    pub lanes: usize,
    /// Requests a second that we may send; 0 for no limit.
    pub per_second: u32,
    /// Seconds that a job takes, whatever is in it.
    pub job: f64,
    /// Seconds more for each of its records.
    pub row: f64,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Case {
    /// Records, of one object and one action.
    pub rows: usize,
    /// As configured.
    pub mode: BulkMode,
    /// As configured.
    pub min_rows: usize,
    /// Calls of the day's limit are running short.
    pub scarce: bool,
}

/// Seconds that we would rather wait than make another call.
const CALL: f64 = 0.2;
/// The same while calls are scarce.
const SCARCE_CALL: f64 = 5.0;
/// Calls of a job beside its looks: made, uploaded, started, three results.
const JOB_CALLS: f64 = 6.0;

/// Decides.
pub fn choose(case: Case, pace: Pace) -> Way {
    if case.rows == 0 {
        return Way::Requests;
    }
    if case.rows < case.min_rows {
        return Way::Requests;
    }
    match case.mode {
        BulkMode::Never => Way::Requests,
        BulkMode::Always => Way::Job,
        BulkMode::Auto => {
            let price = if case.scarce { SCARCE_CALL } else { CALL };
            let (requests, their_time) = pace.requests(case.rows);
            let (calls, time) = pace.job(case.rows);
            match time + price * calls < their_time + price * requests {
                true => Way::Job,
                false => Way::Requests,
            }
        }
    }
}

impl Pace {
    /// Calls and seconds by requests.
    fn requests(&self, rows: usize) -> (f64, f64) {
        let calls = rows.div_ceil(self.records.max(1)) as f64;
        let by_lanes = calls * self.request / self.lanes.max(1) as f64;
        let by_limit = match self.per_second {
            0 => 0.0,
            rate => calls / f64::from(rate),
        };
        (calls, by_lanes.max(by_limit))
    }

    /// Calls and seconds by a job.
    fn job(&self, rows: usize) -> (f64, f64) {
        let time = self.job + self.row * rows as f64;
        (JOB_CALLS + looks(time), time)
    }

    /// Seconds that a job of so many records takes, about.
    pub fn expected(&self, rows: usize) -> f64 {
        self.job + self.row * rows as f64
    }
}

/// Looks at a job that takes so long: the pauses between them grow.
fn looks(seconds: f64) -> f64 {
    2.0 + (1.0 + seconds.max(0.0)).log2()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An org as they are: a third of a second for 200 records, 2,000 records a second by a job.
    const ORG: Pace = Pace {
        records: 200,
        request: 0.35,
        lanes: 4,
        per_second: 20,
        job: 4.0,
        row: 0.0005,
    };

    fn auto(rows: usize) -> Case {
        Case {
            rows,
            mode: BulkMode::Auto,
            min_rows: 2_000,
            scarce: false,
        }
    }

    #[test]
    fn the_table() {
        let slow_job = Pace { row: 0.01, ..ORG };
        let slow_requests = Pace {
            request: 4.0,
            ..ORG
        };
        let scarce = |rows| Case {
            scarce: true,
            ..auto(rows)
        };
        let in_mode = |mode, rows| Case { mode, ..auto(rows) };
        let (always, never) = (BulkMode::Always, BulkMode::Never);
        for (name, case, pace, way) in [
            ("nothing", in_mode(always, 0), ORG, Way::Requests),
            ("a live window", auto(1), ORG, Way::Requests),
            ("below the least", auto(1_999), ORG, Way::Requests),
            ("just above it", auto(2_000), ORG, Way::Requests),
            ("a page of a load", auto(20_000), ORG, Way::Job),
            ("a large page", auto(50_000), ORG, Way::Job),
            ("a million", auto(1_000_000), ORG, Way::Job),
            ("few, and calls short", scarce(2_000), ORG, Way::Requests),
            ("some, and calls short", scarce(4_000), ORG, Way::Job),
            (
                "fewer than the least, short",
                scarce(400),
                ORG,
                Way::Requests,
            ),
            ("jobs are slow here", auto(20_000), slow_job, Way::Requests),
            (
                "slow, but calls are short",
                scarce(20_000),
                slow_job,
                Way::Job,
            ),
            ("requests are slow", auto(4_000), slow_requests, Way::Job),
            ("always", in_mode(always, 2_000), slow_job, Way::Job),
            (
                "always has a least",
                in_mode(always, 1_999),
                ORG,
                Way::Requests,
            ),
            ("never", in_mode(never, 1_000_000), ORG, Way::Requests),
        ] {
            assert_eq!(choose(case, pace), way, "{name}");
        }
    }

    #[test]
    fn more_rows_never_turn_a_job_into_requests() {
        for scarce in [false, true] {
            let mut before = Way::Requests;
            for rows in (0..200_000).step_by(200) {
                let case = Case {
                    scarce,
                    ..auto(rows)
                };
                let way = choose(case, ORG);
                assert!(before == Way::Requests || way == Way::Job, "{rows}");
                before = way;
            }
            assert_eq!(before, Way::Job);
        }
    }
}
