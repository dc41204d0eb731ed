//! What to do to one CRM record.

use std::fmt;
use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::FieldKind;
use super::stamp::{Stamp, without_row};
use crate::change::{Position, Timestamp};
use crate::config::{Duplicates, OnCrmDelete, Owner};
use crate::fault::Fault;

/// A record's external id, as the CRM holds it. Compared byte for byte.
pub type Key = CompactString;

/// An object together with its external-id field, as a number that stays the same across restarts
/// and configurations: a hash of both names in lower case. `compile` refuses a configuration in
/// which two of them collide.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct ObjectId(pub u32);

impl ObjectId {
    /// The number of `object` keyed by `key_field`.
    pub fn new(object: &str, key_field: &str) -> Self {
        ObjectId(short_hash(&format!("{object}/{key_field}")))
    }
}

/// A field of an object, as a number that stays the same: a hash of its name in lower case.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct FieldId(pub u32);

impl FieldId {
    /// The number of the field `name`.
    pub fn new(name: &str) -> Self {
        FieldId(short_hash(name))
    }
}

fn short_hash(name: &str) -> u32 {
    // The low half of a 64-bit hash is as good as a 32-bit hash.
    (xxh3_64(name.to_ascii_lowercase().as_bytes()) & 0xFFFF_FFFF) as u32
}

/// One CRM record.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct RecordId {
    /// Its object.
    pub object: ObjectId,
    /// Its external id.
    pub key: Key,
}

/// Where the rows of a table go. Compiled once; operations share it.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The object's number.
    pub id: ObjectId,
    /// The table's name in the configuration.
    pub table: Box<str>,
    /// The CRM object.
    pub object: Box<str>,
    /// Its external-id field.
    pub key_field: Box<str>,
    /// What becomes of a record whose row goes.
    pub removal: Removal,
    /// What becomes of a record that a person deleted in the CRM.
    pub on_crm_delete: OnCrmDelete,
    /// What holds when a record is made.
    pub creation: Creation,
    /// The fields we write. An operation names a field by its place in this list, its slot.
    pub fields: Vec<TargetField>,
    /// The field, by its slot, that holds the position last written (`version_field`). No operation
    /// names it: it is added to what is sent.
    pub version: Option<u16>,
    /// Nothing may be sent there until a person has acted; see [`super::TableMapping::halted`].
    pub halted: Option<Fault>,
}

/// What holds when a record is made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Creation {
    /// Records are only made: once one is there, further operations on it are left out.
    pub once: bool,
    /// Records that the CRM takes for doubles of others.
    pub duplicates: Duplicates,
    /// A record without an external id that has the same value in this field is taken over, instead
    /// of making another: the field's slot.
    pub adopt: Option<u16>,
}

/// What a deleted row does to its record.
#[derive(Clone, Debug, PartialEq)]
pub enum Removal {
    /// The record is deleted.
    Delete {
        /// For good, not into the recycle bin.
        hard: bool,
    },
    /// The record stays, marked.
    Archive {
        /// These fields are set, sorted by slot.
        set: Vec<Stamp>,
        /// What a row that comes back does to those of them that it does not fill itself, sorted by
        /// slot.
        restore: Vec<Assigned>,
    },
    /// Nothing.
    Ignore,
}

impl Removal {
    /// What is done to a record whose row is gone and not known any more; `None` for nothing.
    pub fn without_row(
        &self,
        position: Position,
        commit_time: Timestamp,
    ) -> Option<(Action, Vec<Assigned>)> {
        match self {
            Removal::Delete { hard } => Some((Action::Delete { hard: *hard }, Vec::new())),
            Removal::Archive { set, .. } => Some((
                Action::Archive { create: false },
                without_row(set, position, commit_time),
            )),
            Removal::Ignore => None,
        }
    }

    /// What a row that comes back takes away again.
    pub fn restore(&self) -> &[Assigned] {
        match self {
            Removal::Archive { restore, .. } => restore,
            Removal::Delete { .. } | Removal::Ignore => &[],
        }
    }
}

/// A field we write.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetField {
    /// The field's number.
    pub id: FieldId,
    /// API name (`AccountId` for a lookup).
    pub name: Box<str>,
    /// Set for a lookup.
    pub reference: Option<Reference>,
    /// No two records may share a value (other than the key).
    pub unique: bool,
    /// It cannot be written any more, code [`super::FIELD_BROKEN`]: what changes it is held.
    pub broken: Option<Fault>,
    /// Who has the last word on it.
    pub owner: Owner,
    /// What it holds.
    pub kind: FieldKind,
    /// Digits right of the point, of a number.
    pub scale: u32,
}

/// How a lookup is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// The parent's object.
    pub object: ObjectId,
    /// Name of the parent's object.
    pub object_name: Box<str>,
    /// The parent's external-id field.
    pub key_field: Box<str>,
    /// Name under which the parent is nested in a write (`Account`, `Parent__r`).
    pub relationship: Box<str>,
    /// The lookup may point to several objects: the write has to name the type.
    pub polymorphic: bool,
}

/// A value in the form in which the CRM takes it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldValue {
    /// Yes or no.
    Bool(bool),
    /// A JSON number, digit for digit.
    Number(CompactString),
    /// Text, and everything that is written as text (dates, times, picklist values).
    Text(CompactString),
    /// The external id of a parent.
    Reference(Key),
}

impl FieldValue {
    /// Bytes it holds, for the bounds of windows and requests.
    pub fn size(&self) -> usize {
        match self {
            FieldValue::Bool(_) => 1,
            FieldValue::Number(s) | FieldValue::Text(s) | FieldValue::Reference(s) => s.len(),
        }
    }
}

/// What an operation says of a field. A field it does not mention is *absent*: left as it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assignment {
    /// It gets this value.
    Set(FieldValue),
    /// It is emptied.
    Clear,
}

/// A fingerprint of a field's assignment: equal values have equal fingerprints, and two different
/// values of one field share one with a chance of 2⁻⁶⁴.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Fingerprint(pub u64);

impl Assignment {
    /// The fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        let (kind, bytes): (u8, &[u8]) = match self {
            Assignment::Clear => (0, &[]),
            Assignment::Set(FieldValue::Bool(false)) => (1, &[]),
            Assignment::Set(FieldValue::Bool(true)) => (2, &[]),
            Assignment::Set(FieldValue::Number(s)) => (3, s.as_bytes()),
            Assignment::Set(FieldValue::Text(s)) => (4, s.as_bytes()),
            Assignment::Set(FieldValue::Reference(s)) => (5, s.as_bytes()),
        };
        if bytes.len() < 128 {
            let mut buffer = [0_u8; 129];
            buffer[0] = kind;
            buffer[1..=bytes.len()].copy_from_slice(bytes);
            return Fingerprint(xxh3_64(&buffer[..=bytes.len()]));
        }
        let mut hasher = Xxh3::new();
        hasher.update(&[kind]);
        hasher.update(bytes);
        Fingerprint(hasher.digest())
    }
}

/// One field of an operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assigned {
    /// Place in [`Target::fields`].
    pub slot: u16,
    /// What it gets.
    pub assignment: Assignment,
}

/// When a contested field ([`Owner::is_contested`]) of an operation changed.
///
/// A row's change names every column, also those that it left as they were. So the time of the newest
/// change in an operation says little of a single field; where more is known, it stands here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Changed {
    /// Place in [`Target::fields`].
    pub slot: u16,
    /// When the change committed that gave the field its value, if it changed it. None: nobody knows,
    /// it may be as old as the row.
    pub at: Option<Timestamp>,
    /// It did change then. Otherwise only a value other than the last one written tells that it did.
    pub sure: bool,
    /// A person has decided for this value.
    pub decided: bool,
}

/// Fields of one operation, sorted by slot. Shared: what is sent is nearly always all of it, and the
/// operation has to outlive the request.
pub type Fields = Arc<Vec<Assigned>>;

/// What is done to the record as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Created or changed.
    Upsert,
    /// Its row is gone and the record stays, marked (`on_delete = { set = … }`).
    Archive {
        /// Created if it is not there: the row's own values, not yet written, are merged in.
        create: bool,
    },
    /// Removed.
    Delete {
        /// For good, not into the recycle bin.
        hard: bool,
    },
    /// Its external id changes; it stays the same record, with all that people wrote on it.
    ReKey {
        /// The external id it had.
        from: Key,
    },
}

/// What to do to one CRM record.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Where it goes.
    pub target: Arc<Target>,
    /// Which record (for a re-key: its new external id).
    pub key: Key,
    /// What to do.
    pub action: Action,
    /// Field by field, sorted by slot, each at most once.
    pub fields: Fields,
    /// The newest change in it.
    pub position: Position,
    /// When that change committed.
    pub commit_time: Timestamp,
    /// That change's transaction.
    pub xid: u32,
    /// What is known of the times of contested fields. One that is not named may have changed at
    /// `commit_time`.
    pub changed: Vec<Changed>,
}

impl Operation {
    /// When a contested field changed.
    pub fn changed(&self, slot: u16) -> Changed {
        let known = self.changed.iter().find(|c| c.slot == slot);
        known.copied().unwrap_or(Changed {
            slot,
            at: Some(self.commit_time),
            sure: false,
            decided: false,
        })
    }

    /// The field of that slot.
    pub fn field(&self, slot: u16) -> Option<&TargetField> {
        self.target.fields.get(usize::from(slot))
    }

    /// The slots of contested fields that it names.
    pub fn contested(&self) -> impl Iterator<Item = &Assigned> {
        let contested = |slot| self.field(slot).is_some_and(|f| f.owner.is_contested());
        self.fields.iter().filter(move |f| contested(f.slot))
    }

    /// The record it writes.
    pub fn record(&self) -> RecordId {
        RecordId {
            object: self.target.id,
            key: self.key.clone(),
        }
    }

    /// Bytes it holds, roughly.
    pub fn size(&self) -> usize {
        let values = self.fields.iter().map(|f| match &f.assignment {
            Assignment::Set(value) => value.size(),
            Assignment::Clear => 0,
        });
        128 + self.key.len() + self.fields.len() * 40 + values.sum::<usize>()
    }

    /// The parents it names: slot, object and external id.
    pub fn references(&self) -> impl Iterator<Item = (u16, ObjectId, &Key)> {
        self.fields.iter().filter_map(|f| match &f.assignment {
            Assignment::Set(FieldValue::Reference(key)) => {
                let reference = self
                    .target
                    .fields
                    .get(usize::from(f.slot))?
                    .reference
                    .as_ref()?;
                Some((f.slot, reference.object, key))
            }
            _ => None,
        })
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}/{}", self.object.0, self.key)
    }
}
