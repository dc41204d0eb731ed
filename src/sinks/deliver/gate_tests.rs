//! What waits to be sent is given up when nothing may be sent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::tests::{Fake, all_written, batch, delivery, fault, written};
use tokio::time::sleep;

use super::*;
use crate::planning::Leave;
use crate::sinks::budget::Degree;

const SURE: Outcome = Outcome::Deferred { doubt: false };
const DOUBT: Outcome = Outcome::Deferred { doubt: true };

/// Closes the gate after a while, for good.
async fn close(delivery: &Delivery, after: u64) {
    sleep(Duration::from_secs(after)).await;
    delivery.gate().hold(Leave::Nothing);
}

#[tokio::test(start_paused = true)]
async fn a_crm_that_is_down_is_not_waited_for() {
    for (class, outcome) in [(Class::Service, SURE), (Class::Unknown, DOUBT)] {
        let (_, delivery) = delivery(Fake::new(move |_| Err(fault(class, "down"))));
        let start = Instant::now();
        let (outcomes, ()) =
            tokio::join!(delivery.deliver(batch(&["a", "b"])), close(&delivery, 600));
        assert_eq!(outcomes.unwrap(), [outcome.clone(), outcome]);
        assert!(
            start.elapsed() < Duration::from_secs(602),
            "{:?}",
            start.elapsed()
        );
        assert!(delivery.health().failing_for.is_some());
        // Nothing is even tried from then on.
        let before = delivery.health().attempts;
        assert_eq!(delivery.deliver(batch(&["c"])).await.unwrap(), [SURE]);
        assert_eq!(
            delivery.deliver_again(batch(&["c"]), false).await.unwrap(),
            [DOUBT]
        );
        assert_eq!(delivery.health().attempts, before);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_under_way_is_waited_for() {
    let mut slow = Fake::new(|batch| Ok(all_written(batch)));
    slow.takes = Duration::from_secs(50);
    let (_, delivery) = delivery(slow);
    let (outcomes, ()) = tokio::join!(delivery.deliver(batch(&["a"])), close(&delivery, 1));
    assert_eq!(outcomes.unwrap(), [written("a")]);
}

#[tokio::test(start_paused = true)]
async fn a_re_key_in_doubt_is_never_given_up() {
    let lost = || Err(fault(Class::Unknown, "timeout"));
    let (fake, delivery) = delivery(Fake::script((0..5).map(|_| lost()).collect()));
    let mut re_key = batch(&["new"]);
    re_key.writes[0].from = Some("old".into());
    let (outcomes, ()) = tokio::join!(delivery.deliver(re_key), close(&delivery, 0));
    assert_eq!(outcomes.unwrap(), [written("new")]);
    assert_eq!(fake.sent().len(), 6);
    // Before it is sent there is no doubt.
    let mut re_key = batch(&["new"]);
    re_key.writes[0].from = Some("old".into());
    assert_eq!(delivery.deliver(re_key.clone()).await.unwrap(), [SURE]);
    // An earlier process may have sent it.
    assert_eq!(
        delivery.deliver_again(re_key, false).await.unwrap(),
        [written("new")]
    );
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_used_up_is_a_pause_and_no_outage() {
    let until = Instant::now() + Duration::from_secs(200);
    let (fake, delivery) = delivery(Fake::new(move |batch| {
        if Instant::now() < until {
            let message = "TotalRequests Limit exceeded.";
            return Err(Fault::new(
                Class::Service,
                "REQUEST_LIMIT_EXCEEDED",
                message,
            ));
        }
        Ok(all_written(batch))
    }));
    let start = Instant::now();
    assert_eq!(
        delivery.deliver(batch(&["a", "b"])).await.unwrap(),
        [SURE, SURE]
    );
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(fake.sent().len(), 1);
    assert_eq!(delivery.health().breaker, BreakerState::Closed);
    assert_eq!(delivery.health().failing_for, None);
    assert_eq!(delivery.budget().degree(), Degree::Stop);
    assert!(delivery.budget().probe_at().is_some());
    delivery.look().await.unwrap();
    assert_eq!(delivery.gate().leave(), Leave::All);
}
