//! The files of jobs: what was uploaded, what a query found. In memory, or beside the
//! journal.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::ids::Id;

/// One file for each job that has one.
#[derive(Debug)]
pub(crate) struct Files {
    folder: Option<PathBuf>,
    held: Mutex<HashMap<Id, Bytes>>,
    number: AtomicU64,
}

impl Files {
    pub(super) fn new(data: Option<&Path>) -> Files {
        Files {
            folder: data.map(|dir| dir.join("bulk")),
            held: Mutex::default(),
            number: AtomicU64::new(0),
        }
    }

    /// Keeps a job's file, whole or not at all. False if the job has one already.
    pub(crate) fn put(&self, job: Id, file: Bytes) -> io::Result<bool> {
        let Some(folder) = &self.folder else {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let first = !held.contains_key(&job);
            held.entry(job).or_insert(file);
            return Ok(first);
        };
        std::fs::create_dir_all(folder)?;
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let fresh = folder.join(format!("{job}.{number}.new"));
        std::fs::write(&fresh, &file)?;
        let linked = std::fs::hard_link(&fresh, folder.join(format!("{job}.csv")));
        std::fs::remove_file(&fresh)?;
        match linked {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            linked => linked.map(|()| true),
        }
    }

    /// A job's file; an empty one if it has none.
    pub(crate) fn get(&self, job: Id) -> io::Result<Bytes> {
        if let Some(folder) = &self.folder {
            match std::fs::read(folder.join(format!("{job}.csv"))) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Bytes::new()),
                read => read.map(Bytes::from),
            }
        } else {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(held.get(&job).cloned().unwrap_or_default())
        }
    }

    /// Forgets a job's file.
    pub(crate) fn remove(&self, job: Id) {
        match &self.folder {
            // A file that stays is only in the way of nobody.
            Some(folder) => drop(std::fs::remove_file(folder.join(format!("{job}.csv")))),
            None => {
                let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
                held.remove(&job);
            }
        }
    }
}
