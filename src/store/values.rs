//! The binary form of what is stored, type by type. Numbers that stand for variants are part of the
//! format: never reuse one.

use std::borrow::Cow;

use super::encoding::{Decoded, Malformed, Reader, Stored, put_bytes};
use super::{
    Conflict, Existence, Intent, Job, Load, Pending, PendingOperation, PendingTime, Progress,
    Reason, Rowcount, SchemaVersion,
};
use crate::capture::{CatalogColumn, CatalogTable};
use crate::change::{Identity, Lsn, Position, ReplicaIdentity, Timestamp, Verdict};
use crate::fault::{Class, Fault};
use crate::mapping::{Action, Assignment, FieldId, FieldValue, Fingerprint, ObjectId, RecordId};

/// A struct is its fields, one after the other; then those that a later format has added, which are
/// empty in older values.
macro_rules! stored_struct {
    ($name:ident { $($field:ident),* $(,)? } $(since $format:literal { $($added:ident),* $(,)? })*) => {
        impl Stored for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$field.encode(out);)*
                $($(self.$added.encode(out);)*)*
            }
            fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
                Ok($name {
                    $($field: Stored::decode(from)?,)*
                    $($($added: match from.format() >= $format {
                        true => Stored::decode(from)?,
                        false => Default::default(),
                    },)*)*
                })
            }
        }
    };
}

/// A fieldless enumeration is one byte.
macro_rules! stored_enum {
    ($name:ident { $($variant:ident = $number:literal),* $(,)? }) => {
        impl $name {
            /// Its number in the format.
            pub(super) fn number(self) -> u8 {
                match self { $($name::$variant => $number),* }
            }
            /// The variant of that number.
            pub(super) fn from_number(number: u8) -> Decoded<Self> {
                match number {
                    $($number => Ok($name::$variant),)*
                    _ => Err(Malformed::Damaged),
                }
            }
        }
        impl Stored for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                out.push(self.number());
            }
            fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
                $name::from_number(from.byte()?)
            }
        }
    };
}

/// A number in a coat.
macro_rules! stored_newtype {
    ($($name:ident),*) => {$(
        impl Stored for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                self.0.encode(out);
            }
            fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
                Stored::decode(from).map($name)
            }
        }
    )*};
}

stored_newtype!(Lsn, Timestamp);
stored_struct!(Position { commit, ordinal });
stored_struct!(Progress {
    checkpoint,
    settled
});
stored_struct!(Intent { until, shelf });
stored_struct!(Load {
    table,
    oid,
    loaded,
    jobs,
    ended,
});
stored_struct!(Job {
    kind,
    column,
    filter,
    after,
    expected,
    rows,
    pages,
    since,
});
stored_struct!(Rowcount {
    read,
    written,
    unchanged,
    overtaken,
    pending,
});
stored_struct!(RecordId { object, key });
stored_struct!(SchemaVersion { from, at, table });
stored_struct!(CatalogTable {
    oid,
    schema,
    name,
    identity,
    identity_columns,
    primary_key,
    published,
    columns,
    dropped,
});
stored_struct!(CatalogColumn {
    attnum,
    name,
    type_oid,
    type_name,
    typmod,
    not_null,
});
stored_struct!(Identity {
    system,
    timeline,
    database,
    slot,
    publication,
    consistent_point,
});
stored_struct!(Pending {
    record,
    table,
    object,
    key_field,
    reason,
    operation,
    waits_for,
    fault,
    attempts,
    since,
    tried,
    counted,
} since 2 { conflicts });
stored_struct!(PendingOperation {
    action,
    fields,
    position,
    commit_time,
    xid,
} since 2 { changed });
stored_struct!(PendingTime {
    field,
    at,
    sure,
    decided,
});
stored_struct!(Conflict {
    field,
    theirs,
    edited,
});

stored_enum!(Existence {
    Live = 0,
    Archived = 1,
    Deleted = 2,
    Uncertain = 3,
    Kept = 4,
});
stored_enum!(Reason {
    DeadLetter = 0,
    Waiting = 1,
    Held = 2,
    Deferred = 3,
});
stored_enum!(Verdict {
    Applied = 0,
    Merged = 1,
    Unchanged = 2,
    Stale = 3,
    Kept = 4,
    Ignored = 5,
    Pending = 6,
});
stored_enum!(Class {
    Record = 0,
    RecordTransient = 1,
    MissingParent = 2,
    Service = 3,
    Unknown = 4,
    Split = 5,
    Configuration = 6,
    Authentication = 7,
    Locked = 8,
});
stored_enum!(ReplicaIdentity {
    Default = 0,
    Nothing = 1,
    Full = 2,
    Index = 3,
});

// Hashes use all their bits: a varint would only make them longer.
impl Stored for FieldId {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_le_bytes());
    }
    fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
        from.array().map(|bytes| FieldId(u32::from_le_bytes(bytes)))
    }
}

impl Stored for ObjectId {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_be_bytes());
    }
    fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
        from.array()
            .map(|bytes| ObjectId(u32::from_be_bytes(bytes)))
    }
}

impl Stored for Fingerprint {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_le_bytes());
    }
    fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
        from.array()
            .map(|bytes| Fingerprint(u64::from_le_bytes(bytes)))
    }
}

impl Stored for FieldValue {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            FieldValue::Bool(yes) => out.extend_from_slice(&[0, u8::from(*yes)]),
            FieldValue::Number(text) => {
                out.push(1);
                text.encode(out);
            }
            FieldValue::Text(text) => {
                out.push(2);
                text.encode(out);
            }
            FieldValue::Reference(key) => {
                out.push(3);
                key.encode(out);
            }
        }
    }
    fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
        match from.byte()? {
            0 => Stored::decode(from).map(FieldValue::Bool),
            1 => Stored::decode(from).map(FieldValue::Number),
            2 => Stored::decode(from).map(FieldValue::Text),
            3 => Stored::decode(from).map(FieldValue::Reference),
            _ => Err(Malformed::Damaged),
        }
    }
}

impl Stored for Assignment {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Assignment::Clear => out.push(0),
            Assignment::Set(value) => {
                out.push(1);
                value.encode(out);
            }
        }
    }
    fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
        match from.byte()? {
            0 => Ok(Assignment::Clear),
            1 => Stored::decode(from).map(Assignment::Set),
            _ => Err(Malformed::Damaged),
        }
    }
}

impl Stored for Action {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Action::Upsert => out.push(0),
            Action::Archive { create: false } => out.push(1),
            Action::Archive { create: true } => out.push(5),
            Action::Delete { hard: false } => out.push(2),
            Action::Delete { hard: true } => out.push(3),
            Action::ReKey { from } => {
                out.push(4);
                from.encode(out);
            }
        }
    }
    fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
        match from.byte()? {
            0 => Ok(Action::Upsert),
            1 => Ok(Action::Archive { create: false }),
            5 => Ok(Action::Archive { create: true }),
            2 => Ok(Action::Delete { hard: false }),
            3 => Ok(Action::Delete { hard: true }),
            4 => Ok(Action::ReKey {
                from: Stored::decode(from)?,
            }),
            _ => Err(Malformed::Damaged),
        }
    }
}

impl Stored for Fault {
    /// Without `retry_after`, which means nothing after a restart.
    fn encode(&self, out: &mut Vec<u8>) {
        self.class.encode(out);
        put_bytes(out, self.code.as_bytes());
        self.message.encode(out);
        self.fields.encode(out);
    }
    fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Fault {
            class: Stored::decode(from)?,
            code: Cow::Owned(Stored::decode(from)?),
            message: Stored::decode(from)?,
            fields: Stored::decode(from)?,
            retry_after: None,
        })
    }
}

// Zigzag, as `i64`.
macro_rules! stored_integer {
    ($($name:ident),*) => {$(
        impl Stored for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                i64::from(*self).encode(out);
            }
            fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
                $name::try_from(i64::decode(from)?).map_err(|_| Malformed::Damaged)
            }
        }
    )*};
}

stored_integer!(i16, i32);
