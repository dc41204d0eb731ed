//! What apps use of the limits of a day.
//!
//! A day is the last 24 hours of the org's clock, cut into stretches of 15 minutes: what was
//! used in a stretch falls out whole when the stretch is a day old (salesforce.md §14).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::clock::Millis;

const STRETCH: Millis = 15 * 60 * 1_000;
const STRETCHES: Millis = 24 * 4;

/// An app: its place in the table of apps.
pub(crate) type AppId = usize;

/// A count over the last day.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rolling {
    /// Numbers of stretches, rising, with what was used in each.
    stretches: VecDeque<(Millis, u64)>,
    sum: u64,
}

impl Rolling {
    fn roll(&mut self, now: Millis) {
        let first = now.div_euclid(STRETCH) - STRETCHES + 1;
        while let Some((at, count)) = self.stretches.front().copied()
            && at < first
        {
            self.sum -= count;
            self.stretches.pop_front();
        }
    }

    /// Adds use at this moment.
    pub(crate) fn add(&mut self, now: Millis, count: u64) {
        self.roll(now);
        let at = now.div_euclid(STRETCH);
        match self.stretches.back_mut() {
            // The org's clock never runs back, but two requests may swap their places.
            Some((last, sum)) if *last >= at => *sum += count,
            _ => self.stretches.push_back((at, count)),
        }
        self.sum += count;
    }

    /// What was used in the day before this moment.
    pub(crate) fn used(&mut self, now: Millis) -> u64 {
        self.roll(now);
        self.sum
    }
}

/// Limits of a day beside that of API calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Daily {
    /// Batches of Bulk API 2.0 ingest jobs: 10,000 records each.
    BulkBatches,
    /// Bulk API 2.0 query jobs.
    BulkQueryJobs,
}

impl Daily {
    pub(crate) const ALL: [Daily; 2] = [Daily::BulkBatches, Daily::BulkQueryJobs];

    fn max(self) -> u64 {
        match self {
            Daily::BulkBatches => 15_000,
            Daily::BulkQueryJobs => 10_000,
        }
    }
}

/// A connected app, or a name that others' use is booked under.
#[derive(Debug)]
struct AppUse {
    name: String,
    /// Set for an app that may log in.
    secret: Option<String>,
    /// Its own share of the calls of a day.
    max: Option<u64>,
    calls: Rolling,
}

#[derive(Debug)]
struct Table {
    max: u64,
    apps: Vec<AppUse>,
    daily: BTreeMap<Daily, (u64, Rolling)>,
}

impl Table {
    fn used(&mut self, now: Millis) -> u64 {
        self.apps.iter_mut().map(|app| app.calls.used(now)).sum()
    }
}

/// The use of an org.
#[derive(Debug)]
pub(crate) struct Usage {
    table: Mutex<Table>,
}

impl Usage {
    pub(crate) fn new(max: u64) -> Usage {
        let daily = Daily::ALL.map(|daily| (daily, (daily.max(), Rolling::default())));
        Usage {
            table: Mutex::new(Table {
                max,
                apps: Vec::new(),
                daily: daily.into(),
            }),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The app of this name; it is made if there is none.
    pub(crate) fn app(&self, name: &str) -> AppId {
        let mut table = self.table();
        if let Some(at) = table.apps.iter().position(|app| app.name == name) {
            return at;
        }
        table.apps.push(AppUse {
            name: name.to_owned(),
            secret: None,
            max: None,
            calls: Rolling::default(),
        });
        table.apps.len() - 1
    }

    /// Lets an app log in, or changes its secret or its own limit.
    pub(crate) fn connect(&self, name: &str, secret: Option<String>, max: Option<Option<u64>>) {
        let at = self.app(name);
        let mut table = self.table();
        if let Some(app) = table.apps.get_mut(at) {
            app.secret = secret.or(app.secret.take());
            app.max = max.unwrap_or(app.max);
        }
    }

    /// The secret of an app that may log in.
    pub(crate) fn secret(&self, name: &str) -> Option<String> {
        let table = self.table();
        let app = table.apps.iter().find(|app| app.name == name)?;
        app.secret.clone()
    }

    pub(crate) fn name(&self, app: AppId) -> String {
        let table = self.table();
        table
            .apps
            .get(app)
            .map_or_else(String::new, |app| app.name.clone())
    }

    /// Takes API calls for an app, unless the org's or the app's own limit is used up.
    pub(crate) fn take(&self, app: AppId, now: Millis) -> bool {
        let mut table = self.table();
        if table.used(now) >= table.max {
            return false;
        }
        let Some(app) = table.apps.get_mut(app) else {
            return false;
        };
        let left = app.max.is_none_or(|max| app.calls.used(now) < max);
        if left {
            app.calls.add(now, 1);
        }
        left
    }

    /// Books calls that another app made.
    pub(crate) fn add(&self, app: AppId, now: Millis, calls: u64) {
        if let Some(app) = self.table().apps.get_mut(app) {
            app.calls.add(now, calls);
        }
    }

    /// Forgets all API calls and books these under `other`.
    pub(crate) fn set_used(&self, now: Millis, calls: u64) {
        for app in &mut self.table().apps {
            app.calls = Rolling::default();
        }
        if calls > 0 {
            self.add(self.app("other"), now, calls);
        }
    }

    /// Calls of the last day by all apps, and the limit.
    pub(crate) fn calls(&self, now: Millis) -> (u64, u64) {
        let mut table = self.table();
        let max = table.max;
        // Overuse is cut off, as if the service had refused it.
        (table.used(now).min(max), max)
    }

    pub(crate) fn set_max(&self, max: u64) {
        self.table().max = max;
    }

    /// `Sforce-Limit-Info` for an app.
    pub(crate) fn header(&self, app: Option<AppId>, now: Millis) -> String {
        let (used, max) = self.calls(now);
        let mut text = format!("api-usage={used}/{max}");
        let mut table = self.table();
        if let Some(app) = app.and_then(|at| table.apps.get_mut(at))
            && let Some(max) = app.max
        {
            let used = app.calls.used(now);
            text += &format!("; per-app-api-usage={used}/{max}(appName={})", app.name);
        }
        text
    }

    /// Takes from another limit of the day, unless that would go beyond it.
    pub(crate) fn take_daily(&self, daily: Daily, now: Millis, count: u64) -> bool {
        let mut table = self.table();
        let Some((max, rolling)) = table.daily.get_mut(&daily) else {
            return false;
        };
        let fits = rolling.used(now) + count <= *max;
        if fits {
            rolling.add(now, count);
        }
        fits
    }

    /// The maximum of another limit of the day, and what is left of it.
    pub(crate) fn daily(&self, daily: Daily, now: Millis) -> (u64, u64) {
        let mut table = self.table();
        match table.daily.get_mut(&daily) {
            Some((max, rolling)) => (*max, max.saturating_sub(rolling.used(now))),
            None => (0, 0),
        }
    }

    /// Forgets the use of another limit of the day.
    pub(crate) fn clear_daily(&self, daily: Daily) {
        if let Some(limit) = self.table().daily.get_mut(&daily) {
            limit.1 = Rolling::default();
        }
    }

    pub(crate) fn set_daily(&self, daily: Daily, max: u64) {
        if let Some(limit) = self.table().daily.get_mut(&daily) {
            limit.0 = max;
        }
    }

    /// What each app used in the last day.
    pub(crate) fn show(&self, now: Millis) -> Value {
        let mut table = self.table();
        let max = table.max;
        let used = table.used(now);
        let apps: serde_json::Map<String, Value> = table
            .apps
            .iter_mut()
            .map(|app| {
                let shown = json!({"calls": app.calls.used(now), "max": app.max});
                (app.name.clone(), shown)
            })
            .collect();
        json!({"used": used, "max": max, "apps": apps})
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn use_falls_out_when_it_is_a_day_old() {
        const HOUR: Millis = 4 * STRETCH;
        let usage = Usage::new(100);
        let (ours, other) = (usage.app("ours"), usage.app("other"));
        usage.add(other, 0, 60);
        usage.add(other, 12 * HOUR, 30);
        assert!((0..10).all(|_| usage.take(ours, 12 * HOUR)));
        assert!(!usage.take(ours, 12 * HOUR));
        assert_eq!(usage.calls(24 * HOUR - 1), (100, 100));
        assert_eq!(usage.calls(24 * HOUR), (40, 100));
        assert_eq!(usage.calls(36 * HOUR), (0, 100));
    }
}
