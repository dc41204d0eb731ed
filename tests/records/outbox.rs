//! Logical messages that become records: against the binary, a real Postgres and the sandbox.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::driver::{PATIENCE, Rules, World};
use crate::support::crm::{Crm, EXTERNAL_ID};
use crate::support::postgres::{Options, Postgres};
use crate::support::sidecar::{Sidecar, lsn};

const TASK: &str = r#"
[outbox."crm.task"]
object = "Task"
key = { field = "Message_Id__c" }
constants = { Priority = "Low" }
members.subject = "Subject"
members.due = { field = "ActivityDate", on_invalid = "reject" }
members.company = { field = "What", references = "public.company" }
members."/about/customer" = { field = "Who", references = "public.customer" }
"#;

const SCORE: &str = r#"
[outbox."crm.score"]
object = "Case"
key = { member = "id", field = "Message_Id__c" }
members.subject = "Subject"
members.text = "Description"
unknown = "reject"
"#;

const TABLE: &str = "outbox.\"crm.task\"";

fn prepare(more: &str) -> World {
    let world = World::prepare(&Rules {
        more,
        ..Rules::default()
    });
    for object in ["Task", "Case"] {
        world
            .crm
            .put(&format!("fields/{object}/Message_Id__c"), EXTERNAL_ID);
    }
    world
}

fn start(more: &str) -> World {
    let mut world = prepare(more);
    world.sidecar.start();
    world.running();
    world
}

/// A statement that emits a message.
fn emit(prefix: &str, content: &Value) -> String {
    let content = content.to_string().replace('\'', "''");
    format!("SELECT pg_logical_emit_message(true, '{prefix}', '{content}');")
}

/// The tasks by subject, each with these fields.
fn tasks(world: &World, fields: &str) -> BTreeMap<String, Vec<Value>> {
    let mut tasks: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let names: Vec<&str> = fields.split(',').collect();
    for record in world.crm.records("Task", &format!("Subject,{fields}")) {
        let values = names.iter().map(|n| record[*n].clone());
        let subject = record["Subject"].as_str().unwrap().to_owned();
        let before = tasks.insert(subject, values.collect());
        assert!(before.is_none(), "doubled: {record}");
    }
    tasks
}

#[test]
fn p4_a_message_comes_after_the_rows_of_its_transaction() {
    let mut world = start(TASK);
    let call = emit(
        "crm.task",
        &json!({"subject": "Call", "due": "2026-12-24", "company": 1, "about": {"customer": 7}}),
    );
    let mail = emit(
        "crm.task",
        &json!({"subject": "It's \"mail\"\n", "company": "1"}),
    );
    // The message that refers to a row stands before it in one transaction, behind it in another.
    world.change(&format!(
        "BEGIN; {call} INSERT INTO company VALUES (1, 'One');
         INSERT INTO customer VALUES (7, 'Lee', NULL, 1); {mail} COMMIT"
    ));
    world.change(&format!(
        "BEGIN; {} ROLLBACK; SELECT pg_logical_emit_message(true, 'other', 'x')",
        emit("crm.task", &json!({"subject": "Never"}))
    ));
    world.change(&emit("crm.task", &json!({"subject": "Alone", "due": null})));
    let shown = tasks(&world, "WhatId,WhoId,ActivityDate,Priority");
    let (what, who) = (world.id("Account", "1"), world.id("Contact", "7"));
    assert!(what.is_some() && who.is_some());
    let expected = [
        ("Alone", json!([null, null, null, "Low"])),
        ("Call", json!([what, who, "2026-12-24", "Low"])),
        ("It's \"mail\"", json!([what, null, null, "Low"])),
    ];
    let expected: BTreeMap<String, Vec<Value>> = expected
        .into_iter()
        .map(|(s, v)| (s.to_owned(), v.as_array().unwrap().clone()))
        .collect();
    assert_eq!(shown, expected);
    world.accounts_for(TABLE, 3);
    assert_eq!(world.verdict(TABLE, "applied"), 3);
    world.end();
}

#[test]
fn p3_a_message_waits_for_the_record_that_it_refers_to() {
    let mut world = start(TASK);
    world
        .postgres
        .psql("INSERT INTO customer VALUES (8, repeat('x', 200))");
    let to = |id: i32| {
        emit(
            "crm.task",
            &json!({"subject": id.to_string(), "about": {"customer": id}}),
        )
    };
    world.change(&format!("{} {}", to(8), to(9)));
    world.shelved("waiting", 2);
    assert!(tasks(&world, "Id").is_empty());
    world.change("UPDATE customer SET last_name = 'Lee' WHERE id = 8; INSERT INTO customer VALUES (9, 'Kim')");
    world.shelf_empty();
    let shown = tasks(&world, "WhoId");
    for id in ["8", "9"] {
        assert_eq!(shown[id], [json!(world.id("Contact", id))]);
    }
    world.accounts_for(TABLE, 2);
    world.end();
}

#[test]
fn p6_what_cannot_be_written_is_a_dead_letter_that_keeps_it() {
    let mut world = start(&format!("{TASK}{SCORE}"));
    let loose = "SELECT pg_logical_emit_message(false, 'crm.task', '{\"subject\": \"loose\"}');";
    let broken = "SELECT pg_logical_emit_message(true, 'crm.task', '{\"subject\": \"hal');";
    let binary = "SELECT pg_logical_emit_message(true, 'crm.task', '\\xff00'::bytea);";
    let late = emit("crm.task", &json!({"subject": "late", "due": "tomorrow"}));
    let strange = emit("crm.score", &json!({"id": 1, "subject": "s", "colour": 2}));
    let none = emit("crm.score", &json!({"subject": "s"}));
    let good = emit("crm.task", &json!({"subject": "good"}));
    for statement in [loose, broken, binary, &late, &strange, &none, &good] {
        world.change(statement);
    }
    world.shelved("dead_letter", 6);
    assert_eq!(tasks(&world, "Id").len(), 1);
    let letters = world.cli(&["pending", "export"]);
    let mut told: Vec<(String, String)> = letters
        .lines()
        .map(|line| {
            let letter: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| letter[name].as_str().unwrap().to_owned();
            assert!(
                text("advice").starts_with("emit a correct message"),
                "{letter}"
            );
            (text("code"), text("message"))
        })
        .collect();
    told.sort();
    let codes: Vec<&str> = told.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(
        codes,
        [
            "key_null",
            "not_a_date",
            "outbox_not_json",
            "outbox_not_json",
            "outbox_not_transactional",
            "outbox_unknown_member",
        ]
    );
    let says = |index: usize, what: &str| assert!(told[index].1.contains(what), "{told:?}");
    says(0, "its content: {\"subject\":\"s\"}");
    says(1, "\"due\":\"tomorrow\"");
    assert!(
        told.iter()
            .any(|(_, m)| m.ends_with("its content: {\"subject\": \"hal"))
    );
    assert!(
        told.iter()
            .any(|(_, m)| m.ends_with("its content: \\xff\\x00"))
    );
    says(5, "colour");
    // None of it is in the log.
    assert!(!world.sidecar.log().contains("tomorrow"));
    // A correct message with the same key takes the place of the wrong one.
    world.change(&emit("crm.score", &json!({"id": "1", "subject": "s"})));
    world.shelved("dead_letter", 5);
    assert_eq!(world.crm.records("Case", "Id").len(), 1);
    // What is not whole is not sent by a retry, and a person may be rid of it.
    world.cli(&["dead-letters", "retry", "--all"]);
    world.shelved("dead_letter", 5);
    assert_eq!(tasks(&world, "Id").len(), 1);
    world.cli(&["dead-letters", "discard", "--all", "--yes"]);
    world.shelf_empty();
    world.accounts_for(TABLE, 5);
    world.accounts_for("outbox.\"crm.score\"", 3);
    world.end();
}

#[test]
fn a_second_message_with_a_key_changes_its_record_or_does_not() {
    let ignoring = SCORE.replace("unknown = \"reject\"", "on_repeat = \"ignore\"");
    for (section, text, applied, ignored) in [
        (SCORE, json!("new"), 3, 0),
        (&*ignoring, json!("old"), 2, 1),
    ] {
        let mut world = start(section);
        let score = |id: i32, text: &str| {
            emit(
                "crm.score",
                &json!({"id": id, "subject": "s", "text": text}),
            )
        };
        world.change(&score(1, "old"));
        world.change(&score(1, "new"));
        world.change(&score(2, "x"));
        let records = world.crm.records("Case", "Message_Id__c,Description");
        assert_eq!(records.len(), 2);
        let first = records.iter().find(|r| r["Message_Id__c"] == "1").unwrap();
        assert_eq!(first["Description"], text);
        let table = "outbox.\"crm.score\"";
        assert_eq!(world.verdict(table, "applied"), applied);
        assert_eq!(world.verdict(table, "ignored"), ignored);
        world.accounts_for(table, 3);
        world.end();
    }
}

/// Far more messages and rows than a window holds, in one transaction, and a `kill -9` in its middle.
#[test]
fn p3_a_large_transaction_is_sent_once_message_by_message() {
    let count = 3_000;
    let mut world = prepare(TASK);
    world.sidecar.sets = vec!["delivery.max_rows=200".into()];
    world.sidecar.start();
    world.running();
    world.postgres.psql(&format!(
        "BEGIN;
         INSERT INTO company SELECT n, 'C' || n FROM generate_series(1, {count}) n;
         SELECT count(pg_logical_emit_message(true, 'crm.task',
           json_build_object('subject', 's' || n, 'company', n)::text)) FROM generate_series(1, {count}) n;
         INSERT INTO customer SELECT n, 'L' || n FROM generate_series(1, {count}) n;
         COMMIT"
    ));
    let deadline = Instant::now() + PATIENCE;
    while world.crm.records("Task", "Id").is_empty() {
        assert!(Instant::now() < deadline, "{}", world.sidecar.tail());
    }
    world.sidecar.kill();
    world.sidecar.start();
    world.running();
    world.through();
    let shown = tasks(&world, "WhatId");
    assert_eq!(shown.len(), count);
    assert!(shown.values().all(|t| t[0].is_string()));
    assert_eq!(world.count("Contact"), count);
    world.accounts_for(TABLE, count as i64);
    world.end();
}

/// The CRM fails in a few percent of requests, also after it has written, and we are killed again and
/// again: each message is one record all the same.
#[test]
fn p1_p3_kills_neither_lose_nor_double_a_message() {
    let faults = "throttle=1%,unavailable=1%,lost=3%,cut=2%,lock=0.3%,seed=7";
    let mut world = prepare(&format!("{TASK}[delivery]\nlinger = \"10ms\"\n"));
    world
        .crm
        .put("faults", &json!({"spec": faults}).to_string());
    world.sidecar.start();
    world.running();
    let postgres = world.postgres.url("postgres");
    let writer = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&postgres, tokio_postgres::NoTls)
                .await
                .unwrap();
            tokio::spawn(connection);
            let mut emitted = 0;
            for n in 1..=600 {
                let message = |k: i32| {
                    emit(
                        "crm.task",
                        &json!({"subject": format!("{n}.{k}"), "company": n}),
                    )
                };
                let end = if n % 10 == 0 { "ROLLBACK" } else { "COMMIT" };
                let sql = format!(
                    "BEGIN; {} INSERT INTO company VALUES ({n}, 'C{n}'); {} {end}",
                    message(1),
                    message(2)
                );
                client.batch_execute(&sql).await.unwrap();
                if n % 10 != 0 {
                    emitted += 2;
                }
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
            emitted
        })
    });
    let mut kills = 0;
    while !writer.is_finished() || kills < 6 {
        std::thread::sleep(Duration::from_millis(700 + kills * 37 % 900));
        world.sidecar.kill();
        kills += 1;
        world.sidecar.start();
    }
    let emitted: usize = writer.join().unwrap();
    world.running();
    world.through();
    world.shelf_empty();
    let shown = tasks(&world, "WhatId");
    assert_eq!(shown.len(), emitted, "after {kills} kills");
    assert!(shown.values().all(|t| t[0].is_string()));
    world.accounts_for(TABLE, emitted as i64);
    // P1: what Postgres was told is never ahead of what is settled, so that nothing is left behind.
    let status = world.sidecar.status().unwrap();
    let at = |name: &str| lsn(status["source"][name].as_str().unwrap());
    assert!(at("reported_lsn") <= at("durable_lsn"));
    world.end();
}

#[test]
fn check_tells_what_is_wrong_with_a_section() {
    let world = prepare(&TASK.replace("\"Subject\"", "\"Subjekt\""));
    let out = world.sidecar.cli(&["check"]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(out.status.code(), Some(2), "{text}");
    assert!(
        text.contains("outbox.\"crm.task\".members.subject: Task has no field Subjekt"),
        "{text}"
    );
    let world = prepare(TASK);
    let out = world.sidecar.cli(&["check"]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{text}");
    assert!(!text.contains("Warnings\n  outbox"), "{text}");
}

/// A field that goes while it runs holds the messages that need it, and frees them when it is back.
#[test]
fn p9_a_field_that_vanishes_holds_its_messages() {
    let field = r#"{"type":"Text","label":"T","length":80}"#;
    let section = TASK.replace(
        "members.due =",
        "members.note = \"Extra__c\"\nmembers.due =",
    );
    let section = format!("{section}[watch]\ncrm = \"300ms\"\n");
    let mut world = prepare(&section);
    world.crm.put("fields/Task/Extra__c", field);
    world.sidecar.start();
    world.running();
    let noted = |s: &str| emit("crm.task", &json!({"subject": s, "note": "n"}));
    world.change(&noted("a"));
    let vanish = |world: &World, yes: bool| {
        let change = json!({"object": "Task", "field": "Extra__c", "vanish": yes});
        world.crm.put("schema", &change.to_string());
    };
    vanish(&world, true);
    let told = |s: &Value| {
        let findings = s["findings"].as_array().unwrap();
        let place = "outbox.\"crm.task\".members.note";
        findings
            .iter()
            .any(|f| f["place"] == place && f["severity"] == "problem")
    };
    world.sidecar.wait_until("it is told", PATIENCE, told);
    world.change(&format!(
        "{} {}",
        noted("b"),
        emit("crm.task", &json!({"subject": "c"}))
    ));
    world.shelved("held", 1);
    assert_eq!(tasks(&world, "Id").len(), 2);
    vanish(&world, false);
    world.shelf_empty();
    assert_eq!(tasks(&world, "Extra__c")["b"], [json!("n")]);
    world.accounts_for(TABLE, 3);
    world.end();
}

#[test]
fn messages_need_no_table() {
    let postgres = Postgres::start(Options::default());
    let crm = Crm::start(None);
    crm.put("fields/Case/Message_Id__c", EXTERNAL_ID);
    let mut sidecar = Sidecar::new(&format!(
        "[source]\nurl = \"{}\"\n[destination]\nkind = \"salesforce\"\nurl = \"{}\"\n\
         client_id = \"sandbox\"\nclient_secret = \"sandbox\"\n{SCORE}",
        postgres.url("postgres"),
        crm.url()
    ));
    let check = sidecar.cli(&["check"]);
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stdout)
    );
    sidecar.start();
    sidecar.wait_until("it runs", PATIENCE, |s| s["state"] == "running");
    postgres.psql(&emit("crm.score", &json!({"id": 1, "subject": "s"})));
    sidecar.wait_until("it is there", PATIENCE, |s| {
        s["verdicts"]["outbox.\"crm.score\""]["applied"] == 1
    });
    assert_eq!(crm.records("Case", "Id").len(), 1);
    sidecar.stop();
}
