//! Salesforce, through its REST API.
//!
//! ```text
//! collections, bulk, read, describe,    what to ask, what the answer means
//! fields, bin (SOAP)
//!       │        write, soql, keys   how records, queries and external ids are spelt
//!       ▼
//!     call ──► auth, version         a session, renewed when refused; the version spoken
//!       │
//!       ▼
//!     http                           TLS, time-outs, caps, counting; no redirects
//!
//! errors ◄── codes                   from any refusal to a class: the one table
//! ```
//!
//! Invariants:
//! - One attempt: nothing here waits or tries again, but for renewing the session and one
//!   look-up of stale ids. `deliver` does the rest.
//! - Every write goes by external id, or by the id of the record that bears it; none can make a
//!   second record, so each may be repeated. `allOrNone` is never used: one bad record spoils no
//!   other.
//! - A record has an outcome only if Salesforce's answer says so. No answer, a cut one, a page of
//!   HTML is *unknown*.
//! - The token travels to the host that the login named, over TLS (or to a loopback host), and
//!   nowhere else. Row values reach no log; keys and values can be in a URL, so URLs reach none.
//!
//! Bodies of more than a kilobyte are sent packed with gzip, and answers are asked for packed. A proxy
//! that does not take that (415) gets them as they are from then on.
//!
//! Headers on every request: `Sforce-Call-Options: client=Syncline/…` names us in the org's logs and
//! in change events; `Sforce-Auto-Assign: FALSE` keeps assignment rules from changing owners at each
//! write (the default would run them); `Sforce-Mru: updateMru=false` keeps our writes out of the
//! user's "recently viewed".
//!
//! <https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/>

mod auth;
mod bin;
mod body;
mod bulk;
mod check;
mod codes;
mod collections;
mod describe;
mod duplicates;
mod errors;
mod fields;
mod guarded;
mod history;
mod http;
mod keys;
mod limits;
mod read;
mod refusal;
mod soql;
mod version;
mod write;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use bytes::Bytes;
use reqwest::{Method, Url};
use tokio::time::Instant;

use self::auth::{Auth, Session};
use self::bin::Binned;
use self::body::Body;
use self::collections::{MAX_RECORDS, Rights};
use self::describe::Descriptions;
use self::guarded::MAX_GUARDED;
use self::http::{Answer, Call, Http, Pieces};
use self::keys::KeyKind;
use self::version::Version;
use super::bulk::Bulk;
use super::{BoxFuture, CrmRecord, HistoryQuery, HistoryRow, Limits, Named, Outcome, Sink, Usage};
use crate::clock::Lead;
use crate::config::Destination;
use crate::fault::{Class, Error, ErrorKind, Fault, Result};
use crate::mapping::{FieldDescription, FieldKind, FieldSpec, ObjectDescription, Target};
use crate::planning::{Batch, CrmId};

pub use self::errors::advice;
pub(crate) use self::errors::{hints_at_schema, is_in_the_way, is_load, is_used_up};

/// Bytes of one request's body, unpacked, that we cut to. Salesforce documents no cap for REST.
const MAX_BYTES: usize = 4 << 20;

/// Times a request is sent again with a new session. Twice, because another client of the same app
/// can end the session that we were just given.
const MAX_RENEWALS: u32 = 2;

/// A Salesforce org.
#[derive(Debug)]
pub struct Salesforce {
    http: Http,
    auth: Auth,
    /// Set in the configuration.
    pinned: Option<Version>,
    /// Negotiated.
    version: RwLock<Option<Version>>,
    /// Kinds of the fields that can be keys, by object and field in lower case, as far as objects
    /// have been described.
    keys: RwLock<HashMap<(String, String), KeyKind>>,
    descriptions: Descriptions,
    rights: Rights,
    /// Objects of which Salesforce keeps no history, in lower case, and when it said so.
    unkept: Mutex<HashMap<String, Instant>>,
    /// Packed bodies are not taken.
    plain: AtomicBool,
}

impl Salesforce {
    /// An org by its configuration. Reads secrets and certificates; does not touch the network.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] where the configuration cannot work.
    pub fn connect(config: &Destination) -> Result<Self> {
        let pinned = match &config.api_version {
            None => None,
            Some(text) => match text.parse::<Version>() {
                Ok(version) if version.is_ours() => Some(version),
                _ => {
                    return Err(Error::new(
                        ErrorKind::Usage,
                        format!(
                            "destination.api_version {text:?} is not a version Syncline speaks"
                        ),
                    )
                    .remedy("remove it, or give one from \"60.0\" to \"66.0\""));
                }
            },
        };
        let auth = Auth::new(config)?;
        let ca_file = config.ca_file.as_deref();
        Ok(Salesforce {
            http: Http::new(config.timeout.0, ca_file, auth.is_local())?,
            auth,
            pinned,
            version: RwLock::default(),
            keys: RwLock::default(),
            descriptions: Descriptions::default(),
            rights: Rights::default(),
            unkept: Mutex::default(),
            plain: AtomicBool::new(false),
        })
    }

    /// One request to the API; `path` stands after `/services/data/v66.0`.
    async fn call(
        &self,
        call: Call,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Answer, Fault> {
        let body = match body {
            Some(plain) => Some(Body::json(plain, !self.plain.load(Ordering::Relaxed)).await),
            None => None,
        };
        self.with_session(call, method, Place::Api(path), body, None)
            .await
    }

    /// The same, for what makes or changes records of `target`.
    async fn call_to_save(
        &self,
        call: Call,
        method: Method,
        path: &str,
        body: Bytes,
        target: &Target,
    ) -> Result<Answer, Fault> {
        let body = Body::json(body, !self.plain.load(Ordering::Relaxed)).await;
        let (name, value) = duplicates::header(target);
        let place = Place::ApiWith(path, name, value);
        self.with_session(call, method, place, Some(body), None)
            .await
    }

    async fn get(&self, call: Call, path: &str) -> Result<Bytes, Fault> {
        self.call(call, Method::GET, path, None).await?.accepted()
    }

    /// `path` is whole, as Salesforce gave it.
    async fn get_path(&self, call: Call, path: &str) -> Result<Bytes, Fault> {
        self.with_session(call, Method::GET, Place::Host(path), None, None)
            .await?
            .accepted()
    }

    async fn with_session(
        &self,
        call: Call,
        method: Method,
        place: Place<'_>,
        mut body: Option<Body>,
        mut into: Option<Pieces<'_>>,
    ) -> Result<Answer, Fault> {
        let mut session = self.auth.session(&self.http).await?;
        let mut renewals = 0;
        loop {
            let pieces: Option<Pieces<'_>> = match &mut into {
                Some(into) => Some(&mut **into),
                None => None,
            };
            let answer = self
                .once(call, &method, &session, place, &body, pieces)
                .await?;
            if answer.status == 415 && body.as_mut().is_some_and(Body::unpack) {
                tracing::warn!("gzip is not taken on the way to Salesforce: bodies go as they are");
                self.plain.store(true, Ordering::Relaxed);
                continue;
            }
            // A redirect means that the org has moved: the login tells where to.
            let moved = (301..=308).contains(&answer.status) && answer.status != 304;
            if answer.is_success() || !(moved || refuses_session(&answer)) {
                self.forget_version_if_refused(&answer);
                return Ok(answer);
            }
            if renewals == MAX_RENEWALS {
                if moved {
                    return Err(Fault::new(
                        Class::Configuration,
                        "redirected",
                        "the org answers with a redirect; check destination.url",
                    ));
                }
                let fault = answer.fault();
                return Err(Fault {
                    class: Class::Authentication,
                    ..fault
                });
            }
            renewals += 1;
            session = self.auth.renew(&self.http, &session).await?;
        }
    }

    async fn once(
        &self,
        call: Call,
        method: &Method,
        session: &Session,
        place: Place<'_>,
        body: &Option<Body>,
        into: Option<Pieces<'_>>,
    ) -> Result<Answer, Fault> {
        let url = match place {
            Place::Host(path) => at(&session.instance, path)?,
            Place::Api(path) | Place::ApiWith(path, ..) => {
                let version = self.version(session).await?;
                at(
                    &session.instance,
                    &format!("/services/data/v{version}{path}"),
                )?
            }
        };
        let mut request = self
            .http
            .client()
            .request(method.clone(), url)
            .bearer_auth(&session.token)
            .header("accept", "application/json")
            .header(
                "sforce-call-options",
                concat!("client=Syncline/", env!("CARGO_PKG_VERSION")),
            )
            .header("sforce-auto-assign", "FALSE")
            .header("sforce-mru", "updateMru=false");
        if let Place::ApiWith(_, name, value) = place {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = body.send(request);
        }
        if matches!(call, Call::BulkUpload | Call::BulkResults) {
            request = request.timeout(bulk::TRANSFER);
        }
        self.http.send_into(call, request, into).await
    }

    async fn version(&self, session: &Session) -> Result<Version, Fault> {
        if let Some(version) = self.pinned {
            return Ok(version);
        }
        let known = *self.version.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(version) = known {
            return Ok(version);
        }
        // Two tasks may both ask: the answer is the same, and it costs no request of the limit.
        let version = version::choose(&self.org_versions(session).await?)?;
        tracing::info!(%version, "Salesforce API version");
        *self.version.write().unwrap_or_else(PoisonError::into_inner) = Some(version);
        Ok(version)
    }

    async fn org_versions(&self, session: &Session) -> Result<Vec<Version>, Fault> {
        let url = at(&session.instance, "/services/data")?;
        let client = self.http.client();
        let request = client.get(url).header("accept", "application/json");
        let answer = self.http.send(Call::Versions, request).await?;
        version::listed(&answer.accepted()?)
    }

    /// An org that no longer speaks a version is asked again which ones it does.
    fn forget_version_if_refused(&self, answer: &Answer) {
        let refused = !answer.is_success()
            && (answer.status == 410
                || errors::parse(&answer.body).iter().any(|e| {
                    matches!(
                        e.code.as_str(),
                        "UNSUPPORTED_API_VERSION" | "INVALID_VERSION"
                    )
                }));
        if refused {
            *self.version.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// What kind of external id the field holds; text, where the object was not described yet.
    fn key_kind(&self, object: &str, field: &str) -> KeyKind {
        let name = (object.to_ascii_lowercase(), field.to_ascii_lowercase());
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(&name).copied().unwrap_or_default()
    }

    /// The next description of the object is asked for whole.
    fn forget_description(&self, object: &str) {
        self.descriptions.forget(object);
    }

    async fn describe_object(&self, object: &str) -> Result<Option<ObjectDescription>, Fault> {
        let path = format!("/sobjects/{}/describe", soql::encode(object));
        let known = self.descriptions.known(object, Instant::now());
        let place = match &known {
            Some(known) => Place::ApiWith(&path, "if-modified-since", &known.last_modified),
            None => Place::Api(&path),
        };
        let answer = self
            .with_session(Call::Describe, Method::GET, place, None, None)
            .await?;
        if let (304, Some(known)) = (answer.status, known) {
            return Ok(Some(known.description));
        }
        self.descriptions.forget(object);
        if !answer.is_success() {
            let fault = answer.fault();
            return match fault.code.as_ref() {
                "NOT_FOUND" | "INVALID_TYPE" => Ok(None),
                _ => Err(fault),
            };
        }
        let description = describe::parse(&answer.body)?;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let usable =
            |f: &&FieldDescription| f.external_id || f.unique || f.kind == FieldKind::Email;
        for field in description.fields.iter().filter(usable) {
            let name = (
                description.name.to_ascii_lowercase(),
                field.name.to_ascii_lowercase(),
            );
            keys.insert(name, KeyKind::of(field));
        }
        drop(keys);
        if let Some(last_modified) = answer.last_modified {
            let now = Instant::now();
            self.descriptions
                .keep(object, &description, last_modified, now);
        }
        Ok(Some(description))
    }
}

/// Where a request goes, on the session's host.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// After the version's root.
    Api(&'a str),
    /// After the version's root, with a header: its name and what it says.
    ApiWith(&'a str, &'static str, &'a str),
    /// After the host.
    Host(&'a str),
}

fn refuses_session(answer: &Answer) -> bool {
    answer.status == 401
        || errors::parse(&answer.body).iter().any(|e| {
            matches!(
                e.code.as_str(),
                "INVALID_SESSION_ID" | "INVALID_AUTH_HEADER"
            )
        })
}

/// The address of a path on a host. The path is ours, or one that begins with a slash and a letter.
fn at(host: &Url, path: &str) -> Result<Url, Fault> {
    let text = format!("{}{path}", host.as_str().trim_end_matches('/'));
    Url::parse(&text)
        .ok()
        .filter(|url| url.origin() == host.origin())
        .ok_or_else(|| Fault::new(Class::Configuration, "bad_request", "not an address"))
}

impl Sink for Salesforce {
    fn limits(&self) -> Limits {
        Limits {
            records: MAX_RECORDS,
            guarded: MAX_GUARDED,
            bytes: MAX_BYTES,
        }
    }

    fn describe<'a>(
        &'a self,
        objects: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Option<ObjectDescription>>, Fault>> {
        Box::pin(async move {
            let mut described = Vec::with_capacity(objects.len());
            for object in objects {
                described.push(self.describe_object(object).await?);
            }
            Ok(described)
        })
    }

    fn read<'a>(
        &'a self,
        target: &'a Target,
        records: Named<'a>,
        fields: &'a [u16],
    ) -> BoxFuture<'a, Result<Vec<Option<CrmRecord>>, Fault>> {
        Box::pin(self.read_records(target, records, fields))
    }

    fn unkeyed<'a>(
        &'a self,
        target: &'a Target,
        slot: u16,
        texts: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<(String, CrmId)>, Fault>> {
        Box::pin(self.unkeyed_records(target, slot, texts))
    }

    fn history<'a>(
        &'a self,
        target: &'a Target,
        query: &'a HistoryQuery,
    ) -> BoxFuture<'a, Result<Vec<HistoryRow>, Fault>> {
        Box::pin(self.read_history(target, query))
    }

    fn lead(&self) -> Option<Lead> {
        self.http.lead()
    }

    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Vec<Outcome>, Fault>> {
        Box::pin(self.write_batch(batch))
    }

    fn undelete<'a>(&'a self, ids: &'a [CrmId]) -> BoxFuture<'a, Result<Vec<Outcome>, Fault>> {
        Box::pin(self.binned(Binned::Undelete, ids))
    }

    fn create_fields<'a>(
        &'a self,
        object: &'a str,
        specs: &'a [FieldSpec],
    ) -> BoxFuture<'a, Result<Vec<Result<(), Fault>>, Fault>> {
        Box::pin(self.make_fields(object, specs))
    }

    fn look(&self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            // Its headers say all that we want; the body needs a right that we may not have.
            match self.get(Call::Limits, "/limits").await {
                Err(fault) if fault.class != Class::Configuration => Err(fault),
                _ => Ok(()),
            }
        })
    }

    /// Owners are not locked by what they own.
    fn locks_parents(&self, object: &str) -> bool {
        !["User", "Group"]
            .iter()
            .any(|o| o.eq_ignore_ascii_case(object))
    }

    fn bulk(&self) -> Option<&dyn Bulk> {
        Some(self)
    }

    fn usage(&self) -> Usage {
        self.http.usage()
    }
}
