//! The name that somebody probably meant.

/// The nearest of `names` to `wanted`, where one is near enough to be a slip of the pen: a third of
/// its letters, regardless of case.
pub fn nearest<'n>(wanted: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let lower = wanted.to_lowercase();
    let most = (lower.chars().count() / 3).max(1);
    names
        .into_iter()
        .map(|name| (strsim::osa_distance(&lower, &name.to_lowercase()), name))
        .filter(|(distance, name)| {
            *distance <= most
                // A name without its schema, or a field without its suffix.
                || name.len() > lower.len()
                    && lower.len() > 2
                    && (name.to_lowercase().ends_with(&format!(".{lower}"))
                        || name.to_lowercase() == format!("{lower}__c"))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_names_are_offered() {
        let names = [
            "public.company",
            "public.customer",
            "Phone",
            "Company_Id__c",
        ];
        assert_eq!(nearest("public.compnay", names), Some("public.company"));
        assert_eq!(nearest("customer", names), Some("public.customer"));
        assert_eq!(nearest("phone", names), Some("Phone"));
        assert_eq!(nearest("company_id", names), Some("Company_Id__c"));
        assert_eq!(nearest("invoice", names), None);
    }
}
