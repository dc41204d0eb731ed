//! Working off a job that writes.

use csv::ByteRecord;

use super::columns::Columns;
use super::job::{Job, Operation, State};
use super::jobs::RowOutcome;
use super::table::Table;
use super::{BATCH, CHUNK, pause};
use crate::app::App;
use crate::ids::Id;
use crate::store::grants::Viewer;
use crate::usage::Daily;
use crate::write::error::RecordError;
use crate::write::{self, Action, Asked, Context, InJob, Options, Outcome};

/// Works until all rows have an outcome, or the job ends otherwise. The error is the job's:
/// rows that have no outcome by then are the unprocessed ones.
pub(super) async fn work(app: &App, job: &Job) -> Result<(), String> {
    let unreadable = |e| format!("InternalServerError : The file cannot be read: {e}");
    let file = app.bulk.files.get(job.id).map_err(unreadable)?;
    let mut table = Table::open(job, file)?;
    let viewer = Viewer::User(job.created_by);
    let columns = Columns::bind(&app.store(), viewer, job, &table.header)?;
    let settings = app.bulk.settings();
    let mut row = ByteRecord::new();
    // What an earlier run of the sandbox has done.
    let mut done = app.store().jobs.rows(job.id).len();
    for _ in 0..done {
        if table.next(&mut row).is_none() {
            return Ok(());
        }
    }
    let mut batches = job.batches;
    loop {
        let mut asked = Vec::with_capacity(CHUNK);
        {
            let store = app.store();
            while asked.len() < CHUNK - done % CHUNK {
                let Some(read) = table.next(&mut row) else {
                    break;
                };
                asked.push(match read {
                    Ok(()) => columns.change(&store, &row),
                    Err(why) => malformed(why),
                });
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        if (done / BATCH) as u64 >= batches {
            if !app.usage.take_daily(Daily::BulkBatches, app.clock.now(), 1) {
                return Err("ExceededQuota : ApiBatchItems Limit exceeded.".to_owned());
            }
            batches += 1;
            super::change(app, job.id, |job| job.batches = batches);
            if !pause(app, job.id, settings.batch_ms).await {
                return Ok(());
            }
        }
        if let Some(why) = app.faults.job(&job.object) {
            return Err(why);
        }
        if !in_progress(app, job.id) {
            return Ok(());
        }
        done += asked.len();
        chunk(app, job, asked, settings.chunk_ms).await;
        tokio::task::yield_now().await;
    }
}

fn in_progress(app: &App, id: Id) -> bool {
    let store = app.store();
    let job = store.jobs.get(id);
    job.is_some_and(|job| job.state == State::InProgress)
}

fn malformed(why: String) -> Asked {
    Err(Box::new((
        RecordError::new("CLIENT_INPUT_ERROR", why),
        None,
    )))
}

/// Writes up to 200 rows. Their outcomes are kept with them.
async fn chunk(app: &App, job: &Job, asked: Vec<Asked>, chunk_ms: u64) {
    let ctx = Context {
        user: job.created_by,
        viewer: Viewer::User(job.created_by),
        at: app.clock.now(),
        request: app.number(),
        via: "bulk",
        all_or_none: false,
        options: Options::default(),
        job: Some(InJob {
            id: job.id,
            hard: job.operation == Operation::HardDelete,
        }),
    };
    let named: Vec<Option<Id>> = asked.iter().map(named).collect();
    let delay = app.faults.latency() + std::time::Duration::from_millis(chunk_ms);
    write::write_then(app, &ctx, asked, delay, |store, outcomes| {
        let rows = outcomes.iter().zip(named);
        store
            .jobs
            .push(job.id, rows.map(|(outcome, named)| became(outcome, named)));
    })
    .await;
}

/// The record that a row names by its id.
fn named(asked: &Asked) -> Option<Id> {
    let change = match asked {
        Ok(change) => change,
        Err(unread) => unread.1.as_ref()?,
    };
    match &change.action {
        Action::Update(id) | Action::Delete(id) => Id::parse(id),
        _ => None,
    }
}

fn became(outcome: &Outcome, named: Option<Id>) -> RowOutcome {
    match outcome {
        Ok(done) => RowOutcome(Some(done.id), done.created, None),
        Err(error) => RowOutcome(named, false, Some(shown(error).into())),
    }
}

/// `CODE:message:FIELD --`
fn shown(error: &RecordError) -> String {
    let fields = match error.fields.join(", ") {
        none if none.is_empty() => none,
        some => some + " ",
    };
    format!("{}:{}:{fields}--", error.code, error.message)
}
