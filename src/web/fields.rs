//! The fields that rules name, and what fills them: by the rules in force, else by the configuration alone.

use super::Seen;
use crate::config::{Column, Config};
use crate::mapping::{ColumnMapping, FieldId, Mapping, ObjectId};

/// A field that a rule names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct NamedField {
    /// Its object.
    pub object: ObjectId,
    /// Its API name.
    pub name: String,
    /// The column or member that fills it; `None` for a constant.
    pub from: Option<String>,
}

impl NamedField {
    /// Its number, as the ledger has it.
    pub fn id(&self) -> FieldId {
        FieldId::new(&self.name)
    }
}

/// In place of the name of a field that no rule names any more.
pub fn unnamed(id: FieldId) -> String {
    format!("#{:08x}", id.0)
}

/// What is known now.
pub(super) fn known(seen: &Seen) -> Vec<NamedField> {
    let mapping = seen.handle.get().and_then(|h| h.status.snapshot().mapping);
    match mapping {
        Some(mapping) => in_force(&mapping),
        None => configured(&seen.config),
    }
}

fn in_force(mapping: &Mapping) -> Vec<NamedField> {
    let mut fields = Vec::new();
    for table in mapping.all() {
        let columns = table
            .columns
            .iter()
            .filter_map(|(column, rule)| match rule {
                ColumnMapping::Field(rule) => Some((rule.slot, Some(&**column))),
                ColumnMapping::Ignored => None,
            });
        let constants = table.constants.iter().map(|c| (c.slot, None));
        for (slot, from) in columns.chain(constants) {
            fields.extend(
                table
                    .target
                    .fields
                    .get(usize::from(slot))
                    .map(|field| NamedField {
                        object: table.target.id,
                        name: field.name.to_string(),
                        from: from.map(str::to_owned),
                    }),
            );
        }
    }
    fields.sort();
    fields
}

/// What the configuration alone names.
pub fn configured(config: &Config) -> Vec<NamedField> {
    let tables = config.tables.values();
    let tables = tables.map(|t| (&t.object, &t.key.field, &t.columns, &t.constants));
    let messages = config.outbox.values();
    let messages = messages.map(|o| (&o.object, &o.key.field, &o.members, &o.constants));
    let mut fields = Vec::new();
    for (object, key_field, columns, constants) in tables.chain(messages) {
        let object = ObjectId::new(object, key_field);
        let named = columns.iter().filter_map(|(column, rule)| {
            let field = match rule {
                Column::Field(name) => Some(name),
                Column::Rule(rule) => rule.field.as_ref(),
            };
            Some((field?, Some(column.clone())))
        });
        let constants = constants.keys().map(|name| (name, None));
        fields.extend(named.chain(constants).map(|(name, from)| NamedField {
            object,
            name: name.clone(),
            from,
        }));
    }
    fields.sort();
    fields
}
