//! From a change to an operation on one CRM record.

mod description;
mod operation;

pub use description::{FieldDescription, FieldKind, ObjectDescription};
pub use operation::{
    Action, Assigned, Assignment, FieldId, FieldValue, Fingerprint, Key, ObjectId, Operation,
    RecordId, Reference, Removal, Target, TargetField,
};
