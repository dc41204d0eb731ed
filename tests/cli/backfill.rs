//! Existing rows: what a person asks for, and what is seen of it.

use serde_json::{Value, json};

use crate::harness::{Place, Running, http, shared};

/// A place with so many companies, and a customer of each tenth, before anything runs.
fn filled(name: &str, companies: u32) -> Place {
    let place = Place::new(shared(), name);
    shared().psql_in(
        &place.database,
        &format!(
            "INSERT INTO company SELECT g, 'n' || g, 'ph0ne-' || g FROM generate_series(1, {companies}) g;
             INSERT INTO customer SELECT g, 'c' || g, g FROM generate_series(1, {companies}, 10) g"
        ),
    );
    place
}

/// The report of one table.
fn of<'a>(status: &'a Value, table: &str) -> &'a Value {
    let all = status["backfills"].as_array().unwrap();
    all.iter()
        .find(|b| b["table"] == table)
        .unwrap_or(&Value::Null)
}

fn loaded(status: &Value) -> bool {
    ["public.company", "public.customer"]
        .iter()
        .all(|table| of(status, table)["state"] == "loaded")
}

/// Writes that the CRM has seen, refused ones included.
fn writes(place: &Place) -> u64 {
    let (code, answer) = http(place.crm_port, "GET", "/sandbox/writes?limit=1", "", "");
    assert_eq!(code, 200, "{answer}");
    let value: Value = serde_json::from_str(&answer).unwrap();
    value["total"].as_u64().unwrap()
}

fn ended(mut running: Running) -> String {
    running.signal("-TERM");
    assert_eq!(running.ended().0, 0, "{}", running.log());
    let log = running.log();
    assert!(!log.contains("ph0ne"), "a row's value is in the log");
    log
}

#[test]
fn rows_that_were_there_arrive_and_are_counted() {
    let place = filled("first", 1_000);
    place
        .cli(&["check"])
        .is(0)
        .prints("backfill: the first load reads 2 tables, about 1,100 rows, 6 API calls");
    let checked = place.cli(&["check", "--json"]).is(0).json();
    assert_eq!(checked["first_load"]["rows"], 1_100, "{checked:#}");
    assert_eq!(checked["fields_to_make"], json!([]));
    let running = place.start();
    let status = place.until(loaded);
    let company = of(&status, "public.company");
    assert_eq!(company["rows"]["read"], 1_000, "{company:#}");
    assert_eq!(company["rows"]["written"], 1_000, "{company:#}");
    assert_eq!(company["percent"], 100.0);
    assert_eq!(company["kind"], "first_load");
    assert_eq!(company["queued"], json!([]));
    for key in [
        "column",
        "where",
        "since",
        "expected",
        "rows_per_second",
        "seconds_left",
        "why",
        "pages",
        "ended",
    ] {
        assert!(company.get(key).is_some(), "{key}: {company:#}");
    }
    let findings = status["findings"].as_array().unwrap();
    let nulls = findings.iter().find(|f| {
        f["severity"] == "warning" && f["place"] == "tables.\"public.customer\".columns.last_name"
    });
    assert!(
        nulls.is_some_and(|f| f["what"].is_string() && f["remedy"].is_string()),
        "{findings:#?}"
    );
    assert_eq!(status["schema_changes"], json!({}));
    // They are no changes: nothing is counted as one.
    assert!(status["verdicts"]["public.company"].is_null(), "{status:#}");
    assert_eq!(place.accounts().len(), 1_000);
    place
        .cli(&["status", "--check"])
        .is(0)
        .prints("existing rows")
        .prints("public.company   loaded  1,000  1,000")
        .prints("schema\n  warning: tables.\"public.customer\".columns.last_name: ")
        .prints("    → null = ");
    let (_, metrics) = place.admin("/metrics", false);
    for line in [
        "syncline_backfill_rows_total{table=\"public.company\",outcome=\"written\"} 1000",
        "syncline_backfill_expected_rows{table=\"public.customer\"} 100",
        "syncline_backfill_running{table=\"public.customer\"} 0",
        "syncline_findings{severity=\"problem\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let log = ended(running);
    let cost = log.find("the first load begins: 2 tables, about 1,100 rows, 6 API calls (");
    let begins = log.find("backfill begins (first load)");
    assert!(cost.is_some() && cost < begins, "{log}");

    // Without a process the store tells the same, and a second start reads nothing.
    let status = place.cli(&["status", "--json"]).is(0).json();
    assert_eq!(of(&status, "public.company")["rows"]["written"], 1_000);
    let before = writes(&place);
    let running = place.start();
    let status = place.until(loaded);
    assert_eq!(of(&status, "public.company")["state"], "loaded");
    let log = ended(running);
    assert!(!log.contains("the first load begins"), "{log}");
    assert_eq!(writes(&place), before);
}

#[test]
fn a_table_is_read_again_and_nothing_is_sent() {
    let place = filled("again", 450);
    let running = place.start();
    place.until(loaded);
    let before = writes(&place);

    let estimate = place
        .cli(&["backfill", "public.company", "--estimate"])
        .is(0);
    assert!(
        estimate
            .out
            .starts_with("public.company: about 450 rows, 3 API calls ("),
        "{estimate:#?}"
    );
    let estimate = place
        .cli(&["backfill", "public.company", "--estimate", "--json"])
        .is(0)
        .json();
    assert_eq!(estimate["rows"], 450);
    assert_eq!(estimate["calls"], 3);
    assert_eq!(estimate["started"], false);
    assert!(
        estimate["share_of_day"].as_f64() > Some(0.0),
        "{estimate:#}"
    );
    assert!(estimate["seconds"].is_number());

    place
        .cli(&["backfill", "public.company"])
        .is(0)
        .prints("public.company: about 450 rows, 3 API calls (")
        .prints("public.company: 450 rows read: 0 written, 450 unchanged\n");
    assert_eq!(writes(&place), before);
    let status = place.cli(&["status", "--json"]).is(0).json();
    let company = of(&status, "public.company");
    assert_eq!(company["kind"], "asked", "{company:#}");
    assert_eq!(company["state"], "loaded");
    assert!(status["verdicts"]["public.company"].is_null(), "{status:#}");

    let done = place
        .cli(&[
            "backfill",
            "public.company",
            "--where",
            "id <= 20",
            "--json",
        ])
        .is(0)
        .json();
    assert_eq!(done["where"], "id <= 20");
    assert_eq!(done["rows"], 20, "{done:#}");
    assert_eq!(done["ended"], "done");
    let result = json!({"read": 20, "written": 0, "unchanged": 20, "overtaken": 0, "pending": 0});
    assert_eq!(done["result"], result);
    place
        .cli(&["backfill", "public.company", "--column", "phone"])
        .is(0)
        .prints("450 rows read: 0 written, 450 unchanged");
    place
        .cli(&["backfill", "public.company", "--no-follow"])
        .is(0)
        .prints("It has started");
    assert_eq!(writes(&place), before);
    ended(running);
}

#[test]
fn what_cannot_be_read_is_told() {
    let place = filled("refused", 10);
    shared().psql_in(&place.database, "ALTER TABLE company ADD extra text");
    place.edit(
        "columns.phone = \"Phone\"",
        "columns.phone = { ignore = true }",
    );
    place
        .cli(&["backfill", "public.company"])
        .is(1)
        .says("only a running syncline reads existing rows")
        .says("start `syncline run`");
    assert!(!place.dir.path().join("state").exists());
    let running = place.start();
    place.until(loaded);
    let before = writes(&place);
    let ask = |more: &[&str]| place.cli(&[&["backfill"][..], more].concat());
    ask(&["public.compny"])
        .is(1)
        .says("error: no table \"public.compny\" is configured; did you mean \"public.company\"?");
    ask(&["company"])
        .is(1)
        .says("did you mean \"public.company\"?");
    ask(&["public.company", "--column", "nmae"])
        .is(2)
        .says("no column \"nmae\" of public.company fills a field; did you mean \"name\"?");
    ask(&["public.company", "--column", "phone"])
        .is(2)
        .says("column phone of public.company is left out on purpose");
    ask(&["public.company", "--column", "extra"])
        .is(2)
        .says("column extra of public.company fills no field: ");
    ask(&["public.company", "--where", "nmae = 'x'"])
        .is(2)
        .says("the condition on the rows is not accepted: column \"nmae\" does not exist");
    ask(&["public.company", "--where", "id = ("])
        .is(2)
        .says("syntax error");
    ask(&["public.company", "--where", "true; DELETE FROM company"]).is(2);
    ask(&["public.company", "--cancel", "--where", "true"]).is(2);
    ask(&["public.company", "--cancel"])
        .is(0)
        .prints("Nothing is being read of public.company.");
    // The key goes away while it runs: live changes go on by the index, pages have nothing to go by.
    shared().psql_in(
        &place.database,
        "ALTER TABLE company DROP CONSTRAINT company_pkey; ALTER TABLE company REPLICA IDENTITY FULL",
    );
    ask(&["public.company"])
        .is(1)
        .says("the table public.company has no key by which its existing rows can be read")
        .says("ADD PRIMARY KEY");
    // Also with a condition that is right.
    ask(&["public.company", "--where", "id > 1"])
        .is(1)
        .says("has no key");
    assert_eq!(writes(&place), before);
    ended(running);
}

#[test]
fn a_backfill_can_be_given_up() {
    let place = filled("cancel", 3_000);
    place.edit("[admin]", "[backfill]\nrows_per_second = 200\n\n[admin]");
    let running = place.start();
    let status = place.until(|s| of(s, "public.company")["rows"]["read"].as_u64() > Some(0));
    let company = of(&status, "public.company");
    assert_eq!(company["state"], "running", "{company:#}");
    assert_eq!(company["expected"], 3_000);
    place
        .cli(&["status"])
        .is(0)
        .prints("being read (first load)")
        .prints("waits for its turn (first load)");
    // It reads all of the table already.
    place
        .cli(&["backfill", "public.company"])
        .is(1)
        .says("public.company (first load) is being read already")
        .says("`syncline backfill public.company --cancel`");
    // Something else of it waits behind.
    place
        .cli(&[
            "backfill",
            "public.company",
            "--where",
            "id = 1",
            "--no-follow",
        ])
        .is(0)
        .prints("about 1 row, 1 API call");
    let status = place.cli(&["status", "--json"]).is(0).json();
    let company = of(&status, "public.company");
    assert_eq!(company["queued"][0]["where"], "id = 1", "{company:#}");
    let estimate = place
        .cli(&["backfill", "public.company", "--estimate", "--json"])
        .is(0)
        .json();
    assert_eq!(estimate["seconds"], 15.0, "{estimate:#}");
    let log = place.dir.path().join("follow.log");
    let wish = ["backfill", "public.company", "--where", "id = 2"];
    let mut follower = Running::start(place.command(&wish), log);
    place.until(|s| of(s, "public.company")["queued"].as_array().unwrap().len() == 2);
    let done = place
        .cli(&["backfill", "public.company", "--cancel", "--json"])
        .is(0)
        .json();
    assert_eq!(done, json!({"table": "public.company", "cancelled": true}));
    assert_eq!(follower.ended().0, 1, "{}", follower.log());
    assert!(
        follower.log().contains("somebody gave it up"),
        "{}",
        follower.log()
    );
    let status = place.until(loaded);
    let company = of(&status, "public.company");
    assert!(
        company["rows"]["read"].as_u64() < Some(3_000),
        "{company:#}"
    );
    // Not begun again by the next start.
    let before = place.accounts().len();
    ended(running);
    let running = place.start();
    place.until(loaded);
    assert_eq!(place.accounts().len(), before);
    ended(running);
}

#[test]
fn following_ends_without_the_backfill() {
    let place = filled("leave", 3_000);
    place.edit(
        "[admin]",
        "[backfill]\nfirst_load = false\nrows_per_second = 300\n\n[admin]",
    );
    let running = place.start();
    let status = place.cli(&["status", "--json"]).is(0).json();
    assert_eq!(of(&status, "public.company")["state"], "none", "{status:#}");
    let log = place.dir.path().join("follow.log");
    let mut follower = Running::start(place.command(&["backfill", "public.company"]), log);
    place.until(|s| of(s, "public.company")["rows"]["read"].as_u64() > Some(0));
    follower.signal("-INT");
    let (code, _) = follower.ended();
    assert_eq!(code, 0, "{}", follower.log());
    assert!(
        follower.log().contains("The backfill goes on: "),
        "{}",
        follower.log()
    );
    let more = of(&place.cli(&["status", "--json"]).json(), "public.company")["rows"]["read"]
        .as_u64()
        .unwrap();
    place.until(|s| of(s, "public.company")["rows"]["read"].as_u64() > Some(more));
    ended(running);
    // Nobody runs: the store tells how far it got.
    let status = place
        .cli(&["status"])
        .is(0)
        .prints("waits for its turn (asked for)");
    assert!(status.out.contains("3,000"), "{}", status.out);
}

#[test]
fn rows_that_the_crm_refuses_end_on_the_shelf() {
    let place = filled("shelf_rows", 30);
    place.edit("[admin]", "[backfill]\nfirst_load = false\n\n[admin]");
    place.put(
        "/sandbox/faults",
        r#"{"seed":1,"rules":[{"kind":"reject","external_ids":["7","8"],"code":"FIELD_CUSTOM_VALIDATION_EXCEPTION"}]}"#,
    );
    let running = place.start();
    place
        .cli(&["backfill", "public.company"])
        .is(3)
        .prints("30 rows read: 28 written, 0 unchanged, 2 on the shelf")
        .says("`syncline pending list`");
    let done = place
        .cli(&["backfill", "public.customer", "--json"])
        .is(0)
        .json();
    assert_eq!(done["result"]["written"], 3, "{done:#}");
    ended(running);
}

#[test]
fn check_says_what_the_first_run_would_make() {
    let place = filled("plan", 10);
    shared().psql_in(&place.database, "ALTER TABLE company ADD tier varchar(20)");
    place.edit(
        "[admin]",
        "[routing]\nmissing_field = \"create\"\n\n[admin]",
    );
    place
        .cli(&["check"])
        .is(0)
        .prints("columns.tier: a field Account.Tier__c (text, 20 characters) is to be made for it");
    let checked = place.cli(&["check", "--json"]).is(0).json();
    let field = json!({
        "table": "public.company", "column": "tier", "object": "Account",
        "field": "Tier__c", "type": "Text(20)", "label": "Tier",
    });
    assert_eq!(checked["fields_to_make"], json!([field]), "{checked:#}");
    let running = place.start();
    place.until(loaded);
    ended(running);
    // What earlier runs left is known: nothing is to be made or read any more.
    let checked = place.cli(&["check", "--json"]).is(0).json();
    assert_eq!(checked["fields_to_make"], json!([]), "{checked:#}");
    assert!(checked["first_load"].is_null(), "{checked:#}");
}

#[test]
fn a_change_that_a_field_cannot_hold_shows_everywhere() {
    let place = filled("halted", 10);
    let running = place.start();
    place.until(loaded);
    shared().psql_in(
        &place.database,
        "ALTER TABLE company ALTER COLUMN phone TYPE bytea USING phone::bytea;
         INSERT INTO company VALUES (11, 'n11', NULL)",
    );
    let problem = |s: &Value| {
        let findings = s["findings"].as_array().unwrap();
        findings.iter().any(|f| f["severity"] == "problem")
    };
    let status = place.until(problem);
    assert_eq!(
        status["schema_changes"],
        json!({"type_changed": 1}),
        "{status:#}"
    );
    place
        .cli(&["status", "--check"])
        .is(3)
        .prints("\nschema\n  problem: tables.\"public.company\"")
        .prints("changes since the start: 1 type changed")
        .prints("\nneeds attention\n");
    place
        .cli(&["backfill", "public.company"])
        .is(1)
        .says("the table public.company is halted");
    place.cli(&["backfill", "public.customer"]).is(0);
    let (_, metrics) = place.admin("/metrics", false);
    for line in [
        "syncline_schema_changes_total{kind=\"type_changed\"} 1",
        "syncline_findings{severity=\"problem\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    ended(running);
}
