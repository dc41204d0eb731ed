//! What integration tests share. Each test binary uses its own part of it.
#![allow(dead_code, unreachable_pub)]

pub mod crm;
pub mod postgres;
pub mod sidecar;
