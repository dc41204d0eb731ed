//! The brakes of a process, and how their alarms are told.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::change::Timestamp;
use crate::clock::Clock;
use crate::config::Brake;
use crate::fault::{Finding, Result, Severity};
use crate::planning::{Alarm, BrakeKind, Brakes, Reason};
use crate::store::{ShelfQuery, Store};

/// Shelf entries looked at in one go.
pub(super) const SHELF_PAGE: usize = 500;

/// The brakes of a process.
#[derive(Debug)]
pub struct Guard {
    brakes: Mutex<Brakes>,
    clock: Clock,
}

impl Guard {
    /// With what is held since before the start.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn new(config: &Brake, clock: Clock, store: &dyn Store) -> Result<Self> {
        let mut brakes = Brakes::new(config.clone());
        let mut after = None;
        loop {
            let query = ShelfQuery {
                reason: Some(Reason::Held),
                after,
                limit: SHELF_PAGE,
            };
            let page = store.shelf(query).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.record.clone());
            for pending in &page {
                brakes.remember(pending);
            }
        }
        for alarm in brakes.alarms() {
            tell(&alarm);
        }
        Ok(Guard {
            brakes: Mutex::new(brakes),
            clock,
        })
    }

    /// The brakes themselves.
    pub(super) fn brakes(&self) -> MutexGuard<'_, Brakes> {
        // A panic elsewhere leaves counters, not broken state.
        self.brakes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The brakes that are on.
    pub fn alarms(&self) -> Vec<Alarm> {
        self.brakes().alarms()
    }
}

/// What is to be said of a brake that is on.
pub fn finding(alarm: &Alarm) -> Finding {
    let place = match alarm.kind {
        BrakeKind::Deletes => "brake.deletes",
        BrakeKind::Writes => "brake.writes_per_record",
    };
    let (table, code) = (&alarm.table, alarm.kind.code());
    Finding {
        severity: Severity::Problem,
        place: format!("{place} (tables.\"{table}\")"),
        what: alarm.what.clone(),
        remedy: format!(
            "look at `syncline pending list --table {table} --code {code}`; then `syncline pending \
             release --table {table} --code {code}` lets all of it go, `discard` gives it up"
        ),
    }
}

pub(super) fn tell(alarm: &Alarm) {
    let finding = finding(alarm);
    tracing::error!(place = %finding.place, remedy = %finding.remedy, "{}", finding.what);
}
