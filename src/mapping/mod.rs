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
//! What a database and a CRM do to a mapping while it is in use is *drift*: it is told from mistakes
//! by what earlier runs remember ([`Remembered`]), and it never stops a table that it does not
//! concern. A field that is lost is *broken*: its values still go to its slot, and planning holds what
//! changes it. A table that no longer fits is *halted*: its changes are mapped as far as possible and
//! rejected, so that they can be named, held, and completed later. Columns are known by their attribute
//! numbers and tables by their oids, so that a rename loses nothing.
//!
//! Invariants
//! - Nothing here does I/O, waits or panics, whatever the bytes of a row are.
//! - *Absent*, *clear* and *set* stay apart: an unchanged TOAST value is absent, NULL follows the
//!   column's null rule (by default clear), and nothing else is ever absent.
//! - The fields of an operation are sorted by slot, each at most once.
//! - Two different row keys never give one external id, and every external id survives the CRM's
//!   trimming.
//! - What a column's rule says of its values ([`Normal`]) is done to them first of all; keys and
//!   references are made from the values as they are.
//! - A value is written exactly or not at all: what does not fit is a fault, never shortened. The
//!   exceptions are those that the CRM makes itself (white space at the ends, digits right of the
//!   scale, fractions of a second); they are made here first, so that fingerprints are honest.
//! - A record is never written in part: one bad field rejects its operation.
//! - Nothing that happens to a table that has run before stops another table, nor the start.
//! - No two fields of one name are to be made on an object, and none for a column whose name or type
//!   does not say without doubt what it should be.
//! - Slots are stable for the life of a [`Mapping`]; numbers of objects and fields for ever.
//! - No fault and no finding quotes a value.

mod bind;
mod canonical;
mod coerce;
mod compile;
pub mod contract;
#[cfg(test)]
mod deletes_tests;
mod derive;
mod description;
mod drift;
#[cfg(test)]
mod fixtures;
mod key;
mod map;
mod naming;
mod normalize;
mod operation;
mod outbox;
#[cfg(test)]
mod properties;
mod stamp;
mod table;
#[cfg(test)]
mod tests;

pub use crate::config::Owner;
pub use bind::Binding;
pub use canonical::{held, history_tells};
pub use coerce::{Fit, Refusal, coerce, fit};
use compile::fields::undescribed;
pub use compile::{Compiled, MissingField, Remembered, compile};
pub use description::{FieldDescription, FieldKind, FieldSpec, NewField, ObjectDescription};
pub use drift::crm_changes;
pub use key::{BadKey, KeyRefusal, KeyRule};
pub use map::{Mapped, Rejected};
pub use naming::candidates;
pub use normalize::{Normal, ValueMap, Written, Zone};
pub use operation::{
    Action, Assigned, Assignment, Changed, Creation, FieldId, FieldValue, Fields, Fingerprint, Key,
    ObjectId, Operation, RecordId, Reference, Removal, Target, TargetField,
};
pub use outbox::{Outbox, is_section};
pub use stamp::{DELETE_INCOMPLETE, Part, Stamp, StampSource, without_row};
pub use table::{
    ColumnMapping, DroppedColumn, FIELD_BROKEN, FieldRule, Mapping, NullAction, OBJECT_CLOSED,
    TABLE_HALTED, TableMapping, Unmapped,
};
