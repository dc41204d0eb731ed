//! The records of an object, with a search over all their texts.

use super::{cut, empty, escape, moment, page, plain, thousands};
use crate::app::App;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::schema::Object;
use crate::schema::field::{Field, Kind, Source};
use crate::store::Store;
use crate::store::row::Row;

const ROWS: usize = 100;

/// The columns worth a place: name, keys, custom fields (the newest first), and what else
/// the first records hold.
fn columns(object: &Object, sample: &[&Row]) -> Vec<usize> {
    let mut chosen: Vec<usize> = object.name_field().into_iter().collect();
    let mut push = |at: usize| {
        if chosen.len() < 8 && !chosen.contains(&at) {
            chosen.push(at);
        }
    };
    let keys = object
        .fields
        .iter()
        .enumerate()
        .filter(|(_, f)| f.external_id);
    keys.for_each(|(at, _)| push(at));
    let wanted = |f: &Field| {
        f.source == Source::Stored
            && f.kind != Kind::Boolean
            && f.name != "OwnerId"
            && !f.is_long_text()
    };
    let part_of_name = |f: &Field| ["FirstName", "LastName"].contains(&f.name.as_str());
    let held = |at: usize| sample.iter().any(|row| row.stored(at).is_some());
    let listed = || {
        let all = object.fields.iter().enumerate();
        all.filter(|(at, f)| !f.gone && wanted(f) && !part_of_name(f) && held(*at))
    };
    let custom = listed().filter(|(_, f)| f.custom).map(|(at, _)| at);
    custom.rev().take(4).for_each(&mut push);
    listed().for_each(|(at, _)| push(at));
    chosen
}

fn matches(row: &Row, object: &Object, needle: &str) -> bool {
    row.id.to_string().to_lowercase().contains(needle)
        || object.fields.iter().enumerate().any(|(at, f)| {
            !matches!(f.source, Source::System(_))
                && plain(&row.value(object, f, at))
                    .to_lowercase()
                    .contains(needle)
        })
}

/// A lookup shows the name of the record it points to.
pub(super) fn shown(store: &Store, object: &Object, row: &Row, at: usize) -> String {
    let field = &object.fields[at];
    let value = row.value(object, field, at);
    let parent = (field.kind == Kind::Reference)
        .then(|| crate::ids::Id::parse(value.as_str()?).and_then(|id| store.get(id)))
        .flatten();
    if let Some(parent) = parent {
        let target = store.schema.object(parent.object);
        let name = escape(&cut(&store.name_of(parent), 60));
        return if target.setup {
            name
        } else {
            format!("<a href=\"/ui/{}/{}\">{name}</a>", target.name, parent.id)
        };
    }
    escape(&cut(&plain(&value), 80))
}

/// `/ui/{object}`
pub(super) fn show(app: &App, request: &Request, name: &str) -> Reply {
    let store = app.store();
    let Some(at) = store.schema.find(name) else {
        return Reply::not_found();
    };
    let object = store.schema.object(at);
    let search = request.query("q").unwrap_or("").trim().to_owned();
    let needle = search.to_lowercase();
    let number: usize = request
        .query("page")
        .and_then(|p| p.parse().ok())
        .unwrap_or(1)
        .max(1);
    let mut found = store
        .rows(at)
        .rev()
        .filter(|row| row.deleted.is_none() && (needle.is_empty() || matches(row, object, &needle)))
        .skip((number - 1) * ROWS);
    let rows: Vec<&Row> = found.by_ref().take(ROWS).collect();
    let more = found.next().is_some();
    let columns = columns(object, &rows);
    let table = if rows.is_empty() && needle.is_empty() {
        empty(
            &format!("No {} yet", escape(&object.plural.to_lowercase())),
            "Records appear here as soon as a client creates them.",
        )
    } else if rows.is_empty() {
        empty(
            "Nothing found",
            "No record holds this text in any of its fields.",
        )
    } else {
        let numeric = |f: &Field| f.kind.is_decimal() || f.kind == Kind::Int;
        let class = |f: &Field| if numeric(f) { " class=\"num\"" } else { "" };
        let head: String = columns
            .iter()
            .map(|c| {
                format!(
                    "<th{}>{}</th>",
                    class(&object.fields[*c]),
                    escape(&object.fields[*c].label)
                )
            })
            .collect();
        let body: String = rows
            .iter()
            .map(|row| {
                let cells: String = columns
                    .iter()
                    .enumerate()
                    .map(|(i, c)| {
                        let text = shown(&store, object, row, *c);
                        if i == 0 {
                            let text = if text.is_empty() {
                                row.id.to_string()
                            } else {
                                text
                            };
                            format!(
                                "<td><a class=\"name\" href=\"/ui/{}/{}\">{text}</a></td>",
                                object.name, row.id
                            )
                        } else {
                            format!("<td{}>{text}</td>", class(&object.fields[*c]))
                        }
                    })
                    .collect();
                let by = store
                    .get(row.modified.1)
                    .map(|u| store.name_of(u))
                    .unwrap_or_default();
                format!(
                    "<tr>{cells}<td class=\"nowrap\">{}</td><td class=\"nowrap\">{}</td></tr>",
                    moment(row.modified.0),
                    escape(&by)
                )
            })
            .collect();
        format!(
            "<div class=\"scroll\"><table><thead><tr>{head}<th>Last modified</th><th>By</th></tr></thead><tbody>{body}</tbody></table></div>"
        )
    };
    let link = |to: usize, label: &str| {
        let query =
            percent_encoding::utf8_percent_encode(&search, percent_encoding::NON_ALPHANUMERIC);
        format!(
            "<a href=\"/ui/{}?q={query}&amp;page={to}\">{label}</a>",
            object.name
        )
    };
    let mut pages = String::new();
    if number > 1 {
        pages.push_str(&link(number - 1, "Newer"));
    }
    if more {
        pages.push_str(&link(number + 1, "Older"));
    }
    let main = format!(
        "<div class=\"title\"><h1>{}</h1><span class=\"muted\">{} records, newest first</span>\
         <form class=\"search\" role=\"search\"><input type=\"search\" name=\"q\" value=\"{}\" \
         placeholder=\"Search all fields\" aria-label=\"Search all fields\"></form></div>\
         <div id=\"live\">{table}</div><p class=\"pages\">{pages}</p>",
        escape(&object.plural),
        thousands(store.count(at) as u64),
        escape(&search),
    );
    page(app, &store, &object.plural, &object.name, &main)
}
