//! A page of the ledger: neighbouring records in one row.
//!
//! ```text
//! format │ lists of field ids │ entry │ entry │ …      entries sorted by external id
//!                               entry = external id, number of its list, body
//!                               body  = existence, position, CRM id, parents, fingerprints,
//!                                       fields that people keep (if there are any)
//! ```
//!
//! Records of one object have the same fields, mostly: their ids stand once a page. Reading one
//! record skips over the others without decoding them, and changing one copies the others as bytes.

use smallvec::SmallVec;

use super::LedgerEntry;
use super::encoding::{Decoded, FORMAT, Malformed, Reader, Stored, put_bytes, put_varint};
use crate::mapping::{FieldId, Fingerprint};

/// Bytes of a field id and of a fingerprint.
const ID: usize = 4;
const FINGERPRINT: usize = 8;

/// A record in a page, still as bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry<'a> {
    /// External id.
    pub(super) key: &'a [u8],
    /// Its fields' ids.
    fields: &'a [u8],
    /// The rest.
    body: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The record's state.
    pub(super) fn decode(&self) -> Decoded<LedgerEntry> {
        let mut reader = Reader::new(self.body);
        let existence = Stored::decode(&mut reader)?;
        let position = Stored::decode(&mut reader)?;
        let crm_id = Stored::decode(&mut reader)?;
        let parents = Stored::decode(&mut reader)?;
        let mut fingerprints = Vec::with_capacity(self.fields.len() / ID);
        for id in self.fields.chunks_exact(ID) {
            let id = FieldId::decode(&mut Reader::new(id))?;
            fingerprints.push((id, Fingerprint::decode(&mut reader)?));
        }
        // Nearly always empty: then it is not there, as in values of format 1.
        let kept_fields = match reader.is_at_end() {
            true => Vec::new(),
            false => Stored::decode(&mut reader)?,
        };
        reader.end()?;
        Ok(LedgerEntry {
            kept_fields,
            position,
            existence,
            crm_id,
            fingerprints,
            parents,
        })
    }

    /// Bytes it takes in a page, the ids of its fields left out: neighbours share them.
    pub(super) fn size(&self) -> usize {
        self.key.len() + self.body.len() + 5
    }
}

/// Where an entry's bytes are in an [`Arena`].
#[derive(Clone, Copy)]
struct Extent {
    start: usize,
    fields: usize,
    body: usize,
}

/// New entries, encoded one after the other.
#[derive(Default)]
pub(super) struct Arena {
    bytes: Vec<u8>,
    extents: Vec<Extent>,
}

impl Arena {
    /// Room for `entries` of usual size.
    pub(super) fn with_capacity(entries: usize) -> Self {
        Arena {
            bytes: Vec::with_capacity(entries * 192),
            extents: Vec::with_capacity(entries),
        }
    }

    /// Encodes an entry; they are numbered from 0.
    pub(super) fn push(&mut self, entry: &LedgerEntry) {
        let start = self.bytes.len();
        let out = &mut self.bytes;
        for (id, _) in &entry.fingerprints {
            id.encode(out);
        }
        let fields = out.len() - start;
        entry.existence.encode(out);
        entry.position.encode(out);
        entry.crm_id.encode(out);
        entry.parents.encode(out);
        for (_, fingerprint) in &entry.fingerprints {
            fingerprint.encode(out);
        }
        if !entry.kept_fields.is_empty() {
            entry.kept_fields.encode(out);
        }
        let body = out.len() - start - fields;
        self.extents.push(Extent {
            start,
            fields,
            body,
        });
    }

    /// Entry `number`, for the record with that external id.
    pub(super) fn entry<'a>(&'a self, number: usize, key: &'a [u8]) -> Option<Entry<'a>> {
        let extent = self.extents.get(number)?;
        let bytes = self.bytes.get(extent.start..)?;
        let (fields, rest) = bytes.split_at_checked(extent.fields)?;
        Some(Entry {
            key,
            fields,
            body: rest.get(..extent.body)?,
        })
    }
}

/// Reads the entries of a page, in order.
pub(super) struct Entries<'a> {
    lists: SmallVec<[&'a [u8]; 4]>,
    left: usize,
    reader: Reader<'a>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(page: &'a [u8]) -> Decoded<Self> {
        let mut reader = Reader::versioned(page)?;
        let mut lists = SmallVec::new();
        for _ in 0..reader.count(1)? {
            let count = reader.count(ID)?;
            lists.push(reader.take(count * ID)?);
        }
        let left = reader.count(3)?;
        Ok(Entries {
            lists,
            left,
            reader,
        })
    }

    /// How many are left.
    pub(super) fn len(&self) -> usize {
        self.left
    }

    /// The next one.
    pub(super) fn next(&mut self) -> Decoded<Option<Entry<'a>>> {
        if self.left == 0 {
            self.reader.end()?;
            return Ok(None);
        }
        self.left -= 1;
        let key = self.reader.bytes()?;
        let list = usize::try_from(self.reader.varint()?).map_err(|_| Malformed::Damaged)?;
        let fields = *self.lists.get(list).ok_or(Malformed::Damaged)?;
        let body = self.reader.bytes()?;
        // Every fingerprint is there: a count of fields alone allocates nothing.
        if body.len() < fields.len() / ID * FINGERPRINT {
            return Err(Malformed::Damaged);
        }
        Ok(Some(Entry { key, fields, body }))
    }

    /// All that are left.
    pub(super) fn rest(mut self) -> Decoded<Vec<Entry<'a>>> {
        let mut all = Vec::with_capacity(self.len());
        while let Some(entry) = self.next()? {
            all.push(entry);
        }
        Ok(all)
    }
}

/// A page of these entries.
pub(super) fn encode(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut lists: SmallVec<[&[u8]; 4]> = SmallVec::new();
    let mut numbers: SmallVec<[u32; 32]> = SmallVec::new();
    let mut size = 8;
    for entry in entries {
        size += entry.size();
        let number = match lists.iter().rposition(|list| *list == entry.fields) {
            Some(number) => number,
            None => {
                size += entry.fields.len() + 2;
                lists.push(entry.fields);
                lists.len() - 1
            }
        };
        numbers.push(number as u32);
    }
    let mut out = Vec::with_capacity(size);
    out.push(FORMAT);
    put_varint(&mut out, lists.len() as u64);
    for list in &lists {
        put_varint(&mut out, (list.len() / ID) as u64);
        out.extend_from_slice(list);
    }
    put_varint(&mut out, entries.len() as u64);
    for (entry, number) in entries.iter().zip(&numbers) {
        put_bytes(&mut out, entry.key);
        put_varint(&mut out, u64::from(*number));
        put_bytes(&mut out, entry.body);
    }
    out
}
