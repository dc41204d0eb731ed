//! The content of a message: a JSON object, read member by member, nothing of it changed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// Why a content, or a member of it, cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is not JSON: what is wrong and where, without the text itself.
    Unreadable(String),
    /// It is JSON, and no object.
    NoObject,
    /// A record is named by a text or a whole number.
    BadName,
    /// A list of values has texts, numbers and booleans only.
    BadList,
}

impl Trouble {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Trouble::Unreadable(_) | Trouble::NoObject => "outbox_not_json",
            Trouble::BadName => "outbox_bad_key",
            Trouble::BadList => "bad_list",
        }
    }

    /// What is wrong, in words that follow what it is about.
    pub(super) fn words(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Trouble::Unreadable(why) => return Cow::Owned(format!("is not JSON: {why}")),
            Trouble::NoObject => "is not a JSON object: {\"member\": …}",
            Trouble::BadName => "names a record, and is neither a text nor a whole number",
            Trouble::BadList => "is a list with elements that are lists or objects",
        })
    }

    fn of(error: &serde_json::Error) -> Self {
        // Its own words quote what it found.
        let what = match error.classify() {
            serde_json::error::Category::Eof => "it ends too early",
            _ => "a mistake",
        };
        Trouble::Unreadable(format!(
            "{what} in line {}, column {}",
            error.line(),
            error.column()
        ))
    }
}

/// The members of an object.
#[derive(Debug)]
pub(super) struct Members<'c>(BTreeMap<String, &'c RawValue>);

/// A member's text in the form in which Postgres would print it; `None` for null.
type Text<'c> = Option<Cow<'c, str>>;

impl<'c> Members<'c> {
    pub(super) fn read(content: &'c [u8]) -> Result<Self, Trouble> {
        let text = std::str::from_utf8(content).map_err(|e| {
            Trouble::Unreadable(format!("no UTF-8 from byte {} on", e.valid_up_to()))
        })?;
        let whole: &RawValue = serde_json::from_str(text).map_err(|e| Trouble::of(&e))?;
        if !whole.get().starts_with('{') {
            return Err(Trouble::NoObject);
        }
        let members = serde_json::from_str(whole.get()).map_err(|e| Trouble::of(&e))?;
        Ok(Members(members))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The value at the end of a path; `None` where there is none. `names`: it names a record; `list`:
    /// its field holds several values.
    pub(super) fn value(
        &self,
        path: &[String],
        names: bool,
        list: bool,
    ) -> Result<Option<Text<'c>>, Trouble> {
        let Some((first, rest)) = path.split_first() else {
            return Ok(None);
        };
        let mut found = self.0.get(first).copied();
        for part in rest {
            found = found.and_then(|value| inside(value, part));
        }
        let Some(value) = found else {
            return Ok(None);
        };
        let raw = value.get();
        let kind = raw.as_bytes().first().copied().unwrap_or_default();
        let text = match kind {
            b'n' => return Ok(Some(None)),
            b'"' => Cow::Owned(string(raw)?),
            b'-' | b'0'..=b'9' => number(raw),
            _ => Cow::Borrowed(raw),
        };
        if names && !(kind == b'"' || text.bytes().all(|b| b.is_ascii_digit() || b == b'-')) {
            return Err(Trouble::BadName);
        }
        if !list {
            return Ok(Some(Some(text)));
        }
        let elements: Vec<Cow<'_, str>> = match kind {
            b'[' => {
                let elements: Vec<&RawValue> =
                    serde_json::from_str(raw).map_err(|e| Trouble::of(&e))?;
                let elements = elements.into_iter().map(|e| element(e.get()));
                elements.collect::<Result<_, _>>()?
            }
            b'{' => return Err(Trouble::BadList),
            // As the CRM writes it.
            _ => text.split(';').map(Cow::Borrowed).collect(),
        };
        Ok(Some(Some(Cow::Owned(array(&elements)))))
    }
}

/// A member of an object, or an element of a list.
fn inside<'c>(value: &'c RawValue, part: &str) -> Option<&'c RawValue> {
    let raw = value.get();
    match raw.as_bytes().first()? {
        b'{' => {
            let mut members: BTreeMap<String, &RawValue> = serde_json::from_str(raw).ok()?;
            members.remove(part)
        }
        b'[' => {
            let plain = part == "0" || !part.starts_with('0');
            let index = part.parse::<usize>().ok().filter(|_| plain)?;
            let elements: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
            elements.get(index).copied()
        }
        _ => None,
    }
}

fn string(raw: &str) -> Result<String, Trouble> {
    serde_json::from_str(raw).map_err(|e| Trouble::of(&e))
}

fn element(raw: &str) -> Result<Cow<'_, str>, Trouble> {
    match raw.as_bytes().first() {
        Some(b'"') => string(raw).map(Cow::Owned),
        Some(b'[' | b'{' | b'n') | None => Err(Trouble::BadList),
        Some(_) => Ok(Cow::Borrowed(raw)),
    }
}

/// `{"a","b"}`, as Postgres prints an array.
fn array(elements: &[Cow<'_, str>]) -> String {
    let quoted: Vec<String> = elements
        .iter()
        .map(|e| format!("\"{}\"", e.replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    format!("{{{}}}", quoted.join(","))
}

/// Longest row of zeros that an exponent is written out as.
const ZEROS: usize = 400;

/// A number without an exponent, digit for digit.
fn number(raw: &str) -> Cow<'_, str> {
    let Some((digits, exponent)) = raw.split_once(['e', 'E']) else {
        return Cow::Borrowed(raw);
    };
    let exponent = exponent.strip_prefix('+').unwrap_or(exponent);
    let Ok(exponent) = exponent.parse::<i32>() else {
        return Cow::Borrowed(raw);
    };
    let size = usize::try_from(exponent.unsigned_abs()).unwrap_or(usize::MAX);
    if size > ZEROS {
        // No field holds it.
        return Cow::Borrowed(raw);
    }
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    Cow::Owned(if exponent >= 0 {
        let padded = format!("{fraction:0<size$}");
        let (left, right) = padded.split_at(size);
        let point = if right.is_empty() { "" } else { "." };
        format!("{sign}{whole}{left}{point}{right}")
    } else {
        let padded = format!("{}{whole}", "0".repeat(size));
        let (left, right) = padded.split_at(padded.len() - size);
        let left = match left.trim_start_matches('0') {
            "" => "0",
            left => left,
        };
        format!("{sign}{left}.{right}{fraction}")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn exponents_are_written_out() {
        for (raw, plain) in [
            ("12", "12"),
            ("-0.50", "-0.50"),
            ("1e3", "1000"),
            ("1.25E+1", "12.5"),
            ("-1.25e2", "-125"),
            ("1.5e-2", "0.015"),
            ("125e-2", "1.25"),
            ("1e0", "1"),
            ("1e500", "1e500"),
            ("1e99999999999", "1e99999999999"),
        ] {
            assert_eq!(number(raw), plain);
        }
    }

    #[test]
    fn members_are_found_by_name_and_by_pointer() {
        let content = r#"{"a": {"b": ["x", {"c": 7}]}, "a/b": "y", "n": null, "l": ["p;q", 1], "s": "p;q", "u": "\u00e9\n"}"#;
        let members = Members::read(content.as_bytes()).unwrap();
        let at = |path: &[&str], names, list| {
            let path: Vec<String> = path.iter().map(|p| (*p).to_owned()).collect();
            members.value(&path, names, list)
        };
        let text = |t: &str| Ok(Some(Some(Cow::Owned(t.to_owned()))));
        assert_eq!(at(&["a", "b", "1", "c"], true, false), text("7"));
        assert_eq!(at(&["a/b"], true, false), text("y"));
        assert_eq!(at(&["u"], false, false), text("é\n"));
        assert_eq!(at(&["n"], true, true), Ok(Some(None)));
        for missing in [
            &["x"][..],
            &["a", "b", "2"],
            &["a", "b", "01"],
            &["a/b", "c"],
        ] {
            assert_eq!(at(missing, false, false), Ok(None));
        }
        assert_eq!(at(&["a"], true, false), Err(Trouble::BadName));
        assert_eq!(at(&["l"], false, true), text(r#"{"p;q","1"}"#));
        assert_eq!(at(&["s"], false, true), text(r#"{"p","q"}"#));
        assert_eq!(at(&["a"], false, true), Err(Trouble::BadList));
        assert_eq!(at(&["a", "b"], false, true), Err(Trouble::BadList));
    }

    #[test]
    fn what_is_no_object_is_told_without_a_word_of_it() {
        for (content, code, words) in [
            (&b"secret"[..], "outbox_not_json", "a mistake in line 1"),
            (
                b"{\"a\": \"secret\"",
                "outbox_not_json",
                "it ends too early",
            ),
            (b"[\"secret\"]", "outbox_not_json", "is not a JSON object"),
            (b"", "outbox_not_json", "it ends too early"),
            (
                b"{\"a\": \"\xFF\"}",
                "outbox_not_json",
                "no UTF-8 from byte 7",
            ),
            (b"{\"a\": 1} {\"a\": 2}", "outbox_not_json", "a mistake"),
        ] {
            let trouble = Members::read(content).unwrap_err();
            assert_eq!(trouble.code(), code);
            let told = trouble.words();
            assert!(told.contains(words) && !told.contains("secret"), "{told}");
        }
        let deep = format!("{{\"a\": {}1{}}}", "[".repeat(4_000), "]".repeat(4_000));
        let deep = Members::read(deep.as_bytes()).unwrap();
        assert_eq!(
            deep.value(&["a".into(), "1".into()], false, false),
            Ok(None)
        );
        let half = Members::read(br#"{"a": "\ud800"}"#).unwrap();
        assert!(half.value(&["a".into()], false, false).is_err());
    }
}
