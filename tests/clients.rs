//! Clients that nobody here wrote, against the sandbox: `jsforce` and `@salesforce/cli` from
//! npm, `simple-salesforce` from PyPI. They log in, describe, query, insert, upsert, delete and
//! run bulk jobs, and check what they are told.
//!
//! What is installed is pinned by the lock files in `clients/`, and kept under the target
//! folder for the next run. Without `node`, `npm` or `python3` (with `venv`) this fails: a
//! sandbox that only our own code agrees with proves nothing. Every step is printed, so this
//! test is a program of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::{Duration, Instant};

use syncline_sandbox::{Config, Sandbox, Tls};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

const KEY: &str = r#"{"type":"Text","label":"Ext Id","length":80,"externalId":true,"unique":true,"caseSensitive":true}"#;
/// No client needs this long, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    // As the standard harness: arguments without a dash choose tests by a part of their name.
    let args: Vec<String> = std::env::args().skip(1).collect();
    let chosen: Vec<&String> = args.iter().filter(|a| !a.starts_with('-')).collect();
    let unwanted = !chosen.is_empty() && !chosen.iter().any(|part| "clients".contains(&***part));
    if unwanted || args.iter().any(|a| a == "--list") {
        return ExitCode::SUCCESS;
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    match runtime.block_on(run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("third-party clients: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), String> {
    let started = Instant::now();
    let tools = tokio::task::spawn_blocking(Tools::install)
        .await
        .map_err(|e| e.to_string())??;
    println!("clients ready after {:.0?}", started.elapsed());
    let started = Instant::now();
    let done = tokio::join!(
        client("jsforce", &tools, false),
        client("jsforce over TLS", &tools, true),
        client("sf", &tools, false),
        client("simple-salesforce over TLS", &tools, true),
    );
    println!("clients done after {:.0?}", started.elapsed());
    done.0.and(done.1).and(done.2).and(done.3)
}

/// Gives two objects the external id that the scripts know.
async fn add_key(sandbox: &Sandbox) -> reqwest::Result<()> {
    let trusted = sandbox.authority().map(str::as_bytes);
    let trusted = trusted.map(reqwest::Certificate::from_pem).transpose()?;
    let http = reqwest::Client::builder()
        .tls_certs_only(trusted)
        .no_proxy()
        .build()?;
    for object in ["Account", "Contact"] {
        let url = format!("{}/sandbox/fields/{object}/Ext_Id__c", sandbox.url());
        http.put(url).body(KEY).send().await?.error_for_status()?;
    }
    Ok(())
}

/// Runs one client's script against a sandbox of its own.
async fn client(name: &str, tools: &Tools, tls: bool) -> Result<(), String> {
    let home = tempfile::tempdir().map_err(|e| e.to_string())?;
    let authority = home.path().join("authority.pem");
    let config = Config {
        tls: tls.then(|| Tls {
            authority: Some(authority.clone()),
            ..Tls::default()
        }),
        ..Config::default()
    };
    let sandbox = Sandbox::start(config).await.map_err(|e| e.to_string())?;
    add_key(&sandbox)
        .await
        .map_err(|e| format!("{name}: {e}"))?;
    let mut command = tools.command(name);
    command
        .env("SANDBOX_URL", sandbox.url())
        .env("HOME", home.path())
        .env("NODE_PATH", tools.node.join("node_modules"))
        .env(
            "SF",
            tools.node.join("node_modules/@salesforce/cli/bin/run.js"),
        )
        // What the CLI does besides: it asks for names, tells its maker, looks for updates.
        .env("SF_DISABLE_DNS_CHECK", "true")
        .env("SF_DISABLE_TELEMETRY", "true")
        .env("SF_AUTOUPDATE_DISABLE", "true")
        .env("SF_SKIP_NEW_VERSION_CHECK", "true")
        .env("SF_USE_GENERIC_UNIX_KEYCHAIN", "true")
        .kill_on_drop(true)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    // A proxy knows nothing of a server on this machine.
    for proxy in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(proxy).env_remove(proxy.to_uppercase());
    }
    if tls {
        command
            .env("NODE_EXTRA_CA_CERTS", &authority)
            .env("REQUESTS_CA_BUNDLE", &authority);
    }
    let mut process = command.spawn().map_err(|e| format!("{name}: {e}"))?;
    let out = process.stdout.take().unwrap();
    let mut errors = process.stderr.take().unwrap();
    let mut steps = 0;
    let mut told = String::new();
    let talk = async {
        let mut lines = BufReader::new(out).lines();
        let listen = async {
            while let Ok(Some(line)) = lines.next_line().await {
                steps += usize::from(line.starts_with("ok "));
                println!("{name}: {line}");
            }
        };
        let _ = tokio::join!(listen, errors.read_to_string(&mut told));
        process.wait().await
    };
    let ended = match tokio::time::timeout(PATIENCE, talk).await {
        Ok(ended) => ended.map_err(|e| format!("{name}: {e}"))?,
        Err(_) => return Err(format!("{name}: no end after {PATIENCE:?}\n{told}")),
    };
    sandbox.stop().await;
    match ended.success() && steps > 0 {
        true => Ok(()),
        false => Err(format!("{name}: {ended} after {steps} steps\n{told}")),
    }
}

/// Where the clients are.
struct Tools {
    scripts: PathBuf,
    node: PathBuf,
    python: PathBuf,
}

impl Tools {
    /// Installs what the lock files name, unless an earlier run has.
    fn install() -> Result<Tools, String> {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
        let node = cache.join("node");
        let venv = cache.join("python");
        let locks = ["package.json", "package-lock.json"];
        once(&scripts, &locks, &node, |folder| {
            for lock in locks {
                std::fs::copy(scripts.join(lock), folder.join(lock)).map_err(|e| e.to_string())?;
            }
            let mut npm = Command::new("npm");
            npm.args([
                "ci",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--no-progress",
            ])
            .current_dir(folder);
            told(npm, "install the Debian packages nodejs and npm")
        })?;
        once(&scripts, &["requirements.txt"], &venv, |folder| {
            let mut python = Command::new("python3");
            python.args(["-m", "venv"]).arg(folder);
            told(python, "install the Debian package python3-venv")?;
            let mut pip = Command::new(folder.join("bin/pip"));
            pip.args(["install", "--quiet", "--disable-pip-version-check"])
                .args(["--require-hashes", "--requirement"])
                .arg(scripts.join("requirements.txt"));
            told(pip, "check that the package index can be reached")
        })?;
        Ok(Tools {
            scripts,
            node,
            python: venv.join("bin/python"),
        })
    }

    fn command(&self, client: &str) -> tokio::process::Command {
        let (program, script) = match client.split(' ').next() {
            Some("jsforce") => (Path::new("node"), "jsforce.cjs"),
            Some("sf") => (Path::new("node"), "sf.cjs"),
            _ => (self.python.as_path(), "simple_salesforce_client.py"),
        };
        let mut command = tokio::process::Command::new(program);
        command.arg(self.scripts.join(script));
        command
    }
}

/// Makes a folder by `install` unless it was made from the same lock files.
fn once(
    scripts: &Path,
    locks: &[&str],
    folder: &Path,
    install: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
    let mut wanted = String::new();
    for lock in locks {
        wanted += &std::fs::read_to_string(scripts.join(lock)).map_err(failed)?;
    }
    let mark = folder.join("installed-from");
    if std::fs::read_to_string(&mark).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(failed)?;
    }
    std::fs::create_dir_all(folder).map_err(failed)?;
    install(folder)?;
    std::fs::write(mark, wanted).map_err(failed)
}

/// Runs a command; what it says is told only if it fails.
fn told(mut command: Command, remedy: &str) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.output() {
        Ok(done) if done.status.success() => Ok(()),
        Ok(Output {
            status,
            stdout,
            stderr,
        }) => Err(format!(
            "{name} failed with {status} ({remedy})\n{}{}",
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr)
        )),
        Err(error) => Err(format!("{name} cannot be run: {error} ({remedy})")),
    }
}
