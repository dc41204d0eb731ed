//! The log: on standard error, one line an event, for people or as JSON.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The form of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum Form {
    /// Lines for people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

static JSON: AtomicBool = AtomicBool::new(false);

/// Whether the log is JSON.
pub(crate) fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// What others log. Our errors say what sled's do, in words.
const OTHERS: &str = "warn,sled=off";

/// Starts to log. A plain level in `SYNCLINE_LOG` (or `RUST_LOG`) means our own code alone: other
/// libraries may log what they send and receive, and rows are in that.
pub(crate) fn start(form: Form, default: LevelFilter) {
    JSON.store(form == Form::Json, Ordering::Relaxed);
    let wanted = ["SYNCLINE_LOG", "RUST_LOG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|v| !v.trim().is_empty()));
    let directives = match wanted {
        None => format!("{OTHERS},syncline={default}"),
        Some(text) => match text.trim().parse::<LevelFilter>() {
            Ok(level) => format!("{OTHERS},syncline={level}"),
            Err(_) => text,
        },
    };
    let filter = EnvFilter::builder().parse_lossy(directives);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    // A second start (there is none) would change nothing.
    let _ = match form {
        Form::Human => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
        Form::Json => log.json().flatten_event(true).try_init(),
    };
}
