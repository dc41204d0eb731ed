//! The apply loop against chance: random histories, a CRM that fails as CRMs do, connections that
//! break, and crashes at any await that lose what was not flushed. Time is paused, and everything
//! that happens follows from one seed: `SYNCLINE_SEED=4711 cargo test --test simulation` replays it.
//!
//! Watched while it runs: no value goes back (P2), no external id is there twice or in two requests at
//! once (P3), no child arrives before its parent (P4), Postgres is never told of what is not durable
//! (P1), whether records go by requests or by bulk jobs that outlive the process. At the end: every change has exactly one verdict, and the CRM equals the database.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub
)]

mod crm;
mod database;
mod jobs;
mod run;
mod schema;
mod script;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds per run, unless `SYNCLINE_SEEDS` says otherwise.
const SEEDS: u64 = 10_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|v| v.parse().ok())
}

#[test]
fn promises_hold_for_every_seed() {
    if let Some(seed) = number("SYNCLINE_SEED") {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .init();
        let outcome = run::simulate(seed);
        println!("{outcome:#?}");
        return;
    }
    let first = number("SYNCLINE_FIRST_SEED").unwrap_or(0);
    let seeds = number("SYNCLINE_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let totals = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut totals = run::Outcome::default();
                    loop {
                        let seed = next.fetch_add(1, Ordering::SeqCst);
                        if seed >= first + seeds {
                            return totals;
                        }
                        let run = std::panic::AssertUnwindSafe(|| run::simulate(seed));
                        match std::panic::catch_unwind(run) {
                            Ok(outcome) => totals.add(&outcome),
                            Err(panic) => {
                                eprintln!("replay with SYNCLINE_SEED={seed}");
                                std::panic::resume_unwind(panic);
                            }
                        }
                    }
                })
            })
            .collect();
        let mut totals = run::Outcome::default();
        for worker in workers {
            totals.add(&worker.join().expect("a seed failed"));
        }
        totals
    });
    println!("{seeds} seeds: {totals:#?}");
    if seeds >= 1_000 {
        // A simulation in which nothing goes wrong shows nothing.
        assert!(totals.crashes > seeds / 2, "{totals:?}");
        assert!(totals.shelved > 0 && totals.requests > 0, "{totals:?}");
        assert!(totals.jobs > seeds / 10, "{totals:?}");
        // P4: what a transaction keeps does not go with its parent. The rare exceptions are contacts
        // whose update waits for another account (see docs/decisions/deletes.md).
        assert!(totals.cascaded <= seeds / 500, "{totals:?}");
    }
}
