//! Which version of the API is spoken: the newest that both sides know.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::http::{Call, unreadable};
use crate::fault::{Class, Fault};

/// A version: the API counts whole numbers and writes them with one decimal, `66.0`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Version(pub(super) u16);

/// The versions this sink was written against.
const OURS: std::ops::RangeInclusive<u16> = 60..=66;

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.0", self.0)
    }
}

impl FromStr for Version {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = text.strip_suffix(".0").ok_or(())?;
        if number.len() != 2 || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(());
        }
        number.parse().map(Version).map_err(|_| ())
    }
}

impl Version {
    /// Whether the sink was written against it.
    pub(super) fn is_ours(self) -> bool {
        OURS.contains(&self.0)
    }
}

/// The versions listed by `GET /services/data`.
pub(super) fn listed(body: &[u8]) -> Result<Vec<Version>, Fault> {
    #[derive(Deserialize)]
    struct Listed {
        version: String,
    }
    let listed: Vec<Listed> = serde_json::from_slice(body)
        .map_err(|_| unreadable(Call::Versions, "the list of API versions cannot be read"))?;
    Ok(listed
        .iter()
        .filter_map(|l| l.version.parse().ok())
        .collect())
}

/// The newest of the org's versions that is also ours.
pub(super) fn choose(versions: &[Version]) -> Result<Version, Fault> {
    let ours = versions.iter().copied().filter(|v| v.is_ours());
    ours.max().ok_or_else(|| {
        Fault::new(
            Class::Configuration,
            "no_common_api_version",
            format!(
                "the org speaks no API version between {}.0 and {}.0",
                OURS.start(),
                OURS.end()
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_newest_common_version_is_chosen() {
        let list = |versions: &[&str]| {
            let items: Vec<_> = versions
                .iter()
                .map(|v| format!(r#"{{"label":"x","url":"/services/data/v{v}","version":"{v}"}}"#))
                .collect();
            choose(&listed(format!("[{}]", items.join(",")).as_bytes()).unwrap())
        };
        assert_eq!(list(&["9.0", "65.0", "66.0", "68.0"]).unwrap(), Version(66));
        assert_eq!(list(&["63.0", "61.0"]).unwrap(), Version(63));
        for none in [
            &["31.0", "59.0"][..],
            &["67.0"],
            &[],
            &["66"],
            &["66.1", "x"],
        ] {
            assert_eq!(list(none).unwrap_err().class, Class::Configuration);
        }
        for bad in [&b"<html>"[..], b"", b"{}", b"[{}]"] {
            assert_eq!(listed(bad).unwrap_err().class, Class::Service);
        }
        assert_eq!("66.0".parse::<Version>().unwrap().to_string(), "66.0");
        for bad in ["66", "+6.0", "6.0", "066.0", "v66.0", ""] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }
}
