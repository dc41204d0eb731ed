//! A person decides a conflict: whose value stays.

use super::crew::Crew;
use super::settle::NEVER;
use super::status::Status;
use crate::change::Verdict;
use crate::fault::Result;
use crate::mapping::{FieldId, RecordId};
use crate::planning::{CONFLICT, Pending, PendingTime, Reason};
use crate::store::{Progress, Settlement, ShelfQuery};

/// Whose value stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The database's: it is written over the CRM's.
    Source,
    /// The CRM's: the database's is given up until it changes again.
    Crm,
}

/// Settles these conflicts; records without one are left alone. Answers by how many there were, and
/// which records have their turn now.
pub(super) async fn decide(
    crew: &Crew,
    status: &Status,
    records: &[RecordId],
    side: Side,
    progress: Progress,
) -> Result<(usize, Vec<RecordId>)> {
    let mut settlement = Settlement {
        progress,
        ..Settlement::default()
    };
    let mut due = Vec::new();
    let mut found = 0;
    for (record, state) in records.iter().zip(crew.store.records(records).await?) {
        let Some(mut pending) = state.pending.map(|p| *p) else {
            continue;
        };
        let conflict = pending.fault.take_if(|fault| fault.code == CONFLICT);
        let conflicts = std::mem::take(&mut pending.conflicts);
        let (Some(_), Some(operation)) = (conflict, &mut pending.operation) else {
            continue;
        };
        found += 1;
        let names = |field: &str| conflicts.iter().any(|c| c.field == field);
        match side {
            Side::Source => {
                operation.changed.retain(|time| !names(&time.field));
                operation
                    .changed
                    .extend(conflicts.iter().map(|c| PendingTime {
                        field: c.field.clone(),
                        at: Some(operation.commit_time),
                        sure: true,
                        decided: true,
                    }));
                pending.reason = Reason::Deferred;
                due.push(record.clone());
                settlement.shelved.push(pending);
            }
            Side::Crm => {
                if let Some(mut ledger) = state.ledger {
                    let target = crew.objects.targets.get(&record.object);
                    for conflict in &conflicts {
                        let id = FieldId::new(&conflict.field);
                        let field = target.and_then(|t| t.fields.iter().find(|f| f.id == id));
                        let ours = operation.fields.iter().find(|(n, _)| *n == conflict.field);
                        let (Some(field), Some((_, ours))) = (field, ours) else {
                            continue;
                        };
                        let before = ledger.kept_since(id).is_some_and(|at| at != NEVER);
                        settlement.kept_fields += i64::from(!before);
                        ledger.fingerprints.retain(|(f, _)| *f != id);
                        ledger.fingerprints.push((id, field.fingerprint(ours)));
                        ledger.kept_fields.retain(|(f, _)| *f != id);
                        ledger.kept_fields.push((id, conflict.edited));
                    }
                    ledger.fingerprints.sort_unstable_by_key(|(f, _)| *f);
                    ledger.kept_fields.sort_unstable_by_key(|(f, _)| *f);
                    settlement.ledger.push((record.clone(), ledger));
                }
                operation.fields.retain(|(name, _)| !names(name));
                if operation.fields.is_empty() {
                    leave(&mut settlement, &pending);
                } else {
                    pending.reason = Reason::Deferred;
                    due.push(record.clone());
                    settlement.shelved.push(pending);
                }
            }
        }
    }
    status.settled(&settlement);
    crew.store.settle(settlement).await?;
    let any = ShelfQuery {
        limit: 1,
        ..ShelfQuery::default()
    };
    let in_use = !crew.store.shelf(any).await?.is_empty();
    status.shelf(crew.store.shelf_counts().await?, in_use);
    Ok((found, due))
}

/// Nothing is left to be written: the change has its verdict.
fn leave(settlement: &mut Settlement, pending: &Pending) {
    settlement.unshelved.push(pending.record.clone());
    if !pending.counted {
        return;
    }
    let mut count = |verdict, by| {
        let key = (pending.table.clone(), verdict);
        *settlement.verdicts.entry(key).or_default() += by;
    };
    count(Verdict::Pending, -1);
    count(Verdict::Kept, 1);
}
