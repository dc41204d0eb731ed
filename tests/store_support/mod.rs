//! Things to store, for the tests of the store.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;

use rand::{Rng, RngExt};
use syncline::change::{
    Column, Identity, Lsn, Position, Relation, ReplicaIdentity, Timestamp, Verdict,
};
use syncline::fault::{Class, Fault};
use syncline::mapping::{Action, Assignment, FieldId, FieldValue, Fingerprint, ObjectId, RecordId};
use syncline::store::{
    Existence, LedgerEntry, Pending, PendingOperation, Progress, Reason, SchemaVersion, Settlement,
};
use syncline::value::ValueType;

pub const ACCOUNT: ObjectId = ObjectId(0x0A0B_0C0D);
pub const CONTACT: ObjectId = ObjectId(0x0A0B_0C0E);

pub fn identity() -> Identity {
    Identity {
        system: "7300000000000000001".into(),
        timeline: 1,
        database: "app".into(),
        slot: "syncline".into(),
        publication: "syncline".into(),
        consistent_point: Lsn(0x100),
    }
}

pub fn at(commit: u64, ordinal: u64) -> Position {
    Position {
        commit: Lsn(commit),
        ordinal,
    }
}

pub fn progress(number: u64) -> Progress {
    Progress {
        checkpoint: Lsn(0x1000 + number),
        settled: at(0x1000 + number, 0),
    }
}

/// An otherwise empty settlement.
pub fn settlement(number: u64) -> Settlement {
    Settlement {
        progress: progress(number),
        ..Settlement::default()
    }
}

pub fn record(object: ObjectId, key: &str) -> RecordId {
    RecordId {
        object,
        key: key.into(),
    }
}

/// An entry that tells which settlement wrote it.
pub fn entry(number: u64, fields: u32) -> LedgerEntry {
    LedgerEntry {
        position: at(0x1000 + number, 3),
        existence: match number % 5 {
            0 => Existence::Deleted,
            1 => Existence::Archived,
            _ => Existence::Live,
        },
        crm_id: (number % 3 != 0).then(|| format!("003{number:012}AAA").into()),
        fingerprints: (0..fields)
            .map(|f| {
                let value = u64::from(f).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number;
                (FieldId(f * 7), Fingerprint(value))
            })
            .collect(),
        parents: match number % 7 {
            0 => vec![(FieldId(7), format!("parent-{number}").into())],
            _ => Vec::new(),
        },
    }
}

/// An entry of the shelf whose operation has so many bytes.
pub fn pending(record: RecordId, reason: Reason, number: u64, bytes: usize) -> Pending {
    let text = format!("{number}-").repeat(bytes / 8 + 1);
    Pending {
        record,
        table: "public.customer".into(),
        object: "Contact".into(),
        key_field: "Customer_Id__c".into(),
        reason,
        operation: Some(PendingOperation {
            action: Action::Upsert,
            fields: vec![
                (
                    "LastName".into(),
                    Assignment::Set(FieldValue::Text(text[..bytes.min(text.len())].into())),
                ),
                ("Phone".into(), Assignment::Clear),
                ("Active__c".into(), Assignment::Set(FieldValue::Bool(true))),
            ],
            position: at(0x1000 + number, 1),
            commit_time: Timestamp(1_700_000_000_000_000 + number as i64),
            xid: 4711,
        }),
        waits_for: None,
        fault: Some(Fault::new(
            Class::Record,
            "STRING_TOO_LONG",
            "data value too large",
        )),
        attempts: number as u32,
        since: Timestamp(1_700_000_000_000_000),
        tried: Some(Timestamp(-5)),
        counted: true,
    }
}

pub fn waiting(record: RecordId, parent: RecordId, number: u64) -> Pending {
    Pending {
        waits_for: Some(parent),
        ..pending(record, Reason::Waiting, number, 20)
    }
}

pub fn schema(oid: u32, from: u64, columns: usize) -> SchemaVersion {
    SchemaVersion {
        from: at(from, 0),
        relation: Relation {
            oid,
            schema: "public".into(),
            name: format!("table_{oid}").into(),
            identity: ReplicaIdentity::Full,
            columns: (0..columns)
                .map(|n| Column {
                    name: format!("a_column_with_quite_a_long_name_{n}").into(),
                    type_oid: 25,
                    typmod: -1,
                    key: n == 0,
                    value_type: match n % 3 {
                        0 => ValueType::Text,
                        1 => ValueType::Array(Box::new(ValueType::Int), b','),
                        _ => ValueType::Other("ltree".into()),
                    },
                })
                .collect(),
        },
    }
}

/// External ids as they come: numbers, uuids, long ones with a common beginning.
pub fn some_key(random: &mut impl Rng, of: u64) -> String {
    let number = random.random_range(0..of);
    match number % 10 {
        0 => format!(
            "{:032x}",
            u128::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ),
        1 => format!("{}{number}", "long/".repeat(30)),
        2 => format!("{}{number}", "longer than any key of a row/".repeat(10)),
        3 => format!("ключ-{number}"),
        _ => format!("{number}"),
    }
}

pub type Model = BTreeMap<RecordId, LedgerEntry>;

pub fn verdict(table: &str, verdict: Verdict, by: i64) -> ((String, Verdict), i64) {
    ((table.to_owned(), verdict), by)
}
