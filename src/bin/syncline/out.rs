//! Standard output, the one place where it is written.

use std::io::{self, Write};

use serde::Serialize;
use syncline::fault::{Error, ErrorKind, Finding, Result, Severity};

/// Writes a text as it is. A reader that has gone (`| head`) is no failure.
pub(crate) fn text(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(e) => Err(Error::new(ErrorKind::Machine, "cannot write to standard output").source(e)),
        Ok(()) => Ok(()),
    }
}

/// Writes a line.
pub(crate) fn line(text: &str) -> Result<()> {
    self::text(&format!("{text}\n"))
}

/// Writes a value as JSON over several lines.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    line(&serde_json::to_string_pretty(value).map_err(unwritable)?)
}

/// Writes a value as JSON on one line.
pub(crate) fn json_line(value: &impl Serialize) -> Result<()> {
    line(&serde_json::to_string(value).map_err(unwritable)?)
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Machine, "the result cannot be written as JSON").source(error)
}

/// What a longer work is at, on a terminal; nothing elsewhere.
pub(crate) struct Step(indicatif::ProgressBar);

impl Step {
    /// Hidden unless wanted (and standard error is a terminal).
    pub(crate) fn new(wanted: bool) -> Self {
        if !wanted {
            return Step(indicatif::ProgressBar::hidden());
        }
        let bar = indicatif::ProgressBar::new_spinner();
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        Step(bar)
    }

    /// It is at this now.
    pub(crate) fn at(&self, what: &str) {
        self.0.set_message(format!("{what} …"));
    }

    /// It is over; nothing is left on the screen.
    pub(crate) fn end(self) {
        self.0.finish_and_clear();
    }
}

/// A table without lines around its cells.
pub(crate) fn table() -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table
}

/// Its text, with two blanks between columns.
pub(crate) fn lines(mut table: comfy_table::Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// Findings under a title for each severity; those of other severities are left out.
pub(crate) fn findings(findings: &[Finding], titles: &[(Severity, &str)]) -> String {
    let mut text = String::new();
    for (severity, title) in titles {
        let mut of_this = findings
            .iter()
            .filter(|f| f.severity == *severity)
            .peekable();
        if of_this.peek().is_none() {
            continue;
        }
        text.push_str(&format!("{title}\n"));
        for finding in of_this {
            text.push_str(&format!("  {}: {}\n", finding.place, finding.what));
            if !finding.remedy.is_empty() {
                text.push_str(&format!("    → {}\n", finding.remedy));
            }
        }
        text.push('\n');
    }
    text
}

/// `1 warning`, `2 warnings`.
pub(crate) fn count(n: usize, word: &str) -> String {
    match n {
        1 => format!("1 {word}"),
        n => format!("{n} {word}s"),
    }
}
