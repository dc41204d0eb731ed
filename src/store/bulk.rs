//! Bulk jobs that may be running in the CRM: whoever starts looks for them before anything is written.

use super::encoding::{Decoded, Reader, Stored, to_value};
use super::rows::{Changes, Rows, decode_row};
use super::{Settlement, keys};
use crate::change::{Position, Timestamp};
use crate::fault::Result;

/// A bulk job. It is stored before it can begin to run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BulkJob {
    /// The CRM's id of it.
    pub id: String,
    /// The CRM object.
    pub object: String,
    /// What it does: `upsert`, `update`, `delete`.
    pub action: String,
    /// The last change of the window that it belongs to.
    pub until: Position,
    /// The page of existing rows in that window.
    pub page: Option<BulkPage>,
    /// The stage of the window.
    pub stage: u64,
    /// Records in it.
    pub records: u64,
    /// A hash of what it does: a job with the same one is the same job.
    pub hash: u128,
    /// Since when.
    pub since: Timestamp,
}

/// A page of existing rows that went by a bulk job: read again in the same size, it comes to the same
/// job, whose results are there already.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BulkPage {
    /// The table, in the configuration's words.
    pub table: String,
    /// Rows read.
    pub rows: u64,
}

impl Stored for BulkJob {
    fn encode(&self, out: &mut Vec<u8>) {
        self.id.encode(out);
        self.object.encode(out);
        self.action.encode(out);
        self.until.encode(out);
        self.page.encode(out);
        self.stage.encode(out);
        self.records.encode(out);
        out.extend_from_slice(&self.hash.to_le_bytes());
        self.since.encode(out);
    }
    fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(BulkJob {
            id: Stored::decode(from)?,
            object: Stored::decode(from)?,
            action: Stored::decode(from)?,
            until: Stored::decode(from)?,
            page: Stored::decode(from)?,
            stage: Stored::decode(from)?,
            records: Stored::decode(from)?,
            hash: from.array().map(u128::from_le_bytes)?,
            since: Stored::decode(from)?,
        })
    }
}

impl Stored for BulkPage {
    fn encode(&self, out: &mut Vec<u8>) {
        self.table.encode(out);
        self.rows.encode(out);
    }
    fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(BulkPage {
            table: Stored::decode(from)?,
            rows: Stored::decode(from)?,
        })
    }
}

/// The changes that a settlement makes here.
pub(super) fn change<R: Rows>(
    rows: &R,
    settlement: &Settlement,
    changes: &mut Changes,
) -> Result<()> {
    for job in &settlement.jobs {
        let key = keys::job(&job.id);
        let old = rows.get(&key)?;
        let old = old.as_ref().map(AsRef::as_ref);
        changes.put(key, to_value(job), old)?;
    }
    for id in &settlement.jobs_ended {
        let key = keys::job(id);
        let old = rows.get(&key)?;
        if let Some(old) = &old {
            changes.remove(key, Some(old.as_ref()))?;
        }
    }
    Ok(())
}

/// All jobs, in the order of their ids.
pub(super) fn jobs<R: Rows>(rows: &R) -> Result<Vec<BulkJob>> {
    let mut jobs = Vec::new();
    for row in rows.scan_prefix(keys::JOBS) {
        let (key, row) = row?;
        jobs.push(decode_row(rows, key.as_ref(), row.as_ref(), "a bulk job")?);
    }
    Ok(jobs)
}
