//! The log: on standard error, one line an event, for people or as JSON.

use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

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
    start_to(form, default, BoxMakeWriter::new(io::stderr));
}

/// The same, above bars that stand at the bottom of the terminal.
pub(crate) fn start_above(bars: &MultiProgress, default: LevelFilter) {
    let bars = bars.clone();
    let above = BoxMakeWriter::new(move || Above(bars.clone()));
    start_to(Form::Human, default, above);
}

/// Writes a line where bars are, which are drawn again below it.
struct Above(MultiProgress);

impl io::Write for Above {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write_all(text))?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn start_to(form: Form, default: LevelFilter, writer: BoxMakeWriter) {
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
        .with_writer(writer)
        .with_target(false);
    // A second start (there is none) would change nothing.
    let _ = match form {
        Form::Human => log.with_ansi(io::stderr().is_terminal()).try_init(),
        Form::Json => log.json().flatten_event(true).try_init(),
    };
}
