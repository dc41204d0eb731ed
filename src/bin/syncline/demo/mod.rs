//! `syncline demo`: everything on this machine, from nothing.
//!
//! ```text
//!   Postgres ──── syncline run ────► syncline sandbox       three processes, real sockets
//!      ▲               ▲                    ▲
//!      └── app.rs      └── sidecar.rs       └── crm.rs
//!      rows, counted   kill -9, status,     records, write log,
//!      as committed    dead letters         faults
//! ```
//!
//! It plays the application that writes, the operator who looks and the machine that fails; then it
//! reads both sides whole and compares them (`compare.rs`), reads the CRM's write log (`order.rs`),
//! and adds up the verdicts against what it committed. What it expects is written down here once
//! more: none of the connector's stages is used.
//!
//! Whatever happens (success, failure, Ctrl-C), the processes end and the directory goes, unless
//! `--keep` was said.

mod app;
mod compare;
mod crm;
mod data;
mod ending;
mod letters;
mod load;
mod machine;
mod names;
mod order;
mod play;
mod postgres;
mod schema;
mod screen;
mod sidecar;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use syncline::fault::Result;
use tokio::signal::unix::{SignalKind, signal};

use self::app::App;
use self::crm::Crm;
use self::machine::{Directory, Process, failed, free_port, system};
use self::play::{Event, Play};
use self::postgres::Postgres;
use self::schema::Evolution;
use self::screen::{Screen, count, span};
use self::sidecar::Sidecar;

/// Show all of it on this machine: a Postgres, a CRM, the sidecar, a working day and a crash
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  syncline demo
  syncline demo --keep

It needs a Postgres (14 or newer) on this machine, not a running one: its programs are looked for in
PATH, in /usr/lib/postgresql, and where SYNCLINE_PG_BIN says. As root on Debian or Ubuntu it installs
one. Nothing outside of a temporary directory is touched, and nothing but 127.0.0.1 is listened on.

Exit code 0: both sides are the same in every field. 1: they are not, or something failed.")]
pub(crate) struct Args {
    /// Leave everything running at the end, and say where to look
    #[arg(long)]
    keep: bool,
}

/// What runs, in the order in which it ends.
#[derive(Default)]
struct House {
    sidecar: Option<Sidecar>,
    sandbox: Option<Process>,
    postgres: Option<Postgres>,
    dir: Option<Directory>,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let screen = Screen::new();
    let mut house = House::default();
    let interrupted = interruption()?;
    let ended = tokio::select! {
        ended = show(&screen, &mut house) => Some(ended),
        _ = interrupted => None,
    };
    let Some(ended) = ended else {
        screen.line("\ninterrupted: ending what was started");
        drop(house);
        return Ok(ExitCode::from(130));
    };
    match ended {
        Ok(good) => {
            if args.keep {
                leave(&screen, &mut house)?;
            } else if let Some(sidecar) = house.sidecar.as_mut() {
                // As an operator would: it has to end well.
                sidecar.stop()?;
            }
            Ok(if good {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Err(error) => {
            if let Some(dir) = house.dir.as_mut()
                && dir.keep_logs()
            {
                screen.line(format!("\nThe logs are in {}", dir.path().display()));
            }
            Err(error)
        }
    }
}

/// Done when someone wants the demo to end.
fn interruption() -> Result<impl Future<Output = ()>> {
    let listen = |kind| signal(kind).map_err(system("listen for signals"));
    let mut signals = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
        listen(SignalKind::hangup())?,
    );
    Ok(async move {
        tokio::select! {
            _ = signals.0.recv() => {}
            _ = signals.1.recv() => {}
            _ = signals.2.recv() => {}
        }
    })
}

/// How long the CRM does not show a field that was just made.
const DESCRIBE_LAG: Duration = Duration::from_millis(400);

/// What goes wrong between the connector and the CRM all the time, and what else is to.
fn noise(extra: Vec<Value>) -> Value {
    let mut rules = vec![
        json!({"kind": "throttle", "probability": 0.02, "path": "/composite"}),
        json!({"kind": "unavailable", "probability": 0.01, "path": "/composite"}),
        json!({"kind": "lost", "probability": 0.02, "path": "/composite"}),
        json!({"kind": "cut", "probability": 0.01, "path": "/composite"}),
        json!({"kind": "slow", "probability": 0.02, "delay_ms": 400, "path": "/composite"}),
        json!({"kind": "unauthorized", "every": 70, "path": "/composite"}),
        json!({"kind": "lock", "probability": 0.004}),
    ];
    rules.extend(extra);
    json!({"seed": 5, "latency_ms": 30, "rules": rules})
}

/// The whole play. True when both sides are the same and every promise was kept.
async fn show(screen: &Screen, house: &mut House) -> Result<bool> {
    let (mut app, crm) = build(screen, house).await?;
    let House {
        sidecar: Some(sidecar),
        ..
    } = house
    else {
        return Err(failed("nothing was started"));
    };
    let mut play = Play::new();
    let loaded = load::act(screen, &mut app, &crm, &mut play, sidecar).await?;
    let evolution = live(screen, &mut app, &crm, &mut play, sidecar).await?;

    screen.act("Bad records");
    let letters = letters::act(screen, &mut app, &crm, sidecar, noise).await?;

    screen.act("Comparing both sides");
    sidecar.caught_up(&app).await?;
    let seen = ending::Seen {
        play: &play,
        loaded: &loaded,
        evolution: &evolution,
        letters: &letters,
    };
    ending::tell(screen, &app, &crm, sidecar, &seen).await
}

/// Database, CRM and connector.
async fn build(screen: &Screen, house: &mut House) -> Result<(App, Crm)> {
    let binary = std::env::current_exe().map_err(system("find this program"))?;
    screen.act("A database, a CRM and the sidecar, on 127.0.0.1");
    let dir = &*house.dir.insert(Directory::new()?);
    let root = dir.owner()? == 0;
    let began = Instant::now();
    let installed = postgres::find(screen, root)?;
    let postgres = &*house
        .postgres
        .insert(postgres::start(&installed, dir, root).await?);
    screen.done(format!(
        "Postgres {}: a new cluster, port {} ({})",
        installed.version,
        postgres.port,
        span(began.elapsed())
    ));
    let secret = machine::password();
    let mut app = prepare(postgres, dir, &secret).await?;
    screen.done("3 tables; role syncline may replicate and read them, no more");
    load::fill(screen, &mut app).await?;

    let began = Instant::now();
    let port = free_port()?;
    house.sandbox = Some(sandbox(&binary, dir, port)?);
    let crm = Crm::new(port)?;
    while !crm.is_up().await {
        if let Some(sandbox) = house.sandbox.as_mut() {
            sandbox.check()?;
        }
        if began.elapsed() > Duration::from_secs(20) {
            return Err(failed("the sandbox does not answer"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let fields = crm.make_fields().await?;
    screen.done(format!(
        "a Salesforce-compatible server: {}, {fields} custom fields ({})",
        crm.url,
        span(began.elapsed())
    ));

    let began = Instant::now();
    let admin = free_port()?;
    let config = include_str!("config.toml")
        .replace("{dir}", &dir.path().to_string_lossy())
        .replace("{postgres_port}", &postgres.port.to_string())
        .replace("{crm_port}", &port.to_string())
        .replace("{admin_port}", &admin.to_string());
    let config = dir.write("config.toml", &config)?;
    let sidecar = house.sidecar.insert(Sidecar::new(&binary, config, dir));
    sidecar.run(&["check"]).await?;
    screen.done(format!(
        "syncline check finds nothing wrong ({})",
        span(began.elapsed())
    ));
    crm.describe_lag(DESCRIBE_LAG).await?;
    crm.faults(noise(Vec::new())).await?;
    screen.note("the CRM misbehaves from now on: throttling, 503, lost answers, ended sessions, locked rows");
    Ok((app, crm))
}

fn sandbox(binary: &Path, dir: &Directory, port: u16) -> Result<Process> {
    let (listen, data) = (format!("127.0.0.1:{port}"), dir.join("crm"));
    let data: PathBuf = data;
    let data = data.to_string_lossy();
    let command = sidecar::command(binary, &["sandbox", "--listen", &listen, "--data", &data]);
    Process::start("the sandbox", command, dir.join("sandbox.log"), "TERM")
}

/// The application's database, and the role that reads it: with the rights of sql/roles.sql.
async fn prepare(postgres: &Postgres, dir: &Directory, secret: &str) -> Result<App> {
    let (port, superuser) = (postgres.port, postgres.password.as_str());
    let admin = postgres::connect(port, "postgres", "postgres", superuser).await?;
    let app_secret = machine::password();
    for statement in [
        format!("CREATE ROLE app LOGIN PASSWORD '{app_secret}'"),
        "CREATE DATABASE app OWNER app".to_owned(),
    ] {
        admin
            .batch_execute(&statement)
            .await
            .map_err(postgres::refused)?;
    }
    let client = postgres::connect(port, "app", "app", &app_secret).await?;
    let tables = include_str!("../../../../sql/demo/schema.sql");
    client
        .batch_execute(tables)
        .await
        .map_err(postgres::refused)?;
    let admin = postgres::connect(port, "postgres", "app", superuser).await?;
    let roles = include_str!("../../../../sql/roles.sql");
    admin
        .batch_execute(roles)
        .await
        .map_err(postgres::refused)?;
    admin
        .batch_execute(&format!(
            "GRANT SELECT ON public.deal TO syncline; ALTER ROLE syncline PASSWORD '{secret}'"
        ))
        .await
        .map_err(postgres::refused)?;
    dir.write("syncline.password", secret)?;
    dir.write("app.password", &app_secret)?;
    Ok(App::new(client))
}

/// The working day, with a second kill in its middle.
async fn live(
    screen: &Screen,
    app: &mut App,
    crm: &Crm,
    play: &mut Play,
    sidecar: &mut Sidecar,
) -> Result<Evolution> {
    let day = Event::day();
    screen.act("A working day in fast motion, live, while the schema changes");
    for (event, times) in Event::program() {
        screen.note(format!("{times:>3} × {}", event.words()));
    }
    let began = Instant::now();
    let (changes, transactions) = (app.total(), app.transactions);
    app.watch();
    let bar = screen.bar(day.len() as u64, "events");
    let (added, middle, renamed) = (day.len() / 5, day.len() / 2, day.len() * 2 / 3);
    let mut evolution = Evolution::default();
    for (number, event) in day.into_iter().enumerate() {
        if number == added {
            evolution.add(screen, &bar, app, play).await?;
        }
        if number == renamed {
            evolution.rename(screen, &bar, app, crm, sidecar).await?;
        }
        evolution.look(screen, &bar, crm, sidecar).await?;
        if number == middle {
            evolution.forget();
            let pid = sidecar.kill()?;
            bar.suspend(|| screen.blow(format!("kill -9 {pid} in the middle of it")));
            // A supervisor such as systemd starts it again.
            let pid = sidecar.start()?;
            bar.suspend(|| screen.done(format!("started again as process {pid}")));
        }
        play.happen(app, event).await?;
        bar.inc(1);
    }
    sidecar.caught_up(app).await?;
    evolution.filled(screen, &bar, app, crm, sidecar).await?;
    bar.finish_and_clear();
    screen.done(format!(
        "{} changes in {} transactions, all delivered ({})",
        count(app.total() - changes),
        count(app.transactions - transactions),
        span(began.elapsed())
    ));
    Ok(evolution)
}

/// Everything stays; says where to look and how to end it.
fn leave(screen: &Screen, house: &mut House) -> Result<()> {
    let House {
        sidecar: Some(sidecar),
        sandbox: Some(sandbox),
        postgres: Some(postgres),
        dir: Some(dir),
    } = house
    else {
        return Ok(());
    };
    sandbox.leave();
    postgres.process.leave();
    dir.keep();
    let sidecar_pid = sidecar.leave().unwrap_or_default();
    let path = dir.path().display().to_string();
    let stop = dir.write(
        "stop",
        &format!(
            "kill {sidecar_pid} {}; sleep 1; kill -INT {}; sleep 2; rm -rf '{path}'\n",
            sandbox.pid(),
            postgres.process.pid()
        ),
    )?;
    let crm = std::fs::read_to_string(&sidecar.config).unwrap_or_default();
    let crm = crm
        .lines()
        .find_map(|l| l.strip_prefix("url = \"http")?.strip_suffix('"'))
        .unwrap_or_default();
    let binary = std::env::current_exe().map_err(system("find this program"))?;
    screen.act("Left running");
    for (what, where_) in [
        (
            "CRM",
            format!("http{crm}/  (look at records, edit them as a sales rep)"),
        ),
        (
            "database",
            format!(
                "PGPASSWORD=$(cat {path}/app.password) psql -h 127.0.0.1 -p {} -U app app",
                postgres.port
            ),
        ),
        ("config", format!("{path}/config.toml")),
        (
            "status",
            format!("{} status --config {path}/config.toml", binary.display()),
        ),
        ("log", format!("tail -f {path}/syncline.log")),
        ("end it", format!("sh {}", stop.display())),
    ] {
        screen.line(format!("        {what:<9} {where_}"));
    }
    Ok(())
}
