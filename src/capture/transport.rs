//! A byte stream to the server: TCP or a Unix socket, with or without TLS. The replication
//! connection and the ordinary one are dialled here, by the same rules.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::conninfo::{Address, Conninfo, SslMode};
use super::tls;
use crate::fault::{Error, ErrorKind, Result};

/// The stream.
pub(super) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    /// Whether it is encrypted.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Transport::Tls(_))
    }

    /// Whether nobody between could read along.
    pub(super) fn is_private(&self) -> bool {
        match self {
            Transport::Tcp(stream) => stream.peer_addr().is_ok_and(|a| a.ip().is_loopback()),
            Transport::Unix(_) | Transport::Tls(_) => true,
        }
    }

    /// What SCRAM can be bound to.
    pub(super) fn end_point(&self) -> Option<Vec<u8>> {
        let Transport::Tls(stream) = self else {
            return None;
        };
        let (_, session) = stream.get_ref();
        tls::end_point(session.peer_certificates()?.first()?)
    }
}

/// Whether to speak TLS in this attempt. `prefer` makes a second attempt without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Attempt {
    /// As `sslmode` says.
    AsAsked,
    /// Plain: the one with TLS was refused.
    WithoutTls,
}

/// Connects, and agrees on TLS.
pub(super) async fn dial(info: &Conninfo, attempt: Attempt) -> Result<Transport> {
    let place = info.address.to_string();
    match &info.address {
        Address::Unix { directory, port } => {
            // TLS is never used on a Unix socket, whatever sslmode says, as in libpq.
            let file = Address::socket_file(directory, *port);
            let stream = UnixStream::connect(&file)
                .await
                .map_err(|e| unreachable(&place, e))?;
            Ok(Transport::Unix(stream))
        }
        Address::Tcp {
            host,
            hostaddr,
            port,
        } => {
            let connected = match hostaddr {
                Some(ip) => TcpStream::connect((*ip, *port)).await,
                None => TcpStream::connect((host.as_str(), *port)).await,
            };
            let stream = connected.map_err(|e| unreachable(&place, e))?;
            tune(&stream, info);
            if info.tls.mode == SslMode::Disable || attempt == Attempt::WithoutTls {
                return Ok(Transport::Tcp(stream));
            }
            secure(stream, info, host, &place).await
        }
    }
}

/// A failure to set an option costs comfort, not correctness.
fn tune(stream: &TcpStream, info: &Conninfo) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    if let Some(idle) = info.keepalive.idle {
        let keepalive = TcpKeepalive::new()
            .with_time(idle)
            .with_interval(info.keepalive.interval)
            .with_retries(info.keepalive.count);
        if let Err(e) = socket.set_tcp_keepalive(&keepalive) {
            tracing::debug!("TCP keepalive was not set: {e}");
        }
    }
    #[cfg(target_os = "linux")]
    if info.keepalive.user_timeout.is_some()
        && let Err(e) = socket.set_tcp_user_timeout(info.keepalive.user_timeout)
    {
        tracing::debug!("TCP_USER_TIMEOUT was not set: {e}");
    }
}

async fn secure(
    mut stream: TcpStream,
    info: &Conninfo,
    host: &str,
    place: &str,
) -> Result<Transport> {
    if !info.tls.direct {
        let mut request = BytesMut::new();
        frontend::ssl_request(&mut request);
        let broke = |e| unreachable(place, e);
        stream.write_all(&request).await.map_err(broke)?;
        // Exactly one byte: what a man in the middle adds behind it would otherwise be read as if
        // it had come through TLS (CVE-2021-23222).
        match stream.read_u8().await.map_err(broke)? {
            b'S' => {}
            b'N' if info.tls.mode == SslMode::Prefer => return Ok(Transport::Tcp(stream)),
            b'N' => {
                return Err(Error::new(
                    ErrorKind::SourceRefused,
                    format!("{place} does not offer TLS"),
                )
                .remedy(
                    "set ssl = on in postgresql.conf, or sslmode=disable if the network is trusted",
                ));
            }
            b'E' => {
                return Err(Error::new(
                    ErrorKind::SourceRefused,
                    format!("{place} refused the connection before TLS was agreed on"),
                )
                .remedy("look into the server's log"));
            }
            _ => {
                return Err(Error::new(
                    ErrorKind::Protocol,
                    format!("{place} does not answer like a Postgres server"),
                )
                .remedy("check host and port in source.url"));
            }
        }
    }
    let config = tls::client(&info.tls)?;
    let name = ServerName::try_from(host.to_owned()).map_err(|e| {
        Error::new(
            ErrorKind::Usage,
            format!("{host:?} is not a host name that a certificate could be checked for"),
        )
        .remedy("give the server's DNS name or address as host")
        .source(e)
    })?;
    match TlsConnector::from(config).connect(name, stream).await {
        Ok(stream) => Ok(Transport::Tls(Box::new(stream))),
        Err(e) => Err(tls::refusal(e, place)),
    }
}

fn unreachable(place: &str, error: io::Error) -> Error {
    let (what, remedy) = match error.kind() {
        io::ErrorKind::ConnectionRefused => (
            format!("no server listens at {place}"),
            "start it, or check host and port in source.url (and listen_addresses on the server)",
        ),
        io::ErrorKind::NotFound => (
            format!("there is no socket {place}"),
            "start the server, or check its unix_socket_directories",
        ),
        io::ErrorKind::PermissionDenied => (
            format!("this user may not open {place}"),
            "give it access to the socket's directory (unix_socket_permissions)",
        ),
        // The resolver's errors have no kind of their own.
        _ if error.to_string().contains("lookup address") => (
            format!("the host of {place} is not known"),
            "check the host in source.url and the name server",
        ),
        _ => (
            format!("{place} cannot be reached"),
            "check host and port in source.url, and the network between",
        ),
    };
    Error::new(ErrorKind::SourceUnreachable, what)
        .remedy(remedy)
        .source(error)
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Transport::Unix(s) => Pin::new(s).poll_read(cx, buf),
            Transport::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Tcp(s) => Pin::new(s).poll_write(cx, buf),
            Transport::Unix(s) => Pin::new(s).poll_write(cx, buf),
            Transport::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Tcp(s) => Pin::new(s).poll_flush(cx),
            Transport::Unix(s) => Pin::new(s).poll_flush(cx),
            Transport::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Transport::Unix(s) => Pin::new(s).poll_shutdown(cx),
            Transport::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
