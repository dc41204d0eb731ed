//! The replication connection, and the ordinary one beside it.
//!
//! ```text
//!                      confirm(lsn) ─► control ─┐            ┌─► queue ─► next()
//!                                               ▼            │   (bounded in bytes)
//! Postgres ◄─► transport ◄─► framing ◄─► socket task ────────┘
//!              (TCP, Unix,   (no copy,   │ feedback: received, durable, reported
//!               TLS)          capped)    └─ reconnects by itself: Event::Restarted
//! ```
//!
//! How it goes: [`Conninfo`] says where and as whom. [`Sql`] asks the catalog. [`preflight()`] finds out
//! what is missing and changes nothing; [`prepare`] makes publication and slot, in this order, and
//! refuses a slot that does not fit the stored progress. [`Replication`] streams. [`SqlReader`] reads
//! existing rows and the catalog beside it, and writes watermarks (`pages`).
//!
//! What always holds:
//!
//! - **The socket task waits for nobody.** When the queue is full it stops reading; its status
//!   updates go on, so a consumer may sleep as long as it likes without losing the connection.
//! - **`reported <= durable <= received`**, and none of them goes back (`feedback`). Durable is what
//!   [`Source::confirm`] was told, no more. A confirmation beyond what was received is not believed.
//! - **Idle positions are news only outside of a transaction**, and stand in the queue behind
//!   everything that came before them. They are reported only after the supervisor confirmed them.
//! - **No connection streams unchecked.** System, timeline, database, slot and WAL position are
//!   compared with the stored identity before the first frame, at every reconnect too.
//! - **Nothing is copied** between the socket and the decoder. The price: a kept [`Frame`] keeps the
//!   chunk it was read with (256 KiB and more) in memory. Copy what outlives a window.
//! - **Cancel-safe**: a dropped `next()` or read loses no byte.
//! - **An error of [`Source::next`] is final.** What may pass by itself (a dropped connection, a
//!   restart, a slot that is still busy) is retried inside and never surfaces.
//! - **No password** is in any output, and no error quotes the connection string.

mod catalog;
mod conninfo;
mod feedback;
mod framing;
mod guard;
mod identity;
mod pages;
mod preflight;
mod queue;
mod reader;
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
pub use feedback::{Lsns, Status};
pub use identity::SlotInfo;
pub use pages::SqlReader;
pub use preflight::preflight;
pub use reader::{Catalog, Page, PageKey, PageRequest, Reader, Snapshot, WATERMARK};
pub use slot::{Prepared, prepare};
pub use sql::Sql;
pub use stream::Replication;

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
