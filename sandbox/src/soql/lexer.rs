//! Cutting a query into words.

use super::QueryError;

/// A word of a query.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    Text(String),
    Number(String),
    /// A date or datetime, unquoted.
    Moment(String),
    Symbol(&'static str),
    End,
}

/// Words with the byte offsets where they start.
pub(super) fn lex(query: &str) -> Result<Vec<(Token, usize)>, QueryError> {
    let bytes = query.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let start = at;
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {
                at += 1;
                continue;
            }
            b'\'' => {
                let (text, end) = quoted(query, start)?;
                tokens.push((Token::Text(text), start));
                at = end;
            }
            b'0'..=b'9' | b'+' | b'-' => {
                at += 1;
                while bytes
                    .get(at)
                    .is_some_and(|b| b.is_ascii_alphanumeric() || b".:+-".contains(b))
                {
                    at += 1;
                }
                let text = query.get(start..at).unwrap_or("").to_owned();
                let dashes = text.get(4..5) == Some("-") && text.len() >= 10;
                tokens.push((
                    if dashes {
                        Token::Moment(text)
                    } else {
                        Token::Number(text)
                    },
                    start,
                ));
            }
            b'A'..=b'Z' | b'a'..=b'z' | b'_' => {
                while bytes
                    .get(at)
                    .is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
                {
                    at += 1;
                }
                tokens.push((
                    Token::Name(query.get(start..at).unwrap_or("").to_owned()),
                    start,
                ));
            }
            _ => {
                let symbols = [
                    "!=", "<>", "<=", ">=", "=", "<", ">", "(", ")", ",", ".", ":",
                ];
                let found = symbols
                    .iter()
                    .find(|s| query.get(start..).is_some_and(|rest| rest.starts_with(**s)));
                let Some(symbol) = found else {
                    let shown = query
                        .get(start..)
                        .and_then(|r| r.chars().next())
                        .unwrap_or('?');
                    let what = format!("unexpected token: '{shown}'");
                    return Err(QueryError::at("MALFORMED_QUERY", query, start, &what));
                };
                at += symbol.len();
                tokens.push((
                    Token::Symbol(if *symbol == "<>" { "!=" } else { symbol }),
                    start,
                ));
            }
        }
    }
    tokens.push((Token::End, query.len()));
    Ok(tokens)
}

/// A string literal. `\_` and `\%` keep their backslash, for `LIKE` to see.
fn quoted(query: &str, start: usize) -> Result<(String, usize), QueryError> {
    let mut text = String::new();
    let mut chars = query.get(start + 1..).unwrap_or("").char_indices();
    let bad =
        |at: usize, what: &str| QueryError::at("MALFORMED_QUERY", query, start + 1 + at, what);
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' => return Ok((text, start + 1 + at + 1)),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some(c @ ('\'' | '"' | '\\')) => text.push(c),
                Some('n' | 'N') => text.push('\n'),
                Some('r' | 'R') => text.push('\r'),
                Some('t' | 'T') => text.push('\t'),
                Some('b' | 'B') => text.push('\u{8}'),
                Some('f' | 'F') => text.push('\u{c}'),
                Some(c @ ('_' | '%')) => {
                    text.push('\\');
                    text.push(c);
                }
                Some('u') => {
                    let hex: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                    let code = u32::from_str_radix(&hex, 16)
                        .ok()
                        .filter(|_| hex.len() == 4);
                    let c = code.and_then(char::from_u32);
                    text.push(
                        c.ok_or_else(|| bad(at, "Illegal unicode escape in string literal"))?,
                    );
                }
                _ => return Err(bad(at, "Invalid string literal: illegal escape sequence")),
            },
            c => text.push(c),
        }
    }
    Err(bad(
        0,
        "line breaks or end of query in string literal: missing closing quote",
    ))
}
