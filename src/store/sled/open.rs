//! Opening a state directory: from whatever the last process left to a database that can be trusted,
//! or a refusal that says what to do.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use ::sled::Db;

use super::Options;
use super::directory::{Directory, cannot};
use super::disk::{Disk, SledDisk, SledRows, failed, layout, sequence};
use crate::fault::{Error, ErrorKind, Result};
use crate::store::encoding::{FORMAT, to_value};
use crate::store::rows::{Changes, Rows};
use crate::store::{DAMAGED, apply, keys};

/// Which rows mean what. A directory with a higher number is refused.
const LAYOUT: u64 = 1;

/// sled may still be closing the files of the last owner.
const SLED_PATIENCE: Duration = Duration::from_secs(2);

/// What opening found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Opening {
    /// The last process closed the store, or there was none.
    pub clean: bool,
    /// sled's snapshots were damaged and had to be set aside; everything was found without them.
    pub snapshots_set_aside: bool,
    /// The disk was full: the ballast was given up to open at all.
    pub ballast_given_up: bool,
    /// Time it took.
    pub took: Duration,
}

/// The whole procedure.
pub(super) fn open(path: &Path, options: Options) -> Result<(SledDisk, Opening)> {
    let begin = Instant::now();
    let mut opening = Opening::default();
    let directory = Directory::take(path)?;
    let new = directory.create_sled()?;
    let db = open_database(&directory, options, &mut opening)?;
    directory.restrict();
    let file = File::open(directory.db()).map_err(|e| cannot("open", &directory.db(), e))?;
    if new {
        file.sync_all()
            .map_err(|e| cannot("sync", &directory.db(), e))?;
        directory.sync_names()?;
    }
    if directory.blob_files() > 0 {
        tracing::error!(
            path = %directory.path().display(),
            "the database has blob files, which are not safe against a power cut"
        );
    }

    // Damage shows as a panic in sled as often as an error.
    let checked = catch_unwind(AssertUnwindSafe(|| check(&db, &directory)));
    let number = match checked {
        Ok(result) => result?,
        Err(_panic) => return Err(damaged(&directory, "it cannot be read")),
    };
    let mark = directory.mark()?;
    if let Some(last) = mark.read().filter(|last| *last > number) {
        return Err(Error::new(
            ErrorKind::Store,
            format!(
                "the state directory {} has gone back: it holds commit {number}, and commit \
                 {last} was on the disk before",
                directory.path().display()
            ),
        )
        .remedy(
            "put back the newest copy of the whole directory, or move it aside and start anew; to \
             go on from the older state knowingly, remove the file `settled` in it: Syncline then \
             compares its progress with the slot (see docs/state.md)",
        ));
    }
    let rows = SledRows((*db).clone());
    opening.clean = new || rows.get(keys::CLEAN)?.is_some();
    let mut disk = SledDisk::new(db, file, mark, number, directory);
    begin_use(&mut disk)?;
    disk.directory().fill_ballast(options.ballast);
    opening.took = begin.elapsed();
    Ok((disk, opening))
}

/// The first commit: it takes the mark of a clean end away, and shows that the disk takes writes.
fn begin_use(disk: &mut SledDisk) -> Result<()> {
    let mut changes = Changes::default();
    changes.put_short(keys::LAYOUT, to_value(&LAYOUT));
    changes.remove_short(keys::CLEAN);
    disk.write(changes)?;
    disk.flush()?;
    disk.sync()?;
    disk.directory().restrict();
    Ok(())
}

/// Opens sled, and helps it over what it stumbles on.
fn open_database(directory: &Directory, options: Options, opening: &mut Opening) -> Result<Db> {
    directory.remove_leftovers()?;
    loop {
        let error = match attempt(directory, options) {
            Ok(db) => return Ok(db),
            Err(error) => error,
        };
        match error {
            Stumble::Full(_) if !opening.ballast_given_up && directory.drop_ballast() => {
                tracing::error!(
                    path = %directory.path().display(),
                    "the disk is full: the ballast file was given up to open the store"
                );
                opening.ballast_given_up = true;
            }
            Stumble::Full(error) | Stumble::Other(error) => return Err(failed("open", error)),
            Stumble::Unsupported(error) => {
                return Err(failed("open", error).remedy(
                    "the database is of another version of sled: run the syncline that wrote it",
                ));
            }
            Stumble::Damaged if !opening.snapshots_set_aside => {
                if !directory.set_snapshots_aside()? {
                    return Err(damaged(directory, "sled cannot open it"));
                }
                tracing::warn!(
                    path = %directory.path().display(),
                    "the database cannot be opened; trying again without its snapshots"
                );
                opening.snapshots_set_aside = true;
            }
            Stumble::Damaged => {
                return Err(damaged(
                    directory,
                    "sled cannot open it, nor without its snapshots",
                ));
            }
        }
        directory.remove_leftovers()?;
    }
}

/// What went wrong with an attempt.
enum Stumble {
    Full(::sled::Error),
    Damaged,
    Unsupported(::sled::Error),
    Other(::sled::Error),
}

fn attempt(directory: &Directory, options: Options) -> Result<Db, Stumble> {
    let begin = Instant::now();
    loop {
        // Nothing more is set: compression and segment size bind the files for life, a flusher of
        // sled's own would make durable points that are not ours.
        let config = ::sled::Config::new()
            .path(directory.sled())
            .cache_capacity(options.cache)
            .flush_every_ms(None);
        return Err(match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => return Ok(db),
            Err(_panic) => Stumble::Damaged,
            Ok(Err(error)) => match &error {
                ::sled::Error::Io(io) if io.kind() == std::io::ErrorKind::StorageFull => {
                    Stumble::Full(error)
                }
                // The directory is ours: a lock can only be what is left of an owner just gone.
                ::sled::Error::Io(io) if io.to_string().contains("acquire lock") => {
                    if begin.elapsed() < SLED_PATIENCE {
                        std::thread::sleep(Duration::from_millis(20));
                        continue;
                    }
                    Stumble::Other(error)
                }
                // A cut file ends before sled expects it.
                ::sled::Error::Io(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
                    Stumble::Damaged
                }
                ::sled::Error::Corruption { .. } | ::sled::Error::ReportableBug(_) => {
                    Stumble::Damaged
                }
                ::sled::Error::Unsupported(_) => Stumble::Unsupported(error),
                _ => Stumble::Other(error),
            },
        });
    }
}

/// Whether the database is ours, of a version we know, and readable where it matters. Answers the
/// number of its last commit.
fn check(db: &Db, directory: &Directory) -> Result<u64> {
    let rows = SledRows((**db).clone());
    match layout(&rows)? {
        Some(version) if version > LAYOUT => {
            return Err(Error::new(
                ErrorKind::Store,
                format!(
                    "the state directory {} has layout {version}; this program knows layout \
                     {LAYOUT}",
                    directory.path().display()
                ),
            )
            .remedy("run the version of syncline that wrote it, or a newer one"));
        }
        Some(_) => {}
        None if db.is_empty() => {}
        None => {
            return Err(Error::new(
                ErrorKind::Store,
                format!(
                    "{} holds a database that syncline did not write (or only a part of its own)",
                    directory.path().display()
                ),
            )
            .remedy(DAMAGED));
        }
    }
    apply::recover(&rows)?;
    sequence(&rows)
}

fn damaged(directory: &Directory, how: &str) -> Error {
    Error::new(
        ErrorKind::Store,
        format!(
            "the database in {} is damaged: {how} (format {FORMAT})",
            directory.path().display()
        ),
    )
    .remedy(DAMAGED)
}
