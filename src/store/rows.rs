//! The one sorted map, and what changes it.
//!
//! Both stores are a sorted map from bytes to bytes. What a settlement means is worked out once,
//! against [`Rows`], and comes out as [`Changes`]: the stores differ only in how they make those
//! durable. No row is longer than [`LONGEST_VALUE`]: sled moves pages with longer values to files
//! that it never syncs. Longer values are cut into chunks here.

use std::borrow::Cow;
use std::ops::Bound;

use super::encoding::{Decoded, FORMAT, Malformed, Reader, Stored, from_value, put_varint};
use super::keys::{self, RowKey};
use crate::fault::{Error, ErrorKind, Result};

/// Bytes in a row's value.
pub(super) const LONGEST_VALUE: usize = 4096;

/// First byte of a row that says where the chunks of a value are.
const CHUNKED: u8 = 0xFE;

/// Bytes of content in a chunk (the first byte is the format).
const CHUNK_CONTENT: usize = LONGEST_VALUE - 1;

/// A sorted map, as it is now.
pub(super) trait Rows {
    /// Borrowed or shared bytes.
    type Bytes<'a>: AsRef<[u8]>
    where
        Self: 'a;

    /// Rows in the order of their keys, from either end.
    type Scan<'a>: DoubleEndedIterator<Item = Result<(Self::Bytes<'a>, Self::Bytes<'a>)>>
    where
        Self: 'a;

    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Self::Bytes<'_>>>;

    /// Rows between the bounds.
    fn scan(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Self::Scan<'_>;

    /// Rows whose keys begin with `prefix`.
    fn scan_prefix(&self, prefix: &[u8]) -> Self::Scan<'_> {
        self.scan_prefix_after(prefix, None)
    }

    /// Rows whose keys begin with `prefix` and come after `after`.
    fn scan_prefix_after(&self, prefix: &[u8], after: Option<&[u8]>) -> Self::Scan<'_> {
        let end = keys::after_prefix(prefix);
        self.scan(
            after.map_or(Bound::Included(prefix), Bound::Excluded),
            end.as_deref().map_or(Bound::Unbounded, Bound::Excluded),
        )
    }
}

/// What becomes of the map, all of it or nothing. Each key at most once.
#[derive(Default, Debug)]
pub(super) struct Changes {
    /// New values; none removes the row.
    pub(super) rows: Vec<(RowKey, Option<Vec<u8>>)>,
}

impl Changes {
    /// Puts a short value where never a long one was.
    pub(super) fn put_short(&mut self, key: impl Into<RowKey>, value: Vec<u8>) {
        self.rows.push((key.into(), Some(value)));
    }

    /// Removes a row that never held a long value.
    pub(super) fn remove_short(&mut self, key: impl Into<RowKey>) {
        self.rows.push((key.into(), None));
    }

    /// Puts a value of any length. `old` is the row that is there now.
    pub(super) fn put(&mut self, key: RowKey, value: Vec<u8>, old: Option<&[u8]>) -> Result<()> {
        let old_chunks = chunks_of(old)?;
        let mut chunks = 0;
        let row = if value.len() <= LONGEST_VALUE {
            value
        } else {
            for piece in value.chunks(CHUNK_CONTENT) {
                let mut row = Vec::with_capacity(piece.len() + 1);
                row.push(FORMAT);
                row.extend_from_slice(piece);
                self.rows.push((keys::chunk(&key, chunks), Some(row)));
                chunks = chunks.checked_add(1).ok_or_else(too_long)?;
            }
            let mut row = vec![CHUNKED, FORMAT];
            put_varint(&mut row, u64::from(chunks));
            put_varint(&mut row, value.len() as u64);
            row.extend_from_slice(&crc32c::crc32c(&value).to_le_bytes());
            row
        };
        for number in chunks..old_chunks {
            self.rows.push((keys::chunk(&key, number), None));
        }
        self.rows.push((key, Some(row)));
        Ok(())
    }

    /// Removes a value of any length. `old` is the row that is there now.
    pub(super) fn remove(&mut self, key: RowKey, old: Option<&[u8]>) -> Result<()> {
        for number in 0..chunks_of(old)? {
            self.rows.push((keys::chunk(&key, number), None));
        }
        self.rows.push((key, None));
        Ok(())
    }

    /// Refuses what sled could not keep safely, in every build.
    pub(super) fn check(&self) -> Result<()> {
        for (key, value) in &self.rows {
            let len = value.as_ref().map_or(0, Vec::len);
            if len > LONGEST_VALUE || key.len() > keys::LONGEST {
                return Err(Error::new(
                    ErrorKind::Store,
                    format!(
                        "a row of the store has a key of {} and a value of {len} bytes; {} and \
                         {LONGEST_VALUE} are the most it can keep safely",
                        key.len(),
                        keys::LONGEST
                    ),
                )
                .remedy("this is a mistake in syncline: please report it"));
            }
        }
        Ok(())
    }
}

fn too_long() -> Error {
    Error::new(
        ErrorKind::Store,
        "a value for the store has more than 256 MiB",
    )
    .remedy("lower delivery.max_bytes or source.max_frame")
}

/// How many chunks belong to a row.
fn chunks_of(row: Option<&[u8]>) -> Result<u16> {
    match row {
        Some([CHUNKED, rest @ ..]) => Ok(header(rest).map_err(|e| e.error("a long value"))?.chunks),
        _ => Ok(0),
    }
}

struct Header {
    chunks: u16,
    len: usize,
    crc: u32,
}

fn header(row: &[u8]) -> Decoded<Header> {
    let mut reader = Reader::versioned(row)?;
    let header = Header {
        chunks: u16::try_from(reader.varint()?).map_err(|_| Malformed::Damaged)?,
        len: usize::try_from(reader.varint()?).map_err(|_| Malformed::Damaged)?,
        crc: u32::from_le_bytes(reader.array()?),
    };
    reader.end()?;
    match header.len <= usize::from(header.chunks) * CHUNK_CONTENT {
        true => Ok(header),
        false => Err(Malformed::Damaged),
    }
}

/// The whole value of a row, its chunks put together.
pub(super) fn whole<'a, R: Rows>(
    rows: &R,
    key: &[u8],
    row: &'a [u8],
    what: &'static str,
) -> Result<Cow<'a, [u8]>> {
    let [CHUNKED, rest @ ..] = row else {
        return Ok(Cow::Borrowed(row));
    };
    let header = header(rest).map_err(|e| e.error(what))?;
    let mut value = Vec::with_capacity(header.len);
    for number in 0..header.chunks {
        let chunk = rows.get(&keys::chunk(key, number))?;
        match chunk.as_ref().and_then(|c| c.as_ref().split_first()) {
            Some((1..=FORMAT, content)) => value.extend_from_slice(content),
            _ => return Err(Malformed::Damaged.error(what)),
        }
    }
    if value.len() != header.len || crc32c::crc32c(&value) != header.crc {
        return Err(Malformed::Damaged.error(what));
    }
    Ok(Cow::Owned(value))
}

/// Reads the value of `key`. `what` names it in an error.
pub(super) fn load<R: Rows, T: Stored>(
    rows: &R,
    key: &[u8],
    what: &'static str,
) -> Result<Option<T>> {
    match rows.get(key)? {
        Some(row) => decode_row(rows, key, row.as_ref(), what).map(Some),
        None => Ok(None),
    }
}

/// Reads the value in a row.
pub(super) fn decode_row<R: Rows, T: Stored>(
    rows: &R,
    key: &[u8],
    row: &[u8],
    what: &'static str,
) -> Result<T> {
    from_value(&whole(rows, key, row, what)?).map_err(|e| e.error(what))
}
