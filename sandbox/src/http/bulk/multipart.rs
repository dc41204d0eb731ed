//! `multipart/form-data`, as far as creating a job with its rows needs it (RFC 7578).

use bytes::Bytes;

/// A part with its name.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) body: Bytes,
}

/// The boundary that a content type names, if it is a form's.
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let mut parts = content_type.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then_some(value)
    })?;
    Some(value.trim_matches('"').to_owned())
}

/// The parts of a body, or `None` if it is no such body.
pub(super) fn read(body: &Bytes, boundary: &str) -> Option<Vec<Part>> {
    let mark = format!("--{boundary}");
    let mut at = find(body, mark.as_bytes(), 0)? + mark.len();
    let mut parts = Vec::new();
    loop {
        let rest = body.get(at..)?;
        if rest.starts_with(b"--") {
            return Some(parts);
        }
        at += line_end(rest)?;
        let head_end = find(body, b"\r\n\r\n", at)?;
        let head = String::from_utf8_lossy(body.get(at..head_end)?).into_owned();
        let start = head_end + 4;
        let end = find(body, format!("\r\n{mark}").as_bytes(), start)?;
        if let Some(name) = name(&head) {
            parts.push(Part {
                name,
                body: body.slice(start..end),
            });
        }
        at = end + 2 + mark.len();
    }
}

fn line_end(rest: &[u8]) -> Option<usize> {
    find(rest, b"\r\n", 0).map(|at| at + 2)
}

fn name(head: &str) -> Option<String> {
    let line = head
        .lines()
        .find(|line| line.to_lowercase().starts_with("content-disposition:"))?;
    let named = line.split(';').find_map(|part| {
        let (key, value) = part.trim().split_once('=')?;
        key.eq_ignore_ascii_case("name").then_some(value)
    })?;
    Some(named.trim_matches('"').to_owned())
}

fn find(hay: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let found = hay
        .get(from..)?
        .windows(needle.len())
        .position(|w| w == needle);
    found.map(|at| at + from)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn parts_are_found_by_their_names() {
        let kind = "multipart/form-data; boundary=\"XyZ\"";
        let body = "--XyZ\r\nContent-Disposition: form-data; name=\"job\"\r\nContent-Type: application/json\r\n\r\n{\"a\":1}\r\n--XyZ\r\nContent-Disposition: form-data; name=\"content\"; filename=\"c\"\r\n\r\na,b\n1,2\n\r\n--XyZ--\r\n";
        let parts = read(&Bytes::from(body), &boundary(kind).unwrap()).unwrap();
        let shown: Vec<(&str, &[u8])> = parts
            .iter()
            .map(|p| (p.name.as_str(), &p.body[..]))
            .collect();
        assert_eq!(
            shown,
            [("job", &b"{\"a\":1}"[..]), ("content", &b"a,b\n1,2\n"[..])]
        );
        assert!(boundary("application/json").is_none());
        assert!(read(&Bytes::from("--XyZ\r\nnonsense"), "XyZ").is_none());
    }
}
