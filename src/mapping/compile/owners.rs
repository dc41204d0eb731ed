//! Who has the last word on a field, and the field that holds the position.

use super::fields::Draft;
use super::{Compiler, Prepared};
use crate::config::Owner;
use crate::mapping::FieldKind;

/// Characters of a position in its field; planning writes no more.
const VERSION_LENGTH: u32 = 40;

impl<'a> Compiler<'a> {
    /// Who has the last word: as the configuration says, unless a person has decided since.
    pub(super) fn owner(
        &mut self,
        table: &Prepared<'_>,
        line: &str,
        field: &str,
        configured: Owner,
    ) -> Owner {
        let name = (
            table.object_name.to_ascii_lowercase().into_boxed_str(),
            field.to_ascii_lowercase().into_boxed_str(),
        );
        let Some(decided) = self.remembered.owners.get(&name).copied() else {
            return configured;
        };
        if decided != configured {
            let word = decided.word();
            self.warning(
                table.place(line),
                format!(
                    "a person has decided that {field} belongs to {word:?}; the configuration says {:?}",
                    configured.word()
                ),
                format!("write it down: {line} = {{ …, owner = {word:?} }}"),
            );
        }
        decided
    }

    /// The field that holds the position of what was written last.
    pub(super) fn version_field(&mut self, table: &Prepared<'a>, draft: &mut Draft) {
        let Some(wanted) = table.table.version_field.as_deref() else {
            return;
        };
        let what = "version_field";
        let at = || table.place(what);
        if draft.is_key_field(wanted) {
            self.problem(
                at(),
                format!("{wanted} is the external id"),
                "give the position a text field of its own",
            );
            return;
        }
        let Some((field, fault)) = self.field(table, what, wanted, FieldKind::Text) else {
            return;
        };
        let short = field.length > 0 && field.length < VERSION_LENGTH;
        if !matches!(field.kind, FieldKind::Text) || short {
            let ours = self.ours(table, &field.name);
            self.wrong(
                ours,
                table.name,
                at(),
                format!("{} cannot hold a position", field.name),
                "give the position a text field of at least 40 characters of its own",
                &[&field.name],
            );
            return;
        }
        let fault = fault.or_else(|| self.writable(table, what, &field));
        if let Some(other) = draft.claim(&field.name, what.to_owned()) {
            self.problem(
                at(),
                format!("{} is filled by {other} already", field.name),
                "give the position a text field of its own",
            );
            return;
        }
        let slot = draft.slot(&field, None);
        draft.break_field(slot, fault);
        draft.version = Some(slot);
    }
}
