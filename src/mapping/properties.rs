//! What holds for every row, whatever its bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::LazyLock;

use proptest::prelude::*;

use super::fixtures::{Case, Cell, change, row};
use super::*;
use crate::change::{Datum, Kind, OldRow, Span, Tuple};
use crate::value::ValueType;

/// A table with a column of every type and fields of every kind.
static WIDE: LazyLock<(Binding, usize)> = LazyLock::new(|| {
    let mut case = Case::default();
    let kinds = [
        ("text", FieldKind::Text),
        ("bool", FieldKind::Boolean),
        ("bytea", FieldKind::LongText),
        ("int8", FieldKind::Decimal),
        ("int4", FieldKind::Int),
        ("json", FieldKind::LongText),
        ("float8", FieldKind::Decimal),
        ("money", FieldKind::Text),
        ("text[]", FieldKind::MultiPicklist),
        ("date", FieldKind::Date),
        ("time", FieldKind::Time),
        ("timestamp", FieldKind::DateTime),
        ("timestamptz", FieldKind::Date),
        ("numeric", FieldKind::Decimal),
        ("uuid", FieldKind::Text),
        ("mood", FieldKind::Picklist),
        ("text", FieldKind::DateTime),
        ("text", FieldKind::Decimal),
        ("text[]", FieldKind::LongText),
        ("text", FieldKind::Email),
    ];
    for (index, (column, kind)) in kinds.into_iter().enumerate() {
        case.column("customer", &format!("c{index}"), column);
        let field = super::fixtures::field(&format!("C{index}__c"), kind);
        case.crm.get_mut("Contact").unwrap().fields.push(field);
    }
    let relation = case.relation("customer");
    let columns = relation.columns.len();
    (case.mapping().bind(&relation), columns)
});

fn cell() -> impl Strategy<Value = Option<Option<String>>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(None)),
        2 => "[-+0-9.:T \"{},\\\\x]{0,20}".prop_map(|s| Some(Some(s))),
        2 => "\\PC{0,20}".prop_map(|s| Some(Some(s))),
        1 => prop_oneof![
            Just("t"), Just("NaN"), Just("infinity"), Just("2024-01-01"), Just("24:00:00"),
            Just("2024-01-01 00:00:00+00"), Just("{a,b}"), Just("\\x00ff"), Just("1.5"),
            Just("0a1b2c3d-0000-ffff-1234-0123456789ab"), Just("99999999999999999999"),
        ].prop_map(|s| Some(Some(s.to_owned()))),
    ]
}

fn cells(texts: &[Option<Option<String>>]) -> Vec<Cell<'_>> {
    texts
        .iter()
        .map(|t| match t {
            None => Cell::Same,
            Some(None) => Cell::Null,
            Some(Some(s)) => Cell::Is(s),
        })
        .collect()
}

fn span() -> impl Strategy<Value = Span> {
    prop_oneof![
        Just(Span::Null),
        Just(Span::Unchanged),
        (any::<u32>(), any::<u32>()).prop_map(|(offset, len)| Span::Text { offset, len }),
        (0_u32..64, 0_u32..64).prop_map(|(offset, len)| Span::Text { offset, len }),
    ]
}

fn tuple() -> impl Strategy<Value = Tuple> {
    (
        proptest::collection::vec(any::<u8>(), 0..96),
        proptest::collection::vec(span(), 0..40),
    )
        .prop_map(|(frame, spans)| Tuple {
            frame: frame.into(),
            spans: spans.into(),
        })
}

/// The operation of a mapped change, complete or not.
fn operation(mapped: &Mapped) -> Option<&Operation> {
    match mapped {
        Mapped::Operation(operation) => Some(operation),
        Mapped::Rejected(rejected) => rejected.operation.as_ref(),
        _ => None,
    }
}

/// The way back from an external id to its parts.
fn parts(key: &str, separator: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut rest = key;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix(separator) {
            parts.push(String::new());
            rest = after;
            continue;
        }
        let (taken, len) = match c {
            '\\' => {
                let next = rest[1..].chars().next().unwrap();
                (next, 1 + next.len_utf8())
            }
            c => (c, c.len_utf8()),
        };
        parts.last_mut().unwrap().push(taken);
        rest = &rest[len..];
    }
    parts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// No spans, no bytes and no count of columns make it panic.
    #[test]
    fn nothing_panics(new in tuple(), old in tuple(), which in 0..5) {
        let (binding, _) = &*WIDE;
        let kind = match which {
            0 => Kind::Insert { new },
            1 => Kind::Update { old: OldRow::None, new },
            2 => Kind::Update { old: OldRow::Key(old), new },
            3 => Kind::Update { old: OldRow::Full(old), new },
            _ => Kind::Delete { old: OldRow::Full(old) },
        };
        let _ = binding.map(&change(&binding.relation, kind));
    }

    /// Slots rise, a field is absent only where its column was unchanged or is at fault, and a fault
    /// names exactly the fields that are missing for it.
    #[test]
    fn fields_are_sorted_and_complete(texts in proptest::collection::vec(cell(), 25), key in 0_i64..1000) {
        let (binding, columns) = &*WIDE;
        prop_assert_eq!(*columns, texts.len());
        let mut texts = texts;
        texts[0] = Some(Some(key.to_string()));
        let mapped = binding.map(&change(&binding.relation, Kind::Insert { new: row(&cells(&texts)) }));
        let found = operation(&mapped).unwrap();
        prop_assert!(found.fields.windows(2).all(|w| w[0].slot < w[1].slot));
        let faulty: Vec<&str> = match &mapped {
            Mapped::Rejected(rejected) => {
                prop_assert!(!rejected.fault.fields.is_empty());
                rejected.fault.fields.iter().map(String::as_str).collect()
            }
            _ => Vec::new(),
        };
        let table = binding.table().unwrap();
        for (index, column) in binding.relation.columns.iter().enumerate() {
            let Some(ColumnMapping::Field(rule)) = table.columns.get(&column.name) else { continue };
            let set = found.fields.iter().any(|f| f.slot == rule.slot);
            let unchanged = texts[index].is_none();
            let bad = faulty.contains(&&*rule.field.name);
            prop_assert_eq!(set, !unchanged && !bad, "{}", column.name);
        }
        // Faults quote nothing of the row.
        if let Mapped::Rejected(rejected) = &mapped {
            for text in texts.iter().flatten().flatten().filter(|t| t.len() > 7) {
                prop_assert!(!rejected.fault.message.contains(text.as_str()));
            }
        }
    }

    /// The key of several columns can be taken apart again, so two rows never share one.
    #[test]
    fn keys_of_several_columns_are_injective(
        values in proptest::collection::vec("[a:;|\\\\ b]{0,6}", 2..4),
        separator in prop_oneof![Just(":"), Just("::"), Just(":;"), Just("|"), Just("ab")],
    ) {
        let rule = KeyRule {
            columns: (0..values.len()).map(|i| i.to_string().into()).collect(),
            separator: separator.into(),
            field: "K".into(),
            length: 0,
        };
        let datums = values.iter().map(|v| (Datum::Text(v.as_bytes()), &ValueType::Text));
        let key = match rule.build(datums) {
            Ok(key) => key,
            Err(bad) => bad.name.unwrap(),
        };
        prop_assert_eq!(parts(&key, separator), values);
    }
}
