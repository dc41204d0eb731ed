//! P4: the CRM takes children along with their parent; the database may have kept them.

use crate::driver::{Rules, World};

/// `ON DELETE SET NULL`: Postgres sends the parent's delete first, and a large transaction is cut over
/// many windows.
#[test]
fn p4_a_parent_goes_behind_what_its_transaction_does_to_its_children() {
    let rules = Rules {
        more: "[delivery]\nmax_rows = 100\nlinger = \"1ms\"\n[brake]\ndeletes = 0\n[bulk]\nmode = \"never\"\n",
        ..Rules::default()
    };
    let mut world = World::start(&rules);
    world.change(
        "INSERT INTO company VALUES (1, 'Acme'), (2, 'Keep');
         INSERT INTO customer SELECT g, 'n' || g, NULL, 1 FROM generate_series(1, 3000) g",
    );
    let before = world.records("Contact", "Id");
    world.change("DELETE FROM company WHERE id = 1");
    world.shelf_empty();
    world.until("the company is gone", |_| true);
    assert_eq!(world.count("Account"), 1);
    assert_eq!(world.records("Contact", "Id"), before, "the same records");
    let children = world.crm.records("Contact", "AccountId");
    assert!(children.iter().all(|c| c["AccountId"].is_null()));
    let mut cascaded = 0;
    world.crm.writes(0, |write| {
        cascaded += u64::from(write["via"] == "cascade");
    });
    assert_eq!(cascaded, 0);
    world.accounts_for("public.customer", 6000);
    world.accounts_for("public.company", 3);
    world.end();
}

/// The same with a kill in the middle.
#[test]
fn p4_through_a_kill() {
    let rules = Rules {
        // Windows that may become bulk jobs grow beyond `max_rows`.
        more: "[delivery]\nmax_rows = 50\nlinger = \"1ms\"\n[bulk]\nmode = \"never\"\n",
        ..Rules::default()
    };
    let mut world = World::start(&rules);
    world.change(
        "INSERT INTO company VALUES (1, 'Acme');
         INSERT INTO customer SELECT g, 'n' || g, NULL, 1 FROM generate_series(1, 2000) g",
    );
    let before = world.records("Contact", "Id");
    world.postgres.psql("DELETE FROM company");
    world.until("some of it is done", |s| {
        s["verdicts"]["public.customer"]["applied"].as_i64() > Some(2100)
    });
    world.sidecar.kill();
    assert_eq!(world.count("Account"), 1, "its transaction is not through");
    world.sidecar.start();
    world.running();
    world.through();
    world.shelf_empty();
    assert_eq!(world.count("Account"), 0);
    assert_eq!(world.records("Contact", "Id"), before);
    world.accounts_for("public.customer", 4000);
    world.end();
}
