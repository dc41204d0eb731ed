//! A process that works on a store and can be killed: the test binary itself, started again.
//!
//! What it settles is a function of the settlement's number, so the test knows what has to be there.
#![allow(clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use syncline::fault::Error;
use syncline::store::{self, Checkpoints, Options, SledStore, Store};

use super::*;

pub const ROLE: &str = "SYNCLINE_TEST_STORE_ROLE";
pub const PLACE: &str = "SYNCLINE_TEST_STORE_PLACE";

/// Small, so that pages are evicted and a small disk has room.
pub const OPTIONS: Options = Options {
    cache: 2 << 20,
    ballast: 2 << 20,
};

/// What the test named `helper` in each test binary does: nothing, unless it was started by [`start`].
pub async fn helper() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let place = PathBuf::from(std::env::var(PLACE).unwrap());
    let answer = match role.as_str() {
        "settle" => settle_on(&place, u64::MAX).await,
        "inspect" => inspect(&place).await,
        "soak" => soak(&place).await,
        role => panic!("no role {role}"),
    };
    if let Err(error) = answer {
        say(&format!(
            "refused {:?} {} | {}",
            error.kind,
            error.to_string().replace('\n', " "),
            error.remedy.unwrap_or_default()
        ));
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{line}").unwrap();
    out.flush().unwrap();
}

/// Settles until it is killed or fails; says each number once it is acknowledged.
async fn settle_on(place: &Path, until: u64) -> Result<(), Error> {
    say("opening");
    let store = store::open_with(place, OPTIONS).await?;
    let recovered = store.recover().await?;
    if recovered.identity.is_none() {
        store.bind(identity(), progress(0)).await?;
    }
    let mut number = match recovered.identity {
        Some(_) => recovered.progress.checkpoint.0 - 0x1000,
        None => 0,
    };
    say(&format!("open {number}"));
    while number < until {
        number += 1;
        store.settle(step(number)).await?;
        say(&format!("acknowledged {number}"));
    }
    store.close().await
}

/// Says what is there, and whether it is what has to be there.
async fn inspect(place: &Path) -> Result<(), Error> {
    let store = store::open_with(place, OPTIONS).await?;
    if store.recover().await?.identity.is_none() {
        say("empty");
        return store.close().await;
    }
    let world = World::read(&store).await?;
    let right = world == model(world.number());
    let word = if right { "right" } else { "WRONG" };
    store.close().await?;
    say(&format!("holds {} {word}", world.number()));
    Ok(())
}

pub fn model(number: u64) -> World {
    let mut world = World::bound();
    for number in 1..=number {
        world.settle(step(number));
    }
    world
}

pub fn start(role: &str, place: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "helper", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(PLACE, place)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// The helper's lines, to its end.
pub fn lines(child: &mut Child) -> Vec<String> {
    let out = child.stdout.take().unwrap();
    BufReader::new(out).lines().map_while(Result::ok).collect()
}

pub fn numbers<'a>(lines: &'a [String], word: &'a str) -> impl Iterator<Item = u64> + 'a {
    lines
        .iter()
        .filter_map(move |line| line.strip_prefix(word)?.trim().parse().ok())
}

/// What `inspect` said.
#[derive(Debug, PartialEq)]
pub enum Found {
    Empty,
    Right(u64),
    Wrong(u64),
    Refused(String),
    Died,
}

pub fn inspected(place: &Path) -> Found {
    let mut child = start("inspect", place).spawn().unwrap();
    let lines = lines(&mut child);
    child.wait().unwrap();
    for line in &lines {
        if let Some(rest) = line.strip_prefix("holds ") {
            let (number, word) = rest.split_once(' ').unwrap();
            let number = number.parse().unwrap();
            return match word {
                "right" => Found::Right(number),
                _ => Found::Wrong(number),
            };
        }
        if let Some(rest) = line.strip_prefix("refused ") {
            return Found::Refused(rest.to_owned());
        }
        if line == "empty" {
            return Found::Empty;
        }
    }
    Found::Died
}

pub async fn open(place: &Path) -> Result<SledStore, Error> {
    store::open_with(place, OPTIONS).await
}

/// Twenty thousand records, then every one updated about ten times.
async fn soak(place: &Path) -> Result<(), Error> {
    let store = store::open_with(place, OPTIONS).await?;
    store.bind(identity(), progress(0)).await?;
    let mut random = SmallRng::seed_from_u64(2);
    let mut raw = 0;
    for window in 1..=440_u64 {
        let mut put = settlement(window);
        for n in 0..500 {
            let key = match window {
                ..=40 => (window - 1) * 500 + n,
                _ => random.random_range(0..20_000),
            };
            let entry = entry(window, 12);
            if window <= 40 {
                // Key, position, CRM id, and number and fingerprint of each field.
                raw += 8 + 9 + 18 + 12 * entry.fingerprints.len();
            }
            put.ledger
                .push((record(CONTACT, &format!("{key:08}")), entry));
        }
        store.settle(put).await?;
    }
    let stats = store.stats();
    assert!(stats.commits >= 440 && stats.operations >= stats.commits);
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    say(&format!("file {}", stats.file_bytes));
    say(&format!("raw {raw}"));
    say(&format!("blobs {}", stats.blob_files));
    say(&format!("records {}", store.ledger_records().await?));
    say(&format!(
        "resident {}",
        resident.unwrap().trim().trim_end_matches(" kB")
    ));
    store.close().await
}
