//! Which type a column's oid stands for, and so how its text is read.
//!
//! Built-in types are known by oid. Enums, domains, arrays and extension types have an oid of their
//! own in every database: they come from rows of `pg_type`, and where a row is missing, from the
//! Type messages of the stream, which give a name only. What neither explains is text.

use hashbrown::HashMap;

use super::builtin;
use crate::value::{TypeRow, ValueType};

/// Domains over domains, arrays of domains over arrays: no catalog goes deeper, but a loop might.
const MAX_DEPTH: u32 = 32;

/// All types that may occur.
#[derive(Clone, Debug, Default)]
pub struct Types {
    rows: HashMap<u32, TypeRow>,
    /// Schema and name of types by Type message.
    named: HashMap<u32, (Box<str>, Box<str>)>,
}

impl Types {
    /// From rows of `pg_type`; rows of built-in types may be left out.
    pub fn new(rows: Vec<TypeRow>) -> Self {
        let mut types = Types::default();
        types.add(rows);
        types
    }

    /// Adds rows read later. A row replaces an older one of the same oid.
    pub fn add(&mut self, rows: Vec<TypeRow>) {
        self.rows.extend(rows.into_iter().map(|row| (row.oid, row)));
    }

    /// Learns from a Type message: schema (empty: `pg_catalog`) and name.
    pub fn learn(&mut self, oid: u32, schema: &str, name: &str) {
        let schema = if schema.is_empty() {
            "pg_catalog"
        } else {
            schema
        };
        self.named.insert(oid, (schema.into(), name.into()));
    }

    /// How the text of a value of type `oid` is read. Type modifiers make no difference to that.
    pub fn value_type(&self, oid: u32) -> ValueType {
        self.find(oid, 0)
    }

    /// The type and type modifier beneath a chain of domains (`domain over varchar(80)`:
    /// `varchar`, 84); a type that is no domain stands for itself.
    pub fn underlying(&self, oid: u32, typmod: i32) -> (u32, i32) {
        let (mut oid, mut typmod) = (oid, typmod);
        for _ in 0..MAX_DEPTH {
            match self.rows.get(&oid) {
                // The innermost domain has the modifier: a domain cannot be given one itself.
                Some(row) if row.kind == b'd' => (oid, typmod) = (row.base, row.base_typmod),
                _ => break,
            }
        }
        (oid, typmod)
    }

    fn find(&self, oid: u32, depth: u32) -> ValueType {
        if let Some(found) = builtin::by_oid(oid) {
            return found;
        }
        let Some(row) = self.rows.get(&oid) else {
            return self.by_message(oid);
        };
        if depth >= MAX_DEPTH {
            return ValueType::Other(row.name.clone());
        }
        match row.kind {
            b'd' => self.find(row.base, depth + 1),
            b'e' => ValueType::Enum,
            b'b' if row.element != 0 => {
                let element = self.rows.get(&row.element);
                let delimiter = element.map_or(row.delimiter, |element| element.delimiter);
                ValueType::Array(Box::new(self.find(row.element, depth + 1)), delimiter)
            }
            b'b' => by_extension(&row.name),
            _ => ValueType::Other(row.name.clone()),
        }
    }

    /// A Type message names a domain's base type, so a built-in name means that type's text.
    fn by_message(&self, oid: u32) -> ValueType {
        match self.named.get(&oid) {
            Some((schema, name)) if &**schema == "pg_catalog" => {
                builtin::by_name(name).unwrap_or_else(|| ValueType::Other(name.clone()))
            }
            Some((_, name)) => by_extension(name),
            None => ValueType::Other(format!("oid {oid}").into()),
        }
    }
}

/// Base types of extensions are known by name only.
fn by_extension(name: &str) -> ValueType {
    match name {
        "citext" => ValueType::Text,
        _ => ValueType::Other(name.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(oid: u32, name: &str, kind: u8) -> TypeRow {
        TypeRow {
            oid,
            schema: "public".into(),
            name: name.into(),
            kind,
            base: 0,
            base_typmod: -1,
            element: 0,
            delimiter: b',',
        }
    }

    fn domain(oid: u32, base: u32, base_typmod: i32) -> TypeRow {
        TypeRow {
            base,
            base_typmod,
            ..row(oid, "d", b'd')
        }
    }

    fn array(oid: u32, element: u32) -> TypeRow {
        TypeRow {
            element,
            ..row(oid, "_a", b'b')
        }
    }

    fn array_of(element: ValueType) -> ValueType {
        ValueType::Array(Box::new(element), b',')
    }

    #[test]
    fn built_in_types_need_no_catalog() {
        let types = Types::default();
        assert_eq!(types.value_type(16), ValueType::Bool);
        assert_eq!(types.value_type(1042), ValueType::PaddedText);
        assert_eq!(types.value_type(1007), array_of(ValueType::Int));
        let boxes = ValueType::Array(Box::new(ValueType::Other("box".into())), b';');
        assert_eq!(types.value_type(1020), boxes);
    }

    #[test]
    fn the_catalog_explains_the_rest() {
        let types = Types::new(vec![
            row(20001, "mood", b'e'),
            array(20002, 20001),
            domain(20003, 1043, 84),
            domain(20004, 20003, -1),
            array(20005, 20004),
            domain(20006, 20002, -1),
            row(20007, "citext", b'b'),
            row(20008, "hstore", b'b'),
            row(20009, "pair", b'c'),
            domain(20010, 20007, -1),
            TypeRow {
                delimiter: b';',
                ..row(20011, "area", b'b')
            },
            array(20012, 20011),
        ]);
        assert_eq!(types.value_type(20001), ValueType::Enum);
        assert_eq!(types.value_type(20002), array_of(ValueType::Enum));
        assert_eq!(types.value_type(20004), ValueType::Text);
        assert_eq!(types.value_type(20005), array_of(ValueType::Text));
        assert_eq!(types.value_type(20006), array_of(ValueType::Enum));
        assert_eq!(types.value_type(20008), ValueType::Other("hstore".into()));
        assert_eq!(types.value_type(20009), ValueType::Other("pair".into()));
        assert_eq!(types.value_type(20010), ValueType::Text);
        let areas = ValueType::Array(Box::new(ValueType::Other("area".into())), b';');
        assert_eq!(types.value_type(20012), areas);
        assert_eq!(types.underlying(20004, -1), (1043, 84));
        assert_eq!(types.underlying(1043, 24), (1043, 24));
    }

    #[test]
    fn type_messages_help_until_the_catalog_is_read() {
        let mut types = Types::default();
        types.learn(30001, "", "int4");
        types.learn(30002, "", "_text");
        types.learn(30003, "public", "citext");
        types.learn(30004, "public", "mood");
        // A type of the user's that bears a built-in name is not that type.
        types.learn(30005, "public", "int4");
        assert_eq!(types.value_type(30001), ValueType::Int);
        assert_eq!(types.value_type(30002), array_of(ValueType::Text));
        assert_eq!(types.value_type(30003), ValueType::Text);
        assert_eq!(types.value_type(30004), ValueType::Other("mood".into()));
        assert_eq!(types.value_type(30005), ValueType::Other("int4".into()));
        assert_eq!(
            types.value_type(30006),
            ValueType::Other("oid 30006".into())
        );
        types.add(vec![row(30004, "mood", b'e')]);
        assert_eq!(types.value_type(30004), ValueType::Enum);
    }

    #[test]
    fn a_loop_in_the_catalog_ends() {
        let types = Types::new(vec![
            domain(1_000_000, 1_000_001, 5),
            domain(1_000_001, 1_000_000, 6),
        ]);
        assert_eq!(types.value_type(1_000_000), ValueType::Other("d".into()));
        types.underlying(1_000_000, -1);
        let types = Types::new(vec![array(1_000_000, 1_000_000)]);
        types.value_type(1_000_000);
    }
}
