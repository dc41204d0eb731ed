//! Backend messages out of a byte stream, without copying.
//!
//! The buffer moves on only when a whole message is in it, so that a read may be cancelled at any
//! await. A length is checked before it is believed.
//!
//! A frame's payload is a slice of the read buffer: **keeping one payload keeps its whole chunk
//! (256 KiB, or the size of a larger frame) in memory.** Copy what is kept longer than a window.

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::Frame;
use crate::change::Lsn;
use crate::fault::{Error, ErrorKind, Result};

/// Bytes asked for in one read.
const CHUNK: usize = 256 << 10;
/// Below this a new chunk is begun: short reads cost system calls.
const LEAST: usize = 32 << 10;
/// Type byte and length.
const HEADER: usize = 5;
/// `w`, start, end, time; see "XLogData" in the manual's streaming replication protocol.
const XLOG_DATA: usize = 25;
/// Longest message before the server has authenticated us. It has no business sending more.
pub(super) const HANDSHAKE_CAP: usize = 1 << 20;

/// One backend message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Message {
    /// Its type byte.
    pub tag: u8,
    /// What follows the length.
    pub body: Bytes,
}

/// Why [`Framer::cut`] stopped.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Cut {
    /// The buffer holds no further whole message.
    Starved,
    /// The batch is full.
    Full,
    /// A message that is not XLogData comes next.
    Message(Message),
}

/// What may stand in one batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    /// Frames.
    pub frames: usize,
    /// Bytes of payload.
    pub bytes: usize,
}

/// Splits a byte stream.
pub(super) struct Framer {
    buffer: BytesMut,
    cap: usize,
}

impl Framer {
    /// A framer that refuses messages longer than `cap` bytes.
    pub(super) fn new(cap: usize) -> Self {
        Framer {
            buffer: BytesMut::new(),
            cap,
        }
    }

    /// Changes the cap.
    pub(super) fn set_cap(&mut self, cap: usize) {
        self.cap = cap;
    }

    /// Bytes that wait to be cut.
    pub(super) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Reads once. Zero is the end of the stream. Cancel-safe.
    pub(super) async fn fill<R: AsyncRead + Unpin>(
        &mut self,
        reader: &mut R,
    ) -> std::io::Result<usize> {
        if self.buffer.capacity() - self.buffer.len() < LEAST {
            // What is missing of a large message is made room for at once: growing step by step
            // would copy its beginning again and again. The length has passed the cap.
            let missing = match self.buffer.get(1..HEADER) {
                Some(length) => total(length).saturating_sub(self.buffer.len()),
                None => 0,
            };
            self.buffer.reserve(missing.min(self.cap).max(CHUNK));
        }
        reader.read_buf(&mut self.buffer).await
    }

    /// The next whole message, if it is there.
    pub(super) fn next(&mut self) -> Result<Option<Message>> {
        let Some(total) = self.whole(0)? else {
            return Ok(None);
        };
        let mut body = self.buffer.split_to(total).freeze();
        let tag = body.get_u8();
        body.advance(HEADER - 1);
        Ok(Some(Message { tag, body }))
    }

    /// Cuts XLogData messages into `frames`, as many as are whole and the batch may hold. Returns
    /// the bytes of their payloads and why it stopped.
    ///
    /// The run is frozen once; each frame is a slice of it.
    pub(super) fn cut(&mut self, frames: &mut Vec<Frame>, batch: Batch) -> Result<(usize, Cut)> {
        // First look, then split: the buffer is split once a run.
        let first = frames.len();
        let mut run = 0;
        let mut bytes = 0;
        let mut count = first;
        let stop = loop {
            if count >= batch.frames || bytes >= batch.bytes {
                break Some(Cut::Full);
            }
            match self.whole(run) {
                // What came before the bad message is still good, and is delivered first.
                Err(_) if run > 0 => break Some(Cut::Full),
                Err(e) => return Err(e),
                Ok(None) => break Some(Cut::Starved),
                Ok(Some(total)) => {
                    let is_data = self.buffer.get(run) == Some(&b'd')
                        && self.buffer.get(run + HEADER) == Some(&b'w')
                        && total >= HEADER + XLOG_DATA;
                    if !is_data {
                        break None;
                    }
                    run += total;
                    bytes += total - HEADER - XLOG_DATA;
                    count += 1;
                }
            }
        };
        if run > 0 {
            let chunk = self.buffer.split_to(run).freeze();
            frames.reserve(count - first);
            let mut at = 0;
            while let Some(length) = chunk.get(at + 1..at + HEADER) {
                let end = at + total(length);
                let start = at + HEADER + XLOG_DATA;
                let lsn = chunk.get(at + HEADER + 1..).map_or(0, |mut b| b.get_u64());
                frames.push(Frame {
                    lsn: Lsn(lsn),
                    payload: chunk.slice(start..end),
                });
                at = end;
            }
        }
        match stop {
            Some(stop) => Ok((bytes, stop)),
            None => Ok((bytes, self.next()?.map_or(Cut::Starved, Cut::Message))),
        }
    }

    /// The length of the message at `at`, header included, if it is whole.
    fn whole(&self, at: usize) -> Result<Option<usize>> {
        let Some(header) = self.buffer.get(at..at + HEADER) else {
            return Ok(None);
        };
        let total = total(&header[1..]);
        if total < HEADER {
            return Err(Error::new(
                ErrorKind::Protocol,
                format!(
                    "a message of type {:?} has an impossible length",
                    char::from(header[0])
                ),
            )
            .remedy("check that nothing but Postgres itself answers at source.url"));
        }
        if total - HEADER > self.cap {
            // The position stands in the first bytes of the frame: wait for them.
            let lsn = match (header[0], self.buffer.get(at + HEADER..)) {
                (b'd', Some(body)) if body.len() >= XLOG_DATA && body[0] == b'w' => {
                    Some(Lsn((&body[1..]).get_u64()))
                }
                (b'd', _)
                    if self.cap > XLOG_DATA && self.buffer.len() - at < HEADER + XLOG_DATA =>
                {
                    return Ok(None);
                }
                _ => None,
            };
            let place = lsn.map_or_else(String::new, |lsn| format!(" at {lsn}"));
            return Err(Error::new(
                ErrorKind::Protocol,
                format!(
                    "a message of {} bytes{place} is longer than source.max_frame ({} bytes)",
                    total - HEADER,
                    self.cap
                ),
            )
            .remedy(format!(
                "set source.max_frame to {} or more, and see that there is memory for it",
                total - HEADER
            )));
        }
        Ok((self.buffer.len() - at >= total).then_some(total))
    }
}

/// The length of a message from the four bytes after its type, header included. Negative lengths
/// and such that do not count themselves come out below [`HEADER`].
fn total(length: &[u8]) -> usize {
    match length.try_into().map(i32::from_be_bytes) {
        Ok(length @ 4..) => length.unsigned_abs() as usize + 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use bytes::BufMut;
    use proptest::prelude::*;

    use super::*;

    const BATCH: Batch = Batch {
        frames: 7,
        bytes: 300,
    };

    fn xlog(lsn: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u8(b'd');
        out.put_i32((4 + XLOG_DATA + payload.len()) as i32);
        out.put_u8(b'w');
        out.put_u64(lsn);
        out.put_u64(lsn);
        out.put_i64(0);
        out.put_slice(payload);
        out
    }

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        out.put_i32(4 + body.len() as i32);
        out.put_slice(body);
        out
    }

    /// Everything that comes out of a stream delivered in pieces.
    async fn read(pieces: &[&[u8]], cap: usize) -> Result<Vec<(u64, Vec<u8>)>> {
        let mut framer = Framer::new(cap);
        let mut out = Vec::new();
        for piece in pieces {
            let mut reader = *piece;
            while !reader.is_empty() {
                framer.fill(&mut reader).await.unwrap();
            }
            loop {
                let mut frames = Vec::new();
                let (bytes, cut) = framer.cut(&mut frames, BATCH)?;
                assert!(frames.len() <= BATCH.frames);
                assert_eq!(bytes, frames.iter().map(|f| f.payload.len()).sum::<usize>());
                out.extend(frames.into_iter().map(|f| (f.lsn.0, f.payload.to_vec())));
                match cut {
                    Cut::Starved => break,
                    Cut::Full => {}
                    Cut::Message(m) => out.push((u64::from(m.tag) << 56, m.body.to_vec())),
                }
            }
        }
        Ok(out)
    }

    fn block<F: Future>(f: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(f)
    }

    proptest! {
        #[test]
        fn cuts_anywhere_change_nothing(
            items in prop::collection::vec((any::<u64>(), prop::collection::vec(any::<u8>(), 0..120), 0..3_u8), 0..40),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let mut stream = Vec::new();
            let mut expected = Vec::new();
            for (lsn, body, kind) in items {
                match kind {
                    0 => {
                        stream.extend(message(b'S', &body));
                        expected.push((u64::from(b'S') << 56, body));
                    }
                    1 => {
                        let mut keepalive = vec![b'k'];
                        keepalive.extend(&body);
                        stream.extend(message(b'd', &keepalive));
                        expected.push((u64::from(b'd') << 56, keepalive));
                    }
                    _ => {
                        stream.extend(xlog(lsn, &body));
                        expected.push((lsn, body));
                    }
                }
            }
            let mut at: Vec<usize> = cuts.iter().map(|c| c.index(stream.len() + 1)).collect();
            at.extend([0, stream.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|w| &stream[w[0]..w[1]]).collect();
            prop_assert_eq!(block(read(&pieces, 1000)).unwrap(), expected);
        }

        #[test]
        fn garbage_never_panics(garbage in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = block(read(&[&garbage], 200));
        }
    }

    #[test]
    fn a_frame_above_the_cap_is_refused_with_its_position() {
        let mut stream = xlog(1, b"fine");
        stream.extend(xlog(0x16_0000_0042, &[0; 500]));
        for piece in [1, 7, stream.len()] {
            let pieces: Vec<&[u8]> = stream.chunks(piece).collect();
            let error = block(read(&pieces, 100)).unwrap_err();
            assert!(error.to_string().contains("16/42"), "{error}");
            assert!(error.remedy.unwrap().contains("source.max_frame"));
        }
        // What precedes it is delivered.
        let mut framer = Framer::new(100);
        let mut reader = &stream[..];
        block(framer.fill(&mut reader)).unwrap();
        let mut frames = Vec::new();
        assert_eq!(framer.cut(&mut frames, BATCH).unwrap().1, Cut::Full);
        assert_eq!(frames.len(), 1);
        assert!(framer.cut(&mut frames, BATCH).is_err());
    }

    #[test]
    fn impossible_lengths_are_refused() {
        for length in [3_i32, 0, -1, i32::MIN, i32::MAX] {
            let mut stream = vec![b'S'];
            stream.put_i32(length);
            assert!(block(read(&[&stream], 100)).is_err(), "{length}");
        }
    }
}
