//! Values of the source, by type. One decoder (`decode::value`) makes them, for the stream and for
//! any read of rows.

/// How the text form of a column is read. Resolved once a relation, from its type oid.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ValueType {
    /// `bool`.
    Bool,
    /// `int2`, `int4`, `int8`, `oid`.
    Int,
    /// `xid8` and other unsigned 64-bit numbers.
    Unsigned,
    /// `float4`, `float8`.
    Float,
    /// `numeric`: exact.
    Numeric,
    /// `text`, `varchar`, `name`, `citext`, `xml`, and enums' labels.
    Text,
    /// `char(n)`: padded with blanks, which mean nothing.
    PaddedText,
    /// A user-defined enumeration.
    Enum,
    /// `bytea`.
    Bytea,
    /// `date`.
    Date,
    /// `time`.
    Time,
    /// `timetz`.
    TimeTz,
    /// `timestamp`: no zone.
    Timestamp,
    /// `timestamptz`: an instant.
    TimestampTz,
    /// `interval`.
    Interval,
    /// `uuid`.
    Uuid,
    /// `json`, `jsonb`.
    Json,
    /// `inet`, `cidr`.
    Inet,
    /// `money`: text in the server's currency format.
    Money,
    /// An array; the character between its elements.
    Array(Box<ValueType>, u8),
    /// Every other type: its text as it is. The type's name, for people.
    Other(Box<str>),
}

/// A calendar date or one of the two ends of time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DateValue {
    /// `-infinity`.
    NegativeInfinity,
    /// Days since 1970-01-01 in the proleptic Gregorian calendar (BC dates are negative).
    Days(i32),
    /// `infinity`.
    Infinity,
}

/// A moment (or a zoneless reading of clock and calendar) or one of the two ends of time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TimestampValue {
    /// `-infinity`.
    NegativeInfinity,
    /// Microseconds since 1970-01-01 00:00:00 (UTC for `timestamptz`).
    Micros(i64),
    /// `infinity`.
    Infinity,
}

/// One value. Text borrows from the frame.
#[derive(Clone, PartialEq, Debug)]
pub enum Value<'a> {
    /// `bool`.
    Bool(bool),
    /// Whole numbers.
    Int(i64),
    /// Whole numbers beyond `i64`.
    Unsigned(u64),
    /// Binary floating point; may be NaN or infinite.
    Float(f64),
    /// Exact decimal as Postgres prints it: sign, digits, point, digits. Never an exponent.
    Numeric(&'a str),
    /// `NaN` as a `numeric`.
    NumericNan,
    /// `Infinity` (`true`: negative) as a `numeric`.
    NumericInfinity {
        /// The sign.
        negative: bool,
    },
    /// Text as it is.
    Text(&'a str),
    /// Bytes.
    Bytea(Vec<u8>),
    /// A date.
    Date(DateValue),
    /// Microseconds since midnight, up to 24:00:00.
    Time(i64),
    /// Microseconds since midnight and seconds east of UTC.
    TimeTz {
        /// Microseconds since midnight, local.
        micros: i64,
        /// Seconds east of UTC.
        offset: i32,
    },
    /// A zoneless timestamp.
    Timestamp(TimestampValue),
    /// An instant.
    TimestampTz(TimestampValue),
    /// Kept apart: a month has no fixed length.
    Interval {
        /// Months, years included.
        months: i64,
        /// Days.
        days: i64,
        /// Microseconds.
        micros: i64,
    },
    /// `infinity` (`true`: negative) as an `interval` (Postgres 17).
    IntervalInfinity {
        /// The sign.
        negative: bool,
    },
    /// Sixteen bytes.
    Uuid([u8; 16]),
    /// A JSON document, byte for byte.
    Json(&'a str),
    /// An address with or without a prefix length, as Postgres prints it.
    Inet(&'a str),
    /// An amount in the server's currency format.
    Money(&'a str),
    /// Elements of the outermost dimension.
    Array(Vec<Element>),
    /// A type with no rule of its own: its text.
    Other(&'a str),
}

/// An element of an array, its quoting undone but its type not yet read: the same decoder reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Element {
    /// NULL.
    Null,
    /// The element's text form.
    Text(Box<str>),
    /// A further dimension.
    Nested(Vec<Element>),
}

/// A row of `pg_type`: what the decoder has to know of a type that is not built in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TypeRow {
    /// Type oid.
    pub oid: u32,
    /// Its schema.
    pub schema: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// `typtype`: `b`ase, `c`omposite, `d`omain, `e`num, `r`ange, `m`ultirange, `p`seudo.
    pub kind: u8,
    /// For a domain: what it is over.
    pub base: u32,
    /// For a domain: the type modifier it gives its base, -1 for none.
    pub base_typmod: i32,
    /// For an array: its elements' type, else 0.
    pub element: u32,
    /// What separates the elements of arrays of this type.
    pub delimiter: u8,
}
