//! Getting in, by every door, over both connections; and what is said when a door is shut.

use std::path::Path;

use syncline::capture::{Conninfo, Replication, Sql, prepare};
use syncline::config;
use syncline::fault::{Error, ErrorKind, Result};

use crate::harness::{server, source, tables};
use crate::support::postgres::{Options, Postgres};

const HBA: &str = "
local all postgres trust
local all all scram-sha-256
host all postgres all trust
host all trusty all trust
host all plain all password
host all md all md5
host all scram,norepl all scram-sha-256
hostssl all tlsonly all scram-sha-256
hostnossl all notls all scram-sha-256
";

fn guarded(tls: bool) -> Postgres {
    let pg = server(Options {
        hba: Some(HBA.to_owned()),
        tls,
        ..Options::default()
    });
    pg.psql("CREATE PUBLICATION syncline FOR TABLE t");
    for role in ["trusty", "plain", "scram", "tlsonly", "notls", "shut"] {
        pg.psql(&format!(
            "CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'pass word'"
        ));
    }
    pg.psql("CREATE ROLE norepl LOGIN PASSWORD 'pass word'");
    pg.psql(
        "SET password_encryption = 'md5'; CREATE ROLE md LOGIN REPLICATION PASSWORD 'pass word'",
    );
    pg
}

fn with_password(url: &str, password: Option<&str>) -> config::Source {
    let mut source = source(url);
    source.password = password.map(|p| config::Secret(p.to_owned()));
    source
}

/// Both connections; returns whether the replication connection used TLS.
async fn enter(pg: &Postgres, source: &config::Source) -> Result<bool> {
    let info = Conninfo::from_config(source)?;
    let sql = Sql::connect(&info).await?;
    let prepared = prepare(&sql, source, &tables(), None).await?;
    let stream = Replication::start(info, source, &prepared.identity, prepared.start).await?;
    // The newest of its kind: the one before may still be on its way out.
    let newest = |kind: &str| {
        pg.psql(&format!(
            "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
             WHERE application_name LIKE 'syncline%' AND backend_type = '{kind}' \
             ORDER BY backend_start DESC LIMIT 1"
        ))
    };
    let (tls, ordinary) = (newest("walsender"), newest("client backend"));
    assert_eq!(tls, ordinary, "both connections obey the same rules");
    stream.stop().await;
    sql.drop_slot(&source.slot).await?;
    Ok(tls == "t")
}

async fn refused(pg: &Postgres, url: &str, password: Option<&str>) -> Error {
    let error = enter(pg, &with_password(url, password)).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("pass word"));
    assert!(error.remedy.is_some(), "{error}");
    error
}

fn at(pg: &Postgres, user: &str, rest: &str) -> String {
    format!("postgres://{user}@localhost:{}/postgres{rest}", pg.port())
}

#[tokio::test]
async fn every_method_lets_the_right_password_in() {
    let pg = guarded(false);
    for user in ["trusty", "plain", "md", "scram", "notls"] {
        let url = at(&pg, user, "");
        let tls = enter(&pg, &with_password(&url, Some("pass word"))).await;
        assert!(!tls.unwrap_or_else(|e| panic!("{user}: {e}")), "{user}");
    }
    for user in ["plain", "md", "scram"] {
        let error = refused(&pg, &at(&pg, user, ""), Some("wrong")).await;
        assert_eq!(error.kind, ErrorKind::SourceRefused, "{user}: {error}");
        assert!(error.to_string().contains("is wrong"), "{user}: {error}");
        let error = refused(&pg, &at(&pg, user, ""), None).await;
        assert_eq!(error.kind, ErrorKind::SourceRefused, "{user}: {error}");
        assert!(error.to_string().contains("none is set"), "{user}: {error}");
    }
}

#[tokio::test]
async fn a_unix_socket_is_a_door_too() {
    let pg = guarded(false);
    let dir = pg.socket_dir().display().to_string();
    let encoded = dir.replace('/', "%2F");
    for url in [
        format!("postgres://scram@{encoded}:{}/postgres", pg.port()),
        format!(
            "host={dir} port={} user=scram dbname=postgres sslmode=verify-full",
            pg.port()
        ),
    ] {
        enter(&pg, &with_password(&url, Some("pass word")))
            .await
            .unwrap();
    }
    let url = format!("host={dir} port=1 user=scram dbname=postgres");
    let error = refused(&pg, &url, None).await;
    assert_eq!(error.kind, ErrorKind::SourceUnreachable);
    assert!(error.to_string().contains("no socket"), "{error}");
}

#[tokio::test]
async fn tls_goes_as_far_as_sslmode_says() {
    let pg = guarded(true);
    let root = pg.root_cert().display().to_string();
    let port = pg.port();
    let go = |url: String| {
        let pg = &pg;
        async move { enter(pg, &with_password(&url, Some("pass word"))).await }
    };
    let with = |rest: &str| at(&pg, "scram", rest);
    assert!(!go(with("?sslmode=disable")).await.unwrap());
    assert!(
        go(with("")).await.unwrap(),
        "prefer takes TLS where it is offered"
    );
    assert!(go(with("?sslmode=require")).await.unwrap());
    assert!(
        go(with("?sslmode=require&channel_binding=require"))
            .await
            .unwrap()
    );
    assert!(
        go(with("?sslmode=require&channel_binding=disable"))
            .await
            .unwrap()
    );
    assert!(
        go(with(&format!("?sslmode=verify-ca&sslrootcert={root}")))
            .await
            .unwrap()
    );
    assert!(
        go(with(&format!(
            "?sslmode=verify-full&sslrootcert={root}&channel_binding=require"
        )))
        .await
        .unwrap()
    );
    let by_address = format!(
        "postgres://scram@127.0.0.1:{port}/postgres?sslmode=verify-full&sslrootcert={root}"
    );
    assert!(go(by_address).await.unwrap());
    assert!(go(at(&pg, "tlsonly", "")).await.unwrap());
    // `prefer` comes back without TLS where the server wants none.
    assert!(!go(at(&pg, "notls", "")).await.unwrap());

    // The wrong name: only verify-full minds.
    let named = |mode: &str| {
        format!(
            "host=db.example hostaddr=127.0.0.1 port={port} user=scram dbname=postgres sslmode={mode} sslrootcert={root}"
        )
    };
    assert!(go(named("verify-ca")).await.unwrap());
    let error = refused(&pg, &named("verify-full"), Some("pass word")).await;
    assert_eq!(error.kind, ErrorKind::SourceRefused);
    assert!(error.to_string().contains("another host"), "{error}");

    // Another authority: require with a root certificate minds too.
    let dir = tempfile::tempdir().unwrap();
    let other = stranger(dir.path());
    for mode in ["require", "verify-ca", "verify-full"] {
        let url = with(&format!("?sslmode={mode}&sslrootcert={other}"));
        let error = refused(&pg, &url, Some("pass word")).await;
        assert!(
            error.to_string().contains("trusted authority"),
            "{mode}: {error}"
        );
    }
    let error = refused(
        &pg,
        &with("?sslmode=verify-full&sslrootcert=/nonexistent"),
        None,
    )
    .await;
    assert_eq!(error.kind, ErrorKind::Usage);
    let error = refused(
        &pg,
        &with("?sslmode=disable&channel_binding=require"),
        Some("pass word"),
    )
    .await;
    assert!(
        error.to_string().contains("authentication") || error.to_string().contains("channel"),
        "{error}"
    );
    let error = refused(
        &pg,
        &at(&pg, "tlsonly", "?sslmode=disable"),
        Some("pass word"),
    )
    .await;
    assert!(error.remedy.unwrap().contains("pg_hba.conf"));
    // A password in clear text goes through TLS.
    assert!(go(at(&pg, "plain", "?sslmode=require")).await.unwrap());
    assert!(go(at(&pg, "md", "?sslmode=require")).await.unwrap());
}

/// The certificate of an authority that signed nothing.
fn stranger(dir: &Path) -> String {
    let out = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args([
            "-days",
            "2",
            "-subj",
            "/CN=stranger",
            "-keyout",
            "other.key",
            "-out",
            "other.crt",
        ])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(out.status.success());
    dir.join("other.crt").display().to_string()
}

#[tokio::test]
async fn a_certificate_can_be_trusted_by_itself() {
    let pg = guarded(true);
    let data = pg.socket_dir();
    // The server's own certificate as the only root.
    let own = data.join("server.crt").display().to_string();
    for mode in ["verify-ca", "verify-full"] {
        let url = at(&pg, "scram", &format!("?sslmode={mode}&sslrootcert={own}"));
        assert!(
            enter(&pg, &with_password(&url, Some("pass word")))
                .await
                .unwrap()
        );
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_required() {
    let pg = guarded(false);
    for mode in ["require", "verify-full"] {
        let error = refused(
            &pg,
            &at(&pg, "scram", &format!("?sslmode={mode}")),
            Some("pass word"),
        )
        .await;
        assert_eq!(error.kind, ErrorKind::SourceRefused);
        assert!(error.to_string().contains("does not offer TLS"), "{error}");
    }
}

#[tokio::test]
async fn each_refusal_says_what_to_do() {
    let pg = guarded(false);
    let error = refused(&pg, &at(&pg, "shut", ""), Some("pass word")).await;
    assert_eq!(error.kind, ErrorKind::SourceRefused);
    assert!(error.remedy.unwrap().contains("pg_hba.conf"));

    let error = refused(&pg, &at(&pg, "norepl", ""), Some("pass word")).await;
    assert_eq!(error.kind, ErrorKind::SourceRefused);
    assert_eq!(
        error.remedy.unwrap().split("; (").next(),
        Some("as a superuser: ALTER ROLE \"norepl\" REPLICATION")
    );

    let url = format!("postgres://trusty@localhost:{}/nowhere", pg.port());
    let error = refused(&pg, &url, None).await;
    assert!(
        error.to_string().contains("no database \"nowhere\""),
        "{error}"
    );

    let error = refused(&pg, "postgres://u@host.invalid/d", None).await;
    assert_eq!(error.kind, ErrorKind::SourceUnreachable);
    assert!(error.to_string().contains("host.invalid"), "{error}");

    let error = refused(&pg, "postgres://u@127.0.0.1:1/d", None).await;
    assert_eq!(error.kind, ErrorKind::SourceUnreachable);
    assert!(error.to_string().contains("no server listens"), "{error}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let url = format!("postgres://u@127.0.0.1:{port}/d?connect_timeout=2");
    let error = Sql::connect(&Conninfo::from_config(&source(&url)).unwrap()).await;
    let Err(error) = error else {
        panic!("connected")
    };
    assert_eq!(error.kind, ErrorKind::SourceUnreachable);
    assert!(error.to_string().contains("did not answer"), "{error}");
}

#[tokio::test]
async fn settings_of_the_role_do_not_reach_the_values() {
    let pg = server(Options::default());
    pg.psql("ALTER ROLE postgres SET datestyle = 'SQL, DMY'; ALTER ROLE postgres SET timezone = 'Asia/Kolkata'; ALTER ROLE postgres SET bytea_output = 'escape'; ALTER DATABASE postgres SET extra_float_digits = 0");
    pg.psql("CREATE TABLE v (id int PRIMARY KEY, at timestamptz, b bytea, f float8)");
    pg.psql("CREATE PUBLICATION syncline FOR TABLE t, v");
    let mut consumer = crate::harness::attach(&pg).await;
    pg.psql(
        "INSERT INTO v VALUES (1, '2024-01-01 00:00:00Z', '\\x00ff', 0.1::float8 + 0.2::float8)",
    );
    use syncline::capture::{Event, Source};
    let text = loop {
        let Event::Frames(frames) = consumer.replication.next().await.unwrap() else {
            continue;
        };
        if let Some(insert) = frames.iter().find(|f| f.payload[0] == b'I') {
            break String::from_utf8_lossy(&insert.payload).into_owned();
        }
    };
    for wanted in ["2024-01-01 00:00:00+00", "\\x00ff", "0.30000000000000004"] {
        assert!(text.contains(wanted), "{text:?}");
    }
}
