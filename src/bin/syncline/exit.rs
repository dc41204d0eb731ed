//! How a command ends: exit codes, and the one way in which a failure is told.

use std::process::ExitCode;

use syncline::fault::{Error, ErrorKind};

/// It could not be done.
pub(crate) const FAILED: u8 = 1;
/// The command or the configuration is wrong; nothing was started.
pub(crate) const USAGE: u8 = 2;
/// Done, but a person should look.
pub(crate) const ATTENTION: u8 = 3;
/// The store failed or is damaged.
pub(crate) const STORE: u8 = 4;

/// For the end of the help.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  failed: the database, the CRM or the machine would not
  2  wrong usage or configuration; nothing was started
  3  done, but something needs attention (with --check; contract check: drift; backfill: rows
     ended on the shelf)
  4  the state directory cannot be used: its disk is full or failed, or it is damaged";

/// The code for an error.
pub(crate) fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Usage => USAGE,
        ErrorKind::Store => STORE,
        ErrorKind::SourceUnreachable
        | ErrorKind::SourceRefused
        | ErrorKind::Protocol
        | ErrorKind::Identity
        | ErrorKind::DestinationRefused
        | ErrorKind::DestinationUnreachable
        | ErrorKind::Busy
        | ErrorKind::Machine => FAILED,
    }
}

/// Tells a person what went wrong and what to do; answers the exit code.
pub(crate) fn failed(error: &Error) -> ExitCode {
    if crate::logging::is_json() {
        let remedy = error.remedy.as_deref().unwrap_or_default();
        tracing::error!(remedy, "{error}");
    } else {
        eprintln!("error: {error}");
        if let Some(remedy) = &error.remedy {
            eprintln!("  → {remedy}");
        }
    }
    ExitCode::from(code(error.kind))
}

/// A panic is a bug, and is told as one. Its text is left out: it can quote a value.
pub(crate) fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let place = place.unwrap_or_default();
        if std::thread::current().name() == Some("store") {
            // sled panics on damaged files; the store says what that means.
            tracing::debug!(place, "the store's thread gave up");
            return;
        }
        eprintln!(
            "error: a bug in syncline, at {place}\n  → please report it with this line and the \
             output of `syncline --version`; nothing that was acknowledged is lost"
        );
    }));
}
