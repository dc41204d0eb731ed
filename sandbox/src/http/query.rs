//! SOQL over REST: first pages, later pages, column metadata (salesforce.md §9).
//!
//! A locator names the kept query and the row the next page starts at. All pages are under
//! `/query/`, also those of queryAll.

use super::auth::Caller;
use super::reply::Reply;
use super::request::Request;
use crate::app::App;
use crate::soql;

/// Rows on a page unless asked otherwise.
pub(super) const PAGE: usize = 2_000;

/// `…/query?q=` and `…/queryAll?q=`
pub(super) fn run(
    app: &App,
    request: &Request,
    caller: Caller,
    version: u32,
    deleted: bool,
) -> Reply {
    app.count("query");
    if request.method != "GET" && request.method != "HEAD" {
        return Reply::wrong_method(&request.method, "GET,HEAD");
    }
    let Some(query) = request.query("q").filter(|q| !q.trim().is_empty()) else {
        return Reply::error(400, "MALFORMED_QUERY", "A query string has to be specified");
    };
    let mut store = app.store();
    let cursor = match soql::run(&store, caller.viewer(), query, deleted, app.clock.now()) {
        Ok(cursor) => cursor,
        Err(error) => return Reply::error(400, error.code, &error.message),
    };
    if request.query("columns") == Some("true") {
        return Reply::json(200, cursor.columns(&store));
    }
    let size = page_size(request);
    let locator = (cursor.total() > size).then(|| store.next_id_of("01g").to_string());
    let name = format!("v{version}.0");
    let page = cursor.page(&store, &name, 0, size, |next| {
        link(version, locator.as_deref().unwrap_or(""), next)
    });
    if let Some(locator) = locator {
        app.keep_cursor(locator, cursor);
    }
    Reply::json(200, page)
}

fn link(version: u32, locator: &str, next: usize) -> String {
    format!("/services/data/v{version}.0/query/{locator}-{next}")
}

/// `Sforce-Query-Options: batchSize=200..2000`
fn page_size(request: &Request) -> usize {
    let options = request.header("sforce-query-options").unwrap_or("");
    let size = options
        .split([',', ';'])
        .filter_map(|part| part.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("batchsize"))
        .and_then(|(_, size)| size.trim().parse::<usize>().ok());
    size.map_or(PAGE, |size| size.clamp(200, PAGE))
}

/// `…/query/{locator}-{row}`
pub(super) fn more(
    app: &App,
    request: &Request,
    caller: Caller,
    version: u32,
    locator: &str,
) -> Reply {
    app.count("query");
    let found = locator.rsplit_once('-').and_then(|(id, start)| {
        let start: usize = start.parse().ok()?;
        Some((id, start, app.cursor(id)?))
    });
    let Some((id, start, cursor)) = found.filter(|(_, _, c)| c.is_of(caller.viewer())) else {
        return Reply::error(400, "INVALID_QUERY_LOCATOR", "invalid query locator");
    };
    let store = app.store();
    let name = format!("v{version}.0");
    let page = cursor.page(&store, &name, start, page_size(request), |next| {
        link(version, id, next)
    });
    Reply::json(200, page)
}
