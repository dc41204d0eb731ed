#![allow(clippy::unwrap_used)]

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;

fn seconds(seconds: f64) -> Came {
    Came::Answer(Duration::from_secs_f64(seconds))
}

/// Full requests, one after the other.
fn feed(pace: &mut Pace, all: &[Came]) -> (usize, usize) {
    for came in all {
        let made = Made {
            cut: pace.cut(),
            crowded: true,
            records: pace.records(),
        };
        pace.came(made, *came);
    }
    (pace.records(), pace.requests())
}

#[test]
fn what_follows_from_what_came() {
    for (came, follows) in [
        // It begins with all of both, and stays there while all is well.
        (vec![], (200, 10)),
        (vec![seconds(1.0); 50], (200, 10)),
        (vec![seconds(5.0); 50], (200, 10)),
        // Load halves both.
        (vec![Came::Load], (100, 5)),
        (vec![Came::Load; 3], (25, 1)),
        (vec![Came::Load; 30], (1, 1)),
        // And both come back bit by bit.
        (vec![Came::Load, seconds(1.0), seconds(1.0)], (120, 5)),
        (
            [vec![Came::Load], vec![seconds(1.0); 40]].concat(),
            (200, 10),
        ),
        (
            [vec![Came::Load; 30], vec![seconds(0.1); 80]].concat(),
            (200, 10),
        ),
        // One slow answer is chance; two are not.
        (vec![seconds(9.0)], (200, 10)),
        (vec![seconds(9.0), seconds(5.0), seconds(9.0)], (200, 10)),
        (vec![seconds(10.0), seconds(10.0)], (100, 10)),
        (vec![seconds(60.0), seconds(60.0)], (100, 10)),
        // Nothing tells nothing.
        (vec![Came::Nothing; 50], (200, 10)),
    ] {
        let mut pace = Pace::new(200, 10);
        assert_eq!(feed(&mut pace, &came), follows, "{came:?}");
    }
}

#[test]
fn what_began_before_a_cut_says_nothing_of_it() {
    let mut pace = Pace::new(200, 10);
    let made = Made {
        cut: pace.cut(),
        crowded: true,
        records: 200,
    };
    for _ in 0..10 {
        pace.came(made, Came::Load);
    }
    assert_eq!((pace.records(), pace.requests()), (100, 5));
    for _ in 0..10 {
        pace.came(made, seconds(0.1));
    }
    assert_eq!((pace.records(), pace.requests()), (100, 5));
}

#[test]
fn small_requests_raise_nothing() {
    let mut pace = Pace::new(200, 10);
    feed(&mut pace, &[Came::Load]);
    for _ in 0..100 {
        let made = Made {
            cut: pace.cut(),
            crowded: false,
            records: 3,
        };
        pace.came(made, seconds(0.1));
    }
    assert_eq!((pace.records(), pace.requests()), (100, 5));
}

/// A CRM whose answers take as long as their records and the requests beside them make them, that
/// gives up after two minutes, and whose records are locked by chance.
struct Model {
    fixed: f64,
    record: f64,
    /// How much longer each request takes for one more under way.
    crowd: f64,
    /// Chance that a record is locked, for a second of a request under way.
    locks: f64,
    random: SmallRng,
}

impl Model {
    fn new(fixed: f64, record: f64) -> Self {
        Model {
            fixed,
            record,
            crowd: 0.0,
            locks: 0.0,
            random: SmallRng::seed_from_u64(11),
        }
    }

    fn answer(&mut self, records: usize, requests: usize) -> (f64, Came) {
        let alone = self.fixed + self.record * records as f64;
        let noise = self.random.random_range(0.85..1.15);
        let took = alone * (1.0 + self.crowd * (requests as f64 - 1.0)) * noise;
        if took > 120.0 {
            return (120.0, Came::Load);
        }
        let chance = (self.locks * took * requests as f64).min(1.0);
        let locked = (0..records)
            .filter(|_| self.random.random_bool(chance))
            .count();
        match locked * 10 >= records.max(1) {
            true => (took, Came::Load),
            false => (took, seconds(took)),
        }
    }
}

/// Rounds of as many full requests as may be: the sizes, the numbers of requests, the times.
fn run(pace: &mut Pace, model: &mut Model, rounds: usize) -> Vec<(usize, usize, f64)> {
    let mut seen = Vec::new();
    for _ in 0..rounds {
        let (records, requests) = (pace.records(), pace.requests());
        let cut = pace.cut();
        for _ in 0..requests {
            let (took, came) = model.answer(records, requests);
            let made = Made {
                cut,
                crowded: true,
                records,
            };
            pace.came(made, came);
            seen.push((records, requests, took));
        }
    }
    seen
}

fn spread(seen: &[(usize, usize, f64)]) -> (usize, usize) {
    let sizes = seen.iter().map(|(records, ..)| *records);
    (sizes.clone().min().unwrap(), sizes.max().unwrap())
}

#[test]
fn a_healthy_crm_gets_full_requests_always() {
    let mut pace = Pace::new(200, 10);
    let seen = run(&mut pace, &mut Model::new(0.2, 0.01), 500);
    assert_eq!(spread(&seen), (200, 200));
    assert_eq!(pace.requests(), 10);
}

#[test]
fn it_converges_to_the_target_and_stays_there() {
    // 40 records take 5 s; 200 would take 25.
    for record in [0.05, 0.125, 0.5, 2.0] {
        let mut pace = Pace::new(200, 10);
        let mut model = Model::new(0.0, record);
        let before = run(&mut pace, &mut model, 20);
        let after = run(&mut pace, &mut model, 400);
        let (least, most) = spread(&after);
        let fit = 5.0 / record;
        let (low, high) = ((fit * 0.6) as usize, ((fit * 1.5) as usize).min(200));
        assert!(
            least >= low && most <= high,
            "{record}: {least}…{most} of {fit}"
        );
        let calls = before.len();
        assert!(calls <= 200 && pace.requests() == 10, "{record}");
        let median = pace.median().unwrap().as_secs_f64();
        assert!((2.5..6.5).contains(&median), "{record}: {median}");
    }
}

#[test]
fn it_recovers_when_the_crm_does() {
    let mut pace = Pace::new(200, 10);
    run(&mut pace, &mut Model::new(0.0, 1.0), 60);
    assert!(pace.records() < 12, "{}", pace.records());
    let seen = run(&mut pace, &mut Model::new(0.2, 0.01), 12);
    assert_eq!((pace.records(), pace.requests()), (200, 10), "{seen:?}");
}

/// Requests that take long whatever is in them: smaller ones would only be more.
#[test]
fn where_size_is_not_the_cause_requests_stay_full() {
    let mut pace = Pace::new(200, 10);
    let mut model = Model::new(9.0, 0.0);
    run(&mut pace, &mut model, 20);
    let seen = run(&mut pace, &mut model, 200);
    let whole = |(records, requests, _): &&(usize, usize, f64)| *records == 200 && *requests == 10;
    let whole = seen.iter().filter(whole).count();
    assert!(whole * 10 >= seen.len() * 9, "{whole} of {}", seen.len());
}

#[test]
fn where_the_crowd_is_the_cause_fewer_go_at_once() {
    let mut pace = Pace::new(200, 16);
    let mut model = Model::new(1.0, 0.005);
    model.crowd = 0.5;
    run(&mut pace, &mut model, 60);
    let seen = run(&mut pace, &mut model, 200);
    let mean = seen.iter().map(|(.., took)| took).sum::<f64>() / seen.len() as f64;
    assert!(mean < 7.0, "{mean}");
}

#[test]
fn time_outs_and_lock_storms_bring_it_down_and_it_comes_back() {
    let mut pace = Pace::new(200, 10);
    let mut hanging = Model::new(0.0, 1.0);
    let first = run(&mut pace, &mut hanging, 1);
    assert!(first.iter().all(|(.., took)| *took == 120.0));
    run(&mut pace, &mut hanging, 60);
    assert!(pace.records() <= 12);
    let mut pace = Pace::new(200, 10);
    let mut locked = Model::new(0.1, 0.02);
    locked.locks = 0.01;
    run(&mut pace, &mut locked, 60);
    let seen = run(&mut pace, &mut locked, 300);
    let exposure = |(records, requests, _): &(usize, usize, f64)| records * requests;
    let mean = seen.iter().map(exposure).sum::<usize>() / seen.len();
    assert!((1..1_000).contains(&mean), "{mean}");
    locked.locks = 0.0;
    run(&mut pace, &mut locked, 60);
    assert_eq!((pace.records(), pace.requests()), (200, 10));
}
