//! The files that tell what became of a job's rows, and the pages of a query's results.
//!
//! The order of result rows is not guaranteed, so it is not that of the upload: rows are
//! shuffled, always in the same way for the same job.

use bytes::Bytes;
use csv::{ByteRecord, QuoteStyle, Terminator, WriterBuilder};

use super::job::{Job, LineEnding};
use super::jobs::RowOutcome;
use super::table::Table;
use crate::app::App;

/// Which rows are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Successful,
    Failed,
    Unprocessed,
}

fn writer(job: &Job) -> csv::Writer<Vec<u8>> {
    let terminator = match job.line_ending {
        LineEnding::LF => Terminator::Any(b'\n'),
        LineEnding::CRLF => Terminator::CRLF,
    };
    WriterBuilder::new()
        .delimiter(job.delimiter.byte())
        .terminator(terminator)
        .quote_style(QuoteStyle::Always)
        .flexible(true)
        .from_writer(Vec::new())
}

/// One line, quoted throughout.
pub(super) fn line<T: AsRef<[u8]>>(job: &Job, values: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut out = writer(job);
    // Into memory, and rows may have any length: neither can fail.
    let _ = out.write_record(values);
    out.into_inner().unwrap_or_default()
}

/// The rows of one kind, with what became of them.
pub(crate) fn render(app: &App, job: &Job, kind: Kind) -> std::io::Result<Bytes> {
    let outcomes: Vec<RowOutcome> = app.store().jobs.rows(job.id).to_vec();
    let file = app.bulk.files.get(job.id)?;
    let lead: &[&str] = match kind {
        Kind::Successful => &["sf__Id", "sf__Created"],
        Kind::Failed => &["sf__Id", "sf__Error"],
        Kind::Unprocessed => &[],
    };
    let Ok(mut table) = Table::open(job, file.clone()) else {
        return Ok(unreadable(job, &file, lead, kind).into());
    };
    let mut head = line(
        job,
        lead.iter()
            .copied()
            .chain(table.header.iter().map(String::as_str)),
    );
    if kind == Kind::Unprocessed && table.header.is_empty() {
        head.clear();
    }
    let mut out = writer(job);
    let mut ends = Vec::new();
    let mut row = ByteRecord::new();
    for at in 0.. {
        if table.next(&mut row).is_none() {
            break;
        }
        let outcome = outcomes.get(at);
        let id = outcome
            .and_then(|o| o.0)
            .map_or_else(String::new, |id| id.to_string());
        let told = match (kind, outcome) {
            (Kind::Successful, Some(o)) if !o.failed() => o.1.to_string(),
            (Kind::Failed, Some(RowOutcome(_, _, Some(error)))) => error.to_string(),
            (Kind::Unprocessed, None) => String::new(),
            _ => continue,
        };
        // A row of another length failed for it, and is given the length of the others.
        let values = (0..table.header.len()).map(|at| row.get(at).unwrap_or_default());
        let lead = [id.as_bytes(), told.as_bytes()];
        let lead = lead
            .into_iter()
            .take(if kind == Kind::Unprocessed { 0 } else { 2 });
        let _ = out.write_record(lead.chain(values));
        out.flush()?;
        ends.push(out.get_ref().len());
    }
    let rows = out.into_inner().unwrap_or_default();
    let mut order: Vec<usize> = (0..ends.len()).collect();
    shuffle(&mut order, job.id.number());
    head.reserve(rows.len());
    for at in order {
        let start = at.checked_sub(1).map_or(0, |before| ends[before]);
        head.extend_from_slice(&rows[start..ends[at]]);
    }
    Ok(head.into())
}

/// A file whose header was no good: all of it is unprocessed.
fn unreadable(job: &Job, file: &Bytes, lead: &[&str], kind: Kind) -> Vec<u8> {
    match kind {
        Kind::Unprocessed => file.to_vec(),
        _ => line(job, lead),
    }
}

/// Fisher and Yates, with SplitMix64.
fn shuffle(order: &mut [usize], seed: u64) {
    let mut state = seed;
    for last in (1..order.len()).rev() {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        let pick = usize::try_from(z % (last as u64 + 1)).unwrap_or(0);
        order.swap(last, pick);
    }
}

/// Rows of a query's results from `start` on, with the header, and how many they are.
pub(crate) fn page(file: &Bytes, start: usize, most: usize) -> (Vec<u8>, usize) {
    let mut lines = Lines { file, at: 0 };
    let header = lines.next().unwrap_or(&[]);
    let mut out = header.to_vec();
    let mut count = 0;
    for row in lines.skip(start).take(most) {
        out.extend_from_slice(row);
        count += 1;
    }
    (out, count)
}

/// The lines of a file that is quoted throughout, with their ends.
struct Lines<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.file.get(self.at..).filter(|rest| !rest.is_empty())?;
        let mut quoted = false;
        let end = rest.iter().position(|b| {
            quoted ^= *b == b'"';
            *b == b'\n' && !quoted
        });
        let line = &rest[..end.map_or(rest.len(), |end| end + 1)];
        self.at += line.len();
        Some(line)
    }
}
