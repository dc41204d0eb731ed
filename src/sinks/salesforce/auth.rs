//! Logging in: client credentials or JWT bearer.
//!
//! A token's end is not announced: it is used until Salesforce refuses it, then renewed by one task
//! while the others wait for its result (also for its failure: repeated failed logins lock a user
//! out). Where a signed login is refused and the answer's date tells that one of the two clocks is wrong,
//! it is signed once more, by the server's clock. The answer names the host of all later calls. It is checked: a login over TLS never leads
//! to a host without it.
//!
//! <https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_client_credentials_flow.htm>
//! <https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_jwt_flow.htm>

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::http::{Call, Http, unreadable};
use crate::config::{Destination, Secret};
use crate::fault::{Class, Error, ErrorKind, Fault, Result};

/// Life of a signed assertion. Salesforce takes three minutes at most; the rest is for clocks that
/// run ahead.
const ASSERTION_SECONDS: i64 = 120;
/// How far apart, in seconds, two clocks may be before a refused login is put down to that.
const CLOCKS_APART: i64 = 60;

/// A token and where it is good for.
pub(super) struct Session {
    pub(super) token: String,
    /// Scheme, host and port of every call; no path.
    pub(super) instance: Url,
    /// Salesforce's id of our user, where the login tells it.
    pub(super) user: Option<String>,
    number: u64,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session {} at {}", self.number, self.instance)
    }
}

enum Grant {
    ClientCredentials {
        id: String,
        secret: Secret,
    },
    JwtBearer {
        id: String,
        username: String,
        audience: String,
        key: EncodingKey,
    },
}

#[derive(Default)]
struct State {
    session: Option<Arc<Session>>,
    /// Sessions so far.
    number: u64,
    /// The last login's failure, and when it came.
    failed: Option<(Instant, Fault)>,
    /// Seconds that Salesforce's clock is ahead of ours, once that mattered.
    ahead: i64,
}

/// Logs in, and again when it has to.
pub(super) struct Auth {
    login: Url,
    grant: Grant,
    state: Mutex<State>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "login at {}", self.login)
    }
}

impl Auth {
    /// Reads secrets; does not touch the network.
    pub(super) fn new(config: &Destination) -> Result<Self> {
        let login = login_url(&config.url)?;
        if config.client_id.is_empty() {
            return Err(
                Error::new(ErrorKind::Usage, "destination.client_id is empty")
                    .remedy("give the consumer key of the connected app"),
            );
        }
        let id = config.client_id.clone();
        let grant = if let Some(path) = &config.private_key_file {
            let Some(username) = config.username.clone() else {
                return Err(Error::new(
                    ErrorKind::Usage,
                    "destination.private_key_file is given without destination.username",
                )
                .remedy("name the user to act as, or use client_secret"));
            };
            let refused = |what: &str| {
                Error::new(
                    ErrorKind::Usage,
                    format!("destination.private_key_file {}: {what}", path.display()),
                )
                .remedy("give a PEM file with the RSA private key whose certificate the app has")
            };
            let pem = std::fs::read(path).map_err(|e| refused("cannot be read").source(e))?;
            let key = EncodingKey::from_rsa_pem(&pem)
                .map_err(|e| refused("holds no RSA private key").source(e))?;
            // A certificate or a public key is taken too, and fails when it has to sign.
            assertion("", "", "", &key, 0).map_err(|_| refused("holds no RSA private key"))?;
            let audience = config.audience.clone();
            Grant::JwtBearer {
                id,
                username,
                audience: audience.unwrap_or_else(|| login.as_str().trim_end_matches('/').into()),
                key,
            }
        } else {
            let secret = secret(config)?;
            Grant::ClientCredentials { id, secret }
        };
        Ok(Auth {
            login,
            grant,
            state: Mutex::default(),
        })
    }

    /// The org is a sandbox on this machine.
    pub(super) fn is_local(&self) -> bool {
        is_loopback(&self.login)
    }

    /// The current session; logs in when there is none yet.
    pub(super) async fn session(&self, http: &Http) -> Result<Arc<Session>, Fault> {
        self.session_after(http, 0).await
    }

    /// A session newer than `stale`, which was not accepted.
    pub(super) async fn renew(&self, http: &Http, stale: &Session) -> Result<Arc<Session>, Fault> {
        self.session_after(http, stale.number).await
    }

    async fn session_after(&self, http: &Http, stale: u64) -> Result<Arc<Session>, Fault> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(session) = &state.session
            && session.number > stale
        {
            return Ok(session.clone());
        }
        if let Some((at, fault)) = &state.failed
            && *at > asked
        {
            return Err(fault.clone());
        }
        match self.login(http, &mut state.ahead).await {
            Ok((token, instance, user)) => {
                state.number += 1;
                let session = Arc::new(Session {
                    token,
                    instance,
                    user,
                    number: state.number,
                });
                state.session = Some(session.clone());
                state.failed = None;
                Ok(session)
            }
            Err(fault) => {
                state.failed = Some((Instant::now(), fault.clone()));
                Err(fault)
            }
        }
    }

    /// A login.
    fn ask(&self, http: &Http, ahead: i64) -> Result<reqwest::RequestBuilder, Fault> {
        let mut url = self.login.clone();
        url.set_path("/services/oauth2/token");
        let request = http.client().post(url).header("accept", "application/json");
        Ok(match &self.grant {
            Grant::ClientCredentials { id, secret } => request
                .basic_auth(id, Some(&secret.0))
                .form(&[("grant_type", "client_credentials")]),
            Grant::JwtBearer {
                id,
                username,
                audience,
                key,
            } => request.form(&[
                ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                ("assertion", &assertion(id, username, audience, key, ahead)?),
            ]),
        })
    }

    async fn login(
        &self,
        http: &Http,
        ahead: &mut i64,
    ) -> Result<(String, Url, Option<String>), Fault> {
        #[derive(Deserialize)]
        struct Granted {
            access_token: String,
            instance_url: String,
            /// Identity URL.
            #[serde(default)]
            id: Option<String>,
        }
        let mut answer = http.send(Call::Token, self.ask(http, *ahead)?).await?;
        if let (Grant::JwtBearer { .. }, false, Some(date)) =
            (&self.grant, answer.is_success(), answer.date)
        {
            let apart = seconds(date) - seconds(SystemTime::now());
            let refused = answer.fault();
            if refused.code == "invalid_grant" && (apart - *ahead).abs() > CLOCKS_APART {
                tracing::warn!(
                    seconds = apart,
                    remedy = "set this machine's clock (NTP)",
                    "Salesforce's clock is ahead of this machine's by so much: signing in by Salesforce's"
                );
                *ahead = apart;
                answer = http.send(Call::Token, self.ask(http, apart)?).await?;
            }
        }
        let body = answer.accepted()?;
        let granted: Granted = serde_json::from_slice(&body)
            .map_err(|_| unreadable(Call::Token, "the login's answer is not a token"))?;
        let instance = instance_url(&self.login, &granted.instance_url)?;
        tracing::info!(instance = %instance, "logged in to Salesforce");
        let user = granted.id.as_deref().and_then(user_of);
        Ok((granted.access_token, instance, user))
    }
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The user's id in an identity URL, `https://login.salesforce.com/id/{org}/{user}`.
pub(super) fn user_of(identity: &str) -> Option<String> {
    let id = identity.rsplit('/').next()?;
    let id = id.split_once('?').map_or(id, |(id, _)| id);
    let whole = matches!(id.len(), 15 | 18) && id.bytes().all(|b| b.is_ascii_alphanumeric());
    whole.then(|| id.to_owned())
}

fn secret(config: &Destination) -> Result<Secret> {
    if let Some(secret) = &config.client_secret {
        return Ok(secret.clone());
    }
    let Some(path) = &config.client_secret_file else {
        return Err(Error::new(
            ErrorKind::Usage,
            "destination has neither client_secret nor private_key_file",
        )
        .remedy(
            "set SYNCLINE_DESTINATION__CLIENT_SECRET or destination.client_secret_file \
             (client credentials), or destination.private_key_file and username (JWT bearer)",
        ));
    };
    let text = std::fs::read_to_string(path).map_err(|e| {
        Error::new(
            ErrorKind::Usage,
            format!(
                "destination.client_secret_file {} cannot be read",
                path.display()
            ),
        )
        .source(e)
    })?;
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(Secret(line.to_owned())),
        _ => Err(Error::new(
            ErrorKind::Usage,
            format!("destination.client_secret_file {} is empty", path.display()),
        )
        .remedy("its first line has to be the consumer secret")),
    }
}

/// `ahead`: seconds that the clock of whom it is for is ahead of ours.
fn assertion(
    id: &str,
    username: &str,
    audience: &str,
    key: &EncodingKey,
    ahead: i64,
) -> Result<String, Fault> {
    #[derive(Serialize)]
    struct Claims<'a> {
        iss: &'a str,
        sub: &'a str,
        aud: &'a str,
        exp: i64,
    }
    let claims = Claims {
        iss: id,
        sub: username,
        aud: audience,
        exp: seconds(SystemTime::now()) + ahead + ASSERTION_SECONDS,
    };
    jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, key)
        .map_err(|e| Fault::new(Class::Configuration, "cannot_sign", e.to_string()))
}

/// The address in the configuration, down to its host. Only a loopback host may do without TLS.
fn login_url(text: &str) -> Result<Url> {
    let refused = |what: String, remedy: &'static str| {
        Err(Error::new(ErrorKind::Usage, format!("destination.url {what}")).remedy(remedy))
    };
    const EXAMPLE: &str = "give the org's My Domain, such as https://acme.my.salesforce.com";
    if text.is_empty() {
        return refused("is empty".into(), EXAMPLE);
    }
    let Some(url) = Url::parse(text).ok().as_ref().and_then(origin) else {
        return refused(format!("{text:?} is not an address"), EXAMPLE);
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => refused(
            format!("{text:?} has no TLS"),
            "use https://; plain http:// is only for a sandbox on this machine",
        ),
        _ => refused(format!("{text:?} is not an address"), EXAMPLE),
    }
}

/// The host that the token's answer names, if it is safe to send the token there.
fn instance_url(login: &Url, text: &str) -> Result<Url, Fault> {
    let instance = Url::parse(text).ok().as_ref().and_then(origin);
    let safe = instance.filter(|url| match url.scheme() {
        "https" => true,
        "http" => login.scheme() == "http" && is_loopback(url),
        _ => false,
    });
    safe.ok_or_else(|| {
        Fault::new(
            Class::Configuration,
            "unsafe_instance_url",
            "the login leads to an address without TLS; check destination.url",
        )
    })
}

/// The address without credentials, path and query.
fn origin(url: &Url) -> Option<Url> {
    url.host_str().filter(|host| !host.is_empty())?;
    let mut origin = url.clone();
    origin.set_username("").ok()?;
    origin.set_password(None).ok()?;
    origin.set_path("/");
    origin.set_query(None);
    origin.set_fragment(None);
    Some(origin)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or("");
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_org_wants_tls() {
        for (text, ok) in [
            ("https://acme.my.salesforce.com", true),
            ("https://acme.my.salesforce.com/path?x=1", true),
            ("http://127.0.0.1:8801", true),
            ("http://localhost:8801/", true),
            ("http://[::1]:8801", true),
            ("http://acme.my.salesforce.com", false),
            ("http://127.0.0.1.evil.example", false),
            ("http://localhost.evil.example", false),
            ("ftp://acme", false),
            ("acme.my.salesforce.com", false),
            ("file:///etc/passwd", false),
            ("", false),
        ] {
            assert_eq!(login_url(text).is_ok(), ok, "{text}");
        }
        let url = login_url("https://user:pass@acme.example/a?b#c").unwrap();
        assert_eq!(url.as_str(), "https://acme.example/");
    }

    #[test]
    fn a_login_over_tls_never_leads_away_from_it() {
        let tls = login_url("https://acme.my.salesforce.com").unwrap();
        let local = login_url("http://127.0.0.1:8801").unwrap();
        for (login, instance, ok) in [
            (&tls, "https://acme--eu7.my.salesforce.com", true),
            (&tls, "http://acme.my.salesforce.com", false),
            (&tls, "http://127.0.0.1:1", false),
            (&local, "http://127.0.0.1:8801", true),
            (&local, "http://localhost:9000/", true),
            (&local, "https://acme.my.salesforce.com", true),
            (&local, "http://acme.my.salesforce.com", false),
            (&local, "", false),
            (&local, "/services", false),
        ] {
            assert_eq!(instance_url(login, instance).is_ok(), ok, "{instance}");
        }
    }

    #[test]
    fn the_user_stands_in_the_identity_url() {
        let url = "https://login.salesforce.com/id/00DWs0000004AbCMAU/005Ws000001XyZ1IAK";
        assert_eq!(user_of(url).unwrap(), "005Ws000001XyZ1IAK");
        assert_eq!(
            user_of(&format!("{url}?x=1")).unwrap(),
            "005Ws000001XyZ1IAK"
        );
        for bad in [
            "",
            "https://login.salesforce.com/id/00D/",
            "005' OR 1",
            "005Ws000001XyZ'",
        ] {
            assert_eq!(user_of(bad), None, "{bad}");
        }
    }
}
