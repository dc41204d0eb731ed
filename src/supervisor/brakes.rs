//! The brakes in their place: between what a window comes to and what is sent of it.

use super::crew::Crew;
use super::guard::{SHELF_PAGE, tell};
use crate::fault::Result;
use crate::mapping::{Key, ObjectId};
use crate::planning::{BrakeKind, LedgerEntry, Plan, Reason};
use crate::store::ShelfQuery;

/// Records of the ledger looked at in one go.
const PAGE: usize = 5_000;

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
