//! A column of every type, its edges included, through the stream and through a plain read.

use syncline::change::{Datum, Kind};
use syncline::decode::{Decoded, Decoder, Types, value};
use syncline::value::{DateValue, Element, TimestampValue, Value, ValueType};

use crate::server::{Server, create_slot, peek, text_row, types};

const DAY: i64 = 86_400_000_000;

fn text(text: &str) -> Element {
    Element::Text(text.into())
}

fn moment(micros: i64) -> TimestampValue {
    TimestampValue::Micros(micros)
}

/// The type of a column, a value for it, both in SQL, and what it decodes to.
#[rustfmt::skip]
fn cases() -> Vec<(&'static str, &'static str, Value<'static>)> {
    use Value as V;
    vec![
        ("bool", "true", V::Bool(true)),
        ("bool", "false", V::Bool(false)),
        ("int2", "-32768", V::Int(-32_768)),
        ("int4", "2147483647", V::Int(2_147_483_647)),
        ("int8", "-9223372036854775808", V::Int(i64::MIN)),
        ("oid", "4294967295", V::Int(4_294_967_295)),
        ("xid8", "'18446744073709551615'", V::Unsigned(u64::MAX)),
        ("float4", "0.1", V::Float(0.1)),
        ("float4", "'-Infinity'", V::Float(f64::NEG_INFINITY)),
        ("float4", "3.4028235e38", V::Float(3.402_823_5e38)),
        ("float8", "0.1::float8 + 0.2::float8", V::Float(0.1 + 0.2)),
        ("float8", "1e300", V::Float(1e300)),
        ("float8", "5e-324", V::Float(5e-324)),
        ("float8", "'Infinity'", V::Float(f64::INFINITY)),
        ("float8", "'-0'", V::Float(-0.0)),
        ("numeric", "1e-20", V::Numeric("0.00000000000000000001")),
        ("numeric", "'NaN'", V::NumericNan),
        ("numeric", "'Infinity'", V::NumericInfinity { negative: false }),
        ("numeric", "'-Infinity'", V::NumericInfinity { negative: true }),
        ("numeric", "-123456789012345678901234567890.5", V::Numeric("-123456789012345678901234567890.5")),
        ("numeric(10,3)", "1.5", V::Numeric("1.500")),
        ("text", "''", V::Text("")),
        ("text", "E'a\\tb\\n\"\\\\'", V::Text("a\tb\n\"\\")),
        ("text", "'Ørsted 日本 🎉'", V::Text("Ørsted 日本 🎉")),
        ("varchar(8)", "'ab  '", V::Text("ab  ")),
        ("char(5)", "'ab'", V::Text("ab")),
        ("bpchar", "'ab  '", V::Text("ab")),
        ("name", "'a_name'", V::Text("a_name")),
        ("\"char\"", "'x'", V::Text("x")),
        ("xml", "'<a>1</a>'", V::Text("<a>1</a>")),
        ("citext", "'CaSe'", V::Text("CaSe")),
        ("bytea", "'\\x00ff10'", V::Bytea(vec![0, 255, 16])),
        ("bytea", "''", V::Bytea(vec![])),
        ("date", "'2024-02-29'", V::Date(DateValue::Days(19_782))),
        ("date", "'0044-03-15 BC'", V::Date(DateValue::Days(-735_160))),
        ("date", "'4714-11-24 BC'", V::Date(DateValue::Days(-2_440_588))),
        ("date", "'5874897-12-31'", V::Date(DateValue::Days(2_145_042_905))),
        ("date", "'infinity'", V::Date(DateValue::Infinity)),
        ("date", "'-infinity'", V::Date(DateValue::NegativeInfinity)),
        ("time", "'01:02:03.000004'", V::Time(3_723_000_004)),
        ("time(0)", "'24:00'", V::Time(DAY)),
        ("timetz", "'01:02:03.5+05:30'", V::TimeTz { micros: 3_723_500_000, offset: 19_800 }),
        ("timetz", "'00:00:00-15:59:59'", V::TimeTz { micros: 0, offset: -57_599 }),
        ("timestamp", "'2024-01-01 00:00:00.1'", V::Timestamp(moment(1_704_067_200_100_000))),
        ("timestamp", "'4714-11-24 00:00:00 BC'", V::Timestamp(moment(-2_440_588 * DAY))),
        ("timestamp", "'294247-01-10 04:00:54.775807'", V::Timestamp(moment(i64::MAX))),
        ("timestamp", "'294276-12-31 23:59:59.999999'", V::Other("294276-12-31 23:59:59.999999")),
        ("timestamp", "'infinity'", V::Timestamp(TimestampValue::Infinity)),
        ("timestamptz", "'2024-01-01 05:30:00+05:30'", V::TimestampTz(moment(1_704_067_200_000_000))),
        ("timestamptz", "'0001-12-31 23:59:59.999999+00 BC'", V::TimestampTz(moment(-719_162 * DAY - 1))),
        ("timestamptz(3)", "'1969-12-31 23:59:59.999+00'", V::TimestampTz(moment(-1_000))),
        ("timestamptz", "'294276-12-31 23:59:59.999999+00'", V::Other("294276-12-31 23:59:59.999999+00")),
        ("timestamptz", "'-infinity'", V::TimestampTz(TimestampValue::NegativeInfinity)),
        ("interval", "'1 year 2 mons -3 days 04:05:06.789'", V::Interval { months: 14, days: -3, micros: 14_706_789_000 }),
        ("interval", "'-1 year +2 days'", V::Interval { months: -12, days: 2, micros: 0 }),
        ("interval", "'0'", V::Interval { months: 0, days: 0, micros: 0 }),
        ("interval", "'-178000000 years -2147483648 days -2562047788 hours'", V::Interval { months: -2_136_000_000, days: -2_147_483_648, micros: -9_223_372_036_800_000_000 }),
        ("uuid", "'00112233-4455-6677-8899-AABBCCDDEEFF'", V::Uuid(std::array::from_fn(|at| at as u8 * 0x11))),
        ("json", "'{\"a\": 1,  \"a\":2}'", V::Json("{\"a\": 1,  \"a\":2}")),
        ("jsonb", "'{\"b\":1,\"a\":null}'", V::Json("{\"a\": null, \"b\": 1}")),
        ("jsonb", "'null'", V::Json("null")),
        ("inet", "'192.168.0.1'", V::Inet("192.168.0.1")),
        ("inet", "'fe80::1/64'", V::Inet("fe80::1/64")),
        ("cidr", "'10/8'", V::Inet("10.0.0.0/8")),
        ("money", "-1234.5", V::Money("-$1,234.50")),
        ("mood", "'so so'", V::Text("so so")),
        ("short_text", "'ab'", V::Text("ab")),
        ("shorter_text", "'a'", V::Text("a")),
        ("padded", "'a'", V::Text("a")),
        ("amount", "12.5", V::Numeric("12.50")),
        ("some_moods", "'{ok}'", V::Array(vec![text("ok")])),
        ("int4[]", "'{1,NULL,3}'", V::Array(vec![text("1"), Element::Null, text("3")])),
        ("int4[]", "'{}'", V::Array(vec![])),
        ("int8[]", "'[2:3][-1:0]={{1,2},{3,NULL}}'", V::Array(vec![
            Element::Nested(vec![text("1"), text("2")]),
            Element::Nested(vec![text("3"), Element::Null]),
        ])),
        ("text[]", "ARRAY['', 'NULL', NULL, 'a,b', '\"q\"', 'back\\slash', '{x}', ' ', 'plain']", V::Array(vec![
            text(""), text("NULL"), Element::Null, text("a,b"), text("\"q\""), text("back\\slash"),
            text("{x}"), text(" "), text("plain"),
        ])),
        ("bool[]", "'{t,f}'", V::Array(vec![text("t"), text("f")])),
        ("numeric[]", "'{1.50,NaN}'", V::Array(vec![text("1.50"), text("NaN")])),
        ("date[]", "'{0044-03-15 BC,infinity}'", V::Array(vec![text("0044-03-15 BC"), text("infinity")])),
        ("timestamptz[]", "ARRAY['2024-01-01 00:00:00+00'::timestamptz]", V::Array(vec![text("2024-01-01 00:00:00+00")])),
        ("interval[]", "ARRAY['1 day'::interval]", V::Array(vec![text("1 day")])),
        ("bytea[]", "ARRAY['\\x00ff'::bytea]", V::Array(vec![text("\\x00ff")])),
        ("jsonb[]", "ARRAY['{\"a\": 1}'::jsonb]", V::Array(vec![text("{\"a\": 1}")])),
        ("uuid[]", "ARRAY['00112233-4455-6677-8899-aabbccddeeff'::uuid]", V::Array(vec![text("00112233-4455-6677-8899-aabbccddeeff")])),
        ("inet[]", "ARRAY['::1'::inet]", V::Array(vec![text("::1")])),
        ("box[]", "ARRAY[box '((3,4),(1,2))', box '((1,1),(0,0))']", V::Array(vec![text("(3,4),(1,2)"), text("(1,1),(0,0)")])),
        ("mood[]", "'{ok,\"so so\",NULL}'", V::Array(vec![text("ok"), text("so so"), Element::Null])),
        ("citext[]", "'{A,b}'", V::Array(vec![text("A"), text("b")])),
        ("short_text[]", "'{ab}'", V::Array(vec![text("ab")])),
        ("hstore", "'a=>1,b=>NULL'", V::Other("\"a\"=>\"1\", \"b\"=>NULL")),
        ("pair", "ROW(1, 'a \"q\"')", V::Other("(1,\"a \"\"q\"\"\")")),
        ("point", "'(1,2.5)'", V::Other("(1,2.5)")),
        ("int4range", "'[1,5]'", V::Other("[1,6)")),
        ("tstzmultirange", "'{}'", V::Other("{}")),
        ("bit(4)", "B'1010'", V::Other("1010")),
        ("macaddr", "'08:00:2b:01:02:03'", V::Other("08:00:2b:01:02:03")),
        ("pg_lsn", "'16/B374D848'", V::Other("16/B374D848")),
        ("tsvector", "'a:1'", V::Other("'a':1")),
        ("int2vector", "'1 2'", V::Other("1 2")),
        ("regclass", "'pg_class'", V::Other("pg_class")),
    ]
}

const SETUP: &str = "
    CREATE EXTENSION citext;
    CREATE EXTENSION hstore;
    CREATE TYPE mood AS ENUM ('sad', 'so so', 'ok');
    CREATE TYPE pair AS (a int, b text);
    CREATE DOMAIN short_text AS varchar(8);
    CREATE DOMAIN shorter_text AS short_text CHECK (length(VALUE) < 4);
    CREATE DOMAIN padded AS char(4);
    CREATE DOMAIN amount AS numeric(10,2);
    CREATE DOMAIN some_moods AS mood[];
    CREATE PUBLICATION p FOR ALL TABLES;";

#[tokio::test]
async fn every_type_comes_through() {
    let server = Server::start().await;
    let client = server.connect().await;
    client.batch_execute(SETUP).await.unwrap();
    let cases = cases();
    let columns: Vec<_> = cases
        .iter()
        .enumerate()
        .map(|(at, case)| format!("c{at} {}", case.0))
        .collect();
    let values: Vec<_> = cases.iter().map(|case| case.1).collect();
    let create = format!("CREATE TABLE t ({})", columns.join(", "));
    client.batch_execute(&create).await.unwrap();
    create_slot(&client).await;
    let insert = format!("INSERT INTO t VALUES ({})", values.join(", "));
    client.batch_execute(&insert).await.unwrap();

    let mut decoder = Decoder::new(Types::new(types(&client).await), Vec::new());
    let read = text_row(&client, "SELECT * FROM t").await;
    let mut rows = 0;
    for frame in peek(&client).await {
        let Some(Decoded::Change(change)) = decoder.decode(&frame).unwrap() else {
            continue;
        };
        let (Some(relation), Kind::Insert { new }) = (&change.relation, &change.kind) else {
            panic!("not an insert: {change:?}");
        };
        rows += 1;
        for (at, (column, (sql_type, _, expected))) in
            relation.columns.iter().zip(&cases).enumerate()
        {
            let Datum::Text(text) = new.get(at) else {
                panic!("no value of {sql_type}");
            };
            assert_eq!(
                &value(&column.value_type, text).as_ref(),
                &Ok(expected),
                "{sql_type}"
            );
            assert_eq!(
                read[at].as_ref().unwrap().as_bytes(),
                text,
                "{sql_type} as read"
            );
        }
    }
    assert_eq!(rows, 1);
}

/// Without a single row of the catalog: Type messages tell what a domain is over.
#[tokio::test]
async fn the_stream_alone_tells_most_types() {
    let server = Server::start().await;
    let client = server.connect().await;
    client.batch_execute(SETUP).await.unwrap();
    let create = "CREATE TABLE t (a short_text, b amount, c citext, d mood, e mood[], f padded)";
    client.batch_execute(create).await.unwrap();
    create_slot(&client).await;
    let insert = "INSERT INTO t VALUES ('x', 1, 'y', 'ok', '{ok}', 'z')";
    client.batch_execute(insert).await.unwrap();
    let mut decoder = Decoder::new(Types::default(), Vec::new());
    let mut found = None;
    for frame in peek(&client).await {
        if let Some(Decoded::Schema { relation, .. }) = decoder.decode(&frame).unwrap() {
            found = Some(relation);
        }
    }
    let relation = found.unwrap();
    let found: Vec<_> = relation
        .columns
        .iter()
        .map(|column| &column.value_type)
        .collect();
    let expected = [
        ValueType::Text,
        ValueType::Numeric,
        ValueType::Text,
        ValueType::Other("mood".into()),
        ValueType::Other("_mood".into()),
        ValueType::PaddedText,
    ];
    assert_eq!(found, expected.iter().collect::<Vec<_>>());
    decoder.add_types(types(&client).await);
    let relation = decoder.relation(relation.oid).unwrap();
    assert_eq!(relation.columns[3].value_type, ValueType::Enum);
    let moods = ValueType::Array(Box::new(ValueType::Enum), b',');
    assert_eq!(relation.columns[4].value_type, moods);
}
