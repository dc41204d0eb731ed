//! Bodies of the few messages that the replication connection reads and writes itself.
//!
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>,
//! <https://www.postgresql.org/docs/current/protocol-replication.html>

use bytes::{BufMut, BytesMut};

use crate::change::{Lsn, Timestamp};

/// Reads forward; `None` when there is not enough.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1).and_then(|b| b.first().copied())
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    /// Text up to a zero byte. What is not UTF-8 is replaced: it is only shown.
    pub(super) fn text(&mut self) -> Option<String> {
        let end = self.0.iter().position(|b| *b == 0)?;
        let text = String::from_utf8_lossy(self.take(end)?).into_owned();
        self.take(1)?;
        Some(text)
    }
}

/// "Primary keepalive": how far the slot has been processed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Keepalive {
    pub end: Lsn,
    pub reply: bool,
}

impl Keepalive {
    /// From the content of a CopyData message; `None` when it is something else.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let mut r = Reader(body);
        if r.u8()? != b'k' {
            return None;
        }
        let end = Lsn(r.u64()?);
        r.u64()?;
        let reply = r.u8()? != 0;
        r.0.is_empty().then_some(Keepalive { end, reply })
    }
}

/// A "Standby status update" with its CopyData frame around it.
pub(super) fn status_update(
    out: &mut BytesMut,
    received: Lsn,
    durable: Lsn,
    now: Timestamp,
    reply: bool,
) {
    out.put_u8(b'd');
    out.put_i32(4 + 34);
    out.put_u8(b'r');
    out.put_u64(received.0);
    // Only "flush" moves the slot; "apply" shows in pg_stat_replication.
    out.put_u64(durable.0);
    out.put_u64(durable.0);
    out.put_i64(now.to_postgres());
    out.put_u8(u8::from(reply));
}

/// What a pgoutput message means for transactions. Everything else about it is decode's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Boundary {
    /// Begin.
    Opens,
    /// Commit, with its end LSN.
    Closes(Lsn),
}

/// Looks at the type byte, and at the end LSN of a Commit.
#[inline]
pub(super) fn boundary(payload: &[u8]) -> Option<Boundary> {
    match payload.first()? {
        b'B' => Some(Boundary::Opens),
        b'C' => {
            // Type, flags, commit LSN, end LSN.
            let mut r = Reader(payload.get(1 + 1 + 8..)?);
            Some(Boundary::Closes(Lsn(r.u64()?)))
        }
        _ => None,
    }
}

/// The fields of an ErrorResponse or a NoticeResponse.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct ServerError {
    pub severity: String,
    /// SQLSTATE.
    pub code: String,
    pub message: String,
    pub hint: String,
    /// The C function that raised it: the only part that is never translated.
    pub routine: String,
}

impl ServerError {
    pub(super) fn parse(body: &[u8]) -> Self {
        let mut r = Reader(body);
        let mut error = ServerError::default();
        while let Some(field) = r.u8().filter(|f| *f != 0) {
            let Some(text) = r.text() else { break };
            match field {
                b'S' => error.severity = text,
                b'C' => error.code = text,
                b'M' => error.message = text,
                b'H' => error.hint = text,
                b'R' => error.routine = text,
                _ => {}
            }
        }
        error
    }
}

impl From<&tokio_postgres::error::DbError> for ServerError {
    fn from(e: &tokio_postgres::error::DbError) -> Self {
        ServerError {
            severity: e.severity().to_owned(),
            code: e.code().code().to_owned(),
            message: e.message().to_owned(),
            hint: e.hint().unwrap_or_default().to_owned(),
            routine: e.routine().unwrap_or_default().to_owned(),
        }
    }
}

/// One row of a simple query: the columns' text.
pub(super) type Row = Vec<Option<String>>;

/// A DataRow.
pub(super) fn data_row(body: &[u8]) -> Option<Row> {
    let mut r = Reader(body);
    let columns = r.u16()?;
    let mut row = Row::with_capacity(usize::from(columns).min(64));
    for _ in 0..columns {
        row.push(match r.i32()? {
            -1 => None,
            n => {
                let bytes = r.take(usize::try_from(n).ok()?)?;
                Some(String::from_utf8_lossy(bytes).into_owned())
            }
        });
    }
    Some(row)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_status_update_is_laid_out_as_the_manual_says() {
        let mut out = BytesMut::new();
        status_update(&mut out, Lsn(1), Lsn(2), Timestamp::from_postgres(3), true);
        let mut r = Reader(&out);
        assert_eq!(
            (r.u8(), r.i32(), r.u8()),
            (Some(b'd'), Some(38), Some(b'r'))
        );
        assert_eq!((r.u64(), r.u64(), r.u64()), (Some(1), Some(2), Some(2)));
        assert_eq!((r.u64(), r.u8()), (Some(3), Some(1)));
        assert!(r.0.is_empty());
    }

    #[test]
    fn keepalives_and_boundaries() {
        let mut body = vec![b'k'];
        body.put_u64(7);
        body.put_i64(0);
        body.put_u8(1);
        let parsed = Keepalive {
            end: Lsn(7),
            reply: true,
        };
        assert_eq!(Keepalive::parse(&body), Some(parsed));
        assert_eq!(Keepalive::parse(&body[..17]), None);
        let mut commit = vec![b'C', 0];
        commit.put_u64(5);
        commit.put_u64(6);
        commit.put_i64(0);
        assert_eq!(boundary(&commit), Some(Boundary::Closes(Lsn(6))));
        assert_eq!(boundary(b"B"), Some(Boundary::Opens));
        assert_eq!(boundary(b"I"), None);
        assert_eq!(boundary(b""), None);
    }

    #[test]
    fn errors_are_read_by_field() {
        let error = ServerError::parse(b"SFATAL\0VFATAL\0C28P01\0Mno\0Rauth_failed\0\0");
        assert_eq!(
            (error.code.as_str(), error.message.as_str()),
            ("28P01", "no")
        );
        assert_eq!(error.routine, "auth_failed");
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = ServerError::parse(&bytes);
            let _ = data_row(&bytes);
            let _ = Keepalive::parse(&bytes);
            let _ = boundary(&bytes);
        }
    }
}
