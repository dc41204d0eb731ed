//! What was deferred goes to the CRM once it may: in full windows, parents first.
//!
//! A round goes once over the shelf, object by object: first what writes, those objects before others
//! that these refer to; then what removes, the other way round. It goes on where it stopped, so that a
//! shelf of any size is read once a round, and a bounded number of records at a time are kept in
//! memory. What has a high priority does not wait for a round: those records are known one by one
//! ([`Crew::urgent`]).

use super::crew::Crew;
use super::flight::{MOST_DUE, PAGE};
use crate::fault::Result;
use crate::mapping::{Action, ObjectId, RecordId};
use crate::planning::{Objects, Pending, Reason, is_high_on_shelf};
use crate::store::ShelfQuery;

/// Where a round stands.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Round {
    /// Objects and whether it is about what removes, so many of which are done.
    done: usize,
    /// The last record looked at.
    after: Option<RecordId>,
}

/// A piece of a round.
#[derive(Debug, Default)]
pub struct Piece {
    /// Records whose turn it is, in the order in which they are to be sent.
    pub records: Vec<RecordId>,
    /// Where to go on; `None`: the round is over.
    pub next: Option<Round>,
}

/// The objects in the order of a round, each once for what writes and once for what removes.
fn order(objects: &Objects) -> Vec<(ObjectId, bool)> {
    let mut all: Vec<(usize, ObjectId)> = objects
        .targets
        .keys()
        .map(|id| (objects.depth.get(id).copied().unwrap_or(0), *id))
        .collect();
    all.sort_unstable();
    let writes = all.iter().map(|(_, id)| (*id, false));
    let removes = all.iter().rev().map(|(_, id)| (*id, true));
    writes.chain(removes).collect()
}

fn removes(pending: &Pending) -> bool {
    let action = pending.operation.as_ref().map(|o| &o.action);
    matches!(action, Some(Action::Delete { .. }))
}

impl Crew {
    /// The next piece of a round.
    pub async fn deferred(&self, mut round: Round) -> Result<Piece> {
        let mut records = Vec::new();
        for (object, removing) in order(&self.objects).into_iter().skip(round.done) {
            loop {
                let query = ShelfQuery {
                    reason: Some(Reason::Deferred),
                    after: round.after.take().or_else(|| before(object)),
                    limit: PAGE,
                };
                let page = self.store.shelf(query).await?;
                let here = page.len();
                let mut last = None;
                let mine = page
                    .into_iter()
                    .take_while(|pending| pending.record.object == object);
                for pending in mine {
                    last = Some(pending.record.clone());
                    if removes(&pending) == removing {
                        records.push(pending.record);
                    }
                }
                let whole = last.is_some() && here == PAGE;
                if !whole || records.len() >= MOST_DUE {
                    match (whole, last) {
                        (true, Some(last)) => round.after = Some(last),
                        _ => round.done += 1,
                    }
                    break;
                }
                round.after = last;
            }
            if records.len() >= MOST_DUE {
                return Ok(Piece {
                    records,
                    next: Some(round),
                });
            }
        }
        Ok(Piece {
            records,
            next: None,
        })
    }

    /// Deferred records of a high priority, as far as they fit into memory.
    pub async fn urgent(&self) -> Result<Vec<RecordId>> {
        let mut urgent = Vec::new();
        if self.objects.high.is_empty() {
            return Ok(urgent);
        }
        let mut after = None;
        loop {
            let query = ShelfQuery {
                reason: Some(Reason::Deferred),
                after,
                limit: PAGE,
            };
            let page = self.store.shelf(query).await?;
            let Some(last) = page.last() else {
                return Ok(urgent);
            };
            after = Some(last.record.clone());
            let known = |p: &Pending| self.objects.high.contains_key(&p.record.object);
            let page: Vec<Pending> = page.into_iter().filter(known).collect();
            let ids: Vec<RecordId> = page.iter().map(|p| p.record.clone()).collect();
            let states = self.store.records(&ids).await?;
            for (pending, state) in page.iter().zip(states) {
                if is_high_on_shelf(pending, state.ledger.as_ref(), &self.objects) {
                    urgent.push(pending.record.clone());
                }
            }
            if urgent.len() >= MOST_DUE {
                return Ok(urgent);
            }
        }
    }
}

/// A place in the order of records before all of an object.
fn before(object: ObjectId) -> Option<RecordId> {
    Some(RecordId {
        object: ObjectId(object.0.checked_sub(1)?),
        key: char::MAX.to_string().repeat(16).into(),
    })
}
