//! A Postgres server of one's own: on a free port of 127.0.0.1 and on a Unix socket, in a directory
//! that goes with it.
//!
//! The binaries are those of `SYNCLINE_TEST_POSTGRES_BIN`, else Debian's newest. The cluster is made
//! once a test process and copied. `initdb` refuses root, so under root the server runs as
//! `postgres`, or `nobody`.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How the server is to be.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Lines of `postgresql.conf`, e.g. `("wal_sender_timeout", "2s")`. `wal_level` is `logical`
    /// unless stated.
    pub settings: Vec<(&'static str, String)>,
    /// The whole `pg_hba.conf`; by default everybody is trusted.
    pub hba: Option<String>,
    /// With a certificate for `localhost` and 127.0.0.1; see [`Postgres::root_cert`].
    pub tls: bool,
}

impl Options {
    /// Adds a setting.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.settings.push((name, value.into()));
        self
    }
}

/// How to stop it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// Waits for clients.
    Smart,
    /// Ends clients, writes a checkpoint, waits for walsenders.
    Fast,
    /// As if it had crashed.
    Immediate,
}

/// A running server. Dropping it ends it and removes its files.
pub struct Postgres {
    dir: tempfile::TempDir,
    port: u16,
    server: Option<Child>,
}

/// The superuser.
pub const SUPERUSER: &str = "postgres";

impl Postgres {
    /// Starts a server.
    pub fn start(options: Options) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("syncline-pg-")
            .tempdir_in("/tmp")
            .unwrap();
        give(dir.path());
        let data = dir.path().join("data");
        let copied = Command::new("cp")
            .arg("-a")
            .arg(template())
            .arg(&data)
            .status()
            .unwrap();
        assert!(copied.success(), "cannot copy the template cluster");
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .unwrap()
            .port();
        let mut conf = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\n\
             fsync = off\nwal_level = logical\nmax_wal_senders = 10\nmax_replication_slots = 10\n\
             max_connections = 40\nshared_buffers = 32MB\nlog_min_messages = info\n",
            dir.path().display()
        );
        if options.tls {
            certificates(dir.path());
            conf += "ssl = on\nssl_cert_file = '../server.crt'\nssl_key_file = '../server.key'\nssl_ca_file = '../ca.crt'\n";
        }
        for (name, value) in &options.settings {
            conf += &format!("{name} = '{value}'\n");
        }
        append(&data.join("postgresql.conf"), &conf);
        let hba = options.hba.unwrap_or_else(|| {
            "local all,replication all trust\nhost all all all trust\n".to_owned()
        });
        fs::write(data.join("pg_hba.conf"), hba).unwrap();
        let mut postgres = Postgres {
            dir,
            port,
            server: None,
        };
        postgres.start_again();
        postgres
    }

    /// Port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Directory of the Unix socket.
    pub fn socket_dir(&self) -> &Path {
        self.dir.path()
    }

    /// The authority that signed the server's certificate (with `tls`).
    pub fn root_cert(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    /// URL of the database `postgres` by TCP, without a password.
    pub fn url(&self, user: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/postgres", self.port)
    }

    /// Where the server writes its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Runs statements as superuser by the Unix socket; returns unaligned rows.
    pub fn psql(&self, sql: &str) -> String {
        self.psql_in("postgres", sql)
    }

    /// The same in another database.
    pub fn psql_in(&self, database: &str, sql: &str) -> String {
        match self.try_psql(database, sql) {
            Ok(out) => out,
            Err(err) => panic!("psql: {err}\n{sql}"),
        }
    }

    fn try_psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let out = Command::new("psql")
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                SUPERUSER,
            ])
            .args(["-p", &self.port.to_string(), "-d", database, "-c", sql])
            .arg("-h")
            .arg(self.dir.path())
            .env_remove("PGPASSWORD")
            .output()
            .unwrap();
        if out.status.success() {
            Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&out.stderr).into_owned())
        }
    }

    /// A hot standby that streams from this server.
    pub fn standby(&self) -> Postgres {
        let dir = tempfile::Builder::new()
            .prefix("syncline-pg-")
            .tempdir_in("/tmp")
            .unwrap();
        give(dir.path());
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .unwrap()
            .port();
        let mut copy = Command::new(binary("pg_basebackup"));
        copy.args(["-R", "-X", "stream", "-c", "fast", "-U", SUPERUSER])
            .args(["-p", &self.port.to_string(), "-h"])
            .arg(self.dir.path())
            .arg("-D")
            .arg(dir.path().join("data"));
        drop_root(&mut copy);
        let out = copy.output().unwrap();
        assert!(
            out.status.success(),
            "pg_basebackup: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        append(
            &dir.path().join("data/postgresql.conf"),
            &format!(
                "port = {port}\nunix_socket_directories = '{}'\n",
                dir.path().display()
            ),
        );
        let mut postgres = Postgres {
            dir,
            port,
            server: None,
        };
        postgres.start_again();
        postgres
    }

    /// Runs statements beside the test, as superuser; drop it to leave them to themselves.
    pub fn start_psql(&self, sql: &str) -> Background {
        let child = Command::new("psql")
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                SUPERUSER,
            ])
            .args(["-p", &self.port.to_string(), "-d", "postgres", "-c", sql])
            .arg("-h")
            .arg(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Background(Some(child))
    }

    /// From here on a transaction that commits is in the WAL, and streamed, and stays invisible: it
    /// waits for a synchronous standby that does not exist. Reads, and sessions with
    /// `synchronous_commit = local`, go on as ever.
    pub fn pause_commits(&self) {
        self.psql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
        self.psql("SELECT pg_reload_conf()");
        // Backends ask shared memory, where the checkpointer says so in its own time.
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let mut probe = self.start_psql("SELECT pg_logical_emit_message(true, 'probe', '')");
            while !probe.ended() {
                if self.paused_commits() > 0 {
                    // It gives up waiting, and is committed.
                    self.psql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
                    probe.wait();
                    return;
                }
                sleep(Duration::from_millis(10));
            }
            assert!(Instant::now() < deadline, "commits do not wait");
        }
    }

    /// Transactions that are committed in the WAL and wait to become visible.
    pub fn paused_commits(&self) -> usize {
        self.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
            .parse()
            .unwrap()
    }

    /// Lets what waits become visible; returns when it is.
    pub fn resume_commits(&self) {
        self.psql("ALTER SYSTEM RESET synchronous_standby_names");
        self.psql("SELECT pg_reload_conf()");
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.paused_commits() > 0 {
            assert!(Instant::now() < deadline, "commits still wait");
            sleep(Duration::from_millis(10));
        }
    }

    /// Stops it and waits for its end.
    pub fn stop(&mut self, how: Stop) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        let signal = match how {
            Stop::Smart => "-TERM",
            Stop::Fast => "-INT",
            Stop::Immediate => "-QUIT",
        };
        let _ = Command::new("kill")
            .args([signal, &server.id().to_string()])
            .status();
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if matches!(server.try_wait(), Ok(Some(_))) {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        let _ = server.kill();
        let _ = server.wait();
        panic!("the server did not stop ({how:?}):\n{}", self.log());
    }

    /// Starts it after a stop, with the same files and port.
    pub fn start_again(&mut self) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .unwrap();
        let mut command = Command::new(binary("postgres"));
        command.arg("-D").arg(self.dir.path().join("data"));
        drop_root(&mut command);
        let server = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.server = Some(server);
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = self.try_psql("postgres", "SELECT 1") {
            assert!(
                Instant::now() < deadline,
                "the server did not start: {error}\n{}",
                self.log()
            );
            sleep(Duration::from_millis(20));
        }
    }

    /// Stops and starts it.
    pub fn restart(&mut self, how: Stop) {
        self.stop(how);
        self.start_again();
    }

    /// Ends the walsenders, as an administrator would; returns how many there were.
    pub fn terminate_walsenders(&self) -> usize {
        self.psql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'walsender'")
            .parse()
            .unwrap()
    }

    /// The server's major version.
    pub fn major(&self) -> u32 {
        self.psql("SELECT current_setting('server_version_num')::int / 10000")
            .parse()
            .unwrap()
    }
}

/// Statements that run beside the test.
pub struct Background(Option<Child>);

impl Background {
    /// Whether they are done.
    pub fn ended(&mut self) -> bool {
        self.0
            .as_mut()
            .is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    /// Waits for their end; returns unaligned rows.
    pub fn wait(mut self) -> String {
        let out = self.0.take().unwrap().wait_with_output().unwrap();
        assert!(
            out.status.success(),
            "psql: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // SIGQUIT lets the postmaster end its children; SIGKILL would orphan them.
            let _ = Command::new("kill")
                .args(["-QUIT", &server.id().to_string()])
                .status();
            let _ = server.wait();
        }
    }
}

/// An empty cluster, made once.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let version = Command::new(binary("postgres"))
            .arg("--version")
            .output()
            .unwrap();
        let version: String = String::from_utf8_lossy(&version.stdout)
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '.')
            .collect();
        // Shared by test processes: the last rename wins, and all of them are equal.
        let done = std::env::temp_dir().join(format!("syncline-cluster-{version}"));
        if done.exists() {
            return done;
        }
        let dir = tempfile::Builder::new()
            .prefix("syncline-initdb-")
            .tempdir_in("/tmp")
            .unwrap();
        give(dir.path());
        let data = dir.path().join("data");
        let mut command = Command::new(binary("initdb"));
        command
            .args([
                "-U",
                SUPERUSER,
                "--auth=trust",
                "--no-sync",
                "-E",
                "UTF8",
                "--locale=C",
            ])
            .arg("-D")
            .arg(&data);
        drop_root(&mut command);
        let out = command.output().unwrap();
        assert!(
            out.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        let _ = fs::rename(&data, &done);
        done
    })
}

fn binary(name: &str) -> PathBuf {
    static BIN: OnceLock<PathBuf> = OnceLock::new();
    BIN.get_or_init(|| {
        if let Some(bin) = std::env::var_os("SYNCLINE_TEST_POSTGRES_BIN") {
            return PathBuf::from(bin);
        }
        let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
            .map(|entries| {
                entries
                    .flatten()
                    .filter_map(|e| Some((e.file_name().to_str()?.parse().ok()?, e.path())))
                    .collect()
            })
            .unwrap_or_default();
        versions.sort();
        let (_, newest) = versions
            .pop()
            .expect("no Postgres found: install one, or set SYNCLINE_TEST_POSTGRES_BIN");
        newest.join("bin")
    })
    .join(name)
}

/// User and group the server runs as, when we are root.
fn account() -> Option<(u32, u32)> {
    static ACCOUNT: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    *ACCOUNT.get_or_init(|| {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let root = status
            .lines()
            .any(|l| l.starts_with("Uid:") && l.split_whitespace().nth(2) == Some("0"));
        if !root {
            return None;
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let find = |name: &str| {
            passwd.lines().find_map(|l| {
                let f: Vec<&str> = l.split(':').collect();
                (f.first() == Some(&name))
                    .then(|| Some((f.get(2)?.parse().ok()?, f.get(3)?.parse().ok()?)))?
            })
        };
        find("postgres").or_else(|| find("nobody"))
    })
}

fn drop_root(command: &mut Command) {
    if let Some((uid, gid)) = account() {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/tmp");
}

fn give(path: &Path) {
    if let Some((uid, gid)) = account() {
        chown(path, Some(uid), Some(gid)).unwrap();
    }
}

fn append(path: &Path, text: &str) {
    let mut all = fs::read_to_string(path).unwrap();
    all.push_str(text);
    fs::write(path, all).unwrap();
}

/// An authority and a server certificate for `localhost` and 127.0.0.1 that it signed.
fn certificates(dir: &Path) {
    let openssl = |args: &[&str]| {
        let out = Command::new("openssl")
            .args(args)
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "openssl: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    };
    fs::write(
        dir.join("san"),
        "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n",
    )
    .unwrap();
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=test authority",
        "-keyout",
        "ca.key",
        "-out",
        "ca.crt",
    ]);
    openssl(&[
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-subj",
        "/CN=server",
        "-keyout",
        "server.key",
        "-out",
        "server.csr",
    ]);
    openssl(&[
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-sha256",
        "-extfile",
        "san",
        "-out",
        "server.crt",
    ]);
    fs::set_permissions(dir.join("server.key"), fs::Permissions::from_mode(0o600)).unwrap();
    for file in ["server.key", "server.crt", "ca.crt"] {
        give(&dir.join(file));
    }
    // The data directory is given away; its parent must let the test process read the authority.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
}
