//! The stream of changes, as the supervisor sees it.

use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::conninfo::Conninfo;
use super::feedback::Status;
use super::framing::Batch;
use super::queue::{self, Receiver};
use super::task::{Control, Task};
use super::{Event, Source};
use crate::change::{Identity, Lsn};
use crate::config;
use crate::fault::{Error, ErrorKind, Result};

/// What travels together from the socket to the decoder.
const BATCH: Batch = Batch {
    frames: 4096,
    bytes: 1 << 20,
};
/// How long an orderly end may take before the socket is just closed. Nothing is lost by that: what
/// was not confirmed is sent again.
const STOP: Duration = Duration::from_secs(5);

/// A running stream. Dropping it closes the connection without a last status update.
pub struct Replication {
    receiver: Receiver,
    control: watch::Sender<Control>,
    status: watch::Receiver<Status>,
    task: JoinHandle<()>,
}

impl Replication {
    /// Starts to stream behind `start`: the durable LSN, or where a new slot began.
    ///
    /// Returns after the first attempt to connect. When that failed for a reason that may pass (or
    /// another process still holds the slot) the attempts go on in the background.
    ///
    /// # Errors
    /// Whatever trying again cannot heal: credentials, rights, a slot that does not fit `identity`.
    pub async fn start(
        info: Conninfo,
        source: &config::Source,
        identity: &Identity,
        start: Lsn,
    ) -> Result<Self> {
        let limit = usize::try_from(source.queue.0).unwrap_or(usize::MAX);
        let (sender, receiver) = queue::queue(limit.max(1), BATCH);
        let (control, controlled) = watch::channel(Control {
            confirmed: start,
            stop: false,
        });
        let (publish, status) = watch::channel(Status::default());
        let (first, attached) = oneshot::channel();
        let cap = usize::try_from(source.max_frame.0).unwrap_or(usize::MAX);
        let task = Task::new(
            info,
            identity.clone(),
            start,
            cap,
            BATCH,
            sender,
            controlled,
            publish,
        );
        let replication = Replication {
            receiver,
            control,
            status,
            task: tokio::spawn(task.run(first)),
        };
        match attached.await {
            Ok(Ok(())) => Ok(replication),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(gone()),
        }
    }

    /// The state of the connection now.
    pub fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// A view of the state that outlives a borrow of the stream.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Bytes that were received and wait to be taken.
    pub fn queued(&self) -> usize {
        self.receiver.bytes()
    }

    /// Ends in order: a last status update with the durable LSN, then the protocol's farewell.
    pub async fn stop(mut self) {
        self.control.send_modify(|c| c.stop = true);
        if tokio::time::timeout(STOP, &mut self.task).await.is_err() {
            tracing::debug!("the server did not say goodbye in time; the socket is closed");
        }
    }
}

impl Drop for Replication {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::SourceUnreachable, "the stream has ended")
}

impl Source for Replication {
    async fn next(&mut self) -> Result<Event> {
        match self.receiver.next().await? {
            Some(event) => Ok(event),
            None => Err(gone()),
        }
    }

    fn confirm(&mut self, lsn: Lsn) {
        self.control.send_if_modified(|c| {
            let advanced = lsn > c.confirmed;
            c.confirmed = c.confirmed.max(lsn);
            advanced
        });
    }
}
