//! What is deferred and what comes back: the gate to the CRM, seen from between two windows.
//!
//! ```text
//!            the gate closes                      it opens
//!   all ───────────────────────► high / nothing ───────────► a round over the shelf, then all
//!                                     │
//!                                     └─ urgent: records of a high priority, one by one, each in its
//!                                        turn; and those that they wait for
//! ```
//!
//! While it is closed windows go their way as ever, only that their operations end on the shelf: the
//! slot moves on.

use std::collections::BTreeSet;

use super::super::drain::{Piece, Round};
use super::super::flight::{Due, MOST_DUE};
use super::super::settle::Settled;
use super::{Apply, Landed};
use crate::change::Timestamp;
use crate::fault::Result;
use crate::mapping::RecordId;
use crate::planning::{Deferral, Leave, Reason, TRANSACTION_OPEN, Window};
use crate::sinks::{BoxFuture, is_in_the_way};

/// What is deferred.
#[derive(Debug, Default)]
pub(super) struct Deferring {
    /// What may be sent, as last seen.
    pub(super) leave: Leave,
    /// How the window that is about to be sent is thinned out.
    pub(super) next: Deferral,
    /// Records on the shelf that have a high priority, or may have.
    urgent: BTreeSet<RecordId>,
    /// Records on the shelf that such wait for.
    asked: BTreeSet<RecordId>,
    /// Those of them that are under way.
    under_way: BTreeSet<RecordId>,
    /// The round over what was deferred, where it goes on; `None`: there is none.
    round: Option<Round>,
    /// That a piece of it is being looked for.
    looking: bool,
    /// Something was deferred since it began.
    behind: bool,
    /// Records that were refused during the round because of others, which may have made room by its
    /// end: the order of changes of different records is not kept on the shelf.
    obstructed: BTreeSet<RecordId>,
    /// Deletes on the shelf wait for a Commit.
    awaits_commit: bool,
    /// Those of them that may have a high priority.
    open: BTreeSet<RecordId>,
    /// A round goes on, or what it found is still being sent.
    drains: bool,
    /// All of it has been taken.
    ends: bool,
}

impl Deferring {
    /// What the shelf holds at the start.
    pub(super) fn begin(&mut self, urgent: Vec<RecordId>) {
        self.urgent.extend(urgent);
        self.round = Some(Round::default());
    }

    /// More of the stream is known whole: what waited for that may go.
    pub(super) fn committed(&mut self) {
        self.behind |= std::mem::take(&mut self.awaits_commit);
        self.urgent.append(&mut self.open);
    }
}

impl Apply {
    /// Sees whether the gate has opened or closed.
    pub(super) fn look_at_gate(&mut self) {
        let leave = self.crew.delivery.gate().leave();
        let was = std::mem::replace(&mut self.deferring.leave, leave);
        if leave == Leave::All && was != Leave::All {
            self.deferring.round = Some(Round::default());
            self.deferring.behind = false;
            tracing::info!("what was deferred is sent now");
        }
        let budget = self.crew.delivery.budget();
        self.intake.stretch(budget.stretch());
    }

    /// The changes of the window have waited for others long enough.
    pub(super) fn has_lingered(&self) -> bool {
        if self.window.is_quiet() {
            return false;
        }
        let now = self.clock.now();
        self.filling_since.is_some_and(|since| {
            // A clock that was set back must not make them wait.
            now < since || now.since(since) >= self.linger()
        })
    }

    fn linger(&self) -> std::time::Duration {
        match self.deferring.leave {
            Leave::All => self.crew.delivery.budget().linger(self.pace.linger),
            _ => self.pace.linger,
        }
    }

    /// When to look again, by the clock.
    pub(super) fn later(&self, flying: bool) -> Option<Timestamp> {
        if flying || self.intake.is_replaying() {
            return None;
        }
        let linger = self.filling_since.map(|since| since.after(self.linger()));
        let urgent = match self.deferring.leave {
            Leave::High if !self.deferring.urgent.is_empty() => {
                Some(self.crew.delivery.budget().high_at())
            }
            _ => None,
        };
        // The gate opens as time goes by, too.
        let gate = (self.deferring.leave < Leave::All)
            .then(|| self.clock.now().after(std::time::Duration::from_secs(1)));
        [linger, urgent, gate].into_iter().flatten().min()
    }

    /// Something on the shelf is to be sent now.
    pub(super) fn takes_from_shelf(&self) -> bool {
        if self.intake.is_again() {
            return false;
        }
        match self.deferring.leave {
            Leave::All => !self.due.is_empty() || !self.deferring.urgent.is_empty(),
            Leave::High => self.is_turn(),
            Leave::Nothing => false,
        }
    }

    /// It is the turn of what has a high priority.
    fn is_turn(&self) -> bool {
        let deferring = &self.deferring;
        let due = self.clock.now() >= self.crew.delivery.budget().high_at();
        !deferring.asked.is_empty() || !deferring.urgent.is_empty() && due
    }

    /// How the next window is thinned out.
    pub(super) fn deferral(&self) -> Deferral {
        let leave = self.deferring.leave;
        let due = self.clock.now() >= self.crew.delivery.budget().high_at();
        Deferral {
            leave: match leave {
                // What came now waits for its turn, so that it travels with others.
                Leave::High if !due && self.deferring.asked.is_empty() => Leave::Nothing,
                other => other,
            },
            asked: self.deferring.asked.iter().cloned().collect(),
        }
    }

    /// Records of the shelf that travel with the window.
    pub(super) fn take_from_shelf(&mut self, window: &mut Window) {
        // A window that is sent again has nothing more in it than the first time.
        if self.intake.is_again() {
            return;
        }
        let mut room = self.pace.shelf_rows.saturating_sub(window.shelf.len());
        let deferring = &mut self.deferring;
        deferring.under_way.clear();
        let mut take = |from: &mut BTreeSet<RecordId>, kept: Option<&mut BTreeSet<RecordId>>| {
            let mut taken = Vec::new();
            while taken.len() < room {
                let Some(record) = from.pop_first() else {
                    break;
                };
                taken.push(record);
            }
            room -= taken.len();
            if let Some(kept) = kept {
                kept.extend(taken.iter().cloned());
            }
            window.shelf.extend(taken);
        };
        if deferring.next.leave >= Leave::High {
            take(&mut deferring.asked, Some(&mut deferring.under_way));
            take(&mut deferring.urgent, None);
        }
        if deferring.next.leave == Leave::All {
            let taken = self.due.len().min(room);
            window.shelf.extend(self.due.drain(..taken));
        }
    }

    /// What a window left on the shelf that is not to wait for a round.
    pub(super) fn defer(&mut self, settled: &mut Settled) {
        let deferring = &mut self.deferring;
        deferring.urgent.extend(settled.urgent.drain(..));
        deferring.asked.extend(settled.asked.drain(..));
        let given_up = |reason| reason == Reason::Deferred;
        for pending in &settled.settlement.shelved {
            if given_up(pending.reason) && deferring.under_way.contains(&pending.record) {
                deferring.asked.insert(pending.record.clone());
            }
        }
        deferring.under_way.clear();
        deferring.awaits_commit |= settled.awaits_commit;
        if settled.awaits_commit {
            let high = &self.crew.objects.high;
            let open = settled.settlement.shelved.iter().filter(|p| {
                let fault = p.fault.as_ref();
                fault.is_some_and(|f| f.code == TRANSACTION_OPEN)
                    && high.contains_key(&p.record.object)
            });
            let room = MOST_DUE.saturating_sub(deferring.open.len());
            deferring
                .open
                .extend(open.take(room).map(|p| p.record.clone()));
        }
        if deferring.drains {
            let refused = settled.settlement.shelved.iter().filter(|p| {
                let fault = p.fault.as_ref();
                p.reason == Reason::DeadLetter && fault.is_some_and(is_in_the_way)
            });
            let room = MOST_DUE.saturating_sub(deferring.obstructed.len());
            deferring
                .obstructed
                .extend(refused.take(room).map(|p| p.record.clone()));
        }
        // The gate may have been closed for a moment only.
        self.deferring.behind |= settled.deferred;
    }

    /// What was waited for is there: while not everything is sent, those of a high priority among
    /// those who waited are found when they are tried.
    pub(super) fn released(&mut self, due: &Due) {
        if self.deferring.leave == Leave::High && !self.crew.objects.high.is_empty() {
            self.deferring.urgent.extend(due.records.iter().cloned());
        }
    }

    /// The piece of the round to be looked for now.
    pub(super) fn next_piece(&mut self) -> Option<Round> {
        let deferring = &mut self.deferring;
        let wanted = deferring.leave == Leave::All
            && !deferring.looking
            && self.due.len() < self.pace.shelf_rows
            && !self.intake.is_again();
        if wanted && deferring.round.is_none() {
            if std::mem::take(&mut deferring.behind) {
                deferring.round = Some(Round::default());
            } else if deferring.drains && self.due.is_empty() {
                if deferring.ends {
                    // Once more for those whom others were in the way of.
                    deferring.drains = false;
                    let obstructed = std::mem::take(&mut deferring.obstructed);
                    self.due.extend(obstructed);
                }
                // Otherwise the last of it is about to be sent.
                deferring.ends = !deferring.ends;
            }
        }
        deferring.drains |= deferring.round.is_some();
        let round = deferring.round.take_if(|_| wanted)?;
        deferring.looking = true;
        Some(round)
    }

    /// A piece of the round is here.
    pub(super) fn drained(&mut self, piece: Option<Piece>) {
        let Some(piece) = piece else { return };
        self.deferring.looking = false;
        self.due.extend(piece.records);
        if self.deferring.round.is_none() {
            self.deferring.round = piece.next;
        }
    }

    /// Looks for the next piece while there is nothing else to do.
    pub(super) fn run_round(&mut self) -> Option<BoxFuture<'static, Result<Landed>>> {
        let Some(round) = self.next_piece() else {
            // It may have brought something to send.
            return match self.takes_from_shelf() {
                true => self.launch(None),
                false => None,
            };
        };
        let crew = self.crew.clone();
        let progress = self.progress;
        Some(Box::pin(async move {
            Ok(Landed::Settled {
                progress,
                due: Due::default(),
                piece: Some(crew.deferred(round).await?),
                next: None,
            })
        }))
    }
}
