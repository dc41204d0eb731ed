//! Every message of the protocol, as a real Postgres sends it, in one stream.

use std::fmt::Write as _;

use syncline::capture::Frame;
use syncline::change::{Change, Datum, Kind, OldRow, Position, Relation, Tuple};
use syncline::decode::{Decoded, Decoder, Types, resolve};

use crate::server::{Server, create_slot, peek, types};

/// What a decoded message says, in a line that a person can check.
fn line(decoded: &Decoded) -> String {
    match decoded {
        Decoded::Begin { .. } => "begin".into(),
        Decoded::Commit { .. } => "commit".into(),
        Decoded::Origin { name } => format!("origin {name}"),
        Decoded::Change(change) => change_line(change),
        Decoded::Truncate(changes) => {
            let lines: Vec<_> = changes.iter().map(change_line).collect();
            lines.join("; ")
        }
        Decoded::Schema {
            relation,
            position,
            changed,
        } => {
            let columns = relation
                .columns
                .iter()
                .map(|column| format!("{}{}", column.name, if column.key { "*" } else { "" }));
            let columns: Vec<_> = columns.collect();
            let new = if *changed { "new" } else { "known" };
            let (table, ordinal) = (relation.qualified(), position.ordinal);
            format!(
                "{new} {table} {:?} ({}) from {ordinal}",
                relation.identity,
                columns.join(" ")
            )
        }
    }
}

fn change_line(change: &Change) -> String {
    let table = change
        .relation
        .as_ref()
        .map_or("-", |relation| &relation.name);
    let row = |tuple: &Tuple| row_line(change.relation.as_ref().unwrap(), tuple);
    let old = |old: &OldRow| match old {
        OldRow::None => String::new(),
        OldRow::Key(tuple) => format!("key({}) ", row(tuple)),
        OldRow::Full(tuple) => format!("full({}) ", row(tuple)),
    };
    let what = match &change.kind {
        Kind::Insert { new } => format!("insert {table} {}", row(new)),
        Kind::Update { old: before, new } => format!("update {table} {}{}", old(before), row(new)),
        Kind::Delete { old: before } => format!("delete {table} {}", old(before).trim_end()),
        Kind::Truncate => format!("truncate {table}"),
        Kind::Message {
            prefix,
            content,
            transactional,
        } => {
            let fate = if *transactional {
                ""
            } else {
                " of no transaction"
            };
            format!(
                "message{fate} {prefix}={}",
                String::from_utf8_lossy(content)
            )
        }
    };
    format!("{}: {what}", change.position.ordinal)
}

fn row_line(relation: &Relation, tuple: &Tuple) -> String {
    let mut line = String::new();
    for at in 0..relation.columns.len() {
        if at > 0 {
            line.push(',');
        }
        match tuple.get(at) {
            Datum::Null => line.push('-'),
            Datum::Unchanged => line.push('='),
            Datum::Text(text) if text.len() > 100 => write!(line, "<{}>", text.len()).unwrap(),
            Datum::Text(text) => line.push_str(std::str::from_utf8(text).unwrap()),
        }
    }
    line
}

const SETUP: &str = "
    CREATE TABLE plain (id int PRIMARY KEY, name text, long text);
    CREATE TABLE whole (id int PRIMARY KEY, long text);
    CREATE TABLE by_index (id int PRIMARY KEY, code text NOT NULL, name text);
    CREATE TABLE nothing (id int, name text);
    CREATE UNIQUE INDEX by_code ON by_index (code);
    ALTER TABLE plain ALTER long SET STORAGE EXTERNAL;
    ALTER TABLE whole ALTER long SET STORAGE EXTERNAL;
    ALTER TABLE whole REPLICA IDENTITY FULL;
    ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_code;
    ALTER TABLE nothing REPLICA IDENTITY NOTHING;
    CREATE PUBLICATION p FOR ALL TABLES;
    SELECT pg_replication_origin_create('elsewhere');";

/// Each block is one transaction.
const SCRIPT: &[&str] = &[
    "INSERT INTO plain VALUES (1, 'a', repeat('x', 9000)), (2, NULL, '');
     UPDATE plain SET name = 'b' WHERE id = 1;
     UPDATE plain SET id = 3 WHERE id = 1;
     DELETE FROM plain WHERE id = 3;",
    "INSERT INTO whole VALUES (1, repeat('x', 9000));
     UPDATE whole SET id = 2;
     UPDATE whole SET long = NULL;
     DELETE FROM whole;",
    "INSERT INTO by_index VALUES (1, 'c', 'n');
     UPDATE by_index SET id = 2;
     UPDATE by_index SET code = 'd';
     DELETE FROM by_index;",
    "INSERT INTO nothing VALUES (1, 'n');",
    "SELECT pg_logical_emit_message(true, 'outbox', 'one');
     INSERT INTO plain VALUES (4, 'x', NULL);
     TRUNCATE plain, whole;
     SELECT pg_logical_emit_message(true, 'outbox', 'two');",
    "INSERT INTO plain VALUES (5, 'x', NULL);
     ALTER TABLE plain RENAME name TO title;
     INSERT INTO plain VALUES (6, 'y', NULL);
     ALTER TABLE plain DROP long;
     INSERT INTO plain VALUES (7, 'z');",
    "ANALYZE plain;
     INSERT INTO plain VALUES (8, 'w');",
    "INSERT INTO plain VALUES (9, 'v');
     SELECT pg_logical_emit_message(false, 'signal', 'now');",
];

const EXPECTED: &[&str] = &[
    "begin",
    "new public.plain Default (id* name long) from 0",
    "0: insert plain 1,a,<9000>",
    "1: insert plain 2,-,",
    "2: update plain 1,b,=",
    "3: update plain key(1,-,-) 3,b,=",
    "4: delete plain key(3,-,-)",
    "commit",
    "begin",
    "new public.whole Full (id* long*) from 0",
    "0: insert whole 1,<9000>",
    "1: update whole full(1,<9000>) 2,<9000>",
    "2: update whole full(2,<9000>) 2,-",
    "3: delete whole full(2,-)",
    "commit",
    "begin",
    "new public.by_index Index (id code* name) from 0",
    "0: insert by_index 1,c,n",
    "1: update by_index 2,c,n",
    "2: update by_index key(-,c,-) 2,d,n",
    "3: delete by_index key(-,d,-)",
    "commit",
    "begin",
    "new public.nothing Nothing (id name) from 0",
    "0: insert nothing 1,n",
    "commit",
    "begin",
    "0: message outbox=one",
    "1: insert plain 4,x,-",
    "2: truncate plain; 3: truncate whole",
    "4: message outbox=two",
    "commit",
    "begin",
    "known public.plain Default (id* name long) from 0",
    "0: insert plain 5,x,-",
    "new public.plain Default (id* title long) from 1",
    "1: insert plain 6,y,-",
    "new public.plain Default (id* title) from 2",
    "2: insert plain 7,z",
    "commit",
    "begin",
    "known public.plain Default (id* title) from 0",
    "0: insert plain 8,w",
    "commit",
    "0: message of no transaction signal=now",
    "begin",
    "0: insert plain 9,v",
    "commit",
    "begin",
    "origin elsewhere",
    "0: insert plain 10,o",
    "commit",
];

#[tokio::test]
async fn every_message_comes_through() {
    let server = Server::start().await;
    let client = server.connect().await;
    client.batch_execute(SETUP).await.unwrap();
    create_slot(&client).await;
    for transaction in SCRIPT {
        client
            .batch_execute(&format!("BEGIN; {transaction} COMMIT"))
            .await
            .unwrap();
    }
    let from_elsewhere = "SELECT pg_replication_origin_session_setup('elsewhere');
        BEGIN;
        SELECT pg_replication_origin_xact_setup('0/ABC', now());
        INSERT INTO plain VALUES (10, 'o');
        COMMIT;";
    for statement in from_elsewhere.split_inclusive(';') {
        client.batch_execute(statement).await.unwrap();
    }

    let mut decoder = Decoder::new(Types::new(types(&client).await), Vec::new());
    let first = decode(&mut decoder, &peek(&client).await);
    let lines: Vec<_> = first.iter().map(line).collect();
    // A relation may come again at any time with nothing new: only where it is new is certain.
    let certain = |line: &&str| !line.starts_with("known");
    let found: Vec<_> = lines.iter().map(|line| &**line).filter(certain).collect();
    let expected: Vec<_> = EXPECTED.iter().copied().filter(certain).collect();
    assert_eq!(found, expected);
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("known public.plain"))
    );
    let first_positions = positions(&first);
    assert!(
        first_positions.is_sorted_by(|a, b| a < b),
        "{first_positions:?}"
    );

    // The slot from its start again, after a reconnect and in a new process: the same positions, and
    // no schema version is new.
    decoder.reset();
    let stored = first.iter().filter_map(|decoded| match decoded {
        Decoded::Schema {
            relation,
            position,
            changed: true,
        } => Some((*position, resolve(relation, None, None))),
        _ => None,
    });
    let mut restarted = Decoder::new(Types::new(types(&client).await), stored.collect());
    for decoder in [&mut decoder, &mut restarted] {
        let again = decode(decoder, &peek(&client).await);
        assert_eq!(positions(&again), first_positions);
        assert!(!again.iter().any(|decoded| line(decoded).starts_with("new")));
    }
}

fn decode(decoder: &mut Decoder, frames: &[Frame]) -> Vec<Decoded> {
    frames
        .iter()
        .filter_map(|frame| {
            let decoded = decoder.decode(frame).unwrap();
            if let Some(Decoded::Schema {
                relation,
                position,
                changed: true,
            }) = &decoded
            {
                decoder.adopt(*position, resolve(relation, None, None));
            }
            decoded
        })
        .collect()
}

fn positions(decoded: &[Decoded]) -> Vec<Position> {
    let mut positions = Vec::new();
    for decoded in decoded {
        match decoded {
            Decoded::Change(change) => positions.push(change.position),
            Decoded::Truncate(changes) => positions.extend(changes.iter().map(|c| c.position)),
            _ => {}
        }
    }
    positions
}
