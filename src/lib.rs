//! Syncline keeps a CRM in step with a Postgres database, in commit order.
//!
//! A folder is a stage, and the stages stand in the order in which a change passes them:
//!
//! ```text
//! Postgres ─► capture ─► decode ─► mapping ─► planning ─► sinks ─► CRM
//!                ▲                                          │
//!                └──── durable LSN ◄──── store ◄────────────┘
//! ```
//!
//! [`supervisor`] runs them; `verify` and `web` stand beside it. A stage imports only the
//! vocabulary (the files of this folder and `config/`) and the stages above it in that order;
//! `tests/layering.rs` fails on an import that runs the other way.

pub mod backoff;
pub mod change;
pub mod clock;
pub mod config;
pub mod fault;
pub mod metrics;
pub mod value;

pub mod capture;
pub mod decode;
pub mod mapping;
pub mod planning;
pub mod sinks;
pub mod store;
pub mod supervisor;
pub mod web;
