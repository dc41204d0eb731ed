//! The second half of a write: required fields, uniqueness, and the change itself.

use serde_json::Value;

use super::error::RecordError;
use super::prepare::{Prepared, Target};
use super::{Context, Done, bin, rules};
use crate::ids::Id;
use crate::schema::field::Field;
use crate::store::Store;
use crate::store::row::Row;

/// Does what was prepared. On an error the store may hold half of it: the caller goes back
/// to its mark.
pub(crate) fn apply(
    store: &mut Store,
    ctx: &Context,
    prepared: &Prepared,
) -> Result<Done, RecordError> {
    super::setup::allowed(store, ctx, prepared)?;
    match prepared.target {
        Target::Create => create(store, ctx, prepared),
        Target::Update(id) => update(store, ctx, prepared, id),
        Target::Delete(id) => {
            let mut gone = Vec::new();
            bin::delete(store, ctx, id, &mut gone)?;
            Ok(Done {
                id,
                created: false,
                cascaded: gone,
            })
        }
        Target::Undelete(id) => bin::undelete(store, ctx, id),
        // It goes once it has been logged.
        Target::Purge(id) => Ok(Done {
            id,
            created: false,
            cascaded: Vec::new(),
        }),
    }
}

fn create(store: &mut Store, ctx: &Context, prepared: &Prepared) -> Result<Done, RecordError> {
    let given = |position: usize| {
        prepared
            .values
            .iter()
            .rev()
            .find(|(at, _)| *at == position)
            .map(|(_, v)| v)
    };
    let object = store.schema.object(prepared.object);
    let missing: Vec<&str> = object
        .fields
        .iter()
        .enumerate()
        .filter(|(at, f)| match given(*at) {
            Some(value) => value.is_null() && f.createable && !f.nillable && f.default.is_none(),
            None => f.required_on_create(),
        })
        .map(|(_, f)| f.name.as_str())
        .collect();
    if !missing.is_empty() {
        return Err(RecordError::required(&missing));
    }
    let id = Id::new(&object.prefix, 0);
    check_unique(store, prepared, id)?;
    super::setup::check(store, prepared)?;
    let id = store.next_id(prepared.object);
    let mut row = Row::new(id, prepared.object, ctx.at, ctx.user);
    let object = store.schema.object(prepared.object);
    for (position, field) in object.fields.iter().enumerate() {
        if let Some(value) = initial(field, id, ctx) {
            row.set(position, value);
        }
    }
    for (position, value) in &prepared.values {
        if !value.is_null() || object.fields[*position].nillable {
            row.set(*position, value.clone());
        }
    }
    rules::check(store, ctx, &row, None)?;
    store.put(row);
    store.keep_history(None, id, ctx.at, ctx.user);
    super::setup::after(store, id, ctx.at);
    Ok(Done {
        id,
        created: true,
        cascaded: Vec::new(),
    })
}

/// What a field holds on a new record before the caller's values.
fn initial(field: &Field, id: Id, ctx: &Context) -> Option<Value> {
    if let Some(format) = &field.auto_number {
        return Some(auto_number(format, id.number()).into());
    }
    match field.default.as_ref()? {
        Value::String(text) if text == "$user" => Some(ctx.user.to_string().into()),
        Value::String(text) if text == "$id" => Some(id.short().into()),
        value => Some(value.clone()),
    }
}

/// `A-{0000}` with 7 is `A-0007`.
fn auto_number(format: &str, number: u64) -> String {
    match (format.find('{'), format.find('}')) {
        (Some(open), Some(close)) if open < close => {
            let width = close - open - 1;
            format!(
                "{}{number:0width$}{}",
                &format[..open],
                &format[close + 1..]
            )
        }
        _ => format!("{format}{number}"),
    }
}

fn update(
    store: &mut Store,
    ctx: &Context,
    prepared: &Prepared,
    id: Id,
) -> Result<Done, RecordError> {
    let object = store.schema.object(prepared.object);
    let cleared: Vec<&str> = prepared
        .values
        .iter()
        .filter(|(at, value)| value.is_null() && !object.fields[*at].nillable)
        .map(|(at, _)| object.fields[*at].name.as_str())
        .collect();
    if !cleared.is_empty() {
        return Err(RecordError::required(&cleared));
    }
    check_unique(store, prepared, id)?;
    let Some(mut row) = store.live(id).cloned() else {
        return Err(RecordError::deleted());
    };
    let object = store.schema.object(prepared.object);
    ctx.options.only_if.check(object, &row)?;
    let before = row.clone();
    for (position, value) in &prepared.values {
        row.set(*position, value.clone());
    }
    // A field that became required later must be filled with the next write.
    let missing: Vec<&str> = object
        .fields
        .iter()
        .enumerate()
        .filter(|(at, f)| f.required_on_create() && row.stored(*at).is_none())
        .map(|(_, f)| f.name.as_str())
        .collect();
    if !missing.is_empty() {
        return Err(RecordError::required(&missing));
    }
    super::setup::check_changed(object, &row)?;
    rules::check(store, ctx, &row, Some(&before))?;
    row.modified = (ctx.at, ctx.user);
    row.stamp = ctx.at;
    store.put(row);
    store.keep_history(Some(&before), id, ctx.at, ctx.user);
    super::setup::after(store, id, ctx.at);
    Ok(Done {
        id,
        created: false,
        cascaded: Vec::new(),
    })
}

fn check_unique(store: &Store, prepared: &Prepared, own: Id) -> Result<(), RecordError> {
    let object = store.schema.object(prepared.object);
    for (position, value) in &prepared.values {
        let field = &object.fields[*position];
        if !field.unique || value.is_null() {
            continue;
        }
        let other = store
            .matching(prepared.object, *position, value)
            .into_iter()
            .find(|id| *id != own);
        if let Some(other) = other {
            return Err(taken(field, other));
        }
    }
    Ok(())
}

/// The refusal of a value that another record holds. Callers tell the field by the message
/// only, as with the real service.
pub(crate) fn taken(field: &Field, other: Id) -> RecordError {
    let message = format!(
        "duplicate value found: {} duplicates value on record with id: {}",
        field.name,
        other.short()
    );
    RecordError::new("DUPLICATE_VALUE", message)
}
