//! Answers of every kind, and what follows from them.

use std::time::Duration;

use syncline::backoff::Backoff;
use syncline::fault::Class;
use syncline::sinks::salesforce::Salesforce;
use syncline::sinks::{DailyUse, Delivery, Settings, Sink};

use super::server::{Reply, Server};
use super::*;

#[tokio::test]
async fn no_answer_and_no_sensible_answer_are_unknown() {
    for reply in [
        Reply::HangUp,
        Reply::Cut(200, b"[{\"id\":\"003A\"".to_vec()),
        Reply::html(200),
        Reply::json(200, ""),
        Reply::json(200, "[]"),
        Reply::json(200, r#"[{"id":"003A","success":true,"errors":[]}"#),
        results(&[Ok("003A"), Ok("003B")]),
        Reply::html(502),
        Reply::html(500),
        Reply::json(504, ""),
        Reply::json(200, "[]").with("content-encoding", "gzip"),
    ] {
        let server = Server::start(vec![reply.clone()]).await;
        let fault = connect(&server).write(&upsert(&["c-1"])).await.unwrap_err();
        assert_eq!(fault.class, Class::Unknown, "{reply:?}: {fault:?}");
    }
}

#[tokio::test]
async fn a_silent_server_is_left_after_the_timeout() {
    let server = Server::start(vec![Reply::Silence]).await;
    let mut config = destination(&server.url);
    config.timeout = Span(Duration::from_millis(300));
    let salesforce = Salesforce::connect(&config).unwrap();
    let fault = salesforce.write(&upsert(&["c-1"])).await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_ref()),
        (Class::Unknown, "timeout")
    );
}

#[tokio::test]
async fn what_never_reached_the_server_is_not_unknown() {
    let salesforce = Salesforce::connect(&destination("http://127.0.0.1:1")).unwrap();
    let fault = salesforce.write(&upsert(&["c-1"])).await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_ref()),
        (Class::Service, "cannot_connect")
    );
    let nowhere = destination("https://no-such-host.invalid");
    let salesforce = Salesforce::connect(&nowhere).unwrap();
    let fault = salesforce.write(&upsert(&["c-1"])).await.unwrap_err();
    assert_eq!(fault.class, Class::Service, "{fault:?}");
}

#[tokio::test]
async fn refusals_of_the_whole_request_are_classed() {
    for (reply, class) in [
        (
            Reply::error(400, "JSON_PARSER_ERROR", "x [line:1, column:129]"),
            Class::Split,
        ),
        (Reply::json(413, ""), Class::Split),
        (Reply::json(414, "<html>"), Class::Split),
        (Reply::json(431, ""), Class::Split),
        // A field of no record that was sent: the guilty one is looked for.
        (
            Reply::error(400, "INVALID_FIELD", "No such column 'X'"),
            Class::Split,
        ),
        (Reply::error(503, "SERVER_UNAVAILABLE", "x"), Class::Service),
        (
            Reply::error(
                403,
                "REQUEST_LIMIT_EXCEEDED",
                "TotalRequests Limit exceeded.",
            ),
            Class::Service,
        ),
        (Reply::html(503), Class::Service),
        (Reply::json(429, ""), Class::Service),
    ] {
        let server = Server::start(vec![reply.with("retry-after", "17")]).await;
        let fault = connect(&server).write(&upsert(&["c-1"])).await.unwrap_err();
        assert_eq!(fault.class, class, "{fault:?}");
        assert_eq!(fault.retry_after, Some(Duration::from_secs(17)));
    }
}

#[tokio::test]
async fn answers_may_be_compressed_and_tell_of_the_limit() {
    let reply = results(&[Ok("003A")]).gzipped().with(
        "sforce-limit-info",
        "api-usage=25/5000; per-app-api-usage=17/250(appName=x)",
    );
    let server = Server::start(vec![reply]).await;
    let salesforce = connect(&server);
    assert_eq!(
        salesforce.write(&upsert(&["c-1"])).await.unwrap(),
        [written("003A")]
    );
    assert!(
        server
            .api()
            .first()
            .unwrap()
            .header("accept-encoding")
            .contains("gzip")
    );
    let usage = salesforce.usage();
    assert_eq!(
        usage.daily,
        Some(DailyUse {
            used: 25,
            max: 5000
        })
    );
    let calls: Vec<_> = usage.calls.into_iter().filter(|(_, n)| *n > 0).collect();
    assert_eq!(calls, [("token", 1), ("versions", 1), ("upsert", 1)]);
}

#[tokio::test]
async fn large_bodies_are_packed_until_somebody_does_not_take_that() {
    let keys: Vec<String> = (0..30).map(|i| format!("a-rather-long-key-{i}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let all: Vec<_> = keys.iter().map(|_| Ok("003A")).collect();
    let server = Server::start(vec![
        results(&[Ok("003A")]),
        results(&all).gzipped(),
        Reply::json(415, ""),
        results(&all),
        results(&all),
    ])
    .await;
    let salesforce = connect(&server);
    salesforce.write(&upsert(&["small"])).await.unwrap();
    for _ in 0..3 {
        let outcomes = salesforce.write(&upsert(&keys)).await.unwrap();
        assert!(outcomes.iter().all(|o| *o == written("003A")));
    }
    let sent = server.api();
    let packed: Vec<&str> = sent.iter().map(|r| r.header("content-encoding")).collect();
    assert_eq!(packed, ["", "gzip", "gzip", "", ""]);
    assert!(
        sent.iter()
            .all(|r| r.header("accept-encoding").contains("gzip"))
    );
    assert_eq!(sent[1].body, sent[3].body);
    assert!(
        sent[1].sent * 4 < sent[3].sent,
        "{} of {}",
        sent[1].sent,
        sent[3].sent
    );
}

#[tokio::test]
async fn one_bad_value_that_spoils_a_request_is_found() {
    // What stands for Salesforce here refuses the request as long as c-5 is in it.
    let server = Server::start(Vec::new()).await;
    let keys: Vec<String> = (0..8).map(|i| format!("c-{i}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let spoilt = || Reply::error(400, "JSON_PARSER_ERROR", "Cannot deserialize");
    for reply in [
        spoilt(),                                       // 0..8
        results(&[Ok("0"), Ok("1"), Ok("2"), Ok("3")]), // 0..4
        spoilt(),                                       // 4..8
        spoilt(),                                       // 4..6
        results(&[Ok("4")]),                            // 4
        spoilt(),                                       // 5
        results(&[Ok("6"), Ok("7")]),                   // 6..8
    ] {
        server.then(reply);
    }
    let settings = Settings {
        requests_per_second: 0,
        backoff: Backoff {
            base: Duration::from_millis(1),
            cap: Duration::from_millis(5),
        },
        ..Settings::default()
    };
    let delivery = Delivery::new(Arc::new(connect(&server)), settings, 1);
    let outcomes = delivery.deliver(upsert(&keys)).await.unwrap();
    for (i, outcome) in outcomes.iter().enumerate() {
        if i == 5 {
            assert_eq!(class(outcome), (Class::Record, "JSON_PARSER_ERROR"));
        } else {
            assert_eq!(outcome, &written(&i.to_string()));
        }
    }
    assert_eq!(delivery.health().attempts, 7);
}
