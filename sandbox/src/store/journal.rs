//! The file that lets a killed sandbox go on with its data, schema and write log.
//!
//! Each accepted request appends one line of JSON, so a request is in the file whole or
//! not at all. On start the file is read, a torn last line is dropped, and the state is
//! written anew beside it and renamed over it. There is no fsync: the promise is to
//! survive the end of the process, not of the machine.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Error;

/// The open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    fn path(dir: &Path) -> PathBuf {
        dir.join("journal.jsonl")
    }

    /// Reads every whole line of an earlier run, in order.
    pub(crate) fn read(dir: &Path, mut each: impl FnMut(Value)) -> Result<(), Error> {
        fs::create_dir_all(dir).map_err(|e| Error::data(dir, e))?;
        let path = Journal::path(dir);
        if !path.exists() {
            return Ok(());
        }
        let file = File::open(&path).map_err(|e| Error::data(&path, e))?;
        let mut broken = None;
        for (number, line) in BufReader::new(file).split(b'\n').enumerate() {
            let line = line.map_err(|e| Error::data(&path, e))?;
            if let Some(at) = broken {
                return Err(Error::Journal { path, line: at });
            }
            match serde_json::from_slice(&line) {
                Ok(value) => each(value),
                Err(_) => broken = Some(number + 1),
            }
        }
        Ok(())
    }

    /// Replaces the journal by these lines and opens it for more.
    pub(crate) fn rewrite(
        dir: &Path,
        lines: impl Iterator<Item = Value>,
    ) -> Result<Journal, Error> {
        let path = Journal::path(dir);
        let fresh = dir.join("journal.jsonl.new");
        let write = || -> std::io::Result<File> {
            let mut out = BufWriter::new(File::create(&fresh)?);
            for line in lines {
                serde_json::to_writer(&mut out, &line)?;
                out.write_all(b"\n")?;
            }
            out.flush()?;
            fs::rename(&fresh, &path)?;
            OpenOptions::new().append(true).open(&path)
        };
        let file = write().map_err(|e| Error::data(&path, e))?;
        Ok(Journal { file, path })
    }

    /// Appends one line in one write.
    pub(crate) fn append(&mut self, line: &Value) -> Result<(), Error> {
        let mut bytes = line.to_string().into_bytes();
        bytes.push(b'\n');
        self.file
            .write_all(&bytes)
            .map_err(|e| Error::data(&self.path, e))
    }
}
