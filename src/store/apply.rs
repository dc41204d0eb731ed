//! What a settlement means: from the map as it is and a [`Settlement`] to [`Changes`]. And back: what
//! the map says when it is asked. Both stores use these functions, so they differ in durability alone.

use super::encoding::{Malformed, to_value};
use super::rows::{Changes, Rows, decode_row, load};
use super::{
    Progress, RecordState, Recovered, SchemaVersion, Settlement, Verdicts, keys, ledger, shelf,
};
use crate::change::{Identity, Verdict};
use crate::fault::{Error, ErrorKind, Result};
use crate::mapping::RecordId;
use crate::sinks::budget::Account;

const PROGRESS: &str = "the progress";

/// The changes of a settlement, checked.
pub(super) fn settle<R: Rows>(rows: &R, settlement: &Settlement) -> Result<Changes> {
    let Some(old) = progress(rows)? else {
        return Err(Error::new(
            ErrorKind::Store,
            "progress cannot be settled: the store is not bound to a source yet",
        )
        .remedy("this is a mistake in syncline: please report it"));
    };
    let new = settlement.progress;
    if new.checkpoint < old.checkpoint || new.settled < old.settled {
        return Err(Error::new(
            ErrorKind::Store,
            format!(
                "progress would move backwards, from {} (settled {}) to {} (settled {})",
                old.checkpoint, old.settled, new.checkpoint, new.settled
            ),
        )
        .remedy("this is a mistake in syncline: please report it; a restart is safe"));
    }
    let mut changes = Changes::default();
    if new != old {
        put_progress(&mut changes, new);
    }
    let grown = ledger::change(
        rows,
        &settlement.ledger,
        &settlement.ledger_removed,
        &mut changes,
    )?;
    shelf::grow(rows, keys::LEDGER_COUNT, grown, &mut changes)?;
    if settlement.kept_fields != 0 {
        shelf::grow(
            rows,
            keys::KEPT_FIELDS,
            settlement.kept_fields,
            &mut changes,
        )?;
    }
    shelf::change(
        rows,
        &settlement.shelved,
        &settlement.unshelved,
        &mut changes,
    )?;
    for ((table, verdict), by) in &settlement.verdicts {
        let key = keys::verdict(table, *verdict);
        let old = load::<R, (String, i64)>(rows, &key, "a count of verdicts")?;
        let total = old.map_or(0, |(_, total)| total).saturating_add(*by);
        changes.put_short(key, to_value(&(table.clone(), total)));
    }
    super::load::change(rows, settlement, &mut changes)?;
    if let Some(spent) = &settlement.spent {
        let old = rows.get(keys::SPENT)?;
        let old = old.as_ref().map(AsRef::as_ref);
        changes.put(keys::SPENT.into(), to_value(spent), old)?;
    }
    super::bulk::change(rows, settlement, &mut changes)?;
    let mut latest = None;
    for version in &settlement.schemas {
        let key = keys::schema(version.table.oid, version.from);
        // The same version twice in a settlement is one row.
        if latest.as_ref() != Some(&key) {
            let old = rows.get(&key)?;
            let old = old.as_ref().map(AsRef::as_ref);
            changes.put(key.clone(), to_value(version), old)?;
        }
        latest = Some(key);
    }
    let old = rows.get(keys::INTENT)?;
    let old = old.as_ref().map(AsRef::as_ref);
    match &settlement.intent {
        Some(intent) => changes.put(keys::INTENT.into(), to_value(intent), old)?,
        None if old.is_some() => changes.remove(keys::INTENT.into(), old)?,
        None => {}
    }
    changes.check()?;
    Ok(changes)
}

/// The changes of binding a store.
pub(super) fn bind<R: Rows>(rows: &R, identity: &Identity, progress: Progress) -> Result<Changes> {
    if let Some(bound) = load::<R, Identity>(rows, keys::IDENTITY, "the identity")? {
        let again = match bound == *identity {
            true => "it is bound to this source already".to_owned(),
            false => format!(
                "it is bound to slot {} of database {} (system {}, timeline {}, slot made at {}), \
                 not to slot {} of database {} (system {}, timeline {}, slot made at {})",
                bound.slot,
                bound.database,
                bound.system,
                bound.timeline,
                bound.consistent_point,
                identity.slot,
                identity.database,
                identity.system,
                identity.timeline,
                identity.consistent_point,
            ),
        };
        return Err(Error::new(
            ErrorKind::Identity,
            format!("the state directory cannot be bound: {again}"),
        )
        .remedy(
            "give every source a state directory of its own (state.path), or move this one aside \
             to start anew",
        ));
    }
    let mut changes = Changes::default();
    changes.put_short(keys::IDENTITY, to_value(identity));
    put_progress(&mut changes, progress);
    changes.check()?;
    Ok(changes)
}

fn put_progress(changes: &mut Changes, progress: Progress) {
    let mut value = to_value(&progress);
    let crc = crc32c::crc32c(&value);
    value.extend_from_slice(&crc.to_le_bytes());
    changes.put_short(keys::PROGRESS, value);
}

/// Progress, its checksum checked; none in a store that is not bound.
pub(super) fn progress<R: Rows>(rows: &R) -> Result<Option<Progress>> {
    let Some(row) = rows.get(keys::PROGRESS)? else {
        return Ok(None);
    };
    match row.as_ref().split_last_chunk::<4>() {
        Some((value, crc)) if crc32c::crc32c(value).to_le_bytes() == *crc => {
            decode_row(rows, keys::PROGRESS, value, PROGRESS).map(Some)
        }
        _ => Err(Malformed::Damaged.error(PROGRESS)),
    }
}

/// What is there.
pub(super) fn recover<R: Rows>(rows: &R) -> Result<Recovered> {
    let identity = load(rows, keys::IDENTITY, "the identity")?;
    let progress = progress(rows)?;
    if identity.is_some() != progress.is_some() {
        return Err(Malformed::Damaged.error("the identity or the progress"));
    }
    Ok(Recovered {
        identity,
        progress: progress.unwrap_or_default(),
        intent: load(rows, keys::INTENT, "the intent")?,
    })
}

/// What was used of the CRM's limit, as last kept.
pub(super) fn spent<R: Rows>(rows: &R) -> Result<Option<Account>> {
    load(rows, keys::SPENT, "what was used of the limit")
}

/// Verdicts so far; totals of zero are left out.
pub(super) fn verdicts<R: Rows>(rows: &R) -> Result<Verdicts> {
    let what = "a count of verdicts";
    let mut verdicts = Verdicts::new();
    for row in rows.scan_prefix(keys::VERDICTS) {
        let (key, row) = row?;
        let number = key.as_ref().get(1).copied().unwrap_or(u8::MAX);
        let verdict = Verdict::from_number(number).map_err(|e| e.error(what))?;
        let (table, total): (String, i64) = decode_row(rows, key.as_ref(), row.as_ref(), what)?;
        if total != 0 {
            verdicts.insert((table, verdict), total);
        }
    }
    Ok(verdicts)
}

/// What is known of each record, in order.
pub(super) fn records<R: Rows>(rows: &R, records: &[RecordId]) -> Result<Vec<RecordState>> {
    let ledger = ledger::read(rows, records)?;
    let shelf_is_empty = shelf::count(rows, keys::SHELF_COUNT)? == 0;
    let state = |(record, ledger)| {
        let pending = match shelf_is_empty {
            true => None,
            false => shelf::read(rows, record)?.map(Box::new),
        };
        Ok(RecordState { ledger, pending })
    };
    records.iter().zip(ledger).map(state).collect()
}

const SCHEMAS: &str = "the schema history";

/// All schema versions, the oldest first; those of one position by table oid.
pub(super) fn schema_history<R: Rows>(rows: &R) -> Result<Vec<SchemaVersion>> {
    let mut versions = Vec::new();
    for row in rows.scan_prefix(keys::SCHEMAS) {
        let (key, row) = row?;
        versions.push(decode_row(rows, key.as_ref(), row.as_ref(), SCHEMAS)?);
    }
    // They lie by table.
    versions.sort_by_key(|version: &SchemaVersion| version.from);
    Ok(versions)
}

/// The latest schema version of every table, by oid.
pub(super) fn schemas<R: Rows>(rows: &R) -> Result<Vec<SchemaVersion>> {
    let mut latest = Vec::new();
    let mut after: Option<Box<[u8]>> = None;
    // From table to table: the history of each may be long.
    loop {
        let next = rows
            .scan_prefix_after(keys::SCHEMAS, after.as_deref())
            .next();
        let Some((key, _)) = next.transpose()? else {
            return Ok(latest);
        };
        let table = key.as_ref().get(..5).unwrap_or(keys::SCHEMAS).to_vec();
        if let Some(row) = rows.scan_prefix(&table).next_back() {
            let (key, row) = row?;
            latest.push(decode_row(rows, key.as_ref(), row.as_ref(), SCHEMAS)?);
            after = Some(key.as_ref().into());
        }
    }
}
