//! Rules of the set-up objects that grant access to fields (salesforce.md §11.2).

use serde_json::Value;

use super::error::RecordError;
use super::prepare::Prepared;
use crate::clock::Millis;
use crate::ids::Id;
use crate::schema::field::Kind;
use crate::store::Store;

fn given<'a>(store: &Store, prepared: &'a Prepared, name: &str) -> Option<&'a Value> {
    let at = store.schema.object(prepared.object).field(name)?;
    prepared
        .values
        .iter()
        .find(|(position, _)| *position == at)
        .map(|(_, value)| value)
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
        "PermissionSetAssignment" => {
            let object = store.schema.object(prepared.object);
            let id = |row: &crate::store::row::Row, name| {
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
            let field = target.zip(object).and_then(|((_, field), object)| {
                let object = store.schema.object(object);
                object.field(field).map(|at| &object.fields[at])
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
            if !field.custom || (!field.nillable && field.kind != Kind::Boolean) {
                let message = format!(
                    "Field Name: bad value for restricted picklist field: {}",
                    text("Field")
                );
                return Err(
                    RecordError::new("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message)
                        .on("Field"),
                );
            }
            if flag("PermissionsEdit") && !flag("PermissionsRead") {
                let message = "Field Permissions: Read is required for Edit";
                return Err(RecordError::new("FIELD_INTEGRITY_EXCEPTION", message));
            }
            if flag("PermissionsEdit") && !field.updateable && !field.createable {
                let message = format!("You can't edit the field {}: it is read-only", field.name);
                return Err(
                    RecordError::new("FIELD_INTEGRITY_EXCEPTION", message).on("PermissionsEdit")
                );
            }
            let own = store.schema.object(prepared.object);
            let same = |row: &crate::store::row::Row, name: &'static str| {
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
pub(crate) fn after_update(store: &mut Store, id: Id, at: Millis) {
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
