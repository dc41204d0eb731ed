//! Values to bytes: for tests and the simulation, which build frames as Postgres would send them.
//!
//! ```
//! use syncline::change::{Lsn, Timestamp};
//! use syncline::decode::encode::{self, Cell, OldCells};
//!
//! let frames = [
//!     encode::begin(Lsn(0x100), Timestamp(0), 7),
//!     // … encode::relation(&relation),
//!     encode::insert(16_384, &[Cell::Text("1"), Cell::Null]),
//!     encode::update(16_384, OldCells::None, &[Cell::Text("1"), Cell::Unchanged]),
//!     encode::commit(Lsn(0x100), Lsn(0x130), Timestamp(0)),
//! ];
//! assert_eq!(frames[1][0], b'I');
//! ```
//!
//! Names must hold no NUL: the protocol ends them with one.

use bytes::{BufMut, Bytes, BytesMut};

use super::message::{Message, RawColumn, RawOld, RawRelation};
use crate::change::{Lsn, Relation, ReplicaIdentity, Span, Timestamp};

/// One column of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cell<'a> {
    /// NULL; in a key, also a column that is not part of it.
    Null,
    /// A TOASTed value that the update did not touch.
    Unchanged,
    /// A value in Postgres's text form.
    Text(&'a str),
}

/// What is sent of the old row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OldCells<'a> {
    /// Nothing.
    None,
    /// The identity columns, all others null.
    Key(&'a [Cell<'a>]),
    /// The whole row.
    Full(&'a [Cell<'a>]),
}

/// `B`. `time` is Unix time, as everywhere in Syncline.
pub fn begin(commit: Lsn, time: Timestamp, xid: u32) -> Bytes {
    let time = time.to_postgres();
    raw(&Message::Begin { commit, time, xid }, &[])
}

/// `C`.
pub fn commit(commit: Lsn, end: Lsn, time: Timestamp) -> Bytes {
    let time = time.to_postgres();
    raw(&Message::Commit { commit, end, time }, &[])
}

/// `O`.
pub fn origin(commit: Lsn, name: &str) -> Bytes {
    raw(&Message::Origin { commit, name }, &[])
}

/// `R`.
pub fn relation(relation: &Relation) -> Bytes {
    let columns = relation.columns.iter().map(|column| RawColumn {
        key: column.key,
        name: &column.name,
        type_oid: column.type_oid,
        typmod: column.typmod,
    });
    let raw_relation = RawRelation {
        oid: relation.oid,
        schema: match &*relation.schema {
            "pg_catalog" => "",
            schema => schema,
        },
        name: &relation.name,
        identity: relation.identity,
        columns: columns.collect(),
    };
    raw(&Message::Relation(raw_relation), &[])
}

/// `Y`. `schema` is empty for a built-in type, as for the base type of most domains.
pub fn type_(oid: u32, schema: &str, name: &str) -> Bytes {
    raw(&Message::Type { oid, schema, name }, &[])
}

/// `I`.
pub fn insert(relation: u32, new: &[Cell<'_>]) -> Bytes {
    let mut out = Out::new(b'I');
    out.0.put_u32(relation);
    out.cells(b'N', new);
    out.0.freeze()
}

/// `U`.
pub fn update(relation: u32, old: OldCells<'_>, new: &[Cell<'_>]) -> Bytes {
    let mut out = Out::new(b'U');
    out.0.put_u32(relation);
    out.old_cells(old);
    out.cells(b'N', new);
    out.0.freeze()
}

/// `D`. Postgres never sends one without an old row.
pub fn delete(relation: u32, old: OldCells<'_>) -> Bytes {
    let mut out = Out::new(b'D');
    out.0.put_u32(relation);
    out.old_cells(old);
    out.0.freeze()
}

/// `T`, without CASCADE and RESTART IDENTITY.
pub fn truncate(relations: &[u32]) -> Bytes {
    let message = Message::Truncate {
        cascade: false,
        restart_identity: false,
        relations: relations.into(),
    };
    raw(&message, &[])
}

/// `M`. `lsn` is the end of its record, as Postgres sends it.
pub fn message(transactional: bool, lsn: Lsn, prefix: &str, content: &[u8]) -> Bytes {
    let message = Message::Message {
        transactional,
        lsn,
        prefix,
        content,
    };
    raw(&message, &[])
}

/// The bytes of a message whose rows lie in `frame`.
///
/// What [`message::parse`](super::message::parse) read comes out byte for byte, but for
/// [`Message::StrayAbort`], whose content is not kept.
pub fn raw(message: &Message<'_>, frame: &[u8]) -> Bytes {
    let mut out;
    match message {
        Message::Begin { commit, time, xid } => {
            out = Out::new(b'B');
            out.0.put_u64(commit.0);
            out.0.put_i64(*time);
            out.0.put_u32(*xid);
        }
        Message::Commit { commit, end, time } => {
            out = Out::new(b'C');
            out.0.put_u8(0);
            out.0.put_u64(commit.0);
            out.0.put_u64(end.0);
            out.0.put_i64(*time);
        }
        Message::Origin { commit, name } => {
            out = Out::new(b'O');
            out.0.put_u64(commit.0);
            out.string(name);
        }
        Message::Relation(relation) => {
            out = Out::new(b'R');
            out.relation(relation);
        }
        Message::Type { oid, schema, name } => {
            out = Out::new(b'Y');
            out.0.put_u32(*oid);
            out.string(schema);
            out.string(name);
        }
        Message::Insert { relation, new } => {
            out = Out::new(b'I');
            out.0.put_u32(*relation);
            out.spans(b'N', new, frame);
        }
        Message::Update { relation, old, new } => {
            out = Out::new(b'U');
            out.0.put_u32(*relation);
            out.old_spans(old, frame);
            out.spans(b'N', new, frame);
        }
        Message::Delete { relation, old } => {
            out = Out::new(b'D');
            out.0.put_u32(*relation);
            out.old_spans(old, frame);
        }
        Message::Truncate {
            cascade,
            restart_identity,
            relations,
        } => {
            out = Out::new(b'T');
            out.0.put_u32(relations.len() as u32);
            out.0
                .put_u8(u8::from(*cascade) | u8::from(*restart_identity) << 1);
            relations.iter().for_each(|oid| out.0.put_u32(*oid));
        }
        Message::Message {
            transactional,
            lsn,
            prefix,
            content,
        } => {
            out = Out::new(b'M');
            out.0.put_u8(u8::from(*transactional));
            out.0.put_u64(lsn.0);
            out.string(prefix);
            out.bytes(content);
        }
        Message::StrayAbort => {
            out = Out::new(b'A');
            out.0.put_u64(0);
        }
    }
    out.0.freeze()
}

struct Out(BytesMut);

impl Out {
    fn new(kind: u8) -> Self {
        let mut bytes = BytesMut::with_capacity(256);
        bytes.put_u8(kind);
        Out(bytes)
    }

    fn string(&mut self, text: &str) {
        self.0.put_slice(text.as_bytes());
        self.0.put_u8(0);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.put_u32(bytes.len() as u32);
        self.0.put_slice(bytes);
    }

    fn relation(&mut self, relation: &RawRelation<'_>) {
        self.0.put_u32(relation.oid);
        self.string(relation.schema);
        self.string(relation.name);
        self.0.put_u8(match relation.identity {
            ReplicaIdentity::Default => b'd',
            ReplicaIdentity::Nothing => b'n',
            ReplicaIdentity::Full => b'f',
            ReplicaIdentity::Index => b'i',
        });
        self.0.put_u16(relation.columns.len() as u16);
        for column in &relation.columns {
            self.0.put_u8(u8::from(column.key));
            self.string(column.name);
            self.0.put_u32(column.type_oid);
            self.0.put_i32(column.typmod);
        }
    }

    fn old_cells(&mut self, old: OldCells<'_>) {
        match old {
            OldCells::None => {}
            OldCells::Key(cells) => self.cells(b'K', cells),
            OldCells::Full(cells) => self.cells(b'O', cells),
        }
    }

    fn cells(&mut self, kind: u8, cells: &[Cell<'_>]) {
        self.0.put_u8(kind);
        self.0.put_u16(cells.len() as u16);
        for cell in cells {
            match cell {
                Cell::Null => self.0.put_u8(b'n'),
                Cell::Unchanged => self.0.put_u8(b'u'),
                Cell::Text(text) => {
                    self.0.put_u8(b't');
                    self.bytes(text.as_bytes());
                }
            }
        }
    }

    fn old_spans(&mut self, old: &RawOld, frame: &[u8]) {
        match old {
            RawOld::None => {}
            RawOld::Key(spans) => self.spans(b'K', spans, frame),
            RawOld::Full(spans) => self.spans(b'O', spans, frame),
        }
    }

    fn spans(&mut self, kind: u8, spans: &[Span], frame: &[u8]) {
        self.0.put_u8(kind);
        self.0.put_u16(spans.len() as u16);
        for span in spans {
            match *span {
                Span::Null => self.0.put_u8(b'n'),
                Span::Unchanged => self.0.put_u8(b'u'),
                Span::Text { offset, len } => {
                    let start = offset as usize;
                    let text = frame.get(start..start + len as usize).unwrap_or_default();
                    self.0.put_u8(b't');
                    self.bytes(text);
                }
            }
        }
    }
}
