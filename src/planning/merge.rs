//! Two operations of one record become one.

use std::sync::Arc;

use crate::mapping::{Action, Changed, Fields, Operation};

/// Merges `newer` over `older`, both of the same record: what the newer sets or clears wins, what it
/// leaves absent stays as the older says.
///
/// Doing the result once leaves the record as doing both in order would. A re-key as the newer one
/// is the caller's business: it touches two records.
pub fn merge(older: Operation, mut newer: Operation) -> Operation {
    debug_assert_eq!(older.key, newer.key);
    let action = std::mem::replace(&mut newer.action, Action::Upsert);
    let (action, keep_older) = match (&older.action, action) {
        // A record that is to be removed needs no values.
        (_, Action::Delete { hard }) => (Action::Delete { hard }, false),
        // The row came back: the record stays, with the row's values over it.
        (Action::Delete { .. }, action) => (action, false),
        // The old external id must still be given up.
        (Action::ReKey { from }, Action::Upsert | Action::Archive { .. }) => {
            (Action::ReKey { from: from.clone() }, true)
        }
        (Action::Upsert, Action::Archive { .. }) => (Action::Archive { create: true }, true),
        // The row came back: its record's mark goes.
        (Action::Archive { .. }, action @ (Action::Upsert | Action::ReKey { .. })) => {
            let restore = newer.target.removal.restore().to_vec();
            let marked = overlay(older.fields, Arc::new(restore));
            return Operation {
                action,
                fields: overlay(marked, newer.fields),
                ..newer
            };
        }
        (Action::Archive { create: older }, Action::Archive { create: newer }) => (
            Action::Archive {
                create: *older || newer,
            },
            true,
        ),
        (_, action) => (action, true),
    };
    if keep_older {
        lay_over(&mut newer, older);
    }
    newer.action = action;
    newer
}

/// The fields of `older` under those of `newer`.
pub(super) fn lay_over(newer: &mut Operation, older: Operation) {
    if older.fields.is_empty() {
        return;
    }
    newer.changed = times(&older, newer);
    newer.fields = overlay(older.fields, std::mem::take(&mut newer.fields));
}

/// When the contested fields of two operations changed, the newer one over the older one. A value that
/// both have keeps the older time: the newer change only names it.
fn times(older: &Operation, newer: &Operation) -> Vec<Changed> {
    let fields = &newer.target.fields;
    if !fields.iter().any(|f| f.owner.is_contested()) {
        return Vec::new();
    }
    let named = |operation: &Operation, slot| {
        let place = operation.fields.binary_search_by_key(&slot, |f| f.slot);
        place.ok().and_then(|i| operation.fields.get(i).cloned())
    };
    let told = newer.contested().map(|field| {
        let now = newer.changed(field.slot);
        match named(older, field.slot) {
            None => now,
            Some(before) if before.assignment == field.assignment => {
                if now.sure {
                    // It went to and fro in between.
                    now
                } else {
                    older.changed(field.slot)
                }
            }
            Some(_) => Changed { sure: true, ..now },
        }
    });
    let untold = older.contested();
    let untold = untold.filter(|field| named(newer, field.slot).is_none());
    let untold = untold.map(|field| older.changed(field.slot));
    let plain = |c: &Changed| !c.sure && !c.decided && c.at == Some(newer.commit_time);
    told.chain(untold).filter(|c| !plain(c)).collect()
}

/// `newer` over `older`, both sorted by slot.
fn overlay(older: Fields, newer: Fields) -> Fields {
    let mut merged = Vec::with_capacity(older.len().max(newer.len()));
    let mut older = Arc::unwrap_or_clone(older).into_iter().peekable();
    for field in Arc::unwrap_or_clone(newer) {
        while let Some(before) = older.next_if(|o| o.slot < field.slot) {
            merged.push(before);
        }
        older.next_if(|o| o.slot == field.slot);
        merged.push(field);
    }
    merged.extend(older);
    Arc::new(merged)
}
