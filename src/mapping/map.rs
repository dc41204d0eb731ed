//! One change becomes one operation: the path of every row.

use std::sync::Arc;

use super::bind::{Binding, Bound, StepSource, null_by_default};
use super::coerce::{self, Refusal, coerce};
use super::contract::{Breach, Check};
use super::key::BadKey;
use super::normalize::Outcome;
use super::stamp::{DELETE_INCOMPLETE, OldValue, Stamp, Unmade};
use super::table::{FieldRule, NullAction};
use super::{
    Action, Assigned, Assignment, Changed, FieldValue, Key, Operation, RecordId, Removal, Target,
};
use crate::change::{Change, Datum, Kind, OldRow, Tuple};
use crate::config::{OnInvalid, OnTruncate};
use crate::decode;
use crate::fault::{Class, Fault};
use crate::value::ValueType;

/// What a change means for the CRM.
#[derive(Clone, Debug)]
pub enum Mapped {
    /// It is to be written.
    Operation(Operation),
    /// Left out by a rule, which is named.
    Ignored(&'static str),
    /// It cannot be written as it is: a dead letter.
    Rejected(Rejected),
    /// The table was emptied.
    Truncate {
        /// Whose records.
        target: Arc<Target>,
        /// What follows.
        rule: OnTruncate,
    },
}

/// A change that breaks a rule of the field or of the key it would fill.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// What was to be done, without the fields named in the fault: for a person to see, and for
    /// later changes of the record to merge into. It must not be sent as it is, since a record is
    /// never written in part. None where the record has no usable external id.
    pub operation: Option<Operation>,
    /// Which record it is, as far as it can be named. The key may be one that no CRM would take.
    pub record: Option<RecordId>,
    /// Why.
    pub fault: Fault,
}

impl Binding {
    /// What a change of this binding's relation means. Never panics, whatever the bytes are.
    pub fn map(&self, change: &Change) -> Mapped {
        let Some(bound) = &self.bound else {
            return Mapped::Ignored(match change.kind {
                Kind::Message { .. } => "message",
                _ => "table_not_configured",
            });
        };
        let mapped = match &change.kind {
            Kind::Message { .. } => Mapped::Ignored("message"),
            Kind::Truncate => match bound.table.on_truncate {
                OnTruncate::Ignore => Mapped::Ignored("on_truncate"),
                rule => Mapped::Truncate {
                    target: bound.table.target.clone(),
                    rule,
                },
            },
            Kind::Insert { new } => bound.write(change, &OldRow::None, new),
            Kind::Update { old, new } => bound.write(change, old, new),
            Kind::Delete { old } => bound.remove(change, old),
        };
        match &bound.halted {
            None => mapped,
            Some(fault) => bound.held(fault, mapped),
        }
    }
}

impl Bound {
    /// What a halted table makes of an operation: it is whole, or as whole as it can be, and held.
    #[cold]
    fn held(&self, fault: &Fault, mapped: Mapped) -> Mapped {
        match mapped {
            Mapped::Operation(operation) => Mapped::Rejected(Rejected {
                record: Some(operation.record()),
                operation: Some(operation),
                fault: fault.clone(),
            }),
            // Without a usable key of its own it can never be whole, halted or not.
            Mapped::Rejected(own) if own.operation.is_none() && !self.keyless => {
                Mapped::Rejected(own)
            }
            Mapped::Rejected(own) => {
                let mut fault = fault.clone();
                fault.fields.extend(own.fault.fields);
                Mapped::Rejected(Rejected { fault, ..own })
            }
            other => other,
        }
    }

    fn write(&self, change: &Change, old: &OldRow, new: &Tuple) -> Mapped {
        let before = match old {
            OldRow::None => None,
            OldRow::Key(tuple) | OldRow::Full(tuple) => Some(tuple),
        };
        let key = match self.key(new, before) {
            Ok(key) => key,
            Err(bad) => return self.bad_key(bad),
        };
        // An old key that was never usable names no record of ours: nothing to re-key. It must not
        // be looked up either, as the CRM would trim it and might find somebody else's record.
        let from = before.and_then(|tuple| self.key(tuple, None).ok());
        let action = match from {
            Some(from) if from != key => Action::ReKey { from },
            _ => Action::Upsert,
        };
        let (fields, fault) = self.fields(new);
        let changed = self.times(change, old, new);
        let operation = Operation {
            changed,
            ..self.operation(change, key, action, fields)
        };
        match fault {
            None => Mapped::Operation(operation),
            Some(fault) => Mapped::Rejected(Rejected {
                record: Some(operation.record()),
                operation: Some(operation),
                fault,
            }),
        }
    }

    fn remove(&self, change: &Change, old: &OldRow) -> Mapped {
        let removal = &self.table.target.removal;
        if *removal == Removal::Ignore {
            return Mapped::Ignored("on_delete");
        }
        let key = match old {
            OldRow::Key(tuple) | OldRow::Full(tuple) => self.key(tuple, None),
            OldRow::None => Err(BadKey {
                refusal: super::key::KeyRefusal::NotSent,
                name: None,
            }),
        };
        let key = match key {
            Ok(key) => key,
            Err(bad) => return self.bad_key(bad),
        };
        let (action, fields, fault) = match removal {
            Removal::Archive { set, .. } => {
                let (fields, fault) = self.stamps(change, set, old);
                (Action::Archive { create: false }, fields, fault)
            }
            Removal::Delete { hard } => (Action::Delete { hard: *hard }, Vec::new(), None),
            Removal::Ignore => return Mapped::Ignored("on_delete"),
        };
        let operation = self.operation(change, key, action, fields);
        match fault {
            None => Mapped::Operation(operation),
            Some(fault) => Mapped::Rejected(Rejected {
                record: Some(operation.record()),
                operation: Some(operation),
                fault,
            }),
        }
    }

    /// What a deleted row sets, sorted by slot.
    fn stamps(
        &self,
        change: &Change,
        set: &[Stamp],
        old: &OldRow,
    ) -> (Vec<Assigned>, Option<Fault>) {
        let (tuple, full) = match old {
            OldRow::Full(tuple) => (Some(tuple), true),
            OldRow::Key(tuple) => (Some(tuple), false),
            OldRow::None => (None, false),
        };
        let value = |name: &str| {
            let column = self.olds.iter().find(|c| *c.name == *name);
            match (column, tuple) {
                // Of a key tuple only the key's columns mean anything.
                (Some(column), Some(tuple)) if full || column.key => {
                    OldValue::Sent(tuple.get(column.index), &column.value_type)
                }
                _ => OldValue::Missing,
            }
        };
        let target = &self.table.target;
        let mut fields = Vec::with_capacity(set.len());
        let mut fault: Option<Fault> = None;
        for stamp in set {
            let made = stamp.make(change.position, change.commit_time, &value);
            let name = target.fields.get(usize::from(stamp.slot));
            let name = name.map_or("", |f| &*f.name);
            match made {
                Ok(assignment) => fields.push(Assigned {
                    slot: stamp.slot,
                    assignment,
                }),
                Err(unmade) => incomplete(&mut fault, &target.table, name, &unmade),
            }
        }
        (fields, fault)
    }

    fn operation(
        &self,
        change: &Change,
        key: Key,
        action: Action,
        fields: Vec<Assigned>,
    ) -> Operation {
        Operation {
            target: self.table.target.clone(),
            key,
            action,
            fields: Arc::new(fields),
            position: change.position,
            commit_time: change.commit_time,
            xid: change.xid,
            changed: Vec::new(),
        }
    }

    /// What the change tells of the times of contested fields. An update without its old row tells
    /// nothing: it names what it left as it was, too.
    fn times(&self, change: &Change, old: &OldRow, new: &Tuple) -> Vec<Changed> {
        if self.contested.is_empty() {
            return Vec::new();
        }
        let all = self.contested.iter();
        let told = all.filter_map(|(slot, column)| {
            let sure = match (&change.kind, old) {
                (Kind::Insert { .. }, _) => true,
                (_, OldRow::Full(before)) => before.get(*column) != new.get(*column),
                _ => return None,
            };
            Some(Changed {
                slot: *slot,
                at: sure.then_some(change.commit_time),
                sure,
                decided: false,
            })
        });
        told.collect()
    }

    /// The external id. A key column that was not sent with the row is taken from the row before:
    /// unchanged means that it is the same.
    fn key(&self, tuple: &Tuple, before: Option<&Tuple>) -> Result<Key, BadKey> {
        if self.keyless {
            return Err(BadKey {
                refusal: super::key::KeyRefusal::NotSent,
                name: None,
            });
        }
        self.table.key.build(self.key.iter().map(|column| {
            let datum = match (tuple.get(column.index), before) {
                (Datum::Unchanged, Some(before)) => before.get(column.index),
                (datum, _) => datum,
            };
            (datum, &column.value_type)
        }))
    }

    fn bad_key(&self, bad: BadKey) -> Mapped {
        let mut fault = Fault::new(
            Class::Record,
            bad.refusal.code(),
            format!("{}: {}", self.table.target.key_field, bad.refusal.words()),
        );
        fault.fields.push(self.table.target.key_field.to_string());
        Mapped::Rejected(Rejected {
            operation: None,
            record: bad.name.map(|key| RecordId {
                object: self.table.target.id,
                key,
            }),
            fault,
        })
    }

    /// Every field of the row, sorted by slot; the first thing that is wrong, with all the fields
    /// that are.
    fn fields(&self, tuple: &Tuple) -> (Vec<Assigned>, Option<Fault>) {
        let mut fields = Vec::with_capacity(self.steps.len());
        let mut fault: Option<Fault> = None;
        for (place, step) in self.steps.iter().enumerate() {
            let assignment = match &step.source {
                StepSource::Constant(assignment) => Ok(Some(assignment.clone())),
                StepSource::Column {
                    index,
                    value_type,
                    rule,
                } => {
                    let check = self.checks.get(place).and_then(Option::as_ref);
                    let datum = tuple.get(*index);
                    assign(rule, value_type, check, datum)
                        .or_else(|wrong| made_to_fit(rule, value_type, datum, wrong))
                }
            };
            match assignment {
                Ok(Some(assignment)) => fields.push(Assigned {
                    slot: step.slot,
                    assignment,
                }),
                Ok(None) => {}
                Err(wrong) => {
                    if let StepSource::Column { rule, .. } = &step.source {
                        wrong.add_to(&mut fault, &rule.field.name);
                    }
                }
            }
        }
        (fields, fault)
    }
}

/// The deleted row does not give a field what it should get.
#[cold]
fn incomplete(fault: &mut Option<Fault>, table: &str, field: &str, unmade: &Unmade) {
    let fault = fault.get_or_insert_with(|| {
        let message = match unmade {
            Unmade::Missing(column) => format!(
                "{field} is made from the deleted row's {column}, which Postgres does not send: \
                 ALTER TABLE {table} REPLICA IDENTITY FULL;"
            ),
            Unmade::Refused(refusal) => {
                format!("what the deleted row gives {field} {}", refusal.words())
            }
        };
        Fault::new(Class::Record, DELETE_INCOMPLETE, message)
    });
    fault.fields.push(field.to_owned());
}

/// What is wrong with one field.
enum Wrong {
    Value(Refusal),
    Contract(Breach),
    Parent(super::key::KeyRefusal),
}

impl Wrong {
    #[cold]
    fn add_to(&self, fault: &mut Option<Fault>, field: &str) {
        let fault = fault.get_or_insert_with(|| match self {
            Wrong::Value(refusal) => Fault::new(
                Class::Record,
                refusal.code(),
                format!("{field} {}", refusal.words()),
            ),
            Wrong::Contract(breach) => Fault::new(
                Class::Record,
                "contract",
                format!("the column of {field} {}", breach.words()),
            ),
            Wrong::Parent(refusal) => Fault::new(
                Class::Record,
                "bad_reference",
                format!("{field} names no parent: {}", refusal.words()),
            ),
        });
        fault.fields.push(field.to_owned());
    }
}

/// What the rule makes of a value that the field cannot hold.
#[cold]
fn made_to_fit(
    rule: &FieldRule,
    value_type: &ValueType,
    datum: Datum<'_>,
    wrong: Wrong,
) -> Result<Option<Assignment>, Wrong> {
    let Wrong::Value(refusal) = &wrong else {
        return Err(wrong);
    };
    let fitting = match (rule.on_invalid, refusal) {
        (OnInvalid::Truncate, Refusal::TooLong { limit }) => {
            let mut free = rule.clone();
            Arc::make_mut(&mut free.field).length = 0;
            match assign(&free, value_type, None, datum)? {
                Some(Assignment::Set(FieldValue::Text(text))) => {
                    let cut = coerce::cut(&text, *limit);
                    Some(Assignment::Set(FieldValue::Text(cut.into())))
                }
                _ => return Err(wrong),
            }
        }
        (OnInvalid::Clear, refusal) if *refusal != Refusal::Null => Some(Assignment::Clear),
        _ => return Err(wrong),
    };
    rule.adjusted.count();
    Ok(fitting)
}

/// What one column says of its field; `None` for nothing.
fn assign(
    rule: &FieldRule,
    value_type: &ValueType,
    check: Option<&Check>,
    datum: Datum<'_>,
) -> Result<Option<Assignment>, Wrong> {
    // What is read below anyway is checked below.
    if let Some(check) = check
        && (rule.parent.is_some() || datum == Datum::Null)
        && let Some(breach) = check.datum(value_type, datum)
    {
        return Err(Wrong::Contract(breach));
    }
    let bytes = match datum {
        Datum::Text(bytes) => bytes,
        Datum::Unchanged => return Ok(None),
        Datum::Null => return null(rule),
    };
    if let Some(parent) = &rule.parent {
        let normal = rule.normal.as_ref();
        match normal.and_then(|n| n.reference(value_type, bytes)) {
            None => {}
            Some(Ok(Outcome::Set(value))) => return Ok(Some(Assignment::Set(value))),
            Some(Ok(Outcome::Empty | Outcome::Null)) => return null(rule),
            Some(Err(refusal)) => return Err(Wrong::Value(refusal)),
        }
        let parts = std::iter::once((Datum::Text(bytes), value_type));
        let key = parent
            .build(parts)
            .map_err(|bad| Wrong::Parent(bad.refusal))?;
        return Ok(Some(Assignment::Set(FieldValue::Reference(key))));
    }
    let value = decode::value(value_type, bytes).map_err(|_| Wrong::Value(Refusal::Unreadable))?;
    if let Some(breach) = check.and_then(|check| check.value(&value)) {
        return Err(Wrong::Contract(breach));
    }
    if let Some(normal) = &rule.normal {
        return match normal.assign(&rule.field, value_type, value) {
            Ok(Outcome::Set(value)) => Ok(Some(Assignment::Set(value))),
            Ok(Outcome::Empty) if normal.keep_empty => empty(rule),
            Ok(Outcome::Empty | Outcome::Null) => null(rule),
            Err(refusal) => Err(Wrong::Value(refusal)),
        };
    }
    match coerce(&rule.field, value_type, &value).map_err(Wrong::Value)? {
        Some(value) => Ok(Some(Assignment::Set(value))),
        // Nothing is left of it in the CRM: the same as NULL.
        None => null(rule),
    }
}

/// An empty text that is a value: the CRM makes the same of it.
fn empty(rule: &FieldRule) -> Result<Option<Assignment>, Wrong> {
    match null_by_default(&rule.field) {
        NullAction::Clear => Ok(Some(Assignment::Clear)),
        _ => Err(Wrong::Value(Refusal::Null)),
    }
}

fn null(rule: &FieldRule) -> Result<Option<Assignment>, Wrong> {
    match &rule.null {
        NullAction::Clear => Ok(Some(Assignment::Clear)),
        NullAction::Skip => Ok(None),
        NullAction::Write(value) => Ok(Some(Assignment::Set(value.clone()))),
        NullAction::Refuse => Err(Wrong::Value(Refusal::Null)),
    }
}
