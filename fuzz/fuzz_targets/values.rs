//! Any bytes as the text of any type.
//!
//! Input: one byte that chooses the type, then the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use syncline::decode::{Types, value};
use syncline::value::{Element, Value, ValueType};

/// The oid that each choice stands for; 0 is an enum.
const OIDS: [u32; 24] = [
    16, 20, 5069, 701, 1700, 25, 1042, 17, 1082, 1083, 1266, 1114, 1184, 1186, 2950, 3802, 869,
    790, 600, 1009, 1007, 1020, 1187, 0,
];

fuzz_target!(|input: &[u8]| {
    let Some((choice, text)) = input.split_first() else {
        return;
    };
    let value_type = match OIDS[usize::from(*choice) % OIDS.len()] {
        0 => ValueType::Enum,
        oid => Types::default().value_type(oid),
    };
    match value(&value_type, text) {
        Ok(Value::Array(elements)) => {
            let ValueType::Array(element, _) = &value_type else {
                panic!("an array of type {value_type:?}");
            };
            read(element, &elements, 1);
        }
        Ok(Value::Int(int)) => {
            let same: i64 = std::str::from_utf8(text).unwrap().parse().unwrap();
            assert_eq!(int, same);
        }
        Ok(
            Value::Numeric(exact) | Value::Inet(exact) | Value::Json(exact) | Value::Other(exact),
        ) => {
            assert_eq!(exact.as_bytes(), text);
        }
        Ok(_) => {}
        Err(error) => assert!(!error.reason.is_empty()),
    }
});

fn read(element_type: &ValueType, elements: &[Element], depth: u32) {
    assert!(depth <= 6);
    for element in elements {
        match element {
            Element::Null => {}
            Element::Nested(elements) => read(element_type, elements, depth + 1),
            Element::Text(text) => {
                let _ = value(element_type, text.as_bytes());
            }
        }
    }
}
