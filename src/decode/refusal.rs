//! Why a message cannot be taken, in words that hold no row value.

use std::fmt::{self, Write as _};

use super::message::Malformed;
use crate::capture::Frame;
use crate::change::Lsn;
use crate::fault::{Error, ErrorKind};

/// A well-formed message that cannot follow those before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    /// A message of a transaction, and none is open.
    Outside,
    /// A begin while the transaction with this commit LSN is open.
    Nested(Lsn),
    /// A begin with this commit LSN, before the end of the last commit.
    Backwards(Lsn, Lsn),
    /// A commit at the first LSN, for a transaction that announced the second.
    OtherCommit(Lsn, Lsn),
    /// A commit record that ends where it starts, or before.
    EmptyCommit(Lsn, Lsn),
    /// A change of a table that was not described.
    Unknown(u32),
    /// A row of another width than its table.
    Columns {
        /// The table, by its qualified name.
        table: String,
        /// Columns of the row.
        has: usize,
        /// Columns of the table.
        expected: usize,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Outside => write!(f, "it belongs to a transaction, but none is open"),
            Cause::Nested(open) => {
                write!(f, "the transaction that commits at {open} is still open")
            }
            Cause::Backwards(commit, end) => write!(
                f,
                "its transaction commits at {commit}, before the end of the last one at {end}"
            ),
            Cause::OtherCommit(commit, open) => write!(
                f,
                "it commits at {commit}, but the open transaction announced {open}"
            ),
            Cause::EmptyCommit(commit, end) => {
                write!(f, "its commit record starts at {commit} and ends at {end}")
            }
            Cause::Unknown(oid) => {
                write!(f, "table oid {oid} has not been described in this stream")
            }
            Cause::Columns {
                table,
                has,
                expected,
            } => write!(
                f,
                "its row has {has} columns, but {table} was described with {expected}"
            ),
        }
    }
}

/// Bytes shown of a message that cannot be read.
const DUMP: usize = 32;

/// The error for bytes that are no message.
#[cold]
pub(super) fn unreadable(frame: &Frame, malformed: &Malformed) -> Error {
    let Malformed { at, what, showable } = *malformed;
    let mut text = place(frame);
    let _ = write!(text, ": {what}, at byte {at} of {}", frame.payload.len());
    let shown = frame.payload.iter().take(showable.min(DUMP));
    let hex = shown.fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    if !hex.is_empty() {
        let _ = write!(text, " (it begins with {hex})");
    }
    Error::new(ErrorKind::Protocol, text).remedy(
        "the stream stops here, and trying again reads the same bytes: check that the server is \
         Postgres 14 to 18 and that no proxy stands between, then report this message",
    )
}

/// The error for a message that cannot follow those before it.
#[cold]
pub(super) fn refused(frame: &Frame, cause: &Cause) -> Error {
    let mut text = place(frame);
    let _ = write!(text, ": {cause}");
    Error::new(ErrorKind::Protocol, text).remedy(
        "a part of the stream is missing or was sent twice: start Syncline again, so that the \
         stream begins anew behind the last checkpoint; if it stops here again, report this message",
    )
}

fn place(frame: &Frame) -> String {
    match frame.payload.first() {
        Some(byte) if byte.is_ascii_alphabetic() => {
            format!("pgoutput message '{}' at {}", char::from(*byte), frame.lsn)
        }
        Some(byte) => format!("pgoutput message 0x{byte:02x} at {}", frame.lsn),
        None => format!("empty pgoutput message at {}", frame.lsn),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::message;
    use bytes::Bytes;

    fn error(payload: &'static [u8]) -> String {
        let frame = Frame {
            lsn: Lsn(0x1_0000_0002),
            payload: Bytes::from_static(payload),
        };
        match message::parse(&frame.payload) {
            Ok(_) => String::new(),
            Err(malformed) => unreadable(&frame, &malformed).to_string(),
        }
    }

    #[test]
    fn an_error_says_where_and_what() {
        assert_eq!(
            error(b"C\x01abc"),
            "pgoutput message 'C' at 1/2: flags that protocol 1 does not know, at byte 2 of 5 \
             (it begins with 4301616263)"
        );
        assert_eq!(
            error(b"S\0\0\0\x07\x01"),
            "pgoutput message 'S' at 1/2: a message of a streamed transaction, which was not asked \
             for, at byte 1 of 6 (it begins with 530000000701)"
        );
        assert_eq!(
            error(b""),
            "empty pgoutput message at 1/2: the message ends too early, at byte 0 of 0"
        );
    }

    #[test]
    fn an_error_shows_no_row_value() {
        let secret = "736563726574"; // "secret"
        for payload in [
            &b"I\0\0\0\x01N\0\x01t\0\0\0\x09secret"[..],
            b"U\0\0\0\x01N\0\x01t\0\0\0\x06secret!",
            b"D\0\0\0\x01K\0\x01t\0\0\0\x06secretX",
            b"M\0\0\0\0\0\0\0\0\x01secret\0\0\0\0\x01",
            b"\xffsecret",
            b"zsecret",
        ] {
            let text = error(payload);
            assert!(text.contains("at byte"), "{text}");
            assert!(!text.contains(secret) && !text.contains("secret"), "{text}");
        }
    }
}
