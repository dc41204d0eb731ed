//! What becomes of records, against the binary, a real Postgres and the sandbox: rows that go and come
//! back, records that people delete, storms that are held, records that were there before their rows,
//! and those that logical messages make.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

#[path = "../support/mod.rs"]
mod support;

mod brakes;
mod cascade;
mod doubles;
mod driver;
mod lost;
mod outbox;
mod returns;
mod truncate;
