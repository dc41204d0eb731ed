//! The way to the recycle bin, back, and out of it for good (salesforce.md §12).
//!
//! A record takes its dependants along to the bin and, when it comes back, those that went
//! with it. A record that comes back must still fit: its unique values may be held by
//! another record by now, and its parents may be gone.

use serde_json::Value;

use super::apply::taken;
use super::error::RecordError;
use super::{Context, Done};
use crate::ids::Id;
use crate::schema::field::{Kind, OnDelete};
use crate::store::Store;

/// Moves a record to the recycle bin, its dependants first.
pub(super) fn delete(
    store: &mut Store,
    ctx: &Context,
    id: Id,
    gone: &mut Vec<Id>,
) -> Result<(), RecordError> {
    let Some(row) = store.live(id) else {
        return Err(RecordError::deleted());
    };
    let links = store.schema.children(row.object).to_vec();
    let key = id.to_string().to_lowercase();
    for link in links {
        let child_object = store.schema.object(link.object);
        let on_delete = child_object.fields[link.field].on_delete;
        let history = child_object.history_of.is_some();
        let children: Vec<Id> = store.lookup(link.object, link.field, &key).to_vec();
        for child in children.into_iter().filter(|child| *child != id) {
            // History is part of the record, not a record that goes along.
            if history {
                store.touch(child, ctx.at, |row| row.deleted = Some(ctx.at));
                continue;
            }
            match on_delete {
                OnDelete::Cascade if store.live(child).is_some() => {
                    delete(store, ctx, child, gone)?;
                    gone.push(child);
                }
                OnDelete::Cascade => {}
                OnDelete::SetNull => {
                    store.touch(child, ctx.at, |row| row.set(link.field, Value::Null))
                }
                OnDelete::Restrict => {
                    return Err(RecordError::new(
                        "DELETE_FAILED",
                        "Your attempt to delete this record could not be completed because it is \
                         associated with other records.",
                    ));
                }
            }
        }
    }
    store.touch(id, ctx.at, |row| {
        row.deleted = Some(ctx.at);
        row.modified = (ctx.at, ctx.user);
    });
    Ok(())
}

/// Brings a record back, and those that went to the bin with it.
pub(super) fn undelete(store: &mut Store, ctx: &Context, id: Id) -> Result<Done, RecordError> {
    let mut back = Vec::new();
    restore(store, ctx, id, &mut back)?;
    back.retain(|other| *other != id);
    Ok(Done {
        id,
        created: false,
        cascaded: back,
    })
}

fn restore(
    store: &mut Store,
    ctx: &Context,
    id: Id,
    back: &mut Vec<Id>,
) -> Result<(), RecordError> {
    let Some(mut row) = store.get(id).cloned() else {
        return Err(RecordError::not_in_bin());
    };
    let Some(went) = row.deleted.take() else {
        return Err(RecordError::not_in_bin());
    };
    let object = store.schema.object(row.object);
    let mut lost = Vec::new();
    for (position, field) in object.fields.iter().enumerate() {
        if let (true, Some(value)) = (field.unique, row.stored(position)) {
            let holder = store.matching(row.object, position, value);
            if let Some(holder) = holder.into_iter().find(|other| *other != id) {
                return Err(taken(field, holder));
            }
        }
        if field.kind == Kind::Reference
            && let Some(parent) = row.reference(position)
            && store.live(parent).is_none()
        {
            if field.required_always() {
                let message = "Entity cannot be undeleted: its parent is deleted";
                return Err(RecordError::new("UNDELETE_FAILED", message));
            }
            lost.push(position);
        }
    }
    let links = store.schema.children(row.object).to_vec();
    for position in lost {
        row.set(position, Value::Null);
    }
    row.modified = (ctx.at, ctx.user);
    row.stamp = ctx.at;
    store.put(row);
    back.push(id);
    for link in links {
        let child_object = store.schema.object(link.object);
        if child_object.fields[link.field].on_delete != OnDelete::Cascade {
            continue;
        }
        let history = child_object.history_of.is_some();
        for child in store.binned(went, link.object, link.field, id) {
            match history {
                true => store.touch(child, ctx.at, |row| row.deleted = None),
                false => restore(store, ctx, child, back)?,
            }
        }
    }
    Ok(())
}
