//! The page where a person looks at records and edits them as a sales rep would.
//!
//! Server-rendered; a little script keeps what is shown fresh. Every text that comes from
//! a record goes through [`escape`]. Edits take the same path as any other write.

mod home;
mod list;
mod record;

use serde_json::{Map, Value};

use super::reply::Reply;
use super::request::Request;
use crate::app::App;
use crate::clock;
use crate::store::Store;
use crate::writelog::WriteEntry;

/// `/` and `/ui/…`
pub(super) async fn route(app: &App, request: &Request) -> Reply {
    match (request.method.as_str(), &request.segments[..]) {
        ("GET" | "HEAD", []) => home::show(app),
        ("GET" | "HEAD", [_]) => home::show(app),
        ("GET" | "HEAD", [_, word]) if word == "style.css" => {
            Reply::text(200, "text/css; charset=UTF-8", include_str!("style.css"))
        }
        ("GET" | "HEAD", [_, word]) if word == "app.js" => Reply::text(
            200,
            "text/javascript; charset=UTF-8",
            include_str!("app.js"),
        ),
        ("GET" | "HEAD", [_, word]) if word == "writes" => home::writes(app, request),
        ("GET" | "HEAD", [_, object]) => list::show(app, request, object),
        ("GET" | "HEAD", [_, object, id]) => record::show(app, request, object, id),
        ("POST", [_, object, id]) => record::save(app, request, object, id).await,
        _ => Reply::not_found(),
    }
}

/// Text as HTML.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A value as a person reads it, not yet escaped.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Object(parts) => {
            let parts: Vec<String> = ["street", "postalCode", "city", "state", "country"]
                .iter()
                .filter_map(|p| parts.get(*p)?.as_str().map(str::to_owned))
                .collect();
            parts.join(", ")
        }
        Value::Number(number) => figure(&number.to_string()),
        other => other.to_string(),
    }
}

/// A number with its thousands apart and without an empty fraction.
fn figure(text: &str) -> String {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let (sign, digits) = whole.split_at(usize::from(whole.starts_with('-')));
    let whole = digits.parse().map_or_else(|_| digits.to_owned(), thousands);
    match fraction {
        "" | "0" => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{fraction}"),
    }
}

/// A point in time, shown to the second, with the machine-readable form for the script.
pub(super) fn moment(at: i64) -> String {
    let text = clock::precise(at);
    let shown = text.get(..19).unwrap_or("").replace('T', " ");
    format!("<time datetime=\"{text}\">{shown}</time>")
}

/// A whole page. `active` is the object or page that is open.
pub(super) fn page(app: &App, store: &Store, title: &str, active: &str, main: &str) -> Reply {
    let (used, max) = app.usage.calls(app.clock.now());
    let share = (used * 100).checked_div(max).unwrap_or(100).min(100);
    let level = if share >= 90 {
        "bad"
    } else if share >= 70 {
        "warn"
    } else {
        ""
    };
    let mut nav = String::new();
    let link = |href: &str, name: &str, label: &str, count: &str| {
        let current = if name == active {
            " aria-current=\"page\""
        } else {
            ""
        };
        format!(
            "<a href=\"{href}\"{current}><span>{}</span><span class=\"count\">{count}</span></a>",
            escape(label)
        )
    };
    nav.push_str(&link("/", "home", "Overview", ""));
    nav.push_str(&link(
        "/ui/writes",
        "writes",
        "Writes",
        &thousands(store.log.len() as u64),
    ));
    nav.push_str("<h2>Records</h2>");
    for (at, object) in store.schema.iter().filter(|(_, o)| o.is_work()) {
        let count = thousands(store.count(at) as u64);
        nav.push_str(&link(
            &format!("/ui/{}", object.name),
            &object.name,
            &object.plural,
            &count,
        ));
    }
    let user = store
        .get(app.people.rep)
        .map(|row| store.name_of(row))
        .unwrap_or_default();
    Reply::html(format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title} · Sandbox</title><link rel=\"icon\" href=\"data:,\">\
         <link rel=\"stylesheet\" href=\"/ui/style.css\">\
         <script src=\"/ui/app.js\" defer></script></head><body>\
         <header><a class=\"brand\" href=\"/\">Sandbox<small>Salesforce-compatible</small></a>\
         <div class=\"meter {level}\" title=\"API calls used of the daily limit\">\
         <span>API calls today</span><b>{used}</b> of {max}\
         <i><i style=\"width:{share}%\"></i></i></div>\
         <div class=\"user\">You edit as <b>{user}</b></div></header>\
         <nav>{nav}</nav><main id=\"main\">{main}</main></body></html>",
        title = escape(title),
        user = escape(&user),
        used = thousands(used),
        max = thousands(max),
    ))
}

/// `12 345`, with a thin space.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{2009}');
        }
        out.push(digit);
    }
    out
}

/// Entries of the write log as a table.
pub(super) fn write_table(entries: &[&WriteEntry], with_record: bool) -> String {
    let mut rows = String::new();
    for entry in entries {
        let accepted = entry.outcome == "accepted";
        let fields: Map<String, Value> =
            serde_json::from_str(entry.fields.get()).unwrap_or_default();
        let fields: Vec<String> = fields
            .iter()
            .map(|(name, value)| {
                format!(
                    "<span class=\"pair\"><em>{}</em> {}</span>",
                    escape(name),
                    escape(&cut(&plain(value), 60))
                )
            })
            .collect();
        let key = entry
            .external_id
            .as_ref()
            .map(plain)
            .or_else(|| entry.id.clone())
            .unwrap_or_default();
        let record = match (&entry.id, with_record) {
            (_, false) => String::new(),
            (Some(id), _) => format!(
                "<td><a href=\"/ui/{}/{}\">{} <b>{}</b></a></td>",
                escape(&entry.object),
                escape(id),
                escape(&entry.object),
                escape(&cut(&key, 40))
            ),
            (None, _) => format!(
                "<td>{} <b>{}</b></td>",
                escape(&entry.object),
                escape(&cut(&key, 40))
            ),
        };
        let outcome = if accepted {
            format!("<span class=\"tag ok\">{}</span>", escape(&entry.operation))
        } else {
            format!(
                "<span class=\"tag bad\" title=\"{}\">{}</span>",
                escape(entry.message.as_deref().unwrap_or("")),
                escape(&entry.outcome)
            )
        };
        let time = entry.at.get(11..23).unwrap_or("");
        rows.push_str(&format!(
            "<tr><td class=\"num\">{}</td><td class=\"nowrap\" title=\"{}\">{time}</td>{record}<td>{outcome}</td>\
             <td class=\"nowrap\">{}</td><td class=\"fields\">{}</td></tr>",
            entry.seq, escape(&entry.at), escape(entry.user.split('@').next().unwrap_or("")), fields.join(" "),
        ));
    }
    let record = if with_record { "<th>Record</th>" } else { "" };
    format!(
        "<div class=\"scroll\"><table><thead><tr><th class=\"num\">#</th><th>Time (UTC)</th>{record}<th>What</th>\
         <th>By</th><th>Fields</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )
}

/// The beginning of a text.
pub(super) fn cut(text: &str, length: usize) -> String {
    let mut chars = text.chars();
    let start: String = chars.by_ref().take(length).collect();
    if chars.next().is_some() {
        format!("{start}…")
    } else {
        start
    }
}

/// What stands where there is nothing to show.
pub(super) fn empty(title: &str, hint: &str) -> String {
    format!("<div class=\"empty\"><b>{title}</b><p>{hint}</p></div>")
}
