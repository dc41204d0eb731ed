//! What a change is, where it stands, and what can become of it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;

use crate::value::ValueType;

/// A byte position in the write-ahead log, written `16/B374D848` as Postgres does.
///
/// <https://www.postgresql.org/docs/current/datatype-pg-lsn.html>
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not an LSN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an LSN (expected two hexadecimal numbers as in 16/B374D848)")]
pub struct NotAnLsn;

impl FromStr for Lsn {
    type Err = NotAnLsn;

    fn from_str(text: &str) -> Result<Self, NotAnLsn> {
        let (high, low) = text.split_once('/').ok_or(NotAnLsn)?;
        // `from_str_radix` takes a leading `+`, which no LSN has.
        let half = |s: &str| match s.as_bytes().first() {
            Some(b) if b.is_ascii_hexdigit() => u32::from_str_radix(s, 16).map_err(|_| NotAnLsn),
            _ => Err(NotAnLsn),
        };
        Ok(Lsn(u64::from(half(high)?) << 32 | u64::from(half(low)?)))
    }
}

/// Where a change stands: the start LSN of its transaction's commit record, and its number in the
/// transaction, from 0. The order of positions is the commit order.
///
/// A position means something only together with the [`Identity`] it belongs to.
#[derive(
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Position {
    /// Start of the commit record (`Begin.final_lsn`). Several changes share it.
    pub commit: Lsn,
    /// Number of the change in its transaction.
    pub ordinal: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.commit, self.ordinal)
    }
}

/// What a position needs to mean something.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// `IDENTIFY_SYSTEM`'s systemid.
    pub system: String,
    /// Timeline of the WAL.
    pub timeline: u32,
    /// Database name.
    pub database: String,
    /// Slot name.
    pub slot: String,
    /// Publication: it decides what an ordinal counts.
    pub publication: String,
    /// Where the slot began: tells a slot made anew from the old one of the same name.
    pub consistent_point: Lsn,
}

/// Microseconds since 1970-01-01 00:00:00 UTC.
#[derive(
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// From Postgres's clock: microseconds since 2000-01-01 UTC. Saturates.
    pub fn from_postgres(micros: i64) -> Self {
        Timestamp(micros.saturating_add(946_684_800_000_000))
    }

    /// To Postgres's clock. Saturates.
    pub fn to_postgres(self) -> i64 {
        self.0.saturating_sub(946_684_800_000_000)
    }

    /// Time from `earlier` to this, zero when it is not earlier.
    pub fn since(self, earlier: Timestamp) -> std::time::Duration {
        std::time::Duration::from_micros(self.0.saturating_sub(earlier.0).max(0) as u64)
    }

    /// So much later. Saturates.
    #[must_use]
    pub fn after(self, span: std::time::Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_add(micros))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(t) => fmt::Display::fmt(&t, f),
            Err(_) => write!(f, "{}µs", self.0),
        }
    }
}

/// What identifies the old row of an update or a delete.
///
/// <https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-REPLICA-IDENTITY>
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaIdentity {
    /// The primary key, if there is one.
    Default,
    /// Nothing: the publisher refuses updates and deletes.
    Nothing,
    /// The whole old row.
    Full,
    /// The columns of a unique index.
    Index,
}

impl ReplicaIdentity {
    /// The word for it, as in `ALTER TABLE … REPLICA IDENTITY`.
    pub fn word(self) -> &'static str {
        match self {
            ReplicaIdentity::Default => "default",
            ReplicaIdentity::Nothing => "nothing",
            ReplicaIdentity::Full => "full",
            ReplicaIdentity::Index => "index",
        }
    }
}

/// A column as a Relation message describes it, with its type resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// Attribute number in the catalog: it stays through renames and is never used again. 0 as long
    /// as it is not known: the stream does not carry it.
    pub attnum: i16,
    /// Name in the table.
    pub name: Box<str>,
    /// Type oid; extension and user types differ from database to database.
    pub type_oid: u32,
    /// Type modifier, -1 for none (`varchar(n)`: n + 4).
    pub typmod: i32,
    /// Part of the replica identity.
    pub key: bool,
    /// How to read its text.
    pub value_type: ValueType,
}

/// A table at one version of its schema. Tuples can only be read with the relation they came with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Relation {
    /// Table oid.
    pub oid: u32,
    /// Schema name.
    pub schema: Box<str>,
    /// Table name.
    pub name: Box<str>,
    /// What old rows carry.
    pub identity: ReplicaIdentity,
    /// The columns, in the order of the tuples.
    pub columns: Box<[Column]>,
}

impl Relation {
    /// `schema.table`, as the configuration names tables.
    pub fn qualified(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// One column of a tuple, still as bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Datum<'a> {
    /// SQL NULL. In a key tuple the columns outside the key are "not sent" and read as this: take
    /// only key columns from a key tuple.
    Null,
    /// A TOASTed value that the update did not touch: not sent, not null.
    Unchanged,
    /// The value in Postgres's text form.
    Text(&'a [u8]),
}

/// Where one column's value lies in its frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Span {
    /// See [`Datum::Null`].
    Null,
    /// See [`Datum::Unchanged`].
    Unchanged,
    /// Offset and length in the frame.
    Text {
        /// First byte.
        offset: u32,
        /// Number of bytes.
        len: u32,
    },
}

/// The columns of one row: slices of the frame it arrived in, nothing copied.
#[derive(Clone, Debug)]
pub struct Tuple {
    /// The frame the spans point into. It pins its whole read buffer: copy what outlives a window.
    pub frame: Bytes,
    /// One span a column of the relation. Checked against the frame when it was decoded.
    pub spans: smallvec::SmallVec<[Span; 16]>,
}

impl Tuple {
    /// Column `index`; `Unchanged` when there is no such column (decode has checked the count).
    pub fn get(&self, index: usize) -> Datum<'_> {
        match self.spans.get(index) {
            Some(Span::Null) => Datum::Null,
            Some(Span::Text { offset, len }) => {
                let start = *offset as usize;
                match self.frame.get(start..start + *len as usize) {
                    Some(bytes) => Datum::Text(bytes),
                    None => Datum::Unchanged,
                }
            }
            Some(Span::Unchanged) | None => Datum::Unchanged,
        }
    }
}

/// The old row of an update or a delete.
#[derive(Clone, Debug)]
pub enum OldRow {
    /// Not sent: the identity did not change.
    None,
    /// Only the identity columns mean anything.
    Key(Tuple),
    /// All columns (`REPLICA IDENTITY FULL`).
    Full(Tuple),
}

/// What happened.
#[derive(Clone, Debug)]
// Rows are nearly all of them, and must cost no allocation.
#[allow(clippy::large_enum_variant)]
pub enum Kind {
    /// A new row.
    Insert {
        /// The row.
        new: Tuple,
    },
    /// A row changed.
    Update {
        /// Its identity before, where that changed or is sent whole.
        old: OldRow,
        /// The row now; unchanged TOAST columns are absent.
        new: Tuple,
    },
    /// A row went.
    Delete {
        /// What identified it.
        old: OldRow,
    },
    /// The table was emptied. One change a table.
    Truncate,
    /// `pg_logical_emit_message`. It has no relation.
    Message {
        /// Its prefix.
        prefix: Box<str>,
        /// Its content.
        content: Bytes,
        /// False: emitted outside of any transaction's fate.
        transactional: bool,
    },
}

/// One change of the source, typed but not yet mapped.
#[derive(Clone, Debug)]
pub struct Change {
    /// Where it stands in commit order.
    pub position: Position,
    /// When its transaction committed, by the database's clock.
    pub commit_time: Timestamp,
    /// Its transaction, for people to look up.
    pub xid: u32,
    /// The table as it was at that moment; none for a message.
    pub relation: Option<Arc<Relation>>,
    /// What happened.
    pub kind: Kind,
}

/// What became of a change. Every change ends in exactly one; the counts add up.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Written to the CRM, or already so there (a delete of what is gone).
    Applied,
    /// Merged into a later change of the same record.
    Merged,
    /// The CRM already holds these values, as far as we wrote them: nothing was sent.
    Unchanged,
    /// Not newer than what the record already has.
    Stale,
    /// A person's newer edit was left alone.
    Kept,
    /// Left out by an explicit rule (an ignored table, a message nobody asked for, a discard).
    Ignored,
    /// On the shelf: the CRM still has to get it.
    Pending,
}

impl Verdict {
    /// All verdicts, in the order in which they are shown.
    pub const ALL: [Verdict; 7] = [
        Verdict::Applied,
        Verdict::Merged,
        Verdict::Unchanged,
        Verdict::Stale,
        Verdict::Kept,
        Verdict::Ignored,
        Verdict::Pending,
    ];

    /// The word for it in logs, metrics and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Applied => "applied",
            Verdict::Merged => "merged",
            Verdict::Unchanged => "unchanged",
            Verdict::Stale => "stale",
            Verdict::Kept => "kept",
            Verdict::Ignored => "ignored",
            Verdict::Pending => "pending",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lsn_reads_what_it_writes() {
        for raw in [0, 1, 0x16_B374_D848, u64::MAX] {
            assert_eq!(Lsn(raw).to_string().parse::<Lsn>().unwrap(), Lsn(raw));
        }
        assert_eq!(Lsn(0x16_B374_D848).to_string(), "16/B374D848");
        for bad in [
            "",
            "/",
            "1",
            "1/",
            "/1",
            "+1/1",
            "1/+1",
            "1/100000000",
            "x/1",
            "1/1/1",
        ] {
            assert!(bad.parse::<Lsn>().is_err(), "{bad}");
        }
    }

    #[test]
    fn positions_sort_in_commit_order() {
        let at = |commit, ordinal| Position {
            commit: Lsn(commit),
            ordinal,
        };
        assert!(at(1, 9) < at(2, 0));
        assert!(at(2, 0) < at(2, 1));
    }
}
