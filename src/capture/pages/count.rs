//! How many rows a whole read comes to.

use std::time::Duration;

use tokio_postgres::SimpleQueryMessage;

use super::super::sql::Sql;
use super::page::{check_filter, named, target};
use crate::fault::{Error, ErrorKind, Result};

/// Up to so many rows by estimate, they are counted.
const WORTH_COUNTING: u64 = 100_000;
/// Counting ends here: the estimate was far out.
const MOST_COUNTED: u64 = 1_000_000;
/// Counting takes no longer: few rows may lie scattered over a large table.
const COUNTING: Duration = Duration::from_secs(2);

/// The number of rows: counted where that is cheap, else the planner's estimate, which scales
/// `pg_class.reltuples` to the table's present size, adds up partitions and knows what a filter
/// leaves (<https://www.postgresql.org/docs/current/row-estimation-examples.html>).
pub(super) async fn rows(
    sql: &Sql,
    table: u32,
    filter: Option<&str>,
    publication: &str,
) -> Result<u64> {
    let named = named(sql, table).await?;
    let target = target(sql, &named, publication).await?;
    if let Some(filter) = filter {
        check_filter(sql, &target, filter).await?;
    }
    let from = format!("{}{}", target.from, target.conditions(None, filter));
    let plan = value(sql, &format!("EXPLAIN (FORMAT JSON) SELECT FROM {from}"))
        .await?
        .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    let estimate = plan
        .as_ref()
        .and_then(|plan| plan.pointer("/0/Plan/Plan Rows")?.as_f64())
        .ok_or_else(|| Error::new(ErrorKind::Protocol, "the planner's estimate cannot be read"))?
        as u64;
    if estimate > WORTH_COUNTING {
        return Ok(estimate);
    }
    sql.run(&format!(
        "BEGIN READ ONLY; SET LOCAL statement_timeout = {}",
        COUNTING.as_millis()
    ))
    .await?;
    let count = sql
        .client()
        .query_one(
            &format!("SELECT count(*) FROM (SELECT FROM {from} LIMIT {MOST_COUNTED}) AS counted"),
            &[],
        )
        .await;
    let counted = match count {
        Ok(row) => {
            let counted: i64 = row.try_get(0).map_err(|e| sql.failed(e))?;
            Some(counted.unsigned_abs())
        }
        Err(e) if e.code().is_some_and(|c| c.code() == "57014") => None,
        Err(e) => return Err(sql.failed(e)),
    };
    sql.run("ROLLBACK").await?;
    Ok(match counted {
        Some(counted) if counted < MOST_COUNTED => counted,
        Some(counted) => counted.max(estimate),
        None => estimate,
    })
}

/// The one value of a query.
async fn value(sql: &Sql, query: &str) -> Result<Option<String>> {
    let messages = sql.client().simple_query(query).await;
    Ok(messages
        .map_err(|e| sql.failed(e))?
        .iter()
        .find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.try_get(0).ok().flatten().map(str::to_owned),
            _ => None,
        }))
}
