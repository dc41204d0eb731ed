//! What holds whatever happens to the columns of a table, one change after the other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::super::super::fixtures::field;
use super::*;
use crate::mapping::NewField;

#[derive(Clone, Debug)]
enum Step {
    Add(usize),
    Rename(usize, usize),
    Drop(usize),
    /// Somebody takes a field away; somebody brings it back.
    Lose(usize),
}

/// Few names, so that they come again; two of them make one field.
const NAMES: [&str; 6] = ["hat", "shoe_size", "Shoe_size", "first_name", "mood", "2nd"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..6_usize).prop_map(Step::Add),
        3 => (0..6_usize, 0..6_usize).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => (0..6_usize).prop_map(Step::Drop),
        1 => (0..6_usize).prop_map(Step::Lose),
    ];
    proptest::collection::vec(step, 1..25)
}

fn columns(case: &Case) -> Vec<(i16, String)> {
    let table = case
        .catalog
        .iter()
        .find(|t| &*t.name == "customer")
        .unwrap();
    let columns = table.columns.iter().skip(5);
    columns.map(|c| (c.attnum, c.name.to_string())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_column_keeps_its_field_as_long_as_it_lives(steps in steps(), clear: bool) {
        let mut case = Case::default();
        let policy = if clear { "clear" } else { "keep" };
        case.config.push_str(&format!("[routing]\nmissing_field = \"create\"\non_drop = \"{policy}\"\n"));
        case.run();
        let mut fields: BTreeMap<i16, String> = BTreeMap::new();
        let mut lost = Vec::new();
        for step in steps {
            let there = columns(&case);
            let find = |name: usize| there.iter().find(|(_, n)| *n == NAMES[name]);
            match step {
                Step::Add(name) if find(name).is_none() => {
                    case.column("customer", NAMES[name], "text");
                }
                Step::Rename(from, to) if find(from).is_some() && find(to).is_none() => {
                    case.rename("customer", NAMES[from], NAMES[to]);
                }
                Step::Drop(name) if find(name).is_some() => case.drop("customer", NAMES[name]),
                Step::Lose(at) => {
                    let contact = case.crm.get_mut("Contact").unwrap();
                    match lost.pop() {
                        Some(field) => contact.fields.push(field),
                        None => {
                            let made = contact.fields.iter().position(|f| {
                                *f.name == naming(NAMES[at])
                            });
                            lost.extend(made.map(|at| contact.fields.remove(at)));
                        }
                    }
                }
                _ => continue,
            }
            // What is to be made is made, as long as something is missing.
            let compiled = case.compile();
            prop_assert!(compiled.mapping.is_some(), "{:#?}", compiled.findings);
            let mut names: Vec<_> = compiled.missing.iter().map(|m| m.spec.name.to_lowercase()).collect();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), compiled.missing.len());
            for missing in compiled.missing {
                prop_assert_eq!(missing.spec.kind, NewField::LongText { length: 32_768 });
                let contact = case.crm.get_mut("Contact").unwrap();
                prop_assert!(contact.field(&missing.spec.name).is_none());
                contact.fields.push(field(&missing.spec.name, FieldKind::LongText));
            }
            let compiled = case.compile();
            prop_assert!(compiled.missing.is_empty());
            let mapping = compiled.mapping.unwrap();
            let customer = mapping.by_name("public.customer").unwrap();
            prop_assert!(customer.halted.is_none());
            let mut slots = BTreeSet::new();
            for (number, name) in columns(&case) {
                match customer.columns.get(name.as_str()) {
                    Some(ColumnMapping::Field(rule)) => {
                        prop_assert!(slots.insert(rule.slot), "one field, two columns");
                        let now = rule.field.name.to_lowercase();
                        let before = fields.entry(number).or_insert_with(|| now.clone());
                        prop_assert_eq!(&*before, &now, "{} lost its field", name);
                    }
                    Some(ColumnMapping::Ignored) => prop_assert!(false, "{} ignored", name),
                    None => {
                        prop_assert!(!fields.contains_key(&number), "{} lost its field", name);
                        prop_assert!(customer.unmapped.iter().any(|u| *u.column == *name));
                    }
                }
            }
            for gone in &customer.dropped {
                prop_assert!(slots.insert(gone.rule.slot), "a dropped column's field has a source");
                prop_assert_eq!(gone.clear.is_some(), clear);
            }
            // Every column of the relation is filled or accounted for.
            let binding = mapping.bind(&case.numbered("customer"));
            prop_assert!(binding.halted().is_none());
            prop_assert_eq!(&binding.unmapped.len(), &customer.unmapped.len());
            case.run();
        }
    }
}

fn naming(column: &str) -> String {
    let [custom, _] = crate::mapping::naming::candidates(column);
    custom
}
