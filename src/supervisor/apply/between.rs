//! What happens between two windows: new rules, truncated tables, the account of backfills.

use std::sync::Arc;

use tokio::time::Instant;

use super::super::adapt::{Adapted, Trigger};
use super::super::backfill::job;
use super::super::command::{Command, discard, recreate, release};
use super::super::decide::{Side, decide};
use super::super::flight::Due;
use super::super::intake::Emptied;
use super::super::lost::filters;
use super::super::settle::Settled;
use super::super::truncate::empty;
use super::{Apply, Landed, TELL};
use crate::change::Timestamp;
use crate::fault::Result;
use crate::mapping::{Key, Owner};
use crate::planning::Leave;
use crate::sinks::BoxFuture;
use crate::store::{Job, JobKind};
use crate::supervisor::settle::only_progress;

impl Apply {
    pub(super) fn look_at_crm(&mut self) {
        let asked = |t: &Trigger| matches!(t, Trigger::Crm);
        if !self.triggers.iter().any(asked) {
            self.triggers.push_back(Trigger::Crm);
        }
    }

    /// A person has decided: it is done when its turn comes, and the rule that follows is made.
    pub(super) fn decide(&mut self, mut decision: Command) {
        if let Command::Decide { side, always, .. } = &mut decision
            && !always.is_empty()
        {
            let owner = match side {
                Side::Source => Owner::Source,
                Side::Crm => Owner::Crm,
            };
            let fields = std::mem::take(always);
            self.triggers.push_back(Trigger::Owners(fields, owner));
        }
        self.discards.push(decision);
    }

    /// Takes the rules in force.
    pub(super) fn follow(&mut self) {
        let (mapping, objects) = (self.adapter.mapping(), self.adapter.objects());
        self.crew.objects = Arc::clone(objects);
        let high = objects.high.len();
        self.crew.delivery.budget().high_objects(high);
        if self.backfill.follow(mapping, objects, self.clock.now()) {
            self.intake.untrack();
        }
        self.status.rules(&self.adapter);
        self.tell();
    }

    /// Live changes are not late: existing rows may be read.
    pub(super) fn is_calm(&self) -> bool {
        let free = self.deferring.leave == Leave::All;
        if !self.intake.is_hungry() || self.intake.is_again() || !free {
            return false;
        }
        let now = self.clock.now();
        let late = |since: Timestamp| now.since(since) > self.backfill.patience();
        !self.intake.oldest.is_some_and(late) && !self.status.under_way().is_some_and(late)
    }

    /// Shows how the backfills go.
    pub(super) fn tell(&mut self) {
        self.status.backfills(&self.backfill);
        if self.told.elapsed() >= TELL {
            self.told = Instant::now();
            self.status.tell_backfills();
        }
    }

    /// A look at either side's schema whose place in the stream has come.
    pub(super) fn due_trigger(&mut self) -> Option<Trigger> {
        let place = self.triggers.iter().position(|t| self.is_due(t))?;
        self.triggers.remove(place)
    }

    pub(super) fn is_due(&self, trigger: &Trigger) -> bool {
        match trigger {
            Trigger::Catalog(catalog) => self.progress.checkpoint >= catalog.lsn,
            Trigger::News(_) | Trigger::Owners(..) => true,
            // While nothing may be sent, nothing is asked either.
            Trigger::Crm => self.deferring.leave == Leave::All,
        }
    }

    /// What stands alone between two windows, if that is where we are.
    pub(super) fn between(&mut self) -> Option<BoxFuture<'static, Result<Landed>>> {
        if self.intake.is_again() {
            return None;
        }
        if self.window.is_empty() {
            if let Some(emptied) = self.intake.take_truncate() {
                return Some(self.run_truncate(emptied));
            }
            if let Some(news) = self.intake.take_news() {
                return Some(self.run_adapt(Trigger::News(news)));
            }
            if self.intake.take_stop()
                && let Some(trigger) = self.due_trigger()
            {
                return Some(self.run_adapt(trigger));
            }
        }
        None
    }

    /// What follows is mapped by the new rules: nothing is taken until they are there.
    pub(super) fn run_adapt(&mut self, trigger: Trigger) -> BoxFuture<'static, Result<Landed>> {
        self.adapting = true;
        let adapter = Arc::clone(&self.adapter);
        let (progress, now) = (self.progress, self.clock.now());
        Box::pin(async move {
            Ok(match adapter.adapt(trigger, now).await? {
                Some(adapted) => Landed::Adapted(Box::new(adapted)),
                None => Landed::Settled {
                    progress,
                    due: Due::default(),
                    piece: None,
                    next: None,
                },
            })
        })
    }

    /// New rules: from here on they hold, and are stored before anything is sent by them.
    pub(super) fn adopt(&mut self, adapted: Adapted) -> BoxFuture<'static, Result<Landed>> {
        let versions = adapted.versions.iter();
        let versions: Vec<_> = versions.map(|v| (v.from, v.table.clone())).collect();
        let mapping = Arc::clone(adapted.adapter.mapping());
        self.intake.adapt(mapping, versions, adapted.types);
        self.adapter = adapted.adapter;
        self.status.changed(&adapted.changes);
        for (table, job) in adapted.jobs {
            self.backfill.add(&table, job);
        }
        self.rescan |= adapted.mended;
        self.mended |= adapted.mended;
        self.follow();
        let mut settlement = only_progress(self.progress);
        settlement.schemas = adapted.versions;
        settlement.fields = adapted.fields;
        settlement.loads = self.backfill.unsaved();
        self.run_settlement(
            Settled {
                settlement,
                ..Settled::default()
            },
            None,
        )
    }

    /// What the settlement of a page changes in its backfill.
    pub(super) fn account(&mut self, settled: &mut Settled) {
        if let Some((page, rows)) = settled.page.take() {
            let load = self.backfill.settled(&page, rows);
            settled.settlement.loads.extend(load);
            self.tell();
        }
        self.read_again(std::mem::take(&mut settled.reread));
        self.status.alarms(self.crew.guard.alarms());
        settled.settlement.loads.extend(self.backfill.unsaved());
        self.defer(settled);
        if settled.schema_hint {
            self.look_at_crm();
        }
    }

    /// These rows are read from the database again, beside the stream.
    pub(super) fn read_again(&mut self, rows: Vec<(Box<str>, Key)>) {
        for (table, filter) in filters(self.adapter.mapping(), rows) {
            let asked = Job {
                filter: Some(filter),
                ..job(JobKind::Asked, self.clock.now())
            };
            self.backfill.ask(&table, asked);
        }
    }

    pub(super) fn run_truncate(&self, emptied: Emptied) -> BoxFuture<'static, Result<Landed>> {
        let crew = self.crew.clone();
        let status = Arc::clone(&self.status);
        let (progress, clock) = (self.progress, self.clock.clone());
        Box::pin(async move {
            let progress = empty(&crew, &status, emptied, progress, &clock).await?;
            Ok(Landed::Settled {
                progress,
                due: Due::default(),
                piece: None,
                next: None,
            })
        })
    }

    pub(super) fn run_rescan(&mut self) -> BoxFuture<'static, Result<Landed>> {
        self.rescan = false;
        let mended = std::mem::take(&mut self.mended);
        let crew = self.crew.clone();
        let progress = self.progress;
        Box::pin(async move {
            Ok(Landed::Settled {
                progress,
                due: crew.due(mended).await?,
                piece: None,
                next: None,
            })
        })
    }

    pub(super) fn run_discard(&self, command: Command) -> BoxFuture<'static, Result<Landed>> {
        let crew = self.crew.clone();
        let status = Arc::clone(&self.status);
        let progress = self.progress;
        Box::pin(async move {
            let due = match command {
                Command::Decide {
                    records,
                    side,
                    reply,
                    ..
                } => {
                    let (found, records) = decide(&crew, &status, &records, side, progress).await?;
                    // The asker may have gone; the work is done all the same.
                    let _ = reply.send(Ok(found));
                    Due {
                        records,
                        ..Due::default()
                    }
                }
                Command::Release { .. } => release(&crew, &status, command, progress).await?,
                Command::Recreate { .. } => recreate(&crew, &status, command, progress).await?,
                _ => {
                    let due = discard(&*crew.store, &status, command, progress).await?;
                    crew.loosen().await?;
                    due
                }
            };
            status.alarms(crew.guard.alarms());
            Ok(Landed::Settled {
                progress,
                due,
                piece: None,
                next: None,
            })
        })
    }
}
