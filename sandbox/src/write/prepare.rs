//! The first half of a write: which record is meant, and what would be stored.
//!
//! Nothing changes here. In a call with several records all of them are prepared before
//! the first is applied, so a reference is resolved against the records that existed
//! before the call, as Salesforce does (salesforce.md §4.3).

use serde_json::{Map, Value};

use super::error::RecordError;
use super::values::coerce_as;
use super::{Action, Change, Context};
use crate::ids::Id;
use crate::schema::field::{Field, Kind};
use crate::store::Store;

/// What is to happen to which record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Create,
    Update(Id),
    Delete(Id),
    Undelete(Id),
    Purge(Id),
}

/// A write that passed every check that does not depend on its siblings.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) object: usize,
    pub(crate) target: Target,
    /// Field positions and values in the stored form.
    pub(crate) values: Vec<(usize, Value)>,
    /// The key of an upsert, in the form that duplicates are told by.
    pub(crate) key: Option<(usize, Value)>,
}

/// Checks one change.
pub(crate) fn prepare(
    store: &Store,
    ctx: &Context,
    change: &Change,
) -> Result<Prepared, RecordError> {
    let object = store.schema.object(change.object);
    let mut values = Vec::with_capacity(change.fields.len());
    let trims = ctx.job.is_none();
    for (name, value) in &change.fields {
        if let Value::Object(inner) = value
            && let Some(position) = object.relationship(name)
        {
            let field = &object.fields[position];
            check_writable(store, ctx, change, position, field)?;
            values.push((position, resolve(store, ctx, field, inner)?));
            continue;
        }
        let visible = object
            .field(name)
            .filter(|at| store.sees(ctx.viewer, change.object, *at, &object.fields[*at]));
        let Some(position) = visible else {
            return Err(RecordError::no_such_column(name, &object.name));
        };
        let field = &object.fields[position];
        if field.kind == Kind::Id {
            continue;
        }
        if is_key(&change.action, position) {
            values.push((position, coerce_as(field, value, trims)?));
            continue;
        }
        check_writable(store, ctx, change, position, field)?;
        let value = coerce_as(field, value, trims)?;
        check_reference(store, field, &value)?;
        values.push((position, value));
    }
    let (target, key) = target(store, change, &values)?;
    // The key of an upsert is only written when the record is new.
    if let (Target::Create, Some((at, _))) = (&target, &key)
        && !store.may_edit(ctx.viewer, change.object, *at, &object.fields[*at])
    {
        return Err(RecordError::not_writable(&object.fields[*at].name));
    }
    if let Some(wrong) = values
        .iter()
        .find(|(at, _)| !allows(&object.fields[*at], &target, is_key(&change.action, *at)))
    {
        return Err(RecordError::not_writable(&object.fields[wrong.0].name));
    }
    Ok(Prepared {
        object: change.object,
        target,
        values,
        key,
    })
}

fn is_key(action: &Action, position: usize) -> bool {
    matches!(action, Action::Upsert { key, .. } if *key == position)
}

fn allows(field: &Field, target: &Target, key: bool) -> bool {
    key || match target {
        Target::Create => field.createable,
        _ => field.updateable,
    }
}

fn check_writable(
    store: &Store,
    ctx: &Context,
    change: &Change,
    position: usize,
    field: &Field,
) -> Result<(), RecordError> {
    if !store.sees(ctx.viewer, change.object, position, field) {
        return Err(RecordError::no_such_column(
            &field.name,
            &store.schema.object(change.object).name,
        ));
    }
    if !(field.createable || field.updateable)
        || !store.may_edit(ctx.viewer, change.object, position, field)
    {
        return Err(RecordError::not_writable(&field.name));
    }
    Ok(())
}

/// Finds the parent that `{"Ext_Id__c": "p-7"}` names.
fn resolve(
    store: &Store,
    ctx: &Context,
    field: &Field,
    inner: &Map<String, Value>,
) -> Result<Value, RecordError> {
    let stated = inner
        .get("attributes")
        .and_then(|a| a.get("type"))
        .and_then(Value::as_str);
    let target = match stated {
        Some(name) => field
            .reference_to
            .iter()
            .find(|t| t.eq_ignore_ascii_case(name)),
        None if field.polymorphic() => None,
        None => field.reference_to.first(),
    };
    let parent = target.and_then(|name| store.schema.find(name));
    let Some(parent) = parent else {
        let message = format!(
            "{}: the type of a polymorphic reference must be given in attributes",
            field.name
        );
        return Err(RecordError::new("INVALID_FIELD", message).on(&field.name));
    };
    let object = store.schema.object(parent);
    let mut keys = inner.iter().filter(|(name, _)| *name != "attributes");
    let (Some((name, value)), None) = (keys.next(), keys.next()) else {
        let message = format!(
            "More than 1 field provided in an external foreign key reference in entity: {}",
            object.name
        );
        return Err(RecordError::new("INVALID_FIELD", message));
    };
    let visible = object
        .field(name)
        .filter(|at| store.sees(ctx.viewer, parent, *at, &object.fields[*at]));
    let Some(position) = visible else {
        return Err(RecordError::no_such_column(name, &object.name));
    };
    let key = &object.fields[position];
    if !key.usable_as_key() {
        let message = format!(
            "Field name provided, {name} is not an External ID or indexed field for {}",
            object.name
        );
        return Err(RecordError::new("INVALID_FIELD", message));
    }
    let found = match key.kind {
        Kind::Id => value
            .as_str()
            .and_then(Id::parse)
            .filter(|id| store.live(*id).is_some())
            .into_iter()
            .collect(),
        _ => store.matching(parent, position, &coerce_as(key, value, ctx.job.is_none())?),
    };
    match found[..] {
        [id] => Ok(id.to_string().into()),
        [] => {
            let shown = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            Err(RecordError::new(
                "INVALID_FIELD",
                format!(
                    "Foreign key external ID: {shown} not found for field {} in entity {}",
                    key.name, object.name
                ),
            ))
        }
        _ => Err(several(key, &found)),
    }
}

/// Checks that an id in a lookup names a live record of a type the lookup takes.
fn check_reference(store: &Store, field: &Field, value: &Value) -> Result<(), RecordError> {
    let (Kind::Reference, Some(id)) = (field.kind, value.as_str().and_then(Id::parse)) else {
        return Ok(());
    };
    let object = store
        .schema
        .by_prefix(id.prefix())
        .map(|at| store.schema.object(at));
    let fits = object.is_some_and(|o| {
        field
            .reference_to
            .iter()
            .any(|t| t.eq_ignore_ascii_case(&o.name))
    });
    if !fits {
        let message = format!("{}: id value of incorrect type: {id}", field.label);
        return Err(RecordError::new("FIELD_INTEGRITY_EXCEPTION", message).on(&field.name));
    }
    match store.get(id) {
        None => Err(RecordError::cross_reference()),
        Some(row) if row.deleted.is_some() => Err(RecordError::deleted()),
        Some(_) => Ok(()),
    }
}

fn several(key: &Field, found: &[Id]) -> RecordError {
    let ids: Vec<&str> = found.iter().map(Id::short).collect();
    let message = format!(
        "{}: more than one record found for external id field: [{}]",
        key.name,
        ids.join(", ")
    );
    let mut error = RecordError::new("DUPLICATE_EXTERNAL_ID", message);
    error.several = found.to_vec();
    error
}

type Keyed = (Target, Option<(usize, Value)>);

fn target(store: &Store, change: &Change, values: &[(usize, Value)]) -> Result<Keyed, RecordError> {
    let object = store.schema.object(change.object);
    match &change.action {
        Action::Create => Ok((Target::Create, None)),
        Action::Update(text) => Ok((Target::Update(existing(store, change.object, text)?), None)),
        Action::Delete(text) => Ok((Target::Delete(existing(store, change.object, text)?), None)),
        Action::Undelete(text) => Ok((Target::Undelete(binned(store, text)?), None)),
        Action::Purge(text) => Ok((Target::Purge(binned(store, text)?), None)),
        Action::Upsert { key, update_only } => {
            let field = &object.fields[*key];
            if field.kind == Kind::Id {
                let given = change
                    .fields
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case("Id"));
                return match given.map(|(_, value)| value) {
                    None | Some(Value::Null) if !update_only => Ok((Target::Create, None)),
                    Some(Value::String(text)) => {
                        Ok((Target::Update(existing(store, change.object, text)?), None))
                    }
                    _ => Err(RecordError::new(
                        "MISSING_ARGUMENT",
                        "Id not specified in an update call",
                    )),
                };
            }
            let value = values
                .iter()
                .find(|(at, value)| at == key && !value.is_null());
            let Some((_, value)) = value else {
                return Err(RecordError::new(
                    "MISSING_ARGUMENT",
                    format!("{} not specified", field.name),
                ));
            };
            let folded = match value {
                Value::String(text) if !field.matches_case() => Value::String(text.to_lowercase()),
                other => other.clone(),
            };
            let keyed = Some((*key, folded));
            match store.matching(change.object, *key, value)[..] {
                [] if *update_only => Err(RecordError::new(
                    "NOT_FOUND",
                    "The requested resource does not exist",
                )),
                [] => Ok((Target::Create, keyed)),
                [id] => Ok((Target::Update(id), keyed)),
                ref found => Err(several(field, found)),
            }
        }
    }
}

/// The record an update or delete names by id.
pub(crate) fn existing(store: &Store, object: usize, text: &str) -> Result<Id, RecordError> {
    let Some(id) = Id::parse(text) else {
        return Err(RecordError::malformed_id(text));
    };
    match store.get(id) {
        Some(row) if row.object != object => Err(RecordError::cross_reference()),
        Some(row) if row.deleted.is_some() => Err(RecordError::deleted()),
        Some(_) => Ok(id),
        None if store.schema.by_prefix(id.prefix()).is_none() => {
            Err(RecordError::malformed_id(text))
        }
        None => Err(RecordError::cross_reference()),
    }
}

/// The record in the recycle bin that an id names.
fn binned(store: &Store, text: &str) -> Result<Id, RecordError> {
    let id = Id::parse(text).ok_or_else(|| RecordError::malformed_id(text))?;
    match store.get(id) {
        Some(row) if row.deleted.is_some() => Ok(id),
        Some(_) => Err(RecordError::not_in_bin()),
        None => Err(RecordError::cross_reference()),
    }
}
