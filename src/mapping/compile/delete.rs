//! What a deleted row does.

use super::drift::Loss;
use super::fields::Draft;
use super::{Compiler, Prepared};
use crate::config::OnDelete;
use crate::mapping::Assigned;
use crate::mapping::Removal;

impl<'a> Compiler<'a> {
    pub(super) fn on_delete(&mut self, table: &Prepared<'a>, draft: &mut Draft) -> Removal {
        let at = || table.place("on_delete");
        match &table.table.on_delete {
            OnDelete::Ignore => {
                self.note(at(), "a deleted row is counted, and its record stays");
                Removal::Ignore
            }
            OnDelete::Delete => {
                if table.object.is_some_and(|o| !o.deletable) {
                    self.wrong(
                        table.history.ran() && self.used_object(table.object_name),
                        table.name,
                        at(),
                        format!("our user may not delete records of {}", table.object_name),
                        "give the user the right to delete, or use on_delete = { set = … } or \"ignore\"",
                        &[],
                    );
                }
                Removal::Delete { hard: false }
            }
            OnDelete::HardDelete => {
                self.problem(
                    at(),
                    "\"hard_delete\" needs the CRM's bulk interface, which comes in a later release",
                    "on_delete = \"delete\": the record goes to the recycle bin, which the CRM empties after 15 days",
                );
                Removal::Delete { hard: true }
            }
            OnDelete::Set(set) => {
                if set.is_empty() {
                    self.problem(
                        at(),
                        "{ set = … } names no field",
                        "name what marks a record whose row is gone, or say \"ignore\"",
                    );
                }
                let mut fields: Vec<Assigned> = Vec::new();
                for (name, value) in set {
                    let what = format!("on_delete.set.{name}");
                    let place = table.place(&what);
                    let Some((field, mut fault, assignment)) =
                        self.constant(table, &what, name, value)
                    else {
                        continue;
                    };
                    if !field.updateable {
                        if self.ours(table, &field.name) {
                            fault = Some(self.broken(table, &what, &field.name, Loss::ReadOnly));
                        } else {
                            self.not_writable(&place, table, &field, "change");
                        }
                    }
                    if !draft.written(&field.name) {
                        self.warning(
                            place,
                            format!(
                                "nothing sets {} back: a row that is inserted again leaves its record marked as deleted",
                                field.name
                            ),
                            format!("constants.{} = …, or map a column to it", field.name),
                        );
                    }
                    let slot = draft.slot(&field, None);
                    draft.break_field(slot, fault);
                    fields.push(Assigned { slot, assignment });
                }
                fields.sort_by_key(|f| f.slot);
                Removal::Archive(fields)
            }
        }
    }
}
