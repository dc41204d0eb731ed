#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod columns;
mod create;
mod drift;
mod normal;
mod properties;
mod renames;
mod routing;
mod tables;

use super::super::fixtures::{Case, config, key_field, table, types};
use super::*;
use crate::mapping::{ColumnMapping, FieldKind, FieldValue, NullAction, Removal};

/// Severity, and parts of place, text and remedy of the finding that a change to the case brings.
type Expected<'a> = (Severity, &'a str, &'a str, &'a str);

fn assert_finding(name: &str, case: &Case, (severity, place, what, remedy): Expected<'_>) {
    let findings = case.compile().findings;
    let found = findings.iter().any(|f| {
        f.severity == severity
            && f.place.contains(place)
            && f.what.contains(what)
            && f.remedy.contains(remedy)
    });
    assert!(
        found,
        "{name}: no {severity:?} at {place:?}: {what:?} / {remedy:?} in {findings:#?}"
    );
}

#[test]
fn the_case_itself_compiles_without_warnings() {
    let compiled = Case::default().compile();
    let loud: Vec<_> = compiled
        .findings
        .iter()
        .filter(|f| f.severity > Severity::Note)
        .collect();
    // A key made of text and number columns cannot be longer than 255, and email may be NULL.
    assert!(loud.is_empty(), "{loud:#?}");
    let mapping = compiled.mapping.unwrap();
    let customer = mapping.by_name("public.customer").unwrap();
    assert_eq!(&*customer.target.object, "Contact");
    assert_eq!(&*customer.target.key_field, "Customer_Id__c");
    assert_eq!(
        customer.columns[&Box::from("secret")],
        ColumnMapping::Ignored
    );
    let ColumnMapping::Field(company) = &customer.columns[&Box::from("company_id")] else {
        panic!("not mapped");
    };
    let slot = &customer.target.fields[usize::from(company.slot)];
    assert_eq!(&*slot.name, "AccountId");
    let reference = slot.reference.as_ref().unwrap();
    assert_eq!(
        (&*reference.relationship, &*reference.key_field),
        ("Account", "Company_Id__c")
    );
    assert!(!reference.polymorphic);
    let account = mapping.by_name("public.company").unwrap().target.id;
    assert_eq!(mapping.references(), [(customer.target.id, account)]);
    assert_eq!(mapping.target(account).unwrap().id, account);
    assert!(mapping.table("public", "company").is_some());
    assert!(mapping.table("other", "company").is_none());
}

/// A change to a case that is right.
type Edit = fn(&mut Case);

/// Each change brings its finding, and a mapping is made where none is a problem.
fn assert_findings(cases: &[(&str, Edit, Expected<'_>)]) {
    for (name, edit, expected) in cases {
        let mut case = Case::default();
        edit(&mut case);
        assert_finding(name, &case, *expected);
        let compiled = case.compile();
        let problem = compiled
            .findings
            .iter()
            .any(|f| f.severity == Severity::Problem);
        assert_eq!(compiled.mapping.is_none(), problem, "{name}");
        for finding in &compiled.findings {
            let silent = finding.severity == Severity::Note;
            assert!(
                silent || !finding.remedy.is_empty(),
                "{name}: no remedy in {finding:?}"
            );
        }
    }
}

#[test]
fn all_findings_come_at_once() {
    let mut case = Case::default();
    case.replace("columns.email", "columns.emial");
    case.replace("\"Amount\"", "\"Amuont\"");
    case.replace("\"Account\"\nkey", "\"Acount\"\nkey");
    let problems = case.compile().findings;
    let places: Vec<&str> = problems
        .iter()
        .filter(|f| f.severity == Severity::Problem)
        .map(|f| f.place.as_str())
        .collect();
    assert_eq!(
        places,
        [
            "tables.\"public.company\".object",
            "tables.\"public.customer\".columns.emial",
            "tables.\"public.deal\".columns.amount",
        ]
    );
}

#[test]
fn null_rules_are_settled_once() {
    let mut case = Case::default();
    case.column("company", "active", "bool");
    case.column("company", "phone", "text");
    case.replace(
        "constants = { Active__c = true }",
        "columns.active = \"Active__c\"\ncolumns.phone = { field = \"Phone\", null = { default = \" none \" } }",
    );
    let mapping = case.mapping();
    let company = mapping.by_name("public.company").unwrap();
    let null = |column: &str| match &company.columns[&Box::from(column)] {
        ColumnMapping::Field(rule) => rule.null.clone(),
        ColumnMapping::Ignored => panic!("ignored"),
    };
    assert_eq!(null("active"), NullAction::Write(FieldValue::Bool(false)));
    assert_eq!(
        null("phone"),
        NullAction::Write(FieldValue::Text("none".into()))
    );
    assert_eq!(null("employees"), NullAction::Clear);
    assert_eq!(null("name"), NullAction::Refuse);
    assert!(
        matches!(&company.target.removal, Removal::Archive { set, restore } if set.len() == 1 && restore.is_empty())
    );
}

#[test]
fn names_of_the_crm_do_not_differ_by_case() {
    let mut case = Case::default();
    case.replace("object = \"Contact\"", "object = \"contact\"");
    case.replace("\"Email\"", "\"EMAIL\"");
    case.replace("Customer_Id__c", "customer_id__c");
    let mapping = case.mapping();
    let target = &mapping.by_name("public.customer").unwrap().target;
    assert_eq!(
        (&*target.object, &*target.key_field),
        ("Contact", "Customer_Id__c")
    );
    assert!(target.fields.iter().any(|f| &*f.name == "Email"));
}

#[test]
fn without_a_description_fields_are_what_their_columns_are() {
    let mut case = Case::default();
    case.column("company", "shoe_size", "numeric(5,3)");
    let compiled = compile(
        &config(&case.config),
        &case.catalog,
        &Remembered::default(),
        &types,
        None,
    );
    let mapping = compiled
        .mapping
        .unwrap_or_else(|| panic!("{:#?}", compiled.findings));
    let company = mapping.by_name("public.company").unwrap();
    let kinds: BTreeMap<&str, FieldKind> = company
        .columns
        .values()
        .filter_map(|c| match c {
            ColumnMapping::Field(rule) => Some((&*rule.field.name, rule.field.kind.clone())),
            ColumnMapping::Ignored => None,
        })
        .collect();
    assert_eq!(kinds["NumberOfEmployees"], FieldKind::Decimal);
    assert_eq!(kinds["Shoe_Size__c"], FieldKind::Decimal);
    assert_eq!(kinds["Name"], FieldKind::LongText);
    assert_eq!(mapping.references().len(), 1);
}

#[test]
fn the_hash_follows_the_meaning() {
    let same = Case::default().mapping().hash();
    assert_eq!(Case::default().mapping().hash(), same);
    let mut renamed = Case::default();
    renamed.replace("\"Email\"", "\"FirstName\"");
    assert_ne!(renamed.mapping().hash(), same);
    let mut longer = Case::default();
    longer.field("Contact", "LastName").length = 90;
    assert_ne!(longer.mapping().hash(), same);
    let mut deleting = Case::default();
    deleting.replace("on_delete = \"ignore\"", "on_delete = \"delete\"");
    assert_ne!(deleting.mapping().hash(), same);
}

#[test]
fn a_table_may_refer_to_itself_and_two_tables_may_share_an_object() {
    let mut case = Case::default();
    case.column("company", "parent_id", "int8");
    case.line(
        "company",
        "columns.parent_id = { field = \"ParentId\", references = \"public.company\" }",
    );
    let account = case.crm.get_mut("Account").unwrap();
    account.fields.push(key_field("Shop_Id__c"));
    case.catalog
        .push(table("shop", &["id"], &[("id", "int8"), ("name", "text!")]));
    case.config.push_str(
        "[tables.\"public.shop\"]\nobject = \"Account\"\nkey = { column = \"id\", field = \"Shop_Id__c\" }\non_delete = \"ignore\"\ncolumns.name = \"Name\"\n",
    );
    let mapping = case.mapping();
    let company = mapping.by_name("public.company").unwrap().target.id;
    let shop = mapping.by_name("public.shop").unwrap().target.id;
    assert_ne!(company, shop);
    assert!(mapping.references().contains(&(company, company)));
}

#[test]
fn the_slots_of_fields_that_a_new_column_could_reach_are_there_from_the_start() {
    let mapping = Case::default().mapping();
    let company = mapping.by_name("public.company").unwrap();
    let names: Vec<&str> = company.target.fields.iter().map(|f| &*f.name).collect();
    assert!(names.contains(&"Vat_Number__c") && names.contains(&"Phone"));
    assert!(
        !names.contains(&"Company_Id__c") && !names.contains(&"Id") && !names.contains(&"ParentId")
    );
    let mut ignoring = Case::default();
    ignoring
        .config
        .push_str("[routing]\nunmapped = \"ignore\"\n");
    let mapping = ignoring.mapping();
    let company = mapping.by_name("public.company").unwrap();
    assert_eq!(company.target.fields.len(), 3);
}
