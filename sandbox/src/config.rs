//! What a sandbox is started with.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The settings of one sandbox. The default listens on a free local port and keeps
/// everything in memory.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// A folder to keep data, schema and write log in over restarts.
    pub data: Option<PathBuf>,
    /// Faults from the start, in the compact form (see the crate's `README.md`).
    pub faults: Option<String>,
    /// The connected app's key.
    pub client_id: String,
    /// The connected app's secret.
    pub client_secret: String,
    /// The administrator's user name.
    pub username: String,
    /// The password of every user.
    pub password: String,
    /// The user name that client credentials run as.
    pub integration_username: String,
    /// The user name of the sales rep who edits on the page.
    pub rep_username: String,
    /// A certificate or public key (PEM). When set, JWT bearer assertions must be signed
    /// by its private key; otherwise any well-formed assertion of the client is taken.
    pub jwt_key: Option<String>,
    /// When set, the sandbox speaks TLS only.
    pub tls: Option<Tls>,
    /// How long a session lives without a call.
    pub session: Duration,
    /// The daily limit of API calls.
    pub api_limit: u64,
    /// How far the org's clock is ahead of the machine's (negative: behind), in
    /// milliseconds, unless the data folder knows better.
    pub clock_offset_ms: i64,
    /// How long a write waits for a locked row before `UNABLE_TO_LOCK_ROW`.
    pub lock_wait: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            data: None,
            faults: None,
            client_id: "sandbox".to_owned(),
            client_secret: "sandbox".to_owned(),
            username: "admin@sandbox.test".to_owned(),
            password: "sandbox".to_owned(),
            integration_username: "integration@sandbox.test".to_owned(),
            rep_username: "rep@sandbox.test".to_owned(),
            jwt_key: None,
            tls: None,
            session: Duration::from_secs(2 * 60 * 60),
            api_limit: 100_000,
            clock_offset_ms: 0,
            lock_wait: Duration::from_millis(200),
        }
    }
}

/// How the sandbox shows who it is. It makes an authority of its own, which nobody trusts
/// unless told to.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// A file to write the authority's certificate to (PEM). Without it, `authority.pem` in
    /// the data folder, if there is one.
    pub authority: Option<PathBuf>,
    /// Names and addresses the server's certificate is good for, beside `localhost`,
    /// `127.0.0.1`, `::1` and the address it listens on.
    pub names: Vec<String>,
}
