//! A slot that plays a history: in pieces, with pauses, and with lost connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::SmallRng;
use syncline::capture::{Event, Frame, Source};
use syncline::change::Lsn;
use syncline::fault::Result;

use crate::world::{History, few, frames_from};

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
    history: Arc<History>,
    slot: Arc<Slot>,
    random: SmallRng,
    frames: std::collections::VecDeque<Bytes>,
    durable: Lsn,
    /// How often the connection is lost, in a thousand events.
    losses: u32,
    idle: bool,
}

impl Script {
    pub fn new(
        history: Arc<History>,
        slot: Arc<Slot>,
        random: SmallRng,
        start: Lsn,
        losses: u32,
    ) -> Self {
        // A slot never goes back behind what it has been told.
        let start = start.max(slot.confirmed());
        let frames = frames_from(&history, start).into();
        Script {
            history,
            slot,
            random,
            frames,
            durable: start,
            losses,
            idle: false,
        }
    }
}

impl Source for Script {
    async fn next(&mut self) -> Result<Event> {
        if self.random.random_bool(0.3) {
            let pause = Duration::from_millis(self.random.random_range(0..80));
            tokio::time::sleep(pause).await;
        }
        if self.random.random_range(0..1000) < self.losses {
            self.frames = frames_from(&self.history, self.durable).into();
            self.idle = false;
            return Ok(Event::Restarted);
        }
        if self.frames.is_empty() {
            if self.idle {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            self.idle = true;
            return Ok(Event::Idle {
                lsn: self.history.end,
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
