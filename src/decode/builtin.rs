//! The built-in types. Their oids are the same in every database.
//!
//! From `pg_type` of Postgres 15 (`src/include/catalog/pg_type.dat`); a built-in type that is not
//! here is looked up in the catalog's rows like any other.

use crate::value::ValueType;

/// How a built-in type is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reading {
    Bool,
    Int,
    Unsigned,
    Float,
    Numeric,
    Text,
    PaddedText,
    Bytea,
    Date,
    Time,
    TimeTz,
    Timestamp,
    TimestampTz,
    Interval,
    Uuid,
    Json,
    Inet,
    Money,
    Other,
}

use Reading::{
    Bool, Bytea, Date, Float, Inet, Int, Interval, Json, Money, Numeric, Other, PaddedText, Text,
    Time, TimeTz, Timestamp, TimestampTz, Unsigned, Uuid,
};

/// The one built-in type whose text holds commas, so that its arrays use a semicolon.
const BOX: u32 = 603;

/// A built-in type and its array type.
struct Builtin {
    oid: u32,
    name: &'static str,
    array: u32,
    reading: Reading,
}

const fn builtin(oid: u32, name: &'static str, array: u32, reading: Reading) -> Builtin {
    Builtin {
        oid,
        name,
        array,
        reading,
    }
}

/// Sorted by oid.
#[rustfmt::skip]
const BUILTINS: [Builtin; 76] = [
    builtin(16, "bool", 1000, Bool),
    builtin(17, "bytea", 1001, Bytea),
    builtin(18, "char", 1002, Text),
    builtin(19, "name", 1003, Text),
    builtin(20, "int8", 1016, Int),
    builtin(21, "int2", 1005, Int),
    builtin(22, "int2vector", 1006, Other),
    builtin(23, "int4", 1007, Int),
    builtin(24, "regproc", 1008, Other),
    builtin(25, "text", 1009, Text),
    builtin(26, "oid", 1028, Int),
    builtin(27, "tid", 1010, Other),
    builtin(28, "xid", 1011, Int),
    builtin(29, "cid", 1012, Int),
    builtin(30, "oidvector", 1013, Other),
    builtin(114, "json", 199, Json),
    builtin(142, "xml", 143, Text),
    builtin(600, "point", 1017, Other),
    builtin(601, "lseg", 1018, Other),
    builtin(602, "path", 1019, Other),
    builtin(603, "box", 1020, Other),
    builtin(604, "polygon", 1027, Other),
    builtin(628, "line", 629, Other),
    builtin(650, "cidr", 651, Inet),
    builtin(700, "float4", 1021, Float),
    builtin(701, "float8", 1022, Float),
    builtin(718, "circle", 719, Other),
    builtin(774, "macaddr8", 775, Other),
    builtin(790, "money", 791, Money),
    builtin(829, "macaddr", 1040, Other),
    builtin(869, "inet", 1041, Inet),
    builtin(1033, "aclitem", 1034, Other),
    builtin(1042, "bpchar", 1014, PaddedText),
    builtin(1043, "varchar", 1015, Text),
    builtin(1082, "date", 1182, Date),
    builtin(1083, "time", 1183, Time),
    builtin(1114, "timestamp", 1115, Timestamp),
    builtin(1184, "timestamptz", 1185, TimestampTz),
    builtin(1186, "interval", 1187, Interval),
    builtin(1266, "timetz", 1270, TimeTz),
    builtin(1560, "bit", 1561, Other),
    builtin(1562, "varbit", 1563, Other),
    builtin(1700, "numeric", 1231, Numeric),
    builtin(1790, "refcursor", 2201, Other),
    builtin(2202, "regprocedure", 2207, Other),
    builtin(2203, "regoper", 2208, Other),
    builtin(2204, "regoperator", 2209, Other),
    builtin(2205, "regclass", 2210, Other),
    builtin(2206, "regtype", 2211, Other),
    builtin(2950, "uuid", 2951, Uuid),
    builtin(2970, "txid_snapshot", 2949, Other),
    builtin(3220, "pg_lsn", 3221, Other),
    builtin(3614, "tsvector", 3643, Other),
    builtin(3615, "tsquery", 3645, Other),
    builtin(3642, "gtsvector", 3644, Other),
    builtin(3734, "regconfig", 3735, Other),
    builtin(3769, "regdictionary", 3770, Other),
    builtin(3802, "jsonb", 3807, Json),
    builtin(3904, "int4range", 3905, Other),
    builtin(3906, "numrange", 3907, Other),
    builtin(3908, "tsrange", 3909, Other),
    builtin(3910, "tstzrange", 3911, Other),
    builtin(3912, "daterange", 3913, Other),
    builtin(3926, "int8range", 3927, Other),
    builtin(4072, "jsonpath", 4073, Other),
    builtin(4089, "regnamespace", 4090, Other),
    builtin(4096, "regrole", 4097, Other),
    builtin(4191, "regcollation", 4192, Other),
    builtin(4451, "int4multirange", 6150, Other),
    builtin(4532, "nummultirange", 6151, Other),
    builtin(4533, "tsmultirange", 6152, Other),
    builtin(4534, "tstzmultirange", 6153, Other),
    builtin(4535, "datemultirange", 6155, Other),
    builtin(4536, "int8multirange", 6157, Other),
    builtin(5038, "pg_snapshot", 5039, Other),
    builtin(5069, "xid8", 271, Unsigned),
];

impl Builtin {
    fn value_type(&self) -> ValueType {
        match self.reading {
            Bool => ValueType::Bool,
            Int => ValueType::Int,
            Unsigned => ValueType::Unsigned,
            Float => ValueType::Float,
            Numeric => ValueType::Numeric,
            Text => ValueType::Text,
            PaddedText => ValueType::PaddedText,
            Bytea => ValueType::Bytea,
            Date => ValueType::Date,
            Time => ValueType::Time,
            TimeTz => ValueType::TimeTz,
            Timestamp => ValueType::Timestamp,
            TimestampTz => ValueType::TimestampTz,
            Interval => ValueType::Interval,
            Uuid => ValueType::Uuid,
            Json => ValueType::Json,
            Inet => ValueType::Inet,
            Money => ValueType::Money,
            Other => ValueType::Other(self.name.into()),
        }
    }

    fn array_type(&self) -> ValueType {
        let delimiter = if self.oid == BOX { b';' } else { b',' };
        ValueType::Array(Box::new(self.value_type()), delimiter)
    }
}

/// The built-in type or array type `oid`.
pub(super) fn by_oid(oid: u32) -> Option<ValueType> {
    if let Ok(at) = BUILTINS.binary_search_by_key(&oid, |t| t.oid) {
        return BUILTINS.get(at).map(Builtin::value_type);
    }
    BUILTINS
        .iter()
        .find(|t| t.array == oid)
        .map(Builtin::array_type)
}

/// The built-in type `name`, or with a leading `_` its array type, as `pg_catalog` names them.
pub(super) fn by_name(name: &str) -> Option<ValueType> {
    if let Some(found) = BUILTINS.iter().find(|t| t.name == name) {
        return Some(found.value_type());
    }
    let element = name.strip_prefix('_')?;
    BUILTINS
        .iter()
        .find(|t| t.name == element)
        .map(Builtin::array_type)
}

/// The built-in type or array type `oid` with its modifier as SQL prints it, as `format_type` does:
/// `character varying(80)`, `numeric(10,2)[]`. Of an interval the fields it is limited to are left out.
pub(super) fn sql_name(oid: u32, typmod: i32) -> Option<String> {
    if let Ok(at) = BUILTINS.binary_search_by_key(&oid, |t| t.oid) {
        return BUILTINS.get(at).map(|t| t.sql_name(typmod));
    }
    let element = BUILTINS.iter().find(|t| t.array == oid)?;
    Some(element.sql_name(typmod) + "[]")
}

impl Builtin {
    fn sql_name(&self, typmod: i32) -> String {
        let length = (typmod >= 4).then(|| typmod - 4);
        let digits = (typmod >= 0).then_some(typmod);
        match self.name {
            "bool" => "boolean".into(),
            "int2" => "smallint".into(),
            "int4" => "integer".into(),
            "int8" => "bigint".into(),
            "float4" => "real".into(),
            "float8" => "double precision".into(),
            // The grammar has words of its own for these two.
            "char" => "\"char\"".into(),
            "bit" if digits.is_none() => "\"bit\"".into(),
            "bit" => with("bit", digits, ""),
            "varbit" => with("bit varying", digits, ""),
            "bpchar" if length.is_some() => with("character", length, ""),
            "varchar" => with("character varying", length, ""),
            "numeric" => match length {
                // Precision above, scale (of 11 bits, signed) below.
                Some(both) => format!(
                    "numeric({},{})",
                    (both >> 16) & 0xFFFF,
                    ((both & 0x7FF) ^ 1024) - 1024
                ),
                None => "numeric".into(),
            },
            "time" => with("time", digits, " without time zone"),
            "timetz" => with("time", digits, " with time zone"),
            "timestamp" => with("timestamp", digits, " without time zone"),
            "timestamptz" => with("timestamp", digits, " with time zone"),
            // All ones below: no precision was given.
            "interval" => {
                let digits = digits.map(|d| d & 0xFFFF).filter(|d| *d != 0xFFFF);
                with("interval", digits, "")
            }
            name => name.into(),
        }
    }
}

fn with(name: &str, number: Option<i32>, rest: &str) -> String {
    match number {
        Some(number) => format!("{name}({number}){rest}"),
        None => format!("{name}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_as_sql_prints_them() {
        for (oid, typmod, name) in [
            (23, -1, "integer"),
            (1007, -1, "integer[]"),
            (1043, 84, "character varying(80)"),
            (1043, -1, "character varying"),
            (1042, 9, "character(5)"),
            (1042, -1, "bpchar"),
            (18, -1, "\"char\""),
            (1700, (10 << 16 | 2) + 4, "numeric(10,2)"),
            (1700, (3 << 16 | 0x7FE) + 4, "numeric(3,-2)"),
            (1231, -1, "numeric[]"),
            (1114, 3, "timestamp(3) without time zone"),
            (1560, 3, "bit(3)"),
            (1186, 0x7FFF_0003, "interval(3)"),
            (1186, 0x7FFF_FFFF, "interval"),
            (3802, -1, "jsonb"),
        ] {
            assert_eq!(sql_name(oid, typmod).as_deref(), Some(name));
        }
        assert_eq!(sql_name(70_000, -1), None);
    }

    #[test]
    fn the_table_is_sorted_and_names_each_oid_once() {
        assert!(BUILTINS.is_sorted_by(|a, b| a.oid < b.oid));
        let mut oids: Vec<u32> = BUILTINS.iter().flat_map(|t| [t.oid, t.array]).collect();
        oids.sort_unstable();
        assert!(oids.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_type_is_found_by_oid_and_by_name() {
        for t in &BUILTINS {
            assert_eq!(by_oid(t.oid), by_name(t.name));
            assert_eq!(by_oid(t.array), by_name(&format!("_{}", t.name)));
        }
        assert_eq!(by_oid(0), None);
        assert_eq!(by_oid(2249), None, "record");
    }
}
