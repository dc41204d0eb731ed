#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::eval::like;
use super::parser::parse;
use super::{Viewer, run};
use crate::store::Store;

#[test]
fn like_knows_its_wildcards() {
    for (text, pattern, holds) in [
        ("acme", "acme", true),
        ("acme", "a%", true),
        ("acme", "%c%e", true),
        ("acme", "a_m_", true),
        ("acme", "a_m", false),
        ("acme", "%x%", false),
        ("", "%", true),
        ("100%", "100\\%", true),
        ("1000", "100\\%", false),
        ("aaab", "%ab", true),
    ] {
        assert_eq!(like(text, pattern), holds, "{text} LIKE {pattern}");
    }
}

#[test]
fn every_cut_and_every_swap_of_a_query_is_refused_or_read_but_never_panics() {
    let store = Store::new(std::sync::Arc::new(crate::clock::Clock::new(
        crate::clock::Pace::ahead(0),
    )));
    let whole = "SELECT Id, Account.Name, FIELDS(ALL) FROM Contact c WHERE (LastName LIKE 'a\\u00e4%' AND NOT \
                 CreatedDate >= 2026-11-04T12:10:35+01:00) OR Email IN ('ä', NULL) ORDER BY LastName DESC \
                 NULLS LAST LIMIT 20 OFFSET 3";
    assert!(parse(whole).is_ok());
    for (at, _) in whole.char_indices() {
        let _ = run(&store, Viewer::Sandbox, &whole[..at], false, 0);
        let _ = run(&store, Viewer::Sandbox, &whole[at..], false, 0);
        for junk in ["'", "\\", "é", "(", "", " 9-"] {
            let _ = run(
                &store,
                Viewer::Sandbox,
                &format!("{}{junk}{}", &whole[..at], &whole[at..]),
                false,
                0,
            );
        }
    }
    let deep = format!(
        "SELECT Id FROM Contact WHERE {}LastName = 'x'",
        "NOT ".repeat(100_000)
    );
    assert!(run(&store, Viewer::Sandbox, &deep, false, 0).is_err());
    let deep = format!("SELECT Id FROM Contact WHERE {}", "(".repeat(50_000));
    assert!(run(&store, Viewer::Sandbox, &deep, false, 0).is_err());
}
