#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::mapping::fixtures::field;
use crate::value::ValueType as T;

fn text(normal: &Normal, cases: &[(&str, &str)]) {
    for (raw, expected) in cases {
        let made = normal.text(raw);
        assert_eq!(made, *expected, "{raw:?}");
        // Nothing that is only cut at its ends is copied.
        let changed = normal.drop_controls || trim(raw) != *expected;
        assert!(changed || matches!(made, Cow::Borrowed(_)), "{raw:?}");
    }
}

#[test]
fn white_space_goes_where_it_is_said() {
    let normal = |trim| Normal {
        trim,
        ..Normal::default()
    };
    text(
        &normal(Trim::None),
        &[("", ""), (" a  b ", " a  b "), ("\u{a0}a", "\u{a0}a")],
    );
    text(
        &normal(Trim::Ends),
        &[
            ("", ""),
            ("a", "a"),
            (" a  b\n", "a  b"),
            ("\u{2003}a\u{a0}", "a"),
            (" \t ", ""),
        ],
    );
    text(
        &normal(Trim::Collapse),
        &[
            ("", ""),
            ("a b", "a b"),
            (" a b ", "a b"),
            ("a  b", "a b"),
            ("a\nb\r\n\tc", "a b c"),
            ("a\u{a0}b", "a b"),
            (" \n ", ""),
            ("ä  ö", "ä ö"),
        ],
    );
}

#[test]
fn control_characters_go_and_lines_stay() {
    let normal = Normal {
        drop_controls: true,
        trim: Trim::None,
        ..Normal::default()
    };
    text(
        &normal,
        &[
            ("a\tb\r\nc", "a\tb\r\nc"),
            ("a\u{0}b\u{1}c", "abc"),
            ("\u{1b}[31mred", "[31mred"),
            ("x\u{7f}\u{85}\u{9f}y", "xy"),
            ("ä ö", "ä ö"),
        ],
    );
}

#[test]
fn unicode_is_composed() {
    let normal = Normal {
        nfc: true,
        ..Normal::default()
    };
    text(
        &normal,
        &[
            ("Zoe\u{308}", "Zoë"),
            ("Zoë", "Zoë"),
            ("Ann", "Ann"),
            ("\u{212b}", "Å"),
            // Hangul, and an order of marks that only the full algorithm settles.
            ("\u{1112}\u{1161}\u{11ab}", "한"),
            ("q\u{307}\u{323}", "q\u{323}\u{307}"),
        ],
    );
}

/// `kind` of a field, and what it gets: `=value`, `empty`, `null`, or the code of the refusal.
fn told(normal: &Normal, kind: FieldKind, value_type: &T, raw: &str) -> String {
    let value = decode::value(value_type, raw.as_bytes()).expect(raw);
    let field = FieldDescription {
        length: 0,
        ..field("F", kind)
    };
    match normal.assign(&field, value_type, value) {
        Ok(Outcome::Set(FieldValue::Bool(b))) => format!("={b}"),
        Ok(Outcome::Set(
            FieldValue::Number(s) | FieldValue::Text(s) | FieldValue::Reference(s),
        )) => {
            format!("={s}")
        }
        Ok(Outcome::Empty) => "empty".into(),
        Ok(Outcome::Null) => "null".into(),
        Err(refusal) => refusal.code().into(),
    }
}

fn map(pairs: &[(&str, &str)], otherwise: Option<Written>) -> Normal {
    let written = |s: &str| match s {
        "" => Written::Empty,
        s => Written::Value(FieldValue::Text(s.into())),
    };
    Normal {
        values: Some(ValueMap {
            known: pairs
                .iter()
                .map(|(from, to)| ((*from).into(), written(to)))
                .collect(),
            otherwise,
        }),
        ..Normal::default()
    }
}

#[test]
fn a_value_map_says_what_stands_for_what() {
    let words = [("new", "New"), ("won", "Closed Won"), ("none", "")];
    let keep = map(&words, None);
    let reject = map(&words, Some(Written::Reject));
    let null = map(&words, Some(Written::Null));
    let other = map(
        &words,
        Some(Written::Value(FieldValue::Text("Other".into()))),
    );
    for (normal, raw, expected) in [
        (&keep, "new", "=New"),
        (&keep, " won\n", "=Closed Won"),
        (&keep, "New", "=New"),
        (&keep, "lost", "=lost"),
        (&keep, "none", "empty"),
        (&keep, "", "empty"),
        (&reject, "new", "=New"),
        (&reject, "lost", "not_in_value_map"),
        (&reject, "NEW", "not_in_value_map"),
        // An empty text is no value that somebody forgot to name.
        (&reject, " ", "empty"),
        (&null, "lost", "null"),
        (&other, "lost", "=Other"),
    ] {
        for value_type in [T::Text, T::Enum, T::Other("citext".into())] {
            assert_eq!(
                told(normal, FieldKind::Picklist, &value_type, raw),
                expected,
                "{raw:?}"
            );
        }
    }
    let named = map(&[("", "Unknown")], Some(Written::Reject));
    assert_eq!(told(&named, FieldKind::Text, &T::Text, "  "), "=Unknown");
    let flags = map(
        &[("true", "Active"), ("false", "Left")],
        Some(Written::Reject),
    );
    assert_eq!(told(&flags, FieldKind::Text, &T::Bool, "t"), "=Active");
    assert_eq!(told(&flags, FieldKind::Text, &T::Bool, "f"), "=Left");
    let numbers = map(&[("0", "Low"), ("-1", "None")], Some(Written::Null));
    for (raw, expected) in [("0", "=Low"), ("-1", "=None"), ("7", "null")] {
        assert_eq!(told(&numbers, FieldKind::Picklist, &T::Int, raw), expected);
    }
    // The column's type changed to one that no map was compiled for.
    assert_eq!(
        told(&numbers, FieldKind::Text, &T::Date, "2026-11-04"),
        "null"
    );
}

#[test]
fn readings_get_their_zone() {
    let berlin = Normal {
        zone: Zone::find("Europe/Berlin"),
        ..Normal::default()
    };
    let new_york = Normal {
        zone: Zone::find("america/new_york"),
        ..Normal::default()
    };
    assert_eq!(&*new_york.zone.as_ref().unwrap().name, "America/New_York");
    assert_eq!(Zone::find("Europe/Atlantis"), None);
    use FieldKind::{Date as Day, DateTime as Instant, Text};
    for (normal, kind, value_type, raw, expected) in [
        (
            &berlin,
            Instant,
            T::Timestamp,
            "2026-01-15 12:00:00",
            "=2026-01-15T11:00:00.000Z",
        ),
        (
            &berlin,
            Instant,
            T::Timestamp,
            "2026-07-15 12:00:00.9",
            "=2026-07-15T10:00:00.000Z",
        ),
        // Skipped on 29 March 2026 between 02:00 and 03:00: moved on by an hour.
        (
            &berlin,
            Instant,
            T::Timestamp,
            "2026-03-29 02:30:00",
            "=2026-03-29T01:30:00.000Z",
        ),
        (
            &berlin,
            Instant,
            T::Timestamp,
            "2026-03-29 03:30:00",
            "=2026-03-29T01:30:00.000Z",
        ),
        // Twice on 25 October 2026: the earlier, still in summer time.
        (
            &berlin,
            Instant,
            T::Timestamp,
            "2026-10-25 02:30:00",
            "=2026-10-25T00:30:00.000Z",
        ),
        (
            &new_york,
            Instant,
            T::Timestamp,
            "2026-11-01 01:30:00",
            "=2026-11-01T05:30:00.000Z",
        ),
        // Local mean time, before there were zones.
        (
            &berlin,
            Instant,
            T::Timestamp,
            "1850-01-01 00:00:00",
            "=1849-12-31T23:06:32.000Z",
        ),
        (
            &berlin,
            Instant,
            T::Date,
            "2026-07-15",
            "=2026-07-14T22:00:00.000Z",
        ),
        (
            &berlin,
            Text,
            T::Timestamp,
            "2026-01-15 12:00:00.25",
            "=2026-01-15T11:00:00.25Z",
        ),
        (
            &new_york,
            Day,
            T::TimestampTz,
            "2026-01-15 02:00:00+00",
            "=2026-01-14",
        ),
        (
            &berlin,
            Day,
            T::TimestampTz,
            "2026-01-15 23:30:00+00",
            "=2026-01-16",
        ),
        // The day of a reading is the one that was read.
        (
            &berlin,
            Day,
            T::Timestamp,
            "2026-01-15 00:30:00",
            "=2026-01-15",
        ),
        (
            &berlin,
            Instant,
            T::TimestampTz,
            "2026-01-15 12:00:00+00",
            "=2026-01-15T12:00:00.000Z",
        ),
        (&berlin, Instant, T::Timestamp, "infinity", "out_of_range"),
        (
            &berlin,
            Instant,
            T::Timestamp,
            "0044-03-15 12:00:00 BC",
            "out_of_range",
        ),
        (
            &berlin,
            Instant,
            T::Timestamp,
            "12345-01-01 00:00:00",
            "out_of_range",
        ),
        (
            &berlin,
            Instant,
            T::Timestamp,
            "294276-01-01 00:00:00",
            "out_of_range",
        ),
        (
            &berlin,
            Day,
            T::TimestampTz,
            "12345-01-01 00:00:00+00",
            "out_of_range",
        ),
    ] {
        assert_eq!(
            told(normal, kind.clone(), &value_type, raw),
            expected,
            "{raw} as {value_type:?} to {kind:?}"
        );
    }
}
