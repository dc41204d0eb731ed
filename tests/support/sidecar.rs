//! `syncline run` as a process of its own, with a configuration file and a state directory in one
//! temporary directory.
//!
//! `SYNCLINE_TEST_BINARY` runs another build of it, e.g. a release.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use syncline::store::{self, Load, Progress, ShelfCounts, Store, Verdicts};

/// Token of the admin interface; the configuration has to set it.
pub const ADMIN: &str =
    "[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"0123456789abcdef0123456789abcdef\"\n";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A configured connector, running or not. Dropping it kills the process.
pub struct Sidecar {
    dir: tempfile::TempDir,
    child: Option<Child>,
    /// Further `--set key=value`.
    pub sets: Vec<String>,
    /// A command to run it under, e.g. `prlimit …`.
    pub under: Vec<String>,
}

/// What a store holds while nobody runs it.
#[derive(Debug)]
pub struct Stored {
    pub progress: Progress,
    pub verdicts: Verdicts,
    pub shelf: ShelfCounts,
    pub loads: Vec<Load>,
    /// A window was under way.
    pub intent: bool,
    /// Bulk jobs that may be at work.
    pub bulk_jobs: usize,
}

impl Stored {
    /// Changes with a verdict, pending ones with them, but for logical messages.
    pub fn changes(&self) -> i64 {
        let rows = self
            .verdicts
            .iter()
            .filter(|((t, _), _)| !t.starts_with('('));
        rows.map(|(_, n)| n).sum()
    }
}

impl Sidecar {
    /// With this configuration; `[state]` and `[admin]` are added.
    pub fn new(config: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("syncline-run-")
            .tempdir()
            .unwrap();
        let state = dir.path().join("state");
        let config = format!("{config}\n[state]\npath = {state:?}\n{ADMIN}");
        fs::write(dir.path().join("config.toml"), config).unwrap();
        Sidecar {
            dir,
            child: None,
            sets: Vec::new(),
            under: Vec::new(),
        }
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// All that it has logged, over all its runs.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The last lines of that.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(400)..].join("\n")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let built = env!("CARGO_BIN_EXE_syncline").into();
        let program = std::env::var_os("SYNCLINE_TEST_BINARY").unwrap_or(built);
        let mut command = match self.under.split_first() {
            None => Command::new(program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command.args(arguments);
        command
            .arg("--config")
            .arg(self.dir.path().join("config.toml"));
        command
    }

    /// Starts it.
    pub fn start(&mut self) {
        assert!(self.child.is_none());
        let log: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .unwrap();
        let mut command = self.command(&["run"]);
        for set in &self.sets {
            command.args(["--set", set]);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Panics, with its log, if it has ended by itself.
    pub fn assert_alive(&mut self) {
        if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
            panic!(
                "the connector has ended by itself: {status}\n{}",
                self.tail()
            );
        }
    }

    /// How it ended, if it has ended by itself.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        let status = self.child.as_mut().unwrap().try_wait().unwrap()?;
        self.child = None;
        Some(status)
    }

    /// Changes its configuration file, for the next start.
    pub fn edit(&self, change: impl Fn(&str) -> String) {
        let path = self.dir.path().join("config.toml");
        let config = fs::read_to_string(&path).unwrap();
        fs::write(path, change(&config)).unwrap();
    }

    /// Waits for its end by itself, and tells how it ended.
    pub fn ends(&mut self, patience: Duration) -> std::process::ExitStatus {
        let deadline = Instant::now() + patience;
        let mut child = self.child.take().unwrap();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                panic!("it has not ended by itself\n{}", self.tail());
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.assert_alive();
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }

    /// SIGTERM, and waits for its orderly end.
    pub fn stop(&mut self) {
        self.assert_alive();
        let mut child = self.child.take().unwrap();
        let pid = child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        let deadline = Instant::now() + Duration::from_secs(15);
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                child.kill().unwrap();
                panic!("SIGTERM did not end it\n{}", self.tail());
            }
            sleep(Duration::from_millis(10));
        }
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}\n{}", self.tail());
    }

    /// Another command of the binary, or `run` that is to refuse: what it printed, and its end.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        self.command(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// `GET /status` of the running process; none while it does not answer yet.
    pub fn status(&self) -> Option<Value> {
        self.get("/status")
    }

    /// `GET` from the admin interface.
    pub fn get(&self, path: &str) -> Option<Value> {
        self.ask("GET", path, "")
    }

    /// `POST` to it; none when nobody answers.
    pub fn post(&self, path: &str, body: &str) -> Option<Value> {
        self.ask("POST", path, body)
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Option<Value> {
        let address = syncline::web::token::published_address(&self.state()).ok()??;
        let mut stream = TcpStream::connect(&address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    }

    /// Waits until `done` of its status.
    pub fn wait_until(&mut self, what: &str, patience: Duration, done: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + patience;
        loop {
            self.assert_alive();
            let status = self.status();
            if status.as_ref().is_some_and(&done) {
                return;
            }
            if Instant::now() > deadline {
                let pretty = |v: Option<Value>| {
                    v.map_or("-".into(), |v| serde_json::to_string_pretty(&v).unwrap())
                };
                panic!(
                    "{what}: not in {patience:?}\n{}\nlog: {}\npending: {}",
                    pretty(status),
                    self.tail(),
                    pretty(self.get("/pending"))
                );
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// What its store holds; only while it does not run.
    pub fn stored(&self) -> Stored {
        assert!(self.child.is_none());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let store: Box<dyn Store> = Box::new(store::open(&self.state()).await.unwrap());
            let recovered = store.recover().await.unwrap();
            let stored = Stored {
                progress: recovered.progress,
                verdicts: store.verdicts().await.unwrap(),
                shelf: store.shelf_counts().await.unwrap(),
                loads: store.loads().await.unwrap(),
                intent: recovered.intent.is_some(),
                bulk_jobs: store.bulk_jobs().await.unwrap().len(),
            };
            store.close().await.unwrap();
            stored
        })
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // What it said is worth more than what it left.
        if std::thread::panicking()
            && let Some(kept) = std::env::var_os("SYNCLINE_KEEP_LOG")
        {
            let _ = fs::copy(self.dir.path().join("log"), kept);
        }
    }
}

/// An LSN as Postgres writes it.
pub fn lsn(text: &str) -> u64 {
    let (high, low) = text.split_once('/').unwrap();
    u64::from_str_radix(high, 16).unwrap() << 32 | u64::from_str_radix(low, 16).unwrap()
}
