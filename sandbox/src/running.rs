//! Requests in progress, and the limit on those that run long (salesforce.md §14).
//!
//! A request counts as long once it has run for a while. While as many long ones run as the
//! org allows, further requests are refused. All of it in real time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Requests in progress by number, with their start, and the limit.
#[derive(Debug)]
pub(crate) struct Running {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    started: HashMap<u64, Instant>,
    most: usize,
    long: Duration,
    refused: u64,
}

impl State {
    fn long(&self) -> usize {
        let long = self.started.values().filter(|at| at.elapsed() >= self.long);
        long.count()
    }
}

/// A request in progress, until it is dropped.
#[derive(Debug)]
pub(crate) struct InProgress<'a> {
    running: &'a Running,
    number: u64,
}

impl Default for Running {
    /// As in production: 25 requests of 20 seconds.
    fn default() -> Running {
        Running {
            state: Mutex::new(State {
                started: HashMap::new(),
                most: 25,
                long: Duration::from_secs(20),
                refused: 0,
            }),
        }
    }
}

impl Running {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a request in, unless too many long ones are at work.
    pub(crate) fn enter(&self, number: u64) -> Option<InProgress<'_>> {
        let mut state = self.state();
        if state.long() >= state.most {
            state.refused += 1;
            return None;
        }
        state.started.insert(number, Instant::now());
        Some(InProgress {
            running: self,
            number,
        })
    }

    /// Changes how many may run long, and from when on a request is long.
    pub(crate) fn set(&self, most: Option<usize>, long: Option<Duration>) {
        let mut state = self.state();
        state.most = most.unwrap_or(state.most);
        state.long = long.unwrap_or(state.long);
    }

    /// The limit: how many, and how long in milliseconds.
    pub(crate) fn limit(&self) -> (usize, u64) {
        let state = self.state();
        (state.most, state.long.as_millis() as u64)
    }

    /// Requests in progress, those of them that are long, and requests refused so far.
    pub(crate) fn counts(&self) -> (usize, usize, u64) {
        let state = self.state();
        (state.started.len(), state.long(), state.refused)
    }
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        self.running.state().started.remove(&self.number);
    }
}
