//! Runs the stages.

pub mod apply;
pub mod command;
pub mod flight;
pub mod intake;
pub mod settle;
pub mod status;
mod truncate;
