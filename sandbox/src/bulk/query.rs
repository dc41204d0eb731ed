//! Working off a job that reads, and which statements such a job refuses.

use super::job::{Job, Operation, State};
use super::results::line;
use super::{BATCH, pause};
use crate::app::App;
use crate::soql;
use crate::store::grants::Viewer;

/// Rows read while the store is held.
const STEP: usize = 2_000;

/// Reads all rows into the job's file.
pub(super) async fn work(app: &App, job: &Job) -> Result<(), String> {
    let settings = app.bulk.settings();
    let statement = job.query.as_deref().unwrap_or("");
    let viewer = Viewer::User(job.created_by);
    let all = job.operation == Operation::QueryAll;
    let failed = |e: soql::QueryError| {
        format!(
            "InvalidBatch : Failed to process query: {}: {}",
            e.code, e.message
        )
    };
    let cursor =
        soql::run(&app.store(), viewer, statement, all, app.clock.now()).map_err(failed)?;
    // What a run left that ended between keeping its file and saying so.
    app.bulk.files.remove(job.id);
    let mut file = line(job, cursor.names(&app.store()));
    let mut start = 0;
    while start < cursor.total() {
        if start % BATCH == 0 && !pause(app, job.id, settings.batch_ms).await {
            return Ok(());
        }
        if let Some(why) = app.faults.job(&job.object) {
            return Err(why);
        }
        {
            let store = app.store();
            for row in cursor.texts(&store, start, STEP) {
                file.extend_from_slice(&line(job, row));
            }
        }
        start += STEP;
        tokio::task::yield_now().await;
    }
    let unwritable = |e| format!("InternalServerError : The results cannot be kept: {e}");
    app.bulk
        .files
        .put(job.id, file.into())
        .map_err(unwritable)?;
    super::change(app, job.id, |job| {
        if job.state == State::InProgress {
            job.processed = cursor.total() as u64;
        }
    });
    Ok(())
}

/// Why a statement that may be good SOQL is none for a query job: code and message.
pub(crate) fn refused(statement: &str) -> Option<(&'static str, String)> {
    let words = words(statement);
    let at = |at: usize| words.get(at).map_or("", String::as_str);
    let has = |first: &str, second: &str| {
        (0..words.len()).any(|i| at(i) == first && (second.is_empty() || at(i + 1) == second))
    };
    if has("(", "SELECT")
        && words.iter().position(|w| w == "(") < words.iter().position(|w| w == "FROM")
    {
        let message =
            "Aggregate Relationships not supported in Bulk V2 Query with CSV content type.";
        return Some(("API_ERROR", message.to_owned()));
    }
    let functions = ["COUNT", "COUNT_DISTINCT", "SUM", "AVG", "MIN", "MAX"];
    let found = [
        ("GROUP BY", has("GROUP", "BY")),
        ("OFFSET", has("OFFSET", "")),
        ("TYPEOF", has("TYPEOF", "")),
        ("aggregate functions", functions.iter().any(|f| has(f, "("))),
    ];
    let (name, _) = found.into_iter().find(|(_, found)| *found)?;
    Some((
        "API_ERROR",
        format!("{name} not supported in Bulk V2 Query"),
    ))
}

/// The words and parentheses of a statement outside of its texts, in upper case.
fn words(statement: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut chars = statement.chars();
    while let Some(c) = chars.next() {
        if c == '\'' {
            while let Some(inner) = chars.next() {
                match inner {
                    '\\' => drop(chars.next()),
                    '\'' => break,
                    _ => {}
                }
            }
            words.push(String::new());
        } else if c.is_alphanumeric() || c == '_' || c == '.' {
            if let Some(word) = words.last_mut() {
                word.extend(c.to_uppercase());
            }
        } else {
            if c == '(' {
                words.push("(".to_owned());
            }
            words.push(String::new());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn statements_that_the_bulk_api_does_not_take_are_known_by_their_words() {
        for good in [
            "SELECT Id FROM Account WHERE Name = 'GROUP BY count( OFFSET'",
            "SELECT Id, Count__c FROM Account WHERE (Name = 'x' OR Name = 'it\\'s (SELECT') LIMIT 5",
            "SELECT Id FROM Contact WHERE AccountId IN (SELECT Id FROM Account)",
        ] {
            assert_eq!(refused(good), None, "{good}");
        }
        for bad in [
            "SELECT Name, COUNT(Id) FROM Account GROUP BY Name",
            "select count() from Account",
            "SELECT Id FROM Account LIMIT 1 OFFSET 5",
            "SELECT TYPEOF Owner WHEN User THEN Id END FROM Account",
            "SELECT Id, (SELECT Id FROM Contacts) FROM Account",
        ] {
            assert!(refused(bad).is_some(), "{bad}");
        }
    }
}
