//! What goes wrong, and what follows from it.
//!
//! Two types, because two readers: an [`Error`] stops something of ours and is read by a person; a
//! [`Fault`] is the CRM's (or the network's) answer to a write and is read by the delivery, which
//! acts on its [`Class`] alone. Neither ever holds a row value; names of fields and keys of records
//! it may.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Why something of ours cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorKind {
    /// The configuration or the command is wrong: nothing was started (exit code 2).
    Usage,
    /// Postgres cannot be reached, or the connection broke. Trying again may help.
    SourceUnreachable,
    /// Postgres refuses: credentials, rights, settings, a lost slot. A person has to act.
    SourceRefused,
    /// What Postgres sent cannot be read. Trying again cannot help.
    Protocol,
    /// The slot and the stored progress do not belong together.
    Identity,
    /// The CRM's configuration or credentials are wrong; delivery stops.
    DestinationRefused,
    /// The CRM cannot be reached.
    DestinationUnreachable,
    /// The store failed or is damaged. The process has to end.
    Store,
    /// Another process has it.
    Busy,
    /// Anything of the machine: files, sockets, memory.
    Machine,
}

/// What happened, where, and what to do.
#[derive(Debug)]
pub struct Error {
    /// The class that decides what follows.
    pub kind: ErrorKind,
    /// What happened and where, one sentence without a final full stop.
    pub what: Cow<'static, str>,
    /// What a person can do about it.
    pub remedy: Option<Cow<'static, str>>,
    /// What lies beneath.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error without remedy or source yet.
    pub fn new(kind: ErrorKind, what: impl Into<Cow<'static, str>>) -> Self {
        Error {
            kind,
            what: what.into(),
            remedy: None,
            source: None,
        }
    }

    /// Adds what a person can do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<Cow<'static, str>>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Adds what lies beneath.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Whether trying again, with nothing changed by a person, may help.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::SourceUnreachable | ErrorKind::DestinationUnreachable
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        // The chain beneath, without the links that only repeat the one before.
        let mut last = self.what.to_string();
        let mut next: Option<&(dyn std::error::Error + 'static)> = self
            .source
            .as_ref()
            .map(|e| &**e as &(dyn std::error::Error + 'static));
        while let Some(error) = next {
            let text = error.to_string();
            if !last.contains(&text) {
                write!(f, ": {text}")?;
            }
            last = text;
            next = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// The result of our own work.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What follows from a failed write. The CRM's codes are classed by its sink, in one table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// This record cannot be written as it is: a dead letter.
    Record,
    /// This record may succeed in a moment (a race, an error inside the CRM): a few tries, then a dead
    /// letter.
    RecordTransient,
    /// Somebody else writes the record, or its parent, right now: more tries than for other troubles,
    /// soon after each other and in ever smaller requests, then a dead letter. It says nothing against
    /// the CRM.
    Locked,
    /// The record it refers to is not there: it waits for its parent.
    MissingParent,
    /// The CRM cannot take any write now: as long as it takes.
    Service,
    /// No answer: it may have been written. Sent again as it was.
    Unknown,
    /// The request as a whole was refused for one of its records, or for its size: it is split.
    Split,
    /// Every write would fail until a person acts: delivery stops.
    Configuration,
    /// The session is not accepted: renewed once, then it is a matter of configuration.
    Authentication,
}

/// The CRM's reason for not writing.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Fault {
    /// What follows from it.
    pub class: Class,
    /// The CRM's own code, or ours in lower case where it gave none.
    pub code: Cow<'static, str>,
    /// The CRM's words. They may quote a value: shown in a dead letter, never logged.
    pub message: String,
    /// Fields it names.
    pub fields: Vec<String>,
    /// How long it asked us to wait.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

impl Fault {
    /// A fault without fields and without a wish to wait.
    pub fn new(
        class: Class,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Fault {
            class,
            code: code.into(),
            message: message.into(),
            fields: Vec::new(),
            retry_after: None,
        }
    }
}

impl fmt::Display for Fault {
    /// Code and fields only: the message may quote a value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        if !self.fields.is_empty() {
            write!(f, " ({})", self.fields.join(", "))?;
        }
        Ok(())
    }
}

/// How bad a finding is.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// It runs, but not as one would wish.
    Warning,
    /// It cannot run like this.
    Problem,
}

/// What a check found. (An [`Error`] is when the check itself could not be made.)
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where: `tables."public.customer".columns.email`, `slot syncline`.
    pub place: String,
    /// What is so.
    pub what: String,
    /// What to do, ready to be copied where it is SQL or configuration. Empty for a note.
    pub remedy: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_its_chain_once() {
        let beneath = std::io::Error::other("disk on fire");
        let error = Error::new(ErrorKind::Machine, "cannot write state/db").source(beneath);
        assert_eq!(error.to_string(), "cannot write state/db: disk on fire");
        let same = Error::new(ErrorKind::Machine, "disk on fire")
            .source(std::io::Error::other("disk on fire"));
        assert_eq!(same.to_string(), "disk on fire");
    }

    #[test]
    fn a_fault_shows_no_message() {
        let fault = Fault::new(
            Class::Record,
            "STRING_TOO_LONG",
            "data value too large: secret",
        );
        assert!(!fault.to_string().contains("secret"));
    }
}
