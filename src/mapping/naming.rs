//! The naming rule: which CRM field a column means when nothing explicit is said.
//!
//! For a column `some_name` the first of these that is a field of the object, and that we may
//! create and change, that can take the column's type and that no rule uses yet:
//!
//! 1. the custom field `Some_Name__c`: each word between underscores with a capital, and `__c`;
//! 2. the standard field `SomeName`: the same words, joined.
//!
//! Case does not matter, as it does not to the CRM. Lookups are never bound by name: a key and an
//! id of the CRM are different things, so `references` has to say it.

use super::coerce::{Fit, fit};
use super::{FieldDescription, FieldKind};
use crate::value::ValueType;

/// The names that the rule tries, in its order.
pub fn candidates(column: &str) -> [String; 2] {
    let mut custom = String::with_capacity(column.len() + 3);
    let mut standard = String::with_capacity(column.len());
    for (index, word) in column.split('_').filter(|w| !w.is_empty()).enumerate() {
        if index > 0 {
            custom.push('_');
        }
        let mut letters = word.chars();
        if let Some(first) = letters.next() {
            for out in [&mut custom, &mut standard] {
                out.extend(first.to_uppercase());
                out.push_str(letters.as_str());
            }
        }
    }
    custom.push_str("__c");
    [custom, standard]
}

/// Whether the rule may give this field to a column at all.
pub(super) fn eligible(field: &FieldDescription) -> bool {
    field.createable
        && field.updateable
        && !matches!(
            field.kind,
            FieldKind::Id | FieldKind::Reference | FieldKind::Other(_)
        )
}

/// Whether the rule may give this field to a column of this type.
pub(super) fn suits(field: &FieldDescription, value_type: &ValueType) -> bool {
    eligible(field) && !matches!(fit(field, value_type), Fit::Never(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_words() {
        for (column, custom, standard) in [
            ("last_name", "Last_Name__c", "LastName"),
            ("phone", "Phone__c", "Phone"),
            ("_odd__name_", "Odd_Name__c", "OddName"),
            ("LastName", "LastName__c", "LastName"),
            ("straße", "Straße__c", "Straße"),
            ("_", "__c", ""),
        ] {
            assert_eq!(candidates(column), [custom.to_owned(), standard.to_owned()]);
        }
    }
}
