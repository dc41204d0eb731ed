//! Bytes to typed changes.
//!
//! ```text
//! Frame ─► message ─► Decoder ──────────────► Decoded: Begin, Change, Truncate, Schema, Commit
//!          (bytes)    │ transaction: ordinals            │
//!                     │ relations: by oid                └─► value (text by ValueType) ─► Value
//!                     └ types, history
//! ```
//!
//! [`message`] reads one pgoutput message from its frame and knows nothing of the others.
//! [`Decoder`] knows what came before: the open transaction, the tables as they were last
//! described, the types, the schema versions ([`History`]). It yields changes whose rows are spans into the
//! frame: a row of up to 16 columns costs no allocation, and no column is copied. [`value()`]
//! reads one column by its type, for the stream and for every other read of rows, so that a backfilled
//! row and a streamed one can never differ. [`encode`] is the way back, for tests.
//!
//! Invariants
//! - No input panics. A frame is read to its last byte or refused.
//! - Positions are a function of the stream alone: a replay gives each change the position it had.
//!   Ordinals count the changes of a transaction from 0 (inserts, updates, deletes, each table of a
//!   truncate, transactional messages) and nothing else, so a schema message that comes again after
//!   a reconnect moves none of them.
//! - Positions rise within a stream: transactions come in commit order, and one that goes back
//!   behind the one before is refused.
//! - Null, "unchanged" and "not sent" stay apart. An unchanged TOAST value is filled in only from a
//!   whole old row, which holds it; never from a key.
//! - Row values are in no error: of a row, only its table's oid and lengths.
//! - A description that says something new stays news until the caller has worked out the version it
//!   describes ([`resolve`], [`compare`]) and has given it to [`Decoder::adopt`].
//! - After an error the decoder is not used again before [`Decoder::reset`].

mod builtin;
pub mod encode;
mod history;
mod lineage;
#[cfg(test)]
mod lineage_properties;
#[cfg(test)]
mod lineage_tests;
pub mod message;
#[cfg(test)]
mod properties;
mod reader;
mod refusal;
mod schema_change;
#[cfg(test)]
mod tests;
mod tuple;
mod types;
mod value;

use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::capture::{CatalogTable, Frame};
use crate::change::{Change, Column, Kind, Lsn, OldRow, Position, Relation, Timestamp, Tuple};
use crate::fault::Result;
use message::{Message, RawOld, RawRelation};
use refusal::Cause;

pub use history::History;
pub use lineage::{is_stand_in, resolve};
pub use schema_change::{SchemaChange, compare};
pub use tuple::Spans;
pub use types::Types;
pub use value::{ValueError, value};

/// What a message of the stream means.
#[derive(Clone, Debug)]
// Changes are nearly all of them, so their size is not worth an allocation.
#[allow(clippy::large_enum_variant)]
pub enum Decoded {
    /// A transaction begins.
    Begin {
        /// Start of its commit record: the `commit` of its changes' positions.
        commit: Lsn,
        /// When it committed.
        time: Timestamp,
        /// Its number.
        xid: u32,
    },
    /// The open transaction came from another server through a replication origin.
    Origin {
        /// Name of the origin.
        name: Box<str>,
    },
    /// A row changed, or a message was emitted. A message that is not transactional may stand
    /// outside of a transaction; it has the xid 0 and, as it carries no time, that of the last
    /// commit before it (1970 when there was none).
    Change(Change),
    /// Tables were emptied: one change each.
    Truncate(SmallVec<[Change; 1]>),
    /// A table was described, in the middle of the open transaction.
    Schema {
        /// The table from here on, its columns numbered as far as their numbers are known.
        relation: Arc<Relation>,
        /// Position of the next change: the first that the description can hold for.
        position: Position,
        /// It says something not known so far; else an equal or an old description, sent again.
        changed: bool,
    },
    /// The transaction is complete.
    Commit {
        /// Start of its commit record.
        commit: Lsn,
        /// End of its commit record: the only LSN fit for a checkpoint.
        end: Lsn,
        /// When it committed.
        time: Timestamp,
    },
}

/// The transaction whose changes are arriving.
#[derive(Clone, Copy, Debug)]
struct Open {
    commit: Lsn,
    time: Timestamp,
    xid: u32,
    /// Ordinal of its next change.
    next: u64,
}

/// Decodes a stream of pgoutput messages, protocol version 1.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    types: Types,
    history: History,
    relations: HashMap<u32, Arc<Relation>>,
    open: Option<Open>,
    /// End of the last commit in this stream.
    last_end: Lsn,
    /// Time of the last commit.
    last_time: Timestamp,
}

impl Decoder {
    /// A decoder at the start of a stream, with the catalog's types and the schema versions that the
    /// store holds (each from the position since which it holds).
    pub fn new(types: Types, stored: Vec<(Position, CatalogTable)>) -> Self {
        Decoder {
            types,
            history: History::new(stored),
            ..Decoder::default()
        }
    }

    /// Starts over after a reconnect. The open transaction and the relations are forgotten: the server
    /// sends them again. Schema versions are not: whoever adopts one has stored it.
    pub fn reset(&mut self) {
        self.open = None;
        self.relations.clear();
        self.last_end = Lsn(0);
    }

    /// Whether a transaction is open.
    pub fn in_transaction(&self) -> bool {
        self.open.is_some()
    }

    /// Adds rows of `pg_type`. Relations described so far are read with them from the next change on.
    pub fn add_types(&mut self, rows: Vec<crate::value::TypeRow>) {
        self.types.add(rows);
        for relation in self.relations.values_mut() {
            let mut newer = Relation::clone(relation);
            for column in &mut newer.columns {
                column.value_type = self.types.value_type(column.type_oid);
            }
            if newer != **relation {
                *relation = Arc::new(newer);
            }
        }
    }

    /// The table `oid` as it was last described in this stream, with what is known by now of its
    /// types and of its columns' numbers.
    pub fn relation(&self, oid: u32) -> Option<Arc<Relation>> {
        self.relations.get(&oid).cloned()
    }

    /// The relation that rows read from the catalog's table have.
    pub fn relation_of(&self, table: &CatalogTable) -> Relation {
        let columns = table.columns.iter().map(|column| Column {
            attnum: column.attnum,
            name: column.name.clone(),
            type_oid: column.type_oid,
            typmod: column.typmod,
            key: table.identity_columns.contains(&column.name),
            value_type: self.types.value_type(column.type_oid),
        });
        Relation {
            oid: table.oid,
            schema: table.schema.clone(),
            name: table.name.clone(),
            identity: table.identity,
            columns: columns.collect(),
        }
    }

    /// From `from` on the table is `table`; ignored when that is not newer than what is known of it.
    /// The table's relation is numbered by it from the next change on.
    pub fn adopt(&mut self, from: Position, table: CatalogTable) {
        let oid = table.oid;
        self.history.adopt(from, table);
        if let Some(relation) = self.relations.get_mut(&oid) {
            let mut newer = Relation::clone(relation);
            self.history.number(from, &mut newer);
            if newer != **relation {
                *relation = Arc::new(newer);
            }
        }
    }

    /// The newest version known of a table: by oid, else by name.
    pub fn newest(&self, oid: u32, schema: &str, name: &str) -> Option<&CatalogTable> {
        self.history.newest(oid, schema, name)
    }

    /// When the open transaction committed.
    pub fn commit_time(&self) -> Option<Timestamp> {
        self.open.map(|open| open.time)
    }

    /// Decodes the next message. `None`: it says nothing by itself (a type, learnt in passing).
    ///
    /// An error is of [`ErrorKind::Protocol`](crate::fault::ErrorKind::Protocol): the same bytes will not become readable by trying
    /// again.
    pub fn decode(&mut self, frame: &Frame) -> Result<Option<Decoded>> {
        let message = match message::parse(&frame.payload) {
            Ok(message) => message,
            Err(malformed) => return Err(refusal::unreadable(frame, &malformed)),
        };
        self.apply(frame, message)
            .map_err(|cause| refusal::refused(frame, &cause))
    }

    fn apply(&mut self, frame: &Frame, message: Message<'_>) -> Result<Option<Decoded>, Cause> {
        Ok(Some(match message {
            Message::Insert { relation, new } => {
                let relation = self.known(relation)?;
                let new = row(&relation, frame, new)?;
                self.change(Some(relation), Kind::Insert { new })?
            }
            Message::Update {
                relation,
                old,
                mut new,
            } => {
                let relation = self.known(relation)?;
                if let RawOld::Full(old) = &old {
                    tuple::fill_unchanged(&mut new, old);
                }
                let old = old_row(&relation, frame, old)?;
                let new = row(&relation, frame, new)?;
                self.change(Some(relation), Kind::Update { old, new })?
            }
            Message::Delete { relation, old } => {
                let relation = self.known(relation)?;
                let old = old_row(&relation, frame, old)?;
                self.change(Some(relation), Kind::Delete { old })?
            }
            Message::Truncate { relations, .. } => self.truncate(&relations)?,
            Message::Message {
                transactional,
                lsn,
                prefix,
                content,
            } => {
                let kind = Kind::Message {
                    prefix: prefix.into(),
                    content: frame.payload.slice_ref(content),
                    transactional,
                };
                if transactional {
                    self.change(None, kind)?
                } else {
                    self.outside(lsn, kind)
                }
            }
            Message::Begin { commit, time, xid } => self.begin(commit, time, xid)?,
            Message::Commit { commit, end, time } => self.commit(commit, end, time)?,
            Message::Relation(raw) => self.describe(&raw)?,
            Message::Type { oid, schema, name } => {
                self.types.learn(oid, schema, name);
                return Ok(None);
            }
            Message::Origin { name, .. } => {
                self.open()?;
                Decoded::Origin { name: name.into() }
            }
            Message::StrayAbort => {
                tracing::warn!(
                    lsn = %frame.lsn,
                    "ignored a stream abort: no transaction is streamed"
                );
                return Ok(None);
            }
        }))
    }

    fn begin(&mut self, commit: Lsn, time: i64, xid: u32) -> Result<Decoded, Cause> {
        if let Some(open) = self.open {
            return Err(Cause::Nested(open.commit));
        }
        if commit < self.last_end {
            return Err(Cause::Backwards(commit, self.last_end));
        }
        let time = Timestamp::from_postgres(time);
        self.open = Some(Open {
            commit,
            time,
            xid,
            next: 0,
        });
        Ok(Decoded::Begin { commit, time, xid })
    }

    fn commit(&mut self, commit: Lsn, end: Lsn, time: i64) -> Result<Decoded, Cause> {
        let open = *self.open()?;
        if open.commit != commit {
            return Err(Cause::OtherCommit(commit, open.commit));
        }
        if end <= commit {
            return Err(Cause::EmptyCommit(commit, end));
        }
        self.open = None;
        self.last_end = end;
        self.last_time = open.time;
        Ok(Decoded::Commit {
            commit,
            end,
            time: Timestamp::from_postgres(time),
        })
    }

    fn describe(&mut self, raw: &RawRelation<'_>) -> Result<Decoded, Cause> {
        let open = *self.open()?;
        let position = Position {
            commit: open.commit,
            ordinal: open.next,
        };
        let mut relation = self.read(raw);
        self.history.number(position, &mut relation);
        // An equal description keeps the one that changes share already.
        let relation = match self.relations.get(&raw.oid) {
            Some(known) if **known == relation => known.clone(),
            _ => {
                let relation = Arc::new(relation);
                self.relations.insert(raw.oid, relation.clone());
                relation
            }
        };
        let changed = self.history.is_news(position, &relation);
        Ok(Decoded::Schema {
            relation,
            position,
            changed,
        })
    }

    fn read(&self, raw: &RawRelation<'_>) -> Relation {
        let schema = if raw.schema.is_empty() {
            "pg_catalog"
        } else {
            raw.schema
        };
        let columns = raw.columns.iter().map(|column| Column {
            attnum: 0,
            name: column.name.into(),
            type_oid: column.type_oid,
            typmod: column.typmod,
            key: column.key,
            value_type: self.types.value_type(column.type_oid),
        });
        Relation {
            oid: raw.oid,
            schema: schema.into(),
            name: raw.name.into(),
            identity: raw.identity,
            columns: columns.collect(),
        }
    }

    fn truncate(&mut self, oids: &[u32]) -> Result<Decoded, Cause> {
        let mut changes = SmallVec::new();
        for oid in oids {
            let relation = self.known(*oid)?;
            let open = self.open()?;
            changes.push(open.change(Some(relation), Kind::Truncate));
        }
        Ok(Decoded::Truncate(changes))
    }

    /// The next change of the open transaction.
    fn change(&mut self, relation: Option<Arc<Relation>>, kind: Kind) -> Result<Decoded, Cause> {
        Ok(Decoded::Change(self.open()?.change(relation, kind)))
    }

    /// A message that belongs to no transaction.
    fn outside(&self, lsn: Lsn, kind: Kind) -> Decoded {
        // Its LSN is the end of its record, and there the next record starts: often the commit of
        // the very transaction that emitted it, whose first change would then have the same position.
        // One byte earlier lies inside its own record, where no other position can be.
        let commit = Lsn(lsn.0.saturating_sub(1));
        Decoded::Change(Change {
            position: Position { commit, ordinal: 0 },
            commit_time: self.last_time,
            xid: 0,
            relation: None,
            kind,
        })
    }

    fn known(&self, oid: u32) -> Result<Arc<Relation>, Cause> {
        self.relations.get(&oid).cloned().ok_or(Cause::Unknown(oid))
    }

    fn open(&mut self) -> Result<&mut Open, Cause> {
        self.open.as_mut().ok_or(Cause::Outside)
    }
}

impl Open {
    fn change(&mut self, relation: Option<Arc<Relation>>, kind: Kind) -> Change {
        let position = Position {
            commit: self.commit,
            ordinal: self.next,
        };
        self.next += 1;
        Change {
            position,
            commit_time: self.time,
            xid: self.xid,
            relation,
            kind,
        }
    }
}

fn old_row(relation: &Relation, frame: &Frame, old: RawOld) -> Result<OldRow, Cause> {
    Ok(match old {
        RawOld::None => OldRow::None,
        RawOld::Key(spans) => OldRow::Key(row(relation, frame, spans)?),
        RawOld::Full(spans) => OldRow::Full(row(relation, frame, spans)?),
    })
}

fn row(relation: &Relation, frame: &Frame, spans: Spans) -> Result<Tuple, Cause> {
    if spans.len() != relation.columns.len() {
        return Err(Cause::Columns {
            table: relation.qualified(),
            has: spans.len(),
            expected: relation.columns.len(),
        });
    }
    Ok(Tuple {
        frame: frame.payload.clone(),
        spans,
    })
}
