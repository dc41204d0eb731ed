//! Everything that can be wrong at the start: the message that a person sees, the exit code, and that
//! neither a slot nor a publication is left half-made.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::harness::{Place, ROLE, shared};
use crate::support::postgres::{Options, Postgres};

/// `check` and `run` say the same, and neither leaves anything.
#[track_caller]
fn both_say(place: &Place, postgres: &Postgres, what: &str, remedy: &str, code: i32) {
    let checked = place.cli(&["check"]).is(2);
    assert!(
        checked.out.contains(what) && checked.out.contains(remedy),
        "{what}\n{remedy}\n{checked:#?}"
    );
    assert!(checked.out.contains("Problems\n"));
    let ran = place.run_fails().is(code).says(what).says(remedy);
    show(&ran.err);
    place.nothing_left(postgres);
}

/// With `--nocapture`: the messages as a person sees them.
fn show(err: &str) {
    let from = err.find("error:").unwrap_or(0);
    println!("---\n{}", &err[from..]);
}

#[test]
fn a_wrong_password() {
    let postgres = Postgres::start(Options {
        hba: Some("local all all trust\nhost all all all scram-sha-256\n".into()),
        ..Options::default()
    });
    postgres.psql(&format!(
        "CREATE ROLE {ROLE} LOGIN REPLICATION PASSWORD 'right'"
    ));
    let place = Place::new(&postgres, "password");
    let mut wrong = place.command(&["check"]);
    wrong.env("SYNCLINE_SOURCE__PASSWORD", "wr0ng-secret");
    let checked = crate::harness::end(wrong).is(2);
    assert!(!format!("{checked:?}").contains("wr0ng-secret"));
    place.edit("slot = ", "password = \"wr0ng-secret\"\nslot = ");
    both_say(
        &place,
        &postgres,
        &format!("password authentication failed for user \"{ROLE}\""),
        "SYNCLINE_SOURCE__PASSWORD",
        1,
    );
    // And it is only the password.
    place.edit("wr0ng-secret", "right");
    place.cli(&["check"]).is(0).prints("Ready to run");
}

#[test]
fn no_right_to_replicate() {
    let postgres = shared();
    postgres.psql("CREATE ROLE plain LOGIN");
    let place = Place::new(postgres, "no_right");
    postgres.psql_in(&place.database, "GRANT sync_role TO plain");
    place.edit("sync_role@", "plain@");
    both_say(
        &place,
        postgres,
        "no right to replicate",
        "ALTER ROLE \"plain\" REPLICATION;",
        1,
    );
}

#[test]
fn wal_level_is_not_logical() {
    let postgres = Postgres::start(Options::default().with("wal_level", "replica"));
    postgres.psql(&format!("CREATE ROLE {ROLE} LOGIN REPLICATION"));
    let place = Place::new(&postgres, "wal_level");
    both_say(
        &place,
        &postgres,
        "wal_level is \"replica\"",
        "ALTER SYSTEM SET wal_level = 'logical'",
        1,
    );
}

#[test]
fn a_table_without_a_primary_key() {
    let place = Place::new(shared(), "no_key");
    place.edit("public.customer", "public.bare");
    place.edit(
        "columns.last_name = \"LastName\"\n",
        "columns.name = \"LastName\"\n",
    );
    place.edit(
        "columns.company_id = { field = \"Account\", references = \"public.company\" }\n",
        "",
    );
    both_say(&place, shared(), "public.bare", "PRIMARY KEY", 2);
}

#[test]
fn a_missing_external_id_field() {
    let place = Place::new(shared(), "no_field");
    place.edit("Company_Id__c", "Firma_Id__c");
    both_say(
        &place,
        shared(),
        "Account has no field Firma_Id__c",
        "External ID",
        2,
    );
}

#[test]
fn a_missing_table() {
    let place = Place::new(shared(), "no_table");
    place.edit("public.customer", "public.custmer");
    both_say(&place, shared(), "public.custmer", "", 2);
}

#[test]
fn a_wrong_client_secret() {
    let place = Place::new(shared(), "secret");
    place.edit(
        "client_secret = \"sandbox\"",
        "client_secret = \"wr0ng-secret\"",
    );
    let checked = place
        .cli(&["check"])
        .is(2)
        .prints("cannot log in to Salesforce");
    assert!(!checked.out.contains("wr0ng-secret"));
    let ran = place.run_fails().is(1).says("error: the CRM refuses us");
    assert!(!ran.err.contains("wr0ng-secret"));
    show(&ran.err);
    place.nothing_left(shared());
}

/// A disk of its own under the state directory, given back when dropped.
struct Disk(PathBuf);

impl Disk {
    /// `None`, said aloud, without the right to mount.
    fn new(place: &Place, size: &str) -> Option<Disk> {
        let path = place.dir.path().join("disk");
        fs::create_dir(&path).unwrap();
        let options = format!("size={size},mode=0700");
        let mount = ["-t", "tmpfs", "-o", &options, "tmpfs"];
        let mounted = Command::new("mount")
            .args(mount)
            .arg(&path)
            .output()
            .unwrap();
        if !mounted.status.success() {
            // Past the capture of the test harness: nobody is to believe that it was tested.
            let said = b"NOT TESTED: to make a disk full, mount has to be allowed\n";
            std::io::Write::write_all(&mut std::io::stderr(), said).unwrap();
            return None;
        }
        place.edit("/state\"", "/disk/state\"");
        Some(Disk(path))
    }

    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        for size in [1 << 20, 4096, 64] {
            while std::io::Write::write_all(&mut file, &vec![1; size]).is_ok() {}
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_at_the_first_start() {
    let place = Place::new(shared(), "full_disk");
    let Some(disk) = Disk::new(&place, "256k") else {
        return;
    };
    disk.fill();
    let ran = place.run_fails();
    show(&ran.err);
    ran.is(4).says("No space left on device").says("  → ");
    place.nothing_left(shared());
}

#[test]
fn a_disk_that_fills_up_loses_nothing() {
    let place = Place::new(shared(), "filling");
    let Some(disk) = Disk::new(&place, "100m") else {
        return;
    };
    let mut running = place.start();
    disk.fill();
    shared().psql_in(
        &place.database,
        "INSERT INTO company SELECT g, 'n' || g, '1' FROM generate_series(1, 30000) g",
    );
    let (code, _) = running.ended();
    let log = running.log();
    show(&log);
    assert_eq!(code, 4, "{log}");
    assert!(log.contains("No space left on device"), "{log}");
    assert!(
        log.contains("  → free space") && !log.contains("Os {"),
        "{log}"
    );
    // The ballast is given up to start at all; a person has been told.
    let mut running = place.start();
    let status = place.until(|s| s["verdicts"]["public.company"]["applied"] == 30_000);
    assert_eq!(status["shelf"]["dead_letter"], 0, "{status:#}");
    running.wait_for("the disk is full");
    assert_eq!(place.accounts().len(), 30_000);
    running.signal("-TERM");
    assert_eq!(running.ended().0, 0, "{}", running.log());
}

#[test]
fn a_state_directory_that_is_a_file() {
    let place = Place::new(shared(), "state_file");
    fs::write(place.dir.path().join("state"), "mine").unwrap();
    let ran = place.run_fails();
    show(&ran.err);
    assert!([1, 2].contains(&ran.code), "{ran:#?}");
    place.nothing_left(shared());
}
