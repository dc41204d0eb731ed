//! Rows that go and come back, records that people delete, storms that are held: against the binary, a
//! real Postgres and the sandbox.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod support;

#[path = "deletes/brakes.rs"]
mod brakes;
#[path = "deletes/cascade.rs"]
mod cascade;
#[path = "deletes/driver.rs"]
mod driver;
#[path = "deletes/lost.rs"]
mod lost;
#[path = "deletes/returns.rs"]
mod returns;
#[path = "deletes/truncate.rs"]
mod truncate;
