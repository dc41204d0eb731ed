//! What `syncline check` says of the Postgres side: each finding with its remedy, ready to be run.

mod facts;
mod rights;

use self::facts::{Publication, Server, TableFacts, publication, server, table_facts};
pub(super) use self::rights::missing_rights;
use super::catalog::CatalogTable;
use super::identity::{SlotInfo, check_slot};
use super::refusal::{ident, literal, lost_remedy};
use super::session::Session;
use super::slot::{add_tables_sql, create_publication_sql, table_ident};
use super::sql::Sql;
use crate::change::ReplicaIdentity;
use crate::config;
use crate::fault::{Error, Finding, Result, Severity};

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(
        &mut self,
        severity: Severity,
        place: &str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.0.push(Finding {
            severity,
            place: place.to_owned(),
            what: what.into(),
            remedy: remedy.into(),
        });
    }

    fn problem(&mut self, place: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Problem, place, what, remedy);
    }

    fn warning(&mut self, place: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Warning, place, what, remedy);
    }

    fn note(&mut self, place: &str, what: impl Into<String>) {
        self.add(Severity::Note, place, what, "");
    }

    fn error(&mut self, place: &str, error: &Error) {
        self.problem(
            place,
            error.to_string(),
            error.remedy.as_deref().unwrap_or_default(),
        );
    }
}

/// Looks at the server, the role, the publication, the slot and the tables (`schema.table`). Changes
/// nothing.
///
/// # Errors
/// Only when the check itself cannot be made; what it finds is in the findings, worst first.
pub async fn preflight(
    sql: &Sql,
    source: &config::Source,
    tables: &[String],
) -> Result<Vec<Finding>> {
    let mut findings = Findings::default();
    let server = server(sql).await?;
    let slot = sql.slot(&source.slot).await?;
    let publication = publication(sql, &source.publication).await?;
    let catalog = sql.tables(tables, &source.publication).await?;
    let facts = table_facts(sql, &source.publication, tables).await?;

    check_server(&mut findings, sql, &server, slot.as_ref());
    if server.may_replicate {
        check_connection(&mut findings, sql, source).await;
    }
    check_publication(
        &mut findings,
        source,
        tables,
        &catalog,
        &facts,
        &server,
        publication.as_ref(),
        slot.is_some(),
    );
    check_slot_state(&mut findings, sql, source, slot.as_ref());
    for ((name, table), facts) in tables.iter().zip(&catalog).zip(&facts) {
        check_table(&mut findings, sql, name, table.as_ref(), facts);
    }
    findings.0.sort_by_key(|f| std::cmp::Reverse(f.severity));
    Ok(findings.0)
}

fn check_server(findings: &mut Findings, sql: &Sql, server: &Server, slot: Option<&SlotInfo>) {
    let user = &sql.conninfo().user;
    if server.wal_level != "logical" {
        findings.problem(
            "server",
            format!("wal_level is {:?}", server.wal_level),
            "ALTER SYSTEM SET wal_level = 'logical'; -- then restart the server",
        );
    }
    if slot.is_none() && server.slots >= server.max_slots {
        findings.problem(
            "server",
            format!("all {} replication slots are taken", server.max_slots),
            format!("ALTER SYSTEM SET max_replication_slots = {}; -- then restart the server, or drop a slot that nobody uses", server.max_slots.saturating_add(5)),
        );
    }
    if slot.is_none_or(|s| s.active_pid.is_none()) && server.senders >= server.max_senders {
        findings.problem(
            "server",
            format!("all {} walsenders are taken", server.max_senders),
            format!(
                "ALTER SYSTEM SET max_wal_senders = {}; -- then restart the server",
                server.max_senders.saturating_add(5)
            ),
        );
    }
    if server.keep_size == "-1" {
        findings.note(
            "server",
            "max_slot_wal_keep_size is unlimited: a slot that nobody reads can fill the disk. Syncline says so when one keeps more than source.wal_budget, but only a limit on the server frees it",
        );
    }
    if server.standby {
        findings.warning(
            "server",
            "this is a standby: no publication, heartbeat or watermark can be written here",
            "connect to the primary",
        );
    }
    if let Some(function) = &server.no_watermarks {
        findings.warning(
            &format!("role {user}"),
            "the role may not write watermarks: changes arrive, but existing rows cannot be read, and an idle slot does not advance",
            format!("GRANT EXECUTE ON FUNCTION {function} TO {};", ident(user)),
        );
    }
    if !server.may_replicate {
        findings.problem(
            &format!("role {user}"),
            "the role has no right to replicate",
            format!("ALTER ROLE {} REPLICATION;", ident(user)),
        );
    }
}

/// A replication connection, as the stream will make it.
async fn check_connection(findings: &mut Findings, sql: &Sql, source: &config::Source) {
    let place = "replication connection";
    let mut session = match Session::connect(sql.conninfo(), &source.slot).await {
        Ok(session) => session,
        Err(error) => return findings.error(place, &error),
    };
    match session.query("SELECT pg_backend_pid()").await {
        Err(error) => findings.error(place, &error),
        Ok(rows) => {
            let real = rows
                .first()
                .and_then(|r| r.first()?.as_ref()?.parse::<i32>().ok());
            // A pooler makes up the key of the session.
            if real != session.pid {
                findings.problem(
                    place,
                    "a pooler or proxy stands between here and the server",
                    "set source.url to the server's own address and port: poolers do not carry replication",
                );
            }
        }
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "everything that was found out, once"
)]
fn check_publication(
    findings: &mut Findings,
    source: &config::Source,
    tables: &[String],
    catalog: &[Option<CatalogTable>],
    facts: &[TableFacts],
    server: &Server,
    publication: Option<&Publication>,
    slot_exists: bool,
) {
    let name = &source.publication;
    let place = format!("publication {name}");
    let there = |wanted: fn(&CatalogTable, &TableFacts) -> bool| -> Vec<String> {
        tables
            .iter()
            .zip(catalog)
            .zip(facts)
            .filter(|((_, t), f)| t.as_ref().is_some_and(|t| wanted(t, f)))
            .map(|((n, _), _)| n.clone())
            .collect()
    };
    let Some(publication) = publication else {
        let statement = create_publication_sql(name, &there(|_, _| true));
        if slot_exists {
            findings.problem(
                &place,
                "it is missing, and the slot is there already: a slot cannot be read with a publication that is made after it",
                format!("SELECT pg_drop_replication_slot({}); {statement}", literal(&source.slot)),
            );
        } else if server.may_create && facts.iter().all(|f| f.ours || f.kind.is_empty()) {
            findings.note(&place, "it is missing; the first run makes it");
        } else {
            findings.problem(
                &place,
                "it is missing, and the role may not make it",
                statement,
            );
        }
        return;
    };
    let off: Vec<&str> = publication
        .operations
        .iter()
        .filter(|(_, on)| !on)
        .map(|(operation, _)| *operation)
        .collect();
    if !off.is_empty() {
        let severity = if off == ["truncate"] {
            Severity::Warning
        } else {
            Severity::Problem
        };
        findings.add(
            severity,
            &place,
            format!("it does not publish {}", off.join(", ")),
            format!(
                "ALTER PUBLICATION {} SET (publish = 'insert, update, delete, truncate');",
                ident(name)
            ),
        );
    }
    let roots = there(|t, f| !t.published && f.kind == "p");
    if !roots.is_empty() && !publication.via_root {
        findings.problem(
            &place,
            format!(
                "{} is partitioned, and the publication sends changes under the partitions' names",
                roots.join(", ")
            ),
            format!(
                "ALTER PUBLICATION {} SET (publish_via_partition_root = true);",
                ident(name)
            ),
        );
    }
    let partitions = there(|t, f| !t.published && f.is_partition);
    if !partitions.is_empty() && publication.via_root {
        findings.problem(
            &place,
            format!(
                "{} is a partition; its changes carry the name of its root",
                partitions.join(", ")
            ),
            "configure the partitioned table instead",
        );
    }
    let via_root = publication.via_root;
    let unpublished: Vec<String> = there(|t, _| !t.published)
        .into_iter()
        .filter(|n| (via_root || !roots.contains(n)) && !(via_root && partitions.contains(n)))
        .collect();
    if !unpublished.is_empty() {
        findings.problem(
            &place,
            format!("it lacks {}", unpublished.join(", ")),
            add_tables_sql(name, &unpublished),
        );
    }
}

fn check_slot_state(
    findings: &mut Findings,
    sql: &Sql,
    source: &config::Source,
    slot: Option<&SlotInfo>,
) {
    let place = format!("slot {}", source.slot);
    let Some(slot) = slot else {
        return findings.note(&place, "it is missing; the first run makes it");
    };
    if let Err(error) = check_slot(slot, &sql.conninfo().database) {
        return findings.error(&place, &error);
    }
    if slot.active_pid.is_some() {
        findings.warning(
            &place,
            format!("it is being read by {}", slot.reader()),
            "if that is not a running Syncline, end that process",
        );
    }
    if slot.wal_status.as_deref() == Some("unreserved") {
        findings.warning(
            &place,
            "it has passed max_slot_wal_keep_size and can be lost at the next checkpoint",
            format!(
                "start Syncline now, or raise max_slot_wal_keep_size; once it is lost: {}",
                lost_remedy(&slot.name)
            ),
        );
    }
    if let Some(retained) = slot.retained.filter(|r| *r > source.wal_budget.0) {
        findings.warning(
            &place,
            format!(
                "it keeps {} MiB of WAL, more than source.wal_budget ({} MiB)",
                retained >> 20,
                source.wal_budget.0 >> 20
            ),
            "start Syncline, or drop the slot if it is not wanted any more",
        );
    }
}

fn check_table(
    findings: &mut Findings,
    sql: &Sql,
    name: &str,
    table: Option<&CatalogTable>,
    facts: &TableFacts,
) {
    let place = format!("tables.{name:?}");
    let quoted = table_ident(name);
    let Some(table) = table else {
        return findings.problem(
            &place,
            "there is no such table",
            "write it as schema.table; case matters",
        );
    };
    if facts.persistence != "p" {
        findings.problem(
            &place,
            "an unlogged or temporary table leaves nothing in the WAL",
            format!("ALTER TABLE {quoted} SET LOGGED;"),
        );
    }
    if table.identity_columns.is_empty() {
        let remedy = if table.primary_key.is_empty() {
            format!(
                "ALTER TABLE {quoted} ADD PRIMARY KEY (...); -- or, at the cost of more WAL: ALTER TABLE {quoted} REPLICA IDENTITY FULL;"
            )
        } else {
            format!("ALTER TABLE {quoted} REPLICA IDENTITY DEFAULT;")
        };
        findings.problem(
            &place,
            "the table has no replica identity: once it is published, Postgres refuses its updates and deletes",
            remedy,
        );
    } else if table.identity == ReplicaIdentity::Full {
        findings.note(
            &place,
            "REPLICA IDENTITY FULL: every update and delete writes the whole old row to the WAL",
        );
    }
    if let Some((what, remedy)) = rights::missing(&sql.conninfo().user, table, facts) {
        findings.warning(
            &place,
            format!("{what}: changes arrive, but existing rows cannot be read"),
            remedy,
        );
    }
    if table.primary_key.is_empty() && table.identity == ReplicaIdentity::Full {
        findings.warning(
            &place,
            "the table has no key: changes arrive, but existing rows cannot be read page by page",
            format!("ALTER TABLE {quoted} ADD PRIMARY KEY (...);"),
        );
    }
    if facts.row_filter.is_some() {
        findings.note(
            &place,
            "the publication filters its rows: a row that leaves the filter arrives as a delete",
        );
    }
    if facts.listed {
        findings.note(&place, "the publication sends only some of its columns");
    }
}
