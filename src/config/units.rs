//! Sizes and lengths of time as people write them.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A number of bytes: `"64MiB"`, `"1GB"`, or a plain number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ByteSize(pub u64);

/// A length of time: `"250ms"`, `"5s"`, `"2m"`, `"1h"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Span(pub Duration);

/// A share in hundredths of a percent: `"5%"`, `"0.25%"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Percent(pub u32);

/// A part of a whole: `0.5`, `"20%"`, or so many as a whole number.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Portion {
    /// From 0 to 1 of it.
    Part(f64),
    /// So many.
    Count(u64),
}

impl Portion {
    /// So many of `whole`.
    pub fn of(self, whole: u64) -> u64 {
        match self {
            Portion::Part(part) => (whole as f64 * part).round() as u64,
            Portion::Count(count) => count.min(whole),
        }
    }
}

const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

const SPANS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.checked_mul(*factor)
}

/// Bytes of a text such as `64MiB`.
pub(super) fn size(text: &str) -> Option<u64> {
    parse(text, &SIZES)
}

/// Milliseconds of a text such as `250ms`.
pub(super) fn span(text: &str) -> Option<u64> {
    parse(text, &SPANS)
}

/// A part such as `0.5` or `"50%"`, or a whole number.
pub(super) fn portion(value: &toml::Value) -> Option<Portion> {
    let part = |part: f64| (0.0..=1.0).contains(&part).then_some(Portion::Part(part));
    match value {
        toml::Value::Float(f) => part(*f),
        toml::Value::Integer(n) => u64::try_from(*n).ok().map(Portion::Count),
        toml::Value::String(text) => match text.trim().strip_suffix('%') {
            Some(percent) => part(percent.trim().parse::<f64>().ok()? / 100.0),
            // As a variable gives it.
            None => match text.trim().parse::<u64>() {
                Ok(count) => Some(Portion::Count(count)),
                Err(_) => part(text.trim().parse().ok()?),
            },
        },
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Portion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        portion(&value).ok_or_else(|| {
            D::Error::custom("not a part such as 0.5 or \"50%\", nor a whole number")
        })
    }
}

impl Serialize for Portion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Portion::Part(part) => serializer.serialize_f64(*part),
            Portion::Count(count) => serializer.serialize_u64(*count),
        }
    }
}

/// Hundredths of a percent of a text such as `5%` or `0.25%`; more than nothing, at most all.
pub(super) fn percent(text: &str) -> Option<u32> {
    let number = text.trim().strip_suffix('%')?.trim_end();
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 2 {
        return None;
    }
    let part: u32 = format!("{part:0<2}").parse().ok()?;
    let hundredths = whole.parse::<u32>().ok()?.checked_mul(100)? + part;
    (1..=10_000).contains(&hundredths).then_some(hundredths)
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        percent(&text)
            .map(Percent)
            .ok_or_else(|| D::Error::custom(format!("{text:?} is not a share such as \"5%\"")))
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (whole, part) = (self.0 / 100, self.0 % 100);
        match part {
            0 => serializer.serialize_str(&format!("{whole}%")),
            part => serializer.serialize_str(&format!("{whole}.{part:02}%")),
        }
    }
}

fn print(value: u64, units: &[(&str, u64)]) -> String {
    let best = units
        .iter()
        .filter(|(_, factor)| value >= *factor && value.is_multiple_of(*factor))
        .max_by_key(|(_, factor)| *factor)
        .or(units.iter().min_by_key(|(_, factor)| *factor));
    best.map_or_else(
        || value.to_string(),
        |(name, factor)| format!("{}{name}", value / factor),
    )
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrNumber {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match TextOrNumber::deserialize(deserializer)? {
            TextOrNumber::Number(bytes) => Ok(ByteSize(bytes)),
            TextOrNumber::Text(text) => parse(&text, &SIZES).map(ByteSize).ok_or_else(|| {
                D::Error::custom(format!("{text:?} is not a size such as \"64MiB\""))
            }),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&print(self.0, &SIZES))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text, &SPANS)
            .map(|ms| Span(Duration::from_millis(ms)))
            .ok_or_else(|| {
                D::Error::custom(format!(
                    "{text:?} is not a length of time such as \"250ms\" or \"5s\""
                ))
            })
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        serializer.serialize_str(&print(millis, &SPANS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percents() {
        for (text, hundredths) in [("5%", 500), ("0.25%", 25), ("100 %", 10_000), ("1.5%", 150)] {
            assert_eq!(percent(text), Some(hundredths), "{text}");
        }
        for bad in ["5", "%", "0%", "101%", "-1%", "1.234%", "1.%", "five%"] {
            assert_eq!(percent(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_and_spans_read_what_they_print() {
        for bytes in [0, 1, 1024, 1 << 30, 3_000_000, 123_457] {
            assert_eq!(parse(&print(bytes, &SIZES), &SIZES), Some(bytes));
        }
        assert_eq!(parse("64MiB", &SIZES), Some(64 << 20));
        assert_eq!(parse("2m", &SPANS), Some(120_000));
        for bad in [
            "",
            "MiB",
            "-1s",
            "1 parsec",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert_eq!(parse(bad, &SPANS), None, "{bad}");
        }
    }
}
