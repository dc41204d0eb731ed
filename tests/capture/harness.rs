//! A consumer for tests: takes events, remembers what it saw, confirms like the supervisor would.

use std::collections::BTreeMap;
use std::time::Duration;

use syncline::capture::{Conninfo, Event, Prepared, Replication, Source, Sql, prepare};
use syncline::change::{Identity, Lsn};
use syncline::config;
use syncline::fault::Result;
use tokio::time::{Instant, timeout_at};

use crate::support::postgres::{Options, Postgres, SUPERUSER};

/// A configuration's source section.
pub fn source(url: &str) -> config::Source {
    toml::from_str(&format!("url = '''{url}'''")).unwrap()
}

/// A server with a table `t (id int primary key, v text)`.
pub fn server(options: Options) -> Postgres {
    let pg = Postgres::start(options);
    pg.psql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    pg
}

pub fn tables() -> Vec<String> {
    vec!["public.t".to_owned()]
}

/// What one run has seen.
pub struct Consumer {
    pub replication: Replication,
    pub prepared: Prepared,
    /// Rows by key: how often a committed insert of `t` was seen, and nothing else.
    pub inserts: BTreeMap<i32, usize>,
    open: Option<Vec<i32>>,
    pub restarts: usize,
    /// Positions up to which everything was taken.
    pub taken: Lsn,
    pub idles: usize,
    pub confirming: bool,
}

pub async fn attach(pg: &Postgres) -> Consumer {
    attach_to(source(&pg.url(SUPERUSER))).await
}

pub async fn attach_to(source: config::Source) -> Consumer {
    try_attach(source, None).await.unwrap()
}

pub async fn try_attach(
    source: config::Source,
    stored: Option<(&Identity, Lsn)>,
) -> Result<Consumer> {
    let info = Conninfo::from_config(&source)?;
    let sql = Sql::connect(&info).await?;
    let prepared = prepare(&sql, &source, &tables(), stored).await?;
    let replication = Replication::start(info, &source, &prepared.identity, prepared.start).await?;
    Ok(Consumer {
        replication,
        taken: prepared.start,
        prepared,
        inserts: BTreeMap::new(),
        open: None,
        restarts: 0,
        idles: 0,
        confirming: true,
    })
}

impl Consumer {
    /// Takes one event.
    pub async fn step(&mut self) -> Result<()> {
        match self.replication.next().await? {
            Event::Frames(frames) => {
                for frame in frames {
                    self.frame(&frame.payload);
                }
            }
            Event::Idle { lsn, .. } => {
                assert!(self.open.is_none(), "idle inside a transaction");
                self.idles += 1;
                self.taken = self.taken.max(lsn);
            }
            Event::Restarted => {
                self.restarts += 1;
                self.open = None;
            }
        }
        if self.confirming {
            self.replication.confirm(self.taken);
        }
        Ok(())
    }

    fn frame(&mut self, payload: &[u8]) {
        match payload[0] {
            b'B' => {
                assert!(self.open.is_none(), "a transaction inside another");
                self.open = Some(Vec::new());
            }
            b'C' => {
                for id in self.open.take().expect("a commit without a begin") {
                    *self.inserts.entry(id).or_default() += 1;
                }
                let end = u64::from_be_bytes(payload[10..18].try_into().unwrap());
                self.taken = self.taken.max(Lsn(end));
            }
            // Insert: oid, 'N', column count, then the first column, a text.
            b'I' => {
                assert_eq!((payload[5], payload[8]), (b'N', b't'));
                let len = u32::from_be_bytes(payload[9..13].try_into().unwrap()) as usize;
                let id = std::str::from_utf8(&payload[13..13 + len]).unwrap();
                self.open.as_mut().unwrap().push(id.parse().unwrap());
            }
            _ => {}
        }
    }

    /// Takes events until `done` or the time is up.
    pub async fn until(&mut self, what: &str, seconds: u64, mut done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        while !done(self) {
            match timeout_at(deadline, self.step()).await {
                Ok(result) => result.unwrap(),
                Err(_) => panic!(
                    "{what}: not within {seconds} s; seen {:?}",
                    self.inserts.keys().last()
                ),
            }
        }
    }

    /// Takes what comes for a while.
    pub async fn run_for(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while let Ok(result) = timeout_at(deadline, self.step()).await {
            result.unwrap();
        }
    }
}

/// The slot's confirmed position.
pub fn confirmed(pg: &Postgres) -> Lsn {
    pg.psql("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'syncline'")
        .parse()
        .unwrap()
}

/// Waits until the slot is confirmed up to `lsn`, while the consumer goes on.
pub async fn confirmed_up_to(consumer: &mut Consumer, pg: &Postgres, lsn: Lsn, seconds: u64) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while confirmed(pg) < lsn {
        assert!(Instant::now() < deadline, "{} < {lsn}", confirmed(pg));
        consumer.run_for(Duration::from_millis(100)).await;
    }
}

pub fn flushed(pg: &Postgres) -> Lsn {
    pg.psql("SELECT pg_current_wal_flush_lsn()")
        .parse()
        .unwrap()
}

/// Something between us and the server that can go silent without closing anything.
pub struct Proxy {
    pub port: u16,
    frozen: tokio::sync::watch::Sender<bool>,
}

impl Proxy {
    pub async fn start(target: u16) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (frozen, watch) = tokio::sync::watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut watch = watch.clone();
                tokio::spawn(async move {
                    let mut server = tokio::net::TcpStream::connect(("127.0.0.1", target))
                        .await
                        .unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        () = async { drop(watch.wait_for(|frozen| *frozen).await) } => {
                            // Both sockets stay open, and nothing passes any more.
                            std::future::pending::<()>().await;
                        }
                    }
                });
            }
        });
        Proxy { port, frozen }
    }

    /// Connections that stand now pass nothing any more; new ones do.
    pub async fn freeze(&self) {
        self.frozen.send_replace(true);
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.frozen.send_replace(false);
    }
}
