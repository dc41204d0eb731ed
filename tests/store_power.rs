//! What a power cut leaves: a file system in an image, copied at a random instant of the work.
//!
//! A kill leaves the operating system's cache alive and proves nothing about the disk. The image
//! holds only what was sent to it: the copy is mounted, recovered by the file system's own journal,
//! and has to hold every settlement that was acknowledged. Needs the right to mount loop devices;
//! where that is missing, `store::sled::owner`'s tests still show that every acknowledgement comes
//! after a sync.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod store_support;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use store_support::process::*;

#[tokio::test]
async fn helper() {
    store_support::process::helper().await;
}

fn run(command: &str, arguments: &[&std::ffi::OsStr]) -> bool {
    Command::new(command)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A mounted image; unmounted when dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(image: &Path, at: &'a Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = run(
            "mount",
            &["-o".as_ref(), "loop".as_ref(), image.as_ref(), at.as_ref()],
        );
        mounted.then_some(Mounted(at))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        run("umount", &[self.0.as_ref()]);
    }
}

#[test]
fn a_power_cut_loses_nothing() {
    let cuts = std::env::var("SYNCLINE_POWER_CUTS").map_or(6, |n| n.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk");
    let copy = directory.path().join("copy");
    let (live, after) = (
        directory.path().join("live"),
        directory.path().join("after"),
    );
    let mut random = SmallRng::seed_from_u64(3);
    let mut most = 0;
    for cut in 1..=cuts {
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(64 << 20).unwrap();
        let made = run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), image.as_ref()]);
        let mounted = made.then(|| Mounted::new(&image, &live)).flatten();
        let Some(mounted) = mounted else {
            println!("NOT RUN: images cannot be mounted here");
            return;
        };
        let mut child = start("settle", &live.join("state")).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("acknowledged 1\n") && out.read_line(&mut said).unwrap() > 0 {}
        std::thread::sleep(Duration::from_millis(random.random_range(0..1_200)));
        let pid = child.id().to_string();
        assert!(run("kill", &["-STOP".as_ref(), pid.as_ref()]));
        std::fs::copy(&image, &copy).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        out.read_to_string(&mut said).unwrap();
        drop(mounted);
        let lines: Vec<String> = said.lines().map(str::to_owned).collect();
        let acknowledged = numbers(&lines, "acknowledged ").last().unwrap();

        let recovered = Mounted::new(&copy, &after).unwrap();
        let found = inspected(&after.join("state"));
        drop(recovered);
        match found {
            Found::Right(number) => assert!(number >= acknowledged, "cut {cut}"),
            other => panic!("cut {cut}, {acknowledged} acknowledged: {other:?}"),
        }
        most = most.max(acknowledged);
    }
    println!("{cuts} power cuts, up to {most} settlements acknowledged before one");
}
