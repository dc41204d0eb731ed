//! What the check looks at, read from the catalog.

use crate::capture::sql::Sql;
use crate::fault::{Error, ErrorKind, Result};

pub(super) struct Server {
    pub(super) wal_level: String,
    pub(super) max_slots: i32,
    pub(super) slots: i32,
    pub(super) max_senders: i32,
    pub(super) senders: i32,
    pub(super) keep_size: String,
    pub(super) standby: bool,
    pub(super) may_replicate: bool,
    pub(super) may_create: bool,
    /// The function that writes watermarks, if the role may not run it.
    pub(super) no_watermarks: Option<String>,
}

pub(super) struct Publication {
    pub(super) operations: [(&'static str, bool); 4],
    pub(super) via_root: bool,
}

#[derive(Default, Clone)]
pub(super) struct TableFacts {
    pub(super) kind: String,
    pub(super) persistence: String,
    pub(super) is_partition: bool,
    pub(super) may_use_schema: bool,
    pub(super) may_select: bool,
    /// Some of the columns, at least.
    pub(super) may_select_some: bool,
    /// Columns that the publication sends and the role may not read.
    pub(super) unreadable: Vec<String>,
    /// Policies decide which rows the role sees.
    pub(super) row_security: bool,
    pub(super) ours: bool,
    pub(super) row_filter: Option<String>,
    pub(super) listed: bool,
}

pub(super) async fn server(sql: &Sql) -> Result<Server> {
    let rows = sql
        .rows(include_str!("../../../sql/preflight_server.sql"), &[])
        .await?;
    let read = || -> Result<Option<Server>, tokio_postgres::Error> {
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        Ok(Some(Server {
            wal_level: row.try_get(0)?,
            max_slots: row.try_get(1)?,
            slots: row.try_get(2)?,
            max_senders: row.try_get(3)?,
            senders: row.try_get(4)?,
            keep_size: row.try_get(5)?,
            standby: row.try_get(6)?,
            may_replicate: row.try_get(7)?,
            may_create: row.try_get(8)?,
            no_watermarks: row.try_get(9)?,
        }))
    };
    read()
        .map_err(|e| sql.failed(e))?
        .ok_or_else(|| Error::new(ErrorKind::Protocol, "the server's settings cannot be read"))
}

pub(super) async fn publication(sql: &Sql, name: &str) -> Result<Option<Publication>> {
    let rows = sql
        .rows(
            include_str!("../../../sql/preflight_publication.sql"),
            &[&name],
        )
        .await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let read = || -> Result<Publication, tokio_postgres::Error> {
        Ok(Publication {
            operations: [
                ("insert", row.try_get(0)?),
                ("update", row.try_get(1)?),
                ("delete", row.try_get(2)?),
                ("truncate", row.try_get(3)?),
            ],
            via_root: row.try_get(4)?,
        })
    };
    read().map(Some).map_err(|e| sql.failed(e))
}

pub(super) async fn table_facts(
    sql: &Sql,
    publication: &str,
    tables: &[String],
) -> Result<Vec<TableFacts>> {
    let (schemas, names): (Vec<&str>, Vec<&str>) = tables
        .iter()
        .map(|name| name.split_once('.').unwrap_or(("", name)))
        .unzip();
    let rows = sql
        .rows(
            include_str!("../../../sql/preflight_tables.sql"),
            &[&schemas, &names, &publication],
        )
        .await?;
    let mut facts = vec![TableFacts::default(); tables.len()];
    for row in &rows {
        let read = || -> Result<(i32, TableFacts), tokio_postgres::Error> {
            Ok((
                row.try_get(0)?,
                TableFacts {
                    kind: row.try_get(1)?,
                    persistence: row.try_get(2)?,
                    is_partition: row.try_get(3)?,
                    may_use_schema: row.try_get(4)?,
                    may_select: row.try_get(5)?,
                    ours: row.try_get(6)?,
                    row_filter: row.try_get(7)?,
                    listed: row.try_get::<_, Option<bool>>(8)?.unwrap_or(false),
                    unreadable: row.try_get(9)?,
                    may_select_some: row.try_get(10)?,
                    row_security: row.try_get(11)?,
                },
            ))
        };
        let (index, fact) = read().map_err(|e| sql.failed(e))?;
        if let Some(place) = usize::try_from(index - 1)
            .ok()
            .and_then(|i| facts.get_mut(i))
        {
            *place = fact;
        }
    }
    Ok(facts)
}
