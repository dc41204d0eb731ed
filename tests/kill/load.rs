//! Random transactions over two tables of 2,000 records together. Two transactions are open at a
//! time, on rows of their own, so that they commit in another order than they began in.
//!
//! Equal seeds make equal transactions; only their times differ.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

const COMPANIES: i32 = 500;
/// Contacts up to here are the load's own; those behind belong to the second connection.
const CONTACTS: i32 = 1_300;
const OTHERS: i32 = 200;

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n.max(1)
    }

    fn key(&mut self, most: i32) -> i32 {
        1 + self.below(most as u64) as i32
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        of.get(self.below(of.len() as u64) as usize).copied()
    }
}

const RUNS: u8 = 0;
const PAUSES: u8 = 1;
const PAUSED: u8 = 2;
const ENDS: u8 = 3;

pub struct Load {
    state: Arc<AtomicU8>,
    thread: JoinHandle<u64>,
}

impl Load {
    pub fn start(url: &str, seed: u64) -> Self {
        let state = Arc::new(AtomicU8::new(RUNS));
        let (shared, url) = (Arc::clone(&state), url.to_owned());
        let thread = std::thread::spawn(move || Writer::new(&url, seed).run(&shared));
        Load { state, thread }
    }

    /// Holds it between two transactions, or lets it go on.
    pub fn pause(&self, pause: bool) {
        self.state
            .store(if pause { PAUSES } else { RUNS }, Ordering::SeqCst);
        while pause && self.state.load(Ordering::SeqCst) != PAUSED {
            assert!(!self.thread.is_finished(), "the load has failed");
            sleep(Duration::from_millis(5));
        }
    }

    /// Ends it; returns how many transactions it committed.
    pub fn stop(self) -> u64 {
        self.state.store(ENDS, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

/// What the database holds, as far as the load has to know it.
#[derive(Clone, Default)]
struct Rows {
    /// Companies and their parents.
    companies: BTreeMap<i32, Option<i32>>,
    contacts: BTreeMap<i32, ()>,
}

struct Writer {
    runtime: Runtime,
    main: Client,
    other: Client,
    random: Random,
    rows: Rows,
    texts: u64,
}

impl Writer {
    fn new(url: &str, seed: u64) -> Self {
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
        let (main, other) = (connect(), connect());
        Writer {
            runtime,
            main,
            other,
            random: Random(seed ^ 0x10AD),
            rows: Rows::default(),
            texts: 0,
        }
    }

    fn run(mut self, state: &AtomicU8) -> u64 {
        let mut committed = 0;
        // The second transaction stays open over several of the first.
        let mut open_for = 0;
        loop {
            if open_for == 0 && state.load(Ordering::SeqCst) != RUNS {
                match state.load(Ordering::SeqCst) {
                    ENDS => return committed,
                    RUNS => {}
                    _ => {
                        state
                            .compare_exchange(PAUSES, PAUSED, Ordering::SeqCst, Ordering::SeqCst)
                            .ok();
                        sleep(Duration::from_millis(5));
                        continue;
                    }
                }
            }
            let other = match open_for {
                0 => {
                    open_for = 1 + self.random.below(8);
                    format!("BEGIN; {}", self.on_others())
                }
                1 => {
                    open_for = 0;
                    committed += 1;
                    format!("{} COMMIT", self.on_others())
                }
                _ => {
                    open_for -= 1;
                    self.on_others()
                }
            };
            self.runtime
                .block_on(self.other.batch_execute(&other))
                .unwrap();
            let (text, commits) = self.transaction();
            let done = self.runtime.block_on(self.main.batch_execute(&text));
            if let Err(error) = done {
                panic!("the load failed: {error:?}\n{text}");
            }
            committed += u64::from(commits);
            sleep(Duration::from_millis(self.random.below(110)));
        }
    }

    /// Changes of contacts that refer to nobody and that nobody else touches.
    fn on_others(&mut self) -> String {
        let id = CONTACTS + self.random.key(OTHERS);
        let name = self.text();
        match self.random.below(4) {
            0 => format!("DELETE FROM contact WHERE id = {id};"),
            1 => format!(
                "UPDATE contact SET id = {id} WHERE id = {} AND NOT EXISTS (SELECT FROM contact WHERE id = {id});",
                CONTACTS + self.random.key(OTHERS)
            ),
            _ => format!(
                "INSERT INTO contact VALUES ({id}, {name}) ON CONFLICT (id) DO UPDATE SET last_name = {name};"
            ),
        }
    }

    /// A transaction, and whether it commits.
    fn transaction(&mut self) -> (String, bool) {
        let before = self.rows.clone();
        let mut text = String::from("BEGIN;\n");
        match self.random.below(240) {
            // Larger than most windows.
            0 => text += "UPDATE contact SET email = NULL WHERE id <= 1300;\n",
            1 => text += "UPDATE company SET phone = id::text || '/' || version;\n",
            _ => {
                let statements = match self.random.below(12) {
                    0 => 120,
                    _ => 1 + self.random.below(12),
                };
                for _ in 0..statements {
                    if let Some(statement) = self.statement() {
                        text += &statement;
                        text.push('\n');
                    }
                }
            }
        }
        let commits = self.random.below(15) != 0;
        if !commits {
            self.rows = before;
        }
        text += if commits { "COMMIT" } else { "ROLLBACK" };
        (text, commits)
    }

    fn statement(&mut self) -> Option<String> {
        let companies: Vec<i32> = self.rows.companies.keys().copied().collect();
        let contacts: Vec<i32> = self.rows.contacts.keys().copied().collect();
        let kind = self.random.below(100);
        Some(match kind {
            0..22 => {
                let id = self.random.key(CONTACTS);
                if self.rows.contacts.insert(id, ()).is_some() {
                    return None;
                }
                let company = self
                    .random
                    .one(&companies)
                    .map_or("NULL".into(), |c| c.to_string());
                let (name, notes) = (self.text(), self.notes());
                format!(
                    "INSERT INTO contact VALUES ({id}, {name}, 'c{id}@example.test', {company}, {notes});"
                )
            }
            22..32 => {
                let id = self.random.key(COMPANIES);
                if self.rows.companies.contains_key(&id) {
                    return None;
                }
                let parent = self.random.one(&companies).filter(|_| kind < 28);
                self.rows.companies.insert(id, parent);
                let parent = parent.map_or("NULL".into(), |c| c.to_string());
                let (name, notes) = (self.text(), self.notes());
                format!("INSERT INTO company VALUES ({id}, {name}, '555-{id}', {parent}, {notes});")
            }
            32..55 => {
                let id = self.random.one(&contacts)?;
                let value = self.text();
                match self.random.below(4) {
                    0 => format!("UPDATE contact SET last_name = {value} WHERE id = {id};"),
                    1 => {
                        let notes = self.notes();
                        format!("UPDATE contact SET notes = {notes} WHERE id = {id};")
                    }
                    2 => format!("UPDATE contact SET email = NULL WHERE id = {id};"),
                    _ => {
                        let company = self.random.one(&companies)?;
                        format!("UPDATE contact SET company_id = {company} WHERE id = {id};")
                    }
                }
            }
            55..68 => {
                let id = self.random.one(&companies)?;
                let value = self.text();
                match self.random.below(3) {
                    0 => {
                        format!("UPDATE company SET name = {value}, phone = NULL WHERE id = {id};")
                    }
                    1 => format!("UPDATE company SET name = {value} WHERE id = {id};"),
                    _ => {
                        let parent = self.random.one(&companies)?;
                        if self.is_above(id, parent) {
                            return None;
                        }
                        self.rows.companies.insert(id, Some(parent));
                        format!("UPDATE company SET parent_id = {parent} WHERE id = {id};")
                    }
                }
            }
            68..80 => {
                let id = self.random.one(&contacts)?;
                self.rows.contacts.remove(&id);
                format!("DELETE FROM contact WHERE id = {id};")
            }
            80..85 => {
                let id = self.random.one(&companies)?;
                self.rows.companies.remove(&id);
                for parent in self.rows.companies.values_mut() {
                    *parent = parent.filter(|p| *p != id);
                }
                format!("DELETE FROM company WHERE id = {id};")
            }
            85..92 => {
                let (old, new) = (self.random.one(&contacts)?, self.random.key(CONTACTS));
                if self.rows.contacts.contains_key(&new) {
                    return None;
                }
                self.rows.contacts.remove(&old);
                self.rows.contacts.insert(new, ());
                format!("UPDATE contact SET id = {new} WHERE id = {old};")
            }
            92..97 => {
                let (old, new) = (self.random.one(&companies)?, self.random.key(COMPANIES));
                if self.rows.companies.contains_key(&new) {
                    return None;
                }
                self.rename(old, new);
                format!("UPDATE company SET id = {new} WHERE id = {old};")
            }
            97..99 => {
                let (a, b) = (self.random.one(&contacts)?, self.random.one(&contacts)?);
                if a == b {
                    return None;
                }
                format!(
                    "UPDATE contact SET id = 0 WHERE id = {a}; UPDATE contact SET id = {a} WHERE id = {b}; \
                     UPDATE contact SET id = {b} WHERE id = 0;"
                )
            }
            _ => {
                // Gone and back in one transaction, as another row.
                let id = self.random.one(&contacts)?;
                let name = self.text();
                format!(
                    "DELETE FROM contact WHERE id = {id}; INSERT INTO contact VALUES ({id}, {name});"
                )
            }
        })
    }

    fn rename(&mut self, old: i32, new: i32) {
        let parent = self.rows.companies.remove(&old).flatten();
        self.rows.companies.insert(new, parent);
        for parent in self.rows.companies.values_mut() {
            *parent = parent.map(|p| if p == old { new } else { p });
        }
    }

    /// `id` is `other`, or above it: it cannot be put below it.
    fn is_above(&self, id: i32, other: i32) -> bool {
        let mut next = Some(other);
        while let Some(at) = next {
            if at == id {
                return true;
            }
            next = self.rows.companies.get(&at).copied().flatten();
        }
        false
    }

    fn text(&mut self) -> String {
        self.texts += 1;
        let name = [
            "Müller",
            "O''Neil",
            "Łódź",
            "名前",
            "a\\b",
            "Smith \"& Co\"",
            "🦀",
        ];
        format!("'{} {}'", name[self.random.below(7) as usize], self.texts)
    }

    fn notes(&mut self) -> String {
        match self.random.below(4) {
            0 => "NULL".into(),
            1 => format!("'{}'", self.texts),
            // Past the two kilobytes from which a value is stored apart.
            _ => format!("repeat('{} ', 800) || 'x'", self.texts),
        }
    }
}
