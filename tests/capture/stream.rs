//! The stream: nothing lost whatever happens to the connection, and the slot moves on.

use std::time::Duration;

use syncline::capture::{Event, Source};
use syncline::change::Lsn;
use syncline::config::ByteSize;
use syncline::fault::ErrorKind;

use crate::harness::{
    attach, attach_to, confirmed, confirmed_up_to, flushed, server, source, try_attach,
};
use crate::support::postgres::{Options, SUPERUSER, Stop};

#[tokio::test]
async fn rows_arrive_and_the_slot_follows() {
    let pg = server(Options::default());
    let mut consumer = attach(&pg).await;
    assert!(consumer.prepared.slot_created);
    assert_eq!(
        consumer.prepared.start,
        consumer.prepared.identity.consistent_point
    );
    for id in 0..20 {
        pg.psql(&format!("INSERT INTO t VALUES ({id}, 'x')"));
    }
    consumer
        .until("twenty rows", 10, |c| c.inserts.len() == 20)
        .await;
    let taken = consumer.taken;
    confirmed_up_to(&mut consumer, &pg, taken, 10).await;
    let status = consumer.replication.status();
    assert!(status.connected);
    assert!(
        status.lsns.reported <= status.lsns.durable && status.lsns.durable <= status.lsns.received
    );
    consumer.replication.stop().await;
    // The slot is free again at once.
    assert_eq!(pg.psql("SELECT active FROM pg_replication_slots"), "f");
}

#[tokio::test]
async fn a_copy_of_ten_thousand_rows_arrives_once_in_one_transaction() {
    let pg = server(Options::default());
    let mut consumer = attach(&pg).await;
    pg.psql("COPY t FROM PROGRAM 'seq 1 10000 | sed s/$/,x/' (FORMAT csv)");
    consumer
        .until("the copy", 20, |c| c.inserts.len() == 10_000)
        .await;
    assert!(consumer.inserts.values().all(|n| *n == 1));
}

#[tokio::test]
async fn a_consumer_that_sleeps_three_timeouts_keeps_its_connection() {
    let pg = server(Options::default().with("wal_sender_timeout", "2s"));
    let mut config = source(&pg.url(SUPERUSER));
    // Far less than what is sent: the queue is full all the time.
    config.queue = ByteSize(64 << 10);
    let mut consumer = attach_to(config).await;
    pg.psql("INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 20000) g");
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert!(consumer.replication.queued() >= 64 << 10);
    assert!(
        consumer.replication.queued() < 4 << 20,
        "{}",
        consumer.replication.queued()
    );
    consumer
        .until("all rows", 20, |c| c.inserts.len() == 20_000)
        .await;
    assert_eq!(consumer.restarts, 0);
    assert_eq!(consumer.replication.status().restarts, 0);
    assert!(!pg.log().contains("terminating walsender"), "{}", pg.log());
}

#[tokio::test]
async fn an_idle_slot_advances_while_others_write() {
    let pg = server(Options::default().with("wal_sender_timeout", "3s"));
    pg.psql("CREATE TABLE other (id int)");
    pg.psql("CREATE DATABASE elsewhere");
    pg.psql_in("elsewhere", "CREATE TABLE other (id int)");
    let mut consumer = attach(&pg).await;
    for database in ["postgres", "elsewhere"] {
        pg.psql_in(
            database,
            "INSERT INTO other SELECT generate_series(1, 20000)",
        );
        let behind = flushed(&pg);
        confirmed_up_to(&mut consumer, &pg, behind, 15).await;
    }
    assert!(consumer.inserts.is_empty());
    assert!(consumer.idles > 0);
    // Without a word from the consumer nothing moves.
    consumer.confirming = false;
    let before = confirmed(&pg);
    pg.psql("INSERT INTO other VALUES (1)");
    consumer.run_for(Duration::from_secs(4)).await;
    assert_eq!(confirmed(&pg), before);
}

#[tokio::test]
async fn nothing_is_lost_when_walsenders_are_terminated() {
    let pg = server(Options::default());
    let mut consumer = attach(&pg).await;
    for round in 0..5 {
        for id in round * 10..round * 10 + 10 {
            pg.psql(&format!("INSERT INTO t VALUES ({id}, 'x')"));
        }
        assert_eq!(pg.terminate_walsenders(), 1);
        let restarts = consumer.restarts;
        consumer
            .until("a new connection", 20, |c| c.restarts > restarts)
            .await;
    }
    consumer
        .until("fifty rows", 20, |c| c.inserts.len() == 50)
        .await;
}

#[tokio::test]
async fn nothing_is_lost_over_restarts_of_the_server() {
    let mut pg = server(Options::default());
    let mut consumer = attach(&pg).await;
    for (round, how) in [Stop::Fast, Stop::Immediate, Stop::Fast]
        .into_iter()
        .enumerate()
    {
        let id = round * 2;
        pg.psql(&format!("INSERT INTO t VALUES ({id}, 'x')"));
        consumer
            .until("the row before", 20, |c| {
                c.inserts.contains_key(&(id as i32))
            })
            .await;
        // A fast shutdown waits until the walsender's client has confirmed everything.
        let stopped = tokio::task::spawn_blocking(move || {
            pg.stop(how);
            pg
        });
        while !stopped.is_finished() {
            consumer.run_for(Duration::from_millis(50)).await;
        }
        pg = stopped.await.unwrap();
        pg.start_again();
        pg.psql(&format!("INSERT INTO t VALUES ({}, 'x')", id + 1));
        consumer
            .until("the row after", 30, |c| {
                c.inserts.contains_key(&(id as i32 + 1))
            })
            .await;
    }
    assert_eq!(consumer.restarts, 3);
    assert_eq!(consumer.inserts.len(), 6);
}

#[tokio::test]
async fn a_fast_shutdown_does_not_wait_for_a_stalled_consumer_for_ever() {
    let mut pg = server(Options::default().with("wal_sender_timeout", "2s"));
    let consumer = attach(&pg).await;
    pg.psql("INSERT INTO t VALUES (1, 'x')");
    // Nobody takes the row. The server gives up by itself; `stop` fails after thirty seconds.
    drop(consumer);
    tokio::task::spawn_blocking(move || pg.stop(Stop::Fast))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_was_not_confirmed_comes_again() {
    let pg = server(Options::default());
    let mut consumer = attach(&pg).await;
    consumer.confirming = false;
    for id in 0..10 {
        pg.psql(&format!("INSERT INTO t VALUES ({id}, 'x')"));
    }
    consumer
        .until("ten rows", 10, |c| c.inserts.len() == 10)
        .await;
    let identity = consumer.prepared.identity.clone();
    let start = consumer.prepared.start;
    consumer.replication.stop().await;
    let mut again = try_attach(source(&pg.url(SUPERUSER)), Some((&identity, start)))
        .await
        .unwrap();
    assert!(!again.prepared.slot_created);
    again
        .until("ten rows again", 10, |c| c.inserts.len() == 10)
        .await;
    // Half of the way confirmed: the other half comes.
    let taken = again.taken;
    again.replication.stop().await;
    pg.psql("INSERT INTO t VALUES (10, 'x')");
    let mut third = try_attach(source(&pg.url(SUPERUSER)), Some((&identity, taken)))
        .await
        .unwrap();
    third
        .until("the new row", 10, |c| c.inserts.contains_key(&10))
        .await;
    assert_eq!(third.inserts.len(), 1);
}

#[tokio::test]
async fn a_frame_above_the_cap_ends_the_stream_with_its_position() {
    let pg = server(Options::default());
    let mut config = source(&pg.url(SUPERUSER));
    config.max_frame = ByteSize(1 << 20);
    let mut consumer = attach_to(config).await;
    pg.psql("INSERT INTO t VALUES (1, repeat('x', 900000))");
    consumer
        .until("a row below the cap", 10, |c| c.inserts.contains_key(&1))
        .await;
    pg.psql("INSERT INTO t VALUES (2, repeat('x', 1100000))");
    let error = loop {
        if let Err(error) = consumer.step().await {
            break error;
        }
    };
    assert_eq!(error.kind, ErrorKind::Protocol);
    assert!(error.to_string().contains("source.max_frame"), "{error}");
    assert!(error.to_string().contains(" at "), "{error}");
    assert!(error.remedy.unwrap().contains("11000"));
    assert!(
        consumer.replication.next().await.is_err(),
        "an error is final"
    );
}

#[tokio::test]
async fn a_large_row_passes_a_small_queue() {
    let pg = server(Options::default());
    let mut config = source(&pg.url(SUPERUSER));
    config.queue = ByteSize(1000);
    let mut consumer = attach_to(config).await;
    pg.psql("INSERT INTO t SELECT g, repeat('x', 20000000) FROM generate_series(1, 3) g");
    consumer
        .until("three large rows", 60, |c| c.inserts.len() == 3)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_stays_behind_in_the_buffer_when_the_queue_was_full() {
    let pg = server(Options::default());
    let mut config = source(&pg.url(SUPERUSER));
    // Full after every batch, so that task and consumer race for the room.
    config.queue = ByteSize(1);
    let mut consumer = attach_to(config).await;
    for round in 0..40 {
        let (from, to) = (round * 3000 + 1, round * 3000 + 3000);
        pg.psql(&format!(
            "INSERT INTO t SELECT g, 'x' FROM generate_series({from}, {to}) g"
        ));
        consumer
            .until("a round", 5, |c| c.inserts.len() == to as usize)
            .await;
    }
}

#[tokio::test]
async fn next_may_be_cancelled_at_any_time() {
    let pg = server(Options::default());
    let mut consumer = attach(&pg).await;
    pg.psql("INSERT INTO t SELECT g, 'x' FROM generate_series(1, 50000) g");
    let mut rows = 0;
    while rows < 50_000 {
        let next = consumer.replication.next();
        match tokio::time::timeout(Duration::from_micros(200), next).await {
            Err(_) => {}
            Ok(Ok(Event::Frames(frames))) => {
                rows += frames.iter().filter(|f| f.payload[0] == b'I').count()
            }
            Ok(other) => drop(other.unwrap()),
        }
    }
    assert_eq!(rows, 50_000);
}

#[tokio::test]
async fn a_position_never_received_is_not_reported() {
    let pg = server(Options::default());
    let mut consumer = attach(&pg).await;
    consumer.replication.confirm(Lsn(u64::MAX));
    pg.psql("INSERT INTO t VALUES (1, 'x')");
    consumer
        .until("the row", 10, |c| c.inserts.contains_key(&1))
        .await;
    consumer.run_for(Duration::from_secs(2)).await;
    assert!(confirmed(&pg) <= flushed(&pg));
}

/// `cargo test --release --test capture measure -- --ignored --nocapture`
#[tokio::test]
#[ignore = "a measurement, for a quiet machine"]
async fn measure_the_processor_time_a_frame_costs() {
    const ROWS: usize = 1_000_000;
    let pg = server(Options::default());
    pg.psql("DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, a text, b text, c text, d int, e int, f numeric, g timestamptz, h bool, i text, j text, k date)");
    let mut consumer = attach(&pg).await;
    pg.psql(&format!("INSERT INTO t SELECT g, 'Jane', 'Doe', 'jane' || g || '@example.com', g, 7, 12.50, now(), true, '+49 30 1234', 'Berlin', '2024-02-29' FROM generate_series(1, {ROWS}) g"));
    let ticks = || -> u64 {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let (begun, before) = (std::time::Instant::now(), ticks());
    let (mut rows, mut bytes, mut events) = (0, 0, 0);
    while rows < ROWS {
        if let Event::Frames(frames) = consumer.replication.next().await.unwrap() {
            events += 1;
            rows += frames.iter().filter(|f| f.payload[0] == b'I').count();
            bytes += frames.iter().map(|f| f.payload.len()).sum::<usize>();
        }
    }
    let (seconds, cpu) = (
        begun.elapsed().as_secs_f64(),
        (ticks() - before) as f64 / 100.0,
    );
    println!(
        "{ROWS} rows, {} MB in {events} events: {seconds:.2} s, {:.0} rows/s; {:.0} ns of processor time a row",
        bytes / 1_000_000,
        ROWS as f64 / seconds,
        cpu * 1e9 / ROWS as f64,
    );
}

#[tokio::test]
async fn a_peer_that_went_silent_is_noticed() {
    let pg = server(Options::default().with("wal_sender_timeout", "1s"));
    let proxy = crate::harness::Proxy::start(pg.port()).await;
    let url = format!("postgres://{SUPERUSER}@127.0.0.1:{}/postgres", proxy.port);
    let mut consumer = attach_to(source(&url)).await;
    // Quiet, but alive: longer than it takes to be declared dead.
    consumer.run_for(Duration::from_secs(6)).await;
    assert_eq!(consumer.restarts, 0);
    proxy.freeze().await;
    pg.psql("INSERT INTO t VALUES (1, 'x')");
    consumer
        .until("the row, by a new connection", 30, |c| {
            c.inserts.contains_key(&1)
        })
        .await;
    assert_eq!(consumer.restarts, 1);
}
