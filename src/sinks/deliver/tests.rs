#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::AtomicUsize;

use futures_util::future::join_all;
use proptest::prelude::*;
use tokio::time::sleep;

use super::*;
use crate::mapping::{FieldSpec, ObjectDescription, ObjectId, Target};
use crate::planning::{BatchAction, Write};
use crate::sinks::{BoxFuture, CrmRecord};

pub(super) type Answer = Box<dyn Fn(&Batch) -> Result<Vec<Outcome>, Fault> + Send + Sync>;

/// A CRM of one function; keeps what was sent.
pub(super) struct Fake {
    answer: Answer,
    pub(super) takes: Duration,
    sent: Mutex<Vec<(Duration, Vec<String>)>>,
    start: Instant,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    readable: bool,
}

impl Fake {
    pub(super) fn new(
        answer: impl Fn(&Batch) -> Result<Vec<Outcome>, Fault> + Send + Sync + 'static,
    ) -> Fake {
        Fake {
            answer: Box::new(answer),
            takes: Duration::from_millis(100),
            sent: Mutex::default(),
            start: Instant::now(),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
            readable: true,
        }
    }

    /// Answers from a list, then accepts everything.
    pub(super) fn script(answers: Vec<Result<Vec<Outcome>, Fault>>) -> Fake {
        let answers = Mutex::new(VecDeque::from(answers));
        Fake::new(move |batch| match answers.lock().unwrap().pop_front() {
            Some(answer) => answer,
            None => Ok(all_written(batch)),
        })
    }

    pub(super) fn sent(&self) -> Vec<Vec<String>> {
        let sent = self.sent.lock().unwrap();
        sent.iter().map(|(_, keys)| keys.clone()).collect()
    }
}

impl Fake {}

impl Sink for Fake {
    fn limits(&self) -> Limits {
        Limits {
            records: 200,
            guarded: 200,
            bytes: 1 << 20,
        }
    }

    fn describe<'a>(
        &'a self,
        objects: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Option<ObjectDescription>>, Fault>> {
        Box::pin(async move { Ok(vec![None; objects.len()]) })
    }

    fn read<'a>(
        &'a self,
        _: &'a Target,
        keys: Named<'a>,
        _: &'a [u16],
    ) -> BoxFuture<'a, Result<Vec<Option<CrmRecord>>, Fault>> {
        Box::pin(async move {
            match (self.readable, keys.len()) {
                (false, _) => Err(fault(Class::Service, "down")),
                (true, 0..=3) => Ok(vec![None; keys.len()]),
                (true, _) => Err(fault(Class::Split, "too_many")),
            }
        })
    }

    fn create_fields<'a>(
        &'a self,
        _: &'a str,
        specs: &'a [FieldSpec],
    ) -> BoxFuture<'a, Result<Vec<Result<(), Fault>>, Fault>> {
        Box::pin(async move { Ok(vec![Ok(()); specs.len()]) })
    }

    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Vec<Outcome>, Fault>> {
        Box::pin(async move {
            let keys = batch.writes.iter().map(|w| w.key.to_string()).collect();
            self.sent.lock().unwrap().push((self.start.elapsed(), keys));
            let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_under_way.fetch_max(now, Ordering::SeqCst);
            sleep(self.takes).await;
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            (self.answer)(batch)
        })
    }
}

pub(super) fn written(key: &str) -> Outcome {
    Outcome::Written {
        crm_id: Some(key.into()),
        created: true,
    }
}

pub(super) fn all_written(batch: &Batch) -> Vec<Outcome> {
    batch.writes.iter().map(|w| written(&w.key)).collect()
}

pub(super) fn fault(class: Class, code: &'static str) -> Fault {
    Fault::new(class, code, "words")
}

fn refused(class: Class) -> Outcome {
    Outcome::Refused(fault(class, "code"))
}

pub(super) fn batch(keys: &[&str]) -> Batch {
    let write = |key: &&str| Write {
        guard: None,
        key: Key::from(*key),
        from: None,
        crm_id: None,
        fields: Default::default(),
    };
    Batch {
        target: Arc::new(Target {
            id: ObjectId::new("Contact", "Ext__c"),
            table: "public.customer".into(),
            object: "Contact".into(),
            key_field: "Ext__c".into(),
            removal: crate::mapping::Removal::Delete { hard: false },
            on_crm_delete: crate::config::OnCrmDelete::default(),
            creation: crate::mapping::Creation::default(),
            halted: None,
            fields: Vec::new(),
            version: None,
        }),
        action: BatchAction::Upsert,
        writes: keys.iter().map(write).collect(),
    }
}

pub(super) fn delivery(fake: Fake) -> (Arc<Fake>, Delivery) {
    delivery_with(fake, |_| {})
}

fn delivery_with(fake: Fake, change: impl FnOnce(&mut Settings)) -> (Arc<Fake>, Delivery) {
    let mut settings = Settings {
        requests_per_second: 0,
        ..Settings::default()
    };
    change(&mut settings);
    let fake = Arc::new(fake);
    (fake.clone(), Delivery::new(fake, settings, 7))
}

fn class_of(outcome: &Outcome) -> Option<Class> {
    match outcome {
        Outcome::Refused(fault) => Some(fault.class),
        Outcome::Written { .. }
        | Outcome::Absent
        | Outcome::Overtaken
        | Outcome::Deferred { .. } => None,
    }
}

#[tokio::test(start_paused = true)]
async fn outcomes_come_in_the_batchs_order() {
    let (fake, delivery) = delivery(Fake::script(vec![Ok(vec![
        written("a"),
        refused(Class::Record),
        refused(Class::RecordTransient),
        Outcome::Absent,
        refused(Class::MissingParent),
    ])]));
    let outcomes = delivery
        .deliver(batch(&["a", "b", "c", "d", "e"]))
        .await
        .unwrap();
    assert_eq!(
        outcomes,
        [
            written("a"),
            refused(Class::Record),
            written("c"),
            Outcome::Absent,
            refused(Class::MissingParent)
        ]
    );
    // Only what may succeed was sent again.
    assert_eq!(fake.sent(), [vec!["a", "b", "c", "d", "e"], vec!["c"]]);
    assert_eq!(delivery.health().retries, 1);
    assert_eq!(delivery.health().attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn a_service_fault_is_retried_as_long_as_it_takes() {
    let down = Instant::now() + Duration::from_secs(3600);
    let (fake, delivery) = delivery(Fake::new(move |batch| {
        if Instant::now() < down {
            return Err(fault(Class::Service, "SERVER_UNAVAILABLE"));
        }
        Ok(all_written(batch))
    }));
    let start = Instant::now();
    let during = async {
        sleep(Duration::from_secs(1800)).await;
        delivery.health()
    };
    let (outcomes, during) = tokio::join!(delivery.deliver(batch(&["a", "b"])), during);
    assert_eq!(outcomes.unwrap(), [written("a"), written("b")]);
    assert!(start.elapsed() < Duration::from_secs(3600 + 61));
    assert_ne!(during.breaker, BreakerState::Closed);
    assert!(during.failing_for.unwrap() > Duration::from_secs(1700));
    let last = during.last_fault.unwrap();
    assert_eq!(last, ("SERVER_UNAVAILABLE".into(), Class::Service));
    assert_eq!(delivery.health().breaker, BreakerState::Closed);
    assert_eq!(delivery.health().last_fault, None);
    // Never split, never given up, and not hammered.
    assert!(fake.sent().iter().all(|keys| keys.len() == 2));
    assert!(fake.sent().len() < 600, "{}", fake.sent().len());
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_sent_again_as_it_was() {
    let lost = || Err(fault(Class::Unknown, "timeout"));
    let (fake, delivery) = delivery(Fake::script(vec![lost(), lost()]));
    let outcomes = delivery.deliver(batch(&["a", "b"])).await.unwrap();
    assert_eq!(outcomes, [written("a"), written("b")]);
    assert_eq!(fake.sent(), vec![vec!["a", "b"]; 3]);
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_a_few_times_in_smaller_requests() {
    let (fake, delivery) = delivery(Fake::new(|batch| {
        let failing = |w: &Write| match w.key.as_str() {
            "ok" => written("ok"),
            _ => Outcome::Refused(fault(Class::RecordTransient, "UNKNOWN_EXCEPTION")),
        };
        Ok(batch.writes.iter().map(failing).collect())
    }));
    let outcomes = delivery
        .deliver(batch(&["ok", "a", "b", "c", "d"]))
        .await
        .unwrap();
    assert_eq!(outcomes.first(), Some(&written("ok")));
    for outcome in outcomes.iter().skip(1) {
        let expected = fault(Class::Record, "UNKNOWN_EXCEPTION");
        assert_eq!(outcome, &Outcome::Refused(expected));
    }
    let sent = fake.sent();
    let tries = |key: &str| sent.iter().filter(|s| s.iter().any(|k| k == key)).count();
    assert_eq!((tries("a"), tries("d"), tries("ok")), (5, 5, 1));
    assert_eq!(sent.get(1).unwrap().len(), 4);
    assert!(sent.iter().skip(2).all(|keys| keys.len() <= 2));
}

#[tokio::test(start_paused = true)]
async fn a_lock_has_tries_of_its_own_in_ever_smaller_requests() {
    for whole in [false, true] {
        let (fake, delivery) = delivery_with(
            Fake::new(move |batch| {
                let locked = || fault(Class::Locked, "UNABLE_TO_LOCK_ROW");
                if whole && batch.writes.iter().any(|w| w.key != "ok") {
                    return Err(locked());
                }
                let answer = |w: &Write| match w.key.as_str() {
                    "ok" => written("ok"),
                    _ => Outcome::Refused(locked()),
                };
                Ok(batch.writes.iter().map(answer).collect())
            }),
            |settings| {
                settings.record_tries = 1;
                settings.breaker_threshold = 1;
            },
        );
        let start = Instant::now();
        let keys = ["a", "b", "c", "d", "e", "ok"];
        let outcomes = delivery.deliver(batch(&keys)).await.unwrap();
        for (key, outcome) in keys.iter().zip(&outcomes) {
            match *key {
                "ok" => assert_eq!(outcome, &written("ok")),
                _ => assert_eq!(class_of(outcome), Some(Class::Record), "{key}"),
            }
        }
        let sent = fake.sent.lock().unwrap();
        let of = |key: &str| -> Vec<(Duration, usize)> {
            let with = sent
                .iter()
                .filter(|(_, keys)| keys.iter().any(|k| k == key));
            with.map(|(at, keys)| (*at, keys.len())).collect()
        };
        let a = of("a");
        assert_eq!((a.len(), of("e").len()), (12, 12));
        assert_eq!(
            a.iter().map(|(_, n)| *n).take(4).collect::<Vec<_>>(),
            [6, 3, 2, 1]
        );
        // The first pauses are short, none is shorter than a tenth of a second.
        let pauses = a.windows(2).map(|w| w[1].0 - w[0].0 - fake.takes);
        assert!(
            pauses
                .clone()
                .all(|pause| pause >= Duration::from_millis(100))
        );
        assert!(pauses.clone().next().unwrap() <= Duration::from_millis(210));
        assert!(start.elapsed() < Duration::from_secs(120));
        assert_eq!(delivery.health().breaker, BreakerState::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_is_split_until_the_guilty_is_alone() {
    let (fake, delivery) = delivery(Fake::new(|batch| {
        if batch.writes.iter().any(|w| w.key == "bad") {
            return Err(fault(Class::Split, "JSON_PARSER_ERROR"));
        }
        Ok(all_written(batch))
    }));
    let mut keys = vec!["good"; 199];
    keys.insert(77, "bad");
    let start = Instant::now();
    let outcomes = delivery.deliver(batch(&keys)).await.unwrap();
    for (i, outcome) in outcomes.iter().enumerate() {
        let expected = if i == 77 {
            Outcome::Refused(fault(Class::Record, "JSON_PARSER_ERROR"))
        } else {
            written("good")
        };
        assert_eq!(outcome, &expected, "{i}");
    }
    assert!(fake.sent().len() <= 17, "{}", fake.sent().len());
    // Splitting does not wait.
    assert!(start.elapsed() <= Duration::from_millis(100) * 17);
}

#[tokio::test(start_paused = true)]
async fn records_that_want_smaller_requests_get_them() {
    let (fake, delivery) = delivery(Fake::new(|batch| {
        if batch.writes.len() > 3 {
            return Ok(vec![refused(Class::Split); batch.writes.len()]);
        }
        Ok(all_written(batch))
    }));
    let outcomes = delivery.deliver(batch(&["k"; 20])).await.unwrap();
    assert!(outcomes.iter().all(|o| *o == written("k")));
    assert_eq!(fake.sent().last().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_always_times_out_stops_nobody() {
    for alone in [false, true] {
        let (_, delivery) = delivery(Fake::new(|batch| {
            if batch.writes.iter().any(|w| w.key == "slow") {
                return Err(fault(Class::Unknown, "timeout"));
            }
            Ok(all_written(batch))
        }));
        let keys: &[&str] = if alone {
            &["slow"]
        } else {
            &["a", "slow", "b", "c"]
        };
        let outcomes = delivery.deliver(batch(keys)).await.unwrap();
        for (key, outcome) in keys.iter().zip(&outcomes) {
            if *key == "slow" {
                assert_eq!(outcome, &Outcome::Refused(fault(Class::Record, "timeout")));
            } else {
                assert_eq!(outcome, &written(key));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_makes_no_dead_letters() {
    for class in [Class::Unknown, Class::RecordTransient, Class::Service] {
        let down = Instant::now() + Duration::from_secs(7200);
        let mut fake = Fake::new(move |batch| {
            if Instant::now() < down {
                return Err(fault(class, "http_500"));
            }
            Ok(all_written(batch))
        });
        fake.readable = false;
        let (fake, delivery) = delivery(fake);
        let outcomes = delivery
            .deliver(batch(&["a", "b", "c", "d", "e"]))
            .await
            .unwrap();
        assert!(outcomes.iter().all(|o| class_of(o).is_none()), "{class:?}");
        assert!(fake.sent().len() < 1500, "{}", fake.sent().len());
    }
}

#[tokio::test(start_paused = true)]
async fn configuration_and_authentication_stop_delivery() {
    for class in [Class::Configuration, Class::Authentication] {
        let (fake, whole) = delivery(Fake::script(vec![Err(fault(class, "stop"))]));
        assert_eq!(whole.deliver(batch(&["a"])).await.unwrap_err().class, class);
        assert_eq!(fake.sent().len(), 1);
        let mixed = vec![written("a"), refused(class)];
        let (fake, one) = delivery(Fake::script(vec![Ok(mixed)]));
        assert_eq!(
            one.deliver(batch(&["a", "b"])).await.unwrap_err().class,
            class
        );
        assert_eq!(fake.sent().len(), 1);
        assert_eq!(one.health().breaker, BreakerState::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wish_to_wait_is_heeded_by_all() {
    let mut busy = fault(Class::Service, "REQUEST_LIMIT_EXCEEDED");
    busy.retry_after = Some(Duration::from_secs(90));
    let (fake, delivery) = delivery(Fake::script(vec![Err(busy)]));
    let second = async {
        sleep(Duration::from_secs(1)).await;
        delivery.deliver(batch(&["b"])).await.unwrap();
    };
    let (first, ()) = tokio::join!(delivery.deliver(batch(&["a"])), second);
    assert_eq!(first.unwrap(), [written("a")]);
    let sent = fake.sent.lock().unwrap();
    assert_eq!(sent.len(), 3);
    for (at, keys) in sent.iter().skip(1) {
        assert!(*at >= Duration::from_secs(90), "{keys:?} went at {at:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_breaker_lets_one_probe_through() {
    let (fake, delivery) = delivery(Fake::new(|_| Err(fault(Class::Service, "down"))));
    let batches = (0..20).map(|_| delivery.deliver(batch(&["a"])));
    let hour = tokio::time::timeout(Duration::from_secs(3600), join_all(batches));
    assert!(hour.await.is_err());
    let sent = fake.sent.lock().unwrap();
    // At most the requests under way when it opened, then one at a time, some 15 s apart.
    let late = sent
        .iter()
        .filter(|(at, _)| *at > Duration::from_secs(60))
        .count();
    assert!((60..600).contains(&late), "{late}");
    let mut probes = sent.iter().filter(|(at, _)| *at > Duration::from_secs(60));
    let mut last = probes.next().unwrap().0;
    for (at, _) in probes {
        assert!(*at >= last + fake.takes, "two probes at once");
        last = *at;
    }
}

#[tokio::test(start_paused = true)]
async fn permits_bound_what_is_under_way_and_are_not_held_asleep() {
    let mut busy = HashMap::new();
    busy.insert("a".to_owned(), 3);
    let busy = Mutex::new(busy);
    let (fake, delivery) = delivery_with(
        Fake::new(move |batch| {
            let key = batch.writes.first().unwrap().key.to_string();
            match busy.lock().unwrap().get_mut(&key) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    Ok(vec![refused(Class::RecordTransient)])
                }
                _ => Ok(all_written(batch)),
            }
        }),
        |settings| settings.concurrency = 2,
    );
    let keys: Vec<String> = (0..9)
        .map(|i| format!("k{i}"))
        .chain(["a".into()])
        .collect();
    let all = keys.iter().rev().map(|k| delivery.deliver(batch(&[k])));
    let results = join_all(all).await;
    assert!(
        results
            .iter()
            .all(|r| class_of(r.as_ref().unwrap().first().unwrap()).is_none())
    );
    assert_eq!(fake.most_under_way.load(Ordering::SeqCst), 2);
    // Nine other records went in 5 rounds of two while "a" slept between its tries.
    let sent = fake.sent.lock().unwrap();
    let others = sent
        .iter()
        .filter(|(_, k)| k.first().is_some_and(|k| k != "a"));
    assert!(others.map(|(at, _)| *at).max().unwrap() <= Duration::from_millis(600));
}

#[tokio::test(start_paused = true)]
async fn every_attempt_takes_a_token() {
    let locked = || Ok(vec![refused(Class::RecordTransient)]);
    let (fake, delivery) = delivery_with(
        Fake::script(vec![locked(), locked(), locked()]),
        |settings| {
            settings.requests_per_second = 1;
            settings.backoff.base = Duration::ZERO;
        },
    );
    delivery.deliver(batch(&["a"])).await.unwrap();
    let at: Vec<u64> = fake
        .sent
        .lock()
        .unwrap()
        .iter()
        .map(|(at, _)| at.as_secs())
        .collect();
    assert_eq!(at, [0, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn giving_up_half_way_leaves_everything_sound() {
    let (fake, delivery) = delivery_with(
        Fake::script(vec![Err(fault(Class::Service, "down"))]),
        |settings| {
            settings.concurrency = 1;
            settings.breaker_threshold = 1;
        },
    );
    for cut in [50, 150, 400, 700, 900] {
        let cut = Duration::from_millis(cut);
        drop(tokio::time::timeout(cut, delivery.deliver(batch(&["a"]))).await);
    }
    let outcomes = delivery.deliver(batch(&["b"])).await.unwrap();
    assert_eq!(outcomes, [written("b")]);
    assert_eq!(delivery.health().breaker, BreakerState::Closed);
    assert!(fake.sent().len() >= 2);
}

#[tokio::test(start_paused = true)]
async fn time_outs_make_requests_smaller_and_fewer_and_health_brings_them_back() {
    let bad = Instant::now() + Duration::from_secs(30);
    let (fake, delivery) = delivery_with(
        Fake::new(move |batch| match Instant::now() < bad {
            true => Err(fault(Class::Unknown, "timeout")),
            false => Ok(all_written(batch)),
        }),
        |settings| settings.concurrency = 8,
    );
    let names: Vec<String> = (0..200).map(|i| i.to_string()).collect();
    let keys: Vec<&str> = names.iter().map(String::as_str).collect();
    let pace = || {
        let all = delivery.health().pace;
        all.first()
            .map(|p| (p.object.clone(), p.kind, p.records, p.requests))
    };
    let watch = async {
        sleep(Duration::from_secs(29)).await;
        pace().unwrap()
    };
    let all = join_all((0..8).map(|_| delivery.deliver(batch(&keys))));
    let (outcomes, (object, kind, records, requests)) = tokio::join!(all, watch);
    assert_eq!((object.as_str(), kind), ("Contact", "upsert"));
    assert!(records <= 100 && requests <= 4, "{records}, {requests}");
    for outcomes in outcomes {
        let outcomes = outcomes.unwrap();
        let expected: Vec<Outcome> = keys.iter().map(|k| written(k)).collect();
        assert_eq!(outcomes, expected);
    }
    for _ in 0..60 {
        let all = (0..8).map(|_| delivery.deliver(batch(&keys)));
        join_all(all).await;
    }
    assert_eq!(pace().unwrap().2, 200);
    assert!(pace().unwrap().3 >= 7, "{:?}", pace());
    assert_eq!(fake.sent().last().unwrap().len(), 200);
}

#[tokio::test(start_paused = true)]
async fn reads_are_split_and_stay_in_order() {
    let (_, delivery) = delivery(Fake::script(vec![]));
    let keys: Vec<Key> = (0..10).map(|i| Key::from(i.to_string())).collect();
    let target = batch(&[]).target;
    assert_eq!(
        delivery
            .read(&target, Named::Keys(&keys), &[])
            .await
            .unwrap()
            .len(),
        10
    );
    assert_eq!(delivery.deliver(batch(&[])).await.unwrap(), []);
}

#[test]
fn a_run_repeats_itself() {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let count = AtomicUsize::new(0);
            let (fake, delivery) = delivery(Fake::new(move |batch| {
                match count.fetch_add(1, Ordering::SeqCst) % 5 {
                    0 => Err(fault(Class::Service, "x")),
                    1 => Ok(vec![refused(Class::RecordTransient); batch.writes.len()]),
                    2 => Err(fault(Class::Split, "x")),
                    _ => Ok(all_written(batch)),
                }
            }));
            let names: Vec<String> = (0..8).map(|i| i.to_string()).collect();
            let keys: Vec<&str> = names.iter().map(String::as_str).collect();
            join_all(keys.chunks(2).map(|k| delivery.deliver(batch(k)))).await;
            let sent = fake.sent.lock().unwrap();
            sent.clone()
        })
    };
    assert_eq!(run(), run());
}

fn any_class() -> impl Strategy<Value = Class> {
    prop_oneof![
        Just(Class::Record),
        Just(Class::RecordTransient),
        Just(Class::Locked),
        Just(Class::MissingParent),
        Just(Class::Service),
        Just(Class::Unknown),
        Just(Class::Split),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the CRM answers for a while: one outcome a record, each record's own, and each is
    /// sent at least once.
    #[test]
    fn no_record_is_lost_or_mixed_up(
        count in 1_usize..12,
        script in prop::collection::vec(
            prop_oneof![
                any_class().prop_map(Err),
                prop::collection::vec(prop::option::of(any_class()), 12).prop_map(Ok),
            ],
            0..30,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let names: Vec<String> = (0..count).map(|i| format!("k{i}")).collect();
        let keys: Vec<&str> = names.iter().map(String::as_str).collect();
        let own = |w: &Write, class: Option<Class>| match class {
            None => written(&w.key),
            Some(class) => Outcome::Refused(Fault::new(class, w.key.to_string(), "")),
        };
        let script = Mutex::new(VecDeque::from(script));
        let outcomes = runtime.block_on(async {
            let (_, delivery) = delivery(Fake::new(move |batch| {
                match script.lock().unwrap().pop_front() {
                    None => Ok(all_written(batch)),
                    Some(Err(class)) => Err(fault(class, "whole")),
                    Some(Ok(classes)) => {
                        Ok(batch.writes.iter().zip(classes).map(|(w, c)| own(w, c)).collect())
                    }
                }
            }));
            delivery.deliver(batch(&keys)).await.unwrap()
        });
        prop_assert_eq!(outcomes.len(), count);
        for (key, outcome) in keys.iter().zip(&outcomes) {
            match outcome {
                Outcome::Written { crm_id, .. } => prop_assert_eq!(crm_id.as_deref(), Some(*key)),
                Outcome::Refused(f) => {
                    prop_assert!(f.code == *key || f.code == "whole", "{} for {}", f.code, key);
                    prop_assert!(matches!(f.class, Class::Record | Class::MissingParent));
                }
                Outcome::Absent | Outcome::Overtaken | Outcome::Deferred { .. } => {
                    prop_assert!(false)
                }
            }
        }
    }
}
