//! Values by example, edges first. Random values are in `decode/properties.rs`.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::value::{DateValue, Element, TimestampValue};

fn read(value_type: ValueType, text: &'static str) -> Value<'static> {
    value(&value_type, text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refuses(value_type: &ValueType, texts: &[&str]) {
    for text in texts {
        let result = value(value_type, text.as_bytes());
        assert!(result.is_err(), "{value_type:?} took {text:?}: {result:?}");
    }
}

const DAY: i64 = 86_400_000_000;

#[test]
fn booleans() {
    assert_eq!(read(ValueType::Bool, "t"), Value::Bool(true));
    assert_eq!(read(ValueType::Bool, "f"), Value::Bool(false));
    refuses(&ValueType::Bool, &["", "true", "T", "1", "tt"]);
}

#[test]
fn integers() {
    assert_eq!(read(ValueType::Int, "0"), Value::Int(0));
    assert_eq!(
        read(ValueType::Int, "-9223372036854775808"),
        Value::Int(i64::MIN)
    );
    assert_eq!(
        read(ValueType::Int, "9223372036854775807"),
        Value::Int(i64::MAX)
    );
    assert_eq!(
        read(ValueType::Unsigned, "18446744073709551615"),
        Value::Unsigned(u64::MAX)
    );
    let bad = [
        "",
        "-",
        "+1",
        "1.0",
        " 1",
        "1 ",
        "--1",
        "٣",
        "9223372036854775808",
        "-9223372036854775809",
    ];
    refuses(&ValueType::Int, &bad);
    refuses(
        &ValueType::Unsigned,
        &["", "-1", "+1", "18446744073709551616"],
    );
}

#[test]
fn floating_point() {
    let float = |text| match read(ValueType::Float, text) {
        Value::Float(float) => float,
        other => panic!("{other:?}"),
    };
    assert_eq!(float("0.30000000000000004"), 0.1 + 0.2);
    assert_eq!(float("1e+300"), 1e300);
    assert_eq!(float("1e-07"), 1e-7);
    assert_eq!(float("5e-324"), f64::from_bits(1));
    assert_eq!(float("0.1"), 0.1, "a float4 as printed, not as widened");
    assert!(float("-0") == 0.0 && float("-0").is_sign_negative());
    assert!(float("NaN").is_nan());
    assert_eq!(float("Infinity"), f64::INFINITY);
    assert_eq!(float("-Infinity"), f64::NEG_INFINITY);
    let bad = [
        "", "-", ".5", "+1", "inf", "nan", "infinity", "-NaN", "1e400", "1e", "0x1", "1 ", "1_0",
    ];
    refuses(&ValueType::Float, &bad);
}

#[test]
fn numerics_are_exact() {
    for text in [
        "0",
        "-0.00000000000000000001",
        "1.500",
        "123456789012345678901234567890.1",
    ] {
        assert_eq!(read(ValueType::Numeric, text), Value::Numeric(text));
    }
    assert_eq!(read(ValueType::Numeric, "NaN"), Value::NumericNan);
    assert_eq!(
        read(ValueType::Numeric, "Infinity"),
        Value::NumericInfinity { negative: false }
    );
    assert_eq!(
        read(ValueType::Numeric, "-Infinity"),
        Value::NumericInfinity { negative: true }
    );
    refuses(
        &ValueType::Numeric,
        &[
            "", "-", ".5", "5.", "1e5", "+1", "1.2.3", "--1", "1 ", "nan",
        ],
    );
}

#[test]
fn texts() {
    assert_eq!(read(ValueType::Text, ""), Value::Text(""));
    assert_eq!(read(ValueType::Text, " a\n"), Value::Text(" a\n"));
    assert_eq!(read(ValueType::PaddedText, " ab   "), Value::Text(" ab"));
    assert_eq!(read(ValueType::PaddedText, "   "), Value::Text(""));
    assert_eq!(read(ValueType::PaddedText, "ab\t "), Value::Text("ab\t"));
    assert_eq!(read(ValueType::Enum, "sad"), Value::Text("sad"));
    assert_eq!(
        read(ValueType::Json, "{\"a\": 1, \"a\":2}"),
        Value::Json("{\"a\": 1, \"a\":2}")
    );
    assert_eq!(
        read(ValueType::Money, "-$1,234.50"),
        Value::Money("-$1,234.50")
    );
    assert_eq!(
        read(ValueType::Other("point".into()), "(1,2)"),
        Value::Other("(1,2)")
    );
}

#[test]
fn bytes_and_uuids() {
    assert_eq!(read(ValueType::Bytea, "\\x"), Value::Bytea(vec![]));
    assert_eq!(
        read(ValueType::Bytea, "\\x00fFa9"),
        Value::Bytea(vec![0, 255, 0xa9])
    );
    refuses(
        &ValueType::Bytea,
        &["", "x00", "\\x0", "\\x0g", "\\000", "\\x0 "],
    );
    let uuid = "00112233-4455-6677-8899-aabbccddeeff";
    let bytes = std::array::from_fn(|at| at as u8 * 0x11);
    assert_eq!(read(ValueType::Uuid, uuid), Value::Uuid(bytes));
    let bad = [
        "",
        "00112233445566778899aabbccddeeff",
        "00112233-4455-6677-8899-aabbccddeef",
        "00112233-4455-6677-8899-aabbccddeefg",
        "0011223344-55-6677-8899-aabbccddeeff",
        "00112233-4455-6677-8899-aabbccddeeff ",
    ];
    refuses(&ValueType::Uuid, &bad);
}

#[test]
fn dates_over_the_whole_range() {
    let days = |text| match read(ValueType::Date, text) {
        Value::Date(DateValue::Days(days)) => days,
        other => panic!("{other:?}"),
    };
    assert_eq!(days("1970-01-01"), 0);
    assert_eq!(days("1969-12-31"), -1);
    assert_eq!(days("2000-01-01"), 10_957);
    assert_eq!(days("2024-02-29"), 19_782);
    assert_eq!(days("0001-01-01"), -719_162);
    assert_eq!(days("0001-12-31 BC"), -719_163);
    assert_eq!(days("0001-02-29 BC"), -719_163 - 306, "1 BC is a leap year");
    // The ends of the type: Julian days 0 and 2 147 483 493, of which 1970 began on 2 440 588.
    assert_eq!(days("4714-11-24 BC"), -2_440_588);
    assert_eq!(days("5874897-12-31"), 2_147_483_493 - 2_440_588);
    assert_eq!(
        read(ValueType::Date, "infinity"),
        Value::Date(DateValue::Infinity)
    );
    assert_eq!(
        read(ValueType::Date, "-infinity"),
        Value::Date(DateValue::NegativeInfinity)
    );
    let bad = [
        "",
        "0000-01-01",
        "2023-02-29",
        "1900-02-29",
        "2024-13-01",
        "2024-00-01",
        "2024-01-00",
        "2024-04-31",
        "24-01-01",
        "2024-1-1",
        "01/02/2024",
        "2024-01-01 ",
        "2024-01-01 AD",
        "2024-01-01 BC ",
        "9999999-01-01",
        "12345678-01-01",
        "-2024-01-01",
        "Infinity",
    ];
    refuses(&ValueType::Date, &bad);
}

#[test]
fn times() {
    assert_eq!(read(ValueType::Time, "00:00:00"), Value::Time(0));
    assert_eq!(
        read(ValueType::Time, "01:02:03.000004"),
        Value::Time(3_723_000_004)
    );
    assert_eq!(read(ValueType::Time, "24:00:00"), Value::Time(DAY));
    refuses(
        &ValueType::Time,
        &[
            "",
            "24:00:00.000001",
            "1:00:00",
            "00:60:00",
            "00:00:60",
            "00:00",
            "00:00:00.",
            "00:00:00.1234567",
            "00:00:00+00",
        ],
    );
    let time_tz = |text| match read(ValueType::TimeTz, text) {
        Value::TimeTz { micros, offset } => (micros, offset),
        other => panic!("{other:?}"),
    };
    assert_eq!(time_tz("01:02:03.5+05:30"), (3_723_500_000, 19_800));
    assert_eq!(time_tz("00:00:00-08"), (0, -28_800));
    assert_eq!(time_tz("24:00:00-15:59:59"), (DAY, -57_599));
    refuses(
        &ValueType::TimeTz,
        &[
            "00:00:00",
            "00:00:00+5",
            "00:00:00+05:",
            "00:00:00+05:60",
            "00:00:00+05:00:00:00",
            "00:00:00Z",
        ],
    );
}

#[test]
fn timestamps_over_the_whole_range() {
    let micros = |text| match read(ValueType::Timestamp, text) {
        Value::Timestamp(TimestampValue::Micros(micros)) => micros,
        other => panic!("{other:?}"),
    };
    assert_eq!(micros("1970-01-01 00:00:00"), 0);
    assert_eq!(micros("1969-12-31 23:59:59.999999"), -1);
    assert_eq!(micros("2024-01-01 00:00:00.1"), 1_704_067_200_100_000);
    assert_eq!(micros("0001-01-01 00:00:00 BC"), -719_528 * DAY);
    assert_eq!(micros("4714-11-24 00:00:00 BC"), -2_440_588 * DAY);
    assert_eq!(micros("294247-01-10 04:00:54.775807"), i64::MAX);
    // Postgres counts from 2000 and so goes 30 years further than Unix microseconds do.
    for text in [
        "294247-01-10 04:00:54.775808",
        "294276-12-31 23:59:59.999999",
    ] {
        assert_eq!(read(ValueType::Timestamp, text), Value::Other(text));
    }
    let beyond = "294276-12-31 23:59:59.999999+00";
    assert_eq!(read(ValueType::TimestampTz, beyond), Value::Other(beyond));
    let infinity = Value::Timestamp(TimestampValue::Infinity);
    assert_eq!(read(ValueType::Timestamp, "infinity"), infinity);
    let infinity = Value::TimestampTz(TimestampValue::NegativeInfinity);
    assert_eq!(read(ValueType::TimestampTz, "-infinity"), infinity);
    refuses(
        &ValueType::Timestamp,
        &[
            "",
            "2024-01-01",
            "2024-01-01T00:00:00",
            "2024-01-01 00:00:00+00",
            "2024-01-01 25:00:00",
            "2024-01-01 00:00:00 AD",
            "300000-01-01 00:00:00",
            "300000-01-01 00:00:00 BC",
        ],
    );
}

#[test]
fn instants_in_any_zone() {
    let micros = |text| match read(ValueType::TimestampTz, text) {
        Value::TimestampTz(TimestampValue::Micros(micros)) => micros,
        other => panic!("{other:?}"),
    };
    assert_eq!(micros("1970-01-01 00:00:00+00"), 0);
    assert_eq!(micros("1970-01-01 05:30:00+05:30"), 0);
    assert_eq!(micros("1969-12-31 16:00:00-08"), 0);
    assert_eq!(
        micros("0044-03-15 05:53:28+05:53:28 BC"),
        micros("0044-03-15 00:00:00+00 BC")
    );
    refuses(
        &ValueType::TimestampTz,
        &[
            "2024-01-01 00:00:00",
            "2024-01-01 00:00:00 +00",
            "2024-01-01 00:00:00 IST",
        ],
    );
}

#[test]
fn intervals_keep_their_parts_apart() {
    let parts = |text| match read(ValueType::Interval, text) {
        Value::Interval {
            months,
            days,
            micros,
        } => (months, days, micros),
        other => panic!("{other:?}"),
    };
    assert_eq!(parts("00:00:00"), (0, 0, 0));
    assert_eq!(
        parts("1 year 2 mons -3 days +04:05:06.789"),
        (14, -3, 14_706_789_000)
    );
    assert_eq!(parts("-1 years +2 days"), (-12, 2, 0));
    assert_eq!(parts("-1 years -2 mons"), (-14, 0, 0));
    assert_eq!(parts("1 mon"), (1, 0, 0));
    assert_eq!(parts("1 day -00:00:00.5"), (0, 1, -500_000));
    assert_eq!(parts("100000:00:00"), (0, 0, 360_000_000_000_000));
    assert_eq!(parts("-2562047788:00:54.775808"), (0, 0, i64::MIN));
    assert_eq!(parts("2562047788:00:54.775807"), (0, 0, i64::MAX));
    assert_eq!(
        parts("-178956970 years -8 mons -2147483648 days"),
        (-2_147_483_648, -2_147_483_648, 0)
    );
    assert_eq!(
        read(ValueType::Interval, "infinity"),
        Value::IntervalInfinity { negative: false }
    );
    assert_eq!(
        read(ValueType::Interval, "-infinity"),
        Value::IntervalInfinity { negative: true }
    );
    refuses(
        &ValueType::Interval,
        &[
            "",
            " ",
            "1",
            "1 ",
            "1 day ",
            "day",
            "1 week",
            "1 day 1 year",
            "1 day 1 day",
            "00:00:00 1 day",
            "1 day  00:00:00",
            "00:60:00",
            "2562047788:00:54.775808",
            "99999999999999999999 days",
            "9223372036854775807 years",
            "P1D",
            "1-2",
            "@ 1 day",
        ],
    );
}

#[test]
fn addresses() {
    for text in [
        "192.168.0.1",
        "192.168.0.1/24",
        "::1",
        "10.0.0.0/8",
        "fe80::/128",
        "::ffff:1.2.3.4",
    ] {
        assert_eq!(read(ValueType::Inet, text), Value::Inet(text));
    }
    refuses(
        &ValueType::Inet,
        &[
            "",
            "10/8",
            "1.2.3.4/33",
            "::/129",
            "1.2.3.4/",
            "1.2.3.4/+8",
            "fe80::1%eth0",
            "host",
        ],
    );
}

fn text(text: &str) -> Element {
    Element::Text(text.into())
}

#[test]
fn arrays() {
    let array = |text, delimiter| {
        let value_type = ValueType::Array(Box::new(ValueType::Int), delimiter);
        match read(value_type, text) {
            Value::Array(elements) => elements,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(array("{}", b','), []);
    assert_eq!(
        array("{1,NULL,3}", b','),
        [text("1"), Element::Null, text("3")]
    );
    assert_eq!(
        array("{\"NULL\",\"\",\"a\\\"b\\\\c\",null,\"{,}\"}", b','),
        [
            text("NULL"),
            text(""),
            text("a\"b\\c"),
            text("null"),
            text("{,}")
        ]
    );
    let nested = [
        Element::Nested(vec![text("1"), text("2")]),
        Element::Nested(vec![text("3"), Element::Null]),
    ];
    assert_eq!(array("{{1,2},{3,NULL}}", b','), nested);
    assert_eq!(array("[2:3][-1:0]={{1,2},{3,NULL}}", b','), nested);
    assert_eq!(array("[0:0]={x y}", b','), [text("x y")]);
    assert_eq!(
        array("{(3,4),(1,2);(1,1),(0,0)}", b';'),
        [text("(3,4),(1,2)"), text("(1,1),(0,0)")]
    );
    assert_eq!(array("{{{{{{1}}}}}}", b',').len(), 1);
    refuses(
        &ValueType::Array(Box::new(ValueType::Int), b','),
        &[
            "",
            "1",
            "{",
            "{1",
            "{1,",
            "{1,}",
            "{,1}",
            "{1}}",
            "{1}x",
            "{\"a}",
            "{\"a\\",
            "{\"a\"b}",
            "{a\"b}",
            "{1,{2}}",
            "{{1},2}",
            "{{}}",
            "{{1},{}}",
            "{{{{{{{1}}}}}}}",
            "[1:2]{1,2}",
            "[1]={1}",
            "[a:b]={1}",
            "[1:2={1}",
            "{a\\b}",
        ],
    );
}

#[test]
fn elements_are_read_like_columns() {
    let element = ValueType::Bytea;
    let value_type = ValueType::Array(Box::new(element.clone()), b',');
    let Value::Array(elements) = read(value_type, "{\"\\\\x00ff\",NULL}") else {
        panic!("not an array")
    };
    let [Element::Text(first), Element::Null] = &elements[..] else {
        panic!("{elements:?}")
    };
    assert_eq!(
        value(&element, first.as_bytes()),
        Ok(Value::Bytea(vec![0, 255]))
    );
}

#[test]
fn text_that_is_not_utf8_is_refused_in_every_type() {
    for value_type in [
        ValueType::Text,
        ValueType::PaddedText,
        ValueType::Enum,
        ValueType::Json,
        ValueType::Inet,
        ValueType::Money,
        ValueType::Array(Box::new(ValueType::Text), b','),
        ValueType::Other("x".into()),
        ValueType::Float,
        ValueType::Numeric,
        ValueType::Date,
    ] {
        assert!(value(&value_type, b"1\xff").is_err(), "{value_type:?}");
    }
}

#[test]
fn an_error_names_the_type_and_the_reason_and_not_the_value() {
    let error = value(&ValueType::Date, b"secret").unwrap_err();
    assert_eq!(
        error.to_string(),
        "not of type date: its year does not have four to seven digits"
    );
}
