//! `TRUNCATE`: halt, delete all, ignore.

use serde_json::json;

use crate::driver::{PATIENCE, Rules, World};

fn rules(on_truncate: &str) -> String {
    format!("on_delete = \"delete\"\non_truncate = \"{on_truncate}\"")
}

#[test]
fn p9_delete_all_goes_through_the_ledger_and_through_a_kill() {
    let customer = rules("delete_all");
    let mut world = World::start(&Rules {
        customer: &customer,
        more: "[brake]\ndeletes = 0\n",
        ..Rules::default()
    });
    world.change("INSERT INTO customer SELECT g, 'n' || g FROM generate_series(1, 4000) g");
    assert_eq!(world.count("Contact"), 4000);
    world.postgres.psql(
        "BEGIN; INSERT INTO customer VALUES (5000, 'just before'); TRUNCATE customer;
         INSERT INTO customer VALUES (1, 'after'); COMMIT",
    );
    let deadline = std::time::Instant::now() + PATIENCE;
    while world.count("Contact") > 3000 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    world.sidecar.kill();
    assert!(
        world.count("Contact") > 1,
        "killed too late to tell anything"
    );
    world.sidecar.start();
    world.running();
    world.through();
    world.shows("Contact", "LastName", &json!([["1", "after"]]));
    world.shelf_empty();
    // The truncate is one change.
    world.accounts_for("public.customer", 4000 + 3);
    world.end();
}

#[test]
fn p9_delete_all_is_braked() {
    let customer = rules("delete_all");
    let mut world = World::start(&Rules {
        customer: &customer,
        more: "[brake]\ndeletes = 100\n",
        ..Rules::default()
    });
    world.change("INSERT INTO customer SELECT g, 'n' || g FROM generate_series(1, 300) g");
    world.change("TRUNCATE customer");
    world.shelved("held", 200);
    assert_eq!(world.count("Contact"), 200);
    world.cli(&["pending", "release", "--all"]);
    world.shelf_empty();
    assert_eq!(world.count("Contact"), 0);
    world.end();
}

/// Delivery stops, says where and what to write, and goes on where it stood.
#[test]
fn p9_halt_waits_for_a_person() {
    for (answer, left) in [("ignore", 3), ("delete_all", 0)] {
        let mut world = World::start(&Rules::default());
        world.change("INSERT INTO customer VALUES (1, 'a'), (2, 'b'), (3, 'c')");
        world.postgres.psql("TRUNCATE customer");
        let out = {
            let deadline = std::time::Instant::now() + PATIENCE;
            loop {
                assert!(std::time::Instant::now() < deadline, "it does not halt");
                if let Some(status) = world.sidecar.ended() {
                    break status;
                }
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        };
        assert!(!out.success());
        let log = world.sidecar.log();
        assert!(log.contains("public.customer was truncated at"), "{log}");
        assert!(log.contains("on_truncate"), "{log}");
        assert_eq!(world.count("Contact"), 3);
        world.sidecar.edit(|config| {
            let rule = format!("on_truncate = \"{answer}\"\ncolumns.last_name");
            config.replace("columns.last_name", &rule)
        });
        world.sidecar.start();
        world.running();
        world.through();
        assert_eq!(world.count("Contact"), left, "{answer}");
        world.accounts_for("public.customer", 4);
        world.end();
    }
}
