//! The overview and the write log.

use super::{empty, page, thousands, write_table};
use crate::app::App;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::writelog::{Filter, WriteEntry};

/// `/`
pub(super) fn show(app: &App) -> Reply {
    let store = app.store();
    let log = store.log.all();
    let recent: Vec<&WriteEntry> = log.iter().rev().take(25).collect();
    let refused = log.iter().filter(|w| w.outcome != "accepted").count();
    let records: usize = store
        .schema
        .iter()
        .filter(|(_, o)| o.is_work())
        .map(|(at, _)| store.count(at))
        .sum();
    let faults = app.faults.show();
    let struck: u64 = faults.rules.iter().map(|r| r.hits).sum();
    let tile = |label: &str, value: u64, note: &str| {
        format!(
            "<div class=\"tile\"><span>{label}</span><b>{}</b><small>{note}</small></div>",
            thousands(value)
        )
    };
    let tiles = [
        tile("Records", records as u64, "not counting the recycle bin"),
        tile(
            "Writes accepted",
            (log.len() - refused) as u64,
            "since the data was last emptied",
        ),
        tile("Writes refused", refused as u64, "each with an error code"),
        tile(
            "Faults injected",
            struck,
            &format!("by {} active rules", faults.rules.len()),
        ),
    ];
    let writes = if recent.is_empty() {
        empty(
            "Nothing has been written yet",
            "Writes appear here as soon as a client makes them.",
        )
    } else {
        write_table(&recent, true)
    };
    let main = format!(
        "<div class=\"title\"><h1>Overview</h1></div><div id=\"live\"><div class=\"tiles\">{}</div>\
         <h2>Latest writes</h2>{writes}</div>",
        tiles.concat()
    );
    page(app, &store, "Overview", "home", &main)
}

/// `/ui/writes`
pub(super) fn writes(app: &App, request: &Request) -> Reply {
    let store = app.store();
    let refused = request.query("refused") == Some("1");
    let before: u64 = request
        .query("before")
        .and_then(|b| b.parse().ok())
        .unwrap_or(u64::MAX);
    let filter = Filter {
        limit: 1,
        ..Filter::default()
    };
    let (first, _) = store.log.read(&filter);
    let shown: Vec<&WriteEntry> = store
        .log
        .all()
        .iter()
        .rev()
        .filter(|w| w.seq < before && (!refused || w.outcome != "accepted"))
        .take(200)
        .collect();
    let tabs = [
        ("All", "/ui/writes", !refused),
        ("Refused", "/ui/writes?refused=1", refused),
    ]
    .map(|(label, href, on)| {
        format!(
            "<a href=\"{href}\"{}>{label}</a>",
            if on { " aria-current=\"page\"" } else { "" }
        )
    });
    let table = if shown.is_empty() {
        empty("No writes", "There is nothing in this part of the log.")
    } else {
        write_table(&shown, true)
    };
    let last = shown.last().map_or(0, |w| w.seq);
    let older = if first.first().is_some_and(|w| w.seq < last) {
        format!(
            "<p class=\"pages\"><a href=\"/ui/writes?before={last}{}\">Older</a></p>",
            if refused { "&refused=1" } else { "" }
        )
    } else {
        String::new()
    };
    let main = format!(
        "<div class=\"title\"><h1>Writes</h1><div class=\"tabs\">{}</div></div><div id=\"live\">{table}</div>{older}",
        tabs.concat()
    );
    page(app, &store, "Writes", "writes", &main)
}
