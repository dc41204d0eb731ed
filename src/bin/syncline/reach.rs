//! Who can be asked: the running process, or the store itself when none runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use syncline::config::Config;
use syncline::fault::{Error, ErrorKind, Result};
use syncline::store::{self, SledStore};
use syncline::web::token;

use crate::client::Client;

/// Whom to ask.
pub(crate) enum Reach {
    /// A process runs.
    Running(Client),
    /// None does, and the store is ours for the moment. To be closed.
    Stored(Box<SledStore>),
    /// Nothing has run yet.
    Nothing,
}

/// Finds out.
pub(crate) async fn reach(config: &Config) -> Result<Reach> {
    let state = &config.state.path;
    let Some(pid) = store::is_running(state)? else {
        // Opening would make it.
        if !state.join("sled").exists() {
            return Ok(Reach::Nothing);
        }
        return Ok(Reach::Stored(Box::new(store::open(state).await?)));
    };
    let Some(address) = address(config, state)? else {
        return Err(Error::new(
            ErrorKind::Busy,
            format!("syncline is running (process {pid}) without an admin interface"),
        )
        .remedy("set admin.listen and restart it, or end it: then its store can be read"));
    };
    let Some(token) = token::shown(config)? else {
        return Err(Error::new(
            ErrorKind::Busy,
            format!("syncline is running (process {pid}), and its token is not to be found"),
        )
        .remedy("it may only just have started: try again; or set admin.token"));
    };
    Ok(Reach::Running(Client::new(&address, token, pid)?))
}

/// Where it said that it listens; else where it should.
fn address(config: &Config, state: &Path) -> Result<Option<String>> {
    let said = token::published_address(state)?;
    let listen = said.or_else(|| Some(config.admin.listen.clone()).filter(|a| !a.is_empty()));
    Ok(listen.map(|address| match address.parse::<SocketAddr>() {
        // "Everywhere" is no place to connect to.
        Ok(mut parsed) if parsed.ip().is_unspecified() => {
            parsed.set_ip(match parsed.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
            parsed.to_string()
        }
        _ => address,
    }))
}
