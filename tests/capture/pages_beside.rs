//! Pages beside everything that goes on in the database meanwhile.

use std::time::Duration;

use syncline::capture::{Event, Reader, Source, WATERMARK};
use syncline::change::{Change, Datum, Kind, Lsn};
use syncline::decode::{Decoded, Decoder, Types};
use syncline::fault::ErrorKind;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{Consumer, attach, flushed, server};
use crate::pages::{oid, reader, request, texts};
use crate::support::postgres::{Options, Postgres, SUPERUSER};

/// Decoded changes of a stream.
struct Stream(Consumer, Decoder, Vec<Change>);

impl Stream {
    async fn attach(pg: &Postgres) -> Self {
        Stream(
            attach(pg).await,
            Decoder::new(Types::default(), Vec::new()),
            Vec::new(),
        )
    }

    /// The next change that is wanted.
    async fn until(&mut self, mut wanted: impl FnMut(&Change) -> bool) -> Change {
        let all = async {
            loop {
                while !self.2.is_empty() {
                    let change = self.2.remove(0);
                    if wanted(&change) {
                        return change;
                    }
                }
                if let Event::Frames(frames) = self.0.replication.next().await.unwrap() {
                    for frame in frames {
                        if let Some(Decoded::Change(change)) = self.1.decode(&frame).unwrap() {
                            self.2.push(change);
                        }
                    }
                }
            }
        };
        timeout(Duration::from_secs(20), all)
            .await
            .expect("it is streamed")
    }

    async fn watermark(&mut self, wanted: &str) -> Change {
        self.until(|change| {
            matches!(&change.kind, Kind::Message { prefix, content, transactional: true }
                if **prefix == *WATERMARK && content == wanted)
        })
        .await
    }
}

fn value(change: &Change) -> Option<String> {
    match &change.kind {
        Kind::Insert { new } | Kind::Update { new, .. } => match new.get(1) {
            Datum::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
            _ => None,
        },
        _ => None,
    }
}

/// Sessions of ours that are within a transaction.
fn open_transactions(pg: &Postgres) -> String {
    pg.psql(
        "SELECT pid, state, query FROM pg_stat_activity
         WHERE application_name LIKE 'syncline%' AND backend_type = 'client backend' AND xact_start IS NOT NULL",
    )
}

#[tokio::test]
async fn a_transaction_can_be_streamed_before_a_page_sees_it() {
    let pg = server(Options::default());
    pg.psql("INSERT INTO t VALUES (1, 'old'), (2, 'other')");
    let mut stream = Stream::attach(&pg).await;
    let reader = reader(&pg, SUPERUSER);
    let request = request(oid(&pg, "t"), 10);
    assert_eq!(reader.page(&request).await.unwrap().rows.len(), 2);

    pg.pause_commits();
    let update = pg.start_psql("UPDATE t SET v = 'new' WHERE id = 1");
    let change = stream.until(|c| value(c).as_deref() == Some("new")).await;
    let page = reader.page(&request).await.unwrap();
    assert_eq!(texts(&page.rows[0]), [Some("1".into()), Some("old".into())]);
    assert!(!page.snapshot.sees(change.xid), "{:?}", page.snapshot);
    // A watermark does not wait with it, and is streamed behind it; the next page sees it.
    let mark = timeout(Duration::from_secs(10), reader.mark("run/1"))
        .await
        .expect("a watermark waits for no standby")
        .unwrap();
    assert!(!page.snapshot.sees(mark as u32));
    assert_eq!(stream.watermark("run/1").await.xid, mark as u32);
    let page = reader.page(&request).await.unwrap();
    assert!(!page.snapshot.sees(change.xid) && page.snapshot.sees(mark as u32));
    assert_eq!(page.snapshot.xmin, u64::from(change.xid));
    let writers = reader.writers().await.unwrap();
    assert_eq!(writers.len(), 1, "{writers:?}");
    assert_eq!(pg.paused_commits(), 1);

    pg.resume_commits();
    update.wait();
    let page = reader.page(&request).await.unwrap();
    assert_eq!(texts(&page.rows[0]), [Some("1".into()), Some("new".into())]);
    assert!(page.snapshot.sees(change.xid));
}

#[tokio::test]
async fn a_watermark_is_streamed_in_the_transaction_it_names() {
    let pg = server(Options::default());
    let mut stream = Stream::attach(&pg).await;
    let reader = reader(&pg, SUPERUSER);
    for content in ["run/1", "it's \\ é", ""] {
        let xid = reader.mark(content).await.unwrap();
        assert_eq!(u64::from(stream.watermark(content).await.xid), xid);
    }
}

#[tokio::test]
async fn rewrites_and_truncates_never_make_a_page_look_empty() {
    let pg = server(Options::default());
    pg.psql("INSERT INTO t SELECT g, g FROM generate_series(1, 300) g; CREATE ROLE sync LOGIN; GRANT SELECT (id, v) ON t TO sync");
    let table = oid(&pg, "t");
    // One role may lock the table, the other not.
    for user in [SUPERUSER, "sync"] {
        let beside = pg.start_psql(
            "DO $$ BEGIN FOR i IN 1..60 LOOP
                 ALTER TABLE t ALTER v TYPE int USING v::int; COMMIT;
                 PERFORM pg_sleep(0.002);
                 ALTER TABLE t ALTER v TYPE text USING v::text, ALTER id TYPE int8; COMMIT;
                 ALTER TABLE t ALTER id TYPE int4; COMMIT;
                 TRUNCATE t; INSERT INTO t SELECT g, g FROM generate_series(1, 300) g; COMMIT;
                 PERFORM pg_sleep(0.002);
             END LOOP; END $$",
        );
        let reader = reader(&pg, user);
        let mut beside = Some(beside);
        let (mut pages, mut types) = (0, std::collections::BTreeSet::new());
        while !beside.as_mut().unwrap().ended() {
            let mut request = request(table, 170);
            let first = reader.page(&request).await.unwrap();
            assert_eq!(first.rows.len(), 170, "{user}, page {pages}");
            request.after = first.last;
            let second = reader.page(&request).await.unwrap();
            assert_eq!(second.rows.len(), 130, "{user}, page {pages}");
            assert!(second.end);
            types.insert(first.table.columns[1].type_name.clone());
            pages += 2;
        }
        beside.take().unwrap().wait();
        assert!(pages > 20 && types.len() == 2, "{pages} {types:?}");
    }
}

#[tokio::test]
async fn a_lost_connection_is_made_anew() {
    let mut pg = server(Options::default());
    pg.psql("INSERT INTO t SELECT g, 'x' FROM generate_series(1, 30) g");
    let reader = reader(&pg, SUPERUSER);
    let mut request = request(oid(&pg, "t"), 10);
    for round in 0..3 {
        let page = reader.page(&request).await.unwrap();
        assert_eq!(page.rows.len(), 10, "{round}");
        request.after = page.last;
        let ended = pg.psql(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'syncline%'",
        );
        assert_eq!(ended, "1");
        if round == 1 {
            pg.restart(crate::support::postgres::Stop::Immediate);
        }
    }
    assert!(reader.page(&request).await.unwrap().end);
    pg.stop(crate::support::postgres::Stop::Fast);
    assert!(reader.page(&request).await.unwrap_err().is_transient());
    pg.start_again();
    assert!(reader.page(&request).await.unwrap().end);
}

#[tokio::test]
async fn a_dropped_call_leaves_nothing_open() {
    let pg = server(Options::default());
    pg.psql("INSERT INTO t SELECT g, repeat('x', 500) FROM generate_series(1, 20000) g");
    let reader = reader(&pg, SUPERUSER);
    let table = oid(&pg, "t");
    // It waits for a lock, or calculates for an hour.
    let lock = pg.start_psql("BEGIN; LOCK TABLE t; SELECT pg_sleep(600)");
    let deadline = Instant::now() + Duration::from_secs(10);
    while pg.psql("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted")
        == "0"
    {
        assert!(Instant::now() < deadline);
        sleep(Duration::from_millis(20)).await;
    }
    let waiting = request(table, 10);
    let mut slow = waiting.clone();
    slow.filter = Some("pg_sleep(3600) IS NOT NULL".to_owned());
    for (request, locked) in [(waiting.clone(), true), (slow, false)] {
        if !locked {
            pg.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()");
        }
        let call = timeout(Duration::from_millis(500), reader.page(&request)).await;
        assert!(call.is_err(), "it should wait: {call:?}");
        let deadline = Instant::now() + Duration::from_secs(5);
        while !open_transactions(&pg).is_empty() {
            assert!(Instant::now() < deadline, "{}", open_transactions(&pg));
            sleep(Duration::from_millis(20)).await;
        }
    }
    drop(lock);
    // Dropped at any point.
    let big = request(table, 20_000);
    let mut whole = 0;
    for round in 0..60_u64 {
        let call = timeout(Duration::from_micros(round * 400), reader.page(&big)).await;
        whole += usize::from(call.is_ok());
    }
    assert!(whole < 60);
    assert!(reader.page(&big).await.unwrap().rows.len() > 10_000);
    let deadline = Instant::now() + Duration::from_secs(5);
    while !open_transactions(&pg).is_empty() {
        assert!(Instant::now() < deadline, "{}", open_transactions(&pg));
        sleep(Duration::from_millis(20)).await;
    }
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'syncline%'";
    assert_eq!(pg.psql(sessions), "1");
}

#[tokio::test]
async fn tables_are_found_by_name_and_by_oid() {
    let pg = server(Options::default());
    pg.psql(
        "CREATE TABLE a (id int, x text, y varchar(7) NOT NULL, PRIMARY KEY (id) INCLUDE (x)); ALTER TABLE a DROP COLUMN x;
         CREATE TABLE late (id int PRIMARY KEY DEFERRABLE, v text);
         CREATE TYPE mood AS ENUM ('sad'); CREATE VIEW seen AS SELECT 1; CREATE PUBLICATION syncline FOR TABLE a",
    );
    let reader = reader(&pg, SUPERUSER);
    let (a, t) = (oid(&pg, "a"), oid(&pg, "t"));
    pg.psql("ALTER TABLE a RENAME TO \"B b\"; ALTER TABLE t RENAME v TO w; CREATE SCHEMA s; ALTER TABLE \"B b\" SET SCHEMA s");
    let names = [
        "public.t",
        "public.a",
        "public.late",
        "public.seen",
        "t",
        "nowhere.t",
    ]
    .map(str::to_owned);
    let before = flushed(&pg);
    let catalog = reader
        .catalog(&names, &[a, t, oid(&pg, "seen"), 4_000_000_000])
        .await
        .unwrap();
    let found: Vec<String> = catalog
        .tables
        .iter()
        .map(|t| format!("{}.{}", t.schema, t.name))
        .collect();
    assert_eq!(found, ["public.t", "public.late", "s.B b"]);
    let renamed = &catalog.tables[2];
    assert!(renamed.published && renamed.oid == a);
    assert_eq!(renamed.dropped, [2]);
    let columns: Vec<(i16, &str, &str)> = renamed
        .columns
        .iter()
        .map(|c| (c.attnum, &*c.name, &*c.type_name))
        .collect();
    assert_eq!(
        columns,
        [(1, "id", "integer"), (3, "y", "character varying(7)")]
    );
    assert_eq!(*catalog.tables[0].columns[1].name, *"w");
    assert!(!catalog.tables[0].published && catalog.tables[0].dropped.is_empty());
    // A deferrable key identifies no row to the stream.
    assert_eq!(catalog.tables[1].primary_key.len(), 1);
    assert!(catalog.tables[1].identity_columns.is_empty());
    assert!(catalog.types.iter().any(|t| &*t.name == "mood"));
    assert!(catalog.lsn >= before && catalog.lsn > Lsn(0));
    // The columns behind a key's own are not in it.
    pg.psql("CREATE TABLE c (id int, x text, PRIMARY KEY (id) INCLUDE (x))");
    let catalog = reader.catalog(&["public.c".to_owned()], &[]).await.unwrap();
    assert_eq!(catalog.tables[0].primary_key, ["id".into()]);
    assert_eq!(catalog.tables[0].identity_columns, ["id".into()]);
    // A commit that is seen before it is on disk lies before the LSN.
    for round in 0..20 {
        pg.psql(&format!(
            "SET synchronous_commit = off; ALTER TABLE c ADD COLUMN n{round} int"
        ));
        let catalog = reader.catalog(&["public.c".to_owned()], &[]).await.unwrap();
        assert_eq!(catalog.tables[0].columns.len(), round + 3);
        let end: Lsn = pg
            .psql("SELECT pg_current_wal_insert_lsn()")
            .parse()
            .unwrap();
        assert!(catalog.lsn <= end);
    }
}

#[tokio::test]
async fn a_table_may_be_renamed_between_pages() {
    let pg = server(Options::default());
    pg.psql("INSERT INTO t SELECT g, 'x' FROM generate_series(1, 20) g");
    let reader = reader(&pg, SUPERUSER);
    let mut request = request(oid(&pg, "t"), 10);
    request.after = reader.page(&request).await.unwrap().last;
    pg.psql("ALTER TABLE t RENAME TO \"T 2\"; ALTER TABLE \"T 2\" RENAME id TO key; CREATE TABLE t (id int PRIMARY KEY, v text)");
    let page = reader.page(&request).await.unwrap();
    assert_eq!((page.rows.len(), &*page.table.name), (10, "T 2"));
    let renaming = pg.start_psql(
        "DO $$ BEGIN FOR i IN 1..400 LOOP
             ALTER TABLE \"T 2\" RENAME TO \"T 3\"; COMMIT; PERFORM pg_sleep(0.002);
             ALTER TABLE \"T 3\" RENAME TO \"T 2\"; COMMIT; PERFORM pg_sleep(0.002);
         END LOOP; END $$",
    );
    let mut renaming = Some(renaming);
    let mut names = std::collections::BTreeSet::new();
    while !renaming.as_mut().unwrap().ended() {
        match reader.page(&request).await {
            Ok(page) => {
                assert_eq!(page.rows.len(), 10);
                names.insert(page.table.name);
            }
            Err(e) => assert!(e.is_transient(), "{e}"),
        }
    }
    renaming.take().unwrap().wait();
    assert_eq!(names.len(), 2);
}

#[tokio::test]
async fn a_standby_is_read_and_takes_no_watermark() {
    let pg = server(Options::default());
    pg.psql("INSERT INTO t VALUES (1, 'x')");
    let standby = pg.standby();
    let table = oid(&pg, "t");
    let deadline = Instant::now() + Duration::from_secs(20);
    let reader = reader(&standby, SUPERUSER);
    let catalog = reader.catalog(&["public.t".to_owned()], &[]).await.unwrap();
    assert!(catalog.lsn > Lsn(0));
    while reader.page(&request(table, 5)).await.unwrap().rows.len() != 1 {
        assert!(Instant::now() < deadline);
    }
    let error = reader.mark("x").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::SourceRefused);
    assert!(error.to_string().contains("standby"), "{error}");
    assert!(error.remedy.unwrap().contains("primary"));
}

/// A measurement: `cargo test --release --test capture -- --ignored --nocapture million`.
#[tokio::test]
#[ignore = "a measurement"]
async fn a_million_narrow_rows() {
    let pg = server(Options::default().with("shared_buffers", "512MB"));
    pg.psql("INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 1000000) g");
    pg.psql("VACUUM ANALYZE t");
    let reader = reader(&pg, SUPERUSER);
    let mut request = request(oid(&pg, "t"), 5000);
    let start = std::time::Instant::now();
    let (mut rows, mut pages, mut longest) = (0, 0, std::time::Duration::ZERO);
    loop {
        let began = std::time::Instant::now();
        let page = reader.page(&request).await.unwrap();
        longest = longest.max(began.elapsed());
        rows += page.rows.len();
        pages += 1;
        request.after = page.last;
        if page.end {
            break;
        }
    }
    assert_eq!(rows, 1_000_000);
    let time = start.elapsed();
    println!(
        "{rows} rows in {pages} pages: {time:?}, {:.0} rows/s, {:.2} ms a page, longest {longest:?}",
        rows as f64 / time.as_secs_f64(),
        time.as_secs_f64() * 1e3 / f64::from(pages)
    );
}
