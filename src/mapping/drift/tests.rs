#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::fault::Severity::{Note, Problem, Warning};
use crate::mapping::fixtures::{field, key_field};

fn object(fields: Vec<FieldDescription>) -> ObjectDescription {
    ObjectDescription {
        name: "Contact".into(),
        createable: true,
        updateable: true,
        deletable: true,
        fields,
    }
}

/// What came of one change of the field X__c, used or not: severity and what, without the place.
fn changes(
    old: Option<FieldDescription>,
    new: Option<FieldDescription>,
    used: bool,
) -> Vec<(Severity, String)> {
    let (before, after) = (
        object(old.into_iter().collect()),
        object(new.into_iter().collect()),
    );
    let findings = crm_changes(&before, &after, &|name| used && name == "X__c");
    let told = |f: Finding| {
        assert_eq!(f.place, "Contact.X__c");
        let what = f.what.strip_prefix("Contact.X__c ").unwrap().to_owned();
        assert!(!what.ends_with('.'), "{what}");
        assert_eq!(f.remedy.is_empty(), f.severity == Note, "{what}");
        (f.severity, what)
    };
    findings.into_iter().map(told).collect()
}

fn x(kind: FieldKind) -> FieldDescription {
    field("X__c", kind)
}

fn list(restricted: bool, values: &[&str]) -> FieldDescription {
    FieldDescription {
        restricted,
        picklist: values.iter().map(|v| (*v).into()).collect(),
        ..x(FieldKind::Picklist)
    }
}

fn lookup(relationship: &str, to: &[&str]) -> FieldDescription {
    FieldDescription {
        reference_to: to.iter().map(|o| (*o).into()).collect(),
        relationship: Some(relationship.into()),
        ..x(FieldKind::Reference)
    }
}

type Edit = fn(&mut FieldDescription);

#[test]
fn a_change_of_a_used_field_is_told_by_what_it_does_to_rows() {
    let key = || FieldDescription {
        name: "X__c".into(),
        ..key_field("X__c")
    };
    let text = || x(FieldKind::Text);
    let number = || x(FieldKind::Decimal);
    let cases: &[(FieldDescription, Edit, &[(Severity, &str)])] = &[
        (text(), |_| {}, &[]),
        (text(), |f| f.label = "Other".into(), &[]),
        (
            text(),
            |f| (f.createable, f.updateable) = (false, false),
            &[(Problem, "has become read-only for our user")],
        ),
        (
            text(),
            |f| f.createable = false,
            &[(Problem, "can no longer be written in a new record")],
        ),
        (
            text(),
            |f| f.updateable = false,
            &[(Problem, "can no longer be changed in a record")],
        ),
        (
            text(),
            |f| f.length = 80,
            &[(
                Warning,
                "has become shorter, 80 characters instead of 255: rows with longer values become \
                 dead letters, nothing is cut",
            )],
        ),
        (
            text(),
            |f| f.length = 300,
            &[(Note, "has become longer, 300 characters instead of 255")],
        ),
        (text(), |f| f.length = 0, &[]),
        (
            number(),
            |f| f.precision = 12,
            &[(
                Warning,
                "has become smaller, 10 digits left of the point instead of 16: rows with larger \
                 values become dead letters",
            )],
        ),
        (
            number(),
            |f| f.scale = 0,
            &[(
                Warning,
                "keeps 0 digits right of the point instead of 2: the rest is rounded away",
            )],
        ),
        (
            number(),
            |f| (f.precision, f.scale) = (18, 4),
            &[(
                Warning,
                "has become smaller, 14 digits left of the point instead of 16: rows with larger \
                 values become dead letters",
            )],
        ),
        (
            number(),
            |f| (f.precision, f.scale) = (20, 4),
            &[(Note, "has become larger")],
        ),
        (
            text(),
            |f| f.nillable = false,
            &[(
                Warning,
                "has become required: rows without a value for it become dead letters",
            )],
        ),
        (
            text(),
            |f| (f.nillable, f.defaulted_on_create) = (false, true),
            &[],
        ),
        (
            text(),
            |f| f.unique = true,
            &[(
                Warning,
                "has become unique: rows that share a value become dead letters",
            )],
        ),
        (
            key(),
            |f| f.external_id = false,
            &[(
                Problem,
                "is no longer an external id: records cannot be upserted by it",
            )],
        ),
        (
            key(),
            |f| f.unique = false,
            &[(
                Warning,
                "is no longer unique: two records could bear one key, and writes would fail or hit \
                 either",
            )],
        ),
        (
            key(),
            |f| f.case_sensitive = false,
            &[(
                Warning,
                "no longer tells ABC from abc: rows whose keys differ by case alone are refused",
            )],
        ),
        (
            list(false, &["a", "b"]),
            |f| f.restricted = true,
            &[(
                Warning,
                "has become restricted to the 2 values of its list: rows with another become dead \
                 letters",
            )],
        ),
        (
            list(true, &["a", "b", "c"]),
            |f| f.picklist.truncate(1),
            &[(
                Warning,
                "has lost 2 of the 3 values of its list: rows with them become dead letters",
            )],
        ),
        (
            list(true, &["a"]),
            |f| f.picklist.push("b".into()),
            &[(Note, "has new values in its list")],
        ),
        (list(false, &["a", "b"]), |f| f.picklist.clear(), &[]),
        (
            text(),
            |f| (f.kind, f.restricted) = (FieldKind::Picklist, true),
            &[
                (
                    Warning,
                    "was a text and is now a list: rows whose values it cannot take become dead \
                     letters",
                ),
                (
                    Warning,
                    "has become restricted to the 0 values of its list: rows with another become \
                     dead letters",
                ),
            ],
        ),
        (
            text(),
            |f| (f.kind, f.length) = (FieldKind::LongText, 4000),
            &[(Note, "was a text and is now a long text")],
        ),
        (
            x(FieldKind::LongText),
            |f| (f.kind, f.length) = (FieldKind::Text, 80),
            &[(
                Warning,
                "was a long text and is now a text: rows whose values it cannot take become dead \
                 letters",
            )],
        ),
        (
            x(FieldKind::Int),
            |f| f.kind = FieldKind::Decimal,
            &[(
                Warning,
                "was a whole number and is now a number: rows whose values it cannot take become \
                 dead letters",
            )],
        ),
        (
            x(FieldKind::Int),
            |f| (f.kind, f.scale) = (FieldKind::Decimal, 0),
            &[(Note, "was a whole number and is now a number")],
        ),
        (
            number(),
            |f| f.kind = FieldKind::Date,
            &[(
                Problem,
                "was a number and is now a date: the mapped column may no longer fit",
            )],
        ),
        (
            text(),
            |f| f.kind = FieldKind::Other("address".into()),
            &[(
                Problem,
                "was a text and is now address: the mapped column may no longer fit",
            )],
        ),
        (
            lookup("Account", &["Account"]),
            |f| f.reference_to = vec!["Lead".into()],
            &[(Problem, "no longer refers to Account")],
        ),
        (
            lookup("Account", &["Account"]),
            |f| f.reference_to.push("Lead".into()),
            &[],
        ),
        (
            lookup("Account", &["Account"]),
            |f| f.relationship = Some("Company".into()),
            &[(
                Warning,
                "names its parent otherwise than before: a configuration that names the lookup so no \
                 longer finds it",
            )],
        ),
    ];
    for (old, edit, expected) in cases {
        let mut new = old.clone();
        edit(&mut new);
        let found = changes(Some(old.clone()), Some(new.clone()), true);
        let found: Vec<(Severity, &str)> = found.iter().map(|(s, w)| (*s, w.as_str())).collect();
        assert_eq!(found, *expected, "{old:?} -> {new:?}");
        // What nothing of ours writes is nobody's trouble, unless new records need it.
        let needed = is_required(&new) && !is_required(old);
        let found = changes(Some(old.clone()), Some(new), false);
        assert_eq!(found.len(), usize::from(needed), "{found:?}");
    }
}

#[test]
fn fields_come_and_go() {
    let text = || x(FieldKind::Text);
    let required = || FieldDescription {
        nillable: false,
        ..text()
    };
    let locked = || FieldDescription {
        createable: false,
        updateable: false,
        ..text()
    };
    let what = |severity, what: &str| vec![(severity, what.to_owned())];
    let needed = "has become required, and nothing fills it: no new record can be created";
    let gone = "is gone, or our user can no longer see it";
    assert_eq!(changes(Some(text()), None, true), what(Problem, gone));
    assert_eq!(changes(Some(text()), None, false), []);
    for used in [true, false] {
        assert_eq!(
            changes(None, Some(text()), used),
            what(Note, "is new (X__c)")
        );
    }
    assert_eq!(
        changes(None, Some(required()), false),
        what(Problem, needed)
    );
    assert_eq!(
        changes(None, Some(required()), true),
        what(Note, "is new (X__c)")
    );
    assert_eq!(
        changes(Some(text()), Some(required()), false),
        what(Problem, needed)
    );
    assert_eq!(
        changes(Some(locked()), Some(text()), true),
        what(Note, "can be written by our user from now on")
    );
}

#[test]
fn names_of_one_field_differ_by_case_at_most() {
    let mut renamed = x(FieldKind::Text);
    renamed.name = "x__C".into();
    assert_eq!(changes(Some(x(FieldKind::Text)), Some(renamed), true), []);
}

#[test]
fn rights_to_the_object_are_told() {
    let before = object(Vec::new());
    let after = ObjectDescription {
        createable: false,
        updateable: false,
        deletable: false,
        ..before.clone()
    };
    let told = |a, b| -> Vec<(Severity, String)> {
        let findings = crm_changes(a, b, &|_| true);
        assert!(findings.iter().all(|f| f.place == "Contact"));
        findings.into_iter().map(|f| (f.severity, f.what)).collect()
    };
    let lost = |what| format!("Contact has records that our user may no longer {what}");
    assert_eq!(
        told(&before, &after),
        [
            (Problem, lost("create")),
            (Problem, lost("change")),
            (Warning, lost("delete"))
        ]
    );
    assert!(told(&after, &before).iter().all(|(s, _)| *s == Note));
    assert_eq!(told(&before, &before), []);
}
