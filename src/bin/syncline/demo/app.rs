//! The application whose database is kept in step: it writes, and counts what it wrote.

use std::collections::BTreeMap;
use std::time::SystemTime;

use syncline::fault::Result;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::data::Cell;
use super::machine::failed;
use super::postgres::refused;

/// Rows of one INSERT.
const ROWS: usize = 100;

/// A table, by its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Table {
    Company,
    Customer,
    Deal,
}

impl Table {
    pub(super) const ALL: [Table; 3] = [Table::Company, Table::Customer, Table::Deal];

    pub(super) fn object(self) -> &'static str {
        match self {
            Table::Company => "Account",
            Table::Customer => "Contact",
            Table::Deal => "Opportunity",
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Table::Company => "company",
            Table::Customer => "customer",
            Table::Deal => "deal",
        }
    }

    /// What the CRM's external id is made of.
    pub(super) fn key(self) -> &'static str {
        match self {
            Table::Company => "id",
            Table::Customer => "id::text",
            Table::Deal => "company_id || '/' || number",
        }
    }
}

/// A version of a row, and when it was committed.
pub(super) struct Version {
    pub(super) table: Table,
    pub(super) key: String,
    pub(super) version: i64,
    pub(super) committed: SystemTime,
}

/// The application.
pub(super) struct App {
    client: Client,
    /// Row changes committed, by table.
    pub(super) changes: BTreeMap<Table, i64>,
    /// Versions written since [`App::watch`], for the lag.
    pub(super) versions: Vec<Version>,
    /// Transactions committed.
    pub(super) transactions: i64,
    watching: bool,
    /// Changes and versions of the open transaction.
    open: Vec<(Table, i64)>,
    written: Vec<(Table, String, i64)>,
    /// Columns that have another name by now: the old one and the new one.
    renamed: Vec<(&'static str, &'static str)>,
}

impl App {
    pub(super) fn new(client: Client) -> App {
        App {
            client,
            changes: BTreeMap::new(),
            versions: Vec::new(),
            transactions: 0,
            watching: false,
            open: Vec::new(),
            written: Vec::new(),
            renamed: Vec::new(),
        }
    }

    /// All row changes committed.
    pub(super) fn total(&self) -> i64 {
        self.changes.values().sum()
    }

    /// From now on notes when each version was committed.
    pub(super) fn watch(&mut self) {
        self.watching = true;
    }

    /// What has been written until now was there before the connector: it will arrive as rows, not as
    /// changes. Says how many rows.
    pub(super) fn history(&mut self) -> i64 {
        self.transactions = 0;
        std::mem::take(&mut self.changes).values().sum()
    }

    /// Changes a table's schema, in the open transaction.
    pub(super) async fn alter(&self, statement: &str) -> Result<()> {
        self.client.batch_execute(statement).await.map_err(refused)
    }

    /// Gives a column another name, in the open transaction and in what is inserted from now on.
    pub(super) async fn rename(
        &mut self,
        table: Table,
        from: &'static str,
        to: &'static str,
    ) -> Result<()> {
        let table = table.name();
        self.alter(&format!("ALTER TABLE {table} RENAME COLUMN {from} TO {to}"))
            .await?;
        self.renamed.push((from, to));
        Ok(())
    }

    pub(super) async fn begin(&self) -> Result<()> {
        self.client.batch_execute("BEGIN").await.map_err(refused)
    }

    pub(super) async fn commit(&mut self) -> Result<()> {
        self.client.batch_execute("COMMIT").await.map_err(refused)?;
        let committed = SystemTime::now();
        self.transactions += 1;
        for (table, count) in self.open.drain(..) {
            *self.changes.entry(table).or_default() += count;
        }
        let written = self.written.drain(..);
        if self.watching {
            self.versions
                .extend(written.map(|(table, key, version)| Version {
                    table,
                    key,
                    version,
                    committed,
                }));
        }
        Ok(())
    }

    pub(super) async fn roll_back(&mut self) -> Result<()> {
        self.open.clear();
        self.written.clear();
        self.client.batch_execute("ROLLBACK").await.map_err(refused)
    }

    /// Changes rows of a table by a statement without RETURNING; says how many.
    pub(super) async fn write(&mut self, table: Table, statement: &str) -> Result<i64> {
        let returning = format!("{statement} RETURNING {}, lock_version", table.key());
        let rows = self.read(&returning).await?;
        let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        self.open.push((table, count));
        if !statement.starts_with("DELETE") {
            for row in rows {
                let mut cells = row.into_iter().flatten();
                if let (Some(key), Some(version)) = (cells.next(), cells.next()) {
                    self.written
                        .push((table, key, version.parse().unwrap_or(0)));
                }
            }
        }
        Ok(count)
    }

    /// One statement, one transaction.
    pub(super) async fn write_alone(&mut self, table: Table, statement: &str) -> Result<i64> {
        self.begin().await?;
        let count = self.write(table, statement).await?;
        self.commit().await?;
        Ok(count)
    }

    /// Rows that the next statement changes by a cascade.
    pub(super) async fn cascade(&mut self, table: Table, condition: &str) -> Result<()> {
        let count = format!("SELECT count(*) FROM {} WHERE {condition}", table.name());
        let count = self.number(&count).await?;
        self.open.push((table, count));
        Ok(())
    }

    /// Inserts rows. `into` is the table with its columns.
    pub(super) async fn insert(
        &mut self,
        table: Table,
        into: &str,
        rows: &[Vec<Cell>],
    ) -> Result<()> {
        let mut into = into.to_owned();
        for (from, to) in &self.renamed {
            into = into.replace(from, to);
        }
        for some in rows.chunks(ROWS) {
            let rows: Vec<String> = some
                .iter()
                .map(|row| {
                    let cells: Vec<String> = row.iter().map(|c| literal(c.as_deref())).collect();
                    format!("({})", cells.join(", "))
                })
                .collect();
            self.write(
                table,
                &format!("INSERT INTO {into} VALUES {}", rows.join(", ")),
            )
            .await?;
        }
        Ok(())
    }

    /// Rows as text.
    pub(super) async fn read(&self, query: &str) -> Result<Vec<Vec<Cell>>> {
        let messages = self.client.simple_query(query).await.map_err(refused)?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|i| row.try_get(i).ok().flatten().map(str::to_owned))
                    .collect(),
            ),
            _ => None,
        });
        Ok(rows.collect())
    }

    /// A query with one parameter, of which every column is a text.
    pub(super) async fn texts(&self, query: &str, of: &[Cell]) -> Result<Vec<Vec<Cell>>> {
        let parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = of
            .iter()
            .map(|c| c as &(dyn tokio_postgres::types::ToSql + Sync))
            .collect();
        let rows = self
            .client
            .query(query, &parameters)
            .await
            .map_err(refused)?;
        rows.iter()
            .map(|row| {
                (0..row.len())
                    .map(|i| row.try_get(i).map_err(refused))
                    .collect()
            })
            .collect()
    }

    /// The first cells of the rows.
    pub(super) async fn pick(&self, query: &str) -> Result<Vec<String>> {
        let rows = self.read(query).await?;
        Ok(rows
            .into_iter()
            .filter_map(|row| row.into_iter().next().flatten())
            .collect())
    }

    /// The first cell of the first row.
    pub(super) async fn one(&self, query: &str) -> Result<String> {
        let first = self.pick(query).await?.into_iter().next();
        first.ok_or_else(|| failed(format!("the demo found no row: {query}")))
    }

    pub(super) async fn number(&self, query: &str) -> Result<i64> {
        let text = self.one(query).await?;
        text.parse()
            .map_err(|_| failed(format!("the demo expected a number: {query}")))
    }

    /// Whether everything up to this LSN has been confirmed by the reader of the slot.
    pub(super) async fn confirmed(&self, lsn: &str) -> Result<bool> {
        let query = format!(
            "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'syncline' \
             AND confirmed_flush_lsn >= {}",
            literal(Some(lsn))
        );
        Ok(self.number(&query).await? == 1)
    }
}

/// A value in a statement.
pub(super) fn literal(value: Option<&str>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some(text) => format!("'{}'", text.replace('\'', "''")),
    }
}
