//! What a person, or the watch over the schemas, asks of the loop.

use super::super::adapt::Trigger;
use super::super::backfill::job;
use super::super::command::Command;
use super::Apply;
use crate::planning::Leave;
use crate::store::{Job, JobKind};

impl Apply {
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Retry { records, reply } => {
                let count = records.len();
                self.due.extend(records);
                // The asker may have gone; the work is done all the same.
                let _ = reply.send(Ok(count));
            }
            Command::Backfill {
                table,
                column,
                filter,
                reply,
            } => {
                let job = Job {
                    column,
                    filter,
                    ..job(JobKind::Asked, self.clock.now())
                };
                self.backfill.ask(&table, job);
                self.tell();
                self.askers.push((reply, 1));
            }
            Command::CancelBackfill { table, reply } => {
                let cancelled = self.backfill.cancel(&table);
                self.tell();
                self.askers.push((reply, usize::from(cancelled)));
            }
            Command::Catalog(catalog) => {
                // One waits for its place in the stream at a time: the next look brings the rest.
                let waits = |t: &Trigger| matches!(t, Trigger::Catalog(_));
                if !self.triggers.iter().any(waits) {
                    self.triggers.push_back(Trigger::Catalog(catalog));
                }
            }
            // It costs requests that others may need more.
            Command::LookAtCrm if self.deferring.leave < Leave::All => {}
            Command::LookAtCrm => self.look_at_crm(),
            asked @ (Command::Discard { .. }
            | Command::Release { .. }
            | Command::Recreate { .. }) => self.discards.push(asked),
            decision @ Command::Decide { .. } => self.decide(decision),
        }
    }
}
