#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::fixtures::{Case, config, key_field, table, types};
use super::*;
use crate::change::ReplicaIdentity;
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

/// One change to a case that is right, and the finding it brings.
#[test]
fn every_mistake_has_its_finding() {
    use Severity::{Note, Problem, Warning};
    type Change = fn(&mut Case);
    let cases: &[(&str, Change, Expected<'_>)] = &[
        (
            "no tables",
            |c| c.config = c.config.split("[tables").next().unwrap().into(),
            (Problem, "tables", "no table is configured", "add a section"),
        ),
        (
            "unknown table",
            |c| {
                c.replace(
                    "[tables.\"public.customer\"]",
                    "[tables.\"public.custmer\"]",
                )
            },
            (
                Problem,
                "tables.\"public.custmer\"",
                "did you mean \"public.customer\"?",
                "schema",
            ),
        ),
        (
            "table without schema",
            |c| c.replace("[tables.\"public.customer\"]", "[tables.customer]"),
            (
                Problem,
                "tables.\"customer\"",
                "did you mean \"public.customer\"?",
                "schema",
            ),
        ),
        (
            "unknown object",
            |c| c.replace("\"Contact\"", "\"Contcat\""),
            (
                Problem,
                "tables.\"public.customer\".object",
                "did you mean \"Contact\"?",
                "API name",
            ),
        ),
        (
            "unknown object and column",
            |c| {
                c.replace("\"Contact\"", "\"Contcat\"");
                c.replace("columns.email", "columns.emial")
            },
            (Problem, "columns.emial", "did you mean \"email\"?", ""),
        ),
        (
            "unknown column",
            |c| c.replace("columns.email", "columns.emial"),
            (
                Problem,
                "columns.emial",
                "did you mean \"email\"?",
                "publication",
            ),
        ),
        (
            "unknown field",
            |c| c.replace("\"Email\"", "\"Emial\""),
            (
                Problem,
                "columns.email",
                "did you mean \"Email\"?",
                "visibility",
            ),
        ),
        (
            "unknown key column",
            |c| {
                c.replace(
                    "column = \"id\", field = \"Customer_Id__c\"",
                    "column = \"idd\", field = \"Customer_Id__c\"",
                )
            },
            (
                Problem,
                "tables.\"public.customer\".key.column",
                "did you mean \"id\"?",
                "",
            ),
        ),
        (
            "key column twice",
            |c| c.replace("[\"company_id\", \"code\"]", "[\"code\", \"code\"]"),
            (Problem, "key.column", "twice", "once"),
        ),
        (
            "key not in the identity",
            |c| {
                c.replace(
                    "column = \"id\", field = \"Customer_Id__c\"",
                    "column = \"email\", field = \"Customer_Id__c\"",
                )
            },
            (
                Problem,
                "key.column",
                "come with id only, not with email",
                "REPLICA IDENTITY FULL",
            ),
        ),
        (
            "key is a part of the primary key",
            |c| c.replace("[\"company_id\", \"code\"]", "\"code\""),
            (Warning, "key.column", "would be one record", "primary key"),
        ),
        (
            "key by full identity",
            |c| {
                c.table("customer").identity = ReplicaIdentity::Full;
                c.replace(
                    "column = \"id\", field = \"Customer_Id__c\"",
                    "column = \"email\", field = \"Customer_Id__c\"",
                )
            },
            (Warning, "key.column", "email may be NULL", "SET NOT NULL"),
        ),
        (
            "no primary key",
            |c| {
                let t = c.table("customer");
                t.primary_key.clear();
                t.identity_columns.clear()
            },
            (
                Problem,
                "key.column",
                "has no primary key",
                "ADD PRIMARY KEY (id)",
            ),
        ),
        (
            "identity nothing",
            |c| c.table("customer").identity = ReplicaIdentity::Nothing,
            (Problem, "key.column", "NOTHING", "REPLICA IDENTITY DEFAULT"),
        ),
        (
            "key of a bad type",
            |c| c.column("customer", "id", "float8"),
            (Problem, "key.column", "id is float8", "whole number"),
        ),
        (
            "bad separator",
            |c| c.replace("\"code\"]", "\"code\"], separator = \" \""),
            (Problem, "key.separator", "visible ASCII", "\":\""),
        ),
        (
            "backslash as separator",
            |c| c.replace("\"code\"]", "\"code\"], separator = '\\'"),
            (Problem, "key.separator", "visible ASCII", "\":\""),
        ),
        (
            "key field missing",
            |c| c.replace("Customer_Id__c", "Custmer_Id__c"),
            (
                Problem,
                "key.field",
                "did you mean \"Customer_Id__c\"?",
                "External ID, Unique, case sensitive",
            ),
        ),
        (
            "key field not external",
            |c| c.field("Contact", "Customer_Id__c").external_id = false,
            (Problem, "key.field", "is not an external id", "External ID"),
        ),
        (
            "key field not unique",
            |c| c.field("Contact", "Customer_Id__c").unique = false,
            (Problem, "key.field", "is not unique", "Unique"),
        ),
        (
            "key field a number",
            |c| c.field("Contact", "Customer_Id__c").kind = FieldKind::Decimal,
            (Problem, "key.field", "is not a text field", "Text"),
        ),
        (
            "key field not writable",
            |c| c.field("Contact", "Customer_Id__c").updateable = false,
            (Problem, "key.field", "may not write", "edit access"),
        ),
        (
            "key field ignores case",
            |c| c.field("Opportunity", "Deal_Id__c").case_sensitive = false,
            (
                Warning,
                "key.field",
                "takes ABC and abc for the same key",
                "different",
            ),
        ),
        (
            "key field too short",
            |c| {
                c.column("customer", "id", "uuid");
                c.field("Contact", "Customer_Id__c").length = 30
            },
            (
                Warning,
                "key.field",
                "36 characters long, Contact.Customer_Id__c takes 30",
                "lengthen",
            ),
        ),
        (
            "two tables, one record",
            |c| {
                c.replace("\"Contact\"", "\"Account\"");
                c.replace("Customer_Id__c", "Company_Id__c")
            },
            (
                Problem,
                "key.field",
                "both write Account by Company_Id__c",
                "external-id field of its own",
            ),
        ),
        (
            "no right to create",
            |c| c.crm.get_mut("Contact").unwrap().createable = false,
            (
                Problem,
                "object",
                "may not create records of Contact",
                "permission set",
            ),
        ),
        (
            "no right to change",
            |c| c.crm.get_mut("Contact").unwrap().updateable = false,
            (
                Problem,
                "object",
                "may not change records of Contact",
                "permission set",
            ),
        ),
        (
            "no right to delete",
            |c| c.crm.get_mut("Contact").unwrap().deletable = false,
            (
                Problem,
                "on_delete",
                "may not delete records of Contact",
                "ignore",
            ),
        ),
        (
            "hard delete",
            |c| c.replace("on_delete = \"delete\"", "on_delete = \"hard_delete\""),
            (
                Problem,
                "on_delete",
                "later release",
                "on_delete = \"delete\"",
            ),
        ),
        (
            "delete ignored",
            |_| {},
            (
                Note,
                "tables.\"public.deal\".target.removal",
                "its record stays",
                "",
            ),
        ),
        (
            "nothing sets back",
            |c| c.replace("constants = { Active__c = true }\n", ""),
            (
                Warning,
                "on_delete.set.Active__c",
                "nothing sets Active__c back",
                "constants.Active__c",
            ),
        ),
        (
            "archive sets nothing",
            |c| c.replace("{ set = { Active__c = false } }", "{ set = {} }"),
            (Problem, "on_delete", "names no field", "ignore"),
        ),
        (
            "archive sets an unknown field",
            |c| {
                c.replace(
                    "{ set = { Active__c = false } }",
                    "{ set = { Actve__c = false } }",
                )
            },
            (
                Problem,
                "on_delete.set.Actve__c",
                "did you mean \"Active__c\"?",
                "",
            ),
        ),
        (
            "archive sets a bad value",
            |c| {
                c.replace(
                    "{ set = { Active__c = false } }",
                    "{ set = { Active__c = 5 } }",
                )
            },
            (
                Problem,
                "on_delete.set.Active__c",
                "has a type that the field cannot take",
                "",
            ),
        ),
        (
            "archive sets a read-only field",
            |c| c.field("Account", "Active__c").updateable = false,
            (
                Problem,
                "on_delete.set.Active__c",
                "cannot be written",
                "edit access",
            ),
        ),
        (
            "truncate halts",
            |_| {},
            (Note, "on_truncate", "stops delivery", ""),
        ),
        (
            "truncate deletes",
            |c| c.line("customer", "on_truncate = \"delete_all\""),
            (Warning, "on_truncate", "every record", "halt"),
        ),
        (
            "truncate ignored",
            |c| c.line("customer", "on_truncate = \"ignore\""),
            (Note, "on_truncate", "its records stay", ""),
        ),
        (
            "required field unfilled",
            |c| {
                c.replace(
                    "columns.last_name = \"LastName\"",
                    "columns.last_name = { ignore = true }",
                )
            },
            (
                Problem,
                "tables.\"public.customer\".columns",
                "creates no record without LastName",
                "constants.LastName",
            ),
        ),
        (
            "type that never fits",
            |c| {
                c.column("customer", "photo", "bytea");
                c.line("customer", "columns.photo = \"Birthdate\"")
            },
            (
                Problem,
                "columns.photo",
                "Birthdate cannot take bytea: a date field takes dates",
                "ignore = true",
            ),
        ),
        (
            "type that fits in part",
            |c| {
                c.column("customer", "born", "text");
                c.line("customer", "columns.born = \"Birthdate\"")
            },
            (
                Warning,
                "columns.born",
                "only text such as 2026-11-04 is taken",
                "",
            ),
        ),
        (
            "money to a number",
            |c| c.column("deal", "amount", "money"),
            (Problem, "columns.amount", "cast it to numeric", ""),
        ),
        (
            "varchar longer than the field",
            |c| c.column("customer", "last_name", "varchar(120)!"),
            (
                Warning,
                "columns.last_name",
                "longer than the 80 characters of LastName; such rows become dead letters",
                "lengthen",
            ),
        ),
        (
            "more decimals than the field",
            |c| c.column("deal", "amount", "numeric(12,4)"),
            (
                Warning,
                "columns.amount",
                "4 digits right of the point, Amount keeps 2",
                "",
            ),
        ),
        (
            "more digits than the field",
            |c| c.column("deal", "amount", "numeric(30,2)"),
            (
                Warning,
                "columns.amount",
                "more digits left of the point",
                "",
            ),
        ),
        (
            "field never writable",
            |c| {
                let f = c.field("Contact", "Email");
                f.createable = false;
                f.updateable = false
            },
            (
                Problem,
                "columns.email",
                "wants to create or change",
                "ignore = true",
            ),
        ),
        (
            "field not at creation",
            |c| c.field("Contact", "Email").createable = false,
            (Problem, "columns.email", "wants to create", "edit access"),
        ),
        (
            "field not later",
            |c| c.field("Contact", "Email").updateable = false,
            (Problem, "columns.email", "wants to change", "edit access"),
        ),
        (
            "the CRM's own id",
            |c| c.replace("\"Email\"", "\"Id\""),
            (Problem, "columns.email", "own id cannot be written", ""),
        ),
        (
            "the external id as a field",
            |c| c.replace("\"Email\"", "\"customer_id__C\""),
            (Problem, "columns.email", "made from the key columns", ""),
        ),
        (
            "two columns, one field",
            |c| c.line("customer", "columns.id = \"Email\""),
            (
                Problem,
                "columns.id",
                "Email is filled by columns.email already",
                "one of the two",
            ),
        ),
        (
            "column and constant",
            |c| c.line("customer", "constants.Email = \"a@b\""),
            (Problem, "columns.email", "is filled by constants.Email", ""),
        ),
        (
            "constant for the key",
            |c| c.line("customer", "constants.Customer_Id__c = \"5\""),
            (
                Problem,
                "constants.Customer_Id__c",
                "made from the key columns",
                "",
            ),
        ),
        (
            "constant for an unknown field",
            |c| c.line("customer", "constants.Emial = \"5\""),
            (Problem, "constants.Emial", "did you mean \"Email\"?", ""),
        ),
        (
            "bad constant",
            |c| c.line("customer", "constants.Birthdate = \"tomorrow\""),
            (Problem, "constants.Birthdate", "is not a date", ""),
        ),
        (
            "constant twice",
            |c| {
                c.line(
                    "customer",
                    "constants = { FirstName = \"a\", firstname = \"b\" }",
                )
            },
            (Problem, "constants.firstname", "named twice", ""),
        ),
        (
            "empty constant for a required field",
            |c| {
                c.replace(
                    "columns.last_name = \"LastName\"",
                    "columns.last_name = { ignore = true }",
                );
                c.line("customer", "constants.LastName = \"\"")
            },
            (Problem, "constants.LastName", "cannot be empty", ""),
        ),
        (
            "ignored and mapped",
            |c| c.replace("{ ignore = true }", "{ ignore = true, field = \"Phone\" }"),
            (Problem, "columns.secret", "at once", ""),
        ),
        (
            "rule without a field",
            |c| c.replace("{ ignore = true }", "{ null = \"skip\" }"),
            (Problem, "columns.secret", "names no field", ""),
        ),
        (
            "restricted list",
            |c| {
                let f = c.field("Contact", "Mood__c");
                f.restricted = true;
                f.picklist = vec!["sad".into()];
                c.column("customer", "mood", "mood")
            },
            (
                Note,
                "columns.mood",
                "takes the 1 values of its list only",
                "",
            ),
        ),
        (
            "reference to nothing",
            |c| {
                c.replace(
                    "references = \"public.company\"",
                    "references = \"public.compnay\"",
                )
            },
            (
                Problem,
                "columns.company_id",
                "did you mean \"public.company\"?",
                "ignore = true",
            ),
        ),
        (
            "reference to a key of several columns",
            |c| {
                c.replace(
                    "references = \"public.company\"",
                    "references = \"public.deal\"",
                )
            },
            (Problem, "columns.company_id", "key of several columns", ""),
        ),
        (
            "reference to the wrong object",
            |c| c.field("Contact", "AccountId").reference_to = vec!["Asset".into()],
            (
                Problem,
                "columns.company_id",
                "points to Asset, but rows of public.company become records of Account",
                "",
            ),
        ),
        (
            "reference through a text field",
            |c| c.replace("{ field = \"Account\",", "{ field = \"FirstName\","),
            (Problem, "columns.company_id", "is not a lookup", ""),
        ),
        (
            "reference through an unknown field",
            |c| c.replace("{ field = \"Account\",", "{ field = \"Acount\","),
            (
                Problem,
                "columns.company_id",
                "did you mean \"Account\"?",
                "",
            ),
        ),
        (
            "reference to several objects",
            |c| {
                c.field("Contact", "AccountId")
                    .reference_to
                    .push("Partner__c".into())
            },
            (Note, "columns.company_id", "written as one of Account", ""),
        ),
        (
            "reference by another type",
            |c| c.column("customer", "company_id", "text"),
            (
                Warning,
                "columns.company_id",
                "is not the type of the key",
                "",
            ),
        ),
        (
            "reference by a hopeless type",
            |c| c.column("customer", "company_id", "float8"),
            (Problem, "columns.company_id", "cannot name a row", ""),
        ),
        (
            "lookup without references",
            |c| {
                c.replace(
                    "{ field = \"Account\", references = \"public.company\" }",
                    "\"AccountId\"",
                )
            },
            (Problem, "columns.company_id", "say `references`", ""),
        ),
        (
            "lookup by ids of the CRM",
            |c| {
                c.column("customer", "company_id", "text");
                c.replace(
                    "{ field = \"Account\", references = \"public.company\" }",
                    "\"AccountId\"",
                )
            },
            (
                Warning,
                "columns.company_id",
                "has to hold ids of the CRM",
                "",
            ),
        ),
        (
            "null in a required field",
            |c| c.column("customer", "last_name", "text"),
            (
                Warning,
                "columns.last_name",
                "LastName takes no null",
                "default",
            ),
        ),
        (
            "null skipped in a required field",
            |c| {
                c.column("customer", "last_name", "text");
                c.replace(
                    "= \"LastName\"",
                    "= { field = \"LastName\", null = \"skip\" }",
                )
            },
            (
                Warning,
                "columns.last_name",
                "which the CRM requires",
                "default",
            ),
        ),
        (
            "null in a boolean",
            |c| {
                c.column("company", "active", "bool");
                c.replace(
                    "constants = { Active__c = true }",
                    "columns.active = \"Active__c\"",
                )
            },
            (Warning, "columns.active", "written as false", "skip"),
        ),
        (
            "bad default",
            |c| {
                c.replace(
                    "= \"Email\"",
                    "= { field = \"Email\", null = { default = \"x\" } }",
                )
            },
            (Problem, "columns.email", "is not an e-mail address", ""),
        ),
        (
            "empty default",
            |c| {
                c.replace(
                    "= \"Email\"",
                    "= { field = \"Email\", null = { default = \" \" } }",
                )
            },
            (Problem, "columns.email", "the default is empty", "clear"),
        ),
        (
            "bad default of a reference",
            |c| {
                c.replace(
                    "references = \"public.company\"",
                    "references = \"public.company\", null = { default = true }",
                )
            },
            (
                Problem,
                "columns.company_id",
                "the default of a reference",
                "",
            ),
        ),
        (
            "bound by name",
            |c| c.column("company", "vat_number", "text"),
            (
                Note,
                "columns.vat_number",
                "it goes to Vat_Number__c by the naming rule",
                "",
            ),
        ),
        (
            "bound by name, standard",
            |c| c.column("customer", "birthdate", "date"),
            (
                Note,
                "columns.birthdate",
                "it goes to Birthdate by the naming rule",
                "",
            ),
        ),
        (
            "no field of that name",
            |c| c.column("company", "shoe_size", "int4"),
            (
                Note,
                "columns.shoe_size",
                "no free field Shoe_Size__c or ShoeSize",
                "ignore = true",
            ),
        ),
        (
            "no field of that name, halt",
            |c| {
                c.column("company", "shoe_size", "int4");
                c.config.push_str("[routing]\nmissing_field = \"halt\"\n")
            },
            (
                Problem,
                "columns.shoe_size",
                "routing.missing_field = \"halt\"",
                "ignore = true",
            ),
        ),
        (
            "unmapped halts",
            |c| {
                c.column("company", "vat_number", "text");
                c.config.push_str("[routing]\nunmapped = \"halt\"\n")
            },
            (
                Problem,
                "columns.vat_number",
                "routing.unmapped = \"halt\"",
                "ignore = true",
            ),
        ),
        (
            "unmapped ignored",
            |c| {
                c.column("company", "vat_number", "text");
                c.config.push_str("[routing]\nunmapped = \"ignore\"\n")
            },
            (
                Note,
                "columns.vat_number",
                "left out and counted",
                "ignore = true",
            ),
        ),
        (
            "name of an unfit field",
            |c| c.column("customer", "birthdate", "bytea"),
            (Note, "columns.birthdate", "no free field", ""),
        ),
        (
            "name of a lookup",
            |c| c.column("customer", "owner_id", "text"),
            (Note, "columns.owner_id", "no free field", ""),
        ),
    ];
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
    assert!(matches!(&company.target.removal, Removal::Archive(set) if set.len() == 1));
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
    let compiled = compile(&config(&case.config), &case.catalog, &types, None);
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
