//! Findings about tables as a whole: objects, keys, deletes, truncates.
#![allow(clippy::unwrap_used)]

use super::{Edit, Expected, assert_findings};
use crate::change::ReplicaIdentity;
use crate::fault::Severity::{Note, Problem, Warning};
use crate::mapping::FieldKind;

#[test]
fn every_mistake_has_its_finding() {
    let cases: &[(&str, Edit, Expected<'_>)] = &[
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
            "no right to delete for good",
            |c| {
                c.replace("on_delete = \"delete\"", "on_delete = \"hard_delete\"");
                c.crm.get_mut("Contact").unwrap().deletable = false;
            },
            (
                Problem,
                "on_delete",
                "may not delete records of Contact",
                "ignore",
            ),
        ),
        (
            "a template that means nothing",
            |c| c.replace("{ Active__c = false }", "{ Vat_Number__c = \"{now}\" }"),
            (
                Problem,
                "on_delete.set.Vat_Number__c",
                "{now} stands for nothing",
                "{commit_time}, {lsn}",
            ),
        ),
        (
            "an old value that is not sent",
            |c| {
                c.replace(
                    "{ Active__c = false }",
                    "{ Vat_Number__c = \"{old.name}\" }",
                )
            },
            (
                Problem,
                "on_delete.set.Vat_Number__c",
                "does not come with the old row's name",
                "ALTER TABLE public.company REPLICA IDENTITY FULL;",
            ),
        ),
        (
            "an old value of no column",
            |c| c.replace("{ Active__c = false }", "{ Vat_Number__c = \"{old.nme}\" }"),
            (
                Problem,
                "on_delete.set.Vat_Number__c",
                "has no column nme",
                "correct the name",
            ),
        ),
        (
            "a time for a number",
            |c| {
                c.replace(
                    "{ Active__c = false }",
                    "{ NumberOfEmployees = \"{commit_time}\" }",
                )
            },
            (
                Problem,
                "on_delete.set.NumberOfEmployees",
                "cannot take it",
                "right type",
            ),
        ),
        (
            "a needless restore",
            |c| {
                c.replace(
                    "{ set = { Active__c = false } }",
                    "{ set = { Active__c = false }, restore = { Active__c = true } }",
                );
            },
            (
                Problem,
                "on_delete.restore.Active__c",
                "fills Active__c when the row comes back",
                "take this line away",
            ),
        ),
        (
            "delete ignored",
            |_| {},
            (
                Note,
                "tables.\"public.deal\".on_delete",
                "its record stays",
                "",
            ),
        ),
        (
            "nothing sets back",
            |c| {
                c.replace("constants = { Active__c = true }\n", "");
                c.field("Account", "Active__c").kind = FieldKind::Text;
                c.replace("{ Active__c = false }", "{ Active__c = \"no\" }");
            },
            (
                Warning,
                "on_delete.set.Active__c",
                "nothing sets Active__c back",
                "restore = { Active__c",
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
    ];
    assert_findings(cases);
}
