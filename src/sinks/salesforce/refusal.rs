//! A request refused as a whole because the org's schema is not what the mapping took it for.
//!
//! A field that vanished, or that our user may no longer write, is the trouble of the records that
//! hold it: they are refused one by one, and the others are sent again without them. A missing object
//! or external-id field is the trouble of one object: its records are refused, and the other objects
//! go on; so it is with a right to the object that our user has lost. Either way nothing here stops delivery; the refusals tell that the schema should be looked
//! at again ([`crate::sinks::hints_at_schema`]).

use super::errors;
use crate::fault::{Class, Fault};
use crate::mapping::{OBJECT_CLOSED, Target, TargetField};
use crate::planning::{Batch, BatchAction, Write};
use crate::sinks::Outcome;

/// Turns such a refusal into the outcomes of the records that have none yet; any other is given back.
pub(super) fn settle(
    batch: &Batch,
    mut fault: Fault,
    outcomes: &mut [Option<Outcome>],
) -> Result<(), Fault> {
    let target = &batch.target;
    let mut refuse = |guilty: &dyn Fn(&Write) -> bool, fault: &Fault| {
        let open = outcomes.iter_mut().zip(&batch.writes);
        for (slot, _) in open.filter(|(slot, write)| slot.is_none() && guilty(write)) {
            *slot = Some(Outcome::Refused(fault.clone()));
        }
    };
    if errors::is_right(&fault) {
        let fault = closed(&target.object, &fault);
        refuse(&|_| true, &fault);
        return Ok(());
    }
    if concerns_object(&fault, batch.action) {
        fault.class = Class::Record;
        if fault.code == "INVALID_EXTERNAL_ID_FIELD_NAME" {
            fault.fields = vec![target.key_field.to_string()];
        }
        refuse(&|_| true, &fault);
        return Ok(());
    }
    if !errors::is_field(&fault) {
        return Err(fault);
    }
    let names = errors::named_fields(&fault.message);
    let named = |field: &str| names.iter().any(|name| name.eq_ignore_ascii_case(field));
    fault.class = Class::Record;
    if named(&target.key_field) && !of_parent(target, &fault.message) {
        fault.fields = vec![target.key_field.to_string()];
        refuse(&|_| true, &fault);
        return Ok(());
    }
    let slots: Vec<bool> = target.fields.iter().map(|f| is_named(f, &named)).collect();
    let guilty = |write: &Write| {
        let mut fields = write.fields.iter();
        fields.any(|f| slots.get(usize::from(f.slot)).copied().unwrap_or(false))
    };
    if !batch.writes.iter().any(guilty) {
        // Which record it is shows when it is alone.
        fault.class = Class::Split;
        return Err(fault);
    }
    let culprits = target
        .fields
        .iter()
        .zip(&slots)
        .filter(|(_, named)| **named);
    fault.fields = culprits.map(|(field, _)| field.name.to_string()).collect();
    refuse(&guilty, &fault);
    let innocent = Fault {
        class: Class::Split,
        fields: Vec::new(),
        ..fault
    };
    refuse(&|_| true, &innocent);
    Ok(())
}

/// The object is closed to our user.
pub(super) fn closed(object: &str, fault: &Fault) -> Fault {
    let message = format!(
        "Salesforce refuses every record of {object}: {}: {}",
        fault.code, fault.message
    );
    Fault::new(Class::Record, OBJECT_CLOSED, message)
}

/// Whether no record of the object can be written in this way.
fn concerns_object(fault: &Fault, action: BatchAction) -> bool {
    match fault.code.as_ref() {
        "INVALID_TYPE"
        | "INVALID_TYPE_FOR_OPERATION"
        | "INVALID_ENTITY_FOR_UPSERT"
        | "INVALID_EXTERNAL_ID_FIELD_NAME" => true,
        // The address of an upsert names the object and its key field; that of the others does not.
        "NOT_FOUND" => action == BatchAction::Upsert,
        _ => false,
    }
}

/// A lookup is written under its relationship, as the parent's external id.
fn is_named(field: &TargetField, named: &dyn Fn(&str) -> bool) -> bool {
    named(&field.name)
        || field.reference.as_ref().is_some_and(|parent| {
            named(&parent.relationship)
                || named(&parent.key_field)
                || named(&format!("{}.{}", parent.relationship, parent.key_field))
        })
}

/// A parent's external-id field may have the name of ours: then the object's name tells them apart.
fn of_parent(target: &Target, message: &str) -> bool {
    // A refused query stands before these words.
    let message = message
        .rsplit_once("No such column")
        .map_or(message, |(_, text)| text);
    let has = |name: &str| {
        let mut words = message.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|word| word.eq_ignore_ascii_case(name))
    };
    let parents = target.fields.iter().filter_map(|f| f.reference.as_ref());
    let twin = |key_field: &str| key_field.eq_ignore_ascii_case(&target.key_field);
    parents
        .filter(|p| twin(&p.key_field) && !p.object_name.eq_ignore_ascii_case(&target.object))
        .any(|parent| has(&parent.object_name))
}
