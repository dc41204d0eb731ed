//! What the catalog says of tables for people: comments, labels, constraints.

use std::collections::BTreeMap;

use super::Sql;
use crate::fault::Result;

/// What is said of a table.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TableNotes {
    /// `COMMENT ON TABLE`.
    pub comment: Option<Box<str>>,
    /// By attribute number; only columns of which something is said.
    pub columns: BTreeMap<i16, ColumnNotes>,
    /// Primary and foreign keys, unique, check and exclusion constraints, by name.
    pub constraints: Vec<ConstraintNote>,
}

/// What is said of a column.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ColumnNotes {
    /// `COMMENT ON COLUMN`.
    pub comment: Option<Box<str>>,
    /// The labels of its enumeration, or of that of its elements, in their order.
    pub labels: Vec<Box<str>>,
}

/// A constraint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConstraintNote {
    /// Its name.
    pub name: Box<str>,
    /// Attribute numbers of the columns that it is about.
    pub columns: Vec<i16>,
    /// As SQL prints it: `CHECK ((amount > 0))`.
    pub definition: Box<str>,
}

impl Sql {
    /// What is said of these tables, by oid. A table of which nothing is said is not in it.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn dictionary(&self, tables: &[u32]) -> Result<BTreeMap<u32, TableNotes>> {
        let rows = self
            .rows(include_str!("../../sql/dictionary.sql"), &[&tables])
            .await?;
        let mut notes: BTreeMap<u32, TableNotes> = BTreeMap::new();
        for row in &rows {
            let read = || -> Result<_, tokio_postgres::Error> {
                Ok((
                    row.try_get::<_, u32>(0)?,
                    row.try_get::<_, Vec<i16>>(1)?,
                    row.try_get::<_, String>(2)?,
                    row.try_get::<_, String>(3)?,
                    row.try_get::<_, String>(4)?,
                ))
            };
            let (oid, columns, kind, name, text) = read().map_err(|e| self.failed(e))?;
            let table = notes.entry(oid).or_default();
            match (kind.as_str(), columns.first()) {
                ("table", _) => table.comment = Some(text.into()),
                ("column", Some(attnum)) => {
                    table.columns.entry(*attnum).or_default().comment = Some(text.into());
                }
                ("label", Some(attnum)) => {
                    let column = table.columns.entry(*attnum).or_default();
                    column.labels.push(text.into());
                }
                _ => table.constraints.push(ConstraintNote {
                    name: name.into(),
                    columns,
                    definition: text.into(),
                }),
            }
        }
        Ok(notes)
    }
}
