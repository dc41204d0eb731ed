//! Which pages were read, from the server's log: the role of [`ROLE`] has its statements written there.

use std::collections::BTreeSet;

use crate::support::postgres::Postgres;

const ROLE: &str = "page_reader";

/// A page of `item`, as it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageRead {
    /// Behind this key.
    pub after: Option<i64>,
    /// It was of use: its watermark was written. Else it only showed that somebody still writes.
    pub marked: bool,
}

/// Makes the role; returns the URL for it.
pub fn logged(postgres: &Postgres) -> String {
    postgres.psql(&format!(
        "CREATE ROLE {ROLE} LOGIN SUPERUSER; ALTER ROLE {ROLE} SET log_statement = 'all'"
    ));
    postgres.url(ROLE)
}

/// Reads what each life of the connector read.
#[derive(Default)]
pub struct Lives {
    known: BTreeSet<u32>,
}

impl Lives {
    /// The pages of the life that has ended since this was last asked.
    pub fn ended(&mut self, postgres: &Postgres) -> Vec<PageRead> {
        let there = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{ROLE}'");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while postgres.psql(&there) != "0" {
            assert!(
                std::time::Instant::now() < deadline,
                "a session of the connector does not end"
            );
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let mut pages = Vec::new();
        let mut new = BTreeSet::new();
        for line in postgres.log().lines() {
            let (page, mark) = (
                line.contains("DECLARE syncline_page "),
                line.contains("pg_logical_emit_message("),
            );
            let Some(pid) = pid(line).filter(|pid| (page || mark) && !self.known.contains(pid))
            else {
                continue;
            };
            new.insert(pid);
            if page {
                pages.push(PageRead {
                    after: after(line),
                    marked: false,
                });
            } else if let Some(last) = pages.last_mut() {
                last.marked = true;
            }
        }
        self.known.extend(new);
        pages
    }
}

/// `2026-11-21 07:00:00.000 UTC [4711] LOG:  statement: …`
fn pid(line: &str) -> Option<u32> {
    let (_, rest) = line.split_once(" [")?;
    let (pid, rest) = rest.split_once("] LOG:  ")?;
    (rest.starts_with("statement: ") || rest.starts_with("execute "))
        .then(|| pid.parse().ok())
        .flatten()
}

fn after(line: &str) -> Option<i64> {
    let (_, condition) = line.split_once(" WHERE \"id\" OPERATOR(pg_catalog.>) '")?;
    Some(condition.split('\'').next()?.parse().unwrap())
}
