//! Dead letters from the command line: live and from the store.

use crate::harness::{Place, shared};

const REJECT: &str = r#"{"seed":1,"rules":[{"kind":"reject","external_ids":["7","8","9"],"code":"FIELD_CUSTOM_VALIDATION_EXCEPTION"}]}"#;

fn dead(place: &Place, count: u64) {
    place.until(|s| s["shelf"]["dead_letter"] == count);
}

#[test]
fn dead_letters_are_listed_shown_retried_and_discarded() {
    let place = Place::new(shared(), "letters");
    place.put("/sandbox/faults", REJECT);
    let mut running = place.start();
    // What the first load brings as well is tried as well.
    place.until(|s| {
        let all = s["backfills"].as_array();
        all.is_some_and(|all| !all.is_empty() && all.iter().all(|b| b["state"] == "loaded"))
    });
    shared().psql_in(
        &place.database,
        "INSERT INTO company SELECT g, 'n' || g, 'ph0ne-' || g FROM generate_series(1, 20) g",
    );
    dead(&place, 3);

    let listed = place.cli(&["dead-letters", "list"]).is(0);
    let listed = listed
        .prints("Account  7 ")
        .prints("FIELD_CUSTOM_VALIDATION_EXCEPTION");
    assert!(!listed.out.contains("ph0ne"), "a list shows no values");
    place.cli(&["dead-letters", "list", "--check"]).is(3);
    place
        .cli(&["pending", "list", "--reason", "waiting", "--check"])
        .is(0)
        .prints("Nothing is pending.");
    // Page by page.
    let first = place
        .cli(&["pending", "list", "--limit", "2", "--json"])
        .is(0)
        .json();
    assert_eq!(first["pending"].as_array().unwrap().len(), 2);
    let next = first["next"].as_str().unwrap();
    let second = place
        .cli(&["pending", "list", "--json", "--after", next])
        .is(0)
        .json();
    assert_eq!(second["pending"].as_array().unwrap().len(), 1);
    assert!(second["next"].is_null());
    place.cli(&["pending", "list", "--after", "x"]).is(2);

    place
        .cli(&["dead-letters", "show", "account", "7"])
        .is(0)
        .prints("record       Account 7")
        .prints("what to do")
        .prints("  Phone = ph0ne-7");
    let shown = place
        .cli(&["pending", "show", "Account", "7", "--json"])
        .is(0)
        .json();
    assert_eq!(shown["fields"]["Name"], "n7");
    assert_eq!(shown["reason"], "dead_letter");
    assert_eq!(shown["attempts"], 1);
    place
        .cli(&["pending", "show", "Account", "1"])
        .is(1)
        .says("error: nothing is pending for Account 1");
    place
        .cli(&["pending", "show", "Account", "7", "--reason", "held"])
        .is(1)
        .says("nothing is pending for Account 7 as held");
    let exported = place.cli(&["dead-letters", "export"]).is(0);
    assert_eq!(exported.out.lines().count(), 3);
    place
        .cli(&["status", "--check"])
        .is(3)
        .prints("3 dead letters");

    // Tried again in vain, then with success.
    place
        .cli(&["dead-letters", "retry", "Account", "7"])
        .is(0)
        .prints("1 record is tried");
    let tried = |s: &serde_json::Value| s["attempts"].as_u64().unwrap() >= 2;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !tried(
        &place
            .cli(&["pending", "show", "Account", "7", "--json"])
            .json(),
    ) {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    place.put("/sandbox/faults", r#"{"seed":1,"rules":[]}"#);
    place
        .cli(&["pending", "retry", "Account", "7", "nobody"])
        .is(1)
        .prints("1 record is tried again")
        .says("nothing is pending for Account nobody");
    dead(&place, 2);
    assert_eq!(place.accounts().len(), 18);

    // Given up while it runs.
    place
        .cli(&["dead-letters", "discard", "Account", "8"])
        .is(2)
        .says("has to be confirmed");
    place
        .cli(&["dead-letters", "discard", "Account", "8", "--yes"])
        .is(0)
        .prints("1 record was given up");
    dead(&place, 1);

    // And while it does not.
    running.signal("-TERM");
    assert_eq!(running.ended().0, 0, "{}", running.log());
    place
        .cli(&["dead-letters", "list"])
        .is(0)
        .prints("Account  9 ");
    place
        .cli(&["dead-letters", "show", "Account", "9"])
        .is(0)
        .prints("Phone = ph0ne-9");
    assert_eq!(
        place.cli(&["pending", "export"]).is(0).out.lines().count(),
        1
    );
    place
        .cli(&["dead-letters", "retry", "--all"])
        .is(1)
        .says("start `syncline run`, then retry");
    let done = place
        .cli(&["dead-letters", "discard", "--all", "--yes", "--json"])
        .is(0)
        .json();
    assert_eq!(done["records"], 1);
    let status = place.cli(&["status", "--json"]).is(0).json();
    let counts = &status["verdicts"]["public.company"];
    assert_eq!(status["shelf"]["dead_letter"], 0);
    assert_eq!(counts["applied"].as_i64().unwrap(), 18, "{counts}");
    assert_eq!(counts["ignored"].as_i64().unwrap(), 2, "{counts}");
    assert_eq!(counts["pending"].as_i64().unwrap_or(0), 0, "{counts}");
    assert!(
        !running.log().contains("ph0ne"),
        "a row's value is in the log"
    );
}
