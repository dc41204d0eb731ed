//! A Postgres server of the test's own, and the frames of a slot on it.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use syncline::capture::Frame;
use syncline::value::TypeRow;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// The session settings that the value reader relies on.
const OPTIONS: &str = "-c datestyle=ISO -c intervalstyle=postgres -c extra_float_digits=3 \
                       -c timezone=UTC -c bytea_output=hex -c lc_monetary=C";

/// A running server; it ends with the test.
pub(crate) struct Server {
    postmaster: Child,
    port: u16,
    _directory: TempDir,
}

impl Server {
    /// Starts one in an empty directory, with logical decoding on.
    pub(crate) async fn start() -> Self {
        let directory = TempDir::with_prefix("syncline-decode-").unwrap();
        let user = unprivileged();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o700)).unwrap();
        if let Some((uid, gid)) = user {
            chown(directory.path(), Some(uid), Some(gid)).unwrap();
        }
        let data = directory.path().join("data");
        let initialised = command("initdb", user, directory.path())
            .args([
                "--auth=trust",
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "-D",
            ])
            .arg(&data)
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&initialised.stderr);
        assert!(initialised.status.success(), "initdb: {complaint}");
        let port = free_port();
        let postmaster = command("postgres", user, directory.path())
            .arg("-D")
            .arg(&data)
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                &format!("port={port}"),
            ])
            .args([
                "-c",
                "unix_socket_directories=",
                "-c",
                "wal_level=logical",
                "-c",
                "fsync=off",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let server = Server {
            postmaster,
            port,
            _directory: directory,
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while server.try_connect().await.is_none() {
            assert!(
                Instant::now() < deadline,
                "the server did not start within a minute"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        server
    }

    /// A session with the settings that the value reader relies on.
    pub(crate) async fn connect(&self) -> Client {
        self.try_connect().await.unwrap()
    }

    async fn try_connect(&self) -> Option<Client> {
        let mut config = tokio_postgres::Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user("postgres")
            .dbname("postgres")
            .options(OPTIONS);
        let (client, connection) = config.connect(NoTls).await.ok()?;
        tokio::spawn(connection);
        Some(client)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGQUIT ends it with all its children at once.
        let pid = self.postmaster.id().to_string();
        let _ = Command::new("kill").args(["-QUIT", &pid]).status();
        let _ = self.postmaster.wait();
    }
}

/// A user for the server when we are root, who may not run it.
fn unprivileged() -> Option<(u32, u32)> {
    let id = |args: &[&str]| -> Option<u32> {
        let output = Command::new("id").args(args).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    let of = |name: &str| Some((id(&["-u", name])?, id(&["-g", name])?));
    of("postgres").or_else(|| of("nobody"))
}

fn command(program: &str, user: Option<(u32, u32)>, directory: &Path) -> Command {
    let mut command = Command::new(programs().join(program));
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command.current_dir(directory);
    command
}

/// Where the server's programs are: `PG_BIN`, Debian's newest, or on the path.
fn programs() -> PathBuf {
    if let Some(given) = std::env::var_os("PG_BIN") {
        return given.into();
    }
    let installed = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let newest = installed
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .max();
    newest.unwrap_or_default()
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Makes the slot `s`. Postgres wants that outside of a transaction that has written.
pub(crate) async fn create_slot(client: &Client) {
    let create = "SELECT pg_create_logical_replication_slot('s', 'pgoutput')";
    client.batch_execute(create).await.unwrap();
}

/// The messages that wait in the slot `s`, which keeps them.
pub(crate) async fn peek(client: &Client) -> Vec<Frame> {
    let query = "SELECT lsn::text, data FROM pg_logical_slot_peek_binary_changes('s', NULL, NULL, \
                 'proto_version', '1', 'publication_names', 'p', 'messages', 'true')";
    let rows = client.query(query, &[]).await.unwrap();
    rows.iter()
        .map(|row| Frame {
            lsn: row.get::<_, String>(0).parse().unwrap(),
            payload: Bytes::from(row.get::<_, Vec<u8>>(1)),
        })
        .collect()
}

/// The rows of `pg_type` that are not built in.
pub(crate) async fn types(client: &Client) -> Vec<TypeRow> {
    let query = "SELECT t.oid, n.nspname::text, t.typname::text, t.typtype, t.typbasetype, t.typtypmod, \
                        coalesce((SELECT e.oid FROM pg_type e WHERE e.typarray = t.oid), 0), t.typdelim \
                 FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.oid >= 16384";
    let rows = client.query(query, &[]).await.unwrap();
    rows.iter()
        .map(|row| TypeRow {
            oid: row.get(0),
            schema: row.get::<_, String>(1).into(),
            name: row.get::<_, String>(2).into(),
            kind: row.get::<_, i8>(3) as u8,
            base: row.get(4),
            base_typmod: row.get(5),
            element: row.get(6),
            delimiter: row.get::<_, i8>(7) as u8,
        })
        .collect()
}

/// One row as text, as any read of rows gives it.
pub(crate) async fn text_row(client: &Client, query: &str) -> Vec<Option<String>> {
    let messages = client.simple_query(query).await.unwrap();
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let row = row.unwrap();
    (0..row.len())
        .map(|at| row.get(at).map(str::to_owned))
        .collect()
}
