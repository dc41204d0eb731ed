//! A connection in replication mode: startup, authentication, simple queries, and the switch to
//! streaming.
//!
//! The session's output format is forced by startup options: settings of the server, the database or
//! the role would otherwise leak into the text of dates and bytes. What the server then reports is
//! checked.

use std::collections::BTreeMap;

use bytes::BytesMut;
use postgres_protocol::authentication;
use postgres_protocol::authentication::sasl::{self, ScramSha256};
use postgres_protocol::message::frontend;
use tokio::io::AsyncWriteExt;

use super::conninfo::{ChannelBinding, Conninfo, SslMode};
use super::framing::{Framer, HANDSHAKE_CAP, Message};
use super::refusal::{self, Doing, ident, literal};
use super::transport::{Attempt, Transport, dial};
use super::wire::{Reader, Row, ServerError, data_row};
use crate::change::Lsn;
use crate::fault::{Error, ErrorKind, Result};

/// What the decoder relies on, for both connections.
pub(super) const SESSION_OPTIONS: &str = "-c datestyle=ISO -c intervalstyle=postgres \
     -c extra_float_digits=3 -c timezone=UTC -c bytea_output=hex -c lc_monetary=C \
     -c statement_timeout=0 -c idle_session_timeout=0 \
     -c idle_in_transaction_session_timeout=0 -c lock_timeout=0";

/// Session options of a connection: the user's first, so that ours win.
pub(super) fn options(info: &Conninfo) -> String {
    match &info.options {
        Some(own) => format!("{own} {SESSION_OPTIONS}"),
        None => SESSION_OPTIONS.to_owned(),
    }
}

/// Runs `connect` within `connect_timeout`; after a refusal under `sslmode=prefer`, once more
/// without TLS, as libpq does.
pub(super) async fn with_attempts<T, F>(
    info: &Conninfo,
    mut connect: impl FnMut(Attempt) -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let both = async {
        match connect(Attempt::AsAsked).await {
            Err(error) if info.tls.mode == SslMode::Prefer && refusal::because_of_tls(&error) => {
                match connect(Attempt::WithoutTls).await {
                    Ok(connected) => {
                        tracing::warn!("connected without TLS, because with TLS: {error}");
                        Ok(connected)
                    }
                    // The first refusal says more.
                    Err(_) => Err(error),
                }
            }
            result => result,
        }
    };
    match info.connect_timeout {
        None => both.await,
        Some(limit) => tokio::time::timeout(limit, both).await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::SourceUnreachable,
                format!("{} did not answer within {limit:?}", info.address),
            )
            .remedy("check host and port in source.url, and the firewall; connect_timeout in source.url sets the limit"))
        }),
    }
}

/// A connection in replication mode that does not stream yet.
pub(super) struct Session {
    pub(super) transport: Transport,
    pub(super) framer: Framer,
    info: Conninfo,
    slot: String,
    parameters: BTreeMap<String, String>,
    out: BytesMut,
    /// The server's process, as it told us.
    pub(super) pid: Option<i32>,
}

impl Session {
    /// Connects, authenticates, and checks that the session formats values as the decoder expects.
    pub(super) async fn connect(info: &Conninfo, slot: &str) -> Result<Self> {
        with_attempts(info, |attempt| Self::attempt(info, slot, attempt)).await
    }

    async fn attempt(info: &Conninfo, slot: &str, attempt: Attempt) -> Result<Self> {
        let transport = dial(info, attempt).await?;
        let mut session = Session {
            transport,
            framer: Framer::new(HANDSHAKE_CAP),
            info: info.clone(),
            slot: slot.to_owned(),
            parameters: BTreeMap::new(),
            out: BytesMut::new(),
            pid: None,
        };
        session.startup().await?;
        session.check_parameters()?;
        Ok(session)
    }

    /// How values are formatted, as far as the server reports it.
    fn check_parameters(&self) -> Result<()> {
        for (name, value) in &self.parameters {
            let good = match name.as_str() {
                "DateStyle" => value.starts_with("ISO"),
                "IntervalStyle" => value == "postgres",
                "TimeZone" => value == "UTC",
                "client_encoding" => value == "UTF8",
                _ => true,
            };
            if !good {
                return Err(Error::new(
                    ErrorKind::SourceRefused,
                    format!(
                        "the session has {name} = {value:?} although another value was asked for"
                    ),
                )
                .remedy("connect to the server itself, not through a pooler"));
            }
        }
        Ok(())
    }

    /// The next message; notices are logged on the way.
    async fn receive(&mut self, doing: Doing) -> Result<Message> {
        loop {
            if let Some(message) = self.framer.next()? {
                match message.tag {
                    b'E' => {
                        let error = ServerError::parse(&message.body);
                        return Err(refusal::refusal(&error, doing, &self.info, &self.slot));
                    }
                    b'N' => {
                        let notice = ServerError::parse(&message.body);
                        tracing::info!(code = notice.code, "the server says: {}", notice.message);
                    }
                    b'S' => {
                        let mut r = Reader(&message.body);
                        if let (Some(name), Some(value)) = (r.text(), r.text()) {
                            self.parameters.insert(name, value);
                        }
                    }
                    // The server speaks an older protocol than asked for: we ask for the oldest.
                    b'v' => {}
                    _ => return Ok(message),
                }
                continue;
            }
            match self.framer.fill(&mut self.transport).await {
                Ok(0) => return Err(self.broken("the server closed the connection")),
                Ok(_) => {}
                Err(e) => return Err(self.broken("the connection broke").source(e)),
            }
        }
    }

    fn broken(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::SourceUnreachable,
            format!("{what} ({})", self.info.address),
        )
    }

    fn unexpected(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::Protocol,
            format!("{} answered with {what}", self.info.address),
        )
        .remedy("check that source.url leads to a Postgres server and not to a pooler or proxy")
    }

    async fn send(&mut self) -> Result<()> {
        let sent = async {
            self.transport.write_all(&self.out).await?;
            self.transport.flush().await
        }
        .await;
        self.out.clear();
        sent.map_err(|e| self.broken("the connection broke").source(e))
    }

    fn unsendable(e: std::io::Error) -> Error {
        Error::new(
            ErrorKind::Usage,
            "a text for the server contains a zero byte",
        )
        .source(e)
    }

    async fn startup(&mut self) -> Result<()> {
        let options = options(&self.info);
        let parameters = [
            ("user", self.info.user.as_str()),
            ("database", &self.info.database),
            ("replication", "database"),
            ("application_name", &self.info.application_name),
            ("client_encoding", "UTF8"),
            ("options", &options),
        ];
        frontend::startup_message(parameters, &mut self.out).map_err(Self::unsendable)?;
        self.send().await?;
        self.authenticate().await?;
        loop {
            let message = self.receive(Doing::ConnectingReplication).await?;
            match message.tag {
                b'Z' => return Ok(()),
                b'K' => self.pid = Reader(&message.body).i32(),
                tag => {
                    return Err(self.unexpected(&format!(
                        "a message of type {:?} at startup",
                        char::from(tag)
                    )));
                }
            }
        }
    }

    /// The next authentication message: its code and what follows.
    async fn challenge(&mut self) -> Result<(i32, bytes::Bytes)> {
        let message = self.receive(Doing::ConnectingReplication).await?;
        let mut r = Reader(&message.body);
        match (message.tag, r.i32()) {
            (b'R', Some(code)) => Ok((code, message.body.slice(4..))),
            _ => Err(self.unexpected("something other than a request to authenticate")),
        }
    }

    async fn authenticate(&mut self) -> Result<()> {
        let (code, body) = self.challenge().await?;
        let binding_required = self.info.tls.channel_binding == ChannelBinding::Require;
        if binding_required && code != 10 {
            return Err(self
                .refused("channel_binding=require, but the server does not use SCRAM")
                .remedy("ask for scram-sha-256 in the server's pg_hba.conf, over TLS"));
        }
        match code {
            0 => return Ok(()),
            3 => {
                if !self.transport.is_private() {
                    return Err(refusal::clear_text(&self.info));
                }
                let password = self.password()?;
                frontend::password_message(password.as_bytes(), &mut self.out)
                    .map_err(Self::unsendable)?;
                self.send().await?;
            }
            5 => {
                let salt: [u8; 4] = body
                    .get(..4)
                    .and_then(|s| s.try_into().ok())
                    .ok_or_else(|| self.unexpected("a salt of the wrong length"))?;
                let hash = authentication::md5_hash(
                    self.info.user.as_bytes(),
                    self.password()?.as_bytes(),
                    salt,
                );
                frontend::password_message(hash.as_bytes(), &mut self.out)
                    .map_err(Self::unsendable)?;
                self.send().await?;
            }
            10 => self.scram(&body).await?,
            _ => {
                return Err(self
                    .refused(&format!("the server asks for an authentication method that is not supported (code {code})"))
                    .remedy("use scram-sha-256 in the server's pg_hba.conf"));
            }
        }
        match self.challenge().await? {
            (0, _) => Ok(()),
            _ => Err(self.unexpected("a second request to authenticate")),
        }
    }

    async fn scram(&mut self, mechanisms: &[u8]) -> Result<()> {
        let (mut plain, mut plus) = (false, false);
        for mechanism in mechanisms.split(|b| *b == 0) {
            plain |= mechanism == sasl::SCRAM_SHA_256.as_bytes();
            plus |= mechanism == sasl::SCRAM_SHA_256_PLUS.as_bytes();
        }
        let wanted = self.info.tls.channel_binding;
        let end_point = match wanted {
            ChannelBinding::Disable => None,
            _ => self.transport.end_point(),
        };
        let (binding, mechanism) = match end_point {
            Some(hash) if plus => (
                sasl::ChannelBinding::tls_server_end_point(hash),
                sasl::SCRAM_SHA_256_PLUS,
            ),
            // "We could, but you did not offer": the server notices if somebody removed its offer.
            Some(_) => (sasl::ChannelBinding::unrequested(), sasl::SCRAM_SHA_256),
            None => (sasl::ChannelBinding::unsupported(), sasl::SCRAM_SHA_256),
        };
        if mechanism == sasl::SCRAM_SHA_256 {
            if wanted == ChannelBinding::Require {
                return Err(self
                    .refused("channel_binding=require, but the channel cannot be bound")
                    .remedy("it takes TLS and a server certificate signed with RSA or ECDSA"));
            }
            if !plain {
                return Err(self.unexpected("SASL mechanisms that are not supported"));
            }
        }
        tracing::debug!(mechanism, tls = self.transport.is_tls(), "authenticating");
        let mut scram = ScramSha256::new(self.password()?.as_bytes(), binding);
        frontend::sasl_initial_response(mechanism, scram.message(), &mut self.out)
            .map_err(Self::unsendable)?;
        self.send().await?;
        let (11, challenge) = self.challenge().await? else {
            return Err(self.unexpected("something other than SCRAM's challenge"));
        };
        scram.update(&challenge).map_err(|e| self.impostor(e))?;
        frontend::sasl_response(scram.message(), &mut self.out).map_err(Self::unsendable)?;
        self.send().await?;
        let (12, proof) = self.challenge().await? else {
            return Err(self.unexpected("something other than SCRAM's last message"));
        };
        // The server, too, proves that it knows the password.
        scram.finish(&proof).map_err(|e| self.impostor(e))
    }

    fn refused(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::SourceRefused,
            format!("{}: {what}", self.info.address),
        )
    }

    fn impostor(&self, e: std::io::Error) -> Error {
        self.refused("the server could not prove that it knows the password")
            .remedy("check that source.url leads to your own server")
            .source(e)
    }

    fn password(&self) -> Result<String> {
        match &self.info.password {
            Some(password) => Ok(password.0.clone()),
            None => Err(refusal::no_password(&self.info)),
        }
    }

    /// Runs one command and returns its rows.
    pub(super) async fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        frontend::query(sql, &mut self.out).map_err(Self::unsendable)?;
        self.send().await?;
        let mut rows = Vec::new();
        loop {
            let message = self.receive(Doing::Asking).await?;
            match message.tag {
                b'D' => match data_row(&message.body) {
                    Some(row) => rows.push(row),
                    None => return Err(self.unexpected("a row that cannot be read")),
                },
                b'Z' => return Ok(rows),
                b'T' | b'C' | b'I' => {}
                tag => {
                    return Err(self.unexpected(&format!(
                        "a message of type {:?} to a query",
                        char::from(tag)
                    )));
                }
            }
        }
    }

    /// Begins to stream. From here on the socket is the caller's.
    pub(super) async fn start_replication(&mut self, start: Lsn, publication: &str) -> Result<()> {
        let publications = literal(&ident(publication));
        let command = format!(
            "START_REPLICATION SLOT {} LOGICAL {start} (proto_version '1', publication_names {publications}, messages 'true')",
            ident(&self.slot),
        );
        frontend::query(&command, &mut self.out).map_err(Self::unsendable)?;
        self.send().await?;
        let message = self.receive(Doing::Streaming).await?;
        match message.tag {
            b'W' => Ok(()),
            tag => Err(self.unexpected(&format!(
                "a message of type {:?} instead of a stream",
                char::from(tag)
            ))),
        }
    }
}
