//! A database, a CRM, a configuration, and the binary.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::postgres::{Options, Postgres};

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn is(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        // No Rust debug output, whatever happened.
        for sign in [
            "panicked",
            "Error {",
            "kind:",
            "Some(",
            "Custom {",
            "Os {",
            "RUST_BACKTRACE",
        ] {
            assert!(!self.err.contains(sign), "{sign}: {self:#?}");
        }
        self
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "not said: {text}\n{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        assert!(self.out.contains(text), "not printed: {text}\n{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }
}

/// The binary with arguments; the environment holds nothing of ours.
pub(crate) fn syncline(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("SYNCLINE_") || name.starts_with("PG") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null());
    command
}

pub(crate) fn end(mut command: Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A child that is ended with the test.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub(crate) fn start(mut command: Command, log: PathBuf) -> Self {
        let file = fs::File::create(&log).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Running {
            child: command.spawn().unwrap(),
            log,
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.log().contains(text) {
            let gone = self.child.try_wait().unwrap();
            assert!(
                gone.is_none() && Instant::now() < deadline,
                "no {text:?} in the log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Exit code, and what it took.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> (i32, Duration) {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code().unwrap_or(-1), begin.elapsed());
            }
            assert!(
                begin.elapsed() < Duration::from_secs(30),
                "it does not end:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The role that the tests run as: no more rights than `sql/` says it needs.
pub(crate) const ROLE: &str = "sync_role";

/// One server for the tests that change nothing of it; each has a database of its own.
pub(crate) fn shared() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| {
        let postgres = Postgres::start(
            Options::default()
                .with("max_replication_slots", "40")
                .with("max_wal_senders", "40"),
        );
        // A static is never dropped: the server ends with the process that started it.
        postgres.psql(&format!("CREATE ROLE {ROLE} LOGIN REPLICATION"));
        die_with_us(&postgres);
        postgres
    })
}

/// Ends the server when this test process ends, however that happens.
#[expect(clippy::zombie_processes, reason = "it outlives us")]
fn die_with_us(postgres: &Postgres) {
    let pid = fs::read_to_string(postgres.socket_dir().join("data/postmaster.pid")).unwrap();
    let pid = pid.lines().next().unwrap().to_owned();
    let script = format!(
        "while kill -0 {} 2>/dev/null; do sleep 0.2; done; kill -QUIT {pid}; sleep 1; rm -rf '{}'",
        std::process::id(),
        postgres.socket_dir().display()
    );
    Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
}

/// One test's place: directory, CRM, configuration.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) crm: Option<Running>,
    pub(crate) crm_port: u16,
    pub(crate) database: String,
    pub(crate) slot: String,
}

pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Place {
    /// With tables `company` and `customer` in a database of its own on `postgres`, owned by the
    /// role, and a CRM that is up and has their fields.
    pub(crate) fn new(postgres: &Postgres, name: &str) -> Self {
        let mut place = Place::without_crm(postgres, name);
        place.start_crm();
        place
    }

    pub(crate) fn without_crm(postgres: &Postgres, name: &str) -> Self {
        let database = format!("db_{name}");
        postgres.psql(&format!("CREATE DATABASE {database} OWNER {ROLE}"));
        postgres.psql_in(
            &database,
            &format!(
                "SET ROLE {ROLE};
                 CREATE TABLE company (id int PRIMARY KEY, name text NOT NULL, phone text);
                 CREATE TABLE customer (id int PRIMARY KEY, last_name text, company_id int);
                 CREATE TABLE bare (id int, name text);"
            ),
        );
        Place::bare(
            &postgres
                .url(ROLE)
                .replace("/postgres", &format!("/{database}")),
            name,
        )
    }

    /// Only a directory with a configuration for this database.
    pub(crate) fn bare(url: &str, name: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("syncline-cli-")
            .tempdir_in("/tmp")
            .unwrap();
        let place = Place {
            dir,
            crm: None,
            crm_port: free_port(),
            database: format!("db_{name}"),
            slot: format!("slot_{name}"),
        };
        place.write_config(&place.config(url));
        place
    }

    pub(crate) fn config(&self, url: &str) -> String {
        format!(
            r#"[source]
url = "{url}"
slot = "{slot}"

[state]
path = "{dir}/state"

[destination]
kind = "salesforce"
url = "http://127.0.0.1:{crm}"
client_id = "sandbox"
client_secret = "sandbox"
requests_per_second = 1000

[admin]
listen = "127.0.0.1:0"

[tables."public.company"]
object = "Account"
key = {{ column = "id", field = "Company_Id__c" }}
on_delete = "delete"
columns.name = "Name"
columns.phone = "Phone"

[tables."public.customer"]
object = "Contact"
key = {{ column = "id", field = "Customer_Id__c" }}
on_delete = "delete"
columns.last_name = "LastName"
columns.company_id = {{ field = "Account", references = "public.company" }}
"#,
            slot = self.slot,
            dir = self.dir.path().display(),
            crm = self.crm_port,
        )
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.dir.path().join("config.toml")
    }

    pub(crate) fn write_config(&self, text: &str) {
        fs::write(self.config_path(), text).unwrap();
    }

    /// Changes a part of the configuration.
    #[track_caller]
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config_path()).unwrap();
        assert!(text.contains(from), "{from}");
        self.write_config(&text.replace(from, to));
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = syncline(args);
        command
            .arg("--config")
            .arg(self.config_path())
            .current_dir(self.dir.path());
        command
    }

    pub(crate) fn cli(&self, args: &[&str]) -> Ended {
        end(self.command(args))
    }

    /// `run`, for tests in which it ends by itself.
    pub(crate) fn run_fails(&self) -> Ended {
        let log = self.dir.path().join("failed.log");
        let mut running = Running::start(self.command(&["run"]), log);
        let (code, _) = running.ended();
        Ended {
            code,
            out: String::new(),
            err: running.log(),
        }
    }

    pub(crate) fn start(&self) -> Running {
        let log = self.dir.path().join("run.log");
        let mut running = Running::start(self.command(&["run"]), log);
        running.wait_for(" running ");
        running
    }

    pub(crate) fn start_crm(&mut self) {
        self.start_bare_crm();
        let field = |object: &str, name: &str| {
            let label = name.trim_end_matches("__c");
            let body = format!(
                r#"{{"type":"Text","label":"{label}","length":40,"externalId":true,"unique":true,"caseSensitive":true}}"#
            );
            self.put(&format!("/sandbox/fields/{object}/{name}"), &body);
        };
        field("Account", "Company_Id__c");
        field("Contact", "Customer_Id__c");
    }

    pub(crate) fn start_bare_crm(&mut self) {
        let listen = format!("127.0.0.1:{}", self.crm_port);
        let command = syncline(&["sandbox", "--listen", &listen]);
        let mut crm = Running::start(command, self.dir.path().join("crm.log"));
        crm.wait_for("Ctrl-C ends it.");
        self.crm = Some(crm);
    }

    pub(crate) fn put(&self, path: &str, body: &str) {
        let (code, answer) = http(self.crm_port, "PUT", path, "", body);
        assert_eq!(code, 200, "{path}: {answer}");
    }

    pub(crate) fn accounts(&self) -> Vec<Value> {
        let (code, answer) = http(self.crm_port, "GET", "/sandbox/records/Account", "", "");
        assert_eq!(code, 200, "{answer}");
        let value: Value = serde_json::from_str(&answer).unwrap();
        match value {
            Value::Array(records) => records,
            Value::Object(map) => map
                .into_iter()
                .find_map(|(_, v)| v.as_array().cloned())
                .unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn admin(&self, path: &str, token: bool) -> (u16, String) {
        let state = self.dir.path().join("state");
        let address = fs::read_to_string(state.join("admin.address")).unwrap();
        let port = address.trim().rsplit_once(':').unwrap().1.parse().unwrap();
        let shown = match token {
            true => fs::read_to_string(state.join("admin.token")).unwrap(),
            false => String::new(),
        };
        http(port, "GET", path, shown.trim(), "")
    }

    /// Waits until the status says so.
    #[track_caller]
    pub(crate) fn until(&self, what: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let status = self.cli(&["status", "--json"]).is(0).json();
            if what(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "{status:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Neither slot nor publication was left behind.
    #[track_caller]
    pub(crate) fn nothing_left(&self, postgres: &Postgres) {
        let slots = postgres.psql(&format!(
            "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{}'",
            self.slot
        ));
        let publications = postgres.psql_in(&self.database, "SELECT count(*) FROM pg_publication");
        assert_eq!((slots.as_str(), publications.as_str()), ("0", "0"));
    }
}

/// A request without a library: the tests check the wire.
pub(crate) fn http(port: u16, method: &str, path: &str, token: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let bearer = match token {
        "" => String::new(),
        token => format!("authorization: Bearer {token}\r\n"),
    };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{bearer}\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, body.to_owned())
}
