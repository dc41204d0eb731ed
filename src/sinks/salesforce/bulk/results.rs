//! The results of a job: CSV that is read as it comes, row by row.
//!
//! `successfulResults` leads each uploaded row with `sf__Id` and `sf__Created`, `failedResults` with
//! `sf__Id` and `sf__Error` (`CODE:message:FIELD --`). Their order is not that of the upload: rows are
//! matched by the column that identifies the record.
//!
//! <https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/get_job_successful_results.htm>

use csv_core::{ReadRecordResult, Reader};

use super::super::errors::ApiError;

/// Most bytes of one row: what a row can hold (400,000 characters), an error, and then some.
const MAX_ROW: usize = 4 << 20;

/// A table that arrives in pieces.
pub(super) struct Table {
    reader: Reader,
    values: Vec<u8>,
    ends: Vec<usize>,
    filled: (usize, usize),
    header: Option<Vec<String>>,
    /// It cannot be read.
    broken: bool,
}

/// A row with the names of its columns.
pub(super) struct Row<'a> {
    header: &'a [String],
    values: &'a [u8],
    ends: &'a [usize],
}

impl Default for Table {
    fn default() -> Self {
        Table {
            reader: Reader::new(),
            values: vec![0; 1024],
            ends: vec![0; 64],
            filled: (0, 0),
            header: None,
            broken: false,
        }
    }
}

impl Table {
    /// Takes the next piece; `each` sees every row that it completes.
    pub(super) fn feed(&mut self, mut piece: &[u8], each: &mut dyn FnMut(Row<'_>)) {
        while !piece.is_empty() && !self.broken {
            let read = self.step(piece, each);
            piece = piece.get(read..).unwrap_or_default();
        }
    }

    /// There is no more. False: it ended in the middle, or was no table.
    pub(super) fn finish(mut self, each: &mut dyn FnMut(Row<'_>)) -> bool {
        // A last row without its line end; then nothing.
        for _ in 0..3 {
            self.step(&[], each);
        }
        !self.broken
    }

    /// Columns were named.
    pub(super) fn is_begun(&self) -> bool {
        self.header.is_some()
    }

    fn step(&mut self, input: &[u8], each: &mut dyn FnMut(Row<'_>)) -> usize {
        let (values, ends) = self.filled;
        let (Some(free), Some(free_ends)) =
            (self.values.get_mut(values..), self.ends.get_mut(ends..))
        else {
            self.broken = true;
            return input.len();
        };
        let (result, read, written, ended) = self.reader.read_record(input, free, free_ends);
        self.filled = (values + written, ends + ended);
        match result {
            ReadRecordResult::InputEmpty | ReadRecordResult::End => {}
            ReadRecordResult::OutputFull if self.values.len() >= MAX_ROW => self.broken = true,
            ReadRecordResult::OutputFull => self.values.resize(self.values.len() * 2, 0),
            ReadRecordResult::OutputEndsFull if self.ends.len() >= MAX_ROW => self.broken = true,
            ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
            ReadRecordResult::Record => {
                self.row(each);
                self.filled = (0, 0);
            }
        }
        read
    }

    fn row(&mut self, each: &mut dyn FnMut(Row<'_>)) {
        let ends = self.ends.get(..self.filled.1).unwrap_or_default();
        let Some(header) = &self.header else {
            let row = Row {
                header: &[],
                values: &self.values,
                ends,
            };
            let names = (0..ends.len()).map(|at| row.at(at).unwrap_or_default().to_owned());
            self.header = Some(names.collect());
            return;
        };
        if header.len() != ends.len() {
            self.broken = true;
            return;
        }
        each(Row {
            header,
            values: &self.values,
            ends,
        });
    }
}

impl<'a> Row<'a> {
    /// The value of a column, however its name is spelt.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let place = self
            .header
            .iter()
            .position(|h| h.eq_ignore_ascii_case(name));
        self.at(place?)
    }

    fn at(&self, place: usize) -> Option<&'a str> {
        let start = match place.checked_sub(1) {
            None => 0,
            Some(before) => *self.ends.get(before)?,
        };
        std::str::from_utf8(self.values.get(start..*self.ends.get(place)?)?).ok()
    }
}

/// `REQUIRED_FIELD_MISSING:Required fields are missing: [LastName]:LastName --`
pub(super) fn error(text: &str) -> ApiError {
    let Some((code, rest)) = text.split_once(':') else {
        return ApiError {
            code: code_of(text),
            message: Some(text.to_owned()),
            fields: None,
            ..ApiError::default()
        };
    };
    let rest = rest.trim_end();
    let rest = rest.strip_suffix("--").unwrap_or(rest);
    let is_field = |name: &str| {
        let mut chars = name.chars();
        chars.next().is_some_and(|c| c.is_ascii_alphabetic())
            && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':'))
    };
    // The message may hold colons, too.
    let (message, fields) = match rest.rsplit_once(':') {
        Some((message, fields)) => {
            let fields = fields.trim();
            let names: Vec<String> = fields.split(',').map(|f| f.trim().to_owned()).collect();
            match fields.is_empty() {
                true => (message, Vec::new()),
                false if names.iter().all(|n| is_field(n)) => (message, names),
                false => (rest, Vec::new()),
            }
        }
        None => (rest, Vec::new()),
    };
    ApiError {
        code: code_of(code),
        message: Some(message.trim().to_owned()),
        fields: Some(fields),
        ..ApiError::default()
    }
}

fn code_of(text: &str) -> String {
    let text = text.trim();
    let is_code = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match !text.is_empty() && text.chars().all(is_code) {
        true => text.to_owned(),
        false => "UNKNOWN_EXCEPTION".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn read(text: &[u8], piece: usize) -> Option<Vec<Vec<String>>> {
        let mut table = Table::default();
        let mut rows = Vec::new();
        let mut each = |row: Row<'_>| {
            let values = (0..row.ends.len()).map(|at| row.at(at).unwrap_or("?").to_owned());
            rows.push(values.collect());
        };
        for piece in text.chunks(piece.max(1)) {
            table.feed(piece, &mut each);
        }
        table.finish(&mut each).then_some(rows)
    }

    #[test]
    fn columns_are_found_by_name() {
        let text = "\"sf__Id\",\"sf__Created\",ext_id__c,Name\n\
                    \"003\",\"true\",\"c-1\",\"a \"\"b\"\"\n,c\"\n003x,false,c-2,";
        let mut table = Table::default();
        let mut seen = Vec::new();
        let mut each = |row: Row<'_>| {
            let get = |name| row.get(name).unwrap().to_owned();
            seen.push((get("sf__Id"), get("Ext_Id__c"), get("Name")));
            assert_eq!(row.get("Nope"), None);
        };
        table.feed(text.as_bytes(), &mut each);
        assert!(table.is_begun());
        assert!(table.finish(&mut each));
        let row = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(
            seen,
            [row("003", "c-1", "a \"b\"\n,c"), row("003x", "c-2", "")]
        );
    }

    #[test]
    fn rows_of_another_length_are_no_table() {
        assert_eq!(read(b"a,b\n1,2\n3\n", 100), None);
        assert_eq!(read(b"", 1), Some(vec![]));
        assert_eq!(read(b"a,b\n", 1), Some(vec![]));
    }

    #[test]
    fn errors_are_code_message_and_fields() {
        for (text, code, message, fields) in [
            (
                "REQUIRED_FIELD_MISSING:Required fields are missing: [LastName]:LastName --",
                "REQUIRED_FIELD_MISSING",
                "Required fields are missing: [LastName]",
                vec!["LastName"],
            ),
            (
                "INVALID_FIELD:Foreign key external ID: p-7 not found for field Ext_Id__c in entity Account:--",
                "INVALID_FIELD",
                "Foreign key external ID: p-7 not found for field Ext_Id__c in entity Account",
                vec![],
            ),
            (
                "INVALID_FIELD:Failed to deserialize field at col 3. Due to, 'x' is not a valid value for the type xsd:date:CloseDate --",
                "INVALID_FIELD",
                "Failed to deserialize field at col 3. Due to, 'x' is not a valid value for the type xsd:date",
                vec!["CloseDate"],
            ),
            ("X_Y:a:b c", "X_Y", "a:b c", vec![]),
            (
                "UNABLE_TO_LOCK_ROW:wait:A__c, B__c --",
                "UNABLE_TO_LOCK_ROW",
                "wait",
                vec!["A__c", "B__c"],
            ),
            ("what now", "UNKNOWN_EXCEPTION", "what now", vec![]),
            ("", "UNKNOWN_EXCEPTION", "", vec![]),
        ] {
            let error = error(text);
            assert_eq!(error.code, code);
            assert_eq!(error.message.as_deref(), Some(message));
            assert_eq!(error.fields.unwrap_or_default(), fields);
        }
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_read_the_same(
            rows in prop::collection::vec(prop::collection::vec(".{0,40}", 3), 0..12),
            piece in 1_usize..50,
        ) {
            let mut writer = csv::WriterBuilder::new()
                .quote_style(csv::QuoteStyle::Always)
                .from_writer(Vec::new());
            writer.write_record(["a", "b", "c"]).unwrap();
            for row in &rows {
                writer.write_record(row).unwrap();
            }
            let text = writer.into_inner().unwrap();
            prop_assert_eq!(read(&text, piece), Some(rows));
        }

        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), piece in 1_usize..9) {
            read(&bytes, piece);
            error(&String::from_utf8_lossy(&bytes));
        }
    }
}
