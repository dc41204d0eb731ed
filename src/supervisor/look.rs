//! What the CRM holds of the records of a window, where that has a say in what is written.
//!
//! ```text
//!  plan ─► which entries, which fields ─► read (by id or external id, many a request)
//!                                            │
//!              judge by the records' last change ─► those in conflict ─► field history
//!                                            │                              │
//!                                            └────── judge again ◄──────────┘
//! ```
//!
//! Nothing is read where nothing contested changes. A window that is sent again looks again: what was
//! written the first time is there already.
//!
//! Between the look and the write a person may still edit. So what people have a say in is written only
//! if nobody has changed the record since ([`crate::planning::Write::guard`]); where somebody has, it is
//! looked at again. The CRM tells times by the second: of a record that was changed in the very second
//! of the look, that cannot be told, and one looks again when the second is over.
//!
//! ```text
//!  brake ─► find ─► look ─► ordered ─► send ─► write ◄──► look again (overtaken, out of the bin)
//! ```
//!
//! The step that *finds* a record the ledger does not know ([`super::adopt`]) is the beginning of
//! [`Crew::look_while_open`], before [`Crew::look_at`]: it puts the CRM's id into [`crate::planning::Aside::crm_id`]
//! of the entry. From there on the record counts as one that is there: it is read by that id, its owners
//! are asked, and it is changed by that id instead of made by its external id. It stands before
//! `planning::ordered`, so what it decides (hold, wait, send) is ordered with the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use hashbrown::HashMap;

use super::adopt::sought;
use super::crew::{Crew, stopped};
use crate::change::Timestamp;
use crate::clock::Clock;
use crate::fault::{Class, Fault, Result};
use crate::mapping::{
    Action, Assignment, FieldValue, Fields, Key, ObjectId, Operation, Owner, Target, history_tells,
};
use crate::planning::{
    Answer, Base, Course, CrmId, Edit, Entry, Found, Objects, Plan, Question, Reason, Sent, aside,
    judge,
};
use crate::sinks::{CrmRecord, HistoryQuery, HistoryRow, Named, hints_at_schema};

/// Records asked for in one go. The sink cuts further, to what one request carries.
const READ: usize = 2_000;
/// Most looks at a record that is being changed all the time.
const ROUNDS: usize = 8;
/// A second, by which the CRM tells times.
const SECOND: i64 = 1_000_000;
/// What a save may take from its time to its effect.
const MOMENT: i64 = SECOND / 2;
const HOUR: i64 = 3_600 * SECOND;
/// Longest wait for the end of one.
const LONGEST: i64 = 5 * SECOND;

/// What is asked of one object's records.
#[derive(Default)]
struct Group {
    target: Option<Arc<Target>>,
    ids: Vec<(usize, CrmId)>,
    keys: Vec<(usize, Key)>,
    /// The fields asked for, of all its records.
    slots: BTreeSet<u16>,
}

impl Group {
    /// Where its entries are.
    fn places(&self) -> impl Iterator<Item = usize> {
        let ids = self.ids.iter().map(|(index, _)| *index);
        ids.chain(self.keys.iter().map(|(index, _)| *index))
    }
}

/// The newest changes of fields: those of one second, which the CRM does not tell apart.
type Histories = HashMap<(ObjectId, CrmId, u16), Vec<HistoryRow>>;

/// What was read: the fields asked for, and the record.
type Seen = (Arc<[u16]>, CrmRecord);

impl Crew {
    /// Looks at the records of these entries, as far as people have a say in them, and takes out of the
    /// plan what stays as it is. `false`: nothing may be sent any more, and it was not looked, or not at
    /// all of them.
    pub(super) async fn look_while_open(&self, plan: &mut Plan, which: Vec<usize>) -> Result<bool> {
        if plan.sent() == (Sent::Maybe { clings: true }) {
            self.find_and_look(plan, which).await?;
            return Ok(true);
        }
        let look = self.find_and_look(plan, which);
        match self.delivery.gate().unless_closed(look).await {
            Some(looked) => looked.map(|()| true),
            None => Ok(false),
        }
    }

    async fn find_and_look(&self, plan: &mut Plan, which: Vec<usize>) -> Result<()> {
        self.adopt(plan, &which).await?;
        self.look_at(plan, which).await
    }

    async fn look_at(&self, plan: &mut Plan, mut which: Vec<usize>) -> Result<()> {
        for _ in 0..ROUNDS {
            let Some(over) = self.look_once(plan, &mut which).await? else {
                return Ok(());
            };
            // On our clock, counted so that it is over whatever the CRM's shows exactly.
            let wait = over
                .0
                .saturating_sub(Clock::System.now().0)
                .clamp(0, LONGEST);
            tokio::time::sleep(Duration::from_micros(wait.unsigned_abs())).await;
        }
        Ok(())
    }

    /// Leaves in `which` the entries that have to be looked at again, and tells when.
    async fn look_once(
        &self,
        plan: &mut Plan,
        which: &mut Vec<usize>,
    ) -> Result<Option<Timestamp>> {
        let groups = groups(&plan.entries, which);
        which.clear();
        if groups.is_empty() {
            return Ok(None);
        }
        for group in groups.values() {
            for index in group.places() {
                if let Some(entry) = plan.entries.get_mut(index) {
                    entry.aside.guard = None;
                }
            }
        }
        let asked = Clock::System.now();
        let mut seen: HashMap<usize, Seen> = HashMap::new();
        for group in groups.values() {
            match self.read(group).await {
                Ok(found) => seen.extend(found),
                // The rules are about to be made anew: these wait for that.
                Err(fault) if hints_at_schema(&fault) => put_off(plan, group, &fault),
                Err(fault) => return Err(stopped(fault)),
            }
        }
        let lead = self.clocks.lead(self.delivery.lead());
        self.drop_outdated(plan, &mut seen);
        let conflicts = conflicts(&plan.entries, &seen, lead);
        let history = self.history(&plan.entries, &seen, conflicts, lead).await?;
        let mut again = None;
        for (index, (slots, record)) in seen {
            let Some(entry) = plan.entries.get_mut(index) else {
                continue;
            };
            let found = judge_all(entry, &slots, &record, lead, |slot| {
                edit_of(entry, slot, &slots, &record, &history)
            });
            let written = |(_, f): &(u16, Found)| matches!(f, Found::Judged(Answer::Write, _));
            let guard = record.stamp.filter(|_| found.iter().any(written));
            aside(entry, found, Some(record.crm_id));
            entry.aside.guard = guard;
            if let Some(stamp) = guard {
                let crm = self.delivery.lead().unwrap_or_default();
                let over = stamp.0.saturating_add(SECOND + MOMENT);
                let over = Timestamp(over.saturating_sub(crm.least));
                if over > asked {
                    which.push(index);
                    again = again.max(Some(over));
                }
            }
        }
        which.sort_unstable();
        Ok(again)
    }

    async fn read(&self, group: &Group) -> Result<Vec<(usize, Seen)>, Fault> {
        let Some(target) = &group.target else {
            return Ok(Vec::new());
        };
        let slots: Arc<[u16]> = group.slots.iter().copied().collect();
        let ids = group.ids.chunks(READ).map(|part| async {
            let names: Vec<CrmId> = part.iter().map(|(_, id)| id.clone()).collect();
            let found = self
                .delivery
                .read(target, Named::Ids(&names), &slots)
                .await?;
            Ok::<_, Fault>(pair(part.iter().map(|(index, _)| *index), found, &slots))
        });
        let keys = group.keys.chunks(READ).map(|part| async {
            let names: Vec<Key> = part.iter().map(|(_, key)| key.clone()).collect();
            let found = self
                .delivery
                .read(target, Named::Keys(&names), &slots)
                .await?;
            Ok::<_, Fault>(pair(part.iter().map(|(index, _)| *index), found, &slots))
        });
        let (ids, keys) = futures_util::try_join!(try_join_all(ids), try_join_all(keys))?;
        Ok(ids.into_iter().chain(keys).flatten().collect())
    }

    /// Operations older than what the CRM says that it was given are stale.
    fn drop_outdated(&self, plan: &mut Plan, seen: &mut HashMap<usize, Seen>) {
        seen.retain(|index, (slots, record)| {
            let Some(entry) = plan.entries.get_mut(*index) else {
                return false;
            };
            let version = entry.operation.target.version;
            let place = version.and_then(|v| slots.iter().position(|slot| *slot == v));
            let held = match place.and_then(|place| record.values.get(place)) {
                Some(Assignment::Set(FieldValue::Text(text))) => self.origin.position(text),
                _ => None,
            };
            let outdated = held.is_some_and(|held| held > entry.operation.position);
            if outdated {
                entry.course = Course::Stale;
            }
            !outdated
        });
    }

    /// The history of fields that are in conflict by what the records alone say.
    async fn history(
        &self,
        entries: &[Entry],
        seen: &HashMap<usize, Seen>,
        conflicts: Vec<(usize, u16)>,
        lead: i64,
    ) -> Result<Histories> {
        let mut queries: BTreeMap<(ObjectId, bool), (Arc<Target>, HistoryQuery)> = BTreeMap::new();
        for (index, slot) in conflicts {
            let (Some(entry), Some((_, record))) = (entries.get(index), seen.get(&index)) else {
                continue;
            };
            let operation = &entry.operation;
            // Where the ledger knows nothing any write of ours may be the one, however long ago.
            let base = operation
                .field(slot)
                .map(|f| Base::of(entry.ledger.as_ref(), f));
            let unknown = base == Some(Base::Unknown);
            let (_, query) = queries
                .entry((operation.target.id, unknown))
                .or_insert_with(|| {
                    let none = HistoryQuery {
                        ids: Vec::new(),
                        fields: Vec::new(),
                        since: Timestamp(i64::MAX),
                    };
                    (Arc::clone(&operation.target), none)
                });
            query.ids.push(record.crm_id.clone());
            query.fields.push(slot);
            // Otherwise it is one whose answer was lost, not long ago.
            let at = operation.changed(slot).at.unwrap_or(operation.commit_time);
            let at = match unknown {
                true => Timestamp(0),
                false => Timestamp(at.0.saturating_add(lead).saturating_sub(HOUR)),
            };
            query.since = query.since.min(at);
        }
        let mut newest = Histories::new();
        for (target, mut query) in queries.into_values() {
            query.ids.sort_unstable();
            query.ids.dedup();
            query.fields.sort_unstable();
            query.fields.dedup();
            let rows = match self.delivery.history(&target, &query).await {
                Ok(rows) => rows,
                Err(fault) if hints_at_schema(&fault) => Vec::new(),
                Err(fault) => return Err(stopped(fault)),
            };
            for row in rows {
                let key = (target.id, row.crm_id.clone(), row.slot);
                let rows = newest.entry(key).or_default();
                // The newest comes first.
                if rows.first().is_none_or(|first| first.at == row.at) {
                    rows.push(row);
                }
            }
        }
        Ok(newest)
    }
}

/// Those of the entries from `first` on in which what the CRM holds has a say, or whose records it may
/// have already.
pub(super) fn contested(entries: &[Entry], first: usize, objects: &Objects) -> Vec<usize> {
    if objects.looked_at.is_empty() {
        return Vec::new();
    }
    let may_be = |entry: &Entry| {
        let object = &entry.operation.target.id;
        entry.is_sent() && objects.looked_at.contains(object)
    };
    let which = entries.iter().enumerate().skip(first);
    let which: Vec<usize> = which.filter(|(_, e)| may_be(e)).map(|(i, _)| i).collect();
    let groups = groups(entries, &which);
    let mut places: Vec<usize> = groups.values().flat_map(Group::places).collect();
    let seeks = |index: &usize| entries.get(*index).and_then(sought).is_some();
    places.extend(which.into_iter().filter(seeks));
    places.sort_unstable();
    places.dedup();
    places
}

/// The entries to look at, by object.
fn groups(entries: &[Entry], which: &[usize]) -> BTreeMap<ObjectId, Group> {
    let mut groups: BTreeMap<ObjectId, Group> = BTreeMap::new();
    let which = which.iter().filter_map(|i| Some((*i, entries.get(*i)?)));
    for (index, entry) in which {
        let Course::Send(fields) = &entry.course else {
            continue;
        };
        let operation = &entry.operation;
        // A record that we have deleted, or never made after we looked at it first, is ours to make.
        if entry.ledger.as_ref().is_some_and(|l| !l.may_exist()) {
            continue;
        }
        let slots = asked(operation, fields);
        if slots.is_empty() {
            continue;
        }
        let group = groups.entry(operation.target.id).or_default();
        group
            .target
            .get_or_insert_with(|| Arc::clone(&operation.target));
        group.slots.extend(slots);
        let known = entry.ledger.as_ref().filter(|l| l.exists());
        let id = known.and_then(|l| l.crm_id.clone());
        match (id.or_else(|| entry.aside.crm_id.clone()), &operation.action) {
            (Some(id), _) => group.ids.push((index, id)),
            (None, Action::ReKey { from }) => group.keys.push((index, from.clone())),
            (None, _) => group.keys.push((index, operation.key.clone())),
        }
    }
    groups
}

/// The fields on which what the CRM holds has a say.
fn asked(operation: &Operation, fields: &Fields) -> Vec<u16> {
    let asked = fields.iter().filter(|f| {
        let owner = operation.field(f.slot).map(|f| f.owner);
        owner.is_some_and(|o| o != Owner::Source) && !operation.changed(f.slot).decided
    });
    asked
        .map(|f| f.slot)
        .chain(operation.target.version)
        .collect()
}

fn pair(
    places: impl Iterator<Item = usize>,
    found: Vec<Option<CrmRecord>>,
    slots: &Arc<[u16]>,
) -> Vec<(usize, Seen)> {
    places
        .zip(found)
        .filter_map(|(index, record)| Some((index, (Arc::clone(slots), record?))))
        .collect()
}

/// Nothing is sent that may not be.
fn put_off(plan: &mut Plan, group: &Group, fault: &Fault) {
    for index in group.places() {
        if let Some(entry) = plan.entries.get_mut(index) {
            entry.course = Course::Shelve {
                reason: Reason::Deferred,
                waits_for: None,
                fault: Some(Fault {
                    class: Class::Record,
                    ..fault.clone()
                }),
            };
        }
    }
}

/// What becomes of each field on which the CRM has a say.
fn judge_all(
    entry: &Entry,
    slots: &[u16],
    record: &CrmRecord,
    lead: i64,
    edit: impl Fn(u16) -> Edit,
) -> Vec<(u16, Found)> {
    let Course::Send(fields) = &entry.course else {
        return Vec::new();
    };
    let operation = &entry.operation;
    let all = fields.iter().filter_map(|assigned| {
        let field = operation.field(assigned.slot)?;
        let place = slots.iter().position(|slot| *slot == assigned.slot);
        let theirs = place.and_then(|place| record.values.get(place));
        let found = match (field.owner, theirs) {
            (Owner::Source, _) => return None,
            (Owner::Crm, _) => Found::Crm,
            (_, None) => return None,
            (owner, Some(theirs)) => {
                let question = Question {
                    owner,
                    ours: field.fingerprint(&assigned.assignment),
                    changed: operation.changed(assigned.slot),
                    theirs: field.fingerprint(theirs),
                    empty: *theirs == Assignment::Clear,
                    base: Base::of(entry.ledger.as_ref(), field),
                    edit: edit(assigned.slot),
                    lead,
                };
                Found::Judged(judge(&question), theirs.clone())
            }
        };
        Some((assigned.slot, found))
    });
    all.collect()
}

/// Without history: not later than the record's last change.
fn bound(record: &CrmRecord) -> Edit {
    Edit::AtMost {
        // Where nobody says when, it may have been now.
        at: record.modified.unwrap_or(Timestamp(i64::MAX)),
        untouched: record.untouched,
    }
}

/// The fields that the CRM would keep by what the records alone say: history may know better.
fn conflicts(entries: &[Entry], seen: &HashMap<usize, Seen>, lead: i64) -> Vec<(usize, u16)> {
    let mut conflicts = Vec::new();
    for (index, (slots, record)) in seen {
        let Some(entry) = entries.get(*index) else {
            continue;
        };
        for (slot, found) in judge_all(entry, slots, record, lead, |_| bound(record)) {
            let open = matches!(
                found,
                Found::Judged(Answer::Keep { .. } | Answer::Ask { .. }, _)
            );
            if open {
                conflicts.push((*index, slot));
            }
        }
    }
    conflicts
}

/// When what a field holds came to be there: by its history, if that explains it.
fn edit_of(
    entry: &Entry,
    slot: u16,
    slots: &[u16],
    record: &CrmRecord,
    history: &Histories,
) -> Edit {
    let target = &entry.operation.target;
    let place = slots.iter().position(|s| *s == slot);
    let holds = place.and_then(|place| record.values.get(place));
    let field = entry.operation.field(slot);
    let rows = history.get(&(target.id, record.crm_id.clone(), slot));
    let (Some(rows), Some(field), Some(holds)) = (rows, field, holds) else {
        return bound(record);
    };
    let explain = |row: &&HistoryRow| history_tells(field, &row.value, holds);
    let explain: Vec<&HistoryRow> = rows.iter().filter(explain).collect();
    // Of two in one second it is the person's.
    match explain.iter().find(|row| !row.by_us).or(explain.first()) {
        Some(row) if row.by_us => Edit::Ours(row.at),
        Some(row) => Edit::At(row.at),
        None => bound(record),
    }
}
