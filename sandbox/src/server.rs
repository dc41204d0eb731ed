//! Accepting connections and carrying requests to the router.
//!
//! hyper is driven directly, because a fault must be able to end a connection without an
//! answer, or in the middle of one: an error from the service does the first, a body that
//! fails does the second.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::app::App;
use crate::http::{self, Ending};
use crate::{Config, Error, bulk, tls};

/// How long a client may take to agree on a key.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The accept loop.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) authority: Option<String>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    jobs: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(config: Config) -> Result<Server, Error> {
        let listen = config.listen;
        let failed = |source| Error::Listen {
            address: listen,
            source,
        };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let app = Arc::new(App::new(config)?);
        let (acceptor, authority) = tls::acceptor(&app.config, address)?.unzip();
        let (stop, stopped) = watch::channel(false);
        let jobs = tokio::spawn(bulk::run(app.clone(), stopped.clone()));
        let task = tokio::spawn(accept(listener, acceptor, app, address, stopped));
        Ok(Server {
            address,
            authority,
            stop,
            task,
            jobs,
        })
    }

    pub(crate) async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
        let _ = self.jobs.await;
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    app: Arc<App>,
    address: SocketAddr,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let (acceptor, app) = (acceptor.clone(), app.clone());
                tokio::spawn(connection(stream, acceptor, app, address, stopped.clone()));
            }
            // Out of file handles, most likely: give others time to close.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    app: Arc<App>,
    address: SocketAddr,
    stopped: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = acceptor else {
        return serve(stream, app, address, stopped).await;
    };
    // Who does not trust the authority hangs up here.
    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        serve(stream, app, address, stopped).await;
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    app: Arc<App>,
    address: SocketAddr,
    mut stopped: watch::Receiver<bool>,
) {
    let service =
        service_fn(move |request: Request<Incoming>| answer(app.clone(), address, request));
    let served =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = served => {}
        // Also when the sender is gone: a dropped sandbox ends its connections.
        _ = stopped.changed() => {}
    }
}

/// Nothing is to be sent: hyper closes the connection.
#[derive(Debug)]
struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is dropped")
    }
}

impl std::error::Error for Dropped {}

async fn answer(
    app: Arc<App>,
    address: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Dropped> {
    let (head, body) = request.into_parts();
    let body = match gather(&head, body).await? {
        Some(body) => body,
        None => return Ok(whole(http::too_large())),
    };
    // A caller that hangs up must not undo a write half-way, so the work is a task of its
    // own, which a closed connection does not cancel.
    let work = tokio::spawn(async move { http::handle(&app, address, head, body).await });
    let (reply, ending) = work.await.map_err(|_| Dropped)?;
    let answer = match ending {
        Ending::Drop => return Err(Dropped),
        Ending::Whole => return Ok(whole(reply)),
        Ending::Cut => {
            let half = reply.body().slice(..reply.body().len() / 2);
            // Long enough for the first half to leave before the connection ends.
            let pause = Box::pin(tokio::time::sleep(Duration::from_millis(20)));
            Answer {
                whole: reply.body().len(),
                rest: Some(half),
                cut: Some(pause),
            }
        }
    };
    Ok(reply.map(|_| answer))
}

/// The body of a request, unless it is longer than its path takes.
async fn gather(head: &Parts, mut body: Incoming) -> Result<Option<Bytes>, Dropped> {
    let most = http::max_body(head.uri.path());
    let mut gathered = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Dropped)?.into_data() else {
            continue;
        };
        if gathered.len() + data.len() > most {
            return Ok(None);
        }
        gathered.extend_from_slice(&data);
    }
    Ok(Some(gathered.freeze()))
}

fn whole(reply: Response<Bytes>) -> Response<Answer> {
    reply.map(|body| Answer {
        whole: body.len(),
        rest: Some(body),
        cut: None,
    })
}

/// A body that may break off in the middle.
struct Answer {
    whole: usize,
    rest: Option<Bytes>,
    cut: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Dropped;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        match (self.rest.take(), &mut self.cut) {
            (Some(bytes), _) if !bytes.is_empty() => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            (_, Some(pause)) => pause.as_mut().poll(cx).map(|()| Some(Err(Dropped))),
            _ => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.cut.is_none() && self.rest.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.whole as u64)
    }
}
