//! From a change to an operation on one CRM record.
//!
//! ```text
//! Config ─┐                                      Relation          Change
//! catalog ├─► compile ─► Mapping (or findings) ───┴─► bind ─► Binding ─┴─► map ─► Mapped
//! CRM ────┘                                                             │   ├ key: external id
//!                                                                       │   └ coerce: field values
//!                                                                       └─► Operation
//! ```
//!
//! [`compile()`] asks once what the configuration means for this database and this CRM, and reports
//! everything that is wrong, not only the first thing. [`Mapping::bind`] ties the rules to one
//! version of a table's schema. [`Binding::map`] is the path of every row: it looks nothing up by
//! name and allocates what the operation holds and nothing else.
//!
//! Invariants
//! - Nothing here does I/O, waits or panics, whatever the bytes of a row are.
//! - *Absent*, *clear* and *set* stay apart: an unchanged TOAST value is absent, NULL follows the
//!   column's null rule (by default clear), and nothing else is ever absent.
//! - The fields of an operation are sorted by slot, each at most once.
//! - Two different row keys never give one external id, and every external id survives the CRM's
//!   trimming.
//! - A value is written exactly or not at all: what does not fit is a fault, never shortened. The
//!   exceptions are those that the CRM makes itself (white space at the ends, digits right of the
//!   scale, fractions of a second); they are made here first, so that fingerprints are honest.
//! - A record is never written in part: one bad field rejects its operation.
//! - Slots are stable for the life of a [`Mapping`]; numbers of objects and fields for ever.
//! - No fault and no finding quotes a value.

mod bind;
mod coerce;
mod compile;
mod derive;
mod description;
mod drift;
#[cfg(test)]
mod fixtures;
mod key;
mod map;
mod naming;
mod operation;
#[cfg(test)]
mod properties;
mod table;
#[cfg(test)]
mod tests;

pub use bind::Binding;
pub use coerce::{Fit, Refusal, coerce, fit};
pub use compile::{Compiled, MissingField, Remembered, compile};
pub use description::{FieldDescription, FieldKind, FieldSpec, NewField, ObjectDescription};
pub use drift::crm_changes;
pub use key::{BadKey, KeyRefusal, KeyRule};
pub use map::{Mapped, Rejected};
pub use naming::candidates;
pub use operation::{
    Action, Assigned, Assignment, FieldId, FieldValue, Fields, Fingerprint, Key, ObjectId,
    Operation, RecordId, Reference, Removal, Target, TargetField,
};
pub use table::{
    ColumnMapping, DroppedColumn, FIELD_BROKEN, FieldRule, Mapping, NullAction, TABLE_HALTED,
    TableMapping, Unmapped,
};
