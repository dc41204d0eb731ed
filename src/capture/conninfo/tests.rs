#![allow(clippy::unwrap_used, clippy::panic)]

use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;

fn source(url: &str) -> config::Source {
    toml::from_str(&format!("url = {}", toml::Value::String(url.to_owned()))).unwrap()
}

fn env(pairs: &[(&str, &str)]) -> Environment {
    Environment {
        variables: pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        home: None,
        user: Some("os_user".to_owned()),
    }
}

fn read(url: &str) -> Conninfo {
    Conninfo::resolve(&source(url), &env(&[])).unwrap()
}

fn refuse(url: &str) -> String {
    let error = Conninfo::resolve(&source(url), &env(&[])).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Usage, "{url}");
    format!("{error} / {}", error.remedy.as_deref().unwrap_or_default())
}

fn password(info: &Conninfo) -> Option<&str> {
    info.password.as_ref().map(|p| p.0.as_str())
}

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp {
        host: host.to_owned(),
        hostaddr: None,
        port,
    }
}

#[test]
fn urls_as_libpq_writes_them() {
    let info = read(
        "postgresql://a%40b:p%2F%3A%25@db.example:6432/my%20db?application_name=x&connect_timeout=1&options=-c%20a%3Db",
    );
    assert_eq!(info.user, "a@b");
    assert_eq!(password(&info), Some("p/:%"));
    assert_eq!(info.address, tcp("db.example", 6432));
    assert_eq!(info.database, "my db");
    assert_eq!(info.application_name, "x");
    assert_eq!(info.options.as_deref(), Some("-c a=b"));
    assert_eq!(info.connect_timeout, Some(Duration::from_secs(2)));

    assert_eq!(read("postgres://[::1]:1/x").address, tcp("::1", 1));
    assert_eq!(read("postgres://u@h").database, "u");
    assert_eq!(read("postgres://h/").user, "os_user");
    assert_eq!(
        read("postgres://u@%2Frun%2Fpg:7/d").address,
        Address::Unix {
            directory: "/run/pg".into(),
            port: 7
        }
    );
    assert_eq!(
        read("postgres:///d?host=/run/pg&port=8").address,
        Address::Unix {
            directory: "/run/pg".into(),
            port: 8
        }
    );
    assert_eq!(read("postgres://u:a@b@h/d").user, "u");
    assert_eq!(read("postgres://h/d?ssl=true").tls.mode, SslMode::Require);
    assert_eq!(read("postgres://h/d").tls.mode, SslMode::Prefer);
}

#[test]
fn pairs_as_libpq_writes_them() {
    let info =
        read(r"host = h port=1 user='it\'s' password=a\ b dbname='a b\\' sslmode=verify-full");
    assert_eq!(info.user, "it's");
    assert_eq!(password(&info), Some("a b"));
    assert_eq!(info.database, r"a b\");
    assert_eq!(info.tls.mode, SslMode::VerifyFull);
    assert_eq!(read("").user, "os_user");
    assert_eq!(
        read("host=h hostaddr=10.0.0.1").address,
        Address::Tcp {
            host: "h".into(),
            hostaddr: Some("10.0.0.1".parse().unwrap()),
            port: 5432
        }
    );
}

#[test]
fn what_is_not_supported_is_said() {
    assert!(refuse("postgres://a,b/d").contains("several servers"));
    assert!(refuse("host=a,b").contains("several servers"));
    assert!(refuse("postgres://h/d?target_session_attrs=read-write").contains("primary"));
    assert!(refuse("service=x").contains("service"));
    assert!(refuse("sslmode=allow").contains("prefer"));
    assert!(refuse("sslmode=verify-ca").contains("root certificate"));
    assert!(refuse("sslmode=require sslrootcert=system").contains("verify-full"));
    assert!(refuse("sslnegotiation=direct").contains("sslmode=require"));
    assert!(refuse("mysql://h/d").contains("postgres://"));
    assert!(refuse("port=0").contains("65535"));
    assert!(refuse("postgres://[::1/d").contains("IPv6"));
    assert!(refuse("postgres://u:a%zz@h/d").contains("%25"));
}

#[test]
fn no_error_and_no_output_shows_a_password() {
    for url in [
        "password=hunter2 hunter2",
        "password=x hunter2=1",
        "password='hunter2",
        "postgres://u:hunter2/hunter2@h/d",
        "postgres://u:%zzhunter2@h/d",
        "postgres://h/d?password=a&hunter2=3",
        "postgres://h/d?password=a&hunter2",
        "postgres://u:hunter2@a,b/d",
    ] {
        assert!(!refuse(url).contains("hunter2"), "{url}");
    }
    let info = read("postgres://u:hunter2@h/d");
    assert!(!format!("{info:?} {info}").contains("hunter2"));
}

#[test]
fn the_environment_gives_defaults_only() {
    let e = env(&[
        ("PGHOST", "eh"),
        ("PGPORT", "77"),
        ("PGUSER", "eu"),
        ("PGDATABASE", "ed"),
        ("PGPASSWORD", "ep"),
        ("PGSSLMODE", "disable"),
    ]);
    let info = Conninfo::resolve(&source("postgres://"), &e).unwrap();
    assert_eq!(info.address, tcp("eh", 77));
    assert_eq!((info.user.as_str(), info.database.as_str()), ("eu", "ed"));
    assert_eq!(password(&info), Some("ep"));
    assert_eq!(info.tls.mode, SslMode::Disable);
    let info = Conninfo::resolve(&source("postgres://u:p@h:1/d?sslmode=require"), &e).unwrap();
    assert_eq!(info.address, tcp("h", 1));
    assert_eq!(password(&info), Some("p"));
    assert_eq!(info.tls.mode, SslMode::Require);
}

#[test]
fn passwords_are_looked_for_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "from file\nrest").unwrap();
    let pass = dir.path().join(".pgpass");
    std::fs::write(&pass, "*:*:*:*:from pgpass\n").unwrap();
    std::fs::set_permissions(&pass, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut e = env(&[("PGPASSWORD", "from env")]);
    e.home = Some(dir.path().to_owned());
    let mut s = source("postgres://u:from%20url@h/d");
    let found = |s: &config::Source, e: &Environment| {
        password(&Conninfo::resolve(s, e).unwrap())
            .unwrap()
            .to_owned()
    };
    s.password = Some(Secret("from config".into()));
    s.password_file = Some(file);
    assert_eq!(found(&s, &e), "from config");
    s.password = None;
    assert_eq!(found(&s, &e), "from file");
    s.password_file = None;
    assert_eq!(found(&s, &e), "from url");
    s.url = "postgres://u@h/d".into();
    assert_eq!(found(&s, &e), "from env");
    e.variables.clear();
    assert_eq!(found(&s, &e), "from pgpass");
}

#[test]
fn pgpass_rules() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pass");
    std::fs::write(
        &file,
        "# comment\nh:5432:d:other:no\n\nh:5432:d\nh:5432:d\\:x:u\\\\:a\\:b:c\nlocalhost:*:*:u:local\n*:*:*:u:any\n",
    )
    .unwrap();
    let look = |host: &str, db: &str, user: &str| pgpass::look_up(&file, host, 5432, db, user);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(look("h", "d", "u").unwrap_err().contains("chmod 0600"));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(look("h", "d", "u").unwrap().as_deref(), Some("any"));
    assert_eq!(look("h", "d:x", "u\\").unwrap().as_deref(), Some("a:b:c"));
    assert_eq!(
        look("localhost", "d", "u").unwrap().as_deref(),
        Some("local")
    );
    assert_eq!(look("h", "d", "nobody").unwrap(), None);
    assert_eq!(
        pgpass::look_up(&dir.path().join("none"), "h", 1, "d", "u"),
        Ok(None)
    );
    assert!(pgpass::look_up(dir.path(), "h", 1, "d", "u").is_err());
}

#[test]
fn a_password_that_looks_like_a_url_makes_none_of_the_whole() {
    let read = read("host=h password='://'");
    assert_eq!(password(&read), Some("://"));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,80}") {
        let _ = Conninfo::resolve(&source(&text), &env(&[]));
        let _ = Conninfo::resolve(&source(&format!("postgres://{text}")), &env(&[]));
    }

    #[test]
    fn any_password_survives_both_forms(word in "[^\\x00]{1,20}") {
        let encoded: String = word.bytes().map(|b| format!("%{b:02X}")).collect();
        let from_url = read(&format!("postgres://u:{encoded}@h/d"));
        prop_assert_eq!(password(&from_url), Some(word.as_str()));
        let quoted = word.replace('\\', r"\\").replace('\'', r"\'");
        let from_pairs = read(&format!("host=h password='{quoted}'"));
        prop_assert_eq!(password(&from_pairs), Some(word.as_str()));
    }
}
