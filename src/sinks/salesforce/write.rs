//! A batch as the body of a collections request.
//!
//! Written straight into one buffer: what is the same for every record (field names, nesting) is
//! prepared once a batch. *Set* is a value, *clear* is `null`, *absent* is not mentioned. A parent
//! is nested under its relationship's name with exactly one field, its external id; a lookup is
//! cleared through its id field.
//!
//! <https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections_upsert.htm>

use super::keys::{KeyKind, is_json_number};
use crate::fault::{Class, Fault};
use crate::mapping::{Assigned, Assignment, FieldValue, Target, TargetField};
use crate::planning::Write;

/// What identifies a record in the body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Identified<'a> {
    /// Its external id, in the key field.
    ByKey,
    /// Its CRM id; the new external id too, where it changes.
    ById(&'a str),
}

/// `{"allOrNone":false,"records":[…]}`
///
/// `kind` tells the kind of an object's key field.
pub(super) fn encode<'a>(
    target: &Target,
    kind: impl Fn(&str, &str) -> KeyKind,
    writes: impl Iterator<Item = (&'a Write, Identified<'a>)>,
) -> Result<Vec<u8>, Fault> {
    let key_kind = kind(&target.object, &target.key_field);
    let fields: Vec<Prepared> = target
        .fields
        .iter()
        .map(|field| Prepared::new(field, &kind))
        .collect();
    let opening = format!("{{\"attributes\":{{\"type\":{}}}", quote(&target.object));
    let key_name = format!(",{}:", quote(&target.key_field));
    let mut out = Vec::with_capacity(4096);
    out.extend_from_slice(b"{\"allOrNone\":false,\"records\":[");
    let mut first = true;
    for (write, identified) in writes {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        out.extend_from_slice(opening.as_bytes());
        let with_key = match identified {
            Identified::ByKey => true,
            Identified::ById(id) => {
                out.extend_from_slice(b",\"id\":");
                string(&mut out, id);
                write.from.is_some()
            }
        };
        if with_key {
            out.extend_from_slice(key_name.as_bytes());
            external_id(&mut out, key_kind, &write.key);
        }
        for Assigned { slot, assignment } in write.fields.iter() {
            let Some(field) = fields.get(usize::from(*slot)) else {
                // Not written is lost: better nothing is sent.
                return Err(Fault::new(
                    Class::Configuration,
                    "unknown_field_slot",
                    format!(
                        "an operation on {} names field {slot}, which its mapping lacks",
                        target.object
                    ),
                ));
            };
            field.write(&mut out, assignment);
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

/// What stands before (and after) a field's value.
struct Prepared {
    name: String,
    /// For a lookup: what stands before the parent's external id, and the kind of that.
    nested: Option<(String, KeyKind)>,
}

impl Prepared {
    fn new(field: &TargetField, kind: impl Fn(&str, &str) -> KeyKind) -> Self {
        let nested = field.reference.as_ref().map(|reference| {
            let mut before = format!(",{}:{{", quote(&reference.relationship));
            if reference.polymorphic {
                before.push_str("\"attributes\":{\"type\":");
                before.push_str(&quote(&reference.object_name));
                before.push_str("},");
            }
            before.push_str(&quote(&reference.key_field));
            before.push(':');
            let kind = kind(&reference.object_name, &reference.key_field);
            (before, kind)
        });
        Prepared {
            name: format!(",{}:", quote(&field.name)),
            nested,
        }
    }

    fn write(&self, out: &mut Vec<u8>, assignment: &Assignment) {
        let value = match assignment {
            Assignment::Set(value) => value,
            Assignment::Clear => {
                out.extend_from_slice(self.name.as_bytes());
                out.extend_from_slice(b"null");
                return;
            }
        };
        if let (FieldValue::Reference(key), Some((before, kind))) = (value, &self.nested) {
            out.extend_from_slice(before.as_bytes());
            external_id(out, *kind, key);
            out.push(b'}');
            return;
        }
        out.extend_from_slice(self.name.as_bytes());
        match value {
            FieldValue::Bool(yes) => {
                out.extend_from_slice(if *yes { b"true" } else { b"false" });
            }
            // Digit for digit. A text that is no number spoils one record, not the request.
            FieldValue::Number(digits) if is_json_number(digits) => {
                out.extend_from_slice(digits.as_bytes());
            }
            FieldValue::Number(text) | FieldValue::Text(text) | FieldValue::Reference(text) => {
                string(out, text);
            }
        }
    }
}

fn external_id(out: &mut Vec<u8>, kind: KeyKind, key: &str) {
    if kind.is_number(key) {
        out.extend_from_slice(key.as_bytes());
    } else {
        string(out, key);
    }
}

/// Appends a JSON string.
fn string(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.push(b'"');
    // No way out of the loop: so it runs on whole vector registers.
    if bytes
        .iter()
        .fold(false, |any, byte| any | is_special(*byte))
    {
        escaped(out, bytes);
    } else {
        out.extend_from_slice(bytes);
    }
    out.push(b'"');
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
}

fn quote(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    string(&mut out, text);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::mapping::{FieldId, ObjectId, Reference};
    use proptest::prelude::*;

    fn target() -> Target {
        let plain = |name: &str| TargetField {
            id: FieldId::new(name),
            name: name.into(),
            reference: None,
            unique: false,
            broken: None,
            owner: Default::default(),
            kind: Default::default(),
            scale: 0,
        };
        let lookup = |name: &str, relationship: &str, object: &str, polymorphic| TargetField {
            reference: Some(Reference {
                object: ObjectId::new(object, "Ext_Id__c"),
                object_name: object.into(),
                key_field: "Ext_Id__c".into(),
                relationship: relationship.into(),
                polymorphic,
            }),
            ..plain(name)
        };
        Target {
            id: ObjectId::new("Contact", "Ext_Id__c"),
            table: "public.customer".into(),
            object: "Contact".into(),
            key_field: "Ext_Id__c".into(),
            removal: crate::mapping::Removal::Delete { hard: false },
            on_crm_delete: crate::config::OnCrmDelete::default(),
            creation: crate::mapping::Creation::default(),
            halted: None,
            version: None,
            fields: vec![
                plain("LastName"),
                plain("Score__c"),
                plain("Active__c"),
                lookup("AccountId", "Account", "Account", false),
                lookup("OwnerId", "Owner", "User", true),
            ],
        }
    }

    fn set(slot: u16, value: FieldValue) -> Assigned {
        Assigned {
            slot,
            assignment: Assignment::Set(value),
        }
    }

    fn body(write: &Write, identified: Identified<'_>, kind: KeyKind) -> String {
        let bytes = encode(
            &target(),
            |object, _| {
                if object == "Contact" {
                    kind
                } else {
                    KeyKind::Exact
                }
            },
            std::iter::once((write, identified)),
        )
        .unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let record = text
            .strip_prefix(r#"{"allOrNone":false,"records":["#)
            .unwrap();
        record.strip_suffix("]}").unwrap().to_owned()
    }

    #[test]
    fn set_clear_and_absent_are_three_things() {
        let write = Write {
            guard: None,
            key: "c-1".into(),
            from: None,
            crm_id: None,
            fields: vec![
                set(0, FieldValue::Text("O\"Hara\n".into())),
                set(1, FieldValue::Number("12345678901234567.890".into())),
                Assigned {
                    slot: 3,
                    assignment: Assignment::Clear,
                },
            ]
            .into(),
        };
        assert_eq!(
            body(&write, Identified::ByKey, KeyKind::Exact),
            r#"{"attributes":{"type":"Contact"},"Ext_Id__c":"c-1","LastName":"O\"Hara\n","Score__c":12345678901234567.890,"AccountId":null}"#
        );
    }

    #[test]
    fn a_parent_is_nested_with_one_field() {
        let write = Write {
            guard: None,
            key: "7".into(),
            from: None,
            crm_id: None,
            fields: vec![
                set(2, FieldValue::Bool(true)),
                set(3, FieldValue::Reference("a-9".into())),
                set(4, FieldValue::Reference("u-1".into())),
            ]
            .into(),
        };
        assert_eq!(
            body(&write, Identified::ByKey, KeyKind::Number),
            r#"{"attributes":{"type":"Contact"},"Ext_Id__c":7,"Active__c":true,"Account":{"Ext_Id__c":"a-9"},"Owner":{"attributes":{"type":"User"},"Ext_Id__c":"u-1"}}"#
        );
    }

    #[test]
    fn an_update_names_the_id_and_a_re_key_the_new_key() {
        let mut write = Write {
            guard: None,
            key: "new".into(),
            from: None,
            crm_id: None,
            fields: vec![set(1, FieldValue::Number("NaN".into()))].into(),
        };
        let id = Identified::ById("003Ws00000C1d2eIAB");
        assert_eq!(
            body(&write, id, KeyKind::Exact),
            r#"{"attributes":{"type":"Contact"},"id":"003Ws00000C1d2eIAB","Score__c":"NaN"}"#
        );
        write.from = Some("old".into());
        assert_eq!(
            body(&write, id, KeyKind::Exact),
            r#"{"attributes":{"type":"Contact"},"id":"003Ws00000C1d2eIAB","Ext_Id__c":"new","Score__c":"NaN"}"#
        );
    }

    /// 200 records with the longest texts there are, in letters that grow most in JSON.
    #[test]
    fn long_texts_are_cut_into_requests_by_their_bytes() {
        use crate::change::{Lsn, Position, Timestamp};
        use crate::mapping::{Action, Operation};
        use crate::planning::{Course, Entry, Room, cut};
        let target = std::sync::Arc::new(target());
        for letter in ["a", "\u{1}", "\"", "\u{20ac}", "\u{1f600}"] {
            let text = letter.repeat(131_072);
            let entry = |i: u64| {
                let fields =
                    std::sync::Arc::new(vec![set(0, FieldValue::Text(text.as_str().into()))]);
                let operation = Operation {
                    target: target.clone(),
                    key: i.to_string().into(),
                    action: Action::Upsert,
                    fields: fields.clone(),
                    position: Position {
                        commit: Lsn(i),
                        ordinal: 0,
                    },
                    commit_time: Timestamp(0),
                    xid: 1,
                    changed: Vec::new(),
                };
                Entry {
                    operation,
                    ledger: None,
                    pending: None,
                    absorbed: Vec::new(),
                    markers: Vec::new(),
                    marker: None,
                    change: true,
                    row: false,
                    course: Course::Send(fields),
                    completes: Vec::new(),
                    aside: Default::default(),
                }
            };
            let entries: Vec<Entry> = (0..200).map(entry).collect();
            let stage: Vec<usize> = (0..200).collect();
            let most = 4 << 20;
            let room = Room {
                records: 200,
                guarded: 25,
                bytes: most,
                locks: &|_| true,
            };
            let cuts = cut(&entries, &stage, &room);
            let one = text.len()
                * match letter {
                    "\u{1}" => 6,
                    "\"" => 2,
                    _ => 1,
                };
            let fit = most / (one + 300);
            assert_eq!(cuts.len(), 200_usize.div_ceil(fit), "{letter:?}");
            let mut seen = 0;
            for cut in &cuts {
                let writes = cut.batch.writes.iter().map(|w| (w, Identified::ByKey));
                let bytes = encode(&target, |_, _| KeyKind::Exact, writes).unwrap();
                assert!(bytes.len() <= most, "{letter:?}: {}", bytes.len());
                seen += cut.places.len();
            }
            assert_eq!(seen, 200);
        }
    }

    #[test]
    fn a_field_without_a_name_is_never_left_out_silently() {
        let write = Write {
            guard: None,
            key: "k".into(),
            from: None,
            crm_id: None,
            fields: vec![set(99, FieldValue::Bool(true))].into(),
        };
        let writes = std::iter::once((&write, Identified::ByKey));
        let fault = encode(&target(), |_, _| KeyKind::Exact, writes).unwrap_err();
        assert_eq!(fault.class, Class::Configuration);
    }

    proptest! {
        /// What planning takes a record for is never less than what it becomes.
        #[test]
        fn no_record_is_larger_than_it_was_taken_for(
            records in prop::collection::vec(
                (
                    "[\\PC\\x00-\\x1f\"\\\\]{0,40}",
                    prop::option::of("[A-Za-z0-9]{18}"),
                    any::<bool>(),
                    prop::collection::vec((0_u16..5, any::<Option<String>>(), 0_u8..4), 0..6),
                ),
                1..5,
            ),
            number: bool,
        ) {
            let target = target();
            let kind = if number { KeyKind::Number } else { KeyKind::Exact };
            let writes: Vec<Write> = records
                .iter()
                .map(|(key, id, re_key, fields)| {
                    let assigned = fields.iter().map(|(slot, text, form)| Assigned {
                        slot: *slot,
                        assignment: match (text, form) {
                            (None, _) => Assignment::Clear,
                            (_, 0) => Assignment::Set(FieldValue::Bool(false)),
                            (Some(s), 1) => Assignment::Set(FieldValue::Number(s.as_str().into())),
                            (Some(s), 2) => Assignment::Set(FieldValue::Text(s.as_str().into())),
                            (Some(s), _) => Assignment::Set(FieldValue::Reference(s.as_str().into())),
                        },
                    });
                    Write {
                        key: key.as_str().into(),
                        from: re_key.then(|| "old".into()),
                        crm_id: id.as_deref().map(Into::into),
                        guard: None,
                        fields: assigned.collect::<Vec<_>>().into(),
                    }
                })
                .collect();
            let ids: Vec<_> = writes
                .iter()
                .map(|w| w.crm_id.as_deref().map_or(Identified::ByKey, Identified::ById))
                .collect();
            let bytes = encode(&target, |_, _| kind, writes.iter().zip(ids)).unwrap();
            let taken: usize = writes.iter().map(|w| w.size(&target)).sum();
            prop_assert!(bytes.len() <= 64 + taken, "{} > {taken}", bytes.len());
        }

        #[test]
        fn every_text_reads_back_as_itself(texts in prop::collection::vec(any::<String>(), 0..4)) {
            let writes: Vec<Write> = texts
                .iter()
                .map(|text| Write {
                    guard: None,
                    key: text.as_str().into(),
                    from: None,
                    crm_id: None,
                    fields: vec![set(0, FieldValue::Text(text.as_str().into()))].into(),
                })
                .collect();
            let iter = writes.iter().map(|w| (w, Identified::ByKey));
            let bytes = encode(&target(), |_, _| KeyKind::Exact, iter).unwrap();
            let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            let records = json.get("records").unwrap().as_array().unwrap();
            prop_assert_eq!(records.len(), texts.len());
            for (record, text) in records.iter().zip(&texts) {
                prop_assert_eq!(record.get("Ext_Id__c").unwrap().as_str(), Some(text.as_str()));
                prop_assert_eq!(record.get("LastName").unwrap().as_str(), Some(text.as_str()));
            }
        }
    }
}
