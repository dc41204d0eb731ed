//! Where each thing lies: the keys of the one sorted map that a store is.
//!
//! The first byte is the kind; numbers are big-endian, so that the order of bytes is the order of
//! numbers. sled keeps keys short only when they share prefixes, and ours is never longer than
//! [`LONGEST`].

use super::encoding::{Decoded, Malformed};
use crate::change::{Position, Verdict};
use crate::mapping::{ObjectId, RecordId};
use crate::store::Reason;

/// A key of the map.
pub(super) type RowKey = Box<[u8]>;

/// No key is longer.
pub(super) const LONGEST: usize = 256;

// Kinds. Part of the format: never reuse one.
// `m` is for the single things below.
const LEDGER: u8 = b'l';
const PENDING: u8 = b'p';
const BY_REASON: u8 = b'r';
const WAITING: u8 = b'w';
const COUNT: u8 = b'c';
const VERDICT: u8 = b'v';
const SCHEMA: u8 = b's';
const CHUNK: u8 = b'k';
const LOAD: u8 = b'b';
const JOB: u8 = b'j';

/// Records with a longer external id are named by its beginning and a hash of the whole; their full
/// id is in the value.
const LONGEST_PLAIN: usize = 127;
const PREFIX_OF_LONG: usize = 112;

/// Keys of single things.
pub(super) const IDENTITY: &[u8] = b"midentity";
pub(super) const PROGRESS: &[u8] = b"mprogress";
pub(super) const INTENT: &[u8] = b"mintent";
/// The fields that mappings have used.
pub(super) const FIELDS: &[u8] = b"mfields";
/// What was used of the CRM's daily limit.
pub(super) const SPENT: &[u8] = b"mspent";
/// The version of this list of keys.
pub(super) const LAYOUT: &[u8] = b"mlayout";
/// There while no process has the store open.
pub(super) const CLEAN: &[u8] = b"mclean";
/// How many commits there were.
pub(super) const SEQUENCE: &[u8] = b"msequence";

/// How far the existing rows of a table have been read.
pub(super) fn load(table: &str) -> RowKey {
    concat(&[&[LOAD], &short(table.as_bytes())])
}

/// All of these.
pub(super) const LOADS: &[u8] = &[LOAD];

/// A bulk job that may be running in the CRM.
pub(super) fn job(id: &str) -> RowKey {
    concat(&[&[JOB], &short(id.as_bytes())])
}

/// All of these.
pub(super) const JOBS: &[u8] = &[JOB];

/// Ledger entries, for metrics.
pub(super) const LEDGER_COUNT: &[u8] = b"cl";
/// Fields that hold what people wrote.
pub(super) const KEPT_FIELDS: &[u8] = b"ck";
/// Entries of the shelf, those without an operation included.
pub(super) const SHELF_COUNT: &[u8] = b"cp";

/// Operations on the shelf for one reason.
pub(super) fn reason_count(reason: Reason) -> [u8; 3] {
    [COUNT, b'r', reason.number()]
}

/// One object's stretch of the ledger begins here; the page of its first records has this key.
pub(super) fn ledger_start(object: ObjectId) -> [u8; 5] {
    let [a, b, c, d] = object.0.to_be_bytes();
    [LEDGER, a, b, c, d]
}

/// A ledger page whose records are not before `separator`.
pub(super) fn ledger_page(object: ObjectId, separator: &[u8]) -> RowKey {
    concat(&[&ledger_start(object), separator])
}

/// The separator of a ledger page.
pub(super) fn page_separator(key: &[u8]) -> Decoded<&[u8]> {
    key.get(5..).ok_or(Malformed::Damaged)
}

/// A record's place on the shelf.
pub(super) fn pending(record: &RecordId) -> RowKey {
    concat(&[&[PENDING], &record_key(record)])
}

/// All of the shelf.
pub(super) const SHELF: &[u8] = &[PENDING];

/// The index of the shelf by reason.
pub(super) fn by_reason(reason: Reason, record: &RecordId) -> RowKey {
    concat(&[&reason_start(reason), &record_key(record)])
}

/// All entries of one reason.
pub(super) fn reason_start(reason: Reason) -> [u8; 2] {
    [BY_REASON, reason.number()]
}

/// From an entry of the index by reason to the entry itself.
pub(super) fn pending_from_reason(index: &[u8]) -> Decoded<RowKey> {
    let record = index.get(2..).ok_or(Malformed::Damaged)?;
    Ok(concat(&[&[PENDING], record]))
}

/// The index of the shelf by the record waited for.
pub(super) fn waiting(parent: &RecordId, child: &RecordId) -> RowKey {
    concat(&[&waiting_start(parent), &record_key(child)])
}

/// All that wait for `parent`.
pub(super) fn waiting_start(parent: &RecordId) -> [u8; 17] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&parent.object.0.to_be_bytes());
    hasher.update(parent.key.as_bytes());
    let mut key = [WAITING; 17];
    for (to, from) in key.iter_mut().skip(1).zip(hasher.finalize().as_bytes()) {
        *to = *from;
    }
    key
}

/// All verdict totals.
pub(super) const VERDICTS: &[u8] = &[VERDICT];

/// One verdict total.
pub(super) fn verdict(table: &str, verdict: Verdict) -> RowKey {
    // A qualified name of Postgres has at most 127 bytes; a longer one keeps keys apart all the same.
    concat(&[&[VERDICT, verdict.number()], &short(table.as_bytes())])
}

/// All schema versions.
pub(super) const SCHEMAS: &[u8] = &[SCHEMA];

/// One schema version of a table.
pub(super) fn schema(oid: u32, from: Position) -> RowKey {
    concat(&[
        &schema_start(oid),
        &from.commit.0.to_be_bytes(),
        &from.ordinal.to_be_bytes(),
    ])
}

/// All versions of one table.
pub(super) fn schema_start(oid: u32) -> [u8; 5] {
    let [a, b, c, d] = oid.to_be_bytes();
    [SCHEMA, a, b, c, d]
}

/// A piece of a value that is too long for one row.
pub(super) fn chunk(of: &[u8], number: u16) -> RowKey {
    concat(&[&[CHUNK], of, &number.to_be_bytes()])
}

/// The first key after all that begin with `prefix`; none when there is no such key.
pub(super) fn after_prefix(prefix: &[u8]) -> Option<RowKey> {
    let mut key = prefix.to_vec();
    while let Some(last) = key.pop() {
        if let Some(next) = last.checked_add(1) {
            key.push(next);
            return Some(key.into());
        }
    }
    None
}

/// Object and external id, shortened: at most 132 bytes. Neighbours stay neighbours.
fn record_key(record: &RecordId) -> RowKey {
    concat(&[
        &record.object.0.to_be_bytes(),
        &short(record.key.as_bytes()),
    ])
}

/// As it is, or 128 bytes: the two cannot be taken for each other.
fn short(text: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    if text.len() <= LONGEST_PLAIN {
        return text.into();
    }
    let mut key = text.get(..PREFIX_OF_LONG).unwrap_or(text).to_vec();
    key.extend(blake3::hash(text).as_bytes().iter().take(16));
    key.into()
}

fn concat(parts: &[&[u8]]) -> RowKey {
    parts.concat().into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str) -> RecordId {
        RecordId {
            object: ObjectId(7),
            key: key.into(),
        }
    }

    #[test]
    fn keys_sort_as_records_do_and_stay_short() {
        let mut last = pending(&record(""));
        for key in ["0", "00", "1", "a", "aa", &"a".repeat(127), "b"] {
            let next = pending(&record(key));
            assert!(last < next, "{key}");
            last = next;
        }
        assert!(pending(&record(&"x".repeat(10_000))).len() <= LONGEST);
        assert!(waiting(&record("p"), &record(&"x".repeat(10_000))).len() <= LONGEST);
        assert!(
            chunk(&pending(&record(&"x".repeat(10_000))), 1).len() <= LONGEST,
            "chunks too"
        );
    }

    #[test]
    fn long_ids_stay_apart() {
        let long = "x".repeat(127);
        let keys = [
            record(&long),
            record(&format!("{long}a")),
            record(&format!("{long}b")),
            record(&format!("{long}ab")),
        ]
        .map(|r| pending(&r));
        for (i, one) in keys.iter().enumerate() {
            for other in keys.iter().skip(i + 1) {
                assert_ne!(one, other);
            }
        }
    }

    #[test]
    fn the_end_of_a_prefix() {
        assert_eq!(after_prefix(&[1, 2]).as_deref(), Some(&[1_u8, 3][..]));
        assert_eq!(after_prefix(&[1, 255]).as_deref(), Some(&[2_u8][..]));
        assert_eq!(after_prefix(&[255]), None);
    }
}
