//! The database while it runs: its WAL, what is visible of it, and what is read beside the stream.
//!
//! The history is written beforehand; the database commits it bit by bit. Commits can be streamed
//! before they are visible, as with synchronous replication. Watermarks come in between.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand::RngExt;
use rand::rngs::SmallRng;
use smallvec::SmallVec;
use syncline::capture::{Catalog, Page, PageKey, PageRequest, Reader, Snapshot, WATERMARK};
use syncline::change::{Lsn, Span, Timestamp, Tuple};
use syncline::decode::encode;
use syncline::fault::{Error, ErrorKind, Result};
use syncline::sinks::BoxFuture;

use crate::schema::{self, Table};
use crate::world::{History, Row};

/// A committed transaction in the WAL.
#[derive(Clone, Debug)]
pub struct Committed {
    pub commit: Lsn,
    pub end: Lsn,
    pub time: Timestamp,
    pub xid: u32,
    pub changes: Vec<Bytes>,
}

#[derive(Debug)]
struct Inner {
    wal: Vec<Committed>,
    /// Transactions of the history that have committed.
    committed: usize,
    /// Those that a snapshot sees.
    visible: usize,
    /// Transaction numbers of the history's, as far as committed.
    xids: Vec<u32>,
    xid: u32,
    lsn: u64,
    random: SmallRng,
    pages: u64,
    rows: u64,
}

/// The database. Clones are the same one.
#[derive(Clone)]
pub struct Database {
    history: Arc<History>,
    inner: Arc<Mutex<Inner>>,
}

impl Database {
    /// With what was there before the slot.
    pub fn new(history: Arc<History>, random: SmallRng) -> Self {
        let committed = history.before;
        Database {
            history,
            inner: Arc::new(Mutex::new(Inner {
                wal: Vec::new(),
                committed,
                visible: committed,
                xids: vec![0; committed],
                xid: 700,
                lsn: 0x1000,
                random,
                pages: 0,
                rows: 0,
            })),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("unpoisoned")
    }

    /// Commits some more of the history.
    pub fn go_on(&self, transactions: usize) {
        let mut inner = self.lock();
        for _ in 0..transactions {
            let Some(transaction) = self.history.transactions.get(inner.committed) else {
                return;
            };
            let changes = transaction.clone();
            inner.committed += 1;
            let xid = inner.commit(changes);
            inner.xids.push(xid);
        }
    }

    /// Everything has been committed.
    pub fn is_over(&self) -> bool {
        self.lock().committed == self.history.transactions.len()
    }

    /// Behind the last commit.
    pub fn end(&self) -> Lsn {
        Lsn(self.lock().lsn + 0x40)
    }

    /// What a slot resumed at `start` sends of the WAL so far, and how many entries that covers.
    pub fn since(&self, start: Lsn, skip: usize) -> (Vec<Committed>, usize) {
        let inner = self.lock();
        let new = inner.wal.get(skip..).unwrap_or_default().iter();
        let sent = new.filter(|t| t.commit >= start).cloned();
        (sent.collect(), inner.wal.len())
    }

    /// Changes in the WAL, watermarks included.
    pub fn changes(&self) -> u64 {
        let inner = self.lock();
        inner.wal.iter().map(|t| t.changes.len() as u64).sum()
    }

    /// Pages and rows read.
    pub fn read(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.pages, inner.rows)
    }

    async fn pause(&self) {
        let pause = self.lock().random.random_range(0..40);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }

    /// Now and then the connection is lost.
    fn trouble(&self) -> Result<()> {
        match self.lock().random.random_range(0..40) {
            0 => Err(Error::new(
                ErrorKind::SourceUnreachable,
                "the connection was lost",
            )),
            _ => Ok(()),
        }
    }
}

impl Inner {
    fn commit(&mut self, changes: Vec<Bytes>) -> u32 {
        self.xid += 1;
        self.lsn += 0x100;
        self.wal.push(Committed {
            commit: Lsn(self.lsn),
            end: Lsn(self.lsn + 0x30),
            time: Timestamp(1_700_000_000_000_000 + self.lsn as i64),
            xid: self.xid,
            changes,
        });
        self.xid
    }

    /// What is visible now: a commit may have to wait for its standby.
    fn snapshot(&mut self) -> Snapshot {
        let late = self.random.random_range(0..4);
        self.visible = self.visible.max(self.committed.saturating_sub(late));
        let running: Vec<u64> = self
            .xids
            .get(self.visible..)
            .unwrap_or_default()
            .iter()
            .map(|xid| u64::from(*xid))
            .collect();
        let xmax = u64::from(self.xid) + 1;
        Snapshot {
            xmin: running.first().copied().unwrap_or(xmax),
            xmax,
            running,
        }
    }
}

impl Reader for Database {
    fn catalog<'a>(&'a self, _: &'a [String], _: &'a [u32]) -> BoxFuture<'a, Result<Catalog>> {
        Box::pin(async move {
            let mut inner = self.lock();
            Ok(Catalog {
                lsn: Lsn(inner.lsn + 0x40),
                snapshot: inner.snapshot(),
                tables: schema::catalog(),
                types: Vec::new(),
            })
        })
    }

    fn mark<'a>(&'a self, content: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            self.pause().await;
            self.trouble()?;
            let message = encode::message(true, Lsn(0x10), WATERMARK, content.as_bytes());
            let xid = self.lock().commit(vec![message]);
            self.pause().await;
            // The answer may be lost although it was written.
            self.trouble()?;
            Ok(u64::from(xid))
        })
    }

    fn page<'a>(&'a self, request: &'a PageRequest) -> BoxFuture<'a, Result<Page>> {
        Box::pin(async move {
            self.pause().await;
            self.trouble()?;
            let (snapshot, visible) = {
                let mut inner = self.lock();
                (inner.snapshot(), inner.visible)
            };
            let table = if request.table == Table::Company.oid() {
                Table::Company
            } else {
                Table::Contact
            };
            let number = |key: &PageKey| key[0].parse::<i64>().expect("our own key");
            let after = request.after.as_ref().map_or(i64::MIN, number);
            let state = &self.history.states[visible];
            let found: Vec<(i64, &Row)> = state
                .iter()
                .filter(|((t, id), _)| *t == table && *id > after)
                .map(|((_, id), row)| (*id, row))
                .take(request.rows)
                .collect();
            let end = found.len() < request.rows;
            let last = found.last().map(|(id, _)| vec![id.to_string()]);
            {
                let mut inner = self.lock();
                inner.pages += 1;
                inner.rows += found.len() as u64;
            }
            let page = Page {
                snapshot,
                table: schema::catalog()
                    .into_iter()
                    .find(|t| t.oid == request.table)
                    .expect("one of ours"),
                rows: tuples(&found),
                last,
                end,
            };
            self.pause().await;
            Ok(page)
        })
    }

    fn rows<'a>(&'a self, _: u32, _: Option<&'a str>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move { Ok(self.lock().visible as u64) })
    }

    fn writers(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async { Ok(vec!["somebody".into()]) })
    }
}

fn tuples(rows: &[(i64, &Row)]) -> Vec<Tuple> {
    let mut buffer = BytesMut::new();
    let mut spans = Vec::new();
    for (id, row) in rows {
        let values = [
            Some(id.to_string()),
            Some(row.name.clone()),
            Some(row.version.to_string()),
            row.note.clone(),
            row.parent.map(|p| p.to_string()),
        ];
        let spans_of = values.iter().map(|value| match value {
            None => Span::Null,
            Some(text) => {
                let offset = buffer.len() as u32;
                buffer.extend_from_slice(text.as_bytes());
                Span::Text {
                    offset,
                    len: text.len() as u32,
                }
            }
        });
        spans.push(spans_of.collect::<SmallVec<[Span; 16]>>());
    }
    let frame = buffer.freeze();
    let tuple = |spans| Tuple {
        frame: frame.clone(),
        spans,
    };
    spans.into_iter().map(tuple).collect()
}
