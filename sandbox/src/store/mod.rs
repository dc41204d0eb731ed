//! All records, their indexes, the recycle bin, the write log and the journal.
//!
//! Invariants:
//! - Every change goes through [`Store::put`], which keeps the indexes and remembers the
//!   state before, so that a request can be undone ([`Store::undo_to`]) and, on
//!   [`Store::commit`], written to the journal as one line.
//! - A deleted record stays (the recycle bin) but is in no index: its external id is free,
//!   and an upsert of that key makes a new record.
//! - One mutex guards the store; nothing awaits while holding it.

mod fill;
pub(crate) mod grants;
mod history;
pub(crate) mod index;
mod journal;
pub(crate) mod row;
mod schema;
pub(crate) mod settings;
mod transaction;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::Error;
use crate::bulk::Jobs;
use crate::clock::{Clock, Millis, Pace};
use crate::ids::Id;
use crate::schema::{Object, Schema};
use crate::writelog::{WriteEntry, WriteLog};
use grants::{Appears, Grants};
use index::Index;
use journal::{Journal, Line, LineRef};
use row::Row;
use settings::Settings;
use transaction::Transaction;

pub(crate) use fill::People;

/// The state of the org.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) schema: Schema,
    pub(crate) log: WriteLog,
    pub(crate) clock: Arc<Clock>,
    rows: Vec<BTreeMap<Id, Row>>,
    indexes: Vec<Index>,
    /// Deleted records by the time they went.
    bin: BTreeSet<(Millis, Id)>,
    next: u64,
    /// Rows as they were before this request touched them.
    undo: Vec<(usize, Id, Option<Row>)>,
    objects_changed: Vec<usize>,
    logged: usize,
    journal: Option<Journal>,
    pub(crate) transaction: Option<Transaction>,
    pub(super) grants: Grants,
    appears: Appears,
    pub(crate) settings: Settings,
    pub(crate) jobs: Jobs,
}

impl Store {
    /// An org with the standard objects and no records.
    pub(crate) fn new(clock: Arc<Clock>) -> Store {
        let schema = Schema::standard();
        Store {
            rows: (0..schema.len()).map(|_| BTreeMap::new()).collect(),
            indexes: (0..schema.len()).map(|_| Index::default()).collect(),
            bin: BTreeSet::new(),
            schema,
            log: WriteLog::default(),
            clock,
            next: 1,
            undo: Vec::new(),
            objects_changed: Vec::new(),
            logged: 0,
            journal: None,
            transaction: None,
            grants: Grants::default(),
            appears: Appears::new(),
            settings: Settings::default(),
            jobs: Jobs::default(),
        }
    }

    /// Reads what an earlier run left in `dir`, and keeps a journal there from now on.
    pub(crate) fn open(dir: &Path, clock: Arc<Clock>) -> Result<Store, Error> {
        let mut store = Store::new(clock);
        let mut read = 0;
        let sound = Journal::read(dir, |line| read += store.replay(line))?;
        store.undo.clear();
        store.objects_changed.clear();
        store.logged = store.log.len();
        store.grants = Grants::gather(&store);
        let held: usize = store.rows.iter().map(BTreeMap::len).sum();
        let journal = if sound && read < 2 * held + 10_000 {
            Journal::reopen(dir)?
        } else {
            Journal::rewrite(dir, store.lines())?
        };
        store.journal = Some(journal);
        Ok(store)
    }

    /// Takes over one line of the journal and gives the number of rows in it.
    fn replay(&mut self, line: Line) -> usize {
        self.next = self.next.max(line.next);
        if let Some(pace) = line.clock {
            self.clock.reset(pace);
        }
        if line.wiped {
            self.wipe_rows();
        }
        for object in line.objects {
            self.put_object(object);
        }
        for row in &line.rows {
            let at = row
                .get("o")
                .and_then(Value::as_str)
                .and_then(|name| self.schema.find(name));
            let Some(at) = at else { continue };
            if let Some(row) = Row::from_line(row, self.schema.object(at), at) {
                self.put(row);
            }
        }
        for id in &line.erased {
            self.erase(*id);
        }
        self.undo.clear();
        for job in line.jobs {
            self.jobs.replay(job);
        }
        for write in line.writes {
            self.log.push(write);
        }
        line.rows.len()
    }

    /// The whole state as journal lines.
    fn lines(&self) -> impl Iterator<Item = LineRef<'_>> + '_ {
        let next = self.next;
        let head = LineRef {
            next,
            clock: Some(self.clock.pace()),
            objects: self.schema.iter().map(|(_, o)| o).collect(),
            ..LineRef::default()
        };
        let rows = self.rows.iter().flat_map(|rows| rows.values());
        let rows = rows.map(move |r| LineRef {
            next,
            rows: vec![r.to_line(self.schema.object(r.object))],
            ..LineRef::default()
        });
        let writes = self.log.all().chunks(100).map(move |writes| LineRef {
            next,
            writes,
            ..LineRef::default()
        });
        let jobs = self.jobs.lines().map(move |job| LineRef {
            next,
            jobs: vec![job],
            ..LineRef::default()
        });
        std::iter::once(head).chain(rows).chain(writes).chain(jobs)
    }

    /// A fresh id for a record of this object.
    pub(crate) fn next_id(&mut self, object: usize) -> Id {
        let prefix = &self.schema.object(object).prefix;
        let id = Id::new(prefix, self.next);
        self.next += 1;
        id
    }

    /// A fresh id with this prefix, for definitions, locators and the like.
    pub(crate) fn next_id_of(&mut self, prefix: &str) -> Id {
        let id = Id::new(prefix, self.next);
        self.next += 1;
        id
    }

    /// A record, also from the recycle bin.
    pub(crate) fn get(&self, id: Id) -> Option<&Row> {
        let object = self.schema.by_prefix(id.prefix())?;
        self.rows.get(object)?.get(&id)
    }

    /// A record that is not deleted.
    pub(crate) fn live(&self, id: Id) -> Option<&Row> {
        self.get(id).filter(|row| row.deleted.is_none())
    }

    /// All records of an object in order of creation, the recycle bin included.
    pub(crate) fn rows(&self, object: usize) -> impl DoubleEndedIterator<Item = &Row> {
        self.rows.get(object).into_iter().flat_map(BTreeMap::values)
    }

    /// The records of an object by name that are not deleted.
    pub(crate) fn rows_of(&self, name: &str) -> impl Iterator<Item = &Row> {
        let object = self.schema.find(name);
        let rows = object.and_then(|at| self.rows.get(at)).into_iter();
        rows.flat_map(BTreeMap::values)
            .filter(|row| row.deleted.is_none())
    }

    /// How many records of an object are not deleted.
    pub(crate) fn count(&self, object: usize) -> usize {
        self.rows(object)
            .filter(|row| row.deleted.is_none())
            .count()
    }

    /// The live records whose indexed field has this value but for case.
    pub(crate) fn lookup(&self, object: usize, field: usize, key: &str) -> &[Id] {
        self.indexes
            .get(object)
            .map_or(&[], |index| index.find(field, key))
    }

    /// The live records whose field matches a key by the field's own rule on case.
    pub(crate) fn matching(&self, object: usize, field: usize, value: &Value) -> Vec<Id> {
        let Some(key) = index::key_of(value) else {
            return Vec::new();
        };
        let exact = self.schema.object(object).fields[field].matches_case();
        let found = self.lookup(object, field, &key).iter().copied();
        found
            .filter(|id| !exact || self.get(*id).and_then(|row| row.stored(field)) == Some(value))
            .collect()
    }

    /// Writes a record, new or changed.
    pub(crate) fn put(&mut self, row: Row) {
        let object = self.schema.object(row.object);
        let index = &mut self.indexes[row.object];
        let before = self.rows[row.object].remove(&row.id);
        if let Some(before) = &before {
            index.remove(object, before);
            unbin(&mut self.bin, before);
        }
        index.add(object, &row);
        self.bin.extend(row.deleted.map(|at| (at, row.id)));
        self.undo.push((row.object, row.id, before));
        self.rows[row.object].insert(row.id, row);
    }

    /// Removes a record for good, and its history.
    pub(crate) fn erase(&mut self, id: Id) {
        let Some(at) = self.schema.by_prefix(id.prefix()) else {
            return;
        };
        let object = self.schema.object(at);
        if let Some(before) = self.rows[at].remove(&id) {
            self.indexes[at].remove(object, &before);
            unbin(&mut self.bin, &before);
            let went = before.deleted;
            self.undo.push((at, id, Some(before)));
            let history = self.schema.history(at);
            if let (Some(went), Some(history)) = (went, history) {
                for row in self.binned(went, history, crate::schema::history::PARENT, id) {
                    self.erase(row);
                }
            }
        }
    }

    /// The records of an object that went to the recycle bin at this moment and refer to
    /// another record by this field.
    pub(crate) fn binned(&self, went: Millis, object: usize, field: usize, to: Id) -> Vec<Id> {
        let prefix = &self.schema.object(object).prefix;
        let then = self.bin.range((went, Id::new("000", 0))..);
        then.take_while(|(at, _)| *at == went)
            .map(|(_, id)| *id)
            .filter(|id| id.prefix() == prefix)
            .filter(|id| {
                self.get(*id)
                    .is_some_and(|row| row.reference(field) == Some(to))
            })
            .collect()
    }

    /// Erases what has been in the recycle bin for 15 days.
    pub(crate) fn empty_old_bin(&mut self) -> Result<(), Error> {
        const DAYS: Millis = 15 * 86_400_000;
        if self.bin.is_empty() || self.transaction.is_some() {
            return Ok(());
        }
        let old = self.clock.now() - DAYS;
        let mut any = false;
        while let Some((at, id)) = self.bin.first().copied()
            && at < old
        {
            self.erase(id);
            any = true;
        }
        match any {
            true => self.commit(),
            false => Ok(()),
        }
    }

    /// A mark to come back to with [`Store::undo_to`].
    pub(crate) fn mark(&self) -> usize {
        self.undo.len()
    }

    /// Takes back every change since the mark.
    pub(crate) fn undo_to(&mut self, mark: usize) {
        while self.undo.len() > mark {
            let Some((at, id, before)) = self.undo.pop() else {
                return;
            };
            let object = self.schema.object(at);
            if let Some(now) = self.rows[at].remove(&id) {
                self.indexes[at].remove(object, &now);
                unbin(&mut self.bin, &now);
            }
            if let Some(before) = before {
                self.indexes[at].add(object, &before);
                self.bin.extend(before.deleted.map(|at| (at, id)));
                self.rows[at].insert(id, before);
            }
        }
    }

    /// Ends a request: what it changed and logged goes to the journal.
    pub(crate) fn commit(&mut self) -> Result<(), Error> {
        if self.transaction.is_some() {
            // Later, with the others. What was granted holds for them already.
            let mut touched = self.undo.iter();
            if touched.any(|(at, ..)| self.schema.object(*at).setup) {
                self.regrant();
            }
            return Ok(());
        }
        let touched = std::mem::take(&mut self.undo);
        let objects = std::mem::take(&mut self.objects_changed);
        let logged = std::mem::replace(&mut self.logged, self.log.len());
        let jobs = self.jobs.take_changes();
        let setup = touched.iter().any(|(at, ..)| self.schema.object(*at).setup);
        if setup || !objects.is_empty() {
            self.regrant();
        }
        let Some(mut journal) = self.journal.take() else {
            return Ok(());
        };
        let mut seen = std::collections::HashSet::new();
        let rows: Vec<Value> = touched
            .iter()
            .filter(|(_, id, _)| seen.insert(*id))
            .filter_map(|(_, id, _)| self.get(*id))
            .map(|row| row.to_line(self.schema.object(row.object)))
            .collect();
        let erased: Vec<Id> = seen
            .iter()
            .copied()
            .filter(|id| self.get(*id).is_none())
            .collect();
        let objects: Vec<&Object> = objects.iter().map(|at| self.schema.object(*at)).collect();
        let writes: &[WriteEntry] = &self.log.all()[logged.min(self.log.len())..];
        let nothing = rows.is_empty() && objects.is_empty() && writes.is_empty();
        let written = if nothing && erased.is_empty() && jobs.is_empty() {
            Ok(())
        } else {
            journal.append(&LineRef {
                next: self.next,
                wiped: false,
                clock: None,
                objects,
                rows,
                erased,
                writes,
                jobs,
            })
        };
        self.journal = Some(journal);
        written
    }

    /// Adds or replaces an object.
    pub(crate) fn put_object(&mut self, object: Object) -> usize {
        let at = self.schema.put(object);
        while self.rows.len() <= at {
            self.rows.push(BTreeMap::new());
            self.indexes.push(Index::default());
        }
        self.reindex(at);
        self.objects_changed.push(at);
        at
    }

    fn reindex(&mut self, at: usize) {
        let object = self.schema.object(at);
        let mut index = Index::default();
        for row in self.rows[at].values() {
            index.add(object, row);
        }
        self.indexes[at] = index;
    }

    /// Sets the clock to another pace, also over restarts.
    pub(crate) fn set_pace(&mut self, pace: Pace) -> Result<(), Error> {
        if let Some(journal) = &mut self.journal {
            journal.append(&LineRef {
                next: self.next,
                clock: Some(pace),
                ..LineRef::default()
            })?;
        }
        self.clock.set(pace);
        Ok(())
    }

    /// Empties all records but those of the set-up objects. The schema stays.
    pub(crate) fn wipe(&mut self) -> Result<usize, Error> {
        let gone = self.wipe_rows();
        self.undo.clear();
        if let Some(journal) = &mut self.journal {
            journal.append(&LineRef {
                next: self.next,
                wiped: true,
                ..LineRef::default()
            })?;
        }
        Ok(gone)
    }

    fn wipe_rows(&mut self) -> usize {
        let mut gone = 0;
        for (at, object) in self.schema.iter() {
            if !object.setup {
                gone += self.rows[at].len();
                self.rows[at].clear();
                self.indexes[at] = Index::default();
            }
        }
        self.bin = self
            .rows
            .iter()
            .flat_map(BTreeMap::values)
            .filter_map(|row| Some((row.deleted?, row.id)))
            .collect();
        self.log.clear();
        self.logged = 0;
        self.jobs.clear();
        gone
    }

    /// The name a record shows.
    pub(crate) fn name_of(&self, row: &Row) -> String {
        let object = self.schema.object(row.object);
        let shown = object
            .name_field()
            .map(|f| row.value(object, &object.fields[f], f))
            .and_then(|v| v.as_str().map(str::to_owned));
        shown.unwrap_or_else(|| row.id.to_string())
    }

    /// Changes the modification stamp only, as an automated process does.
    pub(crate) fn touch(&mut self, id: Id, at: Millis, edit: impl FnOnce(&mut Row)) {
        if let Some(mut row) = self.get(id).cloned() {
            edit(&mut row);
            row.stamp = at;
            self.put(row);
        }
    }
}

fn unbin(bin: &mut BTreeSet<(Millis, Id)>, row: &Row) {
    if let Some(at) = row.deleted {
        bin.remove(&(at, row.id));
    }
}
