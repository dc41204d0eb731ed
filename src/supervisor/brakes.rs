//! The brakes in their place: between what a window comes to and what is sent of it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::flight::Crew;
use crate::change::Timestamp;
use crate::clock::Clock;
use crate::config::Brake;
use crate::fault::{Finding, Result, Severity};
use crate::mapping::{Key, ObjectId};
use crate::planning::{Alarm, BrakeKind, Brakes, LedgerEntry, Plan, Reason};
use crate::store::{ShelfQuery, Store};

/// Records of the ledger looked at in one go.
const PAGE: usize = 5_000;
/// Shelf entries looked at in one go.
const SHELF_PAGE: usize = 500;

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

impl Crew {
    /// Holds what is too much of a decided plan.
    pub(super) async fn brake(&self, plan: &mut Plan) -> Result<()> {
        let now = self.guard.now();
        let unknown = self.guard.brakes().unknown_sizes(plan, now);
        for object in unknown {
            let records = self.records(object).await?;
            self.guard.brakes().size(object, records, now);
        }
        let alarms = self.guard.brakes().hold(plan, &self.objects, now);
        for alarm in &alarms {
            tell(alarm);
        }
        Ok(())
    }

    /// Records of an object that the CRM has, as far as we know.
    async fn records(&self, object: ObjectId) -> Result<u64> {
        let mut records = 0;
        let mut after: Option<Key> = None;
        loop {
            let page = self.store.ledger_page(object, after, PAGE).await?;
            let Some((last, _)) = page.last() else {
                return Ok(records);
            };
            after = Some(last.key.clone());
            let there = page
                .iter()
                .filter(|(_, ledger)| LedgerEntry::exists(ledger));
            records += there.count() as u64;
        }
    }

    /// Brakes under which nothing is held any more come off.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn loosen(&self) -> Result<()> {
        let mut on = self.guard.brakes().on();
        let mut after = None;
        while !on.is_empty() {
            let query = ShelfQuery {
                reason: Some(Reason::Held),
                after,
                limit: SHELF_PAGE,
            };
            let page = self.store.shelf(query).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.record.clone());
            for pending in &page {
                let kind = pending.fault.as_ref().and_then(|f| BrakeKind::of(&f.code));
                on.retain(|(object, k)| Some(*k) != kind || *object != pending.record.object);
            }
        }
        for (object, kind) in on {
            self.guard.brakes().off(object, kind);
        }
        Ok(())
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

fn tell(alarm: &Alarm) {
    let finding = finding(alarm);
    tracing::error!(place = %finding.place, remedy = %finding.remedy, "{}", finding.what);
}
