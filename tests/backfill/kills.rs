//! `kill -9` while rows are read and changes of the same table stream.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use syncline::store::{Job, JobKind};

use crate::audit::Audit;
use crate::pages::{Lives, PageRead, logged};
use crate::sides::{
    self, COLUMNS, PATIENCE, SMALL_PAGES, compare, is_loaded, load, number, read, settle,
};
use crate::support::postgres::Postgres;
use crate::support::sidecar::Sidecar;
use crate::writer::Writer;

/// One request in twenty or so meets one of these.
const FAULTS: &str = "throttle=1%,throttle_429=0.5%:10ms,unavailable=1%,lost=1%,cut=0.7%,\
                      unauthorized=0.3%,lock=0.3%,latency=10ms,seed=";
const PAGE: u64 = 200;
/// Rows a kill, so that the table is not read before the last.
const ROWS: u64 = 2_000;

#[test]
fn kills_lose_double_and_turn_back_nothing_and_cost_a_page() {
    let kills = number("SYNCLINE_KILLS").unwrap_or(20);
    let seed = number("SYNCLINE_SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    eprintln!("SYNCLINE_SEED={seed} SYNCLINE_KILLS={kills}");
    let mut random = StdRng::seed_from_u64(seed ^ 0x5EED);
    let items = kills * ROWS;
    let postgres = sides::postgres(items);
    let crm = sides::crm(Some(&format!("{FAULTS}{seed}")));
    let mut sidecar = sides::sidecar(
        &logged(&postgres),
        &crm,
        &format!("page_rows = {PAGE}\n{SMALL_PAGES}"),
    );
    sidecar.start();
    sidecar.wait_until("it runs", PATIENCE, |s| s["state"] == "running");
    // What was there before belongs to the backfill, what comes now to both slots.
    postgres.psql("SELECT pg_create_logical_replication_slot('count', 'pgoutput')");
    let writer = Writer::start(&postgres.url("postgres"), seed, items);

    let started = Instant::now();
    let mut lives = Lives::default();
    let mut pages = Vec::new();
    let mut settled = Vec::new();
    let mut interrupted = 0;
    let mut audit = Audit::default();
    for kill in 1..=kills {
        moment(&mut sidecar, &mut random, &writer);
        sidecar.kill();
        pages.push(lives.ended(&postgres));
        // Opening the store mends what the kill left, which is the connector's own business: every
        // other time only.
        settled.push(None);
        if random.random_range(0..2) == 0 {
            let stored = sidecar.stored();
            interrupted += u64::from(stored.intent);
            let job = stored.loads.first().and_then(|l| l.job());
            let job = job.unwrap_or_else(|| panic!("kill {kill}: everything has been read"));
            let after = job.after.as_ref().map(|key| key[0].parse::<i64>().unwrap());
            *settled.last_mut().unwrap() = Some(after);
        }
        audit.read(&crm);
        let rows = [100, 700, 2_000][random.random_range(0..3)];
        sidecar.sets = vec![format!("delivery.max_rows={rows}")];
        sidecar.start();
    }
    let under_kills = started.elapsed();
    sidecar.wait_until("it runs", PATIENCE, |s| s["state"] == "running");
    assert!(
        !is_loaded(&sidecar.status().unwrap()),
        "everything was read before the last kill"
    );
    sidecar.wait_until("everything is read", PATIENCE, is_loaded);
    let committed = writer.stop();
    settle(&mut sidecar, &postgres);
    sidecar.stop();
    pages.push(lives.ended(&postgres));
    audit.read(&crm);

    let stored = sidecar.stored();
    let first = |job: &&Job| job.kind == JobKind::FirstLoad;
    let job = stored.loads[0].ended.iter().find(first).unwrap();
    let changes = Changes::count(&postgres);
    let again = read_again(&pages, &settled);
    let all: Vec<&PageRead> = pages.iter().flatten().collect();
    let marked = all.iter().filter(|p| p.marked).count() as u64;
    let rows = compare(&postgres, &crm, "item", "id", "Item__c", COLUMNS);
    eprintln!(
        "{kills} kills in {under_kills:.1?} ({interrupted} of those looked at with a window under way), \
         {committed} transactions, {changes:?}; {} pages settled with {:?}; {marked} marked, of those \
         {again} read again; {} read while somebody still wrote; {rows} rows at the end; {}",
        job.pages,
        job.rows,
        all.len() as u64 - marked,
        audit.figures(),
    );
    audit.finish();
    assert_eq!(stored.changes(), changes.all, "P1: verdicts and changes");
    assert!(marked <= job.pages + 2 * kills, "{marked} pages: {job:?}");
    // A row is counted once; of those that came, went or moved meanwhile nobody can say.
    let uncertain = changes.inserted + changes.deleted + 2 * changes.moved;
    assert!(
        job.rows.read.abs_diff(items) <= uncertain,
        "{job:?}, of {items}; {changes:?}"
    );
    let sum = job.rows.written + job.rows.unchanged + job.rows.overtaken + job.rows.pending;
    assert_eq!(sum, job.rows.read, "{job:?}");
}

/// Waits for a random moment: shortly after the start, or some pages later.
fn moment(sidecar: &mut Sidecar, random: &mut StdRng, writer: &Writer) {
    if random.random_range(0..4) == 0 {
        return sleep(Duration::from_millis(random.random_range(0..700)));
    }
    let before = std::cell::Cell::new(None);
    let more = random.random_range(0..5);
    sidecar.wait_until("it reads", PATIENCE, |status| {
        if status["state"] != "running" {
            return false;
        }
        writer.read.store(read(status), Ordering::Relaxed);
        let Some(pages) = load(status)["pages"].as_u64() else {
            return false;
        };
        let first = before.get().unwrap_or(pages);
        before.set(Some(first));
        pages >= first + more || is_loaded(status)
    });
    sleep(Duration::from_millis(random.random_range(0..100)));
}

/// Of each life: no page twice, and all of those that were not settled, at most two (one was on its
/// way and the next one read meanwhile), read again by the next life, which goes on behind what was
/// settled. Returns how many.
fn read_again(pages: &[Vec<PageRead>], settled: &[Option<Option<i64>>]) -> usize {
    let mut again = 0;
    let mut before: Vec<PageRead> = Vec::new();
    for (life, pages) in pages.iter().enumerate() {
        let marked: Vec<PageRead> = pages.iter().copied().filter(|p| p.marked).collect();
        for two in marked.windows(2) {
            assert!(
                two[0].after < two[1].after,
                "a page was read twice without a kill: {pages:?}"
            );
        }
        if let (Some(first), Some(Some(after))) = (
            pages.first(),
            life.checked_sub(1).map(|l| settled[l]).as_ref(),
        ) {
            assert_eq!(first.after, *after, "it goes on behind what was settled");
        }
        let Some(first) = pages.first() else { continue };
        let unsettled = before.iter().filter(|p| p.after >= first.after).count();
        assert!(unsettled <= 2, "{before:?}\nthen {first:?}");
        again += unsettled;
        if !marked.is_empty() {
            before = marked;
        }
    }
    again
}

/// What the WAL holds since the second slot was made.
#[derive(Debug)]
struct Changes {
    all: i64,
    inserted: u64,
    deleted: u64,
    /// To another key.
    moved: u64,
}

impl Changes {
    fn count(postgres: &Postgres) -> Self {
        let counts = postgres.psql(
            "SELECT count(*), count(*) FILTER (WHERE kind = 'I'), count(*) FILTER (WHERE kind = 'D'),
                    count(*) FILTER (WHERE kind = 'U' AND old = 'K')
             FROM (SELECT encode(substr(data, 1, 1), 'escape') AS kind, encode(substr(data, 6, 1), 'escape') AS old
                   FROM pg_logical_slot_get_binary_changes('count', NULL, NULL,
                        'proto_version', '1', 'publication_names', 'syncline')) AS message
             WHERE kind IN ('I', 'U', 'D')",
        );
        let counts: Vec<u64> = counts.split('|').map(|n| n.parse().unwrap()).collect();
        Changes {
            all: counts[0] as i64,
            inserted: counts[1],
            deleted: counts[2],
            moved: counts[3],
        }
    }
}
