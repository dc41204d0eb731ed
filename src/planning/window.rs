//! A window while it fills.

use std::collections::BTreeMap;

use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};

use super::merge::merge;
use crate::change::{Lsn, Position, Verdict};
use crate::fault::Fault;
use crate::mapping::{Action, DELETE_INCOMPLETE, Fields, Operation, RecordId, TABLE_HALTED};

/// An operation in a window.
#[derive(Clone, Debug)]
pub struct Item {
    /// All that the window's changes of this record come to.
    pub operation: Operation,
    /// The mapping could not build it whole: it goes to the shelf untried.
    pub rejected: Option<Fault>,
    /// Its changes name different parents for the same reference.
    pub rereferred: bool,
    /// A change is in it, which gets a verdict.
    pub change: bool,
    /// A row of a backfill is in it.
    pub row: Option<Row>,
}

/// What is special about an operation that comes from an existing row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Row {
    /// Where the CRM has the record, only this field is written.
    pub only: Option<u16>,
}

impl Item {
    /// A change's operation.
    pub fn new(operation: Operation, rejected: Option<Fault>) -> Self {
        Item {
            operation,
            rejected,
            rereferred: false,
            change: true,
            row: None,
        }
    }

    /// Bytes it holds, roughly. What a message is refused with holds its content.
    fn size(&self) -> usize {
        let fault = self.rejected.as_ref().map_or(0, |f| f.message.len());
        self.operation.size() + fault
    }

    /// An existing row's operation.
    pub fn of_row(operation: Operation, rejected: Option<Fault>, row: Row) -> Self {
        Item {
            change: false,
            row: Some(row),
            ..Item::new(operation, rejected)
        }
    }
}

/// A page of existing rows in a window.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WindowPage {
    /// The table, in the configuration's words.
    pub table: Box<str>,
    /// Values of the paging columns of its last row; none in an empty page.
    pub through: Option<Vec<String>>,
    /// Rows in it.
    pub rows: u64,
    /// Rows that the stream had said all about before.
    pub overtaken: u64,
    /// There are no rows behind it.
    pub end: bool,
}

/// Most that a window holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Operations.
    pub rows: usize,
    /// Bytes, roughly.
    pub bytes: usize,
}

/// What became of an operation that was offered.
#[derive(Debug)]
pub enum Pushed {
    /// It is in.
    Taken,
    /// The window has to end before it: here it is again.
    Full(Box<Item>),
}

/// A run of consecutive changes with at most one operation a record.
#[derive(Debug, Default)]
pub struct Window {
    /// In the order in which the records first appeared.
    pub items: Vec<Item>,
    /// Records taken from the shelf, beside those that have a change here.
    pub shelf: Vec<RecordId>,
    /// The last change in it, whatever became of it.
    pub until: Option<Position>,
    /// The durable LSN when it is settled, if it moves.
    pub checkpoint: Option<Lsn>,
    /// Verdicts that are already certain, by table: merged, ignored.
    pub verdicts: BTreeMap<Box<str>, BTreeMap<Verdict, u64>>,
    /// The page of existing rows that it begins with.
    pub page: Option<WindowPage>,
    /// It may have been sent before the process ended, wholly or in part.
    pub again: bool,
    /// Place in `items` of the record; a re-key stands under both of its external ids.
    index: HashMap<RecordId, usize>,
    /// Records that operations of the window refer to.
    referred: HashSet<RecordId>,
    /// Objects with a unique field of which the window deletes a record.
    vacated: Vec<crate::mapping::ObjectId>,
    bytes: usize,
}

impl Window {
    /// Nothing in it that would have to be settled.
    pub fn is_empty(&self) -> bool {
        self.until.is_none()
            && self.checkpoint.is_none()
            && self.shelf.is_empty()
            && self.page.is_none()
    }

    /// Nothing in it that could have to be sent.
    pub fn is_quiet(&self) -> bool {
        self.items.is_empty() && self.shelf.is_empty()
    }

    /// Bytes in it, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Place in `items` of the operation on this record.
    pub fn find(&self, record: &RecordId) -> Option<usize> {
        self.index.get(record).copied()
    }

    /// Offers a change's operation. `position` is taken as the window's end when it goes in.
    pub fn push(&mut self, item: Item, bounds: Option<Bounds>) -> Pushed {
        let position = item.operation.position;
        let size = item.size();
        let full = bounds.is_some_and(|b| {
            !self.items.is_empty() && (self.items.len() >= b.rows || self.bytes + size > b.bytes)
        });
        // Two external ids at once: whatever else is done to either record is done in a window of
        // its own, before or after.
        if let Action::ReKey { from } = &item.operation.action {
            let old = RecordId {
                object: item.operation.target.id,
                key: from.clone(),
            };
            let new = item.operation.record();
            let busy = self.index.contains_key(&old) || self.index.contains_key(&new);
            if full || busy || self.referred.contains(&old) {
                return Pushed::Full(Box::new(item));
            }
            self.index.insert(old, self.items.len());
            self.index.insert(new, self.items.len());
            return self.append(item, size, position);
        }
        let removes = matches!(item.operation.action, Action::Delete { .. });
        let record = item.operation.record();
        // Once a record is gone (or bears another external id) nothing can refer to it any more: not
        // even the operations that came before, if the window has to be sent again.
        if removes && self.referred.contains(&record) {
            return Pushed::Full(Box::new(item));
        }
        let count = self.items.len();
        match self.index.entry(record) {
            Entry::Occupied(entry) => {
                let place = *entry.get();
                let Some(older) = self.items.get_mut(place) else {
                    return Pushed::Full(Box::new(item));
                };
                if matches!(older.operation.action, Action::ReKey { .. }) {
                    return Pushed::Full(Box::new(item));
                }
                if bounds.is_some_and(|b| self.bytes + size > b.bytes && count > 1) {
                    return Pushed::Full(Box::new(item));
                }
                let target = std::sync::Arc::clone(&item.operation.target);
                let placeholder = Operation {
                    target: std::sync::Arc::clone(&target),
                    key: Default::default(),
                    action: Action::Upsert,
                    fields: Fields::default(),
                    position,
                    commit_time: item.operation.commit_time,
                    xid: 0,
                    changed: Vec::new(),
                };
                self.bytes = self.bytes.saturating_sub(older.size());
                let before = std::mem::replace(&mut older.operation, placeholder);
                let rejected = still_rejected(older.rejected.take(), &item);
                refer(&mut self.referred, &item.operation);
                older.rereferred |= rereferred(&before, &item.operation);
                older.operation = merge(before, item.operation);
                older.rejected = rejected;
                older.row = match (older.row, item.row) {
                    // A change says something of every field: all of it is to be written.
                    (Some(a), Some(b)) => Some(Row {
                        only: a.only.filter(|only| b.only == Some(*only)),
                    }),
                    (Some(_), None) | (None, Some(_)) => Some(Row { only: None }),
                    (None, None) => None,
                };
                let merged = older.change && item.change;
                older.change |= item.change;
                self.bytes += older.size();
                self.until = Some(position);
                if merged {
                    self.count(&target.table, Verdict::Merged, 1);
                }
                Pushed::Taken
            }
            Entry::Vacant(entry) => {
                // A unique value may move from a deleted record to a new one; the deletes of a window
                // come last, so the window ends between the two.
                let waits_for_delete = !removes && self.vacated.contains(&entry.key().object);
                if full || waits_for_delete {
                    return Pushed::Full(Box::new(item));
                }
                entry.insert(count);
                if removes && item.operation.target.fields.iter().any(|f| f.unique) {
                    self.vacated.push(item.operation.target.id);
                }
                self.append(item, size, position)
            }
        }
    }

    fn append(&mut self, item: Item, size: usize, position: Position) -> Pushed {
        refer(&mut self.referred, &item.operation);
        self.items.push(item);
        self.bytes += size;
        self.until = Some(position);
        Pushed::Taken
    }

    /// A change that needs no operation.
    pub fn pass(&mut self, table: &str, verdict: Verdict, position: Position) {
        self.count(table, verdict, 1);
        self.until = Some(position);
    }

    /// Everything before `lsn` is in this window or an earlier one.
    pub fn commit(&mut self, lsn: Lsn) {
        self.checkpoint = Some(self.checkpoint.map_or(lsn, |before| before.max(lsn)));
    }

    fn count(&mut self, table: &str, verdict: Verdict, by: u64) {
        // Looked up twice rather than allocating the name for every change.
        if !self.verdicts.contains_key(table) {
            self.verdicts.insert(table.into(), BTreeMap::new());
        }
        if let Some(verdicts) = self.verdicts.get_mut(table) {
            *verdicts.entry(verdict).or_default() += by;
        }
    }
}

/// Whether the two say different things of a reference.
fn rereferred(older: &Operation, newer: &Operation) -> bool {
    let is_reference = |slot: u16| {
        older
            .target
            .fields
            .get(usize::from(slot))
            .is_some_and(|f| f.reference.is_some())
    };
    // A delete in between says nothing of the references that it undid.
    let undone = matches!(older.action, Action::Delete { .. });
    let mut references = newer.fields.iter().filter(|f| is_reference(f.slot));
    references.any(|f| {
        let before = older.fields.iter().find(|o| o.slot == f.slot);
        undone || before.is_some_and(|before| before.assignment != f.assignment)
    })
}

fn refer(referred: &mut HashSet<RecordId>, operation: &Operation) {
    for (_, object, key) in operation.references() {
        referred.insert(RecordId {
            object,
            key: key.clone(),
        });
    }
}

/// A record that could not be mapped stays rejected until every field that was at fault has a new
/// value: an update that leaves such a field absent (unchanged TOAST) does not heal it.
pub(super) fn still_rejected(older: Option<Fault>, newer: &Item) -> Option<Fault> {
    let target = &newer.operation.target;
    let removes = matches!(newer.operation.action, Action::Delete { .. });
    let assigned = |name: &String| {
        newer.operation.fields.iter().any(|f| {
            let field = target.fields.get(usize::from(f.slot));
            field.is_some_and(|field| field.name.eq_ignore_ascii_case(name))
        })
    };
    // What a deleted row could not set matters no more once a change follows.
    let older = older.filter(|o| o.code != DELETE_INCOMPLETE);
    if let Some(mut fault) = newer.rejected.clone() {
        // What was missing before is missing still, unless it has come.
        let mut missing = older.as_ref().map(|o| o.fields.clone()).unwrap_or_default();
        missing.retain(|name| !removes && !assigned(name));
        if let (Some(older), false) = (older, missing.is_empty())
            && fault.code == DELETE_INCOMPLETE
        {
            // That one must never be sent as it is.
            missing.extend(std::mem::take(&mut fault.fields));
            fault = Fault {
                fields: Vec::new(),
                ..older
            };
        }
        for name in missing {
            if !fault.fields.contains(&name) {
                fault.fields.push(name);
            }
        }
        return Some(fault);
    }
    let older = older?;
    // A table's key was the trouble: a row that comes with one has all that was missing.
    let keyed =
        |name: &String| older.code == TABLE_HALTED && target.key_field.eq_ignore_ascii_case(name);
    let healed = removes
        || older
            .fields
            .iter()
            .all(|name| assigned(name) || keyed(name));
    (!healed).then_some(older)
}
