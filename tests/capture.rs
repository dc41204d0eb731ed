//! The capture stage against real servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

mod support;

#[path = "capture/connect.rs"]
mod connect;
#[path = "capture/harness.rs"]
mod harness;
#[path = "capture/pages.rs"]
mod pages;
#[path = "capture/pages_beside.rs"]
mod pages_beside;
#[path = "capture/preflight.rs"]
mod preflight;
#[path = "capture/slot.rs"]
mod slot;
#[path = "capture/stream.rs"]
mod stream;
