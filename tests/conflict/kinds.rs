//! What the CRM gives back is what we sent: values of every kind, written, read again before they are
//! written anew, and never taken for somebody's edit.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use crate::world::World;

const KINDS: [(&str, &str, &str); 12] = [
    (
        "line",
        "text",
        r#"{"type":"Text","label":"T","length":255}"#,
    ),
    (
        "story",
        "text",
        r#"{"type":"LongTextArea","label":"T","length":4000,"visibleLines":3}"#,
    ),
    ("mail", "text", r#"{"type":"Email","label":"T"}"#),
    ("tel", "text", r#"{"type":"Phone","label":"T"}"#),
    ("site", "text", r#"{"type":"Url","label":"T"}"#),
    (
        "amount",
        "numeric",
        r#"{"type":"Number","label":"T","precision":16,"scale":2}"#,
    ),
    (
        "whole",
        "int8",
        r#"{"type":"Number","label":"T","precision":15,"scale":0}"#,
    ),
    (
        "vip",
        "bool",
        r#"{"type":"Checkbox","label":"T","defaultValue":false}"#,
    ),
    ("born", "date", r#"{"type":"Date","label":"T"}"#),
    ("seen", "timestamptz", r#"{"type":"DateTime","label":"T"}"#),
    ("wakes", "time", r#"{"type":"Time","label":"T"}"#),
    (
        "share",
        "float8",
        r#"{"type":"Percent","label":"T","precision":10,"scale":3}"#,
    ),
];

fn name(column: &str) -> String {
    format!("K_{column}__c")
}

/// A literal of SQL for each kind.
fn row() -> impl Strategy<Value = Vec<String>> {
    let quoted = |s: String| format!("E'{}'", s.replace('\\', "\\\\").replace('\'', "''"));
    let text = "[ \ta-zA-Z0-9äß€😀'\"\\\\;,.:<>&-]{0,60}".prop_map(quoted);
    let lines = "[ a-z\n\r\täß]{0,80}".prop_map(quoted);
    let mail = "[a-z]{1,12}@[a-z]{1,10}\\.(com|example)".prop_map(quoted);
    let tel = "[+0-9 ()/-]{0,30}".prop_map(quoted);
    let site = "https://[a-z]{1,20}\\.example/[a-z0-9?=&]{0,20}".prop_map(quoted);
    let amount = (any::<i32>(), 0..10_000_u32).prop_map(|(n, f)| format!("{n}.{f:04}"));
    let whole = (-99_999_999_999_i64..99_999_999_999).prop_map(|n| n.to_string());
    let vip = prop_oneof![Just("true"), Just("false"), Just("NULL")].prop_map(str::to_owned);
    let born = (0..20_000_i32).prop_map(|n| format!("date '1950-01-01' + {n}"));
    let seen = (0..2_000_000_000_i64, 0..1_000_000_u32)
        .prop_map(|(s, f)| format!("to_timestamp({s}.{f:06})"));
    let wakes = (0..86_400_u32, 0..1_000_000_u32).prop_map(|(s, f)| {
        format!(
            "time '{:02}:{:02}:{:02}.{f:06}'",
            s / 3600,
            s / 60 % 60,
            s % 60
        )
    });
    let share = (-1_000_000_i32..1_000_000).prop_map(|n| format!("{}", f64::from(n) / 137.0));
    let null = |s: BoxedStrategy<String>| prop_oneof![6 => s, 1 => Just("NULL".to_owned())];
    (
        (null(text.boxed()), null(lines.boxed()), null(mail.boxed())),
        (null(tel.boxed()), null(site.boxed()), null(amount.boxed())),
        (null(whole.boxed()), vip, null(born.boxed())),
        (null(seen.boxed()), null(wakes.boxed()), null(share.boxed())),
    )
        .prop_map(|(a, b, c, d)| vec![a.0, a.1, a.2, b.0, b.1, b.2, c.0, c.1, c.2, d.0, d.1, d.2])
}

#[test]
fn p5_values_of_every_kind_come_back_as_they_were_sent() {
    let columns: Vec<String> = KINDS
        .iter()
        .map(|(column, ..)| {
            format!(
                "columns.{column} = {{ field = {:?}, owner = \"newest\" }}",
                name(column)
            )
        })
        .collect();
    let columns = format!("columns.last_name = \"LastName\"\n{}", columns.join("\n"));
    let mut world = World::prepare("", &columns);
    for (column, sql, metadata) in KINDS {
        world
            .crm
            .put(&format!("fields/Contact/{}", name(column)), metadata);
        world
            .postgres
            .psql(&format!("ALTER TABLE customer ADD {column} {sql}"));
    }
    world.run();
    const ROWS: usize = 300;
    let mut runner = TestRunner::new(Config::default());
    let mut rows = || -> Vec<Vec<String>> {
        let tree = proptest::collection::vec(row(), ROWS).new_tree(&mut runner);
        tree.unwrap().current()
    };
    let values: Vec<String> = rows()
        .iter()
        .enumerate()
        .map(|(i, row)| format!("({i}, 'Lee', {})", row.join(", ")))
        .collect();
    let names: Vec<&str> = KINDS.iter().map(|(column, ..)| *column).collect();
    let names = names.join(", ");
    world.change(&format!(
        "INSERT INTO customer (id, last_name, {names}) VALUES {}",
        values.join(", ")
    ));
    for round in 0..3 {
        // Somebody else is the last to have changed every record: only what it holds tells that our
        // fields are as we left them.
        for id in 0..ROWS as u32 {
            world.edit(id, json!({"Department": format!("d{round}")}));
        }
        let sets: Vec<String> = rows()
            .iter()
            .enumerate()
            .map(|(i, row)| {
                let sets = KINDS
                    .iter()
                    .zip(row)
                    .map(|((c, ..), v)| format!("{c} = {v}"));
                format!(
                    "UPDATE customer SET {} WHERE id = {i};",
                    sets.collect::<Vec<_>>().join(", ")
                )
            })
            .collect();
        // Their commit times lie before the edits: a field that looked changed would be kept.
        world.sidecar.stop();
        world
            .postgres
            .psql(&format!("BEGIN; {} COMMIT", sets.join("\n")));
        for id in 0..ROWS as u32 {
            world.edit(id, json!({"Department": format!("e{round}")}));
        }
        world.sidecar.start();
        world.through();
        let status = world.sidecar.status().unwrap();
        assert_eq!(status["kept_fields"]["since_start"], 0, "{status:#}");
        assert_eq!(
            status["shelf"]["dead_letter"],
            0,
            "{:#}",
            world.sidecar.get("/pending").unwrap()
        );
    }
    world.end();
}

use proptest::strategy::ValueTree as _;
