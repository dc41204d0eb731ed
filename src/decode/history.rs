//! The versions of each table's schema, by the position from which they held.
//!
//! Postgres sends a relation far more often than it changes, and sends old ones again when a stream
//! is replayed. A relation is a new version only when it says something else than the newest version
//! known *and* stands behind it: versions move forward, never back.

use hashbrown::HashMap;

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
    relation: Relation,
}

impl History {
    /// From the versions that the store holds, in any order.
    pub fn new(stored: Vec<(Position, Relation)>) -> Self {
        let mut history = History::default();
        for (from, relation) in stored {
            let versions = history.tables.entry(relation.oid).or_default();
            let at = versions.partition_point(|version| version.from <= from);
            versions.insert(at, Version { from, relation });
        }
        history
    }

    /// Notes that `relation` holds from `position` on, and says whether that is a new version.
    pub fn note(&mut self, position: Position, relation: &Relation) -> bool {
        // A table dropped and made anew has another oid, but goes on under its name.
        let newest = match self.tables.get(&relation.oid).and_then(|v| v.last()) {
            Some(version) => Some(version),
            None => self.newest_by_name(relation),
        };
        if let Some(newest) = newest
            && (position <= newest.from || same(&newest.relation, relation))
        {
            return false;
        }
        self.tables.entry(relation.oid).or_default().push(Version {
            from: position,
            relation: relation.clone(),
        });
        true
    }

    /// Forgets the versions that began after `settled`: their changes come again, and so do they.
    pub fn rewind(&mut self, settled: Position) {
        for versions in self.tables.values_mut() {
            versions.retain(|version| version.from <= settled);
            // What is settled cannot be rewound: of that the newest is enough.
            versions.drain(..versions.len().saturating_sub(1));
        }
        self.tables.retain(|_, versions| !versions.is_empty());
    }

    fn newest_by_name(&self, relation: &Relation) -> Option<&Version> {
        self.tables
            .values()
            .filter_map(|versions| versions.last())
            .filter(|v| v.relation.schema == relation.schema && v.relation.name == relation.name)
            .max_by_key(|version| version.from)
    }
}

/// Whether two versions of a table say the same. How we read a type may improve without the table
/// having changed, so that does not count.
fn same(a: &Relation, b: &Relation) -> bool {
    a.oid == b.oid
        && a.schema == b.schema
        && a.name == b.name
        && a.identity == b.identity
        && a.columns.len() == b.columns.len()
        && a.columns.iter().zip(&b.columns).all(|(a, b)| {
            a.name == b.name && a.type_oid == b.type_oid && a.typmod == b.typmod && a.key == b.key
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{Column, Lsn, ReplicaIdentity};
    use crate::value::ValueType;

    fn at(commit: u64, ordinal: u64) -> Position {
        Position {
            commit: Lsn(commit),
            ordinal,
        }
    }

    fn table(oid: u32, name: &str, columns: &[&str]) -> Relation {
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

    #[test]
    fn only_a_difference_makes_a_version() {
        let mut history = History::default();
        let first = table(1, "t", &["id"]);
        assert!(history.note(at(10, 0), &first));
        assert!(!history.note(at(10, 5), &first));
        assert!(!history.note(at(20, 0), &first));
        let mut differences = Vec::new();
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
            differences.push(relation);
        }
        for relation in differences {
            assert!(history.clone().note(at(30, 0), &relation), "{relation:?}");
        }
        let mut read_otherwise = first.clone();
        read_otherwise.columns[0].value_type = ValueType::Enum;
        assert!(!history.note(at(30, 0), &read_otherwise));
    }

    #[test]
    fn a_replay_undoes_nothing() {
        let old = table(1, "t", &["id"]);
        let new = table(1, "t", &["id", "x"]);
        let mut history = History::new(vec![(at(20, 3), new.clone()), (at(10, 0), old.clone())]);
        assert!(!history.note(at(15, 0), &old));
        assert!(!history.note(at(20, 3), &new));
        assert!(!history.note(at(20, 4), &new));
        assert!(history.note(at(21, 0), &old), "dropped again, and later");
    }

    #[test]
    fn what_was_not_settled_is_reported_again() {
        let old = table(1, "t", &["id"]);
        let new = table(1, "t", &["id", "x"]);
        let mut history = History::new(vec![(at(10, 0), old.clone())]);
        assert!(history.note(at(20, 0), &new));
        history.rewind(at(19, 7));
        assert!(!history.note(at(11, 0), &old));
        assert!(history.note(at(20, 0), &new));
        history.rewind(at(20, 0));
        assert!(!history.note(at(20, 0), &new));
    }

    #[test]
    fn a_table_made_anew_is_a_version_but_its_past_is_not() {
        let mut history = History::new(vec![(at(20, 0), table(2, "t", &["id"]))]);
        assert!(!history.note(at(10, 0), &table(1, "t", &["id"])));
        assert!(history.note(at(30, 0), &table(3, "t", &["id"])));
        assert!(history.note(at(40, 0), &table(4, "u", &["id"])));
    }

    #[test]
    fn two_tables_may_swap_their_names() {
        let mut history = History::new(vec![
            (at(10, 0), table(1, "a", &["id"])),
            (at(10, 1), table(2, "b", &["id"])),
        ]);
        assert!(history.note(at(20, 0), &table(2, "a", &["id"])));
        assert!(history.note(at(20, 1), &table(1, "b", &["id"])));
        assert!(!history.note(at(12, 0), &table(1, "a", &["id"])));
    }
}
