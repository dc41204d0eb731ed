//! The file that lets a killed sandbox go on with its data, schema and write log.
//!
//! Each accepted request appends one line of JSON, so a request is in the file whole or
//! not at all. On start the file is read and a torn last line is dropped. A file that was
//! torn, or holds far more rows than the org does, is written anew beside the old one and
//! renamed over it. There is no fsync: the promise is to survive the end of the process,
//! not of the machine.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Error;
use crate::bulk::JobLine;
use crate::clock::Pace;
use crate::ids::Id;
use crate::schema::Object;
use crate::writelog::WriteEntry;

/// What one request changed, as it is written.
#[derive(Debug, Default, Serialize)]
pub(crate) struct LineRef<'a> {
    /// The next number of a record.
    pub(crate) next: u64,
    /// All records and the write log were emptied.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) wiped: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clock: Option<Pace>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) objects: Vec<&'a Object>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rows: Vec<Value>,
    /// Records that are in no bin any more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) erased: Vec<Id>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) writes: &'a [WriteEntry],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) jobs: Vec<JobLine>,
}

/// The same, as it is read.
#[derive(Debug, Deserialize)]
pub(crate) struct Line {
    #[serde(default)]
    pub(crate) next: u64,
    #[serde(default)]
    pub(crate) wiped: bool,
    #[serde(default)]
    pub(crate) clock: Option<Pace>,
    #[serde(default)]
    pub(crate) objects: Vec<Object>,
    #[serde(default)]
    pub(crate) rows: Vec<Value>,
    #[serde(default)]
    pub(crate) erased: Vec<Id>,
    #[serde(default)]
    pub(crate) writes: Vec<WriteEntry>,
    #[serde(default)]
    pub(crate) jobs: Vec<JobLine>,
}

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

    /// Reads every whole line of an earlier run, in order, and says whether the file may be
    /// written on: it exists and ends with a whole line.
    pub(crate) fn read(dir: &Path, mut each: impl FnMut(Line)) -> Result<bool, Error> {
        fs::create_dir_all(dir).map_err(|e| Error::data(dir, e))?;
        let path = Journal::path(dir);
        if !path.exists() {
            return Ok(false);
        }
        let file = File::open(&path).map_err(|e| Error::data(&path, e))?;
        let mut reader = BufReader::new(file);
        let (mut bytes, mut number, mut broken) = (Vec::new(), 0, None);
        let mut whole = false;
        loop {
            bytes.clear();
            let read = reader
                .read_until(b'\n', &mut bytes)
                .map_err(|e| Error::data(&path, e))?;
            if read == 0 {
                return Ok(whole && broken.is_none());
            }
            if let Some(line) = broken {
                return Err(Error::Journal { path, line });
            }
            number += 1;
            whole = bytes.last() == Some(&b'\n');
            match serde_json::from_slice(&bytes) {
                Ok(line) => each(line),
                Err(_) => broken = Some(number),
            }
        }
    }

    /// Opens the file of an earlier run for more.
    pub(crate) fn reopen(dir: &Path) -> Result<Journal, Error> {
        let path = Journal::path(dir);
        let file = OpenOptions::new().append(true).open(&path);
        Ok(Journal {
            file: file.map_err(|e| Error::data(&path, e))?,
            path,
        })
    }

    /// Replaces the journal by these lines and opens it for more.
    pub(crate) fn rewrite<'a>(
        dir: &Path,
        lines: impl Iterator<Item = LineRef<'a>>,
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
    pub(crate) fn append(&mut self, line: &LineRef<'_>) -> Result<(), Error> {
        let mut bytes = serde_json::to_vec(line).map_err(|e| Error::data(&self.path, e.into()))?;
        bytes.push(b'\n');
        self.file
            .write_all(&bytes)
            .map_err(|e| Error::data(&self.path, e))
    }
}
