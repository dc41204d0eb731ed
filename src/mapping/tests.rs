//! The way of a change through this stage, from the outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use super::fixtures::{Case, Cell, change, row};
use super::*;
use crate::change::{Kind, OldRow, Relation, ReplicaIdentity};
use crate::config::OnTruncate;
use crate::fault::{Class, Severity};
use Cell::{Is, Null, Same};

/// A customer: id, last_name, email, company_id, secret.
type Row<'a> = [Cell<'a>; 5];
const ANN: Row<'static> = [Is("5"), Is("Lee"), Is("ann@b.example"), Is("7"), Is("hush")];

struct Bench {
    binding: Binding,
    relation: Arc<Relation>,
}

impl Bench {
    fn new(case: &Case, table: &str) -> Self {
        let relation = case.relation(table);
        Bench {
            binding: case.mapping().bind(&relation),
            relation,
        }
    }

    fn map(&self, kind: Kind) -> Mapped {
        self.binding.map(&change(&self.relation, kind))
    }

    fn insert(&self, cells: &[Cell<'_>]) -> Mapped {
        self.map(Kind::Insert { new: row(cells) })
    }

    fn update(&self, old: OldRow, cells: &[Cell<'_>]) -> Mapped {
        self.map(Kind::Update {
            old,
            new: row(cells),
        })
    }
}

fn operation(mapped: Mapped) -> Operation {
    match mapped {
        Mapped::Operation(operation) => operation,
        other => panic!("no operation: {other:?}"),
    }
}

fn rejected(mapped: Mapped) -> Rejected {
    match mapped {
        Mapped::Rejected(rejected) => rejected,
        other => panic!("not rejected: {other:?}"),
    }
}

/// `Field=value` for each field, in the order of the slots; `~` for clear.
fn told(operation: &Operation) -> Vec<String> {
    operation
        .fields
        .iter()
        .map(|f| {
            let name = &operation.target.fields[usize::from(f.slot)].name;
            match &f.assignment {
                Assignment::Clear => format!("{name}~"),
                Assignment::Set(FieldValue::Bool(b)) => format!("{name}={b}"),
                Assignment::Set(FieldValue::Number(s) | FieldValue::Text(s)) => {
                    format!("{name}={s}")
                }
                Assignment::Set(FieldValue::Reference(s)) => format!("{name}->{s}"),
            }
        })
        .collect()
}

#[test]
fn a_row_becomes_an_upsert_of_its_mapped_fields() {
    let bench = Bench::new(&Case::default(), "customer");
    let operation = operation(bench.insert(&ANN));
    assert_eq!((&*operation.key, &operation.action), ("5", &Action::Upsert));
    assert_eq!((operation.xid, operation.position.ordinal), (9, 3));
    assert_eq!(
        told(&operation),
        ["AccountId->7", "Email=ann@b.example", "LastName=Lee"]
    );
    let company = Case::default()
        .mapping()
        .by_name("public.company")
        .unwrap()
        .target
        .id;
    let parents: Vec<_> = operation
        .references()
        .map(|(_, o, k)| (o, k.to_string()))
        .collect();
    assert_eq!(parents, [(company, "7".to_owned())]);
}

#[test]
fn null_clears_and_unchanged_is_absent() {
    let bench = Bench::new(&Case::default(), "customer");
    let cleared = operation(bench.insert(&[Is("5"), Is("Lee"), Null, Null, Null]));
    assert_eq!(told(&cleared), ["AccountId~", "Email~", "LastName=Lee"]);
    let empty = operation(bench.insert(&[Is("5"), Is("Lee"), Is("  "), Null, Null]));
    assert_eq!(told(&empty), ["AccountId~", "Email~", "LastName=Lee"]);
    let same = operation(bench.update(OldRow::None, &[Is("5"), Is("Lee"), Same, Same, Same]));
    assert_eq!(told(&same), ["LastName=Lee"]);
}

#[test]
fn null_rules_are_followed() {
    let mut case = Case::default();
    case.replace("= \"Email\"", "= { field = \"Email\", null = \"skip\" }");
    case.replace(
        "= \"LastName\"",
        "= { field = \"LastName\", null = { default = \"Unknown\" } }",
    );
    case.replace(
        "references = \"public.company\"",
        "references = \"public.company\", null = { default = 1 }",
    );
    let bench = Bench::new(&case, "customer");
    let operation = operation(bench.insert(&[Is("5"), Null, Null, Null, Null]));
    assert_eq!(told(&operation), ["AccountId->1", "LastName=Unknown"]);
}

#[test]
fn constants_are_always_set_and_booleans_never_cleared() {
    let mut case = Case::default();
    case.column("customer", "optin", "bool");
    let mut flag = case.field("Account", "Active__c").clone();
    flag.name = "Optin__c".into();
    case.crm.get_mut("Contact").unwrap().fields.push(flag);
    case.line("customer", "constants.FirstName = \"Dr.\"");
    let bench = Bench::new(&case, "customer");
    let new = [Is("5"), Is("Lee"), Same, Same, Null, Null];
    let operation = operation(bench.update(OldRow::None, &new));
    let mut fields = told(&operation);
    fields.sort();
    assert_eq!(fields, ["FirstName=Dr.", "LastName=Lee", "Optin__c=false"]);
}

#[test]
fn a_value_that_does_not_fit_keeps_the_rest_for_people_to_see() {
    let bench = Bench::new(&Case::default(), "customer");
    let long = "x".repeat(81);
    let bad = rejected(bench.insert(&[Is("5"), Is(&long), Is("nobody"), Is("7"), Null]));
    assert_eq!(bad.fault.class, Class::Record);
    // The first that is wrong names the reason; all that are wrong are named.
    assert_eq!(bad.fault.code, "not_an_email");
    assert_eq!(bad.fault.fields, ["Email", "LastName"]);
    assert!(!bad.fault.message.contains("nobody") && !bad.fault.message.contains("xxx"));
    assert_eq!(bad.record.unwrap().key, "5");
    assert_eq!(told(&bad.operation.unwrap()), ["AccountId->7"]);
    let bad = rejected(bench.insert(&[Is("5"), Null, Null, Null, Null]));
    assert_eq!(
        (&*bad.fault.code, &*bad.fault.fields),
        ("null_in_required_field", &["LastName".to_owned()][..])
    );
    let bad = rejected(bench.insert(&[Is("5"), Is("Lee"), Null, Is("x"), Null]));
    assert_eq!(bad.fault.code, "bad_reference");
}

#[test]
fn a_changed_key_re_keys_the_record() {
    let bench = Bench::new(&Case::default(), "customer");
    let key = OldRow::Key(row(&[Is("4"), Null, Null, Null, Null]));
    let moved = operation(bench.update(key, &ANN));
    assert_eq!(
        (&*moved.key, &moved.action),
        ("5", &Action::ReKey { from: "4".into() })
    );
    assert_eq!(moved.fields.len(), 3);

    let mut case = Case::default();
    case.table("customer").identity = ReplicaIdentity::Full;
    let bench = Bench::new(&case, "customer");
    let same = operation(bench.update(OldRow::Full(row(&ANN)), &ANN));
    assert_eq!(same.action, Action::Upsert);
    let full = OldRow::Full(row(&[Is("4"), Is("Lee"), Null, Null, Null]));
    assert_eq!(
        operation(bench.update(full, &ANN)).action,
        Action::ReKey { from: "4".into() }
    );
}

#[test]
fn equal_numerics_are_one_key() {
    let mut case = Case::default();
    case.column("customer", "id", "numeric");
    let bench = Bench::new(&case, "customer");
    let mut new = ANN;
    for (old, now, key) in [
        ("1.50", "1.5", "1.5"),
        ("2.000", "2", "2"),
        ("100", "100", "100"),
    ] {
        new[0] = Is(now);
        let before = OldRow::Key(row(&[Is(old), Null, Null, Null, Null]));
        let operation = operation(bench.update(before, &new));
        assert_eq!((&*operation.key, operation.action), (key, Action::Upsert));
    }
}

#[test]
fn deletes_follow_their_rule() {
    let case = Case::default();
    let bench = Bench::new(&case, "customer");
    let old = || OldRow::Key(row(&[Is("5"), Null, Null, Null, Null]));
    let gone = operation(bench.map(Kind::Delete { old: old() }));
    assert_eq!(
        (&*gone.key, gone.action),
        ("5", Action::Delete { hard: false })
    );
    assert!(gone.fields.is_empty());
    let full = OldRow::Full(row(&ANN));
    assert_eq!(operation(bench.map(Kind::Delete { old: full })).key, "5");

    let bench = Bench::new(&case, "company");
    let old = OldRow::Key(row(&[Is("7"), Null, Null]));
    let archived = operation(bench.map(Kind::Delete { old }));
    assert_eq!(
        (&*archived.key, &archived.action),
        ("7", &Action::Archive { create: false })
    );
    assert_eq!(told(&archived), ["Active__c=false"]);

    let bench = Bench::new(&case, "deal");
    let old = OldRow::Key(row(&[Is("7"), Is("a"), Null, Null]));
    assert!(matches!(
        bench.map(Kind::Delete { old }),
        Mapped::Ignored("on_delete")
    ));

    let bench = Bench::new(&case, "customer");
    let bad = rejected(bench.map(Kind::Delete { old: OldRow::None }));
    assert_eq!((&*bad.fault.code, bad.record), ("key_not_sent", None));
}

#[test]
fn truncates_and_messages_follow_theirs() {
    let case = Case::default();
    let bench = Bench::new(&case, "customer");
    let Mapped::Truncate { target, rule, .. } = bench.map(Kind::Truncate) else {
        panic!("no truncate");
    };
    assert_eq!((&*target.object, rule), ("Contact", OnTruncate::Halt));
    let message = Kind::Message {
        prefix: "x".into(),
        content: bytes::Bytes::new(),
        transactional: true,
    };
    assert!(matches!(bench.map(message), Mapped::Ignored("message")));
    let mut case = case;
    case.line("customer", "on_truncate = \"ignore\"");
    let bench = Bench::new(&case, "customer");
    assert!(matches!(
        bench.map(Kind::Truncate),
        Mapped::Ignored("on_truncate")
    ));
}

#[test]
fn a_table_that_is_not_configured_is_ignored() {
    let case = Case::default();
    let mut relation = (*case.relation("customer")).clone();
    relation.schema = "audit".into();
    relation.oid = 99;
    let relation = Arc::new(relation);
    let binding = case.mapping().bind(&relation);
    assert!(binding.table().is_none());
    let mapped = binding.map(&change(&relation, Kind::Insert { new: row(&ANN) }));
    assert!(matches!(mapped, Mapped::Ignored("table_not_configured")));
}

#[test]
fn keys_that_the_crm_would_change_are_refused() {
    let mut case = Case::default();
    case.column("customer", "id", "text");
    case.field("Contact", "Customer_Id__c").length = 10;
    let bench = Bench::new(&case, "customer");
    let huge = "k".repeat(100_000);
    for (key, code, named) in [
        (Null, "key_null", None),
        (Same, "key_not_sent", None),
        (Is(""), "key_empty", Some("")),
        (Is(" a"), "key_white_space", Some(" a")),
        (Is("a\n"), "key_white_space", Some("a\n")),
        (Is("a\u{a0}"), "key_white_space", Some("a\u{a0}")),
        (Is("01234567890"), "key_too_long", Some("01234567890")),
    ] {
        let mut new = ANN;
        new[0] = key;
        let bad = rejected(bench.insert(&new));
        assert_eq!((bad.fault.class, &*bad.fault.code), (Class::Record, code));
        assert_eq!(bad.fault.fields, ["Customer_Id__c"]);
        assert_eq!(bad.record.as_ref().map(|r| &*r.key), named);
        assert!(bad.operation.is_none());
    }
    let mut new = ANN;
    new[0] = Is(&huge);
    let name = rejected(bench.insert(&new)).record.unwrap().key;
    assert!(name.len() < 200 && name.starts_with("kkk"), "{name}");
    new[0] = Is("äöüß😀😀😀");
    assert_eq!(operation(bench.insert(&new)).key, "äöüß😀😀😀");
    // A key that was sent with the old row stands for one that did not change.
    new[0] = Same;
    let old = OldRow::Full(row(&ANN));
    let same = operation(bench.update(old, &new));
    assert_eq!((&*same.key, same.action), ("5", Action::Upsert));
    // An old key that was never usable re-keys nothing.
    let old = OldRow::Key(row(&[Is(" 5"), Null, Null, Null, Null]));
    assert_eq!(operation(bench.update(old, &ANN)).action, Action::Upsert);
}

#[test]
fn a_key_of_several_columns_is_joined_and_escaped() {
    let bench = Bench::new(&Case::default(), "deal");
    for (company, code, key) in [
        ("7", "a", "7:a"),
        ("7", "a:b", "7:a\\:b"),
        ("7", "a\\", "7:a\\\\"),
        ("7", "", "7:"),
    ] {
        let operation = operation(bench.insert(&[Is(company), Is(code), Is("T"), Null]));
        assert_eq!(operation.key, key);
    }
}

#[test]
fn unreadable_bytes_are_a_fault_of_the_record() {
    let mut case = Case::default();
    case.column("customer", "id", "text");
    let bench = Bench::new(&case, "customer");
    let mut tuple = row(&ANN);
    let mut frame = tuple.frame.to_vec();
    let at = frame.windows(3).position(|w| w == b"Lee").unwrap();
    frame[at] = 0xFF;
    tuple.frame = frame.clone().into();
    let bad = rejected(bench.map(Kind::Insert { new: tuple.clone() }));
    assert_eq!(
        (&*bad.fault.code, &*bad.fault.fields),
        ("unreadable_value", &["LastName".to_owned()][..])
    );
    frame[5] = 0xFF;
    tuple.frame = frame.into();
    assert_eq!(
        rejected(bench.map(Kind::Insert { new: tuple })).fault.code,
        "key_unreadable"
    );
}

#[test]
fn a_new_column_is_bound_by_its_name_while_we_run() {
    let case = Case::default();
    let mapping = case.mapping();
    let mut later = Case::default();
    later.column("customer", "first_name", "text");
    later.column("customer", "shoe_size", "int4");
    let relation = later.relation("customer");
    let binding = mapping.bind(&relation);
    let new = [&ANN[..], &[Is("Ann"), Is("42")]].concat();
    let mapped = binding.map(&change(&relation, Kind::Insert { new: row(&new) }));
    let operation = operation(mapped);
    assert_eq!(
        told(&operation),
        [
            "AccountId->7",
            "Email=ann@b.example",
            "LastName=Lee",
            "FirstName=Ann"
        ]
    );
    assert!(Arc::ptr_eq(
        &operation.target,
        &mapping.by_name("public.customer").unwrap().target
    ));
    assert_eq!(binding.unmapped.len(), 1);
    assert_eq!(&*binding.unmapped[0].column, "shoe_size");
    assert!(
        binding
            .findings
            .iter()
            .any(|f| f.place.ends_with("shoe_size") && f.severity == Severity::Note)
    );
}

#[test]
fn a_renamed_column_takes_its_field_along() {
    let mut case = Case::default();
    case.column("customer", "first_name", "text");
    let mapping = case.mapping();
    let mut relation = (*case.relation("customer")).clone();
    relation.columns[5].name = "firstname".into();
    let relation = Arc::new(relation);
    let binding = mapping.bind(&relation);
    let new = [&ANN[..], &[Is("Ann")]].concat();
    let mapped = binding.map(&change(&relation, Kind::Insert { new: row(&new) }));
    assert!(told(&operation(mapped)).contains(&"FirstName=Ann".to_owned()));
}

#[test]
fn a_changed_schema_is_told_before_any_row() {
    let case = Case::default();
    let mapping = case.mapping();
    let find = |edit: &dyn Fn(&mut Case)| {
        let mut later = Case::default();
        edit(&mut later);
        let binding = mapping.bind(&later.relation("customer"));
        let halted = binding.halted().map(|f| f.fields.clone());
        (binding.findings, halted)
    };
    let halts = |edit: &dyn Fn(&mut Case), field: &str| {
        let (findings, halted) = find(edit);
        assert_eq!(findings[0].severity, Severity::Warning);
        assert_eq!(halted.unwrap(), [field]);
    };
    assert!(find(&|_| {}).0.is_empty());
    let (dropped, none) = find(&|c| c.table("customer").columns.retain(|c| &*c.name != "email"));
    assert_eq!(dropped[0].severity, Severity::Warning);
    assert!(dropped[0].what.contains("Email is left as it is"));
    assert!(none.is_none());
    halts(
        &|c| c.table("customer").columns.retain(|c| &*c.name != "id"),
        "Customer_Id__c",
    );
    let (fits, none) = find(&|c| c.column("customer", "last_name", "int8"));
    assert_eq!(fits[0].severity, Severity::Note);
    assert!(none.is_none());
    halts(&|c| c.column("customer", "email", "bytea"), "Email");
    halts(
        &|c| c.column("customer", "company_id", "float8"),
        "AccountId",
    );
    halts(&|c| c.column("customer", "id", "float8"), "Customer_Id__c");

    let mut later = Case::default();
    later.table("customer").columns.retain(|c| &*c.name != "id");
    let relation = later.relation("customer");
    let mapped = mapping.bind(&relation).map(&change(
        &relation,
        Kind::Insert {
            new: row(&ANN[1..]),
        },
    ));
    assert_eq!(rejected(mapped).fault.code, TABLE_HALTED);
}

#[test]
fn columns_in_another_order_change_nothing() {
    let case = Case::default();
    let mapping = case.mapping();
    let mut relation = (*case.relation("customer")).clone();
    relation.columns.reverse();
    let relation = Arc::new(relation);
    let mut cells = ANN;
    cells.reverse();
    let mapped = mapping
        .bind(&relation)
        .map(&change(&relation, Kind::Insert { new: row(&cells) }));
    assert_eq!(
        told(&operation(mapped)),
        ["AccountId->7", "Email=ann@b.example", "LastName=Lee"]
    );
}

#[test]
fn values_are_made_uniform_before_they_are_written() {
    let mut case = Case::default();
    case.column("customer", "mood", "mood");
    case.column("customer", "seen", "timestamp");
    let contact = case.crm.get_mut("Contact").unwrap();
    let seen = super::fixtures::field("Seen__c", FieldKind::DateTime);
    contact.fields.push(seen);
    case.replace(
        "columns.email = \"Email\"",
        "columns.email = { field = \"Email\", empty = \"keep\", null = \"skip\" }\n\
         columns.mood = { field = \"Mood__c\", values = { ok = \"Good\", bad = \"Bad\" }, otherwise = \"reject\" }\n\
         columns.seen = { field = \"Seen__c\", time_zone = \"Europe/Berlin\" }",
    );
    case.replace(
        "columns.last_name = \"LastName\"",
        "columns.last_name = { field = \"LastName\", trim = \"collapse\", unicode = \"nfc\", controls = \"drop\" }",
    );
    case.replace(
        "references = \"public.company\"",
        "references = \"public.company\", values = { 0 = \"\", 1 = 7 }",
    );
    let bench = Bench::new(&case, "customer");
    let row = |name, email, company, mood, seen| {
        bench.insert(&[Is("5"), name, email, company, Is("hush"), mood, seen])
    };
    let july = Is("2026-07-01 10:00:00");
    let one = operation(row(
        Is(" Zoe\u{308}\u{1}  Lee "),
        Is(" "),
        Is("1"),
        Is("ok"),
        july,
    ));
    assert_eq!(
        told(&one),
        [
            "AccountId->7",
            "Email~",
            "LastName=Zoë Lee",
            "Mood__c=Good",
            "Seen__c=2026-07-01T08:00:00.000Z"
        ]
    );
    // What differs only in its raw form has the same fingerprints.
    let two = operation(row(Is("Zoë Lee"), Is(""), Is("7"), Is("ok"), july));
    let prints = |o: &Operation| -> Vec<_> {
        o.fields
            .iter()
            .map(|f| f.assignment.fingerprint())
            .collect()
    };
    assert_eq!(prints(&one), prints(&two));
    let three = operation(row(Is("Lee"), Null, Is("0"), Null, Null));
    assert_eq!(
        told(&three),
        ["AccountId~", "LastName=Lee", "Mood__c~", "Seen__c~"]
    );
    let four = rejected(row(Is("Lee"), Null, Is("2"), Is("so-so"), Null));
    assert_eq!(four.fault.code, "not_in_value_map");
    assert_eq!(four.fault.fields, ["Mood__c"]);
    assert!(!four.fault.message.contains("so-so"));
}

#[test]
fn what_a_field_cannot_hold_is_rejected_cut_or_cleared() {
    let with = |rule: &str| {
        let mut case = Case::default();
        case.field("Contact", "FirstName").length = 5;
        case.column("customer", "nick", "text");
        case.line("customer", &format!("columns.nick = {{ {rule} }}"));
        Bench::new(&case, "customer")
    };
    let named = |bench: &Bench, nick: &str| {
        let mut cells = ANN.to_vec();
        cells.push(Is(nick));
        bench.insert(&cells)
    };
    let bench = with("field = 'FirstName'");
    assert_eq!(
        rejected(named(&bench, "Joanna")).fault.code,
        "value_too_long"
    );

    let bench = with("field = 'FirstName', on_invalid = 'truncate'");
    for (given, written) in [
        ("Jo", "FirstName=Jo"),
        ("Joanna", "FirstName=Joann"),
        // No blank at the end: the CRM would drop it, and the fingerprint would not be its.
        ("John Doe", "FirstName=John"),
        // A character of two UTF-16 units is not cut in half.
        ("abcd\u{1F600}", "FirstName=abcd"),
        ("abc\u{1F600}d", "FirstName=abc\u{1F600}"),
    ] {
        let told = told(&operation(named(&bench, given)));
        assert!(told.iter().any(|t| t == written), "{given}: {told:?}");
    }

    let bench = with("field = 'FirstName', on_invalid = 'clear'");
    let fields = told(&operation(named(&bench, "Joanna")));
    assert!(fields.iter().any(|t| t == "FirstName~"), "{fields:?}");
}

#[test]
fn what_was_made_to_fit_is_counted() {
    let mut case = Case::default();
    case.field("Contact", "FirstName").length = 5;
    case.column("customer", "nick", "text");
    case.line(
        "customer",
        "columns.nick = { field = 'FirstName', on_invalid = 'truncate' }",
    );
    let mapping = case.mapping();
    let relation = case.relation("customer");
    let binding = mapping.bind(&relation);
    for nick in ["Joanna", "Jo", "Johanna"] {
        let mut cells = ANN.to_vec();
        cells.push(Is(nick));
        binding.map(&change(&relation, Kind::Insert { new: row(&cells) }));
    }
    let counted: Vec<_> = mapping.adjusted().collect();
    assert_eq!(counted, [("public.customer", "FirstName", 2)]);
}
