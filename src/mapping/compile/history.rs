//! What earlier runs knew of a table: by it a column that was renamed or dropped is told from a slip
//! of the pen.

use std::collections::BTreeSet;

use super::Remembered;
use crate::capture::{CatalogColumn, CatalogTable};
use crate::change::ReplicaIdentity;

/// The versions of one table.
#[derive(Clone, Default)]
pub(super) struct History<'a> {
    /// Of this very table, oldest first.
    own: Vec<&'a CatalogTable>,
    /// Of tables that bore its name and were replaced by it, oldest first.
    before: Vec<&'a CatalogTable>,
}

/// Where the column that the configuration names is.
pub(super) enum Found<'a> {
    /// Under that name.
    Here(&'a CatalogColumn),
    /// Under another name.
    Renamed(&'a CatalogColumn),
    /// Gone; how it was.
    Dropped {
        was: &'a CatalogColumn,
        /// Its number; 0 when it was a column of a table made anew since.
        attnum: i16,
        /// It is there, but the publication does not send it.
        hidden: bool,
    },
    /// There never was one.
    Never,
}

pub(super) fn qualified(table: &CatalogTable) -> String {
    format!("{}.{}", table.schema, table.name)
}

impl<'a> History<'a> {
    /// The versions of the table `source`, called `name` in the configuration.
    pub(super) fn new(remembered: &'a Remembered, source: &CatalogTable, name: &str) -> Self {
        let (own, others): (Vec<_>, Vec<_>) = remembered
            .versions
            .iter()
            .partition(|t| t.oid == source.oid);
        let now = qualified(source);
        let before = others.into_iter().filter(|t| {
            let then = qualified(t);
            then == name || then == now
        });
        History {
            before: before.collect(),
            own,
        }
    }

    /// Of messages that have been written before: they are what they were.
    pub(super) fn of_messages(source: &'a CatalogTable) -> Self {
        History {
            own: vec![source],
            before: Vec::new(),
        }
    }

    /// It has run before.
    pub(super) fn ran(&self) -> bool {
        !self.own.is_empty() || !self.before.is_empty()
    }

    /// The column that the configuration calls `name`.
    pub(super) fn find(&self, source: &'a CatalogTable, name: &str) -> Found<'a> {
        let named = |t: &&'a CatalogTable| t.columns.iter().find(|c| *c.name == *name);
        if let Some(column) = named(&source) {
            return Found::Here(column);
        }
        if let Some(was) = self.own.iter().rev().find_map(named) {
            let now = source.columns.iter().find(|c| c.attnum == was.attnum);
            return match now {
                Some(now) => Found::Renamed(now),
                None => Found::Dropped {
                    was,
                    attnum: was.attnum,
                    hidden: !source.dropped.is_empty() && !source.dropped.contains(&was.attnum),
                },
            };
        }
        match self.before.iter().rev().find_map(named) {
            Some(was) => Found::Dropped {
                was,
                attnum: 0,
                hidden: false,
            },
            None => Found::Never,
        }
    }

    /// The names that a column of the table has had, oldest first, without today's.
    pub(super) fn names(&self, column: &CatalogColumn) -> Vec<&'a str> {
        let mut names: Vec<&str> = Vec::new();
        for version in &self.own {
            let then = version.columns.iter().find(|c| c.attnum == column.attnum);
            if let Some(then) = then
                && then.name != column.name
                && !names.contains(&&*then.name)
            {
                names.push(&then.name);
            }
        }
        names
    }

    /// How a column was in earlier versions, oldest first.
    pub(super) fn earlier(
        &self,
        column: &CatalogColumn,
    ) -> impl Iterator<Item = &'a CatalogColumn> {
        let own = self
            .own
            .iter()
            .filter_map(|t| t.columns.iter().find(|c| c.attnum == column.attnum));
        let before = self
            .before
            .iter()
            .filter_map(|t| t.columns.iter().find(|c| c.name == column.name));
        before.chain(own)
    }

    /// Whether these columns once identified the old rows of updates and deletes.
    pub(super) fn identified(&self, columns: &[&CatalogColumn]) -> bool {
        self.own.iter().any(|version| {
            columns.iter().all(|column| {
                let then = version.columns.iter().find(|c| c.attnum == column.attnum);
                then.is_some_and(|then| match version.identity {
                    ReplicaIdentity::Full => true,
                    ReplicaIdentity::Nothing => false,
                    _ => version.identity_columns.contains(&then.name),
                })
            })
        })
    }

    /// The columns that are gone, each as it was last; the number is 0 for one of a table made anew
    /// since.
    pub(super) fn gone(&self, source: &CatalogTable) -> Vec<(i16, &'a CatalogColumn)> {
        let mut seen: BTreeSet<i16> = source.columns.iter().map(|c| c.attnum).collect();
        let mut names: BTreeSet<&str> = source.columns.iter().map(|c| &*c.name).collect();
        let mut gone = Vec::new();
        for column in self.own.iter().rev().flat_map(|t| &t.columns) {
            if seen.insert(column.attnum) {
                gone.push((column.attnum, column));
            }
            names.insert(&column.name);
        }
        for column in self.before.iter().rev().flat_map(|t| &t.columns) {
            if names.insert(&column.name) {
                gone.push((0, column));
            }
        }
        gone
    }
}
