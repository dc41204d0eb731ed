//! `syncline demo` to its end: what a newcomer runs first has to work.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The numbers of a line of the output.
fn numbers<T: std::str::FromStr>(line: &str) -> Vec<T> {
    line.replace(',', "")
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

fn line<'a>(text: &'a str, beginning: &str) -> &'a str {
    text.lines()
        .map(str::trim)
        .find(|l| l.starts_with(beginning))
        .unwrap_or_else(|| panic!("no line {beginning:?} in:\n{text}"))
}

#[test]
fn both_sides_are_the_same_at_the_end_of_the_demo() {
    let began = Instant::now();
    let out = Command::new(env!("CARGO_BIN_EXE_syncline"))
        .arg("demo")
        .env(
            "SYNCLINE_SOURCE__URL",
            "postgres://nobody@127.0.0.1:1/nothing",
        )
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{}\n{text}\n{errors}", out.status);
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "it took {:?}",
        began.elapsed()
    );

    assert!(line(&text, "differences").contains(" 0 in "), "{text}");
    assert!(line(&text, "promises broken").ends_with(" 0"), "{text}");
    assert!(
        line(&text, "dead letters").ends_with("2 opened, 2 closed, 0 open"),
        "{text}"
    );
    assert!(line(&text, "run time").ends_with(" s"), "{text}");
    for word in [
        "API calls",
        "faults injected",
        "lag, median",
        "lag, longest",
    ] {
        assert!(
            numbers::<f64>(line(&text, word)).iter().any(|n| *n > 0.0),
            "{text}"
        );
    }
    assert_eq!(text.matches("! kill -9 ").count(), 2, "{text}");

    // The rows of before arrive by backfill, with a line of progress where there is no terminal.
    assert!(
        line(&text, "rows loaded").contains("3,600 of 3,600 by backfill"),
        "{text}"
    );
    let progress = |l: &str| l.contains(" rows (") && l.contains(" %)");
    assert!(text.lines().any(progress), "{text}");
    let loaded = |table: &str| {
        let words = format!("public.{table}: loaded, ");
        let found = text.find(&words);
        found.unwrap_or_else(|| panic!("{table} was not loaded:\n{text}"))
    };
    let order = ["company", "customer", "deal"].map(loaded);
    assert!(order.is_sorted(), "parents first: {text}");

    // A column was added and filled, another one renamed.
    assert!(
        line(&text, "fields made").contains("1: Contact.Tier__c; "),
        "{text}"
    );
    assert!(text.contains("Tier__c is ") && text.contains(", 0 differ from Postgres"));
    let changes = line(&text, "schema changes");
    for word in ["column_added 1", "column_renamed 1", "; 0 values lost"] {
        assert!(changes.contains(word), "{text}");
    }
    assert!(text.contains("moved by that transaction, 0 lost"), "{text}");
    assert!(text.contains("3,600 rows of before are no changes"));
    assert!(text.contains("ignored (logical messages)"), "{text}");

    // Every change has exactly one verdict.
    for table in ["company", "customer", "deal", "all"] {
        let row = numbers::<i64>(line(&text, table));
        let [verdicts @ .., sum, committed] = row.as_slice() else {
            panic!("{table}: {row:?}");
        };
        assert_eq!(verdicts.len(), 7, "{table}: {row:?}");
        assert_eq!(verdicts.iter().sum::<i64>(), *sum, "{table}: {row:?}");
        assert_eq!(sum, committed, "{table}: {row:?}");
        assert!(*committed > 50, "{table}: {row:?}");
    }
}
