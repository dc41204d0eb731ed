//! `[[routing.rules]]`: the first that matches.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

/// The field that `column` goes to.
fn field_of(case: &Case, table: &str, column: &str) -> Option<String> {
    let mapping = case.mapping();
    let table = mapping.by_name(table).unwrap();
    match table.columns.get(column)? {
        ColumnMapping::Field(rule) => Some(rule.field.name.to_string()),
        ColumnMapping::Ignored => None,
    }
}

fn ruled(rules: &str) -> Case {
    let mut case = Case::default();
    case.column("company", "phone", "text");
    case.column("company", "founded_at", "timestamptz");
    case.config.push_str(rules);
    let account = case.crm.get_mut("Account").unwrap();
    for (name, kind) in [
        ("App_Phone__c", FieldKind::Text),
        ("Founded_At__c", FieldKind::DateTime),
        ("company_phone__c", FieldKind::Text),
        ("Day__c", FieldKind::Date),
    ] {
        account
            .fields
            .push(super::super::super::fixtures::field(name, kind));
    }
    case
}

#[test]
fn the_first_rule_that_matches_holds() {
    for (rules, phone, founded) in [
        ("", Some("Phone"), Some("Founded_At__c")),
        (
            "[[routing.rules]]\ncolumn = \"ph*\"\nfield = \"App_{Column}__c\"\n",
            Some("App_Phone__c"),
            Some("Founded_At__c"),
        ),
        (
            "[[routing.rules]]\ntable = \"c*y\"\nschema = \"public\"\ntype = \"text\"\nfield = \"{table}_{column}__c\"\n",
            Some("company_phone__c"),
            Some("Founded_At__c"),
        ),
        (
            "[[routing.rules]]\nschema = \"audit\"\nignore = true\n",
            Some("Phone"),
            Some("Founded_At__c"),
        ),
        (
            "[[routing.rules]]\ncolumn = \"*_at\"\ntype = \"timestamp*\"\nignore = true\n[[routing.rules]]\nfield = \"App_{Column}__c\"\n",
            Some("App_Phone__c"),
            None,
        ),
        (
            "[routing]\nunmapped = \"ignore\"\n[[routing.rules]]\ncolumn = \"phone\"\nbackfill = true\n",
            Some("Phone"),
            None,
        ),
    ] {
        let case = ruled(rules);
        let got = |column| field_of(&case, "public.company", column);
        assert_eq!(got("phone").as_deref(), phone, "{rules}");
        assert_eq!(got("founded_at").as_deref(), founded, "{rules}");
        assert_eq!(got("name").as_deref(), Some("Name"), "explicit ones first");
    }
}

#[test]
fn rules_ignore_halt_and_create() {
    let ignoring = ruled("[[routing.rules]]\ncolumn = \"phone\"\nignore = true\n");
    assert_finding(
        "ignore",
        &ignoring,
        (
            Severity::Note,
            "columns.phone",
            "routing.rules[1] leaves it out: counted",
            "map it",
        ),
    );
    let mapping = ignoring.mapping();
    let company = mapping.by_name("public.company").unwrap();
    assert_eq!(&*company.unmapped[0].column, "phone");

    let halting = ruled("[[routing.rules]]\ncolumn = \"phone\"\nhalt = true\n");
    assert_finding(
        "halt",
        &halting,
        (
            Severity::Problem,
            "columns.phone",
            "routing.rules[1] says halt",
            "map it",
        ),
    );
    assert!(halting.compile().mapping.is_none());

    let mut creating = ruled(
        "[[routing.rules]]\ncolumn = \"*_score\"\nmissing_field = \"create\"\nbackfill = true\n",
    );
    creating.column("company", "credit_score", "int4");
    creating.column("company", "colour", "text");
    let missing = creating.compile().missing;
    assert_eq!(missing.len(), 1);
    assert_eq!(&*missing[0].spec.name, "Credit_Score__c");
    assert!(missing[0].backfill);

    let mut refusing = ruled(
        "[routing]\nmissing_field = \"create\"\n[[routing.rules]]\ncolumn = \"c*\"\nmissing_field = \"halt\"\n",
    );
    refusing.column("company", "colour", "text");
    assert_finding(
        "halt on a missing field",
        &refusing,
        (
            Severity::Problem,
            "columns.colour",
            "and missing_field = \"halt\"",
            "ignore",
        ),
    );
}

#[test]
fn a_field_that_a_rule_names_and_that_does_not_fit_is_told() {
    let mut case = ruled("[[routing.rules]]\ncolumn = \"photo\"\nfield = \"Day__c\"\n");
    case.column("company", "photo", "bytea");
    assert_eq!(field_of(&case, "public.company", "photo"), None);
    assert_finding(
        "unfit",
        &case,
        (
            Severity::Note,
            "columns.photo",
            "no free field Day__c that we may write and that takes its type",
            "map it",
        ),
    );
}

/// Until the catalog has been read, a new column that a rule may be for goes nowhere.
#[test]
fn a_new_column_is_not_bound_past_the_rules() {
    let case = ruled("[[routing.rules]]\ncolumn = \"vat*\"\ntype = \"text\"\nignore = true\n");
    let mapping = case.mapping();
    let mut later = case;
    later.column("company", "vat_number", "text");
    let binding = mapping.bind(&later.relation("company"));
    assert_eq!(&*binding.unmapped[0].column, "vat_number");
    assert!(binding.unmapped[0].why.contains("routing.rules[1]"));
    assert!(binding.halted().is_none());
}
