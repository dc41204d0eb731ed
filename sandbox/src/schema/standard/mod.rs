//! The standard objects: names, types, lengths and picklists as in a new org.

mod sales;
mod setup;
mod work;

use super::Object;
use super::field::{Field, Kind, Source, lookup, string, textarea};

/// Every standard object, in a fixed order: positions in the schema follow from it.
pub(super) fn objects() -> Vec<Object> {
    let mut all = vec![
        setup::user(),
        sales::account(),
        sales::contact(),
        sales::lead(),
    ];
    all.extend([
        sales::opportunity(),
        work::case(),
        work::task(),
        work::product(),
    ]);
    all.extend(setup::others());
    let tracked = ["Account", "Contact", "Lead", "Case", "Opportunity"];
    let histories: Vec<Object> = all
        .iter()
        .filter(|object| tracked.contains(&object.name.as_str()))
        .map(super::history::of)
        .collect();
    all.extend(histories);
    all
}

fn owner() -> Field {
    let mut field = lookup("OwnerId", "Owner ID", &["User"], "Owner", "");
    // Left out, the owner is the user who creates the record.
    field.default = Some("$user".into());
    field.nillable = false;
    field
}

/// The parts of an address and the compound that shows them.
fn address(prefix: &str, label: &str) -> Vec<Field> {
    let part = |name: &str| format!("{prefix}{name}");
    let named = |name: &str| format!("{label}{name}");
    vec![
        textarea(&part("Street"), &named("Street"), 255),
        string(&part("City"), &named("City"), 40),
        string(&part("State"), &named("State/Province"), 80),
        string(&part("PostalCode"), &named("Zip/Postal Code"), 20),
        string(&part("Country"), &named("Country"), 80),
        Field::new(&part("Latitude"), &named("Latitude"), Kind::Double).digits(18, 15),
        Field::new(&part("Longitude"), &named("Longitude"), Kind::Double).digits(18, 15),
        Field::new(&part("Address"), &named("Address"), Kind::Address)
            .from(Source::Address(prefix.to_owned())),
    ]
}

const INDUSTRIES: &[&str] = &[
    "Agriculture",
    "Apparel",
    "Banking",
    "Biotechnology",
    "Chemicals",
    "Communications",
    "Construction",
    "Consulting",
    "Education",
    "Electronics",
    "Energy",
    "Engineering",
    "Entertainment",
    "Environmental",
    "Finance",
    "Food & Beverage",
    "Government",
    "Healthcare",
    "Hospitality",
    "Insurance",
    "Machinery",
    "Manufacturing",
    "Media",
    "Not For Profit",
    "Recreation",
    "Retail",
    "Shipping",
    "Technology",
    "Telecommunications",
    "Transportation",
    "Utilities",
    "Other",
];
const LEAD_SOURCES: &[&str] = &[
    "Web",
    "Phone Inquiry",
    "Partner Referral",
    "Purchased List",
    "Other",
];
const RATINGS: &[&str] = &["Hot", "Warm", "Cold"];
const SALUTATIONS: &[&str] = &["Mr.", "Ms.", "Mrs.", "Dr.", "Prof.", "Mx."];
