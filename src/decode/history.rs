//! The versions of each table's schema, by the position from which they held.
//!
//! Postgres sends a relation far more often than it changes, and sends old ones again when a stream
//! is replayed. A relation is news only when it says something else than the newest version known
//! *and* stands behind it: versions move forward, never back.
//!
//! A relation says less than a version does (no attribute numbers, no nullability, no primary key),
//! so it is for the caller to work out the version it describes ([`resolve`](super::resolve)) and to
//! have it adopted. Until then the same relation is news again.

use hashbrown::HashMap;

use super::lineage::describes;
use crate::capture::CatalogTable;
use crate::change::{Position, Relation};

/// The schema versions known so far.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// By table oid; the newest version last.
    tables: HashMap<u32, Vec<Version>>,
}

#[derive(Clone, Debug)]
struct Version {
    from: Position,
    table: CatalogTable,
}

impl History {
    /// From the versions that the store holds, in any order.
    pub fn new(stored: Vec<(Position, CatalogTable)>) -> Self {
        let mut history = History::default();
        for (from, table) in stored {
            let versions = history.tables.entry(table.oid).or_default();
            let at = versions.partition_point(|version| version.from <= from);
            versions.insert(at, Version { from, table });
        }
        history
    }

    /// Whether `relation`, described at `position`, says something not known so far. A table of which
    /// nothing is known is news; what a replay says of the past is not.
    pub fn is_news(&self, position: Position, relation: &Relation) -> bool {
        self.newest_version(relation.oid, &relation.schema, &relation.name)
            .is_none_or(|newest| newest.from < position && !describes(&newest.table, relation))
    }

    /// From `from` on the table is `table`. Ignored when that is not newer than what is known of it.
    pub fn adopt(&mut self, from: Position, table: CatalogTable) {
        let newest = self.newest_version(table.oid, &table.schema, &table.name);
        if newest.is_none_or(|newest| newest.from < from && newest.table != table) {
            let versions = self.tables.entry(table.oid).or_default();
            versions.push(Version { from, table });
        }
    }

    /// The newest version of a table: by oid, else by name.
    pub fn newest(&self, oid: u32, schema: &str, name: &str) -> Option<&CatalogTable> {
        self.newest_version(oid, schema, name)
            .map(|version| &version.table)
    }

    /// Fills in the attribute numbers of a relation's columns as far as they are known: those of the
    /// version that held at `position` (before the first one: of that), by order and name. The
    /// numbers of a relation that is news may be wrong until its version is adopted.
    pub fn number(&self, position: Position, relation: &mut Relation) {
        let Some(versions) = self.tables.get(&relation.oid) else {
            return;
        };
        let held = versions.partition_point(|version| version.from <= position);
        let Some(version) = versions.get(held.saturating_sub(1)) else {
            return;
        };
        let mut rest = version.table.columns.as_slice();
        for column in &mut relation.columns {
            column.attnum = 0;
            if let Some(at) = rest.iter().position(|known| known.name == column.name)
                && let Some((known, after)) = rest.get(at..).and_then(<[_]>::split_first)
            {
                column.attnum = known.attnum;
                rest = after;
            }
        }
    }

    fn newest_version(&self, oid: u32, schema: &str, name: &str) -> Option<&Version> {
        // A table dropped and made anew has another oid, but goes on under its name.
        match self.tables.get(&oid).and_then(|versions| versions.last()) {
            Some(version) => Some(version),
            None => self
                .tables
                .values()
                .filter_map(|versions| versions.last())
                .filter(|v| *v.table.schema == *schema && *v.table.name == *name)
                .max_by_key(|version| version.from),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::change::{Column, Lsn, ReplicaIdentity};
    use crate::decode::resolve;
    use crate::value::ValueType;

    fn at(commit: u64, ordinal: u64) -> Position {
        Position {
            commit: Lsn(commit),
            ordinal,
        }
    }

    fn relation(oid: u32, name: &str, columns: &[&str]) -> Relation {
        Relation {
            oid,
            schema: "public".into(),
            name: name.into(),
            identity: ReplicaIdentity::Default,
            columns: columns
                .iter()
                .map(|name| Column {
                    attnum: 0,
                    name: (*name).into(),
                    type_oid: 25,
                    typmod: -1,
                    key: *name == "id",
                    value_type: ValueType::Text,
                })
                .collect(),
        }
    }

    fn version(relation: &Relation) -> CatalogTable {
        resolve(relation, None, None)
    }

    fn history(versions: &[(Position, &Relation)]) -> History {
        let stored = versions.iter().map(|(from, r)| (*from, version(r)));
        History::new(stored.collect())
    }

    fn numbers(history: &History, position: Position, relation: &Relation) -> Vec<i16> {
        let mut relation = relation.clone();
        history.number(position, &mut relation);
        relation.columns.iter().map(|c| c.attnum).collect()
    }

    #[test]
    fn only_a_difference_is_news() {
        let first = relation(1, "t", &["id"]);
        let mut history = History::default();
        assert!(history.is_news(at(10, 0), &first));
        assert!(history.is_news(at(10, 0), &first), "until it is adopted");
        history.adopt(at(10, 0), version(&first));
        assert!(!history.is_news(at(10, 0), &first));
        assert!(!history.is_news(at(10, 5), &first));
        assert!(!history.is_news(at(20, 0), &first));
        for change in [
            |r: &mut Relation| r.schema = "other".into(),
            |r: &mut Relation| r.name = "u".into(),
            |r: &mut Relation| r.identity = ReplicaIdentity::Full,
            |r: &mut Relation| r.columns = Box::new([]),
            |r: &mut Relation| r.columns[0].name = "x".into(),
            |r: &mut Relation| r.columns[0].type_oid = 1,
            |r: &mut Relation| r.columns[0].typmod = 1,
            |r: &mut Relation| r.columns[0].key = false,
        ] {
            let mut relation = first.clone();
            change(&mut relation);
            assert!(history.is_news(at(30, 0), &relation), "{relation:?}");
        }
        let mut read_otherwise = first.clone();
        read_otherwise.columns[0].value_type = ValueType::Enum;
        read_otherwise.columns[0].attnum = 7;
        assert!(!history.is_news(at(30, 0), &read_otherwise));
    }

    #[test]
    fn a_replay_undoes_nothing() {
        let old = relation(1, "t", &["id"]);
        let new = relation(1, "t", &["id", "x"]);
        let mut history = history(&[(at(20, 3), &new), (at(10, 0), &old)]);
        assert!(!history.is_news(at(15, 0), &old));
        assert!(!history.is_news(at(20, 3), &new));
        assert!(!history.is_news(at(20, 4), &new));
        assert!(history.is_news(at(21, 0), &old), "dropped again, and later");
        // What is not newer is not adopted.
        for position in [at(15, 0), at(20, 3)] {
            history.adopt(position, version(&old));
            assert_eq!(history.newest(1, "", ""), Some(&version(&new)));
        }
    }

    #[test]
    fn a_table_made_anew_is_news_but_its_past_is_not() {
        let again = relation(2, "t", &["id"]);
        let history = history(&[(at(20, 0), &again)]);
        assert!(!history.is_news(at(10, 0), &relation(1, "t", &["id"])));
        assert!(history.is_news(at(30, 0), &relation(3, "t", &["id"])));
        assert!(history.is_news(at(40, 0), &relation(4, "u", &["id"])));
        assert_eq!(history.newest(3, "public", "t"), Some(&version(&again)));
        assert_eq!(history.newest(3, "other", "t"), None);
    }

    #[test]
    fn two_tables_may_swap_their_names() {
        let (a, b) = (relation(1, "a", &["id"]), relation(2, "b", &["id"]));
        let mut history = history(&[(at(10, 0), &a), (at(10, 1), &b)]);
        for (ordinal, swapped) in [relation(2, "a", &["id"]), relation(1, "b", &["id"])]
            .iter()
            .enumerate()
        {
            let position = at(20, ordinal as u64);
            assert!(history.is_news(position, swapped));
            history.adopt(position, version(swapped));
        }
        assert!(!history.is_news(at(12, 0), &a));
    }

    #[test]
    fn numbers_are_those_of_the_version_that_held() {
        let columns = ["id", "a", "b"];
        let old = relation(1, "t", &columns);
        let new = relation(1, "t", &["id", "b", "a"]);
        let mut history = history(&[(at(10, 0), &old)]);
        assert_eq!(numbers(&history, at(15, 0), &old), [1, 2, 3]);
        // `a` was dropped and came back: its old number cannot stand behind b's.
        assert_eq!(numbers(&history, at(20, 0), &new), [1, 3, 0]);
        let mut later = version(&old);
        later.columns.remove(1);
        later.columns.push(later.columns[0].clone());
        later.columns[2].name = "a".into();
        later.columns[2].attnum = 4;
        history.adopt(at(20, 0), later);
        assert_eq!(numbers(&history, at(20, 0), &new), [1, 3, 4]);
        assert_eq!(numbers(&history, at(19, 0), &old), [1, 2, 3]);
        assert_eq!(numbers(&history, at(9, 0), &old), [1, 2, 3]);
        assert_eq!(numbers(&history, at(9, 0), &relation(2, "t", &["id"])), [0]);
    }
}
