//! Existing rows as operations: what a page becomes where its watermark stands in the stream.

use std::sync::Arc;

use compact_str::format_compact;

use super::overlay::Overlay;
use crate::capture::Page;
use crate::change::{Change, Kind, Position, Relation, Timestamp};
use crate::mapping::{Action, Binding, Changed, ColumnMapping, Fields, Key, Mapped, Operation};
use crate::planning::{Item, Pushed, Row, Window, WindowPage};

/// A page that waits for its place.
#[derive(Debug)]
pub struct Arrived {
    /// The content of its watermark.
    pub watermark: String,
    /// Its table, in the configuration's words.
    pub table: Box<str>,
    /// For this column alone, where the CRM has the record.
    pub column: Option<String>,
    /// The rows.
    pub page: Page,
}

/// What a page's rows are mapped with.
pub(super) struct Rows<'a> {
    pub binding: &'a Binding,
    pub relation: &'a Arc<Relation>,
    pub position: Position,
    pub commit_time: Timestamp,
    pub xid: u32,
}

impl Rows<'_> {
    /// Puts the rows into a window without operations. False: it has no place for them.
    pub(super) fn enter(&self, arrived: Arrived, overlay: &Overlay, window: &mut Window) -> bool {
        let page = arrived.page;
        let only = arrived.column.as_deref().and_then(|c| self.slot(c));
        let row = Row { only };
        let mut fits = true;
        let mut overtaken = 0;
        let rows = page.rows.len() as u64;
        for (number, new) in page.rows.into_iter().enumerate() {
            let change = Change {
                position: self.position,
                commit_time: self.commit_time,
                xid: self.xid,
                relation: Some(Arc::clone(self.relation)),
                kind: Kind::Insert { new },
            };
            let item = match self.binding.map(&change) {
                Mapped::Operation(operation) => overlay
                    .apply(undated(operation))
                    .map(|operation| Item::of_row(operation, None, row)),
                Mapped::Rejected(rejected) => {
                    let key = format_compact!("?{}.{number}", self.position);
                    let operation = rejected
                        .operation
                        .or_else(|| nameless(self.binding, &change, key));
                    let operation = operation.and_then(|o| overlay.apply(undated(o)));
                    operation.map(|o| Item::of_row(o, Some(rejected.fault), row))
                }
                Mapped::Ignored(_) | Mapped::Truncate { .. } => None,
            };
            match item {
                Some(item) => fits &= matches!(window.push(item, None), Pushed::Taken),
                None => overtaken += 1,
            }
        }
        window.page = Some(WindowPage {
            table: arrived.table,
            through: page.last,
            rows,
            overtaken,
            end: page.end,
        });
        fits
    }

    fn slot(&self, column: &str) -> Option<u16> {
        match self.binding.table()?.columns.get(column)? {
            ColumnMapping::Field(rule) => Some(rule.slot),
            ColumnMapping::Ignored => None,
        }
    }
}

/// Nobody knows when an existing row got its values.
fn undated(mut operation: Operation) -> Operation {
    let undated = operation.contested().map(|field| Changed {
        slot: field.slot,
        at: None,
        sure: false,
        decided: false,
    });
    operation.changed = undated.collect();
    operation
}

/// The place on the shelf of a row whose record cannot be named.
pub(super) fn nameless(binding: &Binding, change: &Change, key: Key) -> Option<Operation> {
    Some(Operation {
        target: Arc::clone(&binding.table()?.target),
        key,
        action: Action::Upsert,
        fields: Fields::default(),
        position: change.position,
        commit_time: change.commit_time,
        xid: change.xid,
        changed: Vec::new(),
    })
}
