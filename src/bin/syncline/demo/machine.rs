//! This machine: a directory, ports, and processes that end with the demo.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use syncline::fault::{Error, ErrorKind, Result};

/// How long a process may take to end when asked.
const GRACE: Duration = Duration::from_secs(12);

/// Something of the demo failed.
pub(super) fn failed(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Machine, what.into())
}

/// An error of the system, with what was being done.
pub(super) fn system(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let doing = doing.into();
    move |e| failed(format!("cannot {doing}")).source(e)
}

/// What stays of the directory.
enum Keep {
    Nothing,
    Logs,
    All,
}

/// A directory of the demo's own. It goes with it, unless kept.
pub(super) struct Directory {
    path: PathBuf,
    keep: Keep,
}

impl Directory {
    pub(super) fn new() -> Result<Directory> {
        let name = format!("syncline-demo-{:08x}", rand::random::<u32>());
        let path = std::env::temp_dir().join(name);
        // Others may pass through (the database runs as another user under root), not list it.
        fs::DirBuilder::new()
            .mode(0o711)
            .create(&path)
            .map_err(system(format!("make {}", path.display())))?;
        Ok(Directory {
            path,
            keep: Keep::Nothing,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Leaves it behind.
    pub(super) fn keep(&mut self) {
        self.keep = Keep::All;
    }

    /// Leaves the logs behind. False when there are none.
    pub(super) fn keep_logs(&mut self) -> bool {
        let any = ["postgres.log", "sandbox.log", "syncline.log"]
            .iter()
            .any(|name| self.join(name).exists());
        if any {
            self.keep = Keep::Logs;
        }
        any
    }

    /// Writes a file that only we may read.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        use std::io::Write;
        let path = self.join(name);
        let doing = format!("write {}", path.display());
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(system(doing))?;
        Ok(path)
    }

    /// Who we are: the owner of what we make.
    pub(super) fn owner(&self) -> Result<u32> {
        let meta = fs::metadata(&self.path).map_err(system("look at the demo's directory"))?;
        Ok(meta.uid())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A process that was killed in the middle may still be writing: once more then. What cannot be
        // removed lies in the system's directory for temporary files.
        for _ in 0..20 {
            let gone = match self.keep {
                Keep::All => return,
                Keep::Logs => ["postgres", "crm", "state"]
                    .iter()
                    .all(|name| remove(&self.path.join(name))),
                Keep::Nothing => remove(&self.path),
            };
            if gone {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn remove(path: &Path) -> bool {
    !path.exists() || fs::remove_dir_all(path).is_ok()
}

/// A port of 127.0.0.1 that nobody listens on.
pub(super) fn free_port() -> Result<u16> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(system("find a free port"))
}

/// A word that nobody guesses.
pub(super) fn password() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// A process that ends when this is dropped.
pub(super) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    /// The signal that asks it to end.
    signal: &'static str,
    left: bool,
}

impl Process {
    /// Starts it in a process group of its own, so that a Ctrl-C reaches the demo alone and the demo
    /// decides the order in which things end. What it says goes to `log`.
    pub(super) fn start(
        name: &'static str,
        mut command: Command,
        log: PathBuf,
        signal: &'static str,
    ) -> Result<Process> {
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&log)
            .map_err(system(format!("write {}", log.display())))?;
        let copy = file.try_clone().map_err(system("share a log file"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(copy)
            .process_group(0)
            .spawn()
            .map_err(system(format!("start {name}")))?;
        Ok(Process {
            name,
            child,
            log,
            signal,
            left: false,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails when it has ended by itself.
    pub(super) fn check(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(failed(format!(
                "{} ended by itself ({status}). The end of its log:\n{}",
                self.name,
                self.tail()
            ))),
            Err(e) => Err(system(format!("look after {}", self.name))(e)),
        }
    }

    /// The last lines of its log.
    pub(super) fn tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(15);
        let tail: Vec<String> = lines
            .iter()
            .skip(from)
            .map(|l| format!("    {l}"))
            .collect();
        tail.join("\n")
    }

    /// `kill -9`.
    pub(super) fn kill(mut self) -> Result<()> {
        self.check()?;
        self.child
            .kill()
            .map_err(system(format!("kill {}", self.name)))?;
        let status = self.child.wait();
        let status = status.map_err(system(format!("wait for {}", self.name)))?;
        // It might have ended in the very moment before.
        match std::os::unix::process::ExitStatusExt::signal(&status) {
            Some(9) => Ok(()),
            _ => Err(failed(format!("{} ended by itself ({status})", self.name))),
        }
    }

    /// Asks it to end, and waits. `None`: it did not, and was killed.
    pub(super) fn stop(&mut self) -> Option<ExitStatus> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Some(status);
        }
        let pid = self.pid().to_string();
        let asked = Command::new("kill")
            .args(["-s", self.signal, &pid])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let deadline = Instant::now() + GRACE;
        while asked.as_ref().is_ok_and(ExitStatus::success) && Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        None
    }

    /// Leaves it running after the demo.
    pub(super) fn leave(&mut self) {
        self.left = true;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.left {
            self.stop();
        }
    }
}
