//! Logical messages: watermarks of the backfill's pages, and those that become records.

use std::sync::Arc;

use compact_str::format_compact;

use super::{Blocked, Intake, MESSAGES, Place};
use crate::capture::WATERMARK;
use crate::change::{Change, Kind};
use crate::fault::Result;
use crate::mapping::{Mapped, Outbox};
use crate::planning::{Item, Window};
use crate::supervisor::overlay::{Tracking, Unusable};
use crate::supervisor::rows::{Arrived, Rows, nameless};

impl Intake {
    pub(super) fn message(&mut self, change: Change, window: &mut Window) -> Result<()> {
        let position = change.position;
        if let Kind::Message {
            prefix, content, ..
        } = &change.kind
            && **prefix == *WATERMARK
        {
            if let Some((watermark, object)) = &self.opening
                && watermark.as_bytes() == content.as_ref()
            {
                self.tracking = Some(Tracking::new(*object));
                self.opening = None;
            }
            // One that nobody waits for is from an earlier life.
            if let Some(page) = self
                .expected
                .take_if(|page| page.watermark.as_bytes() == content.as_ref())
            {
                let place = Place {
                    position,
                    commit_time: change.commit_time,
                    xid: change.xid,
                };
                if window.is_quiet() && self.replay.is_none() {
                    self.page(window, page, &place);
                } else {
                    self.blocked = Some(Blocked::Page(Box::new(page), place));
                    self.full = true;
                }
                return Ok(());
            }
        }
        match &change.kind {
            Kind::Message { prefix, .. } => match self.mapping.of_prefix(prefix).cloned() {
                Some(outbox) => self.posted(&outbox, &change, window),
                None => self.pass(window, MESSAGES, position, change.commit_time),
            },
            _ => self.pass(window, MESSAGES, position, change.commit_time),
        }
        Ok(())
    }

    /// A message that becomes a record.
    fn posted(&mut self, outbox: &Outbox, change: &Change, window: &mut Window) {
        let item = match outbox.map(change) {
            Mapped::Operation(operation) => Some(Item::new(operation, None)),
            Mapped::Rejected(rejected) => {
                let key = match rejected.record {
                    Some(record) => record.key,
                    None => format_compact!("?{}", change.position),
                };
                let operation = rejected.operation;
                let operation = operation.or_else(|| nameless(outbox.binding(), change, key));
                operation.map(|operation| Item::new(operation, Some(rejected.fault)))
            }
            Mapped::Ignored(_) | Mapped::Truncate { .. } => None,
        };
        match item {
            Some(item) => self.push(window, item, change.commit_time),
            None => self.pass(window, MESSAGES, change.position, change.commit_time),
        }
    }

    /// The rows of a page, where their watermark stands.
    pub(super) fn page(&mut self, window: &mut Window, page: Arrived, place: &Place) {
        let relation = Arc::new(self.decoder.relation_of(&page.page.table));
        let binding = self.mapping.bind(&relation);
        let overlay = match &mut self.tracking {
            Some(tracking) => tracking.overlay(&page.page.snapshot),
            None => Err(Unusable::Lost),
        };
        match overlay {
            Ok(overlay) => {
                let rows = Rows {
                    binding: &binding,
                    relation: &relation,
                    position: place.position,
                    commit_time: place.commit_time,
                    xid: place.xid,
                };
                if !rows.enter(page, &overlay, window) {
                    window.page = None;
                    self.unusable = Some(Unusable::Again);
                }
            }
            Err(unusable) => self.unusable = Some(unusable),
        }
        // The page was taken into account where it was cut off, too.
        self.pass(window, MESSAGES, place.position, place.commit_time);
    }
}
