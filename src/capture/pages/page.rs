//! One page of one table.

use std::pin::pin;

use bytes::Bytes;
use futures_util::{TryStreamExt, try_join};
use smallvec::SmallVec;
use tokio_postgres::types::Type;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use super::super::catalog::CatalogTable;
use super::super::reader::{Page, PageKey, PageRequest, Snapshot};
use super::super::sql::Sql;
use super::LOOKS;
use super::select::{KeyColumn, Target, table};
use crate::change::{Span, Tuple};
use crate::fault::{Error, ErrorKind, Result};

/// Rows of the first FETCH. How large they are is not known before.
const FIRST_FETCH: usize = 32;

/// No buffer is larger: spans count with 32 bits, and a row has at most 1 GiB.
const MOST_BYTES: usize = 1 << 31;

/// The plan that costs least over all pages goes by the key's index. A planner without statistics,
/// or one that hopes for little to sort, would sort the whole rest of the table for each page. With a
/// filter it may know better.
const BY_INDEX: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; \
     SET LOCAL enable_sort = off; SET LOCAL enable_incremental_sort = off; ";

/// Reads a page. After an error the connection may be within a transaction.
pub(super) async fn read(sql: &Sql, request: &PageRequest, publication: &str) -> Result<Page> {
    for _ in 0..LOOKS {
        if let Some(page) = attempt(sql, request, publication).await? {
            return Ok(page);
        }
        sql.run("ROLLBACK").await?;
    }
    Err(unsettled(request.table))
}

/// Its name changes whenever we look.
pub(super) fn unsettled(oid: u32) -> Error {
    Error::new(
        ErrorKind::SourceUnreachable,
        format!("the table with the oid {oid} does not stop changing its name"),
    )
}

/// `None` when the table was renamed before it was locked.
async fn attempt(sql: &Sql, request: &PageRequest, publication: &str) -> Result<Option<Page>> {
    let named = named(sql, request.table).await?;
    let Some(snapshot) = begin(sql, &named).await? else {
        return Ok(None);
    };
    let (tables, target) = try_join!(
        sql.tables_of(&[], std::slice::from_ref(&request.table), publication),
        target(sql, &named, publication)
    )?;
    let Some(catalog) = tables.into_iter().flatten().next() else {
        return Ok(None);
    };
    if *catalog.schema != *named.schema || *catalog.name != *named.name {
        return Ok(None);
    }
    let after = request.after.as_deref();
    let most = request.rows.max(1);
    check_key(&catalog, &target, after)?;
    if let Some(filter) = &request.filter {
        check_filter(sql, &target, filter).await?;
    }
    let mut rows = Rows::new(&catalog, &target, request.bytes.min(MOST_BYTES));
    let query = target.page(&rows.columns, after, request.filter.as_deref(), most);
    let hints = if request.filter.is_none() {
        BY_INDEX
    } else {
        ""
    };
    sql.run(&format!(
        "{hints}DECLARE syncline_page NO SCROLL CURSOR FOR {query}"
    ))
    .await?;
    let end = rows.fetch(sql, most).await?;
    sql.run("COMMIT").await?;
    let (rows, last) = rows.finish();
    Ok(Some(Page {
        snapshot,
        table: catalog,
        rows,
        last,
        end,
    }))
}

/// A table under the name that it has at the moment.
pub(super) struct Named {
    oid: u32,
    schema: String,
    name: String,
    partitioned: bool,
    /// The role may read all columns.
    whole: bool,
}

impl Named {
    /// What stands behind FROM: of a partitioned table all partitions; of another one not those that
    /// inherit from it, whose changes arrive under their own names.
    pub(super) fn from(&self) -> String {
        let only = if self.partitioned { "" } else { "ONLY " };
        format!("{only}{}", table(&self.schema, &self.name))
    }
}

pub(super) async fn named(sql: &Sql, oid: u32) -> Result<Named> {
    let rows = sql
        .client()
        .query_typed(
            include_str!("../../../sql/table_name.sql"),
            &[(&oid, Type::OID)],
        )
        .await
        .map_err(|e| sql.failed(e))?;
    let Some(row) = rows.first() else {
        return Err(Error::new(
            ErrorKind::SourceRefused,
            format!("the table with the oid {oid} is not there any more"),
        )
        .remedy("if it was made anew under the same name, start its backfill again"));
    };
    let read = || -> Result<Named, tokio_postgres::Error> {
        Ok(Named {
            oid,
            schema: row.try_get(0)?,
            name: row.try_get(1)?,
            partitioned: row.try_get::<_, &str>(2)? == "p",
            whole: row.try_get(3)?,
        })
    };
    read().map_err(|e| sql.failed(e))
}

/// Begins a transaction with the table locked, then takes the snapshot. `None` when there is no
/// table of that name (any more).
///
/// A role with rights on some columns only may not LOCK TABLE. A query that reads nothing takes the
/// same lock, but only under READ COMMITTED does the next one get a newer snapshot. The rows' own is
/// newer still: see the module.
async fn begin(sql: &Sql, named: &Named) -> Result<Option<Snapshot>> {
    let from = named.from();
    let begin = if named.whole {
        format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; LOCK TABLE {from} IN ACCESS SHARE MODE"
        )
    } else {
        format!("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SELECT FROM {from} LIMIT 0")
    };
    let begun = sql
        .client()
        .simple_query(&format!("{begin}; SELECT pg_current_snapshot()"))
        .await;
    let messages = match begun {
        Ok(messages) => messages,
        Err(e) if matches!(e.code().map(|c| c.code()), Some("42P01" | "3F000")) => return Ok(None),
        Err(e) => return Err(sql.failed(e)),
    };
    messages
        .iter()
        .find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.try_get(0).ok().flatten(),
            _ => None,
        })
        .and_then(Snapshot::parse)
        .map(Some)
        .ok_or_else(|| Error::new(ErrorKind::Protocol, "the server's snapshot cannot be read"))
}

impl Snapshot {
    /// Reads `xmin:xmax:xid,…`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let xmin = parts.next()?.parse().ok()?;
        let xmax = parts.next()?.parse().ok()?;
        let mut running = parts
            .next()?
            .split(',')
            .filter(|xid| !xid.is_empty())
            .map(|xid| xid.parse().ok())
            .collect::<Option<Vec<u64>>>()?;
        running.sort_unstable();
        Some(Snapshot {
            xmin,
            xmax,
            running,
        })
    }
}

/// How to read the table.
pub(super) async fn target(sql: &Sql, named: &Named, publication: &str) -> Result<Target> {
    let rows = sql
        .rows(
            include_str!("../../../sql/page.sql"),
            &[&named.oid, &publication],
        )
        .await?;
    let mut target = Target {
        from: named.from(),
        row_filter: None,
        key: Vec::new(),
    };
    for row in &rows {
        let mut read = || -> Result<(), tokio_postgres::Error> {
            target.row_filter = row.try_get(1)?;
            if let Some(name) = row.try_get(2)? {
                // An order of less than five operators is none that we know how to follow.
                if let Ok(operators) = row.try_get::<_, Vec<String>>(6)?.try_into() {
                    target.key.push(KeyColumn {
                        name,
                        collation: row.try_get(3)?,
                        descending: row.try_get(4)?,
                        nulls_first: row.try_get(5)?,
                        operators,
                    });
                }
            }
            Ok(())
        };
        read().map_err(|e| sql.failed(e))?;
    }
    Ok(target)
}

fn check_key(catalog: &CatalogTable, target: &Target, after: Option<&[String]>) -> Result<()> {
    let name = format!("{}.{}", catalog.schema, catalog.name);
    if target.key.is_empty() {
        let quoted = table(&catalog.schema, &catalog.name);
        return Err(Error::new(
            ErrorKind::SourceRefused,
            format!("the table {name} has no key by which its existing rows can be read page by page"),
        )
        .remedy(format!(
            "ALTER TABLE {quoted} ADD PRIMARY KEY (...); -- or, with a unique index over columns that are NOT NULL: ALTER TABLE {quoted} REPLICA IDENTITY USING INDEX ...;"
        )));
    }
    if after.is_some_and(|after| after.len() != target.key.len()) {
        return Err(Error::new(
            ErrorKind::SourceRefused,
            format!("the key of the table {name} has changed since its last page was read"),
        )
        .remedy("start its backfill again"));
    }
    Ok(())
}

/// Whether the user's condition is one: no statement behind it, no parenthesis that closes ours. The
/// server parses it where it stands alone.
pub(super) async fn check_filter(sql: &Sql, target: &Target, filter: &str) -> Result<()> {
    let alone = format!("SELECT FROM {} WHERE\n{filter}\n", target.from);
    let Err(e) = sql.client().prepare(&alone).await else {
        return Ok(());
    };
    let Some(said) = e.as_db_error() else {
        return Err(sql.failed(e));
    };
    if said.code().code() == "42501" {
        return Err(sql.failed(e));
    }
    // It quotes what the user wrote: no row has been read.
    Err(Error::new(
        ErrorKind::SourceRefused,
        format!(
            "the condition on the rows is not accepted: {}",
            said.message()
        ),
    )
    .remedy("write an SQL condition on the table's columns, as after WHERE"))
}

/// The rows of a page, as they come in.
struct Rows<'a> {
    /// What is selected: the columns sent, then those of the key that are not.
    columns: Vec<&'a str>,
    /// How many of them are sent.
    sent: usize,
    /// Where the key's columns stand among those selected.
    key: Vec<usize>,
    budget: usize,
    buffer: Vec<u8>,
    rows: Vec<Tuple>,
    /// Columns of the key that are not sent, of the last row.
    beside: Vec<String>,
    /// The budget is used up: rows that still come are not kept.
    full: bool,
}

impl<'a> Rows<'a> {
    fn new(catalog: &'a CatalogTable, target: &'a Target, budget: usize) -> Self {
        let mut columns: Vec<&str> = catalog.columns.iter().map(|c| &*c.name).collect();
        let sent = columns.len();
        let mut key = Vec::with_capacity(target.key.len());
        for column in &target.key {
            let place = columns.iter().position(|c| *c == column.name);
            key.push(place.unwrap_or_else(|| {
                columns.push(&column.name);
                columns.len() - 1
            }));
        }
        Rows {
            beside: vec![String::new(); columns.len() - sent],
            columns,
            sent,
            key,
            budget,
            buffer: Vec::new(),
            rows: Vec::new(),
            full: false,
        }
    }

    /// Fetches up to `rows` rows, or until the budget is used up; returns whether there are no more.
    /// Each FETCH asks for about what there is room for: what does not fit was read in vain.
    async fn fetch(&mut self, sql: &Sql, rows: usize) -> Result<bool> {
        let mut fetched = 0;
        let mut next = FIRST_FETCH;
        while fetched < rows && !self.full {
            let asked = next.min(rows - fetched).max(1);
            let came = self.batch(sql, asked).await?;
            fetched += came;
            if came < asked {
                return Ok(fetched == self.rows.len());
            }
            let size = (self.buffer.len() / self.rows.len().max(1)).max(1);
            let room = self.budget.saturating_sub(self.buffer.len()) / size + 1;
            next = room.min(fetched.saturating_mul(FIRST_FETCH));
        }
        Ok(false)
    }

    async fn batch(&mut self, sql: &Sql, asked: usize) -> Result<usize> {
        let statement = format!("FETCH {asked} FROM syncline_page");
        let refused = |e| sql.failed(e);
        let mut messages = pin!(
            sql.client()
                .simple_query_raw(&statement)
                .await
                .map_err(refused)?
        );
        let mut came = 0;
        self.rows.reserve(asked);
        while let Some(message) = messages.try_next().await.map_err(refused)? {
            if let SimpleQueryMessage::Row(row) = message {
                came += 1;
                if !self.full {
                    self.keep(&row).map_err(refused)?;
                }
            }
        }
        Ok(came)
    }

    fn keep(&mut self, row: &SimpleQueryRow) -> Result<(), tokio_postgres::Error> {
        let mut spans = SmallVec::with_capacity(self.sent);
        for column in 0..self.sent {
            spans.push(match row.try_get(column)? {
                None => Span::Null,
                Some(text) => {
                    self.room(text.len());
                    let offset = self.buffer.len() as u32;
                    self.buffer.extend_from_slice(text.as_bytes());
                    Span::Text {
                        offset,
                        len: text.len() as u32,
                    }
                }
            });
        }
        for (place, value) in self.beside.iter_mut().enumerate() {
            value.clear();
            value.push_str(row.try_get(self.sent + place)?.unwrap_or_default());
        }
        self.rows.push(Tuple {
            frame: Bytes::new(),
            spans,
        });
        self.full = self.buffer.len() >= self.budget;
        Ok(())
    }

    /// Makes room for `more` bytes. The buffer grows by doubling, but not beyond the budget for the
    /// sake of rows that will not be kept.
    fn room(&mut self, more: usize) {
        if self.buffer.capacity() - self.buffer.len() < more {
            let left = self.budget.saturating_sub(self.buffer.len());
            let double = self.buffer.len().max(4096).min(left);
            self.buffer.reserve_exact(more.max(double));
        }
    }

    fn finish(self) -> (Vec<Tuple>, Option<PageKey>) {
        let Rows {
            buffer,
            mut rows,
            key,
            sent,
            beside,
            ..
        } = self;
        let frame = Bytes::from(buffer);
        for row in &mut rows {
            row.frame = frame.clone();
        }
        let last = rows.last().map(|row| {
            key.iter()
                .map(|place| match row.get(*place) {
                    _ if *place >= sent => beside.get(place - sent).cloned().unwrap_or_default(),
                    crate::change::Datum::Text(text) => String::from_utf8_lossy(text).into_owned(),
                    _ => String::new(),
                })
                .collect()
        });
        (rows, last)
    }
}

#[cfg(test)]
mod tests {
    use super::Snapshot;

    #[test]
    fn a_snapshot_is_read() {
        let snapshot = |xmin, xmax, running: &[u64]| {
            Some(Snapshot {
                xmin,
                xmax,
                running: running.to_vec(),
            })
        };
        assert_eq!(Snapshot::parse("10:10:"), snapshot(10, 10, &[]));
        assert_eq!(
            Snapshot::parse("4294967300:4294967310:4294967305,4294967301"),
            snapshot(
                4_294_967_300,
                4_294_967_310,
                &[4_294_967_301, 4_294_967_305]
            )
        );
        for bad in ["", "1", "1:2", "a:2:", "1:2:x", "1:2:3,,x"] {
            assert_eq!(Snapshot::parse(bad), None, "{bad}");
        }
    }
}
