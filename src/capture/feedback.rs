//! What Postgres is told, and when.
//!
//! Three LSNs, never one:
//!
//! - **received**: the end of the last transaction that arrived whole, or an idle position after it;
//! - **durable**: up to where the supervisor has confirmed that every change has its verdict on disk;
//! - **reported**: what the last status update said. Postgres may forget all WAL before it.
//!
//! `reported <= durable <= received`, and none of them ever goes back, not even when the connection
//! is made anew: what was received once was received. Postgres does not check what it is told, so a
//! report beyond `durable` would lose changes for good.

use std::time::Duration;

use tokio::time::Instant;

use crate::change::Lsn;

/// Longest silence of ours, whatever the server would bear.
const LONGEST: Duration = Duration::from_secs(10);
/// How soon an advance is told when nobody waits for it.
const ADVANCE: Duration = Duration::from_secs(1);
/// A server that shuts down asks again as soon as it is answered; this keeps both from spinning.
const ANSWER: Duration = Duration::from_millis(100);

/// The three LSNs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lsns {
    /// What has arrived.
    pub received: Lsn,
    /// Up to where every change has its verdict on disk.
    pub durable: Lsn,
    /// What Postgres has been told.
    pub reported: Lsn,
}

/// Keeps the three LSNs and the time of the next status update.
#[derive(Debug)]
pub(super) struct Feedback {
    lsns: Lsns,
    interval: Duration,
    last_sent: Instant,
    /// The server asked, and has had no answer since.
    asked: bool,
    /// The server waits until we report this.
    awaited: Option<Lsn>,
}

impl Feedback {
    /// Everything before `start` is durable.
    pub(super) fn new(start: Lsn, now: Instant) -> Self {
        Feedback {
            lsns: Lsns {
                received: start,
                durable: start,
                reported: Lsn(0),
            },
            interval: LONGEST,
            last_sent: now,
            asked: false,
            awaited: None,
        }
    }

    /// A new connection, to a server with this `wal_sender_timeout` (none: it waits for ever).
    pub(super) fn connected(&mut self, server_timeout: Option<Duration>, now: Instant) {
        self.interval = server_timeout.map_or(LONGEST, |t| (t / 3).min(LONGEST));
        self.last_sent = now;
        self.asked = false;
        self.awaited = None;
    }

    /// The three LSNs.
    pub(super) fn lsns(&self) -> Lsns {
        self.lsns
    }

    /// A transaction arrived whole, or nothing is open and the server has got to here.
    pub(super) fn receive(&mut self, lsn: Lsn) {
        self.lsns.received = self.lsns.received.max(lsn);
    }

    /// Everything before `lsn` is durable. What was never received cannot be.
    pub(super) fn confirm(&mut self, lsn: Lsn) {
        let known = lsn.min(self.lsns.received);
        if known < lsn {
            tracing::error!(%lsn, received = %self.lsns.received,
                "a position was confirmed that was never received; it is not reported");
        }
        self.lsns.durable = self.lsns.durable.max(known);
    }

    /// The server wants an answer. `end` is what it waits for when it shuts down.
    pub(super) fn request(&mut self, end: Lsn) {
        self.asked = true;
        self.awaited = Some(end);
    }

    /// When the next status update is due.
    pub(super) fn due(&self) -> Instant {
        let advanced = self.lsns.durable > self.lsns.reported;
        let after = if advanced && self.awaited.is_some() {
            Duration::ZERO
        } else if self.asked {
            ANSWER
        } else if advanced {
            ADVANCE
        } else {
            self.interval
        };
        self.last_sent + after.min(self.interval)
    }

    /// A status update is being sent: what it has to say.
    pub(super) fn report(&mut self, now: Instant) -> Lsns {
        self.lsns.reported = self.lsns.durable;
        self.last_sent = now;
        self.asked = false;
        if self.awaited.is_some_and(|end| self.lsns.reported >= end) {
            self.awaited = None;
        }
        self.lsns
    }
}

/// The state of the replication connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// Received, durable, reported.
    pub lsns: Lsns,
    /// Whether the connection stands.
    pub connected: bool,
    /// Times it was made anew.
    pub restarts: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Connected(u64),
        Receive(u64),
        Confirm(u64),
        Request(u64),
        Report,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..5_000_u64).prop_map(Step::Connected),
            (0..50_u64).prop_map(Step::Receive),
            (0..60_u64).prop_map(Step::Confirm),
            (0..50_u64).prop_map(Step::Request),
            Just(Step::Report),
        ]
    }

    proptest! {
        #[test]
        fn reported_never_passes_durable_and_nothing_goes_back(
            start in 0..20_u64,
            steps in prop::collection::vec(step(), 0..200),
        ) {
            let mut now = Instant::now();
            let mut feedback = Feedback::new(Lsn(start), now);
            let mut confirmed = start;
            let mut before = feedback.lsns();
            for step in steps {
                now += Duration::from_millis(10);
                match step {
                    Step::Connected(ms) => feedback.connected(Some(Duration::from_millis(ms)), now),
                    Step::Receive(lsn) => feedback.receive(Lsn(lsn)),
                    Step::Confirm(lsn) => {
                        feedback.confirm(Lsn(lsn));
                        confirmed = confirmed.max(lsn);
                    }
                    Step::Request(lsn) => feedback.request(Lsn(lsn)),
                    Step::Report => {
                        feedback.report(now);
                    }
                }
                let after = feedback.lsns();
                prop_assert!(after.reported <= after.durable);
                prop_assert!(after.durable <= after.received);
                prop_assert!(after.durable <= Lsn(confirmed));
                prop_assert!(after.received >= before.received);
                prop_assert!(after.durable >= before.durable);
                prop_assert!(after.reported >= before.reported);
                prop_assert!(feedback.due() <= now + LONGEST);
                before = after;
            }
        }
    }

    #[test]
    fn updates_are_sent_when_they_matter() {
        let start = Instant::now();
        let mut feedback = Feedback::new(Lsn(10), start);
        feedback.connected(Some(Duration::from_secs(60)), start);
        feedback.report(start);
        assert_eq!(feedback.due(), start + LONGEST);
        feedback.connected(Some(Duration::from_secs(3)), start);
        assert_eq!(feedback.due(), start + Duration::from_secs(1));
        feedback.connected(None, start);
        feedback.receive(Lsn(20));
        assert_eq!(feedback.due(), start + LONGEST);
        feedback.confirm(Lsn(20));
        assert_eq!(feedback.due(), start + ADVANCE);
        feedback.report(start);
        // An urgent request is answered now, and again as soon as it can be satisfied.
        feedback.receive(Lsn(30));
        feedback.request(Lsn(30));
        assert_eq!(feedback.due(), start + ANSWER);
        feedback.report(start);
        assert_eq!(feedback.due(), start + LONGEST);
        feedback.confirm(Lsn(30));
        assert_eq!(feedback.due(), start);
        feedback.report(start);
        assert_eq!(feedback.due(), start + LONGEST);
    }
}
