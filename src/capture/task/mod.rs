//! The socket task: owns the replication connection and waits for nobody.
//!
//! One loop, four things that can happen: the supervisor confirmed something (or wants to stop), a
//! status update is due, bytes arrived, the queue has room again. While the queue is full the task
//! stops reading and Postgres stops sending; status updates go on, so that a slow consumer never
//! costs the connection.

mod intake;

use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt;
use postgres_protocol::message::frontend;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::io::AsyncWriteExt;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::conninfo::Conninfo;
use super::feedback::{Feedback, Status};
use super::framing::Batch;
use super::identity;
use super::queue::Sender;
use super::session::Session;
use super::wire::status_update;
use crate::backoff::Backoff;
use crate::change::{Identity, Lsn};
use crate::clock::Clock;
use crate::fault::{Error, ErrorKind, Result};

const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(100),
    cap: Duration::from_secs(10),
};
/// A connection that lasted this long was a good one: the backoff begins anew.
const GOOD: Duration = Duration::from_secs(30);
/// A status update has 39 bytes: a socket that cannot take them is dead.
const WRITE: Duration = Duration::from_secs(20);
/// Silence after which the server is asked for a sign of life. With the unanswered questions it makes
/// the minute that Postgres's own subscribers wait (wal_receiver_timeout): a server that decodes a
/// large transaction may be silent for long.
const SILENCE: Duration = Duration::from_secs(15);
/// For all that comes between the connection and the stream.
const ATTACH: Duration = Duration::from_secs(60);
/// Unanswered questions before it counts as dead.
const MISSED: u32 = 3;
/// Gathered from the socket before it is cut: a TLS read yields one record at a time.
const GATHER: usize = 256 << 10;

/// The server flushes every row by itself. Inside a transaction more is sure to come: after a read
/// below `SMALL` bytes the socket may fill for a moment, instead of costing a wake-up a row.
const SMALL: usize = 64 << 10;
const MOMENT: Duration = Duration::from_millis(1);

/// What the supervisor wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Control {
    /// Everything before it is durable.
    pub confirmed: Lsn,
    /// Say goodbye.
    pub stop: bool,
}

/// How a connection ended.
enum Ended {
    Stopped,
    Failed(Error),
}

pub(super) struct Task {
    info: Conninfo,
    identity: Identity,
    cap: usize,
    batch: Batch,
    sender: Sender,
    control: watch::Receiver<Control>,
    status: watch::Sender<Status>,
    feedback: Feedback,
    clock: Clock,
    out: BytesMut,
    /// Between a Begin and its Commit.
    open: bool,
    /// Last byte from the server, or when we last began to listen.
    heard: Instant,
    /// Silence after which the server is asked. A server that bears less of ours is asked sooner.
    silence: Duration,
    /// Questions since then.
    unanswered: u32,
}

impl Task {
    #[expect(
        clippy::too_many_arguments,
        reason = "called once, by the type that has them all"
    )]
    pub(super) fn new(
        info: Conninfo,
        identity: Identity,
        start: Lsn,
        cap: usize,
        batch: Batch,
        sender: Sender,
        control: watch::Receiver<Control>,
        status: watch::Sender<Status>,
    ) -> Self {
        let now = Instant::now();
        Task {
            info,
            identity,
            cap,
            batch,
            sender,
            control,
            status,
            feedback: Feedback::new(start, now),
            clock: Clock::System,
            out: BytesMut::with_capacity(128),
            open: false,
            heard: now,
            silence: SILENCE,
            unanswered: 0,
        }
    }

    /// Connects and streams, again and again, until told to stop or until that cannot help.
    /// `first` hears how the first attempt went.
    pub(super) async fn run(mut self, first: oneshot::Sender<Result<()>>) {
        let mut first = Some(first);
        let mut random = SmallRng::from_rng(&mut rand::rng());
        let mut failures = 0_u32;
        let mut streamed_before = false;
        loop {
            let begun = Instant::now();
            let attached = self.attach_or_stop().await;
            let ended = match attached {
                None => Ended::Stopped,
                Some(Err(error)) => Ended::Failed(error),
                Some(Ok(session)) => {
                    if streamed_before {
                        self.sender.restarted();
                    }
                    self.publish(|s| {
                        s.connected = true;
                        s.restarts += u64::from(streamed_before);
                    });
                    tracing::info!(slot = self.identity.slot, from = %self.feedback.lsns().durable, "streaming");
                    streamed_before = true;
                    if let Some(first) = first.take() {
                        let _ = first.send(Ok(()));
                    }
                    let ended = self.stream(session).await;
                    self.publish(|s| s.connected = false);
                    if begun.elapsed() >= GOOD {
                        failures = 0;
                    }
                    ended
                }
            };
            let error = match ended {
                Ended::Stopped => return,
                Ended::Failed(error) => error,
            };
            if !error.is_transient() && error.kind != ErrorKind::Busy {
                tracing::error!(
                    remedy = error.remedy.as_deref(),
                    "the stream of changes ends: {error}"
                );
                match first.take() {
                    Some(first) => drop(first.send(Err(error))),
                    None => self.sender.end(error),
                }
                return;
            }
            failures = failures.saturating_add(1);
            let delay = BACKOFF.delay(failures, &mut random);
            tracing::warn!(
                ?delay,
                failures,
                remedy = error.remedy.as_deref(),
                "no stream of changes, trying again: {error}"
            );
            if let Some(first) = first.take() {
                let _ = first.send(Ok(()));
            }
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = stopped(&mut self.control) => return,
            }
        }
    }

    fn publish(&self, change: impl FnOnce(&mut Status)) {
        let lsns = self.feedback.lsns();
        self.status.send_if_modified(|status| {
            let before = *status;
            status.lsns = lsns;
            change(status);
            *status != before
        });
    }

    async fn attach_or_stop(&mut self) -> Option<Result<Session>> {
        let mut control = self.control.clone();
        let place = self.info.address.to_string();
        tokio::select! {
            result = timeout(ATTACH, self.attach()) => Some(result.unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::SourceUnreachable,
                    format!("{place} did not begin to stream within {ATTACH:?}"),
                )
                .remedy("look into the server's log"))
            })),
            () = stopped(&mut control) => None,
        }
    }

    /// Connects, checks that slot and progress belong together, and begins to stream.
    async fn attach(&mut self) -> Result<Session> {
        self.feedback.confirm(self.control.borrow().confirmed);
        let durable = self.feedback.lsns().durable;
        let slot = &self.identity.slot;
        let mut session = Session::connect(&self.info, slot).await?;
        let observed = identity::observe(&mut session, slot).await?;
        identity::check(&self.identity, durable, &observed)?;
        let server_timeout = session
            .query("SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout'")
            .await?;
        let server_timeout = server_timeout
            .first()
            .and_then(|row| row.first()?.as_ref()?.parse::<u64>().ok())
            .filter(|ms| *ms > 0)
            .map(Duration::from_millis);
        match session
            .start_replication(durable, &self.identity.publication)
            .await
        {
            Err(error) if error.kind == ErrorKind::Busy => {
                let reader = observed
                    .slot
                    .map_or_else(|| "another process".to_owned(), |s| s.reader());
                return Err(Error::new(ErrorKind::Busy, format!("the slot {slot:?} is read by {reader}"))
                    .remedy("we stand by until it is free; a connection that broke keeps the slot for up to wal_sender_timeout"));
            }
            result => result?,
        }
        session.framer.set_cap(self.cap);
        let now = Instant::now();
        self.feedback.connected(server_timeout, now);
        self.silence = server_timeout.map_or(SILENCE, |t| t.clamp(Duration::from_secs(1), SILENCE));
        self.open = false;
        self.heard = now;
        self.unanswered = 0;
        Ok(session)
    }

    async fn stream(&mut self, mut session: Session) -> Ended {
        match self.pump(&mut session).await {
            Ok(()) => {
                self.farewell(session).await;
                Ended::Stopped
            }
            Err(error) => Ended::Failed(error),
        }
    }

    /// Runs the connection until the supervisor wants to stop.
    async fn pump(&mut self, session: &mut Session) -> Result<()> {
        let mut had_room = true;
        // The connection may have come with the first messages behind the handshake's last.
        let mut emptied = self.drain(session)?;
        let mut pause: Option<Instant> = None;
        loop {
            let room = self.sender.has_room();
            if room && !(emptied && had_room) {
                // What the full queue left in the buffer goes first: nothing may ever arrive behind
                // it. And while we did not listen, nobody was silent.
                self.heard = Instant::now();
                self.unanswered = 0;
                emptied = self.drain(session)?;
                had_room = true;
                continue;
            }
            had_room = room;
            let mut due = self.feedback.due();
            if room {
                due = due.min(self.heard + self.silence * (self.unanswered + 1));
            }
            let Task {
                control, sender, ..
            } = self;
            tokio::select! {
                biased;
                changed = control.changed() => {
                    if changed.is_err() || control.borrow_and_update().stop {
                        self.feedback.confirm(self.control.borrow().confirmed);
                        return Ok(());
                    }
                    self.feedback.confirm(self.control.borrow().confirmed);
                    self.publish(|_| ());
                }
                () = sleep_until(due) => self.tick(session, room).await?,
                () = sleep_until(pause.unwrap_or(due)), if pause.is_some() => pause = None,
                read = session.framer.fill(&mut session.transport), if room && pause.is_none() => {
                    match read {
                        Ok(0) => return Err(self.lost("the server closed the connection")),
                        Ok(_) => {}
                        Err(e) => return Err(self.lost("the connection broke").source(e)),
                    }
                    self.heard = Instant::now();
                    self.unanswered = 0;
                    while session.framer.buffered() < GATHER {
                        match session.framer.fill(&mut session.transport).now_or_never() {
                            None | Some(Ok(0)) => break,
                            Some(Ok(_)) => {}
                            Some(Err(e)) => return Err(self.lost("the connection broke").source(e)),
                        }
                    }
                    let gathered = session.framer.buffered();
                    emptied = self.drain(session)?;
                    pause = (self.open && gathered < SMALL).then(|| Instant::now() + MOMENT);
                }
                () = sender.room(), if !room => {}
            }
        }
    }

    fn lost(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::SourceUnreachable,
            format!("{what} ({})", self.info.address),
        )
    }

    /// Sends a status update; asks for a sign of life where there was silence.
    async fn tick(&mut self, session: &mut Session, listening: bool) -> Result<()> {
        let now = Instant::now();
        let silent = listening && now >= self.heard + self.silence * (self.unanswered + 1);
        if silent {
            if self.unanswered >= MISSED {
                return Err(self.lost("the server has not given a sign of life"));
            }
            self.unanswered += 1;
        }
        self.report(session, silent).await
    }

    async fn report(&mut self, session: &mut Session, reply: bool) -> Result<()> {
        let lsns = self.feedback.report(Instant::now());
        self.out.clear();
        status_update(
            &mut self.out,
            lsns.received,
            lsns.durable,
            self.clock.now(),
            reply,
        );
        let out = &self.out;
        let transport = &mut session.transport;
        let sent = timeout(WRITE, async {
            transport.write_all(out).await?;
            transport.flush().await
        })
        .await;
        tracing::trace!(received = %lsns.received, reported = %lsns.reported, reply, "status update");
        self.publish(|_| ());
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(self.lost("the connection broke").source(e)),
            Err(_) => Err(self.lost("the connection takes nothing any more")),
        }
    }

    /// Tells the durable LSN, ends the copy, and waits for the server to agree.
    async fn farewell(&mut self, mut session: Session) {
        if self.report(&mut session, false).await.is_err() {
            return;
        }
        self.out.clear();
        frontend::copy_done(&mut self.out);
        let _ = session.transport.write_all(&self.out).await;
        let _ = session.transport.flush().await;
        // What was under way still arrives; nobody wants it any more.
        loop {
            match session.framer.next() {
                Ok(Some(message)) if message.tag == b'Z' => break,
                Ok(Some(_)) => {}
                Ok(None) => match session.framer.fill(&mut session.transport).await {
                    Ok(n) if n > 0 => {}
                    _ => return,
                },
                Err(_) => return,
            }
        }
        self.out.clear();
        frontend::terminate(&mut self.out);
        let _ = session.transport.write_all(&self.out).await;
        let _ = session.transport.shutdown().await;
        tracing::info!(slot = self.identity.slot, reported = %self.feedback.lsns().reported, "stopped streaming");
    }
}

/// Resolves when the supervisor wants to stop, or is gone.
async fn stopped(control: &mut watch::Receiver<Control>) {
    let _ = control.wait_for(|c| c.stop).await;
}
