//! A batch as the CSV of a job.
//!
//! ```text
//!  JSON of a request            cell of a job
//!  "Name":"Lee"                 Lee
//!  "Name":null                  #N/A
//!  (not mentioned)              (empty)
//!  "Account":{"Ext__c":"a-9"}   a-9, in the column Account.Ext__c
//! ```
//!
//! The columns are those of all its records together. What a cell cannot say in exactly the sense of
//! the JSON is left to a request, record by record ([`says`]): an empty text (an empty cell
//! means *absent*), the text `#N/A` (it would clear), white space at the ends (a request trims it, a job
//! keeps it), carriage returns (the line endings of a job are one kind), control characters, what is no
//! plain number in a number, what is longer than a cell or a row may be.
//!
//! Rules of the format: UTF-8 without a byte order mark, comma, line feed; a value is quoted where it
//! holds a comma, a quote or a line feed, and quotes in it are doubled.
//! <https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/datafiles_prepare_csv.htm>

use std::collections::HashSet;
use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use xxhash_rust::xxh3::Xxh3;

use crate::mapping::{Assignment, FieldValue, Target, TargetField};
use crate::planning::{Batch, BatchAction, Write};
use crate::sinks::bulk::Packed;
use crate::sinks::salesforce::keys::KeyKind;

/// What clears a field.
const CLEAR: &str = "#N/A";
/// Characters in the first line.
const MAX_HEADER: usize = 32_000;
/// Characters in a value.
const MAX_VALUE: usize = 131_072;
/// Characters in a record.
const MAX_RECORD: usize = 400_000;
/// Bytes of a file: 150 MB as base64, which has a third more.
const MAX_FILE: usize = 100 << 20;

/// The name of the column that holds a record's CRM id.
pub(super) const ID: &str = "Id";

/// The content of a job that does what the batch says to those of its records at `places` that a job
/// can speak of; `None` if there are none.
///
/// `kind` is that of the object's key field.
pub(super) fn encode(
    batch: &Batch,
    places: &[usize],
    kind: KeyKind,
    compress: bool,
) -> Option<Packed> {
    let writes = |places: &[usize]| -> Vec<(usize, &Write)> {
        let found = places.iter().map(|i| batch.writes.get(*i).map(|w| (*i, w)));
        found.flatten().collect()
    };
    let columns = Columns::of(batch, writes(places).into_iter().map(|(_, w)| w))?;
    let mut out = Output::new(compress);
    out.hash(format!("{}/{:?}/", batch.target.object, batch.action).as_bytes());
    out.write(columns.header.as_bytes());
    let mut seen = HashSet::with_capacity(places.len());
    let mut inside = Vec::with_capacity(places.len());
    let mut row = Vec::with_capacity(256);
    for (place, write) in writes(places) {
        let Some(identity) = identity(batch.action, write) else {
            continue;
        };
        // Two rows of one record in one job: their order would be chance.
        let known = match batch.action {
            BatchAction::Upsert => kind.normal(identity).into_owned(),
            _ => same_id(identity).to_owned(),
        };
        row.clear();
        if seen.contains(&known) || !columns.row(identity, write, &mut row) {
            continue;
        }
        if out.written + row.len() > MAX_FILE {
            break;
        }
        seen.insert(known);
        out.write(&row);
        inside.push(place);
    }
    if inside.is_empty() {
        return None;
    }
    out.finish(inside)
}

/// What identifies the record in a job: its external id for an upsert, else its CRM id. `None` where
/// that is not known, or is no value of a cell.
pub(super) fn identity(action: BatchAction, write: &Write) -> Option<&str> {
    match action {
        BatchAction::Upsert => says_text(&write.key).then_some(write.key.as_str()),
        // A re-key is a matter of two external ids: requests look for both.
        _ if write.from.is_some() => None,
        _ => {
            let id = write.crm_id.as_deref()?;
            let is_id =
                matches!(id.len(), 15 | 18) && id.bytes().all(|b| b.is_ascii_alphanumeric());
            is_id.then_some(id)
        }
    }
}

/// Ids have 15 characters, and 3 more that only check them.
pub(super) fn same_id(id: &str) -> &str {
    id.get(..15).unwrap_or(id)
}

/// The columns of a file.
struct Columns<'a> {
    header: String,
    /// The fields of the columns, behind the one that identifies the record; by slot.
    fields: Vec<(u16, &'a TargetField)>,
    /// Values count for nothing.
    deletes: bool,
}

impl<'a> Columns<'a> {
    /// Of all that these writes mention. `None`: the first line would be too long.
    fn of<'w>(batch: &'a Batch, writes: impl Iterator<Item = &'w Write>) -> Option<Self> {
        let target: &Target = &batch.target;
        let mut used = vec![false; target.fields.len()];
        let deletes = matches!(batch.action, BatchAction::Delete { .. });
        for assigned in writes.flat_map(|w| w.fields.iter()) {
            if let Some(used) = used.get_mut(usize::from(assigned.slot)) {
                *used = !deletes;
            }
        }
        let mut header = match batch.action {
            BatchAction::Upsert => target.key_field.to_string(),
            _ => ID.to_owned(),
        };
        let mut fields = Vec::new();
        for (slot, field) in target.fields.iter().enumerate() {
            if used.get(slot).copied().unwrap_or(false) {
                fields.push((u16::try_from(slot).ok()?, field));
                header.push(',');
                header.push_str(&column(field));
            }
        }
        header.push('\n');
        (header.chars().count() <= MAX_HEADER).then_some(Columns {
            header,
            fields,
            deletes,
        })
    }

    /// Appends a record's row. False: a row cannot say it, and what was appended counts for nothing.
    fn row(&self, identity: &str, write: &Write, out: &mut Vec<u8>) -> bool {
        cell(out, identity);
        let mut characters = identity.chars().count();
        let mut assigned = write.fields.iter().peekable();
        for (slot, field) in &self.fields {
            out.push(b',');
            let Some(assigned) = assigned.next_if(|a| a.slot == *slot) else {
                continue;
            };
            let Some(text) = says(&assigned.assignment, field) else {
                return false;
            };
            // Bytes are never fewer than characters: most values need no counting.
            if text.len() > MAX_VALUE && text.chars().count() > MAX_VALUE {
                return false;
            }
            characters += text.len();
            cell(out, text);
        }
        out.push(b'\n');
        // What is left names a field that the target does not have, or is out of order.
        (self.deletes || assigned.peek().is_none()) && characters <= MAX_RECORD
    }
}

/// `Name`, `Account.Ext_Id__c`, `User:Owner.Ext_Id__c`.
fn column(field: &TargetField) -> String {
    match &field.reference {
        None => field.name.to_string(),
        Some(r) if r.polymorphic => {
            format!("{}:{}.{}", r.object_name, r.relationship, r.key_field)
        }
        Some(r) => format!("{}.{}", r.relationship, r.key_field),
    }
}

/// What a cell holds to say the same as a request; `None` where it cannot.
fn says<'a>(assignment: &'a Assignment, field: &TargetField) -> Option<&'a str> {
    match (assignment, &field.reference) {
        // Which of the objects is meant decides the column; none is meant.
        (Assignment::Clear, Some(reference)) if reference.polymorphic => None,
        (Assignment::Clear, _) => Some(CLEAR),
        (Assignment::Set(FieldValue::Reference(key)), Some(_)) => says_text(key).then_some(key),
        // An id of the CRM's own: the column names the parent by its external id.
        (Assignment::Set(_), Some(_)) => None,
        (Assignment::Set(FieldValue::Bool(yes)), None) => Some(if *yes { "true" } else { "false" }),
        (Assignment::Set(FieldValue::Number(digits)), None) => {
            is_plain_number(digits).then_some(digits)
        }
        (Assignment::Set(FieldValue::Text(text) | FieldValue::Reference(text)), None) => {
            says_text(text).then_some(text)
        }
    }
}

/// Whether a cell with this text means this text.
fn says_text(text: &str) -> bool {
    let control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    !text.is_empty()
        && text.trim().len() == text.len()
        && !text.eq_ignore_ascii_case(CLEAR)
        && !text.starts_with('\u{feff}')
        && !text.chars().any(control)
}

/// Digits, perhaps with a sign and a point: no exponent, which requests and jobs need not read alike.
fn is_plain_number(text: &str) -> bool {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    match unsigned.split_once('.') {
        None => digits(unsigned),
        Some((whole, rest)) => digits(whole) && digits(rest),
    }
}

fn cell(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    if !bytes.iter().any(|b| matches!(b, b',' | b'"' | b'\n')) {
        return out.extend_from_slice(bytes);
    }
    out.push(b'"');
    for byte in bytes {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

/// The file while it is written: compressed as it grows.
struct Output {
    to: Pipe,
    hash: Xxh3,
    /// Bytes before they were compressed.
    written: usize,
    broken: bool,
}

enum Pipe {
    Plain(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl Output {
    fn new(compress: bool) -> Self {
        Output {
            to: match compress {
                false => Pipe::Plain(Vec::new()),
                true => Pipe::Gzip(GzEncoder::new(Vec::new(), Compression::fast())),
            },
            hash: Xxh3::new(),
            written: 0,
            broken: false,
        }
    }

    fn hash(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
    }

    fn write(&mut self, bytes: &[u8]) {
        self.hash(bytes);
        self.written += bytes.len();
        let done: io::Result<()> = match &mut self.to {
            Pipe::Plain(to) => {
                to.extend_from_slice(bytes);
                Ok(())
            }
            Pipe::Gzip(to) => to.write_all(bytes),
        };
        // Into memory it cannot fail; half a file must never be sent all the same.
        self.broken |= done.is_err();
    }

    fn finish(self, places: Vec<usize>) -> Option<Packed> {
        let compressed = matches!(self.to, Pipe::Gzip(_));
        let body = match self.to {
            Pipe::Plain(body) => body,
            Pipe::Gzip(to) => to.finish().ok()?,
        };
        (!self.broken).then(|| Packed {
            body: body.into(),
            compressed,
            hash: self.hash.digest128(),
            places,
        })
    }
}

#[cfg(test)]
mod tests;
