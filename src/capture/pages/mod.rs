//! The reader of a real Postgres: the catalog, watermarks, and pages of existing rows.
//!
//! ```text
//! page:  name by oid ─► BEGIN; lock ─► snapshot ─► catalog, key ─► cursor: FETCH … ─► COMMIT
//!                             │            └ what it sees            └ into one buffer, up to `bytes`
//!                             └ before the snapshot
//! ```
//!
//! What always holds:
//!
//! - **The lock comes before the snapshot.** TRUNCATE, and an ALTER TABLE that rewrites, are not
//!   MVCC-safe: to an older snapshot the new file looks empty
//!   (<https://www.postgresql.org/docs/current/mvcc-caveats.html>). ACCESS SHARE is what any SELECT
//!   takes: it waits for such a statement and lets every other one pass.
//! - **Nothing is claimed to be seen that was not.** The rows are read by the very snapshot that the
//!   page names, or (where the role may read only some columns, and so may not LOCK TABLE) by one
//!   taken after it: then a streamed change may win over a row that has it already, and no harm is done.
//! - **Order and equality are the index's.** The key is compared by the operators and the collation
//!   of the index in which it is unique; nothing depends on the search path.
//! - **Values are text, as the stream has them**: the simple protocol and the same session settings.
//! - **Memory**: one buffer a page, no larger than `bytes` and one row, and the spans into it.
//! - **No transaction outlives its call.** A connection is taken out for the time of a call and put
//!   back when it ended well. A dropped call breaks the connection off and cancels its statement.
//! - **Rows that the role does not see are an error**, not an empty page: row level security is
//!   switched off for the session, upon which Postgres refuses what it would have filtered.

mod count;
mod page;
mod select;

use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use hashbrown::HashSet;
use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::types::Type;

use super::conninfo::Conninfo;
use super::preflight::missing_rights;
use super::reader::{Catalog, Page, PageRequest, Reader, Snapshot, WATERMARK};
use super::refusal::{ident, sql_state};
use super::sql::Sql;
use crate::change::Lsn;
use crate::fault::{Error, ErrorKind, Result};

/// On top of the session settings of every connection. A watermark needs no standby's consent, and
/// must not wait for one that is down. The plans of pages are fixed: compiling them cannot pay.
const SESSION: &str = "SET row_security = off; SET standard_conforming_strings = on; \
     SET synchronous_commit = local; SET jit = off";

/// Ends a statement whose client has left; not on every platform.
const NOTICE_LEAVING: &str = "SET client_connection_check_interval = '1s'";

/// How often to look again while the catalog is changing under our eyes.
const LOOKS: usize = 5;

/// Reads the source beside the stream, over one connection that is made when it is needed and made
/// anew when it is gone. Calls wait for each other.
pub struct SqlReader {
    info: Conninfo,
    publication: String,
    connection: Mutex<Option<Arc<Sql>>>,
}

/// A connection for the time of one call.
struct Lease<'a> {
    place: MutexGuard<'a, Option<Arc<Sql>>>,
    sql: Option<Arc<Sql>>,
    /// It had not been made for this call.
    used: bool,
}

impl Lease<'_> {
    /// The call ended well: nothing is open.
    fn put_back(mut self) {
        *self.place = self.sql.take();
    }

    /// The call failed: the driver ends the connection, and the server whatever was open on it.
    fn close(mut self) {
        self.sql = None;
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(sql) = self.sql.take() {
            sql.abandon();
        }
    }
}

impl SqlReader {
    /// A reader of the tables in this publication. Connects when it is first asked.
    pub fn new(info: Conninfo, publication: String) -> Self {
        SqlReader {
            info,
            publication,
            connection: Mutex::new(None),
        }
    }

    async fn lease(&self) -> Result<Lease<'_>> {
        let mut place = self.connection.lock().await;
        if let Some(sql) = place.take().filter(|sql| !sql.is_closed()) {
            return Ok(Lease {
                place,
                sql: Some(sql),
                used: true,
            });
        }
        let sql = Sql::connect(&self.info).await?;
        sql.run(SESSION).await?;
        if let Err(e) = sql.run(NOTICE_LEAVING).await {
            tracing::debug!("the server does not look for clients that left: {e}");
        }
        Ok(Lease {
            place,
            sql: Some(Arc::new(sql)),
            used: false,
        })
    }

    /// Runs `work` on the connection. A connection that had been idle may have died unnoticed: then,
    /// if `again`, once more on a new one.
    async fn with<T, W>(&self, again: bool, work: impl Fn(Arc<Sql>) -> W) -> Result<T>
    where
        W: Future<Output = Result<T>>,
    {
        loop {
            let lease = self.lease().await?;
            let Some(sql) = lease.sql.clone() else {
                return Err(Error::new(ErrorKind::Machine, "a connection went astray"));
            };
            match work(sql).await {
                Ok(done) => {
                    lease.put_back();
                    return Ok(done);
                }
                Err(e) => {
                    let once_more = again && lease.used && e.is_transient();
                    lease.close();
                    if !once_more {
                        return Err(e);
                    }
                    tracing::debug!("trying again on a new connection: {e}");
                }
            }
        }
    }
}

impl Reader for SqlReader {
    fn catalog<'a>(
        &'a self,
        names: &'a [String],
        oids: &'a [u32],
    ) -> BoxFuture<'a, Result<Catalog>> {
        Box::pin(self.with(true, move |sql| async move {
            catalog(&sql, names, oids, &self.publication).await
        }))
    }

    fn mark<'a>(&'a self, content: &'a str) -> BoxFuture<'a, Result<u64>> {
        // Not again by itself: the message may have been written although the answer was lost.
        Box::pin(self.with(false, move |sql| async move { mark(&sql, content).await }))
    }

    fn page<'a>(&'a self, request: &'a PageRequest) -> BoxFuture<'a, Result<Page>> {
        Box::pin(self.with(true, move |sql| async move {
            let read = page::read(&sql, request, &self.publication).await;
            explained(&sql, request.table, &self.publication, read).await
        }))
    }

    fn rows<'a>(&'a self, table: u32, filter: Option<&'a str>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.with(true, move |sql| async move {
            let count = count::rows(&sql, table, filter, &self.publication).await;
            explained(&sql, table, &self.publication, count).await
        }))
    }

    fn writers(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(self.with(true, |sql| async move {
            let rows = sql
                .rows(include_str!("../../../sql/blockers.sql"), &[])
                .await?;
            rows.iter()
                .map(|row| row.try_get(0).map_err(|e| sql.failed(e)))
                .collect()
        }))
    }
}

/// The catalog, and an LSN that every transaction in it committed before.
///
/// A transaction becomes visible after its commit record was inserted into the WAL, so the insert
/// position asked for *last* lies behind all that was read. (The flushed one need not: with
/// `synchronous_commit = off` a commit is seen before it is on disk.) A standby shows a transaction
/// when it replays its commit record, and moves the replayed position only then: what was received
/// lies behind both. On a quiet server the stream may stand a page header (40 bytes at most) before
/// the insert position until something more is written: a heartbeat, say.
///
/// Parts of the answer come from catalog functions, which do not keep to the statement's snapshot.
/// So that no column looks gone for an instant, it counts when two reads agree.
async fn catalog(sql: &Sql, names: &[String], oids: &[u32], publication: &str) -> Result<Catalog> {
    let row = sql.row("SELECT pg_current_snapshot()::text").await?;
    let snapshot: String = row.try_get(0).map_err(|e| sql.failed(e))?;
    let mut found = sql.tables_of(names, oids, publication).await?;
    for _ in 0..LOOKS {
        let again = sql.tables_of(names, oids, publication).await?;
        let agree = again == found;
        found = again;
        if agree {
            break;
        }
    }
    let types = sql.types().await?;
    let row = sql
        .row(include_str!("../../../sql/catalog_lsn.sql"))
        .await?;
    let lsn: Option<String> = row.try_get(0).map_err(|e| sql.failed(e))?;
    let mut seen = HashSet::new();
    let tables = found
        .into_iter()
        .flatten()
        .filter(|table| seen.insert(table.oid))
        .collect();
    Ok(Catalog {
        lsn: lsn
            .and_then(|text| text.parse::<Lsn>().ok())
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Protocol,
                    "the server's WAL position cannot be read",
                )
            })?,
        snapshot: Snapshot::parse(&snapshot).ok_or_else(|| {
            Error::new(ErrorKind::Protocol, "the server's snapshot cannot be read")
        })?,
        tables,
        types,
    })
}

async fn mark(sql: &Sql, content: &str) -> Result<u64> {
    // The transaction's number comes first: a standby refuses that in words of its own.
    let statement = format!(
        "SELECT pg_current_xact_id()::text, pg_logical_emit_message(true, '{WATERMARK}', $1::text)"
    );
    let written = sql
        .client()
        .query_typed_one(&statement, &[(&content, Type::TEXT)])
        .await;
    let row = match written {
        Ok(row) => row,
        Err(e) => {
            let e = sql.failed(e);
            return Err(match sql_state(&e) {
                Some("42501") => {
                    let arguments = if sql.server_version() >= 170_000 {
                        "boolean, text, text, boolean"
                    } else {
                        "boolean, text, text"
                    };
                    let role = &sql.conninfo().user;
                    Error::new(
                        ErrorKind::SourceRefused,
                        format!("role {role:?} may not write watermarks into the WAL"),
                    )
                    .remedy(format!(
                        "GRANT EXECUTE ON FUNCTION pg_catalog.pg_logical_emit_message({arguments}) TO {};",
                        ident(role)
                    ))
                    .source(e)
                }
                Some("25006") => Error::new(
                    ErrorKind::SourceRefused,
                    format!(
                        "the server at {} is a standby: no watermark can be written there",
                        sql.conninfo().address
                    ),
                )
                .remedy("let source.url lead to the primary")
                .source(e),
                _ => e,
            });
        }
    };
    let xid: String = row.try_get(0).map_err(|e| sql.failed(e))?;
    xid.parse()
        .map_err(|_| Error::new(ErrorKind::Protocol, "a transaction's number cannot be read"))
}

/// Says which right is missing, when the server says only that one is.
async fn explained<T>(sql: &Sql, table: u32, publication: &str, result: Result<T>) -> Result<T> {
    let Err(error) = result else { return result };
    if sql_state(&error) != Some("42501") {
        return Err(error);
    }
    let missing = async {
        sql.run("ROLLBACK").await?;
        let found = sql.tables_of(&[], &[table], publication).await?;
        match found.first() {
            Some(Some(table)) => missing_rights(sql, table, publication).await,
            _ => Ok(None),
        }
    };
    match missing.await {
        Ok(Some((what, remedy))) => Err(Error::new(ErrorKind::SourceRefused, what)
            .remedy(remedy)
            .source(error)),
        _ => Err(error),
    }
}
