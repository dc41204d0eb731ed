//! A CRM that is down, used up or contended, against the binary, a real Postgres and the sandbox.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

#[path = "../support/mod.rs"]
mod support;

mod locks_live;
mod used_up;
mod vanished;
mod wal_budget;
