//! What a person asks of a running process.

use tokio::sync::oneshot;

use super::crew::Crew;
use super::decide::Side;
use super::flight::Due;
use super::status::Status;
use crate::capture::Catalog;
use crate::change::Verdict;
use crate::fault::Result;
use crate::mapping::RecordId;
use crate::planning::{Existence, LedgerEntry, Reason, is_braked};
use crate::store::{Pending, Progress, Settlement, ShelfQuery, Store};

/// A wish, and where its answer goes: how many records it reached.
#[derive(Debug)]
pub enum Command {
    /// These shelf records are tried again.
    Retry {
        /// Which.
        records: Vec<RecordId>,
        /// The answer.
        reply: oneshot::Sender<Result<usize>>,
    },
    /// These shelf records are given up: their changes count as ignored.
    Discard {
        /// Which.
        records: Vec<RecordId>,
        /// The answer.
        reply: oneshot::Sender<Result<usize>>,
    },
    /// A person has decided on these conflicts.
    Decide {
        /// Which.
        records: Vec<RecordId>,
        /// Whose value stays.
        side: Side,
        /// Fields to which the decision applies from now on: object and field.
        always: Vec<(String, String)>,
        /// The answer.
        reply: oneshot::Sender<Result<usize>>,
    },
    /// What is held goes, as far as a person can let it go: what a brake holds, and what is held
    /// without a fault.
    Release {
        /// Which.
        which: Held,
        /// The answer.
        reply: oneshot::Sender<Result<usize>>,
    },
    /// Records that a person deleted in the CRM, and that were kept so, are made again: their rows are
    /// read from the database.
    Recreate {
        /// Which.
        records: Vec<RecordId>,
        /// The answer.
        reply: oneshot::Sender<Result<usize>>,
    },
    /// The existing rows of a table are to be read.
    Backfill {
        /// The table, in the configuration's words.
        table: String,
        /// For this column alone, where the CRM has the record.
        column: Option<String>,
        /// Only rows for which this SQL condition is true.
        filter: Option<String>,
        /// The answer: 1 when it is stored.
        reply: oneshot::Sender<Result<usize>>,
    },
    /// The backfills of a table are given up.
    CancelBackfill {
        /// The table, in the configuration's words.
        table: String,
        /// The answer: 1, or 0 when there are none.
        reply: oneshot::Sender<Result<usize>>,
    },
    /// The catalog was read.
    Catalog(Catalog),
    /// The CRM's descriptions are to be looked at again.
    LookAtCrm,
}

/// What is to be released.
#[derive(Clone, PartialEq, Debug)]
pub enum Held {
    /// These records.
    Records(Vec<RecordId>),
    /// All that is held, at most [`MOST_RELEASED`] at a time; their brakes stay open for a while.
    All {
        /// Of this table alone, in the configuration's words.
        table: Option<String>,
        /// With this code alone.
        code: Option<String>,
    },
}

/// Most records that one wish releases.
pub const MOST_RELEASED: usize = 10_000;
/// Records of one settlement.
const CHUNK: usize = 1_000;

/// What giving up these records changes, beside how many there were. Whoever waited for one of them
/// waits no longer.
pub async fn discard_settlement(
    store: &dyn Store,
    records: &[RecordId],
    progress: Progress,
) -> Result<(Settlement, usize)> {
    let mut settlement = Settlement {
        progress,
        ..Settlement::default()
    };
    let mut found = 0;
    for (record, state) in records.iter().zip(store.records(records).await?) {
        let Some(pending) = state.pending else {
            continue;
        };
        found += 1;
        if pending.counted {
            let verdicts = &mut settlement.verdicts;
            *verdicts
                .entry((pending.table.clone(), Verdict::Pending))
                .or_default() -= 1;
            *verdicts
                .entry((pending.table, Verdict::Ignored))
                .or_default() += 1;
        }
        settlement.unshelved.push(record.clone());
        let waiting = store.waiting_for(record, usize::MAX).await?;
        let states = store.records(&waiting).await?;
        for (waiter, state) in waiting.into_iter().zip(states) {
            match state.pending.map(|p| *p) {
                // The marker of a re-key that will not happen: the record keeps its external id.
                Some(Pending {
                    operation: None, ..
                }) => settlement.unshelved.push(waiter),
                Some(other) if !records.contains(&waiter) => {
                    settlement.shelved.push(Pending {
                        waits_for: None,
                        ..other
                    });
                }
                _ => {}
            }
        }
    }
    settlement.unshelved.sort();
    settlement.unshelved.dedup();
    Ok((settlement, found))
}

/// Carries out a [`Command::Discard`].
pub(super) async fn discard(
    store: &dyn Store,
    status: &Status,
    command: Command,
    progress: Progress,
) -> Result<Due> {
    let Command::Discard { records, reply } = command else {
        return Ok(Due::default());
    };
    let (settlement, found) = discard_settlement(store, &records, progress).await?;
    let freed = settlement
        .shelved
        .iter()
        .map(|p| p.record.clone())
        .collect();
    status.settled(&settlement);
    store.settle(settlement).await?;
    let any = ShelfQuery {
        limit: 1,
        ..ShelfQuery::default()
    };
    let in_use = !store.shelf(any).await?.is_empty();
    status.shelf(store.shelf_counts().await?, in_use);
    // The asker may have gone; the work is done all the same.
    let _ = reply.send(Ok(found));
    Ok(Due {
        records: freed,
        ..Due::default()
    })
}

/// Carries out a [`Command::Release`].
pub(super) async fn release(
    crew: &Crew,
    status: &Status,
    command: Command,
    progress: Progress,
) -> Result<Due> {
    let Command::Release { which, reply } = command else {
        return Ok(Due::default());
    };
    let store = &*crew.store;
    let (held, all) = match which {
        Held::Records(records) => {
            let states = store.records(&records).await?;
            let held = states.into_iter().filter_map(|s| s.pending).map(|p| *p);
            (held.filter(is_releasable).collect(), false)
        }
        Held::All { table, code } => {
            let held = all_held(store, table.as_deref(), code.as_deref()).await?;
            open(crew, table.as_deref(), code.as_deref());
            (held, true)
        }
    };
    let mut due = Due::default();
    for part in held.chunks(CHUNK) {
        let mut settlement = Settlement {
            progress,
            ..Settlement::default()
        };
        for pending in part {
            crew.guard.brakes().release(&pending.record);
            due.records.push(pending.record.clone());
            // Deferred survives a restart: whatever becomes of us, it goes.
            settlement.shelved.push(Pending {
                reason: Reason::Deferred,
                fault: None,
                ..pending.clone()
            });
        }
        status.settled(&settlement);
        store.settle(settlement).await?;
    }
    if !all {
        crew.loosen().await?;
    }
    status.shelf(store.shelf_counts().await?, true);
    // The asker may have gone; the work is done all the same.
    let _ = reply.send(Ok(due.records.len()));
    Ok(due)
}

/// Opens the brakes of what is released as a whole.
fn open(crew: &Crew, table: Option<&str>, code: Option<&str>) {
    let now = crew.guard.now();
    let mut brakes = crew.guard.brakes();
    for (object, kind) in brakes.on() {
        let target = crew.objects.targets.get(&object);
        let named = table.is_none_or(|t| target.is_some_and(|target| *target.table == *t));
        if named && code.is_none_or(|code| code == kind.code()) {
            brakes.open(object, kind, now);
        }
    }
}

fn is_releasable(pending: &Pending) -> bool {
    let fault = pending.fault.as_ref();
    pending.reason == Reason::Held && pending.operation.is_some() && fault.is_none_or(is_braked)
}

async fn all_held(
    store: &dyn Store,
    table: Option<&str>,
    code: Option<&str>,
) -> Result<Vec<Pending>> {
    let mut held: Vec<Pending> = Vec::new();
    let mut after = None;
    while held.len() < MOST_RELEASED {
        let query = ShelfQuery {
            reason: Some(Reason::Held),
            after,
            limit: CHUNK,
        };
        let page = store.shelf(query).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.record.clone());
        let wanted = |p: &Pending| {
            let found = p.fault.as_ref().map(|f| &*f.code);
            is_releasable(p)
                && table.is_none_or(|t| p.table == t)
                && code.is_none_or(|code| found == Some(code))
        };
        held.extend(page.into_iter().filter(wanted));
    }
    held.truncate(MOST_RELEASED);
    Ok(held)
}

/// Carries out a [`Command::Recreate`].
pub(super) async fn recreate(
    crew: &Crew,
    status: &Status,
    command: Command,
    progress: Progress,
) -> Result<Due> {
    let Command::Recreate { records, reply } = command else {
        return Ok(Due::default());
    };
    let store = &*crew.store;
    let mut settlement = Settlement {
        progress,
        ..Settlement::default()
    };
    let states = store.records(&records).await?;
    for (record, state) in records.into_iter().zip(states) {
        if let Some(ledger) = state.ledger.filter(|l| l.existence == Existence::Kept) {
            let gone = LedgerEntry {
                existence: Existence::Deleted,
                ..ledger
            };
            settlement.ledger.push((record, gone));
        }
    }
    let row = |record: &RecordId| {
        let target = crew.objects.targets.get(&record.object)?;
        Some((target.table.clone(), record.key.clone()))
    };
    let count = settlement.ledger.len();
    let freed = settlement.ledger.iter();
    let reread = freed.filter_map(|(record, _)| row(record)).collect();
    status.settled(&settlement);
    store.settle(settlement).await?;
    // The asker may have gone; the work is done all the same.
    let _ = reply.send(Ok(count));
    Ok(Due {
        reread,
        ..Due::default()
    })
}
