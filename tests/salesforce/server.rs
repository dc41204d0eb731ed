//! A server that answers from a script and keeps what it was asked. It parses just enough HTTP/1.1.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// One scripted answer.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Status, further headers, body.
    Full(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Announces more bytes than it sends.
    Cut(u16, Vec<u8>),
    /// Reads the request, then hangs up.
    HangUp,
    /// Reads the request, then says nothing.
    Silence,
}

impl Reply {
    pub fn json(status: u16, body: &str) -> Reply {
        let kind = ("content-type", "application/json;charset=UTF-8".to_owned());
        Reply::Full(status, vec![kind], body.as_bytes().to_vec())
    }

    pub fn html(status: u16) -> Reply {
        let kind = ("content-type", "text/html".to_owned());
        Reply::Full(
            status,
            vec![kind],
            b"<html>Down for maintenance</html>".to_vec(),
        )
    }

    pub fn error(status: u16, code: &str, message: &str) -> Reply {
        let body = serde_json::json!([{"errorCode": code, "message": message}]);
        Reply::json(status, &body.to_string())
    }

    pub fn expired() -> Reply {
        Reply::error(401, "INVALID_SESSION_ID", "Session expired or invalid")
    }

    pub fn with(self, name: &'static str, value: impl Into<String>) -> Reply {
        match self {
            Reply::Full(status, mut headers, body) => {
                headers.push((name, value.into()));
                Reply::Full(status, headers, body)
            }
            other => other,
        }
    }

    pub fn gzipped(self) -> Reply {
        match self {
            Reply::Full(status, headers, body) => {
                Reply::Full(status, headers, gzip(&body)).with("content-encoding", "gzip")
            }
            other => other,
        }
    }
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// Unpacked.
    pub body: Vec<u8>,
    /// Bytes that it came in.
    pub sent: usize,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        let found = self
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map_or("", |(_, v)| v)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The decoded query of a SOQL request.
    pub fn soql(&self) -> String {
        let (_, query) = self.target.split_once("?q=").unwrap();
        let mut out = Vec::new();
        let mut bytes = query.bytes();
        while let Some(byte) = bytes.next() {
            if byte == b'%' {
                let hex: String = bytes.by_ref().take(2).map(char::from).collect();
                out.push(u8::from_str_radix(&hex, 16).unwrap());
            } else {
                out.push(byte);
            }
        }
        String::from_utf8(out).unwrap()
    }
}

#[derive(Default)]
struct State {
    /// Answers to logins; when they are used up, tokens are given out.
    logins: VecDeque<Reply>,
    /// Answers to everything else but the list of versions.
    script: VecDeque<Reply>,
    requests: Vec<Request>,
    tokens: u32,
    /// A request beyond the script waits for its answer.
    hold: bool,
}

#[derive(Clone)]
pub struct Server {
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub async fn start(script: Vec<Reply>) -> Server {
        Server::start_with(Vec::new(), script, false).await
    }

    /// As `start`, and the version's root says first who we are.
    pub async fn start_as_user(mut script: Vec<Reply>) -> Server {
        script.insert(0, super::fields::root());
        Server::start(script).await
    }

    pub async fn start_with(logins: Vec<Reply>, script: Vec<Reply>, tls: bool) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls { "https" } else { "http" };
        let server = Server {
            url: format!("{scheme}://{}", listener.local_addr().unwrap()),
            state: Arc::new(Mutex::new(State {
                logins: logins.into(),
                script: script.into(),
                ..State::default()
            })),
        };
        let acceptor = tls.then(acceptor);
        let serving = server.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (server, acceptor) = (serving.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => server.serve(stream).await,
                        Some(acceptor) => server.serve(acceptor.accept(stream).await?).await,
                    }
                });
            }
        });
        server
    }

    pub fn then(&self, reply: Reply) {
        self.state.lock().unwrap().script.push_back(reply);
    }

    /// From now on a request waits until there is an answer for it.
    pub fn hold(&self) {
        self.state.lock().unwrap().hold = true;
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    /// Those that were neither logins nor questions for versions.
    pub fn api(&self) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|r| r.target.starts_with("/services/data/"));
        requests
    }

    pub fn logins(&self) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|r| r.target == "/services/oauth2/token");
        requests
    }

    async fn answer(&self, request: Request) -> Reply {
        let held = self.first_answer(request);
        if let Some(reply) = held {
            return reply;
        }
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if let Some(reply) = self.state.lock().unwrap().script.pop_front() {
                return reply;
            }
        }
    }

    /// None while the answer is not known yet.
    fn first_answer(&self, request: Request) -> Option<Reply> {
        let mut state = self.state.lock().unwrap();
        let target = request.target.clone();
        state.requests.push(request);
        Some(match target.as_str() {
            "/services/oauth2/token" => {
                if let Some(reply) = state.logins.pop_front() {
                    return Some(reply);
                }
                state.tokens += 1;
                let body = serde_json::json!({
                    "access_token": format!("token-{}", state.tokens),
                    "instance_url": self.url,
                    "token_type": "Bearer",
                    "issued_at": "1762212973632",
                });
                Reply::json(200, &body.to_string())
            }
            "/services/data" => Reply::json(
                200,
                r#"[{"label":"Winter '26","url":"/services/data/v65.0","version":"65.0"},
                    {"label":"Spring '26","url":"/services/data/v66.0","version":"66.0"},
                    {"label":"Spring '27","url":"/services/data/v69.0","version":"69.0"}]"#,
            ),
            _ => match state.script.pop_front() {
                None if state.hold => return None,
                reply => reply.unwrap_or_else(|| Reply::error(400, "SCRIPT_IS_OVER", &target)),
            },
        })
    }

    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        while let Some(request) = read(&mut stream).await? {
            let (status, headers, body, length) = match self.answer(request).await {
                Reply::Full(status, headers, body) => {
                    let length = body.len();
                    (status, headers, body, length)
                }
                Reply::Cut(status, body) => {
                    let length = body.len() + 100;
                    (status, Vec::new(), body, length)
                }
                Reply::HangUp => return Ok(()),
                Reply::Silence => {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                    return Ok(());
                }
            };
            let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n");
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str("\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await?;
            stream.flush().await?;
            if length != body.len() {
                return Ok(());
            }
        }
        Ok(())
    }
}

async fn read(stream: &mut BufReader<impl AsyncRead + Unpin>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let mut request = Request {
        method: words.next().unwrap().to_owned(),
        target: words.next().unwrap().to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        sent: 0,
    };
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => request.headers.push((name.to_owned(), value.to_owned())),
            None => break,
        }
    }
    let length = request.header("content-length").parse().unwrap_or(0);
    request.body.resize(length, 0);
    stream.read_exact(&mut request.body).await?;
    request.sent = length;
    if request.header("content-encoding") == "gzip" {
        request.body = gunzip(&request.body);
    }
    Ok(Some(request))
}

fn acceptor() -> tokio_rustls::TlsAcceptor {
    let certificates = CertificateDer::pem_file_iter(pem("server.pem"))
        .unwrap()
        .map(|c| c.unwrap())
        .collect();
    let key = PrivateKeyDer::from_pem_file(pem("server-key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}

pub fn pem(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/salesforce/pem")
        .join(name)
}

pub fn basic(id: &str, secret: &str) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}"));
    format!("Basic {text}")
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(body).unwrap();
    out.finish().unwrap()
}

fn gunzip(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut packed = flate2::read::GzDecoder::new(body);
    packed.read_to_end(&mut out).unwrap();
    out
}
