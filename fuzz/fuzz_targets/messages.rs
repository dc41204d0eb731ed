//! Any sequence of frames through one decoder, and every column of every row through the value
//! reader of its type.
//!
//! Input: frames one after another, each a length (two bytes, big-endian) and its bytes.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use syncline::capture::Frame;
use syncline::change::{Change, Datum, Kind, Lsn, OldRow, Position, Relation, Tuple};
use syncline::decode::{Decoded, Decoder, Types, value};
use syncline::value::{TypeRow, Value};

fuzz_target!(|input: &[u8]| {
    let mut decoder = Decoder::new(Types::new(types()), Vec::new());
    let mut last: Option<Position> = None;
    let mut rest = input;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (payload, after) = after.split_at(length);
        rest = after;
        let frame = Frame {
            lsn: Lsn(input.len() as u64 - rest.len() as u64),
            payload: Bytes::copy_from_slice(payload),
        };
        match decoder.decode(&frame) {
            Ok(Some(Decoded::Change(change))) => check(&change, &mut last),
            Ok(Some(Decoded::Truncate(changes))) => {
                changes.iter().for_each(|change| check(change, &mut last));
            }
            Ok(_) => {}
            Err(error) => {
                assert!(!error.to_string().is_empty());
                decoder.reset();
                last = None;
            }
        }
    }
});

/// Positions of a transaction's changes rise; a row fits its relation; its values are total.
fn check(change: &Change, last: &mut Option<Position>) {
    let outside = matches!(
        change.kind,
        Kind::Message {
            transactional: false,
            ..
        }
    );
    if !outside {
        assert!(
            *last < Some(change.position),
            "{last:?} {:?}",
            change.position
        );
        *last = Some(change.position);
    }
    let Some(relation) = &change.relation else {
        assert!(matches!(change.kind, Kind::Message { .. }));
        return;
    };
    match &change.kind {
        Kind::Insert { new } => read(relation, new),
        Kind::Update { old, new } => {
            read_old(relation, old);
            read(relation, new);
        }
        Kind::Delete { old } => read_old(relation, old),
        Kind::Truncate | Kind::Message { .. } => {}
    }
}

fn read_old(relation: &Relation, old: &OldRow) {
    match old {
        OldRow::None => {}
        OldRow::Key(row) | OldRow::Full(row) => read(relation, row),
    }
}

fn read(relation: &Relation, row: &Tuple) {
    assert_eq!(row.spans.len(), relation.columns.len());
    for (at, column) in relation.columns.iter().enumerate() {
        if let Datum::Text(text) = row.get(at)
            && let Ok(Value::Text(read) | Value::Json(read)) = value(&column.value_type, text)
        {
            assert!(read.len() <= text.len());
        }
    }
}

/// A few types that only a catalog explains, among them a loop.
fn types() -> Vec<TypeRow> {
    let row = |oid, kind, base, element| TypeRow {
        oid,
        schema: "public".into(),
        name: "t".into(),
        kind,
        base,
        base_typmod: -1,
        element,
        delimiter: b',',
    };
    vec![
        row(0x8001, b'e', 0, 0),
        row(0x8002, b'd', 0x8001, 0),
        row(0x8003, b'b', 0, 0x8002),
        row(0x8004, b'd', 0x8005, 0),
        row(0x8005, b'd', 0x8004, 0),
    ]
}
