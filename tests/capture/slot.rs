//! Slot, publication and stored progress: what is made, what is refused, and the SQL that is named.

use std::time::Duration;

use syncline::capture::{Conninfo, Sql, prepare};
use syncline::change::{Identity, Lsn};
use syncline::fault::{Error, ErrorKind};

use crate::harness::{attach, flushed, server, source, tables, try_attach};
use crate::support::postgres::{Options, Postgres, SUPERUSER, Stop};

async fn sql(pg: &Postgres, user: &str) -> Sql {
    Sql::connect(&Conninfo::from_config(&source(&pg.url(user))).unwrap())
        .await
        .unwrap()
}

async fn refused(pg: &Postgres, user: &str, stored: Option<(&Identity, Lsn)>) -> Error {
    let source = source(&pg.url(user));
    prepare(&sql(pg, user).await, &source, &tables(), stored)
        .await
        .unwrap_err()
}

fn remedy(error: &Error) -> &str {
    error.remedy.as_deref().unwrap()
}

#[tokio::test]
async fn what_may_not_be_made_is_named_as_sql() {
    let pg = server(Options::default());
    pg.psql("CREATE ROLE sync LOGIN REPLICATION");
    let error = refused(&pg, "sync", None).await;
    assert_eq!(error.kind, ErrorKind::SourceRefused);
    let statement = remedy(&error).split_once(": ").unwrap().1.to_owned();
    assert_eq!(
        statement,
        "CREATE PUBLICATION \"syncline\" FOR TABLE \"public\".\"t\" WITH (publish_via_partition_root = true);"
    );
    assert_eq!(
        pg.psql("SELECT count(*) FROM pg_replication_slots"),
        "0",
        "no slot is left behind"
    );
    // The statement is what it takes.
    pg.psql(&statement);
    let consumer = try_attach(source(&pg.url("sync")), None).await.unwrap();
    consumer.replication.stop().await;

    pg.psql("CREATE TABLE u (id int PRIMARY KEY)");
    let both = ["public.t".to_owned(), "public.u".to_owned()];
    let config = source(&pg.url("sync"));
    let error = prepare(&sql(&pg, "sync").await, &config, &both, None)
        .await
        .unwrap_err();
    let statement = remedy(&error).split_once(": ").unwrap().1.to_owned();
    pg.psql(&statement);
    prepare(&sql(&pg, "sync").await, &config, &both, None)
        .await
        .unwrap();

    let none = ["public.nothing".to_owned()];
    let error = prepare(&sql(&pg, "sync").await, &config, &none, None)
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Usage);
    assert!(error.to_string().contains("public.nothing"));
}

#[tokio::test]
async fn a_server_without_logical_wal_is_told_how_to_get_it() {
    let pg = server(Options::default().with("wal_level", "replica"));
    let error = refused(&pg, SUPERUSER, None).await;
    assert_eq!(error.kind, ErrorKind::SourceRefused);
    assert!(remedy(&error).contains("wal_level"), "{error}");
    assert_eq!(pg.psql("SELECT count(*) FROM pg_replication_slots"), "0");
}

#[tokio::test]
async fn a_slot_without_its_publication_is_refused() {
    let pg = server(Options::default());
    pg.psql("SELECT pg_create_logical_replication_slot('syncline', 'pgoutput')");
    let error = refused(&pg, SUPERUSER, None).await;
    assert_eq!(error.kind, ErrorKind::Identity);
    assert!(remedy(&error).contains("pg_drop_replication_slot('syncline')"));
}

#[tokio::test]
async fn an_unbound_slot_is_taken_over_where_it_stands() {
    let pg = server(Options::default());
    pg.psql("CREATE PUBLICATION syncline FOR TABLE t");
    pg.psql("SELECT pg_create_logical_replication_slot('syncline', 'pgoutput')");
    pg.psql("INSERT INTO t VALUES (1, 'x')");
    let mut consumer = attach(&pg).await;
    assert!(!consumer.prepared.slot_created);
    consumer
        .until("the earlier row", 10, |c| c.inserts.contains_key(&1))
        .await;

    let mut other = source(&pg.url(SUPERUSER));
    other.slot = "wrong".into();
    pg.psql("SELECT pg_create_logical_replication_slot('wrong', 'test_decoding')");
    let error = prepare(&sql(&pg, SUPERUSER).await, &other, &tables(), None)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("pgoutput"), "{error}");
}

#[tokio::test]
async fn progress_that_does_not_fit_is_refused() {
    let pg = server(Options::default());
    let mut consumer = attach(&pg).await;
    pg.psql("INSERT INTO t VALUES (1, 'x')");
    consumer
        .until("the row", 10, |c| c.inserts.contains_key(&1))
        .await;
    let taken = consumer.taken;
    crate::harness::confirmed_up_to(&mut consumer, &pg, taken, 10).await;
    let identity = consumer.prepared.identity.clone();
    consumer.replication.stop().await;

    let fits = prepare(
        &sql(&pg, SUPERUSER).await,
        &source(&pg.url(SUPERUSER)),
        &tables(),
        Some((&identity, taken)),
    )
    .await
    .unwrap();
    assert_eq!((fits.start, fits.slot_created), (taken, false));

    // An older state was put back.
    for older in [Lsn(0), identity.consistent_point] {
        let error = refused(&pg, SUPERUSER, Some((&identity, older))).await;
        assert_eq!(error.kind, ErrorKind::Identity);
        assert!(
            error.to_string().contains("ahead of the stored progress"),
            "{error}"
        );
    }
    // A state from the server's future.
    let error = refused(&pg, SUPERUSER, Some((&identity, Lsn(taken.0 + (1 << 30))))).await;
    assert!(
        error.to_string().contains("ahead of the server's WAL"),
        "{error}"
    );
    let changed = |change: fn(&mut Identity)| {
        let mut other = identity.clone();
        change(&mut other);
        other
    };
    for (other, word) in [
        (changed(|i| i.system = "1".into()), "another server"),
        (changed(|i| i.timeline = 7), "timeline"),
        (changed(|i| i.database = "x".into()), "database"),
        (changed(|i| i.slot = "x".into()), "source.slot"),
        (
            changed(|i| i.publication = "x".into()),
            "source.publication",
        ),
    ] {
        let error = refused(&pg, SUPERUSER, Some((&other, taken))).await;
        assert_eq!(error.kind, ErrorKind::Identity);
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
    // The slot was made anew, then dropped.
    pg.psql("SELECT pg_drop_replication_slot('syncline'); SELECT pg_create_logical_replication_slot('syncline', 'pgoutput')");
    let error = refused(&pg, SUPERUSER, Some((&identity, taken))).await;
    assert!(error.to_string().contains("made anew"), "{error}");
    pg.psql("SELECT pg_drop_replication_slot('syncline')");
    let error = refused(&pg, SUPERUSER, Some((&identity, taken))).await;
    assert!(error.to_string().contains("gone"), "{error}");
    assert_eq!(
        pg.psql("SELECT count(*) FROM pg_replication_slots"),
        "0",
        "and not made again"
    );
}

#[tokio::test]
async fn a_slot_made_anew_behind_our_back_ends_the_stream() {
    let pg = server(Options::default());
    let mut consumer = attach(&pg).await;
    pg.psql(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots; SELECT pg_sleep(0.05)",
    );
    // Between two attempts of ours, with luck; otherwise once more.
    for _ in 0..50 {
        pg.psql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active");
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pg.psql("SELECT pg_drop_replication_slot('syncline'); SELECT pg_create_logical_replication_slot('syncline', 'pgoutput')")
        }));
        if dropped.is_ok() {
            break;
        }
    }
    let error = loop {
        if let Err(error) = consumer.step().await {
            break error;
        }
    };
    assert_eq!(error.kind, ErrorKind::Identity, "{error}");
}

#[tokio::test]
async fn a_lost_slot_is_told_in_plain_words() {
    let pg = server(
        Options::default()
            .with("max_slot_wal_keep_size", "16MB")
            .with("min_wal_size", "32MB")
            .with("max_wal_size", "32MB"),
    );
    let consumer = attach(&pg).await;
    let identity = consumer.prepared.identity.clone();
    let start = consumer.prepared.start;
    consumer.replication.stop().await;
    pg.psql("CREATE TABLE filler (v text)");
    for _ in 0..6 {
        pg.psql("INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 16000)");
        pg.psql("SELECT pg_switch_wal()");
        pg.psql("CHECKPOINT");
    }
    let slot = sql(&pg, SUPERUSER)
        .await
        .slot("syncline")
        .await
        .unwrap()
        .unwrap();
    assert!(slot.lost().is_some(), "{slot:?}");
    let error = refused(&pg, SUPERUSER, Some((&identity, start))).await;
    assert_eq!(error.kind, ErrorKind::Identity);
    assert!(error.to_string().contains("is lost"), "{error}");
    assert!(remedy(&error).contains("pg_drop_replication_slot"));
}

#[tokio::test]
async fn making_a_slot_waits_for_transactions() {
    let pg = server(Options::default());
    pg.psql("CREATE PUBLICATION syncline FOR TABLE t");
    let writer = sql(&pg, SUPERUSER).await;
    // An open transaction that has written.
    let url = format!(
        "host={} port={} user=postgres",
        pg.socket_dir().display(),
        pg.port()
    );
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
        .batch_execute("BEGIN; INSERT INTO t VALUES (1, 'x')")
        .await
        .unwrap();
    let config = source(&pg.url(SUPERUSER));
    let wanted = tables();
    let waiting = prepare(&writer, &config, &wanted, None);
    tokio::pin!(waiting);
    assert!(
        tokio::time::timeout(Duration::from_secs(1), &mut waiting)
            .await
            .is_err()
    );
    client.batch_execute("COMMIT").await.unwrap();
    let prepared = tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap()
        .unwrap();
    assert!(prepared.slot_created);
}

#[tokio::test]
async fn a_second_process_stands_by_until_the_slot_is_free() {
    let pg = server(Options::default());
    let mut first = attach(&pg).await;
    first.confirming = false;
    pg.psql("INSERT INTO t VALUES (1, 'x')");
    first
        .until("the row", 10, |c| c.inserts.contains_key(&1))
        .await;
    let identity = first.prepared.identity.clone();
    let start = first.prepared.start;
    let mut second = try_attach(source(&pg.url(SUPERUSER)), Some((&identity, start)))
        .await
        .unwrap();
    assert!(!second.replication.status().connected);
    second.run_for(Duration::from_secs(1)).await;
    assert!(second.inserts.is_empty());
    drop(first);
    second
        .until("the row, taken over", 30, |c| c.inserts.contains_key(&1))
        .await;
    assert_eq!(second.restarts, 0);
}

#[tokio::test]
async fn a_promoted_standby_is_another_timeline() {
    let mut pg = server(Options::default());
    let consumer = attach(&pg).await;
    let identity = consumer.prepared.identity.clone();
    consumer.replication.stop().await;
    let here = flushed(&pg);
    // An archive-less recovery that is promoted at once begins a new timeline.
    pg.stop(Stop::Fast);
    std::fs::write(pg.socket_dir().join("data/standby.signal"), "").unwrap();
    pg.start_again();
    pg.psql("SELECT pg_promote()");
    let error = refused(&pg, SUPERUSER, Some((&identity, here))).await;
    assert_eq!(error.kind, ErrorKind::Identity);
    assert!(error.to_string().contains("timeline 2"), "{error}");
}

#[tokio::test]
async fn the_catalog_is_read_as_the_publication_sends_it() {
    let pg = server(Options::default());
    pg.psql("CREATE SCHEMA \"S s\"; CREATE TABLE \"S s\".\"T.t\" (b int, a numeric(10,2) NOT NULL, gone int, g int GENERATED ALWAYS AS (b + 1) STORED, hidden text, PRIMARY KEY (a, b)); ALTER TABLE \"S s\".\"T.t\" DROP COLUMN gone");
    // Column lists came with Postgres 15.
    let lists = pg.major() >= 15;
    let list = if lists { "(a, b)" } else { "" };
    pg.psql(&format!(
        "CREATE PUBLICATION syncline FOR TABLE \"S s\".\"T.t\" {list}"
    ));
    pg.psql("CREATE TYPE mood AS ENUM ('ok'); CREATE DOMAIN short AS varchar(9)");
    let sql = sql(&pg, SUPERUSER).await;
    let names = [
        "S s.T.t".to_owned(),
        "public.none".to_owned(),
        "public.t".to_owned(),
    ];
    let found = sql.tables(&names, "syncline").await.unwrap();
    let listed = found[0].as_ref().unwrap();
    assert!(listed.published);
    let columns: Vec<_> = listed
        .columns
        .iter()
        .map(|c| (c.attnum, &*c.name, &*c.type_name, c.not_null))
        .collect();
    assert_eq!(
        columns[..2],
        [(1, "b", "integer", true), (2, "a", "numeric(10,2)", true)]
    );
    // Neither the dropped column nor the generated one.
    let others: Vec<_> = columns[2..].iter().map(|c| c.1).collect();
    assert_eq!(others, if lists { vec![] } else { vec!["hidden"] });
    assert_eq!(listed.primary_key, ["a".into(), "b".into()]);
    assert_eq!(listed.identity_columns, listed.primary_key);
    assert!(found[1].is_none());
    let t = found[2].as_ref().unwrap();
    assert!(!t.published);
    assert_eq!(t.columns.len(), 2);
    let types = sql.types().await.unwrap();
    let named = |name: &str| types.iter().find(|t| &*t.name == name).unwrap();
    assert_eq!(named("mood").kind, b'e');
    assert_eq!(
        (named("short").base, named("short").base_typmod),
        (1043, 13)
    );
    assert_eq!(named("_mood").element, named("mood").oid);
    assert_eq!(named("_mood").delimiter, b',');
    assert_eq!(
        sql.wal_sender_timeout().await.unwrap(),
        Some(Duration::from_secs(60))
    );
    assert_eq!(sql.server_version() / 10_000, pg.major());
    sql.heartbeat().await.unwrap();
}

#[tokio::test]
async fn a_publication_that_goes_away_ends_the_stream_instead_of_losing_changes() {
    let pg = server(Options::default());
    let mut consumer = attach(&pg).await;
    pg.psql("DROP PUBLICATION syncline");
    pg.psql("INSERT INTO t VALUES (1, 'x')");
    let error = loop {
        if let Err(error) = consumer.step().await {
            break error;
        }
    };
    assert_eq!(error.kind, ErrorKind::Identity, "{error}");
    assert!(error.to_string().contains("publication"), "{error}");
}
