//! What is read beside the stream: the catalog as it is now, and pages of existing rows.

use futures_util::future::BoxFuture;

use super::CatalogTable;
use crate::change::{Lsn, Tuple};
use crate::fault::Result;
use crate::value::TypeRow;

/// The prefix of our watermarks among the logical messages.
pub const WATERMARK: &str = "syncline_watermark";

/// The catalog at one moment.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Every transaction that is in it committed before here.
    pub lsn: Lsn,
    /// What had ended before it was read is in it.
    pub snapshot: Snapshot,
    /// The tables found.
    pub tables: Vec<CatalogTable>,
    /// The types that are not built in.
    pub types: Vec<TypeRow>,
}

/// Which transactions a read has seen: `pg_current_snapshot()`.
///
/// <https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT>
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snapshot {
    /// Everything before it is seen.
    pub xmin: u64,
    /// From here on nothing is seen.
    pub xmax: u64,
    /// Not seen although they lie between. Sorted.
    pub running: Vec<u64>,
}

/// Where a table's pages go on: the values of its paging columns, in Postgres's text form.
pub type PageKey = Vec<String>;

/// Which rows to read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageRequest {
    /// The table, by its oid: it may be renamed while it is read.
    pub table: u32,
    /// Only rows behind this one.
    pub after: Option<PageKey>,
    /// Only rows for which this SQL condition is true.
    pub filter: Option<String>,
    /// At most so many.
    pub rows: usize,
    /// About so many bytes: a page ends with the row that passes it.
    pub bytes: usize,
}

/// Existing rows, in the order of their key.
#[derive(Clone, Debug)]
pub struct Page {
    /// What the page saw.
    pub snapshot: Snapshot,
    /// The table as it was then: `columns` are those of the rows, in this order.
    pub table: CatalogTable,
    /// The rows. They share one buffer.
    pub rows: Vec<Tuple>,
    /// The key of the last row; none for an empty page.
    pub last: Option<PageKey>,
    /// There are no rows behind it.
    pub end: bool,
}

/// Reads the source beside the stream. Connects anew by itself; an error says whether trying again
/// may help ([`crate::fault::Error::is_transient`]).
pub trait Reader: Send + Sync + 'static {
    /// The tables of these names (`schema.table`) or oids, each once, and all types.
    fn catalog<'a>(
        &'a self,
        names: &'a [String],
        oids: &'a [u32],
    ) -> BoxFuture<'a, Result<Catalog>>;

    /// Writes a transactional logical message, [`WATERMARK`], and says which transaction carries it.
    /// It is committed when this returns.
    fn mark<'a>(&'a self, content: &'a str) -> BoxFuture<'a, Result<u64>>;

    /// One page. No transaction is open when it returns. Fails with
    /// [`crate::fault::ErrorKind::SourceRefused`] when the table has no key to page by, or a right is
    /// missing.
    fn page<'a>(&'a self, request: &'a PageRequest) -> BoxFuture<'a, Result<Page>>;

    /// About how many rows a whole read comes to (exact where that is cheap).
    fn rows<'a>(&'a self, table: u32, filter: Option<&'a str>) -> BoxFuture<'a, Result<u64>>;

    /// Who holds up a backfill or a slot: transactions that write, in words.
    fn writers(&self) -> BoxFuture<'_, Result<Vec<String>>>;
}

impl Snapshot {
    /// Whether what transaction `xid` wrote is in the read. The stream counts transactions with 32
    /// bits, which wrap; none that matters is 2³¹ older or newer.
    pub fn sees(&self, xid: u32) -> bool {
        let near = self.xmax as u32;
        let full = self
            .xmax
            .wrapping_add(i64::from(xid.wrapping_sub(near) as i32) as u64);
        full < self.xmin || (full < self.xmax && self.running.binary_search(&full).is_err())
    }
}

#[cfg(test)]
mod tests {
    use super::Snapshot;

    #[test]
    fn a_snapshot_sees_what_ended_before_it() {
        let snapshot = Snapshot {
            xmin: 1220,
            xmax: 1225,
            running: vec![1220, 1223],
        };
        let seen: Vec<u32> = (1217..1228).filter(|x| snapshot.sees(*x)).collect();
        assert_eq!(seen, [1217, 1218, 1219, 1221, 1222, 1224]);
    }

    #[test]
    fn the_counter_wraps() {
        let epoch = 1 << 32;
        let snapshot = Snapshot {
            xmin: epoch + 3,
            xmax: epoch + 9,
            running: vec![epoch + 5],
        };
        assert!(snapshot.sees(u32::MAX - 1), "before the wrap");
        assert!(snapshot.sees(2));
        assert!(snapshot.sees(4));
        assert!(!snapshot.sees(5));
        assert!(!snapshot.sees(9));
        assert!(!snapshot.sees(100_000));
        let before = Snapshot {
            xmin: epoch - 2,
            xmax: epoch - 1,
            running: vec![],
        };
        assert!(!before.sees(3), "after the wrap");
        assert!(before.sees(u32::MAX - 2));
    }
}
