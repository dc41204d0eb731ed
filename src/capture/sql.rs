//! The ordinary connection: catalog, slot, publication, heartbeat.
//!
//! It is dialled like the replication connection (the same TLS, the same session options); from
//! there on tokio-postgres speaks.

use std::future::{Ready, ready};
use std::io;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_postgres::config::{
    ChannelBinding as DriverBinding, SslMode as DriverSslMode, SslNegotiation,
};
use tokio_postgres::tls::TlsConnect;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Row};

use super::catalog::{CatalogColumn, CatalogTable};
use super::conninfo::{self, Conninfo};
use super::guard::Guard;
use super::identity::{SLOT_SQL, SlotInfo, slot_row};
use super::refusal::{self, Doing};
use super::session::{options, with_attempts};
use super::transport::{Attempt, dial};
use crate::change::{ReplicaIdentity, Timestamp};
use crate::fault::{Error, ErrorKind, Result};
use crate::value::TypeRow;

/// The oldest server that logical replication as we need it works with.
const OLDEST_VERSION: u32 = 140_000;

/// How long to try to cancel a statement that nobody waits for.
const CANCEL: Duration = Duration::from_secs(10);

/// An ordinary connection.
pub struct Sql {
    client: Client,
    connection: AbortHandle,
    info: Conninfo,
    version: u32,
}

/// Columns of a key with their place in it.
type KeyColumns = Vec<(i32, Box<str>)>;

#[derive(Clone, Default)]
struct Keys {
    primary: KeyColumns,
    identity: KeyColumns,
}

/// Hands the driver a stream on which TLS was already agreed.
struct Dialled;

impl TlsConnect<Guard> for Dialled {
    type Stream = Guard;
    type Error = io::Error;
    type Future = Ready<io::Result<Guard>>;

    fn connect(self, stream: Guard) -> Self::Future {
        ready(Ok(stream))
    }
}

impl Sql {
    /// Connects.
    ///
    /// # Errors
    /// [`ErrorKind::SourceUnreachable`] when trying again may help, [`ErrorKind::SourceRefused`] when
    /// a person has to act.
    pub async fn connect(info: &Conninfo) -> Result<Self> {
        let (client, connection, version) =
            with_attempts(info, |attempt| Self::attempt(info, attempt)).await?;
        if version < OLDEST_VERSION {
            return Err(Error::new(
                ErrorKind::SourceRefused,
                format!(
                    "the server at {} is Postgres {}",
                    info.address,
                    version / 10_000
                ),
            )
            .remedy("Postgres 14 or newer is needed"));
        }
        Ok(Sql {
            client,
            connection,
            info: info.clone(),
            version,
        })
    }

    async fn attempt(info: &Conninfo, attempt: Attempt) -> Result<(Client, AbortHandle, u32)> {
        let transport = dial(info, attempt).await?;
        let mut config = Config::new();
        config
            .user(&info.user)
            .dbname(&info.database)
            .application_name(&info.application_name)
            .options(options(info))
            .channel_binding(match info.tls.channel_binding {
                conninfo::ChannelBinding::Disable => DriverBinding::Disable,
                conninfo::ChannelBinding::Prefer => DriverBinding::Prefer,
                conninfo::ChannelBinding::Require => DriverBinding::Require,
            });
        if let Some(password) = &info.password {
            config.password(&password.0);
        }
        if transport.is_tls() {
            // "Direct" makes the driver go on with the stream as it is.
            config
                .ssl_mode(DriverSslMode::Require)
                .ssl_negotiation(SslNegotiation::Direct);
        } else {
            config.ssl_mode(DriverSslMode::Disable);
        }
        let refused = |e| refusal::from_sql(e, Doing::Connecting, info, "");
        let (client, connection) = config
            .connect_raw(Guard::new(transport), Dialled)
            .await
            .map_err(refused)?;
        // Ends with the client.
        let connection = tokio::spawn(async move {
            if let Err(e) = connection.await {
                tracing::debug!("the ordinary connection ended: {e}");
            }
        })
        .abort_handle();
        let row = client
            .query_one("SELECT current_setting('server_version_num')::int4", &[])
            .await
            .map_err(refused)?;
        let version: i32 = row.try_get(0).map_err(refused)?;
        Ok((client, connection, version.unsigned_abs()))
    }

    /// Whether the connection is gone. It does not come back by itself: connect again.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Breaks the connection off, whatever it is doing: nothing that it has begun stays open, and a
    /// statement that runs is cancelled (a server does not notice by itself that its client left
    /// before it has something to send).
    pub(super) fn abandon(&self) {
        if self.client.is_closed() {
            return;
        }
        self.connection.abort();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let token = self.client.cancel_token();
            let info = self.info.clone();
            runtime.spawn(async move {
                let cancel = async {
                    let transport = dial(&info, Attempt::AsAsked).await?;
                    let stream = Guard::new(transport);
                    let sent = token.cancel_query_raw(stream, Dialled).await;
                    sent.map_err(|e| refusal::from_sql(e, Doing::Connecting, &info, ""))
                };
                match tokio::time::timeout(CANCEL, cancel).await {
                    Ok(Ok(())) => {}
                    Ok(Err(e)) => tracing::debug!("a statement could not be cancelled: {e}"),
                    Err(_) => tracing::debug!("a statement could not be cancelled in time"),
                }
            });
        }
    }

    /// Where this connection leads.
    pub fn conninfo(&self) -> &Conninfo {
        &self.info
    }

    /// `server_version_num`: 150018 for 15.18.
    pub fn server_version(&self) -> u32 {
        self.version
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn failed(&self, e: tokio_postgres::Error) -> Error {
        refusal::from_sql(e, Doing::Asking, &self.info, "")
    }

    pub(super) async fn rows(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>> {
        self.client
            .query(sql, parameters)
            .await
            .map_err(|e| self.failed(e))
    }

    /// The one row of a query.
    pub(super) async fn row(&self, sql: &str) -> Result<Row> {
        self.client
            .query_one(sql, &[])
            .await
            .map_err(|e| self.failed(e))
    }

    /// Runs statements without rows.
    pub(super) async fn run(&self, sql: &str) -> Result<()> {
        self.client
            .batch_execute(sql)
            .await
            .map_err(|e| self.failed(e))
    }

    /// The tables of these names (`schema.table`), in this order; none where there is no such table.
    pub async fn tables(
        &self,
        names: &[String],
        publication: &str,
    ) -> Result<Vec<Option<CatalogTable>>> {
        self.tables_of(names, &[], publication).await
    }

    /// The tables of these names, then those of these oids; none where there is no such table.
    pub(super) async fn tables_of(
        &self,
        names: &[String],
        oids: &[u32],
        publication: &str,
    ) -> Result<Vec<Option<CatalogTable>>> {
        // A name without a schema finds nothing: the configuration always states it.
        let (schemas, tables): (Vec<&str>, Vec<&str>) = names
            .iter()
            .map(|name| name.split_once('.').unwrap_or(("", name)))
            .unzip();
        let rows = self
            .rows(
                include_str!("../../sql/tables.sql"),
                &[&schemas, &tables, &publication, &oids],
            )
            .await?;
        let mut found: Vec<Option<CatalogTable>> = vec![None; names.len() + oids.len()];
        // Key columns come by column order; their order in the key is kept beside them.
        let mut keys = vec![Keys::default(); found.len()];
        for row in &rows {
            table_row(row, &mut found, &mut keys).map_err(|e| self.failed(e))?;
        }
        for (table, keys) in found.iter_mut().zip(keys) {
            let Some(table) = table else { continue };
            let in_order = |mut columns: KeyColumns| {
                columns.sort();
                columns.into_iter().map(|(_, name)| name).collect()
            };
            table.primary_key = in_order(keys.primary);
            table.identity_columns = in_order(keys.identity);
        }
        Ok(found)
    }

    /// The types that are not built in (oids from 10000 on: `initdb`'s, extensions', users').
    pub async fn types(&self) -> Result<Vec<TypeRow>> {
        let rows = self.rows(include_str!("../../sql/types.sql"), &[]).await?;
        let byte = |text: String| text.as_bytes().first().copied().unwrap_or_default();
        rows.iter()
            .map(|row| {
                Ok(TypeRow {
                    oid: row.try_get(0)?,
                    schema: row.try_get::<_, String>(1)?.into(),
                    name: row.try_get::<_, String>(2)?.into(),
                    kind: byte(row.try_get(3)?),
                    base: row.try_get(4)?,
                    base_typmod: row.try_get(5)?,
                    element: row.try_get(6)?,
                    delimiter: byte(row.try_get(7)?),
                })
            })
            .collect::<Result<_, tokio_postgres::Error>>()
            .map_err(|e| self.failed(e))
    }

    /// The slot of this name, as it is now.
    pub async fn slot(&self, name: &str) -> Result<Option<SlotInfo>> {
        let rows = self.rows(SLOT_SQL, &[&name]).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let columns = (0..row.len())
            .map(|i| row.try_get::<_, Option<String>>(i))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| self.failed(e))?;
        Ok(slot_row(columns).and_then(|(_, slot)| slot))
    }

    /// The server's clock.
    pub async fn clock(&self) -> Result<Timestamp> {
        const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8::text";
        let rows = self.rows(CLOCK, &[]).await?;
        let row = rows.first().map(|row| row.try_get::<_, String>(0));
        let text = row.transpose().map_err(|e| self.failed(e))?;
        let micros = text.and_then(|text| text.parse().ok());
        Ok(Timestamp(micros.unwrap_or_default()))
    }

    /// Writes an empty logical message: there is then a transaction to confirm, even when none of
    /// our tables changes. It needs no table and no right.
    pub async fn heartbeat(&self) -> Result<()> {
        self.rows(
            "SELECT pg_logical_emit_message(true, 'syncline_heartbeat', '')",
            &[],
        )
        .await
        .map(drop)
    }

    /// How long the server bears our silence; none: for ever.
    pub async fn wal_sender_timeout(&self) -> Result<Option<Duration>> {
        let rows = self
            .rows(
                "SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout'",
                &[],
            )
            .await?;
        let setting: Option<String> = match rows.first() {
            Some(row) => row.try_get(0).map_err(|e| self.failed(e))?,
            None => None,
        };
        Ok(setting
            .and_then(|s| s.parse().ok())
            .filter(|ms| *ms > 0)
            .map(Duration::from_millis))
    }

    /// Drops the slot, if it is there and nobody reads it.
    pub async fn drop_slot(&self, name: &str) -> Result<()> {
        self.rows(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1",
            &[&name],
        )
        .await
        .map(drop)
    }
}

/// Reads a row of `tables.sql` into the table it belongs to.
fn table_row(
    row: &Row,
    found: &mut [Option<CatalogTable>],
    keys: &mut [Keys],
) -> Result<(), tokio_postgres::Error> {
    let index = usize::try_from(row.try_get::<_, i32>(0)? - 1).unwrap_or(usize::MAX);
    let (Some(slot), Some(keys), Some(oid)) = (
        found.get_mut(index),
        keys.get_mut(index),
        row.try_get::<_, Option<u32>>(1)?,
    ) else {
        return Ok(());
    };
    let table = match slot {
        Some(table) => table,
        None => slot.insert(CatalogTable {
            oid,
            schema: row.try_get::<_, String>(2)?.into(),
            name: row.try_get::<_, String>(3)?.into(),
            identity: match row.try_get::<_, &str>(4)? {
                "n" => ReplicaIdentity::Nothing,
                "f" => ReplicaIdentity::Full,
                "i" => ReplicaIdentity::Index,
                _ => ReplicaIdentity::Default,
            },
            identity_columns: Vec::new(),
            primary_key: Vec::new(),
            published: row.try_get(5)?,
            columns: Vec::new(),
            dropped: Vec::new(),
        }),
    };
    let Some(attnum) = row.try_get::<_, Option<i16>>(6)? else {
        return Ok(());
    };
    if row.try_get(12)? {
        table.dropped.push(attnum);
        return Ok(());
    }
    let name: Box<str> = row.try_get::<_, String>(7)?.into();
    if let Some(at) = row.try_get::<_, Option<i32>>(14)? {
        keys.primary.push((at, name.clone()));
    }
    if let Some(at) = row.try_get::<_, Option<i32>>(15)? {
        keys.identity.push((at, name.clone()));
    }
    if row.try_get::<_, bool>(13)? {
        table.columns.push(CatalogColumn {
            attnum,
            name,
            type_oid: row.try_get(8)?,
            type_name: row.try_get::<_, String>(9)?.into(),
            typmod: row.try_get(10)?,
            not_null: row.try_get(11)?,
        });
    }
    Ok(())
}
