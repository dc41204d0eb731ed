//! Records that are in the CRM without our external id, taken over instead of made a second time
//! (`adopt = { match = "Email" }`).
//!
//! ```text
//!  about to be made, and the ledger knows nothing ─► read by the match field, only those without an
//!  external id, many a request ─┬─ none ──► it is made
//!                               ├─ one ───► it gets our external id, and the row's values, by its id
//!                               └─ more ──► a dead letter that names them: nobody guesses
//! ```
//!
//! - A record that bears the external id already (of an earlier life of ours) goes before any other.
//! - Texts are compared without case and without blanks at their ends, as the CRM compares them.
//! - Of two rows with one value the first takes the record over, and the second makes its own: they are two
//!   rows, and the database knows why.
//! - What people have a say in is looked at next, as in any record that is there.
//! - Sent again after a crash, the record has its external id: it is found by that.
//! - Between this look and the write a person may make a record with the value: then there are two, as
//!   if the person had made it a moment later. The CRM's duplicate rules are for that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::crew::{Crew, stopped};
use crate::fault::{Class, Fault, Result};
use crate::mapping::{Action, Assignment, FieldValue, Key, ObjectId, Target};
use crate::planning::{ADOPT_AMBIGUOUS, Course, CrmId, Entry, Existence, Plan, Reason};
use crate::sinks::{Named, hints_at_schema};

/// Most ids that a message names.
const NAMED: usize = 5;

/// Entries of one object whose records may be there.
struct Seekers {
    target: Arc<Target>,
    slot: u16,
    /// Place in the plan, and the text to be found, folded.
    places: Vec<(usize, String)>,
}

impl Crew {
    /// Finds records that have no external id for those of these entries that would make them anew.
    pub(super) async fn adopt(&self, plan: &mut Plan, which: &[usize]) -> Result<()> {
        for seekers in seekers(&plan.entries, which).into_values() {
            match self.find(plan, &seekers).await {
                Ok(()) => {}
                // The rules are about to be made anew: these wait for that.
                Err(fault) if hints_at_schema(&fault) => {
                    for (index, _) in &seekers.places {
                        shelve(plan, *index, Reason::Deferred, fault.clone());
                    }
                }
                Err(fault) => return Err(stopped(fault)),
            }
        }
        Ok(())
    }

    async fn find(&self, plan: &mut Plan, seekers: &Seekers) -> Result<(), Fault> {
        let Seekers {
            target,
            slot,
            places,
        } = seekers;
        let texts: BTreeSet<&String> = places.iter().map(|(_, text)| text).collect();
        let texts: Vec<String> = texts.into_iter().cloned().collect();
        let mut found: HashMap<String, BTreeSet<CrmId>> = HashMap::new();
        for (text, id) in self.delivery.unkeyed(target, *slot, &texts).await? {
            found.entry(folded(&text)).or_default().insert(id);
        }
        if found.is_empty() {
            return Ok(());
        }
        let known = self.bearers(plan, seekers, &found).await?;
        let field = target.fields.get(usize::from(*slot));
        let field = field.map_or("", |f| &*f.name);
        let mut adopted = 0_u64;
        for (index, text) in places {
            let Some(ids) = found.get_mut(text).filter(|_| !known.contains(index)) else {
                continue;
            };
            if ids.len() > 1 {
                shelve(plan, *index, Reason::DeadLetter, ambiguous(field, ids));
            } else if let (Some(id), Some(entry)) = (ids.pop_first(), plan.entries.get_mut(*index))
            {
                entry.aside.crm_id = Some(id);
                entry.aside.adopted = true;
                adopted += 1;
            }
        }
        if adopted > 0 {
            tracing::info!(
                object = %target.object,
                field,
                records = adopted,
                "records that were in the CRM without an external id are taken over"
            );
        }
        Ok(())
    }

    /// Those for which a record bears the external id already.
    async fn bearers(
        &self,
        plan: &Plan,
        seekers: &Seekers,
        found: &HashMap<String, BTreeSet<CrmId>>,
    ) -> Result<HashSet<usize>, Fault> {
        let lucky = seekers.places.iter();
        let lucky = lucky.filter(|(_, text)| found.contains_key(text));
        let (places, keys): (Vec<usize>, Vec<Key>) = lucky
            .filter_map(|(index, _)| {
                Some((*index, plan.entries.get(*index)?.operation.key.clone()))
            })
            .unzip();
        let there = self.delivery.read(&seekers.target, Named::Keys(&keys), &[]);
        let there = places.into_iter().zip(there.await?);
        Ok(there.filter_map(|(i, record)| record.map(|_| i)).collect())
    }
}

/// Who may find a record, by object.
fn seekers(entries: &[Entry], which: &[usize]) -> BTreeMap<ObjectId, Seekers> {
    let mut all: BTreeMap<ObjectId, Seekers> = BTreeMap::new();
    for (index, entry) in which.iter().filter_map(|i| Some((*i, entries.get(*i)?))) {
        let target = &entry.operation.target;
        let Some((slot, text)) = sought(entry) else {
            continue;
        };
        let seekers = all.entry(target.id).or_insert_with(|| Seekers {
            target: Arc::clone(target),
            slot,
            places: Vec::new(),
        });
        seekers.places.push((index, text));
    }
    all
}

/// The text by which the record of an entry may be found, if it would be made.
pub(super) fn sought(entry: &Entry) -> Option<(u16, String)> {
    let slot = entry.operation.target.creation.adopt?;
    let nothing_known = |e: &Entry| match &e.ledger {
        None => true,
        Some(ledger) => ledger.existence == Existence::Uncertain,
    };
    if !entry.is_sent()
        || entry.operation.action != Action::Upsert
        || entry.aside.crm_id.is_some()
        || !nothing_known(entry)
    {
        return None;
    }
    let field = entry.operation.fields.iter().find(|f| f.slot == slot)?;
    match &field.assignment {
        Assignment::Set(FieldValue::Text(text)) => {
            Some((slot, folded(text))).filter(|(_, text)| !text.is_empty())
        }
        _ => None,
    }
}

/// As the CRM compares it.
fn folded(text: &str) -> String {
    text.trim().to_lowercase()
}

fn ambiguous(field: &str, ids: &BTreeSet<CrmId>) -> Fault {
    let named: Vec<&str> = ids.iter().take(NAMED).map(|id| &**id).collect();
    let what = format!(
        "{} records without an external id have this {field} ({}{}): merge them, or give the right one the \
         external id, and retry",
        ids.len(),
        named.join(", "),
        if ids.len() > NAMED { ", …" } else { "" }
    );
    let mut fault = Fault::new(Class::Record, ADOPT_AMBIGUOUS, what);
    fault.fields.push(field.to_owned());
    fault
}

fn shelve(plan: &mut Plan, index: usize, reason: Reason, fault: Fault) {
    if let Some(entry) = plan.entries.get_mut(index) {
        entry.course = Course::Shelve {
            reason,
            waits_for: None,
            fault: Some(Fault {
                class: Class::Record,
                ..fault
            }),
        };
    }
}
