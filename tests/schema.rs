//! Schemas that change under a running connector, or while it is stopped: against the binary, a real
//! Postgres and the sandbox.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod support;

#[path = "schema/bad_input.rs"]
mod bad_input;
#[path = "schema/changes.rs"]
mod changes;
#[path = "schema/crm_side.rs"]
mod crm_side;
#[path = "schema/driver.rs"]
mod driver;
#[path = "schema/property.rs"]
mod property;
#[path = "schema/routing.rs"]
mod routing;
