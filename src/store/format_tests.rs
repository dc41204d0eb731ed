//! The binary format: what is written is read back, and no bytes make reading panic.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::encoding::{Malformed, Reader, Stored, from_value, put_varint, to_value};
use super::page::{Arena, Entries, encode};
use super::*;
use crate::capture::CatalogColumn;
use crate::change::ReplicaIdentity;
use crate::fault::{Class, Fault};
use crate::mapping::{Action, Assignment, FieldId, FieldValue, Fingerprint, ObjectId};

fn position() -> impl Strategy<Value = Position> {
    (any::<u64>(), any::<u64>()).prop_map(|(commit, ordinal)| Position {
        commit: Lsn(commit),
        ordinal,
    })
}

fn record() -> impl Strategy<Value = RecordId> {
    (any::<u32>(), ".{0,40}").prop_map(|(object, key)| RecordId {
        object: ObjectId(object),
        key: key.into(),
    })
}

fn ledger_entry() -> impl Strategy<Value = LedgerEntry> {
    (
        position(),
        0_u8..3,
        proptest::option::of("[a-zA-Z0-9]{15,18}"),
        prop_oneof![
            Just((0..12).collect::<Vec<u32>>()),
            proptest::collection::vec(any::<u32>(), 0..30)
        ],
        any::<u64>(),
        proptest::collection::vec((any::<u32>(), ".{0,20}"), 0..3),
        proptest::collection::vec((any::<u32>(), any::<i64>()), 0..3),
    )
        .prop_map(
            |(position, existence, crm_id, fields, seed, parents, kept_fields)| LedgerEntry {
                kept_fields: kept_fields
                    .into_iter()
                    .map(|(f, at)| (FieldId(f), Timestamp(at)))
                    .collect(),
                position,
                existence: Existence::from_number(existence).unwrap(),
                crm_id: crm_id.map(Into::into),
                fingerprints: fields
                    .into_iter()
                    .map(|f| (FieldId(f), Fingerprint(seed.wrapping_mul(u64::from(f) | 1))))
                    .collect(),
                parents: parents
                    .into_iter()
                    .map(|(f, key)| (FieldId(f), key.into()))
                    .collect(),
            },
        )
}

fn field_value() -> impl Strategy<Value = FieldValue> {
    prop_oneof![
        any::<bool>().prop_map(FieldValue::Bool),
        "[0-9.]{0,30}".prop_map(|s| FieldValue::Number(s.into())),
        ".{0,60}".prop_map(|s| FieldValue::Text(s.into())),
        ".{0,60}".prop_map(|s| FieldValue::Reference(s.into())),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Upsert),
        any::<bool>().prop_map(|create| Action::Archive { create }),
        any::<bool>().prop_map(|hard| Action::Delete { hard }),
        ".{0,30}".prop_map(|from| Action::ReKey { from: from.into() }),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    (
        0_u8..9,
        "[A-Z_]{1,30}",
        ".{0,200}",
        proptest::collection::vec("[A-Za-z_]{1,40}", 0..4),
    )
        .prop_map(|(class, code, message, fields)| Fault {
            fields,
            ..Fault::new(Class::from_number(class).unwrap(), code, message)
        })
}

fn pending() -> impl Strategy<Value = Pending> {
    let assignment = prop_oneof![
        Just(Assignment::Clear),
        field_value().prop_map(Assignment::Set)
    ];
    let operation = (
        action(),
        proptest::collection::vec(("[A-Za-z_]{1,40}", assignment), 0..6),
        position(),
        any::<i64>(),
        any::<u32>(),
    )
        .prop_map(|(action, fields, position, time, xid)| PendingOperation {
            action,
            fields,
            position,
            commit_time: Timestamp(time),
            xid,
            changed: vec![PendingTime {
                field: "F".into(),
                at: (xid % 2 == 0).then_some(Timestamp(time)),
                sure: xid % 3 == 0,
                decided: xid % 5 == 0,
            }],
        });
    (
        (record(), ".{0,20}", ".{0,20}", ".{0,20}", 0_u8..4),
        proptest::option::of(operation),
        proptest::option::of(record()),
        proptest::option::of(fault()),
        (
            any::<u32>(),
            any::<i64>(),
            proptest::option::of(any::<i64>()),
        ),
    )
        .prop_map(|(names, operation, waits_for, fault, times)| Pending {
            record: names.0,
            table: names.1,
            object: names.2,
            key_field: names.3,
            reason: Reason::from_number(names.4).unwrap(),
            operation,
            waits_for,
            fault,
            attempts: times.0,
            since: Timestamp(times.1),
            tried: times.2.map(Timestamp),
            counted: times.0 % 2 == 0,
            conflicts: vec![Conflict {
                field: "F".into(),
                theirs: Assignment::Clear,
                edited: Timestamp(times.1),
            }],
        })
}

fn names() -> impl Strategy<Value = Vec<Box<str>>> {
    proptest::collection::vec(".{0,30}".prop_map(Into::into), 0..4)
}

fn schema() -> impl Strategy<Value = SchemaVersion> {
    let column = (
        (any::<i16>(), ".{0,30}"),
        (any::<u32>(), ".{0,30}", any::<i32>()),
        any::<bool>(),
    )
        .prop_map(
            |((attnum, name), (type_oid, type_name, typmod), not_null)| CatalogColumn {
                attnum,
                name: name.into(),
                type_oid,
                type_name: type_name.into(),
                typmod,
                not_null,
            },
        );
    (
        (position(), any::<i64>()),
        (any::<u32>(), ".{0,20}", ".{0,20}", any::<bool>()),
        (0_u8..4, names(), names()),
        proptest::collection::vec(column, 0..20),
        proptest::collection::vec(any::<i16>(), 0..5),
    )
        .prop_map(
            |((from, at), names, keys, columns, dropped)| SchemaVersion {
                from,
                at: Timestamp(at),
                table: CatalogTable {
                    oid: names.0,
                    schema: names.1.into(),
                    name: names.2.into(),
                    identity: ReplicaIdentity::from_number(keys.0).unwrap(),
                    identity_columns: keys.1,
                    primary_key: keys.2,
                    published: names.3,
                    columns,
                    dropped,
                },
            },
        )
}

fn round_trip<T: Stored + PartialEq + std::fmt::Debug>(content: &T) {
    let value = to_value(content);
    assert_eq!(from_value::<T>(&value).as_ref(), Ok(content));
    // Cut anywhere, it is refused; so is a byte too many, and a newer format.
    for len in (0..value.len()).step_by(value.len() / 40 + 1) {
        assert!(from_value::<T>(&value[..len]).is_err());
    }
    let mut longer = value.clone();
    longer.push(0);
    assert!(from_value::<T>(&longer).is_err());
    let mut newer = value;
    newer[0] += 1;
    assert_eq!(
        from_value::<T>(&newer),
        Err(Malformed::Version(super::encoding::FORMAT + 1))
    );
}

fn read_page(page: &[u8]) -> Result<Vec<(Vec<u8>, LedgerEntry)>, Malformed> {
    let mut entries = Entries::new(page)?;
    let mut read = Vec::new();
    while let Some(entry) = entries.next()? {
        read.push((entry.key.to_vec(), entry.decode()?));
    }
    Ok(read)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn pending_is_read_back(pending in pending()) {
        round_trip(&pending);
    }

    #[test]
    fn schemas_are_read_back(schema in schema()) {
        round_trip(&schema);
    }

    #[test]
    fn intents_and_progress_are_read_back(
        until in position(),
        shelf in proptest::collection::vec(record(), 0..50),
        checkpoint: u64,
    ) {
        round_trip(&Intent { until, shelf });
        round_trip(&Progress { checkpoint: Lsn(checkpoint), settled: until });
    }

    #[test]
    fn numbers_are_read_back(signed: i64, unsigned: u64) {
        round_trip(&signed);
        round_trip(&unsigned);
        let mut out = Vec::new();
        put_varint(&mut out, unsigned);
        prop_assert_eq!(Reader::new(&out).varint(), Ok(unsigned));
    }

    #[test]
    fn pages_are_read_back(
        records in proptest::collection::btree_map(".{0,40}", ledger_entry(), 0..30),
    ) {
        let mut arena = Arena::default();
        for entry in records.values() {
            arena.push(entry);
        }
        let entries: Vec<_> = records
            .keys()
            .enumerate()
            .map(|(number, key)| arena.entry(number, key.as_bytes()).unwrap())
            .collect();
        let page = encode(&entries);
        let expected: Vec<_> = records
            .into_iter()
            .map(|(key, entry)| (key.into_bytes(), entry))
            .collect();
        prop_assert_eq!(read_page(&page), Ok(expected));
        for len in (0..page.len()).step_by(page.len() / 40 + 1) {
            prop_assert!(read_page(&page[..len]).is_err());
        }
    }

    #[test]
    fn no_bytes_make_reading_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ours: bool,
    ) {
        if let (true, Some(first)) = (ours, bytes.first_mut()) {
            *first = super::encoding::FORMAT;
        }
        let _ = from_value::<Pending>(&bytes);
        let _ = from_value::<SchemaVersion>(&bytes);
        let _ = from_value::<Intent>(&bytes);
        let _ = from_value::<Identity>(&bytes);
        let _ = from_value::<BulkJob>(&bytes);
        let _ = from_value::<(String, i64)>(&bytes);
        let _ = read_page(&bytes);
    }

    /// One changed byte in real bytes gets deeper into the decoder than noise does.
    #[test]
    fn no_changed_byte_makes_reading_panic(
        pending in pending(),
        entry in ledger_entry(),
        at: prop::sample::Index,
        byte: u8,
    ) {
        let mut value = to_value(&pending);
        let index = at.index(value.len());
        value[index] = byte;
        let _ = from_value::<Pending>(&value);
        let mut arena = Arena::default();
        arena.push(&entry);
        let mut page = encode(&[arena.entry(0, b"key").unwrap()]);
        let index = at.index(page.len());
        page[index] = byte;
        let _ = read_page(&page);
    }
}

/// The format itself: a change here is a new format, and needs a number of its own.
#[test]
fn the_format_has_not_changed() {
    let record = RecordId {
        object: ObjectId(0x0102_0304),
        key: "k1".into(),
    };
    let intent = Intent {
        until: Position {
            commit: Lsn(300),
            ordinal: 2,
        },
        shelf: vec![record],
    };
    let bytes = [2, 0xAC, 0x02, 2, 1, 1, 2, 3, 4, 2, b'k', b'1'];
    assert_eq!(to_value(&intent), bytes);
    let entry = LedgerEntry {
        position: intent.until,
        existence: Existence::Archived,
        crm_id: Some("003".into()),
        fingerprints: vec![(FieldId(0x0A0B_0C0D), Fingerprint(0x1122_3344_5566_7788))],
        parents: Vec::new(),
        kept_fields: Vec::new(),
    };
    let mut arena = Arena::default();
    arena.push(&entry);
    let page = encode(&[arena.entry(0, b"k1").unwrap()]);
    let mut expected = vec![2, 1, 1, 0x0D, 0x0C, 0x0B, 0x0A, 1, 2, b'k', b'1', 0, 18];
    expected.extend([1, 0xAC, 0x02, 2, 1, 3, b'0', b'0', b'3', 0]);
    expected.extend([0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]);
    assert_eq!(page, expected);
    let kept = LedgerEntry {
        kept_fields: vec![(FieldId(0x0A0B_0C0D), Timestamp(-2))],
        ..entry.clone()
    };
    let mut arena = Arena::default();
    arena.push(&kept);
    let page = encode(&[arena.entry(0, b"k1").unwrap()]);
    if let Some(body) = expected.get_mut(12) {
        *body = 24;
    }
    expected.extend([1, 0x0D, 0x0C, 0x0B, 0x0A, 3]);
    assert_eq!(page, expected);
    assert_eq!(read_page(&page), Ok(vec![(b"k1".to_vec(), kept)]));
    let version = SchemaVersion {
        from: intent.until,
        at: Timestamp(-1),
        table: CatalogTable {
            oid: 300,
            schema: "s".into(),
            name: "t".into(),
            identity: ReplicaIdentity::Full,
            identity_columns: vec!["c".into()],
            primary_key: Vec::new(),
            published: true,
            columns: vec![CatalogColumn {
                attnum: 2,
                name: "c".into(),
                type_oid: 25,
                type_name: "text".into(),
                typmod: -1,
                not_null: false,
            }],
            dropped: vec![1],
        },
    };
    let mut expected = vec![2, 0xAC, 0x02, 2, 1, 0xAC, 0x02, 1, b's', 1, b't'];
    expected.extend([2, 1, 1, b'c', 0, 1]);
    expected.extend([1, 4, 1, b'c', 25, 4, b't', b'e', b'x', b't', 1, 0]);
    expected.extend([1, 2]);
    assert_eq!(to_value(&version), expected);
    let job = BulkJob {
        id: "j".into(),
        object: "O".into(),
        action: "a".into(),
        until: intent.until,
        page: Some(BulkPage {
            table: "t".into(),
            rows: 300,
        }),
        stage: 1,
        records: 2,
        hash: 3,
        since: Timestamp(-1),
    };
    let mut expected = vec![2, 1, b'j', 1, b'O', 1, b'a', 0xAC, 0x02, 2];
    expected.extend([1, 1, b't', 0xAC, 0x02, 1, 2, 3]);
    expected.extend([0; 15]);
    expected.push(1);
    assert_eq!(to_value(&job), expected);
}

/// What format 1 wrote is read: what came later is empty in it.
#[test]
fn values_of_format_1_are_read() {
    let operation = PendingOperation {
        action: Action::Upsert,
        fields: vec![("Name".into(), Assignment::Clear)],
        position: Position::default(),
        commit_time: Timestamp(5),
        xid: 7,
        changed: Vec::new(),
    };
    let pending = Pending {
        record: RecordId {
            object: ObjectId(1),
            key: "k".into(),
        },
        table: "t".into(),
        object: "O".into(),
        key_field: "K".into(),
        reason: Reason::Held,
        operation: Some(operation),
        waits_for: None,
        fault: None,
        attempts: 1,
        since: Timestamp(1),
        tried: None,
        counted: true,
        conflicts: Vec::new(),
    };
    // The operation's list of times is in the middle, that of conflicts at the end.
    let mut old = to_value(&pending);
    old[0] = 1;
    assert_eq!(old.pop(), Some(0));
    let xid = old.iter().rposition(|b| *b == 7).unwrap();
    assert_eq!(old.remove(xid + 1), 0);
    assert_eq!(from_value::<Pending>(&old), Ok(pending));

    let entry = LedgerEntry {
        position: Position::default(),
        existence: Existence::Live,
        crm_id: None,
        fingerprints: vec![(FieldId(1), Fingerprint(2))],
        parents: Vec::new(),
        kept_fields: Vec::new(),
    };
    let mut arena = Arena::default();
    arena.push(&entry);
    let mut page = encode(&[arena.entry(0, b"k1").unwrap()]);
    page[0] = 1;
    assert_eq!(read_page(&page), Ok(vec![(b"k1".to_vec(), entry)]));
}
