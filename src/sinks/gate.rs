//! What may be sent to the CRM now, and why not all of it.
//!
//! Two things close it: the budget of requests, and the WAL that the database keeps while the CRM is
//! slow or down. Whoever waits to send while it is closed gives up, and the records go to the shelf.

use std::future::Future;

use tokio::sync::watch;

use super::budget::{Budget, Degree};
use crate::planning::Leave;

/// What may be sent.
#[derive(Debug)]
pub struct Gate {
    budget: Budget,
    /// No more than this, whatever the budget says: nothing while the slot keeps too much WAL.
    most: watch::Sender<Leave>,
}

impl Gate {
    pub(super) fn new(budget: Budget) -> Self {
        Gate {
            budget,
            most: watch::Sender::new(Leave::All),
        }
    }

    /// The budget of requests.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// What may be sent now.
    pub fn leave(&self) -> Leave {
        match *self.most.borrow() {
            Leave::Nothing => Leave::Nothing,
            most => most.min(self.budget.leave()),
        }
    }

    /// No more than this may be sent from now on.
    pub fn hold(&self, most: Leave) {
        self.most.send_replace(most);
    }

    /// What was said last.
    pub fn held(&self) -> Leave {
        *self.most.borrow()
    }

    /// Waits until nothing may be sent.
    pub(super) async fn closed(&self) {
        let mut most = self.most.subscribe();
        let mut budget = self.budget.watch();
        tokio::select! {
            biased;
            // The senders are ours: they do not go away.
            _ = most.wait_for(|most| *most == Leave::Nothing) => {}
            _ = budget.wait_for(|degree| *degree == Degree::Stop) => {}
        }
    }

    /// Does something that can be dropped, unless nothing may be sent (any more).
    pub async fn unless_closed<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.closed() => None,
            done = work => Some(done),
        }
    }

    /// Waits until the budget allows requests at all.
    pub(super) async fn affordable(&self) {
        loop {
            if self.budget.degree() != Degree::Stop {
                return;
            }
            // It opens as time goes by, too.
            let mut budget = self.budget.watch();
            tokio::select! {
                biased;
                _ = budget.wait_for(|degree| *degree != Degree::Stop) => {}
                () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {}
            }
        }
    }
}
