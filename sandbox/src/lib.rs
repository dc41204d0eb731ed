//! A strict, local, Salesforce-compatible server.
//!
//! It serves the demo and the tests of Syncline, and knows nothing of Syncline's own code:
//! a misreading of the API in one is then not hidden by the same misreading in the other.
//! It refuses what Salesforce would refuse, in Salesforce's words; it can be told to fail
//! in the ways a real org fails; and it remembers every write.
//!
//! Where things are:
//! - `schema/`: objects and fields, standard and custom, and what describe says of them
//! - `store/`: records, indexes, recycle bin, field-level security, journal
//! - `write/`: the one path of every write
//! - `soql/`: queries
//! - `bulk/`: bulk jobs: their files, what they do in the background, their results
//! - `http/`: the wire: OAuth, SOAP login, REST, Tooling, the control interface, the page
//! - `clock.rs`, `usage.rs`, `counters.rs`: the org's time, limits of a day, calls by kind
//! - `running.rs`: the limit on requests that run long
//! - `tls.rs`: the throw-away authority
//! - `faults/`, `locks.rs`, `writelog.rs`, `sessions.rs`: what their names say
//!
//! The endpoints, the control interface and the faults are described in this crate's
//! `README.md`.

// The description of a field is one long JSON literal.
#![recursion_limit = "256"]

mod app;
mod bulk;
mod clock;
mod config;
mod counters;
mod faults;
mod http;
mod ids;
mod locks;
mod running;
mod schema;
mod server;
mod sessions;
mod soql;
mod store;
mod tls;
mod usage;
mod write;
mod writelog;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use config::{Config, Tls};

/// Why a sandbox could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address could not be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The data folder could not be read or written.
    #[error("{path}: {source}")]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The journal is damaged before its last line.
    #[error("{path}: line {line} cannot be read, and it is not the last one")]
    Journal {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A certificate could not be made.
    #[error("TLS: {0}")]
    Tls(String),
    /// The faults could not be read.
    #[error("faults: {0}")]
    Faults(String),
}

impl Error {
    fn data(path: &Path, source: io::Error) -> Error {
        Error::Data {
            path: path.to_owned(),
            source,
        }
    }
}

/// A running sandbox. It ends when stopped or dropped.
#[derive(Debug)]
pub struct Sandbox {
    server: server::Server,
}

impl Sandbox {
    /// Starts a sandbox in the background of the current runtime.
    pub async fn start(config: Config) -> Result<Sandbox, Error> {
        Ok(Sandbox {
            server: server::Server::start(config).await?,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Its base URL, without a slash at the end.
    pub fn url(&self) -> String {
        let scheme = match self.server.authority {
            Some(_) => "https",
            None => "http",
        };
        format!("{scheme}://{}", self.server.address)
    }

    /// The certificate (PEM) of the authority that a client must trust, if it speaks TLS.
    pub fn authority(&self) -> Option<&str> {
        self.server.authority.as_deref()
    }

    /// Ends it: open connections are closed at once.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

/// Serves until `shutdown` is done. Prints nothing.
pub async fn serve(config: Config, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
    let sandbox = Sandbox::start(config).await?;
    shutdown.await;
    sandbox.stop().await;
    Ok(())
}
