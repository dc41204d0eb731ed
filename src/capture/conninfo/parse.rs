//! Connection strings: `postgres://…` and `key=value …`, and the `PG*` variables beneath them.

use std::collections::BTreeMap;

use super::usage;
use crate::fault::Result;

type Parameters = BTreeMap<&'static str, String>;

/// Parameters and the environment variables that give their defaults.
const KNOWN: [(&str, &str); 29] = [
    ("application_name", "PGAPPNAME"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("client_encoding", "PGCLIENTENCODING"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("dbname", "PGDATABASE"),
    ("fallback_application_name", ""),
    ("gssencmode", "PGGSSENCMODE"),
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("keepalives", ""),
    ("keepalives_count", ""),
    ("keepalives_idle", ""),
    ("keepalives_interval", ""),
    ("options", "PGOPTIONS"),
    ("passfile", "PGPASSFILE"),
    ("password", "PGPASSWORD"),
    ("port", "PGPORT"),
    // Every connection states its own.
    ("replication", ""),
    ("ssl", ""),
    ("sslcert", "PGSSLCERT"),
    // TLS compression is gone from every library: nothing to switch off.
    ("sslcompression", ""),
    ("sslkey", "PGSSLKEY"),
    ("sslmode", "PGSSLMODE"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslsni", ""),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("tcp_user_timeout", ""),
    ("user", "PGUSER"),
];

/// libpq knows these; leaving one out silently would change what the connection promises.
const UNSUPPORTED: [&str; 18] = [
    "gssdelegation",
    "gsslib",
    "krbsrvname",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "oauth_client_id",
    "oauth_issuer",
    "require_auth",
    "requirepeer",
    "scram_client_key",
    "service",
    "servicefile",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcertmode",
    "sslcrl",
    "sslpassword",
];

/// The parameters of a connection string, over those of the environment.
pub(super) fn parameters(
    text: &str,
    variables: &BTreeMap<String, String>,
) -> Result<BTreeMap<&'static str, String>> {
    let mut parameters = Parameters::new();
    for (key, variable) in KNOWN {
        if let Some(value) = variables.get(variable) {
            parameters.insert(key, value.clone());
        }
    }
    let text = text.trim();
    // In a URL or a list of pairs, what stands there replaces the whole default.
    let stated = match text
        .strip_prefix("postgres://")
        .or_else(|| text.strip_prefix("postgresql://"))
    {
        Some(rest) => url(rest)?,
        // A value of a pair may hold anything.
        None if text
            .split_once("://")
            .is_some_and(|(scheme, _)| !scheme.contains('=')) =>
        {
            return Err(usage("source.url is not a Postgres connection string")
                .remedy("write it as postgres://user@host:5432/database"));
        }
        None => pairs(text)?,
    };
    parameters.extend(stated);
    Ok(parameters)
}

fn known(key: &str, number: usize) -> Result<&'static str> {
    if let Some((known, _)) = KNOWN.iter().find(|(known, _)| *known == key) {
        return Ok(known);
    }
    if let Some(name) = UNSUPPORTED.iter().find(|name| **name == key) {
        return Err(
            usage(format!("source.url sets {name}, which is not supported"))
                .remedy(format!("remove {name} from source.url")),
        );
    }
    // What looks like a key may be the second half of a password with a space in it.
    Err(usage(format!(
        "parameter number {number} of source.url is not a connection parameter"
    ))
    .remedy("quote values that contain spaces in single quotes; percent-encode special characters in a URL"))
}

fn url(rest: &str) -> Result<Parameters> {
    let mut parameters = Parameters::new();
    let (before_query, query) = match rest.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (rest, None),
    };
    // An unencoded slash in a password would otherwise be taken for the start of the database.
    let slash = before_query.find('/').unwrap_or(before_query.len());
    let (authority, path) = before_query.split_at(slash);
    if path.contains('@') {
        return Err(usage("source.url has an @ after its first slash")
            .remedy("percent-encode special characters in user and password: / is %2F, @ is %40"));
    }
    let host_and_port = match authority.rsplit_once('@') {
        None => authority,
        Some((user_info, host)) => {
            let (user, password) = match user_info.split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (user_info, None),
            };
            put(&mut parameters, "user", user)?;
            if let Some(password) = password {
                put(&mut parameters, "password", password)?;
            }
            host
        }
    };
    let port = match host_and_port.strip_prefix('[') {
        Some(bracketed) => {
            let Some((address, after)) = bracketed.split_once(']') else {
                return Err(usage(
                    "source.url opens an IPv6 address with [ and does not close it",
                ));
            };
            put(&mut parameters, "host", address)?;
            match after.strip_prefix(':') {
                Some(port) => port,
                None if after.is_empty() => "",
                None => {
                    return Err(usage(
                        "source.url has something other than a port after the IPv6 address",
                    ));
                }
            }
        }
        None => {
            let (host, port) = host_and_port.split_once(':').unwrap_or((host_and_port, ""));
            put(&mut parameters, "host", host)?;
            port
        }
    };
    put(&mut parameters, "port", port)?;
    put(&mut parameters, "dbname", path.get(1..).unwrap_or_default())?;
    for (index, pair) in query.into_iter().flat_map(|q| q.split('&')).enumerate() {
        if pair.is_empty() {
            continue;
        }
        let Some((key, value)) = pair.split_once('=') else {
            return Err(usage(format!(
                "query parameter number {} of source.url has no value",
                index + 1
            )));
        };
        let key = known(&decode(key)?, index + 1)?;
        parameters.insert(key, decode(value)?);
    }
    Ok(parameters)
}

/// Empty parts of a URL leave the default as it is.
fn put(parameters: &mut Parameters, key: &'static str, value: &str) -> Result<()> {
    if !value.is_empty() {
        parameters.insert(key, decode(value)?);
    }
    Ok(())
}

fn decode(text: &str) -> Result<String> {
    let bad = || {
        usage("source.url has a % that is not followed by two hexadecimal digits, or encodes something that is not text")
            .remedy("write a literal % as %25")
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(bad());
        };
        match u8::try_from(high * 16 + low) {
            Ok(byte) if byte != 0 => bytes.push(byte),
            _ => return Err(bad()),
        }
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

fn pairs(text: &str) -> Result<Parameters> {
    let mut parameters = Parameters::new();
    let mut rest = text.chars().peekable();
    for number in 1.. {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        if rest.peek().is_none() {
            break;
        }
        let mut key = String::new();
        while let Some(c) = rest.next_if(|c| *c != '=' && !c.is_whitespace()) {
            key.push(c);
        }
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        if rest.next_if_eq(&'=').is_none() {
            return Err(usage(format!(
                "parameter number {number} of source.url has no = after its name"
            ))
            .remedy("write it as postgres://user@host:5432/database, or quote values that contain spaces in single quotes"));
        }
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        let quoted = rest.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        loop {
            match rest.next_if(|c| quoted || !c.is_whitespace()) {
                None if quoted => {
                    return Err(usage(format!(
                        "parameter number {number} of source.url opens a quote and does not close it"
                    )));
                }
                None => break,
                Some('\'') if quoted => break,
                // A backslash at the very end stands for nothing, as in libpq.
                Some('\\') => value.extend(rest.next()),
                Some(c) => value.push(c),
            }
        }
        let key = known(&key, number)?;
        parameters.insert(key, value);
    }
    Ok(parameters)
}
