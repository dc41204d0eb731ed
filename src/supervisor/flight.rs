//! One window on its way: what the store knows of its records, the plan, stage after stage.

use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::bulk::Journal;
use super::crew::{Crew, set, stopped};
use super::look::contested;
use super::lost::LATER;
use super::settle::{Delivered, Extent, Fate, Lost, intent};
use crate::fault::{Error, ErrorKind, Result};
use crate::mapping::{Action, Assigned, Assignment, FieldValue, Key, RecordId};
use crate::planning::{
    self, BatchAction, Course, Cut, Deferral, Entry, Existence, Lanes, Leave, LedgerEntry, Pending,
    Plan, Reason, Room, Sent, States, Window,
};
use crate::sinks::{Outcome, hints_at_schema};
use crate::store::{BulkPage, Progress, Settlement, ShelfQuery};

/// Most looks at parents that the CRM said are missing, while people delete what was just found.
const PARENT_ROUNDS: usize = 4;

impl Crew {
    /// Plans and delivers a window. Dropped halfway, it leaves nothing behind but requests that may
    /// or may not have been carried out, as its intent says.
    pub async fn fly(
        &self,
        mut window: Window,
        progress: Progress,
        shelf_in_use: bool,
        deferral: Deferral,
    ) -> Result<Delivered> {
        let intent = intent(&window, progress);
        let page = window.page.as_ref().map(|page| BulkPage {
            table: page.table.to_string(),
            rows: page.rows,
        });
        let extent = Extent {
            until: window.until,
            checkpoint: window.checkpoint,
            verdicts: std::mem::take(&mut window.verdicts),
            page: window.page.take(),
        };
        let states = self.states(&window, shelf_in_use).await?;
        let through = window
            .checkpoint
            .unwrap_or_default()
            .max(progress.checkpoint);
        let mut plan = planning::decided(window, &states, &self.objects);
        planning::wait_for_commit(&mut plan, &self.objects, through);
        self.brake(&mut plan).await?;
        planning::ordered(&mut plan, &states, &self.objects);
        planning::defer(&mut plan, &states, &self.objects, &deferral);
        self.judge(&mut plan, &states, &deferral).await?;
        // Sent again a window is made of the same changes, but a page is read anew: a row may be gone by
        // then, and what referred to it waits. A delete from the shelf may have a later change to go
        // with. Until this window is settled, the ledger claims nothing of either.
        let ledger: Vec<_> = match page {
            Some(_) => plan.entries.iter().flat_map(uncertain).collect(),
            None => plan.entries.iter().filter_map(doubtful_delete).collect(),
        };
        if !ledger.is_empty() {
            let doubt = Settlement {
                progress,
                ledger,
                intent: Some(intent.clone()),
                ..Settlement::default()
            };
            self.store.settle(doubt).await?;
        }
        let journal = Journal {
            progress,
            intent: Some(intent),
            page,
            ..Journal::default()
        };
        self.send(plan, extent, journal).await
    }

    /// Leaves people what is theirs, by what the CRM holds of the records that are to be sent, and
    /// orders the rest anew. Where nothing may be sent any more, nothing is.
    pub(super) async fn judge(
        &self,
        plan: &mut Plan,
        states: &States,
        deferral: &Deferral,
    ) -> Result<()> {
        let mut first = 0;
        loop {
            let all = plan.entries.len();
            let which: Vec<usize> = contested(&plan.entries, first, &self.objects);
            if which.is_empty() {
                return Ok(());
            }
            if !self.look_while_open(plan, which).await? {
                let nothing = Deferral {
                    leave: Leave::Nothing,
                    ..Deferral::default()
                };
                planning::defer(plan, states, &self.objects, &nothing);
                return Ok(());
            }
            planning::ordered(plan, states, &self.objects);
            // What breaks a circle is taken from the shelf.
            if plan.entries.len() == all {
                return Ok(());
            }
            planning::defer(plan, states, &self.objects, deferral);
            first = all;
        }
    }

    /// The state of every record that the window's plan can depend on.
    pub async fn states(&self, window: &Window, shelf_in_use: bool) -> Result<States> {
        let mut states = States::new();
        loop {
            let wanted = planning::needed(window, &states, &self.objects, shelf_in_use);
            if wanted.is_empty() {
                return Ok(states);
            }
            let found = self.store.records(&wanted).await?;
            states.extend(wanted.into_iter().zip(found));
        }
    }

    /// Sends a plan. `journal`: what is on disk of it.
    pub async fn send(
        &self,
        mut plan: Plan,
        extent: Extent,
        mut journal: Journal,
    ) -> Result<Delivered> {
        let mut fates: Vec<Fate> = Vec::new();
        fates.resize_with(plan.entries.len(), Fate::default);
        let mut lost = Vec::new();
        let mut renewed = Vec::new();
        if self.old_jobs.are_left() && plan.entries.iter().any(Entry::is_sent) {
            let ended = self.end_old_jobs();
            match self.delivery.gate().unless_closed(ended).await {
                Some(ended) => drop(ended?),
                None => journal.left = true,
            }
        }
        for stage in std::mem::take(&mut plan.stages) {
            let mut ready = Vec::with_capacity(stage.len());
            for index in stage {
                match failed_parent(&plan, &fates, index) {
                    Some(parent) => set(&mut fates, index, Fate::Waits(parent)),
                    None => ready.push(index),
                }
            }
            let rest = self.by_jobs(&plan, &ready, &mut fates, &mut journal);
            let rest = rest.await?;
            if journal.left {
                let doubt = plan.again;
                for index in rest {
                    set(
                        &mut fates,
                        index,
                        Fate::Answered(Outcome::Deferred { doubt }),
                    );
                }
                continue;
            }
            self.send_stage(&mut plan, &rest, &mut fates, &mut lost, &mut renewed)
                .await?;
            journal.stage += 1;
        }
        for _ in 0..PARENT_ROUNDS {
            let again =
                self.missing_parents(&mut plan, &mut fates, &mut lost, &mut renewed, journal.left);
            if !again.await? {
                break;
            }
        }
        let high = plan.entries.iter().zip(&fates).filter(|(entry, fate)| {
            let Course::Send(fields) = &entry.course else {
                return false;
            };
            let sent = !matches!(fate, Fate::Answered(Outcome::Deferred { .. }));
            sent && self.objects.is_high(entry.operation.target.id, fields)
        });
        self.delivery.budget().sent_high(high.count());
        Ok(Delivered {
            extent,
            plan,
            fates,
            lost,
            jobs: journal.ended,
        })
    }

    async fn send_stage(
        &self,
        plan: &mut Plan,
        stage: &[usize],
        fates: &mut [Fate],
        lost: &mut Vec<Lost>,
        renewed: &mut Vec<usize>,
    ) -> Result<()> {
        let mut absent = Vec::new();
        for (index, outcome) in self.write(plan, stage).await? {
            let action = plan.entries.get(index).map(|e| &e.operation.action);
            let arrives = matches!(action, Some(Action::ReKey { .. } | Action::Upsert));
            if outcome == Outcome::Absent && arrives {
                absent.push(index);
            } else {
                set(fates, index, Fate::Answered(outcome));
            }
        }
        self.restore(plan, &absent, fates, lost, renewed).await
    }

    /// Writes these entries. Where a person was faster, it is judged by what that person wrote.
    pub(super) async fn write(
        &self,
        plan: &mut Plan,
        which: &[usize],
    ) -> Result<Vec<(usize, Outcome)>> {
        let mut answers = Vec::with_capacity(which.len());
        let mut sending = which.to_vec();
        for round in 1..=ROUNDS {
            let mut overtaken = Vec::new();
            let cuts = self.cut(&plan.entries, &sending);
            self.send_batches(cuts, plan.sent(), |index, outcome| match outcome {
                Outcome::Overtaken if round < ROUNDS => overtaken.push(index),
                outcome => answers.push((index, outcome)),
            })
            .await?;
            if overtaken.is_empty() {
                break;
            }
            overtaken.sort_unstable();
            if !self.look_while_open(plan, overtaken.clone()).await? {
                answers.extend(overtaken.into_iter().map(|index| (index, LATER)));
                break;
            }
            sending = overtaken;
        }
        Ok(answers)
    }

    pub(super) fn cut(&self, entries: &[Entry], stage: &[usize]) -> Vec<Cut> {
        let limits = self.delivery.limits();
        let room = Room {
            records: limits.records,
            guarded: limits.guarded,
            bytes: limits.bytes,
            locks: &|object| self.delivery.locks_parents(object),
        };
        self.stamp(planning::cut(entries, stage, &room), entries)
    }

    /// Writes the position along, where a field is there for it.
    pub(super) fn stamp(&self, mut cuts: Vec<Cut>, entries: &[Entry]) -> Vec<Cut> {
        for cut in &mut cuts {
            let removes = matches!(cut.batch.action, BatchAction::Delete { .. });
            let Some(slot) = cut.batch.target.version.filter(|_| !removes) else {
                continue;
            };
            for (write, place) in cut.batch.writes.iter_mut().zip(&cut.places) {
                let Some(entry) = entries.get(*place) else {
                    continue;
                };
                let version = self.origin.version(entry.operation.position);
                let fields = Arc::make_mut(&mut write.fields);
                let at = fields.partition_point(|f| f.slot < slot);
                fields.insert(
                    at,
                    Assigned {
                        slot,
                        assignment: Assignment::Set(FieldValue::Text(version.into())),
                    },
                );
            }
        }
        cuts
    }

    /// Sends batches at once, but for those that lock a record in common. `sent`: whether they may have
    /// been sent before.
    pub(super) async fn send_batches(
        &self,
        mut cuts: Vec<Cut>,
        sent: Sent,
        mut each: impl FnMut(usize, Outcome),
    ) -> Result<()> {
        let locks = cuts.iter_mut().map(|cut| std::mem::take(&mut cut.locks));
        let mut lanes = Lanes::new(locks.collect());
        let mut waiting: Vec<Option<Cut>> = cuts.into_iter().map(Some).collect();
        let mut requests = FuturesUnordered::new();
        loop {
            while let Some(lane) = lanes.start() {
                let Some(cut) = waiting.get_mut(lane).and_then(Option::take) else {
                    continue;
                };
                requests.push(async move {
                    let answer = match sent {
                        Sent::Not => self.delivery.deliver(cut.batch).await,
                        Sent::Maybe { clings } => {
                            self.delivery.deliver_again(cut.batch, clings).await
                        }
                    };
                    (answer, cut.places, lane)
                });
            }
            let Some((answer, places, lane)) = requests.next().await else {
                return Ok(());
            };
            lanes.end(lane);
            let outcomes = answer.map_err(stopped)?;
            let sent = places.len();
            if outcomes.len() != sent {
                return Err(Error::new(
                    ErrorKind::DestinationUnreachable,
                    format!("the CRM answered for {} of {sent} records", outcomes.len()),
                ));
            }
            for (index, outcome) in places.into_iter().zip(outcomes) {
                each(index, outcome);
            }
        }
    }
}

/// Shelf records whose turn it is.
#[derive(Debug, Default)]
pub struct Due {
    /// Which.
    pub records: Vec<RecordId>,
    /// There are more than were asked for.
    pub more: bool,
    /// Rows to be read again, by the table's name in the configuration and the external id.
    pub reread: Vec<(Box<str>, Key)>,
}

/// Most times that a write is tried whose record people change again and again meanwhile.
const ROUNDS: usize = 10;
/// Most shelf records that are kept in memory as due.
pub(super) const MOST_DUE: usize = 10_000;
/// Shelf entries looked at in one go.
pub(super) const PAGE: usize = 500;

impl Crew {
    /// All shelf records whose turn it is: those that wait for nothing that is still to come, and, where
    /// a schema may have been `mended`, those that were held or refused for it. (Deferred ones are
    /// drained: see [`super::drain`].)
    pub async fn due(&self, mended: bool) -> Result<Due> {
        let mut due = Due::default();
        let reasons: &[Reason] = match mended {
            true => &[Reason::Waiting, Reason::Held, Reason::DeadLetter],
            false => &[Reason::Waiting],
        };
        for reason in reasons.iter().copied() {
            let mut after = None;
            loop {
                let query = ShelfQuery {
                    reason: Some(reason),
                    after,
                    limit: PAGE,
                };
                let page = self.store.shelf(query).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.record.clone());
                let page = match reason {
                    Reason::Held | Reason::DeadLetter => {
                        page.into_iter().filter(of_schema).collect()
                    }
                    _ => page,
                };
                self.pick(page, &mut due).await?;
                if due.more {
                    return Ok(due);
                }
            }
        }
        Ok(due)
    }

    /// What may be tried now that these records exist, or are off the shelf.
    pub async fn released_by(&self, records: &[RecordId]) -> Result<Due> {
        let mut due = Due::default();
        for record in records {
            let left = MOST_DUE.saturating_sub(due.records.len());
            let waiting = self.store.waiting_for(record, left + 1).await?;
            due.more |= waiting.len() > left;
            due.records.extend(waiting.into_iter().take(left));
        }
        Ok(due)
    }

    /// It waits for this record as a parent. (What waits for an external id waits for a re-key, and for
    /// nothing once that is off the shelf, whatever became of it.)
    fn refers(&self, pending: &Pending, parent: &RecordId) -> bool {
        let target = self.objects.targets.get(&pending.record.object);
        let operation = target.and_then(|target| pending.to_operation(target));
        operation.is_some_and(|o| planning::parents(&o, &o.fields).any(|p| p == *parent))
    }

    async fn pick(&self, page: Vec<Pending>, due: &mut Due) -> Result<()> {
        let holders: Vec<RecordId> = page.iter().filter_map(|p| p.waits_for.clone()).collect();
        let states = self.store.records(&holders).await?;
        let states: States = holders.into_iter().zip(states).collect();
        for pending in page {
            let waits = planning::rekey_from(&pending, &states).is_some()
                || pending
                    .waits_for
                    .as_ref()
                    .filter(|w| **w != pending.record)
                    .is_some_and(|parent| {
                        let there = states.get(parent).and_then(|s| s.ledger.as_ref());
                        self.refers(&pending, parent) && !there.is_some_and(|l| l.exists())
                    });
            if waits {
                continue;
            }
            if due.records.len() >= MOST_DUE {
                due.more = true;
                return Ok(());
            }
            due.records.push(pending.record);
        }
        Ok(())
    }
}

/// The parent that this entry refers to and that did not come to be in this window.
fn failed_parent(plan: &Plan, fates: &[Fate], index: usize) -> Option<RecordId> {
    let entry = plan.entries.get(index)?;
    let Course::Send(fields) = &entry.course else {
        return None;
    };
    planning::parents(&entry.operation, fields).find_map(|parent| {
        let place = *plan.places.get(&parent)?;
        let other: &Entry = plan.entries.get(place).filter(|_| place != index)?;
        let renamed = matches!(other.operation.action, Action::ReKey { .. });
        let kept = matches!(fates.get(place), Some(Fate::Kept));
        if other.exists() && !renamed && !kept {
            return None;
        }
        match fates.get(place)? {
            Fate::Answered(Outcome::Refused(_) | Outcome::Deferred { .. })
            | Fate::Waits(_)
            | Fate::Kept => Some(parent),
            _ => None,
        }
    })
}

/// What is certain of an entry's records while it is being sent beside existing rows: which fields they
/// have is not, nor whether one that the ledger does not know has come to be. (A change's record is no
/// better off than a row's: whether it goes may have hung on the page.)
fn uncertain(entry: &Entry) -> Vec<(RecordId, LedgerEntry)> {
    match (&entry.operation.action, &entry.course) {
        (Action::Delete { .. }, _) => doubtful_delete(entry).into_iter().collect(),
        (Action::ReKey { from }, Course::Send(_)) => {
            let old = entry.ledger.as_ref();
            // Under either external id it is this one.
            let new = LedgerEntry {
                position: old.map(|l| l.position).unwrap_or_default(),
                existence: Existence::Uncertain,
                crm_id: None,
                fingerprints: Vec::new(),
                parents: Vec::new(),
                kept_fields: Vec::new(),
            };
            let record = entry.operation.record();
            let old_id = RecordId {
                object: record.object,
                key: from.clone(),
            };
            let old = old
                .filter(|l| l.exists())
                .map(|l| (old_id, planning::unsure(entry, l)));
            old.into_iter().chain([(record, new)]).collect()
        }
        _ => planning::doubtful(entry).into_iter().collect(),
    }
}

/// A record whose delete comes from the shelf, as it is while that is being sent: nothing but the shelf
/// tells of it, and by then a row may have the key again. (One that is deleted for good has to be found in
/// the bin by its id, so that stays known.)
fn doubtful_delete(entry: &Entry) -> Option<(RecordId, LedgerEntry)> {
    let removes = matches!(entry.operation.action, Action::Delete { hard: false });
    let doubt = planning::doubtful(entry).filter(|_| removes && entry.pending.is_some());
    doubt.filter(|_| entry.exists())
}

/// It is on the shelf because of the schema of either side.
fn of_schema(pending: &Pending) -> bool {
    let fault = pending.fault.as_ref();
    fault.is_some_and(|fault| planning::is_drift(fault) || hints_at_schema(fault))
}
