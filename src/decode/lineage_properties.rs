//! A model table that goes through random changes and knows its attribute numbers, against what is
//! worked out from its relations and from catalogs read at the same moment or later.
//!
//! The rules at the top of `lineage.rs` are written down here a second time, as a search through all
//! assignments; and where they must lead to the truth, they have to.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use rand::prelude::*;
use rand::rngs::SmallRng;

use super::lineage::describes;
use super::lineage_tests::{INT, TEXT, numbers, relation, type_name};
use super::resolve;
use super::schema_change::{SchemaChange, compare};
use crate::capture::{CatalogColumn, CatalogTable};
use crate::change::{Relation, ReplicaIdentity};

const HISTORIES: u64 = 3_000;
const STEPS: usize = 10;
/// How far a catalog may be ahead.
const AHEAD: usize = 4;

#[derive(Clone)]
struct Model {
    table: CatalogTable,
    last_attnum: i16,
    /// Generated columns: never sent.
    unsent: Vec<i16>,
    /// All of those, the dropped ones included.
    hidden: BTreeSet<i16>,
    index: Vec<Box<str>>,
    /// Names are taken from few, so that they come back; or never twice.
    reuse: bool,
    names: u32,
}

impl Model {
    fn new(random: &mut SmallRng) -> Self {
        let mut model = Model {
            table: CatalogTable {
                oid: 7,
                schema: "public".into(),
                name: "t".into(),
                identity: ReplicaIdentity::Default,
                identity_columns: Vec::new(),
                primary_key: Vec::new(),
                published: true,
                columns: Vec::new(),
                dropped: Vec::new(),
            },
            last_attnum: 0,
            unsent: Vec::new(),
            hidden: BTreeSet::new(),
            index: Vec::new(),
            reuse: random.random_bool(0.6),
            names: 0,
        };
        for _ in 0..random.random_range(1..4) {
            let name = model.free_name(random);
            model.add(name, random);
        }
        let key = model.table.columns[0].name.clone();
        model.table.columns[0].not_null = true;
        model.table.primary_key = vec![key];
        model.settle_identity();
        model
    }

    fn free_name(&mut self, random: &mut SmallRng) -> Box<str> {
        loop {
            self.names += 1;
            let name: Box<str> = match self.reuse {
                true => ["a", "b", "c", "d", "e", "f", "g"]
                    .choose(random)
                    .copied()
                    .unwrap()
                    .into(),
                false => format!("n{}", self.names).into(),
            };
            if self.table.columns.iter().all(|column| column.name != name) {
                return name;
            }
        }
    }

    fn add(&mut self, name: Box<str>, random: &mut SmallRng) -> SchemaChange {
        let type_oid = *[INT, TEXT].choose(random).unwrap();
        self.last_attnum += 1;
        self.table.columns.push(CatalogColumn {
            attnum: self.last_attnum,
            name: name.clone(),
            type_oid,
            type_name: type_name(type_oid).into(),
            typmod: -1,
            not_null: false,
        });
        let type_name = type_name(type_oid).into();
        SchemaChange::ColumnAdded {
            column: name,
            type_name,
        }
    }

    fn drop(&mut self, at: usize) -> SchemaChange {
        let column = self.table.columns.remove(at);
        self.table.dropped.push(column.attnum);
        self.table.dropped.sort_unstable();
        // Keys go with their columns.
        for key in [&mut self.table.primary_key, &mut self.index] {
            if key.contains(&column.name) {
                key.clear();
            }
        }
        SchemaChange::ColumnDropped {
            column: column.name,
        }
    }

    fn rename(&mut self, at: usize, to: Box<str>) -> SchemaChange {
        let from = std::mem::replace(&mut self.table.columns[at].name, to.clone());
        for key in [&mut self.table.primary_key, &mut self.index] {
            key.iter_mut()
                .filter(|name| **name == from)
                .for_each(|name| *name = to.clone());
        }
        SchemaChange::ColumnRenamed { from, to }
    }

    fn settle_identity(&mut self) {
        let table = &mut self.table;
        table.identity_columns = match table.identity {
            ReplicaIdentity::Default => table.primary_key.clone(),
            ReplicaIdentity::Nothing => Vec::new(),
            ReplicaIdentity::Full => table.columns.iter().map(|c| c.name.clone()).collect(),
            ReplicaIdentity::Index => self.index.clone(),
        };
    }

    /// One random change, and how it is told.
    fn change(&mut self, random: &mut SmallRng) -> Vec<SchemaChange> {
        let count = self.table.columns.len();
        let at = random.random_range(0..count);
        let (key, index) = (self.table.primary_key.clone(), self.index.clone());
        let mut renamed_key = None;
        let identity = self.table.identity;
        let mut told = match random.random_range(0..12) {
            0 | 1 if count < 6 => {
                let name = self.free_name(random);
                vec![self.add(name, random)]
            }
            // A generated column: nothing to see but a gap in the numbers.
            2 => {
                self.last_attnum += 1;
                self.unsent.push(self.last_attnum);
                self.hidden.insert(self.last_attnum);
                Vec::new()
            }
            3 if !self.unsent.is_empty() => {
                self.table.dropped.push(self.unsent.remove(0));
                self.table.dropped.sort_unstable();
                Vec::new()
            }
            4 if count > 1 => vec![self.drop(at)],
            5 => {
                let name = self.free_name(random);
                let told = self.rename(at, name);
                renamed_key = Some(());
                vec![told]
            }
            6 => {
                let column = &mut self.table.columns[at];
                column.type_oid = if column.type_oid == INT { TEXT } else { INT };
                let from =
                    std::mem::replace(&mut column.type_name, type_name(column.type_oid).into());
                let (column, to) = (column.name.clone(), column.type_name.clone());
                vec![SchemaChange::TypeChanged { column, from, to }]
            }
            7 if count > 1 => {
                let other = (at + 1) % count;
                let (low, high) = (at.min(other), at.max(other));
                let [a, b] = [low, high].map(|at| self.table.columns[at].name.clone());
                self.rename(low, "for a moment".into());
                self.rename(high, a.clone());
                self.rename(low, b.clone());
                renamed_key = Some(());
                let [from, to] = [a, b];
                let back = SchemaChange::ColumnRenamed {
                    from: to.clone(),
                    to: from.clone(),
                };
                vec![SchemaChange::ColumnRenamed { from, to }, back]
            }
            8 => {
                let name = self.table.columns[at].name.clone();
                vec![self.drop(at), self.add(name, random)]
            }
            9 => {
                let mut columns: Vec<_> = (0..count).collect();
                columns.shuffle(random);
                columns.truncate(random.random_range(1..3));
                let name = |at: &usize| self.table.columns[*at].name.clone();
                self.table.primary_key = columns.iter().map(name).collect();
                columns.sort_unstable();
                let mut told = Vec::new();
                for at in columns {
                    let column = &mut self.table.columns[at];
                    if !std::mem::replace(&mut column.not_null, true) {
                        let (column, not_null) = (column.name.clone(), true);
                        told.push(SchemaChange::NullabilityChanged { column, not_null });
                    }
                }
                told
            }
            10 => {
                self.table.identity = *[
                    ReplicaIdentity::Default,
                    ReplicaIdentity::Nothing,
                    ReplicaIdentity::Full,
                    ReplicaIdentity::Index,
                ]
                .choose(random)
                .unwrap();
                let fit = self.table.columns.iter().filter(|column| column.not_null);
                self.index = fit.take(1).map(|column| column.name.clone()).collect();
                let (from, to) = (identity, self.table.identity);
                let told = SchemaChange::IdentityChanged { from, to };
                (from != to).then_some(told).into_iter().collect()
            }
            _ => {
                self.names += 1;
                let name = format!("t{}", self.names).into();
                let from = std::mem::replace(&mut self.table.name, name);
                let from = format!("public.{from}").into();
                vec![SchemaChange::TableRenamed { from }]
            }
        };
        self.settle_identity();
        let indexed = [identity, self.table.identity] == [ReplicaIdentity::Index; 2];
        if renamed_key.is_none() && key != self.table.primary_key {
            let to = self.table.primary_key.clone();
            told.push(SchemaChange::KeyChanged { from: key, to });
        } else if renamed_key.is_none() && indexed && index != self.index {
            let to = self.index.clone();
            told.push(SchemaChange::KeyChanged { from: index, to });
        }
        told
    }
}

fn column(table: &CatalogTable, attnum: i16) -> Option<&CatalogColumn> {
    table.columns.iter().find(|column| column.attnum == attnum)
}

fn highest(table: &CatalogTable) -> i16 {
    numbers(table)
        .into_iter()
        .chain(table.dropped.iter().copied())
        .max()
        .unwrap_or(0)
}

/// All assignments that agree with the facts.
fn feasible(relation: &Relation, before: &CatalogTable, now: &CatalogTable) -> Vec<Vec<i16>> {
    let possible: BTreeSet<i16> = (numbers(before).into_iter())
        .chain(numbers(now))
        .chain(now.dropped.iter().copied())
        .filter(|attnum| !before.dropped.contains(attnum))
        .collect();
    let mut found: Vec<Vec<i16>> = vec![Vec::new()];
    for _ in &relation.columns {
        let longer = found.iter().flat_map(|some| {
            let last = some.last().copied().unwrap_or(0);
            possible
                .range(last + 1..)
                .map(|next| [some.as_slice(), &[*next]].concat())
        });
        found = longer.collect();
    }
    found.retain(|some| {
        let last = some.last().copied().unwrap_or(0);
        numbers(now).iter().all(|attnum| {
            let was = column(before, *attnum).is_some();
            let came_first = *attnum > highest(before) && *attnum < last;
            some.contains(attnum) || !(was || came_first)
        })
    });
    found
}

/// What an assignment costs.
fn cost(
    some: &[i16],
    relation: &Relation,
    before: &CatalogTable,
    now: &CatalogTable,
) -> (u32, i32) {
    let of = |(attnum, described): (&i16, &crate::change::Column)| {
        let side = |table: &CatalogTable| match column(table, *attnum) {
            None => 3,
            Some(known) => {
                let name = if known.name == described.name { 0 } else { 2 };
                let type_oid = if known.type_oid == described.type_oid {
                    0
                } else {
                    2
                };
                name + type_oid
            }
        };
        // What one side alone says of a name is the last that is believed.
        let differs = |known: &CatalogColumn| known.name != described.name;
        let guess = match (column(before, *attnum), column(now, *attnum)) {
            (None, Some(known)) if differs(known) => 3,
            (Some(known), None) if differs(known) => 2,
            _ => 0,
        };
        side(before) + side(now) + guess
    };
    // The lowest of those that came and went.
    let gone = some
        .iter()
        .filter(|attnum| column(before, **attnum).is_none() && column(now, **attnum).is_none());
    (
        some.iter().zip(&relation.columns).map(of).sum(),
        gone.map(|attnum| i32::from(*attnum)).sum(),
    )
}

/// Whether the truth has to be found although several assignments agree with the facts: no name ever
/// meant two columns, nothing was renamed or retyped since, and each column is as it was before, or is
/// still there with not more than one difference from before.
fn is_plain(truth: &CatalogTable, before: &CatalogTable, now: &CatalogTable, unique: bool) -> bool {
    unique
        && truth.columns.iter().all(|at| {
            let same = |c: &CatalogColumn| c.name == at.name && c.type_oid == at.type_oid;
            let old = column(before, at.attnum);
            let new = column(now, at.attnum);
            let both = old.is_some_and(|c| c.name != at.name && c.type_oid != at.type_oid);
            new.is_none_or(same) && (old.is_some_and(same) || new.is_some() && !both)
        })
}

/// What a relation says of a change.
fn seen(changes: Vec<SchemaChange>) -> Vec<SchemaChange> {
    let quiet = |change: &SchemaChange| {
        matches!(
            change,
            SchemaChange::NullabilityChanged { .. } | SchemaChange::KeyChanged { .. }
        )
    };
    changes
        .into_iter()
        .filter(|change| !quiet(change))
        .collect()
}

#[derive(Default, Debug)]
struct Counts {
    resolved: u32,
    ahead: u32,
    forced: u32,
    plain: u32,
    right: u32,
}

#[test]
fn numbers_follow_the_columns_through_any_history() {
    let mut counts = Counts::default();
    for seed in 0..HISTORIES {
        run(seed, &mut counts);
    }
    println!("{counts:?}");
    assert!(counts.ahead > 20_000, "{counts:?}");
    // The rules are of use only if they decide most of what happens.
    assert!(counts.forced * 2 > counts.ahead, "{counts:?}");
    assert!(counts.right * 8 > counts.ahead * 7, "{counts:?}");
}

fn run(seed: u64, counts: &mut Counts) {
    let random = &mut SmallRng::seed_from_u64(seed);
    let mut model = Model::new(random);
    let mut versions = vec![(model.table.clone(), None)];
    for _ in 0..STEPS + AHEAD {
        // Often one change, sometimes several that nobody saw apart.
        let mut told = Some(model.change(random));
        for _ in 0..random.random_range(0..6_u32).saturating_sub(3) {
            model.change(random);
            told = None;
        }
        versions.push((model.table.clone(), told));
    }
    let mut bearers: BTreeMap<&str, BTreeSet<i16>> = BTreeMap::new();
    for column in versions.iter().flat_map(|(table, _)| &table.columns) {
        bearers
            .entry(&column.name)
            .or_default()
            .insert(column.attnum);
    }
    let unique = bearers.values().all(|columns| columns.len() == 1);

    let mut before = versions[0].0.clone();
    for i in 1..=STEPS {
        let (truth, told) = &versions[i];
        let described = relation(truth);
        // Read at once, the catalog tells everything, and the change is told as it was made.
        let mut whole = resolve(&described, Some(&before), Some(truth));
        let gone = |attnum: &i16| truth.dropped.contains(attnum) || model.hidden.contains(attnum);
        assert!(whole.dropped.iter().all(gone), "seed {seed}, step {i}");
        whole.dropped = truth.dropped.clone();
        assert_eq!(whole, *truth, "seed {seed}, step {i}");
        if let Some(told) = told {
            assert_eq!(
                compare(&versions[i - 1].0, truth),
                *told,
                "seed {seed}, step {i}"
            );
        }
        if describes(&before, &described) {
            // No news. Should it be another column of the same name, a look at the catalog tells.
            before = truth.clone();
            continue;
        }
        let mut next = truth.clone();
        for (now, _) in &versions[i..=i + AHEAD] {
            let found = resolve(&described, Some(&before), Some(now));
            let context = format!("seed {seed}, step {i}\n{before:?}\n{described:?}\n{now:?}");
            check(&found, truth, &before, now, unique, counts, &context);
            if numbers(&found) == numbers(truth) {
                let expected = seen(compare(&before, truth));
                assert_eq!(seen(compare(&before, &found)), expected, "{context}");
                if random.random_bool(0.3) {
                    next = found;
                }
            }
        }
        before = next;
    }
}

fn check(
    found: &CatalogTable,
    truth: &CatalogTable,
    before: &CatalogTable,
    now: &CatalogTable,
    unique: bool,
    counts: &mut Counts,
    context: &str,
) {
    let described = relation(truth);
    let (found, sought) = {
        assert!(describes(found, &described), "{context}");
        (numbers(found), numbers(truth))
    };
    counts.resolved += 1;
    if describes(now, &described) {
        assert_eq!(found, numbers(now), "{context}");
        return;
    }
    counts.ahead += 1;
    counts.right += u32::from(found == sought);
    let all = feasible(&described, before, now);
    assert!(
        all.contains(&sought),
        "the oracle is wrong: {sought:?} {context}"
    );
    let price = |some: &Vec<i16>| cost(some, &described, before, now);
    let least = all.iter().map(price).min().unwrap();
    let newest_first = |some: &&Vec<i16>| some.iter().rev().copied().collect::<Vec<_>>();
    let best = all.iter().filter(|some| price(some) == least);
    assert_eq!(best.max_by_key(newest_first), Some(&found), "{context}");
    if all.len() == 1 {
        counts.forced += 1;
    } else if is_plain(truth, before, now, unique) {
        counts.plain += 1;
        assert_eq!(found, sought, "{context}");
    }
}
