//! `syncline check`: nothing is overlooked, and each remedy heals what it is for.

use syncline::capture::{Conninfo, Event, Replication, Source, Sql, preflight, prepare};
use syncline::fault::{Finding, Severity};

use crate::harness::{server, source, tables};
use crate::support::postgres::{Options, Postgres, SUPERUSER};

async fn findings(pg: &Postgres, user: &str, tables: &[String]) -> Vec<Finding> {
    let source = source(&pg.url(user));
    let sql = Sql::connect(&Conninfo::from_config(&source).unwrap())
        .await
        .unwrap();
    preflight(&sql, &source, tables).await.unwrap()
}

/// Problems and warnings, which all carry a remedy.
fn serious(findings: &[Finding]) -> Vec<&Finding> {
    let serious: Vec<_> = findings
        .iter()
        .filter(|f| f.severity > Severity::Note)
        .collect();
    for finding in &serious {
        assert!(!finding.remedy.is_empty(), "{finding:?}");
    }
    serious
}

fn only<'a>(findings: &'a [Finding], word: &str) -> &'a Finding {
    let found: Vec<_> = findings.iter().filter(|f| f.what.contains(word)).collect();
    assert_eq!(found.len(), 1, "{word}: {findings:#?}");
    found[0]
}

#[tokio::test]
async fn a_server_that_is_ready_has_nothing_serious() {
    let pg = server(Options::default());
    let found = findings(&pg, SUPERUSER, &tables()).await;
    assert_eq!(serious(&found), Vec::<&Finding>::new());
    only(&found, "max_slot_wal_keep_size is unlimited");
    assert_eq!(
        found
            .iter()
            .filter(|f| f.what.contains("the first run makes it"))
            .count(),
        2
    );
}

#[tokio::test]
async fn the_least_rights_are_enough_and_each_missing_one_is_named() {
    let pg = server(Options::default());
    pg.psql("CREATE ROLE sync LOGIN");
    let found = findings(&pg, "sync", &tables()).await;
    let steps = [
        only(&found, "no right to replicate").remedy.clone(),
        only(&found, "may not make it").remedy.clone(),
        only(&found, "may not read").remedy.clone(),
    ];
    assert_eq!(serious(&found).len(), 3, "{found:#?}");
    for step in steps {
        pg.psql(&step);
    }
    let found = findings(&pg, "sync", &tables()).await;
    assert_eq!(serious(&found), Vec::<&Finding>::new());
    // And with them the stream runs.
    let mut consumer = crate::harness::try_attach(source(&pg.url("sync")), None)
        .await
        .unwrap();
    pg.psql("INSERT INTO t VALUES (1, 'x')");
    consumer
        .until("the row", 10, |c| c.inserts.contains_key(&1))
        .await;
    let found = findings(&pg, "sync", &tables()).await;
    assert!(
        only(&found, "being read by")
            .what
            .contains("syncline/syncline")
    );
}

#[tokio::test]
async fn rights_that_reading_existing_rows_needs_are_named() {
    let pg = server(Options::default());
    pg.psql(
        "CREATE ROLE sync LOGIN REPLICATION; CREATE SCHEMA \"S\";
         CREATE TABLE \"S\".o (id int PRIMARY KEY, a text, \"B\" text, g int GENERATED ALWAYS AS (id) STORED);
         GRANT SELECT (id) ON \"S\".o TO sync; ALTER TABLE \"S\".o ENABLE ROW LEVEL SECURITY;
         CREATE PUBLICATION syncline FOR TABLE \"S\".o;
         REVOKE EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text) FROM public",
    );
    let names = ["S.o".to_owned()];
    let found = findings(&pg, "sync", &names).await;
    assert_eq!(serious(&found).len(), 2, "{found:#?}");
    let table = only(&found, "may not use the schema");
    for part in [
        "may not use the schema S",
        "columns a, B ",
        "row level security",
    ] {
        assert!(table.what.contains(part), "{table:?}");
    }
    assert_eq!(
        table.remedy,
        "GRANT USAGE ON SCHEMA \"S\" TO \"sync\"; GRANT SELECT (\"a\", \"B\") ON \"S\".\"o\" TO \"sync\"; ALTER ROLE \"sync\" BYPASSRLS;"
    );
    pg.psql(&table.remedy);
    pg.psql(&only(&found, "may not write watermarks").remedy);
    let found = findings(&pg, "sync", &names).await;
    assert_eq!(serious(&found), Vec::<&Finding>::new());
}

#[tokio::test]
async fn trouble_with_tables_and_publication_is_found_and_healed() {
    let pg = server(Options::default());
    pg.psql(
        "CREATE TABLE nokey (id int); CREATE TABLE nothing (id int PRIMARY KEY);
         ALTER TABLE nothing REPLICA IDENTITY NOTHING;
         CREATE TABLE whole (id int); ALTER TABLE whole REPLICA IDENTITY FULL;
         CREATE UNLOGGED TABLE fast (id int PRIMARY KEY);
         CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
         CREATE PUBLICATION syncline FOR TABLE nokey, nothing, whole, parts WITH (publish = 'insert, update')",
    );
    let names: Vec<String> = ["t", "nokey", "nothing", "whole", "fast", "parts", "none"]
        .iter()
        .map(|n| format!("public.{n}"))
        .collect();
    let found = findings(&pg, SUPERUSER, &names).await;
    assert!(serious(&found).len() >= 7, "{found:#?}");
    assert!(found.is_sorted_by_key(|f| std::cmp::Reverse(f.severity)));
    only(&found, "no such table");
    only(&found, "REPLICA IDENTITY FULL");
    let no_key = only(&found, "the table has no key");
    assert!(no_key.place.contains("whole"));
    pg.psql(&no_key.remedy.replace("...", "id"));
    pg.psql(&only(&found, "unlogged").remedy);
    pg.psql(&only(&found, "does not publish delete, truncate").remedy);
    pg.psql(&only(&found, "partitioned").remedy);
    let lacks = only(&found, "it lacks");
    assert_eq!(
        lacks.remedy,
        "ALTER PUBLICATION \"syncline\" ADD TABLE \"public\".\"t\", \"public\".\"fast\";"
    );
    pg.psql(&lacks.remedy);
    let identity = |place: &str| {
        found
            .iter()
            .find(|f| f.place.contains(place) && f.what.contains("no replica identity"))
            .unwrap()
    };
    pg.psql(&identity("nothing").remedy);
    assert!(identity("nokey").remedy.contains("ADD PRIMARY KEY"));
    pg.psql("ALTER TABLE nokey ADD PRIMARY KEY (id)");
    let found = findings(&pg, SUPERUSER, &names[..6]).await;
    assert_eq!(serious(&found), Vec::<&Finding>::new());
    let leaf = findings(&pg, SUPERUSER, &["public.parts_1".to_owned()]).await;
    assert!(
        only(&leaf, "is a partition")
            .remedy
            .contains("partitioned table")
    );
    if pg.major() >= 15 {
        pg.psql("ALTER PUBLICATION syncline SET TABLE t (id) WHERE (id > 0)");
        let found = findings(&pg, SUPERUSER, &tables()).await;
        only(&found, "filters its rows");
        only(&found, "only some of its columns");
    }
}

#[tokio::test]
async fn trouble_with_the_server_and_the_slot_is_found() {
    let pg = server(
        Options::default()
            .with("wal_level", "replica")
            .with("max_replication_slots", "1")
            .with("max_slot_wal_keep_size", "1GB"),
    );
    pg.psql("SELECT pg_create_physical_replication_slot('other')");
    let found = findings(&pg, SUPERUSER, &tables()).await;
    assert!(only(&found, "wal_level").remedy.contains("'logical'"));
    only(&found, "slots are taken");
    assert!(!found.iter().any(|f| f.what.contains("unlimited")));

    let pg = server(Options::default());
    pg.psql("SELECT pg_create_logical_replication_slot('syncline', 'pgoutput')");
    let found = findings(&pg, SUPERUSER, &tables()).await;
    pg.psql(
        &only(&found, "the slot is there already")
            .remedy
            .replace("; ", ";\n")
            .replace('\n', " "),
    );
    assert_eq!(
        serious(&findings(&pg, SUPERUSER, &tables()).await),
        Vec::<&Finding>::new()
    );
    pg.psql("SELECT pg_create_physical_replication_slot('syncline')");
    let found = findings(&pg, SUPERUSER, &tables()).await;
    only(&found, "not a logical slot");
}

#[tokio::test]
async fn the_files_in_sql_give_exactly_what_is_needed() {
    let pg = server(Options::default());
    pg.psql("CREATE DATABASE app");
    for table in ["company", "customer"] {
        pg.psql_in(
            "app",
            &format!("CREATE TABLE {table} (id int PRIMARY KEY, v text)"),
        );
    }
    let before = "SELECT count(*) FROM pg_auth_members";
    let memberships = pg.psql(before);
    pg.psql_in("app", include_str!("../../sql/roles.sql"));
    pg.psql_in("app", include_str!("../../sql/publication.sql"));
    assert_eq!(pg.psql("SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolbypassrls FROM pg_roles WHERE rolname = 'syncline'"), "f");
    assert_eq!(pg.psql(before), memberships);

    let source = source(&format!("postgres://syncline@127.0.0.1:{}/app", pg.port()));
    let info = Conninfo::from_config(&source).unwrap();
    let sql = Sql::connect(&info).await.unwrap();
    let tables = ["public.company".to_owned(), "public.customer".to_owned()];
    let found = preflight(&sql, &source, &tables).await.unwrap();
    assert_eq!(serious(&found), Vec::<&Finding>::new());
    let prepared = prepare(&sql, &source, &tables, None).await.unwrap();
    sql.heartbeat().await.unwrap();
    let mut stream = Replication::start(info, &source, &prepared.identity, prepared.start)
        .await
        .unwrap();
    pg.psql_in("app", "INSERT INTO customer VALUES (1, 'x')");
    loop {
        if let Event::Frames(frames) = stream.next().await.unwrap()
            && frames.iter().any(|f| f.payload[0] == b'I')
        {
            break;
        }
    }
}
