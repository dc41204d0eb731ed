//! Frames to operations in a window: decode and mapping, run where the window fills.

mod messages;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use compact_str::format_compact;
use hashbrown::HashMap;

use super::overlay::{Tracking, Unusable};
use super::rows::{Arrived, nameless};
use crate::capture::{CatalogTable, Frame};
use crate::change::{Change, Kind, Lsn, Position, Relation, Span, Timestamp, Verdict};
use crate::config::OnTruncate;
use crate::decode::{Decoded, Decoder};
use crate::fault::{Error, ErrorKind, Result, Severity};
use crate::mapping::{Action, Binding, Mapped, Mapping, ObjectId, TABLE_HALTED, Target};
use crate::planning::{Bounds, Item, Pushed, Window};
use crate::store::Intent;
use crate::value::TypeRow;

/// The name under which logical messages are counted.
pub const MESSAGES: &str = "(logical messages)";

/// Turns frames into a window, and stops where the window has to end.
pub struct Intake {
    decoder: Decoder,
    mapping: Arc<Mapping>,
    bounds: Bounds,
    /// Operations that a window usually holds at most.
    rows: usize,
    /// What the window may grow to instead, for now.
    roomy: Option<Bounds>,
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
    /// The open transaction.
    xid: u32,
    /// Descriptions of tables that say something new, and came while a window was sent again.
    later_news: VecDeque<News>,
    /// Notes what is streamed while existing rows are read.
    tracking: Option<Tracking>,
    /// The watermark from which on that is done, and for whom.
    opening: Option<(String, ObjectId)>,
    /// A page that waits for its watermark.
    expected: Option<Arrived>,
    /// What became of the last page that arrived and could not be used.
    pub unusable: Option<Unusable>,
    /// Tables of which a row changed its key and left out fields that it has.
    pub moved: Vec<Box<str>>,
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
    /// The watermark of a page that is here.
    Page(Box<Arrived>, Place),
    News(News),
    /// The rules are to be looked at.
    Stop,
}

/// Where a page takes its place in the stream.
struct Place {
    position: Position,
    commit_time: Timestamp,
    xid: u32,
}

/// A table was described as it was not known before. Until the rules are made anew, none of its rows
/// is taken.
#[derive(Clone, Debug)]
pub struct News {
    /// As it is from here on.
    pub relation: Arc<Relation>,
    /// From here on.
    pub position: Position,
    /// The transaction that says so.
    pub xid: u32,
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
            rows: bounds.rows,
            roomy: None,
            tables: HashMap::new(),
            frames: VecDeque::new(),
            later: VecDeque::new(),
            seen: settled,
            replay: intent.map(|i| i.until).filter(|until| *until > settled),
            blocked: None,
            full: false,
            xid: 0,
            later_news: VecDeque::new(),
            tracking: None,
            opening: None,
            expected: None,
            unusable: None,
            moved: Vec::new(),
            oldest: None,
            taken: 0,
        }
    }

    /// More frames. Only when [`Intake::is_hungry`].
    pub fn feed(&mut self, frames: Vec<Frame>) {
        self.frames.extend(frames);
    }

    /// The connection was made again: the open transaction comes again from its Begin.
    pub fn restarted(&mut self) {
        self.decoder.reset();
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

    /// What the window may hold now.
    fn bounds(&self) -> Bounds {
        let Some(roomy) = self.roomy else {
            return self.bounds;
        };
        Bounds {
            rows: roomy.rows.max(self.bounds.rows),
            bytes: roomy.bytes.max(self.bounds.bytes),
        }
    }

    /// It has all that a window holds while none is under way.
    pub fn would_be_full(&self, window: &Window) -> bool {
        window.items.len() >= self.bounds.rows || window.bytes() >= self.bounds.bytes
    }

    /// The first window after a restart has not yet reached the place where it was cut.
    pub fn is_replaying(&self) -> bool {
        self.replay.is_some() && !self.full
    }

    /// The window that fills (or is full) has been sent before, at least in part.
    pub fn is_again(&self) -> bool {
        self.replay.is_some()
    }

    /// Windows may hold so many times as many operations as they usually do (and no more bytes).
    pub fn stretch(&mut self, times: usize) {
        self.bounds.rows = self.rows.saturating_mul(times);
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

    /// A description of a table that has to be dealt with stands next, alone.
    pub fn take_news(&mut self) -> Option<News> {
        match self.blocked.take() {
            Some(Blocked::News(news)) => {
                self.full = false;
                Some(news)
            }
            other => {
                self.blocked = other;
                self.later_news
                    .pop_front()
                    .filter(|_| self.replay.is_none())
            }
        }
    }

    /// Whether [`Intake::stop`] may be called.
    pub fn can_stop(&self) -> bool {
        !self.full && self.replay.is_none()
    }

    /// The window ends here; what follows waits for [`Intake::take_stop`].
    pub fn stop(&mut self) {
        if self.can_stop() {
            self.blocked = Some(Blocked::Stop);
            self.full = true;
        }
    }

    /// It was stopped, and goes on now.
    pub fn take_stop(&mut self) -> bool {
        let stopped = matches!(self.blocked, Some(Blocked::Stop));
        if stopped {
            self.blocked = None;
            self.full = false;
        }
        stopped
    }

    /// Goes on with new rules, and with what is known of the tables from these positions on.
    pub fn adapt(
        &mut self,
        mapping: Arc<Mapping>,
        versions: impl IntoIterator<Item = (Position, CatalogTable)>,
        types: Vec<TypeRow>,
    ) {
        let mut oids: BTreeSet<u32> = self.tables.keys().copied().collect();
        self.decoder.add_types(types);
        for (from, table) in versions {
            oids.insert(table.oid);
            self.decoder.adopt(from, table);
        }
        self.mapping = mapping;
        for oid in oids {
            if let Some(relation) = self.decoder.relation(oid) {
                self.bind(&relation);
            }
        }
    }

    /// Notes what is streamed about this object from that watermark on.
    pub fn track(&mut self, watermark: String, object: ObjectId) {
        self.opening = Some((watermark, object));
    }

    /// No rows are read any more.
    pub fn untrack(&mut self) {
        (self.opening, self.tracking, self.expected) = (None, None, None);
    }

    /// A page that takes its place when its watermark comes by.
    pub fn expect(&mut self, page: Arrived) {
        self.expected = Some(page);
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
            Some(Blocked::Page(page, place)) => {
                self.full = false;
                self.page(window, *page, &place);
            }
            // It waits until everything before it is settled.
            alone => self.blocked = alone,
        }
    }

    /// Works frames into the window until they are used up or the window has to end.
    /// `roomy`: the window may grow to this, as another one is under way.
    pub fn fill(&mut self, window: &mut Window, roomy: Option<Bounds>) -> Result<()> {
        self.roomy = roomy;
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
                Some(Decoded::Begin { commit, xid, .. }) => {
                    self.xid = xid;
                    self.pass_replay(commit, window);
                }
                Some(Decoded::Change(change)) => self.change(change, window)?,
                Some(Decoded::Truncate(changes)) => self.later.extend(changes),
                Some(Decoded::Schema {
                    relation,
                    position,
                    changed,
                }) => {
                    let ours = self.mapping.of(&relation).is_some();
                    if !(changed && ours && position > self.seen) {
                        self.bind(&relation);
                        continue;
                    }
                    let news = News {
                        relation: Arc::clone(&relation),
                        position,
                        xid: self.xid,
                    };
                    match self.replay {
                        // A window is sent again as it was the first time.
                        Some(_) => {
                            self.bind(&relation);
                            self.later_news.push_back(news);
                        }
                        // It is bound by the new rules.
                        None => {
                            self.blocked = Some(Blocked::News(news));
                            self.full = true;
                        }
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
            return self.message(change, window);
        };
        let Some(table) = self.tables.get(&relation.oid) else {
            // The decoder has checked that the table was described.
            self.pass(window, &relation.qualified(), position, time);
            return Ok(());
        };
        let item = match table.binding.map(&change) {
            Mapped::Operation(operation) => {
                let partial = is_partial(&change);
                if partial && matches!(operation.action, Action::ReKey { .. }) {
                    self.moved.push(table.name.clone());
                }
                if let Some(tracking) = &mut self.tracking {
                    tracking.note(&operation, partial);
                }
                Item::new(operation, None)
            }
            Mapped::Rejected(rejected) => {
                let operation = rejected.operation.or_else(|| {
                    let key = match (rejected.record, &*rejected.fault.code) {
                        (Some(record), _) => record.key,
                        // One place for all that happens to a table whose rows have lost their names.
                        (None, TABLE_HALTED) => format_compact!("?{}", table.name),
                        (None, _) => format_compact!("?{}", change.position),
                    };
                    nameless(&table.binding, &change, key)
                });
                let Some(operation) = operation else {
                    return Ok(());
                };
                if is_partial(&change) && matches!(operation.action, Action::ReKey { .. }) {
                    self.moved.push(table.name.clone());
                }
                if let Some(tracking) = &mut self.tracking {
                    tracking.note(&operation, false);
                }
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

    fn bind(&mut self, relation: &Arc<Relation>) {
        let binding = self.mapping.bind(relation);
        tell(&binding);
        let name = match binding.table() {
            // It may have been renamed: it is counted under the configuration's name.
            Some(table) => table.target.table.clone(),
            None => relation.qualified().into_boxed_str(),
        };
        self.tables.insert(relation.oid, Table { name, binding });
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
            Some(self.bounds())
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

/// Whether a change left out something of its row that the row has: unchanged TOAST.
fn is_partial(change: &Change) -> bool {
    match &change.kind {
        Kind::Update { new, .. } => new.spans.contains(&Span::Unchanged),
        _ => false,
    }
}

/// What is to be said of a version of a table's schema.
fn tell(binding: &Binding) {
    for finding in &binding.findings {
        match finding.severity {
            Severity::Problem => tracing::error!(
                place = %finding.place, remedy = %finding.remedy, "{}", finding.what
            ),
            Severity::Warning => tracing::warn!(place = %finding.place, "{}", finding.what),
            Severity::Note => tracing::info!(place = %finding.place, "{}", finding.what),
        }
    }
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
