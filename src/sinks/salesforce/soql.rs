//! Queries by external id: cut to the length a URL may have, read page by page.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::http::{Call, unreadable};
use crate::fault::Fault;

/// Longest query, percent-encoded. URL and headers together may have 16,384 bytes; the token alone
/// can have 2,000.
const MAX_ENCODED: usize = 12_000;

/// Queries for all literals: `{select} WHERE {field} IN (…){behind}`, encoded, each under the limit.
/// What is around the literals stands in each; a literal is never cut.
pub(super) fn by_key(select: &str, field: &str, literals: &[String], behind: &str) -> Vec<String> {
    let opening = encode(&format!("{select} WHERE {field} IN ("));
    let closing = encode(&format!("){behind}"));
    let comma = encode(",");
    let mut queries = Vec::new();
    let mut query = opening.clone();
    let mut empty = true;
    for literal in literals {
        let literal = encode(literal);
        let grown = query.len() + comma.len() + literal.len() + closing.len();
        if !empty && grown > MAX_ENCODED {
            queries.push(std::mem::replace(&mut query, opening.clone()) + &closing);
            empty = true;
        }
        if !empty {
            query.push_str(&comma);
        }
        query.push_str(&literal);
        empty = false;
    }
    if !empty {
        queries.push(query + &closing);
    }
    queries
}

/// Percent-encodes everything but letters, digits and `-._~`.
pub(super) fn encode(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.push(HEX.get(usize::from(nibble)).map_or('0', |h| char::from(*h)));
            }
        }
    }
    out
}

/// One row. Values stay raw, so that long numbers keep their digits.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Row(BTreeMap<String, Box<RawValue>>);

impl Row {
    /// The JSON text of a field; of a parent's field, where the path has a dot. `None` for null, for
    /// a missing parent, for a field that is not there. Names do not differ by case alone.
    pub(super) fn raw(&self, path: &str) -> Option<Box<RawValue>> {
        let (name, rest) = match path.split_once('.') {
            Some((name, rest)) => (name, Some(rest)),
            None => (path, None),
        };
        let (_, value) = self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        if value.get() == "null" {
            return None;
        }
        match rest {
            None => Some(value.clone()),
            Some(rest) => serde_json::from_str::<Row>(value.get()).ok()?.raw(rest),
        }
    }

    /// The field as text: a string's content, else the JSON itself.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let raw = self.raw(path)?;
        Some(serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().to_owned()))
    }
}

/// A page of an answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    pub(super) done: bool,
    #[serde(default)]
    pub(super) next_records_url: Option<String>,
    pub(super) records: Vec<Row>,
}

impl Page {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Fault> {
        let page: Page = serde_json::from_slice(body)
            .map_err(|_| unreadable(Call::Query, "the answer to a query cannot be read"))?;
        // The path of the next page is joined to the org's address: it has to be a path.
        let odd = page
            .next_records_url
            .as_ref()
            .is_some_and(|next| !next.starts_with("/services/data/"));
        if odd || (!page.done && page.next_records_url.is_none()) {
            return Err(unreadable(
                Call::Query,
                "the answer to a query does not say where it goes on",
            ));
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::keys::quoted;
    use super::*;

    #[test]
    fn lists_are_cut_by_encoded_bytes() {
        let keys: Vec<String> = (0..3000).map(|i| quoted(&format!("ключ '{i}'"))).collect();
        let queries = by_key("SELECT Id FROM Contact", "Ext__c", &keys, "");
        assert!(queries.len() > 10);
        assert!(queries.iter().all(|q| q.len() <= MAX_ENCODED));
        // Nothing is lost and nothing is doubled.
        let listed: usize = queries.iter().map(|q| q.matches("%2C").count() + 1).sum();
        assert_eq!(listed, keys.len());
        assert!(queries.iter().all(|q| q.ends_with("%29")));
        assert!(by_key("x", "y", &[], "").is_empty());
    }

    #[test]
    fn one_literal_longer_than_the_limit_still_travels() {
        let long = "x".repeat(MAX_ENCODED + 1);
        let queries = by_key("x", "y", &["a".into(), long, "b".into()], "");
        assert_eq!(queries.len(), 3);
    }

    #[test]
    fn encoding_leaves_nothing_special() {
        assert_eq!(encode("a b+c'%/?#&="), "a%20b%2Bc%27%25%2F%3F%23%26%3D");
        assert_eq!(encode("é"), "%C3%A9");
    }

    #[test]
    fn a_page_is_read() {
        let page = Page::parse(
            br#"{"totalSize":2,"done":false,"nextRecordsUrl":"/services/data/v66.0/query/01g-2000","records":[
                {"attributes":{"type":"Contact"},"Id":"003A","Ext__c":"c\n1","Num__c":123456789012345678.0,
                 "Account":{"attributes":{},"Ext__c":"a-9"},"Owner":null}]}"#,
        )
        .unwrap();
        let row = page.records.first().unwrap();
        assert_eq!(row.text("ext__C").unwrap(), "c\n1");
        assert_eq!(row.text("Num__c").unwrap(), "123456789012345678.0");
        assert_eq!(row.text("Account.Ext__c").unwrap(), "a-9");
        assert_eq!(row.text("Owner.Ext__c"), None);
        assert_eq!(row.text("Nope"), None);
        for bad in [
            &b"<html>"[..],
            b"{}",
            br#"{"done":false,"records":[]}"#,
            br#"{"done":false,"nextRecordsUrl":"@evil.example/","records":[]}"#,
            br#"{"done":false,"nextRecordsUrl":"//evil.example/","records":[]}"#,
        ] {
            assert!(Page::parse(bad).is_err());
        }
    }
}
