//! The sandbox over HTTP, as a client sees it: one file a subject.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod auth;
mod bulk;
mod bulk_csv;
mod bulk_progress;
mod bulk_query;
mod clock;
mod collections;
mod common;
mod composite;
mod control;
mod deletes;
mod faults;
mod fields;
mod graphs;
mod history;
mod locks;
mod org;
mod page;
mod rows;
mod rules;
mod schema;
mod soql;
mod tls;
mod tooling;
mod types;
mod undelete;
