//! sled, held the way that loses nothing: `write`, `flush`, and a sync of our own.
//!
//! sled's `flush` hands its bytes to the operating system but not to the disk (it calls
//! `sync_file_range`), so that a power cut may take acknowledged writes, or the whole database.
//! `fdatasync` on its file through a descriptor of our own closes that gap.

use std::fs::File;
use std::ops::Bound;

use ::sled::{Batch, Db, IVec, Iter, Tree};

use super::directory::{Directory, Mark};
use crate::fault::{Error, ErrorKind, Result};
use crate::store::encoding::{from_value, to_value};
use crate::store::rows::{Changes, Rows, load};
use crate::store::{DAMAGED, keys};

/// The three steps of a commit, in this order, each of which has to succeed before the next.
pub(super) trait Disk {
    /// The map as it is, commits that are not durable yet included.
    fn rows(&self) -> &SledRows;
    /// Writes all of it or nothing, into memory.
    fn write(&mut self, changes: Changes) -> Result<()>;
    /// Hands what was written to the operating system.
    fn flush(&mut self) -> Result<()>;
    /// Waits until it is on the disk.
    fn sync(&mut self) -> Result<()>;
}

/// A database that is open.
pub(super) struct SledDisk {
    rows: SledRows,
    // Before `db`, whose drop gives the files up.
    sync: File,
    mark: Mark,
    mark_fails: bool,
    sequence: u64,
    db: Db,
    directory: Directory,
}

impl SledDisk {
    /// Takes an open database. `sequence` is the number of its last commit.
    pub(super) fn new(db: Db, sync: File, mark: Mark, sequence: u64, directory: Directory) -> Self {
        SledDisk {
            rows: SledRows((*db).clone()),
            sync,
            mark,
            mark_fails: false,
            sequence,
            db,
            directory,
        }
    }

    /// The directory it is in.
    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Puts the mark on the disk too, before a clean end.
    pub(super) fn sync_mark(&self) {
        if let Err(error) = self.mark.sync() {
            tracing::warn!(%error, "cannot sync the mark of the last commit");
        }
    }
}

impl Disk for SledDisk {
    fn rows(&self) -> &SledRows {
        &self.rows
    }

    fn write(&mut self, mut changes: Changes) -> Result<()> {
        changes.put_short(keys::SEQUENCE, to_value(&(self.sequence + 1)));
        changes.check()?;
        let mut batch = Batch::default();
        for (key, value) in changes.rows {
            match value {
                Some(value) => batch.insert(IVec::from(key), value),
                None => batch.remove(IVec::from(key)),
            }
        }
        self.rows
            .0
            .apply_batch(batch)
            .map_err(|e| failed("write", e))?;
        self.sequence += 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.db.flush().map_err(|e| failed("flush", e))?;
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.sync
            .sync_data()
            .map_err(|e| failed("sync", ::sled::Error::Io(e)))?;
        // Only now, so that the mark is never ahead of the database.
        if let Err(error) = self.mark.write(self.sequence)
            && !std::mem::replace(&mut self.mark_fails, true)
        {
            tracing::warn!(%error, "cannot write the mark of the last commit");
        }
        Ok(())
    }
}

/// The rows in sled's one tree.
pub(super) struct SledRows(pub(super) Tree);

/// Rows of the tree in order.
pub(super) struct SledScan(Iter);

impl Rows for SledRows {
    type Bytes<'a> = IVec;
    type Scan<'a> = SledScan;

    fn get(&self, key: &[u8]) -> Result<Option<IVec>> {
        self.0.get(key).map_err(|e| failed("read", e))
    }

    fn scan(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> SledScan {
        SledScan(self.0.range::<&[u8], _>((from, to)))
    }
}

impl Iterator for SledScan {
    type Item = Result<(IVec, IVec)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|row| row.map_err(|e| failed("read", e)))
    }
}

impl DoubleEndedIterator for SledScan {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0
            .next_back()
            .map(|row| row.map_err(|e| failed("read", e)))
    }
}

/// The number of the last commit; 0 in a new database.
pub(super) fn sequence(rows: &SledRows) -> Result<u64> {
    Ok(load(rows, keys::SEQUENCE, "the number of the last commit")?.unwrap_or(0))
}

/// The layout's version; none in a new database.
pub(super) fn layout(rows: &SledRows) -> Result<Option<u64>> {
    match rows.get(keys::LAYOUT)? {
        Some(row) => from_value(&row)
            .map(Some)
            .map_err(|e| e.error("the layout's version")),
        None => Ok(None),
    }
}

/// What sled says, as an error a person can act on.
pub(super) fn failed(verb: &str, error: ::sled::Error) -> Error {
    let remedy = match &error {
        ::sled::Error::Io(e) if e.kind() == std::io::ErrorKind::StorageFull => {
            "free space on the disk of the state directory, then start again: nothing that was \
             acknowledged is lost"
        }
        ::sled::Error::Corruption { .. } | ::sled::Error::ReportableBug(_) => DAMAGED,
        _ => {
            "look at the disk of the state directory, then start again: nothing that was \
              acknowledged is lost"
        }
    };
    let told = Error::new(ErrorKind::Store, format!("the store cannot {verb}")).remedy(remedy);
    match error {
        // sled prints an error of the system as a debugger would; the error itself does not.
        ::sled::Error::Io(e) => told.source(match e.raw_os_error().or_else(|| code_in(&e)) {
            Some(code) => std::io::Error::from_raw_os_error(code),
            None => e,
        }),
        other => told.source(other),
    }
}

/// The system's number in an error that sled has wrapped into a text.
fn code_in(error: &std::io::Error) -> Option<i32> {
    let text = error.to_string();
    let (_, rest) = text.split_once("Os { code: ")?;
    rest.split(',').next()?.trim().parse().ok()
}
