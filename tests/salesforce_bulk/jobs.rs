//! What can go wrong with a job.

use super::*;

/// So many accounts, by a job.
fn many(schema: &Schema, count: usize, name: &str) -> Vec<Operation> {
    let account = |n| {
        upsert(
            &schema.accounts,
            format!("a{n}"),
            vec![text(0, format!("{name} {n}"))],
        )
    };
    (0..count).map(account).collect()
}

async fn all_named(org: &Org, count: usize, name: &str) {
    let records = contents(org).await;
    assert_eq!(records.len(), count);
    for n in 0..count {
        assert_eq!(
            records[&format!("Account/a{n}")]["Name"],
            json!(format!("{name} {n}"))
        );
    }
}

fn all_written(outcomes: &BTreeMap<String, Outcome>, count: usize) {
    let written = |o: &&Outcome| {
        matches!(
            o,
            Outcome::Written {
                crm_id: Some(_),
                ..
            }
        )
    };
    assert_eq!(outcomes.values().filter(written).count(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_window_costs_a_handful_of_calls() {
    let org = Org::start().await;
    let schema = Schema::new();
    let mut side = Side::new(&org, &schema, BulkMode::Always).await;
    all_written(&side.fly(&many(&schema, 12_000, "New")).await, 12_000);
    all_named(&org, 12_000, "New").await;
    // Now they are there: by their ids.
    all_written(&side.fly(&many(&schema, 12_000, "Newer")).await, 12_000);
    all_named(&org, 12_000, "Newer").await;
    assert_eq!(side.calls("bulk_open"), 2);
    assert_eq!((side.calls("upsert"), side.calls("update")), (0, 0));
    // Twice: made, uploaded, started, looked at, the successful results.
    let calls: u64 = side
        .crew
        .delivery
        .health()
        .usage
        .calls
        .iter()
        .map(|(_, n)| n)
        .sum();
    assert!(calls < 50, "{:?}", side.crew.delivery.health().usage);
    let (jobs, rows) = side.crew.delivery.jobs().finished();
    assert_eq!((jobs, rows), (2, 24_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_as_a_whole_is_sent_again_by_requests() {
    let org = Org::start().await;
    let schema = Schema::with(&["Nope__c"]);
    let mut side = Side::new(&org, &schema, BulkMode::Always).await;
    let mut operations = many(&schema, 300, "New");
    operations[7] = upsert(
        &schema.accounts,
        "a7",
        vec![text(0, "New 7"), text(3, "a field that is not there")],
    );
    let outcomes = side.fly(&operations).await;
    for (name, outcome) in &outcomes {
        match (name.as_str(), outcome) {
            ("Account/a7", Outcome::Refused(fault)) => assert_eq!(fault.fields, ["Nope__c"]),
            (_, Outcome::Written { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(side.calls("bulk_open"), 1);
    // The next ones go by requests for a while.
    all_written(&side.fly(&many(&schema, 300, "Newer")[..5]).await, 5);
    side.fly(&many(&schema, 600, "New")[300..]).await;
    assert_eq!(side.calls("bulk_open"), 1);
    // What is done to those that are there is another matter.
    side.fly(&many(&schema, 300, "Newest")).await;
    assert_eq!(side.calls("bulk_open"), 2);
    assert_eq!(side.store.bulk_jobs().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_left_is_sent_again() {
    let org = Org::start().await;
    let schema = Schema::new();
    let mut side = Side::new(&org, &schema, BulkMode::Always).await;
    // After 600 rows, twice.
    let rule = json!({"kind": "fail_job", "object": "Account", "after": 3, "times": 2});
    org.faults(json!([rule])).await;
    all_written(&side.fly(&many(&schema, 3_000, "New")).await, 3_000);
    all_named(&org, 3_000, "New").await;
    assert!(side.calls("bulk_open") > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_locked_are_sent_again() {
    let org = Org::start().await;
    let schema = Schema::new();
    let mut side = Side::new(&org, &schema, BulkMode::Always).await;
    let rule = json!({"kind": "lock", "every": 50, "times": 20});
    org.faults(json!([rule])).await;
    all_written(&side.fly(&many(&schema, 2_000, "New")).await, 2_000);
    all_named(&org, 2_000, "New").await;
    assert_eq!(side.calls("bulk_open"), 1);
    assert!(side.calls("upsert") >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_do_not_come_lose_nothing() {
    for (kind, path, method) in [
        ("lost", "/jobs/ingest", "POST"),
        ("lost", "/batches", "PUT"),
        ("timeout_before", "/batches", "PUT"),
        ("lost", "/jobs/ingest/", "PATCH"),
        ("lost", "/jobs/ingest/", "GET"),
        ("cut", "successfulResults", "GET"),
        ("cut", "failedResults", "GET"),
        ("unavailable", "/jobs/ingest", "POST"),
        ("bad_gateway", "/batches", "PUT"),
        ("bad_gateway", "successfulResults", "GET"),
        ("unauthorized", "/batches", "PUT"),
        ("unauthorized", "successfulResults", "GET"),
        ("throttle", "/jobs/ingest/", "PATCH"),
    ] {
        let org = Org::start().await;
        let schema = Schema::new();
        let mut side = Side::new(&org, &schema, BulkMode::Always).await;
        let rule =
            json!({"kind": kind, "path": path, "method": method, "times": 2, "delay_ms": 200});
        org.faults(json!([rule])).await;
        let mut operations = many(&schema, 1_000, "New");
        operations[5] = upsert(&schema.accounts, "a5", vec![text(0, "x".repeat(300))]);
        let outcomes = side.fly(&operations).await;
        let written = outcomes
            .values()
            .filter(|o| matches!(o, Outcome::Written { .. }));
        assert_eq!(written.count(), 999, "{kind} {path}");
        let refused = &outcomes["Account/a5"];
        assert!(
            matches!(refused, Outcome::Refused(f) if f.class == Class::Record && f.code == "STRING_TOO_LONG"),
            "{refused:?}"
        );
        let records = contents(&org).await;
        assert_eq!(records.len(), 999, "{kind} {path}");
        let writes = org.writes("Account").await;
        assert_eq!(
            writes.len(),
            999,
            "{kind} {path}: nothing was written twice"
        );
        assert_eq!(side.store.bulk_jobs().await.unwrap(), []);
    }
}

/// How far the first life gets.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Ends {
    Queued,
    Running,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_life_waits_for_a_job_and_reads_its_results() {
    for ends in [Ends::Queued, Ends::Running] {
        let org = Org::start().await;
        let schema = Schema::new();
        let mut side = Side::new(&org, &schema, BulkMode::Always).await;
        let slow = match ends {
            Ends::Queued => r#"{"bulk": {"start_ms": 2000}}"#,
            Ends::Running => r#"{"bulk": {"chunk_ms": 150}}"#,
        };
        org.put("limits", slow).await;
        let operations = many(&schema, 3_000, "New");
        let window = side.window(&operations);
        let flight = side
            .crew
            .fly(window, side.progress, false, Deferral::default());
        let ended = tokio::time::timeout(Duration::from_millis(1_200), flight).await;
        assert!(ended.is_err(), "{ends:?}: it was to be under way");
        let left = side.store.bulk_jobs().await.unwrap();
        assert_eq!(left.len(), 1, "{ends:?}");
        assert_eq!((left[0].records, &*left[0].object), (3_000, "Account"));

        side.restart(&org, &schema, BulkMode::Always);
        side.crew.end_old_jobs().await.unwrap();
        assert_eq!(
            org.writes("Account").await.len(),
            3_000,
            "{ends:?}: it has ended"
        );
        all_written(&side.fly(&operations).await, 3_000);
        assert_eq!(
            side.calls("bulk_open"),
            0,
            "{ends:?}: its results were enough"
        );
        assert_eq!(org.writes("Account").await.len(), 3_000);
        assert_eq!(side.store.bulk_jobs().await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_old_job_said_counts_for_nothing_once_something_else_was_written() {
    let org = Org::start().await;
    let schema = Schema::new();
    let mut side = Side::new(&org, &schema, BulkMode::Always).await;
    org.put("limits", r#"{"bulk": {"start_ms": 800}}"#).await;
    let old = many(&schema, 50, "Old");
    let window = side.window(&old);
    let flight = side
        .crew
        .fly(window, side.progress, false, Deferral::default());
    assert!(
        tokio::time::timeout(Duration::from_millis(500), flight)
            .await
            .is_err()
    );
    side.restart(&org, &schema, BulkMode::Always);
    side.crew.end_old_jobs().await.unwrap();
    // A few by requests, then the very same window.
    all_written(&side.fly(&many(&schema, 3, "Between")).await, 3);
    let calls = side.calls("bulk_open");
    all_written(&side.fly(&old).await, 50);
    all_named(&org, 50, "Old").await;
    assert!(side.calls("bulk_open") > calls, "it was sent again");
    assert_eq!(side.store.bulk_jobs().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_never_started_is_given_up() {
    let org = Org::start().await;
    let schema = Schema::new();
    let mut side = Side::new(&org, &schema, BulkMode::Always).await;
    let rule = json!({"kind": "slow", "path": "/batches", "delay_ms": 3000});
    org.faults(json!([rule])).await;
    let operations = many(&schema, 100, "New");
    let window = side.window(&operations);
    let flight = side
        .crew
        .fly(window, side.progress, false, Deferral::default());
    assert!(
        tokio::time::timeout(Duration::from_millis(600), flight)
            .await
            .is_err()
    );
    let left = side.store.bulk_jobs().await.unwrap();
    assert_eq!(left.len(), 1);
    org.faults(json!([])).await;
    side.restart(&org, &schema, BulkMode::Always);
    side.crew.end_old_jobs().await.unwrap();
    assert_eq!(org.writes("Account").await.len(), 0);
    let look = side.crew.delivery.look_at_job(&left[0].id).await.unwrap();
    assert_eq!(look.unwrap().state, bulk::JobState::Aborted);
    all_written(&side.fly(&operations).await, 100);
    assert_eq!(org.writes("Account").await.len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_gone_counts_as_ended() {
    let org = Org::start().await;
    let schema = Schema::new();
    let mut side = Side::new(&org, &schema, BulkMode::Always).await;
    let gone = syncline::store::BulkJob {
        id: "750Ws00000Jb1QrIAJ".into(),
        object: "Account".into(),
        ..Default::default()
    };
    let settlement = Settlement {
        jobs: vec![gone],
        ..Settlement::default()
    };
    side.store.settle(settlement).await.unwrap();
    side.crew.end_old_jobs().await.unwrap();
    all_written(&side.fly(&many(&schema, 100, "New")).await, 100);
    assert_eq!(side.store.bulk_jobs().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_stands_still_is_given_up() {
    let org = Org::start().await;
    let schema = Schema::new();
    let mut side = Side::new(&org, &schema, BulkMode::Always).await;
    org.put("limits", r#"{"bulk": {"start_ms": 600000}}"#).await;
    let mut settings = Settings {
        requests_per_second: 0,
        ..Settings::default()
    };
    settings.bulk = bulk::Settings {
        mode: BulkMode::Always,
        min_rows: 10,
        max_bytes: 1 << 20,
        patience: Patience {
            standstill: Duration::from_millis(500),
            ..patience()
        },
    };
    side.crew.delivery = Arc::new(Delivery::new(Arc::new(org.salesforce()), settings, 1));
    all_written(&side.fly(&many(&schema, 400, "New")).await, 400);
    assert_eq!(org.writes("Account").await.len(), 400);
    assert!(side.calls("bulk_abort") >= 1 && side.calls("upsert") == 2);
}

/// What is being written when a person gives a job up is written to its end: it is waited for, and what
/// the job left is sent again.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_a_person_aborts_is_waited_for() {
    let org = Org::start().await;
    let schema = Schema::new();
    let mut side = Side::new(&org, &schema, BulkMode::Always).await;
    org.put("limits", r#"{"bulk": {"chunk_ms": 150}}"#).await;
    let person = org.salesforce();
    let store = side.store.clone();
    let abort = async {
        while org.writes("Account").await.len() < 400 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let jobs = store.bulk_jobs().await.unwrap();
        let jobs: Vec<_> = jobs.iter().map(|job| job.id.as_str()).collect();
        person.bulk().unwrap().abort(jobs[0]).await.unwrap();
    };
    let operations = many(&schema, 3_000, "New");
    let (outcomes, ()) = tokio::join!(side.fly(&operations), abort);
    all_written(&outcomes, 3_000);
    all_named(&org, 3_000, "New").await;
    let writes = org.writes("Account").await;
    assert_eq!(writes.len(), 3_000, "nothing was written twice");
    assert_eq!(side.calls("bulk_open"), 2);
}

/// Contacts of 80 accounts, 31 of each, in turn; the batches in which an org works off a job of them,
/// four at once, each 200 rows at a time.
#[tokio::test(flavor = "multi_thread")]
async fn the_batches_of_a_job_do_not_contend_for_parents() {
    let org = Org::start().await;
    let schema = Schema::new();
    let mut side = Side::new(&org, &schema, BulkMode::Never).await;
    all_written(&side.fly(&many(&schema, 80, "New")).await, 80);
    let contacts: Vec<Operation> = (0..80 * 31)
        .map(|n| {
            let parent = FieldValue::Reference(format!("a{}", n % 80).into());
            let fields = vec![text(0, "Lee"), set(2, parent)];
            upsert(&schema.contacts, format!("c{n}"), fields)
        })
        .collect();
    let plan = planning::plan(side.window(&contacts), &States::new(), &schema.objects());
    let room = Room {
        records: 200,
        guarded: 0,
        bytes: 16 << 20,
        locks: &|_| true,
    };
    let stage = plan.stages.iter().flatten().copied().collect::<Vec<_>>();
    let job = planning::cut_for_jobs(&plan.entries, &stage, &room)
        .pop()
        .unwrap();
    assert_eq!(job.places.len(), contacts.len());
    let mut in_turn: Vec<_> = job.places.iter().zip(&job.batch.writes).collect();
    in_turn.sort_by_key(|(place, _)| **place);
    let in_turn: Vec<Write> = in_turn.into_iter().map(|(_, w)| w.clone()).collect();
    // A row takes 0.2 ms, and nobody waits longer than 30 ms for one.
    org.put("locks", r#"{"work_ms": 0.2, "wait_ms": 30}"#).await;
    let mut refused = Vec::new();
    for writes in [&job.batch.writes, &in_turn] {
        let batches = writes.chunks(writes.len() / 4 + 1).map(|writes| async {
            let sink = org.salesforce();
            let mut locked = 0;
            for chunk in writes.chunks(200) {
                let batch = Batch {
                    writes: chunk.to_vec(),
                    ..job.batch.clone()
                };
                let outcomes = sink.write(&batch).await.unwrap();
                let is_locked =
                    |o: &&Outcome| matches!(o, Outcome::Refused(f) if f.class == Class::Locked);
                locked += outcomes.iter().filter(is_locked).count();
            }
            locked
        });
        let locked = futures_util::future::join_all(batches).await;
        refused.push(locked.into_iter().sum::<usize>());
    }
    println!(
        "locked: {} side by side, {} in turn",
        refused[0], refused[1]
    );
    assert_eq!(refused[0], 0);
    assert!(refused[1] > 100, "{refused:?}");
}

/// With the right that it takes, a job deletes for good; without it, requests do.
#[tokio::test(flavor = "multi_thread")]
async fn records_are_deleted_for_good_either_way() {
    let org = Org::start().await;
    let mut schema = Schema::new();
    let accounts = Arc::get_mut(&mut schema.accounts).unwrap();
    accounts.removal = Removal::Delete { hard: true };
    for (right, jobs) in [(false, 0), (true, 1)] {
        let mut side = Side::new(&org, &schema, BulkMode::Never).await;
        all_written(&side.fly(&many(&schema, 30, "New")).await, 30);
        let removals: Vec<Operation> = (0..32)
            .map(|n| Operation {
                action: Action::Delete { hard: true },
                ..upsert(&schema.accounts, format!("a{n}"), Vec::new())
            })
            .collect();
        org.put("rights", &format!(r#"{{"bulk_hard_delete": {right}}}"#))
            .await;
        side.restart(&org, &schema, BulkMode::Always);
        let outcomes = side.fly(&removals).await;
        let absent = outcomes.values().filter(|o| **o == Outcome::Absent).count();
        assert_eq!((outcomes.len(), absent), (32, 2), "{outcomes:?}");
        assert_eq!(side.calls("bulk_open"), 1);
        assert_eq!(side.calls("bulk_start"), jobs, "with the right: {right}");
        assert_eq!(contents(&org).await.len(), 0);
        let bin = org.get("records/Account?deleted=true").await;
        assert_eq!(bin.as_array().unwrap().len(), 0, "they are not in the bin");
    }
}
