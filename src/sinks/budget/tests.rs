#![allow(clippy::unwrap_used)]

use super::*;
use tokio::sync::watch::Sender;

const START: Timestamp = Timestamp(1_793_750_400_000_000);
const LIMIT: u64 = 100_000;

/// A budget, the hand of its clock, and the org that it belongs to.
struct Org {
    budget: Budget,
    hand: Sender<Timestamp>,
    clock: Clock,
    /// When each request of anybody was made.
    calls: Vec<(Timestamp, u64)>,
    sent: u64,
    max: u64,
}

impl Org {
    fn new(config: config::Budget, high: usize) -> Org {
        let (hand, clock) = Clock::moved(START);
        let budget = Budget::new(config, clock.clone(), None);
        budget.high_objects(high);
        Org {
            budget,
            hand,
            clock,
            calls: Vec::new(),
            sent: 0,
            max: LIMIT,
        }
    }

    fn usual() -> Org {
        Org::new(config::Budget::default(), 0)
    }

    fn pass(&self, minutes: u64) {
        let later = self.clock.now().after(Duration::from_secs(60 * minutes));
        self.hand.send_replace(later);
    }

    fn used(&self) -> u64 {
        // Quarters of an hour fall out whole.
        let first = account::quarter(self.clock.now()) - DAY;
        let calls = self
            .calls
            .iter()
            .filter(|(at, _)| account::quarter(*at) > first);
        calls.map(|(_, n)| n).sum()
    }

    fn others(&mut self, calls: u64) {
        self.calls.push((self.clock.now(), calls));
    }

    /// We make so many calls; the last answer tells.
    fn ours(&mut self, calls: u64) {
        self.calls.push((self.clock.now(), calls));
        self.sent += calls;
        let heard = Heard {
            used: self.used(),
            max: self.max,
            answered: self.sent,
            sent: self.sent,
        };
        self.budget.observe(self.sent, Some(heard));
    }

    fn report(&self) -> BudgetReport {
        self.budget.report().unwrap()
    }
}

fn close(a: u64, b: u64, by: u64) -> bool {
    a.abs_diff(b) <= by
}

#[test]
fn nothing_is_held_back_while_no_limit_is_known() {
    let budget = Budget::usual();
    budget.observe(1_000_000, None);
    assert_eq!(budget.leave(), Leave::All);
    assert_eq!(budget.report(), None);
    assert_eq!(
        budget.linger(Duration::from_secs(1)),
        Duration::from_secs(1)
    );
}

#[test]
fn ours_and_others_are_told_apart_over_a_rolling_day() {
    let mut org = Org::usual();
    org.others(20_000);
    org.ours(1);
    let report = org.report();
    assert_eq!(
        (report.limit, report.share, report.floor),
        (LIMIT, 50_000, 20_000)
    );
    assert_eq!((report.ours, report.others), (1, 20_000));
    for hour in 0..23 {
        org.pass(60);
        org.others(500);
        org.ours(100);
        let report = org.report();
        let (ours, others) = (1 + (hour + 1) * 100, 20_000 + (hour + 1) * 500);
        assert_eq!(report.ours, ours);
        // What was used before we came is thought to have been spread over the day, so that it seems
        // to fall out; each answer says that it has not.
        assert!(close(report.others, others, 60), "{report:?} {others}");
    }
    org.pass(61);
    org.ours(1);
    // Others' first 20,000 have fallen out, and that is believed when it has been seen for a while.
    for _ in 0..8 {
        org.pass(1);
        org.ours(1);
    }
    let report = org.report();
    assert!(close(report.others, 11_500, 300), "{report:?}");
}

#[test]
fn answers_that_overtake_each_other_are_not_taken_for_others() {
    let mut org = Org::usual();
    org.ours(1);
    for number in 1..=500_u64 {
        org.pass(1);
        // Four are under way; the answers come in any order.
        let answered = number * 4 - number % 4;
        let heard = Heard {
            used: answered + number % 5,
            max: LIMIT,
            answered,
            sent: number * 4 + 4,
        };
        org.budget.observe(number * 4 + 4, Some(heard));
    }
    assert!(org.report().others <= 8, "{:?}", org.report());
}

#[test]
fn a_count_that_lags_is_not_taken_for_others() {
    let mut org = Org::usual();
    org.others(1_000);
    org.ours(1);
    let mut behind = std::collections::VecDeque::from([1_001_u64; 3]);
    for minute in 1..=300_u64 {
        org.pass(1);
        behind.push_back(1_001 + minute * 10);
        let heard = Heard {
            used: behind.pop_front().unwrap(),
            max: LIMIT,
            answered: 1 + minute * 10,
            sent: 1 + minute * 10,
        };
        org.budget.observe(1 + minute * 10, Some(heard));
    }
    let report = org.report();
    assert!(close(report.others, 1_000, 60), "{report:?}");
}

/// What was used evenly over the last 12 hours by others and by us, objects of a high priority, and the
/// degree that follows.
#[test]
fn degrees() {
    for (others, ours, high, expected) in [
        (0, 10, 0, Degree::Normal),
        (20_000, 8_000, 0, Degree::Normal),
        // In 24 hours 60,000 of others and 24,000 of ours.
        (30_000, 12_000, 0, Degree::Save),
        (5_000, 30_000, 0, Degree::Save),
        (5_000, 45_000, 0, Degree::Scarce),
        (5_000, 49_999, 0, Degree::Defer),
        (60_000, 10_000, 0, Degree::Scarce),
        (60_000, 19_970, 0, Degree::Scarce),
        (60_000, 19_995, 0, Degree::Stop),
        (79_995, 1, 0, Degree::Stop),
        (95_000, 1, 0, Degree::Stop),
        // The same where something has a high priority: others go on, and its part is kept.
        (20_000, 5_000, 2, Degree::Normal),
        (39_000, 5_000, 2, Degree::Defer),
        (5_000, 49_999, 2, Degree::Defer),
        (60_000, 19_995, 2, Degree::Stop),
    ] {
        let mut org = Org::new(config::Budget::default(), high);
        org.ours(1);
        let mut given = (0, 1);
        for step in 1..=144_u64 {
            org.pass(5);
            let (o, w) = (others * step / 144, ours * step / 144);
            org.others(o - given.0);
            org.ours(w.saturating_sub(given.1));
            given = (o, w.max(given.1));
        }
        let report = org.report();
        let told = (others, ours, high);
        assert_eq!(report.degree, expected, "{told:?}: {report:?}");
        let leave = match expected {
            Degree::Stop => Leave::Nothing,
            Degree::Defer => Leave::High,
            _ => Leave::All,
        };
        assert_eq!(org.budget.leave(), leave, "{told:?}");
        assert_eq!(org.budget.prefers_bulk(), expected == Degree::Scarce);
        let linger = org.budget.linger(Duration::from_millis(50));
        assert_eq!(
            linger > Duration::from_millis(50),
            matches!(expected, Degree::Save | Degree::Scarce)
        );
    }
}

#[test]
fn it_gets_better_with_a_margin() {
    let mut org = Org::usual();
    org.others(79_000);
    org.ours(1);
    org.pass(5);
    org.others(995);
    org.ours(1);
    assert_eq!(org.budget.degree(), Degree::Stop);
    let mut changes = 0;
    let mut last = Degree::Stop;
    for _ in 0..(30 * 60) {
        org.pass(1);
        let degree = org.budget.degree();
        // Whoever may send does, until it may not.
        if org.budget.leave() == Leave::All {
            org.ours(3);
        }
        changes += u32::from(degree != last);
        last = degree;
        assert!(org.used() < 80_000 || org.budget.leave() == Leave::Nothing);
    }
    assert!(changes < 60, "{changes} changes in 30 hours");
    assert!(org.budget.degree() < Degree::Stop);
}

#[test]
fn the_clock_alone_opens_it_again() {
    let mut org = Org::usual();
    org.ours(1);
    org.pass(60);
    org.others(90_000);
    org.ours(1);
    assert_eq!(org.budget.leave(), Leave::Nothing);
    org.pass(23 * 60);
    assert_eq!(org.budget.leave(), Leave::Nothing);
    org.pass(120);
    assert_eq!(org.budget.leave(), Leave::All);
}

#[test]
fn a_limit_that_is_used_up_is_asked_for_rarely() {
    let mut org = Org::usual();
    org.ours(1);
    assert_eq!(org.budget.exhausted(), Duration::from_secs(60));
    assert_eq!(org.budget.leave(), Leave::Nothing);
    // Others that were under way change nothing.
    assert_eq!(org.budget.exhausted(), Duration::from_secs(60));
    for (waited, next) in [(60, 120), (120, 240), (240, 300), (300, 300)] {
        let probe = org.budget.probe_at().unwrap();
        assert_eq!(probe.since(org.clock.now()).as_secs(), waited);
        org.hand.send_replace(probe);
        assert_eq!(org.budget.exhausted().as_secs(), next);
    }
    assert!(org.report().exhausted);
    org.budget.accepted();
    assert_eq!(org.budget.leave(), Leave::All);
    assert_eq!(org.budget.probe_at(), None);
}

#[test]
fn what_has_a_high_priority_goes_often_while_there_is_room_and_in_time_when_there_is_little() {
    let mut org = Org::new(config::Budget::default(), 2);
    org.ours(1);
    org.budget.sent_high(1);
    let wait = |org: &Org| org.budget.high_at().since(org.clock.now());
    assert!(wait(&org) < Duration::from_secs(30), "{:?}", wait(&org));
    org.pass(1);
    org.others(79_500);
    org.ours(1);
    org.budget.sent_high(1);
    assert_eq!(wait(&org), Duration::from_secs(450));
}

#[test]
fn a_restart_forgets_nothing() {
    let mut org = Org::usual();
    org.others(10_000);
    org.ours(500);
    org.pass(30);
    org.ours(500);
    let kept = org.budget.unsaved().unwrap();
    assert!(org.budget.unsaved().is_none(), "it has been kept");
    let again = Budget::new(config::Budget::default(), org.clock.clone(), Some(kept));
    let (before, after) = (org.report(), again.report().unwrap());
    assert_eq!((before.ours, before.others), (after.ours, after.others));
    assert_eq!(after.ours, 1_000);
    // The new process counts from nothing.
    org.pass(60);
    again.observe(
        10,
        Some(Heard {
            used: 11_010,
            max: LIMIT,
            answered: 10,
            sent: 10,
        }),
    );
    let report = again.report().unwrap();
    assert_eq!(report.ours, 1_010);
    assert!(close(report.others, 10_000, 10), "{report:?}");
}

#[test]
fn the_forecast_knows_what_falls_out_and_what_will_be_added() {
    let mut org = Org::usual();
    org.ours(1);
    // 200 an hour of ours and 1,000 of others, for two days.
    for _ in 0..(48 * 4) {
        org.pass(15);
        org.others(250);
        org.ours(50);
    }
    let report = org.report();
    assert!(close(report.used_in_12_hours, 28_800, 600), "{report:?}");
    assert_eq!(report.runs_out, None);
    // Twice as much from now on, by others: in 12 hours 12,000 more, if it goes on; it fades.
    for _ in 0..4 {
        org.pass(15);
        org.others(500);
        org.ours(50);
    }
    let more = org.report().used_in_12_hours;
    assert!((31_000..42_000).contains(&more), "{more}");
    // Others use it up.
    for _ in 0..4 {
        org.pass(15);
        org.others(10_000);
        org.ours(1);
    }
    let report = org.report();
    assert!(report.runs_out.is_some(), "{report:?}");
}
