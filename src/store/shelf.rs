//! The shelf in the sorted map: entries, their index by reason and by the record waited for, counts.
//!
//! All of them change in the same atomic write, so that none has to be counted or searched for.

use std::collections::BTreeMap;

use super::encoding::{FORMAT, to_value};
use super::keys;
use super::rows::{Changes, Rows, decode_row, load};
use super::{Pending, Reason, ShelfCounts, ShelfQuery};
use crate::fault::Result;
use crate::mapping::RecordId;

const WHAT: &str = "the shelf";

const REASONS: [Reason; 4] = [
    Reason::DeadLetter,
    Reason::Waiting,
    Reason::Held,
    Reason::Deferred,
];

/// Puts and removes entries; a record in both is put.
pub(super) fn change<R: Rows>(
    rows: &R,
    put: &[Pending],
    removed: &[RecordId],
    changes: &mut Changes,
) -> Result<()> {
    if put.is_empty() && removed.is_empty() {
        return Ok(());
    }
    let mut edits: BTreeMap<&RecordId, Option<&Pending>> =
        removed.iter().map(|record| (record, None)).collect();
    edits.extend(put.iter().map(|pending| (&pending.record, Some(pending))));

    let mut grown: BTreeMap<Reason, i64> = BTreeMap::new();
    let mut grown_in_all = 0;
    for (record, new) in edits {
        let key = keys::pending(record);
        let old_row = rows.get(&key)?;
        let old_row = old_row.as_ref().map(AsRef::as_ref);
        let old: Option<Pending> = match old_row {
            Some(row) => Some(decode_row(rows, &key, row, WHAT)?),
            None => None,
        };
        index(rows, record, old.as_ref(), new, changes)?;
        for (pending, step) in [(old.as_ref(), -1), (new, 1)] {
            let Some(pending) = pending else { continue };
            grown_in_all += step;
            if pending.operation.is_some() {
                *grown.entry(pending.reason).or_default() += step;
            }
        }
        match new {
            Some(pending) => changes.put(key, to_value(pending), old_row)?,
            None if old.is_some() => changes.remove(key, old_row)?,
            None => {}
        }
    }
    for (reason, by) in grown {
        grow(rows, &keys::reason_count(reason), by, changes)?;
    }
    grow(rows, keys::SHELF_COUNT, grown_in_all, changes)
}

/// Changes the rows of the two indexes.
fn index<R: Rows>(
    rows: &R,
    record: &RecordId,
    old: Option<&Pending>,
    new: Option<&Pending>,
    changes: &mut Changes,
) -> Result<()> {
    let reason = |pending: &Pending| keys::by_reason(pending.reason, record);
    let (from, to) = (old.map(reason), new.map(reason));
    if from != to {
        if let Some(key) = from {
            changes.remove_short(key);
        }
        if let Some(key) = to {
            changes.put_short(key, vec![FORMAT]);
        }
    }
    let waiting = |pending: &Pending| Some(keys::waiting(pending.waits_for.as_ref()?, record));
    let (from, to) = (old.and_then(waiting), new.and_then(waiting));
    if from != to {
        if let Some(key) = from {
            let row = rows.get(&key)?;
            changes.remove(key, row.as_ref().map(AsRef::as_ref))?;
        }
        if let Some(key) = to {
            // The key may hold the record's id shortened; the value holds it in full.
            changes.put(key, to_value(record), None)?;
        }
    }
    Ok(())
}

/// Adds to a count.
pub(super) fn grow<R: Rows>(rows: &R, key: &[u8], by: i64, changes: &mut Changes) -> Result<()> {
    if by != 0 {
        let count = count(rows, key)?.saturating_add_signed(by);
        changes.put_short(key, to_value(&count));
    }
    Ok(())
}

/// Reads a count.
pub(super) fn count<R: Rows>(rows: &R, key: &[u8]) -> Result<u64> {
    Ok(load(rows, key, "a count")?.unwrap_or(0))
}

/// Fields that hold what people wrote.
pub(super) fn kept_fields<R: Rows>(rows: &R) -> Result<u64> {
    count(rows, keys::KEPT_FIELDS)
}

/// Operations by reason; reasons without any are left out.
pub(super) fn counts<R: Rows>(rows: &R) -> Result<ShelfCounts> {
    let mut counts = ShelfCounts::new();
    for reason in REASONS {
        match count(rows, &keys::reason_count(reason))? {
            0 => {}
            number => {
                counts.insert(reason, number);
            }
        }
    }
    Ok(counts)
}

/// One record's entry.
pub(super) fn read<R: Rows>(rows: &R, record: &RecordId) -> Result<Option<Pending>> {
    load(rows, &keys::pending(record), WHAT)
}

/// A page of the shelf.
pub(super) fn list<R: Rows>(rows: &R, query: &ShelfQuery) -> Result<Vec<Pending>> {
    let mut listed = Vec::new();
    match query.reason {
        None => {
            let after = query.after.as_ref().map(keys::pending);
            let scan = rows.scan_prefix_after(keys::SHELF, after.as_deref());
            for row in scan.take(query.limit) {
                let (key, row) = row?;
                listed.push(decode_row(rows, key.as_ref(), row.as_ref(), WHAT)?);
            }
        }
        Some(reason) => {
            let start = keys::reason_start(reason);
            let after = query.after.as_ref().map(|r| keys::by_reason(reason, r));
            let scan = rows.scan_prefix_after(&start, after.as_deref());
            for row in scan.take(query.limit) {
                let (index, _) = row?;
                let key = keys::pending_from_reason(index.as_ref()).map_err(|e| e.error(WHAT))?;
                // The index changes in the same atomic write as the entry.
                listed.extend(load::<R, Pending>(rows, &key, WHAT)?);
            }
        }
    }
    Ok(listed)
}

/// Records that wait for `parent`.
pub(super) fn waiting_for<R: Rows>(
    rows: &R,
    parent: &RecordId,
    limit: usize,
) -> Result<Vec<RecordId>> {
    let start = keys::waiting_start(parent);
    let mut records = Vec::new();
    for row in rows.scan_prefix(&start).take(limit) {
        let (key, row) = row?;
        records.push(decode_row(rows, key.as_ref(), row.as_ref(), WHAT)?);
    }
    Ok(records)
}
