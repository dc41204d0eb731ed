//! The messages of pgoutput, protocol version 1, as they lie in a frame.
//!
//! <https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>
//!
//! Every read is checked, a count never reserves more than the bytes behind it could fill, and a
//! message has to end where its frame ends. What the protocol does not define (a flag, a kind) is
//! refused rather than guessed at: a later protocol version has to be asked for, so it cannot come
//! by itself.

use smallvec::SmallVec;

use super::reader::{Read, Reader};
use super::tuple::{self, Spans};
use crate::change::{Lsn, ReplicaIdentity};

/// One message. Texts borrow from the frame; rows are spans into it.
#[derive(Clone, Debug, PartialEq, Eq)]
// Rows are nearly all of them, and must cost no allocation.
#[allow(clippy::large_enum_variant)]
pub enum Message<'a> {
    /// `B`: a transaction begins.
    Begin {
        /// Start of its commit record.
        commit: Lsn,
        /// When it committed, in microseconds since 2000-01-01 UTC.
        time: i64,
        /// Its number.
        xid: u32,
    },
    /// `C`: a transaction is complete.
    Commit {
        /// Start of its commit record.
        commit: Lsn,
        /// End of its commit record: where the stream may go on.
        end: Lsn,
        /// When it committed, in microseconds since 2000-01-01 UTC.
        time: i64,
    },
    /// `O`: the transaction was replicated to here from somewhere else.
    Origin {
        /// Its commit there.
        commit: Lsn,
        /// Name of the replication origin.
        name: &'a str,
    },
    /// `R`: what a table looks like from here on.
    Relation(RawRelation<'a>),
    /// `Y`: a type that is not built in. For a domain the name is that of its base type.
    Type {
        /// Type oid.
        oid: u32,
        /// Schema; empty means `pg_catalog`.
        schema: &'a str,
        /// Name.
        name: &'a str,
    },
    /// `I`: a new row.
    Insert {
        /// Table oid.
        relation: u32,
        /// The row.
        new: Spans,
    },
    /// `U`: a changed row.
    Update {
        /// Table oid.
        relation: u32,
        /// What was sent of the row before.
        old: RawOld,
        /// The row now.
        new: Spans,
    },
    /// `D`: a row went.
    Delete {
        /// Table oid.
        relation: u32,
        /// What was sent of it; never [`RawOld::None`].
        old: RawOld,
    },
    /// `T`: tables were emptied.
    Truncate {
        /// CASCADE was given (the tables it reached are in the list).
        cascade: bool,
        /// RESTART IDENTITY was given.
        restart_identity: bool,
        /// Table oids.
        relations: SmallVec<[u32; 8]>,
    },
    /// `M`: `pg_logical_emit_message`.
    Message {
        /// Part of a transaction; else it stands outside of all of them.
        transactional: bool,
        /// The *end* of its WAL record, where the next record starts.
        lsn: Lsn,
        /// Its prefix.
        prefix: &'a str,
        /// Its content.
        content: &'a [u8],
    },
    /// `A` outside of a streamed transaction: Postgres 18 has been seen to send it though nobody
    /// asked for streaming. It says nothing.
    StrayAbort,
}

/// The body of a Relation message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRelation<'a> {
    /// Table oid.
    pub oid: u32,
    /// Schema; empty means `pg_catalog`.
    pub schema: &'a str,
    /// Table name.
    pub name: &'a str,
    /// What old rows carry.
    pub identity: ReplicaIdentity,
    /// The columns, in the order of the tuples.
    pub columns: Vec<RawColumn<'a>>,
}

/// A column of a Relation message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawColumn<'a> {
    /// Part of the replica identity.
    pub key: bool,
    /// Name.
    pub name: &'a str,
    /// Type oid.
    pub type_oid: u32,
    /// Type modifier, -1 for none.
    pub typmod: i32,
}

/// What an update or delete carries of the old row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawOld {
    /// Nothing.
    None,
    /// `K`: the identity columns.
    Key(Spans),
    /// `O`: the whole row.
    Full(Spans),
}

/// Bytes that are no message of protocol 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Offset of the byte at which reading failed.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
    /// How many bytes from the start hold no row value and may be shown.
    pub showable: usize,
}

/// Reads the message that `frame` consists of.
pub fn parse(frame: &[u8]) -> Result<Message<'_>, Malformed> {
    let mut reader = Reader::new(frame);
    read(&mut reader).map_err(|what| Malformed {
        at: reader.at,
        what,
        showable: reader.showable.min(frame.len()),
    })
}

fn read<'a>(r: &mut Reader<'a>) -> Read<Message<'a>> {
    if u32::try_from(r.bytes.len()).is_err() {
        return Err("the message is longer than 4 GiB");
    }
    let message = match r.u8()? {
        b'I' => insert(r)?,
        b'U' => update(r)?,
        b'D' => delete(r)?,
        b'B' => Message::Begin {
            commit: r.lsn()?,
            time: r.i64()?,
            xid: r.u32()?,
        },
        b'C' => {
            r.flags(0)?;
            Message::Commit {
                commit: r.lsn()?,
                end: r.lsn()?,
                time: r.i64()?,
            }
        }
        b'O' => Message::Origin {
            commit: r.lsn()?,
            name: r.string()?,
        },
        b'R' => relation(r)?,
        b'Y' => Message::Type {
            oid: r.u32()?,
            schema: r.string()?,
            name: r.string()?,
        },
        b'T' => truncate(r)?,
        b'M' => logical_message(r)?,
        b'A' => {
            // Two transactions; with parallel streaming also an LSN and a time.
            r.take(8)?;
            r.take(if r.left() == 16 { 16 } else { 0 })?;
            Message::StrayAbort
        }
        b'S' | b'E' | b'c' => {
            return Err("a message of a streamed transaction, which was not asked for");
        }
        b'b' | b'P' | b'p' | b'K' | b'r' => {
            return Err("a message of a two-phase commit, which was not asked for");
        }
        _ => {
            // It may be anything, row values included.
            r.showable = 1;
            return Err("an unknown kind of message");
        }
    };
    if r.at != r.bytes.len() {
        return Err("bytes are left over behind the message");
    }
    Ok(message)
}

fn insert<'a>(r: &mut Reader<'a>) -> Read<Message<'a>> {
    r.showable = 5;
    let relation = r.u32()?;
    match r.u8()? {
        b'N' => Ok(Message::Insert {
            relation,
            new: tuple::spans(r)?,
        }),
        _ => Err("an insert without its new row"),
    }
}

fn update<'a>(r: &mut Reader<'a>) -> Read<Message<'a>> {
    r.showable = 5;
    let relation = r.u32()?;
    let mut old = RawOld::None;
    let mut kind = r.u8()?;
    if kind != b'N' {
        old = old_row(r, kind)?;
        kind = r.u8()?;
    }
    if kind != b'N' {
        return Err("an update without its new row");
    }
    Ok(Message::Update {
        relation,
        old,
        new: tuple::spans(r)?,
    })
}

fn delete<'a>(r: &mut Reader<'a>) -> Read<Message<'a>> {
    r.showable = 5;
    let relation = r.u32()?;
    let kind = r.u8()?;
    Ok(Message::Delete {
        relation,
        old: old_row(r, kind)?,
    })
}

fn old_row(r: &mut Reader<'_>, kind: u8) -> Read<RawOld> {
    match kind {
        b'K' => Ok(RawOld::Key(tuple::spans(r)?)),
        b'O' => Ok(RawOld::Full(tuple::spans(r)?)),
        _ => Err("an old row that is neither a key nor whole"),
    }
}

fn relation<'a>(r: &mut Reader<'a>) -> Read<Message<'a>> {
    let oid = r.u32()?;
    let schema = r.string()?;
    let name = r.string()?;
    let identity = match r.u8()? {
        b'd' => ReplicaIdentity::Default,
        b'n' => ReplicaIdentity::Nothing,
        b'f' => ReplicaIdentity::Full,
        b'i' => ReplicaIdentity::Index,
        _ => return Err("an unknown replica identity"),
    };
    let count = r.columns()?;
    // A column takes ten bytes at least: flags, an empty name, oid, typmod.
    let mut columns = Vec::with_capacity(usize::from(count).min(r.left() / 10));
    for _ in 0..count {
        columns.push(RawColumn {
            key: r.flags(1)? == 1,
            name: r.string()?,
            type_oid: r.u32()?,
            typmod: r.i32()?,
        });
    }
    Ok(Message::Relation(RawRelation {
        oid,
        schema,
        name,
        identity,
        columns,
    }))
}

fn truncate<'a>(r: &mut Reader<'a>) -> Read<Message<'a>> {
    let count = r.u32()? as usize;
    let options = r.flags(3)?;
    if count > r.left() / 4 {
        return Err("a truncate that names more tables than it has bytes for");
    }
    let mut relations = SmallVec::with_capacity(count);
    for _ in 0..count {
        relations.push(r.u32()?);
    }
    Ok(Message::Truncate {
        cascade: options & 1 != 0,
        restart_identity: options & 2 != 0,
        relations,
    })
}

fn logical_message<'a>(r: &mut Reader<'a>) -> Read<Message<'a>> {
    // Prefix and content are the application's.
    r.showable = 10;
    let transactional = r.flags(1)? == 1;
    let lsn = r.lsn()?;
    let prefix = r.string()?;
    let len = r.u32()? as usize;
    Ok(Message::Message {
        transactional,
        lsn,
        prefix,
        content: r.take(len)?,
    })
}
