//! `run`: waiting for both sides, ending, being asked.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Place, ROLE, Running, shared};
use crate::support::postgres::{Options, Postgres, Stop};

#[test]
fn a_crm_that_is_down_at_the_start_is_waited_for() {
    let mut place = Place::without_crm(shared(), "crm_down");
    place
        .cli(&["check"])
        .is(2)
        .prints("cannot log in to Salesforce")
        .prints("    → ");
    let log = place.dir.path().join("run.log");
    let mut running = Running::start(place.command(&["run"]), log);
    running.wait_for("waiting for the CRM; nothing has been made or written yet");
    running.wait_for("fault=\"cannot_connect\"");
    let status = place.cli(&["status", "--json"]).is(0).json();
    assert_eq!(status["state"], "starting", "{status:#}");
    let (code, body) = place.admin("/ready", false);
    assert_eq!(code, 503);
    assert!(body.contains("still starting"), "{body}");
    place.nothing_left(shared());
    place.start_crm();
    running.wait_for(" running ");
    shared().psql_in(
        &place.database,
        "INSERT INTO company VALUES (1, 'Acme', '1')",
    );
    place.until(|s| s["verdicts"]["public.company"]["applied"] == 1);
    running.signal("-TERM");
    assert_eq!(running.ended().0, 0, "{}", running.log());
}

#[test]
fn a_database_that_is_down_is_waited_for() {
    let mut postgres = Postgres::start(Options::default());
    postgres.psql(&format!("CREATE ROLE {ROLE} LOGIN REPLICATION"));
    let place = Place::new(&postgres, "db_down");
    postgres.stop(Stop::Fast);
    place
        .cli(&["check"])
        .is(2)
        .prints("Problems\n  source: ")
        .prints("    → ");
    let log = place.dir.path().join("run.log");
    let mut running = Running::start(place.command(&["run"]), log);
    running.wait_for("cannot start yet, trying again");
    let status = place.cli(&["status", "--check"]).is(3);
    assert!(status.out.contains("starting"), "{}", status.out);
    postgres.start_again();
    running.wait_for(" running ");
    running.signal("-INT");
    assert_eq!(running.ended().0, 0, "{}", running.log());
}

#[test]
fn it_ends_in_time_while_it_waits() {
    let place = Place::without_crm(shared(), "end_waiting");
    let log = place.dir.path().join("run.log");
    let mut running = Running::start(place.command(&["run"]), log);
    running.wait_for("a request to the CRM failed");
    running.signal("-TERM");
    let (code, took) = running.ended();
    assert_eq!(code, 0, "{}", running.log());
    assert!(took < Duration::from_secs(10), "{took:?}");
    place.nothing_left(shared());
}

#[test]
fn it_ends_in_time_while_a_slot_is_made_and_leaves_none() {
    let postgres = Postgres::start(Options::default());
    postgres.psql(&format!("CREATE ROLE {ROLE} LOGIN REPLICATION"));
    let place = Place::new(&postgres, "end_making");
    // A transaction that writes: the making of a slot waits for its end.
    let mut writer = std::process::Command::new("psql")
        .args(["-X", "-q", "-h"])
        .arg(postgres.socket_dir())
        .args([
            "-p",
            &postgres.port().to_string(),
            "-U",
            "postgres",
            "-d",
            &place.database,
        ])
        .args(["-c", "BEGIN; CREATE TABLE t (); SELECT pg_sleep(20);"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let asked = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(20)%' AND pid <> pg_backend_pid()";
    while postgres.psql(asked) != "1" {
        std::thread::sleep(Duration::from_millis(20));
    }
    let log = place.dir.path().join("run.log");
    let mut running = Running::start(place.command(&["run"]), log);
    running.wait_for("publication made");
    std::thread::sleep(Duration::from_millis(300));
    running.signal("-TERM");
    let (code, took) = running.ended();
    assert_eq!(code, 0, "{}", running.log());
    assert!(took < Duration::from_secs(10), "{took:?}");
    let slots = "SELECT count(*) FROM pg_replication_slots";
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while postgres.psql(slots) != "0" {
        assert!(
            std::time::Instant::now() < deadline,
            "a half-made slot is left"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    postgres.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(20)%' AND pid <> pg_backend_pid()");
    let _ = writer.wait();
    assert_eq!(postgres.psql(slots), "0");
}

#[test]
fn it_is_asked_while_it_runs_and_ends_in_time() {
    let place = Place::new(shared(), "asked");
    let mut running = place.start();
    shared().psql_in(
        &place.database,
        "INSERT INTO company SELECT g, 'name-' || g, 'ph0ne-value' FROM generate_series(1, 300) g",
    );
    let status = place.until(|s| s["verdicts"]["public.company"]["applied"] == 300);
    assert_eq!(place.accounts().len(), 300);
    for key in ["received_lsn", "durable_lsn", "reported_lsn", "settled"] {
        assert!(status["source"][key].is_string(), "{key}: {status:#}");
    }
    assert_eq!(status["state"], "running");
    assert_eq!(status["lag_seconds"], 0.0);
    assert_eq!(status["attention"], Value::Array(Vec::new()));
    assert_eq!(status["crm"]["breaker"], "closed");
    assert_eq!(status["slot"]["exists"], true);
    assert!(status["slot"]["wal_kept_bytes"].is_u64());
    place
        .cli(&["status", "--check"])
        .is(0)
        .prints("public.company")
        .prints("300");
    place
        .cli(&["check"])
        .is(0)
        .prints("syncline is running with");

    assert_eq!(place.admin("/health", false).0, 200);
    let (code, ready) = place.admin("/ready", false);
    assert_eq!(code, 200, "{ready}");
    let (code, metrics) = place.admin("/metrics", false);
    assert_eq!(code, 200);
    let line = "syncline_changes_total{table=\"public.company\",verdict=\"applied\"} 300";
    assert!(metrics.contains(line), "{metrics}");
    for metric in syncline::metrics::ALL {
        assert!(
            metrics.contains(&format!("# HELP {} ", metric.name)),
            "{}",
            metric.name
        );
    }
    for path in [
        "/status",
        "/pending",
        "/pending/full",
        "/pending/record?object=A&external_id=1",
    ] {
        let (code, body) = place.admin(path, false);
        assert_eq!(code, 401, "{path}: {body}");
    }
    assert_eq!(place.admin("/status", true).0, 200);
    assert_eq!(place.admin("/nothing", true).0, 404);
    let (code, body) = place.admin("/pending?reason=odd", true);
    assert_eq!(code, 400, "{body}");

    // A second process is refused, and the first goes on.
    place
        .run_fails()
        .is(1)
        .says("error: syncline is already running: process")
        .says("\n  → ");
    running.signal("-TERM");
    let (code, took) = running.ended();
    assert_eq!(code, 0, "{}", running.log());
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(
        !running.log().contains("ph0ne-value"),
        "a row's value is in the log"
    );

    // Without a process the store tells the same.
    let status = place.cli(&["status", "--json"]).is(0).json();
    assert_eq!(status["state"], "stopped");
    assert_eq!(status["verdicts"]["public.company"]["applied"], 300);
}

#[test]
fn a_running_process_that_cannot_be_asked_is_told() {
    let place = Place::new(shared(), "silent");
    let mut running = place.start();
    let address = place.dir.path().join("state/admin.address");
    std::fs::write(&address, "127.0.0.1:1\n").unwrap();
    place
        .cli(&["status"])
        .is(1)
        .says("error: syncline is running (process ")
        .says("but its admin interface does not answer at 127.0.0.1:1");
    std::fs::write(place.dir.path().join("state/admin.token"), "other\n").unwrap();
    running.signal("-TERM");
    assert_eq!(running.ended().0, 0);
    place.edit("listen = \"127.0.0.1:0\"", "listen = \"\"");
    let mut running = place.start();
    place
        .cli(&["pending", "list"])
        .is(1)
        .says("without an admin interface")
        .says("set admin.listen");
    running.signal("-TERM");
    assert_eq!(running.ended().0, 0);
}

#[test]
fn the_log_can_be_json() {
    let place = Place::bare("postgres://u@127.0.0.1:1/d", "json");
    place.edit(
        "on_delete = \"delete\"\ncolumns.name",
        "on_delete = \"ignore\"\ncolumns.name",
    );
    let log = place.dir.path().join("run.log");
    let mut running = Running::start(place.command(&["run", "--log", "json"]), log);
    running.wait_for("cannot start yet");
    running.signal("-TERM");
    assert_eq!(running.ended().0, 0);
    for line in running.log().lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(
            event["level"].is_string() && event["message"].is_string(),
            "{line}"
        );
    }
}

#[test]
fn a_crm_that_goes_away_shows_everywhere_and_costs_nothing() {
    let mut place = Place::new(shared(), "away");
    let mut running = place.start();
    place.crm = None;
    shared().psql_in(
        &place.database,
        "INSERT INTO company VALUES (1, 'Acme', '1')",
    );
    let status = place.until(|s| s["state"] == "crm_down" && s["lag_seconds"].as_f64() > Some(1.0));
    assert!(
        status["crm"]["failing_seconds"].as_f64() > Some(0.0),
        "{status:#}"
    );
    assert_eq!(status["crm"]["last_fault"], "cannot_connect");
    place
        .cli(&["status", "--check"])
        .is(3)
        .prints("the CRM takes nothing at the moment");
    // It may be away for a while; what makes the process unready is the age of the oldest change.
    assert_eq!(place.admin("/ready", false).0, 200);
    let (code, body) = place.admin("/ready?max_age=1", false);
    assert_eq!(code, 503, "{body}");
    assert!(
        body.contains("the oldest change without a verdict is"),
        "{body}"
    );
    running.wait_for(" progress changes_per_second=0");
    // Twice: it does not wait for the window under way.
    running.signal("-TERM");
    running.wait_for("ending: ");
    running.signal("-TERM");
    let (code, took) = running.ended();
    assert_eq!(code, 1, "{}", running.log());
    assert!(took < Duration::from_secs(3), "{took:?}");
    place.start_crm();
    let _running = place.start();
    place.until(|s| s["verdicts"]["public.company"]["applied"] == 1);
    assert_eq!(place.accounts().len(), 1);
    assert_eq!(place.admin("/ready?max_age=1", false).0, 200);
}
