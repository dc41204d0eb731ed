//! Findings about columns and constants.
#![allow(clippy::unwrap_used)]

use super::{Edit, Expected, assert_findings};
use crate::fault::Severity::{Note, Problem, Warning};

#[test]
fn every_mistake_has_its_finding() {
    let cases: &[(&str, Edit, Expected<'_>)] = &[
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
            "a parent for good",
            |c| c.field("Contact", "AccountId").updateable = false,
            (
                Problem,
                "columns.company_id",
                "wants to change",
                "allows reparenting",
            ),
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
    assert_findings(cases);
}
