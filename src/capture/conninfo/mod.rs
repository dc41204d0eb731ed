//! Where Postgres is and how to get in: the connection string, the password's sources, libpq's
//! defaults.
//!
//! A [`Conninfo`] can be printed: no form of it shows the password. Neither does any error made
//! here: while a connection string is being read nobody knows yet which part of it is the password,
//! so errors name parameters by key or by number and never quote a value.
//!
//! <https://www.postgresql.org/docs/current/libpq-connect.html>

mod parse;
mod pgpass;
mod settings;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{self, Secret};
use crate::fault::{Error, ErrorKind, Result};

/// libpq waits for ever by default; a sidecar that has a backoff does better to give up and retry.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Where servers put their socket, by distribution.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// Where the server listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// Host and port.
    Tcp {
        /// Name or address as given: what the certificate must name.
        host: String,
        /// Address to dial instead of looking `host` up.
        hostaddr: Option<IpAddr>,
        /// Port.
        port: u16,
    },
    /// A Unix socket.
    Unix {
        /// Its directory.
        directory: PathBuf,
        /// The port in its name.
        port: u16,
    },
}

impl Address {
    /// The socket file of a Unix address.
    pub(super) fn socket_file(directory: &Path, port: u16) -> PathBuf {
        directory.join(format!(".s.PGSQL.{port}"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Address::Unix { directory, port } => {
                write!(f, "{}", Address::socket_file(directory, *port).display())
            }
        }
    }
}

/// How much TLS is asked for.
///
/// <https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION>
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SslMode {
    /// None.
    Disable,
    /// TLS where the server offers it. Protects from nobody who can change packets.
    Prefer,
    /// TLS, whoever answers. With a root certificate given: as [`SslMode::VerifyCa`].
    Require,
    /// TLS with a certificate from a trusted authority.
    VerifyCa,
    /// TLS with a certificate from a trusted authority for this host.
    VerifyFull,
}

/// Who may sign the server's certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RootCert {
    /// Nothing was said: `~/.postgresql/root.crt` if it exists.
    Default(Option<PathBuf>),
    /// The system's authorities (`sslrootcert=system`).
    System,
    /// A PEM file.
    File(PathBuf),
}

/// Whether SCRAM must be bound to the TLS channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// Where both sides can.
    Prefer,
    /// Or no connection at all.
    Require,
}

/// All that concerns TLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tls {
    /// How much.
    pub mode: SslMode,
    /// Without asking first (`sslnegotiation=direct`, Postgres 17 and newer).
    pub direct: bool,
    /// Whom to trust.
    pub root: RootCert,
    /// Our own certificate and its key, PEM files.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// SCRAM bound to the channel.
    pub channel_binding: ChannelBinding,
}

/// TCP keepalive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keepalive {
    /// Silence before the first probe; none: no keepalive.
    pub idle: Option<Duration>,
    /// Time between probes.
    pub interval: Duration,
    /// Probes without an answer before the connection counts as lost.
    pub count: u32,
    /// `TCP_USER_TIMEOUT`.
    pub user_timeout: Option<Duration>,
}

/// All that is needed to connect.
#[derive(Clone)]
pub struct Conninfo {
    /// Where.
    pub address: Address,
    /// As whom.
    pub user: String,
    /// To which database.
    pub database: String,
    /// Shown in `pg_stat_activity`.
    pub application_name: String,
    /// The user's own session options; ours follow and win.
    pub options: Option<String>,
    /// For the whole way to a usable session; none: no limit.
    pub connect_timeout: Option<Duration>,
    /// TLS.
    pub tls: Tls,
    /// TCP keepalive.
    pub keepalive: Keepalive,
    pub(super) password: Option<Secret>,
    /// Why a password that one would expect was not found.
    pub(super) password_hint: Option<String>,
}

impl fmt::Display for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "database {:?} at {} as {:?}",
            self.database, self.address, self.user
        )
    }
}

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conninfo")
            .field("address", &self.address)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// What the process was started with, as far as it matters here. A value, so that tests need not
/// change the process.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    /// Environment variables.
    pub variables: BTreeMap<String, String>,
    /// Home directory.
    pub home: Option<PathBuf>,
    /// The operating system's name for the user.
    pub user: Option<String>,
}

impl Environment {
    fn of_process() -> Self {
        let variables: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .filter(|(k, _)| k.starts_with("PG"))
            .collect();
        Environment {
            variables,
            home: std::env::home_dir(),
            user: whoami::username().ok(),
        }
    }
}

impl Conninfo {
    /// Reads the source's connection string and finds the password.
    ///
    /// The password is looked for in this order: `source.password`, `source.password_file`, the
    /// connection string, `PGPASSWORD`, the password file (`passfile`, `PGPASSFILE`, `~/.pgpass`).
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when the connection string cannot be read or asks for something that is
    /// not supported.
    pub fn from_config(source: &config::Source) -> Result<Self> {
        Self::resolve(source, &Environment::of_process())
    }

    pub(super) fn resolve(source: &config::Source, env: &Environment) -> Result<Self> {
        let parameters = parse::parameters(&source.url, &env.variables)?;
        let get = |key: &str| {
            parameters
                .get(key)
                .map(String::as_str)
                .filter(|v| !v.is_empty())
        };

        if let Some(mode) = get("target_session_attrs")
            && mode != "any"
        {
            return Err(unsupported(
                "target_session_attrs",
                "give the primary's own address",
            ));
        }
        if get("gssencmode") == Some("require") {
            return Err(unsupported("gssencmode=require", "use TLS"));
        }
        if let Some(encoding) = get("client_encoding")
            && !matches!(
                encoding.to_ascii_lowercase().as_str(),
                "utf8" | "utf-8" | "auto"
            )
        {
            return Err(unsupported(
                "client_encoding",
                "the connection always uses UTF8",
            ));
        }

        let port = match get("port") {
            None => 5432,
            Some(text) => match text.parse::<u16>() {
                Ok(port) if port > 0 => port,
                _ => return Err(invalid("port", "a number from 1 to 65535")),
            },
        };
        let address = settings::address(get("host"), get("hostaddr"), port)?;
        let user = match get("user").map(str::to_owned).or_else(|| env.user.clone()) {
            Some(user) => user,
            None => {
                return Err(usage("source.url names no user")
                    .remedy("write it as postgres://user@host:5432/database"));
            }
        };
        let database = get("dbname").map_or_else(|| user.clone(), str::to_owned);
        let connect_timeout = match get("connect_timeout") {
            None => Some(CONNECT_TIMEOUT),
            Some(text) => match text.trim().parse::<i64>() {
                // As in libpq: zero and less mean no limit, and less than two seconds mean two.
                Ok(seconds) if seconds <= 0 => None,
                Ok(seconds) => Some(Duration::from_secs(seconds.max(2).unsigned_abs())),
                Err(_) => return Err(invalid("connect_timeout", "a number of seconds")),
            },
        };
        let mut info = Conninfo {
            address,
            user,
            database,
            application_name: get("application_name")
                .or(get("fallback_application_name"))
                .map_or_else(|| format!("syncline/{}", source.slot), str::to_owned),
            options: get("options").map(str::to_owned),
            connect_timeout,
            tls: settings::tls(&get, env)?,
            keepalive: settings::keepalive(&get)?,
            password: None,
            password_hint: None,
        };
        info.find_password(source, &get, env)?;
        Ok(info)
    }

    fn find_password<'a>(
        &mut self,
        source: &config::Source,
        get: &impl Fn(&str) -> Option<&'a str>,
        env: &Environment,
    ) -> Result<()> {
        if let Some(password) = &source.password {
            self.password = Some(password.clone());
            return Ok(());
        }
        if let Some(path) = &source.password_file {
            let text = std::fs::read_to_string(path).map_err(|e| {
                usage(format!(
                    "cannot read source.password_file {}",
                    path.display()
                ))
                .source(e)
            })?;
            let line = text.lines().next().unwrap_or_default();
            if line.is_empty() {
                return Err(usage(format!(
                    "the first line of source.password_file {} is empty",
                    path.display()
                )));
            }
            self.password = Some(Secret(line.to_owned()));
            return Ok(());
        }
        // PGPASSWORD has been put behind the connection string by the table of parameters.
        if let Some(password) = get("password") {
            self.password = Some(Secret(password.to_owned()));
            return Ok(());
        }
        let file = get("passfile")
            .map(PathBuf::from)
            .or_else(|| env.home.as_ref().map(|home| home.join(".pgpass")));
        if let Some(file) = file {
            let host = match &self.address {
                Address::Tcp { host, .. } => host.clone(),
                Address::Unix { directory, .. }
                    if SOCKET_DIRECTORIES.iter().any(|d| directory == Path::new(d)) =>
                {
                    "localhost".to_owned()
                }
                Address::Unix { directory, .. } => directory.display().to_string(),
            };
            let (Address::Tcp { port, .. } | Address::Unix { port, .. }) = self.address;
            match pgpass::look_up(&file, &host, port, &self.database, &self.user) {
                Ok(password) => self.password = password.map(Secret),
                Err(reason) => {
                    tracing::warn!(file = %file.display(), "the password file was not used: {reason}");
                    self.password_hint = Some(format!("{} was not used: {reason}", file.display()));
                }
            }
        }
        Ok(())
    }
}

pub(super) fn usage(what: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Usage, what)
}

fn invalid(key: &str, wanted: &str) -> Error {
    usage(format!("{key:?} in source.url must be {wanted}"))
}

fn unsupported(what: &str, instead: &str) -> Error {
    usage(format!(
        "source.url asks for {what}, which is not supported"
    ))
    .remedy(instead.to_owned())
}

#[cfg(test)]
mod tests;
