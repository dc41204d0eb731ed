//! Several calls that stand or fall together: composite requests and graphs.
//!
//! The calls take their ordinary way, one after the other, while nobody else reaches the
//! store; the store keeps what it takes to go back. Since nothing may wait meanwhile, row
//! locks are taken before: a rehearsal, which is taken back, tells which rows the calls need.
//! Injected latency and work pass while they are held, as with a single call.

use std::collections::HashSet;
use std::time::Duration;

use crate::app::App;

/// Does what `attempt` does, all or, if it says so, nothing.
///
/// `attempt` must not wait. It is called a first time, for rehearsal, if locks matter.
pub(crate) async fn together<T>(
    app: &App,
    owner: u64,
    delay: Duration,
    mut attempt: impl FnMut() -> (T, bool) + Send,
) -> T {
    let mut held = Vec::new();
    let mut locked = HashSet::new();
    let works = !app.locks.work(1).is_zero();
    if !delay.is_zero() || works || app.locks.busy() {
        let wanted = app.exclusively(true, || {
            app.store().begin(HashSet::new());
            attempt();
            app.store().rehearsed()
        });
        let until = app.locks.until();
        let work = app.locks.work(wanted.len());
        for rows in wanted {
            match app.locks.acquire(&rows, owner, until).await {
                Ok(guard) => held.push(guard),
                Err(row) => {
                    locked.insert(row);
                }
            }
        }
        tokio::time::sleep(delay + work).await;
    }
    let out = app.exclusively(false, || {
        app.store().begin(locked);
        let (out, keep) = attempt();
        if let Err(error) = app.store().end(keep) {
            app.report(&error);
        }
        out
    });
    drop(held);
    out
}
