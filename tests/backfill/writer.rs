//! Random changes of `item` while its rows are read, half of them near the place where they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

pub struct Writer {
    ends: Arc<AtomicBool>,
    /// Rows that have been read, about.
    pub read: Arc<AtomicU64>,
    thread: JoinHandle<u64>,
}

impl Writer {
    pub fn start(url: &str, seed: u64, items: u64) -> Self {
        let (ends, read) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (until, near, url) = (Arc::clone(&ends), Arc::clone(&read), url.to_owned());
        let thread = std::thread::spawn(move || Changes::new(&url, seed, items).run(&until, &near));
        Writer { ends, read, thread }
    }

    /// Ends it; returns how many transactions it committed.
    pub fn stop(self) -> u64 {
        self.ends.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

struct Changes {
    runtime: Runtime,
    /// Items of odd ids, in short transactions.
    odd: Client,
    /// Items of even ids, in transactions that stay open over several of those.
    even: Client,
    random: StdRng,
    items: u64,
    near: u64,
    texts: u64,
}

impl Changes {
    fn new(url: &str, seed: u64, items: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let connect = || {
            runtime.block_on(async {
                let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
                tokio::spawn(connection);
                client
            })
        };
        let (odd, even) = (connect(), connect());
        Changes {
            runtime,
            odd,
            even,
            random: StdRng::seed_from_u64(seed),
            items,
            near: 0,
            texts: 0,
        }
    }

    fn run(mut self, ends: &AtomicBool, near: &AtomicU64) -> u64 {
        let mut committed = 0;
        let mut open_for = 0;
        loop {
            self.near = near.load(Ordering::Relaxed);
            let even = match open_for {
                0 if ends.load(Ordering::SeqCst) => return committed,
                0 => {
                    open_for = self.random.random_range(1..6);
                    format!("BEGIN; {}", self.statement(0))
                }
                1 => {
                    open_for = 0;
                    committed += 1;
                    format!("{} COMMIT", self.statement(0))
                }
                _ => {
                    open_for -= 1;
                    self.statement(0)
                }
            };
            let statements = self.random.random_range(1..8);
            let odd: String = (0..statements).map(|_| self.statement(1)).collect();
            committed += 1;
            self.runtime.block_on(async {
                self.even.batch_execute(&even).await.unwrap();
                self.odd.batch_execute(&odd).await.unwrap();
            });
            sleep(Duration::from_millis(self.random.random_range(0..25)));
        }
    }

    /// An id of an item that may be there.
    fn id(&mut self, parity: u64) -> u64 {
        let any = match self.random.random_range(0..2) {
            0 => self.random.random_range(0..self.items),
            // The pages that are on their way, and those to come.
            _ => (self.near + self.random.random_range(0..2_000)).saturating_sub(700),
        };
        any / 2 * 2 + parity
    }

    fn statement(&mut self, parity: u64) -> String {
        self.texts += 1;
        let (id, text) = (self.id(parity), format!("'Łódź \"{}\" \\'", self.texts));
        match self.random.random_range(0..20) {
            0..8 => format!("UPDATE item SET name = {text} WHERE id = {id};"),
            8..10 => format!(
                "UPDATE item SET notes = repeat('{} ', 800) || 'y' WHERE id = {id};",
                self.texts
            ),
            10..12 => format!("UPDATE item SET notes = NULL WHERE id = {id};"),
            12..15 => format!("DELETE FROM item WHERE id = {id};"),
            15..18 => {
                let id = self.id(parity) + self.random.random_range(0..50) * 2;
                format!(
                    "INSERT INTO item VALUES ({id}, {text}) ON CONFLICT (id) DO UPDATE SET name = {text};"
                )
            }
            // Notes that are stored apart would spoil the page, rightly.
            _ => format!(
                "UPDATE item SET id = {new} WHERE id = {id} AND length(coalesce(notes, '')) < 100 \
                 AND NOT EXISTS (SELECT FROM item WHERE id = {new});",
                new = self.id(parity),
            ),
        }
    }
}
