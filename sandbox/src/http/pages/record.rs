//! One record: all its fields, and the form in which a sales rep edits it.
//!
//! The form carries the values it was opened with. Only fields that the person changed are
//! written, so an edit does not undo what somebody else wrote meanwhile.

use serde_json::{Map, Number, Value};

use super::list::shown;
use super::{empty, escape, moment, page, plain, write_table};
use crate::app::App;
use crate::http::control;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::ids::Id;
use crate::schema::Object;
use crate::schema::field::{Field, Kind, Source};
use crate::store::Store;
use crate::store::row::Row;
use crate::write::{Action, Change};
use crate::writelog::Filter;

/// `/ui/{object}/{id}`
pub(super) fn show(app: &App, request: &Request, name: &str, id: &str) -> Reply {
    let editing = request.query("edit") == Some("1");
    render(app, name, id, editing, None, &[])
}

fn render(
    app: &App,
    name: &str,
    id: &str,
    editing: bool,
    problem: Option<&str>,
    typed: &[(String, String)],
) -> Reply {
    let store = app.store();
    let row = Id::parse(id).and_then(|id| store.get(id));
    let Some(row) = row.filter(|row| {
        store
            .schema
            .object(row.object)
            .name
            .eq_ignore_ascii_case(name)
    }) else {
        return Reply::not_found();
    };
    let object = store.schema.object(row.object);
    let editing = editing && row.deleted.is_none();
    let title = store.name_of(row);
    let button = if row.deleted.is_some() {
        "<span class=\"tag bad\">in the recycle bin</span>".to_owned()
    } else if editing {
        String::new()
    } else {
        format!(
            "<a class=\"button\" href=\"/ui/{}/{}?edit=1\">Edit</a>",
            object.name, row.id
        )
    };
    let who = |id: Id| store.get(id).map(|u| store.name_of(u)).unwrap_or_default();
    let audit = format!(
        "<dl class=\"audit\"><div><dt>Last modified</dt><dd>{} by {}</dd></div><div><dt>Created</dt><dd>{} by {}</dd></div>\
         <div><dt>Id</dt><dd><code>{}</code></dd></div></dl>",
        moment(row.modified.0),
        escape(&who(row.modified.1)),
        moment(row.created.0),
        escape(&who(row.created.1)),
        row.id,
    );
    let problem = problem
        .map(|p| format!("<div class=\"problem\" role=\"alert\">{}</div>", escape(p)))
        .unwrap_or_default();
    let fields = if editing {
        format!(
            "<form method=\"post\" action=\"/ui/{}/{}\"><div class=\"fields-grid\">{}</div>\
             <p class=\"actions\"><button class=\"button primary\">Save</button>\
             <a class=\"button\" href=\"/ui/{}/{}\">Cancel</a></p></form>",
            object.name,
            row.id,
            inputs(object, row, typed),
            object.name,
            row.id,
        )
    } else {
        values(&store, object, row)
    };
    let filter = Filter {
        id: Some(row.id.to_string()),
        limit: usize::MAX,
        ..Filter::default()
    };
    let (mut writes, _) = store.log.read(&filter);
    writes.reverse();
    writes.truncate(50);
    let history = if writes.is_empty() {
        empty(
            "No writes",
            "This record has not been written since the log was last emptied.",
        )
    } else {
        write_table(&writes, false)
    };
    // A form is not refreshed under the hands of the person who fills it in.
    let live = if editing { "" } else { " id=\"live\"" };
    let main = format!(
        "<div class=\"title\"><a class=\"muted\" href=\"/ui/{}\">{}</a><h1>{}</h1>{button}</div>{problem}\
         <div{live}>{audit}{fields}<h2>Writes of this record</h2>{history}</div>",
        object.name,
        escape(&object.plural),
        escape(&title),
    );
    page(app, &store, &title, &object.name, &main)
}

/// The fields that hold something, and behind a fold those that do not.
fn values(store: &Store, object: &Object, row: &Row) -> String {
    let (mut held, mut empty, mut count) = (String::new(), String::new(), 0);
    for (at, field) in object.fields.iter().enumerate() {
        if field.gone || matches!(field.source, Source::System(_)) {
            continue;
        }
        let text = match field.is_long_text() {
            true => escape(&plain(&row.value(object, field, at))),
            false => shown(store, object, row, at),
        };
        let label = format!(
            "<label title=\"{}\">{}</label>",
            escape(&field.name),
            escape(label(field))
        );
        if text.is_empty() {
            count += 1;
            empty.push_str(&format!(
                "<div class=\"field\">{label}<div class=\"none\">–</div></div>"
            ));
        } else {
            held.push_str(&format!(
                "<div class=\"field\">{label}<div>{text}</div></div>"
            ));
        }
    }
    format!(
        "<div class=\"fields-grid\">{held}</div><details><summary>{count} empty fields</summary>\
         <div class=\"fields-grid\">{empty}</div></details>"
    )
}

/// A lookup shows a name, so its label does not speak of ids.
fn label(field: &Field) -> &str {
    match field.kind {
        Kind::Reference => field.label.trim_end_matches(" ID"),
        _ => &field.label,
    }
}

fn editable(field: &Field) -> bool {
    field.source == Source::Stored && field.updateable
}

fn inputs(object: &Object, row: &Row, typed: &[(String, String)]) -> String {
    let listed = object
        .fields
        .iter()
        .enumerate()
        .filter(|(_, f)| editable(f));
    listed
        .map(|(at, field)| {
            let held = text_of(&row.value(object, field, at));
            let given = typed.iter().find(|(name, _)| *name == field.name).map(|(_, value)| value);
            let value = escape(given.unwrap_or(&held));
            let name = escape(&field.name);
            let input = match field.kind {
                Kind::Boolean => format!(
                    "<select name=\"{name}\" id=\"{name}\"><option value=\"true\"{}>yes</option><option value=\"false\"{}>no</option></select>",
                    if value == "true" { " selected" } else { "" }, if value == "true" { "" } else { " selected" },
                ),
                Kind::TextArea => format!("<textarea name=\"{name}\" id=\"{name}\" rows=\"2\">{value}</textarea>"),
                Kind::Picklist => {
                    let options: String = field.picklist.iter().map(|v| format!("<option value=\"{}\">", escape(v))).collect();
                    format!("<input name=\"{name}\" id=\"{name}\" value=\"{value}\" list=\"{name}-list\"><datalist id=\"{name}-list\">{options}</datalist>")
                }
                Kind::Date => format!("<input type=\"date\" name=\"{name}\" id=\"{name}\" value=\"{value}\">"),
                _ => format!("<input name=\"{name}\" id=\"{name}\" value=\"{value}\">"),
            };
            let mark = if field.nillable || field.kind == Kind::Boolean { "" } else { " <i title=\"required\">*</i>" };
            format!(
                "<div class=\"field\"><label for=\"{name}\" title=\"{name}\">{}{mark}</label>{input}\
                 <input type=\"hidden\" name=\"was.{name}\" value=\"{}\"></div>",
                escape(&field.label), escape(&held),
            )
        })
        .collect()
}

/// A value as a form carries it.
fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The text of a form as the API would be sent it.
fn value_of(field: &Field, text: &str) -> Value {
    match field.kind {
        _ if text.trim().is_empty() => Value::Null,
        Kind::Boolean => Value::Bool(text == "true"),
        Kind::Int | Kind::Double | Kind::Currency | Kind::Percent => {
            match (text.trim().parse::<i64>(), text.trim().parse::<f64>()) {
                (Ok(whole), _) => whole.into(),
                (_, Ok(number)) => {
                    Number::from_f64(number).map_or_else(|| text.into(), Value::Number)
                }
                _ => text.into(),
            }
        }
        _ => text.into(),
    }
}

/// `POST /ui/{object}/{id}`
pub(super) async fn save(app: &App, request: &Request, name: &str, id: &str) -> Reply {
    // A page of another site must not be able to post here with the person's browser.
    let foreign = request
        .header("origin")
        .is_some_and(|origin| origin != request.base);
    if foreign {
        return Reply::text(403, "text/plain", "This form was not opened here.");
    }
    let form = request.form();
    let value = |name: &str| {
        form.iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.replace("\r\n", "\n"))
    };
    let (object, row, fields) = {
        let store = app.store();
        let row = Id::parse(id).and_then(|id| store.live(id));
        let Some(row) = row else {
            return Reply::not_found();
        };
        let object = store.schema.object(row.object);
        let changed = object
            .fields
            .iter()
            .filter(|f| editable(f))
            .filter_map(|field| {
                let new = value(&field.name)?;
                let was = value(&format!("was.{}", field.name)).unwrap_or_default();
                (new != was).then(|| (field.name.clone(), value_of(field, &new)))
            });
        (row.object, row.id, changed.collect::<Map<String, Value>>())
    };
    let back = format!("/ui/{name}/{id}");
    if fields.is_empty() {
        return Reply::empty(303).header("Location", &back);
    }
    match control::person(
        app,
        request,
        app.people.rep,
        app.clock.now(),
        "page",
        Change {
            object,
            action: Action::Update(row.to_string()),
            fields,
        },
    )
    .await
    {
        Ok(_) => Reply::empty(303).header("Location", &back),
        Err(reply) => {
            let problem = reply
                .first_message()
                .unwrap_or_else(|| "It could not be saved.".to_owned());
            render(app, name, id, true, Some(&problem), &form)
        }
    }
}
