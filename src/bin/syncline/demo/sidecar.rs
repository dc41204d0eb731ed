//! The connector: this binary once more, as a process of its own, asked as a user would ask it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use syncline::config::Config;
use syncline::fault::Result;
use syncline::web::report::Report;
use syncline::web::token;

use super::app::App;
use super::machine::{Directory, Process, failed, system};
use crate::client::Client;

/// How long it may take to catch up.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A command of this binary that nothing in the user's environment changes.
pub(super) fn command(binary: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        let ours = name
            .to_str()
            .is_some_and(|n| n.starts_with("SYNCLINE_") || n.starts_with("PG"));
        if ours {
            command.env_remove(name);
        }
    }
    command.args(args);
    command
}

/// The connector.
pub(super) struct Sidecar {
    binary: PathBuf,
    pub(super) config: PathBuf,
    log: PathBuf,
    process: Option<Process>,
    /// Its admin interface, once it was found.
    admin: Option<Client>,
}

impl Sidecar {
    pub(super) fn new(binary: &Path, config: PathBuf, dir: &Directory) -> Sidecar {
        Sidecar {
            binary: binary.to_owned(),
            config,
            log: dir.join("syncline.log"),
            process: None,
            admin: None,
        }
    }

    /// Starts it; says its process id.
    pub(super) fn start(&mut self) -> Result<u32> {
        let config = self.config.to_string_lossy();
        let command = command(&self.binary, &["run", "--config", &config]);
        let process = Process::start("the connector", command, self.log.clone(), "TERM")?;
        let pid = process.pid();
        self.process = Some(process);
        Ok(pid)
    }

    /// `kill -9`; says which process it was.
    pub(super) fn kill(&mut self) -> Result<u32> {
        let Some(process) = self.process.take() else {
            return Err(failed("the connector does not run"));
        };
        let pid = process.pid();
        self.admin = None;
        process.kill()?;
        Ok(pid)
    }

    /// Asks it to end, as an operator would.
    pub(super) fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        match process.stop() {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(failed(format!(
                "the connector did not end well ({status}):\n{}",
                process.tail()
            ))),
            None => Err(failed(
                "the connector did not end within 12 s of being asked",
            )),
        }
    }

    pub(super) fn check(&mut self) -> Result<()> {
        match self.process.as_mut() {
            Some(process) => process.check(),
            None => Ok(()),
        }
    }

    /// Leaves it running after the demo; says its process id.
    pub(super) fn leave(&mut self) -> Option<u32> {
        let process = self.process.as_mut()?;
        process.leave();
        Some(process.pid())
    }

    async fn ask(&self, args: &[&str]) -> Result<Output> {
        let mut args = args.to_vec();
        let config = self.config.to_string_lossy();
        args.extend(["--config", &config]);
        tokio::process::Command::from(command(&self.binary, &args))
            .kill_on_drop(true)
            .output()
            .await
            .map_err(system(format!("run syncline {}", args.join(" "))))
    }

    /// Runs a command of the command line; it has to succeed.
    pub(super) async fn run(&self, args: &[&str]) -> Result<String> {
        let out = self.ask(args).await?;
        if !out.status.success() {
            return Err(failed(format!(
                "syncline {} failed ({}): {}",
                args.join(" "),
                out.status,
                String::from_utf8_lossy(&out.stderr).trim()
            )));
        }
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }

    async fn json(&self, args: &[&str]) -> Result<Value> {
        let text = self.run(args).await?;
        serde_json::from_str(&text)
            .map_err(|e| failed(format!("syncline {} gave no JSON", args.join(" "))).source(e))
    }

    /// What its admin interface says; nothing while it starts.
    pub(super) async fn report(&mut self) -> Result<Option<Report>> {
        self.check()?;
        let Some(pid) = self.process.as_ref().map(Process::pid) else {
            return Ok(None);
        };
        if self.admin.is_none() {
            let config = Config::load(&self.config, std::iter::empty(), &[])?.config;
            let address = token::published_address(&config.state.path)?;
            if let (Some(address), Some(secret)) = (address, token::shown(&config)?) {
                self.admin = Some(Client::new(&address, secret, pid)?);
            }
        }
        let Some(admin) = &self.admin else {
            return Ok(None);
        };
        let report = admin.get("status", &[]).await.ok();
        if report.is_none() {
            // It may say elsewhere where it listens, and show another token.
            self.admin = None;
        }
        Ok(report)
    }

    /// `syncline status --json`
    pub(super) async fn status(&self) -> Result<Value> {
        self.json(&["status", "--json"]).await
    }

    /// `syncline dead-letters list --json`, as a list.
    pub(super) async fn dead_letters(&self) -> Result<Vec<Value>> {
        let mut page = self.json(&["dead-letters", "list", "--json"]).await?;
        match page["pending"].take() {
            Value::Array(letters) => Ok(letters),
            _ => Err(failed("syncline dead-letters list --json gave no list")),
        }
    }

    /// `syncline dead-letters show … --json`
    pub(super) async fn dead_letter(&self, object: &str, key: &str) -> Result<Value> {
        self.json(&["dead-letters", "show", object, key, "--json"])
            .await
    }

    /// Waits until `done`, and fails when the connector ends meanwhile or it takes too long.
    pub(super) async fn until<F>(&mut self, what: &str, mut done: impl FnMut() -> F) -> Result<()>
    where
        F: Future<Output = Result<bool>>,
    {
        let began = Instant::now();
        loop {
            self.check()?;
            if done().await? {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                let log = self.process.as_ref().map(Process::tail).unwrap_or_default();
                return Err(failed(format!(
                    "waited {} s for {what}. The end of the connector's log:\n{log}",
                    PATIENCE.as_secs()
                )));
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }

    /// Waits until all that has been committed so far has its verdict on disk, by what Postgres was
    /// told.
    pub(super) async fn caught_up(&mut self, app: &App) -> Result<()> {
        let lsn = app.one("SELECT pg_current_wal_insert_lsn()").await?;
        self.until("the connector to confirm the last commit", || {
            app.confirmed(&lsn)
        })
        .await
    }
}
