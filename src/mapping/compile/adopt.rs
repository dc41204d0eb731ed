//! What holds when a record is made where one like it is there.

use super::fields::Draft;
use super::{Compiler, Prepared};
use crate::mapping::{ColumnMapping, Creation, FieldKind};

impl<'a> Compiler<'a> {
    pub(super) fn creation(&mut self, table: &Prepared<'a>, draft: &Draft) -> Creation {
        Creation {
            once: false,
            duplicates: table.table.duplicates,
            adopt: self.adopt(table, draft),
        }
    }

    /// The slot of the field by which records without an external id are found.
    fn adopt(&mut self, table: &Prepared<'a>, draft: &Draft) -> Option<u16> {
        let wanted = &table.table.adopt.as_ref()?.field;
        let at = || table.place("adopt.match");
        let mut rules = draft.columns.values().filter_map(|column| match column {
            ColumnMapping::Field(rule) => Some(rule),
            ColumnMapping::Ignored => None,
        });
        let Some(rule) = rules.find(|r| r.field.name.eq_ignore_ascii_case(wanted)) else {
            self.problem(
                at(),
                format!("no column fills {wanted}: there is nothing to compare with it"),
                "name a field that a column of this table fills",
            );
            return None;
        };
        let kinds = [
            FieldKind::Text,
            FieldKind::Email,
            FieldKind::Phone,
            FieldKind::Url,
        ];
        if table.object.is_some() && !kinds.contains(&rule.field.kind) {
            self.problem(
                at(),
                format!("{wanted} is no field by whose text records can be found"),
                "name a text, e-mail, telephone or web address field",
            );
            return None;
        }
        Some(rule.slot)
    }
}
