#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::change::{Lsn, Position, Timestamp};
use crate::fault::Severity;
use crate::mapping::fixtures::{Case, key_field};
use crate::mapping::{Action, Assignment, FieldValue, Mapping, Operation};

const NOTE: &str = r#"
[outbox."crm.note"]
object = "Opportunity"
key = { field = "Note_Id__c" }
members.title = "Name"
members."/money/amount" = "Amount"
members.skipped = { ignore = true }
"#;
const KEYED: &str = r#"
[outbox."crm.note"]
object = "Contact"
key = { member = "id", field = "Note_Id__c" }
members.name = "LastName"
members.email = "Email"
members.company = { field = "Account", references = "public.company" }
"#;

fn case(section: &str) -> Case {
    let mut case = Case::default();
    for object in ["Opportunity", "Contact"] {
        let object = case.crm.get_mut(object).unwrap();
        object.fields.push(key_field("Note_Id__c"));
    }
    case.config.push_str(section);
    case
}

fn change(content: &[u8], transactional: bool) -> Change {
    Change {
        position: Position {
            commit: Lsn(0x16_B374_D848),
            ordinal: 3,
        },
        commit_time: Timestamp(1_795_266_000_123_456),
        xid: 700,
        relation: None,
        kind: Kind::Message {
            prefix: "crm.note".into(),
            content: Bytes::copy_from_slice(content),
            transactional,
        },
    }
}

fn map(mapping: &Mapping, content: &str) -> Mapped {
    let outbox = mapping.of_prefix("crm.note").unwrap();
    outbox.map(&change(content.as_bytes(), true))
}

fn operation(mapping: &Mapping, content: &str) -> Operation {
    match map(mapping, content) {
        Mapped::Operation(operation) => operation,
        other => panic!("{content}: {other:?}"),
    }
}

fn rejected(mapping: &Mapping, content: &str) -> Rejected {
    match map(mapping, content) {
        Mapped::Rejected(rejected) => rejected,
        other => panic!("{content}: {other:?}"),
    }
}

/// What an operation says, by the names of fields.
fn said(operation: &Operation) -> Vec<(&str, Option<&FieldValue>)> {
    let fields = operation.fields.iter().map(|f| {
        let name = &*operation.target.fields[usize::from(f.slot)].name;
        let value = match &f.assignment {
            Assignment::Set(value) => Some(value),
            Assignment::Clear => None,
        };
        (name, value)
    });
    fields.collect()
}

#[test]
fn a_message_is_a_record_named_by_its_place() {
    let mapping = case(NOTE).mapping();
    let operation = operation(
        &mapping,
        r#" {"title": "  A \"b\"\u00e9 ", "money": {"amount": 1.25e1, "currency": "EUR"}, "skipped": []} "#,
    );
    assert_eq!(operation.key, "00000016B374D848-3-1795266000123456");
    assert_eq!(operation.action, Action::Upsert);
    assert_eq!(&*operation.target.table, "outbox.\"crm.note\"");
    assert_eq!(
        said(&operation),
        [
            ("Amount", Some(&FieldValue::Number("12.5".into()))),
            ("Name", Some(&FieldValue::Text("A \"b\"é".into()))),
        ]
    );
    let outbox = mapping.of_prefix("crm.note").unwrap();
    assert!(outbox.unknown_members().is_empty());
    assert!(mapping.of_prefix("crm.other").is_none());
    assert_eq!(mapping.tables().count(), 3);
}

#[test]
fn missing_is_absent_and_null_follows_its_rule() {
    let mapping = case(KEYED).mapping();
    let none = operation(&mapping, r#"{"id": 7, "name": "x"}"#);
    assert_eq!(none.key, "7");
    assert_eq!(said(&none).len(), 1);
    let null = operation(&mapping, r#"{"id": "7", "name": "x", "email": null}"#);
    assert!(said(&null).contains(&("Email", None)));
    let bad = rejected(&mapping, r#"{"id": 7, "name": null}"#);
    assert_eq!(bad.fault.code, "null_in_required_field");
    for nameless in [r#"{"name": "x"}"#, r#"{"id": null}"#] {
        let bad = rejected(&mapping, nameless);
        assert_eq!(bad.fault.code, "key_null");
        assert!(bad.operation.is_none() && bad.fault.message.contains(nameless));
    }
    for other in ["true", "1.5", "[1]", "{}"] {
        let bad = rejected(&mapping, &format!("{{\"id\": {other}}}"));
        assert_eq!(bad.fault.code, "outbox_bad_key", "{other}");
    }
}

#[test]
fn a_reference_is_written_as_the_key_of_its_row() {
    let mapping = case(KEYED).mapping();
    for company in ["12", "\"12\"", "\"0012\""] {
        let content = format!("{{\"id\": 1, \"name\": \"x\", \"company\": {company}}}");
        let operation = operation(&mapping, &content);
        let account = mapping.by_name("public.company").unwrap().target.id;
        let references: Vec<_> = operation.references().collect();
        assert_eq!(references.len(), 1);
        assert_eq!((references[0].1, &**references[0].2), (account, "12"));
    }
    let bad = rejected(&mapping, r#"{"id": 1, "name": "x", "company": "ACME"}"#);
    assert_eq!(bad.fault.code, "bad_reference");
    let target = mapping.of_prefix("crm.note").unwrap().table().target.id;
    let account = mapping.by_name("public.company").unwrap().target.id;
    assert!(mapping.references().contains(&(target, account)));
    assert_eq!(mapping.target(target).unwrap().id, target);
}

#[test]
fn what_cannot_be_read_keeps_its_content() {
    let mapping = case(NOTE).mapping();
    for (content, code) in [
        ("", "outbox_not_json"),
        ("7", "outbox_not_json"),
        ("{\"title\": \"x\"", "outbox_not_json"),
        (r#"{"title": "\ud800"}"#, "outbox_not_json"),
        (
            r#"{"title": "x", "money": {"amount": "many"}}"#,
            "not_a_number",
        ),
        (
            r#"{"title": null, "money": {"amount": 1e300}}"#,
            "out_of_range",
        ),
    ] {
        let bad = rejected(&mapping, content);
        assert_eq!(bad.fault.code, code, "{content}");
        let (what, kept) = bad.fault.message.split_once("its content: ").unwrap();
        assert_eq!(kept, content);
        assert!(!what.contains("many"));
        assert!(!bad.fault.to_string().contains("many"));
    }
    let outbox = mapping.of_prefix("crm.note").unwrap();
    let Mapped::Rejected(binary) = outbox.map(&change(b"\xFF\x00{", true)) else {
        panic!("it is no JSON");
    };
    assert!(binary.fault.message.ends_with(r"its content: \xff\x00{"));
    let long = format!("{{\"title\": \"{}\"}}", "x".repeat(LONGEST));
    let bad = rejected(&mapping, &long);
    assert_eq!(bad.fault.code, "outbox_too_large");
    assert!(bad.fault.message.len() < KEPT + 200);
    assert!(
        bad.fault
            .message
            .contains("the first 65536 bytes of its content: {\"title\"")
    );
}

#[test]
fn a_message_outside_of_a_transaction_is_whole_and_not_sent() {
    let mapping = case(NOTE).mapping();
    let outbox = mapping.of_prefix("crm.note").unwrap();
    let content = br#"{"title": "x"}"#;
    let Mapped::Rejected(loose) = outbox.map(&change(content, false)) else {
        panic!("it is not transactional");
    };
    assert_eq!(loose.fault.code, "outbox_not_transactional");
    let operation = loose.operation.unwrap();
    // Its time is not its own.
    assert_eq!(operation.key, "00000016B374D848-3-0");
    assert_eq!(said(&operation).len(), 1);
}

#[test]
fn unknown_members_are_counted_or_refused() {
    let content = r#"{"title": "x", "colour": 1, "shape": 2}"#;
    let mapping = case(NOTE).mapping();
    operation(&mapping, content);
    operation(&mapping, r#"{"title": "x", "shape": 2}"#);
    let outbox = mapping.of_prefix("crm.note").unwrap();
    let seen = outbox.unknown_members();
    assert_eq!(
        seen,
        [("colour".to_owned(), 1), ("shape".to_owned(), 2)].into()
    );
    for n in 0..200 {
        operation(&mapping, &format!("{{\"title\": \"x\", \"m{n}\": 0}}"));
    }
    let seen = outbox.unknown_members();
    assert_eq!((seen.len(), seen[OTHERS]), (NAMES + 1, 102));

    let mut strict = case(NOTE);
    strict.replace("members.title", "unknown = \"reject\"\nmembers.title");
    let bad = rejected(&strict.mapping(), content);
    assert_eq!(bad.fault.code, "outbox_unknown_member");
    assert!(bad.fault.message.contains("colour, shape"));
    assert!(bad.operation.is_some());
    operation(&strict.mapping(), r#"{"title": "x"}"#);
}

#[test]
fn the_rules_of_a_section_are_checked_like_those_of_a_table() {
    let mut plain = case(NOTE);
    let loud = |case: &Case| {
        let findings = case.compile().findings.into_iter();
        let loud = findings.filter(|f| f.severity > Severity::Note);
        let told: Vec<String> = loud.map(|f| format!("{}: {}", f.place, f.what)).collect();
        told
    };
    assert!(loud(&plain).is_empty(), "{:?}", loud(&plain));
    let case_blind = plain.crm.get_mut("Opportunity").unwrap();
    for field in &mut case_blind.fields {
        if &*field.name == "Note_Id__c" {
            field.case_sensitive = false;
        }
    }
    // A place in the stream has no case.
    assert!(loud(&plain).is_empty(), "{:?}", loud(&plain));
    for (from, to, place, what) in [
        (
            "\"Opportunity\"\nkey = { field = \"Note",
            "\"Oportunity\"\nkey = { field = \"Note",
            "outbox.\"crm.note\".object",
            "no object Oportunity",
        ),
        (
            "{ field = \"Note_Id__c\" }",
            "{ field = \"Note_Idd__c\" }",
            "outbox.\"crm.note\".key.field",
            "did you mean",
        ),
        (
            "{ field = \"Note_Id__c\" }",
            "{ field = \"Deal_Id__c\" }",
            "outbox.\"crm.note\".key.field",
            "both write",
        ),
        (
            "members.title = \"Name\"",
            "members.title = \"Nmae\"",
            "outbox.\"crm.note\".members.title",
            "no field Nmae",
        ),
        (
            "members.title = \"Name\"",
            "",
            "outbox.\"crm.note\".columns",
            "without Name",
        ),
        (
            "members.title = \"Name\"",
            "members.title = \"Name\"\nmembers.b = { field = \"Name\", references = \"public.compny\" }",
            "outbox.\"crm.note\".members.b",
            "not configured",
        ),
        (
            "members.title = \"Name\"",
            "members.title = \"Name\"\nconstants = { Amount = \"x\" }",
            "outbox.\"crm.note\".constants.Amount",
            "number",
        ),
    ] {
        let mut wrong = case(NOTE);
        wrong.replace(from, to);
        let told = loud(&wrong);
        assert!(
            told.iter()
                .any(|t| t.starts_with(place) && t.contains(what)),
            "{to}: {told:?}"
        );
        assert!(wrong.compile().mapping.is_none());
    }
}

#[test]
fn what_a_section_says_changes_the_hash() {
    let without = Case::default().mapping().hash();
    let with = case(NOTE).mapping().hash();
    let mut once = case(NOTE);
    once.replace("members.title", "on_repeat = \"ignore\"\nmembers.title");
    assert_ne!(with, without);
    assert_ne!(with, once.mapping().hash());
    let outbox = once.mapping();
    let outbox = Arc::clone(outbox.of_prefix("crm.note").unwrap());
    assert!(outbox.table().target.creation.once);
}
