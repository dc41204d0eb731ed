//! How external ids are written, asked for and compared.
//!
//! Salesforce compares text ids byte for byte unless the field is unique without regard to case;
//! numbers come back as `12.0`. What kind of field a key is, the object's description tells.

use std::borrow::Cow;

use crate::mapping::{FieldDescription, FieldKind};

/// The kind of a key field.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum KeyKind {
    /// Text, compared byte for byte.
    #[default]
    Exact,
    /// Text in which case means nothing.
    CaseInsensitive,
    /// A number.
    Number,
}

impl KeyKind {
    pub(super) fn of(field: &FieldDescription) -> Self {
        match field.kind {
            FieldKind::Int | FieldKind::Decimal => KeyKind::Number,
            FieldKind::Email => KeyKind::CaseInsensitive,
            _ if field.unique && !field.case_sensitive => KeyKind::CaseInsensitive,
            _ => KeyKind::Exact,
        }
    }

    /// The form in which two spellings of one key are equal.
    pub(super) fn normal<'a>(self, key: &'a str) -> Cow<'a, str> {
        match self {
            KeyKind::Exact => Cow::Borrowed(key),
            KeyKind::CaseInsensitive => Cow::Owned(key.to_lowercase()),
            KeyKind::Number => match key.split_once('.') {
                Some((whole, rest)) => match rest.trim_end_matches('0') {
                    "" => Cow::Borrowed(whole),
                    rest => Cow::Owned(format!("{whole}.{rest}")),
                },
                None => Cow::Borrowed(key),
            },
        }
    }

    /// The key as a literal of a query.
    pub(super) fn literal(self, key: &str) -> String {
        if self == KeyKind::Number && is_json_number(key) {
            key.to_owned()
        } else {
            quoted(key)
        }
    }

    /// Whether the key is written as a JSON number.
    pub(super) fn is_number(self, key: &str) -> bool {
        self == KeyKind::Number && is_json_number(key)
    }
}

/// A string literal of SOQL.
///
/// <https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select_quotedstringescapes.htm>
pub(super) fn quoted(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for c in text.chars() {
        match c {
            '\'' => literal.push_str("\\'"),
            '"' => literal.push_str("\\\""),
            '\\' => literal.push_str("\\\\"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            '\u{8}' => literal.push_str("\\b"),
            '\u{c}' => literal.push_str("\\f"),
            c if c.is_control() => literal.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => literal.push(c),
        }
    }
    literal.push('\'');
    literal
}

/// Whether the text is a number as JSON has them: anything else would spoil the whole request.
pub(super) fn is_json_number(text: &str) -> bool {
    let digits = |s: &mut &[u8]| {
        let n = s.iter().take_while(|b| b.is_ascii_digit()).count();
        *s = s.get(n..).unwrap_or_default();
        n
    };
    let mut rest = text.as_bytes();
    rest = rest.strip_prefix(b"-").unwrap_or(rest);
    let leading_zero = rest.first() == Some(&b'0');
    let whole = digits(&mut rest);
    if whole == 0 || (leading_zero && whole > 1) {
        return false;
    }
    if let Some(after) = rest.strip_prefix(b".") {
        rest = after;
        if digits(&mut rest) == 0 {
            return false;
        }
    }
    if let Some(after) = rest.strip_prefix(b"e").or(rest.strip_prefix(b"E")) {
        rest = after;
        rest = rest
            .strip_prefix(b"+")
            .or(rest.strip_prefix(b"-"))
            .unwrap_or(rest);
        if digits(&mut rest) == 0 {
            return false;
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_escaped() {
        for (key, literal) in [
            ("c-1", "'c-1'"),
            ("O'Hara", r"'O\'Hara'"),
            (r"a\' OR Name != '", r"'a\\\' OR Name != \''"),
            ("a\"b\n\r\t\u{8}\u{c}\u{1}", r#"'a\"b\n\r\t\b\f\u0001'"#),
            ("ключ%_", "'ключ%_'"),
            ("", "''"),
        ] {
            assert_eq!(KeyKind::Exact.literal(key), literal);
        }
        assert_eq!(KeyKind::Number.literal("42"), "42");
        assert_eq!(KeyKind::Number.literal("42 OR 1=1"), "'42 OR 1=1'");
    }

    #[test]
    fn spellings_of_one_key_are_equal() {
        assert_eq!(KeyKind::Number.normal("12.0"), KeyKind::Number.normal("12"));
        assert_eq!(KeyKind::Number.normal("12.50"), "12.5");
        assert_eq!(KeyKind::Number.normal("120"), "120");
        assert_eq!(KeyKind::Exact.normal("12.0"), "12.0");
        assert_eq!(KeyKind::CaseInsensitive.normal("A@B.c"), "a@b.c");
        assert_ne!(KeyKind::Exact.normal("C-1"), KeyKind::Exact.normal("c-1"));
    }

    #[test]
    fn only_json_numbers_are_numbers() {
        for good in [
            "0",
            "-0",
            "1",
            "-12.50",
            "1e5",
            "1E+05",
            "123456789012345678.9",
        ] {
            assert!(is_json_number(good), "{good}");
        }
        for bad in [
            "", "-", "01", "1.", ".5", "+1", "1e", "1e+", "NaN", "Infinity", "1 ", "0x1", "1,2",
            "1}",
        ] {
            assert!(!is_json_number(bad), "{bad}");
        }
    }
}
