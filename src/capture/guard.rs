//! Keeps the driver of the ordinary connection from handing out the password in clear text where
//! somebody could read along. (The replication connection checks that itself.)

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

use super::transport::Transport;

/// AuthenticationCleartextPassword, whole.
const CLEAR_TEXT: [u8; 9] = [b'R', 0, 0, 0, 8, 0, 0, 0, 3];

/// What the driver's error says then.
pub(super) const REFUSAL: &str = "the server asks for the password in clear text";

/// A stream that ends when its first message asks for a password in clear text.
pub(super) struct Guard {
    inner: Transport,
    first: Vec<u8>,
    armed: bool,
}

impl Guard {
    pub(super) fn new(inner: Transport) -> Self {
        Guard {
            armed: !inner.is_private(),
            first: Vec::with_capacity(CLEAR_TEXT.len()),
            inner,
        }
    }
}

impl AsyncRead for Guard {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        if this.armed {
            let missing = CLEAR_TEXT.len() - this.first.len();
            let new = buf.filled().iter().skip(before).take(missing);
            this.first.extend(new);
            if this.first == CLEAR_TEXT {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    REFUSAL,
                )));
            }
            this.armed = this.first.len() < CLEAR_TEXT.len();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guard {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

impl TlsStream for Guard {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner
            .end_point()
            .map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;

    async fn first_read(pieces: &[&[u8]], armed: bool) -> io::Result<Vec<u8>> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut guard = Guard::new(Transport::Unix(ours));
        // A Unix socket needs no guard of itself.
        assert!(!guard.armed);
        guard.armed = armed;
        let mut all = Vec::new();
        for piece in pieces {
            theirs.write_all(piece).await.unwrap();
            let mut buffer = [0; 64];
            let n = guard.read(&mut buffer).await?;
            all.extend(&buffer[..n]);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn a_request_in_clear_text_ends_the_stream_however_it_is_cut() {
        for cut in 0..9 {
            let (a, b) = CLEAR_TEXT.split_at(cut);
            let pieces: Vec<&[u8]> = [a, b].into_iter().filter(|p| !p.is_empty()).collect();
            assert!(first_read(&pieces, true).await.is_err(), "{cut}");
            assert_eq!(first_read(&pieces, false).await.unwrap(), CLEAR_TEXT);
        }
        // Anything else passes, and the same bytes later on are not a request.
        let md5 = b"R\0\0\0\x0c\0\0\0\x05salt";
        assert_eq!(first_read(&[md5], true).await.unwrap(), md5);
        assert!(first_read(&[md5, &CLEAR_TEXT], true).await.is_ok());
    }
}
