//! Columns and tables that were renamed, dropped or made anew since a table ran.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::super::fixtures::{Cell, change, field, row};
use super::*;
use crate::change::{Kind, Relation};
use crate::mapping::{Assignment, Mapped, Operation, TABLE_HALTED};
use Cell::{Is, Null};

/// The case, run once with a `first_name` that goes to FirstName by its name.
fn ran() -> Case {
    let mut case = Case::default();
    case.column("customer", "first_name", "text");
    case.run();
    case
}

fn insert(mapping: &Mapping, relation: &Arc<Relation>, cells: &[Cell<'_>]) -> Operation {
    let new = row(cells);
    let mapped = mapping
        .bind(relation)
        .map(&change(relation, Kind::Insert { new }));
    match mapped {
        Mapped::Operation(operation) => operation,
        other => panic!("{other:?}"),
    }
}

fn value(operation: &Operation, field: &str) -> Option<String> {
    let slot = operation
        .target
        .fields
        .iter()
        .position(|f| &*f.name == field)?;
    let found = operation
        .fields
        .iter()
        .find(|f| usize::from(f.slot) == slot)?;
    Some(match &found.assignment {
        Assignment::Clear => "null".into(),
        Assignment::Set(FieldValue::Text(text)) => text.to_string(),
        Assignment::Set(FieldValue::Reference(key)) => key.to_string(),
        Assignment::Set(other) => format!("{other:?}"),
    })
}

const ANN: [Cell<'static>; 6] = [
    Is("5"),
    Is("Lee"),
    Is("a@b.example"),
    Is("7"),
    Is("hush"),
    Is("Ann"),
];

#[test]
fn an_explicit_column_is_followed_with_a_warning() {
    let mut case = ran();
    case.rename("customer", "email", "mail");
    assert_finding(
        "renamed",
        &case,
        (
            Severity::Warning,
            "columns.email",
            "the column email is called mail now: followed",
            "columns.mail",
        ),
    );
    let mapping = case.mapping();
    let relation = case.numbered("customer");
    let operation = insert(&mapping, &relation, &ANN);
    assert_eq!(value(&operation, "Email").as_deref(), Some("a@b.example"));
    // Rows of before the rename are read by the number, too.
    let before = ran().numbered("customer");
    let operation = insert(&mapping, &before, &ANN);
    assert_eq!(value(&operation, "Email").as_deref(), Some("a@b.example"));
    // The configuration is brought up to date: nothing is said any more.
    case.replace("columns.email", "columns.mail");
    let findings = case.compile().findings;
    assert!(
        findings.iter().all(|f| f.severity == Severity::Note),
        "{findings:#?}"
    );
}

#[test]
fn an_automatic_column_keeps_the_field_of_its_first_name() {
    let mut case = ran();
    case.rename("customer", "first_name", "given_name");
    let given = field("Given_Name__c", FieldKind::Text);
    case.crm.get_mut("Contact").unwrap().fields.push(given);
    let again = |case: &Case| {
        let operation = insert(&case.mapping(), &case.numbered("customer"), &ANN);
        assert_eq!(value(&operation, "FirstName").as_deref(), Some("Ann"));
    };
    again(&case);
    assert_finding(
        "renamed",
        &case,
        (
            Severity::Note,
            "columns.given_name",
            "the column first_name is called given_name now: it still goes to FirstName",
            "",
        ),
    );
    case.run();
    case.rename("customer", "given_name", "called");
    again(&case);
    // A new column under the first name does not take the field away.
    case.run();
    case.column("customer", "first_name", "text");
    let operation = insert(
        &case.mapping(),
        &case.numbered("customer"),
        &[&ANN[..], &[Is("Other")]].concat(),
    );
    assert_eq!(value(&operation, "FirstName").as_deref(), Some("Ann"));
}

#[test]
fn two_columns_that_swap_names_are_told_apart() {
    let mut case = ran();
    case.rename("customer", "email", "tmp");
    case.rename("customer", "secret", "email");
    case.rename("customer", "tmp", "secret");
    let mut cells = ANN;
    cells[4] = Is("h@b.example");
    let operation = insert(&case.mapping(), &case.numbered("customer"), &cells);
    // What the configuration names is what bears the name now.
    assert_eq!(value(&operation, "Email").as_deref(), Some("h@b.example"));
}

#[test]
fn a_rename_halts_where_that_is_said() {
    for (from, to, what) in [
        ("email", "mail", "columns.email"),
        ("first_name", "given_name", "columns.given_name"),
        ("id", "number", "key.column"),
    ] {
        let mut case = ran();
        case.config.push_str("[routing]\non_rename = \"halt\"\n");
        case.rename("customer", from, to);
        assert_finding(
            "halted",
            &case,
            (Severity::Problem, what, "routing.on_rename = \"halt\"", to),
        );
        let mapping = case.mapping();
        let customer = mapping.by_name("public.customer").unwrap();
        let fault = customer.halted.as_ref().unwrap();
        assert_eq!(&*fault.code, TABLE_HALTED);
        assert!(fault.fields.is_empty(), "everything can be filled");
        assert!(mapping.by_name("public.company").unwrap().halted.is_none());
    }
}

#[test]
fn a_key_column_is_followed() {
    let mut case = ran();
    case.rename("customer", "id", "number");
    let mapping = case.mapping();
    let customer = mapping.by_name("public.customer").unwrap();
    assert!(customer.halted.is_none());
    assert_eq!(*customer.key.columns, [Box::from("number")]);
    let operation = insert(&mapping, &case.numbered("customer"), &ANN);
    assert_eq!(operation.key, "5");
    assert_finding(
        "key",
        &case,
        (
            Severity::Warning,
            "key.column",
            "the key column id is called number now: followed",
            "\"number\"",
        ),
    );
}

#[test]
fn a_table_is_followed_by_its_oid() {
    let mut case = ran();
    case.table("customer").name = "client".into();
    let mapping = case.mapping();
    let operation = insert(&mapping, &case.numbered("client"), &ANN);
    assert_eq!(&*operation.target.table, "public.customer");
    assert_finding(
        "table",
        &case,
        (
            Severity::Warning,
            "tables.\"public.customer\"",
            "the table public.customer is called public.client now: followed",
            "[tables.\"public.client\"]",
        ),
    );
    // The configuration is brought up to date, and says the same.
    case.replace("[tables.\"public.customer\"]", "[tables.\"public.client\"]");
    let operation = insert(&case.mapping(), &case.numbered("client"), &ANN);
    assert_eq!(&*operation.target.table, "public.client");
    assert_eq!(value(&operation, "FirstName").as_deref(), Some("Ann"));
}

#[test]
fn a_table_made_anew_follows_by_name() {
    let mut case = ran();
    let mut anew = table(
        "customer",
        &["id"],
        &[
            ("first_name", "text"),
            ("company_id", "int8"),
            ("id", "int8"),
            ("last_name", "text!"),
            ("secret", "text"),
        ],
    );
    anew.oid = 4711;
    *case.table("customer") = anew;
    assert_finding(
        "email is gone",
        &case,
        (
            Severity::Warning,
            "columns.email",
            "no longer has this column; Email is left as it is",
            "take the line away",
        ),
    );
    let mapping = case.mapping();
    let cells = [Is("Ann"), Is("7"), Is("5"), Is("Lee"), Is("hush")];
    let operation = insert(&mapping, &case.numbered("customer"), &cells);
    assert_eq!(value(&operation, "FirstName").as_deref(), Some("Ann"));
    assert_eq!(value(&operation, "LastName").as_deref(), Some("Lee"));
    assert_eq!(value(&operation, "Email"), None);
    // Rows of the old table are read by their names: the numbers are not the new one's.
    let old = ran().numbered("customer");
    let operation = insert(&mapping, &old, &ANN);
    assert_eq!(value(&operation, "FirstName").as_deref(), Some("Ann"));
    assert_eq!(value(&operation, "Email").as_deref(), Some("a@b.example"));
}

#[test]
fn a_dropped_column_is_kept_or_cleared() {
    // Column, its field, and what a row without it does by each policy.
    for (column, name, cleared) in [
        ("email", "Email", Some("null")),
        ("first_name", "FirstName", Some("null")),
        ("last_name", "LastName", None),
        ("company_id", "AccountId", Some("null")),
    ] {
        for (policy, expected) in [("keep", None), ("clear", cleared)] {
            let mut case = ran();
            let routing = format!("[routing]\non_drop = \"{policy}\"\n");
            case.config.push_str(&routing);
            let before = case.numbered("customer");
            let at = before
                .columns
                .iter()
                .position(|c| &*c.name == column)
                .unwrap();
            case.drop("customer", column);
            let mut cells = ANN.to_vec();
            cells.remove(at);
            let mapping = case.mapping();
            let operation = insert(&mapping, &case.numbered("customer"), &cells);
            assert_eq!(
                value(&operation, name).as_deref(),
                expected,
                "{column} {policy}"
            );
            // What was written before the drop is still read.
            let operation = insert(&mapping, &before, &ANN);
            assert!(
                value(&operation, name).is_some_and(|v| v != "null"),
                "{column}"
            );
        }
    }
    let mut case = ran();
    case.config.push_str("[routing]\non_drop = \"clear\"\n");
    case.drop("customer", "last_name");
    assert_finding(
        "required",
        &case,
        (
            Severity::Warning,
            "columns.last_name",
            "LastName takes no null: it is left as it is",
            "default",
        ),
    );
    // Of what the publication does not send nothing is cleared.
    let mut case = ran();
    case.config.push_str("[routing]\non_drop = \"clear\"\n");
    case.drop("customer", "email");
    case.table("customer").dropped = vec![77];
    let mapping = case.mapping();
    assert!(
        mapping.by_name("public.customer").unwrap().dropped[0]
            .clear
            .is_none()
    );
}

#[test]
fn a_dropped_column_that_comes_back_is_filled_again() {
    let mut case = ran();
    case.config.push_str("[routing]\non_drop = \"clear\"\n");
    case.drop("customer", "email");
    case.run();
    case.column("customer", "email", "text");
    let cells = [
        Is("5"),
        Is("Lee"),
        Is("7"),
        Is("hush"),
        Is("Ann"),
        Is("b@b.example"),
    ];
    let operation = insert(&case.mapping(), &case.numbered("customer"), &cells);
    assert_eq!(value(&operation, "Email").as_deref(), Some("b@b.example"));
    case.drop("customer", "first_name");
    case.column("customer", "first_name", "text");
    let cells = [Is("5"), Is("Lee"), Is("7"), Is("hush"), Null, Is("Ann")];
    let operation = insert(&case.mapping(), &case.numbered("customer"), &cells);
    assert_eq!(value(&operation, "FirstName").as_deref(), Some("Ann"));
}

#[test]
fn a_line_for_an_old_and_one_for_the_new_name_do_not_fight() {
    let mut case = ran();
    case.rename("customer", "email", "mail");
    case.line("customer", "columns.mail = \"Email\"");
    assert_finding(
        "both",
        &case,
        (
            Severity::Warning,
            "columns.email",
            "called mail now, which has a line of its own: this one does nothing",
            "take columns.email away",
        ),
    );
    assert!(case.compile().mapping.is_some());
}

#[test]
fn a_slip_of_the_pen_is_still_a_problem() {
    let mut case = ran();
    case.replace("columns.email", "columns.emial");
    assert_finding(
        "typo",
        &case,
        (
            Severity::Problem,
            "columns.emial",
            "did you mean \"email\"?",
            "",
        ),
    );
    assert!(case.compile().mapping.is_none());
}
