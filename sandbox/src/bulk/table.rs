//! Reading an uploaded file: its header, then row by row.
//!
//! The `csv` crate forgives what the service does not: a quote inside an unquoted value, or
//! anything between a closing quote and the delimiter. So the bytes of every row that has a
//! quote are looked at once more.

use std::io::Cursor;

use bytes::Bytes;
use csv::{ByteRecord, Reader, ReaderBuilder, Terminator};

use super::job::{Job, LineEnding};

const BOM: &[u8] = "\u{feff}".as_bytes();
/// The longest header line, in characters.
const MAX_HEADER: usize = 32_000;
/// The most columns of a row.
const MAX_COLUMNS: usize = 5_000;
/// The longest value and the longest row, in characters.
const MAX_VALUE: usize = 131_072;
const MAX_ROW: usize = 400_000;

/// A file that is being read.
pub(super) struct Table {
    file: Bytes,
    reader: Reader<Cursor<Bytes>>,
    delimiter: u8,
    pub(super) header: Vec<String>,
}

/// Why a row cannot be taken, beside what is wrong with its values.
pub(super) type Malformed = String;

impl Table {
    /// Reads the header. The error is the job's.
    pub(super) fn open(job: &Job, file: Bytes) -> Result<Table, String> {
        if file.is_empty() {
            return Err("InvalidBatch : The file is empty".to_owned());
        }
        let delimiter = job.delimiter.byte();
        let terminator = match job.line_ending {
            LineEnding::LF => Terminator::Any(b'\n'),
            LineEnding::CRLF => Terminator::CRLF,
        };
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            .terminator(terminator)
            .buffer_capacity(1 << 16)
            .from_reader(Cursor::new(file.clone()));
        let mut first = ByteRecord::new();
        reader
            .read_byte_record(&mut first)
            .map_err(|e| format!("InvalidBatch : The header cannot be read: {e}"))?;
        let end = usize::try_from(reader.position().byte()).unwrap_or(usize::MAX);
        let line = file.get(..end.min(file.len())).unwrap_or(&[]);
        let ends_with_cr = |line: &[u8]| {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            line.ends_with(b"\r")
        };
        // In CRLF the reader may stop between the two.
        let crlf = ends_with_cr(line) || (line.ends_with(b"\r") && file.get(end) == Some(&b'\n'));
        if end < file.len() && crlf != (job.line_ending == LineEnding::CRLF) {
            return Err(format!(
                "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is {}",
                job.line_ending.name()
            ));
        }
        let shown = String::from_utf8_lossy(line);
        if shown.chars().count() > MAX_HEADER {
            return Err(format!(
                "ClientInputError : The header is longer than {MAX_HEADER} characters"
            ));
        }
        if first.len() > MAX_COLUMNS {
            return Err(format!(
                "ClientInputError : There are more than {MAX_COLUMNS} fields"
            ));
        }
        let mut header: Vec<String> = first
            .iter()
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
        // The crate skips a byte order mark; the service takes it for a letter.
        if let (true, Some(name)) = (file.starts_with(BOM), header.first_mut()) {
            name.insert(0, '\u{feff}');
        }
        Ok(Table {
            file,
            reader,
            delimiter,
            header,
        })
    }

    /// Reads the next row into `into`, or gives `None` at the end. A row that is no good
    /// as a row is read all the same: its outcome is an error.
    pub(super) fn next(&mut self, into: &mut ByteRecord) -> Option<Result<(), Malformed>> {
        match self.reader.read_byte_record(into) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => return Some(Err(format!("The row cannot be read: {error}"))),
        }
        let start = into.position().map_or(0, csv::Position::byte);
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let end = place(self.reader.position().byte()).min(self.file.len());
        let raw = self.file.get(place(start).min(end)..end).unwrap_or(&[]);
        Some(self.judge(into, raw))
    }

    fn judge(&self, row: &ByteRecord, raw: &[u8]) -> Result<(), Malformed> {
        if !quoted_well(raw, self.delimiter) {
            return Err("A quote must be the first and last character of its field".to_owned());
        }
        if row.len() != self.header.len() {
            return Err(format!(
                "The number of fields ({}) does not match the header ({})",
                row.len(),
                self.header.len()
            ));
        }
        // Bytes are never fewer than characters: most rows need no counting.
        let count = |text: &[u8]| String::from_utf8_lossy(text).chars().count();
        if row
            .iter()
            .any(|v| v.len() > MAX_VALUE && count(v) > MAX_VALUE)
        {
            return Err(format!("A field is longer than {MAX_VALUE} characters"));
        }
        if raw.len() > MAX_ROW && row.iter().map(count).sum::<usize>() > MAX_ROW {
            return Err(format!("The row is longer than {MAX_ROW} characters"));
        }
        Ok(())
    }
}

/// Whether every quote of a row opens a field, closes one, or is doubled inside one.
fn quoted_well(raw: &[u8], delimiter: u8) -> bool {
    if !raw.contains(&b'"') {
        return true;
    }
    let mut rest = raw;
    // Blank lines before the row belong to nobody.
    while let [b'\r' | b'\n', tail @ ..] = rest {
        rest = tail;
    }
    loop {
        if let [b'"', tail @ ..] = rest {
            rest = tail;
            loop {
                match rest {
                    [b'"', b'"', tail @ ..] => rest = tail,
                    [b'"', tail @ ..] => {
                        rest = tail;
                        break;
                    }
                    [_, tail @ ..] => rest = tail,
                    [] => return false,
                }
            }
            match rest {
                [] | [b'\n', ..] | [b'\r', ..] => return true,
                [next, tail @ ..] if *next == delimiter => rest = tail,
                _ => return false,
            }
        } else {
            let end = rest.iter().position(|b| *b == delimiter || *b == b'"');
            match end {
                None => return true,
                Some(at) if rest[at] == b'"' => return false,
                Some(at) => rest = &rest[at + 1..],
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn quotes_stand_only_at_the_ends_of_a_field() {
        for good in [
            "a,b\n",
            "\"a\",b\n",
            "\"a \"\"b\"\" c\",\"\"\r\n",
            "\"a\nb\",c",
            ",\"x\"",
            "\n\n\"a\"\n",
        ] {
            assert!(quoted_well(good.as_bytes(), b','), "{good:?}");
        }
        for bad in ["a\"b,c\n", " \"a\",b\n", "\"a\" ,b\n", "\"a", "a,\"b\"c\n"] {
            assert!(!quoted_well(bad.as_bytes(), b','), "{bad:?}");
        }
    }
}
