//! The objects that hold field history (salesforce.md §13).
//!
//! In a real org all of them share the key prefix `017`; here each has its own, since the
//! store finds a record's object by it.

use super::Object;
use super::field::{Field, Kind, lookup, picklist};

/// Positions of the fields after the system fields.
pub(crate) const PARENT: usize = 7;
pub(crate) const FIELD: usize = 8;
pub(crate) const DATA_TYPE: usize = 9;
pub(crate) const OLD_VALUE: usize = 10;
pub(crate) const NEW_VALUE: usize = 11;

/// The history object of an object.
pub(crate) fn of(object: &Object) -> Object {
    let stem = object.name.strip_suffix("__c");
    let (name, parent, relationship) = match stem {
        Some(stem) => (format!("{stem}__History"), "ParentId".to_owned(), "Parent"),
        None if object.name == "Opportunity" => (
            "OpportunityFieldHistory".to_owned(),
            "OpportunityId".to_owned(),
            "Opportunity",
        ),
        None => (
            format!("{}History", object.name),
            format!("{}Id", object.name),
            object.name.as_str(),
        ),
    };
    let prefix = match object.name.as_str() {
        "Account" => "017".to_owned(),
        "Contact" => "0H1".to_owned(),
        "Lead" => "0H2".to_owned(),
        "Case" => "0H3".to_owned(),
        "Opportunity" => "0H4".to_owned(),
        // `a07` becomes `h07`.
        _ => format!("h{}", object.prefix.get(1..).unwrap_or("00")),
    };
    let label = format!("{} ID", object.label);
    let fields = vec![
        lookup(&parent, &label, &[&object.name], relationship, "Histories")
            .required()
            .cascade()
            .read_only(),
        picklist("Field", "Changed Field", &[]).read_only(),
        picklist("DataType", "Datatype", &[]).read_only(),
        Field::new("OldValue", "Old Value", Kind::AnyType).read_only(),
        Field::new("NewValue", "New Value", Kind::AnyType).read_only(),
    ];
    let mut history = Object::new(&name, &format!("{} History", object.label), &prefix, fields);
    history.label = format!("{} History", object.label);
    history.custom = object.custom;
    history.history_of = Some(object.name.clone());
    // A history record is never changed: it has no dates of change.
    for place in &mut history.fields[4..7] {
        *place = Field::empty_place();
    }
    history.reindex();
    history
}
