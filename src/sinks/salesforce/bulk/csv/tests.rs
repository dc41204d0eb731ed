#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::mapping::{Assigned, FieldId, ObjectId, Reference, Removal};
use crate::sinks::salesforce::write::{self, Identified};

fn plain(name: &str) -> TargetField {
    TargetField {
        id: FieldId::new(name),
        name: name.into(),
        reference: None,
        unique: false,
        broken: None,
        owner: Default::default(),
        kind: Default::default(),
        scale: 0,
    }
}

fn lookup(name: &str, relationship: &str, object: &str, polymorphic: bool) -> TargetField {
    TargetField {
        reference: Some(Reference {
            object: ObjectId::new(object, "Ext_Id__c"),
            object_name: object.into(),
            key_field: "Ext_Id__c".into(),
            relationship: relationship.into(),
            polymorphic,
        }),
        ..plain(name)
    }
}

fn target() -> Target {
    Target {
        on_crm_delete: crate::config::OnCrmDelete::default(),
        creation: crate::mapping::Creation::default(),
        id: ObjectId::new("Contact", "Ext_Id__c"),
        table: "public.customer".into(),
        object: "Contact".into(),
        key_field: "Ext_Id__c".into(),
        removal: Removal::Delete { hard: false },
        halted: None,
        version: None,
        fields: vec![
            plain("LastName"),
            plain("Score__c"),
            plain("Active__c"),
            lookup("AccountId", "Account", "Account", false),
            lookup("OwnerId", "Owner", "User", true),
            plain("Notes__c"),
        ],
    }
}

fn batch(action: BatchAction, writes: Vec<Write>) -> Batch {
    Batch {
        target: Arc::new(target()),
        action,
        writes,
    }
}

fn set(slot: u16, value: FieldValue) -> Assigned {
    Assigned {
        slot,
        assignment: Assignment::Set(value),
    }
}

fn clear(slot: u16) -> Assigned {
    Assigned {
        slot,
        assignment: Assignment::Clear,
    }
}

fn text(slot: u16, text: &str) -> Assigned {
    set(slot, FieldValue::Text(text.into()))
}

fn write_of(key: &str, fields: Vec<Assigned>) -> Write {
    Write {
        guard: None,
        key: key.into(),
        from: None,
        crm_id: None,
        fields: fields.into(),
    }
}

fn packed(batch: &Batch) -> Option<(String, Vec<usize>)> {
    let places: Vec<usize> = (0..batch.writes.len()).collect();
    let packed = encode(batch, &places, KeyKind::Exact, false)?;
    let text = String::from_utf8(packed.body.to_vec()).unwrap();
    Some((text, packed.places))
}

#[test]
fn the_columns_are_those_of_all_records() {
    let batch = batch(
        BatchAction::Upsert,
        vec![
            write_of("c-1", vec![text(0, "Lee")]),
            write_of("c-2", vec![text(0, "O\"Hara, jr."), clear(3)]),
            write_of(
                "c-3",
                vec![
                    set(2, FieldValue::Bool(true)),
                    set(3, FieldValue::Reference("a-9".into())),
                    set(4, FieldValue::Reference("u-1".into())),
                    text(5, "two\nlines"),
                ],
            ),
        ],
    );
    let (text, places) = packed(&batch).unwrap();
    assert_eq!(places, [0, 1, 2]);
    assert_eq!(
        text,
        "Ext_Id__c,LastName,Active__c,Account.Ext_Id__c,User:Owner.Ext_Id__c,Notes__c\n\
         c-1,Lee,,,,\n\
         c-2,\"O\"\"Hara, jr.\",,#N/A,,\n\
         c-3,,true,a-9,u-1,\"two\nlines\"\n"
    );
}

#[test]
fn an_update_goes_by_id_and_a_delete_has_nothing_else() {
    let mut first = write_of("c-1", vec![text(0, "Lee")]);
    first.crm_id = Some("003Ws00000C1d2eIAB".into());
    let mut re_key = write_of("new", vec![text(0, "Roe")]);
    re_key.crm_id = Some("003Ws00000C1d2fIAB".into());
    re_key.from = Some("old".into());
    let unknown = write_of("c-3", vec![text(0, "Poe")]);
    // The same record again, by its short id.
    let mut again = write_of("c-4", vec![text(0, "Moe")]);
    again.crm_id = Some("003Ws00000C1d2e".into());
    let writes = vec![first, re_key, unknown, again];
    let update = batch(BatchAction::Update, writes.clone());
    assert_eq!(
        packed(&update).unwrap(),
        ("Id,LastName\n003Ws00000C1d2eIAB,Lee\n".to_owned(), vec![0])
    );
    let delete = batch(BatchAction::Delete { hard: false }, writes);
    assert_eq!(
        packed(&delete).unwrap(),
        ("Id\n003Ws00000C1d2eIAB\n".to_owned(), vec![0])
    );
}

#[test]
fn what_a_cell_cannot_say_goes_by_requests() {
    let long = "x".repeat(MAX_VALUE + 1);
    let fits = "ö".repeat(MAX_VALUE);
    for (value, said) in [
        (FieldValue::Text("".into()), false),
        (FieldValue::Text("#N/A".into()), false),
        (FieldValue::Text("#n/a".into()), false),
        (FieldValue::Text("#N/A or so".into()), true),
        (FieldValue::Text(" x".into()), false),
        (FieldValue::Text("x\u{a0}".into()), false),
        (FieldValue::Text("a\r\nb".into()), false),
        (FieldValue::Text("a\u{1}b".into()), false),
        (FieldValue::Text("\u{feff}b".into()), false),
        (FieldValue::Text("a\nb\tc".into()), true),
        (FieldValue::Text(long.as_str().into()), false),
        (FieldValue::Text(fits.as_str().into()), true),
        (FieldValue::Number("-12.50".into()), true),
        (FieldValue::Number("1e5".into()), false),
        (FieldValue::Number("NaN".into()), false),
        (FieldValue::Number("1.".into()), false),
    ] {
        let batch = batch(
            BatchAction::Upsert,
            vec![
                write_of("a", vec![set(0, value.clone())]),
                write_of("b", vec![text(0, "Lee")]),
            ],
        );
        let (_, places) = packed(&batch).unwrap();
        let expected: &[usize] = if said { &[0, 1] } else { &[1] };
        assert_eq!(places, expected, "{value:?}");
    }
    // Keys, and a parent's, are values like others; an unknown slot is nobody's business here.
    for write in [
        write_of("#N/A", vec![text(0, "Lee")]),
        write_of(" k", vec![text(0, "Lee")]),
        write_of("", vec![text(0, "Lee")]),
        write_of("k", vec![set(3, FieldValue::Reference(" a".into()))]),
        write_of("k", vec![text(3, "001Ws00000A1b2cIAB")]),
        write_of("k", vec![clear(4)]),
        write_of("k", vec![text(0, "Lee"), text(99, "?")]),
        write_of("k", vec![text(99, "?")]),
        write_of("k", (0..4).map(|_| text(0, &fits)).collect()),
    ] {
        assert_eq!(packed(&batch(BatchAction::Upsert, vec![write])), None);
    }
}

#[test]
fn a_first_line_that_is_too_long_goes_by_requests() {
    let mut wide = target();
    wide.fields = (0..500)
        .map(|n| plain(&format!("{}{n}__c", "F".repeat(70))))
        .collect();
    let fields = (0..500).map(|slot| text(slot, "x")).collect();
    let batch = Batch {
        target: Arc::new(wide),
        action: BatchAction::Upsert,
        writes: vec![write_of("k", fields)],
    };
    assert_eq!(packed(&batch), None);
}

#[test]
fn two_rows_of_one_record_are_never_in_one_job() {
    let batch = batch(
        BatchAction::Upsert,
        vec![
            write_of("A", vec![text(0, "Lee")]),
            write_of("a", vec![text(0, "Roe")]),
        ],
    );
    let packed = encode(&batch, &[0, 1], KeyKind::CaseInsensitive, false).unwrap();
    assert_eq!(packed.places, [0]);
    let packed = encode(&batch, &[0, 1], KeyKind::Exact, false).unwrap();
    assert_eq!(packed.places, [0, 1]);
    let packed = encode(&batch, &[1], KeyKind::Exact, false).unwrap();
    assert_eq!(packed.places, [1], "only those that are asked for");
}

#[test]
fn compressed_or_not_it_is_the_same_job() {
    let writes = (0..1_000).map(|n| write_of(&format!("k{n}"), vec![text(0, "Lee")]));
    let one = batch(BatchAction::Upsert, writes.collect());
    let places: Vec<usize> = (0..1_000).collect();
    let plain = encode(&one, &places, KeyKind::Exact, false).unwrap();
    let small = encode(&one, &places, KeyKind::Exact, true).unwrap();
    assert_eq!(plain.hash, small.hash);
    assert!(small.compressed && small.body.len() * 2 < plain.body.len());
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&*small.body)
        .read_to_end(&mut unpacked)
        .unwrap();
    assert_eq!(unpacked, plain.body);
    // Another value, another order, another object's job: another one.
    let mut other = one.clone();
    other.writes.swap(1, 2);
    let swapped = encode(&other, &places, KeyKind::Exact, false).unwrap();
    assert_ne!(swapped.hash, plain.hash);
    let fewer = encode(&one, &places[..999], KeyKind::Exact, false).unwrap();
    assert_ne!(fewer.hash, plain.hash);
}

/// What Salesforce makes of a row, as JSON of a request says it; written from the documentation, and
/// with another reader of CSV.
fn meaning(text: &str) -> Vec<BTreeMap<String, Value>> {
    let mut reader = csv::ReaderBuilder::new()
        .terminator(csv::Terminator::Any(b'\n'))
        .from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    let mut rows = Vec::new();
    for row in reader.records() {
        let row = row.unwrap();
        let mut said = BTreeMap::new();
        for (column, cell) in header.iter().zip(row.iter()) {
            if cell.is_empty() {
                continue;
            }
            let value = |text: &str| match text {
                "#N/A" => Value::Null,
                text => text.into(),
            };
            match column.split_once('.') {
                None => said.insert(column.to_owned(), value(cell)),
                Some((path, key)) if cell != "#N/A" => {
                    let (kind, relationship) = match path.split_once(':') {
                        Some((kind, relationship)) => (Some(kind), relationship),
                        None => (None, path),
                    };
                    let mut parent = json!({ key: cell });
                    if let Some(kind) = kind {
                        parent["attributes"] = json!({ "type": kind });
                    }
                    said.insert(relationship.to_owned(), parent)
                }
                Some((path, _)) => said.insert(format!("{path}Id"), Value::Null),
            };
        }
        rows.push(said);
    }
    rows
}

/// The same of the body of a request: values as text, as a cell has them, and trimmed, as requests do.
fn asked(write: &Write) -> BTreeMap<String, Value> {
    let identified = Identified::ByKey;
    let once = std::iter::once((write, identified));
    let body = write::encode(&target(), |_, _| KeyKind::Exact, once).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let mut record = body["records"][0].as_object().unwrap().clone();
    record.remove("attributes");
    let as_text = |value: Value| match value {
        Value::Bool(_) | Value::Number(_) => Value::String(value.to_string()),
        Value::String(text) => Value::String(text.trim().to_owned()),
        other => other,
    };
    record.into_iter().map(|(k, v)| (k, as_text(v))).collect()
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~\n\r\t\"]{0,12}",
        "[,\"\n]{0,6}",
        Just("#N/A".to_owned()),
        Just(String::new()),
    ]
}

fn any_field(slot: u16) -> BoxedStrategy<Option<Assigned>> {
    let value = match slot {
        1 => prop_oneof![
            "-?[1-9][0-9]{0,12}".prop_map(|s| FieldValue::Number(s.into())),
            any_text().prop_map(|s| FieldValue::Text(s.into()))
        ]
        .boxed(),
        2 => any::<bool>().prop_map(FieldValue::Bool).boxed(),
        3 | 4 => any_text()
            .prop_map(|s| FieldValue::Reference(s.into()))
            .boxed(),
        _ => any_text().prop_map(|s| FieldValue::Text(s.into())).boxed(),
    };
    prop_oneof![
        Just(None),
        Just(Some(clear(slot))),
        value.prop_map(move |value| Some(set(slot, value))),
    ]
    .boxed()
}

fn any_write() -> impl Strategy<Value = Write> {
    let fields: Vec<_> = (0..6).map(any_field).collect();
    (any_text(), fields).prop_map(|(key, fields)| {
        let fields: Vec<Assigned> = fields.into_iter().flatten().collect();
        write_of(&key, fields)
    })
}

proptest! {
    /// What the job says is what the request would have said, or the record is not in the job.
    #[test]
    fn a_job_says_what_requests_say(writes in prop::collection::vec(any_write(), 1..8)) {
        let batch = batch(BatchAction::Upsert, writes);
        if let Some((text, places)) = packed(&batch) {
            let said = meaning(&text);
            prop_assert_eq!(said.len(), places.len());
            for (said, place) in said.into_iter().zip(places) {
                prop_assert_eq!(said, asked(&batch.writes[place]), "{}", text);
            }
        }
    }

    /// Ordinary records are in the job: nothing is left to requests without a reason.
    #[test]
    fn ordinary_values_are_in_the_job(
        keys in prop::collection::hash_set("[a-z0-9-]{1,12}", 1..20),
        name in "[A-Za-z][A-Za-z ,\"'\n-]{0,20}[a-z]",
    ) {
        let writes: Vec<Write> =
            keys.iter().map(|key| write_of(key, vec![text(0, &name), clear(1)])).collect();
        let batch = batch(BatchAction::Upsert, writes);
        prop_assert_eq!(packed(&batch).unwrap().1.len(), keys.len());
    }
}
