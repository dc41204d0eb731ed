//! Rules of the set-up objects that grant access to fields (salesforce.md §11.2).

use serde_json::Value;

use super::Context;
use super::error::RecordError;
use super::prepare::{Prepared, Target};
use crate::clock::Millis;
use crate::ids::Id;
use crate::schema::Object;
use crate::schema::field::{Field, Source};
use crate::store::Store;
use crate::store::row::Row;

fn given<'a>(store: &Store, prepared: &'a Prepared, name: &str) -> Option<&'a Value> {
    let at = store.schema.object(prepared.object).field(name)?;
    prepared
        .values
        .iter()
        .find(|(position, _)| *position == at)
        .map(|(_, value)| value)
}

/// Whether the writer has the right to write records of this object at all.
pub(crate) fn allowed(
    store: &Store,
    ctx: &Context,
    prepared: &Prepared,
) -> Result<(), RecordError> {
    let object = prepared.object;
    let rights = store.object_rights(ctx.viewer, object);
    let may = match prepared.target {
        Target::Create => rights.create,
        Target::Update(_) => rights.edit,
        Target::Delete(_) | Target::Undelete(_) | Target::Purge(_) => rights.delete,
    };
    if !(rights.read && may) {
        return Err(no_access());
    }
    if store.schema.object(object).history_of.is_some() {
        let message = format!(
            "entity type {} does not support this operation",
            store.schema.object(object).name
        );
        return Err(RecordError::new("INVALID_TYPE_FOR_OPERATION", message));
    }
    let governed = matches!(
        store.schema.object(object).name.as_str(),
        "PermissionSet" | "PermissionSetAssignment" | "FieldPermissions" | "ObjectPermissions"
    );
    if governed && !store.rights(ctx.viewer).manage_permission_sets {
        return Err(no_access());
    }
    Ok(())
}

fn no_access() -> RecordError {
    RecordError::new(
        "INSUFFICIENT_ACCESS_OR_READONLY",
        "insufficient access rights on object id",
    )
}

/// The parts of an address have no permissions of their own.
fn is_address_part(object: &Object, field: &Field) -> bool {
    const PARTS: [&str; 7] = [
        "Street",
        "City",
        "State",
        "PostalCode",
        "Country",
        "Latitude",
        "Longitude",
    ];
    object.fields.iter().any(|f| match &f.source {
        Source::Address(prefix) => field
            .name
            .strip_prefix(prefix.as_str())
            .is_some_and(|rest| PARTS.contains(&rest)),
        _ => false,
    })
}

/// To edit a field needs the right to read it.
fn depends(read: bool, edit: bool) -> Result<(), RecordError> {
    match edit && !read {
        true => Err(RecordError::new(
            "FIELD_INTEGRITY_EXCEPTION",
            "Field Permissions: Permission Edit Field depends on permission(s): Read Field",
        )),
        false => Ok(()),
    }
}

/// Checks a changed row of one of these objects.
pub(crate) fn check_changed(object: &Object, row: &Row) -> Result<(), RecordError> {
    if object.name != "FieldPermissions" {
        return Ok(());
    }
    let flag = |name| {
        let stored = object.field(name).and_then(|f| row.stored(f));
        stored.and_then(Value::as_bool).unwrap_or(false)
    };
    depends(flag("PermissionsRead"), flag("PermissionsEdit"))
}

/// The name of a permission set follows the rules of API names.
fn check_name(name: &str) -> Result<(), RecordError> {
    let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let starts = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    if letters && starts && !name.contains("__") && !name.ends_with('_') {
        return Ok(());
    }
    let message = "Permission Set Name: The name can only contain underscores and alphanumeric \
                   characters. It must be unique, begin with a letter, not include spaces, not \
                   end with an underscore, and not contain two consecutive underscores.";
    Err(RecordError::new("FIELD_INTEGRITY_EXCEPTION", message).on("Name"))
}

/// Checks a new row of one of these objects beyond its field types.
pub(crate) fn check(store: &Store, prepared: &Prepared) -> Result<(), RecordError> {
    let text = |name| {
        given(store, prepared, name)
            .and_then(Value::as_str)
            .unwrap_or("")
    };
    let flag = |name| {
        given(store, prepared, name)
            .and_then(Value::as_bool)
            .unwrap_or(false)
    };
    match store.schema.object(prepared.object).name.as_str() {
        "PermissionSet" => check_name(text("Name")),
        "PermissionSetAssignment" => {
            let object = store.schema.object(prepared.object);
            let id = |row: &Row, name| {
                object
                    .field(name)
                    .and_then(|f| row.text(f).map(str::to_owned))
            };
            let twin = store.rows_of("PermissionSetAssignment").any(|row| {
                id(row, "PermissionSetId").as_deref() == Some(text("PermissionSetId"))
                    && id(row, "AssigneeId").as_deref() == Some(text("AssigneeId"))
            });
            if twin {
                let message =
                    "Duplicate PermissionSetAssignment. Assignee already has this permission set.";
                return Err(RecordError::new("DUPLICATE_VALUE", message));
            }
            Ok(())
        }
        "FieldPermissions" => {
            let named = text("Field").split_once('.');
            let object = store.schema.find(text("SobjectType"));
            let target = named.filter(|(o, _)| o.eq_ignore_ascii_case(text("SobjectType")));
            // Required, system and computed fields have no permissions.
            let field = target.zip(object).and_then(|((_, field), object)| {
                let object = store.schema.object(object);
                let field = &object.fields[object.field(field)?];
                (field.permissionable() && !is_address_part(object, field)).then_some(field)
            });
            let Some(field) = field else {
                let message = format!(
                    "Field Name: bad value for restricted picklist field: {}",
                    text("Field")
                );
                return Err(
                    RecordError::new("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message)
                        .on("Field"),
                );
            };
            depends(flag("PermissionsRead"), flag("PermissionsEdit"))?;
            let computed =
                !field.updateable && !field.createable && field.source != Source::Location;
            if flag("PermissionsEdit") && computed {
                let message = format!("You can't edit the field {}: it is read-only", field.name);
                return Err(
                    RecordError::new("FIELD_INTEGRITY_EXCEPTION", message).on("PermissionsEdit")
                );
            }
            let own = store.schema.object(prepared.object);
            let same = |row: &Row, name: &'static str| {
                own.field(name)
                    .and_then(|f| row.text(f))
                    .unwrap_or("")
                    .eq_ignore_ascii_case(text(name))
            };
            let twin = store
                .rows_of("FieldPermissions")
                .find(|row| same(row, "ParentId") && same(row, "Field"));
            match twin {
                Some(row) => {
                    let message = format!(
                        "duplicate value found: <unknown> duplicates value on record with id: {}",
                        row.id.short()
                    );
                    Err(RecordError::new("DUPLICATE_VALUE", message))
                }
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// A FieldPermissions row that grants nothing any more goes away by itself.
pub(crate) fn after(store: &mut Store, id: Id, at: Millis) {
    let Some(row) = store.live(id) else { return };
    let object = store.schema.object(row.object);
    if object.name != "FieldPermissions" {
        return;
    }
    let read = object
        .field("PermissionsRead")
        .and_then(|f| row.stored(f)?.as_bool());
    if read == Some(false) {
        store.touch(id, at, |row| row.deleted = Some(at));
    }
}
