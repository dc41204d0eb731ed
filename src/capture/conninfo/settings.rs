//! From parameters to an address, TLS settings, keepalive: libpq's rules and defaults.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{
    Address, ChannelBinding, Environment, Keepalive, RootCert, SOCKET_DIRECTORIES, SslMode, Tls,
    invalid, unsupported, usage,
};
use crate::fault::Result;

pub(super) fn address(host: Option<&str>, hostaddr: Option<&str>, port: u16) -> Result<Address> {
    for (key, value) in [("host", host), ("hostaddr", hostaddr)] {
        if value.is_some_and(|v| v.contains(',')) {
            return Err(usage(format!("source.url names several servers in {key:?}"))
                .remedy("a slot lives on one server: name that one (or an address that follows the primary)"));
        }
    }
    let hostaddr = match hostaddr {
        None => None,
        Some(text) => Some(
            text.parse::<IpAddr>()
                .map_err(|_| invalid("hostaddr", "an IP address"))?,
        ),
    };
    match host {
        Some(path) if path.starts_with('/') => Ok(Address::Unix {
            directory: PathBuf::from(path),
            port,
        }),
        Some(path) if path.starts_with('@') => Err(unsupported(
            "an abstract Unix socket as host",
            "give the directory of the socket file",
        )),
        Some(host) => Ok(Address::Tcp {
            host: host.to_owned(),
            hostaddr,
            port,
        }),
        None => Ok(match hostaddr {
            Some(ip) => Address::Tcp {
                host: ip.to_string(),
                hostaddr,
                port,
            },
            None => SOCKET_DIRECTORIES
                .iter()
                .map(PathBuf::from)
                .find(|directory| Address::socket_file(directory, port).exists())
                .map_or_else(
                    || Address::Tcp {
                        host: "localhost".to_owned(),
                        hostaddr: None,
                        port,
                    },
                    |directory| Address::Unix { directory, port },
                ),
        }),
    }
}

pub(super) fn tls<'a>(get: &impl Fn(&str) -> Option<&'a str>, env: &Environment) -> Result<Tls> {
    let stated = match get("sslmode") {
        // The JDBC driver's spelling, which libpq takes in URLs.
        None if get("ssl") == Some("true") => Some(SslMode::Require),
        None => None,
        Some("disable") => Some(SslMode::Disable),
        Some("prefer") => Some(SslMode::Prefer),
        Some("require") => Some(SslMode::Require),
        Some("verify-ca") => Some(SslMode::VerifyCa),
        Some("verify-full") => Some(SslMode::VerifyFull),
        Some("allow") => return Err(unsupported("sslmode=allow", "use prefer or require")),
        Some(_) => {
            return Err(invalid(
                "sslmode",
                "disable, prefer, require, verify-ca or verify-full",
            ));
        }
    };
    let dot_postgresql = env.home.as_ref().map(|home| home.join(".postgresql"));
    let root = match get("sslrootcert") {
        None => RootCert::Default(
            dot_postgresql
                .as_ref()
                .map(|d| d.join("root.crt"))
                .filter(|p| p.exists()),
        ),
        Some("system") => RootCert::System,
        Some(path) => RootCert::File(PathBuf::from(path)),
    };
    let mode = match (stated, &root) {
        (None, RootCert::System) => SslMode::VerifyFull,
        (Some(mode), RootCert::System) if mode < SslMode::VerifyFull => {
            return Err(
                usage("sslrootcert=system needs sslmode=verify-full").remedy(
                    "any holder of a public certificate would pass otherwise: use verify-full",
                ),
            );
        }
        (Some(SslMode::VerifyCa), RootCert::Default(None)) => {
            return Err(usage("sslmode=verify-ca needs a root certificate").remedy(
                "set sslrootcert to the authority's PEM file, or use sslmode=verify-full",
            ));
        }
        (stated, _) => stated.unwrap_or(SslMode::Prefer),
    };
    let direct = match get("sslnegotiation") {
        None | Some("postgres") => false,
        Some("direct") if mode >= SslMode::Require => true,
        Some("direct") => {
            return Err(usage(
                "sslnegotiation=direct needs sslmode=require or stronger",
            ));
        }
        Some(_) => return Err(invalid("sslnegotiation", "postgres or direct")),
    };
    let identity = match (get("sslcert"), get("sslkey")) {
        (Some(cert), Some(key)) => Some((PathBuf::from(cert), PathBuf::from(key))),
        (None, None) => dot_postgresql
            .map(|d| (d.join("postgresql.crt"), d.join("postgresql.key")))
            .filter(|(cert, key)| cert.exists() && key.exists()),
        _ => {
            return Err(usage(
                "sslcert and sslkey go together: one of them is missing",
            ));
        }
    };
    let channel_binding = match get("channel_binding") {
        None | Some("prefer") => ChannelBinding::Prefer,
        Some("disable") => ChannelBinding::Disable,
        Some("require") => ChannelBinding::Require,
        Some(_) => return Err(invalid("channel_binding", "disable, prefer or require")),
    };
    Ok(Tls {
        mode,
        direct,
        root,
        identity,
        channel_binding,
    })
}

pub(super) fn keepalive<'a>(get: &impl Fn(&str) -> Option<&'a str>) -> Result<Keepalive> {
    let number = |key: &str| match get(key) {
        None => Ok(None),
        Some(text) => match text.trim().parse::<u32>() {
            Ok(0) => Ok(None),
            Ok(n) => Ok(Some(n)),
            Err(_) => Err(invalid(key, "a whole number")),
        },
    };
    let seconds = |n: u32| Duration::from_secs(u64::from(n));
    Ok(Keepalive {
        idle: match get("keepalives") {
            Some("0") => None,
            _ => Some(seconds(number("keepalives_idle")?.unwrap_or(30))),
        },
        interval: seconds(number("keepalives_interval")?.unwrap_or(10)),
        count: number("keepalives_count")?.unwrap_or(3),
        user_timeout: number("tcp_user_timeout")?.map(|n| Duration::from_millis(u64::from(n))),
    })
}
