//! A throw-away Postgres: found or installed, made, started.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use syncline::fault::{Error, ErrorKind, Result};
use tokio_postgres::{Client, NoTls};

use super::machine::{Directory, Process, failed, free_port, password, system};
use super::screen::Screen;

/// The oldest that has what pgoutput needs here.
const OLDEST: u32 = 14;
const START: Duration = Duration::from_secs(30);

/// Where the server's programs are, and their version.
pub(super) struct Installed {
    bin: PathBuf,
    pub(super) version: String,
}

/// The running server.
pub(super) struct Postgres {
    pub(super) process: Process,
    pub(super) port: u16,
    /// The superuser's.
    pub(super) password: String,
}

/// Finds one, or installs Debian's as root.
pub(super) fn find(screen: &Screen, root: bool) -> Result<Installed> {
    if let Some(bin) = std::env::var_os("SYNCLINE_PG_BIN") {
        let bin = PathBuf::from(bin);
        return look(&bin).ok_or_else(|| {
            failed(format!(
                "SYNCLINE_PG_BIN is {}, where there is no Postgres {OLDEST} or newer (initdb and postgres)",
                bin.display()
            ))
        });
    }
    if let Some(found) = search() {
        return Ok(found);
    }
    let apt = ["/usr/bin/apt-get", "/bin/apt-get"]
        .into_iter()
        .find(|p| Path::new(p).exists());
    match apt {
        Some(apt) if root => install(screen, apt)?,
        _ => return Err(missing(apt.is_some())),
    }
    search().ok_or_else(|| {
        failed(format!(
            "apt-get has installed postgresql, but no Postgres {OLDEST} or newer is to be found"
        ))
        .remedy("point SYNCLINE_PG_BIN at the directory of initdb, then start the demo again")
    })
}

fn missing(apt: bool) -> Error {
    let command = if apt {
        "sudo apt-get install -y postgresql"
    } else if cfg!(target_os = "macos") {
        "brew install postgresql@17"
    } else {
        "sudo dnf install -y postgresql-server"
    };
    failed(format!("there is no Postgres {OLDEST} or newer here, and only root may install one")).remedy(
        format!("run: {command}   (or point SYNCLINE_PG_BIN at the directory of initdb), then start the demo again"),
    )
}

fn search() -> Option<Installed> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).find_map(|bin| look(&bin));
    on_path.or_else(|| {
        let mut found: Vec<(u32, PathBuf)> =
            ["/usr/lib/postgresql", "/usr/pgsql", "/opt/homebrew/opt"]
                .iter()
                .filter_map(|dir| fs::read_dir(dir).ok())
                .flatten()
                .flatten()
                .filter_map(|entry| {
                    let name = entry.file_name();
                    let digits = name
                        .to_str()?
                        .trim_start_matches("postgresql@")
                        .parse()
                        .ok()?;
                    Some((digits, entry.path().join("bin")))
                })
                .collect();
        found.sort();
        found.iter().rev().find_map(|(_, bin)| look(bin))
    })
}

fn look(bin: &Path) -> Option<Installed> {
    if !bin.join("initdb").exists() || !bin.join("postgres").exists() {
        return None;
    }
    let out = Command::new(bin.join("postgres"))
        .arg("--version")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    // "postgres (PostgreSQL) 15.10 (Debian 15.10-0+deb12u1)"
    let version = text.split_whitespace().nth(2)?.to_owned();
    let major: u32 = version
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()?;
    (major >= OLDEST).then(|| Installed {
        bin: bin.to_owned(),
        version,
    })
}

fn install(screen: &Screen, apt: &str) -> Result<()> {
    screen.note("there is no Postgres on this machine: apt-get install -y postgresql (once)");
    let run = |args: &[&str]| {
        Command::new(apt)
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .output()
            .map_err(system("run apt-get"))
    };
    let began = Instant::now();
    let install = ["install", "-y", "--no-install-recommends", "postgresql"];
    let mut out = run(&install)?;
    if !out.status.success() {
        screen.note("the list of packages is old or empty: apt-get update");
        run(&["update"])?;
        out = run(&install)?;
    }
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        return Err(
            failed(format!("apt-get install -y postgresql failed:\n{said}"))
                .remedy("install Postgres by hand, or point SYNCLINE_PG_BIN at its programs"),
        );
    }
    screen.done(format!(
        "installed in {}",
        super::screen::span(began.elapsed())
    ));
    Ok(())
}

/// User and group that the server runs as: it refuses root.
fn account(root: bool) -> Result<Option<(u32, u32)>> {
    if !root {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd").map_err(system("read /etc/passwd"))?;
    let find = |name: &str| {
        passwd.lines().find_map(|line| {
            let mut parts = line.split(':');
            let same = parts.next() == Some(name);
            let uid = parts.nth(1)?.parse().ok()?;
            let gid = parts.next()?.parse().ok()?;
            same.then_some((uid, gid))
        })
    };
    find("postgres")
        .or_else(|| find("nobody"))
        .map(Some)
        .ok_or_else(|| {
            failed(
                "Postgres refuses to run as root, and there is neither a user postgres nor nobody",
            )
            .remedy("run the demo as an ordinary user")
        })
}

/// Makes a cluster in `dir` and starts it.
pub(super) async fn start(installed: &Installed, dir: &Directory, root: bool) -> Result<Postgres> {
    let account = account(root)?;
    let own = |path: &Path| match account {
        Some((uid, gid)) => chown(path, Some(uid), Some(gid))
            .map_err(system(format!("give {} away", path.display()))),
        None => Ok(()),
    };
    let as_account = |program: &str| {
        let mut command = Command::new(installed.bin.join(program));
        if let Some((uid, gid)) = account {
            command.uid(uid).gid(gid);
        }
        command.current_dir("/");
        command
    };
    let home = dir.join("postgres");
    fs::create_dir(&home).map_err(system("make the database's directory"))?;
    own(&home)?;
    let data = home.join("data");
    let password = password();
    let secret = dir.write("postgres.password", &password)?;
    own(&secret)?;
    let mut initdb = as_account("initdb");
    initdb.arg("-D").arg(&data).args([
        "-U",
        "postgres",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
        "--no-instructions",
        "--auth=scram-sha-256",
    ]);
    initdb.arg(format!("--pwfile={}", secret.display()));
    // Ends with us: a cluster half made is of no use.
    let out = tokio::process::Command::from(initdb)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(system("run initdb"))?;
    if !out.status.success() {
        return Err(failed(format!(
            "initdb failed: {}",
            String::from_utf8_lossy(&out.stderr).trim()
        )));
    }
    let port = free_port()?;
    let mut command = as_account("postgres");
    command.arg("-D").arg(&data);
    // Nobody needs the data after a power cut: no fsync. What Syncline keeps is flushed as always.
    for setting in [
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        "unix_socket_directories=".to_owned(),
        "wal_level=logical".to_owned(),
        "fsync=off".to_owned(),
        "shared_buffers=32MB".to_owned(),
        "max_connections=20".to_owned(),
    ] {
        command.arg("-c").arg(setting);
    }
    // INT: fast shutdown.
    let process = Process::start("Postgres", command, dir.join("postgres.log"), "INT")?;
    let mut postgres = Postgres {
        process,
        port,
        password,
    };
    let deadline = Instant::now() + START;
    loop {
        postgres.process.check()?;
        let connected = connect(port, "postgres", "postgres", &postgres.password).await;
        match connected {
            Ok(_) => return Ok(postgres),
            Err(e) if Instant::now() > deadline => return Err(e),
            Err(_) => tokio::time::sleep(Duration::from_millis(30)).await,
        }
    }
}

/// A connection that lives as long as its client.
pub(super) async fn connect(
    port: u16,
    user: &str,
    database: &str,
    password: &str,
) -> Result<Client> {
    let (client, connection) = tokio_postgres::Config::new()
        .host("127.0.0.1")
        .port(port)
        .user(user)
        .dbname(database)
        .password(password)
        .application_name("syncline demo")
        .connect(NoTls)
        .await
        .map_err(refused)?;
    tokio::spawn(async move {
        // Its end shows in the next statement.
        let _ = connection.await;
    });
    Ok(client)
}

/// What Postgres said.
pub(super) fn refused(e: tokio_postgres::Error) -> Error {
    let what = match e.as_db_error() {
        Some(db) => format!("Postgres refused a statement of the demo: {}", db.message()),
        None => "a statement of the demo failed".to_owned(),
    };
    Error::new(ErrorKind::SourceUnreachable, what).source(e)
}
