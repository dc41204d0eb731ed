//! The clocks of both sides, seen from ours: whose change came later is asked across them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::capture::Sql;
use crate::clock::{Clock, Comparison, Lead};
use crate::fault::Result;

/// From here on a person is told.
pub const TELL: Duration = Duration::from_secs(5);

/// What is known of them.
#[derive(Debug, Default)]
pub struct Clocks {
    database: Mutex<Comparison>,
    told: Mutex<bool>,
}

impl Clocks {
    /// Reads the database's clock.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn read(&self, sql: &Sql) -> Result<()> {
        let sent = Clock::System.now();
        let shown = sql.clock().await?;
        let received = Clock::System.now();
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        database.read(shown, shown, sent, received);
        Ok(())
    }

    /// How far the database's clock is ahead of ours.
    pub fn database(&self) -> Option<Lead> {
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        database.lead()
    }

    /// How far the CRM's clock is ahead of the database's, in microseconds, as far as that is certain.
    pub fn difference(&self, crm: Option<Lead>) -> i64 {
        let database = self.database().unwrap_or_default();
        crm.unwrap_or_default().over(&database).certain()
    }

    /// What is added to a time of the database to have it on the CRM's clock, in microseconds. Tells
    /// the log, once, when they are far apart.
    pub fn lead(&self, crm: Option<Lead>) -> i64 {
        let lead = self.difference(crm);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let far = Duration::from_micros(lead.unsigned_abs()) > TELL;
        if far && !*told {
            let seconds = lead / 1_000_000;
            tracing::warn!(
                seconds,
                remedy = "set the clock of the machine that is wrong (NTP)",
                "the CRM's clock and the database's differ: when both sides changed a field their times \
                 are compared with the difference taken off"
            );
        }
        *told = far;
        lead
    }
}
