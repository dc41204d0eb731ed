//! What a person asks of a running process.

use tokio::sync::oneshot;

use super::flight::Due;
use super::release::Side;
use super::status::Status;
use crate::capture::Catalog;
use crate::change::Verdict;
use crate::fault::Result;
use crate::mapping::RecordId;
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
    Release {
        /// Which.
        records: Vec<RecordId>,
        /// Whose value stays.
        side: Side,
        /// Fields to which the decision applies from now on: object and field.
        always: Vec<(String, String)>,
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
        more: false,
    })
}
