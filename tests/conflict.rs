//! P5, end to end: a real Postgres, the connector as a process of its own, the real sandbox, and reps
//! who edit its records.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

#[path = "conflict/ask.rs"]
mod ask;
#[path = "conflict/edits.rs"]
mod edits;
#[path = "conflict/gone.rs"]
mod gone;
#[path = "conflict/kinds.rs"]
mod kinds;
mod support;
#[path = "conflict/version.rs"]
mod version;
#[path = "conflict/world.rs"]
mod world;
