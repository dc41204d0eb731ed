//! A model table that goes through random changes and knows its attribute numbers, against what is
//! worked out from its relations and from catalogs read at the same moment or later.
//!
//! As long as no name is used twice, no column may be taken for another; and where the facts at the top
//! of `lineage.rs`, searched through here one assignment after the other, leave no choice, or one that
//! the names make, the truth has to be found.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use rand::prelude::*;
use rand::rngs::SmallRng;

use super::lineage::{describes, is_stand_in};
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

    /// A column that comes, goes, is renamed or retyped.
    fn column_change(&mut self, random: &mut SmallRng) {
        let count = self.table.columns.len();
        let at = random.random_range(0..count);
        match random.random_range(0..8) {
            0..3 if count < 8 => {
                let name = self.free_name(random);
                self.add(name, random);
            }
            3 | 4 if at > 0 => {
                self.drop(at);
            }
            5 | 6 => {
                let name = self.free_name(random);
                self.rename(at, name);
            }
            _ => {
                let column = &mut self.table.columns[at];
                column.type_oid = if column.type_oid == INT { TEXT } else { INT };
                column.type_name = type_name(column.type_oid).into();
            }
        }
        self.settle_identity();
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
    assert!(counts.right * 5 > counts.ahead * 4, "{counts:?}");
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
    assert!(describes(found, &described), "{context}");
    let (found, sought) = (numbers(found), numbers(truth));
    counts.resolved += 1;
    if describes(now, &described) {
        assert_eq!(found, numbers(now), "{context}");
        return;
    }
    counts.ahead += 1;
    counts.right += u32::from(found == sought);
    if unique {
        let apart = |(found, sought): (&i16, &i16)| found != sought && !is_stand_in(*found);
        let wrong = found.iter().zip(&sought).any(apart);
        assert!(!wrong, "{found:?} for {sought:?}: {context}");
    }
    let all = feasible(&described, before, now);
    assert!(
        all.contains(&sought),
        "the oracle is wrong: {sought:?} {context}"
    );
    if all.len() == 1 {
        counts.forced += 1;
        assert_eq!(found, sought, "{context}");
    } else if is_plain(truth, before, now, unique) {
        counts.plain += 1;
        assert_eq!(found, sought, "{context}");
    }
}

/// How a table of many changes is caught up with: each relation is worked out from what was made of the
/// one before, with a catalog that is far ahead.
#[test]
fn far_behind_no_column_is_taken_for_another() {
    let (mut resolved, mut columns, mut stand_ins) = (0_u32, 0_u32, 0_u32);
    for seed in 0..HISTORIES {
        let random = &mut SmallRng::seed_from_u64(seed);
        let mut model = Model::new(random);
        model.reuse = false;
        let mut versions = vec![model.table.clone()];
        for _ in 0..30 {
            // Some changes come together, between two rows.
            for _ in 0..random.random_range(1..4_u32) {
                model.column_change(random);
            }
            versions.push(model.table.clone());
        }
        let mut before = versions[0].clone();
        let mut ahead = 0;
        // By name: the stand-in of a column stays what it is, and is no other's.
        let mut stood_in: BTreeMap<i16, i16> = BTreeMap::new();
        for (i, truth) in versions.iter().enumerate().skip(1) {
            if ahead < i || random.random_bool(0.1) {
                ahead = random.random_range(i..versions.len());
            }
            let (described, now) = (relation(truth), &versions[ahead]);
            if describes(&before, &described) {
                continue;
            }
            let found = resolve(&described, Some(&before), Some(now));
            let context =
                format!("seed {seed}, step {i}\n{before:?}\n{truth:?}\n{now:?}\n{found:?}");
            assert!(describes(&found, &described), "{context}");
            resolved += 1;
            for (sought, got) in truth.columns.iter().zip(&found.columns) {
                columns += 1;
                if is_stand_in(got.attnum) {
                    stand_ins += 1;
                    let stands_for = stood_in.entry(got.attnum).or_insert(sought.attnum);
                    assert_eq!(*stands_for, sought.attnum, "{context}");
                } else {
                    assert_eq!(got.attnum, sought.attnum, "{context}");
                }
            }
            before = found;
        }
    }
    println!("{resolved} resolved, {stand_ins} stand-ins among {columns} columns");
    assert!(resolved > 50_000 && stand_ins * 4 < columns);
}
