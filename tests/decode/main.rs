//! The decoder against what a real Postgres sends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod server;
mod stream;
mod types;
