//! Frames to operations in a window: decode and mapping, run where the window fills.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::capture::Frame;
use crate::change::{Change, Lsn, Position, Timestamp, Verdict};
use crate::config::OnTruncate;
use crate::decode::{Decoded, Decoder, resolve};
use crate::fault::{Error, ErrorKind, Result, Severity};
use crate::mapping::{Action, Binding, Fields, Mapped, Mapping, Operation, Target};
use crate::planning::{Bounds, Item, Pushed, Window};
use crate::store::{Intent, SchemaVersion};

/// The name under which logical messages are counted.
pub const MESSAGES: &str = "(logical messages)";

/// Turns frames into a window, and stops where the window has to end.
pub struct Intake {
    decoder: Decoder,
    mapping: Arc<Mapping>,
    bounds: Bounds,
    /// By table oid, as last described.
    tables: HashMap<u32, Table>,
    frames: VecDeque<Frame>,
    /// The rest of a truncate of several tables.
    later: VecDeque<Change>,
    /// Changes up to here are in a window already, or settled: they come again after a reconnect.
    seen: Position,
    /// The window that may have been sent before the process ended: it is cut at the same change.
    replay: Option<Position>,
    /// What did not fit any more, and comes first in the next window.
    blocked: Option<Blocked>,
    full: bool,
    /// New schema versions, to be stored with the window.
    pub schemas: Vec<SchemaVersion>,
    /// When the oldest change of the window that fills was committed.
    pub oldest: Option<Timestamp>,
    /// Changes taken so far, each once.
    pub taken: u64,
}

struct Table {
    name: Box<str>,
    binding: Binding,
}

enum Blocked {
    Item(Box<Item>, Timestamp),
    Truncate(Emptied),
}

/// A table whose records are all to go.
#[derive(Clone, Debug)]
pub struct Emptied {
    /// Where its rows went.
    pub target: Arc<Target>,
    /// The truncate.
    pub position: Position,
    /// When it committed.
    pub commit_time: Timestamp,
    /// Its transaction.
    pub xid: u32,
}

impl Intake {
    /// Starts behind `settled`; `intent` is the window that may have been sent.
    pub fn new(
        decoder: Decoder,
        mapping: Arc<Mapping>,
        bounds: Bounds,
        settled: Position,
        intent: Option<&Intent>,
    ) -> Self {
        Intake {
            decoder,
            mapping,
            bounds,
            tables: HashMap::new(),
            frames: VecDeque::new(),
            later: VecDeque::new(),
            seen: settled,
            replay: intent.map(|i| i.until).filter(|until| *until > settled),
            blocked: None,
            full: false,
            schemas: Vec::new(),
            oldest: None,
            taken: 0,
        }
    }

    /// More frames. Only when [`Intake::is_hungry`].
    pub fn feed(&mut self, frames: Vec<Frame>) {
        self.frames.extend(frames);
    }

    /// The connection was made again: the open transaction comes again from its Begin.
    pub fn restarted(&mut self, settled: Position) {
        self.decoder.reset(settled);
        self.tables.clear();
    }

    /// It has worked off all frames.
    pub fn is_hungry(&self) -> bool {
        self.frames.is_empty() && self.later.is_empty() && !self.full
    }

    /// The window has to end here.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// The first window after a restart has not yet reached the place where it was cut.
    pub fn is_replaying(&self) -> bool {
        self.replay.is_some() && !self.full
    }

    /// The window that fills (or is full) has been sent before, at least in part.
    pub fn is_again(&self) -> bool {
        self.replay.is_some()
    }

    /// The last change taken.
    pub fn seen(&self) -> Position {
        self.seen
    }

    /// A table to be emptied stands next, alone.
    pub fn take_truncate(&mut self) -> Option<Emptied> {
        match self.blocked.take()? {
            Blocked::Truncate(emptied) => {
                self.full = false;
                self.seen = emptied.position;
                Some(emptied)
            }
            item => {
                self.blocked = Some(item);
                None
            }
        }
    }

    /// Starts the next window with what did not fit into the last.
    pub fn begin(&mut self, window: &mut Window) {
        self.oldest = None;
        if self.full {
            self.replay = None;
        }
        match self.blocked.take() {
            None => self.full = false,
            Some(Blocked::Item(item, time)) => {
                self.full = false;
                self.push(window, *item, time);
            }
            // It waits until everything before it is settled.
            truncate => self.blocked = truncate,
        }
    }

    /// Works frames into the window until they are used up or the window has to end.
    pub fn fill(&mut self, window: &mut Window) -> Result<()> {
        while !self.full {
            if let Some(change) = self.later.pop_front() {
                self.change(change, window)?;
                continue;
            }
            let Some(frame) = self.frames.pop_front() else {
                return Ok(());
            };
            match self.decoder.decode(&frame)? {
                None | Some(Decoded::Origin { .. }) => {}
                Some(Decoded::Begin { commit, .. }) => self.pass_replay(commit, window),
                Some(Decoded::Change(change)) => self.change(change, window)?,
                Some(Decoded::Truncate(changes)) => self.later.extend(changes),
                Some(Decoded::Schema {
                    relation,
                    position,
                    changed,
                }) => {
                    let binding = self.mapping.bind(&relation);
                    check(&binding)?;
                    let name = relation.qualified().into_boxed_str();
                    self.tables.insert(relation.oid, Table { name, binding });
                    if changed {
                        tracing::info!(
                            table = %relation.qualified(), at = %position,
                            columns = relation.columns.len(), "schema version"
                        );
                        let (oid, schema, name) = (relation.oid, &relation.schema, &relation.name);
                        let before = self.decoder.newest(oid, schema, name);
                        let table = resolve(&relation, before, None);
                        self.decoder.adopt(position, table.clone());
                        self.schemas.push(SchemaVersion {
                            from: position,
                            at: self.decoder.commit_time().unwrap_or_default(),
                            table,
                        });
                    }
                }
                Some(Decoded::Commit { end, .. }) => window.commit(end),
            }
        }
        Ok(())
    }

    /// A replayed window whose last change does not come any more (its table left the publication)
    /// ends with its transaction.
    fn pass_replay(&mut self, commit: Lsn, window: &Window) {
        if self.replay.is_some_and(|until| commit > until.commit) {
            self.full = !window.is_empty();
            self.replay = None;
        }
    }

    fn change(&mut self, change: Change, window: &mut Window) -> Result<()> {
        if change.position <= self.seen {
            return Ok(());
        }
        let position = change.position;
        let time = change.commit_time;
        self.taken += 1;
        let Some(relation) = &change.relation else {
            self.pass(window, MESSAGES, position, time);
            return Ok(());
        };
        let Some(table) = self.tables.get(&relation.oid) else {
            // The decoder has checked that the table was described.
            self.pass(window, &relation.qualified(), position, time);
            return Ok(());
        };
        let item = match table.binding.map(&change) {
            Mapped::Operation(operation) => Item::new(operation, None),
            Mapped::Rejected(rejected) => {
                let operation = rejected.operation.or_else(|| {
                    let target = table.binding.table()?.target.clone();
                    let key = rejected.record.map(|r| r.key);
                    Some(nameless(&change, target, key))
                });
                let Some(operation) = operation else {
                    return Ok(());
                };
                Item::new(operation, Some(rejected.fault))
            }
            Mapped::Ignored(_) => {
                let name = table.name.clone();
                self.pass(window, &name, position, time);
                return Ok(());
            }
            Mapped::Truncate {
                target,
                rule: OnTruncate::DeleteAll,
            } => {
                self.blocked = Some(Blocked::Truncate(Emptied {
                    target,
                    position,
                    commit_time: time,
                    xid: change.xid,
                }));
                self.full = true;
                return Ok(());
            }
            Mapped::Truncate { .. } => return Err(truncated(&table.name, position)),
        };
        self.push(window, item, time);
        Ok(())
    }

    fn pass(&mut self, window: &mut Window, table: &str, position: Position, time: Timestamp) {
        window.pass(table, Verdict::Ignored, position);
        self.took(position, time);
    }

    fn push(&mut self, window: &mut Window, item: Item, time: Timestamp) {
        let position = item.operation.position;
        if self.replay.is_some_and(|until| position > until) && !window.is_empty() {
            self.blocked = Some(Blocked::Item(Box::new(item), time));
            self.full = true;
            return;
        }
        // A replayed window has the size that it had, whatever the configuration says today.
        let bounds = if self.replay.is_some() {
            None
        } else {
            Some(self.bounds)
        };
        match window.push(item, bounds) {
            Pushed::Taken => self.took(position, time),
            Pushed::Full(item) => {
                self.blocked = Some(Blocked::Item(item, time));
                self.full = true;
            }
        }
    }

    fn took(&mut self, position: Position, time: Timestamp) {
        self.seen = position;
        self.oldest.get_or_insert(time);
        if self.replay.is_some_and(|until| position >= until) {
            self.full = true;
        }
    }
}

/// The place on the shelf of a row whose record cannot be named.
fn nameless(change: &Change, target: Arc<Target>, key: Option<crate::mapping::Key>) -> Operation {
    Operation {
        target,
        key: key.unwrap_or_else(|| compact_str::format_compact!("?{}", change.position)),
        action: Action::Upsert,
        fields: Fields::default(),
        position: change.position,
        commit_time: change.commit_time,
        xid: change.xid,
    }
}

/// A schema version whose rows must not be delivered stops delivery before the first of them.
fn check(binding: &Binding) -> Result<()> {
    for finding in &binding.findings {
        match finding.severity {
            Severity::Problem => {
                let what = format!("{}: {}", finding.place, finding.what);
                return Err(
                    Error::new(ErrorKind::SourceRefused, what).remedy(finding.remedy.clone())
                );
            }
            Severity::Warning => tracing::warn!(place = %finding.place, "{}", finding.what),
            Severity::Note => tracing::info!(place = %finding.place, "{}", finding.what),
        }
    }
    Ok(())
}

fn truncated(table: &str, position: Position) -> Error {
    Error::new(
        ErrorKind::SourceRefused,
        format!("{table} was truncated at {position}"),
    )
    .remedy(format!(
        "decide what that means for the CRM: set tables.{table:?}.on_truncate to \
             \"delete_all\" or \"ignore\" and start again"
    ))
}
