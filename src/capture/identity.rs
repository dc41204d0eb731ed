//! Whether the slot and the stored progress belong together. Checked before the first frame of
//! every connection: a position means nothing on another server, another timeline, or in a slot
//! that was made anew, and Postgres itself would not complain.

use super::refusal::{literal, lost_remedy};
use super::session::Session;
use super::wire::Row;
use crate::change::{Identity, Lsn};
use crate::fault::{Error, ErrorKind, Result};

/// One row; see the file.
pub(super) const SLOT_SQL: &str = include_str!("../../sql/slot.sql");

/// A slot as `pg_replication_slots` has it. Nearly everything is NULL for one that is lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotInfo {
    /// Its name.
    pub name: String,
    /// `logical` or `physical`.
    pub slot_type: String,
    /// Output plugin.
    pub plugin: Option<String>,
    /// The database it decodes.
    pub database: Option<String>,
    /// The process that reads it.
    pub active_pid: Option<i32>,
    /// That process's application name, where we may see it.
    pub active_application: Option<String>,
    /// WAL is kept from here on.
    pub restart_lsn: Option<Lsn>,
    /// Up to where its reader has confirmed.
    pub confirmed_flush_lsn: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// Why it cannot be read any more (Postgres 17 and newer).
    pub invalidation_reason: Option<String>,
    /// Bytes of WAL kept for it.
    pub retained: Option<u64>,
}

impl SlotInfo {
    /// Why it cannot be read any more, if so.
    pub fn lost(&self) -> Option<&str> {
        match (&self.invalidation_reason, self.wal_status.as_deref()) {
            (Some(reason), _) => Some(reason),
            (None, Some("lost")) => Some("its WAL was removed"),
            _ => None,
        }
    }

    /// Who reads it, for people.
    pub(super) fn reader(&self) -> String {
        match (self.active_pid, &self.active_application) {
            (Some(pid), Some(name)) if !name.is_empty() => format!("pid {pid} ({name})"),
            (Some(pid), _) => format!("pid {pid}"),
            _ => "nobody".to_owned(),
        }
    }
}

/// The server's and the slot's side of the comparison.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Observed {
    pub system: String,
    pub timeline: u32,
    pub database: String,
    /// The server's WAL on disk.
    pub flushed: Lsn,
    pub slot: Option<SlotInfo>,
}

/// Reads a row of [`SLOT_SQL`].
pub(super) fn slot_row(row: Row) -> Option<(Lsn, Option<SlotInfo>)> {
    let mut columns = row.into_iter();
    let mut next = || columns.next().flatten();
    let lsn = |text: Option<String>| text.and_then(|t| t.parse::<Lsn>().ok());
    let flushed = lsn(next())?;
    let Some(name) = next() else {
        return Some((flushed, None));
    };
    let slot = SlotInfo {
        name,
        slot_type: next().unwrap_or_default(),
        plugin: next(),
        database: next(),
        active_pid: next().and_then(|t| t.parse().ok()),
        active_application: next(),
        restart_lsn: lsn(next()),
        confirmed_flush_lsn: lsn(next()),
        wal_status: next(),
        invalidation_reason: next(),
        // A slot can reserve WAL that is not flushed yet.
        retained: next()
            .and_then(|t| t.parse::<i128>().ok())
            .map(|n| u64::try_from(n.max(0)).unwrap_or(u64::MAX)),
    };
    Some((flushed, Some(slot)))
}

fn unreadable(what: &str) -> Error {
    Error::new(
        ErrorKind::Protocol,
        format!("the server's answer to {what} cannot be read"),
    )
    .remedy("check that source.url leads to a Postgres server and not to a pooler or proxy")
}

/// Looks at the server and the slot over a replication connection.
pub(super) async fn observe(session: &mut Session, slot: &str) -> Result<Observed> {
    let mut rows = session.query("IDENTIFY_SYSTEM").await?;
    let mut columns = rows.pop().unwrap_or_default().into_iter();
    let (Some(Some(system)), Some(Some(timeline)), Some(_), Some(Some(database))) = (
        columns.next(),
        columns.next(),
        columns.next(),
        columns.next(),
    ) else {
        return Err(unreadable("IDENTIFY_SYSTEM"));
    };
    let timeline = timeline
        .parse()
        .map_err(|_| unreadable("IDENTIFY_SYSTEM"))?;
    let mut rows = session
        .query(&SLOT_SQL.replace("$1", &literal(slot)))
        .await?;
    let (flushed, slot) = rows
        .pop()
        .and_then(slot_row)
        .ok_or_else(|| unreadable("a query of pg_replication_slots"))?;
    Ok(Observed {
        system,
        timeline,
        database,
        flushed,
        slot,
    })
}

fn mismatch(what: String) -> Error {
    Error::new(ErrorKind::Identity, what)
}

/// Whether `slot` is one that we can read at all.
pub(super) fn check_slot(slot: &SlotInfo, database: &str) -> Result<()> {
    if slot.slot_type != "logical" || slot.plugin.as_deref() != Some("pgoutput") {
        return Err(mismatch(format!(
            "the slot {:?} is not a logical slot with the plugin pgoutput",
            slot.name
        ))
        .remedy("choose another name for source.slot"));
    }
    if let Some(other) = slot.database.as_deref().filter(|d| *d != database) {
        return Err(mismatch(format!(
            "the slot {:?} belongs to the database {other:?}",
            slot.name
        ))
        .remedy("choose another name for source.slot"));
    }
    if let Some(reason) = slot.lost() {
        return Err(mismatch(format!(
            "the slot {:?} is lost ({reason}): changes after {} cannot be read any more",
            slot.name,
            slot.confirmed_flush_lsn
                .map_or_else(|| "its last position".to_owned(), |lsn| lsn.to_string()),
        ))
        .remedy(lost_remedy(&slot.name)));
    }
    Ok(())
}

/// Whether streaming may go on at `durable`.
///
/// # Errors
/// [`ErrorKind::Identity`], with a remedy, when the stored progress does not fit what is there.
pub(super) fn check(identity: &Identity, durable: Lsn, observed: &Observed) -> Result<()> {
    let name = &identity.slot;
    if observed.system != identity.system {
        return Err(mismatch(format!(
            "this is another server: its system identifier is {}, the stored progress belongs to {}",
            observed.system, identity.system
        ))
        .remedy("correct source.url, or set the state directory aside to begin anew with this server"));
    }
    if observed.timeline != identity.timeline {
        return Err(mismatch(format!(
            "the server is on timeline {}, the stored progress belongs to timeline {}: it was failed over or restored from a backup",
            observed.timeline, identity.timeline
        ))
        .remedy(format!(
            "make sure that this is the server you want; then {}",
            lost_remedy(name)
        )));
    }
    if observed.database != identity.database {
        return Err(mismatch(format!(
            "this is the database {:?}, the stored progress belongs to {:?}",
            observed.database, identity.database
        ))
        .remedy("correct source.url, or use another state directory"));
    }
    let Some(slot) = &observed.slot else {
        return Err(mismatch(format!(
            "the slot {name:?} is gone, although there is progress up to {durable}: the changes since then are lost to it"
        ))
        .remedy(lost_remedy(name)));
    };
    check_slot(slot, &observed.database)?;
    if let Some(confirmed) = slot.confirmed_flush_lsn.filter(|c| *c > durable) {
        return Err(mismatch(format!(
            "the slot {name:?} stands at {confirmed}, ahead of the stored progress ({durable}): it was made anew, or someone else has read from it, or an older state directory was put back"
        ))
        .remedy(lost_remedy(name)));
    }
    if durable > observed.flushed {
        return Err(mismatch(format!(
            "the stored progress ({durable}) is ahead of the server's WAL ({}): the server was restored from a backup or lost its last writes",
            observed.flushed
        ))
        .remedy(lost_remedy(name)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn identity() -> Identity {
        Identity {
            system: "7".into(),
            timeline: 1,
            database: "app".into(),
            slot: "s".into(),
            publication: "p".into(),
            consistent_point: Lsn(10),
        }
    }

    fn observed() -> Observed {
        let row = [
            "0/64", "s", "logical", "pgoutput", "app", "42", "other", "0/5", "0/14", "reserved",
            "", "95",
        ]
        .map(|t| (!t.is_empty()).then(|| t.to_owned()));
        let (flushed, slot) = slot_row(row.to_vec()).unwrap();
        Observed {
            system: "7".into(),
            timeline: 1,
            database: "app".into(),
            flushed,
            slot,
        }
    }

    fn refused(change: impl FnOnce(&mut Observed), durable: u64) -> String {
        let mut observed = observed();
        change(&mut observed);
        let error = check(&identity(), Lsn(durable), &observed).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Identity);
        assert!(error.remedy.is_some());
        error.to_string()
    }

    fn slot(observed: &mut Observed) -> &mut SlotInfo {
        observed.slot.as_mut().unwrap()
    }

    #[test]
    fn what_belongs_together_goes_on() {
        for durable in [20, 21, 100] {
            check(&identity(), Lsn(durable), &observed()).unwrap();
        }
        let seen = observed();
        let slot = seen.slot.unwrap();
        assert_eq!(slot.reader(), "pid 42 (other)");
        assert_eq!((slot.retained, slot.restart_lsn), (Some(95), Some(Lsn(5))));
    }

    #[test]
    fn what_does_not_is_refused() {
        assert!(refused(|o| o.system = "8".into(), 20).contains("another server"));
        assert!(refused(|o| o.timeline = 2, 20).contains("timeline"));
        assert!(refused(|o| o.database = "x".into(), 20).contains("database"));
        assert!(refused(|o| o.slot = None, 20).contains("gone"));
        assert!(refused(|_| (), 19).contains("ahead of the stored"));
        assert!(refused(|_| (), 101).contains("ahead of the server"));
        assert!(refused(|o| slot(o).wal_status = Some("lost".into()), 20).contains("lost"));
        assert!(
            refused(
                |o| slot(o).invalidation_reason = Some("wal_removed".into()),
                20
            )
            .contains("wal_removed")
        );
        assert!(refused(|o| slot(o).plugin = Some("wal2json".into()), 20).contains("pgoutput"));
        assert!(
            refused(|o| slot(o).database = Some("b".into()), 20)
                .contains("belongs to the database")
        );
    }

    #[test]
    fn a_missing_slot_is_a_row_of_nulls() {
        let mut row = vec![None; 12];
        assert_eq!(slot_row(row.clone()), None);
        row[0] = Some("0/1".into());
        assert_eq!(slot_row(row), Some((Lsn(1), None)));
    }
}
