//! Asking a running process over its admin interface.

use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use syncline::config::Secret;
use syncline::fault::{Error, ErrorKind, Result};

/// Longer than the admin interface takes to say that it cannot answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// One running process.
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: String,
    pid: u32,
}

#[derive(serde::Deserialize)]
struct Refusal {
    error: String,
    remedy: Option<String>,
}

impl Client {
    /// The process that listens at `address`.
    pub(crate) fn new(address: &str, token: Secret, pid: u32) -> Result<Self> {
        let base = Url::parse(&format!("http://{address}/")).map_err(|e| {
            Error::new(
                ErrorKind::Usage,
                format!("admin.listen {address:?} is not an address"),
            )
            .source(e)
        })?;
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        // Only for the builder's sake: it is asked on this machine, without TLS.
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::new(ErrorKind::Machine, "TLS cannot be set up").source(e))?
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .timeout(PATIENCE)
            .connect_timeout(Duration::from_secs(3))
            .build()
            .map_err(|e| Error::new(ErrorKind::Machine, "cannot make requests").source(e))?;
        Ok(Client {
            http,
            base,
            token: token.0,
            pid,
        })
    }

    /// Looks.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T> {
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        self.answer(self.http.request(Method::GET, url)).await
    }

    /// Asks for something.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        let body = serde_json::to_vec(body)
            .map_err(|e| Error::new(ErrorKind::Machine, "cannot write the request").source(e))?;
        let request = self
            .http
            .request(Method::POST, self.url(path)?)
            .header("content-type", "application/json")
            .body(body);
        self.answer(request).await
    }

    fn url(&self, path: &str) -> Result<Url> {
        self.base
            .join(path)
            .map_err(|e| Error::new(ErrorKind::Machine, "not a path").source(e))
    }

    async fn answer<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T> {
        let request = request.bearer_auth(&self.token);
        let reply = request.send().await.map_err(|e| self.silent(e))?;
        let status = reply.status();
        let body = reply.bytes().await.map_err(|e| self.silent(e))?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|e| self.strange().source(e));
        }
        let Ok(refusal) = serde_json::from_slice::<Refusal>(&body) else {
            return Err(self.strange());
        };
        let kind = match status {
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED => ErrorKind::Usage,
            _ => ErrorKind::Busy,
        };
        let error = Error::new(kind, refusal.error);
        Err(match refusal.remedy {
            Some(remedy) => error.remedy(remedy),
            None => error,
        })
    }

    /// It runs, and does not answer.
    fn silent(&self, error: reqwest::Error) -> Error {
        Error::new(
            ErrorKind::Busy,
            format!(
                "syncline is running (process {}), but its admin interface does not answer at {}",
                self.pid,
                self.base.authority()
            ),
        )
        .source(error.without_url())
        .remedy(
            "look at its log; if it was started with another configuration, name that with \
             --config or --set admin.listen=…",
        )
    }

    fn strange(&self) -> Error {
        Error::new(
            ErrorKind::Busy,
            format!(
                "what answers at {} is not the syncline of this state directory",
                self.base.authority()
            ),
        )
        .remedy("check admin.listen")
    }
}
