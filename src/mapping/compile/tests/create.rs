//! `missing_field = "create"`: what is made, and what is not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::mapping::{FieldDescription, NewField};

fn creating() -> Case {
    let mut case = Case::default();
    case.config
        .push_str("[routing]\nmissing_field = \"create\"\n");
    case
}

const fn text(length: u32) -> Option<NewField> {
    Some(NewField::Text { length })
}
const fn long(length: u32) -> Option<NewField> {
    Some(NewField::LongText { length })
}
const fn number(precision: u32, scale: u32) -> Option<NewField> {
    Some(NewField::Number { precision, scale })
}

/// The column's type, the field that is made, and words of the finding.
#[test]
fn a_field_is_derived_from_its_column() {
    for (kind, field, words) in [
        ("varchar(40)", text(40), "text, 40 characters"),
        ("varchar(255)", text(255), ""),
        ("varchar(256)", long(256), "long text"),
        ("varchar(131072)", long(131_072), ""),
        ("varchar(131073)", None, "131072 characters is the most"),
        ("varchar", long(32_768), "dead letters"),
        ("char(3)", text(3), ""),
        ("text", long(32_768), "dead letters"),
        ("int2", number(5, 0), ""),
        ("int4", number(10, 0), ""),
        ("int8", number(18, 0), "numbers of 19 digits do not fit"),
        ("numeric(12,2)", number(12, 2), "12 digits, 2 of them"),
        ("numeric(18,0)", number(18, 0), ""),
        ("numeric(3,5)", number(5, 5), ""),
        (
            "numeric(30,2)",
            None,
            "has 30 digits, and a number field holds 18",
        ),
        ("numeric", number(18, 6), "does not say how many digits"),
        ("float8", number(18, 6), "rounded away"),
        ("bool", Some(NewField::Checkbox), "NULL is written as false"),
        ("date", Some(NewField::Date), ""),
        ("time", Some(NewField::Time), ""),
        ("timetz", Some(NewField::Time), "moved to UTC"),
        ("timestamp", Some(NewField::DateTime), "taken as UTC"),
        ("timestamptz", Some(NewField::DateTime), "date and time"),
        ("uuid", text(36), ""),
        ("mood", text(255), ""),
        ("json", long(32_768), ""),
        ("text[]", long(32_768), ""),
        (
            "bytea",
            None,
            "bytea has no equivalent in the CRM: no field holds bytes",
        ),
        ("money", None, "money has no equivalent in the CRM"),
        ("point", None, "point has no equivalent in the CRM"),
    ] {
        let mut case = creating();
        case.column("company", "shoe_size", kind);
        let compiled = case.compile();
        let made: Vec<_> = compiled.missing.iter().map(|m| m.spec.kind).collect();
        assert_eq!(made, Vec::from_iter(field), "{kind}");
        let found = compiled
            .findings
            .iter()
            .find(|f| f.place.ends_with("columns.shoe_size"))
            .unwrap();
        assert!(found.what.contains(words), "{kind}: {found:?}");
        assert!(!found.remedy.is_empty());
        let mapping = compiled.mapping.unwrap();
        let company = mapping.by_name("public.company").unwrap();
        assert!(!company.columns.contains_key("shoe_size"), "{kind}");
        assert_eq!(&*company.unmapped[0].column, "shoe_size");
    }
}

#[test]
fn a_spec_says_where_its_values_come_from() {
    let mut case = creating();
    case.column("company", "sales_region", "varchar(40)");
    let missing = case.compile().missing;
    assert_eq!(missing.len(), 1);
    let MissingField {
        table,
        column,
        object,
        spec,
        backfill,
    } = &missing[0];
    assert_eq!(
        (&**table, &**column, &**object, *backfill),
        ("public.company", "sales_region", "Account", false)
    );
    assert_eq!(
        (&*spec.name, &*spec.label, &*spec.help),
        (
            "Sales_Region__c",
            "Sales Region",
            "From public.company.sales_region (varchar(40)); written by Syncline"
        )
    );
    // Made: the next mapping has it.
    let region = FieldDescription {
        length: 40,
        ..super::super::super::fixtures::field("Sales_Region__c", FieldKind::Text)
    };
    case.crm.get_mut("Account").unwrap().fields.push(region);
    let compiled = case.compile();
    assert!(compiled.missing.is_empty());
    let mapping = compiled.mapping.unwrap();
    let company = mapping.by_name("public.company").unwrap();
    assert!(company.columns.contains_key("sales_region"));
}

/// A column whose name makes no field: what a person is told. Nothing is made for it.
#[test]
fn a_name_that_cannot_be_is_told() {
    let longest = "a".repeat(40);
    let long = format!("{}_tail", "word".repeat(14));
    for (column, words) in [
        (longest.as_str(), ""),
        (
            long.as_str(),
            "is 61 characters before __c, and 40 is the most",
        ),
        ("2fa_enabled", "a name starts with a letter"),
        ("straße", "'ß' is neither a letter from a to z"),
        ("shoe-size", "'-' is neither a letter"),
        ("_", "no field's name can be made"),
        ("size_", ""),
        ("a__b", ""),
        ("system_modstamp", ""),
        ("id_", "Id is reserved"),
        ("name_", "Name is reserved"),
        ("SystemModstamp", "SystemModstamp is reserved"),
        ("company_id", "which is the external id"),
        ("NumberOfEmployees", ""),
        ("active", "Active__c, which constants.Active__c fills"),
        (
            "parent",
            "Parent__c, which is there and which we may not write",
        ),
        ("vat_number", ""),
    ] {
        let mut case = creating();
        let account = case.crm.get_mut("Account").unwrap();
        let parent = FieldDescription {
            updateable: false,
            ..super::super::super::fixtures::field("Parent__c", FieldKind::Text)
        };
        account.fields.push(parent);
        case.column("company", column, "varchar(9)");
        let compiled = case.compile();
        assert!(compiled.mapping.is_some(), "{column}");
        let place = format!("columns.{column}");
        let found = compiled
            .findings
            .iter()
            .find(|f| f.place.ends_with(&place))
            .unwrap();
        if words.is_empty() {
            let mapped = found.what.contains("by the naming rule");
            assert_eq!(compiled.missing.len(), usize::from(!mapped), "{found:?}");
        } else {
            assert!(compiled.missing.is_empty(), "{column}");
            assert_eq!(found.severity, Severity::Warning, "{found:?}");
            assert!(found.what.contains(words), "{found:?}");
            assert!(found.what.contains("left out and counted"), "{found:?}");
            assert!(found.remedy.contains("map it"), "{found:?}");
        }
    }
}

#[test]
fn of_two_columns_that_want_one_field_neither_gets_it() {
    let mut case = creating();
    case.column("company", "shoe_size", "int4");
    case.column("company", "Shoe_size", "int4");
    case.column("company", "hat", "int4");
    let compiled = case.compile();
    let made: Vec<_> = compiled.missing.iter().map(|m| &*m.spec.name).collect();
    assert_eq!(made, ["Hat__c"]);
    let told: Vec<_> = compiled
        .findings
        .iter()
        .filter(|f| f.what.contains("none is made"))
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].what.contains("shoe_size and Shoe_size"));
    let mapping = compiled.mapping.unwrap();
    assert_eq!(mapping.by_name("public.company").unwrap().unmapped.len(), 3);
    // A line of the configuration takes precedence.
    case.line("company", "columns.Shoe_size = \"Shoe_Size__c\"");
    let compiled = case.compile();
    let made: Vec<_> = compiled.missing.iter().map(|m| &*m.column).collect();
    assert_eq!(made.len(), 2);
    assert!(made.contains(&"Shoe_size"), "{made:?}");
    assert_finding(
        "explicit",
        &case,
        (
            Severity::Warning,
            "columns.shoe_size",
            "columns.Shoe_size fills",
            "map it",
        ),
    );
}

#[test]
fn a_field_that_exists_and_does_not_take_the_type_is_not_made_again() {
    let mut case = creating();
    let born = super::super::super::fixtures::field("Born__c", FieldKind::Date);
    case.crm.get_mut("Contact").unwrap().fields.push(born);
    case.column("customer", "born", "bytea");
    assert!(case.compile().missing.is_empty());
    assert_finding(
        "unfit",
        &case,
        (
            Severity::Warning,
            "columns.born",
            "Born__c, which is there and does not take bytea",
            "map it",
        ),
    );
}

#[test]
fn two_tables_may_share_a_new_field() {
    let mut case = creating();
    let account = case.crm.get_mut("Account").unwrap();
    account.fields.push(key_field("Shop_Id__c"));
    case.catalog.push(table(
        "shop",
        &["id"],
        &[("id", "int8"), ("name", "text!"), ("area", "varchar(60)")],
    ));
    case.column("company", "area", "varchar(40)");
    case.config.push_str(
        "[tables.\"public.shop\"]\nobject = \"account\"\nkey = { column = \"id\", field = \"Shop_Id__c\" }\non_delete = \"ignore\"\ncolumns.name = \"Name\"\n",
    );
    let missing = case.compile().missing;
    assert_eq!(missing.len(), 1);
    assert_eq!(Some(missing[0].spec.kind), text(60));
    case.column("shop", "area", "date");
    let compiled = case.compile();
    assert_eq!(compiled.missing.len(), 1);
    assert_finding(
        "two types",
        &case,
        (
            Severity::Warning,
            "tables.\"public.shop\".columns.area",
            "Account.Area__c would be made for public.company.area",
            "map it",
        ),
    );
}

#[test]
fn three_hundred_columns_are_three_hundred_specs() {
    let mut case = creating();
    for number in 0..300 {
        case.column("company", &format!("extra_{number}"), "int4");
    }
    let missing = case.compile().missing;
    assert_eq!(missing.len(), 300);
    let names: BTreeSet<_> = missing.iter().map(|m| &m.spec.name).collect();
    assert_eq!(names.len(), 300);
}

#[test]
fn a_field_that_a_line_names_is_made_where_that_is_allowed() {
    let mut case = Case::default();
    case.column("company", "segment", "varchar(20)");
    case.line("company", "columns.segment = \"Market_Segment__c\"");
    assert_finding(
        "not allowed",
        &case,
        (
            Severity::Problem,
            "columns.segment",
            "has no field Market_Segment__c",
            "",
        ),
    );
    case.config
        .push_str("[routing]\nmissing_field = \"create\"\n");
    let compiled = case.compile();
    assert!(compiled.mapping.is_some(), "{:#?}", compiled.findings);
    assert_eq!(&*compiled.missing[0].spec.name, "Market_Segment__c");
    assert_eq!(&*compiled.missing[0].spec.label, "Market Segment");
    // A standard field cannot be made, nor one of a name that cannot be.
    case.replace("\"Market_Segment__c\"", "\"MarketSegment\"");
    let place = "columns.segment";
    let none = (Severity::Problem, place, "has no field MarketSegment", "");
    assert_finding("standard", &case, none);
    case.replace("\"MarketSegment\"", "\"2nd_Segment__c\"");
    let bad = (Severity::Problem, place, "a name starts with a letter", "");
    assert_finding("bad name", &case, bad);
    assert!(case.compile().missing.is_empty());
}

#[test]
fn a_label_is_cut_between_words() {
    let mut case = creating();
    case.config.push_str(
        "[[routing.rules]]\ncolumn = \"x*\"\nfield = \"X__c\"\nlabel = \"What people read\"\n[[routing.rules]]\ncolumn = \"the*\"\nfield = \"Shoes__c\"\n",
    );
    case.column(
        "company",
        "the_average_number_of_shoes_per_grown_up_person",
        "int4",
    );
    case.column("company", "xy", "int4");
    let labels: Vec<_> = case
        .compile()
        .missing
        .into_iter()
        .map(|m| m.spec.label)
        .collect();
    assert_eq!(
        labels,
        [
            "The Average Number Of Shoes Per Grown Up".into(),
            Box::from("What people read")
        ]
    );
    assert!(labels.iter().all(|l| l.chars().count() <= 40));
}

/// What `discard` takes needs no field.
#[test]
fn without_a_description_nothing_is_made() {
    let mut case = creating();
    case.column("company", "shoe_size", "int4");
    let compiled = compile(
        &config(&case.config),
        &case.catalog,
        &Remembered::default(),
        &types,
        None,
    );
    assert!(compiled.missing.is_empty());
    assert!(compiled.mapping.is_some());
}
