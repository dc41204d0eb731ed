//! Before the first frame: publication, then slot, then the check that slot and stored progress
//! belong together.
//!
//! The order matters. Postgres decodes with the catalog as it was at each change: a publication made
//! after its slot does not exist for the changes before it, and the slot is stuck there for good.

use std::time::Duration;

use tokio::time::sleep;

use super::identity::{self, Observed};
use super::refusal::{self, Doing, ident};
use super::session::Session;
use super::sql::Sql;
use crate::change::{Identity, Lsn};
use crate::config;
use crate::fault::{Error, ErrorKind, Result};

/// How long making a slot may wait for running transactions.
const CREATE: Duration = Duration::from_secs(600);
/// How often that wait is explained in the log.
const EXPLAIN: Duration = Duration::from_secs(5);

/// All that is needed to stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prepared {
    /// What positions belong to. When nothing was stored yet: to be stored now.
    pub identity: Identity,
    /// Where to stream from.
    pub start: Lsn,
    /// The slot was made just now. If the identity cannot be stored, drop it again
    /// ([`Sql::drop_slot`]): nobody would ever read it, and it would keep WAL.
    pub slot_created: bool,
}

/// Makes what is missing and checks what is there. `tables` as `schema.table`; `stored` is what the
/// store holds, with its checkpoint.
///
/// # Errors
/// [`ErrorKind::Identity`] when the stored progress does not fit; [`ErrorKind::SourceRefused`] with
/// the SQL to run when something is missing that we may not make; [`ErrorKind::Usage`] for a table
/// that does not exist.
pub async fn prepare(
    sql: &Sql,
    source: &config::Source,
    tables: &[String],
    stored: Option<(&Identity, Lsn)>,
) -> Result<Prepared> {
    check_name(&source.slot)?;
    let mut session = Session::connect(sql.conninfo(), &source.slot).await?;
    let observed = identity::observe(&mut session, &source.slot).await?;
    let start = match stored {
        Some((identity, checkpoint)) => Some(resume(identity, checkpoint, source, &observed)?),
        None => None,
    };
    publication(sql, source, tables, &observed).await?;
    if let (Some((identity, _)), Some(start)) = (stored, start) {
        return Ok(Prepared {
            identity: identity.clone(),
            start,
            slot_created: false,
        });
    }
    let (start, slot_created) = match &observed.slot {
        None => (create_slot(sql, &source.slot).await?, true),
        Some(slot) => {
            identity::check_slot(slot, &observed.database)?;
            let Some(confirmed) = slot.confirmed_flush_lsn else {
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!(
                        "the slot {:?} is still being made by {}",
                        slot.name,
                        slot.reader()
                    ),
                )
                .remedy("wait until it is done, or end that process"));
            };
            tracing::info!(slot = slot.name, from = %confirmed,
                "the slot was there before: changes before its position are not read");
            (confirmed, false)
        }
    };
    // Nothing that can fail stands between here and the caller.
    Ok(Prepared {
        identity: Identity {
            system: observed.system,
            timeline: observed.timeline,
            database: observed.database,
            slot: source.slot.clone(),
            publication: source.publication.clone(),
            consistent_point: start,
        },
        start,
        slot_created,
    })
}

/// <https://www.postgresql.org/docs/current/warm-standby.html#STREAMING-REPLICATION-SLOTS-MANIPULATION>
fn check_name(slot: &str) -> Result<()> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if slot.is_empty() || slot.len() > 63 || !slot.bytes().all(good) {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("source.slot = {slot:?} is not a name for a slot"),
        )
        .remedy("use lower-case letters, digits and underscores, at most 63"));
    }
    Ok(())
}

fn resume(
    identity: &Identity,
    checkpoint: Lsn,
    source: &config::Source,
    observed: &Observed,
) -> Result<Lsn> {
    for (key, stored, configured) in [
        ("slot", &identity.slot, &source.slot),
        ("publication", &identity.publication, &source.publication),
    ] {
        if stored != configured {
            return Err(Error::new(
                ErrorKind::Identity,
                format!(
                    "source.{key} is {configured:?}, the stored progress belongs to {stored:?}"
                ),
            )
            .remedy(format!(
                "set source.{key} back to {stored:?}, or use another state directory"
            )));
        }
    }
    // A state that was bound and never settled anything stands where the slot began.
    let durable = checkpoint.max(identity.consistent_point);
    identity::check(identity, durable, observed)?;
    Ok(durable)
}

/// The statement that makes the publication. Messages come without any table.
pub(super) fn create_publication_sql(publication: &str, tables: &[String]) -> String {
    let tables = match tables.is_empty() {
        true => String::new(),
        false => format!(" FOR TABLE {}", table_list(tables)),
    };
    format!(
        "CREATE PUBLICATION {}{tables} WITH (publish_via_partition_root = true);",
        ident(publication),
    )
}

/// The statement that adds tables to it.
pub(super) fn add_tables_sql(publication: &str, tables: &[String]) -> String {
    format!(
        "ALTER PUBLICATION {} ADD TABLE {};",
        ident(publication),
        table_list(tables)
    )
}

/// `schema.table` quoted for SQL.
pub(super) fn table_ident(name: &str) -> String {
    match name.split_once('.') {
        Some((schema, table)) => format!("{}.{}", ident(schema), ident(table)),
        None => ident(name),
    }
}

fn table_list(tables: &[String]) -> String {
    let quoted: Vec<String> = tables.iter().map(|t| table_ident(t)).collect();
    quoted.join(", ")
}

async fn publication(
    sql: &Sql,
    source: &config::Source,
    tables: &[String],
    observed: &Observed,
) -> Result<()> {
    let name = &source.publication;
    let found = sql.tables(tables, name).await?;
    let absent = |wanted: fn(&super::CatalogTable) -> bool| -> Vec<String> {
        tables
            .iter()
            .zip(&found)
            .filter(|(_, t)| !t.as_ref().is_some_and(wanted))
            .map(|(n, _)| n.clone())
            .collect()
    };
    let missing = absent(|_| true);
    if !missing.is_empty() {
        return Err(Error::new(
            ErrorKind::Usage,
            format!(
                "the database {:?} has no table {}",
                observed.database,
                missing.join(", ")
            ),
        )
        .remedy("correct the name in [tables] (as schema.table, case matters)"));
    }
    let exists = sql
        .rows("SELECT 1 FROM pg_publication WHERE pubname = $1", &[name])
        .await?;
    if !exists.is_empty() {
        let unpublished = absent(|t| t.published);
        if unpublished.is_empty() {
            return Ok(());
        }
        return Err(Error::new(
            ErrorKind::SourceRefused,
            format!("the publication {name:?} lacks {}", unpublished.join(", ")),
        )
        .remedy(format!(
            "as the owner of the publication and the tables: {}",
            add_tables_sql(name, &unpublished)
        )));
    }
    if observed.slot.is_some() {
        return Err(Error::new(
            ErrorKind::Identity,
            format!(
                "the slot {:?} is there, but the publication {name:?} is not: the slot cannot be read with a publication that is made after it",
                source.slot
            ),
        )
        .remedy(format!(
            "the publication is made first, then the slot: {}",
            refusal::lost_remedy(&source.slot)
        )));
    }
    let statement = create_publication_sql(name, tables);
    match sql.client().batch_execute(&statement).await {
        Ok(()) => {
            tracing::info!(publication = name, "publication made: {statement}");
            Ok(())
        }
        Err(e) => {
            let may_not = e.code().is_some_and(|c| c.code() == "42501");
            let error = refusal::from_sql(e, Doing::Asking, sql.conninfo(), &source.slot);
            if may_not {
                Err(Error::new(
                    ErrorKind::SourceRefused,
                    format!(
                        "the publication {name:?} is missing, and role {:?} may not make it",
                        sql.conninfo().user
                    ),
                )
                .remedy(format!(
                    "as the owner of the tables, with CREATE on the database: {statement}"
                ))
                .source(error))
            } else {
                Err(error)
            }
        }
    }
}

/// Makes the slot; returns its consistent point. It waits for every transaction that is writing: who
/// they are is logged meanwhile.
async fn create_slot(sql: &Sql, name: &str) -> Result<Lsn> {
    let info = sql.conninfo();
    // A connection of its own, with a limit that the server keeps even if we are gone, and which
    // notices that we are: a slot whose making is broken off is dropped by the server.
    let maker = Sql::connect(info).await?;
    maker
        .client()
        .batch_execute(&format!(
            "SET statement_timeout = {}; SET client_connection_check_interval = '1s'",
            CREATE.as_millis()
        ))
        .await
        .map_err(|e| maker.failed(e))?;
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&name];
    let create = maker.client().query_one(
        "SELECT lsn::text FROM pg_create_logical_replication_slot($1, 'pgoutput')",
        &parameters,
    );
    tokio::pin!(create);
    let made = loop {
        tokio::select! {
            made = &mut create => break made,
            () = sleep(EXPLAIN) => explain_wait(sql, name).await,
        }
    };
    let row = match made {
        Ok(row) => row,
        Err(e) => return Err(slot_refusal(e, sql, name)),
    };
    let point = row
        .try_get::<_, String>(0)
        .ok()
        .and_then(|text| text.parse::<Lsn>().ok());
    let Some(point) = point else {
        if let Err(e) = sql.drop_slot(name).await {
            tracing::warn!(slot = name, "the slot just made could not be dropped: {e}");
        }
        return Err(Error::new(
            ErrorKind::Protocol,
            "the new slot's consistent point cannot be read",
        ));
    };
    tracing::info!(slot = name, consistent_point = %point, "slot made");
    Ok(point)
}

async fn explain_wait(sql: &Sql, name: &str) {
    match sql.rows(include_str!("../../sql/blockers.sql"), &[]).await {
        Ok(rows) => {
            let who: Vec<String> = rows.iter().filter_map(|r| r.try_get(0).ok()).collect();
            tracing::warn!(
                slot = name,
                "making the slot waits for transactions to end: {}",
                who.join("; ")
            );
        }
        Err(e) => tracing::warn!(
            slot = name,
            "making the slot waits; why could not be found out: {e}"
        ),
    }
}

fn slot_refusal(e: tokio_postgres::Error, sql: &Sql, name: &str) -> Error {
    let code = e.code().map(|c| c.code().to_owned()).unwrap_or_default();
    let error = refusal::from_sql(e, Doing::MakingSlot, sql.conninfo(), name);
    match code.as_str() {
        "57014" => Error::new(
            ErrorKind::SourceUnreachable,
            format!("making the slot {name:?} waited for running transactions for {} s and was given up", CREATE.as_secs()),
        )
        .remedy("end the long transactions (SELECT pid, xact_start, query FROM pg_stat_activity WHERE backend_xid IS NOT NULL;), then start again")
        .source(error),
        "53400" => Error::new(ErrorKind::SourceRefused, "the server has no slot left")
            .remedy("raise max_replication_slots and restart the server, or drop a slot that nobody uses")
            .source(error),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_quoted() {
        let tables = ["public.a".to_owned(), "My.T\"x".to_owned()];
        assert_eq!(
            create_publication_sql("p", &tables),
            "CREATE PUBLICATION \"p\" FOR TABLE \"public\".\"a\", \"My\".\"T\"\"x\" WITH (publish_via_partition_root = true);"
        );
        assert_eq!(
            add_tables_sql("p", &tables[..1]),
            "ALTER PUBLICATION \"p\" ADD TABLE \"public\".\"a\";"
        );
        assert_eq!(
            create_publication_sql("p", &[]),
            "CREATE PUBLICATION \"p\" WITH (publish_via_partition_root = true);"
        );
        for bad in ["", "Up", "a-b", "é", &"x".repeat(64)] {
            assert!(check_name(bad).is_err());
        }
        check_name("sync_1").unwrap();
    }
}
