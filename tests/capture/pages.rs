//! Pages of existing rows: all of them, once, as the stream would have sent them.

use std::collections::BTreeSet;

use syncline::capture::{Conninfo, Event, Page, PageRequest, Reader, Source, SqlReader};
use syncline::change::{Datum, Kind, Tuple};
use syncline::decode::{Decoded, Decoder, Types};
use syncline::fault::{Error, ErrorKind};
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::harness::{attach, server, source};
use crate::support::postgres::{Options, Postgres, SUPERUSER};

/// A row as text.
pub type Texts = Vec<Option<String>>;

pub fn reader(pg: &Postgres, user: &str) -> SqlReader {
    let info = Conninfo::from_config(&source(&pg.url(user))).unwrap();
    SqlReader::new(info, "syncline".to_owned())
}

pub fn oid(pg: &Postgres, table: &str) -> u32 {
    pg.psql(&format!("SELECT '{table}'::regclass::oid"))
        .parse()
        .unwrap()
}

pub fn request(table: u32, rows: usize) -> PageRequest {
    PageRequest {
        table,
        after: None,
        filter: None,
        rows,
        bytes: 8 << 20,
    }
}

pub fn texts(row: &Tuple) -> Texts {
    (0..row.spans.len())
        .map(|at| match row.get(at) {
            Datum::Text(text) => Some(std::str::from_utf8(text).unwrap().to_owned()),
            Datum::Null => None,
            Datum::Unchanged => panic!("a page has no unchanged values"),
        })
        .collect()
}

/// All pages to the end.
async fn read_all(reader: &SqlReader, mut request: PageRequest) -> (Vec<Texts>, Vec<Page>) {
    let (mut rows, mut pages) = (Vec::new(), Vec::new());
    loop {
        let page = reader.page(&request).await.unwrap();
        assert!(page.rows.len() <= request.rows);
        rows.extend(page.rows.iter().map(texts));
        request.after.clone_from(&page.last);
        let end = page.end;
        assert!(end || page.last.is_some(), "it goes on behind a row");
        pages.push(page);
        if end {
            return (rows, pages);
        }
    }
}

/// What a plain SELECT gives, in a session that formats values as ours does.
async fn select(pg: &Postgres, query: &str) -> Vec<Texts> {
    let url = format!(
        "{}?options=-c%20datestyle%3DISO%20-c%20timezone%3DUTC%20-c%20lc_monetary%3DC",
        pg.url(SUPERUSER)
    );
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let messages = client.simple_query(query).await.unwrap();
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|at| row.get(at).map(str::to_owned))
                    .collect(),
            ),
            _ => None,
        })
        .collect()
}

async fn refused(reader: &SqlReader, request: &PageRequest) -> Error {
    let error = reader.page(request).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::SourceRefused, "{error}");
    error
}

#[tokio::test]
async fn every_kind_of_key_is_paged_to_the_end() {
    let pg = Postgres::start(Options::default());
    pg.psql(
        "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext;
         CREATE COLLATION unlike (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE COLLATION german (provider = icu, locale = 'de');
         CREATE TYPE mood AS ENUM ('sad', 'ok', 'glad');
         CREATE DOMAIN code AS text CHECK (length(VALUE) > 0)",
    );
    // The key, its definition, and where the keys come from.
    let tables = [
        ("single", "a int PRIMARY KEY", "g"),
        ("big", "a int8 PRIMARY KEY", "g * 4000000000 - 200000000000"),
        ("texts", "a text PRIMARY KEY", "md5(g::text) || E'\\'\\\\é'"),
        (
            "collated",
            "a text COLLATE german PRIMARY KEY",
            "chr(64 + g) || chr(228)",
        ),
        (
            "other_c",
            "a varchar(40) COLLATE \"C\" PRIMARY KEY",
            "chr(64 + g) || 'x'",
        ),
        ("loose", "a text COLLATE unlike PRIMARY KEY", "'Ab' || g"),
        ("ids", "a uuid PRIMARY KEY", "md5(g::text)::uuid"),
        (
            "times",
            "a timestamptz PRIMARY KEY",
            "'2024-01-01 00:00+02'::timestamptz + g * interval '1 day 0.000001 s'",
        ),
        ("dates", "a date PRIMARY KEY", "'0001-12-30 BC'::date + g"),
        (
            "numbers",
            "a numeric PRIMARY KEY",
            "CASE g WHEN 3 THEN 'NaN' WHEN 4 THEN '-Infinity' ELSE g / 7.0 END::numeric",
        ),
        ("floats", "a float8 PRIMARY KEY", "g / 3.0::float8"),
        ("padded", "a char(5) PRIMARY KEY", "g::text"),
        (
            "bytes",
            "a bytea PRIMARY KEY",
            "decode(md5(g::text), 'hex')",
        ),
        ("addresses", "a inet PRIMARY KEY", "'10.0.0.0'::inet + g"),
        (
            "intervals",
            "a interval PRIMARY KEY",
            "g * interval '1 day 1 s'",
        ),
        ("lists", "a int[] PRIMARY KEY", "ARRAY[g, -g]"),
        (
            "loose_case",
            "a ext.citext PRIMARY KEY",
            "CASE WHEN g % 2 = 0 THEN 'K' ELSE 'k' END || g",
        ),
        ("codes", "a code PRIMARY KEY", "'c' || g"),
        (
            "pairs",
            "a int, b text, PRIMARY KEY (b, a)",
            "g % 7, 'x' || g % 13",
        ),
        (
            "triples",
            "a int, b text, c uuid, PRIMARY KEY (a, b, c)",
            "g % 2, 'x' || g % 3, md5(g::text)::uuid",
        ),
        (
            "mixed",
            "a ext.citext, b int, PRIMARY KEY (a, b)",
            "CASE WHEN g % 2 = 0 THEN 'K' ELSE 'k' END || g % 3, g",
        ),
        (
            "moods",
            "a mood, b int, PRIMARY KEY (a, b)",
            "(ARRAY['glad', 'sad', 'ok'])[g % 3 + 1]::mood, g",
        ),
        ("wide", "a int, b int, PRIMARY KEY (a) INCLUDE (b)", "g, -g"),
    ];
    let reader = reader(&pg, SUPERUSER);
    for (name, columns, values) in tables {
        pg.psql(&format!("CREATE TABLE {name} ({columns})"));
        pg.psql(&format!(
            "INSERT INTO {name} SELECT {values} FROM generate_series(1, 60) g ON CONFLICT DO NOTHING"
        ));
        let plain = select(&pg, &format!("SELECT * FROM {name}")).await;
        assert!(plain.len() >= 60, "{name}: {}", plain.len());
        for size in [1, 7, 30, 60, 1000] {
            let (rows, pages) = read_all(&reader, request(oid(&pg, name), size)).await;
            assert_eq!(rows.len(), plain.len(), "{name} by {size}");
            let set = |rows: &[Texts]| rows.iter().cloned().collect::<BTreeSet<_>>();
            assert_eq!(set(&rows), set(&plain), "{name} by {size}");
            assert_eq!(&*pages[0].table.name, name);
            assert!(
                pages
                    .iter()
                    .rev()
                    .skip(1)
                    .all(|p| !p.end && p.rows.len() == size)
            );
        }
    }
    // A key by which an index orders otherwise: its own collation, directions, operators.
    pg.psql(
        "CREATE TABLE odd (a text COLLATE unlike NOT NULL, b int NOT NULL, c text NOT NULL);
         CREATE UNIQUE INDEX odd_key ON odd (a COLLATE \"C\" DESC, b, c text_pattern_ops NULLS FIRST);
         ALTER TABLE odd REPLICA IDENTITY USING INDEX odd_key;
         INSERT INTO odd SELECT CASE WHEN g % 2 = 0 THEN 'K' ELSE 'k' END, g % 5, g FROM generate_series(1, 60) g",
    );
    let (rows, _) = read_all(&reader, request(oid(&pg, "odd"), 7)).await;
    let plain = select(
        &pg,
        "SELECT * FROM odd ORDER BY a COLLATE \"C\" DESC, b, c USING ~<~",
    )
    .await;
    assert_eq!(rows, plain);
    // Another key than the request was made for.
    let error = refused(
        &reader,
        &PageRequest {
            after: Some(vec!["1".into()]),
            ..request(oid(&pg, "odd"), 7)
        },
    )
    .await;
    assert!(error.to_string().contains("has changed"), "{error}");
    // An empty table, and one whose rows are behind the last key.
    pg.psql("CREATE TABLE nothing (a int PRIMARY KEY)");
    let (rows, pages) = read_all(&reader, request(oid(&pg, "nothing"), 7)).await;
    assert!(rows.is_empty() && pages.len() == 1 && pages[0].last.is_none());
}

#[tokio::test]
async fn a_table_without_a_key_is_refused_with_a_remedy() {
    let pg = server(Options::default());
    pg.psql("CREATE TABLE nokey (id int); ALTER TABLE nokey REPLICA IDENTITY FULL");
    let reader = reader(&pg, SUPERUSER);
    let error = refused(&reader, &request(oid(&pg, "nokey"), 5)).await;
    assert!(
        error.to_string().contains("public.nokey has no key"),
        "{error}"
    );
    assert!(
        error
            .remedy
            .unwrap()
            .contains("ALTER TABLE \"public\".\"nokey\" ADD PRIMARY KEY")
    );
    let error = refused(&reader, &request(4_000_000_000, 5)).await;
    assert!(error.to_string().contains("not there any more"), "{error}");
    // The reader is as good as before.
    assert!(reader.page(&request(oid(&pg, "t"), 5)).await.unwrap().end);
}

/// Types and values in SQL.
#[rustfmt::skip]
const VALUES: &[(&str, &str)] = &[
    ("bool", "true"), ("bool", "false"), ("int2", "-32768"), ("int4", "2147483647"),
    ("int8", "-9223372036854775808"), ("oid", "4294967295"), ("xid8", "'18446744073709551615'"),
    ("float4", "0.1"), ("float4", "'-Infinity'"), ("float4", "3.4028235e38"),
    ("float8", "0.1::float8 + 0.2::float8"), ("float8", "1e300"), ("float8", "5e-324"),
    ("float8", "'Infinity'"), ("float8", "'-0'"), ("float8", "'NaN'"), ("numeric", "1e-20"), ("numeric", "'NaN'"),
    ("numeric", "'-Infinity'"), ("numeric", "-123456789012345678901234567890.5"), ("numeric(10,3)", "1.5"),
    ("text", "''"), ("text", "E'a\\tb\\n\"\\\\'"), ("text", "'Ørsted 日本 🎉'"), ("varchar(8)", "'ab  '"),
    ("char(5)", "'ab'"), ("bpchar", "'ab  '"), ("name", "'a_name'"), ("\"char\"", "'x'"), ("xml", "'<a>1</a>'"),
    ("citext", "'CaSe'"), ("bytea", "'\\x00ff10'"), ("bytea", "''"), ("date", "'2024-02-29'"),
    ("date", "'0044-03-15 BC'"), ("date", "'5874897-12-31'"), ("date", "'-infinity'"),
    ("time", "'01:02:03.000004'"), ("time(0)", "'24:00'"), ("timetz", "'01:02:03.5+05:30'"),
    ("timestamp", "'2024-01-01 00:00:00.1'"), ("timestamp", "'4714-11-24 00:00:00 BC'"),
    ("timestamp", "'294276-12-31 23:59:59.999999'"), ("timestamp", "'infinity'"),
    ("timestamptz", "'2024-01-01 05:30:00+05:30'"), ("timestamptz", "'0001-12-31 23:59:59.999999+00 BC'"),
    ("timestamptz(3)", "'1969-12-31 23:59:59.999+00'"), ("timestamptz", "'-infinity'"),
    ("interval", "'1 year 2 mons -3 days 04:05:06.789'"), ("interval", "'-1 year +2 days'"), ("interval", "'0'"),
    ("uuid", "'00112233-4455-6677-8899-AABBCCDDEEFF'"), ("json", "'{\"a\": 1,  \"a\":2}'"),
    ("jsonb", "'{\"b\":1,\"a\":null}'"), ("jsonb", "'null'"), ("jsonpath", "'$.a[*] ? (@ > 2)'"),
    ("inet", "'192.168.0.1'"), ("inet", "'fe80::1/64'"), ("cidr", "'10/8'"), ("money", "-1234.5"),
    ("mood", "'so so'"), ("short_text", "'ab'"), ("amount", "12.5"), ("int4[]", "'{1,NULL,3}'"), ("int4[]", "'{}'"),
    ("int8[]", "'[2:3][-1:0]={{1,2},{3,NULL}}'"),
    ("text[]", "ARRAY['', 'NULL', NULL, 'a,b', '\"q\"', 'back\\slash', '{x}', ' ', 'plain']"),
    ("bool[]", "'{t,f}'"), ("date[]", "'{0044-03-15 BC,infinity}'"), ("float8[]", "'{0.1,1e300}'"),
    ("timestamptz[]", "ARRAY['2024-01-01 00:00:00+00'::timestamptz]"), ("interval[]", "ARRAY['1 day'::interval]"),
    ("bytea[]", "ARRAY['\\x00ff'::bytea]"), ("jsonb[]", "ARRAY['{\"a\": 1}'::jsonb]"), ("money[]", "'{$1,000.50}'"),
    ("box[]", "ARRAY[box '((3,4),(1,2))', box '((1,1),(0,0))']"), ("mood[]", "'{ok,\"so so\",NULL}'"),
    ("hstore", "'a=>1,b=>NULL'"), ("pair", "ROW(1, 'a \"q\"')"), ("point", "'(1,2.5)'"), ("line", "'{1,2,3}'"),
    ("lseg", "'[(1,2),(3,4)]'"), ("box", "'(3,4),(1,2)'"), ("path", "'((1,2),(3,4))'"), ("polygon", "'((1,2),(3,4.1))'"),
    ("circle", "'<(1,2),0.1>'"), ("int4range", "'[1,5]'"), ("numrange", "'(1.5,)'"), ("tsrange", "'[2024-01-01,infinity)'"),
    ("tstzrange", "'[2024-01-01 00:00+02,)'"), ("daterange", "'empty'"), ("int8range", "'(,5)'"), ("tstzmultirange", "'{}'"),
    ("int4multirange", "'{[1,3),[5,8)}'"), ("bit(4)", "B'1010'"), ("varbit", "B''"), ("macaddr", "'08:00:2b:01:02:03'"),
    ("macaddr8", "'08:00:2b:01:02:03:04:05'"), ("pg_lsn", "'16/B374D848'"), ("tid", "'(1,2)'"), ("xid", "'7'"), ("cid", "'7'"),
    ("tsvector", "'a:1'"), ("tsquery", "'a & !b'"), ("int2vector", "'1 2'"), ("oidvector", "'1 2'"),
    ("regclass", "'pg_class'"), ("regtype", "'int4'"), ("regproc", "'now'"), ("regrole", "'postgres'"),
    ("text", "NULL"), ("int4", "NULL"), ("text", "repeat('long', 300000)"),
];

#[tokio::test]
async fn values_are_byte_for_byte_what_the_stream_sends() {
    // Formats of server, database and role that must not leak.
    let pg = Postgres::start(
        Options::default()
            .with("datestyle", "SQL, DMY")
            .with("timezone", "Asia/Kathmandu")
            .with("intervalstyle", "iso_8601"),
    );
    pg.psql(
        "CREATE EXTENSION citext; CREATE EXTENSION hstore;
         CREATE TYPE mood AS ENUM ('sad', 'so so', 'ok'); CREATE TYPE pair AS (a int, b text);
         CREATE DOMAIN short_text AS varchar(8); CREATE DOMAIN amount AS numeric(10,2);
         ALTER ROLE postgres SET bytea_output = 'escape'; ALTER ROLE postgres SET extra_float_digits = 0",
    );
    let columns: Vec<String> = VALUES
        .iter()
        .enumerate()
        .map(|(at, (sql_type, _))| format!("c{at} {sql_type}"))
        .collect();
    let values: Vec<&str> = VALUES.iter().map(|(_, value)| *value).collect();
    pg.psql(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, gone int, {})",
        columns.join(", ")
    ));
    pg.psql("ALTER TABLE t DROP COLUMN gone");
    let mut consumer = attach(&pg).await;
    pg.psql(&format!("INSERT INTO t VALUES (1, {})", values.join(", ")));
    let mut decoder = Decoder::new(Types::default(), Vec::new());
    let streamed = 'found: loop {
        if let Event::Frames(frames) = consumer.replication.next().await.unwrap() {
            for frame in frames {
                if let Some(Decoded::Change(change)) = decoder.decode(&frame).unwrap()
                    && let Kind::Insert { new } = change.kind
                {
                    break 'found new;
                }
            }
        }
    };
    let page = reader(&pg, SUPERUSER)
        .page(&request(oid(&pg, "t"), 10))
        .await
        .unwrap();
    assert_eq!(page.rows.len(), 1);
    assert_eq!(page.table.columns.len(), VALUES.len() + 1);
    assert_eq!(page.table.dropped, [2]);
    assert_eq!(page.table.columns[1].attnum, 3);
    assert_eq!(page.rows[0].spans.len(), streamed.spans.len());
    for at in 0..streamed.spans.len() {
        let what = at.checked_sub(1).map_or("id", |at| VALUES[at].0);
        assert_eq!(page.rows[0].get(at), streamed.get(at), "{what}");
    }
}

#[tokio::test]
async fn the_publication_and_the_user_choose_rows_and_columns() {
    let pg = server(Options::default());
    pg.psql(
        "CREATE TABLE listed (secret text, id int PRIMARY KEY, v text, twice int GENERATED ALWAYS AS (id * 2) STORED);
         INSERT INTO listed SELECT 's', g, 'v' || g FROM generate_series(1, 100) g;
         CREATE TABLE child () INHERITS (listed); INSERT INTO child VALUES ('s', 1000, 'child');
         CREATE TABLE parts (id int, region text, v text, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
         CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN ('a');
         CREATE TABLE parts_b (v text, gone int, region text NOT NULL, id int NOT NULL);
         ALTER TABLE parts_b DROP COLUMN gone; ALTER TABLE parts ATTACH PARTITION parts_b FOR VALUES IN ('b');
         INSERT INTO parts SELECT g, CASE WHEN g % 3 = 0 THEN 'a' ELSE 'b' END, 'v' FROM generate_series(1, 50) g;
         CREATE PUBLICATION syncline FOR TABLE ONLY listed, parts WITH (publish_via_partition_root = true)",
    );
    let reader = reader(&pg, SUPERUSER);
    let listed = oid(&pg, "listed");
    let (rows, pages) = read_all(&reader, request(listed, 30)).await;
    assert_eq!(
        rows,
        select(&pg, "SELECT secret, id, v FROM ONLY listed ORDER BY id").await
    );
    assert!(pages[0].table.published);
    let parts = oid(&pg, "parts");
    let (rows, _) = read_all(&reader, request(parts, 7)).await;
    assert_eq!(
        rows,
        select(&pg, "SELECT * FROM parts ORDER BY region, id").await
    );
    assert_eq!(reader.rows(parts, None).await.unwrap(), 50);
    assert_eq!(reader.rows(listed, None).await.unwrap(), 100);

    // The user's own condition; with a comment, and with a mistake.
    let with = |filter: &str| PageRequest {
        filter: Some(filter.to_owned()),
        ..request(listed, 30)
    };
    for filter in [
        "id > 10 AND id <= 45 OR id = 3",
        "id > 10 AND id <= 45 OR id = 3 -- (some",
    ] {
        let (rows, _) = read_all(&reader, with(filter)).await;
        assert_eq!(rows.len(), 36, "{filter}");
        assert_eq!(reader.rows(listed, Some(filter)).await.unwrap(), 36);
    }
    for (filter, said) in [
        ("idd > 10", "column \"idd\" does not exist"),
        ("id >", "syntax error"),
        ("true) OR (true", "syntax error"),
        ("true); COMMIT; DROP TABLE t; SELECT (1", "syntax error"),
        ("true; DROP TABLE t", "cannot insert multiple commands"),
        ("id = 'x'", "invalid input syntax"),
    ] {
        let error = refused(&reader, &with(filter)).await;
        assert!(error.to_string().contains(said), "{filter}: {error}");
        assert!(error.remedy.is_some());
        assert!(reader.rows(listed, Some(filter)).await.is_err());
    }
    // An error of a row quotes no value.
    let error = refused(&reader, &with("v::int > 1")).await;
    assert!(!error.to_string().contains("v1"), "{error}");

    if pg.major() >= 15 {
        pg.psql("ALTER PUBLICATION syncline SET TABLE ONLY listed (v, id) WHERE (id % 2 = 0), parts (v) WHERE (id > 10)");
        let (rows, pages) = read_all(&reader, request(listed, 30)).await;
        assert_eq!(
            rows,
            select(
                &pg,
                "SELECT id, v FROM ONLY listed WHERE id % 2 = 0 ORDER BY id"
            )
            .await
        );
        assert_eq!(pages[0].table.columns.len(), 2);
        assert_eq!(pages[0].last, Some(vec!["60".to_owned()]));
        assert_eq!(reader.rows(listed, None).await.unwrap(), 50);
        // The key need not be sent.
        let (rows, pages) = read_all(&reader, request(parts, 7)).await;
        assert_eq!(rows.len(), 40);
        assert_eq!(rows[0], [Some("v".to_owned())]);
        assert_eq!(pages[0].last.as_ref().unwrap().len(), 2);
        let (rows, _) = read_all(&reader, with("id > 90")).await;
        assert_eq!(rows.len(), 5);
    }
}

#[tokio::test]
async fn a_page_ends_with_the_row_that_passes_its_bytes() {
    let pg = server(Options::default());
    pg.psql("INSERT INTO t SELECT g, repeat('x', CASE g WHEN 70 THEN 3000000 ELSE 1000 END) FROM generate_series(1, 500) g");
    let reader = reader(&pg, SUPERUSER);
    let request = PageRequest {
        bytes: 100_000,
        ..request(oid(&pg, "t"), 400)
    };
    let (rows, pages) = read_all(&reader, request).await;
    assert_eq!(rows.len(), 500);
    let ids: Vec<i32> = rows
        .iter()
        .map(|r| r[0].as_ref().unwrap().parse().unwrap())
        .collect();
    assert!(ids.iter().copied().eq(1..=500));
    let sizes: Vec<usize> = pages.iter().map(|p| p.rows[0].frame.len()).collect();
    assert!(
        sizes
            .iter()
            .all(|size| *size < 102_000 || *size > 3_000_000),
        "{sizes:?}"
    );
    assert_eq!(sizes.iter().filter(|size| **size > 3_000_000).count(), 1);
    assert!(pages.len() <= 7, "{sizes:?}");
    // One buffer a page.
    for page in &pages {
        let first = page.rows[0].frame.as_ptr();
        assert!(page.rows.iter().all(|row| row.frame.as_ptr() == first));
    }
}

#[tokio::test]
async fn pages_go_by_the_index() {
    let pg = server(
        Options::default()
            .with("session_preload_libraries", "auto_explain")
            .with("auto_explain.log_min_duration", "0"),
    );
    // Not analysed: the planner knows nothing of them.
    pg.psql(
        "ALTER TABLE t SET (autovacuum_enabled = off);
         CREATE TABLE pairs (a uuid, b text, c int, PRIMARY KEY (a, b)) WITH (autovacuum_enabled = off);
         CREATE TABLE parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
         CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (40000) WITH (autovacuum_enabled = off);
         CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (40000) TO (900000) WITH (autovacuum_enabled = off);
         INSERT INTO t SELECT g, 'x' FROM generate_series(1, 100000) g;
         INSERT INTO parts SELECT g, 'x' FROM generate_series(1, 100000) g;
         INSERT INTO pairs SELECT md5(g::text)::uuid, g % 10, g FROM generate_series(1, 100000) g",
    );
    let reader = reader(&pg, SUPERUSER);
    for (table, after) in [
        ("t", vec!["50000"]),
        ("pairs", vec!["80000000-0000-0000-0000-000000000000", "5"]),
        ("parts", vec!["39990"]),
    ] {
        for analysed in [false, true] {
            if analysed {
                pg.psql(&format!("ANALYZE {table}"));
            }
            let before = pg.log().len();
            let request = PageRequest {
                after: Some(after.iter().map(|v| (*v).to_owned()).collect()),
                ..request(oid(&pg, table), 5000)
            };
            let page = reader.page(&request).await.unwrap();
            assert_eq!(page.rows.len(), 5000);
            let log = &pg.log()[before..];
            let at = log
                .find("syncline_page NO SCROLL")
                .expect("the query's plan");
            let plan: Vec<&str> = log[at..]
                .lines()
                .take_while(|l| l.starts_with('\t') || l.contains("syncline_page"))
                .collect();
            let plan = plan.join("\n");
            assert!(plan.contains("Index Scan using"), "{plan}");
            assert!(plan.contains("Index Cond"), "{plan}");
            assert!(
                !plan.contains("Sort") && !plan.contains("Seq Scan"),
                "{plan}"
            );
            assert!(!plan.contains("Filter:"), "{plan}");
        }
    }
}

#[tokio::test]
async fn missing_rights_are_named_with_their_grants() {
    let pg = server(Options::default());
    pg.psql(
        "CREATE ROLE sync LOGIN; CREATE SCHEMA shop; CREATE TABLE shop.o (id int PRIMARY KEY, a text, \"B\" text);
         INSERT INTO shop.o VALUES (1, 'a', 'b');
         REVOKE EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text) FROM public",
    );
    let reader = reader(&pg, "sync");
    let request = request(oid(&pg, "shop.o"), 5);
    for (lacks, expected) in [
        (
            "may not use the schema shop",
            "GRANT USAGE ON SCHEMA \"shop\" TO \"sync\";",
        ),
        (
            "may not read the table",
            "GRANT SELECT ON \"shop\".\"o\" TO \"sync\";",
        ),
    ] {
        let error = refused(&reader, &request).await;
        assert!(error.to_string().contains(lacks), "{error}");
        assert!(
            error.remedy.as_ref().unwrap().contains(expected),
            "{error:?}"
        );
        assert!(reader.rows(request.table, None).await.is_err());
        pg.psql(expected);
    }
    assert_eq!(reader.page(&request).await.unwrap().rows.len(), 1);
    // Some columns only: named, and enough once they are all there.
    pg.psql("REVOKE SELECT ON shop.o FROM sync; GRANT SELECT (id) ON shop.o TO sync");
    let error = refused(&reader, &request).await;
    assert!(error.to_string().contains("columns a, B"), "{error}");
    pg.psql(error.remedy.as_ref().unwrap());
    assert_eq!(
        pg.psql("SELECT has_table_privilege('sync', 'shop.o', 'SELECT')"),
        "f"
    );
    let page = reader.page(&request).await.unwrap();
    assert_eq!(
        texts(&page.rows[0]),
        ["1", "a", "b"].map(|v| Some(v.to_owned()))
    );
    assert_eq!(reader.rows(request.table, None).await.unwrap(), 1);
    // Policies would hide rows without a word.
    pg.psql("ALTER TABLE shop.o ENABLE ROW LEVEL SECURITY");
    let error = refused(&reader, &request).await;
    assert!(error.to_string().contains("row level security"), "{error}");
    pg.psql(error.remedy.as_ref().unwrap());
    assert_eq!(reader.page(&request).await.unwrap().rows.len(), 1);

    let error = reader.mark("x").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::SourceRefused);
    pg.psql(error.remedy.as_ref().unwrap());
    assert!(reader.mark("x").await.unwrap() > 3);
}
