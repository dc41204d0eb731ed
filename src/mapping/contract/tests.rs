#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use super::*;
use crate::capture::{ColumnNotes, TableNotes};
use crate::change::{Kind, OldRow};
use crate::fault::{Finding, Severity};
use crate::mapping::fixtures::{Case, Cell, change, row, types};
use crate::mapping::{FieldKind, Mapped};
use Cell::{Is, Null, Same};

fn notes() -> TableNotes {
    let mut notes = TableNotes {
        comment: Some("People who bought.".into()),
        ..TableNotes::default()
    };
    let mood = ColumnNotes {
        comment: None,
        labels: vec!["ok".into(), "bad".into()],
    };
    notes.columns.insert(6, mood);
    notes
}

/// The customer's contract, with a `mood` that fills a list and an amount.
fn case() -> Case {
    let mut case = Case::default();
    case.column("customer", "mood", "mood");
    case.column("customer", "last_name", "varchar(20)!");
    case.column("customer", "rating", "numeric(5,2)");
    let contact = case.crm.get_mut("Contact").unwrap();
    contact.fields.push(crate::mapping::fixtures::field(
        "Rating__c",
        FieldKind::Decimal,
    ));
    case
}

fn made(case: &Case, notes: &TableNotes, mapped: bool) -> Contract {
    let mapping = case.mapping();
    let table = case
        .catalog
        .iter()
        .find(|t| &*t.name == "customer")
        .unwrap();
    let source = Source {
        table,
        notes: Some(notes),
        types: &types,
        underlying: &|oid, typmod| (oid, typmod),
    };
    let rules = mapping.by_name("public.customer").unwrap();
    build(source, mapped.then_some(&**rules), true)
}

fn exported() -> Contract {
    made(&case(), &notes(), true).after(None).unwrap()
}

#[test]
fn a_contract_reads_back_and_its_version_follows_the_content() {
    let one = exported();
    assert_eq!(one.terms.version, 1);
    assert_eq!(Contract::read(&one.text()).unwrap(), one);
    assert!(
        one.text()
            .contains("\"$id\": \"urn:syncline:contract:public.customer\"")
    );
    // In the order of the table, whatever the letters.
    let names: Vec<&str> = one.properties.iter().map(|(n, _)| n.as_str()).collect();
    let table = [
        "id",
        "last_name",
        "email",
        "company_id",
        "secret",
        "mood",
        "rating",
    ];
    assert_eq!(names, table);
    assert_eq!(made(&case(), &notes(), true).after(Some(&one)), None);
    let mut changed = case();
    changed.column("customer", "nick", "text");
    let two = made(&changed, &notes(), true).after(Some(&one)).unwrap();
    assert_eq!(two.terms.version, 2);
    // Back to what it was: still a change.
    let three = made(&case(), &notes(), true).after(Some(&two)).unwrap();
    assert_eq!(
        (three.terms.version, &three.terms.content),
        (3, &one.terms.content)
    );
    // A file that somebody edited is not taken for ours.
    let mut edited = one.clone();
    edited.properties[1].1.max_length = Some(5);
    let mended = made(&case(), &notes(), true).after(Some(&edited)).unwrap();
    assert_eq!(mended.terms.version, 2);
}

#[test]
fn what_cannot_be_checked_is_no_contract() {
    let text = exported().text();
    for (from, to, expected) in [
        (
            "\"maxLength\": 20",
            "\"minLength\": 2",
            "unknown field `minLength`",
        ),
        (
            "\"needed\": true",
            "\"needed\": true, \"x\": 1",
            "unknown field `x`",
        ),
        (
            "\"title\": ",
            "\"additionalProperties\": false, \"title\": ",
            "unknown field",
        ),
        (
            "\"maxLength\": 20",
            "\"pattern\": \"^A\"",
            "properties.last_name: a format or a pattern that rows are not checked for",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        let error = Contract::read(&text.replacen(from, to, 1)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.remedy.is_some());
    }
    assert!(Contract::read("{}").is_err());
}

#[test]
fn file_names_are_names_of_files() {
    for (table, file) in [
        ("public.company", "public.company.json"),
        ("public.Größe", "public.Größe.json"),
        ("a/b.c d", "a%2Fb.c%20d.json"),
    ] {
        assert_eq!(Contract::file_name(table), file);
    }
}

/// Severity and words of every finding.
fn told(findings: &[Finding]) -> Vec<(Severity, String)> {
    let line = |f: &Finding| (f.severity, format!("{}: {}", f.place, f.what));
    findings.iter().map(line).collect()
}

#[test]
fn drift_is_told_by_what_the_mapping_needs() {
    use Severity::{Note, Problem};
    type Edit = fn(&mut Case, &mut TableNotes);
    let cases: &[(Edit, Severity, &str)] = &[
        (
            |c, _| c.column("customer", "last_name", "varchar(120)!"),
            Problem,
            "last_name: the type was varchar(20) and is varchar(120) now: Contact.LastName takes 80 characters",
        ),
        (
            |c, _| c.column("customer", "last_name", "varchar(60)!"),
            Problem,
            "rows beyond the old type break the contract, though Contact.LastName takes 80",
        ),
        (
            |c, _| c.column("customer", "last_name", "varchar(10)!"),
            Note,
            "which is narrower",
        ),
        (
            |c, _| c.column("customer", "last_name", "text!"),
            Problem,
            "was varchar(20) and is text now",
        ),
        (
            |c, _| c.column("customer", "last_name", "varchar(20)"),
            Problem,
            "last_name: the column may be NULL now",
        ),
        (
            |c, _| c.column("customer", "email", "text!"),
            Note,
            "email: the column is NOT NULL now",
        ),
        (
            |c, _| c.column("customer", "secret", "int4"),
            Note,
            "secret: the type was text and is int4 now",
        ),
        (
            |c, _| c.column("customer", "rating", "numeric(6,2)"),
            Problem,
            "rating: the type was numeric(5,2)",
        ),
        (
            |c, _| c.column("customer", "rating", "numeric(4,2)"),
            Note,
            "narrower",
        ),
        (
            |c, _| c.column("customer", "id", "int4!"),
            Note,
            "id: the type was int8 and is int4 now, which is narrower",
        ),
        (
            |c, _| c.column("customer", "nick", "text"),
            Note,
            "nick: a new column, text",
        ),
        (
            |c, _| c.table("customer").columns.retain(|c| &*c.name != "email"),
            Problem,
            "email: the column is gone, or the publication does not send it any more: Contact.Email is filled from it",
        ),
        (
            |c, _| c.table("customer").columns.retain(|c| &*c.name != "secret"),
            Note,
            "secret: the column is gone",
        ),
        (
            |c, _| c.table("customer").columns[2].name = "mail".into(),
            Problem,
            "email: the column is called mail now: Contact.Email is filled from it",
        ),
        (
            |c, _| c.table("customer").primary_key = vec!["id".into(), "email".into()],
            Problem,
            "key: the primary key was (id) and is (id, email) now",
        ),
        (
            |c, _| c.table("customer").identity = crate::change::ReplicaIdentity::Nothing,
            Problem,
            "the replica identity was default (id) and is nothing",
        ),
        (
            |_, n| n.columns.get_mut(&6).unwrap().labels.push("great".into()),
            Problem,
            "mood: the enumeration has a new value, \"great\", which the contract does not list: see that Contact.Mood__c takes it",
        ),
        (
            |_, n| drop(n.columns.get_mut(&6).unwrap().labels.pop()),
            Note,
            "no longer has the value \"bad\"",
        ),
        (|_, n| n.comment = None, Note, ""),
    ];
    let contract = exported();
    for (edit, severity, expected) in cases {
        let (mut case, mut said) = (case(), notes());
        edit(&mut case, &mut said);
        // The source alone: no mapping has to fit for it.
        let table = case
            .catalog
            .iter()
            .find(|t| &*t.name == "customer")
            .unwrap();
        let now = build(
            Source {
                table,
                notes: Some(&said),
                types: &types,
                underlying: &|o, t| (o, t),
            },
            None,
            false,
        );
        let found = told(&against_database(&contract, &now));
        if expected.is_empty() {
            assert!(found.is_empty(), "{found:#?}");
            continue;
        }
        assert!(
            matches!(found.as_slice(), [(s, what)] if s == severity && what.contains(expected)),
            "{expected}: {found:#?}"
        );
    }
}

#[test]
fn drift_of_the_crm_is_told() {
    use Severity::{Note, Problem};
    type Edit = fn(&mut Case);
    let cases: &[(Edit, Severity, &str)] = &[
        (
            |c| {
                c.crm
                    .get_mut("Contact")
                    .unwrap()
                    .fields
                    .retain(|f| &*f.name != "Email")
            },
            Problem,
            "email: Contact.Email is gone",
        ),
        (
            |c| c.field("Contact", "Email").updateable = false,
            Problem,
            "Contact.Email cannot be written",
        ),
        (
            |c| c.field("Contact", "Email").kind = FieldKind::Date,
            Problem,
            "was a field of the kind e-mail and is date now",
        ),
        (
            |c| c.field("Contact", "LastName").length = 10,
            Problem,
            "LastName took 80 characters and takes 10 now",
        ),
        (
            |c| c.field("Contact", "LastName").length = 40,
            Note,
            "takes 40 now",
        ),
        (
            |c| c.field("Contact", "Email").nillable = false,
            Problem,
            "Contact.Email takes no null any more",
        ),
        (
            |c| c.field("Contact", "Rating__c").scale = 1,
            Problem,
            "had 18 digits, 2 of them",
        ),
        (
            |c| {
                c.crm
                    .get_mut("Contact")
                    .unwrap()
                    .fields
                    .retain(|f| &*f.name != "Customer_Id__c")
            },
            Problem,
            "the external id, is gone",
        ),
    ];
    let contract = exported();
    assert_eq!(against_crm(&contract, Some(&case().crm["Contact"])), []);
    assert!(
        against_crm(&contract, None)[0]
            .what
            .contains("no object Contact")
    );
    for (edit, severity, expected) in cases {
        let mut case = case();
        edit(&mut case);
        let found = told(&against_crm(&contract, Some(&case.crm["Contact"])));
        assert!(
            matches!(found.as_slice(), [(s, what)] if s == severity && what.contains(expected)),
            "{expected}: {found:#?}"
        );
    }
}

#[test]
fn what_the_mapping_needs_is_guarded() {
    let contract = exported();
    let against = |case: &Case| {
        let mapping = case.mapping();
        let now = made(case, &notes(), true);
        told(&against_mapping(
            &contract,
            &now,
            mapping.by_name("public.customer").unwrap(),
        ))
    };
    assert_eq!(against(&case()), []);
    let mut newly = case();
    newly.replace(
        "columns.secret = { ignore = true }",
        "columns.secret = \"FirstName\"",
    );
    let found = against(&newly);
    assert!(
        found[0].1.contains("does not guard it") && found[0].0 == Severity::Problem,
        "{found:?}"
    );
    let mut elsewhere = case();
    elsewhere.replace("\"Email\"", "\"FirstName\"");
    let found = against(&elsewhere);
    assert!(
        found[0]
            .1
            .contains("fills Email, the mapping that it fills FirstName"),
        "{found:?}"
    );
    let mut by_name = case();
    by_name.column("customer", "birthdate", "date");
    let found = against(&by_name);
    assert!(
        found[0].1.contains("by the naming rule") && found[0].0 == Severity::Note,
        "{found:?}"
    );
    // A list that does not have every label.
    let mut listed = case();
    let mood = listed.field("Contact", "Mood__c");
    mood.restricted = true;
    mood.picklist = vec!["ok".into(), "Bad".into()];
    let found = against(&listed);
    assert!(
        found[0].1.contains("rows with \"bad\" become dead letters"),
        "{found:?}"
    );
    listed.line(
        "customer",
        "columns.mood = { field = \"Mood__c\", values = { bad = \"Bad\" } }",
    );
    assert_eq!(against(&listed), []);
}

#[test]
fn a_row_that_breaks_its_contract_is_rejected_before_it_is_coerced() {
    let contract = exported();
    // The table as it has become since: everything is text and may be NULL.
    let mut later = case();
    later.column("customer", "last_name", "text");
    later.column("customer", "rating", "numeric(20,8)");
    later.column("customer", "email", "text");
    let table = later
        .catalog
        .iter()
        .find(|t| &*t.name == "customer")
        .unwrap();
    assert_eq!(table.columns.len(), 7);
    let contracts: Contracts = [("public.customer".into(), contract)].into();
    let relation = later.relation("customer");
    let binding = later.mapping().under(Arc::new(contracts)).bind(&relation);
    let map = |name, company, mood, rating| {
        let cells = [Is("5"), name, Null, company, Is("hush"), mood, rating];
        binding.map(&change(&relation, Kind::Insert { new: row(&cells) }))
    };
    let good = map(Is("Lee"), Is("7"), Is("ok"), Is("-999.99"));
    assert!(matches!(good, Mapped::Operation(_)), "{good:?}");
    let nulls = map(Is("Lee"), Null, Null, Null);
    assert!(matches!(nulls, Mapped::Operation(_)), "{nulls:?}");
    let same = map(Same, Same, Same, Same);
    assert!(matches!(same, Mapped::Operation(_)), "{same:?}");
    for (cells, field, words) in [
        (
            (Is("Lee of the twenty and one"), Is("7"), Is("ok"), Null),
            "LastName",
            "20 characters",
        ),
        ((Null, Is("7"), Is("ok"), Null), "LastName", "is NULL"),
        (
            (Is("Lee"), Is("7"), Is("great"), Null),
            "Mood__c",
            "none of the values",
        ),
        (
            (Is("Lee"), Is("7"), Is("ok"), Is("1000.00")),
            "Rating__c",
            "outside",
        ),
        (
            (Is("Lee"), Is("7"), Is("ok"), Is("1.001")),
            "Rating__c",
            "outside",
        ),
        (
            (Is("Lee"), Is("x7"), Is("ok"), Null),
            "AccountId",
            "not of the type",
        ),
    ] {
        let (name, company, mood, rating) = cells;
        let Mapped::Rejected(rejected) = map(name, company, mood, rating) else {
            panic!("{words} passed");
        };
        assert_eq!(rejected.fault.code, "contract");
        assert_eq!(rejected.fault.fields, [field]);
        assert!(
            rejected.fault.message.contains(words),
            "{:?}",
            rejected.fault
        );
        for value in ["twenty", "great", "1000", "x7"] {
            assert!(!rejected.fault.message.contains(value));
        }
    }
    // Deletes need the key only.
    let old = OldRow::Key(row(&[Is("5"), Null, Null, Null, Null, Null, Null]));
    let gone = binding.map(&change(&relation, Kind::Delete { old }));
    assert!(matches!(gone, Mapped::Operation(_)), "{gone:?}");
}

#[test]
fn decimals_fit_by_their_digits() {
    let check = |precision, scale, text: &str| {
        let property = Property {
            types: vec!["number".into(), "string".into()],
            pattern: Some(build::NOT_FINITE.into()),
            terms: ColumnTerms {
                precision: Some(precision),
                scale: Some(scale),
                ..ColumnTerms::default()
            },
            ..Property::default()
        };
        Check::new(&property)
            .unwrap()
            .value(&crate::value::Value::Numeric(text))
    };
    for (precision, scale, text, good) in [
        (5, 2, "999.99", true),
        (5, 2, "-0.01", true),
        (5, 2, "1000", false),
        (5, 2, "0.001", false),
        (5, 2, "1.10000", true),
        (3, 0, "999", true),
        (3, 0, "0.5", false),
        (2, -3, "99000", true),
        (2, -3, "99500", false),
        (2, -3, "0", true),
        (2, 4, "0.0099", true),
        (2, 4, "0.0100", false),
        (2, 4, "0", true),
    ] {
        assert_eq!(
            check(precision, scale, text).is_none(),
            good,
            "{text} in ({precision},{scale})"
        );
    }
}
