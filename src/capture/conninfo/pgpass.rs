//! The password file: `host:port:database:user:password` a line, `*` for anything.
//!
//! <https://www.postgresql.org/docs/current/libpq-pgpass.html>

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The password for a connection, or why the file was not used. A file that is not there is no
/// reason.
pub(super) fn look_up(
    file: &Path,
    host: &str,
    port: u16,
    database: &str,
    user: &str,
) -> Result<Option<String>, String> {
    let meta = match fs::metadata(file) {
        Ok(meta) => meta,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.to_string()),
    };
    if !meta.is_file() {
        return Err("it is not a plain file".to_owned());
    }
    if meta.mode() & 0o077 != 0 {
        return Err("others can read it; run chmod 0600 on it".to_owned());
    }
    let text = fs::read_to_string(file).map_err(|e| e.to_string())?;
    let port = port.to_string();
    Ok(text
        .lines()
        .find_map(|line| match_line(line, [host, &port, database, user])))
}

fn match_line(line: &str, wanted: [&str; 4]) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut rest = line;
    for wanted in wanted {
        let (field, literal_star, after) = field(rest)?;
        if !(literal_star || field == wanted) {
            return None;
        }
        rest = after;
    }
    // The password ends at the line's end; colons in it need no escape, but may have one.
    let password = unescape(rest);
    (!password.is_empty()).then_some(password)
}

/// The first field, whether it is a bare `*`, and what follows its colon.
fn field(text: &str) -> Option<(String, bool, &str)> {
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ':' => {
                let (raw, after) = text.split_at(index);
                return Some((unescape(raw), raw == "*", after.get(1..)?));
            }
            _ => {}
        }
    }
    None
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}
