//! `on_truncate = "delete_all"`: every record that we know of goes the way of a deleted row.
//!
//! A truncate is one change that stands for many operations. They are sent page by page, each page
//! settled without moving past the truncate; after a crash the pages that are done find nothing left
//! to do.

use super::bulk::Journal;
use super::crew::Crew;
use super::intake::Emptied;
use super::settle::{Extent, only_progress, settle};
use super::status::Status;
use crate::change::Verdict;
use crate::clock::Clock;
use crate::fault::Result;
use crate::mapping::{Action, Key, Operation};
use crate::planning::{self, Deferral, Item, Window};
use crate::store::{Progress, ShelfQuery};

const PAGE: usize = 1_000;

/// Removes all records of an object and settles the truncate.
pub(super) async fn empty(
    crew: &Crew,
    status: &Status,
    emptied: Emptied,
    progress: Progress,
    clock: &Clock,
) -> Result<Progress> {
    let object = emptied.target.id;
    let mut after: Option<Key> = None;
    loop {
        let page = crew.store.ledger_page(object, after.clone(), PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.key.clone());
        let keys = page
            .iter()
            .filter(|(_, entry)| entry.may_exist())
            .map(|(r, _)| r.key.clone());
        remove(crew, status, &emptied, keys.collect(), progress, clock).await?;
    }
    // Rows that never reached the CRM have nothing there to remove, and leave the shelf.
    let mut after = None;
    loop {
        let query = ShelfQuery {
            reason: None,
            after,
            limit: PAGE,
        };
        let page = crew.store.shelf(query).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.record.clone());
        let keys = page
            .iter()
            .filter(|p| p.record.object == object && p.operation.is_some());
        let keys = keys.map(|p| p.record.key.clone()).collect();
        remove(crew, status, &emptied, keys, progress, clock).await?;
    }
    let mut last = only_progress(Progress {
        settled: emptied.position,
        ..progress
    });
    last.verdicts
        .insert((emptied.target.table.to_string(), Verdict::Applied), 1);
    let progress = last.progress;
    status.settled(&last);
    crew.store.settle(last).await?;
    let any = ShelfQuery {
        limit: 1,
        ..ShelfQuery::default()
    };
    let in_use = !crew.store.shelf(any).await?.is_empty();
    status.shelf(crew.store.shelf_counts().await?, in_use);
    status.alarms(crew.guard.alarms());
    Ok(progress)
}

async fn remove(
    crew: &Crew,
    status: &Status,
    emptied: &Emptied,
    keys: Vec<Key>,
    progress: Progress,
    clock: &Clock,
) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let mut window = Window::default();
    for key in keys {
        let removal = &emptied.target.removal;
        let (action, fields) = removal
            .without_row(emptied.position, emptied.commit_time)
            .unwrap_or((Action::Delete { hard: false }, Vec::new()));
        let operation = Operation {
            target: std::sync::Arc::clone(&emptied.target),
            key,
            action,
            fields: fields.into(),
            position: emptied.position,
            commit_time: emptied.commit_time,
            xid: emptied.xid,
            changed: Vec::new(),
        };
        window.push(Item::new(operation, None), None);
    }
    let states = crew.states(&window, true).await?;
    let mut plan = planning::decided(window, &states, &crew.objects);
    crew.brake(&mut plan).await?;
    planning::ordered(&mut plan, &states, &crew.objects);
    for entry in &mut plan.entries {
        // The truncate is the change, not each of its removals.
        entry.change = false;
    }
    // Nothing else is under way, so there is no intent: the truncate itself comes again.
    plan.again = true;
    crew.judge(&mut plan, &states, &Deferral::default()).await?;
    let journal = Journal {
        progress,
        ..Journal::default()
    };
    let delivered = crew.send(plan, Extent::default(), journal).await?;
    let settled = settle(delivered, progress, &crew.objects, clock.now());
    status.settled(&settled.settlement);
    crew.store.settle(settled.settlement).await
}
