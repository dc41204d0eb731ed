//! Runs the stages.

pub mod flight;
pub mod settle;
