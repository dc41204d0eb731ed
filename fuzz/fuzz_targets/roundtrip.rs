//! Any message through the encoder and back: nothing is lost on the way, and the bytes of what was
//! read are the bytes it was read from.
#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use syncline::change::{Lsn, ReplicaIdentity, Span};
use syncline::decode::encode::{self, Cell, OldCells};
use syncline::decode::message::{self, Message, RawColumn, RawOld, RawRelation};

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Begin {
        commit: u64,
        time: i64,
        xid: u32,
    },
    Commit {
        commit: u64,
        end: u64,
        time: i64,
    },
    Origin {
        commit: u64,
        name: &'a str,
    },
    Relation {
        oid: u32,
        schema: &'a str,
        name: &'a str,
        identity: u8,
        columns: Vec<(bool, &'a str, u32, i32)>,
    },
    Type {
        oid: u32,
        schema: &'a str,
        name: &'a str,
    },
    Insert {
        oid: u32,
        new: Row<'a>,
    },
    Update {
        oid: u32,
        old: Option<(bool, Row<'a>)>,
        new: Row<'a>,
    },
    Delete {
        oid: u32,
        full: bool,
        old: Row<'a>,
    },
    Truncate {
        cascade: bool,
        restart_identity: bool,
        oids: Vec<u32>,
    },
    Message {
        transactional: bool,
        lsn: u64,
        prefix: &'a str,
        content: &'a [u8],
    },
}

type Row<'a> = Vec<Column<'a>>;

#[derive(Arbitrary, Debug)]
enum Column<'a> {
    Null,
    Unchanged,
    Text(&'a str),
}

fuzz_target!(|input: Input<'_>| {
    let frame = match &input {
        Input::Begin { commit, time, xid } => whole(&Message::Begin {
            commit: Lsn(*commit),
            time: *time,
            xid: *xid,
        }),
        Input::Commit { commit, end, time } => whole(&Message::Commit {
            commit: Lsn(*commit),
            end: Lsn(*end),
            time: *time,
        }),
        Input::Origin { commit, name } => whole(&Message::Origin {
            commit: Lsn(*commit),
            name: text(name),
        }),
        Input::Relation {
            oid,
            schema,
            name,
            identity,
            columns,
        } => {
            let columns = columns
                .iter()
                .take(1600)
                .map(|(key, name, type_oid, typmod)| RawColumn {
                    key: *key,
                    name: text(name),
                    type_oid: *type_oid,
                    typmod: *typmod,
                });
            whole(&Message::Relation(RawRelation {
                oid: *oid,
                schema: text(schema),
                name: text(name),
                identity: match identity % 4 {
                    0 => ReplicaIdentity::Default,
                    1 => ReplicaIdentity::Nothing,
                    2 => ReplicaIdentity::Full,
                    _ => ReplicaIdentity::Index,
                },
                columns: columns.collect(),
            }))
        }
        Input::Type { oid, schema, name } => whole(&Message::Type {
            oid: *oid,
            schema: text(schema),
            name: text(name),
        }),
        Input::Truncate {
            cascade,
            restart_identity,
            oids,
        } => whole(&Message::Truncate {
            cascade: *cascade,
            restart_identity: *restart_identity,
            relations: oids.as_slice().into(),
        }),
        Input::Message {
            transactional,
            lsn,
            prefix,
            content,
        } => whole(&Message::Message {
            transactional: *transactional,
            lsn: Lsn(*lsn),
            prefix: text(prefix),
            content,
        }),
        Input::Insert { oid, new } => {
            let frame = encode::insert(*oid, &cells(new));
            let Ok(Message::Insert {
                relation,
                new: spans,
            }) = message::parse(&frame)
            else {
                panic!()
            };
            assert_eq!(relation, *oid);
            same(&frame, &spans, new);
            frame
        }
        Input::Update { oid, old, new } => {
            let old_cells = old.as_ref().map(|(_, row)| cells(row)).unwrap_or_default();
            let sent = match old {
                None => OldCells::None,
                Some((false, _)) => OldCells::Key(&old_cells),
                Some((true, _)) => OldCells::Full(&old_cells),
            };
            let frame = encode::update(*oid, sent, &cells(new));
            let Ok(Message::Update {
                old: raw,
                new: spans,
                ..
            }) = message::parse(&frame)
            else {
                panic!()
            };
            same(&frame, &spans, new);
            match (raw, old) {
                (RawOld::None, None) => {}
                (RawOld::Key(spans), Some((false, row)))
                | (RawOld::Full(spans), Some((true, row))) => {
                    same(&frame, &spans, row);
                }
                other => panic!("{other:?}"),
            }
            frame
        }
        Input::Delete { oid, full, old } => {
            let row = cells(old);
            let frame = encode::delete(
                *oid,
                if *full {
                    OldCells::Full(&row)
                } else {
                    OldCells::Key(&row)
                },
            );
            match message::parse(&frame) {
                Ok(Message::Delete {
                    old: RawOld::Key(spans),
                    ..
                }) if !full => same(&frame, &spans, old),
                Ok(Message::Delete {
                    old: RawOld::Full(spans),
                    ..
                }) if *full => same(&frame, &spans, old),
                other => panic!("{other:?}"),
            }
            frame
        }
    };
    let read = message::parse(&frame).unwrap();
    assert_eq!(encode::raw(&read, &frame), frame);
    assert!(message::parse(&frame[..frame.len() - 1]).is_err());
});

/// The frame of a message without rows, which has to read as that message.
fn whole(message: &Message<'_>) -> Bytes {
    let frame = encode::raw(message, &[]);
    assert_eq!(message::parse(&frame).as_ref(), Ok(message));
    frame
}

/// Names end at a NUL.
fn text(text: &str) -> &str {
    text.split('\0').next().unwrap_or_default()
}

fn cells<'a>(row: &'a Row<'_>) -> Vec<Cell<'a>> {
    let cells = row.iter().take(1600).map(|column| match column {
        Column::Null => Cell::Null,
        Column::Unchanged => Cell::Unchanged,
        Column::Text(text) => Cell::Text(text),
    });
    cells.collect()
}

fn same(frame: &[u8], spans: &[Span], row: &Row<'_>) {
    assert_eq!(spans.len(), row.len().min(1600));
    for (span, column) in spans.iter().zip(row) {
        match (span, column) {
            (Span::Null, Column::Null) | (Span::Unchanged, Column::Unchanged) => {}
            (Span::Text { offset, len }, Column::Text(text)) => {
                assert_eq!(&frame[*offset as usize..][..*len as usize], text.as_bytes());
            }
            other => panic!("{other:?}"),
        }
    }
}
