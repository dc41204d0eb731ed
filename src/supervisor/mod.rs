//! Runs the stages: from the start to the end of a process.
//!
//! [`start`] puts them together; [`apply`] is the loop that never stops; [`intake`] turns frames into
//! windows; [`flight`] plans a window and sends it, stage after stage, with the [`crew`] that all of its
//! parts work with; [`brakes`] hold what is too much of it; [`bulk`] is the part of a stage that goes by
//! bulk jobs; [`lost`] deals with records that a person deleted in the CRM; `look` reads what the CRM holds
//! where people have a say in it; [`settle`] turns what became of a window into one settlement, and is the
//! only place where progress is made. [`backfill`] reads existing rows beside the stream; [`overlay`] knows
//! which of them the stream has overtaken, [`rows`] makes them operations, [`cost`] says what they will
//! cost. [`adapt`] makes new rules when a schema changes. [`drain`] brings back what was deferred, and
//! [`pressure`] says when that begins. [`status`] is how it goes, [`command`] what a person asks, [`decide`]
//! what a person decides; [`clocks`] compares the times of both sides.
//!
//! The seams at which a simulation takes the place of the world: [`crate::clock::Clock`],
//! [`crate::capture::Source`], [`crate::capture::Reader`], [`crate::sinks::Sink`],
//! [`crate::store::Store`].

pub mod adapt;
mod adopt;
pub mod apply;
pub mod backfill;
pub mod brakes;
pub mod bulk;
pub mod clocks;
pub mod command;
pub mod contracts;
pub mod cost;
pub mod crew;
pub mod decide;
pub mod drain;
pub mod flight;
pub mod guard;
pub mod intake;
mod look;
pub mod lost;
pub mod old_jobs;
pub mod overlay;
pub mod pressure;
pub mod rows;
pub mod settle;
pub mod start;
pub mod status;
mod terms;
mod truncate;
