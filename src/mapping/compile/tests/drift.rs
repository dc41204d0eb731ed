//! What no longer fits on a table that has run: one table, or one field, and nothing else stops.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::super::fixtures::{Cell, change, row};
use super::*;
use crate::change::{Kind, OldRow, ReplicaIdentity};
use crate::mapping::{FIELD_BROKEN, Mapped, Rejected, TABLE_HALTED, TargetField};
use Cell::{Is, Null};

/// The case, run once with a `first_name` that goes to FirstName by its name.
fn ran() -> Case {
    let mut case = Case::default();
    case.column("customer", "first_name", "text");
    case.run();
    case
}

const ANN: [Cell<'static>; 6] = [
    Is("5"),
    Is("Lee"),
    Is("a@b.example"),
    Is("7"),
    Is("hush"),
    Is("Ann"),
];

fn remove_field(case: &mut Case, object: &str, name: &str) {
    let object = case.crm.get_mut(object).unwrap();
    object.fields.retain(|f| *f.name != *name);
}

fn map(case: &Case, kind: Kind) -> Mapped {
    let relation = case.numbered("customer");
    case.mapping().bind(&relation).map(&change(&relation, kind))
}

fn rejected(case: &Case, kind: Kind) -> Rejected {
    match map(case, kind) {
        Mapped::Rejected(rejected) => rejected,
        other => panic!("{other:?}"),
    }
}

/// What changed, parts of the finding, and the fields that cannot be filled.
type Halting<'a> = (&'a str, Edit, Expected<'a>, &'a [&'a str]);

#[test]
fn what_halts_a_table() {
    let cases: &[Halting<'_>] = &[
        (
            "a type that does not fit its field",
            |c| c.column("customer", "email", "bytea"),
            (
                Severity::Problem,
                "columns.email",
                "Email cannot take bytea",
                "fitting type",
            ),
            &["Email"],
        ),
        (
            "a type that does not fit its field, by name",
            |c| {
                c.field("Contact", "FirstName").kind = FieldKind::Date;
                c.column("customer", "first_name", "bool")
            },
            (
                Severity::Problem,
                "columns.first_name",
                "FirstName cannot take bool",
                "fitting type",
            ),
            &["FirstName"],
        ),
        (
            "a field that became another",
            |c| c.field("Contact", "FirstName").kind = FieldKind::Id,
            (
                Severity::Problem,
                "columns.first_name",
                "FirstName cannot take text",
                "",
            ),
            &["FirstName"],
        ),
        (
            "a type that cannot name a parent",
            |c| c.column("customer", "company_id", "float8"),
            (
                Severity::Problem,
                "columns.company_id",
                "cannot name a row",
                "type of the key",
            ),
            &["AccountId"],
        ),
        (
            "a lookup that points elsewhere",
            |c| c.field("Contact", "AccountId").reference_to = vec!["Asset".into()],
            (
                Severity::Problem,
                "columns.company_id",
                "points to Asset",
                "",
            ),
            &["AccountId"],
        ),
        (
            "a key column that is gone",
            |c| c.drop("customer", "id"),
            (
                Severity::Problem,
                "key.column",
                "no longer has the key column id",
                "external ids",
            ),
            &["Customer_Id__c"],
        ),
        (
            "a key column of another type",
            |c| c.column("customer", "id", "float8"),
            (
                Severity::Problem,
                "key.column",
                "id is float8",
                "whole number",
            ),
            &["Customer_Id__c"],
        ),
        (
            "a key that old rows no longer bring",
            |c| c.table("customer").identity_columns = vec!["email".into()],
            (
                Severity::Problem,
                "key.column",
                "come with email only",
                "REPLICA IDENTITY FULL",
            ),
            &["Customer_Id__c"],
        ),
        (
            "the object gone",
            |c| drop(c.crm.remove("Contact")),
            (
                Severity::Problem,
                "customer\".object",
                "no longer has the object Contact",
                "bring",
            ),
            &[],
        ),
        (
            "the right to change gone",
            |c| c.crm.get_mut("Contact").unwrap().updateable = false,
            (
                Severity::Problem,
                "customer\".object",
                "may not change records",
                "permission set",
            ),
            &[],
        ),
        (
            "the right to delete gone",
            |c| c.crm.get_mut("Contact").unwrap().deletable = false,
            (
                Severity::Problem,
                "on_delete",
                "may not delete records",
                "right to delete",
            ),
            &[],
        ),
        (
            "the external id gone",
            |c| remove_field(c, "Contact", "Customer_Id__c"),
            (
                Severity::Problem,
                "key.field",
                "has no field Customer_Id__c",
                "External ID",
            ),
            &[],
        ),
        (
            "the external id no longer unique",
            |c| c.field("Contact", "Customer_Id__c").unique = false,
            (Severity::Problem, "key.field", "is not unique", "Unique"),
            &[],
        ),
        (
            "a new column where that halts",
            |c| {
                c.column("customer", "shoe_size", "int4");
                c.config.push_str("[routing]\nunmapped = \"halt\"\n[[routing.rules]]\ncolumn = \"first_name\"\nbackfill = true\n")
            },
            (
                Severity::Problem,
                "columns.shoe_size",
                "routing.unmapped = \"halt\"",
                "ignore",
            ),
            &[],
        ),
        (
            "a new column without a field where that halts",
            |c| {
                c.column("customer", "shoe_size", "int4");
                c.config.push_str("[routing]\nmissing_field = \"halt\"\n")
            },
            (
                Severity::Problem,
                "columns.shoe_size",
                "routing.missing_field = \"halt\"",
                "ignore",
            ),
            &[],
        ),
        (
            "a new column that a rule halts on",
            |c| {
                c.column("customer", "shoe_size", "int4");
                c.config
                    .push_str("[[routing.rules]]\ncolumn = \"shoe*\"\nhalt = true\n")
            },
            (
                Severity::Problem,
                "columns.shoe_size",
                "routing.rules[1] says halt",
                "ignore",
            ),
            &[],
        ),
    ];
    for (name, edit, expected, fields) in cases {
        let mut case = ran();
        edit(&mut case);
        assert_finding(name, &case, *expected);
        let compiled = case.compile();
        let mapping = compiled
            .mapping
            .unwrap_or_else(|| panic!("{name} stops everything: {:#?}", compiled.findings));
        assert!(mapping.by_name("public.company").unwrap().halted.is_none());
        let customer = mapping.by_name("public.customer").unwrap();
        let fault = customer
            .halted
            .as_ref()
            .unwrap_or_else(|| panic!("{name} does not halt: {:#?}", compiled.findings));
        assert_eq!(&*fault.code, TABLE_HALTED, "{name}");
        assert_eq!(fault.fields, *fields, "{name}");
        assert!(
            fault
                .message
                .starts_with("public.customer is halted: tables.")
        );
        assert_eq!(customer.target.halted.as_ref(), Some(fault));
        // Its records bear the names that they had.
        let before = ran().mapping();
        let before = &before.by_name("public.customer").unwrap().target;
        assert_eq!(customer.target.id, before.id, "{name}");
    }
}

#[test]
fn changes_of_a_halted_table_are_mapped_as_far_as_possible() {
    let mut case = ran();
    case.column("customer", "email", "bytea");
    let held = rejected(&case, Kind::Insert { new: row(&ANN) });
    assert_eq!(
        (&*held.fault.code, &*held.fault.fields),
        (TABLE_HALTED, &["Email".to_owned()][..])
    );
    let operation = held.operation.unwrap();
    assert_eq!(operation.key, "5");
    assert_eq!(operation.fields.len(), 3);
    let old = OldRow::Key(row(&[Is("5"), Null, Null, Null, Null, Null]));
    let held = rejected(&case, Kind::Delete { old });
    assert!(matches!(
        held.operation.unwrap().action,
        crate::mapping::Action::Delete { .. }
    ));
    // A value of its own that is wrong is told as well; a row without a key stays a dead letter.
    let mut wide = ANN;
    let long = "x".repeat(81);
    wide[1] = Is(&long);
    let held = rejected(&case, Kind::Insert { new: row(&wide) });
    assert_eq!(held.fault.fields, ["Email", "LastName"]);
    wide[0] = Null;
    let held = rejected(&case, Kind::Insert { new: row(&wide) });
    assert_eq!(held.fault.code, "key_null");

    // Of a lost object every field that was written is named still.
    let mut case = ran();
    case.crm.remove("Contact");
    let held = rejected(&case, Kind::Insert { new: row(&ANN) });
    let operation = held.operation.unwrap();
    let mut names: Vec<&str> = operation
        .fields
        .iter()
        .map(|f| &*operation.target.fields[usize::from(f.slot)].name)
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["AccountId", "Email", "FirstName", "LastName"]);

    let mut case = ran();
    case.drop("customer", "id");
    let held = rejected(
        &case,
        Kind::Insert {
            new: row(&ANN[1..]),
        },
    );
    assert_eq!(held.fault.code, TABLE_HALTED);
    assert!(held.operation.is_none() && held.record.is_none());
}

fn target_field(case: &Case, table: &str, name: &str) -> TargetField {
    let mapping = case.mapping();
    let table = mapping.by_name(table).unwrap();
    assert!(table.halted.is_none());
    let mut fields = table.target.fields.iter();
    fields
        .find(|f| f.name.eq_ignore_ascii_case(name))
        .unwrap()
        .clone()
}

#[test]
fn a_field_that_is_lost_breaks_alone() {
    for (table, object, name, place) in [
        ("public.customer", "Contact", "Email", "columns.email"),
        (
            "public.customer",
            "Contact",
            "FirstName",
            "columns.first_name",
        ),
        (
            "public.customer",
            "Contact",
            "AccountId",
            "columns.company_id",
        ),
        (
            "public.company",
            "Account",
            "Active__c",
            "constants.Active__c",
        ),
    ] {
        let mut case = ran();
        remove_field(&mut case, object, name);
        let broken = target_field(&case, table, name).broken.unwrap();
        assert_eq!(&*broken.code, FIELD_BROKEN);
        assert!(broken.fields[0].eq_ignore_ascii_case(name), "{broken:?}");
        let told = (
            Severity::Problem,
            place,
            "changes of it are held",
            "bring the field back",
        );
        assert_finding("vanished", &case, told);
        let mut case = ran();
        case.field(object, name).updateable = false;
        assert!(target_field(&case, table, name).broken.is_some());
        let told = (
            Severity::Problem,
            place,
            "can no longer be written",
            "edit access",
        );
        assert_finding("read-only", &case, told);
    }
    // The value goes to its slot as before.
    let mut case = ran();
    remove_field(&mut case, "Contact", "Email");
    let Mapped::Operation(operation) = map(&case, Kind::Insert { new: row(&ANN) }) else {
        panic!("not mapped");
    };
    assert_eq!(operation.fields.len(), 4);
    // A field that was never ours is a slip of the pen.
    case.replace("\"LastName\"", "\"LsatName\"");
    assert!(case.compile().mapping.is_none());
}

#[test]
fn what_the_crm_tightened_is_told_and_stops_nobody() {
    let cases: &[(&str, Edit, Expected<'_>)] = &[
        (
            "shorter",
            |c| {
                c.column("customer", "last_name", "varchar(80)!");
                c.field("Contact", "LastName").length = 40
            },
            (
                Severity::Warning,
                "columns.last_name",
                "longer than the 40 characters",
                "lengthen",
            ),
        ),
        (
            "required",
            |c| c.field("Contact", "Email").nillable = false,
            (
                Severity::Warning,
                "columns.email",
                "Email takes no null",
                "default",
            ),
        ),
        (
            "required, and nothing fills it",
            |c| c.field("Contact", "Birthdate").nillable = false,
            (
                Severity::Problem,
                "columns",
                "creates no record without Birthdate",
                "constants",
            ),
        ),
        (
            "restricted",
            |c| {
                let f = c.field("Contact", "Email");
                f.kind = FieldKind::Picklist;
                f.restricted = true
            },
            (
                Severity::Note,
                "columns.email",
                "takes the 0 values of its list only",
                "",
            ),
        ),
        (
            "widened column",
            |c| c.column("customer", "last_name", "varchar(120)!"),
            (
                Severity::Warning,
                "columns.last_name",
                "longer than the 80",
                "lengthen",
            ),
        ),
        (
            "narrowed column",
            |c| c.column("customer", "last_name", "varchar(10)!"),
            (Severity::Note, "on_truncate", "", ""),
        ),
        (
            "another type that fits",
            |c| c.column("customer", "last_name", "int8!"),
            (Severity::Note, "on_truncate", "", ""),
        ),
        (
            "identity nothing: Postgres refuses the changes",
            |c| c.table("customer").identity = ReplicaIdentity::Nothing,
            (
                Severity::Problem,
                "key.column",
                "NOTHING",
                "REPLICA IDENTITY DEFAULT",
            ),
        ),
        (
            "the table dropped",
            |c| c.catalog.retain(|t| &*t.name != "customer"),
            (
                Severity::Problem,
                "customer\"",
                "no longer has the table public.customer",
                "bring",
            ),
        ),
    ];
    for (name, edit, expected) in cases {
        let mut case = ran();
        edit(&mut case);
        assert_finding(name, &case, *expected);
        let mapping = case.mapping();
        assert!(
            mapping.tables().all(|t| t.halted.is_none()),
            "{name} halts: {:#?}",
            case.compile().findings
        );
    }
}

/// Without a memory of its own, whatever others remember, all of it refuses the start.
#[test]
fn a_table_that_never_ran_has_no_drift() {
    let edits: [Edit; 4] = [
        |c| {
            c.column("customer", "x", "bytea");
            c.line("customer", "columns.x = \"Birthdate\"")
        },
        |c| drop(c.crm.remove("Contact")),
        |c| remove_field(c, "Contact", "Email"),
        |c| c.drop("customer", "id"),
    ];
    for edit in edits {
        let mut case = Case::default();
        case.run();
        case.remembered.versions.retain(|t| &*t.name != "customer");
        assert!(case.compile().mapping.is_some());
        edit(&mut case);
        assert!(case.compile().mapping.is_none());
    }
}

#[test]
fn what_is_remembered_is_read_as_it_was_stored() {
    let mut remembered = ran().remembered;
    remembered.versions.clear();
    let number = remembered.columns.keys().next().unwrap();
    assert_eq!((number.1, remembered.columns.len()), (6, 1));
    assert_eq!(Remembered::from_pairs(remembered.to_pairs()), remembered);
    assert!(!remembered.clone().learn(&ran().mapping()));
    assert!(Remembered::default().learn(&ran().mapping()));
}

#[test]
fn the_fields_that_are_used_are_named() {
    let case = ran();
    let used: BTreeSet<_> = case
        .mapping()
        .fields_used()
        .map(|(object, field)| format!("{object}.{field}"))
        .collect();
    for name in [
        "contact.email",
        "contact.firstname",
        "contact.accountid",
        "contact.customer_id__c",
        "account.active__c",
        "opportunity.amount",
    ] {
        assert!(used.contains(name), "{name} is not in {used:?}");
    }
    // Fields in reserve are not used.
    assert!(!used.contains("contact.birthdate") && !used.contains("account.phone"));
}
