//! The steps of a backfill: each one a future that keeps at it while that may help.

use std::time::Duration;

use tokio::time::sleep;

use crate::backoff::Backoff;
use crate::capture::{Page, PageRequest, Reader};
use crate::fault::{Error, Result};

/// The smallest page.
pub(super) const LEAST_ROWS: usize = 100;

/// What reading came to.
#[derive(Debug)]
pub enum Answer {
    /// The opening watermark is written, by this transaction.
    Opened {
        /// Whoever wrote before it has to end first.
        horizon: u64,
        /// Rows there are, about.
        expected: u64,
    },
    /// A page.
    Page(Page),
    /// Somebody still writes who did when the backfill was opened.
    Writers(Vec<String>),
    /// The page's watermark is written.
    Marked,
    /// It cannot be read until a person acts.
    Refused(Error),
}

/// How long a window with a page should be on its way.
pub(super) const PAGE_TIME: Duration = Duration::from_millis(250);
/// The same where it goes by a bulk job. Live changes wait so long behind it.
pub(super) const LARGE_TIME: Duration = Duration::from_secs(20);

/// Towards pages that are on their way for so long, by steps of at most two.
pub(super) fn next_size(rows: usize, took: Duration, aim: Duration, most: usize) -> usize {
    let ratio = aim.as_secs_f64() / took.as_secs_f64().max(0.001);
    let rows = (rows as f64 * ratio.clamp(0.5, 2.0)) as usize;
    rows.clamp(LEAST_ROWS.min(most), most)
}

/// Again and again while that may help.
pub(in crate::supervisor) async fn patiently<T, F>(
    what: &str,
    mut step: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let backoff = Backoff {
        base: Duration::from_millis(200),
        cap: Duration::from_secs(15),
    };
    let mut attempt = 0;
    loop {
        match step().await {
            Err(error) if error.is_transient() => {
                attempt += 1;
                tracing::warn!(%error, attempt, "{what} failed, trying again");
                let delay = backoff.delay(attempt, &mut rand::rng());
                sleep(delay).await;
            }
            other => return other,
        }
    }
}

pub(super) async fn mark(reader: &dyn Reader, content: &str) -> Result<u64> {
    // Written twice, the second one means nothing.
    patiently("writing a watermark", || reader.mark(content)).await
}

pub(super) async fn open(
    reader: &dyn Reader,
    watermark: &str,
    table: u32,
    filter: Option<&str>,
) -> Result<Answer> {
    let count = || reader.rows(table, filter);
    let expected = patiently("counting existing rows", count).await?;
    let horizon = mark(reader, watermark).await?;
    Ok(Answer::Opened { horizon, expected })
}

/// A page, or those who still write.
pub(super) async fn read(
    reader: &dyn Reader,
    request: &PageRequest,
    horizon: u64,
) -> Result<Result<Page, Vec<String>>> {
    let page = patiently("reading existing rows", || reader.page(request)).await?;
    if page.snapshot.running.iter().any(|xid| *xid < horizon) {
        return Ok(Err(reader.writers().await.unwrap_or_default()));
    }
    Ok(Ok(page))
}
