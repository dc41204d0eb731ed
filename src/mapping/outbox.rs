//! The outbox: logical messages that become records.
//!
//! An application that wants something of the CRM that is no row (a task for a sales person, an event
//! on a customer's record) says so in the transaction that it belongs to:
//!
//! ```sql
//! SELECT pg_logical_emit_message(true, 'crm.task', '{"customer": 7, "subject": "Call back"}');
//! ```
//!
//! ```text
//! prefix ─► Outbox ── content: JSON object ─► members ─► Tuple ─┐
//!                                                               ▼
//!             (a table with a column a member) ────────► Binding::map ─► Operation ─► as any row's
//! ```
//!
//! A message is the insert of a row of a table that is not in the database. From there on nothing
//! knows the difference: planning orders it after the records that it refers to, the shelf keeps it,
//! the ledger remembers it, and it has a verdict in the counts of `outbox."prefix"`. So it comes in
//! commit order with the rows of its transaction, and is durable before its position is confirmed.
//!
//! The external id is a member's value, or the message's place in the stream: LSN of the commit,
//! ordinal, and time of the commit, which tells it from a message at the same place of another
//! history (a restored backup, a failover). Sent again, a message has the same place and so the same
//! record.
//!
//! Invariants
//! - A message is written whole or not at all. One that cannot be read or mapped is a dead letter that
//!   keeps its content (of one longer than [`LONGEST`], the beginning): unlike a row it is nowhere else.
//! - A member that is missing is *absent*, one that is `null` follows the null rule.
//! - Numbers are taken digit for digit. No number passes through binary floating point.
//! - Only transactional messages are sent. Another may belong to a transaction that never was.
//! - No fault names a member's value outside of the content that it keeps.

mod content;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use smallvec::SmallVec;

use super::bind::Binding;
use super::map::{Mapped, Rejected};
use super::table::TableMapping;
use crate::change::{Change, Kind, Relation, Span, Tuple};
use crate::config::UnknownMembers;
use crate::fault::{Class, Fault};
use crate::value::ValueType;
use content::{Members, Trouble};

/// Content that is longer, in bytes, is refused: no request to a CRM could carry it.
const LONGEST: usize = 1 << 20;
/// So much of a content that is too long is kept.
const KEPT: usize = 64 << 10;
/// Names of unknown members that are counted apart.
const NAMES: usize = 100;
/// Under this name the others are.
const OTHERS: &str = "(others)";

/// Whether a table's name in the words of the configuration is that of a section of the outbox.
pub fn is_section(table: &str) -> bool {
    table.starts_with("outbox.\"")
}

/// Where the value of a column is in a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Member {
    /// It is the message's place in the stream.
    Position,
    /// In its content.
    At {
        /// Member by member. The first is a name; of the others each may be an index of a list.
        path: Vec<String>,
        /// It names a record: only texts and whole numbers do.
        names: bool,
    },
}

impl Member {
    /// A member by its name, or by a JSON Pointer.
    /// <https://www.rfc-editor.org/rfc/rfc6901>
    pub(super) fn at(name: &str, names: bool) -> Self {
        let path = match name.strip_prefix('/') {
            Some(pointer) => pointer
                .split('/')
                .map(|part| part.replace("~1", "/").replace("~0", "~"))
                .collect(),
            None => vec![name.to_owned()],
        };
        Member::At { path, names }
    }
}

/// What the messages of one prefix become.
#[derive(Debug)]
pub struct Outbox {
    table: Arc<TableMapping>,
    binding: Binding,
    /// Beside the columns of the binding's relation.
    members: Vec<Member>,
    unknown: UnknownMembers,
    /// Members that no rule named, and how often.
    seen: Mutex<BTreeMap<String, u64>>,
}

impl Outbox {
    pub(super) fn new(
        table: Arc<TableMapping>,
        relation: Relation,
        members: Vec<Member>,
        unknown: UnknownMembers,
    ) -> Self {
        Outbox {
            binding: Binding::of_messages(&table, relation),
            table,
            members,
            unknown,
            seen: Mutex::default(),
        }
    }

    /// The prefix of its messages.
    pub fn prefix(&self) -> &str {
        &self.binding.relation.name
    }

    /// Its rules, as those of a table.
    pub fn table(&self) -> &Arc<TableMapping> {
        &self.table
    }

    /// What its messages are mapped with, once they are rows.
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// What of it is not in its rules as a table, as text.
    pub(super) fn words(&self) -> String {
        let (members, once) = (&self.members, self.table.target.creation.once);
        format!("{members:?} {:?} {once}", self.unknown)
    }

    /// Members that no rule names, and in how many messages they were, since the rules are in force.
    pub fn unknown_members(&self) -> BTreeMap<String, u64> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }

    /// What a message means. Never panics, whatever its bytes are.
    pub fn map(&self, change: &Change) -> Mapped {
        let Kind::Message {
            content,
            transactional,
            ..
        } = &change.kind
        else {
            return Mapped::Ignored("no_message");
        };
        let mapped = match self.read(change, content, *transactional) {
            Ok((new, unknown)) => {
                let row = Change {
                    relation: Some(Arc::clone(&self.binding.relation)),
                    kind: Kind::Insert { new },
                    ..change.clone()
                };
                self.judged(self.binding.map(&row), *transactional, unknown)
            }
            Err(fault) => Mapped::Rejected(Rejected {
                operation: None,
                record: None,
                fault,
            }),
        };
        match mapped {
            Mapped::Rejected(rejected) => Mapped::Rejected(keeping(rejected, content)),
            other => other,
        }
    }

    /// What the message says beside its members.
    fn judged(&self, mapped: Mapped, transactional: bool, unknown: Vec<String>) -> Mapped {
        let refused = self.unknown == UnknownMembers::Reject && !unknown.is_empty();
        let fault = if !transactional {
            let what = "the message is not transactional: its transaction may never have \
                        committed. Emit it with pg_logical_emit_message(true, …)";
            Fault::new(Class::Record, "outbox_not_transactional", what)
        } else if refused {
            let what = format!(
                "members that no rule names (unknown = \"reject\"): {}",
                unknown.join(", ")
            );
            Fault::new(Class::Record, "outbox_unknown_member", what)
        } else {
            self.note(unknown);
            return mapped;
        };
        match mapped {
            Mapped::Operation(operation) => Mapped::Rejected(Rejected {
                record: Some(operation.record()),
                operation: Some(operation),
                fault,
            }),
            other => other,
        }
    }

    fn note(&self, unknown: Vec<String>) {
        if unknown.is_empty() {
            return;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for name in unknown {
            let known = seen.len() < NAMES || seen.contains_key(&name);
            let name = if known { name } else { OTHERS.to_owned() };
            *seen.entry(name).or_default() += 1;
        }
    }

    /// The content as a row, and its members that no rule names.
    fn read(
        &self,
        change: &Change,
        content: &[u8],
        transactional: bool,
    ) -> Result<(Tuple, Vec<String>), Fault> {
        if content.len() > LONGEST {
            let what = format!(
                "the content has {} bytes; {LONGEST} are the most",
                content.len()
            );
            return Err(Fault::new(Class::Record, "outbox_too_large", what));
        }
        let members = Members::read(content).map_err(|trouble| refused(&trouble, None))?;
        let columns = self.members.iter().zip(&self.binding.relation.columns);
        let mut frame = Vec::new();
        let mut spans = SmallVec::new();
        for (member, column) in columns {
            let value = match member {
                Member::Position => Some(Some(position(change, transactional).into())),
                Member::At { path, names } => members
                    .value(
                        path,
                        *names,
                        matches!(column.value_type, ValueType::Array(..)),
                    )
                    .map_err(|trouble| refused(&trouble, Some(&column.name)))?,
            };
            spans.push(match value {
                // A record is named in every message, or not at all.
                None if column.key => Span::Null,
                None => Span::Unchanged,
                Some(None) => Span::Null,
                Some(Some(text)) => put(&mut frame, &text),
            });
        }
        let named = |name: &str| {
            self.members.iter().any(|member| match member {
                Member::At { path, .. } => path.first().is_some_and(|first| first == name),
                Member::Position => false,
            })
        };
        let unknown = members.names().filter(|name| !named(name));
        let unknown = unknown.map(str::to_owned).collect();
        let frame = Bytes::from(frame);
        Ok((Tuple { frame, spans }, unknown))
    }
}

/// A message's place in the stream: the same each time that it comes.
fn position(change: &Change, transactional: bool) -> String {
    let at = change.position;
    // What belongs to no transaction has the time of whatever came before it, if anything did.
    let time = if transactional {
        change.commit_time.0
    } else {
        0
    };
    format!("{:016X}-{}-{time}", at.commit.0, at.ordinal)
}

fn put(frame: &mut Vec<u8>, text: &str) -> Span {
    let span = u32::try_from(frame.len()).and_then(|offset| {
        let len = u32::try_from(text.len())?;
        Ok(Span::Text { offset, len })
    });
    frame.extend_from_slice(text.as_bytes());
    // A content is far shorter.
    span.unwrap_or(Span::Null)
}

#[cold]
fn refused(trouble: &Trouble, member: Option<&str>) -> Fault {
    let what = match member {
        Some(member) => format!("the member {member} {}", trouble.words()),
        None => format!("the content {}", trouble.words()),
    };
    Fault::new(Class::Record, trouble.code(), what)
}

/// A message that is refused keeps its content, unless its operation is whole.
#[cold]
fn keeping(rejected: Rejected, content: &[u8]) -> Rejected {
    if rejected.operation.is_some() && rejected.fault.fields.is_empty() {
        return rejected;
    }
    let Rejected { mut fault, .. } = rejected;
    let most = if content.len() > LONGEST {
        KEPT
    } else {
        LONGEST
    };
    let kept = content.get(..most).unwrap_or(content);
    let text = match std::str::from_utf8(kept) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(kept.escape_ascii().to_string()),
    };
    fault.message = match kept.len() == content.len() {
        true => format!("{}; its content: {text}", fault.message),
        false => format!(
            "{}; the first {} bytes of its content: {text}",
            fault.message,
            kept.len()
        ),
    };
    Rejected { fault, ..rejected }
}
