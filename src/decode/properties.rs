//! What holds for every input: round trips, and no panic on any bytes.
#![allow(clippy::unwrap_used, clippy::panic)]

use bytes::Bytes;
use jiff::civil;
use proptest::collection::vec;
use proptest::prelude::*;

use super::encode::{self, Cell, OldCells};
use super::message::{self, Message, RawColumn, RawOld, RawRelation};
use super::tuple::Spans;
use super::{Decoder, Types, value};
use crate::capture::Frame;
use crate::change::{Lsn, ReplicaIdentity, Span, Timestamp};
use crate::value::{DateValue, Element, TimestampValue, Value, ValueType};

/// A column value that outlives the strategy that made it.
#[derive(Clone, Debug, PartialEq)]
enum OwnedCell {
    Null,
    Unchanged,
    Text(String),
}

impl OwnedCell {
    fn cell(&self) -> Cell<'_> {
        match self {
            OwnedCell::Null => Cell::Null,
            OwnedCell::Unchanged => Cell::Unchanged,
            OwnedCell::Text(text) => Cell::Text(text),
        }
    }
}

type Row = Vec<OwnedCell>;

fn cells(row: &Row) -> Vec<Cell<'_>> {
    row.iter().map(OwnedCell::cell).collect()
}

fn any_row() -> impl Strategy<Value = Row> {
    let cell = prop_oneof![
        1 => Just(OwnedCell::Null),
        1 => Just(OwnedCell::Unchanged),
        4 => any::<String>().prop_map(OwnedCell::Text),
    ];
    vec(cell, 0..24)
}

fn name() -> impl Strategy<Value = String> {
    "[^\0]{0,12}"
}

fn identity() -> impl Strategy<Value = ReplicaIdentity> {
    prop::sample::select(vec![
        ReplicaIdentity::Default,
        ReplicaIdentity::Nothing,
        ReplicaIdentity::Full,
        ReplicaIdentity::Index,
    ])
}

/// One message as bytes.
fn any_frame() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        (any::<u64>(), any::<i64>(), any::<u32>()).prop_map(|(commit, time, xid)| {
            encode::raw(
                &Message::Begin {
                    commit: Lsn(commit),
                    time,
                    xid,
                },
                &[],
            )
        }),
        (any::<u64>(), any::<u64>(), any::<i64>()).prop_map(|(commit, end, time)| {
            encode::raw(
                &Message::Commit {
                    commit: Lsn(commit),
                    end: Lsn(end),
                    time,
                },
                &[],
            )
        }),
        (any::<u64>(), name()).prop_map(|(lsn, name)| encode::origin(Lsn(lsn), &name)),
        (any::<u32>(), name(), name()).prop_map(|(oid, s, n)| encode::type_(oid, &s, &n)),
        any_relation(),
        (any::<u32>(), any_row()).prop_map(|(oid, new)| encode::insert(oid, &cells(&new))),
        (any::<u32>(), 0..3_u8, any_row(), any_row()).prop_map(|(oid, kind, old, new)| {
            let old = cells(&old);
            let old = match kind {
                0 => OldCells::None,
                1 => OldCells::Key(&old),
                _ => OldCells::Full(&old),
            };
            encode::update(oid, old, &cells(&new))
        }),
        (any::<u32>(), any::<bool>(), any_row()).prop_map(|(oid, full, old)| {
            let old = cells(&old);
            encode::delete(
                oid,
                if full {
                    OldCells::Full(&old)
                } else {
                    OldCells::Key(&old)
                },
            )
        }),
        (any::<bool>(), any::<bool>(), vec(any::<u32>(), 0..12)).prop_map(
            |(cascade, restart, oids)| {
                let message = Message::Truncate {
                    cascade,
                    restart_identity: restart,
                    relations: oids.into(),
                };
                encode::raw(&message, &[])
            }
        ),
        (any::<bool>(), any::<u64>(), name(), vec(any::<u8>(), 0..40)).prop_map(
            |(transactional, lsn, prefix, content)| {
                encode::message(transactional, Lsn(lsn), &prefix, &content)
            }
        ),
    ]
}

fn any_relation() -> impl Strategy<Value = Bytes> {
    let column = (any::<bool>(), name(), any::<u32>(), any::<i32>());
    (any::<u32>(), name(), name(), identity(), vec(column, 0..24)).prop_map(
        |(oid, schema, name, identity, columns)| {
            let columns = columns
                .iter()
                .map(|(key, name, type_oid, typmod)| RawColumn {
                    key: *key,
                    name,
                    type_oid: *type_oid,
                    typmod: *typmod,
                });
            let relation = RawRelation {
                oid,
                schema: &schema,
                name: &name,
                identity,
                columns: columns.collect(),
            };
            let frame = encode::raw(&Message::Relation(relation.clone()), &[]);
            assert_eq!(message::parse(&frame), Ok(Message::Relation(relation)));
            frame
        },
    )
}

fn read_back(spans: &Spans, frame: &[u8]) -> Row {
    let text = |offset: u32, len: u32| {
        let bytes = frame[offset as usize..][..len as usize].to_vec();
        OwnedCell::Text(String::from_utf8(bytes).unwrap())
    };
    spans
        .iter()
        .map(|span| match *span {
            Span::Null => OwnedCell::Null,
            Span::Unchanged => OwnedCell::Unchanged,
            Span::Text { offset, len } => text(offset, len),
        })
        .collect()
}

proptest! {
    #[test]
    fn what_is_read_is_written_again(frame in any_frame()) {
        let message = message::parse(&frame).unwrap();
        prop_assert_eq!(encode::raw(&message, &frame), frame);
    }

    #[test]
    fn rows_come_back(oid: u32, old in any_row(), new in any_row()) {
        let frame = encode::update(oid, OldCells::Key(&cells(&old)), &cells(&new));
        let Ok(Message::Update { relation, old: RawOld::Key(old_spans), new: new_spans }) =
            message::parse(&frame)
        else {
            panic!("not an update");
        };
        prop_assert_eq!(relation, oid);
        prop_assert_eq!(read_back(&old_spans, &frame), old);
        prop_assert_eq!(read_back(&new_spans, &frame), new);
    }

    #[test]
    fn a_message_cut_short_or_lengthened_is_refused(frame in any_frame(), cut: prop::sample::Index, more in 1..9_usize) {
        prop_assert!(message::parse(&frame[..cut.index(frame.len())]).is_err());
        let longer = [&frame[..], &vec![0; more]].concat();
        prop_assert!(message::parse(&longer).is_err());
    }

    #[test]
    fn a_flipped_bit_gives_a_message_or_an_error(frame in any_frame(), bit: prop::sample::Index) {
        let mut frame = frame.to_vec();
        let bit = bit.index(frame.len() * 8);
        frame[bit / 8] ^= 1 << (bit % 8);
        if let Ok(message) = message::parse(&frame)
            && message != Message::StrayAbort
        {
            prop_assert_eq!(&encode::raw(&message, &frame)[..], &frame[..]);
        }
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(kind in prop::sample::select(b"BCORYIUDTMA\0Z".to_vec()), rest in vec(any::<u8>(), 0..200)) {
        let _ = message::parse(&[&[kind][..], &rest].concat());
    }

    #[test]
    fn any_sequence_of_messages_gives_rising_positions_or_an_error(frames in vec(any_frame(), 0..30)) {
        let mut decoder = Decoder::new(Types::default(), Vec::new());
        let opened = encode::begin(Lsn(1), Timestamp(0), 1);
        let mut last = None;
        for payload in std::iter::once(opened).chain(frames) {
            let frame = Frame { lsn: Lsn(0), payload };
            match decoder.decode(&frame) {
                Ok(Some(super::Decoded::Change(change))) if change.xid != 0 => {
                    prop_assert!(last < Some(change.position));
                    last = Some(change.position);
                }
                Ok(_) => {}
                Err(_) => {
                    decoder.reset();
                    last = None;
                }
            }
        }
    }
}

/// Every type, arrays included.
fn every_type() -> Vec<ValueType> {
    let mut types: Vec<_> = [
        16, 20, 5069, 701, 1700, 25, 1042, 17, 1082, 1083, 1266, 1114, 1184, 1186, 2950, 3802, 869,
        790, 600, 1007, 1020,
    ]
    .map(|oid| Types::default().value_type(oid))
    .into();
    types.push(ValueType::Enum);
    types
}

proptest! {
    #[test]
    fn any_bytes_are_a_value_or_an_error(text in vec(any::<u8>(), 0..60)) {
        for value_type in every_type() {
            let _ = value(&value_type, &text);
        }
    }

    // Bytes that are nearly right reach further into the readers.
    #[test]
    fn any_nearly_right_text_is_a_value_or_an_error(text in r#"([-+]?[0-9]{1,20}|[0-9]{2}|[-:. /{}",\\=\[\]]|NULL|BC| day| mons?|infinity|NaN|\\x){0,12}"#) {
        for value_type in every_type() {
            let _ = value(&value_type, text.as_bytes());
        }
    }

    #[test]
    fn numbers_come_back(int: i64, unsigned: u64, float: f64) {
        let text = int.to_string();
        prop_assert_eq!(value(&ValueType::Int, text.as_bytes()), Ok(Value::Int(int)));
        let text = unsigned.to_string();
        prop_assert_eq!(value(&ValueType::Unsigned, text.as_bytes()), Ok(Value::Unsigned(unsigned)));
        prop_assume!(float.is_finite());
        for text in [format!("{float}"), format!("{float:e}"), c_style(float)] {
            let Ok(Value::Float(read)) = value(&ValueType::Float, text.as_bytes()) else {
                panic!("{text}");
            };
            prop_assert_eq!(read.to_bits(), float.to_bits(), "{}", text);
        }
    }

    #[test]
    fn numerics_come_back(text in "-?(0|[1-9][0-9]{0,60})(\\.[0-9]{1,60})?") {
        prop_assert_eq!(value(&ValueType::Numeric, text.as_bytes()), Ok(Value::Numeric(&text)));
    }

    #[test]
    fn bytes_come_back(bytes in vec(any::<u8>(), 0..80), uuid: [u8; 16]) {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let text = format!("\\x{}", hex(&bytes));
        prop_assert_eq!(value(&ValueType::Bytea, text.as_bytes()), Ok(Value::Bytea(bytes)));
        let h = hex(&uuid);
        let text = [&h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..]].join("-");
        prop_assert_eq!(value(&ValueType::Uuid, text.as_bytes()), Ok(Value::Uuid(uuid)));
    }

    #[test]
    fn dates_come_back(days in -2_440_588..=2_145_042_905_i32) {
        let text = date_text(days.into());
        let read = value(&ValueType::Date, text.as_bytes());
        prop_assert_eq!(read, Ok(Value::Date(DateValue::Days(days))), "{}", text);
    }

    #[test]
    fn timestamps_come_back(micros in -210_866_803_200_000_000..=i64::MAX, zone in -57_599..57_600_i32) {
        let stamp = TimestampValue::Micros(micros);
        let text = timestamp_text(micros.into(), "");
        let read = value(&ValueType::Timestamp, text.as_bytes());
        prop_assert_eq!(read, Ok(Value::Timestamp(stamp)), "{}", text);
        let local = i128::from(micros) + i128::from(zone) * 1_000_000;
        let text = timestamp_text(local, &zone_text(zone));
        let read = value(&ValueType::TimestampTz, text.as_bytes());
        prop_assert_eq!(read, Ok(Value::TimestampTz(stamp)), "{}", text);
    }

    #[test]
    fn times_come_back(micros in 0..=86_400_000_000_i64, zone in -57_599..57_600_i32) {
        let text = clock_text(micros);
        prop_assert_eq!(value(&ValueType::Time, text.as_bytes()), Ok(Value::Time(micros)));
        let text = text + &zone_text(zone);
        let expected = Value::TimeTz { micros, offset: zone };
        prop_assert_eq!(value(&ValueType::TimeTz, text.as_bytes()), Ok(expected));
    }

    #[test]
    fn intervals_come_back(months: i32, days: i32, micros: i64) {
        let text = interval_text(months.into(), days.into(), micros);
        let (months, days) = (months.into(), days.into());
        let expected = Value::Interval { months, days, micros };
        prop_assert_eq!(value(&ValueType::Interval, text.as_bytes()), Ok(expected), "{}", text);
    }

    #[test]
    fn arrays_come_back(array in any_array(), delimiter in prop::sample::select(vec![b',', b';'])) {
        let mut text = String::new();
        write_array(&mut text, &array, delimiter);
        let value_type = ValueType::Array(Box::new(ValueType::Text), delimiter);
        prop_assert_eq!(value(&value_type, text.as_bytes()), Ok(Value::Array(array)), "{}", text);
    }
}

/// As C prints it with an exponent: `1.5e+300`, `1e-07`.
fn c_style(float: f64) -> String {
    let text = format!("{float:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap();
    let exponent: i32 = exponent.parse().unwrap();
    format!(
        "{mantissa}e{}{:02}",
        if exponent < 0 { '-' } else { '+' },
        exponent.abs()
    )
}

/// The date by another's arithmetic: that of `jiff`, carried beyond its range by whole cycles of 400
/// years, in which the calendar repeats.
fn civil_date(days: i64) -> (i64, civil::Date) {
    const CYCLE: i64 = 146_097;
    let cycles = days.div_euclid(CYCLE);
    let within = jiff::Span::new().days(days.rem_euclid(CYCLE));
    (
        cycles * 400,
        civil::date(1970, 1, 1).checked_add(within).unwrap(),
    )
}

fn date_parts(days: i64) -> (String, &'static str) {
    let (years, date) = civil_date(days);
    let year = years + i64::from(date.year());
    let (year, era) = if year > 0 {
        (year, "")
    } else {
        (1 - year, " BC")
    };
    (
        format!("{year:04}-{:02}-{:02}", date.month(), date.day()),
        era,
    )
}

fn date_text(days: i64) -> String {
    let (date, era) = date_parts(days);
    date + era
}

fn clock_text(micros: i64) -> String {
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let clock = format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    let fraction = format!(".{micros:06}");
    clock + fraction.trim_end_matches('0').trim_end_matches('.')
}

fn zone_text(zone: i32) -> String {
    let (sign, z) = (if zone < 0 { '-' } else { '+' }, zone.abs());
    match (z / 3600, z / 60 % 60, z % 60) {
        (h, 0, 0) => format!("{sign}{h:02}"),
        (h, m, 0) => format!("{sign}{h:02}:{m:02}"),
        (h, m, s) => format!("{sign}{h:02}:{m:02}:{s:02}"),
    }
}

fn timestamp_text(micros: i128, zone: &str) -> String {
    const DAY: i128 = 86_400_000_000;
    let (days, micros) = (micros.div_euclid(DAY) as i64, micros.rem_euclid(DAY) as i64);
    let (date, era) = date_parts(days);
    format!("{date} {}{zone}{era}", clock_text(micros))
}

/// As Postgres prints it: a positive part behind a negative one bears its sign.
fn interval_text(months: i64, days: i64, micros: i64) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut after_negative = false;
    for (amount, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if amount != 0 {
            let sign = if after_negative && amount > 0 {
                "+"
            } else {
                ""
            };
            let plural = if amount == 1 { "" } else { "s" };
            parts.push(format!("{sign}{amount} {unit}{plural}"));
            after_negative = amount < 0;
        }
    }
    if micros != 0 || parts.is_empty() {
        let sign = match micros < 0 {
            true => "-",
            false if after_negative => "+",
            false => "",
        };
        let clock = i64::try_from(micros.unsigned_abs()).map(clock_text);
        parts.push(format!(
            "{sign}{}",
            clock.unwrap_or("2562047788:00:54.775808".into())
        ));
    }
    parts.join(" ")
}

/// An array of one to three dimensions, all sub-arrays of the same shape.
fn any_array() -> impl Strategy<Value = Vec<Element>> {
    let element = prop_oneof![
        Just(Element::Null),
        any::<String>().prop_map(|text| Element::Text(text.into())),
        "[ {}\\\\\",;=a]{0,6}|NULL|null".prop_map(|text| Element::Text(text.into())),
    ];
    let line = vec(element, 1..6);
    prop_oneof![
        vec(Just(Element::Null), 0..1),
        line.clone(),
        vec(line.clone().prop_map(Element::Nested), 1..4),
        vec(
            vec(line.prop_map(Element::Nested), 1..3).prop_map(Element::Nested),
            1..3
        ),
    ]
}

/// As Postgres quotes elements.
fn write_array(out: &mut String, elements: &[Element], delimiter: u8) {
    out.push('{');
    for (at, element) in elements.iter().enumerate() {
        if at > 0 {
            out.push(delimiter.into());
        }
        match element {
            Element::Null => out.push_str("NULL"),
            Element::Nested(elements) => write_array(out, elements, delimiter),
            Element::Text(text) => write_element(out, text, delimiter),
        }
    }
    out.push('}');
}

fn write_element(out: &mut String, text: &str, delimiter: u8) {
    let special = |c: char| {
        "{}\"\\".contains(c) || c == char::from(delimiter) || c.is_ascii_whitespace() || c == '\x0b'
    };
    if !text.is_empty() && !text.eq_ignore_ascii_case("null") && !text.contains(special) {
        return out.push_str(text);
    }
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}
