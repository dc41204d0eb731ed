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
//! A column gets its number from evidence alone: a side on which it bears the same name, its being
//! there on both sides, or that by the facts no other number is possible. One that came, was renamed
//! or went in between, and bears a name that neither side knows, gets a *stand-in*: a number that
//! Postgres never gives, [`is_stand_in`]. It is a column of its own until the stream has caught up,
//! and the table is then read anew. To guess instead would put its values, for good, into the field of
//! another column.
//!
//! Where evidence contradicts itself (names that were swapped, or used again), the assignment with the
//! fewest differences is taken; of several the one with the highest numbers, as the catalog was mostly
//! read just after the relation.
//!
//! Invariants
//! - A relation that says exactly what the catalog says *is* the catalog's version, quiet facts
//!   (nullability, primary key) included.
//! - As long as no name is used for two columns, a number that is no stand-in is the right one.
//! - `dropped` holds what is known to have been dropped by then: perhaps too little, never too much
//!   (but a column that is not published may be among them before it is dropped).
//! - What `resolve` makes of a relation describes that relation: it is no news any more once adopted.
//! - None is given twice; but for stand-ins, numbers rise from column to column.
//! - What the relation does not say stays as it was before; for new columns it is as it is now.
//!
//! Not decidable, because different pasts look the same from here:
//! - Without the catalog (`now` absent): whether a column was renamed, or dropped and another added.
//!   One difference (name or type) is taken for a change of that column, two for another column.
//!   New columns get the next numbers, though some may have been used up in between.
//! - With a catalog that is ahead: whether a relation's column is one that was dropped since, or its
//!   successor of the same name, if order and types do not tell (then the successor).
//! - A column that is not published has no place in a [`CatalogTable`]: one that the publication
//!   leaves out looks dropped, one that it takes in looks added.

use std::collections::BTreeSet;

use super::builtin;
use crate::capture::{CatalogColumn, CatalogTable};
use crate::change::{Column, Relation, ReplicaIdentity};
use crate::value::ValueType;

/// A column has another name than on the other side.
const NAME: u64 = 2;
/// A column has another type.
const TYPE: u64 = 2;
/// A column is not there on the other side: less than both, so that another name and another type
/// make another column.
const ABSENT: u64 = 3;
/// Against the facts above: more than all differences of the widest table (1600 columns) together.
const IMPOSSIBLE: u64 = 1 << 32;
/// Stand-ins begin here; Postgres gives at most 1600.
const STAND_INS: i16 = 20_000;

/// Whether this is a number of ours, of a column whose own is not known; see the top of this file.
pub fn is_stand_in(attnum: i16) -> bool {
    attnum >= STAND_INS
}

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
}

/// The numbers of the relation's columns.
fn align(
    relation: &Relation,
    before: Option<&CatalogTable>,
    now: Option<&CatalogTable>,
) -> Vec<i16> {
    let columns = &relation.columns;
    let candidates = candidates(before, now);
    // Numbers up to here had been given out before.
    let given = before.map_or(0, highest);
    let skip = |candidate: &Candidate<'_>, more: bool| match (candidate.before, candidate.now) {
        (Some(_), Some(_)) => IMPOSSIBLE,
        (None, Some(_)) if more && now.is_some() && candidate.attnum > given => IMPOSSIBLE,
        _ => 0,
    };
    let side = |there: bool, known: Option<&CatalogColumn>, column: &Column| match known {
        Some(known) => difference(known, column),
        None => u64::from(there) * ABSENT,
    };
    let differences = |candidate: &Candidate<'_>, column: &Column| {
        side(before.is_some(), candidate.before, column)
            + side(now.is_some(), candidate.now, column)
    };
    let named = |candidate: &Candidate<'_>, column: &Column| {
        let mut sides = [candidate.before, candidate.now].into_iter().flatten();
        sides.any(|known| known.name == column.name)
    };
    if now.is_none() {
        // Left alone, a column is a new one.
        let differs = |candidate: &Candidate<'_>, at: usize| {
            let column = columns.get(at);
            column.map_or(0, |column| differences(candidate, column))
        };
        let (_, numbers) = assign(&candidates, columns.len(), |_, _| 0, differs, ABSENT);
        return number_the_rest(numbers, relation, before, now);
    }
    let only = |numbers: Vec<Option<i16>>| {
        // What is possible for the columns that have no number yet.
        let fits = |candidate: &Candidate<'_>, at: usize| match numbers.get(at).copied().flatten() {
            Some(number) => number == candidate.attnum,
            None => !numbers.contains(&Some(candidate.attnum)),
        };
        let cost = |candidate: &Candidate<'_>, at: usize, place: i16| {
            u64::from(place.unsigned_abs()) + u64::from(!fits(candidate, at)) * IMPOSSIBLE
        };
        let low = |c: &Candidate<'_>, at: usize| cost(c, at, c.attnum);
        let high = |c: &Candidate<'_>, at: usize| cost(c, at, STAND_INS - c.attnum);
        let (cost, lowest) = assign(&candidates, columns.len(), skip, low, IMPOSSIBLE);
        if cost >= IMPOSSIBLE {
            return numbers;
        }
        let (_, highest) = assign(&candidates, columns.len(), skip, high, IMPOSSIBLE);
        let both = lowest.into_iter().zip(highest);
        both.map(|(low, high)| low.filter(|_| low == high))
            .collect()
    };
    let mut numbers = only(vec![None; columns.len()]);
    if numbers.contains(&None) {
        let (_, named) = assign(
            &candidates,
            columns.len(),
            |_, _| 0,
            |candidate, at| {
                let fits = columns.get(at).filter(|column| named(candidate, column));
                fits.map_or(IMPOSSIBLE, |column| differences(candidate, column))
            },
            2 * ABSENT,
        );
        numbers = only(named);
    }
    number_the_rest(numbers, relation, before, now)
}

/// Of all assignments in order the one with the least cost, and that; `None` for a column left alone.
/// `take` is asked for the place of a column, `skip` whether columns follow.
fn assign(
    candidates: &[Candidate<'_>],
    columns: usize,
    skip: impl Fn(&Candidate<'_>, bool) -> u64,
    take: impl Fn(&Candidate<'_>, usize) -> u64,
    alone: u64,
) -> (u64, Vec<Option<i16>>) {
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Step {
        Skip,
        Take,
        Alone,
    }
    // `costs[n]`: the least cost of numbering the first n columns with the candidates so far.
    let mut costs: Vec<u64> = (0..=columns as u64)
        .map(|n| n.saturating_mul(alone))
        .collect();
    let mut steps: Vec<Vec<Step>> = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let mut one_less = u64::MAX;
        let mut new_one_less = u64::MAX;
        let mut row = Vec::with_capacity(costs.len());
        for (n, cost) in costs.iter_mut().enumerate() {
            let skipped = cost.saturating_add(skip(candidate, n < columns));
            let last = n.checked_sub(1);
            let took = last.map_or(u64::MAX, |at| one_less.saturating_add(take(candidate, at)));
            let left = new_one_less.saturating_add(alone);
            one_less = *cost;
            *cost = skipped.min(took).min(left);
            row.push(match *cost {
                cost if cost == took && last.is_some() => Step::Take,
                cost if cost == left => Step::Alone,
                _ => Step::Skip,
            });
            new_one_less = *cost;
        }
        steps.push(row);
    }
    let mut numbers = vec![None; columns];
    let mut left = columns;
    let mut rest = candidates.iter().zip(&steps).rev().peekable();
    while left > 0
        && let Some((candidate, row)) = rest.peek()
    {
        match row.get(left) {
            Some(Step::Alone) => left -= 1,
            Some(Step::Take) => {
                left -= 1;
                if let Some(number) = numbers.get_mut(left) {
                    *number = Some(candidate.attnum);
                }
                rest.next();
            }
            _ => {
                rest.next();
            }
        }
    }
    (costs.last().copied().unwrap_or(0), numbers)
}

/// Numbers for the columns that have none: those of a catalog that is behind, or absent, get the next
/// ones; others stand-ins, each the one that it had before.
fn number_the_rest(
    numbers: Vec<Option<i16>>,
    relation: &Relation,
    before: Option<&CatalogTable>,
    now: Option<&CatalogTable>,
) -> Vec<i16> {
    let known = [before, now].into_iter().flatten();
    let mut next = known.clone().map(highest).max().unwrap_or(0);
    // A catalog that knows nothing new is behind, and the columns are new to it.
    let behind = now.is_none_or(|now| {
        before.is_some_and(|before| {
            let there = |attnum: i16| by_number(&before.columns, attnum).is_some();
            now.columns.iter().all(|column| there(column.attnum))
                && now.dropped.iter().all(|gone| before.dropped.contains(gone))
        })
    });
    let stand_ins = before.into_iter().flat_map(|before| {
        let columns = before.columns.iter().map(|column| column.attnum);
        columns.chain(before.dropped.iter().copied())
    });
    let mut stand_in = stand_ins
        .filter(|n| is_stand_in(*n))
        .max()
        .unwrap_or(STAND_INS - 1);
    let mut rest: Vec<i16> = Vec::with_capacity(numbers.len());
    // New columns are the last ones.
    let tail = numbers
        .iter()
        .rposition(Option::is_some)
        .map_or(0, |at| at + 1);
    for (at, number) in numbers.iter().enumerate() {
        let column = relation.columns.get(at);
        let before_too = before.and_then(|before| {
            let same = |known: &&CatalogColumn| column.is_some_and(|c| c.name == known.name);
            (before.columns.iter()).find(|known| is_stand_in(known.attnum) && same(known))
        });
        rest.push(match (number, before_too) {
            (Some(number), _) => *number,
            (None, Some(known)) => known.attnum,
            (None, None) if behind && at >= tail => {
                next = next.saturating_add(1);
                next
            }
            (None, None) => {
                stand_in = stand_in.saturating_add(1);
                stand_in
            }
        });
    }
    rest
}

/// All numbers that columns of the relation may have, rising; stand-ins are none.
fn candidates<'a>(
    before: Option<&'a CatalogTable>,
    now: Option<&'a CatalogTable>,
) -> Vec<Candidate<'a>> {
    let tables = [before, now].into_iter().flatten();
    let numbers: BTreeSet<i16> = tables
        .flat_map(|table| &table.columns)
        .map(|column| column.attnum)
        .chain(now.into_iter().flat_map(|now| now.dropped.iter().copied()))
        .filter(|attnum| !is_stand_in(*attnum))
        .collect();
    let find = |table: Option<&'a CatalogTable>, attnum| {
        table.and_then(|table| by_number(&table.columns, attnum))
    };
    let candidate = |attnum| Candidate {
        attnum,
        before: find(before, attnum),
        now: find(now, attnum),
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
        .filter(|attnum| !is_stand_in(*attnum))
        .max()
        .unwrap_or(0)
}

/// What had been dropped when the columns were these.
fn dropped(
    columns: &[CatalogColumn],
    before: Option<&CatalogTable>,
    now: Option<&CatalogTable>,
) -> Vec<i16> {
    let known = !columns.iter().any(|column| is_stand_in(column.attnum));
    let last = columns.iter().map(|column| column.attnum).max();
    let last = last.filter(|_| known).unwrap_or(0);
    let now_dropped = now.into_iter().flat_map(|now| now.dropped.iter().copied());
    let mut dropped: BTreeSet<i16> = now_dropped.filter(|attnum| *attnum < last).collect();
    if let Some(before) = before {
        dropped.extend(&before.dropped);
        // A stand-in may be any of those that had a number.
        let gone = before.columns.iter().map(|column| column.attnum);
        dropped.extend(gone.filter(|attnum| known || is_stand_in(*attnum)));
    }
    let there = |columns: &[CatalogColumn], attnum| by_number(columns, attnum).is_some();
    dropped.retain(|attnum| {
        !there(columns, *attnum) && !now.is_some_and(|now| there(&now.columns, *attnum))
    });
    dropped.into_iter().collect()
}

fn by_number(columns: &[CatalogColumn], attnum: i16) -> Option<&CatalogColumn> {
    columns.iter().find(|column| column.attnum == attnum)
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
