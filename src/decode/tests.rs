//! The decoder from the outside: frames in, changes out.
#![allow(clippy::unwrap_used, clippy::panic)]

use bytes::Bytes;

use super::encode::{self, Cell, OldCells};
use super::*;
use crate::change::{Datum, ReplicaIdentity};
use crate::fault::ErrorKind;
use crate::value::{TypeRow, ValueType};

const OID: u32 = 16_384;
const TIME: Timestamp = Timestamp(1_700_000_000_000_000);

fn table(oid: u32, name: &str, columns: &[(&str, u32)]) -> Relation {
    Relation {
        oid,
        schema: "public".into(),
        name: name.into(),
        identity: ReplicaIdentity::Default,
        columns: columns
            .iter()
            .enumerate()
            .map(|(at, (name, type_oid))| Column {
                attnum: 0,
                name: (*name).into(),
                type_oid: *type_oid,
                typmod: -1,
                key: at == 0,
                value_type: Types::default().value_type(*type_oid),
            })
            .collect(),
    }
}

fn people() -> Relation {
    table(OID, "people", &[("id", 23), ("name", 25)])
}

/// A stream, for short.
struct Stream(Decoder);

impl Stream {
    fn new() -> Self {
        Stream(Decoder::new(Types::default(), Vec::new()))
    }

    /// A stream in which a transaction at `commit` is open and `people` is described.
    fn open(commit: u64) -> Self {
        let mut stream = Stream::new();
        stream.ok(encode::begin(Lsn(commit), TIME, 7));
        stream.schema(&people());
        stream
    }

    fn send(&mut self, payload: Bytes) -> Result<Option<Decoded>> {
        let lsn = Lsn(0x99);
        self.0.decode(&Frame { lsn, payload })
    }

    fn ok(&mut self, payload: Bytes) -> Option<Decoded> {
        self.send(payload).unwrap()
    }

    fn change(&mut self, payload: Bytes) -> Change {
        match self.ok(payload) {
            Some(Decoded::Change(change)) => change,
            other => panic!("not a change: {other:?}"),
        }
    }

    /// The table described; what is new is adopted, as the supervisor does.
    fn schema(&mut self, relation: &Relation) -> (Arc<Relation>, Position, bool) {
        let (relation, position, changed) = self.described(relation);
        if changed {
            let before = self
                .0
                .newest(relation.oid, &relation.schema, &relation.name);
            let version = resolve(&relation, before, None);
            self.0.adopt(position, version);
        }
        let relation = self.0.relation(relation.oid).unwrap();
        (relation, position, changed)
    }

    fn described(&mut self, relation: &Relation) -> (Arc<Relation>, Position, bool) {
        match self.ok(encode::relation(relation)) {
            Some(Decoded::Schema {
                relation,
                position,
                changed,
            }) => (relation, position, changed),
            other => panic!("not a schema: {other:?}"),
        }
    }

    fn refused(&mut self, payload: Bytes) -> String {
        let error = self.send(payload).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Protocol);
        assert!(error.remedy.is_some());
        error.to_string()
    }
}

fn at(commit: u64, ordinal: u64) -> Position {
    Position {
        commit: Lsn(commit),
        ordinal,
    }
}

fn datums(tuple: &Tuple) -> Vec<Datum<'_>> {
    (0..tuple.spans.len()).map(|at| tuple.get(at)).collect()
}

fn row(id: &'static str, name: &'static str) -> [Cell<'static>; 2] {
    [Cell::Text(id), Cell::Text(name)]
}

#[test]
fn a_transaction_numbers_its_changes() {
    let mut stream = Stream::new();
    let begin = stream.ok(encode::begin(Lsn(0x100), TIME, 7));
    assert!(matches!(
        begin,
        Some(Decoded::Begin {
            commit: Lsn(0x100),
            time: TIME,
            xid: 7
        })
    ));
    assert!(stream.0.in_transaction());
    let (described, position, changed) = stream.schema(&people());
    assert_eq!((position, changed), (at(0x100, 0), true));

    let insert = stream.change(encode::insert(OID, &row("1", "Ann")));
    assert_eq!(insert.position, at(0x100, 0));
    assert_eq!((insert.commit_time, insert.xid), (TIME, 7));
    assert!(Arc::ptr_eq(insert.relation.as_ref().unwrap(), &described));
    let Kind::Insert { new } = &insert.kind else {
        panic!("{insert:?}")
    };
    assert_eq!(datums(new), [Datum::Text(b"1"), Datum::Text(b"Ann")]);

    let emitted = stream.change(encode::message(true, Lsn(0x90), "outbox", b"\xff\0"));
    assert_eq!((emitted.position, emitted.xid), (at(0x100, 1), 7));
    assert!(emitted.relation.is_none());
    let delete = stream.change(encode::delete(
        OID,
        OldCells::Key(&[Cell::Text("1"), Cell::Null]),
    ));
    assert_eq!(delete.position, at(0x100, 2));
    let commit = stream.ok(encode::commit(Lsn(0x100), Lsn(0x130), TIME));
    assert!(matches!(
        commit,
        Some(Decoded::Commit {
            commit: Lsn(0x100),
            end: Lsn(0x130),
            time: TIME
        })
    ));
    assert!(!stream.0.in_transaction());
    stream.ok(encode::begin(Lsn(0x130), TIME, 8));
    assert_eq!(
        stream.change(encode::insert(OID, &row("2", "Bo"))).position,
        at(0x130, 0)
    );
}

#[test]
fn an_update_keeps_null_unchanged_and_the_old_row_apart() {
    let mut stream = Stream::open(1);
    let new = [Cell::Text("1"), Cell::Unchanged];
    let Kind::Update { old, new: plain } = stream
        .change(encode::update(OID, OldCells::None, &new))
        .kind
    else {
        panic!("not an update")
    };
    assert!(matches!(old, OldRow::None));
    assert_eq!(plain.get(1), Datum::Unchanged);

    // A key does not tell the unchanged value: what it does not hold reads as null there.
    let key = [Cell::Text("0"), Cell::Null];
    let Kind::Update { old, new: rekeyed } = stream
        .change(encode::update(OID, OldCells::Key(&key), &new))
        .kind
    else {
        panic!("not an update")
    };
    let OldRow::Key(old) = old else {
        panic!("{old:?}")
    };
    assert_eq!(old.get(0), Datum::Text(b"0"));
    assert_eq!(rekeyed.get(1), Datum::Unchanged);

    // A whole old row does.
    let full = [Cell::Text("1"), Cell::Text("a long text")];
    let Kind::Update { old, new: filled } = stream
        .change(encode::update(OID, OldCells::Full(&full), &new))
        .kind
    else {
        panic!("not an update")
    };
    assert!(matches!(old, OldRow::Full(_)));
    assert_eq!(filled.get(1), Datum::Text(b"a long text"));
    let cleared = [Cell::Text("1"), Cell::Null];
    let Kind::Update { new, .. } = stream
        .change(encode::update(OID, OldCells::Full(&full), &cleared))
        .kind
    else {
        panic!("not an update")
    };
    assert_eq!(new.get(1), Datum::Null);
}

#[test]
fn a_truncate_is_one_change_a_table() {
    let mut stream = Stream::open(1);
    stream.schema(&table(2, "b", &[]));
    let Some(Decoded::Truncate(changes)) = stream.ok(encode::truncate(&[OID, 2])) else {
        panic!("not a truncate")
    };
    let found: Vec<_> = changes
        .iter()
        .map(|change| (change.position, change.relation.as_ref().unwrap().oid))
        .collect();
    assert_eq!(found, [(at(1, 0), OID), (at(1, 1), 2)]);
    assert_eq!(
        stream.change(encode::insert(OID, &row("1", "A"))).position,
        at(1, 2)
    );
}

#[test]
fn a_message_of_no_transaction_never_shares_a_position() {
    let mut stream = Stream::new();
    stream.ok(encode::begin(Lsn(0x10), TIME, 6));
    stream.ok(encode::commit(Lsn(0x10), Lsn(0x40), TIME));
    // Its record ends where the next commit record starts: seen from Postgres 15.
    let emitted = stream.change(encode::message(false, Lsn(0x50), "signal", b""));
    stream.ok(encode::begin(Lsn(0x50), TIME, 7));
    let inside = stream.change(encode::message(true, Lsn(0x48), "signal", b""));
    assert!(emitted.position > at(0x10, u64::MAX));
    assert!(emitted.position < inside.position);
    assert_eq!((emitted.commit_time, emitted.xid), (TIME, 0));
    let Kind::Message {
        prefix,
        transactional,
        ..
    } = emitted.kind
    else {
        panic!("not a message")
    };
    assert_eq!((&*prefix, transactional), ("signal", false));
}

#[test]
fn an_origin_is_told_and_moves_no_ordinal() {
    let mut stream = Stream::new();
    stream.ok(encode::begin(Lsn(1), TIME, 7));
    let origin = stream.ok(encode::origin(Lsn(9), "elsewhere"));
    assert!(matches!(origin, Some(Decoded::Origin { name }) if &*name == "elsewhere"));
    assert_eq!(stream.schema(&people()).1, at(1, 0));
}

#[test]
fn an_equal_description_shares_the_relation() {
    let mut stream = Stream::open(1);
    let known = stream.0.relation(OID).unwrap().clone();
    stream.change(encode::insert(OID, &row("1", "A")));
    let (again, position, changed) = stream.schema(&people());
    assert!(Arc::ptr_eq(&known, &again));
    assert_eq!((position, changed), (at(1, 1), false));
    let wider = table(OID, "people", &[("id", 23), ("name", 25), ("age", 23)]);
    let (wider, position, changed) = stream.schema(&wider);
    assert_eq!(
        (wider.columns.len(), position, changed),
        (3, at(1, 1), true)
    );
    let error = stream.refused(encode::insert(OID, &row("1", "A")));
    assert!(
        error.contains("its row has 2 columns, but public.people was described with 3"),
        "{error}"
    );
}

#[test]
fn after_a_reconnect_the_same_frames_give_the_same_changes() {
    let mut stream = Stream::open(0x10);
    let first = stream.change(encode::insert(OID, &row("1", "A"))).position;
    stream.0.reset();
    assert!(!stream.0.in_transaction());
    stream.ok(encode::begin(Lsn(0x10), TIME, 7));
    stream.refused(encode::insert(OID, &row("1", "A")));
    assert!(!stream.schema(&people()).2, "adopted, so not new");
    assert_eq!(
        stream.change(encode::insert(OID, &row("1", "A"))).position,
        first
    );
}

#[test]
fn a_type_made_later_can_be_added() {
    let mut stream = Stream::open(1);
    stream.ok(encode::type_(70_000, "public", "mood"));
    let (relation, ..) = stream.schema(&table(2, "m", &[("id", 23), ("mood", 70_000)]));
    assert_eq!(
        relation.columns[1].value_type,
        ValueType::Other("mood".into())
    );
    stream.0.add_types(vec![TypeRow {
        oid: 70_000,
        schema: "public".into(),
        name: "mood".into(),
        kind: b'e',
        base: 0,
        base_typmod: -1,
        element: 0,
        delimiter: b',',
    }]);
    let relation = stream.0.relation(2).unwrap().clone();
    assert_eq!(relation.columns[1].value_type, ValueType::Enum);
    assert_eq!(
        stream.0.relation(OID).unwrap().columns[1].value_type,
        ValueType::Text
    );
}

#[test]
fn what_cannot_follow_is_refused() {
    let begin = |commit| encode::begin(Lsn(commit), TIME, 7);
    let commit = |commit, end| encode::commit(Lsn(commit), Lsn(end), TIME);
    for (before, then, why) in [
        (vec![], commit(1, 2), "none is open"),
        (vec![], encode::relation(&people()), "none is open"),
        (vec![], encode::origin(Lsn(1), "o"), "none is open"),
        (
            vec![],
            encode::message(true, Lsn(1), "p", b""),
            "none is open",
        ),
        (vec![begin(1)], begin(5), "commits at 0/1 is still open"),
        (
            vec![begin(5)],
            commit(6, 9),
            "commits at 0/6, but the open transaction announced 0/5",
        ),
        (
            vec![begin(5)],
            commit(5, 5),
            "starts at 0/5 and ends at 0/5",
        ),
        (
            vec![begin(5), commit(5, 9)],
            begin(8),
            "before the end of the last one at 0/9",
        ),
        (
            vec![begin(5)],
            encode::insert(OID, &[]),
            "oid 16384 has not been described",
        ),
        (
            vec![begin(5)],
            encode::truncate(&[OID]),
            "oid 16384 has not been described",
        ),
        (
            vec![begin(5), encode::relation(&people())],
            encode::update(OID, OldCells::Key(&[]), &row("1", "A")),
            "its row has 0 columns, but public.people was described with 2",
        ),
        (
            vec![begin(5), encode::relation(&people()), commit(5, 9)],
            encode::insert(OID, &row("1", "A")),
            "none is open",
        ),
    ] {
        let mut stream = Stream::new();
        for payload in before {
            stream.ok(payload);
        }
        let error = stream.refused(then);
        assert!(error.contains(why), "{error}");
        assert!(error.contains("at 0/99"), "{error}");
    }
}

#[test]
fn streamed_and_prepared_transactions_are_refused_but_a_stray_abort_is_not() {
    for kind in *b"SEcbPpKr" {
        let error = Stream::open(1).refused(Bytes::from(vec![kind; 40]));
        assert!(error.contains("not asked for"), "{error}");
    }
    let mut stream = Stream::open(1);
    assert!(
        stream
            .ok(Bytes::from_static(b"A\0\0\0\x01\0\0\0\x02"))
            .is_none()
    );
    assert!(stream.ok(Bytes::from(vec![b'A'; 25])).is_none());
    stream.refused(Bytes::from_static(b"A\0\0\0\x01"));
    assert_eq!(
        stream.change(encode::insert(OID, &row("1", "A"))).position,
        at(1, 0)
    );
}

#[test]
fn an_empty_transaction_and_a_system_table_are_fine() {
    let mut stream = Stream::new();
    stream.ok(encode::begin(Lsn(1), TIME, 7));
    stream.ok(encode::commit(Lsn(1), Lsn(2), TIME));
    stream.ok(encode::begin(Lsn(2), TIME, 8));
    let mut relation = people();
    relation.schema = "pg_catalog".into();
    let encoded = encode::relation(&relation);
    assert_eq!(encoded[5], 0, "an empty schema on the wire");
    assert_eq!(&*stream.schema(&relation).0.schema, "pg_catalog");
}

#[test]
fn a_row_lies_in_its_frame_and_up_to_16_columns_beside_no_heap() {
    let columns: Vec<_> = (0..16).map(|_| ("c", 25)).collect();
    let mut stream = Stream::open(1);
    stream.schema(&table(2, "wide", &columns));
    let payload = encode::insert(2, &[Cell::Text("x"); 16]);
    let Kind::Insert { new } = stream.change(payload.clone()).kind else {
        panic!("not an insert")
    };
    assert!(!new.spans.spilled());
    assert_eq!(new.frame.as_ptr(), payload.as_ptr());
    let Datum::Text(last) = new.get(15) else {
        panic!("no text")
    };
    assert_eq!(last.as_ptr_range().end, payload.as_ptr_range().end);
}
