//! What waits between the socket task and the decoder: bounded in bytes, in order.
//!
//! The socket task never waits to put something in: it asks for room before it reads, and a single
//! batch may go over the limit. Neighbouring batches are joined, and idle positions coalesce, so
//! that a slow consumer finds few, full events.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::framing::Batch;
use super::{Event, Frame};
use crate::change::Lsn;
use crate::fault::{Error, Result};

/// Bookkeeping a frame costs beside its payload.
const OVERHEAD: usize = 64;

struct State {
    events: VecDeque<(Event, usize)>,
    bytes: usize,
    /// The last word. Taken by the consumer after all events.
    end: Option<Error>,
    ended: bool,
}

struct Shared {
    state: Mutex<State>,
    arrived: Notify,
    room: Notify,
    limit: usize,
    batch: Batch,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock is held cannot leave the state half changed: every change is one
        // push or one pop.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The socket task's end.
pub(super) struct Sender(Arc<Shared>);

/// The consumer's end.
pub(super) struct Receiver(Arc<Shared>);

/// A queue of `limit` bytes whose batches hold at most `batch`.
pub(super) fn queue(limit: usize, batch: Batch) -> (Sender, Receiver) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            events: VecDeque::new(),
            bytes: 0,
            end: None,
            ended: false,
        }),
        arrived: Notify::new(),
        room: Notify::new(),
        limit,
        batch,
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl Sender {
    /// Whether anything may be put in.
    pub(super) fn has_room(&self) -> bool {
        self.0.lock().bytes < self.0.limit
    }

    /// Waits until there is room. Cancel-safe.
    pub(super) async fn room(&self) {
        while !self.has_room() {
            self.0.room.notified().await;
        }
    }

    /// Frames with `bytes` of payload.
    pub(super) fn frames(&self, mut frames: Vec<Frame>, bytes: usize) {
        if frames.is_empty() {
            return;
        }
        let weight = bytes + frames.len() * OVERHEAD;
        let mut state = self.0.lock();
        state.bytes += weight;
        match state.events.back_mut() {
            Some((Event::Frames(last), held))
                if last.len() + frames.len() <= self.0.batch.frames
                    && *held + weight <= self.0.batch.bytes =>
            {
                last.append(&mut frames);
                *held += weight;
            }
            _ => state.events.push_back((Event::Frames(frames), weight)),
        }
        drop(state);
        self.0.arrived.notify_one();
    }

    /// An idle position. It replaces one that still waits at the end.
    pub(super) fn idle(&self, lsn: Lsn, urgent: bool) {
        let mut state = self.0.lock();
        match state.events.back_mut() {
            Some((
                Event::Idle {
                    lsn: last,
                    urgent: pressing,
                },
                _,
            )) => {
                *last = lsn;
                *pressing |= urgent;
            }
            _ => state.events.push_back((Event::Idle { lsn, urgent }, 0)),
        }
        drop(state);
        self.0.arrived.notify_one();
    }

    /// The stream starts over.
    pub(super) fn restarted(&self) {
        self.0.lock().events.push_back((Event::Restarted, 0));
        self.0.arrived.notify_one();
    }

    /// Nothing more will come, and why.
    pub(super) fn end(&self, error: Error) {
        let mut state = self.0.lock();
        state.end = Some(error);
        state.ended = true;
        drop(state);
        self.0.arrived.notify_one();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.arrived.notify_one();
    }
}

impl Receiver {
    /// The next event; `None` when the end was told already. Cancel-safe: an event is taken and
    /// returned without an await between.
    pub(super) async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            {
                let mut state = self.0.lock();
                if let Some((event, weight)) = state.events.pop_front() {
                    state.bytes -= weight;
                    drop(state);
                    self.0.room.notify_one();
                    return Ok(Some(event));
                }
                if let Some(error) = state.end.take() {
                    return Err(error);
                }
                if state.ended {
                    return Ok(None);
                }
            }
            self.0.arrived.notified().await;
        }
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.0.lock().bytes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use bytes::Bytes;
    use futures_util::FutureExt;

    use super::*;
    use crate::fault::ErrorKind;

    const BATCH: Batch = Batch {
        frames: 3,
        bytes: 10_000,
    };

    fn frames(n: usize) -> Vec<Frame> {
        (0..n)
            .map(|i| Frame {
                lsn: Lsn(i as u64),
                payload: Bytes::from_static(b"0123456789"),
            })
            .collect()
    }

    #[tokio::test]
    async fn events_come_in_order_and_coalesce() {
        let (tx, mut rx) = queue(1000, BATCH);
        tx.frames(frames(1), 10);
        tx.frames(frames(2), 20);
        tx.frames(frames(1), 10);
        tx.idle(Lsn(1), true);
        tx.idle(Lsn(2), false);
        tx.restarted();
        tx.idle(Lsn(3), false);
        tx.end(Error::new(ErrorKind::Protocol, "broken"));
        drop(tx);
        assert!(matches!(rx.next().await, Ok(Some(Event::Frames(f))) if f.len() == 3));
        assert!(matches!(rx.next().await, Ok(Some(Event::Frames(f))) if f.len() == 1));
        assert!(matches!(
            rx.next().await,
            Ok(Some(Event::Idle {
                lsn: Lsn(2),
                urgent: true
            }))
        ));
        assert!(matches!(rx.next().await, Ok(Some(Event::Restarted))));
        assert!(matches!(
            rx.next().await,
            Ok(Some(Event::Idle {
                lsn: Lsn(3),
                urgent: false
            }))
        ));
        assert!(rx.next().await.is_err());
        assert!(matches!(rx.next().await, Ok(None)));
        assert_eq!(rx.bytes(), 0);
    }

    #[tokio::test]
    async fn room_is_counted_in_bytes_and_waited_for() {
        let (tx, mut rx) = queue(100, BATCH);
        tx.frames(frames(1), 10);
        assert!(tx.has_room());
        // A batch may go over the limit once, so that a large frame passes.
        tx.frames(frames(3), 30);
        assert!(!tx.has_room());
        assert!(tx.room().now_or_never().is_none());
        rx.next().await.unwrap();
        assert!(!tx.has_room());
        rx.next().await.unwrap();
        tx.room().await;
    }

    #[tokio::test]
    async fn a_dropped_wait_loses_nothing() {
        let (tx, mut rx) = queue(100, BATCH);
        assert!(rx.next().now_or_never().is_none());
        tx.idle(Lsn(1), false);
        assert!(matches!(rx.next().await, Ok(Some(Event::Idle { .. }))));
    }
}
