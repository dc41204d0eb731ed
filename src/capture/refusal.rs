//! What an error of the server means for us: whether to try again, and what a person can do.
//! One table for both connections.

use super::conninfo::Conninfo;
use super::guard;
use super::wire::ServerError;
use crate::fault::{Error, ErrorKind};

/// What we were doing when the server refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Doing {
    /// Connecting for replication.
    ConnectingReplication,
    /// Connecting for ordinary SQL.
    Connecting,
    /// Reading the catalog or changing something by SQL.
    Asking,
    /// Making the slot.
    MakingSlot,
    /// Streaming, or beginning to.
    Streaming,
}

/// Quotes a name for SQL.
pub(super) fn ident(name: &str) -> String {
    postgres_protocol::escape::escape_identifier(name)
}

/// Quotes a text for SQL. Doubling quotes is all that the grammar of replication commands knows, and
/// all that SQL needs with `standard_conforming_strings`.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What the server said, beneath an error of ours.
#[derive(Debug, thiserror::Error)]
#[error("{words} (SQLSTATE {code})")]
struct ServerWords {
    words: String,
    code: String,
}

/// Whether an attempt with TLS may have failed because of TLS: the handshake, or an access rule for
/// encrypted connections. A wrong password is not tried again where it could be read.
pub(super) fn because_of_tls(error: &Error) -> bool {
    let Some(beneath) = &error.source else {
        return false;
    };
    error.kind == ErrorKind::SourceRefused
        && match sql_state(error) {
            Some(code) => code == "28000",
            None => beneath.is::<std::io::Error>(),
        }
}

/// The server's code (SQLSTATE), where the error is the server's.
pub(super) fn sql_state(error: &Error) -> Option<&str> {
    let said = error.source.as_ref()?.downcast_ref::<ServerWords>()?;
    Some(&said.code)
}

/// Turns the server's refusal into ours.
pub(super) fn refusal(error: &ServerError, doing: Doing, info: &Conninfo, slot: &str) -> Error {
    let role = ident(&info.user);
    let code = error.code.as_str();
    let class = code.get(..2).unwrap_or_default();
    // Errors about data may quote it.
    let words = if matches!(class, "22" | "23") && code != "22023" {
        "the server's words are withheld, they may quote a value".to_owned()
    } else {
        error.message.clone()
    };
    let streaming = doing == Doing::Streaming;
    let (kind, what, remedy): (ErrorKind, String, String) = match (code, class) {
        ("28P01", _) => (
            ErrorKind::SourceRefused,
            format!("the password for {info} is wrong"),
            "set it by SYNCLINE_SOURCE__PASSWORD, source.password_file or ~/.pgpass".into(),
        ),
        ("28000", _) => (
            ErrorKind::SourceRefused,
            format!("the server does not let us into {info}"),
            format!(
                "check that the role exists and may log in, and that pg_hba.conf on the server has a line for it, e.g. \"hostssl {} {} <our address>/32 scram-sha-256\" (a replication connection to a database matches the database's lines, not the keyword replication)",
                info.database, info.user
            ),
        ),
        ("3D000", _) => (
            ErrorKind::SourceRefused,
            format!(
                "there is no database {:?} at {}",
                info.database, info.address
            ),
            "check the database in source.url".into(),
        ),
        ("42501", _)
            if matches!(doing, Doing::ConnectingReplication | Doing::MakingSlot) || streaming =>
        {
            (
                ErrorKind::SourceRefused,
                format!("role {:?} has no right to replicate", info.user),
                format!(
                    "as a superuser: ALTER ROLE {role} REPLICATION; (managed services: GRANT rds_replication TO {role}; or their equivalent)"
                ),
            )
        }
        ("42501", _) => (
            ErrorKind::SourceRefused,
            format!("role {:?} lacks a right", info.user),
            "see sql/roles.sql for the least rights".into(),
        ),
        ("57P01" | "57P02" | "57P03" | "57P05" | "57014", _) | (_, "08" | "40" | "53") => (
            ErrorKind::SourceUnreachable,
            format!(
                "the server at {} is not available now ({code})",
                info.address
            ),
            if class == "53" {
                "raise max_connections or max_wal_senders on the server".into()
            } else {
                String::new()
            },
        ),
        ("55006", _) => (
            ErrorKind::Busy,
            format!("the slot {slot:?} is in use"),
            format!(
                "SELECT active_pid FROM pg_replication_slots WHERE slot_name = {}; then end the other process",
                literal(slot)
            ),
        ),
        ("55000", _) if doing == Doing::MakingSlot || (!streaming && doing != Doing::Asking) => (
            ErrorKind::SourceRefused,
            "the server is not set up for logical replication".into(),
            "as a superuser: ALTER SYSTEM SET wal_level = 'logical'; then restart the server"
                .into(),
        ),
        ("55000", _) if streaming => (
            ErrorKind::Identity,
            format!("the slot {slot:?} cannot be read any more"),
            lost_remedy(slot),
        ),
        ("42704", _) if streaming => (
            ErrorKind::Identity,
            "the slot or the publication is not there, or the publication was made after the slot"
                .into(),
            format!(
                "a publication must exist before its slot: {}",
                lost_remedy(slot)
            ),
        ),
        ("42704", _) if matches!(doing, Doing::Connecting | Doing::ConnectingReplication) => (
            ErrorKind::SourceRefused,
            "the server does not know a session option".into(),
            "Postgres 14 or newer is needed; check options in source.url".into(),
        ),
        (_, "XX" | "0A") if streaming => (
            ErrorKind::SourceRefused,
            "the server cannot decode the slot".into(),
            "look into the server's log".into(),
        ),
        _ => (
            ErrorKind::SourceRefused,
            match doing {
                Doing::Connecting | Doing::ConnectingReplication => {
                    format!("connecting to {info} was refused")
                }
                Doing::Asking => format!("a query to {info} failed"),
                Doing::MakingSlot => format!("the slot {slot:?} could not be made"),
                Doing::Streaming => "the stream of changes broke off".into(),
            },
            error.hint.clone(),
        ),
    };
    let error = Error::new(kind, what).source(ServerWords {
        words,
        code: code.to_owned(),
    });
    if remedy.is_empty() {
        error
    } else {
        error.remedy(remedy)
    }
}

/// How to begin anew after a slot is gone for good.
pub(super) fn lost_remedy(slot: &str) -> String {
    format!(
        "SELECT pg_drop_replication_slot({}); (if it is still there), set the state directory aside, and start again: the slot is made anew and the changes in between have to be reconciled",
        literal(slot)
    )
}

/// What an error of the ordinary connection means.
pub(super) fn from_sql(
    error: tokio_postgres::Error,
    doing: Doing,
    info: &Conninfo,
    slot: &str,
) -> Error {
    if let Some(db) = error.as_db_error() {
        return refusal(&ServerError::from(db), doing, info, slot);
    }
    // Texts of tokio-postgres, which has no public kind for these two.
    let text = format!(
        "{error} {}",
        std::error::Error::source(&error).map_or_else(String::new, ToString::to_string)
    );
    if text.contains(guard::REFUSAL) {
        return clear_text(info);
    }
    if text.contains("password missing") {
        return no_password(info);
    }
    if text.contains("authentication")
        || text.contains("SASL")
        || text.contains("SCRAM")
        || text.contains("channel binding")
    {
        return Error::new(
            ErrorKind::SourceRefused,
            format!("authentication with {info} failed"),
        )
        .remedy("check the password, and channel_binding in source.url")
        .source(error);
    }
    Error::new(
        ErrorKind::SourceUnreachable,
        format!("the connection to {} broke", info.address),
    )
    .source(error)
}

/// The server wants the password where others could read it.
pub(super) fn clear_text(info: &Conninfo) -> Error {
    Error::new(
        ErrorKind::SourceRefused,
        format!(
            "{} asks for the password in clear text over a connection without TLS",
            info.address
        ),
    )
    .remedy("use sslmode=require or stronger, or scram-sha-256 in the server's pg_hba.conf")
}

/// The server wants a password and there is none.
pub(super) fn no_password(info: &Conninfo) -> Error {
    let hint = match &info.password_hint {
        Some(hint) => format!(" ({hint})"),
        None => String::new(),
    };
    Error::new(
        ErrorKind::SourceRefused,
        format!("the server asks for the password of {info}, and none is set{hint}"),
    )
    .remedy("set it by SYNCLINE_SOURCE__PASSWORD, source.password_file or ~/.pgpass")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn info() -> Conninfo {
        Conninfo::from_config(&toml::from_str("url = \"postgres://me:hunter2@h/d\"").unwrap())
            .unwrap()
    }

    fn class(code: &str, doing: Doing) -> Error {
        let error = ServerError {
            code: code.into(),
            message: "a secret value".into(),
            ..ServerError::default()
        };
        refusal(&error, doing, &info(), "s")
    }

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        for code in ["57P01", "57P02", "57P03", "53300", "08006", "57014"] {
            assert!(class(code, Doing::Streaming).is_transient(), "{code}");
        }
        for code in [
            "28P01", "28000", "3D000", "42501", "42704", "55000", "0A000", "XX000", "42601",
        ] {
            assert!(!class(code, Doing::Streaming).is_transient(), "{code}");
        }
        assert_eq!(class("55006", Doing::Streaming).kind, ErrorKind::Busy);
        assert_eq!(class("42704", Doing::Streaming).kind, ErrorKind::Identity);
    }

    #[test]
    fn only_what_tls_may_have_caused_is_tried_without() {
        assert!(because_of_tls(&class("28000", Doing::Connecting)));
        for code in ["28P01", "3D000", "42501", "57P03"] {
            assert!(!because_of_tls(&class(code, Doing::Connecting)), "{code}");
        }
        assert!(!because_of_tls(&no_password(&info())));
    }

    #[test]
    fn refusals_show_no_values_and_name_the_remedy() {
        assert!(
            !class("22P02", Doing::Streaming)
                .to_string()
                .contains("a secret value")
        );
        assert!(
            class("28P01", Doing::Connecting)
                .to_string()
                .contains("a secret value")
        );
        assert!(
            !class("28P01", Doing::Connecting)
                .to_string()
                .contains("hunter2")
        );
        let right = class("42501", Doing::ConnectingReplication);
        assert!(
            right
                .remedy
                .unwrap()
                .contains("ALTER ROLE \"me\" REPLICATION;")
        );
    }
}
