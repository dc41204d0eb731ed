//! Which column is which, from one version of a table to the next.
//!
//! The stream describes a table by the names and types of its columns, in order: there a rename and a
//! drop with an add look alike. The catalog's attribute numbers tell them apart, but the catalog is
//! read *now*: it may be ahead of the stream by any number of changes, the table may be gone, and (a
//! commit can be streamed before it is visible) it may even be behind.
//!
//! ```text
//!   before ──────► relation ──────► now
//!   (version)      (no numbers)     (catalog)
//! ```
//!
//! Facts of Postgres that [`resolve`] builds on:
//! - Columns come in the order of their attribute numbers. A number stays with its column through
//!   renames and changes of type, and is never used again; a new column gets the next one.
//! - A column there before and now was there all the time. One that is there now was there already if
//!   a column with a higher number was. One dropped before is not there.
//!
//! Among the assignments that agree with these facts the one with the fewest differences is chosen:
//! each column is compared with the version before and with the catalog now, and a name or a type
//! that differs counts, as does a column that came or went in between. Where several are left, of the
//! columns that came and went the lowest numbers are chosen (so that those that came later find room),
//! and else the highest: the catalog was mostly read just after the relation.
//!
//! A rename that only one side vouches for is believed only if no column that is gone explains the
//! name as well. The two mistakes are not alike: a column taken for another's earlier self puts its
//! values into that one's field, for good; a rename taken for two columns leaves the values in a field
//! of their own, and the column that is there now is new, and loaded as new columns are. Of two such
//! renames the one of the column that is gone is believed first: there it does less harm.
//!
//! Invariants
//! - A relation that says exactly what the catalog says *is* the catalog's version, quiet facts
//!   (nullability, primary key) included.
//! - `dropped` holds what is known to have been dropped by then: perhaps too little, never too much
//!   (but a column that is not published may be among them before it is dropped).
//! - What `resolve` makes of a relation describes that relation: it is no news any more once adopted.
//! - Numbers rise from column to column; none is given twice.
//! - What the relation does not say stays as it was before; for new columns it is as it is now.
//!
//! Not decidable, because different pasts look the same from here:
//! - Without the catalog (`now` absent): whether a column was renamed, or dropped and another added.
//!   One difference (name or type) is taken for a change of that column, two for another column.
//!   New columns get the next numbers, though some may have been used up in between.
//! - With a catalog that is ahead: whether a relation's column is one that was dropped since, or its
//!   successor, if neither order nor names and types tell (dropped and added again under the same
//!   name and type at the end of the table: then the successor); and columns that were renamed on both
//!   sides of the relation, or that came and went between `before` and `now`.
//! - A column that is not published has no place in a [`CatalogTable`]: one that the publication
//!   leaves out looks dropped, one that it takes in looks added.

use std::collections::BTreeSet;

use super::builtin;
use crate::capture::{CatalogColumn, CatalogTable};
use crate::change::{Column, Relation, ReplicaIdentity};
use crate::value::ValueType;

/// One difference; what is less decides between equals.
const ONE: u64 = 1 << 32;
/// A column has another name than on the other side.
const NAME: u64 = 2 * ONE;
/// A column has another type.
const TYPE: u64 = 2 * ONE;
/// A column is not there on the other side: less than both, so that another name and another type
/// make another column.
const ABSENT: u64 = 3 * ONE;
/// A rename that only the catalog vouches for: with it, such a column costs more than one that came and
/// went.
const RENAMED_SINCE: u64 = 3 * ONE;
/// A rename that only the version before vouches for: the column is gone.
const RENAMED_AND_GONE: u64 = 2 * ONE;
/// Against the facts above: more than all differences of the widest table (1600 columns) together.
const IMPOSSIBLE: u64 = 1 << 48;

/// The version that `relation` describes: `before` is the version known so far, `now` the catalog as it
/// is (it may be newer, or the table may be gone). The top of this file says how, and what cannot be
/// known.
///
/// A table of another oid helps to name types and with nothing else.
pub fn resolve(
    relation: &Relation,
    before: Option<&CatalogTable>,
    now: Option<&CatalogTable>,
) -> CatalogTable {
    let named_by = [now, before];
    let ours = |table: &&CatalogTable| table.oid == relation.oid;
    let (before, now) = (before.filter(ours), now.filter(ours));
    if let Some(now) = now.filter(|now| describes(now, relation)) {
        return CatalogTable {
            // It may have had more columns since, and lost them again.
            dropped: dropped(&now.columns, before, Some(now)),
            ..now.clone()
        };
    }
    let known = [before, now];
    // Both identities need columns that are NOT NULL.
    let never_null = matches!(
        relation.identity,
        ReplicaIdentity::Default | ReplicaIdentity::Index
    );
    let columns: Vec<CatalogColumn> = relation
        .columns
        .iter()
        .zip(align(relation, before, now))
        .map(|(column, attnum)| CatalogColumn {
            attnum,
            name: column.name.clone(),
            type_oid: column.type_oid,
            type_name: type_name(column, named_by),
            typmod: column.typmod,
            not_null: never_null && column.key
                || (known.into_iter().flatten())
                    .find_map(|table| by_number(&table.columns, attnum))
                    .is_some_and(|column| column.not_null),
        })
        .collect();
    let keys = |of: fn(&CatalogTable) -> &[Box<str>]| {
        let tables = known.into_iter().flatten();
        tables.map(move |table| (table, of(table)))
    };
    let flagged = relation.columns.iter().filter(|column| column.key);
    let flagged: Vec<Box<str>> = flagged.map(|column| column.name.clone()).collect();
    // The relation says which columns, the others in which order.
    let identity_columns = keys(|table| &table.identity_columns)
        .filter_map(|(table, names)| carried(names, &table.columns, &columns))
        .find(|names| is_permutation(names, &flagged))
        .unwrap_or(flagged);
    let primary_key = match relation.identity {
        ReplicaIdentity::Default => identity_columns.clone(),
        _ => keys(|table| &table.primary_key)
            .next()
            .and_then(|(table, names)| carried(names, &table.columns, &columns))
            .unwrap_or_default(),
    };
    CatalogTable {
        oid: relation.oid,
        schema: relation.schema.clone(),
        name: relation.name.clone(),
        identity: relation.identity,
        identity_columns,
        primary_key,
        published: now.is_none_or(|now| now.published),
        dropped: dropped(&columns, before, now),
        columns,
    }
}

/// Whether the two say the same, as far as a relation says anything.
pub(super) fn describes(table: &CatalogTable, relation: &Relation) -> bool {
    table.oid == relation.oid
        && table.schema == relation.schema
        && table.name == relation.name
        && table.identity == relation.identity
        && table.columns.len() == relation.columns.len()
        && table.columns.iter().zip(&relation.columns).all(|(a, b)| {
            difference(a, b) == 0 && b.key == table.identity_columns.contains(&a.name)
        })
}

fn difference(known: &CatalogColumn, column: &Column) -> u64 {
    let name = u64::from(known.name != column.name) * NAME;
    let same_type = known.type_oid == column.type_oid && known.typmod == column.typmod;
    name + u64::from(!same_type) * TYPE
}

/// A number that a column of the relation may have, and what is known of it.
struct Candidate<'a> {
    attnum: i16,
    before: Option<&'a CatalogColumn>,
    now: Option<&'a CatalogColumn>,
    /// Not seen on either side.
    fresh: bool,
}

/// The numbers of the relation's columns: of all assignments in order the one with the least cost.
fn align(
    relation: &Relation,
    before: Option<&CatalogTable>,
    now: Option<&CatalogTable>,
) -> Vec<i16> {
    // Numbers up to here had been given out before.
    let given = before.map_or(0, highest);
    let candidates = candidates(relation.columns.len(), before, now);
    let skip = |candidate: &Candidate<'_>, more: bool| match (candidate.before, candidate.now) {
        (Some(_), Some(_)) => IMPOSSIBLE,
        (None, Some(_)) if more && candidate.attnum > given => IMPOSSIBLE,
        // Fresh numbers are given without gaps.
        _ => u64::from(candidate.fresh && more),
    };
    let take = |candidate: &Candidate<'_>, column: &Column| {
        let side = |there: bool, known: Option<&CatalogColumn>| match known {
            Some(known) => difference(known, column),
            None => u64::from(there) * ABSENT,
        };
        let guess = match (candidate.before, candidate.now) {
            _ if now.is_none() => 0,
            (None, None) if candidate.fresh => IMPOSSIBLE,
            (None, None) => u64::from(candidate.attnum.unsigned_abs()),
            (None, Some(known)) => u64::from(known.name != column.name) * RENAMED_SINCE,
            (Some(known), None) => u64::from(known.name != column.name) * RENAMED_AND_GONE,
            (Some(_), Some(_)) => 0,
        };
        side(before.is_some(), candidate.before) + side(now.is_some(), candidate.now) + guess
    };
    // `costs[n]`: the least cost of numbering the first n columns with the candidates so far.
    let columns = &relation.columns;
    let mut costs = vec![u64::MAX; columns.len() + 1];
    if let Some(none) = costs.first_mut() {
        *none = 0;
    }
    let mut taken: Vec<Vec<bool>> = Vec::with_capacity(candidates.len());
    for candidate in &candidates {
        let mut one_less = u64::MAX;
        let mut takes = Vec::with_capacity(costs.len());
        for (n, cost) in costs.iter_mut().enumerate() {
            let skipped = cost.saturating_add(skip(candidate, n < columns.len()));
            let last = n.checked_sub(1).and_then(|last| columns.get(last));
            let took = last.map_or(u64::MAX, |column| {
                one_less.saturating_add(take(candidate, column))
            });
            one_less = std::mem::replace(cost, skipped.min(took));
            takes.push(last.is_some() && took <= skipped);
        }
        taken.push(takes);
    }
    let mut left = columns.len();
    let mut numbers = Vec::with_capacity(left);
    for (candidate, takes) in candidates.iter().zip(&taken).rev() {
        if takes.get(left) == Some(&true) {
            numbers.push(candidate.attnum);
            left -= 1;
        }
    }
    numbers.reverse();
    numbers
}

/// All numbers that `columns` columns may have, rising.
fn candidates<'a>(
    columns: usize,
    before: Option<&'a CatalogTable>,
    now: Option<&'a CatalogTable>,
) -> Vec<Candidate<'a>> {
    let tables = [before, now].into_iter().flatten();
    let mut numbers: BTreeSet<i16> = tables
        .clone()
        .flat_map(|table| &table.columns)
        .map(|column| column.attnum)
        .chain(now.into_iter().flat_map(|now| now.dropped.iter().copied()))
        .collect();
    let next = tables.map(highest).max().unwrap_or(0).saturating_add(1);
    numbers.extend((next..=i16::MAX).take(columns));
    let find = |table: Option<&'a CatalogTable>, attnum| {
        table.and_then(|table| by_number(&table.columns, attnum))
    };
    let candidate = |attnum| Candidate {
        attnum,
        before: find(before, attnum),
        now: find(now, attnum),
        fresh: attnum >= next,
    };
    let was_dropped = |attnum: i16| before.is_some_and(|before| before.dropped.contains(&attnum));
    numbers
        .into_iter()
        .map(candidate)
        .filter(|candidate| candidate.now.is_some() || !was_dropped(candidate.attnum))
        .collect()
}

/// The highest number that is known to have been given out.
fn highest(table: &CatalogTable) -> i16 {
    let columns = table.columns.iter().map(|column| column.attnum);
    columns
        .chain(table.dropped.iter().copied())
        .max()
        .unwrap_or(0)
}

/// What had been dropped when the columns were these.
fn dropped(
    columns: &[CatalogColumn],
    before: Option<&CatalogTable>,
    now: Option<&CatalogTable>,
) -> Vec<i16> {
    let last = columns.last().map_or(0, |column| column.attnum);
    let now_dropped = now.into_iter().flat_map(|now| now.dropped.iter().copied());
    let mut dropped: BTreeSet<i16> = now_dropped.filter(|attnum| *attnum < last).collect();
    if let Some(before) = before {
        dropped.extend(&before.dropped);
        dropped.extend(before.columns.iter().map(|column| column.attnum));
    }
    let there = |columns: &[CatalogColumn], attnum| by_number(columns, attnum).is_some();
    dropped.retain(|attnum| {
        !there(columns, *attnum) && !now.is_some_and(|now| there(&now.columns, *attnum))
    });
    dropped.into_iter().collect()
}

/// Columns stand in the order of their numbers.
fn by_number(columns: &[CatalogColumn], attnum: i16) -> Option<&CatalogColumn> {
    let at = columns.binary_search_by_key(&attnum, |column| column.attnum);
    at.ok().and_then(|at| columns.get(at))
}

/// The names that the columns `names` of one version have in another; none when one of them is not
/// there. A column that is not published is known by its name alone, and keeps it.
pub(super) fn carried(
    names: &[Box<str>],
    from: &[CatalogColumn],
    to: &[CatalogColumn],
) -> Option<Vec<Box<str>>> {
    let carry = |name: &str| match from.iter().find(|column| *column.name == *name) {
        Some(column) => by_number(to, column.attnum).map(|column| column.name.clone()),
        None => Some(name.into()),
    };
    names.iter().map(|name| carry(name)).collect()
}

fn is_permutation(some: &[Box<str>], others: &[Box<str>]) -> bool {
    some.len() == others.len() && some.iter().all(|name| others.contains(name))
}

fn type_name(column: &Column, tables: [Option<&CatalogTable>; 2]) -> Box<str> {
    let mut known = tables
        .into_iter()
        .flatten()
        .flat_map(|table| &table.columns);
    let same =
        |known: &&CatalogColumn| known.type_oid == column.type_oid && known.typmod == column.typmod;
    if let Some(known) = known.find(same) {
        return known.type_name.clone();
    }
    match (
        builtin::sql_name(column.type_oid, column.typmod),
        &column.value_type,
    ) {
        (Some(name), _) => name.into(),
        (None, ValueType::Other(name)) => name.clone(),
        (None, _) => format!("oid {}", column.type_oid).into(),
    }
}
