//! How fast each way was lately.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Weight of the newest measurement.
const NEWEST: f64 = 0.2;
/// Seconds that a request is supposed to take until one has been measured.
const REQUEST: f64 = 0.35;
/// Seconds that a job takes, whatever is in it: its calls, its turn, the look that finds it done.
pub(super) const JOB: f64 = 4.0;
/// Seconds that a record in a job is supposed to take until one has been measured.
const ROW: f64 = 0.0005;

/// What was measured. Shared by all who send.
#[derive(Debug, Default)]
pub(in crate::sinks) struct Measured(Mutex<Means>);

#[derive(Clone, Copy, Debug, Default)]
struct Means {
    request: Option<f64>,
    row: Option<f64>,
}

impl Measured {
    /// A full request was answered after so long.
    pub(in crate::sinks) fn request(&self, took: Duration) {
        self.with(|means| means.request = Some(mean(means.request, took.as_secs_f64())));
    }

    /// A job of so many rows was done after so long.
    pub(super) fn job(&self, rows: usize, took: Duration) {
        if rows > 0 {
            let row = (took.as_secs_f64() - JOB).max(0.0) / rows as f64;
            self.with(|means| means.row = Some(mean(means.row, row)));
        }
    }

    /// Seconds for a request, and for a record in a job.
    pub(super) fn now(&self) -> (f64, f64) {
        self.with(|means| (means.request.unwrap_or(REQUEST), means.row.unwrap_or(ROW)))
    }

    fn with<T>(&self, f: impl FnOnce(&mut Means) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn mean(before: Option<f64>, newest: f64) -> f64 {
    before.map_or(newest, |before| before + NEWEST * (newest - before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_counts_for_a_part() {
        let measured = Measured::default();
        assert_eq!(measured.now(), (REQUEST, ROW));
        measured.request(Duration::from_secs(1));
        measured.request(Duration::from_secs(2));
        measured.job(1_000, Duration::from_secs(5));
        measured.job(0, Duration::from_secs(500));
        let (request, row) = measured.now();
        assert!((request - 1.2).abs() < 1e-9 && (row - 0.001).abs() < 1e-9);
        measured.job(1_000, Duration::ZERO);
        assert!(measured.now().1 < 0.001, "never below zero");
    }
}
