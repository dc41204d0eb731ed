//! The routes by which a person asks for existing rows, and what that costs.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::ask::asked;
use super::report::JobReport;
use super::{Refusal, Seen};
use crate::capture::PageRequest;
use crate::config::nearest;
use crate::fault::{Error, ErrorKind};
use crate::mapping::{ColumnMapping, TableMapping};
use crate::supervisor::command::Command;
use crate::supervisor::cost::{Bounds, Cost};
use crate::supervisor::start::Handle;
use crate::supervisor::status::Reading;

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackfillWish {
    /// The table, in the configuration's words.
    pub table: String,
    /// For this column alone, where the CRM has the record.
    #[serde(default)]
    pub column: Option<String>,
    /// Only rows for which this SQL condition is true.
    #[serde(default, rename = "where")]
    pub filter: Option<String>,
    /// Say what it will cost, and do nothing.
    #[serde(default)]
    pub estimate: bool,
}

/// What it will cost, and whether it was begun.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BackfillAnswer {
    /// The table.
    pub table: String,
    /// For this column alone.
    pub column: Option<String>,
    /// Only rows for which this SQL condition is true.
    #[serde(rename = "where")]
    pub filter: Option<String>,
    /// What it will cost.
    #[serde(flatten)]
    pub cost: Cost,
    /// It is stored, and begins when its turn comes.
    pub started: bool,
}

/// Whose backfills are to be given up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelWish {
    /// The table, in the configuration's words.
    pub table: String,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cancelled {
    /// The table.
    pub table: String,
    /// There was something to give up.
    pub cancelled: bool,
}

pub(super) async fn begin(
    State(seen): State<Arc<Seen>>,
    Json(wish): Json<BackfillWish>,
) -> Result<Json<BackfillAnswer>, Refusal> {
    let handle = seen.handle.get().ok_or_else(Refusal::starting)?;
    let table = find(&seen, handle, &wish.table)?;
    if let Some(column) = &wish.column {
        has_column(&table, &wish.table, column)?;
    }
    let rows = rows(handle, table.oid, wish.filter.as_deref()).await?;
    let cost = Bounds::now(&seen.config, &handle.delivery).cost(rows);
    if !wish.estimate {
        if let Some(fault) = &table.halted {
            return Err(Refusal::new(
                StatusCode::CONFLICT,
                format!(
                    "the table {} is halted ({fault}): its rows cannot be written",
                    wish.table
                ),
            )
            .remedy("`syncline status` says why; it is read by itself when that is mended"));
        }
        is_new(handle, &wish)?;
        let command = |reply| Command::Backfill {
            table: wish.table.clone(),
            column: wish.column.clone(),
            filter: wish.filter.clone(),
            reply,
        };
        asked(handle, command).await?;
    }
    Ok(Json(BackfillAnswer {
        started: !wish.estimate,
        table: wish.table,
        column: wish.column,
        filter: wish.filter,
        cost,
    }))
}

pub(super) async fn cancel(
    State(seen): State<Arc<Seen>>,
    Json(wish): Json<CancelWish>,
) -> Result<Json<Cancelled>, Refusal> {
    let handle = seen.handle.get().ok_or_else(Refusal::starting)?;
    find(&seen, handle, &wish.table)?;
    let table = wish.table.clone();
    let command = |reply| Command::CancelBackfill { table, reply };
    let cancelled = asked(handle, command).await? > 0;
    Ok(Json(Cancelled {
        table: wish.table,
        cancelled,
    }))
}

/// The rules of a table.
fn find(seen: &Seen, handle: &Handle, name: &str) -> Result<Arc<TableMapping>, Refusal> {
    let mapping = handle.status.snapshot().mapping;
    let mapping = mapping.ok_or_else(Refusal::starting)?;
    if let Some(table) = mapping.by_name(name) {
        return Ok(Arc::clone(table));
    }
    let names = seen.config.tables.keys().map(String::as_str);
    let near = nearest(name, names).map(|near| format!("; did you mean {near:?}?"));
    Err(Refusal::new(
        StatusCode::NOT_FOUND,
        format!(
            "no table {name:?} is configured{}",
            near.unwrap_or_default()
        ),
    )
    .remedy("name it with its schema, as in the configuration: `syncline status` lists the tables"))
}

/// The column fills a field: without one nothing could be written.
fn has_column(table: &TableMapping, name: &str, column: &str) -> Result<(), Refusal> {
    let bad = |what: String| Refusal::new(StatusCode::BAD_REQUEST, what);
    let by_name = "name a column that fills a field, by the name that it has in the database now";
    match table.columns.get(column) {
        Some(ColumnMapping::Field(_)) => return Ok(()),
        Some(ColumnMapping::Ignored) => {
            return Err(
                bad(format!("column {column} of {name} is left out on purpose")).remedy(format!(
                    "give it a field: [tables.{name:?}] columns.{column} = \"…\""
                )),
            );
        }
        None => {}
    }
    if let Some(unmapped) = table.unmapped.iter().find(|u| *u.column == *column) {
        return Err(bad(format!(
            "column {column} of {name} fills no field: {}",
            unmapped.why
        ))
        .remedy(by_name));
    }
    let names = table.columns.keys().map(|name| &**name);
    let near = nearest(column, names).map(|near| format!("; did you mean {near:?}?"));
    Err(bad(format!(
        "no column {column:?} of {name} fills a field{}",
        near.unwrap_or_default()
    ))
    .remedy(by_name))
}

/// How many rows it comes to. First whether pages can be read at all, which reads none; then a
/// condition that Postgres does not take is the asker's mistake.
async fn rows(handle: &Handle, table: u32, filter: Option<&str>) -> Result<u64, Refusal> {
    let none = PageRequest {
        table,
        after: None,
        filter: Some("false".into()),
        rows: 1,
        bytes: 1,
    };
    let answered = |status| {
        move |error: Error| match error.kind {
            ErrorKind::SourceRefused => refuse(status, error),
            _ => error.into(),
        }
    };
    let page = handle.reader.page(&none).await;
    page.map_err(answered(StatusCode::CONFLICT))?;
    let status = match filter {
        Some(_) => StatusCode::BAD_REQUEST,
        None => StatusCode::CONFLICT,
    };
    let rows = handle.reader.rows(table, filter).await;
    rows.map_err(answered(status))
}

fn refuse(status: StatusCode, error: Error) -> Refusal {
    Refusal {
        status,
        ..Refusal::from(error)
    }
}

/// The same is not read already. One that stopped goes on when it is asked for again.
fn is_new(handle: &Handle, wish: &BackfillWish) -> Result<(), Refusal> {
    let backfills = handle.status.snapshot().backfills;
    let Some(now) = backfills.iter().find(|b| *b.table == *wish.table) else {
        return Ok(());
    };
    if now.state == Reading::Stopped {
        return Ok(());
    }
    let jobs = now.job.iter().chain(&now.queued).map(JobReport::new);
    let same = |job: &JobReport| job.is_for(wish.column.as_deref(), wish.filter.as_deref());
    let Some(job) = jobs.into_iter().find(same) else {
        return Ok(());
    };
    let stands = match now.state {
        Reading::Running => "is being read already",
        _ => "waits for its turn already",
    };
    Err(Refusal::new(
        StatusCode::CONFLICT,
        format!("{} ({}) {stands}", wish.table, job.words()),
    )
    .remedy(format!(
        "look at `syncline status`, or give it up: `syncline backfill {} --cancel`",
        wish.table
    )))
}
