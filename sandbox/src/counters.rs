//! Requests by what they asked for and by app: the measure of how many calls a client
//! needs for its work. Emptied by `DELETE /sandbox/counters`.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::clock::{self, Millis};

#[derive(Debug, Default)]
struct Tally {
    since: Millis,
    logins: u64,
    /// Requests, whatever became of them.
    calls: u64,
    /// Those that were taken from the daily limit.
    charged: u64,
    /// Records written or read by id, as asked for.
    records: u64,
    by_kind: BTreeMap<&'static str, Kind>,
    by_app: BTreeMap<String, BTreeMap<&'static str, Kind>>,
    by_status: BTreeMap<u16, u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    calls: u64,
    records: u64,
}

/// One request, when it has been answered.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) kind: &'static str,
    /// Empty if the caller did not say who it is.
    pub(crate) app: String,
    pub(crate) records: u64,
    pub(crate) status: u16,
}

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    tally: Mutex<Tally>,
}

impl Counters {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts anew.
    pub(crate) fn reset(&self, now: Millis) {
        *self.tally() = Tally {
            since: now,
            ..Tally::default()
        };
    }

    pub(crate) fn login(&self) {
        self.tally().logins += 1;
    }

    pub(crate) fn charged(&self, calls: u64) {
        self.tally().charged += calls;
    }

    pub(crate) fn count(&self, counted: Counted) {
        let mut tally = self.tally();
        tally.calls += 1;
        tally.records += counted.records;
        *tally.by_status.entry(counted.status).or_default() += 1;
        let add = |kind: &mut Kind| {
            kind.calls += 1;
            kind.records += counted.records;
        };
        add(tally.by_kind.entry(counted.kind).or_default());
        let app = tally.by_app.entry(counted.app).or_default();
        add(app.entry(counted.kind).or_default());
    }

    pub(crate) fn show(&self) -> Value {
        let tally = self.tally();
        let kinds = |kinds: &BTreeMap<&'static str, Kind>| -> Value {
            let shown = kinds.iter().map(|(name, kind)| {
                let shown = json!({"calls": kind.calls, "records": kind.records});
                ((*name).to_owned(), shown)
            });
            Value::Object(shown.collect())
        };
        let apps = tally.by_app.iter().map(|(name, app)| {
            let calls: u64 = app.values().map(|kind| kind.calls).sum();
            let shown = json!({"calls": calls, "by_kind": kinds(app)});
            (name.clone(), shown)
        });
        let statuses = tally.by_status.iter();
        let statuses = statuses.map(|(status, count)| (status.to_string(), json!(count)));
        json!({
            "since": clock::precise(tally.since), "calls": tally.calls, "charged": tally.charged,
            "records": tally.records, "logins": tally.logins, "by_kind": kinds(&tally.by_kind),
            "by_app": Value::Object(apps.collect()),
            "by_status": Value::Object(statuses.collect()),
        })
    }
}
