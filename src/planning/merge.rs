//! Two operations of one record become one.

use std::sync::Arc;

use crate::mapping::{Action, Fields, Operation};

/// Merges `newer` over `older`, both of the same record: what the newer sets or clears wins, what it
/// leaves absent stays as the older says.
///
/// Doing the result once leaves the record as doing both in order would. A re-key as the newer one
/// is the caller's business: it touches two records.
pub fn merge(older: Operation, newer: Operation) -> Operation {
    debug_assert_eq!(older.key, newer.key);
    let (action, keep_older) = match (&older.action, newer.action.clone()) {
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
    let fields = if keep_older {
        overlay(older.fields, newer.fields)
    } else {
        newer.fields
    };
    Operation {
        action,
        fields,
        ..newer
    }
}

/// `newer` over `older`, both sorted by slot.
pub(super) fn overlay(older: Fields, newer: Fields) -> Fields {
    if older.is_empty() {
        return newer;
    }
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
