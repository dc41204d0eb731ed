//! What the demo prints: acts with their timings, bars, tables.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Standard output. The bars go to standard error, and only to a terminal.
pub(super) struct Screen {
    began: Instant,
    colour: bool,
}

impl Screen {
    pub(super) fn new() -> Screen {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Screen {
            began: Instant::now(),
            colour,
        }
    }

    /// Time since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn paint(&self, code: &str, text: impl Display) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }

    /// One line.
    pub(super) fn line(&self, text: impl Display) {
        // A closed pipe does not end the demo: its end has to be orderly.
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    /// The head of an act.
    pub(super) fn act(&self, title: &str) {
        let at = format!("{:5.1}s", self.elapsed().as_secs_f64());
        self.line(format!(
            "\n{}  {}",
            self.paint("2", at),
            self.paint("1", title)
        ));
    }

    /// Something that has been done or seen.
    pub(super) fn done(&self, text: impl Display) {
        self.line(format!("        {} {text}", self.paint("32", "✓")));
    }

    /// Something that is to be known.
    pub(super) fn note(&self, text: impl Display) {
        self.line(format!("        {} {text}", self.paint("36", "·")));
    }

    /// Something that went wrong on purpose.
    pub(super) fn blow(&self, text: impl Display) {
        self.line(format!("        {} {text}", self.paint("33", "!")));
    }

    /// Something that is wrong.
    pub(super) fn bad(&self, text: impl Display) {
        self.line(format!("        {} {text}", self.paint("31", "✗")));
    }

    /// A bar of `total` steps.
    pub(super) fn bar(&self, total: u64, what: &'static str) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template(
            "        {bar:36.cyan/dim} {pos:>5}/{len} {msg} {elapsed:.dim}",
        );
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar.set_message(what);
        bar
    }

    /// A table; every column but the first is aligned to the right.
    pub(super) fn table(&self, head: &[&str], rows: &[Vec<String>]) {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(head.to_vec());
        for row in rows {
            table.add_row(row.clone());
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for line in table.to_string().lines() {
            self.line(format!("        {}", line.trim_end()));
        }
    }

    /// The last line of all.
    pub(super) fn verdict(&self, good: bool, text: &str) {
        let code = if good { "1;32" } else { "1;31" };
        self.line(format!("\n{}", self.paint(code, text)));
    }
}

/// `1.25 s`, `80 ms`.
pub(super) fn span(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

/// `3,600`
pub(super) fn count(number: impl Into<i64>) -> String {
    let number = number.into();
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    if number < 0 {
        text.push('-');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
