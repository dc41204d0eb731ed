//! A made-up company's database: random transactions, and the rows they come to.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, RngExt};
use syncline::change::Lsn;
use syncline::decode::encode::{self, Cell, OldCells};

use crate::database::Committed;
use crate::schema::{self, Table};

/// Names a row: its table and its key.
pub type RowId = (Table, i64);

/// One row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    pub name: String,
    /// Rises with every change of any row: what the CRM holds can be dated by it.
    pub version: i64,
    /// Long text: updates may leave it out.
    pub note: Option<String>,
    pub parent: Option<i64>,
}

/// All rows at one moment.
pub type State = BTreeMap<RowId, Row>;

/// Everything that happens.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Each as frames between its Begin and its Commit.
    pub transactions: Vec<Vec<Bytes>>,
    /// So many of them were there before the slot.
    pub before: usize,
    /// The rows after so many transactions.
    pub states: Vec<State>,
}

impl History {
    /// The rows in the end.
    pub fn rows(&self) -> &State {
        self.states.last().expect("the first one at least")
    }
}

struct Author<'a> {
    random: &'a mut SmallRng,
    rows: State,
    version: i64,
    frames: Vec<Bytes>,
    /// Keys that rows were renamed from.
    left: BTreeSet<RowId>,
}

/// Writes a history of `transactions` transactions over at most `ids` keys a table.
pub fn write(random: &mut SmallRng, transactions: usize, ids: i64) -> History {
    let mut author = Author {
        random,
        rows: State::new(),
        version: 0,
        frames: Vec::new(),
        left: BTreeSet::new(),
    };
    let before = match author.random.random_range(0..3) {
        0 => 0,
        _ => author.random.random_range(0..=transactions / 2),
    };
    let mut history = History {
        before,
        states: vec![State::new()],
        ..History::default()
    };
    for _ in 0..transactions {
        let statements = match author.random.random_range(0..10) {
            0 => author.random.random_range(8..40),
            _ => author.random.random_range(1..6),
        };
        for _ in 0..statements {
            author.statement(ids);
        }
        history
            .transactions
            .push(std::mem::take(&mut author.frames));
        history.states.push(author.rows.clone());
    }
    history
}

impl Author<'_> {
    fn statement(&mut self, ids: i64) {
        let table = if self.random.random_bool(0.5) {
            Table::Company
        } else {
            Table::Contact
        };
        let id = self.random.random_range(1..=ids);
        let here = self.rows.contains_key(&(table, id));
        match self.random.random_range(0..100) {
            0..=2 => self
                .frames
                .push(encode::message(true, Lsn(0x10), "note", b"hello")),
            _ if !here => self.insert((table, id)),
            3..=54 => self.update((table, id)),
            55..=74 => self.rename((table, id), ids),
            _ => self.delete((table, id)),
        }
    }

    fn next_version(&mut self) -> i64 {
        self.version += 1;
        self.version
    }

    fn any_company(&mut self) -> Option<i64> {
        let ids: Vec<i64> = self
            .rows
            .keys()
            .filter(|(t, _)| *t == Table::Company)
            .map(|(_, id)| *id)
            .collect();
        if self.random.random_bool(0.3) {
            None
        } else {
            ids.choose(self.random).copied()
        }
    }

    fn insert(&mut self, id: RowId) {
        let parent = match self.random.random_range(0..12) {
            // A company may be its own parent.
            0 if id.0 == Table::Company => Some(id.1),
            _ => self.any_company(),
        };
        let version = self.next_version();
        let note = self
            .random
            .random_bool(0.7)
            .then(|| format!("note {version}"));
        let row = Row {
            name: format!("name {version}"),
            version,
            note,
            parent,
        };
        self.frames.push(with_cells(id.1, &row, false, |c| {
            encode::insert(id.0.oid(), c)
        }));
        self.rows.insert(id, row);
    }

    fn update(&mut self, id: RowId) {
        let parent = if self.random.random_bool(0.4) {
            Some(self.any_company())
        } else {
            None
        };
        let note = self.random.random_bool(0.4);
        let rename = self.random.random_bool(0.6);
        self.change(id, |row, version| {
            if rename {
                row.name = format!("name {version}");
            }
            if note {
                row.note = (version % 3 != 0).then(|| format!("note {version}"));
            }
            if let Some(parent) = parent {
                row.parent = parent;
            }
            !note
        });
    }

    /// Applies `edit` to a row and writes the update; `edit` says whether the note is untouched.
    fn change(&mut self, id: RowId, edit: impl FnOnce(&mut Row, i64) -> bool) {
        let version = self.next_version();
        let Some(row) = self.rows.get_mut(&id) else {
            return;
        };
        row.version = version;
        let untouched = edit(row, version) && row.note.is_some();
        let row = row.clone();
        let update = |c: &[Cell<'_>]| encode::update(id.0.oid(), OldCells::None, c);
        self.frames.push(with_cells(id.1, &row, untouched, update));
    }

    fn rename(&mut self, id: RowId, ids: i64) {
        // Never to a key that a row was renamed from: two rows that exchange their keys while both
        // re-keys are dead letters wait for each other until a person discards one (a known limit,
        // see docs/decisions/re-keys.md).
        let free: Vec<i64> = (1..=ids + 30)
            .filter(|new| {
                let taken = self.rows.contains_key(&(id.0, *new));
                !taken && !self.left.contains(&(id.0, *new))
            })
            .collect();
        let Some(&new) = free.choose(self.random) else {
            return;
        };
        let Some(mut row) = self.rows.remove(&id) else {
            return;
        };
        self.left.insert(id);
        row.version = self.next_version();
        let own = id.0 == Table::Company && row.parent == Some(id.1);
        if own {
            row.parent = Some(new);
        }
        let untouched = row.note.is_some() && self.random.random_bool(0.5);
        let old = id.1.to_string();
        let key = [
            Cell::Text(&old),
            Cell::Null,
            Cell::Null,
            Cell::Null,
            Cell::Null,
        ];
        let update = |c: &[Cell<'_>]| encode::update(id.0.oid(), OldCells::Key(&key), c);
        self.frames.push(with_cells(new, &row, untouched, update));
        self.rows.insert((id.0, new), row);
        if id.0 == Table::Company {
            // ON UPDATE CASCADE: behind the key change, in no order worth the name.
            let mut children = self.children(id.1);
            children.shuffle(self.random);
            for child in children {
                self.change(child, |row, _| {
                    row.parent = Some(new);
                    true
                });
            }
        }
    }

    fn delete(&mut self, id: RowId) {
        let children = if id.0 == Table::Company {
            self.children(id.1)
        } else {
            Vec::new()
        };
        let cascade = self.random.random_bool(0.3) && children.len() < 4;
        self.rows.remove(&id);
        let key = id.1.to_string();
        let cells = [
            Cell::Text(&key),
            Cell::Null,
            Cell::Null,
            Cell::Null,
            Cell::Null,
        ];
        self.frames
            .push(encode::delete(id.0.oid(), OldCells::Key(&cells)));
        // Postgres runs the referential actions behind the delete.
        for child in children {
            if child == id {
                continue;
            }
            if cascade && self.rows.contains_key(&child) {
                self.delete(child);
            } else {
                self.change(child, |row, _| {
                    row.parent = None;
                    true
                });
            }
        }
    }

    fn children(&self, company: i64) -> Vec<RowId> {
        self.rows
            .iter()
            .filter(|(_, row)| row.parent == Some(company))
            .map(|(id, _)| *id)
            .collect()
    }
}

fn with_cells(
    id: i64,
    row: &Row,
    untouched: bool,
    frame: impl FnOnce(&[Cell<'_>]) -> Bytes,
) -> Bytes {
    let id = id.to_string();
    let version = row.version.to_string();
    let parent = row.parent.map(|p| p.to_string());
    let note = match (&row.note, untouched) {
        (_, true) => Cell::Unchanged,
        (Some(note), false) => Cell::Text(note),
        (None, false) => Cell::Null,
    };
    frame(&[
        Cell::Text(&id),
        Cell::Text(&row.name),
        Cell::Text(&version),
        note,
        parent.as_deref().map_or(Cell::Null, Cell::Text),
    ])
}

/// A transaction as the stream brings it; the first one of a connection describes the tables.
pub fn frames(transaction: &Committed, first: bool) -> Vec<Bytes> {
    let mut frames = vec![encode::begin(
        transaction.commit,
        transaction.time,
        transaction.xid,
    )];
    if first {
        frames.extend(schema::relations().iter().map(encode::relation));
    }
    frames.extend(transaction.changes.iter().cloned());
    frames.push(encode::commit(
        transaction.commit,
        transaction.end,
        transaction.time,
    ));
    frames
}

/// A random number of something, small ones more often.
pub fn few(random: &mut impl Rng, most: usize) -> usize {
    let most = random.random_range(1..=most);
    random.random_range(1..=most)
}
