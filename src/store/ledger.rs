//! The ledger as a row of pages: the leaves of a tree whose inner nodes are the sorted map's own.
//!
//! A page holds the records of one object from its separator on, up to the separator of the next
//! page. An object's first page has the empty separator, so that every record has a page to go to.
//! A separator is the shortest text that keeps two pages apart, and never longer than
//! [`LONGEST_SEPARATOR`]: records whose external ids agree up to there share a page, however long
//! it becomes (it is cut into chunks like every long value).

use std::borrow::Cow;
use std::ops::Bound;

use super::LedgerEntry;
use super::encoding::{Decoded, Malformed};
use super::keys::{self, RowKey};
use super::page::{self, Arena, Entries, Entry};
use super::rows::{Changes, Rows, whole};
use crate::fault::Result;
use crate::mapping::{Key, ObjectId, RecordId};

/// A page that grows beyond this is split. Measured: `docs/decisions/ledger-pages.md`.
pub(super) const PAGE_BYTES: usize = 1400;

const LONGEST_SEPARATOR: usize = 240;

const WHAT: &str = "the ledger";

/// A page that was found.
struct Found<'r, R: Rows + 'r> {
    key: RowKey,
    /// None: there is no such page yet.
    row: Option<R::Bytes<'r>>,
}

/// The page to which a record belongs.
fn find<'r, R: Rows>(rows: &'r R, object: ObjectId, key: &[u8]) -> Result<Found<'r, R>> {
    let start = keys::ledger_start(object);
    // No separator is longer, so the rest of the key decides nothing.
    let head = key.get(..LONGEST_SEPARATOR).unwrap_or(key);
    let at = keys::ledger_page(object, head);
    let mut pages = rows.scan(Bound::Included(&start), Bound::Included(&at));
    match pages.next_back().transpose()? {
        Some((key, row)) => Ok(Found {
            key: key.as_ref().into(),
            row: Some(row),
        }),
        None => Ok(Found {
            key: Box::from(start),
            row: None,
        }),
    }
}

/// Where the page after `page` begins: its separator. None: it is the object's last.
fn next_separator<R: Rows>(rows: &R, object: ObjectId, page: &[u8]) -> Result<Option<Box<[u8]>>> {
    let start = keys::ledger_start(object);
    match rows
        .scan_prefix_after(&start, Some(page))
        .next()
        .transpose()?
    {
        Some((key, _)) => {
            let separator = keys::page_separator(key.as_ref()).map_err(damaged)?;
            Ok(Some(separator.into()))
        }
        None => Ok(None),
    }
}

fn damaged(malformed: Malformed) -> crate::fault::Error {
    malformed.error(WHAT)
}

impl<R: Rows> Found<'_, R> {
    /// The page's bytes; none for a page that is not there yet.
    fn content<'a>(&'a self, rows: &R) -> Result<Option<Cow<'a, [u8]>>> {
        match &self.row {
            Some(row) => whole(rows, &self.key, row.as_ref(), WHAT).map(Some),
            None => Ok(None),
        }
    }
}

fn entries(content: Option<&[u8]>) -> Result<Vec<Entry<'_>>> {
    match content {
        Some(page) => Entries::new(page).and_then(Entries::rest).map_err(damaged),
        None => Ok(Vec::new()),
    }
}

/// The entries of these records, in their order.
pub(super) fn read<R: Rows>(rows: &R, records: &[RecordId]) -> Result<Vec<Option<LedgerEntry>>> {
    let mut answers = vec![None; records.len()];
    let mut order: Vec<(&RecordId, &mut Option<LedgerEntry>)> =
        records.iter().zip(answers.iter_mut()).collect();
    order.sort_by_key(|(record, _)| *record);
    let mut order = order.into_iter().peekable();
    while let Some((first, _)) = order.peek() {
        let object = first.object;
        let page = find(rows, object, first.key.as_bytes())?;
        let content = page.content(rows)?;
        let upper = Upper::new(&page.key);
        read_page(rows, object, content.as_deref(), upper, &mut order).map_err(|e| match e {
            ReadError::Ours(error) => error,
            ReadError::Bytes(malformed) => damaged(malformed),
        })?;
    }
    Ok(answers)
}

enum ReadError {
    Ours(crate::fault::Error),
    Bytes(Malformed),
}

impl From<Malformed> for ReadError {
    fn from(malformed: Malformed) -> Self {
        ReadError::Bytes(malformed)
    }
}

/// Where a page ends, looked up when it is first asked.
struct Upper<'k> {
    page: &'k [u8],
    known: Option<Option<Box<[u8]>>>,
}

impl<'k> Upper<'k> {
    fn new(page: &'k [u8]) -> Self {
        Upper { page, known: None }
    }

    /// Whether a record beyond the page's last entry still belongs to it.
    fn includes<R: Rows>(&mut self, rows: &R, object: ObjectId, key: &[u8]) -> Result<bool> {
        if self.known.is_none() {
            self.known = Some(next_separator(rows, object, self.page)?);
        }
        Ok(match &self.known {
            Some(Some(separator)) => key < &**separator,
            _ => true,
        })
    }

    /// The page is known to be the object's last.
    fn is_last(&self) -> bool {
        matches!(self.known, Some(None))
    }
}

type Wanted<'a> =
    std::iter::Peekable<std::vec::IntoIter<(&'a RecordId, &'a mut Option<LedgerEntry>)>>;

/// Answers for all records that lie in one page; at least for the next one.
fn read_page<R: Rows>(
    rows: &R,
    object: ObjectId,
    content: Option<&[u8]>,
    mut upper: Upper<'_>,
    wanted: &mut Wanted<'_>,
) -> Result<(), ReadError> {
    let mut entries = content.map(Entries::new).transpose()?;
    let mut next =
        || -> Decoded<Option<Entry<'_>>> { entries.as_mut().map_or(Ok(None), Entries::next) };
    let mut entry = next()?;
    let mut first = true;
    while let Some((record, _)) = wanted.peek() {
        let key = record.key.as_bytes();
        if record.object != object {
            return Ok(());
        }
        while entry.is_some_and(|e| e.key < key) {
            entry = next()?;
        }
        // The first record was found to be in this page; those behind its end may not be.
        if entry.is_none() && !first {
            let inside = upper.includes(rows, object, key).map_err(ReadError::Ours)?;
            if !inside {
                return Ok(());
            }
        }
        first = false;
        if let Some((_, answer)) = wanted.next()
            && let Some(entry) = entry.filter(|e| e.key == key)
        {
            *answer = Some(entry.decode()?);
        }
    }
    Ok(())
}

/// Entries of one object after a key.
pub(super) fn list<R: Rows>(
    rows: &R,
    object: ObjectId,
    after: Option<&Key>,
    limit: usize,
) -> Result<Vec<(RecordId, LedgerEntry)>> {
    let mut listed = Vec::new();
    if limit == 0 {
        return Ok(listed);
    }
    let start = keys::ledger_start(object);
    let first = find(rows, object, after.map_or(&[][..], |key| key.as_bytes()))?.key;
    let end = keys::after_prefix(&start);
    let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    for page in rows.scan(Bound::Included(&first), end) {
        let (key, row) = page?;
        let content = whole(rows, key.as_ref(), row.as_ref(), WHAT)?;
        let mut entries = Entries::new(&content).map_err(damaged)?;
        while let Some(entry) = entries.next().map_err(damaged)? {
            if after.is_some_and(|after| entry.key <= after.as_bytes()) {
                continue;
            }
            let key = std::str::from_utf8(entry.key).map_err(|_| damaged(Malformed::Damaged))?;
            let record = RecordId {
                object,
                key: key.into(),
            };
            listed.push((record, entry.decode().map_err(damaged)?));
            if listed.len() >= limit {
                return Ok(listed);
            }
        }
    }
    Ok(listed)
}

/// One record's new state: an entry in the arena, or none.
type Edit<'a> = (&'a RecordId, Option<usize>);

/// Puts and removes entries; a record in both is put. Answers by how many the ledger grows.
pub(super) fn change<R: Rows>(
    rows: &R,
    put: &[(RecordId, LedgerEntry)],
    removed: &[RecordId],
    changes: &mut Changes,
) -> Result<i64> {
    let mut arena = Arena::with_capacity(put.len());
    let mut edits: Vec<Edit<'_>> = removed.iter().map(|record| (record, None)).collect();
    for (number, (record, entry)) in put.iter().enumerate() {
        arena.push(entry);
        edits.push((record, Some(number)));
    }
    // Stable: of several edits of a record the last one stays behind the others.
    edits.sort_by_key(|(record, _)| *record);
    edits.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.1 = later.1;
        }
        same
    });
    let mut growth = 0;
    let mut rest = edits.as_slice();
    while let Some((first, _)) = rest.first() {
        let object = first.object;
        let page = find(rows, object, first.key.as_bytes())?;
        let content = page.content(rows)?;
        let old = entries(content.as_deref())?;
        let mut upper = Upper::new(&page.key);
        let len = edits_of_page(rows, rest, &old, &mut upper)?;
        let (here, beyond) = rest.split_at(len.min(rest.len()));
        rest = beyond;
        let merged = merge(&old, here, &arena);
        growth += merged.len() as i64 - old.len() as i64;
        let old_row = page.row.as_ref().map(AsRef::as_ref);
        if merged.is_empty() {
            if old_row.is_some() {
                changes.remove(page.key, old_row)?;
            }
            continue;
        }
        let at_end =
            upper.is_last() && old.last().map(|e| e.key) < here.first().map(|e| e.0.key.as_bytes());
        write_pages(&page.key, object, &merged, at_end, old_row, changes)?;
    }
    Ok(growth)
}

/// How many of the edits lie in the page of the first.
fn edits_of_page<R: Rows>(
    rows: &R,
    edits: &[Edit<'_>],
    old: &[Entry<'_>],
    upper: &mut Upper<'_>,
) -> Result<usize> {
    let Some((first, _)) = edits.first() else {
        return Ok(0);
    };
    let last = old.last().map(|entry| entry.key);
    let mut len = 0;
    for (record, _) in edits {
        let key = record.key.as_bytes();
        let inside = record.object == first.object
            && (last.is_some_and(|last| key <= last)
                || upper.includes(rows, record.object, key)?);
        if !inside {
            break;
        }
        len += 1;
    }
    Ok(len)
}

/// Old entries and edits, both sorted, into the page's new entries.
fn merge<'a>(old: &[Entry<'a>], edits: &[Edit<'a>], arena: &'a Arena) -> Vec<Entry<'a>> {
    let mut merged = Vec::with_capacity(old.len() + edits.len());
    let mut old = old.iter().peekable();
    for (record, edit) in edits {
        let key = record.key.as_bytes();
        while let Some(entry) = old.next_if(|entry| entry.key < key) {
            merged.push(*entry);
        }
        let _replaced = old.next_if(|entry| entry.key == key);
        merged.extend(edit.and_then(|number| arena.entry(number, key)));
    }
    merged.extend(old);
    merged
}

/// Writes entries as one page or as several.
fn write_pages(
    first: &[u8],
    object: ObjectId,
    entries: &[Entry<'_>],
    at_end: bool,
    old_row: Option<&[u8]>,
    changes: &mut Changes,
) -> Result<()> {
    let total: usize = entries.iter().map(Entry::size).sum();
    // Records that come in the order of their ids fill their pages; elsewhere room is left for
    // those that will come between.
    let full = match at_end || total <= PAGE_BYTES {
        true => PAGE_BYTES,
        false => total.div_ceil(total.div_ceil(PAGE_BYTES * 2 / 3)),
    };
    let mut page = RowKey::from(first);
    let mut row = old_row;
    let mut start = 0;
    let mut size = 0;
    let mut last: Option<&Entry<'_>> = None;
    for (index, entry) in entries.iter().enumerate() {
        let cut = match last {
            Some(last) if size + entry.size() > full => separator(last.key, entry.key),
            _ => None,
        };
        if let Some(separator) = cut {
            let content = page::encode(entries.get(start..index).unwrap_or_default());
            let next = keys::ledger_page(object, separator);
            changes.put(std::mem::replace(&mut page, next), content, row.take())?;
            start = index;
            size = 0;
        }
        size += entry.size();
        last = Some(entry);
    }
    let content = page::encode(entries.get(start..).unwrap_or_default());
    changes.put(page, content, row)
}

/// The shortest text after `before` and not after `from`, if it is short enough.
fn separator<'a>(before: &[u8], from: &'a [u8]) -> Option<&'a [u8]> {
    let common = before.iter().zip(from).take_while(|(a, b)| a == b).count();
    from.get(..=common)
        .filter(|separator| separator.len() <= LONGEST_SEPARATOR)
}
