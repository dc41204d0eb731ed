//! A database in memory whose changes are streamed as they are made.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use syncline::capture::{
    Catalog, CatalogColumn, CatalogTable, Event, Frame, Page, PageRequest, Reader, Source,
};
use syncline::change::{Column, Lsn, Relation, ReplicaIdentity, Timestamp};
use syncline::decode::Types;
use syncline::decode::encode::{self, Cell, OldCells};
use syncline::fault::{Error, ErrorKind, Result};
use syncline::sinks::BoxFuture;
use tokio::sync::mpsc;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Table {
    Company,
    Contact,
}

impl Table {
    fn oid(self) -> u32 {
        match self {
            Table::Company => 16_401,
            Table::Contact => 16_402,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Table::Company => "company",
            Table::Contact => "contact",
        }
    }

    pub fn object(self) -> &'static str {
        match self {
            Table::Company => "Account",
            Table::Contact => "Contact",
        }
    }
}

const COLUMNS: [(&str, u32, &str); 3] = [
    ("id", 20, "bigint"),
    ("name", 25, "text"),
    ("version", 20, "bigint"),
];

fn relations() -> Vec<Relation> {
    let types = Types::new(Vec::new());
    [Table::Company, Table::Contact]
        .map(|table| Relation {
            oid: table.oid(),
            schema: "public".into(),
            name: table.name().into(),
            identity: ReplicaIdentity::Default,
            columns: COLUMNS
                .iter()
                .map(|(name, oid, _)| Column {
                    attnum: 0,
                    name: (*name).into(),
                    type_oid: *oid,
                    typmod: -1,
                    key: *name == "id",
                    value_type: types.value_type(*oid),
                })
                .collect(),
        })
        .into()
}

pub fn catalog() -> Vec<CatalogTable> {
    [Table::Company, Table::Contact]
        .map(|table| CatalogTable {
            dropped: Vec::new(),
            oid: table.oid(),
            schema: "public".into(),
            name: table.name().into(),
            identity: ReplicaIdentity::Default,
            identity_columns: vec!["id".into()],
            primary_key: vec!["id".into()],
            published: true,
            columns: (1..)
                .zip(COLUMNS)
                .map(|(attnum, (name, type_oid, type_name))| CatalogColumn {
                    attnum,
                    name: name.into(),
                    type_oid,
                    type_name: type_name.into(),
                    typmod: -1,
                    not_null: name == "id",
                })
                .collect(),
        })
        .into()
}

/// When contacts' versions were committed that have not been seen in the CRM: by key, oldest first.
#[derive(Default)]
pub struct Commits(Mutex<HashMap<String, Vec<(i64, Timestamp)>>>);

impl Commits {
    fn made(&self, key: i64, version: i64, at: Timestamp) {
        let mut all = self.0.lock().unwrap();
        all.entry(key.to_string()).or_default().push((version, at));
    }

    /// This version is in the CRM: since when the oldest of those up to it has been waiting.
    pub fn arrived(&self, key: &str, version: i64) -> Timestamp {
        let mut all = self.0.lock().unwrap();
        let versions = all.get_mut(key).unwrap();
        let first = versions.first().copied();
        versions.retain(|(v, _)| *v > version);
        first.map_or(Timestamp(i64::MAX), |(_, at)| at)
    }
}

/// The database, as its users see it.
pub struct Database {
    rows: BTreeMap<(Table, i64), i64>,
    frames: Vec<Bytes>,
    lsn: u64,
    xid: u32,
    version: i64,
    changes: i64,
    stream: mpsc::UnboundedSender<(Vec<Bytes>, Lsn)>,
    shared: Arc<Shared>,
    commits: Arc<Commits>,
    described: bool,
}

#[derive(Default)]
struct Shared {
    /// Frames handed over, and frames read.
    sent: AtomicU64,
    read: AtomicU64,
    confirmed: AtomicU64,
}

/// Its stream.
pub struct Script {
    stream: mpsc::UnboundedReceiver<(Vec<Bytes>, Lsn)>,
    shared: Arc<Shared>,
}

impl Database {
    pub fn new(commits: Arc<Commits>) -> (Database, Script) {
        let (sender, stream) = mpsc::unbounded_channel();
        let shared: Arc<Shared> = Arc::default();
        let database = Database {
            rows: BTreeMap::new(),
            frames: Vec::new(),
            lsn: 0x100,
            xid: 10,
            version: 0,
            changes: 0,
            stream: sender,
            shared: Arc::clone(&shared),
            commits,
            described: false,
        };
        (database, Script { stream, shared })
    }

    /// Inserts or changes a row, in the transaction that is open.
    pub fn change(&mut self, table: Table, id: i64, at: Timestamp) {
        self.version += 1;
        self.changes += 1;
        let (key, version) = (id.to_string(), self.version.to_string());
        let name = format!("name {version}");
        let cells = [Cell::Text(&key), Cell::Text(&name), Cell::Text(&version)];
        let known = self.rows.insert((table, id), self.version).is_some();
        self.frames.push(match known {
            true => encode::update(table.oid(), OldCells::None, &cells),
            false => encode::insert(table.oid(), &cells),
        });
        if table == Table::Contact {
            self.commits.made(id, self.version, at);
        }
    }

    pub fn commit(&mut self, at: Timestamp) {
        if self.frames.is_empty() {
            return;
        }
        self.lsn += 0x100;
        self.xid += 1;
        let (commit, end) = (Lsn(self.lsn), Lsn(self.lsn + 0x40));
        let mut frames = vec![encode::begin(commit, at, self.xid)];
        if !std::mem::replace(&mut self.described, true) {
            frames.extend(relations().iter().map(encode::relation));
        }
        frames.append(&mut self.frames);
        frames.push(encode::commit(commit, end, at));
        self.shared.sent.fetch_add(1, Ordering::SeqCst);
        self.stream.send((frames, end)).unwrap();
    }

    pub fn rows(&self) -> BTreeMap<(Table, i64), i64> {
        self.rows.clone()
    }

    pub fn changes(&self) -> i64 {
        self.changes
    }

    /// All that was streamed has been taken.
    pub fn is_read(&self) -> bool {
        let shared = &self.shared;
        shared.sent.load(Ordering::SeqCst) == shared.read.load(Ordering::SeqCst)
    }

    /// Everything has its verdict.
    pub fn confirmed(&self) -> bool {
        self.is_confirmed(self.lsn)
    }

    /// Everything up to here has its verdict.
    pub fn is_confirmed(&self, lsn: u64) -> bool {
        self.shared.confirmed.load(Ordering::SeqCst) >= lsn
    }

    /// The end of the last transaction.
    pub fn end(&self) -> u64 {
        self.lsn
    }
}

impl Source for Script {
    async fn next(&mut self) -> Result<Event> {
        let Some((frames, _)) = self.stream.recv().await else {
            return std::future::pending().await;
        };
        self.shared.read.fetch_add(1, Ordering::SeqCst);
        let frames = frames.into_iter().map(|payload| Frame {
            lsn: Lsn(0),
            payload,
        });
        Ok(Event::Frames(frames.collect()))
    }

    fn confirm(&mut self, lsn: Lsn) {
        self.shared.confirmed.fetch_max(lsn.0, Ordering::SeqCst);
    }
}

/// Nothing is read beside the stream.
pub struct NoReader;

fn nothing<T: Send + 'static>() -> BoxFuture<'static, Result<T>> {
    let error = Error::new(ErrorKind::SourceRefused, "there is nothing to read");
    Box::pin(std::future::ready(Err(error)))
}

impl Reader for NoReader {
    fn catalog<'a>(&'a self, _: &'a [String], _: &'a [u32]) -> BoxFuture<'a, Result<Catalog>> {
        nothing()
    }

    fn mark<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<u64>> {
        nothing()
    }

    fn page<'a>(&'a self, _: &'a PageRequest) -> BoxFuture<'a, Result<Page>> {
        nothing()
    }

    fn rows<'a>(&'a self, _: u32, _: Option<&'a str>) -> BoxFuture<'a, Result<u64>> {
        nothing()
    }

    fn writers(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        nothing()
    }
}
