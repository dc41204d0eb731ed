//! Record ids: 15 base-62 characters, shown with three check characters.
//!
//! The check part makes an id safe to compare without case: for each group of five
//! characters, bit *i* is set when character *i* is an upper-case letter, and the number
//! so made is looked up in `A..Z0..5`. The first three characters name the object.

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const CHECKS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";

/// What stands between the object prefix and the counter in every id made here.
const POD: &[u8; 3] = b"Ws0";

/// A record id, kept in its 15-character form.
///
/// Byte order equals the order of creation within one object, because the digits ascend
/// in ASCII.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id([u8; 15]);

impl Id {
    /// The `number`-th id of the object with this key prefix.
    pub(crate) fn new(prefix: &str, number: u64) -> Id {
        let mut raw = [b'0'; 15];
        for (slot, byte) in raw.iter_mut().zip(prefix.bytes().take(3)) {
            *slot = byte;
        }
        raw[3..6].copy_from_slice(POD);
        let mut rest = number;
        for slot in raw[6..].iter_mut().rev() {
            *slot = DIGITS[(rest % 62) as usize];
            rest /= 62;
        }
        Id(raw)
    }

    /// Reads 15 or 18 characters. An 18-character id with a wrong check part is refused.
    pub(crate) fn parse(text: &str) -> Option<Id> {
        let bytes = text.as_bytes();
        if !(bytes.len() == 15 || bytes.len() == 18) || !bytes.iter().all(u8::is_ascii_alphanumeric)
        {
            return None;
        }
        let mut raw = [0; 15];
        raw.copy_from_slice(&bytes[..15]);
        let id = Id(raw);
        if bytes.len() == 18 && !bytes[15..].eq_ignore_ascii_case(&id.check()) {
            return None;
        }
        Some(id)
    }

    fn check(&self) -> [u8; 3] {
        let mut out = [b'A'; 3];
        for (slot, group) in out.iter_mut().zip(self.0.chunks(5)) {
            let bits = group
                .iter()
                .enumerate()
                .filter(|(_, c)| c.is_ascii_uppercase())
                .fold(0usize, |bits, (i, _)| bits | 1 << i);
            *slot = CHECKS[bits];
        }
        out
    }

    /// The key prefix that names the object.
    pub(crate) fn prefix(&self) -> &str {
        std::str::from_utf8(&self.0[..3]).unwrap_or("")
    }

    /// The 15-character form, as some error messages show it.
    pub(crate) fn short(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("")
    }

    /// The counter inside the id, so that a restarted sandbox goes on after it.
    pub(crate) fn number(&self) -> u64 {
        self.0[6..].iter().fold(0, |sum, c| {
            let digit = DIGITS.iter().position(|d| d == c).unwrap_or(0) as u64;
            sum.wrapping_mul(62).wrapping_add(digit)
        })
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.short())
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Id, D::Error> {
        let text = String::deserialize(from)?;
        Id::parse(&text).ok_or_else(|| D::Error::custom("not a record id"))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let check = self.check();
        f.write_str(self.short())?;
        f.write_str(std::str::from_utf8(&check).unwrap_or(""))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_check_part_follows_the_published_algorithm() {
        let id = Id::parse("0125g000000jDGr").unwrap();
        assert_eq!(id.to_string(), "0125g000000jDGrAAM");
        assert_eq!(Id::parse("0125g000000jDGrAAM"), Some(id));
        assert_eq!(Id::parse("0125g000000jDGrAAB"), None);
    }

    #[test]
    fn ids_ascend_with_their_number_and_give_it_back() {
        let ids: Vec<Id> = [0, 1, 9, 61, 62, 3843, 1 << 40]
            .map(|n| Id::new("003", n))
            .to_vec();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(ids[6].number(), 1 << 40);
        assert_eq!(ids[6].prefix(), "003");
    }

    #[test]
    fn only_15_or_18_alphanumerics_are_ids() {
        for bad in [
            "",
            "003",
            "003Ws0000000001A",
            "003Ws000000000!",
            "a03Ws00000000é",
        ] {
            assert_eq!(Id::parse(bad), None, "{bad}");
        }
    }
}
