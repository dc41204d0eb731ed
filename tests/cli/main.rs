//! The command line from outside: the binary itself, against a Postgres of its own and the sandbox.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod backfill;
mod bad_input;
mod harness;
mod run;
mod shelf;
mod words;
