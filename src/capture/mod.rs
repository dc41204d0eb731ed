//! The replication connection.

mod catalog;
mod conninfo;
mod feedback;
mod framing;
mod identity;
mod queue;
mod refusal;
mod session;
mod slot;
mod sql;
mod stream;
mod task;
mod tls;
mod transport;
mod wire;

use std::future::Future;

use bytes::Bytes;

use crate::change::Lsn;
use crate::fault::Result;

pub use catalog::{CatalogColumn, CatalogTable};
pub use conninfo::Conninfo;
pub use feedback::Lsns;
pub use identity::SlotInfo;
pub use slot::{Prepared, prepare};
pub use sql::Sql;
pub use stream::{Replication, Status};

/// One pgoutput message.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Where it starts in the WAL, for people: 0/0 for some messages.
    pub lsn: Lsn,
    /// The message. A slice of the read buffer.
    pub payload: Bytes,
}

/// What the stream yields.
#[derive(Debug)]
pub enum Event {
    /// Messages, in order.
    Frames(Vec<Frame>),
    /// Everything up to here has been sent: nothing between the last commit and here concerns us.
    /// Only sent outside of a transaction.
    Idle {
        /// The position processed for the slot.
        lsn: Lsn,
        /// Postgres waits for an answer (it does so before it shuts down).
        urgent: bool,
    },
    /// The connection was lost and made again. The stream starts over behind the durable LSN: a
    /// transaction that was open comes again from its Begin.
    Restarted,
}

/// Where changes come from: a slot, or a script.
pub trait Source: Send {
    /// The next event. Cancel-safe: a dropped call loses nothing. An error is final.
    fn next(&mut self) -> impl Future<Output = Result<Event>> + Send;

    /// Everything before `lsn` is durable: Postgres may be told, and may forget it.
    fn confirm(&mut self, lsn: Lsn);
}
