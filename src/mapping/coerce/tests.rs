#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::*;
use crate::decode;
use crate::mapping::fixtures::field;
use crate::value::ValueType as T;

/// The field's value for a text of Postgres: `Ok("")` for null.
fn told(field: &FieldDescription, value_type: &T, text: &str) -> Result<String, &'static str> {
    let value = decode::value(value_type, text.as_bytes()).expect(text);
    match coerce(field, value_type, &value) {
        Ok(None) => Ok(String::new()),
        Ok(Some(FieldValue::Bool(b))) => Ok(b.to_string()),
        Ok(Some(FieldValue::Number(s) | FieldValue::Text(s))) => Ok(s.into()),
        Ok(Some(FieldValue::Reference(_))) => panic!("a reference is not coerced"),
        Err(refusal) => Err(refusal.code()),
    }
}

fn check(field: &FieldDescription, cases: &[(T, &str, Result<&str, &'static str>)]) {
    for (value_type, text, expected) in cases {
        let found = told(field, value_type, text);
        assert_eq!(
            found.as_deref().map_err(|e| *e),
            *expected,
            "{value_type:?} {text:?} to {:?}",
            field.kind
        );
    }
}

fn array(element: T) -> T {
    T::Array(Box::new(element), b',')
}

#[test]
fn text_is_trimmed_and_never_cut() {
    let five = FieldDescription {
        length: 5,
        ..field("F", FieldKind::Text)
    };
    check(
        &five,
        &[
            (T::Text, "abcde", Ok("abcde")),
            (T::Text, "  abcde\t\r\n", Ok("abcde")),
            (T::Text, "\u{a0}abcde\u{2003}", Ok("abcde")),
            (T::Text, "\u{1}abcde\u{1f}", Ok("abcde")),
            (T::Text, "a\u{1}b c", Ok("a\u{1}b c")),
            (T::Text, "abcdef", Err("value_too_long")),
            (T::Text, "", Ok("")),
            (T::Text, " \n ", Ok("")),
            (T::Text, "äöüßé", Ok("äöüßé")),
            (T::Text, "äöüßéx", Err("value_too_long")),
            // Two UTF-16 units each.
            (T::Text, "😀😀", Ok("😀😀")),
            (T::Text, "😀😀😀", Err("value_too_long")),
            (T::PaddedText, "ab   ", Ok("ab")),
            (T::Bool, "t", Ok("true")),
            (T::Bool, "f", Ok("false")),
            (T::Int, "-42", Ok("-42")),
            (T::Int, "123456", Err("value_too_long")),
            (T::Numeric, "1.500", Ok("1.500")),
            (T::Numeric, "NaN", Ok("NaN")),
        ],
    );
    let unbounded = FieldDescription {
        length: 0,
        ..field("F", FieldKind::LongText)
    };
    check(
        &unbounded,
        &[
            (
                T::Unsigned,
                "18446744073709551615",
                Ok("18446744073709551615"),
            ),
            (T::Float, "1e+20", Ok("1e+20")),
            (T::Float, "-1.5e-07", Ok("-1.5e-07")),
            (T::Float, "123456789012345", Ok("123456789012345")),
            (T::Float, "0.30000000000000004", Ok("0.30000000000000004")),
            (T::Float, "-Infinity", Ok("-infinity")),
            (T::Float, "NaN", Ok("NaN")),
            (
                T::Uuid,
                "0a1b2c3d-0000-ffff-1234-0123456789ab",
                Ok("0a1b2c3d-0000-ffff-1234-0123456789ab"),
            ),
            (
                T::Json,
                "{\"a\": 1,  \"a\": 2}",
                Ok("{\"a\": 1,  \"a\": 2}"),
            ),
            (T::Json, "null", Ok("null")),
            (T::Bytea, "\\x00ff10", Ok("AP8Q")),
            (T::Bytea, "\\x", Ok("")),
            (T::Inet, "10.0.0.0/8", Ok("10.0.0.0/8")),
            (T::Money, "-$1,234.50", Ok("-$1,234.50")),
            (T::Other("point".into()), "(1,2.5)", Ok("(1,2.5)")),
            (T::Date, "2024-02-29", Ok("2024-02-29")),
            (T::Date, "0044-03-15 BC", Ok("0044-03-15 BC")),
            (T::Date, "10000-01-01", Ok("10000-01-01")),
            (T::Date, "infinity", Ok("infinity")),
            (T::Time, "01:02:03.000004", Ok("01:02:03.000004")),
            (T::Time, "24:00:00", Ok("24:00:00")),
            (T::TimeTz, "01:02:03.5+05:30", Ok("01:02:03.5+05:30")),
            (T::TimeTz, "01:02:03-08", Ok("01:02:03-08:00")),
            (
                T::Timestamp,
                "2024-01-01 00:00:00.1",
                Ok("2024-01-01T00:00:00.1"),
            ),
            (
                T::TimestampTz,
                "2024-01-01 00:00:00+00",
                Ok("2024-01-01T00:00:00Z"),
            ),
            (
                T::Timestamp,
                "0001-01-01 00:00:00 BC",
                Ok("0001-01-01T00:00:00 BC"),
            ),
            (T::TimestampTz, "-infinity", Ok("-infinity")),
            (
                T::Interval,
                "1 year 2 mons -3 days +04:05:06.789",
                Ok("P1Y2M-3DT4H5M6.789S"),
            ),
            (T::Interval, "-1 years +2 days", Ok("P-1Y2D")),
            (T::Interval, "00:00:00", Ok("PT0S")),
            (T::Interval, "-00:00:00.5", Ok("PT-0.5S")),
            (T::Interval, "100000:00:00", Ok("PT100000H")),
            (array(T::Int), "{1,NULL,3}", Ok("[1,null,3]")),
            (array(T::Int), "{}", Ok("[]")),
            (array(T::Int), "{{1,2},{3,4}}", Ok("[[1,2],[3,4]]")),
            (array(T::Bool), "{t,f}", Ok("[true,false]")),
            (array(T::Float), "{1.5,NaN}", Ok("[1.5,\"NaN\"]")),
            (array(T::Json), "{\"{\\\"a\\\": 1}\"}", Ok("[{\"a\": 1}]")),
            (
                array(T::Text),
                "{\"a \\\"q\\\"\",\"NULL\",NULL}",
                Ok("[\"a \\\"q\\\"\",\"NULL\",null]"),
            ),
            (array(T::Date), "{2024-01-01}", Ok("[\"2024-01-01\"]")),
        ],
    );
}

#[test]
fn text_of_a_kind_is_checked_lightly() {
    check(
        &field("F", FieldKind::Email),
        &[
            (T::Text, " a@b.example ", Ok("a@b.example")),
            (T::Text, "\"x@y\"@b.example", Ok("\"x@y\"@b.example")),
            (T::Text, "ann", Err("not_an_email")),
            (T::Text, "@b", Err("not_an_email")),
            (T::Text, "a@", Err("not_an_email")),
            (T::Text, "a b@c", Err("not_an_email")),
            (T::Text, "", Ok("")),
        ],
    );
    check(
        &field("F", FieldKind::Reference),
        &[
            (T::Text, "001Ws00000A1b2c", Ok("001Ws00000A1b2c")),
            (T::Text, "001Ws00000A1b2cIAB", Ok("001Ws00000A1b2cIAB")),
            (T::Text, "001Ws00000A1b2cIA", Err("not_an_id")),
            (T::Text, "001Ws00000A1b2cIA!", Err("not_an_id")),
            (T::Int, "5", Err("wrong_type")),
        ],
    );
}

#[test]
fn lists_take_their_values_only() {
    let restricted = |kind| FieldDescription {
        restricted: true,
        picklist: vec!["Hot".into(), "Cold".into(), "true".into()],
        ..field("F", kind)
    };
    check(
        &restricted(FieldKind::Picklist),
        &[
            (T::Enum, "Hot", Ok("Hot")),
            (T::Text, " Cold ", Ok("Cold")),
            (T::Text, "hot", Err("not_in_picklist")),
            (T::Text, "", Ok("")),
            (T::Bool, "t", Ok("true")),
        ],
    );
    check(
        &field("F", FieldKind::Picklist),
        &[(T::Text, "Anything", Ok("Anything"))],
    );
    check(
        &restricted(FieldKind::MultiPicklist),
        &[
            (array(T::Text), "{Hot,Cold}", Ok("Hot;Cold")),
            (array(T::Text), "{Hot,NULL,Hot,\" Cold\"}", Ok("Hot;Cold")),
            (array(T::Text), "{}", Ok("")),
            (array(T::Text), "{NULL}", Ok("")),
            (array(T::Bool), "{t}", Ok("true")),
            (array(T::Text), "{Hot;Cold}", Err("bad_list")),
            (array(T::Text), "{{Hot}}", Err("bad_list")),
            (array(T::Text), "{Warm}", Err("not_in_picklist")),
            (T::Text, "Hot; Cold;", Ok("Hot;Cold")),
            (T::Text, "Hot;Warm", Err("not_in_picklist")),
        ],
    );
}

#[test]
fn booleans_come_from_bool_and_two_words() {
    check(
        &field("F", FieldKind::Boolean),
        &[
            (T::Bool, "t", Ok("true")),
            (T::Bool, "f", Ok("false")),
            (T::Text, "True", Ok("true")),
            (T::Text, " false", Ok("false")),
            (T::Text, "yes", Err("not_a_boolean")),
            (T::Text, "", Ok("")),
            (T::Int, "1", Err("wrong_type")),
        ],
    );
}

#[test]
fn numbers_keep_every_digit_that_the_field_keeps() {
    // Number(6, 2): four digits left of the point.
    let decimal = FieldDescription {
        precision: 6,
        scale: 2,
        ..field("F", FieldKind::Decimal)
    };
    check(
        &decimal,
        &[
            (T::Int, "0", Ok("0")),
            (T::Int, "-9999", Ok("-9999")),
            (T::Int, "10000", Err("out_of_range")),
            (T::Int, "-9223372036854775808", Err("out_of_range")),
            (T::Unsigned, "18446744073709551615", Err("out_of_range")),
            (T::Numeric, "1.500", Ok("1.5")),
            (T::Numeric, "2.00", Ok("2")),
            (T::Numeric, "0.00", Ok("0")),
            (T::Numeric, "0.005", Ok("0.01")),
            (T::Numeric, "0.0049999", Ok("0")),
            (T::Numeric, "-0.004", Ok("0")),
            (T::Numeric, "-0.005", Ok("-0.01")),
            (T::Numeric, "0.995", Ok("1")),
            (T::Numeric, "9.995", Ok("10")),
            (T::Numeric, "-1.005", Ok("-1.01")),
            (T::Numeric, "9999.994", Ok("9999.99")),
            (T::Numeric, "9999.995", Err("out_of_range")),
            (T::Numeric, "NaN", Err("not_a_number")),
            (T::Numeric, "-Infinity", Err("out_of_range")),
            (T::Float, "0.1", Ok("0.1")),
            (T::Float, "-0", Ok("0")),
            (T::Float, "1e-300", Ok("0")),
            (T::Float, "1e+300", Err("out_of_range")),
            (T::Float, "NaN", Err("not_a_number")),
            (T::Float, "Infinity", Err("out_of_range")),
            (T::Text, " +007.10 ", Ok("7.1")),
            (T::Text, ".5", Ok("0.5")),
            (T::Text, "5.", Ok("5")),
            (T::Text, "", Ok("")),
            (T::Text, ".", Err("not_a_number")),
            (T::Text, "-", Err("not_a_number")),
            (T::Text, "1e3", Err("not_a_number")),
            (T::Text, "1,000", Err("not_a_number")),
            (T::Text, "--1", Err("not_a_number")),
            (T::Text, "٣", Err("not_a_number")),
            (T::Money, "$1.00", Err("wrong_type")),
            (T::Bool, "t", Err("wrong_type")),
        ],
    );
    let fraction = FieldDescription {
        precision: 2,
        scale: 2,
        ..field("F", FieldKind::Decimal)
    };
    check(
        &fraction,
        &[
            (T::Numeric, "0.99", Ok("0.99")),
            (T::Int, "0", Ok("0")),
            (T::Numeric, "0.995", Err("out_of_range")),
            (T::Int, "1", Err("out_of_range")),
        ],
    );
    let int = FieldDescription {
        precision: 0,
        ..field("F", FieldKind::Int)
    };
    check(
        &int,
        &[
            (T::Int, "2147483647", Ok("2147483647")),
            (T::Int, "-2147483648", Ok("-2147483648")),
            (T::Int, "2147483648", Err("out_of_range")),
            (T::Numeric, "2.5", Ok("3")),
            (T::Numeric, "-2.5", Ok("-3")),
        ],
    );
    let huge = "9".repeat(100_000);
    check(&decimal, &[(T::Numeric, &huge, Err("out_of_range"))]);
}

#[test]
fn dates_stay_in_the_range_of_the_crm() {
    check(
        &field("F", FieldKind::Date),
        &[
            (T::Date, "2026-11-04", Ok("2026-11-04")),
            (T::Date, "2024-02-29", Ok("2024-02-29")),
            (T::Date, "1969-12-31", Ok("1969-12-31")),
            (T::Date, "1700-01-01", Ok("1700-01-01")),
            (T::Date, "1699-12-31", Err("out_of_range")),
            (T::Date, "4000-12-31", Ok("4000-12-31")),
            (T::Date, "4001-01-01", Err("out_of_range")),
            (T::Date, "0044-03-15 BC", Err("out_of_range")),
            (T::Date, "infinity", Err("out_of_range")),
            (T::Timestamp, "2026-11-04 23:59:59.999999", Ok("2026-11-04")),
            (
                T::TimestampTz,
                "1969-12-31 23:59:59.999999+00",
                Ok("1969-12-31"),
            ),
            (T::TimestampTz, "2026-11-04 23:30:00-02", Ok("2026-11-05")),
            (T::TimestampTz, "-infinity", Err("out_of_range")),
            (
                T::Timestamp,
                "294276-12-31 23:59:59.999999",
                Err("out_of_range"),
            ),
            (T::Text, " 2026-11-04 ", Ok("2026-11-04")),
            (T::Text, "2026-02-30", Err("not_a_date")),
            (T::Text, "04.11.2026", Err("not_a_date")),
            (T::Text, "2026-11-04T00:00:00Z", Err("not_a_date")),
            (T::Text, "", Ok("")),
            (T::Int, "5", Err("wrong_type")),
        ],
    );
}

#[test]
fn instants_are_whole_seconds_of_utc() {
    check(
        &field("F", FieldKind::DateTime),
        &[
            (
                T::TimestampTz,
                "2026-11-04 12:10:35+00",
                Ok("2026-11-04T12:10:35.000Z"),
            ),
            (
                T::TimestampTz,
                "2026-11-04 12:10:35.999999+02",
                Ok("2026-11-04T10:10:35.000Z"),
            ),
            (
                T::TimestampTz,
                "1969-12-31 23:59:59.5+00",
                Ok("1969-12-31T23:59:59.000Z"),
            ),
            (
                T::Timestamp,
                "2026-11-04 12:10:35",
                Ok("2026-11-04T12:10:35.000Z"),
            ),
            (T::Date, "2026-11-04", Ok("2026-11-04T00:00:00.000Z")),
            (
                T::Timestamp,
                "4000-12-31 23:59:59.999999",
                Ok("4000-12-31T23:59:59.000Z"),
            ),
            (T::Timestamp, "4001-01-01 00:00:00", Err("out_of_range")),
            (
                T::Timestamp,
                "1699-12-31 23:59:59.999999",
                Err("out_of_range"),
            ),
            (T::Timestamp, "infinity", Err("out_of_range")),
            (
                T::Timestamp,
                "294276-12-31 23:59:59.999999",
                Err("out_of_range"),
            ),
            (T::Date, "5874897-12-31", Err("out_of_range")),
            (
                T::Text,
                "2026-11-04T12:10:35+01:00",
                Ok("2026-11-04T11:10:35.000Z"),
            ),
            (
                T::Text,
                "2026-11-04 12:10:35",
                Ok("2026-11-04T12:10:35.000Z"),
            ),
            (T::Text, "2026-11-04", Err("not_a_date_time")),
            (T::Text, "soon", Err("not_a_date_time")),
            (T::Text, "", Ok("")),
        ],
    );
}

#[test]
fn times_of_day_are_milliseconds_of_utc() {
    check(
        &field("F", FieldKind::Time),
        &[
            (T::Time, "12:10:35.123456", Ok("12:10:35.123Z")),
            (T::Time, "00:00:00", Ok("00:00:00.000Z")),
            (T::Time, "24:00:00", Err("out_of_range")),
            (T::TimeTz, "01:02:03+05:30", Ok("19:32:03.000Z")),
            (T::TimeTz, "23:00:00-08", Ok("07:00:00.000Z")),
            (T::Text, "12:10:35Z", Ok("12:10:35.000Z")),
            (T::Text, "25:00:00", Err("not_a_time")),
        ],
    );
}

#[test]
fn what_fit_allows_is_never_a_wrong_type() {
    let kinds = [
        FieldKind::Id,
        FieldKind::Reference,
        FieldKind::Text,
        FieldKind::LongText,
        FieldKind::Email,
        FieldKind::Phone,
        FieldKind::Url,
        FieldKind::Picklist,
        FieldKind::MultiPicklist,
        FieldKind::Boolean,
        FieldKind::Int,
        FieldKind::Decimal,
        FieldKind::Date,
        FieldKind::DateTime,
        FieldKind::Time,
        FieldKind::Other("address".into()),
    ];
    let samples = [
        (T::Bool, "t"),
        (T::Int, "1"),
        (T::Unsigned, "1"),
        (T::Float, "1.5"),
        (T::Numeric, "1.5"),
        (T::Text, "1"),
        (T::PaddedText, "1"),
        (T::Enum, "1"),
        (T::Bytea, "\\x00"),
        (T::Date, "2024-01-01"),
        (T::Time, "01:00:00"),
        (T::TimeTz, "01:00:00+00"),
        (T::Timestamp, "2024-01-01 00:00:00"),
        (T::TimestampTz, "2024-01-01 00:00:00+00"),
        (T::Interval, "00:00:01"),
        (T::Uuid, "0a1b2c3d-0000-ffff-1234-0123456789ab"),
        (T::Json, "{}"),
        (T::Inet, "::1"),
        (T::Money, "$1.00"),
        (array(T::Text), "{a}"),
        (T::Other("point".into()), "(1,2)"),
    ];
    for kind in kinds {
        let field = field("F", kind.clone());
        for (value_type, text) in &samples {
            let wrong = told(&field, value_type, text) == Err("wrong_type");
            if !matches!(fit(&field, value_type), Fit::Never(_)) {
                assert!(!wrong, "{value_type:?} to {kind:?}");
            }
        }
    }
}

proptest! {
    /// The calendar agrees with the library's over the whole range of the CRM.
    #[test]
    fn days_are_dates(days in -200_000_i32..800_000) {
        let (year, month, day) = time::civil(i64::from(days));
        let epoch = jiff::civil::Date::constant(1970, 1, 1);
        let expected = epoch.checked_add(jiff::Span::new().days(days)).unwrap();
        prop_assert_eq!((year, month as i8, day as i8), (i64::from(expected.year()), expected.month(), expected.day()));
    }

    /// Rounding is that of exact arithmetic.
    #[test]
    fn rounding_is_exact(units in -99_999_999_i64..=99_999_999, scale in 0_u32..6) {
        let text = format!("{}{}.{:04}", if units < 0 { "-" } else { "" }, units.abs() / 10_000, units.abs() % 10_000);
        let field = FieldDescription { precision: 18, scale, ..field("F", FieldKind::Decimal) };
        let found = told(&field, &T::Numeric, &text).unwrap();
        let step = 10_i64.pow(4_u32.saturating_sub(scale));
        let rounded = (units.abs() + step / 2) / step * step * units.signum();
        let mut expected = format!("{}{}.{:04}", if rounded < 0 { "-" } else { "" }, rounded.abs() / 10_000, rounded.abs() % 10_000);
        expected.truncate(expected.trim_end_matches('0').trim_end_matches('.').len());
        prop_assert_eq!(found, expected);
    }

    /// Whatever comes out of the decoder, coercion gives a value of the field's form or refuses.
    #[test]
    fn text_kinds_never_exceed_their_field(text in "\\PC{0,40}", length in 1_u32..30) {
        let field = FieldDescription { length, ..field("F", FieldKind::Text) };
        match coerce(&field, &T::Text, &Value::Text(&text)) {
            Ok(Some(FieldValue::Text(s))) => {
                prop_assert!(s.encode_utf16().count() <= length as usize);
                prop_assert_eq!(trim(&s).len(), s.len());
            }
            Ok(other) => prop_assert_eq!(other, None),
            Err(refusal) => prop_assert_eq!(refusal.code(), "value_too_long"),
        }
    }
}
