//! Live changes go first.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::sides::{self, COLUMNS, PATIENCE, compare, is_loaded, read, settle};

const ITEMS: u64 = 20_000;
const PAGE: u64 = 200;

/// No clock: between a commit and its arrival the write log grows by no more than the pages that were
/// already on their way.
#[test]
fn a_change_waits_for_no_more_than_the_pages_on_their_way() {
    let postgres = sides::postgres(ITEMS);
    let crm = sides::crm(Some("latency=20ms"));
    let pages = format!("page_rows = {PAGE}\n{}", sides::SMALL_PAGES);
    let mut sidecar = sides::sidecar(&postgres.url("postgres"), &crm, &pages);
    sidecar.start();
    sidecar.wait_until("it reads", PATIENCE, |s| read(s) > 0);

    let total = || crm.get("writes?limit=1")["total"].as_u64().unwrap();
    let (mut worst, mut arrived) = (0, 0);
    for change in 0.. {
        // Of rows that have been read, and of rows that have not.
        let id = match change % 2 {
            0 => 1 + change,
            _ => ITEMS - change,
        };
        let earlier = total();
        let version = postgres.psql(&format!(
            "UPDATE item SET name = 'live {change}' WHERE id = {id} RETURNING version"
        ));
        let version: u64 = version.parse().unwrap();
        let committed = total();
        let deadline = Instant::now() + PATIENCE;
        let seq = loop {
            let writes = crm.get(&format!(
                "writes?after={earlier}&external_id={id}&object=Item__c"
            ));
            let all = writes["writes"].as_array().unwrap();
            let ours = all.iter().find(|w| {
                w["outcome"] == "accepted"
                    && w["fields"]["Version__c"].as_f64() == Some(version as f64)
            });
            if let Some(write) = ours {
                break write["seq"].as_u64().unwrap();
            }
            assert!(Instant::now() < deadline, "change {change} does not arrive");
            sleep(Duration::from_millis(5));
        };
        if is_loaded(&sidecar.status().unwrap()) {
            break;
        }
        arrived += 1;
        worst = worst.max(seq.saturating_sub(committed));
    }
    eprintln!(
        "{arrived} changes arrived while {ITEMS} rows were read; {worst} writes lay between at most"
    );
    assert!(arrived >= 10, "only {arrived} changes arrived meanwhile");
    // One page on its way, and one that lies before the change in the stream. A page more is for the
    // change itself, and for other live changes.
    assert!(worst <= 3 * PAGE, "{worst} writes came before a change");
    settle(&mut sidecar, &postgres);
    sidecar.stop();
    compare(&postgres, &crm, "item", "id", "Item__c", COLUMNS);
}
