//! The WAL that the database keeps for us, while the CRM is slow or down (P8).
//!
//! What is behind, in bytes of WAL, is looked at every second. Half of `source.wal_budget` behind, and
//! the CRM failing or we falling back further: everything goes to the shelf, and the slot moves on. It
//! ends when little is behind and the CRM answers; while it does not, it is asked now and then.
//!
//! The other half is for what comes on top: what is written between two looks and while requests under
//! way are waited for (`destination.timeout` at most), and what the slot keeps behind its confirmed
//! position until Postgres looks at it again (15 seconds, or an open transaction).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::clocks::Clocks;
use crate::capture::Sql;
use crate::clock::Clock;
use crate::config;
use crate::planning::Leave;
use crate::sinks::Delivery;

/// How often the slot is looked at. A database can write a large part of the budget in a few seconds.
const LOOK: Duration = Duration::from_secs(1);
/// How often the database's clock is read.
const CLOCK: Duration = Duration::from_secs(30);
/// How often the alarm is raised again.
const ALARM: Duration = Duration::from_secs(30);
/// How often a CRM that fails is asked while nothing else is sent to it.
const ASK: Duration = Duration::from_secs(5);

/// Whether everything is to go to the shelf.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pressure {
    budget: u64,
    on: bool,
    /// What was behind at the last look.
    before: u64,
}

/// What is known at one look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Look {
    /// Bytes of WAL behind what is confirmed.
    pub behind: u64,
    /// Bytes of WAL that the slot keeps.
    pub kept: u64,
    /// The CRM does not answer.
    pub failing: bool,
}

impl Pressure {
    /// For this budget, in bytes.
    pub fn new(budget: u64) -> Self {
        Pressure {
            budget,
            on: false,
            before: 0,
        }
    }

    /// Whether everything is to go to the shelf from now on.
    pub fn judge(&mut self, look: Look) -> bool {
        let falls_back = look.behind >= self.before;
        self.before = look.behind;
        let full = look.kept >= self.budget && look.behind >= self.budget / 4;
        if full || look.behind >= self.budget / 2 && (look.failing || falls_back) {
            self.on = true;
        } else if look.behind < self.budget / 8 && !look.failing {
            self.on = false;
        }
        self.on
    }
}

/// Watches the slot, and closes the gate while it keeps too much WAL; reads the database's clock now and
/// then. Never ends.
pub async fn watch_wal(
    mut sql: Sql,
    source: config::Source,
    delivery: Arc<Delivery>,
    clocks: Arc<Clocks>,
) {
    let mut pressure = Pressure::new(source.wal_budget.0);
    let mut alarmed: Option<Instant> = None;
    let mut clock_read: Option<Instant> = None;
    loop {
        if clock_read.is_none_or(|at| at.elapsed() >= CLOCK) {
            clock_read = Some(Instant::now());
            // What is wrong with the source the replication connection tells.
            let _ = clocks.read(&sql).await;
        }
        sleep(LOOK).await;
        if sql.is_closed() {
            match Sql::connect(sql.conninfo()).await {
                Ok(again) => sql = again,
                // The replication connection tells what is wrong with the source.
                Err(_) => continue,
            }
        }
        let Ok(Some(slot)) = sql.slot(&source.slot).await else {
            continue;
        };
        let kept = slot.retained.unwrap_or(0);
        let between = match (slot.restart_lsn, slot.confirmed_flush_lsn) {
            (Some(restart), Some(confirmed)) => confirmed.0.saturating_sub(restart.0),
            _ => 0,
        };
        let look = Look {
            behind: kept.saturating_sub(between),
            kept,
            failing: delivery.health().failing_for.is_some(),
        };
        let was = delivery.gate().held() == Leave::Nothing;
        let on = pressure.judge(look);
        if on != was {
            delivery.gate().hold(match on {
                true => Leave::Nothing,
                false => Leave::All,
            });
            let (behind_mib, budget_mib) = (look.behind >> 20, source.wal_budget.0 >> 20);
            match on {
                true => tracing::warn!(
                    behind_mib,
                    budget_mib,
                    crm_fails = look.failing,
                    "delivery is behind, and the database keeps WAL for it: changes go to the shelf, so that the slot moves on"
                ),
                false => tracing::info!(
                    behind_mib,
                    budget_mib,
                    "the slot has moved on: changes are sent again"
                ),
            }
        }
        if kept > source.wal_budget.0 && alarmed.is_none_or(|at| at.elapsed() >= ALARM) {
            alarmed = Some(Instant::now());
            tracing::error!(
                slot = %slot.name, kept_mib = kept >> 20, budget_mib = source.wal_budget.0 >> 20,
                "the slot keeps more WAL than source.wal_budget: see why (`syncline status`; a \
                 transaction that is open for long keeps WAL, too) before the database's disk is full"
            );
        }
    }
}

/// Asks the CRM now and then while nothing is sent to it: whether it is back, and whether its daily
/// limit has turned over. Never ends.
pub async fn watch_crm(delivery: Arc<Delivery>, clock: Clock) {
    loop {
        sleep(Duration::from_secs(1)).await;
        match delivery.budget().probe_at() {
            Some(at) => {
                clock.sleep_until(at).await;
                // The answer counts where it is received.
                let _ = delivery.look().await;
            }
            None if delivery.gate().held() == Leave::Nothing
                && delivery.health().failing_for.is_some() =>
            {
                let _ = delivery.look().await;
                sleep(ASK).await;
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_half_the_budget_and_ends_at_an_eighth() {
        let looks = [
            // behind, kept, failing, expected
            (0, 0, false, false),
            (400, 400, true, false),
            (500, 500, true, true),
            (600, 600, true, true),
            (100, 600, true, true),
            (100, 600, false, false),
            // Behind, and catching up by itself.
            (900, 900, false, true),
            (100, 100, false, false),
            (450, 450, false, false),
            (700, 700, false, true),
        ];
        let mut pressure = Pressure::new(1_000);
        for (number, (behind, kept, failing, expected)) in looks.into_iter().enumerate() {
            let look = Look {
                behind,
                kept,
                failing,
            };
            assert_eq!(pressure.judge(look), expected, "look {number}");
        }
    }

    #[test]
    fn who_catches_up_is_left_alone_below_the_budget() {
        let mut pressure = Pressure::new(1_000);
        pressure.before = 990;
        for behind in [950, 900, 800, 600] {
            let look = Look {
                behind,
                kept: behind,
                failing: false,
            };
            assert!(!pressure.judge(look), "{behind}");
        }
    }
}
