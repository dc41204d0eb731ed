//! The one place where progress is made: what became of a window, as one settlement.

pub(super) mod ledger;

use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};

use crate::change::{Lsn, Position, Timestamp, Verdict};
use crate::fault::{Class, Fault};
use crate::mapping::{Action, Assigned, Assignment, FieldValue, Key, RecordId};
use crate::planning::{
    Asked, CONFLICT, Conflict, Course, Entry, LedgerEntry, Objects, Pending, PendingOperation,
    Plan, Reason, TRANSACTION_OPEN, Window, WindowPage, doubtful, is_drift, passes,
};
use crate::sinks::{Outcome, hints_at_schema};
use crate::store::{Intent, Progress, Rowcount, Settlement, Verdicts};

/// In place of the time of an edit, for a field that belongs to the CRM.
pub const NEVER: Timestamp = Timestamp(i64::MIN);

/// How far a window reaches, and what of it was certain before it was planned.
#[derive(Clone, Debug, Default)]
pub struct Extent {
    /// Its last change.
    pub until: Option<Position>,
    /// The durable LSN behind it, if that moves.
    pub checkpoint: Option<Lsn>,
    /// Verdicts of the changes that needed no operation of their own.
    pub verdicts: BTreeMap<Box<str>, BTreeMap<Verdict, u64>>,
    /// The page of existing rows in it.
    pub page: Option<WindowPage>,
}

/// What became of one entry of a plan.
#[derive(Clone, Debug, Default)]
pub enum Fate {
    /// It was not to be sent.
    #[default]
    Unsent,
    /// The CRM answered.
    Answered(Outcome),
    /// Its parent failed or is not there: it waits.
    Waits(RecordId),
    /// A person deleted the record in the CRM, and it stays so.
    Kept,
}

/// A record that turned out to be gone in the CRM, beside what became of the window's own records.
#[derive(Clone, PartialEq, Debug)]
pub struct Lost {
    /// Which.
    pub record: RecordId,
    /// What the ledger says of it from now on; `None`: what its own entry comes to.
    pub ledger: Option<LedgerEntry>,
    /// So many of its fields held what people wrote.
    pub kept_fields: i64,
    /// Its row is to be read again.
    pub reread: bool,
}

/// A window that has been delivered.
#[derive(Debug, Default)]
pub struct Delivered {
    /// How far it reaches.
    pub extent: Extent,
    /// What was to be done.
    pub plan: Plan,
    /// What became of it, one fate an entry.
    pub fates: Vec<Fate>,
    /// Other records that turned out to be gone in the CRM.
    pub lost: Vec<Lost>,
    /// Bulk jobs that have ended, and are said all about here.
    pub jobs: Vec<String>,
}

/// A field that holds what a person wrote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptField {
    /// The CRM object.
    pub object: String,
    /// The record.
    pub external_id: String,
    /// The field.
    pub field: String,
    /// Since when it holds that, at the latest.
    pub edited: Timestamp,
}

/// A settlement, and what follows from it.
#[derive(Debug, Default)]
pub struct Settled {
    /// What is made durable.
    pub settlement: Settlement,
    /// Records for which others may have waited: they exist now, or are no longer on the shelf.
    pub released: Vec<RecordId>,
    /// The page of existing rows that it settles, and what became of them.
    pub page: Option<(WindowPage, Rowcount)>,
    /// Fields that it leaves as people have them.
    pub kept_fields: Vec<KeptField>,
    /// Rows to be read again, by the table's name in the configuration and the external id.
    pub reread: Vec<(Box<str>, Key)>,
    /// A delete waits for its transaction to be known whole.
    pub awaits_commit: bool,
    /// The CRM refused something in a way that makes one look at its schema again.
    pub schema_hint: bool,
    /// Something went to the shelf because not everything may be sent.
    pub deferred: bool,
    /// Records with a high priority that went to the shelf because nothing could be sent.
    pub urgent: Vec<RecordId>,
    /// Records on the shelf that such wait for.
    pub asked: Vec<RecordId>,
}

/// Turns what became of a window into a settlement.
pub fn settle(
    delivered: Delivered,
    before: Progress,
    objects: &Objects,
    now: Timestamp,
) -> Settled {
    let Delivered {
        extent,
        plan,
        fates,
        lost,
        jobs,
    } = delivered;
    let mut desk = Desk {
        again: plan.again,
        objects,
        now,
        shelf: HashMap::new(),
        bearers: Vec::new(),
        refused_removals: HashMap::new(),
        deferred_removals: HashSet::new(),
        rows: Rowcount::default(),
        conflicts: Vec::new(),
        settled: Settled::default(),
    };
    let page = extent.page;
    desk.settled.settlement.ledger.extend(plan.doubts);
    desk.settled.urgent = plan.urgent;
    desk.settled.asked = plan.asked;
    for (table, verdicts) in extent.verdicts {
        for (verdict, count) in verdicts {
            desk.count(&table, verdict, i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
    desk.settled.settlement.ledger.reserve(plan.entries.len());
    let mut fates = fates.into_iter();
    for entry in plan.entries {
        desk.entry(entry, fates.next().unwrap_or_default());
    }
    desk.mark_bearers();
    for lost in lost {
        desk.lost(lost);
    }
    desk.settled.settlement.jobs_ended = jobs;
    desk.settled.page = page.map(|page| {
        desk.rows.read = page.rows;
        desk.rows.overtaken += page.overtaken;
        (page, desk.rows)
    });
    for (record, pending) in desk.shelf {
        match pending {
            Some(pending) => desk.settled.settlement.shelved.push(pending),
            None => desk.settled.settlement.unshelved.push(record),
        }
    }
    // The map's order is not the same from run to run; a settlement is.
    desk.settled
        .settlement
        .shelved
        .sort_by(|a, b| a.record.cmp(&b.record));
    desk.settled.settlement.unshelved.sort();
    desk.settled.settlement.progress = Progress {
        checkpoint: extent
            .checkpoint
            .unwrap_or(before.checkpoint)
            .max(before.checkpoint),
        settled: extent.until.unwrap_or(before.settled).max(before.settled),
    };
    desk.settled
}

/// What a window is made of.
pub(super) fn intent(window: &Window, progress: Progress) -> Intent {
    Intent {
        until: window.until.unwrap_or(progress.settled),
        shelf: window.shelf.clone(),
    }
}

/// A settlement of progress alone.
pub(super) fn only_progress(progress: Progress) -> Settlement {
    Settlement {
        progress,
        ..Settlement::default()
    }
}

struct Desk<'a> {
    /// What was not sent may have been before.
    again: bool,
    objects: &'a Objects,
    now: Timestamp,
    /// What the shelf holds afterwards, for each record that is touched.
    shelf: HashMap<RecordId, Option<Pending>>,
    /// Re-keys that go to the shelf: the old external id, the new one, and what was on the shelf
    /// under the old one.
    bearers: Vec<(RecordId, RecordId, Option<Pending>)>,
    /// Records that were to make room for a re-key, and why they are still there.
    refused_removals: HashMap<RecordId, Fault>,
    /// Those of them that were given up for now.
    deferred_removals: HashSet<RecordId>,
    /// What became of the rows of a backfill.
    rows: Rowcount,
    /// The other side of what is shelved next.
    conflicts: Vec<Conflict>,
    settled: Settled,
}

impl Desk<'_> {
    fn count(&mut self, table: &str, verdict: Verdict, by: i64) {
        let verdicts: &mut Verdicts = &mut self.settled.settlement.verdicts;
        // Few tables and verdicts: a scan is cheaper than a key for every record.
        let known = verdicts
            .iter_mut()
            .find(|((t, v), _)| *v == verdict && t == table);
        match known {
            Some((_, count)) => *count += by,
            None => {
                verdicts.insert((table.to_string(), verdict), by);
            }
        }
    }

    fn entry(&mut self, mut entry: Entry, fate: Fate) {
        let record = entry.operation.record();
        for absorbed in std::mem::take(&mut entry.absorbed) {
            if absorbed.counted {
                self.count(&absorbed.table, Verdict::Pending, -1);
                self.count(&absorbed.table, Verdict::Merged, 1);
            }
            self.leave(absorbed.record);
        }
        for marker in std::mem::take(&mut entry.markers) {
            self.shelf.insert(marker.record.clone(), Some(marker));
        }
        let course = std::mem::replace(&mut entry.course, Course::Drop);
        if entry.row {
            *match (&course, &fate) {
                (Course::Send(_), Fate::Answered(Outcome::Written { .. } | Outcome::Absent)) => {
                    &mut self.rows.written
                }
                (Course::Unchanged | Course::KeepFields | Course::Ignore | Course::Kept, _)
                | (_, Fate::Kept) => &mut self.rows.unchanged,
                (Course::Stale | Course::Drop, _) => &mut self.rows.overtaken,
                _ => &mut self.rows.pending,
            } += 1;
        }
        match (course, fate) {
            (Course::Drop, _) => self.verdict(&entry, None),
            (Course::Stale, _) => self.verdict(&entry, Some(Verdict::Stale)),
            (course @ (Course::Unchanged | Course::KeepFields | Course::Ignore), _) => {
                self.found(&entry);
                let verdict = match course {
                    Course::KeepFields => Verdict::Kept,
                    Course::Ignore => Verdict::Ignored,
                    _ => Verdict::Unchanged,
                };
                self.verdict(&entry, Some(verdict));
            }
            (Course::Ask, _) => {
                self.found(&entry);
                self.complete(entry);
            }
            (Course::Kept, _) | (Course::Send(_), Fate::Kept) => {
                self.leave_deleted(&entry);
                self.verdict(&entry, Some(Verdict::Kept));
            }
            (
                Course::Shelve {
                    reason,
                    waits_for,
                    fault,
                },
                _,
            ) => {
                self.settled.schema_hint |= fault
                    .as_ref()
                    .is_some_and(|f| reason == Reason::Deferred && hints_at_schema(f));
                // It waited for the record in its place to go, and that did not.
                let stuck = self.refused_removals.remove(&record);
                let deferred = self.deferred_removals.remove(&record);
                let (reason, waits_for) = match stuck {
                    Some(_) => (Reason::DeadLetter, waits_for),
                    // Planned again, it goes again.
                    None if deferred => (Reason::Deferred, None),
                    None => (reason, waits_for),
                };
                self.settled.deferred |= reason == Reason::Deferred && fault.is_none();
                self.shelve(entry, reason, waits_for, fault.or(stuck), false);
            }
            (Course::Send(fields), Fate::Answered(Outcome::Written { crm_id, .. })) => {
                // Under this external id, that is.
                let renamed = matches!(entry.operation.action, Action::ReKey { .. });
                let existed = entry.exists() && !renamed;
                self.write_ledger(&entry, &fields, crm_id);
                let removed = matches!(entry.operation.action, Action::Delete { .. });
                if !existed || removed {
                    self.settled.released.push(record);
                }
                self.complete(entry);
            }
            // Whoever sent it makes it anew; what is not there yet is not done.
            (Course::Send(_), Fate::Answered(Outcome::Absent))
                if matches!(
                    entry.operation.action,
                    Action::Upsert | Action::ReKey { .. }
                ) =>
            {
                self.settled.awaits_commit = true;
                self.shelve(entry, Reason::Deferred, None, None, true);
            }
            (Course::Send(_), Fate::Answered(Outcome::Absent)) => {
                self.tombstone(&entry);
                // Its place is free, for a re-key that waits for that.
                self.settled.released.push(record);
                self.verdict(&entry, Some(Verdict::Applied));
            }
            (Course::Send(_), Fate::Answered(Outcome::Overtaken)) => {
                let what = "somebody changes the record again and again while it is to be written";
                let fault = Fault::new(Class::RecordTransient, "overtaken", what);
                self.shelve(entry, Reason::DeadLetter, None, Some(fault), true);
            }
            (Course::Send(fields), Fate::Answered(Outcome::Refused(fault))) => {
                self.settled.schema_hint |= hints_at_schema(&fault);
                if entry.is_removal() {
                    self.refused_removals.insert(record, fault.clone());
                }
                let entry = entry.sending(fields);
                let drift = is_drift(&fault);
                if is_silence(&fault) && !drift {
                    // It failed without an answer that says that it was not written.
                    self.settled.settlement.ledger.extend(doubtful(&entry));
                }
                let reason = match drift {
                    true => Reason::Held,
                    false => Reason::DeadLetter,
                };
                self.shelve(entry, reason, None, Some(fault), true);
            }
            (Course::Send(fields), Fate::Answered(Outcome::Deferred { doubt })) => {
                let object = entry.operation.target.id;
                if self.objects.is_high(object, &fields) {
                    self.settled.urgent.push(record.clone());
                }
                self.settled.deferred = true;
                let entry = entry.sending(fields);
                if doubt {
                    self.settled.settlement.ledger.extend(doubtful(&entry));
                }
                if entry.is_removal() {
                    // What wanted its place brings it along again.
                    self.deferred_removals.insert(record);
                }
                self.shelve(entry, Reason::Deferred, None, None, false);
            }
            (Course::Send(fields), Fate::Waits(parent)) => {
                let entry = entry.sending(fields);
                if self.again {
                    self.settled.settlement.ledger.extend(doubtful(&entry));
                }
                let fault = Fault::new(
                    Class::MissingParent,
                    "parent_missing",
                    "the record it refers to is not in the CRM yet",
                );
                self.shelve(entry, Reason::Waiting, Some(parent), Some(fault), false);
            }
            (Course::Send(_), Fate::Unsent) => {
                // Delivery gave up on the window as a whole; the caller does not settle those.
                self.shelve(entry, Reason::Deferred, None, None, false);
            }
        }
    }

    /// The record is not on the shelf afterwards; whoever waited for it may look again.
    fn leave(&mut self, record: RecordId) {
        self.settled.released.push(record.clone());
        self.shelf.entry(record).or_insert(None);
    }

    /// Counts the verdict of an entry that is done with, and takes it off the shelf.
    fn verdict(&mut self, entry: &Entry, verdict: Option<Verdict>) {
        self.tally(entry, verdict);
        if let Some(pending) = &entry.pending {
            self.leave(pending.record.clone());
        }
    }

    fn tally(&mut self, entry: &Entry, verdict: Option<Verdict>) {
        let counted = entry.pending.as_ref().is_some_and(|p| p.counted);
        let table = &entry.operation.target.table;
        if counted {
            self.count(table, Verdict::Pending, -1);
            // The change on the shelf went into the newer one, or is the one that this is about.
            let own = if entry.change {
                Some(Verdict::Merged)
            } else {
                verdict
            };
            if let Some(own) = own {
                self.count(table, own, 1);
            }
        }
        if entry.change
            && let Some(verdict) = verdict
        {
            self.count(table, verdict, 1);
        }
    }

    /// An operation that was carried out, but for the references left out of it.
    fn complete(&mut self, mut entry: Entry) {
        let mut later = std::mem::take(&mut entry.completes);
        let parent = later.iter().find_map(|f| parent_of(&entry, f));
        let asked = std::mem::take(&mut entry.aside.asked);
        if later.is_empty() && asked.is_empty() {
            return self.verdict(&entry, Some(Verdict::Applied));
        }
        // References go first: what is held with them is looked at again when they do.
        let reason = match later.is_empty() {
            true => Reason::Held,
            false => Reason::Waiting,
        };
        let fault = (!asked.is_empty()).then(|| conflict(&entry, &asked));
        let name = |slot| entry.operation.field(slot).map(|f| f.name.to_string());
        let conflicts: Vec<Conflict> = asked
            .iter()
            .filter_map(|asked| {
                Some(Conflict {
                    field: name(asked.field.slot)?,
                    theirs: asked.theirs.clone(),
                    edited: asked.edited,
                })
            })
            .collect();
        later.extend(asked.into_iter().map(|a| a.field));
        later.sort_by_key(|f| f.slot);
        entry.operation.action = Action::Upsert;
        entry.operation.fields = later.into();
        let stale = |fault: &Fault| fault.code == CONFLICT;
        if let Some(before) = &mut entry.pending {
            // It was looked at again.
            before.fault.take_if(|fault| stale(fault));
        }
        self.conflicts = conflicts;
        self.shelve(entry, reason, parent, fault, false);
        self.conflicts.clear();
    }

    /// A record of which nothing had to be written.
    fn found(&mut self, entry: &Entry) {
        self.write_ledger(entry, &[], None);
        if !entry.exists() && entry.aside.crm_id.is_some() {
            self.settled.released.push(entry.operation.record());
        }
    }

    fn shelve(
        &mut self,
        entry: Entry,
        reason: Reason,
        waits_for: Option<RecordId>,
        fault: Option<Fault>,
        tried: bool,
    ) {
        self.tally(&entry, Some(Verdict::Pending));
        let open = fault.as_ref().is_some_and(|f| f.code == TRANSACTION_OPEN);
        self.settled.awaits_commit |= open;
        let record = entry.operation.record();
        let target = &entry.operation.target;
        let counted = entry.change || entry.pending.as_ref().is_some_and(|p| p.counted);
        let before = entry.pending.as_ref();
        let pending = Pending {
            table: target.table.to_string(),
            object: target.object.to_string(),
            key_field: target.key_field.to_string(),
            reason,
            operation: Some(PendingOperation::new(&entry.operation)),
            waits_for,
            fault: fault.or_else(|| {
                let before = before.and_then(|p| p.fault.clone());
                before.filter(|fault| !passes(fault))
            }),
            attempts: before.map_or(0, |p| p.attempts) + u32::from(tried),
            since: before.map_or(self.now, |p| p.since),
            tried: if tried {
                Some(self.now)
            } else {
                before.and_then(|p| p.tried)
            },
            counted,
            conflicts: std::mem::take(&mut self.conflicts),
            record: record.clone(),
        };
        if let Action::ReKey { from } = &entry.operation.action {
            let old = RecordId {
                object: record.object,
                key: from.clone(),
            };
            let marker = entry.marker.map(|marker| *marker);
            self.bearers.push((old, record.clone(), marker));
        }
        self.shelf.insert(record, Some(pending));
    }

    /// Nothing may be written under the old external id of a re-key that is on the shelf: what is
    /// there, or comes, waits behind it.
    fn mark_bearers(&mut self) {
        for (old, holder, marker) in std::mem::take(&mut self.bearers) {
            let now = match self.shelf.remove(&old) {
                Some(here) => here,
                None => marker,
            };
            let Some(Some(re_key)) = self.shelf.get(&holder) else {
                continue;
            };
            let marker = match now {
                Some(behind) => Pending {
                    reason: Reason::Waiting,
                    ..behind
                },
                None => Pending {
                    record: old.clone(),
                    reason: Reason::Waiting,
                    operation: None,
                    fault: None,
                    attempts: 0,
                    tried: None,
                    counted: false,
                    conflicts: Vec::new(),
                    ..re_key.clone()
                },
            };
            let marker = Pending {
                waits_for: Some(holder),
                ..marker
            };
            self.shelf.insert(old, Some(marker));
        }
    }
}

/// A person has to decide on these fields.
fn conflict(entry: &Entry, asked: &[Asked]) -> Fault {
    let names = asked.iter();
    let names = names.filter_map(|a| Some(entry.operation.field(a.field.slot)?.name.to_string()));
    let names: Vec<String> = names.collect();
    let what = format!(
        "the database and somebody in the CRM have both changed {}",
        names.join(", ")
    );
    let mut fault = Fault::new(Class::Record, CONFLICT, what);
    fault.fields = names;
    fault
}

/// The CRM never said what became of the record: the code is ours.
fn is_silence(fault: &Fault) -> bool {
    !fault.code.bytes().any(|b| b.is_ascii_uppercase())
}

fn parent_of(entry: &Entry, field: &Assigned) -> Option<RecordId> {
    let reference = entry
        .operation
        .target
        .fields
        .get(usize::from(field.slot))?
        .reference
        .as_ref()?;
    match &field.assignment {
        Assignment::Set(FieldValue::Reference(key)) => Some(RecordId {
            object: reference.object,
            key: key.clone(),
        }),
        _ => None,
    }
}
