//! The org's time, and points in time as Salesforce shows them.
//!
//! An org has a [`Clock`] of its own, which tests set, hurry and let run on. It never runs
//! backwards: audit fields, rolling limits and history rely on that.
//!
//! Audit fields have a resolution of one second and are written `…T12:10:35.000+0000`,
//! without a colon in the offset. Dates lie between the years 1700 and 4000.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;
use jiff::{Timestamp, ToSpan};

/// Milliseconds since 1970.
pub(crate) type Millis = i64;

/// The machine's time.
pub(crate) fn machine() -> Millis {
    Timestamp::now().as_millisecond()
}

/// How the org's time follows from the machine's. Kept in the journal, so that the org's
/// time goes on over a restart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pace {
    /// The machine's time at the last setting.
    machine: Millis,
    /// The org's time then.
    org: Millis,
    /// How many seconds pass in the org while one passes on the machine.
    pub(crate) rate: f64,
}

impl Pace {
    /// The machine's own time, so many milliseconds ahead (or, negative, behind).
    pub(crate) fn ahead(millis: Millis) -> Pace {
        let machine = machine();
        Pace {
            machine,
            org: machine.saturating_add(millis),
            rate: 1.0,
        }
    }

    /// Another pace from a moment of the org's on.
    pub(crate) fn from(org: Millis, rate: f64) -> Pace {
        Pace {
            machine: machine(),
            org,
            rate,
        }
    }

    fn at(&self, machine: Millis) -> Millis {
        let passed = machine.saturating_sub(self.machine).max(0) as f64 * self.rate;
        self.org.saturating_add(passed as Millis)
    }
}

/// The time of an org.
#[derive(Debug)]
pub(crate) struct Clock {
    pace: Mutex<Pace>,
    /// The latest time given out: the machine's clock may be set back, ours may not.
    latest: AtomicI64,
}

impl Clock {
    pub(crate) fn new(pace: Pace) -> Clock {
        Clock {
            pace: Mutex::new(pace),
            latest: AtomicI64::new(i64::MIN),
        }
    }

    /// Now.
    pub(crate) fn now(&self) -> Millis {
        let now = self.pace().at(machine());
        self.latest.fetch_max(now, Ordering::Relaxed).max(now)
    }

    pub(crate) fn pace(&self) -> Pace {
        *self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on at another pace. The caller made sure that it does not lead back.
    pub(crate) fn set(&self, pace: Pace) {
        *self.pace.lock().unwrap_or_else(PoisonError::into_inner) = pace;
    }

    /// The same, also to the past: only for an org that has seen nothing yet.
    pub(crate) fn reset(&self, pace: Pace) {
        self.set(pace);
        self.latest.store(pace.org, Ordering::Relaxed);
    }
}

fn civil(at: Millis) -> DateTime {
    Timestamp::from_millisecond(at)
        .map(|t| Offset::UTC.to_datetime(t))
        .unwrap_or(DateTime::ZERO)
}

/// `2026-11-04T12:10:35.000+0000`: cut to the second, as audit fields are.
pub(crate) fn datetime(at: Millis) -> String {
    civil(at).strftime("%Y-%m-%dT%H:%M:%S.000+0000").to_string()
}

/// `2026-11-04T12:10:35.123Z`: for the sandbox's own log.
pub(crate) fn precise(at: Millis) -> String {
    let t = civil(at);
    format!(
        "{}.{:03}Z",
        t.strftime("%Y-%m-%dT%H:%M:%S"),
        at.rem_euclid(1000)
    )
}

/// `Wed, 04 Nov 2026 12:10:35 GMT`.
pub(crate) fn http_date(at: Millis) -> String {
    civil(at).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Reads an HTTP date.
pub(crate) fn parse_http_date(text: &str) -> Option<Millis> {
    let t = DateTime::strptime("%a, %d %b %Y %H:%M:%S GMT", text.trim()).ok()?;
    Offset::UTC.to_timestamp(t).ok().map(|t| t.as_millisecond())
}

/// Reads a datetime as the API takes it: `Z`, `+01:00` or `+0100`, fractions optional.
pub(crate) fn parse_datetime(text: &str) -> Option<Millis> {
    let (date, rest) = text.split_once('T')?;
    let date = parse_date(date)?;
    let zone_at = rest.find(['Z', '+', '-'])?;
    let (clock, zone) = rest.split_at(zone_at);
    let time = parse_clock(clock)?;
    let shift = parse_zone(zone)?;
    let t = Offset::UTC.to_timestamp(date.to_datetime(time)).ok()?;
    Some(t.as_millisecond() - shift * 60_000)
}

fn parse_zone(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits: String = zone[1..].chars().filter(|c| *c != ':').collect();
    if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i64, i64) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    (hours <= 14 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

fn parse_clock(text: &str) -> Option<Time> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (text, ""),
    };
    if whole.len() != 8 || !fraction.bytes().all(|b| b.is_ascii_digit()) || fraction.len() > 9 {
        return None;
    }
    let millis: i32 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let parts: Vec<i8> = whole
        .split(':')
        .map(|p| p.parse().ok())
        .collect::<Option<_>>()?;
    let [h, m, s] = parts[..] else { return None };
    Time::new(h, m, s, millis * 1_000_000).ok()
}

/// Reads `YYYY-MM-DD` within 1700-01-01 to 4000-12-31.
pub(crate) fn parse_date(text: &str) -> Option<Date> {
    let shape = text.len() == 10
        && text.bytes().enumerate().all(|(i, b)| match i {
            4 | 7 => b == b'-',
            _ => b.is_ascii_digit(),
        });
    if !shape {
        return None;
    }
    let date: Date = text.parse().ok()?;
    (1700..=4000).contains(&date.year()).then_some(date)
}

/// Reads a time of day, `12:10:35.000Z`, and gives it in that form.
pub(crate) fn parse_time(text: &str) -> Option<String> {
    let time = parse_clock(text.strip_suffix('Z').unwrap_or(text))?;
    Some(format!(
        "{}.{:03}Z",
        time.strftime("%H:%M:%S"),
        time.millisecond()
    ))
}

/// The date `days` from the day of `at` (UTC).
pub(crate) fn day(at: Millis, days: i64) -> Date {
    let date = civil(at).date();
    date.checked_add(days.days()).unwrap_or(date)
}

/// Midnight (UTC) at the start of a date.
pub(crate) fn midnight(date: Date) -> Millis {
    Offset::UTC
        .to_timestamp(date.to_datetime(Time::midnight()))
        .map(|t| t.as_millisecond())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn datetimes_are_read_in_every_accepted_form_and_cut_to_the_second() {
        for text in [
            "2026-11-04T12:10:35Z",
            "2026-11-04T12:10:35.999Z",
            "2026-11-04T13:10:35.5+01:00",
            "2026-11-04T11:10:35.000-0100",
        ] {
            let at = parse_datetime(text).unwrap();
            assert_eq!(datetime(at), "2026-11-04T12:10:35.000+0000", "{text}");
        }
        for text in [
            "2026-11-04",
            "2026-11-04T12:10:35",
            "2026-11-04 12:10:35Z",
            "2026-13-04T12:10:35Z",
        ] {
            assert_eq!(parse_datetime(text), None, "{text}");
        }
    }

    #[test]
    fn a_clock_hurries_and_never_runs_back() {
        let clock = Clock::new(Pace::ahead(0));
        let start = clock.now();
        clock.set(Pace::from(start + 10_000, 1_000.0));
        std::thread::sleep(std::time::Duration::from_millis(20));
        let later = clock.now();
        assert!(later >= start + 10_000 + 15_000, "{}", later - start);
        clock.set(Pace::ahead(0));
        assert!(clock.now() >= later);
        clock.reset(Pace::from(1_000, 0.0));
        assert_eq!((clock.now(), clock.now()), (1_000, 1_000));
    }

    #[test]
    fn dates_outside_the_range_are_refused() {
        assert!(parse_date("1700-01-01").is_some() && parse_date("4000-12-31").is_some());
        assert!(parse_date("1699-12-31").is_none() && parse_date("4001-01-01").is_none());
        assert!(parse_date("2026-02-30").is_none());
    }

    #[test]
    fn http_dates_go_both_ways() {
        let at = parse_http_date("Wed, 04 Nov 2026 12:10:35 GMT").unwrap();
        assert_eq!(http_date(at), "Wed, 04 Nov 2026 12:10:35 GMT");
    }
}
