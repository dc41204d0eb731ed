//! A slot that plays a history: in pieces, with pauses, and with lost connections.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::SmallRng;
use syncline::capture::{Event, Frame, Source};
use syncline::change::Lsn;
use syncline::fault::Result;

use crate::database::Database;
use crate::world::{few, frames};

/// What Postgres has been told, across all connections.
#[derive(Default)]
pub struct Slot {
    confirmed: AtomicU64,
}

impl Slot {
    pub fn confirmed(&self) -> Lsn {
        Lsn(self.confirmed.load(Ordering::SeqCst))
    }
}

/// One connection to it.
pub struct Script {
    database: Database,
    slot: Arc<Slot>,
    random: SmallRng,
    frames: VecDeque<Bytes>,
    /// WAL entries that have been made frames.
    sent: usize,
    /// Where the connection began.
    start: Lsn,
    described: bool,
    durable: Lsn,
    /// How often the connection is lost, in a thousand events.
    losses: u32,
    idle: Option<Lsn>,
}

impl Script {
    pub fn new(
        database: Database,
        slot: Arc<Slot>,
        random: SmallRng,
        start: Lsn,
        losses: u32,
    ) -> Self {
        // A slot never goes back behind what it has been told.
        let start = start.max(slot.confirmed());
        Script {
            database,
            slot,
            random,
            frames: VecDeque::new(),
            sent: 0,
            start,
            described: false,
            durable: start,
            losses,
            idle: None,
        }
    }

    fn receive(&mut self) {
        let (transactions, sent) = self.database.since(self.start, self.sent);
        self.sent = sent;
        for transaction in &transactions {
            self.frames.extend(frames(transaction, !self.described));
            self.described = true;
        }
    }
}

impl Source for Script {
    async fn next(&mut self) -> Result<Event> {
        loop {
            if self.random.random_bool(0.3) {
                let pause = Duration::from_millis(self.random.random_range(0..80));
                tokio::time::sleep(pause).await;
            }
            if self.random.random_range(0..1000) < self.losses {
                self.frames.clear();
                (self.sent, self.described, self.start) = (0, false, self.durable);
                self.idle = None;
                return Ok(Event::Restarted);
            }
            if self.frames.is_empty() {
                let more = few(&mut self.random, 8);
                self.database.go_on(more);
                self.receive();
            }
            if !self.frames.is_empty() {
                break;
            }
            let end = self.database.end();
            if self.idle == Some(end) {
                tokio::time::sleep(Duration::from_millis(500)).await;
                continue;
            }
            self.idle = Some(end);
            return Ok(Event::Idle {
                lsn: end,
                urgent: self.random.random_bool(0.2),
            });
        }
        let count = few(&mut self.random, 30).min(self.frames.len());
        let frames = self.frames.drain(..count).map(|payload| Frame {
            lsn: Lsn(0),
            payload,
        });
        Ok(Event::Frames(frames.collect()))
    }

    fn confirm(&mut self, lsn: Lsn) {
        assert!(lsn >= self.durable, "the durable LSN went back");
        self.durable = lsn;
        self.slot.confirmed.fetch_max(lsn.0, Ordering::SeqCst);
    }
}
