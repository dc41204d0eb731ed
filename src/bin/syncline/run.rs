//! `syncline run`

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;

use indicatif::MultiProgress;
use syncline::config::Config;
use syncline::fault::{Error, ErrorKind, Result};
use syncline::store::{self, SledStore, Store};
use syncline::supervisor::start;
use syncline::web::{self, Admin, Seen, token};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::filter::LevelFilter;

use crate::options::ConfigArgs;
use crate::{bars, exit, logging, progress};

/// Run the sidecar: read changes, write records, until it is told to end
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  syncline run --config /etc/syncline/config.toml
  SYNCLINE_LOG=debug syncline run --set delivery.max_rows=500 --log json

SIGTERM or Ctrl-C: the window under way is finished and made durable (10 seconds at most), then
it ends; a second time: it ends at once, and the window is sent again at the next start. Nothing
is lost either way. A database or a CRM that is down is waited for.

Rows that are in the tables already are read first, parents first, beside the stream: it says what
that will cost, and shows bars on a terminal.

The log goes to standard error. SYNCLINE_LOG sets its level: error, warn, info, debug, trace.")]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The form of the log
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    log: logging::Form,
}

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on they do not end the process by themselves.
    pub(crate) fn new() -> Result<Self> {
        let listen = |kind| {
            signal(kind)
                .map_err(|e| Error::new(ErrorKind::Machine, "cannot listen for signals").source(e))
        };
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let terminal = args.log == logging::Form::Human && std::io::stderr().is_terminal();
    let screen = terminal.then(MultiProgress::new);
    match &screen {
        Some(screen) => logging::start_above(screen, LevelFilter::INFO),
        None => logging::start(args.log, LevelFilter::INFO),
    }
    let config = args.config.load()?.config;
    let (stop, stopping) = watch::channel(false);
    let signals = Signals::new()?;
    let signals = tokio::spawn(obey(signals, stop));
    let store = Arc::new(store::open(&config.state.path).await?);
    tell(&config, &store);
    let served = serve(&config, &store).await;
    let (seen, admin) = match served {
        Ok(served) => served,
        Err(error) => {
            store.close().await?;
            return Err(error);
        }
    };
    let beat = tokio::spawn(progress::heartbeat(Arc::clone(&seen)));
    let drawn = screen.clone();
    let drawn = drawn.map(|screen| tokio::spawn(bars::follow(Arc::clone(&seen), screen)));
    let shared = Arc::clone(&seen);
    let ended = start::run(
        &config,
        Arc::clone(&store) as Arc<dyn Store>,
        move |handle| {
            let lsns = handle.capture.borrow().lsns;
            tracing::info!(from = %lsns.durable, "running");
            // Set once: this is called once.
            let _ = shared.handle.set(handle);
        },
        stopping,
    )
    .await;
    beat.abort();
    if let (Some(drawn), Some(screen)) = (drawn, screen) {
        drawn.abort();
        // A screen that cannot be cleared stays as it is.
        let _ = screen.clear();
    }
    signals.abort();
    if admin.is_some() {
        // Whoever asks from now on is told that nobody runs, by the lock.
        token::publish_address(&config.state.path, None)?;
    }
    drop(admin);
    if ended.is_err() {
        // What failed before the stages ran did not close it; what failed later did, or cannot.
        let _ = store.close().await;
    }
    ended?;
    tracing::info!("ended; everything delivered is durable");
    Ok(ExitCode::SUCCESS)
}

/// The first signal asks for an orderly end, the second does not wait for it.
async fn obey(mut signals: Signals, stop: watch::Sender<bool>) {
    signals.next().await;
    tracing::info!("ending: the window under way is finished first; once more ends at once");
    let _ = stop.send(true);
    signals.next().await;
    tracing::warn!("ended at once: the window under way is sent again at the next start");
    std::process::exit(i32::from(exit::FAILED));
}

fn tell(config: &Config, store: &SledStore) {
    let opening = store.opening();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        state = %config.state.path.display(),
        clean = opening.clean,
        opened_in_ms = opening.took.as_millis() as u64,
        "the state directory is open"
    );
}

/// The admin interface, unless none is wanted.
async fn serve(config: &Config, store: &Arc<SledStore>) -> Result<(Arc<Seen>, Option<Admin>)> {
    let seen = Seen::new(config, Arc::clone(store))?;
    if config.admin.listen.is_empty() {
        token::publish_address(&config.state.path, None)?;
        return Ok((seen, None));
    }
    let admin = web::serve(&config.admin.listen, Arc::clone(&seen)).await?;
    token::publish_address(&config.state.path, Some(admin.address))?;
    tracing::info!(address = %admin.address, "the admin interface listens");
    Ok((seen, Some(admin)))
}
