//! What a store promises, the same for every one: run over sled and over the in-memory twin.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod store_support;

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::{RngExt, SeedableRng, rngs::SmallRng, seq::SliceRandom};
use store_support::*;
use syncline::change::{Lsn, Verdict};
use syncline::fault::ErrorKind;
use syncline::mapping::{Key, RecordId};
use syncline::store::{
    self, BulkJob, BulkPage, Intent, Memory, Options, Pending, Progress, Reason, Settlement,
    ShelfQuery, SledStore, Store,
};

type AnyStore = Arc<dyn Store>;

/// Each promise, once a store.
macro_rules! promises {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(std::sync::Arc::new(super::Memory::new())).await;
            })*
        }
        mod on_disk {
            $(#[tokio::test]
            async fn $name() {
                let directory = tempfile::tempdir().unwrap();
                let store = super::on_disk(directory.path()).await;
                super::$name(std::sync::Arc::new(store)).await;
            })*
        }
        mod slow_memory {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                let delay = std::time::Duration::from_millis(5);
                super::$name(std::sync::Arc::new(super::Memory::with_flush(delay))).await;
            })*
        }
    };
}

promises!(
    a_new_store_is_empty_and_binds_once,
    nothing_is_settled_before_it_is_bound,
    progress_never_moves_backwards,
    after_an_error_nothing_is_taken,
    a_settlement_is_all_or_nothing,
    records_answer_in_the_order_asked,
    the_ledger_follows_a_model,
    the_ledger_lists_in_key_order,
    ids_that_begin_alike_stay_apart,
    an_entry_may_have_very_many_fields,
    the_shelf_pages_and_counts,
    entries_without_an_operation_are_not_counted,
    children_are_found_by_their_parent,
    pending_operations_may_be_large,
    an_intent_names_thousands_of_records,
    bulk_jobs_stay_until_they_have_ended,
    verdicts_add_up,
    the_latest_schema_of_each_table,
    the_schema_history_is_told_from_its_beginning,
    a_closed_store_answers_nothing,
);

/// Cancelled is not undone: what was sent goes on to its end, in order, before anything that follows.
#[tokio::test]
async fn a_dropped_settle_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let store: AnyStore = Arc::new(on_disk(directory.path()).await);
    bound(&store).await;
    drop(store.settle(settlement(1)));
    assert_eq!(store.recover().await.unwrap().progress, progress(0));
    let settling = store.settle(settlement(2));
    let _ = tokio::time::timeout(std::time::Duration::ZERO, settling).await;
    assert_eq!(store.recover().await.unwrap().progress, progress(2));
}

/// Several at once are settled in the order in which they were sent.
#[tokio::test]
async fn settlements_in_flight_keep_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let store: AnyStore = Arc::new(on_disk(directory.path()).await);
    bound(&store).await;
    let all = (1..=300).map(|number| store.settle(settlement(number)));
    for settled in futures_util::future::join_all(all).await {
        settled.unwrap();
    }
    assert_eq!(store.recover().await.unwrap().progress, progress(300));
}

async fn on_disk(path: &std::path::Path) -> SledStore {
    let options = Options {
        ballast: 0,
        ..Options::default()
    };
    store::open_with(path, options).await.unwrap()
}

async fn bound(store: &AnyStore) {
    store.bind(identity(), progress(0)).await.unwrap();
}

async fn a_new_store_is_empty_and_binds_once(store: AnyStore) {
    let recovered = store.recover().await.unwrap();
    assert_eq!(recovered.identity, None);
    assert_eq!(recovered.progress, Progress::default());
    assert_eq!(recovered.intent, None);
    assert!(store.verdicts().await.unwrap().is_empty());
    assert!(store.schemas().await.unwrap().is_empty());

    bound(&store).await;
    let recovered = store.recover().await.unwrap();
    assert_eq!(recovered.identity, Some(identity()));
    assert_eq!(recovered.progress, progress(0));

    let mut other = identity();
    other.system = "7300000000000000002".into();
    let refused = store.bind(other, progress(5)).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Identity);
    assert!(refused.what.contains("7300000000000000002"), "{refused}");
    assert!(refused.remedy.is_some());
    let refused = store.bind(identity(), progress(5)).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Identity);
    // A refused binding changes nothing and breaks nothing.
    assert_eq!(store.recover().await.unwrap().progress, progress(0));
    store.settle(settlement(1)).await.unwrap();
}

async fn nothing_is_settled_before_it_is_bound(store: AnyStore) {
    let refused = store.settle(settlement(1)).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Store);
}

async fn progress_never_moves_backwards(store: AnyStore) {
    bound(&store).await;
    store.settle(settlement(7)).await.unwrap();
    // Standing still is no step back.
    store.settle(settlement(7)).await.unwrap();
    let inside = Progress {
        checkpoint: Lsn(0x1007),
        settled: at(0x1009, 4),
    };
    let step = Settlement {
        progress: inside,
        ..Settlement::default()
    };
    store.settle(step).await.unwrap();
    assert_eq!(store.recover().await.unwrap().progress, inside);
    let back = Settlement {
        progress: Progress {
            checkpoint: Lsn(0x1008),
            settled: at(0x1009, 3),
        },
        ..Settlement::default()
    };
    let refused = store.settle(back).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Store);
    assert!(refused.remedy.is_some());
}

async fn after_an_error_nothing_is_taken(store: AnyStore) {
    bound(&store).await;
    store.settle(settlement(7)).await.unwrap();
    store.settle(settlement(6)).await.unwrap_err();
    let refused = store.settle(settlement(8)).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Store);
    let refused = store.recover().await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Store);
}

async fn a_settlement_is_all_or_nothing(store: AnyStore) {
    bound(&store).await;
    let one = record(CONTACT, "1");
    let mut all = settlement(1);
    all.ledger = vec![(one.clone(), entry(1, 3))];
    all.shelved = vec![pending(record(CONTACT, "2"), Reason::DeadLetter, 1, 10)];
    all.verdicts = [verdict("public.customer", Verdict::Applied, 1)].into();
    all.schemas = vec![schema(16_400, 1, 2)];
    all.intent = Some(Intent {
        until: at(9, 9),
        shelf: vec![one.clone()],
    });
    store.settle(all.clone()).await.unwrap();
    let recovered = store.recover().await.unwrap();
    assert_eq!(recovered.progress, progress(1));
    assert_eq!(recovered.intent, all.intent);
    let states = store.records(std::slice::from_ref(&one)).await.unwrap();
    assert_eq!(states[0].ledger, Some(entry(1, 3)));
    assert_eq!(
        store.shelf_counts().await.unwrap(),
        [(Reason::DeadLetter, 1)].into()
    );
    assert_eq!(store.verdicts().await.unwrap(), all.verdicts);
    assert_eq!(store.schemas().await.unwrap(), all.schemas);

    // The next one takes all of it back, the intent included.
    let mut back = settlement(2);
    back.ledger_removed = vec![one.clone()];
    back.unshelved = vec![record(CONTACT, "2"), record(CONTACT, "never there")];
    store.settle(back).await.unwrap();
    assert_eq!(store.recover().await.unwrap().intent, None);
    assert!(store.records(&[one]).await.unwrap()[0].ledger.is_none());
    assert!(store.shelf_counts().await.unwrap().is_empty());
}

async fn records_answer_in_the_order_asked(store: AnyStore) {
    bound(&store).await;
    let mut put = settlement(1);
    for number in 0..200 {
        let object = if number % 2 == 0 { ACCOUNT } else { CONTACT };
        put.ledger
            .push((record(object, &number.to_string()), entry(number, 12)));
    }
    put.shelved = vec![pending(record(CONTACT, "17"), Reason::Held, 3, 10)];
    store.settle(put.clone()).await.unwrap();

    let mut asked: Vec<RecordId> = put.ledger.iter().map(|(r, _)| r.clone()).collect();
    asked.extend((0..200).map(|n| record(ACCOUNT, &format!("none {n}"))));
    asked.push(record(ACCOUNT, "0"));
    asked.shuffle(&mut SmallRng::seed_from_u64(5));
    let model: Model = put.ledger.into_iter().collect();
    let states = store.records(&asked).await.unwrap();
    assert_eq!(states.len(), asked.len());
    for (record, state) in asked.iter().zip(&states) {
        assert_eq!(state.ledger.as_ref(), model.get(record), "{record}");
        let shelved = *record == store_support::record(CONTACT, "17");
        assert_eq!(state.pending.is_some(), shelved, "{record}");
    }
    assert!(store.records(&[]).await.unwrap().is_empty());
}

/// Sequences, random inserts, updates with other fields, removals: whatever way the store packs
/// entries, it answers as a plain map does.
async fn the_ledger_follows_a_model(store: AnyStore) {
    bound(&store).await;
    let mut random = SmallRng::seed_from_u64(11);
    let mut model = Model::new();
    for step in 1..=120 {
        let mut put = settlement(step);
        let object = if step % 3 == 0 { ACCOUNT } else { CONTACT };
        let size = random.random_range(1..120);
        for number in 0..size {
            let key = match step % 4 {
                0 => format!("{:08}", step * 1000 + number),
                1 => format!("{:08}", 900_000 - step * 1000 - number),
                _ => some_key(&mut random, 3000),
            };
            let fields = [0, 1, 12, 12, 12, 40][random.random_range(0..6)];
            put.ledger
                .push((record(object, &key), entry(step * 1000 + number, fields)));
        }
        for _ in 0..random.random_range(0..20) {
            put.ledger_removed
                .push(record(object, &some_key(&mut random, 3000)));
        }
        if step % 10 == 0 {
            // Stretches go as a whole.
            put.ledger_removed.extend(
                model
                    .keys()
                    .filter(|r| r.object == object && random.random_bool(0.5))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
        }
        for record in &put.ledger_removed {
            model.remove(record);
        }
        model.extend(put.ledger.iter().cloned());
        store.settle(put.clone()).await.unwrap();

        let mut asked: Vec<RecordId> = put.ledger.into_iter().map(|(r, _)| r).collect();
        asked.extend(put.ledger_removed);
        asked.extend((0..50).map(|_| record(CONTACT, &some_key(&mut random, 3000))));
        for (record, state) in asked.iter().zip(store.records(&asked).await.unwrap()) {
            assert_eq!(state.ledger.as_ref(), model.get(record), "{record}");
        }
    }
    for object in [ACCOUNT, CONTACT] {
        let listed = store.ledger_page(object, None, usize::MAX).await.unwrap();
        let expected: Vec<_> = model
            .iter()
            .filter(|(r, _)| r.object == object)
            .map(|(r, e)| (r.clone(), e.clone()))
            .collect();
        assert_eq!(listed, expected);
    }
}

async fn the_ledger_lists_in_key_order(store: AnyStore) {
    bound(&store).await;
    let mut put = settlement(1);
    for number in 0..500 {
        put.ledger
            .push((record(CONTACT, &number.to_string()), entry(number, 5)));
        put.ledger
            .push((record(ACCOUNT, &number.to_string()), entry(number, 5)));
    }
    store.settle(put).await.unwrap();
    let mut listed: Vec<Key> = Vec::new();
    loop {
        let after = listed.last().cloned();
        let page = store.ledger_page(CONTACT, after, 33).await.unwrap();
        assert!(page.len() <= 33);
        if page.is_empty() {
            break;
        }
        assert!(page.iter().all(|(record, _)| record.object == CONTACT));
        listed.extend(page.into_iter().map(|(record, _)| record.key));
    }
    let mut expected: Vec<Key> = (0..500).map(|n| n.to_string().into()).collect();
    expected.sort();
    assert_eq!(listed, expected);
    assert!(
        store
            .ledger_page(CONTACT, None, 0)
            .await
            .unwrap()
            .is_empty()
    );
    let none = syncline::mapping::ObjectId(1);
    assert!(store.ledger_page(none, None, 10).await.unwrap().is_empty());
}

async fn ids_that_begin_alike_stay_apart(store: AnyStore) {
    bound(&store).await;
    let keys: Vec<String> = [100, 127, 128, 129, 239, 240, 241, 242, 255, 300, 5000]
        .into_iter()
        .flat_map(|len| ["", "a", "b", "é"].map(|end| format!("{}{end}", "x".repeat(len))))
        .chain([String::new()])
        .collect();
    for (number, key) in (1..).zip(&keys) {
        let mut put = settlement(number);
        put.ledger = vec![(record(CONTACT, key), entry(number, 60))];
        put.shelved = vec![waiting(record(CONTACT, key), record(ACCOUNT, key), number)];
        store.settle(put).await.unwrap();
    }
    let asked: Vec<RecordId> = keys.iter().map(|key| record(CONTACT, key)).collect();
    let states = store.records(&asked).await.unwrap();
    for (number, (asked, state)) in (1..).zip(asked.iter().zip(&states)) {
        assert_eq!(state.ledger, Some(entry(number, 60)));
        assert_eq!(state.pending.as_ref().unwrap().record, *asked);
        let parent = record(ACCOUNT, &asked.key);
        let children = store.waiting_for(&parent, 10).await.unwrap();
        assert_eq!(children, std::slice::from_ref(asked));
    }
    let listed = store.ledger_page(CONTACT, None, 1000).await.unwrap();
    assert_eq!(listed.len(), keys.len());
    assert!(listed.is_sorted_by_key(|(record, _)| record.clone()));
    let mut gone = settlement(1000);
    gone.ledger_removed = asked.clone();
    gone.unshelved = asked;
    store.settle(gone).await.unwrap();
    assert!(
        store
            .ledger_page(CONTACT, None, 1)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(store.shelf_counts().await.unwrap().is_empty());
}

async fn an_entry_may_have_very_many_fields(store: AnyStore) {
    bound(&store).await;
    for (step, fields) in [(1, 800), (2, 3), (3, 2000)] {
        let mut put = settlement(step);
        put.ledger = (0..5)
            .map(|n| (record(CONTACT, &n.to_string()), entry(step, fields)))
            .collect();
        store.settle(put.clone()).await.unwrap();
        for (record, entry) in put.ledger {
            let states = store.records(&[record]).await.unwrap();
            assert_eq!(states[0].ledger.as_ref(), Some(&entry));
        }
    }
}

async fn the_shelf_pages_and_counts(store: AnyStore) {
    bound(&store).await;
    let reasons = [
        Reason::DeadLetter,
        Reason::Waiting,
        Reason::Held,
        Reason::Deferred,
    ];
    let mut random = SmallRng::seed_from_u64(3);
    let mut model: BTreeMap<RecordId, Pending> = BTreeMap::new();
    for step in 1..=60 {
        let mut change = settlement(step);
        for _ in 0..random.random_range(1..30) {
            let record = record(CONTACT, &random.random_range(0..300).to_string());
            let reason = reasons[random.random_range(0..4)];
            change.shelved.push(pending(record, reason, step, 30));
        }
        for _ in 0..random.random_range(0..20) {
            let key = random.random_range(0..300).to_string();
            change.unshelved.push(record(CONTACT, &key));
        }
        for record in &change.unshelved {
            model.remove(record);
        }
        for pending in &change.shelved {
            model.insert(pending.record.clone(), pending.clone());
        }
        store.settle(change).await.unwrap();
    }
    let mut counts = BTreeMap::new();
    for pending in model.values() {
        *counts.entry(pending.reason).or_insert(0) += 1;
    }
    assert_eq!(store.shelf_counts().await.unwrap(), counts);
    for reason in reasons.map(Some).into_iter().chain([None]) {
        let mut listed: Vec<Pending> = Vec::new();
        loop {
            let query = ShelfQuery {
                reason,
                after: listed.last().map(|p| p.record.clone()),
                limit: 7,
            };
            let page = store.shelf(query).await.unwrap();
            assert!(page.len() <= 7);
            if page.is_empty() {
                break;
            }
            listed.extend(page);
        }
        let expected: Vec<Pending> = model
            .values()
            .filter(|p| reason.is_none_or(|r| r == p.reason))
            .cloned()
            .collect();
        assert_eq!(listed, expected);
    }
}

async fn entries_without_an_operation_are_not_counted(store: AnyStore) {
    bound(&store).await;
    let blocked = Pending {
        operation: None,
        ..pending(record(CONTACT, "1"), Reason::Held, 1, 10)
    };
    let mut put = settlement(1);
    put.shelved = vec![blocked.clone()];
    store.settle(put).await.unwrap();
    assert!(store.shelf_counts().await.unwrap().is_empty());
    let states = store.records(&[record(CONTACT, "1")]).await.unwrap();
    assert_eq!(states[0].pending.as_deref(), Some(&blocked));
    let mut fill = settlement(2);
    fill.shelved = vec![pending(record(CONTACT, "1"), Reason::Held, 1, 10)];
    store.settle(fill).await.unwrap();
    assert_eq!(
        store.shelf_counts().await.unwrap(),
        [(Reason::Held, 1)].into()
    );
}

async fn children_are_found_by_their_parent(store: AnyStore) {
    bound(&store).await;
    let parent = record(ACCOUNT, "p");
    let other = record(ACCOUNT, "q");
    let child = |n: u64| record(CONTACT, &format!("{n:03}"));
    let mut put = settlement(1);
    put.shelved = (0..20)
        .map(|n| {
            waiting(
                child(n),
                if n < 15 {
                    parent.clone()
                } else {
                    other.clone()
                },
                n,
            )
        })
        .collect();
    store.settle(put).await.unwrap();
    let all: Vec<RecordId> = (0..15).map(child).collect();
    assert_eq!(store.waiting_for(&parent, 100).await.unwrap(), all);
    assert_eq!(store.waiting_for(&parent, 4).await.unwrap(), all[..4]);
    assert!(store.waiting_for(&child(0), 4).await.unwrap().is_empty());

    // One waits for another parent now, one became a dead letter, one is written.
    let mut change = settlement(2);
    change.shelved = vec![
        waiting(child(0), other.clone(), 2),
        pending(child(1), Reason::DeadLetter, 2, 10),
    ];
    change.unshelved = vec![child(2)];
    store.settle(change).await.unwrap();
    assert_eq!(store.waiting_for(&parent, 100).await.unwrap(), all[3..]);
    assert_eq!(store.waiting_for(&other, 100).await.unwrap().len(), 6);
}

async fn pending_operations_may_be_large(store: AnyStore) {
    bound(&store).await;
    // Growing, shrinking, and around the length at which a value is cut.
    let sizes = [
        10, 200_000, 3_900, 4_000, 4_090, 4_096, 70_000, 1_000_000, 10,
    ];
    for (step, size) in (1..).zip(sizes) {
        let large = pending(record(CONTACT, "1"), Reason::DeadLetter, step, size);
        let mut put = settlement(step);
        put.shelved = vec![
            large.clone(),
            pending(record(CONTACT, "2"), Reason::Held, step, size),
        ];
        store.settle(put).await.unwrap();
        let states = store.records(&[record(CONTACT, "1")]).await.unwrap();
        assert_eq!(states[0].pending.as_deref(), Some(&large), "{size} bytes");
        let listed = store
            .shelf(ShelfQuery {
                limit: 10,
                ..ShelfQuery::default()
            })
            .await
            .unwrap();
        assert_eq!(listed.len(), 2);
        assert_eq!(listed[0], large);
    }
}

async fn an_intent_names_thousands_of_records(store: AnyStore) {
    bound(&store).await;
    for (step, count) in [(1, 5_000), (2, 20_000), (3, 0), (4, 300)] {
        let intent = Intent {
            until: at(step * 100, 7),
            shelf: (0..count)
                .map(|n| record(CONTACT, &format!("record {n}")))
                .collect(),
        };
        let mut put = settlement(step);
        put.intent = Some(intent.clone());
        store.settle(put).await.unwrap();
        assert_eq!(store.recover().await.unwrap().intent, Some(intent));
    }
    store.settle(settlement(5)).await.unwrap();
    assert_eq!(store.recover().await.unwrap().intent, None);
}

async fn bulk_jobs_stay_until_they_have_ended(store: AnyStore) {
    bound(&store).await;
    assert_eq!(store.bulk_jobs().await.unwrap(), []);
    let job = |id: &str| BulkJob {
        id: id.into(),
        object: "Account".into(),
        action: "upsert".into(),
        until: at(100, 7),
        page: Some(BulkPage {
            table: "public.company".into(),
            rows: 20_000,
        }),
        stage: 1,
        records: 19_999,
        hash: u128::MAX - 3,
        ..BulkJob::default()
    };
    let mut put = settlement(1);
    put.jobs = vec![job("750b"), job("750a")];
    store.settle(put).await.unwrap();
    // What says nothing of them leaves them where they are.
    store.settle(settlement(2)).await.unwrap();
    assert_eq!(store.bulk_jobs().await.unwrap(), [job("750a"), job("750b")]);
    let mut next = settlement(3);
    next.jobs = vec![job("750c")];
    next.jobs_ended = vec!["750a".into(), "never heard of".into()];
    store.settle(next).await.unwrap();
    assert_eq!(store.bulk_jobs().await.unwrap(), [job("750b"), job("750c")]);
}

async fn verdicts_add_up(store: AnyStore) {
    bound(&store).await;
    let long = "t".repeat(300);
    for step in 1..=10 {
        let mut put = settlement(step);
        put.verdicts = [
            verdict("public.customer", Verdict::Applied, 200),
            verdict(
                "public.customer",
                Verdict::Pending,
                if step > 5 { -3 } else { 3 },
            ),
            verdict("public.company", Verdict::Ignored, 1),
            verdict(&long, Verdict::Stale, 2),
        ]
        .into();
        store.settle(put).await.unwrap();
    }
    let expected: syncline::store::Verdicts = [
        verdict("public.customer", Verdict::Applied, 2000),
        verdict("public.company", Verdict::Ignored, 10),
        verdict(&long, Verdict::Stale, 20),
    ]
    .into();
    assert_eq!(store.verdicts().await.unwrap(), expected);
}

async fn the_latest_schema_of_each_table(store: AnyStore) {
    bound(&store).await;
    let mut put = settlement(1);
    put.schemas = vec![schema(2, 10, 3), schema(1, 11, 1_600)];
    store.settle(put).await.unwrap();
    let mut put = settlement(2);
    // An older version that is told late does not take the newer one's place.
    put.schemas = vec![schema(2, 20, 4), schema(2, 5, 1), schema(u32::MAX, 21, 2)];
    store.settle(put).await.unwrap();
    assert_eq!(
        store.schemas().await.unwrap(),
        [
            schema(1, 11, 1_600),
            schema(2, 20, 4),
            schema(u32::MAX, 21, 2)
        ]
    );
}

async fn the_schema_history_is_told_from_its_beginning(store: AnyStore) {
    bound(&store).await;
    assert!(store.schema_history().await.unwrap().is_empty());
    // Several versions in one transaction, a table made anew under its name, two tables at one position.
    let mut later = schema(1, 10, 3);
    later.from.ordinal = 7;
    let mut anew = schema(9, 10, 2);
    anew.from.ordinal = 7;
    anew.table.name = later.table.name.clone();
    let mut put = settlement(1);
    put.schemas = vec![
        later.clone(),
        schema(2, 11, 1),
        anew.clone(),
        schema(1, 10, 1_600),
    ];
    store.settle(put).await.unwrap();
    let mut put = settlement(2);
    put.schemas = vec![schema(2, 9, 2)];
    store.settle(put).await.unwrap();
    assert_eq!(
        store.schema_history().await.unwrap(),
        [
            schema(2, 9, 2),
            schema(1, 10, 1_600),
            later.clone(),
            anew.clone(),
            schema(2, 11, 1),
        ]
    );
    assert_eq!(
        store.schemas().await.unwrap(),
        [later, schema(2, 11, 1), anew]
    );
    // Told again, it is the same version.
    let mut put = settlement(3);
    put.schemas = vec![schema(2, 11, 4)];
    store.settle(put).await.unwrap();
    let history = store.schema_history().await.unwrap();
    assert_eq!(
        (history.len(), history.last()),
        (5, Some(&schema(2, 11, 4)))
    );
}

async fn a_closed_store_answers_nothing(store: AnyStore) {
    bound(&store).await;
    store.close().await.unwrap();
    let refused = store.recover().await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Store);
    assert!(store.settle(settlement(1)).await.is_err());
}
