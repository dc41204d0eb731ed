//! What a deleted row writes, and what a row that comes back takes away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::fixtures::{Case, Cell, change, row};
use super::*;
use crate::change::{Kind, OldRow, ReplicaIdentity};
use Cell::{Is, Null};

fn case(marks: &str) -> Case {
    let mut case = Case::default();
    case.replace("constants = { Active__c = true }\n", "");
    case.replace("{ set = { Active__c = false } }", marks);
    case.table("company").identity = ReplicaIdentity::Full;
    case
}

fn deleted(case: &Case, old: OldRow) -> Mapped {
    let relation = case.relation("company");
    let binding = case.mapping().bind(&relation);
    binding.map(&change(&relation, Kind::Delete { old }))
}

/// `Field=value`, sorted; `~` for clear.
fn told(target: &Target, fields: &[Assigned]) -> Vec<String> {
    let mut told: Vec<String> = fields
        .iter()
        .map(|f| {
            let name = &target.fields[usize::from(f.slot)].name;
            match &f.assignment {
                Assignment::Clear => format!("{name}~"),
                Assignment::Set(FieldValue::Bool(b)) => format!("{name}={b}"),
                Assignment::Set(
                    FieldValue::Text(s) | FieldValue::Number(s) | FieldValue::Reference(s),
                ) => format!("{name}={s}"),
            }
        })
        .collect();
    told.sort();
    told
}

const MARKS: &str = r#"{ set = { Active__c = false, Vat_Number__c = "{old.name} {{{old.employees}}} {lsn} {position} {commit_time}", NumberOfEmployees = "{old.employees}", Phone = "{old.name}" } }"#;

#[test]
fn templates_are_filled_from_the_old_row() {
    let case = case(MARKS);
    let old = OldRow::Full(row(&[Is("7"), Is(" Acme"), Is("12")]));
    let Mapped::Operation(operation) = deleted(&case, old) else {
        panic!("no operation");
    };
    assert_eq!(operation.action, Action::Archive { create: false });
    assert_eq!(
        told(&operation.target, &operation.fields),
        [
            "Active__c=false",
            "NumberOfEmployees=12",
            "Phone=Acme",
            "Vat_Number__c=Acme {12} 0/7 0/7#3 1970-01-01T00:00:00.000005Z",
        ]
    );
}

#[test]
fn a_null_of_the_old_row_empties_and_is_no_text() {
    let case = case(MARKS);
    let old = OldRow::Full(row(&[Is("7"), Is("Acme"), Null]));
    let Mapped::Operation(operation) = deleted(&case, old) else {
        panic!("no operation");
    };
    let told = told(&operation.target, &operation.fields);
    assert_eq!(told[1], "NumberOfEmployees~");
    assert!(told[3].starts_with("Vat_Number__c=Acme {} 0/7"), "{told:?}");
}

#[test]
fn an_old_row_without_the_column_is_rejected_and_the_rest_is_whole() {
    let mut case = case(r#"{ set = { Active__c = false, Phone = "{old.name}" } }"#);
    // It was FULL when the rules were made.
    let mapping = case.mapping();
    case.table("company").identity = ReplicaIdentity::Default;
    let relation = case.relation("company");
    let binding = mapping.bind(&relation);
    assert!(
        binding
            .findings
            .iter()
            .any(|f| f.remedy.contains("REPLICA IDENTITY FULL")),
        "{:?}",
        binding.findings
    );
    let old = OldRow::Key(row(&[Is("7"), Null, Null]));
    let Mapped::Rejected(rejected) = binding.map(&change(&relation, Kind::Delete { old })) else {
        panic!("not rejected");
    };
    assert_eq!(rejected.fault.code, DELETE_INCOMPLETE);
    assert_eq!(rejected.fault.fields, ["Phone"]);
    let operation = rejected.operation.unwrap();
    assert_eq!(
        told(&operation.target, &operation.fields),
        ["Active__c=false"]
    );
}

#[test]
fn marks_that_nothing_fills_are_taken_back() {
    let case = case(
        r#"{ set = { Active__c = false, Vat_Number__c = "gone", Phone = "1" }, restore = { Phone = "2" } }"#,
    );
    let mapping = case.mapping();
    let target = &mapping.by_name("public.company").unwrap().target;
    assert_eq!(
        told(target, target.removal.restore()),
        ["Active__c=true", "Phone=2", "Vat_Number__c~"]
    );
    // Without a row only what needs none is set.
    let full = self::case(MARKS).mapping();
    let target = &full.by_name("public.company").unwrap().target;
    let (action, fields) = target
        .removal
        .without_row(Default::default(), Default::default())
        .unwrap();
    assert_eq!(action, Action::Archive { create: false });
    assert_eq!(told(target, &fields), ["Active__c=false"]);
}
