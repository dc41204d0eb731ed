//! Requests and answers, below any meaning: TLS, time-outs, size caps, counting.
//!
//! Redirects are never followed: the token would travel with them. What fails before a request can
//! have reached the server is [`Class::Service`]; what fails after it is [`Class::Unknown`] where
//! the request would have written, for it may have.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, DATE, LAST_MODIFIED, RETRY_AFTER};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::codes;
use super::errors::{self, Refusal};
use super::limits;
use crate::change::Timestamp;
use crate::clock::{Clock, Comparison, Lead};
use crate::fault::{Class, Error, ErrorKind, Fault, Result};
use crate::sinks::budget::Heard;
use crate::sinks::{DailyUse, Usage};

/// Most bytes of an answer, unpacked. The largest descriptions have some 5 MiB; a read whose answer
/// is larger is made again for fewer records.
const MAX_ANSWER: usize = 16 << 20;
/// Longest wish to wait that is heeded.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(900);
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(15);

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Call {
    Token,
    Versions,
    Describe,
    Query,
    Upsert,
    Update,
    Delete,
    /// Taking records out of the recycle bin.
    Undelete,
    Check,
    /// Making a field, or taking it away.
    Field,
    /// Giving our user rights.
    Grant,
    /// What the org says of its limits.
    Limits,
    /// Making a bulk job.
    BulkOpen,
    /// Bringing its content.
    BulkUpload,
    /// Letting it run.
    BulkStart,
    /// Giving it up.
    BulkAbort,
    /// Looking how far it is.
    BulkLook,
    /// What its rows came to.
    BulkResults,
}

impl Call {
    const ALL: [(Call, &'static str); 18] = [
        (Call::Token, "token"),
        (Call::Versions, "versions"),
        (Call::Describe, "describe"),
        (Call::Query, "query"),
        (Call::Upsert, "upsert"),
        (Call::Update, "update"),
        (Call::Delete, "delete"),
        (Call::Undelete, "undelete"),
        (Call::Check, "check"),
        (Call::Field, "field"),
        (Call::Grant, "grant"),
        (Call::Limits, "limits"),
        (Call::BulkOpen, "bulk_open"),
        (Call::BulkUpload, "bulk_upload"),
        (Call::BulkStart, "bulk_start"),
        (Call::BulkAbort, "bulk_abort"),
        (Call::BulkLook, "bulk_look"),
        (Call::BulkResults, "bulk_results"),
    ];

    /// The org counts it against its daily limit.
    fn counts(self) -> bool {
        !matches!(self, Call::Token | Call::Versions)
    }

    pub(super) fn writes(self) -> bool {
        matches!(
            self,
            Call::Upsert
                | Call::Update
                | Call::Delete
                | Call::Undelete
                | Call::Field
                | Call::Grant
                | Call::BulkUpload
                | Call::BulkStart
        )
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) html: bool,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
    /// When what was asked for last changed, as it came.
    pub(super) last_modified: Option<String>,
    /// The server's clock.
    pub(super) date: Option<SystemTime>,
    call: Call,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body of a 2xx, or the fault of anything else.
    pub(super) fn accepted(self) -> Result<Bytes, Fault> {
        if self.is_success() {
            Ok(self.body)
        } else {
            Err(self.fault())
        }
    }

    /// The fault of a refusal.
    pub(super) fn fault(&self) -> Fault {
        self.fault_of(&self.body)
    }

    /// The fault of a refusal that says this.
    pub(super) fn fault_of(&self, body: &[u8]) -> Fault {
        let refusal = Refusal {
            status: self.status,
            write: self.call.writes(),
            retry_after: self.retry_after,
        };
        errors::request_fault(refusal, self.html, body)
    }
}

/// The fault of a 2xx whose body is not what it should be: a page of some proxy, or cut short.
pub(super) fn unreadable(call: Call, what: &'static str) -> Fault {
    let class = if call.writes() {
        Class::Unknown
    } else {
        Class::Service
    };
    Fault::new(class, "unreadable_answer", what)
}

/// Takes a body piece by piece.
pub(super) type Pieces<'a> = &'a mut (dyn FnMut(&[u8]) + Send);

/// A pool of connections.
#[derive(Debug)]
pub(super) struct Http {
    client: reqwest::Client,
    calls: [AtomicU64; Call::ALL.len()],
    meter: Mutex<Meter>,
    /// Salesforce's clock, by the dates of its answers.
    clock: Mutex<Comparison>,
}

/// Requests that count against the daily limit, and what was last said of it.
#[derive(Clone, Copy, Debug, Default)]
struct Meter {
    sent: u64,
    answered: u64,
    heard: Option<Heard>,
}

impl Http {
    /// Does not touch the network. `ca_file`: a PEM file of authorities to trust beside the
    /// system's. `local`: the org is on this machine, which no proxy of the environment has to see.
    pub(super) fn new(timeout: Duration, ca_file: Option<&Path>, local: bool) -> Result<Self> {
        let mut client = reqwest::Client::builder();
        if local {
            client = client.no_proxy();
        }
        let client = client
            .tls_backend_preconfigured(tls(ca_file)?)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .gzip(true)
            .user_agent(concat!("syncline/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            .connect_timeout(CONNECT.min(timeout))
            .pool_idle_timeout(Duration::from_secs(50))
            .tcp_keepalive(Duration::from_secs(30))
            .build()
            .map_err(|e| Error::new(ErrorKind::Machine, "cannot set up HTTP").source(e))?;
        Ok(Http {
            client,
            calls: Default::default(),
            meter: Mutex::default(),
            clock: Mutex::default(),
        })
    }

    pub(super) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// What the calls were so far, and what the last answer said of the limit.
    pub(super) fn usage(&self) -> Usage {
        let calls = Call::ALL
            .iter()
            .zip(&self.calls)
            .map(|((_, word), count)| (*word, count.load(Ordering::Relaxed)));
        let meter = *self.meter();
        Usage {
            calls: calls.collect(),
            counted: meter.sent,
            daily: meter.heard.map(|heard| DailyUse {
                used: heard.used,
                max: heard.max,
            }),
            heard: meter.heard,
        }
    }

    fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far Salesforce's clock is ahead of ours.
    pub(super) fn lead(&self) -> Option<Lead> {
        let clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        clock.lead()
    }

    /// Sends a request and reads the whole answer, whatever its status.
    pub(super) async fn send(
        &self,
        call: Call,
        request: reqwest::RequestBuilder,
    ) -> Result<Answer, Fault> {
        self.send_into(call, request, None).await
    }

    /// The same; the body of a success goes to `into` piece by piece, however long it is.
    pub(super) async fn send_into(
        &self,
        call: Call,
        request: reqwest::RequestBuilder,
        mut into: Option<Pieces<'_>>,
    ) -> Result<Answer, Fault> {
        let place = Call::ALL.iter().position(|(c, _)| *c == call);
        if let Some(count) = place.and_then(|i| self.calls.get(i)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if call.counts() {
            self.meter().sent += 1;
        }
        let sent = Clock::System.now();
        let answer = request.send().await;
        // One without an answer may have been counted; it is taken to have been.
        if call.counts() {
            self.meter().answered += 1;
        }
        let mut response = answer.map_err(|e| network_fault(call, &e))?;
        let received = Clock::System.now();
        let headers = response.headers();
        let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
        if let Some(date) = text(DATE).and_then(date) {
            let since = date
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            let date = Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
            // The header names the second; the clock was somewhere in it.
            let end = Timestamp(date.0.saturating_add(1_000_000));
            let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
            clock.read(date, end, sent, received);
        }
        let daily = headers.get("sforce-limit-info");
        if let Some(daily) = daily.and_then(|v| v.to_str().ok()).and_then(limits::parse) {
            let mut meter = self.meter();
            meter.heard = Some(Heard {
                used: daily.used,
                max: daily.max,
                answered: meter.answered,
                sent: meter.sent,
            });
        }
        let mut answer = Answer {
            status: response.status().as_u16(),
            html: text(CONTENT_TYPE).is_some_and(|t| t.to_ascii_lowercase().contains("html")),
            retry_after: text(RETRY_AFTER)
                .and_then(|t| retry_after(t, SystemTime::now()))
                .map(|d| d.min(MAX_RETRY_AFTER)),
            body: Bytes::new(),
            last_modified: text(LAST_MODIFIED).map(str::to_owned),
            date: text(DATE).and_then(date),
            call,
        };
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if answer.is_success() && into.is_some() => {
                    if let Some(into) = &mut into {
                        into(&chunk);
                    }
                }
                Ok(Some(chunk)) if body.len() + chunk.len() > MAX_ANSWER => {
                    return Err(Fault::new(
                        Class::Split,
                        "answer_too_large",
                        "the answer is larger than 16 MiB",
                    ));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                // The status of a refusal says enough without its body.
                Err(_) if !answer.is_success() => break,
                Err(e) => return Err(network_fault(call, &e)),
            }
        }
        answer.body = body.freeze();
        Ok(answer)
    }
}

/// `Retry-After`: seconds, or a date.
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    Some(date(text)?.duration_since(now).unwrap_or_default())
}

fn date(text: &str) -> Option<SystemTime> {
    let zoned = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    Some(zoned.timestamp().into())
}

fn network_fault(call: Call, error: &reqwest::Error) -> Fault {
    // The error's own text holds the URL, and a query's URL holds keys: only what lies beneath is
    // told.
    let mut beneath = String::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        beneath = cause.to_string();
        next = cause.source();
    }
    if error.is_builder() {
        return Fault::new(Class::Configuration, "bad_request", beneath);
    }
    let after = if call.writes() {
        Class::Unknown
    } else {
        Class::Service
    };
    let (class, code) = if error.is_connect() {
        let code = if beneath.contains("certificate") {
            codes::CERTIFICATE_REFUSED
        } else if error.is_timeout() {
            "connect_timeout"
        } else {
            "cannot_connect"
        };
        (Class::Service, code)
    } else if error.is_timeout() {
        (after, "timeout")
    } else if error.is_decode() {
        (after, "unreadable_answer")
    } else {
        (after, "connection_lost")
    };
    Fault::new(class, code, beneath)
}

fn tls(ca_file: Option<&Path>) -> Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    // A machine without a store is no error as long as a file is given; a bad entry in it never is.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let refused = |what: &str| {
            Error::new(
                ErrorKind::Usage,
                format!("destination.ca_file {}: {what}", path.display()),
            )
            .remedy("give a PEM file with the certificates of the authorities to trust")
        };
        let mut any = false;
        let certificates =
            CertificateDer::pem_file_iter(path).map_err(|e| refused("cannot be read").source(e))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|e| refused("is not PEM").source(e))?;
            roots
                .add(certificate)
                .map_err(|e| refused("holds a bad certificate").source(e))?;
            any = true;
        }
        if !any {
            return Err(refused("holds no certificate"));
        }
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::new(ErrorKind::Machine, "cannot set up TLS").source(e))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_794_235);
        let at = jiff::Timestamp::try_from(now).unwrap();
        let date = jiff::fmt::rfc2822::DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&(at + jiff::SignedDuration::from_secs(90)))
            .unwrap();
        for (text, wait) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            (date.as_str(), Some(90)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(
                retry_after(text, now),
                wait.map(Duration::from_secs),
                "{text}"
            );
        }
    }

    #[test]
    fn a_bad_ca_file_is_refused_in_words() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Http::new(Duration::from_secs(1), Some(file.path()), false).unwrap_err();
        assert!(
            error.to_string().contains("holds no certificate"),
            "{error}"
        );
        let missing = Path::new("/nowhere/ca.pem");
        assert!(Http::new(Duration::from_secs(1), Some(missing), false).is_err());
    }
}
