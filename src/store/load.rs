//! How far the existing rows of each table have been read: backfills, and what has been loaded once.

use super::encoding::{Decoded, Malformed, Reader, Stored, to_value};
use super::rows::{Changes, Rows, decode_row, load};
use super::{Settlement, keys};
use crate::capture::PageKey;
use crate::change::Timestamp;
use crate::fault::Result;

/// What is known of the existing rows of a table.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// The table, in the configuration's words.
    pub table: String,
    /// Its oid: a table made anew has its rows still to come.
    pub oid: u32,
    /// All rows that were there have been read once.
    pub loaded: bool,
    /// Backfills; the first is the one that runs, the others follow it.
    pub jobs: Vec<Job>,
    /// Backfills that ended, with what became of their rows: the last of each kind, the latest first.
    pub ended: Vec<Job>,
}

/// Why rows are read.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// The rows that were there before the slot.
    FirstLoad,
    /// A person asked.
    Asked,
    /// A column was mapped later than its rows were written.
    Column,
    /// What changes came to is read anew: the table was halted and is no longer, its columns could not be
    /// told apart and now can, or a row moved past the reading.
    Mend,
}

/// One backfill.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Job {
    /// Why.
    pub kind: JobKind,
    /// For this column alone, where the CRM has the record.
    pub column: Option<String>,
    /// Only rows for which this SQL condition is true.
    pub filter: Option<String>,
    /// It goes on behind this row.
    pub after: Option<PageKey>,
    /// Rows there were to read, about.
    pub expected: u64,
    /// Rows read, and what became of them.
    pub rows: Rowcount,
    /// Pages settled.
    pub pages: u64,
    /// Since when.
    pub since: Timestamp,
}

/// What became of the rows of a backfill. A row is counted once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Rowcount {
    /// All of them.
    pub read: u64,
    /// Written to the CRM.
    pub written: u64,
    /// The CRM had it all already.
    pub unchanged: u64,
    /// A later change of the row, from the stream, says it all.
    pub overtaken: u64,
    /// On the shelf.
    pub pending: u64,
}

impl std::ops::AddAssign for Rowcount {
    fn add_assign(&mut self, other: Self) {
        self.read += other.read;
        self.written += other.written;
        self.unchanged += other.unchanged;
        self.overtaken += other.overtaken;
        self.pending += other.pending;
    }
}

impl Load {
    /// The backfill that runs.
    pub fn job(&self) -> Option<&Job> {
        self.jobs.first()
    }

    /// The backfill that runs has ended. It takes the place of the one of its kind before it, and of no
    /// other: a mend that follows at once does not hide what somebody waits for.
    pub fn end_job(&mut self) {
        if !self.jobs.is_empty() {
            let job = self.jobs.remove(0);
            self.ended.retain(|ended| ended.kind != job.kind);
            self.ended.insert(0, job);
        }
    }
}

impl JobKind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            JobKind::FirstLoad => "first load",
            JobKind::Asked => "asked for",
            JobKind::Column => "new column",
            JobKind::Mend => "mend",
        }
    }
}

impl Stored for JobKind {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self {
            JobKind::FirstLoad => 0,
            JobKind::Asked => 1,
            JobKind::Column => 2,
            JobKind::Mend => 3,
        });
    }
    fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(match from.byte()? {
            0 => JobKind::FirstLoad,
            1 => JobKind::Asked,
            2 => JobKind::Column,
            3 => JobKind::Mend,
            _ => return Err(Malformed::Damaged),
        })
    }
}

/// The changes that a settlement makes here.
pub(super) fn change<R: Rows>(
    rows: &R,
    settlement: &Settlement,
    changes: &mut Changes,
) -> Result<()> {
    for load in &settlement.loads {
        let key = keys::load(&load.table);
        let old = rows.get(&key)?;
        let old = old.as_ref().map(AsRef::as_ref);
        changes.put(key, to_value(load), old)?;
    }
    if let Some(fields) = &settlement.fields {
        let old = rows.get(keys::FIELDS)?;
        let old = old.as_ref().map(AsRef::as_ref);
        changes.put(keys::FIELDS.into(), to_value(fields), old)?;
    }
    Ok(())
}

/// All tables of which something is known, in the order of their names.
pub(super) fn loads<R: Rows>(rows: &R) -> Result<Vec<Load>> {
    let mut loads = Vec::new();
    for row in rows.scan_prefix(keys::LOADS) {
        let (key, row) = row?;
        loads.push(decode_row(rows, key.as_ref(), row.as_ref(), "a backfill")?);
    }
    Ok(loads)
}

/// The fields that a mapping has used: object and field.
pub(super) fn fields<R: Rows>(rows: &R) -> Result<Vec<(String, String)>> {
    Ok(load(rows, keys::FIELDS, "the fields used")?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(kind: JobKind, since: i64) -> Job {
        Job {
            kind,
            column: None,
            filter: None,
            after: None,
            expected: 0,
            rows: Rowcount::default(),
            pages: 0,
            since: Timestamp(since),
        }
    }

    #[test]
    fn a_job_that_ended_gives_way_to_its_own_kind_alone() {
        let kinds = [
            JobKind::FirstLoad,
            JobKind::Column,
            JobKind::Mend,
            JobKind::Column,
        ];
        let mut load = Load {
            jobs: (0..).zip(kinds).map(|(at, kind)| job(kind, at)).collect(),
            ..Load::default()
        };
        for _ in 0..5 {
            load.end_job();
        }
        let ended: Vec<_> = load.ended.iter().map(|j| (j.kind, j.since.0)).collect();
        assert_eq!(
            ended,
            [
                (JobKind::Column, 3),
                (JobKind::Mend, 2),
                (JobKind::FirstLoad, 0)
            ]
        );
    }
}
