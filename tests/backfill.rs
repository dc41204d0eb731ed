//! Existing rows, end to end: a real Postgres, a sandbox, and the connector as a process of its own.
//!
//! ```text
//! rows that were there ─► Postgres ◄─ changes meanwhile
//!                            │ pages, and the stream
//!                        connector (killed, started, …) ─► sandbox ─► write log ─► audit (P2, P3)
//!                            │                                │
//!                    the server's log: which pages     every field of every row
//! ```
//!
//! `SYNCLINE_KILLS=100` for more kills, `SYNCLINE_SEED=…` for the same changes again,
//! `SYNCLINE_KEEP_LOG=file` to keep the connector's log when it fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod support;

#[path = "kill/audit.rs"]
mod audit;
#[path = "backfill/keys.rs"]
mod keys;
#[path = "backfill/kills.rs"]
mod kills;
#[path = "backfill/live.rs"]
mod live;
#[path = "backfill/pages.rs"]
mod pages;
#[path = "backfill/race.rs"]
mod race;
#[path = "backfill/sides.rs"]
mod sides;
#[path = "backfill/writer.rs"]
mod writer;
