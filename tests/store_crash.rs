//! What a store on disk survives: kills at any instant, damage, a full disk, a second opener.
//!
//! The work is done by this very binary, started again as a helper that the test can kill. What the
//! helper settles is a function of the settlement's number, so the test knows what has to be there.
//!
//! A power cut cannot be made here: that the data is synced before it is acknowledged is shown by
//! `store::sled::owner`'s tests, which record the order of the steps.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod store_support;

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use store_support::process::*;
use store_support::*;
use syncline::fault::ErrorKind;
use syncline::store::{self, Checkpoints, Store};

/// Not a test: what the tests below start. As a test it does nothing.
#[tokio::test]
async fn helper() {
    store_support::process::helper().await;
}

/// A store with so many settlements, closed cleanly or not.
async fn filled(place: &Path, settlements: u64, clean: bool) {
    let store = open(place).await.unwrap();
    store.bind(identity(), progress(0)).await.unwrap();
    for number in 1..=settlements {
        store.settle(step(number)).await.unwrap();
    }
    if clean {
        store.close().await.unwrap();
    } else {
        // A copy of an open store is what a kill leaves.
        let copy = place.with_extension("copy");
        copy_directory(place, &copy);
        store.close().await.unwrap();
        fs::remove_dir_all(place).unwrap();
        fs::rename(copy, place).unwrap();
    }
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Nothing acknowledged is lost, whatever instant a kill hits, opening and recovery included.
#[test]
fn kills_lose_nothing() {
    let kills = std::env::var("SYNCLINE_CRASHES").map_or(60, |n| n.parse().unwrap());
    let seed = std::env::var("SYNCLINE_SEED").map_or(1, |n| n.parse().unwrap());
    let mut random = SmallRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let mut place = directory.path().join("state-0");
    let (mut acknowledged, mut during_open, mut last_checked) = (0, 0, 0);
    for kill in 1..=kills {
        let mut child = start("settle", &place).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        let patience = match random.random_range(0..3) {
            // While it opens and recovers, mostly; at any time; while it settles.
            0 => random.random_range(0..40),
            1 => random.random_range(20..250),
            _ => {
                while !said.contains("open ") && out.read_line(&mut said).unwrap() > 0 {}
                random.random_range(0..250)
            }
        };
        std::thread::sleep(Duration::from_millis(patience));
        child.kill().unwrap();
        child.wait().unwrap();
        out.read_to_string(&mut said).unwrap();
        let lines: Vec<String> = said.lines().map(str::to_owned).collect();
        assert!(
            !lines.iter().any(|line| line.starts_with("refused")),
            "kill {kill}: {lines:?}"
        );
        if let Some(found) = numbers(&lines, "open ").next() {
            assert!(
                found >= acknowledged,
                "kill {kill}: {found} < {acknowledged}"
            );
        } else if lines.iter().any(|line| line == "opening") {
            during_open += 1;
        }
        acknowledged = numbers(&lines, "acknowledged ")
            .last()
            .unwrap_or(acknowledged);
        // Not every time: the next helper has to recover by itself, too.
        if kill % 3 != 0 && kill != kills {
            continue;
        }
        match inspected(&place) {
            Found::Right(number) => {
                assert!(
                    number >= acknowledged,
                    "kill {kill}: {number} < {acknowledged}"
                );
                acknowledged = number;
                last_checked = number;
            }
            // The very first kill may hit before anything was bound.
            Found::Empty => assert_eq!(acknowledged, 0, "kill {kill}"),
            other => panic!("kill {kill} (seed {seed}), {acknowledged} acknowledged: {other:?}"),
        }
        if acknowledged > 1_500 {
            // Working the model out grows slow: go on with a new store.
            place = directory.path().join(format!("state-{kill}"));
            acknowledged = 0;
        }
    }
    println!("{kills} kills, {during_open} while opening, {last_checked} settlements at last");
    assert!(last_checked > 0);
}

/// Whatever is done to the files, the outcome is all that was there, or a refusal with a remedy. With
/// the mark removed too, it may be an older state, but one that was once settled, whole.
#[tokio::test]
async fn damage_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let whole = directory.path().join("whole");
    let unclean = directory.path().join("unclean");
    filled(&whole, 60, true).await;
    filled(&unclean, 60, false).await;
    let mut random = SmallRng::seed_from_u64(7);
    let (mut complete, mut refused, mut older) = (0, 0, 0);
    for trial in 0..96 {
        let marked = trial < 48;
        let place = directory.path().join(format!("trial-{trial}"));
        copy_directory(if trial % 2 == 0 { &whole } else { &unclean }, &place);
        let db = place.join("sled/db");
        let length = fs::metadata(&db).unwrap().len();
        let anywhere = random.random_range(0..length);
        let file = OpenOptions::new().read(true).write(true).open(&db).unwrap();
        let kind = [
            "cut a little",
            "cut anywhere",
            "bit",
            "zeros",
            "garbage",
            "config",
        ][trial / 2 % 6];
        match kind {
            "cut a little" => file
                .set_len(length.saturating_sub(anywhere % 40_000))
                .unwrap(),
            "cut anywhere" => file.set_len(anywhere).unwrap(),
            "bit" => {
                let mut byte = [0];
                file.read_exact_at(&mut byte, anywhere).unwrap();
                file.write_all_at(&[byte[0] ^ 1 << (trial % 8)], anywhere)
                    .unwrap();
            }
            "zeros" => file.write_all_at(&[0; 4096], anywhere).unwrap(),
            "garbage" => file.write_all_at(&[0xA5; 10_000], length).unwrap(),
            _ => {
                let conf = place.join("sled/conf");
                let length = fs::metadata(&conf).unwrap().len();
                let file = OpenOptions::new().write(true).open(conf).unwrap();
                file.write_all_at(&[0xA5; 3], anywhere % length).unwrap();
            }
        }
        drop(file);
        if !marked {
            fs::remove_file(place.join("settled")).unwrap();
        }
        match inspected(&place) {
            Found::Right(60) => complete += 1,
            Found::Right(_) | Found::Empty if !marked => older += 1,
            Found::Refused(why) => {
                let (_, remedy) = why.split_once(" | ").unwrap();
                assert!(!remedy.is_empty(), "{kind}: {why}");
                refused += 1;
            }
            other => panic!("trial {trial}, {kind} at {anywhere} of {length}: {other:?}"),
        }
        fs::remove_dir_all(&place).unwrap();
    }
    println!("{complete} complete, {refused} refused, {older} older where the mark was gone");
    assert!(complete > 0 && refused > 0 && older > 0);
}

/// The store that went back is refused while the mark is there; without it, it opens at an earlier
/// settlement, whole: the caller's comparison with the slot then has to find it.
#[tokio::test]
async fn a_store_that_went_back_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("state");
    filled(&place, 20, true).await;
    let before = directory.path().join("before");
    copy_directory(&place.join("sled"), &before);
    let store = open(&place).await.unwrap();
    for number in 21..=30 {
        store.settle(step(number)).await.unwrap();
    }
    store.close().await.unwrap();
    fs::remove_dir_all(place.join("sled")).unwrap();
    copy_directory(&before, &place.join("sled"));

    let error = open(&place).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Store);
    assert!(error.what.contains("gone back"), "{error}");
    assert!(error.remedy.unwrap().contains("settled"));
    fs::remove_dir_all(place.join("sled")).unwrap();
    let error = open(&place).await.unwrap_err();
    assert!(error.what.contains("gone back"), "{error}");

    fs::remove_dir_all(place.join("sled")).unwrap();
    copy_directory(&before, &place.join("sled"));
    fs::remove_file(place.join("settled")).unwrap();
    assert_eq!(inspected(&place), Found::Right(20));
    // From here on it is watched again.
    assert!(place.join("settled").exists());
}

#[tokio::test]
async fn snapshots_may_go_or_rot() {
    let directory = tempfile::tempdir().unwrap();
    let whole = directory.path().join("whole");
    filled(&whole, 40, true).await;
    // sled writes a snapshot when it opens.
    open(&whole).await.unwrap().close().await.unwrap();
    let mut set_aside = 0;
    for damage in ["leftover", "empty", "bits", "cut", "removed"] {
        let place = directory.path().join(damage);
        copy_directory(&whole, &place);
        let snapshots: Vec<PathBuf> = fs::read_dir(place.join("sled"))
            .unwrap()
            .map(|file| file.unwrap().path())
            .filter(|path| {
                path.file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with("snap.")
            })
            .collect();
        assert!(!snapshots.is_empty());
        for path in &snapshots {
            let content = fs::read(path).unwrap();
            match damage {
                "leftover" => {
                    fs::write(place.join("sled/snap.0000000000000123.generating"), []).unwrap();
                }
                "empty" => fs::write(path, []).unwrap(),
                "bits" => {
                    let mut content = content;
                    let middle = content.len() / 2;
                    content[middle] ^= 0x10;
                    fs::write(path, content).unwrap();
                }
                "cut" => fs::write(path, &content[..content.len() / 2]).unwrap(),
                _ => fs::remove_file(path).unwrap(),
            }
        }
        assert_eq!(inspected(&place), Found::Right(40), "{damage}");
        let names = fs::read_dir(&place)
            .unwrap()
            .map(|f| f.unwrap().file_name());
        let aside = names.filter(|n| n.to_string_lossy().starts_with("snapshots.damaged"));
        set_aside += aside.count();
    }
    assert!(set_aside > 0);
}

/// A full disk: an error, nothing acknowledged lost, and the ballast opens it again.
#[tokio::test]
async fn a_full_disk_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"])
        .arg(&disk)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    let place = disk.join("state");
    let mut command = if mounted {
        start("settle", &place)
    } else {
        // Where mounting is not allowed, the largest file is limited instead.
        println!("cannot mount: files are limited to 6 MB instead");
        let helper = start("settle", &place);
        let mut limited = Command::new("sh");
        limited
            .args(["-c", r#"trap "" XFSZ; ulimit -f 12000; exec "$0" "$@""#])
            .arg(helper.get_program())
            .args(helper.get_args())
            .env(ROLE, "settle")
            .env(PLACE, &place)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        limited
    };
    let mut child = command.spawn().unwrap();
    let said = lines(&mut child);
    child.wait().unwrap();
    let acknowledged = numbers(&said, "acknowledged ").last().unwrap();
    let refused = said.iter().find(|line| line.starts_with("refused Store"));
    assert!(refused.is_some_and(|line| line.contains(" | ")), "{said:?}");

    if mounted {
        let store = open(&place).await.unwrap();
        assert!(store.opening().ballast_given_up, "{:?}", store.opening());
        drop(store);
        wait_until_free(&place);
    }
    let roomy = directory.path().join("roomy");
    copy_directory(&place, &roomy);
    if mounted {
        Command::new("umount").arg(&disk).status().unwrap();
    }
    match inspected(&roomy) {
        Found::Right(number) => assert!(number >= acknowledged),
        other => panic!("{other:?}"),
    }
}

fn wait_until_free(place: &Path) {
    let begin = Instant::now();
    while store::is_running(place).unwrap().is_some() {
        assert!(begin.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn a_second_opener_is_told_who_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("state");
    assert_eq!(store::is_running(&place).unwrap(), None);
    let store = open(&place).await.unwrap();
    let pid = std::process::id();
    assert_eq!(store::is_running(&place).unwrap(), Some(pid));
    let error = open(&place).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy);
    assert!(error.what.contains("already running"), "{error}");
    assert!(error.what.contains(&pid.to_string()), "{error}");
    assert!(error.remedy.is_some());
    match inspected(&place) {
        Found::Refused(why) => assert!(why.starts_with("Busy"), "{why}"),
        other => panic!("{other:?}"),
    }
    store.close().await.unwrap();
    // Closed means free, at once.
    assert_eq!(store::is_running(&place).unwrap(), None);
    let store = open(&place).await.unwrap();
    assert!(store.opening().clean);
    // Dropped without a close: free a moment later.
    drop(store);
    open(&place).await.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn a_kill_is_not_a_clean_end() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("state");
    filled(&place, 3, false).await;
    let store = open(&place).await.unwrap();
    assert!(!store.opening().clean);
    store.close().await.unwrap();
}

#[tokio::test]
async fn only_the_owner_reads_the_files() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("a/b/state");
    filled(&place, 10, true).await;
    open(&place).await.unwrap().close().await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place), 0o700);
    assert_eq!(mode(&place.join("sled")), 0o700);
    for part in [place.clone(), place.join("sled")] {
        for file in fs::read_dir(part).unwrap() {
            let file = file.unwrap();
            if file.file_type().unwrap().is_file() {
                assert_eq!(mode(&file.path()), 0o600, "{:?}", file.path());
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_a_state_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("photos");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("cat.jpg"), "meow").unwrap();
    let error = open(&place).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Usage);
    assert!(error.what.contains("cat.jpg"), "{error}");
    assert_eq!(
        fs::read_dir(&place).unwrap().count(),
        1,
        "nothing was made there"
    );
    let error = open(&place.join("cat.jpg")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Usage);

    // A database of somebody else.
    let place = directory.path().join("foreign");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("lock"), "").unwrap();
    let db = sled::open(place.join("sled")).unwrap();
    db.insert("theirs", "data").unwrap();
    db.flush().unwrap();
    drop(db);
    let error = open(&place).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Store);
    assert!(error.what.contains("did not write"), "{error}");
    assert!(error.remedy.is_some());
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    // The layout as a whole, and one value.
    for (key, value, word) in [
        ("mlayout", vec![1, 2], "layout 2"),
        ("midentity", vec![3, 0, 0], "format 3"),
    ] {
        let place = directory.path().join(key);
        filled(&place, 3, true).await;
        let db = sled::open(place.join("sled")).unwrap();
        db.insert(key, value).unwrap();
        db.flush().unwrap();
        drop(db);
        let error = open(&place).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Store);
        assert!(error.what.contains(word), "{error}");
        assert!(error.remedy.unwrap().contains("newer"));
    }
}

#[tokio::test]
async fn a_rotten_checkpoint_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("state");
    filled(&place, 3, true).await;
    let db = sled::open(place.join("sled")).unwrap();
    let mut value = db.get("mprogress").unwrap().unwrap().to_vec();
    value[2] ^= 1;
    db.insert("mprogress", value).unwrap();
    db.flush().unwrap();
    drop(db);
    let error = open(&place).await.unwrap_err();
    assert!(error.what.contains("progress"), "{error}");
    assert!(error.remedy.is_some());
}

/// Updates do not let the file grow without end, nor the memory, and no blob file appears.
#[test]
fn file_and_memory_stay_in_proportion() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = start("soak", &directory.path().join("state"))
        .spawn()
        .unwrap();
    let said = lines(&mut child);
    let number = |word| {
        numbers(&said, word)
            .next()
            .unwrap_or_else(|| panic!("{said:?}"))
    };
    let (file, raw, resident) = (number("file "), number("raw "), number("resident "));
    println!("{raw} bytes in a file of {file}, resident {resident} kB");
    // A small file has its last segments half empty.
    assert!(file <= 6 * raw + (4 << 20), "{file} bytes for {raw}");
    // The program and its runtime take most of it.
    assert!(resident <= 64 << 10, "{resident} kB");
    assert_eq!(number("blobs "), 0);
    assert_eq!(number("records "), 20_000);
}
