//! Findings about how values are made uniform.
#![allow(clippy::unwrap_used)]

use super::{Case, Edit, Expected, assert_finding, assert_findings};
use crate::fault::Severity::{self, Problem, Warning};
use crate::mapping::FieldKind;

/// A column of the customer's with a rule.
fn with(case: &mut Case, column: &str, kind: &str, rule: &str) {
    case.column("customer", column, kind);
    case.line("customer", &format!("columns.{column} = {{ {rule} }}"));
}

fn listed(case: &mut Case) {
    let mood = case.field("Contact", "Mood__c");
    mood.restricted = true;
    mood.picklist = vec!["Good".into(), "Bad".into()];
}

#[test]
fn every_mistake_has_its_finding() {
    let cases: &[(&str, Edit, Expected<'_>)] = &[
        (
            "a value that the list lacks",
            |c| {
                listed(c);
                with(
                    c,
                    "mood",
                    "mood",
                    "field = 'Mood__c', values = { ok = 'Fine' }",
                )
            },
            (
                Problem,
                "columns.mood.values.\"ok\"",
                "the value for Mood__c is not among the values of the restricted list",
                "",
            ),
        ),
        (
            "an otherwise that the list lacks",
            |c| {
                listed(c);
                with(
                    c,
                    "mood",
                    "mood",
                    "field = 'Mood__c', values = { ok = 'Good' }, otherwise = { value = 'Fine' }",
                )
            },
            (Problem, "columns.mood.otherwise", "restricted list", ""),
        ),
        (
            "a date that should be cut",
            |c| {
                with(
                    c,
                    "born",
                    "text",
                    "field = 'Birthdate', on_invalid = 'truncate'",
                )
            },
            (
                Problem,
                "columns.born",
                "Birthdate holds no text that could be cut",
                "clear",
            ),
        ),
        (
            "a required field that should be emptied",
            |c| {
                c.replace(
                    "columns.last_name = \"LastName\"",
                    "columns.last_name = { field = \"LastName\", on_invalid = \"clear\" }",
                )
            },
            (
                Problem,
                "columns.last_name",
                "LastName cannot be emptied",
                "reject",
            ),
        ),
        (
            "a value of the wrong type",
            |c| {
                with(
                    c,
                    "born",
                    "text",
                    "field = 'Birthdate', values = { x = true }",
                )
            },
            (Problem, "columns.born.values.\"x\"", "Birthdate", ""),
        ),
        (
            "no such boolean",
            |c| {
                with(
                    c,
                    "vip",
                    "bool",
                    "field = 'FirstName', values = { t = 'Yes' }",
                )
            },
            (
                Problem,
                "columns.vip.values.\"t\"",
                "never occurs",
                "correct",
            ),
        ),
        (
            "no such number",
            |c| {
                with(
                    c,
                    "rank",
                    "int4",
                    "field = 'FirstName', values = { 01 = 'Yes' }",
                )
            },
            (Problem, "columns.rank.values.\"01\"", "whole numbers", ""),
        ),
        (
            "a value that is trimmed away",
            |c| {
                with(
                    c,
                    "nick",
                    "text",
                    "field = 'FirstName', values = { ' a' = 'A' }",
                )
            },
            (Problem, "columns.nick.values.\" a\"", "never occurs", ""),
        ),
        (
            "a map of dates",
            |c| {
                with(
                    c,
                    "born",
                    "date",
                    "field = 'Birthdate', values = { x = '' }",
                )
            },
            (
                Problem,
                "columns.born.values",
                "whole numbers and booleans",
                "",
            ),
        ),
        (
            "a zone for text",
            |c| with(c, "born", "text", "field = 'Birthdate', time_zone = 'UTC'"),
            (
                Problem,
                "columns.born.time_zone",
                "for timestamps",
                "take it away",
            ),
        ),
        (
            "a zone for the day of a reading",
            |c| {
                with(
                    c,
                    "born",
                    "timestamp",
                    "field = 'Birthdate', time_zone = 'UTC'",
                )
            },
            (Problem, "columns.born.time_zone", "in every zone", ""),
        ),
        (
            "a zone that is none",
            |c| {
                with(
                    c,
                    "born",
                    "timestamptz",
                    "field = 'Birthdate', time_zone = 'Europe/Berln'",
                )
            },
            (
                Problem,
                "columns.born.time_zone",
                "did you mean \"Europe/Berlin\"?",
                "IANA",
            ),
        ),
        (
            "trimming a number",
            |c| with(c, "rank", "int4", "field = 'FirstName', trim = 'collapse'"),
            (Problem, "columns.rank.trim", "it is for text", ""),
        ),
        (
            "keeping the empty text of a date",
            |c| with(c, "born", "date", "field = 'Birthdate', empty = 'keep'"),
            (Problem, "columns.born.empty", "it is for text", ""),
        ),
        (
            "touching a reference",
            |c| {
                c.replace(
                    "references = \"public.company\"",
                    "references = \"public.company\", unicode = \"nfc\"",
                )
            },
            (Problem, "columns.company_id.unicode", "to the letter", ""),
        ),
        (
            "a reference to what is no key",
            |c| {
                c.replace(
                    "references = \"public.company\"",
                    "references = \"public.company\", values = { 0 = true }",
                )
            },
            (
                Problem,
                "columns.company_id.values.\"0\"",
                "key of a row",
                "",
            ),
        ),
        (
            "an open map does not make a type fit",
            |c| {
                c.crm.get_mut("Contact").unwrap().fields.push(
                    super::super::super::fixtures::field("Vip__c", FieldKind::Boolean),
                );
                with(
                    c,
                    "vip",
                    "int4",
                    "field = 'Vip__c', values = { 1 = true, 0 = false }",
                )
            },
            (Problem, "columns.vip", "a boolean field takes bool", ""),
        ),
        (
            "a reading without its zone",
            |c| {
                c.crm.get_mut("Contact").unwrap().fields.push(
                    super::super::super::fixtures::field("Seen__c", FieldKind::DateTime),
                );
                with(c, "seen", "timestamp", "field = 'Seen__c'")
            },
            (Warning, "columns.seen", "taken as UTC", ""),
        ),
    ];
    assert_findings(cases);
    let mut case = Case::default();
    (cases[0].1)(&mut case);
    assert_finding("again", &case, cases[0].2);
}

#[test]
fn what_a_rule_settles_is_no_finding() {
    let mut case = Case::default();
    listed(&mut case);
    for (name, kind) in [
        ("Vip__c", FieldKind::Boolean),
        ("Seen__c", FieldKind::DateTime),
    ] {
        let field = super::super::super::fixtures::field(name, kind);
        case.crm.get_mut("Contact").unwrap().fields.push(field);
    }
    with(
        &mut case,
        "vip",
        "int4!",
        "field = 'Vip__c', values = { 1 = true }, otherwise = { value = false }",
    );
    with(
        &mut case,
        "seen",
        "timestamp",
        "field = 'Seen__c', time_zone = 'Asia/Tokyo'",
    );
    with(
        &mut case,
        "born",
        "timestamptz",
        "field = 'Birthdate', time_zone = 'Asia/Tokyo'",
    );
    with(
        &mut case,
        "mood",
        "mood",
        "field = 'Mood__c', values = { '' = 'Bad', ok = 'Good' }, otherwise = 'null'",
    );
    let compiled = case.compile();
    let loud: Vec<_> = compiled
        .findings
        .iter()
        .filter(|f| f.severity > Severity::Note)
        .collect();
    assert!(loud.is_empty() && compiled.mapping.is_some(), "{loud:#?}");
}
